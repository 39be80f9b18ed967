//! Pauses between attempts.

use std::time::Duration;

use godfs_core::env::Env;

/// The first pause: long enough for a connection that just broke to be refused or made again.
const FIRST: Duration = Duration::from_millis(20);
/// The longest pause: how late a namenode that came back may be noticed.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double up to a cap, each drawn between half of itself and the whole, so that clients which failed
/// together do not come back together.
pub(crate) struct Backoff {
    env: Env,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(env: &Env) -> Self {
        Self { env: env.clone(), next: FIRST }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        let half = whole / 2;
        half + Duration::from_micros(self.env.random.below(u64::try_from(half.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_vary() {
        let mut backoff = Backoff::new(&Env::simulated(1));
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(pauses[10..].iter().all(|pause| (LONGEST / 2..=LONGEST).contains(pause)));
        assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
