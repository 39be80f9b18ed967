//! Reads every replica again, slowly, to find what the disk has lost; and at once where somebody suspects it.
//!
//! The place is kept in a file of the folder, `scrub`, so that a restart goes on where the last process stopped:
//!
//! ```text
//! 0   8  magic "GODFSSC1"
//! 8   4  CRC32C of what follows
//! 12  8  rounds finished since the folder was made
//! 20  8  the chunk id to go on from
//! 28  8  replicas read in this round
//! ```
//! Numbers are big endian. A damaged file costs one round begun anew, nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut};
use godfs_core::checksum::{PIECE, crc32c};
use godfs_core::chunk::{Replica, ReplicaState};
use godfs_core::io::{Io, publish};
use godfs_core::{ChunkId, Error, ErrorKind, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::shared::Shared;

const FILE: &str = "scrub";
const MAGIC: &[u8; 8] = b"GODFSSC1";
const FILE_BYTES: usize = 36;

/// Replicas that are listed at once.
const PAGE: usize = 256;

/// Suspected replicas that wait; one more is found by the round.
const MAX_SUSPECTS: usize = 4_096;

/// A round is planned to take this part of its period, so that it ends in time with some to spare.
const PLANNED: f64 = 0.8;

/// The longest pause between two replicas: a folder with little in it is read more often than it need be, so that a node
/// which is restarted often reads something at all.
const LONGEST: Duration = Duration::from_secs(600);

/// Waits are cut into pieces of this length, since what there is to read changes.
const SLICE: Duration = Duration::from_secs(60);

/// How often the place is written down.
const SAVE: Duration = Duration::from_secs(60);

/// What the scrubber is at.
#[derive(Debug, Default)]
pub(crate) struct ScrubState {
    place: Mutex<Place>,
    suspects: Mutex<BTreeSet<ChunkId>>,
    woken: Notify,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    rounds: u64,
    next: u64,
    checked: u64,
    /// Replicas in the folder, as counted when the round began.
    total: u64,
}

impl Place {
    fn begin_round(&mut self) {
        if self.checked > 0 {
            self.rounds += 1;
        }
        (self.next, self.checked) = (0, 0);
    }
}

impl ScrubState {
    /// Has a replica read soon.
    pub(crate) fn suspect(&self, chunk: ChunkId) {
        let mut suspects = self.suspects.lock();
        if suspects.len() < MAX_SUSPECTS {
            suspects.insert(chunk);
        }
        drop(suspects);
        self.woken.notify_one();
    }

    /// For heartbeats; `corrupt` is the count of corrupt replicas found.
    pub(crate) fn status(&self, corrupt: u64) -> v1::ScrubStatus {
        let place = *self.place.lock();
        v1::ScrubStatus { rounds: place.rounds, checked: place.checked, total: place.total.max(place.checked), corrupt }
    }

    /// Reads a replica now. When it is corrupt, that is reported to the namenodes as this node's own verdict.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] says what was found; [`ErrorKind::NotFound`]; [`ErrorKind::FailedPrecondition`] when the
    /// replica is not finalized, or changed meanwhile.
    pub(crate) async fn verify(&self, shared: &Shared, chunk: ChunkId) -> Result<Replica> {
        let before = shared.store.stat(chunk).await?;
        let mut outcome = shared.store.verify(chunk).await;
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Io) {
            // What can't be read twice is lost; once may have been a matter of descriptors or memory.
            outcome = shared.store.verify(chunk).await;
        }
        let error = match outcome {
            Ok(replica) => return Ok(replica),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io) => error,
            Err(error) => return Err(error),
        };
        let after = shared.store.stat(chunk).await?;
        if (after.generation, after.state) != (before.generation, before.state) {
            let message = format!("chunk {chunk} changed while it was read");
            return Err(Error::new(ErrorKind::FailedPrecondition, message).with_retryable(true));
        }
        let evidence = error.report();
        shared.condemned(after, evidence.clone());
        Err(Error::new(ErrorKind::Corrupt, evidence))
    }
}

/// Scrubs until the node ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let state = &shared.scrub;
    let path = shared.folder.join(FILE);
    let (io, at) = (Arc::clone(&shared.io), path.clone());
    *state.place.lock() = shared.env.blocking(move || load(&*io, &at)).await;
    let mut saved = Instant::now();
    let mut counted = false;
    loop {
        let place = *state.place.lock();
        let page = match shared.store.list(place.next..u64::MAX, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(error = error.report(), "cannot list the replicas to scrub");
                wait(&shared, 0).await;
                continue;
            }
        };
        if (place.next == 0 || !counted)
            && let Ok(total) = count(&shared).await
        {
            state.place.lock().total = total;
            counted = true;
        }
        for replica in &page {
            if replica.state == ReplicaState::Finalized && !shared.is_recent(replica.chunk) {
                wait(&shared, replica.length).await;
                read(&shared, replica.chunk).await;
                state.place.lock().checked += 1;
            }
            state.place.lock().next = replica.chunk.get().saturating_add(1);
            if saved.elapsed() >= SAVE {
                save(&shared).await;
                saved = Instant::now();
            }
        }
        if page.len() < PAGE {
            // An empty folder makes no rounds worth counting, and must not make them fast.
            wait(&shared, 0).await;
            state.place.lock().begin_round();
            save(&shared).await;
            saved = Instant::now();
        }
    }
}

/// Writes the place down.
pub(crate) async fn save(shared: &Shared) {
    let (io, path, place) = (Arc::clone(&shared.io), shared.folder.join(FILE), *shared.scrub.place.lock());
    let saved = shared.env.blocking(move || publish(&*io, &path, &encode(place))).await;
    if let Err(error) = saved {
        tracing::warn!(%error, "cannot write the scrubber's place; a restart repeats some of its round");
    }
}

/// Waits as long as `bytes` may take, and reads what is suspected meanwhile.
async fn wait(shared: &Shared, bytes: u64) {
    let begin = Instant::now();
    loop {
        let suspect = shared.scrub.suspects.lock().pop_first();
        if let Some(chunk) = suspect {
            read(shared, chunk).await;
            continue;
        }
        let due = begin + cost(shared, bytes).await;
        let now = Instant::now();
        if due <= now {
            return;
        }
        tokio::select! {
            // Both arms are cancel-safe: a notification that is kept, a timer.
            biased;
            () = shared.scrub.woken.notified() => {}
            () = tokio::time::sleep_until(due.min(now + SLICE)) => {}
        }
    }
}

/// How long a replica of `bytes` bytes may take: its part of the period, but no faster than the rate allows.
async fn cost(shared: &Shared, bytes: u64) -> Duration {
    let used = shared.store.space().await.map_or(0, |space| space.used);
    // Also an empty replica has a header to be read.
    let bytes = bytes.saturating_add(PIECE as u64) as f64;
    let period = shared.settings.scrub_period_ms as f64 / 1_000.0 * PLANNED;
    let planned = period * (bytes / (used as f64).max(bytes));
    let fastest = bytes / (shared.settings.scrub_bytes_per_second.max(1) as f64);
    Duration::try_from_secs_f64(planned.min(LONGEST.as_secs_f64()).max(fastest)).unwrap_or(LONGEST)
}

async fn read(shared: &Shared, chunk: ChunkId) {
    match shared.scrub.verify(shared, chunk).await {
        Ok(_) => {}
        // Reported already, and it is the namenode's to repair.
        Err(error) if error.kind() == ErrorKind::Corrupt => {}
        Err(error) => tracing::debug!(%chunk, error = error.report(), "not scrubbed"),
    }
}

async fn count(shared: &Shared) -> Result<u64> {
    let (mut from, mut total) = (0, 0);
    loop {
        let page = shared.store.list(from..u64::MAX, PAGE).await?;
        total += page.iter().filter(|replica| replica.state == ReplicaState::Finalized).count() as u64;
        match page.last() {
            Some(last) if page.len() == PAGE => from = last.chunk.get().saturating_add(1),
            _ => return Ok(total),
        }
    }
}

fn load(io: &dyn Io, path: &std::path::Path) -> Place {
    let file = match io.read(path, FILE_BYTES as u64) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Place::default(),
        Err(error) => {
            tracing::warn!(%error, "cannot read the scrubber's place; its round begins anew");
            return Place::default();
        }
    };
    decode(&file).unwrap_or_else(|| {
        tracing::warn!("the scrubber's place is damaged; its round begins anew");
        Place::default()
    })
}

fn encode(place: Place) -> Vec<u8> {
    let mut body = Vec::with_capacity(FILE_BYTES);
    body.put_u64(place.rounds);
    body.put_u64(place.next);
    body.put_u64(place.checked);
    let mut file = Vec::with_capacity(FILE_BYTES);
    file.put_slice(MAGIC);
    file.put_u32(crc32c(&body));
    file.put_slice(&body);
    file
}

fn decode(file: &[u8]) -> Option<Place> {
    let mut rest = file.strip_prefix(MAGIC)?;
    let sum = rest.try_get_u32().ok()?;
    if rest.len() != FILE_BYTES - MAGIC.len() - 4 || crc32c(rest) != sum {
        return None;
    }
    let (rounds, next, checked) = (rest.get_u64(), rest.get_u64(), rest.get_u64());
    Some(Place { rounds, next, checked, total: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found_again_or_not_at_all() {
        let place = Place { rounds: 3, next: 77, checked: 12, total: 0 };
        let file = encode(place);
        assert_eq!(file.len(), FILE_BYTES);
        assert_eq!(decode(&file), Some(place));
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&file[..at]), None);
        }
    }
}
