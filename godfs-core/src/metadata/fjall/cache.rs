//! Rows that were read lately, so that reading them again touches neither fjall nor a disk.
//!
//! The cache holds rows as they are in fjall, of the records that are applied. Each says since which record it is as it is, and the
//! applying thread brings those that it changes up to date before it publishes the view that shows the change. So a reader whose view
//! is at record N takes a row that is as it is since N or earlier; any other is newer than its moment, and it reads its own snapshot.
//!
//! What a reader found in its snapshot may be out of date when it comes to keep it. For each group of keys the cache knows
//! the last record that changed one of them: a reader whose view is older than that keeps nothing.

use std::hash::{BuildHasher, Hash, RandomState};

use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::unsync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::metadata::Space;
use crate::metadata::layer::{Found, Writes};
use crate::metadata::log::RecordNumber;

/// Parts with a lock of their own.
const SHARDS: usize = 16;
/// Groups of keys of one shard. More let fewer readers keep nothing for a change of another key; eight bytes each.
const GROUPS: usize = 1_024;
/// Memory of a row besides its bytes, roughly.
const ROW_OVERHEAD: u64 = 120;
/// Larger values are not kept: they would drive out too much.
const MAX_KEPT: usize = 32 << 10;
/// Larger ones are kept when they are read, not when they are written.
const MAX_KEPT_UNREAD: usize = 512;

/// Rows by their keys, up to a budget in bytes.
pub(super) struct RowCache {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

struct Shard {
    rows: Cache<Key, Row, Weight>,
    /// The last record that changed a key of each group.
    changed: Box<[RecordNumber]>,
}

#[derive(Clone, Debug)]
struct Row {
    /// `None`: there is no such row.
    value: Option<Bytes>,
    since: RecordNumber,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    space: Space,
    bytes: Box<[u8]>,
}

#[derive(Hash)]
struct Borrowed<'a> {
    space: Space,
    bytes: &'a [u8],
}

impl Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Borrowed { space: self.space, bytes: &self.bytes }.hash(state);
    }
}

impl Equivalent<Key> for Borrowed<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.space == key.space && *self.bytes == *key.bytes
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Row> for Weight {
    fn weight(&self, key: &Key, row: &Row) -> u64 {
        (key.bytes.len() + row.value.as_ref().map_or(0, Bytes::len)) as u64 + ROW_OVERHEAD
    }
}

impl RowCache {
    /// A cache of about `bytes`; of 0, one that keeps nothing.
    pub(super) fn new(bytes: u64) -> Self {
        let budget = bytes / SHARDS as u64;
        let items = usize::try_from(budget / (ROW_OVERHEAD + 80)).unwrap_or(usize::MAX);
        let shard = || Shard {
            rows: Cache::with_weighter(items, budget, Weight),
            changed: vec![RecordNumber::default(); GROUPS].into(),
        };
        let shards = if bytes == 0 { 0 } else { SHARDS };
        Self { hasher: RandomState::new(), shards: (0..shards).map(|_| Mutex::new(shard())).collect() }
    }

    /// The row of `key` as it was when record `at` was the last; `None` when the cache can't tell.
    pub(super) fn get(&self, space: Space, key: &[u8], at: RecordNumber) -> Option<Found> {
        let key = Borrowed { space, bytes: key };
        let (shard, _) = self.place(&key)?;
        let shard = shard.lock();
        let row = shard.rows.get(&key).filter(|row| row.since <= at)?;
        Some(row.value.clone().into())
    }

    /// Keeps what the snapshot at record `at` holds of `key`, unless it may have changed since.
    pub(super) fn keep(&self, space: Space, key: &[u8], found: &Found, at: RecordNumber) {
        let value = match found {
            Found::Value(value) if value.len() > MAX_KEPT => return,
            Found::Value(value) => Some(value.clone()),
            Found::Nothing | Found::Removed => None,
        };
        let borrowed = Borrowed { space, bytes: key };
        let Some((shard, group)) = self.place(&borrowed) else { return };
        let mut shard = shard.lock();
        if shard.changed[group] <= at {
            shard.rows.insert(Key { space, bytes: key.into() }, Row { value, since: at });
        }
    }

    /// Record `number`, the last of those that `writes` come from, is applied and will be published.
    pub(super) fn apply(&self, writes: &Writes, number: RecordNumber) {
        for space in Space::ALL {
            for (key, value) in writes.of(space) {
                let borrowed = Borrowed { space, bytes: key };
                let Some((shard, group)) = self.place(&borrowed) else { return };
                let mut shard = shard.lock();
                shard.changed[group] = number;
                let length = value.as_ref().map_or(0, Bytes::len);
                // The value may be a slice of a whole record of the log.
                let row = || Row { value: value.as_deref().map(Bytes::copy_from_slice), since: number };
                if length > MAX_KEPT {
                    shard.rows.remove(&borrowed);
                } else if let Some(mut known) = shard.rows.get_mut(&borrowed) {
                    *known = row();
                } else if value.is_some() && length <= MAX_KEPT_UNREAD {
                    // What was just written is likely to be looked at.
                    shard.rows.insert(Key { space, bytes: key[..].into() }, row());
                }
            }
        }
    }

    /// The shard of a key, and its group there.
    fn place(&self, key: &Borrowed<'_>) -> Option<(&Mutex<Shard>, usize)> {
        if self.shards.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(key) as usize;
        Some((&self.shards[hash % SHARDS], hash / SHARDS % GROUPS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"key";

    fn value(text: &str) -> Found {
        Found::Value(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn write(cache: &RowCache, key: &[u8], text: Option<&str>, number: u64) {
        let mut writes = Writes::default();
        let value = text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        writes.of_mut(Space::Rows).insert(Bytes::copy_from_slice(key), value);
        cache.apply(&writes, RecordNumber(number));
    }

    fn get(cache: &RowCache, at: u64) -> Option<Found> {
        cache.get(Space::Rows, KEY, RecordNumber(at))
    }

    #[test]
    fn a_reader_never_sees_a_row_newer_than_its_moment() {
        let cache = RowCache::new(1 << 20);
        cache.keep(Space::Rows, KEY, &value("old"), RecordNumber(5));
        assert_eq!((get(&cache, 5), get(&cache, 4)), (Some(value("old")), None));
        assert_eq!(cache.get(Space::Data, KEY, RecordNumber(5)), None, "another space");
        write(&cache, KEY, Some("new"), 7);
        assert_eq!((get(&cache, 7), get(&cache, 6)), (Some(value("new")), None));
        write(&cache, KEY, None, 8);
        assert_eq!((get(&cache, 9), get(&cache, 7)), (Some(Found::Removed), None));
    }

    /// A reader found the old value in its snapshot, slept, and came to keep it after the new one was applied.
    #[test]
    fn what_changed_meanwhile_is_not_kept() {
        let cache = RowCache::new(1 << 20);
        write(&cache, KEY, None, 7);
        cache.keep(Space::Rows, KEY, &value("old"), RecordNumber(6));
        assert_eq!(get(&cache, 9), None);
        cache.keep(Space::Rows, KEY, &Found::Nothing, RecordNumber(7));
        assert_eq!(get(&cache, 9), Some(Found::Removed));
    }

    #[test]
    fn the_budget_holds_and_nothing_is_kept_without_one() {
        let cache = RowCache::new(1 << 20);
        for number in 0..100_000_u64 {
            cache.keep(Space::Rows, &number.to_be_bytes(), &value("a value"), RecordNumber(1));
        }
        let weight: u64 = cache.shards.iter().map(|shard| shard.lock().rows.weight()).sum();
        assert!(((1 << 19)..=(1 << 20)).contains(&weight), "{weight}");
        let without = RowCache::new(0);
        without.keep(Space::Rows, KEY, &value("a"), RecordNumber(1));
        write(&without, KEY, Some("b"), 2);
        assert_eq!(get(&without, 2), None);
    }
}
