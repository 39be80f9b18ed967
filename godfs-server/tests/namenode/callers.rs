//! Several users at one namenode: each as it claims to be.

use godfs_client::{AclChange, Client, CreateOptions, MkdirOptions, RemoveOptions, RenameOptions, XattrMode};
use godfs_core::ErrorKind;
use godfs_core::namespace::parse_acl;
use godfs_proto::v1;
use v1::namespace_service_client::NamespaceServiceClient;

use super::fake::{channel, refused};
use super::{MetadataSource, Namenode, memory, settings, start_with};

fn of(namenode: &Namenode, user: &str) -> Client {
    Client::builder().namenodes(namenode.address()).user(user).build().expect("a client")
}

async fn strict() -> Namenode {
    let mut settings = settings();
    settings.namespace.permissions = true;
    start_with(MetadataSource::Store(memory()), settings).await
}

#[tokio::test]
async fn two_users_meet_only_where_they_may() {
    let namenode = strict().await;
    let root = of(&namenode, "admin:supergroup");
    let (alice, bob) = (of(&namenode, "alice:users,staff"), of(&namenode, "bob:staff"));
    root.mkdir("/alice", MkdirOptions::new()).await.expect("mkdir");
    root.set_owner("/alice", Some("alice"), Some("staff")).await.expect("chown");
    root.set_mode("/alice", 0o750).await.expect("chmod");

    let options = || CreateOptions::new().mode(0o666).umask(0o027);
    alice.put("/alice/f", "x", options()).await.expect("put");
    let status = alice.stat("/alice/f").await.expect("stat");
    assert_eq!((status.user.as_str(), status.group.as_str(), status.mode), ("alice", "users", 0o640));
    assert_eq!(bob.stat("/alice/f").await.expect("bob goes through"), status);
    for (right, refusal) in [
        ("bob lacks r on /alice/f", bob.get("/alice/f").await.map(drop)),
        ("bob lacks w on /alice", bob.put("/alice/g", "y", options()).await),
        ("bob lacks w on /alice", bob.writer("/alice/g", options()).await.map(drop)),
        ("bob lacks w on /alice", bob.mkdir("/alice/d", MkdirOptions::new()).await),
        ("bob lacks w on /alice", bob.remove("/alice/f", RemoveOptions::new()).await),
        ("bob lacks w on /alice", bob.rename("/alice/f", "/alice/g", RenameOptions::new()).await),
        ("bob lacks w on /alice/f", bob.set_replication("/alice/f", 1).await),
        ("bob lacks w on /alice/f", bob.recover_lease("/alice/f").await.map(drop)),
        ("bob lacks w on /alice/f", bob.set_times("/alice/f", Some(1), None).await),
        ("bob lacks owner on /alice/f", bob.set_mode("/alice/f", 0o777).await),
        ("alice lacks superuser on /alice/f", alice.set_owner("/alice/f", Some("bob"), None).await),
    ] {
        let error = refusal.expect_err(right);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.message().contains(right) && !error.is_retryable(), "{error}");
    }
    alice.set_owner("/alice/f", None, Some("staff")).await.expect("a group of hers");
    assert_eq!(&bob.get("/alice/f").await.expect("readable now")[..], b"x");
    let refused = bob.scrub(None).await.map(drop).expect_err("refused");
    assert!(refused.message().contains("bob lacks superuser for scrub"), "{refused}");
    root.scrub(None).await.map(drop).expect("scrub");
    // A writer that has its lease needs nothing more.
    let mut writer = alice.writer("/alice/w", options()).await.expect("create");
    root.set_mode("/alice", 0).await.expect("chmod");
    writer.close().await.expect("close");
}

#[tokio::test]
async fn lists_and_attributes_cross_the_wire_and_decide() {
    let namenode = strict().await;
    let root = of(&namenode, "admin:supergroup");
    let (alice, bob) = (of(&namenode, "alice:staff"), of(&namenode, "bob"));
    root.mkdir("/d", MkdirOptions::new()).await.expect("mkdir");
    root.set_owner("/d", Some("alice"), Some("staff")).await.expect("chown");
    root.set_mode("/d", 0o700).await.expect("chmod");
    let modify = |text: &str| AclChange::Modify(parse_acl(text).expect("valid"));
    assert_eq!(bob.stat("/d/f").await.expect_err("refused").kind(), ErrorKind::PermissionDenied);
    alice.set_acl("/d", &modify("user:bob:r-x,default:user:bob:rw-")).await.expect("setfacl");
    alice.put("/d/f", "x", CreateOptions::new()).await.expect("put");
    assert_eq!(&bob.get("/d/f").await.expect("by the list")[..], b"x");
    let status = bob.stat("/d/f").await.expect("stat");
    assert!(status.acl && status.mode == 0o660, "{status:?}");
    let list = alice.acl("/d/f").await.expect("getfacl");
    let shown: Vec<String> = list.entries.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["user::rw-", "user:bob:rw-", "group::---", "mask::rw-", "other::---"]);
    let refused = bob.set_acl("/d/f", &AclChange::RemoveAll).await.expect_err("refused");
    assert!(refused.message().contains("bob lacks owner on /d/f"), "{refused}");
    let default = alice.set_acl("/d/f", &modify("default:other::---")).await.expect_err("a file");
    assert_eq!(default.kind(), ErrorKind::InvalidArgument);

    alice.set_xattr("/d/f", "user.a", &b"\xff"[..], XattrMode::Create).await.expect("set");
    root.set_xattr("/d/f", "trusted.t", "1", XattrMode::Any).await.expect("set");
    assert_eq!(&bob.xattr("/d/f", "user.a").await.expect("get")[..], b"\xff");
    assert_eq!((bob.xattrs("/d/f").await.expect("list").len(), root.xattrs("/d/f").await.expect("list").len()), (1, 2));
    for (kind, outcome) in [
        (ErrorKind::AlreadyExists, alice.set_xattr("/d/f", "user.a", "", XattrMode::Create).await),
        (ErrorKind::NotFound, alice.set_xattr("/d/f", "user.b", "", XattrMode::Replace).await),
        (ErrorKind::NotFound, alice.remove_xattr("/d/f", "user.b").await),
        (ErrorKind::PermissionDenied, alice.remove_xattr("/d/f", "trusted.t").await),
        (ErrorKind::Unsupported, alice.set_xattr("/d/f", "security.a", "", XattrMode::Any).await),
        (ErrorKind::LimitExceeded, alice.set_xattr("/d/f", "user.b", vec![0; 17 << 10], XattrMode::Any).await),
    ] {
        assert_eq!(outcome.expect_err("refused").kind(), kind);
    }
    alice.remove_xattr("/d/f", "user.a").await.expect("remove");
    assert!(bob.xattrs("/d/f").await.expect("list").is_empty());
}

#[tokio::test]
async fn claims_that_can_not_be_are_refused_and_none_is_nobodys() {
    let namenode = strict().await;
    let mut stub = NamespaceServiceClient::new(channel(namenode.address()).await);
    let mut ask = async |entries: &[(&'static str, &str)]| {
        let mut request = tonic::Request::new(v1::StatRequest { path: "/".into(), no_follow: false });
        for (name, value) in entries {
            request.metadata_mut().append(*name, value.parse().expect("a header"));
        }
        stub.stat(request).await
    };
    let long = "x".repeat(256);
    let many = (0..257).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for (entries, kind) in [
        (&[("godfs-user", "a:b")][..], ErrorKind::InvalidArgument),
        (&[("godfs-user", "")], ErrorKind::InvalidArgument),
        (&[("godfs-user", &long)], ErrorKind::InvalidArgument),
        (&[("godfs-user", "a"), ("godfs-user", "root")], ErrorKind::InvalidArgument),
        (&[("godfs-user", "a"), ("godfs-groups", "x"), ("godfs-groups", "supergroup")], ErrorKind::InvalidArgument),
        (&[("godfs-groups", "supergroup")], ErrorKind::InvalidArgument),
        (&[("godfs-user", "a"), ("godfs-groups", ",")], ErrorKind::InvalidArgument),
        (&[("godfs-user", "a"), ("godfs-groups", &many)], ErrorKind::LimitExceeded),
    ] {
        assert_eq!(refused(ask(entries).await).kind(), kind, "{entries:?}");
    }
    ask(&[("godfs-user", "a"), ("godfs-groups", "domain users,x")]).await.expect("a claim");
    ask(&[]).await.expect("no claim");
    of(&namenode, "admin:supergroup").set_mode("/", 0o700).await.expect("chmod");
    let beyond = refused(stub.stat(v1::StatRequest { path: "/x".into(), no_follow: false }).await);
    assert!(beyond.message().contains("nobody lacks x on /"), "{beyond}");
}

#[tokio::test]
async fn checks_can_be_turned_off() {
    assert!(!settings().namespace.permissions);
    let namenode = start_with(MetadataSource::Store(memory()), settings()).await;
    let eve = of(&namenode, "eve");
    eve.mkdir("/d", MkdirOptions::new().mode(0)).await.expect("mkdir");
    eve.set_owner("/d", Some("other"), Some("group")).await.expect("chown");
    eve.put("/d/f", "x", CreateOptions::new()).await.expect("put");
    assert_eq!(eve.stat("/d/f").await.expect("stat").user, "eve");
}
