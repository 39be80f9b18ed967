//! How daemons start, refuse, and leave.

use std::net::TcpListener;
use std::process::Command;

use godfs_client::{Client, CreateOptions, RemoveOptions};
use godfs_core::ErrorKind;

use crate::harness::{Daemon, Daemons, Flags, noise, path, wait_for};

#[test]
fn daemons_drain_and_leave_with_zero() {
    let mut cluster = Daemons::start(2);
    for datanode in cluster.datanodes.iter_mut().flatten() {
        assert_eq!(datanode.terminate(), Some(0));
    }
    assert_eq!(cluster.namenode.as_mut().expect("running").terminate(), Some(0));
}

#[test]
fn an_empty_folder_becomes_a_cluster_only_when_told() {
    let folder = tempfile::tempdir().expect("folder");
    let log = folder.path().join("log");
    let dir = path(&folder.path().join("nn"));
    let Err(error) = Daemon::start("godfs-namenode", &log, &["--dir", &dir, "--listen", "127.0.0.1:0"]) else {
        panic!("an empty folder became a cluster")
    };
    assert!(error.contains("--init"), "{error}");
    let first = Daemon::start("godfs-namenode", &log, &["--init", "--dir", &dir, "--listen", "127.0.0.1:0"]);
    drop(first.expect("with --init"));
    Daemon::start("godfs-namenode", &log, &["--init", "--dir", &dir, "--listen", "127.0.0.1:0"])
        .expect("--init on a folder that holds a cluster just starts it");
}

#[test]
fn a_folder_is_used_by_one_process() {
    let cluster = Daemons::start(1);
    let log = cluster.folder().join("second.log");
    let dir = path(&cluster.folder().join("namenode"));
    let Err(error) = Daemon::start("godfs-namenode", &log, &["--dir", &dir, "--listen", "127.0.0.1:0"]) else {
        panic!("two namenodes on one folder")
    };
    assert!(error.contains("namenode"), "{error}");
}

#[test]
fn a_datanode_of_another_cluster_is_refused_with_both_ids() {
    let (one, mut other) = (Daemons::start(1), Daemons::start(1));
    other.kill_datanode(0);
    let dir = path(&other.datanode_folder(0));
    let log = other.folder().join("stray.log");
    let args = ["--dir", &dir, "--namenode", one.address(), "--listen", "127.0.0.1:0"];
    let Err(error) = Daemon::start("godfs-datanode", &log, &args) else { panic!("joined another cluster") };
    for id in [one.report()["cluster_id"].as_str(), other.report()["cluster_id"].as_str()] {
        assert!(error.contains(id.expect("an id")), "{error}");
    }
}

#[test]
fn an_unmounted_disk_is_not_taken_for_a_new_node() {
    let cluster = Daemons::start(1);
    let log = cluster.folder().join("empty.log");
    let empty = path(&cluster.folder().join("not-mounted"));
    let mut args = vec!["--dir", &empty, "--namenode", cluster.address(), "--listen", "127.0.0.1:0"];
    args.extend(["--expect-node", "1"]);
    let Err(error) = Daemon::start("godfs-datanode", &log, &args) else { panic!("an empty folder passed for node 1") };
    assert!(error.contains("node 1") && error.contains("mounted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_fails_soon_and_says_which() {
    let free = TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    let started = crate::harness::now();
    let error = match Client::connect(&format!("godfs://{free}")).await {
        Ok(client) => client.stat("/").await.expect_err("nobody is there"),
        Err(error) => error,
    };
    assert!(started.elapsed().as_secs() < 6, "took {:?}", started.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains(&free.to_string()), "{error}");
    let output = Command::new(env!("CARGO_BIN_EXE_godfs"))
        .args(["--fs", &format!("godfs://{free}"), "ls", "/"])
        .output()
        .expect("godfs runs");
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_datanode_is_passed_over_and_a_full_cluster_says_so() {
    let mut cluster = Daemons::with(2, &Flags { datanode: vec!["--capacity", "4MiB"], ..Flags::default() });
    cluster.start_large_datanode();
    cluster.wait_live(3);
    let client = cluster.client().await;
    let two = CreateOptions::default().replication(1).chunk_size(1 << 20);
    let data = noise(20 << 20, 1);
    // Far more than two of the three have room for: the third takes it.
    client.put("/large", data.clone(), two.clone()).await.expect("the roomy node takes it");
    assert!(client.get("/large").await.expect("get") == data, "other bytes");
    // And more than all have.
    let error = client.put("/too-large", noise(80 << 20, 2), two.clone()).await.expect_err("nobody has room");
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    client.remove("/large", RemoveOptions::default()).await.expect("a full cluster still deletes");
    wait_for("room is free again", || {
        let report = cluster.report();
        if report["used_bytes"].as_u64() < Some(4 << 20) { Ok(()) } else { Err(report.to_string()) }
    });
    client.put("/again", noise(10 << 20, 3), two).await.expect("there is room again");
}
