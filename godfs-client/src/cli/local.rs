//! Local files: read in blocks, and published only when whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use godfs_core::{Error, ErrorKind, Result};
use tempfile::{Builder, NamedTempFile, TempDir};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::platform;
use super::target::Found;

/// Bytes read at once: what one packet holds.
const BLOCK_BYTES: usize = 1 << 20;
/// Blocks between a disk and the network: enough to bridge their pauses, little memory.
const BLOCKS_AHEAD: usize = 4;
/// The start of the names of what is not yet whole.
const STAGED_PREFIX: &str = ".godfs-";

/// What stands under `path`, links followed.
///
/// # Errors
/// [`ErrorKind::Io`] when that can't be told.
pub(super) fn look(path: &Path) -> Result<Found> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(Found::Directory),
        Ok(found) if found.is_file() => Ok(Found::File),
        Ok(_) => Ok(Found::Special),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(failed("look at", path, error)),
    }
}

/// An error with a local file, with the kind that its cause has.
pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        io::ErrorKind::IsADirectory => ErrorKind::IsADirectory,
        io::ErrorKind::NotADirectory => ErrorKind::NotADirectory,
        io::ErrorKind::DirectoryNotEmpty => ErrorKind::DirectoryNotEmpty,
        _ => return Error::io(format_args!("{what} {}", path.display()), error),
    };
    Error::new(kind, format!("{what} {}: {error}", path.display())).with_source(error)
}

/// Bytes that a pipe gives at once.
const PIECE_BYTES: usize = 64 << 10;

/// Reads `source` to its end on a thread of its own, a block at a time; an error is the last thing that comes.
pub(super) fn read_blocks(source: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Bytes>> {
    read_by(source, read_block)
}

/// As [`read_blocks`], but what has come is not kept waiting for more.
pub(super) fn read_pieces(source: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Bytes>> {
    read_by(source, read_piece)
}

fn read_by<R: Read + Send + 'static>(
    mut source: R,
    read: impl Fn(&mut R) -> io::Result<Bytes> + Send + 'static,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (blocks, receiver) = mpsc::channel(BLOCKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            match read(&mut source) {
                Ok(block) if block.is_empty() => return,
                Ok(block) => {
                    // Nobody waits for more.
                    if blocks.blocking_send(Ok(block)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = blocks.blocking_send(Err(error));
                    return;
                }
            }
        }
    });
    receiver
}

/// A whole block, less only at the end.
fn read_block(source: &mut impl Read) -> io::Result<Bytes> {
    let mut block = BytesMut::zeroed(BLOCK_BYTES);
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(filled);
    Ok(block.freeze())
}

/// What one read gives.
fn read_piece(source: &mut impl Read) -> io::Result<Bytes> {
    let mut piece = BytesMut::zeroed(PIECE_BYTES);
    loop {
        match source.read(&mut piece) {
            Ok(read) => {
                piece.truncate(read);
                return Ok(piece.freeze());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A thread that writes what it is sent, in order.
#[derive(Debug)]
pub(super) struct BlockWriter {
    blocks: mpsc::Sender<Bytes>,
    thread: JoinHandle<io::Result<()>>,
}

impl BlockWriter {
    /// Writes to `target`; once all is written, calls `finish` on it.
    pub(super) fn start<W>(mut target: W, finish: impl FnOnce(W) -> io::Result<()> + Send + 'static) -> Self
    where
        W: Write + Send + 'static,
    {
        let (blocks, mut receiver) = mpsc::channel::<Bytes>(BLOCKS_AHEAD);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(block) = receiver.blocking_recv() {
                target.write_all(&block)?;
            }
            finish(target)
        });
        Self { blocks, thread }
    }

    /// Hands over more bytes. `false` when the thread has failed: [`Self::finish`] says how.
    pub(super) async fn write(&self, block: Bytes) -> bool {
        self.blocks.send(block).await.is_ok()
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) -> io::Result<()> {
        drop(self.blocks);
        self.thread.await.unwrap_or_else(|_| Err(io::Error::other("the writing thread ended early")))
    }
}

/// A file on its way to `target`: under a temporary name beside it until [`Staged::publish`], gone if that never comes.
#[derive(Debug)]
pub(super) struct Staged {
    file: NamedTempFile,
    target: PathBuf,
    force: bool,
}

impl Staged {
    /// Begins a file that will be `target`; over an existing file only with `force`. A link to a file stays a link.
    pub(super) fn create(target: &Path, force: bool) -> Result<Self> {
        let target = match fs::symlink_metadata(target) {
            Ok(found) if found.is_symlink() => {
                fs::canonicalize(target).map_err(|error| failed("follow", target, error))?
            }
            _ => target.to_path_buf(),
        };
        let mut builder = Builder::new();
        builder.prefix(STAGED_PREFIX);
        if let Some(permissions) = platform::new_file_permissions() {
            builder.permissions(permissions);
        }
        let file = builder.tempfile_in(parent(&target)).map_err(|error| failed("create", &target, error))?;
        Ok(Self { file, target, force })
    }

    /// A handle to write through.
    pub(super) fn handle(&self) -> Result<File> {
        self.file.as_file().try_clone().map_err(|error| failed("create", &self.target, error))
    }

    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when the name was taken and may not be replaced.
    pub(super) fn publish(self) -> Result<()> {
        let Self { file, target, force } = self;
        file.as_file().sync_all().map_err(|error| failed("sync", &target, error))?;
        let published = if force { file.persist(&target) } else { file.persist_noclobber(&target) };
        match published {
            Ok(_) => sync_directory(parent(&target)),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::new(ErrorKind::AlreadyExists, target.display().to_string()))
            }
            Err(error) => Err(failed("publish", &target, error.error)),
        }
    }
}

/// A directory on its way to `target`, likewise.
#[derive(Debug)]
pub(super) struct StagedTree {
    directory: TempDir,
    target: PathBuf,
}

impl StagedTree {
    /// Begins a directory that will be `target`, which does not exist yet.
    pub(super) fn create(target: &Path) -> Result<Self> {
        let directory = Builder::new()
            .prefix(STAGED_PREFIX)
            .tempdir_in(parent(target))
            .map_err(|error| failed("create", target, error))?;
        Ok(Self { directory, target: target.to_path_buf() })
    }

    /// Where its files go for now.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives it its name. Its files are durable already.
    pub(super) fn publish(self) -> Result<()> {
        let Self { directory, target } = self;
        sync_directory(directory.path())?;
        fs::rename(directory.path(), &target).map_err(|error| failed("publish", &target, error))?;
        // It has another name now, under which nothing removes it.
        let _ = directory.keep();
        sync_directory(parent(&target))
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    // Where a directory can't be opened its entries are the system's own concern.
    let Ok(directory) = File::open(path) else { return Ok(()) };
    match directory.sync_all() {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(failed("sync", path, error)),
        _ => Ok(()),
    }
}

/// The directory that holds `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("folder");
        let target = folder.path().join("a");
        let staged = Staged::create(&target, false).expect("staged");
        staged.handle().expect("handle").write_all(b"half").expect("written");
        assert_eq!(look(&target).expect("looked"), Found::Nothing);
        drop(staged);
        assert_eq!(names(folder.path()), [""; 0]);

        let staged = Staged::create(&target, false).expect("staged");
        staged.handle().expect("handle").write_all(b"whole").expect("written");
        staged.publish().expect("published");
        assert_eq!(fs::read(&target).expect("read"), b"whole");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn only_force_replaces() {
        let folder = tempfile::tempdir().expect("folder");
        let target = folder.path().join("a");
        fs::write(&target, "old").expect("written");
        let error = Staged::create(&target, false).expect("staged").publish().expect_err("exists");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).expect("read"), b"old");
        Staged::create(&target, true).expect("staged").publish().expect("replaced");
        assert_eq!(fs::read(&target).expect("read"), b"");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_tree_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("folder");
        let target = folder.path().join("tree");
        let staged = StagedTree::create(&target).expect("staged");
        fs::write(staged.path().join("a"), "a").expect("written");
        drop(staged);
        assert_eq!(names(folder.path()), [""; 0]);

        let staged = StagedTree::create(&target).expect("staged");
        fs::write(staged.path().join("a"), "a").expect("written");
        staged.publish().expect("published");
        assert_eq!(names(folder.path()), ["tree"]);
        assert_eq!(names(&target), ["a"]);
        let error = StagedTree::create(&target.join("a/b")).expect_err("a file is in the way");
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }

    #[tokio::test]
    async fn blocks_come_whole_and_in_order() {
        // Reads give little at a time, as pipes do.
        let (length, seed) = (2 * BLOCK_BYTES + 17, 7);
        let mut data = vec![0; length];
        fastrand::Rng::with_seed(seed).fill(&mut data);
        let expected = data.clone();
        let mut blocks = read_blocks(io::Cursor::new(data).take(length as u64));
        let mut lengths = Vec::new();
        let mut all = Vec::new();
        while let Some(block) = blocks.recv().await {
            let block = block.expect("block");
            lengths.push(block.len());
            all.extend_from_slice(&block);
        }
        assert_eq!(lengths, [BLOCK_BYTES, BLOCK_BYTES, 17]);
        assert!(all == expected);
    }

    #[tokio::test]
    async fn a_failed_write_is_told_at_the_end() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writer = BlockWriter::start(Full, |_| Ok(()));
        while writer.write(Bytes::from_static(b"x")).await {}
        assert_eq!(writer.finish().await.expect_err("full").kind(), io::ErrorKind::StorageFull);
    }
}
