//! Recovery of the open chunks of a file whose writer is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::NodeState;
use crate::chunk::{Replica, ReplicaState};
use crate::error::ErrorKind;
use crate::id::{ChunkId, Generation, NodeId};

/// What the survivors of a chunk agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The length to settle at, in bytes.
    pub length: u64,
    /// The nodes whose replicas can be settled there, in the order given.
    pub nodes: Vec<NodeId>,
}

/// Decides at which length an open chunk is settled, from what its surviving replicas hold. The caller leaves out those that are older than the
/// chunk's committed generation: they were left out of the pipeline before.
///
/// - **Finalized** replicas rule: the writer had come to the end of the chunk, or an earlier recovery had settled it. Those of the latest
///   generation must agree, and are joined by every finalized or unfinished replica of just that length.
/// - Else the **smallest** length of the replicas being written (rbw): whatever was acknowledged is on every one of them. Never the largest. One that has
///   less than another shows does not count: a reader that did not reach it may have been shown what it lacks.
/// - Replicas that were being written before their node restarted (rwr) count only when none of those is left.
///
/// `None` when no replica counts, or when finalized ones disagree: then nothing is cut, and the chunk stays open.
#[must_use]
pub fn recovered_length(replicas: &[(NodeId, Replica)]) -> Option<Recovered> {
    let of = |state| replicas.iter().filter(move |(_, replica)| replica.state == state);
    let finalized = || of(ReplicaState::Finalized);
    if let Some(latest) = finalized().map(|(_, replica)| replica.generation).max() {
        let mut lengths =
            finalized().filter(|(_, replica)| replica.generation == latest).map(|(_, replica)| replica.length);
        let length = lengths.next()?;
        if lengths.any(|other| other != length) {
            return None;
        }
        let joined = finalized().chain(of(ReplicaState::Rbw)).filter(|(_, replica)| replica.length == length);
        return Some(Recovered { length, nodes: joined.map(|(node, _)| *node).collect() });
    }
    [ReplicaState::Rbw, ReplicaState::Rwr].into_iter().find_map(|state| {
        let shown = shown(of(state));
        let enough = || of(state).filter(|(_, replica)| replica.length >= shown);
        let length = enough().map(|(_, replica)| replica.length).min()?;
        Some(Recovered { length, nodes: enough().map(|(node, _)| *node).collect() })
    })
}

/// The most that readers may have been shown.
fn shown<'a>(replicas: impl Iterator<Item = &'a (NodeId, Replica)>) -> u64 {
    replicas.map(|(_, replica)| replica.visible).max().unwrap_or(0)
}

/// All that hold at least `length` bytes, verified, can be settled there, in whatever state they are.
fn cut_to(replicas: &[(NodeId, Replica)], length: u64) -> Option<Recovered> {
    let nodes: Vec<NodeId> =
        replicas.iter().filter(|(_, replica)| replica.length >= length).map(|(node, _)| *node).collect();
    (!nodes.is_empty()).then_some(Recovered { length, nodes })
}

/// How patient a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoverySettings {
    /// How long one attempt waits for the nodes of the pipeline: for those that are expected or suspected to come back or be given
    /// up, and for the answers of the live ones.
    pub reply_timeout: Duration,
    /// How long recovery holds out for the rest of the pipeline when all that it has reached is replicas of restarted nodes, which may be
    /// shorter than what was acknowledged, or nodes that hold nothing.
    pub restarted_only: Duration,
    /// The rest after a first attempt that led to nothing; twice as long after each further one.
    pub backoff_first: Duration,
    /// The longest rest.
    pub backoff_most: Duration,
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self {
            reply_timeout: Duration::from_secs(15),
            restarted_only: Duration::from_secs(60),
            backoff_first: Duration::from_secs(1),
            backoff_most: Duration::from_secs(30),
        }
    }
}

/// One open chunk, by the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its committed generation: replicas below it do not count.
    pub generation: Generation,
    /// Its committed length, in bytes: what an append found. Replicas with less do not count.
    pub length: u64,
    /// It is to be cut to just that length: every replica that holds as much can be settled there.
    pub cut: bool,
    /// Its pipeline.
    pub nodes: Vec<NodeId>,
}

/// What the namenode is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryEffect {
    /// Raise the issued generation by a transaction; answer by [`LeaseRecovery::generation_issued`], [`LeaseRecovery::failed`] or
    /// [`LeaseRecovery::gone`].
    IssueGeneration(ChunkId),
    /// Have `node` stop writing and say what it holds; answer by [`LeaseRecovery::replied`].
    Recover {
        /// The node.
        node: NodeId,
        /// The chunk.
        chunk: ChunkId,
        /// The generation of this attempt.
        generation: Generation,
    },
    /// Have `node` cut its replica, move it on and finalize it; answer by [`LeaseRecovery::settled`].
    Settle {
        /// The node.
        node: NodeId,
        /// The chunk.
        chunk: ChunkId,
        /// The generation of this attempt.
        generation: Generation,
        /// In bytes.
        length: u64,
    },
    /// Record what was settled, and leave garbage rows for what the rest of the pipeline may still hold; answer by
    /// [`LeaseRecovery::committed`], [`LeaseRecovery::failed`] or [`LeaseRecovery::gone`]. A length of 0 on no node means that no byte was ever acknowledged: the
    /// chunk is to be dropped.
    Commit {
        /// The chunk.
        chunk: ChunkId,
        /// The generation of this attempt.
        generation: Generation,
        /// In bytes.
        length: u64,
        /// Where it is finalized.
        nodes: Vec<NodeId>,
    },
    /// No chunk is open any more: the file is to be closed, if the last commit has not done so. The recovery is over.
    Close,
}

/// How far a recovery is, for logs and reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// The chunk it is at; `None` when it is over.
    pub chunk: Option<ChunkId>,
    /// Attempts at this chunk that led to nothing.
    pub failures: u32,
    /// Why the last of them did.
    pub reason: String,
}

/// Recovers the open chunks of one file, one after another in the order of the file.
///
/// For each: a new generation is issued, which fences the writer and every earlier recovery; the nodes of the pipeline stop and say what they hold;
/// [`recovered_length`] decides; the survivors are settled; the result is committed. Every step may be repeated by a later attempt, or by
/// another namenode that begins anew from the rows. An attempt that reaches no replica leaves the chunk open and is repeated after a rest.
///
/// Call [`LeaseRecovery::poll`] after inputs and on every tick until [`LeaseRecovery::is_over`].
#[derive(Debug)]
pub struct LeaseRecovery {
    settings: RecoverySettings,
    /// Still to do, the next one last.
    chunks: Vec<OpenChunk>,
    stage: Stage,
    /// When work on the present chunk began.
    began: Duration,
    failures: u32,
    reason: String,
}

#[derive(Debug)]
enum Stage {
    /// The next attempt begins then.
    Resting(Duration),
    /// The namenode's own transaction is under way.
    Issuing,
    Asking(Asking),
    Settling(Settling),
    Committing,
    /// All is done but to say so.
    Closing,
    Over,
}

#[derive(Debug)]
struct Asking {
    generation: Generation,
    deadline: Duration,
    /// The nodes that have not answered, and whether they were asked.
    waiting: BTreeMap<NodeId, bool>,
    replies: Vec<(NodeId, Replica)>,
    /// Nodes that proved to hold nothing.
    without: usize,
    /// A node answered, but not what it holds.
    unsure: bool,
}

#[derive(Debug)]
struct Settling {
    generation: Generation,
    length: u64,
    deadline: Duration,
    waiting: BTreeMap<NodeId, bool>,
    settled: Vec<NodeId>,
}

impl LeaseRecovery {
    /// Begins with the open chunks of a file, in their order.
    #[must_use]
    pub fn new(settings: RecoverySettings, now: Duration, mut chunks: Vec<OpenChunk>) -> Self {
        chunks.reverse();
        let stage = Stage::Resting(now);
        Self { settings, chunks, stage, began: now, failures: 0, reason: String::new() }
    }

    /// A generation was issued for a chunk.
    pub fn generation_issued(&mut self, now: Duration, chunk: ChunkId, generation: Generation) {
        if let (Stage::Issuing, Some(current)) = (&self.stage, self.chunks.last())
            && current.chunk == chunk
        {
            self.stage = Stage::Asking(Asking {
                generation,
                deadline: now.saturating_add(self.settings.reply_timeout),
                waiting: current.nodes.iter().map(|&node| (node, false)).collect(),
                replies: Vec::new(),
                without: 0,
                unsure: false,
            });
        }
    }

    /// A node answered to [`RecoveryEffect::Recover`]. What belongs to another attempt is ignored.
    pub fn replied(
        &mut self,
        node: NodeId,
        chunk: ChunkId,
        generation: Generation,
        answer: Result<Replica, ErrorKind>,
    ) {
        let current = self.chunks.last().is_some_and(|current| current.chunk == chunk);
        let Stage::Asking(asking) = &mut self.stage else { return };
        if !current || asking.generation != generation || asking.waiting.remove(&node).is_none() {
            return;
        }
        match answer {
            Ok(replica) => asking.replies.push((node, replica)),
            Err(ErrorKind::NotFound) => asking.without += 1,
            Err(_) => asking.unsure = true,
        }
    }

    /// A node answered to [`RecoveryEffect::Settle`]. What belongs to another attempt is ignored.
    pub fn settled(
        &mut self,
        node: NodeId,
        chunk: ChunkId,
        generation: Generation,
        answer: Result<Replica, ErrorKind>,
    ) {
        let current = self.chunks.last().is_some_and(|current| current.chunk == chunk);
        let Stage::Settling(settling) = &mut self.stage else { return };
        if !current || settling.generation != generation || settling.waiting.remove(&node).is_none() {
            return;
        }
        let as_told = |replica: Replica| {
            (replica.state, replica.generation, replica.length)
                == (ReplicaState::Finalized, generation, settling.length)
        };
        if answer.is_ok_and(as_told) {
            settling.settled.push(node);
        }
    }

    /// A chunk was committed.
    pub fn committed(&mut self, now: Duration, chunk: ChunkId) {
        if matches!(self.stage, Stage::Committing) {
            self.gone(now, chunk);
        }
    }

    /// A chunk needs no recovery any more: it was committed, dropped with what lay before it, or deleted.
    pub fn gone(&mut self, now: Duration, chunk: ChunkId) {
        if self.chunks.last().is_some_and(|current| current.chunk == chunk) {
            self.stage = Stage::Resting(now);
            (self.began, self.failures) = (now, 0);
            self.reason.clear();
        }
        self.chunks.retain(|open| open.chunk != chunk);
        if self.chunks.is_empty() && !matches!(self.stage, Stage::Over) {
            self.stage = Stage::Closing;
        }
    }

    /// A transaction for a chunk failed; a new attempt follows after a rest.
    pub fn failed(&mut self, now: Duration, chunk: ChunkId, why: &str) {
        let waiting = matches!(self.stage, Stage::Issuing | Stage::Committing);
        if waiting && self.chunks.last().is_some_and(|current| current.chunk == chunk) {
            self.rest(now, why.to_owned());
        }
    }

    /// The file needs no recovery any more: it was deleted, or another namenode does it.
    pub fn stop(&mut self) {
        self.chunks.clear();
        self.stage = Stage::Over;
    }

    /// What is to be done now; `state` gives the state of a node, `None` when it is unknown.
    pub fn poll(&mut self, now: Duration, state: impl Fn(NodeId) -> Option<NodeState>) -> Vec<RecoveryEffect> {
        let mut effects = Vec::new();
        let Some(current) = self.chunks.last().cloned() else {
            if !matches!(self.stage, Stage::Over) {
                self.stage = Stage::Over;
                effects.push(RecoveryEffect::Close);
            }
            return effects;
        };
        let chunk = current.chunk;
        match &mut self.stage {
            Stage::Resting(until) if *until <= now => {
                self.stage = Stage::Issuing;
                effects.push(RecoveryEffect::IssueGeneration(chunk));
            }
            Stage::Asking(asking) => {
                let generation = asking.generation;
                for node in due(&mut asking.waiting, &state) {
                    effects.push(RecoveryEffect::Recover { node, chunk, generation });
                }
                if asking.waiting.is_empty() || asking.deadline <= now {
                    self.decide(now, &current, &mut effects);
                }
            }
            Stage::Settling(settling) => {
                let Settling { generation, length, .. } = *settling;
                for node in due(&mut settling.waiting, &state) {
                    effects.push(RecoveryEffect::Settle { node, chunk, generation, length });
                }
                if settling.waiting.is_empty() || settling.deadline <= now {
                    let nodes = std::mem::take(&mut settling.settled);
                    if nodes.is_empty() {
                        self.rest(
                            now,
                            format!("none of the survivors of chunk {chunk} could be settled at {length} bytes"),
                        );
                    } else {
                        effects.push(self.commit(chunk, generation, length, nodes));
                    }
                }
            }
            Stage::Resting(_) | Stage::Issuing | Stage::Committing | Stage::Closing | Stage::Over => {}
        }
        effects
    }

    /// Whether there is nothing left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// When it goes on, if it rests after an attempt that led to nothing: until then nothing comes in and nothing is to be polled.
    #[must_use]
    pub fn rests_until(&self) -> Option<Duration> {
        match self.stage {
            Stage::Resting(until) if self.failures > 0 => Some(until),
            _ => None,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> RecoveryStatus {
        let chunk = self.chunks.last().map(|current| current.chunk);
        RecoveryStatus { chunk, failures: self.failures, reason: self.reason.clone() }
    }

    /// All that can be known is known: at which length does the chunk end?
    fn decide(&mut self, now: Duration, current: &OpenChunk, effects: &mut Vec<RecoveryEffect>) {
        let Stage::Asking(asking) = &mut self.stage else { return };
        let chunk = current.chunk;
        let (generation, without) = (asking.generation, asking.without);
        // Each live node has said what it holds.
        let told = asking.waiting.is_empty() && !asking.unsure;
        let mut heard = std::mem::take(&mut asking.replies);
        // In whatever order they came: equal answers lead to equal decisions.
        heard.sort_by_key(|(node, _)| *node);
        let all_answered = heard.len() + without == current.nodes.len();
        let waited = now >= self.began.saturating_add(self.settings.restarted_only);
        let counts = |(_, replica): &(NodeId, Replica)| {
            replica.generation >= current.generation && replica.length >= current.length
        };
        let counting: Vec<_> = heard.iter().copied().filter(counts).collect();
        let restarted_only = counting.iter().all(|(_, replica)| replica.state == ReplicaState::Rwr);
        let agreed = if current.cut { cut_to(&counting, current.length) } else { recovered_length(&counting) };
        match agreed {
            Some(_) if !current.cut && restarted_only && !all_answered && !waited => {
                self.rest(now, format!("only restarted nodes of chunk {chunk} can be reached"));
            }
            Some(Recovered { length: 0, .. }) => effects.push(self.commit(chunk, generation, 0, Vec::new())),
            Some(Recovered { length, nodes }) => {
                invariants::never_beyond_a_survivor(&counting, length, &nodes);
                self.stage = Stage::Settling(Settling {
                    generation,
                    length,
                    deadline: now.saturating_add(self.settings.reply_timeout),
                    waiting: nodes.iter().map(|&node| (node, true)).collect(),
                    settled: Vec::new(),
                });
                let settle = |node| RecoveryEffect::Settle { node, chunk, generation, length };
                effects.extend(nodes.into_iter().map(settle));
            }
            // A byte is acknowledged once every node of the pipeline has it, and these never had any: the writer went before it wrote. What a node had in memory
            // only may have gone with its power, so the others are given time to come back and say otherwise.
            None if heard.is_empty() && current.length == 0 && (all_answered || without > 0 && told && waited) => {
                effects.push(self.commit(chunk, generation, 0, Vec::new()));
            }
            None if counting.is_empty() => {
                let asked = current.nodes.len();
                self.rest(
                    now,
                    format!("no replica of chunk {chunk} was reached on its {asked} nodes; {without} hold none"),
                );
            }
            None => self.rest(now, format!("the finalized replicas of chunk {chunk} disagree about its length")),
        }
    }

    fn commit(&mut self, chunk: ChunkId, generation: Generation, length: u64, nodes: Vec<NodeId>) -> RecoveryEffect {
        self.stage = Stage::Committing;
        RecoveryEffect::Commit { chunk, generation, length, nodes }
    }

    fn rest(&mut self, now: Duration, reason: String) {
        let RecoverySettings { backoff_first, backoff_most, .. } = self.settings;
        let doubled = backoff_first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.reason = reason;
        self.stage = Stage::Resting(now.saturating_add(doubled.min(backoff_most)));
    }
}

/// The nodes to be asked now: live, and not asked over the present stream. Those that will not answer are let go.
fn due(waiting: &mut BTreeMap<NodeId, bool>, state: impl Fn(NodeId) -> Option<NodeState>) -> Vec<NodeId> {
    let mut due = Vec::new();
    waiting.retain(|&node, asked| match state(node) {
        Some(NodeState::Live) => {
            if !std::mem::replace(asked, true) {
                due.push(node);
            }
            true
        }
        // What it was asked may be lost with its stream: it is asked again when it is back.
        Some(NodeState::Expected | NodeState::Suspected) => {
            *asked = false;
            true
        }
        Some(NodeState::Dead) | None => false,
    });
    due
}

mod invariants {
    use super::{NodeId, Replica, ReplicaState, shown};

    /// Nobody is settled at more bytes than it has; and unless the chunk was finalized somewhere, nobody who counts has fewer, but for those who lack
    /// what another shows.
    pub(super) fn never_beyond_a_survivor(counting: &[(NodeId, Replica)], length: u64, nodes: &[NodeId]) {
        let settled = || counting.iter().filter(|(node, _)| nodes.contains(node));
        debug_assert!(!nodes.is_empty() && settled().count() == nodes.len(), "{nodes:?} of {counting:?}");
        debug_assert!(settled().all(|(_, replica)| replica.length >= length), "{length} bytes of {counting:?}");
        let rbw = || counting.iter().filter(|(_, replica)| replica.state == ReplicaState::Rbw);
        let finalized = counting.iter().any(|(_, replica)| replica.state == ReplicaState::Finalized);
        let shown = shown(rbw());
        debug_assert!(
            finalized || rbw().all(|(_, replica)| replica.length >= length || replica.length < shown),
            "{length} bytes of {counting:?}"
        );
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
