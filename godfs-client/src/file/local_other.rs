//! Where the system hands no files over.

use std::fs::File;

use bytes::Bytes;
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::time::Duration;

use super::local::LocalReplica;

/// Whether files can be handed over here.
pub(super) const POSSIBLE: bool = false;

pub(super) fn open(_: &str, _: u64, _: &v1::LocalOpen, _: Duration) -> Result<LocalReplica> {
    Err(Error::new(ErrorKind::Unsupported, "files are not handed over on this system"))
}

pub(super) fn read(_: &File, _: u64, _: usize, _: bool) -> Result<Option<Bytes>> {
    Err(Error::new(ErrorKind::Unsupported, "files are not handed over on this system"))
}
