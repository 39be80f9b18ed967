//! Where bytes and metadata live are traits: here both lie in memory, in stores behind wrappers that count and limit.
//!
//! `cargo run --release --example custom_store`

mod conformance;
mod metered_chunks;
mod metered_metadata;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use godfs_client::CreateOptions;
use godfs_core::{Incarnation, chunk, metadata};
use godfs_server::Cluster;

use metered_chunks::MeteredChunks;
use metered_metadata::MeteredMetadata;

const DATANODES: usize = 3;
const REPLICAS: u32 = 2;
const CHUNK: u64 = 1 << 20;
const CHUNKS: u64 = 8;
/// The first datanode takes no more replicas than this; the others take what it refuses.
const MOST_ON_THE_FIRST: usize = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("custom_store: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    conformance::check().await;
    println!("both stores do what their traits ask for");

    let metadata = metadata::MemoryStore::new(Incarnation::from_random(1));
    let metadata = Arc::new(MeteredMetadata::new(Arc::new(metadata)));
    let stores: Vec<MeteredChunks> = (0..DATANODES)
        .map(|index| {
            let most = if index == 0 { MOST_ON_THE_FIRST } else { usize::MAX };
            MeteredChunks::new(Arc::new(chunk::MemoryStore::new(None)), most)
        })
        .collect();

    let given = stores.clone();
    let cluster = Cluster::builder()
        .datanodes(DATANODES)
        .metadata_store(metadata.clone())
        // Asked at each start of a datanode: a restarted one finds what it had.
        .chunk_stores(move |index| Arc::new(given[index].clone()))
        .start()
        .await?;
    let client = cluster.client();

    let bytes: Vec<u8> = (0..CHUNK * CHUNKS).map(|at| (at % 251) as u8).collect();
    client.put("/file", bytes.clone(), CreateOptions::new().chunk_size(CHUNK).replication(REPLICAS)).await?;
    if client.get("/file").await? != bytes {
        return Err("other bytes came back".into());
    }

    println!("datanode  replicas  MiB written  syncs  MiB read");
    let (mut replicas, mut read) = (0, 0);
    for (index, store) in stores.iter().enumerate() {
        use chunk::ChunkStore as _;
        let held = store.list(0..u64::MAX, usize::MAX).await?.len();
        let meter = store.meter();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{index:8}  {held:8}  {:11.1}  {:5}  {:8.1}",
            mib(meter.written.load(Relaxed)),
            meter.syncs.load(Relaxed),
            mib(meter.read.load(Relaxed))
        );
        if index == 0 && held > MOST_ON_THE_FIRST {
            return Err(format!("{held} replicas on a datanode that may hold {MOST_ON_THE_FIRST}").into());
        }
        replicas += held as u64;
        read += meter.read.load(Relaxed);
    }
    println!("metadata: {} transactions, {} reads", metadata.transactions.load(Relaxed), metadata.reads.load(Relaxed));

    if replicas != CHUNKS * u64::from(REPLICAS) || read < CHUNK * CHUNKS {
        return Err(format!("{replicas} replicas, {read} bytes read").into());
    }
    cluster.stop().await?;
    Ok(())
}
