//! Where replicas go is a trait: here the first one always goes home, to a failure domain of choice.
//!
//! `cargo run --release --example custom_policy`

mod home_first;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use godfs_client::{Client, CreateOptions, FileLocations};
use godfs_core::ReplicationPolicy;
use godfs_core::cluster::{LivenessSettings, RepairSettings};
use godfs_core::placement::{Domain, SpreadPolicy, conformance};
use godfs_server::{Cluster, NamenodeSettings};

use home_first::HomeFirst;

type Outcome<T> = Result<T, Box<dyn Error>>;

const DOMAINS: [&str; 3] = ["/lisbon", "/oslo", "/riga"];
const HOME: &str = "/oslo";
/// Two in each domain.
const DATANODES: usize = 6;
const FILE: &str = "/file";
/// Small chunks, so that there are many to place.
const CHUNK: u64 = 64 << 10;
const CHUNKS: usize = 24;
/// No step takes longer than this unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("custom_policy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome<()> {
    let home = Domain::parse(HOME)?;

    // What every policy must do, as properties over generated clusters; panics where one does not hold.
    conformance::all(&HomeFirst { home: home.clone() }, 1, 1_000);
    println!("HomeFirst does what a policy must, over 1,000 generated clusters for each property");

    let cluster = start(Arc::new(SpreadPolicy)).await?;
    let located = write(&cluster.client()).await?;
    println!("SpreadPolicy: {:2} of {CHUNKS} chunks have a replica in {HOME}", at_home(&located, &home));
    cluster.stop().await?;

    let mut cluster = start(Arc::new(HomeFirst { home: home.clone() })).await?;
    let client = cluster.client();
    let located = write(&client).await?;
    println!("HomeFirst:    {:2} of {CHUNKS} chunks have a replica in {HOME}", at_home(&located, &home));
    if at_home(&located, &home) != CHUNKS {
        return Err("a chunk is not at home".into());
    }

    // Repair asks the same policy: what a dead node at home held is copied to the other one there.
    let victim = DOMAINS.iter().position(|domain| *domain == HOME).ok_or("no node is at home")?;
    cluster.kill_datanode(victim).await;
    let located = wait_until_whole(&client, &home).await?;
    println!(
        "one of the two nodes there was killed; after repair {} of {CHUNKS} are at home",
        at_home(&located, &home)
    );
    cluster.stop().await?;
    Ok(())
}

async fn start(policy: Arc<dyn ReplicationPolicy>) -> Outcome<Cluster> {
    // Deaths are noticed fast, since nothing here is busy.
    let liveness = LivenessSettings {
        heartbeat: Duration::from_millis(200),
        suspect_after: Duration::from_millis(600),
        dead_after: Duration::from_secs(1),
        repair_grace: Duration::ZERO,
    };
    let domains = DOMAINS.iter().map(|domain| Domain::parse(domain)).collect::<Result<_, _>>()?;
    // Repair goes elsewhere rather than wait for a node that receives as many copies as it may, if that costs no spread.
    let repair = RepairSettings { receives_per_node: CHUNKS, ..RepairSettings::default() };
    let settings = NamenodeSettings { liveness, repair, ..NamenodeSettings::default() };
    let builder = Cluster::builder().datanodes(DATANODES).domains(domains);
    Ok(builder.policy(policy).namenode_settings(settings).start().await?)
}

async fn write(client: &Client) -> Outcome<FileLocations> {
    let options = CreateOptions::new().chunk_size(CHUNK).replication(2);
    client.put(FILE, vec![1; CHUNK as usize * CHUNKS], options).await?;
    Ok(client.locate(FILE).await?)
}

/// How many chunks have a live replica at home.
fn at_home(located: &FileLocations, home: &Domain) -> usize {
    let is_home = |chunk: &&godfs_client::ChunkLocation| {
        chunk.replicas.iter().any(|replica| replica.live && replica.node.domain == *home)
    };
    located.chunks.iter().filter(is_home).count()
}

/// Waits until every chunk has two live replicas again, one of them at home.
async fn wait_until_whole(client: &Client, home: &Domain) -> Outcome<FileLocations> {
    let repaired = async {
        loop {
            let located = client.locate(FILE).await?;
            let live =
                |chunk: &godfs_client::ChunkLocation| chunk.replicas.iter().filter(|replica| replica.live).count();
            if located.chunks.iter().all(|chunk| live(chunk) >= 2) && at_home(&located, home) == CHUNKS {
                return Ok(located);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, repaired).await.map_err(|_| format!("not repaired within {PATIENCE:?}"))?
}
