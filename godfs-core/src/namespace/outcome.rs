//! The compact outcome of a mutating call, as a slot's row keeps it.

use super::answers::{AddedChunk, Appended, Completion, Created, CreatedWithChunk, Truncated};
use super::rows::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{ChunkId, Generation, InodeId, LeaseId, NodeId};
use crate::path::DfsPath;

const FORMAT: u8 = 1;

numbered! {
    /// Which operation a slot ran last: another one under the same sequence is a defect of the client and is refused.
    pub(super) enum Operation {
        Mkdir = 1,
        Create = 2,
        Put = 3,
        AddChunk = 4,
        AbandonChunk = 5,
        IssueGeneration = 6,
        UpdatePipeline = 7,
        StoreSmall = 8,
        Complete = 9,
        Abandon = 10,
        RecoverLease = 11,
        Rename = 12,
        Delete = 13,
        SetReplication = 14,
        SetTimes = 15,
        Exchange = 30,
        Symlink = 31,
        Append = 32,
        ReopenChunk = 33,
        Truncate = 34,
        Concat = 35,
        AddNode = 36,
        Compose = 37,
        Unlink = 38,
        SetOwner = 40,
        SetMode = 41,
        SetXattr = 42,
        RemoveXattr = 43,
        SetAcl = 44,
        SetQuota = 50,
        Trash = 51,
        RestoreTrash = 52,
    }
}

/// A result that a slot can keep.
pub(super) trait Outcome: Sized {
    fn write(&self, row: &mut Encoder);
    fn read(row: &mut Decoder<'_>) -> Result<Self>;

    fn encode(&self) -> Vec<u8> {
        let mut row = Encoder::new();
        row.byte(FORMAT);
        self.write(&mut row);
        row.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "an outcome")?;
        let outcome = Self::read(&mut row)?;
        row.end()?;
        Ok(outcome)
    }
}

impl Outcome for () {
    fn write(&self, _: &mut Encoder) {}

    fn read(_: &mut Decoder<'_>) -> Result<Self> {
        Ok(())
    }
}

impl Outcome for bool {
    fn write(&self, row: &mut Encoder) {
        row.byte(u8::from(*self));
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        Ok(row.byte()? != 0)
    }
}

impl Outcome for InodeId {
    fn write(&self, row: &mut Encoder) {
        row.number(self.0);
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self(row.number()?))
    }
}

impl Outcome for Option<NodeId> {
    fn write(&self, row: &mut Encoder) {
        row.number(self.map_or(0, |node| node.0));
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        let node = row.small()?;
        Ok((node != 0).then_some(NodeId(node)))
    }
}

impl Outcome for Option<DfsPath> {
    fn write(&self, row: &mut Encoder) {
        row.text(self.as_ref().map_or("", DfsPath::as_str));
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        let path = row.text()?;
        if path.is_empty() { Ok(None) } else { DfsPath::parse(&path).map(Some) }
    }
}

impl Outcome for Generation {
    fn write(&self, row: &mut Encoder) {
        row.number(self.0);
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self(row.number()?))
    }
}

impl Outcome for Created {
    fn write(&self, row: &mut Encoder) {
        row.number(self.inode.0).number(self.lease.0).number(self.replication).number(self.chunk_size);
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self {
            inode: InodeId(row.number()?),
            lease: LeaseId(row.number()?),
            replication: row.small()?,
            chunk_size: row.number()?,
        })
    }
}

/// As a [`Created`], which is what it is without a chunk.
impl Outcome for CreatedWithChunk {
    fn write(&self, row: &mut Encoder) {
        self.file.write(row);
        if let Some(chunk) = &self.chunk {
            chunk.write(row);
        }
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        let file = Created::read(row)?;
        let chunk = if row.is_at_end() { None } else { Some(AddedChunk::read(row)?) };
        Ok(Self { file, chunk })
    }
}

impl Outcome for Appended {
    fn write(&self, row: &mut Encoder) {
        row.number(self.inode.0).number(self.lease.0).number(self.replication).number(self.chunk_size);
        row.number(self.length).number(self.base);
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self {
            inode: InodeId(row.number()?),
            lease: LeaseId(row.number()?),
            replication: row.small()?,
            chunk_size: row.number()?,
            length: row.number()?,
            base: row.number()?,
        })
    }
}

impl Outcome for Truncated {
    fn write(&self, row: &mut Encoder) {
        row.number(self.inode.0).number(self.generation.0);
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self { inode: InodeId(row.number()?), generation: Generation(row.number()?) })
    }
}

impl Outcome for AddedChunk {
    fn write(&self, row: &mut Encoder) {
        row.number(self.chunk.0).number(self.generation.0).count(self.nodes.len());
        for node in &self.nodes {
            row.number(node.0);
        }
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        let (chunk, generation) = (ChunkId(row.number()?), Generation(row.number()?));
        let mut nodes = Vec::new();
        for _ in 0..row.count()? {
            nodes.push(NodeId(row.small()?));
        }
        Ok(Self { chunk, generation, nodes })
    }
}

impl Outcome for Completion {
    fn write(&self, row: &mut Encoder) {
        row.text(match self {
            Self::Closed => "",
            Self::Waiting(missing) => missing,
        });
    }

    fn read(row: &mut Decoder<'_>) -> Result<Self> {
        let missing = row.text()?;
        Ok(if missing.is_empty() { Self::Closed } else { Self::Waiting(missing) })
    }
}
