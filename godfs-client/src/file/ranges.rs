//! Whole ranges of a file in memory: one, or many at once.

use std::ops::Range;

use bytes::Bytes;
use futures::StreamExt;
use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::reader::Reader;

/// Ranges with at most so many bytes between them are read together: to read those costs less than to ask once more.
const GAP_BYTES: u64 = 64 << 10;
/// What is read together has no more than so many bytes, unless a single range has.
const TOGETHER_BYTES: u64 = 4 << 20;
/// Reads under way for one call: with the window of each stream, at most 32 MiB in flight.
const READS_AT_ONCE: usize = 16;
/// The first room made for the bytes of a range; more follows as they arrive. A length is only what the namenode says.
const FIRST_ROOM_BYTES: usize = 16 << 20;
/// Lost ranges that one read goes on behind; a file with more is not worth the time.
const MOST_LOST: usize = 256;

/// What a read gave: bytes by where they begin in the file, joined where they meet, and what is lost between them.
pub(super) struct Parts {
    pub(super) bytes: Vec<(u64, Bytes)>,
    lost: Vec<Range<u64>>,
    /// Why the first of it is.
    why: Option<Error>,
}

impl Parts {
    /// Reads a range, `wanted` bytes of it, as far as replicas have it.
    pub(super) async fn read(reader: &Reader, range: Range<u64>, wanted: usize) -> Result<Self> {
        let mut parts = Self { bytes: Vec::new(), lost: Vec::new(), why: None };
        let mut from = reader.range(range.clone());
        let (mut position, mut begun) = (range.start, range.start);
        let mut first = Bytes::new();
        let mut all = Vec::new();
        loop {
            match from.next().await {
                Ok(Some(bytes)) => {
                    position += bytes.len() as u64;
                    // What comes in one piece is not copied.
                    if first.is_empty() && all.is_empty() {
                        first = bytes;
                        continue;
                    }
                    for bytes in [std::mem::take(&mut first), bytes] {
                        make_room(&mut all, bytes.len(), wanted)?;
                        all.extend_from_slice(&bytes);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let Some(lost) = from.skip_lost().filter(|_| parts.lost.len() < MOST_LOST) else {
                        return Err(error);
                    };
                    parts.add(begun, &mut first, &mut all);
                    (position, begun) = (lost.end, lost.end);
                    parts.lose(lost, error);
                }
            }
        }
        parts.add(begun, &mut first, &mut all);
        debug_assert!(position <= range.end, "no more than was asked for");
        Ok(parts)
    }

    fn add(&mut self, begun: u64, first: &mut Bytes, all: &mut Vec<u8>) {
        let bytes = if all.is_empty() { std::mem::take(first) } else { std::mem::take(all).into() };
        if !bytes.is_empty() {
            self.bytes.push((begun, bytes));
        }
    }

    fn lose(&mut self, lost: Range<u64>, why: Error) {
        match self.lost.last_mut() {
            Some(last) if last.end == lost.start => last.end = lost.end,
            _ => self.lost.push(lost),
        }
        self.why.get_or_insert(why);
    }

    /// An error that names what of `range` is lost.
    pub(super) fn lost(&self, range: Range<u64>, path: &DfsPath) -> Result<()> {
        let lost: Vec<String> = self
            .lost
            .iter()
            .map(|lost| lost.start.max(range.start)..lost.end.min(range.end))
            .filter(|lost| !lost.is_empty())
            .map(|lost| format!("{}..{}", lost.start, lost.end))
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let why = self.why.as_ref().map_or("", Error::message);
        Err(Error::new(ErrorKind::Corrupt, format!("bytes {} of {path} are lost: {why}", lost.join(", "))))
    }

    /// The bytes of a range that lies in what was read.
    fn slice(&self, range: &Range<u64>, path: &DfsPath) -> Result<Bytes> {
        self.lost(range.clone(), path)?;
        let within = |begun: u64, bytes: &Bytes| begun <= range.start && range.end <= begun + bytes.len() as u64;
        let (begun, bytes) = self.bytes.iter().find(|(begun, bytes)| within(*begun, bytes)).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("bytes {}..{} of {path} are gone", range.start, range.end))
        })?;
        let size = |bytes: u64| usize::try_from(bytes).expect("a part of what is in memory");
        Ok(bytes.slice(size(range.start - begun)..size(range.end - begun)))
    }
}

/// Reads each of `ranges`, those that lie together at once.
pub(super) async fn read(reader: &Reader, ranges: &[Range<u64>]) -> Vec<Result<Bytes>> {
    let length = reader.len();
    let cut = |range: &Range<u64>| range.start.min(length)..range.end.min(length);
    let mut found: Vec<Option<Result<Bytes>>> = Vec::new();
    found.resize_with(ranges.len(), || None);
    let mut order: Vec<usize> = (0..ranges.len()).filter(|at| !cut(&ranges[*at]).is_empty()).collect();
    order.sort_by_key(|at| (ranges[*at].start, ranges[*at].end));
    let mut reads: Vec<(Range<u64>, Vec<usize>)> = Vec::new();
    for at in order {
        let range = cut(&ranges[at]);
        match reads.last_mut() {
            Some((read, members)) if joins(read, &range) => {
                read.end = read.end.max(range.end);
                members.push(at);
            }
            _ => reads.push((range, vec![at])),
        }
    }
    let mut done = futures::stream::iter(reads)
        .map(|(read, members)| async move {
            let wanted = usize::try_from(read.end - read.start).unwrap_or(usize::MAX);
            (members, Parts::read(reader, read, wanted).await)
        })
        .buffer_unordered(READS_AT_ONCE);
    while let Some((members, parts)) = done.next().await {
        for at in members {
            found[at] = Some(match &parts {
                Ok(parts) => parts.slice(&cut(&ranges[at]), reader.path()),
                Err(error) => Err(error.duplicate()),
            });
        }
    }
    found.into_iter().map(|range| range.unwrap_or_else(|| Ok(Bytes::new()))).collect()
}

/// Whether a range, which begins no earlier than `read`, is read with it.
fn joins(read: &Range<u64>, range: &Range<u64>) -> bool {
    let inside = range.end <= read.end;
    let close = range.start <= read.end.saturating_add(GAP_BYTES);
    inside || close && range.end - read.start <= TOGETHER_BYTES
}

/// Makes room for `more` bytes of `wanted` in all: twice what there was, but not beyond what is wanted.
fn make_room(all: &mut Vec<u8>, more: usize, wanted: usize) -> Result<()> {
    if all.capacity() - all.len() >= more {
        return Ok(());
    }
    let room = all.capacity().saturating_mul(2).max(FIRST_ROOM_BYTES).min(wanted);
    let needed = all.len().saturating_add(more).max(room);
    all.try_reserve_exact(needed - all.len()).map_err(|error| {
        Error::new(ErrorKind::LimitExceeded, format!("no memory for {needed} bytes at once; read them in parts"))
            .with_source(error)
            .with_retryable(false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_what_arrives() {
        let mut all = Vec::new();
        make_room(&mut all, 10, usize::MAX).expect("room");
        assert_eq!(all.capacity(), FIRST_ROOM_BYTES);
        all.resize(FIRST_ROOM_BYTES, 1);
        make_room(&mut all, 1, FIRST_ROOM_BYTES + 5).expect("room");
        assert_eq!(all.capacity(), FIRST_ROOM_BYTES + 5, "no more than is wanted");
        let error = make_room(&mut all, usize::MAX / 2, usize::MAX).expect_err("no machine has that");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LimitExceeded, false));
    }

    #[test]
    fn ranges_join_when_they_are_close_and_not_too_long() {
        assert!(joins(&(0..10), &(5..8)) && joins(&(0..10), &(10 + GAP_BYTES..11 + GAP_BYTES)));
        assert!(!joins(&(0..10), &(11 + GAP_BYTES..12 + GAP_BYTES)));
        assert!(!joins(&(0..TOGETHER_BYTES), &(TOGETHER_BYTES..TOGETHER_BYTES + 1)));
        assert!(joins(&(0..2 * TOGETHER_BYTES), &(5..2 * TOGETHER_BYTES)), "what is read anyway costs nothing");
    }
}
