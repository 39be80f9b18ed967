//! A machine with a durable store, for tests that take its power away.
//!
//! The log and the state are on the simulated disk, which loses what was not synced. Fjall writes to the real one; what it may have
//! kept is played by its folder as it was at each moment when it was persisted, and as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::rows::RowStore;
use super::state::State;
use super::tests::{copy, tiny};
use super::{FjallOptions, FjallStore, open};
use crate::env::Env;
use crate::error::Result;
use crate::io::{Io, OpenMode, SimIo};
use crate::metadata::MetadataStore;

/// A machine whose power can go.
pub(crate) struct Machine {
    real: TempDir,
    pub(crate) io: SimIo,
    pub(super) options: FjallOptions,
}

impl Machine {
    /// With nothing on its disks.
    pub(super) fn empty(seed: u64, options: FjallOptions) -> Self {
        Self { real: tempfile::tempdir().expect("folder"), io: SimIo::new(seed), options }
    }

    /// With a store that was created and closed.
    pub(crate) async fn new() -> Self {
        let machine = Self::empty(0, tiny());
        let store = FjallStore::create(&machine.folder(), tiny(), Arc::new(machine.io.clone()), &Env::system()).await;
        store.expect("create").close().await.expect("close");
        machine.keep_rows();
        machine
    }

    /// The same path on both disks.
    pub(super) fn folder(&self) -> PathBuf {
        self.real.path().join("meta")
    }

    /// The rows as they were whenever they were persisted, in order.
    fn kept(&self) -> PathBuf {
        self.real.path().join("kept")
    }

    /// How often the rows were persisted.
    pub(crate) fn copies(&self) -> usize {
        copies(&self.kept())
    }

    /// Notes the rows as what is sure to be found.
    pub(super) fn keep_rows(&self) {
        keep(&self.folder().join("rows"), &self.kept());
    }

    /// Opens the store; from then on its rows are noted each time they are persisted.
    pub(crate) fn open(&self) -> Result<FjallStore> {
        self.open_through(Arc::new(self.io.clone()))
    }

    /// The same through a disk that lies over that of the machine.
    pub(crate) fn open_through(&self, io: Arc<dyn Io>) -> Result<FjallStore> {
        let mut parts = open::recover(&self.folder(), &self.options, &io, &Env::system())?;
        let (rows, kept) = (self.folder().join("rows"), self.kept());
        parts.persisted = Some(Box::new(move || keep(&rows, &kept)));
        Ok(open::start(parts, &self.folder(), &self.options, io, Env::system()))
    }

    /// The last record whose rows are persisted, as the file `store` has it.
    pub(crate) fn point(&self) -> Result<u64> {
        Ok(State::load(&self.io, &self.folder())?.point.number.0)
    }

    /// The last record whose rows are in fjall's folder.
    pub(crate) fn applied(&self) -> Result<u64> {
        let rows = RowStore::open(&self.folder().join("rows"), &self.options)?;
        Ok(rows.applied()?.expect("rows of a store").point.number.0)
    }

    /// The machine after a loss of power.
    pub(crate) fn crash(&self, seed: u64, rows: Found) -> Self {
        let after = Self::empty(seed, self.options.clone());
        let last = self.kept().join(self.copies().saturating_sub(1).to_string());
        copy(&last, &after.kept().join("0"));
        let found = match rows {
            Found::Persisted => last,
            Found::Copy(number) => self.kept().join(number.to_string()),
            Found::All => self.folder().join("rows"),
        };
        copy(&found, &after.folder().join("rows"));
        after.adopt(&self.io.crash(seed), &self.folder());
        after
    }

    /// Takes over the files of another disk, whose folder has another name.
    fn adopt(&self, from: &SimIo, folder: &Path) {
        let mut folders = vec![PathBuf::new()];
        while let Some(below) = folders.pop() {
            let target = self.folder().join(&below);
            crate::io::create_dir_all_synced(&self.io, &target).expect("folder");
            let Ok(entries) = from.read_dir(&folder.join(&below)) else { continue };
            for entry in entries {
                let name = below.join(&entry.name);
                if entry.is_dir {
                    folders.push(name);
                    continue;
                }
                let bytes = from.read(&folder.join(&name), 1 << 30).expect("read");
                let file = self.io.open(&self.folder().join(&name), OpenMode::CreateNew).expect("create");
                file.write_all_at(0, &bytes).expect("write");
                file.sync_data().expect("sync");
            }
            self.io.sync_dir(&target).expect("sync");
        }
    }

    pub(super) fn log_files(&self) -> Vec<PathBuf> {
        let log = self.folder().join("log");
        let entries = self.io.read_dir(&log).expect("list").into_iter();
        let mut names: Vec<_> = entries.filter(|entry| entry.name.ends_with(".seg")).map(|entry| entry.name).collect();
        names.sort();
        names.into_iter().map(|name| log.join(name)).collect()
    }
}

/// Which rows are found after a crash.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// As they were persisted last.
    Persisted,
    /// As they were persisted once.
    Copy(usize),
    /// As they were.
    All,
}

fn copies(kept: &Path) -> usize {
    std::fs::read_dir(kept).map_or(0, Iterator::count)
}

fn keep(rows: &Path, kept: &Path) {
    copy(rows, &kept.join(copies(kept).to_string()));
}
