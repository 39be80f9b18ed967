//! Datanodes with several disks, of which one is lost, full, or comes back.

use std::path::{Path, PathBuf};
use std::process::Command;

use godfs_client::{Client, CreateOptions, RemoveOptions};
use serde_json::Value;

use crate::harness::{Daemons, Flags, noise, wait_for};

/// How many disks a datanode has: folders that stand for their mount points.
const DISKS: usize = 3;

/// A cluster whose datanodes have three disks each.
fn cluster(datanodes: usize, flags: &Flags) -> Daemons {
    let mut cluster = Daemons::with(0, flags);
    for _ in 0..datanodes {
        let index = cluster.datanodes.len();
        let disks = (0..DISKS).map(|disk| disk_of(&cluster, index, disk).display().to_string());
        cluster.add_datanode_with(&["--volume", &disks.collect::<Vec<_>>().join(",")]);
    }
    cluster.wait_live(datanodes as u64);
    cluster
}

fn disk_of(cluster: &Daemons, index: usize, disk: usize) -> PathBuf {
    cluster.folder().join(format!("node-{index}-disk-{disk}"))
}

/// What the report says of the disks of a node that is named by its index.
fn volumes(report: &Value, index: usize) -> &Vec<Value> {
    report["nodes"][index]["volumes"].as_array().expect("its volumes")
}

async fn write_all(client: &Client, files: std::ops::Range<u64>, replication: u32) {
    for file in files {
        let options = CreateOptions::default().replication(replication).chunk_size(1 << 20);
        client.put(&format!("/{file}"), noise(300_000, file), options).await.expect("put");
    }
}

async fn check_all(client: &Client, files: std::ops::Range<u64>) {
    for file in files {
        let data = client.get(&format!("/{file}")).await.expect("get");
        assert!(data == noise(300_000, file), "/{file}: other bytes");
    }
}

/// How many replicas lie on a disk.
fn replicas_on(disk: &Path) -> usize {
    let output = Command::new("find").arg(disk).args(["-name", "*.chunk", "-type", "f"]).output().expect("find runs");
    String::from_utf8_lossy(&output.stdout).lines().count()
}

/// The folder of a disk is taken from under a running node, as an unmounted one is, and an empty one is there instead: the node goes on with the others, what
/// lay there is made again, a writer notices nothing, and a start takes it in again.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_lost_is_made_up_for_and_taken_in_again() {
    let mut cluster = cluster(3, &Flags { datanode: vec!["--small-replicas", "0"], ..Flags::default() });
    let client = cluster.client().await;
    write_all(&client, 0..40, 2).await;
    cluster.wait_until_whole();
    let disk = (0..DISKS).map(|disk| disk_of(&cluster, 0, disk)).max_by_key(|disk| replicas_on(disk)).expect("a disk");
    let lost = replicas_on(&disk);
    assert!(lost > 2, "{lost} replicas on the fullest of three disks");
    let options = CreateOptions::default().replication(3).chunk_size(64 << 20);
    let mut writer = client.create("/long", options).await.expect("create");
    let long = noise(24 << 20, 99);
    tokio::io::AsyncWriteExt::write_all(&mut writer, &long[..8 << 20]).await.expect("write");
    writer.hflush().await.expect("flush");

    let away = disk.with_extension("away");
    std::fs::rename(&disk, &away).expect("unmount");
    std::fs::create_dir(&disk).expect("the empty mount point");
    wait_for("the report shows the disk as failed", || {
        let report = cluster.report();
        let failed = volumes(&report, 0).iter().filter(|volume| !volume["failure"].is_null()).count();
        if failed == 1 && report["live_datanodes"] == 3 { Ok(()) } else { Err(report.to_string()) }
    });
    tokio::io::AsyncWriteExt::write_all(&mut writer, &long[8 << 20..]).await.expect("the pipeline goes on");
    tokio::io::AsyncWriteExt::shutdown(&mut writer).await.expect("close");
    wait_for("what lay there is made again", || {
        let report = cluster.report();
        let replicas: u64 = (0..3).map(|node| report["nodes"][node]["replicas"].as_u64().expect("a count")).sum();
        let whole = report["under_replicated"] == 0 && report["complete"] == true && report["repairing"] == 0;
        if whole && replicas >= 80 { Ok(()) } else { Err(report.to_string()) }
    });
    check_all(&client, 0..40).await;
    assert!(client.get("/long").await.expect("get") == long, "other bytes");
    let said = cluster.ok(&["report"]);
    assert!(said.contains("failed: ") && said.contains(disk.to_str().expect("UTF-8")), "{said}");
    // Nothing was put into the folder that stands there.
    assert_eq!(std::fs::read_dir(&disk).expect("list").count(), 0);

    // Not mounted yet: the empty folder is no new disk.
    cluster.kill_datanode(0);
    cluster.start_datanode(0);
    let report = cluster.report();
    let why = volumes(&report, 0).iter().find_map(|volume| volume["failure"].as_str()).map(ToOwned::to_owned);
    assert!(why.is_none_or(|why| why.contains("mounted")), "{report}");
    assert_eq!(std::fs::read_dir(&disk).expect("list").count(), 0);

    cluster.kill_datanode(0);
    std::fs::remove_dir(&disk).expect("the mount point");
    std::fs::rename(&away, &disk).expect("mount");
    cluster.start_datanode(0);
    wait_for("the disk is in use again, and the surplus goes", || {
        let report = cluster.report();
        let all = volumes(&report, 0).iter().all(|volume| volume["failure"].is_null());
        let whole = report["under_replicated"] == 0 && report["over_replicated"] == 0 && report["complete"] == true;
        if all && whole && report["pending_deletes"] == 0 { Ok(()) } else { Err(report.to_string()) }
    });
    check_all(&client, 0..40).await;
    cluster.kill_namenode();
    cluster.check_namenode();
}

/// Disks that fill up one after another refuse nothing that another takes; what is deleted makes room on the full ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_passed_over_and_deletes_still_work() {
    let cluster = cluster(1, &Flags { datanode: vec!["--capacity", "4MiB"], ..Flags::default() });
    let client = cluster.client().await;
    // Some 12 MiB in three disks of 4: each is full in between.
    write_all(&client, 0..30, 1).await;
    let report = cluster.report();
    assert_eq!(report["nodes"][0]["capacity_bytes"], 12 << 20, "{report}");
    check_all(&client, 0..30).await;
    let options = CreateOptions::default().replication(1).chunk_size(1 << 20);
    let error = client.put("/too-large", noise(12 << 20, 1), options.clone()).await.expect_err("all are full");
    assert_eq!(error.kind(), godfs_core::ErrorKind::StorageFull, "{error}");
    for file in 0..30 {
        client.remove(&format!("/{file}"), RemoveOptions::default()).await.expect("remove");
    }
    wait_for("room is free again", || {
        let report = cluster.report();
        let used = |volume: &Value| volume["used_bytes"].as_u64() < Some(1 << 20);
        if volumes(&report, 0).iter().all(used) { Ok(()) } else { Err(report.to_string()) }
    });
    client.put("/again", noise(6 << 20, 3), options).await.expect("there is room again");
}

/// A real file system without room, where this process may mount one: ENOSPC comes from the system, and not from a count.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_is_full_is_no_failed_disk() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (small, large) = (folder.path().join("small"), folder.path().join("large"));
    std::fs::create_dir(&small).expect("a mount point");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&small).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("not shown here: this process may not mount anything");
        return;
    }
    let _mounted = Mounted(small.clone());
    let mut cluster = Daemons::start(0);
    let disks = [small.to_str().expect("UTF-8"), large.to_str().expect("UTF-8")].join(",");
    cluster.add_datanode_with(&["--volume", &disks]);
    cluster.wait_live(1);
    let client = cluster.client().await;
    // The small one says how much it has, and is left alone when it has no more.
    write_all(&client, 0..30, 1).await;
    std::fs::write(small.join("chunks/filler"), noise(64 << 10, 1)).expect("a little more");
    write_all(&client, 30..40, 1).await;
    check_all(&client, 0..40).await;
    let report = cluster.report();
    assert!(volumes(&report, 0).iter().all(|volume| volume["failure"].is_null()), "{report}");
    for file in 0..40 {
        client.remove(&format!("/{file}"), RemoveOptions::default()).await.expect("remove");
    }
    wait_for("all is deleted", || {
        let report = cluster.report();
        if report["pending_deletes"] == 0 && report["chunks"] == 0 { Ok(()) } else { Err(report.to_string()) }
    });
    drop(cluster);
}

/// A mount of a test's own.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A daemon that has just ended may hold it for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
