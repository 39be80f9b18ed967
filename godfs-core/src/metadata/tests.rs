//! The suite over the store in memory, and over one that has nothing at hand.

use std::sync::Arc;

use async_trait::async_trait;
use proptest::prelude::*;

use super::conformance::{self, StoreFactory};
use super::{
    Abort, MemoryStore, MetadataStore, MetadataStoreExt, MissingStore, Range, Snapshot, Space, Stamped, Transaction,
    prefix_end,
};
use crate::error::ErrorKind;
use crate::id::Incarnation;

#[derive(Debug)]
struct Memory;

#[async_trait]
impl StoreFactory for Memory {
    async fn create(&self) -> Arc<dyn MetadataStore> {
        Arc::new(MemoryStore::new(Incarnation::from_random(1)))
    }

    async fn create_forgetful(&self) -> Option<Arc<dyn MetadataStore>> {
        Some(Arc::new(MemoryStore::keeping(Incarnation::from_random(1), 50 << 10)))
    }
}

/// Any factory's stores, with nothing at hand.
#[derive(Debug)]
pub(super) struct Missing<F>(pub(super) F);

#[async_trait]
impl<F: StoreFactory> StoreFactory for Missing<F> {
    async fn create(&self) -> Arc<dyn MetadataStore> {
        Arc::new(MissingStore::new(self.0.create().await))
    }

    async fn create_forgetful(&self) -> Option<Arc<dyn MetadataStore>> {
        Some(Arc::new(MissingStore::new(self.0.create_forgetful().await?)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conformance::all(&Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_with_nothing_at_hand_conforms() {
    conformance::all(&Missing(Memory)).await;
}

#[tokio::test]
async fn rows_in_memory_outlive_a_handle() {
    let store = MemoryStore::new(Incarnation::from_random(1));
    let write = |txn: &mut dyn Transaction| {
        txn.put(Space::Rows, b"a"[..].into(), b"x"[..].into());
        Ok(())
    };
    store.commit(write).await.expect("commit");
    store.close().await.expect("close");
    let store = store.reopen();
    assert!(store.view(|snapshot| snapshot.get(Space::Rows, b"a")).await.expect("read").is_some());
}

#[tokio::test]
async fn a_body_that_panics_or_makes_up_a_miss_harms_nobody() {
    let store = MemoryStore::new(Incarnation::from_random(1));
    let panics = |txn: &mut dyn Transaction| -> super::Step<()> {
        txn.put(Space::Rows, b"a"[..].into(), b"x"[..].into());
        panic!("in the body");
    };
    assert_eq!(store.commit(panics).await.expect_err("panicked").kind(), ErrorKind::Internal);
    let misses = |_: &mut dyn Transaction| -> super::Step<()> { Err(Abort::Missing) };
    assert_eq!(store.commit(misses).await.expect_err("missed").kind(), ErrorKind::Internal);
    assert!(store.view(|snapshot| snapshot.get(Space::Rows, b"a")).await.expect("read").is_none());
}

#[tokio::test]
async fn a_body_that_goes_on_after_a_miss_is_found_out() {
    let store = MissingStore::new(Arc::new(MemoryStore::new(Incarnation::from_random(1))));
    let swallows = |txn: &mut dyn Transaction| {
        let _ = txn.get(Space::Rows, b"a");
        Ok(())
    };
    assert_eq!(store.commit(swallows).await.expect_err("swallowed").kind(), ErrorKind::Internal);
    let goes_on = |txn: &mut dyn Transaction| {
        let found = txn.get(Space::Rows, b"a");
        txn.delete(Space::Rows, b"a");
        found
    };
    assert_eq!(store.commit(goes_on).await.expect_err("went on").kind(), ErrorKind::Internal);
    let read = |snapshot: &mut dyn Snapshot| Ok(snapshot.scan(Space::Rows, &Range::prefix(b"", 1)).is_ok());
    assert_eq!(store.view(read).await.expect_err("swallowed").kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn bodies_run_again_for_each_miss_and_hints_spare_runs() {
    let store = MissingStore::new(Arc::new(MemoryStore::new(Incarnation::from_random(1))));
    let mut runs = 0;
    let body = move |txn: &mut dyn Transaction| {
        runs += 1;
        txn.get(Space::Rows, b"a")?;
        txn.get(Space::Rows, b"b")?;
        txn.get(Space::Rows, b"a")?;
        Ok(runs)
    };
    assert_eq!(store.commit(body).await.expect("commit").0, 3);
    let mut runs = 0;
    let body = move |txn: &mut dyn Transaction| {
        runs += 1;
        txn.prefetch(Space::Rows, &[b"a", b"b"]);
        txn.get(Space::Rows, b"a")?;
        txn.get(Space::Rows, b"b")?;
        Ok(runs)
    };
    assert_eq!(store.commit(body).await.expect("commit").0, 2);
}

proptest! {
    #[test]
    fn a_prefix_ends_before_the_next_one(prefix in prop::collection::vec(any::<u8>(), 0..5), key in prop::collection::vec(any::<u8>(), 0..7)) {
        let range = Range::prefix(&prefix, 1);
        let before_end = prefix_end(&prefix).is_none_or(|end| key.as_slice() < &end[..]);
        let inside = key.as_slice() >= prefix.as_slice() && before_end;
        prop_assert_eq!(inside, key.starts_with(&prefix));
        prop_assert!(!range.is_empty());
    }

    #[test]
    fn a_version_lies_between_its_neighbours(before in prop::collection::vec(any::<u8>(), 0..9), after in prop::collection::vec(any::<u8>(), 0..9), version: u64) {
        let stamped = Stamped::versioned(&before, &after);
        prop_assert_eq!(stamped.pending().len(), before.len() + 8 + after.len());
        let expected = [&before[..], &version.to_be_bytes(), &after].concat();
        prop_assert_eq!(stamped.commit(crate::id::Version(version)), expected);
    }

    #[test]
    fn random_transactions_agree_in_memory(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(conformance::random_transactions_agree_with_a_map(&Missing(Memory), seed, 30));
    }
}
