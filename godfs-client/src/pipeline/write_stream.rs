//! The conversation with the first node of a pipeline.

use std::fmt;

use futures::StreamExt;
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::CREDITS;
use crate::transport::body::request_body;
use crate::transport::connection::{BulkAnswer, ReceiveBody};
use crate::transport::messages::MessageStream;
use crate::transport::{Address, BulkConnection, Channels};

/// Messages that wait between their maker and the connection: every packet that can be in flight, and the first
/// message. So a sender that keeps to its credits never waits, and one that does not is held here.
const WAITING: usize = CREDITS + 1;

/// A `ChunkService.Write` call: messages down, answers up. Dropping both halves ends the call.
#[derive(Debug)]
pub struct WriteStream {
    /// The way down.
    pub requests: WriteRequests,
    /// The way up.
    pub acks: WriteAcks,
}

impl WriteStream {
    /// Opens the call at `address` and sends `open`, the first message.
    ///
    /// The answer to it is the first one of [`WriteAcks::next`]; wait for it with a deadline
    /// ([`TransportSettings::setup_timeout`](crate::transport::TransportSettings::setup_timeout)), since it takes as long
    /// as the pipeline needs to stand.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], naming the address.
    pub async fn open(channels: &Channels, address: &Address, open: v1::WriteRequest) -> Result<Self> {
        let connection = channels.bulk(address).await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        sender.try_send(open).map_err(|_| Error::new(ErrorKind::Internal, "a new channel is full"))?;
        let body = request_body(ReceiverStream::new(receiver).map(Ok));
        let answer = connection.bulk_call("/godfs.v1.ChunkService/Write", body);
        Ok(Self {
            requests: WriteRequests { sender: Some(sender), address: address.clone() },
            acks: WriteAcks { state: State::Opening(answer), connection: Some(connection) },
        })
    }
}

/// The way down a pipeline.
#[derive(Debug)]
pub struct WriteRequests {
    sender: Option<mpsc::Sender<v1::WriteRequest>>,
    address: Address,
}

impl WriteRequests {
    /// Sends one message, waiting while [`CREDITS`] others wait already. Cancel-safe: a message is sent or not.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the call has ended; [`WriteAcks::next`] says why.
    pub async fn send(&mut self, message: v1::WriteRequest) -> Result<()> {
        match &self.sender {
            Some(sender) => sender.send(message).await.map_err(|_| self.ended()),
            None => Err(self.ended()),
        }
    }

    /// Sends one message at once, for senders that keep to their credits.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and [`ErrorKind::LimitExceeded`] when it would have to wait.
    pub fn send_now(&mut self, message: v1::WriteRequest) -> Result<()> {
        let sender = self.sender.as_ref().ok_or_else(|| self.ended())?;
        match sender.try_reserve() {
            Ok(place) => {
                place.send(message);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                Err(Error::new(ErrorKind::LimitExceeded, format!("more than {CREDITS} packets wait")))
            }
            Err(mpsc::error::TrySendError::Closed(())) => Err(self.ended()),
        }
    }

    /// Whether it was said that nothing follows.
    pub(super) fn is_finished(&self) -> bool {
        self.sender.is_none()
    }

    /// Says that nothing follows. The answers to what was sent still come.
    pub fn finish(&mut self) {
        self.sender = None;
    }

    fn ended(&self) -> Error {
        Error::new(ErrorKind::Unavailable, format!("the pipeline through {} has ended", self.address))
    }
}

/// The way up a pipeline.
pub struct WriteAcks {
    state: State,
    /// Given back when the call has ended well.
    connection: Option<BulkConnection>,
}

enum State {
    Opening(BulkAnswer<v1::WriteResponse>),
    Open(Box<MessageStream<v1::WriteResponse, ReceiveBody>>),
    Ended,
}

impl WriteAcks {
    /// The next answer; `None` when the node has ended the call in good order. Cancel-safe.
    ///
    /// # Errors
    /// What the node ended the call with, or [`ErrorKind::Unavailable`] when the connection broke.
    pub async fn next(&mut self) -> Result<Option<v1::WriteResponse>> {
        let next = self.advance().await;
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.state = State::Ended;
                if let Some(connection) = self.connection.take() {
                    connection.done();
                }
            }
            Err(_) => {
                self.state = State::Ended;
                self.connection = None;
            }
        }
        next
    }

    async fn advance(&mut self) -> Result<Option<v1::WriteResponse>> {
        loop {
            match &mut self.state {
                State::Opening(answer) => {
                    let stream = answer.await?;
                    self.state = State::Open(Box::new(stream));
                }
                State::Open(stream) => return stream.message().await,
                State::Ended => return Ok(None),
            }
        }
    }
}

impl fmt::Debug for WriteAcks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteAcks").field("connection", &self.connection).finish_non_exhaustive()
    }
}
