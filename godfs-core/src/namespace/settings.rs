//! Settings of the namespace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checksum::PIECE;
use crate::chunk::{MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::MAX_VALUE_BYTES;
use crate::path::{MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES};

/// The most replicas that a file may ask for.
pub const MAX_REPLICATION: u16 = 512;
/// The most bytes of a small file, whatever the settings say: one value of the store.
pub const MAX_SMALL_FILE_BYTES: usize = MAX_VALUE_BYTES;
/// The most slots of a session: so many rows one session can make.
pub const MAX_SLOTS: u32 = 1_024;
/// The most extended attributes of one file or directory, whatever the settings say: all of them are read together, and go together.
pub const MAX_XATTRS: usize = 256;
/// The most bytes of all of them, names and values: one answer.
pub const MAX_XATTR_BYTES: usize = 512 << 10;
/// The most entries of one directory, whatever the settings say.
pub const MAX_DIRECTORY_ENTRIES: u64 = 1 << 32;
/// The most chunks of one file, whatever the settings say: the longest file in the smallest chunks.
pub const MAX_FILE_CHUNKS: u64 = super::files::MAX_FILE_BYTES / MIN_CHUNK_BYTES;
/// How many chunks of one file may be unfinished at once. A writer overlaps the end of one with the start of the next; more only
/// make recovery longer.
pub const MAX_OPEN_CHUNKS: usize = 8;

/// What files get unless they ask, and limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamespaceSettings {
    /// Bytes a chunk: a multiple of 4,096 within [`MIN_CHUNK_BYTES`] and [`MAX_CHUNK_BYTES`].
    pub chunk_size: u64,
    /// Replicas, 1 to [`MAX_REPLICATION`].
    pub replication: u16,
    /// The most bytes of a file that are kept with its inode; 0 turns it off. At most [`MAX_SMALL_FILE_BYTES`].
    pub small_file_limit: usize,
    /// How many mutating calls of one session may be in flight, 1 to [`MAX_SLOTS`].
    pub slots: u32,
    /// How many sessions there may be at once, over all clients: at least 1. Beyond, no further one is opened until some have ended. Judged outside of
    /// the namespace.
    pub max_sessions: usize,
    /// How long a session lives without a renewal; judged outside of the namespace.
    pub session_timeout: Duration,
    /// How long a session lives without a renewal before another client that asks for a file of it gets it: less than
    /// [`session_timeout`](Self::session_timeout). Clients renew three times within. Judged outside of the namespace.
    pub lease_soft_limit: Duration,
    /// The most bytes of the value of one extended attribute, at most [`MAX_XATTR_BYTES`].
    pub max_xattr_value_bytes: usize,
    /// The most extended attributes of one file or directory, at most [`MAX_XATTRS`].
    pub max_xattrs: usize,
    /// The most bytes of all of them, names and values, at most [`MAX_XATTR_BYTES`].
    pub max_xattr_bytes: usize,
    /// The longest name of an entry, bytes: 1 to [`MAX_NAME_BYTES`]. This and the next four bind what is made from now on.
    pub max_name_bytes: usize,
    /// The longest path, bytes: 1 to [`MAX_PATH_BYTES`].
    pub max_path_bytes: usize,
    /// The deepest path, names: 1 to [`MAX_DEPTH`].
    pub max_depth: usize,
    /// The most entries of one directory: 1 to [`MAX_DIRECTORY_ENTRIES`].
    pub max_directory_entries: u64,
    /// The most chunks of one file: 1 to [`MAX_FILE_CHUNKS`].
    pub max_file_chunks: u64,
    /// How long what is deleted by way of the trash stays there; 0 turns the trash off: such deletes are final. What is in it keeps its own time.
    pub trash_expiry: Duration,
    /// The quota that a user's directory in the trash begins with, when something is deleted into it first: names. `None` for no limit. It can be
    /// set otherwise later, as any quota.
    pub trash_names: Option<u64>,
    /// The same of bytes times replicas.
    pub trash_bytes: Option<u64>,
    /// Whether callers are asked what they may do. Without, everybody may do everything; owners and modes are kept all the same.
    pub permissions: bool,
}

impl Default for NamespaceSettings {
    fn default() -> Self {
        Self {
            chunk_size: 128 << 20,
            replication: 3,
            small_file_limit: 16 << 10,
            slots: 64,
            max_sessions: 65_536,
            session_timeout: Duration::from_secs(60),
            lease_soft_limit: Duration::from_secs(20),
            max_xattr_value_bytes: 16 << 10,
            max_xattrs: 32,
            max_xattr_bytes: 64 << 10,
            max_name_bytes: MAX_NAME_BYTES,
            max_path_bytes: MAX_PATH_BYTES,
            max_depth: MAX_DEPTH,
            max_directory_entries: 10_000_000,
            max_file_chunks: 1_000_000,
            trash_expiry: Duration::from_secs(24 * 60 * 60),
            trash_names: None,
            trash_bytes: None,
            permissions: true,
        }
    }
}

impl NamespaceSettings {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`], naming the setting and its bounds.
    pub fn check(&self) -> Result<()> {
        check_replication(self.replication)?;
        check_chunk_size(self.chunk_size)?;
        if self.small_file_limit > MAX_SMALL_FILE_BYTES {
            return Err(invalid(format!(
                "small_file_limit is {} bytes, the most is {MAX_SMALL_FILE_BYTES}",
                self.small_file_limit
            )));
        }
        for (setting, value, most) in [
            ("max_xattr_value_bytes", self.max_xattr_value_bytes, MAX_XATTR_BYTES),
            ("max_xattrs", self.max_xattrs, MAX_XATTRS),
            ("max_xattr_bytes", self.max_xattr_bytes, MAX_XATTR_BYTES),
        ] {
            if value > most {
                return Err(invalid(format!("{setting} is {value}, the most is {most}")));
            }
        }
        for (setting, value, most) in [
            ("max_name_bytes", self.max_name_bytes as u64, MAX_NAME_BYTES as u64),
            ("max_path_bytes", self.max_path_bytes as u64, MAX_PATH_BYTES as u64),
            ("max_depth", self.max_depth as u64, MAX_DEPTH as u64),
            ("max_directory_entries", self.max_directory_entries, MAX_DIRECTORY_ENTRIES),
            ("max_file_chunks", self.max_file_chunks, MAX_FILE_CHUNKS),
        ] {
            if !(1..=most).contains(&value) {
                return Err(invalid(format!("{setting} is {value}, it must be 1 to {most}")));
            }
        }
        if self.max_sessions == 0 {
            return Err(invalid("max_sessions is 0, it must be above".to_owned()));
        }
        if !(1..=MAX_SLOTS).contains(&self.slots) {
            return Err(invalid(format!("slots is {}, it must be 1 to {MAX_SLOTS}", self.slots)));
        }
        Ok(())
    }
}

pub(super) fn check_replication(replication: u16) -> Result<()> {
    if (1..=MAX_REPLICATION).contains(&replication) {
        Ok(())
    } else {
        Err(invalid(format!("replication is {replication}, it must be 1 to {MAX_REPLICATION}")))
    }
}

pub(super) fn check_chunk_size(bytes: u64) -> Result<()> {
    if (MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&bytes) && bytes.is_multiple_of(PIECE as u64) {
        Ok(())
    } else {
        Err(invalid(format!(
            "chunk size is {bytes} bytes, it must be a multiple of {PIECE} from {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES}"
        )))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
