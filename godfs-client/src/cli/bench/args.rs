//! What `bench` can be told.

use clap::{Args, Subcommand, ValueEnum};

use super::super::args::{LayoutArgs, ReadArgs};
use super::super::size::{ByteSize, Span};
use super::raw::{RawArgs, RawPartArgs};

pub(in crate::cli) const BENCH_EXAMPLES: &str = "\
CPU of all is that of this process and of the cluster's daemons, where all of them run on this machine.

Examples:
  godfs bench raw --dir /srv/godfs
  godfs bench write --size 1G
  godfs bench meta --count 100000
  godfs bench small --size 4K --json";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BenchVerb {
    /// Write files
    Write(BenchWriteArgs),
    /// Read files
    Read(BenchReadArgs),
    /// Small reads from anywhere in files that are there
    Random(BenchRandomArgs),
    /// Create, stat, list, rename and delete empty files
    Meta(BenchMetaArgs),
    /// Put and get small files, each in one call
    Small(BenchSmallArgs),
    /// Small writes, each acknowledged by every datanode before the next
    Hflush(BenchHflushArgs),
    /// Writers and readers at once, beside one of each
    Mixed(BenchMixedArgs),
    /// Kill or freeze a process under a stream, and tell how long the stream stands still
    Stall(BenchStallArgs),
    /// What this machine does at best without GoDFS; needs no cluster
    Raw(RawArgs),
    /// A process that `raw` starts
    #[command(hide = true, after_help = "Examples:\n  godfs bench raw")]
    RawPart(RawPartArgs),
}

impl BenchVerb {
    /// How it reads files.
    pub(in crate::cli) fn reading(&self) -> ReadArgs {
        match self {
            Self::Read(args) => args.reading,
            Self::Random(args) => args.reading,
            Self::Mixed(args) => args.reading,
            Self::Stall(args) => args.reading,
            _ => ReadArgs::default(),
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Works in a fresh directory under --path and removes only what it wrote.

Examples:
  godfs bench write --size 1G --count 3 --concurrency 3
  godfs bench write --size 64M --count 100 --no-sync --keep --json")]
pub(in crate::cli) struct BenchWriteArgs {
    /// The directory to work under
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(super) path: String,
    /// Bytes a file
    #[arg(long, value_name = "SIZE", default_value = "64M")]
    pub(super) size: ByteSize,
    /// Files
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// Files at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) concurrency: u32,
    /// Don't wait for the disks of the datanodes before a file is closed
    #[arg(long)]
    pub(super) no_sync: bool,
    /// Leave the files, and say where
    #[arg(long)]
    pub(super) keep: bool,
    #[command(flatten)]
    pub(super) layout: LayoutArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs bench read --path /bench-1a2b3c4d --concurrency 4
  godfs bench read --path /models/model.bin --count 10 --json")]
pub(in crate::cli) struct BenchReadArgs {
    /// The file, or the directory whose files, to read
    #[arg(long, value_name = "PATH")]
    pub(super) path: String,
    /// Bytes of each file to read, from its start [default: all]
    #[arg(long, value_name = "SIZE")]
    pub(super) size: Option<ByteSize>,
    /// Files to read; they are taken in turn, again and again when there are fewer [default: each once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Files at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) concurrency: u32,
    /// How the bytes are taken
    #[arg(long, value_enum, default_value_t = ReadApi::Bytes)]
    pub(super) api: ReadApi,
    #[command(flatten)]
    pub(super) reading: ReadArgs,
}

/// How `bench read` takes the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ReadApi {
    /// A stream of buffers as they arrive
    Bytes,
    /// Into a buffer of 256 KiB, by tokio's AsyncRead
    Asyncread,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Each read is one call for bytes at a place of its own, which are verified; the places are scattered over the files.

Examples:
  godfs bench random --path /bench-1a2b3c4d --in-flight 64
  godfs bench random --path /models/model.bin --size 64K --in-flight 1 --count 10000 --json")]
pub(in crate::cli) struct BenchRandomArgs {
    /// The file, or the directory whose files, to read from
    #[arg(long, value_name = "PATH")]
    pub(super) path: String,
    /// Bytes a read
    #[arg(long, value_name = "SIZE", default_value = "4096", value_parser = at_least_a_byte)]
    pub(super) size: ByteSize,
    /// Reads
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// Reads at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) in_flight: u32,
    #[command(flatten)]
    pub(super) reading: ReadArgs,
}

fn at_least_a_byte(text: &str) -> Result<ByteSize, String> {
    text.parse::<ByteSize>().and_then(|size| if size.0 > 0 { Ok(size) } else { Err("at least one byte".to_owned()) })
}

/// A phase of `bench meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum MetaPhase {
    Create,
    Stat,
    List,
    Rename,
    /// Left out with --keep, and then rename is followed by its reverse
    Delete,
}

impl BenchMetaArgs {
    /// Whether to go through a phase.
    pub(super) fn asks_for(&self, phase: MetaPhase) -> bool {
        self.phases.as_ref().is_none_or(|phases| phases.contains(&phase))
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
The phases: create (one call, an empty file that must not exist), stat (of any of them), list (each directory in turn, 1,000
times at most), rename (within the directory), delete. With --keep, rename-back takes the place of delete. Every change is
on the namenode's disk before it is answered. Files lie in a fresh directory under --path, which is removed at the end; with
the default path they are six names deep.

Examples:
  godfs bench meta --count 10000
  godfs bench meta --count 200000 --concurrency 64 --json
  godfs bench meta --count 5000000 --phases create
  godfs bench meta --count 100000 --per-dir 100000 --concurrency 1 --keep")]
pub(in crate::cli) struct BenchMetaArgs {
    /// The directory to work under
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(super) path: String,
    /// Operations a phase
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// Operations at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) concurrency: u32,
    /// Files in one directory
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) per_dir: u64,
    /// What to measure after the creation of the files, in the order shown [default: all]
    #[arg(long, value_name = "PHASE", value_enum, value_delimiter = ',')]
    pub(super) phases: Option<Vec<MetaPhase>>,
    /// Leave the files, and say where
    #[arg(long)]
    pub(super) keep: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The phases: put (one call, a file that must not exist), get (of any of them). Every put is on disk before it is answered.
Files of up to the cluster's small-file limit live in the namenode; larger ones go to datanodes.

Examples:
  godfs bench small --count 10000
  godfs bench small --size 16K --count 100000 --concurrency 64 --json")]
pub(in crate::cli) struct BenchSmallArgs {
    /// The directory to work under
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(super) path: String,
    /// Bytes a file
    #[arg(long, value_name = "SIZE", default_value = "4K")]
    pub(super) size: ByteSize,
    /// Operations a phase
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// Operations at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) concurrency: u32,
    /// Files in one directory
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) per_dir: u64,
    /// Leave the files, and say where
    #[arg(long)]
    pub(super) keep: bool,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
One file is written, and after each write every datanode of its pipeline has the bytes and new readers see them (hflush), or they are on every
disk (--sync). The latencies are those of a write with its acknowledgement.

Examples:
  godfs bench hflush --size 1024
  godfs bench hflush --size 64K --count 2000 --sync --json")]
pub(in crate::cli) struct BenchHflushArgs {
    /// The directory to work under
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(super) path: String,
    /// Bytes a write
    #[arg(long, value_name = "SIZE", default_value = "1024", value_parser = at_least_a_byte)]
    pub(super) size: ByteSize,
    /// Writes
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// Wait for the disks of the datanodes each time
    #[arg(long)]
    pub(super) sync: bool,
    #[command(flatten)]
    pub(super) layout: LayoutArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Readers go through one file each, made before, again and again, or through those of others where there are more readers than --files; writers write one file
after another and remove each when it is closed. First one writer and one reader run, then all, and so on in turns, --rounds times, for --for each.
Rows: one-write, one-read and one, which is their sum; mixed-write, mixed-read and mixed. An operation is a block of up to 1 MiB;
`least_bytes` and `most_bytes` are what the streams got that got least and most in a round.

Examples:
  godfs bench mixed
  godfs bench mixed --writers 16 --readers 48 --for 10s --local never --json")]
pub(in crate::cli) struct BenchMixedArgs {
    /// The directory to work under
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(super) path: String,
    /// Writers at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(super) writers: u32,
    /// Readers at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(super) readers: u32,
    /// Bytes a file
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = at_least_a_byte)]
    pub(super) size: ByteSize,
    /// Files that are read
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(super) files: u32,
    /// How long each runs
    #[arg(long = "for", value_name = "TIME", default_value = "5s")]
    pub(super) run: Span,
    /// Turns
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rounds: u32,
    /// Wait for the disks of the datanodes before a file is closed
    #[arg(long)]
    pub(super) sync: bool,
    #[command(flatten)]
    pub(super) layout: LayoutArgs,
    #[command(flatten)]
    pub(super) reading: ReadArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The writer writes one file, each write acknowledged by all its datanodes before the next; the reader goes through one of 64 MiB in chunks of
1 MiB, which lie on all nodes, again and again. The process is struck at a random moment. `max` is the longest that one write or read took: how
long it stood still. A frozen process goes on when the command ends, however it ends.

Examples:
  godfs bench stall --kill 4711 --role writer
  godfs bench stall --freeze 4711 --role reader --hedge 50ms
  godfs bench stall --freeze 4711 --role writer --for 20s --json")]
pub(in crate::cli) struct BenchStallArgs {
    /// The process to end by SIGKILL: a datanode on this machine
    #[arg(long, value_name = "PID", required_unless_present = "freeze", conflicts_with = "freeze", value_parser = clap::value_parser!(u32).range(2..))]
    pub(super) kill: Option<u32>,
    /// The process to stop by SIGSTOP, until the end of the run
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(2..))]
    pub(super) freeze: Option<u32>,
    /// Who is looked at
    #[arg(long, value_enum)]
    pub(super) role: StallRole,
    /// The directory to work under
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(super) path: String,
    /// Bytes a write or read, at most 1M
    #[arg(long, value_name = "SIZE", default_value = "64K")]
    pub(super) size: ByteSize,
    /// How long to run
    #[arg(long = "for", value_name = "TIME", default_value = "12s")]
    pub(super) run: Span,
    /// The pause after each write or read
    #[arg(long, value_name = "TIME", default_value = "2ms")]
    pub(super) pause: Span,
    #[command(flatten)]
    pub(super) layout: LayoutArgs,
    #[command(flatten)]
    pub(super) reading: ReadArgs,
}

/// Whose standstill `bench stall` measures.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum StallRole {
    /// A writer
    Writer,
    /// A reader
    Reader,
}
