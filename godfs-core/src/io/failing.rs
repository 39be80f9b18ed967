//! A disk that fails where and how a test says.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{DiskSpace, Entry, Io, IoFile, LockGuard, OpenMode};

/// EIO and EROFS of Linux, as a disk gives them.
const EIO: i32 = 5;
const EROFS: i32 = 30;

/// How a folder fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whatever reads a file.
    Reads,
    /// Whatever writes or changes names.
    Writes,
    /// Whatever makes something durable.
    Syncs,
    /// Everything.
    All,
    /// Writes and changes of names, as of a file system that its kernel has made read-only.
    ReadOnly,
}

/// A disk over another one whose folders can be made to fail: files that are open by then too.
#[derive(Clone, Debug)]
pub struct FailingIo {
    inner: Arc<dyn Io>,
    faults: Faults,
}

#[derive(Clone, Debug, Default)]
struct Faults(Arc<Mutex<BTreeMap<PathBuf, Fault>>>);

/// What is asked of the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Read,
    Write,
    Sync,
    /// What a disk answers from memory.
    Look,
}

impl FailingIo {
    /// The disk below, without a fault.
    #[must_use]
    pub fn new(inner: Arc<dyn Io>) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// All below `folder` fails so from now on.
    pub fn fail(&self, folder: impl Into<PathBuf>, fault: Fault) {
        self.faults.0.lock().insert(folder.into(), fault);
    }

    /// It does no more.
    pub fn heal(&self, folder: impl AsRef<Path>) {
        self.faults.0.lock().remove(folder.as_ref());
    }
}

impl Faults {
    fn check(&self, path: &Path, act: Act) -> io::Result<()> {
        let faults = self.0.lock();
        let Some(fault) = path.ancestors().find_map(|above| faults.get(above)) else { return Ok(()) };
        let number = match (fault, act) {
            (Fault::All, _) | (Fault::Reads, Act::Read) | (Fault::Writes, Act::Write) | (Fault::Syncs, Act::Sync) => {
                EIO
            }
            (Fault::ReadOnly, Act::Write) => EROFS,
            _ => return Ok(()),
        };
        Err(io::Error::from_raw_os_error(number))
    }
}

#[deny(clippy::missing_trait_methods)]
impl Io for FailingIo {
    fn is_system(&self) -> bool {
        // Who has a descriptor reads past the faults.
        false
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        self.faults.check(path, if mode == OpenMode::CreateNew { Act::Write } else { Act::Look })?;
        let file = self.inner.open(path, mode)?;
        Ok(Arc::new(FailingFile { file, path: path.to_path_buf(), faults: self.faults.clone() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.faults.check(path, Act::Write)?;
        self.inner.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.faults.check(path, Act::Read)?;
        self.inner.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(from, Act::Write)?;
        self.faults.check(to, Act::Write)?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.faults.check(path, Act::Write)?;
        self.inner.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.check(path, Act::Sync)?;
        self.inner.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.faults.check(path, Act::Look)?;
        self.inner.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.faults.check(path, Act::Look)?;
        self.inner.space(path)
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.faults.check(folder, Act::Look)?;
        self.inner.lock(folder)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Bytes> {
        self.faults.check(path, Act::Read)?;
        self.inner.read(path, limit)
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn IoFile>,
    path: PathBuf,
    faults: Faults,
}

#[deny(clippy::missing_trait_methods)]
impl IoFile for FailingFile {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.faults.check(&self.path, Act::Read)?;
        self.file.read_at(offset, length)
    }

    fn read_into(&self, offset: u64, length: usize, buffer: Vec<u8>) -> io::Result<Bytes> {
        self.faults.check(&self.path, Act::Read)?;
        self.file.read_into(offset, length, buffer)
    }

    fn read_cached(&self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        self.faults.check(&self.path, Act::Read)?;
        self.file.read_cached(offset, length)
    }

    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check(&self.path, Act::Write)?;
        self.file.write_all_at(offset, data)
    }

    fn write_direct_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check(&self.path, Act::Write)?;
        self.file.write_direct_at(offset, data)
    }

    fn write_parts_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.faults.check(&self.path, Act::Write)?;
        self.file.write_parts_at(offset, parts)
    }

    fn len(&self) -> io::Result<u64> {
        self.faults.check(&self.path, Act::Look)?;
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.faults.check(&self.path, Act::Write)?;
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.check(&self.path, Act::Sync)?;
        self.file.sync_data()
    }

    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()> {
        self.faults.check(&self.path, Act::Look)?;
        self.file.start_writeback(offset, length)
    }

    fn drop_cached(&self, offset: u64, length: u64) -> io::Result<()> {
        self.faults.check(&self.path, Act::Look)?;
        self.file.drop_cached(offset, length)
    }

    fn read_only(&self) -> io::Result<Option<std::fs::File>> {
        Ok(None)
    }
}
