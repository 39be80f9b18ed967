//! The rows of sessions, slots and leases.

use super::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{InodeId, LeaseId, SessionId, SessionNumber, Version};
use crate::metadata::Stamped;

const FORMAT: u8 = 1;

const ENDED: u8 = 1;

/// One client's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct SessionRow {
    /// Changes with every renewal; how long it has not is what expiry is judged by.
    pub(in crate::namespace) version: Version,
    /// What others are told of it.
    pub(in crate::namespace) number: SessionNumber,
    pub(in crate::namespace) name: String,
    /// Wall clock of the opening and of the last renewal, for reports.
    pub(in crate::namespace) opened_ms: u64,
    pub(in crate::namespace) renewed_ms: u64,
    /// It is over; the row stays until its leases are handed over.
    pub(in crate::namespace) ended: bool,
}

impl SessionRow {
    pub(in crate::namespace) fn encode(&self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(if self.ended { ENDED } else { 0 });
        row.number(self.number.0).text(&self.name).number(self.opened_ms).number(self.renewed_ms);
        Stamped::versioned(&[FORMAT], row.bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "a session")?;
        let version = Version(row.fixed()?);
        let ended = row.byte()? & ENDED != 0;
        let (number, name) = (SessionNumber(row.number()?), row.text()?);
        let (opened_ms, renewed_ms) = (row.number()?, row.number()?);
        row.end()?;
        Ok(Self { version, number, name, opened_ms, renewed_ms, ended })
    }
}

/// The last call on a slot and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct SlotRow {
    /// The version that the call committed as.
    pub(in crate::namespace) version: Version,
    pub(in crate::namespace) sequence: u64,
    /// Which operation it was: a number of `outcome.rs`.
    pub(in crate::namespace) operation: u8,
    pub(in crate::namespace) outcome: Vec<u8>,
}

impl SlotRow {
    pub(in crate::namespace) fn encode(&self) -> Stamped {
        let mut row = Encoder::new();
        row.number(self.sequence).byte(self.operation).raw(&self.outcome);
        Stamped::versioned(&[FORMAT], row.bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "a slot")?;
        let version = Version(row.fixed()?);
        let (sequence, operation) = (row.number()?, row.byte()?);
        Ok(Self { version, sequence, operation, outcome: row.rest().to_vec() })
    }
}

/// The right of one session to write one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct LeaseRow {
    pub(in crate::namespace) session: SessionId,
    pub(in crate::namespace) inode: InodeId,
}

impl LeaseRow {
    pub(in crate::namespace) fn encode(self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(FORMAT).number(self.session.0).number(self.inode.0);
        Stamped::plain(row.into_bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "a lease")?;
        let lease = Self { session: SessionId(row.number()?), inode: InodeId(row.number()?) };
        row.end()?;
        Ok(lease)
    }
}

/// What the index of leases by session holds: the file.
pub(in crate::namespace) fn encode_leased(inode: InodeId) -> Stamped {
    let mut row = Encoder::new();
    row.byte(FORMAT).number(inode.0);
    Stamped::plain(row.into_bytes())
}

pub(in crate::namespace) fn decode_leased(bytes: &[u8]) -> Result<InodeId> {
    let mut row = Decoder::new(bytes, FORMAT, "a session's lease")?;
    let inode = InodeId(row.number()?);
    row.end()?;
    Ok(inode)
}

/// The session that holds the leases of files whose writer is gone: the namenode's own.
pub(in crate::namespace) const RECOVERY: SessionId = SessionId(0);

/// The lease of a file that was deleted under its writer.
pub(in crate::namespace) const NO_LEASE: LeaseId = LeaseId(0);
