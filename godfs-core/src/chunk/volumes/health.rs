//! When failures of single replicas are a failure of the disk.

use std::collections::VecDeque;
use std::error::Error as _;
use std::io;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// So many failures within [`WINDOW`] make a volume one that is not to be relied on, although its probes pass: a disk that dies slowly answers
/// most of what it is asked. One bad sector is a matter of its replica alone.
pub(super) const TOLERATED: usize = 8;

/// How long a failure is remembered.
pub(super) const WINDOW: Duration = Duration::from_secs(600);

/// The failures of a volume that are remembered: inputs in, a verdict out.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// When they were, at most [`TOLERATED`].
    failures: VecDeque<Duration>,
}

impl Health {
    /// Takes in a failure; whether it is one too many.
    pub(super) fn failed(&mut self, now: Duration) -> bool {
        self.failures.retain(|at| now.saturating_sub(*at) < WINDOW);
        self.failures.push_back(now);
        while self.failures.len() > TOLERATED {
            self.failures.pop_front();
        }
        self.failures.len() == TOLERATED
    }
}

/// What an error says of the disk below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Nothing.
    None,
    /// The bytes are not what they were, or not where: a reason to look.
    Look,
    /// It did not do what it was asked.
    Failure,
}

impl Evidence {
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Corrupt => Self::Look,
            ErrorKind::Io => match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
                Some(source) if !blames_the_disk(source) => Self::None,
                _ => Self::Failure,
            },
            _ => Self::None,
        }
    }
}

/// Whether an error of the system is the disk's fault: a full one works, and descriptors and memory are the process's own.
pub(super) fn blames_the_disk(error: &io::Error) -> bool {
    /// ENFILE and EMFILE, for which the standard library has no names, on all kinds of Unix.
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    let innocent = matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    );
    !innocent && !error.raw_os_error().is_some_and(|number| TOO_MANY_FILES.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_few_failures_are_forgotten_and_many_at_once_are_not() {
        let mut health = Health::default();
        for second in 0..20 {
            assert!(!health.failed(after(second * 100)), "six in ten minutes");
        }
        let verdicts: Vec<bool> = (0..3).map(|second| health.failed(after(2_000 + second))).collect();
        assert_eq!(verdicts, [false, false, true]);
        assert!(health.failed(after(2_010)), "and it stays so");
        assert!(!health.failed(after(9_000)));
    }

    #[test]
    fn only_what_the_disk_did_is_held_against_it() {
        let of = |number| Evidence::of(&Error::io("write", io::Error::from_raw_os_error(number)));
        let (eio, erofs, enoent) = (5, 30, 2);
        for number in [eio, erofs, enoent] {
            assert_eq!(of(number), Evidence::Failure, "{number}");
        }
        let (enospc, emfile, enfile, enomem) = (28, 24, 23, 12);
        for number in [enospc, emfile, enfile, enomem] {
            assert_eq!(of(number), Evidence::None, "{number}");
        }
        assert_eq!(Evidence::of(&Error::new(ErrorKind::Corrupt, "a piece")), Evidence::Look);
        assert_eq!(Evidence::of(&Error::new(ErrorKind::NotFound, "a chunk")), Evidence::None);
    }
}
