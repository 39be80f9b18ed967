//! Runtimes in the shape that the daemons have.

use std::future::Future;
use std::process::ExitCode;
use std::thread::JoinHandle;

use godfs_core::{Error, Result};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Does all the work of a bench named `name` on a runtime of one thread, and prints what went wrong.
pub fn run(name: &str, work: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("start the async runtime", error));
    match runtime.and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", error.report());
            ExitCode::FAILURE
        }
    }
}

/// Single-threaded runtimes, one for each core, as the daemon and `godfs bench` have them.
#[derive(Debug)]
pub struct Lanes {
    /// One for each core.
    pub handles: Vec<Handle>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// Starts them.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> Result<Self> {
        let mut lanes = Self { handles: Vec::new(), stop: CancellationToken::new(), threads: Vec::new() };
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Error::io("start the async runtime", error))?;
            lanes.handles.push(runtime.handle().clone());
            let stop = lanes.stop.clone();
            lanes.threads.push(std::thread::spawn(move || runtime.block_on(stop.cancelled())));
        }
        Ok(lanes)
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
