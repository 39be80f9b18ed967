//! Changes of the namespace, as they happen.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt};
use godfs_core::{DfsPath, Error, ErrorKind, InodeId, IntoPath, Result};
use godfs_proto::v1;

use crate::client::Client;
use crate::links::Hops;
use crate::metadata::{FileKind, malformed};
use crate::namenode::{Namenode, Pages};
use crate::transport::convert;

/// The longest place, bytes.
const MAX_PLACE_BYTES: usize = 255;

impl Client {
    /// The changes at and below `path`, in their order, as they become durable: every one after this call returned, or after the place that is given,
    /// exactly once, over broken connections and restarts of the namenode. It ends only with an error.
    ///
    /// Paths are those at the time of each change, and `path` is taken as a path, not as the directory that stands there: of a directory above that is
    /// renamed or removed there is a change too, and what the directory holds goes on elsewhere, unwatched. Symbolic links in `path` are followed once,
    /// here. The caller must be able to list the directory, or to read the file, again and again while it watches; whether it could list
    /// each directory below is not looked at.
    ///
    /// The namenode keeps what happened within a bound of bytes. Who reads too slowly, or comes back too late, gets [`ErrorKind::Gone`]: then list
    /// again, and watch from now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::PermissionDenied`]; [`ErrorKind::Gone`]; [`ErrorKind::LimitExceeded`] when too many watch.
    pub async fn watch(&self, path: impl IntoPath, from: WatchFrom) -> Result<Watch> {
        let mut feed = Feed::new(self.namenode(), &path.into_path()?, from);
        feed.begin().await?;
        let place = feed.place();
        let changes = futures::stream::try_unfold(feed, |mut feed| async move { Ok(Some((feed.next().await?, feed))) });
        Ok(Watch { changes: changes.boxed(), place })
    }
}

/// A stream of changes. [`Client::watch`] begins one.
pub struct Watch {
    changes: BoxStream<'static, Result<Step>>,
    place: ChangePlace,
}

impl Watch {
    /// Where it stands: behind the last change that it gave, and all that was passed over since because it happened elsewhere. A later watch of the
    /// same path goes on from there.
    #[must_use]
    pub fn place(&self) -> &ChangePlace {
        &self.place
    }
}

impl Stream for Watch {
    type Item = Result<Change>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Change>>> {
        loop {
            match std::task::ready!(self.changes.poll_next_unpin(cx)) {
                Some(Ok(Step::Passed(place))) => self.place = place,
                Some(Ok(Step::Change(change))) => {
                    self.place = change.place.clone();
                    return Poll::Ready(Some(Ok(change)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Where a watch begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchFrom {
    /// With what happens next.
    #[default]
    Now,
    /// With the oldest change that is kept.
    Oldest,
    /// Behind a place that a watch gave before.
    Place(ChangePlace),
}

/// A place in the stream of changes: a word to be kept and given back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangePlace(String);

impl ChangePlace {
    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_wire(place: String) -> Result<Self> {
        if place.is_empty() || place.len() > MAX_PLACE_BYTES {
            return Err(malformed("a change without a place"));
        }
        Ok(Self(place))
    }
}

impl fmt::Display for ChangePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ChangePlace {
    type Err = Error;

    /// Takes any short word: only the namenode knows which are places.
    fn from_str(text: &str) -> Result<Self> {
        let fits =
            !text.is_empty() && text.len() <= MAX_PLACE_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(ErrorKind::InvalidArgument, "a place in the stream of changes is one word, as a watch gave it"))
    }
}

/// Something that happened to a file, directory or symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The place behind it.
    pub place: ChangePlace,
    /// What happened.
    pub kind: ChangeKind,
    /// Where it stood then.
    pub path: DfsPath,
    /// Its inode: stable over renames, never used again.
    pub inode: InodeId,
    /// What it is.
    pub node: FileKind,
    /// When, by the namenode's wall clock, milliseconds since 1970. May go back where that did.
    pub time_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// A file has appeared. With a length, in bytes, it is complete; without one it is being written, until it is closed.
    Created(Option<u64>),
    /// A directory has appeared.
    MadeDirectory,
    /// A symbolic link has appeared, which leads there.
    Linked(String),
    /// A closed file of so many bytes is being written on.
    Opened(u64),
    /// A file that was being written, or cut, is complete, with so many bytes.
    Closed(u64),
    /// It has this path now, with all below it. What stood there was removed before.
    Renamed(DfsPath),
    /// It has changed places with what stood there, each with all below it.
    Exchanged(DfsPath),
    /// It is gone, with all below it: deleted, replaced, or joined to another file.
    Removed,
    /// It has other attributes.
    Attributes(Attribute),
    /// A file has only so many bytes now. Where its last chunk is cut it is closed once that is done.
    Truncated(u64),
    /// Other files, removed just before, were joined to the end of this one, which has so many bytes now.
    Concatenated(u64),
}

impl ChangeKind {
    /// One word: `created`, `made_directory`, and so on.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::MadeDirectory => "made_directory",
            Self::Linked(_) => "linked",
            Self::Opened(_) => "opened",
            Self::Closed(_) => "closed",
            Self::Renamed(_) => "renamed",
            Self::Exchanged(_) => "exchanged",
            Self::Removed => "removed",
            Self::Attributes(_) => "attributes",
            Self::Truncated(_) => "truncated",
            Self::Concatenated(_) => "concatenated",
        }
    }
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
    /// One that this client does not know.
    Other,
}

impl Attribute {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Mode => "mode",
            Self::Times => "times",
            Self::Replication => "replication",
            Self::Xattr => "xattr",
            Self::Acl => "acl",
            Self::Quota => "quota",
            Self::Other => "other",
        }
    }
}

impl Change {
    fn from_wire(wire: v1::Change) -> Result<Self> {
        let length = || wire.length.ok_or_else(|| malformed("a change without the length of its file"));
        let kind = match v1::ChangeKind::try_from(wire.kind) {
            Ok(v1::ChangeKind::Created) => ChangeKind::Created(wire.length),
            Ok(v1::ChangeKind::MadeDirectory) => ChangeKind::MadeDirectory,
            Ok(v1::ChangeKind::Linked) => ChangeKind::Linked(wire.other),
            Ok(v1::ChangeKind::Opened) => ChangeKind::Opened(length()?),
            Ok(v1::ChangeKind::Closed) => ChangeKind::Closed(length()?),
            Ok(v1::ChangeKind::Renamed) => ChangeKind::Renamed(DfsPath::parse(&wire.other)?),
            Ok(v1::ChangeKind::Exchanged) => ChangeKind::Exchanged(DfsPath::parse(&wire.other)?),
            Ok(v1::ChangeKind::Removed) => ChangeKind::Removed,
            Ok(v1::ChangeKind::Attributes) => ChangeKind::Attributes(match v1::Attribute::try_from(wire.attribute) {
                Ok(v1::Attribute::Owner) => Attribute::Owner,
                Ok(v1::Attribute::Mode) => Attribute::Mode,
                Ok(v1::Attribute::Times) => Attribute::Times,
                Ok(v1::Attribute::Replication) => Attribute::Replication,
                Ok(v1::Attribute::Xattr) => Attribute::Xattr,
                Ok(v1::Attribute::Acl) => Attribute::Acl,
                Ok(v1::Attribute::Quota) => Attribute::Quota,
                Ok(v1::Attribute::Unspecified) | Err(_) => Attribute::Other,
            }),
            Ok(v1::ChangeKind::Truncated) => ChangeKind::Truncated(length()?),
            Ok(v1::ChangeKind::Concatenated) => ChangeKind::Concatenated(length()?),
            Ok(v1::ChangeKind::Unspecified) | Err(_) => {
                return Err(malformed("a change of a kind that this client does not know"));
            }
        };
        Ok(Self {
            place: ChangePlace::from_wire(wire.place)?,
            kind,
            path: DfsPath::parse(&wire.path)?,
            inode: convert::inode(wire.inode)?,
            node: FileKind::from_wire(wire.node)?,
            time_ms: wire.time_ms,
        })
    }
}

/// What a page brings, piece by piece.
enum Step {
    Change(Change),
    /// Nothing that is watched happened up to there.
    Passed(ChangePlace),
}

struct Feed {
    resolved: DfsPath,
    hops: Hops,
    /// What is asked for, from the place on that was given last.
    request: v1::WatchRequest,
    pages: Pages<v1::WatchPage>,
    /// What arrived and was not given yet.
    waiting: VecDeque<Step>,
}

impl Feed {
    fn new(namenode: &Namenode, path: &DfsPath, from: WatchFrom) -> Self {
        let (oldest, place) = match from {
            WatchFrom::Now => (false, String::new()),
            WatchFrom::Oldest => (true, String::new()),
            WatchFrom::Place(ChangePlace(place)) => (false, place),
        };
        let heartbeat = heartbeat(namenode);
        let heartbeat_ms = u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX).max(1);
        let request = v1::WatchRequest { path: path.as_str().to_owned(), place, oldest, heartbeat_ms };
        Self {
            resolved: path.clone(),
            hops: Hops::default(),
            request,
            pages: Pages::new(namenode),
            waiting: VecDeque::new(),
        }
    }

    fn place(&self) -> ChangePlace {
        ChangePlace(self.request.place.clone())
    }

    /// Waits until it is known where the watch begins.
    async fn begin(&mut self) -> Result<()> {
        loop {
            match self.fetch().await {
                Ok(()) => return Ok(()),
                Err(error) if error.link().is_some() => {
                    self.hops.follow(error, std::slice::from_mut(&mut self.resolved))?;
                    self.request.path = self.resolved.as_str().to_owned();
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn next(&mut self) -> Result<Step> {
        loop {
            if let Some(step) = self.waiting.pop_front() {
                return Ok(step);
            }
            self.fetch().await?;
        }
    }

    async fn fetch(&mut self) -> Result<()> {
        let request = &self.request;
        let page = self.pages.more(|mut stub| async move { stub.watch(request.clone()).await }).await?;
        for change in page.changes {
            self.waiting.push_back(Step::Change(Change::from_wire(change)?));
        }
        let place = ChangePlace::from_wire(page.place)?;
        // What waits here was received: it is not asked for again.
        self.request.place.clone_from(&place.0);
        self.request.oldest = false;
        self.waiting.push_back(Step::Passed(place));
        Ok(())
    }
}

/// How often the namenode shall say where the watch stands.
fn heartbeat(namenode: &Namenode) -> Duration {
    namenode.settings().attempt_timeout / 3
}
