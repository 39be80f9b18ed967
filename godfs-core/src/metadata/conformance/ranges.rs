//! Ranges.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{StoreFactory, plain};
use crate::metadata::{Counters, MetadataStore, MetadataStoreExt, Range, Row, Space, Transaction};

/// The rows of every range over a set of awkward keys, in both orders and cut by every limit, are those of a sorted map.
///
/// # Panics
/// When the store breaks its contract.
pub async fn ranges_are_in_order(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let keys: &[&[u8]] =
        &[b"\0", b"\0\0", b"a", b"a\0", b"a\xff", b"a\xff\xff", b"b", b"ba", b"\x7f", b"\x80", b"\xff", b"\xff\xff"];
    // In several transactions and with removals, so that a store with layers has something in each.
    let mut model = BTreeMap::new();
    for round in 0..3_u8 {
        for (index, key) in keys.iter().enumerate() {
            if index % 3 == usize::from(round) {
                continue;
            }
            let remove = (index + usize::from(round)) % 5 == 0;
            let value = [round, index as u8];
            let write = move |txn: &mut dyn Transaction| {
                if remove {
                    txn.delete(Space::Rows, key);
                } else {
                    txn.put(Space::Rows, plain(key), plain(value));
                }
                // Rows of the other space must not show.
                txn.put(Space::Data, plain(key), plain("data"));
                Ok(())
            };
            store.commit(write).await.expect("commit");
            if remove {
                model.remove(*key);
            } else {
                model.insert(key.to_vec(), value.to_vec());
            }
        }
        check(&*store, &model, keys).await;
    }
}

async fn check(store: &dyn MetadataStore, model: &BTreeMap<Vec<u8>, Vec<u8>>, keys: &[&[u8]]) {
    let mut ranges = Vec::new();
    for start in bounds(keys) {
        for end in bounds(keys) {
            for reverse in [false, true] {
                for limit in [1, 3, 1_000] {
                    ranges.push(Range { start: start.clone(), end: end.clone(), reverse, limit });
                }
            }
        }
    }
    for prefix in keys.iter().copied().chain([&b""[..]]) {
        let range = Range::prefix(prefix, 1_000);
        ranges.extend([range.clone(), range.reversed(), Range::prefix_after(prefix, b"a\xff", 2)]);
    }
    let expected: Vec<_> = ranges.iter().map(|range| select(model, range)).collect();
    let questions = ranges.clone();
    let read = store.view(move |snapshot| {
        questions.iter().map(|range| snapshot.scan(Space::Rows, range)).collect::<Result<Vec<_>, _>>()
    });
    for ((found, expected), range) in read.await.expect("read").iter().zip(&expected).zip(&ranges) {
        assert_eq!(found, expected, "{range:?}");
    }
}

fn bounds(keys: &[&[u8]]) -> Vec<Bound<Bytes>> {
    let keys = keys.iter().step_by(2).map(|key| Bytes::copy_from_slice(key));
    let bounds = keys.flat_map(|key| [Bound::Included(key.clone()), Bound::Excluded(key)]);
    bounds.chain([Bound::Unbounded]).collect()
}

/// What a range must give, from a map.
pub(super) fn select(model: &BTreeMap<Vec<u8>, Vec<u8>>, range: &Range) -> Vec<Row> {
    let inside = |key: &[u8]| {
        let after = match &range.start {
            Bound::Included(start) => key >= start,
            Bound::Excluded(start) => key > start,
            Bound::Unbounded => true,
        };
        let before = match &range.end {
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        };
        after && before
    };
    let rows = model.iter().filter(|(key, _)| inside(key));
    let mut rows: Vec<Row> =
        rows.map(|(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))).collect();
    if range.reverse {
        rows.reverse();
    }
    rows.truncate(range.limit);
    rows
}

/// A range that is read inside a transaction shows its own puts, removals and sums among the stored rows, and its limit
/// counts what is shown.
///
/// # Panics
/// When the store breaks its contract.
pub async fn own_writes_show_in_ranges(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let sum = Counters([1, 2, 3, 4]);
    let write = move |txn: &mut dyn Transaction| {
        for key in ["b", "d", "f"] {
            txn.put(Space::Rows, plain(key), plain("stored"));
        }
        txn.put(Space::Rows, plain("h"), plain(sum.encode()));
        Ok(())
    };
    store.commit(write).await.expect("commit");
    let body = move |txn: &mut dyn Transaction| {
        txn.put(Space::Rows, plain("a"), plain("own"));
        txn.put(Space::Rows, plain("d"), plain("own"));
        txn.delete(Space::Rows, b"b");
        txn.delete(Space::Rows, b"nothing");
        txn.add(Space::Rows, b"h", sum);
        txn.add(Space::Rows, b"i", sum);
        let all = Range::prefix(b"", 1_000);
        let forward = txn.scan(Space::Rows, &all)?;
        let backward = txn.scan(Space::Rows, &all.clone().reversed())?;
        let first = txn.scan(Space::Rows, &Range { limit: 2, ..all.clone() })?;
        let last = txn.scan(Space::Rows, &Range { limit: 2, ..all.reversed() })?;
        Ok((forward, backward, first, last))
    };
    let ((forward, mut backward, first, mut last), _) = store.commit(body).await.expect("commit");
    let row = |key: &'static str, value: &[u8]| (Bytes::from(key), Bytes::copy_from_slice(value));
    let expected = [
        row("a", b"own"),
        row("d", b"own"),
        row("f", b"stored"),
        row("h", &sum.plus(sum).encode()),
        row("i", &sum.encode()),
    ];
    assert_eq!(forward, expected);
    backward.reverse();
    assert_eq!(backward, expected);
    assert_eq!(first, expected[..2]);
    last.reverse();
    assert_eq!(last, expected[3..]);
    let rows = store.view(|snapshot| snapshot.scan(Space::Rows, &Range::prefix(b"", 1_000))).await.expect("read");
    assert_eq!(rows, expected);
}
