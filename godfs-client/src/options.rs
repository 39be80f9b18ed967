//! What callers may ask for.

use bytes::Bytes;
use godfs_core::DfsPath;
use godfs_core::namespace::DEFAULT_UMASK;
use godfs_proto::v1;

use crate::metadata::{ETag, FileKind};
use crate::settings::ReplaceNodes;

/// The permission bits of what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewMode {
    mode: Option<u16>,
    umask: u16,
}

impl Default for NewMode {
    fn default() -> Self {
        Self { mode: None, umask: DEFAULT_UMASK }
    }
}

impl NewMode {
    pub(crate) fn to_wire(self) -> v1::NewMode {
        v1::NewMode { mode: self.mode.map(u32::from), umask: self.umask.into() }
    }
}

/// How a file is made. The defaults: exclusive (an existing file is an error), the cluster's replication and chunk size,
/// visible at once, on disks when closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CreateOptions {
    pub(crate) overwrite: bool,
    pub(crate) if_match: Option<ETag>,
    pub(crate) parents: bool,
    pub(crate) replication: u32,
    pub(crate) chunk_size: u64,
    pub(crate) publish_on_close: bool,
    pub(crate) mode: NewMode,
    pub(crate) sync_on_close: bool,
    pub(crate) relaxed: bool,
    pub(crate) replace_nodes: Option<ReplaceNodes>,
    pub(crate) xattrs: Vec<(String, Bytes)>,
    pub(crate) small_file_limit: Option<u64>,
    pub(crate) expected_size: u64,
    pub(crate) invalid: Option<&'static str>,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            overwrite: false,
            if_match: None,
            parents: false,
            replication: 0,
            chunk_size: 0,
            publish_on_close: false,
            mode: NewMode::default(),
            sync_on_close: true,
            relaxed: false,
            replace_nodes: None,
            xattrs: Vec::new(),
            small_file_limit: None,
            expected_size: 0,
            invalid: None,
        }
    }
}

impl CreateOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces a file that exists; its readers keep what they opened.
    pub fn overwrite(mut self, yes: bool) -> Self {
        self.overwrite = yes;
        self
    }

    /// Replaces the file that is there if it is just this one, as [`FileStatus::etag`](crate::FileStatus::etag) tells; else the file is not made and
    /// the error is [`ErrorKind::FailedPrecondition`](godfs_core::ErrorKind::FailedPrecondition). With
    /// [`publish_on_close`](Self::publish_on_close), and in [`Client::put`](crate::Client::put), it must be so when the file is closed, too.
    pub fn if_match(mut self, etag: ETag) -> Self {
        self.if_match = Some(etag);
        self
    }

    /// Makes missing parent directories; with [`publish_on_close`](Self::publish_on_close) when the file is closed, so that a failed write leaves none.
    pub fn parents(mut self, yes: bool) -> Self {
        self.parents = yes;
        self
    }

    /// An extended attribute that the file has from its beginning, under a name as for [`Client::set_xattr`](crate::Client::set_xattr).
    pub fn xattr(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.xattrs.push((name.into(), value.into()));
        self
    }

    /// Keeps only files of so many bytes with the namenode, where the cluster would keep larger ones, too. With 0 all bytes go to chunks, which can be
    /// [joined](crate::Client::compose) later.
    pub fn small_file_limit(mut self, bytes: u64) -> Self {
        self.small_file_limit = Some(bytes);
        self
    }

    /// Replicas of each chunk, 1 to 512; anything else is refused when the file is created.
    pub fn replication(mut self, replicas: u32) -> Self {
        if replicas == 0 {
            self.invalid = Some("replication is 0: a file has at least one replica");
        }
        self.replication = replicas;
        self
    }

    /// Bytes a chunk: a multiple of 4,096 from 64 KiB to 4 GiB; anything else is refused when the file is created.
    pub fn chunk_size(mut self, bytes: u64) -> Self {
        if bytes == 0 {
            self.invalid = Some("chunk_size is 0: a chunk holds at least 64 KiB");
        }
        self.chunk_size = bytes;
        self
    }

    /// The name appears, and an old file under it goes, only when the file is closed: nothing remains of a failed write.
    pub fn publish_on_close(mut self, yes: bool) -> Self {
        self.publish_on_close = yes;
        self
    }

    /// Permission bits, at most `0o7777`, before the umask; `0o666` by default.
    pub fn mode(mut self, bits: u16) -> Self {
        self.mode.mode = Some(bits);
        self
    }

    /// Bits that are taken away from the mode; `0o022` by default. Parents that are made get the default ones.
    pub fn umask(mut self, bits: u16) -> Self {
        self.mode.umask = bits;
        self
    }

    /// Whether chunks that are finished are on disks before they are acknowledged, so that a closed file survives the loss of power.
    /// On by default; without it closing is faster and the bytes reach the disks in time.
    pub fn sync_on_close(mut self, yes: bool) -> Self {
        self.sync_on_close = yes;
        self
    }

    /// When another datanode takes the place of one that fails while a chunk is written. As
    /// [`ClientSettings::replace_nodes`](crate::ClientSettings::replace_nodes) says by default.
    pub fn replace_nodes(mut self, when: ReplaceNodes) -> Self {
        self.replace_nodes = Some(when);
        self
    }

    /// How many bytes the file will have, where that is known: one that is too large for its inode gets its first chunk in the call that creates it, and no more
    /// room is set aside than it needs. A hint: the file may end with fewer bytes, or more. 0, the default: not known.
    pub fn expected_size(mut self, bytes: u64) -> Self {
        self.expected_size = bytes;
        self
    }

    /// Lets the file close with a single replica of a chunk where more were asked for. Off by default: close then waits for
    /// a second one.
    pub fn relaxed(mut self, yes: bool) -> Self {
        self.relaxed = yes;
        self
    }

    pub(crate) fn to_wire(&self) -> v1::CreateOptions {
        v1::CreateOptions {
            overwrite: self.overwrite,
            if_match: self.if_match.map(|etag| v1::ETag { inode: etag.inode.get(), version: etag.version.get() }),
            parents: self.parents,
            replication: self.replication,
            chunk_size: self.chunk_size,
            publish_on_close: self.publish_on_close,
            mode: Some(self.mode.to_wire()),
            xattrs: self
                .xattrs
                .iter()
                .map(|(name, value)| v1::Xattr { name: name.clone(), value: value.clone() })
                .collect(),
        }
    }

    /// The most bytes that go to the namenode, of those that the cluster would keep there.
    pub(crate) fn small_limit(&self, cluster: u64) -> u64 {
        self.small_file_limit.map_or(cluster, |limit| limit.min(cluster))
    }
}

/// How a directory is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct MkdirOptions {
    pub(crate) parents: bool,
    pub(crate) mode: NewMode,
}

impl MkdirOptions {
    /// One directory, which must not exist.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes missing parents, and accepts a directory that exists.
    pub fn parents(mut self, yes: bool) -> Self {
        self.parents = yes;
        self
    }

    /// Permission bits, at most `0o7777`, before the umask; `0o777` by default.
    pub fn mode(mut self, bits: u16) -> Self {
        self.mode.mode = Some(bits);
        self
    }

    /// Bits that are taken away from the mode; `0o022` by default. Parents that are made get the default ones.
    pub fn umask(mut self, bits: u16) -> Self {
        self.mode.umask = bits;
        self
    }
}

/// How a directory is listed. The default: all entries, without the places of chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ListOptions {
    pub(crate) start_after: String,
    pub(crate) locations: bool,
}

impl ListOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only names whose bytes come after those of `name`, which need not be there: a listing goes on where another one ended.
    pub fn start_after(mut self, name: &str) -> Self {
        name.clone_into(&mut self.start_after);
        self
    }

    /// With where the chunks of each file are that the caller may read, as [`Client::locate`](crate::Client::locate) gives them:
    /// [`DirEntry::chunks`](crate::DirEntry::chunks).
    pub fn locations(mut self, yes: bool) -> Self {
        self.locations = yes;
        self
    }
}

/// How a path is renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RenameOptions {
    pub(crate) replace: bool,
    pub(crate) parents: bool,
    pub(crate) prune: Option<DfsPath>,
}

impl RenameOptions {
    /// The new path must not exist.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces a file by a file, or an empty directory by a directory, in the same step.
    pub fn replace(mut self, yes: bool) -> Self {
        self.replace = yes;
        self
    }

    /// Makes the directories above the new path that are missing, in the same step.
    pub fn parents(mut self, yes: bool) -> Self {
        self.parents = yes;
        self
    }

    /// Renames a file only, and removes in the same step the directories above the old path that it leaves without an entry, as far as they lie below
    /// `root`. Those stay that have a quota or extended attributes, or that the caller may not remove.
    pub fn prune(mut self, root: DfsPath) -> Self {
        self.prune = Some(root);
        self
    }
}

/// How a path is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RemoveOptions {
    pub(crate) recursive: bool,
    pub(crate) prune: Option<DfsPath>,
}

impl RemoveOptions {
    /// A file, or an empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also a directory with all below it.
    pub fn recursive(mut self, yes: bool) -> Self {
        self.recursive = yes;
        self
    }

    /// Removes a file only, and in the same step the directories above it that it leaves without an entry, as far as they lie below `root`. Those
    /// stay that have a quota or extended attributes, or that the caller may not remove.
    pub fn prune(mut self, root: DfsPath) -> Self {
        self.prune = Some(root);
        self
    }
}

/// How an item is taken out of the trash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RestoreOptions {
    pub(crate) to: Option<DfsPath>,
    pub(crate) parents: bool,
}

impl RestoreOptions {
    /// To where it was, if the directory is still there.
    pub fn new() -> Self {
        Self::default()
    }

    /// To another path, where nothing may stand.
    pub fn to(mut self, path: DfsPath) -> Self {
        self.to = Some(path);
        self
    }

    /// Makes the directories above that are missing.
    pub fn parents(mut self, yes: bool) -> Self {
        self.parents = yes;
        self
    }
}

/// Which keys a [flat listing](crate::Client::list_keys) gives. The default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct KeyOptions {
    pub(crate) prefix: String,
    pub(crate) after: String,
    pub(crate) delimited: bool,
    pub(crate) hide: String,
    pub(crate) page_size: u32,
}

impl KeyOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only keys that begin with `text`, which may end within a name.
    pub fn prefix(mut self, text: impl Into<String>) -> Self {
        self.prefix = text.into();
        self
    }

    /// Only keys whose bytes are greater than those of `key`, which need not exist.
    pub fn after(mut self, key: impl Into<String>) -> Self {
        self.after = key.into();
        self
    }

    /// Of keys with a `/` behind the prefix only how they begin, up to that: one entry for all that begin alike.
    pub fn delimited(mut self, yes: bool) -> Self {
        self.delimited = yes;
        self
    }

    /// Passes by what has this name, and all below it.
    pub fn hide(mut self, name: impl Into<String>) -> Self {
        self.hide = name.into();
        self
    }

    /// Keys a page, at most 10,000; 1,000 by default.
    pub fn page_size(mut self, keys: u32) -> Self {
        self.page_size = keys;
        self
    }
}

/// Which entries a walk gives. It passes through all directories down to the greatest depth, whether or not they are given themselves. The default:
/// all that lies below, without the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct WalkOptions {
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<FileKind>,
    pub(crate) min_depth: Option<u32>,
    pub(crate) max_depth: Option<u32>,
    pub(crate) min_bytes: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) past_denied: bool,
}

impl WalkOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only names that a [pattern](godfs_core::glob::Glob) covers; a malformed one is refused when the walk begins.
    pub fn name(mut self, pattern: &str) -> Self {
        self.name = Some(pattern.to_owned());
        self
    }

    /// Only files, or only directories.
    pub fn kind(mut self, kind: FileKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// At least so many names below the beginning; 0 includes the beginning itself.
    pub fn min_depth(mut self, names: u32) -> Self {
        self.min_depth = Some(names);
        self
    }

    /// At most so many names below the beginning.
    pub fn max_depth(mut self, names: u32) -> Self {
        self.max_depth = Some(names);
        self
    }

    /// Goes on past directories that may not be listed: the stream gives an error of
    /// [`ErrorKind::PermissionDenied`](godfs_core::ErrorKind::PermissionDenied) for each of them, and what follows it. Without it the first of them ends the walk. The beginning itself
    /// must be listed in any case.
    pub fn past_denied(mut self, yes: bool) -> Self {
        self.past_denied = yes;
        self
    }

    /// Only files of `least` to `most` bytes.
    pub fn bytes(mut self, least: u64, most: u64) -> Self {
        (self.min_bytes, self.max_bytes) = (Some(least), Some(most));
        self
    }
}
