//! Reads a file.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use godfs_core::checksum;
use godfs_core::chunk::ReplicaState;
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::dfs_file::DfsFile;
use super::follow::Follow;
use super::local;
use super::locations::{CHUNKS_AT_ONCE, Locations};
use super::range_reader::RangeReader;
use super::ranges::{self, Parts};
use super::small_reads::SMALL_READ_BYTES;
use crate::metadata::{ChunkLocation, FileStatus, ReplicaLocation};
use crate::namenode::{Backoff, Namenode};
use crate::transport::convert;
use crate::transport::status::from_status;
use crate::transport::together::Outcome;

/// Nodes that are asked at once how much of a chunk they show.
const ASKED_AT_ONCE: usize = 8;

/// Reads a file as it was when opened, wherever in it and as often as wanted. Cheap to clone; clones share what is known
/// of the file's replicas.
///
/// Every packet is verified against its checksums. A replica that can't be read, or lies, is replaced by another at the very byte,
/// unseen by the caller; an error means that no replica has the bytes, and names them. **Memory**: up to 4 MiB for each range that is being
/// read, besides what is handed out.
///
/// Of a file that is being written, the reader sees what was flushed when it was opened, or last [`refresh`](Self::refresh)ed.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    verify: bool,
}

/// Extended attributes with their values, in the order of their names.
pub(crate) type Xattrs = Vec<(String, Bytes)>;

/// What the ranges of a file share.
pub(super) struct Shared {
    pub(super) namenode: Namenode,
    pub(super) path: DfsPath,
    pub(super) status: FileStatus,
    /// All bytes of a file that lie with the namenode. Let go when the file, being written, has outgrown it.
    small: Mutex<Option<Bytes>>,
    pub(super) locations: Locations,
    /// Bytes that can be read.
    length: AtomicU64,
}

impl Reader {
    pub(crate) async fn open(namenode: &Namenode, path: DfsPath) -> Result<Self> {
        Ok(Self::open_with(namenode, path, false).await?.0)
    }

    /// The same with the file's extended attributes, where they are asked for: both of one moment.
    pub(crate) async fn open_with(namenode: &Namenode, path: DfsPath, xattrs: bool) -> Result<(Self, Xattrs)> {
        let answer = namenode
            .call_at(path.clone(), |mut stub, path| {
                let host = namenode.settings().host.clone();
                let request = v1::OpenRequest { path, host, chunks: CHUNKS_AT_ONCE, xattrs };
                async move { stub.open(request).await }
            })
            .await?;
        let status = FileStatus::from_wire(answer.status.as_ref())?;
        if status.is_dir() {
            return Err(Error::new(ErrorKind::IsADirectory, format!("{path} is a directory")));
        }
        let chunks = ChunkLocation::list(&answer.chunks)?;
        let small = status.small.then_some(answer.data);
        let length = small.as_ref().map_or(status.length, |data| data.len() as u64);
        let shared = Shared {
            namenode: namenode.clone(),
            path,
            locations: Locations::new(namenode.clone(), &status, chunks),
            small: Mutex::new(small),
            length: AtomicU64::new(length),
            status,
        };
        let reader = Self { shared: Arc::new(shared), verify: true };
        if reader.shared.status.open {
            reader.refresh().await?;
        }
        let xattrs = answer.xattrs.into_iter().map(|v1::Xattr { name, value }| (name, value)).collect();
        Ok((reader, xattrs))
    }

    /// The path it was opened under.
    #[must_use]
    pub fn path(&self) -> &DfsPath {
        &self.shared.path
    }

    /// The file's status when it was opened.
    #[must_use]
    pub fn status(&self) -> &FileStatus {
        &self.shared.status
    }

    /// Bytes that can be read.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.length.load(Ordering::Acquire)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks how much can be read by now, of a file that is being written or was written on since it was opened. It never becomes less: a file that was
    /// truncated must be opened again.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when none of the nodes that hold its end can be asked; also when none of them shows anything, since all were started again
    /// or can't be reached, and that has not changed within [`ClientSettings::call_timeout`](crate::ClientSettings::call_timeout).
    pub async fn refresh(&self) -> Result<u64> {
        let namenode = &self.shared.namenode;
        let deadline = Instant::now() + namenode.settings().call_timeout;
        let mut backoff = Backoff::new(namenode.env());
        loop {
            if let Some(length) = self.look().await? {
                return Ok(length);
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                let message =
                    format!("{}: the nodes that hold its end show nothing before it is recovered", self.path());
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            sleep(pause).await;
        }
    }

    /// One look at how much can be read; `None` when that is not settled.
    async fn look(&self) -> Result<Option<u64>> {
        let shared = &self.shared;
        let (status, chunks) = shared.locations.look(self.len()).await?;
        if status.small && status.length > self.len() {
            shared.take_small().await?;
        }
        // One that outgrows the namenode has its bytes there until it is closed, and more of them in chunks.
        let before = self.len();
        let mut length = 0;
        for (at, chunk) in chunks.iter().enumerate() {
            let bytes = if chunk.open { shared.visible(chunk).await? } else { Some(chunk.length) };
            let Some(bytes) = bytes else { return Ok(None) };
            length = chunk.offset + bytes;
            // The next chunk counts only when this one reaches up to it.
            if chunks.get(at + 1).is_some_and(|next| length < next.offset) {
                break;
            }
        }
        if length >= before && !chunks.is_empty() {
            *shared.small.lock() = None;
        }
        shared.length.fetch_max(length, Ordering::AcqRel);
        Ok(Some(self.len()))
    }

    /// The same file, read without comparing bytes to their checksums: for callers that check them by other means. Bytes that rotted on a disk come through
    /// as they are, and nobody hears of it.
    #[must_use]
    pub fn unverified(&self) -> Self {
        Self { verify: false, ..self.clone() }
    }

    /// A handle with the traits of tokio, at the first byte.
    #[must_use]
    pub fn into_file(self) -> DfsFile {
        DfsFile::reading(self)
    }

    /// Up to `length` bytes from `offset` on; fewer only at the end of the file, none beyond it. Any number of calls may be under way on one reader.
    ///
    /// # Errors
    /// When no replica has the bytes, naming them; [`ErrorKind::LimitExceeded`] when memory does not hold them. Where every replica is there and corrupt the
    /// error is [`ErrorKind::Corrupt`] and names each range that is lost, to the piece of 4 KiB; [`read_ranges`](Self::read_ranges) gives what is left.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let end = offset.saturating_add(length as u64).min(self.len());
        if offset >= end {
            return Ok(Bytes::new());
        }
        let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX);
        if wanted <= SMALL_READ_BYTES
            && let Some(bytes) = self.shared.read_small(offset..end, self.verify).await
        {
            return Ok(bytes);
        }
        let mut parts = Parts::read(self, offset..end, wanted).await?;
        parts.lost(offset..end, &self.shared.path)?;
        Ok(std::mem::take(&mut parts.bytes).into_iter().next().map_or_else(Bytes::new, |(_, bytes)| bytes))
    }

    /// The bytes of each of `ranges`, cut at the end of the file, in the order of the ranges. Those that lie close to one another are read together, and several at
    /// a time. One that can't be read does not keep the others from being given, whether or not they were read with it.
    ///
    /// # Errors
    /// For each range as for [`read_at`](Self::read_at).
    pub async fn read_ranges(&self, ranges: &[Range<u64>]) -> Vec<Result<Bytes>> {
        ranges::read(self, ranges).await
    }

    /// Gives the bytes from `position` on as they become visible, while the file is written and when it is written on later, and says when it is closed,
    /// truncated, moved, removed or replaced. It follows the file, under whatever path it has.
    #[must_use]
    pub fn follow(&self, position: u64) -> Follow {
        Follow::new(self, position)
    }

    /// The bytes of `range`, cut at the end of the file, in order and in the pieces they arrive in. Reads ahead of its reader by at most the
    /// flow-control window of one stream, a little above 2 MiB. After an error nothing follows.
    pub fn stream(&self, range: impl RangeBounds<u64>) -> BoxStream<'static, Result<Bytes>> {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        let range = self.range(start..end.min(self.len()));
        futures::stream::try_unfold(
            range,
            |mut range| async move { Ok(range.next().await?.map(|bytes| (bytes, range))) },
        )
        .boxed()
    }
}

impl Reader {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Reads a range, which must lie in the file.
    pub(super) fn range(&self, range: Range<u64>) -> RangeReader {
        RangeReader::new(Arc::clone(&self.shared), range.start, range.end, self.verify)
    }
}

/// What a node shows of a chunk that is being written.
enum Shown {
    Bytes(u64),
    /// It has no replica.
    Absent,
    /// It has one that is of no use now: older, or waiting for recovery.
    Uncounted,
}

impl Shared {
    /// All bytes of a file that lie with the namenode.
    pub(super) fn small(&self) -> Option<Bytes> {
        self.small.lock().clone()
    }

    /// A small range of one finished chunk, from the node that is asked first, on the stream that all such reads share. `None` when anything is in the way: an
    /// ordinary read finds out what, and asks another node.
    async fn read_small(&self, range: Range<u64>, verify: bool) -> Option<Bytes> {
        if self.small.lock().is_some() {
            return None;
        }
        let chunk = self.locations.at(range.start).await.ok()?;
        if chunk.open || range.end > chunk.offset + chunk.length {
            return None;
        }
        let patience = self.namenode.patience();
        let finished = |replica: &&ReplicaLocation| replica.live && replica.state == Some(ReplicaState::Finalized);
        let usable = chunk.replicas.iter().filter(finished);
        let node = &usable.min_by_key(|replica| patience.avoids(replica.node.id))?.node;
        if patience.avoids(node.id) {
            return None;
        }
        let offset = range.start - chunk.offset;
        let read = v1::SmallRead {
            number: 0,
            chunk: chunk.chunk.get(),
            generation: chunk.generation.get(),
            offset,
            length: u32::try_from(range.end - range.start).ok()?,
        };
        let namenode = &self.namenode;
        let within = (offset, offset + (range.end - range.start));
        if let Some(bytes) = local::read_small(namenode, &chunk, node, within, verify).await {
            return Some(bytes);
        }
        let begun = Instant::now();
        let asked = namenode.small_reads().ask(namenode.channels(), || namenode.identity().hello(), (node, ()), read);
        let mut asked = pin!(asked);
        let packet = match timeout(patience.hedge_after(), &mut asked).await {
            Ok(Outcome::Answered(answer)) => answer.ok()?,
            Ok(_) => return None,
            Err(_) if patience.hedge_after() < patience.silence() && patience.spend() => {
                patience.avoid_briefly(node.id);
                return None;
            }
            Err(_) => match timeout_at(begun + patience.silence(), asked).await {
                Ok(Outcome::Answered(answer)) => answer.ok()?,
                Ok(_) => return None,
                Err(_) => {
                    patience.avoid(node.id);
                    return None;
                }
            },
        };
        patience.took(begun.elapsed());
        let from = usize::try_from(offset.checked_sub(packet.offset)?).ok()?;
        let to = from + usize::try_from(range.end - range.start).ok()?;
        let bytes = (to <= packet.data.len()).then(|| packet.data.slice(from..to))?;
        (!verify || checksum::verify(packet.offset, &packet.data, &packet.checksums).is_ok()).then_some(bytes)
    }

    /// Takes the bytes of a small file again, which has more of them by now.
    async fn take_small(&self) -> Result<()> {
        let answer = self
            .namenode
            .call_at(self.path.clone(), |mut stub, path| async move {
                stub.open(v1::OpenRequest { path, ..Default::default() }).await
            })
            .await?;
        let status = FileStatus::from_wire(answer.status.as_ref())?;
        // One that stands there instead is another file; one with chunks meanwhile is looked at the next time.
        if status.inode == self.status.inode && status.small {
            let length = answer.data.len() as u64;
            *self.small.lock() = Some(answer.data);
            self.length.fetch_max(length, Ordering::AcqRel);
        }
        Ok(())
    }

    /// How many bytes of a chunk that is being written every node shows: so every one of them can be read from. `None` when those that answer have something
    /// that they don't show: then others, or they themselves after a recovery, may show what was acknowledged.
    async fn visible(&self, chunk: &ChunkLocation) -> Result<Option<u64>> {
        if let (true, Some(unreachable)) = (chunk.replicas.is_empty(), chunk.unreachable()) {
            let message = format!("{}: its end is held by {unreachable}", self.path);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let asked = chunk.replicas.iter().map(|replica| replica.node.clone()).collect::<Vec<_>>();
        let mut asking = futures::stream::iter(asked)
            .map(|node| {
                let (namenode, chunk, generation) = (self.namenode.clone(), chunk.chunk, chunk.generation);
                async move {
                    let patience = namenode.settings().transport.stall_timeout;
                    let request = v1::InspectRequest {
                        hello: Some(namenode.identity().hello()),
                        chunk: chunk.get(),
                        node: node.id.get(),
                    };
                    let ask = async {
                        let mut service = namenode.channels().chunk_service(&node.address).await?;
                        service.inspect(request).await.map_err(|status| from_status(&status, &node.address))
                    };
                    let answer = timeout(patience, ask).await.unwrap_or_else(|_| {
                        Err(Error::new(ErrorKind::Unavailable, format!("{} did not answer", node.address)))
                    });
                    let replica = match answer {
                        Ok(answer) => convert::required_replica(answer.into_inner().replica.as_ref())?,
                        // The pipeline does not stand yet, or the node has lost what it had with its power.
                        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Shown::Absent),
                        Err(error) => return Err(error),
                    };
                    let counts = matches!(replica.state, ReplicaState::Rbw | ReplicaState::Finalized);
                    match counts && replica.generation >= generation {
                        true => Ok(Shown::Bytes(replica.visible)),
                        false => Ok(Shown::Uncounted),
                    }
                }
            })
            .buffer_unordered(ASKED_AT_ONCE);
        let (begun, silence) = (Instant::now(), self.namenode.patience().silence());
        let mut answers: Vec<Result<Shown>> = Vec::new();
        loop {
            // Who is silent for long is not waited for where another one has answered.
            let answered = answers.iter().any(|answer| matches!(answer, Ok(Shown::Bytes(_))));
            let answer = tokio::select! {
                biased;
                // Those that have not answered go on where they were.
                answer = asking.next() => answer,
                // It waits for nothing but the time.
                () = sleep_until(begun + silence), if answered => None,
            };
            match answer {
                Some(answer) => answers.push(answer),
                None => break,
            }
        }
        let least = answers.iter().filter_map(|answer| match answer {
            Ok(Shown::Bytes(bytes)) => Some(*bytes),
            _ => None,
        });
        if let Some(visible) = least.min() {
            return Ok(Some(visible));
        }
        // Before the pipeline stands, nobody has anything. Where only some can be asked, others may have what one has lost with its power.
        if answers.iter().all(|answer| matches!(answer, Ok(Shown::Absent))) {
            return Ok(Some(0));
        }
        if answers.iter().any(Result::is_ok) {
            return Ok(None);
        }
        answers.into_iter().find_map(Result::err).map_or(Ok(None), |error| {
            Err(error.context(format_args!("{}: none of the nodes that hold its end can be asked", self.path)))
        })
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", self.path()).field("length", &self.len()).finish_non_exhaustive()
    }
}
