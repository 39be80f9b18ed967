//! Access control lists and extended attributes.

use godfs_core::namespace::{
    Acl, AclChange, AclEntry, AclPlace, AclSubject, MAX_ACL_ENTRIES, Owner, Xattr, XattrMode, check_principal,
};
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;

use super::{invalid, mode};

/// Entries of one message: those of both lists.
const MAX_ENTRIES: usize = 2 * MAX_ACL_ENTRIES;

/// An entry of an access control list.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn acl_entry(wire: &v1::AclEntry) -> Result<AclEntry> {
    let named = |what: &str| check_principal(what, &wire.name).map(|()| wire.name.clone());
    let subject = match v1::AclTag::try_from(wire.tag) {
        Ok(v1::AclTag::User) => AclSubject::User(named("user")?),
        Ok(v1::AclTag::NamedGroup) => AclSubject::NamedGroup(named("group")?),
        Ok(v1::AclTag::Owner) => AclSubject::Owner,
        Ok(v1::AclTag::Group) => AclSubject::Group,
        Ok(v1::AclTag::Mask) => AclSubject::Mask,
        Ok(v1::AclTag::Other) => AclSubject::Other,
        Ok(v1::AclTag::Unspecified) | Err(_) => return Err(invalid(format!("tag: {} is none", wire.tag))),
    };
    if subject.name().is_none() && !wire.name.is_empty() {
        return Err(invalid("entry: only users and groups have names"));
    }
    let rights = u8::try_from(wire.rights).ok().filter(|rights| *rights <= 7);
    let rights = rights.ok_or_else(|| invalid(format!("rights: {} is not from 0 to 7", wire.rights)))?;
    Ok(AclEntry { place: AclPlace { default: wire.default_list, subject }, rights })
}

/// An entry, to the wire.
#[must_use]
pub fn acl_entry_to_wire(entry: &AclEntry) -> v1::AclEntry {
    let tag = match entry.place.subject {
        AclSubject::Owner => v1::AclTag::Owner,
        AclSubject::User(_) => v1::AclTag::User,
        AclSubject::Group => v1::AclTag::Group,
        AclSubject::NamedGroup(_) => v1::AclTag::NamedGroup,
        AclSubject::Mask => v1::AclTag::Mask,
        AclSubject::Other => v1::AclTag::Other,
    };
    v1::AclEntry {
        default_list: entry.place.default,
        tag: tag.into(),
        name: entry.place.subject.name().unwrap_or_default().to_owned(),
        rights: entry.rights.into(),
    }
}

fn acl_entries(wire: &[v1::AclEntry]) -> Result<Vec<AclEntry>> {
    if wire.len() > MAX_ENTRIES {
        let message = format!("entries: {} of an access control list, the limit is {MAX_ENTRIES}", wire.len());
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    wire.iter().map(acl_entry).collect()
}

/// A change of access control lists.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`]; [`ErrorKind::LimitExceeded`] for more entries than both lists can have.
pub fn acl_change(wire: &v1::SetAclRequest) -> Result<AclChange> {
    let entries = acl_entries(&wire.entries)?;
    let none = |change| if entries.is_empty() { Ok(change) } else { Err(invalid("entries: this change has none")) };
    match v1::AclOperation::try_from(wire.operation) {
        Ok(v1::AclOperation::Modify) => Ok(AclChange::Modify(entries)),
        Ok(v1::AclOperation::Replace) => Ok(AclChange::Replace(entries)),
        Ok(v1::AclOperation::Remove) => Ok(AclChange::Remove(entries.into_iter().map(|entry| entry.place).collect())),
        Ok(v1::AclOperation::RemoveDefault) => none(AclChange::RemoveDefault),
        Ok(v1::AclOperation::RemoveAll) => none(AclChange::RemoveAll),
        Ok(v1::AclOperation::Unspecified) | Err(_) => Err(invalid(format!("operation: {} is none", wire.operation))),
    }
}

/// A change, to the wire.
#[must_use]
pub fn acl_change_to_wire(change: &AclChange) -> (v1::AclOperation, Vec<v1::AclEntry>) {
    let entries = |entries: &[AclEntry]| entries.iter().map(acl_entry_to_wire).collect();
    match change {
        AclChange::Modify(given) => (v1::AclOperation::Modify, entries(given)),
        AclChange::Replace(given) => (v1::AclOperation::Replace, entries(given)),
        AclChange::Remove(places) => {
            let given: Vec<_> = places.iter().map(|place| AclEntry { place: place.clone(), rights: 0 }).collect();
            (v1::AclOperation::Remove, entries(&given))
        }
        AclChange::RemoveDefault => (v1::AclOperation::RemoveDefault, Vec::new()),
        AclChange::RemoveAll => (v1::AclOperation::RemoveAll, Vec::new()),
    }
}

/// The access control lists of a file or directory.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`]; [`ErrorKind::LimitExceeded`].
pub fn acl(wire: v1::GetAclResponse) -> Result<Acl> {
    let entries = acl_entries(&wire.entries)?;
    Ok(Acl { owner: Owner { user: wire.user, group: wire.group, mode: mode(wire.mode)? }, entries })
}

/// The same, to the wire.
#[must_use]
pub fn acl_to_wire(acl: Acl) -> v1::GetAclResponse {
    v1::GetAclResponse {
        entries: acl.entries.iter().map(acl_entry_to_wire).collect(),
        user: acl.owner.user,
        group: acl.owner.group,
        mode: acl.owner.mode.into(),
    }
}

/// Whether an extended attribute must be there before it is set.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn xattr_mode(wire: i32) -> Result<XattrMode> {
    match v1::XattrMode::try_from(wire) {
        Ok(v1::XattrMode::Unspecified) => Ok(XattrMode::Any),
        Ok(v1::XattrMode::Create) => Ok(XattrMode::Create),
        Ok(v1::XattrMode::Replace) => Ok(XattrMode::Replace),
        Err(_) => Err(invalid(format!("mode: {wire} is none"))),
    }
}

/// The same, to the wire.
#[must_use]
pub fn xattr_mode_to_wire(mode: XattrMode) -> v1::XattrMode {
    match mode {
        XattrMode::Any => v1::XattrMode::Unspecified,
        XattrMode::Create => v1::XattrMode::Create,
        XattrMode::Replace => v1::XattrMode::Replace,
    }
}

/// An extended attribute, to the wire.
#[must_use]
pub fn xattr_to_wire(xattr: Xattr) -> v1::Xattr {
    v1::Xattr { name: xattr.name, value: xattr.value }
}

#[cfg(test)]
mod tests {
    use godfs_core::namespace::parse_acl;

    use super::*;

    #[test]
    fn lists_cross_whole() {
        let entries =
            parse_acl("user::rwx,user:a:r-x,group::---,group:g:-w-,mask::r--,default:other::--x").expect("valid");
        let places = entries.iter().map(|entry| entry.place.clone()).collect();
        for change in [
            AclChange::Modify(entries.clone()),
            AclChange::Replace(entries.clone()),
            AclChange::Remove(places),
            AclChange::RemoveDefault,
            AclChange::RemoveAll,
        ] {
            let (operation, entries) = acl_change_to_wire(&change);
            let wire = v1::SetAclRequest { operation: operation.into(), entries, ..Default::default() };
            assert_eq!(acl_change(&wire).expect("valid"), change);
        }
        let owner = Owner { user: "u".into(), group: "g".into(), mode: 0o1777 };
        let whole = Acl { owner, entries };
        assert_eq!(acl(acl_to_wire(whole.clone())).expect("valid"), whole);
    }

    #[test]
    fn lists_that_lie_are_refused() {
        let entry = |tag: v1::AclTag, name: &str, rights| v1::AclEntry {
            default_list: false,
            tag: tag.into(),
            name: name.into(),
            rights,
        };
        let modify = v1::AclOperation::Modify;
        for (operation, entries, kind) in [
            (modify, vec![entry(v1::AclTag::Unspecified, "", 0)], ErrorKind::InvalidArgument),
            (modify, vec![v1::AclEntry { tag: 99, ..Default::default() }], ErrorKind::InvalidArgument),
            (modify, vec![entry(v1::AclTag::User, "", 0)], ErrorKind::InvalidArgument),
            (modify, vec![entry(v1::AclTag::User, "a\nb", 0)], ErrorKind::InvalidArgument),
            (modify, vec![entry(v1::AclTag::Other, "a", 0)], ErrorKind::InvalidArgument),
            (modify, vec![entry(v1::AclTag::Other, "", 8)], ErrorKind::InvalidArgument),
            (modify, vec![entry(v1::AclTag::Other, "", u32::MAX)], ErrorKind::InvalidArgument),
            (modify, vec![entry(v1::AclTag::Other, "", 0); 65], ErrorKind::LimitExceeded),
            (v1::AclOperation::Unspecified, vec![], ErrorKind::InvalidArgument),
            (v1::AclOperation::RemoveAll, vec![entry(v1::AclTag::Other, "", 0)], ErrorKind::InvalidArgument),
        ] {
            let wire = v1::SetAclRequest { operation: operation.into(), entries, ..Default::default() };
            assert_eq!(acl_change(&wire).expect_err("refused").kind(), kind, "{wire:?}");
        }
        assert!(xattr_mode(3).is_err() && mode(0o10000).is_err() && mode(u32::MAX).is_err());
    }
}
