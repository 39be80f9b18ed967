//! What is known of one chunk, and what that means for it.

use crate::cluster::Standing;
use crate::id::{ChunkId, Generation, NodeId, Version};

/// One replica as the rows name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldReplica {
    /// The node that holds it.
    pub node: NodeId,
    /// The node found that it does not agree with its checksums.
    pub corrupt: bool,
}

/// A committed chunk as the rows have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkHealth {
    /// The chunk.
    pub chunk: ChunkId,
    /// The version of the chunk's row, to tell older readings from newer ones.
    pub version: Version,
    /// Its committed generation.
    pub generation: Generation,
    /// Its length, in bytes.
    pub length: u64,
    /// How many replicas its file wants.
    pub target: usize,
    /// Replicas of the committed generation.
    pub replicas: Vec<HeldReplica>,
    /// Nodes that may hold something of the chunk all the same, and must not get a copy: those whose garbage row names it, and those
    /// with a pending replica.
    pub excluded: Vec<NodeId>,
    /// A writer or a recovery is at work on it. Nothing is done for such a chunk, and it does not count; it is to be handed in again when
    /// the work is over.
    pub writing: bool,
}

/// What the replicas of a chunk amount to, given the nodes that hold them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Assessment {
    /// Good replicas on nodes that are certain.
    pub(super) certain: usize,
    /// Good replicas on nodes that may come back.
    pub(super) away: usize,
    /// Good replicas on nodes that are live, certain or not.
    pub(super) live: usize,
    /// Replicas known to be corrupt, wherever they are.
    pub(super) corrupt: usize,
    /// Corrupt replicas on nodes that are certain, which could be dropped.
    pub(super) corrupt_here: usize,
    /// What the file wants.
    pub(super) target: usize,
}

impl Assessment {
    /// Looks at every replica; `node` gives the standing of a node and whether it is live.
    pub(super) fn of(health: &ChunkHealth, node: impl Fn(NodeId) -> (Standing, bool)) -> Self {
        let mut found = Self { target: health.target, ..Self::default() };
        for replica in &health.replicas {
            let (standing, live) = node(replica.node);
            if replica.corrupt {
                found.corrupt += 1;
                found.corrupt_here += usize::from(standing == Standing::Certain);
                continue;
            }
            found.live += usize::from(live);
            match standing {
                Standing::Certain => found.certain += 1,
                Standing::Away => found.away += 1,
                Standing::Lost => {}
            }
        }
        found
    }

    pub(super) fn is_under(self) -> bool {
        self.certain < self.target
    }

    pub(super) fn is_missing(self) -> bool {
        self.live == 0 && self.target > 0
    }

    pub(super) fn is_corrupt(self) -> bool {
        self.corrupt > 0
    }

    pub(super) fn is_over(self) -> bool {
        self.certain > self.target
    }

    /// Whether the chunk must be kept in mind: also when it has too many replicas only if those come back that are away.
    pub(super) fn needs_work(self) -> bool {
        self.is_under() || self.is_corrupt() || self.certain + self.away > self.target
    }

    /// How many copies should be under way: for what no node is left to bring back.
    pub(super) fn copies(self) -> usize {
        self.target.saturating_sub(self.certain + self.away)
    }

    /// How many certain replicas are too many. None as long as any replica is uncertain: the node that comes back with it
    /// may be the better one to keep, and a count that is partly guessed is no ground for deleting.
    pub(super) fn surplus(self) -> usize {
        if self.away > 0 { 0 } else { self.certain.saturating_sub(self.target) }
    }

    /// Whether there are good replicas enough to let a corrupt one go.
    pub(super) fn may_drop_corrupt(self) -> bool {
        self.corrupt_here > 0 && self.certain >= self.target.max(1)
    }
}
