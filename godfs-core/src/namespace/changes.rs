//! Changes of the namespace: what each operation announces, and who may hear of it.
//!
//! A change tells the paths at its time: who applies the changes in their order to a copy of a tree keeps a tree like it. Of a directory that
//! is renamed or removed with all below it there is one change.

use super::answers::FileKind;
use super::rows::codec::{Decoder, Encoder};
use super::rows::{self, EntryKind, InodeKind};
use super::sight::WatchPlace;
use super::{Context, access, paths};
use crate::error::{Error, ErrorKind, Result};
use crate::id::InodeId;
use crate::metadata::{Announcement, Place, Snapshot, Step, Transaction};
use crate::path::DfsPath;

const FORMAT: u8 = 1;

/// Something that happened to a file, directory or symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Where it stood then. Of what lies too deep to have a path, the deepest directory above it that has one.
    pub path: DfsPath,
    /// Its number.
    pub inode: InodeId,
    /// What it is.
    pub node: FileKind,
    /// Wall clock of the namenode, milliseconds since 1970. May go back where the clock did.
    pub time_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// A file has appeared. With a length it is complete; without one it is being written, until it is closed.
    Created {
        /// Bytes.
        length: Option<u64>,
    },
    /// A directory has appeared.
    MadeDirectory,
    /// A symbolic link has appeared.
    Linked {
        /// Where it leads.
        target: String,
    },
    /// A closed file is being written on.
    Opened {
        /// Bytes that it has so far.
        length: u64,
    },
    /// A file that was being written, or cut, is complete.
    Closed {
        /// Bytes.
        length: u64,
    },
    /// It has another name, with all below it. What stood there was removed before.
    Renamed {
        /// The new one.
        to: DfsPath,
    },
    /// It has changed places with another, each with all below it.
    Exchanged {
        /// Where the other one stood.
        with: DfsPath,
    },
    /// It is gone, with all below it: deleted, replaced, or joined to another file.
    Removed,
    /// It has other attributes.
    Attributes(Attribute),
    /// A file is shorter. Where its last chunk is cut it is closed once that is done.
    Truncated {
        /// Bytes that it has now.
        length: u64,
    },
    /// Other files, removed just before, were joined to the end of this one.
    Concatenated {
        /// Bytes that it has now.
        length: u64,
    },
}

/// What may change besides names and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attribute {
    /// Its user or group.
    Owner,
    /// Its permission bits.
    Mode,
    /// When it was modified or read.
    Times,
    /// How many replicas a file has.
    Replication,
    /// An extended attribute.
    Xattr,
    /// Its access control lists.
    Acl,
    /// What a directory may hold.
    Quota,
}

impl Attribute {
    const ALL: [Self; 7] =
        [Self::Owner, Self::Mode, Self::Times, Self::Replication, Self::Xattr, Self::Acl, Self::Quota];
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// With what happens next.
    Now,
    /// With the oldest change that is kept.
    Oldest,
    /// Behind a place that was given before.
    Place(WatchPlace),
}

/// A stretch of the changes at and below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// In their order, each with the place behind it.
    pub changes: Vec<(WatchPlace, Change)>,
    /// Behind all that was looked at.
    pub next: WatchPlace,
}

/// Announces a change of this transaction.
pub(super) fn announce(
    txn: &mut dyn Transaction,
    context: &Context,
    inode: InodeId,
    node: impl Into<FileKind>,
    path: &DfsPath,
    kind: &ChangeKind,
) {
    let mut row = Encoder::new();
    row.byte(FORMAT).byte(number(kind)).byte(node.into() as u8).number(inode.0).number(context.now_ms);
    row.text(path.as_str());
    match kind {
        ChangeKind::MadeDirectory | ChangeKind::Removed => {}
        ChangeKind::Created { length } => {
            row.number(length.map_or(0, |length| length + 1));
        }
        ChangeKind::Linked { target } => {
            row.text(target);
        }
        ChangeKind::Opened { length }
        | ChangeKind::Closed { length }
        | ChangeKind::Truncated { length }
        | ChangeKind::Concatenated { length } => {
            row.number(*length);
        }
        ChangeKind::Renamed { to: other } | ChangeKind::Exchanged { with: other } => {
            row.text(other.as_str());
        }
        ChangeKind::Attributes(attribute) => {
            row.byte(*attribute as u8);
        }
    }
    txn.announce(row.into_bytes().into());
}

/// What the caller watches, if it may list it: a directory, or read it: a file.
pub(super) fn check(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<InodeId> {
    let inode = paths::find(snapshot, context, path)?;
    let row = rows::inode(snapshot, inode)?;
    let rights = if matches!(row.kind, InodeKind::Directory { .. }) { access::LIST } else { access::READ };
    access::need(snapshot, context, inode, &row, rights, || path.to_string())?;
    Ok(inode)
}

/// Whether that found nothing at the path, or a symbolic link in front of it.
pub(super) fn is_elsewhere(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::Symlink)
}

/// What of a stretch of changes concerns a path.
pub(super) fn concerning(path: &DfsPath, found: Vec<Announcement>) -> Result<Vec<(Place, Change)>> {
    let mut changes = Vec::new();
    for Announcement { place, bytes } in found {
        let change = Change::decode(&bytes)?;
        if change.concerns(path) {
            changes.push((place, change));
        }
    }
    Ok(changes)
}

impl Change {
    /// Whether it happened at or below `path`, or moved or removed a directory above it.
    pub(super) fn concerns(&self, path: &DfsPath) -> bool {
        let touches = |at: &DfsPath, tree: bool| at.starts_with(path) || (tree && path.starts_with(at));
        match &self.kind {
            ChangeKind::Renamed { to: other } | ChangeKind::Exchanged { with: other } => {
                touches(&self.path, true) || touches(other, true)
            }
            ChangeKind::Removed => touches(&self.path, true),
            _ => touches(&self.path, false),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "a change")?;
        let unknown = |what: &str| Error::new(ErrorKind::Corrupt, format!("metadata: a change of an unknown {what}"));
        let kind = row.byte()?;
        let node = match row.byte()? {
            0 => FileKind::File,
            1 => FileKind::Directory,
            2 => FileKind::Symlink,
            _ => return Err(unknown("kind of file")),
        };
        let (inode, time_ms) = (InodeId(row.number()?), row.number()?);
        let path = DfsPath::parse(&row.text()?)?;
        let kind = match kind {
            1 => ChangeKind::Created { length: row.number()?.checked_sub(1) },
            2 => ChangeKind::MadeDirectory,
            3 => ChangeKind::Linked { target: row.text()? },
            4 => ChangeKind::Opened { length: row.number()? },
            5 => ChangeKind::Closed { length: row.number()? },
            6 => ChangeKind::Renamed { to: DfsPath::parse(&row.text()?)? },
            7 => ChangeKind::Exchanged { with: DfsPath::parse(&row.text()?)? },
            8 => ChangeKind::Removed,
            9 => {
                let attribute = row.byte()?;
                let known = Attribute::ALL.into_iter().find(|known| *known as u8 == attribute);
                ChangeKind::Attributes(known.ok_or_else(|| unknown("attribute"))?)
            }
            10 => ChangeKind::Truncated { length: row.number()? },
            11 => ChangeKind::Concatenated { length: row.number()? },
            _ => return Err(unknown("kind")),
        };
        row.end()?;
        Ok(Self { kind, path, inode, node, time_ms })
    }
}

fn number(kind: &ChangeKind) -> u8 {
    match kind {
        ChangeKind::Created { .. } => 1,
        ChangeKind::MadeDirectory => 2,
        ChangeKind::Linked { .. } => 3,
        ChangeKind::Opened { .. } => 4,
        ChangeKind::Closed { .. } => 5,
        ChangeKind::Renamed { .. } => 6,
        ChangeKind::Exchanged { .. } => 7,
        ChangeKind::Removed => 8,
        ChangeKind::Attributes(_) => 9,
        ChangeKind::Truncated { .. } => 10,
        ChangeKind::Concatenated { .. } => 11,
    }
}

impl From<EntryKind> for FileKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::File => Self::File,
            EntryKind::Directory => Self::Directory,
            EntryKind::Symlink => Self::Symlink,
        }
    }
}
