//! The commit log: batches of resolved writes, each one record, each synced before anyone is told.
//!
//! # Files
//! A folder of segments of equal size. A segment is `SEQUENCE.seg` (16 hex digits) while it holds records; when all of
//! them are kept elsewhere for good, and enough that was announced is kept behind them, it becomes `SEQUENCE.spare`, and later a segment again under a new sequence. It is
//! filled with zeros once, when it is made: blocks that were written before take half the time to sync. A record that
//! does not fit into an empty segment gets one of its own size, which is removed afterwards instead of reused.
//!
//! ```text
//! segment   0 ┌──────────────────────────────────────────────────────────┐
//!             │ magic "GoDFSlog"                                       8 │
//!             │ format                                            u32, 4 │   All numbers are big endian.
//!             │ CRC32C of the page without these four bytes       u32, 4 │
//!             │ incarnation of the store                              16 │
//!             │ salt: random, new at each use                     u64, 8 │
//!             │ sequence                                          u64, 8 │
//!             │ number of its first record                        u64, 8 │
//!             │ seal of the record before that one                u32, 4 │
//!             │ zeros                                                    │
//!      4,096  ├──────────────────────────────────────────────────────────┤
//!             │ records, each from a multiple of eight on                │
//!             │ zeros, or what is left of an earlier use                 │
//!             └──────────────────────────────────────────────────────────┘
//! record    0 ┌──────────────────────────────────────────────────────────┐
//!             │ seal: CRC32C of the salt and the 36 bytes below   u32, 4 │
//!             │ CRC32C of salt, writes and changes                u32, 4 │
//!             │ length of the writes and changes                  u32, 4 │
//!             │ seal of the record before                         u32, 4 │
//!             │ number                                            u64, 8 │
//!             │ version of its first transaction                  u64, 8 │
//!             │ how many transactions                             u32, 4 │
//!             │ zeros                                                  4 │
//!         40  ├──────────────────────────────────────────────────────────┤
//!             │ writes: tag 1 (bit 0: a value follows; bits 1 to 7: the  │
//!             │ space), length of the key u16, of the value u32 if there │
//!             │ is one, key, value                                       │
//!             │ changes that were announced: tag 128, transaction of the │
//!             │ record u32 (from 0), length u32, bytes                    │
//!             └──────────────────────────────────────────────────────────┘
//! ```
//!
//! # What can be found after a crash
//! A record is written only when the one before it is synced. So at most the last one can be damaged by a loss of power:
//! it was acknowledged to nobody and is cut off. A record that can't be read with a later one behind it, in its segment or in
//! another, was synced once: the log is damaged and is refused. The salt keeps records of a segment's earlier use,
//! and bytes that users chose, from passing for records.
//!
//! The last record may be readable without being on the disk (a sync that failed leaves it in the page cache, and
//! no later sync writes it), so opening writes it once more, and zeros behind it.

mod changes;
mod open;
mod record;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

pub(super) use changes::Stretch;
pub(super) use open::{OpenLog, open};
pub(super) use record::{Batch, RecordNumber};
pub(super) use segment::Segments;
pub(super) use writer::LogWriter;

/// The version of the formats above.
const FORMAT: u32 = 1;

/// The end of a log, or a place in it: the last record that belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    /// The record; 0 before the first one.
    pub(super) number: RecordNumber,
    /// Its seal, which the record behind it repeats.
    pub(super) seal: u32,
}
