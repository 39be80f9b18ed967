//! Symbolic links: the namenode names the one that is in the way, and it is followed here.

use std::future::Future;

use godfs_core::{DfsPath, Error, ErrorKind, Result};
use godfs_proto::v1;
use tonic::{Response, Status};

use crate::namenode::{Namenode, Stub};

/// Links that are followed in one call; more are taken for a loop.
pub(crate) const MAX_HOPS: usize = 40;

/// The links that were followed in one call.
#[derive(Debug, Default)]
pub(crate) struct Hops(usize);

impl Hops {
    /// If `error` says that a link is in the way, puts what it leads to in its place in `paths`.
    ///
    /// # Errors
    /// `error` itself if it says something else; [`ErrorKind::LimitExceeded`] when the links don't end.
    pub(crate) fn follow(&mut self, error: Error, paths: &mut [DfsPath]) -> Result<()> {
        let Some((link, target)) = error.link() else { return Err(error) };
        self.0 += 1;
        if self.0 > MAX_HOPS {
            let message =
                format!("{link} leads to {target}, and on to more than {MAX_HOPS} symbolic links: they form a loop");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        // Paths through the link first: a call may mean the link itself by one path and what it leads to by another.
        let through = paths.iter().any(|path| path.starts_with(link) && path != link);
        let mut met = false;
        for path in paths.iter_mut().filter(|path| path.starts_with(link) && (!through || *path != link)) {
            *path = resolve(path, link, target)?;
            met = true;
        }
        if met { Ok(()) } else { Err(error) }
    }
}

/// Makes a call on paths until no link is in their way.
pub(crate) async fn follow<P, T, F, Fut>(mut paths: P, call: F) -> Result<T>
where
    P: AsMut<[DfsPath]> + Clone,
    F: Fn(P) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let mut hops = Hops::default();
    loop {
        match call(paths.clone()).await {
            Err(error) => hops.follow(error, paths.as_mut())?,
            done => return done,
        }
    }
}

impl Namenode {
    /// A [call](Self::call) on a path, through links.
    pub(crate) async fn call_at<T, F, Fut>(&self, path: DfsPath, make: F) -> Result<T>
    where
        F: Fn(Stub, String) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        follow([path], |[path]| {
            let make = &make;
            self.call(move |stub| make(stub, path.as_str().to_owned()))
        })
        .await
    }

    /// A [call that changes something](Self::mutate) on paths, through links.
    pub(crate) async fn mutate_at<const N: usize, T, F, Fut>(&self, paths: [DfsPath; N], make: F) -> Result<T>
    where
        F: Fn(Stub, v1::Call, [String; N]) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        follow(paths, |paths| {
            let make = &make;
            self.mutate(move |stub, call| make(stub, call, paths.each_ref().map(|path| path.as_str().to_owned())))
        })
        .await
    }
}

/// `path` with what `link`, the beginning of it, leads to. A `..` of the target takes back the name in front of it, and stays at the root.
fn resolve(path: &DfsPath, link: &DfsPath, target: &str) -> Result<DfsPath> {
    let from = if target.starts_with('/') { None } else { link.parent() };
    let mut names: Vec<&str> = from.iter().flat_map(DfsPath::names).collect();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.extend(path.names().skip(link.names().count()));
    DfsPath::parse(&format!("/{}", names.join("/")))
        .map_err(|error| error.context(format_args!("{path} through the symbolic link {link} to {target}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> DfsPath {
        DfsPath::parse(path).expect(path)
    }

    #[test]
    fn targets_take_the_place_of_links() {
        for (path, link, target, expected) in [
            ("/a/l/x/y", "/a/l", "b", "/a/b/x/y"),
            ("/a/l", "/a/l", "/b/", "/b"),
            ("/a/b/l/x", "/a/b/l", "../c/./d", "/a/c/d/x"),
            ("/l/x", "/l", "../../..", "/x"),
            ("/l", "/l", "/", "/"),
            ("/l", "/l", "a//b/..", "/a"),
        ] {
            assert_eq!(resolve(&at(path), &at(link), target).expect(path).as_str(), expected, "{path} {target}");
        }
        let error = resolve(&at("/l"), &at("/l"), "a\0").expect_err("no name");
        assert!(error.message().contains("the symbolic link /l"), "{error}");
    }

    #[test]
    fn only_paths_through_the_link_are_changed() {
        let mut paths = [at("/l"), at("/l/x"), at("/link"), at("/y")];
        Hops::default().follow(Error::symlink(at("/l"), "/t"), &mut paths).expect("followed");
        assert_eq!(paths, [at("/l"), at("/t/x"), at("/link"), at("/y")]);
        let error = Hops::default().follow(Error::symlink(at("/elsewhere"), "/t"), &mut paths).expect_err("not ours");
        assert_eq!(error.kind(), ErrorKind::Symlink);
    }

    #[tokio::test]
    async fn forty_links_are_followed_and_loops_end() {
        let chain = async |end: usize| {
            follow([at("/0")], |[path]| async move {
                let number: usize = path.name().and_then(|name| name.parse().ok()).expect("a number");
                if number == end { Ok(number) } else { Err(Error::symlink(path, (number + 1).to_string())) }
            })
            .await
        };
        assert_eq!(chain(40).await.expect("forty"), 40);
        let error = chain(41).await.expect_err("one too many");
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.message().starts_with("/40 leads to 41"), "{error}");
    }
}
