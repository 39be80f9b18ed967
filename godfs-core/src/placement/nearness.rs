//! In which order a reader should try the replicas of a chunk.

use super::{ClusterView, Domain};
use crate::id::{ChunkId, NodeId};

/// Streams that make a node busier than another: below it, which of them has the bytes in memory matters more.
const LOAD_STEP: u32 = 16;

/// Where a reader is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// The host part of its address, as datanodes give theirs; empty when it is not known.
    pub host: String,
    /// Its failure domain. Where it names none, that of a node on its host is taken, and failing that all domains are equally far.
    pub domain: Option<Domain>,
}

/// Sorts the `holders` of `chunk` for a reader: live nodes before others; then those on its own host; then the nearest in the tree of domains;
/// then the clearly less loaded; equals by their [`affinity`] to the chunk. Nodes that are not in the view come last.
pub fn sort_by_nearness(cluster: &ClusterView, reader: &Reader, chunk: ChunkId, holders: &mut [NodeId]) {
    let domain = reader.domain.as_ref().or_else(|| {
        let local = cluster.nodes.iter().find(|node| !reader.host.is_empty() && node.host == reader.host);
        local.map(|node| &node.domain)
    });
    holders.sort_by_cached_key(|&id| {
        let rank = cluster.node(id).map(|node| {
            let remote = reader.host.is_empty() || node.host != reader.host;
            let distance = domain.map_or(0, |domain| domain.distance(&node.domain));
            (!node.live, remote, distance, node.load / LOAD_STEP)
        });
        (rank.is_none(), rank, std::cmp::Reverse(affinity(chunk, id)))
    });
}

/// How strongly a chunk belongs to a node, if nothing else tells them apart: the same for everyone who asks, and spread evenly. All readers of a
/// chunk go to the same node then, and only that one needs to have it in memory.
#[must_use]
pub fn affinity(chunk: ChunkId, node: NodeId) -> u64 {
    // The finalizer of splitmix64: every bit of the input changes half of the output.
    let mut mixed = chunk.get().rotate_left(32) ^ u64::from(node.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Moves to the front of a new pipeline, on the writer's own host if some of it are there, the node that readers there will ask first: what
/// comes from the writer itself stays in memory.
pub fn put_reader_first(cluster: &ClusterView, writer: &Reader, chunk: ChunkId, pipeline: &mut [NodeId]) {
    let local = |id: NodeId| !writer.host.is_empty() && cluster.node(id).is_some_and(|node| node.host == writer.host);
    let first = (0..pipeline.len()).max_by_key(|&at| (local(pipeline[at]), affinity(chunk, pipeline[at])));
    if let Some(at) = first {
        pipeline[..=at].rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::NodeView;

    fn cluster() -> ClusterView {
        let node = |id: u32, host: &str, domain: &str, load: u32, live: bool| NodeView {
            id: NodeId(id),
            domain: Domain::parse(domain).unwrap(),
            host: host.to_owned(),
            available: 1,
            largest: 1,
            capacity: 1,
            load,
            live,
            eligible: true,
            slow: false,
        };
        ClusterView {
            nodes: vec![
                node(1, "h1", "/dc1/r1", 90, true),
                node(2, "h2", "/dc1/r1", 0, false),
                node(3, "h3", "/dc1/r2", 50, true),
                node(4, "h4", "/dc1/r2", 1, true),
                node(5, "h5", "/dc2/r1", 0, true),
            ],
        }
    }

    fn sorted(reader: &Reader) -> Vec<u32> {
        let mut holders: Vec<_> = [9, 5, 4, 3, 2, 1].map(NodeId).into();
        sort_by_nearness(&cluster(), reader, ChunkId(1), &mut holders);
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
        let anywhere = sorted(&Reader::default());
        assert!(anywhere[..2].contains(&4) && anywhere[..2].contains(&5), "{anywhere:?}");
        assert_eq!(anywhere[2..], [3, 1, 2, 9]);
    }

    #[test]
    fn all_readers_of_a_chunk_ask_one_node_and_chunks_are_spread() {
        let mut first = [0; 3];
        for chunk in 1..=3_000 {
            let mut holders = [5, 4, 9].map(NodeId);
            sort_by_nearness(&cluster(), &Reader::default(), ChunkId(chunk), &mut holders);
            let mut again = [4, 9, 5].map(NodeId);
            sort_by_nearness(&cluster(), &Reader::default(), ChunkId(chunk), &mut again);
            assert_eq!(holders, again);
            let most = [4, 5, 6].into_iter().max_by_key(|&node| affinity(ChunkId(chunk), NodeId(node)));
            first[most.expect("one of three") as usize - 4] += 1;
        }
        assert!(first.iter().all(|&count| (900..1_100).contains(&count)), "{first:?}");
    }

    #[test]
    fn the_first_of_a_pipeline_is_who_will_be_read() {
        for chunk in 1..100 {
            for host in ["h1", "laptop", ""] {
                let writer = Reader { host: host.into(), domain: None };
                let mut pipeline = [5, 4, 1].map(NodeId);
                put_reader_first(&cluster(), &writer, ChunkId(chunk), &mut pipeline);
                let mut rest: Vec<_> = pipeline[1..].to_vec();
                rest.sort_unstable();
                assert!(!rest.contains(&pipeline[0]) && rest.len() == 2, "{pipeline:?}");
                if host == "h1" {
                    assert_eq!(pipeline, [1, 5, 4].map(NodeId));
                } else {
                    let most =
                        rest.iter().all(|&node| affinity(ChunkId(chunk), node) < affinity(ChunkId(chunk), pipeline[0]));
                    assert!(most, "{pipeline:?}");
                }
            }
        }
    }
}
