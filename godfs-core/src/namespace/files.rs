//! The life of a file from its creation to its closing.

use bytes::Bytes;

use std::ops::Bound;

use super::answers::{AddedChunk, Completion, Created, CreatedWithChunk};
use super::changes::{ChangeKind, announce};
use super::leases::{self, OpenFile};
use super::options::{AddChunk, Call, ChunkCommit, Complete, CreateOptions, ETag, Writing};
use super::outcome::Operation;
use super::rows::{
    self, ChunkRow, ChunkState, EntryKind, EntryRow, ExtentRow, FileRow, Hidden, InodeKind, InodeRow, LeaseRow, Marks,
    OpenState, ReplicaRow, Series, keys,
};
use super::sessions::{Recorded, once};
use super::settings::{MAX_OPEN_CHUNKS, check_chunk_size, check_replication};
use super::{
    Context, access, deletes, directories, generations, limits, links, locations, paths, quotas, usage, xattrs,
};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation, InodeId, LeaseId, NodeId, Version};
use crate::metadata::{Range, Space, Step, Transaction};
use crate::path::DfsPath;

/// The longest file, bytes: so that sums over very many of them, times their replication, stay within 63 bits.
pub const MAX_FILE_BYTES: u64 = 1 << 50;
/// Close asks for this many replicas of each chunk, where the file wants as many and there are as many nodes.
const CLOSE_REPLICAS: u64 = 2;
/// Chunks that one attempt to close looks at: some 20 ms of the committing thread.
const LOOKED_AT: usize = 4_000;

/// Creates a file and gives the caller its lease.
pub(super) fn create(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    options: &CreateOptions,
) -> Step<(Created, Option<Version>)> {
    once(txn, context, call, Operation::Create, |txn| begin(txn, context, call, path, options, None).map(Recorded::Yes))
}

/// Creates a file together with its first chunk, which goes to `nodes`: one call where there would be two. Without a chunk where there are no nodes.
pub(super) fn create_with_chunk(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    options: &CreateOptions,
    nodes: &[NodeId],
) -> Step<(CreatedWithChunk, Option<Version>)> {
    once(txn, context, call, Operation::Create, |txn| {
        if nodes.is_empty() {
            let file = begin(txn, context, call, path, options, None)?;
            return Ok(Recorded::Yes(CreatedWithChunk { file, chunk: None }));
        }
        limits::check_chunks(context, 1, || Ok(path.to_string()))?;
        let chunk = ChunkId(rows::draw_ids(txn, Series::Chunks, 1)?);
        let file = begin(txn, context, call, path, options, Some(chunk))?;
        let nodes = nodes.iter().copied().take(usize::from(file.replication)).collect();
        let added = put_open_chunk(txn, file.inode, 0, chunk, file.replication, nodes)?;
        Ok(Recorded::Yes(CreatedWithChunk { file, chunk: Some(added) }))
    })
}

/// Makes an open file, whose row names its first chunk, if it is to have one at once.
fn begin(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    options: &CreateOptions,
    chunk: Option<ChunkId>,
) -> Step<Created> {
    let first = rows::draw_ids(txn, Series::Names, 2)?;
    let (inode, lease) = (InodeId(first), LeaseId(first + 1));
    let hidden = options.publish_on_close.then(|| Hidden {
        overwrite: options.overwrite,
        if_match: options.if_match,
        place: options.parents.then(|| path.clone()),
    });
    let row = new_file(txn, context, path, options, inode, |file| {
        let mut open = OpenState { lease, hidden, thin: None, cut: false, chunks: Vec::new(), end: 0 };
        if let Some(chunk) = chunk {
            open.chunks.push((0, chunk));
            open.end = file.chunk_size;
            file.chunks = 1;
        }
        file.open = Some(open);
    })?;
    rows::put_lease(txn, lease, LeaseRow { session: call.session, inode });
    let FileRow { replication, chunk_size, .. } = *row.file().expect("just made");
    Ok(Created { inode, lease, replication, chunk_size })
}

/// Creates a whole small file.
pub(super) fn put(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    options: &CreateOptions,
    data: &Bytes,
) -> Step<(InodeId, Option<Version>)> {
    check_small(context, path, data)?;
    once(txn, context, call, Operation::Put, |txn| {
        let inode = InodeId(rows::draw_ids(txn, Series::Names, 1)?);
        new_file(txn, context, path, options, inode, |file| {
            file.small = !data.is_empty();
            file.length = data.len() as u64;
        })?;
        if !data.is_empty() {
            rows::put_data(txn, inode, data);
        }
        Ok(Recorded::Yes(inode))
    })
}

/// Gives an open file its next chunk.
pub(super) fn add_chunk(
    txn: &mut dyn Transaction,
    context: &Context,
    writing: &Writing,
    request: &AddChunk,
) -> Step<(AddedChunk, Option<Version>)> {
    once(txn, context, writing.call, Operation::AddChunk, |txn| {
        let mut file = leases::check(txn, writing)?;
        apply_commits(txn, &mut file, &request.commits)?;
        let chunk_size = file.file().chunk_size;
        // Where the last chunk ends, and whether it is full: one that is open will be.
        let (end, full) = match rows::last_extent(txn, file.inode)? {
            None => (0, true),
            Some((start, _)) if file.open().chunks.last().is_some_and(|open| open.0 == start) => {
                (start + chunk_size, true)
            }
            Some((start, extent)) => (start + extent.length, extent.length == chunk_size),
        };
        if request.start != end || !full {
            let message = format!(
                "{}: the next chunk begins at {end}, once the one before it is full ({chunk_size} bytes); asked for one at {}",
                paths::shown(txn, file.inode)?,
                request.start
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        check_room(txn, context, &mut file, end)?;

        let replication = file.file().replication;
        let nodes: Vec<NodeId> = request.nodes.iter().copied().take(usize::from(replication)).collect();
        if nodes.is_empty() {
            let message = format!("{}: no datanode can take a chunk now", paths::shown(txn, file.inode)?);
            return Err(Error::new(ErrorKind::Unavailable, message).into());
        }
        let chunk = ChunkId(rows::draw_ids(txn, Series::Chunks, 1)?);
        let added = put_open_chunk(txn, file.inode, end, chunk, replication, nodes)?;
        file.open().chunks.push((end, chunk));
        file.open().end = end + chunk_size;
        file.file().chunks += 1;
        file.save(txn)?;
        Ok(Recorded::Yes(added))
    })
}

/// Writes a new chunk of a file and its extent; the file's own row is the caller's to write.
fn put_open_chunk(
    txn: &mut dyn Transaction,
    inode: InodeId,
    start: u64,
    chunk: ChunkId,
    replication: u16,
    nodes: Vec<NodeId>,
) -> Step<AddedChunk> {
    locations::check_nodes(txn, &nodes)?;
    let row = ChunkRow {
        version: Version::PENDING,
        inode,
        references: 1,
        generation: FIRST_GENERATION,
        issued: FIRST_GENERATION,
        length: 0,
        target: replication,
        state: ChunkState::Open(nodes.clone()),
        leaving: Vec::new(),
        left_out: Vec::new(),
    };
    rows::chunk::write(txn, chunk, None, Some(&row));
    rows::put_extent(txn, inode, start, ExtentRow { chunk, length: 0 });
    Ok(AddedChunk { chunk, generation: FIRST_GENERATION, nodes })
}

/// The generation of a chunk that is new.
const FIRST_GENERATION: Generation = Generation(1);

/// Takes back the last chunk of a file.
pub(super) fn abandon_chunk(
    txn: &mut dyn Transaction,
    context: &Context,
    writing: &Writing,
    chunk: ChunkId,
) -> Step<((), Option<Version>)> {
    once(txn, context, writing.call, Operation::AbandonChunk, |txn| {
        let mut file = leases::check(txn, writing)?;
        match rows::last_extent(txn, file.inode)? {
            // One that had bytes before its writer came is not the writer's to take back.
            Some((start, extent))
                if extent.chunk == chunk && extent.length == 0 && file.open().chunks.contains(&(start, chunk)) =>
            {
                drop_chunk(txn, &mut file, start, chunk)?;
                file.save(txn)?;
                Ok(Recorded::Yes(()))
            }
            _ => {
                let message = format!(
                    "{}: chunk {chunk} is not the last one, or is finished: it can't be taken back",
                    paths::shown(txn, file.inode)?
                );
                Err(Error::new(ErrorKind::FailedPrecondition, message).into())
            }
        }
    })
}

/// Stores the bytes of an open small file.
pub(super) fn store_small(
    txn: &mut dyn Transaction,
    context: &Context,
    writing: &Writing,
    data: &Bytes,
) -> Step<((), Option<Version>)> {
    once(txn, context, writing.call, Operation::StoreSmall, |txn| {
        let mut file = leases::check(txn, writing)?;
        keep_small(txn, context, &mut file, data)?;
        file.save(txn)?;
        Ok(Recorded::Yes(()))
    })
}

/// Records the last chunks of a file and closes it, if each chunk has enough replicas.
pub(super) fn complete(
    txn: &mut dyn Transaction,
    context: &Context,
    writing: &Writing,
    request: &Complete,
) -> Step<(Completion, Option<Version>)> {
    once(txn, context, writing.call, Operation::Complete, |txn| {
        let mut file = leases::check(txn, writing)?;
        apply_commits(txn, &mut file, &request.commits)?;
        if !request.data.is_empty() {
            keep_small(txn, context, &mut file, &request.data)?;
        }
        if let Some((_, chunk)) = file.open().chunks.first().copied() {
            let message = format!("{}: chunk {chunk} is not finished", paths::shown(txn, file.inode)?);
            return Err(Error::new(ErrorKind::FailedPrecondition, message).into());
        }
        if file.file().length != request.length {
            let message = format!(
                "{}: the writer says the file has {} bytes, its chunks have {}",
                paths::shown(txn, file.inode)?,
                request.length,
                file.file().length
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        if !request.relaxed
            && let Some(from) = file.open().thin
            && let Some(missing) = too_thin(txn, &mut file, from)?
        {
            file.save(txn)?;
            return Ok(Recorded::Yes(Completion::Waiting(missing)));
        }
        close(txn, context, file)?;
        Ok(Recorded::Yes(Completion::Closed))
    })
}

/// Ends the writing of a file whose chunks are all committed, and publishes one that is not yet.
pub(super) fn close(txn: &mut dyn Transaction, context: &Context, mut file: OpenFile) -> Step<()> {
    let path = file.path();
    let open = file.file().open.take().expect("checked when loaded");
    rows::remove_lease(txn, open.lease)?;
    file.row.modified_ms = context.now_ms;
    let length = file.file().length;
    let change = match open.hidden {
        Some(hidden) => {
            publish(txn, context, &mut file, &path, &hidden)?;
            ChangeKind::Created { length: Some(length) }
        }
        None => ChangeKind::Closed { length },
    };
    announce(txn, context, file.inode, EntryKind::File, &path, &change);
    file.save(txn)
}

/// Takes a chunk that is open, or was committed out of turn, out of its file; what nodes have of it is garbage.
pub(super) fn drop_chunk(txn: &mut dyn Transaction, file: &mut OpenFile, start: u64, chunk: ChunkId) -> Step<()> {
    txn.delete(Space::Rows, &keys::extent(file.inode, start));
    file.open().chunks.retain(|open| open.1 != chunk);
    file.file().chunks = file.file().chunks.saturating_sub(1);
    locations::release_chunk(txn, chunk)?;
    set_length(txn, file)
}

/// Turns open chunks into committed ones.
fn apply_commits(txn: &mut dyn Transaction, file: &mut OpenFile, commits: &[ChunkCommit]) -> Step<()> {
    for commit in commits {
        apply_commit(txn, file, commit)?;
    }
    Ok(())
}

fn apply_commit(txn: &mut dyn Transaction, file: &mut OpenFile, commit: &ChunkCommit) -> Step<()> {
    let ChunkCommit { chunk, generation, length, ref nodes } = *commit;
    let before = match rows::find_chunk(txn, chunk)? {
        Some(row) if row.inode == file.inode => row,
        _ => {
            let message = format!("{} has no chunk {chunk}", paths::shown(txn, file.inode)?);
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
    };
    if !before.is_open() && (before.generation, before.length) == (generation, length) {
        // Reported before: a writer may repeat what it is not sure of.
        return Ok(());
    }
    if !before.is_open() || before.issued != generation {
        return Err(fenced(chunk, generation, &before).into());
    }
    let why = if nodes.is_empty() {
        Some("no node".to_owned())
    } else if let Some(node) = nodes.iter().find(|node| !before.pipeline().contains(node)) {
        Some(format!("node {node}, which is not in its pipeline"))
    } else if length == 0 {
        Some("no bytes: take it back instead".to_owned())
    } else {
        None
    };
    if let Some(why) = why {
        return Err(
            Error::new(ErrorKind::InvalidArgument, format!("chunk {chunk} is reported finished with {why}")).into()
        );
    }
    // Nodes that did not acknowledge the last packet may have the whole replica all the same; if so they will say so.
    finish_chunk(txn, file, chunk, &before, &ChunkEnd { generation, length, nodes, others_left_out: false })
}

/// How an open chunk ends.
pub(super) struct ChunkEnd<'a> {
    pub(super) generation: Generation,
    pub(super) length: u64,
    /// The nodes that hold it, finalized.
    pub(super) nodes: &'a [NodeId],
    /// What the rest of the pipeline holds is older than the generation.
    pub(super) others_left_out: bool,
}

/// Commits one open chunk of a file: extent, chunk, locations, and the bytes that lay in the metadata store until now.
pub(super) fn finish_chunk(
    txn: &mut dyn Transaction,
    file: &mut OpenFile,
    chunk: ChunkId,
    before: &ChunkRow,
    end: &ChunkEnd<'_>,
) -> Step<()> {
    let ChunkEnd { generation, length, nodes, others_left_out } = *end;
    let chunk_size = file.file().chunk_size;
    let last = rows::last_extent(txn, file.inode)?;
    let is_last = last.is_some_and(|(_, extent)| extent.chunk == chunk);
    if length > chunk_size || (!is_last && length != chunk_size) {
        let message = format!(
            "{}: chunk {chunk} is reported with {length} bytes; every chunk but the last has exactly {chunk_size}",
            paths::shown(txn, file.inode)?
        );
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    let Some(&(start, _)) = file.open().chunks.iter().find(|open| open.1 == chunk) else {
        return Err(Error::new(ErrorKind::Corrupt, format!("metadata: open chunk {chunk} is not in its file")).into());
    };
    let kept = match start {
        0 if file.file().small => file.file().length,
        _ => before.length,
    };
    if length < kept {
        let message = format!("chunk {chunk} is reported with {length} bytes, {kept} were there before");
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    let mut after =
        ChunkRow { generation, issued: generation, length, state: ChunkState::Committed(vec![]), ..before.clone() };
    for &node in nodes {
        after.set_replica(ReplicaRow { node, generation, length, corrupt: false });
    }
    if others_left_out {
        generations::leave_out(before, &mut after, nodes);
    }
    let needed = needed(txn, file.file().replication)?;
    if after.good() < needed {
        let open = file.open();
        open.thin = Some(open.thin.map_or(start, |first| first.min(start)));
    }
    locations::settle(txn, chunk, before, after)?;
    rows::put_extent(txn, file.inode, start, ExtentRow { chunk, length });
    file.open().chunks.retain(|open| open.1 != chunk);
    if start == 0 && file.file().small {
        txn.delete(Space::Data, &keys::data(file.inode));
        file.file().small = false;
    }
    set_length(txn, file)
}

/// What the file says of its chunks. Its length: the bytes in front of the first open chunk, and those that it had before; while the bytes of the first
/// chunk still lie in the metadata store, those. And where it ends at the latest.
fn set_length(txn: &mut dyn Transaction, file: &mut OpenFile) -> Step<()> {
    let last = rows::last_extent(txn, file.inode)?;
    let chunk_size = file.file().chunk_size;
    let (first_open, last_open) = (file.open().chunks.first().copied(), file.open().chunks.last().copied());
    file.open().end = match (last_open, last) {
        (None, _) | (_, None) => 0,
        (Some((open, _)), Some((start, _))) if open == start => start + chunk_size,
        (Some(_), Some((start, extent))) => start + extent.length,
    };
    if !file.file().small {
        file.file().length = match (first_open, last) {
            (Some((start, chunk)), _) => start + rows::chunk(txn, chunk)?.length,
            (None, last) => last.map_or(0, |(start, extent)| start + extent.length),
        };
    }
    Ok(())
}

/// How many replicas close asks for.
fn needed(txn: &mut dyn Transaction, replication: u16) -> Step<usize> {
    let needed = CLOSE_REPLICAS.min(u64::from(replication)).min(rows::registered_nodes(txn)?);
    Ok(needed as usize)
}

/// What is missing for closing, from the chunk at `from` on: all before has enough replicas. Looks at a bounded number of chunks, and remembers how far it
/// came.
fn too_thin(txn: &mut dyn Transaction, file: &mut OpenFile, from: u64) -> Step<Option<String>> {
    let needed = needed(txn, file.file().replication)?;
    let prefix = keys::extents(file.inode);
    let mut range = Range::prefix(&prefix, LOOKED_AT);
    range.start = Bound::Included(keys::extent(file.inode, from).into());
    let extents = rows::extents(txn, &range)?;
    for (start, extent) in &extents {
        let good = rows::chunk(txn, extent.chunk)?.good();
        if good < needed {
            file.open().thin = Some(*start);
            return Ok(Some(format!("chunk {} has {good} of {needed} replicas", extent.chunk)));
        }
    }
    match extents.last() {
        Some(&(start, extent)) if extents.len() == LOOKED_AT => {
            let next = start + extent.length;
            file.open().thin = Some(next);
            Ok(Some(format!("the chunks from byte {next} on are still to be looked at")))
        }
        _ => {
            file.open().thin = None;
            Ok(None)
        }
    }
}

/// A file without bytes of its own yet; `finish` says how it differs.
pub(super) fn new_file(
    txn: &mut dyn Transaction,
    context: &Context,
    path: &DfsPath,
    options: &CreateOptions,
    inode: InodeId,
    finish: impl FnOnce(&mut FileRow),
) -> Step<InodeRow> {
    let replication = options.replication.unwrap_or(context.settings.replication);
    let chunk_size = options.chunk_size.unwrap_or(context.settings.chunk_size);
    check_replication(replication).and_then(|()| check_chunk_size(chunk_size)).map_err(|error| error.context(path))?;
    directories::check_mode(options.mode)?;
    if path.is_root() {
        return Err(paths::is_a_directory(path).into());
    }
    // What is published later leaves nothing behind when it never is.
    let later = options.parents && options.publish_on_close;
    if options.parents && !later {
        directories::make_parents(txn, context, path)?;
    }
    let place = if later { paths::place_below(txn, context, path)? } else { paths::place(txn, context, path)? };
    if options.overwrite || options.if_match.is_some() {
        match place.entry {
            Some(EntryRow { kind: EntryKind::Directory, .. }) => return Err(paths::is_a_directory(path).into()),
            Some(EntryRow { kind: EntryKind::Symlink, inode }) => return links::followed(txn, path, inode),
            _ => {}
        }
    } else {
        directories::check_free(&place, path)?;
    }
    if let Some(etag) = options.if_match {
        check_match(txn, path, place.entry, etag)?;
    }
    access::may_add(txn, context, &place, path)?;
    if let Some(old) = place.entry {
        access::may_replace(txn, context, place.parent(), old, path)?;
    }
    let mut file = FileRow { replication, chunk_size, length: 0, chunks: 0, small: false, open: None };
    finish(&mut file);
    let above = rows::inode(txn, place.parent())?;
    let (owner, acl) = access::new_attributes(txn, context, place.parent(), &above, options.mode, false)?;
    let mut row = InodeRow {
        version: Version::PENDING,
        parent: if later { InodeId::ROOT } else { place.parent() },
        name: place.name.to_owned(),
        modified_ms: context.now_ms,
        accessed_ms: context.now_ms,
        owner,
        marks: Marks::default(),
        kind: InodeKind::File(file),
    };
    rows::put_acl(txn, inode, &mut row, &acl);
    xattrs::begin(txn, context, path, inode, &mut row, &options.xattrs)?;
    if !row.is_hidden() {
        let replaced = match place.entry {
            Some(old) => {
                let gone = deletes::detach(txn, place.parent(), place.name, old)?;
                announce(txn, context, old.inode, old.kind, path, &ChangeKind::Removed);
                Some(gone)
            }
            None => None,
        };
        directories::link(txn, context, &place.ancestors, place.name, inode, &row, replaced)?;
        let length = row.file().filter(|file| file.open.is_none()).map(|file| file.length);
        announce(txn, context, inode, EntryKind::File, path, &ChangeKind::Created { length });
    } else if place.entry.is_none() {
        quotas::check(txn, &place.ancestors, usage::weight_once_published(&row))?;
    }
    rows::put_inode(txn, inode, &row);
    Ok(row)
}

/// Puts a finished file under its name. Its weight is added when it is saved, less that of what it replaces.
fn publish(
    txn: &mut dyn Transaction,
    context: &Context,
    file: &mut OpenFile,
    published: &DfsPath,
    hidden: &Hidden,
) -> Step<()> {
    if hidden.place.is_some() {
        directories::make_parents(txn, context, published)?;
        let place = paths::place(txn, context, published)?;
        access::may_add(txn, context, &place, published)?;
        file.row.parent = place.parent();
        file.ancestors = place.ancestors;
    }
    let (parent, name) = (file.row.parent, &file.row.name);
    let old = rows::entry(txn, parent, name)?;
    if let Some(etag) = hidden.if_match {
        let directory = paths::shown(txn, parent)?;
        check_match(txn, format_args!("{}/{name}", directory.trim_end_matches('/')), old, etag)?;
    }
    let entries = i64::from(old.is_none());
    if let Some(old) = old {
        let path = paths::path_of(txn, old.inode)?.map_or_else(|| name.clone(), |path| path.to_string());
        if old.is_directory() {
            let message = format!("{path} is a directory now: the file can't be published under that name");
            return Err(Error::new(ErrorKind::IsADirectory, message).into());
        }
        if !hidden.overwrite && hidden.if_match.is_none() {
            let message =
                format!("{path} was created by another meanwhile: the file can't be published under that name");
            return Err(Error::new(ErrorKind::AlreadyExists, message).into());
        }
        // Creating asked about what stood there then.
        access::may_replace(txn, context, parent, old, published)?;
        file.replaced = deletes::detach(txn, parent, name, old)?;
        announce(txn, context, old.inode, old.kind, published, &ChangeKind::Removed);
    }
    rows::put_entry(txn, parent, name, EntryRow { inode: file.inode, kind: EntryKind::File });
    directories::touch(txn, context, parent, entries)
}

/// Whether just that stands under a name which is to be replaced.
fn check_match(
    txn: &mut dyn Transaction,
    shown: impl std::fmt::Display,
    entry: Option<EntryRow>,
    etag: ETag,
) -> Step<()> {
    let ETag { inode, version } = etag;
    let found = match entry {
        Some(entry) => format!("it is {}-{} now", entry.inode, rows::inode(txn, entry.inode)?.version),
        None => "it does not exist any more".to_owned(),
    };
    if found == format!("it is {inode}-{version} now") {
        return Ok(());
    }
    let message = format!("{shown} is not {inode}-{version}, {found}: look again before it is replaced");
    Err(Error::new(ErrorKind::FailedPrecondition, message).into())
}

/// Keeps all bytes of a file with its inode.
fn keep_small(txn: &mut dyn Transaction, context: &Context, file: &mut OpenFile, data: &Bytes) -> Step<()> {
    if data.len() > context.settings.small_file_limit {
        let shown = paths::shown(txn, file.inode)?;
        check_small(context, shown, data)?;
    }
    if file.file().has_chunks() {
        let message = format!("{} has chunks: its bytes go there", paths::shown(txn, file.inode)?);
        return Err(Error::new(ErrorKind::FailedPrecondition, message).into());
    }
    if data.is_empty() {
        txn.delete(Space::Data, &keys::data(file.inode));
    } else {
        rows::put_data(txn, file.inode, data);
    }
    file.file().small = !data.is_empty();
    file.file().length = data.len() as u64;
    Ok(())
}

fn check_small(context: &Context, shown: impl std::fmt::Display, data: &Bytes) -> Result<()> {
    let limit = context.settings.small_file_limit;
    if data.len() <= limit {
        return Ok(());
    }
    let message =
        format!("{shown}: {} bytes are no small file, the limit is {limit}: write them to chunks", data.len());
    Err(Error::new(ErrorKind::LimitExceeded, message))
}

/// Whether another chunk may begin at `end`.
fn check_room(txn: &mut dyn Transaction, context: &Context, file: &mut OpenFile, end: u64) -> Step<()> {
    let chunk_size = file.file().chunk_size;
    if end + chunk_size > MAX_FILE_BYTES {
        let message = format!("{}: a file has at most {MAX_FILE_BYTES} bytes", paths::shown(txn, file.inode)?);
        return Err(Error::new(ErrorKind::LimitExceeded, message).into());
    }
    limits::check_chunks(context, file.file().chunks + 1, || paths::shown(txn, file.inode))?;
    // Counted from the first open one, also over chunks that were committed out of turn: what recovery may have to drop is bounded.
    let first_open = file.open().chunks.first().map_or(end, |open| open.0);
    if (end - first_open) / chunk_size >= MAX_OPEN_CHUNKS as u64 {
        let message = format!(
            "{}: {MAX_OPEN_CHUNKS} chunks are unfinished: report finished ones first",
            paths::shown(txn, file.inode)?
        );
        return Err(Error::new(ErrorKind::FailedPrecondition, message).into());
    }
    Ok(())
}

pub(super) fn fenced(chunk: ChunkId, generation: Generation, row: &ChunkRow) -> Error {
    let state = if row.is_open() { "open" } else { "finished" };
    Error::new(
        ErrorKind::Fenced,
        format!(
            "chunk {chunk}: generation {generation} is not the one issued last, which is {}; the chunk is {state} at generation {}",
            row.issued, row.generation
        ),
    )
}
