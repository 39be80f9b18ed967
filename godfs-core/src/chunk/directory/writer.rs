//! The one writer of a replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::Inner;
use super::file::ReplicaFile;
use super::index::{Live, Progress};
use crate::chunk::format::{RecordState, footprint};
use crate::chunk::rules;
use crate::chunk::turns::Turn;
use crate::chunk::{Packet, Replica, ReplicaState, ReplicaWriter};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ChunkId;

/// How far behind its end a replica is handed to the disk, so that a sync at the end has little left to wait for. Measured: smaller
/// steps make four times the writes, larger ones are no better. By work of its own, since it waits where the disk's queue is
/// full, and appends must not.
const WRITEBACK_STEP: u64 = 8 << 20;

/// How far back a replica that need not stay in memory is looked through for what has reached the disk, at each step. Memory that is
/// used again at once is cheap; memory that was never touched, or that a host took back, costs many times the copy.
const DROP_WINDOW: u64 = 64 << 20;

/// Writes one replica. Every call takes the chunk's turn and carries it into its work on the executor: work whose
/// caller went away runs to its end before the next call begins.
#[derive(Debug)]
pub(super) struct DirectoryWriter {
    inner: Arc<Inner>,
    chunk: ChunkId,
    live: Arc<Live>,
    cursor: Arc<Mutex<Cursor>>,
}

/// What only the writer's own work touches, one after another.
#[derive(Debug)]
struct Cursor {
    file: ReplicaFile,
    /// Whether the file's name is durable.
    named: bool,
    /// Bytes handed to the disk.
    written_back: u64,
    /// Whether some are being handed to it.
    writing_back: Arc<AtomicBool>,
    /// What has reached the disk is dropped from memory.
    drop_behind: bool,
    /// All of it is durable, with a record that says so: to finalize it waits for nothing.
    sealed: bool,
}

impl DirectoryWriter {
    pub(super) fn new(inner: Arc<Inner>, chunk: ChunkId, live: Arc<Live>, file: ReplicaFile, named: bool) -> Self {
        let written_back = live.progress.lock().length;
        let cursor = Arc::new(Mutex::new(Cursor {
            file,
            named,
            written_back,
            writing_back: Arc::default(),
            drop_behind: false,
            sealed: false,
        }));
        Self { inner, chunk, live, cursor }
    }

    pub(super) fn chunk(&self) -> ChunkId {
        self.chunk
    }

    pub(super) fn set_drop_behind(&self) {
        self.cursor.lock().drop_behind = true;
    }

    /// Notes that the replica is whole, and durably so.
    pub(super) fn sealed(&self) {
        let mut cursor = self.cursor.lock();
        cursor.sealed = true;
        cursor.file.synced();
        if cursor.drop_behind {
            cursor.file.share.drop_cached_data(self.live.progress.lock().length);
        }
    }

    /// Writes all bytes of a replica that has a file of its own, with the turn in the caller's hand.
    pub(super) fn write_now(&self, packet: &Packet, sync: bool) -> Result<()> {
        let mut cursor = self.cursor.lock();
        let mut work = Work { inner: &self.inner, chunk: self.chunk, live: &self.live, cursor: &mut cursor };
        work.checked(|work| {
            work.append(packet)?;
            if sync { work.sync() } else { Ok(()) }
        })
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Work<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.inner.turns.take(self.chunk).await;
        self.work_in(turn, work).await
    }

    async fn work_in<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl FnOnce(&mut Work<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (inner, chunk) = (Arc::clone(&self.inner), self.chunk);
        let (live, cursor) = (Arc::clone(&self.live), Arc::clone(&self.cursor));
        let env = self.inner.env.clone();
        env.blocking(move || {
            let mut cursor = cursor.lock();
            let done = Work { inner: &inner, chunk, live: &live, cursor: &mut cursor }.checked(work);
            drop(turn);
            // Only now, because proving takes the turn again.
            inner.prove_if_needed(chunk);
            done
        })
        .await
    }
}

/// With the turn in hand.
impl DirectoryWriter {
    /// Appends a little to a file of its own without another thread. `None` where that might have to wait.
    fn append_on_the_spot(&self, packet: &Packet) -> Option<Result<()>> {
        let (inner, spot) = (&self.inner, &self.inner.spot);
        if !spot.takes(packet.data.len(), inner.env.clock.monotonic()) || self.live.progress.lock().overshot {
            return None;
        }
        let mut cursor = self.cursor.lock();
        let mut work = Work { inner, chunk: self.chunk, live: &self.live, cursor: &mut cursor };
        if work.placed() || work.cursor.file.record().sealed {
            return None;
        }
        Some(spot.run(&*inner.env.clock, || work.checked(|work| work.append(packet))))
    }
}

#[async_trait]
impl ReplicaWriter for DirectoryWriter {
    async fn append(&mut self, packet: Packet) -> Result<()> {
        let turn = self.inner.turns.take(self.chunk).await;
        match self.append_on_the_spot(&packet) {
            Some(done) => done,
            None => self.work_in(turn, move |work| work.append(&packet)).await,
        }
    }

    fn publish(&mut self, length: u64) {
        let mut progress = self.live.progress.lock();
        if !progress.fenced {
            progress.visible = progress.visible.max(length.min(progress.length));
        }
    }

    fn drop_behind(&mut self) {
        self.set_drop_behind();
    }

    #[allow(clippy::redundant_closure_for_method_calls, reason = "the method is not general enough over its lifetime")]
    async fn sync(&mut self) -> Result<()> {
        self.work(|work| work.sync()).await
    }

    async fn finalize(self: Box<Self>, sync: bool) -> Result<Replica> {
        if !self.cursor.lock().sealed {
            return self.work(move |work| work.finalize(sync)).await;
        }
        // There is nothing to wait for, so no other thread is asked.
        let turn = self.inner.turns.take(self.chunk).await;
        let mut cursor = self.cursor.lock();
        let mut work = Work { inner: &self.inner, chunk: self.chunk, live: &self.live, cursor: &mut cursor };
        let done = work.checked(Work::finalize_sealed);
        drop(turn);
        done
    }

    fn replica(&self) -> Replica {
        self.live.replica(self.chunk)
    }
}

/// One call at work, with the turn in hand.
struct Work<'a> {
    inner: &'a Inner,
    chunk: ChunkId,
    live: &'a Live,
    cursor: &'a mut Cursor,
}

impl Work<'_> {
    fn checked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let progress = *self.live.progress.lock();
        if progress.fenced {
            return Err(rules::stopped(self.chunk, self.live.generation));
        }
        self.inner.usable(self.chunk)?;
        if progress.overshot {
            let taken_back = self.cursor.file.take_back(progress.length);
            taken_back
                .map_err(|error| Error::io(format!("take back a failed write to chunk {}", self.chunk), error))?;
            self.live.progress.lock().overshot = false;
        }
        work(self)
    }

    fn append(&mut self, packet: &Packet) -> Result<()> {
        let Progress { length, tail, .. } = *self.live.progress.lock();
        let share = Arc::clone(&self.cursor.file.share);
        let overlap = rules::admit(packet, length, share.capacity)?;
        if overlap > 0 {
            let there = share.data(packet.offset, overlap);
            let there = there.map_err(|error| Error::io(format!("read chunk {}", self.chunk), error))?;
            if there != packet.data[..overlap] {
                return Err(rules::disagrees(packet));
            }
        }
        if overlap == packet.data.len() {
            return Ok(());
        }
        if self.cursor.file.record().sealed {
            self.unseal()?;
        }
        let extension = rules::extend(length, tail, packet, overlap);
        if extension.length > share.layout.capacity {
            self.outgrow()?;
        }
        let growth = if self.placed() { 0 } else { footprint(extension.length) - footprint(length) };
        self.inner.take_room(growth)?;
        if let Err(error) = self.write(length, &packet.data[overlap..], &extension) {
            self.live.progress.lock().overshot = true;
            self.inner.room.give(growth);
            return Err(Error::io(format!("write {} bytes to chunk {}", packet.data.len(), self.chunk), error));
        }
        {
            let mut progress = self.live.progress.lock();
            (progress.length, progress.tail) = (extension.length, extension.tail);
        }
        self.write_back(extension.length);
        Ok(())
    }

    /// Whether the replica has no file of its own.
    fn placed(&self) -> bool {
        self.inner.index.lock().get(&self.chunk).is_some_and(|slot| slot.place.is_some())
    }

    /// Gives a replica that becomes larger than was expected a file of its own.
    fn outgrow(&mut self) -> Result<()> {
        let slot = self.inner.slot(self.chunk)?;
        let file = self.inner.promote(self.chunk, &slot)?;
        *self.live.share.lock() = Arc::clone(&file.share);
        (self.cursor.file, self.cursor.named) = (file, true);
        self.inner.promoted(self.chunk, &slot);
        Ok(())
    }

    /// Hands what has gathered to the disk, unless it is still busy with what came before.
    fn write_back(&mut self, end: u64) {
        let begin = self.cursor.written_back;
        if end - begin < WRITEBACK_STEP || self.cursor.writing_back.swap(true, Ordering::Acquire) {
            return;
        }
        self.cursor.written_back = end;
        let (share, busy) = (Arc::clone(&self.cursor.file.share), Arc::clone(&self.cursor.writing_back));
        let drop_from = self.cursor.drop_behind.then(|| begin.saturating_sub(DROP_WINDOW));
        self.inner.env.executor.execute(Box::new(move || {
            // Only a hint: when it fails, the sync has more to do, or fails itself.
            let _ = share.file.start_writeback(share.layout.data_at(begin), end - begin);
            if let Some(from) = drop_from.filter(|&from| from < begin) {
                let _ = share.file.drop_cached(share.layout.data_at(from), begin - from);
            }
            busy.store(false, Ordering::Release);
        }));
    }

    fn write(&mut self, offset: u64, fresh: &[u8], extension: &rules::Extension) -> std::io::Result<()> {
        let direct = self.cursor.drop_behind;
        let file = &mut self.cursor.file;
        file.write(offset, fresh, (extension.first_piece, &extension.checksums), direct)?;
        if extension.length.is_multiple_of(crate::checksum::PIECE as u64) {
            return Ok(());
        }
        file.put(|record| (record.length, record.tail) = (extension.length, extension.tail))
    }

    fn sync(&mut self) -> Result<()> {
        let (inner, chunk) = (self.inner, self.chunk);
        inner.changing(chunk, "sync", || self.cursor.file.sync())?;
        if !self.cursor.named {
            inner.changing(chunk, "sync the directory of", || inner.sync_name(chunk, self.live.state))?;
            self.cursor.named = true;
        }
        Ok(())
    }

    /// The record is in the file before its one sync, and the file gets its final name after it: only under that name
    /// is the record believed. In a segment the record that is synced with the data is one that has to be proved, and the final one follows.
    fn finalize(&mut self, sync: bool) -> Result<Replica> {
        let (inner, chunk) = (self.inner, self.chunk);
        let Progress { length, tail, .. } = *self.live.progress.lock();
        let placed = self.placed();
        let state = if sync && !placed { RecordState::Finalized } else { RecordState::Unproven };
        inner.changing(chunk, "finalize", || {
            let file = &mut self.cursor.file;
            if placed && self.live.state == ReplicaState::Temporary {
                // What it replaces must not give way to one that may be torn.
                file.sync()?;
            }
            file.put(|record| {
                (record.state, record.temporary, record.sealed) = (state, false, false);
                (record.length, record.tail) = (length, tail);
            })?;
            if !sync {
                return Ok(());
            }
            file.sync()?;
            if placed { file.put(|record| record.state = RecordState::Finalized) } else { Ok(()) }
        })?;
        inner.rename(chunk, self.live.state, ReplicaState::Finalized)?;
        let replica = self.finalized(!sync)?;
        if sync {
            inner.changing(chunk, "sync the directory of", || inner.sync_name(chunk, ReplicaState::Finalized))?;
            if self.cursor.drop_behind {
                self.cursor.file.share.drop_cached(length);
            }
        }
        // Only now: until then it may be the better one.
        inner.remove_leftover(chunk);
        Ok(replica)
    }
}

impl Work<'_> {
    /// The replica is written on after all.
    fn unseal(&mut self) -> Result<()> {
        self.cursor.sealed = false;
        self.inner.changing(self.chunk, "write on", || {
            self.cursor.file.put(|record| (record.state, record.sealed) = (RecordState::Writing, false))
        })
    }

    /// Ends a replica that was sealed. Its new record need not be durable for the replica to be; written it is all the same, so that the next start need not
    /// read the replica to believe it.
    fn finalize_sealed(&mut self) -> Result<Replica> {
        self.inner.changing(self.chunk, "finalize", || {
            self.cursor.file.put(|record| (record.state, record.sealed) = (RecordState::Finalized, false))
        })?;
        self.finalized(false)
    }

    /// Shows the replica as it ended.
    fn finalized(&mut self, unproven: bool) -> Result<Replica> {
        let Progress { length, tail, .. } = {
            let mut progress = self.live.progress.lock();
            (progress.fenced, progress.visible) = (true, progress.length);
            *progress
        };
        let mut index = self.inner.index.lock();
        let slot = index.get_mut(&self.chunk).ok_or_else(|| rules::not_found(self.chunk))?;
        (slot.state, slot.unproven, slot.withheld) = (ReplicaState::Finalized, unproven, false);
        slot.drop_behind = self.cursor.drop_behind;
        (slot.length, slot.tail) = (length, tail);
        (slot.share, slot.cuts, slot.live) = (Arc::downgrade(&self.cursor.file.share), self.live.cuts, None);
        Ok(slot.replica(self.chunk))
    }
}

/// The error of a replica whose state on the disk is not known.
pub(super) fn poisoned(chunk: ChunkId) -> Error {
    Error::new(
        ErrorKind::Io,
        format!(
            "a write or sync of chunk {chunk} failed before; its replica can't be trusted until the store is opened again"
        ),
    )
}
