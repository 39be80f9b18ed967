//! What callers pass to the namespace.

use bytes::Bytes;

use super::answers::FileKind;
use super::xattrs::Xattr;
use crate::glob::Glob;
use crate::id::{ChunkId, Generation, InodeId, LeaseId, NodeId, NodeUuid, SessionId, Version};
use crate::path::DfsPath;

/// The longest name of a session, in bytes.
pub const MAX_SESSION_NAME_BYTES: usize = 255;
/// All bits of a mode: set-user-id (kept, and without a meaning here), set-group-id, sticky, and three rights for each of owner, group and others.
pub const MODE_BITS: u16 = 0o7777;
/// The bits that clients take away from the mode of what they make, unless they say otherwise.
pub const DEFAULT_UMASK: u16 = 0o022;

/// Makes a mutating call safe to repeat: a repeated sequence of a slot gets the first answer, a lower one is refused.
///
/// A caller has one call in flight on a slot and raises the sequence with each new call, whether or not the last one
/// was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose call it is.
    pub session: SessionId,
    /// From 0 up to the number of slots.
    pub slot: u32,
    /// From 1.
    pub sequence: u64,
}

/// Who a file or directory belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: String,
    /// The group.
    pub group: String,
    /// Permission bits, with set-group-id and sticky: at most [`MODE_BITS`].
    pub mode: u16,
}

/// The permission bits that a new file or directory is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewMode {
    /// The bits, at most [`MODE_BITS`]; `None` for `0o666` of a file and `0o777` of a directory.
    pub mode: Option<u16>,
    /// Bits to take away from these.
    pub umask: u16,
}

impl Default for NewMode {
    fn default() -> Self {
        Self { mode: None, umask: DEFAULT_UMASK }
    }
}

impl NewMode {
    /// What is asked for, before the umask.
    pub(super) fn asked(self, directory: bool) -> u16 {
        self.mode.unwrap_or(if directory { 0o777 } else { 0o666 })
    }

    /// What remains of it.
    pub(super) fn bits(self, directory: bool) -> u16 {
        self.asked(directory) & !self.umask
    }
}

/// How a directory is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MkdirOptions {
    /// Make missing parents, each with the default bits and `u+wx`, and accept a directory that exists.
    pub parents: bool,
    /// Its permission bits.
    pub mode: NewMode,
}

/// Which state of which file is meant: its inode, and the version that wrote its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag {
    /// The file.
    pub inode: InodeId,
    /// The version of its row.
    pub version: Version,
}

/// How a file is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Replace a file that exists; one that is open loses its lease.
    pub overwrite: bool,
    /// Replace the file under the name if it is just this one, and make none otherwise. With `publish_on_close` it must be so then, too.
    pub if_match: Option<ETag>,
    /// Make missing parents, each with the default bits and `u+wx`; with `publish_on_close` when the name appears, and not before.
    pub parents: bool,
    /// Replicas; `None` for the default.
    pub replication: Option<u16>,
    /// Bytes a chunk; `None` for the default.
    pub chunk_size: Option<u64>,
    /// The name appears, and an old file under it goes, only when the file is closed.
    pub publish_on_close: bool,
    /// Its permission bits.
    pub mode: NewMode,
    /// Extended attributes that it has from its beginning.
    pub xattrs: Vec<Xattr>,
}

/// The right under which a writer's call is made: all three must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writing {
    /// The call, with the session.
    pub call: Call,
    /// The file.
    pub inode: InodeId,
    /// The lease that its creation gave.
    pub lease: LeaseId,
}

/// A chunk that its writer has finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkCommit {
    /// The chunk.
    pub chunk: ChunkId,
    /// The generation that its replicas were finalized under: the one issued last.
    pub generation: Generation,
    /// Bytes; not 0.
    pub length: u64,
    /// The nodes that acknowledged the last packet.
    pub nodes: Vec<NodeId>,
}

/// A question for the next chunk of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddChunk {
    /// Where the chunk begins in the file.
    pub start: u64,
    /// Chunks that are finished and were not reported yet.
    pub commits: Vec<ChunkCommit>,
    /// Where its replicas go, chosen by the caller, in the order of the pipeline; the first `replication` of them are taken.
    pub nodes: Vec<NodeId>,
}

/// What closes a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complete {
    /// The length of the whole file, bytes.
    pub length: u64,
    /// Chunks that were not reported yet.
    pub commits: Vec<ChunkCommit>,
    /// All bytes of a file that has no chunk; empty for what was stored before.
    pub data: Bytes,
    /// Close with fewer than min(2, replication) replicas of a chunk.
    pub relaxed: bool,
}

/// A file that is made of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compose {
    /// Where the parts lie: closed files, none of them small, of the chunk size that the file is to have. It goes, with all that is in it.
    pub directory: DfsPath,
    /// Their names there, in the order in which they are joined; at most [`MAX_PARTS`](super::MAX_PARTS).
    pub parts: Vec<String>,
    /// The file.
    pub target: DfsPath,
    /// How it is made; it is published in any case.
    pub options: CreateOptions,
}

/// A file that is deleted together with what only led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlink {
    /// The file, or a symbolic link; no directory.
    pub path: DfsPath,
    /// The directories above the path that are left without an entry go too, as far as they lie below this one.
    pub root: DfsPath,
}

/// How a name is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// What is renamed.
    pub from: DfsPath,
    /// The new path itself.
    pub to: DfsPath,
    /// Replace a file by a file, or an empty directory by a directory.
    pub replace: bool,
    /// Make the directories above the new path that are missing.
    pub parents: bool,
    /// Of a file only, and the directories above the old path that are left without an entry go, as far as they lie below this one.
    pub root: Option<DfsPath>,
}

impl Rename {
    /// Of what stands there, to where a directory is, and nothing else changes.
    #[must_use]
    pub fn new(from: DfsPath, to: DfsPath, replace: bool) -> Self {
        Self { from, to, replace, parents: false, root: None }
    }
}

/// A symbolic link that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symlink {
    /// The link itself, which must not exist.
    pub path: DfsPath,
    /// Where it leads: absolute, or from the directory that holds it. Nothing need be there. At most
    /// [`MAX_TARGET_BYTES`](super::MAX_TARGET_BYTES).
    pub target: String,
}

/// A new owner; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewOwner {
    /// The user.
    pub user: Option<String>,
    /// The group.
    pub group: Option<String>,
}

/// Whether an extended attribute must be there before it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XattrMode {
    /// Makes or replaces it.
    #[default]
    Any,
    /// It must not be there.
    Create,
    /// It must be there.
    Replace,
}

/// A new value of an extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetXattr {
    /// With its namespace, `user.` or `trusted.`.
    pub name: String,
    /// What it is to hold.
    pub value: Bytes,
    /// Whether it must be there.
    pub mode: XattrMode,
}

/// New times; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Milliseconds since 1970.
    pub modified_ms: Option<u64>,
    /// Milliseconds since 1970.
    pub accessed_ms: Option<u64>,
}

/// A datanode that registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Made with its folder.
    pub uuid: NodeUuid,
    /// The number that its folder says it has; `None` for a folder that was never registered.
    pub node: Option<NodeId>,
    /// `HOST:PORT` where it is reached.
    pub address: String,
    /// Its failure domain, such as `/dc1/rack7`.
    pub domain: String,
}

/// Which entries a walk gives. It passes through all directories down to the greatest depth, whether or not they are given themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkOptions {
    /// Only names that it covers.
    pub name: Option<Glob>,
    /// Only these.
    pub kind: Option<FileKind>,
    /// Only so many names below the beginning, or more; 0 includes the beginning itself.
    pub min_depth: usize,
    /// At most so many names below the beginning.
    pub max_depth: usize,
    /// Only files of so many bytes or more.
    pub min_bytes: Option<u64>,
    /// Only files of so many bytes or fewer.
    pub max_bytes: Option<u64>,
    /// Go on past directories that the caller may not list, and say which; else the first of them ends the walk.
    pub past_denied: bool,
}

impl Default for WalkOptions {
    /// All that lies below, without the beginning.
    fn default() -> Self {
        let (min_depth, max_depth) = (1, usize::MAX);
        Self { name: None, kind: None, min_depth, max_depth, min_bytes: None, max_bytes: None, past_denied: false }
    }
}

/// Which keys a [flat listing](super::Namespace::keys) gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlatOptions {
    /// Only keys that begin with it; it may end within a name.
    pub prefix: String,
    /// Only keys whose bytes are greater.
    pub after: String,
    /// Of keys with a `/` behind the prefix only how they begin, up to that: one entry for all that begin alike.
    pub delimited: bool,
    /// What has this name does not show, nor anything below it.
    pub hide: Option<String>,
}

/// Which file is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRef {
    /// By name.
    Path(DfsPath),
    /// By number; also a file that lost its name since.
    Inode(InodeId),
}

/// Which part of a file is located.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocateRange {
    /// Where it begins, bytes.
    pub offset: u64,
    /// Bytes; `u64::MAX` for all that follow.
    pub length: u64,
    /// At most this many chunks, no more than [`MAX_PAGE`](super::MAX_PAGE).
    pub chunks: usize,
}
