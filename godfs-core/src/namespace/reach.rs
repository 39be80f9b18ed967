//! How deep trees may become: also by moving one into another, for which nothing below it is looked at.
//!
//! Every directory says how far the directories below it go at most, in names and in bytes of their path from it ([`Reach`]). One that is made or moved
//! lets those above know that do not say as much already: mostly its parent alone. What goes away lets nobody know, so that it says too much then; a
//! directory that becomes empty begins anew, and a move that seems to go too deep looks for itself, at a bounded number of entries.

use super::Context;
use super::rows::{self, EntryRow, InodeKind, InodeRow, Reach, keys};
use crate::error::{Error, ErrorKind};
use crate::id::InodeId;
use crate::metadata::{Abort, Range, Space, Step, Transaction};
use crate::path::{DfsPath, MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES};

/// Entries that one move looks at: some milliseconds of the committing thread.
const MOST_LOOKED_AT: usize = 10_000;

/// `name`, the last of `ancestors` has which as a directory, goes as far as `reach`.
pub(super) fn raise(txn: &mut dyn Transaction, ancestors: &[InodeId], name: &str, reach: Reach) -> Step<()> {
    let mut needed = reach.with(name);
    for directory in ancestors.iter().rev() {
        let mut row = rows::inode(txn, *directory)?;
        let InodeKind::Directory { reach, .. } = &mut row.kind else { return Ok(()) };
        if reach.covers(needed) {
            return Ok(());
        }
        *reach = reach.max(needed);
        needed = reach.with(&row.name);
        rows::put_inode(txn, *directory, &row);
    }
    Ok(())
}

/// Whether all below `moved`, which stands at `from`, has a path that settings allow when it stands at `to`.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`].
pub(super) fn check_move(
    txn: &mut dyn Transaction,
    context: &Context,
    moved: EntryRow,
    from: &DfsPath,
    to: &DfsPath,
) -> Step<()> {
    let settings = &context.settings;
    check(txn, moved, from, to, Limits { names: settings.max_depth, bytes: settings.max_path_bytes })
}

/// The same for the way to the trash: whatever settings say of new paths, it takes all that has one.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`].
pub(super) fn check_trash(txn: &mut dyn Transaction, moved: EntryRow, from: &DfsPath, to: &DfsPath) -> Step<()> {
    check(txn, moved, from, to, Limits { names: MAX_DEPTH, bytes: MAX_PATH_BYTES }).map_err(|abort| match abort {
        Abort::Failed(error) => error.context("the trash has no room for so deep a tree: delete it for good").into(),
        Abort::Missing => Abort::Missing,
    })
}

/// Of paths.
#[derive(Clone, Copy, Debug)]
struct Limits {
    names: usize,
    bytes: usize,
}

fn check(txn: &mut dyn Transaction, moved: EntryRow, from: &DfsPath, to: &DfsPath, limits: Limits) -> Step<()> {
    if !moved.is_directory() {
        return Ok(());
    }
    let row = rows::inode(txn, moved.inode)?;
    let InodeKind::Directory { entries, reach } = row.kind else { return Ok(()) };
    if entries == 0 {
        return Ok(());
    }
    let Some(refusal) = beyond(limits, from, to, reach) else { return Ok(()) };
    let Some(exact) = settle(txn, moved.inode)? else {
        let message = format!("{refusal}; there is too much below it to see whether it really does");
        return Err(Error::new(ErrorKind::LimitExceeded, message).into());
    };
    match beyond(limits, from, to, exact) {
        Some(refusal) => Err(Error::new(ErrorKind::LimitExceeded, refusal).into()),
        None => Ok(()),
    }
}

/// What passes a limit that it did not pass where it was. The lowest directories may have files of any name.
fn beyond(limits: Limits, from: &DfsPath, to: &DfsPath, reach: Reach) -> Option<String> {
    let (depth, bytes) = (|path: &DfsPath| path.names().count(), |path: &DfsPath| path.as_str().len());
    let (names_below, bytes_below) = (reach.names as usize + 1, reach.bytes as usize + 1 + MAX_NAME_BYTES);
    let refuse = |what: String, limit: usize, setting: &str| {
        Some(format!(
            "paths of {what} are beyond the limit of {limit} ({setting}), and what lies below it may have such when {from} becomes {to}"
        ))
    };
    if depth(to) > depth(from) && depth(to) + names_below > limits.names {
        return refuse(format!("{} names", depth(to) + names_below), limits.names, "max-depth");
    }
    if bytes(to) > bytes(from) && bytes(to) + bytes_below > limits.bytes {
        return refuse(format!("{} bytes", bytes(to) + bytes_below), limits.bytes, "max-path-bytes");
    }
    None
}

/// Has a directory and those below it say exactly how far they go; `None`, and nothing changed, where there is too much to look at.
fn settle(txn: &mut dyn Transaction, top: InodeId) -> Step<Option<Reach>> {
    let mut left = MOST_LOOKED_AT;
    // Each after the one that it is in.
    let mut found = vec![Directory { inode: top, above: 0, name: String::new(), reach: Reach::default() }];
    let mut at = 0;
    while let Some(directory) = found.get(at) {
        let prefix = keys::entries(directory.inode);
        let mut range = Range::prefix(&prefix, super::MAX_PAGE);
        loop {
            let entries = txn.scan(Space::Rows, &range)?;
            let Some(rest) = left.checked_sub(entries.len()) else { return Ok(None) };
            left = rest;
            for (key, value) in &entries {
                let entry = EntryRow::decode(value)?;
                if entry.is_directory() {
                    let name = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
                    found.push(Directory { inode: entry.inode, above: at, name, reach: Reach::default() });
                }
            }
            match entries.last() {
                Some((key, _)) if entries.len() == range.limit => {
                    range.start = std::ops::Bound::Excluded(key.clone());
                }
                _ => break,
            }
        }
        at += 1;
    }
    for below in (1..found.len()).rev() {
        let (needed, above) = (found[below].reach.with(&found[below].name), found[below].above);
        found[above].reach = found[above].reach.max(needed);
    }
    for Directory { inode, reach: exact, .. } in &found {
        let mut row = rows::inode(txn, *inode)?;
        if let InodeKind::Directory { reach, .. } = &mut row.kind
            && reach != exact
        {
            *reach = *exact;
            rows::put_inode(txn, *inode, &row);
        }
    }
    Ok(found.first().map(|top| top.reach))
}

/// One that was looked at.
struct Directory {
    inode: InodeId,
    /// Which of those found it is in.
    above: usize,
    name: String,
    reach: Reach,
}

/// What a row says of the directories below it; nothing of files.
pub(super) fn of(row: &InodeRow) -> Option<Reach> {
    match row.kind {
        InodeKind::Directory { reach, .. } => Some(reach),
        InodeKind::File(_) | InodeKind::Symlink(_) => None,
    }
}
