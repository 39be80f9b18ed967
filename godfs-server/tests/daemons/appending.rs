//! Files that are closed are written on, while nodes die.

use godfs_client::{Client, CreateOptions};
use godfs_core::ErrorKind;
use godfs_core::checksum::crc32c;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Daemons, noise, wait_for};

const CHUNK: usize = 64 << 10;

async fn write(client: &Client, path: &str, data: &[u8]) {
    let mut file = client.create(path, CreateOptions::default().chunk_size(CHUNK as u64)).await.expect("create");
    file.write_all(data).await.expect("write");
    file.close().await.expect("close");
}

async fn append(client: &Client, path: &str, data: &[u8]) {
    let mut file = client.append(path).await.expect("append");
    file.write_all(data).await.expect("write");
    file.close().await.expect("close");
}

async fn assert_reads_back(client: &Client, path: &str, expected: &[u8]) {
    let found = client.get(path).await.expect("get");
    assert_eq!(found.len(), expected.len(), "length of {path}");
    assert!(found == expected, "{path} reads back with other bytes");
    let sum = client.checksum(path).await.expect("checksum");
    assert_eq!((sum.crc32c, sum.length), (crc32c(expected), expected.len() as u64), "{path}");
}

/// From every kind of end: empty, small, in mid-piece, at the end of a piece, of a chunk, and one byte beside each; and on to each kind of end.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_on_at_any_byte() {
    let cluster = Daemons::start(3);
    let client = cluster.client().await;
    let ends = [0, 1, 4_095, 4_096, 16 << 10, (16 << 10) + 1, 40_000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 8_191];
    for (number, &begin) in ends.iter().enumerate() {
        let path = format!("/f{number}");
        let data = noise(begin + 3 * CHUNK, number as u64);
        write(&client, &path, &data[..begin]).await;
        let mut end = begin;
        for more in [0, 1, 4_000, 97, 20_000, CHUNK - 1, CHUNK + 1] {
            append(&client, &path, &data[end..end + more]).await;
            end += more;
            assert_reads_back(&client, &path, &data[..end]).await;
        }
        let chunks = client.locate(&path).await.expect("locate").chunks;
        assert!(chunks.iter().rev().skip(1).all(|chunk| chunk.length == CHUNK as u64), "all but the last are full");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_keeps_what_was_there_and_one_writer_at_a_time() {
    let cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(100_000, 7);
    write(&client, "/f", &data[..50_000]).await;
    let before = client.reader("/f").await.expect("reader");
    let mut file = client.append("/f").await.expect("append");
    let second = client.append("/f").await.expect_err("there is a writer");
    assert_eq!(second.kind(), ErrorKind::BeingWritten, "{second}");
    file.write_all(&data[50_000..60_000]).await.expect("write");
    assert_eq!(client.stat("/f").await.expect("stat").length, 50_000, "what was there");
    file.hflush().await.expect("hflush");
    assert_reads_back(&client, "/f", &data[..60_000]).await;
    file.write_all(&data[60_000..]).await.expect("write");
    file.hsync().await.expect("hsync");
    assert!(before.read_at(0, 100_000).await.expect("read") == data[..50_000], "an old reader sees what it opened");
    file.close().await.expect("close");
    assert!(before.read_at(0, 100_000).await.expect("read") == data[..50_000]);
    assert_reads_back(&client, "/f", &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_die_around_an_append() {
    let mut cluster = Daemons::start(4);
    let client = cluster.client().await;
    let data = noise(200_000, 8);
    write(&client, "/f", &data[..90_000]).await;

    // Before: the chunk was copied since, and the copy takes more bytes too.
    let holders = |client: &Client| {
        let client = client.clone();
        async move {
            let last = client.locate("/f").await.expect("locate").chunks.pop().expect("a chunk");
            let nodes: Vec<_> = last.replicas.iter().map(|replica| replica.node.address.to_string()).collect();
            (last.generation, nodes)
        }
    };
    let index = |cluster: &Daemons, address: &str| {
        let at = |node: &Option<_>| node.as_ref().is_some_and(|node: &crate::harness::Daemon| node.address == address);
        cluster.datanodes.iter().position(at).expect("it runs")
    };
    let (_, nodes) = holders(&client).await;
    let first = index(&cluster, &nodes[0]);
    cluster.kill_datanode(first);
    wait_for("three replicas again", || {
        let found = cluster.locate("/f");
        let chunks = found["chunks"].as_array().expect("chunks");
        let live = |chunk: &serde_json::Value| {
            chunk["replicas"].as_array().expect("replicas").iter().filter(|replica| replica["live"] == true).count()
        };
        if chunks.iter().all(|chunk| live(chunk) >= 3) { Ok(()) } else { Err(found.to_string()) }
    });
    append(&client, "/f", &data[90_000..100_000]).await;
    let (generation, nodes) = holders(&client).await;
    assert_eq!((generation.get(), nodes.len()), (2, 3), "on the copy as well");
    assert_reads_back(&client, "/f", &data[..100_000]).await;

    // In between: the pipeline goes on with what is left, and what comes back lacks the generation.
    let mut file = client.append("/f").await.expect("append");
    file.write_all(&data[100_000..110_000]).await.expect("write");
    file.hflush().await.expect("hflush");
    let second = index(&cluster, &nodes[0]);
    cluster.kill_datanode(second);
    file.write_all(&data[110_000..120_000]).await.expect("write goes on");
    file.close().await.expect("close");
    assert_reads_back(&client, "/f", &data[..120_000]).await;
    cluster.start_datanode(first);
    cluster.start_datanode(second);
    cluster.wait_live(4);
    cluster.wait_until_whole();
    assert_reads_back(&client, "/f", &data[..120_000]).await;

    // After: each single replica has all of it.
    append(&client, "/f", &data[120_000..]).await;
    cluster.kill_all();
    cluster.restart_all();
    let client = cluster.client().await;
    cluster.wait_until_whole();
    let (_, nodes) = holders(&client).await;
    for address in &nodes[1..] {
        let at = index(&cluster, address);
        cluster.kill_datanode(at);
    }
    assert_reads_back(&client, "/f", &data).await;
}

/// The writer is killed: its file is closed with at least what was there, and what it flushed.
#[tokio::test(flavor = "multi_thread")]
async fn an_appender_dies() {
    let cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(50_000, 9);
    write(&client, "/f", &data[..30_000]).await;
    let dying = cluster.client().await;
    let mut file = dying.append("/f").await.expect("append");
    file.write_all(&data[30_000..]).await.expect("write");
    file.hflush().await.expect("hflush");
    dying.end_session().await.expect("ended");
    std::mem::forget(file);
    wait_for("the file is closed", || {
        let stat = cluster.ok(&["stat", "--json", "/f"]);
        if stat.contains("\"open\":false") { Ok(()) } else { Err(stat) }
    });
    assert_reads_back(&client, "/f", &data).await;
    let mut all = Vec::new();
    client.open("/f").await.expect("open").read_to_end(&mut all).await.expect("read");
    assert!(all == data);
}
