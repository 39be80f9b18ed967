//! Writing through a pipeline, and reading back.

use godfs_client::pipeline::PacketKind;
use godfs_client::transport::convert::WriteMode;
use godfs_core::ErrorKind;
use godfs_core::chunk::ReplicaState;
use godfs_proto::v1;
use v1::replica_event::Kind;

use crate::harness::{Client, cluster, named, packet, pattern, refused, send};

#[tokio::test]
async fn what_goes_through_a_pipeline_of_three_is_on_each_node() {
    let (namenode, nodes, _folders) = cluster(3).await;
    let client = Client::new(namenode.cluster());
    let data = pattern(5_000_000);
    client.write(&[&nodes[0], &nodes[1], &nodes[2]], 7, &data).await.expect("write");
    for node in &nodes {
        let id = node.node_id().expect("registered").get();
        let event = namenode.event(id, 7, Kind::Finalized).await;
        assert_eq!(event.replica.expect("a replica").length, 5_000_000);
        let (replica, begin, found) = client.read(node, client.read_request(node, 7)).await.expect("read");
        assert_eq!((replica.length, replica.visible, begin), (5_000_000, 5_000_000, 0));
        assert!(found == data, "node {id}");
        let sum = v1::ChecksumRequest {
            hello: Some(client.identity.hello()),
            chunk: 7,
            generation: 1,
            length: 4_999_999,
            node: id,
        };
        let sum = client.service(node.address()).await.checksum(sum).await.expect("checksum").into_inner();
        assert_eq!(sum.crc32c, godfs_core::checksum::crc32c(&data[..4_999_999]));
    }
}

#[tokio::test]
async fn a_read_begins_at_the_piece_and_ends_where_asked() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    let data = pattern(3_000_000);
    client.write(&[&nodes[0]], 1, &data).await.expect("write");
    for (offset, length, begin, end) in [
        (0, 0, 0, 3_000_000),
        (5_000, 10, 4_096, 8_192),
        (2_999_999, 0, 2_998_272, 3_000_000),
        (4_096, 2_000_000, 4_096, 2_007_040),
        (3_000_000, 0, 0, 0),
        (4_000_000, 5, 0, 0),
    ] {
        let request = v1::ReadRequest { offset, length, verify: true, ..client.read_request(&nodes[0], 1) };
        let (_, found_begin, found) = client.read(&nodes[0], request).await.expect("read");
        assert_eq!(found_begin, begin, "{offset} {length}");
        assert!(found == data[begin as usize..end], "{offset} {length}: {} bytes", found.len());
    }
    let request = v1::ReadRequest { generation: 2, ..client.read_request(&nodes[0], 1) };
    refused(client.read(&nodes[0], request).await);
    let error = refused(client.read(&nodes[0], client.read_request(&nodes[0], 99)).await);
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn readers_see_what_every_node_has_acknowledged() {
    let (namenode, nodes, _folders) = cluster(2).await;
    let client = Client::new(namenode.cluster());
    let mut sender = client.open(&[&nodes[0], &nodes[1]], 3).await.expect("open");
    let data = pattern(10_000);
    sender.send(packet(0, data.slice(..6_000)), PacketKind::Data).expect("credit");
    sender.ack().await.expect("acknowledged");
    for node in &nodes {
        let (replica, _, found) = client.read(node, client.read_request(node, 3)).await.expect("read");
        assert_eq!((replica.state(), replica.visible), (v1::ReplicaState::Rbw, 6_000));
        assert!(found == data[..6_000]);
    }
    // The same piece, longer.
    sender.send(packet(6_000, data.slice(6_000..)), PacketKind::Sync).expect("credit");
    sender.send(packet(10_000, bytes::Bytes::new()), PacketKind::Last { sync: true }).expect("credit");
    sender.ack().await.expect("synced");
    sender.ack().await.expect("finalized");
    for node in &nodes {
        let (replica, _, found) = client.read(node, client.read_request(node, 3)).await.expect("read");
        assert_eq!(replica.state(), v1::ReplicaState::Finalized);
        assert!(found == data);
    }
}

#[tokio::test]
async fn a_node_killed_in_mid_pipeline_is_the_one_that_is_named() {
    let (namenode, mut nodes, _folders) = cluster(3).await;
    let client = Client::new(namenode.cluster());
    let mut sender = client.open(&[&nodes[0], &nodes[1], &nodes[2]], 5).await.expect("open");
    let data = pattern(3 << 20);
    send(&mut sender, 0, &data, false).await.expect("all three stand");
    let killed = nodes.remove(1);
    let id = killed.node_id().expect("registered");
    killed.kill();
    killed.join().await;
    let failure = loop {
        if sender.has_credit() {
            sender.send(packet(3 << 20, data.slice(..100)), PacketKind::Data).expect("credit");
        }
        if let Err(failure) = sender.ack().await {
            break failure;
        }
    };
    assert_eq!(failure.nodes, [id], "{}", failure.error);
    // What all had acknowledged is on the others, still being written; the pipeline goes on with them.
    for node in &nodes {
        let replica = client.inspect(node, 5).await.expect("inspect");
        assert_eq!(replica.state(), v1::ReplicaState::Rbw);
        assert!(replica.length >= 3 << 20);
    }
    let rest = nodes.iter().map(named).collect();
    let mut sender = client.open_as(rest, 5, 2, WriteMode::Resume, 3 << 20).await.expect("resume");
    send(&mut sender, 3 << 20, &data.slice(..1_000), true).await.expect("the rest");
    for node in &nodes {
        let (replica, _, found) = client.read(node, client.read_request(node, 5)).await.expect("read");
        assert_eq!((replica.generation, replica.length), (2, (3 << 20) + 1_000));
        assert!(found[..3 << 20] == data && found[3 << 20..] == data[..1_000]);
    }
}

#[tokio::test]
async fn a_pipeline_that_cannot_stand_names_the_node_and_leaves_nothing() {
    let (namenode, mut nodes, _folders) = cluster(3).await;
    let client = Client::new(namenode.cluster());
    let all: Vec<_> = nodes.iter().map(named).collect();
    let last = nodes.pop().expect("three");
    last.kill();
    last.join().await;
    let failure = client.open_as(all, 4, 1, WriteMode::Create, 0).await.expect_err("the last is gone");
    assert_eq!(failure.nodes, [godfs_core::NodeId(3)], "{}", failure.error);
    for node in &nodes {
        // A node removes what it made before it answers, or just after.
        while node.store().stat(godfs_core::ChunkId(4)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
    client.write(&[&nodes[0], &nodes[1]], 4, &pattern(10)).await.expect("the same chunk again");
}

#[tokio::test]
async fn a_corrupt_packet_is_refused_and_what_came_before_it_kept() {
    let (namenode, nodes, _folders) = cluster(2).await;
    let client = Client::new(namenode.cluster());
    let mut sender = client.open(&[&nodes[0], &nodes[1]], 6).await.expect("open");
    let data = pattern(8_192);
    sender.send(packet(0, data.slice(..4_096)), PacketKind::Data).expect("credit");
    sender.ack().await.expect("good");
    let mut bad = packet(4_096, data.slice(4_096..));
    bad.checksums = packet(4_096, data.slice(..4_096)).checksums;
    sender.send(bad, PacketKind::Last { sync: true }).expect("credit");
    let failure = sender.ack().await.expect_err("corrupt");
    assert_eq!((failure.error.kind(), failure.nodes[0]), (ErrorKind::Corrupt, nodes[0].node_id().expect("one")));
    for node in &nodes {
        let replica = node.store().stat(godfs_core::ChunkId(6)).await.expect("kept");
        assert_eq!((replica.state, replica.length), (ReplicaState::Rbw, 4_096));
    }
}
