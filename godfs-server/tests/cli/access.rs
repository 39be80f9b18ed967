//! Who may do what, from the command line.

use super::World;

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
    world.ok("rm -r /home/alice").await;

    world.ok("--user root:supergroup mkdir /shared").await;
    let json = world.json("stat --json /shared").await;
    assert_eq!((&json["user"], &json["group"], &json["mode"]), (&"root".into(), &"supergroup".into(), &"0755".into()));
    assert_eq!(world.ok("ls -l /").await.lines().filter(|line| line.starts_with("drwxr-xr-x ")).count(), 2);
    let shown = world.ok("stat /shared").await;
    assert!(shown.contains("owner        root\ngroup        supergroup\nmode         0755 (drwxr-xr-x)\n"), "{shown}");

    world.fails("--user a:b:c ls /", 2).await;
    let refused = world.run("--user x, --json ls /").await;
    assert!(refused.code == 2 && refused.stderr.contains("can't be the name of a user"), "{}", refused.stderr);
    let mut command = world.command(&["mkdir", "/shared/mine"]);
    let by_env = tokio::task::spawn_blocking(move || command.env("GODFS_USER", "eve").output().expect("run"));
    let refused = String::from_utf8(by_env.await.expect("joined").stderr).expect("text");
    assert!(refused.contains("user eve lacks w on /shared"), "{refused}");
}
