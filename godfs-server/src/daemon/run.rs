//! The life of a daemon process: start, say ready, wait for a signal, drain, leave.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use godfs_core::{Error, Result};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How long a daemon drains after the first signal before it leaves anyway.
const DRAIN: Duration = Duration::from_secs(30);

/// How a daemon logs; always to stderr.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LogOptions {
    /// What to log: error, warn, info, debug, trace, or directives such as godfs_server=debug [default: info]
    #[arg(long, env = "GODFS_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to log it [default: text]
    #[arg(long, env = "GODFS_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogOptions {
    /// Takes from `file` what is not set here.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        Self { log: self.log.or(file.log), log_format: self.log_format.or(file.log_format) }
    }

    fn start(&self) {
        /// What the engine below the metadata says besides what is wrong is of no use to an operator.
        const DEFAULT: &str = "info,fjall=warn,lsm_tree=warn";
        let filter = EnvFilter::try_new(self.log.as_deref().unwrap_or(DEFAULT));
        let (filter, refused) = match filter {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
        };
        let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
        let installed = match self.log_format.unwrap_or_default() {
            LogFormat::Text => {
                let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
                builder.with_ansi(ansi).try_init()
            }
            LogFormat::Json => builder.json().try_init(),
        };
        // Another subscriber in this process keeps its place.
        drop(installed);
        if let Some(error) = refused {
            tracing::warn!(%error, "the log filter is not valid; logging at info");
        }
    }
}

/// Logs what `filter` lets through to stderr, as the daemons do with `--log`.
pub fn log_to_stderr(filter: &str) {
    LogOptions { log: Some(filter.to_owned()), log_format: None }.start();
}

/// A node, or several, running in this process.
#[async_trait]
pub trait Running: Send {
    /// Waits until it serves, in the sense of the `ready` line.
    async fn ready(&mut self) -> Result<()>;

    /// The `HOST:PORT` where it is reached.
    fn address(&self) -> String;

    /// Waits until it has failed for good, so that only a new start helps, and says why; while all is well it never returns. Cancel-safe.
    async fn failed(&mut self) -> Error;

    /// Drains and stops.
    async fn stop(self: Box<Self>) -> Result<()>;
}

/// Runs a daemon to its end: logs to stderr, prints `ready NAME HOST:PORT` on stdout once it serves, drains and leaves with 0 on
/// SIGTERM or SIGINT. A second signal ends it at once. A node that has failed is ended with 1 and the cause, for whoever supervises it to start it again.
pub fn run<F>(name: &str, logs: &LogOptions, start: F) -> ExitCode
where
    F: Future<Output = Result<Box<dyn Running>>>,
{
    logs.start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the async runtime can't be started");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(live(name, start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", error.report());
            // Also in one plain line for whoever started it by hand.
            eprintln!("{name}: {}", error.report());
            ExitCode::FAILURE
        }
    };
    // Blocking work that hangs on a dead disk must not hold up the way out.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// Says why a daemon can't even be started; the exit code of wrong usage.
pub(super) fn fail(name: &str, error: &Error) -> ExitCode {
    eprintln!("{name}: {}", error.report());
    ExitCode::from(2)
}

async fn live<F>(name: &str, start: F) -> Result<()>
where
    F: Future<Output = Result<Box<dyn Running>>>,
{
    let handler = |error| Error::io("install a signal handler", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(handler)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(handler)?;
    let mut node = start.await?;
    // Each arm is cancel-safe: a signal that arrives is kept by its stream; `ready` and `failed` only wait.
    tokio::select! {
        ready = node.ready() => ready?,
        _ = terminate.recv() => return node.stop().await,
        _ = interrupt.recv() => return node.stop().await,
    }
    {
        let mut out = std::io::stdout().lock();
        // Whoever started the daemon may have closed its stdout; that is no reason to stop.
        let _ = writeln!(out, "ready {name} {}", node.address()).and_then(|()| out.flush());
    }
    // As above.
    tokio::select! {
        // Nothing is drained: what is under way fails like all else.
        cause = node.failed() => return Err(cause),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    // As above; a second signal ends the drain.
    tokio::select! {
        stopped = tokio::time::timeout(DRAIN, node.stop()) => match stopped {
            Ok(stopped) => stopped,
            Err(_) => {
                tracing::warn!("not drained after {DRAIN:?}; leaving");
                Ok(())
            }
        },
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godfs_core::ErrorKind;

    /// A node whose disk fails as soon as it serves.
    struct Failing;

    #[async_trait]
    impl Running for Failing {
        async fn ready(&mut self) -> Result<()> {
            Ok(())
        }

        fn address(&self) -> String {
            "host:1".to_owned()
        }

        async fn failed(&mut self) -> Error {
            Error::new(ErrorKind::Io, "the disk is gone")
        }

        async fn stop(self: Box<Self>) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_node_that_fails_ends_its_daemon_with_the_cause() {
        let start = async { Ok(Box::new(Failing) as Box<dyn Running>) };
        let cause = live("godfs-test", start).await.expect_err("an error");
        assert_eq!((cause.kind(), cause.message()), (ErrorKind::Io, "the disk is gone"));
    }
}
