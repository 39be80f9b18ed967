//! What datanodes report, and which replicas may go.

use super::*;
use crate::metadata::Counters;

async fn one_chunk(nodes: u32, on: &[u32]) -> (Fixture, ChunkId) {
    let fixture = Fixture::new(nodes).await;
    let chunk = fixture.file("/f", 100, on).await[0].chunk;
    (fixture, chunk)
}

impl Fixture {
    async fn event(&self, node: u32, event: ReplicaEvent) -> Verdict {
        let verdicts = self.namespace.replica_events(NodeId(node), vec![event]).await.unwrap();
        self.check().await;
        verdicts[0]
    }

    async fn finalized(&self, node: u32, chunk: ChunkId, generation: u64, length: u64) -> Verdict {
        self.event(node, ReplicaEvent::Finalized(finalized(chunk, generation, length))).await
    }

    async fn holders(&self, chunk: ChunkId) -> Vec<(u32, bool)> {
        let info = self.namespace.chunk(chunk).await.unwrap().unwrap();
        info.replicas.iter().map(|replica| (replica.node.0, replica.corrupt)).collect()
    }

    async fn garbage(&self, node: u32) -> Vec<(ChunkId, Generation)> {
        self.namespace.garbage(NodeId(node), ChunkId(0), 100).await.unwrap()
    }
}

#[tokio::test]
async fn copies_are_added_and_pay_what_is_owed() {
    let (fixture, chunk) = one_chunk(4, &[1, 2]).await;
    assert_eq!(fixture.namespace.owed(ChunkId(0), 10).await.unwrap()[0].chunk, chunk);
    let version = fixture.namespace.store().version().await.unwrap();
    assert_eq!(fixture.finalized(1, chunk, 1, 100).await, Verdict::Known);
    assert_eq!(fixture.finalized(3, chunk, 1, 100).await, Verdict::Added);
    assert_eq!(fixture.namespace.owed(ChunkId(0), 10).await.unwrap(), []);
    assert_eq!(fixture.holders(chunk).await, [(1, false), (2, false), (3, false)]);
    let info = fixture.namespace.chunk(chunk).await.unwrap().unwrap();
    assert!(info.version > version);
    let held = fixture.namespace.chunks_of(NodeId(3), ChunkId(0), 10).await.unwrap();
    assert_eq!(held.iter().map(|info| info.chunk).collect::<Vec<_>>(), [chunk]);
    assert_eq!(fixture.namespace.holdings(NodeId(3)).await.unwrap(), NodeHoldings { replicas: 1, bytes: 100 });
}

#[tokio::test]
async fn what_no_row_names_is_left_alone() {
    let (fixture, chunk) = one_chunk(2, &[1, 2]).await;
    assert_eq!(fixture.finalized(1, ChunkId(77), 1, 100).await, Verdict::Unknown);
    assert_eq!(fixture.finalized(1, chunk, 5, 100).await, Verdict::Unknown, "from a later state of the store");
    assert_eq!(fixture.garbage(1).await, []);
}

/// A copy that was under way when its file was deleted became whole afterwards, and no row named it ever again.
#[tokio::test]
async fn copies_of_what_was_deleted_meanwhile_go() {
    let (fixture, chunk) = one_chunk(3, &[1, 2]).await;
    let end = || fixture.namespace.end_copy(NodeId(3), chunk, Generation(1));
    assert!(!end().await.unwrap(), "the chunk wants it");
    fixture.delete("/f", false).await.unwrap();
    fixture.collect().await;
    assert_eq!(fixture.finalized(3, chunk, 1, 100).await, Verdict::Unknown);
    assert_eq!(fixture.garbage(3).await, []);
    assert!(end().await.unwrap() && end().await.unwrap());
    assert_eq!(fixture.garbage(3).await, [(chunk, Generation(1))]);
    fixture.check().await;
    fixture.namespace.confirm_deleted(NodeId(3), chunk, Generation(1)).await.unwrap();
    assert_eq!(fixture.namespace.totals().await.unwrap().garbage, 2, "those that rows had named");
    fixture.check().await;
}

#[tokio::test]
async fn replicas_between_the_generations_are_pending() {
    let fixture = Fixture::new(3).await;
    let file = fixture.create("/f").await;
    let chunk = fixture.add_chunk(&file, 0, vec![], &[1, 2, 3]).await.unwrap().chunk;
    let generation = fixture.namespace.issue_generation(fixture.writing(&file), chunk).await.unwrap();
    for pending in [1, 2] {
        assert_eq!(fixture.finalized(1, chunk, pending, 10).await, Verdict::Pending);
    }
    fixture.namespace.update_pipeline(fixture.writing(&file), chunk, generation, ids(&[1, 2])).await.unwrap();
    for node in 1..=3 {
        assert_eq!(fixture.finalized(node, chunk, 1, 10).await, Verdict::Stale);
        assert_eq!(fixture.garbage(node).await, [], "the chunk is not finished");
    }
}

#[tokio::test]
async fn stale_replicas_go_only_when_a_certain_one_is_good() {
    let fixture = Fixture::new(3).await;
    let file = fixture.create("/f").await;
    let chunk = fixture.add_chunk(&file, 0, vec![], &[1, 2, 3]).await.unwrap().chunk;
    let generation = fixture.namespace.issue_generation(fixture.writing(&file), chunk).await.unwrap();
    let done = ChunkCommit { chunk, generation, length: 10, nodes: ids(&[1, 2]) };
    fixture.complete(&file, 10, vec![done]).await.unwrap();
    // The nodes that rows name may all be dead: theirs is no reason to delete anything.
    assert_eq!(fixture.finalized(3, chunk, 1, 9).await, Verdict::Stale);
    assert_eq!((fixture.holders(chunk).await[2], fixture.garbage(3).await), ((3, true), vec![]));
    assert!(fixture.namespace.drop_replica(chunk, NodeId(3), ids(&[2])).await.unwrap());
    assert_eq!(fixture.garbage(3).await, [(chunk, Generation(1))]);
    // The deletion does not concern a newer copy.
    assert_eq!(fixture.finalized(3, chunk, 2, 10).await, Verdict::Added);
    let deleted = ReplicaEvent::Deleted { chunk, generation: Generation(1) };
    assert_eq!(fixture.event(3, deleted).await, Verdict::Removed);
    assert_eq!(fixture.holders(chunk).await.len(), 3);
    // When nothing better is left, it is kept.
    for node in [1, 2, 3] {
        fixture.event(node, ReplicaEvent::Deleted { chunk, generation }).await;
    }
    assert_eq!(fixture.finalized(1, chunk, 1, 9).await, Verdict::Stale);
    assert_eq!((fixture.holders(chunk).await, fixture.garbage(1).await), (vec![(1, true)], vec![]));
}

#[tokio::test]
async fn corrupt_replicas_are_marked_and_go_by_order() {
    let (fixture, chunk) = one_chunk(4, &[1, 2, 3]).await;
    let corrupt = ReplicaEvent::Corrupt { chunk, generation: Generation(1) };
    assert_eq!(fixture.event(1, corrupt).await, Verdict::Corrupt);
    assert_eq!(fixture.event(1, corrupt).await, Verdict::Corrupt);
    assert_eq!(fixture.holders(chunk).await, [(1, true), (2, false), (3, false)]);
    assert_eq!(fixture.namespace.owed(ChunkId(0), 10).await.unwrap().len(), 1);
    assert_eq!(fixture.finalized(4, chunk, 1, 100).await, Verdict::Added);
    assert_eq!((fixture.holders(chunk).await[0], fixture.garbage(1).await), ((1, true), vec![]));
    assert!(fixture.namespace.drop_replica(chunk, NodeId(1), ids(&[2, 3, 4])).await.unwrap());
    assert_eq!(fixture.holders(chunk).await, [(2, false), (3, false), (4, false)]);
    assert_eq!(fixture.garbage(1).await, [(chunk, Generation(1))]);
    assert_eq!(fixture.namespace.chunk(chunk).await.unwrap().unwrap().leaving, ids(&[1]));
    assert_eq!(fixture.finalized(1, chunk, 1, 100).await, Verdict::Garbage, "the order stands");
    let done = fixture.namespace.confirm_deleted(NodeId(1), chunk, Generation(1)).await.unwrap();
    assert_eq!((done, fixture.garbage(1).await), (Verdict::Removed, vec![]));
    assert_eq!(fixture.finalized(1, chunk, 1, 100).await, Verdict::Added, "a new copy");

    // A finalized replica of another length is corrupt too.
    let (fixture, chunk) = one_chunk(3, &[1, 2]).await;
    assert_eq!(fixture.finalized(3, chunk, 1, 99).await, Verdict::Corrupt);
    assert_eq!(fixture.holders(chunk).await, [(1, false), (2, false), (3, true)]);
}

#[tokio::test]
async fn when_all_are_corrupt_nothing_goes() {
    let (fixture, chunk) = one_chunk(3, &[1, 2, 3]).await;
    for node in 1..=3 {
        fixture.event(node, ReplicaEvent::Corrupt { chunk, generation: Generation(1) }).await;
    }
    for node in 1..=3 {
        assert!(!fixture.namespace.drop_replica(chunk, NodeId(node), ids(&[1, 2, 3])).await.unwrap());
        assert_eq!(fixture.garbage(node).await, []);
    }
    assert_eq!(fixture.holders(chunk).await.len(), 3);
}

/// Two nodes died for good after their replicas had been copied to two others, and rows of the dead stay. Sectors go bad on the living: the four
/// rows counted as enough, so that both were deleted and not one byte was left.
#[tokio::test]
async fn rows_of_dead_nodes_justify_no_deletion() {
    let (fixture, chunk) = one_chunk(4, &[1, 2]).await;
    for node in [3, 4] {
        assert_eq!(fixture.finalized(node, chunk, 1, 100).await, Verdict::Added);
    }
    fixture.namespace.set_replication(fixture.call(), at("/f"), 2).await.unwrap();
    for node in [3, 4] {
        fixture.event(node, ReplicaEvent::Corrupt { chunk, generation: Generation(1) }).await;
        assert_eq!(fixture.garbage(node).await, []);
    }
    fixture.namespace.set_replication(fixture.call(), at("/f"), 1).await.unwrap();
    assert_eq!(fixture.holders(chunk).await, [(1, false), (2, false), (3, true), (4, true)]);
    assert_eq!(fixture.namespace.totals().await.unwrap().garbage, 0);
    fixture.check().await;
}

#[tokio::test]
async fn surplus_goes_only_when_the_rest_is_certain() {
    let (fixture, chunk) = one_chunk(4, &[1, 2, 3]).await;
    fixture.finalized(4, chunk, 1, 100).await;
    let drop = |node, keep: &[u32]| fixture.namespace.drop_replica(chunk, NodeId(node), ids(keep));
    assert!(!drop(4, &[1, 2]).await.unwrap(), "two are not three");
    assert!(!drop(4, &[1, 2, 4]).await.unwrap(), "itself does not count");
    assert!(drop(4, &[1, 2, 3]).await.unwrap());
    assert!(!drop(4, &[1, 2, 3]).await.unwrap(), "it is gone");
    assert!(!drop(3, &[1, 2, 4]).await.unwrap(), "the order stands against it");
    assert_eq!(fixture.garbage(4).await, [(chunk, Generation(1))]);
    fixture.check().await;
    // With one corrupt and no other node to copy to, that one goes for a single good one.
    fixture.event(3, ReplicaEvent::Corrupt { chunk, generation: Generation(1) }).await;
    assert!(!drop(3, &[4]).await.unwrap());
    assert!(drop(3, &[1]).await.unwrap());
    assert_eq!(fixture.holders(chunk).await, [(1, false), (2, false)]);
    fixture.check().await;
}

#[tokio::test]
async fn replication_is_changed_with_all_chunks() {
    let fixture = Fixture::new(3).await;
    fixture.file("/f", 2 * CHUNK + 1, &[1, 2, 3]).await;
    let set = |replication| fixture.namespace.set_replication(fixture.call(), at("/f"), replication);
    refused(set(0).await, ErrorKind::InvalidArgument, "/f: replication is 0");
    set(5).await.unwrap();
    assert_eq!(fixture.namespace.totals().await.unwrap().owed, 3);
    assert_eq!(fixture.usage("/").await.space, 5 * (2 * CHUNK + 1));
    fixture.check().await;
    set(2).await.unwrap();
    assert_eq!(fixture.namespace.totals().await.unwrap().owed, 0);
    assert_eq!(fixture.stat("/f").await.unwrap().replication, 2);
    fixture.mkdir("/d").await;
    let refusal = fixture.namespace.set_replication(fixture.call(), at("/d"), 2).await;
    refused(refusal, ErrorKind::IsADirectory, "/d");
    fixture.check().await;
}

#[tokio::test]
async fn a_full_report_is_compared_by_sums() {
    let fixture = Fixture::new(3).await;
    let mut chunks = fixture.file("/f", 3 * CHUNK, &[1, 2, 3]).await;
    let node = NodeId(1);
    let report = |chunks: &[AddedChunk]| {
        let sum = chunks
            .iter()
            .map(|chunk| sums::of_replica(chunk.chunk, chunk.generation, CHUNK))
            .fold(Counters::default(), Counters::plus);
        fixture.namespace.differing_ranges(node, None, vec![RangeSum { range: 0, sum }], true)
    };
    assert_eq!(report(&chunks).await.unwrap(), [] as [u64; 0]);
    let lost = chunks.pop().unwrap();
    assert_eq!(report(&chunks).await.unwrap(), [0]);
    assert_eq!(fixture.namespace.differing_ranges(node, None, vec![], true).await.unwrap(), [0]);
    assert_eq!(fixture.namespace.differing_ranges(node, Some(0), vec![], true).await.unwrap(), [] as [u64; 0]);
    assert_eq!(fixture.namespace.differing_ranges(node, None, vec![], false).await.unwrap(), [] as [u64; 0]);
    let beyond = vec![RangeSum { range: 3, sum: Counters([1; 4]) }];
    assert_eq!(fixture.namespace.differing_ranges(node, None, beyond, false).await.unwrap(), [0, 3]);

    let held: Vec<_> = chunks.iter().map(|chunk| finalized(chunk.chunk, 1, CHUNK)).collect();
    let (verdicts, gone) = fixture.namespace.range_listing(node, 0, held.clone()).await.unwrap();
    assert_eq!((verdicts, gone), (vec![Verdict::Known; 2], vec![lost.chunk]));
    assert_eq!(fixture.namespace.totals().await.unwrap().owed, 1);
    fixture.check().await;
    // It is found again in a later one, far along the range unknown ones too.
    let held = [held, vec![finalized(lost.chunk, 1, CHUNK), finalized(ChunkId(4_095), 1, 1)]].concat();
    let (verdicts, gone) = fixture.namespace.range_listing(node, 0, held.clone()).await.unwrap();
    assert_eq!((&verdicts[2..], gone), (&[Verdict::Added, Verdict::Unknown][..], vec![]));
    fixture.check().await;

    refused(fixture.namespace.range_listing(node, 1, held.clone()).await, ErrorKind::InvalidArgument, "belong");
    let twice = vec![held[0], held[0]];
    refused(fixture.namespace.range_listing(node, 0, twice).await, ErrorKind::InvalidArgument, "out of order");
    refused(fixture.namespace.range_listing(node, u64::MAX, vec![]).await, ErrorKind::InvalidArgument, "no such");
    let unfinished = vec![Replica { state: ReplicaState::Rbw, ..held[0] }];
    refused(fixture.namespace.range_listing(node, 0, unfinished).await, ErrorKind::InvalidArgument, "finalized");
}

#[tokio::test]
async fn many_events_are_taken_in_pieces() {
    let fixture = Fixture::new(1).await;
    let events = (1..=3_000).map(|chunk| ReplicaEvent::Finalized(finalized(ChunkId(chunk), 1, 1))).collect();
    let verdicts = fixture.namespace.replica_events(NodeId(1), events).await.unwrap();
    assert_eq!(verdicts, vec![Verdict::Unknown; 3_000]);
}

/// Very many chunks get their number of replicas in several transactions. Whatever comes in between, one call wins for the file and all of its chunks.
#[tokio::test]
async fn two_calls_that_set_the_replication_leave_one() {
    let fixture = Fixture::new(3).await;
    let other = fixture.other().await;
    let chunks = fixture.file("/f", 1_100 * CHUNK, &[1, 2]).await;
    for (first, second) in [(5, 4), (2, 1), (3, 1), (2, 4)] {
        let call = fixture.call();
        let step = async |progress| {
            let step = move |txn: &mut dyn Transaction, context: &Context| {
                replication::set(txn, context, call, &at("/f"), first, progress)
            };
            fixture.namespace.commit(step).await.unwrap()
        };
        let mut outcome = step(None).await;
        other.namespace.set_replication(other.call(), at("/f"), second).await.unwrap();
        while let replication::Outcome::More(progress) = outcome {
            outcome = step(Some(progress)).await;
        }
        let said = fixture.stat("/f").await.unwrap().replication;
        for chunk in [&chunks[0], &chunks[999], &chunks[1_000], &chunks[1_099]] {
            let info = fixture.namespace.chunk(chunk.chunk).await.unwrap().unwrap();
            assert_eq!(info.target, said, "{first} and {second}");
        }
        fixture.check().await;
    }
}
