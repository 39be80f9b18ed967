//! [`GodfsStore`] as a store of `object_store` 0.13, and that crate itself.

use std::ops::Range;

use async_trait::async_trait;
pub use object_store_013 as object_store;

pub(crate) use object_store_013 as api;

use self::api::multipart::{MultipartStore, PartId};
use self::api::path::Path;
use self::api::{
    Attributes, GetResult, GetResultPayload, ListResult, MultipartId, ObjectMeta, PutMultipartOptions, PutPayload,
    PutResult, Result,
};
use crate::store::GodfsStore;

#[allow(clippy::duplicate_mod, reason = "one source, compiled against each version of the trait")]
#[path = "adapter.rs"]
mod adapter;

fn put_result(e_tag: String) -> PutResult {
    PutResult { e_tag: Some(e_tag), version: None }
}

fn get_result(payload: GetResultPayload, meta: ObjectMeta, range: Range<u64>, attributes: Attributes) -> GetResult {
    GetResult { payload, meta, range, attributes }
}

fn list_result(common_prefixes: Vec<Path>, objects: Vec<ObjectMeta>) -> ListResult {
    ListResult { common_prefixes, objects }
}

#[async_trait]
impl MultipartStore for GodfsStore {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        adapter::create(self, path, PutMultipartOptions::default()).await
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
