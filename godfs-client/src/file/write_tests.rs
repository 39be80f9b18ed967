//! Writing, and datanodes that fail in the middle of it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use godfs_core::chunk::ReplicaState;
use godfs_core::{ChunkId, ErrorKind};

use crate::CreateOptions;
use crate::settings::ClientSettings;
use crate::testing::{CHUNK, FakeCluster, Fault, bytes, options, until};

/// What every node that the namenode names for `path` holds, chunk after chunk; all nodes must hold the same, finalized.
fn stored(cluster: &FakeCluster, path: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in cluster.namenode.file(path).chunks {
        assert!(!chunk.nodes.is_empty());
        let replicas: Vec<_> = chunk
            .nodes
            .iter()
            .map(|&node| cluster.datanode(node).replica(ChunkId(chunk.id)).expect("a node that was named"))
            .collect();
        for replica in &replicas {
            assert_eq!(replica.data, replicas[0].data);
            assert_eq!(replica.state, ReplicaState::Finalized);
            assert_eq!(replica.generation.get(), chunk.generation);
        }
        assert_eq!(chunk.length, Some(replicas[0].data.len() as u64));
        all.extend_from_slice(&replicas[0].data);
    }
    all
}

/// Writes `data` with flushes in between, while something may go wrong, and checks what is stored.
async fn write_through(cluster: &FakeCluster, path: &str, data: &[u8]) {
    let mut writer = cluster.client.writer(path, options()).await.expect("created");
    for part in data.chunks(10_000) {
        writer.write(part).await.expect("written");
        writer.hflush().await.expect("flushed");
    }
    writer.close().await.expect("closed");
    assert_eq!(stored(cluster, path), data);
}

#[tokio::test]
async fn bytes_reach_every_node_in_chunks() {
    let cluster = FakeCluster::start(3);
    let data = bytes(3 * CHUNK as usize + 777);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    for part in data.chunks(30_001) {
        writer.write(part).await.expect("written");
    }
    assert_eq!(writer.position(), data.len() as u64);
    writer.close().await.expect("closed");
    writer.close().await.expect("closing twice is no error");
    assert_eq!(writer.write(b"x").await.expect_err("closed").kind(), ErrorKind::FailedPrecondition);
    assert_eq!(stored(&cluster, "/f"), data);
    let file = cluster.namenode.file("/f");
    assert!(!file.open && file.chunks.len() == 4 && file.chunks.iter().all(|chunk| chunk.nodes.len() == 3));
    for node in &cluster.datanodes {
        let ends_synced = file.chunks.iter().all(|chunk| node.replica(ChunkId(chunk.id)).expect("there").synced);
        assert!(ends_synced, "a closed file is on disks");
    }
    // Four chunks went through one connection after another chunk's end, and one beside it.
    assert!(cluster.network.connections(cluster.datanode(1).address()) <= 2);
}

#[tokio::test]
async fn large_bytes_are_cut_at_packets_and_chunks() {
    let cluster = FakeCluster::start(1);
    let data = bytes(5 << 20);
    let mut writer =
        cluster.client.writer("/f", CreateOptions::new().chunk_size(3 << 20).sync_on_close(false)).await.expect("new");
    writer.write(&data[..100]).await.expect("written");
    writer.hflush().await.expect("flushed");
    writer.write_bytes(data[100..].to_vec().into()).await.expect("written");
    writer.close().await.expect("closed");
    assert_eq!(stored(&cluster, "/f"), data);
    let last = cluster.namenode.file("/f").chunks[1].id;
    assert!(!cluster.datanode(1).replica(ChunkId(last)).expect("there").synced, "no sync was asked for");
}

#[tokio::test]
async fn small_files_stay_with_the_namenode() {
    let cluster = FakeCluster::start(3);
    let mut writer = cluster.client.writer("/small", options()).await.expect("created");
    writer.write(b"a few bytes").await.expect("written");
    writer.close().await.expect("closed");
    let file = cluster.namenode.file("/small");
    assert_eq!((file.small.as_deref(), file.chunks.len()), (Some(&b"a few bytes"[..]), 0));

    let mut writer = cluster.client.writer("/empty", options()).await.expect("created");
    writer.hsync().await.expect("nothing to do");
    writer.close().await.expect("closed");
    assert_eq!(cluster.namenode.file("/empty").length, 0);
}

/// The first flush stores the bytes with the namenode; bytes that follow it need a chunk once they are to be flushed too.
#[tokio::test]
async fn a_second_flush_turns_a_small_file_into_a_chunk() {
    let cluster = FakeCluster::start(3);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(b"one").await.expect("written");
    writer.hflush().await.expect("flushed");
    writer.hflush().await.expect("nothing new");
    assert_eq!(cluster.namenode.file("/f").small.as_deref(), Some(&b"one"[..]));
    assert_eq!((cluster.namenode.calls("store_small"), cluster.namenode.calls("add_chunk")), (1, 0));
    writer.write(b"two").await.expect("written");
    writer.hsync().await.expect("synced");
    let chunk = ChunkId(cluster.namenode.file("/f").chunks[0].id);
    let replica = cluster.datanode(3).replica(chunk).expect("there");
    assert_eq!((&*replica.data, replica.synced, replica.state), (&b"onetwo"[..], true, ReplicaState::Rbw));
    writer.close().await.expect("closed");
    assert_eq!(stored(&cluster, "/f"), b"onetwo");
}

/// Of a file whose size is known the first chunk comes with the file: two calls in all.
#[tokio::test]
async fn a_put_takes_two_calls() {
    let cluster = FakeCluster::start(3);
    let data = bytes(50_000);
    cluster.client.put("/put", data.clone(), options()).await.expect("put");
    assert_eq!(stored(&cluster, "/put"), data);
    let mut writer = cluster.client.writer("/hinted", options().expected_size(50_000)).await.expect("created");
    writer.write(&data).await.expect("written");
    writer.close().await.expect("closed");
    assert_eq!(stored(&cluster, "/hinted"), data);
    let calls = |call| cluster.namenode.calls(call);
    assert_eq!((calls("create"), calls("add_chunk"), calls("complete"), calls("abandon_chunk")), (2, 0, 2, 0));

    // When its pipeline does not stand, it is placed anew as any other.
    cluster.datanode(2).set_fault(Fault::RefuseSetup(ErrorKind::StorageFull));
    cluster.client.put("/again", data.clone(), options()).await.expect("put");
    assert_eq!(stored(&cluster, "/again"), data);
    assert_eq!((calls("add_chunk"), calls("abandon_chunk")), (1, 1));
}

/// What was said of a file's size is a hint: it may end with less, with nothing, or with more.
#[tokio::test]
async fn a_file_may_become_other_than_expected() {
    let cluster = FakeCluster::start(3);
    let data = bytes(2 * CHUNK as usize + 5);
    for (path, length) in [("/none", 0), ("/small", 10), ("/more", data.len())] {
        let mut writer = cluster.client.writer(path, options().expected_size(CHUNK / 2)).await.expect("created");
        writer.write(&data[..length]).await.expect("written");
        writer.close().await.expect("closed");
        let file = cluster.namenode.file(path);
        assert_eq!((file.length, file.open), (length as u64, false), "{path}");
        assert_eq!(file.chunks.len(), if length > 10 { 3 } else { 0 }, "{path}");
    }
    assert_eq!(cluster.namenode.file("/small").small.as_deref(), Some(&data[..10]));
    assert_eq!(stored(&cluster, "/more"), data);
    // What is flushed goes where the rest will go.
    let mut writer = cluster.client.writer("/flushed", options().expected_size(CHUNK)).await.expect("created");
    writer.write(b"one").await.expect("written");
    writer.hflush().await.expect("flushed");
    assert_eq!(cluster.namenode.file("/flushed").chunks.len(), 1);
    writer.close().await.expect("closed");
    assert_eq!(stored(&cluster, "/flushed"), b"one");
    assert_eq!(cluster.namenode.calls("store_small"), 0);
}

#[tokio::test]
async fn what_is_flushed_is_on_every_node() {
    let cluster = FakeCluster::start(3);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    let data = bytes(CHUNK as usize + 5_000);
    writer.write(&data).await.expect("written");
    writer.hflush().await.expect("flushed");
    let file = cluster.namenode.file("/f");
    let mut found = Vec::new();
    for chunk in &file.chunks {
        found.extend(cluster.datanode(3).replica(ChunkId(chunk.id)).expect("there").data);
    }
    assert_eq!(found, data);
    assert!(file.open);
    writer.abandon().await.expect("given up");
    assert!(cluster.namenode.file("/f").abandoned);
}

#[tokio::test]
async fn a_node_that_dies_anywhere_in_a_write_is_left_out() {
    for victim in 1..=3 {
        for fault in [Fault::DieAtPacket(1), Fault::DieAtPacket(4), Fault::DieAtLast, Fault::DieFinalized] {
            let cluster = FakeCluster::start(3);
            let data = bytes(2 * CHUNK as usize + 99);
            cluster.datanode(victim).set_fault(fault.clone());
            write_through(&cluster, "/f", &data).await;
            let chunks = cluster.namenode.file("/f").chunks;
            // Survivors that hold more or less than one another all go on.
            assert!(chunks.iter().all(|chunk| chunk.nodes.len() >= 2), "node {victim} {fault:?}");
            assert!(!chunks[2].nodes.contains(&victim), "node {victim} {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_write_goes_on_with_the_last_node() {
    let cluster = FakeCluster::start(3);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    let data = bytes(50_000);
    writer.write(&data[..20_000]).await.expect("written");
    writer.hflush().await.expect("flushed");
    cluster.datanode(1).kill();
    writer.write(&data[20_000..30_000]).await.expect("written");
    writer.hsync().await.expect("two are left");
    cluster.datanode(3).kill();
    writer.write(&data[30_000..]).await.expect("written");
    writer.close().await.expect("one is left");
    assert_eq!(stored(&cluster, "/f"), data);
    assert_eq!(cluster.namenode.file("/f").chunks[0].nodes, [2]);
    assert_eq!(cluster.namenode.file("/f").chunks[0].generation, 3);
}

/// Every node restarts at once, each at another address: what they kept was acknowledged, and the rest is still here.
#[tokio::test(start_paused = true)]
async fn a_write_waits_for_nodes_that_restart() {
    for nodes in [1, 3] {
        let mut cluster = FakeCluster::start(nodes);
        let data = bytes(2 * CHUNK as usize);
        let mut writer = cluster.client.writer("/f", options()).await.expect("created");
        writer.write(&data[..20_000]).await.expect("written");
        writer.hflush().await.expect("flushed");
        for node in 1..=nodes {
            cluster.datanode(node).kill();
        }
        let rest = async {
            writer.write(&data[20_000..]).await.expect("taken");
            writer.close().await.expect("closed");
        };
        let restart = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            for node in 1..=nodes {
                cluster.restart(node);
            }
        };
        tokio::join!(rest, restart);
        assert_eq!(stored(&cluster, "/f"), data);
    }
}

/// The only node comes back with an empty disk: there is nothing to wait for.
#[tokio::test(start_paused = true)]
async fn a_write_does_not_wait_for_bytes_that_are_lost() {
    let mut cluster = FakeCluster::start(1);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&bytes(20_000)).await.expect("written");
    writer.hflush().await.expect("flushed");
    cluster.datanode(1).lose_all();
    cluster.restart(1);
    let began = tokio::time::Instant::now();
    writer.write(b"more").await.expect("taken");
    let error = writer.hflush().await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "told after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_node_left_fails_the_writer_for_good() {
    let cluster = FakeCluster::start(2);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&bytes(20_000)).await.expect("written");
    writer.hflush().await.expect("flushed");
    cluster.datanode(1).kill();
    cluster.datanode(2).kill();
    writer.write(b"more").await.expect("taken");
    let began = tokio::time::Instant::now();
    let error = writer.hflush().await.expect_err("nobody is left");
    assert!(began.elapsed() >= ClientSettings::default().recovery_timeout, "given up after {:?}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("20000 bytes"), "{error}");
    assert_eq!(writer.close().await.expect_err("failed before").kind(), ErrorKind::Unavailable);
}

/// Nothing of the chunk was acknowledged, so it goes elsewhere with all the replicas it should have.
#[tokio::test]
async fn a_pipeline_that_never_stood_is_built_elsewhere() {
    for fault in [Fault::RefuseSetup(ErrorKind::StorageFull), Fault::DieAtPacket(1)] {
        for victim in 1..=3 {
            let cluster = FakeCluster::start(5);
            cluster.datanode(victim).set_fault(fault.clone());
            let data = bytes(CHUNK as usize / 2);
            let mut writer = cluster.client.writer("/f", options()).await.expect("created");
            writer.write(&data).await.expect("written");
            writer.close().await.expect("closed");
            assert_eq!(stored(&cluster, "/f"), data);
            let chunks = cluster.namenode.file("/f").chunks;
            assert_eq!((chunks.len(), chunks[0].nodes.len()), (1, 3));
            assert!(!chunks[0].nodes.contains(&victim));
            assert_eq!(cluster.namenode.state.lock().excluded, [victim]);
        }
    }
}

/// The only node there is breaks the pipeline once: it gets another chance.
#[tokio::test(start_paused = true)]
async fn a_node_that_failed_gets_another_chance_when_there_is_no_other() {
    let cluster = FakeCluster::start(1);
    cluster.datanode(1).set_fault(Fault::RefuseSetup(ErrorKind::Io));
    let data = bytes(20_000);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&data).await.expect("taken");
    let closing = async {
        until("it was tried", || cluster.namenode.calls("abandon_chunk") > 0).await;
        cluster.datanode(1).mend();
    };
    let (closed, ()) = tokio::join!(writer.close(), closing);
    closed.expect("closed");
    assert_eq!(stored(&cluster, "/f"), data);
}

#[tokio::test(start_paused = true)]
async fn full_disks_everywhere_are_said_to_be_full() {
    let cluster = FakeCluster::start(3);
    for node in &cluster.datanodes {
        node.set_fault(Fault::RefuseSetup(ErrorKind::StorageFull));
    }
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&bytes(20_000)).await.expect("taken");
    let error = writer.close().await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(cluster.namenode.file("/f").chunks.is_empty(), "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stalls_counts_as_failed() {
    for victim in 1..=3 {
        let cluster = FakeCluster::start(3);
        cluster.datanode(victim).set_fault(Fault::StallAtPacket(3));
        let data = bytes(50_000);
        let mut writer = cluster.client.writer("/f", options()).await.expect("created");
        for part in data.chunks(10_000) {
            writer.write(part).await.expect("written");
            writer.hflush().await.expect("flushed");
        }
        writer.close().await.expect("closed");
        assert_eq!(stored(&cluster, "/f"), data);
    }
}

/// However fast a caller writes, what waits for a pipeline that does not move is bounded.
#[tokio::test(start_paused = true)]
async fn a_stalled_pipeline_holds_its_writer_back() {
    let cluster = FakeCluster::start(1);
    cluster.datanode(1).set_fault(Fault::StallAtPacket(1));
    let mut writer = cluster.client.writer("/f", CreateOptions::new().chunk_size(1 << 30)).await.expect("created");
    let data = bytes(1 << 20);
    let fill = async {
        for _ in 0..100 {
            writer.write(&data).await.expect("taken");
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), fill).await.is_err(), "all was taken");
    assert!((8 << 20..=12 << 20).contains(&writer.position()), "{} bytes taken", writer.position());
}

#[tokio::test]
async fn a_writer_that_is_dropped_gives_its_file_up() {
    let cluster = FakeCluster::start(3);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&bytes(20_000)).await.expect("taken");
    drop(writer);
    until("the file is given up", || cluster.namenode.file("/f").abandoned).await;
}

#[tokio::test]
async fn a_close_that_has_begun_goes_on_without_its_caller() {
    let cluster = FakeCluster::start(3);
    let data = bytes(20_000);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&data).await.expect("taken");
    assert!(writer.close().now_or_never().is_none());
    drop(writer);
    until("the file is closed", || !cluster.namenode.file("/f").open).await;
    assert!(!cluster.namenode.file("/f").abandoned);
    assert_eq!(stored(&cluster, "/f"), data);
}

/// A caller drops futures again and again; the bytes taken are those that `position` tells.
#[tokio::test]
async fn dropped_futures_tear_nothing() {
    let cluster = FakeCluster::start(3);
    let data = bytes(3 * CHUNK as usize);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    let mut round = 0_u32;
    while writer.position() < data.len() as u64 {
        let from = usize::try_from(writer.position()).expect("small");
        let part = &data[from..data.len().min(from + 7_000)];
        // Once in a while nobody waits for the end.
        let _ = writer.write(part).now_or_never();
        if round.is_multiple_of(3) {
            let _ = writer.hflush().now_or_never();
        }
        round += 1;
        tokio::task::yield_now().await;
    }
    writer.close().await.expect("closed");
    assert_eq!(stored(&cluster, "/f"), data);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_missing_replicas_and_says_which() {
    let cluster = FakeCluster::start(3);
    cluster.namenode.state.lock().incomplete = 5;
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&bytes(20_000)).await.expect("taken");
    writer.close().await.expect("closed in the end");
    assert_eq!(cluster.namenode.calls("complete"), 6);

    cluster.namenode.state.lock().incomplete = usize::MAX;
    let mut writer = cluster.client.writer("/g", options()).await.expect("created");
    writer.write(&bytes(20_000)).await.expect("taken");
    let error = writer.close().await.expect_err("never complete");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.message().contains("a second replica"), "{error}");
}

#[tokio::test]
async fn a_lost_session_takes_its_writers_with_it_and_nothing_else() {
    let cluster = FakeCluster::start(3);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&bytes(20_000)).await.expect("taken");
    cluster.namenode.expire_sessions();
    assert_eq!(writer.close().await.expect_err("no lease").kind(), ErrorKind::LeaseLost);
    // New work goes under a new session, unseen.
    cluster.client.writer("/g", options()).await.expect("created").close().await.expect("closed");
    assert_eq!(cluster.namenode.calls("open_session"), 2);
}

/// The namenode goes away and comes back between two chunks, and loses an answer on the way.
#[tokio::test(start_paused = true)]
async fn a_namenode_that_restarts_does_not_fail_a_write() {
    let cluster = FakeCluster::start(3);
    let data = bytes(3 * CHUNK as usize);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&data[..CHUNK as usize]).await.expect("taken");
    writer.hflush().await.expect("flushed");
    cluster.network.disconnect(cluster.namenode.address());
    {
        let mut state = cluster.namenode.state.lock();
        state.unavailable = 4;
        state.lose_answers = Some(("add_chunk", 2));
    }
    writer.write(&data[CHUNK as usize..]).await.expect("taken");
    writer.close().await.expect("closed");
    assert_eq!(stored(&cluster, "/f"), data);
    assert_eq!(cluster.namenode.file("/f").chunks.len(), 3, "no chunk was added twice");
}

#[tokio::test]
async fn bad_options_are_refused_before_anything_is_sent() {
    let cluster = FakeCluster::start(1);
    for options in [
        CreateOptions::new().replication(0),
        CreateOptions::new().replication(513),
        CreateOptions::new().chunk_size(0),
        CreateOptions::new().chunk_size(100_000),
    ] {
        let error = cluster.client.create("/f", options).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(cluster.namenode.calls("create"), 0);
}

#[tokio::test]
async fn writers_can_be_shared_between_tasks() {
    let cluster = Arc::new(FakeCluster::start(3));
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move {
                let path = format!("/f{number}");
                write_through(&cluster, &path, &bytes(70_000 + number)).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}
