//! Times of files and directories.

use super::changes::{Attribute, ChangeKind, announce};
use super::options::{Call, Times};
use super::outcome::Operation;
use super::rows;
use super::sessions::{Recorded, once};
use super::{Context, access, paths};
use crate::id::Version;
use crate::metadata::{Step, Transaction};
use crate::path::DfsPath;

pub(super) fn set(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    times: Times,
) -> Step<((), Option<Version>)> {
    once(txn, context, call, Operation::SetTimes, |txn| {
        let inode = paths::find(txn, context, path)?;
        let before = rows::inode(txn, inode)?;
        access::may_mark(txn, context, inode, &before, path)?;
        let mut after = before.clone();
        after.modified_ms = times.modified_ms.unwrap_or(before.modified_ms);
        after.accessed_ms = times.accessed_ms.unwrap_or(before.accessed_ms);
        if after == before {
            return Ok(Recorded::No(()));
        }
        rows::put_inode(txn, inode, &after);
        announce(txn, context, inode, after.entry_kind(), path, &ChangeKind::Attributes(Attribute::Times));
        Ok(Recorded::Yes(()))
    })
}
