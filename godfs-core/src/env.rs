//! What comes from outside: time, randomness, and the executor of blocking work.
//!
//! Production uses [`Env::system`]; a simulation passes a clock that follows its virtual time, a seeded generator and
//! an executor that runs inline. Waiting is done with `tokio::time`, which simulations control already.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Time as the system sees it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment of this process; never goes back.
    fn monotonic(&self) -> Duration;

    /// Wall-clock time, milliseconds since 1970; only ever shown or stored, never used to judge an expiry.
    fn wall_ms(&self) -> u64;
}

/// A source of random numbers. Not for secrets.
pub trait Random: Send + Sync + fmt::Debug {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// 128 random bits.
    fn next_u128(&self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }

    /// A number below `bound`; 0 when `bound` is 0. The bias, at most `bound` / 2^64, does not matter here.
    fn below(&self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next_u64()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

/// One piece of work that may block on a disk.
pub type Job = Box<dyn FnOnce() + Send>;

/// Work that does not panic, and gives the job that hands its answer over.
pub(crate) type TwoSteps = Box<dyn FnOnce() -> Job + Send>;

/// Runs work that may block, off the threads that serve the network.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Runs `job` to its end, soon, on a thread that may block, or at once on this one. Never drops a job unrun
    /// while the process lives.
    fn execute(&self, job: Job);
}

/// The environment of a node or client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Blocking work.
    pub executor: Arc<dyn Executor>,
}

impl Env {
    /// The machine's clock, randomness that nobody can guess, and tokio's pool of blocking threads.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::default()),
            executor: Arc::new(BlockingPool::default()),
        }
    }

    /// An environment in which equal seeds give equal runs: blocking work runs inline and the clock is tokio's, which
    /// a paused or simulated runtime controls. The wall clock starts at 2026-01-01.
    #[must_use]
    pub fn simulated(seed: u64) -> Self {
        Self {
            clock: Arc::new(TokioClock::default()),
            random: Arc::new(SeededRandom::new(seed)),
            executor: Arc::new(Inline),
        }
    }

    /// Runs `work` on the executor and waits for its answer. Dropping the future does not stop the work.
    ///
    /// # Panics
    /// When `work` panics: the panic goes on in the caller.
    pub async fn blocking<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (job, answer) = Self::job(work);
        self.executor.execute(job);
        answer.await
    }

    /// Work as a job for an executor, which does not panic, and its answer. Dropping the answer does not stop the work.
    ///
    /// # Panics
    /// The answer does when `work` panics: the panic goes on where it is awaited.
    pub(crate) fn job<T, F>(work: F) -> (Job, impl Future<Output = T> + Send)
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (work, answer) = Self::two_steps(work);
        (Box::new(move || work()()), answer)
    }

    /// The same, where whoever does the work gets a second job from it, which hands the answer over.
    pub(crate) fn two_steps<T, F>(work: F) -> (TwoSteps, impl Future<Output = T> + Send)
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, wait) = tokio::sync::oneshot::channel();
        let work = move || -> Job {
            let outcome: Result<T, Box<dyn Any + Send>> = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // The caller may have gone away; its answer goes with it.
            Box::new(move || drop(answer.send(outcome)))
        };
        let answer = async {
            match wait.await {
                Ok(Ok(value)) => value,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(_) => panic!("the executor dropped a job unrun"),
            }
        };
        (Box::new(work), answer)
    }
}

impl Default for Env {
    fn default() -> Self {
        Self::system()
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        #[allow(clippy::disallowed_methods, reason = "this is where the ambient clock comes in")]
        START.get_or_init(std::time::Instant::now).elapsed()
    }

    fn wall_ms(&self) -> u64 {
        #[allow(clippy::disallowed_methods, reason = "this is where the ambient clock comes in")]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Tokio's clock, which stands still or follows a simulation where the runtime says so.
#[derive(Debug, Default)]
pub struct TokioClock {
    start: std::sync::OnceLock<tokio::time::Instant>,
}

/// 2026-01-01T00:00:00Z, where simulated wall clocks begin.
const SIMULATED_EPOCH_MS: u64 = 1_767_225_600_000;

impl Clock for TokioClock {
    fn monotonic(&self) -> Duration {
        self.start.get_or_init(tokio::time::Instant::now).elapsed()
    }

    fn wall_ms(&self) -> u64 {
        SIMULATED_EPOCH_MS + u64::try_from(self.monotonic().as_millis()).unwrap_or(0)
    }
}

/// Randomness that tells nobody what comes next, however much of it they have seen: a counter under SipHash, whose 128-bit key comes from the system.
/// Ids of sessions and keys of grants are drawn from it.
#[derive(Debug, Default)]
pub struct SystemRandom {
    key: RandomState,
    drawn: AtomicU64,
}

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        self.key.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

/// A seeded generator (wyrand).
#[derive(Debug)]
pub struct SeededRandom(Mutex<fastrand::Rng>);

impl SeededRandom {
    /// Equal seeds give equal numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().u64(..)
    }
}

/// How many blocking jobs run at once by default: enough to keep several disks busy, few enough that their stacks and
/// buffers stay small.
pub const BLOCKING_JOBS: usize = 64;

/// Tokio's pool of blocking threads, with at most a given number of jobs on it at once. Must be used inside a runtime.
#[derive(Debug)]
pub struct BlockingPool {
    permits: Arc<Semaphore>,
}

impl BlockingPool {
    /// At most `jobs` at once; further ones wait.
    #[must_use]
    pub fn new(jobs: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(jobs)) }
    }
}

impl Default for BlockingPool {
    fn default() -> Self {
        Self::new(BLOCKING_JOBS)
    }
}

impl Executor for BlockingPool {
    fn execute(&self, job: Job) {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => {
                tokio::task::spawn_blocking(move || {
                    job();
                    drop(permit);
                });
            }
            Err(_) => {
                let permits = Arc::clone(&self.permits);
                tokio::spawn(async move {
                    let permit = permits.acquire_owned().await;
                    tokio::task::spawn_blocking(move || {
                        job();
                        drop(permit);
                    });
                });
            }
        }
    }
}

/// Runs every job at once on the caller's thread; for simulations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Executor for Inline {
    fn execute(&self, job: Job) {
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers() {
        let (a, b) = (SeededRandom::new(7), SeededRandom::new(7));
        assert_eq!(a.next_u128(), b.next_u128());
        assert!((0..1_000).all(|_| a.below(3) < 3));
        assert_eq!(a.below(0), 0);
        // Not even the same counter gives the same numbers elsewhere.
        let (a, b) = (SystemRandom::default(), SystemRandom::default());
        let drawn: std::collections::HashSet<_> = (0..100).flat_map(|_| [a.next_u64(), b.next_u64()]).collect();
        assert_eq!(drawn.len(), 200);
    }

    #[tokio::test]
    async fn blocking_work_answers_and_waits_its_turn() {
        let env = Env { executor: Arc::new(BlockingPool::new(1)), ..Env::system() };
        let all = futures::future::join_all((0..10).map(|n| env.blocking(move || n))).await;
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }
}
