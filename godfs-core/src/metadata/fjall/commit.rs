//! The committing thread: runs bodies one after another and forms batches.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::pipeline::{Pipeline, Request, Sealed, Waiter};
use super::reserve::Reserve;
use crate::error::Result;
use crate::id::Version;
use crate::metadata::changes::Announced;
use crate::metadata::layer::{Found, Layer, PerSpace, Rows, Write, Writes};
use crate::metadata::log::{Batch, RecordNumber};
use crate::metadata::overlay::Executed;
use crate::metadata::stack::Stack;
use crate::metadata::{Range, Space, overlay};

/// How many bodies are run before an idle syncing thread gets what there is: fewer cost a sync too many, more let it
/// wait too long.
const HAND_OVER: usize = 32;

/// The memory of a write besides its bytes, roughly: its handles, their allocations, its share of the maps it is in.
const WRITE_OVERHEAD: usize = 128;

pub(super) struct Committer {
    pipeline: Arc<Pipeline>,
    /// Above this weight a batch takes no further transaction.
    batch_bytes: usize,
    reserve: Reserve,
    last: Version,
    number: RecordNumber,
    recent: Recent,
    forming: Forming,
}

/// The batch that is being formed.
#[derive(Default)]
struct Forming {
    count: u32,
    writes: Writes,
    changes: Vec<Announced>,
    weight: usize,
    waiters: Vec<Waiter>,
}

impl Committer {
    /// `last` and `number` are those of the last record in the log.
    pub(super) fn new(
        pipeline: Arc<Pipeline>,
        batch_bytes: usize,
        reserve: Reserve,
        last: Version,
        number: RecordNumber,
    ) -> Self {
        Self { pipeline, batch_bytes, reserve, last, number, recent: Recent::default(), forming: Forming::default() }
    }

    /// Until the store is closed and all requests are done, or it has failed.
    pub(super) fn run(mut self) {
        while let Some(requests) = self.next() {
            for request in requests {
                if let Err(refused) = self.execute(request) {
                    // The store has failed; what was formed can't be committed any more.
                    Sealed::from(std::mem::take(&mut self.forming)).answer(Some(&refused));
                }
            }
        }
        let mut state = self.pipeline.lock();
        state.committed = true;
        let failure = state.failure.as_ref().map(crate::error::Error::duplicate);
        drop(state);
        self.pipeline.wake_sync();
        if let Some(failure) = failure {
            Sealed::from(std::mem::take(&mut self.forming)).answer(Some(&failure));
        }
    }

    /// The next requests; hands over what was formed as soon as the syncing thread is idle.
    fn next(&mut self) -> Option<VecDeque<Request>> {
        let pipeline = Arc::clone(&self.pipeline);
        let mut state = pipeline.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if !state.requests.is_empty() {
                return Some(std::mem::take(&mut state.requests));
            }
            if !self.forming.waiters.is_empty() {
                if state.sealed.is_none() && !state.syncing {
                    state.sealed = Some(self.seal());
                    pipeline.wake_sync();
                    continue;
                }
            } else if state.closing {
                return None;
            }
            pipeline.wait_commit(&mut state);
        }
    }

    fn execute(&mut self, request: Request) -> Result<()> {
        let Request { mut body, caller } = request;
        let view = match self.pipeline.view_while_closing() {
            Ok(view) => view,
            Err(error) => {
                let refused = error.duplicate();
                self.forming.waiters.push(Waiter { caller, outcome: Err(error) });
                return Err(refused);
            }
        };
        self.recent.forget(view.base.applied);
        let version = self.last.next();
        let executed = overlay::execute(&Stack(vec![&self.recent, &view.base]), &mut *body, version);
        let outcome = executed.and_then(|executed| {
            if !executed.is_empty() {
                self.reserve.take(weight(&executed))?;
                self.last = version;
                self.join(executed);
            }
            Ok((body, self.last))
        });
        self.forming.waiters.push(Waiter { caller, outcome });
        self.maybe_hand_over()
    }

    fn join(&mut self, Executed { writes, changes }: Executed) {
        self.forming.count += 1;
        for Write { space, key, value } in writes {
            self.forming.weight += key.len() + value.as_ref().map_or(0, Bytes::len) + WRITE_OVERHEAD;
            self.recent.rows.of_mut(space).insert(key.clone(), (self.number.next(), value.clone()));
            self.forming.writes.of_mut(space).insert(key, value);
        }
        for change in Announced::number(self.last, changes) {
            self.forming.weight += change.weight();
            self.forming.changes.push(change);
        }
    }

    /// Hands over early when the syncing thread idles or the batch is full; waits for room when it is full.
    fn maybe_hand_over(&mut self) -> Result<()> {
        let full = self.forming.weight >= self.batch_bytes;
        if !full && !self.forming.waiters.len().is_multiple_of(HAND_OVER) {
            return Ok(());
        }
        let pipeline = Arc::clone(&self.pipeline);
        let mut state = pipeline.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.duplicate());
            }
            if state.sealed.is_none() && (full || !state.syncing) {
                state.sealed = Some(self.seal());
                pipeline.wake_sync();
                return Ok(());
            }
            if !full {
                return Ok(());
            }
            pipeline.wait_commit(&mut state);
        }
    }

    fn seal(&mut self) -> Sealed {
        let forming = std::mem::take(&mut self.forming);
        let mut sealed = Sealed { batch: None, weight: forming.weight, waiters: forming.waiters };
        if forming.count > 0 {
            self.number = self.number.next();
            let writes = Arc::new(forming.writes);
            self.recent.batches.push_back((self.number, Arc::clone(&writes)));
            let first = Version(self.last.0 - u64::from(forming.count) + 1);
            sealed.batch = Some(Batch { first, count: forming.count, writes, changes: forming.changes });
        }
        sealed
    }
}

/// The bytes of what a body wrote.
fn weight(executed: &Executed) -> usize {
    executed.writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, Bytes::len)).sum()
}

impl From<Forming> for Sealed {
    fn from(forming: Forming) -> Self {
        Self { batch: None, weight: 0, waiters: forming.waiters }
    }
}

/// All writes that are not yet in the rows, synced or not: what the next body must see.
#[derive(Default)]
struct Recent {
    /// The record that each write is in, and its value.
    rows: PerSpace<(RecordNumber, Option<Bytes>)>,
    batches: VecDeque<(RecordNumber, Arc<Writes>)>,
}

impl Recent {
    /// Drops what the rows hold by now, unless it was overwritten since.
    fn forget(&mut self, applied: RecordNumber) {
        while let Some((number, writes)) = self.batches.pop_front_if(|(number, _)| *number <= applied) {
            for space in Space::ALL {
                let rows = self.rows.of_mut(space);
                for key in writes.of(space).keys() {
                    if rows.get(key).is_some_and(|(last, _)| *last == number) {
                        rows.remove(key);
                    }
                }
            }
        }
    }
}

impl Layer for Recent {
    fn find(&self, space: Space, key: &[u8]) -> Result<Found> {
        Ok(self.rows.of(space).get(key).map_or(Found::Nothing, |(_, value)| value.clone().into()))
    }

    fn rows<'a>(&'a self, space: Space, range: &Range) -> Rows<'a> {
        Box::new(self.rows.range(space, range).map(|(key, (_, value))| Ok((key.clone(), value.clone()))))
    }
}
