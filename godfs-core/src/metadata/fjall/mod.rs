//! The durable default: a commit log of ours, and rows in [fjall](https://docs.rs/fjall).
//!
//! A transaction is *executed* on an overlay over all that is on its way, joins a batch, is *logged* with it in one synced
//! record, becomes visible, is answered, and is *applied* to fjall in the background; the next batch forms
//! while the last one syncs. Fjall syncs only now and then; when the store is opened, its rows catch up from the log.
//!
//! # The folder
//! ```text
//! LOCK        held while the store is open
//! store       incarnation, format, the last record whose rows are persisted
//! store.new   only while a store is being created: what lies beside it is not one yet
//! log/        the commit log
//! rows/       fjall's
//! ```

mod apply;
mod cache;
mod commit;
mod open;
mod pipeline;
mod readers;
mod reserve;
mod rows;
mod state;
mod sync;
mod view;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod machine;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};

use self::pipeline::{Caller, Pipeline, Request};
use self::readers::Readers;
use self::view::AtHand;
use super::log::{Segments, Stretch};
use super::{Announcements, MetadataStore, Place, ReadBox, TransactionBox, overlay};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};
use crate::io::{Io, LockGuard};

/// Settings of a [`FjallStore`]. The defaults fit a namenode with millions of files in 400 MiB of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FjallOptions {
    /// The length of a segment of the commit log, in bytes. The log holds what was written since the rows were
    /// last persisted, at least one segment and a spare one.
    pub segment_bytes: u64,
    /// Segments of the commit log of so many bytes are kept for what was announced in them, after their rows were persisted. More lets who follows
    /// the changes be away for longer, and costs nothing but disk.
    pub retained_log_bytes: u64,
    /// What was announced last is kept in memory up to this size, in bytes, so that those who keep up read no log.
    pub recent_change_bytes: usize,
    /// A batch above this weight, in bytes, takes no further transaction.
    pub batch_bytes: usize,
    /// How many transactions may be in flight; further callers wait.
    pub transactions_in_flight: usize,
    /// How much may be synced and not yet applied, in bytes of memory; above it commits wait.
    pub unapplied_bytes: usize,
    /// The rows are persisted and the log is trimmed after this many bytes of memory were applied. More makes opening
    /// after a crash slower, less costs syncs.
    pub persist_bytes: usize,
    /// The cache of rows that were read lately, in bytes: what it holds is read without waiting for anything. 0 for none.
    pub row_cache_bytes: u64,
    /// The cache of fjall's blocks, in bytes.
    pub cache_bytes: u64,
    /// The length of a memtable of fjall's, in bytes; up to five of each of three keyspaces are in memory. Freeing a
    /// larger one stops reads for longer.
    pub memtable_bytes: u64,
    /// So much of the disk is kept free, in bytes; 0 for nothing. Where it is less, what would write is refused with
    /// [`ErrorKind::StorageFull`] until there is room again, and reads go on. It should hold what is on its way to the rows, and what they need to be merged.
    pub reserve_bytes: u64,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 8 << 20,
            retained_log_bytes: 256 << 20,
            recent_change_bytes: 4 << 20,
            batch_bytes: 4 << 20,
            transactions_in_flight: 4_096,
            unapplied_bytes: 32 << 20,
            persist_bytes: 16 << 20,
            row_cache_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            memtable_bytes: 8 << 20,
            reserve_bytes: 256 << 20,
        }
    }
}

/// A durable metadata store in a folder of the machine's disk.
///
/// The commit log goes through [`Io`]; fjall's rows do not, and need not: what they lose, the log has.
pub struct FjallStore {
    pipeline: Arc<Pipeline>,
    incarnation: Incarnation,
    env: Env,
    in_flight: Arc<Semaphore>,
    readers: Arc<Readers>,
    segments: Arc<Segments>,
    log_readers: Arc<Semaphore>,
    running: Arc<Mutex<Option<Running>>>,
}

/// What a store has written to its log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Transactions that wrote something.
    pub transactions: u64,
    /// Rows, each once for all transactions that were synced together.
    pub rows: u64,
    /// Bytes of records: keys, values and what frames them.
    pub bytes: u64,
}

/// What ends with the store.
#[derive(Debug)]
struct Running {
    threads: Vec<JoinHandle<()>>,
    /// Let go of last.
    lock: Box<dyn LockGuard>,
}

impl fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallStore").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

impl FjallStore {
    /// Creates an empty store in `folder`, which must be empty or missing, and opens it.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when there is a store, [`ErrorKind::FailedPrecondition`] when there is something
    /// else, and what the disk says. What an interrupted creation left is removed by the next.
    pub async fn create(folder: &Path, options: FjallOptions, io: Arc<dyn Io>, env: &Env) -> Result<Self> {
        let (folder, inner) = (folder.to_owned(), env.clone());
        env.blocking(move || open::create(&folder, &options, io, inner)).await
    }

    /// Opens the store in `folder`. Everything that was ever answered is there when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, [`ErrorKind::Unavailable`] when another process has it open,
    /// [`ErrorKind::Corrupt`] when log, rows and state do not agree (one was damaged, lost or brought back from an
    /// older copy), [`ErrorKind::Incompatible`] when a later release wrote it, and what the disk says.
    pub async fn open(folder: &Path, options: FjallOptions, io: Arc<dyn Io>, env: &Env) -> Result<Self> {
        let (folder, inner) = (folder.to_owned(), env.clone());
        env.blocking(move || open::open(&folder, &options, io, inner)).await
    }

    /// Whether there is a store in `folder`, in whatever state.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn exists(folder: &Path, io: Arc<dyn Io>, env: &Env) -> Result<bool> {
        let path = state::State::path(folder);
        env.blocking(move || io.exists(&path).map_err(|error| Error::io(path.display(), error))).await
    }

    /// What was written since it was opened.
    #[must_use]
    pub fn written(&self) -> Written {
        self.pipeline.written()
    }

    /// Runs `work`, which reads segments of the log.
    async fn read_log<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let permit = Arc::clone(&self.log_readers).acquire_owned().await.map_err(|_| stopped())?;
        let pipeline = Arc::clone(&self.pipeline);
        let work = move || {
            // Whoever closes the store waits for those who read in its folder.
            let reading = pipeline.reading();
            let done = pipeline.check().and_then(|()| work());
            drop(reading);
            drop(permit);
            done
        };
        self.env.blocking(work).await
    }

    /// Why the store has failed and must be opened anew; `None` while it works.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.pipeline.failure()
    }
}

#[async_trait]
impl MetadataStore for FjallStore {
    async fn transact(&self, body: TransactionBox) -> Result<(TransactionBox, Version)> {
        let permit = Arc::clone(&self.in_flight).acquire_owned().await.map_err(|_| stopped())?;
        let (answer, wait) = oneshot::channel();
        self.pipeline.submit(Request { body, caller: Caller { answer, permit } })?;
        wait.await.map_err(|_| stopped())?
    }

    async fn read(&self, mut body: ReadBox) -> Result<ReadBox> {
        let long = body.is_long();
        // First with what is in memory, here and now. Most reads end there; others begin anew where they may wait for a disk.
        let at_hand = if long {
            None
        } else {
            let _reading = self.pipeline.reading();
            let view = self.pipeline.view()?;
            overlay::read_at_hand(&mut AtHand(&view), &mut *body)
        };
        if let Some(done) = at_hand {
            return done.map(|()| body);
        }
        let pipeline = Arc::clone(&self.pipeline);
        let work = move || {
            let reading = pipeline.reading();
            let view = pipeline.view()?;
            let done = overlay::read(&view.stack(), &mut *body);
            // The rows must be let go before whoever closes the store may go on.
            drop(view);
            drop(reading);
            done.map(|()| body)
        };
        // Behind a reader that is at work for minutes, all others would wait.
        if long { self.env.blocking(work).await } else { self.readers.run(&self.env, work).await }
    }

    async fn version(&self) -> Result<Version> {
        Ok(self.pipeline.view()?.version)
    }

    async fn changes(&self, from: Place, limit: usize) -> Result<Announcements> {
        let last = self.pipeline.view()?.version;
        from.check(self.incarnation, last)?;
        if let Some(recent) = self.pipeline.changes(from, last, limit) {
            return Ok(recent);
        }
        let segments = Arc::clone(&self.segments);
        match self.read_log(move || segments.announced(from, last, limit)).await? {
            Stretch::Found(found) => Ok(found),
            Stretch::Trimmed { oldest } => Err(from.trimmed(oldest)),
        }
    }

    async fn oldest_change(&self) -> Result<Place> {
        let last = self.pipeline.view()?.version;
        let segments = Arc::clone(&self.segments);
        let oldest = self.read_log(move || segments.oldest(last)).await?;
        Ok(Place::before(self.incarnation, oldest))
    }

    async fn newer_than(&self, since: Version) -> Result<Version> {
        self.pipeline.newer_than(since).await
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn close(&self) -> Result<()> {
        let (pipeline, running) = (Arc::clone(&self.pipeline), Arc::clone(&self.running));
        self.env.blocking(move || end(&pipeline, &running)).await;
        self.failure().map_or(Ok(()), Err)
    }
}

impl Drop for FjallStore {
    fn drop(&mut self) {
        end(&self.pipeline, &self.running);
    }
}

/// Finishes what is under way. Waits for the threads.
fn end(pipeline: &Pipeline, running: &Mutex<Option<Running>>) {
    pipeline.close();
    // A second one to end the store waits here for the first.
    let mut running = running.lock();
    if let Some(Running { threads, lock }) = running.take() {
        for thread in threads {
            // A thread that panicked has said so, and poisoned the store.
            let _ = thread.join();
        }
        pipeline.release();
        drop(lock);
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "the metadata store has stopped; the transaction may or may not have committed")
}
