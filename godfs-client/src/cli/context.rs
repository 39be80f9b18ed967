//! What every verb works with.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures::stream::StreamExt;
use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::args::ReadArgs;
use super::failure::{Failure, Outcome, say_line};
use super::target::Found;
use crate::{Client, ClientSettings, FileStatus, RemoveOptions, WalkOptions};

/// How long the end of a command waits for the cluster to take notice of it. What is left then, the cluster clears away by
/// itself when the session runs out, staged directories excepted.
const FAREWELL: Duration = Duration::from_secs(5);

/// Which cluster is meant, and as whom it is called.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) url: String,
    /// The user of this process, if none is named.
    pub(super) user: Option<String>,
    /// How it reads.
    pub(super) reading: ReadArgs,
}

impl Login {
    pub(super) async fn connect(self) -> Result<Client> {
        let mut settings = ClientSettings::default();
        self.reading.apply(&mut settings);
        let builder = Client::builder().namenodes(&self.url).settings(settings);
        match self.user {
            Some(user) => builder.user(&user).connect().await,
            None => builder.connect().await,
        }
    }
}

/// The client, and what is to be said and cleared away at the end.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) client: Client,
    login: Login,
    verb: &'static str,
    json: bool,
    /// The exit code of the first failure that did not end the verb.
    said: Cell<Option<u8>>,
    /// What is removed at the end: directories that have not got their names yet, and those of a load.
    remove_at_end: RefCell<Vec<DfsPath>>,
}

impl Context {
    pub(super) fn new(client: Client, login: Login, verb: &'static str, json: bool) -> Self {
        Self { client, login, verb, json, said: Cell::new(None), remove_at_end: RefCell::default() }
    }

    /// Another client of the same cluster, with a session and connections of its own.
    pub(super) fn connect(&self) -> impl Future<Output = Result<Client>> + Send + 'static {
        self.login.clone().connect()
    }

    /// The addresses of the namenodes, HOST:PORT.
    pub(super) fn namenodes(&self) -> impl Iterator<Item = &str> {
        let addresses = self.login.url.strip_prefix("godfs://").unwrap_or(&self.login.url);
        addresses.trim_end_matches('/').split(',').map(str::trim)
    }

    /// Whether a person wants no progress bar.
    pub(super) fn quiet(&self) -> bool {
        self.json
    }

    /// Says a failure that does not end the verb.
    pub(super) fn say(&self, failure: &Failure) {
        if let Some(line) = failure.line(self.verb, self.json) {
            say_line(&line);
        }
        if self.said.get().is_none() {
            self.said.set(Some(failure.exit_code()));
        }
    }

    /// Does something with each of `items`. One that fails does not stop the others, unless nobody reads what is printed.
    pub(super) async fn each<T>(&self, items: &[T], mut work: impl AsyncFnMut(&T) -> Outcome) -> Outcome {
        for item in items {
            self.pass(work(item).await)?;
        }
        Ok(())
    }

    /// Says what failed with one of several things, so that the others are done.
    pub(super) fn pass(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Err(Failure::Error(error)) => {
                self.say(&error.into());
                Ok(())
            }
            other => other,
        }
    }

    /// All that `options` ask for below a directory. A directory that may not be listed is said and passed by.
    pub(super) async fn each_below(
        &self,
        path: &DfsPath,
        options: WalkOptions,
        mut work: impl AsyncFnMut(DfsPath, FileStatus) -> Outcome,
    ) -> Outcome {
        let mut below = self.client.walk(path, options.past_denied(true))?;
        while let Some(found) = below.next().await {
            match found {
                Ok((path, status)) => work(path, status).await?,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => self.say(&error.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The outcome of the verb, all things said considered.
    pub(super) fn outcome(&self) -> Outcome {
        self.said.get().map_or(Ok(()), |code| Err(Failure::Said(code)))
    }

    /// What stands under `path`.
    pub(super) async fn look(&self, path: &DfsPath) -> Result<Found> {
        match self.client.stat(path).await {
            Ok(status) => Ok(found(&status)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// A name beside `target` for a directory that will become it; removed at the end unless [`Context::published`].
    pub(super) fn stage(&self, target: &DfsPath) -> Result<DfsPath> {
        let Some(parent) = target.parent() else {
            return Err(Error::new(ErrorKind::AlreadyExists, target.to_string()));
        };
        let staged = parent.join(&format!(".godfs-{:016x}", fastrand::u64(..)))?;
        self.remove_at_end(&staged);
        Ok(staged)
    }

    /// Has `path`, with all below it, removed when the command ends, however it ends.
    pub(super) fn remove_at_end(&self, path: &DfsPath) {
        self.remove_at_end.borrow_mut().push(path.clone());
    }

    /// A staged directory got its name.
    pub(super) fn published(&self, staged: &DfsPath) {
        self.remove_at_end.borrow_mut().retain(|path| path != staged);
    }

    /// Removes what was not published, and says farewell to the cluster.
    pub(super) async fn end(self) {
        let staged = self.remove_at_end.take();
        let farewell = async {
            for path in staged {
                match self.client.remove(&path, RemoveOptions::new().recursive(true)).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        self.say(&error.context(format_args!("{path} is left over")).into());
                    }
                    _ => {}
                }
            }
            self.client.end_session().await
        };
        // The session ends by itself where it can't be ended.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

/// What a status says is there.
pub(super) fn found(status: &FileStatus) -> Found {
    if status.is_dir() { Found::Directory } else { Found::File }
}
