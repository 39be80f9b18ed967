//! Which copies and drops to order now.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use super::{
    ChunkHealth, CopyUnderWay, NodeRecord, Place, RepairEffect, RepairQueue, invariants, may_drop_corrupt, wants_copy,
};
use crate::cluster::Standing;
use crate::id::{ChunkId, NodeId};
use crate::placement::{ClusterView, PlaceRequest};

/// Chunks looked at in one poll for a copy that could start.
const LOOKS_A_POLL: usize = 2_048;
/// Questions to the policy in one poll.
const PLACEMENTS_A_POLL: usize = 128;
/// What came of trying to start a copy.
enum Attempt {
    Started(RepairEffect),
    /// All that could do it are busy.
    Busy,
    /// No node can take it.
    Starved,
}

impl RepairQueue {
    pub(super) fn start_copies(&mut self, view: &ClusterView, effects: &mut Vec<RepairEffect>) {
        // The riskiest ones first, every time; then on from where the last poll ended.
        let first = LOOKS_A_POLL / 8;
        let mut placements = PLACEMENTS_A_POLL;
        let end = self.look(view, None, first, &mut placements, effects);
        let from = match end {
            None => return self.looked = None,
            Some(end) => self.looked.filter(|&looked| looked > end).unwrap_or(end),
        };
        self.looked = self.look(view, Some(from), LOOKS_A_POLL - first, &mut placements, effects);
    }

    /// Looks at up to `looks` chunks after `from`; gives the last one looked at, `None` at the end of them all.
    fn look(
        &mut self,
        view: &ClusterView,
        mut from: Option<(usize, ChunkId)>,
        looks: usize,
        placements: &mut usize,
        effects: &mut Vec<RepairEffect>,
    ) -> Option<(usize, ChunkId)> {
        for _ in 0..looks {
            let after = from.map_or(Bound::Unbounded, Bound::Excluded);
            let &next = self.ready.range((after, Bound::Unbounded)).next()?;
            if *placements == 0 || !self.anyone_free() {
                return from.or(Some((0, ChunkId(0))));
            }
            match self.try_copy(next.1, view, placements) {
                // It may want another copy: it is looked at once more, unless that was all.
                Attempt::Started(effect) => effects.push(effect),
                Attempt::Busy => from = Some(next),
                Attempt::Starved => {
                    self.set_place(next.1, Place::Starved);
                    self.judge(next.1);
                    from = Some(next);
                }
            }
        }
        from
    }

    fn anyone_free(&self) -> bool {
        let certain = || self.nodes.values().filter(|node| node.standing == Standing::Certain);
        certain().any(|node| node.sends < self.settings.sends_per_node)
            && certain().any(|node| node.receives < self.settings.receives_per_node)
    }

    fn try_copy(&mut self, chunk: ChunkId, view: &ClusterView, placements: &mut usize) -> Attempt {
        let Some(entry) = self.entries.get(&chunk) else { return Attempt::Busy };
        let health = &entry.health;
        let assessment = self.assess(health);
        if !wants_copy(entry, assessment) {
            // A node changed since it was judged.
            self.judge(chunk);
            return Attempt::Busy;
        }
        let standing = |node: NodeId| self.nodes.get(&node).map_or(Standing::Away, |record| record.standing);
        let free =
            |node: NodeId| self.nodes.get(&node).is_some_and(|record| record.sends < self.settings.sends_per_node);
        let good = || health.replicas.iter().filter(|replica| !replica.corrupt).map(|replica| replica.node);
        let mut sources: Vec<_> = good().filter(|&node| standing(node) == Standing::Certain && free(node)).collect();
        if sources.is_empty() {
            return Attempt::Busy;
        }
        if sources.iter().any(|node| !entry.failed_sources.contains(node)) {
            sources.retain(|node| !entry.failed_sources.contains(node));
        }

        *placements = placements.saturating_sub(1);
        let existing: Vec<_> =
            good().filter(|&node| standing(node) != Standing::Lost).chain(entry.copying_to.iter().copied()).collect();
        let holders = health.replicas.iter().map(|replica| replica.node);
        let mut barred: Vec<_> = holders.filter(|node| !existing.contains(node)).collect();
        barred.extend(&health.excluded);
        barred.extend(entry.dropping);
        barred.extend(view.nodes.iter().map(|node| node.id).filter(|&node| standing(node) != Standing::Certain));
        let place = |more: &[NodeId]| {
            let excluded = [&barred[..], more].concat();
            let request =
                PlaceRequest { writer: None, existing: existing.clone(), excluded, count: 1, bytes: health.length };
            let named = self.policy.place(view, &request, &*self.random);
            named.into_iter().find(|node| !request.existing.contains(node) && !request.excluded.contains(node))
        };
        let mut failed = entry.failed_targets.clone();
        let mut wished = place(&failed);
        if wished.is_none() && !failed.is_empty() {
            failed.clear();
            wished = place(&failed);
        }
        let Some(wished) = wished else { return Attempt::Starved };
        let full = |record: &NodeRecord| record.receives >= self.settings.receives_per_node;
        failed.extend(self.nodes.iter().filter(|(_, record)| full(record)).map(|(&node, _)| node));
        let target = if failed.contains(&wished) { place(&failed) } else { Some(wished) };
        // A busy node is waited for when only it, or its like, gives the spread that is possible.
        let Some(target) = target.filter(|&target| spread(view, &existing, target) >= spread(view, &existing, wished))
        else {
            return Attempt::Busy;
        };
        match self.policy.source(view, &sources, Some(target), &*self.random).filter(|source| sources.contains(source))
        {
            Some(source) => Attempt::Started(self.start_copy(chunk, source, target)),
            None => Attempt::Busy,
        }
    }

    fn start_copy(&mut self, chunk: ChunkId, source: NodeId, target: NodeId) -> RepairEffect {
        let entry = self.entries.get_mut(&chunk).expect("the chunk was just looked at");
        let ChunkHealth { generation, length, .. } = entry.health;
        entry.copying_to.push(target);
        let allowed =
            Duration::from_secs(length / self.settings.copy_slowest.max(1)).saturating_add(self.settings.copy_base);
        let deadline = self.now.saturating_add(allowed);
        self.copies.insert((chunk, target), CopyUnderWay { source, deadline });
        if let Some(record) = self.nodes.get_mut(&source) {
            record.sends += 1;
        }
        if let Some(record) = self.nodes.get_mut(&target) {
            record.receives += 1;
        }
        self.judge(chunk);
        RepairEffect::Copy { chunk, generation, length, source, target }
    }

    pub(super) fn start_drops(&mut self, view: &ClusterView, effects: &mut Vec<RepairEffect>) {
        let room = self.settings.drops.saturating_sub(self.dropping.len());
        let chunks: Vec<_> = self.droppable.iter().take(room).copied().collect();
        for chunk in chunks {
            match self.choose_drop(chunk, view) {
                Some((node, effect)) => {
                    if let Some(entry) = self.entries.get_mut(&chunk) {
                        entry.dropping = Some(node);
                    }
                    self.dropping.insert((node, chunk), self.now.saturating_add(self.settings.drop_timeout));
                    effects.push(effect);
                }
                // A node changed since it was judged, or the policy names nothing that may go.
                None => self.rest(self.now, chunk),
            }
            self.judge(chunk);
        }
    }

    fn choose_drop(&self, chunk: ChunkId, view: &ClusterView) -> Option<(NodeId, RepairEffect)> {
        let entry = self.entries.get(&chunk)?;
        let health = &entry.health;
        let generation = health.generation;
        let assessment = self.assess(health);
        let certain = |corrupt: bool| {
            let replicas = health.replicas.iter().filter(move |replica| replica.corrupt == corrupt);
            replicas.map(|replica| replica.node).filter(|node| self.is_certain(*node)).collect::<Vec<_>>()
        };
        let mut keep = certain(false);
        if may_drop_corrupt(entry, assessment) {
            let node = *certain(true).first()?;
            invariants::drop_is_safe(health, node, &keep, 1);
            return Some((node, RepairEffect::DropCorrupt { chunk, generation, node, keep }));
        }
        if assessment.surplus() == 0 {
            return None;
        }
        let named = self.policy.surplus(view, &keep, 1, &*self.random);
        let node = named.into_iter().find(|node| keep.contains(node))?;
        keep.retain(|&kept| kept != node);
        invariants::drop_is_safe(health, node, &keep, health.target);
        Some((node, RepairEffect::DropSurplus { chunk, generation, node, keep }))
    }
}

/// How many domains the replicas lie in when `more` joins those on `existing`.
fn spread(view: &ClusterView, existing: &[NodeId], more: NodeId) -> usize {
    let nodes = existing.iter().copied().chain([more]);
    nodes.filter_map(|node| view.node(node)).map(|node| &node.domain).collect::<BTreeSet<_>>().len()
}
