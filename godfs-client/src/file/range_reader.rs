//! Bytes of a range of a file, from whichever replicas give them.

use std::sync::Arc;

use bytes::Bytes;
use godfs_core::chunk::ReplicaState;
use godfs_core::{Error, ErrorKind, NodeId, Result};
use tokio::time::Instant;

use super::reader::Shared;
use super::replica_stream::ReplicaStream;
use crate::metadata::ChunkLocation;
use crate::namenode::Backoff;
use crate::transport::convert::Node;

/// Gives the bytes of a range in order. A replica that fails is left for the next one at the byte it failed at.
pub(super) struct RangeReader {
    file: Arc<Shared>,
    /// All bytes, when they lie with the namenode.
    small: Option<Bytes>,
    position: u64,
    end: u64,
    source: Option<Source>,
    /// Which nodes failed, and why, since the locations were last asked for.
    failed: Vec<(NodeId, Error)>,
    /// Set while every replica has failed since the last byte that was given.
    waiting: Option<Waiting>,
}

/// Waiting for a replica that can be read.
struct Waiting {
    until: Instant,
    backoff: Backoff,
}

struct Source {
    chunk: ChunkLocation,
    node: Node,
    stream: ReplicaStream,
}

impl RangeReader {
    /// The bytes `position..end`, which must lie in the file.
    pub(super) fn new(file: Arc<Shared>, position: u64, end: u64) -> Self {
        Self { small: file.small(), file, position, end, source: None, failed: Vec::new(), waiting: None }
    }

    /// The next bytes; `None` at the end of the range.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.position >= self.end {
            return Ok(None);
        }
        if let Some(small) = &self.small {
            let (from, to) = (usize::try_from(self.position), usize::try_from(self.end));
            let range = from.unwrap_or(usize::MAX).min(small.len())..to.unwrap_or(usize::MAX).min(small.len());
            self.position = self.end;
            return Ok(Some(small.slice(range)).filter(|bytes| !bytes.is_empty()));
        }
        loop {
            let Some(source) = &mut self.source else {
                self.source = Some(self.connect().await?);
                continue;
            };
            match source.stream.next().await {
                Ok(Some(bytes)) => {
                    self.position += bytes.len() as u64;
                    (self.waiting, self.failed) = (None, Vec::new());
                    if source.stream.is_done()
                        && let Some(source) = self.source.take()
                    {
                        source.stream.finish().await;
                    }
                    return Ok(Some(bytes));
                }
                Ok(None) => self.give_up_source(Error::new(ErrorKind::Unavailable, "ended before the range did")),
                Err(error) => self.give_up_source(error),
            }
        }
    }

    /// Leaves a replica that failed.
    fn give_up_source(&mut self, error: Error) {
        let Some(Source { chunk, node, .. }) = self.source.take() else { return };
        if error.kind() == ErrorKind::Corrupt {
            self.file.namenode.report_corrupt(chunk.chunk, chunk.generation, node.id, error.message());
        }
        self.give_up_node(&node, error);
    }

    fn give_up_node(&mut self, node: &Node, error: Error) {
        tracing::debug!(node = %node.id, address = %node.address, %error, "replica not readable");
        self.file.avoid(node.id);
        self.failed.push((node.id, error.context(format_args!("node {} at {}", node.id, node.address))));
    }

    /// Begins with the best replica that has not failed at this byte yet. While all fail it goes on asking where they are: others may
    /// have been made since, and a node may be back, under another address perhaps.
    async fn connect(&mut self) -> Result<Source> {
        let mut chunk = self.file.locations.at(self.position).await?;
        loop {
            let Some(node) = self.choose(&chunk) else {
                self.wait(&chunk).await?;
                chunk = self.file.locations.refresh(self.position).await?;
                continue;
            };
            let (from, to) = self.range_in(&chunk);
            match ReplicaStream::open(&self.file.namenode, &chunk, &node, from, to).await {
                Ok(stream) => return Ok(Source { chunk, node, stream }),
                Err(error) => self.give_up_node(&node, error),
            }
        }
    }

    /// Every replica has failed: pauses before they are tried again, or says that this is in vain.
    async fn wait(&mut self, chunk: &ChunkLocation) -> Result<()> {
        let namenode = &self.file.namenode;
        let patience = namenode.settings().call_timeout;
        // Nodes that don't have the bytes won't get them by waiting; but the locations may be old, so they are asked for once.
        let gone = |error: &Error| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound);
        let hopeless = match &self.waiting {
            None => false,
            Some(waiting) => {
                let nothing_to_wait_for =
                    chunk.unregistered.is_empty() && self.failed.iter().all(|(_, error)| gone(error));
                nothing_to_wait_for || Instant::now() >= waiting.until
            }
        };
        if hopeless {
            return Err(self.hopeless(chunk));
        }
        let waiting = self
            .waiting
            .get_or_insert_with(|| Waiting { until: Instant::now() + patience, backoff: Backoff::new(namenode.env()) });
        let pause = waiting.backoff.pause();
        self.file.forgive();
        self.failed.clear();
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Nearest first, but those that failed this file lately, or are not heard from, come last.
    fn choose(&self, chunk: &ChunkLocation) -> Option<Node> {
        chunk
            .replicas
            .iter()
            .filter(|replica| replica.state.is_some_and(|state| state != ReplicaState::Temporary))
            .filter(|replica| !self.failed.iter().any(|(failed, _)| *failed == replica.node.id))
            .min_by_key(|replica| (self.file.avoids(replica.node.id), !replica.live))
            .map(|replica| replica.node.clone())
    }

    /// What of the range lies in the chunk, as bytes of the chunk.
    fn range_in(&self, chunk: &ChunkLocation) -> (u64, u64) {
        let end = self.end - chunk.offset;
        let end =
            if chunk.open { end.min(self.file.status.chunk_size.max(chunk.length)) } else { end.min(chunk.length) };
        (self.position - chunk.offset, end)
    }

    fn hopeless(&self, chunk: &ChunkLocation) -> Error {
        let to = chunk.offset + self.range_in(chunk).1;
        let corrupt = self.failed.iter().any(|(_, error)| error.kind() == ErrorKind::Corrupt)
            || chunk.replicas.iter().any(|replica| replica.state.is_none());
        let kind = if corrupt { ErrorKind::Corrupt } else { ErrorKind::Unavailable };
        let reasons: Vec<String> = self.failed.iter().map(|(_, error)| error.message().to_owned()).collect();
        let reasons = match (reasons.is_empty(), corrupt) {
            (true, false) if chunk.unregistered.is_empty() => "it has no replica".to_owned(),
            (true, true) if chunk.unregistered.is_empty() => "every replica is corrupt".to_owned(),
            _ => reasons.into_iter().chain(chunk.unreachable()).collect::<Vec<_>>().join("; "),
        };
        let message = format!(
            "bytes {}..{to} of {} can't be read: chunk {}: {reasons}",
            self.position, self.file.path, chunk.chunk
        );
        Error::new(kind, message)
    }
}
