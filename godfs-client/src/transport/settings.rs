//! What connections are tuned to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The largest HTTP/2 frame that either end takes, bytes: one packet of 1 MiB, and room for what stands before it.
/// Of all settings this one matters most to the throughput.
pub const FRAME_BYTES: u32 = (1 << 20) + (4 << 10);

/// The flow-control window of one stream, bytes: two whole packets with their headers, so that a packet is not cut in
/// two while the one before it is being read.
pub const STREAM_WINDOW_BYTES: u32 = 2 * FRAME_BYTES;

/// The flow-control window of a connection for small calls, bytes. With [`STREAM_WINDOW_BYTES`] it bounds how many
/// streams can be full at once.
pub const CONTROL_WINDOW_BYTES: u32 = 8 << 20;

/// The largest message that is taken, bytes: a packet and its checksums, with room to spare.
pub const MESSAGE_BYTES: usize = 2 << 20;

/// What connections are tuned to. The defaults are measured; see the constants of this module for the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TransportSettings {
    /// How long an attempt to connect may take before it fails, naming the address.
    pub connect_timeout: Duration,
    /// How long a small call to a datanode may take.
    pub call_timeout: Duration,
    /// How long a bulk stream may make no progress before its peer counts as failed. A pipeline adds
    /// [`stall_step`](Self::stall_step) for each node beyond the first, so that the hop next to the fault sees it first.
    pub stall_timeout: Duration,
    /// How long one node of a pipeline of three or more may hold the writer to its speed, far below that of the others, before the pipeline goes on
    /// without it. Zero: for ever.
    pub slow_timeout: Duration,
    /// What each further node of a pipeline adds to [`stall_timeout`](Self::stall_timeout).
    pub stall_step: Duration,
    /// How long a pipeline may take for an acknowledgement that waits for disks. As for [`stall_timeout`](Self::stall_timeout), each
    /// node beyond the first adds a [`stall_step`](Self::stall_step). A node that is gone is noticed long before, by
    /// its broken or silent connection; this bounds a disk that hangs.
    pub sync_timeout: Duration,
    /// After how much silence on a connection with calls on it the peer is asked for a sign of life. The peer's process answers it, whatever
    /// its disks do: so it is the neighbour of a process that hangs, and nobody else, that sees its connection break, and a
    /// pipeline names the right node.
    pub keep_alive: Duration,
    /// How long it may take to give one. Together with [`keep_alive`](Self::keep_alive), how long a process that hangs, or a machine without
    /// power, holds a stream up.
    pub keep_alive_timeout: Duration,
    /// Idle bulk connections kept in all.
    pub idle_connections: usize,
    /// How long an idle bulk connection is kept.
    pub idle_timeout: Duration,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(4),
            call_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(5),
            slow_timeout: Duration::from_secs(10),
            stall_step: Duration::from_secs(1),
            sync_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(2),
            idle_connections: 32,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl TransportSettings {
    /// How long a pipeline whose first node has `downstream` nodes behind it may take to stand.
    #[must_use]
    pub fn setup_timeout(&self, downstream: usize) -> Duration {
        self.connect_timeout.saturating_add(self.pipeline_stall(downstream))
    }

    /// How long a pipeline whose first node has `downstream` nodes behind it may make no progress.
    #[must_use]
    pub fn pipeline_stall(&self, downstream: usize) -> Duration {
        let steps = u32::try_from(downstream).unwrap_or(u32::MAX);
        self.stall_timeout.saturating_add(self.stall_step.saturating_mul(steps))
    }

    /// How long a pipeline whose first node has `downstream` nodes behind it may make no progress while it waits for disks.
    #[must_use]
    pub fn pipeline_sync(&self, downstream: usize) -> Duration {
        let steps = u32::try_from(downstream).unwrap_or(u32::MAX);
        let sync = self.sync_timeout.saturating_add(self.stall_step.saturating_mul(steps));
        sync.max(self.pipeline_stall(downstream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With one patience for all, the clock that was started first ran out first, and blamed the node furthest from the disk
    /// that hung.
    #[test]
    fn who_is_next_to_a_fault_loses_patience_first() {
        for sync_timeout in [Duration::from_secs(60), Duration::ZERO] {
            let settings = TransportSettings { sync_timeout, ..Default::default() };
            for downstream in 0..5 {
                let step = |patience: &dyn Fn(usize) -> Duration| patience(downstream + 1) - patience(downstream);
                assert_eq!(step(&|nodes| settings.pipeline_stall(nodes)), settings.stall_step);
                assert_eq!(step(&|nodes| settings.pipeline_sync(nodes)), settings.stall_step);
                assert!(settings.pipeline_sync(downstream) >= settings.pipeline_stall(downstream));
            }
        }
    }
}
