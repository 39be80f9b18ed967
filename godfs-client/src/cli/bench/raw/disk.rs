//! The rows on the disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread;

use godfs_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::super::measure::{Meter, Phase, Spent, Tally};
use super::Run;
use super::packets::{Buffer, PACKET, lengths};

/// Writers at once: the replicas of a file.
const WRITERS: usize = 3;
/// Bytes of a batch of the log.
const BATCH: usize = 64 << 10;

/// Writes `size` bytes to each of three files at once.
pub(super) fn write3(size: u64, dir: &Path, sync: bool, phase: &Phase, tally: &mut Tally) -> Result<Run> {
    let mut files = Vec::new();
    for _ in 0..WRITERS {
        files.push(super::file_in(dir)?);
    }
    let data = random(PACKET);
    let meter = Meter::start(phase);
    thread::scope(|scope| {
        let writers: Vec<_> = files.iter().map(|file| scope.spawn(|| write(file, data.all(), size, sync))).collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a writer ended early")))
        })
    })?;
    Ok(end(meter, |spent| tally.succeed(size, spent.time)))
}

fn write(mut file: &File, data: &[u8], size: u64, sync: bool) -> Result<()> {
    for length in lengths(size) {
        file.write_all(&data[..length]).map_err(|error| Error::io("write", error))?;
    }
    if sync { file.sync_data().map_err(|error| Error::io("sync", error)) } else { Ok(()) }
}

/// Appends `size` bytes to a file, and syncs each batch.
pub(super) fn log_append(size: u64, dir: &Path, phase: &Phase, tally: &mut Tally) -> Result<Run> {
    let mut file = super::file_in(dir)?;
    let data = random(BATCH);
    let meter = Meter::start(phase);
    for at in (0..size).step_by(BATCH) {
        let length = usize::try_from(size - at).unwrap_or(BATCH).min(BATCH);
        let begun = Instant::now();
        file.write_all(&data.all()[..length]).map_err(|error| Error::io("append", error))?;
        file.sync_data().map_err(|error| Error::io("sync", error))?;
        tally.succeed(length as u64, begun.elapsed());
    }
    Ok(end(meter, |_| ()))
}

fn random(length: usize) -> Buffer {
    let mut data = Buffer::new(length);
    fastrand::Rng::with_seed(0x60df5).fill(data.all_mut());
    data
}

fn end(mut meter: Meter, count: impl FnOnce(Spent)) -> Run {
    let spent = meter.stop();
    count(spent);
    meter.set(Spent { all: Some(spent.own), ..spent });
    Run { meter, rss_max: None }
}
