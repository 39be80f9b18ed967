//! Symbolic links, exchange, and replacing only what was seen.

use super::*;

fn link(path: &str, target: &str) -> Symlink {
    Symlink { path: at(path), target: target.into() }
}

#[track_caller]
fn in_the_way<T: std::fmt::Debug>(result: Result<T>, path: &str, target: &str) {
    let error = result.expect_err("a link is in the way");
    assert_eq!(error.kind(), ErrorKind::Symlink);
    assert_eq!(error.link(), Some((&at(path), target)));
}

#[tokio::test]
async fn links_are_named_and_never_followed() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    fixture.mkdir("/d/e").await;
    fixture.put("/d/f", b"12345").await;
    namespace.symlink(fixture.call(), link("/d/l", "e/../f")).await.unwrap();
    namespace.symlink(fixture.call(), link("/l", "d")).await.unwrap();

    // In the middle of a path, whatever the call; at its end, where the call means what the link leads to.
    in_the_way(fixture.stat("/l/f").await, "/l", "d");
    in_the_way(fixture.stat("/d/l").await, "/d/l", "e/../f");
    in_the_way(fixture.rename("/l/f", "/g", false).await, "/l", "d");
    in_the_way(fixture.rename("/d/f", "/l/g", false).await, "/l", "d");
    in_the_way(fixture.delete("/l/f", false).await, "/l", "d");
    let parents = MkdirOptions { parents: true, ..Default::default() };
    in_the_way(namespace.mkdir(fixture.call(), at("/l/x/y"), parents.clone()).await, "/l", "d");
    in_the_way(namespace.mkdir(fixture.call(), at("/l"), parents).await, "/l", "d");
    in_the_way(namespace.set_replication(fixture.call(), at("/d/l"), 2).await, "/d/l", "e/../f");
    in_the_way(namespace.list(at("/l"), String::new(), 10).await, "/l", "d");
    let overwrite = CreateOptions { overwrite: true, ..Default::default() };
    in_the_way(namespace.create(fixture.call(), at("/d/l"), overwrite).await, "/d/l", "e/../f");
    let create = namespace.create(fixture.call(), at("/l"), CreateOptions::default()).await;
    refused(create, ErrorKind::AlreadyExists, "/l exists already");

    // The link itself.
    let status = namespace.lstat(at("/d/l")).await.unwrap();
    assert_eq!((status.kind, status.length, status.target.as_deref()), (FileKind::Symlink, 0, Some("e/../f")));
    assert_eq!(fixture.usage("/d").await, Usage { bytes: 5, files: 2, directories: 1, space: 15 });
    let range = LocateRange { offset: 0, length: 1, chunks: 1 };
    let located = namespace.locate(FileRef::Inode(status.inode), range).await;
    refused(located, ErrorKind::InvalidArgument, "/d/l is a symbolic link");
    fixture.rename("/d/l", "/m", false).await.unwrap();
    fixture.rename("/m", "/l", true).await.unwrap();
    assert_eq!(namespace.lstat(at("/l")).await.unwrap().inode, status.inode);
    refused(fixture.rename("/d/e", "/l", true).await, ErrorKind::NotADirectory, "/l is a file");
    fixture.check().await;
    fixture.delete("/l", false).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.names("/").await, ["d"]);
    assert_eq!(fixture.usage("/").await.files, 1);
}

#[tokio::test]
async fn targets_have_limits_and_links_go_with_their_directory() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    for (target, why) in [("", "is empty"), ("a\0b", "NUL"), (&"x".repeat(MAX_TARGET_BYTES + 1), "4097 bytes")] {
        let made = namespace.symlink(fixture.call(), link("/l", target)).await;
        refused(made, ErrorKind::InvalidArgument, why);
    }
    refused(namespace.symlink(fixture.call(), link("/no/l", "a")).await, ErrorKind::NotFound, "/no");
    let longest = "x".repeat(MAX_TARGET_BYTES);
    fixture.mkdir("/d").await;
    let call = fixture.call();
    let made = namespace.symlink(call, link("/d/l", &longest)).await.unwrap();
    assert_eq!(namespace.symlink(call, link("/d/l", &longest)).await.unwrap(), made, "the first answer");
    let again = namespace.symlink(fixture.call(), link("/d/l", "a")).await;
    refused(again, ErrorKind::AlreadyExists, "/d/l exists already");
    in_the_way(fixture.stat("/d/l").await, "/d/l", &longest);

    // Too long a path in front of a link is refused rather than cut.
    let deep = format!("/{}", vec!["y".repeat(255); 17].join("/"));
    fixture.mkdir(&deep).await;
    namespace.symlink(fixture.call(), link(&format!("{deep}/l"), "a")).await.unwrap();
    refused(fixture.stat(&format!("{deep}/l/x")).await, ErrorKind::LimitExceeded, "symbolic link");
    fixture.delete("/d", true).await.unwrap();
    fixture.collect().await;
    fixture.check().await;
}

#[tokio::test]
async fn exchanged_paths_take_their_usage_with_them() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/a/x").await;
    fixture.mkdir("/a/b").await;
    fixture.put("/a/x/f", b"123").await;
    fixture.put("/a/b/g", b"1").await;
    let exchange = |first: &str, second: &str| fixture.namespace.exchange(fixture.call(), at(first), at(second));
    for (first, second) in [("/a", "/a/x"), ("/a/x/f", "/a"), ("/", "/a")] {
        refused(exchange(first, second).await, ErrorKind::InvalidArgument, "");
    }
    refused(exchange("/a/x", "/a/no").await, ErrorKind::NotFound, "/a/no");
    exchange("/a/x", "/a/x").await.unwrap();

    // A directory and a file, at different depths.
    let call = fixture.call();
    for _ in 0..2 {
        fixture.namespace.exchange(call, at("/a/x"), at("/a/b/g")).await.unwrap();
    }
    fixture.check().await;
    assert_eq!(fixture.names("/a/b/g").await, ["f"]);
    assert_eq!(fixture.stat("/a/x").await.unwrap().length, 1);
    assert_eq!(fixture.usage("/a/b").await, Usage { bytes: 3, files: 1, directories: 1, space: 9 });

    // In one directory; a file that is being written goes on.
    let open = fixture.create("/a/o").await;
    exchange("/a/o", "/a/x").await.unwrap();
    let chunk = fixture.add_chunk(&open, 0, vec![], &[1]).await.unwrap();
    fixture.complete(&open, 9, vec![commit(&chunk, 9)]).await.unwrap();
    assert_eq!(fixture.stat("/a/x").await.unwrap().length, 9);
    assert_eq!(fixture.stat("/a/o").await.unwrap().length, 1);
    fixture.check().await;
}

#[tokio::test]
async fn only_what_was_seen_is_replaced() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    let etag = |status: &FileStatus| ETag { inode: status.inode, version: status.version };
    let matching = |etag| CreateOptions { if_match: Some(etag), ..Default::default() };
    fixture.put("/f", b"1").await;
    let seen = etag(&fixture.stat("/f").await.unwrap());
    let put = namespace.put(fixture.call(), at("/f"), matching(seen), Bytes::from_static(b"22")).await.unwrap();
    let stale = namespace.put(fixture.call(), at("/f"), matching(seen), Bytes::new()).await;
    refused(stale, ErrorKind::FailedPrecondition, &format!("it is {}-{} now", put.value, put.version));
    // Its attributes are a part of it.
    let seen = ETag { inode: put.value, version: put.version };
    let times = Times { modified_ms: Some(1), accessed_ms: None };
    namespace.set_times(fixture.call(), at("/f"), times).await.unwrap();
    let stale = namespace.create(fixture.call(), at("/f"), matching(seen)).await;
    refused(stale, ErrorKind::FailedPrecondition, "/f is not");
    let absent = namespace.create(fixture.call(), at("/g"), matching(seen)).await;
    refused(absent, ErrorKind::FailedPrecondition, "does not exist any more");
    fixture.mkdir("/d").await;
    refused(namespace.create(fixture.call(), at("/d"), matching(seen)).await, ErrorKind::IsADirectory, "/d");

    // A file that is published when it is closed must find it then, too.
    let seen = etag(&fixture.stat("/f").await.unwrap());
    let hidden = CreateOptions { publish_on_close: true, ..matching(seen) };
    let first = namespace.create(fixture.call(), at("/f"), hidden.clone()).await.unwrap();
    let second = namespace.create(fixture.call(), at("/f"), hidden).await.unwrap();
    fixture.check().await;
    fixture.complete(&first, 0, vec![]).await.unwrap();
    assert_eq!(fixture.stat("/f").await.unwrap().inode, first.inode);
    refused(fixture.complete(&second, 0, vec![]).await, ErrorKind::FailedPrecondition, "/f is not");
    fixture.delete("/f", false).await.unwrap();
    refused(fixture.complete(&second, 0, vec![]).await, ErrorKind::FailedPrecondition, "does not exist");
    fixture.check().await;
}
