//! Repair: lost copies are made again, surplus ones go, flipped bits are found.

use std::path::{Path, PathBuf};

use godfs_client::CreateOptions;

use crate::harness::{Daemons, Flags, noise, wait_for};

const MIB: usize = 1 << 20;

async fn write_files(cluster: &Daemons, count: u64) -> Vec<(String, Vec<u8>)> {
    let client = cluster.client().await;
    let mut files = Vec::new();
    for number in 0..count {
        let (path, data) = (format!("/f{number}"), noise(2 * MIB + 99, number));
        client.put(&path, data.clone(), CreateOptions::default().chunk_size(MIB as u64)).await.expect("put");
        files.push((path, data));
    }
    files
}

async fn assert_all(cluster: &Daemons, files: &[(String, Vec<u8>)]) {
    let client = cluster.client().await;
    for (path, data) in files {
        assert!(client.get(path).await.expect("get") == *data, "{path} has other bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_datanodes_copies_are_made_again() {
    let mut cluster = Daemons::start(4);
    let files = write_files(&cluster, 10).await;
    cluster.kill_datanode(2);
    wait_for("the death is noticed", || {
        let report = cluster.report();
        if report["dead_datanodes"] == 1 && report["live_datanodes"] == 3 { Ok(()) } else { Err(report.to_string()) }
    });
    cluster.wait_until_whole();
    // Two more die, one after the other: three copies on the nodes that are left were needed for this.
    cluster.kill_datanode(0);
    assert_all(&cluster, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_that_returns_makes_surplus_and_the_right_copies_go() {
    let mut cluster = Daemons::with(4, &one_file_a_replica());
    let files = write_files(&cluster, 10).await;
    cluster.kill_datanode(1);
    wait_for("the death is noticed", || {
        let report = cluster.report();
        if report["live_datanodes"] == 3 { Ok(()) } else { Err(report.to_string()) }
    });
    cluster.wait_until_whole();
    cluster.start_datanode(1);
    cluster.wait_live(4);
    wait_for("no chunk has more copies than wanted, on the disks too", || {
        let report = cluster.report();
        let replicas: usize = (0..4).map(|node| replica_files(&cluster.datanode_folder(node)).len()).sum();
        let wanted = 3 * usize::try_from(report["chunks"].as_u64().expect("number")).expect("small");
        if report["complete"] == true
            && report["over_replicated"] == 0
            && report["under_replicated"] == 0
            && replicas == wanted
        {
            Ok(())
        } else {
            Err(format!("{replicas} replicas of {wanted} in {report}"))
        }
    });
    assert_all(&cluster, &files).await;
    // And any two may die.
    cluster.kill_datanode(0);
    cluster.kill_datanode(3);
    assert_all(&cluster, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_dies_during_repair() {
    let mut cluster = Daemons::start(5);
    let files = write_files(&cluster, 12).await;
    cluster.kill_datanode(0);
    wait_for("repair is owed", || {
        let report = cluster.report();
        if report["under_replicated"] != 0 { Ok(()) } else { Err(report.to_string()) }
    });
    wait_for("repair has begun, or is over", || {
        let report = cluster.report();
        if report["repairing"] != 0 || report["under_replicated"] == 0 { Ok(()) } else { Err(report.to_string()) }
    });
    cluster.kill_datanode(4);
    wait_for("both deaths are noticed", || {
        let report = cluster.report();
        if report["live_datanodes"] == 3 { Ok(()) } else { Err(report.to_string()) }
    });
    cluster.wait_until_whole();
    assert_all(&cluster, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_and_the_copy_replaced() {
    let cluster = Daemons::with(3, &one_file_a_replica());
    let files = write_files(&cluster, 3).await;
    let replica = replica_files(&cluster.datanode_folder(0)).pop().expect("a replica");
    let mut bytes = std::fs::read(&replica).expect("read");
    let at = bytes.len() - 10;
    bytes[at] ^= 0x10;
    std::fs::write(&replica, &bytes).expect("write");

    let output = cluster.godfs(&["admin", "scrub", "--now"]);
    assert_eq!(output.status.code(), Some(1), "a scrub that finds corruption must not exit 0");
    // The bad copy is replaced: by the same node once it is gone, or in place.
    wait_for("the copy is replaced and a scrub finds nothing", || {
        let report = cluster.report();
        if report["corrupt"] == 0 && report["under_replicated"] == 0 { Ok(()) } else { Err(report.to_string()) }
    });
    assert_eq!(cluster.godfs(&["admin", "scrub", "--now"]).status.code(), Some(0));
    assert_all(&cluster, &files).await;
}

/// So that files can be counted, and damaged one by one.
fn one_file_a_replica() -> Flags {
    Flags { datanode: vec!["--small-replicas", "0"], ..Flags::default() }
}

/// The finalized replica files below a datanode's folder.
pub(crate) fn replica_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.components().any(|part| part.as_os_str() == "finalized") {
                found.push(path);
            }
        }
    }
    found
}
