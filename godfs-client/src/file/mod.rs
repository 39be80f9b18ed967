//! Files: [`Writer`] and [`Reader`], and [`DfsFile`] around either of them.

mod checksum;
mod chunk_writer;
mod dfs_file;
mod follow;
mod joining;
mod local;
#[cfg(target_os = "linux")]
mod local_linux;
#[cfg(not(target_os = "linux"))]
mod local_other;
mod locations;
mod open_file;
mod patience;
mod range_reader;
mod ranges;
#[cfg(test)]
mod read_tests;
mod reader;
mod replica_stream;
mod small_reads;
mod truncate;
mod write_task;
#[cfg(test)]
mod write_tests;
mod writer;

pub use checksum::FileChecksum;
pub(crate) use checksum::checksum;
pub use dfs_file::DfsFile;
pub use follow::{Follow, Followed};
pub(crate) use local::LocalReplicas;
pub(crate) use open_file::OpenFile;
pub(crate) use patience::Patience;
pub use reader::Reader;
pub(crate) use small_reads::SmallReads;
pub(crate) use truncate::until_cut;
pub use writer::Writer;
