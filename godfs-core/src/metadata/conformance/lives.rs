//! From one life of the store to the next.

use super::{StoreFactory, plain};
use crate::error::ErrorKind;
use crate::metadata::{Counters, MetadataStoreExt, Range, Space, Stamped, Transaction};

/// After `close` every call fails as unavailable, and closing twice is no error.
///
/// # Panics
/// When the store breaks its contract.
pub async fn a_closed_store_refuses(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let write = |txn: &mut dyn Transaction| {
        txn.put(Space::Rows, plain("a"), plain("x"));
        Ok(())
    };
    store.commit(write).await.expect("commit");
    store.close().await.expect("close");
    store.close().await.expect("close again");
    assert_eq!(store.commit(write).await.expect_err("closed").kind(), ErrorKind::Unavailable);
    let read = store.view(|snapshot| snapshot.get(Space::Rows, b"a"));
    assert_eq!(read.await.expect_err("closed").kind(), ErrorKind::Unavailable);
    assert_eq!(store.version().await.expect_err("closed").kind(), ErrorKind::Unavailable);
}

/// What was answered is there in the next life, which is the same incarnation and goes on with the next version. Does
/// nothing for a store that can't be opened again.
///
/// # Panics
/// When the store breaks its contract.
pub async fn a_restart_loses_nothing(factory: &dyn StoreFactory) {
    let mut store = factory.create().await;
    let incarnation = store.incarnation();
    let first = store.version().await.expect("version").0;
    for life in 1..=4_u64 {
        let calls = (0..20_u64).map(|n| {
            store.commit(move |txn| {
                txn.put(Space::Rows, Stamped::versioned(b"v", b""), plain((life * 100 + n).to_be_bytes()));
                txn.put(Space::Data, plain("same"), plain(life.to_be_bytes()));
                txn.put(Space::Data, plain(format!("{life}")), plain("gone in the next life"));
                txn.delete(Space::Data, format!("{}", life - 1).as_bytes());
                txn.add(Space::Rows, b"sum", Counters([1, 0, 0, 0]));
                Ok(())
            })
        });
        for outcome in futures::future::join_all(calls).await {
            outcome.expect("commit");
        }
        if life == 3 {
            store.close().await.expect("close");
        }
        let Some(reopened) = factory.reopen(store).await else { return };
        store = reopened;
        assert_eq!(store.incarnation(), incarnation);
        assert_eq!(store.version().await.expect("version").0, first + life * 20);
        let read = store.view(|snapshot| {
            let versions = snapshot.scan(Space::Rows, &Range::prefix(b"v", 1_000))?;
            let data = snapshot.scan(Space::Data, &Range::prefix(b"", 1_000))?;
            Ok((versions, data, snapshot.counters(Space::Rows, b"sum")?))
        });
        let (versions, data, sum) = read.await.expect("read");
        let keys: Vec<_> = versions.iter().map(|(key, _)| key.to_vec()).collect();
        let expected = (first + 1..=first + life * 20).map(|version| [b"v", &version.to_be_bytes()[..]].concat());
        assert_eq!(keys, expected.collect::<Vec<_>>());
        assert_eq!(sum, Counters([(life * 20).cast_signed(), 0, 0, 0]));
        let data: Vec<_> = data.iter().map(|(key, _)| key.to_vec()).collect();
        assert_eq!(data, [format!("{life}").into_bytes(), b"same".to_vec()]);
    }
}
