//! Backups of a running cluster, and the tools for metadata that nobody serves.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Ran, World, noise};

/// Runs `godfs-namenode` with the words of `line`.
async fn namenode(world: &World, line: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godfs-namenode"));
    command.args(line.split(' ')).current_dir(world.local.path()).stdin(Stdio::null()).env_remove("GODFS_DIR");
    let ran = tokio::task::spawn_blocking(move || command.output().expect("run"));
    Ran::from(ran.await.expect("joined"))
}

async fn json(world: &World, line: &str, code: i32) -> Value {
    let ran = namenode(world, line).await;
    assert_eq!(ran.code, code, "{line}: {}", ran.stderr);
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_cluster_is_imported_and_checked() {
    let world = World::new().await;
    world.write("small", "bytes");
    world.write("large", noise(300_000));
    for line in ["mkdir -p /a/b", "put small /a/small", "put --chunk-size 64K large /a/b/large"] {
        world.ok(line).await;
    }
    let saved = world.json("admin backup saved --json").await;
    assert_eq!((&saved["files"], &saved["directories"], &saved["chunks"]), (&2.into(), &2.into(), &5.into()));
    assert_eq!(saved["bytes"].as_u64(), Some(world.read("saved").len() as u64));
    world.fails("admin backup saved", 4).await;
    world.ok("admin backup -f saved").await;
    let refused = world.fails("--user eve:users admin backup other", 5).await;
    assert!(refused.contains("user eve lacks superuser for an export of the metadata"), "{refused}");
    assert_eq!(world.names("."), ["large", "saved", "small"], "nothing is left of what failed");

    let manifest = json(&world, "import --dir restored --json saved", 0).await;
    assert_eq!((&manifest["files"], &manifest["cluster_id"]), (&2.into(), &saved["cluster_id"]));
    let checked = json(&world, "check --dir restored --json", 0).await;
    assert_eq!(checked["clean"], true);
    assert!(checked["invariants"].as_array().is_some_and(|all| all.len() >= 19));
    let shown = namenode(&world, "check --dir restored").await;
    assert!(String::from_utf8_lossy(&shown.stdout).contains("usage_is_the_sum"), "a line for each");
    assert_eq!(json(&world, "export --dir restored --json again", 0).await["chunks"], 5);
    assert_eq!(namenode(&world, "export --dir restored again").await.code, 2, "a file that exists stays");

    // What is damaged leaves nothing; what is in use or holds something is left alone.
    let mut bytes = world.read("saved");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.write("flipped", &bytes);
    world.write("cut", &world.read("saved")[..middle]);
    for file in ["flipped", "cut", "small"] {
        let ran = namenode(&world, &format!("import --dir damaged {file}")).await;
        assert!(ran.code == 2 && ran.stderr.contains("the export can't be used"), "{file}: {}", ran.stderr);
        assert!(!world.local.path().join("damaged").exists(), "{file}");
    }
    let ran = namenode(&world, "import --dir restored saved").await;
    assert!(ran.code == 2 && world.local.path().join("restored").exists(), "{}", ran.stderr);
    let ran = namenode(&world, &format!("check --dir {}", world.cluster.folder().join("namenode").display())).await;
    assert!(ran.code == 2 && ran.stderr.contains("is open in another process"), "{}", ran.stderr);
}
