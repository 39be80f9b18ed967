//! Nodes that die while files are written and read. Every acknowledged byte is compared.

use std::time::Duration;

use godfs_client::{Client, CreateOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Daemons, noise, wait_for};

const MIB: usize = 1 << 20;

fn small_chunks() -> CreateOptions {
    CreateOptions::default().chunk_size(MIB as u64)
}

async fn assert_reads_back(client: &Client, path: &str, expected: &[u8]) {
    let mut file = client.open(path).await.expect("open");
    let mut found = Vec::new();
    file.read_to_end(&mut found).await.expect("read");
    assert_eq!(found.len(), expected.len(), "length of {path}");
    assert!(found == expected, "{path} reads back with other bytes");
}

/// The index of a running datanode that holds a replica of the file's last chunk.
fn holder(cluster: &Daemons, path: &str) -> usize {
    let located = cluster.locate(path);
    let chunks = located["chunks"].as_array().expect("chunks");
    let replicas = chunks.last().expect("a chunk")["replicas"].as_array().expect("replicas");
    let address = replicas[0]["address"].as_str().expect("address");
    cluster
        .datanodes
        .iter()
        .position(|node| node.as_ref().is_some_and(|node| node.address == address))
        .expect("a running datanode holds it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_dies_while_a_chunk_is_written() {
    let mut cluster = Daemons::start(4);
    let client = cluster.client().await;
    let data = noise(6 * MIB + 12_345, 1);
    let mut file = client.create("/w", small_chunks()).await.expect("create");
    file.write_all(&data[..2 * MIB + MIB / 2]).await.expect("write");
    file.hflush().await.expect("hflush");
    let victim = holder(&cluster, "/w");
    cluster.kill_datanode(victim);
    file.write_all(&data[2 * MIB + MIB / 2..]).await.expect("write goes on");
    file.close().await.expect("close");
    assert_reads_back(&client, "/w", &data).await;
    cluster.wait_until_whole();
    assert_reads_back(&client, "/w", &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_dies_between_two_chunks() {
    let mut cluster = Daemons::start(4);
    let client = cluster.client().await;
    let data = noise(4 * MIB, 2);
    let mut file = client.create("/between", small_chunks()).await.expect("create");
    for (number, chunk) in data.chunks(MIB).enumerate() {
        file.write_all(chunk).await.expect("write");
        file.hflush().await.expect("hflush at the end of a chunk");
        if number == 1 {
            let victim = holder(&cluster, "/between");
            cluster.kill_datanode(victim);
        }
    }
    file.close().await.expect("close");
    assert_reads_back(&client, "/between", &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_dies_during_close() {
    let mut cluster = Daemons::start(4);
    let client = cluster.client().await;
    // The moment of the kill moves over the close: before it, in it, after it.
    for round in 0..6_u64 {
        let path = format!("/close-{round}");
        let data = noise(3 * MIB + 777, round);
        let mut file = client.create(&path, small_chunks()).await.expect("create");
        file.write_all(&data).await.expect("write");
        file.hflush().await.expect("hflush");
        let victim = holder(&cluster, &path);
        let close = tokio::spawn(async move { file.close().await });
        tokio::time::sleep(Duration::from_millis(round * 2)).await;
        cluster.kill_datanode(victim);
        close.await.expect("joined").expect("close");
        assert_reads_back(&client, &path, &data).await;
        cluster.start_datanode(victim);
        cluster.wait_live(4);
    }
    cluster.wait_until_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_dies_while_a_file_is_read() {
    let mut cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(24 * MIB, 3);
    client.put("/r", data.clone(), CreateOptions::default().chunk_size(8 * MIB as u64)).await.expect("put");
    let mut file = client.open("/r").await.expect("open");
    let mut found = vec![0; data.len()];
    file.read_exact(&mut found[..3 * MIB]).await.expect("the first part");
    cluster.kill_datanode(0);
    file.read_exact(&mut found[3 * MIB..12 * MIB]).await.expect("the second part");
    cluster.kill_datanode(1);
    file.read_exact(&mut found[12 * MIB..]).await.expect("the rest");
    assert!(found == data, "other bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_ten_datanodes_die_at_once() {
    let mut cluster = Daemons::start(10);
    let client = cluster.client().await;
    let mut files = Vec::new();
    for number in 0..8_u64 {
        let data = noise(3 * MIB + 4_097 * usize::try_from(number).expect("small"), 100 + number);
        let path = format!("/ten-{number}");
        let mut file = client.create(&path, small_chunks()).await.expect("create");
        file.write_all(&data[..data.len() / 2]).await.expect("write");
        file.hflush().await.expect("hflush");
        files.push((path, data, file));
    }
    let first = holder(&cluster, "/ten-0");
    let second = (first + 1) % 10;
    cluster.kill_datanode(first);
    cluster.kill_datanode(second);
    for (path, data, file) in &mut files {
        file.write_all(&data[data.len() / 2..]).await.expect("write goes on");
        file.close().await.expect("close");
        assert_reads_back(&client, path, data).await;
    }
    cluster.wait_until_whole();
    for (path, data, _) in &files {
        assert_reads_back(&client, path, data).await;
    }
}

/// Writes and flushes `data` in a runtime of its own, which ends without any of its tasks having a last word; when `closing`, so long
/// after the file began to close.
fn write_and_die(cluster: &Daemons, path: &str, data: &[u8], closing: Option<Duration>) {
    let (url, path, data) = (cluster.url(), path.to_owned(), data.to_vec());
    let lost = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let mut file = runtime.block_on(async {
            let client = Client::connect(&url).await.expect("client");
            let mut file = client.create(&path, small_chunks()).await.expect("create");
            file.write_all(&data).await.expect("write");
            file.hflush().await.expect("hflush");
            file
        });
        if let Some(after) = closing {
            let _ = runtime.block_on(async { tokio::time::timeout(after, file.close()).await });
        }
        runtime.shutdown_background();
        std::mem::forget(file);
    });
    lost.join().expect("joined");
}

/// Waits until the lease of a dead writer is recovered.
fn wait_closed(cluster: &Daemons, path: &str) {
    wait_for("the lease is recovered", || {
        let stat: serde_json::Value = serde_json::from_str(&cluster.ok(&["stat", "--json", path])).expect("JSON");
        if stat["open"] == false { Ok(()) } else { Err(stat.to_string()) }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_dies_and_what_it_flushed_is_kept() {
    let cluster = Daemons::start(3);
    let client = cluster.client().await;
    // In the middle of a chunk, and between two.
    let files = [("/middle", noise(2 * MIB + 1_000, 5)), ("/between", noise(2 * MIB, 6))];
    for (path, data) in &files {
        write_and_die(&cluster, path, data, None);
    }
    for (path, data) in &files {
        wait_closed(&cluster, path);
        assert_reads_back(&client, path, data).await;
    }
    cluster.wait_until_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_dies_during_close() {
    let cluster = Daemons::start(3);
    let client = cluster.client().await;
    // The moment of death moves over the close: before it is asked for, in it, after it.
    let files: Vec<_> = (0..6_u64).map(|round| (format!("/dies-{round}"), noise(2 * MIB + 777, round))).collect();
    for ((path, data), round) in files.iter().zip(0..) {
        write_and_die(&cluster, path, data, Some(Duration::from_millis(round * 3)));
    }
    for (path, data) in &files {
        wait_closed(&cluster, path);
        assert_reads_back(&client, path, data).await;
    }
    cluster.wait_until_whole();
}
