//! A metadata store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::RwLock;

use super::layer::{Layer, Writes};
use super::{MetadataStore, ReadBox, TransactionBox, overlay};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};

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
}

#[derive(Debug, Default)]
struct Rows {
    version: Version,
    writes: Writes,
}

impl MemoryStore {
    /// An empty store, whose versions begin at 1.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        Self::over(Arc::new(Shared { incarnation, rows: RwLock::default() }))
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
        let writes = overlay::execute(&rows.writes, &mut *body, version)?;
        if writes.is_empty() {
            return Ok((body, rows.version));
        }
        for write in writes {
            let space = rows.writes.of_mut(write.space);
            match write.value {
                Some(value) => space.insert(write.key, Some(value)),
                None => space.remove(&write.key),
            };
        }
        rows.version = version;
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

    fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
