//! How people write access control lists.

use std::fmt;
use std::str::FromStr;

use super::{AclEntry, AclPlace, AclSubject, MAX_ACL_ENTRIES};
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::caller::check_principal;

/// The longest text of a list that is read, bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Entries with commas in between, such as `user::rwx,group:staff:r-x,default:other::---`.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for what is no entry; [`ErrorKind::LimitExceeded`] for more than both lists can hold.
pub fn parse_acl(text: &str) -> Result<Vec<AclEntry>> {
    parts(text)?.map(str::parse).collect()
}

/// The same without rights: entries that are to go, such as `user:alice,default:group:staff`.
///
/// # Errors
/// As for [`parse_acl`].
pub fn parse_acl_subjects(text: &str) -> Result<Vec<AclPlace>> {
    parts(text)?
        .map(|part| {
            let (place, rest) = place(part)?;
            // The rights that an entry has may stand there, and do not matter.
            rest.map_or(Ok(()), |rights| rights_of(part, rights).map(drop))?;
            Ok(place)
        })
        .collect()
}

fn parts(text: &str) -> Result<impl Iterator<Item = &str>> {
    let too_many =
        || Error::new(ErrorKind::LimitExceeded, format!("lists have at most {MAX_ACL_ENTRIES} entries each"));
    if text.len() > MAX_TEXT_BYTES || text.split(',').count() > 2 * MAX_ACL_ENTRIES {
        return Err(too_many());
    }
    Ok(text.split(',').map(str::trim))
}

impl FromStr for AclEntry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (place, rights) = place(text)?;
        let rights = rights.ok_or_else(|| bad(text, "it says no rights, such as r-x"))?;
        Ok(Self { place, rights: rights_of(text, rights)? })
    }
}

/// Takes `[default:]TAG[:[NAME]]` off the front; what is left are rights.
fn place(text: &str) -> Result<(AclPlace, Option<&str>)> {
    let mut fields = text.split(':');
    let mut tag = fields.next().unwrap_or_default();
    let default = matches!(tag, "default" | "d");
    if default {
        tag = fields.next().unwrap_or_default();
    }
    let mut name = fields.next().unwrap_or_default();
    let mut rights = fields.next();
    // `mask:r-x` and `other:r-x` are common.
    if rights.is_none() && matches!(tag, "mask" | "m" | "other" | "o") && !name.is_empty() {
        rights = Some(std::mem::take(&mut name));
    }
    if fields.next().is_some() {
        return Err(bad(text, "it has too many parts"));
    }
    let subject = match (tag, name) {
        ("user" | "u", "") => AclSubject::Owner,
        ("user" | "u", name) => AclSubject::User(principal("user", name)?),
        ("group" | "g", "") => AclSubject::Group,
        ("group" | "g", name) => AclSubject::NamedGroup(principal("group", name)?),
        ("mask" | "m", "") => AclSubject::Mask,
        ("other" | "o", "") => AclSubject::Other,
        ("mask" | "m" | "other" | "o", _) => return Err(bad(text, "mask and other have no name")),
        _ => return Err(bad(text, "it must begin with user, group, mask or other, after default: or not")),
    };
    Ok((AclPlace { default, subject }, rights))
}

fn principal(what: &str, name: &str) -> Result<String> {
    check_principal(what, name)?;
    Ok(name.to_owned())
}

/// `rwx` in this order, each or `-`, or a digit.
fn rights_of(text: &str, rights: &str) -> Result<u8> {
    let bytes = rights.as_bytes();
    match bytes {
        [digit @ b'0'..=b'7'] => return Ok(digit - b'0'),
        [r, w, x]
            if [(r, b'r'), (w, b'w'), (x, b'x')]
                .iter()
                .all(|(found, letter)| **found == *letter || **found == b'-') =>
        {
            return Ok(u8::from(*r == b'r') << 2 | u8::from(*w == b'w') << 1 | u8::from(*x == b'x'));
        }
        _ => {}
    }
    Err(bad(text, "rights are three of r, w, x and -, such as r-x, or a digit"))
}

fn bad(text: &str, why: &str) -> Error {
    let shown = &text[..text.floor_char_boundary(100)];
    Error::new(ErrorKind::InvalidArgument, format!("{shown:?} is no entry of an access control list: {why}"))
}

impl fmt::Display for AclPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.default {
            f.write_str("default:")?;
        }
        let tag = match &self.subject {
            AclSubject::Owner | AclSubject::User(_) => "user",
            AclSubject::Group | AclSubject::NamedGroup(_) => "group",
            AclSubject::Mask => "mask",
            AclSubject::Other => "other",
        };
        write!(f, "{tag}:{}", self.subject.name().unwrap_or_default())
    }
}

impl fmt::Display for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |bit: u8, letter: char| if self.rights & bit != 0 { letter } else { '-' };
        write!(f, "{}:{}{}{}", self.place, letter(4, 'r'), letter(2, 'w'), letter(1, 'x'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_as_they_are_read() {
        for text in ["user::rwx", "user:alice:r-x", "group::---", "group:domain users:-w-", "mask::rwx", "other::r--"] {
            let entry: AclEntry = text.parse().unwrap();
            assert_eq!(entry.to_string(), text);
            let default: AclEntry = format!("default:{text}").parse().unwrap();
            assert_eq!((default.to_string(), default.place.default), (format!("default:{text}"), true));
        }
        let short = parse_acl("u::7, g:staff:5,d:o:0,m:r--").unwrap();
        let shown: Vec<_> = short.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["user::rwx", "group:staff:r-x", "default:other::---", "mask::r--"]);
        let gone = parse_acl_subjects("user:alice,default:group:staff:r-x,mask").unwrap();
        let shown: Vec<_> = gone.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["user:alice", "default:group:staff", "mask:"]);
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "",
            "user",
            "user::",
            "user::rw",
            "user::rwxx",
            "user::xwr",
            "user::8",
            "user::rwx:x",
            "users::rwx",
            "default:",
            "default::rwx",
            "mask:a:rwx",
            "other:a:rwx",
            "user:a\nb:rwx",
            "user::rwx,",
            "a:b:c:d:e",
            "user:ä:rwx",
        ] {
            assert_eq!(parse_acl(text).unwrap_err().kind(), ErrorKind::InvalidArgument, "{text:?}");
        }
        let many = vec!["user:a:r--"; 2 * MAX_ACL_ENTRIES + 1].join(",");
        assert_eq!(parse_acl(&many).unwrap_err().kind(), ErrorKind::LimitExceeded);
        assert!(parse_acl_subjects("user:alice:q").is_err());
    }
}
