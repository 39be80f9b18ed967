//! Attributes beyond their limits, links that lead in circles, and files and directories that are to swallow themselves.

use godfs_client::{AclChange, AclEntry, AclPlace, AclSubject, CreateOptions, MkdirOptions, RenameOptions, XattrMode};
use godfs_core::ErrorKind;
use godfs_core::namespace::{MAX_ACL_ENTRIES, MAX_PRINCIPAL_BYTES, MAX_TARGET_BYTES, MAX_XATTR_NAME_BYTES};
use godfs_proto::v1;

use crate::harness::{Caller, cluster, fails, noise, nothing_panicked, small_chunks};

fn entry(user: String, rights: u8) -> AclEntry {
    AclEntry { place: AclPlace { default: false, subject: AclSubject::User(user) }, rights }
}

#[tokio::test]
async fn attributes_beyond_limits_are_refused_and_change_nothing() {
    let cluster = cluster(0).await;
    let client = cluster.client();
    client.put("/f", "bytes", small_chunks(1)).await.expect("put");
    let before = client.stat("/f").await.expect("stat");
    let (limit, invalid) = (ErrorKind::LimitExceeded, ErrorKind::InvalidArgument);

    // Lists: one entry too many, names that are none, rights that are none.
    let users = |count: usize| (0..count).map(|user| entry(format!("user{user}"), 7)).collect();
    fails("entries", limit, client.set_acl("/f", &AclChange::Modify(users(MAX_ACL_ENTRIES))).await);
    for name in ["", "a:b", "a b\n", &"x".repeat(MAX_PRINCIPAL_BYTES + 1)] {
        fails(name, invalid, client.set_acl("/f", &AclChange::Modify(vec![entry(name.into(), 7)])).await);
    }
    let mut caller = Caller::of(&cluster).await;
    for rights in [8, 255, u32::MAX] {
        let bob = v1::AclEntry { default_list: false, tag: v1::AclTag::User.into(), name: "bob".into(), rights };
        let operation = v1::AclOperation::Modify.into();
        let request = v1::SetAclRequest { call: caller.call(), path: "/f".into(), operation, entries: vec![bob] };
        let refused = caller.names.set_acl(request).await;
        fails("rights", invalid, caller.told(refused));
    }
    let default = AclEntry { place: AclPlace { default: true, subject: AclSubject::User("bob".into()) }, rights: 7 };
    fails("a default list of a file", invalid, client.set_acl("/f", &AclChange::Modify(vec![default])).await);
    fails("a list without base", invalid, client.set_acl("/f", &AclChange::Replace(users(1))).await);

    // Attributes: a value, a name, their number, all of them together.
    let any = XattrMode::Any;
    fails("a value", limit, client.set_xattr("/f", "user.a", vec![0; (16 << 10) + 1], any).await);
    let long = format!("user.{}", "x".repeat(MAX_XATTR_NAME_BYTES - 4));
    client.set_xattr("/f", &long, "x", any).await.expect_err("a long name");
    for name in ["", "user.", "user"] {
        client.set_xattr("/f", name, "x", any).await.expect_err("no name");
    }
    fails("system", ErrorKind::Unsupported, client.set_xattr("/f", "system.posix_acl_access", "x", any).await);
    fails("mode", invalid, client.set_mode("/f", 0o10_000).await);
    assert_eq!(client.stat("/f").await.expect("stat"), before, "nothing has changed");
    for number in 0..32 {
        client.set_xattr("/f", &format!("user.{number}"), "x", any).await.expect("so many are allowed");
    }
    fails("one more", limit, client.set_xattr("/f", "user.more", "x", any).await);
    client.set_xattr("/f", "user.0", "y", any).await.expect("one that is there");
    client.put("/g", "", small_chunks(1)).await.expect("put");
    for number in 0..3 {
        client.set_xattr("/g", &format!("user.{number}"), vec![0; 16 << 10], any).await.expect("so much is allowed");
    }
    fails("all together", limit, client.set_xattr("/g", "user.3", vec![0; 16 << 10], any).await);
    assert_eq!(client.xattrs("/g").await.expect("attributes").len(), 3);
    nothing_panicked();
}

#[tokio::test]
async fn links_that_lead_nowhere_or_in_circles_are_told_apart() {
    let cluster = cluster(0).await;
    let client = cluster.client();
    for (link, target) in
        [("/self", "self"), ("/a", "b"), ("/b", "/a"), ("/up", "../../../up"), ("/inside", "inside/x"), ("/gone", "no")]
    {
        client.symlink(target, link).await.expect("a link may say anything");
    }
    for path in ["/self", "/a", "/b", "/up", "/inside", "/self/x", "/a/x/y"] {
        let error = fails(path, ErrorKind::LimitExceeded, client.stat(path).await);
        assert!(error.message().contains("loop") && !error.is_retryable(), "{path}: {error}");
        fails(path, ErrorKind::LimitExceeded, client.get(path).await);
        fails(path, ErrorKind::LimitExceeded, client.append(path).await);
        fails(path, ErrorKind::LimitExceeded, client.truncate(path, 0).await);
        fails(path, ErrorKind::LimitExceeded, client.set_mode(path, 0o600).await);
    }
    fails("gone", ErrorKind::NotFound, client.stat("/gone").await);
    fails("an empty target", ErrorKind::InvalidArgument, client.symlink("", "/empty").await);
    let long = "x/".repeat(MAX_TARGET_BYTES / 2 + 1);
    client.symlink(long, "/long").await.expect_err("a long target");
    for link in ["/self", "/a", "/b", "/up", "/inside", "/gone"] {
        assert!(client.lstat(link).await.expect("the link itself").is_symlink());
        client.remove(link, Default::default()).await.expect("remove");
    }
    nothing_panicked();
}

#[tokio::test]
async fn nothing_swallows_itself() {
    let cluster = cluster(1).await;
    let client = cluster.client();
    let large = || CreateOptions::new().replication(1).chunk_size(64 << 10);
    let data = noise(100_000, 1);
    client.put("/f", data.clone(), large()).await.expect("put");
    client.put("/g", data.clone(), large()).await.expect("put");
    client.mkdir("/d/e/f", MkdirOptions::new().parents(true)).await.expect("mkdir");
    let invalid = ErrorKind::InvalidArgument;
    fails("itself", invalid, client.concat("/f", ["/f"]).await);
    fails("itself among others", invalid, client.concat("/f", ["/g", "/f"]).await);
    fails("one twice", invalid, client.concat("/f", ["/g", "/g"]).await);
    fails("nothing", invalid, client.concat("/f", Vec::<&str>::new()).await);
    // Under another name of it, which the client follows.
    client.symlink("f", "/link").await.expect("symlink");
    fails("itself through a link", invalid, client.concat("/f", ["/link"]).await);

    for replace in [false, true] {
        let options = || RenameOptions::new().replace(replace);
        for to in ["/d/e", "/d/e/f", "/d/x", "/d/e/f/x"] {
            client.rename("/d", to, options()).await.expect_err("into its own subtree");
        }
        client.rename("/d/e", "/d", options()).await.expect_err("over what it lies in");
    }
    fails("below", invalid, client.exchange("/d", "/d/e").await);
    fails("above", invalid, client.exchange("/d/e/f", "/d").await);
    fails("the root", invalid, client.exchange("/", "/d").await);
    for file in ["/f", "/g"] {
        assert!(client.get(file).await.expect("get") == data, "{file} is as it was");
    }
    assert!(client.stat("/d/e/f").await.expect("stat").is_dir());
    nothing_panicked();
}
