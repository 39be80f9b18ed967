// One source for every version of the trait: the module above says which crate `api` is, and what only that version has.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use godfs_client::{ETag, ErrorKind, FileStatus, KeyEntry, KeyOptions};

use super::api::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use super::api::multipart::PartId;
use super::api::path::Path;
use super::api::{
    Attribute, Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, RenameTargetMode, Result, TagSet, UploadPart,
};
use super::{get_result, list_result, put_result};
use crate::attributes::{Described, Name};
use crate::read;
use crate::store::{GodfsStore, Mode};
use crate::uploads::{UploadId, part_name};

/// How errors name the store.
const STORE: &str = "GoDFS";

/// An error as the trait knows it.
pub(super) fn error(key: &str, error: godfs_client::Error) -> Error {
    let path = key.to_owned();
    let kind = error.kind();
    let source = Box::new(error);
    match kind {
        ErrorKind::NotFound => Error::NotFound { path, source },
        ErrorKind::AlreadyExists => Error::AlreadyExists { path, source },
        ErrorKind::FailedPrecondition => Error::Precondition { path, source },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path, source },
        ErrorKind::Unsupported => Error::NotSupported { source },
        _ => Error::Generic { store: STORE, source },
    }
}

/// As streams of deletions make their errors.
struct Failed(Error);

impl From<(String, godfs_client::Error)> for Failed {
    fn from((key, failure): (String, godfs_client::Error)) -> Self {
        Self(error(&key, failure))
    }
}

fn generic(message: String) -> Error {
    Error::Generic { store: STORE, source: message.into() }
}

fn unsupported(message: &str) -> Error {
    Error::NotSupported { source: message.into() }
}

fn time(modified_ms: u64) -> DateTime<Utc> {
    i64::try_from(modified_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn meta(location: Path, status: &FileStatus, size: u64) -> ObjectMeta {
    let e_tag = Some(status.etag().to_string());
    ObjectMeta { location, last_modified: time(status.modified_ms), size, e_tag, version: None }
}

/// Attributes that HTTP has, and the names that we keep them under.
const HEADERS: [(Attribute, &str); 6] = [
    (Attribute::CacheControl, "cache-control"),
    (Attribute::ContentDisposition, "content-disposition"),
    (Attribute::ContentEncoding, "content-encoding"),
    (Attribute::ContentLanguage, "content-language"),
    (Attribute::ContentType, "content-type"),
    (Attribute::StorageClass, "storage-class"),
];

pub(super) fn described(attributes: &Attributes, tags: &TagSet) -> Result<Described> {
    let mut described = Described::default();
    for (attribute, value) in attributes {
        let name = match attribute {
            Attribute::Metadata(key) => Name::Metadata(key),
            known => match HEADERS.iter().find(|(header, _)| header == known) {
                Some((_, name)) => Name::Header(name),
                None => return Err(unsupported("an attribute that this version does not know")),
            },
        };
        described.add(name, value);
    }
    described.tag(tags.encoded());
    Ok(described)
}

fn attributes(described: &Described) -> Attributes {
    let known = described.attributes().filter_map(|(name, value)| {
        let attribute = match name {
            Name::Metadata(key) => Attribute::Metadata(key.to_owned().into()),
            Name::Header(name) => HEADERS.iter().find(|(_, known)| *known == name)?.0.clone(),
        };
        Some((attribute, value.to_owned()))
    });
    known.collect()
}

fn mode(key: &Path, mode: PutMode) -> Result<Mode> {
    match mode {
        PutMode::Overwrite => Ok(Mode::Overwrite),
        PutMode::Create => Ok(Mode::Create),
        PutMode::Update(version) => match version.e_tag.as_deref().map(str::parse::<ETag>) {
            Some(Ok(etag)) => Ok(Mode::Update(etag)),
            // No object has such a tag.
            Some(Err(malformed)) => Err(Error::Precondition { path: key.to_string(), source: malformed.into() }),
            None => Err(generic(format!("an update of {key} without the ETag of what is replaced"))),
        },
    }
}

#[async_trait]
impl ObjectStore for GodfsStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let PutOptions { mode: wanted, tags, attributes, extensions: _ } = opts;
        let options = self.writing(mode(location, wanted)?, &described(&attributes, &tags)?);
        let etag = self.put(location.as_ref(), payload.into_iter().collect(), options).await;
        Ok(put_result(etag.map_err(|failure| error(location.as_ref(), failure))?.to_string()))
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let PutMultipartOptions { tags, attributes, extensions: _ } = opts;
        let described = described(&attributes, &tags)?;
        let begin = async {
            // A key without a path is not worth an upload.
            self.path(location.as_ref())?;
            self.begin_upload().await
        };
        let id = begin.await.map_err(|failure| error(location.as_ref(), failure))?;
        Ok(Box::new(Upload {
            store: self.clone(),
            key: location.clone(),
            id,
            described,
            parts: 0,
            written: Arc::default(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let failed = |failure| error(location.as_ref(), failure);
        if options.version.is_some() {
            return Err(unsupported("old versions of objects are not kept"));
        }
        let (reader, described) = self.open(location.as_ref()).await.map_err(failed)?;
        let meta = meta(location.clone(), reader.status(), reader.len());
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => {
                range.as_range(meta.size).map_err(|why| Error::Generic { store: STORE, source: Box::new(why) })?
            }
            None => 0..meta.size,
        };
        let key = location.to_string();
        let bytes = match options.head {
            true => futures::stream::empty().boxed(),
            false => read::stream(reader, range.clone()).map_err(move |failure| error(&key, failure)).boxed(),
        };
        Ok(get_result(GetResultPayload::Stream(bytes), meta, range, attributes(&described)))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let read = self.read_ranges(location.as_ref(), ranges).await;
        read.map_err(|failure| error(location.as_ref(), failure))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.delete_all(locations.map_err(Failed).boxed()).map_err(|Failed(error)| error).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        objects(self, below(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        objects(self, below(prefix).after(offset.as_ref()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut entries = self.list(below(prefix).delimited(true));
        let (mut common_prefixes, mut objects) = (Vec::new(), Vec::new());
        while let Some(entry) = entries.try_next().await.map_err(|failure| error("", failure))? {
            match entry {
                KeyEntry::Prefix(prefix) => common_prefixes.push(Path::parse(prefix)?),
                entry => objects.extend(object(entry).transpose()?),
            }
        }
        Ok(list_result(common_prefixes, objects))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let mode = match options.mode {
            CopyMode::Overwrite => Mode::Overwrite,
            CopyMode::Create => Mode::Create,
        };
        self.copy(from.as_ref(), to.as_ref(), mode).await.map_err(|failure| pair_error(from, to, failure))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let replace = match options.target_mode {
            RenameTargetMode::Overwrite => true,
            RenameTargetMode::Create => false,
        };
        self.rename(from.as_ref(), to.as_ref(), replace).await.map_err(|failure| pair_error(from, to, failure))
    }
}

/// What fails of two keys is the one that is not there, or the one that is.
fn pair_error(from: &Path, to: &Path, failure: godfs_client::Error) -> Error {
    let key = if failure.kind() == ErrorKind::NotFound { from } else { to };
    error(key.as_ref(), failure)
}

/// Keys below a prefix that ends with a name.
fn below(prefix: Option<&Path>) -> KeyOptions {
    match prefix {
        Some(prefix) if !prefix.as_ref().is_empty() => KeyOptions::new().prefix(format!("{prefix}/")),
        _ => KeyOptions::new(),
    }
}

/// The object of an entry, if it is one.
fn object(entry: KeyEntry) -> Option<Result<ObjectMeta>> {
    let KeyEntry::File { key, length, modified_ms, etag } = entry else { return None };
    Some(Path::parse(key).map_err(Error::from).map(|location| ObjectMeta {
        location,
        last_modified: time(modified_ms),
        size: length,
        e_tag: Some(etag.to_string()),
        version: None,
    }))
}

fn objects(store: &GodfsStore, options: KeyOptions) -> BoxStream<'static, Result<ObjectMeta>> {
    let entries = store.list(options).map(|entry| match entry {
        Ok(entry) => object(entry),
        Err(failure) => Some(Err(error("", failure))),
    });
    entries.filter_map(futures::future::ready).boxed()
}

#[async_trait]
impl PaginatedListStore for GodfsStore {
    async fn list_paginated(&self, prefix: Option<&str>, opts: PaginatedListOptions) -> Result<PaginatedListResult> {
        let PaginatedListOptions { offset, delimiter, max_keys, page_token, extensions: _ } = opts;
        let delimited = match delimiter.as_deref() {
            None => false,
            Some("/") => true,
            Some(_) => return Err(unsupported("keys are delimited by / alone")),
        };
        let after = offset.unwrap_or_default().max(page_token.unwrap_or_default());
        let most = max_keys.unwrap_or(MAX_KEYS).min(MAX_KEYS);
        // One more tells whether there are more.
        let page = u32::try_from(most + 1).unwrap_or(u32::MAX);
        let options =
            KeyOptions::new().prefix(prefix.unwrap_or_default()).after(after).delimited(delimited).page_size(page);
        let mut entries = self.list(options);
        let (mut common_prefixes, mut objects, mut last, mut page_token) = (Vec::new(), Vec::new(), None, None);
        while let Some(entry) = entries.try_next().await.map_err(|failure| error("", failure))? {
            if common_prefixes.len() + objects.len() == most {
                page_token = last;
                break;
            }
            match entry {
                KeyEntry::Prefix(prefix) => {
                    common_prefixes.push(Path::parse(&prefix)?);
                    // Behind all keys that begin so, wherever the first page began.
                    last = Some(format!("{prefix}\u{10FFFF}"));
                }
                entry => {
                    if let Some(object) = object(entry).transpose()? {
                        last = Some(object.location.to_string());
                        objects.push(object);
                    }
                }
            }
        }
        Ok(PaginatedListResult { result: list_result(common_prefixes, objects), page_token })
    }
}

/// The most keys of one page, as other stores have it.
const MAX_KEYS: usize = 1_000;

/// An upload in parts.
struct Upload {
    store: GodfsStore,
    key: Path,
    id: UploadId,
    described: Described,
    /// How many parts there are.
    parts: usize,
    /// How many of them are written.
    written: Arc<AtomicUsize>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("key", &self.key).field("id", &self.id).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (store, id, key, written) =
            (self.store.clone(), self.id.clone(), self.key.clone(), Arc::clone(&self.written));
        let number = self.parts;
        self.parts += 1;
        Box::pin(async move {
            let part = store.upload_part(&id, number, data.into_iter().collect()).await;
            part.map_err(|failure| error(key.as_ref(), failure))?;
            written.fetch_add(1, Ordering::AcqRel);
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let written = self.written.load(Ordering::Acquire);
        if written < self.parts {
            return Err(generic(format!("{}: {written} of {} parts are written", self.key, self.parts)));
        }
        let parts = (0..self.parts).map(part_name).collect();
        let done = self.store.complete_upload(&self.id, self.key.as_ref(), parts, &self.described).await;
        Ok(put_result(done.map_err(|failure| error(self.key.as_ref(), failure))?.to_string()))
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.abort_upload(&self.id).await.map_err(|failure| error(self.key.as_ref(), failure))
    }
}

// The calls of `MultipartStore`, which each version has with other methods.

pub(super) async fn create(store: &GodfsStore, path: &Path, opts: PutMultipartOptions) -> Result<String> {
    let PutMultipartOptions { tags, attributes, extensions: _ } = opts;
    let described = described(&attributes, &tags)?;
    let begin = async {
        store.path(path.as_ref())?;
        store.begin_described(&described).await
    };
    Ok(begin.await.map_err(|failure| error(path.as_ref(), failure))?.as_str().to_owned())
}

pub(super) async fn put_part(
    store: &GodfsStore,
    path: &Path,
    id: &str,
    part_idx: usize,
    data: PutPayload,
) -> Result<PartId> {
    let put = async { store.upload_part(&UploadId::parse(id)?, part_idx, data.into_iter().collect()).await };
    Ok(PartId { content_id: put.await.map_err(|failure| error(path.as_ref(), failure))? })
}

pub(super) async fn complete(store: &GodfsStore, path: &Path, id: &str, parts: Vec<PartId>) -> Result<PutResult> {
    let complete = async {
        let id = UploadId::parse(id)?;
        let described = store.described(&id).await?;
        let parts = parts.into_iter().map(|part| part.content_id).collect();
        store.complete_upload(&id, path.as_ref(), parts, &described).await
    };
    Ok(put_result(complete.await.map_err(|failure| error(path.as_ref(), failure))?.to_string()))
}

pub(super) async fn abort(store: &GodfsStore, path: &Path, id: &str) -> Result<()> {
    let abort = async { store.abort_upload(&UploadId::parse(id)?).await };
    abort.await.map_err(|failure| error(path.as_ref(), failure))
}
