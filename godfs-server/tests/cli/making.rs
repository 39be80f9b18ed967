//! What new files and directories are made with, and their times.

use std::fs;

use super::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modes_are_given_when_things_are_made() {
    let world = World::new().await;
    fs::write(world.local.path().join("a"), "one").expect("written");
    fs::write(world.local.path().join("b"), "two").expect("written");

    world.ok("mkdir -m 1777 /tmp").await;
    world.ok("mkdir -m u=rwx,go= /own").await;
    world.ok("mkdir -p -m 700 /deep/er").await;
    for (path, mode) in [("/tmp", "1777"), ("/own", "0700"), ("/deep", "0755"), ("/deep/er", "0700")] {
        assert_eq!(world.json(&format!("stat --json {path}")).await["mode"], mode, "{path}");
    }

    world.ok("put --mode 600 a /own/").await;
    world.ok("put -m go-r b /own/b").await;
    world.ok("put -m u+x -f b /own/x").await;
    for (path, mode) in [("/own/a", "0600"), ("/own/b", "0600"), ("/own/x", "0744")] {
        assert_eq!(world.json(&format!("stat --json {path}")).await["mode"], mode, "{path}");
    }

    let ran = world.run("put a /new/er/").await;
    assert_eq!(
        (ran.code, ran.stderr.contains("--parents makes directories that are missing")),
        (3, true),
        "{}",
        ran.stderr
    );
    world.ok("put --parents a /new/er/").await;
    world.ok("put -p a /other/name").await;
    world.ok("put -p a b /both").await;
    for path in ["/new/er/a", "/other/name", "/both/a"] {
        assert_eq!(world.ok(&format!("cat {path}")).await, "one", "{path}");
    }
    assert_eq!(world.ok("cat /both/b").await, "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_set_as_asked() {
    let world = World::new().await;
    let times = async |path: &str| {
        let status = world.json(&format!("stat --json {path}")).await;
        (status["modified_ms"].as_u64().expect("a time"), status["accessed_ms"].as_u64().expect("a time"))
    };
    world.ok("touch -d 2001-02-03T04:05:06Z /new").await;
    assert_eq!(times("/new").await, (981_173_106_000, 981_173_106_000));
    world.ok("touch -m -d @7 /new").await;
    assert_eq!(times("/new").await, (7_000, 981_173_106_000));
    world.ok("touch -r /new /other /new").await;
    assert_eq!(times("/other").await, (7_000, 981_173_106_000));
    world.ok("touch -a /other").await;
    let (modified, accessed) = times("/other").await;
    assert!(modified == 7_000 && accessed > 1_700_000_000_000, "{modified} {accessed}");
    let ran = world.run("touch -r /none /third").await;
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(world.run("stat /third").await.code, 3, "nothing was made");
}
