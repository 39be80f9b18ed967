//! Several volumes keep the contract of one store, and the loss of one is the loss of what lay there and nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{VolumeStore, VolumesOptions};
use crate::chunk::conformance::{self, Factory, Part, append, pattern, rbw, read_all};
use crate::chunk::{ChunkStore, CreateReplica, MemoryStore, ReopenReplica, ReplicaState};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation, NodeUuid};
use crate::io::{FailingIo, Fault, Io, OpenMode, SimIo};

/// Volumes in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<Vec<MemoryStore>>);

impl Memory {
    async fn over(stores: &[MemoryStore]) -> Arc<dyn ChunkStore> {
        let named = stores.iter().enumerate();
        let named = named.map(|(at, store)| (format!("memory {at}"), Arc::new(store.clone()) as Arc<dyn ChunkStore>));
        Arc::new(VolumeStore::over(named.collect(), Env::simulated(1)).await.expect("volumes"))
    }
}

#[async_trait]
impl Factory for Memory {
    async fn create(&self, capacity: Option<u64>) -> Arc<dyn ChunkStore> {
        // All room on one, so that there is as much as the check has asked for wherever it writes.
        let others = || MemoryStore::new(capacity.map(|_| 0));
        let stores = vec![others(), MemoryStore::new(capacity), others()];
        self.0.lock().clone_from(&stores);
        Self::over(&stores).await
    }

    async fn restart(&self) -> Arc<dyn ChunkStore> {
        let stores: Vec<_> = self.0.lock().iter().map(MemoryStore::restarted).collect();
        self.0.lock().clone_from(&stores);
        Self::over(&stores).await
    }

    async fn damage(&self, _: ChunkId, _: Part) -> bool {
        false
    }
}

/// A node with volumes in folders.
#[derive(Debug)]
struct Node {
    /// The disks without their faults.
    disk: Arc<SimIo>,
    io: FailingIo,
    volumes: Vec<PathBuf>,
    capacity: Option<u64>,
    small: u64,
    seed: u64,
}

impl Node {
    fn new(seed: u64, volumes: usize) -> Self {
        let disk = Arc::new(SimIo::new(seed));
        let io = FailingIo::new(Arc::clone(&disk) as _);
        io.create_dir_all(Path::new("/node")).expect("the node's folder");
        let volumes = (1..=volumes).map(|number| PathBuf::from(format!("/disk{number}"))).collect();
        Self { disk, io, volumes, capacity: None, small: 0, seed }
    }

    async fn open(&self) -> Result<VolumeStore> {
        self.open_with(&[]).await
    }

    async fn open_with(&self, replaced: &[&str]) -> Result<VolumeStore> {
        let options = VolumesOptions {
            node: NodeUuid::from_random(7),
            folder: "/node".into(),
            volumes: self.volumes.clone(),
            replaced: replaced.iter().map(PathBuf::from).collect(),
            capacity: self.capacity,
            reserve: 0,
            small: self.small,
        };
        VolumeStore::open(options, Arc::new(self.io.clone()), Env::simulated(self.seed)).await
    }

    /// The number of the volume, from 0, that holds a chunk's file.
    fn home(&self, chunk: ChunkId) -> usize {
        let holds = |volume: &PathBuf| {
            let path = |state: &str| volume.join(format!("chunks/v1/{state}/{:016x}.chunk", chunk.get()));
            let fan = format!("finalized/{:02x}", (chunk.get() >> 8) & 0xff);
            ["rbw", &fan].iter().any(|state| self.disk.exists(&path(state)).expect("look"))
        };
        self.volumes.iter().position(holds).expect("it is somewhere")
    }
}

/// Directory stores on volumes, one of which has all the room where that is bounded.
#[derive(Debug)]
struct Directories {
    node: Mutex<Arc<Node>>,
    made: Mutex<u64>,
}

#[async_trait]
impl Factory for Directories {
    async fn create(&self, capacity: Option<u64>) -> Arc<dyn ChunkStore> {
        let seed = {
            let mut made = self.made.lock();
            *made += 1;
            *made
        };
        // With a bound there is one volume, since the check fills it and expects that deleting makes room for the other replica.
        let mut node = Node::new(seed, if capacity.is_some() { 1 } else { 3 });
        (node.capacity, node.small) = (capacity, 1 << 20);
        *self.node.lock() = Arc::new(node);
        self.restart().await
    }

    async fn restart(&self) -> Arc<dyn ChunkStore> {
        let node = Arc::clone(&self.node.lock());
        Arc::new(node.open().await.expect("open"))
    }

    async fn damage(&self, chunk: ChunkId, part: Part) -> bool {
        let node = Arc::clone(&self.node.lock());
        if part != Part::Everything {
            return false;
        }
        let fan = format!("finalized/{:02x}", (chunk.get() >> 8) & 0xff);
        let home = &node.volumes[node.home(chunk)];
        let path = home.join(format!("chunks/v1/{fan}/{:016x}.chunk", chunk.get()));
        node.io.remove_file(&path).expect("remove");
        true
    }
}

#[tokio::test]
async fn volumes_in_memory_conform() {
    conformance::all(&Memory::default()).await;
}

#[tokio::test]
async fn volumes_in_folders_conform() {
    conformance::all(&Directories { node: Mutex::new(Arc::new(Node::new(1, 1))), made: Mutex::default() }).await;
}

async fn write(store: &dyn ChunkStore, chunk: u64, generation: u64, data: &[u8]) -> Result<()> {
    let mut writer = store.create(rbw(ChunkId(chunk), generation)).await?;
    append(writer.as_mut(), data, 100_000).await?;
    writer.finalize(true).await.map(drop)
}

async fn contents(store: &dyn ChunkStore, chunk: u64) -> Result<Vec<u8>> {
    let reader = store.open(ChunkId(chunk), Generation(0)).await?;
    read_all(reader.as_ref(), 100_000).await
}

async fn failures(store: &VolumeStore) -> Vec<bool> {
    store.volumes().await.expect("volumes").iter().map(|volume| volume.failure.is_some()).collect()
}

fn kind<T>(outcome: Result<T>) -> ErrorKind {
    outcome.map_err(|error| error.kind()).err().expect("it must fail")
}

/// Chunks 1 to 12, dealt out over the volumes.
async fn filled(node: &Node) -> VolumeStore {
    let store = node.open().await.expect("open");
    for chunk in 1..=12 {
        write(&store, chunk, 1, &pattern(chunk, 50_000)).await.expect("write");
    }
    let homes: std::collections::BTreeSet<_> = (1..=12).map(|chunk| node.home(ChunkId(chunk))).collect();
    assert_eq!(homes.len(), node.volumes.len(), "each has some");
    store
}

/// What lies on a volume that is out of use is not there, and all else is.
async fn check_all(node: &Node, store: &VolumeStore, out: Option<usize>) {
    let listed: Vec<u64> = store.list(0..u64::MAX, 100).await.expect("list").iter().map(|r| r.chunk.get()).collect();
    for chunk in 1..=12 {
        let here = out != Some(node.home(ChunkId(chunk)));
        assert_eq!(listed.contains(&chunk), here, "chunk {chunk} of {listed:?}");
        match contents(store, chunk).await {
            Ok(data) => assert!(here && data == pattern(chunk, 50_000), "chunk {chunk}"),
            Err(error) => assert!(!here && error.kind() == ErrorKind::NotFound, "chunk {chunk}: {error}"),
        }
        let verified = store.verify(ChunkId(chunk)).await;
        assert_eq!(verified.is_ok(), here, "chunk {chunk}: {verified:?}");
    }
}

/// EIO wherever it may come from, a file system that turns read-only, and a folder that is gone: the volume goes, the others go on, and a
/// start without the fault takes it in again.
#[tokio::test]
async fn a_volume_that_fails_goes_and_the_others_go_on() {
    for (number, fault) in
        [Fault::All, Fault::Writes, Fault::Syncs, Fault::ReadOnly, Fault::Reads].into_iter().enumerate()
    {
        let node = Node::new(number as u64 + 1, 3);
        let store = filled(&node).await;
        let bad = node.home(ChunkId(1));
        node.io.fail(&node.volumes[bad], fault);
        // Whoever meets it first: a writer or a reader, in the middle of what it does.
        let mut written = Vec::new();
        for chunk in 100..140 {
            match write(&store, chunk, 1, &pattern(chunk, 20_000)).await {
                Ok(()) => written.push(chunk),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{fault:?}: {error}"),
            }
            let _ = contents(&store, 1).await;
        }
        let expected: Vec<bool> = (0..3).map(|at| at == bad).collect();
        assert_eq!(failures(&store).await, expected, "{fault:?}");
        assert!(written.len() > 30, "{fault:?}: a few fail, the others go elsewhere: {written:?}");
        for chunk in written {
            if node.home(ChunkId(chunk)) != bad {
                assert_eq!(contents(&store, chunk).await.expect("read"), pattern(chunk, 20_000));
            }
        }
        check_all(&node, &store, Some(bad)).await;
        let space = store.space().await.expect("space");
        assert!(space.available > 0 && store.volumes().await.expect("volumes")[bad].space == Default::default());
        node.io.heal(&node.volumes[bad]);
        check_all(&node, &store, Some(bad)).await;
        drop(store);
        let store = node.open().await.expect("open again");
        assert_eq!(failures(&store).await, [false; 3]);
        check_all(&node, &store, None).await;
    }
}

/// A writer that has its files open when the folder goes acknowledges nothing more, although the files can be written.
#[tokio::test]
async fn a_writer_on_a_volume_that_is_gone_acknowledges_nothing() {
    let node = Node::new(3, 2);
    let store = node.open().await.expect("open");
    let mut writer = store.create(rbw(ChunkId(1), 1)).await.expect("create");
    append(writer.as_mut(), &pattern(1, 9_000), 9_000).await.expect("append");
    let bad = node.home(ChunkId(1));
    node.io.remove_file(&node.volumes[bad].join("volume")).expect("unmounted");
    store.space().await.expect("the look that finds it out");
    assert_eq!(kind(append(writer.as_mut(), &pattern(2, 9_000), 9_000).await), ErrorKind::Io);
    assert_eq!(kind(writer.sync().await), ErrorKind::Io);
    assert_eq!(kind(writer.finalize(true).await), ErrorKind::Io);
    assert_eq!(kind(store.stat(ChunkId(1)).await), ErrorKind::NotFound);
    store.delete(ChunkId(1), Generation(1)).await.expect("what is not there needs no deletion");
    write(&store, 1, 2, &pattern(3, 9_000)).await.expect("the other volume takes it");
    drop(store);
    // Without its mark it is not taken for a new one, nor with the node's word for it that it is full of other things.
    let store = node.open().await.expect("the other one is enough");
    let why = store.volumes().await.expect("volumes")[bad].failure.clone().expect("not mounted");
    assert!(why.contains("mounted"), "{why}");
}

/// Once a disk does not do what it is asked again and again it goes, though its probes pass.
#[tokio::test]
async fn bad_sectors_are_a_matter_of_their_replicas_until_there_are_many() {
    let node = Node::new(4, 2);
    let store = filled(&node).await;
    let bad = node.home(ChunkId(1));
    let fan = node.volumes[bad].join("chunks/v1/finalized");
    node.io.fail(&fan, Fault::Reads);
    for round in 1..super::health::TOLERATED {
        assert_eq!(kind(contents(&store, 1).await), ErrorKind::Io, "{round}");
        assert_eq!(failures(&store).await, [false, false]);
    }
    assert_eq!(kind(contents(&store, 1).await), ErrorKind::Io);
    assert!(failures(&store).await[bad]);
    check_all(&node, &store, Some(bad)).await;
}

/// A full volume is passed over, keeps what it has, and deletes.
#[tokio::test]
async fn a_full_volume_is_passed_over_and_deletes() {
    let mut node = Node::new(5, 2);
    node.capacity = Some(1 << 20);
    let store = node.open().await.expect("open");
    let mut written = 0;
    let error = loop {
        match write(&store, written + 1, 1, &pattern(written + 1, 100_000)).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(written >= 16, "both are full: {written}");
    assert_eq!(failures(&store).await, [false, false], "a full disk is no failed one");
    for chunk in 1..=written {
        assert_eq!(contents(&store, chunk).await.expect("read"), pattern(chunk, 100_000));
    }
    store.delete(ChunkId(written + 1), Generation(1)).await.expect("what did not fit");
    let (first, last) = (ChunkId(1), ChunkId(2));
    for chunk in [first, last] {
        store.delete(chunk, Generation(1)).await.expect("delete");
    }
    store.space().await.expect("measured");
    write(&store, 500, 1, &pattern(500, 100_000)).await.expect("there is room again, wherever it is");
}

/// Free space, and fewer writers, draw new replicas.
#[tokio::test]
async fn new_replicas_go_where_there_is_room_and_few_write() {
    let stores = [MemoryStore::new(Some(30 << 20)), MemoryStore::new(Some(90 << 20))];
    let named = stores.iter().enumerate();
    let named = named.map(|(at, store)| (at.to_string(), Arc::new(store.clone()) as Arc<dyn ChunkStore>)).collect();
    let store = VolumeStore::over(named, Env::simulated(9)).await.expect("volumes");
    for chunk in 0..400 {
        write(&store, chunk, 1, &pattern(1, 10_000)).await.expect("write");
        if chunk % 10 == 0 {
            store.space().await.expect("measure");
        }
    }
    let count = async |store: &MemoryStore| store.list(0..u64::MAX, 1_000).await.expect("list").len();
    let small = count(&stores[0]).await;
    assert!((60..140).contains(&small), "about a quarter: {small}");
    let mut writers = Vec::new();
    for chunk in 1_000..1_100 {
        writers.push(store.create(CreateReplica { capacity: 10_000, ..rbw(ChunkId(chunk), 1) }).await.expect("create"));
    }
    let busy = count(&stores[0]).await - small;
    assert!((20..50).contains(&busy), "writers count, so that disks work alike: {busy}");
}

/// The node got a chunk again on another volume while the first was away.
#[tokio::test]
async fn of_two_replicas_the_later_is_offered_and_the_other_goes_once_that_is_proved() {
    for later in [2, 1] {
        let node = Node::new(10 + later, 2);
        let store = filled(&node).await;
        let bad = node.home(ChunkId(1));
        let away = node.volumes[bad].join("volume");
        let mark = node.io.read(&away, 1_000).expect("the mark");
        node.io.remove_file(&away).expect("unmounted");
        store.space().await.expect("found out");
        let copy = CreateReplica { state: ReplicaState::Temporary, ..rbw(ChunkId(1), later) };
        let data = if later == 1 { pattern(1, 50_000) } else { pattern(77, 60_000) };
        let mut writer = store.create(copy).await.expect("a copy");
        append(writer.as_mut(), &data, 20_000).await.expect("append");
        writer.finalize(true).await.expect("finalize");
        drop(store);
        let restored = node.io.open(&away, OpenMode::CreateNew).expect("mounted again");
        restored.write_all_at(0, &mark).expect("write");
        let store = node.open().await.expect("open");
        assert_eq!(store.twins(), [ChunkId(1)]);
        let count =
            async || store.list(0..u64::MAX, 100).await.expect("list").iter().filter(|r| r.chunk.get() == 1).count();
        assert_eq!(count().await, 1, "told once");
        assert_eq!(contents(&store, 1).await.expect("read"), data, "the later one");
        let hidden = |store: &VolumeStore| {
            let volumes = store.inner.volumes.clone();
            async move { volumes[bad].store().expect("in use").stat(ChunkId(1)).await.is_ok() }
        };
        if later == 2 {
            assert!(hidden(&store).await, "nothing is deleted for being a twin alone");
        }
        store.verify(ChunkId(1)).await.expect("proved");
        assert!(store.twins().is_empty());
        let left = [hidden(&store).await, {
            let other = store.inner.volumes[1 - bad].store().expect("in use");
            other.stat(ChunkId(1)).await.is_ok()
        }];
        assert_eq!(left.iter().filter(|there| **there).count(), 1, "one is left");
        assert_eq!(contents(&store, 1).await.expect("read"), data);
        store.delete(ChunkId(1), Generation(later)).await.expect("delete");
        assert_eq!(kind(store.stat(ChunkId(1)).await), ErrorKind::NotFound);
    }
}

/// A deletion that comes before the proof takes both.
#[tokio::test]
async fn a_deletion_takes_twins_together_and_a_later_one_by_itself_stays() {
    let stores = [MemoryStore::new(None), MemoryStore::new(None)];
    write(&stores[0], 1, 1, b"older").await.expect("write");
    write(&stores[1], 1, 2, b"later").await.expect("write");
    write(&stores[0], 2, 1, b"whole").await.expect("write");
    let mut unfinished = stores[1].create(rbw(ChunkId(2), 3)).await.expect("create");
    append(unfinished.as_mut(), b"begun", 10).await.expect("append");
    drop(unfinished);
    let named = || stores.iter().map(|store| ("v".to_owned(), Arc::new(store.restarted()) as Arc<dyn ChunkStore>));
    let store = VolumeStore::over(named().collect(), Env::simulated(1)).await.expect("volumes");
    assert_eq!(store.twins(), [ChunkId(1), ChunkId(2)]);
    assert_eq!(contents(&store, 1).await.expect("read"), b"later");
    assert_eq!(store.stat(ChunkId(2)).await.expect("stat").state, ReplicaState::Rwr, "as the node was last");
    assert_eq!(kind(store.delete(ChunkId(1), Generation(1)).await), ErrorKind::Fenced);
    assert_eq!(contents(&store, 1).await.expect("read"), b"later");
    store.delete(ChunkId(1), Generation(2)).await.expect("delete");
    assert_eq!(kind(store.stat(ChunkId(1)).await), ErrorKind::NotFound, "both are gone");
    // A writer takes the unfinished one up; the whole one stays until it is finished and proved.
    let reopen = ReopenReplica { chunk: ChunkId(2), generation: Generation(4), length: 5 };
    let writer = store.reopen(reopen).await.expect("reopen");
    assert_eq!(store.twins(), [ChunkId(2)]);
    writer.finalize(true).await.expect("finalize");
    store.verify(ChunkId(2)).await.expect("proved");
    assert!(store.twins().is_empty());
}

/// Which folders are taken in.
#[tokio::test]
async fn folders_are_taken_for_what_their_marks_say() {
    let mut node = Node::new(6, 2);
    drop(filled(&node).await);
    let refused = async |node: &Node, what: &str| {
        let error = node.open().await.map(drop).expect_err("refused");
        assert!(error.message().contains(what), "{error}");
        error.kind()
    };
    // Moved to other names, each is what it was.
    node.volumes.reverse();
    let store = node.open().await.expect("open");
    assert_eq!(failures(&store).await, [false, false]);
    check_all(&node, &store, None).await;
    drop(store);
    node.volumes.push("/disk1".into());
    assert_eq!(refused(&node, "twice").await, ErrorKind::InvalidArgument);
    node.volumes.pop();
    // An empty folder where a volume was.
    let away = node.volumes[0].clone();
    node.io.rename(&away.join("volume"), &away.join("volume.away")).expect("rename");
    let store = node.open().await.expect("the other one");
    assert_eq!(failures(&store).await, [true, false]);
    drop(store);
    let store = node.open_with(&[away.to_str().expect("UTF-8")]).await.expect("open");
    assert_eq!(failures(&store).await, [true, false], "it is not empty");
    drop(store);
    // None is left.
    let other = node.volumes[1].clone();
    node.io.rename(&other.join("volume"), &other.join("volume.away")).expect("rename");
    assert_eq!(refused(&node, "no volume can be used").await, ErrorKind::FailedPrecondition);
    // The node's own folder holds replicas that nobody would find.
    let own = Node::new(7, 0);
    drop(own.open().await.expect("the node's own folder is its volume"));
    let more = Node { volumes: vec!["/disk1".into()], ..own };
    assert_eq!(refused(&more, "--volume /node").await, ErrorKind::InvalidArgument);
    let both = Node { volumes: vec!["/node".into(), "/disk1".into()], ..more };
    assert_eq!(failures(&both.open().await.expect("open")).await, [false, false]);
}

/// A creation whose caller goes away goes on, and nobody makes another on another volume meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_whose_caller_went_away_is_the_only_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = |name: &str| folder.path().join(name);
    std::fs::create_dir(disk("node")).expect("a folder");
    let options = VolumesOptions {
        node: NodeUuid::from_random(7),
        folder: disk("node"),
        volumes: vec![disk("1"), disk("2"), disk("3")],
        replaced: Vec::new(),
        capacity: None,
        reserve: 0,
        small: 0,
    };
    let store = VolumeStore::open(options, Arc::new(crate::io::DiskIo), Env::system()).await.expect("open");
    for chunk in 1..100 {
        {
            let mut first = store.create(rbw(ChunkId(chunk), 1));
            let _ = futures::poll!(&mut first);
        }
        let second = store.create(rbw(ChunkId(chunk), 2)).await.map(drop);
        assert!(second.is_ok(), "{second:?}");
        let mut holders = 0;
        for volume in &store.inner.volumes {
            holders += usize::from(volume.store().expect("in use").stat(ChunkId(chunk)).await.is_ok());
        }
        assert_eq!(holders, 1, "chunk {chunk}");
    }
    store.space().await.expect("tidied");
}

/// All volumes out of use: nothing is there, and nothing can be made.
#[tokio::test]
async fn without_a_volume_there_is_nothing_left() {
    let node = Node::new(8, 1);
    let store = filled(&node).await;
    node.io.fail("/disk1", Fault::All);
    store.space().await.expect("space");
    assert_eq!(failures(&store).await, [true]);
    assert_eq!(store.list(0..u64::MAX, 10).await.expect("list"), []);
    assert_eq!(kind(write(&store, 50, 1, b"new").await), ErrorKind::Io);
    assert_eq!(store.space().await.expect("space"), Default::default());
    let error: Error = node.open().await.map(drop).expect_err("nothing to start with");
    assert_eq!(error.kind(), ErrorKind::Io);
}
