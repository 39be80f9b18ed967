//! Where things go, by the rules of cp(1).

use godfs_core::{Error, ErrorKind, Result};

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    File,
    /// A local device, pipe or socket: bytes go into it or come out of it, and nothing replaces it.
    Special,
    Directory,
}

/// The last argument: what it says, and what stands there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last<'a> {
    /// As it was given.
    pub(super) text: &'a str,
    pub(super) found: Found,
    /// Whether several sources go there.
    pub(super) several: bool,
}

impl Last<'_> {
    /// Whether a source goes into the target under its own name, rather than becoming the target.
    ///
    /// # Errors
    /// [`ErrorKind::NotADirectory`] and [`ErrorKind::NotFound`] when it must be a directory and is not: several sources need
    /// one, and a trailing slash promises one.
    pub(super) fn takes_name(&self, source: Found) -> Result<bool> {
        let slash = self.text.ends_with('/');
        match self.found {
            Found::Directory => Ok(true),
            Found::File | Found::Special if self.several || slash => {
                Err(Error::new(ErrorKind::NotADirectory, format!("target {} is not a directory", self.text)))
            }
            Found::Nothing if self.several => {
                Err(Error::new(ErrorKind::NotFound, format!("target directory {} does not exist", self.text)))
            }
            // A directory may become `new/`, a file can not.
            Found::Nothing if slash && source != Found::Directory => {
                Err(Error::new(ErrorKind::NotFound, format!("target directory {} does not exist", self.text)))
            }
            Found::File | Found::Special | Found::Nothing => Ok(false),
        }
    }
}

/// What becomes of a source that is to stand where `found` stands.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] for a file over a file without `force`; [`ErrorKind::IsADirectory`] and
/// [`ErrorKind::NotADirectory`] for one kind over the other.
pub(super) fn may_replace(source: Found, found: Found, force: bool, shown: &str) -> Result<()> {
    match (source, found) {
        (_, Found::Nothing) | (Found::Directory, Found::Directory) => Ok(()),
        (Found::Directory, Found::File | Found::Special) => {
            Err(Error::new(ErrorKind::NotADirectory, format!("{shown} is a file and can not become a directory")))
        }
        (_, Found::Directory) => {
            Err(Error::new(ErrorKind::IsADirectory, format!("{shown} is a directory and can not become a file")))
        }
        (_, Found::Special) => Ok(()),
        (_, Found::File) if force => Ok(()),
        (_, Found::File) => Err(Error::new(ErrorKind::AlreadyExists, shown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_argument_as_cp_takes_it() {
        use Found::{Directory, File, Nothing};
        let ask = |text, found, several, source| {
            Last { text, found, several }.takes_name(source).map_err(|error| error.kind())
        };
        for (text, found, several, source, expected) in [
            ("/d", Directory, false, File, Ok(true)),
            ("/d", Directory, true, File, Ok(true)),
            ("/d", Directory, false, Directory, Ok(true)),
            ("/f", File, false, File, Ok(false)),
            ("/f", File, true, File, Err(ErrorKind::NotADirectory)),
            ("/f/", File, false, File, Err(ErrorKind::NotADirectory)),
            ("/n", Nothing, false, File, Ok(false)),
            ("/n", Nothing, false, Directory, Ok(false)),
            ("/n", Nothing, true, File, Err(ErrorKind::NotFound)),
            ("/n/", Nothing, false, File, Err(ErrorKind::NotFound)),
            ("/n/", Nothing, false, Directory, Ok(false)),
        ] {
            assert_eq!(ask(text, found, several, source), expected, "{source:?} to {text} {found:?} several {several}");
        }
    }

    #[test]
    fn only_force_replaces_and_only_files() {
        use Found::{Directory, File, Nothing, Special};
        let ask = |source, found, force| may_replace(source, found, force, "/x").map_err(|error| error.kind());
        for (source, found, force, expected) in [
            (File, Nothing, false, Ok(())),
            (File, File, false, Err(ErrorKind::AlreadyExists)),
            (File, File, true, Ok(())),
            (File, Directory, true, Err(ErrorKind::IsADirectory)),
            (Directory, File, true, Err(ErrorKind::NotADirectory)),
            (Directory, Directory, false, Ok(())),
            (File, Special, false, Ok(())),
            (Directory, Special, true, Err(ErrorKind::NotADirectory)),
        ] {
            assert_eq!(ask(source, found, force), expected, "{source:?} over {found:?} force {force}");
        }
    }
}
