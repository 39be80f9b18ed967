//! Sizes.

use bytes::Bytes;

use super::{StoreFactory, plain};
use crate::error::ErrorKind;
use crate::metadata::{
    MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES, MetadataStoreExt, Range, Space, Transaction,
};

/// The longest key, the largest value and the largest transaction are kept whole.
///
/// # Panics
/// When the store breaks its contract.
pub async fn large_values_are_kept(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let key = |n: usize| Bytes::from([vec![n as u8; MAX_KEY_BYTES - 1], vec![7]].concat());
    let value = |n: usize| (0..MAX_VALUE_BYTES - MAX_KEY_BYTES).map(|at| (at * 31 + n) as u8).collect::<Vec<u8>>();
    let count = MAX_TRANSACTION_BYTES / MAX_VALUE_BYTES;
    let write = move |txn: &mut dyn Transaction| {
        for n in 0..count {
            txn.put(Space::Data, plain(key(n)), plain(value(n)));
        }
        // What is overwritten does not count.
        txn.put(Space::Data, plain(key(0)), plain(value(0)));
        Ok(())
    };
    store.commit(write).await.expect("a transaction that just fits");
    let whole = vec![1; MAX_VALUE_BYTES];
    let expected = whole.clone();
    let write = move |txn: &mut dyn Transaction| {
        txn.put(Space::Rows, plain("one"), plain(&whole));
        Ok(())
    };
    store.commit(write).await.expect("a value that just fits");
    let read = store.view(move |snapshot| {
        Ok((snapshot.scan(Space::Data, &Range::prefix(b"", 100))?, snapshot.get(Space::Rows, b"one")?))
    });
    let (rows, one) = read.await.expect("read");
    assert_eq!(rows.len(), count);
    for (n, (found, bytes)) in rows.iter().enumerate() {
        assert!(*found == key(n) && *bytes == value(n), "row {n} differs");
    }
    assert!(one.is_some_and(|one| one == expected));
}

/// What is larger is refused, with nothing written, and so are an empty key and a scan of no rows.
///
/// # Panics
/// When the store breaks its contract.
pub async fn limits_are_refused(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let long = vec![1; MAX_KEY_BYTES + 1];
    let large = vec![1; MAX_VALUE_BYTES + 1];
    type Work = Box<dyn FnMut(&mut dyn Transaction) + Send>;
    let too_much = vec![1; MAX_VALUE_BYTES];
    let cases: Vec<(ErrorKind, Work)> = vec![
        (ErrorKind::LimitExceeded, {
            let long = long.clone();
            Box::new(move |txn| txn.put(Space::Rows, plain(&long), plain("")))
        }),
        (ErrorKind::LimitExceeded, {
            let long = long.clone();
            Box::new(move |txn| txn.delete(Space::Rows, &long))
        }),
        (ErrorKind::LimitExceeded, {
            Box::new(move |txn| txn.add(Space::Rows, &long, crate::metadata::Counters::default()))
        }),
        (ErrorKind::LimitExceeded, Box::new(move |txn| txn.put(Space::Data, plain("key"), plain(&large)))),
        (ErrorKind::LimitExceeded, {
            Box::new(move |txn| {
                (0..=MAX_TRANSACTION_BYTES / MAX_VALUE_BYTES)
                    .for_each(|n| txn.put(Space::Data, plain([n as u8]), plain(&too_much)));
            })
        }),
        (ErrorKind::InvalidArgument, Box::new(|txn| txn.put(Space::Rows, plain(""), plain("x")))),
        (ErrorKind::InvalidArgument, Box::new(|txn| txn.delete(Space::Rows, b""))),
    ];
    for (index, (kind, mut work)) in cases.into_iter().enumerate() {
        let body = move |txn: &mut dyn Transaction| {
            txn.put(Space::Rows, plain("beside"), plain("x"));
            work(txn);
            Ok(())
        };
        let error = store.commit(body).await.expect_err("beyond a limit");
        assert_eq!(error.kind(), kind, "case {index}: {error}");
    }
    // A body that misses what was refused is told why, not what it made of it.
    let body = |txn: &mut dyn Transaction| {
        txn.put(Space::Rows, plain(vec![1; MAX_KEY_BYTES + 1]), plain("x"));
        Err::<(), _>(crate::Error::new(ErrorKind::Corrupt, "a row is missing").into())
    };
    assert_eq!(store.commit(body).await.expect_err("refused").kind(), ErrorKind::LimitExceeded);
    let none = |snapshot: &mut dyn crate::metadata::Snapshot| snapshot.scan(Space::Rows, &Range::prefix(b"", 0));
    assert_eq!(store.view(none).await.expect_err("no rows").kind(), ErrorKind::InvalidArgument);
    let rows = store.view(|snapshot| {
        let rows = snapshot.scan(Space::Rows, &Range::prefix(b"", 10))?;
        Ok((rows, snapshot.scan(Space::Data, &Range::prefix(b"", 10))?, snapshot.get(Space::Rows, b"")?))
    });
    assert_eq!(rows.await.expect("read"), (Vec::new(), Vec::new(), None));
}
