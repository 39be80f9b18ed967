//! How many replicas a file has.

use std::ops::Bound;

use super::changes::{Attribute, ChangeKind, announce};
use super::options::Call;
use super::outcome::Operation;
use super::rows::{self, ChunkRow, InodeRow, keys};
use super::sessions::{Recorded, once};
use super::settings::check_replication;
use super::{Context, access, locations, paths, sums, usage};
use crate::id::{InodeId, Version};
use crate::metadata::{Range, Step, Transaction};
use crate::path::DfsPath;

/// How many chunks are retargeted in one transaction.
const CHUNKS_A_STEP: usize = 1_000;

/// Where the retargeting of a long file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    inode: InodeId,
    after: u64,
    /// What the file itself said after this step.
    replication: u16,
}

/// What a step of it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// More chunks follow: go on from there.
    More(Progress),
    /// The file has the new replication.
    Done(Option<Version>),
}

/// One step; the last one is recorded. A caller that is cut off in between calls again and changes nothing twice.
pub(super) fn set(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    replication: u16,
    progress: Option<Progress>,
) -> Step<Outcome> {
    check_replication(replication).map_err(|error| error.context(path))?;
    let mut more = None;
    let ((), version) = once(txn, context, call, Operation::SetReplication, |txn| {
        let (inode, ancestors) = paths::find_file(txn, context, path)?;
        let before = rows::inode(txn, inode)?;
        access::need(txn, context, inode, &before, access::WRITE, || path.to_string())?;
        let mut after = before.clone();
        if let Some(file) = after.file_mut() {
            file.replication = replication;
        }
        // What grows is charged before any chunk asks for more, what shrinks is given back once none does: a quota refuses all or nothing.
        let grows = before.file().is_some_and(|file| file.replication < replication);
        if grows {
            save(txn, context, path, &ancestors, inode, (&before, &after))?;
        }
        let prefix = keys::extents(inode);
        let mut range = Range::prefix(&prefix, CHUNKS_A_STEP);
        // The name may stand for another file by now, and another call may have set it since: then it is begun anew.
        let said = before.file().map(|file| file.replication);
        if let Some(progress) =
            progress.filter(|progress| progress.inode == inode && Some(progress.replication) == said)
        {
            range.start = Bound::Excluded(keys::extent(inode, progress.after).into());
        }
        let extents =
            if before.file().is_some_and(rows::FileRow::has_chunks) { rows::extents(txn, &range)? } else { Vec::new() };
        for (_, extent) in &extents {
            let row = rows::chunk(txn, extent.chunk)?;
            if row.target != replication {
                locations::settle(txn, extent.chunk, &row, ChunkRow { target: replication, ..row.clone() })?;
            }
        }
        if extents.len() == CHUNKS_A_STEP {
            let says = if grows { Some(replication) } else { said };
            more = extents.last().and_then(|&(after, _)| Some(Progress { inode, after, replication: says? }));
            return Ok(Recorded::No(()));
        }
        if after == before && progress.is_none() {
            return Ok(Recorded::No(()));
        }
        if !grows {
            save(txn, context, path, &ancestors, inode, (&before, &after))?;
        }
        Ok(Recorded::Yes(()))
    })?;
    Ok(more.map_or(Outcome::Done(version), Outcome::More))
}

fn save(
    txn: &mut dyn Transaction,
    context: &Context,
    path: &DfsPath,
    ancestors: &[InodeId],
    inode: InodeId,
    (before, after): (&InodeRow, &InodeRow),
) -> Step<()> {
    usage::add(txn, ancestors, sums::minus(usage::weight(after), usage::weight(before)))?;
    rows::put_inode(txn, inode, after);
    if before != after {
        let change = ChangeKind::Attributes(Attribute::Replication);
        announce(txn, context, inode, after.entry_kind(), path, &change);
    }
    Ok(())
}
