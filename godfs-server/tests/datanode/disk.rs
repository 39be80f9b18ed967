//! What the disk has lost is found, by whoever reads it first, and reported as the node's own verdict.

use godfs_core::ErrorKind;
use godfs_proto::v1;
use godfs_server::datanode::Datanode;
use v1::command::Order;
use v1::replica_event::Kind;

use crate::fake_namenode::FakeNamenode;
use crate::harness::{Client, cluster, flip, named, options, pattern, refused, replica_file, replica_files};

/// A byte of the data of a replica of 2,000,000 bytes, wherever its file keeps them: the last page is data.
fn damage(folder: &std::path::Path) {
    let file = replica_file(folder);
    let length = std::fs::metadata(&file).expect("metadata").len();
    flip(&file, length - 2_000);
}

#[tokio::test]
async fn a_reader_that_meets_a_flipped_bit_makes_the_node_look() {
    let (namenode, nodes, folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    client.write(&[&nodes[0]], 9, &pattern(2_000_000)).await.expect("write");
    damage(folders[0].path());
    let request = v1::ReadRequest { verify: true, ..client.read_request(&nodes[0], 9) };
    let error = refused(client.read(&nodes[0], request).await);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let verdict = namenode.event(1, 9, Kind::Corrupt).await;
    assert!(!verdict.evidence.is_empty());
}

#[tokio::test]
async fn an_order_to_verify_carries_the_verdict() {
    let (namenode, nodes, folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    client.write(&[&nodes[0]], 9, &pattern(2_000_000)).await.expect("write");
    let verify = || Order::Verify(v1::VerifyReplica { chunk: 9, generation: 1 });
    let good = namenode.order(1, 1, verify()).await;
    assert_eq!((good.error, good.replica.expect("the replica").length), (None, 2_000_000));
    damage(folders[0].path());
    let bad = namenode.order(1, 1, verify()).await;
    assert_eq!(bad.error.expect("corrupt").kind(), v1::ErrorKind::Corrupt);
    namenode.event(1, 9, Kind::Corrupt).await;
    namenode
        .wait("the count", |state| {
            let scrub = state.nodes[&1].heartbeats.last()?.scrub?;
            (scrub.corrupt == 1).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_corrupt_source_is_not_copied() {
    let (namenode, nodes, folders) = cluster(2).await;
    let client = Client::new(namenode.cluster());
    client.write(&[&nodes[0]], 9, &pattern(2_000_000)).await.expect("write");
    damage(folders[0].path());
    let target = Some(godfs_client::transport::convert::node_to_wire(&named(&nodes[1])));
    let order = Order::Copy(v1::CopyReplica { chunk: 9, generation: 1, length: 2_000_000, target });
    let error = namenode.order(1, 1, order).await.error.expect("corrupt");
    assert_eq!(error.kind(), v1::ErrorKind::Corrupt, "{}", error.message);
    namenode.event(1, 9, Kind::Corrupt).await;
    let found = nodes[1].store().stat(godfs_core::ChunkId(9)).await;
    assert!(found.is_err() || found.expect("a replica").state != godfs_core::chunk::ReplicaState::Finalized);
}

#[tokio::test]
async fn the_scrubber_finds_it_by_itself_and_keeps_its_place() {
    let namenode = FakeNamenode::start().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let scrubbing = async || {
        let mut options = options(folder.path(), &namenode.address()).await;
        options.settings.scrub_period_ms = 200;
        options.settings.scrub_bytes_per_second = 1 << 30;
        options.settings.scrub_skip_recent_ms = 0;
        let node = Datanode::start(options).await.expect("start");
        node.ready().await.expect("registered");
        node
    };
    let node = scrubbing().await;
    Client::new(namenode.cluster()).write(&[&node], 9, &pattern(2_000_000)).await.expect("write");
    let rounds = namenode
        .wait("two rounds", |state| {
            let rounds = state.nodes[&1].heartbeats.last()?.scrub?.rounds;
            (rounds >= 2).then_some(rounds)
        })
        .await;
    damage(folder.path());
    namenode.event(1, 9, Kind::Corrupt).await;
    node.stop().await;
    let _node = scrubbing().await;
    namenode
        .wait("the rounds of before", |state| {
            let node = &state.nodes[&1];
            let scrub = node.heartbeats.last()?.scrub?;
            (node.registers.len() == 2 && scrub.rounds >= rounds && scrub.corrupt == 1).then_some(())
        })
        .await;
}

/// Nobody is told that a replica is absent while it may lie on a disk that is out of use: not by a read, nor by what a recovery asks.
#[tokio::test]
async fn what_lies_on_a_lost_disk_is_not_absent() {
    let namenode = FakeNamenode::start().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let disks = [folder.path().join("one"), folder.path().join("two")];
    for disk in &disks {
        std::fs::create_dir(disk).expect("a mount point");
    }
    let options = async || {
        let mut options = options(&folder.path().join("node"), &namenode.address()).await;
        options.volumes = disks.to_vec();
        options
    };
    std::fs::create_dir(folder.path().join("node")).expect("a folder");
    let node = Datanode::start(options().await).await.expect("start");
    node.ready().await.expect("registered");
    let client = Client::new(namenode.cluster());
    let data = pattern(2_000_000);
    client.write(&[&node], 9, &data).await.expect("write");
    let absent = refused(client.inspect(&node, 10).await);
    assert_eq!(absent.kind(), ErrorKind::NotFound, "all disks are here: {absent}");

    let disk = disks.iter().find(|disk| !replica_files(disk).is_empty()).expect("one of them has the replica");
    let away = folder.path().join("away");
    std::fs::rename(disk, &away).expect("unmount");
    std::fs::create_dir(disk).expect("the empty mount point");
    // From the first call on, whether or not the node has noticed yet.
    let unavailable = |what: &str, error: godfs_core::Error| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
    };
    unavailable("read", refused(client.read(&node, client.read_request(&node, 9)).await));
    unavailable("inspect", refused(client.inspect(&node, 9).await));
    let recover = v1::RecoverRequest {
        hello: Some(client.identity.hello()),
        chunk: 9,
        node: node.node_id().expect("registered").get(),
        generation: 2,
    };
    let recovered = client.service(node.address()).await.recover(recover).await.expect_err("on no disk here");
    unavailable("recover", godfs_client::transport::status::from_status(&recovered, node.address()));
    for order in [
        Order::Recover(v1::RecoverReplica { chunk: 9, generation: 2 }),
        Order::Settle(v1::SettleReplica { chunk: 9, generation: 2, length: 1_000 }),
    ] {
        let error = namenode.order(1, 1, order).await.error.expect("on no disk here");
        assert_eq!(error.kind(), v1::ErrorKind::Unavailable, "{}", error.message);
    }
    node.stop().await;
    std::fs::remove_dir(disk).expect("the mount point");
    std::fs::rename(&away, disk).expect("mount");
    let node = Datanode::start(options().await).await.expect("start");
    node.ready().await.expect("registered");
    let (_, _, found) = client.read(&node, client.read_request(&node, 9)).await.expect("it is here again");
    assert!(found == data, "other bytes");
}
