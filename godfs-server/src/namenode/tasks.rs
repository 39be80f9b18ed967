//! The tasks of one namenode: each has an owner that joins or aborts it.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Spawns tasks, tells them to end, and waits for them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    set: Arc<Mutex<JoinSet<()>>>,
    ending: CancellationToken,
}

impl Tasks {
    /// No tasks yet; `ending` is what tells them to end.
    pub(super) fn new(ending: CancellationToken) -> Self {
        Self { set: Arc::default(), ending }
    }

    /// Spawns a task. After [`Tasks::abort`] it is dropped unrun.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set.lock();
        // Those that have ended are let go of here, so that the set holds no more than what runs.
        while set.try_join_next().is_some() {}
        if !self.ending.is_cancelled() {
            set.spawn(task);
        }
    }

    /// Becomes cancelled when the tasks should end.
    pub(super) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Tells all tasks to end and waits until they have.
    pub(super) async fn join(&self) {
        self.ending.cancel();
        let mut set = std::mem::take(&mut *self.set.lock());
        while set.join_next().await.is_some() {}
    }

    /// Ends all tasks where they stand and waits until they are gone, with all that they held.
    pub(super) async fn abort(&self) {
        self.ending.cancel();
        let mut set = std::mem::take(&mut *self.set.lock());
        set.abort_all();
        while set.join_next().await.is_some() {}
    }

    /// As [`Tasks::abort`], without waiting.
    pub(super) fn abort_now(&self) {
        self.ending.cancel();
        self.set.lock().abort_all();
    }
}
