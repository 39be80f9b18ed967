//! Messages out, without copying their payload.
//!
//! A bulk message leaves as two frames: a header (the five bytes of gRPC and every field but the last) and the payload as
//! the caller's own `Bytes`. On the wire it is what prost would have written, so any gRPC peer understands it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, ready};
use godfs_core::Error;
use godfs_proto::v1;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use tonic::body::Body;

use super::status;

/// The bytes in front of every gRPC message: a flag for compression and a big-endian length.
pub const PREFIX_BYTES: usize = 5;

/// The number of the field `data` in the bulk messages; above all others, so that it comes last.
const DATA_FIELD: u32 = 15;

/// Messages below this many bytes of payload share one frame with their header: h2 flushes the socket after every
/// frame, and a copy of this size costs less than a flush.
const SHARED_FRAME_BYTES: usize = 64 << 10;

/// A message of a bulk stream, with or without a payload, field 15, that may be large.
pub trait BulkMessage: Message + Default + Sized {
    /// Takes the payload out; empty when there is none.
    fn take_data(&mut self) -> Bytes;
}

impl BulkMessage for v1::WriteRequest {
    fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }
}

impl BulkMessage for v1::ReadResponse {
    fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }
}

impl BulkMessage for v1::ReadManyRequest {
    fn take_data(&mut self) -> Bytes {
        Bytes::new()
    }
}

impl BulkMessage for v1::ReadManyResponse {
    /// Its payloads are small: they share the one frame.
    fn take_data(&mut self) -> Bytes {
        Bytes::new()
    }
}

impl BulkMessage for v1::WriteManyRequest {
    /// Its payloads are small: they share the one frame.
    fn take_data(&mut self) -> Bytes {
        Bytes::new()
    }
}

impl BulkMessage for v1::WriteManyResponse {
    fn take_data(&mut self) -> Bytes {
        Bytes::new()
    }
}

impl BulkMessage for v1::ReadRequest {
    fn take_data(&mut self) -> Bytes {
        Bytes::new()
    }
}

/// The frames of one message: a header, and the payload unless it went into the header's frame.
#[must_use]
pub fn encode<M: BulkMessage>(mut message: M) -> (Bytes, Option<Bytes>) {
    let data = message.take_data();
    let fields = message.encoded_len();
    let tail =
        if data.is_empty() { 0 } else { key_len(DATA_FIELD) + encoded_len_varint(data.len() as u64) + data.len() };
    let shared = data.len() < SHARED_FRAME_BYTES;
    let mut header = BytesMut::with_capacity(PREFIX_BYTES + fields + tail - if shared { 0 } else { data.len() });
    header.put_u8(0);
    // A message is bounded by the packet size, far below 4 GiB.
    header.put_u32(u32::try_from(fields + tail).expect("a message is smaller than 4 GiB"));
    message.encode_raw(&mut header);
    if data.is_empty() {
        return (header.freeze(), None);
    }
    encode_key(DATA_FIELD, WireType::LengthDelimited, &mut header);
    encode_varint(data.len() as u64, &mut header);
    if shared {
        header.put_slice(&data);
        return (header.freeze(), None);
    }
    (header.freeze(), Some(data))
}

/// The messages of `stream` as the body of a request. An error of the stream resets the call.
pub fn request_body<S, M>(stream: S) -> Body
where
    S: Stream<Item = Result<M, Error>> + Send + 'static,
    M: BulkMessage + 'static,
{
    Body::new(BulkBody { stream: Some(Box::pin(stream)), payload: None, trailers: false })
}

/// The messages of `stream` as the body of an answer, ended by the trailers that say how it went.
pub fn response_body<S, M>(stream: S) -> Body
where
    S: Stream<Item = Result<M, Error>> + Send + 'static,
    M: BulkMessage + 'static,
{
    Body::new(BulkBody { stream: Some(Box::pin(stream)), payload: None, trailers: true })
}

/// A whole answer around [`response_body`], for a service that answers a call by itself.
pub fn response<S, M>(stream: S) -> http::Response<Body>
where
    S: Stream<Item = Result<M, Error>> + Send + 'static,
    M: BulkMessage + 'static,
{
    let mut response = http::Response::new(response_body(stream));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

struct BulkBody<S> {
    /// `None` once it has ended.
    stream: Option<Pin<Box<S>>>,
    /// The payload whose header was the last frame.
    payload: Option<Bytes>,
    /// Whether trailers end the body: those of an answer.
    trailers: bool,
}

impl<S, M> http_body::Body for BulkBody<S>
where
    S: Stream<Item = Result<M, Error>>,
    M: BulkMessage,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(payload) = self.payload.take() {
            return Poll::Ready(Some(Ok(Frame::data(payload))));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let end = match ready!(stream.as_mut().poll_next(cx)) {
            Some(Ok(message)) => {
                let (header, payload) = encode(message);
                self.payload = payload;
                return Poll::Ready(Some(Ok(Frame::data(header))));
            }
            Some(Err(error)) => status::to_status(&error),
            None => Status::ok(""),
        };
        self.stream = None;
        if self.trailers {
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(end.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
        Poll::Ready((end.code() != tonic::Code::Ok).then_some(Err(end)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none() && self.payload.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(frames: (Bytes, Option<Bytes>)) -> Vec<u8> {
        let mut all = frames.0.to_vec();
        all.extend_from_slice(&frames.1.unwrap_or_default());
        all
    }

    fn by_prost(message: &impl Message) -> Vec<u8> {
        let mut all = vec![0];
        all.extend_from_slice(&u32::try_from(message.encoded_len()).expect("small").to_be_bytes());
        message.encode(&mut all).expect("a Vec grows");
        all
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_prost(
            sequence: u64, offset: u64, sync: bool, last: bool,
            sums in proptest::collection::vec(any::<u8>(), 0..50),
            length in prop_oneof![0_usize..300, SHARED_FRAME_BYTES - 2..SHARED_FRAME_BYTES + 2],
        ) {
            let data = Bytes::from(vec![7; length]);
            let message = v1::WriteRequest { open: None, sequence, offset, sync, last, checksums: sums.clone().into(), data: data.clone() };
            prop_assert_eq!(joined(encode(message.clone())), by_prost(&message));
            let message = v1::ReadResponse { replica: None, offset, checksums: sums.into(), data };
            prop_assert_eq!(joined(encode(message.clone())), by_prost(&message));
        }
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let data = Bytes::from(vec![1; 1 << 20]);
        let (_, payload) = encode(v1::WriteRequest { data: data.clone(), ..Default::default() });
        assert_eq!(payload.expect("its own frame").as_ptr(), data.as_ptr());
    }
}
