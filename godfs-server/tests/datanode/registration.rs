//! Who a datanode is, and with whom it works.

use godfs_core::env::{Executor, Job};
use godfs_core::namespace::sums;
use godfs_core::{ChunkId, Error, ErrorKind, Generation, Incarnation, NodeId};
use godfs_proto::v1;
use godfs_server::datanode::Datanode;
use v1::namenode_message::Message as Down;

use crate::fake_namenode::FakeNamenode;
use crate::harness::{Client, cluster, options, pattern, refused, started};

#[tokio::test]
async fn a_restarted_node_is_the_same_node_and_reports_what_it_holds() {
    let (namenode, mut nodes, folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    let data = pattern(100_000);
    client.write(&[&nodes[0]], 5, &data).await.expect("write");
    let unfinished = client.open(&[&nodes[0]], 6).await.expect("open");
    let killed = nodes.remove(0);
    killed.kill();
    killed.join().await;
    drop(unfinished);
    let again = started(folders[0].path(), &namenode).await;
    assert_eq!(again.node_id(), Some(NodeId(1)));
    let (first, second) = namenode
        .wait("the second report", |state| {
            let node = &state.nodes[&1];
            (node.registers.len() == 2 && node.reports == 2)
                .then(|| (node.registers[0].clone(), node.registers[1].clone()))
        })
        .await;
    assert_eq!(first.node_uuid, second.node_uuid);
    assert_ne!(first.instance, second.instance);
    assert_eq!((first.node, second.node, second.version), (0, 1, 10));
    // Only what is finalized is reported.
    let sum = sums::of_replica(ChunkId(5), Generation(1), 100_000);
    let reported = namenode.wait("sums", |state| Some(state.nodes[&1].sums.clone())).await;
    assert_eq!(reported, [v1::RangeSum { range: 0, lanes: sum.0.to_vec() }]);
    namenode.tell(1, Down::Wanted(v1::ReportWanted { ranges: vec![0, 1] }));
    let ranges = namenode
        .wait("ranges", |state| (state.nodes[&1].ranges.len() == 2).then(|| state.nodes[&1].ranges.clone()))
        .await;
    assert_eq!(ranges[0].replicas.iter().map(|replica| replica.chunk).collect::<Vec<_>>(), [5]);
    assert_eq!((ranges[1].range, ranges[1].replicas.len()), (1, 0));
    let (_, _, found) = client.read(&again, client.read_request(&again, 5)).await.expect("read");
    assert!(found == data);
    assert_eq!(client.inspect(&again, 6).await.expect("kept").state(), v1::ReplicaState::Rwr);
}

#[tokio::test]
async fn a_node_waits_for_its_namenode_and_comes_back_to_it() {
    let namenode = FakeNamenode::start().await;
    let address = namenode.address();
    namenode.kill().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let node = Datanode::start(options(folder.path(), &address).await).await.expect("start without a namenode");
    let client = Client::new(godfs_core::ClusterId::from_random(1));
    let request = v1::InspectRequest { hello: Some(client.identity.hello()), chunk: 1, node: 1 };
    let status = client.service(node.address()).await.inspect(request).await.expect_err("not registered");
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
    for _ in 0..2 {
        let namenode = FakeNamenode::start_at(address.as_str(), 1).await;
        namenode
            .wait("a heartbeat", |state| state.nodes.get(&1).filter(|node| !node.heartbeats.is_empty()).map(drop))
            .await;
        namenode.kill().await;
    }
    node.ready().await.ok();
    assert_eq!(node.node_id(), Some(NodeId(1)));
}

#[tokio::test]
async fn a_refused_node_says_why() {
    let namenode = FakeNamenode::start().await;
    namenode.change(|state| {
        state.refuse = Some(Error::new(ErrorKind::FailedPrecondition, "node 1 is alive at 10.0.0.1:9"));
    });
    let folder = tempfile::tempdir().expect("temporary folder");
    let node = Datanode::start(options(folder.path(), &namenode.address()).await).await.expect("start");
    let error = refused(node.ready().await);
    assert!(error.message().contains("alive at 10.0.0.1:9"), "{error}");
    // It goes on trying.
    namenode.change(|state| state.refuse = None);
    namenode.wait("a registration", |state| state.nodes.get(&1).map(drop)).await;
}

#[tokio::test]
async fn another_clusters_namenode_and_one_from_the_past_are_refused() {
    let namenode = FakeNamenode::start().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    started(folder.path(), &namenode).await.stop().await;

    let other = FakeNamenode::start_at("127.0.0.1:0", 77).await;
    let node = Datanode::start(options(folder.path(), &other.address()).await).await.expect("start");
    let error = refused(node.ready().await);
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    for id in [namenode.cluster(), other.cluster()] {
        assert!(error.message().contains(&id.to_string()), "{error}");
    }
    node.stop().await;

    namenode.change(|state| state.version = 9);
    let node = Datanode::start(options(folder.path(), &namenode.address()).await).await.expect("start");
    assert_eq!(refused(node.ready().await).kind(), ErrorKind::Fenced);
    namenode.change(|state| (state.version, state.incarnation) = (3, Incarnation::from_random(9)));
    node.stop().await;
    let mut accepting = options(folder.path(), &namenode.address()).await;
    accepting.accept_incarnation = Some(Incarnation::from_random(9));
    let node = Datanode::start(accepting).await.expect("start");
    node.ready().await.expect("accepted");
}

#[tokio::test]
async fn a_folder_is_used_once_and_only_by_the_node_expected() {
    let (namenode, nodes, folders) = cluster(1).await;
    let error = refused(Datanode::start(options(folders[0].path(), &namenode.address()).await).await);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(nodes);
    let unmounted = tempfile::tempdir().expect("temporary folder");
    let mut expecting = options(unmounted.path(), &namenode.address()).await;
    expecting.expect_node = Some(NodeId(1));
    let error = refused(Datanode::start(expecting).await);
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    let mut nowhere = options(unmounted.path(), &namenode.address()).await;
    nowhere.listener = godfs_server::net::Listener::tcp("0.0.0.0:0").await.expect("listen");
    assert_eq!(refused(Datanode::start(nowhere).await).kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_node_that_leaves_says_so_and_lets_streams_end() {
    let (namenode, mut nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    let data = pattern(200_000);
    let mut sender = client.open(&[&nodes[0]], 1).await.expect("open");
    let request = client.read_request(&nodes[0], 1);
    let address = nodes[0].address().clone();
    let stopping = tokio::spawn(nodes.remove(0).stop());
    namenode
        .wait("draining", |state| state.nodes[&1].heartbeats.iter().any(|heartbeat| heartbeat.draining).then_some(()))
        .await;
    assert!(
        Client::new(namenode.cluster()).channels.chunk_service(&address).await.is_err() || {
            let mut service = client.service(&address).await;
            service.read(request).await.is_err()
        }
    );
    crate::harness::send(&mut sender, 0, &data, true).await.expect("the stream under way ends well");
    sender.finish().await;
    stopping.await.expect("stopped");
    namenode.wait("the goodbye", |state| (!state.nodes[&1].connected).then_some(())).await;
}

/// An executor with one thread, which can be stopped.
#[derive(Clone, Default)]
struct Gate(std::sync::Arc<std::sync::Mutex<(bool, Vec<Job>)>>);

impl Gate {
    fn close(&self) {
        self.0.lock().expect("not poisoned").0 = true;
    }

    fn open(&self) {
        let waiting = {
            let mut gate = self.0.lock().expect("not poisoned");
            gate.0 = false;
            std::mem::take(&mut gate.1)
        };
        std::thread::spawn(|| waiting.into_iter().for_each(|job| job()));
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Executor for Gate {
    fn execute(&self, job: Job) {
        let mut gate = self.0.lock().expect("not poisoned");
        match gate.0 {
            true => gate.1.push(job),
            false => drop(std::thread::spawn(job)),
        }
    }
}

/// Heartbeats once measured the room on the disk, behind every write that was queued: a node whose disk was busy for some
/// seconds was taken for dead.
#[tokio::test]
async fn heartbeats_do_not_wait_for_the_disk() {
    let namenode = FakeNamenode::start().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let gate = Gate::default();
    let mut options = options(folder.path(), &namenode.address()).await;
    options.env.executor = std::sync::Arc::new(gate.clone());
    let node = Datanode::start(options).await.expect("start");
    node.ready().await.expect("registered");
    gate.close();
    let before = namenode.wait("the node", |state| Some(state.nodes.get(&1)?.heartbeats.len())).await;
    namenode
        .wait("heartbeats", |state| {
            let node = &state.nodes[&1];
            (node.heartbeats.len() > before + 3).then(|| assert!(node.connected && node.registers.len() == 1))
        })
        .await;
    gate.open();
    node.stop().await;
}
