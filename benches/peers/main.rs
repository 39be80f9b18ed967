//! GoDFS and HDFS side by side: the same work on the same machine, by turns, in one run.
//!
//! ```sh
//! cargo build --profile dist -p godfs-server --bins
//! cargo run --profile dist -p godfs-benches --bin peers -- --dir FOLDER --rounds 3 --out docs
//! ```
//! Needs a Java 17 JDK and Maven, which gets HDFS from Maven Central into a cache outside the tree the first time. Both run a metadata server and three data servers as
//! processes on loopback; each measure runs on one and then at once on the other, and what is reported are the medians of all rounds. Writes `peers.md`,
//! `peers.json` and `peers.svg` into `--out`.
//!
//! The clients: `godfs bench`, a process for each measure, and one JVM that does all of HDFS's through `FileSystem`, whose code is compiled by the time that it counts: one round before the others
//! does not. The CPU time is that of all processes of the one that is measured. HDFS acknowledges what lies in the page caches of its datanodes unless a row says
//! `synced`; what GoDFS says of files and names is on disk before it is acknowledged, in rows without `synced` chunks excepted.

mod chart;
mod hdfs;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use godfs_benches::daemons::{Daemons, run};
use godfs_benches::rows::Row;
use godfs_core::{Error, ErrorKind, Result};

use self::hdfs::Hdfs;
use self::report::{Compared, Pair};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the same work on GoDFS and on HDFS.
#[derive(Parser, Debug)]
struct Args {
    /// The folder with godfs, godfs-namenode and godfs-datanode [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    bin: Option<PathBuf>,
    /// Where both keep their data: needs room for 20 times the large file
    #[arg(long, value_name = "FOLDER", default_value = "target/peers")]
    dir: PathBuf,
    /// Where HDFS is kept once it was fetched [default: godfs-peers in the user's cache folder]
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Rounds that count; one before them does not
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Bytes of the large file
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1..))]
    size: u64,
    /// Small files
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,
    /// Names that are created and looked up
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    names: u32,
    /// Where to write the table, the figures and the chart
    #[arg(long, value_name = "FOLDER", default_value = "target/peers/out")]
    out: PathBuf,
    /// Only draw the chart and write the table anew from the peers.json that is there
    #[arg(long)]
    redraw: bool,
}

/// Workers with small files, and with names.
const FILE_WORKERS: u32 = 16;
const NAME_WORKERS: u32 = 64;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = if args.redraw { report::load(&args.out) } else { compare(&args) };
    match done.and_then(|compared| compared.write(&args.out)) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("peers: {}", error.report());
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<Compared> {
    let here = std::env::current_exe().map_err(|error| Error::io("find this program", error))?;
    let bin = args.bin.clone().or_else(|| here.parent().map(PathBuf::from)).unwrap_or_default();
    let godfs = Daemons::start(&bin, &args.dir)?;
    let mut both = Both { godfs, hdfs: Hdfs::start(&cache(args)?, &args.dir)?, godfs_rss: 0 };
    let mut pairs: Vec<Pair> = Vec::new();
    for round in 0..=args.rounds {
        for (name, synced, godfs, hdfs) in both.round(args, round)? {
            eprintln!("round {round}: {name}: GoDFS {}, HDFS {}", report::figure(&godfs), report::figure(&hdfs));
            if round == 0 {
                pairs.push(Pair { name, synced, godfs: Vec::new(), hdfs: Vec::new() });
            } else if let Some(pair) = pairs.iter_mut().find(|pair| (&pair.name, pair.synced) == (&name, synced)) {
                pair.godfs.push(godfs);
                pair.hdfs.push(hdfs);
            }
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Ok(Compared {
        hdfs: hdfs::VERSION.to_owned(),
        godfs: env!("CARGO_PKG_VERSION").to_owned(),
        cores,
        rounds: args.rounds,
        load: load.split(' ').next().unwrap_or_default().to_owned(),
        rss_max: [both.godfs_rss, both.hdfs.rss_max()],
        pairs,
    })
}

/// Where HDFS is kept.
fn cache(args: &Args) -> Result<PathBuf> {
    let of = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    let cache = args.cache.clone().or_else(|| user.map(|user| user.join("godfs-peers")));
    let cache = cache.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "no home folder: name one with --cache"))?;
    std::path::absolute(&cache).map_err(|error| Error::io(cache.display(), error))
}

/// Both file systems, and what the daemons of GoDFS had resident at most.
struct Both {
    godfs: Daemons,
    hdfs: Hdfs,
    godfs_rss: u64,
}

/// A measure: its name, whether what it wrote is on disk, and what each came to.
type Measured = (String, Option<bool>, Row, Row);

impl Both {
    /// All measures once.
    fn round(&mut self, args: &Args, round: u32) -> Result<Vec<Measured>> {
        let mut measured = self.large(args)?;
        measured.extend(self.small(args, round)?);
        measured.extend(self.names(args, round)?);
        Ok(measured)
    }

    fn large(&mut self, args: &Args) -> Result<Vec<Measured>> {
        let size = args.size;
        let mut measured = Vec::new();
        for synced in [false, true] {
            let (flag, word) = if synced { ("", "sync") } else { (" --no-sync", "async") };
            let godfs = self.godfs(&format!("write --size {size} --count 1 --concurrency 1{flag}"), "write")?;
            let hdfs = self.hdfs(&format!("write /large {size} {word}"))?;
            measured.push((format!("write {} MiB", size >> 20), Some(synced), godfs, hdfs));
        }
        let kept = self.godfs(&format!("write --size {size} --count 1 --keep"), "write")?;
        let godfs = self.godfs(&format!("read --path {} --concurrency 1 --local never", kept.path), "read")?;
        let hdfs = self.hdfs("read /large")?;
        measured.push((format!("read {} MiB, verified", size >> 20), None, godfs, hdfs));
        self.godfs.godfs(&format!("rm -r --skip-trash {}", kept.path))?;
        self.hdfs.load("remove /large")?;
        Ok(measured)
    }

    fn small(&mut self, args: &Args, round: u32) -> Result<Vec<Measured>> {
        let (count, under) = (args.files, format!("/small-{round}"));
        self.settle()?;
        let line = format!("small --size 4096 --count {count} --concurrency {FILE_WORKERS}");
        let rows = self.godfs.bench(&line)?;
        self.settle()?;
        let hdfs = self.hdfs.load(&format!("put {under} {count} {FILE_WORKERS} 4096 async"))?;
        let read = self.hdfs.load(&format!("get {under} {count} {FILE_WORKERS} 4096"))?;
        self.hdfs.load(&format!("remove {under}"))?;
        Ok(vec![
            (format!("write files of 4 KiB, {FILE_WORKERS} at once"), Some(false), named(&rows, "put")?, hdfs),
            (format!("read files of 4 KiB, {FILE_WORKERS} at once"), None, named(&rows, "get")?, read),
        ])
    }

    fn names(&mut self, args: &Args, round: u32) -> Result<Vec<Measured>> {
        let (count, under) = (args.names, format!("/names-{round}"));
        self.settle()?;
        let rows = self.godfs.bench(&format!("meta --count {count} --concurrency {NAME_WORKERS} --phases stat"))?;
        self.settle()?;
        let created = self.hdfs.load(&format!("create {under} {count} {NAME_WORKERS}"))?;
        let looked_up = self.hdfs.load(&format!("stat {under} {count} {NAME_WORKERS}"))?;
        self.hdfs.load(&format!("remove {under}"))?;
        Ok(vec![
            (format!("create empty files, {NAME_WORKERS} at once"), Some(true), named(&rows, "create")?, created),
            (format!("stat, {NAME_WORKERS} at once"), None, named(&rows, "stat")?, looked_up),
        ])
    }

    fn godfs(&mut self, line: &str, row: &str) -> Result<Row> {
        self.settle()?;
        let row = named(&self.godfs.bench(line)?, row)?;
        self.godfs_rss = self.godfs_rss.max(row.daemon_rss_max_bytes.unwrap_or(0));
        Ok(row)
    }

    fn hdfs(&mut self, command: &str) -> Result<Row> {
        self.settle()?;
        self.hdfs.load(command)
    }

    /// What was written before must not be what the next one waits for.
    fn settle(&self) -> Result<()> {
        run(&mut Command::new("sync")).map(drop)
    }
}

fn named(rows: &[Row], name: &str) -> Result<Row> {
    let row = rows.iter().find(|row| row.name == name).cloned();
    row.ok_or_else(|| Error::new(ErrorKind::Internal, format!("no row {name}")))
}

/// Writes a file of what was found.
fn write(out: &Path, name: &str, text: &str) -> Result<()> {
    let path = out.join(name);
    std::fs::write(&path, text).map_err(|error| Error::io(path.display(), error))
}
