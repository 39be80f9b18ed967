//! The row of one file, directory or symbolic link.

use super::attributes::Marks;
use super::codec::{Decoder, Encoder};
use super::small::EntryKind;
use crate::error::Result;
use crate::id::{ChunkId, InodeId, LeaseId, Version};
use crate::metadata::Stamped;
use crate::namespace::options::{ETag, MODE_BITS, Owner};
use crate::path::DfsPath;

const FORMAT: u8 = 1;

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const SYMLINK: u8 = 3;

const SMALL: u8 = 1;
const OPEN: u8 = 2;
const HIDDEN: u8 = 4;
const OVERWRITE: u8 = 8;
const THIN: u8 = 16;
const MATCH: u8 = 32;
const CUT: u8 = 64;
const PLACED: u8 = 128;

/// Bits of the mode; those above are marks, of which the two lower ones fit into two bytes with it.
const MODE_WIDTH: u32 = MODE_BITS.count_ones();

/// One inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct InodeRow {
    /// The version that wrote the row; pending in a row that is being written.
    pub(in crate::namespace) version: Version,
    /// The directory that holds it; 0 for the root and for what is detached.
    pub(in crate::namespace) parent: InodeId,
    /// Its name there; empty where there is no parent.
    pub(in crate::namespace) name: String,
    pub(in crate::namespace) modified_ms: u64,
    pub(in crate::namespace) accessed_ms: u64,
    pub(in crate::namespace) owner: Owner,
    pub(in crate::namespace) marks: Marks,
    pub(in crate::namespace) kind: InodeKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) enum InodeKind {
    Directory {
        /// How many there are.
        entries: u64,
        /// How far the directories below it go at most.
        reach: Reach,
    },
    File(FileRow),
    /// Where it leads, as it was given.
    Symlink(String),
}

/// How far the directories below one go: a bound, and the least that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::namespace) struct Reach {
    /// Names.
    pub(in crate::namespace) names: u32,
    /// Bytes of their path from it.
    pub(in crate::namespace) bytes: u32,
}

impl Reach {
    /// The same for the directory above, in which this one is `name`; of a way down, one name further.
    pub(in crate::namespace) fn with(self, name: &str) -> Self {
        let name = u32::try_from(1 + name.len()).unwrap_or(u32::MAX);
        Self { names: self.names.saturating_add(1), bytes: self.bytes.saturating_add(name) }
    }

    /// What is left of it below `name`, the first on its way.
    pub(in crate::namespace) fn without(self, name: &str) -> Self {
        let name = u32::try_from(1 + name.len()).unwrap_or(u32::MAX);
        Self { names: self.names.saturating_sub(1), bytes: self.bytes.saturating_sub(name) }
    }

    pub(in crate::namespace) fn covers(self, other: Self) -> bool {
        self.max(other) == self
    }

    /// What covers both.
    pub(in crate::namespace) fn max(self, other: Self) -> Self {
        Self { names: self.names.max(other.names), bytes: self.bytes.max(other.bytes) }
    }
}

impl InodeKind {
    /// A directory without entries.
    pub(in crate::namespace) const EMPTY_DIRECTORY: Self =
        Self::Directory { entries: 0, reach: Reach { names: 0, bytes: 0 } };
}

/// What only a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct FileRow {
    pub(in crate::namespace) replication: u16,
    pub(in crate::namespace) chunk_size: u64,
    /// Bytes in front of the first chunk that is open, and those which that had when it was opened.
    pub(in crate::namespace) length: u64,
    /// How many extents it has.
    pub(in crate::namespace) chunks: u64,
    /// Its bytes lie in the data space. With an open chunk: until that one is committed.
    pub(in crate::namespace) small: bool,
    pub(in crate::namespace) open: Option<OpenState>,
}

/// What only an open file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct OpenState {
    /// 0 once the file was deleted under its writer.
    pub(in crate::namespace) lease: LeaseId,
    /// The name appears when the file is closed.
    pub(in crate::namespace) hidden: Option<Hidden>,
    /// Where the first chunk begins that was committed with fewer replicas than closing asks for, and may have no more yet.
    pub(in crate::namespace) thin: Option<u64>,
    /// Nobody writes: the open chunk is being cut to its committed length, and counts as finished for readers.
    pub(in crate::namespace) cut: bool,
    /// The chunks that are not committed and where they begin, in order.
    pub(in crate::namespace) chunks: Vec<(u64, ChunkId)>,
    /// With such chunks: where the last chunk of the file ends at the latest, so much room is set aside. Else nothing.
    pub(in crate::namespace) end: u64,
}

/// A file that is not published yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct Hidden {
    /// Replace what stands under the name then.
    pub(in crate::namespace) overwrite: bool,
    /// Replace only this.
    pub(in crate::namespace) if_match: Option<ETag>,
    /// The path that it is to have, where the directories on the way are made as it gets it. Its row says that it hangs on the root until then; without,
    /// in which directory it will stand.
    pub(in crate::namespace) place: Option<DfsPath>,
}

impl OpenState {
    /// The path that it is to have, if the directories on the way are made as it gets it.
    pub(in crate::namespace) fn place(&self) -> Option<&DfsPath> {
        self.hidden.as_ref()?.place.as_ref()
    }
}

impl InodeRow {
    pub(in crate::namespace) fn file(&self) -> Option<&FileRow> {
        match &self.kind {
            InodeKind::File(file) => Some(file),
            InodeKind::Directory { .. } | InodeKind::Symlink(_) => None,
        }
    }

    pub(in crate::namespace) fn file_mut(&mut self) -> Option<&mut FileRow> {
        match &mut self.kind {
            InodeKind::File(file) => Some(file),
            InodeKind::Directory { .. } | InodeKind::Symlink(_) => None,
        }
    }

    /// What its entry says of it.
    pub(in crate::namespace) fn entry_kind(&self) -> EntryKind {
        match self.kind {
            InodeKind::Directory { .. } => EntryKind::Directory,
            InodeKind::File(_) => EntryKind::File,
            InodeKind::Symlink(_) => EntryKind::Symlink,
        }
    }

    /// Open and without a name so far.
    pub(in crate::namespace) fn is_hidden(&self) -> bool {
        self.file().and_then(|file| file.open.as_ref()).is_some_and(|open| open.hidden.is_some())
    }

    pub(in crate::namespace) fn encode(&self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(match self.kind {
            InodeKind::File(_) => FILE,
            InodeKind::Directory { .. } => DIRECTORY,
            InodeKind::Symlink(_) => SYMLINK,
        });
        row.number(self.parent.0).text(&self.name).number(self.modified_ms).number(self.accessed_ms);
        row.text(&self.owner.user).text(&self.owner.group).number(self.owner.mode | self.marks.bits() << MODE_WIDTH);
        match &self.kind {
            InodeKind::File(file) => file.encode(&mut row),
            InodeKind::Symlink(target) => drop(row.text(target)),
            InodeKind::Directory { entries, reach } => {
                row.number(*entries).number(reach.names).number(reach.bytes);
            }
        }
        Stamped::versioned(&[FORMAT], row.bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "an inode")?;
        let version = Version(row.fixed()?);
        let kind = row.byte()?;
        let parent = InodeId(row.number()?);
        let name = row.text()?;
        let (modified_ms, accessed_ms) = (row.number()?, row.number()?);
        let (user, group, mode) = (row.text()?, row.text()?, row.small::<u16>()?);
        let owner = Owner { user, group, mode: mode & MODE_BITS };
        let Some(marks) = Marks::from_bits(mode >> MODE_WIDTH) else {
            return Err(row.bad("has marks that this software does not know"));
        };
        let kind = match kind {
            FILE => InodeKind::File(FileRow::decode(&mut row)?),
            DIRECTORY => {
                let (entries, names, bytes) = (row.number()?, row.small()?, row.small()?);
                InodeKind::Directory { entries, reach: Reach { names, bytes } }
            }
            SYMLINK => InodeKind::Symlink(row.text()?),
            _ => return Err(row.bad("is of a kind that this software does not know")),
        };
        row.end()?;
        Ok(Self { version, parent, name, modified_ms, accessed_ms, owner, marks, kind })
    }
}

impl FileRow {
    /// Whether any extent belongs to it.
    pub(in crate::namespace) fn has_chunks(&self) -> bool {
        self.chunks > 0
    }

    fn encode(&self, row: &mut Encoder) {
        let mut flags = 0;
        if self.small {
            flags |= SMALL;
        }
        if let Some(open) = &self.open {
            flags |= OPEN;
            if open.thin.is_some() {
                flags |= THIN;
            }
            if open.cut {
                flags |= CUT;
            }
            if let Some(Hidden { overwrite, if_match, place }) = &open.hidden {
                flags |= HIDDEN;
                flags |= if *overwrite { OVERWRITE } else { 0 };
                flags |= if if_match.is_some() { MATCH } else { 0 };
                flags |= if place.is_some() { PLACED } else { 0 };
            }
        }
        row.byte(flags).number(self.replication).number(self.chunk_size).number(self.length).number(self.chunks);
        if let Some(open) = &self.open {
            row.number(open.lease.0).number(open.end).count(open.chunks.len());
            for (start, chunk) in &open.chunks {
                row.number(*start).number(chunk.0);
            }
            if let Some(ETag { inode, version }) = open.hidden.as_ref().and_then(|hidden| hidden.if_match) {
                row.number(inode.0).number(version.0);
            }
            if let Some(place) = open.place() {
                row.text(place.as_str());
            }
            if let Some(start) = open.thin {
                row.number(start);
            }
        }
    }

    fn decode(row: &mut Decoder<'_>) -> Result<Self> {
        let flags = row.byte()?;
        // Every bit has a meaning.
        let (replication, chunk_size) = (row.small()?, row.number()?);
        let (length, chunks) = (row.number()?, row.number()?);
        let mut open = None;
        if flags & OPEN != 0 {
            let (lease, end) = (LeaseId(row.number()?), row.number()?);
            let mut chunks = Vec::new();
            for _ in 0..row.count()? {
                chunks.push((row.number()?, ChunkId(row.number()?)));
            }
            let if_match = match flags & MATCH {
                0 => None,
                _ => Some(ETag { inode: InodeId(row.number()?), version: Version(row.number()?) }),
            };
            let place = if flags & PLACED == 0 { None } else { Some(DfsPath::parse(&row.text()?)?) };
            let thin = if flags & THIN == 0 { None } else { Some(row.number()?) };
            let hidden = (flags & HIDDEN != 0).then_some(Hidden { overwrite: flags & OVERWRITE != 0, if_match, place });
            open = Some(OpenState { lease, hidden, thin, cut: flags & CUT != 0, chunks, end });
        }
        Ok(Self { replication, chunk_size, length, chunks, small: flags & SMALL != 0, open })
    }
}
