//! `godfs://HOST:PORT[,HOST:PORT]/root`.

use godfs_client::{DfsPath, Error, ErrorKind, Result};

const SCHEME: &str = "godfs://";

/// The namenodes of a URL, as the client takes them, and the directory.
pub(crate) fn parse(url: &str) -> Result<(&str, DfsPath)> {
    let Some(rest) = url.strip_prefix(SCHEME) else {
        let message = format!("{url:?} is no place of objects: it must be {SCHEME}HOST:PORT[,HOST:PORT]/DIRECTORY");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (namenodes, path) = (&rest[..end], &rest[end..]);
    let root = if path.is_empty() { DfsPath::root() } else { DfsPath::parse(path)? };
    Ok((namenodes, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_namenodes_and_a_directory() {
        for (url, namenodes, root) in [
            ("godfs://a:1", "a:1", "/"),
            ("godfs://a:1/", "a:1", "/"),
            ("godfs://a:1,[::1]:2/lake/x", "a:1,[::1]:2", "/lake/x"),
        ] {
            let (found, path) = parse(url).unwrap();
            assert_eq!((found, path.as_str()), (namenodes, root), "{url}");
        }
        for url in ["a:1/x", "s3://a/b", "godfs://a:1//x", "godfs://a:1/../x"] {
            assert_eq!(parse(url).unwrap_err().kind(), ErrorKind::InvalidArgument, "{url}");
        }
    }
}
