//! Stand-ins for the other side: a client and datanodes that speak the wire and nothing more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use godfs_client::transport::hello::Identity;
use godfs_client::transport::{Address, status};
use godfs_core::{ClusterId, Error, NodeUuid};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use v1::command::Order;
use v1::datanode_message::Message as Up;
use v1::datanode_service_client::DatanodeServiceClient;
use v1::namenode_message::Message as Down;
use v1::namespace_service_client::NamespaceServiceClient;

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn channel(address: &str) -> Channel {
    Channel::from_shared(format!("http://{address}")).expect("address").connect().await.expect("connect")
}

/// The error of a refused call, whole.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> Error {
    status::from_status(&answer.expect_err("refused"), &Address::parse("namenode:1").expect("address"))
}

/// Waits until `done` gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut done: impl FnMut() -> F) -> T {
    let limit = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < limit, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client with one slot.
pub(crate) struct FakeClient {
    pub(crate) stub: NamespaceServiceClient<Channel>,
    pub(crate) session: u64,
    sequence: AtomicU64,
}

impl FakeClient {
    pub(crate) async fn connect(address: &str) -> Self {
        let mut stub = NamespaceServiceClient::new(channel(address).await);
        let hello = Some(Identity::client("test").hello());
        let session = stub.open_session(v1::OpenSessionRequest { hello }).await.expect("session").into_inner().session;
        Self { stub, session, sequence: AtomicU64::new(0) }
    }

    /// The same session over a new connection.
    pub(crate) async fn again(&self, address: &str) -> Self {
        let stub = NamespaceServiceClient::new(channel(address).await);
        Self { stub, session: self.session, sequence: AtomicU64::new(self.sequence.load(Ordering::Relaxed)) }
    }

    /// The next call.
    pub(crate) fn call(&self) -> Option<v1::Call> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        Some(v1::Call { session: self.session, slot: 0, sequence })
    }

    /// The call before, again.
    pub(crate) fn same(&self) -> Option<v1::Call> {
        Some(v1::Call { session: self.session, slot: 0, sequence: self.sequence.load(Ordering::Relaxed) })
    }

    pub(crate) async fn mkdir(&self, path: &str) -> Result<u64, tonic::Status> {
        let request = v1::MkdirRequest { call: self.call(), path: path.into(), ..Default::default() };
        Ok(self.stub.clone().mkdir(request).await?.into_inner().inode)
    }

    pub(crate) async fn create(&self, path: &str, replication: u32) -> v1::CreateResponse {
        let options = v1::CreateOptions { replication, ..Default::default() };
        let request = v1::CreateRequest { call: self.call(), path: path.into(), options: Some(options), first: None };
        self.stub.clone().create(request).await.expect("create").into_inner()
    }

    pub(crate) async fn add_chunk(&self, file: &v1::CreateResponse) -> Result<v1::AddChunkResponse, tonic::Status> {
        let request =
            v1::AddChunkRequest { call: self.call(), inode: file.inode, lease: file.lease, ..Default::default() };
        Ok(self.stub.clone().add_chunk(request).await?.into_inner())
    }

    /// Closes a file of one chunk that is whole on `nodes`.
    pub(crate) async fn complete(
        &self,
        file: &v1::CreateResponse,
        chunk: &v1::AddChunkResponse,
        length: u64,
        nodes: &[u32],
        relaxed: bool,
    ) -> v1::CompleteResponse {
        let commit =
            v1::ChunkCommit { chunk: chunk.chunk, generation: chunk.generation, length, nodes: nodes.to_vec() };
        let request = v1::CompleteRequest {
            call: self.call(),
            inode: file.inode,
            lease: file.lease,
            length,
            commits: vec![commit],
            data: Bytes::new(),
            relaxed,
        };
        self.stub.clone().complete(request).await.expect("complete").into_inner()
    }

    pub(crate) async fn open(&self, path: &str) -> Result<v1::OpenResponse, tonic::Status> {
        let request = v1::OpenRequest { path: path.into(), host: String::new(), chunks: 100, ..Default::default() };
        Ok(self.stub.clone().open(request).await?.into_inner())
    }

    pub(crate) async fn list(&self, path: &str, page_size: u32) -> Vec<v1::ListPage> {
        let request = v1::ListRequest { path: path.into(), page_size, ..Default::default() };
        let mut pages = self.stub.clone().list(request).await.expect("list").into_inner();
        let mut all = Vec::new();
        while let Some(page) = pages.message().await.expect("page") {
            all.push(page);
        }
        all
    }
}

/// A datanode without a disk.
pub(crate) struct FakeNode {
    pub(crate) id: u32,
    pub(crate) registered: v1::Registered,
    up: mpsc::Sender<v1::DatanodeMessage>,
    down: Streaming<v1::NamenodeMessage>,
    beats: Option<tokio::task::JoinHandle<()>>,
}

/// How a fake datanode introduces itself.
#[derive(Clone)]
pub(crate) struct Introduction {
    pub(crate) uuid: NodeUuid,
    pub(crate) id: u32,
    pub(crate) instance: u64,
    pub(crate) address: String,
    pub(crate) domain: String,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) available: u64,
    pub(crate) seen: (Bytes, u64),
}

impl Introduction {
    pub(crate) fn new(n: u16) -> Self {
        Self {
            uuid: NodeUuid::from_random(u128::from(n) << 64 | 0xabc),
            id: 0,
            instance: u64::from(n),
            address: format!("host{n}:{}", 1_000 + n),
            domain: format!("/r{n}"),
            cluster: None,
            available: 1 << 40,
            seen: (Bytes::new(), 0),
        }
    }
}

impl FakeNode {
    pub(crate) async fn connect(namenode: &str, who: &Introduction) -> Result<Self, tonic::Status> {
        let mut stub = DatanodeServiceClient::new(channel(namenode).await);
        let (up, receive) = mpsc::channel(64);
        let space = v1::Space { capacity: 1 << 41, used: 0, available: who.available };
        let register = v1::Register {
            hello: Some(Identity::datanode(who.address.clone(), who.cluster).hello()),
            node_uuid: Bytes::copy_from_slice(who.uuid.as_bytes()),
            node: who.id,
            instance: who.instance,
            address: who.address.clone(),
            domain: who.domain.clone(),
            space: Some(space),
            incarnation: who.seen.0.clone(),
            version: who.seen.1,
        };
        up.send(v1::DatanodeMessage { message: Some(Up::Register(register)) }).await.expect("open");
        let mut down = stub.connect(ReceiverStream::new(receive)).await?.into_inner();
        let registered = match down.message().await?.and_then(|message| message.message) {
            Some(Down::Registered(registered)) => registered,
            other => panic!("expected to be registered, got {other:?}"),
        };
        let beat = up.clone();
        let every = Duration::from_millis(registered.heartbeat_ms);
        let beats = tokio::spawn(async move {
            loop {
                let heartbeat = v1::Heartbeat { space: Some(space), ..Default::default() };
                if beat.send(v1::DatanodeMessage { message: Some(Up::Heartbeat(heartbeat)) }).await.is_err() {
                    return;
                }
                tokio::time::sleep(every).await;
            }
        });
        Ok(Self { id: registered.node, registered, up, down, beats: Some(beats) })
    }

    pub(crate) async fn send(&self, message: Up) {
        self.up.send(v1::DatanodeMessage { message: Some(message) }).await.expect("stream is open");
    }

    /// Stays connected and says nothing more.
    pub(crate) fn fall_silent(&mut self) {
        if let Some(beats) = self.beats.take() {
            beats.abort();
        }
    }

    /// The next message that is not the reply to a heartbeat.
    pub(crate) async fn next(&mut self) -> Down {
        let next = async {
            loop {
                let message = self.down.message().await.expect("stream").expect("stream is open");
                match message.message.expect("a message") {
                    Down::Heartbeat(_) => {}
                    other => return other,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a message in time")
    }

    /// Waits for the next command; reports without a difference are acknowledged on the way.
    pub(crate) async fn command(&mut self) -> (u64, Order) {
        loop {
            if let Down::Command(command) = self.next().await {
                assert_eq!((&command.scope, command.epoch), (&self.registered.scope, self.registered.epoch));
                return (command.id, command.order.expect("an order"));
            }
        }
    }

    /// Waits until ranges are asked for; commands on the way are not carried out.
    pub(crate) async fn wanted(&mut self) -> Vec<u64> {
        loop {
            if let Down::Wanted(wanted) = self.next().await {
                return wanted.ranges;
            }
        }
    }

    /// Says that a command was carried out.
    pub(crate) async fn done(&self, id: u64, replica: Option<v1::Replica>) {
        self.send(Up::Result(v1::CommandResult { id, error: None, replica })).await;
    }

    /// Reports events and waits until they are acknowledged.
    pub(crate) async fn events(&mut self, sequence: u64, events: Vec<v1::ReplicaEvent>) {
        self.send(Up::Events(v1::ReplicaEvents { sequence, events })).await;
        loop {
            if let Down::Events(ack) = self.next().await {
                assert_eq!(ack.sequence, sequence);
                return;
            }
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.fall_silent();
    }
}

/// A finalized replica.
pub(crate) fn finalized(chunk: u64, generation: u64, length: u64) -> v1::Replica {
    v1::Replica { chunk, generation, length, visible: length, state: v1::ReplicaState::Finalized.into() }
}

pub(crate) fn event(kind: v1::replica_event::Kind, replica: v1::Replica) -> v1::ReplicaEvent {
    v1::ReplicaEvent { kind: kind.into(), replica: Some(replica), evidence: String::new() }
}
