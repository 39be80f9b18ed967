//! All segments of a store: where the next small replica goes, and what a start finds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::paths::{Paths, segment_named};
use super::scan;
use super::segment::{MAX_DATA, Segment, SlotFile, class_of, slot_bytes};
use crate::io::Io;

/// A segment is emptied when at most one in so many of its slots is in use: so what moves is at most a third of what was deleted.
const SPARSE: u32 = 4;

/// The segments of a store.
#[derive(Debug)]
pub(super) struct Segments {
    /// Replicas up to so many bytes go here.
    limit: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the bytes of data that a slot holds.
    classes: BTreeMap<u64, Vec<Arc<Segment>>>,
    /// The number of the next one.
    next: u64,
    /// Whether the directory is there, durably.
    made: bool,
}

impl Segments {
    /// Those that a start found. `next` is a number that no file has, nor any after it.
    pub(super) fn new(limit: u64, found: Vec<Arc<Segment>>, next: u64) -> Self {
        let mut classes = BTreeMap::<u64, Vec<_>>::new();
        for segment in found {
            classes.entry(segment.data).or_default().push(segment);
        }
        Self { limit: limit.min(MAX_DATA), state: Mutex::new(State { classes, next, made: false }) }
    }

    /// Whether a replica that will have `length` bytes goes here.
    pub(super) fn takes(&self, length: u64) -> bool {
        length > 0 && length <= self.limit
    }

    /// The bytes that a replica of `length` bytes takes.
    pub(super) fn footprint(length: u64) -> u64 {
        slot_bytes(class_of(length))
    }

    /// A slot for a replica of `length` bytes.
    pub(super) fn take(&self, io: &dyn Io, paths: &Paths, length: u64) -> io::Result<Arc<SlotFile>> {
        let class = class_of(length);
        let mut state = self.state.lock();
        if let Some(slot) = state.classes.get(&class).and_then(|segments| segments.iter().find_map(Segment::take)) {
            return Ok(slot);
        }
        // Before the disk gives more, what was deleted is used again: see `segment` for why that takes two syncs.
        let waiting = state.classes.get(&class).and_then(|all| all.iter().find(|segment| segment.has_retired()));
        if let Some(segment) = waiting
            && segment.sync().and_then(|()| segment.sync()).is_ok()
            && let Some(slot) = segment.take()
        {
            return Ok(slot);
        }
        let folder = paths.segments();
        if !state.made {
            if !io.exists(&folder)? {
                scan::allow_segments(io, paths)?;
            }
            io.create_dir_all(&folder)?;
            io.sync_dir(&paths.version())?;
            state.made = true;
        }
        let number = state.next;
        state.next += 1;
        let segment = Arc::new(Segment::create(io, &paths.segment(number), number, class)?);
        io.sync_dir(&folder)?;
        let slot = segment.take().expect("an empty one has room");
        state.classes.entry(class).or_default().push(segment);
        Ok(slot)
    }

    /// A segment in which so little is left that those in front of it, which are filled before it, have room for all of that.
    pub(super) fn sparse(&self) -> Option<Arc<Segment>> {
        let state = self.state.lock();
        state.classes.values().find_map(|segments| {
            let counts: Vec<_> = segments.iter().map(|segment| segment.counts()).collect();
            let last = segments.iter().enumerate().rev().find(|(at, _)| {
                let (slots, live, _) = counts[*at];
                let spare: u32 = counts[..*at].iter().map(|(_, _, spare)| spare).sum();
                live > 0 && live <= slots / SPARSE && live <= spare
            });
            last.map(|(_, segment)| Arc::clone(segment))
        })
    }

    /// A slot of the same class as those of `segment`, in a segment in front of it. Where what is free is not free durably yet, it is made so.
    pub(super) fn take_in_front_of(&self, segment: &Arc<Segment>) -> io::Result<Option<Arc<SlotFile>>> {
        let front: Vec<_> = {
            let state = self.state.lock();
            let all = state.classes.get(&segment.data).into_iter().flatten();
            all.take_while(|other| !Arc::ptr_eq(other, segment)).cloned().collect()
        };
        if let Some(slot) = front.iter().find_map(Segment::take) {
            return Ok(Some(slot));
        }
        for other in front.iter().filter(|other| other.has_retired()) {
            other.sync()?;
            other.sync()?;
            if let Some(slot) = other.take() {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Gives segments in which nothing is left back to the file system, but for one of each class.
    pub(super) fn give_back(&self, io: &dyn Io, paths: &Paths) -> io::Result<()> {
        let mut state = self.state.lock();
        for segments in state.classes.values_mut() {
            let mut at = 0;
            while segments.len() > 1 && at < segments.len() {
                if segments[at].close_if_empty() {
                    let segment = segments.remove(at);
                    io.remove_file(&paths.segment(segment.number))?;
                } else {
                    at += 1;
                }
            }
        }
        Ok(())
    }
}

/// What a start finds of segments.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) segments: Vec<Arc<Segment>>,
    /// A number that no file has, nor any after it.
    pub(super) next: u64,
}

impl Found {
    /// Takes in one file; every slot in use goes to `look`. An error says why the file is left alone.
    pub(super) fn admit(
        &mut self,
        io: &dyn Io,
        paths: &Paths,
        name: &str,
        look: impl FnMut(Arc<SlotFile>),
    ) -> Result<(), String> {
        let number = segment_named(name).ok_or_else(|| "not a file of this store".to_owned())?;
        self.next = self.next.max(number.saturating_add(1));
        let path = paths.segment(number);
        let Some(segment) = Segment::open(io, &path, number)? else {
            return io.remove_file(&path).map_err(|error| error.to_string());
        };
        let segment = Arc::new(segment);
        segment.scan(look).map_err(|error| error.to_string())?;
        self.segments.push(segment);
        Ok(())
    }
}
