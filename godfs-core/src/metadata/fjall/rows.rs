//! The rows in fjall: a keyspace for each space, and one that says up to which record they are applied.

use std::fmt;
use std::ops::Bound;
use std::path::Path;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable, Slice};
use bytes::{Bytes, BytesMut};

use super::FjallOptions;
use super::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::layer::{Found, Layer, Rows, Writes};
use crate::metadata::{Range, Space};

/// The key, in the keyspace `meta`, of the state that the rows are in.
const APPLIED: &[u8] = b"applied";

/// The most bytes of fjall's journals besides the one it writes: all are read when it is opened. The least it allows.
const JOURNAL_BYTES: u64 = 64 << 20;

/// The keyspaces: one for each space, in their order, and that of the state.
const KEYSPACES: [&str; 3] = ["rows", "data", "meta"];

/// The rows.
pub(super) struct RowStore {
    database: Database,
    spaces: Spaces,
    meta: Keyspace,
    /// How many journals there were when it was last looked.
    journals: usize,
}

type Spaces = [Keyspace; Space::ALL.len()];

impl fmt::Debug for RowStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStore").finish_non_exhaustive()
    }
}

impl RowStore {
    /// Makes the folder, with no rows in it.
    pub(super) fn create(folder: &Path, options: &FjallOptions) -> Result<Self> {
        Self::with(folder, options, false)
    }

    /// Opens the rows in `folder`.
    pub(super) fn open(folder: &Path, options: &FjallOptions) -> Result<Self> {
        refuse_if_torn(folder)?;
        Self::with(folder, options, true)
    }

    fn with(folder: &Path, options: &FjallOptions, exist: bool) -> Result<Self> {
        let open = || {
            let database = Database::builder(folder)
                .cache_size(options.cache_bytes)
                // Two workers requeue compactions to each other in a loop.
                .worker_threads(1)
                // Nothing here counts on fjall's journal before `persist`: the commit log has it all.
                .manual_journal_persist(true)
                .max_journaling_size(JOURNAL_BYTES)
                .open()?;
            let found = database.list_keyspace_names();
            if let Some(lost) = KEYSPACES.iter().find(|name| exist && !found.iter().any(|found| &**found == **name)) {
                return Ok(Err(lost));
            }
            let small = || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes);
            let apart = || small().with_kv_separation(Some(KvSeparationOptions::default()));
            let [rows, data, meta] = KEYSPACES;
            let (rows, data) = (database.keyspace(rows, small)?, database.keyspace(data, apart)?);
            let meta = database.keyspace(meta, small)?;
            let journals = database.journal_count();
            Ok(Ok(Self { database, spaces: [rows, data], meta, journals }))
        };
        let opened = open().map_err(failed("open the rows of the metadata store"));
        opened.map_err(|error| error.context(folder.display()))?.map_err(|lost| {
            let message =
                format!("{}: the keyspace {lost:?} is gone: restore the metadata from a backup", folder.display());
            Error::new(ErrorKind::Corrupt, message)
        })
    }

    /// What the rows are the rows of; `None` when they are new.
    pub(super) fn applied(&self) -> Result<Option<State>> {
        let value = self.meta.get(APPLIED).map_err(failed("read the state of the rows"))?;
        value.map(|bytes| State::decode(&bytes)).transpose()
    }

    /// Applies writes that bring the rows to `state`, together, not synced.
    pub(super) fn apply(&self, writes: &Writes, state: &State) -> Result<()> {
        let mut batch = self.database.batch();
        for space in Space::ALL {
            let keyspace = &self.spaces[space as usize];
            for (key, value) in writes.of(space) {
                match value {
                    Some(value) => batch.insert(keyspace, &key[..], &value[..]),
                    None => batch.remove(keyspace, &key[..]),
                }
            }
        }
        batch.insert(&self.meta, APPLIED, state.encode());
        batch.commit().map_err(failed("apply a batch to the rows"))
    }

    /// Makes all that was applied durable.
    pub(super) fn persist(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(failed("persist the rows"))
    }

    /// A journal is kept until all that was written to it lies in tables. A keyspace that is written to seldom, as `meta`
    /// always and `data` without small files, would keep many, all of which are read when the store is opened: so whenever another one is full, what such keyspaces have in memory
    /// is brought into tables.
    pub(super) fn let_go_of_journals(&mut self) -> Result<()> {
        let journals = self.database.journal_count();
        if journals > std::mem::replace(&mut self.journals, journals) {
            for keyspace in self.spaces.iter().chain([&self.meta]) {
                keyspace.rotate_memtable().map_err(failed("bring rows into tables"))?;
            }
        }
        Ok(())
    }

    /// The rows as they are now.
    pub(super) fn snapshot(&self) -> RowSnapshot {
        RowSnapshot { snapshot: self.database.snapshot(), spaces: self.spaces.clone() }
    }
}

/// The rows at one moment.
pub(super) struct RowSnapshot {
    snapshot: ::fjall::Snapshot,
    spaces: Spaces,
}

impl fmt::Debug for RowSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowSnapshot").field("seqno", &self.snapshot.seqno()).finish_non_exhaustive()
    }
}

impl Layer for RowSnapshot {
    fn find(&self, space: Space, key: &[u8]) -> Result<Found> {
        if key.is_empty() {
            return Ok(Found::Nothing);
        }
        let value = self.snapshot.get(&self.spaces[space as usize], key).map_err(failed("read a row"))?;
        Ok(value.map_or(Found::Nothing, |value| Found::Value(own(&value))))
    }

    fn rows<'a>(&'a self, space: Space, range: &Range) -> Rows<'a> {
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        let bounds: (Bound<Bytes>, Bound<Bytes>) = (range.start.clone(), range.end.clone());
        let rows = self.snapshot.range(&self.spaces[space as usize], bounds);
        let mut arena = Arena::default();
        let copied = move |guard: ::fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(failed("scan rows"))?;
            Ok((arena.own(&key), Some(arena.own(&value))))
        };
        if range.reverse { Box::new(rows.rev().map(copied)) } else { Box::new(rows.map(copied)) }
    }
}

/// A slice of fjall's is a view of its whole block and would keep that in memory.
fn own(slice: &Slice) -> Bytes {
    Bytes::copy_from_slice(slice)
}

/// Copies of the rows of one scan, many to an allocation: they are read and let go together.
#[derive(Default)]
struct Arena {
    room: BytesMut,
    /// The next allocation.
    next: usize,
}

impl Arena {
    const FIRST: usize = 512;
    const MOST: usize = 32 << 10;

    fn own(&mut self, slice: &Slice) -> Bytes {
        if slice.len() > Self::FIRST {
            return own(slice);
        }
        if self.room.capacity() < slice.len() {
            self.next = (2 * self.next).clamp(Self::FIRST, Self::MOST);
            self.room = BytesMut::with_capacity(self.next);
        }
        self.room.extend_from_slice(slice);
        self.room.split().freeze()
    }
}

/// Refuses a folder in which a keyspace lacks the file that names its present version: fjall takes such a one for one that was never finished,
/// deletes it with all its rows, and goes on without.
fn refuse_if_torn(folder: &Path) -> Result<()> {
    let keyspaces = folder.join("keyspaces");
    let failed = |error| Error::io(keyspaces.display(), error);
    for entry in std::fs::read_dir(&keyspaces).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let current = path.join("current");
        if path.is_dir() && !current.try_exists().map_err(failed)? {
            let message = format!("{} is gone: restore the metadata from a backup", current.display());
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
    }
    Ok(())
}

fn failed(what: &'static str) -> impl Fn(::fjall::Error) -> Error {
    move |error| {
        let damaged = "; the rows are damaged: restore the whole folder from one backup";
        let (kind, advice) = match &error {
            ::fjall::Error::Locked => (ErrorKind::Unavailable, ""),
            ::fjall::Error::InvalidVersion(_) => (ErrorKind::Incompatible, ""),
            ::fjall::Error::JournalRecovery(_)
            | ::fjall::Error::InvalidTrailer
            | ::fjall::Error::InvalidTag(_)
            | ::fjall::Error::Unrecoverable => (ErrorKind::Corrupt, damaged),
            ::fjall::Error::Io(error) => (io_kind(error), ""),
            ::fjall::Error::Storage(::fjall::LsmError::Io(error)) => (io_kind(error), ""),
            ::fjall::Error::Storage(_) => (ErrorKind::Corrupt, damaged),
            // Its own threads met what it was; they log it.
            ::fjall::Error::Poisoned => (
                ErrorKind::Io,
                ": a thread that writes rows has failed, its last words are in the log; is the disk full?",
            ),
            _ => (ErrorKind::Io, ""),
        };
        Error::new(kind, format!("{what}: {error}{advice}")).with_source(error)
    }
}

fn io_kind(error: &std::io::Error) -> ErrorKind {
    if error.kind() == std::io::ErrorKind::StorageFull { ErrorKind::StorageFull } else { ErrorKind::Io }
}
