//! A namenode, datanodes and a client in one process, over loopback and real disks: a file goes in, nodes go away, and it comes out again.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use godfs_client::transport::Address;
use godfs_client::{Client, CreateOptions, RemoveOptions};
use godfs_core::ErrorKind;
use godfs_core::placement::Domain;
use godfs_proto::v1;
use godfs_server::datanode::{Datanode, DatanodeOptions};
use godfs_server::namenode::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
use godfs_server::net::Listener;

/// Where a namenode listens that is started again at its address. Connections that go out take free ports of 127.0.0.1, and would
/// now and then take that one meanwhile; of another address of the loopback interface, which only Linux has ready, none.
const OWN_ADDRESS: &str = if cfg!(target_os = "linux") { "127.0.1.1:0" } else { "127.0.0.1:0" };

const PATIENCE: Duration = Duration::from_secs(60);
const CHUNK: u64 = 1 << 20;

fn settings() -> NamenodeSettings {
    let mut settings = NamenodeSettings::default();
    settings.liveness.heartbeat = Duration::from_millis(100);
    settings.liveness.suspect_after = Duration::from_millis(1_000);
    settings.liveness.dead_after = Duration::from_millis(2_000);
    settings.liveness.repair_grace = Duration::from_millis(200);
    settings.reader_grace = Duration::from_millis(100);
    settings
}

async fn namenode(folder: &Path, listen: &str) -> Namenode {
    let metadata = MetadataSource::Folder(folder.join("namenode"));
    let listener = Listener::tcp(listen).await.expect("listen");
    let options = NamenodeOptions { init: true, settings: settings(), ..NamenodeOptions::new(metadata, listener) };
    Namenode::start(options).await.expect("namenode")
}

async fn datanode(folder: &Path, namenode: &Namenode, n: usize) -> Datanode {
    let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
    let namenodes = vec![Address::parse(namenode.address()).expect("address")];
    let mut options = DatanodeOptions::new(folder.join(format!("datanode{n}")), listener, namenodes);
    options.domain = Domain::parse(&format!("/rack{n}")).expect("domain");
    let datanode = Datanode::start(options).await.expect("datanode");
    tokio::time::timeout(PATIENCE, datanode.ready()).await.expect("in time").expect("registered");
    datanode
}

async fn client(namenode: &Namenode) -> Client {
    Client::connect(&format!("godfs://{}", namenode.address())).await.expect("client")
}

/// Waits until the report is as `good` wants it.
async fn reported(client: &Client, what: &str, good: impl Fn(&v1::ReportResponse) -> bool) -> v1::ReportResponse {
    let limit = tokio::time::Instant::now() + PATIENCE;
    let mut last = None;
    while tokio::time::Instant::now() < limit {
        if let Ok(report) = client.report().await {
            if good(&report) {
                return report;
            }
            last = Some(report);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain until {what}; the last report: {last:#?}");
}

/// Has all nine replicas checked; gives how many are corrupt and what was found.
async fn scrub(client: &Client) -> (u64, Vec<String>) {
    let mut scrub = client.scrub(None).await.expect("scrub");
    let (mut last, mut findings) = (v1::ScrubProgress::default(), Vec::new());
    while let Some(progress) = scrub.next().await {
        last = progress.expect("progress");
        findings.extend(last.findings.clone());
    }
    assert_eq!((last.checked, last.total, last.failed, last.done), (9, 9, 0, true), "{findings:?}");
    (last.corrupt, findings)
}

/// Flips a bit in the middle of the largest replica below `folder`, or of any datanode if that has none.
fn flip_a_bit(folder: &Path, all: &Path) {
    fn largest(folder: &Path) -> Option<(u64, std::path::PathBuf)> {
        let entries = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
        let of = |path: std::path::PathBuf| {
            if path.is_dir() && path.file_name().is_some_and(|name| name != "namenode") {
                largest(&path)
            } else {
                path.metadata().ok().filter(std::fs::Metadata::is_file).map(|found| (found.len(), path))
            }
        };
        entries.filter_map(of).max()
    }
    let found = largest(folder).filter(|(length, _)| *length > CHUNK / 2).or_else(|| largest(all)).expect("a replica");
    let mut bytes = std::fs::read(&found.1).expect("read");
    let middle = bytes.len() - CHUNK as usize / 4;
    bytes[middle] ^= 1;
    std::fs::write(&found.1, bytes).expect("write");
}

/// Bytes in which no two chunks are alike.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn options(replication: u32) -> CreateOptions {
    CreateOptions::new().replication(replication).chunk_size(CHUNK)
}

fn healthy(report: &v1::ReportResponse) -> bool {
    report.complete && report.under_replicated == 0 && report.missing == 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_outlives_its_nodes() {
    let folder = tempfile::tempdir().expect("folder");
    let namenode = namenode(folder.path(), OWN_ADDRESS).await;
    let mut nodes = Vec::new();
    for n in 0..4 {
        nodes.push(datanode(folder.path(), &namenode, n).await);
    }
    let client = client(&namenode).await;
    reported(&client, "all nodes are certain", |report| report.live_datanodes == 4 && report.complete).await;

    let bytes = content(5 * CHUNK as usize / 2);
    client.put("/f", bytes.clone(), options(3)).await.expect("put");
    let report = reported(&client, "it is whole", healthy).await;
    assert_eq!((report.files, report.chunks, report.bytes), (1, 3, bytes.len() as u64));
    assert_eq!(client.get("/f").await.expect("get"), bytes);

    // One that holds a chunk dies: the file is read all the same, and every chunk gets its third replica elsewhere.
    let located = client.locate("/f").await.expect("locate");
    let lost = located.chunks[0].replicas[0].node.id;
    let at = nodes.iter().position(|node| node.node_id() == Some(lost)).expect("one of ours");
    let dead = nodes.remove(at);
    dead.kill();
    dead.join().await;
    assert_eq!(client.get("/f").await.expect("get"), bytes);
    reported(&client, "it is missed", |report| report.live_datanodes == 3 && report.under_replicated > 0).await;
    reported(&client, "it is repaired", healthy).await;
    let located = client.locate("/f").await.expect("locate");
    for chunk in &located.chunks {
        let live = chunk.replicas.iter().filter(|replica| replica.live && replica.node.id != lost);
        assert_eq!(live.count(), 3, "{chunk:?}");
    }

    // It comes back with what it had: the surplus goes, and three of each stay.
    let back = datanode(folder.path(), &namenode, at).await;
    assert_eq!(back.node_id(), Some(lost));
    nodes.push(back);
    let settled = reported(&client, "the surplus is gone", |report| {
        let replicas: u64 = report.nodes.iter().map(|node| node.replicas).sum();
        healthy(report) && report.over_replicated == 0 && report.pending_deletes == 0 && replicas == 9
    });
    assert_eq!(settled.await.live_datanodes, 4);
    assert_eq!(client.get("/f").await.expect("get"), bytes);

    // A bit of one replica flips: its own node finds it, a good copy replaces it.
    flip_a_bit(&folder.path().join(format!("datanode{at}")), folder.path());
    let (corrupt, findings) = scrub(&client).await;
    assert_eq!((corrupt, findings.len()), (1, 1), "{findings:?}");
    reported(&client, "the corrupt replica is replaced", |report| {
        let replicas: u64 = report.nodes.iter().map(|node| node.replicas).sum();
        healthy(report) && report.corrupt == 0 && report.pending_deletes == 0 && replicas == 9
    })
    .await;
    assert_eq!(client.get("/f").await.expect("get"), bytes);

    // Every replica is sound, and deleting the file deletes them.
    assert_eq!(scrub(&client).await, (0, Vec::new()));
    client.remove("/f", RemoveOptions::default()).await.expect("remove");
    let empty =
        |report: &v1::ReportResponse| report.chunks == 0 && report.pending_deletes == 0 && report.used_bytes < CHUNK;
    reported(&client, "all replicas are deleted", empty).await;
    assert_eq!(client.get("/f").await.expect_err("gone").kind(), ErrorKind::NotFound);

    for node in nodes {
        node.stop().await;
    }
    namenode.stop().await.expect("stop");
}

/// The namenode is killed while copies are owed, and started again at the same address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_namenode_goes_on_with_what_it_owes() {
    let folder = tempfile::tempdir().expect("folder");
    let first = namenode(folder.path(), OWN_ADDRESS).await;
    let address = first.address().to_owned();
    let mut nodes = vec![datanode(folder.path(), &first, 0).await, datanode(folder.path(), &first, 1).await];
    let client_one = client(&first).await;
    reported(&client_one, "both are certain", |report| report.complete).await;
    let bytes = content(3 * CHUNK as usize);
    client_one.put("/f", bytes.clone(), options(3)).await.expect("put");
    reported(&client_one, "a third replica is owed", |report| report.under_replicated == 3).await;
    first.kill().await;

    let second = namenode(folder.path(), &address).await;
    let client_two = client(&second).await;
    assert_eq!(client_two.report().await.expect("report").chunks, 3);
    nodes.push(datanode(folder.path(), &second, 2).await);
    reported(&client_two, "what was owed is made", |report| healthy(report) && report.live_datanodes == 3).await;
    assert_eq!(client_two.get("/f").await.expect("get"), bytes);
    for node in nodes {
        node.stop().await;
    }
    second.stop().await.expect("stop");
}
