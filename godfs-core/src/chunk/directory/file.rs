//! One replica's file: its header, its checksums and its data, and the order in which they are changed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::segment::SlotFile;
use super::whole::Whole;
use crate::checksum::{CHECKSUM_BYTES, PIECE, crc32c};
use crate::chunk::MAX_PACKET_BYTES;
use crate::chunk::format::{
    HEADER_BYTES, Header, HeaderFault, Layout, RECORD_BYTES, Record, RecordState, SLOT_BYTES, SLOTS,
};
use crate::chunk::rules::{Extension, checksum_at, piece_start};
use crate::io::IoFile;

/// An open file that a writer and any number of readers share, also after it was renamed or removed.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) file: Arc<dyn IoFile>,
    pub(super) layout: Layout,
    /// The most bytes that the chunk may ever hold; a place among others has room for fewer.
    pub(super) capacity: u64,
    /// The lengths to which the file was cut since it was opened, each told before the file is touched.
    cuts: Mutex<Vec<u64>>,
}

impl Share {
    fn new(file: Arc<dyn IoFile>, layout: Layout, capacity: u64) -> Self {
        Self { file, layout, capacity, cuts: Mutex::default() }
    }

    /// A replica that has no file of its own.
    pub(super) fn of_place(place: &Arc<SlotFile>, capacity: u64) -> Self {
        Self::new(Arc::clone(place) as _, place.layout(), capacity)
    }

    /// How many cuts there were.
    pub(super) fn cuts(&self) -> usize {
        self.cuts.lock().len()
    }

    /// The bytes that no cut has touched after the first `seen` of them.
    pub(super) fn untouched_since(&self, seen: usize) -> u64 {
        self.cuts.lock().iter().skip(seen).copied().min().unwrap_or(u64::MAX)
    }

    /// Lets go of the memory that caches the first `length` bytes of data and what stands before them, as far as they are on the disk.
    pub(super) fn drop_cached(&self, length: u64) {
        // Only a hint.
        let _ = self.file.drop_cached(0, self.layout.data_at(length));
    }

    /// The same of the data alone: the header will be written to soon, and would have to be read for that.
    pub(super) fn drop_cached_data(&self, length: u64) {
        let _ = self.file.drop_cached(self.layout.data_at(0), length);
    }

    /// The stored checksums of whole pieces, as many as are there.
    pub(super) fn checksums(&self, first_piece: u64, count: usize) -> io::Result<Bytes> {
        self.file.read_at(self.layout.checksum_at(first_piece), count * CHECKSUM_BYTES)
    }

    pub(super) fn data(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.file.read_at(self.layout.data_at(offset), length)
    }

    /// The same into memory of the caller's.
    pub(super) fn data_into(&self, offset: u64, length: usize, buffer: Vec<u8>) -> io::Result<Bytes> {
        self.file.read_into(self.layout.data_at(offset), length, buffer)
    }

    /// Data and checksums, of what is in memory.
    pub(super) fn cached(&self, offset: u64, length: usize, pieces: usize) -> io::Result<Option<(Bytes, Bytes)>> {
        let Some(data) = self.file.read_cached(self.layout.data_at(offset), length)? else { return Ok(None) };
        if pieces == 0 {
            return Ok(Some((data, Bytes::new())));
        }
        let at = self.layout.checksum_at(offset / PIECE as u64);
        Ok(self.file.read_cached(at, pieces * CHECKSUM_BYTES)?.map(|sums| (data, sums)))
    }

    /// How many of the first `limit` bytes of data the stored checksums prove, and the checksum of the last piece if
    /// it is unfinished. `tails` are candidates for that, longest first.
    pub(super) fn prove(&self, limit: u64, tails: &[(u64, u32)]) -> io::Result<(u64, u32)> {
        let present = self.file.len()?.saturating_sub(self.layout.data_at(0)).min(limit);
        let mut proven = 0;
        while proven + PIECE as u64 <= present {
            let wanted = usize::try_from(piece_start(present) - proven).unwrap_or(usize::MAX).min(MAX_PACKET_BYTES);
            let data = self.data(proven, wanted)?;
            let sums = self.checksums(proven / PIECE as u64, wanted / PIECE)?;
            let good = data
                .chunks_exact(PIECE)
                .zip(sums.chunks_exact(CHECKSUM_BYTES))
                .take_while(|(piece, sum)| crc32c(piece) == checksum_at(sum, 0))
                .count();
            proven += (good * PIECE) as u64;
            if good * PIECE < wanted {
                break;
            }
        }
        let last = self.data(proven, usize::try_from(present - proven).unwrap_or(PIECE).min(PIECE))?;
        for (length, tail) in tails {
            if piece_start(*length) != proven || *length > present {
                continue;
            }
            let part = usize::try_from(length - proven).ok().and_then(|part| last.get(..part));
            if part.is_some_and(|part| crc32c(part) == *tail) {
                return Ok((*length, *tail));
            }
        }
        Ok((proven, 0))
    }

    /// The checksum of the bytes from the last piece boundary to `end`, verified, of a replica of `length` bytes whose own
    /// last, unfinished piece has checksum `tail`. `None` when the bytes are not what their checksum says.
    pub(super) fn tail_at(&self, end: u64, length: u64, tail: u32) -> io::Result<Option<u32>> {
        let start = piece_start(end);
        if start == end {
            return Ok(Some(0));
        }
        let stored = usize::try_from((length - start).min(PIECE as u64)).unwrap_or(PIECE);
        let data = self.data(start, stored)?;
        let wanted = if stored == PIECE { checksum_at(&self.checksums(start / PIECE as u64, 1)?, 0) } else { tail };
        if data.len() != stored || crc32c(&data) != wanted {
            return Ok(None);
        }
        Ok(Some(crc32c(&data[..usize::try_from(end - start).unwrap_or(stored)])))
    }
}

/// Why a file could not be taken for a replica.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Header(#[from] HeaderFault),
}

/// A replica's file in the hands of the one call that changes it.
#[derive(Debug)]
pub(super) struct ReplicaFile {
    pub(super) share: Arc<Share>,
    /// The newest record.
    record: Record,
    /// The last sequence given out; a record that failed to be written may be there all the same.
    sequence: u64,
    slot: usize,
    /// The slot of the newest record that is known to be durable; `None` after a start, when any could be it.
    durable: Option<usize>,
}

impl ReplicaFile {
    /// Begins an empty file. `record` gives all but the sequence and what follows from being first.
    pub(super) fn create(file: Arc<dyn IoFile>, layout: Layout, record: Record) -> io::Result<Self> {
        let record = Record { cut: false, sequence: 1, floor: 1, length: 0, tail: 0, ..record };
        file.write_all_at(0, &record.encode())?;
        let share = Arc::new(Share::new(file, layout, record.capacity));
        // Nothing older can be lost, but the first record is kept until another is durable.
        Ok(Self { share, record, sequence: 1, slot: 0, durable: Some(0) })
    }

    /// Begins a file that is whole at once: header, checksums and data in one write. Its record follows on `record`.
    pub(super) fn create_whole(
        file: Arc<dyn IoFile>,
        layout: Layout,
        record: Record,
        whole: &Whole<'_>,
    ) -> io::Result<Self> {
        let Extension { length, tail, ref checksums, .. } = whole.extension;
        let (state, sequence) = (RecordState::Unproven, record.sequence + 1);
        let record = Record { state, cut: false, sequence, floor: sequence, length, tail, ..record };
        let mut front = vec![0; usize::try_from(layout.data_at(0)).unwrap_or(HEADER_BYTES)];
        front[..RECORD_BYTES].copy_from_slice(&record.encode());
        front[HEADER_BYTES..HEADER_BYTES + checksums.len()].copy_from_slice(checksums);
        file.write_parts_at(0, &[&front, &whole.packet.data])?;
        let share = Arc::new(Share::new(file, layout, record.capacity));
        Ok(Self { share, record, sequence, slot: 0, durable: None })
    }

    /// All that was written is durable by now.
    pub(super) fn synced(&mut self) {
        self.durable = Some(self.slot);
    }

    /// Reads the header of a file that is open already.
    pub(super) fn load(share: Arc<Share>) -> Result<(Self, Header), LoadError> {
        let header = read_header(share.file.as_ref())?;
        Ok((Self::found(share, &header), header))
    }

    /// Opens a file that was not open.
    pub(super) fn open(file: Arc<dyn IoFile>) -> Result<(Self, Header), LoadError> {
        let header = read_header(file.as_ref())?;
        let share = Arc::new(Share::new(file, header.newest.layout(), header.newest.capacity));
        Ok((Self::found(share, &header), header))
    }

    /// Opens a replica that has no file of its own.
    pub(super) fn open_in(place: &Arc<SlotFile>) -> Result<(Self, Header), LoadError> {
        let header = read_header(place.as_ref())?;
        let share = Arc::new(Share::of_place(place, header.newest.capacity));
        Ok((Self::found(share, &header), header))
    }

    fn found(share: Arc<Share>, header: &Header) -> Self {
        let record = header.newest;
        Self { share, record, sequence: record.sequence, slot: header.slot, durable: None }
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// The next record has a sequence above `sequence`: the file takes the place of one that had it.
    pub(super) fn outrank(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Writes the first `length` bytes of data once more, with their checksums and the header, as a start found them: a sync that failed before it may
    /// have left them in the page cache only, and a later one does not look for them there. Durable with the next sync.
    pub(super) fn write_again(&self, length: u64) -> io::Result<()> {
        let Share { file, layout, .. } = &*self.share;
        let checksums = layout.checksum_at(0)..layout.checksum_at(length / PIECE as u64);
        for part in [0..HEADER_BYTES as u64, checksums, layout.data_at(0)..layout.data_at(length)] {
            let mut at = part.start;
            while at < part.end {
                let step = usize::try_from(part.end - at).unwrap_or(MAX_PACKET_BYTES).min(MAX_PACKET_BYTES);
                let bytes = file.read_at(at, step)?;
                if bytes.is_empty() {
                    break;
                }
                file.write_all_at(at, &bytes)?;
                at += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.share.file.sync_data()?;
        self.durable = Some(self.slot);
        Ok(())
    }

    /// Writes a record that differs from the newest one as `change` says.
    pub(super) fn put(&mut self, change: impl FnOnce(&mut Record)) -> io::Result<()> {
        let durable = match self.durable {
            Some(slot) => slot,
            None => {
                self.sync()?;
                self.slot
            }
        };
        let mut record = self.record;
        change(&mut record);
        self.sequence += 1;
        record.sequence = self.sequence;
        let slot = (0..SLOTS).find(|slot| *slot != durable && *slot != self.slot).expect("more than two slots");
        self.share.file.write_all_at((slot * SLOT_BYTES) as u64, &record.encode())?;
        (self.record, self.slot) = (record, slot);
        Ok(())
    }

    /// Writes fresh bytes at `offset`, then the checksums of the pieces that they complete. `direct`: nobody is expected to read the bytes soon.
    pub(super) fn write(
        &self,
        offset: u64,
        data: &[u8],
        (first_piece, checksums): (u64, &[u8]),
        direct: bool,
    ) -> io::Result<()> {
        let (file, at) = (&self.share.file, self.share.layout.data_at(offset));
        if direct {
            file.write_direct_at(at, data)?;
        } else {
            file.write_all_at(at, data)?;
        }
        if checksums.is_empty() {
            return Ok(());
        }
        self.share.file.write_all_at(self.share.layout.checksum_at(first_piece), checksums)
    }

    /// Cuts the replica to `length`, whose last unfinished piece then has checksum `tail`, in the same step as `change`. All
    /// but the last record is durable on return.
    pub(super) fn cut(&mut self, length: u64, tail: u32, change: impl FnOnce(&mut Record)) -> io::Result<()> {
        self.sync()?;
        let floor = self.sequence + 1;
        self.put(|record| {
            change(record);
            (record.cut, record.floor, record.length, record.tail) = (true, floor, length, tail);
        })?;
        self.sync()?;
        self.finish_cut()
    }

    /// Does what the cut flag of the newest record asks for.
    pub(super) fn finish_cut(&mut self) -> io::Result<()> {
        let length = self.record.length;
        self.share.cuts.lock().push(length);
        self.drop_beyond(length)?;
        self.sync()?;
        self.put(|record| record.cut = false)
    }

    /// Takes back what a failed write may have left beyond `length`: bytes that nobody was told of.
    pub(super) fn take_back(&mut self, length: u64) -> io::Result<()> {
        self.drop_beyond(length)?;
        // The record of the failed write, if it is there, must not prove anything either.
        self.record.floor = self.sequence + 1;
        Ok(())
    }

    /// Whether the file ends where its data does.
    pub(super) fn ends_at(&self, length: u64) -> io::Result<bool> {
        let present = self.share.file.len()?;
        Ok(present == self.share.layout.data_at(length) || (length == 0 && present < self.share.layout.data_at(0)))
    }

    fn drop_beyond(&self, length: u64) -> io::Result<()> {
        let (file, layout) = (&self.share.file, self.share.layout);
        file.set_len(layout.data_at(length))?;
        // Only what is not zero is written: most of the region never was.
        let mut at = layout.checksum_at(length / PIECE as u64);
        while at < layout.data_at(0) {
            let page = (at + 1).next_multiple_of(HEADER_BYTES as u64);
            let part = file.read_at(at, usize::try_from(page - at).unwrap_or(HEADER_BYTES))?;
            if part.iter().any(|byte| *byte != 0) {
                file.write_all_at(at, &vec![0; part.len()])?;
            }
            at = page;
        }
        Ok(())
    }
}

fn read_header(file: &dyn IoFile) -> Result<Header, LoadError> {
    Ok(Header::decode(&file.read_at(0, HEADER_BYTES)?)?)
}
