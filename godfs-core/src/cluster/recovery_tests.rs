use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const CHUNK: ChunkId = ChunkId(7);
const OLD: Generation = Generation(3);
const NEW: Generation = Generation(4);

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn replica(state: ReplicaState, length: u64) -> Replica {
    Replica { chunk: CHUNK, generation: OLD, length, visible: 0, state }
}

fn recovered(replicas: &[(ReplicaState, u64)]) -> Option<(u64, Vec<u32>)> {
    let replicas: Vec<_> =
        replicas.iter().zip(1..).map(|(&(state, length), node)| (NodeId(node), replica(state, length))).collect();
    recovered_length(&replicas).map(|found| (found.length, found.nodes.iter().map(|node| node.get()).collect()))
}

mod length {
    use super::ReplicaState::{Finalized, Rbw, Rwr, Temporary};
    use super::*;

    #[test]
    fn the_smallest_of_the_unfinished() {
        assert_eq!(recovered(&[(Rbw, 300), (Rbw, 100), (Rbw, 200)]), Some((100, vec![1, 2, 3])));
    }

    /// A node that lags behind those after it, and that a reader does not reach, made recovery drop bytes which the others had shown.
    #[test]
    fn what_one_shows_another_may_not_take_away() {
        let shows = |length, visible| Replica { visible, ..replica(Rbw, length) };
        let replicas = [(NodeId(1), shows(40, 40)), (NodeId(2), shows(100, 80)), (NodeId(3), shows(90, 90))];
        let found = recovered_length(&replicas).unwrap();
        assert_eq!((found.length, found.nodes), (90, vec![NodeId(2), NodeId(3)]));
    }

    /// Picking the longest, or mixing finalized with unfinished ones, gives a file bytes that some replica does not have.
    #[test]
    fn finalized_rule_and_only_equals_join() {
        assert_eq!(recovered(&[(Rbw, 100), (Finalized, 200), (Rbw, 200), (Rbw, 300)]), Some((200, vec![2, 3])));
        assert_eq!(recovered(&[(Rwr, 200), (Finalized, 200)]), Some((200, vec![2])));
        assert_eq!(recovered(&[(Finalized, 100), (Finalized, 200)]), None);
    }

    /// An earlier recovery settled one replica and died before its commit: what it decided stands.
    #[test]
    fn the_latest_finalized_generation_rules() {
        let later = Replica { generation: NEW, ..replica(Finalized, 50) };
        let replicas = [(NodeId(1), replica(Finalized, 60)), (NodeId(2), later), (NodeId(3), replica(Finalized, 50))];
        let found = recovered_length(&replicas).unwrap();
        assert_eq!((found.length, found.nodes), (50, vec![NodeId(2), NodeId(3)]));
    }

    #[test]
    fn restarted_ones_count_only_alone() {
        assert_eq!(recovered(&[(Rwr, 50), (Rbw, 100)]), Some((100, vec![2])));
        assert_eq!(recovered(&[(Rwr, 50), (Rwr, 100)]), Some((50, vec![1, 2])));
        assert_eq!(recovered(&[(Temporary, 50)]), None);
        assert_eq!(recovered(&[]), None);
    }

    proptest! {
        #[test]
        fn never_more_than_a_survivor_has(
            replicas in prop::collection::vec((prop::sample::select(vec![Finalized, Rbw, Rwr, Temporary]), 0_u64..5), 0..6)
        ) {
            if let Some((length, nodes)) = recovered(&replicas) {
                prop_assert!(!nodes.is_empty());
                for (&(state, held), node) in replicas.iter().zip(1..) {
                    prop_assert!(!nodes.contains(&node) || held >= length);
                    prop_assert!(!nodes.contains(&node) || state != Temporary);
                }
                if replicas.iter().all(|(state, _)| *state == Rbw) {
                    prop_assert_eq!(Some(length), replicas.iter().map(|(_, held)| *held).min());
                }
            }
        }
    }
}

/// A recovery of one chunk on nodes 1, 2 and 3, and what is thought of them.
struct Bench {
    recovery: LeaseRecovery,
    states: HashMap<NodeId, NodeState>,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        Self::with_length(0)
    }

    fn with_length(length: u64) -> Self {
        let nodes = vec![NodeId(1), NodeId(2), NodeId(3)];
        let chunk = OpenChunk { chunk: CHUNK, generation: OLD, length, cut: false, nodes: nodes.clone() };
        Self {
            recovery: LeaseRecovery::new(RecoverySettings::default(), at(0), vec![chunk]),
            states: nodes.into_iter().map(|node| (node, NodeState::Live)).collect(),
            now: at(0),
        }
    }

    fn after(&mut self, ms: u64) -> Vec<RecoveryEffect> {
        self.now += at(ms);
        let states = &self.states;
        self.recovery.poll(self.now, |node| states.get(&node).copied())
    }

    /// Polls, expects the wish for a generation, and issues it; gives whom it asks then.
    fn begin(&mut self) -> Vec<u32> {
        assert_eq!(self.after(0), [RecoveryEffect::IssueGeneration(CHUNK)]);
        self.recovery.generation_issued(self.now, CHUNK, NEW);
        self.asked(0)
    }

    fn asked(&mut self, ms: u64) -> Vec<u32> {
        let node = |effect| match effect {
            RecoveryEffect::Recover { node, chunk: CHUNK, generation: NEW } => node.get(),
            other => panic!("{other:?}"),
        };
        self.after(ms).into_iter().map(node).collect()
    }

    fn state(&mut self, node: u32, state: NodeState) {
        self.states.insert(NodeId(node), state);
    }

    fn holds(&mut self, node: u32, state: ReplicaState, length: u64) {
        self.recovery.replied(NodeId(node), CHUNK, NEW, Ok(replica(state, length)));
    }

    fn fails(&mut self, node: u32, kind: ErrorKind) {
        self.recovery.replied(NodeId(node), CHUNK, NEW, Err(kind));
    }

    fn settles(&mut self, node: u32, length: u64) {
        let settled = Replica { generation: NEW, ..replica(ReplicaState::Finalized, length) };
        self.recovery.settled(NodeId(node), CHUNK, NEW, Ok(settled));
    }
}

fn settle(nodes: &[u32], length: u64) -> Vec<RecoveryEffect> {
    let settle = |&node: &u32| RecoveryEffect::Settle { node: NodeId(node), chunk: CHUNK, generation: NEW, length };
    nodes.iter().map(settle).collect()
}

fn commit(nodes: &[u32], length: u64) -> Vec<RecoveryEffect> {
    let nodes = nodes.iter().copied().map(NodeId).collect();
    vec![RecoveryEffect::Commit { chunk: CHUNK, generation: NEW, length, nodes }]
}

#[test]
fn asks_all_settles_at_the_smallest_commits_and_closes() {
    let mut bench = Bench::new();
    assert_eq!(bench.begin(), [1, 2, 3]);
    bench.holds(1, ReplicaState::Rbw, 300);
    bench.holds(2, ReplicaState::Rbw, 100);
    assert_eq!(bench.after(1_000), [], "one is still to answer");
    bench.holds(3, ReplicaState::Rbw, 200);
    assert_eq!(bench.after(0), settle(&[1, 2, 3], 100));
    bench.settles(1, 100);
    bench.settles(3, 100);
    bench.recovery.settled(NodeId(2), CHUNK, NEW, Err(ErrorKind::Io));
    assert_eq!(bench.after(0), commit(&[1, 3], 100));
    bench.recovery.committed(bench.now, CHUNK);
    assert_eq!(bench.after(0), [RecoveryEffect::Close]);
    assert!(bench.recovery.is_over());
    assert_eq!(bench.after(60_000), []);
}

#[test]
fn waits_for_nodes_that_may_come_back_but_not_for_the_dead() {
    let mut bench = Bench::new();
    bench.state(1, NodeState::Expected);
    bench.state(2, NodeState::Dead);
    assert_eq!(bench.begin(), [3]);
    bench.holds(3, ReplicaState::Rbw, 200);
    assert_eq!(bench.after(5_000), []);
    bench.state(1, NodeState::Live);
    assert_eq!(bench.asked(0), [1]);
    bench.holds(1, ReplicaState::Rbw, 150);
    assert_eq!(bench.after(0), settle(&[1, 3], 150));
}

#[test]
fn goes_on_without_a_node_that_does_not_answer_in_time() {
    let mut bench = Bench::new();
    assert_eq!(bench.begin(), [1, 2, 3]);
    bench.holds(3, ReplicaState::Rbw, 200);
    bench.fails(1, ErrorKind::Io);
    assert_eq!(bench.after(14_000), []);
    assert_eq!(bench.after(1_000), settle(&[3], 200));
}

/// The command went down with the stream: a node that reconnects must be asked once more, or the recovery waits for nothing.
#[test]
fn asks_again_after_a_reconnect() {
    let mut bench = Bench::new();
    assert_eq!(bench.begin(), [1, 2, 3]);
    bench.state(2, NodeState::Suspected);
    assert_eq!(bench.after(100), []);
    bench.state(2, NodeState::Live);
    assert_eq!(bench.asked(100), [2]);
}

/// A recovery that reaches no replica must leave the file open: closing it would throw away what was acknowledged.
#[test]
fn reaching_nobody_leaves_the_chunk_open_and_tries_again_later() {
    let mut bench = Bench::new();
    for node in 1..=3 {
        bench.state(node, NodeState::Dead);
    }
    assert_eq!(bench.begin(), [0; 0]);
    let mut rests = Vec::new();
    for _ in 0..7 {
        let began = bench.now;
        while bench.after(500).is_empty() {}
        rests.push((bench.now - began).as_secs());
        bench.recovery.generation_issued(bench.now, CHUNK, NEW);
        assert_eq!(bench.after(0), []);
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30]);
    assert!(!bench.recovery.is_over());
    assert_eq!(bench.recovery.status().chunk, Some(CHUNK));
}

#[test]
fn a_chunk_that_was_never_written_is_dropped_only_when_all_say_so() {
    let mut bench = Bench::new();
    bench.begin();
    for node in 1..=3 {
        bench.fails(node, ErrorKind::NotFound);
    }
    assert_eq!(bench.after(0), commit(&[], 0));

    let mut bench = Bench::new();
    bench.state(3, NodeState::Dead);
    bench.begin();
    bench.fails(1, ErrorKind::NotFound);
    bench.fails(2, ErrorKind::NotFound);
    assert_eq!(bench.after(0), []);
    assert!(bench.recovery.status().reason.contains("no replica"), "{:?}", bench.recovery.status());
}

/// A node died, the pipeline never stood, and then its writer died: the file must not stay open for as long as the node is dead. Where it would come back with
/// bytes that the others lost with their power it is given time to.
#[test]
fn a_chunk_that_some_never_had_is_dropped_when_the_others_stay_dead() {
    let second_attempt = |length, second: ErrorKind| {
        let mut bench = Bench::with_length(length);
        bench.state(3, NodeState::Dead);
        bench.begin();
        bench.fails(1, ErrorKind::NotFound);
        bench.fails(2, ErrorKind::NotFound);
        assert_eq!(bench.after(0), []);
        assert_eq!(bench.recovery.rests_until(), Some(at(1_000)));
        bench.now = at(61_000);
        assert_eq!(bench.begin(), [1, 2]);
        bench.fails(1, ErrorKind::NotFound);
        bench.fails(2, second);
        bench.after(0)
    };
    assert_eq!(second_attempt(0, ErrorKind::NotFound), commit(&[], 0));
    assert_eq!(second_attempt(0, ErrorKind::Io), [], "it may hold something");
    assert_eq!(second_attempt(500, ErrorKind::NotFound), [], "something was there");
}

/// An append was begun on a file that had been closed with 500 bytes: no recovery may go below them.
#[test]
fn committed_bytes_are_never_given_up() {
    let mut bench = Bench::with_length(500);
    bench.begin();
    bench.holds(1, ReplicaState::Rwr, 400);
    bench.holds(2, ReplicaState::Rbw, 520);
    bench.holds(3, ReplicaState::Rbw, 499);
    assert_eq!(bench.after(0), settle(&[2], 520));

    let mut bench = Bench::with_length(500);
    bench.begin();
    for node in 1..=3 {
        bench.holds(node, ReplicaState::Rwr, 400);
    }
    assert_eq!(bench.after(0), []);
    assert_eq!(bench.recovery.status().failures, 1);
}

/// A replica that was left out of the pipeline long ago is shorter, and must not cut what the others acknowledged since.
#[test]
fn stale_replicas_do_not_count() {
    let mut bench = Bench::new();
    bench.begin();
    let stale = Replica { generation: Generation(2), ..replica(ReplicaState::Rbw, 10) };
    bench.recovery.replied(NodeId(1), CHUNK, NEW, Ok(stale));
    bench.holds(2, ReplicaState::Rbw, 200);
    bench.holds(3, ReplicaState::Rbw, 200);
    assert_eq!(bench.after(0), settle(&[2, 3], 200));
}

/// Power failed under one node, and the two others that hold all that was acknowledged are still starting.
#[test]
fn restarted_replicas_alone_are_not_trusted_at_once() {
    let mut bench = Bench::new();
    bench.state(2, NodeState::Dead);
    bench.state(3, NodeState::Dead);
    bench.begin();
    bench.holds(1, ReplicaState::Rwr, 0);
    assert_eq!(bench.after(0), []);
    bench.now = at(61_000);
    assert_eq!(bench.begin(), [1]);
    bench.holds(1, ReplicaState::Rwr, 90);
    assert_eq!(bench.after(0), settle(&[1], 90));
}

#[test]
fn answers_of_another_attempt_are_ignored() {
    let mut bench = Bench::new();
    bench.begin();
    bench.recovery.replied(NodeId(1), CHUNK, OLD, Ok(replica(ReplicaState::Rbw, 1)));
    bench.recovery.replied(NodeId(9), CHUNK, NEW, Ok(replica(ReplicaState::Rbw, 1)));
    for node in 1..=3 {
        bench.holds(node, ReplicaState::Rbw, 50);
    }
    assert_eq!(bench.after(0), settle(&[1, 2, 3], 50));
    bench.settles(1, 49);
    bench.settles(2, 50);
    bench.recovery.settled(NodeId(3), CHUNK, OLD, Ok(replica(ReplicaState::Finalized, 50)));
    assert_eq!(bench.after(15_000), commit(&[2], 50));
}

#[test]
fn several_chunks_go_one_after_another() {
    let chunk = |id| OpenChunk { chunk: ChunkId(id), generation: OLD, length: 0, cut: false, nodes: vec![] };
    let chunks = vec![chunk(1), chunk(2), chunk(3)];
    let mut recovery = LeaseRecovery::new(RecoverySettings::default(), at(0), chunks);
    assert_eq!(recovery.poll(at(0), |_| None), [RecoveryEffect::IssueGeneration(ChunkId(1))]);
    recovery.generation_issued(at(0), ChunkId(1), NEW);
    let nothing = RecoveryEffect::Commit { chunk: ChunkId(1), generation: NEW, length: 0, nodes: vec![] };
    assert_eq!(recovery.poll(at(0), |_| None), [nothing]);
    // The first came back short, so that the last was dropped with it.
    recovery.gone(at(0), ChunkId(3));
    recovery.committed(at(0), ChunkId(1));
    assert_eq!(recovery.poll(at(0), |_| None), [RecoveryEffect::IssueGeneration(ChunkId(2))]);
    recovery.gone(at(0), ChunkId(2));
    assert_eq!(recovery.poll(at(0), |_| None), [RecoveryEffect::Close]);
}

/// A truncation: whoever holds enough is cut, whatever else it holds and however it came to it; nobody at less.
#[test]
fn a_cut_settles_all_that_hold_enough_at_just_that_length() {
    let mut bench = Bench::with_length(100);
    bench.recovery = LeaseRecovery::new(
        RecoverySettings::default(),
        at(0),
        vec![OpenChunk {
            chunk: CHUNK,
            generation: OLD,
            length: 100,
            cut: true,
            nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
        }],
    );
    bench.begin();
    bench.holds(1, ReplicaState::Finalized, 500);
    bench.holds(2, ReplicaState::Finalized, 100);
    bench.holds(3, ReplicaState::Finalized, 99);
    assert_eq!(bench.after(0), settle(&[1, 2], 100));
    bench.settles(1, 100);
    bench.settles(2, 100);
    assert_eq!(bench.after(0), commit(&[1, 2], 100));

    let mut bench = Bench::with_length(100);
    bench.recovery = LeaseRecovery::new(
        RecoverySettings::default(),
        at(0),
        vec![OpenChunk { chunk: CHUNK, generation: OLD, length: 100, cut: true, nodes: vec![NodeId(1)] }],
    );
    assert_eq!(bench.begin(), [1]);
    bench.fails(1, ErrorKind::NotFound);
    assert_eq!(bench.after(100_000), [], "nothing is given up");
    assert!(bench.recovery.rests_until().is_some());
}
