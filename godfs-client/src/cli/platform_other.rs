//! What stands in for Unix elsewhere.

use std::fs::Permissions;
use std::time::Duration;

use godfs_core::{Error, ErrorKind, Result};

/// What asks a command to stop: Ctrl-C.
#[derive(Debug)]
pub(super) struct Interrupts(());

impl Interrupts {
    /// Starts to listen.
    pub(super) fn listen() -> Result<Self> {
        Ok(Self(()))
    }

    /// Waits for one and gives the number that Unix gives it. Cancel-safe.
    pub(super) async fn next(&mut self) -> u8 {
        const INTERRUPT: u8 = 2;
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        INTERRUPT
    }
}

/// Not known here.
pub(super) fn cpu_time() -> Duration {
    Duration::ZERO
}

/// The most memory that this process ever had resident, bytes; 0 where the system does not say.
pub(super) fn rss_max() -> u64 {
    0
}

/// The same of another process, by its number.
pub(super) fn rss_max_of(_pid: &str) -> u64 {
    0
}

/// What `bench stall` does to a process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    /// Ends it on the spot.
    Kill,
    /// Has it stand still.
    Stop,
    /// Has it go on.
    Continue,
}

/// Not known here.
pub(super) fn send(_pid: u32, _signal: Signal) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "this system has no signals"))
}

/// What a new file is made with: the system's own choice.
pub(super) fn new_file_permissions() -> Option<Permissions> {
    None
}
