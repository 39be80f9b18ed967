//! The namespace on the durable store when power goes, at any moment of random operations.
//!
//! The same operations are made on a store in memory first, and the rows are noted as they are after each transaction. Whatever is found after the
//! loss must be one of these states, whole, and none from before the last answer. Then each sync is left out once, which must
//! not go unnoticed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::sync::Notify;

use super::random::{Machine as Player, NODES, Op, ops};
use super::replays::rows;
use super::*;
use crate::io::{DiskSpace, Entry, Io, IoFile, LockGuard, OpenMode, SimIo};
use crate::metadata::machine::{Found, Machine};
use crate::metadata::{Announcements, FjallStore, ReadBox, Row, TransactionBox};

/// The rows after each version.
type States = BTreeMap<u64, Vec<Row>>;

/// The same operations in each run of a test, so many that most of them change something.
async fn script(length: usize) -> Vec<Op> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let store = Arc::new(MemoryStore::new(Incarnation::from_random(1)));
    let mut player = Player::with(Fixture::over(Arc::clone(&store) as _, NODES).await);
    let mut script = Vec::new();
    while script.len() < length {
        let op = ops().new_tree(&mut runner).expect("an operation").current();
        let before = store.version().await.unwrap();
        player.run(op.clone()).await;
        if store.version().await.unwrap() > before {
            script.push(op);
        }
    }
    script
}

/// Makes the operations until they are done or the store has failed; gives the last version that was answered.
async fn play(store: Arc<Watched>, script: &[Op]) -> u64 {
    let watched = Arc::clone(&store);
    let playing = async move {
        let mut player = Player::with(Fixture::over(store, NODES).await);
        for op in script {
            player.run(op.clone()).await;
        }
    };
    tokio::select! {
        () = playing => {}
        () = watched.failed.notified() => {}
    }
    watched.answered.load(Ordering::SeqCst)
}

async fn states(script: &[Op]) -> States {
    let store = Watched::new(Arc::new(MemoryStore::new(Incarnation::from_random(1))), None);
    play(Arc::clone(&store), script).await;
    std::mem::take(&mut *store.states.lock().unwrap())
}

/// Plays on the store of a machine, whose disk is seen through `io`.
async fn play_on(machine: &Machine, io: Arc<dyn Io>, script: &[Op]) -> u64 {
    let Ok(store) = machine.open_through(io) else { return 0 };
    let store = Arc::new(store);
    play(Watched::new(Arc::clone(&store) as _, Some(store)), script).await
}

/// Whether a machine comes back with what it must have: why not.
async fn judge(machine: &Machine, answered: u64, states: &States) -> std::result::Result<(), String> {
    let store: Arc<dyn MetadataStore> = Arc::new(machine.open().map_err(|error| error.report())?);
    let version = store.version().await.unwrap().0;
    // One call at a time: besides what was answered, there can be one more.
    if !(answered..=answered + 1).contains(&version) {
        return Err(format!("version {answered} was answered and {version} is found"));
    }
    if states.get(&version) != Some(&rows(&store).await) {
        return Err(format!("the rows are not those of version {version}"));
    }
    if version == 0 {
        return Ok(());
    }
    // Life goes on.
    let namespace = Namespace::new(Arc::clone(&store), NamespaceSettings::default(), Env::simulated(2)).unwrap();
    if namespace.cluster().await.is_ok() {
        let session = namespace.open_session("later".into()).await.unwrap();
        let call = Call { session, slot: 0, sequence: 1 };
        // A quota may stand against it.
        let made = namespace.mkdir(call, at("/later"), MkdirOptions::default()).await;
        assert!(made.is_ok() || made.is_err_and(|error| error.kind() == ErrorKind::QuotaExceeded));
        let violations = namespace.check().await.unwrap();
        if !violations.is_empty() {
            return Err(format!("{violations:?}"));
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn power_may_go_in_any_operation() {
    let script = script(100).await;
    let states = states(&script).await;
    let fresh = Machine::new().await;
    let whole = fresh.crash(0, Found::All);
    let before = whole.io.changes();
    let last = play_on(&whole, Arc::new(whole.io.clone()), &script).await;
    assert_eq!(Some(&last), states.keys().last());
    assert!(last > 100 && whole.copies() > 4, "{last} transactions, persisted {} times", whole.copies());
    let changes = whole.io.changes() - before;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut older = 0;
    for round in 0..12 {
        let machine = fresh.crash(0, Found::All);
        machine.io.cut_power_at(rng.u64(1..=changes));
        let answered = play_on(&machine, Arc::new(machine.io.clone()), &script).await;
        let copies = machine.copies();
        let some = [copies.saturating_sub(2), rng.usize(0..copies)].map(Found::Copy);
        for found in [Found::Persisted, Found::All].into_iter().chain(some) {
            let after = machine.crash(round, found);
            let what = format!("round {round}, {found:?} of {copies}, {answered} answered");
            if after.applied().unwrap() < after.point().unwrap() {
                older += 1;
                let refused = after.open().expect_err(&what);
                assert_eq!(refused.kind(), ErrorKind::Corrupt, "{what}: {refused}");
            } else {
                judge(&after, answered, &states).await.unwrap_or_else(|why| panic!("{what}: {why}"));
            }
        }
    }
    assert!(older > 0, "no copy was older than the last point");
}

#[tokio::test(start_paused = true)]
async fn no_sync_can_be_left_out_unnoticed() {
    let script = script(100).await;
    let states = states(&script).await;
    let fresh = Machine::new().await;
    for forgotten in [Sync::Record, Sync::Header, Sync::SegmentName, Sync::Point, Sync::PointName] {
        let whole = fresh.crash(0, Found::All);
        let forgetful = Forgetful::new(&whole.io, forgotten);
        let begin = whole.io.changes();
        play_on(&whole, Arc::new(forgetful.clone()), &script).await;
        let places = std::mem::take(&mut forgetful.state.lock().unwrap().places);
        assert!(!places.is_empty(), "{forgotten:?} is never asked for");
        let mut rng = fastrand::Rng::with_seed(1);
        let mut noticed = None;
        for round in 0..60 {
            let machine = fresh.crash(0, Found::All);
            // Soon after it matters.
            let place = places[rng.usize(0..places.len())] - begin;
            machine.io.cut_power_at(place + rng.u64(1..4));
            let forgetful = Arc::new(Forgetful::new(&machine.io, forgotten));
            let answered = play_on(&machine, forgetful, &script).await;
            let after = machine.crash(round, if rng.bool() { Found::Persisted } else { Found::All });
            noticed = judge(&after, answered, &states).await.err();
            if noticed.is_some() {
                eprintln!("{forgotten:?}: round {round}: {noticed:?}");
                break;
            }
        }
        assert!(noticed.is_some(), "{forgotten:?} is left out, and nothing is wrong");
    }
}

/// A store that notes what it answers, and that says no more once the one below has failed.
#[derive(Debug)]
struct Watched {
    store: Arc<dyn MetadataStore>,
    /// The same, if it can fail.
    durable: Option<Arc<FjallStore>>,
    answered: AtomicU64,
    failed: Notify,
    states: Mutex<States>,
}

impl Watched {
    /// Notes all rows after each transaction of a store that can't fail.
    fn new(store: Arc<dyn MetadataStore>, durable: Option<Arc<FjallStore>>) -> Arc<Self> {
        let states = Mutex::new(BTreeMap::from([(0, Vec::new())]));
        Arc::new(Self { store, durable, answered: AtomicU64::new(0), failed: Notify::new(), states })
    }

    /// What came of a call, unless the store has failed: then nobody hears of it.
    async fn heard<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() && self.durable.as_ref().is_some_and(|store| store.failure().is_some()) {
            self.failed.notify_one();
            std::future::pending::<()>().await;
        }
        outcome
    }
}

#[async_trait]
impl MetadataStore for Watched {
    async fn transact(&self, body: TransactionBox) -> Result<(TransactionBox, Version)> {
        let (body, version) = self.heard(self.store.transact(body).await).await?;
        let before = self.answered.fetch_max(version.0, Ordering::SeqCst);
        if self.durable.is_none() && version.0 > before {
            let rows = rows(&self.store).await;
            self.states.lock().unwrap().insert(version.0, rows);
        }
        Ok((body, version))
    }

    async fn read(&self, body: ReadBox) -> Result<ReadBox> {
        self.heard(self.store.read(body).await).await
    }

    async fn version(&self) -> Result<Version> {
        self.heard(self.store.version().await).await
    }

    async fn changes(&self, from: Place, limit: usize) -> Result<Announcements> {
        self.heard(self.store.changes(from, limit).await).await
    }

    async fn oldest_change(&self) -> Result<Place> {
        self.heard(self.store.oldest_change().await).await
    }

    async fn newer_than(&self, since: Version) -> Result<Version> {
        self.heard(self.store.newer_than(since).await).await
    }

    fn incarnation(&self) -> Incarnation {
        self.store.incarnation()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

/// Why something is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// A record of the log, before it is answered.
    Record,
    /// The first page of a segment, before the segment has its name.
    Header,
    /// The name of a new segment, before there is a record in it.
    SegmentName,
    /// Names that were found, when the log is opened.
    Found,
    /// Up to where the rows are persisted, before that gets its name.
    Point,
    /// That name, before the log is trimmed.
    PointName,
}

/// A disk that leaves out one kind of sync.
#[derive(Clone, Debug)]
struct Forgetful {
    io: SimIo,
    forgotten: Sync,
    state: Arc<Mutex<Forgetting>>,
}

#[derive(Debug, Default)]
struct Forgetting {
    /// How many changes the disk had seen each time that it could matter.
    places: Vec<u64>,
    /// The last change of names was that of a segment that begins.
    begins: bool,
}

impl Forgetful {
    fn new(io: &SimIo, forgotten: Sync) -> Self {
        Self { io: io.clone(), forgotten, state: Arc::default() }
    }

    fn forgets(&self, sync: Sync) -> bool {
        if sync == self.forgotten {
            self.state.lock().unwrap().places.push(self.io.changes());
        }
        sync == self.forgotten
    }
}

impl Io for Forgetful {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        let file = self.io.open(path, mode)?;
        Ok(Arc::new(ForgetfulFile { io: self.clone(), file, path: path.to_owned(), written: Mutex::default() }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.io.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.io.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().unwrap().begins = to.extension().is_some_and(|extension| extension == "seg");
        self.io.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state.lock().unwrap().begins = false;
        self.io.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let begins = self.state.lock().unwrap().begins;
        let why = match path.ends_with("log") {
            true if begins => Sync::SegmentName,
            true => Sync::Found,
            false => Sync::PointName,
        };
        if self.forgets(why) { Ok(()) } else { self.io.sync_dir(path) }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.io.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.io.space(path)
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.io.lock(folder)
    }
}

#[derive(Debug)]
struct ForgetfulFile {
    io: Forgetful,
    file: Arc<dyn IoFile>,
    path: PathBuf,
    /// Offset and length of the last write.
    written: Mutex<(u64, usize)>,
}

impl IoFile for ForgetfulFile {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.file.read_at(offset, length)
    }

    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        *self.written.lock().unwrap() = (offset, data.len());
        self.file.write_all_at(offset, data)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let why = match *self.written.lock().unwrap() {
            _ if !self.path.parent().is_some_and(|folder| folder.ends_with("log")) => Some(Sync::Point),
            (0, 4_096) => Some(Sync::Header),
            // The zeros of a spare segment: should they get lost, a header is synced over them.
            (0, _) => None,
            _ => Some(Sync::Record),
        };
        if why.is_some_and(|why| self.io.forgets(why)) { Ok(()) } else { self.file.sync_data() }
    }

    fn start_writeback(&self, offset: u64, length: u64) -> io::Result<()> {
        self.file.start_writeback(offset, length)
    }

    fn drop_cached(&self, offset: u64, length: u64) -> io::Result<()> {
        self.file.drop_cached(offset, length)
    }
}
