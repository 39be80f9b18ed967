//! Copying by the rules of cp(1), whichever way: what `put`, `get` and `cp` have in common.

use std::future::Future;

use futures::stream::{self, LocalBoxStream, Stream, StreamExt, TryStreamExt};
use godfs_core::{Error, ErrorKind, Result};

use super::target::{Found, Last, may_replace};

/// Files of one tree that are copied at once: enough to hide the wait for disks and answers that each small file has, few
/// enough that their buffers (some MiB each) don't matter.
const FILES_AT_ONCE: usize = 8;

/// One entry of a directory that is being copied.
#[derive(Clone, Debug)]
pub(super) struct Child<P> {
    pub(super) name: String,
    pub(super) path: P,
    pub(super) found: Found,
}

/// One way to copy: out of the local system or the cluster, into either.
pub(super) trait Way {
    /// Names a source.
    type From: Clone;
    /// Names a target.
    type To: Clone;
    /// A directory that has not got its name yet. Whoever drops it unpublished leaves nothing behind, at the latest when the
    /// command ends.
    type Staged;

    /// A source as the user knows it.
    fn show(&self, from: &Self::From) -> String;

    /// A target as the user knows it.
    fn show_target(&self, to: &Self::To) -> String;

    /// The name that a source has in a directory.
    fn name(&self, from: &Self::From) -> Result<String>;

    /// The entry `name` of a target directory.
    fn join(&self, to: &Self::To, name: &str) -> Result<Self::To>;

    /// What a source is; [`ErrorKind::NotFound`] when there is none.
    fn look(&self, from: &Self::From) -> impl Future<Output = Result<Found>>;

    /// What stands in the target's place.
    fn look_target(&self, to: &Self::To) -> impl Future<Output = Result<Found>>;

    /// Refuses a target that the source itself is, or holds.
    fn check_apart(&self, from: &Self::From, to: &Self::To) -> Result<()>;

    /// The entries of a source directory.
    fn children<'a>(&'a self, from: &'a Self::From) -> LocalBoxStream<'a, Result<Child<Self::From>>>;

    /// Makes a directory, or finds it there.
    fn make_directory(&self, to: &Self::To) -> impl Future<Output = Result<()>>;

    /// Copies one file, whole or not at all.
    fn file(&self, from: &Self::From, to: &Self::To) -> impl Future<Output = Result<()>>;

    /// Begins a directory that will be `to`.
    fn stage(&self, to: &Self::To) -> impl Future<Output = Result<Self::Staged>>;

    /// Where a staged directory is for now.
    fn staged(&self, staged: &Self::Staged) -> Self::To;

    /// Gives a staged directory its name.
    fn publish(&self, staged: Self::Staged, to: &Self::To) -> impl Future<Output = Result<()>>;
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct CopyOptions {
    /// Copy directories too.
    pub(super) recursive: bool,
    /// Replace files.
    pub(super) force: bool,
}

/// Copies `sources` to `target`, given as `text`. One that fails does not stop the others; its error goes to `failed`.
///
/// # Errors
/// What makes all of it impossible.
pub(super) async fn copy_all<W: Way>(
    way: &W,
    sources: &[W::From],
    target: &W::To,
    text: &str,
    options: CopyOptions,
    mut failed: impl FnMut(Error),
) -> Result<()> {
    let last = Last { text, found: way.look_target(target).await?, several: sources.len() > 1 };
    for source in sources {
        if let Err(error) = copy(way, source, target, last, options).await {
            failed(error);
        }
    }
    Ok(())
}

async fn copy<W: Way>(way: &W, from: &W::From, target: &W::To, last: Last<'_>, options: CopyOptions) -> Result<()> {
    let source = way.look(from).await?;
    if source == Found::Directory && !options.recursive {
        let shown = way.show(from);
        return Err(Error::new(ErrorKind::IsADirectory, format!("{shown}; -r copies it with all below it")));
    }
    let (to, found) = if last.takes_name(source)? {
        let to = way.join(target, &way.name(from)?)?;
        let found = way.look_target(&to).await?;
        (to, found)
    } else {
        (target.clone(), last.found)
    };
    way.check_apart(from, &to)?;
    may_replace(source, found, options.force, &way.show_target(&to))?;
    match (source, found) {
        (Found::Directory, Found::Nothing) => {
            let staged = way.stage(&to).await?;
            copy_tree(way, from.clone(), way.staged(&staged)).await?;
            way.publish(staged, &to).await
        }
        (Found::Directory, _) => copy_tree(way, from.clone(), to).await,
        _ => way.file(from, &to).await,
    }
}

/// Copies what is below `from` to below `to`, several files at once. The first failure stops it.
async fn copy_tree<W: Way>(way: &W, from: W::From, to: W::To) -> Result<()> {
    files(way, from, to)
        .try_for_each_concurrent(FILES_AT_ONCE, |(from, to)| async move { way.file(&from, &to).await })
        .await
}

/// The files below `from` and where they go. Makes the directories on its way; holds the names of those still to visit.
fn files<W: Way>(way: &W, from: W::From, to: W::To) -> impl Stream<Item = Result<(W::From, W::To)>> + '_ {
    let pending = vec![(from, to)];
    let directories = stream::try_unfold(pending, move |mut pending: Vec<(W::From, W::To)>| async move {
        let Some((from, to)) = pending.pop() else { return Ok(None) };
        way.make_directory(&to).await?;
        let mut files = Vec::new();
        let mut children = way.children(&from);
        while let Some(child) = children.try_next().await? {
            let to = way.join(&to, &child.name)?;
            match child.found {
                Found::Directory => pending.push((child.path, to)),
                _ => files.push((child.path, to)),
            }
        }
        drop(children);
        Ok::<_, Error>(Some((stream::iter(files).map(Ok), pending)))
    });
    directories.try_flatten()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    /// Files by path, with what they hold; `None` for a directory. Copies from one to the other.
    #[derive(Default)]
    struct Memory {
        from: BTreeMap<String, Option<&'static str>>,
        to: RefCell<BTreeMap<String, Option<&'static str>>>,
    }

    impl Memory {
        fn new(from: &[(&str, Option<&'static str>)], to: &[(&str, Option<&'static str>)]) -> Self {
            let own = |list: &[(&str, Option<&'static str>)]| {
                list.iter().map(|(path, data)| ((*path).to_owned(), *data)).collect()
            };
            Self { from: own(from), to: RefCell::new(own(to)) }
        }

        fn copy(&self, sources: &[&str], target: &str, recursive: bool, force: bool) -> Vec<ErrorKind> {
            let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
            let path = target.trim_end_matches('/').to_owned();
            let mut errors = Vec::new();
            let done = copy_all(self, &sources, &path, target, CopyOptions { recursive, force }, |error| {
                errors.push(error.kind());
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            runtime.block_on(done).expect("possible");
            errors
        }

        fn paths(&self) -> Vec<String> {
            self.to
                .borrow()
                .iter()
                .map(|(path, data)| data.map_or_else(|| format!("{path}/"), |data| format!("{path}={data}")))
                .collect()
        }
    }

    fn found(map: &BTreeMap<String, Option<&'static str>>, path: &str) -> Found {
        match map.get(path) {
            None => Found::Nothing,
            Some(None) => Found::Directory,
            Some(Some(_)) => Found::File,
        }
    }

    impl Way for Memory {
        type From = String;
        type To = String;
        type Staged = String;

        fn show(&self, from: &String) -> String {
            from.clone()
        }

        fn show_target(&self, to: &String) -> String {
            to.clone()
        }

        fn name(&self, from: &String) -> Result<String> {
            Ok(from.rsplit('/').next().unwrap_or_default().to_owned())
        }

        fn join(&self, to: &String, name: &str) -> Result<String> {
            Ok(format!("{to}/{name}"))
        }

        async fn look(&self, from: &String) -> Result<Found> {
            match found(&self.from, from) {
                Found::Nothing => Err(Error::new(ErrorKind::NotFound, from.clone())),
                found => Ok(found),
            }
        }

        async fn look_target(&self, to: &String) -> Result<Found> {
            Ok(found(&self.to.borrow(), to))
        }

        fn check_apart(&self, from: &String, to: &String) -> Result<()> {
            if from == to { Err(Error::new(ErrorKind::InvalidArgument, "same")) } else { Ok(()) }
        }

        fn children<'a>(&'a self, from: &'a String) -> LocalBoxStream<'a, Result<Child<String>>> {
            let below = format!("{from}/");
            let children: Vec<_> = self
                .from
                .keys()
                .filter_map(|path| {
                    let name = path.strip_prefix(&below).filter(|name| !name.contains('/'))?;
                    Some(Ok(Child { name: name.to_owned(), path: path.clone(), found: found(&self.from, path) }))
                })
                .collect();
            stream::iter(children).boxed_local()
        }

        async fn make_directory(&self, to: &String) -> Result<()> {
            self.to.borrow_mut().insert(to.clone(), None);
            Ok(())
        }

        async fn file(&self, from: &String, to: &String) -> Result<()> {
            let data = self.from[from];
            if data == Some("unreadable") {
                return Err(Error::new(ErrorKind::Io, from.clone()));
            }
            self.to.borrow_mut().insert(to.clone(), data);
            Ok(())
        }

        async fn stage(&self, _: &String) -> Result<String> {
            Ok("/.staged".to_owned())
        }

        fn staged(&self, staged: &String) -> String {
            staged.clone()
        }

        async fn publish(&self, staged: String, to: &String) -> Result<()> {
            let mut map = self.to.borrow_mut();
            let moved: Vec<_> = map
                .iter()
                .filter(|(path, _)| path.starts_with(&staged))
                .map(|(path, data)| (path.clone(), *data))
                .collect();
            for (path, data) in moved {
                map.remove(&path);
                map.insert(path.replacen(&staged, to, 1), data);
            }
            Ok(())
        }
    }

    #[test]
    fn a_directory_as_target_takes_the_name() {
        let way = Memory::new(&[("/s/a", Some("1")), ("/s/b", Some("2"))], &[("/d", None)]);
        assert_eq!(way.copy(&["/s/a"], "/n", false, false), []);
        assert_eq!(way.copy(&["/s/a", "/s/gone", "/s/b"], "/d", false, false), [ErrorKind::NotFound]);
        assert_eq!(way.paths(), ["/d/", "/d/a=1", "/d/b=2", "/n=1"]);
        assert_eq!(way.copy(&["/s/b"], "/n", false, false), [ErrorKind::AlreadyExists]);
        assert_eq!(way.copy(&["/s/b"], "/n", false, true), []);
        assert_eq!(way.copy(&["/s/a", "/s/b"], "/n", false, true), [ErrorKind::NotADirectory; 2]);
        assert_eq!(way.copy(&["/s/a", "/s/b"], "/x", false, false), [ErrorKind::NotFound; 2]);
        assert_eq!(way.paths(), ["/d/", "/d/a=1", "/d/b=2", "/n=2"]);
    }

    #[test]
    fn a_new_tree_appears_whole_or_not_at_all() {
        let tree = [("/s", None), ("/s/a", Some("1")), ("/s/d", None), ("/s/d/e", None), ("/s/d/b", Some("2"))];
        let way = Memory::new(&tree, &[]);
        assert_eq!(way.copy(&["/s"], "/t", false, false), [ErrorKind::IsADirectory]);
        assert_eq!(way.copy(&["/s"], "/t/", true, false), []);
        assert_eq!(way.paths(), ["/t/", "/t/a=1", "/t/d/", "/t/d/b=2", "/t/d/e/"]);

        let way = Memory::new(&[tree.as_slice(), &[("/s/z", Some("unreadable"))]].concat(), &[]);
        assert_eq!(way.copy(&["/s"], "/t", true, false), [ErrorKind::Io]);
        assert!(way.paths().iter().all(|path| path.starts_with("/.staged")), "{:?}", way.paths());
    }

    #[test]
    fn a_tree_fills_one_that_exists() {
        let way =
            Memory::new(&[("/s", None), ("/s/a", Some("1"))], &[("/d", None), ("/d/s", None), ("/d/s/b", Some("2"))]);
        assert_eq!(way.copy(&["/s"], "/d", true, false), []);
        assert_eq!(way.paths(), ["/d/", "/d/s/", "/d/s/a=1", "/d/s/b=2"]);
        assert_eq!(way.copy(&["/s"], "/d/s/b", true, true), [ErrorKind::NotADirectory]);
    }

    #[test]
    fn nothing_is_copied_onto_itself() {
        let way = Memory::new(&[("/a", Some("1"))], &[("/a", Some("1"))]);
        assert_eq!(way.copy(&["/a"], "/a", false, true), [ErrorKind::InvalidArgument]);
    }
}
