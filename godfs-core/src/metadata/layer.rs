//! Rows over rows: what a store reads through while writes are on their way to where they stay.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Range, Row, Snapshot, Space, Step};
use crate::error::{Error, ErrorKind, Result};

/// What one layer knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: look in the layer below.
    Nothing,
    /// It was removed.
    Removed,
    /// Its value.
    Value(Bytes),
}

impl From<Option<Bytes>> for Found {
    fn from(value: Option<Bytes>) -> Self {
        value.map_or(Self::Removed, Self::Value)
    }
}

/// The rows of a range in its order; a removed one has no value.
pub(super) type Rows<'a> = Box<dyn Iterator<Item = Result<(Bytes, Option<Bytes>)>> + 'a>;

/// Something that can be read through. The limit of a range is the reader's business.
pub(super) trait Layer {
    fn find(&self, space: Space, key: &[u8]) -> Result<Found>;
    fn rows<'a>(&'a self, space: Space, range: &Range) -> Rows<'a>;
}

/// One write whose value and version are decided. Without a value the row is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) space: Space,
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
}

/// A map for each space.
#[derive(Clone, Debug)]
pub(super) struct PerSpace<T>([BTreeMap<Bytes, T>; Space::ALL.len()]);

impl<T> Default for PerSpace<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| BTreeMap::new()))
    }
}

impl<T> PerSpace<T> {
    pub(super) fn of(&self, space: Space) -> &BTreeMap<Bytes, T> {
        &self.0[space as usize]
    }

    pub(super) fn of_mut(&mut self, space: Space) -> &mut BTreeMap<Bytes, T> {
        &mut self.0[space as usize]
    }

    /// How many entries there are.
    #[cfg(feature = "fjall")]
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(BTreeMap::len).sum()
    }

    /// Takes over the entries of `newer`.
    #[cfg(feature = "fjall")]
    pub(super) fn overlay(&mut self, newer: &Self)
    where
        T: Clone,
    {
        for (map, newer) in self.0.iter_mut().zip(&newer.0) {
            map.extend(newer.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    }

    /// The entries of a range in its order.
    pub(super) fn range<'a>(
        &'a self,
        space: Space,
        range: &Range,
    ) -> Box<dyn Iterator<Item = (&'a Bytes, &'a T)> + 'a> {
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        let entries = self.of(space).range::<[u8], _>((bound(&range.start), bound(&range.end)));
        if range.reverse { Box::new(entries.rev()) } else { Box::new(entries) }
    }
}

fn bound(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// The writes of a batch, or of several, the last of each key.
pub(super) type Writes = PerSpace<Option<Bytes>>;

#[cfg(feature = "fjall")]
impl Writes {
    /// The bytes of its keys and values.
    pub(super) fn bytes(&self) -> usize {
        let entries = self.0.iter().flatten();
        entries.map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum()
    }
}

impl Layer for Writes {
    fn find(&self, space: Space, key: &[u8]) -> Result<Found> {
        Ok(self.of(space).get(key).map_or(Found::Nothing, |value| value.clone().into()))
    }

    fn rows<'a>(&'a self, space: Space, range: &Range) -> Rows<'a> {
        Box::new(self.range(space, range).map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}

/// One moment of a store, for a body that only reads.
pub(super) struct Reader<'a>(pub(super) &'a dyn Layer);

impl Snapshot for Reader<'_> {
    fn get(&mut self, space: Space, key: &[u8]) -> Step<Option<Bytes>> {
        match self.0.find(space, key)? {
            Found::Value(value) => Ok(Some(value)),
            Found::Nothing | Found::Removed => Ok(None),
        }
    }

    fn scan(&mut self, space: Space, range: &Range) -> Step<Vec<Row>> {
        check_limit(range)?;
        let mut rows = Vec::new();
        for row in self.0.rows(space, range) {
            if let (key, Some(value)) = row? {
                rows.push((key, value));
                if rows.len() == range.limit {
                    break;
                }
            }
        }
        Ok(rows)
    }
}

pub(super) fn check_limit(range: &Range) -> Result<()> {
    if range.limit == 0 {
        return Err(Error::new(ErrorKind::InvalidArgument, "a scan with a limit of 0 rows"));
    }
    Ok(())
}
