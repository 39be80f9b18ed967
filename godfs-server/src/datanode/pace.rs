//! A bound on bytes a second.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets so many bytes pass in a second, shared by all who ask. A burst is paid for afterwards.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes a second; 0 for no bound.
    rate: u64,
    /// When the bytes that passed are paid for.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { rate: bytes_per_second, paid: Mutex::default() }
    }

    /// Waits until what passed before is paid for, then lets `bytes` pass. Cancel-safe: a place in the order is kept, at most
    /// `bytes` are paid for in vain.
    pub(crate) async fn pass(&self, bytes: u64) {
        if self.rate == 0 {
            return;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let begin = {
            let mut paid = self.paid.lock();
            let begin = paid.map_or_else(Instant::now, |paid| paid.max(Instant::now()));
            *paid = Some(begin + cost);
            begin
        };
        tokio::time::sleep_until(begin).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_share_one_rate() {
        let pace = Pace::new(1_000);
        let start = Instant::now();
        futures::future::join_all((0..10).map(|_| pace.pass(500))).await;
        assert_eq!(start.elapsed(), Duration::from_millis(4_500), "the first passes at once");
        pace.pass(1).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        Pace::new(0).pass(u64::MAX).await;
    }
}
