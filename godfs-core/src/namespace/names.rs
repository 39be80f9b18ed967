//! Renaming and exchanging: one transaction, whatever lies below.

use super::changes::{ChangeKind, announce};
use super::options::{Call, Rename};
use super::outcome::Operation;
use super::paths::{self, Place};
use super::rows::{self, EntryRow, keys};
use super::sessions::{Recorded, once};
use super::{Context, access, deletes, directories, prune, reach, sums, trash, usage};
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
    let Rename { from, to, replace, parents, root } = request;
    once(txn, context, call, Operation::Rename, |txn| {
        let source = paths::place(txn, context, from)?;
        let Some(moved) = source.entry else {
            return Err(paths::not_found(from).into());
        };
        if root.is_some() && moved.is_directory() {
            return Err(paths::is_a_directory(from).into());
        }
        if from == to {
            return Ok(Recorded::No(()));
        }
        trash::check_move(from)?;
        access::may_remove(txn, context, &source, moved, from)?;
        if *parents {
            directories::make_parents(txn, context, to)?;
        }
        let target = paths::place(txn, context, to)?;
        if target.ancestors.contains(&moved.inode) {
            let message = format!("{from} can't be renamed into its own subtree, to {to}");
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        access::may_add(txn, context, &target, to)?;
        let mut replaced = Counters::default();
        if let Some(old) = target.entry {
            check_replaced(txn, to, moved, old, *replace)?;
            access::may_remove(txn, context, &target, old, to)?;
            replaced = deletes::detach(txn, target.parent(), target.name, old)?;
            announce(txn, context, old.inode, old.kind, to, &ChangeKind::Removed);
        }
        reach::check_move(txn, context, moved, from, to)?;
        relink(txn, context, moved, &source, &target, Relink { replaced, trashed: false })?;
        announce(txn, context, moved.inode, moved.kind, from, &ChangeKind::Renamed { to: to.clone() });
        if let Some(root) = root {
            prune::empty_above(txn, context, &source.ancestors, from, root)?;
        }
        Ok(Recorded::Yes(()))
    })
}

/// Has two paths change places, files or directories.
pub(super) fn exchange(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    first: &DfsPath,
    second: &DfsPath,
) -> Step<((), Option<Version>)> {
    once(txn, context, call, Operation::Exchange, |txn| {
        let (left, right) = (paths::place(txn, context, first)?, paths::place(txn, context, second)?);
        let found = |place: &Place<'_>, path| place.entry.ok_or_else(|| paths::not_found(path));
        let (left_entry, right_entry) = (found(&left, first)?, found(&right, second)?);
        for (inner, outer, entry, place) in [(second, first, left_entry, &right), (first, second, right_entry, &left)] {
            if place.ancestors.contains(&entry.inode) {
                let message = format!("{inner} lies in {outer}: they can't be exchanged");
                return Err(Error::new(ErrorKind::InvalidArgument, message).into());
            }
        }
        if first == second {
            return Ok(Recorded::No(()));
        }
        trash::check_exchange(first)?;
        trash::check_exchange(second)?;
        for (place, entry, path) in [(&left, left_entry, first), (&right, right_entry, second)] {
            access::may_remove(txn, context, place, entry, path)?;
        }
        reach::check_move(txn, context, left_entry, first, second)?;
        reach::check_move(txn, context, right_entry, second, first)?;
        let (mut left_row, mut right_row) = (rows::inode(txn, left_entry.inode)?, rows::inode(txn, right_entry.inode)?);
        let change = sums::minus(
            usage::tree(txn, right_entry.inode, &right_row)?,
            usage::tree(txn, left_entry.inode, &left_row)?,
        );
        let shared = shared(&left, &right);
        usage::add(txn, &left.ancestors[shared..], change)?;
        usage::add(txn, &right.ancestors[shared..], sums::minus(Counters::default(), change))?;
        for (entry, row, place) in [(left_entry, &mut left_row, &right), (right_entry, &mut right_row, &left)] {
            row.parent = place.parent();
            place.name.clone_into(&mut row.name);
            rows::put_inode(txn, entry.inode, row);
            rows::put_entry(txn, place.parent(), place.name, entry);
            if let Some(reach) = reach::of(row) {
                reach::raise(txn, &place.ancestors, place.name, reach)?;
            }
            directories::touch(txn, context, place.parent(), 0)?;
        }
        let change = ChangeKind::Exchanged { with: second.clone() };
        announce(txn, context, left_entry.inode, left_entry.kind, first, &change);
        Ok(Recorded::Yes(()))
    })
}

/// How many directories are above both.
fn shared(one: &Place<'_>, other: &Place<'_>) -> usize {
    one.ancestors.iter().zip(&other.ancestors).take_while(|(a, b)| a == b).count()
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
    match (moved.is_directory(), old.is_directory()) {
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

/// What a move has besides two places.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Relink {
    /// What the directories above the target lose in its favour.
    pub(super) replaced: Counters,
    /// It goes to the trash, as an item.
    pub(super) trashed: bool,
}

/// Gives what stands at `source` the name of `target`, under which nothing stands any more.
pub(super) fn relink(
    txn: &mut dyn Transaction,
    context: &Context,
    moved: EntryRow,
    source: &Place<'_>,
    target: &Place<'_>,
    Relink { replaced, trashed }: Relink,
) -> Step<()> {
    let mut row = rows::inode(txn, moved.inode)?;
    // Directories above both see no change but for what was replaced.
    let shared = shared(source, target);
    let nothing = Counters::default();
    usage::add(txn, &target.ancestors[..shared], sums::minus(nothing, replaced))?;
    if shared < source.ancestors.len() || shared < target.ancestors.len() {
        let tree = usage::tree(txn, moved.inode, &row)?;
        usage::add(txn, &source.ancestors[shared..], sums::minus(nothing, tree))?;
        usage::add(txn, &target.ancestors[shared..], sums::minus(tree, replaced))?;
    }
    txn.delete(Space::Rows, &keys::entry(source.parent(), source.name));
    rows::put_entry(txn, target.parent(), target.name, moved);
    row.parent = target.parent();
    target.name.clone_into(&mut row.name);
    trash::forget(txn, moved.inode, &mut row)?;
    row.marks.trashed = trashed;
    rows::put_inode(txn, moved.inode, &row);
    if let Some(reach) = reach::of(&row) {
        reach::raise(txn, &target.ancestors, target.name, reach)?;
    }
    let added = i64::from(target.entry.is_none());
    if target.parent() == source.parent() {
        return directories::touch(txn, context, source.parent(), added - 1);
    }
    directories::touch(txn, context, source.parent(), -1)?;
    directories::touch(txn, context, target.parent(), added)
}
