//! How large names, paths, directories and files may become: by settings, of what is new. What is there already stays and works, whatever they are.

use super::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::Step;
use crate::path::DfsPath;

/// Whether a name may be made that is the last of the first `depth` of `path`.
pub(super) fn check_new(context: &Context, path: &DfsPath, depth: usize) -> Result<()> {
    let settings = &context.settings;
    let refuse = |what: String, limit: usize, setting: &str| {
        Err(Error::new(ErrorKind::LimitExceeded, format!("{path}: {what}, the limit is {limit} ({setting})")))
    };
    let name = path.names().nth(depth.saturating_sub(1)).unwrap_or_default();
    if name.len() > settings.max_name_bytes {
        return refuse(format!("a name of {} bytes", name.len()), settings.max_name_bytes, "max-name-bytes");
    }
    if depth > settings.max_depth {
        return refuse(format!("a path of {depth} names"), settings.max_depth, "max-depth");
    }
    let bytes: usize = path.names().take(depth).map(|name| 1 + name.len()).sum();
    if bytes > settings.max_path_bytes {
        return refuse(format!("a path of {bytes} bytes"), settings.max_path_bytes, "max-path-bytes");
    }
    Ok(())
}

/// Whether a directory may come to have so many entries.
pub(super) fn check_entries(context: &Context, entries: u64, shown: impl FnOnce() -> Step<String>) -> Step<()> {
    let limit = context.settings.max_directory_entries;
    if entries <= limit {
        return Ok(());
    }
    let message = format!("{} would have {entries} entries, the limit is {limit} (max-directory-entries)", shown()?);
    Err(Error::new(ErrorKind::LimitExceeded, message).into())
}

/// Whether a file may come to have so many chunks.
pub(super) fn check_chunks(context: &Context, chunks: u64, shown: impl FnOnce() -> Step<String>) -> Step<()> {
    let limit = context.settings.max_file_chunks;
    if chunks <= limit {
        return Ok(());
    }
    let message = format!("{} would have {chunks} chunks, the limit is {limit} (max-file-chunks)", shown()?);
    Err(Error::new(ErrorKind::LimitExceeded, message).into())
}
