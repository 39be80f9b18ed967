//! The datanode: keeps replicas of chunks and serves their bytes.
mod identity;
