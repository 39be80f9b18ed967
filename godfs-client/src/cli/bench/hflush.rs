//! `bench hflush`: what a small write costs that is acknowledged before the next.

use std::sync::Arc;

use godfs_core::{DfsPath, Error, ErrorKind, Result};
use tokio::time::Instant;

use super::super::context::Context;
use super::super::failure::{Failure, Outcome};
use super::super::view::Measured;
use super::args::BenchHflushArgs;
use super::data::Data;
use super::lanes::Lanes;
use super::measure::{Meter, Phase, Tally};
use crate::{Client, CreateOptions, MkdirOptions};

/// The seed of the data: runs are alike.
const SEED: u64 = 0x60df5;

/// Runs `bench hflush`.
pub(super) async fn hflush(context: &Context, args: &BenchHflushArgs) -> Outcome<Vec<Measured>> {
    let folder = DfsPath::parse(&args.path)?.join(&format!("bench-{:08x}", fastrand::u32(..)))?;
    context.client.mkdir(&folder, MkdirOptions::new()).await?;
    context.remove_at_end(&folder);
    let path = folder.join("stream")?;
    let name = if args.sync { "hsync" } else { "hflush" };
    let lanes = Lanes::start(context, 1).await?;
    let phase = Phase::new(context, name, path.to_string(), args.count, 1).await;
    let meter = Meter::start(&phase);
    let mut tally = Tally::default();
    for lane in lanes.all() {
        let work = written(Arc::clone(&lane.client), path.clone(), args.clone());
        match lane.runtime.spawn(work).await {
            Ok(of_lane) => tally.add(of_lane),
            Err(stopped) => tally.fail(Error::new(ErrorKind::Internal, format!("the writer ended early: {stopped}"))),
        }
    }
    let figures = tally.figures(phase, meter);
    lanes.end().await;
    if let Some(error) = figures.error {
        context.say(&Failure::from(error));
    }
    Ok(vec![Measured { synced: Some(args.sync), ..figures.measured }])
}

async fn written(client: Arc<Client>, path: DfsPath, args: BenchHflushArgs) -> Tally {
    let mut tally = Tally::default();
    if let Err(error) = write(&client, &path, &args, &mut tally).await {
        tally.fail(error);
    }
    tally
}

async fn write(client: &Client, path: &DfsPath, args: &BenchHflushArgs, tally: &mut Tally) -> Result<()> {
    let options = args.layout.apply(CreateOptions::new()).sync_on_close(args.sync);
    let mut writer = client.writer(path, options).await?;
    let data = Data::new(SEED, args.size.0.saturating_mul(64));
    for number in 0..args.count {
        let begun = Instant::now();
        for block in data.file(number, args.size.0) {
            writer.write_bytes(block).await?;
        }
        if args.sync {
            writer.hsync().await?;
        } else {
            writer.hflush().await?;
        }
        tally.succeed(args.size.0, begun.elapsed());
    }
    writer.close().await
}
