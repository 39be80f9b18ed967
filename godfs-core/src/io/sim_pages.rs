//! The bytes of a simulated file, and what a loss of power does to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// The unit in which room is taken, in bytes.
pub(super) const PAGE: usize = 4_096;
/// The unit in which a write is kept or lost, in bytes.
const SECTOR: u64 = 512;

/// A sparse file. Clones share pages until one is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    length: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Pages {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the pages that were ever written.
    pub(super) fn allocated(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }

    pub(super) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_into(offset, length, &mut bytes);
        bytes
    }

    /// Appends the bytes from `offset` on to `buffer`, fewer at the end of the file.
    pub(super) fn read_into(&self, offset: u64, length: usize, buffer: &mut Vec<u8>) {
        let end = offset.saturating_add(length as u64).min(self.length);
        let mut at = offset;
        while at < end {
            let (page, from, count) = place(at, end);
            match self.pages.get(&page) {
                Some(bytes) => buffer.extend_from_slice(&bytes[from..from + count]),
                None => buffer.resize(buffer.len() + count, 0),
            }
            at += count as u64;
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        let mut rest = data;
        let mut at = offset;
        while at < end {
            let (page, from, count) = place(at, end);
            let (now, later) = rest.split_at(count);
            let bytes = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[from..from + count].copy_from_slice(now);
            rest = later;
            at += count as u64;
        }
        self.length = self.length.max(end);
    }

    fn set_length(&mut self, length: u64) {
        if length < self.length {
            let (page, from, _) = place(length, u64::MAX);
            self.pages.split_off(&(page + 1));
            if from == 0 {
                self.pages.remove(&page);
            } else if let Some(bytes) = self.pages.get_mut(&page) {
                // What was cut off must read as zeros when the file grows again.
                Arc::make_mut(bytes)[from..].fill(0);
            }
        }
        self.length = length;
    }
}

/// The page of the byte at `at`, the place in it, and how many bytes before `end` lie in it from there on.
fn place(at: u64, end: u64) -> (u64, usize, usize) {
    let from = (at % PAGE as u64) as usize;
    let count = (end - at).min((PAGE - from) as u64) as usize;
    (at / PAGE as u64, from, count)
}

/// A change of a file's bytes that is not synced.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, data: Bytes },
    Length(u64),
}

impl Change {
    pub(super) fn apply(&self, pages: &mut Pages) {
        match self {
            Self::Write { offset, data } => pages.write(*offset, data),
            Self::Length(length) => pages.set_length(*length),
        }
    }

    /// How many bytes of room this would take in `pages`.
    pub(super) fn allocates(&self, pages: &Pages) -> u64 {
        match self {
            Self::Write { offset, data } => {
                let first = offset / PAGE as u64;
                let last = (offset + data.len() as u64 - 1) / PAGE as u64;
                let held = pages.pages.range(first..=last).count() as u64;
                (last - first + 1 - held) * PAGE as u64
            }
            Self::Length(_) => 0,
        }
    }

    /// What a change that failed may have done all the same.
    pub(super) fn part(&self, rng: &mut fastrand::Rng) -> Option<Self> {
        match (self, rng.u8(0..3)) {
            (_, 0) => Some(self.clone()),
            (Self::Write { offset, data }, 1) => {
                let sectors = rng.u64(0..=data.len() as u64 / SECTOR);
                let end = (*offset / SECTOR + sectors) * SECTOR;
                let bytes = usize::try_from(end.saturating_sub(*offset)).unwrap_or(usize::MAX).min(data.len());
                (bytes > 0).then(|| Self::Write { offset: *offset, data: data.slice(..bytes) })
            }
            _ => None,
        }
    }

    /// Applies the part of a write in the sectors that `keep` says.
    fn apply_sectors(&self, pages: &mut Pages, mut keep: impl FnMut() -> bool) {
        let Self::Write { offset, data } = self else { return };
        let end = offset + data.len() as u64;
        let mut at = *offset;
        while at < end {
            let next = ((at / SECTOR + 1) * SECTOR).min(end);
            if keep() {
                pages.write(at, &data[(at - offset) as usize..(next - offset) as usize]);
            }
            at = next;
        }
    }
}

/// Decides what is found of `pending` over `durable` when it was not synced.
pub(super) fn settle(durable: &mut Pages, pending: &[Change], rng: &mut fastrand::Rng) {
    // Whole outcomes are as likely as mixed ones: a test of few seeds should meet each.
    let mood = rng.u8(0..4);
    for change in pending {
        let fate = match mood {
            0 => 0,
            1 => 1,
            _ => rng.u8(0..6),
        };
        match (fate, change) {
            (0 | 2, _) => change.apply(durable),
            (1, _) | (_, Change::Length(_)) => {}
            (3, Change::Write { data, .. }) => {
                let mut left = rng.u64(0..=data.len() as u64 / SECTOR);
                change.apply_sectors(durable, || {
                    let keep = left > 0;
                    left = left.saturating_sub(1);
                    keep
                });
            }
            (4, Change::Write { .. }) => change.apply_sectors(durable, || rng.bool()),
            // The new length is found, the bytes are not.
            (_, Change::Write { offset, data }) => {
                let end = offset + data.len() as u64;
                if end > durable.length() {
                    durable.set_length(end);
                }
            }
        }
    }
}
