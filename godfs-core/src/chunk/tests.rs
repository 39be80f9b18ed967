//! Our own stores against the conformance suite.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::conformance::{self, Factory, Part};
use super::format::{Header, Layout, SLOT_BYTES};
use super::{ChunkStore, DirectoryOptions, DirectoryStore, MemoryStore};
use crate::env::Env;
use crate::id::ChunkId;
use crate::io::{DiskIo, Io, OpenMode, SimIo};

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
}

impl Directory {
    fn new(io: Arc<dyn Io>, env: Env, root: &Path) -> Self {
        Self { io, env, root: root.to_path_buf(), last: Mutex::default() }
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
        let options = DirectoryOptions { root: self.folder(), capacity: self.last.lock().1, reserve: 0, small: 0 };
        Arc::new(DirectoryStore::open(options, Arc::clone(&self.io), self.env.clone()).await.expect("open"))
    }

    async fn damage(&self, chunk: ChunkId, part: Part) -> bool {
        let path = self.path(chunk);
        if part == Part::Everything {
            self.io.remove_file(&path).expect("remove");
            return true;
        }
        let file = self.io.open(&path, OpenMode::Existing).expect("open");
        let header = Header::decode(&file.read_at(0, 4_096).expect("read")).expect("a header");
        let layout: Layout = header.newest.layout();
        let at = match part {
            Part::Header => (header.slot * SLOT_BYTES + 65) as u64,
            Part::Checksum => layout.checksum_at(7) + 2,
            _ => layout.data_at(50_000),
        };
        let byte = file.read_at(at, 1).expect("read")[0];
        file.write_all_at(at, &[byte ^ 0x10]).expect("write");
        true
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
