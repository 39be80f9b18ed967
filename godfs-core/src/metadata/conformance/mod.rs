//! What every [`MetadataStore`] must do, as functions that any implementation's tests can call.
//!
//! Each function takes a [`StoreFactory`], makes stores of its own, and panics where one breaks its contract.
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use godfs_core::Incarnation;
//! use godfs_core::metadata::conformance::{self, StoreFactory};
//! use godfs_core::metadata::{MemoryStore, MetadataStore};
//!
//! #[derive(Debug)]
//! struct Memory;
//!
//! #[async_trait]
//! impl StoreFactory for Memory {
//!     async fn create(&self) -> Arc<dyn MetadataStore> {
//!         Arc::new(MemoryStore::new(Incarnation::from_random(1)))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! conformance::all(&Memory).await;
//! # }
//! ```

mod changes;
mod concurrency;
mod limits;
mod lives;
mod model;
mod ranges;
mod transactions;
mod versions;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{MetadataStore, Stamped};

pub use changes::{
    changes_come_in_the_order_of_commits, changes_outlive_restarts, failed_bodies_announce_nothing,
    foreign_places_are_refused, limits_of_changes_are_refused, the_oldest_changes_go_first, waiters_hear_of_commits,
};
pub use concurrency::{
    adds_from_many_writers_are_all_counted, dropped_calls_are_never_split, increments_are_serialized,
    money_is_conserved, writes_are_seen_once_answered,
};
pub use limits::{large_values_are_kept, limits_are_refused};
pub use lives::{a_closed_store_refuses, a_restart_loses_nothing};
pub use model::random_transactions_agree_with_a_map;
pub use ranges::{own_writes_show_in_ranges, ranges_are_in_order};
pub use transactions::{
    a_failed_body_leaves_nothing, counters_add_up, failures_are_dropped_alone, own_writes_are_read,
    transactions_span_spaces,
};
pub use versions::{keys_and_values_hold_their_version, versions_are_consecutive};

/// Makes the stores that a suite tries.
#[async_trait]
pub trait StoreFactory: Send + Sync + fmt::Debug {
    /// A new, empty store.
    async fn create(&self) -> Arc<dyn MetadataStore>;

    /// A new, empty store that keeps no more than some 50 KiB of changes besides what it needs itself. `None` where there is no such setting.
    async fn create_forgetful(&self) -> Option<Arc<dyn MetadataStore>> {
        None
    }

    /// Ends `store` as abruptly as possible and opens what it left. `None` when its rows do not outlive it.
    async fn reopen(&self, store: Arc<dyn MetadataStore>) -> Option<Arc<dyn MetadataStore>> {
        drop(store);
        None
    }
}

/// Every test of the suite, one after another.
///
/// # Panics
/// When the store breaks its contract.
pub async fn all(factory: &dyn StoreFactory) {
    transactions_span_spaces(factory).await;
    a_failed_body_leaves_nothing(factory).await;
    failures_are_dropped_alone(factory).await;
    own_writes_are_read(factory).await;
    counters_add_up(factory).await;
    ranges_are_in_order(factory).await;
    own_writes_show_in_ranges(factory).await;
    versions_are_consecutive(factory).await;
    keys_and_values_hold_their_version(factory).await;
    large_values_are_kept(factory).await;
    limits_are_refused(factory).await;
    increments_are_serialized(factory).await;
    adds_from_many_writers_are_all_counted(factory).await;
    money_is_conserved(factory).await;
    writes_are_seen_once_answered(factory).await;
    dropped_calls_are_never_split(factory).await;
    changes_come_in_the_order_of_commits(factory).await;
    failed_bodies_announce_nothing(factory).await;
    limits_of_changes_are_refused(factory).await;
    waiters_hear_of_commits(factory).await;
    foreign_places_are_refused(factory).await;
    changes_outlive_restarts(factory).await;
    the_oldest_changes_go_first(factory).await;
    a_closed_store_refuses(factory).await;
    a_restart_loses_nothing(factory).await;
    for seed in 0..4 {
        random_transactions_agree_with_a_map(factory, seed, 60).await;
    }
}

fn plain(bytes: impl AsRef<[u8]>) -> Stamped {
    Stamped::plain(bytes.as_ref())
}
