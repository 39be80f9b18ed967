//! A tree as a flat list of keys: files alone, each under its path from a root, in the order of the bytes of these keys.
//!
//! That is not the order of the tree: `/` is a byte like others, and `a.b` and `a b` come before `a/c`, though the name `a` comes before both. So a directory
//! waits until all names that go on with a byte below `/` behind its own have passed; as each of those has it for its beginning, no more can wait
//! at once in a directory than a name has bytes.
//!
//! A listing keeps nothing here. Each page begins behind a key that need not exist, so a listing survives changes, broken connections and restarts, and what
//! is there throughout comes exactly once. Directories without a file do not show.

use std::collections::VecDeque;

use super::answers::{FlatEntry, FlatPage};
use super::options::FlatOptions;
use super::reads;
use super::rows::{self, EntryKind, EntryRow, InodeKind, keys};
use super::{Context, MAX_PAGE, TRASH, access, paths, usage};
use crate::error::{Error, ErrorKind};
use crate::id::InodeId;
use crate::metadata::{Range, Snapshot, Space, Step};
use crate::path::{DfsPath, MAX_NAME_BYTES, MAX_PATH_BYTES};

/// Rows that one page looks at: some milliseconds, whatever does not show.
const ROWS_A_PAGE: usize = 8_000;
/// Rows a scan. What is not used before the page ends was read in vain.
const ROWS_A_SCAN: usize = 512;
/// A page ends after so many bytes of keys: it fits a message.
const BYTES_A_PAGE: usize = 512 << 10;
/// What stands between the names of a key.
const DELIMITER: u8 = b'/';
/// Behind all keys of a directory, after its name and a delimiter: none of them begins with this.
const LAST: &str = "\u{10FFFF}";

/// One page of the keys below `root`, which is a directory.
pub(super) fn page(
    snapshot: &mut dyn Snapshot,
    context: &Context,
    root: &DfsPath,
    options: &FlatOptions,
    limit: usize,
) -> Step<FlatPage> {
    let FlatOptions { prefix, after, .. } = options;
    if prefix.len() > MAX_PATH_BYTES || after.len() > MAX_PATH_BYTES {
        let message = format!("a listing of keys that are longer than {MAX_PATH_BYTES} bytes");
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    let top = paths::find(snapshot, context, root)?;
    if !matches!(rows::inode(snapshot, top)?.kind, InodeKind::Directory { .. }) {
        let message = format!("{root} is a file: there are no keys below it");
        return Err(Error::new(ErrorKind::NotADirectory, message).into());
    }
    let mut listing = Listing { context, options, frames: Vec::new(), budget: ROWS_A_PAGE };
    let limit = limit.clamp(1, MAX_PAGE);
    if !listing.begin(snapshot, root, top)? {
        return Ok(FlatPage { entries: Vec::new(), next: None });
    }
    let mut found = Vec::new();
    let (mut bytes, mut next) = (0, None);
    while found.len() < limit && bytes < BYTES_A_PAGE {
        match listing.advance(snapshot)? {
            Some(Seen { key, shown }) => {
                match shown {
                    Some(Shown::File(inode)) => found.push((key.clone(), Some(inode))),
                    Some(Shown::Prefix(beginning)) => found.push((beginning, None)),
                    None => {}
                }
                bytes += key.len();
                next = Some(key);
            }
            None => {
                next = None;
                break;
            }
        }
        if listing.budget == 0 {
            break;
        }
    }
    // With the page full by chance at the very end, one more is empty.
    Ok(FlatPage { entries: entries(snapshot, found)?, next })
}

/// Files with what is to be said of them, which one scan brings where they were made together.
fn entries(snapshot: &mut dyn Snapshot, found: Vec<(String, Option<InodeId>)>) -> Step<Vec<FlatEntry>> {
    let mut known = reads::inodes(snapshot, found.iter().filter_map(|(_, file)| *file).collect())?;
    let mut entries = Vec::with_capacity(found.len());
    for (key, file) in found {
        let status = match file {
            None => None,
            Some(inode) => Some(match known.take(inode) {
                Some(status) => status,
                None => reads::status(inode, rows::inode(snapshot, inode)?),
            }),
        };
        entries.push(FlatEntry { key, status });
    }
    Ok(entries)
}

enum Shown {
    File(InodeId),
    /// All keys that begin so.
    Prefix(String),
}

/// A key that was passed.
struct Seen {
    /// Where to go on.
    key: String,
    /// If it is one of the page's.
    shown: Option<Shown>,
}

struct Listing<'o> {
    context: &'o Context,
    options: &'o FlatOptions,
    /// The directories that are open, from the first one down.
    frames: Vec<Frame>,
    budget: usize,
}

impl Listing<'_> {
    /// Opens the directory that the prefix leads into, where the page begins; false when no key can be there.
    fn begin(&mut self, snapshot: &mut dyn Snapshot, root: &DfsPath, top: InodeId) -> Step<bool> {
        let FlatOptions { prefix, after, .. } = self.options;
        if prefix.starts_with('/') {
            return Ok(false);
        }
        let (above, partial) = prefix.rsplit_once('/').map_or(("", prefix.as_str()), |(above, name)| (above, name));
        let (mut path, mut directory) = (root.clone(), top);
        for name in above.split('/').filter(|_| !above.is_empty()) {
            access::traverse(snapshot, self.context, directory, &path, path.names().count())?;
            // Not a name, or hidden: no key is like that.
            let Ok(below) = path.join(name) else { return Ok(false) };
            match rows::entry(snapshot, directory, name)? {
                Some(EntryRow { inode, kind: EntryKind::Directory }) if !self.hides(name) => directory = inode,
                _ => return Ok(false),
            }
            path = below;
        }
        let base = &prefix[..prefix.len() - partial.len()];
        let floor = match after.strip_prefix(base) {
            _ if after < prefix => "",
            Some(floor) if floor.starts_with(partial) => floor,
            // Behind all keys with the prefix.
            _ => return Ok(false),
        };
        self.open(snapshot, path, base.to_owned(), directory, partial, floor)?;
        Ok(true)
    }

    fn hides(&self, name: &str) -> bool {
        self.options.hide.as_deref() == Some(name)
    }

    fn open(
        &mut self,
        snapshot: &mut dyn Snapshot,
        path: DfsPath,
        base: String,
        directory: InodeId,
        partial: &str,
        floor: &str,
    ) -> Step<()> {
        access::need_of(snapshot, self.context, directory, access::LIST, &path)?;
        let frame = Frame::open(snapshot, &mut self.budget, path, base, directory, partial, floor)?;
        self.frames.push(frame);
        Ok(())
    }

    /// Passes the next key, or a directory; `None` at the end.
    fn advance(&mut self, snapshot: &mut dyn Snapshot) -> Step<Option<Seen>> {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(None) };
            let Some(Child { name, entry, floor }) = frame.next(snapshot, &mut self.budget)? else {
                self.frames.pop();
                continue;
            };
            let (key, path, frame_inode) = (format!("{}{name}", frame.base), frame.path.clone(), frame.inode);
            if entry.kind != EntryKind::Directory {
                let shows = entry.kind == EntryKind::File && !self.hides(&name);
                let shown = shows.then_some(Shown::File(entry.inode));
                return Ok(Some(Seen { key, shown }));
            }
            let (path, below) = (path.join(&name)?, format!("{key}/"));
            // Symbolic links count as files: where there are no others, it is looked for in vain, and rightly.
            // What was deleted is no object any more.
            let trash = frame_inode == InodeId::ROOT && name == TRASH;
            let empty = trash || self.hides(&name) || usage::of_directory(snapshot, entry.inode)?.0[1] <= 0;
            if empty {
                return Ok(Some(Seen { key: format!("{below}{LAST}"), shown: None }));
            }
            if !self.options.delimited {
                self.open(snapshot, path, below.clone(), entry.inode, "", &floor)?;
                // Its place, so that a page may end before its first key.
                return Ok(Some(Seen { key: format!("{below}{floor}"), shown: None }));
            }
            // Who has all keys with this beginning has it for a place.
            let passed = self.options.after == below;
            let shown = !passed && self.shows(snapshot, path, &below, entry.inode, &floor)?;
            // Behind all of them: a page may have begun in the middle.
            let key = format!("{below}{LAST}");
            return Ok(Some(Seen { key, shown: shown.then_some(Shown::Prefix(below)) }));
        }
    }

    /// Whether a directory has a key above `floor`.
    fn shows(
        &mut self,
        snapshot: &mut dyn Snapshot,
        path: DfsPath,
        base: &str,
        directory: InodeId,
        floor: &str,
    ) -> Step<bool> {
        let options = FlatOptions { delimited: false, after: String::new(), ..self.options.clone() };
        let mut below = Listing { context: self.context, options: &options, frames: Vec::new(), budget: ROWS_A_PAGE };
        below.open(snapshot, path, base.to_owned(), directory, "", floor)?;
        let shows = loop {
            match below.advance(snapshot)? {
                Some(Seen { shown: Some(_), .. }) => break true,
                Some(_) if below.budget > 0 => {}
                // What is too much to look at shows: it has names in it, if no files.
                Some(_) => break true,
                None => break false,
            }
        };
        self.budget = self.budget.saturating_sub(ROWS_A_PAGE - below.budget);
        Ok(shows)
    }
}

/// An entry of a directory, whose turn it is.
struct Child {
    name: String,
    entry: EntryRow,
    /// Of a directory: only what is above this, from it on.
    floor: String,
}

/// A directory, and how far it is listed.
struct Frame {
    path: DfsPath,
    /// What the keys of its entries begin with.
    base: String,
    inode: InodeId,
    /// Only names that begin so.
    partial: String,
    /// Only keys above this, from the directory on.
    floor: String,
    /// The last name that was read, or a place between names.
    cursor: String,
    entries: VecDeque<(String, EntryRow)>,
    ended: bool,
    /// Directories whose name has passed, and whose keys have not: each name begins with the one before.
    waiting: Vec<Child>,
}

impl Frame {
    fn open(
        snapshot: &mut dyn Snapshot,
        budget: &mut usize,
        path: DfsPath,
        base: String,
        inode: InodeId,
        partial: &str,
        floor: &str,
    ) -> Step<Self> {
        let (first, below) = floor.split_once('/').map_or((floor, None), |(first, below)| (first, Some(below)));
        let mut frame = Self {
            path,
            base,
            inode,
            partial: partial.to_owned(),
            floor: floor.to_owned(),
            cursor: String::new(),
            entries: VecDeque::new(),
            ended: false,
            waiting: Vec::new(),
        };
        if floor.is_empty() {
            return Ok(frame);
        }
        // Directories that come before the place by their name and behind it by their keys.
        let shorter = (1..first.len().min(MAX_NAME_BYTES))
            .filter(|at| *at >= partial.len() && first.is_char_boundary(*at) && first.as_bytes()[*at] < DELIMITER);
        let whole = (first.len() <= MAX_NAME_BYTES && !first.is_empty()).then_some(first.len());
        for at in shorter.chain(whole) {
            *budget = budget.saturating_sub(1);
            let name = &first[..at];
            if let Some(entry) = rows::entry(snapshot, inode, name)?.filter(|entry| entry.is_directory()) {
                let floor = if at == first.len() { below.unwrap_or_default() } else { "" };
                frame.waiting.push(Child { name: name.to_owned(), entry, floor: floor.to_owned() });
            }
        }
        // Of a name that is too long to be one, as much as tells it from those that are.
        let bound = &first[..first.floor_char_boundary(MAX_NAME_BYTES + 4)];
        frame.cursor = if below.is_some() { format!("{bound}/") } else { bound.to_owned() };
        Ok(frame)
    }

    /// The entry that is next by its key: a file by its name, a directory by its name and a delimiter.
    fn next(&mut self, snapshot: &mut dyn Snapshot, budget: &mut usize) -> Step<Option<Child>> {
        loop {
            self.fill(snapshot, budget)?;
            let first = self.entries.front().map(|(name, _)| name.as_str());
            let waits = self.waiting.last().is_some_and(|top| {
                // It goes on waiting for names that are its own and a byte below the delimiter.
                let rest = first.and_then(|name| name.strip_prefix(top.name.as_str()));
                rest.and_then(|rest| rest.bytes().next()).is_some_and(|next| next < DELIMITER)
            });
            if !waits && let Some(top) = self.waiting.pop() {
                return Ok(Some(top));
            }
            let Some((name, entry)) = self.entries.pop_front() else { return Ok(None) };
            if entry.is_directory() {
                // One whose keys begin with the place was looked up when the directory was opened.
                if above(&name, &self.floor, true) {
                    self.waiting.push(Child { name, entry, floor: String::new() });
                }
            } else if above(&name, &self.floor, false) {
                return Ok(Some(Child { name, entry, floor: String::new() }));
            }
        }
    }

    fn fill(&mut self, snapshot: &mut dyn Snapshot, budget: &mut usize) -> Step<()> {
        if !self.entries.is_empty() || self.ended {
            return Ok(());
        }
        let limit = ROWS_A_SCAN.min(*budget).max(1);
        let prefix = keys::entry(self.inode, &self.partial);
        let range = match self.cursor.is_empty() {
            true => Range::prefix(&prefix, limit),
            false => Range::prefix_after(&prefix, &keys::entry(self.inode, &self.cursor), limit),
        };
        let rows = snapshot.scan(Space::Rows, &range)?;
        *budget = budget.saturating_sub(1 + rows.len());
        self.ended = rows.len() < limit;
        for (key, value) in &rows {
            let mut key = keys::KeyReader::new(key)?;
            key.u64()?;
            self.entries.push_back((key.text()?.to_owned(), EntryRow::decode(value)?));
        }
        if let Some((name, _)) = self.entries.back() {
            self.cursor.clone_from(name);
        }
        Ok(())
    }
}

/// Whether the key of a name, or all keys of a directory of that name, are above a place.
fn above(name: &str, floor: &str, directory: bool) -> bool {
    match floor.as_bytes().strip_prefix(name.as_bytes()) {
        // The place begins with the name: what follows there decides.
        Some(rest) => directory && rest.first().is_none_or(|next| *next < DELIMITER),
        None => name > floor,
    }
}
