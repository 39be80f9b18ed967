//! One handle for reading or writing, with the traits of tokio.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::stream::BoxStream;
use futures::{StreamExt, ready};
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use super::reader::Reader;
use super::writer::Writer;

/// How much is asked for by the first read after a seek. A reader that goes on gets the rest of the file in one stream; one that jumps
/// about does not pay for what it never reads.
const FIRST_READ_BYTES: u64 = 1 << 20;
/// A seek forward of at most this many bytes counts as reading on.
const SKIPPED_BYTES: u64 = 256 << 10;

/// A file, open for reading or for writing, with tokio's `AsyncRead`, `AsyncBufRead`, `AsyncSeek` and `AsyncWrite`.
///
/// What the mode does not allow fails with [`ErrorKind::Unsupported`]. `poll_flush` only hands bytes to the pipeline, since tokio's
/// `copy` calls it at each pause: use [`hflush`](Self::hflush) and [`hsync`](Self::hsync) for promises. `poll_shutdown` is
/// [`close`](Self::close). For memory and promises see [`Writer`] and [`Reader`].
pub struct DfsFile {
    mode: Mode,
}

enum Mode {
    Read(Box<Reading>),
    Write(Box<Writer>),
}

struct Reading {
    reader: Reader,
    /// The next byte that a read gives.
    position: u64,
    /// Bytes that arrived and were not read yet; they begin at `position`.
    ready: Bytes,
    /// Gives what follows `ready`.
    stream: Option<BoxStream<'static, Result<Bytes>>>,
    /// Whether the last stream was read to its end, so that the next one may be long.
    sequential: bool,
}

impl DfsFile {
    pub(crate) fn reading(reader: Reader) -> Self {
        let reading = Reading { reader, position: 0, ready: Bytes::new(), stream: None, sequential: false };
        Self { mode: Mode::Read(Box::new(reading)) }
    }

    pub(crate) fn writing(writer: Writer) -> Self {
        Self { mode: Mode::Write(Box::new(writer)) }
    }

    /// The path it was opened under.
    #[must_use]
    pub fn path(&self) -> &DfsPath {
        match &self.mode {
            Mode::Read(reading) => reading.reader.path(),
            Mode::Write(writer) => writer.path(),
        }
    }

    /// Bytes that can be read, or that were written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.mode {
            Mode::Read(reading) => reading.reader.len(),
            Mode::Write(writer) => writer.position(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reader behind the handle.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the file is open for writing.
    pub fn reader(&self) -> Result<&Reader> {
        match &self.mode {
            Mode::Read(reading) => Ok(&reading.reader),
            Mode::Write(writer) => Err(unsupported(writer.path(), "reading", "writing")),
        }
    }

    /// The writer behind the handle.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the file is open for reading.
    pub fn writer(&mut self) -> Result<&mut Writer> {
        match &mut self.mode {
            Mode::Write(writer) => Ok(writer),
            Mode::Read(reading) => Err(unsupported(reading.reader.path(), "writing", "reading")),
        }
    }

    /// Up to `length` bytes from `offset` on, without moving the handle's position; see [`Reader::read_at`].
    ///
    /// # Errors
    /// As for [`Reader::read_at`]; [`ErrorKind::Unsupported`] when the file is open for writing.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.reader()?.read_at(offset, length).await
    }

    /// See [`Writer::hflush`].
    ///
    /// # Errors
    /// As for [`Writer::hflush`]; [`ErrorKind::Unsupported`] when the file is open for reading.
    pub async fn hflush(&mut self) -> Result<()> {
        self.writer()?.hflush().await
    }

    /// See [`Writer::hsync`].
    ///
    /// # Errors
    /// As for [`Writer::hsync`]; [`ErrorKind::Unsupported`] when the file is open for reading.
    pub async fn hsync(&mut self) -> Result<()> {
        self.writer()?.hsync().await
    }

    /// Closes the file; see [`Writer::close`]. For a file that is read there is nothing to do.
    ///
    /// # Errors
    /// As for [`Writer::close`].
    pub async fn close(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.mode {
            Mode::Read(reading) => {
                reading.stream = None;
                Poll::Ready(Ok(()))
            }
            Mode::Write(writer) => writer.poll_close(cx),
        }
    }
}

impl Reading {
    /// Waits until something is ready, or the file is at its end.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.ready.is_empty() {
            if self.position >= self.reader.len() {
                return Poll::Ready(Ok(()));
            }
            let stream = self.stream.get_or_insert_with(|| {
                let end = if self.sequential { u64::MAX } else { self.position.saturating_add(FIRST_READ_BYTES) };
                self.reader.stream(self.position..end).boxed()
            });
            match ready!(stream.poll_next_unpin(cx)) {
                Some(Ok(bytes)) => self.ready = bytes,
                Some(Err(error)) => {
                    self.stream = None;
                    return Poll::Ready(Err(error));
                }
                None => (self.stream, self.sequential) = (None, true),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_ready(cx))?;
        let taken = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready[..taken]);
        self.consume(taken);
        Poll::Ready(Ok(()))
    }

    fn consume(&mut self, bytes: usize) {
        self.ready.advance(bytes);
        self.position += bytes as u64;
    }

    fn seek(&mut self, to: u64) {
        let forward = to.checked_sub(self.position);
        match forward {
            Some(bytes) if bytes <= self.ready.len() as u64 => {
                self.ready.advance(usize::try_from(bytes).unwrap_or(self.ready.len()));
            }
            _ => {
                self.ready = Bytes::new();
                self.stream = None;
                // A short way forward is still reading on.
                self.sequential &= forward.is_some_and(|bytes| bytes <= SKIPPED_BYTES);
            }
        }
        self.position = to;
    }
}

impl AsyncRead for DfsFile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.mode {
            Mode::Read(reading) => reading.poll_read(cx, buffer).map_err(Into::into),
            Mode::Write(writer) => Poll::Ready(Err(unsupported(writer.path(), "reading", "writing").into())),
        }
    }
}

/// The bytes that were received, without copying them.
impl AsyncBufRead for DfsFile {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match &mut self.get_mut().mode {
            Mode::Read(reading) => {
                ready!(reading.poll_ready(cx))?;
                Poll::Ready(Ok(&reading.ready))
            }
            Mode::Write(writer) => Poll::Ready(Err(unsupported(writer.path(), "reading", "writing").into())),
        }
    }

    fn consume(mut self: Pin<&mut Self>, bytes: usize) {
        if let Mode::Read(reading) = &mut self.mode {
            reading.consume(bytes);
        }
    }
}

impl AsyncSeek for DfsFile {
    /// A file that is read can be positioned anywhere; one that is written only tells its position.
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let (position, length) = match &self.mode {
            Mode::Read(reading) => (reading.position, reading.reader.len()),
            Mode::Write(writer) => (writer.position(), writer.position()),
        };
        let target = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::Current(by) => position.checked_add_signed(by),
            SeekFrom::End(by) => length.checked_add_signed(by),
        };
        let invalid = || Error::new(ErrorKind::InvalidArgument, "seek to a negative or overflowing position");
        let target = target.ok_or_else(invalid)?;
        match &mut self.mode {
            Mode::Read(reading) => reading.seek(target),
            Mode::Write(_) if target == position => {}
            Mode::Write(writer) => return Err(unsupported(writer.path(), "seeking", "writing").into()),
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(match &self.mode {
            Mode::Read(reading) => reading.position,
            Mode::Write(writer) => writer.position(),
        }))
    }
}

impl AsyncWrite for DfsFile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.writer() {
            Ok(writer) => writer.poll_write(cx, data).map_err(Into::into),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.writer() {
            Ok(writer) => writer.poll_push(cx).map_err(Into::into),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx).map_err(Into::into)
    }
}

impl fmt::Debug for DfsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mode {
            Mode::Read(reading) => f.debug_tuple("DfsFile").field(&reading.reader).finish(),
            Mode::Write(writer) => f.debug_tuple("DfsFile").field(writer).finish(),
        }
    }
}

fn unsupported(path: &DfsPath, what: &str, mode: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{path} is open for {mode}: {what} is not possible"))
}

const _: () = {
    const fn check<T: Send + Unpin + 'static>() {}
    check::<DfsFile>();
};
