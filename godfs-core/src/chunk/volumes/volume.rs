//! One volume: its store, and whether it is to be relied on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::VolumeStatus;
use super::health::{Evidence, Health, blames_the_disk};
use super::mark::Mark;
use crate::chunk::{ChunkStore, Space};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::io::{Io, OpenMode};

/// A disk that answers nothing for so long is as good as gone. Longer than a busy one takes, and than the system tries a bad sector for.
const HUNG: Duration = Duration::from_secs(30);

/// How often it is written to for the sake of seeing whether that works. Whether it is there is looked at with each measurement of its room.
const PROBE: Duration = Duration::from_secs(60);

/// Bytes of a probe: one page.
const PROBE_BYTES: usize = 4_096;

/// One replica to come is counted as no more than this share of the room that is left, until that is measured again.
const PROMISED_SHARE: u64 = 16;

/// A folder that can be looked at.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) io: Arc<dyn Io>,
    pub(super) folder: PathBuf,
    pub(super) mark: Mark,
    /// One probe at a time: two would take away each other's file, and blame the disk for it.
    turn: Mutex<()>,
}

/// One volume.
#[derive(Debug)]
pub(super) struct Volume {
    /// Where it is, for people.
    pub(super) path: String,
    env: Env,
    /// `None`: it has no folder, and is judged by what its store answers alone.
    place: Option<Arc<Place>>,
    /// `None` once it is out of use, so that its folder is let go.
    store: RwLock<Option<Arc<dyn ChunkStore>>>,
    /// Why it is out of use.
    failure: Mutex<Option<String>>,
    health: Mutex<Health>,
    /// A probe that nobody waits for is under way.
    probing: AtomicBool,
    probed: Mutex<Duration>,
    room: Mutex<Room>,
    /// Replicas that have a writer.
    pub(super) writers: AtomicU32,
}

#[derive(Debug, Default)]
struct Room {
    measured: Space,
    /// Bytes that new replicas were promised since.
    promised: u64,
}

impl Volume {
    /// A volume in use.
    pub(super) fn new(path: String, store: Arc<dyn ChunkStore>, place: Option<Place>, env: Env) -> Self {
        Self { place: place.map(Arc::new), store: RwLock::new(Some(store)), ..Self::bare(path, env) }
    }

    /// One that could not be opened.
    pub(super) fn failed(path: String, why: String, env: Env) -> Self {
        Self { failure: Mutex::new(Some(why)), ..Self::bare(path, env) }
    }

    fn bare(path: String, env: Env) -> Self {
        Self {
            path,
            probed: Mutex::new(env.clock.monotonic()),
            env,
            place: None,
            store: RwLock::default(),
            failure: Mutex::default(),
            health: Mutex::default(),
            probing: AtomicBool::new(false),
            room: Mutex::default(),
            writers: AtomicU32::new(0),
        }
    }

    /// Its store, while it is in use.
    pub(super) fn store(&self) -> Option<Arc<dyn ChunkStore>> {
        self.store.read().clone()
    }

    /// Whether it is in use.
    pub(super) fn in_use(&self) -> bool {
        self.store.read().is_some()
    }

    /// Fails once it is out of use.
    pub(super) fn check_in_use(&self) -> Result<()> {
        match &*self.failure.lock() {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Io, format!("volume {} is out of use: {why}", self.path))),
        }
    }

    /// Takes it out of use, for good: a start takes it in again.
    pub(super) fn take_out(&self, why: &str) {
        {
            let mut failure = self.failure.lock();
            if failure.is_some() {
                return;
            }
            *failure = Some(why.to_owned());
        }
        let store = self.store.write().take();
        drop(store);
        *self.room.lock() = Room::default();
        tracing::error!(volume = self.path, why, "a volume is out of use; its replicas are gone until the next start");
    }

    pub(super) fn status(&self) -> VolumeStatus {
        let (failure, room) = (self.failure.lock().clone(), self.room.lock());
        let available = room.measured.available.saturating_sub(room.promised);
        VolumeStatus { path: self.path.clone(), space: Space { available, ..room.measured }, failure }
    }

    /// Bytes that new replicas may still take.
    pub(super) fn available(&self) -> u64 {
        let room = self.room.lock();
        room.measured.available.saturating_sub(room.promised)
    }

    /// Counts bytes to come as taken, until the room is measured again; of what is left a share at most, for a replica may end up far smaller.
    pub(super) fn promise(&self, bytes: u64) {
        let mut room = self.room.lock();
        let left = room.measured.available.saturating_sub(room.promised);
        room.promised = room.promised.saturating_add(bytes.min(left / PROMISED_SHARE));
    }

    /// Looks whether it is there, and measures its room; takes it out of use where it is not.
    pub(super) async fn measure(self: &Arc<Self>) {
        let Some(store) = self.store() else { return };
        let now = self.env.clock.monotonic();
        let due = now.saturating_sub(*self.probed.lock()) >= PROBE;
        let looking = async {
            self.look(due).await;
            store.space().await
        };
        match tokio::time::timeout(HUNG, looking).await {
            Ok(Ok(space)) if self.in_use() => *self.room.lock() = Room { measured: space, promised: 0 },
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.note(&error),
            Err(_) => self.take_out(&format!("it has answered nothing for {HUNG:?}")),
        }
    }

    /// Looks whether the volume is there, and with `write` whether it takes what is written; takes it out of use where not.
    pub(super) async fn look(&self, write: bool) {
        let Some(place) = self.place.clone() else { return };
        if write {
            *self.probed.lock() = self.env.clock.monotonic();
        }
        if let Err(why) = self.env.blocking(move || place.look(write)).await {
            self.take_out(&why);
        }
    }

    /// Takes in what an operation on it has failed with: what is not a matter of one replica alone takes it out of use.
    pub(super) fn note(self: &Arc<Self>, error: &Error) {
        let evidence = Evidence::of(error);
        if evidence == Evidence::None || !self.in_use() {
            return;
        }
        if evidence == Evidence::Failure && self.health.lock().failed(self.env.clock.monotonic()) {
            self.take_out(&format!("it has failed again and again, the last time: {}", error.report()));
            return;
        }
        if self.place.is_none() || self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let volume = Arc::clone(self);
        self.env.executor.execute(Box::new(move || {
            if let Some(Err(why)) = volume.place.as_ref().map(|place| place.look(true)) {
                volume.take_out(&why);
            }
            volume.probing.store(false, Ordering::Release);
        }));
    }

    /// [`note`](Self::note), for the outcome of an operation.
    pub(super) fn noted<T>(self: &Arc<Self>, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| self.note(error))
    }

    /// [`noted`](Self::noted), where the outcome is a verdict on a replica: that it is damaged or gone counts only if the volume is there.
    pub(super) async fn judged<T>(self: &Arc<Self>, outcome: Result<T>) -> Result<T> {
        let error = match outcome {
            Err(error) if Evidence::of(&error) == Evidence::Look => error,
            outcome => return self.noted(outcome),
        };
        self.look(false).await;
        if self.in_use() {
            return self.noted(Err(error));
        }
        let message = format!("it lies on volume {}, which is out of use", self.path);
        Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
    }
}

impl Place {
    pub(super) fn new(io: Arc<dyn Io>, folder: PathBuf, mark: Mark) -> Self {
        Self { io, folder, mark, turn: Mutex::default() }
    }

    /// Whether the folder is that of the volume, and the disk does its work. The error says what is wrong.
    fn look(&self, write: bool) -> Result<(), String> {
        match Mark::read(&*self.io, &self.folder) {
            Ok(Some(mark)) if mark == self.mark => {}
            Ok(Some(other)) => return Err(format!("volume {} is in its place", other.volume)),
            Ok(None) => return Err("its mark is gone: was it unmounted?".into()),
            Err(error) if Evidence::of(&error) == Evidence::None => {}
            Err(error) => return Err(error.report()),
        }
        if !write {
            return Ok(());
        }
        match self.probe(&self.folder.join("probe")) {
            Err(error) if blames_the_disk(&error) => Err(format!("a probe failed: {error}")),
            // A full disk does its work.
            _ => Ok(()),
        }
    }

    fn probe(&self, path: &Path) -> io::Result<()> {
        let _turn = self.turn.lock();
        let remove = || match self.io.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        remove()?;
        let file = self.io.open(path, OpenMode::CreateNew)?;
        let content = [0x5a; PROBE_BYTES];
        let written = file.write_all_at(0, &content).and_then(|()| file.sync_data());
        let read = written.and_then(|()| file.read_at(0, PROBE_BYTES));
        drop(file);
        remove()?;
        if read?[..] == content { Ok(()) } else { Err(io::Error::other("it gave back other bytes than were written")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeUuid, VolumeId};
    use crate::io::DiskIo;

    /// A corrupt replica has its volume looked at from two sides at once, and one of them found the other's file in its way: a good disk was
    /// taken out of use, and the corruption never told.
    #[test]
    fn many_looks_at_once_find_a_good_disk_good() {
        let folder = tempfile::tempdir().expect("folder");
        let mark = Mark { node: NodeUuid::from_random(1), volume: VolumeId::from_random(2) };
        let place = Place::new(Arc::new(DiskIo), folder.path().to_path_buf(), mark);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        place.probe(&folder.path().join("probe")).expect("a good disk");
                    }
                });
            }
        });
    }
}
