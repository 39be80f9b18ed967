//! A store that has nothing at hand.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Abort, Announcements, Counters, MetadataStore, Place, Range, ReadBody, ReadBox, Row, Snapshot, Space, Stamped,
    Step, Transaction, TransactionBody, TransactionBox,
};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};

/// A wrapper around a store that answers [`Abort::Missing`] to each first read of a key or range, as a remote one may, and
/// runs the body again. It shows bodies that can't be run twice, and fails those that go on after `Missing` with
/// [`ErrorKind::Internal`]. Keys that were given to [`Snapshot::prefetch`] before a miss are at hand after it.
#[derive(Clone, Debug)]
pub struct MissingStore {
    store: Arc<dyn MetadataStore>,
}

impl MissingStore {
    /// Wraps `store`.
    #[must_use]
    pub fn new(store: Arc<dyn MetadataStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetadataStore for MissingStore {
    async fn transact(&self, body: TransactionBox) -> Result<(TransactionBox, Version)> {
        let run = Arc::new(Mutex::new(Run::new(body)));
        loop {
            match self.store.transact(Box::new(Probe(Arc::clone(&run)))).await {
                Ok((probe, version)) => {
                    drop(probe);
                    return Ok((taken(run)?, version));
                }
                Err(error) => run.lock().again(error)?,
            }
        }
    }

    async fn read(&self, body: ReadBox) -> Result<ReadBox> {
        let run = Arc::new(Mutex::new(Run::new(body)));
        loop {
            match self.store.read(Box::new(Probe(Arc::clone(&run)))).await {
                Ok(probe) => {
                    drop(probe);
                    return taken(run);
                }
                Err(error) => run.lock().again(error)?,
            }
        }
    }

    async fn version(&self) -> Result<Version> {
        self.store.version().await
    }

    async fn changes(&self, from: Place, limit: usize) -> Result<Announcements> {
        self.store.changes(from, limit).await
    }

    async fn oldest_change(&self) -> Result<Place> {
        self.store.oldest_change().await
    }

    async fn newer_than(&self, since: Version) -> Result<Version> {
        self.store.newer_than(since).await
    }

    fn incarnation(&self) -> Incarnation {
        self.store.incarnation()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

fn taken<B>(run: Arc<Mutex<Run<B>>>) -> Result<B> {
    let run = Arc::into_inner(run).ok_or_else(|| Error::new(ErrorKind::Internal, "the store kept a body it gave back"));
    Ok(run?.into_inner().body)
}

/// A body, and what its runs have asked for.
struct Run<B> {
    body: B,
    known: Known,
}

#[derive(Default)]
struct Known {
    asked: HashSet<(Space, Question)>,
    hinted: HashSet<(Space, Question)>,
    missed: bool,
    went_on: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Question {
    Key(Vec<u8>),
    /// A range has no hash of its own; its words are as good.
    Range(String),
}

impl<B> Run<B> {
    fn new(body: B) -> Self {
        Self { body, known: Known::default() }
    }

    /// Whether the run that ended with `error` is to be repeated.
    fn again(&mut self, error: Error) -> Result<()> {
        if self.known.missed && !self.known.went_on { Ok(()) } else { Err(error) }
    }
}

impl Known {
    fn begin(&mut self) {
        self.missed = false;
        self.went_on = false;
        self.asked.extend(self.hinted.drain());
    }

    fn ask(&mut self, space: Space, question: Question) -> Step<()> {
        self.act();
        if self.missed || self.asked.insert((space, question)) {
            self.missed = true;
            return Err(Abort::Missing);
        }
        Ok(())
    }

    fn act(&mut self) {
        self.went_on |= self.missed;
    }

    fn end(&mut self, result: Step<()>) -> Step<()> {
        if !self.missed {
            return result;
        }
        self.went_on |= !matches!(result, Err(Abort::Missing));
        let message = if self.went_on { "a body went on after a row was missing" } else { "a row is missing" };
        Err(Abort::Failed(Error::new(ErrorKind::Internal, message)))
    }
}

struct Probe<B>(Arc<Mutex<Run<B>>>);

impl<B> fmt::Debug for Probe<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl TransactionBody for Probe<TransactionBox> {
    fn run(&mut self, txn: &mut dyn Transaction) -> Step<()> {
        let Run { body, known } = &mut *self.0.lock();
        known.begin();
        let result = body.run(&mut Withholding { under: txn, known });
        known.end(result)
    }
}

impl ReadBody for Probe<ReadBox> {
    fn run(&mut self, snapshot: &mut dyn Snapshot) -> Step<()> {
        let Run { body, known } = &mut *self.0.lock();
        known.begin();
        let result = body.run(&mut Withholding { under: snapshot, known });
        known.end(result)
    }

    fn is_long(&self) -> bool {
        self.0.lock().body.is_long()
    }
}

struct Withholding<'a, T: ?Sized> {
    under: &'a mut T,
    known: &'a mut Known,
}

impl<T: Snapshot + ?Sized> Snapshot for Withholding<'_, T> {
    fn get(&mut self, space: Space, key: &[u8]) -> Step<Option<Bytes>> {
        self.known.ask(space, Question::Key(key.to_vec()))?;
        self.under.get(space, key)
    }

    fn scan(&mut self, space: Space, range: &Range) -> Step<Vec<Row>> {
        self.known.ask(space, Question::Range(format!("{range:?}")))?;
        self.under.scan(space, range)
    }

    fn prefetch(&mut self, space: Space, keys: &[&[u8]]) {
        self.known.act();
        self.known.hinted.extend(keys.iter().map(|key| (space, Question::Key(key.to_vec()))));
        self.under.prefetch(space, keys);
    }

    fn counters(&mut self, space: Space, key: &[u8]) -> Step<Counters> {
        self.known.ask(space, Question::Key(key.to_vec()))?;
        self.under.counters(space, key)
    }
}

impl Transaction for Withholding<'_, dyn Transaction + '_> {
    fn put(&mut self, space: Space, key: Stamped, value: Stamped) {
        self.known.act();
        self.under.put(space, key, value);
    }

    fn delete(&mut self, space: Space, key: &[u8]) {
        self.known.act();
        self.under.delete(space, key);
    }

    fn add(&mut self, space: Space, key: &[u8], delta: Counters) {
        self.known.act();
        self.under.add(space, key, delta);
    }

    fn announce(&mut self, change: Bytes) {
        self.known.act();
        self.under.announce(change);
    }
}
