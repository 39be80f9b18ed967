//! What stores of objects ask for: files made of parts, files that go with their directories, and directories that come with their file.

use super::*;

impl Fixture {
    /// A closed file of parts in `/up`, of so many bytes each.
    async fn parts(&self, lengths: &[u64]) -> Vec<AddedChunk> {
        self.mkdir("/up").await;
        let mut chunks = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            chunks.extend(self.file(&format!("/up/{number}"), *length, &[1, 2, 3]).await);
        }
        chunks
    }

    async fn compose(&self, parts: &[&str], target: &str, options: CreateOptions) -> Result<InodeId> {
        let parts = parts.iter().map(|&name| name.to_owned()).collect();
        let request = Compose { directory: at("/up"), parts, target: at(target), options };
        Ok(self.namespace.compose(self.call(), request).await?.value)
    }

    async fn unlink(&self, path: &str, root: &str) -> Result<()> {
        self.namespace.unlink(self.call(), Unlink { path: at(path), root: at(root) }).await
    }
}

fn published() -> CreateOptions {
    CreateOptions { parents: true, publish_on_close: true, ..Default::default() }
}

fn xattr(name: &str, value: &'static str) -> Xattr {
    Xattr { name: name.into(), value: Bytes::from_static(value.as_bytes()) }
}

#[tokio::test]
async fn parts_become_a_file_and_their_directory_goes() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    let chunks = fixture.parts(&[CHUNK + 10, 0, 7, CHUNK]).await;
    fixture.put("/up/left over", b"some").await;
    let options = CreateOptions { parents: true, xattrs: vec![xattr("user.a", "b")], ..Default::default() };
    let call = fixture.call();
    let parts = ["0", "1", "3", "2"].map(str::to_owned).to_vec();
    let request = Compose { directory: at("/up"), parts, target: at("/a/b/f"), options };
    let first = namespace.compose(call, request.clone()).await.unwrap();
    let again = namespace.compose(call, request).await.unwrap();
    assert_eq!(first, again, "the repeated call");
    fixture.check().await;
    assert_eq!(fixture.names("/").await, ["a"]);
    let located = fixture.locate("/a/b/f").await;
    assert_eq!((located.status.inode, located.status.version), (first.value, first.version));
    assert_eq!((located.status.length, located.status.open), (2 * CHUNK + 17, false));
    let found: Vec<_> = located.chunks.iter().map(|chunk| (chunk.offset, chunk.info.chunk)).collect();
    let expected = [(0, 0), (CHUNK, 1), (CHUNK + 10, 3), (2 * CHUNK + 10, 2)];
    assert_eq!(found, expected.map(|(offset, at): (u64, usize)| (offset, chunks[at].chunk)));
    assert_eq!(namespace.xattrs(at("/a/b/f"), vec![]).await.unwrap(), [xattr("user.a", "b")]);
    let length = 2 * CHUNK + 17;
    assert_eq!(fixture.usage("/").await, Usage { bytes: length, files: 1, directories: 2, space: 3 * length });
    fixture.collect().await;
    fixture.delete("/a", true).await.unwrap();
    fixture.collect().await;
    assert_eq!(namespace.totals().await.unwrap().chunks, 0);
    fixture.check().await;
}

#[tokio::test]
async fn what_stands_there_is_replaced_only_where_it_may_be() {
    let fixture = Fixture::new(3).await;
    let old = fixture.put("/f", b"old").await;
    fixture.mkdir("/d").await;
    fixture.parts(&[5]).await;
    let plain = CreateOptions::default();
    refused(fixture.compose(&["0"], "/f", plain.clone()).await, ErrorKind::AlreadyExists, "/f exists already");
    let stale = ETag { inode: old, version: Version(1) };
    let options = CreateOptions { if_match: Some(stale), ..Default::default() };
    refused(fixture.compose(&["0"], "/f", options).await, ErrorKind::FailedPrecondition, "/f is not");
    let over = CreateOptions { overwrite: true, ..Default::default() };
    refused(fixture.compose(&["0"], "/d", over.clone()).await, ErrorKind::IsADirectory, "/d is a directory");
    refused(fixture.compose(&["0"], "/no/f", over.clone()).await, ErrorKind::NotFound, "/no does not exist");
    refused(fixture.compose(&["0", "1"], "/f", over.clone()).await, ErrorKind::NotFound, "/up/1 does not exist");
    refused(fixture.compose(&["0", "0"], "/f", over.clone()).await, ErrorKind::InvalidArgument, "named twice");
    refused(fixture.compose(&["0"], "/up/f", over.clone()).await, ErrorKind::InvalidArgument, "which goes");
    let other = CreateOptions { overwrite: true, chunk_size: Some(2 * CHUNK), ..Default::default() };
    refused(fixture.compose(&["0"], "/f", other).await, ErrorKind::InvalidArgument, "has chunks of");
    fixture.put("/up/small", b"x").await;
    refused(fixture.compose(&["small"], "/f", over.clone()).await, ErrorKind::FailedPrecondition, "is a small file");
    fixture.create("/up/open").await;
    refused(fixture.compose(&["open"], "/f", over.clone()).await, ErrorKind::BeingWritten, "/up/open is being written");
    fixture.check().await;
    assert_eq!(fixture.names("/up").await, ["0", "open", "small"], "nothing has changed");

    // Quotas are about the difference: the parts are there already.
    let used = fixture.usage("/").await.space;
    let quota = Quota { names: None, space: Some(used) };
    fixture.namespace.set_quota(fixture.call(), at("/"), quota).await.unwrap();
    fixture.compose(&["0"], "/f", over).await.unwrap();
    assert_eq!(fixture.stat("/f").await.unwrap().length, 5);
    fixture.check().await;
}

#[tokio::test]
async fn emptied_directories_go_with_their_last_file() {
    let fixture = Fixture::new(1).await;
    for directory in ["/r/a/b/c", "/r/x/y"] {
        fixture.mkdir(directory).await;
    }
    fixture.put("/r/a/b/c/f", b"1").await;
    fixture.put("/r/a/g", b"2").await;
    fixture.put("/r/x/y/h", b"3").await;
    refused(fixture.unlink("/r/a/b", "/r").await, ErrorKind::IsADirectory, "/r/a/b is a directory");
    refused(fixture.unlink("/r/no", "/r").await, ErrorKind::NotFound, "/r/no does not exist");
    fixture.unlink("/r/a/b/c/f", "/r").await.unwrap();
    assert_eq!(fixture.names("/r/a").await, ["g"]);
    fixture.check().await;
    // Somebody has given it more than names.
    let request = SetXattr { name: "user.k".into(), value: Bytes::from_static(b"v"), mode: XattrMode::Any };
    fixture.namespace.set_xattr(fixture.call(), at("/r/x"), request).await.unwrap();
    fixture.unlink("/r/x/y/h", "/r").await.unwrap();
    assert_eq!((fixture.names("/r").await, fixture.names("/r/x").await), (vec!["a".into(), "x".into()], vec![]));
    // The root stays, and a root elsewhere keeps all.
    fixture.unlink("/r/a/g", "/r").await.unwrap();
    assert_eq!(fixture.names("/r").await, ["x"]);
    fixture.put("/r/f", b"").await;
    fixture.unlink("/r/f", "/elsewhere").await.unwrap();
    assert_eq!(fixture.names("/").await, ["r"]);
    fixture.check().await;
}

#[tokio::test]
async fn what_the_caller_may_not_remove_stays() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/r/a/b").await;
    fixture.namespace.set_mode(fixture.call(), at("/r/a/b"), 0o777).await.unwrap();
    let alice = fixture.namespace.by(Caller::new("alice", ["users"]).unwrap());
    alice.put(fixture.call(), at("/r/a/b/f"), CreateOptions::default(), Bytes::new()).await.unwrap();
    alice.unlink(fixture.call(), Unlink { path: at("/r/a/b/f"), root: at("/r") }).await.unwrap();
    assert_eq!(fixture.names("/r/a").await, ["b"]);
    fixture.check().await;
}

#[tokio::test]
async fn files_move_with_the_directories_that_only_lead_to_them() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/r/a/b").await;
    fixture.put("/r/a/b/f", b"1").await;
    let rename = |from: &str, to: &str, replace| {
        let request = Rename { parents: true, root: Some(at("/r")), ..Rename::new(at(from), at(to), replace) };
        fixture.namespace.rename(fixture.call(), request)
    };
    refused(rename("/r/a/b", "/r/z", false).await, ErrorKind::IsADirectory, "/r/a/b is a directory");
    rename("/r/a/b/f", "/r/a/c/d/g", false).await.unwrap();
    assert_eq!((fixture.names("/r/a").await, fixture.names("/r/a/c/d").await), (vec!["c".into()], vec!["g".into()]));
    fixture.put("/r/other", b"2").await;
    refused(rename("/r/a/c/d/g", "/r/other", false).await, ErrorKind::AlreadyExists, "/r/other exists already");
    assert_eq!(fixture.names("/r").await, ["a", "other"]);
    rename("/r/a/c/d/g", "/r/other", true).await.unwrap();
    assert_eq!(fixture.names("/r").await, ["other"]);
    fixture.check().await;
}

/// A file that was to appear in a directory vanished with it: whoever deleted the directory's last file took the write of another with it.
#[tokio::test]
async fn a_file_appears_under_its_path_whatever_became_of_its_directory() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/r/a").await;
    fixture.put("/r/a/last", b"1").await;
    let created = fixture.namespace.create(fixture.call(), at("/r/a/b/f"), published()).await.unwrap();
    assert_eq!(fixture.names("/r/a").await, ["last"], "nothing is made before there is a file");
    let chunk = fixture.add_chunk(&created, 0, vec![], &[1, 2, 3]).await.unwrap();
    fixture.unlink("/r/a/last", "/r").await.unwrap();
    assert_eq!(fixture.names("/r").await, Vec::<String>::new());
    fixture.check().await;
    assert_eq!(fixture.complete(&created, 7, vec![commit(&chunk, 7)]).await.unwrap(), Completion::Closed);
    assert_eq!(fixture.stat("/r/a/b/f").await.unwrap().length, 7);
    fixture.check().await;

    // Given up, it leaves nothing; and what came under its name meanwhile stays.
    let given_up = fixture.namespace.create(fixture.call(), at("/r/x/y"), published()).await.unwrap();
    fixture.namespace.abandon(fixture.writing(&given_up)).await.unwrap();
    let late = fixture.namespace.create(fixture.call(), at("/r/x/y"), published()).await.unwrap();
    fixture.mkdir("/r/x").await;
    fixture.put("/r/x/y", b"first").await;
    refused(fixture.complete(&late, 0, vec![]).await, ErrorKind::AlreadyExists, "/r/x/y was created by another");
    let in_the_way = fixture.namespace.create(fixture.call(), at("/r/z/f"), published()).await.unwrap();
    fixture.put("/r/z", b"a file").await;
    refused(fixture.complete(&in_the_way, 0, vec![]).await, ErrorKind::NotADirectory, "/r/z is a file");
    fixture.namespace.end_session(fixture.session).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.names("/r").await, ["a", "x", "z"]);
}

#[tokio::test]
async fn a_file_has_its_attributes_from_the_beginning() {
    let fixture = Fixture::new(1).await;
    let with = |xattrs: Vec<Xattr>| CreateOptions { xattrs, overwrite: true, ..Default::default() };
    let put = |options| fixture.namespace.put(fixture.call(), at("/f"), options, Bytes::from_static(b"x"));
    put(with(vec![xattr("user.b", "2"), xattr("user.a", "1")])).await.unwrap();
    let range = LocateRange { offset: 0, length: 0, chunks: 0 };
    let (located, xattrs) = fixture.namespace.locate_with_xattrs(FileRef::Path(at("/f")), range).await.unwrap();
    assert_eq!((&located.data[..], xattrs), (&b"x"[..], vec![xattr("user.a", "1"), xattr("user.b", "2")]));
    put(with(vec![])).await.unwrap();
    assert_eq!(fixture.namespace.xattrs(at("/f"), vec![]).await.unwrap(), []);
    let (twice, other) = (vec![xattr("user.a", "1"), xattr("user.a", "2")], vec![xattr("security.a", "1")]);
    refused(put(with(twice)).await, ErrorKind::InvalidArgument, "given twice");
    refused(put(with(other)).await, ErrorKind::Unsupported, "security.a");
    let many = (0..100).map(|number| xattr(&format!("user.{number}"), "")).collect();
    refused(put(with(many)).await, ErrorKind::LimitExceeded, "100 extended attributes");
    let long = Xattr { name: "user.a".into(), value: Bytes::from(vec![0; 20_000]) };
    refused(put(with(vec![long])).await, ErrorKind::LimitExceeded, "has 20000 bytes");
    let alice = fixture.namespace.by(Caller::new("alice", ["users"]).unwrap());
    fixture.namespace.set_mode(fixture.call(), at("/"), 0o777).await.unwrap();
    let trusted = with(vec![xattr("trusted.a", "1")]);
    let refusal = alice.put(fixture.call(), at("/g"), trusted, Bytes::new()).await;
    refused(refusal, ErrorKind::PermissionDenied, "superuser");
    let hidden = CreateOptions { xattrs: vec![xattr("user.a", "1")], ..published() };
    let created = fixture.namespace.create(fixture.call(), at("/d/h"), hidden).await.unwrap();
    fixture.complete(&created, 0, vec![]).await.unwrap();
    assert_eq!(fixture.namespace.xattrs(at("/d/h"), vec![]).await.unwrap(), [xattr("user.a", "1")]);
    fixture.check().await;
}
