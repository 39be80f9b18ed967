//! Reading: status, entries, and where bytes are.

use std::ops::Bound;

use bytes::Bytes;

use super::MAX_PAGE;
use super::answers::{ChunkInfo, ChunkLocation, FileKind, FileStatus, ListEntry, Located, ReplicaPlace, Usage};
use super::options::{FileRef, LocateRange};
use super::rows::{self, ChunkRow, ChunkState, EntryRow, FileRow, InodeKind, InodeRow, keys};
use super::{Context, access, paths, usage};
use crate::chunk::ReplicaState;
use crate::error::{Error, ErrorKind};
use crate::id::{ChunkId, InodeId};
use crate::metadata::{Range, Snapshot, Space, Step};
use crate::path::{DfsPath, MAX_NAME_BYTES};

pub(super) fn stat(snapshot: &mut dyn Snapshot, context: &Context, file: &FileRef) -> Step<FileStatus> {
    let (inode, row) = resolve(snapshot, context, file, Detached::Refuse)?;
    Ok(status(inode, row))
}

/// The status of what stands at a path: of a symbolic link itself.
pub(super) fn lstat(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<FileStatus> {
    let inode = paths::find_entry(snapshot, context, path)?.inode;
    let row = rows::inode(snapshot, inode)?;
    Ok(status(inode, row))
}

/// The entries after a name, in the order of their names' bytes; fewer than `limit` only at the end.
pub(super) fn list(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    path: &DfsPath,
    after: &str,
    limit: usize,
) -> Step<Vec<ListEntry>> {
    if after.len() > MAX_NAME_BYTES {
        let message =
            format!("a listing of {path} after a name of {} bytes; names have at most {MAX_NAME_BYTES}", after.len());
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    let directory = paths::find(snapshot, context, path)?;
    let row = rows::inode(snapshot, directory)?;
    if !matches!(row.kind, InodeKind::Directory { .. }) {
        return Err(Error::new(ErrorKind::NotADirectory, format!("{path} is a file, it has no entries")).into());
    }
    access::need(snapshot, context, directory, &row, access::LIST, || path.to_string())?;
    let prefix = keys::entries(directory);
    let range = Range::prefix_after(&prefix, &keys::entry(directory, after), limit.clamp(1, MAX_PAGE));
    let found = snapshot.scan(Space::Rows, &range)?;
    let mut entries = Vec::with_capacity(found.len());
    for (key, value) in &found {
        let mut key = keys::KeyReader::new(key)?;
        key.u64()?;
        entries.push((key.text()?, EntryRow::decode(value)?.inode));
    }
    let mut known = inodes(snapshot, entries.iter().map(|(_, inode)| *inode).collect())?;
    let mut list = Vec::with_capacity(entries.len());
    for (name, inode) in entries {
        let status = match known.take(inode) {
            Some(status) => status,
            None => self::status(inode, rows::inode(snapshot, inode)?),
        };
        list.push(ListEntry { name: name.to_owned(), status });
    }
    Ok(list)
}

/// What one scan found, in the order of inodes.
pub(super) struct Scanned(Vec<(InodeId, Option<FileStatus>)>);

impl Scanned {
    pub(super) fn take(&mut self, inode: InodeId) -> Option<FileStatus> {
        let at = self.0.binary_search_by_key(&inode, |found| found.0).ok()?;
        self.0[at].1.take()
    }
}

/// Many inodes. Those of files that were made together lie together, and one scan brings them for a fraction of what as
/// many reads cost. Some may be left out.
pub(super) fn inodes(snapshot: &mut dyn Snapshot, mut wanted: Vec<InodeId>) -> Step<Scanned> {
    /// Up to this many ids for each that is wanted, a scan is cheaper.
    const SPREAD: u64 = 3;
    wanted.sort_unstable();
    let mut found = Scanned(Vec::new());
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(found) };
    let between = last.0 - first.0 + 1;
    if wanted.len() < 2 || between > SPREAD * wanted.len() as u64 {
        let keys: Vec<Vec<u8>> = wanted.iter().map(|inode| keys::inode(*inode)).collect();
        snapshot.prefetch(Space::Rows, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
        return Ok(found);
    }
    let range = Range {
        start: Bound::Included(keys::inode(*first).into()),
        end: Bound::Included(keys::inode(*last).into()),
        reverse: false,
        limit: usize::try_from(between).unwrap_or(usize::MAX),
    };
    found.0.reserve(wanted.len());
    let mut wanted = wanted.into_iter().peekable();
    for (key, value) in snapshot.scan(Space::Rows, &range)? {
        let inode = InodeId(keys::KeyReader::new(&key)?.u64()?);
        while wanted.next_if(|next| *next < inode).is_some() {}
        if wanted.next_if_eq(&inode).is_some() {
            found.0.push((inode, Some(status(inode, InodeRow::decode(&value)?))));
        }
    }
    Ok(found)
}

/// A file's status, its bytes if it is small, and its chunks in a range.
pub(super) fn locate(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    file: &FileRef,
    range: &LocateRange,
) -> Step<Located> {
    let (inode, row) = resolve(snapshot, context, file, Detached::Read)?;
    let Some(facts) = row.file().cloned() else {
        let shown = match file {
            FileRef::Path(path) => path.to_string(),
            FileRef::Inode(inode) => paths::shown(snapshot, *inode)?,
        };
        let (kind, what) = match row.kind {
            InodeKind::Symlink(_) => (ErrorKind::InvalidArgument, "symbolic link"),
            _ => (ErrorKind::IsADirectory, "directory"),
        };
        return Err(Error::new(kind, format!("{shown} is a {what}, it has no bytes")).into());
    };
    // A writer looks up the nodes of its own file, whatever its mode, and who may write to one looks up those of its chunks while they change.
    let owner = row.owner.user == context.caller.user();
    let writes =
        facts.open.is_some() && (owner || !facts.small && access::has(snapshot, context, inode, &row, access::WRITE)?);
    if !context.may_all && !writes {
        let shown = match file {
            FileRef::Path(path) => path.to_string(),
            FileRef::Inode(inode) => paths::shown(snapshot, *inode)?,
        };
        access::need(snapshot, context, inode, &row, access::READ, || shown)?;
    }
    let data = if facts.small {
        let data = snapshot.get(Space::Data, &keys::data(inode))?;
        data.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("metadata: the bytes of inode {inode} are missing")))?
    } else {
        Bytes::new()
    };
    let (chunks, more) = if facts.has_chunks() { chunks(snapshot, inode, &facts, range)? } else { (Vec::new(), false) };
    Ok(Located { status: status(inode, row), data, chunks, more })
}

/// All below a path; a symbolic link itself.
pub(super) fn usage(snapshot: &mut dyn Snapshot, context: &Context, path: &DfsPath) -> Step<Usage> {
    let inode = paths::find_entry(snapshot, context, path)?.inode;
    let row = rows::inode(snapshot, inode)?;
    if matches!(row.kind, InodeKind::Directory { .. }) {
        access::need(snapshot, context, inode, &row, access::LIST, || path.to_string())?;
    }
    Ok(usage::answer(match row.kind {
        InodeKind::Directory { .. } => usage::of_directory(snapshot, inode)?,
        InodeKind::File(_) | InodeKind::Symlink(_) => usage::weight(&row),
    }))
}

pub(super) fn chunk_info(chunk: ChunkId, row: &ChunkRow) -> ChunkInfo {
    let place = |node, state, corrupt| ReplicaPlace { node, state, corrupt };
    ChunkInfo {
        chunk,
        version: row.version,
        leaving: row.leaving.clone(),
        left_out: row.left_out.clone(),
        inode: row.inode,
        generation: row.generation,
        issued: row.issued,
        length: row.length,
        target: row.target,
        open: row.is_open(),
        replicas: match &row.state {
            ChunkState::Open(nodes) => nodes.iter().map(|&node| place(node, ReplicaState::Rbw, false)).collect(),
            ChunkState::Committed(replicas) => {
                replicas.iter().map(|replica| place(replica.node, ReplicaState::Finalized, replica.corrupt)).collect()
            }
        },
    }
}

/// What becomes of a call for what was deleted and is not collected yet, by a user who neither owns it nor may do everything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detached {
    /// There is nothing any more.
    Refuse,
    /// Who has it open reads on.
    Read,
}

fn resolve(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    file: &FileRef,
    detached: Detached,
) -> Step<(InodeId, InodeRow)> {
    match file {
        FileRef::Path(path) => {
            let inode = paths::find(snapshot, context, path)?;
            Ok((inode, rows::inode(snapshot, inode)?))
        }
        FileRef::Inode(inode) => match rows::find_inode(snapshot, *inode)? {
            Some(row) if access::reach(snapshot, context, &row)? || detached == Detached::Read => Ok((*inode, row)),
            _ => Err(Error::new(ErrorKind::NotFound, format!("inode {inode} does not exist")).into()),
        },
    }
}

pub(super) fn status(inode: InodeId, row: InodeRow) -> FileStatus {
    let file = row.file();
    FileStatus {
        inode,
        kind: match row.kind {
            InodeKind::File(_) => FileKind::File,
            InodeKind::Directory { .. } => FileKind::Directory,
            InodeKind::Symlink(_) => FileKind::Symlink,
        },
        length: file.map_or(0, |file| file.length),
        replication: file.map_or(0, |file| file.replication),
        chunk_size: file.map_or(0, |file| file.chunk_size),
        open: file.is_some_and(|file| file.open.is_some()),
        small: file.is_some_and(|file| file.small),
        modified_ms: row.modified_ms,
        accessed_ms: row.accessed_ms,
        version: row.version,
        acl: row.marks.acl,
        target: match row.kind {
            InodeKind::Symlink(target) => Some(target),
            _ => None,
        },
        owner: row.owner,
    }
}

/// The chunks that overlap a range, and whether there are more.
fn chunks(
    snapshot: &mut dyn Snapshot,
    inode: InodeId,
    file: &FileRow,
    range: &LocateRange,
) -> Step<(Vec<ChunkLocation>, bool)> {
    let is_open =
        |at| file.open.as_ref().is_some_and(|open| !open.cut && open.chunks.iter().any(|(start, _)| *start == at));
    let limit = range.chunks.min(MAX_PAGE);
    let end = range.offset.saturating_add(range.length);
    let prefix = keys::extents(inode);
    // The chunk that holds the offset begins at it or before.
    let before = Range {
        end: Bound::Included(keys::extent(inode, range.offset).into()),
        ..Range::prefix(&prefix, 1).reversed()
    };
    let first = rows::extents(snapshot, &before)?;
    let rest = Range::prefix_after(&prefix, &keys::extent(inode, range.offset), limit + 1);
    let mut extents: Vec<_> = first
        .into_iter()
        // An open chunk has no end yet.
        .filter(|(start, extent)| is_open(*start) || start + extent.length > range.offset)
        .chain(rows::extents(snapshot, &rest)?)
        .filter(|(start, _)| *start < end)
        .collect();
    let more = extents.len() > limit;
    extents.truncate(limit);
    let keys: Vec<Vec<u8>> = extents.iter().map(|(_, extent)| keys::chunk(extent.chunk)).collect();
    snapshot.prefetch(Space::Rows, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut chunks = Vec::with_capacity(extents.len());
    for (offset, extent) in extents {
        let row = rows::chunk(snapshot, extent.chunk)?;
        let mut info = chunk_info(extent.chunk, &row);
        if info.open && file.open.as_ref().is_some_and(|open| open.cut) {
            // Its nodes may still show more; what counts is there, and no longer changes.
            info.open = false;
            info.replicas.iter_mut().for_each(|place| place.state = ReplicaState::Finalized);
        }
        chunks.push(ChunkLocation { offset, info });
    }
    Ok((chunks, more))
}
