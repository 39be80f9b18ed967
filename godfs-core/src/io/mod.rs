//! All file input and output of commit log and chunks goes through the [`Io`] trait, so that tests can take power
//! away at any byte.
//!
//! The methods block; call them on an [`Executor`](crate::env::Executor). [`DiskIo`] is the machine's disk.

// Everything in this crate that is particular to Unix.
#[cfg(unix)]
mod direct;
#[cfg(unix)]
mod disk;
#[cfg(any(test, feature = "testing"))]
mod failing;
#[cfg(any(test, feature = "testing"))]
mod sim;
#[cfg(any(test, feature = "testing"))]
mod sim_pages;
#[cfg(test)]
mod sim_tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

#[cfg(unix)]
pub use disk::DiskIo;
#[cfg(any(test, feature = "testing"))]
pub use failing::{FailingIo, Fault};
#[cfg(any(test, feature = "testing"))]
pub use sim::{Failing, SimIo};

/// How to open a file. It is always readable and writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist.
    Existing,
    /// Only for reading; it must exist.
    ReadOnly,
    /// It must not exist; it is created empty.
    CreateNew,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name. Names that are not UTF-8 are given lossily: no file of ours has one.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its length in bytes, 0 for a directory.
    pub length: u64,
}

/// The room on the disk that holds a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that can still be written.
    pub free: u64,
}

/// A disk.
///
/// **Contract.** As POSIX: bytes written are durable after `sync_data` of their file; a file's *name* (creation,
/// rename, removal) is durable after `sync_dir` of its directory; before that a crash may keep or lose each on its
/// own, and may keep later writes while it loses earlier ones. Any method may be called from several threads.
pub trait Io: Send + Sync + fmt::Debug {
    /// Whether its files are those of the system, so that sockets can lie among them.
    fn is_system(&self) -> bool {
        false
    }
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>>;
    /// Creates a directory and those above it that are missing. A directory that exists is no error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The entries of a directory, in no order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Renames a file, replacing one that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether a file or directory has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// The room on the disk that holds `path`.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
    /// Takes the exclusive lock of a folder (a file `LOCK` in it) until the guard is dropped or the process ends.
    /// Fails with [`io::ErrorKind::WouldBlock`] when another holds it.
    fn lock(&self, folder: &Path) -> io::Result<Box<dyn LockGuard>>;

    /// The whole of a small file, refusing one above `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Bytes> {
        let file = self.open(path, OpenMode::ReadOnly)?;
        let length = file.len()?;
        if length > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} has {length} bytes, more than the {limit} expected", path.display()),
            ));
        }
        let length = usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        file.read_at(0, length)
    }
}

/// Buffers begin on a page boundary: on some processors a copy between addresses that differ by 1 to 31 bytes modulo
/// 4,096 runs four times slower, and an allocator's own header makes exactly such a difference.
const PAGE: usize = 4_096;

/// Memory for [`IoFile::read_into`] of so many bytes.
#[must_use]
pub fn read_buffer(length: usize) -> Vec<u8> {
    Vec::with_capacity(length.saturating_add(PAGE))
}

/// An open file of an [`Io`].
#[allow(clippy::len_without_is_empty, reason = "a file is not a collection")]
pub trait IoFile: Send + Sync + fmt::Debug {
    /// Reads `length` bytes at `offset`, fewer only at the end of the file, into a new buffer that begins on a page
    /// boundary. The caller bounds `length`.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes>;
    /// The same into a buffer of [`read_buffer`], so that who will free the memory allocates it: an allocator with a heap for each thread otherwise keeps some of it in
    /// every thread that ever read.
    fn read_into(&self, offset: u64, length: usize, _buffer: Vec<u8>) -> io::Result<Bytes> {
        self.read_at(offset, length)
    }
    /// The same, of bytes that are in memory: `None` when it would have to wait for a disk, or can't tell.
    fn read_cached(&self, _offset: u64, _length: usize) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
    /// Writes all of `data` at `offset`.
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`, which nobody is expected to read soon: around the memory that caches files, where the system can. A crash sees it as
    /// any other write.
    fn write_direct_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(offset, data)
    }
    /// Writes `parts` from `offset` on, each behind the one before, in one call where the system has one. As a crash sees it they are writes of their own.
    fn write_parts_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut at = offset;
        for part in parts {
            self.write_all_at(at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts the file, or extends it with zeros that take no room.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Makes bytes and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Asks the system to begin writing these bytes to the disk, without waiting: a later `sync_data` has less to do.
    /// Promises nothing.
    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Lets go of the memory that caches these bytes, as far as they are on the disk. A hint.
    fn drop_cached(&self, offset: u64, length: u64) -> io::Result<()>;

    /// The same file opened once more, for reading alone, to be handed to another process. `None` where it is no file of the system, or not
    /// all of it is to be seen.
    fn read_only(&self) -> io::Result<Option<std::fs::File>> {
        Ok(None)
    }
}

/// Holds a folder's lock; dropping it lets go.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// Publishes a file: stages it as `NAME.tmp`, syncs it, renames it to `NAME` and syncs the directory. After this returns
/// the file is there, whole, whatever happens; before, the old one is.
///
/// # Errors
/// Whatever the disk says; a `NAME.tmp` may remain, and the next call replaces it.
pub fn publish(io: &dyn Io, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".tmp");
    let staged = PathBuf::from(staged);
    if io.exists(&staged)? {
        io.remove_file(&staged)?;
    }
    let file = io.open(&staged, OpenMode::CreateNew)?;
    file.write_all_at(0, content)?;
    file.sync_data()?;
    io.rename(&staged, path)?;
    match path.parent() {
        Some(directory) => io.sync_dir(directory),
        None => Ok(()),
    }
}

/// Creates a directory and those above it that are missing, each name durable when this returns.
///
/// # Errors
/// Whatever the disk says.
pub fn create_dir_all_synced(io: &dyn Io, path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if ancestor.as_os_str().is_empty() || io.exists(ancestor)? {
            break;
        }
        missing.push(ancestor);
    }
    io.create_dir_all(path)?;
    for made in missing.iter().rev() {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        io.sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}
