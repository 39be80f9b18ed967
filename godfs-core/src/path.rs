//! Paths, parsed once: past [`DfsPath`] no raw string travels.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// The longest name of one entry, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The deepest path, in names.
pub const MAX_DEPTH: usize = 1_000;
/// The longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 65_536;

/// An absolute, normalised path: `/`, or `/` in front of each of its names.
///
/// No name is empty, `.` or `..`, holds a NUL or a `/`, or is longer than [`MAX_NAME_BYTES`]; the path is at most
/// [`MAX_DEPTH`] names deep and [`MAX_PATH_BYTES`] long. One trailing slash is accepted and dropped, nothing else is
/// mended. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DfsPath(Arc<str>);

impl DfsPath {
    /// The root directory.
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::from("/"))
    }

    /// Parses `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`], naming the fault and the place.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: String| Err(Error::new(ErrorKind::InvalidArgument, format!("path {}: {why}", shown(text))));
        let Some(rest) = text.strip_prefix('/') else {
            return refuse("must be absolute, that is, begin with '/'".into());
        };
        if text.len() > MAX_PATH_BYTES {
            return refuse(format!("has {} bytes, the limit is {MAX_PATH_BYTES}", text.len()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return if text.len() <= 1 { Ok(Self::root()) } else { refuse("has an empty name".into()) };
        }
        let mut depth = 0;
        for name in rest.split('/') {
            depth += 1;
            if let Err(why) = check_name(name) {
                return refuse(why);
            }
        }
        if depth > MAX_DEPTH {
            return refuse(format!("is {depth} names deep, the limit is {MAX_DEPTH}"));
        }
        Ok(Self(Arc::from(&text[..=rest.len()])))
    }

    /// Parses bytes that should be UTF-8.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] as for [`DfsPath::parse`], and when the bytes are not UTF-8.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(_) => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("path {}: is not UTF-8", shown(&String::from_utf8_lossy(bytes))),
            )),
        }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The names from the root down; none for `/`.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0[1..].split('/').filter(|name| !name.is_empty())
    }

    /// The last name; `None` for `/`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.names().next_back()
    }

    /// The directory that holds it; `None` for `/`.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.rfind('/').unwrap_or(0);
        Some(if cut == 0 { Self::root() } else { Self(Arc::from(&self.0[..cut])) })
    }

    /// The entry `name` of this directory.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when `name` is not one valid name, or the result is too deep or long.
    pub fn join(&self, name: &str) -> Result<Self> {
        if let Err(why) = check_name(name) {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("name {}: {why}", shown(name))));
        }
        let joined = if self.is_root() { format!("/{name}") } else { format!("{}/{name}", self.0) };
        Self::parse(&joined)
    }

    /// Whether this is `other` or lies below it.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root() || self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Checks one name of a path; the error says what is wrong with it.
fn check_name(name: &str) -> Result<(), String> {
    match name {
        "" => Err("has an empty name".into()),
        "." | ".." => Err(format!("has the name {name:?}; relative names are not resolved")),
        _ if name.len() > MAX_NAME_BYTES => {
            Err(format!("has a name of {} bytes, the limit is {MAX_NAME_BYTES}", name.len()))
        }
        _ if name.contains('\0') => Err("has a NUL in a name".into()),
        _ if name.contains('/') => Err("has a '/' in a name".into()),
        _ => Ok(()),
    }
}

/// `text` in quotes, escaped, and cut where it is long: it may come from anywhere.
fn shown(text: &str) -> String {
    const SHOWN: usize = 100;
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

impl fmt::Display for DfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for DfsPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl AsRef<str> for DfsPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// What a call takes as a path: parsed or not.
pub trait IntoPath {
    /// The parsed path.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] as for [`DfsPath::parse`].
    fn into_path(self) -> Result<DfsPath>;
}

impl IntoPath for DfsPath {
    fn into_path(self) -> Result<DfsPath> {
        Ok(self)
    }
}

impl IntoPath for &DfsPath {
    fn into_path(self) -> Result<DfsPath> {
        Ok(self.clone())
    }
}

impl IntoPath for &str {
    fn into_path(self) -> Result<DfsPath> {
        DfsPath::parse(self)
    }
}

impl IntoPath for String {
    fn into_path(self) -> Result<DfsPath> {
        DfsPath::parse(&self)
    }
}

impl IntoPath for &String {
    fn into_path(self) -> Result<DfsPath> {
        DfsPath::parse(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_normalises() {
        for (text, shown) in [("/", "/"), ("/a", "/a"), ("/a/", "/a"), ("/a/b c/ü", "/a/b c/ü"), ("/...", "/...")] {
            assert_eq!(DfsPath::parse(text).expect(text).as_str(), shown);
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let long = format!("/{}", "x".repeat(256));
        let deep = "/d".repeat(1_001);
        for (text, why) in [
            ("", "absolute"),
            ("a", "absolute"),
            ("//", "empty"),
            ("/a//b", "empty"),
            ("/a//", "empty"),
            ("/..", "relative"),
            ("/a/./b", "relative"),
            ("/a\0b", "NUL"),
            (long.as_str(), "256 bytes"),
            (deep.as_str(), "1001 names deep"),
        ] {
            let error = DfsPath::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(why), "{error}");
        }
        assert!(DfsPath::parse_bytes(b"/\xff").expect_err("not UTF-8").message().contains("UTF-8"));
        assert!(DfsPath::parse(&"/d".repeat(1_000)).is_ok());
        assert!(DfsPath::parse(&format!("/{}", "x".repeat(255))).is_ok());
    }

    #[test]
    fn takes_apart_and_puts_together() {
        let path = DfsPath::parse("/a/b/c").expect("valid");
        assert_eq!(path.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(path.name(), Some("c"));
        assert_eq!(path.parent().expect("not root").as_str(), "/a/b");
        assert_eq!(DfsPath::root().join("a").expect("valid").as_str(), "/a");
        assert!(DfsPath::root().join("a/b").is_err());
        assert!(DfsPath::root().parent().is_none() && DfsPath::root().names().next().is_none());
        let ab = DfsPath::parse("/a/b").expect("valid");
        assert!(path.starts_with(&ab) && path.starts_with(&DfsPath::root()) && ab.starts_with(&ab));
        assert!(!DfsPath::parse("/a/bc").expect("valid").starts_with(&ab));
    }
}
