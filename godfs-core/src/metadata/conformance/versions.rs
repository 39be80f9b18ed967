//! Versions.

use super::{StoreFactory, plain};
use crate::id::Version;
use crate::metadata::{MetadataStoreExt, Range, Space, Stamped, Transaction};

/// Versions grow by one for each commit; one that writes nothing uses none.
///
/// # Panics
/// When the store breaks its contract.
pub async fn versions_are_consecutive(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let before = store.version().await.expect("version");
    for n in 1..=5 {
        let write = |txn: &mut dyn Transaction| {
            txn.put(Space::Rows, plain("a"), plain("x"));
            Ok(())
        };
        let (_, version) = store.commit(write).await.expect("commit");
        assert_eq!(version, Version(before.0 + n));
        assert_eq!(store.version().await.expect("version"), version);
        let (_, read_at) = store.commit(|txn| txn.get(Space::Rows, b"a")).await.expect("commit");
        assert_eq!(read_at, version);
        assert_eq!(store.version().await.expect("version"), version);
    }
    let calls = (0..100_u32).map(|n| {
        store.commit(move |txn| {
            txn.put(Space::Rows, plain(n.to_be_bytes()), plain("x"));
            Ok(())
        })
    });
    let outcomes = futures::future::join_all(calls).await;
    let mut versions: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.expect("commit").1.0).collect();
    versions.sort_unstable();
    assert_eq!(versions, (before.0 + 6..=before.0 + 105).collect::<Vec<_>>());
}

/// A marked place in a key or value reads as [`Version::PENDING`] inside the transaction and holds its version
/// afterwards, also when many commit together.
///
/// # Panics
/// When the store breaks its contract.
pub async fn keys_and_values_hold_their_version(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let calls = (0..50_u32).map(|n| {
        store.commit(move |txn| {
            let name = n.to_be_bytes();
            txn.put(Space::Rows, plain([b"value/", &name[..]].concat()), Stamped::versioned(b"<", b">"));
            txn.put(Space::Data, Stamped::versioned(b"log/", &name), Stamped::versioned(b"", b""));
            let own = txn.get(Space::Rows, &[b"value/", &name[..]].concat())?;
            let pending = [b"<", &Version::PENDING.0.to_be_bytes()[..], b">"].concat();
            assert_eq!(own.as_deref(), Some(&pending[..]));
            let rows = txn.scan(Space::Rows, &Range::prefix(&[b"value/", &name[..]].concat(), 2))?;
            assert_eq!(rows.iter().map(|(_, value)| value.to_vec()).collect::<Vec<_>>(), [pending]);
            Ok(n)
        })
    });
    let outcomes = futures::future::join_all(calls).await;
    let mut committed: Vec<(u64, u32)> =
        outcomes.into_iter().map(|outcome| outcome.expect("commit")).map(|(n, version)| (version.0, n)).collect();
    let read = store.view(|snapshot| {
        let values = snapshot.scan(Space::Rows, &Range::prefix(b"value/", 1_000))?;
        Ok((values, snapshot.scan(Space::Data, &Range::prefix(b"log/", 1_000))?))
    });
    let (values, log) = read.await.expect("read");
    let mut by_name = committed.clone();
    by_name.sort_by_key(|(_, n)| *n);
    let stamped = by_name.iter().map(|(version, n)| {
        ([b"value/", &n.to_be_bytes()[..]].concat(), [b"<", &version.to_be_bytes()[..], b">"].concat())
    });
    assert_eq!(
        values.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Vec<_>>(),
        stamped.collect::<Vec<_>>()
    );
    committed.sort_unstable();
    let ordered = committed.iter().map(|(version, n)| {
        ([b"log/", &version.to_be_bytes()[..], &n.to_be_bytes()].concat(), version.to_be_bytes().to_vec())
    });
    assert_eq!(
        log.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Vec<_>>(),
        ordered.collect::<Vec<_>>()
    );
}
