//! The checksum of a whole file, composed from those of its chunks.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use godfs_core::checksum::{crc32c, crc32c_append, crc32c_combine};
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::time::timeout;

use super::reader::{Reader, Shared};
use crate::metadata::ChunkLocation;
use crate::transport::convert::Node;
use crate::transport::status::from_status;

/// The checksum of a file's bytes: equal bytes give equal checksums, however they are cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FileChecksum {
    /// CRC32C (Castagnoli) of all bytes.
    pub crc32c: u32,
    /// How many bytes.
    pub length: u64,
}

/// Composes the checksum of what `reader` can read. No byte of a chunk travels while one of its datanodes answers.
pub(crate) async fn checksum(reader: &Reader) -> Result<FileChecksum> {
    let shared = reader.shared();
    let length = reader.len();
    if let Some(small) = shared.small() {
        return Ok(FileChecksum { crc32c: crc32c(&small), length: small.len() as u64 });
    }
    let mut sum = 0;
    let mut position = 0;
    while position < length {
        let chunk = shared.locations.at(position).await?;
        let limit = if chunk.open { shared.status.chunk_size.max(chunk.length) } else { chunk.length };
        let bytes = limit.min(length - chunk.offset);
        let part = match of_chunk(shared, &chunk, bytes).await {
            Some(part) => part,
            // Reading finds a replica, or says why there is none.
            None => by_reading(reader, chunk.offset, bytes).await?,
        };
        let bytes_here = usize::try_from(bytes).map_err(|_| Error::new(ErrorKind::Unsupported, "a chunk too large"))?;
        sum = crc32c_combine(sum, part, bytes_here);
        position = chunk.offset + bytes;
    }
    Ok(FileChecksum { crc32c: sum, length })
}

/// What the first datanode says that answers.
async fn of_chunk(shared: &Arc<Shared>, chunk: &ChunkLocation, length: u64) -> Option<u32> {
    for replica in chunk.replicas.iter().filter(|replica| replica.state.is_some() && replica.live) {
        match of_replica(shared, chunk, &replica.node, length).await {
            Ok(sum) => return Some(sum),
            Err(error) => tracing::debug!(node = %replica.node.id, %error, "no checksum"),
        }
    }
    None
}

async fn of_replica(shared: &Shared, chunk: &ChunkLocation, node: &Node, length: u64) -> Result<u32> {
    let namenode = &shared.namenode;
    let request = v1::ChecksumRequest {
        hello: Some(namenode.identity().hello()),
        chunk: chunk.chunk.get(),
        generation: chunk.generation.get(),
        length,
        node: node.id.get(),
    };
    let ask = async {
        let mut service = namenode.channels().chunk_service(&node.address).await?;
        service.checksum(request).await.map_err(|status| from_status(&status, &node.address))
    };
    let patience = namenode.settings().transport.call_timeout;
    let answer = timeout(patience, ask)
        .await
        .map_err(|_| Error::new(ErrorKind::Unavailable, format!("{} did not answer", node.address)))??;
    Ok(answer.into_inner().crc32c)
}

async fn by_reading(reader: &Reader, offset: u64, length: u64) -> Result<u32> {
    let bytes = reader.stream(offset..offset + length);
    bytes.try_fold(0, |sum, bytes: Bytes| async move { Ok(crc32c_append(sum, &bytes)) }).await
}
