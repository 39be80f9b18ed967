//! `bench stall`: how long a stream stands still when a process is killed or frozen under it.

use std::time::Duration;

use bytes::Bytes;
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::context::Context;
use super::super::failure::{Failure, Outcome};
use super::super::platform::{self, Signal};
use super::super::view::Measured;
use super::args::{BenchStallArgs, StallRole};
use super::data::Data;
use super::measure::{Meter, Phase, Tally};
use crate::{Client, CreateOptions, DfsFile, MkdirOptions, Writer};

/// The seed of the data: runs are alike.
const SEED: u64 = 0x60df5;
/// The blow falls in this part of the run, so that there is a stream before it and after it.
const BLOW_BETWEEN: std::ops::Range<f64> = 0.15..0.4;

/// Bytes of the file that a reader reads over and over, and of its chunks unless told otherwise: one chunk after the other is read from another node.
const READ_BYTES: u64 = 64 << 20;
const READ_CHUNK_BYTES: u64 = 1 << 20;

/// Runs `bench stall`.
pub(super) async fn stall(context: &Context, args: &BenchStallArgs) -> Outcome<Vec<Measured>> {
    let blow = Blow::of(args)?;
    let under = DfsPath::parse(&args.path)?;
    let folder = under.join(&format!("bench-{:08x}", fastrand::u32(..)))?;
    context.client.mkdir(&folder, MkdirOptions::new()).await?;
    context.remove_at_end(&folder);
    let path = folder.join("stream")?;
    let phase = Phase::new(context, blow.name(), path.to_string(), u64::MAX, 1).await;
    let stream = match args.role {
        StallRole::Writer => Stream::Write(Writing::open(&context.client, &path, args).await?),
        StallRole::Reader => Stream::Read(Box::new(Reading::open(&context.client, &path, args).await?)),
    };
    let start = Instant::now();
    let falls = args.run.0.mul_f64(BLOW_BETWEEN.start + fastrand::f64() * (BLOW_BETWEEN.end - BLOW_BETWEEN.start));
    let meter = Meter::start(&phase);
    let strike = async {
        sleep_until(start + falls).await;
        let _until_the_end = blow.strike()?;
        sleep_until(start + args.run.0).await;
        Ok::<(), Error>(())
    };
    let mut tally = Tally::default();
    let (struck, streamed) = tokio::join!(strike, stream.run(start + args.run.0, &mut tally));
    struck?;
    if let Err(error) = streamed {
        tally.fail(error);
    }
    let figures = tally.figures(phase, meter);
    if let Some(error) = figures.error {
        context.say(&Failure::from(error));
    }
    let synced = matches!(args.role, StallRole::Writer).then_some(false);
    Ok(vec![Measured { synced, ..figures.measured }])
}

/// What goes on while the blow falls.
enum Stream {
    Write(Writing),
    Read(Box<Reading>),
}

impl Stream {
    async fn run(self, until: Instant, tally: &mut Tally) -> Result<()> {
        match self {
            Self::Write(writing) => writing.run(until, tally).await,
            Self::Read(reading) => reading.run(until, tally).await,
        }
    }
}

/// What befalls the process.
#[derive(Clone, Copy)]
enum Blow {
    Kill(u32),
    Freeze(u32),
}

impl Blow {
    fn of(args: &BenchStallArgs) -> Result<Self> {
        match (args.kill, args.freeze) {
            (Some(pid), None) => Ok(Self::Kill(pid)),
            (None, Some(pid)) => Ok(Self::Freeze(pid)),
            _ => Err(Error::new(ErrorKind::InvalidArgument, "name one process, by --kill or by --freeze")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill(_) => "stall-kill",
            Self::Freeze(_) => "stall-freeze",
        }
    }

    fn strike(self) -> Result<Option<Frozen>> {
        match self {
            Self::Kill(pid) => platform::send(pid, Signal::Kill).map(|()| None),
            Self::Freeze(pid) => platform::send(pid, Signal::Stop).map(|()| Some(Frozen(pid))),
        }
    }
}

/// A process that goes on when this is dropped, however the command ends.
struct Frozen(u32);

impl Drop for Frozen {
    fn drop(&mut self) {
        // One that was killed meanwhile needs no more.
        let _ = platform::send(self.0, Signal::Continue);
    }
}

/// A writer that has each write acknowledged before the next.
struct Writing {
    writer: Writer,
    block: Bytes,
    pause: Duration,
}

impl Writing {
    async fn open(client: &Client, path: &DfsPath, args: &BenchStallArgs) -> Result<Self> {
        let writer = client.writer(path, args.layout.apply(CreateOptions::new()).sync_on_close(false)).await?;
        let block = Data::new(SEED, args.size.0).file(0, args.size.0).next().unwrap_or_default();
        Ok(Self { writer, block, pause: args.pause.0 })
    }

    async fn run(mut self, until: Instant, tally: &mut Tally) -> Result<()> {
        while Instant::now() < until {
            let begun = Instant::now();
            self.writer.write_bytes(self.block.clone()).await?;
            self.writer.hflush().await?;
            tally.succeed(self.block.len() as u64, begun.elapsed());
            sleep(self.pause).await;
        }
        self.writer.close().await
    }
}

/// A reader that goes through a file again and again, a block at a time.
struct Reading {
    file: DfsFile,
    block: Vec<u8>,
    pause: Duration,
}

impl Reading {
    async fn open(client: &Client, path: &DfsPath, args: &BenchStallArgs) -> Result<Self> {
        let options = CreateOptions::new().chunk_size(READ_CHUNK_BYTES).sync_on_close(false);
        let mut writer = client.writer(path, args.layout.apply(options)).await?;
        for block in Data::new(SEED, READ_BYTES).file(0, READ_BYTES) {
            writer.write_bytes(block).await?;
        }
        writer.close().await?;
        let block = vec![0; usize::try_from(args.size.0).unwrap_or(usize::MAX).clamp(1, 1 << 20)];
        Ok(Self { file: client.open(path).await?, block, pause: args.pause.0 })
    }

    async fn run(mut self, until: Instant, tally: &mut Tally) -> Result<()> {
        while Instant::now() < until {
            let begun = Instant::now();
            let read = self.file.read(&mut self.block).await.map_err(|error| Error::io("read", error))?;
            if read == 0 {
                self.file.rewind().await.map_err(|error| Error::io("begin again", error))?;
                continue;
            }
            tally.succeed(read as u64, begun.elapsed());
            sleep(self.pause).await;
        }
        Ok(())
    }
}
