//! What readers see: the rows in fjall, and over them the batches that are synced and not yet applied.

use std::sync::Arc;

use super::rows::RowSnapshot;
use crate::id::Version;
use crate::metadata::layer::{Layer, Writes};
use crate::metadata::log::RecordNumber;
use crate::metadata::stack::Stack;

/// More layers than this are merged: a read looks into each. A store that keeps up has one to three.
const MAX_LAYERS: usize = 12;

/// One moment of the store, all of it durable. Never changed, but replaced by the next one.
#[derive(Debug)]
pub(super) struct View {
    pub(super) version: Version,
    /// The last record whose writes are in `rows`.
    pub(super) applied: RecordNumber,
    pub(super) rows: Arc<RowSnapshot>,
    /// Oldest first.
    layers: Vec<Synced>,
}

/// Writes of records up to `last`.
#[derive(Clone, Debug)]
struct Synced {
    last: RecordNumber,
    writes: Arc<Writes>,
}

impl View {
    pub(super) fn new(version: Version, applied: RecordNumber, rows: RowSnapshot) -> Self {
        Self { version, applied, rows: Arc::new(rows), layers: Vec::new() }
    }

    /// After record `last` was synced.
    pub(super) fn synced(&self, last: RecordNumber, version: Version, writes: Arc<Writes>) -> Self {
        let mut layers = self.layers.clone();
        layers.push(Synced { last, writes });
        if layers.len() > MAX_LAYERS {
            merge_smallest(&mut layers);
        }
        Self { version, applied: self.applied, rows: Arc::clone(&self.rows), layers }
    }

    /// After everything up to record `applied` came into `rows`. A layer that is only partly there stays: it says the
    /// same, and more.
    pub(super) fn applied(&self, applied: RecordNumber, rows: RowSnapshot) -> Self {
        let layers = self.layers.iter().filter(|layer| layer.last > applied).cloned().collect();
        Self { version: self.version, applied, rows: Arc::new(rows), layers }
    }

    pub(super) fn stack(&self) -> Stack<'_> {
        let layers = self.layers.iter().rev().map(|layer| &*layer.writes as &dyn Layer);
        Stack(layers.chain([&*self.rows as &dyn Layer]).collect())
    }
}

/// Merges the two neighbours that cost least, so that a long queue costs each write a logarithm of merges.
fn merge_smallest(layers: &mut Vec<Synced>) {
    let cost = |at: &usize| layers[*at].writes.count() + layers[*at + 1].writes.count();
    let Some(at) = (0..layers.len().saturating_sub(1)).min_by_key(cost) else { return };
    let newer = layers.remove(at + 1);
    let older = &mut layers[at];
    let mut merged = Writes::clone(&older.writes);
    merged.overlay(&newer.writes);
    *older = Synced { last: newer.last, writes: Arc::new(merged) };
}
