//! Writes around the page cache.
//!
//! A page that a file is written into costs more than the copy: the kernel has to find it, and on a virtual machine the host may have to find it first. Bytes that
//! nobody will read soon are written from a buffer of our own, which is used again and again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Where a direct write begins and ends, in the file and in memory. Every disk's sectors divide it.
const PAGE: usize = 4_096;
/// Below, the wait for the disk costs more than a page.
const SMALLEST: usize = 256 << 10;
/// The most that is copied and written at once.
const LARGEST: usize = 1 << 20;
/// Buffers of the process: so many such writes at once, further ones go through the page cache.
const BUFFERS: usize = 16;

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), made: 0 });

/// A file's second descriptor, opened when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Direct {
    file: OnceLock<Option<File>>,
    /// The file system, or the disk below it, takes no such writes.
    refused: AtomicBool,
}

impl Direct {
    /// Writes all of `data` at `offset` of the file, as much of it as can be around the page cache. Durable only after a sync.
    pub(super) fn write_all_at(&self, file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        let head = usize::try_from(offset.next_multiple_of(PAGE as u64) - offset).unwrap_or(data.len()).min(data.len());
        let body = (data.len() - head) / PAGE * PAGE;
        let direct = if body < SMALLEST || self.refused.load(Ordering::Relaxed) { None } else { self.open(file) };
        let Some(direct) = direct else { return file.write_all_at(data, offset) };
        if head > 0 {
            file.write_all_at(&data[..head], offset)?;
        }
        let mut at = offset + head as u64;
        for part in data[head..head + body].chunks(LARGEST) {
            let buffer = POOL.lock().take();
            let written = buffer.map(|mut buffer| {
                let written = direct.write_all_at(buffer.filled(part), at);
                POOL.lock().idle.push(buffer);
                written
            });
            match written {
                Some(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.refused.store(true, Ordering::Relaxed);
                    file.write_all_at(part, at)?;
                }
                Some(written) => written?,
                None => file.write_all_at(part, at)?,
            }
            at += part.len() as u64;
        }
        if head + body < data.len() {
            file.write_all_at(&data[head + body..], at)?;
        }
        Ok(())
    }

    fn open(&self, file: &File) -> Option<&File> {
        self.file.get_or_init(|| reopened(file)).as_ref()
    }
}

#[cfg(target_os = "linux")]
fn reopened(file: &File) -> Option<File> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
    // Whatever has become of the file's name. Where it is refused, pages do.
    std::fs::OpenOptions::new().write(true).custom_flags(flags).open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

#[cfg(not(target_os = "linux"))]
fn reopened(_: &File) -> Option<File> {
    None
}

/// The buffers, each in use by one write at a time.
#[derive(Debug)]
struct Pool {
    idle: Vec<Buffer>,
    made: usize,
}

impl Pool {
    /// One that is idle, or a new one unless there are enough.
    fn take(&mut self) -> Option<Buffer> {
        if let Some(buffer) = self.idle.pop() {
            return Some(buffer);
        }
        let more = self.made < BUFFERS;
        self.made += usize::from(more);
        more.then(Buffer::default)
    }
}

/// Memory that begins at a page.
#[derive(Debug, Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    /// A copy of `data`.
    fn filled(&mut self, data: &[u8]) -> &[u8] {
        if self.0.is_empty() {
            self.0 = vec![0; LARGEST + PAGE];
        }
        let begin = self.0.as_ptr().align_offset(PAGE).min(PAGE);
        let buffer = &mut self.0[begin..begin + data.len()];
        buffer.copy_from_slice(data);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_bounded_and_used_again() {
        let mut pool = Pool { idle: Vec::new(), made: 0 };
        let mut taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), BUFFERS);
        pool.idle.extend(taken.pop());
        assert!(pool.take().is_some() && pool.take().is_none());
    }

    #[test]
    fn direct_and_other_writes_make_one_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("file");
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("create");
        let mut expected = Vec::new();
        let mut rng = fastrand::Rng::with_seed(7);
        for round in 0..60_usize {
            let length = [1, 4_096, 300_000, 1 << 20, (2 << 20) + 5][round % 5];
            let mut offset = rng.usize(..3 << 20);
            if round % 2 == 0 {
                offset = offset / PAGE * PAGE;
            }
            let data: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
            if round % 3 == 0 {
                file.write_all_at(&data, offset as u64).expect("write");
            } else {
                // One that was refused before would hide what a later one does.
                Direct::default().write_all_at(&file, offset as u64, &data).expect("write");
            }
            expected.resize(expected.len().max(offset + length), 0);
            expected[offset..offset + length].copy_from_slice(&data);
            assert!(std::fs::read(&path).expect("read") == expected, "other bytes after round {round}");
        }
    }
}
