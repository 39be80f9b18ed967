//! The metadata store: an ordered key-value store with serializable transactions and snapshot reads.
//!
//! The namespace is written once over [`MetadataStore`]; which engine keeps the rows is a choice of the deployment.

mod changes;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(feature = "fjall")]
mod fjall;
mod layer;
#[cfg(feature = "fjall")]
mod log;
#[cfg(all(feature = "fjall", any(test, feature = "testing")))]
mod logged;
mod memory;
#[cfg(any(test, feature = "testing"))]
mod missing;
mod overlay;
#[cfg(feature = "fjall")]
mod stack;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt;
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};

#[cfg(all(test, feature = "fjall"))]
pub(crate) use self::fjall::machine;
#[cfg(feature = "fjall")]
pub use self::fjall::{FjallOptions, FjallStore, Written};
pub use changes::{Announcement, Announcements, MAX_CHANGE_BYTES, Place};
#[cfg(all(feature = "fjall", any(test, feature = "testing")))]
pub use logged::LoggedStore;
pub use memory::MemoryStore;
#[cfg(any(test, feature = "testing"))]
pub use missing::MissingStore;

/// A part of the store with a layout of its own. Transactions span all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Space {
    /// Small rows that are scanned: names, inodes, extents, chunks, locations, sessions.
    Rows,
    /// The bytes of small files, kept apart from their keys so that scans of rows drag no data.
    Data,
}

impl Space {
    /// Every space.
    pub const ALL: [Self; 2] = [Self::Rows, Self::Data];
}

/// The longest key, in bytes; the shortest has one.
pub const MAX_KEY_BYTES: usize = 1_024;
/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most bytes of keys and values that one transaction may write, and of changes that it may announce, together.
pub const MAX_TRANSACTION_BYTES: usize = 8 << 20;

/// A key or value, with at most one place for the commit version.
///
/// The version of a transaction is known only when it commits (a remote store gives it with the commit statement), so
/// a body marks the eight bytes where it goes, big endian. Until then they read as [`Version::PENDING`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    bytes: Vec<u8>,
    at: Option<usize>,
}

impl Stamped {
    /// Bytes without a version in them.
    #[must_use]
    pub fn plain(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), at: None }
    }

    /// `before`, the commit version, `after`.
    #[must_use]
    pub fn versioned(before: &[u8], after: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(before.len() + 8 + after.len());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(&Version::PENDING.0.to_be_bytes());
        bytes.extend_from_slice(after);
        Self { bytes, at: Some(before.len()) }
    }

    /// Whether it holds a version.
    #[must_use]
    pub fn is_versioned(&self) -> bool {
        self.at.is_some()
    }

    /// The bytes as they read before the commit.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes with `version` in their place.
    #[must_use]
    pub fn commit(mut self, version: Version) -> Vec<u8> {
        if let Some(at) = self.at {
            self.bytes[at..at + 8].copy_from_slice(&version.0.to_be_bytes());
        }
        self.bytes
    }
}

impl From<Vec<u8>> for Stamped {
    fn from(bytes: Vec<u8>) -> Self {
        Self::plain(bytes)
    }
}

impl From<&[u8]> for Stamped {
    fn from(bytes: &[u8]) -> Self {
        Self::plain(bytes)
    }
}

/// Four signed counters in one row, changed by addition that wraps. Stored as four big-endian `i64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub [i64; 4]);

impl Counters {
    /// The bytes of a stored row.
    pub const BYTES: usize = 32;

    /// Lane by lane, wrapping.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut sum = self;
        for (lane, more) in sum.0.iter_mut().zip(other.0) {
            *lane = lane.wrapping_add(more);
        }
        sum
    }

    /// Whether every lane is zero. Such a row still exists.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == [0; 4]
    }

    /// As stored.
    #[must_use]
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (slot, lane) in bytes.chunks_exact_mut(8).zip(self.0) {
            slot.copy_from_slice(&lane.to_be_bytes());
        }
        bytes
    }

    /// Reads a stored row.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when there are not exactly [`Counters::BYTES`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != Self::BYTES {
            return Err(Error::new(ErrorKind::Corrupt, format!("a counter row has {} bytes", bytes.len())));
        }
        let mut lanes = [0; 4];
        for (lane, slot) in lanes.iter_mut().zip(bytes.chunks_exact(8)) {
            *lane = i64::from_be_bytes(slot.try_into().expect("chunks of eight"));
        }
        Ok(Self(lanes))
    }
}

/// A run of keys to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it begins.
    pub start: Bound<Bytes>,
    /// Where it ends.
    pub end: Bound<Bytes>,
    /// From the last key to the first.
    pub reverse: bool,
    /// The most rows to return; must not be 0.
    pub limit: usize,
}

impl Range {
    /// The keys that begin with `prefix`, at most `limit` of them.
    #[must_use]
    pub fn prefix(prefix: &[u8], limit: usize) -> Self {
        Self {
            start: Bound::Included(Bytes::copy_from_slice(prefix)),
            end: prefix_end(prefix).map_or(Bound::Unbounded, Bound::Excluded),
            reverse: false,
            limit,
        }
    }

    /// The keys that begin with `prefix` and are greater than `after`.
    #[must_use]
    pub fn prefix_after(prefix: &[u8], after: &[u8], limit: usize) -> Self {
        Self { start: Bound::Excluded(Bytes::copy_from_slice(after)), ..Self::prefix(prefix, limit) }
    }

    /// The same keys in the other order.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { reverse: !self.reverse, ..self }
    }

    /// Whether no key can lie in it; such a range reads as empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
        }
    }
}

/// The first key after all those that begin with `prefix`; `None` when there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let keep = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(Bytes::from(end))
}

/// One row.
pub type Row = (Bytes, Bytes);

/// Why a body stopped.
#[derive(Debug)]
pub enum Abort {
    /// The body decided so; the caller gets this error and nothing is written.
    Failed(Error),
    /// The store does not have a row that was asked for at hand. The body must return this at once; the store
    /// fetches what is missing and runs the body again.
    Missing,
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a body returns.
pub type Step<T> = std::result::Result<T, Abort>;

/// Reads at one moment of the store, and within a transaction its own writes.
pub trait Snapshot {
    /// The value of `key`.
    fn get(&mut self, space: Space, key: &[u8]) -> Step<Option<Bytes>>;

    /// The rows of a range, in its order, at most `range.limit` of them.
    fn scan(&mut self, space: Space, range: &Range) -> Step<Vec<Row>>;

    /// A hint that these keys will be read: a remote store brings them in one round trip. Never fails, may do nothing.
    fn prefetch(&mut self, space: Space, keys: &[&[u8]]) {
        let _ = (space, keys);
    }

    /// The counters of `key`; all zero when there is no row.
    fn counters(&mut self, space: Space, key: &[u8]) -> Step<Counters> {
        match self.get(space, key)? {
            Some(value) => Ok(Counters::decode(&value)?),
            None => Ok(Counters::default()),
        }
    }
}

/// The reads and writes of one transaction.
pub trait Transaction: Snapshot {
    /// Sets `key` to `value`. A versioned key can be written but not read back in the same transaction.
    fn put(&mut self, space: Space, key: Stamped, value: Stamped);

    /// Removes `key`; no error when it does not exist.
    fn delete(&mut self, space: Space, key: &[u8]);

    /// Adds to the counters of `key`, which are zero when there is no row. Reads nothing and conflicts with no other
    /// `add`. Own reads see it.
    fn add(&mut self, space: Space, key: &[u8], delta: Counters);

    /// Announces a change, of at least one byte and at most [`MAX_CHANGE_BYTES`]: it is given to who asks for [`MetadataStore::changes`] once the
    /// transaction is durable. No row is written for it, and no body can read it.
    fn announce(&mut self, change: Bytes);
}

/// The body of a transaction.
///
/// **Contract.** Synchronous, quick, free of side effects outside the transaction and its own result; may run many
/// times, and only the last run counts; a run begins with forgetting what the one before found.
pub trait TransactionBody: Send {
    /// Runs once against the store.
    fn run(&mut self, txn: &mut dyn Transaction) -> Step<()>;
}

/// The body of a read.
///
/// **Contract.** As for [`TransactionBody`], without writes.
pub trait ReadBody: Send {
    /// Runs once against one moment of the store.
    fn run(&mut self, snapshot: &mut dyn Snapshot) -> Step<()>;

    /// Whether it reads so much that no other read may have to wait for its end, and that it must not begin on a thread that serves
    /// the network.
    fn is_long(&self) -> bool {
        false
    }
}

/// A body that comes back to its caller with what it found.
pub type TransactionBox = Box<dyn AnyTransactionBody>;
/// A body that comes back to its caller with what it found.
pub type ReadBox = Box<dyn AnyReadBody>;

/// A [`TransactionBody`] that can be turned back into its own type.
pub trait AnyTransactionBody: TransactionBody {
    /// Itself.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

impl<T: TransactionBody + 'static> AnyTransactionBody for T {
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// A [`ReadBody`] that can be turned back into its own type.
pub trait AnyReadBody: ReadBody {
    /// Itself.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

impl<T: ReadBody + 'static> AnyReadBody for T {
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// An ordered key-value store with serializable transactions.
///
/// **Contract.**
/// - *Atomic*: a transaction's writes take effect together or not at all; a body that fails leaves nothing behind.
/// - *Serializable*: there is an order of all committed transactions, that of their versions, in which each read what
///   it would have read alone. Versions grow by one for each commit and are never used twice in one incarnation. A
///   transaction that writes nothing may be answered with the version it read at.
/// - *Durable*: when `transact` returns `Ok`, the writes survive the loss of power. When it returns an error of kind
///   [`ErrorKind::Unavailable`] or [`ErrorKind::DeadlineExceeded`] they may or may not be there; any other error
///   means they are not.
/// - *Visible*: a read that begins after `transact` returned sees its writes; no read ever sees writes that could
///   still be lost.
/// - *Snapshot*: one read body sees one moment.
/// - *Changes*: what transactions announced is given in the order of their versions, all of a transaction or nothing, nothing that could still be
///   lost, and nothing of one that failed. A transaction that announces commits with a version of its own even if it writes no row. The store keeps changes
///   within a bound of its own, over restarts if its rows outlive them, and lets the oldest go first.
/// - *Cancellation*: dropping the future of `transact` may or may not stop the transaction; it never splits it.
/// - *Bounds*: keys above [`MAX_KEY_BYTES`], values above [`MAX_VALUE_BYTES`] and transactions above
///   [`MAX_TRANSACTION_BYTES`] are refused with [`ErrorKind::LimitExceeded`]; an empty key with [`ErrorKind::InvalidArgument`].
/// - After a failed sync every call fails, also reads, until the store is opened anew.
#[async_trait]
pub trait MetadataStore: Send + Sync + fmt::Debug + 'static {
    /// Runs `body` as one transaction and commits it durably. Gives the body back with the version.
    async fn transact(&self, body: TransactionBox) -> Result<(TransactionBox, Version)>;

    /// Runs `body` on one moment of the store. Gives the body back.
    async fn read(&self, body: ReadBox) -> Result<ReadBox>;

    /// The version of the last durable commit.
    async fn version(&self) -> Result<Version>;

    /// What transactions announced behind `from`, in order, at most `limit` changes and some bound of bytes. May find nothing and be at the end
    /// all the same: that is where the place which it gives is in front of the transaction after [`version`](Self::version).
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] when what follows `from` is not kept any more, or `from` is a place of another store or of a time to come.
    async fn changes(&self, from: Place, limit: usize) -> Result<Announcements>;

    /// The place behind which all changes are kept.
    async fn oldest_change(&self) -> Result<Place>;

    /// Waits until a later transaction than `since` is durable; gives the version of the last. May be dropped at any time.
    async fn newer_than(&self, since: Version) -> Result<Version>;

    /// The life of this store: random, new when the store is restored or reset.
    fn incarnation(&self) -> Incarnation;

    /// Finishes what is under way and lets go of the files. Later calls fail with [`ErrorKind::Unavailable`]. Not
    /// needed for durability.
    async fn close(&self) -> Result<()>;
}

struct Closure<F, T> {
    work: F,
    result: Option<T>,
}

impl<F, T> TransactionBody for Closure<F, T>
where
    F: FnMut(&mut dyn Transaction) -> Step<T> + Send,
    T: Send,
{
    fn run(&mut self, txn: &mut dyn Transaction) -> Step<()> {
        self.result = None;
        self.result = Some((self.work)(txn)?);
        Ok(())
    }
}

struct ReadClosure<F, T> {
    work: F,
    result: Option<T>,
    long: bool,
}

impl<F, T> ReadBody for ReadClosure<F, T>
where
    F: FnMut(&mut dyn Snapshot) -> Step<T> + Send,
    T: Send,
{
    fn run(&mut self, snapshot: &mut dyn Snapshot) -> Step<()> {
        self.result = None;
        self.result = Some((self.work)(snapshot)?);
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.long
    }
}

/// Typed results for closures.
#[async_trait]
pub trait MetadataStoreExt: MetadataStore {
    /// Runs a closure as one transaction; the result is that of its last run.
    async fn commit<F, T>(&self, work: F) -> Result<(T, Version)>
    where
        F: FnMut(&mut dyn Transaction) -> Step<T> + Send + 'static,
        T: Send + 'static,
    {
        let (body, version) = self.transact(Box::new(Closure { work, result: None })).await?;
        let body: Box<Closure<F, T>> = body.into_any().downcast().map_err(|_| foreign_body())?;
        Ok((body.result.ok_or_else(foreign_body)?, version))
    }

    /// Runs a closure on one moment of the store.
    async fn view<F, T>(&self, work: F) -> Result<T>
    where
        F: FnMut(&mut dyn Snapshot) -> Step<T> + Send + 'static,
        T: Send + 'static,
    {
        read(self, ReadClosure { work, result: None, long: false }).await
    }

    /// The same for a closure that reads very much: other reads go on beside it.
    async fn view_long<F, T>(&self, work: F) -> Result<T>
    where
        F: FnMut(&mut dyn Snapshot) -> Step<T> + Send + 'static,
        T: Send + 'static,
    {
        read(self, ReadClosure { work, result: None, long: true }).await
    }
}

impl<S: MetadataStore + ?Sized> MetadataStoreExt for S {}

async fn read<S, F, T>(store: &S, body: ReadClosure<F, T>) -> Result<T>
where
    S: MetadataStore + ?Sized,
    F: FnMut(&mut dyn Snapshot) -> Step<T> + Send + 'static,
    T: Send + 'static,
{
    let body = store.read(Box::new(body)).await?;
    let body: Box<ReadClosure<F, T>> = body.into_any().downcast().map_err(|_| foreign_body())?;
    body.result.ok_or_else(foreign_body)
}

fn foreign_body() -> Error {
    Error::new(ErrorKind::Internal, "the metadata store gave back another body than it was given, or never ran it")
}
