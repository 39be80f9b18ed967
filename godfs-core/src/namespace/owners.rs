//! Whose a file or directory is, and its permission bits.

use super::caller::check_principal;
use super::changes::{Attribute, ChangeKind, announce};
use super::options::{Call, NewOwner};
use super::outcome::Operation;
use super::rows::{self, InodeRow};
use super::sessions::{Recorded, once};
use super::{Context, access, directories, paths};
use crate::id::{InodeId, Version};
use crate::metadata::{Step, Transaction};
use crate::path::DfsPath;

/// Gives a file or directory to another user or group.
pub(super) fn set_owner(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    new: &NewOwner,
) -> Step<((), Option<Version>)> {
    for (what, name) in [("user", &new.user), ("group", &new.group)] {
        name.as_ref().map_or(Ok(()), |name| check_principal(what, name))?;
    }
    once(txn, context, call, Operation::SetOwner, |txn| {
        let (inode, before) = find(txn, context, path)?;
        let mut after = before.clone();
        if let Some(user) = new.user.as_ref().filter(|user| **user != before.owner.user) {
            access::superuser(context, &before, path)?;
            after.owner.user.clone_from(user);
        }
        if let Some(group) = &new.group {
            access::own(context, &before, path)?;
            if *group != before.owner.group && !context.caller.is_member(group) {
                access::superuser(context, &before, path)?;
            }
            after.owner.group.clone_from(group);
        }
        if after == before {
            return Ok(Recorded::No(()));
        }
        rows::put_inode(txn, inode, &after);
        announce(txn, context, inode, after.entry_kind(), path, &ChangeKind::Attributes(Attribute::Owner));
        Ok(Recorded::Yes(()))
    })
}

/// Sets the permission bits.
pub(super) fn set_mode(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    mode: u16,
) -> Step<((), Option<Version>)> {
    directories::check_bits(mode)?;
    once(txn, context, call, Operation::SetMode, |txn| {
        let (inode, before) = find(txn, context, path)?;
        access::own(context, &before, path)?;
        let mut after = before.clone();
        after.owner.mode = access::settable_mode(context, &before, mode);
        if after == before {
            return Ok(Recorded::No(()));
        }
        rows::put_inode(txn, inode, &after);
        announce(txn, context, inode, after.entry_kind(), path, &ChangeKind::Attributes(Attribute::Mode));
        Ok(Recorded::Yes(()))
    })
}

fn find(txn: &mut dyn Transaction, context: &Context, path: &DfsPath) -> Step<(InodeId, InodeRow)> {
    let inode = paths::find(txn, context, path)?;
    Ok((inode, rows::inode(txn, inode)?))
}
