//! The suites that a store of one's own should pass; in a project of one's own they are tests.

use std::sync::Arc;

use async_trait::async_trait;
use godfs_core::chunk::conformance::{Factory, Part};
use godfs_core::metadata::conformance::StoreFactory;
use godfs_core::{ChunkId, ChunkStore, Incarnation, MetadataStore, chunk, metadata};
use tokio::sync::Mutex;

use crate::metered_chunks::MeteredChunks;
use crate::metered_metadata::MeteredMetadata;

/// Runs both; panics, saying what was expected, where a store breaks its contract.
pub(crate) async fn check() {
    chunk::conformance::all(&Chunks::default()).await;
    metadata::conformance::all(&Metadata).await;
}

/// Makes chunk stores to be checked.
#[derive(Debug, Default)]
struct Chunks(Mutex<Option<chunk::MemoryStore>>);

impl Chunks {
    async fn metered(&self, store: chunk::MemoryStore) -> Arc<dyn ChunkStore> {
        *self.0.lock().await = Some(store.clone());
        Arc::new(MeteredChunks::new(Arc::new(store), usize::MAX))
    }
}

#[async_trait]
impl Factory for Chunks {
    async fn create(&self, capacity: Option<u64>) -> Arc<dyn ChunkStore> {
        self.metered(chunk::MemoryStore::new(capacity)).await
    }

    async fn restart(&self) -> Arc<dyn ChunkStore> {
        let last = self.0.lock().await.as_ref().expect("a store is made before it is restarted").restarted();
        self.metered(last).await
    }

    async fn damage(&self, _: ChunkId, _: Part) -> bool {
        false // memory is not damaged from outside
    }
}

/// Makes metadata stores to be checked.
#[derive(Debug)]
struct Metadata;

#[async_trait]
impl StoreFactory for Metadata {
    async fn create(&self) -> Arc<dyn MetadataStore> {
        let inner = metadata::MemoryStore::new(Incarnation::from_random(1));
        Arc::new(MeteredMetadata::new(Arc::new(inner)))
    }
}
