//! Settings from three places: flags, then `GODFS_…` variables, then a TOML file.
//!
//! clap reads flags and variables into a struct of options; the file is read into the same struct, unknown keys being
//! errors, and fills what they left open.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use godfs_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The largest settings file that is read; more is a mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A struct of options that the file can fill where flags and variables left one open.
pub trait Layered: DeserializeOwned + Default {
    /// The file to read, where one was named.
    fn file(&self) -> Option<&Path>;

    /// Takes from `file` what is not set here.
    #[must_use]
    fn or(self, file: Self) -> Self;
}

/// Fills `flags` from the file that it names.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] naming the file and what is wrong in it.
pub fn layered<T: Layered>(flags: T) -> Result<T> {
    let Some(path) = flags.file().map(PathBuf::from) else { return Ok(flags) };
    let invalid = |what: String| Error::new(ErrorKind::InvalidArgument, format!("settings {}: {what}", path.display()));
    let length = fs::metadata(&path).map_err(|error| invalid(error.to_string()))?.len();
    if length > MAX_FILE_BYTES {
        return Err(invalid(format!("has {length} bytes, the limit is {MAX_FILE_BYTES}")));
    }
    let text = fs::read_to_string(&path).map_err(|error| invalid(error.to_string()))?;
    let file: T = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    Ok(flags.or(file))
}

/// A setting without which the daemon can't start.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] naming the flag.
pub(super) fn required<T>(value: Option<T>, flag: &str, meaning: &str) -> Result<T> {
    value.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("{flag} is missing: {meaning}; see --help")))
}

/// A duration as people write it: `500ms`, `5s`, `3weeks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| format!("{text:?} is not a duration such as 500ms or 5s: {error}"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Implements [`Layered`] for a struct whose fields are options, with one field `config`.
macro_rules! layers {
    ($name:ident { $($field:ident),* $(,)? } $(flags { $($flag:ident),* $(,)? })? $(nested { $($nested:ident),* $(,)? })?) => {
        impl $crate::daemon::config::Layered for $name {
            fn file(&self) -> Option<&std::path::Path> {
                self.config.as_deref()
            }

            fn or(self, file: Self) -> Self {
                Self {
                    config: self.config,
                    $($field: self.$field.or(file.$field),)*
                    $($($flag: self.$flag || file.$flag,)*)?
                    $($($nested: self.$nested.or(file.$nested),)*)?
                }
            }
        }
    };
}

pub(super) use layers;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
    struct Options {
        config: Option<PathBuf>,
        listen: Option<String>,
        heartbeat: Option<Span>,
        init: bool,
    }

    layers!(Options { listen, heartbeat } flags { init });

    #[test]
    fn the_file_fills_what_is_open_and_unknown_keys_are_errors() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("godfs.toml");
        fs::write(&path, "listen = \"a:1\"\nheartbeat = \"2s\"\ninit = true\n").expect("write");
        let flags = Options { config: Some(path.clone()), listen: Some("b:2".into()), ..Options::default() };
        let all = layered(flags).expect("valid");
        assert_eq!(all.listen.as_deref(), Some("b:2"));
        assert_eq!(all.heartbeat, Some(Span(Duration::from_secs(2))));
        assert!(all.init);

        fs::write(&path, "listn = \"a:1\"\n").expect("write");
        let error = layered(Options { config: Some(path), ..Options::default() }).expect_err("unknown key");
        assert!(error.message().contains("listn") && error.message().contains("godfs.toml"), "{error}");
    }
}
