//! Replicas in a directory, one file each.

mod compact;
mod file;
mod index;
mod paths;
mod reader;
mod room;
mod scan;
mod segment;
mod segments;
mod spot;
mod whole;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod segment_tests;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use self::compact::Compaction;
use self::file::{LoadError, ReplicaFile, Share};
use self::index::{Index, Live, Progress, Slot};
use self::paths::{Paths, chunk_of, fan_of};
use self::reader::{DirectoryReader, View};
use self::room::Room;
use self::segment::SlotFile;
use self::segments::Segments;
use self::spot::Spot;
use self::whole::Whole;
use self::writer::DirectoryWriter;
use super::format::{Record, RecordState, footprint};
use super::rules::{self, Settle};
use super::turns::Turns;
use super::{
    ChunkStore, CreateReplica, MAX_PACKET_BYTES, ReopenReplica, Replica, ReplicaReader, ReplicaState, ReplicaWriter,
    Space, WholeReplica,
};
use crate::checksum::PIECE;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation};
use crate::io::{Io, IoFile, LockGuard, OpenMode};

/// How many finalized replicas are kept open for the next reader.
const KEPT_OPEN: usize = 128;
/// How long `open` waits for the folder's lock: work of a store just dropped may still be under way.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Where and how large a [`DirectoryStore`] is.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// The folder; made when it does not exist. The store holds its lock.
    pub root: PathBuf,
    /// The most bytes that replicas may take, headers and checksums included. `None`: as many as the disk has, less the reserve.
    pub capacity: Option<u64>,
    /// Bytes of the disk that are left free for others.
    pub reserve: u64,
    /// Replicas that are expected to have at most so many bytes, up to [`MAX_PACKET_BYTES`], share files. 0: none do.
    pub small: u64,
    /// Whether small appends are made on the thread of their caller, where nothing has to wait; not where that thread also serves other disks.
    pub on_the_spot: bool,
}

/// Replicas in a directory of a disk, one file each, in the format that [`format`](mod@super::format) draws. Those of which it is known beforehand that
/// they are small share files: see [`ChunkStore::create_sized`].
///
/// A crash of the process loses nothing that was appended: data, checksums and the length of an unfinished piece are handed to the
/// system with every append. Clones are handles on the same store.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    inner: Arc<Inner>,
}

/// The store. Work on the executor holds it too, and with it the lock of the folder: no other store can open the
/// folder before the last work on it has ended.
struct Inner {
    io: Arc<dyn Io>,
    env: Env,
    paths: Paths,
    index: Mutex<Index>,
    /// What the temporary replicas of the index replace once they are whole.
    leftovers: Mutex<Index>,
    /// The directories of finalized replicas that are there, durably.
    fans: Mutex<BTreeSet<u64>>,
    turns: Turns,
    room: Room,
    segments: Segments,
    unknown: Unknown,
    proving: Mutex<Proving>,
    compaction: Compaction,
    spot: Spot,
    kept_open: Mutex<VecDeque<Arc<Share>>>,
    _lock: Box<dyn LockGuard>,
}

/// What the scan left alone.
#[derive(Debug, Default)]
struct Unknown {
    /// Paths and reasons, for people.
    reports: Vec<String>,
    /// Files that stand where a replica would.
    in_the_way: Mutex<BTreeSet<PathBuf>>,
}

/// Replicas that were finalized without waiting for the disk, to be synced one after another.
#[derive(Debug, Default)]
struct Proving {
    queue: VecDeque<ChunkId>,
    running: bool,
}

impl DirectoryStore {
    /// Opens the store in a folder, making an empty one when there is none, and looks at every file in it.
    ///
    /// # Errors
    /// `FailedPrecondition` when another store has the folder open, `Incompatible` when its format is newer, `Corrupt` when its
    /// `FORMAT` file is damaged, and whatever the disk says about the folder as a whole. A single bad file is no error: see
    /// [`ChunkStore::unknown`].
    pub async fn open(options: DirectoryOptions, io: Arc<dyn Io>, env: Env) -> Result<Self> {
        let paths = Paths::new(options.root);
        let deadline = env.clock.monotonic() + LOCK_PATIENCE;
        let lock = loop {
            let (on, at) = (Arc::clone(&io), paths.clone());
            match env.blocking(move || scan::lock(on.as_ref(), &at)).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && env.clock.monotonic() < deadline => {
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let message = format!("{} is in use by another chunk store", paths.root().display());
                    return Err(Error::new(ErrorKind::FailedPrecondition, message));
                }
                Err(error) => return Err(Error::io(format!("open {}", paths.root().display()), error)),
                Ok(lock) => break lock,
            }
        };
        let room = Room::new(options.capacity, options.reserve);
        let work = {
            let (io, paths) = (Arc::clone(&io), paths.clone());
            move || {
                scan::prepare(io.as_ref(), &paths)?;
                scan::scan(io.as_ref(), &paths).map(|found| (found, lock))
            }
        };
        let (found, lock) = env.blocking(work).await?;
        found.index.values().for_each(|slot| room.found(slot.footprint()));
        let unknown = Unknown { reports: found.reports, in_the_way: Mutex::new(found.in_the_way) };
        let inner = Inner {
            io,
            env,
            paths,
            index: Mutex::new(found.index),
            leftovers: Mutex::default(),
            fans: Mutex::new(found.fans),
            turns: Turns::default(),
            room,
            segments: Segments::new(options.small, found.segments.segments, found.segments.next),
            unknown,
            proving: Mutex::default(),
            compaction: Compaction::default(),
            spot: Spot::new(options.on_the_spot),
            kept_open: Mutex::default(),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs work that changes a replica, on the executor, in its turn. Dropping the future does not stop it.
    async fn change<T, F>(&self, chunk: ChunkId, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
    {
        let turn = self.inner.turns.take(chunk).await;
        let inner = Arc::clone(&self.inner);
        self.inner
            .env
            .blocking(move || {
                let done = work(&inner);
                drop(turn);
                done
            })
            .await
    }
}

#[async_trait]
impl ChunkStore for DirectoryStore {
    async fn create(&self, options: CreateReplica) -> Result<Box<dyn ReplicaWriter>> {
        let writer = self.change(options.chunk, move |inner| inner.create(options, None, None)).await?;
        Ok(Box::new(writer))
    }

    async fn create_sized(&self, options: CreateReplica, length: u64) -> Result<Box<dyn ReplicaWriter>> {
        let writer = self.change(options.chunk, move |inner| inner.create(options, Some(length), None)).await?;
        Ok(Box::new(writer))
    }

    async fn write_whole(&self, replicas: Vec<WholeReplica>) -> Vec<Result<Box<dyn ReplicaWriter>>> {
        // In one order for all, so that no two wait for each other's turns.
        let chunks: BTreeSet<ChunkId> = replicas.iter().map(|replica| replica.options.chunk).collect();
        if chunks.len() < replicas.len() {
            return replicas.iter().map(|replica| Err(whole::twice(replica.options.chunk))).collect();
        }
        let mut turns = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            turns.push(self.inner.turns.take(chunk).await);
        }
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let written = inner.write_whole(&replicas);
            drop(turns);
            written
        };
        let written = self.inner.env.blocking(work).await;
        written.into_iter().map(|writer| writer.map(|writer| Box::new(writer) as Box<dyn ReplicaWriter>)).collect()
    }

    async fn reopen(&self, options: ReopenReplica) -> Result<Box<dyn ReplicaWriter>> {
        let writer = self.change(options.chunk, move |inner| inner.reopen(options)).await?;
        Ok(Box::new(writer))
    }

    async fn open(&self, chunk: ChunkId, min_generation: Generation) -> Result<Box<dyn ReplicaReader>> {
        let reader = match self.inner.reader_of_open_file(chunk, min_generation)? {
            Some(reader) => reader,
            // Not while the file is being changed.
            None => self.change(chunk, move |inner| inner.reader(chunk, min_generation)).await?,
        };
        Ok(Box::new(reader))
    }

    async fn recover(&self, chunk: ChunkId, generation: Generation) -> Result<Replica> {
        self.change(chunk, move |inner| inner.recover(chunk, generation)).await
    }

    async fn settle(&self, chunk: ChunkId, generation: Generation, length: u64) -> Result<Replica> {
        self.change(chunk, move |inner| inner.settle(chunk, generation, length)).await
    }

    async fn delete(&self, chunk: ChunkId, generation: Generation) -> Result<()> {
        self.change(chunk, move |inner| inner.delete(chunk, generation)).await
    }

    async fn stat(&self, chunk: ChunkId) -> Result<Replica> {
        self.inner.index.lock().get(&chunk).map(|slot| slot.replica(chunk)).ok_or_else(|| rules::not_found(chunk))
    }

    async fn list(&self, range: Range<u64>, limit: usize) -> Result<Vec<Replica>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let index = self.inner.index.lock();
        let within = index.range(ChunkId(range.start)..ChunkId(range.end));
        Ok(within.take(limit).map(|(chunk, slot)| slot.replica(*chunk)).collect())
    }

    async fn verify(&self, chunk: ChunkId) -> Result<Replica> {
        let before = rules::verify(chunk, self.inner.known(chunk))?;
        let verdict = self.verify_as(before).await;
        match verdict {
            // What changed while it was being read is not judged by what it was before.
            Err(_) if self.stat(chunk).await.ok() != Some(before) => {
                let message = format!("chunk {chunk} was changed while it was being verified");
                Err(Error::new(ErrorKind::FailedPrecondition, message))
            }
            verdict => verdict,
        }
    }

    async fn space(&self) -> Result<Space> {
        let inner = Arc::clone(&self.inner);
        self.inner.env.blocking(move || inner.room.space(inner.io.as_ref(), inner.paths.root())).await
    }

    async fn unknown(&self) -> Result<Vec<String>> {
        Ok(self.inner.unknown.reports.clone())
    }
}

impl DirectoryStore {
    async fn verify_as(&self, replica: Replica) -> Result<Replica> {
        let chunk = replica.chunk;
        // By its name, not by a descriptor that may have outlived it, and from its header on.
        self.change(chunk, move |inner| {
            let slot = inner.slot(chunk)?;
            inner.open_by_name(chunk, &slot).map(|_| ())
        })
        .await?;
        let reader = self.open(chunk, replica.generation).await?;
        let mut offset = 0;
        while offset < replica.length {
            let packet = reader.read(offset, MAX_PACKET_BYTES, true).await?;
            if packet.data.is_empty() {
                return Err(corrupt(chunk, "it ends early"));
            }
            offset = packet.offset + packet.data.len() as u64;
        }
        Ok(replica)
    }
}

/// The work behind the calls. All of it blocks, and changes a replica only with its turn in hand.
impl Inner {
    /// Creates a replica, with all its bytes where it is `whole` and shares a file with others.
    fn create(
        self: &Arc<Self>,
        options: CreateReplica,
        expected: Option<u64>,
        whole: Option<&Whole<'_>>,
    ) -> Result<DirectoryWriter> {
        let CreateReplica { chunk, generation, capacity, state } = options;
        rules::create(options, self.known(chunk))?;
        if let Some(leftover) = self.leftovers.lock().get(&chunk) {
            rules::create(options, Some(leftover.known(chunk)))?;
        }
        if self.known(chunk).is_some_and(|known| known.replica.state == ReplicaState::Temporary) {
            self.remove(chunk)?;
        }
        let leftover = self.slot(chunk).ok().filter(|_| state == ReplicaState::Temporary);
        if leftover.is_none() {
            self.remove(chunk)?;
        }
        let small = expected.filter(|&length| self.segments.takes(length));
        let room = small.map_or(footprint(0), Segments::footprint);
        self.take_room(room)?;
        let record = Record {
            state: RecordState::Writing,
            cut: false,
            temporary: small.is_some() && state == ReplicaState::Temporary,
            sealed: small.is_some() && whole.is_some(),
            sequence: 0,
            floor: 0,
            chunk,
            generation,
            recovered: Generation(0),
            capacity,
            length: 0,
            tail: 0,
        };
        let made = match small {
            Some(length) => self.create_in_place(length, record, whole),
            None => self.create_file(&self.paths.file(chunk, state), record).map(|file| (file, None)),
        };
        let (file, place) = made.map_err(|error| {
            self.room.give(room);
            Error::io(format!("create a replica of chunk {chunk}"), error)
        })?;
        let progress = match whole.filter(|_| place.is_some()) {
            Some(Whole { extension, .. }) => {
                Progress { length: extension.length, tail: extension.tail, ..Progress::default() }
            }
            None => Progress::default(),
        };
        let slot = Slot {
            generation,
            recovered: Generation(0),
            state,
            unproven: false,
            drop_behind: false,
            withheld: false,
            inherited: false,
            poisoned: false,
            length: 0,
            tail: 0,
            live: None,
            share: Weak::new(),
            cuts: 0,
            capacity,
            place,
        };
        if let Some(leftover) = leftover {
            leftover.fence();
            self.leftovers.lock().insert(chunk, leftover);
        }
        self.index.lock().insert(chunk, slot);
        Ok(self.write_on(chunk, file, progress, false))
    }

    fn reopen(self: &Arc<Self>, options: ReopenReplica) -> Result<DirectoryWriter> {
        let ReopenReplica { chunk, generation, length } = options;
        rules::reopen(options, self.known(chunk))?;
        let mut before = self.stop(chunk)?;
        let visible = before.replica(chunk).visible.min(length);
        if before.place.is_some() {
            // It may grow.
            drop(self.promote(chunk, &before)?);
            self.promoted(chunk, &before);
            before = self.slot(chunk)?;
        }
        let (file, tail) = self.move_on(chunk, &before, length, |record| {
            (record.state, record.sealed, record.generation) = (RecordState::Writing, false, generation);
        })?;
        if before.state == ReplicaState::Finalized {
            self.rename(chunk, ReplicaState::Finalized, ReplicaState::Rbw)?;
        }
        // A name that was never synced must not take the generation with it.
        self.changing(chunk, "sync the directory of", || {
            if before.state == ReplicaState::Finalized {
                // Nor may the name come back under which a record is believed that is yet to be synced.
                self.sync_name(chunk, ReplicaState::Finalized)?;
            }
            self.sync_name(chunk, ReplicaState::Rbw)
        })?;
        {
            let mut index = self.index.lock();
            let slot = index.get_mut(&chunk).ok_or_else(|| rules::not_found(chunk))?;
            (slot.generation, slot.state, slot.unproven, slot.withheld) = (generation, ReplicaState::Rbw, false, false);
        }
        let progress = Progress { length, visible, tail, ..Progress::default() };
        Ok(self.write_on(chunk, file, progress, true))
    }

    fn recover(&self, chunk: ChunkId, generation: Generation) -> Result<Replica> {
        rules::recover(chunk, generation, self.known(chunk))?;
        let slot = self.stop(chunk)?;
        let mut file = self.file(chunk, &slot)?;
        let (length, tail) = slot.end();
        let proven = file.share.prove(length, &[(length, tail)]);
        let (proven, _) = proven.map_err(|error| Error::io(format!("read chunk {chunk}"), error))?;
        if proven != length {
            return Err(corrupt(chunk, &format!("of its {length} bytes only the first {proven} hold")));
        }
        // Writing the record of a file not known to be durable syncs it first, so nothing stays unproven.
        let finalized = slot.state == ReplicaState::Finalized;
        self.changing(chunk, "remember the recovery of", || {
            self.adopt(chunk, &slot, &file)?;
            file.put(|record| {
                (record.recovered, record.length, record.tail) = (generation, length, tail);
                if finalized {
                    record.state = RecordState::Finalized;
                } else {
                    // Also of one that was sealed: recovery decides what becomes of it.
                    (record.state, record.sealed) = (RecordState::Writing, false);
                }
            })?;
            file.sync()?;
            // A name that was never synced must not take the number with it.
            self.sync_name(chunk, slot.state)
        })?;
        let mut index = self.index.lock();
        let slot = index.get_mut(&chunk).ok_or_else(|| rules::not_found(chunk))?;
        (slot.recovered, slot.unproven) = (generation, false);
        Ok(slot.replica(chunk))
    }

    fn settle(&self, chunk: ChunkId, generation: Generation, length: u64) -> Result<Replica> {
        if rules::settle(chunk, generation, length, self.known(chunk))? == Settle::Done {
            self.usable(chunk)?;
            return Ok(self.slot(chunk)?.replica(chunk));
        }
        let before = self.stop(chunk)?;
        let (file, tail) = self.move_on(chunk, &before, length, |record| {
            (record.state, record.generation) = (RecordState::Finalized, generation);
            (record.temporary, record.sealed) = (false, false);
        })?;
        if before.state != ReplicaState::Finalized {
            self.rename(chunk, before.state, ReplicaState::Finalized)?;
        }
        let replica = {
            let mut index = self.index.lock();
            let slot = index.get_mut(&chunk).ok_or_else(|| rules::not_found(chunk))?;
            (slot.generation, slot.state, slot.unproven) = (generation, ReplicaState::Finalized, false);
            slot.withheld = false;
            (slot.length, slot.tail, slot.live) = (length, tail, None);
            (slot.share, slot.cuts) = (Arc::downgrade(&file.share), file.share.cuts());
            slot.replica(chunk)
        };
        self.changing(chunk, "sync the directory of", || self.sync_name(chunk, ReplicaState::Finalized))?;
        Ok(replica)
    }

    fn delete(self: &Arc<Self>, chunk: ChunkId, generation: Generation) -> Result<()> {
        if rules::delete(chunk, generation, self.known(chunk))? { self.remove(chunk) } else { Ok(()) }
    }

    /// The reader of a replica whose file is open already.
    fn reader_of_open_file(&self, chunk: ChunkId, min_generation: Generation) -> Result<Option<DirectoryReader>> {
        let mut index = self.index.lock();
        let slot = index.get_mut(&chunk);
        let mut replica = rules::open(chunk, min_generation, slot.as_ref().map(|slot| slot.known(chunk)))?;
        let Some(slot) = slot else { return Ok(None) };
        let mut share = slot.share();
        if share.is_none() && slot.state == ReplicaState::Finalized {
            // In a segment the file is open already, and all that the header tells is known.
            share = slot.place.as_ref().map(|place| Arc::new(Share::of_place(place, slot.capacity)));
            if let Some(share) = &share {
                (slot.share, slot.cuts) = (Arc::downgrade(share), 0);
            }
        }
        let Some(share) = share else { return Ok(None) };
        let (cuts, view) = match &slot.live {
            Some(live) => (live.cuts, View::Live(replica, Arc::clone(live))),
            None => {
                if slot.state == ReplicaState::Finalized {
                    // Who reads a finalized replica knows from the namenode how much of it counts.
                    replica.visible = replica.length;
                }
                (slot.cuts, View::Fixed(replica, slot.tail))
            }
        };
        Ok(Some(DirectoryReader { env: self.env.clone(), share, cuts, view }))
    }

    fn reader(&self, chunk: ChunkId, min_generation: Generation) -> Result<DirectoryReader> {
        loop {
            if let Some(reader) = self.reader_of_open_file(chunk, min_generation)? {
                return Ok(reader);
            }
            let slot = self.slot(chunk)?;
            let share = self.open_by_name(chunk, &slot)?.share;
            let mut index = self.index.lock();
            let slot = index.get_mut(&chunk).ok_or_else(|| rules::not_found(chunk))?;
            (slot.share, slot.cuts) = (Arc::downgrade(&share), 0);
            drop(index);
            let mut kept = self.kept_open.lock();
            kept.truncate(KEPT_OPEN - 1);
            kept.push_front(share);
        }
    }

    /// Brings the file of a stopped replica to `length` with a record that differs as `change` says, durably. Gives the
    /// file and the checksum of its last, unfinished piece.
    fn move_on(
        &self,
        chunk: ChunkId,
        before: &Slot,
        length: u64,
        change: impl FnOnce(&mut Record),
    ) -> Result<(ReplicaFile, u32)> {
        let mut file = self.file(chunk, before)?;
        let (old_length, old_tail) = before.end();
        let tail = file.share.tail_at(length, old_length, old_tail);
        let tail = tail.map_err(|error| Error::io(format!("read chunk {chunk}"), error))?;
        let tail = tail.ok_or_else(|| corrupt(chunk, &format!("the piece that ends at {length} does not hold")))?;
        // After a stop, and after a failed write, bytes may be there that do not count.
        let overshot = before.live.as_ref().is_some_and(|live| live.progress.lock().overshot);
        self.changing(chunk, "change the generation of", || {
            self.adopt(chunk, before, &file)?;
            let clean = before.state != ReplicaState::Rwr
                && length == old_length
                && !overshot
                && !file.record().cut
                && file.ends_at(length)?;
            if clean {
                file.put(|record| {
                    change(record);
                    (record.length, record.tail) = (length, tail);
                })?;
            } else {
                file.cut(length, tail, change)?;
            }
            file.sync()
        })?;
        if before.place.is_none() {
            self.room.give(footprint(old_length) - footprint(length));
        }
        Ok((file, tail))
    }

    /// Writes once more what a start found being written, before a sync of it counts.
    fn adopt(&self, chunk: ChunkId, slot: &Slot, file: &ReplicaFile) -> io::Result<()> {
        if slot.inherited {
            file.write_again(slot.end().0)?;
            if let Some(slot) = self.index.lock().get_mut(&chunk) {
                slot.inherited = false;
            }
        }
        Ok(())
    }

    /// Begins to write: makes the replica live in the index.
    fn write_on(
        self: &Arc<Self>,
        chunk: ChunkId,
        file: ReplicaFile,
        progress: Progress,
        named: bool,
    ) -> DirectoryWriter {
        let mut index = self.index.lock();
        let slot = index.get_mut(&chunk).expect("in the index, as the turn is ours");
        let live = Arc::new(Live {
            generation: slot.generation,
            state: slot.state,
            share: Mutex::new(Arc::clone(&file.share)),
            cuts: file.share.cuts(),
            progress: Mutex::new(progress),
        });
        slot.live = Some(Arc::clone(&live));
        drop(index);
        DirectoryWriter::new(Arc::clone(self), chunk, live, file, named)
    }

    /// Removes a replica, if there is one. The leftover beside a temporary one takes its place.
    fn remove(self: &Arc<Self>, chunk: ChunkId) -> Result<()> {
        let Ok(slot) = self.slot(chunk) else { return Ok(()) };
        slot.fence();
        self.unlink(chunk, &slot).map_err(|error| Error::io(format!("delete the replica of chunk {chunk}"), error))?;
        let leftover = self.leftovers.lock().remove(&chunk);
        let mut index = self.index.lock();
        match leftover {
            Some(leftover) => index.insert(chunk, leftover),
            None => index.remove(&chunk),
        };
        drop(index);
        self.let_go(&slot);
        if slot.place.is_some() {
            drop(slot);
            // What is not given back now is later.
            if let Err(error) = self.segments.give_back(self.io.as_ref(), &self.paths) {
                tracing::warn!(%error, "an empty segment could not be removed");
            }
            self.compact_if_needed();
        }
        Ok(())
    }

    /// Removes what stood beside a copy that is whole now.
    fn remove_leftover(&self, chunk: ChunkId) {
        let Some(leftover) = self.leftovers.lock().remove(&chunk) else { return };
        let placed = |slot: &Slot| slot.place.is_some();
        // A finalized one had the name that the copy has taken.
        let replaced = leftover.state == ReplicaState::Finalized
            && !placed(&leftover)
            && !self.index.lock().get(&chunk).is_some_and(placed);
        if !replaced && let Err(error) = self.unlink(chunk, &leftover) {
            // The next start removes it; until then it must not be in the way.
            tracing::warn!(chunk = chunk.get(), %error, "a replica that was replaced could not be removed");
            if !placed(&leftover) {
                self.unknown.in_the_way.lock().insert(self.paths.file(chunk, leftover.state));
            }
        }
        self.let_go(&leftover);
    }

    fn unlink(&self, chunk: ChunkId, slot: &Slot) -> io::Result<()> {
        if let Some(place) = &slot.place {
            return place.retire();
        }
        match self.io.remove_file(&self.paths.file(chunk, slot.state)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives back the room of a replica whose file is gone.
    fn let_go(&self, slot: &Slot) {
        self.room.give(slot.footprint());
        if let Some(share) = slot.share() {
            // Its room is free only once nobody has it open.
            self.kept_open.lock().retain(|kept| !Arc::ptr_eq(kept, &share));
        }
    }

    /// Stops the writer of a replica that is about to be changed.
    fn stop(&self, chunk: ChunkId) -> Result<Slot> {
        self.usable(chunk)?;
        let slot = self.slot(chunk)?;
        slot.fence();
        Ok(slot)
    }

    fn slot(&self, chunk: ChunkId) -> Result<Slot> {
        self.index.lock().get(&chunk).cloned().ok_or_else(|| rules::not_found(chunk))
    }

    fn known(&self, chunk: ChunkId) -> Option<rules::Known> {
        self.index.lock().get(&chunk).map(|slot| slot.known(chunk))
    }

    /// Refuses a replica of which nobody knows what the disk holds.
    fn usable(&self, chunk: ChunkId) -> Result<()> {
        if self.slot(chunk)?.poisoned { Err(writer::poisoned(chunk)) } else { Ok(()) }
    }

    /// Runs work after whose failure nobody knows what the disk holds of the replica.
    fn changing<T>(&self, chunk: ChunkId, what: &str, work: impl FnOnce() -> io::Result<T>) -> Result<T> {
        work().map_err(|error| {
            if let Some(slot) = self.index.lock().get_mut(&chunk) {
                slot.poisoned = true;
            }
            Error::io(format!("{what} chunk {chunk}"), error)
        })
    }

    fn take_room(&self, bytes: u64) -> Result<()> {
        self.room.take(self.io.as_ref(), self.paths.root(), bytes)
    }

    /// The file of a replica, with its header as it is now.
    fn file(&self, chunk: ChunkId, slot: &Slot) -> Result<ReplicaFile> {
        match slot.share() {
            Some(share) => self.checked(chunk, slot, ReplicaFile::load(share)),
            None => self.open_by_name(chunk, slot),
        }
    }

    fn open_by_name(&self, chunk: ChunkId, slot: &Slot) -> Result<ReplicaFile> {
        if let Some(place) = &slot.place {
            return self.checked(chunk, slot, ReplicaFile::open_in(place));
        }
        let opened = self.io.open(&self.paths.file(chunk, slot.state), OpenMode::Existing);
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(corrupt(chunk, "its file is missing")),
            opened => self.checked(chunk, slot, opened.map_err(LoadError::from).and_then(ReplicaFile::open)),
        }
    }

    /// A file whose header agrees with what is known of the replica.
    fn checked<H>(
        &self,
        chunk: ChunkId,
        slot: &Slot,
        loaded: Result<(ReplicaFile, H), LoadError>,
    ) -> Result<ReplicaFile> {
        let file = match loaded {
            Ok((file, _)) => file,
            Err(LoadError::Io(error)) => return Err(Error::io(format!("read the header of chunk {chunk}"), error)),
            Err(LoadError::Header(fault)) => return Err(corrupt(chunk, &fault.to_string())),
        };
        let record = file.record();
        let known = (chunk, slot.generation, slot.recovered);
        let mut agrees = (record.chunk, record.generation, record.recovered) == known;
        if slot.state == ReplicaState::Finalized {
            let state = if slot.unproven { RecordState::Unproven } else { RecordState::Finalized };
            agrees &= (record.state, record.length, record.tail) == (state, slot.length, slot.tail);
        }
        if agrees { Ok(file) } else { Err(corrupt(chunk, "its header is not the one that was written last")) }
    }

    /// Renames a replica's file from what it was to what it becomes.
    fn rename(&self, chunk: ChunkId, from: ReplicaState, to: ReplicaState) -> Result<()> {
        if self.placed(chunk) {
            return Ok(());
        }
        if to == ReplicaState::Finalized {
            self.make_fan(chunk)
                .map_err(|error| Error::io(format!("make a directory for the replica of chunk {chunk}"), error))?;
        }
        let (from, to) = (self.paths.file(chunk, from), self.paths.file(chunk, to));
        self.changing(chunk, "rename", || {
            self.step_aside(&to)?;
            self.io.rename(&from, &to)
        })
    }

    /// Makes the directory where a replica is to lie once it is finalized, durably.
    fn make_fan(&self, chunk: ChunkId) -> io::Result<()> {
        let fan = fan_of(chunk);
        // Held until it is durable: nobody may count on it before.
        let mut fans = self.fans.lock();
        if !fans.contains(&fan) {
            self.io.create_dir_all(&self.paths.fan(fan))?;
            self.io.sync_dir(&self.paths.finalized())?;
            fans.insert(fan);
        }
        Ok(())
    }

    /// Whether a replica has no file of its own, and no name that a sync or a rename would have to see to.
    fn placed(&self, chunk: ChunkId) -> bool {
        self.index.lock().get(&chunk).is_some_and(|slot| slot.place.is_some())
    }

    /// Makes the name of a replica durable.
    fn sync_name(&self, chunk: ChunkId, state: ReplicaState) -> io::Result<()> {
        if self.placed(chunk) { Ok(()) } else { self.io.sync_dir(&self.paths.directory(chunk, state)) }
    }

    /// Begins a replica in a segment.
    fn create_in_place(
        &self,
        length: u64,
        record: Record,
        whole: Option<&Whole<'_>>,
    ) -> io::Result<(ReplicaFile, Option<Arc<SlotFile>>)> {
        let place = self.segments.take(self.io.as_ref(), &self.paths, length)?;
        let file: Arc<dyn IoFile> = Arc::<SlotFile>::clone(&place);
        let layout = place.layout();
        let made = match whole {
            Some(whole) => ReplicaFile::create_whole(file, layout, record, whole),
            None => ReplicaFile::create(file, layout, record),
        };
        match made {
            Ok(file) => Ok((file, Some(place))),
            Err(error) => {
                // Else it is out of use until the next start.
                let _ = place.retire();
                Err(error)
            }
        }
    }

    /// Copies a stopped replica, or one whose writer is at this, from its place in a segment to a file of its own, durably. Until
    /// [`promoted`](Self::promoted) the place counts; a start that finds both believes the file.
    fn promote(&self, chunk: ChunkId, slot: &Slot) -> Result<ReplicaFile> {
        let old = self.file(chunk, slot)?;
        let (length, tail) = slot.end();
        let room = footprint(length);
        self.take_room(room)?;
        // A start removes what is left half-written there.
        let staged = self.paths.file(chunk, ReplicaState::Temporary);
        let copied = self.copy_out(&old, (length, tail), slot.state, &staged).and_then(|copy| {
            if slot.state != ReplicaState::Temporary {
                let home = self.paths.file(chunk, slot.state);
                if slot.state == ReplicaState::Finalized {
                    self.make_fan(chunk)?;
                }
                self.step_aside(&home)?;
                self.io.rename(&staged, &home)?;
            }
            self.io.sync_dir(&self.paths.directory(chunk, slot.state))?;
            Ok(copy)
        });
        copied.map_err(|error| {
            let _ = self.io.remove_file(&staged);
            self.room.give(room);
            let kind = error.kind();
            let error = Error::io(format!("give chunk {chunk} a file of its own"), error);
            if kind == io::ErrorKind::InvalidData { corrupt(chunk, &error.report()) } else { error }
        })
    }

    fn copy_out(
        &self,
        old: &ReplicaFile,
        (length, tail): (u64, u32),
        state: ReplicaState,
        to: &Path,
    ) -> io::Result<ReplicaFile> {
        let (proven, _) = old.share.prove(length, &[(length, tail)])?;
        if proven != length {
            let message = format!("of its {length} bytes only the first {proven} hold");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        match self.io.remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = self.create_file(to, Record { temporary: false, sealed: false, ..*old.record() })?;
        let size = usize::try_from(length).expect("at most a packet");
        let whole = size / PIECE;
        let data = old.share.data(0, size)?;
        let sums = if whole == 0 { Bytes::new() } else { old.share.checksums(0, whole)? };
        if size > 0 {
            file.write(0, &data, (0, &sums), false)?;
        }
        file.outrank(old.record().sequence);
        file.put(|record| {
            let finalized = state == ReplicaState::Finalized;
            record.state = if finalized { RecordState::Finalized } else { RecordState::Writing };
            (record.length, record.tail) = (length, tail);
        })?;
        file.sync()?;
        Ok(file)
    }

    /// Gives up the place of a replica that has a file of its own now.
    fn promoted(&self, chunk: ChunkId, before: &Slot) {
        if let Some(slot) = self.index.lock().get_mut(&chunk) {
            (slot.place, slot.unproven) = (None, false);
            (slot.share, slot.cuts) = (Weak::new(), 0);
            if slot.live.as_ref().is_some_and(|live| live.progress.lock().fenced) {
                (slot.length, slot.tail) = before.end();
                slot.live = None;
            }
        }
        if let Some(place) = &before.place {
            self.room.give(place.footprint());
            if let Err(error) = place.retire() {
                // The next start finds the file, and the place to be behind it.
                tracing::warn!(chunk = chunk.get(), %error, "a place in a segment could not be given up");
            }
        }
        self.kept_open.lock().retain(|kept| !before.share().is_some_and(|share| Arc::ptr_eq(kept, &share)));
    }

    fn create_file(&self, path: &Path, record: Record) -> io::Result<ReplicaFile> {
        self.step_aside(path)?;
        let file = self.io.open(path, OpenMode::CreateNew)?;
        ReplicaFile::create(file, record.layout(), record).inspect_err(|_| {
            // Half a header is removed at the next start, if it can't be now.
            let _ = self.io.remove_file(path);
        })
    }

    /// Gives a new name to a file that was left alone at the start and stands where a replica is to go.
    fn step_aside(&self, path: &Path) -> io::Result<()> {
        if !self.unknown.in_the_way.lock().remove(path) {
            return Ok(());
        }
        for number in 1_u32.. {
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!(".unknown-{number}"));
            let aside = PathBuf::from(aside);
            if !self.io.exists(&aside)? {
                return self.io.rename(path, &aside);
            }
        }
        Ok(())
    }

    /// Sees to it that a replica which was finalized without waiting for the disk is synced in time.
    fn prove_if_needed(self: &Arc<Self>, chunk: ChunkId) {
        if !self.index.lock().get(&chunk).is_some_and(|slot| slot.unproven) {
            return;
        }
        let mut proving = self.proving.lock();
        proving.queue.push_back(chunk);
        if !std::mem::replace(&mut proving.running, true) {
            drop(proving);
            let weak = Arc::downgrade(self);
            self.env.executor.execute(Box::new(move || Self::prove_queued(&weak)));
        }
    }

    /// One after another, so that those who wait for the disk come first. Ends with the store.
    fn prove_queued(weak: &Weak<Self>) {
        while let Some(inner) = weak.upgrade() {
            let mut proving = inner.proving.lock();
            let Some(chunk) = proving.queue.pop_front() else {
                proving.running = false;
                return;
            };
            drop(proving);
            if let Err(error) = inner.prove(chunk) {
                tracing::warn!(chunk = chunk.get(), error = %error.report(), "a finalized replica could not be synced");
            }
        }
    }

    fn prove(&self, chunk: ChunkId) -> Result<()> {
        // Whoever has the turn deletes the replica or syncs it.
        let Some(_turn) = self.turns.try_take(chunk) else { return Ok(()) };
        let Ok(slot) = self.slot(chunk) else { return Ok(()) };
        if !slot.unproven || slot.poisoned {
            return Ok(());
        }
        let mut file = self.file(chunk, &slot)?;
        self.changing(chunk, "sync", || {
            file.sync()?;
            self.sync_name(chunk, ReplicaState::Finalized)?;
            file.put(|record| record.state = RecordState::Finalized)
        })?;
        if let Some(slot) = self.index.lock().get_mut(&chunk) {
            slot.unproven = false;
        }
        if slot.drop_behind {
            file.share.drop_cached(slot.length);
        }
        Ok(())
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryStore")
            .field("root", &self.paths.root())
            .field("replicas", &self.index.lock().len())
            .field("unknown", &self.unknown.reports.len())
            .finish_non_exhaustive()
    }
}

fn corrupt(chunk: ChunkId, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the replica of chunk {chunk} is damaged: {what}"))
}

/// The chunk of a file by its path.
fn chunk_of_path(path: &Path) -> Option<ChunkId> {
    path.file_name().and_then(|name| chunk_of(name.to_str()?))
}
