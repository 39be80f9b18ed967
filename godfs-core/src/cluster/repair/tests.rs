use super::*;
use crate::env::SeededRandom;
use crate::id::Version;
use crate::placement::{Domain, NodeView, SpreadPolicy};

const LENGTH: u64 = 4 << 20;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A queue over nodes 1..=n, all certain, with the owed rows read.
struct Bench {
    queue: RepairQueue,
    view: ClusterView,
    now: Duration,
    version: u64,
}

impl Bench {
    fn new(nodes: u32) -> Self {
        let random = Arc::new(SeededRandom::new(1));
        let queue = RepairQueue::new(RepairSettings::default(), Arc::new(SpreadPolicy), random);
        let mut bench = Self { queue, view: ClusterView::default(), now: at(0), version: 0 };
        for id in 1..=nodes {
            bench.join(id);
        }
        bench.read_everything_empty();
        bench
    }

    fn join(&mut self, id: u32) {
        let node = NodeView {
            id: NodeId(id),
            domain: Domain::parse(&format!("/rack{}", id % 2)).unwrap(),
            host: format!("h{id}"),
            available: 1 << 40,
            largest: 1 << 40,
            capacity: 1 << 40,
            load: 0,
            live: true,
            eligible: true,
            slow: false,
        };
        self.view.nodes.push(node);
        self.node(id, NodeState::Live, Standing::Certain);
    }

    fn node(&mut self, id: u32, state: NodeState, standing: Standing) {
        let node = NodeId(id);
        for view in self.view.nodes.iter_mut().filter(|view| view.id == node) {
            view.live = state == NodeState::Live;
        }
        self.queue.node_changed(self.now, NodeChange { node, state, standing });
    }

    fn suspect(&mut self, id: u32) {
        self.node(id, NodeState::Suspected, Standing::Away);
    }

    fn lose(&mut self, id: u32) {
        self.suspect(id);
        self.node(id, NodeState::Dead, Standing::Lost);
    }

    fn back(&mut self, id: u32) {
        self.node(id, NodeState::Live, Standing::Away);
        self.node(id, NodeState::Live, Standing::Certain);
    }

    fn chunk(&mut self, chunk: u64, target: usize, nodes: &[u32]) -> ChunkHealth {
        self.version += 1;
        let held = |&id: &u32| HeldReplica { node: NodeId(id), corrupt: false };
        ChunkHealth {
            chunk: ChunkId(chunk),
            version: Version(self.version),
            generation: Generation(3),
            length: LENGTH,
            target,
            replicas: nodes.iter().map(held).collect(),
            excluded: Vec::new(),
            writing: false,
        }
    }

    fn feed(&mut self, chunk: u64, target: usize, nodes: &[u32]) {
        let health = self.chunk(chunk, target, nodes);
        self.queue.health(self.now, health);
    }

    fn poll(&mut self) -> Vec<RepairEffect> {
        self.queue.poll(self.now, &self.view)
    }

    fn after(&mut self, ms: u64) -> Vec<RepairEffect> {
        self.now += at(ms);
        self.poll()
    }

    /// Answers every page with nothing, until none is asked for.
    fn read_everything_empty(&mut self) {
        for _ in 0..100 {
            for effect in self.after(100) {
                if let RepairEffect::ReadPage { scan, from, .. } = effect {
                    self.queue.page(self.now, ScanPage { scan, from, chunks: Vec::new(), next: None });
                }
            }
        }
    }

    fn counts(&mut self) -> RepairCounts {
        let _ = self.poll();
        self.queue.counts()
    }
}

/// The copies among the effects: (chunk, source, target).
fn copies(effects: &[RepairEffect]) -> Vec<(u64, u32, u32)> {
    let copy = |effect: &RepairEffect| match effect {
        RepairEffect::Copy { chunk, source, target, .. } => Some((chunk.get(), source.get(), target.get())),
        _ => None,
    };
    effects.iter().filter_map(copy).collect()
}

#[test]
fn an_owed_chunk_is_copied_at_once_and_done_only_by_its_rows() {
    let mut bench = Bench::new(3);
    bench.feed(1, 3, &[1, 2]);
    let started = copies(&bench.poll());
    assert_eq!((started.len(), started[0].2), (1, 3));
    let counts = bench.counts();
    assert_eq!((counts.under_replicated, counts.repairing, counts.complete), (1, 1, true));

    bench.queue.copy_finished(ChunkId(1), NodeId(3));
    assert_eq!(bench.counts().under_replicated, 1, "the rows have not been read again");
    bench.feed(1, 3, &[1, 2, 3]);
    assert_eq!(bench.counts(), RepairCounts { complete: true, ..RepairCounts::default() });
}

#[test]
fn a_suspected_node_counts_and_only_a_lost_one_is_repaired() {
    let mut bench = Bench::new(4);
    bench.suspect(3);
    let page = bench.poll();
    let asked = RepairEffect::ReadPage { scan: Scan::Node(NodeId(3)), from: ChunkId(0), limit: 1_000 };
    assert_eq!(page, [asked]);
    assert!(!bench.queue.counts().complete);
    let chunks = vec![bench.chunk(1, 3, &[1, 2, 3])];
    let scan = Scan::Node(NodeId(3));
    bench.queue.page(bench.now, ScanPage { scan, from: ChunkId(0), chunks, next: None });
    assert_eq!(copies(&bench.after(1_000)), []);
    let counts = bench.counts();
    assert_eq!((counts.under_replicated, counts.missing, counts.complete), (1, 0, true));

    bench.node(3, NodeState::Dead, Standing::Away);
    assert_eq!(copies(&bench.after(1_000)), []);
    bench.node(3, NodeState::Dead, Standing::Lost);
    let started = copies(&bench.after(0));
    assert_eq!((started.len(), started[0].2), (1, 4));
}

/// A datanode comes back after its chunks were made again: one replica is too many, and a report that has not come yet must not
/// cost a good one.
#[test]
fn a_node_that_returns_brings_surplus_which_goes_when_all_is_certain() {
    let mut bench = Bench::new(4);
    bench.feed(1, 3, &[1, 2, 3, 4]);
    bench.suspect(4);
    assert_eq!(bench.counts().over_replicated, 0);
    bench.node(4, NodeState::Live, Standing::Away);
    assert!(bench.after(500).iter().all(|effect| matches!(effect, RepairEffect::ReadPage { .. })));

    bench.node(4, NodeState::Live, Standing::Certain);
    let effects = bench.after(500);
    let drop = effects.iter().find_map(|effect| match effect {
        RepairEffect::DropSurplus { node, keep, generation: Generation(3), .. } => Some((*node, keep.clone())),
        _ => None,
    });
    let (node, keep) = drop.unwrap();
    assert_eq!(keep.len(), 3);
    assert!(!keep.contains(&node));
    assert_eq!(bench.counts().over_replicated, 1);

    let left: Vec<_> = keep.iter().map(|node| node.get()).collect();
    bench.feed(1, 3, &left);
    bench.queue.dropped(ChunkId(1), node);
    assert_eq!(bench.after(500), [RepairEffect::LoadChunk(ChunkId(1))]);
    bench.feed(1, 3, &left);
    assert_eq!(bench.counts(), RepairCounts { complete: true, ..RepairCounts::default() });
}

#[test]
fn a_return_cancels_what_has_not_begun() {
    let mut bench = Bench::new(4);
    bench.feed(1, 3, &[1, 2, 3]);
    bench.suspect(3);
    bench.feed(1, 3, &[1, 2, 3]);
    bench.back(3);
    assert_eq!(copies(&bench.after(500)), []);
    assert_eq!(bench.counts().under_replicated, 0);

    bench.lose(3);
    bench.feed(1, 3, &[1, 2, 3]);
    bench.back(3);
    assert_eq!(copies(&bench.after(500)), []);
}

#[test]
fn the_last_replica_is_copied_before_others() {
    let mut bench = Bench::new(6);
    for chunk in 1..=20 {
        bench.feed(chunk, 3, &[1, 2]);
    }
    bench.feed(99, 3, &[1]);
    let started = copies(&bench.poll());
    assert_eq!((started[0].0, started[1].0), (99, 99), "{started:?}");
}

#[test]
fn each_node_sends_and_receives_two_at_once() {
    let mut bench = Bench::new(4);
    for chunk in 1..=50 {
        bench.feed(chunk, 2, &[1]);
    }
    let first = copies(&bench.poll());
    assert_eq!(first.len(), 2, "node 1 alone sends: {first:?}");
    assert_eq!(copies(&bench.after(1_000)), []);
    let (chunk, _, target) = first[0];
    bench.queue.copy_finished(ChunkId(chunk), NodeId(target));
    assert_eq!(copies(&bench.poll()).len(), 1);

    let mut bench = Bench::new(4);
    for chunk in 1..=50 {
        bench.feed(chunk, 4, &[1, 2, 3]);
    }
    assert_eq!(copies(&bench.poll()).len(), 2, "node 4 alone receives");
}

/// Everything on a busy source must not hide what others could send.
#[test]
fn a_long_run_of_waiting_chunks_hides_nothing_behind_it() {
    let mut bench = Bench::new(4);
    for chunk in 1..=10_000 {
        bench.feed(chunk, 2, &[1]);
    }
    bench.feed(20_000, 2, &[2]);
    let mut found = false;
    for _ in 0..20 {
        found |= copies(&bench.after(100)).iter().any(|(chunk, ..)| *chunk == 20_000);
    }
    assert!(found);
    bench.queue.check();
}

#[test]
fn a_failed_copy_is_tried_elsewhere_soon_and_never_counts() {
    let mut bench = Bench::new(4);
    bench.feed(1, 3, &[1, 2]);
    let (_, source, target) = copies(&bench.poll())[0];
    bench.queue.copy_failed(bench.now, ChunkId(1), NodeId(target));
    assert_eq!(bench.counts().under_replicated, 1);
    assert_eq!(copies(&bench.after(200)), []);
    let (_, other_source, other_target) = copies(&bench.after(50))[0];
    assert_ne!(source, other_source);
    assert_ne!(target, other_target);

    // However often it fails, the next attempt comes within the longest rest.
    let mut target = other_target;
    for _ in 0..20 {
        bench.queue.copy_failed(bench.now, ChunkId(1), NodeId(target));
        target = copies(&bench.after(5_000))[0].2;
    }
}

/// The datanode said that it was done, but no row names the copy.
#[test]
fn a_copy_that_rows_do_not_name_was_none() {
    let mut bench = Bench::new(4);
    bench.feed(1, 3, &[1, 2]);
    let target = copies(&bench.poll())[0].2;
    bench.queue.copy_finished(ChunkId(1), NodeId(target));
    assert_eq!(bench.after(0), [RepairEffect::LoadChunk(ChunkId(1))]);
    bench.feed(1, 3, &[1, 2]);
    assert_eq!(copies(&bench.after(0)), []);
    assert_ne!(copies(&bench.after(250))[0].2, target);
}

#[test]
fn a_node_that_goes_takes_its_copies_with_it() {
    let mut bench = Bench::new(4);
    bench.feed(1, 3, &[1, 2]);
    let (_, source, target) = copies(&bench.poll())[0];
    bench.suspect(target);
    assert_eq!(bench.queue.counts().repairing, 0);
    let other = copies(&bench.after(250))[0];
    assert_ne!(other.2, target);
    bench.suspect(other.1);
    assert_eq!(bench.queue.counts().repairing, 0);
    assert_eq!(other.1 + source, 3, "the other holder was asked");
}

#[test]
fn a_copy_that_takes_for_ever_is_given_up() {
    let mut bench = Bench::new(4);
    bench.feed(1, 3, &[1, 2]);
    let target = copies(&bench.poll())[0].2;
    assert_eq!(copies(&bench.after(21_000)), []);
    assert_eq!(bench.queue.counts().repairing, 1);
    assert_eq!(copies(&bench.after(1_000)), []);
    assert_ne!(copies(&bench.after(250))[0].2, target);
}

/// Three replicas on two nodes: it is said, nothing spins, and the third node gets its copy at once.
#[test]
fn more_replicas_than_nodes_wait_for_a_node_to_join() {
    let mut bench = Bench::new(2);
    bench.feed(1, 3, &[1, 2]);
    for _ in 0..100 {
        assert_eq!(bench.after(100), []);
    }
    assert_eq!(bench.counts().under_replicated, 1);
    bench.join(3);
    assert_eq!(copies(&bench.after(0))[0].2, 3);
}

#[test]
fn a_chunk_without_a_live_replica_is_missing_until_a_node_returns() {
    let mut bench = Bench::new(4);
    bench.lose(1);
    bench.read_everything_empty();
    bench.feed(1, 2, &[1]);
    let counts = bench.counts();
    assert_eq!((counts.missing, counts.under_replicated), (1, 1));
    assert_eq!(copies(&bench.after(60_000)), []);
    bench.back(1);
    assert_eq!(copies(&bench.after(0)).len(), 1);
    assert_eq!(bench.counts().missing, 0);
}

fn corrupt(mut health: ChunkHealth, node: u32) -> ChunkHealth {
    for replica in health.replicas.iter_mut().filter(|replica| replica.node == NodeId(node)) {
        replica.corrupt = true;
    }
    health
}

#[test]
fn a_corrupt_replica_goes_only_after_a_new_copy_is_in_the_rows() {
    let mut bench = Bench::new(4);
    let health = corrupt(bench.chunk(1, 3, &[1, 2, 3]), 3);
    bench.queue.health(bench.now, health);
    let effects = bench.poll();
    assert_eq!((effects.len(), copies(&effects)[0].2), (1, 4));
    assert_ne!(copies(&effects)[0].1, 3, "the source is a good one");
    assert_eq!(bench.counts().corrupt, 1);
    bench.queue.copy_finished(ChunkId(1), NodeId(4));
    let health = corrupt(bench.chunk(1, 3, &[1, 2, 3, 4]), 3);
    assert_eq!(bench.after(0), [RepairEffect::LoadChunk(ChunkId(1))]);
    bench.queue.health(bench.now, health);
    let effects = bench.after(0);
    let keep = vec![NodeId(1), NodeId(2), NodeId(4)];
    let (chunk, generation) = (ChunkId(1), Generation(3));
    assert_eq!(effects, [RepairEffect::DropCorrupt { chunk, generation, node: NodeId(3), keep }]);
}

/// Three nodes, three replicas, one corrupt: only the node that holds it can hold the new copy.
#[test]
fn a_corrupt_replica_makes_room_where_no_other_node_is() {
    let mut bench = Bench::new(3);
    let health = corrupt(bench.chunk(1, 3, &[1, 2, 3]), 3);
    bench.queue.health(bench.now, health);
    let effects = bench.poll();
    let keep = vec![NodeId(1), NodeId(2)];
    let (chunk, generation) = (ChunkId(1), Generation(3));
    assert_eq!(effects, [RepairEffect::DropCorrupt { chunk, generation, node: NodeId(3), keep }]);
    let health = ChunkHealth { excluded: vec![NodeId(3)], ..bench.chunk(1, 3, &[1, 2]) };
    bench.queue.health(bench.now, health);
    assert_eq!(copies(&bench.after(0)), [], "it has not deleted it yet");
    bench.queue.dropped(chunk, NodeId(3));
    assert_eq!(bench.after(0), [RepairEffect::LoadChunk(chunk)]);
    bench.feed(1, 3, &[1, 2]);
    assert_eq!(copies(&bench.after(0))[0].2, 3);
}

#[test]
fn when_all_are_corrupt_nothing_goes() {
    let mut bench = Bench::new(4);
    let health = corrupt(corrupt(bench.chunk(1, 2, &[1, 2]), 1), 2);
    bench.queue.health(bench.now, health);
    assert_eq!(bench.after(0), []);
    assert_eq!(bench.after(60_000), []);
    let counts = bench.counts();
    assert_eq!((counts.corrupt, counts.missing), (1, 1));
}

/// A restarted namenode: it says that it has not counted yet, reads what it owes, waits for its nodes, and then counts those that stay away.
#[test]
fn a_new_namenode_is_complete_when_all_is_counted() {
    let random = Arc::new(SeededRandom::new(1));
    let mut queue = RepairQueue::new(RepairSettings::default(), Arc::new(SpreadPolicy), random);
    let view = ClusterView::default();
    for id in 1..=2 {
        let change = NodeChange { node: NodeId(id), state: NodeState::Expected, standing: Standing::Away };
        queue.node_changed(at(0), change);
    }
    let page = |scan| RepairEffect::ReadPage { scan, from: ChunkId(0), limit: 1_000 };
    let empty = |scan| ScanPage { scan, from: ChunkId(0), chunks: Vec::new(), next: None };
    assert_eq!(queue.poll(at(0), &view), [page(Scan::Owed)]);
    queue.page(at(0), empty(Scan::Owed));
    assert_eq!(queue.poll(at(100), &view), []);
    let change = NodeChange { node: NodeId(1), state: NodeState::Live, standing: Standing::Certain };
    queue.node_changed(at(200), change);
    assert!(!queue.counts().complete, "node 2 was not heard from");
    let change = NodeChange { node: NodeId(2), state: NodeState::Dead, standing: Standing::Lost };
    queue.node_changed(at(300), change);
    let lost = Scan::Node(NodeId(2));
    assert_eq!(queue.poll(at(300), &view), [page(lost)]);
    assert!(!queue.counts().complete);
    // A page that cannot be read is asked for again.
    queue.page_failed(at(300), lost, ChunkId(0));
    assert_eq!(queue.poll(at(400), &view), []);
    assert_eq!(queue.poll(at(550), &view), [page(lost)]);
    queue.page(at(550), empty(lost));
    assert!(queue.counts().complete);
    // At leisure, what came back is looked at for surplus.
    assert_eq!(queue.poll(at(600), &view), [page(Scan::Node(NodeId(1)))]);
}

#[test]
fn an_older_reading_changes_nothing_and_what_is_being_written_is_left_alone() {
    let mut bench = Bench::new(4);
    let old = bench.chunk(1, 3, &[1, 2, 3, 4]);
    bench.feed(1, 3, &[1, 2]);
    bench.queue.health(bench.now, old);
    assert_eq!(bench.counts().over_replicated, 0);
    assert_eq!(bench.counts().under_replicated, 1);
    let open = ChunkHealth { writing: true, ..bench.chunk(1, 3, &[1, 2]) };
    bench.queue.health(bench.now, open);
    assert_eq!(bench.counts(), RepairCounts { complete: true, ..RepairCounts::default() });
    assert_eq!(bench.after(1_000), []);
}

/// Two are too many, but one of the four may or may not be there: nothing is deleted on a guess.
#[test]
fn surplus_stays_while_any_replica_is_uncertain() {
    let mut bench = Bench::new(4);
    bench.suspect(4);
    bench.read_everything_empty();
    bench.feed(1, 2, &[1, 2, 3, 4]);
    assert_eq!(bench.after(1_000), []);
    bench.back(4);
    assert!(matches!(bench.after(0)[..], [RepairEffect::DropSurplus { .. }]));
}

#[test]
fn no_copy_goes_to_a_node_that_still_has_something_to_delete() {
    let mut bench = Bench::new(3);
    let health = ChunkHealth { excluded: vec![NodeId(3)], ..bench.chunk(1, 3, &[1, 2]) };
    bench.queue.health(bench.now, health.clone());
    assert_eq!(bench.after(1_000), []);
    // Should nobody say that it is done, the rows are asked from time to time.
    assert_eq!(bench.after(10_000), [RepairEffect::LoadChunk(ChunkId(1))]);
    bench.queue.health(bench.now, health);
    assert_eq!(bench.after(1_000), []);
    bench.feed(1, 3, &[1, 2]);
    assert_eq!(copies(&bench.after(0))[0].2, 3);
}

/// A node lost power in mid-write and came back with a stale replica, which became garbage. It was the only one left to take the third copy,
/// and nobody told the queue when the garbage was gone, since the queue had not asked for that deletion: the chunk starved for ever.
#[test]
fn a_deletion_that_the_queue_did_not_order_makes_room_too() {
    let mut bench = Bench::new(3);
    let health = ChunkHealth { excluded: vec![NodeId(3)], ..bench.chunk(1, 3, &[1, 2]) };
    bench.queue.health(bench.now, health);
    assert_eq!(bench.after(0), []);
    bench.queue.dropped(ChunkId(1), NodeId(3));
    bench.queue.dropped(ChunkId(2), NodeId(3));
    assert_eq!(bench.after(0), [RepairEffect::LoadChunk(ChunkId(1))], "and not chunk 2, which lacks nothing");
    bench.feed(1, 3, &[1, 2]);
    assert_eq!(copies(&bench.after(0))[0].2, 3);
}

/// The order to delete went down with the node's stream; the rows say whether it stands.
#[test]
fn a_drop_on_a_node_that_goes_is_left_to_the_rows() {
    let mut bench = Bench::new(3);
    bench.feed(1, 1, &[1, 2]);
    let node = match bench.after(0)[..] {
        [RepairEffect::DropSurplus { node, .. }] => node.get(),
        ref other => panic!("{other:?}"),
    };
    bench.suspect(node);
    assert!(bench.after(0).contains(&RepairEffect::LoadChunk(ChunkId(1))));
}

#[test]
fn a_deletion_that_nobody_confirms_gives_up_its_place() {
    let mut bench = Bench::new(3);
    bench.feed(1, 1, &[1, 2]);
    assert_eq!(bench.after(0).len(), 1);
    assert_eq!(bench.after(29_000), []);
    assert_eq!(bench.after(1_000), [RepairEffect::LoadChunk(ChunkId(1))]);
}

#[test]
fn nothing_is_done_on_rows_that_have_changed_since() {
    let mut bench = Bench::new(3);
    bench.feed(1, 3, &[1, 2]);
    bench.queue.touched(ChunkId(1));
    assert_eq!(bench.after(0), [RepairEffect::LoadChunk(ChunkId(1))]);
    // It changes once more while it is being read.
    bench.queue.touched(ChunkId(1));
    bench.feed(1, 3, &[1, 2]);
    assert_eq!(bench.after(0), [RepairEffect::LoadChunk(ChunkId(1))]);
    bench.queue.load_failed(bench.now, ChunkId(1));
    assert_eq!(bench.after(100), []);
    assert_eq!(bench.after(150), [RepairEffect::LoadChunk(ChunkId(1))]);
    bench.feed(1, 3, &[1, 2]);
    assert_eq!(copies(&bench.after(0)).len(), 1);
}
