//! Exports: taken at one moment, read back whole into any empty store, refused in any other state.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::io::DiskIo;
use crate::metadata::{FjallOptions, FjallStore, MissingStore};

const QUOTA: Quota = Quota { names: Some(11), space: None };

/// A bit of everything: small files, chunks, an open file, orphans, garbage.
async fn filled() -> Fixture {
    let fixture = Fixture::new(4).await;
    for directory in 0..20 {
        fixture.mkdir(&format!("/d{directory}/sub")).await;
        for file in 0..10 {
            fixture.put(&format!("/d{directory}/sub/{file}"), b"some bytes").await;
        }
    }
    fixture.file("/large", 3 * CHUNK + 5, &[1, 2, 3]).await;
    fixture.file("/thin", 10, &[3, 4]).await;
    fixture.file("/old", CHUNK, &[1, 2]).await;
    fixture.delete("/old", false).await.unwrap();
    fixture.namespace.set_quota(fixture.call(), at("/d1"), QUOTA).await.unwrap();
    fixture.put("/trashed", b"x").await;
    fixture.namespace.trash(fixture.call(), at("/trashed"), false).await.unwrap();
    let open = fixture.create("/open").await;
    fixture.add_chunk(&open, 0, vec![], &[2, 3]).await.unwrap();
    fixture.check().await;
    fixture
}

async fn exported(namespace: &Namespace) -> (Vec<u8>, Manifest) {
    namespace.export(Vec::new(), Arc::new(AtomicU64::new(0))).await.unwrap()
}

/// The namespace over a store that was filled from `export`.
async fn imported(store: Arc<dyn MetadataStore>, export: &[u8]) -> Result<(Namespace, Manifest)> {
    let manifest = import(&store, export, |_| {}).await?;
    Ok((Namespace::new(store, NamespaceSettings::default(), Env::simulated(2))?, manifest))
}

fn empty() -> Arc<dyn MetadataStore> {
    Arc::new(MemoryStore::new(Incarnation::from_random(9)))
}

/// All that lies below the root, without the versions.
async fn contents(namespace: &Namespace) -> Vec<(DfsPath, InodeId, u64)> {
    let page = namespace.walk(at("/"), at("/"), WalkOptions::default(), MAX_PAGE).await.unwrap();
    assert!(page.next.is_none());
    page.entries.into_iter().map(|entry| (entry.path, entry.status.inode, entry.status.length)).collect()
}

#[tokio::test]
async fn an_export_fills_any_empty_store() {
    let fixture = filled().await;
    let (export, manifest) = exported(&fixture.namespace).await;
    assert_eq!(verify_export(&export[..]).unwrap(), manifest);
    assert_eq!((manifest.files, manifest.directories, manifest.chunks), (204, 42, 7));
    assert_eq!(manifest.cluster, fixture.namespace.cluster().await.unwrap());

    let folder = tempfile::tempdir().unwrap();
    let (io, env) = (Arc::new(DiskIo), Env::system());
    let fjall = FjallStore::create(&folder.path().join("s"), FjallOptions::default(), io, &env).await.unwrap();
    let fjall: Arc<dyn MetadataStore> = Arc::new(fjall);
    for store in [empty(), Arc::clone(&fjall)] {
        let (namespace, found) = imported(store, &export).await.unwrap();
        assert_eq!(found, manifest);
        assert_eq!(namespace.cluster().await.unwrap(), manifest.cluster);
        assert_eq!(namespace.check().await.unwrap(), []);
        assert_eq!(contents(&namespace).await, contents(&fixture.namespace).await);
        assert_eq!(namespace.totals().await.unwrap(), fixture.namespace.totals().await.unwrap());
        // Versions are those of this store: none lies ahead of it.
        let version = namespace.store().version().await.unwrap();
        assert!(namespace.stat(FileRef::Path(at("/large"))).await.unwrap().version <= version);
        assert_eq!(namespace.quota(at("/d1")).await.unwrap(), QUOTA);
        let items = namespace.trash_items(None, String::new(), 10).await.unwrap();
        assert_eq!(items.iter().map(|item| item.original.as_str()).collect::<Vec<_>>(), ["/trashed"]);
        let full = namespace.mkdir(fixture.call(), at("/d1/more"), MkdirOptions::default()).await;
        refused(full, ErrorKind::QuotaExceeded, "/d1 may hold 11 names and has 11 of them");
        // It works: what was deleted goes, the same session writes on.
        namespace.collect(version, None).await.unwrap();
        namespace.delete(fixture.call(), at("/d0"), true).await.unwrap();
        assert_eq!(namespace.check().await.unwrap(), []);
        // And is not empty any more.
        let again = imported(Arc::clone(namespace.store()), &export).await;
        refused(again, ErrorKind::FailedPrecondition, "not empty");
    }
    fjall.close().await.unwrap();
}

#[tokio::test]
async fn a_read_that_begins_anew_writes_the_same() {
    let fixture = Fixture::new(1).await;
    fixture.put("/a", b"bytes").await;
    let store = Arc::new(MissingStore::new(Arc::clone(fixture.namespace.store())));
    let namespace = Namespace::new(store, fixture.namespace.settings().clone(), Env::simulated(1)).unwrap();
    assert_eq!(exported(&namespace).await, exported(&fixture.namespace).await);
}

/// Every place where an export may be cut, and a bit of every byte of a small one.
#[tokio::test]
async fn what_is_damaged_is_refused_and_leaves_no_cluster() {
    let fixture = Fixture::new(1).await;
    fixture.put("/a", b"bytes").await;
    let (export, _) = exported(&fixture.namespace).await;
    for length in 0..export.len() {
        let kind = verify_export(&export[..length]).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Corrupt, "cut at {length}");
    }
    for at in 0..export.len() {
        let mut flipped = export.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = verify_export(&flipped[..]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible), "{at}: {error}");
    }
    let longer = [&export[..], b"x"].concat();
    assert_eq!(verify_export(&longer[..]).unwrap_err().kind(), ErrorKind::Corrupt);

    let store = empty();
    refused(imported(Arc::clone(&store), &export[..export.len() - 1]).await, ErrorKind::Corrupt, "cut short");
    let namespace = Namespace::new(store, NamespaceSettings::default(), Env::simulated(2)).unwrap();
    refused(
        namespace.cluster().await,
        ErrorKind::FailedPrecondition,
        "an import into the metadata store was cut short",
    );
    let begun = namespace.initialize(owner("root")).await;
    refused(begun, ErrorKind::FailedPrecondition, "an import into the metadata store was cut short");
}

#[tokio::test]
async fn only_the_superuser_takes_everything() {
    let fixture = Fixture::new(0).await;
    let eve = fixture.namespace.by(Caller::new("eve", ["users"]).unwrap());
    let taken = eve.export(Vec::new(), Arc::new(AtomicU64::new(0))).await;
    refused(taken, ErrorKind::PermissionDenied, "user eve lacks superuser for an export of the metadata");
}

#[tokio::test]
async fn each_invariant_can_be_asked_for_by_name() {
    let fixture = filled().await;
    for name in Namespace::invariants() {
        assert_eq!(fixture.namespace.check_invariant(name).await.unwrap(), []);
    }
    assert!(Namespace::invariants().count() >= 20);
    refused(fixture.namespace.check_invariant("x").await, ErrorKind::InvalidArgument, "no invariant");
}
