//! What the store keeps in memory of each replica.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::file::Share;
use super::segment::SlotFile;
use crate::chunk::format::footprint;
use crate::chunk::rules::Known;
use crate::chunk::{Replica, ReplicaState};
use crate::id::{ChunkId, Generation};

/// All replicas, by chunk.
pub(super) type Index = BTreeMap<ChunkId, Slot>;

/// One replica. Small, for there are many.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) generation: Generation,
    pub(super) recovered: Generation,
    pub(super) state: ReplicaState,
    /// Finalized without waiting for the disk, and not synced since.
    pub(super) unproven: bool,
    /// Others are read instead of it: it need not stay in memory once it is on the disk.
    pub(super) drop_behind: bool,
    /// Found finalized, by a start, though nobody may have finalized it: not to be shown before the chunk is committed.
    pub(super) withheld: bool,
    /// Found being written, by a start: some of it may be in the page cache only, where no sync looks for it.
    pub(super) inherited: bool,
    /// A write or sync failed: what the disk holds is not known until the store is opened again.
    pub(super) poisoned: bool,
    /// Bytes and the checksum of the last, unfinished piece, of a replica that has no `live`.
    pub(super) length: u64,
    pub(super) tail: u32,
    /// Of a replica that a writer has had open.
    pub(super) live: Option<Arc<Live>>,
    /// The open file, while anyone has it open.
    pub(super) share: Weak<Share>,
    /// How many cuts of the open file came before what this tells.
    pub(super) cuts: usize,
    /// The most bytes that the chunk may ever hold.
    pub(super) capacity: u64,
    /// Where it lies, when it has no file of its own.
    pub(super) place: Option<Arc<SlotFile>>,
}

impl Slot {
    pub(super) fn replica(&self, chunk: ChunkId) -> Replica {
        let (length, visible) = match (&self.live, self.state) {
            (Some(live), _) => {
                let progress = live.progress.lock();
                (progress.length, progress.visible)
            }
            // Nobody knows any more what of it had been acknowledged.
            (None, ReplicaState::Rwr) => (self.length, 0),
            (None, _) if self.withheld => (self.length, 0),
            (None, _) => (self.length, self.length),
        };
        Replica { chunk, generation: self.generation, length, visible, state: self.state }
    }

    pub(super) fn known(&self, chunk: ChunkId) -> Known {
        Known { replica: self.replica(chunk), recovered: self.recovered }
    }

    /// Bytes, and the checksum of the last, unfinished piece.
    pub(super) fn end(&self) -> (u64, u32) {
        match &self.live {
            Some(live) => {
                let progress = live.progress.lock();
                (progress.length, progress.tail)
            }
            None => (self.length, self.tail),
        }
    }

    /// The open file, if it is open.
    pub(super) fn share(&self) -> Option<Arc<Share>> {
        match &self.live {
            Some(live) => Some(live.share()),
            None => self.share.upgrade(),
        }
    }

    pub(super) fn footprint(&self) -> u64 {
        match &self.place {
            Some(place) => place.footprint(),
            None => footprint(self.end().0),
        }
    }

    /// Stops the writer.
    pub(super) fn fence(&self) {
        if let Some(live) = &self.live {
            live.progress.lock().fenced = true;
        }
    }
}

/// A replica that is being written, as its writer and its readers share it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) generation: Generation,
    pub(super) state: ReplicaState,
    /// Another one once it has outgrown its place among others.
    pub(super) share: Mutex<Arc<Share>>,
    /// How many cuts of the file came before.
    pub(super) cuts: usize,
    pub(super) progress: Mutex<Progress>,
}

/// How far the writing of a replica has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) length: u64,
    pub(super) visible: u64,
    /// The checksum of the last, unfinished piece.
    pub(super) tail: u32,
    /// Whether the writer was stopped, or has finished.
    pub(super) fenced: bool,
    /// Whether a failed write may have left something beyond the length.
    pub(super) overshot: bool,
}

impl Live {
    pub(super) fn share(&self) -> Arc<Share> {
        Arc::clone(&self.share.lock())
    }

    pub(super) fn replica(&self, chunk: ChunkId) -> Replica {
        let progress = self.progress.lock();
        Replica {
            chunk,
            generation: self.generation,
            length: progress.length,
            visible: progress.visible,
            state: self.state,
        }
    }
}
