//! What stores of objects need: whole files of parts, and trees as flat keys.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use godfs_core::{DfsPath, Error, ErrorKind, IntoPath, Result};
use godfs_proto::v1;

use crate::client::Client;
use crate::file::Reader;
use crate::links::{self, Hops};
use crate::metadata::{ETag, KeyEntry, malformed};
use crate::namenode::{Namenode, Pages};
use crate::options::{CreateOptions, KeyOptions};

impl Client {
    /// Opens a file for reading, and tells the extended attributes that it has at that moment, in the order of their names. One round trip, in which a
    /// small file comes whole.
    ///
    /// # Errors
    /// As for [`reader`](Self::reader).
    pub async fn reader_with_xattrs(&self, path: impl IntoPath) -> Result<(Reader, Vec<(String, Bytes)>)> {
        Reader::open_with(self.namenode(), path.into_path()?, true).await
    }

    /// Makes the file `target` of the chunks of others, which lie in `directory` under the names `parts`, in their order and without copying a byte. It
    /// appears whole, and the directory goes with all that is in it, in one step. The parts must be closed files that were made with a
    /// [`small_file_limit`](CreateOptions::small_file_limit) of 0 and the chunk size that `options` name; there may be 10,000.
    ///
    /// # Errors
    /// As for [`put`](Self::put); [`ErrorKind::NotFound`] without a part, or the directory; [`ErrorKind::FailedPrecondition`] also for a part that is a
    /// small file; [`ErrorKind::InvalidArgument`] for one of another chunk size, or named twice; [`ErrorKind::LimitExceeded`] beyond 16,000 chunks.
    pub async fn compose<P: Into<String>>(
        &self,
        target: impl IntoPath,
        directory: impl IntoPath,
        parts: impl IntoIterator<Item = P>,
        options: CreateOptions,
    ) -> Result<ETag> {
        if let Some(why) = options.invalid {
            return Err(Error::new(ErrorKind::InvalidArgument, why));
        }
        let parts: Vec<String> = parts.into_iter().map(Into::into).collect();
        let paths = [directory.into_path()?, target.into_path()?];
        let compose = || {
            links::follow(paths.clone(), |paths| {
                let (parts, options) = (&parts, &options);
                self.namenode().mutate(move |mut stub, call| {
                    let [directory, target] = paths.each_ref().map(|path| path.as_str().to_owned());
                    let (parts, options) = (parts.clone(), Some(options.to_wire()));
                    let request = v1::ComposeRequest { call: Some(call), directory, parts, target, options };
                    async move { stub.compose(request).await }
                })
            })
        };
        let answer = self.namenode().until_closed(compose).await?;
        ETag::from_wire(answer.inode, answer.version)
    }

    /// The files below a directory under flat keys, which are their paths from it, in the order of the bytes of the keys. That is not the order of the
    /// tree: `a.b` comes before `a/c`. What is there throughout comes exactly once, whatever changes around it. Directories without files do not
    /// show, nor do symbolic links.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a malformed path; all else comes through the stream, which then ends: [`ErrorKind::NotFound`] without the
    /// directory, [`ErrorKind::PermissionDenied`] for one below that may not be listed.
    pub fn list_keys(&self, root: impl IntoPath, options: KeyOptions) -> Result<BoxStream<'static, Result<KeyEntry>>> {
        let keys = Keys::new(self.namenode(), root.into_path()?, options);
        Ok(futures::stream::try_unfold(
            keys,
            |mut keys| async move { Ok(keys.next().await?.map(|entry| (entry, keys))) },
        )
        .boxed())
    }
}

/// Keys, a page at a time.
struct Keys {
    pages: Pages<v1::KeyPage>,
    /// What is asked for, from the key on that the last page named.
    request: v1::ListKeysRequest,
    /// Where it began, past symbolic links.
    root: DfsPath,
    hops: Hops,
    /// Keys that arrived and were not given yet.
    page: VecDeque<v1::Key>,
    ended: bool,
}

impl Keys {
    fn new(namenode: &Namenode, root: DfsPath, options: KeyOptions) -> Self {
        let KeyOptions { prefix, after, delimited, hide, page_size } = options;
        let request = v1::ListKeysRequest { root: root.as_str().to_owned(), prefix, after, delimited, hide, page_size };
        let pages = Pages::new(namenode);
        Self { pages, request, root, hops: Hops::default(), page: VecDeque::new(), ended: false }
    }

    async fn next(&mut self) -> Result<Option<KeyEntry>> {
        loop {
            if let Some(key) = self.page.pop_front() {
                return KeyEntry::from_wire(key).map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            let request = &self.request;
            match self.pages.more(|mut stub| async move { stub.list_keys(request.clone()).await }).await {
                Ok(v1::KeyPage { keys, next }) => {
                    self.page = keys.into();
                    self.ended = next.is_empty();
                    if !self.ended && next <= self.request.after {
                        return Err(malformed("a page of keys that does not go on"));
                    }
                    self.request.after = next;
                }
                Err(error) => {
                    self.hops.follow(error, std::slice::from_mut(&mut self.root))?;
                    self.request.root = self.root.as_str().to_owned();
                }
            }
        }
    }
}
