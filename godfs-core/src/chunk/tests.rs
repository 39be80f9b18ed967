//! Our own stores against the conformance suite.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::conformance::{self, Factory, Part};
use super::format::{Header, Layout, SLOT_BYTES};
use super::{
    ChunkStore, CreateReplica, DirectoryOptions, DirectoryStore, MemoryStore, ReopenReplica, Replica, ReplicaReader,
    ReplicaWriter, Space,
};
use crate::env::Env;
use crate::error::Result;
use crate::id::{ChunkId, Generation};
use crate::io::{DiskIo, Io, IoFile, OpenMode, SimIo};

#[derive(Debug, Default)]
struct Memory(Mutex<Option<MemoryStore>>);

#[async_trait]
impl Factory for Memory {
    async fn create(&self, capacity: Option<u64>) -> Arc<dyn ChunkStore> {
        let store = MemoryStore::new(capacity);
        *self.0.lock() = Some(store.clone());
        Arc::new(store)
    }

    async fn restart(&self) -> Arc<dyn ChunkStore> {
        let mut last = self.0.lock();
        let store = last.as_ref().expect("created").restarted();
        *last = Some(store.clone());
        Arc::new(store)
    }

    async fn damage(&self, _chunk: ChunkId, _part: Part) -> bool {
        false
    }
}

/// Directory stores on a disk that survives the process.
#[derive(Debug)]
struct Directory {
    io: Arc<dyn Io>,
    env: Env,
    root: PathBuf,
    last: Mutex<(u64, Option<u64>)>,
    /// What every creation says of the length to come.
    expected: Option<u64>,
}

impl Directory {
    fn new(io: Arc<dyn Io>, env: Env, root: &Path) -> Self {
        Self { io, env, root: root.to_path_buf(), last: Mutex::default(), expected: None }
    }

    /// The header page of a replica in a segment: its file and where it begins there.
    fn in_segment(&self, chunk: ChunkId) -> Option<(Arc<dyn IoFile>, u64, Layout)> {
        let folder = self.folder().join("v1/segments");
        for entry in self.io.read_dir(&folder).ok()? {
            let file = self.io.open(&folder.join(entry.name), OpenMode::Existing).expect("open");
            let data = u64::from_be_bytes(file.read_at(16, 8).expect("read")[..].try_into().expect("8 bytes"));
            let layout = Layout { capacity: data };
            let size = usize::try_from(layout.data_at(data)).expect("small");
            for base in (4_096..file.len().expect("length")).step_by(size) {
                let header = Header::decode(&file.read_at(base, 4_096).expect("read"));
                if header.is_ok_and(|header| header.newest.chunk == chunk) {
                    return Some((file, base, layout));
                }
            }
        }
        None
    }

    fn folder(&self) -> PathBuf {
        self.root.join(self.last.lock().0.to_string())
    }

    fn path(&self, chunk: ChunkId) -> PathBuf {
        let fan = format!("{:02x}", (chunk.get() >> 8) & 0xff);
        self.folder().join("v1/finalized").join(fan).join(format!("{:016x}.chunk", chunk.get()))
    }
}

#[async_trait]
impl Factory for Directory {
    async fn create(&self, capacity: Option<u64>) -> Arc<dyn ChunkStore> {
        {
            let mut last = self.last.lock();
            *last = (last.0 + 1, capacity);
        }
        self.restart().await
    }

    async fn restart(&self) -> Arc<dyn ChunkStore> {
        let options = DirectoryOptions {
            root: self.folder(),
            capacity: self.last.lock().1,
            reserve: 0,
            small: 1 << 20,
            on_the_spot: true,
        };
        let store = DirectoryStore::open(options, Arc::clone(&self.io), self.env.clone()).await.expect("open");
        match self.expected {
            Some(length) => Arc::new(Sized { store, length }),
            None => Arc::new(store),
        }
    }

    async fn damage(&self, chunk: ChunkId, part: Part) -> bool {
        let (file, base, layout) = match self.in_segment(chunk) {
            Some((file, base, _)) if part == Part::Everything => {
                file.write_all_at(base, &[0; 4_096]).expect("write");
                return true;
            }
            Some(found) => found,
            None if part == Part::Everything => {
                self.io.remove_file(&self.path(chunk)).expect("remove");
                return true;
            }
            None => {
                let file = self.io.open(&self.path(chunk), OpenMode::Existing).expect("open");
                let header = Header::decode(&file.read_at(0, 4_096).expect("read")).expect("a header");
                (file, 0, header.newest.layout())
            }
        };
        let header = Header::decode(&file.read_at(base, 4_096).expect("read")).expect("a header");
        let at = match part {
            Part::Header => (header.slot * SLOT_BYTES + 65) as u64,
            Part::Checksum => layout.checksum_at(7) + 2,
            _ => layout.data_at(50_000),
        };
        let at = base + at;
        let byte = file.read_at(at, 1).expect("read")[0];
        file.write_all_at(at, &[byte ^ 0x10]).expect("write");
        true
    }
}

/// A store that is told a length to come with every creation.
#[derive(Debug)]
struct Sized {
    store: DirectoryStore,
    length: u64,
}

#[async_trait]
impl ChunkStore for Sized {
    async fn create(&self, options: CreateReplica) -> Result<Box<dyn ReplicaWriter>> {
        self.store.create_sized(options, self.length).await
    }

    async fn create_sized(&self, options: CreateReplica, length: u64) -> Result<Box<dyn ReplicaWriter>> {
        self.store.create_sized(options, length).await
    }

    async fn reopen(&self, options: ReopenReplica) -> Result<Box<dyn ReplicaWriter>> {
        self.store.reopen(options).await
    }

    async fn open(&self, chunk: ChunkId, min_generation: Generation) -> Result<Box<dyn ReplicaReader>> {
        self.store.open(chunk, min_generation).await
    }

    async fn recover(&self, chunk: ChunkId, generation: Generation) -> Result<Replica> {
        self.store.recover(chunk, generation).await
    }

    async fn settle(&self, chunk: ChunkId, generation: Generation, length: u64) -> Result<Replica> {
        self.store.settle(chunk, generation, length).await
    }

    async fn delete(&self, chunk: ChunkId, generation: Generation) -> Result<()> {
        self.store.delete(chunk, generation).await
    }

    async fn stat(&self, chunk: ChunkId) -> Result<Replica> {
        self.store.stat(chunk).await
    }

    async fn list(&self, range: Range<u64>, limit: usize) -> Result<Vec<Replica>> {
        self.store.list(range, limit).await
    }

    async fn verify(&self, chunk: ChunkId) -> Result<Replica> {
        self.store.verify(chunk).await
    }

    async fn space(&self) -> Result<Space> {
        self.store.space().await
    }

    async fn unknown(&self) -> Result<Vec<String>> {
        self.store.unknown().await
    }
}

#[tokio::test]
async fn memory_store_conforms() {
    conformance::all(&Memory::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directory_store_conforms_on_the_disk() {
    let folder = tempfile::tempdir().expect("temporary folder");
    conformance::all(&Directory::new(Arc::new(DiskIo), Env::system(), folder.path())).await;
}

#[tokio::test]
async fn directory_store_conforms_in_simulation() {
    conformance::all(&Directory::new(Arc::new(SimIo::new(1)), Env::simulated(1), Path::new("/d"))).await;
}

/// Small replicas keep every promise in segments, also those that outgrow their place.
#[tokio::test]
async fn directory_store_conforms_with_segments() {
    for length in [1 << 20, 120_000, 1] {
        let mut factory = Directory::new(Arc::new(SimIo::new(1)), Env::simulated(1), Path::new("/d"));
        factory.expected = Some(length);
        conformance::all(&factory).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directory_store_conforms_with_segments_on_the_disk() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut factory = Directory::new(Arc::new(DiskIo), Env::system(), folder.path());
    factory.expected = Some(1 << 20);
    conformance::all(&factory).await;
}
