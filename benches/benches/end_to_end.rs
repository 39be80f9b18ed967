//! A file through a cluster of three datanodes in this process, over loopback.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use godfs_client::{Client, CreateOptions};
use godfs_server::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

const FILE: usize = 64 << 20;
const PART: usize = 1 << 20;

async fn write(client: &Client, path: &str, part: &[u8], sync: bool) {
    let options = CreateOptions::default().overwrite(true).sync_on_close(sync);
    let mut file = client.create(path, options).await.expect("create");
    for _ in 0..FILE / PART {
        file.write_all(part).await.expect("write");
    }
    file.close().await.expect("close");
}

async fn read(client: &Client, path: &str, buffer: &mut [u8]) {
    let mut file = client.open(path).await.expect("open");
    for _ in 0..FILE / PART {
        file.read_exact(buffer).await.expect("read");
    }
}

fn end_to_end(c: &mut Criterion) {
    let runtime = Runtime::new().expect("runtime");
    let cluster = runtime.block_on(Cluster::builder().datanodes(3).start()).expect("cluster");
    let client = cluster.client();
    let part = vec![0x3c; PART];

    let mut group = c.benchmark_group("end_to_end");
    group.sample_size(10).throughput(Throughput::Bytes(FILE as u64));
    group.bench_function("write_64mib_three_replicas_not_synced", |b| {
        b.to_async(&runtime).iter(|| write(&client, "/bench", &part, false));
    });
    group.bench_function("write_64mib_three_replicas_synced", |b| {
        b.to_async(&runtime).iter(|| write(&client, "/bench", &part, true));
    });
    group.bench_function("read_64mib", |b| {
        b.to_async(&runtime).iter_batched(
            || vec![0; PART],
            |mut buffer| {
                let client = &client;
                async move { read(client, "/bench", &mut buffer).await }
            },
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("put_4kib", |b| {
        let data = bytes::Bytes::from(vec![1; 4_096]);
        let options = CreateOptions::default().overwrite(true);
        b.to_async(&runtime).iter(|| async { client.put("/small", data.clone(), options.clone()).await.expect("put") });
    });
    group.bench_function("stat", |b| {
        b.to_async(&runtime).iter(|| async { client.stat("/small").await.expect("stat") });
    });
    group.finish();
    runtime.block_on(cluster.stop()).expect("stop");
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
