//! `bench write`: files of one size, several at once.

use godfs_core::{DfsPath, Result};

use super::super::context::Context;
use super::super::failure::{Failure, Outcome, say_line};
use super::super::view::Measured;
use super::args::BenchWriteArgs;
use super::data::Data;
use super::measure::{Phase, measure};
use crate::{Client, CreateOptions, MkdirOptions};

/// The seed of the data: runs are alike.
const SEED: u64 = 0x60df5;

/// Runs `bench write`.
pub(super) async fn write(context: &Context, args: &BenchWriteArgs) -> Outcome<Vec<Measured>> {
    let under = DfsPath::parse(&args.path)?;
    let folder = under.join(&format!("bench-{:08x}", fastrand::u32(..)))?;
    context.client.mkdir(&folder, MkdirOptions::new()).await?;
    // Removed when the command ends, however it ends, unless it is to be kept.
    if !args.keep {
        context.remove_at_end(&folder);
    }
    let data = Data::new(SEED, args.size.0);
    let options = args.layout.apply(CreateOptions::new()).sync_on_close(!args.no_sync);
    let phase = Phase::new(context, "write", folder.to_string(), args.count, args.concurrency).await;
    let (client, size, directory) = (context.client.clone(), args.size.0, folder.clone());
    let figures = measure(phase, move |number| {
        write_file(client.clone(), directory.clone(), options.clone(), data.clone(), number, size)
    })
    .await;
    if args.keep && !context.quiet() {
        say_line(&format!("kept in {folder}"));
    }
    if let Some(error) = figures.error {
        context.say(&Failure::from(error.context("the first of the errors")));
    }
    Ok(vec![Measured { synced: Some(!args.no_sync), ..figures.measured }])
}

async fn write_file(
    client: Client,
    directory: DfsPath,
    options: CreateOptions,
    data: Data,
    number: u64,
    size: u64,
) -> Result<u64> {
    let mut writer = client.writer(directory.join(&format!("file-{number:06}"))?, options).await?;
    for block in data.file(number, size) {
        writer.write_bytes(block).await?;
    }
    writer.close().await?;
    Ok(size)
}
