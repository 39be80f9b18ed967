//! The suite over the durable store, and what it refuses to open.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{FjallOptions, FjallStore, Written};
use crate::env::Env;
use crate::error::{ErrorKind, Result};
use crate::io::{DiskIo, Io};
use crate::metadata::conformance::{self, StoreFactory};
use crate::metadata::tests::Missing;
use crate::metadata::{MetadataStore, MetadataStoreExt, Range, Snapshot, Space, Stamped, Transaction};

/// Stores in temporary folders.
#[derive(Debug)]
struct Folders {
    options: FjallOptions,
    /// Whether a store is ended by copying its folder while it is open, as a SIGKILL would leave it.
    abrupt: bool,
    folders: Mutex<HashMap<usize, (TempDir, Arc<FjallStore>)>>,
}

impl Folders {
    fn new(mut options: FjallOptions, abrupt: bool) -> Self {
        // The suite looks for all that it announced.
        options.retained_log_bytes = 64 << 20;
        Self { options, abrupt, folders: Mutex::default() }
    }

    fn keep(&self, folder: TempDir, store: FjallStore) -> Arc<dyn MetadataStore> {
        let store = Arc::new(store);
        let handle: Arc<dyn MetadataStore> = store.clone();
        self.folders.lock().insert(address(&handle), (folder, store));
        handle
    }
}

fn address(store: &Arc<dyn MetadataStore>) -> usize {
    Arc::as_ptr(store).cast::<()>() as usize
}

#[async_trait]
impl StoreFactory for Folders {
    async fn create(&self) -> Arc<dyn MetadataStore> {
        let folder = tempfile::tempdir().expect("folder");
        let store = FjallStore::create(folder.path(), self.options.clone(), Arc::new(DiskIo), &Env::system()).await;
        self.keep(folder, store.expect("create"))
    }

    async fn create_forgetful(&self) -> Option<Arc<dyn MetadataStore>> {
        let folder = tempfile::tempdir().expect("folder");
        let options = FjallOptions { retained_log_bytes: 48 << 10, ..tiny() };
        let store = FjallStore::create(folder.path(), options, Arc::new(DiskIo), &Env::system()).await;
        Some(self.keep(folder, store.expect("create")))
    }

    async fn reopen(&self, store: Arc<dyn MetadataStore>) -> Option<Arc<dyn MetadataStore>> {
        let (mut folder, concrete) = self.folders.lock().remove(&address(&store)).expect("made here");
        if self.abrupt {
            let copy = tempfile::tempdir().expect("folder");
            copy_folder(folder.path(), copy.path());
            folder = copy;
        }
        drop((store, concrete));
        let store = open(folder.path(), &self.options).await.expect("open");
        Some(self.keep(folder, store))
    }
}

/// Copies what a killed process leaves: rows, then log, then state, so that no later part rests on an earlier one that
/// is not there yet.
pub(super) fn copy_folder(from: &Path, to: &Path) {
    for part in ["rows", "log", "store"] {
        copy(&from.join(part), &to.join(part));
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        return copy_sparse(from, to);
    }
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("list") {
        let name = entry.expect("entry").file_name();
        copy(&from.join(&name), &to.join(&name));
    }
}

/// Copies only what is not a hole: fjall's journals begin as 64 MiB of nothing.
fn copy_sparse(from: &Path, to: &Path) {
    use rustix::fs::{SeekFrom, seek};
    use std::os::unix::fs::FileExt;

    // What the store lets go of while it is copied is not needed any more.
    let source = match fs::File::open(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        source => source.expect("open"),
    };
    let target = fs::File::create(to).expect("create");
    let length = source.metadata().expect("metadata").len();
    target.set_len(length).expect("length");
    let mut at = 0;
    while let Ok(data) = seek(&source, SeekFrom::Data(at)) {
        at = seek(&source, SeekFrom::Hole(data)).expect("a hole, or the end");
        let mut bytes = vec![0; (at - data) as usize];
        source.read_exact_at(&mut bytes, data).expect("read");
        target.write_all_at(&bytes, data).expect("write");
    }
}

pub(super) async fn open(folder: &Path, options: &FjallOptions) -> Result<FjallStore> {
    FjallStore::open(folder, options.clone(), Arc::new(DiskIo), &Env::system()).await
}

async fn create(folder: &Path) -> Result<FjallStore> {
    FjallStore::create(folder, FjallOptions::default(), Arc::new(DiskIo), &Env::system()).await
}

/// Sizes so small that everything that happens seldom happens often.
pub(super) fn tiny() -> FjallOptions {
    FjallOptions {
        row_cache_bytes: 64 << 10,
        segment_bytes: 16 << 10,
        retained_log_bytes: 0,
        recent_change_bytes: 2 << 10,
        batch_bytes: 2 << 10,
        transactions_in_flight: 8,
        unapplied_bytes: 8 << 10,
        persist_bytes: 16 << 10,
        cache_bytes: 1 << 20,
        memtable_bytes: 64 << 10,
        reserve_bytes: 0,
    }
}

pub(super) async fn put(store: &FjallStore, key: &str, value: &[u8]) -> Result<()> {
    let (key, value) = (key.as_bytes().to_vec(), value.to_vec());
    let body = move |txn: &mut dyn Transaction| {
        txn.put(Space::Rows, key[..].into(), value[..].into());
        Ok(())
    };
    store.commit(body).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn fjall_conforms() {
    conformance::all(&Folders::new(FjallOptions::default(), true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fjall_conforms_with_tiny_sizes() {
    conformance::all(&Folders::new(tiny(), false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fjall_with_nothing_at_hand_conforms() {
    conformance::all(&Missing(Folders::new(tiny(), false))).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn random_transactions_agree_over_restarts(seed: u64, abrupt: bool) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("runtime");
        let options = if abrupt { FjallOptions::default() } else { tiny() };
        let folders = Folders::new(options, abrupt);
        runtime.block_on(conformance::random_transactions_agree_with_a_map(&folders, seed, 80));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_a_store_only_when_told() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a/b");
    let env = Env::system();
    assert!(!FjallStore::exists(&path, Arc::new(DiskIo), &env).await.expect("look"));
    assert_eq!(open(&path, &tiny()).await.expect_err("none").kind(), ErrorKind::NotFound);
    assert!(!path.exists(), "a folder that may be a mount point is not made");
    let store = create(&path).await.expect("create");
    assert_eq!(open(&path, &tiny()).await.expect_err("open already").kind(), ErrorKind::Unavailable);
    store.close().await.expect("close");
    assert!(FjallStore::exists(&path, Arc::new(DiskIo), &env).await.expect("look"));
    assert_eq!(create(&path).await.expect_err("there is one").kind(), ErrorKind::AlreadyExists);
    let foreign = tempfile::tempdir().expect("folder");
    fs::write(foreign.path().join("thesis.tex"), "important").expect("write");
    assert_eq!(create(foreign.path()).await.expect_err("not empty").kind(), ErrorKind::FailedPrecondition);
    assert!(foreign.path().join("thesis.tex").exists());
}

/// Fjall deletes a keyspace that lacks the file `current`, and creates an empty one on demand: all names of a cluster were gone, and the
/// store opened as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_that_is_gone_is_refused_and_not_begun_anew() {
    for lost in ["1/current", "2/current", "0/current", "1", "2", "3"] {
        let folder = tempfile::tempdir().expect("folder");
        create(folder.path()).await.expect("create").close().await.expect("close");
        let path = folder.path().join("rows/keyspaces").join(lost);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("remove");
        for _ in 0..2 {
            let error = open(folder.path(), &tiny()).await.expect_err(lost);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{lost}: {error}");
            assert!(error.report().contains("rows"), "{lost}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_creation_is_done_again() {
    let folder = tempfile::tempdir().expect("folder");
    create(folder.path()).await.expect("create").close().await.expect("close");
    fs::write(folder.path().join("store.new"), "").expect("write");
    fs::remove_file(folder.path().join("store")).expect("remove");
    assert_eq!(open(folder.path(), &tiny()).await.expect_err("not yet one").kind(), ErrorKind::NotFound);
    let store = create(folder.path()).await.expect("create again");
    put(&store, "a", b"x").await.expect("put");
    drop(store);
    assert_eq!(open(folder.path(), &tiny()).await.expect("open").version().await.expect("version").0, 1);
}

/// A store with two copies of its folder: one from the middle, one from the end, both persisted.
async fn two_ages() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let store = create(&new).await.expect("create");
    for n in 0..10 {
        put(&store, &format!("{n}"), b"x").await.expect("put");
    }
    store.close().await.expect("close");
    copy(&new, &old);
    let store = open(&new, &FjallOptions::default()).await.expect("open");
    for n in 10..20 {
        put(&store, &format!("{n}"), b"x").await.expect("put");
    }
    store.close().await.expect("close");
    (folder, old, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_different_ages_are_refused() {
    for part in ["rows", "log"] {
        let (_folder, old, new) = two_ages().await;
        fs::remove_dir_all(new.join(part)).expect("remove");
        copy(&old.join(part), &new.join(part));
        let error = open(&new, &FjallOptions::default()).await.expect_err(part);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{part}: {error}");
        // Nothing was changed by looking: with the right part the store opens.
        let again = open(&new, &FjallOptions::default()).await.expect_err(part);
        assert_eq!(again.message(), error.message());
    }
    let (_folder, old, new) = two_ages().await;
    // A state that is older than the rest only says less.
    fs::copy(old.join("store"), new.join("store")).expect("copy");
    assert_eq!(open(&new, &FjallOptions::default()).await.expect("open").version().await.expect("version").0, 20);
    for part in ["rows", "log"] {
        let (_folder, _, new) = two_ages().await;
        fs::remove_dir_all(new.join(part)).expect("remove");
        let error = open(&new, &FjallOptions::default()).await.expect_err(part);
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io), "{part}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_different_stores_are_refused() {
    for part in ["rows", "log", "store"] {
        let (_folder, _, ours) = two_ages().await;
        let (_other, _, theirs) = two_ages().await;
        if part == "store" {
            fs::remove_file(ours.join(part)).expect("remove");
        } else {
            fs::remove_dir_all(ours.join(part)).expect("remove");
        }
        copy(&theirs.join(part), &ours.join(part));
        assert_eq!(open(&ours, &FjallOptions::default()).await.expect_err(part).kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_newer_state_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    create(folder.path()).await.expect("create").close().await.expect("close");
    let path = folder.path().join("store");
    let whole = fs::read(&path).expect("read");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).expect("write");
        let kind = open(folder.path(), &tiny()).await.expect_err("damaged").kind();
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Incompatible), "byte {at}: {kind}");
        fs::write(&path, &whole[..at]).expect("write");
        assert_eq!(open(folder.path(), &tiny()).await.expect_err("cut").kind(), ErrorKind::Corrupt);
    }
    let mut newer = whole.clone();
    newer[11] = 2;
    newer.extend_from_slice(b"and more");
    fs::write(&path, &newer).expect("write");
    let error = open(folder.path(), &tiny()).await.expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.message().contains("format 2"), "{error}");
    fs::write(&path, &whole).expect("write");
    open(folder.path(), &tiny()).await.expect("as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_short() {
    let folder = tempfile::tempdir().expect("folder");
    let env = Env::system();
    let store = FjallStore::create(folder.path(), tiny(), Arc::new(DiskIo), &env).await.expect("create");
    for n in 0..200 {
        put(&store, &format!("{n}"), &[7; 2_000]).await.expect("put");
    }
    store.close().await.expect("close");
    let log = DiskIo.read_dir(&folder.path().join("log")).expect("list");
    assert!(log.len() <= 8, "{log:?}");
    let store = open(folder.path(), &tiny()).await.expect("open");
    assert_eq!(store.version().await.expect("version").0, 200);
}

#[tokio::test]
async fn what_was_written_is_counted() {
    let folder = tempfile::tempdir().expect("folder");
    let options = FjallOptions::default();
    let store = FjallStore::create(folder.path(), options, Arc::new(DiskIo), &Env::system()).await.expect("create");
    assert_eq!(store.written(), Written::default());
    for value in ["a", "b"] {
        let put = move |txn: &mut dyn Transaction| {
            txn.put(Space::Rows, b"key".to_vec().into(), Stamped::plain(value.as_bytes().to_vec()));
            txn.put(Space::Data, b"key".to_vec().into(), Stamped::plain(value.as_bytes().to_vec()));
            Ok(())
        };
        store.commit(put).await.expect("written");
    }
    let Written { transactions, rows, bytes } = store.written();
    assert_eq!((transactions, rows), (2, 4));
    assert!(bytes > 4 * 4, "{bytes} bytes of log");
}

/// An export reads for minutes. Whoever asked for a row that was not in memory waited for its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_read_holds_up_no_other() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Arc::new(create(folder.path()).await.expect("create"));
    put(&store, "a", b"1").await.expect("put");
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (reader, mut begun) = (Arc::clone(&store), Some(begun));
    let long = tokio::spawn(async move {
        let body = move |snapshot: &mut dyn Snapshot| {
            // Scans are never answered from memory.
            snapshot.scan(Space::Rows, &Range::prefix(b"a", 10))?;
            if let Some(begun) = begun.take() {
                begun.send(()).expect("somebody waits");
                ended.recv().expect("somebody ends it");
            }
            Ok(())
        };
        reader.view_long(body).await
    });
    has_begun.await.expect("it begins");
    for _ in 0..20 {
        let scan = store.view(|snapshot| snapshot.scan(Space::Rows, &Range::prefix(b"a", 10)));
        let rows = tokio::time::timeout(std::time::Duration::from_secs(60), scan).await.expect("beside the long one");
        assert_eq!(rows.expect("read").len(), 1);
    }
    end.send(()).expect("it waits");
    long.await.expect("joined").expect("read");
}
