//! Walking a tree: each directory before what it holds, entries in the order of their names' bytes.
//!
//! A walk keeps nothing here. Each page begins behind a place, which is a path that need not exist any more: the names on it still
//! say what comes before and what after. So a walk survives changes, broken connections and restarts, and what is there
//! throughout under one name comes exactly once.

use std::collections::VecDeque;

use super::answers::{FileKind, WalkEntry, WalkPage};
use super::options::WalkOptions;
use super::reads::status;
use super::rows::{self, EntryKind, EntryRow, InodeKind, keys};
use super::{Context, MAX_PAGE, access, paths};
use crate::error::{Error, ErrorKind};
use crate::id::InodeId;
use crate::metadata::{Abort, Range, Snapshot, Space, Step};
use crate::path::DfsPath;

/// Scans, and rows that they bring, of one page: some milliseconds, whatever the pattern leaves out.
const ROWS_A_PAGE: usize = 4_000;
/// Rows a scan. What is not used before the page ends was read in vain.
const ROWS_A_SCAN: usize = 256;
/// A page ends after so many bytes of paths: with their status they fit a message.
const BYTES_A_PAGE: usize = 512 << 10;

/// One page of what lies below `root` and comes after `after`, which is a path below it or the root itself for the beginning.
pub(super) fn page(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    root: &DfsPath,
    after: &DfsPath,
    options: &WalkOptions,
    limit: usize,
) -> Step<WalkPage> {
    if !after.starts_with(root) {
        let message = format!("a walk of {root} can't go on at {after}, which is not below it");
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    let start = paths::find(snapshot, context, root)?;
    let row = rows::inode(snapshot, start)?;
    let mut walk = Walk {
        context,
        options,
        frames: Vec::new(),
        place: after.as_str().to_owned(),
        budget: ROWS_A_PAGE,
        found: Vec::new(),
        denied: Vec::new(),
        bytes: 0,
    };
    if !matches!(row.kind, InodeKind::Directory { .. }) {
        // As find(1): a file is all there is of itself.
        if after == root
            && options.min_depth == 0
            && options.covers(root.name().unwrap_or_default(), EntryKind::File, 0)
        {
            walk.add(snapshot, root.clone(), start)?;
        }
        return Ok(walk.end(None));
    }
    if after == root
        && options.min_depth == 0
        && options.covers(root.name().unwrap_or_default(), EntryKind::Directory, 0)
    {
        walk.add(snapshot, root.clone(), start)?;
    }
    // A walk of nothing is no walk.
    if options.max_depth > 0 {
        access::need_of(snapshot, context, start, access::LIST, root)?;
    }
    walk.resume(snapshot, root, start)?;
    // The beginning itself comes on top: a page that holds nothing else would go on where it began.
    let limit = limit.clamp(1, MAX_PAGE) + walk.found.len();
    while walk.found.len() < limit && walk.budget > 0 && walk.bytes < BYTES_A_PAGE {
        if !walk.advance(snapshot)? {
            return Ok(walk.end(None));
        }
    }
    let place = DfsPath::parse(&walk.place)?;
    Ok(walk.end(Some(place)))
}

struct Walk<'o> {
    context: &'o Context,
    options: &'o WalkOptions,
    /// The directories that are open, from the root down.
    frames: Vec<Frame>,
    /// The last path that was looked at. It begins with the paths of all frames, so that a deep one is not put together again for each.
    place: String,
    budget: usize,
    found: Vec<WalkEntry>,
    denied: Vec<String>,
    bytes: usize,
}

/// A directory, and how far it is walked.
struct Frame {
    /// So many bytes of the place are its path, 0 for the root's.
    path_bytes: usize,
    inode: InodeId,
    /// The last name that was read.
    after: String,
    entries: VecDeque<(String, EntryRow)>,
    ended: bool,
}

impl Frame {
    fn new(path_bytes: usize, inode: InodeId, after: &str) -> Self {
        Self { path_bytes, inode, after: after.to_owned(), entries: VecDeque::new(), ended: false }
    }

    fn next(&mut self, snapshot: &mut dyn Snapshot, budget: &mut usize) -> Step<Option<(String, EntryRow)>> {
        if self.entries.is_empty() && !self.ended {
            let limit = ROWS_A_SCAN.min(*budget).max(1);
            let prefix = keys::entries(self.inode);
            let range = Range::prefix_after(&prefix, &keys::entry(self.inode, &self.after), limit);
            let rows = snapshot.scan(Space::Rows, &range)?;
            *budget = budget.saturating_sub(1 + rows.len());
            self.ended = rows.len() < limit;
            for (key, value) in &rows {
                let mut key = keys::KeyReader::new(key)?;
                key.u64()?;
                self.entries.push_back((key.text()?.to_owned(), EntryRow::decode(value)?));
            }
            if let Some((name, _)) = self.entries.back() {
                self.after.clone_from(name);
            }
        }
        Ok(self.entries.pop_front())
    }
}

impl Walk<'_> {
    fn end(self, next: Option<DfsPath>) -> WalkPage {
        WalkPage { entries: self.found, denied: self.denied, next }
    }

    /// Opens the directories on the way to the place, as far as they are there still.
    fn resume(&mut self, snapshot: &mut dyn Snapshot, root: &DfsPath, start: InodeId) -> Step<()> {
        let root_bytes = if root.is_root() { 0 } else { root.as_str().len() };
        let mut at = Some((root_bytes, start));
        let place = self.place.clone();
        for name in place[root_bytes..].split('/').filter(|name| !name.is_empty()) {
            let Some((path_bytes, inode)) = at.take() else { break };
            if !self.open(snapshot, path_bytes, inode, name)? {
                break;
            }
            at = match rows::entry(snapshot, inode, name)? {
                Some(entry) if entry.kind == EntryKind::Directory => Some((path_bytes + 1 + name.len(), entry.inode)),
                _ => None,
            };
        }
        if let Some((path_bytes, inode)) = at {
            let told = self.denied.len();
            self.descend(snapshot, path_bytes, inode)?;
            // The page that came to it said so.
            self.denied.truncate(told);
        }
        Ok(())
    }

    fn descend(&mut self, snapshot: &mut dyn Snapshot, path_bytes: usize, inode: InodeId) -> Step<()> {
        if self.frames.len() < self.options.max_depth {
            self.open(snapshot, path_bytes, inode, "")?;
        }
        Ok(())
    }

    /// Opens a directory whose path is the first bytes of the place. False for one that is passed by.
    fn open(&mut self, snapshot: &mut dyn Snapshot, path_bytes: usize, inode: InodeId, after: &str) -> Step<bool> {
        match self.may_list(snapshot, path_bytes, inode) {
            Err(Abort::Failed(error)) if self.options.past_denied && error.kind() == ErrorKind::PermissionDenied => {
                self.bytes += error.message().len();
                self.denied.push(error.message().to_owned());
                return Ok(false);
            }
            checked => checked?,
        }
        self.frames.push(Frame::new(path_bytes, inode, after));
        Ok(true)
    }

    fn may_list(&self, snapshot: &mut dyn Snapshot, path_bytes: usize, inode: InodeId) -> Step<()> {
        if self.context.may_all {
            return Ok(());
        }
        let shown = || match &self.place[..path_bytes] {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let row = rows::inode(snapshot, inode)?;
        access::need(snapshot, self.context, inode, &row, access::LIST, shown)
    }

    /// Looks at the next entry; false at the end.
    fn advance(&mut self, snapshot: &mut dyn Snapshot) -> Step<bool> {
        let depth = self.frames.len();
        let Some(frame) = self.frames.last_mut() else { return Ok(false) };
        let Some((name, entry)) = frame.next(snapshot, &mut self.budget)? else {
            self.frames.pop();
            return Ok(!self.frames.is_empty());
        };
        self.place.truncate(frame.path_bytes);
        self.place.push('/');
        self.place.push_str(&name);
        if depth >= self.options.min_depth && self.options.covers(&name, entry.kind, depth) {
            self.add(snapshot, DfsPath::parse(&self.place)?, entry.inode)?;
        }
        if entry.kind == EntryKind::Directory {
            self.descend(snapshot, self.place.len(), entry.inode)?;
        }
        Ok(true)
    }

    /// Gives an entry, if its size is wanted.
    fn add(&mut self, snapshot: &mut dyn Snapshot, path: DfsPath, inode: InodeId) -> Step<()> {
        let status = status(inode, rows::inode(snapshot, inode)?);
        self.budget = self.budget.saturating_sub(1);
        let sized = self.options.min_bytes.is_some() || self.options.max_bytes.is_some();
        let fits = self.options.min_bytes.unwrap_or(0) <= status.length
            && status.length <= self.options.max_bytes.unwrap_or(u64::MAX);
        // Nothing else has a size.
        if !sized || (status.kind == FileKind::File && fits) {
            self.bytes += path.as_str().len() + status.target.as_ref().map_or(0, String::len);
            self.found.push(WalkEntry { path, status });
        }
        Ok(())
    }
}

impl WalkOptions {
    /// Whether an entry is wanted, as far as its name and kind tell.
    fn covers(&self, name: &str, kind: EntryKind, depth: usize) -> bool {
        let kind = match self.kind {
            Some(FileKind::File) => kind == EntryKind::File,
            Some(FileKind::Directory) => kind == EntryKind::Directory,
            Some(FileKind::Symlink) => kind == EntryKind::Symlink,
            None => true,
        };
        kind && depth <= self.max_depth && self.name.as_ref().is_none_or(|glob| glob.matches(name))
    }
}
