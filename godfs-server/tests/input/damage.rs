//! Files on disk that were cut, flipped or deleted while the cluster was down: it is refused or healed, never wrong, and never empty.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use godfs_client::{Client, MkdirOptions};
use godfs_core::{ErrorKind, Result};
use godfs_server::Cluster;
use godfs_server::datanode::DatanodeSettings;
use godfs_server::namenode::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
use godfs_server::net::Listener;

use crate::harness::{CHUNK, noise, nothing_panicked, quick, reported, small_chunks, watch_for_panics};

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Deleted,
    /// Cut to so many parts of eight.
    Cut(u64),
    /// One bit flipped, so many parts of eight from the beginning; 8 is the last byte.
    Flipped(u64),
    /// One bit flipped at a place.
    FlippedAt(u64),
    /// A page of zeros at a place.
    Zeroed(u64),
}

impl Damage {
    fn to(self, path: &Path) {
        let file = || std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
        let length = || path.metadata().expect("length").len();
        match self {
            Self::Deleted => std::fs::remove_file(path).expect("delete"),
            Self::Cut(eighths) => file().set_len(length() * eighths / 8).expect("cut"),
            Self::Flipped(eighths) => flip(path, (length() * eighths / 8).min(length().saturating_sub(1))),
            Self::FlippedAt(at) => flip(path, at.min(length().saturating_sub(1))),
            Self::Zeroed(at) => file().write_all_at(&[0; 4_096], at).expect("write"),
        }
    }
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    if file.read_at(&mut byte, at).expect("read") == 1 {
        file.write_all_at(&[byte[0] ^ 0x20], at).expect("write");
    }
}

/// All files below a folder, but those that only say that it is in use.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_none_or(|name| name.to_string_lossy().to_lowercase() != "lock") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn copied(from: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("folder");
        for entry in std::fs::read_dir(from).expect("list") {
            let entry = entry.expect("entry");
            let target = to.join(entry.file_name());
            if entry.file_type().expect("type").is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).expect("copy");
            }
        }
    }
    let to = tempfile::tempdir().expect("folder");
    copy(from, to.path());
    to
}

fn small_store() -> NamenodeSettings {
    let mut settings = quick();
    settings.store.segment_bytes = 256 << 10;
    settings
}

async fn namenode(folder: &Path, init: bool) -> Result<Namenode> {
    let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
    let mut options = NamenodeOptions::new(MetadataSource::Folder(folder.to_owned()), listener);
    (options.init, options.settings) = (init, small_store());
    Namenode::start(options).await
}

/// Every name with its bytes.
async fn contents(namenode: &Namenode) -> Result<BTreeMap<String, Vec<u8>>> {
    let client = Client::connect(&format!("godfs://{}", namenode.address())).await?;
    let entries: Vec<_> = client.walk("/", godfs_client::WalkOptions::new())?.try_collect().await?;
    let mut contents = BTreeMap::new();
    for (path, status) in entries {
        let bytes = match status.kind {
            godfs_client::FileKind::File => client.get(path.as_str()).await?.to_vec(),
            _ => Vec::new(),
        };
        contents.insert(path.to_string(), bytes);
    }
    Ok(contents)
}

/// A namenode that has seen some work and was stopped, in good order or not; and what it holds.
async fn worked(folder: &Path, in_order: bool) -> BTreeMap<String, Vec<u8>> {
    let running = namenode(folder, true).await.expect("namenode");
    let client = Client::connect(&format!("godfs://{}", running.address())).await.expect("client");
    for number in 0..30_u64 {
        let path = format!("/d{}/f{number}", number % 4);
        client.mkdir(format!("/d{}", number % 4).as_str(), MkdirOptions::new().parents(true)).await.expect("mkdir");
        client.put(path.as_str(), noise(3_000, number), small_chunks(1)).await.expect("put");
    }
    let contents = contents(&running).await.expect("contents");
    assert_eq!(contents.len(), 34, "{:?}", contents.keys());
    if in_order {
        running.stop().await.expect("stop");
    } else {
        running.kill().await;
    }
    contents
}

/// Damages the files whose names begin with one of `parts`, each in every way.
async fn damaged_metadata(in_order: bool, parts: &[&str]) {
    watch_for_panics();
    let folder = tempfile::tempdir().expect("folder");
    let expected = worked(folder.path(), in_order).await;
    let unhurt = copied(folder.path());
    let running = namenode(unhurt.path(), false).await.expect("what was not damaged starts");
    assert!(contents(&running).await.expect("contents") == expected);
    running.kill().await;
    let mut outcomes = BTreeMap::new();
    for file in files(folder.path()) {
        let name = file.strip_prefix(folder.path()).expect("below").to_owned();
        if !parts.iter().any(|part| name.starts_with(part)) {
            continue;
        }
        let kinds =
            [Damage::Deleted, Damage::Cut(4), Damage::FlippedAt(20), Damage::FlippedAt(4_200), Damage::Flipped(8)];
        for damage in kinds {
            // Of what fjall has in many small files, and of what has no part in it, less will do.
            let beyond = matches!(damage, Damage::FlippedAt(at) if at >= file.metadata().expect("length").len());
            let many = name.starts_with("rows/keyspaces")
                && (!matches!(damage, Damage::Deleted | Damage::FlippedAt(20)) || name.starts_with("rows/keyspaces/3"));
            if beyond || many || name.extension().is_some_and(|extension| extension == "spare") {
                continue;
            }
            let hurt = copied(folder.path());
            damage.to(&hurt.path().join(&name));
            let case = format!("{}: {damage:?}", name.display());
            // Told to begin a new cluster, too: it must not take a damaged one for none.
            let outcome = match namenode(hurt.path(), true).await {
                Ok(running) => {
                    let outcome = contents(&running).await;
                    running.kill().await;
                    outcome
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(found) => {
                    let lost: Vec<_> =
                        expected.iter().filter(|(path, bytes)| found.get(*path) != Some(*bytes)).collect();
                    assert!(lost.is_empty(), "{case}: {} of {} are lost in silence", lost.len(), expected.len());
                    assert_eq!(found.len(), expected.len(), "{case}");
                    outcomes.insert(case, "healed".to_owned());
                }
                Err(error) => {
                    let report = error.report();
                    assert!(report.contains(&*hurt.path().to_string_lossy()), "{case}: where? {report}");
                    outcomes.insert(case, report);
                }
            }
        }
    }
    let refused = outcomes.values().filter(|outcome| *outcome != "healed").count();
    assert!(refused > 0 && refused < outcomes.len(), "{outcomes:#?}");
    nothing_panicked();
}

#[tokio::test]
async fn damaged_metadata_of_a_stopped_namenode_is_refused_or_healed() {
    damaged_metadata(true, &["store", "log", "rows"]).await;
}

#[tokio::test]
async fn damaged_metadata_of_a_killed_namenode_is_refused_or_healed() {
    damaged_metadata(false, &["store", "log"]).await;
}

/// A stopped cluster of two nodes with a file on both.
async fn stopped(data: &[u8]) -> tempfile::TempDir {
    watch_for_panics();
    let folder = tempfile::tempdir().expect("folder");
    let cluster = started(folder.path()).await.expect("cluster");
    let client = cluster.client();
    client.put("/f", data.to_vec(), small_chunks(2).chunk_size(1 << 20)).await.expect("put");
    reported(&client, "both replicas are known", |report| report.complete && report.under_replicated == 0).await;
    cluster.stop().await.expect("stop");
    folder
}

async fn started(folder: &Path) -> Result<Cluster> {
    // Each replica in a file of its own, which can be damaged as a whole.
    let datanodes = DatanodeSettings { small_replica_bytes: 0, ..DatanodeSettings::default() };
    let cluster = Cluster::builder().datanodes(2).folder(folder).namenode_settings(small_store());
    cluster.datanode_settings(datanodes).start().await
}

/// The only replica in the folder of a datanode.
fn replica(folder: &Path, node: usize) -> PathBuf {
    let mut found = files(&folder.join(format!("datanode-{node}")));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "chunk"));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[tokio::test]
async fn a_damaged_replica_is_healed_from_the_other() {
    let data = noise(3 * CHUNK as usize + 777, 8);
    let folder = stopped(&data).await;
    for damage in [
        Damage::Deleted,
        Damage::Cut(7),
        // Header, checksums, data.
        Damage::Zeroed(0),
        Damage::FlippedAt(4_100),
        Damage::Flipped(8),
    ] {
        let hurt = copied(folder.path());
        damage.to(&replica(hurt.path(), 0));
        let cluster = started(hurt.path()).await.unwrap_or_else(|error| panic!("{damage:?}: {}", error.report()));
        let client = cluster.client();
        // Whichever replica is asked first.
        for _ in 0..4 {
            let back = client.get("/f").await.unwrap_or_else(|error| panic!("{damage:?}: {}", error.report()));
            assert!(back == data, "{damage:?}: other bytes");
        }
        let mut scrub = client.scrub(None).await.expect("scrub");
        while let Some(progress) = scrub.next().await {
            progress.expect("progress");
        }
        reported(&client, &format!("{damage:?} is healed"), |report| {
            report.complete && report.under_replicated == 0 && report.corrupt == 0 && report.missing == 0
        })
        .await;
        cluster.stop().await.expect("stop");
        // The one that was hurt is as good as the other now.
        let path = replica(hurt.path(), 1);
        Damage::Deleted.to(&path);
        let cluster = started(hurt.path()).await.expect("again");
        assert!(cluster.client().get("/f").await.expect("from the healed one") == data, "{damage:?}: other bytes");
    }
    nothing_panicked();
}

#[tokio::test]
async fn when_every_replica_is_damaged_the_read_fails_and_says_so() {
    let data = noise(3 * CHUNK as usize, 9);
    let folder = stopped(&data).await;
    for damage in [Damage::Zeroed(4_096), Damage::Cut(4), Damage::Deleted] {
        let hurt = copied(folder.path());
        for node in 0..2 {
            damage.to(&replica(hurt.path(), node));
        }
        let cluster = started(hurt.path()).await.unwrap_or_else(|error| panic!("{damage:?}: {}", error.report()));
        let client = cluster.client();
        let read = tokio::time::timeout(Duration::from_secs(30), client.get("/f")).await.expect("in time");
        let error = read.expect_err("no replica is good");
        assert!(error.message().contains("/f"), "{damage:?}: {error}");
        // The name stays, and what is left of the bytes.
        assert_eq!(client.stat("/f").await.expect("stat").length, data.len() as u64);
        let mut scrub = client.scrub(None).await.expect("scrub");
        while scrub.next().await.is_some() {}
        reported(&client, &format!("{damage:?} is told"), |report| report.complete && report.missing == 1).await;
        // Nothing is deleted: what is bad in different places may still be put together.
        if !matches!(damage, Damage::Deleted) {
            replica(hurt.path(), 0);
            replica(hurt.path(), 1);
        }
    }
    nothing_panicked();
}

#[tokio::test]
async fn a_datanode_that_has_lost_itself_is_refused_or_healed() {
    let data = noise(3 * CHUNK as usize, 10);
    let folder = stopped(&data).await;
    let own = folder.path().join("datanode-0");
    for file in files(&own).into_iter().filter(|path| path.extension().is_none()) {
        let name = file.strip_prefix(folder.path()).expect("below").to_owned();
        for damage in [Damage::Deleted, Damage::Cut(4), Damage::Flipped(8)] {
            let hurt = copied(folder.path());
            damage.to(&hurt.path().join(&name));
            let case = format!("{}: {damage:?}", name.display());
            match started(hurt.path()).await {
                Ok(cluster) => {
                    let client = cluster.client();
                    reported(&client, &format!("{case} is healed"), |report| {
                        report.complete && report.under_replicated == 0 && report.live_datanodes == 2
                    })
                    .await;
                    assert!(client.get("/f").await.expect("get") == data, "{case}: other bytes");
                }
                Err(error) => {
                    assert_ne!(error.kind(), ErrorKind::Internal, "{case}: {error}");
                    assert!(error.report().contains("datanode-0"), "{case}: {}", error.report());
                }
            }
        }
    }
    nothing_panicked();
}
