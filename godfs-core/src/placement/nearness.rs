//! In which order a reader should try the replicas of a chunk.

use super::{ClusterView, Domain};
use crate::env::Random;
use crate::id::NodeId;

/// Where a reader is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// The host part of its address, as datanodes give theirs; empty when it is not known.
    pub host: String,
    /// Its failure domain. Where it names none, that of a node on its host is taken, and failing that all domains are equally far.
    pub domain: Option<Domain>,
}

/// Sorts `holders` for a reader: live nodes before others; then those on its own host; then the nearest in the tree of domains;
/// then the least loaded; equals in random order. Nodes that are not in the view come last.
pub fn sort_by_nearness(cluster: &ClusterView, reader: &Reader, holders: &mut [NodeId], random: &dyn Random) {
    let domain = reader.domain.as_ref().or_else(|| {
        let local = cluster.nodes.iter().find(|node| !reader.host.is_empty() && node.host == reader.host);
        local.map(|node| &node.domain)
    });
    holders.sort_by_cached_key(|&id| {
        let rank = cluster.node(id).map(|node| {
            let remote = reader.host.is_empty() || node.host != reader.host;
            let distance = domain.map_or(0, |domain| domain.distance(&node.domain));
            (!node.live, remote, distance, node.load)
        });
        (rank.is_none(), rank, random.next_u64())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRandom;
    use crate::placement::NodeView;

    fn cluster() -> ClusterView {
        let node = |id: u32, host: &str, domain: &str, load: u32, live: bool| NodeView {
            id: NodeId(id),
            domain: Domain::parse(domain).unwrap(),
            host: host.to_owned(),
            available: 1,
            capacity: 1,
            load,
            live,
            eligible: true,
        };
        ClusterView {
            nodes: vec![
                node(1, "h1", "/dc1/r1", 9, true),
                node(2, "h2", "/dc1/r1", 0, false),
                node(3, "h3", "/dc1/r2", 5, true),
                node(4, "h4", "/dc1/r2", 1, true),
                node(5, "h5", "/dc2/r1", 0, true),
            ],
        }
    }

    fn sorted(reader: &Reader) -> Vec<u32> {
        let mut holders: Vec<_> = [9, 5, 4, 3, 2, 1].map(NodeId).into();
        sort_by_nearness(&cluster(), reader, &mut holders, &SeededRandom::new(3));
        holders.into_iter().map(NodeId::get).collect()
    }

    #[test]
    fn own_host_then_near_then_idle_and_the_dead_last() {
        let reader = Reader { host: "h1".into(), domain: None };
        assert_eq!(sorted(&reader), [1, 4, 3, 5, 2, 9]);
    }

    #[test]
    fn a_reader_elsewhere_goes_by_its_domain_or_by_load() {
        let reader = Reader { host: "laptop".into(), domain: Some(Domain::parse("/dc2/r7").unwrap()) };
        assert_eq!(sorted(&reader), [5, 4, 3, 1, 2, 9]);
        assert_eq!(sorted(&Reader::default()), [5, 4, 3, 1, 2, 9]);
    }
}
