//! Where the chunks of files are, however many they have.

use godfs_core::{DfsPath, InodeId, Result};
use godfs_proto::v1;

use crate::metadata::{ChunkLocation, FileLocations, FileStatus};
use crate::namenode::Namenode;

/// All chunks of the file at a path.
pub(crate) async fn locate(namenode: &Namenode, path: DfsPath) -> Result<FileLocations> {
    let answer = namenode
        .call_at(path, |mut stub, path| {
            let request = v1::LocateRequest { path, host: namenode.settings().host.clone(), ..Default::default() };
            async move { stub.locate(request).await }
        })
        .await?;
    let status = FileStatus::from_wire(answer.status.as_ref())?;
    let mut chunks = ChunkLocation::list(&answer.chunks)?;
    if answer.more {
        rest(namenode, status.inode, &mut chunks).await?;
    }
    Ok(FileLocations { status, chunks })
}

/// Adds what follows the chunks that are known. By inode: the name may have moved on meanwhile.
pub(crate) async fn rest(namenode: &Namenode, inode: InodeId, chunks: &mut Vec<ChunkLocation>) -> Result<()> {
    loop {
        let known = chunks.last().map(|last| last.offset);
        let request = v1::LocateRequest {
            inode: inode.get(),
            offset: known.map_or(0, |known| known + 1),
            host: namenode.settings().host.clone(),
            ..Default::default()
        };
        let request = &request;
        let answer = namenode.call(|mut stub| async move { stub.locate(request.clone()).await }).await?;
        let mut more = ChunkLocation::list(&answer.chunks)?;
        // The byte after the last chunk's first one lies in that chunk again, unless it has only one.
        more.retain(|chunk| known.is_none_or(|known| chunk.offset > known));
        let stuck = more.is_empty();
        chunks.append(&mut more);
        if !answer.more || stuck {
            return Ok(());
        }
    }
}
