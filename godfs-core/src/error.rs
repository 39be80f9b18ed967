//! The one public error of the system.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::path::DfsPath;

/// The result of everything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms of what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is malformed and will fail again: mend the argument.
    InvalidArgument,
    /// The path, chunk or node does not exist.
    NotFound,
    /// The path exists already.
    AlreadyExists,
    /// A directory was needed and a file was found.
    NotADirectory,
    /// A file was needed and a directory was found.
    IsADirectory,
    /// The directory has entries and the call was not recursive.
    DirectoryNotEmpty,
    /// The caller may not do this.
    PermissionDenied,
    /// The state does not allow the call (a version that does not match, a file that is no small one): look again.
    FailedPrecondition,
    /// The file is not closed: another client has its lease. Ask again when it is closed. Retryable once its writer is gone and the file is
    /// being recovered, which clients wait for by themselves.
    BeingWritten,
    /// The caller's lease was taken or has expired: what was flushed is kept, the rest must be written anew.
    LeaseLost,
    /// The caller's generation, epoch or version is older than what the other side has seen.
    Fenced,
    /// The session is unknown: open a new one.
    SessionLost,
    /// Stored bytes do not agree with their checksums.
    Corrupt,
    /// No datanode or disk has room.
    StorageFull,
    /// A symbolic link is in the way: follow it, and ask again. Clients do so by themselves.
    Symlink,
    /// A directory may not hold so much: remove something from it, or have its quota raised.
    QuotaExceeded,
    /// What was asked for was there once and is not kept any more: begin anew.
    Gone,
    /// A limit (of names, sizes, streams in flight) was reached.
    LimitExceeded,
    /// The other side can't be reached, or is starting or stopping: try again, or elsewhere.
    Unavailable,
    /// The deadline passed; the call may still take effect.
    DeadlineExceeded,
    /// The handle or the server does not support the call.
    Unsupported,
    /// The other side speaks another protocol version or belongs to another cluster.
    Incompatible,
    /// The local system refused an input or output operation.
    Io,
    /// A defect in GoDFS.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 24] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::NotADirectory,
        Self::IsADirectory,
        Self::DirectoryNotEmpty,
        Self::PermissionDenied,
        Self::FailedPrecondition,
        Self::BeingWritten,
        Self::LeaseLost,
        Self::Fenced,
        Self::SessionLost,
        Self::Corrupt,
        Self::StorageFull,
        Self::Symlink,
        Self::QuotaExceeded,
        Self::Gone,
        Self::LimitExceeded,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Unsupported,
        Self::Incompatible,
        Self::Io,
        Self::Internal,
    ];

    /// The words that stand for the kind in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid argument",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::NotADirectory => "not a directory",
            Self::IsADirectory => "is a directory",
            Self::DirectoryNotEmpty => "directory not empty",
            Self::PermissionDenied => "permission denied",
            Self::FailedPrecondition => "failed precondition",
            Self::BeingWritten => "being written",
            Self::LeaseLost => "lease lost",
            Self::Fenced => "fenced",
            Self::SessionLost => "session lost",
            Self::Corrupt => "corrupt",
            Self::StorageFull => "storage full",
            Self::Symlink => "symbolic link",
            Self::QuotaExceeded => "quota exceeded",
            Self::Gone => "gone",
            Self::LimitExceeded => "limit exceeded",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::Unsupported => "unsupported",
            Self::Incompatible => "incompatible",
            Self::Io => "i/o error",
            Self::Internal => "internal error",
        }
    }

    const fn retryable_by_default(self) -> bool {
        matches!(self, Self::Unavailable)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Source = Box<dyn StdError + Send + Sync>;

/// An error with a kind that says what to do, a message for a person, and its source.
///
/// `Display` leaves the source out; [`Error::report`] gives the whole chain. Errors cross the wire whole but for the
/// source, which is folded into the message.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    redirect: Option<String>,
    link: Option<(DfsPath, String)>,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind` with a message that says what was attempted, on what, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retryable: kind.retryable_by_default(),
            redirect: None,
            link: None,
            source: None,
        }))
    }

    /// A symbolic link at `link` is in the way, which leads to `target`.
    #[must_use]
    pub fn symlink(link: DfsPath, target: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Symlink, format!("{link} is a symbolic link"));
        error.0.link = Some((link, target.into()));
        error
    }

    /// Adds what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says whether the same call may succeed later; by default only [`ErrorKind::Unavailable`] may.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// Says where to go instead: the `HOST:PORT` of another namenode.
    #[must_use]
    pub fn with_redirect(mut self, address: impl Into<String>) -> Self {
        self.0.redirect = Some(address.into());
        self
    }

    /// Puts `what: ` in front of the message, keeping all else.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// An error from the local system, told apart by what the caller can do: a full disk is
    /// [`ErrorKind::StorageFull`], all else [`ErrorKind::Io`].
    pub fn io(what: impl fmt::Display, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("{what}: {source}")).with_source(source)
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message, without the kind.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed later. The only test for a retry.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Where to go instead, `HOST:PORT`.
    #[must_use]
    pub fn redirect(&self) -> Option<&str> {
        self.0.redirect.as_deref()
    }

    /// The symbolic link that is in the way, and where it leads; only with [`ErrorKind::Symlink`].
    #[must_use]
    pub fn link(&self) -> Option<(&DfsPath, &str)> {
        self.0.link.as_ref().map(|(link, target)| (link, target.as_str()))
    }

    /// The message and the chain of its sources, for whoever consumes the error.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut source = StdError::source(self);
        while let Some(error) = source {
            let next = error.to_string();
            // A source whose words already stand in the message would only be noise.
            if !text.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            source = error.source();
        }
        text
    }

    /// A copy that can be handed to several waiters; the source is folded into the message.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            retryable: self.0.retryable,
            redirect: self.0.redirect.clone(),
            link: self.0.link.clone(),
            source: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("retryable", &self.0.retryable)
            .field("redirect", &self.0.redirect)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// For the tokio traits, whose errors are [`io::Error`]: the kind is translated and the [`Error`] is kept inside.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::InvalidArgument => io::ErrorKind::InvalidInput,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::NotADirectory => io::ErrorKind::NotADirectory,
            ErrorKind::IsADirectory => io::ErrorKind::IsADirectory,
            ErrorKind::DirectoryNotEmpty => io::ErrorKind::DirectoryNotEmpty,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            ErrorKind::StorageFull => io::ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded => io::ErrorKind::QuotaExceeded,
            ErrorKind::DeadlineExceeded => io::ErrorKind::TimedOut,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::Unavailable => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_the_chain_once() {
        let error = Error::io("open /x", io::Error::from(io::ErrorKind::NotFound));
        let report = error.report();
        assert_eq!(report.matches("entity not found").count(), 1, "{report}");
        let outer = Error::new(ErrorKind::Internal, "outer").with_source(error);
        assert!(outer.report().starts_with("internal error: outer: "), "{}", outer.report());
    }

    #[test]
    fn only_unavailable_is_retryable_unless_said() {
        for kind in ErrorKind::ALL {
            assert_eq!(Error::new(kind, "").is_retryable(), kind == ErrorKind::Unavailable);
        }
        assert!(Error::new(ErrorKind::Corrupt, "").with_retryable(true).is_retryable());
    }
}
