//! Generations: the fencing numbers of a chunk, while its writer lives.

use super::Context;
use super::files::fenced;
use super::leases;
use super::locations;
use super::options::Writing;
use super::outcome::Operation;
use super::paths;
use super::rows::{self, ChunkRow, ChunkState};
use super::sessions::{Recorded, once};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation, NodeId, Version};
use crate::metadata::{Step, Transaction};

/// Issues a new generation. Nobody may use the number before this is durable.
pub(super) fn issue(
    txn: &mut dyn Transaction,
    context: &Context,
    writing: &Writing,
    chunk: ChunkId,
) -> Step<(Generation, Option<Version>)> {
    once(txn, context, writing.call, Operation::IssueGeneration, |txn| {
        let before = open_chunk(txn, writing, chunk)?;
        Ok(Recorded::Yes(issue_for(txn, chunk, &before)))
    })
}

/// Says that a pipeline stands under the issued generation. Nodes that are no longer in it keep what they have until the chunk is finished
/// and safe without it: what was synced is on their disks, and the pipeline that is left may be a single node.
pub(super) fn update_pipeline(
    txn: &mut dyn Transaction,
    context: &Context,
    writing: &Writing,
    chunk: ChunkId,
    generation: Generation,
    nodes: &[NodeId],
) -> Step<((), Option<Version>)> {
    once(txn, context, writing.call, Operation::UpdatePipeline, |txn| {
        let before = open_chunk(txn, writing, chunk)?;
        if generation != before.issued {
            return Err(fenced(chunk, generation, &before).into());
        }
        check_pipeline(chunk, &before, nodes)?;
        locations::check_nodes(txn, nodes)?;
        let mut after = ChunkRow { generation, state: ChunkState::Open(nodes.to_vec()), ..before.clone() };
        after.left_out.retain(|node| !nodes.contains(node));
        leave_out(&before, &mut after, nodes);
        rows::chunk::write(txn, chunk, Some(&before), Some(&after));
        Ok(Recorded::Yes(()))
    })
}

/// Notes that `node` gets a copy of what an open chunk has by now, to join the pipeline that stands under `generation`. Until
/// [`update_pipeline`] names it there, it is one of those that were left out: nobody counts on what it has, and rows say that it may have it.
pub(super) fn add_node(
    txn: &mut dyn Transaction,
    context: &Context,
    writing: &Writing,
    chunk: ChunkId,
    generation: Generation,
    node: Option<NodeId>,
) -> Step<(Option<NodeId>, Option<Version>)> {
    once(txn, context, writing.call, Operation::AddNode, |txn| {
        let before = open_chunk(txn, writing, chunk)?;
        if generation != before.generation || generation != before.issued {
            return Err(fenced(chunk, generation, &before).into());
        }
        let Some(node) = node.filter(|node| !before.names(*node)) else { return Ok(Recorded::No(None)) };
        locations::check_nodes(txn, &[node])?;
        let mut after = before.clone();
        after.add_left_out(node);
        rows::chunk::write(txn, chunk, Some(&before), Some(&after));
        Ok(Recorded::Yes(Some(node)))
    })
}

/// Raises the issued generation of an open chunk.
pub(super) fn issue_for(txn: &mut dyn Transaction, chunk: ChunkId, before: &ChunkRow) -> Generation {
    let issued = before.issued.next();
    rows::chunk::write(txn, chunk, Some(before), Some(&ChunkRow { issued, ..before.clone() }));
    issued
}

/// Remembers which nodes of the pipeline are not among `nodes`. What they hold is older than the new generation, and rows, not a guess, say
/// that they have it. A partly written replica is in no report, so nothing else would ever remove it.
pub(super) fn leave_out(before: &ChunkRow, after: &mut ChunkRow, nodes: &[NodeId]) {
    for &node in before.pipeline().iter().filter(|node| !nodes.contains(node)) {
        after.add_left_out(node);
    }
}

/// A pipeline goes on with nodes that have held the chunk from its first byte, or got a copy to join it: only they can have all that was
/// acknowledged.
fn check_pipeline(chunk: ChunkId, before: &ChunkRow, nodes: &[NodeId]) -> Result<()> {
    let refuse = |why: String| Err(Error::new(ErrorKind::InvalidArgument, format!("chunk {chunk}: {why}")));
    if nodes.is_empty() {
        return refuse("a pipeline has one node at least".into());
    }
    match nodes.iter().find(|node| !before.pipeline().contains(node) && !before.left_out.contains(node)) {
        Some(node) => refuse(format!("node {node} was never in its pipeline")),
        None => Ok(()),
    }
}

/// The chunk of a writer's call, which must be open and in its file.
fn open_chunk(txn: &mut dyn Transaction, writing: &Writing, chunk: ChunkId) -> Step<ChunkRow> {
    let file = leases::check(txn, writing)?;
    match rows::find_chunk(txn, chunk)? {
        Some(row) if row.inode == file.inode && row.is_open() => Ok(row),
        Some(row) if row.inode == file.inode => {
            let message = format!("chunk {chunk} of {} is finished already", paths::shown(txn, file.inode)?);
            Err(Error::new(ErrorKind::FailedPrecondition, message).into())
        }
        _ => {
            let message = format!("{} has no chunk {chunk}", paths::shown(txn, file.inode)?);
            Err(Error::new(ErrorKind::InvalidArgument, message).into())
        }
    }
}
