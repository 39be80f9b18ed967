//! The durable store over a real folder, and over a log that loses power.

use std::sync::Arc;

use super::{FjallOptions, FjallStore};
use crate::env::Env;
use crate::io::DiskIo;
use crate::metadata::{MetadataStore, MetadataStoreExt, Space, Stamped};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let env = Env::system();
    let io: Arc<dyn crate::io::Io> = Arc::new(DiskIo);
    let store =
        FjallStore::create(folder.path(), FjallOptions::default(), Arc::clone(&io), &env).await.expect("create");
    let incarnation = store.incarnation();
    for n in 0..100_u32 {
        store
            .commit(move |txn| {
                txn.put(Space::Rows, n.to_be_bytes()[..].into(), Stamped::versioned(b"", b"x"));
                Ok(())
            })
            .await
            .expect("commit");
    }
    drop(store);
    let store = FjallStore::open(folder.path(), FjallOptions::default(), io, &env).await.expect("open");
    assert_eq!(store.incarnation(), incarnation);
    assert_eq!(store.version().await.expect("version").0, 100);
    let rows = store.view(|snapshot| snapshot.scan(Space::Rows, &crate::metadata::Range::prefix(b"", 1_000))).await;
    assert_eq!(rows.expect("scan").len(), 100);
    store.close().await.expect("close");
}
