//! Directories, entry by entry.

use std::collections::VecDeque;

use godfs_core::{DfsPath, Result};
use godfs_proto::v1;

use crate::links::Hops;
use crate::metadata::{DirEntry, FileStatus};
use crate::namenode::{Namenode, Pages};

/// The most entries of a page.
const PAGE: u32 = 1_000;

/// The entries of one directory, in the order of their names' bytes, a page at a time.
pub(crate) struct Listing {
    pages: Pages<v1::ListPage>,
    /// Its path, past the symbolic links that were met.
    resolved: DfsPath,
    /// Entries that arrived and were not given yet.
    page: VecDeque<DirEntry>,
    /// The last name that arrived.
    after: String,
    ended: bool,
    hops: Hops,
}

impl Listing {
    pub(crate) fn new(namenode: &Namenode, path: DfsPath) -> Self {
        Self {
            pages: Pages::new(namenode),
            resolved: path,
            page: VecDeque::new(),
            after: String::new(),
            ended: false,
            hops: Hops::default(),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<DirEntry>> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                return Ok(Some(entry));
            }
            if self.ended {
                return Ok(None);
            }
            let request = v1::ListRequest {
                path: self.resolved.as_str().to_owned(),
                start_after: self.after.clone(),
                page_size: PAGE,
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
            for entry in entries {
                self.page
                    .push_back(DirEntry { status: FileStatus::from_wire(entry.status.as_ref())?, name: entry.name });
            }
        }
    }
}
