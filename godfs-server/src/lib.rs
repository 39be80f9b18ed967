//! The servers of GoDFS, a distributed file system: namenode and datanode as libraries, and a whole cluster inside a
//! process.
//!
//! [`Cluster`] is what tests, examples and single machines want: a namenode and datanodes on free loopback ports, with a
//! [`client`](Cluster::client), in a temporary folder or a given one. They are the same libraries that the daemons run.
//!
//! ```
//! use godfs_client::CreateOptions;
//! use godfs_server::Cluster;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut cluster = Cluster::builder().datanodes(3).start().await?;
//!     let client = cluster.client();
//!
//!     let mut file = client.create("/notes", CreateOptions::default().replication(3)).await?;
//!     file.write_all(&vec![7; 1 << 20]).await?;
//!     file.close().await?;
//!
//!     // Any datanode may go at any time.
//!     cluster.kill_datanode(0).await;
//!     let mut bytes = Vec::new();
//!     client.open("/notes").await?.read_to_end(&mut bytes).await?;
//!     assert_eq!(bytes, vec![7; 1 << 20]);
//!
//!     cluster.stop().await?;
//!     Ok(())
//! }
//! ```
//!
//! Where metadata lives, where bytes live and where replicas go are traits of `godfs-core`: give yours to
//! [`metadata_store`](ClusterBuilder::metadata_store), [`chunk_stores`](ClusterBuilder::chunk_stores) and
//! [`policy`](ClusterBuilder::policy), or to [`NamenodeOptions`] and [`DatanodeOptions`].
//!
//! # What it is not
//! It decides little: names, liveness, repair and leases are functions and state machines of `godfs-core`, and what is here
//! feeds them and carries out what they ask for. It keeps nothing that a crash may not take: the namenode's memory is a cache of its
//! rows. [`namenode`] and [`datanode`] know one another only by the wire. There is one namenode to a cluster so far, and
//! nothing is authenticated or encrypted: bind it to networks that you trust.
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`namenode`] | [`Namenode`]: names, and where every chunk is |
//! | [`datanode`] | [`Datanode`]: keeps replicas, serves their bytes, does what its namenodes order |
//! | [`net`] | listeners (TCP, or any stream of connections), HTTP/2 settings, ends in good order and at once |
//! | `cluster` | [`Cluster`] and its builder |
//! | `daemon` | settings from flags, variables and TOML; the `main` of each binary |
//!
//! # Features
//! `daemons`, on by default: the binaries `godfs`, `godfs-namenode`, `godfs-datanode` and `godfs-dev`, and the module
//! `daemon`. Without it a program that embeds a cluster compiles no command line.

mod cluster;
#[cfg(feature = "daemons")]
pub mod daemon;
pub mod datanode;
mod grant;
pub mod namenode;
pub mod net;
mod patience;

pub use cluster::{ChunkStoreFactory, Cluster, ClusterBuilder};
pub use datanode::{Datanode, DatanodeOptions, DatanodeSettings};
pub use namenode::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
