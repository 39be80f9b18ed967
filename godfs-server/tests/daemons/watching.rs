//! Changes, watched over the deaths of the namenode.

use futures::StreamExt;
use godfs_client::{Change, ChangeKind, CreateOptions, MkdirOptions, RemoveOptions, RenameOptions, Watch, WatchFrom};

use crate::harness::{Daemons, PATIENCE, noise};

/// Operations between two deaths, and how many deaths.
const OPERATIONS: usize = 60;
const DEATHS: usize = 4;

/// What a change says, as one line.
fn word(change: &Change) -> String {
    match &change.kind {
        ChangeKind::Created(length) => format!("created {} {length:?}", change.path),
        ChangeKind::Renamed(to) => format!("renamed {} {to}", change.path),
        other => format!("{} {}", other.name(), change.path),
    }
}

async fn take(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..count {
        let change = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("does not end");
        found.push(word(&change.expect("goes on")));
    }
    found
}

/// One writer makes one call after another while the namenode is killed again and again: every call that was answered is seen exactly once, in order, by a
/// watch that goes on all the time, by one that is begun anew from its place, and by one that begins with the oldest change.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_seen_once_whatever_dies() {
    let mut cluster = Daemons::start(0);
    let client = cluster.client().await;
    let other = cluster.client().await;
    client.mkdir("/w", MkdirOptions::new()).await.expect("mkdir");
    let mut steady = other.watch("/w", WatchFrom::Now).await.expect("watch");
    let first = steady.place().clone();
    let writer = tokio::spawn(async move {
        let mut said = Vec::new();
        let random = noise(OPERATIONS * (DEATHS + 1), 7);
        let (mut names, mut next) = (Vec::new(), 0);
        for byte in random {
            next += 1;
            let path = format!("/w/{next}");
            match byte % 5 {
                0 | 1 => {
                    client.mkdir(&path, MkdirOptions::new()).await.expect("mkdir");
                    said.push(format!("made_directory {path}"));
                    names.push(path);
                }
                2 => {
                    client.put(&path, "abc", CreateOptions::new()).await.expect("put");
                    said.push(format!("created {path} Some(3)"));
                    names.push(path);
                }
                3 if !names.is_empty() => {
                    let from = names.swap_remove(usize::from(byte) % names.len());
                    client.rename(&from, &path, RenameOptions::new()).await.expect("rename");
                    said.push(format!("renamed {from} {path}"));
                    names.push(path);
                }
                4 if !names.is_empty() => {
                    let gone = names.swap_remove(usize::from(byte) % names.len());
                    client.remove(&gone, RemoveOptions::new()).await.expect("remove");
                    said.push(format!("removed {gone}"));
                }
                _ => {}
            }
        }
        said
    });
    let mut seen = Vec::new();
    let mut again = Vec::new();
    for _ in 0..DEATHS {
        // So that each death comes in the middle of the work.
        seen.extend(take(&mut steady, OPERATIONS / 2).await);
        let place = steady.place().clone();
        cluster.kill_namenode();
        cluster.start_namenode();
        let mut anew = other.watch("/w", WatchFrom::Place(place)).await.expect("goes on behind its place");
        again = take(&mut anew, 5).await;
        let more = take(&mut steady, 5).await;
        assert_eq!(again, more);
        seen.extend(more);
    }
    let said = writer.await.expect("joined");
    let left = said.len() - seen.len();
    seen.extend(take(&mut steady, left).await);
    assert_eq!(seen, said);
    assert!(!again.is_empty());
    for from in [WatchFrom::Oldest, WatchFrom::Place(first)] {
        let skip = usize::from(from == WatchFrom::Oldest);
        let mut all = other.watch("/w", from).await.expect("watch");
        assert_eq!(take(&mut all, said.len() + skip).await[skip..], said);
    }
}
