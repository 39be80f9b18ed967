//! A plain model of the namespace: a tree of maps, and what each operation should come to.

use std::collections::BTreeMap;

use super::*;

/// A file or directory of the model.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory(Directory),
    File(File),
    /// With its target.
    Link(String),
}

/// What lies in a directory, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    entries: BTreeMap<String, Node>,
    /// Of those with a quota, no two have the same number.
    id: u64,
    quota: Quota,
}

impl std::ops::Deref for Directory {
    type Target = BTreeMap<String, Node>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl std::ops::DerefMut for Directory {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.entries
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    /// Kept over renames.
    pub(super) id: u64,
    pub(super) length: u64,
    pub(super) replication: u16,
    pub(super) open: bool,
    /// Where its open chunk will end, at the latest; 0 without one.
    pub(super) reserved: u64,
}

type Expected<T> = std::result::Result<T, ErrorKind>;

/// The whole tree.
#[derive(Clone, Debug)]
pub(super) struct Model {
    root: Node,
    next: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { root: Node::Directory(Directory::default()), next: 0 }
    }

    pub(super) fn mkdir(&mut self, path: &DfsPath, parents: bool) -> Expected<()> {
        let Some((name, above)) = split(path) else {
            return if parents { Ok(()) } else { Err(ErrorKind::InvalidArgument) };
        };
        let mut tried = self.clone();
        let entries = tried.directory(&above, parents)?;
        match entries.get(name) {
            Some(Node::Directory(_)) if parents => {}
            Some(Node::Link(_)) if parents => return Err(ErrorKind::Symlink),
            Some(_) => return Err(ErrorKind::AlreadyExists),
            None => drop(entries.insert(name.to_owned(), Node::Directory(Directory::default()))),
        }
        *self = tried;
        Ok(())
    }

    /// Puts a file under a name; gives back its number.
    pub(super) fn create(&mut self, path: &DfsPath, overwrite: bool, parents: bool, file: File) -> Expected<u64> {
        let (name, above) = split(path).ok_or(ErrorKind::IsADirectory)?;
        let mut tried = self.clone();
        tried.next += 1;
        let id = tried.next;
        let entries = tried.directory(&above, parents)?;
        match entries.get(name) {
            Some(_) if !overwrite => return Err(ErrorKind::AlreadyExists),
            Some(Node::Directory(_)) => return Err(ErrorKind::IsADirectory),
            Some(Node::Link(_)) => return Err(ErrorKind::Symlink),
            _ => entries.insert(name.to_owned(), Node::File(File { id, ..file })),
        };
        *self = tried;
        Ok(id)
    }

    pub(super) fn delete(&mut self, path: &DfsPath, recursive: bool) -> Expected<()> {
        let (name, above) = split(path).ok_or(ErrorKind::InvalidArgument)?;
        let entries = self.directory(&above, false)?;
        match entries.get(name) {
            None => Err(ErrorKind::NotFound),
            Some(Node::Directory(below)) if !recursive && !below.is_empty() => Err(ErrorKind::DirectoryNotEmpty),
            Some(_) => {
                entries.remove(name);
                Ok(())
            }
        }
    }

    /// Deletes a file and the directories that it leaves empty, but for those that are `kept` for other reasons.
    pub(super) fn unlink(&mut self, path: &DfsPath, root: &DfsPath, kept: &[DfsPath]) -> Expected<()> {
        let (name, above) = split(path).ok_or(ErrorKind::IsADirectory)?;
        let entries = self.directory(&above, false)?;
        match entries.get(name) {
            None => return Err(ErrorKind::NotFound),
            Some(Node::Directory(_)) => return Err(ErrorKind::IsADirectory),
            Some(_) => drop(entries.remove(name)),
        }
        let mut emptied = path.parent();
        while let Some(directory) = emptied.filter(|at| at.starts_with(root) && at != root && !kept.contains(at)) {
            let (name, above) = split(&directory).ok_or(ErrorKind::Internal)?;
            let entries = self.directory(&above, false)?;
            match entries.get(name) {
                Some(Node::Directory(below)) if below.is_empty() && below.quota == Quota::default() => {}
                _ => break,
            }
            entries.remove(name);
            emptied = directory.parent();
        }
        Ok(())
    }

    /// Moves what stands at `path` to `item`.
    pub(super) fn trash(&mut self, path: &DfsPath, recursive: bool, item: &DfsPath) -> Expected<()> {
        let mut tried = self.clone();
        tried.delete(path, recursive)?;
        let (name, above) = split(path).ok_or(ErrorKind::InvalidArgument)?;
        let moved = self.directory(&above, false)?.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        let (name, home) = split(item).ok_or(ErrorKind::InvalidArgument)?;
        tried.directory(&home, true)?.insert(name.to_owned(), moved);
        *self = tried;
        Ok(())
    }

    /// Moves `item` to where it was.
    pub(super) fn restore(&mut self, item: &DfsPath, to: &DfsPath, parents: bool) -> Expected<()> {
        let linked = |kind| if kind == ErrorKind::Symlink { ErrorKind::FailedPrecondition } else { kind };
        let (name, home) = split(item).ok_or(ErrorKind::InvalidArgument)?;
        let mut tried = self.clone();
        let moved = tried.directory(&home, false)?.remove(name).ok_or(ErrorKind::NotFound)?;
        let (name, above) = split(to).ok_or(ErrorKind::InvalidArgument)?;
        let entries = tried.directory(&above, parents).map_err(linked)?;
        if entries.contains_key(name) {
            return Err(ErrorKind::AlreadyExists);
        }
        entries.insert(name.to_owned(), moved);
        *self = tried;
        Ok(())
    }

    /// All items go.
    pub(super) fn expire(&mut self, home: &DfsPath) {
        let names: Vec<&str> = home.names().collect();
        if let Ok(items) = self.directory(&names, false) {
            items.clear();
        }
    }

    pub(super) fn rename(&mut self, from: &DfsPath, to: &DfsPath, replace: bool) -> Expected<()> {
        let (name, above) = split(from).ok_or(ErrorKind::InvalidArgument)?;
        let mut tried = self.clone();
        let moved = tried.directory(&above, false)?.remove(name).ok_or(ErrorKind::NotFound)?;
        if from == to {
            return Ok(());
        }
        // Read with the source still in place: a path through it is a path into the own subtree.
        let (new_name, new_above) = split(to).ok_or(ErrorKind::InvalidArgument)?;
        self.clone().directory(&new_above, false)?;
        if to.starts_with(from) {
            return Err(ErrorKind::InvalidArgument);
        }
        let mut whole = self.clone();
        if let Some(old) = whole.directory(&new_above, false)?.get(new_name) {
            match (&moved, old) {
                _ if !replace => return Err(ErrorKind::AlreadyExists),
                (Node::Directory(_), Node::Directory(below)) if !below.is_empty() => {
                    return Err(ErrorKind::DirectoryNotEmpty);
                }
                (Node::File(_) | Node::Link(_), Node::Directory(_)) => return Err(ErrorKind::IsADirectory),
                (Node::Directory(_), Node::File(_) | Node::Link(_)) => return Err(ErrorKind::NotADirectory),
                _ => {}
            }
        }
        tried.directory(&new_above, false)?.insert(new_name.to_owned(), moved);
        *self = tried;
        Ok(())
    }

    /// Opens a closed file; gives back its number.
    pub(super) fn append(&mut self, path: &DfsPath) -> Expected<u64> {
        let (name, above) = split(path).ok_or(ErrorKind::IsADirectory)?;
        match self.directory(&above, false)?.get_mut(name) {
            None => Err(ErrorKind::NotFound),
            Some(Node::Directory(_)) => Err(ErrorKind::IsADirectory),
            Some(Node::Link(_)) => Err(ErrorKind::Symlink),
            Some(Node::File(file)) if file.open => Err(ErrorKind::BeingWritten),
            Some(Node::File(file)) => {
                file.open = true;
                Ok(file.id)
            }
        }
    }

    /// Makes a closed file shorter; gives back its number.
    pub(super) fn truncate(&mut self, path: &DfsPath, length: u64) -> Expected<u64> {
        let id = self.append(path)?;
        let file = self.file(id).expect("just opened");
        file.open = false;
        if length > file.length {
            return Err(ErrorKind::InvalidArgument);
        }
        file.length = length;
        Ok(id)
    }

    /// Moves the bytes of files to the end of another; those in `small` can't be.
    pub(super) fn concat(&mut self, target: &DfsPath, sources: &[DfsPath], small: &[DfsPath]) -> Expected<()> {
        let twice = |(at, path): (usize, &DfsPath)| path == target || sources[..at].contains(path);
        if sources.is_empty() || sources.iter().enumerate().any(twice) {
            return Err(ErrorKind::InvalidArgument);
        }
        let check = |model: &mut Self, path: &DfsPath, source: bool| {
            let id = match model.append(path) {
                Err(ErrorKind::IsADirectory) if path.is_root() && source => return Err(ErrorKind::InvalidArgument),
                other => other?,
            };
            if small.contains(path) { Err(ErrorKind::FailedPrecondition) } else { Ok(id) }
        };
        let mut tried = self.clone();
        let joined = check(&mut tried, target, false)?;
        let mut length = 0;
        for path in sources {
            let id = check(&mut tried, path, true)?;
            length += tried.file(id).expect("just opened").length;
        }
        for path in sources {
            tried.delete(path, false)?;
        }
        let file = tried.file(joined).expect("just opened");
        (file.open, file.length) = (false, file.length + length);
        *self = tried;
        Ok(())
    }

    pub(super) fn exchange(&mut self, first: &DfsPath, second: &DfsPath) -> Expected<()> {
        let (name, above) = split(first).ok_or(ErrorKind::InvalidArgument)?;
        let mut tried = self.clone();
        tried.directory(&above, false)?;
        let (other_name, other_above) = split(second).ok_or(ErrorKind::InvalidArgument)?;
        tried.directory(&other_above, false)?;
        let left = tried.directory(&above, false)?.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        let right = tried.directory(&other_above, false)?.get(other_name).cloned().ok_or(ErrorKind::NotFound)?;
        if first != second && (first.starts_with(second) || second.starts_with(first)) {
            return Err(ErrorKind::InvalidArgument);
        }
        tried.directory(&above, false)?.insert(name.to_owned(), right);
        tried.directory(&other_above, false)?.insert(other_name.to_owned(), left);
        *self = tried;
        Ok(())
    }

    pub(super) fn symlink(&mut self, path: &DfsPath, target: &str) -> Expected<()> {
        let (name, above) = split(path).ok_or(ErrorKind::InvalidArgument)?;
        let entries = self.directory(&above, false)?;
        if entries.contains_key(name) {
            return Err(ErrorKind::AlreadyExists);
        }
        entries.insert(name.to_owned(), Node::Link(target.to_owned()));
        Ok(())
    }

    pub(super) fn set_replication(&mut self, path: &DfsPath, replication: u16) -> Expected<()> {
        let (name, above) = split(path).ok_or(ErrorKind::IsADirectory)?;
        match self.directory(&above, false)?.get_mut(name) {
            None => Err(ErrorKind::NotFound),
            Some(Node::Directory(_)) => Err(ErrorKind::IsADirectory),
            Some(Node::Link(_)) => Err(ErrorKind::Symlink),
            Some(Node::File(file)) => {
                file.replication = replication;
                Ok(())
            }
        }
    }

    pub(super) fn set_quota(&mut self, path: &DfsPath, quota: Quota) -> Expected<()> {
        let names: Vec<&str> = path.names().collect();
        self.next += 1;
        let next = self.next;
        let directory = self.directory(&names, false)?;
        directory.quota = quota;
        directory.id = if directory.id == 0 { next } else { directory.id };
        Ok(())
    }

    /// Does something, unless a directory would then be larger than it may be, and larger than it was.
    pub(super) fn within_quotas<T>(&mut self, change: impl FnOnce(&mut Self) -> Expected<T>) -> Expected<T> {
        let mut tried = self.clone();
        let done = change(&mut tried)?;
        let before: BTreeMap<u64, Usage> = self.quotas().into_iter().map(|(id, _, usage)| (id, usage)).collect();
        for (id, quota, after) in tried.quotas() {
            let before = before.get(&id).copied().unwrap_or_default();
            let names = |usage: Usage| usage.files + usage.directories;
            let over = |limit: Option<u64>, before, after| after > before && limit.is_some_and(|limit| after > limit);
            if over(quota.names, names(before), names(after)) || over(quota.space, before.space, after.space) {
                return Err(ErrorKind::QuotaExceeded);
            }
        }
        *self = tried;
        Ok(done)
    }

    /// Each directory with a quota, and what lies below it.
    fn quotas(&self) -> Vec<(u64, Quota, Usage)> {
        let mut found = Vec::new();
        let mut todo = vec![&self.root];
        while let Some(node) = todo.pop() {
            let Node::Directory(directory) = node else { continue };
            if directory.quota != Quota::default() {
                found.push((directory.id, directory.quota, usage(node)));
            }
            todo.extend(directory.values());
        }
        found
    }

    /// The file of that number, if it still has a name.
    pub(super) fn file(&mut self, id: u64) -> Option<&mut File> {
        fn find(node: &mut Node, id: u64) -> Option<&mut File> {
            match node {
                Node::File(file) => (file.id == id).then_some(file),
                Node::Link(_) => None,
                Node::Directory(entries) => entries.values_mut().find_map(|node| find(node, id)),
            }
        }
        find(&mut self.root, id)
    }

    /// Every file that is open.
    pub(super) fn open_files(&self) -> Vec<u64> {
        self.files().into_iter().filter(|(_, file)| file.open).map(|(_, file)| file.id).collect()
    }

    /// Where the file of that number is.
    pub(super) fn path_of(&self, id: u64) -> DfsPath {
        let found = self.files().into_iter().find(|(_, file)| file.id == id);
        found.map(|(path, _)| path).expect("it has a name")
    }

    /// The number of the file at `path`.
    pub(super) fn id_at(&self, path: &DfsPath) -> Option<u64> {
        self.files().into_iter().find(|(at, _)| at == path).map(|(_, file)| file.id)
    }

    fn files(&self) -> Vec<(DfsPath, &File)> {
        let mut files = Vec::new();
        let mut todo = vec![(DfsPath::root(), &self.root)];
        while let Some((path, node)) = todo.pop() {
            match node {
                Node::File(file) => files.push((path, file)),
                Node::Link(_) => {}
                Node::Directory(entries) => {
                    todo.extend(entries.iter().map(|(name, node)| (path.join(name).unwrap(), node)));
                }
            }
        }
        files
    }

    /// The namespace shows the same tree, with the same usage everywhere.
    pub(super) async fn compare(&self, fixture: &Fixture) {
        let mut usages = Vec::new();
        let mut todo = vec![(DfsPath::root(), &self.root)];
        while let Some((path, node)) = todo.pop() {
            usages.push((path.clone(), usage(node)));
            let Node::Directory(entries) = node else { continue };
            assert_eq!(fixture.namespace.quota(path.clone()).await.unwrap(), entries.quota, "{path}");
            let listed = fixture.namespace.list(path.clone(), String::new(), MAX_PAGE).await.unwrap();
            let names: Vec<_> = listed.iter().map(|entry| &entry.name).collect();
            assert_eq!(names, entries.keys().collect::<Vec<_>>(), "{path}");
            for (entry, node) in listed.iter().zip(entries.values()) {
                let path = path.join(&entry.name).unwrap();
                if let Node::File(file) = node {
                    let found = (entry.status.length, entry.status.replication, entry.status.open);
                    assert_eq!(found, (file.length, file.replication, file.open), "{path}");
                }
                let target = if let Node::Link(target) = node { Some(target.clone()) } else { None };
                assert_eq!(entry.status.target, target, "{path}");
                assert_eq!(fixture.namespace.path_of(entry.status.inode).await.unwrap(), Some(path.clone()));
                todo.push((path, node));
            }
        }
        for (path, expected) in usages {
            // Usage is asked for past links.
            if matches!(fixture.namespace.lstat(path.clone()).await.unwrap().kind, FileKind::Symlink) {
                continue;
            }
            assert_eq!(fixture.namespace.usage(path.clone()).await.unwrap(), expected, "{path}");
        }
    }

    /// The entries of the directory that names lead to, made where asked for.
    fn directory(&mut self, names: &[&str], make: bool) -> Expected<&mut Directory> {
        let mut at = &mut self.root;
        for name in names {
            let Node::Directory(entries) = at else { return Err(not_a_directory(at)) };
            if make {
                entries.entry((*name).to_owned()).or_insert_with(|| Node::Directory(Directory::default()));
            }
            at = entries.get_mut(*name).ok_or(ErrorKind::NotFound)?;
        }
        match at {
            Node::Directory(entries) => Ok(entries),
            node => Err(not_a_directory(node)),
        }
    }
}

fn not_a_directory(node: &Node) -> ErrorKind {
    if matches!(node, Node::Link(_)) { ErrorKind::Symlink } else { ErrorKind::NotADirectory }
}

fn split(path: &DfsPath) -> Option<(&str, Vec<&str>)> {
    let mut names: Vec<&str> = path.names().collect();
    Some((names.pop()?, names))
}

/// All below a directory; a file itself.
fn usage(node: &Node) -> Usage {
    match node {
        Node::File(file) => Usage {
            bytes: file.length,
            files: 1,
            directories: 0,
            space: file.length.max(file.reserved) * u64::from(file.replication),
        },
        Node::Link(_) => Usage { files: 1, ..Default::default() },
        Node::Directory(entries) => entries.values().fold(Usage::default(), |sum, node| {
            let below = usage(node);
            Usage {
                bytes: sum.bytes + below.bytes,
                files: sum.files + below.files,
                directories: sum.directories + below.directories + u64::from(matches!(node, Node::Directory(_))),
                space: sum.space + below.space,
            }
        }),
    }
}
