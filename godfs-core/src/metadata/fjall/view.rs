//! What readers see: the rows in fjall, and over them the batches that are synced and not yet applied.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::cache::RowCache;
use super::rows::RowSnapshot;
use crate::error::Result;
use crate::id::Version;
use crate::metadata::layer::{Found, Layer, Rows, Writes};
use crate::metadata::log::RecordNumber;
use crate::metadata::stack::Stack;
use crate::metadata::{Abort, Range, Row, Snapshot, Space, Step};

/// More layers than this are merged: a read looks into each. A store that keeps up has one to three.
const MAX_LAYERS: usize = 12;

/// One moment of the store, all of it durable. Never changed, but replaced by the next one.
#[derive(Debug)]
pub(super) struct View {
    pub(super) version: Version,
    pub(super) base: Base,
    /// Oldest first.
    layers: Vec<Synced>,
}

/// What is applied.
#[derive(Clone)]
pub(super) struct Base {
    /// The last record whose writes are in `rows`.
    pub(super) applied: RecordNumber,
    rows: Arc<RowSnapshot>,
    cache: Arc<RowCache>,
}

/// Writes of records up to `last`.
#[derive(Clone, Debug)]
struct Synced {
    last: RecordNumber,
    writes: Arc<Writes>,
}

impl View {
    pub(super) fn new(version: Version, applied: RecordNumber, rows: RowSnapshot, cache: Arc<RowCache>) -> Self {
        Self { version, base: Base { applied, rows: Arc::new(rows), cache }, layers: Vec::new() }
    }

    /// After record `last` was synced.
    pub(super) fn synced(&self, last: RecordNumber, version: Version, writes: Arc<Writes>) -> Self {
        let mut layers = self.layers.clone();
        layers.push(Synced { last, writes });
        if layers.len() > MAX_LAYERS {
            merge_smallest(&mut layers);
        }
        Self { version, base: self.base.clone(), layers }
    }

    /// After everything up to record `applied` came into `rows`. A layer that is only partly there stays: it says the
    /// same, and more.
    pub(super) fn applied(&self, applied: RecordNumber, rows: RowSnapshot) -> Self {
        let layers = self.layers.iter().filter(|layer| layer.last > applied).cloned().collect();
        let base = Base { applied, rows: Arc::new(rows), cache: Arc::clone(&self.base.cache) };
        Self { version: self.version, base, layers }
    }

    pub(super) fn stack(&self) -> Stack<'_> {
        let layers = self.layers.iter().rev().map(|layer| &*layer.writes as &dyn Layer);
        Stack(layers.chain([&self.base as &dyn Layer]).collect())
    }
}

impl Layer for Base {
    fn find(&self, space: Space, key: &[u8]) -> Result<Found> {
        if let Some(found) = self.cache.get(space, key, self.applied) {
            return Ok(found);
        }
        let found = self.rows.find(space, key)?;
        self.cache.keep(space, key, &found, self.applied);
        Ok(found)
    }

    fn rows<'a>(&'a self, space: Space, range: &Range) -> Rows<'a> {
        self.rows.rows(space, range)
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base").field("applied", &self.applied).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// What of a view is in memory for certain. All else is missing, also what fjall would find without a disk: a flush
/// that frees a memtable lets readers of fjall wait, and those who read here must not.
pub(super) struct AtHand<'a>(pub(super) &'a View);

impl Snapshot for AtHand<'_> {
    fn get(&mut self, space: Space, key: &[u8]) -> Step<Option<Bytes>> {
        for layer in self.0.layers.iter().rev() {
            match layer.writes.find(space, key)? {
                Found::Nothing => {}
                Found::Removed => return Ok(None),
                Found::Value(value) => return Ok(Some(value)),
            }
        }
        let Base { applied, cache, .. } = &self.0.base;
        match cache.get(space, key, *applied) {
            Some(Found::Value(value)) => Ok(Some(value)),
            Some(Found::Nothing | Found::Removed) => Ok(None),
            None => Err(Abort::Missing),
        }
    }

    fn scan(&mut self, _: Space, _: &Range) -> Step<Vec<Row>> {
        Err(Abort::Missing)
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
