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
use crate::error::{Error, ErrorKind};
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

/// Says that a pipeline stands under the issued generation. Nodes that are no longer in it delete what they have.
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
        if nodes.is_empty() || nodes.len() > usize::from(before.target) {
            let message = format!("chunk {chunk}: a pipeline has 1 to {} nodes, not {}", before.target, nodes.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        locations::check_nodes(txn, nodes)?;
        let mut after = ChunkRow { generation, state: ChunkState::Open(nodes.to_vec()), ..before.clone() };
        drop_left_out(txn, chunk, &before, &mut after, nodes)?;
        rows::chunk::write(txn, chunk, Some(&before), Some(&after));
        Ok(Recorded::Yes(()))
    })
}

/// Raises the issued generation of an open chunk.
pub(super) fn issue_for(txn: &mut dyn Transaction, chunk: ChunkId, before: &ChunkRow) -> Generation {
    let issued = before.issued.next();
    rows::chunk::write(txn, chunk, Some(before), Some(&ChunkRow { issued, ..before.clone() }));
    issued
}

/// What nodes hold that were in the pipeline and are not in the next one is garbage: it is older than the new generation, and rows, not
/// a guess, say that they had it. A partly written replica is in no report, so nothing else would ever remove it.
pub(super) fn drop_left_out(
    txn: &mut dyn Transaction,
    chunk: ChunkId,
    before: &ChunkRow,
    after: &mut ChunkRow,
    nodes: &[NodeId],
) -> Step<()> {
    for &node in before.pipeline().iter().filter(|node| !nodes.contains(node)) {
        rows::put_garbage(txn, node, chunk, Generation(after.generation.0.saturating_sub(1)))?;
        after.add_leaving(node);
    }
    Ok(())
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
