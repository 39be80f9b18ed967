//! The store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use godfs_client::{
    Client, CreateOptions, DfsPath, ETag, Error, ErrorKind, IntoPath, KeyEntry, KeyOptions, RemoveOptions,
    RenameOptions, Result,
};

use crate::attributes::Described;
use crate::key::{UPLOADS, path_of};
use crate::uploads::Sweep;
use crate::url;

/// A week: longer than any upload takes, even one that is gone on with by hand.
const ABANDONED_AFTER: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How objects are written. The defaults: the cluster's replication and chunk size; uploads are abandoned after a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct StoreOptions {
    replication: Option<u32>,
    chunk_size: Option<u64>,
    pub(crate) abandoned_after: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { replication: None, chunk_size: None, abandoned_after: ABANDONED_AFTER }
    }
}

impl StoreOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replicas of each chunk, 1 to 512.
    pub fn replication(mut self, replicas: u32) -> Self {
        self.replication = Some(replicas);
        self
    }

    /// Bytes a chunk: a multiple of 4,096 from 64 KiB to 4 GiB.
    pub fn chunk_size(mut self, bytes: u64) -> Self {
        self.chunk_size = Some(bytes);
        self
    }

    /// How long nothing is added to an upload before it counts as abandoned, whoever began it. A store that begins an upload removes those, in the background, at
    /// most once an hour; see [`GodfsStore::collect_abandoned`]. [`Duration::ZERO`]: it removes none.
    pub fn abandoned_after(mut self, unchanged: Duration) -> Self {
        self.abandoned_after = unchanged;
        self
    }
}

/// Objects in a directory of GoDFS. Cheap to clone. It is an `ObjectStore`, `MultipartStore` and `PaginatedListStore` of each version of `object_store` whose
/// feature is on.
#[derive(Clone)]
pub struct GodfsStore {
    client: Client,
    root: DfsPath,
    options: StoreOptions,
    /// One for all its clones.
    pub(crate) sweep: Arc<Sweep>,
}

impl GodfsStore {
    /// Objects below `root`, which is made with the first of them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a malformed path.
    pub fn new(client: Client, root: impl IntoPath) -> Result<Self> {
        Ok(Self { client, root: root.into_path()?, options: StoreOptions::default(), sweep: Arc::default() })
    }

    /// Objects at `godfs://HOST:PORT[,HOST:PORT]/DIRECTORY`. Contacts nobody: the first call does.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a malformed URL.
    pub fn from_url(url: &str) -> Result<Self> {
        Self::from_url_with(url, std::iter::empty::<(&str, &str)>())
    }

    /// The same with options, as tools pass them on: `user` (`USER` or `USER:GROUP,GROUP`, as for
    /// [`ClientBuilder::user`](godfs_client::ClientBuilder::user)), `replication`, `chunk_size` in bytes, and `abandoned_after` in seconds (0: never; see
    /// [`StoreOptions::abandoned_after`]).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] also for an option that is unknown, or malformed.
    pub fn from_url_with<K, V>(url: &str, options: impl IntoIterator<Item = (K, V)>) -> Result<Self>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let (namenodes, root) = url::parse(url)?;
        let mut builder = Client::builder().namenodes(namenodes).name("object-store");
        let mut store = StoreOptions::default();
        for (key, value) in options {
            let (key, value) = (key.as_ref(), value.as_ref());
            let malformed =
                || Error::new(ErrorKind::InvalidArgument, format!("the option {key} is no number: {value:?}"));
            match key {
                "user" => builder = builder.user(value),
                "replication" => store.replication = Some(value.parse().map_err(|_| malformed())?),
                "chunk_size" => store.chunk_size = Some(value.parse().map_err(|_| malformed())?),
                "abandoned_after" => {
                    store.abandoned_after = Duration::from_secs(value.parse().map_err(|_| malformed())?);
                }
                _ => {
                    let message = format!(
                        "{key:?} is no option of a store: they are user, replication, chunk_size, abandoned_after"
                    );
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
            }
        }
        Ok(Self { client: builder.build()?, root, options: store, sweep: Arc::default() })
    }

    /// The same objects, written another way from now on.
    pub fn with_options(self, options: StoreOptions) -> Self {
        Self { options, ..self }
    }

    /// The client below.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// The directory of the objects.
    #[must_use]
    pub fn root(&self) -> &DfsPath {
        &self.root
    }
}

impl fmt::Display for GodfsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GodfsStore({})", self.root)
    }
}

impl fmt::Debug for GodfsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GodfsStore").field("root", &self.root).field("options", &self.options).finish_non_exhaustive()
    }
}

/// What must be so for an object to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Overwrite,
    /// There is none under the key.
    Create,
    /// It is just this one that is replaced.
    Update(ETag),
}

/// Deletes under way at once: half of the slots of a session, so that others get theirs.
const DELETES_AT_ONCE: usize = 32;
/// Bytes of an object that are put together for one call; a larger one in several pieces is not copied.
const MAX_JOINED_BYTES: usize = 1 << 20;

impl GodfsStore {
    pub(crate) fn path(&self, key: &str) -> Result<DfsPath> {
        path_of(&self.root, key)
    }

    /// How a file of an object is made.
    pub(crate) fn creating(&self) -> CreateOptions {
        let options = CreateOptions::new().parents(true);
        let options = self.options.replication.into_iter().fold(options, CreateOptions::replication);
        self.options.chunk_size.into_iter().fold(options, CreateOptions::chunk_size)
    }

    pub(crate) fn writing(&self, mode: Mode, described: &Described) -> CreateOptions {
        let options = match mode {
            Mode::Overwrite => self.creating().overwrite(true),
            Mode::Create => self.creating(),
            Mode::Update(etag) => self.creating().if_match(etag),
        };
        described.on(options)
    }

    pub(crate) async fn put(&self, key: &str, pieces: Vec<Bytes>, options: CreateOptions) -> Result<ETag> {
        let path = self.path(key)?;
        let put = async {
            let length: usize = pieces.iter().map(Bytes::len).sum();
            if pieces.len() <= 1 || length <= MAX_JOINED_BYTES {
                return self.client.put_tagged(&path, joined(pieces), options).await;
            }
            let options = options.publish_on_close(true).expected_size(length as u64);
            let mut writer = self.client.writer(&path, options).await?;
            for piece in pieces {
                writer.write_bytes(piece).await?;
            }
            writer.close().await?;
            writer.etag().ok_or_else(|| Error::new(ErrorKind::Internal, "a file is closed in no state"))
        };
        match put.await {
            Err(error) => Err(self.in_the_way(&path, error).await),
            done => done,
        }
    }

    /// What keeps an object from being written, as the keys see it.
    pub(crate) async fn in_the_way(&self, path: &DfsPath, error: Error) -> Error {
        let below = match error.kind() {
            ErrorKind::NotADirectory => "lies below another object",
            ErrorKind::IsADirectory => "is what other keys begin with",
            ErrorKind::AlreadyExists if self.client.stat(path).await.is_ok_and(|status| status.is_dir()) => {
                "is what other keys begin with"
            }
            _ => return error,
        };
        let message = format!("{path} can't be an object: its key {below}, and a tree has no room for both");
        Error::new(ErrorKind::Unsupported, message).with_source(error)
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<()> {
        let options = RemoveOptions::new().prune(self.root.clone());
        as_objects(self.client.remove(self.path(key)?, options).await)
    }

    /// The outcome of each deletion, in the order of the keys.
    pub(crate) fn delete_all<K, E>(&self, keys: BoxStream<'static, Result<K, E>>) -> BoxStream<'static, Result<K, E>>
    where
        K: AsRef<str> + Send + 'static,
        E: From<(String, Error)> + Send + 'static,
    {
        let store = self.clone();
        let delete = move |key: Result<K, E>| {
            let store = store.clone();
            async move {
                let key = key?;
                match store.delete(key.as_ref()).await {
                    Ok(()) => Ok(key),
                    Err(error) => Err(E::from((key.as_ref().to_owned(), error))),
                }
            }
        };
        keys.map(delete).buffered(DELETES_AT_ONCE).boxed()
    }

    /// Copies an object with its attributes; the copy appears whole.
    pub(crate) async fn copy(&self, from: &str, to: &str, mode: Mode) -> Result<()> {
        let (reader, described) = self.open(from).await?;
        let path = self.path(to)?;
        let copy = async {
            let options = self.writing(mode, &described);
            if reader.len() <= MAX_JOINED_BYTES as u64 {
                let bytes = reader.read_at(0, MAX_JOINED_BYTES).await?;
                return self.client.put(&path, bytes, options).await;
            }
            let options = options.publish_on_close(true).expected_size(reader.len());
            let mut writer = self.client.writer(&path, options).await?;
            let mut bytes = reader.stream(..);
            while let Some(piece) = bytes.next().await {
                writer.write_bytes(piece?).await?;
            }
            writer.close().await
        };
        match copy.await {
            Err(error) => Err(self.in_the_way(&path, error).await),
            done => done,
        }
    }

    pub(crate) async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        let (source, target) = (self.path(from)?, self.path(to)?);
        if source == target && !replace {
            as_objects(self.client.stat(&source).await)?;
            return Err(Error::new(ErrorKind::AlreadyExists, format!("{target} exists already")));
        }
        let options = RenameOptions::new().replace(replace).parents(true).prune(self.root.clone());
        let renamed = self.client.rename(&source, &target, options).await;
        match renamed {
            // Of what is no object, or of a key where no other can be.
            Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::IsADirectory) => {
                match as_objects(self.client.stat(&source).await) {
                    Ok(status) if status.is_dir() => Err(no_object(error)),
                    Ok(_) => Err(self.in_the_way(&target, error).await),
                    Err(gone) => Err(gone),
                }
            }
            Err(error) => Err(self.in_the_way(&target, error).await),
            done => done,
        }
    }

    /// Keys in the order of their bytes; none where there is no directory.
    pub(crate) fn list(&self, options: KeyOptions) -> BoxStream<'static, Result<KeyEntry>> {
        match self.client.list_keys(&self.root, options.hide(UPLOADS)) {
            Ok(keys) => keys
                .take_while(|key| {
                    let gone = key.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
                    futures::future::ready(!gone)
                })
                .boxed(),
            Err(error) => futures::stream::once(async move { Err(error) }).boxed(),
        }
    }
}

/// A directory is no object, nor is what would lie below one.
pub(crate) fn as_objects<T>(found: Result<T>) -> Result<T> {
    match found {
        Err(error) if matches!(error.kind(), ErrorKind::IsADirectory | ErrorKind::NotADirectory) => {
            Err(no_object(error))
        }
        found => found,
    }
}

fn no_object(error: Error) -> Error {
    Error::new(ErrorKind::NotFound, "there is no object").with_source(error)
}

/// One piece, copied only where there are several.
fn joined(pieces: Vec<Bytes>) -> Bytes {
    let mut pieces = pieces.into_iter();
    match (pieces.next(), pieces.len()) {
        (first, 0) => first.unwrap_or_default(),
        (first, _) => first.into_iter().chain(pieces).flatten().collect::<Vec<u8>>().into(),
    }
}
