//! One batch as one record.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::checksum::{crc32c, crc32c_append};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Version;
use crate::metadata::changes::{Announced, MAX_CHANGE_BYTES};
use crate::metadata::layer::Writes;
use crate::metadata::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Space};

/// The place of a record in the log; grows by one for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::metadata) struct RecordNumber(pub(in crate::metadata) u64);

impl RecordNumber {
    pub(in crate::metadata) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for RecordNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What transactions that were committed together write and announce.
#[derive(Clone, Debug, Default)]
pub(in crate::metadata) struct Batch {
    /// The version of the first of them; the others follow.
    pub(in crate::metadata) first: Version,
    /// How many there are.
    pub(in crate::metadata) count: u32,
    /// The last write of each key.
    pub(in crate::metadata) writes: Arc<Writes>,
    /// In their order.
    pub(in crate::metadata) changes: Vec<Announced>,
}

impl Batch {
    /// The version of its last transaction.
    pub(in crate::metadata) fn last(&self) -> Version {
        Version(self.first.0 + u64::from(self.count) - 1)
    }
}

/// What stands where the tag of a write would, in front of a change.
const CHANGE: u8 = 0x80;
/// The bytes of a record before its writes.
pub(super) const HEADER: usize = 40;
/// The most bytes of writes and changes that a record may hold: the largest transaction as the last one of the largest batch, with the
/// lengths of its shortest keys, and room to spare. A longer one is not ours.
pub(super) const MAX_BODY: usize = 128 << 20;
/// Records begin at multiples of this.
pub(super) const ALIGN: u64 = 8;

/// What a record says of itself, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) seal: u32,
    pub(super) body_crc: u32,
    pub(super) length: usize,
    pub(super) previous: u32,
    pub(super) number: RecordNumber,
    pub(super) first: Version,
    pub(super) count: u32,
}

impl Header {
    /// `None` when these are not the first bytes of a record under this salt.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let mut at = bytes.get(..HEADER)?;
        let seal = at.get_u32();
        if seal != salted(salt, at) {
            return None;
        }
        let header = Self {
            seal,
            body_crc: at.get_u32(),
            length: usize::try_from(at.get_u32()).ok()?,
            previous: at.get_u32(),
            number: RecordNumber(at.get_u64()),
            first: Version(at.get_u64()),
            count: at.get_u32(),
        };
        let versions = header.first.0.checked_add(u64::from(header.count));
        (header.length <= MAX_BODY && header.count > 0 && versions.is_some()).then_some(header)
    }

    /// The bytes that the record takes, up to where the next one may begin.
    pub(super) fn extent(&self) -> u64 {
        extent(self.length)
    }

    /// The version of its last transaction.
    pub(super) fn last(&self) -> Version {
        Version(self.first.0 + u64::from(self.count) - 1)
    }

    pub(super) fn covers(&self, body: &[u8], salt: u64) -> bool {
        body.len() == self.length && salted(salt, body) == self.body_crc
    }
}

fn extent(body: usize) -> u64 {
    ((HEADER + body) as u64).next_multiple_of(ALIGN)
}

fn salted(salt: u64, bytes: &[u8]) -> u32 {
    crc32c_append(crc32c(&salt.to_be_bytes()), bytes)
}

/// The record of a batch, without its salted sums: those are known only with the segment that takes it.
pub(super) fn encode(batch: &Batch) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    for space in Space::ALL {
        for (key, value) in batch.writes.of(space) {
            bytes.put_u8((space as u8) << 1 | u8::from(value.is_some()));
            bytes.put_u16(u16::try_from(key.len()).expect("keys are at most MAX_KEY_BYTES long"));
            if let Some(value) = value {
                bytes.put_u32(u32::try_from(value.len()).expect("values are at most MAX_VALUE_BYTES long"));
            }
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value.as_deref().unwrap_or_default());
        }
    }
    for Announced { version, bytes: change, .. } in &batch.changes {
        bytes.put_u8(CHANGE);
        bytes.put_u32(u32::try_from(version.0 - batch.first.0).expect("one of the batch"));
        bytes.put_u32(u32::try_from(change.len()).expect("changes are at most MAX_CHANGE_BYTES long"));
        bytes.extend_from_slice(change);
    }
    bytes
}

/// Completes an encoded record; gives its seal. The bytes are then a multiple of [`ALIGN`].
pub(super) fn seal(bytes: &mut Vec<u8>, batch: &Batch, number: RecordNumber, previous: u32, salt: u64) -> u32 {
    let body = &bytes[HEADER..];
    let length = u32::try_from(body.len()).expect("batches are bounded far below");
    let body_crc = salted(salt, body);
    let mut header = &mut bytes[4..HEADER];
    header.put_u32(body_crc);
    header.put_u32(length);
    header.put_u32(previous);
    header.put_u64(number.0);
    header.put_u64(batch.first.0);
    header.put_u32(batch.count);
    let seal = salted(salt, &bytes[4..HEADER]);
    bytes[..4].copy_from_slice(&seal.to_be_bytes());
    bytes.resize(extent(length as usize) as usize, 0);
    seal
}

/// The batch of a record whose checksums agree.
pub(super) fn decode(header: &Header, mut body: Bytes) -> Result<Batch> {
    let mut writes = Writes::default();
    let mut changes: Vec<Announced> = Vec::new();
    while body.has_remaining() {
        if body[0] == CHANGE {
            let change = decode_change(&mut body, header, changes.last());
            changes.push(change.ok_or_else(|| malformed(header.number, "a change does not fit"))?);
            continue;
        }
        let (space, key, value) =
            decode_write(&mut body).ok_or_else(|| malformed(header.number, "a write does not fit"))?;
        if writes.of_mut(space).insert(key, value).is_some() {
            return Err(malformed(header.number, "a key is written twice"));
        }
    }
    Ok(Batch { first: header.first, count: header.count, writes: Arc::new(writes), changes })
}

fn decode_change(body: &mut Bytes, header: &Header, before: Option<&Announced>) -> Option<Announced> {
    body.advance(1);
    let transaction = body.try_get_u32().ok()?;
    let length = body.try_get_u32().ok()? as usize;
    if transaction >= header.count || length > MAX_CHANGE_BYTES || length > body.len() {
        return None;
    }
    let version = Version(header.first.0 + u64::from(transaction));
    let index = match before {
        Some(before) if before.version > version => return None,
        Some(before) if before.version == version => before.index.checked_add(1)?,
        _ => 0,
    };
    // A copy: a handle on the whole record would keep all of it in memory.
    Some(Announced { version, index, bytes: Bytes::copy_from_slice(&body.split_to(length)) })
}

fn decode_write(body: &mut Bytes) -> Option<(Space, Bytes, Option<Bytes>)> {
    let tag = body.try_get_u8().ok()?;
    let space = Space::ALL.into_iter().find(|space| *space as u8 == tag >> 1)?;
    let key_length = usize::from(body.try_get_u16().ok()?);
    let value_length = if tag & 1 == 1 { Some(body.try_get_u32().ok()? as usize) } else { None };
    if key_length > MAX_KEY_BYTES || value_length.is_some_and(|length| length > MAX_VALUE_BYTES) {
        return None;
    }
    let mut take = |length: usize| (body.len() >= length).then(|| body.split_to(length));
    let key = take(key_length)?;
    let value = match value_length {
        Some(length) => Some(take(length)?),
        None => None,
    };
    Some((space, key, value))
}

fn malformed(number: RecordNumber, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("record {number} of the commit log has right checksums, but {what}"))
}
