//! `bench read`: the files under a path, several at once.

use std::pin::pin;
use std::sync::Arc;

use futures::stream::TryStreamExt;
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use tokio::io::AsyncReadExt;

use super::super::context::Context;
use super::super::failure::{Failure, Outcome};
use super::super::view::Measured;
use super::args::{BenchReadArgs, ReadApi};
use super::measure::{Phase, measure};
use crate::{Client, DfsFile, WalkOptions};

/// The most files that are looked for; those beyond are not read.
const MAX_FILES: usize = 1_000_000;

/// What a program that reads large files reads at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Runs `bench read`.
pub(super) async fn read(context: &Context, args: &BenchReadArgs) -> Outcome<Vec<Measured>> {
    let path = DfsPath::parse(&args.path)?;
    let files: Arc<[DfsPath]> = files(&context.client, &path).await?.into();
    if files.is_empty() {
        let message = format!("no files under {path}; `godfs bench write --keep` makes some");
        return Err(Error::new(ErrorKind::NotFound, message).into());
    }
    let ops = args.count.unwrap_or(files.len() as u64);
    let name = match args.api {
        ReadApi::Bytes => "read",
        ReadApi::Asyncread => "read-asyncread",
    };
    let phase = Phase::new(context, name, path.to_string(), ops, args.concurrency).await;
    let (client, limit, api) = (context.client.clone(), args.size.map_or(u64::MAX, |size| size.0), args.api);
    let figures = measure(phase, move |number| {
        let at = usize::try_from(number % files.len() as u64).unwrap_or(0);
        read_file(client.clone(), files[at].clone(), limit, api)
    })
    .await;
    if let Some(error) = figures.error {
        context.say(&Failure::from(error.context("the first of the errors")));
    }
    let local = (figures.measured.bytes > 0).then(|| context.client.local_bytes_read() >= figures.measured.bytes);
    Ok(vec![Measured { local, ..figures.measured }])
}

/// The file `path`, or all files below the directory `path`.
pub(super) async fn files(client: &Client, path: &DfsPath) -> Result<Vec<DfsPath>> {
    if client.stat(path).await?.is_file() {
        return Ok(vec![path.clone()]);
    }
    let mut files = Vec::new();
    let mut below = client.walk(path, WalkOptions::new())?;
    while let Some((path, status)) = below.try_next().await? {
        if status.is_file() {
            files.push(path);
        }
        if files.len() == MAX_FILES {
            break;
        }
    }
    Ok(files)
}

async fn read_file(client: Client, path: DfsPath, limit: u64, api: ReadApi) -> Result<u64> {
    if api == ReadApi::Asyncread {
        return read_handle(client.open(&path).await?, limit).await;
    }
    let reader = client.reader(&path).await?;
    let mut blocks = pin!(reader.stream(0..limit));
    let mut bytes = 0;
    while let Some(block) = blocks.try_next().await? {
        bytes += block.len() as u64;
    }
    Ok(bytes)
}

/// Reads a handle into a buffer, as `tokio::io` does.
async fn read_handle(mut file: DfsFile, limit: u64) -> Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    while bytes < limit {
        let wanted = usize::try_from(limit - bytes).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read(&mut buffer[..wanted]).await.map_err(|error| Error::io("read", error))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
    }
    Ok(bytes)
}
