//! One chunk being written: its pipeline, and the packets that not every node has yet.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use godfs_core::chunk::{Packet, Replica, ReplicaState};
use godfs_core::{ChunkId, Error, ErrorKind, Generation, NodeId, Result, checksum};
use godfs_proto::v1;
use tokio::time::{Duration, Instant, timeout};

use super::joining::{ATTEMPTS, Begin, Failed, Fault, Joining, Near};
use super::open_file::{OpenFile, Placed};
use crate::namenode::Backoff;
use crate::pipeline::{ChunkSender, PacketKind, PipelineFailure, PipelineSetup};
use crate::transport::convert::{self, ChunkCommit, Node, WriteMode};
use crate::transport::status::from_status;

/// Nodes that are asked at once what they hold.
const RECOVERIES_AT_ONCE: usize = 16;
/// How long the end of a conversation may take after its last acknowledgement, before its connection is closed instead.
const FAREWELL: Duration = Duration::from_millis(200);
/// The most nodes that are remembered as having failed this writer.
const MAX_EXCLUDED: usize = 64;

/// Why a chunk that was opened has a sender.
const STANDS: &str = "a pipeline stood before the chunk was handed out";

/// What a writer keeps from chunk to chunk.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Chunks that are finished and were not reported yet.
    pub(super) commits: Vec<ChunkCommit>,
    /// Nodes that failed this writer.
    excluded: VecDeque<Excluded>,
}

#[derive(Clone, Copy, Debug)]
struct Excluded {
    node: NodeId,
    since: Instant,
    /// Its disks are full: nothing is gained by trying it again soon.
    full: bool,
}

impl Book {
    pub(super) fn exclude(&mut self, failure: &PipelineFailure) {
        for &node in &failure.nodes {
            self.excluded.retain(|known| known.node != node);
            let full = failure.error.kind() == ErrorKind::StorageFull;
            self.excluded.push_back(Excluded { node, since: Instant::now(), full });
        }
        while self.excluded.len() > MAX_EXCLUDED {
            self.excluded.pop_front();
        }
    }

    /// Those that failed not long ago; and of these, those that were full.
    fn excluded(&mut self, for_how_long: Duration) -> (Vec<NodeId>, Vec<NodeId>) {
        let now = Instant::now();
        self.excluded.retain(|known| now.duration_since(known.since) < for_how_long);
        let full = self.excluded.iter().filter(|known| known.full).map(|known| known.node).collect();
        (self.excluded.iter().map(|known| known.node).collect(), full)
    }
}

/// What happened to a chunk.
pub(super) enum Event {
    /// Every node has acknowledged the oldest packet, or one has failed.
    Ack(Result<(), PipelineFailure>),
    /// The pipeline broke while nothing was under way.
    Broke(PipelineFailure),
    /// A node that is to join has all but the newest bytes, or there is none.
    Near(Box<Result<Near, Failed>>),
}

/// One chunk being written.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    file: Arc<OpenFile>,
    chunk: ChunkId,
    generation: Generation,
    nodes: Vec<Node>,
    /// Where it begins in the file.
    start: u64,
    /// The bytes it will end with, 0 when nobody knew as it was opened.
    expected: u64,
    /// Bytes handed to the pipeline.
    sent: u64,
    /// Bytes that every node of the pipeline has acknowledged.
    acked: u64,
    /// Whether the last packet was handed to the pipeline.
    sealed: bool,
    /// Whether bytes of it are promised to be on disks: whoever joins has to sync them, too.
    synced: bool,
    /// Packets without an acknowledgement, the oldest first: what is sent again when the pipeline breaks.
    unacked: VecDeque<(Packet, PacketKind)>,
    /// `None` only until the first pipeline stands.
    sender: Option<ChunkSender>,
    /// How many nodes it was to have.
    wanted: usize,
    /// The node that is to take the place of one that failed.
    joining: Option<Joining>,
    /// How many more may be tried before one has joined, or another has failed.
    joins_left: u32,
    /// The pipeline broke while nothing was under way, and could not be built again: that waits for the next packet.
    given_up: bool,
}

impl ChunkWriter {
    /// Has the next chunk of `file` placed, unless it was, and builds its pipeline, on other nodes when some fail. `expected`: the bytes it will end
    /// with, 0 when nobody knows.
    pub(super) async fn open(
        file: &Arc<OpenFile>,
        (start, expected): (u64, u64),
        placed: Option<Placed>,
        book: &mut Book,
    ) -> Result<Self> {
        let (Placed { chunk, generation, nodes }, sender) = place(file, (start, expected), placed, book).await?;
        Ok(Self {
            file: Arc::clone(file),
            chunk,
            generation,
            wanted: nodes.len(),
            nodes,
            start,
            expected,
            sent: 0,
            acked: 0,
            sealed: false,
            synced: false,
            unacked: VecDeque::new(),
            sender: Some(sender),
            joining: None,
            joins_left: ATTEMPTS,
            given_up: false,
        })
    }

    /// Opens the last chunk of a file that is written on: it holds the bytes from `start` to the file's end.
    pub(super) async fn reopen(file: &Arc<OpenFile>, start: u64, book: &mut Book) -> Result<Self> {
        let Placed { chunk, generation, nodes } = file.reopen_chunk().await?;
        let length = file.begin - start;
        let mut writer = Self {
            file: Arc::clone(file),
            chunk,
            generation,
            wanted: nodes.len(),
            nodes,
            start,
            expected: 0,
            sent: length,
            acked: length,
            sealed: false,
            synced: true,
            unacked: VecDeque::new(),
            sender: None,
            joining: None,
            joins_left: ATTEMPTS,
            given_up: false,
        };
        // All of them hold the same bytes, finalized: none needs to be asked first.
        match writer.build(generation, length).await? {
            Ok(()) => {}
            Err(failure) => writer.recover(failure, book).await?,
        }
        Ok(writer)
    }

    /// Where it begins in the file.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Packets without an acknowledgement.
    pub(super) fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Whether some byte is on every node of the pipeline: then the chunk can't be taken back any more.
    pub(super) fn is_rooted(&self) -> bool {
        self.acked > 0
    }

    /// Whether every byte and the end of the chunk are acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.sealed && self.unacked.is_empty()
    }

    /// Sends the bytes that follow; needs a credit.
    pub(super) fn send(&mut self, packet: Packet, kind: PacketKind) -> Result<()> {
        self.sent = packet.offset + packet.data.len() as u64;
        self.sealed |= matches!(kind, PacketKind::Last { .. });
        self.synced |= kind == PacketKind::Sync;
        if self.sealed {
            // The namenode has it copied, whole.
            self.joining = None;
        }
        self.unacked.push_back((packet.clone(), kind));
        self.sender().send(packet, kind).map(drop)
    }

    /// Sends a packet without bytes, for what it asks; needs a credit.
    pub(super) fn send_mark(&mut self, kind: PacketKind) -> Result<()> {
        self.send(mark(self.sent), kind)
    }

    /// Waits for the next acknowledgement. Cancel-safe.
    pub(super) async fn ack(&mut self) -> Result<(), PipelineFailure> {
        self.sender().ack().await?;
        self.take_ack();
        Ok(())
    }

    /// What happens next: an acknowledgement, if one is due, or that a node that is to join has all but the newest bytes, or can't be had. Never,
    /// when there is nothing to wait for. Cancel-safe.
    pub(super) async fn event(&mut self) -> Event {
        async fn near(joining: &mut Option<Joining>) -> Result<Near, Failed> {
            match joining {
                Some(joining) => joining.near().await,
                None => std::future::pending().await,
            }
        }
        let due = !self.unacked.is_empty();
        let watched = !due && !self.given_up;
        let sender = self.sender.as_mut().expect(STANDS);
        let event = tokio::select! {
            // All are cancel-safe. A writer that pauses for long must not find all nodes of its pipeline gone, one after another.
            biased;
            outcome = sender.next(due), if due || watched => match outcome {
                Ok(_) => Event::Ack(Ok(())),
                Err(failure) if due => Event::Ack(Err(failure)),
                Err(failure) => Event::Broke(failure),
            },
            near = near(&mut self.joining) => Event::Near(Box::new(near)),
        };
        match &event {
            Event::Ack(Ok(())) => self.take_ack(),
            Event::Ack(Err(_)) | Event::Broke(_) => {}
            Event::Near(_) => self.joining = None,
        }
        event
    }

    fn take_ack(&mut self) {
        if let Some((packet, _)) = self.unacked.pop_front() {
            self.acked = self.acked.max(end_of(&packet));
        }
    }

    /// Ends the conversation of a chunk that [is done](Self::is_done), and says what to report.
    pub(super) async fn finish(self) -> ChunkCommit {
        let sender = self.sender.expect(STANDS);
        let nodes = sender.nodes().to_vec();
        // Only to keep the connection for the next chunk.
        let _ = timeout(FAREWELL, sender.finish()).await;
        ChunkCommit { chunk: self.chunk, generation: self.generation, length: self.acked, nodes }
    }

    /// Goes on after the pipeline broke: with the nodes that are left, or elsewhere while no byte was acknowledged. When none is left
    /// it waits for those of the last pipeline that stood: a node that restarts has its replica, perhaps at another address.
    /// Afterwards every packet without an acknowledgement has been sent again.
    pub(super) async fn recover(&mut self, failure: PipelineFailure, book: &mut Book) -> Result<()> {
        let namenode = self.file.namenode.clone();
        let patience = namenode.settings().recovery_timeout;
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::new(namenode.env());
        // All of them hold what was acknowledged.
        let stood = self.nodes.clone();
        let mut failure = failure;
        // It was made for the pipeline that broke.
        self.joining = None;
        // Nodes that have answered that they don't have the bytes.
        let mut without = HashSet::new();
        loop {
            tracing::warn!(chunk = %self.chunk, nodes = ?failure.nodes, error = %failure.error, "pipeline broke");
            book.exclude(&failure);
            if !self.is_rooted() {
                return self.replace(book).await;
            }
            self.nodes.retain(|node| !failure.nodes.contains(&node.id));
            if self.nodes.is_empty() {
                let hopeless = stood.iter().all(|node| without.contains(&node.id));
                if hopeless || Instant::now() >= deadline {
                    let message = format!(
                        "chunk {} of {}: no datanode of its pipeline is left, and its first {} bytes are nowhere else",
                        self.chunk, self.file.path, self.acked
                    );
                    return Err(Error::new(failure.error.kind(), message).with_source(failure.error));
                }
                tokio::time::sleep(backoff.pause()).await;
                self.nodes = self.file.present(self.chunk, self.start, &stood).await?;
            } else if Instant::now() >= deadline {
                return Err(failure.error.context(format_args!("pipeline not recovered within {patience:?}")));
            }
            // The number may be used only once it is issued. A writer whose lease was taken learns it here.
            let generation = self.file.issue_generation(self.chunk).await?;
            match self.resume(generation, &mut without).await? {
                Ok(()) => {
                    self.joins_left = ATTEMPTS;
                    self.seek(book);
                    return Ok(());
                }
                Err(next) => failure = next,
            }
        }
    }

    /// Goes on after the pipeline broke while nothing was under way. Where that fails nobody is told: it is tried again with the next packet, when nodes may be
    /// back that are not now.
    pub(super) async fn recover_idle(&mut self, failure: PipelineFailure, book: &mut Book) {
        if failure.error.kind() == ErrorKind::LimitExceeded {
            // A node with more streams than it can serve has taken the place of one that is not used: it is asked for another when that is needed.
            self.given_up = true;
            return;
        }
        let nodes = self.nodes.clone();
        if let Err(error) = self.recover(failure, book).await {
            tracing::warn!(chunk = %self.chunk, %error, "a pipeline in which nothing is under way is not built again yet");
            (self.nodes, self.given_up) = (nodes, true);
        }
    }

    /// Has another node found for one that failed, if that is wanted and pays still.
    fn seek(&mut self, book: &mut Book) {
        let namenode = &self.file.namenode;
        let when = self.file.options.replace_nodes.unwrap_or(namenode.settings().replace_nodes);
        let asks = when.asks_for_more(self.nodes.len(), self.wanted);
        let Some(source) = self.nodes.last().filter(|_| asks && !self.sealed && self.joins_left > 0) else { return };
        self.joins_left -= 1;
        self.joining = Some(Joining::begin(Begin {
            file: Arc::clone(&self.file),
            chunk: self.chunk,
            generation: self.generation,
            length: self.sent,
            source: source.clone(),
            synced: self.synced,
            excluded: book.excluded(namenode.settings().recovery_timeout).0,
        }));
    }

    /// Takes a node into the pipeline; needs every packet acknowledged.
    pub(super) async fn join(&mut self, near: Result<Near, Failed>, book: &mut Book) -> Result<()> {
        let Some(source) = self.nodes.last().cloned() else { return Ok(()) };
        if near.as_ref().is_ok_and(|near| near.generation() != self.generation) {
            // The pipeline that it was to join broke meanwhile.
            return Ok(());
        }
        let patience = self.file.namenode.settings().transport.pipeline_stall(0);
        let copied = match near {
            Ok(mut near) => near.finish(self.acked, &source, patience).await.map(|()| near.node().clone()),
            Err(failed) => Err(failed),
        };
        let node = match copied {
            Ok(node) => node,
            Err(Failed { fault, error }) => {
                tracing::info!(chunk = %self.chunk, ?fault, %error, "no node has joined the pipeline");
                if let Fault::Newcomer(node) = fault {
                    book.exclude(&PipelineFailure { nodes: vec![node], error });
                }
                if fault != Fault::NoNode {
                    self.seek(book);
                }
                return Ok(());
            }
        };
        tracing::info!(chunk = %self.chunk, node = %node.id, bytes = self.acked, "a node joins the pipeline");
        let generation = self.file.issue_generation(self.chunk).await?;
        self.nodes.push(node);
        self.joins_left = ATTEMPTS;
        match self.resume(generation, &mut HashSet::new()).await? {
            Ok(()) if self.synced => {
                self.send_mark(PacketKind::Sync)?;
                self.seek(book);
            }
            Ok(()) => self.seek(book),
            Err(failure) => self.recover(failure, book).await?,
        }
        Ok(())
    }

    /// Builds the pipeline again over what is left of its nodes, at the length that all of them hold.
    async fn resume(
        &mut self,
        generation: Generation,
        without: &mut HashSet<NodeId>,
    ) -> Result<Result<(), PipelineFailure>> {
        let (length, survivors) = match self.held().survivors(&self.nodes, generation, without).await {
            Ok(survivors) => survivors,
            Err(failure) => return Ok(Err(failure)),
        };
        self.nodes = survivors;
        self.build(generation, length).await
    }

    /// Builds the pipeline over replicas that are there, all cut to `length`, and makes it known.
    async fn build(&mut self, generation: Generation, length: u64) -> Result<Result<(), PipelineFailure>> {
        let setup = self.setup(generation, WriteMode::Resume, length);
        let namenode = &self.file.namenode;
        let sender = match ChunkSender::open(namenode.channels(), &namenode.identity(), &setup).await {
            Ok(sender) => sender,
            Err(failure) => return Ok(Err(failure)),
        };
        self.file.update_pipeline(self.chunk, generation, sender.nodes()).await?;
        self.generation = generation;
        (self.sender, self.given_up) = (Some(sender), false);
        self.acked = self.acked.max(length);
        self.send_again(length)?;
        Ok(Ok(()))
    }

    /// Takes the chunk back and has another one placed: no byte of it was acknowledged, so all are still here.
    async fn replace(&mut self, book: &mut Book) -> Result<()> {
        self.file.abandon_chunk(self.chunk).await?;
        let (Placed { chunk, generation, nodes }, sender) =
            place(&self.file, (self.start, self.expected), None, book).await?;
        (self.chunk, self.generation, self.nodes, self.sender) = (chunk, generation, nodes, Some(sender));
        (self.wanted, self.joins_left) = (self.nodes.len(), ATTEMPTS);
        self.send_again(0)
    }

    /// Sends what is not acknowledged, from `length` on. A packet whose bytes are there already but that asks for more goes
    /// without them.
    fn send_again(&mut self, length: u64) -> Result<()> {
        let mut again = VecDeque::with_capacity(self.unacked.len());
        for (packet, kind) in self.unacked.drain(..) {
            let end = end_of(&packet);
            if end > length {
                again.push_back((cut(packet, length), kind));
            } else if kind != PacketKind::Data {
                again.push_back((mark(length), kind));
            }
        }
        for (packet, kind) in &again {
            self.sender().send(packet.clone(), *kind)?;
        }
        self.unacked = again;
        Ok(())
    }

    fn sender(&mut self) -> &mut ChunkSender {
        self.sender.as_mut().expect(STANDS)
    }

    fn held(&self) -> Held {
        Held { file: Arc::clone(&self.file), chunk: self.chunk, acked: self.acked, sent: self.sent }
    }

    fn setup(&self, generation: Generation, mode: WriteMode, length: u64) -> PipelineSetup {
        PipelineSetup {
            chunk: self.chunk,
            generation,
            mode,
            capacity: self.file.chunk_size,
            length,
            expected: 0,
            nodes: self.nodes.clone(),
        }
    }
}

/// What replicas of a chunk that is being written may hold.
#[derive(Clone)]
struct Held {
    file: Arc<OpenFile>,
    chunk: ChunkId,
    acked: u64,
    sent: u64,
}

impl Held {
    /// Stops the replicas and asks what they hold: the shortest length, and who holds it. Those that answer that they don't have what
    /// was acknowledged are noted in `without`.
    async fn survivors(
        &self,
        nodes: &[Node],
        generation: Generation,
        without: &mut HashSet<NodeId>,
    ) -> Result<(u64, Vec<Node>), PipelineFailure> {
        let answers: Vec<(Node, Result<Replica>)> = futures::stream::iter(nodes.to_vec())
            .map(|node| {
                let held = self.clone();
                async move {
                    let answer = held.ask(&node, generation).await;
                    (node, answer)
                }
            })
            .buffered(RECOVERIES_AT_ONCE)
            .collect()
            .await;
        let mut failed = Vec::new();
        let mut error = None;
        let mut held = Vec::new();
        for (node, answer) in answers {
            match answer {
                Ok(replica) => held.push((node, replica)),
                Err(why) => {
                    if matches!(why.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) {
                        without.insert(node.id);
                    }
                    failed.push(node.id);
                    error.get_or_insert(why);
                }
            }
        }
        // A replica that outlived a restart of its node holds what its checksums prove: it counts only when no other is left.
        if held.iter().any(|(_, replica)| replica.state != ReplicaState::Rwr) {
            held.retain(|(_, replica)| replica.state != ReplicaState::Rwr);
        }
        match held.iter().map(|(_, replica)| replica.length).min() {
            Some(length) => Ok((length, held.into_iter().map(|(node, _)| node).collect())),
            None => Err(PipelineFailure {
                nodes: failed,
                error: error.unwrap_or_else(|| Error::new(ErrorKind::Internal, "a pipeline of no nodes")),
            }),
        }
    }

    /// The first step of recovery on one node. What it holds must be what it acknowledged, and no more than was sent.
    async fn ask(&self, node: &Node, generation: Generation) -> Result<Replica> {
        let namenode = &self.file.namenode;
        let request = v1::RecoverRequest {
            hello: Some(namenode.identity().hello()),
            chunk: self.chunk.get(),
            generation: generation.get(),
            node: node.id.get(),
        };
        let answer = async {
            let mut service = namenode.channels().chunk_service(&node.address).await?;
            service.recover(request).await.map_err(|status| from_status(&status, &node.address))
        };
        let patience = namenode.settings().transport.call_timeout;
        let answer = timeout(patience, answer).await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, format!("node {} at {} did not stop its replica", node.id, node.address))
        })??;
        let replica = convert::required_replica(answer.into_inner().replica.as_ref())?;
        if replica.chunk != self.chunk || !(self.acked..=self.sent).contains(&replica.length) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "node {} holds {} bytes of chunk {}, where {} were acknowledged and {} sent",
                    node.id, replica.length, replica.chunk, self.acked, self.sent
                ),
            ));
        }
        Ok(replica)
    }
}

/// Has a chunk placed until a pipeline stands; `placed` was, and comes first.
async fn place(
    file: &Arc<OpenFile>,
    (start, expected): (u64, u64),
    mut placed: Option<Placed>,
    book: &mut Book,
) -> Result<(Placed, ChunkSender)> {
    let namenode = &file.namenode;
    let settings = namenode.settings();
    let deadline = Instant::now() + settings.recovery_timeout;
    let mut backoff = Backoff::new(namenode.env());
    let mut last: Option<Error> = None;
    loop {
        let placed = match placed.take() {
            Some(placed) => placed,
            None => {
                let (excluded, full) = book.excluded(settings.avoid_node);
                let placed = file.add_chunk((start, expected), &book.commits, &excluded, &full).await;
                let placed = placed.map_err(|error| with_cause(error, last.take()))?;
                book.commits.clear();
                placed
            }
        };
        let setup = PipelineSetup {
            chunk: placed.chunk,
            generation: placed.generation,
            mode: WriteMode::Create,
            capacity: file.chunk_size,
            length: 0,
            expected,
            nodes: placed.nodes.clone(),
        };
        let failure = match ChunkSender::open(namenode.channels(), &namenode.identity(), &setup).await {
            Ok(sender) => return Ok((placed, sender)),
            Err(failure) => failure,
        };
        tracing::warn!(chunk = %placed.chunk, nodes = ?failure.nodes, error = %failure.error, "pipeline did not stand");
        book.exclude(&failure);
        file.abandon_chunk(placed.chunk).await?;
        if Instant::now() >= deadline {
            return Err(failure.error.context(format_args!("{}: no pipeline stood", file.path)));
        }
        last = Some(failure.error);
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// Why no further chunk could be placed: what the nodes said that were tried says more than that none is left.
fn with_cause(error: Error, last: Option<Error>) -> Error {
    match last {
        Some(last) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::StorageFull) => {
            Error::new(last.kind(), format!("{}; before: {}", error.message(), last.message())).with_source(last)
        }
        _ => error,
    }
}

fn end_of(packet: &Packet) -> u64 {
    packet.offset + packet.data.len() as u64
}

/// A packet without bytes.
fn mark(offset: u64) -> Packet {
    Packet { offset, data: bytes::Bytes::new(), checksums: bytes::Bytes::new() }
}

/// The part of `packet` from byte `from` of the chunk on.
fn cut(mut packet: Packet, from: u64) -> Packet {
    let skip = usize::try_from(from.saturating_sub(packet.offset)).unwrap_or(usize::MAX).min(packet.data.len());
    if skip == 0 {
        return packet;
    }
    let data = packet.data.split_off(skip);
    let offset = packet.offset + skip as u64;
    Packet { offset, checksums: checksum::checksums(offset, &data), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_packet_has_its_own_checksums() {
        let data = bytes::Bytes::from(vec![9; 10_000]);
        let packet = Packet { offset: 4_096, checksums: checksum::checksums(4_096, &data), data };
        assert_eq!(cut(packet.clone(), 4_096), packet);
        for from in [4_097, 8_192, 9_000, 14_095] {
            let part = cut(packet.clone(), from);
            assert_eq!((part.offset, part.data.len() as u64), (from, 14_096 - from));
            checksum::verify(part.offset, &part.data, &part.checksums).expect("agree");
        }
    }
}
