//! A transaction over rows that it does not change: its writes lie over them until it commits.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::changes::MAX_CHANGE_BYTES;
use super::layer::{Found, Layer, PerSpace, Reader, Write, check_limit};
use super::{
    Abort, Counters, MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES, Range, ReadBody, Row, Snapshot, Space,
    Stamped, Step, Transaction, TransactionBody,
};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Version;

/// What a body comes to.
pub(super) struct Executed {
    /// In the order of the keys.
    pub(super) writes: Vec<Write>,
    /// What it announced.
    pub(super) changes: Vec<Bytes>,
}

impl Executed {
    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.changes.is_empty()
    }
}

/// Runs `body` over `under`, and gives what it writes when it commits as `version`. A failure and a panic leave nothing behind.
pub(super) fn execute(under: &dyn Layer, body: &mut dyn TransactionBody, version: Version) -> Result<Executed> {
    let mut overlay = Overlay::new(under);
    let ran = guarded(|| body.run(&mut overlay));
    // A write that was refused is missing in what the body read since: what it made of that is not what went wrong.
    match overlay.refused.take() {
        Some(refused) => Err(refused),
        None => ran.and_then(|()| overlay.commit(version)),
    }
}

/// Runs `body` on what `layer` holds.
pub(super) fn read(layer: &dyn Layer, body: &mut dyn ReadBody) -> Result<()> {
    guarded(|| body.run(&mut Reader(layer)))
}

/// Runs `body` on `snapshot`, which may lack rows; `None` when it does.
#[cfg(feature = "fjall")]
pub(super) fn read_at_hand(snapshot: &mut dyn Snapshot, body: &mut dyn ReadBody) -> Option<Result<()>> {
    match caught(|| body.run(snapshot)) {
        Ok(()) => Some(Ok(())),
        Err(Abort::Failed(error)) => Some(Err(error)),
        Err(Abort::Missing) => None,
    }
}

fn guarded(run: impl FnOnce() -> Step<()>) -> Result<()> {
    caught(run).map_err(|abort| match abort {
        Abort::Failed(error) => error,
        Abort::Missing => Error::new(ErrorKind::Internal, "the body misses a row where every row is at hand"),
    })
}

/// Turns a panic into a failure.
fn caught(run: impl FnOnce() -> Step<()>) -> Step<()> {
    // A body that is left in the middle is dropped or begins anew, so nothing half-done of it is ever looked at.
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the body of a metadata transaction panicked").into()))
}

/// The reads and writes of one run of a body.
struct Overlay<'a> {
    under: &'a dyn Layer,
    own: PerSpace<Own>,
    /// Writes whose keys are known only at the commit; nobody can read them before.
    versioned: Vec<(Space, Stamped, Stamped)>,
    changes: Vec<Bytes>,
    bytes: usize,
    refused: Option<Error>,
}

#[derive(Debug)]
enum Own {
    Put(Stamped),
    Delete,
    /// To be added to whatever lies below, which was not read.
    Add(Counters),
}

impl Own {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(value) => value.pending().len(),
            Self::Delete => 0,
            Self::Add(_) => Counters::BYTES,
        }
    }
}

impl<'a> Overlay<'a> {
    fn new(under: &'a dyn Layer) -> Self {
        let (versioned, changes) = (Vec::new(), Vec::new());
        Self { under, own: PerSpace::default(), versioned, changes, bytes: 0, refused: None }
    }

    /// What is to be written; nothing was refused.
    fn commit(self, version: Version) -> Result<Executed> {
        let Self { under, mut own, versioned, changes, .. } = self;
        let mut writes = Vec::new();
        for space in Space::ALL {
            for (key, write) in std::mem::take(own.of_mut(space)) {
                let value = match write {
                    Own::Put(value) => Some(Bytes::from(value.commit(version))),
                    Own::Delete => None,
                    Own::Add(delta) => Some(sum(under.find(space, &key)?, delta)?),
                };
                writes.push(Write { space, key, value });
            }
        }
        for (space, key, value) in versioned {
            let (key, value) = (Bytes::from(key.commit(version)), Some(Bytes::from(value.commit(version))));
            writes.push(Write { space, key, value });
        }
        Ok(Executed { writes, changes })
    }

    /// Counts the bytes of a write, instead of those that it replaces; `false` when it must not be made, since a limit
    /// is passed.
    fn admit(&mut self, key: &[u8], value: usize, replaced: Option<usize>) -> bool {
        if self.refused.is_some() {
            return false;
        }
        if key.is_empty() {
            self.refused = Some(Error::new(ErrorKind::InvalidArgument, "a metadata key of no bytes"));
            return false;
        }
        let replaced = replaced.map_or(0, |value| key.len() + value);
        let bytes = self.bytes - replaced + key.len() + value;
        let limits = [
            ("key", key.len(), MAX_KEY_BYTES),
            ("value", value, MAX_VALUE_BYTES),
            ("transaction", bytes, MAX_TRANSACTION_BYTES),
        ];
        for (what, found, limit) in limits {
            if found > limit {
                let message = format!("a metadata {what} of {found} bytes, at most {limit} are allowed");
                self.refused = Some(Error::new(ErrorKind::LimitExceeded, message));
                return false;
            }
        }
        self.bytes = bytes;
        true
    }

    /// The bytes of the value that was already written to `key`.
    fn written(&self, space: Space, key: &[u8]) -> Option<usize> {
        self.own.of(space).get(key).map(Own::bytes)
    }
}

fn sum(below: Found, delta: Counters) -> Result<Bytes> {
    let below = match below {
        Found::Value(value) => Counters::decode(&value)?,
        Found::Nothing | Found::Removed => Counters::default(),
    };
    Ok(Bytes::copy_from_slice(&below.plus(delta).encode()))
}

impl Snapshot for Overlay<'_> {
    fn get(&mut self, space: Space, key: &[u8]) -> Step<Option<Bytes>> {
        match self.own.of(space).get(key) {
            Some(Own::Put(value)) => Ok(Some(Bytes::copy_from_slice(value.pending()))),
            Some(Own::Delete) => Ok(None),
            Some(Own::Add(delta)) => Ok(Some(sum(self.under.find(space, key)?, *delta)?)),
            None => Reader(self.under).get(space, key),
        }
    }

    fn scan(&mut self, space: Space, range: &Range) -> Step<Vec<Row>> {
        check_limit(range)?;
        if self.own.of(space).is_empty() {
            return Reader(self.under).scan(space, range);
        }
        let mut own = self.own.range(space, range).peekable();
        let mut below = self.under.rows(space, range).peekable();
        let mut rows = Vec::new();
        while rows.len() < range.limit {
            let lower_first = match (own.peek(), below.peek()) {
                (_, Some(Err(_))) => true,
                (Some((key, _)), Some(Ok((other, _)))) => key != &other && (other < *key) != range.reverse,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => break,
            };
            if lower_first {
                if let Some((key, Some(value))) = below.next().transpose()? {
                    rows.push((key, value));
                }
                continue;
            }
            let Some((key, write)) = own.next() else { break };
            let hidden = below.next_if(|row| matches!(row, Ok((other, _)) if other == key)).transpose()?;
            match write {
                Own::Put(value) => rows.push((key.clone(), Bytes::copy_from_slice(value.pending()))),
                Own::Delete => {}
                Own::Add(delta) => {
                    let hidden = hidden.map_or(Found::Nothing, |(_, value)| value.into());
                    rows.push((key.clone(), sum(hidden, *delta)?));
                }
            }
        }
        Ok(rows)
    }
}

impl Transaction for Overlay<'_> {
    fn put(&mut self, space: Space, key: Stamped, value: Stamped) {
        let bytes = value.pending().len();
        if key.is_versioned() {
            if self.admit(key.pending(), bytes, None) {
                self.versioned.push((space, key, value));
            }
        } else if self.admit(key.pending(), bytes, self.written(space, key.pending())) {
            self.own.of_mut(space).insert(Bytes::from(key.bytes), Own::Put(value));
        }
    }

    fn delete(&mut self, space: Space, key: &[u8]) {
        if self.admit(key, 0, self.written(space, key)) {
            self.own.of_mut(space).insert(Bytes::copy_from_slice(key), Own::Delete);
        }
    }

    fn add(&mut self, space: Space, key: &[u8], delta: Counters) {
        if !self.admit(key, Counters::BYTES, self.written(space, key)) {
            return;
        }
        let Some(own) = self.own.of_mut(space).get_mut(key) else {
            self.own.of_mut(space).insert(Bytes::copy_from_slice(key), Own::Add(delta));
            return;
        };
        match own {
            Own::Add(before) => *before = before.plus(delta),
            Own::Delete => *own = Own::Put(Stamped::plain(delta.encode())),
            Own::Put(value) => match Counters::decode(value.pending()) {
                Ok(before) => *own = Own::Put(Stamped::plain(before.plus(delta).encode())),
                Err(error) => self.refused = Some(error),
            },
        }
    }

    fn announce(&mut self, change: Bytes) {
        if self.refused.is_some() {
            return;
        }
        let bytes = self.bytes + change.len();
        let kind = if change.is_empty() {
            ErrorKind::InvalidArgument
        } else if change.len() > MAX_CHANGE_BYTES || bytes > MAX_TRANSACTION_BYTES {
            ErrorKind::LimitExceeded
        } else {
            self.bytes = bytes;
            self.changes.push(change);
            return;
        };
        let message = format!(
            "an announced change of {} bytes, with {} of the transaction: 1 to {MAX_CHANGE_BYTES} are allowed, with {MAX_TRANSACTION_BYTES}",
            change.len(),
            self.bytes
        );
        self.refused = Some(Error::new(kind, message));
    }
}
