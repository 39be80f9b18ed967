//! One node's part of a write pipeline.
//!
//! Two loops of one task share a stream. The *intake* takes packets in, hands each to the next node at once, and puts it
//! into a queue; the *keeper* verifies and writes what is queued, gathers what the next node acknowledges, and
//! acknowledges a packet once both are done. So a packet travels on while the one before it is written, here and further down.
//!
//! Whatever ends a stream early leaves the replica as it is, being written, for recovery: a caller that is gone, a next node that
//! failed, a packet that was refused. What was queued is still written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use godfs_client::pipeline::{CREDITS, WriteAcks, WriteRequests, WriteStream};
use godfs_client::transport::Address;
use godfs_client::transport::convert::{self, WriteMode, WriteOpen, WritePacket};
use godfs_client::transport::messages::MessageStream;
use godfs_client::transport::status;
use godfs_core::chunk::{CreateReplica, ReopenReplica, ReplicaState, ReplicaWriter};
use godfs_core::{ChunkId, Error, ErrorKind, NodeId, Result};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::budget::{Credit, Share};
use super::shared::Shared;

/// The most packets of a stream that may be unacknowledged: twice what our own senders use.
pub(crate) const MAX_IN_FLIGHT: usize = 2 * CREDITS;

/// Answers of one stream to its caller.
pub(crate) type Replies = mpsc::Sender<Result<v1::WriteResponse, Status>>;

/// The packets of one stream.
pub(crate) type Packets = MessageStream<v1::WriteRequest, Body>;

/// Who is named in errors about what came in; where a caller is does not matter to it.
pub(crate) fn caller() -> Address {
    Address::parse("caller:0").expect("a valid address")
}

/// A channel for the answers of one stream: one setup and one for each packet in flight.
pub(crate) fn replies() -> (Replies, mpsc::Receiver<Result<v1::WriteResponse, Status>>) {
    mpsc::channel(MAX_IN_FLIGHT + 1)
}

/// Serves one stream to its end.
pub(crate) async fn receive(shared: Arc<Shared>, mut packets: Packets, replies: Replies) {
    let open = match first_message(&shared, &mut packets).await {
        Ok(open) => open,
        Err(error) => {
            // The caller may be gone already.
            let _ = replies.send(Err(status::to_status(&error))).await;
            return;
        }
    };
    let (open, forwarded) = open;
    let Some(mut stage) = set_up(&shared, &open, &replies).await else { return };
    if forwarded {
        // The node that a client speaks to is the one that readers ask first.
        stage.writer.drop_behind();
    }
    let (share, copy) = (stage.share, stage.copy);
    let (queue, queued) = mpsc::channel(MAX_IN_FLIGHT);
    let ended = CancellationToken::new();
    let in_flight = AtomicUsize::new(0);
    let (forward, acks) = stage.downstream.map(|stream| (stream.requests, stream.acks)).unzip();
    let intake = Intake { packets, forward, queue, share: &share, in_flight: &in_flight, ended: &ended, next: 1 };
    let keeper = Keeper {
        shared: &shared,
        node: open.node,
        rest: open.downstream.iter().map(|node| node.id).collect(),
        writer: Some(stage.writer),
        acks,
        replies,
        in_flight: &in_flight,
        ended: &ended,
        stored: VecDeque::new(),
        patience: shared.settings.transport.pipeline_stall(open.downstream.len().saturating_sub(1)),
        sync_patience: shared.settings.transport.pipeline_sync(open.downstream.len().saturating_sub(1)),
        progress: Instant::now(),
        below: 0,
        said: VecDeque::new(),
        below_ended: false,
        packets: 0,
    };
    let ((), finalized) = tokio::join!(intake.run(), keeper.run(queued));
    if copy.is_some() && !finalized {
        discard(&shared, &open).await;
    }
}

/// Removes what a stream began that nobody will go on with.
async fn discard(shared: &Shared, open: &WriteOpen) {
    if let Err(error) = shared.store.delete(open.chunk, open.generation).await {
        tracing::debug!(chunk = %open.chunk, %error, "an unfinished replica remains");
    }
}

/// What the stream is for, and whether another datanode sends it.
async fn first_message(shared: &Shared, packets: &mut Packets) -> Result<(WriteOpen, bool)> {
    let patience = Duration::from_millis(shared.settings.first_message_ms);
    let first = tokio::time::timeout(patience, packets.message())
        .await
        .map_err(|_| Error::new(ErrorKind::DeadlineExceeded, format!("no first message within {patience:?}")))??
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the stream ended before its first message"))?;
    let hello = first.open.as_ref().and_then(|open| open.hello.as_ref());
    shared.check_caller(hello, first.open.as_ref().map_or(0, |open| open.node))?;
    let forwarded = hello.is_some_and(|hello| hello.speaker() == v1::Speaker::Datanode);
    Ok((convert::write_open(&first)?, forwarded))
}

/// What stands once the pipeline does.
struct Stage {
    share: Share,
    writer: Box<dyn ReplicaWriter>,
    copy: Option<CopyClaim>,
    downstream: Option<WriteStream>,
}

/// This node's part of it.
struct Opened {
    share: Share,
    writer: Box<dyn ReplicaWriter>,
    copy: Option<CopyClaim>,
}

/// The right to copy a chunk to this node: one copy at a time, held until what is left of it is gone, so that the end of one
/// never removes another.
struct CopyClaim {
    shared: Arc<Shared>,
    chunk: ChunkId,
}

impl CopyClaim {
    fn take(shared: &Arc<Shared>, chunk: ChunkId) -> Result<Self> {
        if shared.incoming_copies.lock().insert(chunk) {
            return Ok(Self { shared: Arc::clone(shared), chunk });
        }
        let message = format!("a copy of chunk {chunk} to this node is under way");
        Err(Error::new(ErrorKind::AlreadyExists, message).with_retryable(true))
    }
}

impl Drop for CopyClaim {
    fn drop(&mut self) {
        self.shared.incoming_copies.lock().remove(&self.chunk);
    }
}

/// Opens the replica and the rest of the pipeline at once, and answers how it went.
async fn set_up(shared: &Arc<Shared>, open: &WriteOpen, replies: &Replies) -> Option<Stage> {
    let (mut own, downstream) = tokio::join!(open_replica(shared, open), open_downstream(shared, open));
    if let (WriteMode::Resume, Ok(opened), Ok(_)) = (open.mode, &mut own, &downstream) {
        // This node and all below hold so much: once the pipeline stands its writer counts it as acknowledged, and sends none of it again.
        opened.writer.publish(open.length);
    }
    let mut results = vec![convert::node_result_to_wire(open.node, &own.as_ref().map(drop).map_err(Error::duplicate))];
    let (downstream, reached) = match downstream {
        Ok(Some((stream, reached))) => (Ok(Some(stream)), reached),
        Ok(None) => (Ok(None), Vec::new()),
        Err(reached) => (Err(()), reached),
    };
    results.extend(reached);
    let gone = replies.send(Ok(v1::WriteResponse { sequence: 0, results })).await.is_err();
    match (own, downstream) {
        (Ok(Opened { share, writer, copy }), Ok(downstream)) if !gone => {
            Some(Stage { share, writer, copy, downstream })
        }
        (Ok(_opened), _) => {
            if open.mode != WriteMode::Resume {
                // Nothing was written, and the sender knows that this pipeline never stood.
                discard(shared, open).await;
            }
            None
        }
        (Err(error), _) => {
            tracing::debug!(chunk = %open.chunk, %error, "write refused");
            None
        }
    }
}

async fn open_replica(shared: &Arc<Shared>, open: &WriteOpen) -> Result<Opened> {
    let share = shared.open_stream()?;
    let copy = (open.mode == WriteMode::Copy).then(|| CopyClaim::take(shared, open.chunk)).transpose()?;
    let create =
        |state| CreateReplica { chunk: open.chunk, generation: open.generation, capacity: open.capacity, state };
    let writer = match open.mode {
        WriteMode::Create => shared.store.create_sized(create(ReplicaState::Rbw), open.expected).await?,
        WriteMode::Copy => shared.store.create_sized(create(ReplicaState::Temporary), open.expected).await?,
        WriteMode::Resume => {
            let reopen = ReopenReplica { chunk: open.chunk, generation: open.generation, length: open.length };
            shared.store.reopen(reopen).await?
        }
    };
    Ok(Opened { share, writer, copy })
}

/// Builds the rest of the pipeline. In the error, what is known of the nodes further down.
async fn open_downstream(
    shared: &Shared,
    open: &WriteOpen,
) -> Result<Option<(WriteStream, Vec<v1::NodeResult>)>, Vec<v1::NodeResult>> {
    let Some((next, rest)) = open.downstream.split_first() else { return Ok(None) };
    let message = WriteOpen { node: next.id, downstream: rest.to_vec(), ..open.clone() };
    let message = convert::write_open_to_wire(&message, shared.hello());
    let patience = shared.settings.transport.setup_timeout(rest.len());
    let stand = async {
        let mut stream = WriteStream::open(&shared.channels, &next.address, message).await?;
        match stream.acks.next().await? {
            Some(answer) if answer.sequence == 0 => Ok((stream, answer)),
            Some(answer) => Err(unexpected(next.id, &format!("acknowledged packet {} first", answer.sequence))),
            None => Err(unexpected(next.id, "ended the stream before it answered")),
        }
    };
    let stood = tokio::time::timeout(patience, stand).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("node {} at {} did not answer within {patience:?}", next.id, next.address),
        ))
    });
    let nodes: Vec<NodeId> = open.downstream.iter().map(|node| node.id).collect();
    match stood {
        Err(error) => Err(vec![convert::node_result_to_wire(next.id, &Err(error))]),
        Ok((stream, answer)) => match relay(&nodes, answer.results) {
            (results, true) => Ok(Some((stream, results))),
            (results, false) => Err(results),
        },
    }
}

/// What the nodes further down said, and whether all of them are well. Never more than there are nodes.
pub(super) fn relay(nodes: &[NodeId], mut results: Vec<v1::NodeResult>) -> (Vec<v1::NodeResult>, bool) {
    results.truncate(nodes.len());
    let named = results.iter().zip(nodes).take_while(|(result, node)| result.node == node.get()).count();
    if named < results.len() {
        results.truncate(named);
        let error = unexpected(nodes[0], "reported on a node that is not where it says");
        results.insert(0, convert::node_result_to_wire(nodes[0], &Err(error)));
        results.truncate(1);
    }
    let well = results.len() == nodes.len() && results.iter().all(|result| result.error.is_none());
    if !well && results.iter().all(|result| result.error.is_none()) {
        // The one after the last that was heard of is the one that failed.
        let silent = nodes[results.len()];
        let error = Error::new(ErrorKind::Unavailable, format!("node {silent} was not reached"));
        results.push(convert::node_result_to_wire(silent, &Err(error)));
    }
    (results, well)
}

fn unexpected(node: NodeId, what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("node {node} {what}"))
}

/// What the intake hands to the keeper.
enum Queued {
    Packet(WritePacket, Arrival),
    /// A packet that was refused: the last of the stream.
    Refused(u64, Error),
}

/// When a packet came, and what it holds meanwhile.
struct Arrival {
    at: Instant,
    /// When it was handed to the next node.
    sent: Instant,
    _credit: Credit,
}

/// Takes packets in, hands them on, and queues them.
struct Intake<'a> {
    packets: Packets,
    forward: Option<WriteRequests>,
    queue: mpsc::Sender<Queued>,
    share: &'a Share,
    in_flight: &'a AtomicUsize,
    /// The keeper takes no more.
    ended: &'a CancellationToken,
    /// The sequence that is due.
    next: u64,
}

impl Intake<'_> {
    async fn run(mut self) {
        let ended = self.ended;
        let share = self.share;
        // Stopping between any two steps is safe: what was not queued was not acknowledged.
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            () = share.lost() => {
                // The keeper has gone when this fails, and with it the need to tell it.
                let _ = self.queue.send(Queued::Refused(self.next, Share::lost_error())).await;
            }
            () = self.take_all() => {}
        }
        // Dropping the queue tells the keeper that nothing follows, dropping `forward` the next node.
    }

    async fn take_all(&mut self) {
        loop {
            match self.packets.message().await {
                Ok(Some(message)) => match self.take(message).await {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err((sequence, error)) => {
                        // The keeper has gone when this fails, and with it the need to tell it.
                        let _ = self.queue.send(Queued::Refused(sequence, error)).await;
                        return;
                    }
                },
                Ok(None) => return,
                Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                    let _ = self.queue.send(Queued::Refused(self.next, error)).await;
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "the writer is gone");
                    return;
                }
            }
        }
        if let Some(forward) = &mut self.forward {
            forward.finish();
        }
        // The caller's own end, so that its connection can be used again. The keeper ends this wait when all is done.
        let _ = self.packets.message().await;
    }

    /// One packet; whether it was the last.
    async fn take(&mut self, message: v1::WriteRequest) -> Result<bool, (u64, Error)> {
        let at = Instant::now();
        let expected = self.next;
        let refuse = |error| (expected, error);
        let copy = self.forward.is_some().then(|| message.clone());
        let packet = convert::write_packet(message).map_err(refuse)?;
        if packet.sequence != expected {
            let message = format!("packet {} where {expected} was due", packet.sequence);
            return Err(refuse(Error::new(ErrorKind::InvalidArgument, message)));
        }
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= MAX_IN_FLIGHT {
            let message = format!("more than {MAX_IN_FLIGHT} packets without an acknowledgement");
            return Err(refuse(Error::new(ErrorKind::LimitExceeded, message)));
        }
        self.next += 1;
        let last = packet.last;
        let credit = self.share.take(packet.packet.data.len()).await;
        let arrival = Arrival { at, sent: Instant::now(), _credit: credit };
        if let (Some(forward), Some(copy)) = (&mut self.forward, copy)
            && forward.send(copy).await.is_err()
        {
            // The keeper learns from the acknowledgements why; what came in is still written.
            self.forward = None;
        }
        // Never waits: the queue has room for all that may be in flight.
        let _ = self.queue.send(Queued::Packet(packet, arrival)).await;
        Ok(last)
    }
}

/// Verifies, writes and acknowledges.
struct Keeper<'a> {
    shared: &'a Shared,
    node: NodeId,
    /// The nodes further down.
    rest: Vec<NodeId>,
    /// `None` once the replica is finalized.
    writer: Option<Box<dyn ReplicaWriter>>,
    /// `None` for the last node.
    acks: Option<WriteAcks>,
    replies: Replies,
    in_flight: &'a AtomicUsize,
    ended: &'a CancellationToken,
    /// Written here, not acknowledged by the next node.
    stored: VecDeque<Stored>,
    /// How long the next node may acknowledge nothing, and how long while it waits for a disk.
    patience: Duration,
    sync_patience: Duration,
    progress: Instant,
    /// The last packet that the next node has acknowledged.
    below: u64,
    /// What it said, of packets that are not acknowledged here.
    said: VecDeque<Below>,
    /// The next node has ended the stream, and nothing follows.
    below_ended: bool,
    /// Packets written so far.
    packets: u64,
}

/// A packet that is written here.
struct Stored {
    sequence: u64,
    /// Where it ends in the chunk.
    end: u64,
    sync: bool,
    last: bool,
    arrival: Arrival,
    /// From its coming in until it was written.
    own: Duration,
}

/// An acknowledgement of the next node.
struct Below {
    sequence: u64,
    at: Instant,
    results: Vec<v1::NodeResult>,
}

/// The answer that ends a stream which went wrong.
struct Failed {
    sequence: u64,
    results: Vec<v1::NodeResult>,
}

/// What the keeper waits for.
enum Event {
    Queued(Option<Queued>),
    Acknowledged(Result<Option<v1::WriteResponse>>),
    Stalled,
}

impl Keeper<'_> {
    /// Whether the replica was finalized.
    async fn run(mut self, mut queue: mpsc::Receiver<Queued>) -> bool {
        let outcome = self.keep(&mut queue).await;
        self.ended.cancel();
        let well = outcome.is_ok();
        if let Err(Failed { sequence, results }) = outcome {
            // A caller that is gone needs no answer.
            let _ = self.replies.send(Ok(v1::WriteResponse { sequence, results })).await;
        }
        let Self { writer, replies, acks, .. } = self;
        // The caller learns of the end now, before what is left is done.
        drop(replies);
        if let (true, Some(mut acks)) = (well, acks) {
            // The end in good order, so that the connection can be used again.
            let _ = tokio::time::timeout(self.patience, acks.next()).await;
        }
        let Some(mut writer) = writer else { return well };
        queue.close();
        while let Some(Queued::Packet(packet, _arrival)) = queue.recv().await {
            if writer.append(packet.packet).await.is_err() {
                break;
            }
        }
        false
    }

    /// Until the last packet is acknowledged, or the caller is gone.
    async fn keep(&mut self, queue: &mut mpsc::Receiver<Queued>) -> Result<(), Failed> {
        let mut more = true;
        while more || !self.stored.is_empty() {
            match self.next_event(queue, more).await {
                Event::Queued(Some(Queued::Packet(packet, arrival))) => self.store(packet, arrival).await?,
                Event::Queued(Some(Queued::Refused(sequence, error))) => return Err(self.failed_here(sequence, &error)),
                Event::Queued(None) => more = false,
                Event::Acknowledged(answer) => self.heard(answer)?,
                Event::Stalled => {
                    let message = format!("has acknowledged nothing for {:?}", self.patience());
                    return Err(self.failed_below(unexpected(self.rest[0], &message)));
                }
            }
            self.check_below()?;
            if self.acknowledge().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A next node that has ended the stream must have acknowledged all there is. It may well be done before this one has written
    /// the last packet.
    fn check_below(&self) -> Result<(), Failed> {
        if self.below_ended && self.stored.iter().any(|packet| packet.sequence > self.below) {
            let error = unexpected(self.rest[0], "ended the stream before it acknowledged everything");
            return Err(self.failed_below(error));
        }
        Ok(())
    }

    async fn next_event(&mut self, queue: &mut mpsc::Receiver<Queued>, more: bool) -> Event {
        let waits = !self.stored.is_empty();
        let deadline = self.progress + self.patience();
        let mut acks = self.acks.as_mut().filter(|_| !self.below_ended);
        let heard = async {
            match &mut acks {
                Some(acks) => acks.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // All arms are cancel-safe: a channel, a message stream that keeps what it has, a timer.
            biased;
            answer = heard => Event::Acknowledged(answer),
            queued = queue.recv(), if more => Event::Queued(queued),
            () = tokio::time::sleep_until(deadline), if waits => Event::Stalled,
        }
    }

    fn patience(&self) -> Duration {
        let waits_for_disk = self.stored.iter().any(|packet| packet.sync || packet.last);
        if waits_for_disk { self.sync_patience } else { self.patience }
    }

    /// Verifies and writes one packet.
    async fn store(&mut self, packet: WritePacket, arrival: Arrival) -> Result<(), Failed> {
        let WritePacket { sequence, packet, sync, last } = packet;
        let Some(writer) = &mut self.writer else {
            let error = Error::new(ErrorKind::InvalidArgument, format!("packet {sequence} follows the last"));
            return Err(self.failed_here(sequence, &error));
        };
        let end = packet.offset.saturating_add(packet.data.len() as u64);
        // The last node syncs as it finalizes. The others must not finalize before those behind them have, and use the
        // time to sync what is more than a little.
        let ahead = last && !self.rest.is_empty() && self.packets > 0;
        let outcome = async {
            if packet.data.is_empty() {
                let length = writer.replica().length;
                if packet.offset != length {
                    let message = format!("an empty packet at {}, the replica has {length} bytes", packet.offset);
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
            } else {
                writer.append(packet).await?;
            }
            if sync && (!last || ahead) {
                writer.sync().await?;
            }
            Ok(())
        };
        if let Err(error) = outcome.await {
            return Err(self.failed_here(sequence, &error));
        }
        self.packets += 1;
        if self.stored.is_empty() {
            self.progress = Instant::now();
        }
        let own = arrival.at.elapsed();
        self.stored.push_back(Stored { sequence, end, sync, last, arrival, own });
        Ok(())
    }

    /// Takes in what the next node says.
    fn heard(&mut self, answer: Result<Option<v1::WriteResponse>>) -> Result<(), Failed> {
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                self.below_ended = true;
                return Ok(());
            }
            Err(error) => return Err(self.failed_below(error)),
        };
        let (results, well) = relay(&self.rest, answer.results);
        if !well {
            let results = self.ok_here().chain(results).collect();
            return Err(Failed { sequence: answer.sequence, results });
        }
        if answer.sequence != self.below + 1 {
            let message = format!("acknowledged packet {} where {} was due", answer.sequence, self.below + 1);
            return Err(self.failed_below(unexpected(self.rest[0], &message)));
        }
        if self.said.len() >= MAX_IN_FLIGHT {
            return Err(self.failed_below(unexpected(self.rest[0], "acknowledged more than it was sent")));
        }
        self.below = answer.sequence;
        self.progress = Instant::now();
        self.said.push_back(Below { sequence: answer.sequence, at: self.progress, results });
        Ok(())
    }

    /// Acknowledges what is written here and acknowledged below; whether that was all.
    async fn acknowledge(&mut self) -> Result<bool, Failed> {
        while let Some(mut packet) =
            self.stored.pop_front_if(|packet| self.rest.is_empty() || packet.sequence <= self.below)
        {
            if packet.last {
                let Some(writer) = self.writer.take() else { return Ok(true) };
                let begin = Instant::now();
                match writer.finalize(packet.sync).await {
                    Ok(replica) => self.shared.finalized(replica),
                    Err(error) => return Err(self.failed_here(packet.sequence, &error)),
                }
                packet.own += begin.elapsed();
            } else if let Some(writer) = &mut self.writer {
                writer.publish(packet.end);
            }
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            let results = self.results(&packet);
            let answer = v1::WriteResponse { sequence: packet.sequence, results };
            if self.replies.send(Ok(answer)).await.is_err() {
                tracing::debug!(node = %self.node, "the writer reads no more acknowledgements");
            }
            if packet.last {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What every node from here on did with a packet, and how long that took; what the next one took is noted.
    fn results(&mut self, packet: &Stored) -> Vec<v1::NodeResult> {
        let mut results: Vec<_> = self.ok_here().collect();
        results[0].own_us = convert::micros_to_wire(packet.own);
        results[0].total_us = convert::micros_to_wire(packet.arrival.at.elapsed());
        let Some(mut below) = self.said.pop_front_if(|below| below.sequence == packet.sequence) else { return results };
        if let (Some(next), Some(&node)) = (below.results.first_mut(), self.rest.first()) {
            let took = convert::micros_to_wire(below.at.saturating_duration_since(packet.arrival.sent));
            next.link_us = took.saturating_sub(next.total_us);
            let micros = u64::from(next.own_us) + u64::from(next.link_us);
            let now = self.shared.env.clock.monotonic();
            self.shared.peers.took(now, node, micros, packet.sync || packet.last);
        }
        results.append(&mut below.results);
        results
    }

    fn ok_here(&self) -> impl Iterator<Item = v1::NodeResult> + use<> {
        std::iter::once(convert::node_result_to_wire(self.node, &Ok(())))
    }

    fn failed_here(&self, sequence: u64, error: &Error) -> Failed {
        tracing::debug!(node = %self.node, sequence, %error, "write failed");
        Failed { sequence, results: vec![convert::node_result_to_wire(self.node, &Err(error.duplicate()))] }
    }

    fn failed_below(&self, error: Error) -> Failed {
        tracing::debug!(node = %self.node, next = %self.rest[0], sequence = self.below + 1, %error, "the next node failed");
        let failed = convert::node_result_to_wire(self.rest[0], &Err(error));
        Failed { sequence: self.below + 1, results: self.ok_here().chain([failed]).collect() }
    }
}
