//! The data path against what is asked of it, and against the machine itself, in one run.
//!
//! ```sh
//! cargo build --profile dist -p godfs-server --bins
//! cargo run --profile dist -p godfs-benches --bin table -- --dir FOLDER --rounds 5
//! ```
//! A namenode and three datanodes run as processes, with all they write in a fresh folder under `--dir`, next to where `godfs bench raw` writes. Each measure that is
//! compared follows at once on what it is compared with, in every round, so that a machine whose speed changes from minute to minute changes both; the ratio is
//! that of the two, and the median of all rounds is what counts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use godfs_benches::daemons::{Daemons, run};
use godfs_benches::rows::{Row, median};
use godfs_core::{Error, ErrorKind, Result};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the data path of daemons beside the machine itself.
#[derive(Parser, Debug)]
struct Args {
    /// The folder with godfs, godfs-namenode and godfs-datanode [default: that of this program]
    #[arg(long, value_name = "FOLDER")]
    bin: Option<PathBuf>,
    /// Where to write: needs room for 14 times --size
    #[arg(long, value_name = "FOLDER", default_value = "target/table")]
    dir: PathBuf,
    /// Rounds that count; one before them does not
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Bytes of the large file
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    size: String,
    /// Only the measures whose names begin so
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Print JSON, with the rows of each round
    #[arg(long)]
    json: bool,
}

/// What of a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    /// Megabytes a second, the more the better.
    Rate,
    /// Operations a second, the more the better.
    Ops,
    /// Microseconds in the middle, the fewer the better.
    P50,
}

impl Figure {
    fn of(self, row: &Row) -> f64 {
        match self {
            Self::Rate => row.mb_per_second,
            Self::Ops => row.per_second,
            Self::P50 => row.p50_us as f64,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Rate => "MB/s",
            Self::Ops => "/s",
            Self::P50 => "us",
        }
    }
}

/// Something that is measured, and what is asked of it.
#[derive(Debug)]
struct Measure {
    name: &'static str,
    /// The words behind `godfs bench`; `{file}` is a directory with one file of `{size}`, `{dir}` a local folder.
    command: &'static str,
    /// Which of its rows: those of the same command are taken from one run of it.
    row: &'static str,
    figure: Figure,
    asked: Option<f64>,
    /// The measure it is compared with, and what share of it is asked for.
    against: Option<(&'static str, f64)>,
    /// CPU seconds of all processes for each GiB.
    cpu: Option<f64>,
}

const MEASURES: &[Measure] = &[
    machine("tcp_crc"),
    Measure {
        name: "read",
        command: "read --path {file} --concurrency 1 --local never",
        row: "read",
        figure: Figure::Rate,
        asked: Some(2_800.0),
        against: Some(("tcp_crc", 0.85)),
        cpu: Some(0.55),
    },
    Measure {
        name: "read_local",
        command: "read --path {file} --concurrency 1 --local auto",
        row: "read",
        figure: Figure::Rate,
        asked: Some(3_500.0),
        against: Some(("read", 1.0)),
        cpu: None,
    },
    Measure {
        name: "read_asyncread",
        command: "read --path {file} --concurrency 1 --local never --api asyncread",
        row: "read-asyncread",
        figure: Figure::Rate,
        asked: None,
        against: Some(("tcp_crc", 0.80)),
        cpu: Some(0.68),
    },
    machine("relay3"),
    Measure {
        name: "write",
        command: "write --size {size} --count 1 --concurrency 1 --no-sync",
        row: "write",
        figure: Figure::Rate,
        asked: Some(700.0),
        against: Some(("relay3", 0.85)),
        cpu: Some(2.6),
    },
    machine("write3"),
    machine("write3_sync"),
    Measure {
        name: "write_synced",
        command: "write --size {size} --count 1 --concurrency 1",
        row: "write",
        figure: Figure::Rate,
        asked: None,
        against: Some(("write3_sync", 0.80)),
        cpu: None,
    },
    Measure {
        name: "random64",
        command: "random --path {file} --size 4096 --in-flight 64 --count 200000 --local never",
        row: "random",
        figure: Figure::Ops,
        asked: Some(50_000.0),
        against: None,
        cpu: None,
    },
    Measure {
        name: "random1",
        command: "random --path {file} --size 4096 --in-flight 1 --count 10000 --local never",
        row: "random",
        figure: Figure::P50,
        asked: Some(120.0),
        against: None,
        cpu: None,
    },
    small("small_put", "put", 3_500.0),
    small("small_get", "get", 12_000.0),
    Measure {
        name: "hflush",
        command: "hflush --size 1024 --count 5000",
        row: "hflush",
        figure: Figure::P50,
        asked: Some(400.0),
        against: None,
        cpu: None,
    },
    mixed("mixed_one", "one", None),
    mixed("mixed", "mixed", Some(("mixed_one", 0.80))),
    machine("log_append"),
];

const fn machine(name: &'static str) -> Measure {
    Measure { name, command: "raw", row: name, figure: Figure::Rate, asked: None, against: None, cpu: None }
}

const fn small(name: &'static str, row: &'static str, asked: f64) -> Measure {
    let command = "small --size 65536 --concurrency 16 --count 10000";
    Measure { name, command, row, figure: Figure::Ops, asked: Some(asked), against: None, cpu: None }
}

const fn mixed(name: &'static str, row: &'static str, against: Option<(&'static str, f64)>) -> Measure {
    let command = "mixed --writers 64 --readers 64 --local never";
    Measure { name, command, row, figure: Figure::Rate, asked: None, against, cpu: None }
}

/// The rows of one measure, a round each.
type Seen = BTreeMap<&'static str, Vec<Row>>;

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args).and_then(|seen| show(&args, &seen)) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("table: {}", error.report());
            ExitCode::FAILURE
        }
    }
}

/// Whether a measure is to be made: one that is asked for, or that such a one is compared with.
fn wanted(args: &Args, measure: &Measure) -> bool {
    let asked = |name: &str| args.only.is_empty() || args.only.iter().any(|only| name.starts_with(only.as_str()));
    let of_it = |other: &Measure| asked(other.name) && other.against.is_some_and(|(name, _)| name == measure.name);
    asked(measure.name) || MEASURES.iter().any(of_it)
}

fn measure(args: &Args) -> Result<Seen> {
    let here = std::env::current_exe().map_err(|error| Error::io("find this program", error))?;
    let bin = args.bin.clone().or_else(|| here.parent().map(PathBuf::from)).unwrap_or_default();
    let daemons = Daemons::start(&bin, &args.dir)?;
    let file = daemons.bench(&format!("write --size {} --count 1 --keep", args.size))?.remove(0).path;
    let mut seen = Seen::new();
    for round in 0..=args.rounds {
        let mut ran: (&str, Vec<Row>) = ("", Vec::new());
        for measure in MEASURES.iter().filter(|measure| wanted(args, measure)) {
            if measure.command == "raw" || ran.0 != measure.command {
                // What others wrote must not be what this one waits for.
                run(&mut Command::new("sync"))?;
                ran = (measure.command, daemons.bench(&line(measure, args, &file, &daemons))?);
            }
            let row = ran.1.iter().find(|row| row.name == measure.row).cloned();
            let row = row.ok_or_else(|| Error::new(ErrorKind::Internal, format!("no row {}", measure.row)))?;
            let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
            let load = load.split(' ').next().unwrap_or_default().to_owned();
            let (figure, unit) = (measure.figure.of(&row), measure.figure.unit());
            eprintln!("round {round}: {} {figure:.0} {unit}, load {load}", measure.name);
            if round > 0 {
                seen.entry(measure.name).or_default().push(row);
            }
        }
    }
    Ok(seen)
}

fn line(measure: &Measure, args: &Args, file: &str, daemons: &Daemons) -> String {
    match measure.command {
        "raw" => format!("raw --rows {} --size {} --dir {}", measure.row, args.size, daemons.folder().display()),
        command => command.replace("{file}", file).replace("{size}", &args.size),
    }
}

/// What a measure came to: medians of all rounds.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    name: &'static str,
    command: &'static str,
    unit: &'static str,
    asked: Option<f64>,
    median: f64,
    each: Vec<f64>,
    against: Option<&'static str>,
    share_asked: Option<f64>,
    /// The median of the ratios of each round.
    share: Option<f64>,
    cpu_asked: Option<f64>,
    cpu_per_gib: Option<f64>,
    p99_us: Option<f64>,
    rows: &'a [Row],
}

fn outcome<'a>(measure: &Measure, seen: &'a Seen) -> Option<Outcome<'a>> {
    let rows = seen.get(measure.name)?;
    let each: Vec<f64> = rows.iter().map(|row| measure.figure.of(row)).collect();
    let share = measure.against.and_then(|(name, _)| {
        let others = seen.get(name)?.iter().map(|row| measure.figure.of(row));
        median(each.iter().zip(others).map(|(own, other)| own / other))
    });
    Some(Outcome {
        name: measure.name,
        command: measure.command,
        unit: measure.figure.unit(),
        asked: measure.asked,
        median: median(each.iter().copied())?,
        each,
        against: measure.against.map(|(name, _)| name),
        share_asked: measure.against.map(|(_, share)| share),
        share,
        cpu_asked: measure.cpu,
        cpu_per_gib: median(
            rows.iter().filter_map(|row| row.cpu_all_per_gib).filter(|_| measure.figure == Figure::Rate),
        ),
        p99_us: median(rows.iter().map(|row| row.p99_us as f64)),
        rows,
    })
}

fn show(args: &Args, seen: &Seen) -> Result<String> {
    let outcomes: Vec<Outcome<'_>> = MEASURES.iter().filter_map(|measure| outcome(measure, seen)).collect();
    if args.json {
        let failed = |error| Error::new(ErrorKind::Internal, format!("JSON: {error}"));
        return serde_json::to_string_pretty(&outcomes).map_err(failed);
    }
    let mut text =
        "| measure | asked | seen | each round | beside | asked | seen | CPU-s/GiB asked | seen |\n".to_owned();
    text += "|---|---|---|---|---|---|---|---|---|\n";
    for outcome in outcomes {
        let percent = |share: Option<f64>| share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0));
        let known = |figure: Option<f64>| figure.map_or_else(String::new, |figure| format!("{figure:.2}"));
        let asked = outcome.asked.map_or_else(String::new, |asked| format!("{asked:.0}"));
        let each = outcome.each.iter().map(|figure| format!("{figure:.0}")).collect::<Vec<_>>().join(", ");
        text += &format!(
            "| `{}` | {asked} | {:.0} {} | {each} | {} | {} | {} | {} | {} |\n",
            outcome.name,
            outcome.median,
            outcome.unit,
            outcome.against.unwrap_or_default(),
            percent(outcome.share_asked),
            percent(outcome.share),
            known(outcome.cpu_asked),
            known(outcome.cpu_per_gib),
        );
    }
    Ok(text)
}
