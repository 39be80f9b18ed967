//! In which order a reader should try the replicas of a chunk.

use super::{ClusterView, Domain};
use crate::id::{ChunkId, NodeId};

/// Streams that make a node busier than another: below it, which of them has the bytes in memory matters more.
const LOAD_STEP: u32 = 16;

/// Chunks of at most so many bytes are small: to reach a node costs more than to send them there.
const SMALL_BYTES: u64 = 256 << 10;
/// So many small chunks that were made one after another belong to the same node, two to this power. Those who write many at once then send them together, and the nodes
/// flush them together; measured with sixteen writers, 16 took as much as 64.
const SMALL_TOGETHER: u32 = 6;

/// Where a reader is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// The host part of its address, as datanodes give theirs; empty when it is not known.
    pub host: String,
    /// Its failure domain. Where it names none, that of a node on its host is taken, and failing that all domains are equally far.
    pub domain: Option<Domain>,
}

/// A chunk, as far as it matters to who is near it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizedChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Bytes that it has, or will have; 0 when that is not known.
    pub bytes: u64,
}

/// Sorts the `holders` of a chunk for a reader: live nodes before others; then those on its own host; then the nearest in the tree of domains;
/// then the clearly less loaded; equals by their [`affinity`] to the chunk. Nodes that are not in the view come last.
pub fn sort_by_nearness(cluster: &ClusterView, reader: &Reader, chunk: SizedChunk, holders: &mut [NodeId]) {
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
pub fn affinity(SizedChunk { chunk, bytes }: SizedChunk, node: NodeId) -> u64 {
    let small = (1..=SMALL_BYTES).contains(&bytes);
    let key = if small { chunk.get() >> SMALL_TOGETHER } else { chunk.get() };
    // The finalizer of splitmix64: every bit of the input changes half of the output.
    let mut mixed = key.rotate_left(32) ^ u64::from(node.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Moves to the front of a new pipeline, on the writer's own host if some of it are there, the node that readers there will ask first: what
/// comes from the writer itself stays in memory. The others follow by their [`affinity`], unless one is nearer to the first than another.
pub fn put_reader_first(cluster: &ClusterView, writer: &Reader, chunk: SizedChunk, pipeline: &mut [NodeId]) {
    let local = |id: NodeId| !writer.host.is_empty() && cluster.node(id).is_some_and(|node| node.host == writer.host);
    let first = (0..pipeline.len()).max_by_key(|&at| (local(pipeline[at]), affinity(chunk, pipeline[at])));
    if let Some(at) = first {
        pipeline[..=at].rotate_right(1);
    }
    if let [_, rest @ ..] = pipeline {
        let domain = |id: &NodeId| cluster.node(*id).map(|node| &node.domain);
        if rest.windows(2).all(|pair| domain(&pair[0]) == domain(&pair[1])) {
            rest.sort_by_cached_key(|&id| std::cmp::Reverse(affinity(chunk, id)));
        }
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

    fn large(chunk: u64) -> SizedChunk {
        SizedChunk { chunk: ChunkId(chunk), bytes: 1 << 20 }
    }

    fn sorted(reader: &Reader) -> Vec<u32> {
        let mut holders: Vec<_> = [9, 5, 4, 3, 2, 1].map(NodeId).into();
        sort_by_nearness(&cluster(), reader, large(1), &mut holders);
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
            sort_by_nearness(&cluster(), &Reader::default(), large(chunk), &mut holders);
            let mut again = [4, 9, 5].map(NodeId);
            sort_by_nearness(&cluster(), &Reader::default(), large(chunk), &mut again);
            assert_eq!(holders, again);
            let most = [4, 5, 6].into_iter().max_by_key(|&node| affinity(large(chunk), NodeId(node)));
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
                put_reader_first(&cluster(), &writer, large(chunk), &mut pipeline);
                let mut rest: Vec<_> = pipeline[1..].to_vec();
                rest.sort_unstable();
                assert!(!rest.contains(&pipeline[0]) && rest.len() == 2, "{pipeline:?}");
                if host == "h1" {
                    assert_eq!(pipeline, [1, 5, 4].map(NodeId));
                } else {
                    let most =
                        rest.iter().all(|&node| affinity(large(chunk), node) < affinity(large(chunk), pipeline[0]));
                    assert!(most, "{pipeline:?}");
                }
            }
        }
    }

    #[test]
    fn small_chunks_that_follow_one_another_go_one_way_and_large_ones_do_not() {
        let pipelines = |bytes: u64| -> Vec<Vec<NodeId>> {
            let pipeline = |chunk| {
                // In whichever order a policy names them.
                let mut pipeline = if chunk % 2 == 0 { [4, 3, 5] } else { [5, 3, 4] }.map(NodeId);
                put_reader_first(
                    &one_domain(),
                    &Reader::default(),
                    SizedChunk { chunk: ChunkId(chunk), bytes },
                    &mut pipeline,
                );
                pipeline.to_vec()
            };
            (0..640).map(pipeline).collect()
        };
        let changes = |bytes| pipelines(bytes).windows(2).filter(|pair| pair[0] != pair[1]).count();
        for small in [1, 65_536, SMALL_BYTES] {
            assert!(
                pipelines(small).chunks(64).all(|block| block.windows(2).all(|pair| pair[0] == pair[1])),
                "{small}"
            );
            assert!(changes(small) > 3, "they are spread: {}", changes(small));
        }
        // Also those of which nobody knows how large they become.
        for large in [0, SMALL_BYTES + 1, 1 << 30] {
            assert!(changes(large) > 400, "{large}: {}", changes(large));
        }
    }

    #[test]
    fn the_way_between_domains_is_the_policys() {
        for chunk in 0..20 {
            let mut pipeline = [1, 4, 5].map(NodeId);
            put_reader_first(&cluster(), &Reader { host: "h1".into(), domain: None }, large(chunk), &mut pipeline);
            assert_eq!(pipeline, [1, 4, 5].map(NodeId));
        }
    }

    fn one_domain() -> ClusterView {
        let mut cluster = cluster();
        for node in &mut cluster.nodes {
            node.domain = Domain::default();
        }
        cluster
    }
}
