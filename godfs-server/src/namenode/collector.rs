//! Removes what was deleted, in bounded steps, once readers have had time to finish; and what is due in the trash.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use godfs_core::namespace::CollectorPlace;
use godfs_core::{Result, Version};

use super::state::State;

/// How many moments of the past are remembered: the grace is kept to within one part in so many.
const MOMENTS: u32 = 8;

/// Collects until the namenode ends.
pub(super) async fn drive(state: Arc<State>) {
    let every = (state.settings.reader_grace / MOMENTS).clamp(Duration::from_millis(10), Duration::from_secs(5));
    let mut collector = Collector { moments: VecDeque::new(), noted: None, collected: None };
    loop {
        if let Err(error) = expire(&state).await {
            tracing::warn!(error = error.report(), "cannot empty the trash");
        }
        if let Err(error) = collector.round(&state).await {
            tracing::warn!(error = error.report(), "cannot remove what was deleted");
        }
        // Both arms are cancel-safe.
        tokio::select! {
            biased;
            () = state.tasks.ending().cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

#[derive(Debug)]
struct Collector {
    /// Which version the store had when: what was deleted at one that is old enough may go.
    moments: VecDeque<(Duration, Version)>,
    /// The version of the newest moment.
    noted: Option<Version>,
    /// All that was deleted up to here is gone.
    collected: Option<Version>,
}

impl Collector {
    async fn round(&mut self, state: &State) -> Result<()> {
        let (now, version) = (state.now(), state.namespace.store().version().await?);
        // A store that stands still has nothing new to collect.
        if self.noted != Some(version) {
            self.moments.push_back((now, version));
            self.noted = Some(version);
        }
        let old = |when: Duration| now >= when.saturating_add(state.settings.reader_grace);
        while let Some(&(when, upto)) = self.moments.front()
            && old(when)
        {
            if self.collected.is_none_or(|collected| collected < upto) && !collect(state, self.collected, upto).await? {
                return Ok(());
            }
            self.collected = Some(upto);
            self.moments.pop_front();
        }
        Ok(())
    }
}

/// Removes what is due in the trash. Where it stops, the next round goes on.
async fn expire(state: &State) -> Result<()> {
    loop {
        let items = state.namespace.expire_trash().await?;
        if items == 0 || state.tasks.ending().is_cancelled() {
            return Ok(());
        }
        tracing::debug!(items, "removed what was due in the trash");
    }
}

/// Removes all that was deleted at `upto` or before, and is not yet `collected`. False when the namenode ends first.
async fn collect(state: &State, collected: Option<Version>, upto: Version) -> Result<bool> {
    let mut place = collected.map(CollectorPlace::behind);
    loop {
        let step = state.namespace.collect(upto, place).await?;
        if step.chunks > 0 {
            state.repair.gone(&step.gone);
            tracing::debug!(inodes = step.inodes, chunks = step.chunks, "removed what was deleted");
            state.links.look_for_garbage();
        }
        place = step.next;
        if place.is_none() {
            return Ok(true);
        }
        if state.tasks.ending().is_cancelled() {
            return Ok(false);
        }
    }
}
