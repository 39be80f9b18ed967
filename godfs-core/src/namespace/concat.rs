//! Joining files: the chunks of some go to the end of another, and no byte is copied.
//!
//! Chunks in the middle of a file may be shorter than the others from then on. As in HDFS all files must be closed and have the same chunk size:
//! replicas are laid out for it, and the last one may be written on. What HDFS asks for besides is not needed here: full chunks before the last, the
//! same directory, the same replication (the chunks follow the target's), and a target with bytes.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::changes::{ChangeKind, announce};
use super::files::MAX_FILE_BYTES;
use super::held::check_closed;
use super::options::Call;
use super::outcome::Operation;
use super::paths::Place;
use super::rows::{self, ChunkRow, EntryKind, EntryRow, FileRow, InodeRow, keys};
use super::sessions::{Recorded, once};
use super::{Context, MAX_PAGE, access, deletes, directories, limits, links, locations, paths, sums, usage};
use crate::error::{Error, ErrorKind};
use crate::id::{InodeId, Version};
use crate::metadata::{Counters, Range, Snapshot, Space, Step, Transaction};
use crate::path::DfsPath;

/// The most files that are joined to another in one call.
pub const MAX_CONCAT_FILES: usize = 1_000;
/// The most chunks that change their file in one call: some 300 bytes of rows each, in one transaction.
pub const MAX_CONCAT_CHUNKS: usize = 4_000;

pub(super) fn concat(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    target: &DfsPath,
    sources: &[DfsPath],
) -> Step<((), Option<Version>)> {
    if sources.is_empty() || sources.len() > MAX_CONCAT_FILES {
        let message =
            format!("{target}: {} files to be joined to it, it must be 1 to {MAX_CONCAT_FILES}", sources.len());
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    // A file has one path, so that no two of these can mean the same.
    for (at, path) in sources.iter().enumerate() {
        let what = if path == target {
            "can't be joined to itself"
        } else if sources[..at].contains(path) {
            "is named twice"
        } else {
            continue;
        };
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{path} {what}")).into());
    }
    once(txn, context, call, Operation::Concat, |txn| {
        let (inode, ancestors) = paths::find_file(txn, context, target)?;
        let before = rows::inode(txn, inode)?;
        access::need(txn, context, inode, &before, access::WRITE, || target.to_string())?;
        let mut joined = Joined {
            inode,
            file: joinable(txn, target, inode, &before)?,
            room: MAX_CONCAT_CHUNKS,
            usage: BTreeMap::new(),
        };
        for path in sources {
            let place = paths::place(txn, context, path)?;
            let source = match place.entry {
                Some(EntryRow { inode, kind: EntryKind::File }) => inode,
                Some(EntryRow { inode, kind: EntryKind::Symlink }) => return links::followed(txn, path, inode),
                Some(_) => return Err(paths::is_a_directory(path).into()),
                None => return Err(paths::not_found(path).into()),
            };
            joined.take(txn, context, path, &place, source)?;
        }
        let mut after = before.clone();
        after.modified_ms = context.now_ms;
        if let Some(file) = after.file_mut() {
            *file = joined.file.clone();
        }
        joined.weigh(&ancestors, sums::minus(usage::weight(&after), usage::weight(&before)));
        for (directory, delta) in joined.usage {
            usage::add(txn, &[directory], delta)?;
        }
        rows::put_inode(txn, inode, &after);
        let length = after.file().map_or(0, |file| file.length);
        announce(txn, context, inode, after.entry_kind(), target, &ChangeKind::Concatenated { length });
        Ok(Recorded::Yes(()))
    })
}

/// The file that others are joined to.
struct Joined {
    inode: InodeId,
    file: FileRow,
    /// Chunks that may still be taken over.
    room: usize,
    /// What directories win or lose by all of it: a quota is about the difference.
    usage: BTreeMap<InodeId, Counters>,
}

impl Joined {
    /// Takes over the chunks of one file, which goes.
    fn take(
        &mut self,
        txn: &mut dyn Transaction,
        context: &Context,
        path: &DfsPath,
        place: &Place<'_>,
        source: InodeId,
    ) -> Step<()> {
        let row = rows::inode(txn, source)?;
        access::need(txn, context, source, &row, access::READ, || path.to_string())?;
        let entry = EntryRow { inode: source, kind: EntryKind::File };
        access::may_remove(txn, context, place, entry, path)?;
        let file = joinable(txn, path, source, &row)?;
        if file.chunk_size != self.file.chunk_size {
            let message = format!(
                "{path} has chunks of {} bytes, the file that it is joined to of {}: copy it instead",
                file.chunk_size, self.file.chunk_size
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        let length = self.file.length + file.length;
        if length > MAX_FILE_BYTES {
            let message = format!("{path}: with it the file would have more than {MAX_FILE_BYTES} bytes");
            return Err(Error::new(ErrorKind::LimitExceeded, message).into());
        }
        let chunks = self.file.chunks + file.chunks;
        limits::check_chunks(context, chunks, || Ok(format!("{path} joined to the ones before it")))?;
        self.file.chunks = chunks;
        self.take_chunks(txn, path, source)?;
        self.file.length = length;
        txn.delete(Space::Rows, &keys::entry(place.parent(), place.name));
        self.weigh(&place.ancestors, sums::minus(Counters::default(), usage::weight(&row)));
        directories::touch(txn, context, place.parent(), -1)?;
        announce(txn, context, source, EntryKind::File, path, &ChangeKind::Removed);
        deletes::remove(txn, source, &row)
    }

    fn weigh(&mut self, chain: &[InodeId], delta: Counters) {
        for directory in chain {
            let sum = self.usage.entry(*directory).or_default();
            *sum = sum.plus(delta);
        }
    }

    fn take_chunks(&mut self, txn: &mut dyn Transaction, path: &DfsPath, source: InodeId) -> Step<()> {
        let mut range = Range::prefix(&keys::extents(source), MAX_PAGE);
        loop {
            let extents = rows::extents(txn, &range)?;
            let Some(room) = self.room.checked_sub(extents.len()) else {
                let message =
                    format!("{path}: more than {MAX_CONCAT_CHUNKS} chunks to be joined in one call: use several");
                return Err(Error::new(ErrorKind::LimitExceeded, message).into());
            };
            self.room = room;
            for &(start, extent) in &extents {
                txn.delete(Space::Rows, &keys::extent(source, start));
                rows::put_extent(txn, self.inode, self.file.length + start, extent);
                let before = rows::chunk(txn, extent.chunk)?;
                let after = ChunkRow { inode: self.inode, target: self.file.replication, ..before.clone() };
                locations::settle(txn, extent.chunk, &before, after)?;
            }
            match extents.last() {
                Some(&(start, _)) if extents.len() == range.limit => {
                    range.start = Bound::Excluded(keys::extent(source, start).into());
                }
                _ => return Ok(()),
            }
        }
    }
}

/// What is to be known of a file that is joined with others: it is closed, and its bytes lie in chunks.
fn joinable(snapshot: &mut dyn Snapshot, path: &DfsPath, inode: InodeId, row: &InodeRow) -> Step<FileRow> {
    check_closed(snapshot, path, inode)?;
    let Some(file) = row.file() else { return Err(paths::is_a_directory(path).into()) };
    if file.small {
        let message = format!("{path} is a small file, without chunks that could be moved: append its bytes instead");
        return Err(Error::new(ErrorKind::FailedPrecondition, message).into());
    }
    Ok(file.clone())
}
