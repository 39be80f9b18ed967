//! Removing names as stores of objects do: with a file go the directories above it that it leaves empty, in one step.

use super::options::{Call, Unlink};
use super::outcome::Operation;
use super::paths::{self, Place};
use super::rows::{self, EntryKind, EntryRow};
use super::sessions::{Recorded, once};
use super::{Context, access, deletes, quotas};
use crate::error::ErrorKind;
use crate::id::{InodeId, Version};
use crate::metadata::{Abort, Step, Transaction};
use crate::path::DfsPath;

/// Deletes a file, or a symbolic link itself, and the directories that it leaves empty.
pub(super) fn unlink(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    request: &Unlink,
) -> Step<((), Option<Version>)> {
    let Unlink { path, root } = request;
    once(txn, context, call, Operation::Unlink, |txn| {
        if path.is_root() {
            return Err(paths::is_a_directory(path).into());
        }
        let place = paths::place(txn, context, path)?;
        let Some(entry) = place.entry else {
            return Err(paths::not_found(path).into());
        };
        if entry.is_directory() {
            return Err(paths::is_a_directory(path).into());
        }
        access::may_remove(txn, context, &place, entry, path)?;
        deletes::remove_entry(txn, context, &place, entry, path)?;
        empty_above(txn, context, &place.ancestors, path, root)?;
        Ok(Recorded::Yes(()))
    })
}

/// Removes the directories above `path`, which are `ancestors`, that have no entry any more, up to `root`, which stays. A directory that the caller may not
/// remove stays, and so does one that somebody has given a quota or extended attributes: that one is more than a part of names.
pub(super) fn empty_above(
    txn: &mut dyn Transaction,
    context: &Context,
    ancestors: &[InodeId],
    path: &DfsPath,
    root: &DfsPath,
) -> Step<()> {
    let mut emptied = path.parent();
    for (depth, &directory) in ancestors.iter().enumerate().skip(1).rev() {
        let Some(at) = emptied else { break };
        if at == *root || !at.starts_with(root) || !rows::is_empty(txn, directory)? {
            break;
        }
        if rows::inode(txn, directory)?.marks.xattrs || quotas::is_limited(txn, directory)? {
            break;
        }
        let entry = EntryRow { inode: directory, kind: EntryKind::Directory };
        let name = at.name().unwrap_or_default();
        let place = Place { ancestors: ancestors[..depth].to_vec(), name, entry: Some(entry) };
        match access::may_remove(txn, context, &place, entry, &at) {
            Err(Abort::Failed(error))
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidArgument) =>
            {
                break;
            }
            checked => checked?,
        }
        deletes::remove_entry(txn, context, &place, entry, &at)?;
        emptied = at.parent();
    }
    Ok(())
}
