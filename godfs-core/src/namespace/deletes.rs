//! Deleting: a name goes at once, however much lies below it; the collector walks the rest.

use super::changes::{ChangeKind, announce};
use super::options::Call;
use super::outcome::Operation;
use super::paths::Place;
use super::rows::{self, EntryRow, InodeKind, InodeRow, keys};
use super::sessions::{Recorded, once};
use super::{Context, access, directories, paths, quotas, sums, trash, usage};
use crate::error::{Error, ErrorKind};
use crate::id::{InodeId, Version};
use crate::metadata::{Counters, Space, Stamped, Step, Transaction};
use crate::path::DfsPath;

pub(super) fn delete(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    recursive: bool,
) -> Step<((), Option<Version>)> {
    once(txn, context, call, Operation::Delete, |txn| {
        let (place, entry) = removable(txn, context, path, recursive)?;
        remove_entry(txn, context, &place, entry, path)?;
        Ok(Recorded::Yes(()))
    })
}

/// What stands at `path`, which the caller may delete.
pub(super) fn removable<'p>(
    txn: &mut dyn Transaction,
    context: &Context,
    path: &'p DfsPath,
    recursive: bool,
) -> Step<(Place<'p>, EntryRow)> {
    let place = paths::place(txn, context, path)?;
    let Some(entry) = place.entry else {
        return Err(paths::not_found(path).into());
    };
    access::may_remove(txn, context, &place, entry, path)?;
    if entry.is_directory() && !rows::is_empty(txn, entry.inode)? {
        if !recursive {
            return Err(not_empty(path).into());
        }
        access::may_remove_tree(txn, context, entry.inode, path)?;
    }
    Ok((place, entry))
}

/// Takes what stands at a place, which has this path, away for good.
pub(super) fn remove_entry(
    txn: &mut dyn Transaction,
    context: &Context,
    place: &Place<'_>,
    entry: EntryRow,
    path: &DfsPath,
) -> Step<()> {
    let gone = detach(txn, place.parent(), place.name, entry)?;
    usage::add(txn, &place.ancestors, sums::minus(Counters::default(), gone))?;
    announce(txn, context, entry.inode, entry.kind, path, &ChangeKind::Removed);
    directories::touch(txn, context, place.parent(), -1)
}

/// Takes an entry with all below it out of the tree. A writer of the file loses its lease. What the directories above had of it, which is given back, is the
/// caller's to subtract, together with what takes its place: a quota is about the difference.
pub(super) fn detach(txn: &mut dyn Transaction, parent: InodeId, name: &str, entry: EntryRow) -> Step<Counters> {
    let row = rows::inode(txn, entry.inode)?;
    txn.delete(Space::Rows, &keys::entry(parent, name));
    let tree = usage::tree(txn, entry.inode, &row)?;
    dispose(txn, entry.inode, row)?;
    Ok(tree)
}

/// Discards a file that was never published, with its lease.
pub(super) fn discard_hidden(txn: &mut dyn Transaction, inode: InodeId, row: &InodeRow) -> Step<()> {
    dispose(txn, inode, row.clone())
}

/// Removes an inode that has no name any more: at once when nothing hangs on it, else by way of the orphans, so that readers keep
/// what they have opened for a while and no transaction grows with the size of a tree.
fn dispose(txn: &mut dyn Transaction, inode: InodeId, mut row: InodeRow) -> Step<()> {
    trash::forget(txn, inode, &mut row)?;
    let leaf = match &mut row.kind {
        InodeKind::Directory { .. } => rows::is_empty(txn, inode)?,
        InodeKind::Symlink(_) => true,
        InodeKind::File(file) => {
            if let Some(open) = &mut file.open {
                let lease = std::mem::replace(&mut open.lease, rows::NO_LEASE);
                open.hidden = None;
                rows::remove_lease(txn, lease)?;
            }
            !file.has_chunks()
        }
    };
    if leaf {
        return remove(txn, inode, &row);
    }
    row.parent = InodeId(0);
    row.name.clear();
    rows::put_inode(txn, inode, &row);
    txn.put(Space::Rows, keys::new_orphan(inode), Stamped::plain([]));
    Ok(())
}

/// Removes the rows of an inode that has neither entries nor extents left.
pub(super) fn remove(txn: &mut dyn Transaction, inode: InodeId, row: &InodeRow) -> Step<()> {
    rows::remove_attributes(txn, inode, row)?;
    if row.marks.trashed {
        trash::forget(txn, inode, &mut row.clone())?;
    }
    match &row.kind {
        InodeKind::Directory { .. } => {
            quotas::forget(txn, inode)?;
            txn.delete(Space::Rows, &keys::usage(inode));
        }
        InodeKind::File(file) if file.small => txn.delete(Space::Data, &keys::data(inode)),
        InodeKind::File(_) | InodeKind::Symlink(_) => {}
    }
    txn.delete(Space::Rows, &keys::inode(inode));
    Ok(())
}

pub(super) fn not_empty(path: &DfsPath) -> Error {
    Error::new(ErrorKind::DirectoryNotEmpty, format!("{path} has entries: delete it recursively, or them first"))
}
