//! The key of every row. Numbers are big endian, so that keys sort as the numbers do.

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, InodeId, LeaseId, NodeId, NodeUuid, SessionId, Version};
use crate::metadata::Stamped;

numbered! {
    /// The leading byte of a key.
    pub(in crate::namespace) enum Table {
        Store = 0x01,
        Ids = 0x02,
        Totals = 0x03,
        Entries = 0x10,
        Inodes = 0x11,
        Usage = 0x12,
        Extents = 0x13,
        Orphans = 0x14,
        Xattrs = 0x18,
        Acls = 0x19,
        Quotas = 0x1a,
        Trash = 0x1b,
        TrashExpiry = 0x1c,
        Chunks = 0x20,
        Replicas = 0x21,
        Sums = 0x22,
        Owed = 0x23,
        Garbage = 0x24,
        Sessions = 0x30,
        Slots = 0x31,
        Leases = 0x32,
        SessionLeases = 0x33,
        Nodes = 0x40,
        NodeUuids = 0x41,
    }
}

/// Where a row of a table holds the version that wrote it; always behind one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::namespace) enum VersionAt {
    Nowhere,
    Key,
    Value,
}

impl Table {
    /// The table of a key.
    pub(in crate::namespace) fn of(key: &[u8]) -> Option<Self> {
        let first = *key.first()?;
        Self::ALL.iter().copied().find(|table| *table as u8 == first)
    }

    pub(in crate::namespace) fn version_at(self) -> VersionAt {
        match self {
            Self::Inodes | Self::Chunks | Self::Sessions | Self::Slots => VersionAt::Value,
            Self::Orphans => VersionAt::Key,
            Self::Store
            | Self::Ids
            | Self::Totals
            | Self::Entries
            | Self::Usage
            | Self::Quotas
            | Self::Trash
            | Self::TrashExpiry
            | Self::Extents
            | Self::Xattrs
            | Self::Acls
            | Self::Replicas
            | Self::Sums
            | Self::Owed
            | Self::Garbage
            | Self::Leases
            | Self::SessionLeases
            | Self::Nodes
            | Self::NodeUuids => VersionAt::Nowhere,
        }
    }
}

fn key(table: Table, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(table as u8);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// All keys of a table begin with this.
pub(in crate::namespace) fn table(table: Table) -> Vec<u8> {
    vec![table as u8]
}

/// The format version of all rows, and the cluster id.
pub(in crate::namespace) fn store() -> Vec<u8> {
    table(Table::Store)
}

/// The next number of one series.
pub(in crate::namespace) fn ids(series: u8) -> Vec<u8> {
    key(Table::Ids, &[&[series]])
}

pub(in crate::namespace) fn totals() -> Vec<u8> {
    table(Table::Totals)
}

/// All entries of a directory begin with this.
pub(in crate::namespace) fn entries(parent: InodeId) -> Vec<u8> {
    key(Table::Entries, &[&parent.0.to_be_bytes()])
}

pub(in crate::namespace) fn entry(parent: InodeId, name: &str) -> Vec<u8> {
    key(Table::Entries, &[&parent.0.to_be_bytes(), name.as_bytes()])
}

pub(in crate::namespace) fn inode(inode: InodeId) -> Vec<u8> {
    key(Table::Inodes, &[&inode.0.to_be_bytes()])
}

/// In [`Space::Data`](crate::metadata::Space::Data), where nothing else is.
pub(in crate::namespace) fn data(inode: InodeId) -> Vec<u8> {
    inode.0.to_be_bytes().to_vec()
}

pub(in crate::namespace) fn usage(directory: InodeId) -> Vec<u8> {
    key(Table::Usage, &[&directory.0.to_be_bytes()])
}

/// How many directories have a quota.
pub(in crate::namespace) fn quotas() -> Vec<u8> {
    quota(InodeId(0))
}

pub(in crate::namespace) fn quota(directory: InodeId) -> Vec<u8> {
    key(Table::Quotas, &[&directory.0.to_be_bytes()])
}

pub(in crate::namespace) fn trash(inode: InodeId) -> Vec<u8> {
    key(Table::Trash, &[&inode.0.to_be_bytes()])
}

pub(in crate::namespace) fn trash_expiry(expires_ms: u64, inode: InodeId) -> Vec<u8> {
    key(Table::TrashExpiry, &[&expires_ms.to_be_bytes(), &inode.0.to_be_bytes()])
}

/// All extents of a file begin with this.
pub(in crate::namespace) fn extents(inode: InodeId) -> Vec<u8> {
    key(Table::Extents, &[&inode.0.to_be_bytes()])
}

pub(in crate::namespace) fn extent(inode: InodeId, start: u64) -> Vec<u8> {
    key(Table::Extents, &[&inode.0.to_be_bytes(), &start.to_be_bytes()])
}

/// An orphan of the transaction that is under way.
pub(in crate::namespace) fn new_orphan(inode: InodeId) -> Stamped {
    Stamped::versioned(&[Table::Orphans as u8], &inode.0.to_be_bytes())
}

pub(in crate::namespace) fn orphan(since: Version, inode: InodeId) -> Vec<u8> {
    key(Table::Orphans, &[&since.0.to_be_bytes(), &inode.0.to_be_bytes()])
}

/// All extended attributes of an inode begin with this.
pub(in crate::namespace) fn xattrs(inode: InodeId) -> Vec<u8> {
    key(Table::Xattrs, &[&inode.0.to_be_bytes()])
}

pub(in crate::namespace) fn xattr(inode: InodeId, name: &str) -> Vec<u8> {
    key(Table::Xattrs, &[&inode.0.to_be_bytes(), name.as_bytes()])
}

pub(in crate::namespace) fn acl(inode: InodeId) -> Vec<u8> {
    key(Table::Acls, &[&inode.0.to_be_bytes()])
}

pub(in crate::namespace) fn chunk(chunk: ChunkId) -> Vec<u8> {
    key(Table::Chunks, &[&chunk.0.to_be_bytes()])
}

/// The replicas of a node begin with this.
pub(in crate::namespace) fn replicas(node: NodeId) -> Vec<u8> {
    key(Table::Replicas, &[&node.0.to_be_bytes()])
}

pub(in crate::namespace) fn replica(node: NodeId, chunk: ChunkId) -> Vec<u8> {
    key(Table::Replicas, &[&node.0.to_be_bytes(), &chunk.0.to_be_bytes()])
}

/// The sums of a node begin with this.
pub(in crate::namespace) fn sums(node: NodeId) -> Vec<u8> {
    key(Table::Sums, &[&node.0.to_be_bytes()])
}

pub(in crate::namespace) fn sum(node: NodeId, range: u64) -> Vec<u8> {
    key(Table::Sums, &[&node.0.to_be_bytes(), &range.to_be_bytes()])
}

pub(in crate::namespace) fn owed(chunk: ChunkId) -> Vec<u8> {
    key(Table::Owed, &[&chunk.0.to_be_bytes()])
}

/// The garbage of a node begins with this.
pub(in crate::namespace) fn garbage_of(node: NodeId) -> Vec<u8> {
    key(Table::Garbage, &[&node.0.to_be_bytes()])
}

pub(in crate::namespace) fn garbage(node: NodeId, chunk: ChunkId) -> Vec<u8> {
    key(Table::Garbage, &[&node.0.to_be_bytes(), &chunk.0.to_be_bytes()])
}

pub(in crate::namespace) fn session(session: SessionId) -> Vec<u8> {
    key(Table::Sessions, &[&session.0.to_be_bytes()])
}

/// The slots of a session begin with this.
pub(in crate::namespace) fn slots(session: SessionId) -> Vec<u8> {
    key(Table::Slots, &[&session.0.to_be_bytes()])
}

pub(in crate::namespace) fn slot(session: SessionId, slot: u32) -> Vec<u8> {
    key(Table::Slots, &[&session.0.to_be_bytes(), &slot.to_be_bytes()])
}

pub(in crate::namespace) fn lease(lease: LeaseId) -> Vec<u8> {
    key(Table::Leases, &[&lease.0.to_be_bytes()])
}

/// The leases of a session begin with this.
pub(in crate::namespace) fn session_leases(session: SessionId) -> Vec<u8> {
    key(Table::SessionLeases, &[&session.0.to_be_bytes()])
}

pub(in crate::namespace) fn session_lease(session: SessionId, lease: LeaseId) -> Vec<u8> {
    key(Table::SessionLeases, &[&session.0.to_be_bytes(), &lease.0.to_be_bytes()])
}

pub(in crate::namespace) fn node(node: NodeId) -> Vec<u8> {
    key(Table::Nodes, &[&node.0.to_be_bytes()])
}

pub(in crate::namespace) fn node_uuid(uuid: NodeUuid) -> Vec<u8> {
    key(Table::NodeUuids, &[uuid.as_bytes()])
}

/// Takes keys apart that a scan brought.
#[derive(Debug)]
pub(in crate::namespace) struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// Skips the table.
    pub(in crate::namespace) fn new(key: &'a [u8]) -> Result<Self> {
        key.split_first().map(|(_, rest)| Self(rest)).ok_or_else(bad)
    }

    pub(in crate::namespace) fn u64(&mut self) -> Result<u64> {
        let (head, rest) = self.0.split_first_chunk::<8>().ok_or_else(bad)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*head))
    }

    pub(in crate::namespace) fn u32(&mut self) -> Result<u32> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or_else(bad)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*head))
    }

    pub(in crate::namespace) fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.0).map_err(|_| bad())
    }
}

fn bad() -> Error {
    Error::new(ErrorKind::Corrupt, "metadata: a key does not have the form of its table")
}
