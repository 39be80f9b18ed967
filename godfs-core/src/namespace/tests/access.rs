//! Who may do what.

use super::*;

/// A namespace with the users root (who made it), alice and bob of `staff`, and eve of nothing.
struct People {
    root: Fixture,
}

impl People {
    /// `/d` is alice's, of the group staff, with the given mode, and in it are her file `f` with one, and the directory `sub`, with the file `g` in it.
    async fn new(directory: u16, file: u16) -> Self {
        let root = Fixture::new(3).await;
        for path in ["/d", "/d/sub"] {
            root.mkdir(path).await;
        }
        for path in ["/d/f", "/d/sub/g"] {
            root.put(path, b"x").await;
        }
        for path in ["/d", "/d/sub", "/d/f", "/d/sub/g"] {
            root.give(path, "alice", "staff").await;
        }
        root.chmod("/d/f", file).await;
        root.chmod("/d", directory).await;
        Self { root }
    }

    async fn new_as(&self, user: &str) -> Fixture {
        let groups: &[&str] = match user {
            "alice" | "bob" => &["users", "staff"],
            "admin" => &["users", SUPERGROUP],
            _ => &[],
        };
        let mut other = self.root.other().await;
        other.namespace = self.root.namespace.by(Caller::new(user, groups.iter().copied()).unwrap());
        other
    }
}

impl Fixture {
    async fn give(&self, path: &str, user: &str, group: &str) {
        self.set_owner(path, Some(user), Some(group)).await.unwrap();
    }

    async fn chmod(&self, path: &str, mode: u16) {
        self.set_mode(path, mode).await.unwrap();
    }

    async fn set_owner(&self, path: &str, user: Option<&str>, group: Option<&str>) -> Result<()> {
        let new = NewOwner { user: user.map(Into::into), group: group.map(Into::into) };
        self.namespace.set_owner(self.call(), at(path), new).await
    }

    async fn set_mode(&self, path: &str, mode: u16) -> Result<()> {
        self.namespace.set_mode(self.call(), at(path), mode).await
    }

    async fn try_mkdir(&self, path: &str, parents: bool) -> Result<()> {
        let options = MkdirOptions { parents, ..Default::default() };
        self.namespace.mkdir(self.call(), at(path), options).await.map(drop)
    }

    async fn try_put(&self, path: &str, overwrite: bool) -> Result<()> {
        let options = CreateOptions { overwrite, ..Default::default() };
        self.namespace.put(self.call(), at(path), options, Bytes::new()).await.map(drop)
    }

    async fn try_open(&self, file: FileRef) -> Result<()> {
        let range = LocateRange { offset: 0, length: 1, chunks: 1 };
        self.namespace.locate(file, range).await.map(drop)
    }

    /// Makes one of the operations that the table names.
    async fn try_operation(&self, operation: &str) -> Result<()> {
        let (namespace, call, f) = (&self.namespace, self.call(), || at("/d/f"));
        match operation {
            "stat" => self.stat("/d/f").await.map(drop),
            "list" => namespace.list(at("/d"), String::new(), 1).await.map(drop),
            "usage" => namespace.usage(at("/d")).await.map(drop),
            "open" => self.try_open(FileRef::Path(f())).await,
            "open by number" => {
                let inode = self.namespace.by(Caller::system()).stat(FileRef::Path(f())).await?.inode;
                self.try_open(FileRef::Inode(inode)).await
            }
            "mkdir" => self.try_mkdir("/d/new", false).await,
            "mkdir -p" => self.try_mkdir("/d/new/deep", true).await,
            "create" => namespace.create(call, at("/d/new"), CreateOptions::default()).await.map(drop),
            "put" => self.try_put("/d/new", false).await,
            "overwrite" => self.try_put("/d/f", true).await,
            "delete" => self.delete("/d/f", false).await,
            "delete a tree" => self.delete("/d/sub", true).await,
            "rename" => self.rename("/d/f", "/d/g", false).await,
            "rename over" => self.rename("/d/sub/g", "/d/f", true).await,
            "set replication" => namespace.set_replication(call, f(), 2).await,
            "recover" => namespace.recover_lease(call, f()).await.map(drop),
            "set times" => namespace.set_times(call, f(), Times { modified_ms: Some(1), accessed_ms: None }).await,
            "append" => namespace.append(call, f()).await.map(drop),
            "set an attribute" | "set an attribute of a directory" => {
                let path = if operation.ends_with("directory") { at("/d") } else { f() };
                let xattr = SetXattr { name: "user.a".into(), value: Bytes::new(), mode: XattrMode::Any };
                namespace.set_xattr(call, path, xattr).await
            }
            "chmod" => self.set_mode("/d/f", 0o600).await,
            "chown" => self.set_owner("/d/f", Some("bob"), None).await,
            "chgrp" => self.set_owner("/d/f", None, Some("users")).await,
            other => panic!("{other}"),
        }
    }
}

/// Which right is missing: `""` when the operation may be done.
async fn missing(directory: u16, file: u16, user: &str, operation: &str) -> String {
    let people = People::new(directory, file).await;
    let fixture = people.new_as(user).await;
    let outcome = match fixture.try_operation(operation).await {
        Ok(()) => String::new(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{operation}: {error}");
            let message = error.message().to_owned();
            let words: Vec<&str> = message.split(' ').collect();
            assert_eq!(words[..3], ["user", user, "lacks"], "{message}");
            format!("{} {}", words[3], words[5].trim_end_matches(','))
        }
    };
    people.root.check().await;
    outcome
}

#[tokio::test]
async fn each_operation_needs_its_right() {
    // Of bob, who is in the group of both: what is missing with the directory's rights r, w, x and the file's r, w.
    let table = [
        ("stat", 0o010, 0o000, ""),
        ("stat", 0o060, 0o060, "x /d"),
        ("list", 0o050, 0o000, ""),
        ("list", 0o030, 0o000, "r /d"),
        ("list", 0o060, 0o000, "x /d"),
        ("usage", 0o030, 0o000, "r /d"),
        ("usage", 0o050, 0o000, ""),
        ("open", 0o010, 0o040, ""),
        ("open", 0o010, 0o030, "r /d/f"),
        ("open", 0o060, 0o070, "x /d"),
        ("open by number", 0o010, 0o040, ""),
        ("open by number", 0o010, 0o030, "r /d/f"),
        ("open by number", 0o060, 0o070, "x /d"),
        ("mkdir", 0o030, 0o000, ""),
        ("mkdir", 0o050, 0o000, "w /d"),
        ("mkdir", 0o020, 0o000, "x /d"),
        ("mkdir -p", 0o030, 0o000, ""),
        ("mkdir -p", 0o050, 0o000, "w /d"),
        ("create", 0o030, 0o000, ""),
        ("create", 0o050, 0o000, "w /d"),
        ("put", 0o050, 0o000, "w /d"),
        ("overwrite", 0o030, 0o020, ""),
        ("overwrite", 0o050, 0o020, "w /d"),
        ("overwrite", 0o030, 0o040, "w /d/f"),
        ("overwrite", 0o1030, 0o060, "owner /d/f"),
        ("delete", 0o030, 0o000, ""),
        ("delete", 0o050, 0o070, "w /d"),
        ("delete", 0o1030, 0o070, "owner /d/f"),
        ("delete a tree", 0o030, 0o000, "w /d/sub"),
        ("rename", 0o030, 0o000, ""),
        ("rename", 0o050, 0o070, "w /d"),
        ("rename", 0o1030, 0o070, "owner /d/f"),
        ("rename over", 0o030, 0o070, "w /d/sub"),
        ("set replication", 0o010, 0o020, ""),
        ("set replication", 0o010, 0o050, "w /d/f"),
        ("recover", 0o010, 0o020, ""),
        ("recover", 0o010, 0o050, "w /d/f"),
        ("append", 0o010, 0o060, ""),
        ("append", 0o010, 0o050, "w /d/f"),
        ("append", 0o010, 0o020, "r /d/f"),
        ("set times", 0o010, 0o020, ""),
        ("set times", 0o010, 0o050, "w /d/f"),
        ("set an attribute", 0o010, 0o020, ""),
        ("set an attribute", 0o010, 0o050, "w /d/f"),
        ("set an attribute of a directory", 0o030, 0o000, ""),
        ("set an attribute of a directory", 0o1030, 0o000, "owner /d"),
        ("chmod", 0o070, 0o070, "owner /d/f"),
        ("chown", 0o070, 0o070, "superuser /d/f"),
        ("chgrp", 0o070, 0o070, "owner /d/f"),
    ];
    for (operation, directory, file, expected) in table {
        let found = missing(directory, file, "bob", operation).await;
        assert_eq!(found, expected, "{operation} in {directory:o} on {file:o}");
        // A member of the supergroup is never asked.
        assert_eq!(missing(directory, file, "admin", operation).await, "", "{operation}");
    }
}

#[tokio::test]
async fn the_first_class_that_fits_decides() {
    // The owner has the owner's bits, also where the group has more.
    assert_eq!(missing(0o070, 0o777, "alice", "stat").await, "x /d");
    assert_eq!(missing(0o700, 0o077, "alice", "open").await, "r /d/f");
    // So has the group, and all others theirs.
    assert_eq!(missing(0o705, 0o777, "bob", "stat").await, "x /d");
    assert_eq!(missing(0o705, 0o077, "eve", "open").await, "");
    assert_eq!(missing(0o770, 0o777, "eve", "stat").await, "x /d");
    // What only the owner may do, and not everything of it.
    for operation in ["set times", "chmod", "chgrp"] {
        assert_eq!(missing(0o700, 0o000, "alice", operation).await, "", "{operation}");
    }
    assert_eq!(missing(0o700, 0o000, "alice", "chown").await, "superuser /d/f");
    assert_eq!(missing(0o1700, 0o000, "alice", "delete").await, "");
    assert_eq!(missing(0o700, 0o000, "alice", "delete a tree").await, "");
}

#[tokio::test]
async fn refusals_name_path_user_and_right() {
    let people = People::new(0o750, 0o640).await;
    let eve = people.new_as("eve").await;
    let why = "user eve lacks x on /d, which is alice:staff with mode 0750";
    refused(eve.stat("/d/f").await, ErrorKind::PermissionDenied, why);
    refused(eve.stat("/d/nothing").await, ErrorKind::PermissionDenied, why);
    refused(eve.delete("/d", true).await, ErrorKind::PermissionDenied, "user eve lacks w on /, which is user:users");
}

#[tokio::test]
async fn what_is_made_belongs_to_its_maker() {
    let people = People::new(0o777, 0o644).await;
    let bob = people.new_as("bob").await;
    let status = |path: &'static str| {
        let root = &people.root;
        async move {
            let Owner { user, group, mode } = root.stat(path).await.unwrap().owner;
            format!("{user}:{group} {mode:o}")
        }
    };
    bob.try_mkdir("/d/new/deep", true).await.unwrap();
    bob.try_put("/d/new/f", false).await.unwrap();
    assert_eq!(status("/d/new").await, "bob:users 755");
    assert_eq!(status("/d/new/deep").await, "bob:users 755");
    assert_eq!(status("/d/new/f").await, "bob:users 644");

    // Another umask; parents stay passable for their maker.
    let mode = NewMode { mode: Some(0o1777), umask: 0o077 };
    bob.namespace.mkdir(bob.call(), at("/d/private"), MkdirOptions { parents: false, mode }).await.unwrap();
    assert_eq!(status("/d/private").await, "bob:users 1700");

    // A directory with set-group-id hands on its group, and to directories the bit.
    people.root.chmod("/d", 0o2777).await;
    bob.try_mkdir("/d/shared", false).await.unwrap();
    bob.try_put("/d/shared/f", false).await.unwrap();
    assert_eq!(status("/d/shared").await, "bob:staff 2755");
    assert_eq!(status("/d/shared/f").await, "bob:staff 644");

    // Who is in no group gets the directory's; the namenode itself makes what belongs to the directory's owner.
    let eve = people.new_as("eve").await;
    eve.try_put("/d/eve", false).await.unwrap();
    assert_eq!(status("/d/eve").await, "eve:staff 644");
    let mut system = people.root.other().await;
    system.namespace = people.root.namespace.by(Caller::system());
    system.try_put("/d/system", false).await.unwrap();
    assert_eq!(status("/d/system").await, "alice:staff 644");
    people.root.check().await;
}

#[tokio::test]
async fn owners_groups_and_modes_change_hands() {
    let people = People::new(0o755, 0o640).await;
    let (alice, bob) = (people.new_as("alice").await, people.new_as("bob").await);
    let before = people.root.stat("/d/f").await.unwrap();
    alice.chmod("/d/f", 0o4755).await;
    alice.set_owner("/d/f", Some("alice"), Some("users")).await.unwrap();
    let after = people.root.stat("/d/f").await.unwrap();
    assert_eq!(after.owner, Owner { user: "alice".into(), group: "users".into(), mode: 0o4755 });
    assert!(after.version > before.version);
    // To a group that she is no member of, only the superuser.
    let foreign = alice.set_owner("/d/f", None, Some("wheel")).await;
    refused(foreign, ErrorKind::PermissionDenied, "user alice lacks superuser on /d/f");
    people.root.give("/d/f", "bob", "wheel").await;
    // Without membership the bit that would act for the group is not set.
    bob.chmod("/d/f", 0o2755).await;
    assert_eq!(people.root.stat("/d/f").await.unwrap().owner.mode, 0o755);
    refused(alice.set_mode("/d/f", 0o777).await, ErrorKind::PermissionDenied, "lacks owner");
    // The root, which nobody made.
    people.root.chmod("/", 0o1777).await;
    bob.try_put("/bobs", false).await.unwrap();
    refused(alice.delete("/bobs", false).await, ErrorKind::PermissionDenied, "lacks owner on /bobs");

    refused(alice.set_mode("/d/f", 0o10000).await, ErrorKind::InvalidArgument, "beyond 7777");
    for name in ["", "a:b", "x\ny"] {
        refused(people.root.set_owner("/d/f", Some(name), None).await, ErrorKind::InvalidArgument, "name of a user");
        refused(people.root.set_owner("/d/f", None, Some(name)).await, ErrorKind::InvalidArgument, "name of a group");
    }
    people.root.check().await;
}

#[tokio::test]
async fn a_lease_is_right_enough() {
    let people = People::new(0o777, 0o644).await;
    let bob = people.new_as("bob").await;
    let mode = NewMode { mode: Some(0), umask: 0 };
    let options = CreateOptions { mode, publish_on_close: true, ..Default::default() };
    let created = bob.namespace.create(bob.call(), at("/d/new"), options).await.unwrap();
    let chunk = bob.add_chunk(&created, 0, vec![], &[1, 2]).await.unwrap();
    // Its writer finds the nodes of a file that nobody may read, as long as it writes it.
    bob.try_open(FileRef::Inode(created.inode)).await.unwrap();
    people.root.chmod("/d", 0o700).await;
    assert_eq!(bob.complete(&created, 5, vec![commit(&chunk, 5)]).await.unwrap(), Completion::Closed);
    people.root.chmod("/d", 0o777).await;
    refused(bob.try_open(FileRef::Path(at("/d/new"))).await, ErrorKind::PermissionDenied, "lacks r on /d/new");
    people.root.check().await;
}

/// What came to stand under the name while the file was written is not the writer's to replace, unless it would have been at first.
#[tokio::test]
async fn publishing_asks_about_what_it_replaces() {
    for (directory, mode, missing) in
        [(0o1777, 0o666, "lacks owner on /d/new"), (0o777, 0o644, "lacks w on /d/new"), (0o777, 0o666, "")]
    {
        let people = People::new(directory, 0o644).await;
        let (bob, eve) = (people.new_as("bob").await, people.new_as("eve").await);
        let options = CreateOptions { overwrite: true, publish_on_close: true, ..Default::default() };
        let created = bob.namespace.create(bob.call(), at("/d/new"), options).await.unwrap();
        eve.try_put("/d/new", false).await.unwrap();
        eve.chmod("/d/new", mode).await;
        let outcome = bob.complete(&created, 0, vec![]).await;
        let owner = people.root.stat("/d/new").await.unwrap().owner.user;
        if missing.is_empty() {
            assert_eq!(outcome.unwrap(), Completion::Closed);
            assert_eq!(owner, "bob");
        } else {
            refused(outcome, ErrorKind::PermissionDenied, missing);
            assert_eq!(owner, "eve");
        }
        people.root.check().await;
    }
}

#[tokio::test]
async fn a_sticky_directory_with_entries_of_others_is_not_deleted() {
    let people = People::new(0o777, 0o644).await;
    people.root.chmod("/d/sub", 0o1777).await;
    let bob = people.new_as("bob").await;
    refused(bob.delete("/d/sub", true).await, ErrorKind::PermissionDenied, "lacks owner on /d/sub");
    people.new_as("alice").await.delete("/d/sub", true).await.unwrap();
    people.root.check().await;
}

/// What is gone is not looked at by number: the directories that kept it from others are no longer above it. Who has it open reads on.
#[tokio::test]
async fn what_was_deleted_is_its_owners() {
    let people = People::new(0o700, 0o644).await;
    let (alice, bob) = (people.new_as("alice").await, people.new_as("bob").await);
    let file = FileRef::Inode(people.root.stat("/d/f").await.unwrap().inode);
    let below = FileRef::Inode(people.root.stat("/d/sub/g").await.unwrap().inode);
    refused(bob.namespace.stat(file.clone()).await, ErrorKind::PermissionDenied, "lacks x on /d");
    people.root.delete("/d", true).await.unwrap();
    for gone in [&file, &below] {
        refused(bob.namespace.stat(gone.clone()).await, ErrorKind::NotFound, "does not exist");
        alice.namespace.stat(gone.clone()).await.unwrap();
        people.root.namespace.stat(gone.clone()).await.unwrap();
        bob.try_open(gone.clone()).await.unwrap();
    }
    people.root.check().await;
}

/// A writer that may not read finds the chunks of its file, and of one that is being cut.
#[tokio::test]
async fn who_may_write_finds_what_is_being_written() {
    let people = People::new(0o777, 0o644).await;
    people.root.file("/big", 2 * CHUNK, &[1, 2]).await;
    people.root.chmod("/big", 0o622).await;
    let bob = people.new_as("bob").await;
    let inode = FileRef::Inode(people.root.stat("/big").await.unwrap().inode);
    refused(bob.try_open(inode.clone()).await, ErrorKind::PermissionDenied, "lacks r on /big");
    bob.namespace.append(bob.call(), at("/big")).await.unwrap();
    bob.try_open(inode.clone()).await.unwrap();
    // Not the bytes of a small file.
    people.root.put("/small", b"secret").await;
    people.root.chmod("/small", 0o622).await;
    people.root.namespace.append(people.root.call(), at("/small")).await.unwrap();
    refused(bob.try_open(FileRef::Path(at("/small"))).await, ErrorKind::PermissionDenied, "lacks r on /small");
}

#[tokio::test]
async fn checks_can_be_turned_off() {
    let people = People::new(0o000, 0o000).await;
    let store = Arc::clone(people.root.namespace.store());
    let settings = NamespaceSettings { permissions: false, ..people.root.namespace.settings().clone() };
    let mut eve = people.root.other().await;
    eve.namespace = Namespace::new(store, settings, Env::simulated(2)).unwrap().by(Caller::anonymous());
    eve.try_put("/d/new", false).await.unwrap();
    eve.give("/d/f", "eve", "eve").await;
    assert_eq!(eve.stat("/d/new").await.unwrap().owner.user, ANONYMOUS, "owners are kept all the same");
}

#[tokio::test]
async fn the_superuser_is_who_made_the_cluster() {
    let people = People::new(0o700, 0o600).await;
    // Also when the root has come to belong to somebody else, and for another namenode.
    people.root.give("/", "alice", "staff").await;
    let store = Arc::clone(people.root.namespace.store());
    let second = Namespace::new(store, people.root.namespace.settings().clone(), Env::simulated(2)).unwrap();
    let as_user = |user: &str| second.by(Caller::new(user, [""; 0]).unwrap());
    as_user("user").stat(FileRef::Path(at("/d/f"))).await.unwrap();
    as_user("user").require_superuser("scrub").await.unwrap();
    refused(
        as_user("bob").require_superuser("scrub").await,
        ErrorKind::PermissionDenied,
        "bob lacks superuser for scrub",
    );
    let refusal = as_user("bob").stat(FileRef::Path(at("/d/f"))).await;
    refused(refusal, ErrorKind::PermissionDenied, "lacks x on /d");
}
