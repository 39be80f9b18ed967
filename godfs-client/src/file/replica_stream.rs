//! Bytes of one replica, verified unless told otherwise.

use bytes::Bytes;
use godfs_core::checksum::{self, PIECE};
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::time::{Duration, timeout};

use crate::metadata::ChunkLocation;
use crate::namenode::Namenode;
use crate::transport::connection::ReceiveBody;
use crate::transport::convert::{self, Node};
use crate::transport::messages::MessageStream;
use crate::transport::{BulkConnection, body};

/// How long the end of a stream may take after its last byte, before its connection is closed instead.
const FAREWELL: Duration = Duration::from_millis(200);

/// The bytes of a range of one replica, in order, each piece checked against its checksum. What arrives ahead of its
/// reader is bounded by the stream's flow-control window.
pub(super) struct ReplicaStream {
    messages: MessageStream<v1::ReadResponse, ReceiveBody>,
    connection: BulkConnection,
    /// The next byte of the chunk to give.
    position: u64,
    /// Where the range ends in the chunk.
    end: u64,
    stall: Duration,
    verify: bool,
    /// What was wrong behind the bytes that were given last.
    failure: Option<Error>,
}

impl ReplicaStream {
    /// Asks `node` for bytes `position..end` of a chunk, and has them checked here if `verify`.
    pub(super) async fn open(
        namenode: &Namenode,
        chunk: &ChunkLocation,
        node: &Node,
        (position, end): (u64, u64),
        verify: bool,
    ) -> Result<Self> {
        let stall = namenode.settings().transport.stall_timeout;
        let request = v1::ReadRequest {
            hello: Some(namenode.identity().hello()),
            chunk: chunk.chunk.get(),
            generation: chunk.generation.get(),
            offset: position,
            length: end - position,
            node: node.id.get(),
            // Every packet is checked here; the datanode need not do it too.
            verify: false,
        };
        let connection = namenode.channels().bulk(&node.address).await?;
        let body = body::request_body(futures::stream::iter([Ok(request)]));
        let open = async {
            let mut messages = connection.bulk_call::<v1::ReadResponse>("/godfs.v1.ChunkService/Read", body).await?;
            let header = messages.message().await?.unwrap_or_default();
            Ok((messages, convert::required_replica(header.replica.as_ref())?))
        };
        let (messages, replica) = timeout(stall, open).await.unwrap_or_else(|_| Err(stalled(stall)))?;
        if replica.chunk != chunk.chunk || replica.generation < chunk.generation {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "holds generation {} of chunk {}, generation {} of chunk {} is needed",
                    replica.generation, replica.chunk, chunk.generation, chunk.chunk
                ),
            ));
        }
        Ok(Self { messages, connection, position, end, stall, verify, failure: None })
    }

    /// The next bytes; never empty. `None` when the replica has no more, at the end of the range or before it.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.position >= self.end {
            return Ok(None);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let message =
            timeout(self.stall, self.messages.message()).await.unwrap_or_else(|_| Err(stalled(self.stall)))?;
        let Some(message) = message else { return Ok(None) };
        let packet = convert::read_packet(message)?;
        // A packet begins with a whole piece, at or before what is due, and brings something new.
        let ends = packet.offset + packet.data.len() as u64;
        if packet.offset > self.position || ends <= self.position || self.position - packet.offset >= PIECE as u64 {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("sent bytes {}..{ends} of the chunk where byte {} is due", packet.offset, self.position),
            ));
        }
        let (good, outcome) = match self.verify {
            true => checksum::verified(packet.offset, &packet.data, &packet.checksums),
            false => (packet.data.len(), Ok(())),
        };
        let ends = packet.offset + good as u64;
        if ends <= self.position {
            // Such pieces as the checksums leave out would be good without a word.
            return Err(outcome.err().unwrap_or_else(|| Error::new(ErrorKind::InvalidArgument, "sent nothing new")));
        }
        // What is good before it is of use all the same.
        self.failure = outcome.err();
        let from = usize::try_from(self.position - packet.offset).unwrap_or(usize::MAX);
        let to = usize::try_from(self.end.min(ends) - packet.offset).unwrap_or(usize::MAX);
        self.position = self.end.min(ends);
        Ok(Some(packet.data.slice(from..to)))
    }

    /// Ends a stream whose range was given, so that its connection can be used again. Best effort.
    pub(super) async fn finish(mut self) {
        if let Ok(Ok(None)) = timeout(FAREWELL, self.messages.message()).await {
            self.connection.done();
        }
    }
}

fn stalled(stall: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("sent nothing for {stall:?}"))
}
