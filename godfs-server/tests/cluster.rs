//! The in-process cluster as other people's tests use it.

use std::sync::Arc;
use std::time::Duration;

use godfs_client::{Client, ClientSettings, CreateOptions};
use godfs_core::chunk::{ChunkStore, MemoryStore, ThrottledStore};
use godfs_proto::v1;
use godfs_server::Cluster;
use godfs_server::datanode::DatanodeSettings;
use godfs_server::namenode::NamenodeSettings;
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_cluster_in_mid_write_leaves_no_file_and_no_port() {
    let cluster = Cluster::builder().datanodes(3).start().await.expect("cluster");
    let folder = cluster.folder().to_owned();
    let addresses: Vec<_> = (0..3).filter_map(|index| cluster.datanode_address(index)).collect();
    let client = cluster.client();
    let options = CreateOptions::default().chunk_size(1 << 20);
    let writing = tokio::spawn(async move { client.put("/cut-off", vec![7; 64 << 20], options).await });
    while std::fs::read_dir(folder.join("datanode-0/chunks")).map_or(0, Iterator::count) == 0 {
        tokio::task::yield_now().await;
    }
    drop(cluster);
    writing.abort();
    let gone = async {
        while folder.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        for address in addresses {
            while tokio::net::TcpStream::connect(&address).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_a_folder_comes_back_with_its_files() {
    let folder = tempfile::tempdir().expect("folder");
    let first = Cluster::builder().datanodes(2).folder(folder.path()).start().await.expect("first life");
    let data = vec![3; 3 << 20];
    first.client().put("/kept", data.clone(), CreateOptions::default().replication(2)).await.expect("put");
    first.stop().await.expect("stop");
    let second = Cluster::builder().datanodes(2).folder(folder.path()).start().await.expect("second life");
    assert!(second.client().get("/kept").await.expect("get") == data);
}

const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster whose first datanode takes `pause` longer for each packet, and that datanode's store.
async fn with_slow_datanode(datanodes: usize, pause: Duration) -> (Cluster, ThrottledStore) {
    let mut settings = NamenodeSettings::default();
    settings.liveness.heartbeat = Duration::from_millis(100);
    settings.slow.round = Duration::from_millis(500);
    settings.slow.floor = Duration::from_millis(10);
    settings.slow.min_packets = 2;
    (settings.slow.condemn_after, settings.slow.forgive_after) = (2, 3);
    settings.reader_grace = Duration::from_millis(100);
    let slow = ThrottledStore::new(Arc::new(MemoryStore::new(None)), pause);
    let store = slow.clone();
    let stores = move |index| match index {
        0 => Arc::new(store.clone()) as Arc<dyn ChunkStore>,
        _ => Arc::new(MemoryStore::new(None)),
    };
    let builder = Cluster::builder().datanodes(datanodes).namenode_settings(settings).chunk_stores(stores);
    let builder = builder.datanode_settings(DatanodeSettings { peer_span_ms: 3_000, ..DatanodeSettings::default() });
    (builder.start().await.expect("cluster"), slow)
}

/// A client whose writers bear a slow datanode for `patience`.
fn client(cluster: &Cluster, patience: Duration) -> Client {
    let mut settings = ClientSettings::default();
    settings.transport.slow_timeout = patience;
    Client::builder().namenodes(cluster.namenode_address()).settings(settings).build().expect("client")
}

/// The other two take the file, and the slow one has only what came before the writer's patience was over.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_datanode_holds_a_writer_for_no_longer_than_the_bound() {
    let (cluster, slow) = with_slow_datanode(3, Duration::from_millis(150)).await;
    let data: Vec<u8> = (0..60_u32 << 20).map(|at| (at >> 7) as u8).collect();
    let options = CreateOptions::default().replication(3).chunk_size(64 << 20);
    let client = client(&cluster, Duration::from_secs(1));
    client.put("/file", data.clone(), options).await.expect("put");
    let there = slow.list(0..u64::MAX, 10).await.expect("list");
    // Some eight packets in the second, and as many under way.
    assert!(there.iter().all(|replica| replica.length < 40 << 20), "{there:?}");
    slow.set_pause(Duration::ZERO);
    assert!(client.get("/file").await.expect("get") == data, "other bytes");
}

/// What its peers tell makes it slow, it alone, for as long as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_datanode_is_reported_chosen_less_and_forgiven() {
    let (cluster, slow) = with_slow_datanode(4, Duration::from_millis(100)).await;
    let client = client(&cluster, Duration::ZERO);
    let mut files = 0;
    let mut until = async |what: &str, done: &dyn Fn(&v1::NodeReport) -> bool| {
        let ready = async {
            loop {
                // Small packets, one after another: what they take is what the datanode takes, however busy the machine is.
                let write = async |file: usize| {
                    let options = CreateOptions::default().replication(3).overwrite(true);
                    let mut writer = client.create(format!("/{}", file % 20), options).await.expect("create");
                    for _ in 0..20 {
                        writer.write_all(&[1; 4_096]).await.expect("write");
                        writer.hflush().await.expect("flush");
                    }
                    writer.shutdown().await.expect("close");
                };
                futures::future::join_all((files..files + 4).map(write)).await;
                files += 4;
                let report = client.report().await.expect("report");
                let first = cluster.datanode(0).and_then(godfs_server::Datanode::node_id).expect("registered").get();
                let others = report.nodes.iter().filter(|node| node.node.as_ref().is_some_and(|node| node.id != first));
                assert!(
                    others.clone().count() == 3 && others.clone().all(|node| node.slowness.is_none()),
                    "{report:?}"
                );
                let node =
                    report.nodes.into_iter().find(|node| node.node.as_ref().is_some_and(|node| node.id == first));
                if node.is_some_and(|node| done(&node)) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
    };
    until("it is called slow", &|node| {
        node.slowness.is_some_and(|slowness| slowness.micros > 4 * slowness.peers_micros && slowness.witnesses >= 2)
    })
    .await;
    for file in 0..40 {
        let options = CreateOptions::default().replication(1);
        client.put(format!("/one-{file}"), vec![1; 100_000], options).await.expect("put");
    }
    let there = slow.list(0..u64::MAX, 1_000).await.expect("list");
    let chosen = there.iter().filter(|replica| replica.length == 100_000).count();
    assert!(chosen < 8, "{chosen} of 40, where ten would be its share");
    slow.set_pause(Duration::ZERO);
    until("it is forgiven", &|node| node.slowness.is_none()).await;
}
