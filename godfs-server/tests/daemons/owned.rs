//! The tree that one client of the kill test has to itself: random operations on it, and what each must come to.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use godfs_client::{
    AclChange, AclEntry, AclPlace, AclSubject, Client, CreateOptions, MkdirOptions, RemoveOptions, RenameOptions,
    Result, WalkOptions, XattrMode,
};
use godfs_core::ErrorKind;

use crate::harness::noise;

/// More than the namenode keeps itself.
const LARGE: usize = 20_000;
/// Names below the top.
const MAX_DEPTH: usize = 3;
const XATTR: &str = "user.note";

/// Everything below the top, by its path there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    mode: u16,
    note: Option<u8>,
    /// It has an access control list that names a user.
    listed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File(Bytes),
    Link(String),
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Fails where there is something.
    Put(String, Bytes),
    Mkdir(String),
    Rename {
        from: String,
        to: String,
        replace: bool,
    },
    Exchange(String, String),
    Delete(String),
    Append(String, Bytes),
    Truncate(String, u64),
    Concat(String, String),
    SetMode(String, u16),
    SetNote(String, u8),
    List(String),
    Symlink(String, String),
}

impl Op {
    /// Whether its steps can be told apart by others, so that it must not be left in the middle.
    pub(crate) fn is_many_calls(&self) -> bool {
        matches!(self, Self::Put(_, data) if data.len() >= LARGE)
    }

    /// Makes what was left in the middle be either done or not.
    pub(crate) async fn settle(&self, client: &Client, top: &str) {
        if let Self::Append(path, _) = self {
            client.recover(format!("{top}/{path}"), Duration::from_secs(60)).await.expect("recover");
        }
    }

    pub(crate) async fn perform(&self, client: &Client, top: &str) -> Result<()> {
        let at = |path: &String| format!("{top}/{path}");
        match self {
            Self::Put(path, data) => {
                let options = CreateOptions::default().replication(1).chunk_size(64 << 10);
                client.put(at(path), data.clone(), options).await
            }
            Self::Mkdir(path) => client.mkdir(at(path), MkdirOptions::default()).await,
            Self::Rename { from, to, replace } => {
                client.rename(at(from), at(to), RenameOptions::default().replace(*replace)).await
            }
            Self::Exchange(first, second) => client.exchange(at(first), at(second)).await,
            Self::Delete(path) => client.remove(at(path), RemoveOptions::default().recursive(true)).await,
            Self::Append(path, more) => {
                let mut file = client.appender(at(path)).await?;
                file.write_bytes(more.clone()).await?;
                file.close().await.map(drop)
            }
            Self::Truncate(path, length) => client.truncate(at(path), *length).await,
            Self::Concat(target, source) => client.concat(at(target), [at(source)]).await,
            Self::SetMode(path, mode) => client.set_mode(at(path), *mode).await,
            Self::SetNote(path, note) => client.set_xattr(at(path), XATTR, vec![*note], XattrMode::Any).await,
            Self::List(path) => client.set_acl(at(path), &AclChange::Modify(vec![named()])).await,
            Self::Symlink(path, target) => client.symlink(target.clone(), at(path)).await,
        }
    }
}

/// What is put into lists.
fn named() -> AclEntry {
    AclEntry { place: AclPlace { default: false, subject: AclSubject::User("bob".into()) }, rights: 7 }
}

impl Tree {
    /// Something to do next, most often something that succeeds.
    pub(crate) fn choose(&self, rng: &mut fastrand::Rng) -> Op {
        loop {
            let any = self.pick(rng, |_| true);
            let place = self.place(rng);
            let small = self.pick(rng, |kind| matches!(kind, Kind::File(data) if data.len() < LARGE));
            let op = match (rng.u8(0..40), any, small) {
                (0..9, ..) => Op::Put(place, noise(rng.usize(0..600), rng.u64(..)).into()),
                (9, ..) => Op::Put(place, noise(LARGE, rng.u64(..)).into()),
                (10..15, ..) => Op::Mkdir(place),
                (15..20, Some(from), _) => Op::Rename { from, to: place, replace: rng.bool() },
                (20..23, Some(first), _) => {
                    let Some(second) = self.pick(rng, |_| true) else { continue };
                    Op::Exchange(first, second)
                }
                (23..26, Some(path), _) if self.0.len() > 6 => Op::Delete(path),
                (26..29, _, Some(path)) => Op::Append(path, noise(rng.usize(1..200), rng.u64(..)).into()),
                (29..31, _, Some(path)) => Op::Truncate(path.clone(), rng.u64(0..=self.length(&path))),
                (31, ..) => {
                    let large = |kind: &Kind| matches!(kind, Kind::File(data) if data.len() >= LARGE);
                    match (self.pick(rng, large), self.pick(rng, large)) {
                        (Some(target), Some(source)) => Op::Concat(target, source),
                        _ => continue,
                    }
                }
                (32..38, Some(path), _) if matches!(self.0[&path].kind, Kind::Link(_)) => {
                    Op::Rename { from: path, to: place, replace: false }
                }
                (32..34, Some(path), _) => Op::SetMode(path, [0o700, 0o751, 0o777][rng.usize(0..3)]),
                (34..36, Some(path), _) => Op::SetNote(path, rng.u8(..)),
                (36..38, Some(path), _) => Op::List(path),
                (38.., ..) => Op::Symlink(place, format!("to/{}", rng.u16(..))),
                _ => continue,
            };
            return op;
        }
    }

    /// A name in some directory, where something may be.
    fn place(&self, rng: &mut fastrand::Rng) -> String {
        let directory = self.pick(rng, |kind| *kind == Kind::Directory);
        let name = char::from(rng.u8(b'a'..=b'f'));
        match directory.filter(|path| rng.u8(0..4) > 0 && path.matches('/').count() + 1 < MAX_DEPTH) {
            Some(directory) => format!("{directory}/{name}"),
            None => name.to_string(),
        }
    }

    fn pick(&self, rng: &mut fastrand::Rng, wanted: impl Fn(&Kind) -> bool) -> Option<String> {
        let paths: Vec<_> = self.0.iter().filter(|(_, entry)| wanted(&entry.kind)).map(|(path, _)| path).collect();
        (!paths.is_empty()).then(|| paths[rng.usize(0..paths.len())].clone())
    }

    fn length(&self, path: &str) -> u64 {
        if let Kind::File(data) = &self.0[path].kind { data.len() as u64 } else { 0 }
    }

    /// Does it here; what was refused has changed nothing.
    pub(crate) fn apply(&mut self, op: &Op) -> std::result::Result<(), ErrorKind> {
        match op {
            Op::Put(path, data) => self.add(path, Kind::File(data.clone()), 0o644),
            Op::Mkdir(path) => self.add(path, Kind::Directory, 0o755),
            Op::Symlink(path, target) => self.add(path, Kind::Link(target.clone()), 0o777),
            Op::Rename { from, to, replace } => self.rename(from, to, *replace),
            Op::Exchange(first, second) => {
                if first != second {
                    if is_below(first, second) || is_below(second, first) {
                        return Err(ErrorKind::InvalidArgument);
                    }
                    let (left, right) = (self.take(first), self.take(second));
                    self.plant(second, left);
                    self.plant(first, right);
                }
                Ok(())
            }
            Op::Delete(path) => {
                self.take(path);
                Ok(())
            }
            Op::Append(path, more) => self.rewrite(path, |data| data.extend_from_slice(more)),
            Op::Truncate(path, length) => {
                self.rewrite(path, |data| data.truncate(usize::try_from(*length).expect("small")))
            }
            Op::Concat(target, source) => {
                if target == source {
                    return Err(ErrorKind::InvalidArgument);
                }
                let Some((_, Entry { kind: Kind::File(more), .. })) = self.take(source).pop() else {
                    panic!("{source} is no file")
                };
                self.rewrite(target, |data| data.extend_from_slice(&more))
            }
            Op::SetMode(path, mode) => self.edit(path, |entry| entry.mode = *mode),
            Op::SetNote(path, note) => self.edit(path, |entry| entry.note = Some(*note)),
            // The group's bits are the mask from then on, which grows to what is in the list.
            Op::List(path) => self.edit(path, |entry| (entry.listed, entry.mode) = (true, entry.mode | 0o070)),
        }
    }

    fn add(&mut self, path: &str, kind: Kind, mode: u16) -> std::result::Result<(), ErrorKind> {
        if self.0.contains_key(path) {
            return Err(ErrorKind::AlreadyExists);
        }
        self.0.insert(path.to_owned(), Entry { kind, mode, note: None, listed: false });
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str, replace: bool) -> std::result::Result<(), ErrorKind> {
        if from == to {
            return Ok(());
        }
        if is_below(to, from) {
            return Err(ErrorKind::InvalidArgument);
        }
        if let Some(old) = self.0.get(to) {
            let empty = !self.0.keys().any(|path| is_below(path, to));
            let directory = self.0[from].kind == Kind::Directory;
            match (directory, old.kind == Kind::Directory) {
                _ if !replace => return Err(ErrorKind::AlreadyExists),
                (true, true) if !empty => return Err(ErrorKind::DirectoryNotEmpty),
                (false, true) => return Err(ErrorKind::IsADirectory),
                (true, false) => return Err(ErrorKind::NotADirectory),
                _ => {}
            }
        }
        let moved = self.take(from);
        self.take(to);
        self.plant(to, moved);
        Ok(())
    }

    fn edit(&mut self, path: &str, change: impl FnOnce(&mut Entry)) -> std::result::Result<(), ErrorKind> {
        change(self.0.get_mut(path).expect("chosen among what is there"));
        Ok(())
    }

    fn rewrite(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> std::result::Result<(), ErrorKind> {
        self.edit(path, |entry| {
            let Kind::File(data) = &mut entry.kind else { panic!("{path} is no file") };
            let mut bytes = data.to_vec();
            change(&mut bytes);
            *data = bytes.into();
        })
    }

    /// Takes out what is at a path and below it, each with the rest of its path.
    fn take(&mut self, path: &str) -> Vec<(String, Entry)> {
        let all = std::mem::take(&mut self.0);
        let (taken, kept): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(other, _)| other == path || is_below(other, path));
        self.0 = kept.into_iter().collect();
        taken.into_iter().map(|(other, entry)| (other[path.len()..].to_owned(), entry)).collect()
    }

    fn plant(&mut self, path: &str, taken: Vec<(String, Entry)>) {
        self.0.extend(taken.into_iter().map(|(rest, entry)| (format!("{path}{rest}"), entry)));
    }

    /// What the namenode has below `top`.
    pub(crate) async fn found(client: &Client, top: &str) -> Result<Self> {
        let mut found = Self::default();
        let mut walk = client.walk(top, WalkOptions::new())?;
        while let Some((path, status)) = walk.try_next().await? {
            let below = path.as_str()[top.len() + 1..].to_owned();
            let mut entry = Entry { kind: Kind::Directory, mode: status.mode, note: None, listed: status.acl };
            if let Some(target) = &status.target {
                entry.kind = Kind::Link(target.clone());
            } else {
                entry.note =
                    client.xattrs(&path).await?.iter().find(|(name, _)| name == XATTR).map(|(_, note)| note[0]);
                if status.is_file() {
                    assert!(!status.open, "{path} is open");
                    let data = client.get(&path).await?;
                    assert_eq!(data.len() as u64, status.length, "{path}");
                    entry.kind = Kind::File(data);
                }
                let listed = client.acl(&path).await?.entries.contains(&named());
                assert_eq!(listed, status.acl, "{path}");
            }
            found.0.insert(below, entry);
        }
        Ok(found)
    }
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}
