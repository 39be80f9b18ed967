//! More replicas than nodes, and disks that are full.

use std::time::Duration;

use godfs_client::RemoveOptions;
use godfs_core::ErrorKind;
use godfs_server::Cluster;

use crate::harness::{
    CHUNK, Caller, cluster, eventually, fails, noise, nothing_panicked, quick, reported, small_chunks,
};

#[tokio::test]
async fn more_replicas_than_nodes_are_written_as_far_as_possible_and_made_later() {
    let mut cluster = cluster(1).await;
    let client = cluster.client();
    let data = noise(3 * CHUNK as usize, 4);
    client.put("/f", data.clone(), small_chunks(3)).await.expect("written with what there is");
    client.put("/many", data.clone(), small_chunks(512)).await.expect("the most that may be asked for");
    assert_eq!(client.stat("/f").await.expect("stat").replication, 3);
    reported(&client, "the lack is reported", |report| {
        report.complete && report.under_replicated == 6 && report.missing == 0
    })
    .await;
    client.remove("/many", RemoveOptions::new()).await.expect("remove");
    cluster.add_datanode().await.expect("a second node");
    cluster.add_datanode().await.expect("a third node");
    reported(&client, "all are made", |report| report.complete && report.under_replicated == 0).await;
    let located = client.locate("/f").await.expect("locate");
    assert!(located.chunks.iter().all(|chunk| chunk.replicas.len() == 3), "{located:?}");
    cluster.kill_datanode(0).await;
    assert!(client.get("/f").await.expect("from the others") == data);
    nothing_panicked();
}

#[tokio::test]
async fn full_nodes_are_passed_over_and_when_all_are_it_says_so() {
    crate::harness::watch_for_panics();
    let cluster = Cluster::builder().datanodes(2).capacity(2 << 20).namenode_settings(quick()).start().await;
    let cluster = cluster.expect("cluster");
    let client = cluster.client();
    let options = || small_chunks(1).chunk_size(256 << 10);
    // One after another until none has room; what was said to be written stays.
    let mut kept = Vec::new();
    let error = loop {
        let (path, data) = (format!("/{}", kept.len()), noise(200 << 10, kept.len() as u64));
        match client.put(path.as_str(), data.clone(), options()).await {
            Ok(()) => kept.push((path, data)),
            Err(error) => break error,
        }
        assert!(kept.len() < 100, "4 MiB of room take no 100 files");
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(kept.len() >= 10, "both nodes were filled: {}", kept.len());
    for (path, data) in &kept {
        assert!(client.get(path.as_str()).await.expect("get") == *data, "{path}");
    }
    fails("a full cluster", ErrorKind::StorageFull, client.put("/more", noise(1 << 20, 9), options()).await);
    // Small files lie in the namenode, and deletes need no room.
    client.put("/small", "small", options()).await.expect("small files");
    for (path, _) in &kept {
        client.remove(path.as_str(), RemoveOptions::new()).await.expect("remove");
    }
    eventually("there is room again", || async {
        match client.put("/again", noise(1 << 20, 10), options().overwrite(true)).await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    assert!(client.get("/again").await.expect("get") == noise(1 << 20, 10));
    nothing_panicked();
}

#[tokio::test]
async fn room_that_nobody_uses_is_not_held() {
    crate::harness::watch_for_panics();
    let cluster = Cluster::builder().datanodes(1).capacity(8 << 20).namenode_settings(quick()).start().await;
    let cluster = cluster.expect("cluster");
    let mut caller = Caller::of(&cluster).await;
    // A thousand chunks that are asked for and never written.
    let mut asked = 0;
    for number in 0..200 {
        let file = caller.create(&format!("/empty-{number}"), 1).await;
        for start in 0..8 {
            match caller.add_chunk_at(&file, start * CHUNK).await {
                Ok(_) => asked += 1,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::FailedPrecondition), "{error}");
                    break;
                }
            }
        }
    }
    assert!(asked > 0);
    // The next heartbeat says how much room there really is.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let data = noise(1 << 20, 5);
    cluster.client().put("/f", data, small_chunks(1)).await.expect("there is room");
    nothing_panicked();
}
