//! The log over a disk that loses power.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, LogWriter, OpenLog, Point, RecordNumber, Stretch, open};
use crate::env::SeededRandom;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};
use crate::io::{Io, SimIo, create_dir_all_synced};
use crate::metadata::changes::Announced;
use crate::metadata::layer::Writes;
use crate::metadata::{Place, Space};

const FOLDER: &str = "/log";
const SEGMENT: u64 = 12 << 10;

fn disk() -> SimIo {
    let io = SimIo::new(0);
    create_dir_all_synced(&io, Path::new(FOLDER)).expect("folder");
    io
}

fn how(io: &SimIo) -> OpenLog {
    OpenLog {
        io: Arc::new(io.clone()),
        folder: FOLDER.into(),
        segment_bytes: SEGMENT,
        retain_bytes: 0,
        incarnation: Incarnation::from_random(7),
        random: Arc::new(SeededRandom::new(io.changes())),
    }
}

/// What record `n` holds in these tests, between a few bytes and more than a segment.
fn batch(n: u64) -> Batch {
    let mut writes = Writes::default();
    writes.of_mut(Space::Rows).insert(Bytes::from(format!("key {n}")), None);
    let length = if n.is_multiple_of(13) { 20_000 } else { n * 397 % 3_000 };
    let value = Bytes::from(vec![n as u8; length as usize]);
    writes.of_mut(Space::Data).insert(Bytes::from_static(b"data"), Some(value));
    let changes = (0..n % 4).flat_map(|at| {
        let bytes = Bytes::from(vec![n as u8; (n * 31 % 200 + 1) as usize]);
        Announced::number(Version(n * 3 + at % 3), vec![bytes.clone(); 2])
    });
    let mut changes: Vec<Announced> = changes.collect();
    changes.sort_by_key(|change| (change.version, change.index));
    changes.dedup();
    Batch { first: Version(n * 3), count: 3, writes: Arc::new(writes), changes }
}

/// Opens and checks that each record behind `from` is the right one.
fn reopen(io: &SimIo, from: Point) -> Result<LogWriter> {
    let mut expected = from.number;
    open(how(io), from, from.number, &mut |point, found| {
        expected = expected.next();
        let batch = batch(expected.0);
        assert_eq!(point.number, expected);
        assert_eq!((found.first, found.count), (batch.first, batch.count));
        assert_eq!(found.changes, batch.changes);
        for space in Space::ALL {
            assert_eq!(found.writes.of(space), batch.writes.of(space));
        }
        Ok(())
    })
}

fn append(log: &mut LogWriter, count: u64) -> Result<()> {
    for _ in 0..count {
        log.append(&batch(log.end().number.next().0))?;
    }
    Ok(())
}

fn segment_files(io: &SimIo) -> Vec<PathBuf> {
    let entries = io.read_dir(Path::new(FOLDER)).expect("list").into_iter();
    let mut names: Vec<String> = entries.map(|entry| entry.name).filter(|name| name.ends_with(".seg")).collect();
    names.sort();
    names.into_iter().map(|name| Path::new(FOLDER).join(name)).collect()
}

/// Appends, trims and prepares until the disk says no. Gives what was acknowledged, and what may be trimmed behind.
fn work(io: &SimIo, from: Point) -> (Point, Point) {
    let (mut acknowledged, mut kept) = (from, from);
    let mut step = |log: &mut LogWriter| -> Result<()> {
        for _ in 0..40 {
            append(log, 1)?;
            acknowledged = log.end();
            if acknowledged.number.0.is_multiple_of(8) {
                kept = acknowledged;
                log.segments().trim(kept.number)?;
                log.segments().prepare();
            }
        }
        Ok(())
    };
    let _: Result<()> = reopen(io, from).and_then(|mut log| step(&mut log));
    (acknowledged, kept)
}

#[test]
fn a_crash_at_any_change_loses_nothing_acknowledged() {
    let fresh = disk();
    how(&fresh).create().expect("create");
    let whole = fresh.crash(0);
    work(&whole, Point::default());
    for cut in 1..=whole.changes() {
        let io = fresh.crash(0);
        io.cut_power_at(cut);
        let (acknowledged, kept) = work(&io, Point::default());
        for seed in 0..4 {
            let found = io.crash(cut * 1_000 + seed);
            let log = reopen(&found, kept).expect("opens");
            let more = log.end().number.0.checked_sub(acknowledged.number.0).expect("nothing acknowledged is lost");
            assert!(more <= 1, "only the record under way may be there besides");
            // Once seen, a record stays.
            drop(log);
            let again = found.crash(seed);
            let (later, _) = work(&again, kept);
            assert!(later.number.0 >= acknowledged.number.0 + more + 40);
            reopen(&again.crash(seed), Point::default()).map_or_else(
                |error| assert_eq!(error.kind(), ErrorKind::Corrupt, "trimmed"),
                |_| assert_eq!(kept.number, RecordNumber(0)),
            );
        }
    }
}

#[test]
fn a_damaged_record_is_refused_unless_it_is_the_last() {
    let io = disk();
    let mut log = how(&io).create().expect("create");
    append(&mut log, 12).expect("append");
    let before_last = log.end();
    append(&mut log, 1).expect("append");
    assert!(segment_files(&io).len() >= 3);
    let files = segment_files(&io);
    let (last, others) = files.split_last().expect("segments");
    for path in others {
        let length = io.open(path, crate::io::OpenMode::ReadOnly).expect("open").len().expect("length");
        let used = (0..length).rev().find(|at| byte(&io, path, *at) != 0).expect("records");
        for at in (0..64).chain(4_096..=used).step_by(7) {
            let damaged = io.crash_keeping_all();
            damaged.flip_bit(path, at, (at % 8) as u8).expect("flip");
            match reopen(&damaged, Point::default()) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                // The few bytes between two records mean nothing.
                Ok(found) => assert_eq!(found.end(), log.end()),
            }
        }
    }
    // Record 13 is larger than a segment and so the only one of its own.
    for at in (4_096..24_000).step_by(101) {
        let damaged = io.crash_keeping_all();
        damaged.flip_bit(last, at, (at % 8) as u8).expect("flip");
        let log = reopen(&damaged, Point::default()).expect("a torn tail");
        assert_eq!(log.end(), before_last);
        // It doesn't come back when the bit does.
        drop(log);
        damaged.flip_bit(last, at, (at % 8) as u8).expect("flip");
        assert_eq!(reopen(&damaged, Point::default()).expect("cut").end(), before_last);
    }
}

fn byte(io: &SimIo, path: &Path, at: u64) -> u8 {
    let file = io.open(path, crate::io::OpenMode::ReadOnly).expect("open");
    file.read_at(at, 1).expect("read")[0]
}

#[test]
fn a_damaged_record_within_the_last_segment_is_refused() {
    let io = disk();
    let mut log = how(&io).create().expect("create");
    append(&mut log, 4).expect("append");
    let [segment] = &segment_files(&io)[..] else { panic!("one segment") };
    let record = 4_096 + 40;
    io.flip_bit(segment, record, 0).expect("flip");
    let error = reopen(&io, Point::default()).expect_err("record 1 of 4 is damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("record 1 "), "{error}");
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again() {
    for seed in 0..50 {
        let io = SimIo::new(seed);
        create_dir_all_synced(&io, Path::new(FOLDER)).expect("folder");
        let mut log = how(&io).create().expect("create");
        append(&mut log, 2).expect("append");
        io.fail_sync(1);
        append(&mut log, 1).expect_err("the sync fails");
        drop(log);
        let mut log = reopen(&io, Point::default()).expect("reopen");
        assert_eq!(log.end().number, RecordNumber(3), "the cache still holds it");
        append(&mut log, 1).expect("append");
        let log = reopen(&io.crash_losing_all(), Point::default()).expect("after a crash");
        assert_eq!(log.end().number, RecordNumber(4));
    }
}

#[test]
fn another_log_and_a_newer_format_are_refused() {
    let io = disk();
    let mut log = how(&io).create().expect("create");
    append(&mut log, 3).expect("append");
    let end = log.end();
    let other = OpenLog { incarnation: Incarnation::from_random(8), ..how(&io) };
    let ignore = &mut |_, _| Ok(());
    assert_eq!(open(other, end, end.number, ignore).expect_err("another store's").kind(), ErrorKind::Corrupt);
    let other = Point { seal: end.seal ^ 1, ..end };
    assert_eq!(open(how(&io), other, end.number, ignore).expect_err("another record 3").kind(), ErrorKind::Corrupt);
    let later = Point { number: RecordNumber(4), seal: 0 };
    assert_eq!(open(how(&io), later, end.number, ignore).expect_err("ends too early").kind(), ErrorKind::Corrupt);
    let beyond = end.number.next();
    assert_eq!(open(how(&io), end, beyond, ignore).expect_err("ends too early").kind(), ErrorKind::Corrupt);
    open(how(&io), end, end.number, ignore).expect("the right one");
}

#[test]
fn segments_are_reused() {
    let io = disk();
    let mut log = how(&io).create().expect("create");
    for _ in 0..100 {
        append(&mut log, 1).expect("append");
        log.segments().trim(log.end().number).expect("trim");
        log.segments().prepare();
    }
    assert!(io.read_dir(Path::new(FOLDER)).expect("list").len() <= 4);
    assert!(io.used() <= 4 * 24_576, "{}", io.used());
    let end = log.end();
    assert_eq!(reopen(&io, end).expect("reopen").end(), end);
}

#[test]
fn a_visitor_stops_the_opening() {
    let io = disk();
    let mut log = how(&io).create().expect("create");
    append(&mut log, 3).expect("append");
    let error =
        open(how(&io), Point::default(), RecordNumber(0), &mut |_, _| Err(Error::new(ErrorKind::Internal, "enough")));
    assert_eq!(error.expect_err("stopped").message(), "enough");
}

/// All that is announced from a transaction on, or why not.
fn announced(log: &LogWriter, from: u64, limit: usize) -> Result<Option<Vec<Announced>>> {
    let incarnation = Incarnation::from_random(7);
    let last = Version(log.end().number.0 * 3 + 2);
    let (mut place, mut found) = (Place::before(incarnation, Version(from)), Vec::new());
    while place.version <= last {
        match log.segments().announced(place, last, limit)? {
            Stretch::Found(step) => {
                found.extend(step.found.into_iter().map(|change| {
                    let Place { version, index, .. } = change.place;
                    Announced { version, index: index - 1, bytes: change.bytes }
                }));
                place = step.next;
            }
            Stretch::Trimmed { .. } => return Ok(None),
        }
    }
    Ok(Some(found))
}

#[test]
fn retained_segments_are_read_for_their_changes_and_not_when_the_log_is_opened() {
    let io = disk();
    let retaining = || OpenLog { retain_bytes: 6 * SEGMENT, ..how(&io) };
    let mut log = retaining().create().expect("create");
    append(&mut log, 60).expect("append");
    log.segments().trim(log.end().number).expect("trim");
    let files = segment_files(&io);
    let kept: u64 = files
        .iter()
        .map(|path| io.open(path, crate::io::OpenMode::ReadOnly).expect("open").len().expect("length"))
        .sum();
    assert!((6 * SEGMENT..10 * SEGMENT).contains(&kept), "{kept} bytes are kept");

    let oldest = log.segments().oldest(Version(1_000)).expect("oldest").0;
    assert!(oldest > 3 && oldest.is_multiple_of(3), "the first transaction of a record: {oldest}");
    assert_eq!(announced(&log, oldest - 1, 100).expect("read"), None, "gone");
    let expected: Vec<Announced> = (oldest / 3..=60).flat_map(|n| batch(n).changes).collect();
    for limit in [1, 5, 10_000] {
        assert_eq!(announced(&log, oldest, limit).expect("read").expect("kept"), expected);
    }
    let end = log.end();
    drop(log);

    // The oldest is damaged: the log opens, since nothing in it is needed, and only who asks for its changes hears of it.
    for at in (0..64).chain(4_096..4_300) {
        io.flip_bit(&files[0], at, 1).expect("flip");
    }
    let log = open(retaining(), end, end.number, &mut |_, _| Ok(())).expect("opens");
    assert_eq!(announced(&log, oldest, 100).expect("read"), None);
    let next = (oldest..).step_by(3).find(|from| announced(&log, *from, 100).expect("read").is_some()).expect("kept");
    assert_eq!(segment_files(&io), files, "all are there still");
    let expected: Vec<Announced> = (next / 3..=60).flat_map(|n| batch(n).changes).collect();
    assert_eq!(announced(&log, next, 3).expect("read").expect("kept"), expected);
}

/// A file that was retired and begun again when power went may have its old name: it lies among those that are kept, and says something else. Those
/// before it lead nowhere.
#[test]
fn a_file_with_its_old_name_again_ends_what_is_kept_before_it() {
    for torn in [false, true] {
        let io = disk();
        let retaining = || OpenLog { retain_bytes: 6 * SEGMENT, ..how(&io) };
        let mut log = retaining().create().expect("create");
        append(&mut log, 60).expect("append");
        log.segments().trim(log.end().number).expect("trim");
        let oldest = log.segments().oldest(Version(1_000)).expect("oldest").0;
        let (files, end) = (segment_files(&io), log.end());
        drop(log);
        let newest = io.open(&files[files.len() - 1], crate::io::OpenMode::ReadOnly).expect("open");
        let mut page = newest.read_at(0, 4_096).expect("its header").to_vec();
        if torn {
            page.truncate(20);
        }
        let reused = io.open(&files[2], crate::io::OpenMode::Existing).expect("open");
        reused.write_all_at(0, &page).expect("written");

        let log = open(retaining(), end, end.number, &mut |_, _| Ok(())).expect("opens");
        assert_eq!(announced(&log, oldest, 10_000).expect("read"), None, "what is kept does not reach that far back");
        let next = log.segments().oldest(Version(1_000)).expect("oldest").0;
        assert!(next > oldest);
        let expected: Vec<Announced> = (next / 3..=60).flat_map(|n| batch(n).changes).collect();
        assert_eq!(announced(&log, next, 10_000).expect("read").expect("kept"), expected);
    }
}
