//! Waiting for datanodes to cut what was truncated.

use godfs_core::{DfsPath, Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::time::Instant;

use super::locations::Locations;
use crate::namenode::{Backoff, Namenode};
use crate::transport::convert;

/// Waits until the chunk with the last byte of a file that was truncated to `length` is cut: its generation has grown then.
pub(crate) async fn until_cut(
    namenode: &Namenode,
    path: &DfsPath,
    truncated: &v1::TruncateResponse,
    length: u64,
) -> Result<()> {
    let locations = Locations::of_open(namenode.clone(), convert::inode(truncated.inode)?, 0);
    let patience = namenode.settings().close_timeout;
    let deadline = Instant::now() + patience;
    let mut backoff = Backoff::new(namenode.env());
    loop {
        let chunks = match locations.ask(length.saturating_sub(1)).await {
            Ok(chunks) => chunks,
            // Deleted meanwhile: nothing is left to be cut.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // Who may write to it but not read it sees its chunks as long as they change, and no longer.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(error),
        };
        if chunks.first().is_none_or(|chunk| chunk.generation.get() > truncated.generation) {
            return Ok(());
        }
        let pause = backoff.pause();
        if Instant::now() + pause >= deadline {
            let message =
                format!("{path} has {length} bytes now, but its datanodes have not cut it after {patience:?}");
            return Err(Error::new(ErrorKind::DeadlineExceeded, message));
        }
        tokio::time::sleep(pause).await;
    }
}
