//! The applying thread: brings synced batches into the rows, persists those now and then, and trims the log.

use std::path::PathBuf;
use std::sync::Arc;

use super::cache::RowCache;
use super::pipeline::{Pipeline, Synced};
use super::rows::RowStore;
use super::state::State;
use crate::error::Result;
use crate::io::Io;
use crate::metadata::layer::Writes;
use crate::metadata::log::Segments;

/// Batches that wait are applied together up to this weight, so that a fjall batch stays small beside a memtable.
const TOGETHER: usize = 2 << 20;

pub(super) struct Applier {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) rows: RowStore,
    pub(super) cache: Arc<RowCache>,
    pub(super) segments: Arc<Segments>,
    pub(super) io: Arc<dyn Io>,
    pub(super) folder: PathBuf,
    /// Where the rows are.
    pub(super) state: State,
    /// How much was applied since the rows were persisted.
    pub(super) unpersisted: usize,
    /// Persist after this much.
    pub(super) persist_bytes: usize,
    /// Called when the rows are persisted and the file `store` does not yet say so.
    #[cfg(test)]
    pub(super) persisted: Option<Box<dyn FnMut() + Send>>,
}

impl Applier {
    /// Until the syncing thread has ended and all it synced is applied and persisted, or the store has failed.
    pub(super) fn run(mut self) {
        self.segments.prepare();
        let done = loop {
            let Some(batches) = self.next() else { break self.finish() };
            if let Err(error) = self.apply(&batches) {
                break Err(error);
            }
        };
        if let Err(error) = done {
            self.pipeline.fail(&error);
        }
    }

    fn next(&self) -> Option<Vec<Synced>> {
        let mut state = self.pipeline.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            let mut batches = Vec::new();
            let mut weight = 0;
            while let Some(synced) = state.unapplied.pop_front_if(|next| weight == 0 || weight + next.weight < TOGETHER)
            {
                weight += synced.weight;
                batches.push(synced);
            }
            if !batches.is_empty() {
                return Some(batches);
            }
            if state.synced {
                return None;
            }
            self.pipeline.wait_apply(&mut state);
        }
    }

    fn apply(&mut self, batches: &[Synced]) -> Result<()> {
        let weight: usize = batches.iter().map(|synced| synced.weight).sum();
        let Some(last) = batches.last() else { return Ok(()) };
        self.state = State { point: last.point, version: last.batch.last(), ..self.state };
        let writes = match batches {
            [only] => Arc::clone(&only.batch.writes),
            several => {
                let mut merged = Writes::default();
                several.iter().for_each(|synced| merged.overlay(&synced.batch.writes));
                Arc::new(merged)
            }
        };
        self.rows.apply(&writes, &self.state)?;
        // Before whoever reads the next view can look for these rows there.
        self.cache.apply(&writes, self.state.point.number);
        let snapshot = self.rows.snapshot();
        self.pipeline.publish(|view| view.applied(self.state.point.number, snapshot));
        self.pipeline.lock().unapplied_weight -= weight;
        self.pipeline.wake_sync();
        self.unpersisted += weight;
        if self.unpersisted >= self.persist_bytes {
            self.persist()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.unpersisted > 0 && self.pipeline.failure().is_none() {
            self.persist()?;
        }
        Ok(())
    }

    fn persist(&mut self) -> Result<()> {
        self.rows.persist()?;
        #[cfg(test)]
        if let Some(persisted) = &mut self.persisted {
            persisted();
        }
        self.state.save(&*self.io, &self.folder)?;
        self.unpersisted = 0;
        self.segments.trim(self.state.point.number)?;
        self.segments.prepare();
        self.rows.let_go_of_journals()
    }
}
