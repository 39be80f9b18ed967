//! The durable store when power goes.

use std::path::Path;
use std::sync::Arc;

use super::machine::{Found, Machine};
use super::tests::{put, tiny};
use super::{FjallOptions, FjallStore};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::io::{Io, OpenMode, SimIo};
use crate::metadata::{Counters, MetadataStore, MetadataStoreExt, Range, Space, Transaction};

/// One whole transaction, recognisable by its parts.
async fn write(store: &FjallStore, n: u64) -> Result<u64> {
    let body = move |txn: &mut dyn Transaction| {
        let value = vec![n as u8; (n * 97 % 1_500) as usize];
        txn.put(Space::Rows, n.to_be_bytes()[..].into(), value[..].into());
        txn.put(Space::Data, n.to_be_bytes()[..].into(), value[..].into());
        txn.add(Space::Rows, b"count of all", Counters([1, n.cast_signed(), 0, 0]));
        txn.announce(n.to_be_bytes().to_vec().into());
        Ok(())
    };
    Ok(store.commit(body).await?.1.0)
}

/// Writes until the disk says no; gives what was acknowledged.
async fn write_until_dark(machine: &Machine, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let Ok(store) = machine.open() else { return Vec::new() };
    let mut acknowledged = Vec::new();
    for group in numbers.collect::<Vec<_>>().chunks(4) {
        let outcomes = futures::future::join_all(group.iter().map(|n| write(&store, *n))).await;
        for (n, outcome) in group.iter().zip(outcomes) {
            match outcome {
                Ok(_) => acknowledged.push(*n),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    }
    acknowledged
}

/// What was announced from the oldest transaction that is kept on, up to `last`: each transaction once.
async fn announced(store: &FjallStore, last: u64) -> Result<Vec<u64>> {
    let mut place = store.oldest_change().await?;
    let (first, mut announced) = (place.version.0, Vec::new());
    while place.version.0 <= last {
        let step = store.changes(place, 13).await?;
        let numbers = step.found.iter().map(|change| change.bytes[..].try_into().expect("a number"));
        announced.extend(numbers.map(u64::from_be_bytes));
        place = step.next;
    }
    announced.sort_unstable();
    announced.dedup();
    assert_eq!(announced.len() as u64, last + 1 - first);
    Ok(announced)
}

/// Checks that every transaction is there whole or not at all, and those of `acknowledged` are there. Gives how many.
async fn check(store: &FjallStore, acknowledged: &[u64]) -> u64 {
    let read = store.view(|snapshot| {
        let all = Range::prefix(&[0], 10_000);
        let rows = snapshot.scan(Space::Rows, &all)?;
        Ok((rows, snapshot.scan(Space::Data, &all)?, snapshot.counters(Space::Rows, b"count of all")?))
    });
    let (rows, data, count) = read.await.expect("read");
    assert_eq!(rows, data);
    let found: Vec<u64> =
        rows.iter().map(|(key, _)| u64::from_be_bytes(key[..].try_into().expect("a number"))).collect();
    for n in acknowledged {
        assert!(found.contains(n), "{n} was acknowledged and is lost; found {found:?}");
    }
    let (there, sum) = (found.len() as u64, found.iter().sum::<u64>());
    assert_eq!(count, Counters([there.cast_signed(), sum.cast_signed(), 0, 0]));
    assert_eq!(store.version().await.expect("version").0, there);
    // Those that are kept were announced, each once; how far the reading of the log goes at a time does not matter.
    let announced = loop {
        match announced(store, there).await {
            // Segments may be let go meanwhile.
            Err(error) if error.kind() == ErrorKind::Gone => {}
            announced => break announced.expect("changes"),
        }
    };
    assert!(announced.iter().all(|n| found.contains(n)), "{announced:?}");
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn power_may_go_at_any_moment() {
    let fresh = Machine::new().await;
    let whole = fresh.crash(0, Found::All);
    let before = whole.io.changes();
    assert_eq!(write_until_dark(&whole, 0..60).await.len(), 60);
    let changes = whole.io.changes() - before;
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..12 {
        let machine = fresh.crash(0, Found::All);
        machine.io.cut_power_at(rng.u64(1..=changes));
        let acknowledged = write_until_dark(&machine, 0..60).await;
        for found in [Found::Persisted, Found::All] {
            let after = machine.crash(round, found);
            let store = after.open().unwrap_or_else(|error| panic!("round {round}, {found:?}: {}", error.report()));
            let there = check(&store, &acknowledged).await;
            // Life goes on, and ends once more.
            drop(store);
            let more = write_until_dark(&after, 1_000..1_010).await;
            assert_eq!(more.len(), 10);
            let again = after.crash(round + 100, found).open().expect("open");
            assert_eq!(check(&again, &[acknowledged.clone(), more].concat()).await, there + 10);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn power_may_go_while_a_store_is_created() {
    let whole = Machine::empty(0, tiny());
    let env = Env::system();
    let create = |machine: &Machine| {
        let (folder, io, env) = (machine.folder(), Arc::new(machine.io.clone()), env.clone());
        async move { FjallStore::create(&folder, tiny(), io, &env).await }
    };
    create(&whole).await.expect("create").close().await.expect("close");
    for cut in 1..=whole.io.changes() {
        let machine = Machine::empty(0, tiny());
        machine.io.cut_power_at(cut);
        let created = create(&machine).await;
        drop(created);
        std::fs::create_dir_all(machine.folder().join("rows")).expect("folder");
        machine.keep_rows();
        let after = machine.crash(cut, Found::All);
        let store = match create(&after).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => after.open().expect("open"),
            created => created.expect("create"),
        };
        write(&store, 1).await.expect("write");
        assert_eq!(check(&store, &[1]).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_may_end_at_any_byte_of_its_last_record() {
    let mut machine = Machine::new().await;
    // All in the log, nothing persisted.
    machine.options = FjallOptions { persist_bytes: 1 << 30, ..FjallOptions::default() };
    let store = machine.open().expect("open");
    let mut ends = vec![4_096];
    let [segment] = &machine.log_files()[..] else { panic!("one segment") };
    for n in 0..5 {
        put(&store, &format!("key {n}"), &vec![b'x'; 5 * n]).await.expect("put");
        ends.push(used(&machine.io, segment));
    }
    for (records, end) in ends.windows(2).enumerate() {
        for cut in (end[0].next_multiple_of(8)..end[1]).step_by(19).chain([end[1] - 1]) {
            let after = machine.crash(1, Found::Persisted);
            let [segment] = &after.log_files()[..] else { panic!("one segment") };
            let file = after.io.open(segment, OpenMode::Existing).expect("open");
            file.write_all_at(cut, &vec![0; 1 << 10]).expect("cut");
            let store = after.open().expect("open");
            let version = store.version().await.expect("version").0;
            assert_eq!(version, records as u64, "cut at {cut}, between {end:?}");
            drop(store);
            // What the log lost, the rows may have: then it was answered, and its loss is no torn tail.
            let after = machine.crash(1, Found::All);
            let [segment] = &after.log_files()[..] else { panic!("one segment") };
            let file = after.io.open(segment, OpenMode::Existing).expect("open");
            file.write_all_at(cut, &vec![0; 1 << 10]).expect("cut");
            if let Err(error) = after.open() {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            }
        }
    }
    for cut in (ends[1]..ends[4]).step_by(29) {
        let after = machine.crash(1, Found::Persisted);
        let [segment] = &after.log_files()[..] else { panic!("one segment") };
        after.io.flip_bit(segment, cut, (cut % 8) as u8).expect("flip");
        match after.open() {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            // A byte between two records.
            Ok(store) => assert_eq!(store.version().await.expect("version").0, 5),
        }
    }
}

/// Where the last record ends, whose last byte is not zero: zeros follow.
fn used(io: &SimIo, segment: &Path) -> u64 {
    let bytes = io.read(segment, 1 << 30).expect("read");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("a header");
    last as u64 + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_poisons_the_store_until_it_is_opened_anew() {
    let machine = Machine::new().await;
    let store = machine.open().expect("open");
    write(&store, 0).await.expect("write");
    machine.io.fail_sync(1);
    let outcomes = futures::future::join_all((1..20).map(|n| write(&store, n))).await;
    let (done, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(done.is_empty() && failed.len() == 19, "the first batch after it fails, and all behind");
    for error in failed.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("opened anew"), "{error}");
    }
    let refused: [Option<Error>; 4] = [
        write(&store, 30).await.err(),
        store.view(|snapshot| snapshot.get(Space::Rows, b"x")).await.err(),
        store.version().await.err(),
        store.failure(),
    ];
    for error in refused {
        assert_eq!(error.expect("poisoned").kind(), ErrorKind::Unavailable);
    }
    assert!(store.close().await.is_err());
    drop(store);
    let store = machine.open().expect("open");
    let there = check(&store, &[0]).await;
    write(&store, 40).await.expect("write");
    drop(store);
    let after = machine.crash(3, Found::Persisted);
    assert_eq!(check(&after.open().expect("open"), &[0, 40]).await, there + 1, "what was seen once stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_the_store_and_loses_nothing() {
    let machine = Machine::new().await;
    machine.io.set_capacity(Some(machine.io.used() + (40 << 10)));
    let acknowledged = write_until_dark(&machine, 0..2_000).await;
    assert!(acknowledged.len() < 2_000, "the log is trimmed, but the disk is smaller than a segment");
    machine.io.set_capacity(None);
    let store = machine.open().expect("open");
    check(&store, &acknowledged).await;
    write(&store, 5_000).await.expect("write");
}

/// A store used to write until the disk was full to the last byte, and failed then: nothing could be read any more either.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_is_read_and_not_written_until_there_is_room() {
    const RESERVE: u64 = 1 << 20;
    let mut machine = Machine::new().await;
    machine.options.reserve_bytes = RESERVE;
    let store = machine.open().expect("open");
    let room = |bytes: u64| machine.io.set_capacity(Some(machine.io.used() + RESERVE + bytes));
    room(64 << 10);
    write(&store, 0).await.expect("there is room");
    machine.io.set_capacity(Some(machine.io.used() + RESERVE / 2));
    // Seen before a megabyte more is written.
    let mut written = 1;
    let refused = loop {
        match write(&store, written).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 2_000, "never refused");
    };
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert!(refused.message().contains("are kept free: make room"), "{refused}");
    assert!(store.failure().is_none() && written > 100, "{written}");
    let acknowledged: Vec<u64> = (0..written).collect();
    assert_eq!(check(&store, &acknowledged).await, written);
    store.commit(|txn| txn.get(Space::Rows, b"x").map(drop)).await.expect("what writes nothing goes on");
    assert_eq!(write(&store, written).await.expect_err("full").kind(), ErrorKind::StorageFull);
    room(64 << 10);
    write(&store, written).await.expect("at once, where there is room again");
    store.close().await.expect("closed");
    drop(store);
    let store = machine.open().expect("open");
    assert_eq!(check(&store, &[acknowledged, vec![written]].concat()).await, written + 1);
}
