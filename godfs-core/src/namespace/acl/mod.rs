//! Access control lists, as POSIX 1003.1e (draft 17) has them: what an entry is, and how people write one.
//!
//! A list has base entries for owner, owning group and others, which are the permission bits; named entries for further users and groups; and a mask, which
//! bounds all of these but owner and others, and is what the group's bits of the mode show as soon as there is one. A directory may have a
//! second list, the default one, which what is made in it inherits.

mod change;
mod text;

pub(super) use change::{apply, inherit};
pub use text::{parse_acl, parse_acl_subjects};

use std::collections::BTreeMap;

use super::options::Owner;

/// The most entries of one list, base entries and mask included.
pub const MAX_ACL_ENTRIES: usize = 32;

/// Whom an entry is about. In the order in which lists are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AclSubject {
    /// The owner.
    Owner,
    /// A user, by name.
    User(String),
    /// The group that the file belongs to.
    Group,
    /// A group, by name.
    NamedGroup(String),
    /// What users by name and all groups have at most.
    Mask,
    /// Everybody else.
    Other,
}

impl AclSubject {
    /// Whether every list has it.
    #[must_use]
    pub fn is_base(&self) -> bool {
        matches!(self, Self::Owner | Self::Group | Self::Other)
    }

    /// The user or group that is named.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::User(name) | Self::NamedGroup(name) => Some(name),
            _ => None,
        }
    }
}

/// In which list an entry stands, and whom it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclPlace {
    /// In the default list.
    pub default: bool,
    /// Whom it is about.
    pub subject: AclSubject,
}

/// One entry. Shown and read as `[default:](user|group|mask|other):[NAME]:(rwx|…)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AclEntry {
    /// In which list, and about whom.
    pub place: AclPlace,
    /// Read 4, write 2, execute 1.
    pub rights: u8,
}

/// How the lists of a file or directory change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclChange {
    /// Adds entries, or gives those that are there other rights.
    Modify(Vec<AclEntry>),
    /// Takes entries away; never base entries.
    Remove(Vec<AclPlace>),
    /// Takes the default list away.
    RemoveDefault,
    /// Takes all but the base entries away.
    RemoveAll,
    /// Puts these in the place of all that is there. Base entries must be among them.
    Replace(Vec<AclEntry>),
}

/// The lists of a file or directory, and what goes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Whose it is; the group's bits of the mode are the mask where there is one.
    pub owner: Owner,
    /// All entries, base entries included, in the order in which they are shown.
    pub entries: Vec<AclEntry>,
}

/// What a list holds besides owner and others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupClass {
    pub(super) users: BTreeMap<String, u8>,
    pub(super) group: u8,
    pub(super) groups: BTreeMap<String, u8>,
}

/// The default list of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DefaultList {
    pub(super) owner: u8,
    pub(super) class: GroupClass,
    pub(super) mask: Option<u8>,
    pub(super) other: u8,
}

/// What the mode of an inode can't say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AclRow {
    /// With a mask, which is the group's bits of the mode. Owner and others are in the mode too.
    pub(super) access: Option<GroupClass>,
    /// Only of a directory.
    pub(super) default: Option<DefaultList>,
}

impl AclRow {
    pub(super) fn is_empty(&self) -> bool {
        self.access.is_none() && self.default.is_none()
    }
}

impl GroupClass {
    /// What `user` in the groups for which `member` holds may do here, before the mask; `None` when nothing in it is about that user. `owning` tells whether
    /// the user is in the owning group. Of several groups the first counts that allows all of `wanted`; rights of several do not add up.
    pub(super) fn rights(&self, user: &str, owning: bool, member: impl Fn(&str) -> bool, wanted: u8) -> Option<u8> {
        if let Some(rights) = self.users.get(user) {
            return Some(*rights);
        }
        let named = self.groups.iter().filter(|(group, _)| member(group)).map(|(_, rights)| *rights);
        let mut found = owning.then_some(self.group).into_iter().chain(named).peekable();
        let first = found.peek().copied();
        found.find(|rights| wanted & !rights == 0).or(first)
    }
}

/// All entries, in order.
pub(super) fn entries(mode: u16, row: &AclRow) -> Vec<AclEntry> {
    change::Lists::of(mode, row).into_entries()
}
