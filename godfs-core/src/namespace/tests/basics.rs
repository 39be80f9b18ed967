//! Directories, files, reads, sessions.

use super::*;

#[tokio::test]
async fn a_file_goes_in_and_is_found() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/a/b").await;
    let created = fixture.create("/a/b/f").await;
    assert_eq!((created.replication, created.chunk_size), (3, CHUNK));

    let first = fixture.add_chunk(&created, 0, vec![], &[1, 2, 3]).await.unwrap();
    assert_eq!((first.generation, &first.nodes), (Generation(1), &ids(&[1, 2, 3])));
    // The next chunk may begin before the one before it is reported.
    let second = fixture.add_chunk(&created, CHUNK, vec![], &[2, 3, 1]).await.unwrap();
    let open = fixture.locate("/a/b/f").await;
    assert_eq!((open.status.length, open.status.open, open.chunks.len()), (0, true, 2));
    assert!(open.chunks.iter().all(|chunk| chunk.info.open && chunk.info.replicas.len() == 3));

    let commits = vec![commit(&first, CHUNK), commit(&second, 100)];
    assert_eq!(fixture.complete(&created, CHUNK + 100, commits).await.unwrap(), Completion::Closed);
    let closed = fixture.locate("/a/b/f").await;
    assert_eq!((closed.status.length, closed.status.open, closed.more), (CHUNK + 100, false, false));
    let lengths: Vec<_> = closed.chunks.iter().map(|chunk| (chunk.offset, chunk.info.length)).collect();
    assert_eq!(lengths, [(0, CHUNK), (CHUNK, 100)]);
    assert_eq!(closed.chunks[1].info.good().collect::<Vec<_>>(), ids(&[1, 2, 3]));

    let range = LocateRange { offset: CHUNK + 10, length: 5, chunks: 1 };
    let part = fixture.namespace.locate(FileRef::Inode(created.inode), range).await.unwrap();
    assert_eq!(part.chunks.iter().map(|chunk| chunk.offset).collect::<Vec<_>>(), [CHUNK]);
    let range = LocateRange { offset: 0, length: u64::MAX, chunks: 1 };
    assert!(fixture.namespace.locate(FileRef::Inode(created.inode), range).await.unwrap().more);

    fixture.check().await;
    let usage = Usage { bytes: CHUNK + 100, files: 1, directories: 1, space: 3 * (CHUNK + 100) };
    assert_eq!(fixture.usage("/a").await, usage);
    assert_eq!(fixture.namespace.totals().await.unwrap().chunks, 2);
    assert_eq!(fixture.namespace.path_of(created.inode).await.unwrap(), Some(at("/a/b/f")));
}

/// A store that was filled at once is like any other.
#[tokio::test]
async fn filled_files_are_files() {
    let fixture = Fixture::new(0).await;
    let uuid = |number| crate::NodeUuid::from_random(number);
    let nodes = vec![
        fixture.namespace.expect_node(uuid(1)).await.unwrap(),
        fixture.namespace.expect_node(uuid(2)).await.unwrap(),
    ];
    for files in [0..3, 3..5] {
        let fill = Fill { directory: at("/m/d"), files, chunks: 2, nodes: nodes.clone() };
        fixture.namespace.fill(fill).await.unwrap();
    }
    let file = fixture.locate("/m/d/f00000004").await;
    assert_eq!((file.status.length, file.chunks.len()), (2 * CHUNK, 2));
    assert_eq!(file.chunks[1].info.good().collect::<Vec<_>>(), nodes);
    let usage = fixture.usage("/m").await;
    assert_eq!((usage.files, usage.directories, usage.space), (5, 1, 10 * 2 * CHUNK));
    fixture.check().await;
    let again = Fill { directory: at("/m/d"), files: 4..6, chunks: 0, nodes };
    refused(fixture.namespace.fill(again).await, ErrorKind::AlreadyExists, "f00000004");
}

#[tokio::test]
async fn pages_of_a_directory_are_bounded_and_in_order() {
    let fixture = Fixture::new(0).await;
    for name in ["b", "a", "c", "ü", "aa"] {
        fixture.put(&format!("/{name}"), b"x").await;
    }
    let first = fixture.namespace.list(DfsPath::root(), String::new(), 2).await.unwrap();
    assert_eq!(first.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a", "aa"]);
    let rest = fixture.namespace.list(DfsPath::root(), "aa".into(), 10).await.unwrap();
    assert_eq!(rest.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["b", "c", "ü"]);
    assert_eq!((rest[0].status.length, rest[0].status.small), (1, true));
    refused(fixture.namespace.list(at("/a"), String::new(), 2).await, ErrorKind::NotADirectory, "/a is a file");
}

#[tokio::test]
async fn small_files_are_one_call_each_way() {
    let fixture = Fixture::new(0).await;
    let options = CreateOptions { parents: true, ..Default::default() };
    let put = fixture.namespace.put(fixture.call(), at("/a/b/f"), options, Bytes::from_static(b"hello")).await.unwrap();
    let found = fixture.locate("/a/b/f").await;
    assert_eq!((&found.data[..], found.status.inode, found.status.version), (&b"hello"[..], put.value, put.version));
    assert_eq!((found.status.small, found.status.length, found.chunks.len()), (true, 5, 0));
    assert_eq!((found.status.owner.user.as_str(), found.status.owner.mode), ("user", 0o644));
    assert_eq!(fixture.stat("/a").await.unwrap().owner.mode, 0o755);

    let long = Bytes::from(vec![0; 1_025]);
    let refusal = fixture.namespace.put(fixture.call(), at("/g"), CreateOptions::default(), long).await;
    refused(refusal, ErrorKind::LimitExceeded, "/g: 1025 bytes");
    fixture.put("/empty", b"").await;
    assert!(!fixture.stat("/empty").await.unwrap().small);
    fixture.check().await;
}

#[tokio::test]
async fn bad_arguments_are_named() {
    let fixture = Fixture::new(1).await;
    fixture.put("/f", b"x").await;
    for (options, why) in [
        (CreateOptions { replication: Some(0), ..Default::default() }, "replication is 0"),
        (CreateOptions { replication: Some(513), ..Default::default() }, "1 to 512"),
        (CreateOptions { chunk_size: Some(4_096), ..Default::default() }, "chunk size is 4096"),
        (CreateOptions { chunk_size: Some(CHUNK + 1), ..Default::default() }, "multiple of 4096"),
        (CreateOptions { chunk_size: Some(u64::MAX), ..Default::default() }, "chunk size"),
        (CreateOptions { mode: NewMode { mode: Some(0o10000), umask: 0 }, ..Default::default() }, "mode 10000"),
    ] {
        refused(fixture.namespace.create(fixture.call(), at("/g"), options).await, ErrorKind::InvalidArgument, why);
    }
    let create = |path: &str, options| fixture.namespace.create(fixture.call(), at(path), options);
    refused(create("/", CreateOptions::default()).await, ErrorKind::IsADirectory, "/ is a directory");
    refused(create("/f/g", CreateOptions::default()).await, ErrorKind::NotADirectory, "/f is a file");
    refused(create("/a/b/c", CreateOptions::default()).await, ErrorKind::NotFound, "the directory /a does not exist");
    refused(create("/f", CreateOptions::default()).await, ErrorKind::AlreadyExists, "/f exists");
    let parents = CreateOptions { parents: true, ..Default::default() };
    refused(create("/f/g/h", parents).await, ErrorKind::NotADirectory, "/f is a file");
    fixture.mkdir("/d").await;
    let overwrite = CreateOptions { overwrite: true, ..Default::default() };
    refused(create("/d", overwrite).await, ErrorKind::IsADirectory, "/d");
    refused(fixture.stat("/nothing").await, ErrorKind::NotFound, "/nothing does not exist");

    let file = fixture.create("/g").await;
    refused(fixture.add_chunk(&file, 0, vec![], &[1, 1]).await, ErrorKind::InvalidArgument, "named twice");
    refused(fixture.add_chunk(&file, 0, vec![], &[2]).await, ErrorKind::InvalidArgument, "not registered");
    refused(fixture.add_chunk(&file, 0, vec![], &[]).await, ErrorKind::Unavailable, "/g: no datanode");
    refused(fixture.add_chunk(&file, 7, vec![], &[1]).await, ErrorKind::InvalidArgument, "begins at 0");
    let mut slot = fixture.call();
    slot.slot = 64;
    refused(fixture.namespace.delete(slot, at("/g"), false).await, ErrorKind::InvalidArgument, "64 slots");
    fixture.check().await;
}

#[tokio::test]
async fn an_empty_store_is_made_a_cluster_once_and_another_format_is_refused() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new(Incarnation::from_random(1)));
    let new = || Namespace::new(Arc::clone(&store), NamespaceSettings::default(), Env::system()).unwrap();
    refused(new().cluster().await, ErrorKind::FailedPrecondition, "initialised");
    let cluster = new().initialize(owner("root")).await.unwrap();
    assert_eq!(new().initialize(owner("other")).await.unwrap(), cluster);
    assert_eq!(new().cluster().await.unwrap(), cluster);
    let change = |txn: &mut dyn Transaction| {
        let row = rows::StoreRow {
            format: rows::FORMAT_VERSION + 1,
            cluster: ClusterId::from_random(1),
            superuser: "root".into(),
        };
        txn.put(crate::metadata::Space::Rows, rows::keys::store().into(), row.encode());
        Ok(())
    };
    store.commit(change).await.unwrap();
    refused(new().cluster().await, ErrorKind::Incompatible, &format!("format {}", rows::FORMAT_VERSION + 1));
    assert_eq!(
        new().check().await.unwrap()[0].to_string(),
        format!("the_store_is_initialised: the format is {}", rows::FORMAT_VERSION + 1)
    );
}

#[tokio::test]
async fn nodes_are_their_folders() {
    let fixture = Fixture::new(2).await;
    let again = Registration { node: Some(NodeId(2)), address: "[::1]:7".into(), ..registration(1) };
    assert_eq!(fixture.namespace.register_node(again).await.unwrap(), NodeId(2));
    let nodes = fixture.namespace.nodes(NodeId(0), 10).await.unwrap();
    let shown: Vec<_> = nodes.iter().map(|node| (node.node.0, node.address.as_str())).collect();
    assert_eq!(shown, [(1, "127.0.0.1:9000"), (2, "[::1]:7")]);
    let lying = Registration { node: Some(NodeId(1)), ..registration(1) };
    refused(fixture.namespace.register_node(lying).await, ErrorKind::Incompatible, "was registered as node 2");
    let foreign = Registration { node: Some(NodeId(3)), ..registration(7) };
    refused(fixture.namespace.register_node(foreign).await, ErrorKind::Incompatible, "never registered");
    assert_eq!(fixture.namespace.register_node(registration(7)).await.unwrap(), NodeId(3), "an empty folder is new");
    fixture.check().await;
}
