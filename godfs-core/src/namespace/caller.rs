//! Who makes a call.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The longest name of a user or group, in bytes.
pub const MAX_PRINCIPAL_BYTES: usize = 255;
/// The most groups of a caller.
pub const MAX_GROUPS: usize = 256;
/// The group whose members may do everything.
pub const SUPERGROUP: &str = "supergroup";
/// Who a caller is that does not say.
pub const ANONYMOUS: &str = "nobody";

/// Who makes a call: a user with groups, or the namenode itself.
///
/// It is what the client process *claims* of itself. Nothing proves it: permissions keep people from mistakes, and not those out who mean
/// harm.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    user: String,
    /// The first is that of new files.
    groups: Vec<String>,
    system: bool,
}

impl Caller {
    /// A user with groups, the first of which is that of the files that the user makes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a name that [`check_principal`] refuses; [`ErrorKind::LimitExceeded`] for more than [`MAX_GROUPS`] groups.
    pub fn new<G: Into<String>>(user: impl Into<String>, groups: impl IntoIterator<Item = G>) -> Result<Self> {
        let user = user.into();
        check_principal("user", &user)?;
        let mut known = Vec::new();
        for group in groups {
            let group = group.into();
            check_principal("group", &group)?;
            if known.len() == MAX_GROUPS {
                let message = format!("user {user} claims more than {MAX_GROUPS} groups");
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
            if !known.contains(&group) {
                known.push(group);
            }
        }
        Ok(Self { user, groups: known, system: false })
    }

    /// The namenode itself, which may do everything. What it makes belongs to whoever owns the directory.
    #[must_use]
    pub fn system() -> Self {
        Self { user: String::new(), groups: Vec::new(), system: true }
    }

    /// A caller that says nothing of itself: [`ANONYMOUS`], in no group.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { user: ANONYMOUS.to_owned(), groups: Vec::new(), system: false }
    }

    /// The name; empty for the namenode itself.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The groups, none twice; the first is that of new files.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whether it is the namenode itself.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.system
    }

    /// Whether it belongs to `group`.
    #[must_use]
    pub fn is_member(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.system {
            return f.write_str("Caller(system)");
        }
        write!(f, "Caller({}:{})", self.user, self.groups.join(","))
    }
}

/// Whether `name` can be that of a `what` (user or group): 1 to [`MAX_PRINCIPAL_BYTES`] printable ASCII characters without `:` and `,`, and no space
/// at either end. So it can stand in headers, in the text of an ACL, and in a column of a listing.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn check_principal(what: &str, name: &str) -> Result<()> {
    let fits = (1..=MAX_PRINCIPAL_BYTES).contains(&name.len());
    let printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b':' && byte != b',');
    if fits && printable && name.trim() == name {
        return Ok(());
    }
    let shown = &name[..name.floor_char_boundary(64)];
    let message = format!(
        "{shown:?} can't be the name of a {what}: it has 1 to {MAX_PRINCIPAL_BYTES} printable ASCII characters other than ':' and ',', and no space at its ends"
    );
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        for name in ["alice", "a", "svc-1.x_y$", "domain users", "1000", "a@b.example", &"x".repeat(255)] {
            Caller::new(name, [name]).unwrap();
        }
        for name in
            ["", " a", "a ", "a:b", "a,b", "a\nb", "a\r\ngodfs-user: root", "a\0", "ä", "\u{7f}", &"x".repeat(256)]
        {
            assert_eq!(Caller::new(name, [""; 0]).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name:?}");
            assert_eq!(Caller::new("a", [name]).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name:?}");
        }
    }

    #[test]
    fn groups_are_bounded_and_none_comes_twice() {
        let groups = |count: usize| (0..count).map(|n| format!("g{n}"));
        assert_eq!(Caller::new("a", groups(MAX_GROUPS)).unwrap().groups().len(), MAX_GROUPS);
        assert_eq!(Caller::new("a", groups(MAX_GROUPS + 1)).unwrap_err().kind(), ErrorKind::LimitExceeded);
        let caller = Caller::new("a", ["x", "y", "x"]).unwrap();
        assert_eq!(caller.groups(), ["x", "y"]);
        assert!(caller.is_member("y") && !caller.is_member("z") && !caller.is_system());
    }
}
