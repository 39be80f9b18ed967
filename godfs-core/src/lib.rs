//! The core of GoDFS, a distributed file system: its domain types, its decisions, and the three traits by which it is
//! fitted to a deployment.
//!
//! | trait | where | by default | in memory |
//! |---|---|---|---|
//! | [`MetadataStore`] | names, files, locations: rows | [`metadata`]`::FjallStore`, with the feature `fjall` | [`metadata::MemoryStore`] |
//! | [`ChunkStore`] | the bytes of a datanode | [`chunk::DirectoryStore`] | [`chunk::MemoryStore`] |
//! | [`ReplicationPolicy`] | where replicas go | [`placement::SpreadPolicy`] | |
//!
//! Each has its contract in its docs, and a conformance suite (feature `testing`) that an implementation of yours can run:
//! `metadata::conformance`, `chunk::conformance`, `placement::conformance`.
//!
//! # What it is not
//! It opens no socket, knows no gRPC and starts no server: those are `godfs-client` and `godfs-server`, which most programs
//! want instead. [`namespace`] and [`cluster`] do no I/O of their own and read no clock; time, randomness, disks and the
//! executor of blocking work come in from outside ([`mod@env`], [`io`]), so that all of it runs in simulations as it is.
//!
//! # Example
//! The namespace of a file system over a store in memory: no server, no disk.
//!
//! ```
//! use std::sync::Arc;
//!
//! use godfs_core::env::Env;
//! use godfs_core::metadata::MemoryStore;
//! use godfs_core::namespace::{Call, FileRef, MkdirOptions, Namespace, NamespaceSettings, Owner, Rename};
//! use godfs_core::{DfsPath, ErrorKind, Incarnation, Result};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let store = Arc::new(MemoryStore::new(Incarnation::from_random(1)));
//! let namespace = Namespace::new(store, NamespaceSettings::default(), Env::system())?;
//! let root = Owner { user: "alice".into(), group: "staff".into(), mode: 0o755 };
//! namespace.initialize(root).await?;
//!
//! // Calls that change something name a session, a slot of it and a sequence: then they are safe to repeat.
//! let session = namespace.open_session("example".into()).await?;
//! let call = |sequence| Call { session, slot: 0, sequence };
//! let options = MkdirOptions { parents: true, ..Default::default() };
//! let made = namespace.mkdir(call(1), DfsPath::parse("/a/b")?, options.clone()).await?;
//! let again = namespace.mkdir(call(1), DfsPath::parse("/a/b")?, options).await?;
//! assert_eq!(made, again);
//!
//! let rename = Rename::new(DfsPath::parse("/a")?, DfsPath::parse("/z")?, false);
//! namespace.rename(call(2), rename).await?;
//! assert_eq!(namespace.stat(FileRef::Path(DfsPath::parse("/z/b")?)).await?.inode, made);
//! let gone = namespace.stat(FileRef::Path(DfsPath::parse("/a/b")?)).await.expect_err("renamed");
//! assert_eq!(gone.kind(), ErrorKind::NotFound);
//! assert_eq!(namespace.check().await?, []); // every invariant over all rows
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`id`], [`path`], [`error`], [`checksum`] | ids, paths parsed once, the one error, CRC32C over pieces |
//! | [`metadata`] | the metadata store: contract, stores, commit log |
//! | [`namespace`] | names, files, leases and locations, as functions over a transaction |
//! | [`chunk`] | the chunk store: contract, stores, the format on disk |
//! | [`placement`] | the replication policy, and which replica is near |
//! | [`cluster`] | who lives, what to copy or drop, whose lease is over: inputs in, effects out |
//! | [`mod@env`], [`io`] | what comes from outside, and a disk that can lose power (feature `testing`) |
//!
//! # Features
//! None is on by default. `fjall`: the durable metadata store. `testing`: conformance suites and the simulated disk.

pub mod checksum;
pub mod chunk;
pub mod cluster;
pub mod env;
pub mod error;
pub mod glob;
pub mod id;
pub mod io;
pub mod metadata;
pub mod namespace;
pub mod path;
pub mod placement;

pub use chunk::ChunkStore;
pub use error::{Error, ErrorKind, Result};
pub use id::{
    ChunkId, ClusterId, Epoch, Generation, Incarnation, InodeId, LeaseId, NodeId, NodeUuid, SessionId, SessionNumber,
    Version, VolumeId,
};
pub use metadata::MetadataStore;
pub use path::{DfsPath, IntoPath};
pub use placement::ReplicationPolicy;
