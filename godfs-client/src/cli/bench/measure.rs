//! Runs a phase and takes its figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use godfs_core::{Error, ErrorKind, Result};
use hdrhistogram::Histogram;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::context::Context;
use super::super::platform::{cpu_time, rss_max};
use super::super::view::Measured;
use super::daemons::Daemons;

/// What is to be measured.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    /// Where it works, for the reader of the figures.
    pub(super) path: String,
    /// Operations in all.
    pub(super) ops: u64,
    /// Operations at once.
    pub(super) concurrency: u32,
    /// Whose costs count besides those of this process.
    pub(super) daemons: Daemons,
}

impl Phase {
    /// One that works on the cluster of `context`.
    pub(super) async fn new(context: &Context, name: &'static str, path: String, ops: u64, concurrency: u32) -> Self {
        Self { name, path, ops, concurrency, daemons: Daemons::of(context).await }
    }
}

/// Time, and CPU time of this process and of the daemons, since a moment.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    begun: Instant,
    own: Duration,
    daemons: Option<Duration>,
    watched: Daemons,
    /// Set once it has stopped.
    spent: Option<Spent>,
}

/// What a phase took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) time: Duration,
    /// CPU time of this process.
    pub(super) own: Duration,
    /// CPU time of this process and of all daemons, where they are known.
    pub(super) all: Option<Duration>,
}

impl Meter {
    /// Begins to count what `phase` costs.
    pub(super) fn start(phase: &Phase) -> Self {
        let watched = phase.daemons.clone();
        let daemons = watched.cpu_time();
        Self { begun: Instant::now(), own: cpu_time(), daemons, watched, spent: None }
    }

    /// Stops, for good.
    pub(super) fn stop(&mut self) -> Spent {
        let now = || {
            let own = cpu_time().saturating_sub(self.own);
            let daemons = self.watched.cpu_time().zip(self.daemons).map(|(now, then)| now.saturating_sub(then));
            Spent { time: self.begun.elapsed(), own, all: daemons.map(|daemons| daemons + own) }
        };
        *self.spent.get_or_insert_with(now)
    }

    /// Has it say something else than what it counted.
    pub(super) fn set(&mut self, spent: Spent) {
        self.spent = Some(spent);
    }

    /// Counts also what another has counted that was stopped.
    pub(super) fn add(&mut self, other: &Self) {
        let (one, two) = (self.stop(), other.spent.unwrap_or_default());
        let all = one.all.zip(two.all).map(|(one, two)| one + two);
        self.spent = Some(Spent { time: one.time + two.time, own: one.own + two.own, all });
    }
}

/// The figures of a phase, and the first error if any operation failed.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) measured: Measured,
    pub(super) error: Option<Error>,
}

/// Latencies in microseconds: up to an hour, to three digits.
const MAX_LATENCY_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// Runs `operation` with each number below `phase.ops`, as many at once as asked for, each with what it needs moved in. An operation
/// gives the bytes that it moved; only those that succeed count, in bytes as in latencies.
pub(super) async fn measure<F, O>(phase: Phase, operation: O) -> Figures
where
    O: Fn(u64) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let here = Handle::current();
    measure_on(phase, std::iter::repeat(()), |()| (operation.clone(), here.clone())).await
}

/// As [`measure`], with workers that differ: `lanes` gives each of them what `worker` makes its operation of, and its runtime.
pub(super) async fn measure_on<L, F, O>(
    phase: Phase,
    lanes: impl Iterator<Item = L>,
    worker: impl Fn(L) -> (O, Handle),
) -> Figures
where
    O: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let meter = Meter::start(&phase);
    let mut workers = JoinSet::new();
    for (_, lane) in (0..u64::from(phase.concurrency).min(phase.ops)).zip(lanes) {
        let (operation, runtime) = worker(lane);
        workers.spawn_on(work(Arc::clone(&next), phase.ops, operation), &runtime);
    }
    let mut sum = Tally::default();
    while let Some(tally) = workers.join_next().await {
        match tally {
            Ok(tally) => sum.add(tally),
            Err(stopped) => {
                sum.fail(Error::new(ErrorKind::Internal, format!("a worker ended early: {stopped}")));
            }
        }
    }
    sum.figures(phase, meter)
}

async fn work<F, O>(next: Arc<AtomicU64>, ops: u64, operation: O) -> Tally
where
    O: Fn(u64) -> F,
    F: Future<Output = Result<u64>>,
{
    let mut tally = Tally::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= ops {
            return tally;
        }
        let start = Instant::now();
        match operation(number).await {
            Ok(bytes) => tally.succeed(bytes, start.elapsed()),
            Err(error) => tally.fail(error),
        }
    }
}

/// What one worker has seen.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    latencies: Histogram<u64>,
    bytes: u64,
    /// What the streams moved that moved least and most.
    streams: Option<(u64, u64)>,
    errors: u64,
    first_error: Option<Arc<Error>>,
}

impl Default for Tally {
    fn default() -> Self {
        let latencies = Histogram::new_with_max(MAX_LATENCY_US, DIGITS).expect("the bounds are valid");
        Self { latencies, bytes: 0, streams: None, errors: 0, first_error: None }
    }
}

impl Tally {
    pub(super) fn succeed(&mut self, bytes: u64, took: Duration) {
        self.latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.errors += 1;
        self.first_error.get_or_insert(Arc::new(error));
    }

    /// Counts what a stream of its own has moved.
    pub(super) fn add_stream(&mut self, other: Self) {
        let moved = Some((other.bytes, other.bytes));
        self.add(Self { streams: moved, ..other });
    }

    pub(super) fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies).expect("histograms of equal bounds add up");
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        let wider = |(a, b): (u64, u64), (c, d): (u64, u64)| (a.min(c), b.max(d));
        self.streams = match (self.streams, other.streams) {
            (Some(own), Some(others)) => Some(wider(own, others)),
            (own, others) => own.or(others),
        };
    }

    pub(super) fn figures(self, phase: Phase, mut meter: Meter) -> Figures {
        let spent = meter.stop();
        let ops = self.latencies.len();
        let seconds = spent.time.as_secs_f64();
        let all = spent.all.map(|all| all.as_secs_f64());
        let gib = self.bytes as f64 / f64::from(1 << 30);
        let rate = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        let measured = Measured {
            name: phase.name.to_owned(),
            ops,
            bytes: self.bytes,
            seconds,
            per_second: rate(ops as f64),
            mb_per_second: rate(self.bytes as f64 / 1e6),
            p50_us: self.latencies.value_at_quantile(0.5),
            p99_us: self.latencies.value_at_quantile(0.99),
            max_us: self.latencies.max(),
            errors: self.errors,
            cpu_seconds: spent.own.as_secs_f64(),
            cpu_all_seconds: all,
            cpu_all_per_gib: all.filter(|_| self.bytes > 0).map(|all| all / gib),
            synced: None,
            local: None,
            rss_max_bytes: rss_max(),
            daemon_rss_max_bytes: phase.daemons.rss_max(),
            least_bytes: self.streams.map(|(least, _)| least),
            most_bytes: self.streams.map(|(_, most)| most),
            path: phase.path,
        };
        Figures { measured, error: self.first_error.map(|error| error.duplicate()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(ops: u64, concurrency: u32) -> Phase {
        Phase { name: "sleep", path: "/".into(), ops, concurrency, daemons: Daemons::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn each_number_is_taken_once_and_counted() {
        let figures = measure(phase(100, 7), |number| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(number)
        })
        .await;
        let measured = figures.measured;
        assert_eq!((measured.ops, measured.bytes, measured.errors), (100, (0..100).sum::<u64>(), 0));
        // 15 rounds of seven at 10 ms each; tokio's timer works in milliseconds.
        assert!((0.150..0.180).contains(&measured.seconds), "{}", measured.seconds);
        assert!((10_000..12_000).contains(&measured.p50_us) && measured.p99_us <= measured.max_us, "{measured:?}");
        assert!((measured.per_second - 100.0 / measured.seconds).abs() < 1e-6);
        assert!((measured.mb_per_second - 4_950.0 / 1e6 / measured.seconds).abs() < 1e-6);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_apart() {
        let figures = measure(phase(10, 3), |number| async move {
            match number % 2 {
                0 => Ok(5),
                _ => Err(Error::new(ErrorKind::Unavailable, "gone")),
            }
        })
        .await;
        assert_eq!((figures.measured.ops, figures.measured.bytes, figures.measured.errors), (5, 25, 5));
        assert_eq!(figures.error.expect("the first").kind(), ErrorKind::Unavailable);
        let figures = measure(phase(0, 3), |_| async { Ok(0) }).await;
        assert_eq!((figures.measured.ops, figures.measured.max_us), (0, 0));
    }
}
