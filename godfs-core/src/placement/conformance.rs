//! What every [`ReplicationPolicy`] must do, as properties over generated clusters. Each function panics where the contract is
//! broken, naming the seed of the case.

use std::collections::BTreeSet;

use super::{ClusterView, Domain, NodeView, PlaceRequest, ReplicationPolicy};
use crate::env::{Random, SeededRandom};
use crate::id::NodeId;

/// Every property, over `cases` generated clusters each.
pub fn all(policy: &dyn ReplicationPolicy, seed: u64, cases: u64) {
    names_only_sound_nodes(policy, seed, cases);
    names_all_it_can(policy, seed, cases);
    spreads_over_two_domains(policy, seed, cases);
    is_deterministic(policy, seed, cases);
    reads_from_live_holders(policy, seed, cases);
    drops_keep_the_spread(policy, seed, cases);
}

/// Never a node twice, nor one that is existing, excluded, not live, not eligible or without room.
pub fn names_only_sound_nodes(policy: &dyn ReplicationPolicy, seed: u64, cases: u64) {
    for (case, cluster, request, random) in generated(seed, cases) {
        let named = policy.place(&cluster, &request, &random);
        let distinct: BTreeSet<_> = named.iter().collect();
        assert_eq!(distinct.len(), named.len(), "seed {case}: a node is named twice: {named:?}");
        for id in &named {
            assert!(sound(&cluster, &request).contains(id), "seed {case}: {id} must not be named");
        }
    }
}

/// As many as were asked for, or all there are.
pub fn names_all_it_can(policy: &dyn ReplicationPolicy, seed: u64, cases: u64) {
    for (case, cluster, request, random) in generated(seed, cases) {
        let named = policy.place(&cluster, &request, &random);
        let possible = sound(&cluster, &request).len().min(request.count);
        assert_eq!(named.len(), possible, "seed {case}: {named:?}");
    }
}

/// With what exists, at least two domains wherever that was possible.
pub fn spreads_over_two_domains(policy: &dyn ReplicationPolicy, seed: u64, cases: u64) {
    for (case, cluster, request, random) in generated(seed, cases) {
        let named = policy.place(&cluster, &request, &random);
        let held = domains(&cluster, request.existing.iter());
        let candidates = sound(&cluster, &request);
        let new = domains(&cluster, candidates.iter()).difference(&held).count();
        let possible = (held.len() + new.min(request.count)).min(2);
        let reached = domains(&cluster, request.existing.iter().chain(&named)).len();
        assert!(reached >= possible, "seed {case}: {reached} domains where {possible} were possible");
    }
}

/// Equal inputs and random numbers give equal answers.
pub fn is_deterministic(policy: &dyn ReplicationPolicy, seed: u64, cases: u64) {
    for (case, cluster, request, _) in generated(seed, cases) {
        let holders: Vec<_> = cluster.nodes.iter().map(|node| node.id).collect();
        let answer = || {
            let random = SeededRandom::new(case);
            (
                policy.place(&cluster, &request, &random),
                policy.source(&cluster, &holders, request.writer, &random),
                policy.surplus(&cluster, &holders, request.count, &random),
            )
        };
        assert_eq!(answer(), answer(), "seed {case}");
    }
}

/// A source is a live holder, and there is one whenever a holder is live.
pub fn reads_from_live_holders(policy: &dyn ReplicationPolicy, seed: u64, cases: u64) {
    for (case, cluster, request, random) in generated(seed, cases) {
        let live: Vec<_> = request.existing.iter().filter(|&&id| is_live(&cluster, id)).collect();
        match policy.source(&cluster, &request.existing, request.writer, &random) {
            Some(source) => assert!(live.contains(&&source), "seed {case}: {source} is no live holder"),
            None => assert!(live.is_empty(), "seed {case}: no source although {live:?} are live"),
        }
    }
}

/// As many as were asked for as far as there are live holders, each a live holder, none twice, and what is left lies in two
/// domains wherever it did before and two are left.
pub fn drops_keep_the_spread(policy: &dyn ReplicationPolicy, seed: u64, cases: u64) {
    for (case, cluster, request, random) in generated(seed, cases) {
        let live: BTreeSet<_> = request.existing.iter().copied().filter(|&id| is_live(&cluster, id)).collect();
        let dropped = policy.surplus(&cluster, &request.existing, request.count, &random);
        let distinct: BTreeSet<_> = dropped.iter().copied().collect();
        assert_eq!(distinct.len(), dropped.len(), "seed {case}: one is dropped twice: {dropped:?}");
        assert!(distinct.is_subset(&live), "seed {case}: {dropped:?} are not all live holders");
        assert_eq!(dropped.len(), live.len().min(request.count), "seed {case}: {dropped:?}");
        let left: BTreeSet<_> = live.difference(&distinct).collect();
        let possible = domains(&cluster, live.iter()).len().min(left.len()).min(2);
        let kept = domains(&cluster, left.into_iter()).len();
        assert!(kept >= possible, "seed {case}: {kept} domains are left where {possible} could be");
    }
}

fn sound(cluster: &ClusterView, request: &PlaceRequest) -> BTreeSet<NodeId> {
    let fits = |node: &&NodeView| node.live && node.eligible && node.largest >= request.bytes && node.largest > 0;
    let taken = |id: &NodeId| request.existing.contains(id) || request.excluded.contains(id);
    cluster.nodes.iter().filter(fits).map(|node| node.id).filter(|id| !taken(id)).collect()
}

fn is_live(cluster: &ClusterView, id: NodeId) -> bool {
    cluster.node(id).is_some_and(|node| node.live)
}

fn domains<'a>(cluster: &ClusterView, nodes: impl Iterator<Item = &'a NodeId>) -> BTreeSet<Domain> {
    nodes.filter_map(|&id| cluster.node(id)).map(|node| node.domain.clone()).collect()
}

/// Clusters of up to twelve nodes in up to four domains, among them full, draining, dead and loaded ones, and requests that
/// name writers, holders and exclusions, now and then ones that do not exist.
fn generated(seed: u64, cases: u64) -> impl Iterator<Item = (u64, ClusterView, PlaceRequest, SeededRandom)> {
    (0..cases).map(move |case| {
        let case = seed.wrapping_add(case);
        let random = SeededRandom::new(case);
        let one_in = |n: u64| random.below(n) == 0;
        let bytes = random.below(1_000);
        let domains = 1 + random.below(4);
        let nodes: Vec<_> = (0..random.below(13))
            .map(|at| (at, if one_in(4) { random.below(bytes + 1) } else { random.below(1 << 40) }))
            .map(|(at, largest)| NodeView {
                id: NodeId(u32::try_from(at).unwrap_or(0) + 1),
                domain: Domain::parse(&format!("/dc/rack{}", random.below(domains))).expect("well formed"),
                host: format!("host{}", random.below(13)),
                available: largest * (1 + random.below(4)),
                largest,
                capacity: 1 << 40,
                load: u32::try_from(random.below(20)).unwrap_or(0),
                live: !one_in(5),
                eligible: !one_in(6),
                slow: one_in(6),
            })
            .collect();
        let some = |n: u64| -> Vec<NodeId> {
            let ids: BTreeSet<_> =
                (0..random.below(n)).map(|_| NodeId(1 + u32::try_from(random.below(13)).unwrap_or(0))).collect();
            ids.into_iter().collect()
        };
        let request = PlaceRequest {
            writer: some(3).first().copied(),
            existing: some(5),
            excluded: some(4),
            count: usize::try_from(random.below(6)).unwrap_or(0),
            bytes,
        };
        (case, ClusterView { nodes }, request, random)
    })
}
