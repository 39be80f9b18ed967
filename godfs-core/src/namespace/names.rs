//! Renaming: one transaction, whatever lies below.

use super::options::{Call, Rename};
use super::outcome::Operation;
use super::paths::{self, Place};
use super::rows::{self, EntryRow, keys};
use super::sessions::{Recorded, once};
use super::{Context, access, deletes, directories, sums, usage};
use crate::error::{Error, ErrorKind};
use crate::id::Version;
use crate::metadata::{Counters, Snapshot, Space, Step, Transaction};
use crate::path::DfsPath;

pub(super) fn rename(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    request: &Rename,
) -> Step<((), Option<Version>)> {
    let Rename { from, to, replace } = request;
    once(txn, context, call, Operation::Rename, |txn| {
        let source = paths::place(txn, context, from)?;
        let Some(moved) = source.entry else {
            return Err(paths::not_found(from).into());
        };
        if from == to {
            return Ok(Recorded::No(()));
        }
        access::may_remove(txn, context, &source, moved, from)?;
        let target = paths::place(txn, context, to)?;
        if target.ancestors.contains(&moved.inode) {
            let message = format!("{from} can't be renamed into its own subtree, to {to}");
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        access::may_add(txn, context, &target, to)?;
        if let Some(old) = target.entry {
            check_replaced(txn, to, moved, old, *replace)?;
            access::may_remove(txn, context, &target, old, to)?;
            deletes::detach(txn, &target.ancestors, target.name, old)?;
        }
        relink(txn, context, moved, &source, &target)?;
        Ok(Recorded::Yes(()))
    })
}

/// What may be replaced by what.
fn check_replaced(
    snapshot: &mut dyn Snapshot,
    to: &DfsPath,
    moved: EntryRow,
    old: EntryRow,
    replace: bool,
) -> Step<()> {
    if !replace {
        return Err(directories::already_exists(to).into());
    }
    match (moved.directory, old.directory) {
        (false, false) => Ok(()),
        (true, true) if rows::is_empty(snapshot, old.inode)? => Ok(()),
        (true, true) => Err(deletes::not_empty(to).into()),
        (false, true) => Err(paths::is_a_directory(to).into()),
        (true, false) => {
            let message = format!("{to} is a file, a directory can't take its place");
            Err(Error::new(ErrorKind::NotADirectory, message).into())
        }
    }
}

fn relink(
    txn: &mut dyn Transaction,
    context: &Context,
    moved: EntryRow,
    source: &Place<'_>,
    target: &Place<'_>,
) -> Step<()> {
    let mut row = rows::inode(txn, moved.inode)?;
    // Directories above both see no change.
    let shared = source.ancestors.iter().zip(&target.ancestors).take_while(|(a, b)| a == b).count();
    if shared < source.ancestors.len() || shared < target.ancestors.len() {
        let tree = usage::tree(txn, moved.inode, &row)?;
        usage::add(txn, &source.ancestors[shared..], sums::minus(Counters::default(), tree));
        usage::add(txn, &target.ancestors[shared..], tree);
    }
    txn.delete(Space::Rows, &keys::entry(source.parent(), source.name));
    rows::put_entry(txn, target.parent(), target.name, moved);
    row.parent = target.parent();
    target.name.clone_into(&mut row.name);
    rows::put_inode(txn, moved.inode, &row);
    directories::touch(txn, context, source.parent())?;
    if target.parent() != source.parent() {
        directories::touch(txn, context, target.parent())?;
    }
    Ok(())
}
