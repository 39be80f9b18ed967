//! Extended attributes and access control lists.

use super::*;
use crate::metadata::{Range, Space};

impl Fixture {
    async fn set_xattr(&self, path: &str, name: &str, value: &[u8], mode: XattrMode) -> Result<()> {
        let request = SetXattr { name: name.into(), value: Bytes::copy_from_slice(value), mode };
        self.namespace.set_xattr(self.call(), at(path), request).await
    }

    async fn remove_xattr(&self, path: &str, name: &str) -> Result<()> {
        self.namespace.remove_xattr(self.call(), at(path), name.into()).await
    }

    /// `name=value` of all.
    async fn xattrs(&self, path: &str) -> Vec<String> {
        let found = self.namespace.xattrs(at(path), Vec::new()).await.unwrap();
        found.iter().map(|found| format!("{}={}", found.name, String::from_utf8_lossy(&found.value))).collect()
    }

    async fn setfacl(&self, path: &str, change: AclChange) -> Result<()> {
        self.namespace.set_acl(self.call(), at(path), change).await
    }

    async fn modify(&self, path: &str, text: &str) -> Result<()> {
        self.setfacl(path, AclChange::Modify(parse_acl(text).unwrap())).await
    }

    async fn getfacl(&self, path: &str) -> String {
        let acl = self.namespace.acl(at(path)).await.unwrap();
        acl.entries.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// The same namespace through the eyes of a user.
    async fn seen_by(&self, user: &str, groups: &[&str]) -> Self {
        let mut other = self.other().await;
        other.namespace = self.namespace.by(Caller::new(user, groups.iter().copied()).unwrap());
        other
    }

    async fn rows_of_attributes(&self) -> usize {
        let tables = [rows::keys::Table::Xattrs, rows::keys::Table::Acls].map(rows::keys::table);
        let count = move |snapshot: &mut dyn Snapshot| {
            let mut count = 0;
            for table in &tables {
                count += snapshot.scan(Space::Rows, &Range::prefix(table, 1_000))?.len();
            }
            Ok(count)
        };
        self.namespace.view(count).await.unwrap()
    }
}

#[tokio::test]
async fn attributes_are_set_as_asked() {
    let fixture = Fixture::new(0).await;
    fixture.put("/f", b"x").await;
    let before = fixture.stat("/f").await.unwrap().version;
    fixture.set_xattr("/f", "user.b", b"1", XattrMode::Create).await.unwrap();
    fixture.set_xattr("/f", "user.a", b"", XattrMode::Any).await.unwrap();
    assert_eq!(fixture.xattrs("/f").await, ["user.a=", "user.b=1"]);
    assert!(fixture.stat("/f").await.unwrap().version > before);
    fixture.check().await;
    let create = fixture.set_xattr("/f", "user.b", b"2", XattrMode::Create).await;
    refused(create, ErrorKind::AlreadyExists, "/f has the attribute user.b already");
    let replace = fixture.set_xattr("/f", "user.c", b"2", XattrMode::Replace).await;
    refused(replace, ErrorKind::NotFound, "/f has no attribute user.c");
    fixture.set_xattr("/f", "user.b", b"2", XattrMode::Replace).await.unwrap();
    let found = fixture.namespace.xattrs(at("/f"), vec!["user.b".into(), "user.a".into()]).await.unwrap();
    assert_eq!(found.iter().map(|found| &found.value[..]).collect::<Vec<_>>(), [&b"2"[..], b""]);
    let gone = fixture.namespace.xattrs(at("/f"), vec!["user.c".into()]).await;
    refused(gone, ErrorKind::NotFound, "no attribute user.c");

    // They move with the name, and go with the file.
    fixture.rename("/f", "/g", false).await.unwrap();
    assert_eq!(fixture.xattrs("/g").await, ["user.a=", "user.b=2"]);
    fixture.remove_xattr("/g", "user.a").await.unwrap();
    fixture.check().await;
    refused(fixture.remove_xattr("/g", "user.a").await, ErrorKind::NotFound, "no attribute");
    fixture.remove_xattr("/g", "user.b").await.unwrap();
    assert_eq!((fixture.xattrs("/g").await.len(), fixture.rows_of_attributes().await), (0, 0));
    fixture.check().await;
}

#[tokio::test]
async fn attributes_are_bounded() {
    let mut fixture = Fixture::new(0).await;
    let settings = NamespaceSettings {
        max_xattrs: 3,
        max_xattr_value_bytes: 100,
        max_xattr_bytes: 150,
        ..fixture.namespace.settings().clone()
    };
    let store = Arc::clone(fixture.namespace.store());
    fixture.namespace = Namespace::new(store, settings.clone(), Env::simulated(2)).unwrap();
    fixture.put("/f", b"x").await;
    let any = XattrMode::Any;
    let long = format!("user.{}", "x".repeat(251));
    for (name, kind) in [
        ("user.", ErrorKind::InvalidArgument),
        (&*long, ErrorKind::InvalidArgument),
        ("user.a\nb", ErrorKind::InvalidArgument),
        ("user.a\0", ErrorKind::InvalidArgument),
        ("system.posix_acl_access", ErrorKind::Unsupported),
        ("security.x", ErrorKind::Unsupported),
        ("USER.x", ErrorKind::Unsupported),
        ("", ErrorKind::Unsupported),
    ] {
        refused(fixture.set_xattr("/f", name, b"", any).await, kind, "");
        refused(fixture.remove_xattr("/f", name).await, kind, "");
        refused(fixture.namespace.xattrs(at("/f"), vec![name.into()]).await, kind, "");
    }
    refused(
        fixture.set_xattr("/f", "user.a", &[0; 101], any).await,
        ErrorKind::LimitExceeded,
        "101 bytes, the limit is 100",
    );
    fixture.set_xattr("/f", "user.a", &[0; 100], any).await.unwrap();
    // Names count: 6 and 100 are there.
    refused(
        fixture.set_xattr("/f", "user.b", &[0; 39], any).await,
        ErrorKind::LimitExceeded,
        "151 bytes, the limit is 150",
    );
    fixture.set_xattr("/f", "user.b", &[0; 38], any).await.unwrap();
    refused(fixture.set_xattr("/f", "user.b", &[0; 39], any).await, ErrorKind::LimitExceeded, "151 bytes");
    fixture.set_xattr("/f", "user.a", &[0; 1], any).await.unwrap();
    fixture.set_xattr("/f", "user.c", b"", any).await.unwrap();
    refused(
        fixture.set_xattr("/f", "user.d", b"", any).await,
        ErrorKind::LimitExceeded,
        "3 extended attributes, the limit is 3",
    );
    let many = vec!["user.a".to_owned(); 4];
    refused(fixture.namespace.xattrs(at("/f"), many).await, ErrorKind::LimitExceeded, "4 names");
    fixture.check().await;
    for settings in [
        NamespaceSettings { max_xattrs: MAX_XATTRS + 1, ..settings.clone() },
        NamespaceSettings { max_xattr_bytes: MAX_XATTR_BYTES + 1, ..settings.clone() },
        NamespaceSettings { max_xattr_value_bytes: MAX_XATTR_BYTES + 1, ..settings },
    ] {
        refused(settings.check(), ErrorKind::InvalidArgument, "max_xattr");
    }
}

#[tokio::test]
async fn attributes_have_rights_of_their_own() {
    let root = Fixture::new(0).await;
    root.put("/f", b"x").await;
    let new = NewOwner { user: Some("alice".into()), group: Some("staff".into()) };
    root.namespace.set_owner(root.call(), at("/f"), new).await.unwrap();
    root.namespace.set_mode(root.call(), at("/f"), 0o620).await.unwrap();
    root.set_xattr("/f", "trusted.t", b"1", XattrMode::Any).await.unwrap();
    let (alice, bob) = (root.seen_by("alice", &["staff"]).await, root.seen_by("bob", &["staff"]).await);
    alice.set_xattr("/f", "user.u", b"2", XattrMode::Any).await.unwrap();
    assert_eq!(alice.xattrs("/f").await, ["user.u=2"], "not even seen");
    assert_eq!(root.xattrs("/f").await, ["trusted.t=1", "user.u=2"]);
    let denied = ErrorKind::PermissionDenied;
    refused(alice.set_xattr("/f", "trusted.t", b"", XattrMode::Any).await, denied, "alice lacks superuser on /f");
    refused(alice.remove_xattr("/f", "trusted.t").await, denied, "lacks superuser");
    refused(alice.namespace.xattrs(at("/f"), vec!["trusted.t".into()]).await, denied, "lacks superuser");
    // Whoever may write to the file may say something of it, and need not see what others say.
    bob.set_xattr("/f", "user.u", b"3", XattrMode::Any).await.unwrap();
    let eve = root.seen_by("eve", &[]).await;
    refused(eve.set_xattr("/f", "user.u", b"", XattrMode::Any).await, denied, "eve lacks w on /f");
    refused(bob.namespace.xattrs(at("/f"), Vec::new()).await, denied, "bob lacks r on /f");
    root.check().await;
}

#[tokio::test]
async fn attributes_go_with_what_has_them() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/d/e").await;
    fixture.put("/d/e/small", b"x").await;
    fixture.file("/d/e/large", 5, &[1]).await;
    for path in ["/d", "/d/e", "/d/e/small", "/d/e/large"] {
        fixture.set_xattr(path, "user.a", b"1", XattrMode::Any).await.unwrap();
        fixture.set_xattr(path, "user.b", b"2", XattrMode::Any).await.unwrap();
        fixture.modify(path, "user:bob:rwx").await.unwrap();
    }
    fixture.modify("/d/e", "default:user:bob:rwx").await.unwrap();
    assert_eq!(fixture.rows_of_attributes().await, 12);
    // A replaced file goes at once where nothing hangs on it, with what it has; its successor begins anew.
    let over = CreateOptions { overwrite: true, ..Default::default() };
    fixture.namespace.put(fixture.call(), at("/d/e/small"), over, Bytes::new()).await.unwrap();
    assert_eq!((fixture.xattrs("/d/e/small").await.len(), fixture.rows_of_attributes().await), (0, 10));
    fixture.check().await;
    fixture.delete("/d", true).await.unwrap();
    fixture.check().await;
    fixture.collect().await;
    assert_eq!(fixture.rows_of_attributes().await, 0);
    fixture.check().await;
}

#[tokio::test]
async fn lists_decide_in_their_order() {
    let root = Fixture::new(0).await;
    root.put("/f", b"x").await;
    let new = NewOwner { user: Some("alice".into()), group: Some("staff".into()) };
    root.namespace.set_owner(root.call(), at("/f"), new).await.unwrap();
    root.namespace.set_mode(root.call(), at("/f"), 0o604).await.unwrap();
    root.modify("/f", "user:bob:r--,user:carol:---,group:dev:-w-,group:ops:r--,other::---").await.unwrap();
    assert!(root.stat("/f").await.unwrap().acl);
    let may_read = async |user: &str, groups: &[&str]| {
        let seen = root.seen_by(user, groups).await;
        let range = LocateRange { offset: 0, length: 1, chunks: 0 };
        let outcome = seen.namespace.locate(FileRef::Path(at("/f")), range).await;
        outcome.is_err().then(|| outcome.unwrap_err().kind()).is_none()
    };
    for (user, groups, expected, why) in [
        ("alice", &["x"][..], true, "the owner has the owner's bits"),
        ("bob", &[], true, "a user by name"),
        ("bob", &["dev"], true, "before any group"),
        ("carol", &["ops"], false, "also to refuse"),
        ("dave", &["ops"], true, "a group by name"),
        ("dave", &["staff"], false, "the owning group has its own entry, not the mask"),
        ("dave", &["staff", "ops"], true, "one of several groups suffices"),
        ("dave", &["dev"], false, "a group that may something else is none of the others"),
        ("eve", &["x"], false, "all others"),
    ] {
        assert_eq!(may_read(user, groups).await, expected, "{user} {groups:?}: {why}");
    }
    // The mask, which chmod sets, bounds all of them but the owner.
    root.namespace.set_mode(root.call(), at("/f"), 0o624).await.unwrap();
    assert!(!may_read("bob", &[]).await && !may_read("dave", &["ops"]).await && may_read("eve", &["x"]).await);
    let shown = "user::rw-,user:bob:r--,user:carol:---,group::---,group:dev:-w-,group:ops:r--,mask::-w-,other::r--";
    assert_eq!(root.getfacl("/f").await, shown);
    root.setfacl("/f", AclChange::RemoveAll).await.unwrap();
    let status = root.stat("/f").await.unwrap();
    assert_eq!((status.acl, status.owner.mode, root.rows_of_attributes().await), (false, 0o604, 0));
    root.check().await;
}

#[tokio::test]
async fn rights_of_several_groups_do_not_add_up() {
    let root = Fixture::new(0).await;
    root.mkdir("/d").await;
    root.namespace.set_mode(root.call(), at("/d"), 0o700).await.unwrap();
    root.modify("/d", "group:read:r--,group:search:--x,group:both:r-x").await.unwrap();
    let list = async |groups: &[&str]| {
        let seen = root.seen_by("dave", groups).await;
        seen.namespace.list(at("/d"), String::new(), 1).await.map(drop)
    };
    refused(list(&["read", "search"]).await, ErrorKind::PermissionDenied, "dave lacks x on /d");
    refused(list(&["search"]).await, ErrorKind::PermissionDenied, "dave lacks r on /d");
    list(&["search", "read", "both"]).await.unwrap();
}

#[tokio::test]
async fn default_lists_are_inherited_in_place_of_the_umask() {
    let root = Fixture::new(0).await;
    root.mkdir("/d").await;
    root.modify("/d", "default:user:bob:rwx,default:group::rwx,default:other::---").await.unwrap();
    root.put("/d/f", b"x").await;
    root.mkdir("/d/e/deep").await;
    let list = "user::rwx,user:bob:rwx,group::rwx,mask::rwx,other::---";
    assert_eq!(root.getfacl("/d/f").await, "user::rw-,user:bob:rwx,group::rwx,mask::rw-,other::---");
    let default = "default:user::rwx,default:user:bob:rwx,default:group::rwx,default:mask::rwx,default:other::---";
    for path in ["/d/e", "/d/e/deep"] {
        assert_eq!(root.getfacl(path).await, format!("{list},{default}"), "{path}");
    }
    assert_eq!(root.stat("/d/f").await.unwrap().owner.mode, 0o660);
    // A mode that is asked for bounds what is inherited.
    let options = CreateOptions { mode: NewMode { mode: Some(0o600), umask: 0o022 }, ..Default::default() };
    root.namespace.create(root.call(), at("/d/private"), options).await.unwrap();
    assert_eq!(root.getfacl("/d/private").await, "user::rw-,user:bob:rwx,group::rwx,mask::---,other::---");
    // What makes its own parents can go on in them.
    root.modify("/d", "default:user::r--").await.unwrap();
    root.seen_by("user", &["users"]).await.mkdir("/d/p/q/r").await;
    assert_eq!(root.stat("/d/p").await.unwrap().owner.mode, 0o770);
    root.setfacl("/d", AclChange::RemoveDefault).await.unwrap();
    root.put("/d/g", b"x").await;
    assert_eq!(root.stat("/d/g").await.unwrap().owner.mode, 0o644);
    root.check().await;
}

#[tokio::test]
async fn lists_are_their_owners_to_change_and_bad_ones_are_refused() {
    let root = Fixture::new(0).await;
    root.put("/f", b"x").await;
    let bob = root.seen_by("bob", &["users"]).await;
    refused(bob.modify("/f", "user:bob:rwx").await, ErrorKind::PermissionDenied, "bob lacks owner on /f");
    assert_eq!(bob.getfacl("/f").await, "user::rw-,group::r--,other::r--", "whoever gets there may see");
    let many = (0..29).map(|n| format!("user:u{n}:r--")).collect::<Vec<_>>().join(",");
    refused(root.modify("/f", &many).await, ErrorKind::LimitExceeded, "/f: a list would have 33 entries");
    refused(root.modify("/f", "user:a:r--,user:a:r--").await, ErrorKind::InvalidArgument, "given twice");
    refused(root.modify("/f", "default:user::r--").await, ErrorKind::InvalidArgument, "only a directory");
    let incomplete = AclChange::Replace(parse_acl("user::r--,other::r--").unwrap());
    refused(root.setfacl("/f", incomplete).await, ErrorKind::InvalidArgument, "has the entry group:");
    let base = AclChange::Remove(parse_acl_subjects("group").unwrap());
    refused(root.setfacl("/f", base).await, ErrorKind::InvalidArgument, "can't be removed");
    assert_eq!(root.rows_of_attributes().await, 0);
    root.check().await;
}

#[tokio::test]
async fn repeated_changes_of_attributes_act_once() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    fixture.put("/f", b"x").await;
    let set = |call, value: &'static [u8]| {
        let request = SetXattr { name: "user.a".into(), value: Bytes::from_static(value), mode: XattrMode::Any };
        namespace.set_xattr(call, at("/f"), request)
    };
    let (first, second) = (fixture.call(), Call { slot: 1, ..fixture.call() });
    set(first, b"1").await.unwrap();
    set(second, b"2").await.unwrap();
    set(first, b"1").await.unwrap();
    assert_eq!(fixture.xattrs("/f").await, ["user.a=2"]);

    let first = fixture.call();
    namespace.remove_xattr(first, at("/f"), "user.a".into()).await.unwrap();
    fixture.set_xattr("/f", "user.a", b"3", XattrMode::Create).await.unwrap();
    let (first, second) = (fixture.call(), Call { slot: 1, ..fixture.call() });
    namespace.remove_xattr(first, at("/f"), "user.a".into()).await.unwrap();
    set(second, b"4").await.unwrap();
    namespace.remove_xattr(first, at("/f"), "user.a".into()).await.unwrap();
    assert_eq!(fixture.xattrs("/f").await, ["user.a=4"], "not removed again, and not NotFound");

    let change = |text| AclChange::Modify(parse_acl(text).unwrap());
    let (first, second) = (fixture.call(), Call { slot: 1, ..fixture.call() });
    namespace.set_acl(first, at("/f"), change("user:a:r--")).await.unwrap();
    namespace.set_acl(second, at("/f"), AclChange::RemoveAll).await.unwrap();
    namespace.set_acl(first, at("/f"), change("user:a:r--")).await.unwrap();
    assert!(!fixture.stat("/f").await.unwrap().acl);
    fixture.check().await;
}
