//! Gives back the room of segments in which little is left: what is left moves to free places of others.
//!
//! A replica is whole at its new place, durably, before the old one is given up, so that at every moment one of the two counts; a start that finds both keeps the
//! later one. What moves is read back and verified: one that rots stays where it is, for the scrubber to find.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::Inner;
use super::file::{ReplicaFile, Share};
use super::index::Slot;
use super::segment::{Segment, SlotFile};
use super::whole::Whole;
use crate::checksum::PIECE;
use crate::chunk::format::{Header, RecordState};
use crate::chunk::rules::Extension;
use crate::chunk::turns::Turn;
use crate::chunk::{Packet, ReplicaState};
use crate::id::ChunkId;

/// Replicas that move together, to one flush: so many wait for their turn meanwhile, should anybody want to change them.
const TOGETHER: usize = 32;

/// Deletions after which it is tried again where nothing could be moved: what is left is being written, or read.
const FRUITLESS: u32 = 1_024;

/// The compaction of a store.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    running: AtomicBool,
    /// So many deletions pass before the next try.
    pause: AtomicU32,
}

impl Compaction {
    /// Whether it is to begin now.
    fn begins(&self) -> bool {
        let paused = self.pause.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
        !paused && !self.running.swap(true, Ordering::AcqRel)
    }

    fn ends(&self, fruitless: bool) {
        self.pause.store(if fruitless { FRUITLESS } else { 0 }, Ordering::Release);
        self.running.store(false, Ordering::Release);
    }
}

/// A replica on its way.
struct Moving {
    chunk: ChunkId,
    before: Slot,
    file: ReplicaFile,
    place: Arc<SlotFile>,
    /// Nobody else changes it meanwhile.
    _turn: Turn,
}

impl Inner {
    /// Has segments with little in them emptied, in the background, if there are any. What moves is at most a third of what was deleted before.
    pub(super) fn compact_if_needed(self: &Arc<Self>) {
        if self.segments.sparse().is_none() || !self.compaction.begins() {
            return;
        }
        let weak = Arc::downgrade(self);
        self.env.executor.execute(Box::new(move || Self::compact(&weak)));
    }

    /// One segment after another, for as long as that gets anywhere. Ends with the store.
    fn compact(weak: &Weak<Self>) {
        while let Some(inner) = weak.upgrade() {
            let moved = inner.segments.sparse().map(|segment| inner.move_some(&segment));
            match moved {
                Some(Ok(1..)) => {}
                Some(Ok(0)) => return inner.compaction.ends(true),
                None => return inner.compaction.ends(false),
                Some(Err(error)) => {
                    tracing::warn!(%error, "replicas of a segment in which little is left stay there");
                    return inner.compaction.ends(true);
                }
            }
        }
    }

    /// Moves some of the replicas of a segment; how many.
    fn move_some(&self, segment: &Arc<Segment>) -> io::Result<usize> {
        let mut moving = Vec::new();
        for number in 0..segment.used() {
            if moving.len() >= TOGETHER {
                break;
            }
            if let Some(one) = self.copy_one(segment, number)? {
                moving.push(one);
            }
        }
        let mut flushed = Vec::new();
        for one in &moving {
            let target = one.place.segment();
            if !flushed.contains(&target.number) {
                target.sync()?;
                flushed.push(target.number);
            }
        }
        let moved = moving.len();
        for one in moving {
            self.moved(one)?;
        }
        self.segments.give_back(self.io.as_ref(), &self.paths)?;
        Ok(moved)
    }

    /// Writes what is in a slot to a place of another segment, if it is a finished replica that nobody is changing.
    fn copy_one(&self, segment: &Arc<Segment>, number: u32) -> io::Result<Option<Moving>> {
        let Ok(Header { newest, .. }) = Header::decode(&segment.header(number)?) else { return Ok(None) };
        let chunk = newest.chunk;
        let Some(turn) = self.turns.try_take(chunk) else { return Ok(None) };
        let Ok(before) = self.slot(chunk) else { return Ok(None) };
        let here = before.place.as_ref().is_some_and(|place| place.is(segment, number));
        if !here || before.state != ReplicaState::Finalized || before.unproven || before.poisoned {
            return Ok(None);
        }
        let Ok(old) = self.file(chunk, &before) else { return Ok(None) };
        let (length, tail) = before.end();
        let size = usize::try_from(length).expect("at most a packet");
        if size == 0 || old.share.prove(length, &[(length, tail)])? != (length, tail) {
            return Ok(None);
        }
        let Some(place) = self.segments.take_in_front_of(segment)? else { return Ok(None) };
        let data = old.share.data(0, size)?;
        let checksums = match size / PIECE {
            0 => Bytes::new(),
            whole => old.share.checksums(0, whole)?,
        };
        let packet = Packet { offset: 0, data, checksums: Bytes::new() };
        let whole = Whole { packet: &packet, extension: Extension { length, first_piece: 0, checksums, tail } };
        match ReplicaFile::create_whole(Arc::<SlotFile>::clone(&place), place.layout(), *old.record(), &whole) {
            Ok(file) => Ok(Some(Moving { chunk, before, file, place, _turn: turn })),
            Err(error) => {
                // Else it is out of use until the next start.
                let _ = place.retire();
                Err(error)
            }
        }
    }

    /// The new place is durable and counts from here on.
    fn moved(&self, moving: Moving) -> io::Result<()> {
        let Moving { chunk, before, mut file, place, _turn } = moving;
        file.synced();
        file.put(|record| record.state = RecordState::Finalized)?;
        if let Some(slot) = self.index.lock().get_mut(&chunk) {
            slot.place = Some(place);
            (slot.share, slot.cuts) = (Weak::new(), 0);
        }
        let old = before.share();
        self.kept_open.lock().retain(|kept| !old.as_ref().is_some_and(|old: &Arc<Share>| Arc::ptr_eq(kept, old)));
        match &before.place {
            Some(place) => place.retire(),
            None => Ok(()),
        }
    }
}
