//! Who may do what, from the command line.

use serde_json::json;

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn modes_and_owners_are_set() {
    let world = World::new().await;
    world.write("a", "1");
    world.ok("mkdir -p /d/e").await;
    world.ok("put a /d/a").await;
    world.ok("chmod 1750 /d").await;
    world.ok("chmod -R g=u,o= /d/e /d/a").await;
    world.ok("chown -R alice:staff /d").await;
    world.ok("chgrp dev /d/a").await;
    world.ok("chown bob /d/e").await;
    let shown = async |path: &str| {
        let stat = world.json(&format!("stat --json {path}")).await;
        let text = |key: &str| stat[key].as_str().expect("text").to_owned();
        format!("{}:{} {}", text("user"), text("group"), text("mode"))
    };
    assert_eq!(shown("/d").await, "alice:staff 1750");
    assert_eq!((shown("/d/e").await, shown("/d/a").await), ("bob:staff 0770".into(), "alice:dev 0660".into()));
    // Her own files are hers to change, and to give to a group of hers.
    world.ok("--user alice:users,staff chmod -R u+rwX,go-rwx /d/a").await;
    world.ok("--user alice:users chgrp users /d/a").await;
    assert_eq!(shown("/d/a").await, "alice:users 0600");
    world.fails("--user alice:staff chown carol /d/a", 5).await;
    world.fails("--user alice:staff chgrp dev /d/a", 5).await;
    let refused = world.fails("--user alice:staff chmod -R 700 /d", 5).await;
    assert!(refused.contains("user alice lacks owner on /d/e"), "{refused}");
    assert_eq!(shown("/d").await, "alice:staff 0700", "the rest is done");
    for line in ["chmod 8 /d", "chmod u+q /d", "chown a:b:c /d", "chown : /d", "chmod 750", "chmod 77777 /d"] {
        assert_eq!(world.run(line).await.code, 2, "{line}");
    }
    world.fails("chmod 750 /none", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_shown_and_changed() {
    let world = World::new().await;
    world.write("a", "secret");
    world.ok("mkdir -p /d/e").await;
    world.ok("put a /d/a").await;
    world.ok("chown -R alice:staff /d").await;
    world.ok("chmod -R go= /d").await;
    world.fails("--user bob cat /d/a", 5).await;
    world.ok("--user alice:staff setfacl -R -m user:bob:r-x,default:user:bob:r-x /d").await;
    assert_eq!(world.ok("--user bob cat /d/a").await, "secret");
    let list =
        "# file: /d/a\n# owner: alice\n# group: staff\nuser::rw-\nuser:bob:r-x\ngroup::---\nmask::r-x\nother::---\n";
    assert_eq!(world.ok("getfacl /d/a").await, list);
    assert!(world.ok("ls -l /d").await.contains("-rw-r-x---+"));
    let json = world.json("getfacl --json /d/e").await;
    assert_eq!(json["entries"][1], json!("user:bob:r-x"));
    assert_eq!((json["entries"].as_array().map(Vec::len), &json["mode"]), (Some(10), &json!("0750")));
    world.ok("put a /d/e/new").await;
    assert!(world.ok("getfacl /d/e/new").await.contains("user:bob:r-x\t#effective:r--\n"));
    // chmod sets the mask.
    world.ok("chmod g= /d/a").await;
    world.fails("--user bob cat /d/a", 5).await;
    world.ok("setfacl -x user:bob /d/a").await;
    world.ok("setfacl -k /d/e").await;
    assert_eq!(world.json("getfacl --json /d/e").await["entries"].as_array().map(Vec::len), Some(5));
    world.ok("setfacl -R -b /d").await;
    assert_eq!(world.json("stat --json /d/e").await["acl"], json!(false));
    world.ok("setfacl --set user::rwx,group::r-x,group:dev:rwx,other::--- /d").await;
    assert_eq!(world.json("stat --json /d").await["mode"], json!("0770"));
    world.fails("--user bob setfacl -b /d", 5).await;
    world.fails("setfacl -m default:user::rwx /d/a", 2).await;
    world.fails("setfacl -m user:x:rwz /d/a", 2).await;
    world.fails("setfacl -m user:x:r--,user:x:rw- /d/a", 2).await;
    let many: Vec<String> = (0..40).map(|n| format!("user:u{n}:r--")).collect();
    world.fails(&format!("setfacl -m {} /d/a", many.join(",")), 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_shown_and_changed() {
    let world = World::new().await;
    world.write("a", "1");
    world.ok("mkdir /d").await;
    world.ok("put a /d/a").await;
    world.ok("setfattr -R -n user.origin -v run-17 /d").await;
    world.ok("setfattr -n user.digest -v 0x00ff /d/a").await;
    world.ok("setfattr -n trusted.t /d/a").await;
    assert_eq!(world.ok("getfattr /d").await, "# file: /d\nuser.origin\n\n");
    let all = "# file: /d/a\ntrusted.t=\"\"\nuser.digest=0sAP8=\nuser.origin=\"run-17\"\n\n";
    assert_eq!(world.ok("getfattr -d /d/a").await, all);
    assert_eq!(world.ok("--user bob getfattr /d/a").await, "# file: /d/a\nuser.digest\nuser.origin\n\n");
    assert_eq!(world.run("getfattr -n user.digest --only-values /d/a").await.stdout, [0, 255]);
    let expected = json!({"path": "/d/a", "attributes": [{"name": "user.digest", "value": null, "base64": "AP8="}]});
    assert_eq!(world.json("getfattr --json -n user.digest /d/a").await, expected);
    world.fails("setfattr --create -n user.origin -v x /d/a", 4).await;
    world.fails("setfattr --replace -n user.none -v x /d/a", 3).await;
    world.ok("setfattr --replace -n user.origin -v x /d/a").await;
    world.ok("setfattr -x user.digest /d/a").await;
    world.fails("setfattr -x user.digest /d/a", 3).await;
    world.fails("getfattr -n user.digest /d/a", 3).await;
    world.fails("setfattr -n system.x /d/a", 5).await;
    world.fails("setfattr -n user. /d/a", 2).await;
    world.fails("--user bob setfattr -n user.x /d/a", 5).await;
    world.fails(&format!("setfattr -n user.x -v {} /d/a", "x".repeat((16 << 10) + 1)), 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_keep_their_files_to_themselves() {
    let world = World::new().await;
    world.write("a", "secret");
    world.ok("mkdir /home").await;
    // Whoever started the cluster does as it pleases; others may not write in the root.
    let refused = world.fails("--user alice:staff mkdir /alice", 5).await;
    assert!(refused.contains("permission denied: user alice lacks w on /, which is "), "{refused}");
    world.ok("--user root:supergroup mkdir /home/alice").await;
    world.fails("--user alice:staff put a /home/alice/a", 5).await;
    world.ok("rm -r --skip-trash /home/alice").await;

    world.ok("--user root:supergroup mkdir /shared").await;
    let json = world.json("stat --json /shared").await;
    assert_eq!((&json["user"], &json["group"], &json["mode"]), (&"root".into(), &"supergroup".into(), &"0755".into()));
    assert_eq!(world.ok("ls -l /").await.lines().filter(|line| line.starts_with("drwxr-xr-x ")).count(), 2);
    let shown = world.ok("stat /shared").await;
    assert!(shown.contains("owner        root\ngroup        supergroup\nmode         0755 (drwxr-xr-x)\n"), "{shown}");

    // What may not be listed is named, and the rest is found.
    world.ok("mkdir -m 700 /shared/closed").await;
    world.ok("mkdir /shared/open").await;
    for verb in ["find", "tree", "ls -R"] {
        let ran = world.run(&format!("--user eve {verb} /shared")).await;
        let found = String::from_utf8(ran.stdout).expect("text");
        assert!(found.contains("closed") && found.contains("open"), "{found}");
        assert_eq!((ran.code, ran.stderr.lines().count()), (5, 1), "{}", ran.stderr);
        assert!(ran.stderr.contains("user eve lacks r on /shared/closed"), "{}", ran.stderr);
    }
    // So it is with changes: what lies behind the closed directory is changed.
    world.ok("mkdir /shared/b /shared/z").await;
    world.ok("put a /shared/b/a").await;
    world.ok("put a /shared/z/a").await;
    world.ok("chown -R eve:users /shared").await;
    world.ok("chown root /shared/closed").await;
    let status = async |path: &str| world.json(&format!("stat --json {path}")).await;
    for (verb, key, value) in [
        ("chmod -R u+x", "mode", json!("0744")),
        ("chgrp -R staff", "group", json!("staff")),
        ("setrep -r 2", "replication", json!(2)),
        ("setfattr -R -n user.x -v y", "", json!(null)),
    ] {
        let ran = world.run(&format!("--user eve:users,staff {verb} /shared")).await;
        assert_eq!(ran.code, 5, "{verb}: {}", ran.stderr);
        assert!(ran.stderr.contains("user eve lacks r on /shared/closed"), "{verb}: {}", ran.stderr);
        for path in ["/shared/b/a", "/shared/z/a"] {
            assert!(key.is_empty() || status(path).await[key] == value, "{verb}: {path}");
        }
    }
    world.ok("getfattr -n user.x /shared/z/a").await;
    world.ok("chown -R root:supergroup /shared").await;
    world.ok("rm -r --skip-trash /shared/b /shared/z").await;
    world.ok("rm -r --skip-trash /shared/closed /shared/open").await;

    world.fails("--user a:b:c ls /", 2).await;
    let refused = world.run("--user x, --json ls /").await;
    assert!(refused.code == 2 && refused.stderr.contains("can't be the name of a user"), "{}", refused.stderr);
    let mut command = world.command(&["mkdir", "/shared/mine"]);
    let by_env = tokio::task::spawn_blocking(move || command.env("GODFS_USER", "eve").output().expect("run"));
    let refused = String::from_utf8(by_env.await.expect("joined").stderr).expect("text");
    assert!(refused.contains("user eve lacks w on /shared"), "{refused}");
}
