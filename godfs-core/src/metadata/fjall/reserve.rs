//! What is kept free on the disk: a store that runs into its end has failed, and is read by nobody any more.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::io::Io;

/// The disk is asked after so many bytes of writes: some microseconds for each.
const LOOK_EVERY: usize = 1 << 20;

/// Tells whether more may be written.
pub(super) struct Reserve {
    io: Arc<dyn Io>,
    folder: PathBuf,
    bytes: u64,
    /// Written since the disk was asked.
    unlooked: usize,
    full: bool,
}

impl Reserve {
    /// Keeps `bytes` of the disk of `folder` free. The first writes go through in any case, so that what must be written to begin can be, and all is read again.
    pub(super) fn new(io: Arc<dyn Io>, folder: PathBuf, bytes: u64) -> Self {
        Self { io, folder, bytes, unlooked: 0, full: false }
    }

    /// So much is about to be written. Whoever is refused may come again: as soon as there is room, it is taken.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`].
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Error> {
        self.unlooked = self.unlooked.saturating_add(bytes);
        if self.bytes == 0 || (self.unlooked < LOOK_EVERY && !self.full) {
            return Ok(());
        }
        self.unlooked = 0;
        // A disk that does not say is not full: what is written tells.
        let Ok(space) = self.io.space(&self.folder) else { return Ok(()) };
        let was = std::mem::replace(&mut self.full, space.free < self.bytes);
        if !self.full {
            if was {
                tracing::info!(folder = %self.folder.display(), free = space.free, "there is room for metadata again");
            }
            return Ok(());
        }
        let message = format!(
            "the disk of the metadata, in {}, has {} bytes free, and {} are kept free: make room there; until then all can be read and nothing changed",
            self.folder.display(),
            space.free,
            self.bytes
        );
        if !was {
            tracing::error!("{message}");
        }
        Err(Error::new(ErrorKind::StorageFull, message))
    }
}
