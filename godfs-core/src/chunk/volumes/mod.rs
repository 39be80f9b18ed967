//! Replicas on several disks.
//!
//! | module | what |
//! |---|---|
//! | `opening`, `mark` | which folders are volumes of this node, and which are not there |
//! | `volume`, `health` | one volume, and when it is taken out of use |
//! | `handles` | readers and writers, whose failures are held against the volume |
//! | `twins` | replicas of one chunk on two volumes |
//!
//! A volume that fails is taken out of use until the next start: what lay there is gone for all who ask, as after the loss of a disk, and whoever asks
//! [`ChunkStore::volumes`] learns why. The others go on.

mod handles;
mod health;
mod mark;
mod opening;
#[cfg(test)]
mod tests;
mod twins;
mod volume;
mod whole;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures::future::join_all;

use self::handles::{VolumeReader, VolumeWriter};
use self::twins::Homes;
use self::volume::Volume;
use super::turns::Turns;
use super::{
    ChunkStore, CreateReplica, ReopenReplica, Replica, ReplicaReader, ReplicaWriter, Space, VolumeStatus, WholeReplica,
    rules,
};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation};

pub use self::opening::VolumesOptions;

/// The most volumes of a node: above what a machine has disks for. Each is asked where a replica lies.
pub const MAX_VOLUMES: usize = 64;

/// The granularity in which free space counts when volumes are weighed; keeps sums within 64 bits.
const WEIGHT_UNIT_BYTES: u64 = 1 << 16;

/// Replicas on several volumes, each a store of its own.
///
/// A new replica goes to a volume with room for it, drawn with a probability that grows with its free space and falls with its writers, so that
/// disks fill evenly; to any other where that one turns out full or bad. A replica never moves from one to another. Clones are handles on the same
/// store.
#[derive(Clone, Debug)]
pub struct VolumeStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    env: Env,
    volumes: Vec<Arc<Volume>>,
    /// Creations of one chunk go one after another, so that only one volume gets it.
    turns: Turns,
    homes: Homes,
}

impl VolumeStore {
    /// A store over others, each with its name, at most [`MAX_VOLUMES`]. They are judged by what they answer alone; the disks of
    /// [`VolumeStore::open`] are also looked at.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for none or too many; what a store says when it is asked for its room.
    pub async fn over(stores: Vec<(String, Arc<dyn ChunkStore>)>, env: Env) -> Result<Self> {
        let volume = |(name, store)| Volume::new(name, store, None, env.clone());
        Self::of(stores.into_iter().map(volume).collect(), env.clone()).await
    }

    async fn of(volumes: Vec<Volume>, env: Env) -> Result<Self> {
        if !(1..=MAX_VOLUMES).contains(&volumes.len()) {
            let message = format!("{} volumes: a node has 1 to {MAX_VOLUMES}", volumes.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let volumes = volumes.into_iter().map(Arc::new).collect();
        let inner = Inner { env, volumes, turns: Turns::default(), homes: Homes::default() };
        let store = Self { inner: Arc::new(inner) };
        store.inner.find_twins().await?;
        store.space().await?;
        Ok(store)
    }

    /// Chunks of which two volumes have replicas: one of them is offered, and the others go once [`ChunkStore::verify`] has found it good.
    #[must_use]
    pub fn twins(&self) -> Vec<ChunkId> {
        self.inner.homes.twins()
    }
}

impl Inner {
    /// The volumes in use, by their places.
    fn in_use(&self) -> impl Iterator<Item = (usize, &Arc<Volume>, Arc<dyn ChunkStore>)> {
        self.volumes.iter().enumerate().filter_map(|(at, volume)| Some((at, volume, volume.store()?)))
    }

    /// Where a replica of a chunk lies, if there is any.
    async fn find(&self, chunk: ChunkId) -> Option<(usize, &Arc<Volume>, Arc<dyn ChunkStore>)> {
        if let [only] = &self.volumes[..] {
            return only.store().map(|store| (0, only, store));
        }
        if let Some(at) = self.homes.of(chunk)
            && let Some(store) = self.volumes[at].store()
        {
            return Some((at, &self.volumes[at], store));
        }
        for (at, volume, store) in self.in_use() {
            if store.stat(chunk).await.is_ok() {
                return Some((at, volume, store));
            }
        }
        None
    }

    /// The same, for what needs one.
    async fn holder(&self, chunk: ChunkId) -> Result<(&Arc<Volume>, Arc<dyn ChunkStore>)> {
        let found = self.find(chunk).await;
        found.map(|(_, volume, store)| (volume, store)).ok_or_else(|| rules::not_found(chunk))
    }

    async fn create(&self, options: CreateReplica, expected: Option<u64>) -> Result<Box<dyn ReplicaWriter>> {
        let chunk = options.chunk;
        let _turn = self.turns.take(chunk).await;
        if let Some((at, ..)) = self.find(chunk).await {
            // It replaces what is there, or stands beside it.
            return self.create_on(at, options, expected).await;
        }
        let mut last = None;
        for at in self.choices(bytes_of(options, expected)) {
            match self.create_on(at, options, expected).await {
                Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Io) => last = Some(error),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Io, "no volume of this datanode is in use")))
    }

    async fn create_on(
        &self,
        at: usize,
        options: CreateReplica,
        expected: Option<u64>,
    ) -> Result<Box<dyn ReplicaWriter>> {
        let volume = &self.volumes[at];
        volume.check_in_use()?;
        let Some(store) = volume.store() else { return Err(rules::not_found(options.chunk)) };
        // Should this future be dropped, the work on that volume may go on: the next one must not look elsewhere.
        let home = self.homes.begin(options.chunk, at, self.env.clock.monotonic());
        let made = match expected {
            Some(length) => store.create_sized(options, length).await,
            None => store.create(options).await,
        };
        home.settled();
        let writer = volume.noted(made)?;
        volume.promise(bytes_of(options, expected));
        Ok(Box::new(VolumeWriter::new(Arc::clone(volume), writer)))
    }

    /// The volumes for a new replica, the first one drawn: those with room for it, and behind them the others, for it may end with less.
    fn choices(&self, bytes: u64) -> Vec<usize> {
        let weigh = |volume: &Volume| {
            let writers = u64::from(volume.writers.load(Ordering::Relaxed));
            (volume.available() / WEIGHT_UNIT_BYTES / (writers + 1)).max(1)
        };
        let mut choices: Vec<(bool, u64, usize)> =
            self.in_use().map(|(at, volume, _)| (volume.available() >= bytes.max(1), weigh(volume), at)).collect();
        choices.sort_unstable_by(|a, b| b.cmp(a));
        let roomy = choices.iter().take_while(|(roomy, ..)| *roomy).map(|(_, weight, _)| *weight);
        let total = roomy.clone().fold(0, u64::saturating_add);
        let mut left = self.env.random.below(total);
        let drawn = roomy.clone().position(|weight| left.checked_sub(weight).map(|rest| left = rest).is_none());
        if let Some(drawn) = drawn {
            choices[..=drawn].rotate_right(1);
        }
        choices.into_iter().map(|(.., at)| at).collect()
    }
}

/// How large a replica is expected to become.
fn bytes_of(options: CreateReplica, expected: Option<u64>) -> u64 {
    expected.filter(|length| *length > 0).unwrap_or(options.capacity)
}

#[async_trait]
impl ChunkStore for VolumeStore {
    async fn create(&self, options: CreateReplica) -> Result<Box<dyn ReplicaWriter>> {
        self.inner.create(options, None).await
    }

    async fn create_sized(&self, options: CreateReplica, length: u64) -> Result<Box<dyn ReplicaWriter>> {
        self.inner.create(options, Some(length)).await
    }

    async fn write_whole(&self, replicas: Vec<WholeReplica>) -> Vec<Result<Box<dyn ReplicaWriter>>> {
        self.inner.write_whole(replicas).await
    }

    async fn reopen(&self, options: ReopenReplica) -> Result<Box<dyn ReplicaWriter>> {
        let (volume, store) = self.inner.holder(options.chunk).await?;
        let writer = volume.noted(store.reopen(options).await)?;
        Ok(Box::new(VolumeWriter::new(Arc::clone(volume), writer)))
    }

    async fn open(&self, chunk: ChunkId, min_generation: Generation) -> Result<Box<dyn ReplicaReader>> {
        let (volume, store) = self.inner.holder(chunk).await?;
        let reader = volume.judged(store.open(chunk, min_generation).await).await?;
        Ok(Box::new(VolumeReader::new(Arc::clone(volume), reader)))
    }

    async fn recover(&self, chunk: ChunkId, generation: Generation) -> Result<Replica> {
        let (volume, store) = self.inner.holder(chunk).await?;
        volume.judged(store.recover(chunk, generation).await).await
    }

    async fn settle(&self, chunk: ChunkId, generation: Generation, length: u64) -> Result<Replica> {
        let (volume, store) = self.inner.holder(chunk).await?;
        volume.judged(store.settle(chunk, generation, length).await).await
    }

    async fn delete(&self, chunk: ChunkId, generation: Generation) -> Result<()> {
        let Some((at, volume, store)) = self.inner.find(chunk).await else { return Ok(()) };
        volume.noted(store.delete(chunk, generation).await)?;
        self.inner.delete_twins(chunk, generation, at).await
    }

    async fn stat(&self, chunk: ChunkId) -> Result<Replica> {
        let (_, store) = self.inner.holder(chunk).await?;
        store.stat(chunk).await
    }

    async fn list(&self, range: Range<u64>, limit: usize) -> Result<Vec<Replica>> {
        let mut all = Vec::new();
        for (at, volume, store) in self.inner.in_use() {
            let listed = volume.noted(store.list(range.clone(), limit).await)?;
            all.extend(listed.into_iter().filter(|replica| self.inner.homes.lies(replica.chunk, at)));
        }
        // The first of all are among the first of each.
        all.sort_unstable_by_key(|replica| replica.chunk);
        all.dedup_by_key(|replica| replica.chunk);
        all.truncate(limit);
        Ok(all)
    }

    async fn verify(&self, chunk: ChunkId) -> Result<Replica> {
        let (volume, store) = self.inner.holder(chunk).await?;
        match store.verify(chunk).await {
            Ok(replica) => {
                self.inner.settle_twins(replica).await;
                Ok(replica)
            }
            Err(error) => {
                // Of a disk that is not there every replica seems damaged. It is not: it is gone, and comes back with its disk.
                volume.note(&error);
                if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) {
                    volume.look(true).await;
                }
                if volume.in_use() { Err(error) } else { Err(rules::not_found(chunk)) }
            }
        }
    }

    async fn space(&self) -> Result<Space> {
        join_all(self.inner.volumes.iter().map(Volume::measure)).await;
        self.inner.tidy().await;
        let mut sum = Space::default();
        for VolumeStatus { space, .. } in self.inner.volumes.iter().map(|volume| volume.status()) {
            sum.capacity = sum.capacity.saturating_add(space.capacity);
            sum.used = sum.used.saturating_add(space.used);
            sum.available = sum.available.saturating_add(space.available);
        }
        Ok(sum)
    }

    async fn unknown(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (_, volume, store) in self.inner.in_use() {
            all.extend(volume.noted(store.unknown().await)?);
        }
        Ok(all)
    }

    async fn volumes(&self) -> Result<Vec<VolumeStatus>> {
        Ok(self.inner.volumes.iter().map(|volume| volume.status()).collect())
    }
}
