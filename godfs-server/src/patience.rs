//! How long a server waits for the other side, and how much it keeps meanwhile: for a connection to begin, and for a request to come in.
//!
//! Both hold a place, descriptors and memory while they are waited for, and the other side may never go on.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::Status;
use tonic::service::Routes;
use tower::Service;

use crate::net::Connection;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Calls whose requests are streams. Whoever serves them bounds the wait for the first message, and has its own rules for the rest.
const STREAMED: [&str; 4] = [
    "/godfs.v1.ChunkService/Write",
    "/godfs.v1.ChunkService/Transfer",
    "/godfs.v1.ChunkService/ReadMany",
    "/godfs.v1.DatanodeService/Connect",
];

/// What every request may hold in memory, bytes: more than nearly all of them have. Only what goes beyond is counted.
const FLOOR_BYTES: usize = 16 << 10;

/// What a gRPC message begins with: a flag and its length.
const PREFIX_BYTES: usize = 5;

/// Longer messages are refused by whoever decodes them as soon as their length is read (no service takes more), so nobody waits for the rest.
const MAX_MESSAGE: usize = 4 << 20;

/// Permits count KiB, since a semaphore counts in 32 bits.
const UNIT: usize = 1 << 10;

/// A connection that has said that it speaks HTTP/2. Reads give that once more.
pub(crate) struct Begun {
    connection: Box<dyn Connection>,
    /// Bytes of the preface that were given.
    given: usize,
}

impl Begun {
    /// Waits for the preface. Dropping it in between drops the connection.
    pub(crate) async fn read(mut connection: Box<dyn Connection>) -> io::Result<Self> {
        let mut preface = [0; PREFACE.len()];
        let mut read = 0;
        while read < preface.len() {
            let more = connection.read(&mut preface[read..]).await?;
            // At the first byte that is another: most strangers say less than a preface, and wait.
            if more == 0 || preface[..read + more] != PREFACE[..read + more] {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no HTTP/2 preface"));
            }
            read += more;
        }
        Ok(Self { connection, given: 0 })
    }
}

impl AsyncRead for Begun {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given < PREFACE.len() {
            let part = into.remaining().min(PREFACE.len() - self.given);
            into.put_slice(&PREFACE[self.given..self.given + part]);
            self.given += part;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.connection).poll_read(cx, into)
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

/// Services that wait for a request no longer than a bound, and keep no more than another of all requests that are coming in; streams
/// are left to whoever serves them.
#[derive(Clone)]
pub(crate) struct Prompt {
    routes: Routes,
    within: Duration,
    pool: Arc<Semaphore>,
}

impl Prompt {
    /// Each request has to come in `within`; all together may hold `bytes`.
    pub(crate) fn new(routes: Routes, within: Duration, bytes: usize) -> Self {
        Self { routes, within, pool: Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))) }
    }
}

impl<B> Service<http::Request<B>> for Prompt
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = <Routes as Service<http::Request<tonic::body::Body>>>::Response;
    type Error = <Routes as Service<http::Request<tonic::body::Body>>>::Error;
    type Future = <Routes as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let streamed = STREAMED.contains(&request.uri().path());
        let within = self.within;
        let request = request.map(|body| match streamed || body.is_end_stream() {
            true => tonic::body::Body::new(body),
            false => tonic::body::Body::new(Within {
                body,
                sleep: Box::pin(tokio::time::sleep(within)),
                within,
                came: 0,
                prefix: [0; PREFIX_BYTES],
                waiting: VecDeque::new(),
                whole: false,
                pool: Arc::clone(&self.pool),
                held: None,
            }),
        });
        self.routes.call(request)
    }
}

/// A request that fails if it has not ended in time, or if there is no room for it. It is given when it is whole: who decodes it makes room for
/// all of a message once its length is known, and would hold that for a message of which nothing more comes.
struct Within<B> {
    body: B,
    sleep: Pin<Box<Sleep>>,
    within: Duration,
    /// Bytes that have come in.
    came: usize,
    /// The first of them.
    prefix: [u8; PREFIX_BYTES],
    /// What has come in and was not given yet.
    waiting: VecDeque<Frame<Bytes>>,
    /// All of the message has come in, or nothing more of it will be waited for.
    whole: bool,
    pool: Arc<Semaphore>,
    /// Room for what has come in beyond the floor. Given back with the body, which is dropped once the message is whole.
    held: Option<OwnedSemaphorePermit>,
}

impl<B> Within<B> {
    /// Takes room for `bytes` more. Refused rather than waited for: those who wait could be all that hold the rest.
    fn take(&mut self, bytes: usize) -> Result<(), Status> {
        let units = |came: usize| came.saturating_sub(FLOOR_BYTES).div_ceil(UNIT);
        let before = units(self.came);
        self.came = self.came.saturating_add(bytes);
        let more = u32::try_from(units(self.came) - before).unwrap_or(u32::MAX);
        if more > 0 {
            let taken = Arc::clone(&self.pool).try_acquire_many_owned(more);
            let taken = taken.map_err(|_| Status::unavailable("too many large requests are coming in: try again"))?;
            match &mut self.held {
                Some(held) => held.merge(taken),
                None => self.held = Some(taken),
            }
        }
        Ok(())
    }

    /// Keeps a frame until the message is whole.
    fn keep(&mut self, frame: Frame<Bytes>) -> Result<(), Status> {
        let Some(data) = frame.data_ref() else {
            // Trailers end a request.
            self.whole = true;
            self.waiting.push_back(frame);
            return Ok(());
        };
        for (into, byte) in self.prefix.iter_mut().skip(self.came).zip(data) {
            *into = *byte;
        }
        self.take(data.len())?;
        if self.came >= PREFIX_BYTES {
            let [_, length @ ..] = self.prefix;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            self.whole |= length > MAX_MESSAGE || self.came - PREFIX_BYTES >= length;
        }
        self.waiting.push_back(frame);
        Ok(())
    }
}

impl<B> Body for Within<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if self.whole
                && let Some(frame) = self.waiting.pop_front()
            {
                return Poll::Ready(Some(Ok(frame)));
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.keep(frame)?,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
                Poll::Ready(None) if self.waiting.is_empty() => return Poll::Ready(None),
                Poll::Ready(None) => self.whole = true,
                Poll::Pending => break,
            }
        }
        ready!(self.sleep.as_mut().poll(cx));
        let message = format!("the request did not come in whole within {:?}", self.within);
        Poll::Ready(Some(Err(Status::deadline_exceeded(message))))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(pool: &Arc<Semaphore>) -> Within<tonic::body::Body> {
        coming(pool, tonic::body::Body::empty())
    }

    fn coming<B>(pool: &Arc<Semaphore>, body: B) -> Within<B> {
        Within {
            body,
            sleep: Box::pin(tokio::time::sleep(Duration::from_secs(1))),
            within: Duration::from_secs(1),
            came: 0,
            prefix: [0; PREFIX_BYTES],
            waiting: VecDeque::new(),
            whole: false,
            pool: Arc::clone(pool),
            held: None,
        }
    }

    #[tokio::test]
    async fn what_is_coming_in_is_bounded_and_given_back() {
        let pool = Arc::new(Semaphore::new(100));
        let mut large = within(&pool);
        large.take(FLOOR_BYTES).expect("the floor is free");
        assert_eq!(pool.available_permits(), 100);
        for _ in 0..100 {
            large.take(UNIT).expect("there is room");
        }
        let (mut second, mut small) = (within(&pool), within(&pool));
        let refused = second.take(FLOOR_BYTES + 1).expect_err("no room");
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        small.take(FLOOR_BYTES).expect("the floor is free");
        drop(large);
        within(&pool).take(FLOOR_BYTES + 100 * UNIT).expect("all of it is back");
    }
    /// A request of these frames, which stays open.
    struct Open(VecDeque<Bytes>);

    impl Body for Open {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.pop_front().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
        }
    }

    /// The bytes that are given of a request, of which no more comes.
    fn given(frames: &[&[u8]]) -> usize {
        let pool = Arc::new(Semaphore::new(100));
        let frames = frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
        let mut request = coming(&pool, Open(frames));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut given = 0;
        while let Poll::Ready(Some(frame)) = Pin::new(&mut request).poll_frame(&mut cx) {
            given += frame.expect("room").data_ref().expect("data").len();
        }
        given
    }

    #[tokio::test]
    async fn a_message_is_given_when_it_is_whole() {
        assert_eq!(given(&[&[0, 0, 0, 0, 4, 1, 2, 3, 4]]), 9);
        assert_eq!(given(&[&[0, 0, 0, 0, 4, 1, 2, 3]]), 0, "one byte is missing");
        assert_eq!(given(&[&[0, 0], &[0, 0], &[4, 1], &[2, 3, 4]]), 9);
        assert_eq!(given(&[&[0, 0], &[0, 0]]), 0, "its length is not known");
        assert_eq!(given(&[&[0, 0, 0, 0, 0]]), 5, "an empty one");
        assert_eq!(given(&[&[0, 0xff, 0, 0, 0, 1]]), 6, "one that is refused for its length");
    }
}
