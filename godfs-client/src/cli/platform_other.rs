//! What stands in for Unix elsewhere.

use std::fs::Permissions;
use std::time::Duration;

use godfs_core::Result;

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

/// What a new file is made with: the system's own choice.
pub(super) fn new_file_permissions() -> Option<Permissions> {
    None
}
