//! What a node does for itself now and then, apart from its links: no heartbeat may wait for a disk, or a node that is
//! busy would be taken for a dead one.

use std::time::Duration;

use godfs_core::Result;
use godfs_core::chunk::{ChunkStore, Space, VolumeStatus};
use tokio::time::{Instant, MissedTickBehavior};

use super::shared::Shared;

/// How often the room on the disk is measured.
const MEASURE: Duration = Duration::from_millis(500);

/// How often the highest version seen is written down.
const SAVE: Duration = Duration::from_secs(60);

/// What a report tells of the replicas of a volume that has failed is told once more after so long: of one that was being finalized as it failed, an event
/// may have been sent behind the first.
const TOLD_AGAIN: Duration = Duration::from_secs(5);

/// What a heartbeat tells of the store, as it was last measured.
#[derive(Clone, Debug)]
pub(crate) struct Vitals {
    pub(crate) space: Space,
    pub(crate) unknown_files: u64,
    pub(crate) volumes: Vec<VolumeStatus>,
}

impl Vitals {
    /// Asks the store, which may take as long as its disk is busy.
    pub(crate) async fn measure(store: &dyn ChunkStore) -> Result<Self> {
        let space = store.space().await?;
        Ok(Self { space, unknown_files: store.unknown().await?.len() as u64, volumes: store.volumes().await? })
    }

    fn failed_volumes(&self) -> usize {
        self.volumes.iter().filter(|volume| volume.failure.is_some()).count()
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
    let mut tell_again: Option<Instant> = None;
    loop {
        ticks.tick().await;
        shared.open_replicas.expire();
        match Vitals::measure(&*shared.store).await {
            Ok(measured) => {
                let lost = measured.failed_volumes();
                let before = std::mem::replace(&mut *shared.vitals.lock(), measured).failed_volumes();
                if lost > before {
                    tell_again = Some(Instant::now() + TOLD_AGAIN);
                    shared.lost_replicas();
                } else if tell_again.take_if(|at| Instant::now() >= *at).is_some() {
                    shared.lost_replicas();
                }
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
