//! What the namespace answers.

use bytes::Bytes;

use crate::chunk::ReplicaState;
use crate::id::{ChunkId, Generation, InodeId, LeaseId, NodeId, NodeUuid, SessionId, SessionNumber, Version};
use crate::path::DfsPath;

use super::collector::Frontier;
use super::options::Owner;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// Bytes.
    File,
    /// Names.
    Directory,
    /// The path of something else.
    Symlink,
}

/// What is known of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Its number, for life.
    pub inode: InodeId,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of a file, as far as the namespace knows: an open file may have more.
    pub length: u64,
    /// Replicas of a file; 0 for a directory.
    pub replication: u16,
    /// Bytes a chunk of a file; 0 for a directory.
    pub chunk_size: u64,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    /// Milliseconds since 1970.
    pub accessed_ms: u64,
    /// The version that wrote the row: with the inode, the ETag.
    pub version: Version,
    /// Whether a writer has it open.
    pub open: bool,
    /// Whether its bytes lie in the metadata store.
    pub small: bool,
    /// Where a symbolic link leads.
    pub target: Option<String>,
    /// Whose it is.
    pub owner: Owner,
    /// Whether it has an access control list that says more than the mode.
    pub acl: bool,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub status: FileStatus,
}

/// What a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkEntry {
    /// Where it is.
    pub path: DfsPath,
    /// What it is.
    pub status: FileStatus,
}

/// A piece of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkPage {
    /// What was found.
    pub entries: Vec<WalkEntry>,
    /// Directories that were passed by, since the caller may not list them: the refusals.
    pub denied: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<DfsPath>,
}

/// A key of a [flat listing](super::Namespace::keys).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatEntry {
    /// A path from the listing's root, without a slash in front of it; what many keys begin with ends in one.
    pub key: String,
    /// The file; `None` for what many keys begin with.
    pub status: Option<FileStatus>,
}

/// A piece of a flat listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatPage {
    /// In the order of their bytes. May be empty before the end.
    pub entries: Vec<FlatEntry>,
    /// Behind which key to go on; `None` at the end.
    pub next: Option<String>,
}

/// All below a directory; for a file, the file itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of files.
    pub bytes: u64,
    /// Files and symbolic links.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes × replication.
    pub space: u64,
}

/// Something that was deleted, and is in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashItem {
    /// Where it lies.
    pub path: DfsPath,
    /// Where it was.
    pub original: DfsPath,
    /// What it is.
    pub kind: FileKind,
    /// Who deleted it; empty for the namenode itself.
    pub user: String,
    /// When it was deleted, milliseconds since 1970.
    pub deleted_ms: u64,
    /// When it goes for good, milliseconds since 1970.
    pub expires_ms: u64,
    /// The item with all below it.
    pub usage: Usage,
}

/// What a directory may hold, with all that lies below it and without itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Files, links and directories.
    pub names: Option<u64>,
    /// Bytes × replication, where open chunks count whole.
    pub space: Option<u64>,
}

/// How limits of a directory change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaChange {
    /// They are these; what is `None` has no limit.
    To(Quota),
    /// Those that are given are these; what is `None` stays as it is.
    Given(Quota),
}

impl From<Quota> for QuotaChange {
    fn from(quota: Quota) -> Self {
        Self::To(quota)
    }
}

/// Counts over everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalCounts {
    /// All that has a name; the root itself is not counted.
    pub usage: Usage,
    /// Chunks, also of files that wait for the collector.
    pub chunks: u64,
    /// Committed chunks with fewer good replicas than their target.
    pub owed: u64,
    /// Deletions that datanodes owe.
    pub garbage: u64,
    /// Open files.
    pub leases: u64,
}

/// One replica, by the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaPlace {
    /// Where it is.
    pub node: NodeId,
    /// [`ReplicaState::Rbw`] in the pipeline of an open chunk, else [`ReplicaState::Finalized`].
    pub state: ReplicaState,
    /// Its own node found that it does not agree with its checksums.
    pub corrupt: bool,
}

/// One chunk, by the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkInfo {
    /// The chunk.
    pub chunk: ChunkId,
    /// The version that wrote its row.
    pub version: Version,
    /// The file.
    pub inode: InodeId,
    /// Replicas below it are stale.
    pub generation: Generation,
    /// The highest that was issued. Replicas between the two are pending.
    pub issued: Generation,
    /// Committed bytes; of an open chunk its nodes may hold more.
    pub length: u64,
    /// How many replicas it should have.
    pub target: u16,
    /// Being written or recovered.
    pub open: bool,
    /// The replicas; of an open chunk its pipeline, in order.
    pub replicas: Vec<ReplicaPlace>,
    /// Nodes that owe the deletion of something of it: no copy may go there before that is confirmed.
    pub leaving: Vec<NodeId>,
    /// Nodes that may have something of it that nobody counts on, by a pipeline that they are not in.
    pub left_out: Vec<NodeId>,
}

impl ChunkInfo {
    /// The nodes with a replica that is not known to be corrupt.
    pub fn good(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().filter(|replica| !replica.corrupt).map(|replica| replica.node)
    }
}

/// A chunk in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkLocation {
    /// Where it begins in the file.
    pub offset: u64,
    /// The chunk.
    pub info: ChunkInfo,
}

/// A file and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub status: FileStatus,
    /// The bytes, when `status.small`. Where there are chunks too, the writer is moving the file out of the metadata store: the
    /// chunk holds the bytes once it has at least as many.
    pub data: Bytes,
    /// Chunks, in order.
    pub chunks: Vec<ChunkLocation>,
    /// Whether more chunks follow in the range.
    pub more: bool,
}

/// A value, and the version of the commit that it is from; of a repeated call, those of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// What was asked for.
    pub value: T,
    /// The version.
    pub version: Version,
}

/// A file that was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The file.
    pub inode: InodeId,
    /// The right to write it.
    pub lease: LeaseId,
    /// How many replicas it gets.
    pub replication: u16,
    /// Bytes a chunk.
    pub chunk_size: u64,
}

/// A file that was created together with its first chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedWithChunk {
    /// The file.
    pub file: Created,
    /// The chunk; `None` where no node was given for it.
    pub chunk: Option<AddedChunk>,
}

/// A file that is written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The file.
    pub inode: InodeId,
    /// The right to write it.
    pub lease: LeaseId,
    /// How many replicas it has.
    pub replication: u16,
    /// Bytes a chunk.
    pub chunk_size: u64,
    /// Bytes that it has.
    pub length: u64,
    /// Where its last chunk begins, if that has room for more; else where the next one will.
    pub base: u64,
}

/// A file that was made shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The file.
    pub inode: InodeId,
    /// 0 when all is done. Else the last chunk is still to be cut on its nodes: it is done when the chunk has a higher generation than this.
    pub generation: Generation,
}

/// A chunk that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// The generation to write it under.
    pub generation: Generation,
    /// Its pipeline, in order.
    pub nodes: Vec<NodeId>,
}

/// Whether a file is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It is.
    Closed,
    /// The chunks are recorded, but one has too few replicas yet. Says which.
    Waiting(String),
}

/// A client's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The session.
    pub session: SessionId,
    /// Changes with every renewal: a session whose version has not changed for the timeout has expired.
    pub version: Version,
    /// Who the client says it is.
    pub name: String,
    /// Wall clock, milliseconds since 1970.
    pub opened_ms: u64,
    /// Wall clock, milliseconds since 1970.
    pub renewed_ms: u64,
    /// It is over, but files of its are still open: go on with [`end_session`](super::Namespace::end_session).
    pub ended: bool,
}

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The lease.
    pub lease: LeaseId,
    /// Who may write; [`RECOVERY_SESSION`](super::RECOVERY_SESSION) when the writer is gone.
    pub session: SessionId,
    /// The file.
    pub inode: InodeId,
}

/// An open file, and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFileInfo {
    /// The lease.
    pub lease: LeaseId,
    /// Who may write; [`RECOVERY_SESSION`](super::RECOVERY_SESSION) when the writer is gone, or the file is being cut.
    pub session: SessionId,
    /// What others are told of that session; 0 where it is the namenode's own.
    pub number: SessionNumber,
    /// Who that client says it is; empty where the session is the namenode's own.
    pub client: String,
    /// Which renewal of the session was its last; `None` where it is the namenode's own.
    pub renewal: Option<Version>,
    /// The file.
    pub inode: InodeId,
    /// Its path; `None` when it has none (any more, or yet).
    pub path: Option<DfsPath>,
    /// Bytes, as far as the namespace knows.
    pub length: u64,
}

/// A datanode, by the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its number, for life.
    pub node: NodeId,
    /// Its folder's.
    pub uuid: NodeUuid,
    /// Where it was reached last.
    pub address: String,
    /// Its failure domain.
    pub domain: String,
}

/// How much the rows say a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeHoldings {
    /// Finalized replicas, corrupt ones too.
    pub replicas: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a recovery has to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The file.
    pub inode: InodeId,
    /// Its path, if it still has one.
    pub path: Option<DfsPath>,
    /// The chunk is to be cut to its committed length, no more and no less.
    pub cut: bool,
    /// The open chunks, in order.
    pub chunks: Vec<ChunkInfo>,
}

/// What a namespace does with a replica that was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The rows say so already.
    Known,
    /// A replica was added.
    Added,
    /// A replica is gone.
    Removed,
    /// The replica is corrupt.
    Corrupt,
    /// Older than its chunk: the node shall delete it, unless it is all there is.
    Stale,
    /// Its chunk is being written or recovered.
    Pending,
    /// The node was told to delete it, or will be.
    Garbage,
    /// No row names it: it is kept and counted.
    Unknown,
}

/// What one step of the collector did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files and directories that are gone for good.
    pub inodes: u64,
    /// Chunks that were let go of; the replicas of those that no file has any more are garbage now.
    pub chunks: u64,
    /// Those that no file has any more.
    pub gone: Vec<ChunkId>,
    /// Where to go on; `None` when nothing that may be collected is left.
    pub next: Option<CollectorPlace>,
}

/// Where a collector stands. Only a hint that spares walking over what is gone already: any may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorPlace(pub(super) Frontier);

impl CollectorPlace {
    /// Behind all that was detached at `version` or before, once that is gone.
    #[must_use]
    pub fn behind(version: Version) -> Self {
        Self(Frontier::behind(version))
    }
}
