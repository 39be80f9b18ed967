//! The directory chunk store on the machine's disk, without any network.

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use godfs_core::checksum;
use godfs_core::chunk::{
    ChunkStore, CreateReplica, DirectoryOptions, DirectoryStore, MAX_PACKET_BYTES, Packet, ReplicaState,
};
use godfs_core::env::Env;
use godfs_core::io::DiskIo;
use godfs_core::{ChunkId, Generation};
use tokio::runtime::Runtime;

const CHUNK: u64 = 64 << 20;

async fn write(store: &DirectoryStore, chunk: ChunkId, packet: &Packet, length: u64, sync: bool) {
    let options = CreateReplica { chunk, generation: Generation(1), capacity: CHUNK, state: ReplicaState::Rbw };
    let mut writer = store.create(options).await.expect("create");
    while writer.replica().length < length {
        let packet = Packet { offset: writer.replica().length, ..packet.clone() };
        writer.append(packet).await.expect("append");
    }
    writer.finalize(sync).await.expect("finalize");
}

async fn read(store: &DirectoryStore, chunk: ChunkId) -> u64 {
    let reader = store.open(chunk, Generation(1)).await.expect("open");
    let mut offset = 0;
    loop {
        let packet = reader.read(offset, MAX_PACKET_BYTES, true).await.expect("read");
        if packet.data.is_empty() {
            return offset;
        }
        offset += packet.data.len() as u64;
    }
}

fn chunk_store(c: &mut Criterion) {
    let runtime = Runtime::new().expect("runtime");
    let folder = tempfile::tempdir().expect("temporary folder");
    let options =
        DirectoryOptions { root: folder.path().to_owned(), capacity: None, reserve: 0, small: 0, on_the_spot: true };
    let open = DirectoryStore::open(options, Arc::new(DiskIo), Env::system());
    let store = runtime.block_on(open).expect("store");
    let data = bytes::Bytes::from(vec![0xa5; MAX_PACKET_BYTES]);
    let packet = Packet { offset: 0, checksums: checksum::checksums(0, &data), data };
    let mut next = 1_u64;
    let mut fresh = || {
        next += 1;
        ChunkId(next)
    };

    let mut group = c.benchmark_group("chunk_store");
    group.sample_size(10);
    for (name, length, sync) in
        [("write_64mib", CHUNK, false), ("write_64mib_synced", CHUNK, true), ("write_1mib_synced", 1 << 20, true)]
    {
        group.throughput(Throughput::Bytes(length));
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter_batched(
                &mut fresh,
                |chunk| {
                    let (store, packet) = (&store, &packet);
                    async move {
                        write(store, chunk, packet, length, sync).await;
                        store.delete(chunk, Generation(1)).await.expect("delete");
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    runtime.block_on(write(&store, ChunkId(1), &packet, CHUNK, false));
    group.throughput(Throughput::Bytes(CHUNK));
    group.bench_function("read_64mib_verified", |b| b.to_async(&runtime).iter(|| read(&store, ChunkId(1))));
    group.finish();
}

criterion_group!(benches, chunk_store);
criterion_main!(benches);
