//! Loss of power at every step: what was promised holds, and nothing else is offered.
//!
//! A script of random calls runs on a simulated disk whose power goes at a given change. A model keeps what was
//! promised by then. The store is opened on many disks that the crash may have left, and each is held against the
//! model; then the script goes on from one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::chunk::conformance::{append, packet, pattern, read_all};
use crate::chunk::{ChunkStore, ReplicaWriter};
use crate::io::{Failing, SimIo};

const CHUNK: ChunkId = ChunkId(0x0203);
const CAPACITY: u64 = 64 << 10;
const ROOT: &str = "/disk/chunks";

async fn open(disk: &SimIo) -> Result<DirectoryStore> {
    let options = DirectoryOptions { root: ROOT.into(), capacity: None, reserve: 0, small: 1 << 20, on_the_spot: true };
    DirectoryStore::open(options, Arc::new(disk.clone()), Env::simulated(1)).await
}

/// What may be found after a crash.
#[derive(Clone, Debug, Default)]
struct Model {
    /// What its creations say of the length to come.
    expected: Option<u64>,
    /// The bytes of the replica as the script knows it.
    content: Vec<u8>,
    generation: u64,
    /// What was promised to last; `None` when the replica may be gone.
    promised: Option<Promise>,
    /// For every generation that was begun, all bytes that may have been written under it.
    written: BTreeMap<u64, Vec<u8>>,
    /// Every (generation, length) under which it may have been finalized.
    finalized: BTreeSet<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Promise {
    generation: u64,
    length: u64,
    finalized: bool,
    recovered: u64,
}

impl Model {
    fn begin(&mut self, generation: u64, length: usize) {
        self.written.insert(generation, self.content[..length].to_vec());
    }

    /// A disk that a crash left keeps what was promised and offers nothing that was not written.
    async fn check(&self, disk: &SimIo, what: &str) {
        let store = open(disk).await.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        for report in store.unknown().await.expect("unknown") {
            // Finalized without a sync, and the header was lost.
            let lost = report.contains("finalized/02/") && report.ends_with("the header is empty");
            assert!(lost && self.promised.is_none(), "{what}: {report}");
        }
        let Ok(found) = store.stat(CHUNK).await else {
            assert_eq!(self.promised, None, "{what}: the replica is gone");
            return;
        };
        let generation = found.generation.get();
        if let Some(promise) = self.promised {
            assert!(generation >= promise.generation, "{what}: {found:?} is older than {promise:?}");
            let same = generation == promise.generation;
            assert!(!same || found.length >= promise.length, "{what}: {found:?} is shorter than {promise:?}");
            assert!(
                !same || !promise.finalized || found.state == ReplicaState::Finalized,
                "{what}: {found:?} was {promise:?}"
            );
            if promise.recovered > generation {
                let lower = store.recover(CHUNK, Generation(promise.recovered - 1)).await;
                assert_eq!(lower.expect_err(what).kind(), ErrorKind::Fenced, "{what}");
            }
        }
        match found.state {
            ReplicaState::Finalized => {
                assert!(self.finalized.contains(&(generation, found.length)), "{what}: {found:?} was promoted");
                store.verify(CHUNK).await.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
            }
            state => assert_eq!(state, ReplicaState::Rwr, "{what}"),
        }
        let length = found.length;
        store.recover(CHUNK, Generation(1_000)).await.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        store.settle(CHUNK, Generation(1_000), length).await.expect("settle");
        let reader = store.open(CHUNK, Generation(1_000)).await.expect("open");
        let bytes = read_all(reader.as_ref(), 1 << 20).await.expect("read");
        assert_eq!(bytes.len() as u64, length, "{what}");
        let written = self.written.get(&generation).unwrap_or_else(|| panic!("{what}: {found:?} was never begun"));
        assert!(
            written.starts_with(&bytes),
            "{what}: {found:?} holds bytes that were not written under its generation"
        );
    }

    /// Goes on from a disk that was found after a crash: what it holds now lasts.
    async fn resume(&mut self, disk: &SimIo) {
        // On a copy, because only a settled replica can be read.
        let copy = disk.crash_keeping_all();
        let store = open(&copy).await.expect("open");
        self.written.clear();
        let Ok(found) = store.stat(CHUNK).await else {
            *self = Self { expected: self.expected, generation: self.generation, ..Self::default() };
            return;
        };
        store.settle(CHUNK, Generation(1_000), found.length).await.expect("settle");
        let reader = store.open(CHUNK, Generation(1_000)).await.expect("open");
        self.content = read_all(reader.as_ref(), 1 << 20).await.expect("read");
        let generation = found.generation.get();
        let finalized = found.state == ReplicaState::Finalized;
        self.promised = Some(Promise { generation, length: found.length, finalized, recovered: 0 });
        self.written.insert(generation, self.content.clone());
        self.finalized = finalized.then_some((generation, found.length)).into_iter().collect();
    }
}

impl Model {
    /// Goes on from a disk that stood still while the process was started again: what it reads back need not be on the disk, but for the bytes of what the
    /// start says is finalized.
    async fn restart(&mut self, disk: &SimIo) {
        let Ok(found) = open(disk).await.expect("open").stat(CHUNK).await else {
            self.content.clear();
            return;
        };
        let length = usize::try_from(found.length).expect("small");
        self.content = self.written[&found.generation.get()][..length].to_vec();
        if found.state == ReplicaState::Finalized {
            let (generation, length) = (found.generation.get(), found.length);
            self.promised = Some(Promise { generation, length, finalized: true, recovered: 0 });
        }
    }
}

/// Runs random calls until one fails for want of power. The model tells what was promised by then.
async fn script(disk: &SimIo, model: &mut Model, rng: &mut fastrand::Rng, calls: usize) {
    let Ok(store) = open(disk).await else { return };
    let mut writer: Option<Box<dyn ReplicaWriter>> = None;
    for _ in 0..calls {
        if step(&store, model, &mut writer, rng).await.is_err() {
            return;
        }
    }
}

async fn step(
    store: &DirectoryStore,
    model: &mut Model,
    writer: &mut Option<Box<dyn ReplicaWriter>>,
    rng: &mut fastrand::Rng,
) -> Result<()> {
    let length = model.content.len();
    let next = Generation(model.generation + 1);
    let cut = if rng.bool() { length } else { rng.usize(0..=length) };
    match (writer.as_mut(), rng.u8(0..12)) {
        (Some(open), 0..=5) => {
            let room = usize::try_from(CAPACITY).expect("small") - length;
            let largest = [600, 9_000][rng.usize(0..2)];
            // Zeros too: they look like what was never written.
            let zeros = rng.u8(0..4) == 0;
            let size = rng.usize(0..=largest).min(room);
            let data = if zeros { Bytes::from(vec![0; size]) } else { pattern(rng.u64(..), size) };
            let written = model.written.get_mut(&model.generation).expect("begun");
            written.truncate(length);
            written.extend_from_slice(&data);
            open.append(packet(length as u64, &data)).await?;
            model.content.extend_from_slice(&data);
        }
        (Some(open), 6..=7) => {
            open.sync().await?;
            model.promised =
                Some(Promise { generation: model.generation, length: length as u64, finalized: false, recovered: 0 });
        }
        (Some(_), 8) => {
            let sync = rng.bool();
            model.finalized.insert((model.generation, length as u64));
            let taken = writer.take().expect("matched");
            taken.finalize(sync).await?;
            if sync {
                let (generation, length) = (model.generation, length as u64);
                model.promised = Some(Promise { generation, length, finalized: true, recovered: 0 });
            }
        }
        (_, 9) if store.stat(CHUNK).await.is_ok() => {
            *writer = None;
            model.generation = next.get();
            store.recover(CHUNK, next).await?;
            let found = store.stat(CHUNK).await?;
            model.promised = Some(Promise {
                generation: found.generation.get(),
                length: length as u64,
                finalized: found.state == ReplicaState::Finalized,
                recovered: next.get(),
            });
        }
        (_, 10) if store.stat(CHUNK).await.is_ok() => {
            *writer = None;
            model.generation = next.get();
            model.begin(next.get(), cut);
            model.finalized.insert((next.get(), cut as u64));
            store.settle(CHUNK, next, cut as u64).await?;
            model.content.truncate(cut);
            model.promised =
                Some(Promise { generation: next.get(), length: cut as u64, finalized: true, recovered: 0 });
        }
        _ if store.stat(CHUNK).await.is_ok() => {
            model.generation = next.get();
            model.begin(next.get(), cut);
            let options = ReopenReplica { chunk: CHUNK, generation: next, length: cut as u64 };
            *writer = Some(store.reopen(options).await?);
            model.content.truncate(cut);
            model.promised =
                Some(Promise { generation: next.get(), length: cut as u64, finalized: false, recovered: 0 });
        }
        _ => {
            model.generation = next.get();
            model.content.clear();
            model.begin(next.get(), 0);
            let options =
                CreateReplica { chunk: CHUNK, generation: next, capacity: CAPACITY, state: ReplicaState::Rbw };
            if rng.bool() {
                return write_whole(store, model, writer, options, rng).await;
            }
            *writer = Some(match model.expected {
                Some(length) => store.create_sized(options, length).await?,
                None => store.create(options).await?,
            });
        }
    }
    Ok(())
}

/// Writes all bytes at once. What is found later may be finalized, though nobody has finalized it.
async fn write_whole(
    store: &DirectoryStore,
    model: &mut Model,
    writer: &mut Option<Box<dyn ReplicaWriter>>,
    options: CreateReplica,
    rng: &mut fastrand::Rng,
) -> Result<()> {
    let largest = [600, 30_000][rng.usize(0..2)];
    let size = rng.usize(1..=largest);
    let data = pattern(rng.u64(..), size);
    let (sync, length) = (rng.bool(), size as u64);
    model.written.insert(model.generation, data.to_vec());
    model.finalized.insert((model.generation, length));
    let replica = WholeReplica { options, packet: packet(0, &data), sync, drop_behind: rng.bool() };
    let mut written = store.write_whole(vec![replica]).await;
    *writer = Some(written.pop().expect("one")?);
    model.content = data.to_vec();
    if sync {
        model.promised = Some(Promise { generation: model.generation, length, finalized: false, recovered: 0 });
    }
    Ok(())
}

/// Disks that a crash of `disk` may leave.
fn crashes(disk: &SimIo, seed: u64) -> impl Iterator<Item = SimIo> {
    [disk.crash_losing_all(), disk.crash_keeping_all()].into_iter().chain((0..4).map(move |n| disk.crash(seed * 7 + n)))
}

async fn empty_disk() -> SimIo {
    let disk = SimIo::new(1);
    open(&disk).await.expect("open");
    disk
}

/// Files of their own, places in segments that suffice, and such that are outgrown.
fn expected(seed: u64) -> Option<u64> {
    [None, Some(CAPACITY), Some(9_000)][usize::try_from(seed % 3).expect("small")]
}

#[tokio::test]
async fn promises_hold_over_losses_of_power() {
    let empty = empty_disk().await;
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut disk = empty.crash_keeping_all();
        let mut model = Model { expected: expected(seed), ..Model::default() };
        for life in 0..3 {
            disk.cut_power_at(rng.u64(1..60));
            script(&disk, &mut model, &mut rng, 30).await;
            let what = format!("seed {seed}, life {life}");
            for (number, found) in crashes(&disk, seed).enumerate() {
                model.check(&found, &format!("{what}, crash {number}")).await;
            }
            disk = disk.crash(rng.u64(..));
            model.resume(&disk).await;
        }
    }
}

#[tokio::test]
async fn promises_hold_over_failed_syncs() {
    let empty = empty_disk().await;
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = empty.crash_keeping_all();
        let mut model = Model { expected: expected(seed), ..Model::default() };
        for life in 0..3 {
            disk.fail_sync(rng.u64(1..16));
            script(&disk, &mut model, &mut rng, 40).await;
            disk.set_failing(Failing::default());
            for step in ["at its end", "found by the next"] {
                for (number, found) in crashes(&disk, seed).enumerate() {
                    model.check(&found, &format!("seed {seed}, life {life} {step}, crash {number}")).await;
                }
                model.restart(&disk).await;
            }
        }
    }
}

/// The first start of a store is cut short at every change: the next one opens it, empty.
#[tokio::test]
async fn a_new_store_survives_losses_of_power() {
    let whole = SimIo::new(1);
    open(&whole).await.expect("open");
    let changes = whole.changes();
    for cut in (1..=changes).filter(|cut| *cut < 5 || *cut + 12 > changes || cut % 40 == 0) {
        let disk = SimIo::new(cut);
        disk.cut_power_at(cut);
        open(&disk).await.map(drop).unwrap_or_default();
        for found in crashes(&disk, cut) {
            let store = open(&found).await.expect("open");
            assert_eq!(store.unknown().await.expect("unknown"), Vec::<String>::new());
            let mut writer = store
                .create(CreateReplica {
                    chunk: CHUNK,
                    generation: Generation(1),
                    capacity: 10,
                    state: ReplicaState::Rbw,
                })
                .await
                .expect("create");
            append(writer.as_mut(), b"whole", 5).await.expect("append");
            writer.finalize(true).await.expect("finalize");
            let found = found.crash_losing_all();
            let store = open(&found).await.expect("open");
            assert_eq!(store.verify(CHUNK).await.expect("verify").length, 5);
        }
    }
}

/// A kill of the process loses no appended byte, however small the appends.
#[tokio::test]
async fn every_appended_byte_survives_a_kill() {
    let disk = empty_disk().await;
    let store = open(&disk).await.expect("open");
    let options =
        CreateReplica { chunk: CHUNK, generation: Generation(1), capacity: CAPACITY, state: ReplicaState::Rbw };
    let mut writer = store.create(options).await.expect("create");
    let data = pattern(1, 20_000);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut length = 0;
    while length < data.len() {
        let more = rng.usize(1..1_500).min(data.len() - length);
        append(writer.as_mut(), &data[length..length + more], 700).await.expect("append");
        length += more;
        let killed = open(&disk.crash_keeping_all()).await.expect("open");
        assert_eq!(killed.stat(CHUNK).await.expect("stat").length, length as u64);
    }
}

/// What the scan cannot classify is kept, told, and does not keep others from their place.
#[tokio::test]
async fn strange_files_are_left_alone() {
    let disk = empty_disk().await;
    let store = open(&disk).await.expect("open");
    let root = Path::new(ROOT);
    let name = "0000000000000203.chunk";
    let strangers = [
        root.join("v1/rbw/notes.txt"),
        root.join("v1/rbw").join(name),
        root.join("v1/tmp/keep.me"),
        root.join("v1/finalized/02").join(name),
        root.join("v1/finalized/03").join(name),
        root.join("v1/finalized/zz"),
        root.join("v1/other"),
    ];
    for path in &strangers {
        disk.create_dir_all(path.parent().expect("below the root")).expect("directory");
        let file = disk.open(path, OpenMode::CreateNew).expect("create");
        file.write_all_at(0, &[7; 9_000]).expect("write");
    }
    drop(store);
    let store = open(&disk).await.expect("open");
    let reports = store.unknown().await.expect("unknown");
    assert_eq!(reports.len(), strangers.len(), "{reports:#?}");
    for path in &strangers {
        assert!(reports.iter().any(|report| report.starts_with(&format!("{}: ", path.display()))), "{reports:#?}");
    }
    let options =
        CreateReplica { chunk: CHUNK, generation: Generation(1), capacity: CAPACITY, state: ReplicaState::Rbw };
    let mut writer = store.create(options).await.expect("steps aside");
    append(writer.as_mut(), b"data", 4).await.expect("append");
    writer.finalize(true).await.expect("steps aside");
    assert_eq!(store.verify(CHUNK).await.expect("verify").length, 4);
    let aside = root.join("v1/finalized/02").join(format!("{name}.unknown-1"));
    assert_eq!(disk.read(&aside, 10_000).expect("kept")[..], [7; 9_000]);
}

/// A disk that is full in the middle of a packet leaves the writer where it was.
#[tokio::test]
async fn a_full_disk_leaves_the_writer_consistent() {
    let disk = empty_disk().await;
    let store = open(&disk).await.expect("open");
    let options =
        CreateReplica { chunk: CHUNK, generation: Generation(1), capacity: CAPACITY, state: ReplicaState::Rbw };
    let mut writer = store.create(options).await.expect("create");
    let data = pattern(2, 60_000);
    append(writer.as_mut(), &data[..10_000], 4_000).await.expect("append");
    for room in 0..4 {
        disk.set_capacity(Some(disk.used() + room * 4_096));
        let error = append(writer.as_mut(), &pattern(room, 40_000), 40_000).await.expect_err("full");
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        assert_eq!(writer.replica().length, 10_000);
        let killed = open(&disk.crash_keeping_all()).await.expect("open");
        let found = killed.stat(CHUNK).await.expect("stat").length;
        assert!(found == 10_000 || found == 50_000, "{found}");
    }
    disk.set_capacity(None);
    append(writer.as_mut(), &data[10_000..], 9_000).await.expect("append");
    writer.finalize(true).await.expect("finalize");
    store.verify(CHUNK).await.expect("verify");
    let reader = store.open(CHUNK, Generation(1)).await.expect("open");
    assert_eq!(read_all(reader.as_ref(), 1 << 20).await.expect("read"), data);
}
