//! Appending to the log.

use std::sync::Arc;

use super::Point;
use super::record::{Batch, encode, seal};
use super::segment::{DATA, Segments};
use crate::error::Result;
use crate::io::IoFile;

/// The one who appends. After an error it must be dropped, and the log opened anew.
#[derive(Debug)]
pub(in crate::metadata) struct LogWriter {
    segments: Arc<Segments>,
    tail: Tail,
    end: Point,
    /// The bytes of all records that were appended.
    bytes: u64,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: Arc<dyn IoFile>,
    pub(super) salt: u64,
    /// Where the next record goes.
    pub(super) at: u64,
    pub(super) length: u64,
}

impl LogWriter {
    pub(super) fn new(segments: Arc<Segments>, tail: Tail, end: Point) -> Self {
        Self { segments, tail, end, bytes: 0 }
    }

    /// The last record.
    pub(in crate::metadata) fn end(&self) -> Point {
        self.end
    }

    /// The bytes of all records that this one appended.
    pub(in crate::metadata) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The files, for who trims them.
    pub(in crate::metadata) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Appends `batch` as the next record and syncs it. When this fails, the record may or may not be found later.
    pub(in crate::metadata) fn append(&mut self, batch: &Batch) -> Result<Point> {
        let mut record = encode(batch);
        let room = (record.len() as u64).next_multiple_of(super::record::ALIGN);
        if self.tail.at + room > self.tail.length {
            let (file, header, length) = self.segments.begin(self.end, room)?;
            self.tail = Tail { file, salt: header.salt, at: DATA, length };
        }
        let number = self.end.number.next();
        let seal = seal(&mut record, batch, number, self.end.seal, self.tail.salt);
        let written = self.tail.file.write_all_at(self.tail.at, &record).and_then(|()| self.tail.file.sync_data());
        written.map_err(|error| self.segments.failed("append to", &self.segments.folder, error))?;
        self.tail.at += record.len() as u64;
        self.bytes += record.len() as u64;
        self.end = Point { number, seal };
        Ok(self.end)
    }
}
