//! A progress bar on stderr, when a person watches.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a verb is. Shows itself on a terminal only; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Progress(ProgressBar);

/// How often a bar that stands still is drawn again.
const TICK: Duration = Duration::from_millis(200);

impl Progress {
    /// Of so many bytes, as far as known.
    pub(super) fn bytes(total: Option<u64>, quiet: bool) -> Self {
        Self::new(
            total,
            quiet,
            "{bar:32} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} {wide_msg}",
            "{spinner} {bytes} {binary_bytes_per_sec} {wide_msg}",
        )
    }

    /// Of so many things, as far as known.
    pub(super) fn count(total: Option<u64>, quiet: bool) -> Self {
        Self::new(total, quiet, "{bar:32} {pos}/{len} {eta} {wide_msg}", "{spinner} {pos} {wide_msg}")
    }

    fn new(total: Option<u64>, quiet: bool, known: &str, unknown: &str) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), known),
            None => (ProgressBar::no_length(), unknown),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// So much more is done.
    pub(super) fn add(&self, done: u64) {
        self.0.inc(done);
    }

    /// There is so much more to do than was known.
    pub(super) fn add_total(&self, more: u64) {
        self.0.inc_length(more);
    }

    /// This much is done, of this much.
    pub(super) fn set(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// What is being worked on.
    pub(super) fn say(&self, message: &str) {
        if !self.0.is_hidden() {
            self.0.set_message(message.replace(char::is_control, "?"));
        }
    }

    /// Does something that writes to the terminal, the bar out of the way.
    pub(super) fn suspended<R>(&self, work: impl FnOnce() -> R) -> R {
        self.0.suspend(work)
    }

    /// Takes the bar off the screen.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
