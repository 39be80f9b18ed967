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
            capacity: 1 << 40,
            load: 0,
            live: true,
            eligible: true,
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
