//! `cat` and `checksum`: the bytes of files.

use std::io::{self, Write};
use std::pin::pin;

use futures::stream::TryStreamExt;
use godfs_core::{DfsPath, Result};

use super::args::{CatArgs, ChecksumArgs};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::local::BlockWriter;
use super::output::Output;
use super::progress::Progress;
use super::view::Checksum;
use crate::Client;

/// Runs `cat`.
pub(super) async fn cat(context: &Context, args: &CatArgs) -> Outcome {
    let progress = Progress::bytes(Some(0), true);
    // A thread of its own writes, so that the next bytes arrive meanwhile.
    let stdout = BlockWriter::start(io::stdout(), |mut stdout| stdout.flush());
    context
        .each(&args.paths, async |path| Ok(pour(&context.client, &DfsPath::parse(path)?, &stdout, &progress).await?))
        .await?;
    stdout.finish().await.map_err(Failure::stdout)
}

/// Hands the bytes of a file to `writer`, as long as it takes them: how it failed is for [`BlockWriter::finish`] to say.
pub(super) async fn pour(client: &Client, path: &DfsPath, writer: &BlockWriter, progress: &Progress) -> Result<()> {
    progress.say(path.as_str());
    let reader = client.reader(path).await?;
    progress.add_total(reader.len());
    let mut blocks = pin!(reader.stream(..));
    while let Some(block) = blocks.try_next().await? {
        let length = block.len() as u64;
        if !writer.write(block).await {
            break;
        }
        progress.add(length);
    }
    Ok(())
}

/// Runs `checksum`.
pub(super) async fn checksum(context: &Context, args: &ChecksumArgs, output: &mut Output) -> Outcome {
    context
        .each(&args.paths, async |path| {
            let path = DfsPath::parse(path)?;
            let sum = context.client.checksum(&path).await?;
            let checksum = format!("{:08x}", sum.crc32c);
            if output.json() {
                output.object(&Checksum { path: path.to_string(), length: sum.length, algorithm: "crc32c", checksum })
            } else {
                output.line(&format!("{checksum}  {path}"))
            }
        })
        .await
}
