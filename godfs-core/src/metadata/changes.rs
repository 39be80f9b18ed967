//! What transactions announce besides their writes: a stream of changes in the order of the commits.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};

/// The largest change that a transaction may announce, in bytes: room for two of the longest paths.
pub const MAX_CHANGE_BYTES: usize = 160 << 10;
/// One answer ends after so many bytes of changes, and has at least one if there is one.
pub(super) const ANSWER_BYTES: usize = 512 << 10;
/// The memory of a change besides its bytes, roughly.
const OVERHEAD: usize = 64;

/// A place in the stream of changes of one store: behind all that came before it. It is good for as long as the store keeps what follows, over
/// restarts too. As text it is one word, of which nothing should be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The store whose place it is.
    pub incarnation: Incarnation,
    /// The transaction that comes next.
    pub version: Version,
    /// How many of its changes lie before the place.
    pub index: u32,
}

impl Place {
    /// The place in front of all that the transaction announced that commits as `version`.
    #[must_use]
    pub fn before(incarnation: Incarnation, version: Version) -> Self {
        Self { incarnation, version, index: 0 }
    }

    /// That it is one of `incarnation`, and not of a time after `last`, the version that committed last.
    pub(super) fn check(&self, incarnation: Incarnation, last: Version) -> Result<()> {
        if self.incarnation != incarnation {
            return Err(gone(self, "is one of another store, or of an earlier life of this one"));
        }
        if *self > Self::before(incarnation, last.next()) {
            return Err(gone(self, "lies after the last change: the store is older than whoever gave the place"));
        }
        Ok(())
    }

    /// What is said where the changes behind it are not kept any more.
    pub(super) fn trimmed(&self, oldest: Version) -> Error {
        let oldest = Self::before(self.incarnation, oldest);
        gone(self, &format!("is not kept any more, the oldest that is kept is {oldest}"))
    }
}

fn gone(place: &Place, why: &str) -> Error {
    let message = format!("the place {place} in the stream of changes {why}: list again, and watch from now");
    Error::new(ErrorKind::Gone, message)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.incarnation.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{:x}-{:x}", self.version.0, self.index)
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let mut parts = text.split('-');
            let (store, version, index) = (parts.next()?, parts.next()?, parts.next()?);
            let store = (store.len() == 32).then(|| u128::from_str_radix(store, 16).ok())??;
            let place = Self {
                incarnation: Incarnation::from_bytes(&store.to_be_bytes())?,
                version: Version(u64::from_str_radix(version, 16).ok()?),
                index: u32::from_str_radix(index, 16).ok()?,
            };
            // Signs and leading zeros are no places.
            (parts.next().is_none() && place.to_string() == text).then_some(place)
        };
        parse().ok_or_else(|| {
            let shown = &text[..text.floor_char_boundary(80)];
            Error::new(ErrorKind::InvalidArgument, format!("{shown:?} is no place in the stream of changes"))
        })
    }
}

/// One change that was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The place behind it.
    pub place: Place,
    /// What was announced.
    pub bytes: Bytes,
}

/// A stretch of the stream of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcements {
    /// In the order of the commits, and of the announcements within each.
    pub found: Vec<Announcement>,
    /// Where to go on: behind all that was looked at.
    pub next: Place,
}

/// One change, where the store is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) version: Version,
    /// How many came before it in its transaction.
    pub(super) index: u32,
    pub(super) bytes: Bytes,
}

impl Announced {
    /// Numbers what one transaction announced.
    pub(super) fn number(version: Version, changes: Vec<Bytes>) -> impl Iterator<Item = Self> {
        (0..).zip(changes).map(move |(index, bytes)| Self { version, index, bytes })
    }

    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// An answer that is being put together.
pub(super) struct Answer {
    limit: usize,
    bytes: usize,
    /// What was looked at ends in front of this.
    next: Place,
    found: Vec<Announcement>,
}

impl Answer {
    pub(super) fn new(from: Place, limit: usize) -> Self {
        Self { limit: limit.max(1), bytes: 0, next: from, found: Vec::new() }
    }

    /// Takes the next change if it lies behind the place; false when the answer was full without it.
    pub(super) fn take(&mut self, change: &Announced) -> bool {
        let Announced { version, index, ref bytes } = *change;
        if (version, index) < (self.next.version, self.next.index) {
            return true;
        }
        if self.found.len() >= self.limit || (self.bytes + bytes.len() > ANSWER_BYTES && !self.found.is_empty()) {
            return false;
        }
        self.bytes += bytes.len();
        self.next = Place { version, index: index.saturating_add(1), ..self.next };
        self.found.push(Announcement { place: self.next, bytes: bytes.clone() });
        true
    }

    /// Notes that all up to `version` was looked at.
    pub(super) fn passed(&mut self, version: Version) {
        self.next = self.next.max(Place::before(self.next.incarnation, version.next()));
    }

    pub(super) fn done(self) -> Announcements {
        Announcements { found: self.found, next: self.next }
    }
}

/// The changes of the last transactions, in memory.
#[derive(Debug)]
pub(super) struct RecentChanges {
    changes: VecDeque<Announced>,
    /// The first transaction of which all is here.
    oldest: Version,
    bytes: usize,
    most: usize,
}

impl RecentChanges {
    /// Of a store whose next transaction is `next`, with room for `most` bytes.
    pub(super) fn new(next: Version, most: usize) -> Self {
        Self { changes: VecDeque::new(), oldest: next, bytes: 0, most }
    }

    pub(super) fn oldest(&self) -> Version {
        self.oldest
    }

    pub(super) fn push(&mut self, change: Announced) {
        self.bytes += change.weight();
        self.changes.push_back(change);
        while self.bytes > self.most
            && let Some(dropped) = self.changes.pop_front()
        {
            // What is left of its transaction goes with the next ones; nobody is given it in between.
            self.bytes -= dropped.weight();
            self.oldest = dropped.version.next();
        }
    }

    /// What follows a place, up to the transaction `last`; `None` when it is not all here.
    pub(super) fn read(&self, from: Place, last: Version, limit: usize) -> Option<Announcements> {
        if from.version < self.oldest {
            return None;
        }
        let mut answer = Answer::new(from, limit);
        let first = self.changes.partition_point(|change| change.version < from.version);
        for change in self.changes.range(first..).take_while(|change| change.version <= last) {
            if !answer.take(change) {
                return Some(answer.done());
            }
        }
        answer.passed(last);
        Some(answer.done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_words_and_nothing_else_is_one() {
        let place = Place { incarnation: Incarnation::from_random(7), version: Version(0xabc), index: 3 };
        let text = place.to_string();
        assert_eq!(text.parse::<Place>().expect("a place"), place);
        let upper = text.to_uppercase();
        let others =
            ["", "now", &text[1..], &format!("{text}-1"), &format!("{text} "), &upper, &text.replace("-a", "-0a")];
        for other in others {
            let error = other.parse::<Place>().expect_err(other);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{other}");
        }
    }

    #[test]
    fn the_oldest_go_first_and_whole() {
        let incarnation = Incarnation::from_random(1);
        let mut recent = RecentChanges::new(Version(1), 10 * (OVERHEAD + 10));
        for version in 1..=20 {
            let changes = vec![Bytes::from_static(b"0123456789"); 3];
            Announced::number(Version(version), changes).for_each(|change| recent.push(change));
        }
        assert_eq!(recent.oldest(), Version(18), "ten of them fit, three transactions are whole");
        let found = recent.read(Place::before(incarnation, Version(18)), Version(20), 100).expect("kept");
        assert_eq!(found.found.len(), 9);
        assert_eq!(found.next, Place::before(incarnation, Version(21)));
        assert!(recent.read(Place::before(incarnation, Version(17)), Version(20), 100).is_none());
    }
}
