//! Datanodes on loopback, and a client that writes and reads chunks by hand.

use std::path::Path;

use bytes::Bytes;
use futures::StreamExt;
use godfs_client::pipeline::{ChunkSender, PacketKind, PipelineFailure, PipelineSetup};
use godfs_client::transport::convert::{Node, WriteMode};
use godfs_client::transport::hello::Identity;
use godfs_client::transport::{Address, Channels, status};
use godfs_core::checksum::checksums;
use godfs_core::chunk::{MAX_PACKET_BYTES, Packet};
use godfs_core::placement::Domain;
use godfs_core::{ChunkId, ClusterId, Error, Generation, Result};
use godfs_proto::v1;
use godfs_proto::v1::chunk_service_client::ChunkServiceClient;
use godfs_server::datanode::{Datanode, DatanodeOptions};
use godfs_server::net::Listener;

use crate::fake_namenode::FakeNamenode;

/// Options of a datanode in `folder`, with intervals for tests.
pub(crate) async fn options(folder: &Path, namenode: &Address) -> DatanodeOptions {
    let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
    let mut options = DatanodeOptions::new(folder, listener, vec![namenode.clone()]);
    options.settings.reconnect_min_ms = 5;
    options.settings.reconnect_max_ms = 20;
    options.settings.drain_ms = 2_000;
    options
}

/// A registered datanode in `folder`.
pub(crate) async fn started(folder: &Path, namenode: &FakeNamenode) -> Datanode {
    let node = Datanode::start(options(folder, &namenode.address()).await).await.expect("start");
    node.ready().await.expect("registered");
    node
}

/// Registered datanodes with folders of their own, and their folders.
pub(crate) async fn cluster(count: usize) -> (FakeNamenode, Vec<Datanode>, Vec<tempfile::TempDir>) {
    let namenode = FakeNamenode::start().await;
    let folders: Vec<_> = (0..count).map(|_| tempfile::tempdir().expect("temporary folder")).collect();
    let mut nodes = Vec::new();
    for folder in &folders {
        nodes.push(started(folder.path(), &namenode).await);
    }
    (namenode, nodes, folders)
}

/// How the wire names a datanode.
pub(crate) fn named(node: &Datanode) -> Node {
    Node {
        id: node.node_id().expect("registered"),
        address: node.address().clone(),
        domain: Domain::parse("/default").expect("valid"),
    }
}

/// A client of the cluster.
pub(crate) struct Client {
    pub(crate) channels: Channels,
    pub(crate) identity: Identity,
}

impl Client {
    pub(crate) fn new(cluster: ClusterId) -> Self {
        let identity = Identity { cluster: Some(cluster), ..Identity::client("test") };
        Self { channels: Channels::tcp(), identity }
    }

    pub(crate) async fn open(&self, nodes: &[&Datanode], chunk: u64) -> Result<ChunkSender, PipelineFailure> {
        self.open_as(nodes.iter().map(|node| named(node)).collect(), chunk, 1, WriteMode::Create, 0).await
    }

    pub(crate) async fn open_as(
        &self,
        nodes: Vec<Node>,
        chunk: u64,
        generation: u64,
        mode: WriteMode,
        length: u64,
    ) -> Result<ChunkSender, PipelineFailure> {
        let setup = PipelineSetup {
            chunk: ChunkId(chunk),
            generation: Generation(generation),
            mode,
            capacity: 64 << 20,
            length,
            expected: 0,
            nodes,
        };
        ChunkSender::open(&self.channels, &self.identity, &setup).await
    }

    /// Writes and finalizes a whole chunk.
    pub(crate) async fn write(&self, nodes: &[&Datanode], chunk: u64, data: &Bytes) -> Result<(), PipelineFailure> {
        let mut sender = self.open(nodes, chunk).await?;
        send(&mut sender, 0, data, true).await?;
        sender.finish().await;
        Ok(())
    }

    pub(crate) async fn service(&self, address: &Address) -> ChunkServiceClient<godfs_client::transport::Connection> {
        self.channels.chunk_service(address).await.expect("connect")
    }

    pub(crate) fn read_request(&self, node: &Datanode, chunk: u64) -> v1::ReadRequest {
        v1::ReadRequest {
            hello: Some(self.identity.hello()),
            chunk,
            node: node.node_id().expect("registered").get(),
            ..Default::default()
        }
    }

    /// What a read answers: the header and the packets, verified.
    pub(crate) async fn read(&self, node: &Datanode, request: v1::ReadRequest) -> Result<(v1::Replica, u64, Vec<u8>)> {
        let error = |end: tonic::Status| status::from_status(&end, node.address());
        let mut packets = self.service(node.address()).await.read(request).await.map_err(error)?.into_inner();
        let header = packets.next().await.expect("a header").map_err(error)?;
        let replica = header.replica.expect("in the header");
        let (mut begin, mut data) = (None, Vec::new());
        while let Some(packet) = packets.next().await {
            let packet = packet.map_err(error)?;
            godfs_core::checksum::verify(packet.offset, &packet.data, &packet.checksums).expect("good checksums");
            assert_eq!(*begin.get_or_insert(packet.offset) + data.len() as u64, packet.offset, "no gap");
            data.extend_from_slice(&packet.data);
        }
        Ok((replica, begin.unwrap_or_default(), data))
    }

    pub(crate) async fn inspect(&self, node: &Datanode, chunk: u64) -> Result<v1::Replica> {
        let request = v1::InspectRequest {
            hello: Some(self.identity.hello()),
            chunk,
            node: node.node_id().expect("registered").get(),
        };
        let answer = self.service(node.address()).await.inspect(request).await;
        let answer = answer.map_err(|end| status::from_status(&end, node.address()))?;
        Ok(answer.into_inner().replica.expect("a replica"))
    }
}

/// Sends `data` in packets and waits for all acknowledgements.
pub(crate) async fn send(
    sender: &mut ChunkSender,
    mut offset: u64,
    data: &Bytes,
    last: bool,
) -> Result<(), PipelineFailure> {
    let mut parts = data.chunks(MAX_PACKET_BYTES).peekable();
    while let Some(part) = parts.next() {
        while !sender.has_credit() {
            sender.ack().await?;
        }
        let kind = match last && parts.peek().is_none() {
            true => PacketKind::Last { sync: true },
            false => PacketKind::Data,
        };
        sender.send(packet(offset, data.slice_ref(part)), kind).expect("a credit");
        offset += part.len() as u64;
    }
    while sender.in_flight() > 0 {
        sender.ack().await?;
    }
    Ok(())
}

pub(crate) fn packet(offset: u64, data: Bytes) -> Packet {
    let checksums = checksums(offset, &data);
    Packet { offset, data, checksums }
}

/// Bytes that tell places apart.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length as u64).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect::<Vec<_>>().into()
}

/// The error of a call that must fail.
pub(crate) fn refused<T>(outcome: Result<T>) -> Error {
    match outcome {
        Ok(_) => panic!("this must be refused"),
        Err(error) => error,
    }
}

/// The only file of a replica in the folder of a datanode.
pub(crate) fn replica_file(folder: &Path) -> std::path::PathBuf {
    let mut found = replica_files(folder);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// The files of replicas in the folder of a datanode or on one of its disks.
pub(crate) fn replica_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("chunks")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("list") {
            let path = entry.expect("entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !["LOCK", "FORMAT"].contains(&&*name) {
                found.push(path);
            }
        }
    }
    found
}

/// Flips one bit of a file.
pub(crate) fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 4], at).expect("write");
}
