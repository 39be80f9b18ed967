//! Turns: calls that change the same replica go one after another.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::id::ChunkId;

type Locks = Arc<Mutex<HashMap<ChunkId, Arc<AsyncMutex<()>>>>>;

/// A lock for each chunk that is in use; those that are not take no memory.
#[derive(Debug, Default)]
pub(super) struct Turns(Locks);

/// The turn to change one replica, held until it is dropped. It can be moved into the work that is done meanwhile, so
/// that work whose caller went away still keeps others out.
#[derive(Debug)]
pub(super) struct Turn {
    // Dropped before the ticket, which looks whether anyone else wants the lock.
    _guard: OwnedMutexGuard<()>,
    _ticket: Ticket,
}

impl Turns {
    /// Waits for the turn.
    pub(super) async fn take(&self, chunk: ChunkId) -> Turn {
        let ticket = self.ticket(chunk);
        let guard = Arc::clone(&ticket.lock).lock_owned().await;
        Turn { _guard: guard, _ticket: ticket }
    }

    /// The turn, if nobody has it.
    pub(super) fn try_take(&self, chunk: ChunkId) -> Option<Turn> {
        let ticket = self.ticket(chunk);
        let guard = Arc::clone(&ticket.lock).try_lock_owned().ok()?;
        Some(Turn { _guard: guard, _ticket: ticket })
    }

    fn ticket(&self, chunk: ChunkId) -> Ticket {
        let lock = Arc::clone(self.0.lock().entry(chunk).or_default());
        Ticket { chunk, lock, locks: Arc::clone(&self.0) }
    }
}

/// One that holds or waits for a lock; the last one to go removes it.
#[derive(Debug)]
struct Ticket {
    chunk: ChunkId,
    lock: Arc<AsyncMutex<()>>,
    locks: Locks,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut locks = self.locks.lock();
        // One count is the map's, one this ticket's. New ones are only made under the map's lock.
        if Arc::strong_count(&self.lock) == 2 {
            locks.remove(&self.chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left_behind() {
        let turns = Turns::default();
        let first = turns.take(ChunkId(1)).await;
        assert!(turns.try_take(ChunkId(1)).is_none());
        assert!(turns.try_take(ChunkId(2)).is_some(), "another chunk");
        let mut second = Box::pin(turns.take(ChunkId(1)));
        assert!(second.as_mut().now_or_never().is_none());
        let third = Box::pin(turns.take(ChunkId(1)));
        drop(third);
        drop(first);
        drop(second.await);
        assert!(turns.0.lock().is_empty());
    }
}
