//! Extended attributes: small values under names, with a file or directory.

use bytes::Bytes;

use super::changes::{Attribute, ChangeKind, announce};
use super::options::{Call, SetXattr, XattrMode};
use super::outcome::Operation;
use super::rows::{self, InodeRow};
use super::sessions::{Recorded, once};
use super::{Context, access, paths};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InodeId, Version};
use crate::metadata::{Snapshot, Step, Transaction};
use crate::path::DfsPath;

/// The longest name of an extended attribute, with its namespace, bytes.
pub const MAX_XATTR_NAME_BYTES: usize = 255;
/// For everybody who may read the file.
const USER: &str = "user.";
/// For the superuser; others do not even see them.
const TRUSTED: &str = "trusted.";

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// With its namespace, `user.` or `trusted.`.
    pub name: String,
    /// What it holds.
    pub value: Bytes,
}

pub(super) fn set(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    request: &SetXattr,
) -> Step<((), Option<Version>)> {
    let SetXattr { name, value, mode } = request;
    check_name(name)?;
    let limit = context.settings.max_xattr_value_bytes;
    if value.len() > limit {
        let message = format!("{path}: the value of {name} has {} bytes, the limit is {limit}", value.len());
        return Err(Error::new(ErrorKind::LimitExceeded, message).into());
    }
    once(txn, context, call, Operation::SetXattr, |txn| {
        let (inode, mut row) = find_own(txn, context, path, name)?;
        let known = all(txn, inode, &row)?;
        let old = known.iter().find(|known| known.name == *name);
        match (mode, old) {
            (XattrMode::Create, Some(_)) => {
                let message = format!("{path} has the attribute {name} already");
                return Err(Error::new(ErrorKind::AlreadyExists, message).into());
            }
            (XattrMode::Replace, None) => return Err(missing(path, name).into()),
            (_, Some(old)) if old.value == *value => return Ok(Recorded::No(())),
            _ => {}
        }
        if old.is_none() && known.len() >= context.settings.max_xattrs {
            let message =
                format!("{path} has {} extended attributes, the limit is {}", known.len(), context.settings.max_xattrs);
            return Err(Error::new(ErrorKind::LimitExceeded, message).into());
        }
        let others = known.iter().filter(|known| known.name != *name);
        let bytes = others.map(|known| known.name.len() + known.value.len()).sum::<usize>() + name.len() + value.len();
        if bytes > context.settings.max_xattr_bytes {
            let limit = context.settings.max_xattr_bytes;
            let message = format!("{path}: its extended attributes would have {bytes} bytes, the limit is {limit}");
            return Err(Error::new(ErrorKind::LimitExceeded, message).into());
        }
        rows::put_xattr(txn, inode, name, value);
        row.marks.xattrs = true;
        // Also where the mark was there: the version of the row tells that something has changed.
        rows::put_inode(txn, inode, &row);
        changed(txn, context, inode, &row, path);
        Ok(Recorded::Yes(()))
    })
}

/// Gives an inode, which has none yet, its first attributes. Its row is the caller's to write.
pub(super) fn begin(
    txn: &mut dyn Transaction,
    context: &Context,
    path: &DfsPath,
    inode: InodeId,
    row: &mut InodeRow,
    xattrs: &[Xattr],
) -> Step<()> {
    let limits = &context.settings;
    let refuse = |why: String| Err(Error::new(ErrorKind::LimitExceeded, format!("{path}: {why}")).into());
    if xattrs.len() > limits.max_xattrs {
        return refuse(format!("{} extended attributes, the limit is {}", xattrs.len(), limits.max_xattrs));
    }
    let mut bytes = 0;
    for (at, Xattr { name, value }) in xattrs.iter().enumerate() {
        check_name(name)?;
        may_use(context, row, path, name)?;
        if xattrs[..at].iter().any(|before| before.name == *name) {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("{path}: {name} is given twice")).into());
        }
        if value.len() > limits.max_xattr_value_bytes {
            let limit = limits.max_xattr_value_bytes;
            return refuse(format!("the value of {name} has {} bytes, the limit is {limit}", value.len()));
        }
        bytes += name.len() + value.len();
        rows::put_xattr(txn, inode, name, value);
    }
    if bytes > limits.max_xattr_bytes {
        return refuse(format!("{bytes} bytes of extended attributes, the limit is {}", limits.max_xattr_bytes));
    }
    row.marks.xattrs = !xattrs.is_empty();
    Ok(())
}

pub(super) fn remove(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    path: &DfsPath,
    name: &str,
) -> Step<((), Option<Version>)> {
    check_name(name)?;
    once(txn, context, call, Operation::RemoveXattr, |txn| {
        let (inode, mut row) = find_own(txn, context, path, name)?;
        let known = all(txn, inode, &row)?;
        if !known.iter().any(|known| known.name == name) {
            return Err(missing(path, name).into());
        }
        rows::remove_xattr(txn, inode, name);
        row.marks.xattrs = known.len() > 1;
        rows::put_inode(txn, inode, &row);
        changed(txn, context, inode, &row, path);
        Ok(Recorded::Yes(()))
    })
}

/// The attributes with these names, in their order; all that the caller may see, in the order of their names, for none.
pub(super) fn get(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    path: &DfsPath,
    names: &[String],
) -> Step<Vec<Xattr>> {
    if names.len() > context.settings.max_xattrs {
        let message =
            format!("{path}: {} names of attributes, the limit is {}", names.len(), context.settings.max_xattrs);
        return Err(Error::new(ErrorKind::LimitExceeded, message).into());
    }
    let inode = paths::find(snapshot, context, path)?;
    let row = rows::inode(snapshot, inode)?;
    access::need(snapshot, context, inode, &row, access::READ, || path.to_string())?;
    for name in names {
        check_name(name)?;
        may_use(context, &row, path, name)?;
    }
    let mut known = all(snapshot, inode, &row)?;
    if names.is_empty() {
        known.retain(|known| context.may_all || !known.name.starts_with(TRUSTED));
        return Ok(known);
    }
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let known = known.iter().find(|known| known.name == *name);
        found.push(known.cloned().ok_or_else(|| missing(path, name))?);
    }
    Ok(found)
}

/// Those of a file or directory that the caller has found and may read, in the order of their names.
pub(super) fn of(snapshot: &mut dyn Snapshot, context: &Context, inode: InodeId) -> Step<Vec<Xattr>> {
    let row = rows::inode(snapshot, inode)?;
    let mut known = all(snapshot, inode, &row)?;
    known.retain(|known| context.may_all || !known.name.starts_with(TRUSTED));
    Ok(known)
}

/// All attributes of an inode, in the order of their names: no more than the largest limit.
fn all(snapshot: &mut dyn Snapshot, inode: InodeId, row: &InodeRow) -> Step<Vec<Xattr>> {
    if !row.marks.xattrs {
        return Ok(Vec::new());
    }
    let found = rows::xattrs(snapshot, inode)?;
    Ok(found.into_iter().map(|(name, value)| Xattr { name, value }).collect())
}

/// An inode whose attribute `name` the caller may change.
fn find_own(txn: &mut dyn Transaction, context: &Context, path: &DfsPath, name: &str) -> Step<(InodeId, InodeRow)> {
    let inode = paths::find(txn, context, path)?;
    let row = rows::inode(txn, inode)?;
    may_use(context, &row, path, name)?;
    access::may_mark(txn, context, inode, &row, path)?;
    Ok((inode, row))
}

fn changed(txn: &mut dyn Transaction, context: &Context, inode: InodeId, row: &InodeRow, path: &DfsPath) {
    announce(txn, context, inode, row.entry_kind(), path, &ChangeKind::Attributes(Attribute::Xattr));
}

fn may_use(context: &Context, row: &InodeRow, path: &DfsPath, name: &str) -> Result<()> {
    if name.starts_with(TRUSTED) { access::superuser(context, row, path) } else { Ok(()) }
}

fn check_name(name: &str) -> Result<()> {
    let shown = &name[..name.floor_char_boundary(100)];
    let Some(rest) = name.strip_prefix(USER).or_else(|| name.strip_prefix(TRUSTED)) else {
        let message = format!("{shown:?}: the names of extended attributes begin with {USER} or {TRUSTED}");
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    if rest.is_empty() || name.len() > MAX_XATTR_NAME_BYTES || name.contains(char::is_control) {
        let message = format!(
            "{shown:?}: the name of an extended attribute has at most {MAX_XATTR_NAME_BYTES} bytes, no control characters, and something after {USER} or {TRUSTED}"
        );
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(())
}

fn missing(path: &DfsPath, name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{path} has no attribute {name}"))
}
