//! [`GodfsStore`] as a store of `object_store` 0.14, and that crate itself.

use std::ops::Range;

use async_trait::async_trait;
pub use object_store_014 as object_store;

pub(crate) use object_store_014 as api;

use self::api::multipart::{MultipartStore, PartId};
use self::api::path::Path;
use self::api::{
    Attributes, Extensions, GetResult, GetResultPayload, ListResult, MultipartId, ObjectMeta, PutMultipartOptions,
    PutPayload, PutResult, Result,
};
use crate::store::GodfsStore;

#[allow(clippy::duplicate_mod, reason = "one source, compiled against each version of the trait")]
#[path = "adapter.rs"]
mod adapter;

fn put_result(e_tag: String) -> PutResult {
    PutResult { e_tag: Some(e_tag), version: None, extensions: Extensions::default() }
}

fn get_result(payload: GetResultPayload, meta: ObjectMeta, range: Range<u64>, attributes: Attributes) -> GetResult {
    GetResult { payload, meta, range, attributes, extensions: Extensions::default() }
}

fn list_result(common_prefixes: Vec<Path>, objects: Vec<ObjectMeta>) -> ListResult {
    ListResult { common_prefixes, objects, extensions: Extensions::default() }
}

#[async_trait]
impl MultipartStore for GodfsStore {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        adapter::create(self, path, PutMultipartOptions::default()).await
    }

    async fn create_multipart_opts(&self, path: &Path, opts: PutMultipartOptions) -> Result<MultipartId> {
        adapter::create(self, path, opts).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, part_idx: usize, data: PutPayload) -> Result<PartId> {
        adapter::put_part(self, path, id, part_idx, data).await
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        adapter::complete(self, path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        adapter::abort(self, path, id).await
    }
}
