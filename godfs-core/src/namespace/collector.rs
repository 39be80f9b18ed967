//! The collector: walks what was detached in bounded steps and removes it. Every step leaves rows that stand on their own, so that
//! it can stop anywhere and go on anywhere, here or on another namenode.

use std::ops::Bound;

use super::answers::{Collected, CollectorPlace};
use super::deletes;
use super::locations;
use super::rows::{self, EntryRow, InodeKind, InodeRow, NO_LEASE, keys};
use crate::id::{InodeId, Version};
use crate::metadata::{Range, Snapshot, Space, Stamped, Step, Transaction};

/// About how many rows one step changes: a few milliseconds of the committing thread, for which all else waits that changes something.
const ROWS_A_STEP: usize = 500;

/// Orphans made on the way that a place remembers; more are found again by looking.
const REMEMBERED: usize = 1_000;

/// What is left of a step.
struct Budget {
    rows: usize,
    done: Collected,
}

impl Budget {
    fn spend(&mut self, rows: usize) {
        self.rows = self.rows.saturating_sub(rows);
    }

    fn is_spent(&self) -> bool {
        self.rows == 0
    }
}

/// Which orphan comes next, and where one is looked for.
///
/// Looking costs a walk over all rows of orphans that were deleted of late and that the store still has to pass by, so a step goes on with
/// those that it made itself, and looks only behind where it has looked before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frontier {
    /// Begun, and how far.
    current: Option<(Orphan, Vec<u8>)>,
    /// Directories below those that were emptied, the last one first.
    below: Vec<Orphan>,
    /// The first orphan that may be there beside those.
    from: Orphan,
    /// The first of those that `below` had no room for.
    dropped: Option<Orphan>,
}

/// When a file or directory was detached, and which.
type Orphan = (Version, InodeId);

impl Frontier {
    /// All that was detached at `version` or before is gone.
    pub(super) fn behind(version: Version) -> Self {
        Self { from: (version.next(), InodeId(0)), ..Self::default() }
    }

    fn add(&mut self, orphan: Orphan) {
        if self.below.len() < REMEMBERED {
            self.below.push(orphan);
        } else {
            self.dropped = Some(self.dropped.map_or(orphan, |first| first.min(orphan)));
        }
    }

    /// The next one, among those that were detached at `upto` or before, and the place in it to go on from.
    fn next(&mut self, snapshot: &mut dyn Snapshot, upto: Version) -> Step<Option<(Orphan, Vec<u8>)>> {
        if let Some(current) = self.current.take() {
            return Ok(Some(current));
        }
        if let Some(orphan) = self.below.pop() {
            return Ok(Some((orphan, Vec::new())));
        }
        let mut found = first_orphan(snapshot, self.from, upto)?;
        if found.is_none()
            && let Some(first) = self.dropped.take()
        {
            found = first_orphan(snapshot, first, upto)?;
        }
        if let Some(orphan) = found {
            self.from = orphan;
        }
        Ok(found.map(|orphan| (orphan, Vec::new())))
    }
}

/// Removes some of what was detached at version `upto` or before.
pub(super) fn step(txn: &mut dyn Transaction, upto: Version, place: Option<&CollectorPlace>) -> Step<Collected> {
    let mut budget = Budget { rows: ROWS_A_STEP, done: Collected::default() };
    let mut frontier = place.map(|place| place.0.clone()).unwrap_or_default();
    while !budget.is_spent() {
        let Some(((since, orphan), after)) = frontier.next(txn, upto)? else {
            return Ok(Collected { next: None, ..budget.done });
        };
        let stopped_at = match rows::find_inode(txn, orphan)? {
            None => None,
            Some(row) if matches!(row.kind, InodeKind::Directory { .. }) => {
                empty_directory(txn, &mut budget, &mut frontier, (since, orphan), &row, after)?
            }
            Some(row) => empty_file(txn, &mut budget, orphan, &row, after)?,
        };
        match stopped_at {
            None => txn.delete(Space::Rows, &keys::orphan(since, orphan)),
            Some(after) => frontier.current = Some(((since, orphan), after)),
        }
        budget.spend(1);
    }
    Ok(Collected { next: Some(CollectorPlace(frontier)), ..budget.done })
}

/// The first orphan from `from` on that was detached at `upto` or before.
fn first_orphan(snapshot: &mut dyn Snapshot, from: Orphan, upto: Version) -> Step<Option<Orphan>> {
    if from.0 > upto {
        return Ok(None);
    }
    let mut range = Range::prefix(&keys::table(keys::Table::Orphans), 1);
    range.start = Bound::Included(keys::orphan(from.0, from.1).into());
    range.end = Bound::Included(keys::orphan(upto, InodeId(u64::MAX)).into());
    match snapshot.scan(Space::Rows, &range)?.first() {
        Some((key, _)) => {
            let mut key = keys::KeyReader::new(key)?;
            Ok(Some((Version(key.u64()?), InodeId(key.u64()?))))
        }
        None => Ok(None),
    }
}

/// Removes the entries of a directory, and the directory with the last. Directories below become orphans of their own, detached as
/// long ago as this one, so that no step walks a path. Gives back the key it stopped at.
fn empty_directory(
    txn: &mut dyn Transaction,
    budget: &mut Budget,
    frontier: &mut Frontier,
    (since, directory): Orphan,
    row: &InodeRow,
    after: Vec<u8>,
) -> Step<Option<Vec<u8>>> {
    let prefix = keys::entries(directory);
    let mut range = Range::prefix(&prefix, budget.rows.min(super::MAX_PAGE));
    if !after.is_empty() {
        range.start = Bound::Excluded(after.clone().into());
    }
    let entries = txn.scan(Space::Rows, &range)?;
    let mut last = after;
    for (key, value) in &entries {
        if budget.is_spent() {
            return Ok(Some(last));
        }
        let entry = EntryRow::decode(value)?;
        let inode = entry.inode;
        let mut child = rows::inode(txn, inode)?;
        if entry.is_directory() {
            child.parent = InodeId(0);
            child.name.clear();
            rows::put_inode(txn, inode, &child);
            txn.put(Space::Rows, keys::orphan(since, inode).into(), Stamped::plain([]));
            frontier.add((since, inode));
        } else if empty_file(txn, budget, inode, &child, Vec::new())?.is_some() {
            // Its entry still leads to the rest of it.
            return Ok(Some(last));
        }
        txn.delete(Space::Rows, key);
        budget.spend(3);
        last = key.to_vec();
    }
    // The place was only a hint: what stands before it is found from the front.
    if entries.len() < range.limit && rows::is_empty(txn, directory)? {
        deletes::remove(txn, directory, row)?;
        budget.done.inodes += 1;
        return Ok(None);
    }
    Ok(Some(if entries.is_empty() { Vec::new() } else { last }))
}

/// Removes the extents of a file, and the file with the last. Gives back the key it stopped at.
fn empty_file(
    txn: &mut dyn Transaction,
    budget: &mut Budget,
    inode: InodeId,
    row: &InodeRow,
    after: Vec<u8>,
) -> Step<Option<Vec<u8>>> {
    revoke(txn, inode, row)?;
    let prefix = keys::extents(inode);
    let mut range = Range::prefix(&prefix, budget.rows.clamp(1, super::MAX_PAGE));
    if !after.is_empty() {
        range.start = Bound::Excluded(after.clone().into());
    }
    if row.file().is_some_and(rows::FileRow::has_chunks) {
        let extents = rows::extents(txn, &range)?;
        let mut last = after;
        for (start, extent) in &extents {
            if budget.is_spent() {
                return Ok(Some(last));
            }
            let spent = locations::release_chunk(txn, extent.chunk)?;
            last = keys::extent(inode, *start);
            txn.delete(Space::Rows, &last);
            budget.spend(1 + spent);
            budget.done.chunks += 1;
            if rows::find_chunk(txn, extent.chunk)?.is_none() {
                budget.done.gone.push(extent.chunk);
            }
        }
        if !txn.scan(Space::Rows, &Range::prefix(&prefix, 1))?.is_empty() {
            return Ok(Some(if extents.is_empty() { Vec::new() } else { last }));
        }
    }
    deletes::remove(txn, inode, row)?;
    budget.spend(2);
    budget.done.inodes += 1;
    Ok(None)
}

/// A file that was open when a directory above it was deleted still has its lease.
fn revoke(txn: &mut dyn Transaction, inode: InodeId, row: &InodeRow) -> Step<()> {
    let mut row = row.clone();
    if let Some(open) = row.file_mut().and_then(|file| file.open.as_mut())
        && open.lease != NO_LEASE
    {
        let lease = std::mem::replace(&mut open.lease, NO_LEASE);
        rows::remove_lease(txn, lease)?;
        rows::put_inode(txn, inode, &row);
    }
    Ok(())
}
