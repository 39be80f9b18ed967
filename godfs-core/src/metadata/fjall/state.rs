//! The file `store`: whose life this is, and up to where its rows are on the disk.
//!
//! ```text
//!   0  magic "GoDFSmet"                                          8
//!   8  format                                               u32, 4    All numbers are big endian.
//!  12  incarnation                                              16
//!  28  the last record of the log whose rows are persisted  u64, 8
//!  36  its seal                                             u32, 4
//!  40  the version of its last transaction                  u64, 8
//!  48  CRC32C of all of the above                           u32, 4
//! ```
//! It is replaced as a whole, after fjall has synced and before the log is trimmed.

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};

use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};
use crate::io::{Io, publish};
use crate::metadata::log::{Point, RecordNumber};

const MAGIC: &[u8; 8] = b"GoDFSmet";
/// The version of the folder's layout, of this file and of the rows of fjall's `meta`.
const FORMAT: u32 = 1;
const BYTES: usize = 52;
/// A later format may be longer; its first twelve bytes will still say so.
const MAX_BYTES: u64 = 4_096;

/// A place in the life of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) incarnation: Incarnation,
    pub(super) point: Point,
    pub(super) version: Version,
}

impl State {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("store")
    }

    pub(super) fn load(io: &dyn Io, folder: &Path) -> Result<Self> {
        let path = Self::path(folder);
        if !io.exists(&path).map_err(|error| Error::io(path.display(), error))? {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no metadata store in {}: is the disk mounted? a new one must be asked for",
                    folder.display()
                ),
            ));
        }
        let bytes =
            io.read(&path, MAX_BYTES).map_err(|error| Error::io(format_args!("read {}", path.display()), error))?;
        Self::decode(&bytes).map_err(|error| error.context(path.display()))
    }

    /// Durable when this returns.
    pub(super) fn save(&self, io: &dyn Io, folder: &Path) -> Result<()> {
        let path = Self::path(folder);
        publish(io, &path, &self.encode()).map_err(|error| Error::io(format_args!("write {}", path.display()), error))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.put_u32(FORMAT);
        bytes.extend_from_slice(self.incarnation.as_bytes());
        bytes.put_u64(self.point.number.0);
        bytes.put_u32(self.point.seal);
        bytes.put_u64(self.version.0);
        let crc = crc32c(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt =
            |what: &str| Err(Error::new(ErrorKind::Corrupt, format!("the state of the metadata store {what}")));
        let Some(mut at) = bytes.strip_prefix(MAGIC) else { return corrupt("does not begin as one") };
        let Ok(format) = at.try_get_u32() else { return corrupt("is cut off") };
        if format > FORMAT {
            return Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "the metadata store has format {format} and this program knows formats up to {FORMAT}: run the \
                     release that wrote it, or a later one; nothing was changed"
                ),
            ));
        }
        if bytes.len() != BYTES {
            return corrupt("has a wrong length");
        }
        let (body, crc) = bytes.split_at(BYTES - 4);
        if crc32c(body).to_be_bytes() != crc {
            return corrupt("does not agree with its checksum");
        }
        let Some(incarnation) = Incarnation::from_bytes(&at[..16]) else { return corrupt("names no incarnation") };
        at.advance(16);
        let point = Point { number: RecordNumber(at.get_u64()), seal: at.get_u32() };
        Ok(Self { incarnation, point, version: Version(at.get_u64()) })
    }
}
