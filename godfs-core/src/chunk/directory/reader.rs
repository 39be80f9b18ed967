//! Readers of a replica.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::file::Share;
use super::index::Live;
use crate::checksum::{self, CHECKSUM_BYTES, PIECE, crc32c};
use crate::chunk::format::HEADER_BYTES;
use crate::chunk::rules::{piece_start, read_range};
use crate::chunk::{LocalFile, Packet, Replica, ReplicaReader};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::io::read_buffer;

/// Reads one replica by its open file.
#[derive(Debug)]
pub(super) struct DirectoryReader {
    pub(super) env: Env,
    pub(super) share: Arc<Share>,
    /// How many cuts of the file came before what this reader sees.
    pub(super) cuts: usize,
    pub(super) view: View,
}

/// What a reader sees of the file.
#[derive(Clone, Debug)]
pub(super) enum View {
    /// All of a replica as it was when it was opened, with the checksum of its last, unfinished piece.
    Fixed(Replica, u32),
    /// What is published of a replica as it is being written.
    Live(Replica, Arc<Live>),
}

/// Where things end at one moment.
#[derive(Clone, Copy, Debug)]
struct Ends {
    visible: u64,
    length: u64,
    tail: u32,
}

impl View {
    fn replica(&self) -> Replica {
        match self {
            Self::Fixed(replica, _) => *replica,
            Self::Live(replica, live) => live.replica(replica.chunk),
        }
    }

    /// Where things end, and the file that holds all of that.
    fn ends_in(&self, opened: &Arc<Share>) -> (Ends, Arc<Share>) {
        match self {
            Self::Fixed(replica, tail) => {
                (Ends { visible: replica.visible, length: replica.length, tail: *tail }, Arc::clone(opened))
            }
            Self::Live(_, live) => {
                let ends = {
                    let progress = live.progress.lock();
                    Ends { visible: progress.visible, length: progress.length, tail: progress.tail }
                };
                // After the ends: a later file holds what an earlier one did.
                (ends, live.share())
            }
        }
    }
}

#[async_trait]
impl ReplicaReader for DirectoryReader {
    fn replica(&self) -> Replica {
        self.view.replica()
    }

    fn capacity(&self) -> u64 {
        self.share.capacity
    }

    fn read_cached(&self, offset: u64, length: usize, verify: bool) -> Option<Result<Packet>> {
        let (ends, share) = self.view.ends_in(&self.share);
        let range = read_range(offset, length, ends.visible);
        if range.is_empty() {
            return None;
        }
        // What goes wrong here is found out, and said, by who waits.
        let span = Span::of(range, ends);
        let (stored, sums) = share.cached(span.range.start, span.length(), span.whole()).ok()??;
        Some(span.packet(&share, self.cuts, &stored, sums, verify))
    }

    async fn local(&self) -> Result<Option<LocalFile>> {
        let View::Fixed(replica, tail) = self.view else { return Ok(None) };
        let (share, cuts) = (Arc::clone(&self.share), self.cuts);
        self.env
            .blocking(move || local(&share, cuts, replica, tail))
            .await
            .map_err(|error| error.context(format_args!("share chunk {}", replica.chunk)))
    }

    async fn read(&self, offset: u64, length: usize, verify: bool) -> Result<Packet> {
        let (ends, share) = self.view.ends_in(&self.share);
        let range = read_range(offset, length, ends.visible);
        if range.is_empty() {
            return Ok(Packet { offset: range.start, data: Bytes::new(), checksums: Bytes::new() });
        }
        let (cuts, chunk) = (self.cuts, self.view.replica().chunk);
        let span = Span::of(range, ends);
        let buffer = read_buffer(span.length());
        self.env
            .blocking(move || read(&share, cuts, span, buffer, verify))
            .await
            .map_err(|error| error.context(format_args!("read chunk {chunk}")))
    }
}

/// The file itself, with the header that is written anew before anything below the replica's length changes.
fn local(share: &Share, cuts: usize, replica: Replica, tail: u32) -> Result<Option<LocalFile>> {
    let failed = |error: io::Error| Error::io("its file", error);
    let Some(file) = share.file.read_only().map_err(failed)? else { return Ok(None) };
    let header = share.file.read_at(0, HEADER_BYTES).map_err(failed)?;
    if header.len() < HEADER_BYTES {
        return Err(Error::new(ErrorKind::Corrupt, "the file ends in its header"));
    }
    // After the header: a cut that came before it is seen here, a later one changes it.
    if share.untouched_since(cuts) < replica.length {
        return Err(Error::new(ErrorKind::Fenced, "the replica was cut since it was opened: open it again"));
    }
    Ok(Some(LocalFile {
        file,
        data_at: share.layout.data_at(0),
        checksums_at: share.layout.checksum_at(0),
        tail,
        guard_bytes: HEADER_BYTES as u32,
        guard: crc32c(&header),
    }))
}

/// Reads a range that begins on a piece and ends on one or at what is visible.
fn read(share: &Share, cuts: usize, span: Span, buffer: Vec<u8>, verify: bool) -> Result<Packet> {
    let failed = |error: io::Error| Error::io(format_args!("bytes {}..{}", span.range.start, span.range.end), error);
    let stored = share.data_into(span.range.start, span.length(), buffer).map_err(failed)?;
    let sums = match span.whole() {
        0 => Bytes::new(),
        whole => share.checksums(span.range.start / PIECE as u64, whole).map_err(failed)?,
    };
    span.packet(share, cuts, &stored, sums, verify)
}

/// What is read from the file for a range.
struct Span {
    range: Range<u64>,
    ends: Ends,
    /// The last piece is read as far as it is stored, because its checksum covers all of that.
    stored_end: u64,
}

impl Span {
    fn of(range: Range<u64>, ends: Ends) -> Self {
        let stored_end = range.end.next_multiple_of(PIECE as u64).min(ends.length).max(range.end);
        Self { range, ends, stored_end }
    }

    fn length(&self) -> usize {
        size(self.stored_end - self.range.start)
    }

    /// Pieces whose checksums are stored.
    fn whole(&self) -> usize {
        size(piece_start(self.stored_end) - self.range.start) / PIECE
    }

    /// The packet of what was read.
    fn packet(self, share: &Share, cuts: usize, stored: &Bytes, mut sums: Bytes, verify: bool) -> Result<Packet> {
        let Self { range, ends, stored_end } = &self;
        let (start, stored_end, whole) = (range.start, *stored_end, self.whole());
        if share.untouched_since(cuts) < stored_end {
            let message = format!("the replica was cut below {stored_end} bytes since it was opened: open it again");
            return Err(Error::new(ErrorKind::Fenced, message));
        }
        if stored.len() < self.length() || sums.len() < whole * CHECKSUM_BYTES {
            return Err(Error::new(ErrorKind::Corrupt, format!("the file ends before byte {stored_end}")));
        }
        if piece_start(stored_end) < stored_end {
            sums = joined(&sums, whole, ends.tail);
        }
        if verify {
            checksum::verify(start, stored, &sums)?;
        }
        let data = stored.slice(..size(range.end - start));
        if range.end < stored_end {
            // A checksum is made here, for the visible part of the last piece: only ever from bytes that are proved.
            let last = piece_start(range.end);
            let (number, piece) = (size(last - start) / PIECE, stored.slice(size(last - start)..));
            if !verify {
                checksum::verify(last, &piece, &sums[number * CHECKSUM_BYTES..])?;
            }
            sums = joined(&sums, number, crc32c(&data[size(last - start)..]));
        }
        Ok(Packet { offset: start, data, checksums: sums })
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a read is at most a packet")
}

/// The first `count` checksums with one more.
fn joined(sums: &[u8], count: usize, last: u32) -> Bytes {
    let mut all = BytesMut::with_capacity((count + 1) * CHECKSUM_BYTES);
    all.extend_from_slice(&sums[..count * CHECKSUM_BYTES]);
    all.extend_from_slice(&last.to_be_bytes());
    all.freeze()
}
