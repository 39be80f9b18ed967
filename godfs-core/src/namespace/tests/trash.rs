//! The trash: what goes there, comes back, and goes for good.

use std::time::Duration;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Fixture {
    async fn trash(&self, path: &str) -> Result<Option<DfsPath>> {
        self.namespace.trash(self.call(), at(path), true).await
    }

    async fn trashed(&self, path: &str) -> DfsPath {
        self.trash(path).await.unwrap().unwrap()
    }

    async fn restore(&self, item: &DfsPath, to: Option<&str>, parents: bool) -> Result<DfsPath> {
        self.namespace.restore(self.call(), item.clone(), to.map(at), parents).await
    }

    async fn items(&self) -> Vec<TrashItem> {
        self.namespace.trash_items(None, String::new(), 100).await.unwrap()
    }

    async fn expire(&self) -> usize {
        let mut gone = 0;
        loop {
            match self.namespace.expire_trash().await.unwrap() {
                0 => return gone,
                some => gone += some,
            }
            self.check().await;
        }
    }

    fn with_trash(&self, trash_expiry: Duration) -> Namespace {
        let settings = NamespaceSettings { trash_expiry, ..self.namespace.settings().clone() };
        Namespace::new(Arc::clone(self.namespace.store()), settings, self.namespace.env.clone()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_can_be_looked_at_and_comes_back() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/a/b").await;
    fixture.put("/a/b/small", b"12345").await;
    fixture.file("/a/b/large", CHUNK + 7, &[1, 2, 3]).await;
    fixture.namespace.set_mode(fixture.call(), at("/a/b"), 0o711).await.unwrap();
    let before = fixture.stat("/a/b").await.unwrap();

    let item = fixture.trashed("/a/b").await;
    assert_eq!(item.as_str(), format!("/.trash/user/20260101T000000-{}", before.inode));
    fixture.check().await;
    assert_eq!(fixture.usage("/a").await, Usage::default(), "it weighs no more there");
    let weight = Usage { bytes: CHUNK + 12, files: 2, directories: 0, space: 3 * (CHUNK + 12) };
    assert_eq!(fixture.usage(item.as_str()).await, weight);
    assert_eq!(fixture.usage("/.trash").await, Usage { directories: 2, ..weight });
    assert_eq!(fixture.names(item.as_str()).await, ["large", "small"]);
    let items = fixture.items().await;
    let expected = TrashItem {
        path: item.clone(),
        original: at("/a/b"),
        kind: FileKind::Directory,
        user: "user".into(),
        deleted_ms: items[0].deleted_ms,
        expires_ms: items[0].deleted_ms + 86_400_000,
        usage: Usage { directories: 1, ..weight },
    };
    assert_eq!(items, [expected]);

    assert_eq!(fixture.restore(&item, None, false).await.unwrap(), at("/a/b"));
    let after = fixture.stat("/a/b").await.unwrap();
    assert_eq!((after.inode, after.owner), (before.inode, before.owner));
    assert_eq!(fixture.usage("/a").await, Usage { directories: 1, ..weight });
    assert_eq!(fixture.items().await, []);
    fixture.check().await;
    refused(fixture.restore(&item, None, false).await, ErrorKind::NotFound, "does not exist");
    // In the same second, under the same name.
    assert_eq!(fixture.trashed("/a/b").await, item);
    fixture.check().await;
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_restored_stays() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/a/b").await;
    fixture.put("/a/b/f", b"old").await;
    let item = fixture.trashed("/a/b/f").await;
    fixture.put("/a/b/f", b"newer").await;
    let over = fixture.restore(&item, None, true).await;
    refused(over, ErrorKind::AlreadyExists, &format!("{item} can't be restored: /a/b/f exists already"));
    assert_eq!(fixture.stat("/a/b/f").await.unwrap().length, 5);
    assert_eq!(fixture.restore(&item, Some("/a/old"), false).await.unwrap(), at("/a/old"));
    fixture.check().await;

    let item = fixture.trashed("/a/b/f").await;
    let parent = fixture.trashed("/a/b").await;
    let gone = fixture.restore(&item, None, false).await;
    refused(gone, ErrorKind::NotFound, &format!("{item} can't be restored: /a/b/f: the directory /a/b does not exist"));
    assert_eq!(fixture.names("/a").await, ["old"], "and nothing was made");
    fixture.restore(&item, None, true).await.unwrap();
    refused(fixture.restore(&parent, None, true).await, ErrorKind::AlreadyExists, "/a/b exists already");
    let inside = format!("{parent}/x");
    refused(fixture.restore(&parent, Some(&inside), false).await, ErrorKind::InvalidArgument, "lies in it");
    let back = fixture.restore(&parent, Some("/.trash/user/x"), false).await;
    refused(back, ErrorKind::InvalidArgument, "made by deleting, and by nothing else");
    // The way back is another one now.
    fixture.rename("/a", "/z", false).await.unwrap();
    let link = Symlink { path: at("/a"), target: "/z".into() };
    fixture.namespace.symlink(fixture.call(), link).await.unwrap();
    let linked = fixture.restore(&parent, None, false).await;
    refused(linked, ErrorKind::FailedPrecondition, "leads through a link now");
    refused(fixture.restore(&parent, Some("/a/b2"), false).await, ErrorKind::Symlink, "/a is a symbolic link");
    refused(fixture.restore(&at("/z/b"), None, false).await, ErrorKind::InvalidArgument, "is no item of the trash");
    assert_eq!(fixture.items().await.len(), 1);
    fixture.check().await;
}

#[tokio::test(start_paused = true)]
async fn items_go_when_their_time_has_come() {
    let fixture = Fixture::new(1).await;
    for file in 0..250 {
        fixture.put(&format!("/f{file}"), b"x").await;
        fixture.trashed(&format!("/f{file}")).await;
    }
    tokio::time::advance(DAY / 2).await;
    fixture.mkdir("/late/below").await;
    let late = fixture.trashed("/late").await;
    tokio::time::advance(DAY / 2 - Duration::from_millis(1)).await;
    assert_eq!(fixture.expire().await, 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(fixture.namespace.expire_trash().await.unwrap(), 100, "a bounded step");
    // Another namenode goes on.
    let fixture = Fixture { namespace: fixture.with_trash(Duration::ZERO), ..fixture };
    assert_eq!(fixture.expire().await, 150);
    assert_eq!(fixture.items().await.iter().map(|item| &item.path).collect::<Vec<_>>(), [&late]);
    assert_eq!(fixture.usage("/").await, Usage { directories: 4, ..Usage::default() });
    // Off, the trash takes nothing, and what is in it keeps its time.
    fixture.put("/f", b"x").await;
    assert_eq!(fixture.trash("/f").await.unwrap(), None);
    tokio::time::advance(DAY / 2).await;
    assert_eq!(fixture.expire().await, 1);
    assert_eq!(fixture.collect().await.0, 2);
    assert_eq!(fixture.usage("/").await.directories, 2);
    fixture.check().await;
}

#[tokio::test(start_paused = true)]
async fn what_leaves_the_trash_does_not_expire() {
    let fixture = Fixture::new(0).await;
    for name in ["moved", "deleted", "below", "joined", "kept"] {
        fixture.mkdir(&format!("/{name}/sub")).await;
    }
    let moved = fixture.trashed("/moved").await;
    let deleted = fixture.trashed("/deleted").await;
    let below = fixture.trashed("/below").await;
    let kept = fixture.trashed("/kept").await;
    fixture.rename(moved.as_str(), "/m", false).await.unwrap();
    assert_eq!(fixture.trash(deleted.as_str()).await.unwrap(), None, "out of the trash for good");
    fixture.check().await;
    // As part of another item it goes and comes with that.
    fixture.rename(below.as_str(), &format!("{kept}/sub/below"), false).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.trash(&format!("{kept}/sub/below")).await.unwrap(), None);
    assert_eq!(fixture.items().await.len(), 1);
    // Its directory goes, with all items: at once by name, and their rows with the collector.
    fixture.delete("/.trash/user", true).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.items().await, []);
    tokio::time::advance(2 * DAY).await;
    assert_eq!(fixture.expire().await, 1, "what is on its way out is due too");
    assert_eq!(fixture.expire().await, 0);
    fixture.collect().await;
    fixture.check().await;
    assert_eq!(fixture.names("/m").await, ["sub"]);
    // A new one is made, and the collector takes rows as well.
    fixture.trashed("/m").await;
    fixture.delete("/.trash/user", true).await.unwrap();
    fixture.collect().await;
    fixture.check().await;
    tokio::time::advance(2 * DAY).await;
    assert_eq!(fixture.expire().await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_trash_is_the_namenodes() {
    let fixture = Fixture::new(0).await;
    fixture.put("/f", b"x").await;
    let item = fixture.trashed("/f").await;
    let new = format!("/.trash/user/{}", item.name().unwrap());
    let namespace = &fixture.namespace;
    let kind = ErrorKind::InvalidArgument;
    for path in ["/.trash/x", "/.trash/user/x"] {
        for parents in [false, true] {
            let options = MkdirOptions { parents, ..Default::default() };
            refused(namespace.mkdir(fixture.call(), at(path), options).await, kind, "made by deleting");
        }
        let options = CreateOptions { parents: true, ..Default::default() };
        refused(namespace.create(fixture.call(), at(path), options).await, kind, "made by deleting");
        let link = Symlink { path: at(path), target: "/".into() };
        refused(namespace.symlink(fixture.call(), link).await, kind, "made by deleting");
        fixture.mkdir("/d").await;
        refused(fixture.rename("/d", path, true).await, kind, "made by deleting");
    }
    let overwrite = CreateOptions { overwrite: true, ..Default::default() };
    refused(namespace.create(fixture.call(), at(&new), overwrite).await, kind, "made by deleting");
    refused(fixture.rename("/.trash", "/t", false).await, kind, "can't be renamed");
    refused(fixture.rename("/.trash/user", "/t", false).await, kind, "can't be renamed");
    refused(fixture.delete("/.trash", true).await, kind, "can't be renamed or deleted");
    refused(fixture.trash("/.trash").await, kind, "can't be renamed or deleted");
    refused(namespace.exchange(fixture.call(), at("/.trash/user"), at("/d")).await, kind, "part of the trash");
    refused(namespace.exchange(fixture.call(), at("/d"), item.clone()).await, kind, "restore it first");
    fixture.check().await;

    // Without it, its name is not free either.
    let fixture = Fixture::new(0).await;
    let options = MkdirOptions { parents: true, ..Default::default() };
    let made = fixture.namespace.mkdir(fixture.call(), at("/.trash/a/b/c"), options).await;
    refused(made, kind, "made by deleting");
    assert_eq!(fixture.items().await, []);
}

#[tokio::test(start_paused = true)]
async fn everybody_has_a_trash_of_their_own() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/pub").await;
    fixture.namespace.set_mode(fixture.call(), at("/pub"), 0o1777).await.unwrap();
    let by = |user: &str| {
        let namespace = fixture.namespace.by(Caller::new(user, ["users"]).unwrap());
        Fixture { namespace, session: fixture.session, sequence: AtomicU64::new(0) }
    };
    let (mut alice, mut eve) = (by("alice"), by("eve"));
    (alice.session, eve.session) = (fixture.other().await.session, fixture.other().await.session);
    alice.put("/pub/a", b"1").await;
    refused(eve.trash("/pub/a").await, ErrorKind::PermissionDenied, "user eve lacks owner on /pub/a");
    let item = alice.trashed("/pub/a").await;
    assert!(item.starts_with(&at("/.trash/alice")), "{item}");
    assert_eq!(alice.items().await[0].user, "alice");
    assert_eq!(alice.stat(item.as_str()).await.unwrap().owner.user, "alice");
    // Others see nothing of it, and take nothing of it.
    let denied = ErrorKind::PermissionDenied;
    refused(eve.stat(item.as_str()).await, denied, "user eve lacks x on /.trash/alice");
    refused(eve.restore(&item, Some("/pub/e"), false).await, denied, "/.trash/alice");
    refused(eve.trash(item.as_str()).await, denied, "/.trash/alice");
    let listed = eve.namespace.trash_items(Some("alice".into()), String::new(), 10).await;
    refused(listed, denied, "lacks r on /.trash/alice");
    assert_eq!(eve.items().await, []);
    let all = fixture.namespace.trash_items(Some("alice".into()), String::new(), 10).await.unwrap();
    assert_eq!(all.len(), 1);
    // Restoring needs the right to add there.
    fixture.namespace.set_mode(fixture.call(), at("/pub"), 0o755).await.unwrap();
    refused(alice.restore(&item, None, false).await, denied, "user alice lacks w on /pub");
    refused(alice.delete("/.trash/alice", true).await, denied, "lacks w on /.trash");
    alice.delete(item.as_str(), false).await.unwrap();
    fixture.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_call_moves_once() {
    let fixture = Fixture::new(0).await;
    fixture.put("/f", b"first").await;
    let call = fixture.call();
    let item = fixture.namespace.trash(call, at("/f"), false).await.unwrap();
    fixture.put("/f", b"second").await;
    let call_again = Call { slot: 0, ..call };
    let other = Call { slot: 1, ..fixture.call() };
    refused(
        fixture.namespace.trash(call_again, at("/f"), false).await,
        ErrorKind::FailedPrecondition,
        "was used for another call",
    );
    assert_eq!(fixture.namespace.trash(other, at("/f"), false).await.unwrap().map(drop), Some(()));
    fixture.put("/f", b"third").await;
    let again = fixture.namespace.trash(other, at("/f"), false).await.unwrap();
    assert_ne!(again, item);
    assert_eq!(fixture.stat("/f").await.unwrap().length, 5, "not deleted again");
    let (item, call) = (item.unwrap(), Call { slot: 2, ..fixture.call() });
    for _ in 0..2 {
        let restored = fixture.namespace.restore(call, item.clone(), Some(at("/g")), false).await.unwrap();
        assert_eq!(restored, at("/g"));
    }
    fixture.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_open_file_is_written_on_in_the_trash() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/q").await;
    fixture.namespace.set_quota(fixture.call(), at("/q"), Quota { names: Some(1), space: None }).await.unwrap();
    let created = fixture.create("/q/f").await;
    let chunk = fixture.add_chunk(&created, 0, vec![], &[1, 2, 3]).await.unwrap();
    let item = fixture.trashed("/q/f").await;
    assert_eq!(fixture.usage("/.trash").await.space, 3 * CHUNK);
    // The room in the directory is free at once, and what is restored needs some.
    fixture.put("/q/g", b"").await;
    refused(fixture.restore(&item, None, false).await, ErrorKind::QuotaExceeded, "/q may hold 1 names");
    assert_eq!(fixture.complete(&created, 9, vec![commit(&chunk, 9)]).await.unwrap(), Completion::Closed);
    assert_eq!(fixture.stat(item.as_str()).await.unwrap().length, 9);
    // One that expires under its writer takes the lease away.
    let open = fixture.create("/h").await;
    fixture.trashed("/h").await;
    tokio::time::advance(DAY).await;
    assert_eq!(fixture.expire().await, 2);
    refused(fixture.complete(&open, 0, vec![]).await, ErrorKind::LeaseLost, "closed, deleted or replaced");
    fixture.collect().await;
    fixture.check().await;
}

/// What is deleted leaves the quotas of the directories that it was in, and weighs on its user's directory in the trash.
#[tokio::test(start_paused = true)]
async fn the_trash_of_a_user_is_bounded() {
    let fixture = Fixture::new(3).await;
    let settings =
        NamespaceSettings { trash_names: Some(3), trash_bytes: Some(100), ..fixture.namespace.settings().clone() };
    let store = Arc::clone(fixture.namespace.store());
    let namespace = Namespace::new(store, settings, fixture.namespace.env.clone()).unwrap();
    let fixture = Fixture { namespace, ..fixture };
    fixture.put("/a", &[1; 10]).await;
    fixture.put("/b", &[2; 20]).await;
    fixture.put("/c", &[3; 30]).await;
    let first = fixture.trashed("/a").await;
    fixture.trashed("/b").await;
    // 3 × 10 and 3 × 20 are there; 3 × 30 are too much, and stay where they are.
    let refusal = "/c does not fit into the trash: /.trash/user may hold 100 bytes of replicas and has 90 of them";
    refused(fixture.trash("/c").await, ErrorKind::QuotaExceeded, refusal);
    assert_eq!(fixture.stat("/c").await.unwrap().length, 30);
    // Final deletes need no room, what is emptied gives some, and so does what is restored.
    fixture.delete("/c", false).await.unwrap();
    fixture.restore(&first, None, false).await.unwrap();
    fixture.put("/d", b"1").await;
    fixture.put("/e", b"").await;
    fixture.trashed("/d").await;
    fixture.trashed("/e").await;
    refused(fixture.trash("/a").await, ErrorKind::QuotaExceeded, "/.trash/user may hold 3 names and has 3");
    tokio::time::advance(DAY).await;
    assert_eq!(fixture.expire().await, 3);
    fixture.trashed("/a").await;
    // It is a quota like any other, and another user has one of its own.
    let quota = Quota { names: None, space: Some(1_000) };
    fixture.namespace.set_quota(fixture.call(), at("/.trash/user"), quota).await.unwrap();
    assert_eq!(fixture.namespace.quota(at("/.trash/user")).await.unwrap(), quota);
    assert_eq!(fixture.namespace.quota(at("/.trash")).await.unwrap(), Quota::default());
    fixture.check().await;
}
