//! Writing on: a closed file gets a writer again, at its end.

use super::answers::{AddedChunk, Appended};
use super::changes::{ChangeKind, announce};
use super::held::check_closed;
use super::leases;
use super::options::{Call, Writing};
use super::outcome::Operation;
use super::rows::{self, ChunkRow, ChunkState, ExtentRow, LeaseRow, OpenState, Series};
use super::sessions::{Recorded, once};
use super::{Context, access, paths};
use crate::error::{Error, ErrorKind};
use crate::id::{InodeId, LeaseId, NodeId, Version};
use crate::metadata::{Snapshot, Step, Transaction};
use crate::path::DfsPath;

/// Gives the caller the lease of a closed file. No chunk is touched before there are bytes for it.
pub(super) fn append(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
) -> Step<(Appended, Option<Version>)> {
    once(txn, context, call, Operation::Append, |txn| {
        let (inode, _) = paths::find_file(txn, context, path)?;
        let mut row = rows::inode(txn, inode)?;
        access::need(txn, context, inode, &row, access::WRITE, || path.to_string())?;
        if row.file().is_some_and(|file| file.small) {
            access::need(txn, context, inode, &row, access::READ, || path.to_string())?;
        }
        check_closed(txn, path, inode)?;
        let lease = LeaseId(rows::draw_ids(txn, Series::Names, 1)?);
        let Some(file) = row.file_mut() else { return Err(paths::is_a_directory(path).into()) };
        file.open = Some(OpenState { lease, hidden: None, thin: None, cut: false, chunks: Vec::new(), end: 0 });
        let (replication, chunk_size, length) = (file.replication, file.chunk_size, file.length);
        let base = match rows::last_extent(txn, inode)? {
            Some((start, extent)) if extent.length < chunk_size => start,
            _ if row.file().is_some_and(|file| file.small) => 0,
            _ => length,
        };
        rows::put_inode(txn, inode, &row);
        rows::put_lease(txn, lease, LeaseRow { session: call.session, inode });
        announce(txn, context, inode, row.entry_kind(), path, &ChangeKind::Opened { length });
        Ok(Recorded::Yes(Appended { inode, lease, replication, chunk_size, length, base }))
    })
}

/// Opens the last chunk of a file again, which must have room, under a new generation. `live` are the nodes that may take part; the others keep
/// what they have until enough of these have more.
pub(super) fn reopen_chunk(
    txn: &mut dyn Transaction,
    context: &Context,
    writing: &Writing,
    live: &[NodeId],
) -> Step<(AddedChunk, Option<Version>)> {
    once(txn, context, writing.call, Operation::ReopenChunk, |txn| {
        let mut file = leases::check(txn, writing)?;
        let (start, ExtentRow { chunk, .. }, before) = match last_chunk(txn, writing.inode)? {
            Some(last) if !last.2.is_open() && last.2.length < file.file().chunk_size => last,
            _ => {
                let message = format!(
                    "{}: its last chunk takes no more bytes: ask for a new one",
                    paths::shown(txn, file.inode)?
                );
                return Err(Error::new(ErrorKind::FailedPrecondition, message).into());
            }
        };
        let good = |node: &NodeId| before.replica(*node).is_some_and(|replica| !replica.corrupt);
        let nodes: Vec<NodeId> = live.iter().copied().filter(good).collect();
        if nodes.is_empty() {
            let message =
                format!("{}: no datanode with chunk {chunk} can take bytes now", paths::shown(txn, file.inode)?);
            return Err(Error::new(ErrorKind::Unavailable, message).into());
        }
        let generation = before.issued.next();
        let mut after = ChunkRow { issued: generation, state: ChunkState::Open(nodes.clone()), ..before.clone() };
        for replica in before.replicas().iter().filter(|replica| !nodes.contains(&replica.node)) {
            after.add_left_out(replica.node);
        }
        rows::chunk::write(txn, chunk, Some(&before), Some(&after));
        file.open().chunks.push((start, chunk));
        file.open().end = start + file.file().chunk_size;
        file.save(txn)?;
        Ok(Recorded::Yes(AddedChunk { chunk, generation, nodes }))
    })
}

/// The nodes that hold the last chunk of a file, finalized and good; none where it has no chunk.
pub(super) fn last_holders(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Vec<NodeId>> {
    let Some((_, _, row)) = last_chunk(snapshot, inode)? else { return Ok(Vec::new()) };
    Ok(row.replicas().iter().filter(|replica| !replica.corrupt).map(|replica| replica.node).collect())
}

fn last_chunk(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Option<(u64, ExtentRow, ChunkRow)>> {
    let Some((start, extent)) = rows::last_extent(snapshot, inode)? else { return Ok(None) };
    let row = rows::chunk(snapshot, extent.chunk)?;
    Ok(Some((start, extent, row)))
}
