//! Namenode, datanodes and clusters that die and start again.

use std::time::Duration;

use godfs_client::CreateOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
async fn the_namenode_restarts_between_two_chunks() {
    let mut cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(4 * MIB, 2);
    let mut file = client.create("/b", CreateOptions::default().chunk_size(MIB as u64)).await.expect("create");
    for (number, chunk) in data.chunks(MIB).enumerate() {
        file.write_all(chunk).await.expect("write");
        file.hflush().await.expect("hflush at the end of a chunk");
        if number == 1 {
            cluster.kill_namenode();
            cluster.start_namenode();
        }
    }
    file.close().await.expect("close");
    assert!(client.get("/b").await.expect("get") == data, "other bytes");
    cluster.wait_until_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namenode_restarts_during_close() {
    let mut cluster = Daemons::start(3);
    let client = cluster.client().await;
    // The moment of the kill moves over the close: before it, in it, after it.
    for round in 0..5_u64 {
        let path = format!("/close-{round}");
        let data = noise(2 * MIB + 777, round);
        let mut file = client.create(&path, CreateOptions::default().chunk_size(MIB as u64)).await.expect("create");
        file.write_all(&data).await.expect("write");
        let close = tokio::spawn(async move { file.close().await });
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        cluster.kill_namenode();
        cluster.start_namenode();
        close.await.expect("joined").expect("close");
        assert!(client.get(&path).await.expect("get") == data, "{path} has other bytes");
    }
    cluster.wait_until_whole();
}

/// Bytes come from datanodes: a reader that knows where they are does not notice that the namenode is away.
#[tokio::test(flavor = "multi_thread")]
async fn the_namenode_is_away_while_a_file_is_read() {
    let mut cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(12 * MIB, 3);
    client.put("/r", data.clone(), CreateOptions::default().chunk_size(MIB as u64)).await.expect("put");
    let mut file = client.open("/r").await.expect("open");
    let mut found = vec![0; data.len()];
    file.read_exact(&mut found[..MIB / 2]).await.expect("the first part");
    cluster.kill_namenode();
    file.read_exact(&mut found[MIB / 2..]).await.expect("the rest, without a namenode");
    assert!(found == data, "other bytes");
    let reading = tokio::spawn(async move { client.get("/r").await });
    cluster.start_namenode();
    assert!(reading.await.expect("joined").expect("get waits for the namenode") == data, "other bytes");
}

/// A chunk on one node alone, which is killed and comes back at another port.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_datanode_restarts_in_the_middle_of_a_write() {
    let mut cluster = Daemons::start(1);
    let client = cluster.client().await;
    let options = CreateOptions::default().chunk_size(MIB as u64).replication(1);
    let data = noise(3 * MIB + 4_321, 4);
    let mut file = client.create("/one", options).await.expect("create");
    file.write_all(&data[..MIB + MIB / 2]).await.expect("write");
    file.hflush().await.expect("hflush");
    cluster.kill_datanode(0);
    let rest = data[MIB + MIB / 2..].to_vec();
    let writing = tokio::spawn(async move {
        file.write_all(&rest).await.expect("write goes on");
        file.close().await.expect("close");
    });
    // Long enough for the writer to find nobody.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.start_datanode(0);
    writing.await.expect("joined");
    assert!(client.get("/one").await.expect("get") == data, "other bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_datanode_restarts_in_the_middle_of_a_read() {
    let mut cluster = Daemons::start(1);
    let client = cluster.client().await;
    let options = CreateOptions::default().chunk_size(4 * MIB as u64).replication(1);
    let data = noise(12 * MIB, 5);
    client.put("/one", data.clone(), options).await.expect("put");
    let mut file = client.open("/one").await.expect("open");
    let mut found = vec![0; data.len()];
    file.read_exact(&mut found[..MIB]).await.expect("the first part");
    cluster.kill_datanode(0);
    let reading = tokio::spawn(async move {
        file.read_exact(&mut found[MIB..]).await.expect("read goes on");
        found
    });
    // Long enough for the reader to find nobody.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.start_datanode(0);
    assert!(reading.await.expect("joined") == data, "other bytes");
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

/// The new store has a life of its own, which the datanodes take up once they are told to.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_exported_and_imported_under_running_datanodes() {
    let mut cluster = Daemons::start(3);
    let client = cluster.client().await;
    let mut files = Vec::new();
    for (number, length) in [0, 5_000, MIB / 2, 2 * MIB + 17].into_iter().enumerate() {
        let (path, data) = (format!("/{number}"), noise(length, number as u64));
        client.put(&path, data.clone(), CreateOptions::default().chunk_size(MIB as u64)).await.expect("put");
        files.push((path, data));
    }
    cluster.wait_until_whole();
    cluster.kill_namenode();
    cluster.move_metadata();
    cluster.check_namenode();
    cluster.start_namenode();
    let life = cluster.report()["incarnation"].as_str().expect("an incarnation").to_owned();
    // Nobody takes up another life unasked.
    wait_for("all datanodes say why they stay away", || {
        let said = cluster.datanode_logs().iter().all(|log| log.contains("an operator has to accept it"));
        if said { Ok(()) } else { Err(cluster.logs()) }
    });
    cluster.restart_datanodes_with(&["--accept-incarnation", &life]);
    cluster.wait_live(3);
    cluster.wait_until_whole();
    let client = cluster.client().await;
    for (path, data) in &files {
        assert!(client.get(path).await.expect("get") == *data, "{path} has other bytes");
    }
    client.put("/more", noise(MIB, 9), CreateOptions::default()).await.expect("life goes on");
    client.remove("/3", Default::default()).await.expect("remove");
    cluster.kill_namenode();
    cluster.check_namenode();
}
