//! What the three threads of a store share: the way of a transaction from its caller to the rows.
//!
//! ```text
//!            requests            sealed (at most one)          unapplied (bounded in bytes)
//!  callers ───────────▶ commit ──────────────────────▶ sync ────────────────────────────────▶ apply
//!                       runs bodies                    appends to the log, publishes          rows, persisted points,
//!                                                      the view, answers                      trims the log
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::Written;
use super::view::View;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Version;
use crate::metadata::changes::RecentChanges;
use crate::metadata::log::{Batch, Point};
use crate::metadata::{Announcements, Place, TransactionBox};

/// What a transaction gives back.
pub(super) type Outcome = Result<(TransactionBox, Version)>;

/// A transaction that waits to be run.
pub(super) struct Request {
    pub(super) body: TransactionBox,
    pub(super) caller: Caller,
}

/// Who waits for an answer. Gone callers are no error: their transactions were under way.
pub(super) struct Caller {
    pub(super) answer: oneshot::Sender<Outcome>,
    /// The caller's share of the bodies that may be in flight.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Caller {
    fn answer(self, outcome: Outcome) {
        let _ = self.answer.send(outcome);
        drop(self.permit);
    }
}

/// A transaction that was run, whose caller hears of it once all that it read and wrote is durable. Refusals wait as
/// well: they may rest on a write that could still be lost.
pub(super) struct Waiter {
    pub(super) caller: Caller,
    pub(super) outcome: Outcome,
}

/// What goes to the log next. The batch is missing when nothing was written.
pub(super) struct Sealed {
    pub(super) batch: Option<Batch>,
    pub(super) weight: usize,
    pub(super) waiters: Vec<Waiter>,
}

impl Sealed {
    pub(super) fn answer(self, failure: Option<&Error>) {
        for Waiter { caller, outcome } in self.waiters {
            caller.answer(failure.map_or(outcome, |failure| Err(failure.duplicate())));
        }
    }
}

/// A batch that is in the log and not in the rows.
pub(super) struct Synced {
    pub(super) point: Point,
    pub(super) batch: Batch,
    pub(super) weight: usize,
}

/// Shared by callers and threads.
pub(super) struct Pipeline {
    state: Mutex<State>,
    view: RwLock<Option<Arc<View>>>,
    /// Held for reading while a body reads; whoever closes the store waits for it.
    readers: RwLock<()>,
    written: Mutex<Written>,
    /// What was announced lately.
    changes: Mutex<RecentChanges>,
    /// Told of each synced batch, and of the end.
    last: watch::Sender<Version>,
    to_commit: Condvar,
    to_sync: Condvar,
    to_apply: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) requests: VecDeque<Request>,
    pub(super) sealed: Option<Sealed>,
    /// Whether the syncing thread is at work.
    pub(super) syncing: bool,
    pub(super) unapplied: VecDeque<Synced>,
    pub(super) unapplied_weight: usize,
    /// How far the end has come: no more requests, then no more sealed batches, then no more synced ones.
    pub(super) closing: bool,
    pub(super) committed: bool,
    pub(super) synced: bool,
    pub(super) failure: Option<Error>,
}

impl Pipeline {
    /// With room for `change_bytes` of what was announced lately.
    pub(super) fn new(view: View, change_bytes: usize) -> Self {
        Self {
            changes: Mutex::new(RecentChanges::new(view.version.next(), change_bytes)),
            last: watch::Sender::new(view.version),
            state: Mutex::default(),
            view: RwLock::new(Some(Arc::new(view))),
            readers: RwLock::default(),
            written: Mutex::default(),
            to_commit: Condvar::new(),
            to_sync: Condvar::new(),
            to_apply: Condvar::new(),
        }
    }

    pub(super) fn submit(&self, request: Request) -> Result<()> {
        let mut state = self.state.lock();
        state.check()?;
        state.requests.push_back(request);
        drop(state);
        self.to_commit.notify_one();
        Ok(())
    }

    pub(super) fn check(&self) -> Result<()> {
        self.state.lock().check()
    }

    /// What was written so far.
    pub(super) fn written(&self) -> Written {
        *self.written.lock()
    }

    /// A batch is in the log, whose records have so many bytes by now.
    pub(super) fn count(&self, batch: &Batch, bytes: u64) {
        let mut written = self.written.lock();
        written.transactions += u64::from(batch.count);
        written.rows += batch.writes.count() as u64;
        written.bytes = bytes;
    }

    /// Keeps the store from being let go while a body reads.
    pub(super) fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.readers.read()
    }

    pub(super) fn view(&self) -> Result<Arc<View>> {
        self.check()?;
        self.view.read().clone().ok_or_else(closed)
    }

    /// The view for the committing thread, which goes on while the store is closing.
    pub(super) fn view_while_closing(&self) -> Result<Arc<View>> {
        self.view.read().clone().ok_or_else(closed)
    }

    /// Replaces the view by one made of it.
    pub(super) fn publish(&self, next: impl FnOnce(&View) -> View) {
        let mut view = self.view.write();
        let replaced = view.as_ref().map(|view| Arc::new(next(view)));
        let old = std::mem::replace(&mut *view, replaced);
        drop(view);
        // Letting go of the last handle on a snapshot takes locks of fjall's.
        drop(old);
    }

    /// Keeps what the transactions of a synced batch announced.
    pub(super) fn announce(&self, batch: &Batch) {
        if !batch.changes.is_empty() {
            let mut changes = self.changes.lock();
            batch.changes.iter().for_each(|change| changes.push(change.clone()));
        }
    }

    /// What was announced behind `from`, up to the transaction `last`; `None` when that is too long ago.
    pub(super) fn changes(&self, from: Place, last: Version, limit: usize) -> Option<Announcements> {
        self.changes.lock().read(from, last, limit)
    }

    /// Wakes those who wait for a version.
    pub(super) fn tell(&self, version: Version) {
        self.last.send_replace(version);
    }

    /// Waits for a later version than `since`.
    pub(super) async fn newer_than(&self, since: Version) -> Result<Version> {
        let mut last = self.last.subscribe();
        loop {
            let version = *last.borrow_and_update();
            self.check()?;
            if version > since {
                return Ok(version);
            }
            last.changed().await.map_err(|_| closed())?;
        }
    }

    /// Poisons the store: whoever waits and whoever comes gets this error.
    pub(super) fn fail(&self, error: &Error) {
        let mut state = self.state.lock();
        if state.failure.is_none() {
            tracing::error!(error = error.report(), "the metadata store has failed and must be opened anew");
            state.failure = Some(poisoned(error));
        }
        let requests = std::mem::take(&mut state.requests);
        let sealed = state.sealed.take();
        state.unapplied.clear();
        let failure = state.failure.as_ref().expect("set above").duplicate();
        drop(state);
        self.notify();
        requests.into_iter().for_each(|request| request.caller.answer(Err(failure.duplicate())));
        if let Some(sealed) = sealed {
            sealed.answer(Some(&failure));
        }
    }

    /// Takes no more requests; the threads end once those that were taken are done.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.notify();
    }

    /// Lets go of the rows, once nobody reads them any more.
    pub(super) fn release(&self) {
        let readers = self.readers.write();
        let view = self.view.write().take();
        drop((view, readers));
    }

    pub(super) fn failure(&self) -> Option<Error> {
        self.state.lock().failure.as_ref().map(Error::duplicate)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn wake_commit(&self) {
        self.to_commit.notify_one();
    }

    pub(super) fn wake_sync(&self) {
        self.to_sync.notify_one();
    }

    pub(super) fn wake_apply(&self) {
        self.to_apply.notify_one();
    }

    pub(super) fn wait_commit(&self, state: &mut MutexGuard<'_, State>) {
        self.to_commit.wait(state);
    }

    pub(super) fn wait_sync(&self, state: &mut MutexGuard<'_, State>) {
        self.to_sync.wait(state);
    }

    pub(super) fn wait_apply(&self, state: &mut MutexGuard<'_, State>) {
        self.to_apply.wait(state);
    }

    fn notify(&self) {
        self.wake_commit();
        self.wake_sync();
        self.wake_apply();
        self.last.send_modify(|_| ());
    }
}

impl State {
    fn check(&self) -> Result<()> {
        match &self.failure {
            Some(failure) => Err(failure.duplicate()),
            None if self.closing => Err(closed()),
            None => Ok(()),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the metadata store is closed")
}

fn poisoned(error: &Error) -> Error {
    let message = format!("the metadata store has failed and must be opened anew: {}", error.report());
    Error::new(ErrorKind::Unavailable, message)
}
