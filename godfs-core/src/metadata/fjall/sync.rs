//! The syncing thread: appends batches to the log, shows them to readers and answers their callers.

use std::sync::Arc;

use super::pipeline::{Pipeline, Sealed, Synced};
use crate::error::Result;
use crate::metadata::log::LogWriter;

pub(super) struct Syncer {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) log: LogWriter,
    /// Above this weight of batches that are not applied, no further one is synced.
    pub(super) unapplied_bytes: usize,
}

impl Syncer {
    /// Until the committing thread has ended and all it sealed is synced, or the store has failed.
    pub(super) fn run(mut self) {
        while let Some(mut sealed) = self.next() {
            if let Err(error) = self.sync(&mut sealed) {
                self.pipeline.fail(&error);
                sealed.answer(self.pipeline.failure().as_ref());
                break;
            }
            sealed.answer(None);
        }
        self.pipeline.lock().synced = true;
        self.pipeline.wake_apply();
    }

    fn next(&self) -> Option<Sealed> {
        let mut state = self.pipeline.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if state.unapplied_weight <= self.unapplied_bytes {
                if let Some(sealed) = state.sealed.take() {
                    state.syncing = true;
                    return Some(sealed);
                }
                if state.committed {
                    return None;
                }
            }
            self.pipeline.wait_sync(&mut state);
        }
    }

    fn sync(&mut self, sealed: &mut Sealed) -> Result<()> {
        let mut synced = None;
        if let Some(batch) = sealed.batch.take() {
            let point = self.log.append(&batch)?;
            self.pipeline.count(&batch, self.log.bytes());
            // Before whoever sees the version can ask for them.
            self.pipeline.announce(&batch);
            self.pipeline.publish(|view| view.synced(point.number, batch.last(), Arc::clone(&batch.writes)));
            self.pipeline.tell(batch.last());
            synced = Some(Synced { point, batch, weight: sealed.weight });
        }
        let mut state = self.pipeline.lock();
        state.syncing = false;
        if let Some(synced) = synced {
            state.unapplied_weight += synced.weight;
            state.unapplied.push_back(synced);
        }
        drop(state);
        self.pipeline.wake_commit();
        self.pipeline.wake_apply();
        Ok(())
    }
}
