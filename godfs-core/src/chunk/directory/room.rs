//! Room for replicas.

use std::path::Path;

use parking_lot::Mutex;

use crate::chunk::Space;
use crate::error::{Error, ErrorKind, Result};
use crate::io::Io;

/// The bytes that are taken from the disk's free space at once, so that it is not asked for every packet.
const STEP: u64 = 16 << 20;

/// Counts what replicas take and refuses what would be too much.
#[derive(Debug)]
pub(super) struct Room {
    capacity: Option<u64>,
    reserve: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    /// Bytes that the disk had free above the reserve when it was last asked, not used since.
    known_free: u64,
}

impl Room {
    pub(super) fn new(capacity: Option<u64>, reserve: u64) -> Self {
        Self { capacity, reserve, state: Mutex::default() }
    }

    /// Counts bytes that are on the disk already.
    pub(super) fn found(&self, bytes: u64) {
        self.state.lock().used += bytes;
    }

    /// Takes bytes for a write to come.
    pub(super) fn take(&self, io: &dyn Io, root: &Path, bytes: u64) -> Result<()> {
        let mut state = self.state.lock();
        let used = state.used.saturating_add(bytes);
        if let Some(capacity) = self.capacity
            && used > capacity
        {
            let message = format!("{} of {capacity} bytes are in use, {bytes} more are wanted", state.used);
            return Err(Error::new(ErrorKind::StorageFull, message));
        }
        if state.known_free < bytes {
            let free = self.free(io, root)?;
            if free < bytes {
                let message = format!(
                    "the disk has {free} bytes free above the reserve of {}, {bytes} more are wanted",
                    self.reserve
                );
                return Err(Error::new(ErrorKind::StorageFull, message));
            }
            state.known_free = free.min(STEP.max(bytes));
        }
        state.known_free -= bytes;
        state.used = used;
        Ok(())
    }

    /// Gives back bytes that were taken, or whose replica is gone.
    pub(super) fn give(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.used = state.used.saturating_sub(bytes);
    }

    pub(super) fn space(&self, io: &dyn Io, root: &Path) -> Result<Space> {
        let free = self.free(io, root)?;
        let used = self.state.lock().used;
        let capacity = self.capacity.unwrap_or_else(|| used.saturating_add(free));
        Ok(Space { capacity, used, available: free.min(capacity.saturating_sub(used)) })
    }

    fn free(&self, io: &dyn Io, root: &Path) -> Result<u64> {
        let disk = io.space(root).map_err(|error| Error::io("ask for the room on the disk", error))?;
        Ok(disk.free.saturating_sub(self.reserve))
    }
}
