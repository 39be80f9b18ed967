//! The task behind a writer: what must not be torn when a caller drops a future happens here.

use std::future::pending;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use godfs_core::checksum;
use godfs_core::chunk::{MAX_PACKET_BYTES, Packet};
use godfs_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::chunk_writer::{Book, ChunkWriter, Event};
use super::joining::{Failed, Near};
use super::open_file::{OpenFile, Placed};
use crate::namenode::Backoff;
use crate::pipeline::{CREDITS, PacketKind, PipelineFailure, WHOLE_BYTES};
use crate::transport::convert::{ChunkCommit, WholeReplica};

/// How long giving up a file may take when its writer was dropped; after that its lease expires by itself.
const ABANDON_PATIENCE: Duration = Duration::from_secs(5);

/// What the handle asks of the task.
pub(super) enum Command {
    /// Bytes that follow; they lie in one packet of one chunk.
    Data(Piece),
    /// Answer when every node of the pipeline has every byte; with `sync`, on its disk.
    Flush { sync: bool, reply: Reply },
    /// The last bytes, if any; answer when the file is closed.
    Close { piece: Option<Piece>, reply: Reply },
    /// Give the file up.
    Abandon { reply: Reply },
}

pub(super) type Reply = oneshot::Sender<Result<()>>;

/// Bytes of the file with their checksums.
pub(super) struct Piece {
    /// Where they begin in the file.
    pub(super) position: u64,
    pub(super) data: Bytes,
    pub(super) checksums: Bytes,
}

/// Why the task ended.
enum End {
    /// The file is closed, or given up.
    Settled,
    /// The handle is gone, and the file neither closed nor given up.
    Orphaned,
}

/// The task's state.
pub(super) struct WriteTask {
    file: Arc<OpenFile>,
    commands: mpsc::Receiver<Command>,
    /// Where the handle looks for a failure.
    failure: Arc<Mutex<Option<Error>>>,
    chunks: Chunks,
}

impl WriteTask {
    pub(super) fn new(
        mut file: OpenFile,
        commands: mpsc::Receiver<Command>,
        failure: Arc<Mutex<Option<Error>>>,
    ) -> Self {
        let first = file.first.take();
        let file = Arc::new(file);
        let chunks = Chunks { first, ..Chunks::new(Arc::clone(&file)) };
        Self { file, commands, failure, chunks }
    }

    pub(super) fn file(&self) -> &Arc<OpenFile> {
        &self.file
    }

    /// Runs until the file is closed or given up, or `dropped` says that nobody wants it any more.
    pub(super) async fn run(mut self, dropped: CancellationToken) {
        let end = tokio::select! {
            biased;
            // What was under way is dropped with the file.
            () = dropped.cancelled() => End::Orphaned,
            end = self.serve() => end,
        };
        if let End::Orphaned = end {
            let file = Arc::clone(&self.file);
            // The pipelines go first, so that nothing is written after the file was given up.
            drop(self);
            match timeout(ABANDON_PATIENCE, file.abandon()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(path = %file.path, %error, "not given up; its lease will expire"),
                Err(_) => tracing::debug!(path = %file.path, "not given up in time; its lease will expire"),
            }
        }
    }

    async fn serve(&mut self) -> End {
        loop {
            let command = tokio::select! {
                // Acknowledgements first: there are no more of them than packets under way, so commands get their turn.
                biased;
                // Cancel-safe: an acknowledgement is taken into account before it returns.
                (which, event) = self.chunks.event() => {
                    let outcome = match event {
                        Event::Ack(outcome) => self.chunks.settle(which, outcome).await,
                        Event::Broke(failure) => self.chunks.mend(which, failure).await,
                        Event::Near(near) => self.chunks.join(*near).await,
                    };
                    if let Err(error) = outcome {
                        self.fail(&error);
                    }
                    continue;
                }
                // Cancel-safe: a command is received or stays in the channel.
                command = self.commands.recv(), if self.chunks.has_room() => command,
            };
            let Some(command) = command else { return End::Orphaned };
            let failed = self.failure.lock().as_ref().map(Error::duplicate);
            match (command, failed) {
                (Command::Data(piece), None) => {
                    if let Err(error) = self.chunks.data(piece, false).await {
                        self.fail(&error);
                    }
                }
                // The handle finds the failure by itself.
                (Command::Data(_), Some(_)) => {}
                (Command::Flush { sync, reply }, None) => {
                    let outcome = self.chunks.flush(sync).await;
                    self.answer(reply, outcome);
                }
                (Command::Close { piece, reply }, None) => {
                    let outcome = self.chunks.close(piece).await;
                    let closed = outcome.is_ok();
                    self.answer(reply, outcome);
                    if closed {
                        return End::Settled;
                    }
                }
                (Command::Flush { reply, .. } | Command::Close { reply, .. }, Some(error)) => {
                    self.answer(reply, Err(error));
                }
                (Command::Abandon { reply }, _) => {
                    self.chunks = Chunks::new(Arc::clone(&self.file));
                    let outcome = self.file.abandon().await;
                    self.answer(reply, outcome);
                    return End::Settled;
                }
            }
        }
    }

    fn answer(&self, reply: Reply, outcome: Result<()>) {
        if let Err(error) = &outcome {
            self.fail(error);
        }
        // The caller may have dropped its future.
        let _ = reply.send(outcome);
    }

    /// The first failure is the one that counts; the pipelines are let go.
    fn fail(&self, error: &Error) {
        self.failure.lock().get_or_insert_with(|| error.duplicate());
    }
}

#[derive(Clone, Copy)]
enum Which {
    Current,
    Finishing,
}

/// What became of a file that is one small packet.
enum Whole {
    Written,
    /// It goes the ordinary way, to the chunk that was placed, if it stands.
    Not(Option<Placed>),
}

/// The chunks of a file as they are written: at most one that takes bytes and one that waits for its end.
struct Chunks {
    file: Arc<OpenFile>,
    /// All bytes so far, while the file is small enough to need no chunk.
    small: Option<Small>,
    /// A first chunk that was placed as the file was created, until it takes bytes.
    first: Option<Placed>,
    current: Option<ChunkWriter>,
    finishing: Option<ChunkWriter>,
    book: Book,
    /// Bytes of the file.
    length: u64,
    /// Whether chunks end on disk.
    sync_ends: bool,
}

struct Small {
    data: BytesMut,
    /// How many bytes the namenode has been given, if any.
    stored: Option<usize>,
}

impl Chunks {
    fn new(file: Arc<OpenFile>) -> Self {
        let kept = &file.kept;
        let small = (file.small_limit > 0 || !kept.is_empty())
            .then(|| Small { data: BytesMut::from(&kept[..]), stored: (!kept.is_empty()).then_some(kept.len()) });
        let length = file.begin;
        let sync_ends = file.options.sync_on_close;
        Self { file, small, first: None, current: None, finishing: None, book: Book::default(), length, sync_ends }
    }

    /// Whether more bytes may be taken in: the packets kept for sending again are bounded over both chunks.
    fn has_room(&self) -> bool {
        self.unacked() < CREDITS
    }

    fn unacked(&self) -> usize {
        [&self.current, &self.finishing].into_iter().flatten().map(ChunkWriter::unacked).sum()
    }

    /// The next acknowledgement of either chunk; never, when none is due.
    async fn next_ack(&mut self) -> (Which, Result<(), PipelineFailure>) {
        async fn ack(chunk: &mut Option<ChunkWriter>) -> Result<(), PipelineFailure> {
            match chunk {
                Some(chunk) if chunk.unacked() > 0 => chunk.ack().await,
                _ => pending().await,
            }
        }
        tokio::select! {
            // Both are cancel-safe.
            biased;
            outcome = ack(&mut self.finishing) => (Which::Finishing, outcome),
            outcome = ack(&mut self.current) => (Which::Current, outcome),
        }
    }

    /// Takes an acknowledgement into account, or recovers.
    async fn settle(&mut self, which: Which, outcome: Result<(), PipelineFailure>) -> Result<()> {
        let slot = match which {
            Which::Current => &mut self.current,
            Which::Finishing => &mut self.finishing,
        };
        let Some(chunk) = slot else { return Ok(()) };
        if let Err(failure) = outcome
            && let Err(error) = chunk.recover(failure, &mut self.book).await
        {
            // Nothing more can come of either.
            (self.current, self.finishing) = (None, None);
            return Err(error);
        }
        if slot.as_ref().is_some_and(ChunkWriter::is_done)
            && let Some(chunk) = slot.take()
        {
            self.book.commits.push(chunk.finish().await);
        }
        Ok(())
    }

    /// Goes on after a pipeline broke in which nothing was under way.
    async fn mend(&mut self, which: Which, failure: PipelineFailure) -> Result<()> {
        let slot = match which {
            Which::Current => &mut self.current,
            Which::Finishing => &mut self.finishing,
        };
        if let Some(chunk) = slot {
            chunk.recover_idle(failure, &mut self.book).await;
        }
        Ok(())
    }

    /// What happens next to either chunk; never, when nothing is waited for.
    async fn event(&mut self) -> (Which, Event) {
        async fn event(chunk: &mut Option<ChunkWriter>) -> Event {
            match chunk {
                Some(chunk) => chunk.event().await,
                None => pending().await,
            }
        }
        tokio::select! {
            // Both are cancel-safe.
            biased;
            event = event(&mut self.finishing) => (Which::Finishing, event),
            event = event(&mut self.current) => (Which::Current, event),
        }
    }

    /// Stops for as long as it takes the node to get the rest, and takes it into the pipeline.
    async fn join(&mut self, near: Result<Near, Failed>) -> Result<()> {
        self.drain().await?;
        let Some(chunk) = &mut self.current else { return Ok(()) };
        let joined = chunk.join(near, &mut self.book).await;
        if joined.is_err() {
            (self.current, self.finishing) = (None, None);
        }
        joined
    }

    async fn ack(&mut self) -> Result<()> {
        let (which, outcome) = self.next_ack().await;
        self.settle(which, outcome).await
    }

    /// Waits until nothing is without an acknowledgement.
    async fn drain(&mut self) -> Result<()> {
        while self.unacked() > 0 {
            self.ack().await?;
        }
        Ok(())
    }

    async fn data(&mut self, piece: Piece, last: bool) -> Result<()> {
        self.length = piece.position + piece.data.len() as u64;
        if let Some(small) = &mut self.small {
            if small.data.is_empty() && piece.data.len() > self.file.small_limit {
                // It is a packet already, with its checksums.
                self.small = None;
                return self.send(piece, last).await;
            }
            small.data.extend_from_slice(&piece.data);
            if small.data.len() <= self.file.small_limit {
                return Ok(());
            }
            return self.outgrow(last).await;
        }
        self.send(piece, last).await
    }

    /// The file is no longer small: its bytes go into a chunk.
    async fn outgrow(&mut self, last: bool) -> Result<()> {
        let Some(small) = self.small.take() else { return Ok(()) };
        let mut data = small.data.freeze();
        let mut position = 0;
        while !data.is_empty() {
            let room = self.file.chunk_size - position % self.file.chunk_size;
            let take = data.len().min(MAX_PACKET_BYTES).min(usize::try_from(room).unwrap_or(usize::MAX));
            let part = data.split_to(take);
            let checksums = checksum::checksums(position % self.file.chunk_size, &part);
            let last = last && data.is_empty();
            self.send(Piece { position, data: part, checksums }, last).await?;
            position += take as u64;
        }
        Ok(())
    }

    /// Sends bytes to the chunk they belong to.
    async fn send(&mut self, piece: Piece, last: bool) -> Result<()> {
        let chunk_size = self.file.chunk_size;
        if self.current.is_none() {
            // Only the last chunk of a file can be taken back, should its first pipeline break at once.
            while self.finishing.as_ref().is_some_and(|chunk| !chunk.is_rooted()) {
                self.ack().await?;
            }
            let start = piece.position - self.file.in_chunk(piece.position);
            self.current = Some(if self.file.holds(start) {
                ChunkWriter::reopen(&self.file, start, &mut self.book).await?
            } else {
                // One that ends with its first packet is kept in another way than one that grows.
                let end = self.file.in_chunk(piece.position) + piece.data.len() as u64;
                let expected = if last || end == chunk_size { end } else { self.hinted(start) };
                let mut placed = self.first.take();
                if last && piece.position == 0 && piece.data.len() <= WHOLE_BYTES {
                    placed = match self.whole(&piece, placed).await? {
                        Whole::Written => return Ok(()),
                        Whole::Not(placed) => placed,
                    };
                }
                ChunkWriter::open(&self.file, (start, expected), placed, &mut self.book).await?
            });
        }
        while !self.has_room() {
            self.ack().await?;
        }
        let Some(chunk) = &mut self.current else {
            return Err(Error::new(ErrorKind::Internal, "a chunk ended before its last byte"));
        };
        let offset = piece.position - chunk.start();
        let full = offset + piece.data.len() as u64 == chunk_size;
        let last = last || full;
        let kind = if last { PacketKind::Last { sync: self.sync_ends } } else { PacketKind::Data };
        chunk.send(Packet { offset, data: piece.data, checksums: piece.checksums }, kind)?;
        if last { self.seal().await } else { Ok(()) }
    }

    /// Writes a file that is one small packet, without a pipeline that has to stand first.
    async fn whole(&mut self, piece: &Piece, placed: Option<Placed>) -> Result<Whole> {
        let file = &self.file;
        let placed = match placed {
            Some(placed) => placed,
            None => file.add_chunk((0, piece.data.len() as u64), &[], &[], &[]).await?,
        };
        let replica = WholeReplica {
            chunk: placed.chunk,
            generation: placed.generation,
            capacity: file.chunk_size,
            sync: self.sync_ends,
            downstream: Vec::new(),
            packet: Packet { offset: 0, data: piece.data.clone(), checksums: piece.checksums.clone() },
        };
        let namenode = &file.namenode;
        let (channels, identity) = (namenode.channels(), namenode.identity());
        match namenode.whole_writes().write(channels, &identity, &placed.nodes, replica).await {
            Ok(true) => {
                let nodes = placed.nodes.iter().map(|node| node.id).collect();
                let (chunk, generation) = (placed.chunk, placed.generation);
                let length = piece.data.len() as u64;
                self.book.commits.push(ChunkCommit { chunk, generation, length, nodes });
                Ok(Whole::Written)
            }
            Ok(false) => Ok(Whole::Not(Some(placed))),
            Err(failure) => {
                tracing::warn!(chunk = %placed.chunk, nodes = ?failure.nodes, error = %failure.error, "a whole chunk was not written");
                if failure.error.kind() != ErrorKind::Unsupported {
                    self.book.exclude(&failure);
                }
                file.abandon_chunk(placed.chunk).await?;
                Ok(Whole::Not(None))
            }
        }
    }

    /// What the chunk that begins at `start` is to end with by what was said of the file, 0 where nobody knows.
    fn hinted(&self, start: u64) -> u64 {
        let chunk_size = self.file.chunk_size;
        self.file.options.expected_size.checked_sub(start).map_or(0, |rest| rest.min(chunk_size))
    }

    /// The current chunk has its last packet: it waits for its end beside the next one, alone.
    async fn seal(&mut self) -> Result<()> {
        while self.finishing.is_some() {
            self.ack().await?;
        }
        // It may have ended in the meantime.
        self.finishing = self.current.take();
        Ok(())
    }

    async fn flush(&mut self, sync: bool) -> Result<()> {
        if let Some(small) = &mut self.small {
            if small.stored == Some(small.data.len()) || small.data.is_empty() {
                return Ok(());
            }
            if small.stored.is_none() && self.first.is_none() {
                self.file.store_small(&Bytes::copy_from_slice(&small.data)).await?;
                small.stored = Some(small.data.len());
                return Ok(());
            }
            self.outgrow(false).await?;
        }
        if sync {
            // From here on the caller counts on the disks.
            self.sync_ends = true;
            while !self.has_room() {
                self.ack().await?;
            }
            if let Some(chunk) = &mut self.current {
                chunk.send_mark(PacketKind::Sync)?;
            }
        }
        self.drain().await
    }

    async fn close(&mut self, piece: Option<Piece>) -> Result<()> {
        if let Some(piece) = piece {
            self.data(piece, true).await?;
        }
        if self.file.into_chunks {
            self.outgrow(true).await?;
        }
        if let Some(first) = self.first.take() {
            // The file is smaller than was expected.
            self.file.abandon_chunk(first.chunk).await?;
        }
        let mut data = Bytes::new();
        if let Some(small) = &mut self.small {
            if small.stored != Some(small.data.len()) {
                data = small.data.split().freeze();
            }
        } else if self.current.is_some() {
            while !self.has_room() {
                self.ack().await?;
            }
            if let Some(chunk) = &mut self.current {
                chunk.send_mark(PacketKind::Last { sync: self.sync_ends })?;
            }
            self.seal().await?;
        }
        self.drain().await?;
        self.complete(&data).await
    }

    /// Closes the file, waiting for replicas that are missing.
    async fn complete(&mut self, data: &Bytes) -> Result<()> {
        let patience = self.file.namenode.settings().close_timeout;
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::new(self.file.namenode.env());
        loop {
            let Some(missing) = self.file.complete(self.length, &self.book.commits, data).await? else {
                return Ok(());
            };
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("{} is not closed after {patience:?}: {missing}", self.file.path),
                ));
            }
            tokio::time::sleep(pause).await;
        }
    }
}
