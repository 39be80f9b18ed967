//! Namenode, datanode and in-process cluster of GoDFS.

mod cluster;
#[cfg(feature = "daemons")]
pub mod daemon;
pub mod datanode;
pub mod namenode;
pub mod net;

pub use cluster::{ChunkStoreFactory, Cluster, ClusterBuilder};
