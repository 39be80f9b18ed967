//! Reads that may wait for a disk, a few at a time.
//!
//! Handing each of them to the executor alone would wake a thread for each, and have as many at work as there are callers: on a few cores
//! they would mostly wait for one another, and waking a thread costs more than a read of what is in memory. So they queue. The first one
//! calls a reader once the tasks that are ready have had their turn, and whoever is at work goes on with the next; only where
//! reads take their time, because they do wait for a disk, more of them are worth a thread each.
//!
//! Answers go back together too. All callers of one thread have a *carrier* there, a task that a reader wakes for many answers, and that hands
//! them over one after another: then what the callers make of them can go out together as well.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::env::{Env, Job, TwoSteps};

/// The most reads at once: as many as keep a disk busy.
const READERS: usize = 8;
/// A read that takes longer than this has waited for a disk; an answer does not wait longer for the next one.
const SLOW: Duration = Duration::from_micros(200);
/// How long an answer may wait behind a read that is stuck.
const STUCK: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct Readers(Mutex<State>);

#[derive(Default)]
struct State {
    reads: VecDeque<Read>,
    /// Readers at work.
    working: usize,
    /// When a read was last begun, by the monotonic clock.
    begun: Duration,
    /// Threads that wait for answers.
    callers: HashMap<ThreadId, Arc<Callers>>,
}

struct Read {
    work: TwoSteps,
    callers: Arc<Callers>,
}

/// Callers of one thread.
#[derive(Default)]
struct Callers {
    answers: Mutex<Answers>,
    wake: Notify,
}

#[derive(Default)]
struct Answers {
    /// Those that are there and were not handed over.
    ready: Vec<Job>,
    /// All that were not handed over.
    owed: usize,
    /// Nobody is there any more to hand them over.
    gone: bool,
}

impl Readers {
    /// Runs `work` on the executor and waits for its answer. Dropping the future does not stop the work.
    pub(super) async fn run<T, F>(self: &Arc<Self>, env: &Env, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (work, answer) = Env::two_steps(work);
        self.push(env, work);
        answer.await
    }

    fn push(self: &Arc<Self>, env: &Env, work: TwoSteps) {
        let thread = thread::current().id();
        let mut state = self.0.lock();
        let known = state.callers.get(&thread).cloned();
        let callers = known.clone().unwrap_or_default();
        callers.answers.lock().owed += 1;
        state.reads.push_back(Read { work, callers: Arc::clone(&callers) });
        if known.is_none() {
            state.callers.insert(thread, Arc::clone(&callers));
            let carrier = Carrier { readers: Arc::clone(self), env: env.clone(), callers, thread };
            drop(state);
            tokio::spawn(carrier.carry());
        } else if state.wants_reader(env.clock.monotonic()) {
            callers.wake.notify_one();
        }
    }

    /// One more reader, if there is something left to read.
    fn help(self: &Arc<Self>, env: &Env) {
        let mut state = self.0.lock();
        if state.reads.is_empty() || state.working == READERS {
            return;
        }
        state.working += 1;
        drop(state);
        let (readers, inner) = (Arc::clone(self), env.clone());
        env.executor.execute(Box::new(move || readers.work(&inner)));
    }

    fn work(self: &Arc<Self>, env: &Env) {
        let mut began = env.clock.monotonic();
        let mut told = began;
        let mut untold: Vec<Arc<Callers>> = Vec::new();
        loop {
            let mut state = self.0.lock();
            let Some(Read { work, callers }) = state.reads.pop_front() else {
                state.working -= 1;
                drop(state);
                return untold.iter().for_each(|callers| callers.wake.notify_one());
            };
            state.begun = began;
            drop(state);
            // Does not panic: what the work does, its caller hears.
            callers.ready(work());
            if !untold.iter().any(|known| Arc::ptr_eq(known, &callers)) {
                untold.push(callers);
            }
            let now = env.clock.monotonic();
            if now.saturating_sub(began) > SLOW {
                self.help(env);
            }
            if now.saturating_sub(told) > SLOW {
                untold.drain(..).for_each(|callers| callers.wake.notify_one());
                told = now;
            }
            began = now;
        }
    }
}

impl State {
    fn wants_reader(&self, now: Duration) -> bool {
        let stuck = self.working < READERS && now.saturating_sub(self.begun) > SLOW;
        !self.reads.is_empty() && (self.working == 0 || stuck)
    }
}

impl Callers {
    fn ready(&self, answer: Job) {
        let mut answers = self.answers.lock();
        if answers.gone {
            drop(answers);
            return answer();
        }
        answers.ready.push(answer);
    }

    /// Gives whether more are owed.
    fn hand_over(&self) -> bool {
        let mut answers = self.answers.lock();
        let ready = mem::take(&mut answers.ready);
        answers.owed -= ready.len();
        let more = answers.owed > 0;
        drop(answers);
        ready.into_iter().for_each(|answer| answer());
        more
    }
}

/// Calls readers for the callers of one thread, and hands their answers over.
struct Carrier {
    readers: Arc<Readers>,
    env: Env,
    callers: Arc<Callers>,
    thread: ThreadId,
}

impl Carrier {
    async fn carry(self) {
        loop {
            let wanted = self.readers.0.lock().wants_reader(self.env.clock.monotonic());
            if wanted {
                self.readers.help(&self.env);
            }
            if !self.callers.hand_over() && self.retires() {
                return;
            }
            // Whether woken or not, it looks.
            let _ = tokio::time::timeout(STUCK, self.callers.wake.notified()).await;
        }
    }

    /// Leaves, unless somebody came meanwhile.
    fn retires(&self) -> bool {
        let mut state = self.readers.0.lock();
        let retires = self.callers.answers.lock().owed == 0;
        if retires {
            state.callers.remove(&self.thread);
        }
        retires
    }
}

/// Also when its task ends before its turn, with its runtime, nobody waits in vain.
impl Drop for Carrier {
    fn drop(&mut self) {
        let mut state = self.readers.0.lock();
        if state.callers.get(&self.thread).is_some_and(|callers| Arc::ptr_eq(callers, &self.callers)) {
            state.callers.remove(&self.thread);
        }
        drop(state);
        self.callers.answers.lock().gone = true;
        self.callers.hand_over();
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
        while readers.0.lock().working == 0 || !readers.0.lock().reads.is_empty() {
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
