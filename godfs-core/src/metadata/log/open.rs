//! Creating a log, and finding its end again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::Point;
use super::record::{self, ALIGN, Batch, HEADER, Header, RecordNumber};
use super::segment::{DATA, SegmentHeader, Segments, write_zeros};
use super::writer::{LogWriter, Tail};
use crate::env::Random;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Incarnation;
use crate::io::{Io, IoFile, OpenMode};

/// How much of the end of a segment is looked through at a time, in bytes.
const STEP: usize = 1 << 20;

/// How to create or open a log.
#[derive(Debug)]
pub(in crate::metadata) struct OpenLog {
    /// The disk.
    pub(in crate::metadata) io: Arc<dyn Io>,
    /// The folder of the segments; it exists and is nobody else's.
    pub(in crate::metadata) folder: PathBuf,
    /// The length of a segment in bytes. It may differ from what it was before.
    pub(in crate::metadata) segment_bytes: u64,
    /// Newest segments of so many bytes are kept for what was announced in them, also where their writes are elsewhere for good.
    pub(in crate::metadata) retain_bytes: u64,
    /// Whose log it is.
    pub(in crate::metadata) incarnation: Incarnation,
    /// For the salts.
    pub(in crate::metadata) random: Arc<dyn Random>,
}

impl OpenLog {
    fn segments(self) -> Segments {
        let lengths = (self.segment_bytes, self.retain_bytes);
        Segments::new(self.io, self.folder, lengths, self.incarnation, self.random)
    }

    /// Begins an empty log.
    pub(in crate::metadata) fn create(self) -> Result<LogWriter> {
        let segments = Arc::new(self.segments());
        let (file, header, length) = segments.begin(Point::default(), 0)?;
        Ok(LogWriter::new(segments, Tail { file, salt: header.salt, at: DATA, length }, Point::default()))
    }
}

/// Opens a log of which everything up to `from` is kept elsewhere, and gives each batch behind that to `visit`, in
/// order. A torn last record is cut off, unless it was seen before: the log must reach up to `least`.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when a record behind `from` is missing, or damaged and not the last one, or up to `least`;
/// [`ErrorKind::Incompatible`] for another format; what `visit` says.
pub(in crate::metadata) fn open(
    log: OpenLog,
    from: Point,
    least: RecordNumber,
    visit: &mut dyn FnMut(Point, Batch) -> Result<()>,
) -> Result<LogWriter> {
    let segments = Arc::new(log.segments());
    let mut walked: Option<Walk> = None;
    for Found { path, file, header } in needed(&segments, from)? {
        let mut walk = Walk::new(path, file, header)?;
        if let Some(before) = walked.filter(|before| before.end != walk.end) {
            return Err(before.damaged());
        }
        segments.adopt(header.sequence, walk.length, Some(header.first));
        walk.check_against(from)?;
        while let Some(batch) = walk.next()? {
            walk.check_against(from)?;
            if walk.end.number > from.number {
                visit(walk.end, batch)?;
            }
        }
        walked = Some(walk);
    }
    let least = least.max(from.number);
    let Some(last) = walked.filter(|last| last.end.number >= least) else {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the commit log in {} ends before record {least}, which it once held: a part of it was damaged, lost or brought back from an older \
                 copy; restore the whole folder of the metadata from one backup",
                segments.folder.display()
            ),
        ));
    };
    last.mend().map_err(|error| segments.failed("mend the end of", &last.path, error))??;
    segments.io.sync_dir(&segments.folder).map_err(|error| segments.failed("sync", &segments.folder, error))?;
    let Walk { file, header, length, at, end, .. } = last;
    Ok(LogWriter::new(segments, Tail { file, salt: header.salt, at, length }, end))
}

/// A segment in the folder.
struct Found {
    path: PathBuf,
    file: Arc<dyn IoFile>,
    header: SegmentHeader,
}

/// The segments that hold what lies behind `from`, in order. Those before are kept as they are, and not looked at.
fn needed(segments: &Segments, from: Point) -> Result<Vec<Found>> {
    let mut needed: Vec<Found> = Vec::new();
    let mut left = segments.scan()?;
    let begins = |found: &Found| found.header.first.0 <= from.number.0.saturating_add(1);
    while !needed.last().is_some_and(begins)
        && let Some((sequence, path, _)) = left.pop()
    {
        let read = || {
            let file = segments.io.open(&path, OpenMode::Existing)?;
            let page = file.read_at(0, DATA as usize)?;
            Ok((file, page))
        };
        let (file, page) = read().map_err(|error| segments.failed("read", &path, error))?;
        let header = SegmentHeader::decode(&page, &path)?;
        if header.incarnation != segments.incarnation || header.sequence != sequence {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{} is a segment of another log, or of another place in this one", path.display()),
            ));
        }
        needed.push(Found { path, file, header });
    }
    needed.reverse();
    match needed.first() {
        Some(found) if begins(found) => {
            for (sequence, _, length) in left {
                segments.adopt(sequence, length, None);
            }
            Ok(needed)
        }
        _ => Err(Error::new(
            ErrorKind::Corrupt,
            format!("the commit log in {} lacks what follows record {}", segments.folder.display(), from.number),
        )),
    }
}

/// A segment, read from its beginning.
struct Walk {
    path: PathBuf,
    file: Arc<dyn IoFile>,
    header: SegmentHeader,
    length: u64,
    /// Where the next record begins.
    at: u64,
    /// Where the last one begins.
    last: Option<u64>,
    end: Point,
}

impl Walk {
    fn new(path: PathBuf, file: Arc<dyn IoFile>, header: SegmentHeader) -> Result<Self> {
        let length = file.len().map_err(|error| Error::io(path.display(), error))?;
        let end = Point { number: RecordNumber(header.first.0.saturating_sub(1)), seal: header.previous };
        Ok(Self { path, file, header, length, at: DATA, last: None, end })
    }

    /// The next record; `None` where none can be read.
    fn next(&mut self) -> Result<Option<Batch>> {
        let Some((header, body)) = self.read().map_err(|error| Error::io(self.path.display(), error))? else {
            return Ok(None);
        };
        let batch = record::decode(&header, body)?;
        self.last = Some(self.at);
        self.at += header.extent();
        self.end = Point { number: header.number, seal: header.seal };
        Ok(Some(batch))
    }

    fn read(&self) -> io::Result<Option<(Header, Bytes)>> {
        let bytes = self.file.read_at(self.at, HEADER)?;
        let Some(header) = Header::decode(&bytes, self.header.salt).filter(|header| self.follows(header)) else {
            return Ok(None);
        };
        if header.extent() > self.length.saturating_sub(self.at) {
            return Ok(None);
        }
        let body = self.file.read_at(self.at + HEADER as u64, header.length)?;
        Ok(header.covers(&body, self.header.salt).then_some((header, body)))
    }

    fn follows(&self, header: &Header) -> bool {
        header.number == self.end.number.next() && header.previous == self.end.seal
    }

    /// That the log which holds `from` is this one.
    fn check_against(&self, from: Point) -> Result<()> {
        if self.end.number == from.number && self.end.seal != from.seal {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("record {} in {} is not the one that was persisted", from.number, self.path.display()),
            ));
        }
        Ok(())
    }

    /// Makes the end of the last segment as if the records that were read had been all: the last one is written once
    /// more, since a sync that failed may have left it in the page cache only, and what lies behind becomes zeros.
    /// The inner error is that of a record which once was followed by another.
    fn mend(&self) -> io::Result<Result<()>> {
        let mut dirty = None;
        let mut at = self.at;
        while at < self.length {
            // Overlapping by a header, so that none lies across a seam.
            let bytes = self.file.read_at(at, STEP + HEADER)?;
            let step = bytes.len().min(STEP);
            for offset in (0..step).step_by(ALIGN as usize) {
                let behind = Header::decode(&bytes[offset..], self.header.salt);
                if behind.is_some_and(|header| header.number > self.end.number && !self.is_torn(&header, at, offset)) {
                    return Ok(Err(self.damaged()));
                }
            }
            if let Some(last) = bytes[..step].iter().rposition(|byte| *byte != 0) {
                dirty = Some(at + last as u64 + 1);
            }
            if step == 0 {
                break;
            }
            at += step as u64;
        }
        if let Some(last) = self.last {
            let length = usize::try_from(self.at - last).unwrap_or(usize::MAX);
            self.file.write_all_at(last, &self.file.read_at(last, length)?)?;
        }
        if let Some(dirty) = dirty {
            tracing::debug!(path = %self.path.display(), from = self.at, to = dirty, "clearing the end of the commit log");
            write_zeros(&*self.file, self.at, dirty)?;
        }
        self.file.sync_data()?;
        Ok(Ok(()))
    }

    /// Whether this is the head of the one record that may be damaged.
    fn is_torn(&self, header: &Header, at: u64, offset: usize) -> bool {
        at + offset as u64 == self.at && self.follows(header)
    }

    fn damaged(&self) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "record {} of the commit log, at byte {} of {}, is damaged, and there are records behind it: restore the \
                 metadata from a backup, or from a copy of this file",
                self.end.number.next(),
                self.at,
                self.path.display()
            ),
        )
    }
}
