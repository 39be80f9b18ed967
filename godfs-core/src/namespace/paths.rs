//! From paths to inodes and back.

use super::rows::{self, EntryKind, EntryRow};
use super::{Context, access, links};
use crate::error::{Error, ErrorKind};
use crate::id::InodeId;
use crate::metadata::{Snapshot, Step};
use crate::path::{DfsPath, MAX_DEPTH};

/// No chain of parents is longer: one that is was damaged. Deeper trees than [`MAX_DEPTH`](crate::path::MAX_DEPTH) come of
/// renames of deep directories into deep directories.
const MAX_CHAIN: usize = 1 << 20;

/// A name in a directory that exists, whether or not anything stands there.
#[derive(Clone, Debug)]
pub(super) struct Place<'p> {
    /// From the root to the directory that holds the name.
    pub(super) ancestors: Vec<InodeId>,
    pub(super) name: &'p str,
    pub(super) entry: Option<EntryRow>,
}

impl Place<'_> {
    pub(super) fn parent(&self) -> InodeId {
        *self.ancestors.last().expect("the root at least")
    }
}

/// The place that `path` names. Everything in front of it must exist, and the caller may go through it. What stands there is not followed, should
/// it be a symbolic link.
pub(super) fn place<'p>(snapshot: &mut dyn Snapshot, context: &Context, path: &'p DfsPath) -> Step<Place<'p>> {
    let Some(name) = path.name() else {
        return Err(Error::new(ErrorKind::InvalidArgument, "/ can be neither made, renamed nor deleted").into());
    };
    let (ancestors, missing) = above(snapshot, context, path)?;
    if let Some(depth) = missing {
        return Err(no_directory(path, depth).into());
    }
    let entry = rows::entry(snapshot, *ancestors.last().expect("the root at least"), name)?;
    Ok(Place { ancestors, name, entry })
}

/// The same where directories in front of it may be missing: the place is in the last of those that are there, and nothing stands in it.
pub(super) fn place_below<'p>(snapshot: &mut dyn Snapshot, context: &Context, path: &'p DfsPath) -> Step<Place<'p>> {
    match above(snapshot, context, path)? {
        (ancestors, Some(_)) => Ok(Place { ancestors, name: path.name().unwrap_or_default(), entry: None }),
        _ => place(snapshot, context, path),
    }
}

/// The directories above `path` that are there, which the caller may go through; and which of its names the first is that is missing.
fn above(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<(Vec<InodeId>, Option<usize>)> {
    let mut ancestors = vec![InodeId::ROOT];
    let above = path.names().count().saturating_sub(1);
    for (depth, step) in path.names().take(above).enumerate() {
        let parent = *ancestors.last().expect("the root at least");
        access::traverse(snapshot, context, parent, path, depth)?;
        match rows::entry(snapshot, parent, step)? {
            Some(EntryRow { inode, kind: EntryKind::Directory }) => ancestors.push(inode),
            Some(EntryRow { inode, kind: EntryKind::Symlink }) => {
                return links::followed(snapshot, &first_names(path, depth), inode);
            }
            Some(_) => return Err(not_a_directory(path, depth).into()),
            None => return Ok((ancestors, Some(depth))),
        }
    }
    access::traverse(snapshot, context, *ancestors.last().expect("the root at least"), path, above)?;
    Ok((ancestors, None))
}

/// What stands at `path`, which must be no symbolic link.
pub(super) fn find(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<InodeId> {
    match find_entry(snapshot, context, path)? {
        EntryRow { inode, kind: EntryKind::Symlink } => links::followed(snapshot, path, inode),
        EntryRow { inode, .. } => Ok(inode),
    }
}

/// What stands at `path`: a symbolic link itself, not where it leads.
pub(super) fn find_entry(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<EntryRow> {
    if path.is_root() {
        return Ok(EntryRow { inode: InodeId::ROOT, kind: EntryKind::Directory });
    }
    Ok(place(snapshot, context, path)?.entry.ok_or_else(|| not_found(path))?)
}

/// What stands at `path`, which must be a file, and the directories above it.
pub(super) fn find_file(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    path: &DfsPath,
) -> Step<(InodeId, Vec<InodeId>)> {
    if path.is_root() {
        return Err(is_a_directory(path).into());
    }
    let place = place(snapshot, context, path)?;
    match place.entry {
        Some(EntryRow { inode, kind: EntryKind::File }) => Ok((inode, place.ancestors)),
        Some(EntryRow { inode, kind: EntryKind::Symlink }) => links::followed(snapshot, path, inode),
        Some(_) => Err(is_a_directory(path).into()),
        None => Err(not_found(path).into()),
    }
}

/// The directories from the root to `directory`; `None` when it no longer hangs on the root.
pub(super) fn chain(snapshot: &mut dyn Snapshot, directory: InodeId) -> Step<Option<Vec<InodeId>>> {
    Ok(named_chain(snapshot, directory)?.map(|(chain, _)| chain))
}

/// The same with their names; the root has none.
pub(super) fn named_chain(
    snapshot: &mut dyn Snapshot,
    directory: InodeId,
) -> Step<Option<(Vec<InodeId>, Vec<String>)>> {
    let (mut chain, mut names) = (vec![directory], Vec::new());
    let mut at = directory;
    while at != InodeId::ROOT {
        match rows::find_inode(snapshot, at)? {
            Some(row) if row.parent.0 != 0 => {
                at = row.parent;
                names.push(row.name);
            }
            _ => return Ok(None),
        }
        chain.push(at);
        if chain.len() > MAX_CHAIN {
            return Err(
                Error::new(ErrorKind::Corrupt, format!("metadata: inode {directory} is its own ancestor")).into()
            );
        }
    }
    chain.reverse();
    names.reverse();
    Ok(Some((chain, names)))
}

/// The directories of `path` that are there, from the root down, and their names; the root has none.
pub(super) fn nearest(snapshot: &mut dyn Snapshot, path: &DfsPath) -> Step<(Vec<InodeId>, Vec<String>)> {
    let (mut chain, mut names) = (vec![InodeId::ROOT], Vec::new());
    let above = path.names().count().saturating_sub(1);
    for name in path.names().take(above) {
        let parent = *chain.last().expect("the root at least");
        match rows::entry(snapshot, parent, name)? {
            Some(EntryRow { inode, kind: EntryKind::Directory }) => chain.push(inode),
            _ => break,
        }
        names.push(name.to_owned());
    }
    Ok((chain, names))
}

/// The path of these names, or of as many of them as can be one.
pub(super) fn of_names<'n>(names: impl Iterator<Item = &'n String>) -> DfsPath {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let parse = |names: &[&str]| DfsPath::parse(&format!("/{}", names.join("/"))).ok();
    let bounded = names.len().min(MAX_DEPTH);
    // Seldom more than one: only renames of deep directories make paths that are too long.
    (0..=bounded).rev().find_map(|count| parse(&names[..count])).unwrap_or_else(DfsPath::root)
}

/// The path of an inode, or `None` when it has none: it is detached, not published yet, or its path is too long.
pub(super) fn path_of(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Option<DfsPath>> {
    let mut names = Vec::new();
    let mut at = inode;
    while at != InodeId::ROOT {
        match rows::find_inode(snapshot, at)? {
            Some(row) if row.parent.0 != 0 && !row.is_hidden() => {
                names.push(row.name);
                at = row.parent;
            }
            _ => return Ok(None),
        }
        if names.len() > crate::path::MAX_DEPTH {
            return Ok(None);
        }
    }
    names.reverse();
    Ok(DfsPath::parse(&format!("/{}", names.join("/"))).ok())
}

/// How messages name an inode whose path the caller did not give.
pub(super) fn shown(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<String> {
    Ok(match path_of(snapshot, inode)? {
        Some(path) => path.to_string(),
        None => format!("inode {inode}"),
    })
}

pub(super) fn not_found(path: &DfsPath) -> Error {
    Error::new(ErrorKind::NotFound, format!("{path} does not exist"))
}

pub(super) fn is_a_directory(path: &DfsPath) -> Error {
    Error::new(ErrorKind::IsADirectory, format!("{path} is a directory, a file is needed"))
}

fn no_directory(path: &DfsPath, depth: usize) -> Error {
    let directory = prefix(path, depth);
    Error::new(ErrorKind::NotFound, format!("{path}: the directory {directory} does not exist; make it first"))
}

pub(super) fn not_a_directory(path: &DfsPath, depth: usize) -> Error {
    let file = prefix(path, depth);
    Error::new(ErrorKind::NotADirectory, format!("{path}: {file} is a file, not a directory"))
}

/// The path of the first `depth + 1` names.
pub(super) fn first_names(path: &DfsPath, depth: usize) -> DfsPath {
    DfsPath::parse(&prefix(path, depth)).expect("the first names of a path are one")
}

/// The first `depth + 1` names.
pub(super) fn prefix(path: &DfsPath, depth: usize) -> String {
    path.names().take(depth + 1).fold(String::new(), |path, name| path + "/" + name)
}
