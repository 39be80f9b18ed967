//! Single transactions.

use bytes::Bytes;

use super::{StoreFactory, plain};
use crate::error::{Error, ErrorKind};
use crate::metadata::{Counters, MetadataStoreExt, Range, Space};

/// One transaction writes to all spaces, and equal keys in two of them are two rows.
///
/// # Panics
/// When the store breaks its contract.
pub async fn transactions_span_spaces(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let write = store.commit(|txn| {
        txn.put(Space::Rows, plain("key"), plain("row"));
        txn.put(Space::Data, plain("key"), plain("data"));
        txn.delete(Space::Data, b"never there");
        Ok(())
    });
    write.await.expect("commit");
    let read = store.view(|snapshot| Ok((snapshot.get(Space::Rows, b"key")?, snapshot.get(Space::Data, b"key")?)));
    let found = read.await.expect("read");
    assert_eq!(found, (Some(Bytes::from_static(b"row")), Some(Bytes::from_static(b"data"))));
    let delete = store.commit(|txn| {
        txn.delete(Space::Rows, b"key");
        Ok(())
    });
    delete.await.expect("commit");
    let read = store.view(|snapshot| Ok((snapshot.get(Space::Rows, b"key")?, snapshot.get(Space::Data, b"key")?)));
    assert_eq!(read.await.expect("read"), (None, Some(Bytes::from_static(b"data"))));
}

/// A body that fails after it wrote leaves nothing, and its error comes back as it is.
///
/// # Panics
/// When the store breaks its contract.
pub async fn a_failed_body_leaves_nothing(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let before = store.version().await.expect("version");
    let failed = store.commit(|txn| -> crate::metadata::Step<()> {
        txn.put(Space::Rows, plain("a"), plain("1"));
        txn.add(Space::Rows, b"sum", Counters([1; 4]));
        assert_eq!(txn.get(Space::Rows, b"a")?.as_deref(), Some(&b"1"[..]));
        Err(Error::new(ErrorKind::DirectoryNotEmpty, "said the body").into())
    });
    let error = failed.await.expect_err("the body failed");
    assert_eq!((error.kind(), error.message()), (ErrorKind::DirectoryNotEmpty, "said the body"));
    let rows = store.view(|snapshot| snapshot.scan(Space::Rows, &Range::prefix(b"", 10))).await.expect("read");
    assert!(rows.is_empty(), "{rows:?}");
    assert_eq!(store.version().await.expect("version"), before);
}

/// Among transactions that are under way together, those that fail take no other with them and use no version.
///
/// # Panics
/// When the store breaks its contract.
pub async fn failures_are_dropped_alone(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let before = store.version().await.expect("version");
    let calls = (0..200_u32).map(|n| {
        store.commit(move |txn| {
            txn.put(Space::Rows, plain(n.to_be_bytes()), plain("x"));
            if n % 3 == 1 { Err(Error::new(ErrorKind::NotFound, n.to_string()).into()) } else { Ok(n) }
        })
    });
    let mut versions = Vec::new();
    for (n, outcome) in futures::future::join_all(calls).await.into_iter().enumerate() {
        match outcome {
            Ok((found, version)) => {
                assert_eq!(found as usize, n);
                assert_ne!(n % 3, 1);
                versions.push(version.0);
            }
            Err(error) => assert_eq!((n % 3, error.message()), (1, &*n.to_string())),
        }
    }
    versions.sort_unstable();
    let count = versions.len() as u64;
    assert_eq!(versions, (before.0 + 1..=before.0 + count).collect::<Vec<_>>());
    let rows = store.view(|snapshot| snapshot.scan(Space::Rows, &Range::prefix(b"", 1_000))).await.expect("read");
    let expected = (0..200_u32).filter(|n| n % 3 != 1).map(|n| n.to_be_bytes().to_vec());
    assert_eq!(rows.into_iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// A body reads what it wrote: puts, removals, and sums.
///
/// # Panics
/// When the store breaks its contract.
pub async fn own_writes_are_read(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let body = |txn: &mut dyn crate::metadata::Transaction| {
        assert_eq!(txn.get(Space::Rows, b"a")?, None);
        txn.put(Space::Rows, plain("a"), plain("1"));
        assert_eq!(txn.get(Space::Rows, b"a")?.as_deref(), Some(&b"1"[..]));
        txn.put(Space::Rows, plain("a"), plain("2"));
        assert_eq!(txn.get(Space::Rows, b"a")?.as_deref(), Some(&b"2"[..]));
        txn.delete(Space::Rows, b"a");
        assert_eq!(txn.get(Space::Rows, b"a")?, None);
        txn.put(Space::Rows, plain("b"), plain(""));
        assert_eq!(txn.get(Space::Rows, b"b")?.as_deref(), Some(&b""[..]));
        assert_eq!(txn.get(Space::Data, b"b")?, None);
        Ok(())
    };
    store.commit(body).await.expect("commit");
    let read = store.view(|snapshot| Ok((snapshot.get(Space::Rows, b"a")?, snapshot.get(Space::Rows, b"b")?)));
    assert_eq!(read.await.expect("read"), (None, Some(Bytes::new())));
}

/// Counters begin at zero, add up within a transaction and over several, meet puts and removals, wrap, and refuse rows
/// that are no counters.
///
/// # Panics
/// When the store breaks its contract.
pub async fn counters_add_up(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let key = b"sum";
    let (one, many) = (Counters([1, -1, 0, i64::MAX]), Counters([5, 6, 7, 1]));
    let add = move |txn: &mut dyn crate::metadata::Transaction| {
        txn.add(Space::Rows, key, one);
        assert_eq!(txn.counters(Space::Rows, key)?, one);
        txn.add(Space::Rows, key, many);
        assert_eq!(txn.counters(Space::Rows, key)?, one.plus(many));
        Ok(())
    };
    store.commit(add).await.expect("commit");
    let again = move |txn: &mut dyn crate::metadata::Transaction| {
        txn.add(Space::Rows, key, one);
        assert_eq!(txn.counters(Space::Rows, key)?, one.plus(many).plus(one));
        Ok(())
    };
    store.commit(again).await.expect("commit");
    let read = store.view(move |snapshot| snapshot.counters(Space::Rows, key));
    assert_eq!(read.await.expect("read"), Counters([7, 4, 7, i64::MIN.wrapping_add(i64::MAX)]));

    let replace = move |txn: &mut dyn crate::metadata::Transaction| {
        txn.put(Space::Rows, plain(key), plain(many.encode()));
        txn.add(Space::Rows, key, one);
        txn.delete(Space::Rows, b"other");
        txn.add(Space::Rows, b"other", many);
        Ok(())
    };
    store.commit(replace).await.expect("commit");
    let read = store
        .view(move |snapshot| Ok((snapshot.counters(Space::Rows, key)?, snapshot.counters(Space::Rows, b"other")?)));
    assert_eq!(read.await.expect("read"), (many.plus(one), many));

    let zero = move |txn: &mut dyn crate::metadata::Transaction| {
        txn.delete(Space::Rows, b"other");
        txn.add(Space::Rows, b"zero", Counters::default());
        Ok(())
    };
    store.commit(zero).await.expect("commit");
    let read =
        store.view(move |snapshot| Ok((snapshot.get(Space::Rows, b"other")?, snapshot.get(Space::Rows, b"zero")?)));
    let (other, zero) = read.await.expect("read");
    assert_eq!((other, zero.as_deref()), (None, Some(&Counters::default().encode()[..])), "a row of zeros is a row");

    let broken = |txn: &mut dyn crate::metadata::Transaction| {
        txn.put(Space::Rows, plain("text"), plain("no counters"));
        Ok(())
    };
    store.commit(broken).await.expect("commit");
    let add = |txn: &mut dyn crate::metadata::Transaction| {
        txn.put(Space::Rows, plain("beside"), plain("x"));
        txn.add(Space::Rows, b"text", Counters::default());
        Ok(())
    };
    assert_eq!(store.commit(add).await.expect_err("no counters").kind(), ErrorKind::Corrupt);
    assert_eq!(store.view(|snapshot| snapshot.get(Space::Rows, b"beside")).await.expect("read"), None);
}
