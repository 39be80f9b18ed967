//! A metadata store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::changes::{Announced, RecentChanges};
use super::layer::{Layer, Writes};
use super::{Announcements, MetadataStore, Place, ReadBox, TransactionBox, overlay};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};

/// How much memory changes take, in bytes, unless told otherwise.
const CHANGE_BYTES: usize = 4 << 20;

/// A metadata store in memory, for tests, simulations and clusters that need not outlive their process.
///
/// Bodies run inline, on the thread that polls, one transaction after another, so that equal calls in equal order give
/// equal versions. What it holds lives as long as a handle on it: [`MemoryStore::reopen`] plays a restart.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    incarnation: Incarnation,
    rows: RwLock<Rows>,
    /// Told of each commit, and of the closing of a handle.
    last: watch::Sender<Version>,
}

#[derive(Debug)]
struct Rows {
    version: Version,
    writes: Writes,
    changes: RecentChanges,
}

impl MemoryStore {
    /// An empty store, whose versions begin at 1.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        Self::keeping(incarnation, CHANGE_BYTES)
    }

    /// The same, with room for `bytes` of changes that were announced.
    #[must_use]
    pub fn keeping(incarnation: Incarnation, bytes: usize) -> Self {
        let version = Version::default();
        let rows = Rows { version, writes: Writes::default(), changes: RecentChanges::new(version.next(), bytes) };
        Self::over(Arc::new(Shared { incarnation, rows: RwLock::new(rows), last: watch::Sender::new(version) }))
    }

    /// Another handle on the same rows, open whether or not this one was closed.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self::over(Arc::clone(&self.shared))
    }

    fn over(shared: Arc<Shared>) -> Self {
        Self { shared, closed: AtomicBool::new(false) }
    }

    fn open(&self) -> Result<&Shared> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Unavailable, "the metadata store is closed"));
        }
        Ok(&self.shared)
    }
}

#[async_trait]
impl MetadataStore for MemoryStore {
    async fn transact(&self, mut body: TransactionBox) -> Result<(TransactionBox, Version)> {
        let mut rows = self.open()?.rows.write();
        let version = rows.version.next();
        let executed = overlay::execute(&rows.writes, &mut *body, version)?;
        if executed.is_empty() {
            return Ok((body, rows.version));
        }
        for write in executed.writes {
            let space = rows.writes.of_mut(write.space);
            match write.value {
                Some(value) => space.insert(write.key, Some(value)),
                None => space.remove(&write.key),
            };
        }
        Announced::number(version, executed.changes).for_each(|change| rows.changes.push(change));
        rows.version = version;
        self.shared.last.send_replace(version);
        Ok((body, version))
    }

    async fn read(&self, mut body: ReadBox) -> Result<ReadBox> {
        let rows = self.open()?.rows.read();
        let layer: &dyn Layer = &rows.writes;
        overlay::read(layer, &mut *body)?;
        Ok(body)
    }

    async fn version(&self) -> Result<Version> {
        Ok(self.open()?.rows.read().version)
    }

    async fn changes(&self, from: Place, limit: usize) -> Result<Announcements> {
        let rows = self.open()?.rows.read();
        from.check(self.shared.incarnation, rows.version)?;
        rows.changes.read(from, rows.version, limit).ok_or_else(|| from.trimmed(rows.changes.oldest()))
    }

    async fn oldest_change(&self) -> Result<Place> {
        Ok(Place::before(self.shared.incarnation, self.open()?.rows.read().changes.oldest()))
    }

    async fn newer_than(&self, since: Version) -> Result<Version> {
        let mut last = self.shared.last.subscribe();
        loop {
            let version = *last.borrow_and_update();
            self.open()?;
            if version > since {
                return Ok(version);
            }
            last.changed().await.map_err(|_| Error::new(ErrorKind::Unavailable, "the metadata store is gone"))?;
        }
    }

    fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.shared.last.send_modify(|_| ());
        Ok(())
    }
}
