//! Writers, readers and SIGKILL at random moments, for as many rounds as asked: `GODFS_ROUNDS` (default 2), from `GODFS_SEED` on.

use std::collections::BTreeMap;
use std::time::Duration;

use godfs_client::{Client, CreateOptions, RemoveOptions};
use tokio::io::AsyncWriteExt;

use crate::harness::{Daemons, noise, number};

const KIB: usize = 1 << 10;
const DATANODES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn soak_nothing_acknowledged_is_lost() {
    let rounds = number("GODFS_ROUNDS", 2);
    let seed = number("GODFS_SEED", fastrand::u64(..));
    println!("GODFS_SEED={seed} replays this");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cluster = Daemons::start(DATANODES);
    let mut acknowledged: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for round in 0..rounds {
        let client = cluster.client().await;
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let data = noise(random.usize(0..1_500 * KIB), random.u64(..));
                let path = format!("/round-{round}-{writer}");
                tokio::spawn(write(client.clone(), path, data))
            })
            .collect();
        let victim = random.usize(0..=DATANODES);
        tokio::time::sleep(Duration::from_millis(random.u64(0..150))).await;
        if victim == DATANODES {
            cluster.kill_namenode();
            cluster.start_namenode();
        } else {
            cluster.kill_datanode(victim);
        }
        for writer in writers {
            let (path, data) = writer.await.expect("joined");
            acknowledged.insert(path, data);
        }
        if victim < DATANODES {
            cluster.start_datanode(victim);
        }
        cluster.wait_live(DATANODES as u64);
        let client = cluster.client().await;
        for (path, data) in &acknowledged {
            assert!(client.get(path).await.expect("get") == *data, "round {round}: {path} has other bytes");
        }
        // So that a long soak does not fill the disk.
        while acknowledged.len() > 40 {
            if let Some((path, _)) = acknowledged.pop_first() {
                client.remove(&path, RemoveOptions::default()).await.expect("remove");
            }
        }
    }
    cluster.wait_until_whole();
}

/// One datanode of four, or the namenode, dies and returns: every write goes through.
async fn write(client: Client, path: String, data: Vec<u8>) -> (String, Vec<u8>) {
    let mut file = client.create(&path, CreateOptions::default().chunk_size(256 * KIB as u64)).await.expect("create");
    for part in data.chunks(100_000) {
        file.write_all(part).await.expect("write");
    }
    file.close().await.expect("close");
    (path, data)
}
