//! A disk in memory that can lose power.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::sim_pages::{Change, PAGE, Pages, settle};
use super::{DiskSpace, Entry, Io, IoFile, LockGuard, OpenMode};

/// A disk in memory that can lose power, fail and fill up. Clones are handles on the same disk.
///
/// It promises what the contract of [`Io`] promises and nothing more. What was not synced is decided at the crash, from
/// a seed, for each file and directory on its own:
/// - a write is kept, lost, cut at a multiple of 512 bytes, or kept only in some of its 512-byte sectors; later writes
///   may be kept while earlier ones are lost; a file may have grown without its new bytes, which then are zeros;
/// - a name that was created, removed or renamed is kept or lost; a rename within a directory is atomic; one between
///   directories may be found under both names, never under none;
/// - a directory whose own name is lost is gone with all that is in it.
///
/// After a failed sync the same is decided at once for what it covered, and a later sync does not bring back what was
/// lost, as on Linux: the file still reads as it was written until the crash.
#[derive(Clone, Debug)]
pub struct SimIo {
    disk: Arc<Mutex<Disk>>,
}

/// What fails on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// Reading the bytes of files.
    pub reads: bool,
    /// Writing bytes, and changing lengths and names.
    pub writes: bool,
    /// Syncing files and directories.
    pub syncs: bool,
}

/// The total that a disk without a capacity claims to have, in bytes.
const UNLIMITED: u64 = 1 << 50;

impl SimIo {
    /// An empty disk. The seed decides only what a failed sync leaves behind.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk::new(seed))) }
    }

    /// The disk as it may be found after a loss of power now; equal seeds give equal disks. This one goes on as if
    /// nothing had happened, so that many crashes can be tried from one state; whatever still runs on it can't touch
    /// the disk that was found. Locks and faults are not carried over.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        self.after(seed, &mut |chance| match chance {
            Chance::File(durable, pending) => settle(durable, pending, &mut rng),
            Chance::Directory(kept) => match rng.u8(0..4) {
                0 => kept.fill(true),
                1 => kept.fill(false),
                _ => kept.iter_mut().for_each(|keep| *keep = rng.bool()),
            },
        })
    }

    /// The disk after a loss of power that took everything that was not synced.
    #[must_use]
    pub fn crash_losing_all(&self) -> Self {
        self.after(0, &mut |chance| {
            if let Chance::Directory(kept) = chance {
                kept.fill(false);
            }
        })
    }

    /// The disk after a kill of the process, which loses nothing that was written.
    #[must_use]
    pub fn crash_keeping_all(&self) -> Self {
        self.after(0, &mut |chance| match chance {
            Chance::File(durable, pending) => pending.iter().for_each(|change| change.apply(durable)),
            Chance::Directory(kept) => kept.fill(true),
        })
    }

    /// Fails the `n`-th sync from now on, of a file or a directory; 1 is the next one.
    pub fn fail_sync(&self, n: u64) {
        let mut disk = self.disk.lock();
        disk.failing_sync = Some(disk.syncs + n);
    }

    /// What fails from now on, each call with an error. A write that fails may have left some of its sectors, a sync that fails some of what it
    /// covered; a single sync that was still [to fail](Self::fail_sync) no longer does. A disk that is found after a crash has no faults.
    pub fn set_failing(&self, failing: Failing) {
        let mut disk = self.disk.lock();
        disk.failing = failing;
        disk.failing_sync = None;
    }

    /// Takes the power away in the middle of the `n`-th change from now on (a write, a change of length or of a name,
    /// a sync), 1 being the next one; that call and every later one fail, reads too. Use [`SimIo::crash`] to see what is found.
    pub fn cut_power_at(&self, n: u64) {
        let mut disk = self.disk.lock();
        disk.last_change = Some(disk.changes + n);
    }

    /// How many changes were made (see [`SimIo::cut_power_at`]).
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.disk.lock().changes
    }

    /// How many syncs of files and directories were asked for.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk.lock().syncs
    }

    /// Limits the disk to `bytes` in all, counted in pages of 4 KiB that hold written bytes; a write that needs more
    /// fails with [`io::ErrorKind::StorageFull`] and writes nothing. `None` takes the limit away.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.lock().capacity = bytes;
    }

    /// The bytes that count against the capacity.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.disk.lock().used()
    }

    /// Flips one bit of a file, on the disk and in what is read from now on, as a bad sector does.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`]; [`io::ErrorKind::InvalidInput`] when the file is not that long.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let file = self.disk.lock().file(path)?;
        let mut file = file.lock();
        let byte = file.current.read(offset, 1);
        let Some(byte) = byte.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let flipped = [byte ^ (1 << (bit % 8))];
        file.current.write(offset, &flipped);
        if offset < file.durable.length() {
            file.durable.write(offset, &flipped);
        }
        Ok(())
    }

    fn after(&self, seed: u64, decide: &mut dyn FnMut(Chance<'_>)) -> Self {
        let disk = self.disk.lock();
        let mut found = Disk::new(seed);
        // One file may be found under two names and must stay one file.
        let mut files = BTreeMap::new();
        let kept = disk.kept(decide);
        disk.found(ROOT, ROOT, &mut found, &mut files, &kept, decide);
        found.next = disk.next;
        Self { disk: Arc::new(Mutex::new(found)) }
    }

    fn change<T>(&self, work: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        disk.powered()?;
        disk.changes += 1;
        let done = work(&mut disk)?;
        // Power goes while the call is under way: what it did may be found, but nobody was told.
        disk.powered()?;
        Ok(done)
    }
}

/// Something that the loss of power decides.
enum Chance<'a> {
    /// What is durable of a file, and what was written since.
    File(&'a mut Pages, &'a [Change]),
    /// Whether to keep each of the changes of a directory.
    Directory(&'a mut [bool]),
}

#[derive(Debug)]
struct Disk {
    directories: BTreeMap<u64, Directory>,
    next: u64,
    locks: BTreeSet<PathBuf>,
    syncs: u64,
    failing_sync: Option<u64>,
    failing: Failing,
    changes: u64,
    last_change: Option<u64>,
    capacity: Option<u64>,
    rng: fastrand::Rng,
}

const ROOT: u64 = 0;

#[derive(Debug, Default)]
struct Directory {
    current: BTreeMap<String, Link>,
    durable: BTreeMap<String, Link>,
    pending: Vec<Renaming>,
}

#[derive(Clone, Debug)]
enum Link {
    Directory(u64),
    File(Arc<Mutex<File>>),
}

/// A change of names that a crash keeps or loses whole.
#[derive(Clone, Debug)]
struct Renaming {
    /// Equal in the two directories of a rename between them.
    number: u64,
    /// The other directory, in the one where the name was taken away.
    moved_to: Option<u64>,
    names: Vec<(String, Option<Link>)>,
}

#[derive(Debug, Default)]
struct File {
    number: u64,
    current: Pages,
    durable: Pages,
    pending: Vec<Change>,
}

impl Disk {
    fn new(seed: u64) -> Self {
        Self {
            directories: BTreeMap::from([(ROOT, Directory::default())]),
            next: 1,
            locks: BTreeSet::new(),
            syncs: 0,
            failing_sync: None,
            failing: Failing::default(),
            changes: 0,
            last_change: None,
            capacity: None,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    fn powered(&self) -> io::Result<()> {
        match self.last_change {
            Some(last) if self.changes >= last => Err(io::Error::other("the simulated disk has lost power")),
            _ => Ok(()),
        }
    }

    fn writable(&self) -> io::Result<()> {
        if self.failing.writes { Err(io::Error::other("the simulated disk failed to write")) } else { Ok(()) }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn used(&self) -> u64 {
        let mut used = 0;
        for directory in self.directories.values() {
            for link in directory.current.values() {
                if let Link::File(file) = link {
                    used += file.lock().current.allocated();
                }
            }
        }
        used
    }

    fn directory(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for name in names(path)? {
            match self.directories[&at].current.get(&name) {
                Some(Link::Directory(below)) => at = *below,
                Some(Link::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(not_found(path)),
            }
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut all = names(path)?;
        let name = all.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.directory(&all.iter().collect::<PathBuf>())?, name))
    }

    fn link(&self, path: &Path) -> io::Result<Link> {
        if names(path)?.is_empty() {
            return Ok(Link::Directory(ROOT));
        }
        let (directory, name) = self.parent(path)?;
        self.directories[&directory].current.get(&name).cloned().ok_or_else(|| not_found(path))
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<File>>> {
        match self.link(path)? {
            Link::File(file) => Ok(file),
            Link::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn rename_in(&mut self, directory: u64, change: Renaming) {
        let directory = self.directories.get_mut(&directory).expect("a directory that was found");
        change.apply(&mut directory.current);
        directory.pending.push(change);
    }

    /// Counts a sync; an error when it was to fail.
    fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.failing.syncs || self.failing_sync == Some(self.syncs) {
            self.failing_sync = None;
            return Err(io::Error::other("the simulated disk failed to sync"));
        }
        Ok(())
    }

    fn sync_names(&mut self, directory: u64, upto: Option<u64>) {
        let entry = self.directories.get_mut(&directory).expect("a directory that was found");
        let count = match upto {
            Some(number) => entry.pending.iter().take_while(|change| change.number <= number).count(),
            None => entry.pending.len(),
        };
        let synced: Vec<Renaming> = entry.pending.drain(..count).collect();
        for change in synced {
            // The new name reaches the disk no later than the loss of the old one.
            if let Some(other) = change.moved_to {
                self.sync_names(other, Some(change.number));
            }
            let entry = self.directories.get_mut(&directory).expect("a directory that was found");
            change.apply(&mut entry.durable);
        }
    }

    /// Decides which of the unsynced changes of names are found: (directory, number of the change).
    fn kept(&self, decide: &mut dyn FnMut(Chance<'_>)) -> BTreeSet<(u64, u64)> {
        let mut all = BTreeSet::new();
        for (number, directory) in &self.directories {
            let mut kept = vec![false; directory.pending.len()];
            decide(Chance::Directory(&mut kept));
            let changes = directory.pending.iter().zip(&kept).filter(|(_, keep)| **keep);
            all.extend(changes.map(|(change, _)| (*number, change.number)));
        }
        // The loss of an old name is found only together with the new one.
        let moves = self.directories.iter().flat_map(|(from, directory)| {
            directory.pending.iter().filter_map(move |change| Some((*from, change.moved_to?, change.number)))
        });
        for (from, to, number) in moves {
            let pending = self.directories[&to].pending.iter().any(|change| change.number == number);
            if pending && !all.contains(&(to, number)) {
                all.remove(&(from, number));
            }
        }
        all
    }

    /// Copies directory `from` into directory `to` of `found`, as it is after the crash.
    fn found(
        &self,
        from: u64,
        to: u64,
        found: &mut Self,
        files: &mut BTreeMap<u64, Arc<Mutex<File>>>,
        kept: &BTreeSet<(u64, u64)>,
        decide: &mut dyn FnMut(Chance<'_>),
    ) {
        let entry = &self.directories[&from];
        let mut names = entry.durable.clone();
        let changes = entry.pending.iter().filter(|change| kept.contains(&(from, change.number)));
        changes.for_each(|change| change.apply(&mut names));
        for (name, link) in names {
            let link = match link {
                Link::Directory(below) => {
                    let copy = found.number();
                    found.directories.insert(copy, Directory::default());
                    self.found(below, copy, found, files, kept, decide);
                    Link::Directory(copy)
                }
                Link::File(file) => {
                    let file = file.lock();
                    let copy = files.entry(file.number).or_insert_with(|| {
                        let mut durable = file.durable.clone();
                        decide(Chance::File(&mut durable, &file.pending));
                        let current = durable.clone();
                        Arc::new(Mutex::new(File { number: file.number, current, durable, pending: Vec::new() }))
                    });
                    Link::File(Arc::clone(copy))
                }
            };
            let directory = found.directories.get_mut(&to).expect("made by the caller");
            directory.current.insert(name.clone(), link.clone());
            directory.durable.insert(name, link);
        }
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<String, Link>) {
        for (name, link) in &self.names {
            match link {
                Some(link) => names.insert(name.clone(), link.clone()),
                None => names.remove(name),
            };
        }
    }
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist on the simulated disk", path.display()))
}

impl Io for SimIo {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        let file = if mode == OpenMode::CreateNew {
            self.change(|disk| {
                disk.writable()?;
                let (directory, name) = disk.parent(path)?;
                if disk.directories[&directory].current.contains_key(&name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let number = disk.number();
                let file = Arc::new(Mutex::new(File { number, ..File::default() }));
                let names = vec![(name, Some(Link::File(Arc::clone(&file))))];
                disk.rename_in(directory, Renaming { number, moved_to: None, names });
                Ok(file)
            })?
        } else {
            let disk = self.disk.lock();
            disk.powered()?;
            disk.file(path)?
        };
        Ok(Arc::new(SimFile { io: self.clone(), file, read_only: mode == OpenMode::ReadOnly }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut at = PathBuf::new();
        for name in names(path)? {
            at.push(&name);
            match self.disk.lock().link(&at) {
                Ok(Link::Directory(_)) => continue,
                Ok(Link::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                Err(_) => {}
            }
            self.change(|disk| {
                disk.writable()?;
                let (parent, name) = disk.parent(&at)?;
                let number = disk.number();
                disk.directories.insert(number, Directory::default());
                let names = vec![(name, Some(Link::Directory(number)))];
                disk.rename_in(parent, Renaming { number, moved_to: None, names });
                Ok(())
            })?;
        }
        self.disk.lock().powered()
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let disk = self.disk.lock();
        disk.powered()?;
        let directory = disk.directory(path)?;
        let entry = |(name, link): (&String, &Link)| match link {
            Link::Directory(_) => Entry { name: name.clone(), is_dir: true, length: 0 },
            Link::File(file) => Entry { name: name.clone(), is_dir: false, length: file.lock().current.length() },
        };
        Ok(disk.directories[&directory].current.iter().map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|disk| {
            disk.writable()?;
            let file = disk.file(from)?;
            let (source, old) = disk.parent(from)?;
            let (target, new) = disk.parent(to)?;
            if matches!(disk.directories[&target].current.get(&new), Some(Link::Directory(_))) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if source == target && old == new {
                return Ok(());
            }
            let number = disk.number();
            let gone = (old, None);
            let come = (new, Some(Link::File(file)));
            if source == target {
                disk.rename_in(source, Renaming { number, moved_to: None, names: vec![gone, come] });
            } else {
                disk.rename_in(target, Renaming { number, moved_to: None, names: vec![come] });
                disk.rename_in(source, Renaming { number, moved_to: Some(target), names: vec![gone] });
            }
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(|disk| {
            disk.writable()?;
            disk.file(path)?;
            let (directory, name) = disk.parent(path)?;
            let number = disk.number();
            disk.rename_in(directory, Renaming { number, moved_to: None, names: vec![(name, None)] });
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|disk| {
            let directory = disk.directory(path)?;
            disk.sync()?;
            disk.powered()?;
            disk.sync_names(directory, None);
            Ok(())
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let disk = self.disk.lock();
        disk.powered()?;
        match disk.link(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let disk = self.disk.lock();
        disk.powered()?;
        disk.link(path)?;
        let total = disk.capacity.unwrap_or(UNLIMITED);
        Ok(DiskSpace { total, free: total.saturating_sub(disk.used()) })
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn LockGuard>> {
        let path = folder.join("LOCK");
        if !self.exists(&path)? {
            self.open(&path, OpenMode::CreateNew)?;
        }
        let key = names(&path)?.iter().collect::<PathBuf>();
        if !self.disk.lock().locks.insert(key.clone()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { io: self.clone(), key }))
    }
}

#[derive(Debug)]
struct SimLock {
    io: SimIo,
    key: PathBuf,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.io.disk.lock().locks.remove(&self.key);
    }
}

#[derive(Debug)]
struct SimFile {
    io: SimIo,
    file: Arc<Mutex<File>>,
    read_only: bool,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.io.change(|disk| {
            if let Some(capacity) = disk.capacity {
                let more = change.allocates(&self.file.lock().current);
                if more > 0 && disk.used() + more > capacity {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            let mut file = self.file.lock();
            if let Err(error) = disk.writable() {
                // Some of its sectors are written, or all, or none; nobody knows.
                if let Some(part) = change.part(&mut disk.rng) {
                    part.apply(&mut file.current);
                    file.pending.push(part);
                }
                return Err(error);
            }
            change.apply(&mut file.current);
            file.pending.push(change);
            Ok(())
        })
    }
}

impl IoFile for SimFile {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        {
            let disk = self.io.disk.lock();
            disk.powered()?;
            if disk.failing.reads {
                return Err(io::Error::other("the simulated disk failed to read"));
            }
        }
        let file = self.file.lock();
        let length = length.min(usize::try_from(file.current.length().saturating_sub(offset)).unwrap_or(usize::MAX));
        let mut buffer: Vec<u8> = Vec::with_capacity(length + PAGE);
        let pad = buffer.as_ptr().align_offset(PAGE).min(PAGE);
        buffer.resize(pad, 0);
        file.current.read_into(offset, length, &mut buffer);
        Ok(Bytes::from(buffer).slice(pad..))
    }

    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.change(Change::Write { offset, data: Bytes::copy_from_slice(data) })
    }

    fn len(&self) -> io::Result<u64> {
        self.io.disk.lock().powered()?;
        Ok(self.file.lock().current.length())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.io.change(|disk| {
            let synced = disk.sync();
            disk.powered()?;
            let mut file = self.file.lock();
            let File { durable, pending, .. } = &mut *file;
            match &synced {
                Ok(()) => pending.iter().for_each(|change| change.apply(durable)),
                Err(_) => settle(durable, pending, &mut disk.rng),
            }
            pending.clear();
            synced
        })
    }

    fn start_writeback(&self, _offset: u64, _length: u64) -> io::Result<()> {
        self.io.disk.lock().powered()
    }

    fn drop_cached(&self, _offset: u64, _length: u64) -> io::Result<()> {
        self.io.disk.lock().powered()
    }
}
