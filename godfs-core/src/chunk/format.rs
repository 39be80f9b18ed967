//! The format of one replica on disk: one file, or one slot of a segment with room for less than the capacity, version 1.
//!
//! ```text
//! 0        header page: 8 slots of 512 bytes, each empty (zero) or one record
//! 4096     checksums: one big-endian CRC32C for each whole piece of 4 KiB,
//!          room for as many as the capacity needs, rounded up to whole pages
//! D        data, from byte 0 of the chunk
//!
//! record, big endian
//!  0  magic        8  "GoDFSrep"
//!  8  version      4  1
//! 12  state        1  1 being written, 2 unproven, 3 finalized
//! 13  flags        1  bit 0: cut, bit 1: a copy in flight, in a segment, bit 2: sealed
//! 14  zero         2
//! 16  sequence     8  grows with every record of this file, from 1
//! 24  floor        8  records with a sequence below it prove nothing
//! 32  chunk        8
//! 40  generation   8
//! 48  recovered    8  the highest generation a recovery began with, or 0
//! 56  capacity     8  the most bytes of data, fixes D
//! 64  length       8  bytes of data when the record was written
//! 72  tail         4  CRC32C of the data after the last whole piece, 0 if there is none
//! 76  checksum     4  CRC32C of bytes 0..76
//! ```
//!
//! **Torn writes.** A disk writes sectors of 512 bytes whole, in any order. A record lies in one sector, so it is there
//! or it is not; the valid record with the highest sequence counts. A new record goes to a slot that is neither the
//! newest one's nor that of the newest record known to be durable, so neither a torn write nor a lost one can take
//! back what was synced.
//!
//! **What proves a byte.** A whole piece is proved by its entry in the checksum region; the last, unfinished piece by
//! the (length, tail) of a record. An append writes data, then the entries of the pieces it completed, then, when it
//! ends inside a piece, a record. Bytes that are there are never rewritten with other values, so a piece that was
//! durable as far as an older record tells is still proved by that record, whatever part of a later append reached the disk.
//!
//! **Cutting** a replica changes such bytes. It goes: sync; a record with the new length, the cut flag and a floor that voids all older
//! ones; sync; cut the file and zero the checksum entries behind the new end; sync; a record without the flag. While the flag is set, what
//! lies beyond the record's length does not count.
//!
//! **Which state to trust.** `finalized` is written only when the data is durable already, or in a file that is given its
//! final name only after a sync; in a segment, where nothing is renamed, only after a sync of an `unproven` record with the data. `sealed` says that
//! it was not known yet whether the nodes behind have the replica, too. `unproven` is a replica that was finalized without waiting for the disk.

use bytes::{Buf, BufMut};

use super::MAX_CHUNK_BYTES;
use crate::checksum::{CHECKSUM_BYTES, PIECE, crc32c, pieces};
use crate::id::{ChunkId, Generation};

/// The version that this code writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 4_096;
/// Bytes of one slot: what a disk writes whole.
pub const SLOT_BYTES: usize = 512;
/// Slots in the header.
pub const SLOTS: usize = HEADER_BYTES / SLOT_BYTES;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 80;

const MAGIC: [u8; 8] = *b"GoDFSrep";
const PAGE: u64 = 4_096;
const FLAG_CUT: u8 = 1;
const FLAG_TEMPORARY: u8 = 2;
const FLAG_SEALED: u8 = 4;

/// Where the parts of a replica's file lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The most bytes of data.
    pub capacity: u64,
}

impl Layout {
    /// Where the checksum of a piece lies.
    #[must_use]
    pub const fn checksum_at(self, piece: u64) -> u64 {
        HEADER_BYTES as u64 + piece * CHECKSUM_BYTES as u64
    }

    /// Where byte `offset` of the chunk lies. `data_at(0)` is also where the checksums end.
    #[must_use]
    pub const fn data_at(self, offset: u64) -> u64 {
        HEADER_BYTES as u64 + checksum_pages(pieces(self.capacity)) + offset
    }
}

/// The room that a replica of `length` bytes takes on a disk: the parts of the checksum region that were never written take none.
#[must_use]
pub const fn footprint(length: u64) -> u64 {
    HEADER_BYTES as u64 + checksum_pages(pieces(length)) + length.next_multiple_of(PAGE)
}

const fn checksum_pages(pieces: u64) -> u64 {
    (pieces * CHECKSUM_BYTES as u64).next_multiple_of(PAGE)
}

/// The state that a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// Being written, or it was when its datanode stopped.
    Writing,
    /// Whole when its datanode had it in memory; whether it reached the disk has to be seen.
    Unproven,
    /// Whole and on the disk.
    Finalized,
}

/// One record of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The state.
    pub state: RecordState,
    /// Whether what lies beyond `length` has still to be cut off.
    pub cut: bool,
    /// Whether it is a copy in flight that has no file of its own, whose directory would tell.
    pub temporary: bool,
    /// Whether it was whole before it was known that the nodes behind this one have it.
    pub sealed: bool,
    /// Grows with every record of a file.
    pub sequence: u64,
    /// Records with a lower sequence prove nothing any more.
    pub floor: u64,
    /// The chunk.
    pub chunk: ChunkId,
    /// The generation of the replica.
    pub generation: Generation,
    /// The highest generation that a recovery began with.
    pub recovered: Generation,
    /// The most bytes of data.
    pub capacity: u64,
    /// Bytes of data when the record was written.
    pub length: u64,
    /// CRC32C of the data after the last whole piece; 0 when there is none.
    pub tail: u32,
}

impl Record {
    /// Where things lie.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        Layout { capacity: self.capacity }
    }

    /// The bytes of the record.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u32(VERSION);
        out.put_u8(match self.state {
            RecordState::Writing => 1,
            RecordState::Unproven => 2,
            RecordState::Finalized => 3,
        });
        let flags = [(self.cut, FLAG_CUT), (self.temporary, FLAG_TEMPORARY), (self.sealed, FLAG_SEALED)];
        out.put_u8(flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag));
        out.put_u16(0);
        out.put_u64(self.sequence);
        out.put_u64(self.floor);
        out.put_u64(self.chunk.get());
        out.put_u64(self.generation.get());
        out.put_u64(self.recovered.get());
        out.put_u64(self.capacity);
        out.put_u64(self.length);
        out.put_u32(self.tail);
        let sum = crc32c(&bytes[..RECORD_BYTES - CHECKSUM_BYTES]);
        bytes[RECORD_BYTES - CHECKSUM_BYTES..].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// Reads a record from a slot.
    #[must_use]
    pub fn decode(slot: &[u8]) -> Slot {
        let Some(mut bytes) = slot.get(..RECORD_BYTES) else { return Slot::Damaged };
        if slot.iter().all(|byte| *byte == 0) {
            return Slot::Empty;
        }
        let found = crc32c(&bytes[..RECORD_BYTES - CHECKSUM_BYTES]);
        if !bytes.starts_with(&MAGIC) {
            return Slot::Damaged;
        }
        bytes.advance(MAGIC.len());
        let version = bytes.get_u32();
        let (state, flags, zero) = (bytes.get_u8(), bytes.get_u8(), bytes.get_u16());
        let record = Self {
            state: match state {
                1 => RecordState::Writing,
                2 => RecordState::Unproven,
                _ => RecordState::Finalized,
            },
            cut: flags & FLAG_CUT != 0,
            temporary: flags & FLAG_TEMPORARY != 0,
            sealed: flags & FLAG_SEALED != 0,
            sequence: bytes.get_u64(),
            floor: bytes.get_u64(),
            chunk: ChunkId(bytes.get_u64()),
            generation: Generation(bytes.get_u64()),
            recovered: Generation(bytes.get_u64()),
            capacity: bytes.get_u64(),
            length: bytes.get_u64(),
            tail: bytes.get_u32(),
        };
        if bytes.get_u32() != found {
            return Slot::Damaged;
        }
        if version > VERSION {
            return Slot::Newer(version);
        }
        let sound = version == VERSION
            && matches!(state, 1..=3)
            && flags & !(FLAG_CUT | FLAG_TEMPORARY | FLAG_SEALED) == 0
            && zero == 0
            && record.sequence > 0
            && record.capacity <= MAX_CHUNK_BYTES
            && record.length <= record.capacity
            && (record.tail == 0 || !record.length.is_multiple_of(PIECE as u64));
        if sound { Slot::Record(record) } else { Slot::Damaged }
    }
}

/// What a slot of the header holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing was ever written to it.
    Empty,
    /// Neither nothing nor a record: torn or rotten.
    Damaged,
    /// A record of a format that this code does not know.
    Newer(u32),
    /// A record.
    Record(Record),
}

/// All that the header page of a file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The record that counts.
    pub newest: Record,
    /// The slot it lies in.
    pub slot: usize,
    /// Every (length, tail) that may prove an unfinished piece, longest first.
    pub tails: Vec<(u64, u32)>,
}

/// Why a header page cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Nothing was ever written to it.
    #[error("the header is empty")]
    Empty,
    /// No record in it is whole.
    #[error("no record of the header is whole")]
    Damaged,
    /// It was written by a newer program.
    #[error("the header has format {0}, this program knows up to {VERSION}")]
    Newer(u32),
}

impl Header {
    /// Reads a header page; what is missing at its end counts as zero.
    ///
    /// # Errors
    /// When no record can be used, or one is of a newer format.
    pub fn decode(page: &[u8]) -> Result<Self, HeaderFault> {
        let mut padded = [0; HEADER_BYTES];
        let known = page.len().min(HEADER_BYTES);
        padded[..known].copy_from_slice(&page[..known]);
        let mut newest: Option<(usize, Record)> = None;
        let mut records = Vec::with_capacity(SLOTS);
        let mut empty = true;
        for (number, slot) in padded.chunks_exact(SLOT_BYTES).enumerate() {
            match Record::decode(slot) {
                Slot::Empty => continue,
                Slot::Newer(version) => return Err(HeaderFault::Newer(version)),
                Slot::Damaged => {}
                Slot::Record(record) => {
                    records.push(record);
                    if newest.is_none_or(|(_, other)| record.sequence > other.sequence) {
                        newest = Some((number, record));
                    }
                }
            }
            empty = false;
        }
        let Some((slot, newest)) = newest else {
            return Err(if empty { HeaderFault::Empty } else { HeaderFault::Damaged });
        };
        let mut tails: Vec<_> = records
            .iter()
            .filter(|record| record.sequence >= newest.floor && record.chunk == newest.chunk)
            .filter(|record| record.capacity == newest.capacity && !record.length.is_multiple_of(PIECE as u64))
            .map(|record| (record.length, record.tail))
            .collect();
        tails.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self { newest, slot, tails })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, length: u64) -> Record {
        Record {
            state: RecordState::Writing,
            cut: false,
            temporary: false,
            sealed: false,
            sequence,
            floor: 1,
            chunk: ChunkId(7),
            generation: Generation(3),
            recovered: Generation(2),
            capacity: 1 << 20,
            length,
            tail: 9,
        }
    }

    fn page(records: &[(usize, Record)]) -> Vec<u8> {
        let mut page = vec![0; HEADER_BYTES];
        for (slot, record) in records {
            page[slot * SLOT_BYTES..][..RECORD_BYTES].copy_from_slice(&record.encode());
        }
        page
    }

    #[test]
    fn a_record_survives_its_bytes_and_no_flipped_bit_goes_unseen() {
        let record =
            Record { state: RecordState::Finalized, cut: true, temporary: true, sealed: true, ..record(5, 100) };
        let mut slot = vec![0; SLOT_BYTES];
        slot[..RECORD_BYTES].copy_from_slice(&record.encode());
        assert_eq!(Record::decode(&slot), Slot::Record(record));
        for bit in 0..RECORD_BYTES * 8 {
            slot[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&slot), Slot::Damaged, "bit {bit}");
            slot[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Record::decode(&[]), Slot::Damaged);
        assert_eq!(Record::decode(&[0; SLOT_BYTES]), Slot::Empty);
    }

    #[test]
    fn lengths_that_lie_are_damage_even_with_a_good_checksum() {
        for bad in [
            Record { length: (1 << 20) + 1, ..record(1, 0) },
            Record { capacity: u64::MAX, ..record(1, 0) },
            Record { length: 4_096, ..record(1, 0) },
            record(0, 1),
        ] {
            assert_eq!(Record::decode(&bad.encode()), Slot::Damaged, "{bad:?}");
        }
    }

    #[test]
    fn the_newest_whole_record_counts() {
        let mut page = page(&[(0, record(4, 100)), (1, record(6, 200)), (2, record(5, 150))]);
        let header = Header::decode(&page).expect("three records");
        assert_eq!((header.slot, header.newest.length), (1, 200));
        assert_eq!(header.tails, [(200, 9), (150, 9), (100, 9)]);
        page[SLOT_BYTES + 70] ^= 1;
        let header = Header::decode(&page).expect("two records");
        assert_eq!((header.slot, header.newest.length), (2, 150));
        assert_eq!(header.tails, [(150, 9), (100, 9)]);
    }

    #[test]
    fn a_floor_voids_older_records() {
        let newest = Record { floor: 6, ..record(6, 50) };
        let header = Header::decode(&page(&[(0, record(4, 100)), (1, newest)])).expect("two records");
        assert_eq!(header.tails, [(50, 9)]);
    }

    #[test]
    fn pages_without_a_record_say_why() {
        assert_eq!(Header::decode(&[]), Err(HeaderFault::Empty));
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), Err(HeaderFault::Empty));
        assert_eq!(Header::decode(&[1; 100]), Err(HeaderFault::Damaged));
        let mut newer = page(&[(0, record(1, 1))]);
        newer[11] = 2;
        let sum = crc32c(&newer[..76]);
        newer[76..80].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Header::decode(&newer), Err(HeaderFault::Newer(2)));
    }

    #[test]
    fn parts_are_page_aligned_and_do_not_overlap() {
        for capacity in [0, 1, 4_096, 4_097, 4 << 20, 128 << 20, MAX_CHUNK_BYTES] {
            let layout = Layout { capacity };
            assert_eq!(layout.data_at(0) % PAGE, 0);
            assert!(layout.checksum_at(pieces(capacity)) <= layout.data_at(0));
        }
        assert_eq!(Layout { capacity: 128 << 20 }.data_at(0), 4_096 + (128 << 10));
        assert_eq!(footprint(0), 4_096);
        assert_eq!(footprint(1), 3 * 4_096);
    }
}
