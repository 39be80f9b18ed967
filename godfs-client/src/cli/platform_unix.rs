//! What only Unix has.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use godfs_core::{Error, Result};
use rustix::process::{Pid, kill_process};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};

/// The signals that ask a command to stop. From its making on they no longer end the process by themselves.
#[derive(Debug)]
pub(super) struct Interrupts([(tokio::signal::unix::Signal, SignalKind); 3]);

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

/// The most memory that this process ever had resident, bytes; 0 where the system does not say.
pub(super) fn rss_max() -> u64 {
    rss_max_of("self")
}

/// The same of another process, by its number.
pub(super) fn rss_max_of(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
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

/// Sends a signal to one process of this machine.
pub(super) fn send(pid: u32, signal: Signal) -> Result<()> {
    let signal = match signal {
        Signal::Kill => rustix::process::Signal::KILL,
        Signal::Stop => rustix::process::Signal::STOP,
        Signal::Continue => rustix::process::Signal::CONT,
    };
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process =
        process.ok_or_else(|| Error::new(godfs_core::ErrorKind::InvalidArgument, format!("{pid} is no process")))?;
    kill_process(process, signal).map_err(|error| Error::io(format_args!("signal process {pid}"), error.into()))
}

/// What a new file is made with, before the umask.
pub(super) fn new_file_permissions() -> Option<Permissions> {
    Some(Permissions::from_mode(0o666))
}
