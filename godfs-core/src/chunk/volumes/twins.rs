//! Which volume a chunk's replica lies on, where asking each of them does not tell: while one is being made, and where two have one.
//!
//! Two volumes have replicas of one chunk when the one was taken out of use, the node got the chunk again on another, and the first came back. The
//! node is then as it was before the return, with the replica that it had last: of the higher generation, and of one generation the one that is finished.
//! The other is out of sight, and deleted only when the one in sight is finished, no older, and was read from the disk and found good; or when the chunk is
//! deleted with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Inner;
use super::volume::Volume;
use crate::chunk::{ChunkStore, Replica, ReplicaState};
use crate::error::{ErrorKind, Result};
use crate::id::{ChunkId, Generation};

/// Replicas that are listed at once.
const PAGE: usize = 4_096;

/// A creation whose caller went away is done within this time, or nothing comes of it.
const ABANDONED: Duration = Duration::from_secs(60);

/// Places of replicas by chunk; a few, of all there are.
#[derive(Debug, Default)]
pub(super) struct Homes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Chunks whose replica is being made, where, and since when.
    making: HashMap<ChunkId, (usize, Duration)>,
    twins: BTreeMap<ChunkId, Twins>,
}

/// Replicas of one chunk on several volumes.
#[derive(Clone, Debug)]
struct Twins {
    /// Where the one in sight lies.
    seen: usize,
    /// Where the others lie.
    hidden: Vec<usize>,
}

/// A replica that is being made. Dropping it leaves the note of where.
#[must_use]
pub(super) struct Making<'a> {
    homes: &'a Homes,
    chunk: ChunkId,
}

impl Making<'_> {
    /// The volume has done it, or refused.
    pub(super) fn settled(self) {
        self.homes.0.lock().making.remove(&self.chunk);
    }
}

impl Homes {
    pub(super) fn begin(&self, chunk: ChunkId, at: usize, now: Duration) -> Making<'_> {
        self.0.lock().making.insert(chunk, (at, now));
        Making { homes: self, chunk }
    }

    /// The volume that is to be asked for a chunk; `None`: each.
    pub(super) fn of(&self, chunk: ChunkId) -> Option<usize> {
        let state = self.0.lock();
        let making = state.making.get(&chunk).map(|(at, _)| *at);
        making.or_else(|| state.twins.get(&chunk).map(|twins| twins.seen))
    }

    /// Whether a replica that a volume has is in sight.
    pub(super) fn lies(&self, chunk: ChunkId, at: usize) -> bool {
        self.0.lock().twins.get(&chunk).is_none_or(|twins| twins.seen == at)
    }

    pub(super) fn twins(&self) -> Vec<ChunkId> {
        self.0.lock().twins.keys().copied().collect()
    }

    fn hidden(&self, chunk: ChunkId) -> Vec<usize> {
        self.0.lock().twins.get(&chunk).map(|twins| twins.hidden.clone()).unwrap_or_default()
    }

    /// A hidden replica is gone.
    fn gone(&self, chunk: ChunkId, at: usize) {
        let mut state = self.0.lock();
        if let Some(twins) = state.twins.get_mut(&chunk) {
            twins.hidden.retain(|other| *other != at);
            if twins.hidden.is_empty() {
                state.twins.remove(&chunk);
            }
        }
    }
}

/// Which of two replicas of one node is the one it had last.
fn rank(replica: &Replica) -> (Generation, bool, u64) {
    (replica.generation, replica.state == ReplicaState::Finalized, replica.length)
}

impl Inner {
    /// Looks for chunks of which several volumes have replicas.
    pub(super) async fn find_twins(&self) -> Result<()> {
        let mut from = 0;
        while self.volumes.len() > 1 {
            let (mut found, mut end): (BTreeMap<ChunkId, Vec<(usize, Replica)>>, u64) = (BTreeMap::new(), u64::MAX);
            for (at, volume, store) in self.in_use() {
                let page = volume.noted(store.list(from..u64::MAX, PAGE).await)?;
                if page.len() == PAGE {
                    // Beyond, that volume has more.
                    end = end.min(page[PAGE - 1].chunk.get());
                }
                for replica in page {
                    found.entry(replica.chunk).or_default().push((at, replica));
                }
            }
            let mut state = self.homes.0.lock();
            for (chunk, mut places) in
                found.into_iter().filter(|(chunk, places)| chunk.get() <= end && places.len() > 1)
            {
                // The earlier volume of two that are alike.
                places.sort_by_key(|(_, replica)| std::cmp::Reverse(rank(replica)));
                let (seen, hidden) = (places[0].0, places[1..].iter().map(|(at, _)| *at).collect());
                tracing::warn!(chunk = chunk.get(), seen = self.volumes[seen].path, "two volumes have a replica");
                state.twins.insert(chunk, Twins { seen, hidden });
            }
            if end == u64::MAX {
                break;
            }
            from = end + 1;
        }
        Ok(())
    }

    /// The replica in sight was read and is good: what another volume has beside it can go, unless it is newer or another.
    pub(super) async fn settle_twins(&self, good: Replica) {
        for at in self.homes.hidden(good.chunk) {
            let Some((volume, store)) = self.at(at) else { continue };
            let Ok(hidden) = store.stat(good.chunk).await else {
                self.homes.gone(good.chunk, at);
                continue;
            };
            let same = hidden.state != ReplicaState::Finalized || hidden.length == good.length;
            let superseded = hidden.generation < good.generation || hidden.generation == good.generation && same;
            if superseded && volume.noted(store.delete(good.chunk, hidden.generation).await).is_ok() {
                self.homes.gone(good.chunk, at);
            }
        }
    }

    /// The replica in sight, on volume `at`, was deleted: those beside it go with it. Not where something is left there, which it stood beside.
    pub(super) async fn delete_twins(&self, chunk: ChunkId, generation: Generation, at: usize) -> Result<()> {
        let hidden = self.homes.hidden(chunk);
        if hidden.is_empty() {
            return Ok(());
        }
        if let Some((_, store)) = self.at(at)
            && store.stat(chunk).await.is_ok()
        {
            return Ok(());
        }
        for at in hidden {
            let Some((volume, store)) = self.at(at) else { continue };
            match volume.noted(store.delete(chunk, generation).await) {
                Err(error) if error.kind() != ErrorKind::Fenced => return Err(error),
                // A newer one is not meant, and comes into sight.
                _ => self.homes.gone(chunk, at),
            }
        }
        Ok(())
    }

    /// Forgets places that tell nothing any more: of creations whose caller went away, and of volumes that are out of use.
    pub(super) async fn tidy(&self) {
        let now = self.env.clock.monotonic();
        let out = |at: &usize| !self.volumes[*at].in_use();
        let making: Vec<_> = {
            let mut state = self.homes.0.lock();
            state.making.retain(|_, (at, _)| !out(at));
            // What is left may come into sight.
            state.twins.retain(|_, twins| {
                twins.hidden.retain(|at| !out(at));
                !out(&twins.seen) && !twins.hidden.is_empty()
            });
            state.making.iter().map(|(chunk, place)| (*chunk, *place)).collect()
        };
        for (chunk, (at, since)) in making {
            // Whoever has the turn is at it.
            let Some(_turn) = self.turns.try_take(chunk) else { continue };
            let there = match self.at(at) {
                Some((_, store)) => store.stat(chunk).await.is_ok(),
                None => false,
            };
            if there || now.saturating_sub(since) >= ABANDONED {
                self.homes.0.lock().making.remove(&chunk);
            }
        }
    }

    fn at(&self, at: usize) -> Option<(&Arc<Volume>, Arc<dyn ChunkStore>)> {
        let volume = &self.volumes[at];
        volume.store().map(|store| (volume, store))
    }
}
