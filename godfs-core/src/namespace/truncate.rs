//! Making files shorter.
//!
//! Whole chunks behind the new end move to an orphan, from which the collector takes them once readers had time to leave. The chunk that the new end
//! lies in is cut on its nodes, under a new generation, by the same recovery that closes files without a writer; from the first moment on nobody is
//! told of more bytes than the new length.

use std::ops::Bound;

use super::answers::Truncated;
use super::changes::{ChangeKind, announce};
use super::held::check_closed;
use super::options::Call;
use super::outcome::Operation;
use super::rows::{
    self, ChunkRow, ChunkState, ExtentRow, FileRow, InodeKind, InodeRow, LeaseRow, Marks, OpenState, RECOVERY, Series,
    keys,
};
use super::sessions::{Recorded, once};
use super::{Context, access, paths, sums, usage};
use crate::error::{Error, ErrorKind};
use crate::id::{Generation, InodeId, LeaseId, NodeId};
use crate::metadata::{Range, Space, Stamped, Step, Transaction};
use crate::path::DfsPath;

/// How many chunks a file loses in one transaction: some 300 bytes of rows each.
const CHUNKS_A_STEP: usize = 4_096;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This file is shorter, and still too long: go on.
    More(InodeId),
    /// It has the new length.
    Done(Truncated),
}

/// One step. A file of very many chunks loses them from its end in several; only the last one is recorded, and a caller that is cut off calls again.
pub(super) fn truncate(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    length: u64,
    begun: Option<InodeId>,
) -> Step<Outcome> {
    let mut more = None;
    let (truncated, _version) = once(txn, context, call, Operation::Truncate, |txn| {
        let (inode, ancestors) = paths::find_file(txn, context, path)?;
        let before = rows::inode(txn, inode)?;
        access::need(txn, context, inode, &before, access::WRITE, || path.to_string())?;
        if begun.is_some_and(|begun| begun != inode) {
            let message =
                format!("{path} is another file now: the one that was there is shorter, and not as short as asked");
            return Err(Error::new(ErrorKind::FailedPrecondition, message).into());
        }
        check_closed(txn, path, inode)?;
        let done = Truncated { inode, generation: Generation(0) };
        let mut after = before.clone();
        let Some(file) = after.file_mut() else { return Err(paths::is_a_directory(path).into()) };
        if length > file.length {
            let message = format!("{path} has {} bytes, it can't be truncated to {length}", file.length);
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        if length == file.length {
            return Ok(Recorded::No(done));
        }
        let mut truncated = done;
        if file.small {
            cut_small(txn, inode, file, length)?;
        } else if let Some(end) = drop_chunks(txn, inode, &before, file, length)? {
            file.length = end;
            more = Some(inode);
        } else {
            truncated.generation = cut_chunk(txn, path, inode, file, length)?;
            file.length = length;
        }
        after.modified_ms = context.now_ms;
        usage::add(txn, &ancestors, sums::minus(usage::weight(&after), usage::weight(&before)))?;
        rows::put_inode(txn, inode, &after);
        let length = after.file().map_or(0, |file| file.length);
        announce(txn, context, inode, after.entry_kind(), path, &ChangeKind::Truncated { length });
        Ok(if more.is_some() { Recorded::No(truncated) } else { Recorded::Yes(truncated) })
    })?;
    Ok(more.map_or(Outcome::Done(truncated), Outcome::More))
}

fn cut_small(txn: &mut dyn Transaction, inode: InodeId, file: &mut FileRow, length: u64) -> Step<()> {
    let key = keys::data(inode);
    let data = txn.get(Space::Data, &key)?;
    let data = data
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("metadata: the bytes of inode {inode} are missing")))?;
    let kept = data.len().min(usize::try_from(length).unwrap_or(usize::MAX));
    if kept == 0 {
        txn.delete(Space::Data, &key);
    } else {
        rows::put_data(txn, inode, &data[..kept]);
    }
    (file.small, file.length) = (kept > 0, kept as u64);
    Ok(())
}

/// Takes the chunks behind `length` out of the file. Where there are too many for one transaction, gives back where the file ends now.
fn drop_chunks(
    txn: &mut dyn Transaction,
    inode: InodeId,
    row: &InodeRow,
    cut: &mut FileRow,
    length: u64,
) -> Step<Option<u64>> {
    let range = Range {
        start: Bound::Included(keys::extent(inode, length).into()),
        ..Range::prefix(&keys::extents(inode), CHUNKS_A_STEP).reversed()
    };
    let dropped = rows::extents(txn, &range)?;
    let Some(&(end, _)) = dropped.last() else { return Ok(None) };
    let orphan = InodeId(rows::draw_ids(txn, Series::Names, 1)?);
    cut.chunks = cut.chunks.saturating_sub(dropped.len() as u64);
    for &(start, extent) in &dropped {
        txn.delete(Space::Rows, &keys::extent(inode, start));
        rows::put_extent(txn, orphan, start, extent);
        let chunk = rows::chunk(txn, extent.chunk)?;
        rows::chunk::write(txn, extent.chunk, Some(&chunk), Some(&ChunkRow { inode: orphan, ..chunk.clone() }));
    }
    let mut detached = InodeRow { parent: InodeId(0), name: String::new(), marks: Marks::default(), ..row.clone() };
    if let InodeKind::File(file) = &mut detached.kind {
        file.length = dropped.iter().map(|(_, extent)| extent.length).sum();
        file.chunks = dropped.len() as u64;
    }
    rows::put_inode(txn, orphan, &detached);
    txn.put(Space::Rows, keys::new_orphan(orphan), Stamped::plain([]));
    Ok((dropped.len() == CHUNKS_A_STEP).then_some(end))
}

/// Has the last chunk cut on its nodes, if the new end lies in it; gives back the generation that it will have outgrown then, 0 when there is nothing
/// to cut.
fn cut_chunk(
    txn: &mut dyn Transaction,
    path: &DfsPath,
    inode: InodeId,
    file: &mut FileRow,
    length: u64,
) -> Step<Generation> {
    let Some((start, extent)) = rows::last_extent(txn, inode)? else { return Ok(Generation(0)) };
    if start + extent.length == length {
        return Ok(Generation(0));
    }
    let before = rows::chunk(txn, extent.chunk)?;
    let nodes: Vec<NodeId> =
        before.replicas().iter().filter(|replica| !replica.corrupt).map(|replica| replica.node).collect();
    if nodes.is_empty() {
        let message = format!("{path}: no datanode has chunk {} whole, in which the new end lies", extent.chunk);
        return Err(Error::new(ErrorKind::Unavailable, message).with_retryable(false).into());
    }
    let kept = length - start;
    let mut after = ChunkRow { length: kept, state: ChunkState::Open(nodes), ..before.clone() };
    for replica in before.replicas().iter().filter(|replica| replica.corrupt) {
        after.add_left_out(replica.node);
    }
    rows::chunk::write(txn, extent.chunk, Some(&before), Some(&after));
    rows::put_extent(txn, inode, start, ExtentRow { length: kept, ..extent });
    let lease = LeaseId(rows::draw_ids(txn, Series::Names, 1)?);
    rows::put_lease(txn, lease, LeaseRow { session: RECOVERY, inode });
    file.open = Some(OpenState {
        lease,
        hidden: None,
        thin: None,
        cut: true,
        chunks: vec![(start, extent.chunk)],
        end: length,
    });
    Ok(before.generation)
}
