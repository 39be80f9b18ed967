//! The repair queue: which replicas to make and which to drop.

mod health;
mod invariants;
mod orders;
mod scans;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::health::Assessment;
pub use self::health::{ChunkHealth, HeldReplica};
use self::scans::Scans;
pub use self::scans::{Scan, ScanPage};
use super::{NodeChange, NodeState, Standing};
use crate::env::Random;
use crate::id::{ChunkId, Generation, NodeId};
use crate::placement::{ClusterView, ReplicationPolicy};

/// How hard repair works. More at once restores the replicas sooner and leaves less of the disks and the network to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepairSettings {
    /// Copies that one node sends at once.
    pub sends_per_node: usize,
    /// Copies that one node receives at once.
    pub receives_per_node: usize,
    /// Deletions under way at once, in the whole cluster.
    pub drops: usize,
    /// How long a chunk rests after its first failed copy; twice as long after each further one.
    pub backoff_first: Duration,
    /// How long it rests at most.
    pub backoff_most: Duration,
    /// How often chunks that no node can take are looked at again, beside whenever a node joins or returns.
    pub starved_interval: Duration,
    /// Between two pages of scans that nothing waits for.
    pub leisure_interval: Duration,
    /// How long a copy may take whatever its length.
    pub copy_base: Duration,
    /// The rate, in bytes a second, below which a copy is given up, on top of `copy_base`.
    pub copy_slowest: u64,
    /// How long a deletion is waited for before its place is given to another; it stays owed by the rows.
    pub drop_timeout: Duration,
    /// Chunks in one page of a scan.
    pub page: usize,
}

impl Default for RepairSettings {
    fn default() -> Self {
        Self {
            sends_per_node: 2,
            receives_per_node: 2,
            drops: 64,
            backoff_first: Duration::from_millis(250),
            backoff_most: Duration::from_secs(5),
            starved_interval: Duration::from_secs(5),
            leisure_interval: Duration::from_millis(100),
            copy_base: Duration::from_secs(20),
            copy_slowest: 2 << 20,
            drop_timeout: Duration::from_secs(30),
            page: 1_000,
        }
    }
}

/// Chunks judged anew in one poll, so that the loss or return of a large node stalls nothing.
const RECHECKS_A_POLL: usize = 8_192;
/// Chunks whose rows are being read at once.
const LOADS_AT_ONCE: usize = 64;

/// What the namenode is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairEffect {
    /// Read the rows of a chunk and answer by [`RepairQueue::health`], [`RepairQueue::gone`] or [`RepairQueue::load_failed`].
    LoadChunk(ChunkId),
    /// Read a page, of at most `limit` chunks from `from` on, and answer by [`RepairQueue::page`] or [`RepairQueue::page_failed`].
    ReadPage {
        /// Of what.
        scan: Scan,
        /// The first chunk id that may be in it.
        from: ChunkId,
        /// How many chunks at most.
        limit: usize,
    },
    /// Have `source` copy the chunk to `target`. When it is done, **first** record the replica, **then** answer by
    /// [`RepairQueue::copy_finished`]; or else by [`RepairQueue::copy_failed`].
    Copy {
        /// The chunk.
        chunk: ChunkId,
        /// Its committed generation.
        generation: Generation,
        /// Its length, in bytes.
        length: u64,
        /// Who sends.
        source: NodeId,
        /// Who receives.
        target: NodeId,
    },
    /// Drop one replica of which there are too many. One transaction must find every node of `keep` still named with a good replica, and the target no
    /// larger than their number, before it removes the replica's row and leaves a garbage row. Answer by [`RepairQueue::dropped`] when the datanode has
    /// deleted it, or by [`RepairQueue::drop_failed`].
    DropSurplus {
        /// The chunk.
        chunk: ChunkId,
        /// Replicas of this generation and older ones go.
        generation: Generation,
        /// Where it is dropped.
        node: NodeId,
        /// The good replicas that justify it.
        keep: Vec<NodeId>,
    },
    /// Drop a corrupt replica. As [`RepairEffect::DropSurplus`]; `keep` may be fewer than the target where the cluster has no other node to
    /// hold a new copy, and is never empty.
    DropCorrupt {
        /// The chunk.
        chunk: ChunkId,
        /// Replicas of this generation and older ones go.
        generation: Generation,
        /// Where it is dropped.
        node: NodeId,
        /// The good replicas that justify it.
        keep: Vec<NodeId>,
    },
}

/// The counts for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairCounts {
    /// Committed chunks with fewer certain live replicas than their target, also while a node is only suspected.
    pub under_replicated: u64,
    /// Committed chunks with no good replica on a live node.
    pub missing: u64,
    /// Chunks with a replica known to be corrupt.
    pub corrupt: u64,
    /// Chunks with more certain replicas than their target.
    pub over_replicated: u64,
    /// Copies under way.
    pub repairing: u64,
    /// The counts above are whole: the owed rows have been read, every node was heard from or given up, and the chunks of those that are not
    /// there have been counted.
    pub complete: bool,
}

/// The chunks that need work, and what is being done for them.
///
/// **Inputs** are the methods; **effects** come from [`RepairQueue::poll`], which is to be called after inputs and on every tick. Hand in every
/// [`NodeChange`], and the [`ChunkHealth`] of every chunk that commits, gains, loses or condemns a replica, or changes its target, after the
/// transaction; what needs no work is not kept. Nothing is counted as done because it was ordered: only rows that were read again say so.
///
/// Memory is bounded by the number of chunks that need work, some 300 bytes each: after the loss of a node that is every chunk it held.
///
/// **What it decides.** Copies start by risk: the chunks with one certain replica first, then those with two, and so on. A chunk with none waits
/// for a node to come back; nothing of it is deleted. What a suspected node holds is counted as lacking but not copied; that starts when the
/// node is lost, and ends where it returns. A chunk that lacks a replica nobody could bring back (it was written with too few, or one is
/// corrupt) is copied at once. Sources and targets are certain nodes, each with a bounded number of copies at once.
#[derive(Debug)]
pub struct RepairQueue {
    settings: RepairSettings,
    policy: Arc<dyn ReplicationPolicy>,
    random: Arc<dyn Random>,
    nodes: BTreeMap<NodeId, NodeRecord>,
    entries: HashMap<ChunkId, Entry>,
    /// The chunks of `entries` that a node has something to do with.
    by_node: BTreeMap<NodeId, BTreeSet<ChunkId>>,
    /// To be judged anew, since a node that holds a replica changed.
    rechecks: VecDeque<ChunkId>,
    /// Copies could start, by risk.
    ready: BTreeSet<(usize, ChunkId)>,
    /// Where the last look at `ready` ended, so that a long run of chunks that must wait hides nothing behind it.
    looked: Option<(usize, ChunkId)>,
    /// Resting after a failure until the time given.
    resting: BTreeSet<(Duration, ChunkId)>,
    /// The latest time that an input gave.
    now: Duration,
    /// No node can take a copy.
    starved: BTreeSet<ChunkId>,
    starved_at: Duration,
    /// Something may be dropped.
    droppable: BTreeSet<ChunkId>,
    /// The drops under way, and when each is given up.
    dropping: BTreeMap<(NodeId, ChunkId), Duration>,
    copies: BTreeMap<(ChunkId, NodeId), CopyUnderWay>,
    /// To be read again before anything is done for them.
    loads: BTreeSet<ChunkId>,
    loads_at: Duration,
    loading: BTreeSet<ChunkId>,
    scans: Scans,
    counts: RepairCounts,
}

#[derive(Clone, Copy, Debug)]
struct NodeRecord {
    standing: Standing,
    live: bool,
    /// It was heard from or given up since the start.
    settled: bool,
    /// Its chunks have been looked at for surplus, or are in line for it, since it was last lost.
    audited: bool,
    sends: usize,
    receives: usize,
}

#[derive(Debug)]
struct Entry {
    health: ChunkHealth,
    assessment: Assessment,
    place: Place,
    /// It stands in `rechecks`.
    rechecking: bool,
    /// Copies that were reported as finished and are not in the rows that have been read.
    expecting: Vec<NodeId>,
    copying_to: Vec<NodeId>,
    dropping: Option<NodeId>,
    failures: u32,
    failed_sources: Vec<NodeId>,
    failed_targets: Vec<NodeId>,
    rest_until: Duration,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing can be started for it.
    Idle,
    Ready(usize),
    Resting(Duration),
    Starved,
}

#[derive(Clone, Copy, Debug)]
struct CopyUnderWay {
    source: NodeId,
    deadline: Duration,
}

// Inputs.

impl RepairQueue {
    /// An empty queue, which begins by asking for the owed rows.
    #[must_use]
    pub fn new(settings: RepairSettings, policy: Arc<dyn ReplicationPolicy>, random: Arc<dyn Random>) -> Self {
        Self {
            settings,
            policy,
            random,
            nodes: BTreeMap::new(),
            entries: HashMap::new(),
            by_node: BTreeMap::new(),
            rechecks: VecDeque::new(),
            ready: BTreeSet::new(),
            looked: None,
            resting: BTreeSet::new(),
            now: Duration::ZERO,
            starved: BTreeSet::new(),
            starved_at: Duration::ZERO,
            droppable: BTreeSet::new(),
            dropping: BTreeMap::new(),
            copies: BTreeMap::new(),
            loads: BTreeSet::new(),
            loads_at: Duration::ZERO,
            loading: BTreeSet::new(),
            scans: Scans::new(),
            counts: RepairCounts::default(),
        }
    }

    /// A node changed: every change that [`Nodes`](super::Nodes) reports, also those of expected nodes at the start.
    pub fn node_changed(&mut self, now: Duration, change: NodeChange) {
        self.now = self.now.max(now);
        let NodeChange { node, state, standing } = change;
        let fresh =
            NodeRecord { standing: Standing::Away, live: false, settled: false, audited: false, sends: 0, receives: 0 };
        let record = self.nodes.entry(node).or_insert(fresh);
        let was = *record;
        record.standing = standing;
        record.live = state == NodeState::Live;
        match standing {
            Standing::Certain => {
                record.settled = true;
                record.audited = true;
                if was.standing != Standing::Certain {
                    self.scans.forget(node);
                    if !was.audited {
                        // It may hold what has been made anew elsewhere meanwhile, in this life of the namenode or in one before.
                        self.scans.at_leisure(node);
                    }
                    self.wake_starved();
                }
            }
            Standing::Away | Standing::Lost => {
                if standing == Standing::Lost {
                    record.audited = false;
                }
                // Until a new namenode has heard of a node or given it up, all its chunks would seem to lack a replica.
                let given_up = !was.settled && state == NodeState::Dead;
                record.settled |= given_up;
                if (was.standing == Standing::Certain || given_up) && self.scans.urgent(node) {
                    record.audited = false;
                }
                // Orders that it had may be lost with its stream.
                self.fail_copies_of(now, node);
                self.forget_drops_on(node);
            }
        }
        self.recheck_node(node);
        self.debug_check();
    }

    /// What the rows say of a chunk now. An older reading than the one at hand is ignored.
    pub fn health(&mut self, now: Duration, health: ChunkHealth) {
        self.now = self.now.max(now);
        let chunk = health.chunk;
        self.loading.remove(&chunk);
        if health.writing {
            self.gone(chunk);
            return;
        }
        match self.entries.get_mut(&chunk) {
            Some(entry) if health.version < entry.health.version => {}
            Some(entry) => {
                let old = std::mem::replace(&mut entry.health, health);
                for replica in &old.replicas {
                    unlink(&mut self.by_node, replica.node, chunk);
                }
                self.link(chunk);
                self.settle_expected(now, chunk);
                self.wake(chunk);
            }
            None => {
                let entry = Entry {
                    health,
                    assessment: Assessment::default(),
                    place: Place::Idle,
                    rechecking: false,
                    expecting: Vec::new(),
                    copying_to: Vec::new(),
                    dropping: None,
                    failures: 0,
                    failed_sources: Vec::new(),
                    failed_targets: Vec::new(),
                    rest_until: Duration::ZERO,
                };
                if !self.assess(&entry.health).needs_work() {
                    return;
                }
                self.entries.insert(chunk, entry);
                self.link(chunk);
            }
        }
        self.judge(chunk);
        self.debug_check();
    }

    /// A chunk whose rows changed in a way that the caller has not at hand: they will be asked for.
    pub fn touched(&mut self, chunk: ChunkId) {
        // Also when it is being read: that reading may have come before the change.
        self.loads.insert(chunk);
        self.judge(chunk);
    }

    /// A chunk that no longer exists, or that a writer has taken up again.
    pub fn gone(&mut self, chunk: ChunkId) {
        self.loading.remove(&chunk);
        let Some(entry) = self.entries.remove(&chunk) else { return };
        self.take_from_place(chunk, entry.place);
        self.droppable.remove(&chunk);
        self.discount(entry.assessment);
        for node in entry.health.replicas.iter().map(|replica| replica.node) {
            unlink(&mut self.by_node, node, chunk);
        }
        for target in entry.copying_to {
            self.release(chunk, target);
        }
        if let Some(node) = entry.dropping {
            self.dropping.remove(&(node, chunk));
        }
        self.debug_check();
    }

    /// The rows of a chunk could not be read: they will be asked for again.
    pub fn load_failed(&mut self, now: Duration, chunk: ChunkId) {
        self.loading.remove(&chunk);
        self.loads.insert(chunk);
        self.loads_at = now.saturating_add(self.settings.backoff_first);
    }

    /// A page was read.
    pub fn page(&mut self, now: Duration, page: ScanPage) {
        for health in page.chunks {
            self.health(now, health);
        }
        self.scans.read(page.scan, page.from, page.next);
    }

    /// A page could not be read: it will be asked for again.
    pub fn page_failed(&mut self, now: Duration, scan: Scan, from: ChunkId) {
        self.scans.failed(now, scan, from, &self.settings);
    }

    /// A copy is done and recorded. It counts when the rows, read once more, name it.
    pub fn copy_finished(&mut self, chunk: ChunkId, target: NodeId) {
        if self.release(chunk, target).is_some()
            && let Some(entry) = self.entries.get_mut(&chunk)
        {
            entry.copying_to.retain(|&node| node != target);
            entry.expecting.push(target);
        }
        self.touched(chunk);
        self.debug_check();
    }

    /// A copy failed: another source and another target will be tried, after a rest.
    pub fn copy_failed(&mut self, now: Duration, chunk: ChunkId, target: NodeId) {
        let Some(copy) = self.release(chunk, target) else { return };
        let Some(entry) = self.entries.get_mut(&chunk) else { return };
        entry.copying_to.retain(|&node| node != target);
        // Which of the two is to blame cannot be told from here.
        entry.failed_sources.push(copy.source);
        entry.failed_targets.push(target);
        self.rest(now, chunk);
        self.debug_check();
    }

    /// A datanode has deleted a replica, whoever wanted it, and the row that named it as garbage is gone.
    pub fn dropped(&mut self, chunk: ChunkId, node: NodeId) {
        if self.dropping.remove(&(node, chunk)).is_some() {
            self.end_drop(chunk);
            // Whatever was wrong with this node for the chunk is over: it may take a copy again.
            if let Some(entry) = self.entries.get_mut(&chunk) {
                entry.failed_targets.retain(|&failed| failed != node);
                entry.failures = 0;
            }
        }
        // Also a chunk that needs work for another reason may now be copied to the node. Others are nobody's concern: a
        // deleted file of many chunks costs no reading.
        if self.entries.contains_key(&chunk) || self.loading.contains(&chunk) {
            self.touched(chunk);
        }
        self.debug_check();
    }

    /// A replica was not dropped: the rows did not allow it, or the datanode did not do it. They are read again.
    pub fn drop_failed(&mut self, now: Duration, chunk: ChunkId, node: NodeId) {
        if self.dropping.remove(&(node, chunk)).is_some() {
            self.end_drop(chunk);
            self.rest(now, chunk);
        }
        self.touched(chunk);
        self.debug_check();
    }
}

// Effects.

impl RepairQueue {
    /// What is to be done now. Each call does a bounded amount of work.
    pub fn poll(&mut self, now: Duration, view: &ClusterView) -> Vec<RepairEffect> {
        self.now = self.now.max(now);
        self.recheck_some();
        self.give_up_slow_orders();
        self.wake_rested();
        let mut effects = Vec::new();
        self.read_rows(&mut effects);
        self.start_copies(view, &mut effects);
        self.start_drops(view, &mut effects);
        self.debug_check();
        effects
    }

    /// The counts for the report.
    #[must_use]
    pub fn counts(&self) -> RepairCounts {
        RepairCounts {
            repairing: self.copies.len() as u64,
            complete: self.scans.counted() && self.rechecks.is_empty() && self.nodes.values().all(|node| node.settled),
            ..self.counts
        }
    }

    fn recheck_some(&mut self) {
        for _ in 0..RECHECKS_A_POLL {
            let Some(chunk) = self.rechecks.pop_front() else { return };
            if let Some(entry) = self.entries.get_mut(&chunk) {
                entry.rechecking = false;
                self.judge(chunk);
            }
        }
    }

    fn give_up_slow_orders(&mut self) {
        let now = self.now;
        let slow = self.copies.iter().filter(|(_, copy)| copy.deadline <= now).map(|(&key, _)| key);
        for (chunk, target) in slow.collect::<Vec<_>>() {
            self.copy_failed(now, chunk, target);
        }
        let slow = self.dropping.iter().filter(|(_, deadline)| **deadline <= now).map(|(&key, _)| key);
        for (node, chunk) in slow.collect::<Vec<_>>() {
            self.drop_failed(now, chunk, node);
        }
    }

    fn wake_rested(&mut self) {
        for _ in 0..RECHECKS_A_POLL {
            match self.resting.first() {
                Some(&(until, chunk)) if until <= self.now => {
                    self.wake(chunk);
                    self.judge(chunk);
                }
                _ => break,
            }
        }
        if self.now >= self.starved_at {
            self.starved_at = self.now.saturating_add(self.settings.starved_interval);
            self.wake_starved();
        }
    }

    fn read_rows(&mut self, effects: &mut Vec<RepairEffect>) {
        if self.now >= self.loads_at {
            let room = LOADS_AT_ONCE.saturating_sub(self.loading.len());
            let next: Vec<_> =
                self.loads.iter().filter(|chunk| !self.loading.contains(chunk)).take(room).copied().collect();
            for chunk in next {
                self.loads.remove(&chunk);
                self.loading.insert(chunk);
                effects.push(RepairEffect::LoadChunk(chunk));
            }
        }
        if let Some((scan, from)) = self.scans.next(self.now, &self.settings) {
            effects.push(RepairEffect::ReadPage { scan, from, limit: self.settings.page });
        }
    }
}

// State.

impl RepairQueue {
    fn is_certain(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|record| record.standing == Standing::Certain)
    }

    fn assess(&self, health: &ChunkHealth) -> Assessment {
        Assessment::of(health, |node| {
            self.nodes.get(&node).map_or((Standing::Away, false), |record| (record.standing, record.live))
        })
    }

    /// Looks at a chunk anew: counts it, and puts it where it belongs now, which may be nowhere.
    fn judge(&mut self, chunk: ChunkId) {
        let Some(entry) = self.entries.get(&chunk) else { return };
        let assessment = self.assess(&entry.health);
        let busy = !entry.copying_to.is_empty() || entry.dropping.is_some() || !entry.expecting.is_empty();
        if !assessment.needs_work() && !busy {
            self.gone(chunk);
            return;
        }
        let stale = self.loads.contains(&chunk) || self.loading.contains(&chunk);
        let copy = !stale && wants_copy(entry, assessment);
        let drop = !stale && wants_drop(entry, assessment);
        let place = match entry.place {
            _ if !copy && !drop => Place::Idle,
            _ if entry.rest_until > self.now => Place::Resting(entry.rest_until),
            _ if !copy => Place::Idle,
            Place::Starved => Place::Starved,
            _ => Place::Ready(assessment.certain),
        };
        let drop = drop && !matches!(place, Place::Resting(_));
        let old = entry.assessment;
        self.discount(old);
        self.count(assessment);
        if let Some(entry) = self.entries.get_mut(&chunk) {
            entry.assessment = assessment;
        }
        self.set_place(chunk, place);
        if drop {
            self.droppable.insert(chunk);
        } else {
            self.droppable.remove(&chunk);
        }
    }

    fn set_place(&mut self, chunk: ChunkId, place: Place) {
        let Some(entry) = self.entries.get_mut(&chunk) else { return };
        let old = std::mem::replace(&mut entry.place, place);
        if old == place {
            return;
        }
        self.take_from_place(chunk, old);
        match place {
            Place::Idle => {}
            Place::Ready(risk) => {
                self.ready.insert((risk, chunk));
            }
            Place::Resting(until) => {
                self.resting.insert((until, chunk));
            }
            Place::Starved => {
                self.starved.insert(chunk);
            }
        }
    }

    fn take_from_place(&mut self, chunk: ChunkId, place: Place) {
        match place {
            Place::Idle => {}
            Place::Ready(risk) => {
                self.ready.remove(&(risk, chunk));
            }
            Place::Resting(until) => {
                self.resting.remove(&(until, chunk));
            }
            Place::Starved => {
                self.starved.remove(&chunk);
            }
        }
    }

    /// Takes a chunk out of rest and starvation; it is to be judged next.
    fn wake(&mut self, chunk: ChunkId) {
        self.set_place(chunk, Place::Idle);
    }

    /// Something may have room now: starved chunks are looked at again, in bounded steps.
    fn wake_starved(&mut self) {
        for chunk in std::mem::take(&mut self.starved) {
            if let Some(entry) = self.entries.get_mut(&chunk) {
                entry.place = Place::Idle;
                if !entry.health.excluded.is_empty() {
                    // What kept a node from taking it may be over since it was read.
                    self.loads.insert(chunk);
                }
                if !std::mem::replace(&mut entry.rechecking, true) {
                    self.rechecks.push_back(chunk);
                }
            }
        }
    }

    fn recheck_node(&mut self, node: NodeId) {
        for &chunk in self.by_node.get(&node).into_iter().flatten() {
            if let Some(entry) = self.entries.get_mut(&chunk)
                && !std::mem::replace(&mut entry.rechecking, true)
            {
                self.rechecks.push_back(chunk);
            }
        }
    }

    /// Lets a chunk rest after a failure, twice as long each time.
    fn rest(&mut self, now: Duration, chunk: ChunkId) {
        self.now = self.now.max(now);
        let RepairSettings { backoff_first, backoff_most, .. } = self.settings;
        if let Some(entry) = self.entries.get_mut(&chunk) {
            let doubled = backoff_first.saturating_mul(1 << entry.failures.min(16));
            entry.failures = entry.failures.saturating_add(1);
            entry.rest_until = self.now.saturating_add(doubled.min(backoff_most));
            self.judge(chunk);
        }
    }

    /// After the rows were read: are the copies there that were said to be?
    fn settle_expected(&mut self, now: Duration, chunk: ChunkId) {
        if self.loads.contains(&chunk) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&chunk).filter(|entry| !entry.expecting.is_empty()) else { return };
        let expected = std::mem::take(&mut entry.expecting);
        let named = |node: &NodeId| entry.health.replicas.iter().any(|replica| replica.node == *node);
        if expected.iter().all(named) {
            (entry.failures, entry.rest_until) = (0, Duration::ZERO);
            entry.failed_sources.clear();
            entry.failed_targets.clear();
        } else {
            entry.failed_targets.extend(expected);
            self.rest(now, chunk);
        }
    }

    fn fail_copies_of(&mut self, now: Duration, node: NodeId) {
        let concerned = self.copies.iter().filter(|((_, target), copy)| *target == node || copy.source == node);
        for (chunk, target) in concerned.map(|(&key, _)| key).collect::<Vec<_>>() {
            self.copy_failed(now, chunk, target);
        }
    }

    /// The rows decide what becomes of drops on a node that went away: they are read again.
    fn forget_drops_on(&mut self, node: NodeId) {
        let concerned = self.dropping.range((node, ChunkId(0))..=(node, ChunkId(u64::MAX)));
        for (node, chunk) in concerned.map(|(&key, _)| key).collect::<Vec<_>>() {
            self.dropping.remove(&(node, chunk));
            self.end_drop(chunk);
            self.touched(chunk);
        }
    }

    fn end_drop(&mut self, chunk: ChunkId) {
        if let Some(entry) = self.entries.get_mut(&chunk) {
            entry.dropping = None;
        }
    }

    /// Ends a copy for the books of its two nodes.
    fn release(&mut self, chunk: ChunkId, target: NodeId) -> Option<CopyUnderWay> {
        let copy = self.copies.remove(&(chunk, target))?;
        if let Some(record) = self.nodes.get_mut(&copy.source) {
            record.sends -= 1;
        }
        if let Some(record) = self.nodes.get_mut(&target) {
            record.receives -= 1;
        }
        Some(copy)
    }

    fn link(&mut self, chunk: ChunkId) {
        let Some(entry) = self.entries.get(&chunk) else { return };
        for replica in &entry.health.replicas {
            self.by_node.entry(replica.node).or_default().insert(chunk);
        }
    }

    fn count(&mut self, assessment: Assessment) {
        self.counts.under_replicated += u64::from(assessment.is_under());
        self.counts.missing += u64::from(assessment.is_missing());
        self.counts.corrupt += u64::from(assessment.is_corrupt());
        self.counts.over_replicated += u64::from(assessment.is_over());
    }

    fn discount(&mut self, assessment: Assessment) {
        self.counts.under_replicated -= u64::from(assessment.is_under());
        self.counts.missing -= u64::from(assessment.is_missing());
        self.counts.corrupt -= u64::from(assessment.is_corrupt());
        self.counts.over_replicated -= u64::from(assessment.is_over());
    }
}

fn unlink(by_node: &mut BTreeMap<NodeId, BTreeSet<ChunkId>>, node: NodeId, chunk: ChunkId) {
    if let Some(chunks) = by_node.get_mut(&node) {
        chunks.remove(&chunk);
        if chunks.is_empty() {
            by_node.remove(&node);
        }
    }
}

fn wants_copy(entry: &Entry, assessment: Assessment) -> bool {
    assessment.certain > 0 && assessment.copies() > entry.copying_to.len() + entry.expecting.len()
}

/// A corrupt replica goes when its file's target is met without it; or when no other node can hold the copy that would meet
/// it, since the node that holds the corrupt one can do so once that is gone.
fn may_drop_corrupt(entry: &Entry, assessment: Assessment) -> bool {
    let no_other_place = entry.place == Place::Starved && assessment.corrupt_here > 0 && assessment.certain > 0;
    assessment.may_drop_corrupt() || no_other_place
}

fn wants_drop(entry: &Entry, assessment: Assessment) -> bool {
    let idle = entry.dropping.is_none() && entry.copying_to.is_empty() && entry.expecting.is_empty();
    idle && (may_drop_corrupt(entry, assessment) || assessment.surplus() > 0)
}

#[cfg(test)]
mod tests;
