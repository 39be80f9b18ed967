//! Time during which this namenode was listening.

use std::time::Duration;

/// Counts the time between inputs, each gap up to a bound.
///
/// Silence proves nothing while the listener itself was stopped (a paused machine, a starved process): the gap that such a pause
/// leaves counts only up to the bound, so that nobody is declared dead for not having been heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct AwakeTime {
    last: Duration,
    awake: Duration,
    longest_gap: Duration,
}

impl AwakeTime {
    /// Begins at zero. Gaps between inputs count up to `longest_gap`.
    pub(super) fn new(now: Duration, longest_gap: Duration) -> Self {
        Self { last: now, awake: Duration::ZERO, longest_gap }
    }

    /// Moves on to `now` and gives the awake time since the beginning.
    pub(super) fn advance(&mut self, now: Duration) -> Duration {
        self.awake += now.saturating_sub(self.last).min(self.longest_gap);
        self.last = self.last.max(now);
        self.awake
    }

    /// The awake time as of the last input.
    pub(super) fn get(&self) -> Duration {
        self.awake
    }
}
