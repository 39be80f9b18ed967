//! Attributes and tags of objects, as extended attributes of files.

use bytes::Bytes;
use godfs_client::CreateOptions;

/// What the names of ours begin with: tools that show extended attributes show them.
const OURS: &str = "user.object.";
/// Attributes whose names the user chose.
const METADATA: &str = "user.object.metadata.";
/// All tags, in the form in which stores take them over HTTP.
const TAGS: &str = "user.object.tags";

/// An attribute as both versions of the trait know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name<'n> {
    /// One of those that HTTP has, by its name there in small letters.
    Header(&'n str),
    /// One that the user named.
    Metadata(&'n str),
}

/// Attributes and tags that are to be written with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Described(Vec<(String, Bytes)>);

impl Described {
    pub(crate) fn add(&mut self, name: Name<'_>, value: &str) {
        let name = match name {
            Name::Header(header) => format!("{OURS}{header}"),
            Name::Metadata(key) => format!("{METADATA}{key}"),
        };
        self.0.push((name, Bytes::copy_from_slice(value.as_bytes())));
    }

    pub(crate) fn tag(&mut self, encoded: &str) {
        if !encoded.is_empty() {
            self.0.push((TAGS.to_owned(), Bytes::copy_from_slice(encoded.as_bytes())));
        }
    }

    /// Those of an object that are ours.
    pub(crate) fn of(xattrs: Vec<(String, Bytes)>) -> Self {
        Self(xattrs.into_iter().filter(|(name, _)| name.starts_with(OURS)).collect())
    }

    pub(crate) fn xattrs(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn on(&self, options: CreateOptions) -> CreateOptions {
        self.0.iter().fold(options, |options, (name, value)| options.xattr(name, value.clone()))
    }

    /// The attributes, without what is no text: others may have written it.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (Name<'_>, &str)> {
        self.0.iter().filter(|(name, _)| name != TAGS).filter_map(|(name, value)| {
            let value = std::str::from_utf8(value).ok()?;
            let name = match name.strip_prefix(METADATA) {
                Some(key) => Name::Metadata(key),
                None => Name::Header(name.strip_prefix(OURS)?),
            };
            Some((name, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back() {
        let mut written = Described::default();
        written.add(Name::Header("content-type"), "text/html");
        written.add(Name::Metadata("a b"), "x  y");
        written.tag("k=v&l=w");
        let mut stored: Vec<_> = written.0.clone();
        stored.push(("user.other".into(), Bytes::new()));
        stored.push(("user.object.content-language".into(), Bytes::from_static(b"\xff")));
        let read = Described::of(stored);
        let found: Vec<_> = read.attributes().collect();
        assert_eq!(found, [(Name::Header("content-type"), "text/html"), (Name::Metadata("a b"), "x  y")]);
    }
}
