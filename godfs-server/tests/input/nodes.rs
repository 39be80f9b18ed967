//! Datanodes with a folder that is not theirs, or empty, and addresses where nobody is.

use std::path::Path;
use std::time::Duration;

use godfs_client::Client;
use godfs_client::transport::Address;
use godfs_core::{ErrorKind, NodeId, Result};
use godfs_server::Cluster;
use godfs_server::datanode::{Datanode, DatanodeOptions};
use godfs_server::net::Listener;

use crate::harness::{CHUNK, PATIENCE, cluster, fails, noise, nothing_panicked, reported, small_chunks};

async fn options(folder: &Path, cluster: &Cluster) -> DatanodeOptions {
    let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
    let namenode = Address::parse(cluster.namenode_address()).expect("address");
    DatanodeOptions::new(folder, listener, vec![namenode])
}

/// What a datanode on a folder says of its start.
async fn outcome(options: DatanodeOptions) -> Result<Datanode> {
    let datanode = Datanode::start(options).await?;
    let ready = tokio::time::timeout(PATIENCE, datanode.ready()).await.expect("it says so within a bounded time");
    ready.map(|()| datanode)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}

#[tokio::test]
async fn an_empty_folder_joins_as_a_new_node_unless_another_is_expected() {
    let cluster = cluster(1).await;
    let folder = tempfile::tempdir().expect("folder");
    let mut expecting = options(folder.path(), &cluster).await;
    expecting.expect_node = Some(NodeId(1));
    let error = fails("an empty folder", ErrorKind::FailedPrecondition, outcome(expecting).await);
    assert!(error.message().contains("node 1") && error.message().contains("mounted"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 0, "nothing was made in it");
    let node = outcome(options(folder.path(), &cluster).await).await.expect("a new node");
    assert_eq!(node.node_id(), Some(NodeId(2)));
    reported(&cluster.client(), "both are live", |report| report.live_datanodes == 2).await;
    node.stop().await;
    // From now on it is somebody.
    let mut wrong = options(folder.path(), &cluster).await;
    wrong.expect_node = Some(NodeId(1));
    let error = fails("node 2", ErrorKind::FailedPrecondition, outcome(wrong).await);
    assert!(error.message().contains("node 2") && error.message().contains("node 1"), "{error}");
    let mut right = options(folder.path(), &cluster).await;
    right.expect_node = Some(NodeId(2));
    outcome(right).await.expect("itself").stop().await;
    nothing_panicked();
}

#[tokio::test]
async fn another_clusters_folder_is_refused_naming_both() {
    let (one, mut other) = (cluster(1).await, cluster(1).await);
    let stray = other.datanode_folder(0);
    other.stop_datanode(0).await;
    let error = fails("a stray", ErrorKind::Incompatible, outcome(options(&stray, &one).await).await);
    for cluster in [&one, &other] {
        let id = cluster.client().greeting().await.expect("greeting").cluster;
        assert!(error.message().contains(&id.to_string()), "{error}");
    }
    // At home it is as it was.
    other.restart_datanode(0).await.expect("at home");
    nothing_panicked();
}

#[tokio::test]
async fn a_copy_of_a_live_nodes_folder_is_refused_naming_both() {
    let cluster = cluster(1).await;
    let client = cluster.client();
    let data = noise(CHUNK as usize * 2, 6);
    client.put("/f", data.clone(), small_chunks(1)).await.expect("put");
    let folder = tempfile::tempdir().expect("folder");
    copy(&cluster.datanode_folder(0), folder.path());
    let mut copied = options(folder.path(), &cluster).await;
    copied.settings.refused_ms = 300;
    copied.settings.reconnect_max_ms = 50;
    let own = copied.listener.address().to_owned();
    let error = fails("a copy", ErrorKind::FailedPrecondition, outcome(copied).await);
    let there = cluster.datanode_address(0).expect("running");
    assert!(error.message().contains(&own) && error.message().contains(&there), "{error}");
    assert!(error.message().contains("copy"), "{error}");
    // The one that was there first is where it was.
    assert!(client.get("/f").await.expect("get") == data);
    let located = client.locate("/f").await.expect("locate");
    assert_eq!(located.chunks[0].replicas[0].node.address.as_str(), there);
    nothing_panicked();
}

#[tokio::test]
async fn the_same_folder_twice_on_one_machine_is_refused() {
    let cluster = cluster(1).await;
    let error = outcome(options(&cluster.datanode_folder(0), &cluster).await).await.expect_err("in use");
    assert!(error.message().contains("in use") && error.message().contains("datanode-0"), "{error}");
    nothing_panicked();
}

#[tokio::test]
async fn a_wrong_address_fails_within_five_seconds_and_says_which() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let closed = free.local_addr().expect("address").to_string();
    drop(free);
    // One that listens and never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let mute_at = mute.local_addr().expect("address").to_string();
    for address in [closed, mute_at, "no-such-host.invalid:4700".to_owned()] {
        let started = tokio::time::Instant::now();
        let error = match Client::connect(&format!("godfs://{address}")).await {
            Ok(client) => client.stat("/").await.map(|_| ()).expect_err("nobody is there"),
            Err(error) => error,
        };
        assert!(started.elapsed() < Duration::from_millis(5_500), "{address}: took {:?}", started.elapsed());
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains(&address), "{error}");
    }
    // A datanode is no namenode, and says so.
    let cluster = cluster(1).await;
    let address = cluster.datanode_address(0).expect("running");
    let error = Client::connect(&format!("godfs://{address}")).await.expect_err("no namenode");
    assert!(error.message().contains(&address) && error.message().contains("another kind"), "{error}");
    for wrong in ["", "godfs://", "http://x:1", "godfs://x", "godfs://x:99999", "godfs://x:1/path"] {
        fails(wrong, ErrorKind::InvalidArgument, Client::connect(wrong).await.map(|_| ()));
    }
    nothing_panicked();
}
