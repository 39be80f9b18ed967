//! What a datanode is sent by mistake, or worse: a clear error, and nothing lost or held.

use bytes::Bytes;
use futures::{StreamExt, stream};
use godfs_client::transport::{Connection, status};
use godfs_core::chunk::{ChunkStore, MAX_PACKET_BYTES};
use godfs_core::{ChunkId, ClusterId, ErrorKind};
use godfs_proto::v1;
use godfs_proto::v1::chunk_service_client::ChunkServiceClient;
use godfs_server::datanode::Datanode;

use crate::harness::{Client, cluster, options, packet, pattern, refused};

fn opening(client: &Client, node: &Datanode) -> v1::WriteOpen {
    v1::WriteOpen {
        hello: Some(client.identity.hello()),
        chunk: 1,
        generation: 1,
        mode: v1::WriteMode::Create.into(),
        capacity: 1 << 20,
        length: 0,
        expected: 0,
        downstream: Vec::new(),
        node: node.node_id().expect("registered").get(),
    }
}

fn message(sequence: u64, offset: u64, data: &[u8]) -> v1::WriteRequest {
    let packet = packet(offset, Bytes::copy_from_slice(data));
    v1::WriteRequest { sequence, offset, checksums: packet.checksums, data: packet.data, ..Default::default() }
}

/// Sends messages and tells how the stream ends: the first error in a result, or the status.
async fn write(
    service: &mut ChunkServiceClient<Connection>,
    messages: Vec<v1::WriteRequest>,
) -> Result<Vec<u64>, godfs_core::Error> {
    let peer = "node:1".parse().expect("valid");
    // The request stays open: what ends the stream is the datanode.
    let requests = stream::iter(messages).chain(stream::pending());
    let mut answers = service.write(requests).await.map_err(|end| status::from_status(&end, &peer))?.into_inner();
    let mut acknowledged = Vec::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|end| status::from_status(&end, &peer))?;
        for result in &answer.results {
            if let Some(error) = &result.error {
                return Err(status::from_detail(error));
            }
        }
        acknowledged.push(answer.sequence);
    }
    Ok(acknowledged)
}

#[tokio::test]
async fn an_opening_that_lies_is_refused() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let node = &nodes[0];
    let client = Client::new(namenode.cluster());
    let mut service = client.service(node.address()).await;
    let foreign = Client::new(ClusterId::from_random(99)).identity.hello();
    let good = opening(&client, node);
    for (what, open, kind) in [
        ("no hello", v1::WriteOpen { hello: None, ..good.clone() }, ErrorKind::InvalidArgument),
        ("another cluster", v1::WriteOpen { hello: Some(foreign), ..good.clone() }, ErrorKind::Incompatible),
        ("another node", v1::WriteOpen { node: 2, ..good.clone() }, ErrorKind::FailedPrecondition),
        ("no chunk", v1::WriteOpen { chunk: 0, ..good.clone() }, ErrorKind::InvalidArgument),
        ("no generation", v1::WriteOpen { generation: 0, ..good.clone() }, ErrorKind::InvalidArgument),
        ("no mode", v1::WriteOpen { mode: 17, ..good.clone() }, ErrorKind::InvalidArgument),
        ("a huge capacity", v1::WriteOpen { capacity: u64::MAX, ..good.clone() }, ErrorKind::InvalidArgument),
        (
            "nothing to resume",
            v1::WriteOpen { mode: v1::WriteMode::Resume.into(), ..good.clone() },
            ErrorKind::NotFound,
        ),
    ] {
        let first = v1::WriteRequest { open: Some(open), ..Default::default() };
        let error = refused(write(&mut service, vec![first]).await);
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
    let error = refused(write(&mut service, vec![message(1, 0, b"data first")]).await);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(node.store().list(0..u64::MAX, 10).await.expect("list"), [], "nothing remains");
}

#[tokio::test]
async fn packets_that_lie_end_the_stream_and_what_came_before_is_kept() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let node = &nodes[0];
    let client = Client::new(namenode.cluster());
    let mut service = client.service(node.address()).await;
    let large = vec![0; MAX_PACKET_BYTES + 1];
    let short = v1::WriteRequest { checksums: Bytes::from_static(&[0; 3]), ..message(2, 5, b"x") };
    let open_again = v1::WriteRequest { open: Some(opening(&client, node)), ..Default::default() };
    for (number, (what, bad, kind)) in [
        ("a repeated sequence", message(1, 5, b"x"), ErrorKind::InvalidArgument),
        ("a skipped sequence", message(3, 5, b"x"), ErrorKind::InvalidArgument),
        ("a gap", message(2, 6, b"x"), ErrorKind::InvalidArgument),
        ("too large", message(2, 5, &large), ErrorKind::InvalidArgument),
        ("too few checksums", short, ErrorKind::InvalidArgument),
        ("an offset beyond all chunks", message(2, u64::MAX - 1, b"x"), ErrorKind::InvalidArgument),
        ("nothing at all", v1::WriteRequest { sequence: 2, ..Default::default() }, ErrorKind::InvalidArgument),
        ("a second opening", open_again, ErrorKind::InvalidArgument),
    ]
    .into_iter()
    .enumerate()
    {
        let chunk = number as u64 + 1;
        let open = v1::WriteOpen { chunk, ..opening(&client, node) };
        let first = v1::WriteRequest { open: Some(open), ..Default::default() };
        let error = refused(write(&mut service, vec![first, message(1, 0, b"good!"), bad]).await);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        let kept = node.store().stat(ChunkId(chunk)).await.expect("kept");
        assert_eq!((kept.length, kept.state), (5, godfs_core::chunk::ReplicaState::Rbw), "{what}");
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_those_there_go_on() {
    let (namenode, _nodes, folders) = cluster(0).await;
    assert!(folders.is_empty());
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut limited = options(folder.path(), &namenode.address()).await;
    limited.settings.max_streams = 1;
    let node = Datanode::start(limited).await.expect("start");
    node.ready().await.expect("registered");
    let client = Client::new(namenode.cluster());
    let mut sender = client.open(&[&node], 1).await.expect("the first");
    let failure = client.open(&[&node], 2).await.expect_err("the second");
    assert_eq!(failure.error.kind(), ErrorKind::LimitExceeded);
    assert!(failure.error.is_retryable());
    crate::harness::send(&mut sender, 0, &pattern(10), true).await.expect("the first goes on");
}

#[tokio::test]
async fn a_reader_that_does_not_read_costs_a_few_packets() {
    let (namenode, _, _) = cluster(0).await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = CountingStore::default();
    let mut counting = options(folder.path(), &namenode.address()).await;
    counting.store = Some(std::sync::Arc::new(store.clone()));
    let node = Datanode::start(counting).await.expect("start");
    node.ready().await.expect("registered");
    let client = Client::new(namenode.cluster());
    let data = pattern(40 << 20);
    client.write(&[&node], 1, &data).await.expect("write");
    // A connection of its own, whose windows are not opened by other streams.
    let mut service = client.service(node.address()).await;
    let mut slow = service.read(client.read_request(&node, 1)).await.expect("read").into_inner();
    slow.message().await.expect("header");
    // A whole read of the same replica passes it by on another connection.
    let other = Client::new(namenode.cluster());
    let (_, _, found) = other.read(&node, other.read_request(&node, 1)).await.expect("read");
    assert!(found == data);
    let packets = data.len().div_ceil(MAX_PACKET_BYTES);
    let by_the_slow_one = store.reads() - packets;
    assert!(by_the_slow_one <= 12, "{by_the_slow_one} packets were read for one who takes none");
    drop(slow);
    let (_, _, found) = client.read(&node, client.read_request(&node, 1)).await.expect("read");
    assert!(found == data);
}

/// A store in memory that counts reads.
#[derive(Clone, Debug)]
struct CountingStore {
    inner: godfs_core::chunk::MemoryStore,
    reads: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Default for CountingStore {
    fn default() -> Self {
        Self { inner: godfs_core::chunk::MemoryStore::new(None), reads: Default::default() }
    }
}

impl CountingStore {
    fn reads(&self) -> usize {
        self.reads.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct CountingReader {
    inner: Box<dyn godfs_core::chunk::ReplicaReader>,
    reads: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

#[tonic::async_trait]
impl godfs_core::chunk::ReplicaReader for CountingReader {
    fn replica(&self) -> godfs_core::chunk::Replica {
        self.inner.replica()
    }

    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    async fn read(&self, offset: u64, length: usize, verify: bool) -> godfs_core::Result<godfs_core::chunk::Packet> {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        // As a disk would: whoever reads ahead starts the next read meanwhile.
        tokio::task::yield_now().await;
        self.inner.read(offset, length, verify).await
    }
}

#[tonic::async_trait]
impl ChunkStore for CountingStore {
    async fn create(
        &self,
        options: godfs_core::chunk::CreateReplica,
    ) -> godfs_core::Result<Box<dyn godfs_core::chunk::ReplicaWriter>> {
        self.inner.create(options).await
    }

    async fn reopen(
        &self,
        options: godfs_core::chunk::ReopenReplica,
    ) -> godfs_core::Result<Box<dyn godfs_core::chunk::ReplicaWriter>> {
        self.inner.reopen(options).await
    }

    async fn open(
        &self,
        chunk: ChunkId,
        min: godfs_core::Generation,
    ) -> godfs_core::Result<Box<dyn godfs_core::chunk::ReplicaReader>> {
        let inner = self.inner.open(chunk, min).await?;
        Ok(Box::new(CountingReader { inner, reads: self.reads.clone() }))
    }

    async fn recover(
        &self,
        chunk: ChunkId,
        generation: godfs_core::Generation,
    ) -> godfs_core::Result<godfs_core::chunk::Replica> {
        self.inner.recover(chunk, generation).await
    }

    async fn settle(
        &self,
        chunk: ChunkId,
        generation: godfs_core::Generation,
        length: u64,
    ) -> godfs_core::Result<godfs_core::chunk::Replica> {
        self.inner.settle(chunk, generation, length).await
    }

    async fn delete(&self, chunk: ChunkId, generation: godfs_core::Generation) -> godfs_core::Result<()> {
        self.inner.delete(chunk, generation).await
    }

    async fn stat(&self, chunk: ChunkId) -> godfs_core::Result<godfs_core::chunk::Replica> {
        self.inner.stat(chunk).await
    }

    async fn list(
        &self,
        range: std::ops::Range<u64>,
        limit: usize,
    ) -> godfs_core::Result<Vec<godfs_core::chunk::Replica>> {
        self.inner.list(range, limit).await
    }

    async fn verify(&self, chunk: ChunkId) -> godfs_core::Result<godfs_core::chunk::Replica> {
        self.inner.verify(chunk).await
    }

    async fn space(&self) -> godfs_core::Result<godfs_core::chunk::Space> {
        self.inner.space().await
    }

    async fn unknown(&self) -> godfs_core::Result<Vec<String>> {
        self.inner.unknown().await
    }
}
