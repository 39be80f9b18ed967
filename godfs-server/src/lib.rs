//! Namenode, datanode and in-process cluster of GoDFS.

pub mod datanode;
pub mod namenode;
pub mod net;
