//! Recovery of a file whose writer is gone: its open chunks are settled at a length that all who acknowledged can keep.

use super::answers::RecoveryPlan;
use super::files::{self, fenced};
use super::leases::OpenFile;
use super::rows::{self, ChunkRow, RECOVERY, keys};
use super::{Context, generations, paths, reads};
use crate::error::{Error, ErrorKind};
use crate::id::{ChunkId, Generation, InodeId, NodeId};
use crate::metadata::{Range, Snapshot, Step, Transaction};

/// What is to settle in a file; `None` when it needs no recovery.
pub(super) fn plan(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Option<RecoveryPlan>> {
    let Some(mut file) = OpenFile::load(snapshot, inode)? else {
        return Ok(None);
    };
    let mut chunks = Vec::new();
    for (_, chunk) in file.open().chunks.clone() {
        let row = rows::chunk(snapshot, chunk)?;
        chunks.push(reads::chunk_info(chunk, &row));
    }
    Ok(Some(RecoveryPlan { inode, path: paths::path_of(snapshot, inode)?, cut: file.open().cut, chunks }))
}

/// Issues the generation of a recovery, which fences the writer and every earlier recovery.
pub(super) fn begin(txn: &mut dyn Transaction, chunk: ChunkId) -> Step<Generation> {
    let (_, before) = recovering(txn, chunk)?;
    Ok(generations::issue_for(txn, chunk, &before))
}

/// Records what was settled. A chunk that came back empty is dropped; one that came back short ends the file, and what
/// followed is dropped. True when that was the last open chunk: the file is closed.
pub(super) fn commit(
    txn: &mut dyn Transaction,
    context: &Context,
    chunk: ChunkId,
    generation: Generation,
    length: u64,
    nodes: &[NodeId],
) -> Step<bool> {
    let (mut file, before) = recovering(txn, chunk)?;
    if generation != before.issued {
        return Err(fenced(chunk, generation, &before).into());
    }
    if let Some(node) = nodes.iter().find(|node| !before.pipeline().contains(node)) {
        let message = format!("chunk {chunk} was recovered on node {node}, which is not in its pipeline");
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    if nodes.is_empty() && length > 0 {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("chunk {chunk} was recovered on no node")).into());
    }
    let Some(&(start, _)) = file.open().chunks.iter().find(|open| open.1 == chunk) else {
        return Err(Error::new(ErrorKind::Corrupt, format!("metadata: open chunk {chunk} is not in its file")).into());
    };
    if length < before.length || (file.open().cut && length > before.length) {
        let message = format!("chunk {chunk} was recovered with {length} bytes, {} are committed", before.length);
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    let chunk_size = file.file().chunk_size;
    if length < chunk_size {
        drop_from(txn, &mut file, start + 1)?;
    }
    // The bytes of a small file that was moving into chunks lie in the metadata store until then: they were acknowledged
    // too, and a chunk with fewer of them must not take their place.
    let kept = if start == 0 && file.file().small { file.file().length } else { 0 };
    if length == 0 || length < kept {
        files::drop_chunk(txn, &mut file, start, chunk)?;
    } else {
        let end = files::ChunkEnd { generation, length, nodes, others_left_out: true };
        files::finish_chunk(txn, &mut file, chunk, &before, &end)?;
    }
    let closed = file.open().chunks.is_empty();
    if closed {
        files::close(txn, context, file)?;
    } else {
        file.save(txn)?;
    }
    Ok(closed)
}

/// Drops all chunks that begin at `from` or later: no more than may follow an open one.
fn drop_from(txn: &mut dyn Transaction, file: &mut OpenFile, from: u64) -> Step<()> {
    let range = Range {
        start: std::ops::Bound::Included(keys::extent(file.inode, from).into()),
        ..Range::prefix(&keys::extents(file.inode), super::settings::MAX_OPEN_CHUNKS)
    };
    for (start, extent) in rows::extents(txn, &range)? {
        files::drop_chunk(txn, file, start, extent.chunk)?;
    }
    Ok(())
}

/// An open chunk in a file whose lease the namenode itself holds.
fn recovering(txn: &mut dyn Transaction, chunk: ChunkId) -> Step<(OpenFile, ChunkRow)> {
    let refuse =
        |why: &str| Error::new(ErrorKind::FailedPrecondition, format!("chunk {chunk} {why}: nothing to recover"));
    let Some(row) = rows::find_chunk(txn, chunk)? else {
        return Err(refuse("does not exist").into());
    };
    if !row.is_open() {
        return Err(refuse("is finished").into());
    }
    let Some(mut file) = OpenFile::load(txn, row.inode)? else {
        return Err(refuse("belongs to a file that was closed or deleted").into());
    };
    match rows::find_lease(txn, file.open().lease)? {
        Some(lease) if lease.session == RECOVERY => Ok((file, row)),
        _ => Err(refuse("belongs to a file whose writer has its lease").into()),
    }
}
