//! Small reads from anywhere, while datanodes are killed and frozen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use godfs_client::{Client, ClientSettings, CreateOptions, LocalReads};

use crate::harness::{Daemons, noise};

const MIB: usize = 1 << 20;
const TASKS: usize = 32;
const READS: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn small_reads_outlive_datanodes() {
    let mut cluster = Daemons::start(4);
    let mut settings = ClientSettings::default();
    settings.local_reads = LocalReads::Never;
    let client = Client::builder().namenodes(&cluster.url()).settings(settings).connect().await.expect("connect");
    let data = Arc::new(noise(12 * MIB + 777, 5));
    client.put("/f", data.to_vec(), CreateOptions::new().chunk_size(MIB as u64)).await.expect("put");
    let reader = client.reader("/f").await.expect("open");
    let done = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (reader, data, done) = (reader.clone(), Arc::clone(&data), Arc::clone(&done));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(task as u64);
                for _ in 0..READS {
                    let (from, length) = (random.usize(..data.len()), random.usize(1..9_000));
                    let found = reader.read_at(from as u64, length).await.expect("read");
                    assert!(found == data[from..(from + length).min(data.len())], "{length} bytes at {from}");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let after = async |reads| {
        while done.load(Ordering::Relaxed) < reads {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    after(TASKS * READS / 4).await;
    cluster.kill_datanode(0);
    after(TASKS * READS / 2).await;
    cluster.datanodes[1].as_ref().expect("running").signal("STOP");
    for task in tasks {
        task.await.expect("no panic");
    }
    cluster.datanodes[1].as_ref().expect("running").signal("CONT");
}
