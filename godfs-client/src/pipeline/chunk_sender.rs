//! Sends one chunk through a pipeline and says which node failed.

use std::collections::VecDeque;

use godfs_core::chunk::Packet;
use godfs_core::{ChunkId, Error, ErrorKind, Generation, NodeId};
use godfs_proto::v1;
use tokio::time::{Duration, Instant, timeout_at};

use super::CREDITS;
use super::laggard::Laggard;
use super::write_stream::WriteStream;
use crate::transport::convert::{self, Node, WriteMode, WriteOpen, WritePacket};
use crate::transport::hello::Identity;
use crate::transport::{Channels, TransportSettings};

/// What a pipeline is built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineSetup {
    /// The chunk.
    pub chunk: ChunkId,
    /// The generation it is written under.
    pub generation: Generation,
    /// How the replicas are opened.
    pub mode: WriteMode,
    /// The most bytes the chunk will hold.
    pub capacity: u64,
    /// Where to go on, for [`WriteMode::Resume`]; else 0.
    pub length: u64,
    /// Bytes that the replicas are expected to end with, for [`WriteMode::Create`] and [`WriteMode::Copy`]; 0 when that is not known.
    pub expected: u64,
    /// The nodes, in order; at least one.
    pub nodes: Vec<Node>,
}

/// A pipeline that broke: the nodes to leave out of the next one, and why.
#[derive(Debug)]
pub struct PipelineFailure {
    /// The nodes at fault; at least one.
    pub nodes: Vec<NodeId>,
    /// What happened there.
    pub error: Error,
}

/// What a packet asks of the nodes besides storing its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// Nothing more.
    Data,
    /// Acknowledge once every byte so far is on the disk.
    Sync,
    /// The last one: finalize the replica.
    Last {
        /// Durably.
        sync: bool,
    },
}

/// Sends packets of one chunk, at most [`CREDITS`] unacknowledged.
///
/// Not a task: its owner calls [`send`](Self::send) while [`has_credit`](Self::has_credit), and [`ack`](Self::ack) in between. Dropping it ends
/// the conversation; the replicas stay as they are.
#[derive(Debug)]
pub struct ChunkSender {
    nodes: Vec<NodeId>,
    stream: WriteStream,
    /// The sequence that the next packet gets.
    next: u64,
    /// Packets without an acknowledgement, the oldest first.
    in_flight: VecDeque<InFlight>,
    /// When something was last heard, or had to be expected.
    progress: Instant,
    stall: Duration,
    sync_stall: Duration,
    laggard: Laggard,
    /// The node to go on without, and why: told with the next acknowledgement that is asked for.
    too_slow: Option<PipelineFailure>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    sequence: u64,
    /// Whether its acknowledgement waits for a disk.
    waits_for_disk: bool,
}

impl ChunkSender {
    /// Builds the pipeline and waits until every node stands.
    ///
    /// # Errors
    /// The node that failed, and why: the first one when it can't be reached, else the first that reports an error.
    ///
    /// # Panics
    /// When `setup` names no node.
    pub async fn open(
        channels: &Channels,
        identity: &Identity,
        setup: &PipelineSetup,
    ) -> Result<Self, PipelineFailure> {
        let first = setup.nodes.first().expect("a pipeline has at least one node");
        let nodes: Vec<NodeId> = setup.nodes.iter().map(|node| node.id).collect();
        let open = WriteOpen {
            chunk: setup.chunk,
            generation: setup.generation,
            mode: setup.mode,
            capacity: setup.capacity,
            length: setup.length,
            expected: setup.expected,
            node: first.id,
            downstream: setup.nodes[1..].to_vec(),
        };
        let open = convert::write_open_to_wire(&open, identity.hello());
        let settings = channels.settings();
        let deadline = settings.setup_timeout(nodes.len() - 1);
        let stand = async {
            let mut stream =
                WriteStream::open(channels, &first.address, open).await.map_err(|error| blame(first.id, error))?;
            let answer = next_answer(&mut stream, first.id).await?;
            judge(&nodes, &answer, 0)?;
            Ok(stream)
        };
        let stream = tokio::time::timeout(deadline, stand).await.unwrap_or_else(|_| {
            Err(blame(
                first.id,
                Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "the pipeline through node {} at {} did not stand within {deadline:?}",
                        first.id, first.address
                    ),
                ),
            ))
        })?;
        Ok(Self::new(nodes, stream, settings))
    }

    fn new(nodes: Vec<NodeId>, stream: WriteStream, settings: &TransportSettings) -> Self {
        let stall = settings.pipeline_stall(nodes.len() - 1);
        let sync_stall = settings.pipeline_sync(nodes.len() - 1);
        let laggard = Laggard::new(nodes.len(), settings.slow_timeout);
        Self {
            laggard,
            too_slow: None,
            nodes,
            stream,
            next: 1,
            in_flight: VecDeque::with_capacity(CREDITS),
            progress: Instant::now(),
            stall,
            sync_stall,
        }
    }

    /// The nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// Whether a packet may be sent now.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        self.in_flight.len() < CREDITS
    }

    /// Packets that wait for their acknowledgement.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Sends one packet and returns its sequence. Does not wait.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] without a credit, blaming nobody. When the pipeline is broken the packet is dropped without an
    /// error: [`ack`](Self::ack) knows better what happened.
    pub fn send(&mut self, packet: Packet, kind: PacketKind) -> Result<u64, Error> {
        if !self.has_credit() {
            return Err(Error::new(ErrorKind::LimitExceeded, format!("{CREDITS} packets are in flight")));
        }
        let sequence = self.next;
        let (sync, last) = match kind {
            PacketKind::Data => (false, false),
            PacketKind::Sync => (true, false),
            PacketKind::Last { sync } => (sync, true),
        };
        if self.in_flight.is_empty() {
            self.progress = Instant::now();
        }
        self.next += 1;
        self.in_flight.push_back(InFlight { sequence, waits_for_disk: sync || last });
        let message = convert::write_packet_to_wire(WritePacket { sequence, packet, sync, last });
        if let Err(error) = self.stream.requests.send_now(message) {
            tracing::debug!(%error, "packet dropped");
        }
        if last {
            self.stream.requests.finish();
        }
        Ok(sequence)
    }

    /// Waits until every node has acknowledged the oldest packet in flight, and returns its sequence. Cancel-safe.
    ///
    /// # Errors
    /// The node that failed, and why. Too long without any acknowledgement counts as the fault of the first node: the
    /// others are watched, with less patience, by the nodes before them. A node that holds the writer to its own speed for
    /// [`TransportSettings::slow_timeout`] counts as failed.
    pub async fn ack(&mut self) -> Result<u64, PipelineFailure> {
        if let Some(failure) = self.too_slow.take() {
            return Err(failure);
        }
        let first = self.nodes[0];
        let patience = match self.in_flight.iter().any(|packet| packet.waits_for_disk) {
            true => self.sync_stall,
            false => self.stall,
        };
        let answer =
            timeout_at(self.progress + patience, next_answer(&mut self.stream, first)).await.map_err(|_| {
                blame(
                    first,
                    Error::new(
                        ErrorKind::Unavailable,
                        format!("node {first} has acknowledged nothing for {patience:?}"),
                    ),
                )
            })??;
        let Some(expected) = self.in_flight.front().copied() else {
            return Err(blame(first, Error::new(ErrorKind::Internal, format!("node {first} acknowledged too much"))));
        };
        judge(&self.nodes, &answer, expected.sequence)?;
        self.in_flight.pop_front();
        self.progress = Instant::now();
        self.judge_speed(&answer);
        Ok(expected.sequence)
    }

    /// As [`ack`](Self::ack) where something is in flight; else waits for as long as the pipeline stands, and fails when it does not any more. `due` says
    /// which is meant. Cancel-safe.
    ///
    /// # Errors
    /// As for [`ack`](Self::ack).
    pub async fn next(&mut self, due: bool) -> Result<u64, PipelineFailure> {
        if due {
            return self.ack().await;
        }
        let first = self.nodes[0];
        let answer = next_answer(&mut self.stream, first).await?;
        judge(&self.nodes, &answer, 0)?;
        Err(blame(first, Error::new(ErrorKind::Internal, format!("node {first} acknowledged too much"))))
    }

    /// Notes a node that is far slower than the others. Not while the end is on its way: it is nearly there.
    fn judge_speed(&mut self, answer: &v1::WriteResponse) {
        let micros = |micros: u32| Duration::from_micros(micros.into());
        // The way to the first node counts for nobody: it may well be this side's network that is slow.
        let took: Vec<_> =
            answer.results.iter().map(|result| micros(result.own_us.saturating_add(result.link_us))).collect();
        let Some((at, own, others)) = self.laggard.acked(self.progress, &took) else { return };
        if self.stream.requests.is_finished() {
            return;
        }
        let node = self.nodes[at];
        let message = format!("node {node} is too slow: a packet takes it {own:?}, and no other more than {others:?}");
        self.too_slow = Some(blame(node, Error::new(ErrorKind::Unavailable, message)));
    }

    /// Ends the conversation after the last acknowledgement, so that the connection can be used again. Best effort.
    pub async fn finish(mut self) {
        self.stream.requests.finish();
        // An end in good order comes at once; without it the connection is closed.
        let _ = timeout_at(Instant::now() + self.stall, self.stream.acks.next()).await;
    }
}

async fn next_answer(stream: &mut WriteStream, first: NodeId) -> Result<v1::WriteResponse, PipelineFailure> {
    match stream.acks.next().await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(blame(
            first,
            Error::new(
                ErrorKind::Unavailable,
                format!("node {first} ended the stream before it acknowledged everything"),
            ),
        )),
        Err(error) => Err(blame(first, error)),
    }
}

/// Checks one answer: it must be the one expected, and every node must have done its part.
pub(super) fn judge(nodes: &[NodeId], answer: &v1::WriteResponse, sequence: u64) -> Result<(), PipelineFailure> {
    let first = nodes[0];
    let garbled = |what: String| blame(first, Error::new(ErrorKind::Internal, format!("node {first}: {what}")));
    if answer.results.len() > nodes.len() {
        return Err(garbled(format!("{} results of {} nodes", answer.results.len(), nodes.len())));
    }
    for (&node, wire) in nodes.iter().zip(&answer.results) {
        let (id, result) = convert::node_result(wire).map_err(|error| garbled(error.message().to_owned()))?;
        if id != node {
            return Err(garbled(format!("a result of node {id} where that of node {node} belongs")));
        }
        // Those behind it may be reported too, but only because of it.
        result.map_err(|error| blame(node, error))?;
    }
    if answer.sequence != sequence {
        return Err(garbled(format!("acknowledged packet {} where {sequence} was due", answer.sequence)));
    }
    match nodes.get(answer.results.len()) {
        Some(&silent) => Err(blame(
            silent,
            Error::new(ErrorKind::Unavailable, format!("node {silent} was not reached by those before it")),
        )),
        None => Ok(()),
    }
}

fn blame(node: NodeId, error: Error) -> PipelineFailure {
    PipelineFailure { nodes: vec![node], error }
}
