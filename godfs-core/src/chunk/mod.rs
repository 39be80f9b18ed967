//! The chunk store: where a datanode keeps its replicas.
//!
//! [`ChunkStore`] is the contract; [`DirectoryStore`] keeps one file a replica, in the format that [`mod@format`] draws;
//! [`MemoryStore`] keeps them in memory; [`VolumeStore`] keeps them on several disks.

#[cfg(feature = "testing")]
pub mod conformance;
mod directory;
pub mod format;
mod memory;
#[cfg(test)]
mod model_tests;
mod rules;
#[cfg(test)]
mod tests;
#[cfg(feature = "testing")]
mod throttled;
mod turns;
mod volumes;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::id::{ChunkId, Generation};

pub use directory::{DirectoryOptions, DirectoryStore};
pub use memory::MemoryStore;
#[cfg(feature = "testing")]
pub use throttled::ThrottledStore;
pub use volumes::{MAX_VOLUMES, VolumeStore, VolumesOptions};

/// The most bytes of data in one packet.
pub const MAX_PACKET_BYTES: usize = 1 << 20;
/// The largest chunk that a file may ask for.
pub const MAX_CHUNK_BYTES: u64 = 4 << 30;
/// The smallest chunk that a file may ask for.
pub const MIN_CHUNK_BYTES: u64 = 64 << 10;

/// The state of a replica on its datanode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplicaState {
    /// Being written by a pipeline.
    Rbw,
    /// Was being written when the datanode last stopped. Its length is what its checksums prove; it is offered only to recovery.
    Rwr,
    /// Whole; its bytes no longer change under this generation.
    Finalized,
    /// A copy in flight; never visible to readers, gone after a restart.
    Temporary,
}

/// What is known of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The chunk it is a copy of.
    pub chunk: ChunkId,
    /// The generation it was written under.
    pub generation: Generation,
    /// Bytes received, verified and written. For a finalized replica, all of them.
    pub length: u64,
    /// Bytes that readers may see: what the successor has acknowledged too. Equal to `length` when finalized; 0 for `Rwr`,
    /// as nobody knows any more.
    pub visible: u64,
    /// Its state.
    pub state: ReplicaState,
}

/// Bytes with the checksums of their pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where the data begins in the chunk.
    pub offset: u64,
    /// At most [`MAX_PACKET_BYTES`].
    pub data: Bytes,
    /// One big-endian CRC32C for each piece, as [`checksum::checksums`](crate::checksum::checksums) makes them.
    pub checksums: Bytes,
}

/// How a replica is opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateReplica {
    /// The chunk.
    pub chunk: ChunkId,
    /// The generation it is written under.
    pub generation: Generation,
    /// The most bytes it will ever hold, at most [`MAX_CHUNK_BYTES`]; for the layout, nothing is reserved.
    pub capacity: u64,
    /// [`ReplicaState::Rbw`] for a pipeline, [`ReplicaState::Temporary`] for a copy.
    pub state: ReplicaState,
}

/// A replica that is written in one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeReplica {
    /// How it is opened.
    pub options: CreateReplica,
    /// All its bytes.
    pub packet: Packet,
    /// Whether it is to be durable before it is finalized.
    pub sync: bool,
    /// A hint: others are expected to be read instead of it, as [`ReplicaWriter::drop_behind`] says.
    pub drop_behind: bool,
}

/// How an existing replica is taken up again: after a pipeline broke, or for an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReopenReplica {
    /// The chunk.
    pub chunk: ChunkId,
    /// The new generation; must be above the replica's own.
    pub generation: Generation,
    /// The length to go on from, at most the replica's own; bytes beyond it are dropped.
    pub length: u64,
}

/// Room for replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that replicas may take in all.
    pub capacity: u64,
    /// Bytes that replicas take now.
    pub used: u64,
    /// Bytes that new replicas may still take.
    pub available: u64,
}

/// One disk of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeStatus {
    /// Where it is.
    pub path: String,
    /// Its room; none once it has failed.
    pub space: Space,
    /// Why it is out of use, if it is.
    pub failure: Option<String>,
}

/// Where a datanode keeps its replicas.
///
/// **Contract.**
/// - At most one replica of a chunk, and beside a temporary one what it is to replace. At most one writer of a replica: opening it again, recovering, truncating or deleting it
///   stops the writer that was there, whose later calls fail with [`ErrorKind::Fenced`](crate::ErrorKind::Fenced).
/// - A writer's packets must follow one another without a gap. Each is checked against its checksums before any byte of it
///   counts; a bad one fails with `Corrupt` and changes nothing.
/// - What is durable on return: [`ReplicaWriter::sync`] and [`ReplicaWriter::finalize`] with `sync` make every byte, its checksums,
///   the replica's name and the directories above durable. `append` alone promises nothing across a crash of the machine, but
///   everything across a crash of the process.
/// - After a restart a replica that was being written is `Rwr` with the length its checksums prove, never `Finalized`;
///   temporary ones are gone; anything that cannot be classified is kept, left alone and counted in `unknown`.
/// - Generations only grow. An operation that names a generation fails with `Fenced` when the replica's own is newer.
/// - Reads give back verified bytes or `Corrupt`, never other bytes. A read under way survives the deletion of its replica.
/// - A full disk fails with `StorageFull` and leaves what was written before readable; deleting still works.
/// - After a failed write or sync of which nobody knows what reached the disk, a replica refuses all but reading and
///   deletion until the store is opened again.
/// - Every call may be cancelled by dropping its future; the replica is then as if the call had, or had not, happened.
#[async_trait]
pub trait ChunkStore: Send + Sync + fmt::Debug + 'static {
    /// Creates a replica. `AlreadyExists` when the chunk has a replica here, other than a temporary one or one being written under an
    /// older generation, which are replaced.
    ///
    /// A temporary replica replaces nothing before it is whole. It may be created beside a replica that is `Rwr`, of its own or an
    /// older generation, or being written or finalized under an older one. The writer of that leftover is stopped; while the temporary
    /// one is there, all calls mean the temporary one; when it is finalized the leftover goes, and when it is deleted, or
    /// the store opened again, the leftover is back as it was.
    async fn create(&self, options: CreateReplica) -> Result<Box<dyn ReplicaWriter>>;

    /// As [`create`](Self::create), for a replica that is expected to end with `length` bytes, 0 when that is not known: a store may keep
    /// small ones together. It may end with fewer or more; only what it costs depends on `length`.
    async fn create_sized(&self, options: CreateReplica, length: u64) -> Result<Box<dyn ReplicaWriter>> {
        let _ = length;
        self.create(options).await
    }

    /// Creates replicas and writes all their bytes, each as if by itself, together what that costs: with `sync` a replica is durable on return, and finalizing it
    /// waits for no disk. The outcomes are in the order of the replicas.
    ///
    /// After a crash such a replica may be found finalized though nobody has finalized it. Then [`Replica::visible`] is 0: it is whole and counts as such, but
    /// nobody here knows whether the nodes behind this one have it, so nothing of it is to be shown before the namenode has committed the chunk.
    async fn write_whole(&self, replicas: Vec<WholeReplica>) -> Vec<Result<Box<dyn ReplicaWriter>>> {
        let mut outcomes = Vec::with_capacity(replicas.len());
        for WholeReplica { options, packet, sync, drop_behind } in replicas {
            let written = async {
                let mut writer = self.create_sized(options, packet.data.len() as u64).await?;
                if drop_behind {
                    writer.drop_behind();
                }
                writer.append(packet).await?;
                if sync {
                    writer.sync().await?;
                }
                Ok(writer)
            };
            outcomes.push(written.await);
        }
        outcomes
    }

    /// Takes up a replica of any state but temporary, cut to `length`, under a new generation, as `Rbw`. The generation is durable on return.
    async fn reopen(&self, options: ReopenReplica) -> Result<Box<dyn ReplicaWriter>>;

    /// Opens a replica for reading. A temporary one is `NotFound`; one below `min_generation` fails with `FailedPrecondition`.
    async fn open(&self, chunk: ChunkId, min_generation: Generation) -> Result<Box<dyn ReplicaReader>>;

    /// Stops any writer, waits for what it had under way, and tells what the replica holds, all of it read back and verified;
    /// `Corrupt` when that is not what was written. The first step of recovery. Fails with `Fenced` when the replica's generation is not below
    /// `generation`, and remembers `generation` durably, so that no recovery with a lower number, and no writer of the
    /// old one, can follow. Repeating it with the same number is no error. A finalized replica stays as it is.
    async fn recover(&self, chunk: ChunkId, generation: Generation) -> Result<Replica>;

    /// Cuts a replica to `length`, moves it to `generation` and finalizes it, durably: the second step of recovery, and
    /// truncation. Repeating it is no error; `FailedPrecondition` when the replica is shorter, or was finalized under
    /// `generation` with another length.
    async fn settle(&self, chunk: ChunkId, generation: Generation, length: u64) -> Result<Replica>;

    /// Removes a replica whose generation is at most `generation`; one that does not exist is no error. Of a temporary one and a
    /// leftover beside it, only the temporary one. Durable in time: after a crash it may be back.
    async fn delete(&self, chunk: ChunkId, generation: Generation) -> Result<()>;

    /// What is known of one replica; `NotFound` when there is none.
    async fn stat(&self, chunk: ChunkId) -> Result<Replica>;

    /// All replicas whose chunk is in `range`, in order of their ids, at most `limit`. Temporary ones are included.
    async fn list(&self, range: Range<u64>, limit: usize) -> Result<Vec<Replica>>;

    /// Reads the whole of a finalized replica from the disk and checks every byte, header and checksum. `Corrupt` says what was found.
    async fn verify(&self, chunk: ChunkId) -> Result<Replica>;

    /// Room.
    async fn space(&self) -> Result<Space>;

    /// Files that could not be classified at the last start, for the operator.
    async fn unknown(&self) -> Result<Vec<String>>;

    /// The disks that it keeps replicas on, as [`space`](Self::space) last found them; none where it does not tell. What lies on one that has
    /// failed is not there for any other call.
    async fn volumes(&self) -> Result<Vec<VolumeStatus>> {
        Ok(Vec::new())
    }
}

/// The one writer of a replica. Dropping it leaves the replica as it is, to be reopened or recovered.
#[async_trait]
pub trait ReplicaWriter: Send + fmt::Debug {
    /// Writes one packet, which begins where the last one ended, once its checksums hold. A packet that begins earlier
    /// and agrees with what is there (the same piece, longer) is an overlap of the last unfinished piece only.
    async fn append(&mut self, packet: Packet) -> Result<()>;

    /// Lets readers see the first `length` bytes, all of which must have been appended.
    fn publish(&mut self, length: u64);

    /// A hint, before the first append: others are expected to be read instead of this replica, so what has reached the disk need not
    /// stay in memory.
    fn drop_behind(&mut self) {}

    /// Makes all appended bytes durable, with the names that lead to them.
    async fn sync(&mut self) -> Result<()>;

    /// Ends the replica at its present length: state `Finalized`. With `sync` it is durable on return; without, it is
    /// so only in time, and after a crash of the machine the replica may be `Rwr`, shorter, or gone.
    async fn finalize(self: Box<Self>, sync: bool) -> Result<Replica>;

    /// The replica as it stands.
    fn replica(&self) -> Replica;
}

/// The file of a replica, and where things lie in it.
///
/// What is read from it counts only if the [guard](Self::guard) is the same afterwards: before bytes that belong to the replica are changed or cut off, the
/// guarded bytes change.
#[derive(Debug)]
pub struct LocalFile {
    /// The file, open for reading alone.
    pub file: std::fs::File,
    /// Where the first byte of data lies.
    pub data_at: u64,
    /// Where the checksum of the first whole piece lies; the others follow.
    pub checksums_at: u64,
    /// CRC32C of the last piece, if it is not whole.
    pub tail: u32,
    /// How many bytes at the beginning of the file are guarded.
    pub guard_bytes: u32,
    /// Their CRC32C.
    pub guard: u32,
}

/// Reads one replica. Holds it open: neither deletion nor append changes what it sees. Once the replica was cut, reads
/// of what was cut off may fail with `Fenced`: open it again.
#[async_trait]
pub trait ReplicaReader: Send + Sync + fmt::Debug {
    /// The replica as it was when opened; `visible` is where reading ends, and grows while the replica is being written.
    fn replica(&self) -> Replica;

    /// The most bytes that the replica may ever hold, as its creation said. A copy takes it over, so that it can be written on as well.
    fn capacity(&self) -> u64;

    /// As [`read`](Self::read), on the spot, of bytes that are in memory: `None` when it would have to wait, or the store can't tell. For small reads.
    fn read_cached(&self, _offset: u64, _length: usize, _verify: bool) -> Option<Result<Packet>> {
        None
    }

    /// The file of a finalized replica, for a process of this machine that reads it itself. `None` where the store can't give one.
    async fn local(&self) -> Result<Option<LocalFile>> {
        Ok(None)
    }

    /// Reads from the start of the piece that holds `offset`, at most [`MAX_PACKET_BYTES`] and not beyond the visible
    /// length, verified unless `verify` is false. Empty data means the end. The packet carries the checksums as stored (of the last, unfinished
    /// piece: as computed over the part that is visible).
    async fn read(&self, offset: u64, length: usize, verify: bool) -> Result<Packet>;
}
