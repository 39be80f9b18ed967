//! How access control lists change and are inherited.

use std::collections::{BTreeMap, BTreeSet};

use super::{AclChange, AclEntry, AclPlace, AclRow, AclSubject, DefaultList, GroupClass, MAX_ACL_ENTRIES};
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::caller::check_principal;

const BASE: [AclSubject; 3] = [AclSubject::Owner, AclSubject::Group, AclSubject::Other];

/// Both lists, entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    access: BTreeMap<AclSubject, u8>,
    /// Empty where there is none.
    default: BTreeMap<AclSubject, u8>,
}

impl Lists {
    pub(super) fn of(mode: u16, row: &AclRow) -> Self {
        let class = |list: &mut BTreeMap<AclSubject, u8>, class: &GroupClass| {
            list.extend(class.users.iter().map(|(name, rights)| (AclSubject::User(name.clone()), *rights)));
            list.extend(class.groups.iter().map(|(name, rights)| (AclSubject::NamedGroup(name.clone()), *rights)));
            list.insert(AclSubject::Group, class.group);
        };
        let mut lists = Self::default();
        lists.access.insert(AclSubject::Owner, bits(mode, 6));
        lists.access.insert(AclSubject::Group, bits(mode, 3));
        lists.access.insert(AclSubject::Other, bits(mode, 0));
        if let Some(access) = &row.access {
            class(&mut lists.access, access);
            lists.access.insert(AclSubject::Mask, bits(mode, 3));
        }
        if let Some(default) = &row.default {
            class(&mut lists.default, &default.class);
            lists.default.insert(AclSubject::Owner, default.owner);
            lists.default.insert(AclSubject::Other, default.other);
            default.mask.map(|mask| lists.default.insert(AclSubject::Mask, mask));
        }
        lists
    }

    pub(super) fn into_entries(self) -> Vec<AclEntry> {
        let entries = |list: BTreeMap<AclSubject, u8>, default| {
            list.into_iter().map(move |(subject, rights)| AclEntry { place: AclPlace { default, subject }, rights })
        };
        entries(self.access, false).chain(entries(self.default, true)).collect()
    }

    fn list(&mut self, default: bool) -> &mut BTreeMap<AclSubject, u8> {
        if default { &mut self.default } else { &mut self.access }
    }

    /// The mode and the row that say the same.
    fn into_row(self, mode: u16) -> (u16, AclRow) {
        let class = |list: &BTreeMap<AclSubject, u8>| {
            let mut class = GroupClass { group: list[&AclSubject::Group], ..GroupClass::default() };
            for (subject, rights) in list {
                match subject {
                    AclSubject::User(name) => drop(class.users.insert(name.clone(), *rights)),
                    AclSubject::NamedGroup(name) => drop(class.groups.insert(name.clone(), *rights)),
                    _ => {}
                }
            }
            class
        };
        let mask = self.access.get(&AclSubject::Mask).copied();
        let group = mask.unwrap_or(self.access[&AclSubject::Group]);
        let shown = u16::from(self.access[&AclSubject::Owner]) << 6
            | u16::from(group) << 3
            | u16::from(self.access[&AclSubject::Other]);
        let default = (!self.default.is_empty()).then(|| DefaultList {
            owner: self.default[&AclSubject::Owner],
            class: class(&self.default),
            mask: self.default.get(&AclSubject::Mask).copied(),
            other: self.default[&AclSubject::Other],
        });
        (mode & !0o777 | shown, AclRow { access: mask.map(|_| class(&self.access)), default })
    }
}

/// The mode and lists after a change; `directory` tells whether there may be a default list.
pub(in crate::namespace) fn apply(
    mode: u16,
    row: &AclRow,
    directory: bool,
    change: &AclChange,
) -> Result<(u16, AclRow)> {
    let mut lists = Lists::of(mode, row);
    match change {
        AclChange::RemoveDefault => lists.default.clear(),
        AclChange::RemoveAll => {
            lists.default.clear();
            lists.access.retain(|subject, _| subject.is_base());
        }
        AclChange::Remove(places) => {
            check_distinct(places.iter())?;
            for place in places {
                remove(&mut lists, place)?;
            }
            for default in [false, true] {
                if places.iter().any(|place| place.default == default) {
                    remask(lists.list(default));
                }
            }
        }
        AclChange::Modify(entries) => add(&mut lists, entries)?,
        AclChange::Replace(entries) => {
            for subject in BASE {
                let given = |entry: &AclEntry| !entry.place.default && entry.place.subject == subject;
                if !entries.iter().any(given) {
                    let place = AclPlace { default: false, subject };
                    return Err(invalid(format!("a list that replaces another has the entry {place}")));
                }
            }
            lists = Lists::default();
            add(&mut lists, entries)?;
        }
    }
    if !directory && !lists.default.is_empty() {
        return Err(invalid("only a directory has a default list".to_owned()));
    }
    for list in [&lists.access, &lists.default] {
        if list.len() > MAX_ACL_ENTRIES {
            let message =
                format!("a list would have {} entries, mask included, the limit is {MAX_ACL_ENTRIES}", list.len());
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
    }
    Ok(lists.into_row(mode))
}

/// The mode and lists of something that is made in a directory with this default list, when `asked` are the bits before any umask.
pub(in crate::namespace) fn inherit(default: &DefaultList, asked: u16, directory: bool) -> (u16, AclRow) {
    let shown = default.mask.unwrap_or(default.class.group) & bits(asked, 3);
    let mode = asked & !0o777
        | u16::from(default.owner & bits(asked, 6)) << 6
        | u16::from(shown) << 3
        | u16::from(default.other & bits(asked, 0));
    let access = default.mask.is_some().then(|| default.class.clone());
    (mode, AclRow { access, default: directory.then(|| default.clone()) })
}

fn add(lists: &mut Lists, entries: &[AclEntry]) -> Result<()> {
    check_distinct(entries.iter().map(|entry| &entry.place))?;
    for entry in entries {
        if entry.rights > 7 {
            return Err(invalid(format!("{}: rights are 0 to 7, not {}", entry.place, entry.rights)));
        }
        if let Some(name) = entry.place.subject.name() {
            check_principal("user or group", name)?;
        }
        lists.list(entry.place.default).insert(entry.place.subject.clone(), entry.rights);
    }
    if !lists.default.is_empty() {
        // What a default list does not say of the base is as in the other.
        for subject in BASE {
            let rights = lists.access[&subject];
            lists.default.entry(subject).or_insert(rights);
        }
    }
    for default in [false, true] {
        let touched = entries.iter().any(|entry| entry.place.default == default);
        let given = |entry: &AclEntry| entry.place.default == default && entry.place.subject == AclSubject::Mask;
        if touched && !entries.iter().any(given) {
            remask(lists.list(default));
        }
    }
    Ok(())
}

fn remove(lists: &mut Lists, place: &AclPlace) -> Result<()> {
    if place.subject.is_base() {
        return Err(invalid(format!("{place}: a base entry can't be removed; give it other rights")));
    }
    // As with setfacl(1), what is not there is gone.
    lists.list(place.default).remove(&place.subject);
    Ok(())
}

/// Gives a list with named entries a mask that takes nothing away, and one without none.
fn remask(list: &mut BTreeMap<AclSubject, u8>) {
    list.remove(&AclSubject::Mask);
    if list.keys().any(|subject| subject.name().is_some()) {
        let masked = list.iter().filter(|(subject, _)| subject.name().is_some() || **subject == AclSubject::Group);
        let mask = masked.fold(0, |mask, (_, rights)| mask | rights);
        list.insert(AclSubject::Mask, mask);
    }
}

fn check_distinct<'p>(places: impl Iterator<Item = &'p AclPlace>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for place in places {
        if seen.len() >= 2 * MAX_ACL_ENTRIES {
            let message = format!("a change of more than {} entries", 2 * MAX_ACL_ENTRIES);
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        if !seen.insert(place) {
            return Err(invalid(format!("the entry {place} is given twice")));
        }
    }
    Ok(())
}

/// Three bits of a mode.
fn bits(mode: u16, shift: u32) -> u8 {
    (mode >> shift) as u8 & 7
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::super::{entries, parse_acl, parse_acl_subjects};
    use super::*;

    fn shown(mode: u16, row: &AclRow) -> String {
        entries(mode, row).iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn modify(text: &str) -> AclChange {
        AclChange::Modify(parse_acl(text).unwrap())
    }

    #[test]
    fn the_mask_is_the_groups_bits() {
        let (mode, row) = apply(0o1640, &AclRow::default(), false, &modify("user:bob:rwx")).unwrap();
        assert_eq!(mode, 0o1670);
        assert_eq!(shown(mode, &row), "user::rw-,user:bob:rwx,group::r--,mask::rwx,other::---");
        // chmod g=r bounds what bob has; the entry stays.
        let (mode, row) = apply(0o640, &row, false, &modify("group:dev:r-x,mask::r--")).unwrap();
        assert_eq!(shown(mode, &row), "user::rw-,user:bob:rwx,group::r--,group:dev:r-x,mask::r--,other::---");
        assert_eq!(mode, 0o640);
        // Any other change makes the mask anew, and the last named entry takes it along.
        let gone = AclChange::Remove(parse_acl_subjects("user:bob").unwrap());
        let (mode, row) = apply(mode, &row, false, &gone).unwrap();
        assert_eq!(shown(mode, &row), "user::rw-,group::r--,group:dev:r-x,mask::r-x,other::---");
        let gone = AclChange::Remove(parse_acl_subjects("group:dev,user:nobody").unwrap());
        let (mode, row) = apply(mode, &row, false, &gone).unwrap();
        assert_eq!((mode, row.is_empty()), (0o640, true));
    }

    #[test]
    fn default_lists_take_their_base_from_the_other() {
        let (mode, row) = apply(0o750, &AclRow::default(), true, &modify("default:user:bob:rw-,user::rw-")).unwrap();
        let expected = "user::rw-,group::r-x,other::---,default:user::rw-,default:user:bob:rw-,default:group::r-x,default:mask::rwx,default:other::---";
        assert_eq!((shown(mode, &row).as_str(), mode), (expected, 0o650));
        let (mode, file) = inherit(row.default.as_ref().unwrap(), 0o666, false);
        assert_eq!(
            (shown(mode, &file).as_str(), mode),
            ("user::rw-,user:bob:rw-,group::r-x,mask::rw-,other::---", 0o660)
        );
        let (mode, directory) = inherit(row.default.as_ref().unwrap(), 0o1777, true);
        assert_eq!((mode, &directory.default), (0o1670, &row.default));
        let (mode, row) = apply(0o650, &row, true, &AclChange::RemoveDefault).unwrap();
        assert_eq!((mode, row.is_empty()), (0o650, true));
        // Without named entries there is no mask, and the group's entry is what is inherited.
        let (mode, row) = apply(mode, &row, true, &modify("default:group::rwx")).unwrap();
        let (file, inherited) = inherit(row.default.as_ref().unwrap(), 0o666, false);
        assert_eq!((mode, file, inherited.is_empty()), (0o650, 0o660, true));
    }

    #[test]
    fn lists_are_replaced_and_removed_whole() {
        let replace = |text: &str| AclChange::Replace(parse_acl(text).unwrap());
        let (mode, row) =
            apply(0o777, &AclRow::default(), false, &replace("user::rw-,group::r--,other::---,group:dev:rwx")).unwrap();
        assert_eq!(shown(mode, &row), "user::rw-,group::r--,group:dev:rwx,mask::rwx,other::---");
        let (mode, row) = apply(mode, &row, false, &AclChange::RemoveAll).unwrap();
        assert_eq!((mode, row.is_empty()), (0o640, true), "the group has its own bits again");
        let (mode, row) = apply(mode, &row, false, &replace("user::r--,group::rwx,mask::r--,other::---")).unwrap();
        assert_eq!((mode, row.is_empty()), (0o440, false), "a mask without named entries is a list too");
    }

    #[test]
    fn changes_that_can_not_be_are_refused() {
        let list = |count: usize| (0..count).map(|n| format!("user:u{n}:r--")).collect::<Vec<_>>().join(",");
        let row = AclRow::default();
        let refused = |change: &AclChange| apply(0o640, &row, false, change).unwrap_err().kind();
        // Three base entries and the mask leave room for 28.
        assert!(apply(0o640, &row, false, &modify(&list(28))).is_ok());
        assert_eq!(refused(&modify(&list(29))), ErrorKind::LimitExceeded);
        let entry = AclEntry { place: AclPlace { default: false, subject: AclSubject::Other }, rights: 8 };
        for (change, kind) in [
            (modify("user:a:r--,user:a:rw-"), ErrorKind::InvalidArgument),
            (modify("default:user:a:r--"), ErrorKind::InvalidArgument),
            (AclChange::Modify(vec![entry.clone()]), ErrorKind::InvalidArgument),
            (AclChange::Replace(parse_acl("user::rwx,group::rwx").unwrap()), ErrorKind::InvalidArgument),
            (AclChange::Remove(parse_acl_subjects("other").unwrap()), ErrorKind::InvalidArgument),
            (AclChange::Remove(parse_acl_subjects("user:a,user:a").unwrap()), ErrorKind::InvalidArgument),
        ] {
            assert_eq!(refused(&change), kind, "{change:?}");
        }
        let name = AclPlace { default: false, subject: AclSubject::User("a:b".into()) };
        assert_eq!(refused(&AclChange::Modify(vec![AclEntry { place: name, rights: 4 }])), ErrorKind::InvalidArgument);
        let many = (0..65).map(|n| AclPlace { default: false, subject: AclSubject::User(n.to_string()) }).collect();
        assert_eq!(refused(&AclChange::Remove(many)), ErrorKind::LimitExceeded);
    }
}
