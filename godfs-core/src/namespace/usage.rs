//! What every directory knows of all that lies below it.

use super::answers::Usage;
use super::rows::{InodeKind, InodeRow, keys};
use crate::id::InodeId;
use crate::metadata::{Counters, Snapshot, Space, Step, Transaction};

/// What an inode adds to the directories above it; a directory without what is in it. Nothing while it has no name.
pub(super) fn weight(row: &InodeRow) -> Counters {
    match &row.kind {
        _ if row.is_hidden() => Counters::default(),
        InodeKind::Directory => Counters([0, 0, 1, 0]),
        // A name without bytes.
        InodeKind::Symlink(_) => Counters([0, 1, 0, 0]),
        InodeKind::File(file) => {
            let bytes = file.length.cast_signed();
            Counters([bytes, 1, 0, bytes.wrapping_mul(i64::from(file.replication))])
        }
    }
}

/// What an inode with all below it adds to the directories above it.
pub(super) fn tree(snapshot: &mut dyn Snapshot, inode: InodeId, row: &InodeRow) -> Step<Counters> {
    match row.kind {
        InodeKind::Directory => Ok(weight(row).plus(of_directory(snapshot, inode)?)),
        InodeKind::File(_) | InodeKind::Symlink(_) => Ok(weight(row)),
    }
}

/// All below a directory.
pub(super) fn of_directory(snapshot: &mut dyn Snapshot, directory: InodeId) -> Step<Counters> {
    snapshot.counters(Space::Rows, &keys::usage(directory))
}

/// Adds to every directory of a chain.
pub(super) fn add(txn: &mut dyn Transaction, chain: &[InodeId], delta: Counters) {
    if !delta.is_zero() {
        for directory in chain {
            txn.add(Space::Rows, &keys::usage(*directory), delta);
        }
    }
}

/// For people. A negative lane would be a defect that the invariants name; it reads as 0.
pub(super) fn answer(Counters([bytes, files, directories, space]): Counters) -> Usage {
    let lane = |value: i64| u64::try_from(value).unwrap_or(0);
    Usage { bytes: lane(bytes), files: lane(files), directories: lane(directories), space: lane(space) }
}
