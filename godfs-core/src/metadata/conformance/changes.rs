//! What transactions announce.

use std::sync::Arc;

use bytes::Bytes;

use super::{StoreFactory, plain};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};
use crate::metadata::{
    Announcement, MAX_CHANGE_BYTES, MAX_TRANSACTION_BYTES, MetadataStore, MetadataStoreExt, Place, Space, Step,
    Transaction,
};

/// All that follows a place, in steps of at most `limit`.
async fn all_after(store: &dyn MetadataStore, from: Place, limit: usize) -> Vec<Announcement> {
    kept_after(store, from, limit).await.expect("changes")
}

/// The same where it may be let go meanwhile.
async fn kept_after(store: &dyn MetadataStore, from: Place, limit: usize) -> Result<Vec<Announcement>> {
    let (mut found, mut place) = (Vec::new(), from);
    let end = Place::before(store.incarnation(), store.version().await.expect("version").next());
    while place < end {
        let step = store.changes(place, limit).await?;
        assert!(step.found.len() <= limit.max(1), "more than was asked for");
        assert!(step.next > place, "a step that does not go on");
        assert!(step.found.last().is_none_or(|last| last.place <= step.next));
        place = step.next;
        found.extend(step.found);
    }
    assert!(found.windows(2).all(|two| two[0].place < two[1].place), "out of order");
    Ok(found)
}

async fn oldest(store: &dyn MetadataStore) -> Place {
    store.oldest_change().await.expect("oldest")
}

async fn announce(store: &dyn MetadataStore, changes: Vec<Bytes>) -> Version {
    let body = move |txn: &mut dyn Transaction| {
        txn.put(Space::Rows, plain("row"), plain(changes.first().cloned().unwrap_or_default()));
        changes.iter().for_each(|change| txn.announce(change.clone()));
        Ok(())
    };
    store.commit(body).await.expect("commit").1
}

/// Changes come in the order of the versions and within a transaction in that of the announcements, whole, from many writers at once; each place
/// that is given leads on to the next change.
///
/// # Panics
/// When the store breaks its contract.
pub async fn changes_come_in_the_order_of_commits(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let begin = oldest(&*store).await;
    let calls = (0..120_u32).map(|n| {
        let changes = (0..n % 4).map(|at| Bytes::from([n.to_be_bytes(), at.to_be_bytes()].concat())).collect();
        let store = Arc::clone(&store);
        async move { (announce(&*store, changes).await, n) }
    });
    let mut committed = futures::future::join_all(calls).await;
    committed.sort_unstable();
    let expected: Vec<(Version, Vec<u8>)> = committed
        .iter()
        .flat_map(|&(version, n)| (0..n % 4).map(move |at| (version, [n.to_be_bytes(), at.to_be_bytes()].concat())))
        .collect();
    for limit in [1, 7, 1_000] {
        let found = all_after(&*store, begin, limit).await;
        let (places, bytes): (Vec<_>, Vec<_>) = found.into_iter().map(|found| (found.place, found.bytes)).unzip();
        assert_eq!(bytes, expected.iter().map(|(_, bytes)| bytes).collect::<Vec<_>>());
        for (at, place) in places.iter().enumerate().step_by(11) {
            assert_eq!(place.version, expected[at].0);
            let place: Place = place.to_string().parse().expect("a place as text");
            let rest = all_after(&*store, place, 1_000).await;
            assert!(rest.iter().map(|found| &found.bytes).eq(&bytes[at + 1..]), "behind change {at}");
        }
    }
}

/// A body that fails announces nothing, also among others; what a body announced in a run that was repeated comes once; a transaction that only
/// announces commits.
///
/// # Panics
/// When the store breaks its contract.
pub async fn failed_bodies_announce_nothing(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let begin = oldest(&*store).await;
    let calls = (0..60_u32).map(|n| {
        store.commit(move |txn| -> Step<()> {
            txn.announce(Bytes::copy_from_slice(&n.to_be_bytes()));
            txn.get(Space::Rows, b"a")?;
            txn.get(Space::Rows, b"b")?;
            if n % 3 == 1 { Err(Error::new(ErrorKind::NotFound, "said the body").into()) } else { Ok(()) }
        })
    });
    let outcomes = futures::future::join_all(calls).await;
    let mut versions: Vec<(Version, u32)> =
        (0..).zip(outcomes).filter_map(|(n, outcome)| Some((outcome.ok()?.1, n))).collect();
    versions.sort_unstable();
    assert_eq!(versions.len(), 40);
    assert!(versions.windows(2).all(|two| two[0].0 < two[1].0), "each has a version of its own");
    let found = all_after(&*store, begin, 100).await;
    let found: Vec<_> = found.into_iter().map(|found| found.bytes.to_vec()).collect();
    assert_eq!(found, versions.iter().map(|(_, n)| n.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

/// The largest change is kept whole; a larger one, an empty one, and more than a transaction may hold are refused and leave nothing.
///
/// # Panics
/// When the store breaks its contract.
pub async fn limits_of_changes_are_refused(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let begin = oldest(&*store).await;
    let large = |count: usize, length: usize| {
        let change = Bytes::from(vec![7; length]);
        let body = move |txn: &mut dyn Transaction| {
            txn.put(Space::Rows, plain("row"), plain("x"));
            (0..count).for_each(|_| txn.announce(change.clone()));
            Ok(())
        };
        store.commit(body)
    };
    let too_many = MAX_TRANSACTION_BYTES / MAX_CHANGE_BYTES + 1;
    for (count, length, kind) in [
        (1, MAX_CHANGE_BYTES + 1, ErrorKind::LimitExceeded),
        (too_many, MAX_CHANGE_BYTES, ErrorKind::LimitExceeded),
        (1, 0, ErrorKind::InvalidArgument),
    ] {
        assert_eq!(large(count, length).await.expect_err("beyond").kind(), kind);
    }
    let row = store.view(|snapshot| snapshot.get(Space::Rows, b"row")).await.expect("read");
    assert_eq!(row, None, "nothing of it");
    large(5, MAX_CHANGE_BYTES).await.expect("commit");
    let step = store.changes(begin, 0).await.expect("changes");
    assert_eq!(step.found.len(), 1, "one at least");
    let found = all_after(&*store, begin, 100).await;
    assert_eq!(found.iter().map(|found| found.bytes.len()).collect::<Vec<_>>(), [MAX_CHANGE_BYTES; 5]);
}

/// Who waits for a version is woken by the commit, and by the closing of the store; changes are there by then.
///
/// # Panics
/// When the store breaks its contract.
pub async fn waiters_hear_of_commits(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    let mut place = Place::before(store.incarnation(), store.version().await.expect("version").next());
    for n in 0..20_u32 {
        let (newer, version) = futures::join!(
            store.newer_than(store.version().await.expect("version")),
            announce(&*store, vec![Bytes::copy_from_slice(&n.to_be_bytes())])
        );
        assert!(newer.expect("woken") >= version);
        let step = store.changes(place, 10).await.expect("changes");
        assert_eq!(step.found.iter().map(|found| found.bytes.to_vec()).collect::<Vec<_>>(), [n.to_be_bytes().to_vec()]);
        place = step.next;
    }
    let last = store.version().await.expect("version");
    assert!(store.changes(place, 10).await.expect("changes").found.is_empty());
    let (waited, closed) = futures::join!(store.newer_than(last), store.close());
    closed.expect("close");
    assert_eq!(waited.expect_err("closed").kind(), ErrorKind::Unavailable);
    assert_eq!(store.changes(place, 10).await.expect_err("closed").kind(), ErrorKind::Unavailable);
    assert_eq!(store.oldest_change().await.expect_err("closed").kind(), ErrorKind::Unavailable);
}

/// Places of other stores and of times to come are refused, and say what to do.
///
/// # Panics
/// When the store breaks its contract.
pub async fn foreign_places_are_refused(factory: &dyn StoreFactory) {
    let store = factory.create().await;
    announce(&*store, vec![Bytes::from_static(b"x")]).await;
    let next = store.version().await.expect("version").next();
    let here = Place::before(store.incarnation(), next);
    assert!(store.changes(here, 1).await.expect("the end").found.is_empty());
    let other = Incarnation::from_random(0xfeed);
    for place in [
        Place::before(other, next),
        Place::before(other, Version(1)),
        Place { index: 1, ..here },
        Place::before(store.incarnation(), next.next()),
        Place::before(store.incarnation(), Version(u64::MAX)),
    ] {
        let error = store.changes(place, 1).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Gone, "{place}");
        assert!(error.message().contains("list again"), "{error}");
    }
}

/// What was announced is there in the next life, and places lead on over it. Does nothing for a store that can't be opened again.
///
/// # Panics
/// When the store breaks its contract.
pub async fn changes_outlive_restarts(factory: &dyn StoreFactory) {
    let mut store = factory.create().await;
    let begin = oldest(&*store).await;
    let mut expected = Vec::new();
    for life in 0..4_u32 {
        for n in 0..20_u32 {
            let changes =
                vec![Bytes::from([life.to_be_bytes(), n.to_be_bytes()].concat()), Bytes::from_static(b"besides")];
            expected.extend(changes.iter().cloned());
            announce(&*store, changes).await;
            store
                .commit(|txn| {
                    txn.delete(Space::Rows, b"silent");
                    Ok(())
                })
                .await
                .expect("commit");
        }
        let found = all_after(&*store, begin, 9).await;
        assert!(found.iter().map(|found| &found.bytes).eq(&expected), "in life {life}");
        let middle = found[found.len() / 2].place;
        if life == 2 {
            store.close().await.expect("close");
        }
        let Some(reopened) = factory.reopen(store).await else { return };
        store = reopened;
        assert_eq!(oldest(&*store).await, begin);
        for limit in [1, 1_000] {
            let rest = all_after(&*store, middle, limit).await;
            assert!(rest.iter().map(|found| &found.bytes).eq(&expected[expected.len() / 2 + 1..]));
        }
    }
}

/// A store lets the oldest changes go, refuses places in front of the oldest that it names, and gives all behind it, also while more come.
/// Does nothing where the factory makes no store with little room.
///
/// # Panics
/// When the store breaks its contract.
pub async fn the_oldest_changes_go_first(factory: &dyn StoreFactory) {
    let Some(mut store) = factory.create_forgetful().await else { return };
    let begin = oldest(&*store).await;
    let mut before = begin;
    for round in 0..400_u64 {
        let change = Bytes::from([&round.to_be_bytes()[..], &[7; 500]].concat());
        let body = {
            let change = change.clone();
            move |txn: &mut dyn Transaction| {
                txn.put(Space::Rows, plain("row"), plain(vec![1; 500]));
                txn.announce(change.clone());
                Ok(())
            }
        };
        store.commit(body).await.expect("commit");
        if round % 20 != 19 {
            continue;
        }
        let oldest = oldest(&*store).await;
        assert!(oldest >= before);
        before = oldest;
        // It may go while it is read, and then it says so.
        match store.changes(oldest, 10_000).await {
            Ok(step) => {
                let found = step.found.first().expect("the last change is kept");
                assert_eq!(found.place.version, oldest.version);
                assert_eq!(found.bytes[..8], (oldest.version.0 - begin.version.0).to_be_bytes());
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Gone, "{error}"),
        }
    }
    for _ in 0..2 {
        // The store may still be at letting go.
        let (oldest, kept) = loop {
            let oldest = oldest(&*store).await;
            match kept_after(&*store, oldest, 7).await {
                Ok(kept) => break (oldest, kept),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Gone, "{error}"),
            }
        };
        assert!(oldest > begin, "nothing is let go");
        let error = store.changes(begin, 10).await.expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::Gone);
        assert!(error.message().contains("the oldest that is kept is"), "{error}");
        let first = oldest.version.0 - begin.version.0;
        let expected: Vec<_> = (first..400).map(|round| round.to_be_bytes().to_vec()).collect();
        assert_eq!(kept.iter().map(|found| found.bytes[..8].to_vec()).collect::<Vec<_>>(), expected);
        let Some(reopened) = factory.reopen(store).await else { return };
        store = reopened;
    }
}
