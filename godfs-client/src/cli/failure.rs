//! How a verb fails: the exit code, and what is said on stderr.

use std::io::{self, IsTerminal, Write};

use godfs_core::{Error, ErrorKind};
use serde::Serialize;

/// What ended a verb before its time.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed.
    Error(Error),
    /// The command line makes no sense.
    Usage(String),
    /// Whoever read stdout went away. Nothing is said.
    BrokenPipe,
    /// A signal, by its number.
    Interrupted(u8),
    /// Everything was said already; what is left is the code to exit with.
    Said(u8),
}

/// The outcome of a verb.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// What failed in a general way.
const FAILED: u8 = 1;
/// The exit code of a mistake on the command line.
pub(super) const USAGE: u8 = 2;

impl Failure {
    /// A failure to write to stdout.
    pub(super) fn stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Error(Error::io("write to stdout", error)),
        }
    }

    /// What the process exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Error(error) => exit_code(error.kind()),
            Self::Usage(_) => USAGE,
            Self::BrokenPipe => 0,
            // What shells make of a process that a signal ended.
            Self::Interrupted(signal) => signal.saturating_add(128),
            Self::Said(code) => *code,
        }
    }

    /// What is said on stderr, a line; `None` for silence.
    pub(super) fn line(&self, verb: &str, json: bool) -> Option<String> {
        let (kind, message) = match self {
            Self::Error(error) => (kind_name(error.kind()), with_advice(verb, error)),
            Self::Usage(message) => ("usage".to_owned(), message.clone()),
            Self::Interrupted(_) => ("interrupted".to_owned(), "interrupted".to_owned()),
            Self::BrokenPipe | Self::Said(_) => return None,
        };
        Some(if json { json_line(&kind, &message) } else { format!("godfs: {verb}: {message}") })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Says a line on stderr; on a terminal, control characters in it (names may hold any) become `?`. That nobody reads it is no
/// reason to stop.
pub(super) fn say_line(line: &str) {
    let line = if io::stderr().is_terminal() { line.replace(char::is_control, "?") } else { line.to_owned() };
    let _ = writeln!(io::stderr(), "{line}");
}

/// `{"error":{"kind":…,"message":…}}`.
pub(super) fn json_line(kind: &str, message: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        error: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        kind: &'a str,
        message: &'a str,
    }
    serde_json::to_string(&Line { error: Body { kind, message } }).expect("two strings are always JSON")
}

/// The exit code that stands for a kind of error.
pub(super) fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidArgument => USAGE,
        ErrorKind::NotFound => 3,
        ErrorKind::AlreadyExists => 4,
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::DirectoryNotEmpty
        | ErrorKind::PermissionDenied
        | ErrorKind::FailedPrecondition
        | ErrorKind::BeingWritten
        | ErrorKind::LeaseLost
        | ErrorKind::Fenced
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::LimitExceeded
        | ErrorKind::Symlink
        | ErrorKind::Gone
        | ErrorKind::Unsupported
        | ErrorKind::Incompatible => 5,
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => 6,
        _ => FAILED,
    }
}

/// The kind as scripts see it: `NotFound` is `not_found`.
fn kind_name(kind: ErrorKind) -> String {
    let mut name = String::new();
    for (at, letter) in format!("{kind:?}").char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The error with its sources, and what the user of this verb can do about it.
fn with_advice(verb: &str, error: &Error) -> String {
    let advice = match (error.kind(), verb) {
        (ErrorKind::AlreadyExists, "put" | "get" | "cp" | "mv") => "; -f replaces it",
        (ErrorKind::AlreadyExists, "mkdir") => "; -p accepts a directory that exists",
        (ErrorKind::NotFound, "mkdir") => "; -p makes missing parents",
        (ErrorKind::NotFound, "put") => "; --parents makes directories that are missing in the cluster",
        (ErrorKind::QuotaExceeded, "rm") => "; --skip-trash deletes for good, and `godfs trash empty` makes room",
        (ErrorKind::Unavailable | ErrorKind::DeadlineExceeded, _) => {
            "; check --fs or GODFS_FS, and that the namenode and datanodes run"
        }
        _ => "",
    };
    format!("{}{advice}", error.report())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_exit_code() {
        let codes: Vec<(u8, String)> =
            ErrorKind::ALL.into_iter().map(|kind| (exit_code(kind), kind_name(kind))).collect();
        let of = |code| codes.iter().filter(|(c, _)| *c == code).map(|(_, name)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(of(0), [""; 0]);
        assert_eq!(of(1), ["session_lost", "corrupt", "io", "internal"]);
        assert_eq!(of(2), ["invalid_argument"]);
        assert_eq!(of(3), ["not_found"]);
        assert_eq!(of(4), ["already_exists"]);
        assert_eq!(of(5).len(), 15);
        assert_eq!(of(6), ["unavailable", "deadline_exceeded"]);
    }

    #[test]
    fn says_what_to_do() {
        let failure = Failure::from(Error::new(ErrorKind::AlreadyExists, "/a"));
        assert_eq!(failure.line("put", false).as_deref(), Some("godfs: put: already exists: /a; -f replaces it"));
        assert_eq!(failure.exit_code(), 4);
        let failure = Failure::from(Error::new(ErrorKind::NotFound, "/\"a\""));
        assert_eq!(
            failure.line("cat", true).as_deref(),
            Some(r#"{"error":{"kind":"not_found","message":"not found: /\"a\""}}"#)
        );
    }

    #[test]
    fn a_broken_pipe_is_quiet_and_a_full_disk_is_not() {
        let failure = Failure::stdout(io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.line("cat", false), failure.exit_code()), (None, 0));
        let failure = Failure::stdout(io::ErrorKind::StorageFull.into());
        assert_eq!(failure.exit_code(), 5);
        assert!(
            failure
                .line("cat", false)
                .is_some_and(|line| line.starts_with("godfs: cat: storage full: write to stdout"))
        );
    }
}
