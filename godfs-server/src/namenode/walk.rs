//! Walks and counts for clients.

use std::sync::Arc;

use godfs_client::transport::status;
use godfs_core::glob::Glob;
use godfs_core::namespace::{FileKind, MAX_PAGE, Namespace, Quota, WalkOptions};
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tonic::Status;

use super::convert::status as status_to_wire;
use super::state::State;

/// Entries of a page when the caller does not say.
const PAGE: usize = 1_000;

/// A walk that a caller asks for, checked.
#[derive(Debug)]
pub(super) struct Walk {
    root: DfsPath,
    after: DfsPath,
    options: WalkOptions,
    page: usize,
}

impl Walk {
    pub(super) fn parse(wire: &v1::WalkRequest) -> Result<Self> {
        let root = DfsPath::parse(&wire.path)?;
        let after = if wire.after.is_empty() { root.clone() } else { DfsPath::parse(&wire.after)? };
        let kind = match v1::FileKind::try_from(wire.kind) {
            Ok(v1::FileKind::Unspecified) => None,
            Ok(v1::FileKind::File) => Some(FileKind::File),
            Ok(v1::FileKind::Directory) => Some(FileKind::Directory),
            Ok(v1::FileKind::Symlink) => Some(FileKind::Symlink),
            Err(_) => return Err(Error::new(ErrorKind::InvalidArgument, format!("kind: {} is not known", wire.kind))),
        };
        let depth = |depth: Option<u32>, default| depth.map_or(default, |depth| depth as usize);
        let options = WalkOptions {
            name: if wire.name.is_empty() { None } else { Some(Glob::parse(&wire.name)?) },
            kind,
            min_depth: depth(wire.min_depth, 1),
            max_depth: depth(wire.max_depth, usize::MAX),
            min_bytes: wire.min_bytes,
            max_bytes: wire.max_bytes,
            past_denied: wire.past_denied,
        };
        let page = match usize::try_from(wire.page_size).unwrap_or(usize::MAX) {
            0 => PAGE,
            size => size.min(MAX_PAGE),
        };
        Ok(Self { root, after, options, page })
    }

    /// Sends pages until the walk ends or the caller goes away.
    pub(super) async fn send(
        mut self,
        state: Arc<State>,
        namespace: Namespace,
        pages: mpsc::Sender<Result<v1::WalkPage, Status>>,
    ) {
        loop {
            let read = tokio::select! {
                biased;
                // The caller has gone, or the namenode ends: a read may be given up anywhere.
                () = pages.closed() => return,
                () = state.tasks.ending().cancelled() => Err(Error::new(ErrorKind::Unavailable, "the namenode is stopping")),
                read = namespace.walk(self.root.clone(), self.after.clone(), self.options.clone(), self.page) => read,
            };
            let (page, next) = match read {
                Ok(page) => {
                    let entries = page.entries.into_iter().map(|entry| v1::WalkEntry {
                        path: entry.path.as_str().to_owned(),
                        status: Some(status_to_wire(entry.status)),
                    });
                    let next = page.next.as_ref().map_or_else(String::new, |next| next.as_str().to_owned());
                    (Ok(v1::WalkPage { entries: entries.collect(), next, denied: page.denied }), page.next)
                }
                Err(error) => (Err(status::to_status(&error)), None),
            };
            if pages.send(page).await.is_err() {
                return;
            }
            match next {
                Some(next) => self.after = next,
                None => return,
            }
        }
    }
}

/// What lies below a directory.
pub(super) async fn usage(namespace: &Namespace, request: &v1::UsageRequest) -> Result<v1::UsageResponse> {
    let path = DfsPath::parse(&request.path)?;
    let kind = status_to_wire(namespace.lstat(path.clone()).await?).kind;
    let usage = namespace.usage(path.clone()).await?;
    let quota = if kind == v1::FileKind::Directory as i32 { namespace.quota(path).await? } else { Quota::default() };
    Ok(v1::UsageResponse {
        names_quota: quota.names,
        space_quota: quota.space,
        kind,
        bytes: usage.bytes,
        files: usage.files,
        directories: usage.directories,
        space: usage.space,
    })
}
