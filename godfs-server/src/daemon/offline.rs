//! `godfs-namenode check`, `export` and `import`: work on the metadata of a namenode that does not run.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clap::{Args, Parser};
use godfs_core::env::Env;
use godfs_core::io::DiskIo;
use godfs_core::metadata::{FjallOptions, FjallStore, MetadataStore};
use godfs_core::namespace::{Manifest, Namespace, NamespaceSettings, Spool, import};
use godfs_core::{Error, Result};
use serde_json::json;

use super::run::fail;

const NAME: &str = "godfs-namenode";

/// The words that stand in front of what this file does.
const TOOLS: [&str; 3] = ["check", "export", "import"];

/// Works on the metadata of a namenode that does not run.
#[derive(Parser, Debug)]
#[command(name = "godfs-namenode", version)]
enum Tool {
    /// Check every invariant over all rows
    #[command(after_help = "\
Exits with 0 when all hold, with 1 when one does not, and with 2 when it could not be found out.

Examples:
  godfs-namenode check --dir /srv/godfs/namenode
  godfs-namenode check --dir /srv/godfs/namenode --json | jq .violations")]
    Check(CheckArgs),
    /// Write all metadata to a portable file
    #[command(after_help = "\
The file holds every row, with checksums; any version of GoDFS that knows its format imports it, into any kind of store. From a
namenode that runs, `godfs admin backup` takes the same.

Examples:
  godfs-namenode export --dir /srv/godfs/namenode metadata.godfs")]
    Export(MoveArgs),
    /// Fill an empty folder from such a file
    #[command(after_help = "\
A file that is damaged or cut short is refused, and nothing is left. The new store has a life of its own: datanodes that knew a later
state of the old one want to be told to accept it.

Examples:
  godfs-namenode import --dir /srv/godfs/restored metadata.godfs")]
    Import(MoveArgs),
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// The folder of the metadata
    #[arg(long, env = "GODFS_DIR", value_name = "FOLDER")]
    dir: PathBuf,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct MoveArgs {
    /// The folder of the metadata
    #[arg(long, env = "GODFS_DIR", value_name = "FOLDER")]
    dir: PathBuf,
    /// Print the manifest as JSON
    #[arg(long)]
    json: bool,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Does what the command line asks for, if it is one of these tools.
pub(super) fn run() -> Option<ExitCode> {
    let first = std::env::args_os().nth(1)?;
    if !TOOLS.iter().any(|tool| first == *tool) {
        return None;
    }
    let tool = Tool::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Some(fail(NAME, &Error::io("start the async runtime", error))),
    };
    let done = runtime.block_on(async {
        match tool {
            Tool::Check(args) => check(&args).await,
            Tool::Export(args) => export(&args).await,
            Tool::Import(args) => import_into(&args).await,
        }
    });
    Some(done.unwrap_or_else(|error| fail(NAME, &error)))
}

async fn open(dir: &Path) -> Result<(Arc<dyn MetadataStore>, Namespace)> {
    let env = Env::system();
    let store: Arc<dyn MetadataStore> =
        Arc::new(FjallStore::open(dir, FjallOptions::default(), Arc::new(DiskIo), &env).await?);
    let namespace = Namespace::new(Arc::clone(&store), NamespaceSettings::default(), env)?;
    Ok((store, namespace))
}

async fn check(args: &CheckArgs) -> Result<ExitCode> {
    let (store, namespace) = open(&args.dir).await?;
    let mut violations = Vec::new();
    let mut table = Vec::new();
    for name in Namespace::invariants() {
        progress(format_args!("{name} …"));
        let mut found = namespace.check_invariant(name).await?;
        table.push((name, found.len()));
        violations.append(&mut found);
    }
    progress(format_args!(""));
    store.close().await?;
    let mut out = io::stdout().lock();
    let written = if args.json {
        let invariants: Vec<_> =
            table.iter().map(|(name, found)| json!({"invariant": name, "violations": found})).collect();
        let found: Vec<_> = violations
            .iter()
            .map(|violation| json!({"invariant": violation.invariant, "finding": violation.finding}))
            .collect();
        writeln!(out, "{}", json!({"clean": violations.is_empty(), "invariants": invariants, "violations": found}))
    } else {
        table
            .iter()
            .try_for_each(|(name, found)| match found {
                0 => writeln!(out, "{name:<42} holds"),
                _ => writeln!(out, "{name:<42} {found} violations"),
            })
            .and_then(|()| violations.iter().try_for_each(|violation| writeln!(out, "{violation}")))
    };
    written.map_err(|error| Error::io("write to stdout", error))?;
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn export(args: &MoveArgs) -> Result<ExitCode> {
    let (store, namespace) = open(&args.dir).await?;
    let failed = |error| Error::io(format_args!("write {}", args.file.display()), error);
    let folder = match args.file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Under its name only when it is whole and on disk.
    let staged = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let spool = staged.reopen().map_err(failed)?;
    progress(format_args!("writing rows …"));
    let (_, manifest) = namespace.export(Buffered(BufWriter::new(spool)), Arc::new(AtomicU64::new(0))).await?;
    progress(format_args!(""));
    store.close().await?;
    staged.as_file().sync_all().map_err(failed)?;
    staged.persist_noclobber(&args.file).map_err(|error| failed(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    report(args, &manifest)
}

async fn import_into(args: &MoveArgs) -> Result<ExitCode> {
    let input =
        File::open(&args.file).map_err(|error| Error::io(format_args!("read {}", args.file.display()), error))?;
    let store = FjallStore::create(&args.dir, FjallOptions::default(), Arc::new(DiskIo), &Env::system()).await?;
    let store: Arc<dyn MetadataStore> = Arc::new(store);
    let done = import(&store, BufReader::new(input), |rows| progress(format_args!("{rows} rows …"))).await;
    progress(format_args!(""));
    let closed = store.close().await;
    if let Err(error) = done.as_ref().map(drop).and(closed.as_ref().map(drop)) {
        let error = error.duplicate();
        // It was empty, or not there, and all in it is of this import.
        if let Err(left) = fs::remove_dir_all(&args.dir) {
            return Err(error.context(format_args!("{} is left and to be removed ({left})", args.dir.display())));
        }
        return Err(error);
    }
    report(args, &done?)
}

fn report(args: &MoveArgs, manifest: &Manifest) -> Result<ExitCode> {
    let Manifest { row_format, cluster, incarnation, version, rows, bytes, files, directories, chunks } = manifest;
    let mut out = io::stdout().lock();
    let written = if args.json {
        let json = json!({
            "row_format": row_format, "cluster_id": cluster.to_string(), "incarnation": incarnation.to_string(),
            "version": version.get(), "rows": rows, "bytes": bytes, "files": files, "directories": directories,
            "chunks": chunks,
        });
        writeln!(out, "{json}")
    } else {
        writeln!(
            out,
            "cluster {cluster}, version {version}: {files} files, {directories} directories, {chunks} chunks in {rows} rows, {bytes} bytes"
        )
    };
    written.map_err(|error| Error::io("write to stdout", error))?;
    Ok(ExitCode::SUCCESS)
}

/// What is being worked on, for a person who watches.
fn progress(what: std::fmt::Arguments<'_>) {
    if io::stderr().is_terminal() {
        // A terminal that is gone is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{what}");
    }
}

/// A file behind a buffer.
struct Buffered(BufWriter<File>);

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Spool for Buffered {
    fn restart(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_mut().restart()
    }
}
