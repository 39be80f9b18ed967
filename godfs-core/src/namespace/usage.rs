//! What every directory knows of all that lies below it.

use super::answers::Usage;
use super::quotas;
use super::rows::{InodeKind, InodeRow, keys};
use crate::id::InodeId;
use crate::metadata::{Counters, Snapshot, Space, Step, Transaction};

/// What an inode adds to the directories above it; a directory without what is in it. Nothing while it has no name.
pub(super) fn weight(row: &InodeRow) -> Counters {
    if row.is_hidden() { Counters::default() } else { weight_once_published(row) }
}

/// The same, with the name that it will have.
pub(super) fn weight_once_published(row: &InodeRow) -> Counters {
    match &row.kind {
        InodeKind::Directory { .. } => Counters([0, 0, 1, 0]),
        // A name without bytes.
        InodeKind::Symlink(_) => Counters([0, 1, 0, 0]),
        InodeKind::File(file) => {
            // Open chunks take what their writer may still put into them: it was promised to it.
            let end = file.open.as_ref().map_or(0, |open| open.end).max(file.length);
            let space = end.cast_signed().wrapping_mul(i64::from(file.replication));
            Counters([file.length.cast_signed(), 1, 0, space])
        }
    }
}

/// What an inode with all below it adds to the directories above it.
pub(super) fn tree(snapshot: &mut dyn Snapshot, inode: InodeId, row: &InodeRow) -> Step<Counters> {
    match row.kind {
        InodeKind::Directory { .. } => Ok(weight(row).plus(of_directory(snapshot, inode)?)),
        InodeKind::File(_) | InodeKind::Symlink(_) => Ok(weight(row)),
    }
}

/// All below a directory.
pub(super) fn of_directory(snapshot: &mut dyn Snapshot, directory: InodeId) -> Step<Counters> {
    snapshot.counters(Space::Rows, &keys::usage(directory))
}

/// Adds to every directory of a chain, unless one of them may not hold so much.
pub(super) fn add(txn: &mut dyn Transaction, chain: &[InodeId], delta: Counters) -> Step<()> {
    if !delta.is_zero() {
        quotas::check(txn, chain, delta)?;
        for directory in chain {
            txn.add(Space::Rows, &keys::usage(*directory), delta);
        }
    }
    Ok(())
}

/// For people. A negative lane would be a defect that the invariants name; it reads as 0.
pub(super) fn answer(Counters([bytes, files, directories, space]): Counters) -> Usage {
    let lane = |value: i64| u64::try_from(value).unwrap_or(0);
    Usage { bytes: lane(bytes), files: lane(files), directories: lane(directories), space: lane(space) }
}
