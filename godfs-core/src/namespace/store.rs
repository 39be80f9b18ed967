//! The store as a whole: its format, its cluster, its root.

use super::Context;
use super::answers::TotalCounts;
use super::caller::check_principal;
use super::directories;
use super::options::Owner;
use super::rows::{self, FORMAT_VERSION, InodeKind, InodeRow, Marks, StoreRow, keys};
use super::usage;
use crate::error::{Error, ErrorKind};
use crate::id::{ClusterId, InodeId, Version};
use crate::metadata::{Snapshot, Space, Step, Transaction};

/// Stands in the place of the format until an import is whole.
pub(super) const IMPORTING: u64 = u64::MAX;

/// Makes a new cluster in an empty store.
pub(super) fn initialize(
    txn: &mut dyn Transaction,
    context: &Context,
    cluster: ClusterId,
    owner: &Owner,
) -> Step<ClusterId> {
    check_principal("user", &owner.user)?;
    check_principal("group", &owner.group)?;
    directories::check_bits(owner.mode)?;
    if let Some(known) = find(txn)? {
        return Ok(known.cluster);
    }
    let row = StoreRow { format: FORMAT_VERSION, cluster, superuser: owner.user.clone() };
    txn.put(Space::Rows, keys::store().into(), row.encode());
    let root = InodeRow {
        version: Version::PENDING,
        parent: InodeId(0),
        name: String::new(),
        modified_ms: context.now_ms,
        accessed_ms: context.now_ms,
        owner: owner.clone(),
        marks: Marks::default(),
        kind: InodeKind::EMPTY_DIRECTORY,
    };
    rows::put_inode(txn, InodeId::ROOT, &root);
    Ok(cluster)
}

/// Writes the row of the store as it is.
pub(super) fn touch(txn: &mut dyn Transaction) -> Step<()> {
    let row = row(txn)?;
    txn.put(Space::Rows, keys::store().into(), row.encode());
    Ok(())
}

pub(super) fn cluster(snapshot: &mut dyn Snapshot) -> Step<ClusterId> {
    Ok(row(snapshot)?.cluster)
}

/// The user who made the cluster.
pub(super) fn superuser(snapshot: &mut dyn Snapshot) -> Step<String> {
    Ok(row(snapshot)?.superuser)
}

fn row(snapshot: &mut dyn Snapshot) -> Step<StoreRow> {
    match find(snapshot)? {
        Some(row) => Ok(row),
        None => {
            let message = "the metadata store is empty: it must be initialised as a new cluster first";
            Err(Error::new(ErrorKind::FailedPrecondition, message).into())
        }
    }
}

pub(super) fn totals(snapshot: &mut dyn Snapshot) -> Step<TotalCounts> {
    let totals = rows::totals::read(snapshot)?;
    let usage = usage::of_directory(snapshot, InodeId::ROOT)?;
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(TotalCounts {
        usage: usage::answer(usage),
        chunks: count(totals.chunks),
        owed: count(totals.owed),
        garbage: count(totals.garbage),
        leases: count(totals.leases),
    })
}

fn find(snapshot: &mut dyn Snapshot) -> Step<Option<StoreRow>> {
    let Some(row) = snapshot.get(Space::Rows, &keys::store())? else {
        return Ok(None);
    };
    let format = StoreRow::format(&row)?;
    if format == IMPORTING {
        let message = "an import into the metadata store was cut short: remove the store and import again";
        return Err(Error::new(ErrorKind::FailedPrecondition, message).into());
    }
    if format != FORMAT_VERSION {
        let message = format!(
            "the metadata store has rows of format {format}, this software reads format {FORMAT_VERSION}: run the software that wrote them. Before 1.0 rows \
             are not converted, so an export of them is for that software too; to move on, copy the files out with it and into a new cluster"
        );
        return Err(Error::new(ErrorKind::Incompatible, message).into());
    }
    Ok(Some(StoreRow::decode(&row)?))
}
