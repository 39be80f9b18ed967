//! What a node does for itself now and then, apart from its links: no heartbeat may wait for a disk, or a node that is
//! busy would be taken for a dead one.

use std::time::Duration;

use godfs_core::Result;
use godfs_core::chunk::{ChunkStore, Space};
use tokio::time::{Instant, MissedTickBehavior};

use super::shared::Shared;

/// How often the room on the disk is measured.
const MEASURE: Duration = Duration::from_millis(500);

/// How often the highest version seen is written down.
const SAVE: Duration = Duration::from_secs(60);

/// What a heartbeat tells of the store, as it was last measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    pub(crate) space: Space,
    pub(crate) unknown_files: u64,
}

impl Vitals {
    /// Asks the store, which may take as long as its disk is busy.
    pub(crate) async fn measure(store: &dyn ChunkStore) -> Result<Self> {
        Ok(Self { space: store.space().await?, unknown_files: store.unknown().await?.len() as u64 })
    }
}

/// Until the node ends.
pub(crate) async fn run(shared: &Shared) {
    // Not one after the other: a slow write must not age what heartbeats tell.
    tokio::join!(measure(shared), save(shared));
}

async fn measure(shared: &Shared) {
    let mut ticks = tokio::time::interval_at(Instant::now() + MEASURE, MEASURE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        ticks.tick().await;
        shared.open_replicas.expire();
        match Vitals::measure(&*shared.store).await {
            Ok(measured) => {
                *shared.vitals.lock() = measured;
                failed = false;
            }
            Err(error) => {
                // A disk that can't be asked is given nothing new.
                shared.vitals.lock().space.available = 0;
                if !std::mem::replace(&mut failed, true) {
                    tracing::error!(error = error.report(), "cannot measure the room on the disk");
                }
            }
        }
    }
}

async fn save(shared: &Shared) {
    let mut ticks = tokio::time::interval_at(Instant::now() + SAVE, SAVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = shared.identity.save().await {
            tracing::error!(error = error.report(), "cannot write the identity");
        }
    }
}
