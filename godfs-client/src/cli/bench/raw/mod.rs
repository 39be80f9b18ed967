//! `bench raw`: what this machine does at best with the same work and without GoDFS, in rows of the same form.
//!
//! | row | what |
//! |---|---|
//! | `tcp_crc` | one TCP stream over loopback from another process, each piece of 4 KiB checked against the CRC32C that came with it |
//! | `relay3` | a stream through three processes, each of which hands it on, checks it, and writes it to a file; ends when all have |
//! | `write3`, `write3_sync` | three writers at once of as many bytes each, without and with `fdatasync` at the end |
//! | `log_append` | one file that grows by batches of 64 KiB, each followed by `fdatasync` |
//!
//! Plain blocking calls, a thread for each part: no runtime takes part. Files have no names, so nothing is left however it ends.

mod disk;
mod packets;
mod parts;
mod tcp;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use godfs_core::{Error, Result};

use super::super::failure::Outcome;
use super::super::output::Output;
use super::super::size::ByteSize;
use super::super::view::Measured;
use super::args::BenchVerb;
use super::daemons::Daemons;
use super::measure::{Meter, Phase, Tally};
pub(in crate::cli) use parts::RawPartArgs;

#[derive(Args, Debug)]
#[command(after_help = "\
The rows: tcp_crc (one stream over loopback, a CRC32C checked for each 4 KiB), relay3 (a bare relay of three processes, each of which hands on, checks
and writes to a file), write3 and write3_sync (three writers at once, without and with fdatasync), log_append (batches of 64 KiB, each with
fdatasync). MB/s are those of --size bytes; the CPU is that of all processes that take part. Needs no cluster; --dir should be on the disk of the
datanodes to compare with, and have room for three times --size.

Examples:
  godfs bench raw --dir /srv/godfs
  godfs bench raw --rows tcp_crc,relay3 --json")]
pub(in crate::cli) struct RawArgs {
    /// The local directory to write in [default: that for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Bytes a row
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    size: ByteSize,
    /// What to measure, in the order shown [default: all]
    #[arg(long, value_name = "ROW", value_enum, value_delimiter = ',')]
    rows: Option<Vec<Row>>,
}

/// A row of `bench raw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Row {
    TcpCrc,
    Relay3,
    Write3,
    Write3Sync,
    LogAppend,
}

impl Row {
    fn name(self) -> &'static str {
        match self {
            Self::TcpCrc => "tcp_crc",
            Self::Relay3 => "relay3",
            Self::Write3 => "write3",
            Self::Write3Sync => "write3_sync",
            Self::LogAppend => "log_append",
        }
    }

    /// Whether what it wrote was on disk at its end; `None` where it writes nothing.
    fn synced(self) -> Option<bool> {
        match self {
            Self::TcpCrc => None,
            Self::Relay3 | Self::Write3 => Some(false),
            Self::Write3Sync | Self::LogAppend => Some(true),
        }
    }
}

/// Runs what of `bench` needs no cluster; `None` where `verb` needs one.
pub(in crate::cli) fn without_cluster(verb: &BenchVerb, output: &mut Output) -> Option<Outcome> {
    match verb {
        BenchVerb::Raw(args) => Some(raw(args).map_err(Into::into).and_then(|rows| {
            super::show(&rows, output)?;
            output.flush()
        })),
        BenchVerb::RawPart(args) => Some(parts::run(args).map_err(Into::into)),
        _ => None,
    }
}

fn raw(args: &RawArgs) -> Result<Vec<Measured>> {
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let rows = Row::value_variants().iter().filter(|row| args.rows.as_ref().is_none_or(|rows| rows.contains(row)));
    rows.map(|&row| measure(row, args.size.0, &dir)).collect()
}

fn measure(row: Row, size: u64, dir: &Path) -> Result<Measured> {
    let (name, path) = (row.name(), dir.display().to_string());
    let phase = Phase { name, path, ops: 1, concurrency: 1, daemons: Daemons::default() };
    let mut tally = Tally::default();
    let context = |error: Error| error.context(format_args!("row {name}"));
    let run = match row {
        Row::TcpCrc => tcp::tcp_crc(size, &phase, &mut tally),
        Row::Relay3 => tcp::relay3(size, dir, &phase, &mut tally),
        Row::Write3 => disk::write3(size, dir, false, &phase, &mut tally),
        Row::Write3Sync => disk::write3(size, dir, true, &phase, &mut tally),
        Row::LogAppend => disk::log_append(size, dir, &phase, &mut tally),
    };
    let Run { meter, rss_max } = run.map_err(context)?;
    let measured = tally.figures(phase, meter).measured;
    Ok(Measured { synced: row.synced(), daemon_rss_max_bytes: rss_max, ..measured })
}

/// A row that was run.
struct Run {
    /// Stopped, with the costs of all processes.
    meter: Meter,
    /// The most memory that another process of it had resident.
    rss_max: Option<u64>,
}

/// A file without a name in `dir`.
fn file_in(dir: &Path) -> Result<std::fs::File> {
    tempfile::tempfile_in(dir).map_err(|error| Error::io(format_args!("make a file in {}", dir.display()), error))
}
