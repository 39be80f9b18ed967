//! Rows of a few bytes: entries, extents, garbage, nodes, and the store's own.

use super::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{ChunkId, ClusterId, Generation, InodeId, NodeUuid};
use crate::metadata::Stamped;
use crate::namespace::answers::Quota;

const FORMAT: u8 = 1;

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const SYMLINK: u8 = 3;

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct EntryRow {
    pub(in crate::namespace) inode: InodeId,
    pub(in crate::namespace) kind: EntryKind,
}

/// What an entry leads to, so that a path is resolved without reading what it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::namespace) enum EntryKind {
    File,
    Directory,
    Symlink,
}

impl EntryRow {
    pub(in crate::namespace) fn is_directory(self) -> bool {
        self.kind == EntryKind::Directory
    }

    pub(in crate::namespace) fn encode(self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(FORMAT).byte(match self.kind {
            EntryKind::File => FILE,
            EntryKind::Directory => DIRECTORY,
            EntryKind::Symlink => SYMLINK,
        });
        row.number(self.inode.0);
        Stamped::plain(row.into_bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "an entry")?;
        let kind = match row.byte()? {
            FILE => EntryKind::File,
            DIRECTORY => EntryKind::Directory,
            SYMLINK => EntryKind::Symlink,
            _ => return Err(row.bad("is of a kind that this software does not know")),
        };
        let inode = InodeId(row.number()?);
        row.end()?;
        Ok(Self { inode, kind })
    }
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct ExtentRow {
    pub(in crate::namespace) chunk: ChunkId,
    /// Committed bytes; 0 for a chunk that is being written for the first time.
    pub(in crate::namespace) length: u64,
}

impl ExtentRow {
    pub(in crate::namespace) fn encode(self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(FORMAT).number(self.chunk.0).number(self.length);
        Stamped::plain(row.into_bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "an extent")?;
        let extent = Self { chunk: ChunkId(row.number()?), length: row.number()? };
        row.end()?;
        Ok(extent)
    }
}

/// What a directory may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct QuotaRow(pub(in crate::namespace) Quota);

const LIMITS_NAMES: u8 = 1;
const LIMITS_SPACE: u8 = 2;

impl QuotaRow {
    pub(in crate::namespace) fn encode(self) -> Stamped {
        let Quota { names, space } = self.0;
        let mut row = Encoder::new();
        row.byte(FORMAT);
        row.byte(if names.is_some() { LIMITS_NAMES } else { 0 } | if space.is_some() { LIMITS_SPACE } else { 0 });
        row.number(names.unwrap_or(0)).number(space.unwrap_or(0));
        Stamped::plain(row.into_bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "a quota")?;
        let limits = row.byte()?;
        if limits & !(LIMITS_NAMES | LIMITS_SPACE) != 0 {
            return Err(row.bad("has limits that this software does not know"));
        }
        let (names, space) = (row.number()?, row.number()?);
        row.end()?;
        let limit = |flag, value| (limits & flag != 0).then_some(value);
        Ok(Self(Quota { names: limit(LIMITS_NAMES, names), space: limit(LIMITS_SPACE, space) }))
    }
}

/// An item of the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct TrashRow {
    pub(in crate::namespace) expires_ms: u64,
    pub(in crate::namespace) deleted_ms: u64,
    /// Who deleted it; nobody for the namenode.
    pub(in crate::namespace) user: String,
    /// Where it was.
    pub(in crate::namespace) path: String,
}

impl TrashRow {
    pub(in crate::namespace) fn encode(&self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(FORMAT).number(self.expires_ms).number(self.deleted_ms).text(&self.user).text(&self.path);
        Stamped::plain(row.into_bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "an item of the trash")?;
        let (expires_ms, deleted_ms) = (row.number()?, row.number()?);
        let item = Self { expires_ms, deleted_ms, user: row.text()?, path: row.text()? };
        row.end()?;
        Ok(item)
    }
}

/// A deletion that a node owes: its replica of the chunk, if the generation is at most this.
pub(in crate::namespace) fn encode_garbage(generation: Generation) -> Stamped {
    let mut row = Encoder::new();
    row.byte(FORMAT).number(generation.0);
    Stamped::plain(row.into_bytes())
}

pub(in crate::namespace) fn decode_garbage(bytes: &[u8]) -> Result<Generation> {
    let mut row = Decoder::new(bytes, FORMAT, "garbage")?;
    let generation = Generation(row.number()?);
    row.end()?;
    Ok(generation)
}

/// A number of its own: the next id of a series, or the node of a uuid.
pub(in crate::namespace) fn encode_number(number: u64) -> Stamped {
    let mut row = Encoder::new();
    row.byte(FORMAT).number(number);
    Stamped::plain(row.into_bytes())
}

pub(in crate::namespace) fn decode_number(bytes: &[u8]) -> Result<u64> {
    let mut row = Decoder::new(bytes, FORMAT, "a number")?;
    let number = row.number()?;
    row.end()?;
    Ok(number)
}

/// A datanode as it last registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct NodeRow {
    pub(in crate::namespace) uuid: NodeUuid,
    pub(in crate::namespace) address: String,
    pub(in crate::namespace) domain: String,
}

impl NodeRow {
    pub(in crate::namespace) fn encode(&self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(FORMAT).raw(self.uuid.as_bytes()).text(&self.address).text(&self.domain);
        Stamped::plain(row.into_bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "a node")?;
        let uuid = row.raw(16)?;
        let uuid = NodeUuid::from_bytes(uuid).expect("sixteen bytes");
        let node = Self { uuid, address: row.text()?, domain: row.text()? };
        row.end()?;
        Ok(node)
    }
}

/// The store's own row: which format all others have, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct StoreRow {
    pub(in crate::namespace) format: u64,
    pub(in crate::namespace) cluster: ClusterId,
    /// Who made the cluster.
    pub(in crate::namespace) superuser: String,
}

impl StoreRow {
    pub(in crate::namespace) fn encode(&self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(FORMAT).number(self.format).raw(self.cluster.as_bytes()).text(&self.superuser);
        Stamped::plain(row.into_bytes())
    }

    /// The format alone, which every version of the software can read.
    pub(in crate::namespace) fn format(bytes: &[u8]) -> Result<u64> {
        Decoder::new(bytes, FORMAT, "the store")?.number()
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "the store")?;
        let format = row.number()?;
        let cluster = ClusterId::from_bytes(row.raw(16)?).expect("sixteen bytes");
        let superuser = row.text()?;
        row.end()?;
        Ok(Self { format, cluster, superuser })
    }
}
