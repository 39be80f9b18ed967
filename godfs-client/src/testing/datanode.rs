//! A datanode that keeps its replicas in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use godfs_core::chunk::{Packet, Replica, ReplicaState};
use godfs_core::placement::Domain;
use godfs_core::{ChunkId, Error, ErrorKind, Generation, NodeId, Result, checksum};
use godfs_proto::v1;
use godfs_proto::v1::chunk_service_server::{ChunkService, ChunkServiceServer};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Network;
use crate::pipeline::{WholeWrites, WriteStream};
use crate::transport::convert::{self, Node, WriteMode, WriteOpen};
use crate::transport::settings::{FRAME_BYTES, MESSAGE_BYTES, STREAM_WINDOW_BYTES};
use crate::transport::status::to_status;
use crate::transport::{Address, Channels, TransportSettings};

/// What goes wrong at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its disk is full: refuses to begin.
    RefuseSetup(ErrorKind),
    /// Is killed when it receives its n-th packet from now on, counted from 1, before it stores it.
    DieAtPacket(usize),
    /// Is killed when it receives the last packet of a chunk.
    DieAtLast,
    /// Is killed after it has finalized a replica, before it says so.
    DieFinalized,
    /// Takes its n-th packet and everything after it, and never answers.
    StallAtPacket(usize),
    /// Breaks a stream that it serves after this many packets.
    EndReadAfter(usize),
    /// Gives a wrong byte at [`LIE_AT`] of each chunk.
    Lie,
    /// Serves nothing, and never answers.
    StallReads,
    /// Does not say what it has.
    TellNothing,
    /// Takes so long before it serves.
    SlowReads(Duration),
}

/// Where in a chunk a node lies.
pub(crate) const LIE_AT: usize = 20_000;

/// One replica.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) generation: Generation,
    pub(crate) data: Vec<u8>,
    pub(crate) state: ReplicaState,
    pub(crate) synced: bool,
}

/// A datanode.
pub(crate) struct FakeDatanode {
    node: Node,
    network: Network,
    channels: Channels,
    whole_writes: WholeWrites,
    replicas: Mutex<HashMap<ChunkId, Stored>>,
    fault: Mutex<Option<Fault>>,
    flipped: Mutex<Vec<usize>>,
    packets: AtomicUsize,
    reads: AtomicUsize,
}

impl FakeDatanode {
    pub(crate) fn start(network: &Network, id: u32) -> Arc<Self> {
        Self::start_with(network, id, 1, HashMap::new())
    }

    /// The node after a restart, at another port: what was being written waits for recovery.
    pub(crate) fn restarted(&self) -> Arc<Self> {
        self.kill();
        let mut replicas = self.replicas.lock().clone();
        for stored in replicas.values_mut().filter(|stored| stored.state == ReplicaState::Rbw) {
            stored.state = ReplicaState::Rwr;
        }
        let port = self.node.address.as_str().rsplit(':').next().and_then(|port| port.parse().ok());
        Self::start_with(&self.network, self.node.id.get(), port.unwrap_or(1) + 1, replicas)
    }

    fn start_with(network: &Network, id: u32, port: u16, replicas: HashMap<ChunkId, Stored>) -> Arc<Self> {
        let address = format!("dn{id}:{port}");
        let node =
            Node { id: NodeId(id), address: Address::parse(&address).expect("valid"), domain: Domain::default() };
        let datanode = Arc::new(Self {
            node,
            network: network.clone(),
            channels: Channels::new(TransportSettings::default(), Arc::new(network.clone())),
            whole_writes: WholeWrites::default(),
            replicas: Mutex::new(replicas),
            fault: Mutex::default(),
            flipped: Mutex::default(),
            packets: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
        });
        datanode.listen();
        datanode
    }

    fn listen(self: &Arc<Self>) {
        let service = ChunkServiceServer::new(Service(Arc::clone(self))).max_decoding_message_size(MESSAGE_BYTES);
        let incoming = self.network.listen(self.node.address.as_str());
        tokio::spawn(
            tonic::transport::Server::builder()
                .max_frame_size(FRAME_BYTES)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .add_service(service)
                .serve_with_incoming(incoming),
        );
    }

    pub(crate) fn node(&self) -> Node {
        self.node.clone()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.node.address
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        self.packets.store(0, Ordering::SeqCst);
        *self.fault.lock() = Some(fault);
    }

    pub(crate) fn mend(&self) {
        *self.fault.lock() = None;
    }

    pub(crate) fn kill(&self) {
        self.network.kill(&self.node.address);
    }

    pub(crate) fn replica(&self, chunk: ChunkId) -> Option<Stored> {
        self.replicas.lock().get(&chunk).cloned()
    }

    /// Its disk is replaced by an empty one.
    pub(crate) fn lose_all(&self) {
        self.replicas.lock().clear();
    }

    /// Takes over the replica of another node.
    pub(crate) fn adopt(&self, other: &Self, chunk: u64) {
        let stored = other.replica(ChunkId(chunk)).expect("there");
        self.replicas.lock().insert(ChunkId(chunk), stored);
    }

    /// From now on gives a wrong byte at this place of each chunk.
    pub(crate) fn flip(&self, at: usize) {
        self.flipped.lock().push(at);
    }

    /// How many reads were asked for.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn fault(&self) -> Option<Fault> {
        self.fault.lock().clone()
    }

    fn describe(&self, chunk: ChunkId) -> Result<Replica> {
        let replicas = self.replicas.lock();
        let stored =
            replicas.get(&chunk).ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no replica of {chunk}")))?;
        let length = stored.data.len() as u64;
        Ok(Replica { chunk, generation: stored.generation, length, visible: length, state: stored.state })
    }

    fn begin(&self, open: &WriteOpen) -> Result<()> {
        if let Some(Fault::RefuseSetup(kind)) = self.fault() {
            return Err(Error::new(kind, "refused"));
        }
        let mut replicas = self.replicas.lock();
        match open.mode {
            WriteMode::Create | WriteMode::Copy => {
                let fresh =
                    Stored { generation: open.generation, data: Vec::new(), state: ReplicaState::Rbw, synced: false };
                if replicas.insert(open.chunk, fresh).is_some() {
                    return Err(Error::new(ErrorKind::AlreadyExists, "has a replica"));
                }
            }
            WriteMode::Resume => {
                let stored =
                    replicas.get_mut(&open.chunk).ok_or_else(|| Error::new(ErrorKind::NotFound, "no replica"))?;
                if open.generation < stored.generation || open.length > stored.data.len() as u64 {
                    return Err(Error::new(ErrorKind::Fenced, "can't resume"));
                }
                stored.data.truncate(usize::try_from(open.length).expect("small"));
                (stored.generation, stored.state) = (open.generation, ReplicaState::Rbw);
            }
        }
        Ok(())
    }

    fn store(&self, open: &WriteOpen, packet: &Packet, sync: bool, last: bool) -> Result<()> {
        checksum::verify(packet.offset, &packet.data, &packet.checksums)?;
        let mut replicas = self.replicas.lock();
        let stored = replicas.get_mut(&open.chunk).ok_or_else(|| Error::new(ErrorKind::NotFound, "no replica"))?;
        if stored.generation != open.generation {
            return Err(Error::new(ErrorKind::Fenced, "another writer came"));
        }
        if packet.offset != stored.data.len() as u64 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a gap between packets"));
        }
        stored.data.extend_from_slice(&packet.data);
        stored.synced = sync;
        if last {
            stored.state = ReplicaState::Finalized;
        }
        Ok(())
    }

    /// One write stream, packet by packet.
    async fn receive(
        self: Arc<Self>,
        mut packets: Streaming<v1::WriteRequest>,
        answers: mpsc::Sender<Result<v1::WriteResponse, Status>>,
    ) {
        let Ok(Some(first)) = packets.message().await else { return };
        let open = convert::write_open(&first).expect("our client sends what is valid");
        assert_eq!(open.node, self.node.id, "meant for another node");
        let own = self.begin(&open);
        let mut results = vec![convert::node_result_to_wire(self.node.id, &own)];
        let mut downstream = None;
        if let (Some(next), Ok(())) = (open.downstream.first(), &own) {
            let forward = WriteOpen { node: next.id, downstream: open.downstream[1..].to_vec(), ..open.clone() };
            let forward = convert::write_open_to_wire(&forward, v1::Hello::default());
            match self.open_next(next, forward).await {
                Ok((stream, answer)) => {
                    results.extend(answer.results);
                    downstream = Some(stream);
                }
                Err(error) => results.push(convert::node_result_to_wire(next.id, &Err(error))),
            }
        }
        let failed = results.iter().any(|result| result.error.is_some());
        if answers.send(Ok(v1::WriteResponse { sequence: 0, results })).await.is_err() || failed {
            return;
        }
        while let Ok(Some(message)) = packets.message().await {
            let Some(answer) = self.packet(&open, message, &mut downstream).await else {
                return std::future::pending().await;
            };
            let failed = answer.results.iter().any(|result| result.error.is_some());
            if answers.send(Ok(answer)).await.is_err() || failed {
                return;
            }
        }
    }

    async fn open_next(&self, next: &Node, open: v1::WriteRequest) -> Result<(WriteStream, v1::WriteResponse)> {
        let mut stream = WriteStream::open(&self.channels, &next.address, open).await?;
        let answer = stream.acks.next().await?;
        Ok((stream, answer.ok_or_else(|| Error::new(ErrorKind::Unavailable, "ended"))?))
    }

    /// One packet; `None` when the node answers no more.
    async fn packet(
        &self,
        open: &WriteOpen,
        message: v1::WriteRequest,
        downstream: &mut Option<WriteStream>,
    ) -> Option<v1::WriteResponse> {
        let count = self.packets.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault() {
            Some(Fault::DieAtPacket(at)) if count >= at => {
                self.kill();
                return None;
            }
            Some(Fault::DieAtLast) if message.last => {
                self.kill();
                return None;
            }
            Some(Fault::StallAtPacket(at)) if count >= at => return None,
            _ => {}
        }
        if let Some(next) = downstream {
            // A node that is gone is told by its answers.
            let _ = next.requests.send(message.clone()).await;
        }
        let packet = convert::write_packet(message).expect("our client sends what is valid");
        let own = self.store(open, &packet.packet, packet.sync, packet.last);
        let mut results = vec![convert::node_result_to_wire(self.node.id, &own)];
        if let Some(next) = downstream {
            // The hop before a node that stalls sees it first: it has less patience than those before itself.
            let patience = self.channels.settings().pipeline_stall(open.downstream.len() - 1);
            let answer = tokio::time::timeout(patience, next.acks.next()).await;
            match answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "stalled"))) {
                Ok(Some(answer)) => {
                    assert_eq!(answer.sequence, packet.sequence);
                    results.extend(answer.results);
                }
                other => {
                    let error = other.err().unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "ended"));
                    results.push(convert::node_result_to_wire(open.downstream[0].id, &Err(error)));
                }
            }
        }
        if packet.last && self.fault() == Some(Fault::DieFinalized) {
            self.kill();
        }
        Some(v1::WriteResponse { sequence: packet.sequence, results })
    }

    /// One whole replica; `None` when the node answers no more.
    async fn whole(&self, wire: v1::WholeReplica) -> Option<v1::WholeReplicaAnswer> {
        let count = self.packets.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault() {
            Some(Fault::DieAtPacket(at)) if count >= at => {
                self.kill();
                return None;
            }
            Some(Fault::DieAtLast) => {
                self.kill();
                return None;
            }
            Some(Fault::StallAtPacket(at)) if count >= at => return None,
            _ => {}
        }
        let number = wire.number;
        let replica = convert::whole_replica(&wire, self.node.id).expect("our client sends what is valid");
        let open = WriteOpen {
            chunk: replica.chunk,
            generation: replica.generation,
            mode: WriteMode::Create,
            capacity: replica.capacity,
            length: 0,
            expected: 0,
            node: self.node.id,
            downstream: replica.downstream.clone(),
        };
        let own = self.begin(&open).and_then(|()| self.store(&open, &replica.packet, replica.sync, true));
        let mut results = vec![convert::node_result_to_wire(self.node.id, &own)];
        if let (Some((next, rest)), Ok(())) = (replica.downstream.split_first(), &own) {
            let message = v1::WholeReplica { downstream: rest.iter().map(convert::node_to_wire).collect(), ..wire };
            let answer = self.whole_writes.forward(&self.channels, v1::Hello::default, next, message).await;
            match answer {
                Ok(Some(below)) => results.extend(below),
                Ok(None) => {
                    let error = Error::new(ErrorKind::Unsupported, "not asked");
                    results.push(convert::node_result_to_wire(next.id, &Err(error)));
                }
                Err(error) => results.push(convert::node_result_to_wire(next.id, &Err(error))),
            }
        }
        if self.fault() == Some(Fault::DieFinalized) {
            self.kill();
        }
        Some(v1::WholeReplicaAnswer { number, results })
    }

    fn serve(&self, request: &v1::ReadRequest) -> Result<Vec<Result<v1::ReadResponse, Status>>> {
        let chunk = ChunkId(request.chunk);
        assert_eq!(request.node, self.node.id.get(), "meant for another node");
        let replica = self.describe(chunk)?;
        if replica.generation < Generation(request.generation) {
            return Err(Error::new(ErrorKind::Fenced, "an old replica"));
        }
        let stored = self.replica(chunk).expect("it was described");
        let header = v1::ReadResponse { replica: Some(convert::replica_to_wire(&replica)), ..Default::default() };
        let mut answers = vec![Ok(header)];
        let piece = checksum::PIECE;
        let to = usize::try_from((request.offset + request.length).min(replica.length)).expect("small");
        let mut at = usize::try_from(request.offset).expect("small") / piece * piece;
        // Small packets, so that there is a middle to fail in.
        while at < to {
            let end = (at + 4 * piece).min(stored.data.len());
            let mut data = stored.data[at..end].to_vec();
            let checksums = checksum::checksums(at as u64, &data);
            if self.fault() == Some(Fault::Lie) && (at..end).contains(&LIE_AT) {
                data[LIE_AT - at] ^= 1;
            }
            for flipped in self.flipped.lock().iter().filter(|flipped| (at..end).contains(flipped)) {
                data[flipped - at] ^= 1;
            }
            answers.push(Ok(v1::ReadResponse { replica: None, offset: at as u64, checksums, data: data.into() }));
            at = end;
        }
        if let Some(Fault::EndReadAfter(packets)) = self.fault() {
            answers.truncate(1 + packets);
            answers.push(Err(to_status(&Error::new(ErrorKind::Io, "the disk is gone"))));
        }
        Ok(answers)
    }
}

struct Service(Arc<FakeDatanode>);

#[async_trait::async_trait]
impl ChunkService for Service {
    type WriteStream = ReceiverStream<Result<v1::WriteResponse, Status>>;
    type ReadStream = BoxStream<'static, Result<v1::ReadResponse, Status>>;
    type ReadManyStream = BoxStream<'static, Result<v1::ReadManyResponse, Status>>;
    type WriteManyStream = BoxStream<'static, Result<v1::WriteManyResponse, Status>>;
    type TransferStream = BoxStream<'static, Result<v1::TransferResponse, Status>>;

    /// Nodes join pipelines of real datanodes alone: a writer goes on without.
    async fn transfer(
        &self,
        _: Request<Streaming<v1::TransferRequest>>,
    ) -> Result<Response<Self::TransferStream>, Status> {
        Err(to_status(&Error::new(ErrorKind::Unsupported, "this node copies nothing")))
    }

    async fn write(
        &self,
        request: Request<Streaming<v1::WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let (answers, receiver) = mpsc::channel(16);
        tokio::spawn(Arc::clone(&self.0).receive(request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        if self.0.fault() == Some(Fault::StallReads) {
            return std::future::pending().await;
        }
        if let Some(Fault::SlowReads(time)) = self.0.fault() {
            tokio::time::sleep(time).await;
        }
        let answers = self.0.serve(request.get_ref()).map_err(|error| to_status(&error))?;
        Ok(Response::new(futures::stream::iter(answers).boxed()))
    }

    /// Small reads go to real datanodes alone: a reader takes the long way.
    async fn read_many(
        &self,
        _: Request<Streaming<v1::ReadManyRequest>>,
    ) -> Result<Response<Self::ReadManyStream>, Status> {
        Err(to_status(&Error::new(ErrorKind::Unsupported, "this node answers one read at a time")))
    }

    async fn write_many(
        &self,
        request: Request<Streaming<v1::WriteManyRequest>>,
    ) -> Result<Response<Self::WriteManyStream>, Status> {
        let (node, mut requests) = (Arc::clone(&self.0), request.into_inner());
        let (answers, receive) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(Some(message)) = requests.message().await {
                for replica in message.replicas {
                    let (node, answers) = (Arc::clone(&node), answers.clone());
                    tokio::spawn(async move {
                        if let Some(answer) = node.whole(replica).await {
                            let message = v1::WriteManyResponse { answers: vec![answer] };
                            // The caller may be gone.
                            let _ = answers.send(Ok(message)).await;
                        }
                    });
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receive).boxed()))
    }

    async fn inspect(&self, request: Request<v1::InspectRequest>) -> Result<Response<v1::InspectResponse>, Status> {
        if self.0.fault() == Some(Fault::TellNothing) {
            return Err(Status::unavailable("not now"));
        }
        let replica = self.0.describe(ChunkId(request.get_ref().chunk)).map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::InspectResponse { replica: Some(convert::replica_to_wire(&replica)) }))
    }

    async fn recover(&self, request: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverResponse>, Status> {
        let (chunk, generation) = (ChunkId(request.get_ref().chunk), Generation(request.get_ref().generation));
        let replica = self.0.describe(chunk).map_err(|error| to_status(&error))?;
        if replica.generation >= generation {
            return Err(to_status(&Error::new(ErrorKind::Fenced, "a newer generation")));
        }
        // Fences the writer that was there.
        self.0.replicas.lock().get_mut(&chunk).expect("it was described").generation = generation;
        Ok(Response::new(v1::RecoverResponse { replica: Some(convert::replica_to_wire(&replica)) }))
    }

    async fn local_socket(
        &self,
        _: Request<v1::LocalSocketRequest>,
    ) -> Result<Response<v1::LocalSocketResponse>, Status> {
        Ok(Response::new(v1::LocalSocketResponse::default()))
    }

    async fn checksum(&self, request: Request<v1::ChecksumRequest>) -> Result<Response<v1::ChecksumResponse>, Status> {
        let stored = self.0.replica(ChunkId(request.get_ref().chunk)).ok_or_else(|| Status::not_found("none"))?;
        let length = usize::try_from(request.get_ref().length).expect("small");
        Ok(Response::new(v1::ChecksumResponse { crc32c: checksum::crc32c(&stored.data[..length]) }))
    }
}
