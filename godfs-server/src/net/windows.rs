//! What HTTP/2 may hold for connections: the more there are, the less each gets.
//!
//! What a stream may have under way to this server, and what an answer may be ahead of its reader, is memory that no call knows of. Each
//! connection is granted a part of what is left when it comes, so that the first ones are as fast as any, and
//! thousands stay within the whole but for a smallest grant each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The least that a connection gets. Below, a packet is cut into so many parts that their number costs more than their bytes.
const SMALLEST: u32 = 128 << 10;

/// What all connections share.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    total: u64,
    largest: u32,
    granted: Arc<AtomicU64>,
}

impl Windows {
    /// At most `total` bytes, besides [`SMALLEST`] for each connection, and at most `largest` for one.
    pub(super) fn new(total: u64, largest: u32) -> Self {
        Self { total, largest, granted: Arc::default() }
    }

    /// A window for a connection that came.
    pub(super) fn grant(&self) -> Window {
        let left = self.total.saturating_sub(self.granted.load(Ordering::Relaxed));
        // So that the first is the largest, and those after it a little smaller each.
        let parts = (self.total / u64::from(self.largest.max(1))).max(1);
        let bytes = u32::try_from(left / parts).unwrap_or(u32::MAX);
        let bytes = bytes.max(SMALLEST).min(self.largest);
        self.granted.fetch_add(u64::from(bytes), Ordering::Relaxed);
        Window { bytes, granted: Arc::clone(&self.granted) }
    }
}

/// A connection's part, given back when dropped.
#[derive(Debug)]
pub(super) struct Window {
    bytes: u32,
    granted: Arc<AtomicU64>,
}

impl Window {
    /// Its bytes.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.granted.fetch_sub(u64::from(self.bytes), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_as_connections_grow_more_and_come_back() {
        let windows = Windows::new(64 << 20, 2 << 20);
        let mut all: Vec<_> = (0..1_000).map(|_| windows.grant()).collect();
        assert_eq!(all[0].bytes(), 2 << 20);
        assert!(all[31].bytes() > 700 << 10, "{}", all[31].bytes());
        assert!(all.windows(2).all(|pair| pair[0].bytes() >= pair[1].bytes()));
        assert_eq!(all[999].bytes(), SMALLEST);
        let held: u64 = all.iter().map(|window| u64::from(window.bytes())).sum();
        assert!(held <= (64 << 20) + 1_000 * u64::from(SMALLEST), "{held}");
        all.clear();
        assert_eq!(windows.grant().bytes(), 2 << 20);
    }

    #[test]
    fn a_setting_below_the_smallest_holds() {
        assert_eq!(Windows::new(1 << 20, 64 << 10).grant().bytes(), 64 << 10);
        assert_eq!(Windows::new(0, 2 << 20).grant().bytes(), SMALLEST);
    }
}
