//! A store that is slow to write, for tests.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    ChunkStore, CreateReplica, Packet, ReopenReplica, Replica, ReplicaReader, ReplicaWriter, Space, VolumeStatus,
    WholeReplica,
};
use crate::error::Result;
use crate::id::{ChunkId, Generation};

/// A store over another one that takes its time for each packet, as a slow disk does. Clones are handles on the same store.
#[derive(Clone, Debug)]
pub struct ThrottledStore {
    inner: Arc<dyn ChunkStore>,
    /// Microseconds.
    pause: Arc<AtomicU64>,
}

impl ThrottledStore {
    /// Every packet takes `pause` longer than in the store below.
    #[must_use]
    pub fn new(inner: Arc<dyn ChunkStore>, pause: Duration) -> Self {
        let store = Self { inner, pause: Arc::default() };
        store.set_pause(pause);
        store
    }

    /// From now on, that long.
    pub fn set_pause(&self, pause: Duration) {
        self.pause.store(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn writer(&self, inner: Box<dyn ReplicaWriter>) -> Box<dyn ReplicaWriter> {
        Box::new(ThrottledWriter { inner, pause: Arc::clone(&self.pause) })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChunkStore for ThrottledStore {
    async fn create(&self, options: CreateReplica) -> Result<Box<dyn ReplicaWriter>> {
        Ok(self.writer(self.inner.create(options).await?))
    }

    async fn create_sized(&self, options: CreateReplica, length: u64) -> Result<Box<dyn ReplicaWriter>> {
        Ok(self.writer(self.inner.create_sized(options, length).await?))
    }

    async fn write_whole(&self, replicas: Vec<WholeReplica>) -> Vec<Result<Box<dyn ReplicaWriter>>> {
        let packets = replicas.len() as u64;
        tokio::time::sleep(Duration::from_micros(self.pause.load(Ordering::Relaxed).saturating_mul(packets))).await;
        let written = self.inner.write_whole(replicas).await;
        written.into_iter().map(|outcome| outcome.map(|writer| self.writer(writer))).collect()
    }

    async fn reopen(&self, options: ReopenReplica) -> Result<Box<dyn ReplicaWriter>> {
        Ok(self.writer(self.inner.reopen(options).await?))
    }

    async fn open(&self, chunk: ChunkId, min_generation: Generation) -> Result<Box<dyn ReplicaReader>> {
        self.inner.open(chunk, min_generation).await
    }

    async fn recover(&self, chunk: ChunkId, generation: Generation) -> Result<Replica> {
        self.inner.recover(chunk, generation).await
    }

    async fn settle(&self, chunk: ChunkId, generation: Generation, length: u64) -> Result<Replica> {
        self.inner.settle(chunk, generation, length).await
    }

    async fn delete(&self, chunk: ChunkId, generation: Generation) -> Result<()> {
        self.inner.delete(chunk, generation).await
    }

    async fn stat(&self, chunk: ChunkId) -> Result<Replica> {
        self.inner.stat(chunk).await
    }

    async fn list(&self, range: Range<u64>, limit: usize) -> Result<Vec<Replica>> {
        self.inner.list(range, limit).await
    }

    async fn verify(&self, chunk: ChunkId) -> Result<Replica> {
        self.inner.verify(chunk).await
    }

    async fn space(&self) -> Result<Space> {
        self.inner.space().await
    }

    async fn unknown(&self) -> Result<Vec<String>> {
        self.inner.unknown().await
    }

    async fn volumes(&self) -> Result<Vec<VolumeStatus>> {
        self.inner.volumes().await
    }
}

#[derive(Debug)]
struct ThrottledWriter {
    inner: Box<dyn ReplicaWriter>,
    pause: Arc<AtomicU64>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ReplicaWriter for ThrottledWriter {
    async fn append(&mut self, packet: Packet) -> Result<()> {
        tokio::time::sleep(Duration::from_micros(self.pause.load(Ordering::Relaxed))).await;
        self.inner.append(packet).await
    }

    fn publish(&mut self, length: u64) {
        self.inner.publish(length);
    }

    fn drop_behind(&mut self) {
        self.inner.drop_behind();
    }

    async fn sync(&mut self) -> Result<()> {
        self.inner.sync().await
    }

    async fn finalize(self: Box<Self>, sync: bool) -> Result<Replica> {
        self.inner.finalize(sync).await
    }

    fn replica(&self) -> Replica {
        self.inner.replica()
    }
}
