//! What the store costs beside the client that it is made of, in one run: `cargo run --release -p godfs-object-store --example figures`, over a cluster in the
//! process, or over the one at `godfs://HOST:PORT` that is named.

use std::error::Error;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use godfs_client::{Client, CreateOptions};
use godfs_object_store::GodfsStore;
use godfs_server::Cluster;
use object_store_014::path::Path;
use object_store_014::{MultipartUpload, ObjectStore, ObjectStoreExt};

const SMALL: usize = 4 << 10;
const MIB: usize = 1 << 20;
const PART: usize = 16 * MIB;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[allow(clippy::disallowed_methods, reason = "it measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let url = std::env::args().nth(1);
    let (_cluster, client) = match url {
        Some(url) => (None, Client::connect(&url).await?),
        None => {
            let cluster = Cluster::builder().datanodes(3).start().await?;
            let client = cluster.client();
            (Some(cluster), client)
        }
    };
    let store = GodfsStore::new(client.clone(), format!("/figures-{}", std::process::id()))?;
    small(&client, &store).await?;
    large(&client, &store).await?;
    listing(&store).await
}

/// Of 32 callers: those of the client and of the store by turns.
async fn small(client: &Client, store: &GodfsStore) -> Outcome<()> {
    const COUNT: usize = 20_000;
    const AT_ONCE: usize = 32;
    let data = Bytes::from(vec![7; SMALL]);
    let root = store.root().to_string();
    let (mut puts, mut gets) = ([Duration::ZERO; 2], [Duration::ZERO; 2]);
    for turn in 0..4 {
        let begun = now();
        futures::stream::iter((0..COUNT / 4).map(|number| {
            let (path, data) = (format!("{root}/client/{turn}/{number}"), data.clone());
            async move { client.put(path, data, CreateOptions::new().parents(true).overwrite(true)).await.map(drop) }
        }))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
        puts[0] += begun.elapsed();
        let begun = now();
        futures::stream::iter((0..COUNT / 4).map(|number| {
            let (key, data) = (Path::from(format!("store/{turn}/{number}")), data.clone());
            async move { store.put(&key, data.into()).await }
        }))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
        puts[1] += begun.elapsed();
    }
    for turn in 0..4 {
        let begun = now();
        futures::stream::iter((0..COUNT / 4).map(|number| {
            let path = format!("{root}/client/{turn}/{number}");
            async move { client.get(path).await }
        }))
        .buffer_unordered(AT_ONCE)
        .try_for_each(|bytes| futures::future::ready(check(bytes.len() == SMALL)))
        .await?;
        gets[0] += begun.elapsed();
        let begun = now();
        futures::stream::iter((0..COUNT / 4).map(|number| {
            let key = Path::from(format!("store/{turn}/{number}"));
            async move { store.get(&key).await?.bytes().await }
        }))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
        gets[1] += begun.elapsed();
    }
    for (what, [client, store]) in [("put", puts), ("get", gets)] {
        let rate = |took: Duration| COUNT as f64 / took.as_secs_f64();
        let (client, store) = (rate(client), rate(store));
        println!("{what} of 4 KiB: client {client:.0}/s, store {store:.0}/s, ratio {:.2}", store / client);
    }
    Ok(())
}

fn check(holds: bool) -> godfs_client::Result<()> {
    assert!(holds, "the bytes that were written");
    Ok(())
}

async fn large(client: &Client, store: &GodfsStore) -> Outcome<()> {
    const BYTES: usize = 1 << 30;
    let part = Bytes::from((0..PART).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>());
    let begun = now();
    let mut file = client.writer(format!("{}/plain", store.root()), CreateOptions::new().parents(true)).await?;
    for _ in 0..BYTES / PART {
        file.write_bytes(part.clone()).await?;
    }
    file.close().await?;
    let plain = BYTES as f64 / begun.elapsed().as_secs_f64() / 1e6;
    let key = Path::from("upload");
    let begun = now();
    let mut upload = store.put_multipart(&key).await?;
    let parts: Vec<_> = (0..BYTES / PART).map(|_| upload.put_part(part.clone().into())).collect();
    futures::stream::iter(parts).buffer_unordered(8).try_collect::<Vec<_>>().await?;
    upload.complete().await?;
    let multipart = BYTES as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!(
        "1 GiB: plain file {plain:.0} MB/s, 8 parts in flight {multipart:.0} MB/s, ratio {:.2}",
        multipart / plain
    );

    let ranges: Vec<Range<u64>> = (0..1_000)
        .map(|at: u64| {
            let start = at * 7_919 % 1_000 * (1 << 20) + 5_000;
            start..start + (8 << 10)
        })
        .collect();
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = now();
        let found = store.get_ranges(&key, &ranges).await?;
        took.push(begun.elapsed());
        assert!(found.iter().all(|bytes| bytes.len() == 8 << 10), "whole ranges");
    }
    took.sort();
    println!("get_ranges of 1,000 x 8 KiB from 1 GiB: {:.1?} (the middle of five)", took[2]);
    Ok(())
}

async fn listing(store: &GodfsStore) -> Outcome<()> {
    const COUNT: usize = 100_000;
    let puts = (0..COUNT).map(|number| {
        let key = Path::from(format!("keys/{:03}/{number:06}", number / 1_000));
        async move { store.put(&key, "".into()).await }
    });
    futures::stream::iter(puts).buffer_unordered(64).try_for_each(|_| futures::future::ready(Ok(()))).await?;
    let prefix = Path::from("keys");
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = now();
        let count = ObjectStore::list(store, Some(&prefix))
            .try_fold(0, |count, _| futures::future::ready(Ok(count + 1)))
            .await?;
        took.push(begun.elapsed());
        assert_eq!(count, COUNT);
    }
    took.sort();
    println!("list of 100,000 keys: {:.0?} (the middle of five)", took[2]);
    Ok(())
}
