//! `bench meta`: calls that change or read names, and no bytes.

use futures::stream::TryStreamExt;
use godfs_core::Result;

use super::super::context::Context;
use super::super::failure::Outcome;
use super::super::view::Measured;
use super::args::{BenchMetaArgs, MetaPhase};
use super::lanes::Lanes;
use super::names::{Names, scattered};
use super::small_calls::Load;
use crate::{Client, CreateOptions, RemoveOptions, RenameOptions};

/// The most directories that the phase `list` lists: a listing is worth a thousand of the other operations.
const MAX_LISTS: u64 = 1_000;

/// Runs `bench meta`.
pub(super) async fn meta(context: &Context, args: &BenchMetaArgs) -> Outcome<Vec<Measured>> {
    let BenchMetaArgs { ref path, count, concurrency, per_dir, keep, .. } = *args;
    let names = Names::make(context, path, count, per_dir, keep).await?;
    let lanes = Lanes::start(context, concurrency).await?;
    let mut load = Load::new(context, &lanes, names.clone(), concurrency);
    load.phase("create", count, create).await;
    if args.asks_for(MetaPhase::Stat) {
        load.phase("stat", count, move |client, names, number| async move {
            client.stat(&names.file(scattered(number, count))?).await.map(|_| 0)
        })
        .await;
    }
    if args.asks_for(MetaPhase::List) {
        let directories = names.directories(count);
        load.phase("list", count.min(MAX_LISTS), move |client, names, number| async move {
            let mut entries = client.list(&names.directory(number % directories)?)?;
            while entries.try_next().await?.is_some() {}
            Ok(0)
        })
        .await;
    }
    let renames = args.asks_for(MetaPhase::Rename);
    if renames {
        load.phase("rename", count, rename).await;
    }
    match (keep, renames) {
        (true, true) => load.phase("rename-back", count, rename_back).await,
        (false, true) if args.asks_for(MetaPhase::Delete) => load.phase("delete", count, delete_renamed).await,
        (false, false) if args.asks_for(MetaPhase::Delete) => load.phase("delete", count, delete).await,
        _ => {}
    }
    load.end(keep).await
}

async fn create(client: Client, names: Names, number: u64) -> Result<u64> {
    client.put(&names.file(number)?, bytes::Bytes::new(), CreateOptions::new()).await.map(|()| 0)
}

async fn rename(client: Client, names: Names, number: u64) -> Result<u64> {
    client.rename(&names.file(number)?, &names.renamed(number)?, RenameOptions::new()).await.map(|()| 0)
}

async fn rename_back(client: Client, names: Names, number: u64) -> Result<u64> {
    client.rename(&names.renamed(number)?, &names.file(number)?, RenameOptions::new()).await.map(|()| 0)
}

async fn delete(client: Client, names: Names, number: u64) -> Result<u64> {
    client.remove(&names.file(number)?, RemoveOptions::new()).await.map(|()| 0)
}

async fn delete_renamed(client: Client, names: Names, number: u64) -> Result<u64> {
    client.remove(&names.renamed(number)?, RemoveOptions::new()).await.map(|()| 0)
}
