//! Where replicas are: the rules by which one is added, believed, dropped.

use super::answers::{ChunkInfo, Verdict};
use super::rows::{self, ChunkRow, ReplicaRow, Series, keys};
use super::{MAX_PAGE, reads};
use crate::chunk::Replica;
use crate::error::{Error, ErrorKind};
use crate::id::{ChunkId, Generation, NodeId};
use crate::metadata::{Range, Snapshot, Space, Step, Transaction};

/// Takes in that `node` holds a finalized replica.
pub(super) fn observe(txn: &mut dyn Transaction, node: NodeId, replica: &Replica) -> Step<Verdict> {
    let Replica { chunk, generation, length, .. } = *replica;
    if rows::garbage(txn, node, chunk)?.is_some_and(|garbage| garbage >= generation) {
        // The order to delete it stands, and may be on its way: it can't be counted on again.
        return Ok(Verdict::Garbage);
    }
    let Some(before) = rows::find_chunk(txn, chunk)? else {
        return Ok(Verdict::Unknown);
    };
    if generation > before.issued {
        // From a future that this store has not seen.
        return Ok(Verdict::Unknown);
    }
    if generation < before.generation {
        return observe_stale(txn, node, replica, &before);
    }
    if before.is_open() && before.issued > generation && !before.pipeline().contains(&node) {
        // A copy that was under way when the chunk was opened again: it has what the chunk was before.
        let mut after = before.clone();
        after.add_left_out(node);
        if after != before {
            settle(txn, chunk, &before, after)?;
        }
        return Ok(Verdict::Pending);
    }
    if before.is_open() || generation > before.generation {
        return Ok(Verdict::Pending);
    }
    let corrupt = length != before.length;
    let known = before.replica(node).copied();
    if known.is_some_and(|known| (known.generation, known.length) == (generation, length)) {
        return Ok(Verdict::Known);
    }
    let mut after = before.clone();
    after.set_replica(ReplicaRow { node, generation, length, corrupt });
    settle(txn, chunk, &before, after)?;
    Ok(if corrupt { Verdict::Corrupt } else { Verdict::Added })
}

/// A replica of an older generation may be the best there is, since rows do not tell which nodes are alive. It is kept as one that
/// cannot be served, until [`drop_replica`] finds better ones; while the chunk is written, as any other that was left out.
fn observe_stale(txn: &mut dyn Transaction, node: NodeId, replica: &Replica, before: &ChunkRow) -> Step<Verdict> {
    let Replica { chunk, generation, length, .. } = *replica;
    let mut after = before.clone();
    if !before.is_open() {
        after.set_replica(ReplicaRow { node, generation, length, corrupt: true });
    } else if !before.pipeline().contains(&node) {
        after.add_left_out(node);
    }
    if after != *before {
        settle(txn, chunk, before, after)?;
    }
    Ok(Verdict::Stale)
}

/// Takes in that `node` holds no replica of `chunk` up to `generation` any more: the order to delete it is done, and a location that says
/// otherwise goes.
pub(super) fn deleted(
    txn: &mut dyn Transaction,
    node: NodeId,
    chunk: ChunkId,
    generation: Generation,
) -> Step<Verdict> {
    let done = rows::garbage(txn, node, chunk)?.is_some_and(|garbage| garbage <= generation);
    if done {
        rows::remove_garbage(txn, node, chunk)?;
    }
    let Some(before) = rows::find_chunk(txn, chunk)? else {
        return Ok(if done { Verdict::Removed } else { Verdict::Known });
    };
    let mut after = before.clone();
    if done {
        after.leaving.retain(|leaving| *leaving != node);
    }
    if before.replica(node).is_some_and(|held| held.generation <= generation) {
        after.remove_replica(node);
    }
    if after == before {
        return Ok(Verdict::Known);
    }
    settle(txn, chunk, &before, after)?;
    Ok(Verdict::Removed)
}

/// Takes in the verdict of `node` on its own replica. It is only marked: [`drop_replica`] has it deleted.
pub(super) fn mark_corrupt(
    txn: &mut dyn Transaction,
    node: NodeId,
    chunk: ChunkId,
    generation: Generation,
) -> Step<Verdict> {
    let Some(before) = rows::find_chunk(txn, chunk)? else {
        return Ok(Verdict::Unknown);
    };
    let Some(&held) = before.replica(node).filter(|held| held.generation == generation) else {
        return Ok(if before.is_open() { Verdict::Pending } else { Verdict::Unknown });
    };
    if !held.corrupt {
        let mut after = before.clone();
        after.set_replica(ReplicaRow { corrupt: true, ..held });
        settle(txn, chunk, &before, after)?;
    }
    Ok(Verdict::Corrupt)
}

/// Has `node` delete its replica of a committed chunk, if `keep` justifies it: as many good ones as the target are on these nodes,
/// or a single one where the replica is corrupt. Whether it was done.
pub(super) fn drop_replica(txn: &mut dyn Transaction, chunk: ChunkId, node: NodeId, keep: &[NodeId]) -> Step<bool> {
    let Some(before) = rows::find_chunk(txn, chunk)? else {
        return Ok(false);
    };
    let Some(&held) = before.replica(node) else {
        return Ok(false);
    };
    let others = before
        .replicas()
        .iter()
        .filter(|other| other.node != node && !other.corrupt && keep.contains(&other.node))
        .count();
    let enough = if held.corrupt { 1 } else { usize::from(before.target) };
    if others < enough {
        return Ok(false);
    }
    let mut after = before.clone();
    after.remove_replica(node);
    rows::put_garbage(txn, node, chunk, held.generation)?;
    after.add_leaving(node);
    rows::chunk::write(txn, chunk, Some(&before), Some(&after));
    Ok(true)
}

/// Has `node` delete what a copy left there of a chunk that is gone. Whether it is.
pub(super) fn end_copy(txn: &mut dyn Transaction, node: NodeId, chunk: ChunkId, generation: Generation) -> Step<bool> {
    let gone = rows::find_chunk(txn, chunk)?.is_none();
    if gone {
        rows::put_garbage(txn, node, chunk, generation)?;
    }
    Ok(gone)
}

/// A replica that rows name is not there.
pub(super) fn lost(txn: &mut dyn Transaction, node: NodeId, chunk: ChunkId, before: &ChunkRow) -> Step<()> {
    let mut after = before.clone();
    after.remove_replica(node);
    settle(txn, chunk, before, after)
}

/// Writes a chunk whose replicas or target changed. Once it is finished and safe without them, what pipelines left out is garbage.
///
/// Named replicas are never touched here, not even corrupt ones: rows of dead nodes count as good ones, so that which may go is for
/// [`drop_replica`] to judge, by nodes that its caller is certain of.
pub(super) fn settle(txn: &mut dyn Transaction, chunk: ChunkId, before: &ChunkRow, mut after: ChunkRow) -> Step<()> {
    let mut left_out = std::mem::take(&mut after.left_out);
    // What such a node holds now is named, and judged as such.
    left_out.retain(|&node| after.replica(node).is_none());
    if after.outgrew_left_out() {
        for node in left_out {
            rows::put_garbage(txn, node, chunk, Generation(after.generation.0.saturating_sub(1)))?;
            after.add_leaving(node);
        }
    } else {
        after.left_out = left_out;
    }
    rows::chunk::write(txn, chunk, Some(before), Some(&after));
    Ok(())
}

/// An extent no longer names the chunk. With the last one the chunk goes, and all that nodes hold of it is garbage. Gives back how many
/// rows that took, about.
pub(super) fn release_chunk(txn: &mut dyn Transaction, chunk: ChunkId) -> Step<usize> {
    let before = rows::chunk(txn, chunk)?;
    if before.references > 1 {
        let after = ChunkRow { references: before.references - 1, ..before.clone() };
        rows::chunk::write(txn, chunk, Some(&before), Some(&after));
        return Ok(1);
    }
    let named = before.replicas().iter().map(|replica| replica.node);
    let holders: Vec<NodeId> = before.pipeline().iter().chain(&before.left_out).copied().chain(named).collect();
    for &node in &holders {
        rows::put_garbage(txn, node, chunk, before.issued)?;
    }
    rows::chunk::write(txn, chunk, Some(&before), None);
    Ok(2 + 4 * holders.len())
}

/// Nodes that a caller names must be registered, and different.
pub(super) fn check_nodes(snapshot: &mut dyn Snapshot, nodes: &[NodeId]) -> Step<()> {
    let next = rows::next_id(snapshot, Series::Nodes)?;
    for (at, node) in nodes.iter().enumerate() {
        let why = if node.0 == 0 || u64::from(node.0) >= next {
            "is not registered"
        } else if nodes[..at].contains(node) {
            "is named twice"
        } else {
            continue;
        };
        return Err(Error::new(ErrorKind::InvalidArgument, format!("node {node} {why}")).into());
    }
    Ok(())
}

pub(super) fn info(snapshot: &mut dyn Snapshot, chunk: ChunkId) -> Step<Option<ChunkInfo>> {
    Ok(rows::find_chunk(snapshot, chunk)?.map(|row| reads::chunk_info(chunk, &row)))
}

/// Chunks with fewer good replicas than their target, in order of their ids.
pub(super) fn owed(snapshot: &mut dyn Snapshot, after: ChunkId, limit: usize) -> Step<Vec<ChunkInfo>> {
    let prefix = keys::table(keys::Table::Owed);
    let range = Range::prefix_after(&prefix, &keys::owed(after), limit.clamp(1, MAX_PAGE));
    let mut chunks = Vec::new();
    for (key, _) in snapshot.scan(Space::Rows, &range)? {
        chunks.push(ChunkId(keys::KeyReader::new(&key)?.u64()?));
    }
    infos(snapshot, &chunks)
}

/// Chunks of which rows say that `node` holds a replica, in order of their ids.
pub(super) fn held(snapshot: &mut dyn Snapshot, node: NodeId, after: ChunkId, limit: usize) -> Step<Vec<ChunkInfo>> {
    let range = Range::prefix_after(&keys::replicas(node), &keys::replica(node, after), limit.clamp(1, MAX_PAGE));
    let chunks = replica_keys(snapshot, &range)?;
    infos(snapshot, &chunks)
}

/// The chunks that a range of the reverse index names.
pub(super) fn replica_keys(snapshot: &mut dyn Snapshot, range: &Range) -> Step<Vec<ChunkId>> {
    let mut chunks = Vec::new();
    for (key, _) in snapshot.scan(Space::Rows, range)? {
        let mut key = keys::KeyReader::new(&key)?;
        key.u32()?;
        chunks.push(ChunkId(key.u64()?));
    }
    Ok(chunks)
}

/// Deletions that `node` owes: each chunk and the generation up to which.
pub(super) fn garbage(
    snapshot: &mut dyn Snapshot,
    node: NodeId,
    after: ChunkId,
    limit: usize,
) -> Step<Vec<(ChunkId, Generation)>> {
    let range = Range::prefix_after(&keys::garbage_of(node), &keys::garbage(node, after), limit.clamp(1, MAX_PAGE));
    let mut garbage = Vec::new();
    for (key, value) in snapshot.scan(Space::Rows, &range)? {
        let mut key = keys::KeyReader::new(&key)?;
        key.u32()?;
        garbage.push((ChunkId(key.u64()?), rows::small::decode_garbage(&value)?));
    }
    Ok(garbage)
}

fn infos(snapshot: &mut dyn Snapshot, chunks: &[ChunkId]) -> Step<Vec<ChunkInfo>> {
    let keys: Vec<Vec<u8>> = chunks.iter().map(|chunk| keys::chunk(*chunk)).collect();
    snapshot.prefetch(Space::Rows, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
    chunks.iter().map(|&chunk| Ok(reads::chunk_info(chunk, &rows::chunk(snapshot, chunk)?))).collect()
}
