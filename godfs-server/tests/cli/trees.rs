//! Whole trees from the command line: counts, searches, patterns.

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn listings_begin_behind_a_name_and_tell_where_files_lie() {
    let world = World::new().await;
    world.write("small", "12345");
    world.write("large", vec![1; 70_000]);
    // More chunks than come with an entry at once.
    world.write("long", vec![2; 20 * 65_536]);
    world.ok("mkdir -p /d/sub").await;
    for line in ["put small /d/a", "put large /d/b", "put --chunk-size 64K --replication 1 long /d/c", "ln -s b /d/e"] {
        world.ok(line).await;
    }
    assert_eq!(world.ok("ls --after a /d").await, "b\nc\ne\nsub\n");
    assert_eq!(world.ok("ls --after bb /d").await, "c\ne\nsub\n");
    assert_eq!(world.ok("ls --after zz /d").await, "");
    let shown = world.ok("ls --locations --after a /d").await;
    assert!(shown.starts_with("b\n  chunk ") && shown.contains(": finalized\n"), "{shown}");
    assert_eq!(shown.matches("  chunk ").count(), 1 + 20, "{shown}");
    let all = world.json("ls --locations --json /d").await;
    let chunks = |name: &str| {
        let entry = all.as_array().expect("entries").iter().find(|entry| entry["name"] == name).expect(name);
        entry.get("chunks").map(|chunks| chunks.as_array().expect("chunks").clone())
    };
    assert_eq!((chunks("a").map(|a| a.len()), chunks("sub"), chunks("e")), (Some(0), None, None));
    let b = chunks("b").expect("chunks");
    assert_eq!(
        (b.len(), b[0]["length"].as_u64(), b[0]["replicas"].as_array().expect("some").len()),
        (1, Some(70_000), 3)
    );
    let offsets: Vec<_> = chunks("c").expect("chunks").iter().map(|chunk| chunk["offset"].as_u64()).collect();
    assert_eq!(offsets, (0..20).map(|at| Some(at * 65_536)).collect::<Vec<_>>());
    assert_eq!(world.json("ls --locations --json /d/b").await[0]["chunks"], serde_json::Value::from(b));
    // Where a file lies is for those who may read it.
    world.ok("chmod 600 /d/b").await;
    let seen = world.json("--user eve:users ls --locations --json /d").await;
    let kept: Vec<_> = seen.as_array().expect("entries").iter().map(|entry| entry.get("chunks").is_some()).collect();
    assert_eq!(kept, [true, false, true, false, false]);
    assert_eq!(world.run("ls -R --after a /d").await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_counted_searched_and_matched() {
    let world = World::new().await;
    world.write("five", "12345");
    world.write("big", vec![1; 3_000]);
    for line in [
        "mkdir -p /logs/2026-01 /logs/2026-02/old /.hidden",
        "put five /logs/2026-01/a.gz",
        "put five /logs/2026-02/b.gz",
        "put big /logs/2026-02/old/c.txt",
        "put --replication 2 five /.hidden/a.gz",
        "put five /star*",
    ] {
        world.ok(line).await;
    }

    // Counts: a directory counts itself, and what lies below takes no walk.
    let usage = world.json("du -s --json /logs").await;
    assert_eq!((&usage["bytes"], &usage["files"], &usage["directories"]), (&3_010.into(), &3.into(), &4.into()));
    assert_eq!(usage["replicated_bytes"], 9_030);
    let lines = world.ok("du /logs").await;
    let last: Vec<_> = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(last[0], ["5", "15", "1", "1", "/logs/2026-01"]);
    assert_eq!((last.len(), last[2][4]), (3, "/logs"));
    assert_eq!(
        world.ok("du -h /.hidden/a.gz").await.split_whitespace().collect::<Vec<_>>(),
        ["5", "10", "1", "0", "/.hidden/a.gz"]
    );
    world.fails("du /none", 3).await;

    // Searches.
    assert_eq!(world.ok("find /logs -name *.gz -type f").await, "/logs/2026-01/a.gz\n/logs/2026-02/b.gz\n");
    assert_eq!(world.ok("find / --maxdepth 1 --type d").await, "/\n/.hidden\n/logs\n");
    assert_eq!(world.ok("find / -size +1K").await, "/logs/2026-02/old/c.txt\n");
    assert_eq!(world.ok("find /logs/2026-01 -mindepth 1 -size -6").await, "/logs/2026-01/a.gz\n");
    assert_eq!(world.json("find /logs -name c* --json").await["length"], 3_000);
    world.fails("find /none", 3).await;
    let refused = world.run("find / -name [a").await;
    assert!(refused.code == 2 && refused.stderr.contains("a [ has no ]"), "{}", refused.stderr);
    let tree = world.ok("tree /logs").await;
    assert_eq!(
        tree,
        "/logs\n    2026-01/\n        a.gz\n    2026-02/\n        b.gz\n        old/\n            c.txt\n3 directories, 3 files\n"
    );
    assert_eq!(world.ok("tree -d -L 1 /").await, "/\n    .hidden/\n    logs/\n2 directories, 0 files\n");

    // Patterns: as in a shell, hidden names only where asked for, and what matches nothing stands for itself.
    assert_eq!(world.ok("cat /logs/2026-*/*.gz").await, "1234512345");
    world.fails("ls /*/a.gz", 3).await;
    world.fails("ls /logs/*/none", 3).await;
    assert_eq!(world.ok("du -s /logs/2026-0[!1]").await.split_whitespace().last(), Some("/logs/2026-02"));
    assert_eq!(world.ok("cat /.*/a.gz").await, "12345");
    world.ok("rm /star\\*").await;
    world.fails("stat /star*", 3).await;
    world.ok("mv /logs/2026-0?/*.gz /logs").await;
    assert_eq!(world.ok("find /logs -maxdepth 1 -type f").await, "/logs/a.gz\n/logs/b.gz\n");
    world.ok("get /logs/*.gz .").await;
    assert_eq!(world.read("b.gz"), b"12345");

    // Small files are joined as all others.
    for line in ["put five /j1", "put big /j2", "put five /j3", "concat /j1 /j2 /j3"] {
        world.ok(line).await;
    }
    let joined = [&b"12345"[..], &[1; 3_000], b"12345"].concat();
    assert_eq!(world.run("cat /j1").await.stdout, joined);
    world.fails("stat /j2", 3).await;
    world.ok("truncate -s 7 /j1").await;
    assert_eq!(world.run("cat /j1").await.stdout, joined[..7]);
    world.ok("rm --skip-trash /j1").await;

    // Also in what changes the things themselves.
    world.ok("mkdir /p").await;
    for line in ["put five /p/x1", "put five /p/x2", "put five /p/y", "ln -s y /p/l1"] {
        world.ok(line).await;
    }
    world.ok("chmod 600 /p/x?").await;
    world.ok("setfattr -n user.a -v b /p/x*").await;
    world.ok("setfacl -m user:bob:r-- /p/x[2]").await;
    world.ok("truncate -s 3 /p/x?").await;
    world.ok("chown alice:staff /p/x*").await;
    world.ok("chgrp dev /p/x*").await;
    let modes = world.ok("ls -l /p").await;
    assert_eq!(modes.lines().filter(|line| line.starts_with("-rw-") && line.contains("alice    dev")).count(), 2);
    assert_eq!(world.ok("cat /p/*").await, "12345123123".to_owned() + "12345");
    assert_eq!(world.ok("getfattr -d /p/x*").await.matches("user.a=").count(), 2);
    assert_eq!(world.ok("getfacl /p/x*").await.matches("user:bob").count(), 1);
    assert_eq!(world.ok("readlink /p/l*").await, "y\n");
    world.ok("recover /p/x*").await;

    // Quotas.
    world.ok("mkdir /q").await;
    world.ok("quota set --names 2 /q").await;
    world.ok("quota set --bytes 1K /q").await;
    world.ok("put five /q/a").await;
    let refused = world.fails("put big /q/b", 5).await;
    assert!(refused.contains("quota exceeded: /q may hold 1024 bytes of replicas and has 15 of them"), "{refused}");
    world.ok("put five /q/b").await;
    let refused = world.fails("mkdir /q/c", 5).await;
    assert!(refused.contains("/q may hold 2 names and has 2 of them: 1 more do not fit"), "{refused}");
    let shown = world.json("quota show --json /q").await;
    assert_eq!((&shown["names"], &shown["names_quota"], &shown["bytes_quota"]), (&2.into(), &2.into(), &1_024.into()));
    world.fails("quota set /q", 2).await;
    world.fails("--user eve:users quota clear /q", 5).await;
    world.ok("quota clear /q").await;
    world.ok("mkdir /q/c").await;

    // The trash.
    world.ok("trash empty").await;
    world.ok("mkdir /t").await;
    world.ok("put five /t/a").await;
    world.ok("chmod 640 /t/a").await;
    world.ok("rm /t/a").await;
    world.fails("stat /t/a", 3).await;
    let item = world.json("trash list --json").await;
    let (id, path) = (item["id"].as_str().expect("an id"), item["path"].as_str().expect("a path"));
    assert_eq!((&item["original"], &item["bytes"], &item["kind"]), (&"/t/a".into(), &5.into(), &"file".into()));
    assert_eq!(item["expires_ms"].as_u64(), item["deleted_ms"].as_u64().map(|ms| ms + 86_400_000));
    assert_eq!(world.ok(&format!("cat {path}")).await, "12345");
    assert!(world.ok("trash list").await.contains(&format!("5 {id} /t/a\n")));
    world.ok("put five /t/a").await;
    let refused = world.fails(&format!("trash restore {id}"), 4).await;
    assert!(refused.contains(&format!("{path} can't be restored: /t/a exists already")), "{refused}");
    assert_eq!(world.ok(&format!("trash restore --to /t/b {id}")).await, "/t/b\n");
    assert_eq!(world.json("stat --json /t/b").await["mode"], "0640");
    world.fails(&format!("trash restore {id}"), 3).await;
    // A directory whose own parent goes too.
    world.ok("mkdir -p /t/d/e").await;
    world.ok("rm -r /t/d/e").await;
    let item = world.json("trash list --json").await["path"].as_str().expect("a path").to_owned();
    world.ok("rm -r --skip-trash /t").await;
    world.fails(&format!("trash restore {item}"), 3).await;
    assert_eq!(world.ok(&format!("trash restore -p {item}")).await, "/t/d/e\n");
    // For good.
    world.ok("rm --skip-trash -r /t/d").await;
    assert_eq!(world.ok("trash list").await, "");
    world.ok("rm -r /t").await;
    world.ok("trash empty --older-than 1h").await;
    assert_eq!(world.ok("trash list").await.lines().count(), 1);
    let user = item.split('/').nth(2).expect("/.trash/USER/ID");
    world.fails(&format!("--user eve:users trash list --of {user}"), 5).await;
    world.ok("trash empty").await;
    assert_eq!(world.ok("trash list").await, "");
    world.fails("rm -r /.trash", 2).await;

    for shell in ["bash", "zsh", "fish"] {
        let mut command = world.command(&["completions", shell]);
        let done = tokio::task::spawn_blocking(move || command.env_remove("GODFS_FS").output().expect("run"));
        let done = done.await.expect("joined");
        assert!(done.status.success() && String::from_utf8_lossy(&done.stdout).contains("checksum"), "{shell}");
    }
}
