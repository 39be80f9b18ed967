//! `bench mixed`: many writers and readers at once, beside one of each.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::TryStreamExt;
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::context::Context;
use super::super::failure::{Failure, Outcome};
use super::super::view::Measured;
use super::args::BenchMixedArgs;
use super::data::Data;
use super::measure::{Figures, Meter, Phase, Tally};
use crate::{Client, CreateOptions, MkdirOptions, RemoveOptions};

/// The seed of the data: runs are alike.
const SEED: u64 = 0x60df5;

/// Runs `bench mixed`.
pub(super) async fn mixed(context: &Context, args: &BenchMixedArgs) -> Outcome<Vec<Measured>> {
    let folder = DfsPath::parse(&args.path)?.join(&format!("bench-{:08x}", fastrand::u32(..)))?;
    context.client.mkdir(&folder, MkdirOptions::new()).await?;
    context.remove_at_end(&folder);
    let load = Load {
        client: context.client.clone(),
        folder: folder.clone(),
        options: args.layout.apply(CreateOptions::new()).sync_on_close(args.sync),
        data: Data::new(SEED, args.size.0),
        size: args.size.0,
        files: args.files.min(args.readers.max(1)),
    };
    let load = Arc::new(load);
    for number in 0..load.files {
        load.write(&load.read_from(number)?, u64::from(number), &mut Tally::default()).await?;
    }
    let (mut few, mut many) = (Both::default(), Both::default());
    for _ in 0..args.rounds {
        few.add(turn(&load, 1, 1, context, args).await);
        many.add(turn(&load, args.writers, args.readers, context, args).await);
    }
    let path = folder.to_string();
    let mut rows = few.rows(["one-write", "one-read", "one"], &path);
    rows.extend(many.rows(["mixed-write", "mixed-read", "mixed"], &path));
    let mut measured = Vec::new();
    for figures in rows {
        if let Some(error) = figures.error {
            context.say(&Failure::from(error.context("the first of the errors")));
        }
        measured.push(Measured { synced: Some(args.sync), ..figures.measured });
    }
    Ok(measured)
}

/// What all streams work with.
struct Load {
    client: Client,
    folder: DfsPath,
    options: CreateOptions,
    data: Data,
    size: u64,
    /// That are read.
    files: u32,
}

impl Load {
    fn read_from(&self, number: u32) -> Result<DfsPath> {
        self.folder.join(&format!("read-{:04}", number % self.files))
    }

    /// Writes a file and has it closed, a block at a time.
    async fn write(&self, path: &DfsPath, number: u64, tally: &mut Tally) -> Result<()> {
        let mut writer = self.client.writer(path, self.options.clone()).await?;
        for block in self.data.file(number, self.size) {
            let (bytes, begun) = (block.len() as u64, Instant::now());
            writer.write_bytes(block).await?;
            tally.succeed(bytes, begun.elapsed());
        }
        writer.close().await
    }

    /// Writes files until `until`, and the last one to its end, so that all bytes which count are in files that are closed.
    async fn write_on(&self, stream: u32, until: Instant, tally: &mut Tally) -> Result<()> {
        let path = self.folder.join(&format!("written-{stream:04}"))?;
        let mut number = u64::from(stream);
        while Instant::now() < until {
            self.write(&path, number, tally).await?;
            self.client.remove(&path, RemoveOptions::new()).await?;
            number += 1;
        }
        Ok(())
    }

    /// Reads its file until `stop`.
    async fn read_on(&self, stream: u32, stop: &CancellationToken, tally: &mut Tally) -> Result<()> {
        let path = self.read_from(stream)?;
        let reader = self.client.reader(&path).await?;
        loop {
            let mut blocks = reader.stream(..);
            let mut bytes = 0;
            loop {
                let begun = Instant::now();
                let block: Option<Bytes> = tokio::select! {
                    // The stream is dropped with what it had.
                    () = stop.cancelled() => return Ok(()),
                    block = blocks.try_next() => block?,
                };
                let Some(block) = block else { break };
                bytes += block.len() as u64;
                tally.succeed(block.len() as u64, begun.elapsed());
            }
            if bytes != self.size {
                let message = format!("{path} gave {bytes} bytes of {}", self.size);
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
        }
    }
}

/// Runs so many writers and readers until the time is over and the writers have closed their files. The readers go on as long, so that
/// no one has the machine to itself.
async fn turn(load: &Arc<Load>, writers: u32, readers: u32, context: &Context, args: &BenchMixedArgs) -> Turn {
    let phase = Phase::new(context, "mixed", load.folder.to_string(), u64::MAX, writers + readers).await;
    let meter = Meter::start(&phase);
    let until = Instant::now() + args.run.0;
    let stop = CancellationToken::new();
    let mut writing = JoinSet::new();
    for stream in 0..writers {
        let load = Arc::clone(load);
        writing.spawn(async move {
            let mut tally = Tally::default();
            let outcome = load.write_on(stream, until, &mut tally).await;
            ended(tally, outcome)
        });
    }
    let mut reading = JoinSet::new();
    for stream in 0..readers {
        let (load, stop) = (Arc::clone(load), stop.clone());
        reading.spawn(async move {
            let mut tally = Tally::default();
            let outcome = load.read_on(stream, &stop, &mut tally).await;
            ended(tally, outcome)
        });
    }
    let written = sum(writing).await;
    stop.cancel();
    Turn { read: sum(reading).await, written, phase, meter }
}

fn ended(mut tally: Tally, outcome: Result<()>) -> Tally {
    if let Err(error) = outcome {
        tally.fail(error);
    }
    tally
}

async fn sum(mut streams: JoinSet<Tally>) -> Tally {
    let mut sum = Tally::default();
    while let Some(tally) = streams.join_next().await {
        match tally {
            Ok(tally) => sum.add_stream(tally),
            Err(stopped) => sum.fail(Error::new(ErrorKind::Internal, format!("a stream ended early: {stopped}"))),
        }
    }
    sum
}

/// One turn of some writers and readers.
struct Turn {
    written: Tally,
    read: Tally,
    phase: Phase,
    meter: Meter,
}

/// All turns of as many.
#[derive(Default)]
struct Both {
    written: Tally,
    read: Tally,
    last: Option<(Phase, Meter)>,
}

impl Both {
    fn add(&mut self, turn: Turn) {
        let Turn { written, read, phase, mut meter } = turn;
        meter.stop();
        if let Some((_, before)) = self.last.take() {
            meter.add(&before);
        }
        self.written.add(written);
        self.read.add(read);
        self.last = Some((phase, meter));
    }

    /// Three rows: written, read, and both. The costs can't be told apart: each row has all of them.
    fn rows(self, names: [&'static str; 3], path: &str) -> Vec<Figures> {
        let Some((phase, meter)) = self.last else { return Vec::new() };
        let mut all = Tally::default();
        all.add(self.written.clone());
        all.add(self.read.clone());
        let tallies = [self.written, self.read, all];
        let row = |(name, tally): (&'static str, Tally)| {
            tally.figures(Phase { name, path: path.to_owned(), ..phase.clone() }, meter.clone())
        };
        names.into_iter().zip(tallies).map(row).collect()
    }
}
