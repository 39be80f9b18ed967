//! Who makes the calls of a load of small calls: one single-threaded runtime for each core, each with clients of its own.
//!
//! Small calls cost little but what is between their tasks: with one runtime over all cores, waking them across threads costs
//! more than the calls do. A client has as many calls in flight as its session has slots, so there are several.

use std::sync::Arc;
use std::thread::JoinHandle;

use futures::future::join_all;
use godfs_core::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use super::super::context::Context;
use crate::Client;

/// Operations in flight of one client: as many as a namenode offers slots to a session.
const A_CLIENT: u32 = 64;
/// The most clients.
const MAX_CLIENTS: u32 = 256;

/// Clients, each on its runtime. Dropped, the runtimes end.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// One client, and where its work is done.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) client: Arc<Client>,
    pub(super) runtime: Handle,
}

impl Lanes {
    /// Clients for `concurrency` operations in flight.
    pub(super) async fn start(context: &Context, concurrency: u32) -> Result<Self> {
        let mut started = Self { lanes: Vec::new(), stop: CancellationToken::new(), threads: Vec::new() };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let clients = (concurrency.div_ceil(A_CLIENT) as usize).max(cores).min(concurrency as usize);
        let mut runtimes = Vec::new();
        for _ in 0..cores.min(clients) {
            runtimes.push(started.runtime()?);
        }
        for runtime in runtimes.iter().cycle().take(clients.min(MAX_CLIENTS as usize)) {
            let connect = context.connect();
            let client = runtime.spawn(connect).await.map_err(|stopped| {
                Error::new(ErrorKind::Internal, format!("a client could not be started: {stopped}"))
            })??;
            started.lanes.push(Lane { client: Arc::new(client), runtime: runtime.clone() });
        }
        Ok(started)
    }

    /// A runtime on a thread of its own, until the end.
    fn runtime(&mut self) -> Result<Handle> {
        let failed = |error| Error::io("start the async runtime", error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (handle, stop) = (runtime.handle().clone(), self.stop.clone());
        let work = move || runtime.block_on(stop.cancelled());
        self.threads.push(std::thread::Builder::new().name("godfs-bench".to_owned()).spawn(work).map_err(failed)?);
        Ok(handle)
    }

    /// The clients.
    pub(super) fn all(&self) -> &[Lane] {
        &self.lanes
    }

    /// Ends the sessions.
    pub(super) async fn end(&self) {
        let ended = self.lanes.iter().map(|lane| {
            let client = Arc::clone(&lane.client);
            lane.runtime.spawn(async move { client.end_session().await })
        });
        // Sessions that can't be ended end by themselves.
        drop(join_all(ended).await);
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
