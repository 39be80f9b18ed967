//! What only Unix has.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use godfs_core::{Error, Result};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a command to stop. From its making on they no longer end the process by themselves.
#[derive(Debug)]
pub(super) struct Interrupts([(Signal, SignalKind); 3]);

impl Interrupts {
    /// Starts to listen. Must be called inside a runtime.
    pub(super) fn listen() -> Result<Self> {
        let on = |kind| {
            signal(kind).map(|signal| (signal, kind)).map_err(|error| Error::io("install a signal handler", error))
        };
        Ok(Self([on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?]))
    }

    /// Waits for one and gives its number. Cancel-safe: a signal that arrives is kept.
    pub(super) async fn next(&mut self) -> u8 {
        let [interrupt, terminate, hangup] = &mut self.0;
        let kind = tokio::select! {
            _ = interrupt.0.recv() => interrupt.1,
            _ = terminate.0.recv() => terminate.1,
            _ = hangup.0.recv() => hangup.1,
        };
        u8::try_from(kind.as_raw_value()).unwrap_or(0)
    }
}

/// User and system time of this process so far.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What a new file is made with, before the umask.
pub(super) fn new_file_permissions() -> Option<Permissions> {
    Some(Permissions::from_mode(0o666))
}
