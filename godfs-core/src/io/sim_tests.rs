//! What the simulated disk keeps and loses.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::{Io, IoFile, OpenMode, SimIo, create_dir_all_synced, publish};

const SEEDS: u64 = 200;

fn file(io: &SimIo, path: &str) -> std::sync::Arc<dyn IoFile> {
    io.open(Path::new(path), OpenMode::CreateNew).expect("create")
}

fn content(io: &SimIo, path: &str) -> Option<Vec<u8>> {
    io.read(Path::new(path), 1 << 20).ok().map(|bytes| bytes.to_vec())
}

fn found<T: Ord>(io: &SimIo, look: impl Fn(&SimIo) -> T) -> BTreeSet<T> {
    (0..SEEDS).map(|seed| look(&io.crash(seed))).collect()
}

#[test]
fn synced_bytes_under_a_synced_name_survive_every_crash() {
    let io = SimIo::new(0);
    create_dir_all_synced(&io, Path::new("/a/b")).expect("folders");
    let f = file(&io, "/a/b/f");
    f.write_all_at(0, b"kept").expect("write");
    f.sync_data().expect("sync");
    assert_eq!(found(&io, |io| content(io, "/a/b/f")).len(), 2, "the name is not synced yet");
    io.sync_dir(Path::new("/a/b")).expect("sync the folder");
    f.write_all_at(4, b" or lost").expect("write");
    for seed in 0..SEEDS {
        assert_eq!(&content(&io.crash(seed), "/a/b/f").expect("there")[..4], b"kept");
    }
    assert_eq!(content(&io.crash_losing_all(), "/a/b/f").expect("there"), b"kept");
    assert_eq!(content(&io.crash_keeping_all(), "/a/b/f").expect("there"), b"kept or lost");
}

#[test]
fn a_folder_whose_name_is_not_synced_is_lost_with_all_in_it() {
    let io = SimIo::new(0);
    io.create_dir_all(Path::new("/a")).expect("folder");
    publish(&io, Path::new("/a/f"), b"whole").expect("publish");
    assert_eq!(found(&io, |io| content(io, "/a/f")), [None, Some(b"whole".to_vec())].into());
}

#[test]
fn writes_are_cut_at_sectors_and_kept_out_of_order() {
    let io = SimIo::new(0);
    let f = file(&io, "/f");
    f.write_all_at(0, &[1; 2_000]).expect("write");
    f.sync_data().expect("sync");
    io.sync_dir(Path::new("/")).expect("sync the folder");
    f.write_all_at(100, &[2; 1_500]).expect("write");
    f.write_all_at(1_900, &[3; 50]).expect("write");
    let (mut cut, mut later_only) = (false, false);
    for bytes in found(&io, |io| content(io, "/f").expect("there")) {
        for (sector, part) in bytes.chunks(512).enumerate() {
            let written: BTreeSet<u8> =
                (0..part.len()).filter(|n| (100..1_600).contains(&(sector * 512 + n))).map(|n| part[n]).collect();
            assert_eq!(written.len(), 1, "half a sector was written");
        }
        cut |= bytes[100] == 2 && bytes[1_599] == 1;
        later_only |= bytes[100] == 1 && bytes[1_599] == 1 && bytes[1_900] == 3;
    }
    assert!(cut && later_only);
}

#[test]
fn a_rename_is_kept_or_lost_whole() {
    let io = SimIo::new(0);
    publish(&io, Path::new("/f"), b"old").expect("publish");
    let f = file(&io, "/g");
    f.write_all_at(0, b"new").expect("write");
    f.sync_data().expect("sync");
    io.sync_dir(Path::new("/")).expect("sync the folder");
    io.rename(Path::new("/g"), Path::new("/f")).expect("rename");
    let look = |io: &SimIo| (content(io, "/f"), content(io, "/g"));
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(found(&io, look), [(old, new.clone()), (new, None)].into());
}

#[test]
fn a_move_between_folders_never_loses_the_file() {
    let io = SimIo::new(0);
    for folder in ["/a", "/b"] {
        create_dir_all_synced(&io, Path::new(folder)).expect("folder");
    }
    publish(&io, Path::new("/a/f"), b"x").expect("publish");
    io.rename(Path::new("/a/f"), Path::new("/b/f")).expect("move");
    let look = |io: &SimIo| (content(io, "/a/f").is_some(), content(io, "/b/f").is_some());
    assert_eq!(found(&io, look), [(true, false), (true, true), (false, true)].into());
    io.sync_dir(Path::new("/a")).expect("sync the old folder");
    assert_eq!(found(&io, look), [(false, true)].into());
}

#[test]
fn what_a_failed_sync_lost_is_not_brought_back_by_the_next() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let io = SimIo::new(seed);
        let f = file(&io, "/f");
        io.sync_dir(Path::new("/")).expect("sync the folder");
        f.write_all_at(0, b"x").expect("write");
        io.fail_sync(1);
        f.sync_data().expect_err("told to fail");
        f.sync_data().expect("the next one");
        assert_eq!(content(&io, "/f").expect("there"), b"x");
        lost += u32::from(content(&io.crash_losing_all(), "/f").expect("there") != b"x");
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn power_goes_in_the_middle_of_a_change() {
    let io = SimIo::new(0);
    let f = file(&io, "/f");
    io.sync_dir(Path::new("/")).expect("sync the folder");
    io.cut_power_at(2);
    f.write_all_at(0, b"x").expect("the first");
    f.sync_data().expect_err("the second");
    f.read_at(0, 1).expect_err("no power");
    io.exists(Path::new("/f")).expect_err("no power");
    assert_eq!(found(&io, |io| content(io, "/f")), [Some(vec![]), Some(vec![0]), Some(vec![b'x'])].into());
}

#[test]
fn the_disk_fills_up_and_bits_flip() {
    let io = SimIo::new(0);
    io.set_capacity(Some(8_192));
    let f = file(&io, "/f");
    f.write_all_at(4_000, &[7; 200]).expect("two pages");
    assert_eq!(io.space(Path::new("/")).expect("space").free, 0);
    assert_eq!(f.write_all_at(8_000, &[7; 200]).expect_err("full").kind(), io::ErrorKind::StorageFull);
    assert_eq!(f.len().expect("length"), 4_200);
    io.flip_bit(Path::new("/f"), 4_100, 3).expect("flip");
    assert_eq!(f.read_at(4_100, 2).expect("read")[..], [7 ^ 8, 7]);
    f.set_len(10).expect("cut");
    f.set_len(4_200).expect("grow");
    assert!(f.read_at(0, 5_000).expect("read").iter().all(|byte| *byte == 0));
    assert_eq!(io.used(), 4_096);
}

#[test]
fn a_lock_goes_with_the_power() {
    let io = SimIo::new(0);
    let held = io.lock(Path::new("/")).expect("first");
    assert_eq!(io.lock(Path::new("/")).expect_err("held").kind(), io::ErrorKind::WouldBlock);
    let after = io.crash(1);
    after.lock(Path::new("/")).expect("after a crash");
    drop(held);
    io.lock(Path::new("/")).expect("after it was let go");
}
