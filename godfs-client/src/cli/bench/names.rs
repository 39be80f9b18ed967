//! Where the files of a load of names lie: six names deep from a folder in `/`, so many to a directory.

use futures::stream::{self, StreamExt, TryStreamExt};
use godfs_core::{DfsPath, Result};

use super::super::context::Context;
use crate::{Client, MkdirOptions};

/// Directories between the folder of the load and those of its files.
const BETWEEN: &str = "a/b/c";
/// Directories made at once.
const MKDIRS: usize = 32;

/// The files of one load, by their numbers.
#[derive(Clone, Debug)]
pub(super) struct Names {
    folder: DfsPath,
    per_directory: u64,
}

impl Names {
    /// Makes the directories of `count` files in a fresh folder under `under`. They are removed when the command ends, however it
    /// ends, unless they are to be kept.
    pub(super) async fn make(
        context: &Context,
        under: &str,
        count: u64,
        per_directory: u64,
        keep: bool,
    ) -> Result<Self> {
        let folder = DfsPath::parse(under)?.join(&format!("bench-{:08x}", fastrand::u32(..)))?;
        context.client.mkdir(&folder, MkdirOptions::new()).await?;
        if !keep {
            context.remove_at_end(&folder);
        }
        let names = Self { folder, per_directory };
        let made = (0..names.directories(count)).map(|at| make(&context.client, names.directory(at)));
        stream::iter(made).buffer_unordered(MKDIRS).try_collect::<()>().await?;
        Ok(names)
    }

    /// The folder of the load.
    pub(super) fn folder(&self) -> &DfsPath {
        &self.folder
    }

    /// How many directories hold `count` files.
    pub(super) fn directories(&self, count: u64) -> u64 {
        count.div_ceil(self.per_directory)
    }

    pub(super) fn directory(&self, at: u64) -> Result<DfsPath> {
        DfsPath::parse(&format!("{}/{BETWEEN}/d{at:05}", self.folder))
    }

    /// The file with this number.
    pub(super) fn file(&self, number: u64) -> Result<DfsPath> {
        self.in_directory(number, "f")
    }

    /// What it is renamed to.
    pub(super) fn renamed(&self, number: u64) -> Result<DfsPath> {
        self.in_directory(number, "r")
    }

    fn in_directory(&self, number: u64, letter: &str) -> Result<DfsPath> {
        let directory = number / self.per_directory;
        DfsPath::parse(&format!("{}/{BETWEEN}/d{directory:05}/{letter}{number:08}", self.folder))
    }
}

async fn make(client: &Client, directory: Result<DfsPath>) -> Result<()> {
    client.mkdir(&directory?, MkdirOptions::new().parents(true)).await
}

/// Which of `count` files the operation with this number takes: scattered over all of them, alike in each run.
pub(super) fn scattered(number: u64, count: u64) -> u64 {
    fastrand::Rng::with_seed(number).u64(..count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_six_deep_and_so_many_to_a_directory() {
        let names = Names { folder: DfsPath::parse("/bench-1").expect("valid"), per_directory: 1_000 };
        assert_eq!((names.directories(1), names.directories(1_000), names.directories(1_001)), (1, 1, 2));
        let (last, next) = (names.file(999).expect("valid"), names.file(1_000).expect("valid"));
        assert_eq!(last.names().count(), 6);
        assert_eq!(last.parent(), Some(names.directory(0).expect("valid")));
        assert_eq!(next.parent(), Some(names.directory(1).expect("valid")));
        assert_eq!(names.renamed(999).expect("valid").parent(), last.parent());
    }

    #[test]
    fn scattered_numbers_are_alike_and_reach_all() {
        let taken: std::collections::BTreeSet<_> = (0..1_000).map(|number| scattered(number, 10)).collect();
        assert_eq!(taken, (0..10).collect());
        assert!((0..100).all(|number| scattered(number, 1_000) == scattered(number, 1_000)));
    }
}
