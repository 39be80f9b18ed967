//! Many small replicas in segments: power goes, bits flip, slots are used again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::chunk::ChunkStore;
use crate::chunk::conformance::{packet, pattern, rbw, read_all};
use crate::io::{Failing, SimIo};

const ROOT: &str = "/disk/chunks";

async fn open(disk: &SimIo) -> Result<DirectoryStore> {
    let options = DirectoryOptions { root: ROOT.into(), capacity: None, reserve: 0, small: 1 << 20, on_the_spot: true };
    DirectoryStore::open(options, Arc::new(disk.clone()), Env::simulated(1)).await
}

async fn put(store: &DirectoryStore, options: CreateReplica, data: &Bytes, sync: bool) -> Result<Replica> {
    if options.chunk.get().is_multiple_of(2) {
        let mut written = store.write_whole(vec![whole(options, data, sync)]).await;
        return written.pop().expect("one")?.finalize(sync).await;
    }
    let mut writer = store.create_sized(options, data.len() as u64).await?;
    writer.append(packet(0, data)).await?;
    writer.finalize(sync).await
}

fn whole(options: CreateReplica, data: &Bytes, sync: bool) -> WholeReplica {
    WholeReplica { options, packet: packet(0, data), sync, drop_behind: options.chunk.get().is_multiple_of(3) }
}

/// One flush is for all that are written together, and finalizing them asks for none. What was not finalized is found whole after a crash, and is not shown to
/// who reads a file that is being written.
#[tokio::test]
async fn replicas_that_are_written_together_share_a_flush() {
    let disk = SimIo::new(1);
    let store = open(&disk).await.expect("open");
    let bytes = |chunk: u64| pattern(chunk, 50_000 + usize::try_from(chunk).expect("small"));
    let put = |chunk: u64| whole(rbw(ChunkId(chunk), 1), &bytes(chunk), true);
    let first = store.write_whole(vec![put(1)]).await;
    assert!(first.iter().all(Result::is_ok), "{first:?}");
    let before = disk.syncs();
    let written = store.write_whole((2..18).map(put).collect()).await;
    assert_eq!(disk.syncs() - before, 1);
    for (chunk, writer) in (2..18).zip(written) {
        let writer = writer.expect("written");
        assert_eq!(store.stat(ChunkId(chunk)).await.expect("stat").visible, 0, "not before it is finalized");
        if chunk % 2 == 0 {
            assert_eq!(writer.finalize(true).await.expect("finalized").visible, 50_000 + chunk);
        }
    }
    assert_eq!(disk.syncs() - before, 1);
    let twice = store.write_whole(vec![put(30), put(30)]).await;
    assert!(twice.iter().all(Result::is_err), "{twice:?}");

    for (found, finalized) in [(disk.crash_losing_all(), false), (disk.crash_keeping_all(), true)] {
        // Also when it is opened once more.
        for _ in 0..2 {
            let store = open(&found).await.expect("open");
            for chunk in 2..18 {
                let replica = store.stat(ChunkId(chunk)).await.expect("there");
                assert_eq!((replica.state, replica.length), (ReplicaState::Finalized, 50_000 + chunk));
                assert_eq!(replica.visible, if finalized && chunk % 2 == 0 { replica.length } else { 0 });
                let reader = store.open(ChunkId(chunk), Generation(1)).await.expect("open");
                assert_eq!(read_all(reader.as_ref(), 1 << 20).await.expect("read"), bytes(chunk));
                store.verify(ChunkId(chunk)).await.expect("verified");
            }
        }
    }
    // A flush that fails fails all that waited for it.
    disk.fail_sync(1);
    let failed = store.write_whole((40..44).map(put).collect()).await;
    assert!(failed.iter().all(Result::is_err), "{failed:?}");
}

/// A program that knows no segments must not take a store with some for one without: it refuses a store of format 2. Without segments it is one of format 1.
#[tokio::test]
async fn a_store_with_segments_has_a_format_of_its_own() {
    let disk = SimIo::new(1);
    let format = |disk: &SimIo| disk.read(&Path::new(ROOT).join("FORMAT"), 200).expect("format");
    let store = open(&disk).await.expect("open");
    assert!(format(&disk).starts_with(b"GoDFS chunk store, format 1,"));
    drop(store);
    let empty = disk.crash_keeping_all();
    let store = open(&empty).await.expect("open");
    put(&store, rbw(ChunkId(1), 1), &pattern(1, 1_000), true).await.expect("put");
    // Whatever a crash leaves: segments are there only beside a format that says so.
    for seed in 0..20 {
        let disk = disk.crash_keeping_all();
        let store = open(&disk).await.expect("open");
        disk.cut_power_at(seed + 1);
        let _ = put(&store, rbw(ChunkId(1), 1), &pattern(1, 1_000), true).await;
        drop(store);
        for found in [disk.crash_losing_all(), disk.crash_keeping_all(), disk.crash(seed)] {
            if !segments(&found).is_empty() {
                assert!(format(&found).starts_with(b"GoDFS chunk store, format 2,"), "cut at {seed}");
            }
            open(&found).await.expect("open");
        }
    }
    assert!(format(&empty).starts_with(b"GoDFS chunk store, format 2,"));
    // One that was written before the number said so is given it.
    let old = b"GoDFS chunk store, format 1";
    let line = format!("{}, checksum {:08x}\n", String::from_utf8_lossy(old), crate::checksum::crc32c(old));
    crate::io::publish(&empty, &Path::new(ROOT).join("FORMAT"), line.as_bytes()).expect("published");
    drop(store);
    open(&empty).await.expect("open");
    assert!(format(&empty).starts_with(b"GoDFS chunk store, format 2,"));
}

fn segments(disk: &SimIo) -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join("v1/segments");
    let entries = disk.read_dir(&folder).unwrap_or_default();
    entries.into_iter().map(|entry| folder.join(entry.name)).collect()
}

/// Whatever a crash leaves: what was acknowledged is there, nothing whole is other than it was written, and slots that are used again
/// never lend their checksums or their names to other bytes.
#[tokio::test]
async fn slots_are_used_again_without_mixing_replicas() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut disk = SimIo::new(seed);
        // The bytes of each chunk, and whether they were acknowledged as durable.
        let mut known = BTreeMap::<u64, (Bytes, bool)>::new();
        let mut next = 1;
        for life in 0..4 {
            let store = open(&disk).await.expect("open");
            disk.cut_power_at(rng.u64(1..250));
            for _ in 0..40 {
                let chunk = ChunkId(rng.u64(1..=next));
                let outcome = if rng.u8(0..3) == 0 && known.contains_key(&chunk.get()) {
                    // It may be back after a crash, but only as it was.
                    if let Some((_, promised)) = known.get_mut(&chunk.get()) {
                        *promised = false;
                    }
                    store.delete(chunk, Generation(1)).await
                } else {
                    let chunk = ChunkId(next);
                    next += 1;
                    let data = pattern(chunk.get(), rng.usize(1..30_000));
                    let sync = rng.u8(0..4) > 0;
                    known.insert(chunk.get(), (data.clone(), false));
                    put(&store, rbw(chunk, 1), &data, sync).await.map(|_| {
                        known.insert(chunk.get(), (data, sync));
                    })
                };
                if outcome.is_err() {
                    break;
                }
            }
            drop(store);
            let crashes = [disk.crash_losing_all(), disk.crash_keeping_all()];
            for (number, found) in crashes.into_iter().chain((0..3).map(|n| disk.crash(seed * 31 + n))).enumerate() {
                let what = format!("seed {seed}, life {life}, crash {number}");
                let store = open(&found).await.expect("open");
                assert_eq!(store.unknown().await.expect("unknown"), Vec::<String>::new(), "{what}");
                for (&chunk, (data, promised)) in &known {
                    match store.stat(ChunkId(chunk)).await {
                        Ok(replica) if replica.state == ReplicaState::Finalized => {
                            assert_eq!(replica.length, data.len() as u64, "{what}, chunk {chunk}");
                            store
                                .verify(ChunkId(chunk))
                                .await
                                .unwrap_or_else(|error| panic!("{what}: {}", error.report()));
                            let reader = store.open(ChunkId(chunk), Generation(1)).await.expect("open");
                            assert_eq!(read_all(reader.as_ref(), 1 << 20).await.expect("read"), data[..], "{what}");
                        }
                        Ok(replica) => assert!(!promised && replica.state == ReplicaState::Rwr, "{what}: {replica:?}"),
                        Err(_) => assert!(!promised, "{what}: chunk {chunk} is gone"),
                    }
                }
            }
            disk = disk.crash(rng.u64(..));
            let store = open(&disk).await.expect("open");
            for (chunk, (_, promised)) in &mut known {
                *promised = store.stat(ChunkId(*chunk)).await.is_ok_and(|found| found.state == ReplicaState::Finalized);
            }
        }
    }
}

/// A copy in flight never costs what it is to replace, wherever the two lie and whenever the power goes.
#[tokio::test]
async fn a_torn_copy_leaves_what_it_was_to_replace() {
    let (old, new) = (pattern(1, 20_000), pattern(2, 25_000));
    let chunk = ChunkId(7);
    for (old_in_segment, new_in_segment) in [(true, true), (true, false), (false, true)] {
        let begun = SimIo::new(1);
        let store = open(&begun).await.expect("open");
        let length = |small: bool, data: &Bytes| if small { data.len() as u64 } else { 0 };
        let mut writer = store.create_sized(rbw(chunk, 1), length(old_in_segment, &old)).await.expect("create");
        writer.append(packet(0, &old)).await.expect("append");
        writer.finalize(true).await.expect("finalize");
        drop(store);
        for cut in 1..60 {
            let disk = begun.crash_keeping_all();
            let store = open(&disk).await.expect("open");
            disk.cut_power_at(cut);
            let copy = async {
                let options = CreateReplica { state: ReplicaState::Temporary, ..rbw(chunk, 2) };
                let mut writer = store.create_sized(options, length(new_in_segment, &new)).await?;
                writer.append(packet(0, &new)).await?;
                writer.finalize(true).await
            };
            let done = copy.await.is_ok();
            drop(store);
            for found in [disk.crash_losing_all(), disk.crash_keeping_all(), disk.crash(cut), disk.crash(cut + 99)] {
                let store = open(&found).await.expect("open");
                let replica = store.verify(chunk).await.unwrap_or_else(|error| panic!("cut {cut}: {}", error.report()));
                assert!(replica.generation == Generation(2) || !done, "cut {cut}: {replica:?}");
                let reader = store.open(chunk, Generation(1)).await.expect("open");
                let bytes = read_all(reader.as_ref(), 1 << 20).await.expect("read");
                assert_eq!(bytes, if replica.generation == Generation(2) { &new[..] } else { &old[..] });
            }
        }
    }
}

/// Deleted room is used before the file grows, and not while somebody reads what was there.
#[tokio::test]
async fn deleted_room_is_used_again_once_its_readers_are_gone() {
    let disk = SimIo::new(1);
    let store = open(&disk).await.expect("open");
    let data = pattern(1, 65_536);
    for chunk in 1..=20 {
        put(&store, rbw(ChunkId(chunk), 1), &data, true).await.expect("put");
    }
    let [path] = &segments(&disk)[..] else { panic!("one segment") };
    let length = || disk.open(path, OpenMode::ReadOnly).expect("open").len().expect("length");
    let (before, used) = (length(), store.space().await.expect("space").used);
    let reader = store.open(ChunkId(1), Generation(1)).await.expect("open");
    for chunk in 1..=20 {
        store.delete(ChunkId(chunk), Generation(1)).await.expect("delete");
    }
    assert_eq!(store.space().await.expect("space").used, 0);
    let other = pattern(2, 65_536);
    for chunk in 101..=119 {
        put(&store, rbw(ChunkId(chunk), 1), &other, true).await.expect("put");
        assert_eq!(read_all(reader.as_ref(), 1 << 20).await.expect("read"), data[..]);
    }
    // The first two after the deletions find nothing that is free durably; their own syncs free the rest.
    assert!(length() <= before + 2 * (65_536 + 8_192), "{} after {before}", length());
    assert!(store.space().await.expect("space").used < used);
}

/// A bit that flips anywhere in a segment costs at most the replica it lies in, and never shows other bytes.
#[tokio::test]
async fn flipped_bits_are_found_and_cost_no_other_replica() {
    let begun = SimIo::new(1);
    let store = open(&begun).await.expect("open");
    for chunk in 1..=6 {
        put(&store, rbw(ChunkId(chunk), 1), &pattern(chunk, 20_000), true).await.expect("put");
    }
    drop(store);
    let [path] = &segments(&begun)[..] else { panic!("one segment") };
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..400 {
        let disk = begun.crash_keeping_all();
        let file = disk.open(path, OpenMode::Existing).expect("open");
        // Half of them where records and checksums lie.
        let slot = 4_096 + rng.u64(0..6) * (24_576 + 8_192);
        let at = if round % 2 == 0 { slot + rng.u64(0..4_200) } else { rng.u64(4_096..file.len().expect("length")) };
        let byte = file.read_at(at, 1).expect("read")[0];
        file.write_all_at(at, &[byte ^ (1 << rng.u8(0..8))]).expect("write");
        let store = open(&disk).await.expect("open");
        let mut lost = 0;
        for chunk in 1..=6 {
            let good = match store.open(ChunkId(chunk), Generation(1)).await {
                Ok(reader) => match read_all(reader.as_ref(), 1 << 20).await {
                    Ok(bytes) => {
                        let proven = store.stat(ChunkId(chunk)).await.expect("stat").state == ReplicaState::Finalized;
                        assert!(!proven || bytes == pattern(chunk, 20_000)[..], "byte {at}");
                        proven
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt);
                        store.verify(ChunkId(chunk)).await.expect_err("read and scrubbed alike");
                        false
                    }
                },
                Err(_) => false,
            };
            lost += u32::from(!good);
        }
        assert!(lost <= 1, "byte {at} costs {lost} replicas");
    }
    // The header of the segment itself: nothing in it is read by guess, and it stays as it is.
    let disk = begun.crash_keeping_all();
    disk.open(path, OpenMode::Existing).expect("open").write_all_at(20, &[0xff]).expect("write");
    let store = open(&disk).await.expect("open");
    assert_eq!(store.unknown().await.expect("unknown").len(), 1);
    put(&store, rbw(ChunkId(9), 1), &pattern(9, 20_000), true).await.expect("into another segment");
    assert_eq!(segments(&disk).len(), 2);
}

/// The bytes of a chunk in [`segments_with_little_in_them_are_emptied`]: seven of them fill a segment.
fn large(chunk: u64) -> Bytes {
    pattern(chunk, 200_000 + usize::try_from(chunk).expect("small"))
}

/// Those that are deleted there.
fn gone(chunk: u64) -> bool {
    chunk % 7 != 1
}

/// What is left in segments moves together. Whenever the power goes, each replica is there, once; and who reads one reads on.
#[tokio::test]
async fn segments_with_little_in_them_are_emptied() {
    let begun = SimIo::new(1);
    let store = open(&begun).await.expect("open");
    for chunk in 1..=28 {
        put(&store, rbw(ChunkId(chunk), 1), &large(chunk), true).await.expect("put");
    }
    drop(store);
    assert_eq!(segments(&begun).len(), 4);
    let delete = async |store: &DirectoryStore| {
        for chunk in (1..=28).filter(|chunk| gone(*chunk)) {
            store.delete(ChunkId(chunk), Generation(1)).await?;
        }
        Ok::<_, Error>(())
    };
    let kept = || (1..=28).filter(|chunk| !gone(*chunk));

    let disk = begun.crash_keeping_all();
    let store = open(&disk).await.expect("open");
    let reader = store.open(ChunkId(22), Generation(1)).await.expect("open");
    let changes = disk.changes();
    delete(&store).await.expect("deleted");
    let changes = disk.changes() - changes;
    assert_eq!(segments(&disk).len(), 2, "what is left fits into one, and the other is being read");
    assert_eq!(read_all(reader.as_ref(), 1 << 20).await.expect("read on"), large(22));
    drop(reader);
    put(&store, rbw(ChunkId(40), 1), &large(40), true).await.expect("put");
    store.delete(ChunkId(40), Generation(1)).await.expect("deleted");
    assert_eq!(segments(&disk).len(), 1);
    for chunk in kept() {
        assert_eq!(store.verify(ChunkId(chunk)).await.expect("moved").length, large(chunk).len() as u64);
    }
    assert_eq!(store.space().await.expect("space").used, 4 * (8_192 + (256 << 10)));

    for cut in (1..=changes).step_by(3) {
        let disk = begun.crash_keeping_all();
        let store = open(&disk).await.expect("open");
        disk.cut_power_at(cut);
        let _ = delete(&store).await;
        drop(store);
        for found in [disk.crash_losing_all(), disk.crash_keeping_all(), disk.crash(cut)] {
            let store = open(&found).await.expect("open");
            assert_eq!(store.unknown().await.expect("unknown"), Vec::<String>::new(), "cut {cut}");
            for chunk in kept() {
                let reader = store.open(ChunkId(chunk), Generation(1)).await.expect("open");
                assert_eq!(read_all(reader.as_ref(), 1 << 20).await.expect("read"), large(chunk), "cut {cut}");
                store.verify(ChunkId(chunk)).await.expect("verified");
            }
        }
    }
}

/// How long a start takes that finds a million small replicas, in a folder of the machine's disk that `GODFS_SCAN_FOLDER` names.
#[tokio::test]
#[ignore = "takes minutes, and gigabytes of a disk"]
async fn a_start_finds_a_million() {
    let folder = std::env::var("GODFS_SCAN_FOLDER").expect("GODFS_SCAN_FOLDER names a folder");
    let count = std::env::var("GODFS_SCAN_REPLICAS").map_or(1_000_000, |count| count.parse().expect("a number"));
    let options =
        DirectoryOptions { root: folder.into(), capacity: None, reserve: 0, small: 1 << 20, on_the_spot: true };
    let start = || DirectoryStore::open(options.clone(), Arc::new(crate::io::DiskIo), Env::system());
    let store = start().await.expect("open");
    let data = pattern(1, 1_000);
    for first in (1..=count).step_by(1_000) {
        let wholes = (first..first + 1_000).map(|chunk| whole(rbw(ChunkId(chunk), 1), &data, true)).collect();
        for writer in store.write_whole(wholes).await {
            writer.expect("written").finalize(true).await.expect("finalized");
        }
    }
    drop(store);
    let clock = Env::system().clock;
    let begun = clock.monotonic();
    let store = start().await.expect("open");
    let found = store.list(0..u64::MAX, usize::MAX).await.expect("list").len();
    eprintln!("{found} replicas found in {:?}", clock.monotonic() - begun);
    assert_eq!(found as u64, count);
}

/// A store on which any one sync failed is opened again by another process: what is written into it from then on is there when the power has gone.
#[tokio::test]
async fn a_segment_whose_making_failed_keeps_what_a_later_process_puts_into_it() {
    let mut failures = 0;
    for failing in 1..=8 {
        for seed in 0..4 {
            let disk = SimIo::new(seed);
            drop(open(&disk).await.expect("open"));
            disk.fail_sync(failing);
            if let Ok(store) = open(&disk).await {
                failures += u32::from(put(&store, rbw(ChunkId(2), 1), &pattern(1, 5_000), true).await.is_err());
            }
            disk.set_failing(Failing::default());
            let store = open(&disk).await.expect("open");
            let data = pattern(2, 5_000);
            put(&store, rbw(ChunkId(4), 1), &data, true).await.expect("put");
            let store = open(&disk.crash_losing_all()).await.expect("open");
            let what = format!("sync {failing}, seed {seed}: {:?}", store.unknown().await);
            assert_eq!(store.verify(ChunkId(4)).await.expect(&what).length, 5_000);
        }
    }
    assert!(failures > 10, "{failures}");
}
