//! What a namenode has not heard yet: one outbox for each.
//!
//! An outbox keeps events only while its namenode is connected: after a registration the full report says all the rest. So
//! does it when there are too many. Verdicts of corruption are in no report and are kept by the node itself.
//!
//! What was finalized or deleted is told after a little while, many at once: a writer names the nodes of its replicas itself when it completes a chunk, so
//! nobody waits for these, and by then they mostly change no row. The outcome of a command does not overtake them: a namenode that knows of a deletion and
//! then hears that the replica was finalized would count one that is gone.

use std::collections::VecDeque;
use std::time::Duration;

use godfs_client::transport::convert;
use godfs_core::chunk::Replica;
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use v1::replica_event::Kind;

/// Events of one message: some 40 KiB.
const BATCH: usize = 1_024;

/// Events that wait for one namenode; beyond, a full report is smaller.
const MAX_WAITING: usize = 16 * BATCH;

/// How long events gather. Told one by one they cost a namenode as much as the calls of those who write small files.
const GATHER: Duration = Duration::from_millis(50);

/// Something that happened to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaEvent {
    /// Finalized: by a pipeline, a copy or a recovery.
    Finalized(Replica),
    /// Deleted.
    Deleted(Replica),
    /// This node's own verdict, and what was found.
    Corrupt(Replica, String),
}

impl ReplicaEvent {
    fn to_wire(&self) -> v1::ReplicaEvent {
        let (kind, replica, evidence) = match self {
            Self::Finalized(replica) => (Kind::Finalized, replica, ""),
            Self::Deleted(replica) => (Kind::Deleted, replica, ""),
            Self::Corrupt(replica, evidence) => (Kind::Corrupt, replica, evidence.as_str()),
        };
        v1::ReplicaEvent {
            kind: kind.into(),
            replica: Some(convert::replica_to_wire(replica)),
            evidence: evidence.to_owned(),
        }
    }
}

/// The events that one namenode has not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    connected: bool,
    waiting: VecDeque<ReplicaEvent>,
    /// Sent, not acknowledged: their message's number and how many of `waiting` it carried.
    sent: Option<(u64, usize)>,
    /// When what waits beyond that is to be sent.
    due: Option<Instant>,
    sequence: u64,
    /// Events since the namenode is connected.
    pushed: u64,
    overflow: bool,
}

impl State {
    /// Events that were not sent.
    fn fresh(&self) -> usize {
        self.waiting.len() - self.sent.map_or(0, |(_, count)| count)
    }
}

impl Outbox {
    /// Begins to keep events: from here on, none is missed.
    pub(crate) fn connect(&self, verdicts: Vec<ReplicaEvent>) {
        let mut state = self.state.lock();
        state.connected = true;
        state.overflow = false;
        state.sent = None;
        state.due = (!verdicts.is_empty()).then(Instant::now);
        state.pushed = verdicts.len() as u64;
        state.waiting = verdicts.into();
        drop(state);
        self.changed.notify_one();
    }

    /// Forgets everything until the next registration.
    pub(crate) fn disconnect(&self) {
        let sequence = self.state.lock().sequence;
        *self.state.lock() = State { sequence, ..State::default() };
    }

    /// Adds an event.
    pub(crate) fn push(&self, event: ReplicaEvent) {
        let mut state = self.state.lock();
        if !state.connected {
            return;
        }
        let now = Instant::now();
        let due = if matches!(event, ReplicaEvent::Corrupt(..)) { now } else { now + GATHER };
        state.waiting.push_back(event);
        state.pushed += 1;
        if state.waiting.len() > MAX_WAITING {
            state.overflow = true;
            state.sent = None;
            state.waiting.retain(|event| matches!(event, ReplicaEvent::Corrupt(..)));
            state.waiting.truncate(MAX_WAITING);
        }
        let due = if state.fresh() < BATCH { due } else { now };
        let sooner = state.due.is_none_or(|known| due < known);
        if sooner {
            state.due = Some(due);
        }
        let tell = sooner || state.overflow;
        drop(state);
        if tell {
            self.changed.notify_one();
        }
    }

    /// Waits until there may be something to send. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes what waits due, and gives how many events there were so far: something is to be told that must not overtake them.
    pub(crate) fn hasten(&self, now: Instant) -> u64 {
        let mut state = self.state.lock();
        state.due = state.due.map(|due| due.min(now));
        state.pushed
    }

    /// Whether the first so many events were sent, or are left to a full report.
    pub(crate) fn has_told(&self, pushed: u64) -> bool {
        let state = self.state.lock();
        state.pushed - state.fresh() as u64 >= pushed
    }

    /// When there is something to send. `None` while there is nothing, or a message is still to be acknowledged.
    pub(crate) fn due(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.due.filter(|_| state.sent.is_none() && !state.waiting.is_empty())
    }

    /// The next message, if one is due.
    pub(crate) fn next(&self, now: Instant) -> Option<v1::ReplicaEvents> {
        let mut state = self.state.lock();
        if state.sent.is_some() || state.waiting.is_empty() || state.due.is_none_or(|due| due > now) {
            return None;
        }
        let events: Vec<_> = state.waiting.iter().take(BATCH).map(ReplicaEvent::to_wire).collect();
        state.sequence += 1;
        state.sent = Some((state.sequence, events.len()));
        state.due = (state.fresh() > 0).then_some(now);
        Some(v1::ReplicaEvents { sequence: state.sequence, events })
    }

    /// Takes in an acknowledgement.
    pub(crate) fn acknowledged(&self, sequence: u64) {
        let mut state = self.state.lock();
        if let Some((_, count)) = state.sent.take_if(|(sent, _)| *sent <= sequence) {
            state.waiting.drain(..count);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Asks for a full report: more has changed than events tell.
    pub(crate) fn report(&self) {
        let mut state = self.state.lock();
        state.overflow |= state.connected;
        drop(state);
        self.changed.notify_one();
    }

    /// Whether events were dropped and a full report has to say what they said; asks once.
    pub(crate) fn overflowed(&self) -> bool {
        std::mem::take(&mut self.state.lock().overflow)
    }
}

#[cfg(test)]
mod tests {
    use godfs_core::chunk::ReplicaState;
    use godfs_core::{ChunkId, Generation};

    use super::*;

    fn replica(chunk: u64) -> Replica {
        let state = ReplicaState::Finalized;
        Replica { chunk: ChunkId(chunk), generation: Generation(1), length: 1, visible: 1, state }
    }

    #[test]
    fn events_wait_for_their_acknowledgement_in_order() {
        let outbox = Outbox::default();
        let now = || Instant::now() + GATHER;
        outbox.push(ReplicaEvent::Finalized(replica(1)));
        assert!(outbox.next(now()).is_none(), "nobody is connected");
        outbox.connect(vec![ReplicaEvent::Corrupt(replica(9), "bad".into())]);
        outbox.push(ReplicaEvent::Finalized(replica(2)));
        let first = outbox.next(now()).expect("two events");
        assert_eq!((first.sequence, first.events.len()), (1, 2));
        outbox.push(ReplicaEvent::Deleted(replica(2)));
        assert!(outbox.next(now()).is_none() && outbox.due().is_none(), "one message at a time");
        outbox.acknowledged(1);
        let second = outbox.next(now()).expect("the third");
        assert_eq!((second.sequence, second.events.len()), (2, 1));
        outbox.acknowledged(1);
        assert!(outbox.next(now()).is_none(), "an old acknowledgement changes nothing");
        outbox.acknowledged(2);
        assert_eq!(outbox.due(), None, "nothing is left");
    }

    #[test]
    fn events_gather_for_a_while_and_verdicts_do_not() {
        let outbox = Outbox::default();
        outbox.connect(Vec::new());
        let before = Instant::now();
        outbox.push(ReplicaEvent::Finalized(replica(1)));
        let due = outbox.due().expect("an event waits");
        assert!(due >= before + GATHER && due <= Instant::now() + GATHER, "{:?}", due - before);
        assert!(outbox.next(before).is_none(), "too early");
        outbox.push(ReplicaEvent::Deleted(replica(1)));
        assert_eq!(outbox.due(), Some(due), "the first one decides");
        let both = outbox.hasten(before);
        assert!(!outbox.has_told(both));
        assert_eq!(outbox.next(before).expect("both, ahead of what follows").events.len(), 2);
        assert!(outbox.has_told(both));
        outbox.acknowledged(1);
        outbox.push(ReplicaEvent::Deleted(replica(1)));
        outbox.push(ReplicaEvent::Corrupt(replica(2), "bad".into()));
        assert!(outbox.due().is_some_and(|due| due <= Instant::now()), "a verdict is told at once");
        assert_eq!(outbox.next(Instant::now()).expect("all of them").events.len(), 2);
        outbox.acknowledged(2);
        for chunk in 0..BATCH as u64 {
            outbox.push(ReplicaEvent::Finalized(replica(chunk)));
        }
        assert!(outbox.due().is_some_and(|due| due <= Instant::now()), "a message is full");
        outbox.push(ReplicaEvent::Finalized(replica(0)));
        assert_eq!(outbox.next(Instant::now()).expect("a message").events.len(), BATCH);
        outbox.acknowledged(3);
        assert_eq!(outbox.next(Instant::now()).expect("what did not fit").events.len(), 1);
    }

    #[test]
    fn too_many_become_a_report() {
        let outbox = Outbox::default();
        outbox.connect(vec![ReplicaEvent::Corrupt(replica(9), "bad".into())]);
        for chunk in 0..MAX_WAITING as u64 {
            outbox.push(ReplicaEvent::Finalized(replica(chunk)));
        }
        assert!(outbox.overflowed());
        assert!(!outbox.overflowed(), "said once");
        assert!(!outbox.has_told(outbox.hasten(Instant::now())), "the verdict waits");
        assert_eq!(outbox.next(Instant::now() + GATHER).expect("the verdict").events.len(), 1);
    }
}
