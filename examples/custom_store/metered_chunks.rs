//! A chunk store around another one, that counts what passes and refuses more replicas than it was told to hold.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use godfs_core::chunk::{
    ChunkStore, CreateReplica, LocalFile, Packet, ReopenReplica, Replica, ReplicaReader, ReplicaWriter, Space,
    VolumeStatus, WholeReplica,
};
use godfs_core::{ChunkId, Error, ErrorKind, Generation, Result};

/// What has passed through a store.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) written: AtomicU64,
    pub(crate) read: AtomicU64,
    pub(crate) syncs: AtomicU64,
}

/// Counts, limits, and leaves the rest to the store inside.
#[derive(Clone, Debug)]
pub(crate) struct MeteredChunks {
    inner: Arc<dyn ChunkStore>,
    meter: Arc<Meter>,
    most_replicas: usize,
}

impl MeteredChunks {
    pub(crate) fn new(inner: Arc<dyn ChunkStore>, most_replicas: usize) -> Self {
        Self { inner, meter: Arc::default(), most_replicas }
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    async fn admit(&self, options: CreateReplica) -> Result<()> {
        let held = self.inner.list(0..u64::MAX, self.most_replicas).await?;
        if held.len() >= self.most_replicas && held.iter().all(|replica| replica.chunk != options.chunk) {
            // The kind by which the writer knows to go to another node.
            return Err(Error::new(ErrorKind::StorageFull, format!("there are {} replicas already", held.len())));
        }
        Ok(())
    }

    fn metered(&self, writer: Box<dyn ReplicaWriter>) -> Box<dyn ReplicaWriter> {
        Box::new(MeteredWriter { inner: writer, meter: Arc::clone(&self.meter) })
    }
}

// Nothing that the trait may get one day must be forgotten here.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChunkStore for MeteredChunks {
    async fn create(&self, options: CreateReplica) -> Result<Box<dyn ReplicaWriter>> {
        self.admit(options).await?;
        Ok(self.metered(self.inner.create(options).await?))
    }

    async fn create_sized(&self, options: CreateReplica, length: u64) -> Result<Box<dyn ReplicaWriter>> {
        self.admit(options).await?;
        Ok(self.metered(self.inner.create_sized(options, length).await?))
    }

    async fn write_whole(&self, replicas: Vec<WholeReplica>) -> Vec<Result<Box<dyn ReplicaWriter>>> {
        let mut outcomes = Vec::with_capacity(replicas.len());
        // One by one, so that none is admitted for the room of another.
        for replica in replicas {
            let bytes = replica.packet.data.len() as u64;
            if let Err(error) = self.admit(replica.options).await {
                outcomes.push(Err(error));
                continue;
            }
            for written in self.inner.write_whole(vec![replica]).await {
                outcomes.push(written.map(|writer| {
                    self.meter.written.fetch_add(bytes, Ordering::Relaxed);
                    self.metered(writer)
                }));
            }
        }
        outcomes
    }

    async fn reopen(&self, options: ReopenReplica) -> Result<Box<dyn ReplicaWriter>> {
        Ok(self.metered(self.inner.reopen(options).await?))
    }

    async fn open(&self, chunk: ChunkId, min_generation: Generation) -> Result<Box<dyn ReplicaReader>> {
        let inner = self.inner.open(chunk, min_generation).await?;
        Ok(Box::new(MeteredReader { inner, meter: Arc::clone(&self.meter) }))
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
struct MeteredWriter {
    inner: Box<dyn ReplicaWriter>,
    meter: Arc<Meter>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ReplicaWriter for MeteredWriter {
    async fn append(&mut self, packet: Packet) -> Result<()> {
        let bytes = packet.data.len() as u64;
        self.inner.append(packet).await?;
        self.meter.written.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn publish(&mut self, length: u64) {
        self.inner.publish(length);
    }

    fn drop_behind(&mut self) {
        self.inner.drop_behind();
    }

    async fn sync(&mut self) -> Result<()> {
        self.meter.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync().await
    }

    async fn finalize(self: Box<Self>, sync: bool) -> Result<Replica> {
        self.meter.syncs.fetch_add(u64::from(sync), Ordering::Relaxed);
        self.inner.finalize(sync).await
    }

    fn replica(&self) -> Replica {
        self.inner.replica()
    }
}

#[derive(Debug)]
struct MeteredReader {
    inner: Box<dyn ReplicaReader>,
    meter: Arc<Meter>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ReplicaReader for MeteredReader {
    fn replica(&self) -> Replica {
        self.inner.replica()
    }

    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn read_cached(&self, offset: u64, length: usize, verify: bool) -> Option<Result<Packet>> {
        let packet = self.inner.read_cached(offset, length, verify);
        if let Some(Ok(packet)) = &packet {
            self.meter.read.fetch_add(packet.data.len() as u64, Ordering::Relaxed);
        }
        packet
    }

    /// What other processes read by themselves could not be counted.
    async fn local(&self) -> Result<Option<LocalFile>> {
        Ok(None)
    }

    async fn read(&self, offset: u64, length: usize, verify: bool) -> Result<Packet> {
        let packet = self.inner.read(offset, length, verify).await?;
        self.meter.read.fetch_add(packet.data.len() as u64, Ordering::Relaxed);
        Ok(packet)
    }
}
