//! Copies a replica to another node, where it is temporary until it is whole.

use std::sync::Arc;

use godfs_client::pipeline::{ChunkSender, PacketKind, PipelineFailure, PipelineSetup};
use godfs_client::transport::convert::{self, Node, WriteMode};
use godfs_core::chunk::{MAX_CHUNK_BYTES, MAX_PACKET_BYTES, Replica, ReplicaReader, ReplicaState};
use godfs_core::{Error, ErrorKind, Generation, Result};
use godfs_proto::v1;

use super::shared::Shared;

/// Copies a finalized replica as a namenode ordered. Every byte is verified on the way; a source that is found corrupt is read
/// again, and this node's verdict reported.
///
/// # Errors
/// [`ErrorKind::FailedPrecondition`] when the replica is not the one that was meant, [`ErrorKind::Corrupt`], and whatever
/// the target answers.
pub(crate) async fn copy(shared: &Arc<Shared>, order: &v1::CopyReplica) -> Result<Replica> {
    let (chunk, generation) = (convert::chunk(order.chunk)?, convert::generation(order.generation)?);
    let target = order.target.as_ref().ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "target: missing"))?;
    let target = convert::node(target)?;
    let reader = shared.store.open(chunk, generation).await?;
    let replica = reader.replica();
    let is_meant =
        replica.state == ReplicaState::Finalized && (replica.generation, replica.length) == (generation, order.length);
    if !is_meant {
        let message = format!(
            "chunk {chunk} is {:?} with generation {} and {} bytes here, not finalized with generation {generation} and {} bytes",
            replica.state, replica.generation, replica.length, order.length
        );
        return Err(Error::new(ErrorKind::FailedPrecondition, message));
    }
    let mut copy = Copy::open(shared, reader, generation, target, Haste::Paced).await?;
    // A repair that power could take back would be reported as done too early.
    copy.send(replica.length, Some(PacketKind::Last { sync: true })).await?;
    copy.finish().await?;
    Ok(replica)
}

/// Whether a copy may take all that disks and network give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// It keeps to the pace that is set for repairs.
    Paced,
    /// A writer is in need of it.
    Full,
}

/// A copy on its way to another node. Dropping it unfinished leaves nothing there.
#[derive(Debug)]
pub(crate) struct Copy<'a> {
    shared: &'a Shared,
    reader: Box<dyn ReplicaReader>,
    sender: ChunkSender,
    haste: Haste,
    /// Bytes that were sent.
    sent: u64,
}

impl<'a> Copy<'a> {
    /// Begins a copy on `target`, under `generation`, of what `reader` reads.
    pub(crate) async fn open(
        shared: &'a Shared,
        reader: Box<dyn ReplicaReader>,
        generation: Generation,
        target: Node,
        haste: Haste,
    ) -> Result<Self> {
        let replica = reader.replica();
        let whole = replica.state == ReplicaState::Finalized;
        let setup = PipelineSetup {
            chunk: replica.chunk,
            generation,
            mode: WriteMode::Copy,
            // The copy may be written on, too.
            capacity: reader.capacity().clamp(1, MAX_CHUNK_BYTES),
            length: 0,
            // One that is being written grows.
            expected: if whole { replica.length } else { 0 },
            nodes: vec![target],
        };
        let sender = ChunkSender::open(&shared.channels, &shared.speaker(), &setup).await.map_err(failure)?;
        Ok(Self { shared, reader, sender, haste, sent: 0 })
    }

    /// Goes on with what another reader of the same replica reads.
    pub(crate) fn follow(&mut self, reader: Box<dyn ReplicaReader>) {
        self.reader = reader;
    }

    /// Bytes that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends what follows, until `length` bytes at least were sent. The last packet asks for `end`, if anything; it may be empty.
    pub(crate) async fn send(&mut self, length: u64, end: Option<PacketKind>) -> Result<()> {
        let chunk = self.reader.replica().chunk;
        while self.sent < length || end.is_some() {
            if self.haste == Haste::Paced {
                self.shared.copy_pace.pass(length.saturating_sub(self.sent).min(MAX_PACKET_BYTES as u64)).await;
            }
            let packet = match self.reader.read(self.sent, MAX_PACKET_BYTES, true).await {
                Ok(packet) => packet,
                Err(error) => {
                    if error.kind() == ErrorKind::Corrupt {
                        self.shared.suspect(chunk);
                    }
                    return Err(error.context(format_args!("copy of chunk {chunk}")));
                }
            };
            if packet.data.is_empty() && self.sent < length {
                let message = format!("chunk {chunk} ends at {} of {length} bytes", self.sent);
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            // It begins with the piece that holds the first byte not sent: earlier, where that was unfinished.
            self.sent = packet.offset + packet.data.len() as u64;
            while !self.sender.has_credit() {
                self.sender.ack().await.map_err(failure)?;
            }
            match end {
                Some(end) if self.sent >= length => {
                    self.sender.send(packet, end)?;
                    break;
                }
                _ => self.sender.send(packet, PacketKind::Data)?,
            };
        }
        Ok(())
    }

    /// Waits until the other node has all that was sent.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        while self.sender.in_flight() > 0 {
            self.sender.ack().await.map_err(failure)?;
        }
        Ok(())
    }

    /// Ends a copy whose last packet was sent.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.settle().await?;
        self.sender.finish().await;
        Ok(())
    }
}

fn failure(failure: PipelineFailure) -> Error {
    failure.error
}
