//! A namenode over loopback, and the other side played by stand-ins that speak the wire and nothing more.

#[path = "namenode/callers.rs"]
mod callers;
#[path = "namenode/dropping.rs"]
mod dropping;
#[path = "namenode/failing.rs"]
mod failing;
#[path = "namenode/fake.rs"]
mod fake;
#[path = "namenode/held.rs"]
mod held;
#[path = "namenode/history.rs"]
mod history;
#[path = "namenode/linearizable.rs"]
mod linearizable;
#[path = "namenode/quotas.rs"]
mod quotas;
#[path = "namenode/sessions.rs"]
mod sessions;
#[path = "namenode/trash.rs"]
mod trash;
#[path = "namenode/walking.rs"]
mod walking;
#[path = "namenode/watching.rs"]
mod watching;

use std::sync::Arc;
use std::time::Duration;

use fake::{FakeClient, FakeNode, Introduction, channel, event, finalized, refused, until};
use godfs_core::metadata::{MemoryStore, MetadataStore};
use godfs_core::{ClusterId, ErrorKind, Incarnation};
use godfs_proto::v1;
use godfs_server::namenode::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
use godfs_server::net::Listener;
use v1::admin_service_client::AdminServiceClient;
use v1::command::Order;
use v1::datanode_message::Message as Up;
use v1::replica_event::Kind;

/// Times short enough for a test and long enough for a busy machine.
fn settings() -> NamenodeSettings {
    let mut settings = NamenodeSettings::default();
    settings.liveness.heartbeat = Duration::from_millis(50);
    settings.liveness.suspect_after = Duration::from_millis(1_000);
    settings.liveness.dead_after = Duration::from_millis(1_500);
    settings.liveness.repair_grace = Duration::from_millis(200);
    settings.reader_grace = Duration::from_millis(50);
    // The stand-ins do not say who they are.
    settings.namespace.permissions = false;
    settings.recovery.backoff_first = Duration::from_millis(50);
    settings
}

async fn start_with(metadata: MetadataSource, settings: NamenodeSettings) -> Namenode {
    let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
    let options = NamenodeOptions { init: true, settings, ..NamenodeOptions::new(metadata, listener) };
    Namenode::start(options).await.expect("start")
}

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Incarnation::from_random(7)))
}

async fn in_memory() -> Namenode {
    start_with(MetadataSource::Store(memory()), settings()).await
}

/// Registers as a node without replicas.
async fn node(namenode: &Namenode, n: u16) -> FakeNode {
    let node = FakeNode::connect(namenode.address(), &Introduction::new(n)).await.expect("register");
    node.send(Up::Sums(v1::ReportSums::default())).await;
    node
}

async fn report(namenode: &Namenode) -> v1::ReportResponse {
    let mut admin = AdminServiceClient::new(channel(namenode.address()).await);
    admin.report(v1::ReportRequest {}).await.expect("report").into_inner()
}

/// Waits until the report is as `good` wants it.
async fn reported(namenode: &Namenode, what: &str, good: impl Fn(&v1::ReportResponse) -> bool) -> v1::ReportResponse {
    let good = &good;
    until(what, || async move {
        let report = report(namenode).await;
        good(&report).then_some(report)
    })
    .await
}

/// A file of one chunk on the nodes given.
async fn file(client: &FakeClient, path: &str, acks: &[u32]) -> (v1::CreateResponse, v1::AddChunkResponse) {
    let file = client.create(path, 3).await;
    let chunk = client.add_chunk(&file).await.expect("chunk");
    let done = client.complete(&file, &chunk, 1_000, acks, true).await;
    assert!(done.complete, "{}", done.missing);
    (file, chunk)
}

#[tokio::test]
async fn names_and_errors_cross_whole() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    client.mkdir("/a").await.expect("mkdir");
    let again = refused(client.mkdir("/a").await);
    assert_eq!((again.kind(), again.is_retryable()), (ErrorKind::AlreadyExists, false));
    assert!(again.message().contains("/a"), "{again}");
    assert_eq!(refused(client.mkdir("/x/y").await).kind(), ErrorKind::NotFound);
    assert_eq!(refused(client.mkdir("a//b").await).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused(client.open("/a").await).kind(), ErrorKind::IsADirectory);
    let nobody = v1::MkdirRequest { call: Some(v1::Call { session: 999, slot: 0, sequence: 1 }), ..Default::default() };
    let lost = refused(client.stub.clone().mkdir(v1::MkdirRequest { path: "/b".into(), ..nobody }).await);
    assert_eq!(lost.kind(), ErrorKind::SessionLost);
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn a_listing_comes_in_pages_and_in_order() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    for n in 0..25 {
        client.mkdir(&format!("/d{n:02}")).await.expect("mkdir");
    }
    let pages = client.list("/", 10).await;
    assert_eq!(pages.iter().map(|page| page.entries.len()).collect::<Vec<_>>(), [10, 10, 5]);
    let names: Vec<_> = pages.iter().flat_map(|page| &page.entries).map(|entry| entry.name.clone()).collect();
    assert_eq!(names, (0..25).map(|n| format!("d{n:02}")).collect::<Vec<_>>());
    assert!(client.list("/d00", 10).await.is_empty());
    // A reader that goes away in the middle leaves nothing behind: the namenode stops at once.
    let request = v1::ListRequest { path: "/".into(), page_size: 1, ..Default::default() };
    let mut pages = client.stub.clone().list(request).await.expect("list").into_inner();
    pages.message().await.expect("page");
    drop(pages);
    namenode.stop().await.expect("stop");
}

/// A folder is killed and opened again: all that was answered is there, and a repeated call gets its first answer.
#[tokio::test]
async fn a_killed_namenode_comes_back_with_what_it_answered() {
    let folder = tempfile::tempdir().expect("folder");
    let source = || MetadataSource::Folder(folder.path().join("nn"));
    let namenode = start_with(source(), settings()).await;
    let cluster = namenode.cluster_id();
    let client = FakeClient::connect(namenode.address()).await;
    let inode = client.mkdir("/a").await.expect("mkdir");
    let same = client.same();
    let file = client.create("/a/f", 3).await;
    let _node = node(&namenode, 1).await;
    namenode.kill().await;

    let namenode = start_with(source(), settings()).await;
    assert_eq!(namenode.cluster_id(), cluster);
    let client = client.again(namenode.address()).await;
    let late = refused(
        client.stub.clone().mkdir(v1::MkdirRequest { call: same, path: "/a".into(), ..Default::default() }).await,
    );
    assert_eq!(late.kind(), ErrorKind::FailedPrecondition, "the slot has moved on: {late}");
    let options = Some(v1::CreateOptions { replication: 3, ..Default::default() });
    let request = v1::CreateRequest { call: client.same(), path: "/a/f".into(), options, first: None };
    assert_eq!(client.stub.clone().create(request).await.expect("the first answer").into_inner(), file);
    let status = client
        .stub
        .clone()
        .stat(v1::StatRequest { path: "/a".into(), no_follow: false })
        .await
        .expect("stat")
        .into_inner();
    assert_eq!(status.status.expect("status").inode, inode);
    let report = report(&namenode).await;
    assert_eq!((report.live_datanodes, report.dead_datanodes, report.open_files), (0, 1, 1));
    assert_eq!(report.nodes[0].state, v1::NodeState::Expected as i32);
    assert!(!report.complete, "a node that may hold chunks was not heard from");
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn an_empty_folder_becomes_a_cluster_only_when_told_to() {
    let folder = tempfile::tempdir().expect("folder");
    let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
    let options = NamenodeOptions::new(MetadataSource::Folder(folder.path().to_owned()), listener);
    let error = Namenode::start(options).await.expect_err("nothing there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("--init"), "{error}");

    let namenode = start_with(MetadataSource::Folder(folder.path().to_owned()), settings()).await;
    let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
    let options = NamenodeOptions::new(MetadataSource::Folder(folder.path().to_owned()), listener);
    let error = Namenode::start(options).await.expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn strangers_and_copies_are_refused_naming_both() {
    let namenode = in_memory().await;
    let mut stranger = Introduction::new(1);
    stranger.cluster = Some(ClusterId::from_random(99));
    let error = refused(FakeNode::connect(namenode.address(), &stranger).await.map(|_| ()));
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    for id in [ClusterId::from_random(99), namenode.cluster_id()] {
        assert!(error.message().contains(&id.to_string()), "{error}");
    }

    let first = node(&namenode, 1).await;
    let mut copy = Introduction::new(1);
    (copy.id, copy.instance, copy.address) = (first.id, 77, "copy:1".into());
    let error = refused(FakeNode::connect(namenode.address(), &copy).await.map(|_| ()));
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("host1:1001") && error.message().contains("copy:1"), "{error}");

    // The same process over a new connection is no copy; nor is a new one once the old stream has ended.
    let mut same = Introduction::new(1);
    same.id = first.id;
    let again = FakeNode::connect(namenode.address(), &same).await.expect("the same instance");
    assert_eq!(again.id, first.id);
    drop((first, again));
    let restarted =
        until("the old stream is gone", || async { FakeNode::connect(namenode.address(), &copy).await.ok() });
    assert_eq!(restarted.await.id, same.id);

    let mut ahead = Introduction::new(2);
    ahead.seen = (namenode_incarnation(), 1 << 40);
    let error = refused(FakeNode::connect(namenode.address(), &ahead).await.map(|_| ()));
    assert_eq!(error.kind(), ErrorKind::Fenced, "a namenode from the past: {error}");
    namenode.stop().await.expect("stop");
}

fn namenode_incarnation() -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(Incarnation::from_random(7).as_bytes())
}

#[tokio::test]
async fn chunks_go_where_there_is_room() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let file = client.create("/f", 3).await;
    assert_eq!(refused(client.add_chunk(&file).await).kind(), ErrorKind::Unavailable, "nobody is there");

    let mut full = Introduction::new(1);
    full.available = 1_000;
    let _full = FakeNode::connect(namenode.address(), &full).await.expect("register");
    let error = refused(client.add_chunk(&file).await);
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.message().contains("no datanode has room"), "{error}");

    let (_two, _three, _four) = (node(&namenode, 2).await, node(&namenode, 3).await, node(&namenode, 4).await);
    let request = v1::AddChunkRequest {
        call: client.call(),
        inode: file.inode,
        lease: file.lease,
        host: "host3".into(),
        ..Default::default()
    };
    let added = client.stub.clone().add_chunk(request.clone()).await.expect("chunk").into_inner();
    assert_eq!(added.nodes[0].address, "host3:1003", "the writer's own node comes first");
    let mut all: Vec<_> = added.nodes.iter().map(|node| node.address.as_str()).collect();
    all.sort_unstable();
    assert_eq!(all, ["host2:1002", "host3:1003", "host4:1004"]);
    let again = client.stub.clone().add_chunk(request).await.expect("chunk").into_inner();
    assert_eq!(again, added, "a repeated call gets the first answer");
    namenode.stop().await.expect("stop");
}

/// Many small chunks are placed between two heartbeats: each sets aside what it will have, not what it might grow to.
#[tokio::test]
async fn a_chunk_of_known_size_sets_no_more_room_aside() {
    const EACH: u64 = 64 << 10;
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut small = Introduction::new(1);
    small.available = 64 << 20;
    let _small = FakeNode::connect(namenode.address(), &small).await.expect("register");
    for number in 0..500 {
        let file = client.create(&format!("/{number}"), 1).await;
        let (call, inode, lease) = (client.call(), file.inode, file.lease);
        let request = v1::AddChunkRequest { call, inode, lease, expected: EACH, ..Default::default() };
        client.stub.clone().add_chunk(request).await.expect("there is room for a thousand");
    }
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn what_a_file_owes_is_copied() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut nodes = [node(&namenode, 1).await, node(&namenode, 2).await, node(&namenode, 3).await];
    reported(&namenode, "all are certain", |report| report.complete).await;
    let source = nodes[1].id;
    let (_, chunk) = file(&client, "/f", &[source]).await;
    let owing = reported(&namenode, "it is owed", |report| report.under_replicated == 1).await;
    assert_eq!((owing.files, owing.chunks, owing.missing), (1, 1, 0));

    for _ in 0..2 {
        let (id, order) = nodes[1].command().await;
        let Order::Copy(copy) = order else { panic!("expected a copy, got {order:?}") };
        assert_eq!((copy.chunk, copy.generation, copy.length), (chunk.chunk, chunk.generation, 1_000));
        let target = copy.target.expect("a target");
        assert_ne!(target.id, source);
        nodes[1].done(id, None).await;
    }
    let whole = reported(&namenode, "it is repaired", |report| report.under_replicated == 0).await;
    assert_eq!((whole.repairing, whole.over_replicated), (0, 0));
    let located = client.open("/f").await.expect("open");
    assert_eq!(located.chunks[0].replicas.len(), 3);
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn the_chunks_of_a_dead_node_are_copied_and_it_returns_to_a_surplus() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut nodes = vec![node(&namenode, 1).await, node(&namenode, 2).await, node(&namenode, 3).await];
    let ids: Vec<u32> = nodes.iter().map(|node| node.id).collect();
    reported(&namenode, "all are certain", |report| report.complete).await;
    let (_, chunk) = file(&client, "/f", &ids).await;
    let mut fourth = node(&namenode, 4).await;

    drop(nodes.remove(0));
    let suspected = reported(&namenode, "the node is missed", |report| report.live_datanodes == 3).await;
    assert_eq!(suspected.dead_datanodes, 1);
    reported(&namenode, "its replica does not count", |report| report.under_replicated == 1).await;
    let (first, second) = nodes.split_at_mut(1);
    let (id, order) = tokio::select! {
        command = first[0].command() => command,
        command = second[0].command() => command,
    };
    let Order::Copy(copy) = order else { panic!("expected a copy, got {order:?}") };
    assert_eq!(copy.target.expect("a target").id, fourth.id, "the only one without it");
    for node in &nodes {
        // The one that was not asked does not know the command: its result is dropped.
        node.done(id, None).await;
    }
    reported(&namenode, "it is repaired", |report| report.under_replicated == 0).await;

    let mut back = Introduction::new(1);
    (back.id, back.instance) = (ids[0], 55);
    let mut returned = FakeNode::connect(namenode.address(), &back).await.expect("register");
    assert_eq!(returned.id, ids[0]);
    // It says that it holds nothing of the sort: its row goes, and nothing is surplus.
    returned.send(Up::Sums(v1::ReportSums::default())).await;
    let range = chunk.chunk / 4_096;
    assert_eq!(returned.wanted().await, [range]);
    let listing = v1::ReportRange { range, replicas: vec![finalized(chunk.chunk, chunk.generation, 1_000)] };
    returned.send(Up::Range(listing)).await;
    // It does after all: one of the four has to go.
    let mut all = vec![&mut returned, &mut fourth];
    all.extend(nodes.iter_mut());
    let commands = all.into_iter().map(|node| Box::pin(async { (node.command().await, node) }));
    let (((id, order), node), ..) = futures::future::select_all(commands).await;
    let Order::Delete(delete) = order else { panic!("expected a deletion, got {order:?}") };
    assert_eq!((delete.chunk, delete.generation), (chunk.chunk, chunk.generation));
    node.done(id, None).await;
    let settled = reported(&namenode, "the surplus is gone", |report| {
        report.over_replicated == 0 && report.pending_deletes == 0 && report.under_replicated == 0
    });
    assert_eq!(settled.await.nodes.iter().map(|node| node.replicas).sum::<u64>(), 3);
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn reports_add_what_is_missing_and_never_delete_what_is_unknown() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut one = node(&namenode, 1).await;
    let mut two = node(&namenode, 2).await;
    reported(&namenode, "both are certain", |report| report.complete).await;
    let (_, chunk) = file(&client, "/f", &[one.id]).await;
    // An event for a replica that the writer did not hear of, a second time too.
    let replica = finalized(chunk.chunk, chunk.generation, 1_000);
    two.events(1, vec![event(Kind::Finalized, replica)]).await;
    two.events(2, vec![event(Kind::Finalized, replica)]).await;
    assert_eq!(client.open("/f").await.expect("open").chunks[0].replicas.len(), 2);

    let lanes = vec![1, 2, 3, 4];
    one.send(Up::Sums(v1::ReportSums { sums: vec![v1::RangeSum { range: 3, lanes }], more: false })).await;
    assert_eq!(one.wanted().await, [0, 3], "one that it did not name and one that no row names");
    one.send(Up::Range(v1::ReportRange { range: 0, replicas: Vec::new() })).await;
    let unknown = finalized(3 * 4_096 + 1, 1, 10);
    one.send(Up::Range(v1::ReportRange { range: 3, replicas: vec![unknown] })).await;
    let report = reported(&namenode, "the report is in", |report| {
        report.nodes.iter().any(|node| node.quarantined == 1)
            && report.nodes.iter().map(|node| node.replicas).sum::<u64>() == 1
    });
    assert_eq!(report.await.pending_deletes, 0);

    // The verdict of its own node makes the last replica corrupt; it is all there is and stays.
    two.events(3, vec![event(Kind::Corrupt, replica)]).await;
    let report = reported(&namenode, "it is corrupt", |report| report.corrupt == 1).await;
    assert_eq!((report.missing, report.pending_deletes), (1, 0));
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn a_deleted_file_is_deleted_on_its_nodes() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut only = node(&namenode, 1).await;
    let (_, chunk) = file(&client, "/f", &[only.id]).await;
    let request = v1::DeleteRequest {
        call: client.call(),
        path: "/f".into(),
        recursive: false,
        trash: false,
        ..Default::default()
    };
    client.stub.clone().delete(request).await.expect("delete");
    let (_, order) = only.command().await;
    let Order::Delete(delete) = order else { panic!("expected a deletion, got {order:?}") };
    assert_eq!(delete.chunk, chunk.chunk);
    // It goes away before it has done so: the row has it told again.
    drop(only);
    let mut again = Introduction::new(1);
    again.instance = 2;
    let mut back =
        until("the old stream is gone", || async { FakeNode::connect(namenode.address(), &again).await.ok() }).await;
    let (id, order) = back.command().await;
    assert_eq!(order, Order::Delete(delete));
    back.done(id, None).await;
    let clean = |report: &v1::ReportResponse| report.pending_deletes == 0 && report.chunks == 0;
    reported(&namenode, "nothing is left", clean).await;
    namenode.stop().await.expect("stop");
}

/// What a file lacks that nobody can give it is not owed any more when the file goes.
#[tokio::test]
async fn a_deleted_file_owes_nothing() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let only = node(&namenode, 1).await;
    reported(&namenode, "it is certain", |report| report.complete).await;
    file(&client, "/f", &[only.id]).await;
    reported(&namenode, "two are owed", |report| report.under_replicated == 1).await;
    let request = v1::DeleteRequest {
        call: client.call(),
        path: "/f".into(),
        recursive: false,
        trash: false,
        ..Default::default()
    };
    client.stub.clone().delete(request).await.expect("delete");
    reported(&namenode, "nothing is owed", |report| report.under_replicated == 0 && report.chunks == 0).await;
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn a_file_whose_writer_is_gone_is_recovered() {
    let mut settings = settings();
    settings.namespace.session_timeout = Duration::from_millis(300);
    settings.namespace.lease_soft_limit = Duration::from_millis(100);
    let namenode = start_with(MetadataSource::Store(memory()), settings).await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut only = node(&namenode, 1).await;
    let file = client.create("/f", 1).await;
    let chunk = client.add_chunk(&file).await.expect("chunk");
    // Nobody renews the session.
    let (id, order) = only.command().await;
    let Order::Recover(recover) = order else { panic!("expected a recovery, got {order:?}") };
    assert!(recover.chunk == chunk.chunk && recover.generation > chunk.generation);
    let state = v1::ReplicaState::Rbw.into();
    let held = v1::Replica { chunk: chunk.chunk, generation: chunk.generation, length: 700, visible: 500, state };
    only.done(id, Some(held)).await;
    let (id, order) = only.command().await;
    let Order::Settle(settle) = order else { panic!("expected to settle, got {order:?}") };
    assert_eq!((settle.chunk, settle.generation, settle.length), (chunk.chunk, recover.generation, 700));
    only.done(id, Some(finalized(chunk.chunk, settle.generation, 700))).await;
    let status = until("the file is closed", || async {
        let status =
            client.stub.clone().stat(v1::StatRequest { path: "/f".into(), no_follow: false }).await.expect("stat");
        status.into_inner().status.filter(|status| !status.open)
    });
    assert_eq!(status.await.length, 700);
    assert_eq!(refused(client.add_chunk(&file).await).kind(), ErrorKind::SessionLost);
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn a_scrub_asks_every_datanode_and_tells_what_is_corrupt() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut nodes = [node(&namenode, 1).await, node(&namenode, 2).await];
    reported(&namenode, "both are certain", |report| report.complete).await;
    client.mkdir("/d").await.expect("mkdir");
    let (_, chunk) = file(&client, "/d/f", &[nodes[0].id, nodes[1].id]).await;
    for path in ["", "/d"] {
        let mut admin = AdminServiceClient::new(channel(namenode.address()).await);
        let scrub = admin.scrub(v1::ScrubRequest { path: path.into() }).await.expect("scrub");
        let mut progress = scrub.into_inner();
        for (at, node) in nodes.iter_mut().enumerate() {
            let (id, order) = node.command().await;
            assert_eq!(order, Order::Verify(v1::VerifyReplica { chunk: chunk.chunk, generation: chunk.generation }));
            if at == 0 || path.is_empty() {
                node.done(id, Some(finalized(chunk.chunk, chunk.generation, 1_000))).await;
            } else {
                let kind = v1::ErrorKind::Corrupt.into();
                let error = Some(v1::ErrorDetail { kind, message: "piece 3".into(), ..Default::default() });
                node.send(Up::Result(v1::CommandResult { id, error, replica: None })).await;
            }
        }
        let mut findings = Vec::new();
        let last = loop {
            let step = progress.message().await.expect("progress").expect("ends with done");
            findings.extend(step.findings.clone());
            if step.done {
                break step;
            }
        };
        let corrupt = u64::from(!path.is_empty());
        assert_eq!((last.checked, last.total, last.corrupt, last.failed), (2, 2, corrupt, 0));
        assert_eq!(
            findings.iter().filter(|finding| finding.contains("piece 3")).count() as u64,
            corrupt,
            "{findings:?}"
        );
    }
    reported(&namenode, "the verdict is recorded", |report| report.corrupt == 1).await;
    namenode.stop().await.expect("stop");
}

/// Commands die with the namenode; what is owed stands in the rows.
#[tokio::test]
async fn owed_copies_survive_a_restart() {
    let store = memory();
    let source = || MetadataSource::Store(Arc::clone(&store) as Arc<dyn MetadataStore>);
    let namenode = start_with(source(), settings()).await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut one = node(&namenode, 1).await;
    let two = node(&namenode, 2).await;
    reported(&namenode, "both are certain", |report| report.complete).await;
    let (_, chunk) = file(&client, "/f", &[one.id]).await;
    let (_, order) = one.command().await;
    assert!(matches!(order, Order::Copy(_)));
    let (first_epoch, ids) = (one.registered.epoch, (one.id, two.id));
    namenode.kill().await;
    drop((one, two));

    let namenode = start_with(source(), settings()).await;
    assert!(!report(&namenode).await.complete);
    let mut who = Introduction::new(1);
    who.id = ids.0;
    let mut one = FakeNode::connect(namenode.address(), &who).await.expect("register");
    assert!(one.registered.epoch > first_epoch, "an order of the first life is older");
    let _two = node(&namenode, 2).await;
    let held = godfs_core::namespace::sums::of_replica(
        godfs_core::ChunkId(chunk.chunk),
        godfs_core::Generation(chunk.generation),
        1_000,
    );
    let sum = v1::RangeSum { range: chunk.chunk / 4_096, lanes: held.0.to_vec() };
    one.send(Up::Sums(v1::ReportSums { sums: vec![sum], more: false })).await;
    let (id, order) = one.command().await;
    let Order::Copy(copy) = order else { panic!("expected a copy, got {order:?}") };
    assert_eq!(copy.target.expect("target").id, ids.1);
    one.done(id, None).await;
    // Three are wanted and two are there: it stays owed.
    let report = reported(&namenode, "all is counted", |report| report.complete && report.repairing == 0).await;
    assert_eq!(report.under_replicated, 1);
    assert_eq!(report.nodes.iter().map(|node| node.replicas).sum::<u64>(), 2);
    namenode.stop().await.expect("stop");
}

#[test]
fn settings_are_checked_and_read_as_plain_data() {
    let text = serde_json::to_string(&NamenodeSettings::default()).expect("plain data");
    assert_eq!(serde_json::from_str::<NamenodeSettings>(&text).expect("plain data"), NamenodeSettings::default());
    NamenodeSettings::default().check().expect("the defaults work");
    let mut none = NamenodeSettings::default();
    none.namespace.replication = 0;
    assert_eq!(none.check().expect_err("no replica").kind(), ErrorKind::InvalidArgument);
}
