//! Where the chunks of a file are, as far as it was asked.

use std::collections::BTreeMap;

use godfs_core::{Error, ErrorKind, InodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;

use crate::metadata::{ChunkLocation, FileStatus};
use crate::namenode::Namenode;

/// Chunks that one answer brings: at 128 MiB a chunk, 8 GiB of a file.
pub(crate) const CHUNKS_AT_ONCE: u32 = 64;
/// Chunks that are remembered; beyond it all are forgotten and asked for again.
const MAX_CHUNKS: usize = 4_096;

/// Where the chunks of a file are.
#[derive(Debug)]
pub(super) struct Locations {
    namenode: Namenode,
    inode: InodeId,
    chunk_size: u64,
    known: Mutex<BTreeMap<u64, ChunkLocation>>,
}

impl Locations {
    pub(super) fn new(namenode: Namenode, status: &FileStatus, chunks: Vec<ChunkLocation>) -> Self {
        let locations = Self { namenode, inode: status.inode, chunk_size: status.chunk_size, known: Mutex::default() };
        locations.remember(chunks);
        locations
    }

    /// Of a file that this client writes; nothing is known yet.
    pub(super) fn of_open(namenode: Namenode, inode: InodeId, chunk_size: u64) -> Self {
        Self { namenode, inode, chunk_size, known: Mutex::default() }
    }

    /// The chunk that holds byte `position`.
    pub(super) async fn at(&self, position: u64) -> Result<ChunkLocation> {
        match self.find(position) {
            Some(chunk) => Ok(chunk),
            None => self.refresh(position).await,
        }
    }

    /// The same, as the namenode knows it now.
    pub(super) async fn refresh(&self, position: u64) -> Result<ChunkLocation> {
        self.ask(position).await?;
        self.find(position).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no chunk of inode {} holds byte {position}", self.inode))
        })
    }

    /// Asks for the chunks from `position` on and remembers them.
    pub(super) async fn ask(&self, position: u64) -> Result<Vec<ChunkLocation>> {
        self.look(position).await.map(|(_, chunks)| chunks)
    }

    /// The same, with the file's status.
    pub(super) async fn look(&self, position: u64) -> Result<(FileStatus, Vec<ChunkLocation>)> {
        let request = v1::LocateRequest {
            path: String::new(),
            inode: self.inode.get(),
            offset: position,
            length: 0,
            host: self.namenode.settings().host.clone(),
            chunks: CHUNKS_AT_ONCE,
        };
        let answer = self
            .namenode
            .call(|mut stub| {
                let request = request.clone();
                async move { stub.locate(request).await }
            })
            .await?;
        let chunks = ChunkLocation::list(&answer.chunks)?;
        self.remember(chunks.clone());
        Ok((FileStatus::from_wire(answer.status.as_ref())?, chunks))
    }

    fn find(&self, position: u64) -> Option<ChunkLocation> {
        let known = self.known.lock();
        let (_, chunk) = known.range(..=position).next_back()?;
        // Of an open chunk it is known where it begins, and how far it may reach.
        let length = if chunk.open { self.chunk_size.max(chunk.length) } else { chunk.length };
        (position - chunk.offset < length).then(|| chunk.clone())
    }

    fn remember(&self, chunks: Vec<ChunkLocation>) {
        let mut known = self.known.lock();
        if known.len() + chunks.len() > MAX_CHUNKS {
            known.clear();
        }
        known.extend(chunks.into_iter().map(|chunk| (chunk.offset, chunk)));
    }
}
