//! When a client's session, and with it its leases, is over.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::awake::AwakeTime;
use crate::id::SessionId;

/// How long a client may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseSettings {
    /// Time without a renewal after which a session is over and its open files are closed. Longer times let a client survive a longer
    /// break of the network; shorter ones free the files of a dead one sooner.
    pub expire_after: Duration,
    /// An expired session is named again after so long, until it is told that it is gone.
    pub retry_after: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { expire_after: Duration::from_secs(60), retry_after: Duration::from_secs(2) }
    }
}

/// Sessions named by one tick at most; the others follow with the next.
const EXPIRED_A_TICK: usize = 256;
/// A longer gap between inputs counts as no more than this, see [`LeaseClock::tick`].
const LONGEST_GAP: Duration = Duration::from_secs(2);

/// A session that has not been renewed for the whole period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The session.
    pub session: SessionId,
    /// The renewal that was seen last. The transaction that ends the session must find the same in its row: the client may have
    /// renewed it at another namenode, or just now.
    pub renewal: u64,
}

/// Judges the expiry of sessions by the time that this namenode itself has seen pass without a change.
///
/// Nothing is compared with a stored time, so a namenode that starts anew, or takes over, grants each session a full period, and a clock that is wrong
/// expires nobody. Hand in every session of the rows at the start, and again whenever a renewal is seen.
#[derive(Debug)]
pub struct LeaseClock {
    settings: LeaseSettings,
    awake: AwakeTime,
    sessions: HashMap<SessionId, Seen>,
    /// When each is due, in awake time.
    due: BTreeSet<(Duration, SessionId)>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    renewal: u64,
    due: Duration,
}

impl LeaseClock {
    /// No sessions yet.
    #[must_use]
    pub fn new(settings: LeaseSettings, now: Duration) -> Self {
        let awake = AwakeTime::new(now, LONGEST_GAP);
        Self { settings, awake, sessions: HashMap::new(), due: BTreeSet::new() }
    }

    /// A session exists, and its row counts `renewal` renewals. Only a number that was not seen before begins a new period: reading the
    /// same row again proves nothing.
    pub fn seen(&mut self, now: Duration, session: SessionId, renewal: u64) {
        let now = self.awake.advance(now);
        if self.sessions.get(&session).is_some_and(|seen| seen.renewal == renewal) {
            return;
        }
        self.set(session, renewal, now.saturating_add(self.settings.expire_after));
    }

    /// A session was closed or expired, by whomever.
    pub fn gone(&mut self, session: SessionId) {
        if let Some(seen) = self.sessions.remove(&session) {
            self.due.remove(&(seen.due, session));
        }
    }

    /// Time passes; names the sessions that are over. Call it at least every second: a longer gap means that this namenode was itself
    /// stopped, and does not count in full.
    pub fn tick(&mut self, now: Duration) -> Vec<Expired> {
        let now = self.awake.advance(now);
        let over = self.due.iter().take_while(|(due, _)| *due <= now).take(EXPIRED_A_TICK);
        let over: Vec<_> = over.map(|&(_, session)| session).collect();
        let name = |session| {
            let renewal = self.sessions.get(&session).map_or(0, |seen| seen.renewal);
            self.set(session, renewal, now.saturating_add(self.settings.retry_after));
            Expired { session, renewal }
        };
        over.into_iter().map(name).collect()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn set(&mut self, session: SessionId, renewal: u64, due: Duration) {
        if let Some(old) = self.sessions.insert(session, Seen { renewal, due }) {
            self.due.remove(&(old.due, session));
        }
        self.due.insert((due, session));
        debug_assert_eq!(self.due.len(), self.sessions.len(), "every session is due once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId(1);

    /// Ticks each second in `seconds` and gives the seconds at which something expired.
    fn expiries(clock: &mut LeaseClock, seconds: std::ops::RangeInclusive<u64>) -> Vec<(u64, Expired)> {
        let tick = |second| clock.tick(Duration::from_secs(second)).into_iter().map(move |expired| (second, expired));
        seconds.flat_map(tick).collect()
    }

    #[test]
    fn a_silent_session_expires_and_is_named_until_it_is_gone() {
        let mut clock = LeaseClock::new(LeaseSettings::default(), Duration::from_secs(100));
        clock.seen(Duration::from_secs(100), ONE, 5);
        let expired = Expired { session: ONE, renewal: 5 };
        assert_eq!(expiries(&mut clock, 101..=163), [(160, expired), (162, expired)]);
        clock.gone(ONE);
        assert_eq!(expiries(&mut clock, 164..=300), []);
        assert!(clock.is_empty());
    }

    #[test]
    fn only_a_new_renewal_begins_a_new_period() {
        let mut clock = LeaseClock::new(LeaseSettings::default(), Duration::ZERO);
        clock.seen(Duration::ZERO, ONE, 1);
        assert_eq!(expiries(&mut clock, 1..=30), []);
        clock.seen(Duration::from_secs(30), ONE, 2);
        assert_eq!(expiries(&mut clock, 31..=50), []);
        clock.seen(Duration::from_secs(50), ONE, 2);
        assert_eq!(expiries(&mut clock, 51..=90), [(90, Expired { session: ONE, renewal: 2 })]);
    }

    /// A renewal that arrives between the expiry and its transaction saves the session: the transaction finds another number.
    #[test]
    fn a_late_renewal_still_counts() {
        let mut clock = LeaseClock::new(LeaseSettings::default(), Duration::ZERO);
        clock.seen(Duration::ZERO, ONE, 1);
        assert_eq!(expiries(&mut clock, 1..=60).len(), 1);
        clock.seen(Duration::from_secs(60), ONE, 2);
        assert_eq!(expiries(&mut clock, 61..=119), []);
    }

    /// A clock that starts anew after a failover, or a machine that was paused, expires nobody.
    #[test]
    fn a_pause_expires_nobody() {
        let mut clock = LeaseClock::new(LeaseSettings::default(), Duration::ZERO);
        clock.seen(Duration::ZERO, ONE, 1);
        assert_eq!(clock.tick(Duration::from_secs(100_000)), []);
    }
}
