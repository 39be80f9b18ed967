//! Carries out what the repair queue asks for.
//!
//! The queue decides and keeps the bounds (copies a node, deletions, rows read at once); here each of its effects becomes reads, commands and
//! transactions. Rows come first: a copy is recorded before the queue hears of it, and a replica's row goes before the replica does.

use std::sync::Arc;
use std::time::Duration;

use godfs_client::transport::convert;
use godfs_core::chunk::{Replica, ReplicaState};
use godfs_core::cluster::{
    ChunkHealth, HeldReplica, NodeChange, Nodes, RepairCounts, RepairEffect, RepairQueue, Scan, ScanPage,
};
use godfs_core::namespace::{ChunkInfo, ReplicaEvent, Verdict};
use godfs_core::{ChunkId, Error, ErrorKind, Generation, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::Notify;
use v1::command::Order;

use super::convert::node;
use super::state::State;
use super::verify::{self, Finding};

/// The repair queue and what wakes its driver.
#[derive(Debug)]
pub(super) struct Repair {
    queue: Mutex<RepairQueue>,
    wake: Notify,
}

impl Repair {
    /// Nothing to repair yet.
    pub(super) fn new(queue: RepairQueue) -> Self {
        Self { queue: Mutex::new(queue), wake: Notify::new() }
    }

    /// The counts for the report.
    pub(super) fn counts(&self) -> RepairCounts {
        self.queue.lock().counts()
    }

    /// A node is thought of differently.
    pub(super) fn node_changed(&self, now: Duration, change: NodeChange) {
        self.queue.lock().node_changed(now, change);
        self.wake.notify_one();
    }

    /// Chunks whose rows changed: they will be looked at.
    pub(super) fn touched(&self, chunks: impl IntoIterator<Item = ChunkId>) {
        let mut queue = self.queue.lock();
        let mut any = false;
        for chunk in chunks {
            queue.touched(chunk);
            any = true;
        }
        drop(queue);
        if any {
            self.wake.notify_one();
        }
    }

    /// Chunks that no file has any more: what they lack is not owed.
    pub(super) fn gone(&self, chunks: &[ChunkId]) {
        let mut queue = self.queue.lock();
        for &chunk in chunks {
            queue.gone(chunk);
        }
    }

    /// A datanode has deleted a replica and its garbage row is gone.
    pub(super) fn deleted(&self, node: NodeId, chunk: ChunkId) {
        self.queue.lock().dropped(chunk, node);
        self.wake.notify_one();
    }
}

/// Drives liveness and repair until the namenode ends.
pub(super) async fn drive(state: Arc<State>) {
    // Several times within a heartbeat, as the machines ask for.
    let every = (state.settings.liveness.heartbeat / 4).clamp(Duration::from_millis(5), Duration::from_millis(250));
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // All arms are cancel-safe.
        tokio::select! {
            biased;
            () = state.tasks.ending().cancelled() => return,
            () = state.repair.wake.notified() => {}
            _ = tick.tick() => {}
        }
        state.change_nodes(Nodes::tick);
        let view = state.view();
        let effects = state.repair.queue.lock().poll(state.now(), &view);
        for effect in effects {
            state.tasks.spawn(carry_out(Arc::clone(&state), effect));
        }
    }
}

async fn carry_out(state: Arc<State>, effect: RepairEffect) {
    match effect {
        RepairEffect::LoadChunk(chunk) => load(&state, chunk).await,
        RepairEffect::ReadPage { scan, from, limit } => read_page(&state, scan, from, limit).await,
        RepairEffect::Copy { chunk, generation, length, source, target } => {
            let copied = copy(&state, Copy { chunk, generation, length, source, target }).await;
            let mut queue = state.repair.queue.lock();
            match copied {
                Ok(()) => queue.copy_finished(chunk, target),
                Err(error) => {
                    tracing::warn!(%chunk, %source, %target, error = error.report(), "copy failed");
                    queue.copy_failed(state.now(), chunk, target);
                }
            }
        }
        // Whether the replica is corrupt, and so how many others have to be there, is for the transaction to see.
        RepairEffect::DropSurplus { chunk, node, keep, .. } => drop_replica(&state, chunk, node, keep).await,
        RepairEffect::DropCorrupt { chunk, generation, node, keep } => {
            let keep = first_sound(&state, keep, chunk, generation).await;
            drop_replica(&state, chunk, node, keep.into_iter().collect()).await;
        }
        // An effect of a later core, which this software can't carry out.
        other => tracing::error!(?other, "unknown effect of the repair queue"),
    }
    state.repair.wake.notify_one();
}

async fn load(state: &State, chunk: ChunkId) {
    let read = state.namespace.chunk(chunk).await;
    // The commit of a chunk may make garbage of what its pipelines left out.
    for &node in read.iter().flatten().flat_map(|info| &info.leaving) {
        if let Some(link) = state.links.get(node) {
            link.garbage.notify_one();
        }
    }
    let mut queue = state.repair.queue.lock();
    match read {
        Ok(Some(info)) => queue.health(state.now(), health(info)),
        Ok(None) => queue.gone(chunk),
        Err(error) => {
            tracing::warn!(%chunk, error = error.report(), "cannot read the rows of a chunk");
            queue.load_failed(state.now(), chunk);
        }
    }
}

async fn read_page(state: &State, scan: Scan, from: ChunkId, limit: usize) {
    let read = page(state, scan, from, limit).await;
    let mut queue = state.repair.queue.lock();
    match read {
        Ok(page) => queue.page(state.now(), page),
        Err(error) => {
            tracing::warn!(?scan, error = error.report(), "cannot read a page of rows");
            queue.page_failed(state.now(), scan, from);
        }
    }
}

async fn page(state: &State, scan: Scan, from: ChunkId, limit: usize) -> Result<ScanPage> {
    // `from` is the first that may be in the page, the namespace asks for the last that may not.
    let after = ChunkId(from.get().saturating_sub(1));
    let chunks = match scan {
        Scan::Owed => state.namespace.owed(after, limit).await?,
        Scan::Node(node) => state.namespace.chunks_of(node, after, limit).await?,
    };
    let next = chunks.last().filter(|_| chunks.len() == limit).map(|last| last.chunk.next());
    Ok(ScanPage { scan, from, chunks: chunks.into_iter().map(health).collect(), next })
}

/// A chunk as the repair queue sees it.
fn health(info: ChunkInfo) -> ChunkHealth {
    ChunkHealth {
        chunk: info.chunk,
        version: info.version,
        generation: info.generation,
        length: info.length,
        target: info.target.into(),
        replicas: info.replicas.iter().map(|place| HeldReplica { node: place.node, corrupt: place.corrupt }).collect(),
        excluded: info.leaving,
        writing: info.open,
    }
}

/// A copy to make.
#[derive(Clone, Copy, Debug)]
struct Copy {
    chunk: ChunkId,
    generation: Generation,
    length: u64,
    source: NodeId,
    target: NodeId,
}

/// Has a replica copied, and records it. When its chunk is deleted meanwhile, the copy is too: only here is known that there may be one.
async fn copy(state: &State, copy: Copy) -> Result<()> {
    let Copy { chunk, generation, target, .. } = copy;
    let recorded = match make(state, copy).await {
        Ok(replica) => state.namespace.replica_events(target, vec![ReplicaEvent::Finalized(replica)]).await,
        Err(error) => Err(error),
    };
    let unnamed = recorded.as_ref().map_or(true, |verdicts| verdicts.contains(&Verdict::Unknown));
    if unnamed
        && state.namespace.end_copy(target, chunk, generation).await?
        && let Some(link) = state.links.get(target)
    {
        link.garbage.notify_one();
    }
    recorded.map(drop)
}

/// Has a replica copied. One that is there already is as good, if its node has read it and found it whole: it was finalized while its chunk
/// was open, and the chunk was committed without it.
async fn make(state: &State, copy: Copy) -> Result<Replica> {
    let Copy { chunk, generation, length, source, target } = copy;
    let to = node(&state.nodes.lock(), target);
    tracing::info!(%chunk, %source, %target, length, "copy");
    let order =
        Order::Copy(v1::CopyReplica { chunk: chunk.get(), generation: generation.get(), length, target: Some(to) });
    let repair = &state.settings.repair;
    let limit = repair.copy_base.saturating_add(Duration::from_secs(length / repair.copy_slowest.max(1)));
    let made = match state.links.command(source, order, limit).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            match verify::check(state, target, chunk, generation).await {
                Ok(Finding::Sound(found)) if found == length => None,
                _ => return Err(error),
            }
        }
        answer => answer?,
    };
    if let Some(made) = made {
        let made = convert::replica(&made)?;
        if (made.chunk, made.generation, made.length) != (chunk, generation, length) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "datanode {source} copied {made:?}, asked for chunk {chunk} generation {generation} length {length}"
                ),
            ));
        }
    }
    Ok(Replica { chunk, generation, length, visible: length, state: ReplicaState::Finalized })
}

/// The first of `nodes` whose replica agrees with its checksums when it is read now. That rows call it good is not enough before another
/// goes: they did so of that one too, and what is corrupt in different places can still be put together.
async fn first_sound(state: &State, nodes: Vec<NodeId>, chunk: ChunkId, generation: Generation) -> Option<NodeId> {
    for node in nodes {
        match verify::check(state, node, chunk, generation).await {
            Ok(Finding::Sound(_)) => return Some(node),
            Ok(Finding::Corrupt(what)) => {
                tracing::warn!(%chunk, %node, what, "the replica to be kept is corrupt as well");
            }
            Err(error) => {
                tracing::warn!(%chunk, %node, error = error.report(), "cannot look at the replica to be kept");
            }
        }
    }
    None
}

/// Turns a replica into garbage if the rows allow it; the node's link sees to the rest.
async fn drop_replica(state: &State, chunk: ChunkId, node: NodeId, keep: Vec<NodeId>) {
    let dropped = state.namespace.drop_replica(chunk, node, keep).await;
    let refused = match dropped {
        Ok(true) => {
            tracing::info!(%chunk, %node, "drop a replica");
            if let Some(link) = state.links.get(node) {
                link.garbage.notify_one();
            }
            return;
        }
        Ok(false) => "the rows have changed".to_owned(),
        Err(error) => error.report(),
    };
    tracing::debug!(%chunk, %node, refused, "replica not dropped");
    state.repair.queue.lock().drop_failed(state.now(), chunk, node);
}
