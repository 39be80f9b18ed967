//! Readers and writers of replicas on a volume: what they fail with is held against it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::volume::Volume;
use crate::chunk::{LocalFile, Packet, Replica, ReplicaReader, ReplicaWriter};
use crate::error::Result;

/// A writer on a volume. Once that is out of use nothing more is acknowledged, also where its files can still be written: they may be
/// those of a folder that nobody finds again.
#[derive(Debug)]
pub(super) struct VolumeWriter {
    inner: Box<dyn ReplicaWriter>,
    volume: Writing,
}

/// A volume that is being written to.
#[derive(Debug)]
struct Writing(Arc<Volume>);

impl VolumeWriter {
    pub(super) fn new(volume: Arc<Volume>, inner: Box<dyn ReplicaWriter>) -> Self {
        volume.writers.fetch_add(1, Ordering::Relaxed);
        Self { inner, volume: Writing(volume) }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Writing {
    /// What was done counts only if the volume is still in use.
    fn done<T>(&self, outcome: Result<T>) -> Result<T> {
        let done = self.0.noted(outcome)?;
        self.0.check_in_use()?;
        Ok(done)
    }
}

#[async_trait]
impl ReplicaWriter for VolumeWriter {
    async fn append(&mut self, packet: Packet) -> Result<()> {
        self.volume.0.check_in_use()?;
        let outcome = self.inner.append(packet).await;
        self.volume.done(outcome)
    }

    fn publish(&mut self, length: u64) {
        self.inner.publish(length);
    }

    fn drop_behind(&mut self) {
        self.inner.drop_behind();
    }

    async fn sync(&mut self) -> Result<()> {
        self.volume.0.check_in_use()?;
        let outcome = self.inner.sync().await;
        self.volume.done(outcome)
    }

    async fn finalize(self: Box<Self>, sync: bool) -> Result<Replica> {
        let Self { inner, volume } = *self;
        volume.0.check_in_use()?;
        volume.done(inner.finalize(sync).await)
    }

    fn replica(&self) -> Replica {
        self.inner.replica()
    }
}

/// A reader on a volume. It goes on when that is out of use: what it gives is proved by checksums, wherever it comes from.
#[derive(Debug)]
pub(super) struct VolumeReader {
    volume: Arc<Volume>,
    inner: Box<dyn ReplicaReader>,
}

impl VolumeReader {
    pub(super) fn new(volume: Arc<Volume>, inner: Box<dyn ReplicaReader>) -> Self {
        Self { volume, inner }
    }
}

#[async_trait]
impl ReplicaReader for VolumeReader {
    fn replica(&self) -> Replica {
        self.inner.replica()
    }

    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn read_cached(&self, offset: u64, length: usize, verify: bool) -> Option<Result<Packet>> {
        self.inner.read_cached(offset, length, verify).map(|read| self.volume.noted(read))
    }

    async fn local(&self) -> Result<Option<LocalFile>> {
        self.volume.noted(self.inner.local().await)
    }

    async fn read(&self, offset: u64, length: usize, verify: bool) -> Result<Packet> {
        self.volume.noted(self.inner.read(offset, length, verify).await)
    }
}
