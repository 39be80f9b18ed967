//! Reading what was announced, from segments that are kept for it.
//!
//! Readers go beside the one who appends, and the one who trims: they look only at records that are synced by then, and find a
//! segment whose file was used again by its salt, or by its name that is gone.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::record::{self, HEADER, Header};
use super::segment::{DATA, SEGMENT, SegmentHeader, Segments, Used};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Version;
use crate::io::{IoFile, OpenMode};
use crate::metadata::changes::Answer;
use crate::metadata::{Announcements, Place};

/// How much is read of a segment at a time, in bytes: heads of records lie close together.
const STEP: usize = 256 << 10;
/// A call ends after it went over so many bytes of records, however little they announced.
const BYTES_A_CALL: u64 = 16 << 20;
/// How many places are remembered where a reader stopped: the next call finds its record at once instead of from the beginning of its segment.
const MARKS: usize = 64;

/// What was found behind a place.
#[derive(Debug)]
pub(in crate::metadata) enum Stretch {
    Found(Announcements),
    /// What follows the place is not kept any more.
    Trimmed {
        /// The first transaction that is kept.
        oldest: Version,
    },
}

/// Where readers stopped, the latest last.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<VecDeque<(Version, Mark)>>);

/// The beginning of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    sequence: u64,
    at: u64,
    /// The version of its first transaction.
    first: Version,
}

impl Marks {
    fn take(&self, next: Version) -> Option<Mark> {
        let mut marks = self.0.lock();
        let at = marks.iter().position(|(version, _)| *version == next)?;
        marks.remove(at).map(|(_, mark)| mark)
    }

    fn leave(&self, next: Version, mark: Mark) {
        let mut marks = self.0.lock();
        if marks.len() >= MARKS {
            marks.pop_front();
        }
        marks.push_back((next, mark));
    }
}

impl Segments {
    /// What was announced behind `from`, up to the transaction `last`, which must be synced.
    pub(in crate::metadata) fn announced(&self, from: Place, last: Version, limit: usize) -> Result<Stretch> {
        let mut answer = Answer::new(from, limit);
        if from.version > last {
            return Ok(Stretch::Found(answer.done()));
        }
        let Some(mut reader) = self.reader(from.version)? else {
            return Ok(Stretch::Trimmed { oldest: self.oldest(last)? });
        };
        let mut budget = BYTES_A_CALL;
        while reader.next <= last && budget > 0 {
            let Some(header) = reader.header()? else {
                let at = reader.mark();
                match self.after(at.sequence) {
                    Some(used) => match Reader::open(self, Mark { sequence: used.sequence, at: DATA, ..at }, STEP) {
                        Ok(Some(next)) => reader = next,
                        // As below: a retired file that had begun to be used again, whole or in part.
                        Ok(None) => return self.gap(used, last),
                        Err(error) if error.kind() == ErrorKind::Corrupt => return self.gap(used, last),
                        Err(error) => return Err(error),
                    },
                    None => return self.lost(from, last, at),
                }
                match reader.any_header()? {
                    Some(header) if header.first == at.first => continue,
                    // A file that had been retired and has its old name again, or one that was damaged: what lies in front of the gap does not
                    // lead on, so it counts no more.
                    Some(header) if header.first > at.first => {
                        tracing::warn!(since = %at.first, until = %header.first, "changes that were kept are missing");
                        self.forget_before(reader.sequence);
                        return Ok(Stretch::Trimmed { oldest: header.first });
                    }
                    _ => return self.lost(from, last, at),
                }
            };
            if header.last() >= from.version {
                let Some(batch) = reader.batch(&header)? else { return self.lost(from, last, reader.mark()) };
                // What of an answer is full is looked for again in this record.
                if !batch.changes.iter().all(|change| answer.take(change)) {
                    break;
                }
                answer.passed(header.last());
            }
            budget = budget.saturating_sub(header.extent());
            reader.skip(&header);
        }
        let mark = reader.mark();
        let found = answer.done();
        self.marks.leave(found.next.version, mark);
        Ok(Stretch::Found(found))
    }

    /// The first transaction that is kept; the one after `last`, where there is none.
    pub(in crate::metadata) fn oldest(&self, last: Version) -> Result<Version> {
        for used in self.used() {
            if let Some(begins) = self.begins(used)? {
                return Ok(begins);
            }
        }
        Ok(last.next())
    }

    /// At the record with a transaction, or at one before it; `None` when it is gone.
    fn reader(&self, version: Version) -> Result<Option<Reader>> {
        if let Some(mark) = self.marks.take(version)
            && let Some(reader) = Reader::open(self, mark, STEP)?
        {
            return Ok(Some(reader));
        }
        for used in self.used().into_iter().rev() {
            if let Some(first) = self.begins(used)?.filter(|first| *first <= version) {
                return Reader::open(self, Mark { sequence: used.sequence, at: DATA, first }, STEP);
            }
        }
        Ok(None)
    }

    /// The version of a segment's first transaction; `None` while it has none, or when it is gone.
    fn begins(&self, used: Used) -> Result<Option<Version>> {
        if used.begins.is_some() {
            return Ok(used.begins);
        }
        let mark = Mark { sequence: used.sequence, at: DATA, first: Version(0) };
        let mut reader = match Reader::open(self, mark, HEADER) {
            Ok(Some(reader)) => reader,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(error = error.report(), "changes that were kept can't be read");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let first = reader.any_header()?.map(|header| header.first);
        if let Some(first) = first {
            self.note_begin(used.sequence, first);
        }
        Ok(first)
    }

    fn is_used(&self, sequence: u64) -> bool {
        self.used().iter().any(|used| used.sequence == sequence)
    }

    fn after(&self, sequence: u64) -> Option<Used> {
        self.used().into_iter().find(|used| used.sequence > sequence)
    }

    /// A segment is not what its name says: it went a moment ago, or it had been retired and has its old name again, or was damaged. What lies in front
    /// of it does not lead on, so it counts no more.
    fn gap(&self, at: Used, last: Version) -> Result<Stretch> {
        if self.is_used(at.sequence) {
            tracing::warn!(segment = at.sequence, "changes that were kept are missing");
            self.forget_before(at.sequence.saturating_add(1));
        }
        Ok(Stretch::Trimmed { oldest: self.oldest(last)? })
    }

    /// A record that should be there is not: it went while it was looked for, or the segment is damaged.
    fn lost(&self, from: Place, last: Version, mark: Mark) -> Result<Stretch> {
        let oldest = self.oldest(last)?;
        if !self.is_used(mark.sequence) || oldest > from.version {
            return Ok(Stretch::Trimmed { oldest });
        }
        let path = self.path(mark.sequence, SEGMENT);
        let message = format!(
            "the commit log lacks transaction {} at byte {} of {}, or what follows: its changes can't be read any more; list again, \
             and watch from now",
            mark.first,
            mark.at,
            path.display()
        );
        Err(Error::new(ErrorKind::Corrupt, message))
    }
}

/// One segment, read record by record.
struct Reader {
    file: Arc<dyn IoFile>,
    salt: u64,
    sequence: u64,
    at: u64,
    length: u64,
    /// The version of the next transaction.
    next: Version,
    /// How much is read at a time, in bytes.
    step: usize,
    /// Bytes that were read, and where they begin.
    window: (u64, Bytes),
}

impl Reader {
    /// At the record that `mark` names, reading `step` bytes at a time; `None` when its segment is gone.
    fn open(segments: &Segments, mark: Mark, step: usize) -> Result<Option<Self>> {
        let path = segments.path(mark.sequence, SEGMENT);
        let read = || -> io::Result<_> {
            let file = segments.io.open(&path, OpenMode::ReadOnly)?;
            let (page, length) = (file.read_at(0, DATA as usize)?, file.len()?);
            Ok((file, page, length))
        };
        let (file, page, length) = match read() {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(segments.failed("read", &path, error)),
        };
        let header = match SegmentHeader::decode(&page, &path) {
            // It is being used again.
            Err(_) if !segments.is_used(mark.sequence) => return Ok(None),
            header => header?,
        };
        if header.sequence != mark.sequence || header.incarnation != segments.incarnation {
            // It was used again since it was opened.
            return Ok(None);
        }
        let Mark { sequence, at, first } = mark;
        Ok(Some(Self { file, salt: header.salt, sequence, at, length, next: first, step, window: (0, Bytes::new()) }))
    }

    fn mark(&self) -> Mark {
        Mark { sequence: self.sequence, at: self.at, first: self.next }
    }

    /// The head of the next record; `None` at the end of the segment.
    fn header(&mut self) -> Result<Option<Header>> {
        let next = self.next;
        Ok(self.any_header()?.filter(|header| header.first == next))
    }

    /// The head of the record that begins here, whatever came before it.
    fn any_header(&mut self) -> Result<Option<Header>> {
        let bytes = self.bytes(self.at, HEADER)?;
        let fits = |header: &Header| header.extent() <= self.length.saturating_sub(self.at);
        Ok(Header::decode(&bytes, self.salt).filter(fits))
    }

    /// What a record holds; `None` when it is not whole.
    fn batch(&mut self, header: &Header) -> Result<Option<record::Batch>> {
        let body = self.bytes(self.at + HEADER as u64, header.length)?;
        if !header.covers(&body, self.salt) {
            return Ok(None);
        }
        record::decode(header, body).map(Some)
    }

    fn skip(&mut self, header: &Header) {
        self.at += header.extent();
        self.next = header.last().next();
    }

    /// `length` bytes from `at` on, fewer at the end of the file.
    fn bytes(&mut self, at: u64, length: usize) -> Result<Bytes> {
        let (start, window) = &self.window;
        let held = at.checked_sub(*start).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = held.filter(|skip| skip + length <= window.len()) {
            return Ok(window.slice(skip..skip + length));
        }
        let read = self.file.read_at(at, length.max(self.step));
        let window = read.map_err(|error| Error::io("read a segment of the commit log", error))?;
        self.window = (at, window.clone());
        Ok(window.slice(..length.min(window.len())))
    }
}
