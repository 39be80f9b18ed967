//! Writers: leases, chunks, generations, publishing, and what becomes of files whose writer is gone.

use super::*;

#[tokio::test]
async fn only_the_holder_of_the_lease_writes() {
    let fixture = Fixture::new(1).await;
    let other = fixture.other().await;
    let file = fixture.create("/f").await;
    refused(other.add_chunk(&file, 0, vec![], &[1]).await, ErrorKind::LeaseLost, "/f: lease");
    let wrong = Created { lease: LeaseId(999), ..file };
    refused(fixture.complete(&wrong, 0, vec![]).await, ErrorKind::LeaseLost, "lease 999");

    // Overwriting takes the lease away, and so do deleting the file and a directory above it.
    let overwrite = CreateOptions { overwrite: true, ..Default::default() };
    let second = other.namespace.create(other.call(), at("/f"), overwrite).await.unwrap();
    refused(fixture.complete(&file, 0, vec![]).await, ErrorKind::LeaseLost, "expired");
    other.complete(&second, 0, vec![]).await.unwrap();
    fixture.mkdir("/a/b").await;
    let inside = fixture.create("/a/b/f").await;
    let first = fixture.add_chunk(&inside, 0, vec![], &[1]).await.unwrap();
    other.delete("/a", true).await.unwrap();
    let commits = vec![commit(&first, 1)];
    refused(fixture.complete(&inside, 1, commits).await, ErrorKind::LeaseLost, "deleted");
    fixture.check().await;
    assert_eq!(fixture.collect().await, (3, 1));
    fixture.check().await;
    assert_eq!(fixture.namespace.totals().await.unwrap().leases, 0);
}

#[tokio::test]
async fn chunks_are_full_but_the_last() {
    let fixture = Fixture::new(1).await;
    let file = fixture.create("/f").await;
    let first = fixture.add_chunk(&file, 0, vec![], &[1]).await.unwrap();
    refused(fixture.add_chunk(&file, 10, vec![], &[1]).await, ErrorKind::InvalidArgument, "begins at 65536");
    let short = vec![commit(&first, 10)];
    refused(fixture.add_chunk(&file, CHUNK, short, &[1]).await, ErrorKind::InvalidArgument, "begins at 10");
    let long = vec![commit(&first, CHUNK + 1)];
    refused(fixture.complete(&file, CHUNK + 1, long).await, ErrorKind::InvalidArgument, "exactly 65536");
    let empty = vec![commit(&first, 0)];
    refused(fixture.complete(&file, 0, empty).await, ErrorKind::InvalidArgument, "no bytes");
    refused(fixture.complete(&file, 0, vec![]).await, ErrorKind::FailedPrecondition, "is not finished");

    let second = fixture.add_chunk(&file, CHUNK, vec![], &[1]).await.unwrap();
    let short = vec![commit(&first, 10), commit(&second, 10)];
    refused(fixture.complete(&file, 20, short).await, ErrorKind::InvalidArgument, "exactly 65536");
    let lie = vec![commit(&first, CHUNK), commit(&second, 10)];
    refused(fixture.complete(&file, CHUNK, lie.clone()).await, ErrorKind::InvalidArgument, "its chunks have 65546");
    // Out of turn and repeated.
    let third = fixture.add_chunk(&file, 2 * CHUNK, vec![commit(&second, CHUNK)], &[1]).await.unwrap();
    assert_eq!(fixture.stat("/f").await.unwrap().length, 0);
    fixture.check().await;
    let all = vec![commit(&second, CHUNK), commit(&first, CHUNK), commit(&third, 1)];
    fixture.complete(&file, 2 * CHUNK + 1, all).await.unwrap();
    fixture.check().await;
}

#[tokio::test]
async fn unfinished_chunks_are_bounded() {
    let fixture = Fixture::new(1).await;
    let file = fixture.create("/f").await;
    let first = fixture.add_chunk(&file, 0, vec![], &[1]).await.unwrap();
    let mut last = first.clone();
    for at in 1..MAX_OPEN_CHUNKS as u64 {
        // Committing later ones opens no window while the first is unfinished.
        let done = if at > 1 { vec![commit(&last, CHUNK)] } else { vec![] };
        last = fixture.add_chunk(&file, at * CHUNK, done, &[1]).await.unwrap();
    }
    let start = MAX_OPEN_CHUNKS as u64 * CHUNK;
    refused(fixture.add_chunk(&file, start, vec![], &[1]).await, ErrorKind::FailedPrecondition, "unfinished");
    fixture.add_chunk(&file, start, vec![commit(&first, CHUNK)], &[1]).await.unwrap();
    fixture.check().await;
}

#[tokio::test]
async fn a_chunk_can_be_taken_back() {
    let fixture = Fixture::new(2).await;
    let file = fixture.create("/f").await;
    let first = fixture.add_chunk(&file, 0, vec![], &[1, 2]).await.unwrap();
    let second = fixture.add_chunk(&file, CHUNK, vec![], &[1, 2]).await.unwrap();
    let abandon = |chunk| fixture.namespace.abandon_chunk(fixture.writing(&file), chunk);
    refused(abandon(first.chunk).await, ErrorKind::FailedPrecondition, "not the last");
    abandon(second.chunk).await.unwrap();
    refused(abandon(second.chunk).await, ErrorKind::FailedPrecondition, "not the last");
    let garbage = fixture.namespace.garbage(NodeId(1), ChunkId(0), 10).await.unwrap();
    assert_eq!(garbage, [(second.chunk, second.generation)]);
    assert_eq!(fixture.complete(&file, 5, vec![commit(&first, 5)]).await.unwrap(), Completion::Closed);
    fixture.check().await;
}

#[tokio::test]
async fn generations_fence_what_came_before() {
    let fixture = Fixture::new(4).await;
    let namespace = &fixture.namespace;
    let file = fixture.create("/f").await;
    let added = fixture.add_chunk(&file, 0, vec![], &[1, 2, 4]).await.unwrap();
    let issue = || namespace.issue_generation(fixture.writing(&file), added.chunk);
    let update = |generation, nodes: &[u32]| {
        namespace.update_pipeline(fixture.writing(&file), added.chunk, generation, ids(nodes))
    };
    assert_eq!(issue().await.unwrap(), Generation(2));
    refused(update(Generation(1), &[1, 2]).await, ErrorKind::Fenced, "generation 1 is not the one issued last");
    assert_eq!(issue().await.unwrap(), Generation(3));
    refused(update(Generation(2), &[1, 2]).await, ErrorKind::Fenced, "which is 3");
    for foreign in [&[1, 3][..], &[3]] {
        refused(update(Generation(3), foreign).await, ErrorKind::InvalidArgument, "node 3 was never in its pipeline");
    }
    refused(update(Generation(3), &[]).await, ErrorKind::InvalidArgument, "one node at least");
    refused(update(Generation(3), &[1, 1]).await, ErrorKind::InvalidArgument, "twice");
    update(Generation(3), &[1, 4]).await.unwrap();
    fixture.check().await;
    let info = namespace.chunk(added.chunk).await.unwrap().unwrap();
    assert_eq!((info.generation, info.leaving), (Generation(3), vec![]));

    refused(fixture.complete(&file, 9, vec![commit(&added, 9)]).await, ErrorKind::Fenced, "generation 1");
    let foreign = ChunkCommit { chunk: added.chunk, generation: Generation(3), length: 9, nodes: ids(&[2]) };
    refused(fixture.complete(&file, 9, vec![foreign.clone()]).await, ErrorKind::InvalidArgument, "not in its pipeline");
    let done = ChunkCommit { nodes: ids(&[1, 4]), ..foreign };
    assert_eq!(fixture.complete(&file, 9, vec![done]).await.unwrap(), Completion::Closed);
    assert_eq!(namespace.garbage(NodeId(2), ChunkId(0), 10).await.unwrap(), [(added.chunk, Generation(2))]);
    assert_eq!(namespace.chunk(added.chunk).await.unwrap().unwrap().leaving, ids(&[2]));
    // Three were wanted: what is missing is owed.
    assert_eq!(namespace.owed(ChunkId(0), 10).await.unwrap().len(), 1);
    fixture.check().await;
}

/// A hiccup of the network left one node of three, and the two others were told to delete what they had synced before a copy of it
/// was anywhere else: one more disk, and all was gone.
#[tokio::test]
async fn nodes_left_out_keep_what_they_have_until_two_have_the_whole() {
    let fixture = Fixture::new(4).await;
    let namespace = &fixture.namespace;
    let file = fixture.create("/f").await;
    let chunk = fixture.add_chunk(&file, 0, vec![], &[1, 2, 3]).await.unwrap().chunk;
    let go_on = async |nodes: &[u32]| {
        let generation = namespace.issue_generation(fixture.writing(&file), chunk).await.unwrap();
        namespace.update_pipeline(fixture.writing(&file), chunk, generation, ids(nodes)).await.unwrap();
        fixture.check().await;
        generation
    };
    let garbage = async |node| namespace.garbage(NodeId(node), ChunkId(0), 10).await.unwrap();
    go_on(&[1, 3]).await;
    // One that was left out may have all that was acknowledged, and then it may join again.
    go_on(&[3, 2]).await;
    let generation = go_on(&[1]).await;
    let alone = ChunkCommit { chunk, generation, length: 9, nodes: ids(&[1]) };
    assert!(matches!(fixture.complete(&file, 9, vec![alone]).await.unwrap(), Completion::Waiting(_)));
    fixture.check().await;
    assert_eq!(namespace.totals().await.unwrap().garbage, 0, "node 1 is the only one that has the whole");
    assert_eq!(namespace.chunk(chunk).await.unwrap().unwrap().leaving, [], "they may get a copy");

    let copied = ReplicaEvent::Finalized(finalized(chunk, generation.0, 9));
    assert_eq!(namespace.replica_events(NodeId(2), vec![copied]).await.unwrap(), [Verdict::Added]);
    fixture.check().await;
    assert_eq!((garbage(2).await, garbage(3).await), (vec![], vec![(chunk, Generation(generation.0 - 1))]));
    assert_eq!(fixture.complete(&file, 9, vec![]).await.unwrap(), Completion::Closed);
}

#[tokio::test]
async fn a_node_that_is_to_join_counts_once_it_stands_in_the_pipeline() {
    let fixture = Fixture::new(5).await;
    let namespace = &fixture.namespace;
    let file = fixture.create("/f").await;
    let chunk = fixture.add_chunk(&file, 0, vec![], &[1, 2, 3]).await.unwrap().chunk;
    let writing = || fixture.writing(&file);
    let add = |generation, node| namespace.add_node(writing(), chunk, Generation(generation), Some(NodeId(node)));
    let generation = namespace.issue_generation(writing(), chunk).await.unwrap();
    refused(add(1, 4).await, ErrorKind::Fenced, "which is 2");
    refused(add(2, 4).await, ErrorKind::Fenced, "generation 2");
    namespace.update_pipeline(writing(), chunk, generation, ids(&[1, 2])).await.unwrap();
    for known in [1, 3] {
        assert_eq!(add(2, known).await.unwrap(), None, "it has something of the chunk already");
    }
    assert_eq!(namespace.add_node(writing(), chunk, generation, None).await.unwrap(), None);
    refused(add(2, 9).await, ErrorKind::InvalidArgument, "not registered");
    assert_eq!(add(2, 4).await.unwrap(), Some(NodeId(4)));
    assert_eq!(add(2, 5).await.unwrap(), Some(NodeId(5)));
    fixture.check().await;
    let info = namespace.chunk(chunk).await.unwrap().unwrap();
    let pipeline: Vec<_> = info.replicas.iter().map(|replica| replica.node).collect();
    assert_eq!((pipeline, info.left_out), (ids(&[1, 2]), ids(&[3, 4, 5])), "nobody counts on a copy under way");

    let generation = namespace.issue_generation(writing(), chunk).await.unwrap();
    namespace.update_pipeline(writing(), chunk, generation, ids(&[1, 2, 4])).await.unwrap();
    fixture.check().await;
    let whole = ChunkCommit { chunk, generation, length: 9, nodes: ids(&[1, 2, 4]) };
    assert_eq!(fixture.complete(&file, 9, vec![whole]).await.unwrap(), Completion::Closed);
    fixture.check().await;
    // The number of a copy is below that of every pipeline that goes on: the one that did not join is garbage.
    for (node, garbage) in [(3, true), (4, false), (5, true)] {
        let found = namespace.garbage(NodeId(node), ChunkId(0), 10).await.unwrap();
        assert_eq!(found, if garbage { vec![(chunk, Generation(2))] } else { vec![] }, "node {node}");
    }
}

#[tokio::test]
async fn what_was_left_out_goes_with_its_chunk() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    let file = fixture.create("/f").await;
    let chunk = fixture.add_chunk(&file, 0, vec![], &[1, 2, 3]).await.unwrap().chunk;
    let generation = namespace.issue_generation(fixture.writing(&file), chunk).await.unwrap();
    namespace.update_pipeline(fixture.writing(&file), chunk, generation, ids(&[1])).await.unwrap();
    namespace.abandon_chunk(fixture.writing(&file), chunk).await.unwrap();
    for node in 1..=3 {
        assert_eq!(namespace.garbage(NodeId(node), ChunkId(0), 10).await.unwrap(), [(chunk, generation)]);
    }
    fixture.check().await;
}

/// The replication of a log was lowered while it was written. When a node of its pipeline died, the two others were more than the
/// new target, and the writer was refused.
#[tokio::test]
async fn a_pipeline_may_be_longer_than_a_target_that_was_lowered() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    let file = fixture.create("/log").await;
    let chunk = fixture.add_chunk(&file, 0, vec![], &[1, 2, 3]).await.unwrap().chunk;
    namespace.set_replication(fixture.call(), at("/log"), 1).await.unwrap();
    let generation = namespace.issue_generation(fixture.writing(&file), chunk).await.unwrap();
    namespace.update_pipeline(fixture.writing(&file), chunk, generation, ids(&[1, 3])).await.unwrap();
    fixture.check().await;
    let done = ChunkCommit { chunk, generation, length: 9, nodes: ids(&[1, 3]) };
    assert_eq!(fixture.complete(&file, 9, vec![done]).await.unwrap(), Completion::Closed);
    assert_eq!(namespace.totals().await.unwrap().owed, 0);
    fixture.check().await;
}

#[tokio::test]
async fn closing_waits_for_enough_replicas() {
    let fixture = Fixture::new(3).await;
    let file = fixture.create("/f").await;
    let added = fixture.add_chunk(&file, 0, vec![], &[1, 2, 3]).await.unwrap();
    let alone = ChunkCommit { nodes: ids(&[1]), ..commit(&added, 9) };
    let missing = format!("chunk {} has 1 of 2 replicas", added.chunk);
    let waiting = fixture.complete(&file, 9, vec![alone]).await.unwrap();
    assert_eq!(waiting, Completion::Waiting(missing));
    assert!(fixture.stat("/f").await.unwrap().open);
    assert_eq!(fixture.stat("/f").await.unwrap().length, 9);
    fixture.check().await;
    let event = ReplicaEvent::Finalized(finalized(added.chunk, 1, 9));
    assert_eq!(fixture.namespace.replica_events(NodeId(3), vec![event]).await.unwrap(), [Verdict::Added]);
    assert_eq!(fixture.complete(&file, 9, vec![]).await.unwrap(), Completion::Closed);
    fixture.check().await;

    // Each that has too few is waited for, from the first on.
    let file = fixture.create("/several").await;
    let (mut commits, mut thin) = (Vec::new(), Vec::new());
    for (index, start) in (0..4 * CHUNK).step_by(CHUNK as usize).enumerate() {
        let added = fixture.add_chunk(&file, start, std::mem::take(&mut commits), &[1, 2, 3]).await.unwrap();
        let nodes = if index % 2 == 0 { ids(&[1]) } else { ids(&[1, 2]) };
        thin.extend((index % 2 == 0).then_some(added.chunk));
        commits.push(ChunkCommit { nodes, ..commit(&added, CHUNK) });
    }
    for chunk in thin {
        let waiting = fixture.complete(&file, 4 * CHUNK, std::mem::take(&mut commits)).await.unwrap();
        assert_eq!(waiting, Completion::Waiting(format!("chunk {chunk} has 1 of 2 replicas")));
        let event = ReplicaEvent::Finalized(finalized(chunk, 1, CHUNK));
        assert_eq!(fixture.namespace.replica_events(NodeId(3), vec![event]).await.unwrap(), [Verdict::Added]);
    }
    assert_eq!(fixture.complete(&file, 4 * CHUNK, vec![]).await.unwrap(), Completion::Closed);
    fixture.check().await;

    let file = fixture.create("/g").await;
    let added = fixture.add_chunk(&file, 0, vec![], &[1]).await.unwrap();
    let request = Complete { length: 9, commits: vec![commit(&added, 9)], relaxed: true, ..Default::default() };
    let closed = fixture.namespace.complete(fixture.writing(&file), request).await.unwrap();
    assert_eq!(closed.value, Completion::Closed);
    // Where only one node is registered, or one replica is wanted, one is enough.
    let single = Fixture::new(1).await;
    single.file("/f", 10, &[1]).await;
}

#[tokio::test]
async fn a_small_file_grows_into_chunks_without_a_gap() {
    let fixture = Fixture::new(1).await;
    let file = fixture.create("/f").await;
    let store = |data| fixture.namespace.store_small(fixture.writing(&file), Bytes::from_static(data));
    store(b"hello").await.unwrap();
    store(b"hello world").await.unwrap();
    assert_eq!(&fixture.locate("/f").await.data[..], b"hello world");
    fixture.check().await;
    let added = fixture.add_chunk(&file, 0, vec![], &[1]).await.unwrap();
    let both = fixture.locate("/f").await;
    assert_eq!((&both.data[..], both.status.length, both.chunks.len()), (&b"hello world"[..], 11, 1));
    refused(store(b"x").await, ErrorKind::FailedPrecondition, "/f has chunks");
    fixture.check().await;
    fixture.complete(&file, 20, vec![commit(&added, 20)]).await.unwrap();
    let moved = fixture.locate("/f").await;
    assert_eq!((moved.status.small, moved.status.length, moved.data.len()), (false, 20, 0));
    fixture.check().await;

    let file = fixture.create("/g").await;
    let request = Complete { length: 3, data: Bytes::from_static(b"abc"), ..Default::default() };
    fixture.namespace.complete(fixture.writing(&file), request).await.unwrap();
    assert_eq!(&fixture.locate("/g").await.data[..], b"abc");
    fixture.check().await;
}

#[tokio::test]
async fn a_hidden_file_appears_whole_or_not_at_all() {
    let fixture = Fixture::new(1).await;
    let hidden = |overwrite| CreateOptions { publish_on_close: true, overwrite, ..Default::default() };
    let create = |path, overwrite| fixture.namespace.create(fixture.call(), at(path), hidden(overwrite));
    fixture.put("/old", b"old").await;
    let old = create("/old", true).await.unwrap();
    let new = create("/new", false).await.unwrap();
    refused(create("/old", false).await, ErrorKind::AlreadyExists, "/old");
    assert_eq!(fixture.names("/").await, ["old"]);
    assert_eq!(fixture.usage("/").await.files, 1);
    let chunk = fixture.add_chunk(&new, 0, vec![], &[1]).await.unwrap();
    fixture.check().await;
    fixture.complete(&new, 4, vec![commit(&chunk, 4)]).await.unwrap();
    fixture.fill(&old, 7, &[1]).await;
    assert_eq!(fixture.names("/").await, ["new", "old"]);
    assert_eq!(fixture.stat("/old").await.unwrap().length, 7);
    assert_eq!(fixture.usage("/").await, Usage { bytes: 11, files: 2, directories: 0, space: 33 });
    fixture.check().await;

    // Someone else was first, or removed the directory.
    let late = create("/late", false).await.unwrap();
    fixture.put("/late", b"").await;
    refused(fixture.complete(&late, 0, vec![]).await, ErrorKind::AlreadyExists, "/late was created by another");
    fixture.namespace.abandon(fixture.writing(&late)).await.unwrap();
    fixture.mkdir("/d").await;
    let orphan = create("/d/f", false).await.unwrap();
    fixture.delete("/d", false).await.unwrap();
    refused(fixture.complete(&orphan, 0, vec![]).await, ErrorKind::LeaseLost, "deleted");
    fixture.check().await;
    fixture.namespace.end_session(fixture.session).await.unwrap();
    assert_eq!(fixture.namespace.totals().await.unwrap().leases, 0);
    fixture.check().await;
}

#[tokio::test]
async fn a_file_given_up_keeps_what_was_flushed() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    let file = fixture.create("/f").await;
    let first = fixture.add_chunk(&file, 0, vec![], &[1, 2, 3]).await.unwrap();
    let second = fixture.add_chunk(&file, CHUNK, vec![commit(&first, CHUNK)], &[1, 2, 3]).await.unwrap();
    refused(namespace.begin_recovery(second.chunk).await, ErrorKind::FailedPrecondition, "has its lease");
    namespace.abandon(fixture.writing(&file)).await.unwrap();
    refused(fixture.complete(&file, CHUNK, vec![]).await, ErrorKind::LeaseLost, "lease");
    assert!(!namespace.recover_lease(fixture.call(), at("/f")).await.unwrap());

    let plan = namespace.recovery_plan(file.inode).await.unwrap().unwrap();
    assert_eq!((plan.path, plan.chunks.len()), (Some(at("/f")), 1));
    assert_eq!((plan.chunks[0].chunk, plan.chunks[0].replicas.len()), (second.chunk, 3));
    let stale = namespace.begin_recovery(second.chunk).await.unwrap();
    let generation = namespace.begin_recovery(second.chunk).await.unwrap();
    assert!(generation > stale);
    let settle = |generation, length, nodes| namespace.commit_recovery(second.chunk, generation, length, ids(nodes));
    refused(settle(stale, 5, &[1]).await, ErrorKind::Fenced, "issued last");
    refused(settle(generation, 5, &[]).await, ErrorKind::InvalidArgument, "no node");
    assert!(settle(generation, 5, &[1, 3]).await.unwrap(), "that was the last");
    let closed = fixture.locate("/f").await;
    assert_eq!((closed.status.open, closed.status.length), (false, CHUNK + 5));
    assert_eq!(closed.chunks[1].info.good().collect::<Vec<_>>(), ids(&[1, 3]));
    assert_eq!(namespace.garbage(NodeId(2), ChunkId(0), 9).await.unwrap(), [(second.chunk, stale)]);
    assert!(namespace.recover_lease(fixture.call(), at("/f")).await.unwrap());
    fixture.check().await;
}

#[tokio::test]
async fn recovery_drops_what_came_back_empty_and_cuts_where_one_is_short() {
    let fixture = Fixture::new(1).await;
    let namespace = &fixture.namespace;
    let file = fixture.create("/f").await;
    let mut chunks = Vec::new();
    for at in 0..4 {
        chunks.push(fixture.add_chunk(&file, at * CHUNK, vec![], &[1]).await.unwrap());
    }
    namespace.recover_lease(fixture.call(), at("/f")).await.unwrap();
    let settle = async |chunk: &AddedChunk, length| {
        let generation = namespace.begin_recovery(chunk.chunk).await.unwrap();
        let nodes = if length > 0 { ids(&[1]) } else { vec![] };
        namespace.commit_recovery(chunk.chunk, generation, length, nodes).await.unwrap()
    };
    assert!(!settle(&chunks[3], 0).await);
    assert!(!settle(&chunks[0], CHUNK).await);
    assert_eq!(fixture.stat("/f").await.unwrap().length, CHUNK);
    fixture.check().await;
    assert!(settle(&chunks[1], 100).await, "the third goes with the end of the second");
    assert_eq!(fixture.stat("/f").await.unwrap().length, CHUNK + 100);
    assert_eq!(fixture.usage("/").await.bytes, CHUNK + 100);
    let garbage = namespace.garbage(NodeId(1), ChunkId(0), 10).await.unwrap();
    assert_eq!(garbage.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>(), [chunks[2].chunk, chunks[3].chunk]);
    fixture.check().await;
}

#[tokio::test]
async fn recovery_never_loses_the_bytes_of_a_small_file() {
    for (recovered, length) in [(4, 5), (9, 9)] {
        let fixture = Fixture::new(1).await;
        let namespace = &fixture.namespace;
        let file = fixture.create("/f").await;
        namespace.store_small(fixture.writing(&file), Bytes::from_static(b"hello")).await.unwrap();
        let chunk = fixture.add_chunk(&file, 0, vec![], &[1]).await.unwrap().chunk;
        namespace.abandon(fixture.writing(&file)).await.unwrap();
        let generation = namespace.begin_recovery(chunk).await.unwrap();
        assert!(namespace.commit_recovery(chunk, generation, recovered, ids(&[1])).await.unwrap());
        let status = fixture.stat("/f").await.unwrap();
        assert_eq!((status.length, status.small), (length, length == 5));
        fixture.check().await;
    }
}
