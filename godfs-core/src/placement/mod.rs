//! Where replicas go: the replication policy.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod nearness;
mod spread;

use std::fmt;

pub use nearness::{Reader, SizedChunk, affinity, put_reader_first, sort_by_nearness};
pub use spread::SpreadPolicy;

use crate::env::Random;
use crate::id::NodeId;

/// A failure domain: a path such as `/dc1/rack7`; nodes of one domain tend to fail together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Domain(String);

/// The failure domain of nodes that name none.
pub const DEFAULT_DOMAIN: &str = "/default";

impl Domain {
    /// Parses a domain: absolute, names of letters, digits, `-`, `_`, `.`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn parse(text: &str) -> crate::Result<Self> {
        let fine = text.len() <= 255
            && text.strip_prefix('/').is_some_and(|rest| {
                rest.split('/').all(|name| {
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                })
            });
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(crate::Error::new(
                crate::ErrorKind::InvalidArgument,
                format!("failure domain {text:?} is not of the form /dc1/rack7"),
            ))
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { DEFAULT_DOMAIN } else { &self.0 }
    }

    /// How many steps apart two domains are in their tree: 0 for the same.
    #[must_use]
    pub fn distance(&self, other: &Self) -> usize {
        let (a, b): (Vec<_>, Vec<_>) = (self.as_str().split('/').collect(), other.as_str().split('/').collect());
        let shared = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
        a.len() + b.len() - 2 * shared
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a policy knows of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub id: NodeId,
    /// Its failure domain.
    pub domain: Domain,
    /// The host part of its address, to find the node a writer runs on.
    pub host: String,
    /// Bytes that new replicas may still take there.
    pub available: u64,
    /// Bytes that one new replica may take there: a replica lies on one disk.
    pub largest: u64,
    /// Bytes that replicas may take there in all.
    pub capacity: u64,
    /// Streams it serves at the moment.
    pub load: u32,
    /// It is live and heard from: neither dead nor suspected.
    pub live: bool,
    /// It takes new replicas: not draining, not being decommissioned.
    pub eligible: bool,
    /// It is much slower than its peers: others are better.
    pub slow: bool,
}

/// The cluster at one moment, in order of the node ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Every registered node.
    pub nodes: Vec<NodeView>,
}

impl ClusterView {
    /// One node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        self.nodes.binary_search_by_key(&id, |node| node.id).ok().map(|at| &self.nodes[at])
    }
}

/// A question to the policy: where to put more replicas of one chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceRequest {
    /// The node that the writer runs on, if any.
    pub writer: Option<NodeId>,
    /// Nodes that hold a replica already: not chosen, counted for the spread.
    pub existing: Vec<NodeId>,
    /// Nodes that must not be chosen: they failed this writer, or hold a pending replica.
    pub excluded: Vec<NodeId>,
    /// How many more replicas are wanted.
    pub count: usize,
    /// Bytes that each replica needs room for.
    pub bytes: u64,
}

/// Where replicas go. Pure functions over a snapshot of the cluster; randomness is injected.
///
/// **Contract.** An answer never names a node twice, nor one that is existing, excluded, not live, not eligible or without room;
/// it may name fewer nodes than asked for when there are no more, and then names all it can. Replicas are never spread over
/// fewer domains than was possible, up to the policy's own goal. Equal inputs and random numbers give equal answers.
pub trait ReplicationPolicy: Send + Sync + fmt::Debug + 'static {
    /// Where new replicas go, in the order of the pipeline.
    fn place(&self, cluster: &ClusterView, request: &PlaceRequest, random: &dyn Random) -> Vec<NodeId>;

    /// Which of `holders` a copy to `target` is best read from; `None` when none is live.
    fn source(
        &self,
        cluster: &ClusterView,
        holders: &[NodeId],
        target: Option<NodeId>,
        random: &dyn Random,
    ) -> Option<NodeId>;

    /// Which `count` of `holders` to drop, keeping the best spread; never one that is not live.
    fn surplus(&self, cluster: &ClusterView, holders: &[NodeId], count: usize, random: &dyn Random) -> Vec<NodeId>;
}
