//! Symbolic links: made here, followed by clients.

use super::changes::{ChangeKind, announce};
use super::options::{NewMode, Symlink};
use super::outcome::Operation;
use super::paths;
use super::rows::{self, InodeKind, InodeRow, Marks, Series};
use super::sessions::{Recorded, once};
use super::{Call, Context, access, directories};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InodeId, Version};
use crate::metadata::{Snapshot, Step, Transaction};
use crate::path::DfsPath;

/// The longest target of a symbolic link, and the longest path of a link that can be followed, bytes: both travel in the trailers of an answer.
pub const MAX_TARGET_BYTES: usize = 4_096;

/// What counts is the mode of what a link leads to.
const LINK_MODE: NewMode = NewMode { mode: Some(0o777), umask: 0 };

pub(super) fn make(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    request: &Symlink,
) -> Step<(InodeId, Option<Version>)> {
    let Symlink { path, target } = request;
    check_target(path, target)?;
    once(txn, context, call, Operation::Symlink, |txn| {
        let place = paths::place(txn, context, path)?;
        directories::check_free(&place, path)?;
        access::may_add(txn, context, &place, path)?;
        let parent = rows::inode(txn, place.parent())?;
        let inode = InodeId(rows::draw_ids(txn, Series::Names, 1)?);
        let row = InodeRow {
            version: Version::PENDING,
            parent: place.parent(),
            name: place.name.to_owned(),
            modified_ms: context.now_ms,
            accessed_ms: context.now_ms,
            owner: access::new_owner(context, &parent, LINK_MODE, false),
            marks: Marks::default(),
            kind: InodeKind::Symlink(target.clone()),
        };
        directories::link(txn, context, &place.ancestors, place.name, inode, &row, None)?;
        rows::put_inode(txn, inode, &row);
        let change = ChangeKind::Linked { target: target.clone() };
        announce(txn, context, inode, row.entry_kind(), path, &change);
        Ok(Recorded::Yes(inode))
    })
}

/// What a caller is told whose path leads through the link at `path`.
pub(super) fn followed<T>(snapshot: &mut dyn Snapshot, path: &DfsPath, link: InodeId) -> Step<T> {
    let row = rows::inode(snapshot, link)?;
    let InodeKind::Symlink(target) = row.kind else {
        return Err(Error::new(ErrorKind::Corrupt, format!("metadata: inode {link} is no symbolic link")).into());
    };
    if path.as_str().len() > MAX_TARGET_BYTES {
        let message = format!("{path} is a symbolic link with more than {MAX_TARGET_BYTES} bytes in front of it");
        return Err(Error::new(ErrorKind::LimitExceeded, message).into());
    }
    Err(Error::symlink(path.clone(), target).into())
}

fn check_target(path: &DfsPath, target: &str) -> Result<()> {
    let why = if target.is_empty() {
        "is empty".to_owned()
    } else if target.len() > MAX_TARGET_BYTES {
        format!("has {} bytes, the limit is {MAX_TARGET_BYTES}", target.len())
    } else if target.contains('\0') {
        "has a NUL".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidArgument, format!("{path}: the target of a symbolic link {why}")))
}
