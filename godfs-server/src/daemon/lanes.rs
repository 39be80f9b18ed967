//! Single-threaded runtimes, one for each core, for the connections of a daemon: small calls, and streams that would wake each other across threads.

use std::thread::JoinHandle;
use std::time::Duration;

use godfs_core::{Error, Result};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// How long blocking work of a runtime may hold up the way out.
const PATIENCE: Duration = Duration::from_secs(1);

/// The runtimes. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Lanes {
    handles: Vec<Handle>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// One for each core.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](godfs_core::ErrorKind::Io) when the system has no thread or descriptor to spare.
    pub(super) fn start() -> Result<Self> {
        let mut lanes = Self { handles: Vec::new(), stop: CancellationToken::new(), threads: Vec::new() };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for number in 0..cores {
            lanes.add(number).map_err(|error| Error::io("start the async runtime of a core", error))?;
        }
        Ok(lanes)
    }

    fn add(&mut self, number: usize) -> std::io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, stop) = (runtime.handle().clone(), self.stop.clone());
        let work = move || {
            runtime.block_on(stop.cancelled());
            runtime.shutdown_timeout(PATIENCE);
        };
        self.threads.push(std::thread::Builder::new().name(format!("godfs-lane-{number}")).spawn(work)?);
        self.handles.push(handle);
        Ok(())
    }

    /// What is spawned on these runs there.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.handles.clone()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
