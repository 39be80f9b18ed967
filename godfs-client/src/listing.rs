//! Directories, entry by entry.

use std::collections::VecDeque;

use godfs_core::{DfsPath, Result};
use godfs_proto::v1;

use crate::links::Hops;
use crate::metadata::{DirEntry, FileStatus};
use crate::namenode::Namenode;

/// Entries that one call brings.
const PAGE: u32 = 1_000;

/// The entries of one directory, in the order of their names' bytes, a page at a time.
pub(crate) struct Listing {
    namenode: Namenode,
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
            namenode: namenode.clone(),
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
            let entries = match self.fetch().await {
                Ok(entries) => entries,
                Err(error) => {
                    self.hops.follow(error, std::slice::from_mut(&mut self.resolved))?;
                    continue;
                }
            };
            match entries.last() {
                Some(last) => self.after.clone_from(&last.name),
                None => self.ended = true,
            }
            self.ended |= entries.len() < PAGE as usize;
            for entry in entries {
                self.page
                    .push_back(DirEntry { status: FileStatus::from_wire(entry.status.as_ref())?, name: entry.name });
            }
        }
    }

    /// One page from the last name on. The server would go on sending; a page at a time keeps its work and our memory
    /// bounded however slowly the entries are taken, and lets a broken connection be made again in between.
    async fn fetch(&self) -> Result<Vec<v1::ListEntry>> {
        self.namenode
            .call(|mut stub| {
                let request = v1::ListRequest {
                    path: self.resolved.as_str().to_owned(),
                    start_after: self.after.clone(),
                    page_size: PAGE,
                };
                async move {
                    let mut pages = stub.list(request).await?.into_inner();
                    let mut entries = Vec::new();
                    while entries.len() < PAGE as usize {
                        let Some(page) = pages.message().await? else { break };
                        entries.extend(page.entries);
                    }
                    Ok(tonic::Response::new(entries))
                }
            })
            .await
    }
}
