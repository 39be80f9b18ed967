//! Whole small replicas, many on one stream.

use godfs_client::pipeline::{PipelineFailure, WholeWrites};
use godfs_client::transport::convert::{Node, WholeReplica};
use godfs_core::chunk::{Packet, ReplicaState};
use godfs_core::{ChunkId, ErrorKind, Generation, checksum};
use godfs_proto::v1;
use v1::replica_event::Kind;

use crate::harness::{Client, cluster, named, pattern};

/// The one with this number: 1 byte, or one that ends in mid-piece, or many pieces.
fn whole(chunk: u64) -> WholeReplica {
    let length = [1, 65_536, 70_001, 4_097, 256 << 10][usize::try_from(chunk % 5).expect("small")];
    let data = pattern(length);
    let packet = Packet { offset: 0, checksums: checksum::checksums(0, &data), data };
    let (chunk, generation) = (ChunkId(chunk), Generation(1));
    WholeReplica { chunk, generation, capacity: 1 << 20, sync: true, downstream: Vec::new(), packet }
}

struct Writer {
    client: Client,
    streams: WholeWrites,
}

impl Writer {
    async fn write(&self, nodes: &[Node], replica: WholeReplica) -> Result<bool, PipelineFailure> {
        self.streams.write(&self.client.channels, &self.client.identity, nodes, replica).await
    }
}

/// Every order of the nodes at once, so that each node is first, in the middle and last on streams to and from each other.
#[tokio::test]
async fn replicas_on_many_ways_at_once_are_on_every_node() {
    let (namenode, nodes, _folders) = cluster(3).await;
    let writer = Writer { client: Client::new(namenode.cluster()), streams: WholeWrites::default() };
    let all: Vec<_> = nodes.iter().map(named).collect();
    let writes = (1..=60_u64).map(|chunk| {
        let mut way = all.clone();
        way.rotate_left(usize::try_from(chunk % 3).expect("small"));
        if chunk % 2 == 0 {
            way.swap(1, 2);
        }
        let writer = &writer;
        async move { writer.write(&way, whole(chunk)).await.expect("stored by all") }
    });
    let written = futures::future::join_all(writes).await;
    assert!(written.iter().all(|sent| *sent));
    for node in &nodes {
        for chunk in 1..=60 {
            let request = writer.client.read_request(node, chunk);
            let (replica, _, found) = writer.client.read(node, request).await.expect("read");
            let data = whole(chunk).packet.data;
            assert_eq!((replica.state(), replica.visible), (v1::ReplicaState::Finalized, data.len() as u64));
            assert!(found == data, "chunk {chunk}");
        }
        namenode.event(node.node_id().expect("registered").get(), 60, Kind::Finalized).await;
    }
}

/// What one of them is refused for is no matter of the others that travel with it.
#[tokio::test]
async fn each_replica_fails_by_itself() {
    let (namenode, mut nodes, _folders) = cluster(3).await;
    let writer = Writer { client: Client::new(namenode.cluster()), streams: WholeWrites::default() };
    let all: Vec<_> = nodes.iter().map(named).collect();
    let mut rotten = whole(2);
    rotten.packet.checksums = checksum::checksums(0, &vec![1; rotten.packet.data.len()]);
    let (good, bad, again) =
        tokio::join!(writer.write(&all, whole(1)), writer.write(&all, rotten), writer.write(&all, whole(3)));
    assert!(good.expect("stored") && again.expect("stored"));
    let failure = bad.expect_err("its checksums do not hold");
    assert_eq!((failure.nodes, failure.error.kind()), (vec![all[0].id], ErrorKind::Corrupt));
    let failure = writer.write(&all, whole(1)).await.expect_err("it is there");
    assert_eq!(failure.error.kind(), ErrorKind::AlreadyExists, "{}", failure.error);

    // Without the last node a replica is stored by the others, finalized by none, and shown by none.
    let last = nodes.pop().expect("three");
    last.kill();
    last.join().await;
    let failure = writer.write(&all, whole(4)).await.expect_err("the last is gone");
    assert_eq!(failure.nodes, [all[2].id], "{}", failure.error);
    for node in &nodes {
        let replica = node.store().stat(ChunkId(4)).await.expect("stored");
        assert_eq!((replica.state, replica.visible), (ReplicaState::Rbw, 0));
    }
    assert!(writer.write(&all[..2], whole(5)).await.expect("stored by those that are left"));
}
