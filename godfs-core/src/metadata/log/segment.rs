//! The files of the log, and the spare ones.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};
use parking_lot::Mutex;

use super::changes::Marks;
use super::record::RecordNumber;
use super::{FORMAT, Point};
use crate::checksum::{crc32c, crc32c_append};
use crate::env::Random;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};
use crate::io::{Io, IoFile, OpenMode};

/// Where the records of a segment begin.
pub(super) const DATA: u64 = 4_096;
const MAGIC: &[u8; 8] = b"GoDFSlog";
/// Where the checksum of the header lies in it.
const CRC: std::ops::Range<usize> = 12..16;
/// Spare segments that are kept: one to go on with at once, one while the next is being made.
const SPARES: usize = 2;
/// Zeros are written in steps of this many bytes.
const ZEROS: usize = 1 << 20;

/// The first page of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) incarnation: Incarnation,
    pub(super) salt: u64,
    pub(super) sequence: u64,
    /// The number of its first record.
    pub(super) first: RecordNumber,
    /// The seal of the record before that.
    pub(super) previous: u32,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(DATA as usize);
        page.extend_from_slice(MAGIC);
        page.put_u32(FORMAT);
        page.put_u32(0);
        page.extend_from_slice(self.incarnation.as_bytes());
        page.put_u64(self.salt);
        page.put_u64(self.sequence);
        page.put_u64(self.first.0);
        page.put_u32(self.previous);
        page.resize(DATA as usize, 0);
        let crc = header_crc(&page);
        page[CRC].copy_from_slice(&crc.to_be_bytes());
        page
    }

    pub(super) fn decode(page: &[u8], path: &Path) -> Result<Self> {
        let corrupt = |what: &str| {
            Err(Error::new(ErrorKind::Corrupt, format!("the commit log segment {} {what}", path.display())))
        };
        if page.len() != DATA as usize || !page.starts_with(MAGIC) {
            return corrupt("does not begin as one");
        }
        if header_crc(page).to_be_bytes() != page[CRC] {
            return corrupt("has a damaged first page");
        }
        let mut at = &page[MAGIC.len()..];
        let format = at.get_u32();
        if format != FORMAT {
            return Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "the commit log segment {} has format {format}, this program knows {FORMAT}: run the release that \
                     wrote it, or a later one",
                    path.display()
                ),
            ));
        }
        at.advance(4);
        let Some(incarnation) = Incarnation::from_bytes(&at[..16]) else { return corrupt("names no incarnation") };
        at.advance(16);
        Ok(Self {
            incarnation,
            salt: at.get_u64(),
            sequence: at.get_u64(),
            first: RecordNumber(at.get_u64()),
            previous: at.get_u32(),
        })
    }
}

fn header_crc(page: &[u8]) -> u32 {
    crc32c_append(crc32c(&page[..CRC.start]), &page[CRC.end..])
}

/// The segments of a log, shared by who appends and who trims.
#[derive(Debug)]
pub(in crate::metadata) struct Segments {
    pub(super) io: Arc<dyn Io>,
    pub(super) folder: PathBuf,
    pub(super) incarnation: Incarnation,
    random: Arc<dyn Random>,
    /// The usual length of a segment, in bytes.
    length: u64,
    /// Segments of so many bytes are kept for who asks what was announced.
    retain: u64,
    files: Mutex<Files>,
    /// Where readers of changes stopped.
    pub(super) marks: Marks,
}

#[derive(Debug, Default)]
struct Files {
    /// The one that is appended to last.
    used: VecDeque<Used>,
    /// Those before this sequence are not read for their changes.
    whole_from: u64,
    spare: Vec<PathBuf>,
    /// The sequence of the next file, segment or spare.
    next: u64,
}

/// A segment with records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) sequence: u64,
    length: u64,
    /// The number of its first record; unknown of one that was kept for its changes when the log was opened, and not looked at.
    first: Option<RecordNumber>,
    /// The version of its first transaction, once somebody has looked.
    pub(super) begins: Option<Version>,
}

impl Segments {
    /// The shortest segment: the header and one small record.
    pub(in crate::metadata) const MIN_BYTES: u64 = 2 * DATA;

    pub(super) fn new(
        io: Arc<dyn Io>,
        folder: PathBuf,
        (length, retain): (u64, u64),
        incarnation: Incarnation,
        random: Arc<dyn Random>,
    ) -> Self {
        let length = length.max(Self::MIN_BYTES);
        let (files, marks) = (Mutex::default(), Marks::default());
        Self { io, folder, incarnation, random, length, retain, files, marks }
    }

    /// What lies in the folder: segments with their sequences, in order; spares are taken stock of, and what remains
    /// of a spare that was being made is removed.
    pub(super) fn scan(&self) -> Result<Vec<(u64, PathBuf, u64)>> {
        let mut found = Vec::new();
        let mut files = self.files.lock();
        for entry in self.io.read_dir(&self.folder).map_err(|error| self.failed("list", &self.folder, error))? {
            let path = self.folder.join(&entry.name);
            let Some((sequence, kind)) = parse_name(&entry.name) else { continue };
            files.next = files.next.max(sequence.saturating_add(1));
            match kind {
                SEGMENT => found.push((sequence, path, entry.length)),
                _ if entry.length == self.length && files.spare.len() < SPARES => files.spare.push(path),
                _ => self.io.remove_file(&path).map_err(|error| self.failed("remove", &path, error))?,
            }
        }
        found.sort();
        Ok(found)
    }

    /// Takes a segment, the next one, into account.
    pub(super) fn adopt(&self, sequence: u64, length: u64, first: Option<RecordNumber>) {
        self.files.lock().used.push_back(Used { sequence, length, first, begins: None });
    }

    /// The segments that can be read for their changes, the oldest first.
    pub(super) fn used(&self) -> Vec<Used> {
        let files = self.files.lock();
        files.used.iter().filter(|used| used.sequence >= files.whole_from).copied().collect()
    }

    /// Has those before a sequence not be read for their changes.
    pub(super) fn forget_before(&self, sequence: u64) {
        let mut files = self.files.lock();
        files.whole_from = files.whole_from.max(sequence);
    }

    /// Notes the version of a segment's first transaction, so that nobody has to look again.
    pub(super) fn note_begin(&self, sequence: u64, begins: Version) {
        let mut files = self.files.lock();
        if let Ok(at) = files.used.binary_search_by_key(&sequence, |used| used.sequence) {
            files.used[at].begins = Some(begins);
        }
    }

    /// Begins a segment after `end` with room for `record` bytes, its header and name durable.
    pub(super) fn begin(&self, end: Point, record: u64) -> Result<(Arc<dyn IoFile>, SegmentHeader, u64)> {
        let length = self.length.max(DATA + record);
        let (sequence, spare) = {
            let mut files = self.files.lock();
            let spare = if length == self.length { files.spare.pop() } else { None };
            files.next += 1;
            (files.next - 1, spare)
        };
        let staged = spare.clone().unwrap_or_else(|| self.path(sequence, SPARE));
        let path = self.path(sequence, SEGMENT);
        let header = SegmentHeader {
            incarnation: self.incarnation,
            salt: self.random.next_u64(),
            sequence,
            first: end.number.next(),
            previous: end.seal,
        };
        let begin = || {
            let file = if spare.is_some() {
                self.io.open(&staged, OpenMode::Existing)?
            } else {
                let file = self.io.open(&staged, OpenMode::CreateNew)?;
                file.set_len(length)?;
                file
            };
            file.write_all_at(0, &header.encode())?;
            file.sync_data()?;
            self.io.rename(&staged, &path)?;
            self.io.sync_dir(&self.folder)?;
            Ok(file)
        };
        let file = begin().map_err(|error| self.failed("begin", &path, error))?;
        self.adopt(sequence, length, Some(header.first));
        Ok((file, header, length))
    }

    /// Lets go of the segments whose records are all at or before `upto`, which must be kept elsewhere for good, but for the newest that are
    /// to be retained.
    pub(in crate::metadata) fn trim(&self, upto: RecordNumber) -> Result<()> {
        let mut files = self.files.lock();
        let mut bytes: u64 = files.used.iter().map(|used| used.length).sum();
        // One that was not looked at lies in front of what was needed when the log was opened.
        let is_past = |used: &Used| used.first.is_none_or(|first| first.0 <= upto.0.saturating_add(1));
        while files.used.get(1).is_some_and(is_past) && bytes - files.used[0].length >= self.retain {
            let Used { sequence, length, .. } = files.used[0];
            bytes -= length;
            let path = self.path(sequence, SEGMENT);
            self.retire(&mut files, &path).map_err(|error| self.failed("retire", &path, error))?;
            files.used.pop_front();
        }
        // The new names need not be durable: a file that has its old name again after a loss of power is older than all that opening looks at, and
        // its first page tells who reads changes if it was used again.
        Ok(())
    }

    fn retire(&self, files: &mut Files, path: &Path) -> std::io::Result<()> {
        let length = self.io.open(path, OpenMode::ReadOnly)?.len()?;
        if length != self.length || files.spare.len() >= SPARES {
            return self.io.remove_file(path);
        }
        let spare = self.path(files.next, SPARE);
        files.next += 1;
        self.io.rename(path, &spare)?;
        files.spare.push(spare);
        Ok(())
    }

    /// Makes a spare segment, filled with zeros, when there is none. Slow: not for the thread that appends.
    pub(in crate::metadata) fn prepare(&self) {
        let path = {
            let mut files = self.files.lock();
            if !files.spare.is_empty() {
                return;
            }
            files.next += 1;
            self.path(files.next - 1, SPARE)
        };
        let make = || {
            let file = self.io.open(&path, OpenMode::CreateNew)?;
            write_zeros(&*file, 0, self.length)?;
            file.sync_data()
        };
        match make() {
            Ok(()) => self.files.lock().spare.push(path),
            Err(error) => {
                // A log without a spare is slower, not wrong; the next one to need room says what is the matter.
                tracing::warn!(path = %path.display(), %error, "can't prepare a segment of the commit log");
                let _ = self.io.remove_file(&path);
            }
        }
    }

    pub(super) fn path(&self, sequence: u64, kind: &str) -> PathBuf {
        self.folder.join(format!("{sequence:016x}.{kind}"))
    }

    pub(super) fn failed(&self, what: &str, path: &Path, error: std::io::Error) -> Error {
        Error::io(format_args!("{what} {} of the commit log", path.display()), error)
    }
}

pub(super) fn write_zeros(file: &dyn IoFile, from: u64, to: u64) -> std::io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = from;
    while at < to {
        let step = (to - at).min(ZEROS as u64);
        file.write_all_at(at, &zeros[..step as usize])?;
        at += step;
    }
    Ok(())
}

pub(super) const SEGMENT: &str = "seg";
pub(super) const SPARE: &str = "spare";

fn parse_name(name: &str) -> Option<(u64, &str)> {
    let (sequence, kind) = name.split_once('.')?;
    let sequence = u64::from_str_radix(sequence, 16).ok().filter(|_| sequence.len() == 16)?;
    [SEGMENT, SPARE].contains(&kind).then_some((sequence, kind))
}
