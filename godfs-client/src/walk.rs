//! Walks of whole trees, and what lies below a directory, counted.

use std::collections::VecDeque;

use futures::stream::{BoxStream, StreamExt};
use godfs_core::glob::Glob;
use godfs_core::{DfsPath, Error, ErrorKind, IntoPath, Result};
use godfs_proto::v1;

use crate::client::Client;
use crate::links::Hops;
use crate::metadata::{FileKind, FileStatus, Quota, Usage, malformed};
use crate::namenode::{Namenode, Pages, Stub};
use crate::options::WalkOptions;

impl Client {
    /// What lies below a directory, each directory before what it holds, names in the order of their bytes. What is there throughout comes
    /// exactly once, whatever changes around it; a broken connection is made again where the walk stood.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a malformed path or pattern; all else comes through the stream, which then ends,
    /// but for what [`WalkOptions::past_denied`] is asked to pass by.
    pub fn walk(
        &self,
        path: impl IntoPath,
        options: WalkOptions,
    ) -> Result<BoxStream<'static, Result<(DfsPath, FileStatus)>>> {
        let walk = Walk::new(self.namenode(), &path.into_path()?, options)?;
        Ok(futures::stream::try_unfold(
            walk,
            |mut walk| async move { Ok(walk.next().await?.map(|found| (found, walk))) },
        )
        // An error of the stream ends it, one of an entry does not.
        .map(|found| found.and_then(|found| found))
        .boxed())
    }

    /// What lies below a directory, counted, or a file or symbolic link itself. Takes no longer for a large one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    pub async fn usage(&self, path: impl IntoPath) -> Result<Usage> {
        let ask = |mut stub: Stub, path| async move { stub.usage(v1::UsageRequest { path }).await };
        let answer = self.namenode().call_at(path.into_path()?, ask).await?;
        Usage::from_wire(&answer)
    }
}

impl Client {
    /// Sets what a directory may hold, with all that lies below it; no limit at all takes its quota away. For the superuser. What is in use already stays,
    /// and keeps the directory from growing where it is more.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied); [`ErrorKind::NotFound`](crate::ErrorKind::NotFound); [`ErrorKind::NotADirectory`](crate::ErrorKind::NotADirectory).
    pub async fn set_quota(&self, path: impl IntoPath, quota: Quota) -> Result<()> {
        self.send_quota(path, quota, false).await
    }

    /// The same of the limits that are given: the other one stays as it is, also when somebody sets that at the same time.
    ///
    /// # Errors
    /// Those of [`set_quota`](Self::set_quota).
    pub async fn change_quota(&self, path: impl IntoPath, given: Quota) -> Result<()> {
        self.send_quota(path, given, true).await
    }

    async fn send_quota(&self, path: impl IntoPath, Quota { names, space }: Quota, others_stay: bool) -> Result<()> {
        self.namenode()
            .mutate_at([path.into_path()?], |mut stub: Stub, call, [path]| async move {
                stub.set_quota(v1::SetQuotaRequest { call: Some(call), path, names, space, others_stay }).await
            })
            .await
            .map(drop)
    }
}

struct Walk {
    /// Where it began, and the same past symbolic links.
    root: DfsPath,
    resolved: DfsPath,
    hops: Hops,
    /// What is asked for, from the place on that the last page named.
    request: v1::WalkRequest,
    pages: Pages<v1::WalkPage>,
    /// Entries that arrived and were not given yet.
    page: VecDeque<Result<(DfsPath, FileStatus)>>,
    ended: bool,
}

impl Walk {
    fn new(namenode: &Namenode, path: &DfsPath, options: WalkOptions) -> Result<Self> {
        if let Some(name) = &options.name {
            Glob::parse(name)?;
        }
        let request = v1::WalkRequest {
            path: path.as_str().to_owned(),
            after: String::new(),
            name: options.name.unwrap_or_default(),
            kind: match options.kind {
                Some(FileKind::File) => v1::FileKind::File,
                Some(FileKind::Directory) => v1::FileKind::Directory,
                Some(FileKind::Symlink) => v1::FileKind::Symlink,
                None => v1::FileKind::Unspecified,
            }
            .into(),
            min_depth: options.min_depth,
            max_depth: options.max_depth,
            min_bytes: options.min_bytes,
            max_bytes: options.max_bytes,
            page_size: 0,
            past_denied: options.past_denied,
        };
        Ok(Self {
            root: path.clone(),
            resolved: path.clone(),
            hops: Hops::default(),
            request,
            pages: Pages::new(namenode),
            page: VecDeque::new(),
            ended: false,
        })
    }

    async fn next(&mut self) -> Result<Option<Result<(DfsPath, FileStatus)>>> {
        loop {
            if let Some(found) = self.page.pop_front() {
                return Ok(Some(found));
            }
            if self.ended {
                return Ok(None);
            }
            let request = &self.request;
            match self.pages.more(|mut stub| async move { stub.walk(request.clone()).await }).await {
                Ok(page) => self.take(page)?,
                // Links below are passed by; one at the beginning or above it is followed.
                Err(error) if error.link().is_some() && self.request.after.is_empty() => {
                    self.hops.follow(error, std::slice::from_mut(&mut self.resolved))?;
                    self.request.path = self.resolved.as_str().to_owned();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A path as whoever asked would say it.
    fn asked(&self, path: DfsPath) -> Result<DfsPath> {
        if self.root == self.resolved {
            return Ok(path);
        }
        let mut below = path.names().skip(self.resolved.names().count());
        below.try_fold(self.root.clone(), |path, name| path.join(name))
    }

    fn take(&mut self, page: v1::WalkPage) -> Result<()> {
        for entry in page.entries {
            let path = DfsPath::parse(&entry.path)?;
            self.page.push_back(Ok((self.asked(path)?, FileStatus::from_wire(entry.status.as_ref())?)));
        }
        self.page.extend(page.denied.into_iter().map(|why| Err(Error::new(ErrorKind::PermissionDenied, why))));
        self.ended = page.next.is_empty();
        if !self.ended && page.next == self.request.after {
            return Err(malformed("a page of a walk that does not go on"));
        }
        self.request.after = page.next;
        Ok(())
    }
}
