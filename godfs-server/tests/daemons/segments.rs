//! Small replicas that share files: acknowledged ones outlive SIGKILL, bits that flip in them are found and repaired.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use godfs_client::CreateOptions;

use crate::harness::{Daemons, noise, wait_for};
use crate::healing::replica_files;

const SIZE: usize = 64 << 10;
/// The header of a segment, then slots of a header page, a page of checksums and the data.
const FIRST_DATA: u64 = 3 * 4_096;
const SLOT: u64 = 2 * 4_096 + SIZE as u64;

fn segment_files(cluster: &Daemons, node: usize) -> Vec<PathBuf> {
    let folder = cluster.datanode_folder(node).join("chunks/v1/segments");
    let entries = std::fs::read_dir(folder).expect("the folder of segments").map(|entry| entry.expect("entry").path());
    entries.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_small_replicas_survive_sigkill_and_flipped_bits() {
    let mut cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = |number: u64| noise(SIZE, number);
    let path = |number: u64| format!("/small-{number}");
    let puts = (0..40).map(|number| {
        let (client, path, data) = (client.clone(), path(number), data(number));
        async move { client.put(&path, data, CreateOptions::default()).await.expect("put") }
    });
    futures::future::join_all(puts).await;
    // Acknowledged is all that they were.
    (0..3).for_each(|node| cluster.kill_datanode(node));
    for node in 0..3 {
        assert_eq!(replica_files(&cluster.datanode_folder(node)), Vec::<PathBuf>::new(), "no file of its own");
        assert_eq!(segment_files(&cluster, node).len(), 1);
    }
    // While they are down, one byte in the data of every fourth replica of a node.
    let [segment] = &segment_files(&cluster, 1)[..] else { panic!("one segment") };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(segment).expect("open");
    for slot in (0..40).step_by(4) {
        let at = FIRST_DATA + slot * SLOT + 5_000 + slot;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 4], at).expect("write");
    }
    (0..3).for_each(|node| cluster.start_datanode(node));
    cluster.wait_live(3);
    cluster.wait_until_whole();
    assert_eq!(cluster.godfs(&["admin", "scrub", "--now"]).status.code(), Some(1), "there is corruption to be found");
    for number in 0..40 {
        assert!(client.get(&path(number)).await.expect("get") == data(number), "{number} has other bytes");
    }
    wait_for("the copies are replaced", || {
        let report = cluster.report();
        if report["corrupt"] == 0 && report["under_replicated"] == 0 { Ok(()) } else { Err(report.to_string()) }
    });
    assert_eq!(cluster.godfs(&["admin", "scrub", "--now"]).status.code(), Some(0));
    // The repaired node alone has all of them, as they were written.
    cluster.kill_datanode(0);
    cluster.kill_datanode(2);
    for number in 0..40 {
        assert!(client.get(&path(number)).await.expect("get") == data(number), "{number} has other bytes");
    }
}
