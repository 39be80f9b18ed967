//! What streams may hold in memory: so many streams, so many bytes for all of them, and one packet for each in any case.
//!
//! Each stream has a floor of one packet, so that every stream goes on, if slowly, whatever the others hold: nodes that
//! wait for one another's memory can't lock each other. All above the floor comes from one pool, so that packets
//! in flight grow fewer as streams grow more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use godfs_core::chunk::MAX_PACKET_BYTES;
use godfs_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits count KiB, since a semaphore counts in 32 bits.
const UNIT: usize = 1 << 10;

/// The budget of one datanode.
#[derive(Debug)]
pub(crate) struct Budget {
    streams: Arc<Semaphore>,
    limit: usize,
    open: Arc<AtomicU32>,
    pool: Arc<Semaphore>,
}

impl Budget {
    /// At most `streams` streams, and `bytes` bytes besides the floor of each.
    pub(crate) fn new(streams: usize, bytes: u64) -> Self {
        let limit = streams.clamp(1, Semaphore::MAX_PERMITS);
        // A pool below one packet could never grant one.
        let units = usize::try_from(bytes).unwrap_or(usize::MAX).max(MAX_PACKET_BYTES) / UNIT;
        Self {
            streams: Arc::new(Semaphore::new(limit)),
            limit,
            open: Arc::default(),
            pool: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Streams that are open.
    pub(crate) fn streams(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`], retryable, when there are too many.
    pub(crate) fn open(&self) -> Result<Share> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let message = format!("{} streams are open, the limit of this datanode", self.limit);
            Error::new(ErrorKind::LimitExceeded, message).with_retryable(true)
        })?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Share {
            floor: Arc::new(Semaphore::new(1)),
            pool: Arc::clone(&self.pool),
            open: Arc::clone(&self.open),
            _stream: permit,
        })
    }
}

/// One stream's part of the budget.
#[derive(Debug)]
pub(crate) struct Share {
    floor: Arc<Semaphore>,
    pool: Arc<Semaphore>,
    open: Arc<AtomicU32>,
    _stream: OwnedSemaphorePermit,
}

impl Share {
    /// Waits for room for one packet of at most [`MAX_PACKET_BYTES`]. Those who wait are served in their order. Cancel-safe.
    pub(crate) async fn take(&self, bytes: usize) -> Credit {
        let units = u32::try_from(bytes.min(MAX_PACKET_BYTES).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = tokio::select! {
            // Both arms are cancel-safe: whoever waits loses at most its place.
            biased;
            permit = Arc::clone(&self.floor).acquire_owned() => permit,
            permit = Arc::clone(&self.pool).acquire_many_owned(units) => permit,
        };
        Credit { _permit: permit.ok() }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for one packet, given back when dropped.
#[derive(Debug)]
pub(crate) struct Credit {
    /// Always there: the semaphores are never closed.
    _permit: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn every_stream_has_its_floor_when_the_pool_is_empty() {
        let budget = Budget::new(2, 2 << 20);
        let (greedy, modest) = (budget.open().expect("first"), budget.open().expect("second"));
        let held = [greedy.take(1 << 20).await, greedy.take(1 << 20).await, greedy.take(1 << 20).await];
        assert!(greedy.take(1 << 20).now_or_never().is_none(), "floor and pool are taken");
        let own = modest.take(1 << 20).now_or_never().expect("its floor");
        let mut waiting = Box::pin(modest.take(1 << 20));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(own);
        waiting.now_or_never().expect("its floor is back");
        drop(held);
        assert_eq!(budget.streams(), 2);
    }

    #[tokio::test]
    async fn streams_are_limited() {
        let budget = Budget::new(1, 0);
        let one = budget.open().expect("first");
        let error = budget.open().expect_err("second");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LimitExceeded, true));
        drop(one);
        budget.open().expect("room again");
    }
}
