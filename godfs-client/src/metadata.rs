//! What the namenode says of files and where they are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use godfs_core::chunk::ReplicaState;
use godfs_core::{ChunkId, DfsPath, Error, ErrorKind, Generation, InodeId, NodeId, Result, SessionNumber, Version};
use godfs_proto::v1;

use crate::transport::convert::{self, Node};

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// A state of a file: it changes with each change of the file or its attributes. Written `INODE-VERSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ETag {
    /// The file.
    pub inode: InodeId,
    /// The version that wrote its row.
    pub version: Version,
}

impl ETag {
    pub(crate) fn from_wire(inode: u64, version: u64) -> Result<Self> {
        Ok(Self { inode: convert::inode(inode)?, version: Version(version) })
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.inode, self.version)
    }
}

impl FromStr for ETag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('-').and_then(|(inode, version)| {
            Some(Self { inode: InodeId(inode.parse().ok()?), version: Version(version.parse().ok()?) })
        });
        parsed.filter(|etag| etag.inode.get() > 0).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("{text:?} is no ETag: it is INODE-VERSION, as stat shows it"),
            )
        })
    }
}

impl FileKind {
    pub(crate) fn from_wire(kind: i32) -> Result<Self> {
        match v1::FileKind::try_from(kind) {
            Ok(v1::FileKind::File) => Ok(Self::File),
            Ok(v1::FileKind::Directory) => Ok(Self::Directory),
            Ok(v1::FileKind::Symlink) => Ok(Self::Symlink),
            Ok(v1::FileKind::Unspecified) | Err(_) => Err(malformed("an entry of no kind")),
        }
    }
}

/// The status of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStatus {
    /// Its inode: stable over renames, never used again.
    pub inode: InodeId,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of a file, as far as the namenode knows: one being written may have more. 0 for a directory.
    pub length: u64,
    /// Replicas that each chunk should have.
    pub replication: u32,
    /// Bytes a chunk.
    pub chunk_size: u64,
    /// When its bytes changed last, milliseconds since 1970.
    pub modified_ms: u64,
    /// When it was made, or what [`Client::set_times`](crate::Client::set_times) said since, milliseconds since 1970: reading does not change it.
    pub accessed_ms: u64,
    /// The version that wrote its row; with the inode, its ETag.
    pub version: Version,
    /// Whether a writer has it open.
    pub open: bool,
    /// Whether its bytes lie in the namenode.
    pub small: bool,
    /// The user it belongs to.
    pub user: String,
    /// The group it belongs to.
    pub group: String,
    /// Permission bits with set-group-id and sticky, at most `0o7777`.
    pub mode: u16,
    /// Where a symbolic link leads.
    pub target: Option<String>,
    /// Whether it has an access control list that says more than the mode.
    pub acl: bool,
}

impl FileStatus {
    /// Whether it is a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.kind == FileKind::Symlink
    }

    /// The state that the file is in: what [`CreateOptions::if_match`](crate::CreateOptions::if_match) takes.
    #[must_use]
    pub fn etag(&self) -> ETag {
        ETag { inode: self.inode, version: self.version }
    }

    pub(crate) fn from_wire(wire: Option<&v1::FileStatus>) -> Result<Self> {
        let wire = wire.ok_or_else(|| malformed("an answer without a status"))?;
        Ok(Self {
            inode: convert::inode(wire.inode)?,
            kind: FileKind::from_wire(wire.kind)?,
            length: wire.length,
            replication: wire.replication,
            chunk_size: wire.chunk_size,
            modified_ms: wire.modified_ms,
            accessed_ms: wire.accessed_ms,
            version: Version(wire.version),
            open: wire.open,
            small: wire.small,
            user: wire.user.clone(),
            group: wire.group.clone(),
            mode: convert::mode(wire.mode)?,
            target: (wire.kind == i32::from(v1::FileKind::Symlink)).then(|| wire.target.clone()),
            acl: wire.acl,
        })
    }
}

/// An entry of a [flat listing](crate::Client::list_keys).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyEntry {
    /// A file.
    File {
        /// Its path from where the listing began, without a slash in front.
        key: String,
        /// Bytes.
        length: u64,
        /// When its bytes changed last, milliseconds since 1970.
        modified_ms: u64,
        /// The state that it is in.
        etag: ETag,
    },
    /// How some keys begin, up to the first slash behind the listing's prefix, which is its last byte.
    Prefix(String),
}

impl KeyEntry {
    pub(crate) fn from_wire(wire: v1::Key) -> Result<Self> {
        let v1::Key { key, inode, length, modified_ms, version } = wire;
        if inode == 0 && key.ends_with('/') {
            return Ok(Self::Prefix(key));
        }
        Ok(Self::File { key, length, modified_ms, etag: ETag::from_wire(inode, version)? })
    }
}

/// What lies below a directory without itself, or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// What was counted.
    pub kind: FileKind,
    /// Bytes of files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes times the replicas of each file, where chunks that are being written count whole.
    pub space: u64,
    /// What a directory may hold.
    pub quota: Quota,
}

/// Something that was deleted, and is in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrashItem {
    /// Where it is: a path like any other, below which it can be looked at.
    pub path: DfsPath,
    /// Where it was.
    pub original: DfsPath,
    /// What it is.
    pub kind: FileKind,
    /// Who deleted it.
    pub user: String,
    /// When it was deleted, milliseconds since 1970.
    pub deleted_ms: u64,
    /// When it goes for good, milliseconds since 1970.
    pub expires_ms: u64,
    /// Bytes of it with all below it.
    pub bytes: u64,
    /// Files and symbolic links of it with all below it.
    pub files: u64,
    /// Directories of it with all below it.
    pub directories: u64,
}

impl TrashItem {
    pub(crate) fn from_wire(wire: v1::TrashItem) -> Result<Self> {
        Ok(Self {
            path: DfsPath::parse(&wire.path)?,
            original: DfsPath::parse(&wire.original)?,
            kind: FileKind::from_wire(wire.kind)?,
            user: wire.user,
            deleted_ms: wire.deleted_ms,
            expires_ms: wire.expires_ms,
            bytes: wire.bytes,
            files: wire.files,
            directories: wire.directories,
        })
    }
}

/// What a directory may hold, with all that lies below it and without itself; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Files, links and directories.
    pub names: Option<u64>,
    /// Bytes times the replicas of each file, where chunks that are being written count whole.
    pub space: Option<u64>,
}

impl Usage {
    pub(crate) fn from_wire(wire: &v1::UsageResponse) -> Result<Self> {
        let v1::UsageResponse { kind, bytes, files, directories, space, names_quota, space_quota } = *wire;
        let quota = Quota { names: names_quota, space: space_quota };
        Ok(Self { kind: FileKind::from_wire(kind)?, bytes, files, directories, space, quota })
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: FileStatus,
    /// Where its chunks are, in order, where a listing [was asked for that](crate::ListOptions::locations). `None` of what is no file, and of a file that the
    /// caller may not read or that was gone before it was looked at; none of a small file, whose bytes lie with the namenode.
    pub chunks: Option<Vec<ChunkLocation>>,
}

/// A file that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenFileStatus {
    /// The file.
    pub inode: InodeId,
    /// Its path; `None` when it has none (any more, or yet).
    pub path: Option<DfsPath>,
    /// Bytes, as far as the namenode knows.
    pub length: u64,
    /// The session of its writer, and who that says it is; `None` when the writer is gone and the namenode recovers the file, or when it is being
    /// cut.
    pub writer: Option<(SessionNumber, String)>,
    /// For how long the namenode has heard nothing of the writer, as far as it was awake to hear it.
    pub silent: Option<Duration>,
}

impl OpenFileStatus {
    pub(crate) fn from_wire(wire: v1::OpenFile) -> Result<Self> {
        Ok(Self {
            inode: convert::inode(wire.inode)?,
            path: if wire.path.is_empty() { None } else { Some(DfsPath::parse(&wire.path)?) },
            length: wire.length,
            writer: (wire.session > 0).then_some((SessionNumber(wire.session), wire.client)),
            silent: wire.silent_ms.map(Duration::from_millis),
        })
    }
}

/// Where a file's chunks are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileLocations {
    /// The file.
    pub status: FileStatus,
    /// Its chunks, in order.
    pub chunks: Vec<ChunkLocation>,
}

/// Where one chunk is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChunkLocation {
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its committed bytes; of the chunk being written, its nodes know more.
    pub length: u64,
    /// The lowest generation of a replica that counts.
    pub generation: Generation,
    /// Whether it is being written or recovered.
    pub open: bool,
    /// Its replicas, nearest first, live before others.
    pub replicas: Vec<ReplicaLocation>,
    /// Replicas on datanodes that have never registered: restored metadata may name such. Nobody knows where they listen.
    pub unregistered: Vec<UnregisteredReplica>,
    /// What a datanode on this machine gives its file for.
    pub(crate) grant: Bytes,
}

/// Where one replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaLocation {
    /// The datanode.
    pub node: Node,
    /// Its state; `None` when it is known to be corrupt.
    pub state: Option<ReplicaState>,
    /// Whether the datanode is heard from.
    pub live: bool,
}

/// One replica on a datanode that the namenode has never heard from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnregisteredReplica {
    /// The datanode.
    pub node: NodeId,
    /// Its state, as it was; `None` when it was known to be corrupt.
    pub state: Option<ReplicaState>,
}

impl ChunkLocation {
    pub(crate) fn from_wire(wire: &v1::ChunkLocation) -> Result<Self> {
        wire.offset.checked_add(wire.length).ok_or_else(|| malformed("a chunk beyond the end of all files"))?;
        let (mut replicas, mut unregistered) = (Vec::with_capacity(wire.replicas.len()), Vec::new());
        for replica in &wire.replicas {
            let node = replica.node.as_ref().ok_or_else(|| malformed("a replica nowhere"))?;
            let state = match convert::is_corrupt(replica.state) {
                true => None,
                false => Some(convert::replica_state(replica.state)?),
            };
            if node.address.is_empty() {
                unregistered.push(UnregisteredReplica { node: convert::node_id(node.id)?, state });
            } else {
                replicas.push(ReplicaLocation { node: convert::node(node)?, state, live: replica.live });
            }
        }
        Ok(Self {
            chunk: convert::chunk(wire.chunk)?,
            offset: wire.offset,
            length: wire.length,
            generation: convert::generation(wire.generation)?,
            open: wire.open,
            replicas,
            unregistered,
            grant: wire.grant.clone(),
        })
    }

    /// Says, for people, which datanodes hold replicas and never registered; `None` where all have.
    pub(crate) fn unreachable(&self) -> Option<String> {
        let nodes: Vec<String> = self.unregistered.iter().map(|replica| replica.node.to_string()).collect();
        match nodes.as_slice() {
            [] => None,
            [node] => Some(format!("node {node} has never registered")),
            _ => Some(format!("nodes {} have never registered", nodes.join(", "))),
        }
    }

    pub(crate) fn list(wire: &[v1::ChunkLocation]) -> Result<Vec<Self>> {
        let chunks: Vec<Self> = wire.iter().map(Self::from_wire).collect::<Result<_>>()?;
        if chunks.windows(2).any(|pair| pair[0].offset >= pair[1].offset) {
            return Err(malformed("chunks out of order"));
        }
        Ok(chunks)
    }
}

/// An answer of the namenode that can't be.
pub(crate) fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the namenode gave {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(addresses: &[&str]) -> ChunkLocation {
        let replicas = (1..).zip(addresses).map(|(id, address)| v1::ReplicaLocation {
            node: Some(v1::Node { id, address: (*address).to_owned(), domain: String::new() }),
            state: v1::ReplicaState::Finalized.into(),
            live: !address.is_empty(),
        });
        let wire = v1::ChunkLocation { chunk: 7, generation: 1, replicas: replicas.collect(), ..Default::default() };
        ChunkLocation::from_wire(&wire).expect("valid")
    }

    #[test]
    fn nodes_that_never_registered_stand_apart() {
        let chunk = chunk(&["a:1", "", ""]);
        assert_eq!(chunk.replicas.len(), 1);
        let nodes: Vec<u32> = chunk.unregistered.iter().map(|replica| replica.node.get()).collect();
        assert_eq!(nodes, [2, 3]);
        assert_eq!(chunk.unreachable().as_deref(), Some("nodes 2, 3 have never registered"));
        assert_eq!(self::chunk(&["a:1", ""]).unreachable().as_deref(), Some("node 2 has never registered"));
        assert_eq!(self::chunk(&["a:1"]).unreachable(), None);
    }
}
