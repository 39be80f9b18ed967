//! Making directories.

use super::Context;
use super::options::{Call, MAX_OWNER_BYTES, MkdirOptions, Owner, PARENT_MODE};
use super::outcome::Operation;
use super::paths::{self, Place};
use super::rows::{self, EntryRow, InodeKind, InodeRow, Series};
use super::sessions::{Recorded, once};
use super::usage;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InodeId, Version};
use crate::metadata::{Counters, Step, Transaction};
use crate::path::DfsPath;

pub(super) fn mkdir(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    options: &MkdirOptions,
) -> Step<(InodeId, Option<Version>)> {
    check_owner(&options.owner)?;
    once(txn, context, call, Operation::Mkdir, |txn| {
        if path.is_root() && options.parents {
            return Ok(Recorded::No(InodeId::ROOT));
        }
        if options.parents {
            make_parents(txn, context, path, &options.owner)?;
        }
        let place = paths::place(txn, path)?;
        match place.entry {
            Some(EntryRow { inode, directory: true }) if options.parents => Ok(Recorded::No(inode)),
            Some(_) => Err(already_exists(path).into()),
            None => Ok(Recorded::Yes(make(txn, context, &place.ancestors, place.name, options.owner.clone())?)),
        }
    })
}

/// Makes the directories above `path` that are missing.
pub(super) fn make_parents(txn: &mut dyn Transaction, context: &Context, path: &DfsPath, owner: &Owner) -> Step<()> {
    let above = path.names().count().saturating_sub(1);
    let mut ancestors = vec![InodeId::ROOT];
    for (depth, name) in path.names().take(above).enumerate() {
        let parent = *ancestors.last().expect("the root at least");
        match rows::entry(txn, parent, name)? {
            Some(EntryRow { inode, directory: true }) => ancestors.push(inode),
            Some(_) => return Err(paths::not_a_directory(path, depth).into()),
            None => {
                let owner = Owner { mode: PARENT_MODE, ..owner.clone() };
                let made = make(txn, context, &ancestors, name, owner)?;
                ancestors.push(made);
            }
        }
    }
    Ok(())
}

/// Makes one directory where nothing stands.
fn make(
    txn: &mut dyn Transaction,
    context: &Context,
    ancestors: &[InodeId],
    name: &str,
    owner: Owner,
) -> Step<InodeId> {
    let inode = InodeId(rows::draw_ids(txn, Series::Names, 1)?);
    let row = InodeRow {
        version: Version::PENDING,
        parent: *ancestors.last().expect("the root at least"),
        name: name.to_owned(),
        modified_ms: context.now_ms,
        accessed_ms: context.now_ms,
        owner,
        kind: InodeKind::Directory,
    };
    link(txn, context, ancestors, name, inode, &row, usage::weight(&row))?;
    rows::put_inode(txn, inode, &row);
    Ok(inode)
}

/// Gives `inode` a name, under which nothing may stand, and lets the directories above know. The inode's own row, which must say
/// the same, is the caller's to write.
pub(super) fn link(
    txn: &mut dyn Transaction,
    context: &Context,
    ancestors: &[InodeId],
    name: &str,
    inode: InodeId,
    row: &InodeRow,
    weight: Counters,
) -> Step<()> {
    let parent = *ancestors.last().expect("the root at least");
    let directory = matches!(row.kind, InodeKind::Directory);
    rows::put_entry(txn, parent, name, EntryRow { inode, directory });
    usage::add(txn, ancestors, weight);
    touch(txn, context, parent)
}

/// A directory's entries have changed.
pub(super) fn touch(txn: &mut dyn Transaction, context: &Context, directory: InodeId) -> Step<()> {
    let mut row = rows::inode(txn, directory)?;
    row.modified_ms = row.modified_ms.max(context.now_ms);
    rows::put_inode(txn, directory, &row);
    Ok(())
}

/// What may stand in the way of a new name.
pub(super) fn check_free(place: &Place<'_>, path: &DfsPath) -> Result<()> {
    match place.entry {
        Some(_) => Err(already_exists(path)),
        None => Ok(()),
    }
}

pub(super) fn check_owner(owner: &Owner) -> Result<()> {
    let refuse = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
    for (what, name) in [("user", &owner.user), ("group", &owner.group)] {
        if name.len() > MAX_OWNER_BYTES || name.contains('\0') {
            return refuse(format!("the name of a {what} has at most {MAX_OWNER_BYTES} bytes and no NUL"));
        }
    }
    if owner.mode > 0o7777 {
        return refuse(format!("mode {:o} has bits beyond 7777", owner.mode));
    }
    Ok(())
}

pub(super) fn already_exists(path: &DfsPath) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{path} exists already"))
}
