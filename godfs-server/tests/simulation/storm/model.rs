//! What files must hold.

use std::sync::Arc;

use parking_lot::Mutex;

/// What is known of all files.
pub(super) type Files = Arc<Mutex<Vec<File>>>;

/// What a file must hold, and may hold.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    number: u64,
    /// Where the bytes of each session of writing begin.
    segments: Vec<(u64, u64)>,
    sessions: u64,
    /// Whether its creation was answered.
    pub(super) exists: bool,
    /// Bytes that `hflush` acknowledged, or a reader has seen: they outlive every process.
    pub(super) flushed: u64,
    /// Bytes that `hsync` or `close` acknowledged: they outlive the loss of power.
    pub(super) synced: u64,
    /// The most that it may hold.
    pub(super) sent: u64,
    /// A close was acknowledged, and nothing was begun since.
    pub(super) closed: bool,
    /// At some time nobody had in memory any more what was not synced: then its writer may fail.
    pub(super) lost_memory: bool,
    /// Bytes to which it was to be cut by a call that was not answered: it may still be.
    cutting: Option<u64>,
    /// Grows whenever bytes that were there may go: what was seen before says nothing about what is there after.
    pub(super) changes: u64,
}

impl File {
    pub(super) fn new(number: usize) -> Self {
        Self { number: number as u64, ..Self::default() }
    }

    /// The bytes from `from` on, as written.
    pub(super) fn bytes(&self, from: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        let end = from + length as u64;
        let mut at = from;
        while at < end {
            let segment = self.segments.iter().rposition(|(start, _)| *start <= at);
            let session = segment.map_or(0, |index| self.segments[index].1);
            let upto = segment.and_then(|index| self.segments.get(index + 1)).map_or(end, |(start, _)| end.min(*start));
            while at < upto {
                let word = mix((self.number << 48) ^ (session << 40) ^ (at / 8)).to_le_bytes();
                let skip = usize::try_from(at % 8).expect("small");
                let take = (8 - skip).min(usize::try_from(upto - at).expect("small"));
                bytes.extend_from_slice(&word[skip..skip + take]);
                at += take as u64;
            }
        }
        bytes
    }

    /// A session of writing begins at byte `length`: what was uncertain is certain now.
    pub(super) fn begin(&mut self, length: u64) {
        self.cut(length);
        self.sessions += 1;
        self.segments.push((length, self.sessions));
        (self.exists, self.closed) = (true, false);
    }

    /// The file has just `length` bytes.
    pub(super) fn cut(&mut self, length: u64) {
        if self.sent > length {
            self.changes += 1;
        }
        self.segments.retain(|(start, _)| *start < length);
        self.cutting = None;
        (self.flushed, self.synced, self.sent) = (length, length, length);
    }

    /// Bytes beyond `length` may go from now on.
    pub(super) fn may_shrink_to(&mut self, length: u64) {
        self.changes += 1;
        (self.flushed, self.synced) = (self.flushed.min(length), self.synced.min(length));
    }

    /// It is to be cut to `length` bytes.
    pub(super) fn begin_cut(&mut self, length: u64) {
        self.may_shrink_to(length);
        self.cutting = Some(self.cutting.map_or(length, |before| before.min(length)));
    }

    /// A reader has seen `length` bytes: they may not go any more, unless they are being cut off.
    pub(super) fn seen(&mut self, length: u64) {
        let stay = self.cutting.map_or(length, |cut| cut.min(length));
        self.flushed = self.flushed.max(stay);
    }

    /// Nobody has in memory any more what was not synced.
    pub(super) fn lose_memory(&mut self) {
        self.lost_memory = true;
        self.may_shrink_to(self.synced);
    }
}

/// SplitMix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
