//! From keys to paths.

use godfs_client::{DfsPath, Error, ErrorKind, Result};

/// The directory, in that of a store, where uploads lie that are not complete: no key has this name.
pub const UPLOADS: &str = ".godfs-uploads";

/// The path of an object.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a key that has none.
pub(crate) fn path_of(root: &DfsPath, key: &str) -> Result<DfsPath> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::Unsupported, format!("the key {key:?} has no path: {why}")));
    if key.is_empty() {
        return refuse("it is empty");
    }
    if key.split('/').any(|name| name == UPLOADS) {
        return refuse("that name is kept for the parts of uploads");
    }
    let text = if root.is_root() { format!("/{key}") } else { format!("{root}/{key}") };
    match DfsPath::parse(&text) {
        // One slash at the end would be taken for none.
        Ok(_) if key.ends_with('/') => refuse("it has an empty name"),
        Ok(path) => Ok(path),
        Err(error) => refuse(error.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_below_the_root() {
        let root = |text: &str| DfsPath::parse(text).unwrap();
        assert_eq!(path_of(&root("/"), "a/b").unwrap().as_str(), "/a/b");
        assert_eq!(path_of(&root("/lake"), "a b%2F/ü").unwrap().as_str(), "/lake/a b%2F/ü");
        let long = "x".repeat(256);
        for key in
            ["", "/", "a//b", "/a", "a/", "..", "a/../b", ".", "a\0", ".godfs-uploads/x", "a/.godfs-uploads", &long]
        {
            let error = path_of(&root("/lake"), key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{key:?}");
        }
    }
}
