//! Reads that may wait for a disk, a few at a time.
//!
//! Handing each of them to the executor alone would wake a thread for each, and have as many at work as there are callers: on a few cores
//! they would mostly wait for one another. So they queue, and whoever is at work goes on with the next.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::env::{Env, Job};

/// How many are at work: enough that one which waits for its disk, or reads very much, does not hold up the others.
const READERS: usize = 8;

/// The queue, and how many work on it.
#[derive(Default)]
pub(super) struct Readers(Mutex<State>);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    working: usize,
}

impl Readers {
    /// Runs `work` on the executor and waits for its answer, as [`Env::blocking`] does.
    pub(super) async fn run<T, F>(self: &Arc<Self>, env: &Env, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        env.blocking_through(work, |job| {
            let mut state = self.0.lock();
            state.jobs.push_back(job);
            if state.working == READERS {
                return;
            }
            state.working += 1;
            drop(state);
            let readers = Arc::clone(self);
            env.executor.execute(Box::new(move || readers.work()));
        })
        .await
    }

    fn work(&self) {
        loop {
            let mut state = self.0.lock();
            let Some(job) = state.jobs.pop_front() else {
                state.working -= 1;
                return;
            };
            drop(state);
            // Does not panic: what the work does, its caller hears.
            job();
        }
    }
}
