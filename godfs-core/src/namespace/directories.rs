//! Making directories.

use super::Context;
use super::changes::{ChangeKind, announce};
use super::options::{Call, MODE_BITS, MkdirOptions, NewMode};
use super::outcome::Operation;
use super::paths::{self, Place};
use super::rows::{self, EntryKind, EntryRow, InodeKind, InodeRow, Marks, Reach, Series};
use super::sessions::{Recorded, once};
use super::{access, limits, links, reach, sums, usage};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InodeId, Version};
use crate::metadata::{Counters, MAX_TRANSACTION_BYTES, Step, Transaction};
use crate::path::DfsPath;

/// The paths of directories that are made on the way to one: a quarter of what a transaction may hold, so that the rows fit as well.
const MAX_CHAIN_BYTES: usize = MAX_TRANSACTION_BYTES / 4;

pub(super) fn mkdir(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    options: &MkdirOptions,
) -> Step<(InodeId, Option<Version>)> {
    check_mode(options.mode)?;
    once(txn, context, call, Operation::Mkdir, |txn| {
        if path.is_root() && options.parents {
            return Ok(Recorded::No(InodeId::ROOT));
        }
        if options.parents {
            make_parents(txn, context, path)?;
        }
        let place = paths::place(txn, context, path)?;
        match place.entry {
            Some(EntryRow { inode, kind: EntryKind::Directory }) if options.parents => Ok(Recorded::No(inode)),
            Some(EntryRow { inode, kind: EntryKind::Symlink }) if options.parents => links::followed(txn, path, inode),
            Some(_) => Err(already_exists(path).into()),
            None => {
                access::may_add(txn, context, &place, path)?;
                Ok(Recorded::Yes(make(txn, context, &place.ancestors, path, options.mode)?))
            }
        }
    })
}

/// Makes the directories above `path` that are missing.
pub(super) fn make_parents(txn: &mut dyn Transaction, context: &Context, path: &DfsPath) -> Step<()> {
    let above = path.names().count().saturating_sub(1);
    let mut ancestors = vec![InodeId::ROOT];
    for (depth, name) in path.names().take(above).enumerate() {
        let parent = *ancestors.last().expect("the root at least");
        access::traverse(txn, context, parent, path, depth)?;
        match rows::entry(txn, parent, name)? {
            Some(EntryRow { inode, kind: EntryKind::Directory }) => ancestors.push(inode),
            Some(EntryRow { inode, kind: EntryKind::Symlink }) => {
                return links::followed(txn, &paths::first_names(path, depth), inode);
            }
            Some(_) => return Err(paths::not_a_directory(path, depth).into()),
            None => return make_chain(txn, context, path, ancestors),
        }
    }
    Ok(())
}

/// Makes the directories above `path` that come after `ancestors`, each in the one before. None of them exists. What lies below each is added up
/// first: the cost grows with the names, not with their square.
fn make_chain(txn: &mut dyn Transaction, context: &Context, path: &DfsPath, mut ancestors: Vec<InodeId>) -> Step<()> {
    /// Who makes a directory on the way makes the next one in it.
    const OWNER_GOES_ON: u16 = 0o300;
    let (first, above) = (ancestors.len() - 1, path.names().count() - 1);
    check_chain(path, first, above)?;
    // Each reaches to the last.
    let mut reach = path.names().take(above).skip(first).fold(Reach::default(), Reach::with);
    let mut directory = match first {
        0 => DfsPath::root(),
        _ => paths::first_names(path, first - 1),
    };
    for (depth, name) in path.names().enumerate().take(above).skip(first) {
        let parent = *ancestors.last().expect("the root at least");
        access::may_add_in(txn, context, parent, path, depth)?;
        directory = directory.join(name)?;
        reach = reach.without(name);
        let new = New { mode: NewMode::default(), besides: OWNER_GOES_ON, reach };
        ancestors.push(make_unweighed(txn, context, parent, &directory, new)?);
    }
    let (existing, made) = ancestors.split_at(first + 1);
    if let Some(name) = path.names().nth(first) {
        let all = path.names().take(above).skip(first + 1).fold(Reach::default(), Reach::with);
        reach::raise(txn, existing, name, all)?;
    }
    usage::add(txn, existing, directories(made.len()))?;
    for (below, directory) in made.iter().rev().enumerate() {
        usage::add(txn, &[*directory], directories(below))?;
    }
    Ok(())
}

/// The weight of some directories.
fn directories(count: usize) -> Counters {
    Counters([0, 0, count.cast_signed() as i64, 0])
}

/// Each directory is announced by its path: how many bytes that comes to grows with the square of the names.
fn check_chain(path: &DfsPath, first: usize, above: usize) -> Result<()> {
    let (mut prefix, mut sum) = (0, 0_usize);
    for (depth, name) in path.names().take(above).enumerate() {
        prefix += 1 + name.len();
        if depth >= first {
            sum += prefix;
        }
    }
    if sum <= MAX_CHAIN_BYTES {
        return Ok(());
    }
    let message = format!(
        "{} directories are missing, the paths of which have {sum} bytes, the limit is {MAX_CHAIN_BYTES}: make some of them first, above {path}",
        above - first
    );
    Err(Error::new(ErrorKind::LimitExceeded, message))
}

/// Makes one directory at `path`, in the last of `ancestors`, where nothing stands.
fn make(
    txn: &mut dyn Transaction,
    context: &Context,
    ancestors: &[InodeId],
    path: &DfsPath,
    mode: NewMode,
) -> Step<InodeId> {
    usage::add(txn, ancestors, directories(1))?;
    let parent = *ancestors.last().expect("the root at least");
    let made = make_unweighed(txn, context, parent, path, New { mode, besides: 0, reach: Reach::default() })?;
    reach::raise(txn, ancestors, path.name().expect("not the root"), Reach::default())?;
    Ok(made)
}

/// A directory to be made.
struct New {
    mode: NewMode,
    /// Bits that it has in any case.
    besides: u16,
    /// How far those go that are made in it next.
    reach: Reach,
}

/// The same, without a word to the directories above its parent.
fn make_unweighed(
    txn: &mut dyn Transaction,
    context: &Context,
    parent: InodeId,
    path: &DfsPath,
    New { mode, besides, reach }: New,
) -> Step<InodeId> {
    let inode = InodeId(rows::draw_ids(txn, Series::Names, 1)?);
    let name = path.name().expect("not the root");
    let above = rows::inode(txn, parent)?;
    let (mut owner, acl) = access::new_attributes(txn, context, parent, &above, mode, true)?;
    owner.mode |= besides;
    let mut row = InodeRow {
        version: Version::PENDING,
        parent,
        name: name.to_owned(),
        modified_ms: context.now_ms,
        accessed_ms: context.now_ms,
        owner,
        marks: Marks::default(),
        kind: InodeKind::Directory { entries: 0, reach },
    };
    rows::put_acl(txn, inode, &mut row, &acl);
    rows::put_entry(txn, parent, name, EntryRow { inode, kind: row.entry_kind() });
    touch(txn, context, parent, 1)?;
    rows::put_inode(txn, inode, &row);
    announce(txn, context, inode, row.entry_kind(), path, &ChangeKind::MadeDirectory);
    Ok(inode)
}

/// Gives `inode` a name, under which nothing stands (any more: what it replaced, if it did, weighed `replaced`), and lets the directories above know. The inode's own row, which must say
/// the same, is the caller's to write.
pub(super) fn link(
    txn: &mut dyn Transaction,
    context: &Context,
    ancestors: &[InodeId],
    name: &str,
    inode: InodeId,
    row: &InodeRow,
    replaced: Option<Counters>,
) -> Step<()> {
    let parent = *ancestors.last().expect("the root at least");
    rows::put_entry(txn, parent, name, EntryRow { inode, kind: row.entry_kind() });
    let gone = replaced.unwrap_or_default();
    usage::add(txn, ancestors, sums::minus(usage::weight(row), gone))?;
    if let Some(reach) = reach::of(row) {
        reach::raise(txn, ancestors, name, reach)?;
    }
    touch(txn, context, parent, i64::from(replaced.is_none()))
}

/// A directory's entries have changed; it has so many more.
pub(super) fn touch(txn: &mut dyn Transaction, context: &Context, directory: InodeId, more: i64) -> Step<()> {
    let mut row = rows::inode(txn, directory)?;
    if let InodeKind::Directory { entries, reach } = &mut row.kind {
        *entries = entries.wrapping_add_signed(more);
        if *entries == 0 {
            *reach = Reach::default();
        }
        if more > 0 {
            limits::check_entries(context, *entries, || paths::shown(txn, directory))?;
        }
    }
    row.modified_ms = row.modified_ms.max(context.now_ms);
    rows::put_inode(txn, directory, &row);
    Ok(())
}

/// What may stand in the way of a new name.
pub(super) fn check_free(place: &Place<'_>, path: &DfsPath) -> Result<()> {
    match place.entry {
        Some(_) => Err(already_exists(path)),
        None => Ok(()),
    }
}

pub(super) fn check_mode(mode: NewMode) -> Result<()> {
    check_bits(mode.mode.unwrap_or(0)).and_then(|()| check_bits(mode.umask))
}

/// Whether there is a meaning to every bit.
pub(super) fn check_bits(mode: u16) -> Result<()> {
    if mode <= MODE_BITS {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidArgument, format!("mode {mode:o} has bits beyond {MODE_BITS:o}")))
}

pub(super) fn already_exists(path: &DfsPath) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{path} exists already"))
}
