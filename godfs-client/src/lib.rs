//! The client of GoDFS, a distributed file system: async file handles over replicated, checksummed chunks.
//!
//! A [`Client`] speaks to one cluster: to its namenode for names, to its datanodes for bytes. Files are written once, from
//! the first byte to the last, and read anywhere. A datanode that fails in the middle of a write or a read is
//! replaced without the caller seeing it.
//!
//! ```no_run
//! use godfs_client::{Client, CreateOptions};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("godfs://localhost:9000").await?;
//!
//! let mut file = client.create("/logs/today", CreateOptions::new().parents(true)).await?;
//! file.write_all(b"first line\n").await?;
//! file.hflush().await?; // every datanode of the pipeline has it, and readers see it
//! file.write_all(b"second line\n").await?;
//! file.close().await?; // complete, and on disks
//!
//! let mut text = String::new();
//! client.open("/logs/today").await?.read_to_string(&mut text).await?;
//! assert_eq!(text, "first line\nsecond line\n");
//!
//! // Whole files take one call, and small ones one round trip.
//! client.put("/greeting", "hello", CreateOptions::new().overwrite(true)).await?;
//! assert_eq!(client.get("/greeting").await?, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | `client`, `builder`, `settings` | [`Client`], how one is made, what it is tuned to |
//! | `options`, `metadata`, `listing` | what calls take, and what they answer |
//! | [`mod@file`] | [`DfsFile`], [`Writer`], [`Reader`] |
//! | `namenode` | sessions, retries that act once, and which namenode is asked |
//! | [`pipeline`] | sending one chunk to a row of datanodes; datanodes forward and copy with it too |
//! | [`transport`] | connections, messages, errors and greetings; used by both sides |
//! | `cli` | the command line `godfs`, with the feature of that name |
//!
//! # What it is not
//! The crate knows the wire and the domain types; it must not know how servers keep anything, and depends on no store and
//! no server. To try it, or to test a program that uses it, take `Cluster` of `godfs-server` as a dev-dependency. It is built
//! for any system that tokio runs on: nothing here is particular to Unix but parts of `cli`.
//!
//! # Features
//! `cli`, off by default: the command line as library code.

mod attributes;
mod backup;
mod builder;
mod caller;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
pub mod file;
mod links;
mod listing;
mod locate;
mod metadata;
mod namenode;
mod objects;
mod options;
pub mod pipeline;
mod settings;
pub mod transport;
mod trash;
mod walk;
mod watch;

pub use builder::ClientBuilder;
pub use caller::{parse_caller, process_caller};
pub use client::Client;
pub use file::{DfsFile, FileChecksum, Follow, Followed, Reader, Writer};
pub use metadata::{
    ChunkLocation, DirEntry, ETag, FileKind, FileLocations, FileStatus, KeyEntry, OpenFileStatus, Quota,
    ReplicaLocation, TrashItem, UnregisteredReplica, Usage,
};
pub use namenode::Greeting;
pub use options::{
    CreateOptions, KeyOptions, ListOptions, MkdirOptions, RemoveOptions, RenameOptions, RestoreOptions, WalkOptions,
};
pub use settings::{ClientSettings, Hedging, LocalReads, ReplaceNodes};
pub use watch::{Attribute, Change, ChangeKind, ChangePlace, Watch, WatchFrom};

pub use godfs_core::namespace::{Acl, AclChange, AclEntry, AclPlace, AclSubject, Caller, XattrMode};
pub use godfs_core::{DfsPath, Error, ErrorKind, IntoPath, Result};
pub use godfs_proto::v1::{BackupPiece, NodeReport, NodeState, ReportResponse, ScrubProgress};

#[cfg(test)]
mod testing;
