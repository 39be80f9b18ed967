//! How long a reader waits for one replica before it asks another too, and which nodes it asks last.

use std::collections::HashMap;

use godfs_core::NodeId;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::settings::{ClientSettings, Hedging};

/// How long a node that was only overtaken is asked last: long enough that one which stands still does not hold up each of many reads.
const BRIEFLY: Duration = Duration::from_secs(2);
/// Reads that may be hedged ahead of the budget, so that the first ones of a client can be.
const MOST_SAVED: u32 = 16;
/// Waits that a percentile is taken of, the latest of all.
const SAMPLES: usize = 256;
/// Fewer say too little.
const FEWEST_SAMPLES: usize = 32;
/// After so many more the percentile is taken anew.
const RECKONED_EVERY: usize = 32;
/// No percentile is worth asking a second node sooner: it takes about as long to answer.
const SHORTEST: Duration = Duration::from_millis(2);

/// What all readers of a client have learned of how soon nodes answer.
#[derive(Debug)]
pub(crate) struct Patience {
    hedging: Hedging,
    budget_percent: u32,
    silence: Duration,
    avoid: Duration,
    avoided: Mutex<HashMap<NodeId, Instant>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// In hundredths of a read.
    saved: u32,
    /// The latest waits, the oldest overwritten first.
    waits: Vec<Duration>,
    taken: usize,
    percentile: Option<Duration>,
}

impl Patience {
    pub(crate) fn new(settings: &ClientSettings) -> Self {
        Self {
            hedging: settings.hedging,
            budget_percent: settings.hedge_budget_percent.min(100),
            silence: settings.read_silence.min(settings.transport.stall_timeout),
            avoid: settings.avoid_node,
            avoided: Mutex::default(),
            state: Mutex::new(State { saved: MOST_SAVED * 100, waits: Vec::new(), taken: 0, percentile: None }),
        }
    }

    /// After how much silence another node is asked in any case.
    pub(crate) fn silence(&self) -> Duration {
        self.silence
    }

    /// After how much silence another node is asked as far as the budget goes.
    pub(crate) fn hedge_after(&self) -> Duration {
        let after = match self.hedging {
            Hedging::Off => None,
            Hedging::After(time) => Some(time),
            Hedging::Percentile(_) => self.state.lock().percentile,
        };
        after.map_or(self.silence, |after| after.min(self.silence))
    }

    /// Takes one hedged read from the budget, if it has one.
    pub(crate) fn spend(&self) -> bool {
        let mut state = self.state.lock();
        let left = state.saved.checked_sub(100);
        state.saved = left.unwrap_or(state.saved);
        left.is_some()
    }

    /// Notes that bytes came, and after how long.
    pub(crate) fn took(&self, wait: Duration) {
        if self.hedging == Hedging::Off {
            return;
        }
        let mut state = self.state.lock();
        state.saved = (state.saved + self.budget_percent).min(MOST_SAVED * 100);
        let Hedging::Percentile(percentile) = self.hedging else { return };
        let at = state.taken % SAMPLES;
        match state.waits.get_mut(at) {
            Some(oldest) => *oldest = wait,
            None => state.waits.push(wait),
        }
        state.taken = state.taken.wrapping_add(1);
        if state.waits.len() >= FEWEST_SAMPLES && state.taken.is_multiple_of(RECKONED_EVERY) {
            let mut waits = state.waits.clone();
            let at = (waits.len() * usize::from(percentile.min(100)) / 100).min(waits.len() - 1);
            let (_, wait, _) = waits.select_nth_unstable(at);
            state.percentile = Some((*wait).max(SHORTEST));
        }
    }

    /// Leaves a node alone that failed, where another one has the bytes.
    pub(crate) fn avoid(&self, node: NodeId) {
        self.avoid_for(node, self.avoid);
    }

    /// The same for a node that was overtaken by another.
    pub(crate) fn avoid_briefly(&self, node: NodeId) {
        self.avoid_for(node, BRIEFLY.min(self.avoid));
    }

    fn avoid_for(&self, node: NodeId, time: Duration) {
        let now = Instant::now();
        let mut avoided = self.avoided.lock();
        // As many as failed within that time, in a cluster of any size.
        avoided.retain(|_, until| *until > now);
        let until = avoided.entry(node).or_insert(now);
        *until = (*until).max(now + time);
    }

    pub(crate) fn avoids(&self, node: NodeId) -> bool {
        let avoided = self.avoided.lock();
        !avoided.is_empty() && avoided.get(&node).is_some_and(|until| Instant::now() < *until)
    }

    /// Gives nodes another chance.
    pub(crate) fn forgive(&self, nodes: impl Iterator<Item = NodeId>) {
        let mut avoided = self.avoided.lock();
        for node in nodes {
            avoided.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(hedging: Hedging) -> Patience {
        Patience::new(&ClientSettings { hedging, ..ClientSettings::default() })
    }

    #[test]
    fn the_budget_bounds_hedged_reads() {
        let patience = patience(Hedging::After(Duration::from_millis(50)));
        assert_eq!(patience.hedge_after(), Duration::from_millis(50));
        let spent = |times| (0..times).filter(|_| patience.spend()).count();
        assert_eq!(spent(100), MOST_SAVED as usize, "what is saved at first");
        (0..100).for_each(|_| patience.took(Duration::ZERO));
        assert_eq!(spent(100), 10, "one of ten reads");
    }

    #[test]
    fn a_percentile_is_that_of_the_latest_waits() {
        let patience = patience(Hedging::Percentile(90));
        assert_eq!(patience.hedge_after(), patience.silence(), "nothing is known yet");
        (1..=100).for_each(|wait| patience.took(Duration::from_millis(wait)));
        assert!((80..=95).contains(&patience.hedge_after().as_millis()), "{:?}", patience.hedge_after());
        (0..2 * SAMPLES).for_each(|_| patience.took(Duration::from_micros(10)));
        assert_eq!(patience.hedge_after(), SHORTEST);
        (0..2 * SAMPLES).for_each(|_| patience.took(Duration::from_secs(60)));
        assert_eq!(patience.hedge_after(), patience.silence(), "never longer than without");
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_are_avoided_for_a_while() {
        let patience = patience(Hedging::Off);
        patience.avoid_briefly(NodeId(1));
        patience.avoid(NodeId(2));
        patience.avoid_briefly(NodeId(2));
        assert!(patience.avoids(NodeId(1)) && patience.avoids(NodeId(2)) && !patience.avoids(NodeId(3)));
        tokio::time::advance(BRIEFLY).await;
        assert!(!patience.avoids(NodeId(1)) && patience.avoids(NodeId(2)));
        patience.forgive([NodeId(2)].into_iter());
        assert!(!patience.avoids(NodeId(2)));
    }
}
