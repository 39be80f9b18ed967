//! What a watch shows of the past: to others than superusers only what was in a directory that they may list, while it stood at the path.
//!
//! A change tells the path at its time, and what stands at the path now may be another directory. So a place in the stream of changes also says what
//! the caller may see from there on: the inode that stood at the path. A change that moves or removes it, or a directory above, ends that; what
//! follows is passed over until the inode that stands there now has come, or the stream has caught up with the moment at which the caller's right to
//! it was looked at. Where a place comes from is believed, as it is believed who calls.

use std::fmt;
use std::str::FromStr;

use super::changes::{Change, ChangeKind};
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Result};
use crate::id::InodeId;
use crate::metadata::Place;
use crate::path::DfsPath;

/// A place in the stream of changes at and below one path. As text it is one word, of which nothing should be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchPlace {
    /// Where it is.
    pub place: Place,
    sight: Sight,
}

/// What is shown from a place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sight {
    /// Everything: the caller may do all.
    All,
    /// What happens in this inode, as long as it stands at the path that has this checksum.
    Here(InodeId, u32),
    /// Nothing yet.
    Nothing,
}

impl WatchPlace {
    /// For a caller who may do everything.
    pub(super) fn all(place: Place) -> Self {
        Self { place, sight: Sight::All }
    }

    /// For another one, who was found to have the right to what stands at `path`, `inode`; `None` where nobody looked.
    pub(super) fn of(place: Place, path: &DfsPath, inode: Option<InodeId>) -> Self {
        let sight = inode.map_or(Sight::Nothing, |inode| Sight::Here(inode, sum(path)));
        Self { place, sight }
    }

    /// What the caller saw at `path` when it got this place, if it is one of that path.
    pub(super) fn seen(&self, path: &DfsPath) -> Option<InodeId> {
        match self.sight {
            Sight::Here(inode, known) if known == sum(path) => Some(inode),
            _ => None,
        }
    }
}

fn sum(path: &DfsPath) -> u32 {
    crc32c(path.as_str().as_bytes())
}

impl fmt::Display for WatchPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sight {
            Sight::Here(inode, path) => write!(f, "{}.{:x}.{path:x}", self.place, inode.0),
            Sight::All | Sight::Nothing => write!(f, "{}", self.place),
        }
    }
}

impl FromStr for WatchPlace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((place, rest)) = text.split_once('.') else {
            return Ok(Self { place: text.parse()?, sight: Sight::Nothing });
        };
        let place = place.parse()?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let here = rest
            .split_once('.')
            .and_then(|(inode, path)| Some(Sight::Here(InodeId(number(inode)?), u32::try_from(number(path)?).ok()?)));
        let sight = here.ok_or_else(|| {
            let shown = &text[..text.floor_char_boundary(100)];
            Error::new(ErrorKind::InvalidArgument, format!("{shown:?} is no place in a stream of changes"))
        })?;
        Ok(Self { place, sight })
    }
}

/// What of the changes at and below `path` a caller may see, who saw `seen` there in front of them. `now` is the inode that stands there and that it
/// was found to have the right to.
pub(super) struct Window<'a> {
    path: &'a DfsPath,
    now: Option<InodeId>,
    seen: Option<InodeId>,
}

impl<'a> Window<'a> {
    pub(super) fn new(path: &'a DfsPath, seen: Option<InodeId>, now: Option<InodeId>) -> Self {
        Self { path, now, seen }
    }

    /// Takes in the next change that concerns the path; whether it may be shown.
    pub(super) fn shows(&mut self, change: &Change) -> bool {
        let before = self.seen;
        if self.takes_away(change) {
            self.seen = None;
        }
        if self.seen.is_none() && self.brings(change) {
            self.seen = self.now;
        }
        before.is_some() || self.seen.is_some()
    }

    /// What the caller may see behind what was taken in.
    pub(super) fn seen(&self) -> Option<InodeId> {
        self.seen
    }

    /// Nothing that was looked at in the last moment was another inode than that which stands there now.
    pub(super) fn caught_up(&mut self) {
        self.seen = self.seen.or(self.now);
    }

    /// Whether what stood at the path, or above it, went.
    pub(super) fn takes_away(&self, change: &Change) -> bool {
        let above = |at: &DfsPath| self.path.starts_with(at);
        match &change.kind {
            ChangeKind::Removed | ChangeKind::Renamed { .. } => above(&change.path),
            ChangeKind::Exchanged { with } => above(&change.path) || above(with),
            _ => false,
        }
    }

    /// Whether what stands at the path now came there.
    fn brings(&self, change: &Change) -> bool {
        let at = match &change.kind {
            ChangeKind::Created { .. } | ChangeKind::MadeDirectory | ChangeKind::Linked { .. } => &change.path,
            ChangeKind::Renamed { to: at } | ChangeKind::Exchanged { with: at } => at,
            _ => return false,
        };
        at == self.path && Some(change.inode) == self.now
    }
}
