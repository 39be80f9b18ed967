//! A datanode's full report of replicas that the namenode's rows agree with, from a million chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use godfs_core::env::Env;
use godfs_core::io::DiskIo;
use godfs_core::metadata::{Counters, FjallOptions, FjallStore, MetadataStore};
use godfs_core::namespace::sums::{of_replica, range_of};
use godfs_core::namespace::{Fill, Namespace, NamespaceSettings, Owner, RangeSum, SUPERGROUP};
use godfs_core::{ChunkId, DfsPath, Generation, NodeId, NodeUuid};
use tokio::runtime::Runtime;

/// Replicas in the report, and of each chunk.
const REPLICAS: u64 = 1_000_000;
/// When it is only tried out.
const FEW: u64 = 10_000;
/// Files of one transaction, and of one directory.
const A_STEP: u64 = 2_000;
/// What the rows say of a chunk that was filled in.
const FILLED: (Generation, u64) = (Generation(1), 1 << 20);

async fn fill(namespace: &Namespace, files: u64) -> NodeId {
    namespace
        .initialize(Owner { user: "bench".into(), group: SUPERGROUP.into(), mode: 0o755 })
        .await
        .expect("a new store");
    let mut nodes = Vec::new();
    for uuid in 1..=3 {
        nodes.push(namespace.expect_node(NodeUuid::from_random(uuid)).await.expect("a node"));
    }
    for first in (0..files).step_by(A_STEP as usize) {
        let directory = DfsPath::parse(&format!("/d{first:07}")).expect("a path");
        let fill = Fill { directory, files: first..first + A_STEP, chunks: 1, nodes: nodes.clone() };
        namespace.fill(fill).await.expect("filled");
    }
    nodes[0]
}

fn full_report(c: &mut Criterion) {
    let replicas = if std::env::args().any(|argument| argument == "--test") { FEW } else { REPLICAS };
    let runtime = Runtime::new().expect("runtime");
    let folder = tempfile::tempdir().expect("temporary folder");
    let env = Env::system();
    let create = async {
        FjallStore::create(&folder.path().join("store"), FjallOptions::default(), Arc::new(DiskIo), &env).await
    };
    let store = Arc::new(runtime.block_on(create).expect("store"));
    let rows: Arc<dyn MetadataStore> = Arc::clone(&store) as _;
    let namespace = Namespace::new(rows, NamespaceSettings::default(), env.clone()).expect("namespace");
    let node = runtime.block_on(fill(&namespace, replicas));

    let mut sums = BTreeMap::<u64, Counters>::new();
    for chunk in (1..=replicas).map(ChunkId) {
        let sum = sums.entry(range_of(chunk)).or_default();
        *sum = sum.plus(of_replica(chunk, FILLED.0, FILLED.1));
    }
    let sums: Vec<RangeSum> = sums.into_iter().map(|(range, sum)| RangeSum { range, sum }).collect();
    let written = store.written();

    let mut group = c.benchmark_group("full_report");
    group.sample_size(20);
    group.throughput(Throughput::Elements(replicas));
    group.bench_function("unchanged", |b| {
        b.to_async(&runtime).iter(|| async {
            let differing = namespace.differing_ranges(node, None, sums.clone(), true).await.expect("compared");
            assert_eq!(differing, [] as [u64; 0]);
        });
    });
    group.finish();
    assert_eq!(store.written(), written, "a report without news writes nothing");
}

criterion_group!(benches, full_report);
criterion_main!(benches);
