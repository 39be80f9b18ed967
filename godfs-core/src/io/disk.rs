//! The machine's disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::FlockOperation;

use super::direct::Direct;
use super::{DiskSpace, Entry, Io, IoFile, LockGuard, OpenMode, PAGE, read_buffer};

/// The machine's disk, through the file system. Unix only.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskIo;

impl Io for DiskIo {
    fn is_system(&self) -> bool {
        true
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Existing => options.write(true),
            OpenMode::ReadOnly => &mut options,
            OpenMode::CreateNew => options.write(true).create_new(true),
        };
        Ok(Arc::new(DiskFile { file: options.open(path)?, direct: Direct::default() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir: metadata.is_dir(),
                length: if metadata.is_dir() { 0 } else { metadata.len() },
            });
        }
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("LOCK"))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(DiskLock { _file: file }))
    }
}

#[derive(Debug)]
struct DiskLock {
    /// The lock hangs on the open file.
    _file: File,
}

impl LockGuard for DiskLock {}

#[derive(Debug)]
struct DiskFile {
    file: File,
    direct: Direct,
}

impl IoFile for DiskFile {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.read_into(offset, length, read_buffer(length))
    }

    fn read_into(&self, offset: u64, length: usize, mut buffer: Vec<u8>) -> io::Result<Bytes> {
        buffer.clear();
        buffer.reserve(length + PAGE);
        let pad = buffer.as_ptr().align_offset(PAGE).min(PAGE);
        buffer.resize(pad, 0);
        let end = pad + length;
        let mut at = offset;
        while buffer.len() < end {
            // The buffer has room to spare past `end`; reading a little more than asked is cut off below.
            let read = match rustix::io::pread(&self.file, spare_capacity(&mut buffer), at) {
                Ok(0) => break,
                Ok(read) => read,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            at += read as u64;
        }
        buffer.truncate(end);
        Ok(Bytes::from(buffer).slice(pad..))
    }

    #[cfg(target_os = "linux")]
    fn read_cached(&self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let mut buffer = vec![0; length];
        match preadv2(&self.file, &mut [io::IoSliceMut::new(&mut buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == length => Ok(Some(buffer.into())),
            // The end of the file, or of what is in memory.
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn write_direct_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.direct.write_all_at(&self.file, offset, data)
    }

    #[cfg(target_os = "linux")]
    fn write_parts_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let slices: Vec<_> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
        let mut written = loop {
            match rustix::io::pwritev(&self.file, &slices, offset) {
                Ok(written) => break written,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let mut at = offset;
        for part in parts {
            let done = written.min(part.len());
            if done < part.len() {
                self.file.write_all_at(&part[done..], at + done as u64)?;
            }
            written -= done;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()> {
        // There is no safe wrapper of `sync_file_range`. This begins the same writeback; what has just been sent to the disk is not
        // clean yet, so it stays for readers.
        dont_need(&self.file, offset, length)
    }

    fn drop_cached(&self, offset: u64, length: u64) -> io::Result<()> {
        dont_need(&self.file, offset, length)
    }

    #[cfg(target_os = "linux")]
    fn read_only(&self) -> io::Result<Option<File>> {
        use std::os::fd::AsRawFd;
        // A duplicate could be written to, as this one can. This works whatever has become of the file's name.
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd())).map(Some)
    }
}

/// Begins the writeback of what is dirty in a range, and drops its clean pages.
fn dont_need(file: &File, offset: u64, length: u64) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(length), rustix::fs::Advice::DontNeed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::publish;

    #[test]
    fn reads_what_was_written_aligned_and_short_at_the_end() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = DiskIo.open(&folder.path().join("f"), OpenMode::CreateNew).expect("create");
        let data: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        file.write_all_at(0, &data).expect("write");
        let read = file.read_at(1_000, 50_000).expect("read");
        assert_eq!(&read[..], &data[1_000..51_000]);
        assert_eq!(read.as_ptr().align_offset(PAGE), 0);
        assert_eq!(file.read_at(99_990, 50).expect("read").len(), 10);
        assert_eq!(file.read_at(200_000, 50).expect("read").len(), 0);
    }

    #[test]
    fn a_folder_is_locked_once() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let held = DiskIo.lock(folder.path()).expect("first");
        assert_eq!(DiskIo.lock(folder.path()).expect_err("second").kind(), io::ErrorKind::WouldBlock);
        drop(held);
        DiskIo.lock(folder.path()).expect("after the first let go");
    }

    #[test]
    fn publish_replaces_whole() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("state");
        publish(&DiskIo, &path, b"one").expect("first");
        publish(&DiskIo, &path, b"two").expect("second");
        assert_eq!(&DiskIo.read(&path, 10).expect("read")[..], b"two");
        assert!(DiskIo.read(&path, 2).is_err());
        assert_eq!(DiskIo.read_dir(folder.path()).expect("list").len(), 1);
    }
}
