//! A file that is being written: its lease, and the calls made under it.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use godfs_core::{ChunkId, DfsPath, Error, ErrorKind, Generation, InodeId, LeaseId, NodeId, Result, Version};
use godfs_proto::v1;

use super::locations::Locations;
use crate::links;
use crate::metadata::malformed;
use crate::namenode::{Namenode, Session};
use crate::options::CreateOptions;
use crate::transport::convert::{self, ChunkCommit, Node};

/// A file that this client has the lease of.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) namenode: Namenode,
    pub(crate) session: Arc<Session>,
    pub(crate) path: DfsPath,
    pub(crate) inode: InodeId,
    pub(crate) lease: LeaseId,
    pub(crate) chunk_size: u64,
    /// Bytes that were there when it was opened.
    pub(crate) begin: u64,
    /// Where the chunk begins that takes the first of the new bytes; those after it follow at every `chunk_size`.
    pub(crate) base: u64,
    /// The bytes that were there, of a file without chunks.
    pub(crate) kept: Bytes,
    /// The most bytes that need no chunk.
    pub(crate) small_limit: usize,
    /// Whether it has chunks when it is closed, however small it is.
    pub(crate) into_chunks: bool,
    /// The first chunk, where it was placed as the file was created.
    pub(crate) first: Option<Placed>,
    pub(crate) options: CreateOptions,
    /// The version that closed it.
    pub(crate) closed: OnceLock<Version>,
}

/// A chunk that the namenode has placed.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) chunk: ChunkId,
    pub(crate) generation: Generation,
    pub(crate) nodes: Vec<Node>,
}

impl Placed {
    fn from_wire(answer: &v1::AddChunkResponse) -> Result<Self> {
        let placed = Self {
            chunk: convert::chunk(answer.chunk)?,
            generation: convert::generation(answer.generation)?,
            nodes: convert::nodes(&answer.nodes)?,
        };
        if placed.nodes.is_empty() {
            return Err(malformed("a chunk on no node"));
        }
        Ok(placed)
    }
}

/// The most bytes that a small file can have, whatever the namenode says: what travels in one message.
const MAX_SMALL_BYTES: u64 = 1 << 20;

/// How often a chunk is asked for without the nodes that failed lately, before they get another chance.
const STRICT_ATTEMPTS: u32 = 4;

impl OpenFile {
    /// Creates the file.
    pub(crate) async fn create(namenode: &Namenode, path: DfsPath, options: CreateOptions) -> Result<Self> {
        if let Some(why) = options.invalid {
            return Err(Error::new(ErrorKind::InvalidArgument, why));
        }
        convert::chunk_size(options.chunk_size)?;
        convert::replication(options.replication)?;
        let greeting = namenode.greeting().await?;
        let small_limit = options.small_limit(greeting.small_file_limit).min(MAX_SMALL_BYTES);
        let first = (options.expected_size > small_limit)
            .then(|| v1::FirstChunk { host: namenode.settings().host.clone(), expected: options.expected_size });
        let create = |session: &Arc<Session>| {
            let session = Arc::clone(session);
            let (path, options, first) = (&path, &options, &first);
            async move {
                links::follow([path.clone()], |[path]| {
                    namenode.mutate_under(&session, move |mut stub, call| {
                        let request = v1::CreateRequest {
                            call: Some(call),
                            path: path.as_str().to_owned(),
                            options: Some(options.to_wire()),
                            first: first.clone(),
                        };
                        async move { stub.create(request).await }
                    })
                })
                .await
            }
        };
        let (session, answer) = leased(namenode, create).await?;
        let chunk_size =
            convert::chunk_size(answer.chunk_size)?.ok_or_else(|| malformed("a new file without a chunk size"))?;
        Ok(Self {
            namenode: namenode.clone(),
            session,
            path,
            inode: convert::inode(answer.inode)?,
            lease: convert::lease(answer.lease)?,
            chunk_size,
            begin: 0,
            base: 0,
            kept: Bytes::new(),
            small_limit: usize::try_from(small_limit).unwrap_or(0),
            first: answer.first.as_ref().map(Placed::from_wire).transpose()?,
            into_chunks: false,
            options,
            closed: OnceLock::new(),
        })
    }

    /// Opens a file that is there for writing at its end.
    pub(crate) async fn append(namenode: &Namenode, path: DfsPath, options: CreateOptions) -> Result<Self> {
        let greeting = namenode.greeting().await?;
        let append = |session: &Arc<Session>| {
            let session = Arc::clone(session);
            let path = &path;
            async move {
                links::follow([path.clone()], |[path]| {
                    namenode.mutate_under(&session, move |mut stub, call| {
                        let request = v1::AppendRequest { call: Some(call), path: path.as_str().to_owned() };
                        async move { stub.append(request).await }
                    })
                })
                .await
            }
        };
        let (session, answer) = namenode.until_closed(|| leased(namenode, append)).await?;
        let chunk_size =
            convert::chunk_size(answer.chunk_size)?.ok_or_else(|| malformed("a file without a chunk size"))?;
        let small = answer.length == answer.data.len() as u64;
        let room = answer.length.checked_sub(answer.base).filter(|begun| *begun < chunk_size);
        if room.is_none() || (!small && !answer.data.is_empty()) {
            return Err(malformed("a file that ends where it can't"));
        }
        let limit = if small { greeting.small_file_limit.min(MAX_SMALL_BYTES) } else { 0 };
        Ok(Self {
            namenode: namenode.clone(),
            session,
            path,
            inode: convert::inode(answer.inode)?,
            lease: convert::lease(answer.lease)?,
            chunk_size,
            begin: answer.length,
            base: answer.base,
            kept: answer.data,
            small_limit: usize::try_from(limit).unwrap_or(0),
            into_chunks: false,
            first: None,
            options,
            closed: OnceLock::new(),
        })
    }

    /// Opens a small file to move its bytes from the namenode to a chunk, as they are, when it is closed.
    pub(crate) async fn outgrowing(namenode: &Namenode, path: DfsPath) -> Result<Self> {
        let open = Self::append(namenode, path, CreateOptions::default()).await?;
        Ok(Self { into_chunks: true, ..open })
    }

    /// Where a byte of the file lies in its chunk.
    pub(crate) fn in_chunk(&self, position: u64) -> u64 {
        (position - self.base) % self.chunk_size
    }

    /// Whether the chunk that begins at `start` was there when the file was opened.
    pub(crate) fn holds(&self, start: u64) -> bool {
        self.kept.is_empty() && start < self.begin
    }

    /// Has the last chunk opened again, which has room.
    pub(crate) async fn reopen_chunk(&self) -> Result<Placed> {
        let (inode, lease) = (self.inode.get(), self.lease.get());
        let answer = self
            .namenode
            .mutate_leased(&self.session, |mut stub, call| async move {
                stub.reopen_chunk(v1::ReopenChunkRequest { call: Some(call), inode, lease }).await
            })
            .await?;
        let placed = Placed {
            chunk: convert::chunk(answer.chunk)?,
            generation: convert::generation(answer.generation)?,
            nodes: convert::nodes(&answer.nodes)?,
        };
        if placed.nodes.is_empty() {
            return Err(malformed("a chunk on no node"));
        }
        Ok(placed)
    }

    /// Has the next chunk placed, which begins at `start` and will end with `expected` bytes (0: nobody knows): not on `excluded`, or when that can't be had for a while, not on `full`.
    pub(crate) async fn add_chunk(
        &self,
        (start, expected): (u64, u64),
        commits: &[ChunkCommit],
        excluded: &[NodeId],
        full: &[NodeId],
    ) -> Result<Placed> {
        let commits: Vec<_> = commits.iter().map(convert::commit_to_wire).collect();
        // A refused call may be repeated with another list: only a call that was carried out is remembered.
        let attempts = AtomicU32::new(0);
        let answer = self
            .namenode
            .mutate_leased(&self.session, |mut stub, call| {
                let strict = attempts.fetch_add(1, Ordering::Relaxed) < STRICT_ATTEMPTS;
                let request = v1::AddChunkRequest {
                    call: Some(call),
                    inode: self.inode.get(),
                    lease: self.lease.get(),
                    start,
                    commits: commits.clone(),
                    excluded: if strict { excluded } else { full }.iter().map(|node| node.get()).collect(),
                    host: self.namenode.settings().host.clone(),
                    expected,
                };
                async move { stub.add_chunk(request).await }
            })
            .await?;
        Placed::from_wire(&answer)
    }

    pub(crate) async fn abandon_chunk(&self, chunk: ChunkId) -> Result<()> {
        let (inode, lease, chunk) = (self.inode.get(), self.lease.get(), chunk.get());
        self.namenode
            .mutate_leased(&self.session, |mut stub, call| async move {
                stub.abandon_chunk(v1::AbandonChunkRequest { call: Some(call), inode, lease, chunk }).await
            })
            .await
            .map(drop)
    }

    pub(crate) async fn issue_generation(&self, chunk: ChunkId) -> Result<Generation> {
        let (inode, lease, chunk) = (self.inode.get(), self.lease.get(), chunk.get());
        let answer = self
            .namenode
            .mutate_leased(&self.session, |mut stub, call| async move {
                stub.issue_generation(v1::IssueGenerationRequest { call: Some(call), inode, lease, chunk }).await
            })
            .await?;
        convert::generation(answer.generation)
    }

    pub(crate) async fn update_pipeline(&self, chunk: ChunkId, generation: Generation, nodes: &[NodeId]) -> Result<()> {
        self.namenode
            .mutate_leased(&self.session, |mut stub, call| {
                let request = v1::UpdatePipelineRequest {
                    call: Some(call),
                    inode: self.inode.get(),
                    lease: self.lease.get(),
                    chunk: chunk.get(),
                    generation: generation.get(),
                    nodes: nodes.iter().map(|node| node.get()).collect(),
                };
                async move { stub.update_pipeline(request).await }
            })
            .await
            .map(drop)
    }

    /// Has a node chosen that is to join the pipeline of a chunk, which stands under `generation` and has `length` bytes by now: not one of `excluded`.
    /// `None` when there is none.
    pub(crate) async fn add_node(
        &self,
        chunk: ChunkId,
        generation: Generation,
        length: u64,
        excluded: &[NodeId],
    ) -> Result<Option<Node>> {
        let answer = self
            .namenode
            .mutate_leased(&self.session, |mut stub, call| {
                let request = v1::AddNodeRequest {
                    call: Some(call),
                    inode: self.inode.get(),
                    lease: self.lease.get(),
                    chunk: chunk.get(),
                    generation: generation.get(),
                    length,
                    excluded: excluded.iter().map(|node| node.get()).collect(),
                    host: self.namenode.settings().host.clone(),
                };
                async move { stub.add_node(request).await }
            })
            .await?;
        answer.node.as_ref().map(convert::node).transpose()
    }

    /// The nodes of the chunk that begins at `start`, at the addresses that the namenode knows of now.
    pub(crate) async fn present(&self, chunk: ChunkId, start: u64, nodes: &[Node]) -> Result<Vec<Node>> {
        let locations = Locations::of_open(self.namenode.clone(), self.inode, self.chunk_size);
        let located = locations.ask(start).await?.into_iter().find(|located| located.chunk == chunk);
        let known: Vec<Node> = located.into_iter().flat_map(|chunk| chunk.replicas).map(|known| known.node).collect();
        let present = |node: &Node| known.iter().find(|known| known.id == node.id).unwrap_or(node).clone();
        Ok(nodes.iter().map(present).collect())
    }

    pub(crate) async fn store_small(&self, data: &Bytes) -> Result<()> {
        let (inode, lease) = (self.inode.get(), self.lease.get());
        self.namenode
            .mutate_leased(&self.session, |mut stub, call| {
                let request = v1::StoreSmallRequest { call: Some(call), inode, lease, data: data.clone() };
                async move { stub.store_small(request).await }
            })
            .await
            .map(drop)
    }

    /// One try to close the file; `Some` says what is missing.
    pub(crate) async fn complete(&self, length: u64, commits: &[ChunkCommit], data: &Bytes) -> Result<Option<String>> {
        let commits: Vec<_> = commits.iter().map(convert::commit_to_wire).collect();
        let answer = self
            .namenode
            .mutate_leased(&self.session, |mut stub, call| {
                let request = v1::CompleteRequest {
                    call: Some(call),
                    inode: self.inode.get(),
                    lease: self.lease.get(),
                    length,
                    commits: commits.clone(),
                    data: data.clone(),
                    relaxed: self.options.relaxed,
                };
                async move { stub.complete(request).await }
            })
            .await?;
        if answer.complete {
            self.closed.get_or_init(|| Version(answer.version));
            return Ok(None);
        }
        Ok(Some(answer.missing))
    }

    pub(crate) async fn abandon(&self) -> Result<()> {
        let (inode, lease) = (self.inode.get(), self.lease.get());
        self.namenode
            .mutate_leased(&self.session, |mut stub, call| async move {
                stub.abandon(v1::AbandonRequest { call: Some(call), inode, lease }).await
            })
            .await
            .map(drop)
    }
}

/// Makes a call that gives a lease: under the client's session, or a new one where that was gone before the call was ever made.
async fn leased<T, F, Fut>(namenode: &Namenode, call: F) -> Result<(Arc<Session>, T)>
where
    F: Fn(&Arc<Session>) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let session = namenode.session().await?;
    match call(&session).await {
        Err(error) if session.is_lost() && error.kind() == ErrorKind::SessionLost => {
            let session = namenode.session().await?;
            let answer = call(&session).await?;
            Ok((session, answer))
        }
        answer => Ok((session, answer?)),
    }
}
