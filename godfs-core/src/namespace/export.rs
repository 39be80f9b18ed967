//! A portable stream of all rows at one moment.
//!
//! ```text
//! magic "GoDFSexp" | format u32                          12 bytes; all numbers are big endian
//! blocks: kind u8 | number u64 | length u32 | CRC32C of the 13 bytes before, the CRC of the block before, and the body | body
//!   1  head: format of the rows u64, cluster 16, incarnation 16, version u64        always the first
//!   2  rows: (space u8, length of the key u16, of the value u32, key, value)…       in order of space and key
//!   3  end:  rows u64, bytes of keys and values u64, files, directories, chunks u64    always the last, nothing follows
//! ```
//! Each block's checksum takes in that of the one before, so that blocks can be neither changed, lost, repeated nor taken from another
//! stream, and the end counts what there must have been.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::rows::{self, keys};
use super::{Context, access, store};
use crate::checksum::{crc32c, crc32c_append};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ClusterId, Incarnation, Version};
use crate::metadata::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Range, Snapshot, Space, Step};

const MAGIC: &[u8; 8] = b"GoDFSexp";
/// The version of the stream.
const FORMAT: u32 = 1;

const HEAD: u8 = 1;
const ROWS: u8 = 2;
const END: u8 = 3;

/// Kind, number, length, checksum.
const BLOCK_HEADER: usize = 17;
/// A block takes no further row beyond this many bytes.
const BLOCK_BYTES: usize = 256 << 10;
/// The longest block: its last row may be as long as rows are.
const MAX_BLOCK_BYTES: usize = BLOCK_BYTES + ROW_HEADER + MAX_KEY_BYTES + MAX_VALUE_BYTES;
/// Space and lengths of a row.
const ROW_HEADER: usize = 7;
/// Rows a scan.
const PAGE: usize = 1_000;

/// What an export holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The format of its rows.
    pub row_format: u64,
    /// Whose rows they are.
    pub cluster: ClusterId,
    /// The life of the store that they come from.
    pub incarnation: Incarnation,
    /// The version of that store when the export began; what was committed while it began may be in it too.
    pub version: Version,
    /// Rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Files that have a name.
    pub files: u64,
    /// Directories without the root.
    pub directories: u64,
    /// Chunks.
    pub chunks: u64,
}

/// Where an export is written to before anyone takes it: a read of the store may have to begin anew.
pub trait Spool: Write + Send {
    /// Becomes empty.
    ///
    /// # Errors
    /// What the disk says.
    fn restart(&mut self) -> io::Result<()>;
}

impl Spool for File {
    fn restart(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        self.seek(SeekFrom::Start(0)).map(drop)
    }
}

impl Spool for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// Writes all rows of one moment. `counted` follows the rows that are written.
pub(super) fn write(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    origin: (Incarnation, Version),
    spool: &mut dyn Spool,
    counted: &Arc<AtomicU64>,
) -> Step<Manifest> {
    access::operator(context, "an export of the metadata")?;
    counted.store(0, Ordering::Relaxed);
    let totals = store::totals(snapshot)?;
    let mut manifest = Manifest {
        row_format: rows::FORMAT_VERSION,
        cluster: store::cluster(snapshot)?,
        incarnation: origin.0,
        version: origin.1,
        rows: 0,
        bytes: 0,
        files: totals.usage.files,
        directories: totals.usage.directories,
        chunks: totals.chunks,
    };
    spool.restart().map_err(failed)?;
    let mut out = Writer { out: spool, number: 0, last: crc32c(MAGIC) };
    out.begin(&manifest)?;
    let mut body = BytesMut::new();
    for space in Space::ALL {
        let mut range = Range { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false, limit: PAGE };
        // The bytes of small files: as many rows as a block may hold would be a lot of memory.
        if space == Space::Data {
            range.limit = PAGE / 50;
        }
        loop {
            let rows = snapshot.scan(space, &range)?;
            for (key, value) in &rows {
                body.put_u8(space as u8);
                body.put_u16(u16::try_from(key.len()).expect("keys have at most 1 KiB"));
                body.put_u32(u32::try_from(value.len()).expect("values have at most 1 MiB"));
                body.put_slice(key);
                body.put_slice(value);
                manifest.rows += 1;
                manifest.bytes += (key.len() + value.len()) as u64;
                if body.len() >= BLOCK_BYTES {
                    out.block(ROWS, &body.split())?;
                    counted.store(manifest.rows, Ordering::Relaxed);
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == range.limit => range.start = Bound::Excluded(last.clone()),
                _ => break,
            }
        }
    }
    if !body.is_empty() {
        out.block(ROWS, &body)?;
    }
    out.end(&manifest)?;
    Ok(manifest)
}

struct Writer<'w> {
    out: &'w mut dyn Spool,
    number: u64,
    last: u32,
}

impl Writer<'_> {
    fn begin(&mut self, manifest: &Manifest) -> Result<()> {
        self.out.write_all(MAGIC).and_then(|()| self.out.write_all(&FORMAT.to_be_bytes())).map_err(failed)?;
        let mut head = Vec::with_capacity(48);
        head.put_u64(manifest.row_format);
        head.put_slice(manifest.cluster.as_bytes());
        head.put_slice(manifest.incarnation.as_bytes());
        head.put_u64(manifest.version.0);
        self.block(HEAD, &head)
    }

    fn end(&mut self, manifest: &Manifest) -> Result<()> {
        let mut end = Vec::with_capacity(40);
        for count in [manifest.rows, manifest.bytes, manifest.files, manifest.directories, manifest.chunks] {
            end.put_u64(count);
        }
        self.block(END, &end)?;
        self.out.flush().map_err(failed)
    }

    fn block(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let mut header = Vec::with_capacity(BLOCK_HEADER);
        header.put_u8(kind);
        header.put_u64(self.number);
        header.put_u32(u32::try_from(body.len()).expect("blocks are bounded"));
        self.last = sum(&header, self.last, body);
        header.put_u32(self.last);
        self.number += 1;
        self.out.write_all(&header).and_then(|()| self.out.write_all(body)).map_err(failed)
    }
}

fn sum(header: &[u8], last: u32, body: &[u8]) -> u32 {
    crc32c_append(crc32c_append(crc32c(header), &last.to_be_bytes()), body)
}

fn failed(error: io::Error) -> Error {
    Error::io("write the export", error)
}

/// One row of an export.
#[derive(Debug)]
pub(super) struct ExportedRow {
    pub(super) space: Space,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// Reads an export, block by block, each checked before it is given.
pub(super) struct Reader<R> {
    input: R,
    number: u64,
    last: u32,
    manifest: Manifest,
    rows: u64,
    bytes: u64,
    place: Option<(Space, Bytes)>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut input: R) -> Result<Self> {
        let mut begin = [0; 12];
        fill(&mut input, &mut begin)?;
        let (magic, mut format) = begin.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(damaged("it does not begin as an export of GoDFS metadata"));
        }
        let format = format.get_u32();
        if format != FORMAT {
            let message = format!(
                "the export has format {format}, this software reads format {FORMAT}: import it with the software that knows it"
            );
            return Err(Error::new(ErrorKind::Incompatible, message));
        }
        let empty = Manifest {
            row_format: 0,
            cluster: ClusterId::from_random(0),
            incarnation: Incarnation::from_random(0),
            version: Version(0),
            rows: 0,
            bytes: 0,
            files: 0,
            directories: 0,
            chunks: 0,
        };
        let mut reader =
            Self { input, number: 0, last: crc32c(MAGIC), manifest: empty, rows: 0, bytes: 0, place: None };
        let (kind, mut body) = reader.block()?;
        if kind != HEAD || body.len() != 48 {
            return Err(damaged("its first block is not a head"));
        }
        reader.manifest.row_format = body.get_u64();
        let names = "sixteen bytes";
        reader.manifest.cluster = ClusterId::from_bytes(&body.split_to(16)).expect(names);
        reader.manifest.incarnation = Incarnation::from_bytes(&body.split_to(16)).expect(names);
        reader.manifest.version = Version(body.get_u64());
        Ok(reader)
    }

    /// What it says of itself; the counts only once all was read.
    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The rows of the next block; `None` at the end, when all was there.
    pub(super) fn next(&mut self) -> Result<Option<Vec<ExportedRow>>> {
        let (kind, mut body) = self.block()?;
        match kind {
            ROWS => {
                let mut rows = Vec::new();
                while !body.is_empty() {
                    rows.push(self.row(&mut body)?);
                }
                Ok(Some(rows))
            }
            END if body.len() == 40 => {
                let counted = (body.get_u64(), body.get_u64());
                if counted != (self.rows, self.bytes) {
                    return Err(damaged("it holds another number of rows than it says"));
                }
                (self.manifest.rows, self.manifest.bytes) = counted;
                self.manifest.files = body.get_u64();
                self.manifest.directories = body.get_u64();
                self.manifest.chunks = body.get_u64();
                let mut more = [0];
                match self.input.read(&mut more) {
                    Ok(0) => Ok(None),
                    Ok(_) => Err(damaged("something follows its end")),
                    Err(error) => Err(Error::io("read the export", error)),
                }
            }
            _ => Err(damaged("it has a block of a kind that is not known here")),
        }
    }

    fn row(&mut self, body: &mut Bytes) -> Result<ExportedRow> {
        let short = || damaged("a row does not fit its block");
        if body.len() < ROW_HEADER {
            return Err(short());
        }
        let (space, key, value) = (body.get_u8(), usize::from(body.get_u16()), body.get_u32() as usize);
        let space = Space::ALL.into_iter().find(|known| *known as u8 == space);
        let space = space.ok_or_else(|| damaged("a row is in a space that is not known here"))?;
        if !(1..=MAX_KEY_BYTES).contains(&key) || value > MAX_VALUE_BYTES || body.len() < key + value {
            return Err(short());
        }
        let row = ExportedRow { space, key: body.split_to(key), value: body.split_to(value) };
        let place = Some((row.space, row.key.clone()));
        if place <= self.place {
            return Err(damaged("its rows are out of order"));
        }
        self.place = place;
        self.rows += 1;
        self.bytes += (key + value) as u64;
        Ok(row)
    }

    fn block(&mut self) -> Result<(u8, Bytes)> {
        let mut header = [0; BLOCK_HEADER];
        fill(&mut self.input, &mut header)?;
        let (front, mut crc) = header.split_at(BLOCK_HEADER - 4);
        let mut fields = front;
        let (kind, number, length) = (fields.get_u8(), fields.get_u64(), fields.get_u32() as usize);
        if number != self.number || length > MAX_BLOCK_BYTES {
            return Err(damaged(&format!("the header of block {} is not one", self.number)));
        }
        let mut body = vec![0; length];
        fill(&mut self.input, &mut body)?;
        let sum = sum(front, self.last, &body);
        if sum != crc.get_u32() {
            return Err(damaged(&format!("block {} does not agree with its checksum", self.number)));
        }
        (self.number, self.last) = (number + 1, sum);
        Ok((kind, body.into()))
    }
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<()> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it is cut short"),
        _ => Error::io("read the export", error),
    })
}

pub(super) fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the export can't be used: {why}"))
}

/// Reads an export from one end to the other and checks that all of it is there.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it is cut short or damaged, [`ErrorKind::Incompatible`] when it has another format, and what the input says.
pub fn verify(input: impl Read) -> Result<Manifest> {
    let mut reader = Reader::new(input)?;
    while reader.next()?.is_some() {}
    Ok(*reader.manifest())
}

/// Whether a row is the store's own.
pub(super) fn is_store_row(row: &ExportedRow) -> bool {
    row.space == Space::Rows && *row.key == *keys::store()
}
