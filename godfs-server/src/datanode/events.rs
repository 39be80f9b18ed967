//! What a namenode has not heard yet: one outbox for each.
//!
//! An outbox keeps events only while its namenode is connected: after a registration the full report says all the rest. So
//! does it when there are too many. Verdicts of corruption are in no report and are kept by the node itself.

use std::collections::VecDeque;

use godfs_client::transport::convert;
use godfs_core::chunk::Replica;
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::Notify;
use v1::replica_event::Kind;

/// Events of one message: some 40 KiB.
const BATCH: usize = 1_024;

/// Events that wait for one namenode; beyond, a full report is smaller.
const MAX_WAITING: usize = 16 * BATCH;

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
    sequence: u64,
    overflow: bool,
}

impl Outbox {
    /// Begins to keep events: from here on, none is missed.
    pub(crate) fn connect(&self, verdicts: Vec<ReplicaEvent>) {
        let mut state = self.state.lock();
        state.connected = true;
        state.overflow = false;
        state.sent = None;
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
        state.waiting.push_back(event);
        if state.waiting.len() > MAX_WAITING {
            state.overflow = true;
            state.sent = None;
            state.waiting.retain(|event| matches!(event, ReplicaEvent::Corrupt(..)));
            state.waiting.truncate(MAX_WAITING);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until there may be something to send. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The next message, unless there is none or one is still to be acknowledged.
    pub(crate) fn next(&self) -> Option<v1::ReplicaEvents> {
        let mut state = self.state.lock();
        if state.sent.is_some() || state.waiting.is_empty() {
            return None;
        }
        let events: Vec<_> = state.waiting.iter().take(BATCH).map(ReplicaEvent::to_wire).collect();
        state.sequence += 1;
        state.sent = Some((state.sequence, events.len()));
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
        outbox.push(ReplicaEvent::Finalized(replica(1)));
        assert!(outbox.next().is_none(), "nobody is connected");
        outbox.connect(vec![ReplicaEvent::Corrupt(replica(9), "bad".into())]);
        outbox.push(ReplicaEvent::Finalized(replica(2)));
        let first = outbox.next().expect("two events");
        assert_eq!((first.sequence, first.events.len()), (1, 2));
        outbox.push(ReplicaEvent::Deleted(replica(2)));
        assert!(outbox.next().is_none(), "one message at a time");
        outbox.acknowledged(1);
        let second = outbox.next().expect("the third");
        assert_eq!((second.sequence, second.events.len()), (2, 1));
        outbox.acknowledged(1);
        assert!(outbox.next().is_none(), "an old acknowledgement changes nothing");
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
        assert_eq!(outbox.next().expect("the verdict").events.len(), 1);
    }
}
