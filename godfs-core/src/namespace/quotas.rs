//! Quotas: how many names a directory may hold, and how much room, with all that lies below it.
//!
//! A row of limits stands beside the usage that every directory keeps anyway. A transaction that adds to the usage of a chain of directories reads the
//! limits and counters of those of them that have some, so a quota is exact whoever else is at work. Where no directory has one, that costs the
//! read of one row. What a writer may still put into its open chunks is part of the usage from the moment they are opened
//! ([`usage::weight`](super::usage::weight)), so no writer is refused what it was promised, and none gets more than there is.

use super::answers::{Quota, QuotaChange};
use super::changes::{Attribute, ChangeKind, announce};
use super::options::Call;
use super::outcome::Operation;
use super::rows::{self, EntryKind, InodeKind, QuotaRow, keys};
use super::sessions::{Recorded, once};
use super::{Context, access, paths, usage};
use crate::error::{Error, ErrorKind};
use crate::id::{InodeId, Version};
use crate::metadata::{Counters, Snapshot, Space, Step, Transaction};
use crate::path::DfsPath;

/// Sets the limits of a directory; without any it has no quota. Below what is in use already they keep it from growing.
pub(super) fn set(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    change: QuotaChange,
) -> Step<((), Option<Version>)> {
    access::operator(context, "setting a quota")?;
    once(txn, context, call, Operation::SetQuota, |txn| {
        let directory = directory(txn, context, path)?;
        let before = find(txn, directory)?;
        let quota = match change {
            QuotaChange::To(quota) => quota,
            QuotaChange::Given(Quota { names, space }) => {
                Quota { names: names.or(before.names), space: space.or(before.space) }
            }
        };
        if before == quota {
            return Ok(Recorded::No(()));
        }
        put(txn, directory, before, quota);
        let change = ChangeKind::Attributes(Attribute::Quota);
        announce(txn, context, directory, EntryKind::Directory, path, &change);
        Ok(Recorded::Yes(()))
    })
}

/// The limits of a directory.
pub(super) fn of(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<Quota> {
    let directory = directory(snapshot, context, path)?;
    find(snapshot, directory)
}

/// A new directory begins with limits.
pub(super) fn begin(txn: &mut dyn Transaction, directory: InodeId, quota: Quota) {
    put(txn, directory, Quota::default(), quota);
}

/// A directory goes for good.
pub(super) fn forget(txn: &mut dyn Transaction, directory: InodeId) -> Step<()> {
    if any(txn)? {
        let before = find(txn, directory)?;
        put(txn, directory, before, Quota::default());
    }
    Ok(())
}

/// Refuses what would make a directory of the chain larger than it may be. What shrinks it, or leaves it as it is, is never refused.
pub(super) fn check(snapshot: &mut dyn Snapshot, chain: &[InodeId], delta: Counters) -> Step<()> {
    let (names, space) = (names(delta), delta.0[SPACE]);
    if (names <= 0 && space <= 0) || !any(snapshot)? {
        return Ok(());
    }
    for &directory in chain {
        let quota = find(snapshot, directory)?;
        if quota == Quota::default() {
            continue;
        }
        let used = usage::of_directory(snapshot, directory)?;
        for (what, limit, used, more) in
            [("names", quota.names, self::names(used), names), ("bytes of replicas", quota.space, used.0[SPACE], space)]
        {
            let Some(limit) = limit else { continue };
            if more > 0 && i128::from(used) + i128::from(more) > i128::from(limit) {
                let message = format!(
                    "{} may hold {limit} {what} and has {used} of them: {more} more do not fit",
                    paths::shown(snapshot, directory)?
                );
                return Err(Error::new(ErrorKind::QuotaExceeded, message).into());
            }
        }
    }
    Ok(())
}

/// The lane of usage that counts bytes times replicas.
const SPACE: usize = 3;

/// Files, links and directories.
fn names(Counters([_, files, directories, _]): Counters) -> i64 {
    files.saturating_add(directories)
}

/// How many directories have a quota.
pub(super) fn count(snapshot: &mut dyn Snapshot) -> Step<i64> {
    Ok(snapshot.counters(Space::Rows, &keys::quotas())?.0[0])
}

/// Whether a directory has limits of its own.
pub(super) fn is_limited(snapshot: &mut dyn Snapshot, directory: InodeId) -> Step<bool> {
    Ok(any(snapshot)? && find(snapshot, directory)? != Quota::default())
}

fn any(snapshot: &mut dyn Snapshot) -> Step<bool> {
    Ok(count(snapshot)? != 0)
}

fn find(snapshot: &mut dyn Snapshot, directory: InodeId) -> Step<Quota> {
    let row = snapshot.get(Space::Rows, &keys::quota(directory))?;
    Ok(row.map_or(Ok(Quota::default()), |row| QuotaRow::decode(&row).map(|row| row.0))?)
}

fn put(txn: &mut dyn Transaction, directory: InodeId, before: Quota, after: Quota) {
    let (had, has) = (before != Quota::default(), after != Quota::default());
    if has {
        txn.put(Space::Rows, keys::quota(directory).into(), QuotaRow(after).encode());
    } else if had {
        txn.delete(Space::Rows, &keys::quota(directory));
    }
    if had != has {
        txn.add(Space::Rows, &keys::quotas(), Counters([i64::from(has) - i64::from(had), 0, 0, 0]));
    }
}

fn directory(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<InodeId> {
    let inode = paths::find(snapshot, context, path)?;
    match rows::inode(snapshot, inode)?.kind {
        InodeKind::Directory { .. } => Ok(inode),
        _ => {
            Err(Error::new(ErrorKind::NotADirectory, format!("{path} is no directory: only those have quotas")).into())
        }
    }
}
