//! The default policy: two failure domains, weighted by room and load.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{ClusterView, Domain, NodeView, PlaceRequest, ReplicationPolicy};
use crate::env::Random;
use crate::id::NodeId;

/// How many domains the replicas of a chunk should be spread over: enough to survive the loss of one, and no more, since
/// every further one costs the writer another slow hop.
const GOAL_DOMAINS: usize = 2;

/// The granularity in which free space counts when nodes are weighed; keeps sums over many nodes within 64 bits.
const WEIGHT_UNIT_BYTES: u64 = 1 << 16;

/// A slow node gets so many times less than it would. Not nothing: who gets nothing is not seen to have recovered, and its room may be needed.
const SLOW_HANDICAP: u64 = 16;

/// The default policy.
///
/// - The first replica goes to the writer's own node, so that it crosses no network; where that is not possible, to its domain.
/// - The second goes to another domain, so that the loss of one domain leaves a copy.
/// - The third goes to the domain of the second, so that the pipeline crosses between domains once.
/// - Further ones go where the fewest replicas are.
///
/// Where a wish leaves several nodes, one is drawn with a probability that grows with its free space and falls with its load, and where it is called slow, so
/// that disks fill evenly and a burst of writes does not meet on one node. Where a wish leaves none, it is given up, the last
/// one first: with a single domain all replicas lie in it, with fewer nodes than replicas all of them are named.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpreadPolicy;

impl ReplicationPolicy for SpreadPolicy {
    fn place(&self, cluster: &ClusterView, request: &PlaceRequest, random: &dyn Random) -> Vec<NodeId> {
        let mut candidates: Vec<&NodeView> = cluster.nodes.iter().filter(|node| may_take(node, request)).collect();
        let mut holders: Vec<&NodeView> = request.existing.iter().filter_map(|&id| cluster.node(id)).collect();
        let writer = request.writer.and_then(|id| cluster.node(id));
        let mut chosen = Vec::with_capacity(request.count.min(candidates.len()));
        while chosen.len() < request.count && !candidates.is_empty() {
            let wished = wish(&candidates, &holders, writer);
            let at = wished[draw(&candidates, &wished, random)];
            let node = candidates.remove(at);
            holders.push(node);
            chosen.push(node.id);
        }
        chosen
    }

    fn source(
        &self,
        cluster: &ClusterView,
        holders: &[NodeId],
        target: Option<NodeId>,
        random: &dyn Random,
    ) -> Option<NodeId> {
        let target = target.and_then(|id| cluster.node(id));
        holders
            .iter()
            .filter_map(|&id| cluster.node(id))
            .filter(|node| node.live)
            .min_by_key(|node| {
                let far = target.map_or((false, 0), |to| (node.host != to.host, node.domain.distance(&to.domain)));
                (node.slow, far, node.load, random.next_u64())
            })
            .map(|node| node.id)
    }

    fn surplus(&self, cluster: &ClusterView, holders: &[NodeId], count: usize, _: &dyn Random) -> Vec<NodeId> {
        let mut left: Vec<&NodeView> =
            holders.iter().filter_map(|&id| cluster.node(id)).filter(|node| node.live).collect();
        left.sort_by_key(|node| node.id);
        left.dedup_by_key(|node| node.id);
        let mut dropped = Vec::with_capacity(count.min(left.len()));
        while dropped.len() < count && !left.is_empty() {
            let crowd = crowd(&left);
            let at = (0..left.len())
                .max_by_key(|&at| {
                    let node = left[at];
                    let neighbours = crowd[&node.domain];
                    let keeps_spread = neighbours > 1 || crowd.len() > GOAL_DOMAINS;
                    (keeps_spread, !node.eligible, neighbours, fullness(node), node.load, Reverse(node.id))
                })
                .expect("some are left");
            dropped.push(left.remove(at).id);
        }
        dropped
    }
}

fn may_take(node: &NodeView, request: &PlaceRequest) -> bool {
    node.live
        && node.eligible
        && node.largest >= request.bytes.max(1)
        && !request.existing.contains(&node.id)
        && !request.excluded.contains(&node.id)
}

/// The candidates, by their place in the list, that the next replica should go to; never empty when there are candidates.
fn wish(candidates: &[&NodeView], holders: &[&NodeView], writer: Option<&NodeView>) -> Vec<usize> {
    let all = || (0..candidates.len()).collect::<Vec<_>>();
    let those = |wanted: &dyn Fn(&NodeView) -> bool| {
        let found: Vec<_> = (0..candidates.len()).filter(|&at| wanted(candidates[at])).collect();
        (!found.is_empty()).then_some(found)
    };
    let crowd = crowd(holders);
    match (holders, writer) {
        ([], None) => all(),
        ([], Some(writer)) => those(&|node| node.id == writer.id)
            .or_else(|| those(&|node| node.domain == writer.domain))
            .unwrap_or_else(all),
        _ if crowd.len() < GOAL_DOMAINS => those(&|node| !crowd.contains_key(&node.domain)).unwrap_or_else(all),
        ([_, second], _) => those(&|node| node.domain == second.domain).unwrap_or_else(all),
        _ => {
            let crowd_of = |node: &NodeView| crowd.get(&node.domain).copied().unwrap_or(0);
            let fewest = candidates.iter().map(|node| crowd_of(node)).min().unwrap_or(0);
            those(&|node| crowd_of(node) == fewest).unwrap_or_else(all)
        }
    }
}

/// Draws one of `wished`, weighted; gives its place in `wished`.
fn draw(candidates: &[&NodeView], wished: &[usize], random: &dyn Random) -> usize {
    let weight = |at: usize| {
        let node = candidates[at];
        let handicap = if node.slow { SLOW_HANDICAP } else { 1 };
        (node.available / WEIGHT_UNIT_BYTES / (u64::from(node.load) + 1) / handicap).max(1)
    };
    let total = wished.iter().fold(0_u64, |sum, &at| sum.saturating_add(weight(at)));
    let mut left = random.below(total);
    for (place, &at) in wished.iter().enumerate() {
        match left.checked_sub(weight(at)) {
            Some(rest) => left = rest,
            None => return place,
        }
    }
    wished.len() - 1
}

fn crowd<'a>(nodes: &[&'a NodeView]) -> BTreeMap<&'a Domain, usize> {
    let mut crowd = BTreeMap::new();
    for node in nodes {
        *crowd.entry(&node.domain).or_insert(0) += 1;
    }
    crowd
}

/// How full a node is, in thousandths.
fn fullness(node: &NodeView) -> u128 {
    let capacity = u128::from(node.capacity.max(1));
    1_000 - (u128::from(node.available) * 1_000 / capacity).min(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;
    use crate::placement::conformance;

    const GIB: u64 = 1 << 30;

    fn cluster(domains: &[&str]) -> ClusterView {
        let node = |at: usize, domain: &str| NodeView {
            id: NodeId(u32::try_from(at).unwrap() + 1),
            domain: Domain::parse(domain).unwrap(),
            host: format!("host{}", at + 1),
            available: 100 * GIB,
            largest: 100 * GIB,
            capacity: 200 * GIB,
            load: 0,
            live: true,
            eligible: true,
            slow: false,
        };
        ClusterView { nodes: domains.iter().enumerate().map(|(at, domain)| node(at, domain)).collect() }
    }

    fn domains(cluster: &ClusterView, nodes: &[NodeId]) -> Vec<String> {
        nodes.iter().map(|&id| cluster.node(id).unwrap().domain.to_string()).collect()
    }

    #[test]
    fn it_conforms() {
        conformance::all(&SpreadPolicy, 0x5eed, 3_000);
    }

    #[test]
    fn writer_first_then_another_domain_twice() {
        let cluster = cluster(&["/a", "/a", "/a", "/b", "/b", "/c", "/c"]);
        for seed in 0..200 {
            let request = PlaceRequest { writer: Some(NodeId(2)), count: 3, bytes: GIB, ..PlaceRequest::default() };
            let nodes = SpreadPolicy.place(&cluster, &request, &SeededRandom::new(seed));
            let domains = domains(&cluster, &nodes);
            assert_eq!(nodes[0], NodeId(2));
            assert_ne!(domains[1], "/a");
            assert_eq!(domains[1], domains[2]);
        }
    }

    #[test]
    fn a_full_writer_node_gives_way_to_its_domain() {
        let mut cluster = cluster(&["/a", "/a", "/b", "/b"]);
        cluster.nodes[0].largest = GIB - 1;
        let request = PlaceRequest { writer: Some(NodeId(1)), count: 1, bytes: GIB, ..PlaceRequest::default() };
        for seed in 0..50 {
            assert_eq!(SpreadPolicy.place(&cluster, &request, &SeededRandom::new(seed)), [NodeId(2)]);
        }
    }

    /// The two replicas that are left lie in one domain: the new one must not join them.
    #[test]
    fn repair_restores_the_second_domain() {
        let cluster = cluster(&["/a", "/a", "/a", "/b"]);
        let request =
            PlaceRequest { existing: vec![NodeId(1), NodeId(2)], count: 1, bytes: GIB, ..PlaceRequest::default() };
        for seed in 0..50 {
            assert_eq!(SpreadPolicy.place(&cluster, &request, &SeededRandom::new(seed)), [NodeId(4)]);
        }
    }

    #[test]
    fn free_space_and_load_weigh() {
        let mut cluster = cluster(&["/a", "/a", "/a"]);
        cluster.nodes[0].available = 10 * GIB;
        cluster.nodes[2].load = 9;
        let request = PlaceRequest { count: 1, bytes: GIB, ..PlaceRequest::default() };
        let random = SeededRandom::new(1);
        let mut hits = [0_u32; 3];
        for _ in 0..3_000 {
            let chosen = SpreadPolicy.place(&cluster, &request, &random)[0];
            hits[usize::try_from(chosen.get()).unwrap() - 1] += 1;
        }
        // 10 : 100 : 10, so five in six go to the second.
        assert!((2_300..2_700).contains(&hits[1]), "{hits:?}");
        assert!(hits[0] > 100 && hits[2] > 100, "{hits:?}");
    }

    #[test]
    fn a_slow_node_is_chosen_less_and_read_from_last() {
        let mut cluster = cluster(&["/a", "/a", "/a"]);
        cluster.nodes[1].slow = true;
        let request = PlaceRequest { count: 1, bytes: GIB, ..PlaceRequest::default() };
        let random = SeededRandom::new(1);
        let chosen = (0..3_300).filter(|_| SpreadPolicy.place(&cluster, &request, &random) == [NodeId(2)]).count();
        // One of 33.
        assert!((50..150).contains(&chosen), "{chosen}");
        cluster.nodes[0].load = 50;
        let holders = [NodeId(1), NodeId(2)];
        assert_eq!(SpreadPolicy.source(&cluster, &holders, Some(NodeId(2)), &random), Some(NodeId(1)));
        let all = PlaceRequest { count: 3, ..request };
        assert_eq!(SpreadPolicy.place(&cluster, &all, &random).len(), 3, "where it is needed it is taken");
    }

    #[test]
    fn the_nearest_least_loaded_live_holder_is_the_source() {
        let mut cluster = cluster(&["/a/1", "/a/2", "/b/1", "/b/2", "/b/2"]);
        let random = SeededRandom::new(1);
        let holders = [NodeId(1), NodeId(2), NodeId(4)];
        assert_eq!(SpreadPolicy.source(&cluster, &holders, Some(NodeId(5)), &random), Some(NodeId(4)));
        cluster.nodes[3].live = false;
        cluster.nodes[0].load = 3;
        assert_eq!(SpreadPolicy.source(&cluster, &holders, Some(NodeId(5)), &random), Some(NodeId(2)));
        assert_eq!(SpreadPolicy.source(&cluster, &[NodeId(4)], None, &random), None);
    }

    #[test]
    fn surplus_leaves_the_crowded_domain_and_the_fullest_node() {
        let mut cluster = cluster(&["/a", "/a", "/a", "/b"]);
        cluster.nodes[1].available = GIB;
        cluster.nodes[3].available = 0;
        let holders = [NodeId(1), NodeId(2), NodeId(3), NodeId(4)];
        let random = SeededRandom::new(1);
        assert_eq!(SpreadPolicy.surplus(&cluster, &holders, 1, &random), [NodeId(2)]);
        let two = SpreadPolicy.surplus(&cluster, &holders, 2, &random);
        assert!(!two.contains(&NodeId(4)), "{two:?}");
        cluster.nodes[2].eligible = false;
        assert_eq!(SpreadPolicy.surplus(&cluster, &holders, 1, &random), [NodeId(3)], "draining goes first");
    }
}
