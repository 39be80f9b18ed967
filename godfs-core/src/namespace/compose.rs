//! Publishing a file that was written in parts: the chunks of the parts become those of a new file under its name, in one step, and no byte is copied.
//!
//! The parts lie in a directory of their own, which goes with all that is left in it. So whoever dies on the way leaves that directory and nothing
//! else, and nobody sees the file before it is whole.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::files::{self, MAX_FILE_BYTES};
use super::held::check_closed;
use super::options::{Call, Compose};
use super::outcome::Operation;
use super::paths;
use super::rows::{self, ChunkRow, EntryKind, EntryRow, ExtentRow, FileRow, InodeRow, Series, keys};
use super::sessions::{Recorded, once};
use super::settings::{check_chunk_size, check_replication};
use super::{Context, MAX_PAGE, access, deletes, directories, limits, locations, sums, usage};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InodeId, Version};
use crate::metadata::{Counters, Range, Space, Step, Transaction};
use crate::path::DfsPath;

/// The most parts of one file: as many as elsewhere, so that no tool has to know ours.
pub const MAX_PARTS: usize = 10_000;
/// The most chunks that they have together: with the rows of as many parts some 4 MiB, half of what a transaction holds.
pub const MAX_PART_CHUNKS: usize = 16_000;

pub(super) fn compose(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    request: &Compose,
) -> Step<(InodeId, Option<Version>)> {
    check(request)?;
    let Compose { directory, parts, target, options } = request;
    once(txn, context, call, Operation::Compose, |txn| {
        let place = paths::place(txn, context, directory)?;
        let entry = match place.entry {
            Some(entry) if entry.is_directory() => entry,
            Some(_) => {
                let message = format!("{directory} is no directory with parts");
                return Err(Error::new(ErrorKind::NotADirectory, message).into());
            }
            None => return Err(paths::not_found(directory).into()),
        };
        access::may_remove(txn, context, &place, entry, directory)?;
        access::may_remove_tree(txn, context, entry.inode, directory)?;
        // Before the file is there, so that a quota is about the difference.
        let mut taken = Taken::new(context, options.chunk_size.unwrap_or(context.settings.chunk_size));
        for name in parts {
            taken.take(txn, context, &directory.join(name)?, entry.inode, name)?;
        }
        let chain: Vec<InodeId> = place.ancestors.iter().copied().chain([entry.inode]).collect();
        usage::add(txn, &chain, sums::minus(Counters::default(), taken.weight))?;
        let gone = i64::try_from(parts.len()).unwrap_or(i64::MAX);
        directories::touch(txn, context, entry.inode, -gone)?;
        deletes::remove_entry(txn, context, &place, entry, directory)?;
        let inode = InodeId(rows::draw_ids(txn, Series::Names, 1)?);
        let row = files::new_file(txn, context, target, options, inode, |file| {
            file.length = taken.length;
            file.chunks = taken.chunks.len() as u64;
        })?;
        taken.give(txn, inode, row.file().map_or(0, |file| file.replication))?;
        Ok(Recorded::Yes(inode))
    })
}

/// What can be seen of a request by itself.
fn check(Compose { directory, parts, target, options }: &Compose) -> Result<()> {
    let refuse = |why: String| Err(Error::new(ErrorKind::InvalidArgument, why));
    check_replication(options.replication.unwrap_or(1))?;
    options.chunk_size.map_or(Ok(()), check_chunk_size)?;
    if parts.len() > MAX_PARTS {
        return refuse(format!("{target}: {} parts, the limit is {MAX_PARTS}", parts.len()));
    }
    if target.starts_with(directory) {
        return refuse(format!("{target} lies where its parts are, in {directory}, which goes"));
    }
    let mut seen = BTreeSet::new();
    match parts.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => refuse(format!("{target}: the part {twice} is named twice")),
        None => Ok(()),
    }
}

/// What was taken from the parts.
struct Taken<'c> {
    context: &'c Context,
    chunk_size: u64,
    length: u64,
    /// Where each chunk begins in the new file.
    chunks: Vec<(u64, ExtentRow)>,
    /// What the directories above the parts had of them.
    weight: Counters,
}

impl<'c> Taken<'c> {
    fn new(context: &'c Context, chunk_size: u64) -> Self {
        Self { context, chunk_size, length: 0, chunks: Vec::new(), weight: Counters::default() }
    }

    /// Takes the chunks of one part, whose name and rows go.
    fn take(
        &mut self,
        txn: &mut dyn Transaction,
        context: &Context,
        path: &DfsPath,
        directory: InodeId,
        name: &str,
    ) -> Step<()> {
        let part = match rows::entry(txn, directory, name)? {
            Some(EntryRow { inode, kind: EntryKind::File }) => inode,
            Some(_) => return Err(Error::new(ErrorKind::InvalidArgument, format!("{path} is no file")).into()),
            None => return Err(paths::not_found(path).into()),
        };
        let row = rows::inode(txn, part)?;
        access::need(txn, context, part, &row, access::READ, || path.to_string())?;
        check_closed(txn, path, part)?;
        let file = self.checked(path, &row)?;
        let begin = self.length;
        self.length += file.length;
        let mut range = Range::prefix(&keys::extents(part), MAX_PAGE);
        loop {
            let extents = rows::extents(txn, &range)?;
            for &(start, extent) in &extents {
                txn.delete(Space::Rows, &keys::extent(part, start));
                self.chunks.push((begin + start, extent));
            }
            if self.chunks.len() > MAX_PART_CHUNKS {
                let message =
                    format!("{path}: the parts up to it have more than {MAX_PART_CHUNKS} chunks: copy them instead");
                return Err(Error::new(ErrorKind::LimitExceeded, message).into());
            }
            match extents.last() {
                Some(&(start, _)) if extents.len() == range.limit => {
                    range.start = Bound::Excluded(keys::extent(part, start).into());
                }
                _ => break,
            }
        }
        self.weight = self.weight.plus(usage::weight(&row));
        txn.delete(Space::Rows, &keys::entry(directory, name));
        deletes::remove(txn, part, &row)
    }

    /// What a part must be to be joined with those before it.
    fn checked<'r>(&self, path: &DfsPath, row: &'r InodeRow) -> Step<&'r FileRow> {
        let Some(file) = row.file() else { return Err(paths::is_a_directory(path).into()) };
        let refuse = |kind, why: String| Err(Error::new(kind, format!("{path} {why}")).into());
        if file.small {
            return refuse(ErrorKind::FailedPrecondition, "is a small file, without chunks that could be moved".into());
        }
        if file.has_chunks() && file.chunk_size != self.chunk_size {
            let why = format!("has chunks of {} bytes, the file is to have {}", file.chunk_size, self.chunk_size);
            return refuse(ErrorKind::InvalidArgument, why);
        }
        if self.length + file.length > MAX_FILE_BYTES {
            return refuse(ErrorKind::LimitExceeded, format!("makes the file longer than {MAX_FILE_BYTES} bytes"));
        }
        limits::check_chunks(self.context, self.chunks.len() as u64 + file.chunks, || Ok(path.to_string()))?;
        Ok(file)
    }

    /// Gives the chunks to the file.
    fn give(self, txn: &mut dyn Transaction, inode: InodeId, replication: u16) -> Step<()> {
        for (start, extent) in self.chunks {
            rows::put_extent(txn, inode, start, extent);
            let before = rows::chunk(txn, extent.chunk)?;
            let after = ChunkRow { inode, target: replication, ..before.clone() };
            locations::settle(txn, extent.chunk, &before, after)?;
        }
        Ok(())
    }
}
