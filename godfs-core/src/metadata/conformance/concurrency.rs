//! Many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{StoreFactory, plain};
use crate::error::{Error, ErrorKind};
use crate::metadata::{Counters, MetadataStore, MetadataStoreExt, Range, Snapshot, Space, Step, Transaction};

const WRITERS: u32 = 16;
const EACH: u32 = 25;

async fn spread<F, T>(work: impl Fn(u32) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let tasks: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(work(writer))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("a writer panicked"));
    }
    results
}

fn number(snapshot: &mut dyn Snapshot, key: &[u8]) -> Step<u64> {
    let value = snapshot.get(Space::Rows, key)?;
    Ok(value.map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().expect("eight bytes"))))
}

/// Reads followed by writes that depend on them lose no update.
///
/// # Panics
/// When the store breaks its contract.
pub async fn increments_are_serialized(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let seen = spread(|_| {
        let store = Arc::clone(&store);
        async move {
            let mut seen = Vec::new();
            for _ in 0..EACH {
                let body = |txn: &mut dyn Transaction| {
                    let next = number(txn, b"n")? + 1;
                    txn.put(Space::Rows, plain("n"), plain(next.to_be_bytes()));
                    Ok(next)
                };
                let (next, version) = store.commit(body).await.expect("commit");
                seen.push((version, next));
            }
            seen
        }
    });
    let mut seen: Vec<_> = seen.await.into_iter().flatten().collect();
    seen.sort_unstable();
    let numbers: Vec<u64> = seen.into_iter().map(|(_, n)| n).collect();
    assert_eq!(numbers, (1..=u64::from(WRITERS * EACH)).collect::<Vec<_>>(), "in the order of the versions");
}

/// Adds from many writers, which conflict with nobody, are all there.
///
/// # Panics
/// When the store breaks its contract.
pub async fn adds_from_many_writers_are_all_counted(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let added = spread(|writer| {
        let store = Arc::clone(&store);
        async move {
            for n in 0..EACH {
                let delta = Counters([1, i64::from(writer), i64::from(n), -1]);
                let body = move |txn: &mut dyn Transaction| {
                    txn.add(Space::Rows, b"sum", delta);
                    Ok(())
                };
                store.commit(body).await.expect("commit");
            }
        }
    });
    added.await;
    let (writers, each) = (i64::from(WRITERS), i64::from(EACH));
    let all = writers * each;
    let expected = Counters([all, writers * (writers - 1) / 2 * each, each * (each - 1) / 2 * writers, -all]);
    assert_eq!(store.view(|snapshot| snapshot.counters(Space::Rows, b"sum")).await.expect("read"), expected);
}

const ACCOUNTS: u8 = 10;
const BALANCE: u64 = 100;

/// Transfers between accounts, some refused for want of money, keep the sum at every moment that a reader sees.
///
/// # Panics
/// When the store breaks its contract.
pub async fn money_is_conserved(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let open = |txn: &mut dyn Transaction| {
        (0..ACCOUNTS).for_each(|n| txn.put(Space::Rows, plain([n]), plain(BALANCE.to_be_bytes())));
        Ok(())
    };
    store.commit(open).await.expect("commit");
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(audit(Arc::clone(&store), Arc::clone(&done)));
    let transfers = spread(|writer| {
        let store = Arc::clone(&store);
        async move {
            let mut rng = fastrand::Rng::with_seed(u64::from(writer));
            for _ in 0..EACH {
                let (from, to, amount) = (rng.u8(0..ACCOUNTS), rng.u8(0..ACCOUNTS), rng.u64(0..BALANCE));
                match store.commit(move |txn| transfer(txn, from, to, amount)).await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::FailedPrecondition),
                }
            }
        }
    });
    transfers.await;
    done.store(true, Ordering::Release);
    reader.await.expect("a reader saw another sum");
}

fn transfer(txn: &mut dyn Transaction, from: u8, to: u8, amount: u64) -> Step<()> {
    let left = number(txn, &[from])?
        .checked_sub(amount)
        .ok_or_else(|| Error::new(ErrorKind::FailedPrecondition, "not enough money"))?;
    txn.put(Space::Rows, plain([from]), plain(left.to_be_bytes()));
    let right = number(txn, &[to])? + amount;
    txn.put(Space::Rows, plain([to]), plain(right.to_be_bytes()));
    Ok(())
}

async fn audit(store: Arc<dyn MetadataStore>, done: Arc<AtomicBool>) {
    loop {
        let last = done.load(Ordering::Acquire);
        let read = store.view(|snapshot| {
            let rows = snapshot.scan(Space::Rows, &Range::prefix(b"", 100))?;
            // The same moment, by another way.
            let mut again = 0;
            for n in 0..ACCOUNTS {
                again += number(snapshot, &[n])?;
            }
            Ok((rows, again))
        });
        let (rows, again) = read.await.expect("read");
        let sum: u64 = rows.iter().map(|(_, value)| u64::from_be_bytes(value[..].try_into().expect("a balance"))).sum();
        assert_eq!((sum, again), (BALANCE * u64::from(ACCOUNTS), BALANCE * u64::from(ACCOUNTS)));
        if last {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Once a call returned, every read and every transaction sees its writes.
///
/// # Panics
/// When the store breaks its contract.
pub async fn writes_are_seen_once_answered(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let checked = spread(|writer| {
        let store = Arc::clone(&store);
        async move {
            let key = writer.to_be_bytes();
            for n in 1..=u64::from(EACH) {
                let write = move |txn: &mut dyn Transaction| {
                    txn.put(Space::Rows, plain(key), plain(n.to_be_bytes()));
                    Ok(())
                };
                let (_, version) = store.commit(write).await.expect("commit");
                assert!(store.version().await.expect("version") >= version);
                assert_eq!(store.view(move |snapshot| number(snapshot, &key)).await.expect("read"), n);
                assert_eq!(store.commit(move |txn| number(txn, &key)).await.expect("commit").0, n);
            }
        }
    });
    checked.await;
}

/// A call whose future is dropped takes effect whole or not at all, and harms no other.
///
/// # Panics
/// When the store breaks its contract.
pub async fn dropped_calls_are_never_split(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    for n in 0..100_u32 {
        let call = store.commit(move |txn| {
            txn.put(Space::Rows, plain(n.to_be_bytes()), plain("x"));
            txn.put(Space::Data, plain(n.to_be_bytes()), plain("x"));
            Ok(())
        });
        // Polled once, then dropped.
        tokio::select! {
            biased;
            outcome = call => { outcome.expect("commit"); }
            () = std::future::ready(()) => {}
        }
    }
    let last = |txn: &mut dyn Transaction| {
        txn.put(Space::Rows, plain("last"), plain("x"));
        txn.put(Space::Data, plain("last"), plain("x"));
        Ok(())
    };
    store.commit(last).await.expect("commit");
    let read = store.view(|snapshot| {
        let all = Range::prefix(b"", 1_000);
        Ok((snapshot.scan(Space::Rows, &all)?, snapshot.scan(Space::Data, &all)?))
    });
    let (rows, data) = read.await.expect("read");
    assert_eq!(rows, data);
    assert!(rows.iter().any(|(key, _)| &key[..] == b"last"));
}
