//! Copies a finalized replica to another node, where it is temporary until it is whole.

use std::sync::Arc;

use godfs_client::pipeline::{ChunkSender, PacketKind, PipelineFailure, PipelineSetup};
use godfs_client::transport::convert::{self, WriteMode};
use godfs_core::chunk::{MAX_CHUNK_BYTES, MAX_PACKET_BYTES, Replica, ReplicaState};
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;

use super::shared::Shared;

/// Copies a replica as a namenode ordered. Every byte is verified on the way; a source that is found corrupt is read
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
    let setup = PipelineSetup {
        chunk,
        generation,
        mode: WriteMode::Copy,
        // The copy may be written on, too.
        capacity: reader.capacity().clamp(1, MAX_CHUNK_BYTES),
        length: 0,
        nodes: vec![target],
    };
    let speaker = shared.speaker();
    let mut sender = ChunkSender::open(&shared.channels, &speaker, &setup).await.map_err(failure)?;
    let mut offset = 0;
    loop {
        shared.copy_pace.pass((replica.length - offset).min(MAX_PACKET_BYTES as u64)).await;
        let packet = match reader.read(offset, MAX_PACKET_BYTES, true).await {
            Ok(packet) => packet,
            Err(error) => {
                if error.kind() == ErrorKind::Corrupt {
                    shared.suspect(chunk);
                }
                return Err(error.context(format_args!("copy of chunk {chunk}")));
            }
        };
        if packet.data.is_empty() && offset < replica.length {
            let message = format!("chunk {chunk} ends at {offset} of {} bytes", replica.length);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        offset += packet.data.len() as u64;
        while !sender.has_credit() {
            sender.ack().await.map_err(failure)?;
        }
        if offset >= replica.length {
            // A repair that power could take back would be reported as done too early.
            sender.send(packet, PacketKind::Last { sync: true })?;
            break;
        }
        sender.send(packet, PacketKind::Data)?;
    }
    while sender.in_flight() > 0 {
        sender.ack().await.map_err(failure)?;
    }
    sender.finish().await;
    Ok(replica)
}

fn failure(failure: PipelineFailure) -> Error {
    failure.error
}
