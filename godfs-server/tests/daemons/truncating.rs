//! Files that are closed are made shorter, while nodes are away.

use godfs_client::{Client, CreateOptions};
use godfs_core::ErrorKind;
use godfs_core::checksum::crc32c;
use tokio::io::AsyncWriteExt;

use crate::harness::{Daemons, noise};

const CHUNK: usize = 64 << 10;

async fn write(client: &Client, path: &str, data: &[u8]) {
    let options = CreateOptions::default().chunk_size(CHUNK as u64).overwrite(true);
    let mut file = client.create(path, options).await.expect("create");
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

#[tokio::test(flavor = "multi_thread")]
async fn files_are_cut_at_any_byte_and_written_on() {
    let cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(4 * CHUNK, 1);
    let long = 3 * CHUNK + 5_000;
    for (begin, length) in [
        (9_000, 8_192),
        (9_000, 1),
        (9_000, 0),
        (long, long),
        (long, long - 1),
        (long, 3 * CHUNK + 4_096),
        (long, 3 * CHUNK),
        (long, 2 * CHUNK + 1),
        (long, CHUNK - 1),
        (long, 0),
    ] {
        write(&client, "/f", &data[..begin]).await;
        client.truncate("/f", length as u64).await.expect("truncated");
        assert_reads_back(&client, "/f", &data[..length]).await;
        let mut file = client.append("/f").await.expect("closed again");
        file.write_all(&data[..10_000]).await.expect("write");
        file.close().await.expect("close");
        let expected = [&data[..length], &data[..10_000]].concat();
        assert_reads_back(&client, "/f", &expected).await;
    }
    let error = client.truncate("/f", 10_001).await.expect_err("longer");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_does_not_come_back_with_a_node() {
    let mut cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(2 * CHUNK, 2);
    write(&client, "/f", &data[..60_000]).await;
    cluster.kill_datanode(0);
    // The dead one is waited for until it is known to be dead.
    client.truncate("/f", 20_000).await.expect("truncated on the two that are left");
    assert_reads_back(&client, "/f", &data[..20_000]).await;
    let mut file = client.append("/f").await.expect("append");
    file.write_all(&data[100_000..110_000]).await.expect("write");
    file.close().await.expect("close");
    let expected = [&data[..20_000], &data[100_000..110_000]].concat();
    cluster.start_datanode(0);
    cluster.wait_live(3);
    cluster.wait_until_whole();
    assert_reads_back(&client, "/f", &expected).await;

    // Also when all power up anew, and only the one that was away is left.
    cluster.kill_all();
    cluster.restart_all();
    cluster.wait_until_whole();
    cluster.kill_datanode(1);
    cluster.kill_datanode(2);
    let client = cluster.client().await;
    assert_reads_back(&client, "/f", &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_longer_file_gets_its_bytes_or_an_error() {
    let cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(3 * CHUNK, 3);
    write(&client, "/f", &data).await;
    let before = client.reader("/f").await.expect("reader");
    client.truncate("/f", CHUNK as u64 + 10).await.expect("truncated");
    assert!(before.read_at(0, CHUNK + 10).await.expect("kept") == data[..CHUNK + 10]);
    if let Ok(bytes) = before.read_at(CHUNK as u64, CHUNK).await {
        assert!(bytes == data[CHUNK..2 * CHUNK], "as it was");
    }
}
