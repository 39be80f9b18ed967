//! Directories, renaming, deleting.

use super::*;

#[tokio::test]
async fn directories_are_made_once() {
    let fixture = Fixture::new(0).await;
    let mkdir = |path: &str, parents| {
        let options = MkdirOptions { parents, ..Default::default() };
        fixture.namespace.mkdir(fixture.call(), at(path), options)
    };
    refused(mkdir("/a/b", false).await, ErrorKind::NotFound, "/a/b: the directory /a does not exist");
    let made = mkdir("/a/b", true).await.unwrap();
    assert_eq!(mkdir("/a/b", true).await.unwrap(), made);
    refused(mkdir("/a/b", false).await, ErrorKind::AlreadyExists, "/a/b");
    assert_eq!(mkdir("/", true).await.unwrap(), InodeId::ROOT);
    refused(mkdir("/", false).await, ErrorKind::InvalidArgument, "/ can");
    fixture.put("/a/f", b"").await;
    refused(mkdir("/a/f", true).await, ErrorKind::AlreadyExists, "/a/f");
    refused(mkdir("/a/f/g", true).await, ErrorKind::NotADirectory, "/a/f is a file");
    assert_eq!(fixture.usage("/").await, Usage { files: 1, directories: 2, ..Default::default() });
    fixture.check().await;
}

#[tokio::test]
async fn renaming_moves_usage_and_nothing_else() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/a/b/c").await;
    fixture.mkdir("/x").await;
    let inode = fixture.put("/a/b/c/f", b"12345").await;
    let moved = Usage { bytes: 5, files: 1, directories: 2, space: 15 };
    assert_eq!(fixture.usage("/a").await, moved);
    fixture.rename("/a/b", "/x/y", false).await.unwrap();
    assert_eq!((fixture.usage("/a").await, fixture.usage("/x").await), (Usage::default(), moved));
    assert_eq!(fixture.stat("/x/y/c/f").await.unwrap().inode, inode);
    assert_eq!(fixture.namespace.path_of(inode).await.unwrap(), Some(at("/x/y/c/f")));
    refused(fixture.stat("/a/b").await, ErrorKind::NotFound, "/a/b");
    // Within one directory, and up and down a chain.
    fixture.rename("/x/y/c/f", "/x/y/c/g", false).await.unwrap();
    fixture.rename("/x/y/c/g", "/x/g", false).await.unwrap();
    fixture.rename("/x/g", "/x/y/c/f", false).await.unwrap();
    assert_eq!(fixture.usage("/x").await, moved);
    fixture.rename("/x", "/x", false).await.unwrap();
    fixture.check().await;
}

#[tokio::test]
async fn what_may_not_be_renamed_stays() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/a/b").await;
    fixture.mkdir("/empty").await;
    fixture.put("/f", b"1").await;
    fixture.put("/g", b"22").await;
    refused(fixture.rename("/a", "/a/b/c", true).await, ErrorKind::InvalidArgument, "own subtree, to /a/b/c");
    refused(fixture.rename("/a", "/a/b", true).await, ErrorKind::InvalidArgument, "own subtree");
    refused(fixture.rename("/a/b", "/a", true).await, ErrorKind::DirectoryNotEmpty, "/a has entries");
    refused(fixture.rename("/empty", "/a", true).await, ErrorKind::DirectoryNotEmpty, "/a");
    refused(fixture.rename("/f", "/empty", true).await, ErrorKind::IsADirectory, "/empty");
    refused(fixture.rename("/empty", "/f", true).await, ErrorKind::NotADirectory, "/f is a file");
    refused(fixture.rename("/f", "/g", false).await, ErrorKind::AlreadyExists, "/g");
    refused(fixture.rename("/no", "/x", false).await, ErrorKind::NotFound, "/no");
    refused(fixture.rename("/f", "/no/x", false).await, ErrorKind::NotFound, "/no");
    refused(fixture.rename("/", "/x", false).await, ErrorKind::InvalidArgument, "/ can");
    refused(fixture.rename("/f", "/", true).await, ErrorKind::InvalidArgument, "/ can");
    assert_eq!(fixture.names("/").await, ["a", "empty", "f", "g"]);
    fixture.check().await;

    fixture.rename("/f", "/g", true).await.unwrap();
    fixture.rename("/a", "/empty", true).await.unwrap();
    assert_eq!(fixture.names("/").await, ["empty", "g"]);
    assert_eq!((fixture.stat("/g").await.unwrap().length, fixture.names("/empty").await), (1, vec!["b".to_owned()]));
    assert_eq!(fixture.usage("/").await, Usage { bytes: 1, files: 1, directories: 2, space: 3 });
    fixture.check().await;
}

#[tokio::test]
async fn deleting_needs_a_word_for_directories_with_entries() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/a/b").await;
    fixture.put("/a/b/f", b"1").await;
    refused(fixture.delete("/a", false).await, ErrorKind::DirectoryNotEmpty, "/a has entries");
    refused(fixture.delete("/", true).await, ErrorKind::InvalidArgument, "/ can");
    refused(fixture.delete("/b", true).await, ErrorKind::NotFound, "/b");
    fixture.delete("/a/b/f", false).await.unwrap();
    fixture.delete("/a/b", false).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.collect().await, (0, 0), "what nothing hangs on goes at once");
    fixture.delete("/a", true).await.unwrap();
    assert_eq!(fixture.usage("/").await, Usage::default());
    fixture.check().await;
}

#[tokio::test]
async fn times_are_set_and_kept() {
    let fixture = Fixture::new(0).await;
    fixture.put("/f", b"").await;
    let before = fixture.stat("/f").await.unwrap();
    let times = Times { modified_ms: Some(5), accessed_ms: None };
    fixture.namespace.set_times(fixture.call(), at("/f"), times).await.unwrap();
    let after = fixture.stat("/f").await.unwrap();
    assert_eq!((after.modified_ms, after.accessed_ms), (5, before.accessed_ms));
    assert!(after.version > before.version);
    fixture.namespace.set_times(fixture.call(), DfsPath::root(), times).await.unwrap();
}
