//! What a start finds: every file is looked at and classified, and nothing half-written is promoted.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::file::{LoadError, ReplicaFile};
use super::index::{Index, Slot};
use super::paths::{Paths, chunk_of, fan_named, fan_of};
use super::segment::SlotFile;
use super::segments;
use crate::checksum::crc32c;
use crate::chunk::ReplicaState;
use crate::chunk::format::{HEADER_BYTES, Header, HeaderFault, RecordState};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation};
use crate::io::{Entry, Io, IoFile, LockGuard, OpenMode, publish};

/// How many unknown files are told one by one.
const MAX_REPORTS: usize = 10_000;
/// The format of a store in which each replica has a file of its own.
const PLAIN: u32 = 1;
/// The format of one that has segments, or may have.
const WITH_SEGMENTS: u32 = 2;
/// The first words of the `FORMAT` file.
const FORMAT: &str = "GoDFS chunk store, format";
/// More than any `FORMAT` file has.
const MAX_FORMAT_BYTES: u64 = 256;

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) index: Index,
    pub(super) reports: Vec<String>,
    pub(super) in_the_way: BTreeSet<PathBuf>,
    /// The directories of finalized replicas.
    pub(super) fans: BTreeSet<u64>,
    pub(super) segments: segments::Found,
    unreported: usize,
}

/// Makes the folder, durably, and takes its lock.
pub(super) fn lock(io: &dyn Io, paths: &Paths) -> io::Result<Box<dyn LockGuard>> {
    let mut missing = Vec::new();
    for folder in paths.root().ancestors() {
        if folder.as_os_str().is_empty() || io.exists(folder)? {
            break;
        }
        missing.push(folder);
    }
    io.create_dir_all(paths.root())?;
    for parent in missing.into_iter().filter_map(Path::parent).filter(|parent| !parent.as_os_str().is_empty()) {
        io.sync_dir(parent)?;
    }
    io.lock(paths.root())
}

/// Checks the format of a store, or makes an empty one.
pub(super) fn prepare(io: &dyn Io, paths: &Paths) -> Result<()> {
    let failed = |error| Error::io(format!("prepare {}", paths.root().display()), error);
    if io.exists(&paths.format()).map_err(failed)? {
        let content = io.read(&paths.format(), MAX_FORMAT_BYTES).map_err(failed)?;
        let version = check_format(&String::from_utf8_lossy(&content), &paths.format())?;
        if version < WITH_SEGMENTS && io.exists(&paths.segments()).map_err(failed)? {
            allow_segments(io, paths).map_err(failed)?;
        }
        return Ok(());
    }
    let make = || {
        for folder in [paths.rbw(), paths.tmp(), paths.finalized()] {
            io.create_dir_all(&folder)?;
        }
        for folder in [paths.version().as_path(), paths.root()] {
            io.sync_dir(folder)?;
        }
        // Last, so that a store which has it is whole.
        publish(io, &paths.format(), format_line(PLAIN).as_bytes())
    };
    make().map_err(failed)
}

/// Gives the store the format that has segments, durably, before it has one: a program that knows none then refuses it, where it would take what is in
/// them for lost.
pub(super) fn allow_segments(io: &dyn Io, paths: &Paths) -> io::Result<()> {
    publish(io, &paths.format(), format_line(WITH_SEGMENTS).as_bytes())
}

fn format_line(version: u32) -> String {
    let text = format!("{FORMAT} {version}");
    format!("{text}, checksum {:08x}\n", crc32c(text.as_bytes()))
}

fn check_format(line: &str, path: &Path) -> Result<u32> {
    let path = path.display();
    let version = line.strip_prefix(FORMAT).and_then(|rest| rest.trim_start().split(',').next()?.parse::<u32>().ok());
    match version {
        Some(version) if line != format_line(version) => {
            Err(Error::new(ErrorKind::Corrupt, format!("{path} is damaged: its checksum does not hold")))
        }
        None => Err(Error::new(ErrorKind::Corrupt, format!("{path} is damaged: {line:?}"))),
        Some(version @ (PLAIN | WITH_SEGMENTS)) => Ok(version),
        Some(version) => Err(Error::new(
            ErrorKind::Incompatible,
            format!("{path} says format {version}; this program knows the formats up to {WITH_SEGMENTS}"),
        )),
    }
}

/// Looks at every file of the store.
pub(super) fn scan(io: &dyn Io, paths: &Paths) -> Result<Found> {
    let mut scan = Scan { io, paths, found: Found::default(), candidates: Default::default() };
    scan.temporary();
    for entry in scan.entries(&paths.finalized()) {
        let path = paths.finalized().join(&entry.name);
        match fan_named(&entry.name) {
            Some(number) if entry.is_dir => {
                scan.directory(&path, Some(number));
                scan.found.fans.insert(number);
            }
            _ => scan.unknown(&path, "not a file of this store"),
        }
    }
    if !scan.names(&paths.finalized()) {
        // They are made again when they are needed.
        scan.found.fans.clear();
    }
    scan.directory(&paths.rbw(), None);
    scan.segments();
    scan.names(&paths.version());
    scan.strangers(&paths.version(), |name| matches!(name, "rbw" | "tmp" | "finalized" | "segments"));
    Ok(scan.finish())
}

struct Scan<'a> {
    io: &'a dyn Io,
    paths: &'a Paths,
    found: Found,
    candidates: std::collections::BTreeMap<ChunkId, Candidate>,
}

/// A file that is a replica.
#[derive(Debug)]
struct Candidate {
    slot: Slot,
    sequence: u64,
    /// What its newest record says.
    record: RecordState,
    path: PathBuf,
}

impl Candidate {
    /// The higher of two files for one chunk counts.
    fn rank(&self) -> (Generation, bool, u64) {
        (self.slot.generation, self.slot.state == ReplicaState::Finalized, self.sequence)
    }
}

impl Scan<'_> {
    /// Copies in flight went down with those who made them.
    fn temporary(&mut self) {
        for entry in self.entries(&self.paths.tmp()) {
            let path = self.paths.tmp().join(&entry.name);
            if entry.is_dir || chunk_of(&entry.name).is_none() {
                self.unknown(&path, "not a file of this store");
            } else if let Err(error) = self.io.remove_file(&path) {
                self.unknown(&path, &format!("could not be removed: {error}"));
            }
        }
    }

    /// Looks at every slot of every segment.
    fn segments(&mut self) {
        let folder = self.paths.segments();
        // A store that never had a small replica has none.
        if !self.io.exists(&folder).unwrap_or(true) {
            return;
        }
        let mut found = segments::Found::default();
        self.names(&folder);
        for entry in self.entries(&folder) {
            let mut places = Vec::new();
            let admitted = if entry.is_dir {
                Err("not a file of this store".to_owned())
            } else {
                found.admit(self.io, self.paths, &entry.name, |place| places.push(place))
            };
            if let Err(reason) = admitted {
                self.unknown(&folder.join(&entry.name), &reason);
            }
            for place in places {
                let path = folder.join(place.place());
                match self.classify_slot(place, &path) {
                    Ok(Some((chunk, candidate))) => self.admit(chunk, candidate),
                    Ok(None) => {}
                    Err(reason) => self.unknown(&path, &reason),
                }
            }
        }
        self.found.segments = found;
    }

    /// What a slot is. `None` when it was nothing that lasts.
    fn classify_slot(&self, place: Arc<SlotFile>, path: &Path) -> Result<Option<(ChunkId, Candidate)>, String> {
        let told = |error: io::Error| error.to_string();
        let (file, header) = ReplicaFile::open_in(&place).map_err(|error| error.to_string())?;
        if header.newest.temporary {
            place.retire().map_err(told)?;
            return Ok(None);
        }
        let length = place.len().map_err(told)?;
        let mut candidate = judge(file, &header, length, true, path)?;
        candidate.slot.place = Some(place);
        Ok(Some((header.newest.chunk, candidate)))
    }

    /// Makes the names in a directory durable: what a process that was killed, or whose sync failed, has left there may be in memory only. Whether they are.
    fn names(&mut self, folder: &Path) -> bool {
        let synced = self.io.sync_dir(folder);
        if let Err(error) = &synced {
            self.unknown(folder, &format!("can't be synced: {error}"));
        }
        synced.is_ok()
    }

    fn directory(&mut self, folder: &Path, fan: Option<u64>) {
        self.names(folder);
        for entry in self.entries(folder) {
            let path = folder.join(&entry.name);
            match chunk_of(&entry.name) {
                Some(chunk) if !entry.is_dir && fan.is_none_or(|fan| fan == fan_of(chunk)) => {
                    match self.classify(chunk, &path, fan.is_some()) {
                        Ok(Some(candidate)) => self.admit(chunk, candidate),
                        Ok(None) => {}
                        Err(reason) => self.unknown(&path, &reason),
                    }
                }
                _ => self.unknown(&path, "not a file of this store"),
            }
        }
    }

    /// What a file is. `None` when it was nothing and is gone; an error says why it is left alone.
    fn classify(&self, chunk: ChunkId, path: &Path, in_fan: bool) -> Result<Option<Candidate>, String> {
        let told = |error: io::Error| error.to_string();
        let file = self.io.open(path, OpenMode::Existing).map_err(told)?;
        let length = file.len().map_err(told)?;
        let (file, header) = match ReplicaFile::open(file) {
            Ok(opened) => opened,
            // Created, and never synced before the power went. A finalized file with data but without a header may also be
            // the work of a bad disk: it is kept.
            Err(LoadError::Header(HeaderFault::Empty)) if !in_fan || length <= HEADER_BYTES as u64 => {
                self.io.remove_file(path).map_err(told)?;
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        if header.newest.chunk != chunk {
            return Err(format!("the header is that of chunk {}", header.newest.chunk));
        }
        judge(file, &header, length, in_fan, path).map(Some)
    }

    /// Takes a replica, or decides between two of one chunk: a crash may leave a file under both names of a rename,
    /// and bring a deleted one back beside its successor.
    fn admit(&mut self, chunk: ChunkId, new: Candidate) {
        let Some(old) = self.candidates.remove(&chunk) else {
            self.candidates.insert(chunk, new);
            return;
        };
        let same = (old.slot.generation, old.sequence) == (new.slot.generation, new.sequence);
        // One that was sealed, and was written on in a file of its own all the same.
        let went_on = |file: &Candidate, sealed: &Candidate| {
            let beside = file.slot.place.is_none() && sealed.slot.place.is_some() && sealed.slot.withheld;
            beside && file.slot.generation == sealed.slot.generation && file.sequence > sealed.sequence
        };
        let (mut winner, loser) = if went_on(&new, &old) {
            (new, old)
        } else if went_on(&old, &new) {
            (old, new)
        } else if same {
            let fit = |candidate: &Candidate| candidate.path == self.paths.file(chunk, candidate.slot.state);
            if fit(&old) { (old, new) } else { (new, old) }
        } else if old.rank() > new.rank() {
            (old, new)
        } else {
            (new, old)
        };
        // A copy is whole before what it replaces is removed.
        let replaced = winner.slot.state == ReplicaState::Finalized && loser.slot.state != ReplicaState::Finalized;
        // One that outgrew its place in a segment is whole in its own file before the place is given up.
        let outgrown = winner.slot.place.is_none() && loser.slot.place.is_some();
        // One that was moved to another place is whole there before the old place is given up.
        let end = |candidate: &Candidate| (candidate.slot.generation, candidate.slot.length, candidate.slot.tail);
        let both =
            [&winner, &loser].iter().all(|one| one.slot.place.is_some() && one.slot.state == ReplicaState::Finalized);
        let moved = both && end(&winner) == end(&loser);
        if same || replaced || outgrown || moved || loser.slot.generation < winner.slot.generation {
            let removed = self.make_durable(&mut winner).and_then(|()| match &loser.slot.place {
                Some(place) => place.retire(),
                None => self.io.remove_file(&loser.path),
            });
            if let Err(error) = removed {
                self.unknown(&loser.path, &format!("superseded, but could not be removed: {error}"));
            }
        } else {
            self.unknown(&loser.path, &format!("{} holds the same generation", winner.path.display()));
        }
        self.candidates.insert(chunk, winner);
    }

    /// Before anything is done that can't be taken back because of what a file says, it is made sure that it says so on the disk.
    fn make_durable(&self, candidate: &mut Candidate) -> io::Result<()> {
        if !candidate.slot.inherited {
            return Ok(());
        }
        let opened = match &candidate.slot.place {
            Some(place) => ReplicaFile::open_in(place),
            None => ReplicaFile::open(self.io.open(&candidate.path, OpenMode::Existing)?),
        };
        let (mut file, _) = opened.map_err(|error| match error {
            LoadError::Io(error) => error,
            LoadError::Header(fault) => io::Error::new(io::ErrorKind::InvalidData, fault),
        })?;
        file.write_again(candidate.slot.length)?;
        file.sync()?;
        candidate.slot.inherited = false;
        Ok(())
    }

    fn finish(mut self) -> Found {
        for (chunk, mut candidate) in std::mem::take(&mut self.candidates) {
            let home = self.paths.file(chunk, candidate.slot.state);
            if candidate.slot.place.is_none() && candidate.path != home {
                let directory = self.paths.directory(chunk, candidate.slot.state);
                let durable = self.make_durable(&mut candidate);
                let moved = durable.and_then(|()| self.io.rename(&candidate.path, &home));
                let moved = moved.and_then(|()| self.io.sync_dir(&directory));
                if let Err(error) = moved {
                    self.unknown(&candidate.path, &format!("could not be moved to {}: {error}", home.display()));
                    continue;
                }
            }
            self.found.index.insert(chunk, candidate.slot);
        }
        if self.found.unreported > 0 {
            self.found.reports.push(format!("and {} more", self.found.unreported));
        }
        self.found
    }

    fn strangers(&mut self, folder: &Path, known: impl Fn(&str) -> bool) {
        for entry in self.entries(folder) {
            if !known(&entry.name) {
                self.unknown(&folder.join(&entry.name), "not a file of this store");
            }
        }
    }

    /// The entries of a directory by name; none of one that can't be read, which is told.
    fn entries(&mut self, folder: &Path) -> Vec<Entry> {
        match self.io.read_dir(folder) {
            Ok(mut entries) => {
                entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                entries
            }
            Err(error) => {
                self.unknown(folder, &format!("can't be read: {error}"));
                Vec::new()
            }
        }
    }

    fn unknown(&mut self, path: &Path, reason: &str) {
        tracing::warn!(path = %path.display(), reason, "left alone in the chunk store");
        if super::chunk_of_path(path).is_some() {
            self.found.in_the_way.insert(path.to_path_buf());
        }
        if self.found.reports.len() < MAX_REPORTS {
            self.found.reports.push(format!("{}: {reason}", path.display()));
        } else {
            self.found.unreported += 1;
        }
    }
}

/// What a replica is whose header is `header`, in a file of `length` bytes. `trusted`: where it lies, a record that says `finalized` is
/// believed. An error says why it is left alone.
fn judge(mut file: ReplicaFile, header: &Header, length: u64, trusted: bool, path: &Path) -> Result<Candidate, String> {
    let told = |error: io::Error| error.to_string();
    let record = header.newest;
    let slot = Slot {
        generation: record.generation,
        recovered: record.recovered,
        state: ReplicaState::Rwr,
        unproven: false,
        drop_behind: false,
        withheld: record.sealed,
        inherited: true,
        poisoned: false,
        length: record.length,
        tail: record.tail,
        live: None,
        share: Weak::new(),
        cuts: 0,
        capacity: record.capacity,
        place: None,
    };
    let mut candidate = Candidate { slot, sequence: record.sequence, record: record.state, path: path.to_path_buf() };
    if trusted && record.state == RecordState::Finalized {
        if record.length > 0 && length < file.share.layout.data_at(record.length) {
            return Err(format!("finalized with {} bytes of data, but the file ends before", record.length));
        }
        if record.cut {
            file.write_again(0).and_then(|()| file.finish_cut()).and_then(|()| file.sync()).map_err(told)?;
            candidate.sequence = file.record().sequence;
        }
        (candidate.slot.state, candidate.slot.inherited) = (ReplicaState::Finalized, false);
        return Ok(candidate);
    }
    let limit = if record.cut { record.length } else { record.capacity };
    let (proven, tail) = file.share.prove(limit, &header.tails).map_err(told)?;
    (candidate.slot.length, candidate.slot.tail) = (proven, tail);
    if trusted && record.state == RecordState::Unproven && (proven, tail) == (record.length, record.tail) {
        // Read back from what may still be only in memory: a record may say so once it is on the disk.
        let synced = file.write_again(proven).and_then(|()| file.sync());
        synced.and_then(|()| file.put(|record| record.state = RecordState::Finalized)).map_err(told)?;
        (candidate.slot.state, candidate.slot.inherited) = (ReplicaState::Finalized, false);
        (candidate.record, candidate.sequence) = (RecordState::Finalized, file.record().sequence);
    }
    Ok(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        let path = Path::new("FORMAT");
        check_format(&format_line(PLAIN), path).expect("our own");
        check_format(&format_line(WITH_SEGMENTS), path).expect("our own");
        let kind = |line: &str| check_format(line, path).expect_err("refused").kind();
        assert_eq!(kind(&format_line(WITH_SEGMENTS + 1)), ErrorKind::Incompatible);
        assert_eq!(kind(&format_line(PLAIN).replace("format 1", "format 2")), ErrorKind::Corrupt);
        assert_eq!(kind(""), ErrorKind::Corrupt);
        assert_eq!(kind("GoDFS chunk store, format x, checksum 0"), ErrorKind::Corrupt);
    }
}
