//! When a client's session, and with it its leases, is over, and when another client may have a file of it.

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
    /// Time without a renewal after which whoever asks for a file of a session gets it; less than `expire_after`, and a multiple of the time
    /// between renewals. Shorter times let others have the files of a dead client sooner, and take a live one's that was cut off for a moment.
    pub soft_limit: Duration,
    /// An expired session is named again after so long, until it is told that it is gone.
    pub retry_after: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            expire_after: Duration::from_secs(60),
            soft_limit: Duration::from_secs(20),
            retry_after: Duration::from_secs(2),
        }
    }
}

/// Sessions named by one tick at most; the others follow with the next.
const EXPIRED_A_TICK: usize = 256;
/// A longer gap between inputs counts as no more than this, see [`LeaseClock::tick`].
const LONGEST_GAP: Duration = Duration::from_secs(2);
/// Nor as more than this part of the soft limit: after a pause there is time to take in the renewals that have arrived meanwhile.
const GAPS_A_SOFT_LIMIT: u32 = 4;

/// A session that has not been renewed for the whole period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The session.
    pub session: SessionId,
    /// The renewal that was seen last. The transaction that ends the session must find the same in its row: the client may have
    /// renewed it at another namenode, or just now.
    pub renewal: u64,
}

/// For how long a session has not been renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// So long, as far as this namenode was awake to hear a renewal.
    pub lasted: Duration,
    /// It is longer than the soft limit: another client that asks for a file of the session gets it.
    pub beyond_limit: bool,
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
    /// When that renewal was seen first, in awake time.
    since: Duration,
    due: Duration,
}

impl LeaseClock {
    /// No sessions yet.
    #[must_use]
    pub fn new(settings: LeaseSettings, now: Duration) -> Self {
        let longest_gap = LONGEST_GAP.min(settings.soft_limit / GAPS_A_SOFT_LIMIT);
        let awake = AwakeTime::new(now, longest_gap);
        Self { settings, awake, sessions: HashMap::new(), due: BTreeSet::new() }
    }

    /// A session exists, and its row counts `renewal` renewals. Only a number that was not seen before begins a new period: reading the
    /// same row again proves nothing.
    pub fn seen(&mut self, now: Duration, session: SessionId, renewal: u64) {
        let now = self.awake.advance(now);
        if self.sessions.get(&session).is_some_and(|seen| seen.renewal == renewal) {
            return;
        }
        self.set(session, Seen { renewal, since: now, due: now.saturating_add(self.settings.expire_after) });
    }

    /// Somebody asks for a file of a session, whose row counts `renewal` renewals. The transaction that takes the file away must find the same in the
    /// row.
    pub fn silence(&mut self, now: Duration, session: SessionId, renewal: u64) -> Silence {
        self.seen(now, session, renewal);
        let since = self.sessions.get(&session).map_or(self.awake.get(), |seen| seen.since);
        let lasted = self.awake.get().saturating_sub(since);
        Silence { lasted, beyond_limit: lasted > self.settings.soft_limit }
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
            let seen = *self.sessions.get(&session)?;
            self.set(session, Seen { due: now.saturating_add(self.settings.retry_after), ..seen });
            Some(Expired { session, renewal: seen.renewal })
        };
        over.into_iter().filter_map(name).collect()
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

    fn set(&mut self, session: SessionId, seen: Seen) {
        if let Some(old) = self.sessions.insert(session, seen) {
            self.due.remove(&(old.due, session));
        }
        self.due.insert((seen.due, session));
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

    const LIMIT: Duration = Duration::from_secs(20);

    fn ask(clock: &mut LeaseClock, second: u64, renewal: u64) -> Silence {
        clock.silence(Duration::from_secs(second), ONE, renewal)
    }

    #[test]
    fn a_file_of_a_silent_session_can_be_had_beyond_the_soft_limit() {
        let mut clock = LeaseClock::new(LeaseSettings::default(), Duration::ZERO);
        clock.seen(Duration::ZERO, ONE, 1);
        assert_eq!(expiries(&mut clock, 1..=20), []);
        assert_eq!(ask(&mut clock, 20, 1), Silence { lasted: LIMIT, beyond_limit: false });
        assert_eq!(ask(&mut clock, 21, 1), Silence { lasted: Duration::from_secs(21), beyond_limit: true });
        // Whoever asks is told, and renews nothing: the session is over when it would have been.
        assert_eq!(expiries(&mut clock, 22..=60), [(60, Expired { session: ONE, renewal: 1 })]);
        assert_eq!(ask(&mut clock, 61, 1).lasted, Duration::from_secs(61), "being named is no renewal");
        // A renewal that only the asking has seen.
        assert_eq!(ask(&mut clock, 61, 2), Silence { lasted: Duration::ZERO, beyond_limit: false });
        assert_eq!(expiries(&mut clock, 62..=120), []);
    }

    /// Whoever asks first after a pause, or after a restart, finds nobody silent for all that time.
    #[test]
    fn a_pause_takes_no_file_away() {
        for limit in [LIMIT, Duration::from_millis(100)] {
            let settings = LeaseSettings { soft_limit: limit, ..LeaseSettings::default() };
            let mut clock = LeaseClock::new(settings, Duration::ZERO);
            clock.seen(Duration::ZERO, ONE, 1);
            let silence = ask(&mut clock, 100_000, 1);
            assert!(!silence.beyond_limit && silence.lasted <= limit / 4, "{silence:?}");
            let mut anew = LeaseClock::new(settings, Duration::from_secs(100_000));
            assert_eq!(ask(&mut anew, 200_000, 1).lasted, Duration::ZERO);
        }
    }
}
