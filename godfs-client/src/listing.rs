//! Directories, entry by entry.

use std::collections::VecDeque;

use godfs_core::{DfsPath, ErrorKind, Result};
use godfs_proto::v1;

use crate::links::Hops;
use crate::locate;
use crate::metadata::{ChunkLocation, DirEntry, FileStatus};
use crate::namenode::{Namenode, Pages};
use crate::options::ListOptions;

/// The most entries of a page.
const PAGE: u32 = 1_000;

/// The entries of one directory, in the order of their names' bytes, a page at a time.
pub(crate) struct Listing {
    namenode: Namenode,
    pages: Pages<v1::ListPage>,
    /// Its path, past the symbolic links that were met.
    resolved: DfsPath,
    /// Entries that arrived and were not given yet.
    page: VecDeque<v1::ListEntry>,
    /// Whether to say where chunks are.
    locations: bool,
    /// The last name that arrived.
    after: String,
    ended: bool,
    hops: Hops,
}

impl Listing {
    pub(crate) fn new(namenode: &Namenode, path: DfsPath, options: ListOptions) -> Self {
        Self {
            namenode: namenode.clone(),
            pages: Pages::new(namenode),
            resolved: path,
            page: VecDeque::new(),
            locations: options.locations,
            after: options.start_after,
            ended: false,
            hops: Hops::default(),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<DirEntry>> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                return entry_of(&self.namenode, entry).await.map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            let request = v1::ListRequest {
                path: self.resolved.as_str().to_owned(),
                start_after: self.after.clone(),
                page_size: PAGE,
                locations: self.locations,
                host: self.namenode.settings().host.clone(),
            };
            let request = &request;
            let entries = match self.pages.next(|mut stub| async move { stub.list(request.clone()).await }).await {
                Ok(Some(page)) => page.entries,
                Ok(None) => {
                    self.ended = true;
                    continue;
                }
                Err(error) => {
                    self.hops.follow(error, std::slice::from_mut(&mut self.resolved))?;
                    continue;
                }
            };
            if let Some(last) = entries.last() {
                self.after.clone_from(&last.name);
            }
            self.page.extend(entries);
        }
    }
}

/// An entry with all its chunks.
async fn entry_of(namenode: &Namenode, wire: v1::ListEntry) -> Result<DirEntry> {
    let status = FileStatus::from_wire(wire.status.as_ref())?;
    let chunks = match wire.located {
        None => None,
        Some(located) => {
            let mut chunks = ChunkLocation::list(&located.chunks)?;
            if located.more {
                match locate::rest(namenode, status.inode, &mut chunks).await {
                    // Gone meanwhile: what was there is known as far as this.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    found => found?,
                }
            }
            Some(chunks)
        }
    };
    Ok(DirEntry { name: wire.name, status, chunks })
}
