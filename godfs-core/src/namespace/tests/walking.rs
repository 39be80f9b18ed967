//! Walks: order, filters, and places that outlive what stood there.

use super::*;
use crate::glob::Glob;

/// All pages, `limit` entries each; with what is done between them.
async fn walk(fixture: &Fixture, root: &str, options: &WalkOptions, limit: usize) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), at(root));
    loop {
        let page = fixture.namespace.walk(at(root), after, options.clone(), limit).await.unwrap();
        assert!(page.entries.len() <= limit.max(1) + 1);
        found.extend(page.entries.iter().map(|entry| entry.path.to_string()));
        match page.next {
            Some(next) => after = next,
            None => return found,
        }
    }
}

async fn tree() -> Fixture {
    let fixture = Fixture::new(0).await;
    for directory in ["/a/b", "/a/b.d", "/a/empty", "/z"] {
        fixture.mkdir(directory).await;
    }
    for file in ["/a/b/1.txt", "/a/b/2.log", "/a/b.d/x.txt", "/a/c.txt", "/top.txt"] {
        fixture.put(file, b"12345").await;
    }
    fixture
}

#[tokio::test]
async fn every_page_size_gives_the_same_walk() {
    let fixture = tree().await;
    let all =
        ["/a", "/a/b", "/a/b/1.txt", "/a/b/2.log", "/a/b.d", "/a/b.d/x.txt", "/a/c.txt", "/a/empty", "/top.txt", "/z"];
    for limit in 1..12 {
        assert_eq!(walk(&fixture, "/", &WalkOptions::default(), limit).await, all, "{limit}");
        assert_eq!(walk(&fixture, "/a", &WalkOptions::default(), limit).await, all[1..8], "{limit}");
    }
}

#[tokio::test]
async fn what_is_asked_for_comes_and_nothing_else() {
    let fixture = tree().await;
    let options = WalkOptions::default;
    for (options, expected) in [
        (WalkOptions { max_depth: 1, ..options() }, &["/a", "/top.txt", "/z"][..]),
        (WalkOptions { min_depth: 0, max_depth: 0, ..options() }, &["/"]),
        (
            WalkOptions { min_depth: 3, kind: Some(FileKind::File), ..options() },
            &["/a/b/1.txt", "/a/b/2.log", "/a/b.d/x.txt"],
        ),
        (WalkOptions { name: Some(Glob::parse("b*").unwrap()), ..options() }, &["/a/b", "/a/b.d"]),
        (
            WalkOptions { name: Some(Glob::parse("*.txt").unwrap()), max_depth: 2, ..options() },
            &["/a/c.txt", "/top.txt"],
        ),
        (
            WalkOptions { kind: Some(FileKind::Directory), min_depth: 0, ..options() },
            &["/", "/a", "/a/b", "/a/b.d", "/a/empty", "/z"],
        ),
        (WalkOptions { min_bytes: Some(6), ..options() }, &[]),
        (WalkOptions { max_bytes: Some(5), min_bytes: Some(5), max_depth: 1, ..options() }, &["/top.txt"]),
    ] {
        for limit in [1, 2, 100] {
            assert_eq!(walk(&fixture, "/", &options, limit).await, expected, "{options:?}");
        }
    }
    let itself = WalkOptions { min_depth: 0, ..options() };
    assert_eq!(walk(&fixture, "/top.txt", &itself, 9).await, ["/top.txt"]);
    assert_eq!(walk(&fixture, "/top.txt", &options(), 9).await, [""; 0]);
    refused(fixture.namespace.walk(at("/x"), at("/x"), options(), 9).await, ErrorKind::NotFound, "/x does not exist");
    refused(fixture.namespace.walk(at("/a"), at("/z"), options(), 9).await, ErrorKind::InvalidArgument, "not below");
}

/// The place of a page is removed, with directories around it, before the next is asked for.
#[tokio::test]
async fn a_walk_goes_on_where_its_place_was() {
    let fixture = tree().await;
    let namespace = &fixture.namespace;
    let page = namespace.walk(at("/"), at("/a/b/1.txt"), WalkOptions::default(), 1).await.unwrap();
    assert_eq!(page.entries[0].path, at("/a/b/2.log"));
    fixture.delete("/a/b", true).await.unwrap();
    let rest = namespace.walk(at("/"), page.next.unwrap(), WalkOptions::default(), 100).await.unwrap();
    let paths: Vec<_> = rest.entries.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["/a/b.d", "/a/b.d/x.txt", "/a/c.txt", "/a/empty", "/top.txt", "/z"]);
    // What comes back as a file is passed by, with what its place says lay below it.
    fixture.put("/a/b", b"").await;
    let rest = namespace.walk(at("/"), at("/a/b/2.log"), WalkOptions::default(), 1).await.unwrap();
    assert_eq!(rest.entries[0].path, at("/a/b.d"));
}

/// A page looks at a bounded number of entries, found or not.
#[tokio::test]
async fn a_page_without_a_find_ends_all_the_same() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/d").await;
    for n in 0..5_000 {
        let (path, options) = (at(&format!("/d/{n:04}")), CreateOptions::default());
        fixture.namespace.put(fixture.call(), path, options, Bytes::new()).await.unwrap();
    }
    let options = WalkOptions { name: Some(Glob::parse("x").unwrap()), ..Default::default() };
    let page = fixture.namespace.walk(at("/"), at("/"), options.clone(), 10).await.unwrap();
    assert!(page.entries.is_empty() && page.next.is_some_and(|next| next < at("/d/4500")));
    assert_eq!(walk(&fixture, "/", &options, 10).await, [""; 0]);
    assert_eq!(walk(&fixture, "/d", &WalkOptions::default(), MAX_PAGE).await.len(), 5_000);
}

#[tokio::test]
async fn directories_that_are_denied_are_passed_by_when_asked() {
    let fixture = Fixture::new(0).await;
    for directory in ["/a/in", "/b/in/deep", "/c"] {
        fixture.mkdir(directory).await;
        fixture.put(&format!("{directory}/f"), b"x").await;
    }
    let set_mode = async |path: &str, mode| fixture.namespace.set_mode(fixture.call(), at(path), mode).await.unwrap();
    set_mode("/b/in", 0o700).await;
    set_mode("/c", 0o700).await;
    let other = fixture.namespace.by(Caller::new("other", ["others"]).unwrap());
    let options = WalkOptions::default();
    refused(other.walk(at("/"), at("/"), options.clone(), 100).await, ErrorKind::PermissionDenied, "lacks r on /b/in");
    let options = WalkOptions { past_denied: true, ..options };
    for limit in [1, 2, 100] {
        let (mut found, mut denied, mut after) = (Vec::new(), Vec::new(), at("/"));
        loop {
            let page = other.walk(at("/"), after, options.clone(), limit).await.unwrap();
            found.extend(page.entries.into_iter().map(|entry| entry.path.to_string()));
            denied.extend(page.denied.into_iter().map(|why| why.split(',').next().unwrap().to_owned()));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(found, ["/a", "/a/in", "/a/in/f", "/b", "/b/in", "/c"], "{limit} a page");
        assert_eq!(denied, ["user other lacks r on /b/in", "user other lacks r on /c"], "{limit} a page");
    }
    refused(other.walk(at("/c"), at("/c"), options, 100).await, ErrorKind::PermissionDenied, "lacks r on /c");
    fixture.check().await;
}
