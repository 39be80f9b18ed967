//! Checksums of a packet: what every byte costs at the writer, at each datanode and at the reader.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use godfs_core::checksum;

const PACKET: usize = 1 << 20;

fn checksums(c: &mut Criterion) {
    let data = vec![0x5a; PACKET];
    let sums = checksum::checksums(0, &data);
    let mut group = c.benchmark_group("checksums");
    group.throughput(Throughput::Bytes(PACKET as u64));
    group.bench_function("compute_1mib", |b| b.iter(|| checksum::checksums(0, &data)));
    group.bench_function("verify_1mib", |b| b.iter(|| checksum::verify(0, &data, &sums)));
    group.finish();
}

criterion_group!(benches, checksums);
criterion_main!(benches);
