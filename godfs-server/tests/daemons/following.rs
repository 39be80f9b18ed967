//! A file is followed while its writer, and a datanode under it, are killed.

use std::io::Write;
use std::process::{Command, Stdio};

use godfs_client::{Follow, Followed};

use crate::harness::{Daemons, Flags, PATIENCE};

async fn next(follow: &mut Follow) -> Followed {
    tokio::time::timeout(PATIENCE, follow.next()).await.expect("in time").expect("goes on").expect("no end")
}

/// Takes what comes up to `expected`, which must be all of it, whatever pieces it comes in.
async fn expect_bytes(follow: &mut Follow, expected: &[u8]) {
    let mut found = Vec::new();
    while found.len() < expected.len() {
        match next(follow).await {
            Followed::Bytes(bytes) => found.extend_from_slice(&bytes),
            // Nothing was written to it yet, or it was closed before.
            Followed::Closed(_) => {}
            other => panic!("{other:?} after {} bytes", found.len()),
        }
    }
    assert!(found == expected, "other bytes");
}

/// Every flushed byte is given once, the file's recovery takes none of them back, and it is followed on when somebody else appends.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_is_killed_under_its_follower() {
    // A dead writer's file is recovered soon.
    let flags = Flags { namenode: vec!["--session-timeout", "2s", "--lease-soft-limit", "1s"], ..Flags::default() };
    let mut cluster = Daemons::with(4, &flags);
    cluster.ok(&["touch", "/f"]);
    let client = cluster.client().await;
    let mut follow = client.reader("/f").await.expect("open").follow(0);
    assert_eq!(next(&mut follow).await, Followed::Closed(0));
    let mut writer = Command::new(env!("CARGO_BIN_EXE_godfs"))
        .env("GODFS_FS", cluster.url())
        .args(["append", "-", "/f"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("started");
    let mut pipe = writer.stdin.take().expect("piped");
    let mut length = 0;
    for number in 0..12_u64 {
        let block = crate::harness::noise(10_000, number);
        pipe.write_all(&block).expect("taken");
        expect_bytes(&mut follow, &block).await;
        length += block.len() as u64;
        if number == 6 {
            let victim = cluster.locate("/f")["chunks"][0]["replicas"][0]["address"].clone();
            let at = cluster.datanodes.iter().flatten().position(|node| victim == node.address.as_str());
            cluster.kill_datanode(at.expect("it runs"));
        }
    }
    writer.kill().expect("killed");
    writer.wait().expect("ended");
    assert_eq!(next(&mut follow).await, Followed::Closed(length));
    let mut file = client.append("/f").await.expect("append");
    tokio::io::AsyncWriteExt::write_all(&mut file, b"by another").await.expect("write");
    file.hflush().await.expect("hflush");
    expect_bytes(&mut follow, b"by another").await;
    file.close().await.expect("close");
    assert_eq!(next(&mut follow).await, Followed::Closed(length + 10));
    assert_eq!(follow.position(), length + 10);
}
