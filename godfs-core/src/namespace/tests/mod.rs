//! Tests of the namespace over the memory store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::*;
use crate::ErrorKind;
use crate::chunk::{MIN_CHUNK_BYTES, ReplicaState};
use crate::id::{Incarnation, NodeUuid};
use crate::metadata::MemoryStore;

mod access;
mod appending;
mod attributes;
mod basics;
mod changing;
mod collecting;
mod concatenating;
mod cost;
mod exporting;
mod flat;
mod holding;
mod limits;
mod links;
mod model;
mod objects;
mod power;
mod quotas;
mod random;
mod replays;
mod replicas;
mod retries;
mod trash;
mod tree;
mod truncating;
mod walking;
mod writing;

/// Small, so that files of several chunks are quickly made.
pub(super) const CHUNK: u64 = MIN_CHUNK_BYTES;

/// A namespace with a session, whose calls number themselves.
pub(super) struct Fixture {
    pub(super) namespace: Namespace,
    pub(super) session: SessionId,
    sequence: AtomicU64,
}

impl Fixture {
    /// With `nodes` datanodes, whose ids are 1 and up.
    pub(super) async fn new(nodes: u32) -> Self {
        Self::over(Arc::new(MemoryStore::new(Incarnation::from_random(1))), nodes).await
    }

    /// The same over an empty store.
    pub(super) async fn over(store: Arc<dyn MetadataStore>, nodes: u32) -> Self {
        let settings = NamespaceSettings { chunk_size: CHUNK, small_file_limit: 1_024, ..Default::default() };
        let namespace = Namespace::new(store, settings, Env::simulated(1)).unwrap();
        namespace.initialize(owner("user")).await.unwrap();
        // The superuser: who may do what has tests of its own.
        let namespace = namespace.by(Caller::new("user", ["users"]).unwrap());
        for node in 0..nodes {
            namespace.register_node(registration(node)).await.unwrap();
        }
        let session = namespace.open_session("test".into()).await.unwrap();
        Self { namespace, session, sequence: AtomicU64::new(0) }
    }

    /// The same namespace through another session.
    pub(super) async fn other(&self) -> Self {
        let session = self.namespace.open_session("other".into()).await.unwrap();
        Self { namespace: self.namespace.clone(), session, sequence: AtomicU64::new(0) }
    }

    pub(super) fn call(&self) -> Call {
        Call { session: self.session, slot: 0, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    pub(super) fn writing(&self, created: &Created) -> Writing {
        Writing { call: self.call(), inode: created.inode, lease: created.lease }
    }

    pub(super) async fn mkdir(&self, path: &str) -> InodeId {
        let options = MkdirOptions { parents: true, ..Default::default() };
        self.namespace.mkdir(self.call(), at(path), options).await.unwrap()
    }

    pub(super) async fn create(&self, path: &str) -> Created {
        self.namespace.create(self.call(), at(path), CreateOptions::default()).await.unwrap()
    }

    pub(super) async fn put(&self, path: &str, data: &'static [u8]) -> InodeId {
        let options = CreateOptions::default();
        self.namespace.put(self.call(), at(path), options, Bytes::from_static(data)).await.unwrap().value
    }

    pub(super) async fn add_chunk(
        &self,
        file: &Created,
        start: u64,
        commits: Vec<ChunkCommit>,
        nodes: &[u32],
    ) -> Result<AddedChunk> {
        let request = AddChunk { start, commits, nodes: ids(nodes) };
        self.namespace.add_chunk(self.writing(file), request).await
    }

    pub(super) async fn complete(&self, file: &Created, length: u64, commits: Vec<ChunkCommit>) -> Result<Completion> {
        let request = Complete { length, commits, ..Default::default() };
        Ok(self.namespace.complete(self.writing(file), request).await?.value)
    }

    /// A closed file of so many bytes on these nodes. Gives back its chunks.
    pub(super) async fn file(&self, path: &str, length: u64, nodes: &[u32]) -> Vec<AddedChunk> {
        let created = self.create(path).await;
        self.fill(&created, length, nodes).await
    }

    /// Writes and closes a file.
    pub(super) async fn fill(&self, created: &Created, length: u64, nodes: &[u32]) -> Vec<AddedChunk> {
        let mut chunks = Vec::new();
        let mut commits = Vec::new();
        for start in (0..length).step_by(CHUNK as usize) {
            let chunk = self.add_chunk(created, start, std::mem::take(&mut commits), nodes).await.unwrap();
            commits.push(commit(&chunk, CHUNK.min(length - start)));
            chunks.push(chunk);
        }
        assert_eq!(self.complete(created, length, commits).await.unwrap(), Completion::Closed);
        chunks
    }

    pub(super) async fn stat(&self, path: &str) -> Result<FileStatus> {
        self.namespace.stat(FileRef::Path(at(path))).await
    }

    pub(super) async fn locate(&self, path: &str) -> Located {
        let range = LocateRange { offset: 0, length: u64::MAX, chunks: 100 };
        self.namespace.locate(FileRef::Path(at(path)), range).await.unwrap()
    }

    pub(super) async fn names(&self, path: &str) -> Vec<String> {
        let entries = self.namespace.list(at(path), String::new(), MAX_PAGE).await.unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    pub(super) async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        self.namespace.rename(self.call(), Rename::new(at(from), at(to), replace)).await
    }

    pub(super) async fn delete(&self, path: &str, recursive: bool) -> Result<()> {
        self.namespace.delete(self.call(), at(path), recursive).await
    }

    /// Every invariant holds.
    #[track_caller]
    pub(super) fn check(&self) -> impl Future<Output = ()> + use<> {
        let (namespace, caller) = (self.namespace.clone(), std::panic::Location::caller());
        async move {
            let violations = namespace.check().await.unwrap();
            assert!(violations.is_empty(), "{caller}: {violations:#?}");
        }
    }

    /// Collects all that was deleted so far. Gives back how many inodes and chunks went.
    pub(super) async fn collect(&self) -> (u64, u64) {
        let (mut inodes, mut chunks, mut place) = (0, 0, None);
        let upto = self.namespace.store().version().await.unwrap();
        loop {
            let step = self.namespace.collect(upto, place).await.unwrap();
            inodes += step.inodes;
            chunks += step.chunks;
            match step.next {
                None => return (inodes, chunks),
                next => place = next,
            }
            self.check().await;
        }
    }

    pub(super) async fn usage(&self, path: &str) -> Usage {
        self.namespace.usage(at(path)).await.unwrap()
    }
}

pub(super) fn at(path: &str) -> DfsPath {
    DfsPath::parse(path).unwrap()
}

pub(super) fn owner(user: &str) -> Owner {
    Owner { user: user.into(), group: "users".into(), mode: 0o755 }
}

pub(super) fn ids(nodes: &[u32]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

pub(super) fn registration(node: u32) -> Registration {
    Registration {
        uuid: NodeUuid::from_random(u128::from(node) + 1),
        node: None,
        address: format!("127.0.0.1:{}", 9_000 + node),
        domain: "/default".into(),
    }
}

/// All nodes of the pipeline acknowledged.
pub(super) fn commit(chunk: &AddedChunk, length: u64) -> ChunkCommit {
    ChunkCommit { chunk: chunk.chunk, generation: chunk.generation, length, nodes: chunk.nodes.clone() }
}

pub(super) fn finalized(chunk: ChunkId, generation: u64, length: u64) -> Replica {
    Replica { chunk, generation: Generation(generation), length, visible: length, state: ReplicaState::Finalized }
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, why: &str) {
    let error = result.expect_err("must be refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(why), "{error}");
}
