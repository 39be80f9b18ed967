//! What a namenode decides about its cluster: who lives, what to copy or drop, whose lease is over, how an open file is closed.
//!
//! Everything here is a synchronous state machine: inputs go in by methods, with the monotonic time where it matters, and
//! changes and effects come out as values. Nothing does I/O, reads a clock or keeps a thread; the namenode feeds the machines and
//! carries out what they ask for. What they know is a cache: a namenode that starts anew fills them from the rows.
//!
//! | machine | decides |
//! |---|---|
//! | [`Nodes`] | which datanodes are expected, live, suspected or dead |
//! | [`SlowNodes`] | which datanodes are much slower than their peers |
//! | [`RepairQueue`] | which replicas to copy and which to drop, in which order |
//! | [`LeaseClock`] | which client sessions are over, and which are silent |
//! | [`LeaseRecovery`] | how the open chunks of a file whose writer is gone are closed |

mod awake;
mod leases;
mod liveness;
mod recovery;
mod repair;
#[cfg(test)]
mod simulation;
mod slow;

pub use leases::{Expired, LeaseClock, LeaseSettings, Silence};
pub use liveness::{
    Heartbeat, KnownNode, LivenessSettings, NodeChange, NodeCounts, NodeState, NodeStatus, Nodes, Registration,
    ScrubStatus, Standing, StreamId,
};
pub use recovery::{
    LeaseRecovery, OpenChunk, Recovered, RecoveryEffect, RecoverySettings, RecoveryStatus, recovered_length,
};
pub use repair::{ChunkHealth, HeldReplica, RepairCounts, RepairEffect, RepairQueue, RepairSettings, Scan, ScanPage};
pub use slow::{MAX_PEERS, Pace, PeerPace, SlowNodes, SlowSettings, Slowness};
