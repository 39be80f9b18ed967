//! Files that another client writes: who asks for one of them is told whose it is, and may get it when that client is silent.

use std::fmt;

use super::rows::{self, LeaseRow, RECOVERY, SessionRow};
use super::{Context, leases};
use crate::error::{Error, ErrorKind};
use crate::id::{InodeId, LeaseId, SessionId, SessionNumber, Version};
use crate::metadata::{Snapshot, Step, Transaction};
use crate::path::DfsPath;

/// Who keeps a file from a caller: the source of errors of [`ErrorKind::BeingWritten`], as long as the writer has its lease. With it the namenode
/// decides whether the writer is still to be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The file.
    pub inode: InodeId,
    /// The lease.
    pub lease: LeaseId,
    /// Whose it is.
    pub session: SessionId,
    /// What others are told of that session.
    pub number: SessionNumber,
    /// Which renewal of the session was its last.
    pub renewal: Version,
    /// Who that client says it is.
    pub client: String,
}

impl Held {
    /// What `error` says of the writer of a file.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is being written by session {} ({:?})", self.number, self.client)
    }
}

impl std::error::Error for Held {}

/// Refuses a file that has a writer, or had one and is not closed yet.
pub(super) fn check_closed(snapshot: &mut dyn Snapshot, path: &DfsPath, inode: InodeId) -> Step<()> {
    let row = rows::inode(snapshot, inode)?;
    let Some(open) = row.file().and_then(|file| file.open.as_ref()) else { return Ok(()) };
    let session = match rows::find_lease(snapshot, open.lease)? {
        Some(LeaseRow { session, .. }) if session != RECOVERY => session,
        _ => return Err(recovering(path).into()),
    };
    let Some(row) = rows::find_session(snapshot, session)?.filter(|row| !row.ended) else {
        return Err(recovering(path).into());
    };
    let SessionRow { number, version: renewal, name: client, .. } = row;
    let held = Held { inode, lease: open.lease, session, number, renewal, client };
    Err(Error::new(ErrorKind::BeingWritten, format!("{path} {held}")).with_source(held).into())
}

fn recovering(path: &DfsPath) -> Error {
    Error::new(ErrorKind::BeingWritten, format!("{path} is being recovered")).with_retryable(true)
}

/// Takes a file from its writer, if that has not renewed its session since and has the lease still. The session goes on, with what else it has.
pub(super) fn take(txn: &mut dyn Transaction, context: &Context, held: &Held) -> Step<bool> {
    let unchanged = rows::find_session(txn, held.session)?.is_some_and(|row| row.version == held.renewal && !row.ended);
    let lease = LeaseRow { session: held.session, inode: held.inode };
    if !unchanged || rows::find_lease(txn, held.lease)? != Some(lease) {
        return Ok(false);
    }
    leases::take_over(txn, context, held.inode)?;
    Ok(true)
}
