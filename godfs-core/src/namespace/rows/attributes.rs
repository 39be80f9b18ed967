//! What an inode has besides its own row: extended attributes, a row each, and access control lists, one row.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::codec::{Decoder, Encoder};
use super::{InodeRow, keys};
use crate::error::Result;
use crate::id::InodeId;
use crate::metadata::{Range, Snapshot, Space, Stamped, Step, Transaction};
use crate::namespace::acl::{AclRow, DefaultList, GroupClass, MAX_ACL_ENTRIES};
use crate::namespace::settings::MAX_XATTRS;

const FORMAT: u8 = 1;

const ACCESS: u8 = 1;
const DEFAULT: u8 = 2;
const MASK: u8 = 4;

/// What rows besides its own an inode has, as that tells: without a mark nobody looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::namespace) struct Marks {
    pub(in crate::namespace) acl: bool,
    pub(in crate::namespace) xattrs: bool,
    /// It is an item of the trash.
    pub(in crate::namespace) trashed: bool,
}

impl Marks {
    pub(super) fn bits(self) -> u16 {
        u16::from(self.acl) | u16::from(self.xattrs) << 1 | u16::from(self.trashed) << 2
    }

    pub(super) fn from_bits(bits: u16) -> Option<Self> {
        (bits <= 7).then_some(Self { acl: bits & 1 != 0, xattrs: bits & 2 != 0, trashed: bits & 4 != 0 })
    }
}

/// The extended attributes of an inode, in the order of their names.
pub(in crate::namespace) fn xattrs(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Vec<(String, Bytes)>> {
    let found = snapshot.scan(Space::Rows, &Range::prefix(&keys::xattrs(inode), MAX_XATTRS))?;
    let mut xattrs = Vec::with_capacity(found.len());
    for (key, value) in found {
        let mut key = keys::KeyReader::new(&key)?;
        key.u64()?;
        xattrs.push((key.text()?.to_owned(), decode_xattr(&value)?));
    }
    Ok(xattrs)
}

pub(in crate::namespace) fn put_xattr(txn: &mut dyn Transaction, inode: InodeId, name: &str, value: &[u8]) {
    let mut row = Encoder::new();
    row.byte(FORMAT).raw(value);
    txn.put(Space::Rows, keys::xattr(inode, name).into(), Stamped::plain(row.into_bytes()));
}

pub(in crate::namespace) fn remove_xattr(txn: &mut dyn Transaction, inode: InodeId, name: &str) {
    txn.delete(Space::Rows, &keys::xattr(inode, name));
}

pub(in crate::namespace) fn decode_xattr(bytes: &[u8]) -> Result<Bytes> {
    let mut row = Decoder::new(bytes, FORMAT, "an extended attribute")?;
    Ok(Bytes::copy_from_slice(row.rest()))
}

pub(in crate::namespace) fn find_acl(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Option<AclRow>> {
    let row = snapshot.get(Space::Rows, &keys::acl(inode))?;
    Ok(row.map(|row| AclRow::decode(&row)).transpose()?)
}

/// The lists of an inode, empty where it has none.
pub(in crate::namespace) fn acl_of(snapshot: &mut dyn Snapshot, inode: InodeId, row: &InodeRow) -> Step<AclRow> {
    if !row.marks.acl {
        return Ok(AclRow::default());
    }
    Ok(find_acl(snapshot, inode)?
        .ok_or_else(|| super::dangling(&format!("the access control list of inode {inode}")))?)
}

/// Writes the lists of an inode and marks its row, which is the caller's to write.
pub(in crate::namespace) fn put_acl(txn: &mut dyn Transaction, inode: InodeId, row: &mut InodeRow, acl: &AclRow) {
    if !acl.is_empty() {
        txn.put(Space::Rows, keys::acl(inode).into(), acl.encode());
    } else if row.marks.acl {
        txn.delete(Space::Rows, &keys::acl(inode));
    }
    row.marks.acl = !acl.is_empty();
}

/// Removes what an inode that goes has besides its own row.
pub(in crate::namespace) fn remove_attributes(txn: &mut dyn Transaction, inode: InodeId, row: &InodeRow) -> Step<()> {
    if row.marks.acl {
        txn.delete(Space::Rows, &keys::acl(inode));
    }
    if row.marks.xattrs {
        for (name, _) in xattrs(txn, inode)? {
            remove_xattr(txn, inode, &name);
        }
    }
    Ok(())
}

impl AclRow {
    pub(in crate::namespace) fn encode(&self) -> Stamped {
        let mut row = Encoder::new();
        let mut flags = 0;
        if self.access.is_some() {
            flags |= ACCESS;
        }
        if let Some(default) = &self.default {
            flags |= DEFAULT;
            if default.mask.is_some() {
                flags |= MASK;
            }
        }
        row.byte(FORMAT).byte(flags);
        if let Some(access) = &self.access {
            access.encode(&mut row);
        }
        if let Some(default) = &self.default {
            row.byte(default.owner).byte(default.other);
            if let Some(mask) = default.mask {
                row.byte(mask);
            }
            default.class.encode(&mut row);
        }
        Stamped::plain(row.into_bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "an access control list")?;
        let flags = row.byte()?;
        if flags & !(ACCESS | DEFAULT | MASK) != 0 || flags & (ACCESS | DEFAULT) == 0 {
            return Err(row.bad("has flags that this software does not know"));
        }
        let access = if flags & ACCESS != 0 { Some(GroupClass::decode(&mut row)?) } else { None };
        let default = if flags & DEFAULT != 0 {
            let (owner, other) = (rights(&mut row)?, rights(&mut row)?);
            let mask = if flags & MASK != 0 { Some(rights(&mut row)?) } else { None };
            Some(DefaultList { owner, other, mask, class: GroupClass::decode(&mut row)? })
        } else {
            None
        };
        row.end()?;
        Ok(Self { access, default })
    }
}

impl GroupClass {
    fn encode(&self, row: &mut Encoder) {
        row.byte(self.group);
        for named in [&self.users, &self.groups] {
            row.count(named.len());
            for (name, rights) in named {
                row.text(name).byte(*rights);
            }
        }
    }

    fn decode(row: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self { group: rights(row)?, users: named(row)?, groups: named(row)? })
    }
}

fn named(row: &mut Decoder<'_>) -> Result<BTreeMap<String, u8>> {
    let count = row.count()?;
    if count > MAX_ACL_ENTRIES {
        return Err(row.bad("has too many entries"));
    }
    let mut named = BTreeMap::new();
    for _ in 0..count {
        named.insert(row.text()?, rights(row)?);
    }
    Ok(named)
}

fn rights(row: &mut Decoder<'_>) -> Result<u8> {
    match row.byte()? {
        rights @ 0..=7 => Ok(rights),
        _ => Err(row.bad("has rights that do not exist")),
    }
}
