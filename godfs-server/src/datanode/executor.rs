//! Counts the blocking work of one datanode, so that its end can be waited for.

use std::sync::Arc;

use godfs_core::env::{Executor, Job};
use tokio_util::task::TaskTracker;

/// An executor that knows what it has under way.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    inner: Arc<dyn Executor>,
    jobs: TaskTracker,
}

impl Counted {
    pub(crate) fn new(inner: Arc<dyn Executor>) -> Self {
        Self { inner, jobs: TaskTracker::new() }
    }

    /// Waits until no work is under way. New work may come for as long as somebody gives it.
    pub(crate) async fn finished(&self) {
        self.jobs.close();
        self.jobs.wait().await;
    }
}

impl Executor for Counted {
    fn execute(&self, job: Job) {
        let token = self.jobs.token();
        self.inner.execute(Box::new(move || {
            job();
            drop(token);
        }));
    }
}
