//! Streams of the entries of a directory, and the memory that they take.
//!
//! A page that nobody has taken yet holds its bytes from one budget. Where that is used up, listings do not wait for each other, they get smaller: each may have
//! [`SMALL_PAGE`] entries in any case, so who does not read keeps nobody from listing.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use godfs_client::transport::status;
use godfs_core::namespace::{FileKind, FileRef, ListEntry, LocateRange, MAX_PAGE, Namespace};
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::convert::status as status_to_wire;
use super::namespace_service::host;
use super::state::State;

/// Entries of a page when the caller does not say.
const PAGE: usize = 1_000;
/// Entries of the first page, so that whoever waits for it soon has something to do; each further one has twice as many. And of all pages, where
/// there is no memory for larger ones.
const SMALL_PAGE: usize = 125;
/// Bytes of names, links and owners after which a page ends, however few its entries: whoever reads one bounds a message.
const PAGE_BYTES: usize = 512 << 10;
/// Bytes of pages of all listings that may wait to be taken, besides the small ones: some sixty of a thousand entries.
const WAITING_BYTES: usize = 32 << 20;
/// Entries of a page with the places of chunks: each is a read of its own.
const LOCATED_PAGE: usize = 250;
/// Chunks of each file that come with its entry: 1 GiB at the usual size. Who wants the others asks for them.
const FIRST_CHUNKS: usize = 8;
/// Bytes of the places of chunks in one page: with its entries it fits a message.
const CHUNK_BYTES: usize = 512 << 10;
/// Files whose chunks are looked up at once.
const LOOKED_UP_AT_ONCE: usize = 16;

/// The memory of all listings.
#[derive(Debug)]
pub(super) struct ListMemory(Arc<Semaphore>);

impl Default for ListMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WAITING_BYTES)))
    }
}

impl ListMemory {
    /// How many entries to read where `wanted` would be read.
    fn fitting(&self, wanted: usize) -> usize {
        if wanted * mem::size_of::<v1::ListEntry>() <= self.0.available_permits() {
            wanted
        } else {
            wanted.min(SMALL_PAGE)
        }
    }

    /// Memory, if there is so much.
    fn take_bytes(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).ok()
    }

    /// Memory for entries; where there is none, only the first of them are kept.
    fn take(&self, entries: &mut Vec<ListEntry>) -> Option<OwnedSemaphorePermit> {
        let taken = self.take_bytes(entries.iter().map(bytes_of).sum());
        if taken.is_none() {
            entries.truncate(SMALL_PAGE);
            entries.shrink_to_fit();
        }
        taken
    }
}

/// The bytes of chunks as a message that waits to be sent.
fn bytes_of_chunks(chunks: &[v1::ChunkLocation]) -> usize {
    let replica = |replica: &v1::ReplicaLocation| {
        let node = replica.node.as_ref().map_or(0, |node| node.address.len() + node.domain.len());
        mem::size_of::<v1::ReplicaLocation>() + node
    };
    let chunk = |chunk: &v1::ChunkLocation| {
        mem::size_of::<v1::ChunkLocation>() + chunk.grant.len() + chunk.replicas.iter().map(replica).sum::<usize>()
    };
    chunks.iter().map(chunk).sum()
}

/// What an entry takes as a message that waits to be sent.
fn bytes_of(entry: &ListEntry) -> usize {
    mem::size_of::<v1::ListEntry>() + text_of(entry)
}

fn text_of(ListEntry { name, status }: &ListEntry) -> usize {
    let target = status.target.as_ref().map_or(0, String::len);
    name.len() + target + status.owner.user.len() + status.owner.group.len()
}

/// A page on its way, and its memory, which pages that were read together share.
pub(super) type Waiting = (Result<v1::ListPage, Status>, Option<Arc<OwnedSemaphorePermit>>);

/// The pages of a listing, as tonic takes them.
pub(super) type Pages = Pin<Box<dyn Stream<Item = Result<v1::ListPage, Status>> + Send>>;

/// Each page gives its memory back when the next one is asked for: until then it waits as bytes for the caller to read on.
pub(super) fn given(pages: mpsc::Receiver<Waiting>) -> Pages {
    Box::pin(stream::unfold((pages, None), |(mut pages, before)| async move {
        drop(before);
        let (page, taken) = pages.recv().await?;
        Some((page, (pages, taken)))
    }))
}

/// A listing that a caller asks for, checked.
#[derive(Debug)]
pub(super) struct List {
    path: DfsPath,
    after: String,
    /// Entries of a page.
    most: usize,
    /// Whether the places of chunks are wanted, and by a caller on which host.
    located: Option<String>,
}

/// Where the first chunks of an entry are; `None` of what has none, or what the caller may not read.
type Located = Option<v1::ListedChunks>;

impl List {
    pub(super) fn parse(wire: v1::ListRequest) -> Result<Self> {
        let most = match usize::try_from(wire.page_size).unwrap_or(usize::MAX) {
            0 => PAGE,
            size => size.min(MAX_PAGE),
        };
        let located = if wire.locations { Some(host(&wire.host)?.to_owned()) } else { None };
        let most = if wire.locations { most.min(LOCATED_PAGE) } else { most };
        Ok(Self { path: DfsPath::parse(&wire.path)?, after: wire.start_after, most, located })
    }

    /// Where the first chunks of each entry are. What there is no room for is left to the caller to ask for.
    async fn locate(
        &self,
        state: &State,
        namespace: &Namespace,
        entries: &[ListEntry],
        taken: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Vec<Located>> {
        let Some(host) = &self.located else { return Ok(vec![None; entries.len()]) };
        let range = LocateRange { offset: 0, length: u64::MAX, chunks: FIRST_CHUNKS };
        let look_up = |entry: &ListEntry| {
            let (inode, is_file) = (entry.status.inode, entry.status.kind == FileKind::File);
            async move { if is_file { namespace.locate(FileRef::Inode(inode), range).await.map(Some) } else { Ok(None) } }
        };
        let mut found = stream::iter(entries.iter().map(look_up)).buffered(LOOKED_UP_AT_ONCE);
        let (mut located, mut room) = (Vec::with_capacity(entries.len()), CHUNK_BYTES);
        while let Some(file) = found.next().await {
            let file = match file {
                Ok(Some(file)) => file,
                Ok(None) => {
                    located.push(None);
                    continue;
                }
                // Gone meanwhile, or not this caller's to read.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                    located.push(None);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let chunks = state.locations(&file.chunks, host);
            let bytes = bytes_of_chunks(&chunks);
            let permit = if bytes <= room { state.lists.take_bytes(bytes) } else { None };
            located.push(Some(match permit {
                Some(permit) => {
                    room -= bytes;
                    match taken {
                        Some(taken) => taken.merge(permit),
                        None => *taken = Some(permit),
                    }
                    v1::ListedChunks { chunks, more: file.more }
                }
                None => v1::ListedChunks { chunks: Vec::new(), more: !file.chunks.is_empty() },
            }));
        }
        Ok(located)
    }

    /// Sends pages until the directory ends or the caller goes away.
    pub(super) async fn send(mut self, state: Arc<State>, namespace: Namespace, pages: mpsc::Sender<Waiting>) {
        let mut wanted = SMALL_PAGE.min(self.most);
        loop {
            let size = state.lists.fitting(wanted);
            // An end without an error would pass for the end of the directory.
            let ending = || Err(Error::new(ErrorKind::Unavailable, "the namenode is stopping"));
            let read = tokio::select! {
                biased;
                // The caller has gone, or the namenode ends: a read may be given up anywhere.
                () = pages.closed() => return,
                () = state.tasks.ending().cancelled() => ending(),
                read = namespace.list(self.path.clone(), self.after.clone(), size) => read,
            };
            let mut entries = match read {
                Ok(entries) => entries,
                Err(error) => {
                    let _ = pages.send((Err(status::to_status(&error)), None)).await;
                    return;
                }
            };
            let read = entries.len();
            let mut taken = state.lists.take(&mut entries);
            let located = match self.locate(&state, &namespace, &entries, &mut taken).await {
                Ok(located) => located,
                Err(error) => {
                    let _ = pages.send((Err(status::to_status(&error)), None)).await;
                    return;
                }
            };
            let taken = taken.map(Arc::new);
            let more = read == size || entries.len() < read;
            if let Some(last) = entries.last() {
                self.after.clone_from(&last.name);
            }
            for page in pages_of(entries, located) {
                if pages.send((Ok(page), taken.clone())).await.is_err() {
                    return;
                }
            }
            if !more {
                return;
            }
            wanted = (2 * wanted).min(self.most);
        }
    }
}

/// Entries as they are sent: together, unless they are very long.
fn pages_of(entries: Vec<ListEntry>, located: Vec<Located>) -> Vec<v1::ListPage> {
    let mut pages = Vec::with_capacity(1);
    let mut page = Vec::with_capacity(entries.len());
    let mut bytes = 0;
    for (entry, located) in entries.into_iter().zip(located) {
        if bytes >= PAGE_BYTES {
            pages.push(v1::ListPage { entries: mem::take(&mut page) });
            bytes = 0;
        }
        bytes += text_of(&entry);
        let ListEntry { name, status } = entry;
        page.push(v1::ListEntry { name, status: Some(status_to_wire(status)), located });
    }
    // An empty page says nothing.
    if !page.is_empty() {
        pages.push(v1::ListPage { entries: page });
    }
    pages
}

#[cfg(test)]
mod tests;
