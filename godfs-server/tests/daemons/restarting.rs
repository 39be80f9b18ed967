//! Namenode and clusters that die and start again.

use godfs_client::CreateOptions;
use tokio::io::AsyncWriteExt;

use crate::harness::{Daemons, noise, wait_for};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_namenode_restarts_in_the_middle_of_a_write() {
    let mut cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(5 * MIB + 4_321, 1);
    let mut file = client.create("/n", CreateOptions::default().chunk_size(MIB as u64)).await.expect("create");
    file.write_all(&data[..MIB + MIB / 2]).await.expect("write");
    file.hflush().await.expect("hflush");
    cluster.kill_namenode();
    let (rest, write) = (data[MIB + MIB / 2..].to_vec(), file);
    let writing = tokio::spawn(async move {
        let mut file = write;
        file.write_all(&rest).await.expect("write goes on");
        file.close().await.expect("close");
    });
    cluster.start_namenode();
    writing.await.expect("joined");
    assert!(client.get("/n").await.expect("get") == data, "other bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_killed_straight_after_each_acknowledgement() {
    let mut cluster = Daemons::start(3);
    let mut files = Vec::new();
    for round in 0..3_u64 {
        let client = cluster.client().await;
        for (kind, length) in [("empty", 0), ("small", 5_000), ("chunks", 2 * MIB + 17)] {
            let (path, data) = (format!("/{kind}-{round}"), noise(length, round));
            client.put(&path, data.clone(), CreateOptions::default().chunk_size(MIB as u64)).await.expect("put");
            files.push((path, data));
        }
        cluster.kill_all();
        cluster.restart_all();
        let client = cluster.client().await;
        for (path, data) in &files {
            assert!(client.get(path).await.expect("get") == *data, "{path} has other bytes");
        }
    }
    cluster.wait_live(3);
    cluster.wait_until_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn repairs_that_are_owed_survive_the_namenode() {
    let mut cluster = Daemons::start(4);
    let client = cluster.client().await;
    let data = noise(8 * MIB, 9);
    client.put("/owed", data.clone(), CreateOptions::default().chunk_size(MIB as u64)).await.expect("put");
    cluster.kill_datanode(1);
    wait_for("repair is owed", || {
        let report = cluster.report();
        if report["under_replicated"] != 0 { Ok(()) } else { Err(report.to_string()) }
    });
    cluster.kill_namenode();
    cluster.start_namenode();
    wait_for("the restarted namenode has counted", || {
        let report = cluster.report();
        if report["complete"] == true { Ok(()) } else { Err(report.to_string()) }
    });
    wait_for("the death is known again", || {
        let report = cluster.report();
        if report["live_datanodes"] == 3 { Ok(()) } else { Err(report.to_string()) }
    });
    cluster.wait_until_whole();
    let located = cluster.locate("/owed");
    for chunk in located["chunks"].as_array().expect("chunks") {
        let live = chunk["replicas"].as_array().expect("replicas").iter().filter(|replica| replica["live"] == true);
        assert_eq!(live.count(), 3, "{located}");
    }
    assert!(client.get("/owed").await.expect("get") == data, "other bytes");
}
