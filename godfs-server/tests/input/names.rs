//! Names that are none, and paths that lead nowhere.

use futures::StreamExt;
use godfs_client::{MkdirOptions, RemoveOptions, RenameOptions};
use godfs_core::path::{MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES};
use godfs_core::{DfsPath, ErrorKind};
use godfs_proto::v1;

use crate::harness::{Caller, cluster, fails, nothing_panicked, small_chunks};

/// What every call with a path must refuse, whoever sends it.
fn bad_paths() -> Vec<(&'static str, String)> {
    let names = ["n"; MAX_DEPTH + 1];
    vec![
        ("nothing", String::new()),
        ("a relative path", "a/b".into()),
        ("the parent", "/a/../b".into()),
        ("itself", "/a/./b".into()),
        ("an empty part", "/a//b".into()),
        ("two slashes", "//".into()),
        ("a NUL", "/a\0b".into()),
        ("a long name", format!("/{}", "x".repeat(MAX_NAME_BYTES + 1))),
        ("a long name of few letters", format!("/{}", "ä".repeat(MAX_NAME_BYTES / 2 + 1))),
        ("too deep", format!("/{}", names.join("/"))),
        ("too long", format!("/{}", vec!["y".repeat(200); MAX_PATH_BYTES / 200].join("/"))),
        ("a megabyte", "/z".repeat(1 << 19)),
    ]
}

#[tokio::test]
async fn bad_paths_are_refused_by_every_call() {
    let cluster = cluster(0).await;
    let mut caller = Caller::of(&cluster).await;
    for (what, path) in bad_paths() {
        let call = caller.call();
        let mut names = caller.names.clone();
        let p = || path.clone();
        let (none, options) = (String::new, Some(v1::CreateOptions::default()));
        let good = || "/good".to_owned();
        let mut errors = vec![
            (
                "mkdir",
                names.mkdir(v1::MkdirRequest { call, path: p(), parents: true, ..Default::default() }).await.err(),
            ),
            (
                "create",
                names.create(v1::CreateRequest { call, path: p(), options: options.clone(), first: None }).await.err(),
            ),
            ("put", names.put(v1::PutRequest { call, path: p(), options, data: "x".into() }).await.err()),
            (
                "open",
                names.open(v1::OpenRequest { path: p(), host: none(), chunks: 1, ..Default::default() }).await.err(),
            ),
            ("stat", names.stat(v1::StatRequest { path: p(), no_follow: false }).await.err()),
            ("list", names.list(v1::ListRequest { path: p(), start_after: none(), ..Default::default() }).await.err()),
            (
                "from",
                names
                    .rename(v1::RenameRequest { call, from: p(), to: good(), replace: true, ..Default::default() })
                    .await
                    .err(),
            ),
            (
                "to",
                names
                    .rename(v1::RenameRequest { call, from: good(), to: p(), replace: true, ..Default::default() })
                    .await
                    .err(),
            ),
            ("delete", {
                let request =
                    v1::DeleteRequest { call, path: p(), recursive: true, trash: false, ..Default::default() };
                names.delete(request).await.err()
            }),
            ("trash", {
                let request = v1::DeleteRequest { call, path: p(), recursive: true, trash: true, ..Default::default() };
                names.delete(request).await.err()
            }),
            ("restore", {
                let request = v1::RestoreTrashRequest { call, item: p(), to: none(), parents: true };
                names.restore_trash(request).await.err()
            }),
            ("quota", {
                let request = v1::SetQuotaRequest { call, path: p(), names: Some(1), ..Default::default() };
                names.set_quota(request).await.err()
            }),
            ("setrep", {
                let request = v1::SetReplicationRequest { call, path: p(), replication: 1 };
                names.set_replication(request).await.err()
            }),
            ("touch", names.set_times(v1::SetTimesRequest { call, path: p(), ..Default::default() }).await.err()),
            ("exchange", names.exchange(v1::ExchangeRequest { call, first: p(), second: good() }).await.err()),
            ("with", names.exchange(v1::ExchangeRequest { call, first: good(), second: p() }).await.err()),
            ("ln", names.symlink(v1::SymlinkRequest { call, path: p(), target: "t".into() }).await.err()),
            ("append", names.append(v1::AppendRequest { call, path: p() }).await.err()),
            ("truncate", names.truncate(v1::TruncateRequest { call, path: p(), length: 0 }).await.err()),
            ("concat", names.concat(v1::ConcatRequest { call, target: p(), sources: vec![good()] }).await.err()),
            ("concat of", names.concat(v1::ConcatRequest { call, target: good(), sources: vec![p()] }).await.err()),
            ("chmod", names.set_mode(v1::SetModeRequest { call, path: p(), mode: 0o700 }).await.err()),
            ("setfacl", {
                let operation = v1::AclOperation::RemoveAll.into();
                names.set_acl(v1::SetAclRequest { call, path: p(), operation, entries: vec![] }).await.err()
            }),
            ("setfattr", {
                let request = v1::SetXattrRequest { call, path: p(), name: "user.x".into(), ..Default::default() };
                names.set_xattr(request).await.err()
            }),
            ("du", names.usage(v1::UsageRequest { path: p() }).await.err()),
            ("find", names.walk(v1::WalkRequest { path: p(), ..Default::default() }).await.err()),
            ("parts", {
                let request = v1::ComposeRequest { call, directory: p(), target: good(), ..Default::default() };
                names.compose(request).await.err()
            }),
            ("of parts", {
                let request = v1::ComposeRequest { call, directory: good(), target: p(), ..Default::default() };
                names.compose(request).await.err()
            }),
            ("keys", names.list_keys(v1::ListKeysRequest { root: p(), ..Default::default() }).await.err()),
            ("recover", names.recover_lease(v1::RecoverLeaseRequest { call, path: p() }).await.err()),
        ];
        if !path.is_empty() {
            // Empty stands for everything, and for "by inode".
            errors.push(("locate", names.locate(v1::LocateRequest { path: p(), ..Default::default() }).await.err()));
            errors.push(("scrub", caller.admin.scrub(v1::ScrubRequest { path: p() }).await.err()));
        }
        for (verb, status) in errors {
            let error = caller.refused::<()>(&format!("{verb} of {what}"), Err(status.expect("refused")));
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{verb} of {what}: {error}");
            assert!(!error.is_retryable() && error.message().len() < 1_000, "{verb} of {what}: {error}");
        }
    }
    let mut root = cluster.client().list("/").expect("list");
    assert!(root.next().await.is_none(), "nothing was made");
    nothing_panicked();
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_refused_and_shown() {
    let error = fails("bytes", ErrorKind::InvalidArgument, DfsPath::parse_bytes(b"/a/\xff\xfe"));
    assert!(error.message().contains("UTF-8"), "{error}");
    // On the wire a string that is none never becomes a message.
    let cluster = cluster(0).await;
    let caller = Caller::of(&cluster).await;
    let bytes = [0x0a, 3, b'/', 0xff, 0xfe];
    let status = crate::wire::raw_unary(&caller, "/godfs.v1.NamespaceService/Stat", &bytes).await;
    assert_ne!(status.code(), tonic::Code::Ok);
    assert!(status.message().contains("UTF-8"), "{status}");
    nothing_panicked();
}

#[tokio::test]
async fn the_deepest_and_the_longest_that_is_allowed_works() {
    let cluster = cluster(0).await;
    let client = cluster.client();
    let deep = format!("/{}", vec!["d"; MAX_DEPTH - 1].join("/"));
    client.mkdir(deep.as_str(), MkdirOptions::new().parents(true)).await.expect("deep");
    let file = format!("{deep}/f");
    client.put(file.as_str(), "deep", small_chunks(1)).await.expect("at the bottom");
    assert_eq!(&client.get(file.as_str()).await.expect("get")[..], b"deep");
    // A rename is one step whatever lies below, and takes no name beyond the reach of paths.
    client.mkdir("/x/y", MkdirOptions::new().parents(true)).await.expect("mkdir");
    client.put("/x/y/f", "far", small_chunks(1)).await.expect("put");
    let moved = format!("{deep}/x");
    fails("too deep", ErrorKind::LimitExceeded, client.rename("/x", moved.as_str(), RenameOptions::new()).await);
    assert_eq!(&client.get("/x/y/f").await.expect("get")[..], b"far");
    let long = format!("/{}", "n".repeat(MAX_NAME_BYTES));
    client.put(long.as_str(), "long", small_chunks(1)).await.expect("a long name");
    client.remove("/d", RemoveOptions::new().recursive(true)).await.expect("remove all of it");
    nothing_panicked();
}

#[tokio::test]
async fn a_file_is_no_directory_and_a_directory_no_file() {
    let cluster = cluster(0).await;
    let client = cluster.client();
    client.put("/file", "bytes", small_chunks(1)).await.expect("put");
    client.mkdir("/dir/sub", MkdirOptions::new().parents(true)).await.expect("mkdir");
    let overwrite = || small_chunks(1).overwrite(true);

    // A file as a directory.
    let no_dir = ErrorKind::NotADirectory;
    fails("put", no_dir, client.put("/file/x", "x", small_chunks(1)).await);
    fails("put -p", no_dir, client.put("/file/x/y", "x", small_chunks(1).parents(true)).await);
    fails("mkdir", no_dir, client.mkdir("/file/x", MkdirOptions::new()).await);
    fails("mkdir -p", no_dir, client.mkdir("/file/x/y", MkdirOptions::new().parents(true)).await);
    fails("rename", no_dir, client.rename("/dir", "/file/x", RenameOptions::new()).await);
    fails("stat", no_dir, client.stat("/file/x").await);
    fails("get", no_dir, client.get("/file/x").await);
    let listed = client.list("/file").expect("a valid path").next().await.expect("an answer");
    fails("list", no_dir, listed);

    // A directory as a file.
    let is_dir = ErrorKind::IsADirectory;
    fails("get", is_dir, client.get("/dir").await);
    fails("open", is_dir, client.open("/dir").await);
    fails("overwrite", is_dir, client.put("/dir", "x", overwrite()).await);
    fails("create", is_dir, client.create("/dir", overwrite()).await);
    fails("create", is_dir, client.create("/", overwrite()).await);
    fails("setrep", is_dir, client.set_replication("/dir", 2).await);
    fails("recover", is_dir, client.recover_lease("/dir").await);

    // One replaces the other never.
    let replace = RenameOptions::new().replace(true);
    client.rename("/file", "/dir", replace.clone()).await.expect_err("a file over a directory");
    client.rename("/dir", "/file", replace).await.expect_err("a directory over a file");
    client.remove("/", RemoveOptions::new().recursive(true)).await.expect_err("the root");
    client.rename("/", "/dir/root", RenameOptions::new()).await.expect_err("the root");
    client.rename("/dir", "/dir/sub/in", RenameOptions::new()).await.expect_err("into itself");
    assert_eq!(&client.get("/file").await.expect("as it was")[..], b"bytes");
    assert!(client.exists("/dir/sub").await.expect("as it was"));
    nothing_panicked();
}
