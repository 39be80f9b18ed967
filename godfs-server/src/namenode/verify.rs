//! Has datanodes read replicas again. Their own verdict counts, never a hint.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use godfs_core::{ChunkId, Error, ErrorKind, Generation, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use v1::command::Order;

use super::state::State;

/// Replicas that were looked at lately and are remembered for it. When more clients complain than that, their hints are dropped: scrubbing finds what
/// is really corrupt.
const REMEMBERED: usize = 4_096;
/// Replicas that are looked at because of hints, at once.
const HINTS_AT_ONCE: usize = 16;

/// A client says that a replica is corrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) chunk: ChunkId,
    pub(super) generation: Generation,
    pub(super) node: NodeId,
}

/// Which replicas hints have led to.
#[derive(Debug, Default)]
pub(super) struct Hints(Mutex<Looked>);

#[derive(Debug, Default)]
struct Looked {
    /// When each was looked at last.
    lately: HashMap<(NodeId, ChunkId), Duration>,
    now: HashSet<(NodeId, ChunkId)>,
}

impl Hints {
    /// Whether to look at a replica now.
    fn begin(&self, now: Duration, interval: Duration, hint: Hint) -> bool {
        let mut looked = self.0.lock();
        let key = (hint.node, hint.chunk);
        if looked.lately.len() >= REMEMBERED {
            looked.lately.retain(|_, when| now < when.saturating_add(interval));
        }
        let lately = looked.lately.get(&key).is_some_and(|when| now < when.saturating_add(interval));
        if lately || looked.lately.len() >= REMEMBERED || looked.now.len() >= HINTS_AT_ONCE || !looked.now.insert(key) {
            return false;
        }
        looked.lately.insert(key, now);
        true
    }

    fn end(&self, hint: Hint) {
        self.0.lock().now.remove(&(hint.node, hint.chunk));
    }
}

/// Has a replica read again, if the rows name it and nobody looked lately.
pub(super) fn look_again(state: &Arc<State>, hint: Hint) {
    if !state.hints.begin(state.now(), state.settings.recheck_interval, hint) {
        return;
    }
    let state = Arc::clone(state);
    state.tasks.clone().spawn(async move {
        match check_named(&state, hint).await {
            Ok(Some(Finding::Corrupt(what))) => {
                tracing::warn!(?hint, what, "the datanode agrees: the replica is corrupt");
            }
            Ok(_) => tracing::info!(?hint, "the datanode finds nothing wrong with the replica, or has it no more"),
            Err(error) => tracing::info!(?hint, error = error.report(), "cannot look at the replica again"),
        }
        state.hints.end(hint);
    });
}

async fn check_named(state: &State, hint: Hint) -> Result<Option<Finding>> {
    let Some(info) = state.namespace.chunk(hint.chunk).await? else { return Ok(None) };
    let named = info.replicas.iter().any(|place| place.node == hint.node && !place.corrupt);
    if !named || info.open || hint.generation > info.generation {
        return Ok(None);
    }
    check(state, hint.node, hint.chunk, info.generation).await.map(Some)
}

/// What a datanode found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Every byte agrees with its checksum; so many bytes.
    Sound(u64),
    /// It does not; recorded. What was found.
    Corrupt(String),
}

/// Has a datanode read a replica, and records a bad verdict.
///
/// # Errors
/// When the datanode can't be reached or could not look, or has no such replica.
pub(super) async fn check(state: &State, node: NodeId, chunk: ChunkId, generation: Generation) -> Result<Finding> {
    let order = Order::Verify(v1::VerifyReplica { chunk: chunk.get(), generation: generation.get() });
    match state.links.command(node, order, state.settings.verify_timeout).await {
        Ok(Some(replica)) => Ok(Finding::Sound(replica.length)),
        Ok(None) => Err(Error::new(ErrorKind::Internal, format!("datanode {node} gave a verdict without a replica"))),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            state.namespace.mark_corrupt(node, chunk, generation).await?;
            state.repair.touched([chunk]);
            state.links.look_for_garbage();
            Ok(Finding::Corrupt(error.message().to_owned()))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_looked_at_once_in_an_interval_and_hints_are_bounded() {
        let hints = Hints::default();
        let interval = Duration::from_secs(10);
        let hint = |chunk| Hint { chunk: ChunkId(chunk), generation: Generation(1), node: NodeId(1) };
        let begin = |at, chunk| hints.begin(Duration::from_secs(at), interval, hint(chunk));
        assert!(begin(0, 1) && !begin(0, 1));
        hints.end(hint(1));
        assert!(!begin(9, 1) && begin(10, 1));
        assert_eq!((2..100).filter(|&chunk| begin(10, chunk)).count(), HINTS_AT_ONCE - 1);
        (1..100).for_each(|chunk| hints.end(hint(chunk)));
        let many = (1_000..100_000).filter(|&chunk| {
            let began = begin(10, chunk);
            hints.end(hint(chunk));
            began
        });
        assert_eq!(many.count() + HINTS_AT_ONCE, REMEMBERED);
        assert!(begin(20, 1_000), "what is remembered is forgotten in time");
    }
}
