//! Reads that may wait for a disk, a few at a time.
//!
//! Handing each of them to the executor alone would wake a thread for each, and have as many at work as there are callers: on a few cores
//! they would mostly wait for one another, and waking a thread costs more than a read of what is in memory. So they queue. The first one
//! calls a reader once the tasks that are ready have had their turn, and whoever is at work goes on with the next; only where
//! reads take their time, because they do wait for a disk, more of them are worth a thread each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::env::{Env, Job};

/// The most reads at once: as many as keep a disk busy.
const READERS: usize = 8;
/// A read that takes longer than this has waited for a disk.
const SLOW: Duration = Duration::from_micros(200);

#[derive(Default)]
pub(super) struct Readers(Mutex<State>);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Readers at work.
    working: usize,
    /// When a read was last begun, by the monotonic clock.
    begun: Duration,
    /// Somebody is about to call one more.
    called: bool,
}

impl Readers {
    /// Runs `work` on the executor and waits for its answer. Dropping the future does not stop the work.
    pub(super) async fn run<T, F>(self: &Arc<Self>, env: &Env, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (job, answer) = Env::job(work);
        if self.push(job, env.clock.monotonic()) {
            let call = Call { readers: Arc::clone(self), env: env.clone() };
            tokio::spawn(async move { drop(call) });
        }
        answer.await
    }

    /// Gives whether the caller has to see to it that a reader comes.
    fn push(&self, job: Job, now: Duration) -> bool {
        let mut state = self.0.lock();
        state.jobs.push_back(job);
        let stuck = state.working < READERS && now.saturating_sub(state.begun) > SLOW;
        let call = (state.working == 0 || stuck) && !state.called;
        state.called |= call;
        call
    }

    /// One more reader, if there is something left to read.
    fn help(self: &Arc<Self>, env: &Env) {
        let mut state = self.0.lock();
        if state.jobs.is_empty() || state.working == READERS {
            return;
        }
        state.working += 1;
        drop(state);
        let (readers, inner) = (Arc::clone(self), env.clone());
        env.executor.execute(Box::new(move || readers.work(&inner)));
    }

    fn work(self: &Arc<Self>, env: &Env) {
        let mut began = env.clock.monotonic();
        loop {
            let mut state = self.0.lock();
            let Some(job) = state.jobs.pop_front() else {
                state.working -= 1;
                return;
            };
            state.begun = began;
            drop(state);
            // Does not panic: what the work does, its caller hears.
            job();
            let now = env.clock.monotonic();
            if now.saturating_sub(began) > SLOW {
                self.help(env);
            }
            began = now;
        }
    }
}

/// Calls one more reader when it is dropped, so that one comes also when the task that was to call it ends before its turn.
struct Call {
    readers: Arc<Readers>,
    env: Env,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.readers.0.lock().called = false;
        self.readers.help(&self.env);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn every_read_is_answered() {
        let (env, readers) = (Env::system(), Arc::new(Readers::default()));
        for _ in 0..20 {
            let answers = join_all((0..200).map(|number| readers.run(&env, move || number))).await;
            assert_eq!(answers, (0..200).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_read_that_is_stuck_holds_up_no_later_one() {
        let (env, readers) = (Env::system(), Arc::new(Readers::default()));
        let (end, ended) = mpsc::channel::<()>();
        let stuck = tokio::spawn({
            let (env, readers) = (env.clone(), Arc::clone(&readers));
            async move { readers.run(&env, move || ended.recv().expect("somebody ends it")).await }
        });
        while readers.0.lock().working == 0 || !readers.0.lock().jobs.is_empty() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(4 * SLOW).await;
        assert_eq!(readers.run(&env, || 1).await, 1);
        end.send(()).expect("it waits");
        stuck.await.expect("it ends");
    }

    #[tokio::test]
    async fn reads_that_wait_for_a_disk_wait_side_by_side() {
        let (env, readers) = (Env::system(), Arc::new(Readers::default()));
        let (begun, all_begun) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        // The first is slow, so a second reader comes, and a third; together they end once all three are at work.
        let first = readers.run(&env, || std::thread::sleep(4 * SLOW));
        let waiting = |begun: mpsc::Sender<()>, until: Option<mpsc::Receiver<()>>| {
            readers.run(&env, move || {
                begun.send(()).expect("somebody counts");
                if let Some(until) = until {
                    until.recv().expect("somebody ends it");
                }
            })
        };
        let second = waiting(begun.clone(), Some(ended));
        let third = waiting(begun, None);
        let other = tokio::task::spawn_blocking(move || {
            all_begun.recv().expect("one");
            all_begun.recv().expect("and the other, before the first has ended");
            end.send(()).expect("it waits");
        });
        let ((), (), (), other) = tokio::join!(first, second, third, other);
        other.expect("both were at work at once");
    }
}
