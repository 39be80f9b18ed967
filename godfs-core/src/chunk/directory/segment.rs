//! Segments: files that hold many small replicas, so that one costs no file of its own, and one flush serves many.
//!
//! ```text
//! ROOT/v1/segments/NUMBER.segment      NUMBER in 16 hexadecimal digits
//!
//! 0                       header, big endian
//!    0  magic        8    "GoDFSseg"
//!    8  version      4    1
//!   12  slots        4    how many there is room for
//!   16  data         8    bytes of data that a slot holds: the segment's class
//!   24  checksum     4    CRC32C of bytes 0..24
//! 4096                    slot 0
//! 4096 + N * SLOT         slot N: one replica in the format of a file of its own, with room for `data` bytes,
//!                         or zeros where its header and its checksums would be
//! ```
//!
//! All slots of a segment have one size, so a damaged record costs that record and no other, no length that lies leads a scan
//! astray, and a slot that is free again is used again in place.
//!
//! **A slot is a file** to all that works with replicas: [`SlotFile`]. Its sync is one of the whole segment, which those who ask for one
//! at the same time share. It has no name that a rename could change at the right moment, so what proves a replica is its record
//! alone: it says `unproven` with the data, and `finalized` only once that was synced. A start reads what is still `unproven` and believes its
//! checksums.
//!
//! **Free again.** When a replica is deleted its header is zeroed; when that is on the disk and nobody reads it any more, its checksums are; and
//! only when these zeros are on the disk, too, is the slot given to another replica. So no crash shows old checksums beside new data, nor a record
//! beside bytes that are not its own.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Buf, BufMut, Bytes};
use parking_lot::{Condvar, Mutex};

use crate::checksum::{CHECKSUM_BYTES, PIECE, crc32c};
use crate::chunk::MAX_PACKET_BYTES;
use crate::chunk::format::{HEADER_BYTES, Layout};
use crate::io::{Io, IoFile, OpenMode};

const MAGIC: [u8; 8] = *b"GoDFSseg";
/// The version that this code writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Bytes of a segment's header.
const SEGMENT_HEADER_BYTES: u64 = 4_096;
/// The part of it that is used.
const FIELDS: usize = 28;
/// About how large a segment becomes: large enough that a million small replicas are in few open files, small enough that an empty one
/// is worth giving back. Tests fill several.
const SEGMENT_BYTES: u64 = if cfg!(test) { 2 << 20 } else { 256 << 20 };
/// The largest replica that a segment takes: one packet.
pub(super) const MAX_DATA: u64 = MAX_PACKET_BYTES as u64;

/// The bytes of data that a slot for a replica of `length` bytes holds: a power of two of pieces, or one and a half times that, so that
/// few sizes serve all and at most a third of a slot is idle.
pub(super) fn class_of(length: u64) -> u64 {
    let pieces = length.div_ceil(PIECE as u64).max(1);
    let above = pieces.next_power_of_two();
    let between = above / 4 * 3;
    let pieces = if above >= 4 && pieces <= between { between } else { above };
    pieces * PIECE as u64
}

/// The bytes that a slot of a class takes.
pub(super) fn slot_bytes(data: u64) -> u64 {
    Layout { capacity: data }.data_at(data)
}

/// The bytes before a slot's data: all that has to be zero in a free one.
fn front(data: u64) -> usize {
    usize::try_from(Layout { capacity: data }.data_at(0)).expect("two pages")
}

/// One open segment.
pub(super) struct Segment {
    file: Arc<dyn IoFile>,
    pub(super) number: u64,
    /// Bytes of data that a slot holds.
    pub(super) data: u64,
    slots: u32,
    state: Mutex<State>,
    /// Somebody's sync has ended.
    synced: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Slots from here on were never used.
    fresh: u32,
    /// Zeroed, durably.
    free: BTreeSet<u32>,
    /// Not used any more, their headers zeroed, if not durably.
    retired: BTreeSet<u32>,
    /// Their headers zeroed durably: now their checksums may be.
    nameless: BTreeSet<u32>,
    /// Counts what was asked to be synced, and what was.
    wanted: u64,
    done: u64,
    syncing: bool,
    /// A sync failed: nobody knows what the disk holds of what came after the one before.
    failed: bool,
    /// Being given back to the file system.
    closed: bool,
}

impl Segment {
    /// Makes an empty one, durably, but for its name.
    pub(super) fn create(io: &dyn Io, path: &Path, number: u64, data: u64) -> io::Result<Self> {
        let slots = u32::try_from(SEGMENT_BYTES / slot_bytes(data)).expect("below 2^16");
        let file = io.open(path, OpenMode::CreateNew)?;
        file.write_all_at(0, &encode(slots, data))?;
        file.sync_data()?;
        Ok(Self { file, number, data, slots, state: Mutex::default(), synced: Condvar::new() })
    }

    /// Opens one that is there. `None` when it was made and never synced; an error says why it can't be used.
    pub(super) fn open(io: &dyn Io, path: &Path, number: u64) -> Result<Option<Self>, String> {
        let told = |error: io::Error| error.to_string();
        let file = io.open(path, OpenMode::Existing).map_err(told)?;
        let header = file.read_at(0, FIELDS).map_err(told)?;
        if header.iter().all(|byte| *byte == 0) && file.len().map_err(told)? <= SEGMENT_HEADER_BYTES {
            return Ok(None);
        }
        let (slots, data) = decode(&header)?;
        // It may be in the page cache only, where a sync that failed before this start left it and a later one does not look for it.
        let failed = file.write_all_at(0, &header).is_err();
        let state = Mutex::new(State { failed, ..State::default() });
        Ok(Some(Self { file, number, data, slots, state, synced: Condvar::new() }))
    }

    /// Gives every slot that is in use to `look`, which keeps it by keeping the file, and notes which are free.
    pub(super) fn scan(self: &Arc<Self>, mut look: impl FnMut(Arc<SlotFile>)) -> io::Result<()> {
        let length = self.file.len()?;
        let size = slot_bytes(self.data);
        let present = length.saturating_sub(SEGMENT_HEADER_BYTES).div_ceil(size).min(u64::from(self.slots));
        let present = u32::try_from(present).expect("at most the slots");
        self.state.lock().fresh = present;
        for number in 0..present {
            let base = self.base(number);
            let front = self.file.read_at(base, front(self.data))?;
            if front.iter().take(HEADER_BYTES).any(|byte| *byte != 0) {
                look(self.slot(number, (length - base).min(size)));
            } else {
                // What is read may not be on the disk.
                self.state.lock().retired.insert(number);
            }
        }
        Ok(())
    }

    /// Whether a free slot is there, or room for one.
    fn has_room(&self, state: &State) -> bool {
        !state.failed && !state.closed && (!state.free.is_empty() || state.fresh < self.slots)
    }

    /// A slot for a new replica.
    pub(super) fn take(self: &Arc<Self>) -> Option<Arc<SlotFile>> {
        let mut state = self.state.lock();
        if !self.has_room(&state) {
            return None;
        }
        let number = state.free.pop_first().unwrap_or_else(|| {
            state.fresh += 1;
            state.fresh - 1
        });
        drop(state);
        Some(self.slot(number, 0))
    }

    /// How many slots were used so far: those from there on never were.
    pub(super) fn used(&self) -> u32 {
        self.state.lock().fresh
    }

    /// How many slots there are, how many of them hold a replica, and how many could take one, once what was in them is forgotten durably.
    pub(super) fn counts(&self) -> (u32, u32, u32) {
        let state = self.state.lock();
        let idle = state.free.len() + state.retired.len() + state.nameless.len();
        let live = state.fresh.saturating_sub(u32::try_from(idle).unwrap_or(u32::MAX));
        let spare = if state.failed || state.closed { 0 } else { self.slots - live };
        (self.slots, live, spare)
    }

    /// The header page of a slot.
    pub(super) fn header(&self, slot: u32) -> io::Result<Bytes> {
        self.file.read_at(self.base(slot), HEADER_BYTES)
    }

    /// Whether slots may become free by a sync.
    pub(super) fn has_retired(&self) -> bool {
        let state = self.state.lock();
        let waiting = state.retired.len() + state.nameless.len();
        waiting > 0 && !state.failed && !state.closed
    }

    /// Takes the segment out of use if no replica is in it, so that its file can be removed.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut state = self.state.lock();
        let idle = state.free.len() + state.retired.len() + state.nameless.len();
        state.closed |= idle == state.fresh as usize && !state.syncing;
        state.closed
    }

    /// Makes everything durable that was written before this was called. Those who come while a sync is under way share the next one.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.wanted += 1;
        let mine = state.wanted;
        while state.done < mine && !state.failed {
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            state.syncing = true;
            let upto = state.wanted;
            let (retired, nameless) = (std::mem::take(&mut state.retired), std::mem::take(&mut state.nameless));
            drop(state);
            let outcome = self.zero(&nameless).and_then(|()| self.file.sync_data());
            state = self.state.lock();
            state.syncing = false;
            match &outcome {
                Ok(()) => {
                    state.done = upto;
                    state.nameless.extend(retired);
                    state.free.extend(nameless);
                }
                Err(_) => state.failed = true,
            }
            self.synced.notify_all();
            outcome?;
        }
        if state.done < mine {
            return Err(io::Error::other(
                "a sync of this segment failed before; it can't be trusted until the store is opened again",
            ));
        }
        Ok(())
    }

    fn zero(&self, slots: &BTreeSet<u32>) -> io::Result<()> {
        let zeros = vec![0; front(self.data)];
        slots.iter().try_for_each(|slot| self.file.write_all_at(self.base(*slot), &zeros))
    }

    fn base(&self, slot: u32) -> u64 {
        SEGMENT_HEADER_BYTES + u64::from(slot) * slot_bytes(self.data)
    }

    fn slot(self: &Arc<Self>, number: u32, length: u64) -> Arc<SlotFile> {
        Arc::new(SlotFile {
            segment: Arc::clone(self),
            number,
            length: AtomicU64::new(length),
            retired: AtomicBool::new(false),
        })
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("number", &self.number).field("data", &self.data).finish_non_exhaustive()
    }
}

/// One slot, as the file of one replica.
#[derive(Debug)]
pub(super) struct SlotFile {
    segment: Arc<Segment>,
    number: u32,
    /// Where the replica's file would end.
    length: AtomicU64,
    /// The replica is gone, and the slot is free when nobody has it open any more.
    retired: AtomicBool,
}

impl SlotFile {
    /// Whether it is this slot of this segment.
    pub(super) fn is(&self, segment: &Segment, number: u32) -> bool {
        (self.segment.number, self.number) == (segment.number, number)
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(super) fn layout(&self) -> Layout {
        Layout { capacity: self.segment.data }
    }

    pub(super) fn footprint(&self) -> u64 {
        slot_bytes(self.segment.data)
    }

    /// Forgets the replica. Its readers read on; durable in time.
    pub(super) fn retire(&self) -> io::Result<()> {
        // Not the checksums, which a reader may still need.
        self.segment.file.write_all_at(self.segment.base(self.number), &[0; HEADER_BYTES])?;
        self.retired.store(true, Ordering::Release);
        Ok(())
    }

    /// For people.
    pub(super) fn place(&self) -> String {
        format!("slot {} of segment {:016x}", self.number, self.segment.number)
    }

    /// As much of a range as is there.
    fn within(&self, offset: u64, length: usize) -> usize {
        let within = self.length.load(Ordering::Acquire).saturating_sub(offset);
        usize::try_from(within).unwrap_or(usize::MAX).min(length)
    }

    fn outside() -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, "outside of the slot")
    }
}

impl Drop for SlotFile {
    fn drop(&mut self) {
        // One that was not retired stays out of use until the next start: what is in it is nobody's to judge.
        if *self.retired.get_mut() {
            self.segment.state.lock().retired.insert(self.number);
        }
    }
}

impl IoFile for SlotFile {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.segment.file.read_at(self.segment.base(self.number) + offset, self.within(offset, length))
    }

    fn read_into(&self, offset: u64, length: usize, buffer: Vec<u8>) -> io::Result<Bytes> {
        let at = self.segment.base(self.number) + offset;
        self.segment.file.read_into(at, self.within(offset, length), buffer)
    }

    fn read_cached(&self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.length.load(Ordering::Acquire) => {
                self.segment.file.read_cached(self.segment.base(self.number) + offset, length)
            }
            _ => Ok(None),
        }
    }

    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(data.len() as u64).ok_or_else(Self::outside)?;
        if end > self.footprint() {
            return Err(Self::outside());
        }
        self.segment.file.write_all_at(self.segment.base(self.number) + offset, data)?;
        self.length.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    fn write_parts_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let length = parts.iter().map(|part| part.len() as u64).sum();
        let end = offset.checked_add(length).filter(|end| *end <= self.footprint()).ok_or_else(Self::outside)?;
        self.segment.file.write_parts_at(self.segment.base(self.number) + offset, parts)?;
        self.length.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.length.load(Ordering::Acquire))
    }

    /// Only what counts changes: what lies behind the end is proved by nothing.
    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > self.footprint() {
            return Err(Self::outside());
        }
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.segment.sync()
    }

    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()> {
        self.segment.file.start_writeback(self.segment.base(self.number) + offset, length)
    }

    fn drop_cached(&self, offset: u64, length: u64) -> io::Result<()> {
        self.segment.file.drop_cached(self.segment.base(self.number) + offset, length)
    }
}

fn encode(slots: u32, data: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(FIELDS);
    header.put_slice(&MAGIC);
    header.put_u32(VERSION);
    header.put_u32(slots);
    header.put_u64(data);
    header.put_u32(crc32c(&header));
    header
}

fn decode(header: &[u8]) -> Result<(u32, u64), String> {
    let Some(mut rest) = header.get(..FIELDS).filter(|header| header.starts_with(&MAGIC)) else {
        return Err("its header is damaged".to_owned());
    };
    let sum = crc32c(&header[..FIELDS - CHECKSUM_BYTES]);
    rest.advance(MAGIC.len());
    let (version, slots, data) = (rest.get_u32(), rest.get_u32(), rest.get_u64());
    if rest.get_u32() != sum {
        return Err("its header is damaged".to_owned());
    }
    if version != VERSION {
        return Err(format!("it has format {version}, this program knows {VERSION}"));
    }
    if data == 0 || data > MAX_DATA || class_of(data) != data || u64::from(slots) > SEGMENT_BYTES / slot_bytes(data) {
        return Err(format!("its header tells of {slots} slots of {data} bytes"));
    }
    Ok((slots, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_for_and_idle_little() {
        let mut classes = BTreeSet::new();
        for length in (0..=MAX_DATA).step_by(511).chain([MAX_DATA, 65_536, 65_537]) {
            let class = class_of(length);
            assert!(class >= length && class <= MAX_DATA, "{length}");
            assert_eq!(class_of(class), class);
            assert!(length <= 4_096 || (class - length) * 3 <= class + 3 * 4_096, "{length} in {class}");
            classes.insert(class);
        }
        assert_eq!(class_of(65_536), 65_536);
        assert!(classes.len() < 20);
    }

    #[test]
    fn headers_that_lie_or_rot_are_refused() {
        let header = encode(20, 65_536);
        assert_eq!(decode(&header), Ok((20, 65_536)));
        for bit in 0..header.len() * 8 {
            let mut bad = header.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            decode(&bad).expect_err("a flipped bit");
        }
        for (slots, data) in [(u32::MAX, 65_536), (1, 0), (1, 65_537), (1, 2 << 20), (1, u64::MAX)] {
            decode(&encode(slots, data)).expect_err("a lie");
        }
        decode(&header[..20]).expect_err("short");
    }
}
