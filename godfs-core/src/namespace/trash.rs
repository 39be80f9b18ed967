//! The trash: what is deleted moves there first, in one step whatever its size, and goes for good when its time has come.
//!
//! An item lies at `/.trash/USER/ID`, where all that is true of other files and directories is true of it; the directories above it are the namenode's, which
//! makes them when they are needed first. A mark in the item's inode says that it has rows in the tables of the trash: whoever renames or removes an inode
//! with that mark takes them away.

use super::answers::{Quota, TrashItem};
use super::changes::{ChangeKind, announce};
use super::options::{Call, Owner};
use super::outcome::Operation;
use super::paths::{self, Place};
use super::rows::{self, EntryKind, EntryRow, InodeKind, InodeRow, Marks, Series, TrashRow, keys};
use super::sessions::{Recorded, once};
use super::settings::NamespaceSettings;
use super::{Context, MAX_PAGE, access, deletes, directories, names, quotas, reach, reads, usage};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InodeId, Version};
use crate::metadata::{Abort, Range, Snapshot, Space, Stamped, Step, Transaction};
use crate::path::{DfsPath, MAX_NAME_BYTES};

/// The directory of the trash, in the root.
pub const TRASH: &str = ".trash";
/// How many items go in one transaction: a few rows each, whatever lies below them.
const ITEMS_A_STEP: usize = 100;
/// Names in front of, and of, an item: the trash, the user, the item itself.
const ITEM_DEPTH: usize = 3;
/// Everybody reaches what is theirs; only the namenode adds.
const TRASH_MODE: u16 = 0o755;
/// Only the user sees what it deleted.
const USER_MODE: u16 = 0o700;

/// Deletes by way of the trash. Gives back where it lies now; nothing where it went for good, as in the trash itself, or when the trash is turned off.
pub(super) fn delete(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    recursive: bool,
) -> Step<(Option<DfsPath>, Option<Version>)> {
    once(txn, context, call, Operation::Trash, |txn| {
        let (source, entry) = deletes::removable(txn, context, path, recursive)?;
        if context.settings.trash_expiry.is_zero() || depth_in_trash(path).is_some() {
            deletes::remove_entry(txn, context, &source, entry, path)?;
            return Ok(Recorded::Yes(None));
        }
        let (ancestors, home) = home(txn, context)?;
        let id = format!("{}-{}", timestamp(context.now_ms), entry.inode);
        let item = home.join(&id)?;
        let target = Place { ancestors, name: &id, entry: None };
        reach::check_trash(txn, entry, path, &item)?;
        let trashed = names::Relink { trashed: true, ..Default::default() };
        names::relink(txn, context, entry, &source, &target, trashed).map_err(|abort| match abort {
            Abort::Failed(error) if error.kind() == ErrorKind::QuotaExceeded => {
                let why =
                    format!("{path} does not fit into the trash: {}; empty it, or delete for good", error.message());
                Abort::Failed(Error::new(ErrorKind::QuotaExceeded, why))
            }
            other => other,
        })?;
        announce(txn, context, entry.inode, entry.kind, path, &ChangeKind::Renamed { to: item.clone() });
        let lifetime = u64::try_from(context.settings.trash_expiry.as_millis()).unwrap_or(u64::MAX);
        let row = TrashRow {
            expires_ms: context.now_ms.saturating_add(lifetime),
            deleted_ms: context.now_ms,
            user: context.caller.user().to_owned(),
            path: path.as_str().to_owned(),
        };
        txn.put(Space::Rows, keys::trash_expiry(row.expires_ms, entry.inode).into(), Stamped::plain([]));
        txn.put(Space::Rows, keys::trash(entry.inode).into(), row.encode());
        Ok(Recorded::Yes(Some(item)))
    })
}

/// Takes an item out of the trash: to `to`, or where it was. Gives back where it is.
pub(super) fn restore(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    item: &DfsPath,
    to: Option<&DfsPath>,
    parents: bool,
) -> Step<(Option<DfsPath>, Option<Version>)> {
    once(txn, context, call, Operation::RestoreTrash, |txn| {
        let source = paths::place(txn, context, item)?;
        let Some(moved) = source.entry else {
            return Err(paths::not_found(item).into());
        };
        let Some(row) = rows::find_trash(txn, moved.inode)? else {
            let message = format!("{item} is no item of the trash: those are /{TRASH}/USER/ID");
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        };
        access::may_remove(txn, context, &source, moved, item)?;
        let refuse = |kind, why: String| Err(Error::new(kind, format!("{item} can't be restored: {why}")).into());
        let place = match to {
            Some(to) => to.clone(),
            None => DfsPath::parse(&row.path)?,
        };
        let made = if parents { directories::make_parents(txn, context, &place) } else { Ok(()) };
        let target = match made.and_then(|()| paths::place(txn, context, &place)) {
            Err(Abort::Failed(error)) if error.kind() == ErrorKind::NotFound => {
                let why = format!("{}; have it made, or say where else to", error.message());
                return refuse(ErrorKind::NotFound, why);
            }
            // Whoever asks knows only the paths that it gave.
            Err(Abort::Failed(error)) if error.kind() == ErrorKind::Symlink && to.is_none() => {
                let why =
                    format!("the way back to {place} leads through a link now ({}); say where to", error.message());
                return refuse(ErrorKind::FailedPrecondition, why);
            }
            found => found?,
        };
        if target.entry.is_some() {
            return refuse(ErrorKind::AlreadyExists, format!("{place} exists already; say where else to"));
        }
        if target.ancestors.contains(&moved.inode) {
            return refuse(ErrorKind::InvalidArgument, format!("{place} lies in it"));
        }
        access::may_add(txn, context, &target, &place)?;
        reach::check_move(txn, context, moved, item, &place)?;
        names::relink(txn, context, moved, &source, &target, names::Relink::default())?;
        announce(txn, context, moved.inode, moved.kind, item, &ChangeKind::Renamed { to: place.clone() });
        Ok(Recorded::Yes(Some(place)))
    })
}

/// The items of a user with names above `after`, in order, which is that of their deletion to the second.
pub(super) fn list(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    user: Option<&str>,
    after: &str,
    limit: usize,
) -> Step<Vec<TrashItem>> {
    let Some(top) = rows::entry(snapshot, InodeId::ROOT, TRASH)? else { return Ok(Vec::new()) };
    let name = match user {
        Some(user) => directory_name(user)?,
        None => own_name(snapshot, context)?,
    };
    let home = top_path()?.join(&name)?;
    access::traverse(snapshot, context, InodeId::ROOT, &home, 0)?;
    access::traverse(snapshot, context, top.inode, &home, 1)?;
    let Some(directory) = rows::entry(snapshot, top.inode, &name)? else { return Ok(Vec::new()) };
    access::need_of(snapshot, context, directory.inode, access::LIST, &home)?;
    let prefix = keys::entries(directory.inode);
    let range = Range::prefix_after(&prefix, &keys::entry(directory.inode, after), limit.clamp(1, MAX_PAGE));
    let mut items = Vec::new();
    for (key, value) in snapshot.scan(Space::Rows, &range)? {
        let mut key = keys::KeyReader::new(&key)?;
        key.u64()?;
        let inode = EntryRow::decode(&value)?.inode;
        let row = rows::inode(snapshot, inode)?;
        let Some(trash) = rows::find_trash(snapshot, inode)? else { continue };
        items.push(TrashItem {
            path: home.join(key.text()?)?,
            original: DfsPath::parse(&trash.path)?,
            kind: reads::status(inode, row.clone()).kind,
            user: trash.user,
            deleted_ms: trash.deleted_ms,
            expires_ms: trash.expires_ms,
            usage: usage::answer(usage::tree(snapshot, inode, &row)?),
        });
    }
    Ok(items)
}

/// Whether the time of an item has come.
pub(super) fn is_due(snapshot: &mut dyn Snapshot, context: &Context) -> Step<bool> {
    Ok(!due(snapshot, context, 1)?.is_empty())
}

/// Removes items whose time has come, some of them where there are many. Gives back how many.
pub(super) fn expire(txn: &mut dyn Transaction, context: &Context) -> Step<usize> {
    let due = due(txn, context, ITEMS_A_STEP)?;
    for &inode in &due {
        let row = rows::inode(txn, inode)?;
        let chain = if row.parent.0 == 0 { None } else { paths::named_chain(txn, row.parent)? };
        match chain {
            Some((ancestors, names)) => {
                let path = paths::of_names(names.iter().chain([&row.name]));
                let entry = EntryRow { inode, kind: row.entry_kind() };
                let place = Place { ancestors, name: &row.name, entry: Some(entry) };
                deletes::remove_entry(txn, context, &place, entry, &path)?;
            }
            // A directory above was deleted: the collector is on its way.
            None => {
                let mut row = row;
                forget(txn, inode, &mut row)?;
                rows::put_inode(txn, inode, &row);
            }
        }
    }
    Ok(due.len())
}

/// An inode is no item any more. Its own row is the caller's to write.
pub(super) fn forget(txn: &mut dyn Transaction, inode: InodeId, row: &mut InodeRow) -> Step<()> {
    if !std::mem::take(&mut row.marks.trashed) {
        return Ok(());
    }
    if let Some(trash) = rows::find_trash(txn, inode)? {
        txn.delete(Space::Rows, &keys::trash_expiry(trash.expires_ms, inode));
        txn.delete(Space::Rows, &keys::trash(inode));
    }
    Ok(())
}

/// Only the namenode makes names as deep as items are: the first `depth` names of `path`.
pub(super) fn check_add(path: &DfsPath, depth: usize) -> Result<()> {
    match depth_in_trash(path) {
        Some(_) if depth <= ITEM_DEPTH => {
            let message = format!("{path}: names in /{TRASH} are made by deleting, and by nothing else");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
        _ => Ok(()),
    }
}

/// The trash itself stays.
pub(super) fn check_remove(path: &DfsPath) -> Result<()> {
    match depth_in_trash(path) {
        Some(1) => {
            Err(Error::new(ErrorKind::InvalidArgument, format!("{path} is the trash: it can't be renamed or deleted")))
        }
        _ => Ok(()),
    }
}

/// Directories of users stay in the trash.
pub(super) fn check_move(path: &DfsPath) -> Result<()> {
    match depth_in_trash(path) {
        Some(depth) if depth < ITEM_DEPTH => {
            let message = format!("{path} is a part of the trash: it can't be renamed");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
        _ => Ok(()),
    }
}

/// Nothing takes the place of an item.
pub(super) fn check_exchange(path: &DfsPath) -> Result<()> {
    check_move(path)?;
    match depth_in_trash(path) {
        Some(ITEM_DEPTH) => {
            let message = format!("{path} is an item of the trash: restore it first");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
        _ => Ok(()),
    }
}

/// How many names a path in the trash has.
fn depth_in_trash(path: &DfsPath) -> Option<usize> {
    let mut names = path.names();
    (names.next() == Some(TRASH)).then(|| 1 + names.count())
}

/// Where what the caller deletes goes, made where it is missing: the directories from the root to it, and its path.
fn home(txn: &mut dyn Transaction, context: &Context) -> Step<(Vec<InodeId>, DfsPath)> {
    let root = rows::inode(txn, InodeId::ROOT)?.owner;
    let name = own_name(txn, context)?;
    let caller = &context.caller;
    let user = if caller.is_system() { root.user.clone() } else { caller.user().to_owned() };
    let group = caller.groups().first().unwrap_or(&root.group).clone();
    let (mut ancestors, mut path) = (vec![InodeId::ROOT], DfsPath::root());
    for (name, owner) in
        [(TRASH, Owner { mode: TRASH_MODE, ..root.clone() }), (&name, Owner { user, group, mode: USER_MODE })]
    {
        let parent = *ancestors.last().expect("the root at least");
        path = path.join(name)?;
        let directory = match rows::entry(txn, parent, name)? {
            Some(EntryRow { inode, kind: EntryKind::Directory }) => inode,
            Some(_) => {
                let message = format!("metadata: {name} of the trash is no directory");
                return Err(Error::new(ErrorKind::Corrupt, message).into());
            }
            None => {
                let made = make(txn, context, &ancestors, &path, owner)?;
                if ancestors.len() > 1 {
                    let NamespaceSettings { trash_names, trash_bytes, .. } = *context.settings;
                    quotas::begin(txn, made, Quota { names: trash_names, space: trash_bytes });
                }
                made
            }
        };
        ancestors.push(directory);
    }
    Ok((ancestors, path))
}

fn make(
    txn: &mut dyn Transaction,
    context: &Context,
    ancestors: &[InodeId],
    path: &DfsPath,
    owner: Owner,
) -> Step<InodeId> {
    let name = path.name().expect("not the root");
    let inode = InodeId(rows::draw_ids(txn, Series::Names, 1)?);
    let row = InodeRow {
        version: Version::PENDING,
        parent: *ancestors.last().expect("the root at least"),
        name: name.to_owned(),
        modified_ms: context.now_ms,
        accessed_ms: context.now_ms,
        owner,
        marks: Marks::default(),
        kind: InodeKind::EMPTY_DIRECTORY,
    };
    directories::link(txn, context, ancestors, name, inode, &row, None)?;
    rows::put_inode(txn, inode, &row);
    announce(txn, context, inode, EntryKind::Directory, path, &ChangeKind::MadeDirectory);
    Ok(inode)
}

fn top_path() -> Result<DfsPath> {
    DfsPath::root().join(TRASH)
}

fn own_name(snapshot: &mut dyn Snapshot, context: &Context) -> Step<String> {
    if context.caller.is_system() {
        return Ok(directory_name(&rows::inode(snapshot, InodeId::ROOT)?.owner.user)?);
    }
    Ok(directory_name(context.caller.user())?)
}

/// The name of a user's directory: the user's own, but for what no name of a directory may be or have.
fn directory_name(user: &str) -> Result<String> {
    let name = match user {
        "." | ".." => user.replace('.', "%2E"),
        _ => user.replace('%', "%25").replace('/', "%2F"),
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let message = format!("user {user:?} can have no directory in /{TRASH}: delete for good instead");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(name)
}

/// The items whose time has come, at most so many.
fn due(snapshot: &mut dyn Snapshot, context: &Context, limit: usize) -> Step<Vec<InodeId>> {
    let range = Range {
        end: std::ops::Bound::Included(keys::trash_expiry(context.now_ms, InodeId(u64::MAX)).into()),
        ..Range::prefix(&keys::table(keys::Table::TrashExpiry), limit)
    };
    let mut due = Vec::new();
    for (key, _) in snapshot.scan(Space::Rows, &range)? {
        let mut key = keys::KeyReader::new(&key)?;
        key.u64()?;
        due.push(InodeId(key.u64()?));
    }
    Ok(due)
}

/// A moment as `20261124T014500`, UTC.
fn timestamp(ms: u64) -> String {
    /// Beyond the year 9,999 all moments look the same: what makes names unique is the inode behind them.
    const END: u64 = 253_402_300_799;
    let seconds = (ms / 1_000).min(END);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in eras of 400 years: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        for (ms, shown) in [
            (0, "19700101T000000"),
            (951_782_400_000, "20000229T000000"),
            (1_767_225_599_999, "20251231T235959"),
            (1_795_484_700_000, "20261124T014500"),
            (u64::MAX, "99991231T235959"),
        ] {
            assert_eq!(timestamp(ms), shown);
        }
    }

    #[test]
    fn any_user_has_a_directory() {
        for (user, name) in [("alice", "alice"), ("..", "%2E%2E"), ("a/../b", "a%2F..%2Fb"), ("50%", "50%25")] {
            assert_eq!(directory_name(user).unwrap(), name);
        }
        assert_eq!(directory_name(&"/".repeat(100)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
