//! A policy of one's own, and how it is held to the contract.

use godfs_core::env::Random;
use godfs_core::placement::{ClusterView, Domain, PlaceRequest, SpreadPolicy};
use godfs_core::{NodeId, ReplicationPolicy};

/// Keeps one replica of every chunk at home, in a failure domain of choice, as long as a node there can hold it. All else is as with
/// [`SpreadPolicy`]: at least two domains, weighted by room and load.
#[derive(Debug)]
pub(crate) struct HomeFirst {
    pub(crate) home: Domain,
}

impl HomeFirst {
    fn is_home(&self, cluster: &ClusterView, id: NodeId) -> bool {
        cluster.node(id).is_some_and(|node| node.domain == self.home)
    }

    /// The cluster as if there were nothing but home.
    fn only_home(&self, cluster: &ClusterView) -> ClusterView {
        ClusterView { nodes: cluster.nodes.iter().filter(|node| node.domain == self.home).cloned().collect() }
    }
}

impl ReplicationPolicy for HomeFirst {
    fn place(&self, cluster: &ClusterView, request: &PlaceRequest, random: &dyn Random) -> Vec<NodeId> {
        let mut rest = request.clone();
        let mut chosen = Vec::new();
        if request.count > 0 && !request.existing.iter().any(|&id| self.is_home(cluster, id)) {
            let first = PlaceRequest { count: 1, ..request.clone() };
            chosen = SpreadPolicy.place(&self.only_home(cluster), &first, random);
            rest.existing.extend(&chosen);
            rest.count -= chosen.len();
        }
        chosen.extend(SpreadPolicy.place(cluster, &rest, random));
        chosen
    }

    fn source(
        &self,
        cluster: &ClusterView,
        holders: &[NodeId],
        target: Option<NodeId>,
        random: &dyn Random,
    ) -> Option<NodeId> {
        SpreadPolicy.source(cluster, holders, target, random)
    }

    fn surplus(&self, cluster: &ClusterView, holders: &[NodeId], count: usize, random: &dyn Random) -> Vec<NodeId> {
        let mut dropped = SpreadPolicy.surplus(cluster, holders, count, random);
        let is_live = |id: NodeId| cluster.node(id).is_some_and(|node| node.live);
        let kept: Vec<NodeId> = holders.iter().copied().filter(|&id| is_live(id) && !dropped.contains(&id)).collect();
        // When the last one at home would go, one from elsewhere goes instead: no domain is left out that way.
        if !kept.iter().any(|&id| self.is_home(cluster, id))
            && let Some(at) = dropped.iter().position(|&id| self.is_home(cluster, id))
            && let Some(&other) = kept.last()
        {
            dropped[at] = other;
        }
        dropped
    }
}
