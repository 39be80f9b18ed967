//! What a namenode orders.

use godfs_client::transport::convert::WriteMode;
use godfs_core::{ChunkId, ErrorKind};
use godfs_proto::v1;
use v1::command::Order;
use v1::namenode_message::Message as Down;
use v1::replica_event::Kind;

use crate::fake_namenode::State;
use crate::harness::{Client, cluster, named, pattern, send};

fn wire(node: &godfs_server::datanode::Datanode) -> v1::Node {
    godfs_client::transport::convert::node_to_wire(&named(node))
}

#[tokio::test]
async fn a_replica_is_copied_whole_and_reported_by_the_target() {
    let (namenode, nodes, _folders) = cluster(2).await;
    let client = Client::new(namenode.cluster());
    let data = pattern(3_500_000);
    client.write(&[&nodes[0]], 8, &data).await.expect("write");
    let copy = |length| Order::Copy(v1::CopyReplica { chunk: 8, generation: 1, length, target: Some(wire(&nodes[1])) });
    let result = namenode.order(1, 1, copy(3_500_000)).await;
    assert_eq!(result.error, None);
    let event = namenode.event(2, 8, Kind::Finalized).await;
    assert_eq!(event.replica.expect("a replica").length, 3_500_000);
    let (_, _, found) = client.read(&nodes[1], client.read_request(&nodes[1], 8)).await.expect("read");
    assert!(found == data);
    let again = namenode.order(1, 1, copy(3_500_000)).await.error.expect("it is there");
    assert_eq!(again.kind(), v1::ErrorKind::AlreadyExists, "{}", again.message);
    let another = namenode.order(1, 1, copy(1)).await.error.expect("not the replica that was meant");
    assert_eq!(another.kind(), v1::ErrorKind::FailedPrecondition, "{}", another.message);
}

/// Where two nodes lack what a third has, one of which holds a finished replica that the chunk has left behind.
#[tokio::test]
async fn one_replica_is_copied_to_two_nodes_at_once_and_over_an_older_one() {
    let (namenode, nodes, _folders) = cluster(3).await;
    let client = Client::new(namenode.cluster());
    let data = pattern(3_500_000);
    client.write(&[&nodes[1]], 8, &pattern(9)).await.expect("the older one");
    let mut newer = client.open_as(vec![named(&nodes[0])], 8, 2, WriteMode::Create, 0).await.expect("open");
    send(&mut newer, 0, &data, true).await.expect("write");
    let copy = |to: usize| {
        let target = Some(wire(&nodes[to]));
        namenode.order(1, 1, Order::Copy(v1::CopyReplica { chunk: 8, generation: 2, length: 3_500_000, target }))
    };
    let (first, second) = tokio::join!(copy(1), copy(2));
    assert_eq!((first.error, second.error), (None, None));
    for node in &nodes {
        let (replica, _, found) = client.read(node, client.read_request(node, 8)).await.expect("read");
        assert_eq!(replica.generation, 2);
        assert!(found == data);
    }
}

#[tokio::test]
async fn an_empty_replica_is_copied_too() {
    let (namenode, nodes, _folders) = cluster(2).await;
    let client = Client::new(namenode.cluster());
    let mut sender = client.open(&[&nodes[0]], 1).await.expect("open");
    let last = godfs_client::pipeline::PacketKind::Last { sync: true };
    sender.send(crate::harness::packet(0, bytes::Bytes::new()), last).expect("credit");
    sender.ack().await.expect("finalized");
    let order = Order::Copy(v1::CopyReplica { chunk: 1, generation: 1, length: 0, target: Some(wire(&nodes[1])) });
    assert_eq!(namenode.order(1, 1, order).await.error, None);
    assert_eq!(client.inspect(&nodes[1], 1).await.expect("there").state(), v1::ReplicaState::Finalized);
}

#[tokio::test]
async fn orders_of_an_old_epoch_are_refused_for_ever() {
    let (namenode, mut nodes, folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    client.write(&[&nodes[0]], 3, &pattern(10)).await.expect("write");
    let delete = || Order::Delete(v1::DeleteReplica { chunk: 3, generation: 1 });
    let unknown = Order::Delete(v1::DeleteReplica { chunk: 4, generation: 1 });
    assert_eq!(namenode.order(1, 7, unknown).await.error, None, "a replica that is not here is deleted");
    let error = namenode.order(1, 6, delete()).await.error.expect("an old epoch");
    assert_eq!(error.kind(), v1::ErrorKind::Fenced);
    let killed = nodes.remove(0);
    killed.kill();
    killed.join().await;
    // A namenode of the old epoch is not even worked with.
    let old =
        godfs_server::datanode::Datanode::start(crate::harness::options(folders[0].path(), &namenode.address()).await);
    let node = old.await.expect("start");
    assert_eq!(crate::harness::refused(node.ready().await).kind(), ErrorKind::Fenced);
    namenode.change(|state| state.epoch = 7);
    namenode.at_work(1).await;
    let error = namenode.order(1, 6, delete()).await.error.expect("still old");
    assert_eq!(error.kind(), v1::ErrorKind::Fenced);
    node.store().stat(ChunkId(3)).await.expect("nothing was deleted");
    assert_eq!(namenode.order(1, 8, delete()).await.error, None);
    namenode.event(1, 3, Kind::Deleted).await;
    assert_eq!(node.store().stat(ChunkId(3)).await.expect_err("deleted").kind(), ErrorKind::NotFound);
}

/// A namenode that knows of the deletion would take the replica for there again when it then heard that it was finalized.
#[tokio::test]
async fn the_outcome_of_an_order_overtakes_no_event() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    let told = |chunk: u64| {
        move |state: &State| {
            let events = state.nodes[&1].events.iter();
            let of_chunk = events.filter(|event| event.replica.as_ref().is_some_and(|replica| replica.chunk == chunk));
            Some(of_chunk.map(v1::ReplicaEvent::kind).collect::<Vec<_>>())
        }
    };
    let delete = |chunk| Order::Delete(v1::DeleteReplica { chunk, generation: 1 });
    for chunk in 1..=30 {
        client.write(&[&nodes[0]], chunk, &pattern(10)).await.expect("write");
        assert_eq!(namenode.order(1, 1, delete(chunk)).await.error, None);
        assert_eq!(namenode.wait("at once", told(chunk)).await, [Kind::Finalized, Kind::Deleted], "chunk {chunk}");
    }
    // Nor while a message with earlier ones is to be acknowledged.
    namenode.change(|state| state.nodes.get_mut(&1).expect("registered").silent = true);
    client.write(&[&nodes[0]], 50, &pattern(10)).await.expect("write");
    let sequence = namenode.wait("a message", |state| state.nodes[&1].unacknowledged).await;
    client.write(&[&nodes[0]], 51, &pattern(10)).await.expect("write");
    let outcome = async {
        assert_eq!(namenode.order(1, 1, delete(51)).await.error, None);
        namenode.wait("at once", told(51)).await
    };
    let acknowledge = async {
        while nodes[0].store().stat(ChunkId(51)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        // Whatever was to be sent by then goes ahead of a heartbeat.
        namenode.at_work(1).await;
        namenode.change(|state| state.nodes.get_mut(&1).expect("registered").silent = false);
        namenode.tell(1, Down::Events(v1::EventsAck { sequence }));
    };
    let (told, ()) = tokio::join!(outcome, acknowledge);
    assert_eq!(told, [Kind::Finalized, Kind::Deleted]);
}

#[tokio::test]
async fn a_write_is_stopped_recovered_and_settled() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    let mut sender = client.open(&[&nodes[0]], 2).await.expect("open");
    let data = pattern(50_000);
    send(&mut sender, 0, &data, false).await.expect("written");
    let recover = |generation| Order::Recover(v1::RecoverReplica { chunk: 2, generation });
    let held = namenode.order(1, 1, recover(5)).await;
    assert_eq!(held.replica.expect("what it holds").length, 50_000);
    let error = namenode.order(1, 1, recover(4)).await.error.expect("an older recovery");
    assert_eq!(error.kind(), v1::ErrorKind::Fenced);
    let kind = godfs_client::pipeline::PacketKind::Data;
    sender.send(crate::harness::packet(50_000, data.slice(..10)), kind).expect("credit");
    let failure = sender.ack().await.expect_err("the writer was stopped");
    assert_eq!(failure.error.kind(), ErrorKind::Fenced, "{}", failure.error);
    let settle = Order::Settle(v1::SettleReplica { chunk: 2, generation: 5, length: 40_000 });
    let settled = namenode.order(1, 1, settle).await.replica.expect("settled");
    assert_eq!((settled.generation, settled.length), (5, 40_000));
    namenode.event(1, 2, Kind::Finalized).await;
    let (_, _, found) = client.read(&nodes[0], client.read_request(&nodes[0], 2)).await.expect("read");
    assert!(found == data[..40_000]);
}

#[tokio::test]
async fn what_is_no_order_is_answered() {
    let (namenode, _nodes, _folders) = cluster(1).await;
    for (order, kind) in [
        (Order::Delete(v1::DeleteReplica { chunk: 0, generation: 1 }), v1::ErrorKind::InvalidArgument),
        (Order::Delete(v1::DeleteReplica { chunk: 1, generation: 0 }), v1::ErrorKind::InvalidArgument),
        (Order::Verify(v1::VerifyReplica { chunk: 1, generation: 1 }), v1::ErrorKind::NotFound),
        (Order::Settle(v1::SettleReplica { chunk: 1, generation: 1, length: u64::MAX }), v1::ErrorKind::NotFound),
        (
            Order::Copy(v1::CopyReplica { chunk: 1, generation: 1, length: 1, target: None }),
            v1::ErrorKind::InvalidArgument,
        ),
    ] {
        let error = namenode.order(1, 1, order.clone()).await.error.expect("refused");
        assert_eq!(error.kind(), kind, "{order:?}: {}", error.message);
    }
}
