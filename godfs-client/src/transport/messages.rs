//! Messages in, without copying their payload where the frames allow it.
//!
//! tonic's own decoder copies every frame into one buffer. This one keeps the frames as they came: a payload that lies in
//! one frame, as [`body`](super::body) sends it, is handed out as a slice of that frame.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, ready};
use godfs_core::{Error, ErrorKind};
use http::HeaderMap;
use http_body::Body;
use prost::Message;
use tonic::{Code, Status};

use super::address::Address;
use super::body::PREFIX_BYTES;
use super::settings::MESSAGE_BYTES;
use super::status;

/// Frames below this many bytes are joined as they arrive, so that a peer which sends single bytes costs no more memory
/// than what it sends.
const JOINED_BYTES: usize = 16 << 10;

/// The messages of one direction of a call.
pub struct MessageStream<M, B> {
    body: B,
    peer: Address,
    frames: Frames,
    /// The length of the message whose prefix was read.
    pending: Option<usize>,
    /// A call's answer ends with a status in its trailers; a request just ends.
    is_answer: bool,
    ended: bool,
    message: PhantomData<fn() -> M>,
}

impl<M, B> MessageStream<M, B>
where
    M: Message + Default,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Status>,
{
    /// The messages of an answer from `peer`, whose end says how the call went.
    pub fn answer(body: B, peer: Address) -> Self {
        Self::new(body, peer, true)
    }

    /// The messages of a request. `peer` is only named in errors.
    pub fn request(body: B, peer: Address) -> Self {
        Self::new(body, peer, false)
    }

    fn new(body: B, peer: Address, is_answer: bool) -> Self {
        Self { body, peer, frames: Frames::default(), pending: None, is_answer, ended: false, message: PhantomData }
    }

    /// The next message; `None` at the end. Cancel-safe: frames that have arrived are kept.
    ///
    /// # Errors
    /// What the other side ended the call with; [`ErrorKind::Unavailable`] when the connection broke;
    /// [`ErrorKind::InvalidArgument`] for what is no message. Nothing follows an error.
    pub async fn message(&mut self) -> Result<Option<M>, Error> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await.transpose()
    }

    /// A message, if one has arrived whole.
    fn take(&mut self) -> Result<Option<M>, Error> {
        let length = match self.pending {
            Some(length) => length,
            None if self.frames.remaining() < PREFIX_BYTES => return Ok(None),
            None => {
                self.frames.settle();
                if self.frames.get_u8() != 0 {
                    return Err(self.invalid("a compressed message, which was not offered"));
                }
                let length = self.frames.get_u32() as usize;
                if length > MESSAGE_BYTES {
                    return Err(self.invalid(&format!("a message of {length} bytes, the limit is {MESSAGE_BYTES}")));
                }
                self.pending = Some(length);
                length
            }
        };
        if self.frames.remaining() < length {
            return Ok(None);
        }
        self.frames.settle();
        self.pending = None;
        let message = M::decode((&mut self.frames).take(length));
        message.map(Some).map_err(|error| self.invalid(&error.to_string()))
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Error> {
        // Those of a request mean nothing, and are not even looked at: they may hold anything.
        let status = trailers.filter(|_| self.is_answer).and_then(Status::from_header_map);
        match status {
            Some(status) if status.code() != Code::Ok => return Err(status::from_status(&status, &self.peer)),
            None if self.is_answer => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("{} ended the stream without saying how it went", self.peer),
                ));
            }
            _ => {}
        }
        if self.pending.is_some() || self.frames.remaining() > 0 {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{} ended the stream in the middle of a message", self.peer),
            ));
        }
        Ok(())
    }

    fn invalid(&self, what: &str) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("{} sent {what}", self.peer))
    }
}

impl<M, B> Stream for MessageStream<M, B>
where
    M: Message + Default,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Status>,
{
    type Item = Result<M, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let outcome = loop {
            match self.take() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frames.push(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            break self.end(Some(&trailers));
                        }
                    }
                },
                Some(Err(error)) => break Err(status::from_status(&error.into(), &self.peer)),
                None => break self.end(None),
            }
        };
        self.ended = true;
        Poll::Ready(outcome.err().map(Err))
    }
}

impl<M, B> Unpin for MessageStream<M, B> {}

impl<M, B> fmt::Debug for MessageStream<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageStream").field("peer", &self.peer).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Frames as they came, read as one run of bytes.
#[derive(Default)]
struct Frames {
    whole: VecDeque<Bytes>,
    /// Small frames, joined; they follow the whole ones.
    small: BytesMut,
    /// Bytes in both.
    length: usize,
}

impl Frames {
    fn push(&mut self, frame: Bytes) {
        self.length += frame.len();
        if frame.len() < JOINED_BYTES {
            self.small.put(frame);
        } else {
            self.settle();
            self.whole.push_back(frame);
        }
    }

    /// Makes what was joined readable. Must come before reading.
    fn settle(&mut self) {
        if !self.small.is_empty() {
            self.whole.push_back(self.small.split().freeze());
        }
    }
}

impl Buf for Frames {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.whole.front().map_or(&[], |front| front)
    }

    fn advance(&mut self, mut count: usize) {
        self.length -= count;
        while count > 0 {
            let front = self.whole.front_mut().expect("no more is taken than has been settled");
            let step = count.min(front.len());
            front.advance(step);
            if front.is_empty() {
                self.whole.pop_front();
            }
            count -= step;
        }
    }

    /// A slice of one frame where the bytes lie in one; joined from several otherwise.
    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        match self.whole.front_mut() {
            Some(front) if front.len() >= length => {
                let bytes = front.split_to(length);
                if front.is_empty() {
                    self.whole.pop_front();
                }
                self.length -= length;
                bytes
            }
            _ => {
                let mut joined = BytesMut::with_capacity(length);
                joined.put(self.take(length));
                joined.freeze()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::body::{encode, response_body};
    use futures::stream;
    use godfs_proto::v1::{ReadResponse, WriteRequest};
    use http_body::Frame;

    type Frames = VecDeque<Result<Frame<Bytes>, Status>>;

    /// A body of given frames.
    struct Given(Frames);

    impl Body for Given {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn peer() -> Address {
        Address::parse("node:1").expect("valid")
    }

    fn given(bytes: &[u8], size: usize) -> Given {
        Given(bytes.chunks(size).map(|part| Ok(Frame::data(Bytes::copy_from_slice(part)))).collect())
    }

    fn message(length: usize) -> WriteRequest {
        let data: Bytes = (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
        WriteRequest { sequence: 5, offset: 4_096, checksums: vec![1; 1_024].into(), data, ..Default::default() }
    }

    #[tokio::test]
    async fn messages_come_whole_however_they_are_cut() {
        let mut bytes = Vec::new();
        let sent = [message(1 << 20), message(0), message(100), message(70_000)];
        for message in &sent {
            let (header, payload) = encode(message.clone());
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(&payload.unwrap_or_default());
        }
        for size in [1, 7, 4_096, JOINED_BYTES, 100_000, bytes.len()] {
            let mut stream = MessageStream::<WriteRequest, _>::request(given(&bytes, size), peer());
            for message in &sent {
                assert_eq!(stream.message().await.expect("valid").as_ref(), Some(message), "frames of {size} bytes");
            }
            assert_eq!(stream.message().await.expect("the end"), None);
        }
    }

    #[tokio::test]
    async fn a_payload_in_one_frame_is_not_copied() {
        let (header, payload) = encode(message(1 << 20));
        let payload = payload.expect("its own frame");
        let at = payload.as_ptr();
        let body = Given([Ok(Frame::data(header)), Ok(Frame::data(payload))].into());
        let mut stream = MessageStream::<WriteRequest, _>::request(body, peer());
        assert_eq!(stream.message().await.expect("valid").expect("a message").data.as_ptr(), at);
    }

    #[tokio::test]
    async fn answers_end_with_their_status() {
        let part = || Ok(ReadResponse { offset: 7, ..Default::default() });
        let failed = Err(Error::new(ErrorKind::Corrupt, "a bad piece"));
        let mut stream =
            MessageStream::<ReadResponse, _>::answer(response_body(stream::iter([part(), part(), failed])), peer());
        assert_eq!(stream.message().await.expect("a message").expect("a message").offset, 7);
        assert!(stream.message().await.expect("a message").is_some());
        let error = stream.message().await.expect_err("the status");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Corrupt, "a bad piece"));
        assert!(stream.message().await.expect("nothing follows").is_none());

        let mut stream = MessageStream::<ReadResponse, _>::answer(response_body(stream::iter([part()])), peer());
        assert!(stream.message().await.expect("a message").is_some());
        assert!(stream.message().await.expect("a good end").is_none());
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let long = [&[0][..], &(MESSAGE_BYTES as u32 + 1).to_be_bytes()].concat();
        for (bytes, kind, why) in [
            (&[1, 0, 0, 0, 0][..], ErrorKind::InvalidArgument, "compressed"),
            (&long, ErrorKind::InvalidArgument, "the limit"),
            (&[0, 0, 0, 0, 2, 0xff, 0xff], ErrorKind::InvalidArgument, "node:1"),
            (&[0, 0, 0, 0, 9, 1], ErrorKind::Unavailable, "middle of a message"),
            (&[0, 0], ErrorKind::Unavailable, "middle of a message"),
        ] {
            let mut stream = MessageStream::<WriteRequest, _>::request(given(bytes, 3), peer());
            let error = stream.message().await.expect_err(why);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(why), "{error}");
        }
        let mut stream = MessageStream::<WriteRequest, _>::answer(given(&[], 1), peer());
        assert_eq!(stream.message().await.expect_err("no status").kind(), ErrorKind::Unavailable);
    }
}
