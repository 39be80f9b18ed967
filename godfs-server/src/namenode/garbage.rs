//! Has datanodes delete what their garbage rows name.
//!
//! A row is written by the transaction that makes a replica superfluous and removed by the one that records its deletion; in between it is sent, as
//! often as it takes, whenever the datanode is connected.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use godfs_core::{ChunkId, ErrorKind, Generation};
use godfs_proto::v1;
use v1::command::Order;

use super::links::Link;
use super::state::State;

/// Garbage rows read at once.
const PAGE: usize = 256;

/// Deletions that a datanode has and has not confirmed: enough to hide the way there and back, few beside its other work.
const DELETIONS_AT_ONCE: usize = 32;

/// After a deletion that failed, the rows are gone through again after this time.
const RETRY: Duration = Duration::from_secs(5);

/// Rows are gone through after this time even if nobody said that there are new ones: another namenode may have written some.
const SWEEP: Duration = Duration::from_secs(30);

/// Works off a datanode's garbage for as long as its stream lasts.
pub(super) async fn clear(state: Arc<State>, link: Arc<Link>) {
    loop {
        let all_done = match clear_once(&state, &link).await {
            Ok(all_done) => all_done,
            Err(error) => {
                tracing::warn!(node = %link.node, error = error.report(), "cannot work off garbage");
                false
            }
        };
        // All arms are cancel-safe; a notification that came meanwhile is kept.
        tokio::select! {
            biased;
            () = link.closed.cancelled() => return,
            () = state.tasks.ending().cancelled() => return,
            () = link.garbage.notified() => {}
            () = tokio::time::sleep(if all_done { SWEEP } else { RETRY }) => {}
        }
    }
}

/// Goes through all garbage rows of a node once. Says whether each was confirmed.
async fn clear_once(state: &State, link: &Link) -> godfs_core::Result<bool> {
    let mut after = ChunkId(0);
    let mut all_done = true;
    loop {
        let page = state.namespace.garbage(link.node, after, PAGE).await?;
        let Some(&(last, _)) = page.last() else { return Ok(all_done) };
        after = last;
        let full = page.len() == PAGE;
        let done: Vec<bool> = futures::stream::iter(page)
            .map(|(chunk, generation)| delete(state, link, chunk, generation))
            .buffer_unordered(DELETIONS_AT_ONCE)
            .collect()
            .await;
        all_done &= done.into_iter().all(|done| done);
        if !full || link.closed.is_cancelled() {
            return Ok(all_done);
        }
    }
}

/// Has one replica deleted and records it. Says whether that is done.
async fn delete(state: &State, link: &Link, chunk: ChunkId, generation: Generation) -> bool {
    let order = Order::Delete(v1::DeleteReplica { chunk: chunk.get(), generation: generation.get() });
    let deleted = match state.links.command(link.node, order, state.settings.command_timeout).await {
        // It holds a newer replica than the one that was to go, and keeps it.
        Err(error) if error.kind() != ErrorKind::Fenced => Err(error),
        _ => state.namespace.confirm_deleted(link.node, chunk, generation).await,
    };
    match deleted {
        Ok(_) => {
            state.repair.deleted(link.node, chunk);
            true
        }
        Err(error) => {
            tracing::debug!(node = %link.node, %chunk, error = error.report(), "replica not deleted");
            false
        }
    }
}
