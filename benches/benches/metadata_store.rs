//! The durable metadata store: synced commits by one caller and by many, and reads.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use godfs_core::env::Env;
use godfs_core::io::DiskIo;
use godfs_core::metadata::{FjallOptions, FjallStore, MetadataStore, MetadataStoreExt, Space};
use tokio::runtime::Runtime;

/// About what the rows of one create take.
const VALUE: [u8; 200] = [7; 200];

async fn commit(store: &dyn MetadataStore, key: u64) {
    let put = store.commit(move |txn| {
        txn.put(Space::Rows, key.to_be_bytes().to_vec().into(), VALUE.to_vec().into());
        Ok(())
    });
    put.await.expect("commit");
}

fn metadata_store(c: &mut Criterion) {
    let runtime = Runtime::new().expect("runtime");
    let folder = tempfile::tempdir().expect("temporary folder");
    let env = Env::system();
    let create = async {
        FjallStore::create(&folder.path().join("store"), FjallOptions::default(), Arc::new(DiskIo), &env).await
    };
    let store: Arc<dyn MetadataStore> = Arc::new(runtime.block_on(create).expect("store"));
    let next = std::sync::atomic::AtomicU64::new(0);
    let fresh = || next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);

    let mut group = c.benchmark_group("metadata_store");
    group.sample_size(20);
    for callers in [1_usize, 64, 256] {
        group.throughput(Throughput::Elements(callers as u64));
        group.bench_function(format!("commit_synced_{callers}_at_once"), |b| {
            b.to_async(&runtime).iter(|| join_all((0..callers).map(|_| commit(&*store, fresh()))));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |b| {
        b.to_async(&runtime).iter(|| store.view(|snapshot| snapshot.get(Space::Rows, &0_u64.to_be_bytes())));
    });
    group.finish();
}

criterion_group!(benches, metadata_store);
criterion_main!(benches);
