//! Who may do what: the only place where it is decided.
//!
//! An operation says in one line which right it needs; resolving a path ([`paths`]) asks for `x` on each directory on the way. A
//! caller that may do everything (the superuser, a member of [`SUPERGROUP`], the namenode itself, or everybody where checks are turned off) costs no read;
//! another one costs the row of each inode that is asked about.
//!
//! | operation | right |
//! |---|---|
//! | any, on a path | `x` on each directory above |
//! | stat, lstat, get access control lists | nothing more |
//! | list, usage of a directory | `r` and `x` on it |
//! | walk | `r` and `x` on each directory that it enters |
//! | open, locate | `r` on the file; by number also `x` on the directories above it. Where the chunks of an open file are: `w` will do |
//! | stat by number of what was deleted | owner |
//! | mkdir, create, put | `w` and `x` on the parent, or on the lowest directory that exists |
//! | create over a file | the same, `w` on that file, and what taking it away needs; of what stands there when a file is published, asked again then |
//! | symbolic link | as for mkdir |
//! | delete, rename, exchange | `w` and `x` on both parents; in a sticky directory, its owner or the entry's |
//! | delete of a directory with entries | also `r`, `w` and `x` on it; if it is sticky, its owner. What lies deeper is not looked at: deleting takes one step |
//! | delete by way of the trash | as for delete; only the namenode adds to the trash and to its directories of users |
//! | list the trash | `r` and `x` on the directory of its user there |
//! | restore from the trash | as for rename |
//! | append, truncate, concat, recover a lease, set replication | `w` on the file |
//! | append to a small file | also `r`: its bytes go to the writer, which writes them anew |
//! | set times, extended attributes `user.` | `w` on the file or directory, or owner; of a sticky directory owner |
//! | get extended attributes | `r` on the file or directory; `trusted.` ones: superuser |
//! | set mode, access control lists | owner |
//! | set extended attributes `trusted.` | superuser |
//! | set the owner, list open files | superuser |
//! | set the group | superuser, or the owner, to a group it is a member of |
//! | operate the cluster (scrub, export), set a quota | superuser |
//! | a call under a lease | the lease and nothing more, but for what publishing replaces, and the directories that it makes |
//!
//! [`SUPERGROUP`]: super::SUPERGROUP

use super::acl::{self, AclRow};
use super::options::{NewMode, Owner};
use super::paths::{self, Place};
use super::rows::{self, EntryRow, InodeRow};
use super::{Context, SUPERGROUP, limits, trash};
use crate::error::{Error, ErrorKind};
use crate::id::InodeId;
use crate::metadata::{Snapshot, Step};
use crate::path::DfsPath;

/// Only an entry's owner, the directory's or the superuser takes it away.
const STICKY: u16 = 0o1000;
/// What is made in the directory belongs to its group.
const SET_GROUP_ID: u16 = 0o2000;

/// A right to what one inode holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Write,
    Execute,
}

impl Right {
    fn bit(self) -> u16 {
        match self {
            Self::Read => 4,
            Self::Write => 2,
            Self::Execute => 1,
        }
    }

    fn letter(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::Execute => "x",
        }
    }
}

/// To list a directory.
pub(super) const LIST: &[Right] = &[Right::Read, Right::Execute];
/// To change the entries of a directory.
pub(super) const CHANGE: &[Right] = &[Right::Write, Right::Execute];
/// To read a file.
pub(super) const READ: &[Right] = &[Right::Read];
/// To change a file.
pub(super) const WRITE: &[Right] = &[Right::Write];
/// To delete a directory with its entries.
const DELETE_TREE: &[Right] = &[Right::Read, Right::Write, Right::Execute];
/// To go through a directory.
const TRAVERSE: &[Right] = &[Right::Execute];

/// Whether one caller may do everything. `superuser` is the user who made the cluster.
pub(super) fn may_all(caller: &super::Caller, superuser: &str) -> bool {
    caller.is_system() || caller.user() == superuser || caller.is_member(SUPERGROUP)
}

/// The caller may go through a directory, which is the first `depth` names of `path`.
pub(super) fn traverse(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    directory: InodeId,
    path: &DfsPath,
    depth: usize,
) -> Step<()> {
    if context.may_all {
        return Ok(());
    }
    let row = rows::inode(snapshot, directory)?;
    need(snapshot, context, directory, &row, TRAVERSE, || first_names(path, depth))
}

/// The caller has all of `rights` to an inode.
pub(super) fn need(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    inode: InodeId,
    row: &InodeRow,
    rights: &[Right],
    shown: impl FnOnce() -> String,
) -> Step<()> {
    if context.may_all {
        return Ok(());
    }
    let wanted = rights.iter().fold(0, |wanted, right| wanted | right.bit());
    let granted = granted(snapshot, context, inode, row, wanted)?;
    match rights.iter().find(|right| granted & right.bit() == 0) {
        None => Ok(()),
        Some(missing) => Err(refuse(context, missing.letter(), &shown(), row).into()),
    }
}

/// As [`need`], where the row is not at hand.
pub(super) fn need_of(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    inode: InodeId,
    rights: &[Right],
    path: &DfsPath,
) -> Step<()> {
    if context.may_all {
        return Ok(());
    }
    let row = rows::inode(snapshot, inode)?;
    need(snapshot, context, inode, &row, rights, || path.to_string())
}

/// The caller may reach an inode that is named by its number: the directories above it can be gone through. Of what hangs on the root no more, false
/// unless it is the caller's own.
pub(super) fn reach(snapshot: &mut dyn Snapshot, context: &Context, row: &InodeRow) -> Step<bool> {
    if context.may_all {
        return Ok(true);
    }
    let chain = if row.parent.0 == 0 { None } else { paths::chain(snapshot, row.parent)? };
    let Some(chain) = chain else { return Ok(row.owner.user == context.caller.user()) };
    for directory in chain {
        let row = rows::inode(snapshot, directory)?;
        if granted(snapshot, context, directory, &row, Right::Execute.bit())? & Right::Execute.bit() == 0 {
            let shown = paths::shown(snapshot, directory)?;
            return Err(refuse(context, Right::Execute.letter(), &shown, &row).into());
        }
    }
    Ok(true)
}

/// Whether the caller has all of `rights` to an inode.
pub(super) fn has(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    inode: InodeId,
    row: &InodeRow,
    rights: &[Right],
) -> Step<bool> {
    let wanted = rights.iter().fold(0, |wanted, right| wanted | right.bit());
    Ok(context.may_all || granted(snapshot, context, inode, row, wanted)? & wanted == wanted)
}

/// The caller may change what it can also make of a file by writing to it, and of a directory by its entries: times, and attributes of its users. In a
/// sticky directory's own case, its owner alone.
pub(super) fn may_mark(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    inode: InodeId,
    row: &InodeRow,
    path: &DfsPath,
) -> Step<()> {
    if context.may_all || row.owner.user == context.caller.user() {
        return Ok(());
    }
    if row.owner.mode & STICKY != 0 && matches!(row.kind, rows::InodeKind::Directory { .. }) {
        return Ok(own(context, row, path)?);
    }
    need(snapshot, context, inode, row, WRITE, || path.to_string())
}

/// The caller may make an entry at a place.
pub(super) fn may_add(snapshot: &mut dyn Snapshot, context: &Context, place: &Place<'_>, path: &DfsPath) -> Step<()> {
    let depth = path.names().count();
    trash::check_add(path, depth)?;
    if place.entry.is_none() {
        limits::check_new(context, path, depth)?;
    }
    if context.may_all {
        return Ok(());
    }
    let parent = rows::inode(snapshot, place.parent())?;
    need(snapshot, context, place.parent(), &parent, CHANGE, || parent_of(path))
}

/// The caller may make an entry in a directory, which is the first `depth` names of `path`.
pub(super) fn may_add_in(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    directory: InodeId,
    path: &DfsPath,
    depth: usize,
) -> Step<()> {
    trash::check_add(path, depth + 1)?;
    limits::check_new(context, path, depth + 1)?;
    if context.may_all {
        return Ok(());
    }
    let row = rows::inode(snapshot, directory)?;
    need(snapshot, context, directory, &row, CHANGE, || first_names(path, depth))
}

/// The caller may take the entry at a place away: rename, replace or delete it.
pub(super) fn may_remove(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    place: &Place<'_>,
    entry: EntryRow,
    path: &DfsPath,
) -> Step<()> {
    may_remove_from(snapshot, context, place.parent(), entry, path)
}

/// The caller may put a file of its own where one stands.
pub(super) fn may_replace(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    parent: InodeId,
    old: EntryRow,
    path: &DfsPath,
) -> Step<()> {
    need_of(snapshot, context, old.inode, WRITE, path)?;
    may_remove_from(snapshot, context, parent, old, path)
}

fn may_remove_from(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    parent: InodeId,
    entry: EntryRow,
    path: &DfsPath,
) -> Step<()> {
    trash::check_remove(path)?;
    if context.may_all {
        return Ok(());
    }
    let directory = parent;
    let parent = rows::inode(snapshot, directory)?;
    need(snapshot, context, directory, &parent, CHANGE, || parent_of(path))?;
    if parent.owner.mode & STICKY != 0 && parent.owner.user != context.caller.user() {
        // The entry's owner, or the directory's.
        let row = rows::inode(snapshot, entry.inode)?;
        own(context, &row, path)?;
    }
    Ok(())
}

/// The caller may delete a directory together with its entries.
pub(super) fn may_remove_tree(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    directory: InodeId,
    path: &DfsPath,
) -> Step<()> {
    if context.may_all {
        return Ok(());
    }
    let row = rows::inode(snapshot, directory)?;
    need(snapshot, context, directory, &row, DELETE_TREE, || path.to_string())?;
    // What others have in a sticky directory is not the caller's to take away.
    if row.owner.mode & STICKY != 0 { Ok(own(context, &row, path)?) } else { Ok(()) }
}

/// The caller owns the inode.
pub(super) fn own(context: &Context, row: &InodeRow, path: &DfsPath) -> crate::error::Result<()> {
    if context.may_all || row.owner.user == context.caller.user() {
        return Ok(());
    }
    Err(refuse(context, "owner", path.as_str(), row))
}

/// The caller may do everything.
pub(super) fn superuser(context: &Context, row: &InodeRow, path: &DfsPath) -> crate::error::Result<()> {
    if context.may_all { Ok(()) } else { Err(refuse(context, "superuser", path.as_str(), row)) }
}

/// The caller may operate the cluster.
pub(super) fn operator(context: &Context, what: &str) -> crate::error::Result<()> {
    if context.may_all {
        return Ok(());
    }
    let message = format!("user {} lacks superuser for {what}", context.caller.user());
    Err(Error::new(ErrorKind::PermissionDenied, message))
}

/// Whose a new inode is, and with which bits and lists: the caller's, in the first of its groups, or in the directory's where that hands its group on or
/// the caller has none. A default list of the directory takes the place of the umask.
pub(super) fn new_attributes(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    parent: InodeId,
    above: &InodeRow,
    mode: NewMode,
    directory: bool,
) -> Step<(Owner, AclRow)> {
    let mut owner = new_owner(context, above, mode, directory);
    let Some(default) = rows::acl_of(snapshot, parent, above)?.default else {
        return Ok((owner, AclRow::default()));
    };
    let (bits, lists) = acl::inherit(&default, mode.asked(directory), directory);
    owner.mode = owner.mode & !0o777 | bits & 0o777;
    Ok((owner, lists))
}

/// The same without lists, which a symbolic link has not.
pub(super) fn new_owner(context: &Context, parent: &InodeRow, mode: NewMode, directory: bool) -> Owner {
    let caller = &context.caller;
    let hands_on = parent.owner.mode & SET_GROUP_ID != 0;
    let group = match caller.groups().first() {
        Some(group) if !hands_on => group,
        _ => &parent.owner.group,
    };
    let mut bits = mode.bits(directory);
    if directory && hands_on {
        bits |= SET_GROUP_ID;
    }
    if !directory && bits & SET_GROUP_ID != 0 && !context.may_all && !caller.is_member(group) {
        bits &= !SET_GROUP_ID;
    }
    let user = if caller.is_system() { &parent.owner.user } else { caller.user() };
    Owner { user: user.to_owned(), group: group.clone(), mode: bits }
}

/// The bits that an owner may give: not set-group-id for a group that it is no member of.
pub(super) fn settable_mode(context: &Context, row: &InodeRow, mode: u16) -> u16 {
    let foreign = !context.may_all && !context.caller.is_member(&row.owner.group);
    if foreign { mode & !SET_GROUP_ID } else { mode }
}

/// What the caller may do with an inode, as three bits: by the entry that allows all of `wanted`, where there is one.
///
/// The first class that fits decides: the owner; a user with an entry; a group that is the user's, of several one that allows what is wanted; all
/// others.
/// Users by name and groups have no more than the mask, which is the group's bits.
fn granted(snapshot: &mut dyn Snapshot, context: &Context, inode: InodeId, row: &InodeRow, wanted: u16) -> Step<u16> {
    let (caller, Owner { user, group, mode }) = (&context.caller, &row.owner);
    let owning = caller.is_member(group);
    if caller.user() == user {
        return Ok(mode >> 6 & 7);
    }
    if let Some(class) = rows::acl_of(snapshot, inode, row)?.access {
        let wanted = (wanted & 7) as u8;
        let rights = class.rights(caller.user(), owning, |group| caller.is_member(group), wanted);
        return Ok(rights.map_or(mode & 7, |rights| u16::from(rights) & mode >> 3 & 7));
    }
    Ok(if owning { mode >> 3 & 7 } else { mode & 7 })
}

fn refuse(context: &Context, missing: &str, shown: &str, row: &InodeRow) -> Error {
    let Owner { user, group, mode } = &row.owner;
    let caller = context.caller.user();
    Error::new(
        ErrorKind::PermissionDenied,
        format!("user {caller} lacks {missing} on {shown}, which is {user}:{group} with mode {mode:04o}"),
    )
}

fn parent_of(path: &DfsPath) -> String {
    path.parent().map_or_else(|| path.to_string(), |parent| parent.to_string())
}

fn first_names(path: &DfsPath, depth: usize) -> String {
    match depth {
        0 => "/".to_owned(),
        _ => paths::prefix(path, depth - 1),
    }
}
