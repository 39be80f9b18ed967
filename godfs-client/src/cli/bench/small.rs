//! `bench small`: whole small files, each in one call.

use bytes::{Bytes, BytesMut};
use godfs_core::{Error, ErrorKind};

use super::super::context::Context;
use super::super::failure::Outcome;
use super::super::view::Measured;
use super::args::BenchSmallArgs;
use super::data::Data;
use super::lanes::Lanes;
use super::names::{Names, scattered};
use super::small_calls::Load;
use crate::CreateOptions;

/// The seed of the data: runs are alike.
const SEED: u64 = 0x60df5;

/// Runs `bench small`.
pub(super) async fn small(context: &Context, args: &BenchSmallArgs) -> Outcome<Vec<Measured>> {
    let BenchSmallArgs { ref path, size, count, concurrency, per_dir, keep } = *args;
    let names = Names::make(context, path, count, per_dir, keep).await?;
    let lanes = Lanes::start(context, concurrency).await?;
    let data = Data::new(SEED, size.0.saturating_mul(64));
    let mut load = Load::new(context, &lanes, names, concurrency);
    load.phase("put", count, move |client, names, number| {
        let bytes = whole(&data, number, size.0);
        async move { client.put(&names.file(number)?, bytes, CreateOptions::new()).await.map(|()| size.0) }
    })
    .await;
    load.phase("get", count, move |client, names, number| async move {
        let path = names.file(scattered(number, count))?;
        let bytes = client.get(&path).await?.len() as u64;
        if bytes == size.0 {
            return Ok(bytes);
        }
        Err(Error::new(ErrorKind::Corrupt, format!("{path} has {bytes} bytes instead of {}", size.0)))
    })
    .await;
    load.end(keep).await
}

/// The bytes of one file in one piece.
fn whole(data: &Data, number: u64, size: u64) -> Bytes {
    let mut blocks = data.file(number, size);
    let Some(first) = blocks.next() else { return Bytes::new() };
    if first.len() as u64 == size {
        return first;
    }
    let mut bytes = BytesMut::from(&first[..]);
    blocks.for_each(|block| bytes.extend_from_slice(&block));
    bytes.freeze()
}
