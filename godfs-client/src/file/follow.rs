//! Follows a file that grows, as `tail -f` does.

use std::fmt;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use godfs_core::{DfsPath, Error, ErrorKind, InodeId, Result};
use tokio::time::{Duration, sleep};

use super::reader::Reader;
use crate::client::Client;
use crate::metadata::FileStatus;

/// The pause after new bytes: what a writer flushes is seen about so much later while it goes on writing.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause, after which a file that stood still is looked at again: two small calls a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Where the namenode puts what is deleted and may come back.
const TRASH: &str = "/.trash/";

/// What [`Follow`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Followed {
    /// The next bytes; never empty.
    Bytes(Bytes),
    /// All bytes of the file were given, and it is closed at this length. It may be written on later.
    Closed(u64),
    /// The file is shorter now than what was given of it; what comes next begins at this byte.
    Truncated(u64),
    /// The file has another path now, where it is followed on.
    Moved(DfsPath),
    /// The file was removed, or is in the trash. Nothing follows.
    Removed,
    /// Another file stands at the path, and the one that was followed is gone. Nothing follows.
    Replaced,
}

/// Gives the bytes of a file as they become visible, while it is written and also when it is written on later, and says what becomes of it.
///
/// It asks the namenode, and the nodes that hold the end of an open file: soon after new bytes, then ever more seldom, at least twice a second. No byte is
/// given that was not flushed; none is given twice.
pub struct Follow {
    client: Client,
    reader: Reader,
    path: DfsPath,
    inode: InodeId,
    /// The next byte to give.
    position: u64,
    /// Gives what is visible from `position` on.
    stream: Option<BoxStream<'static, Result<Bytes>>>,
    /// As it was when it was looked at last.
    status: FileStatus,
    /// Whether it was said that the file is closed.
    said_closed: bool,
    pause: Duration,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Following,
    /// The file is gone: what is left of it is given, then this is said.
    Removed,
    Replaced,
    Ended,
}

impl Follow {
    pub(super) fn new(reader: &Reader, position: u64) -> Self {
        let (reader, status) = (reader.clone(), reader.status().clone());
        Self {
            client: Client::new(reader.shared().namenode.clone()),
            path: reader.path().clone(),
            inode: status.inode,
            reader,
            position,
            stream: None,
            status,
            said_closed: false,
            pause: SHORTEST_PAUSE,
            stage: Stage::Following,
        }
    }

    /// The path that is followed; another one after [`Followed::Moved`].
    #[must_use]
    pub fn path(&self) -> &DfsPath {
        &self.path
    }

    /// The next byte that is given.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What comes next, waited for as long as it takes; `None` after the end. Cancel-safe.
    ///
    /// # Errors
    /// As for [`Client::stat`](crate::Client::stat) and [`Reader::read_at`]. After an error that
    /// [is retryable](Error::is_retryable) it can be asked again, and goes on where it was; any other is the end.
    pub async fn next(&mut self) -> Result<Option<Followed>> {
        let next = self.step().await;
        if let Err(error) = &next {
            self.stream = None;
            if !error.is_retryable() {
                self.stage = Stage::Ended;
            }
        }
        next
    }

    /// As a stream, which ends with the first error.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<Followed>> {
        futures::stream::try_unfold(self, |mut follow| async move {
            Ok(follow.next().await?.map(|followed| (followed, follow)))
        })
        .boxed()
    }

    async fn step(&mut self) -> Result<Option<Followed>> {
        loop {
            if let Some(stream) = &mut self.stream {
                if let Some(bytes) = stream.try_next().await? {
                    self.position += bytes.len() as u64;
                    (self.pause, self.said_closed) = (SHORTEST_PAUSE, false);
                    return Ok(Some(Followed::Bytes(bytes)));
                }
                self.stream = None;
            }
            if self.stage == Stage::Ended {
                return Ok(None);
            }
            if self.position < self.reader.len() {
                self.stream = Some(self.reader.stream(self.position..));
                continue;
            }
            let end = match self.stage {
                Stage::Removed => Some(Followed::Removed),
                Stage::Replaced => Some(Followed::Replaced),
                Stage::Following | Stage::Ended => None,
            };
            if end.is_some() {
                self.stage = Stage::Ended;
                return Ok(end);
            }
            if !self.status.open && !self.said_closed && self.status.length == self.position {
                self.said_closed = true;
                return Ok(Some(Followed::Closed(self.status.length)));
            }
            sleep(self.pause).await;
            let changed = self.look().await?;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            if changed.is_some() {
                return Ok(changed);
            }
        }
    }

    /// Looks at the file again.
    async fn look(&mut self) -> Result<Option<Followed>> {
        let standing = match self.client.stat(&self.path).await {
            Ok(status) if status.inode == self.inode => return self.take(status).await,
            Ok(_) => Stage::Replaced,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Stage::Removed,
            Err(error) => return Err(error),
        };
        if let Ok((_, Some(path))) = self.client.stat_id(self.inode).await
            && !path.as_str().starts_with(TRASH)
        {
            self.path = path.clone();
            return Ok(Some(Followed::Moved(path)));
        }
        // What was written before the end can be read while the namenode keeps it for those who have it open.
        let _ = self.reader.refresh().await;
        self.stage = standing;
        Ok(None)
    }

    /// Takes note of the status of the file that is followed.
    async fn take(&mut self, status: FileStatus) -> Result<Option<Followed>> {
        if status == self.status && !status.open {
            return Ok(None);
        }
        if !status.open && status.length < self.position {
            let reader = self.client.reader(&self.path).await?;
            if reader.status().inode != self.inode {
                // The next look says so.
                return Ok(None);
            }
            (self.reader, self.position, self.said_closed) = (reader, status.length, true);
            self.status = status;
            return Ok(Some(Followed::Truncated(self.position)));
        }
        self.reader.refresh().await?;
        self.said_closed &= !status.open;
        self.status = status;
        Ok(None)
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("path", &self.path).field("position", &self.position).finish_non_exhaustive()
    }
}

impl Followed {
    /// Why nothing follows, as an error: [`ErrorKind::NotFound`] for a file that is gone; `None` for what is no end.
    #[must_use]
    pub fn as_end(&self, path: &DfsPath) -> Option<Error> {
        match self {
            Self::Removed => Some(Error::new(ErrorKind::NotFound, format!("{path} was removed"))),
            Self::Replaced => Some(Error::new(ErrorKind::NotFound, format!("{path} was replaced by another file"))),
            _ => None,
        }
    }
}
