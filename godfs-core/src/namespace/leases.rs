//! Leases: who may write an open file, and what becomes of it when its writer is gone.

use super::answers::{LeaseInfo, OpenFileInfo};
use super::options::Writing;
use super::outcome::Operation;
use super::rows::session::decode_leased;
use super::rows::{self, FileRow, Hidden, InodeRow, LeaseRow, OpenState, RECOVERY, keys};
use super::sessions::{Recorded, once};
use super::{Context, MAX_PAGE, access, deletes, files, paths, quotas, sums, usage};
use crate::error::{Error, ErrorKind};
use crate::id::{InodeId, LeaseId, SessionId, SessionNumber, Version};
use crate::metadata::{Counters, Range, Snapshot, Space, Step, Transaction};
use crate::path::DfsPath;

/// An open file, changed in memory and then saved.
#[derive(Clone, Debug)]
pub(super) struct OpenFile {
    pub(super) inode: InodeId,
    /// The directories above it, from the root.
    pub(super) ancestors: Vec<InodeId>,
    /// Their names, without the root.
    names: Vec<String>,
    pub(super) row: InodeRow,
    before: InodeRow,
    /// What the directories above lose in its favour.
    pub(super) replaced: Counters,
}

impl OpenFile {
    /// The open file `inode`; `None` when it is not open, or no longer hangs on the root.
    pub(super) fn load(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Option<Self>> {
        let Some(row) = rows::find_inode(snapshot, inode)? else {
            return Ok(None);
        };
        if row.file().is_none_or(|file| file.open.is_none()) || row.parent.0 == 0 {
            return Ok(None);
        }
        let chain = match row.file().and_then(|file| file.open.as_ref()).and_then(OpenState::place) {
            // Directories on the way may have come and gone since: what counts is what stands there when it is published.
            Some(place) => Some(paths::nearest(snapshot, place)?),
            None => paths::named_chain(snapshot, row.parent)?,
        };
        Ok(chain.map(|(ancestors, names)| Self {
            inode,
            ancestors,
            names,
            before: row.clone(),
            row,
            replaced: Counters::default(),
        }))
    }

    /// Its path, or that of the deepest directory above it that has one.
    pub(super) fn path(&self) -> DfsPath {
        if let Some(place) = self.row.file().and_then(|file| file.open.as_ref()).and_then(OpenState::place) {
            return place.clone();
        }
        paths::of_names(self.names.iter().chain([&self.row.name]))
    }

    pub(super) fn file(&mut self) -> &mut FileRow {
        self.row.file_mut().expect("checked when loaded")
    }

    pub(super) fn open(&mut self) -> &mut OpenState {
        self.file().open.as_mut().expect("checked when loaded, and given up only with the value")
    }

    /// Writes what changed, and the usage of the directories above.
    pub(super) fn save(self, txn: &mut dyn Transaction) -> Step<()> {
        check_hidden(txn, &self.ancestors, &self.before, &self.row)?;
        let delta = sums::minus(usage::weight(&self.row), usage::weight(&self.before));
        usage::add(txn, &self.ancestors, sums::minus(delta, self.replaced))?;
        if self.row != self.before {
            rows::put_inode(txn, self.inode, &self.row);
        }
        Ok(())
    }
}

/// A file that is not published yet is charged when it is. It must fit all along, as far as that is known before: its writer shall hear early that it does
/// not, and not after the last byte.
fn check_hidden(txn: &mut dyn Transaction, ancestors: &[InodeId], before: &InodeRow, row: &InodeRow) -> Step<()> {
    let hidden = row.file().and_then(|file| file.open.as_ref()).and_then(|open| open.hidden.as_ref());
    let Some(Hidden { overwrite: false, if_match: None, .. }) = hidden else { return Ok(()) };
    let (was, is) = (usage::weight_once_published(before), usage::weight_once_published(row));
    if was == is { Ok(()) } else { quotas::check(txn, ancestors, is) }
}

/// The file of a writer's call.
pub(super) fn check(txn: &mut dyn Transaction, writing: &Writing) -> Step<OpenFile> {
    let held = LeaseRow { session: writing.call.session, inode: writing.inode };
    if rows::find_lease(txn, writing.lease)? == Some(held)
        && let Some(mut file) = OpenFile::load(txn, writing.inode)?
        && file.open().lease == writing.lease
    {
        return Ok(file);
    }
    let message = format!(
        "{}: lease {} is not held by session {}: it has expired, was recovered by another, or the file was closed, deleted or replaced",
        paths::shown(txn, writing.inode)?,
        writing.lease,
        writing.call.session
    );
    Err(Error::new(ErrorKind::LeaseLost, message).into())
}

/// Gives up an open file.
pub(super) fn abandon(txn: &mut dyn Transaction, context: &Context, writing: &Writing) -> Step<((), Option<Version>)> {
    once(txn, context, writing.call, Operation::Abandon, |txn| {
        check(txn, writing)?;
        take_over(txn, context, writing.inode)?;
        Ok(Recorded::Yes(()))
    })
}

/// Takes the lease of a file from whoever has it. True when the file is closed.
pub(super) fn recover(
    txn: &mut dyn Transaction,
    context: &Context,
    call: super::Call,
    path: &DfsPath,
) -> Step<(bool, Option<Version>)> {
    once(txn, context, call, Operation::RecoverLease, |txn| {
        let (inode, _) = paths::find_file(txn, context, path)?;
        access::need_of(txn, context, inode, access::WRITE, path)?;
        let open = match OpenFile::load(txn, inode)? {
            Some(mut file) => Some(rows::find_lease(txn, file.open().lease)?),
            None => None,
        };
        let closed = take_over(txn, context, inode)?;
        // Closed or in recovery already: nothing to record, the next call shall look again.
        let changed = open.is_some_and(|lease| closed || lease.is_some_and(|row| row.session != RECOVERY));
        Ok(if changed { Recorded::Yes(closed) } else { Recorded::No(closed) })
    })
}

/// Ends the right of the writer. A file that was never published goes; one without an open chunk is closed; another waits under the
/// namenode's own session for the recovery of its chunks. True when there is nothing to recover.
pub(super) fn take_over(txn: &mut dyn Transaction, context: &Context, inode: InodeId) -> Step<bool> {
    let Some(mut file) = OpenFile::load(txn, inode)? else {
        return revoke_detached(txn, inode);
    };
    if file.row.is_hidden() {
        deletes::discard_hidden(txn, inode, &file.row)?;
        return Ok(true);
    }
    if file.open().chunks.is_empty() {
        files::close(txn, context, file)?;
        return Ok(true);
    }
    let lease = file.open().lease;
    if let Some(row) = rows::find_lease(txn, lease)?
        && row.session != RECOVERY
    {
        rows::remove_lease(txn, lease)?;
        rows::put_lease(txn, lease, LeaseRow { session: RECOVERY, inode });
    }
    Ok(false)
}

/// The leases of one session.
pub(super) fn of_session(
    snapshot: &mut dyn Snapshot,
    session: SessionId,
    after: LeaseId,
    limit: usize,
) -> Step<Vec<LeaseInfo>> {
    let prefix = keys::session_leases(session);
    let range = Range::prefix_after(&prefix, &keys::session_lease(session, after), limit.clamp(1, MAX_PAGE));
    let mut leases = Vec::new();
    for (key, value) in snapshot.scan(Space::Rows, &range)? {
        let mut key = keys::KeyReader::new(&key)?;
        let (session, lease) = (SessionId(key.u64()?), LeaseId(key.u64()?));
        leases.push(LeaseInfo { lease, session, inode: decode_leased(&value)? });
    }
    Ok(leases)
}

/// All open files, in the order of their leases. For superusers: it tells of files in directories that others may not read.
pub(super) fn open_files(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    after: LeaseId,
    limit: usize,
) -> Step<Vec<OpenFileInfo>> {
    access::superuser(context, &rows::inode(snapshot, InodeId::ROOT)?, &DfsPath::root())?;
    let range = Range::prefix_after(&keys::table(keys::Table::Leases), &keys::lease(after), limit.clamp(1, MAX_PAGE));
    let mut files = Vec::new();
    for (key, value) in snapshot.scan(Space::Rows, &range)? {
        let lease = LeaseId(keys::KeyReader::new(&key)?.u64()?);
        let LeaseRow { session, inode } = LeaseRow::decode(&value)?;
        let writer = rows::find_session(snapshot, session)?;
        files.push(OpenFileInfo {
            lease,
            session,
            number: writer.as_ref().map_or(SessionNumber(0), |row| row.number),
            renewal: writer.as_ref().map(|row| row.version),
            client: writer.map(|row| row.name).unwrap_or_default(),
            inode,
            path: paths::path_of(snapshot, inode)?,
            length: rows::find_inode(snapshot, inode)?.and_then(|row| row.file().map(|file| file.length)).unwrap_or(0),
        });
    }
    Ok(files)
}

/// A file that is closed, gone, or below a directory that was deleted: the collector has it, or will.
fn revoke_detached(txn: &mut dyn Transaction, inode: InodeId) -> Step<bool> {
    if let Some(mut row) = rows::find_inode(txn, inode)?
        && let Some(open) = row.file_mut().and_then(|file| file.open.as_mut())
    {
        let lease = std::mem::replace(&mut open.lease, rows::NO_LEASE);
        if row.is_hidden() {
            rows::remove_lease(txn, lease)?;
            deletes::discard_hidden(txn, inode, &row)?;
        } else {
            rows::put_inode(txn, inode, &row);
            rows::remove_lease(txn, lease)?;
        }
    }
    Ok(true)
}
