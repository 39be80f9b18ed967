//! What always holds in a repair queue, checked by debug assertions and by tests.

use std::collections::BTreeMap;

use super::{ChunkHealth, Place, RepairCounts, RepairQueue};
use crate::id::NodeId;

/// Beyond so many chunks the checks after each input would make tests quadratic; those that need them call them.
const CHECKED_CHUNKS: usize = 64;

impl RepairQueue {
    /// Checks everything, in debug builds, where that is cheap.
    pub(super) fn debug_check(&self) {
        if cfg!(debug_assertions) && self.entries.len() <= CHECKED_CHUNKS {
            self.check();
        }
    }

    /// Checks everything.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub(in crate::cluster) fn check(&self) {
        self.counts_add_up();
        self.places_agree();
        self.throttles_hold();
        self.nothing_is_idle_in_memory();
    }

    /// The counts are the sums over the chunks in memory.
    fn counts_add_up(&self) {
        let mut sum = RepairCounts::default();
        for entry in self.entries.values() {
            sum.under_replicated += u64::from(entry.assessment.is_under());
            sum.missing += u64::from(entry.assessment.is_missing());
            sum.corrupt += u64::from(entry.assessment.is_corrupt());
            sum.over_replicated += u64::from(entry.assessment.is_over());
        }
        assert_eq!(sum, self.counts, "the counts do not add up");
    }

    /// A chunk stands in the queue that it says it stands in, and in no other; the index by node knows it.
    fn places_agree(&self) {
        let standing = |place: fn(&Place) -> bool| self.entries.values().filter(|entry| place(&entry.place)).count();
        assert_eq!(self.ready.len(), standing(|place| matches!(place, Place::Ready(_))), "ready");
        assert_eq!(self.resting.len(), standing(|place| matches!(place, Place::Resting(_))), "resting");
        assert_eq!(self.starved.len(), standing(|place| matches!(place, Place::Starved)), "starved");
        for (chunk, entry) in &self.entries {
            let there = match entry.place {
                Place::Idle => true,
                Place::Ready(risk) => self.ready.contains(&(risk, *chunk)),
                Place::Resting(until) => self.resting.contains(&(until, *chunk)),
                Place::Starved => self.starved.contains(chunk),
            };
            assert!(there, "chunk {chunk} does not stand where it says: {:?}", entry.place);
            for replica in &entry.health.replicas {
                let known = self.by_node.get(&replica.node).is_some_and(|chunks| chunks.contains(chunk));
                assert!(known, "chunk {chunk} is not known by its node {}", replica.node);
            }
        }
        assert!(self.droppable.iter().all(|chunk| self.entries.contains_key(chunk)), "an unknown chunk is droppable");
    }

    /// No node sends or receives more than it may, and the books of the nodes agree with the copies.
    fn throttles_hold(&self) {
        let (mut sends, mut receives) = (BTreeMap::<NodeId, usize>::new(), BTreeMap::<NodeId, usize>::new());
        for ((chunk, target), copy) in &self.copies {
            *sends.entry(copy.source).or_default() += 1;
            *receives.entry(*target).or_default() += 1;
            let known = self.entries.get(chunk).is_some_and(|entry| entry.copying_to.contains(target));
            assert!(known, "chunk {chunk} does not know of its copy to {target}");
        }
        for (node, record) in &self.nodes {
            assert_eq!(record.sends, sends.get(node).copied().unwrap_or(0), "node {node} sends");
            assert_eq!(record.receives, receives.get(node).copied().unwrap_or(0), "node {node} receives");
            assert!(record.sends <= self.settings.sends_per_node, "node {node} sends too much");
            assert!(record.receives <= self.settings.receives_per_node, "node {node} receives too much");
        }
        assert!(self.dropping.len() <= self.settings.drops, "too many drops at once");
        for (node, chunk) in self.dropping.keys() {
            let known = self.entries.get(chunk).is_some_and(|entry| entry.dropping == Some(*node));
            assert!(known, "chunk {chunk} does not know of its drop on {node}");
        }
    }

    /// What is in memory needs work, or work is under way for it, or it waits to be judged anew.
    fn nothing_is_idle_in_memory(&self) {
        for (chunk, entry) in &self.entries {
            let busy = !entry.copying_to.is_empty() || entry.dropping.is_some() || !entry.expecting.is_empty();
            assert!(entry.assessment.needs_work() || busy || entry.rechecking, "chunk {chunk} is kept for nothing");
        }
    }
}

/// A drop leaves at least `least` good replicas, none of them on the node that it is about.
pub(super) fn drop_is_safe(health: &ChunkHealth, node: NodeId, keep: &[NodeId], least: usize) {
    let good = |node: &NodeId| health.replicas.iter().any(|replica| replica.node == *node && !replica.corrupt);
    debug_assert!(!keep.contains(&node), "chunk {}: {node} is to be dropped and kept", health.chunk);
    debug_assert!(keep.iter().all(good), "chunk {}: {keep:?} are not all good", health.chunk);
    debug_assert!(keep.len() >= least.max(1), "chunk {}: {keep:?} would not be enough", health.chunk);
}
