//! Writes a file.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::ready;
use godfs_core::chunk::MAX_PACKET_BYTES;
use godfs_core::{DfsPath, Error, ErrorKind, InodeId, Result, checksum};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};

use super::open_file::OpenFile;
use super::write_task::{Command, Piece, WriteTask};
use crate::metadata::ETag;

/// Packets that wait between a handle and its task, so that bytes can be prepared while the task talks to the namenode.
const WAITING: usize = 2;
/// What a handle's buffer begins with; it becomes a whole packet only for files that fill this.
const FIRST_BUFFER_BYTES: usize = 64 << 10;

/// Writes a new file from its first byte, or one that is there from its end.
///
/// Bytes go into packets of up to 1 MiB, which travel while more are written. **Memory** of a handle: one packet being
/// filled, two waiting, eight unacknowledged and one on its way, 12 MiB at most, and nothing but a small buffer before there are bytes;
/// bytes given with [`write_bytes`](Self::write_bytes) are not copied.
///
/// **Promises.** After [`write`](Self::write) nothing is certain. After [`hflush`](Self::hflush) every datanode of the pipeline has the bytes and
/// new readers see them. After [`hsync`](Self::hsync) they are on every datanode's disk. After [`close`](Self::close) the file is complete.
///
/// **Dropping** a future of any method is safe: bytes are taken in order, whole or not at all, and a close that has begun goes on.
/// Dropping the writer before it is closed gives the file up: one that was never published vanishes, another keeps what was flushed.
///
/// **Failures.** A datanode that fails does not fail the write while one is left that has what was acknowledged; when none is, the
/// writer waits for one to come back, up to the recovery timeout. After an error every further call fails with it.
pub struct Writer {
    file: Arc<OpenFile>,
    commands: PollSender<Command>,
    failure: Arc<Mutex<Option<Error>>>,
    /// Bytes that make no packet yet.
    buffer: BytesMut,
    /// Where the next byte goes: those taken so far, also those in the buffer, lie in front of it.
    position: u64,
    /// Gives the file up when the handle is dropped.
    dropped: Option<DropGuard>,
    closing: Closing,
}

enum Closing {
    No,
    Waiting(oneshot::Receiver<Result<()>>),
    Closed,
}

impl Writer {
    /// Starts the task of a file that was just created, or opened to be written on. Must be called inside a runtime.
    pub(crate) fn new(file: OpenFile) -> Self {
        let position = file.begin;
        let (sender, receiver) = mpsc::channel(WAITING);
        let failure = Arc::new(Mutex::new(None));
        let dropped = CancellationToken::new();
        let task = WriteTask::new(file, receiver, Arc::clone(&failure));
        let file = Arc::clone(task.file());
        // It ends soon after the handle does: when the file is closed, or by the token.
        tokio::spawn(task.run(dropped.clone()));
        Self {
            file,
            commands: PollSender::new(sender),
            failure,
            buffer: BytesMut::new(),
            position,
            dropped: Some(dropped.drop_guard()),
            closing: Closing::No,
        }
    }

    /// The path it was created under.
    #[must_use]
    pub fn path(&self) -> &DfsPath {
        &self.file.path
    }

    /// The file.
    #[must_use]
    pub fn inode(&self) -> InodeId {
        self.file.inode
    }

    /// The state that closing left the file in; `None` before that.
    #[must_use]
    pub fn etag(&self) -> Option<ETag> {
        self.file.closed.get().map(|&version| ETag { inode: self.file.inode, version })
    }

    /// Where the next byte goes in the file: how many bytes were there when it was opened, and how many were taken since.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes all of `data`; waits while too much is on its way. When the future is dropped, some of it may have been taken:
    /// [`position`](Self::position) says how much.
    ///
    /// # Errors
    /// Whatever made the writing impossible; [`ErrorKind::FailedPrecondition`] when the file is closed.
    pub async fn write(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let taken = poll_fn(|cx| self.poll_write(cx, data)).await?;
            data = &data[taken..];
        }
        Ok(())
    }

    /// As [`write`](Self::write), without copying what fills whole packets.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn write_bytes(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            if self.buffer.is_empty() && data.len() >= self.packet_room() {
                poll_fn(|cx| self.poll_ready(cx)).await?;
                let part = data.split_to(self.packet_room());
                self.position += part.len() as u64;
                let piece = self.piece(part);
                self.send(Command::Data(piece))?;
            } else {
                let take = data.len().min(self.packet_room() - self.buffer.len()).max(1);
                let taken = poll_fn(|cx| self.poll_write(cx, &data[..take])).await?;
                let _ = data.split_to(taken);
            }
        }
        Ok(())
    }

    /// Waits until every datanode of the pipeline has every byte taken so far, and new readers see them.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn hflush(&mut self) -> Result<()> {
        self.flush(false).await
    }

    /// Waits until every byte taken so far is on the disk of every datanode of the pipeline, with the names that lead to it.
    /// With `sync_on_close(false)` this does not cover chunks that were full before the first `hsync` of the handle.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn hsync(&mut self) -> Result<()> {
        self.flush(true).await
    }

    async fn flush(&mut self, sync: bool) -> Result<()> {
        poll_fn(|cx| self.poll_push(cx)).await?;
        let (reply, answer) = oneshot::channel();
        poll_fn(|cx| self.poll_ready(cx)).await?;
        self.send(Command::Flush { sync, reply })?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Closes the file: waits until every byte is on enough datanodes, and on their disks unless
    /// [`sync_on_close(false)`](crate::CreateOptions::sync_on_close) was asked for. Closing twice is no error.
    ///
    /// # Errors
    /// As for [`write`](Self::write); [`ErrorKind::DeadlineExceeded`], saying what is missing, when there are not enough
    /// replicas in time.
    pub async fn close(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// Takes the last bytes and closes the file; those that make one packet are not copied.
    pub(crate) async fn finish(&mut self, data: Bytes) -> Result<()> {
        if self.buffer.is_empty() && !data.is_empty() && data.len() <= self.packet_room() {
            poll_fn(|cx| self.poll_ready(cx)).await?;
            self.position += data.len() as u64;
            let piece = self.piece(data);
            self.begin_close(Some(piece))?;
        } else {
            self.write_bytes(data).await?;
        }
        self.close().await
    }

    /// Gives the file up: one that was never published vanishes, another keeps what was flushed.
    ///
    /// # Errors
    /// Whatever kept the namenode from being told; the file then goes when its lease expires.
    pub async fn abandon(mut self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        // A failure does not keep a file from being given up.
        poll_fn(|cx| self.commands.poll_reserve(cx)).await.map_err(|_| self.gone())?;
        self.send(Command::Abandon { reply })?;
        self.disarm();
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Takes some of `data`: as much as the packet being filled has room for.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize>> {
        self.check()?;
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.buffer.len() == self.packet_room() {
            ready!(self.poll_push(cx))?;
        }
        let room = self.packet_room() - self.buffer.len();
        let taken = data.len().min(room);
        self.make_room(taken);
        self.buffer.extend_from_slice(&data[..taken]);
        self.position += taken as u64;
        if taken == room {
            // On its way at once if there is a place; otherwise with the next call.
            if let Poll::Ready(outcome) = self.poll_push(cx) {
                outcome?;
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Hands what is in the buffer to the task.
    pub(crate) fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check()?;
        if self.buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_ready(cx))?;
        let data = self.buffer.split().freeze();
        let piece = self.piece(data);
        Poll::Ready(self.send(Command::Data(piece)))
    }

    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match &mut self.closing {
                Closing::Closed => return Poll::Ready(Ok(())),
                Closing::Waiting(answer) => {
                    let outcome = ready!(Pin::new(answer).poll(cx)).unwrap_or_else(|_| Err(self.gone()));
                    // After a failure the next call finds it again.
                    self.closing = if outcome.is_ok() { Closing::Closed } else { Closing::No };
                    return Poll::Ready(outcome);
                }
                Closing::No => {
                    ready!(self.poll_ready(cx))?;
                    let data = self.buffer.split().freeze();
                    let piece = (!data.is_empty()).then(|| self.piece(data));
                    self.begin_close(piece)?;
                }
            }
        }
    }

    /// Has the task close the file, in the place that was reserved.
    fn begin_close(&mut self, piece: Option<Piece>) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Close { piece, reply })?;
        // What has begun to close is not given up any more.
        self.disarm();
        self.closing = Closing::Waiting(answer);
        Ok(())
    }

    /// Waits for a place in the channel.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.check()?;
        let ready = ready!(self.commands.poll_reserve(cx));
        Poll::Ready(ready.map_err(|_| self.gone()))
    }

    /// Sends into the place that was reserved.
    fn send(&mut self, command: Command) -> Result<()> {
        self.commands.send_item(command).map_err(|_| self.gone())
    }

    fn check(&self) -> Result<()> {
        if let Some(error) = &*self.failure.lock() {
            return Err(error.duplicate());
        }
        match self.closing {
            Closing::No => Ok(()),
            _ => Err(Error::new(ErrorKind::FailedPrecondition, format!("{} is closed", self.file.path))),
        }
    }

    /// Bytes with their checksums, computed here, where the bytes are born. They end at the position.
    fn piece(&self, data: Bytes) -> Piece {
        let position = self.position - data.len() as u64;
        let checksums = checksum::checksums(self.file.in_chunk(position), &data);
        Piece { position, data, checksums }
    }

    /// How many bytes the packet that begins where the buffer does may hold: up to the next whole packet of its chunk,
    /// so that later ones lie on piece boundaries, and to the chunk's end.
    fn packet_room(&self) -> usize {
        let begins = self.file.in_chunk(self.position - self.buffer.len() as u64);
        let packet = MAX_PACKET_BYTES as u64;
        let room = (packet - begins % packet).min(self.file.chunk_size - begins);
        usize::try_from(room).unwrap_or(MAX_PACKET_BYTES)
    }

    fn make_room(&mut self, bytes: usize) {
        let needed = self.buffer.len() + bytes;
        if needed > self.buffer.capacity() {
            let first = self.position == self.file.begin && needed <= FIRST_BUFFER_BYTES;
            let whole = if first { FIRST_BUFFER_BYTES } else { self.packet_room() };
            self.buffer.reserve(whole.max(needed) - self.buffer.len());
        }
    }

    fn disarm(&mut self) {
        if let Some(guard) = self.dropped.take() {
            // The token itself is let go uncancelled.
            drop(guard.disarm());
        }
    }

    fn gone(&self) -> Error {
        match &*self.failure.lock() {
            Some(error) => error.duplicate(),
            None => Error::new(
                ErrorKind::Unavailable,
                format!("the writer of {} has ended with its runtime", self.file.path),
            ),
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.file.path)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
