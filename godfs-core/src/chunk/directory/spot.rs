//! Small appends on the caller's thread.
//!
//! To wake another thread and to be woken by it costs more than a few bytes into the page cache, and a writer that flushes after each line waits for that on every
//! node of its pipeline. But a write can also wait for the disk, and then holds up all else on the caller's thread: as soon as one takes long, and for a while after it,
//! the others go to the executor. So one such thread stands still for one write in a while, however slow the disk is. A node of several volumes makes none on the spot:
//! the disk of one must not hold up the streams of the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::env::Clock;

/// The largest append that is made on the spot, bytes.
const LARGEST: usize = 16 << 10;
/// One that took longer waited for something.
const LONG: Duration = Duration::from_millis(1);
/// How long others then go to the executor.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a store's small appends are made on the spot.
#[derive(Debug, Default)]
pub(super) struct Spot {
    /// Whether any are.
    allowed: bool,
    /// When the one that is under way began, by the monotonic clock: microseconds, and one more. 0: none is.
    begun: AtomicU64,
    /// Not before, by the monotonic clock: microseconds.
    not_before: AtomicU64,
}

impl Spot {
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Whether an append of so many bytes is to be made on the spot, at this time.
    pub(super) fn takes(&self, bytes: usize, now: Duration) -> bool {
        let now = micros(now);
        let begun = self.begun.load(Ordering::Relaxed);
        let waits = begun > 0 && now.saturating_sub(begun - 1) > micros(LONG);
        self.allowed && bytes <= LARGEST && !waits && now >= self.not_before.load(Ordering::Relaxed)
    }

    /// Does the work on the spot, and notes how long it took.
    pub(super) fn run<T>(&self, clock: &dyn Clock, work: impl FnOnce() -> T) -> T {
        let begun = clock.monotonic();
        let first = self.begun.compare_exchange(0, micros(begun) + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let done = work();
        let now = clock.monotonic();
        if first {
            self.begun.store(0, Ordering::Relaxed);
        }
        if now.saturating_sub(begun) > LONG {
            self.not_before.store(micros(now + PAUSE), Ordering::Relaxed);
        }
        done
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use parking_lot::Mutex;

    use super::*;
    use crate::chunk::conformance::{packet, pattern, rbw};
    use crate::chunk::{ChunkStore, DirectoryOptions, DirectoryStore, ReplicaWriter};
    use crate::env::{Env, Executor, Inline, Job};
    use crate::id::ChunkId;
    use crate::io::SimIo;

    /// Counts what it is given.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Executor for Counting {
        fn execute(&self, job: Job) {
            self.0.fetch_add(1, Ordering::Relaxed);
            Inline.execute(job);
        }
    }

    #[tokio::test]
    async fn little_is_appended_without_another_thread_where_nothing_waits() {
        let (disk, jobs, clock) = (SimIo::new(1), Arc::new(Counting::default()), Arc::new(Hand::default()));
        let options = DirectoryOptions {
            root: "/disk/chunks".into(),
            capacity: None,
            reserve: 0,
            small: 1 << 20,
            on_the_spot: true,
        };
        let env = Env { executor: jobs.clone(), clock: clock.clone(), ..Env::simulated(1) };
        let store = DirectoryStore::open(options, Arc::new(disk), env).await.expect("open");
        let append = async |writer: &mut Box<dyn ReplicaWriter>, bytes: usize| {
            let (at, before) = (writer.replica().length, jobs.0.load(Ordering::Relaxed));
            writer.append(packet(at, &pattern(at, bytes))).await.expect("append");
            jobs.0.load(Ordering::Relaxed) - before
        };
        let mut writer = store.create(rbw(ChunkId(1), 1)).await.expect("create");
        assert_eq!(append(&mut writer, 1_000).await, 0);
        assert_eq!(append(&mut writer, LARGEST).await, 0);
        assert_eq!(append(&mut writer, LARGEST + 1).await, 1, "a copy of its own");
        assert_eq!(append(&mut writer, 1).await, 0);
        store.inner.spot.run(&*clock, || *clock.0.lock() += LONG * 2);
        assert_eq!(append(&mut writer, 1).await, 1, "the disk let one wait");
        *clock.0.lock() += PAUSE;
        assert_eq!(append(&mut writer, 1).await, 0);
        assert_eq!(writer.finalize(true).await.expect("finalized").length, 1_000 + 2 * LARGEST as u64 + 4);
        store.verify(ChunkId(1)).await.expect("verified");
        // One that shares its file may outgrow it, and is then copied.
        let mut writer = store.create_sized(rbw(ChunkId(2), 1), 100).await.expect("create");
        assert_eq!(append(&mut writer, 100).await, 1);
    }

    /// Stands where it is put.
    #[derive(Debug, Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn monotonic(&self) -> Duration {
            *self.0.lock()
        }

        fn wall_ms(&self) -> u64 {
            0
        }
    }

    #[test]
    fn a_disk_that_lets_one_wait_is_left_to_the_executor_for_a_while() {
        let (spot, clock) = (Spot::new(true), Hand::default());
        let takes = |bytes| spot.takes(bytes, clock.monotonic());
        assert!(!Spot::new(false).takes(1, clock.monotonic()), "not beside other disks");
        assert!(takes(1) && takes(LARGEST) && !takes(LARGEST + 1));
        spot.run(&clock, || *clock.0.lock() += LONG);
        assert!(takes(1), "quick enough");
        spot.run(&clock, || *clock.0.lock() += LONG * 2);
        assert!(!takes(1));
        *clock.0.lock() += PAUSE - Duration::from_micros(1);
        assert!(!takes(1));
        *clock.0.lock() += Duration::from_micros(1);
        assert!(takes(1));
    }

    #[test]
    fn while_one_waits_no_other_thread_is_risked() {
        let (spot, clock) = (Spot::new(true), Hand::default());
        spot.run(&clock, || {
            *clock.0.lock() += LONG;
            assert!(spot.takes(1, clock.monotonic()), "it may be done at once");
            *clock.0.lock() += LONG;
            assert!(!spot.takes(1, clock.monotonic()));
        });
    }
}
