//! Access control lists of files and directories: read and changed.

use super::acl::{self, Acl, AclChange};
use super::changes::{Attribute, ChangeKind, announce};
use super::options::Call;
use super::outcome::Operation;
use super::rows::{self, InodeKind};
use super::sessions::{Recorded, once};
use super::{Context, access, paths};
use crate::id::Version;
use crate::metadata::{Snapshot, Step, Transaction};
use crate::path::DfsPath;

pub(super) fn set(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    change: &AclChange,
) -> Step<((), Option<Version>)> {
    once(txn, context, call, Operation::SetAcl, |txn| {
        let inode = paths::find(txn, context, path)?;
        let before = rows::inode(txn, inode)?;
        access::own(context, &before, path)?;
        let old = rows::acl_of(txn, inode, &before)?;
        let directory = matches!(before.kind, InodeKind::Directory { .. });
        let (mode, new) =
            acl::apply(before.owner.mode, &old, directory, change).map_err(|error| error.context(path))?;
        if mode == before.owner.mode && new == old {
            return Ok(Recorded::No(()));
        }
        let mut after = before;
        after.owner.mode = access::settable_mode(context, &after, mode);
        rows::put_acl(txn, inode, &mut after, &new);
        rows::put_inode(txn, inode, &after);
        announce(txn, context, inode, after.entry_kind(), path, &ChangeKind::Attributes(Attribute::Acl));
        Ok(Recorded::Yes(()))
    })
}

pub(super) fn get(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<Acl> {
    let inode = paths::find(snapshot, context, path)?;
    let row = rows::inode(snapshot, inode)?;
    let lists = rows::acl_of(snapshot, inode, &row)?;
    Ok(Acl { entries: acl::entries(row.owner.mode, &lists), owner: row.owner })
}
