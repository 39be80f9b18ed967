//! A metadata store around another one, that counts transactions and reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use godfs_core::metadata::{Announcements, MetadataStore, Place, ReadBox, TransactionBox};
use godfs_core::{Incarnation, Result, Version};

/// Counts, and leaves the rest to the store inside.
#[derive(Debug)]
pub(crate) struct MeteredMetadata {
    inner: Arc<dyn MetadataStore>,
    pub(crate) transactions: AtomicU64,
    pub(crate) reads: AtomicU64,
}

impl MeteredMetadata {
    pub(crate) fn new(inner: Arc<dyn MetadataStore>) -> Self {
        Self { inner, transactions: AtomicU64::new(0), reads: AtomicU64::new(0) }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl MetadataStore for MeteredMetadata {
    async fn transact(&self, body: TransactionBox) -> Result<(TransactionBox, Version)> {
        let done = self.inner.transact(body).await?;
        self.transactions.fetch_add(1, Ordering::Relaxed);
        Ok(done)
    }

    async fn read(&self, body: ReadBox) -> Result<ReadBox> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(body).await
    }

    async fn version(&self) -> Result<Version> {
        self.inner.version().await
    }

    async fn changes(&self, from: Place, limit: usize) -> Result<Announcements> {
        self.inner.changes(from, limit).await
    }

    async fn oldest_change(&self) -> Result<Place> {
        self.inner.oldest_change().await
    }

    async fn newer_than(&self, since: Version) -> Result<Version> {
        self.inner.newer_than(since).await
    }

    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
