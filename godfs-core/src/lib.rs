//! Domain types, traits, namespace logic and default stores of GoDFS.

pub mod checksum;
pub mod chunk;
pub mod cluster;
pub mod env;
pub mod error;
pub mod id;
pub mod io;
pub mod metadata;
pub mod namespace;
pub mod path;
pub mod placement;

pub use error::{Error, ErrorKind, Result};
pub use id::{
    ChunkId, ClusterId, Epoch, Generation, Incarnation, InodeId, LeaseId, NodeId, NodeUuid, SessionId, Version,
};
pub use path::{DfsPath, IntoPath};
