//! What streams may hold in memory: so many streams, so many bytes for all of them, and one packet for each in any case.
//!
//! Each stream has a floor of one packet, so that every stream goes on, if slowly, whatever the others hold: nodes that
//! wait for one another's memory can't lock each other. All above the floor comes from one pool, so that packets
//! in flight grow fewer as streams grow more.
//!
//! When all places are taken, the stream that has stood still for the longest gives up its own, if it has for long enough:
//! a reader that takes nothing or a writer that sends nothing must not keep others out for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use godfs_core::chunk::MAX_PACKET_BYTES;
use godfs_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the packets of all readers may take together, but for the smallest packets of very many: so a packet is whole for up to 32 readers of three
/// packets each.
const READERS_BYTES: usize = 96 << 20;

/// The smallest packet for a reader that has more to get: below, a packet costs more than its bytes.
const SMALLEST_PACKET: usize = 64 << 10;

/// Permits count KiB, since a semaphore counts in 32 bits.
const UNIT: usize = 1 << 10;

/// The budget of one datanode.
#[derive(Debug)]
pub(crate) struct Budget {
    places: Arc<Mutex<Places>>,
    limit: usize,
    idle: Duration,
    began: Instant,
    pool: Arc<Semaphore>,
    /// Streams that have asked how large their packets should be.
    readers: Arc<AtomicUsize>,
}

/// Streams that have a place.
#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, Arc<Place>>,
}

#[derive(Debug)]
struct Place {
    /// When the stream last moved, in milliseconds since the budget was made.
    moved: AtomicU64,
    /// The place was given to another stream.
    lost: CancellationToken,
}

impl Budget {
    /// At most `streams` streams, and `bytes` bytes besides the floor of each. A stream that has not moved for `idle` may lose its place.
    pub(crate) fn new(streams: usize, bytes: u64, idle: Duration) -> Self {
        // A pool below one packet could never grant one.
        let units = usize::try_from(bytes).unwrap_or(usize::MAX).max(MAX_PACKET_BYTES) / UNIT;
        Self {
            places: Arc::default(),
            limit: streams.max(1),
            idle,
            began: Instant::now(),
            pool: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            readers: Arc::default(),
        }
    }

    /// Streams that are open.
    pub(crate) fn streams(&self) -> u32 {
        u32::try_from(self.places.lock().taken.len()).unwrap_or(u32::MAX)
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`], retryable, when there are too many.
    pub(crate) fn open(&self) -> Result<Share> {
        let now = millis(self.began.elapsed());
        let mut places = self.places.lock();
        if places.taken.len() >= self.limit && !places.free_the_stillest(now, self.idle) {
            let message = format!("{} streams are open, the limit of this datanode", self.limit);
            return Err(Error::new(ErrorKind::LimitExceeded, message).with_retryable(true));
        }
        let number = places.next;
        places.next += 1;
        let place = Arc::new(Place { moved: AtomicU64::new(now), lost: CancellationToken::new() });
        places.taken.insert(number, Arc::clone(&place));
        drop(places);
        Ok(Share {
            floor: Arc::new(Semaphore::new(1)),
            pool: Arc::clone(&self.pool),
            places: Arc::clone(&self.places),
            began: self.began,
            number,
            place,
            readers: Arc::clone(&self.readers),
            reads: AtomicBool::new(false),
        })
    }
}

impl Places {
    /// Takes the place of the stream that has not moved for the longest; whether any has for `idle`.
    fn free_the_stillest(&mut self, now: u64, idle: Duration) -> bool {
        let moved = |place: &Place| place.moved.load(Ordering::Relaxed);
        let stillest = self.taken.iter().map(|(&number, place)| (moved(place), number)).min();
        let Some((at, number)) = stillest.filter(|(at, _)| now.saturating_sub(*at) >= millis(idle)) else {
            return false;
        };
        if let Some(place) = self.taken.remove(&number) {
            tracing::warn!(still_ms = now.saturating_sub(at), "a stream that stands still loses its place to another");
            place.lost.cancel();
        }
        true
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One stream's part of the budget.
#[derive(Debug)]
pub(crate) struct Share {
    floor: Arc<Semaphore>,
    pool: Arc<Semaphore>,
    places: Arc<Mutex<Places>>,
    began: Instant,
    number: u64,
    place: Arc<Place>,
    readers: Arc<AtomicUsize>,
    /// Counted among the readers.
    reads: AtomicBool,
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
        self.place.moved.store(millis(self.began.elapsed()), Ordering::Relaxed);
        Credit { _permit: permit.ok() }
    }
}

impl Share {
    /// How large the next packet of a reader should be that has up to `packets` in memory at a time: fewer bytes as readers grow more. Whole pieces, at most
    /// [`MAX_PACKET_BYTES`].
    pub(crate) fn packet_bytes(&self, packets: usize) -> usize {
        if !self.reads.swap(true, Ordering::Relaxed) {
            self.readers.fetch_add(1, Ordering::Relaxed);
        }
        let readers = self.readers.load(Ordering::Relaxed).max(1);
        let share = READERS_BYTES / readers / packets.max(1);
        // A power of two: most reads begin at one, and their packets go on to lie well.
        (1 << share.max(1).ilog2()).clamp(SMALLEST_PACKET, MAX_PACKET_BYTES)
    }

    /// Whether another stream was given this one's place: it is to end.
    pub(crate) fn is_lost(&self) -> bool {
        self.place.lost.is_cancelled()
    }

    /// Waits until it is so. Cancel-safe.
    pub(crate) async fn lost(&self) {
        self.place.lost.cancelled().await;
    }

    /// What a stream is told that has lost its place.
    pub(crate) fn lost_error() -> Error {
        let message = "the stream stood still for too long, its place was given to another";
        Error::new(ErrorKind::LimitExceeded, message).with_retryable(true)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if *self.reads.get_mut() {
            self.readers.fetch_sub(1, Ordering::Relaxed);
        }
        self.places.lock().taken.remove(&self.number);
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

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn whoever_stands_still_gives_way_but_not_at_once() {
        let budget = Budget::new(2, 2 << 20, IDLE);
        let (still, busy) = (budget.open().expect("first"), budget.open().expect("second"));
        tokio::time::advance(IDLE - Duration::from_millis(1)).await;
        busy.take(1).await;
        budget.open().expect_err("both moved lately");
        tokio::time::advance(Duration::from_millis(1)).await;
        let third = budget.open().expect("the place of the first");
        assert!(still.is_lost() && !busy.is_lost() && !third.is_lost());
        drop(still);
        assert_eq!(budget.streams(), 2, "the first has no place left to give back");
        budget.open().expect_err("both moved lately");
    }

    #[tokio::test]
    async fn every_stream_has_its_floor_when_the_pool_is_empty() {
        let budget = Budget::new(2, 2 << 20, IDLE);
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
    async fn packets_of_readers_shrink_as_readers_grow_more() {
        let budget = Budget::new(2_000, 2 << 20, IDLE);
        let _writers = (0..500).map(|_| budget.open().expect("a place")).collect::<Vec<_>>();
        let mut shares: Vec<Share> = Vec::new();
        for (readers, bytes) in [(1, 1 << 20), (32, 1 << 20), (33, 512 << 10), (200, 128 << 10), (1_500, 64 << 10)] {
            shares.extend((shares.len()..readers).map(|_| budget.open().expect("a place")));
            for share in &shares {
                share.packet_bytes(3);
            }
            assert_eq!(shares[0].packet_bytes(3), bytes, "{readers} readers");
        }
        shares.truncate(1);
        assert_eq!(shares[0].packet_bytes(3), 1 << 20, "the others have ended");
    }

    #[tokio::test]
    async fn streams_are_limited() {
        let budget = Budget::new(1, 0, IDLE);
        let one = budget.open().expect("first");
        let error = budget.open().expect_err("second");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LimitExceeded, true));
        drop(one);
        budget.open().expect("room again");
    }
}
