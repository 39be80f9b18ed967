//! The wire protocol of GoDFS, and nothing else: the messages and gRPC stubs of package `godfs.v1`.
//!
//! The `.proto` files in `proto/godfs/v1` say what each field means, its unit and its bounds. The generated code is
//! committed, so that no compiler of protobuf is needed to build; a test regenerates it and fails when it differs.
//!
//! This crate knows no domain type and checks nothing: whoever receives a message checks it before use (both sides of GoDFS do so
//! with `godfs_client::transport::convert`). It is for speaking the wire from elsewhere; programs that use a cluster want
//! `godfs-client`.
//!
//! | service | served by | for |
//! |---|---|---|
//! | `NamespaceService` | namenode | clients: names, files, where chunks are |
//! | `DatanodeService` | namenode | datanodes: one stream each, reports up, commands down |
//! | `AdminService` | namenode | operators |
//! | `ChunkService` | datanode | clients and datanodes: the bytes of chunks |
//!
//! Besides, every daemon serves gRPC health and reflection. A first message carries a greeting with the range of versions that its
//! speaker knows; those of this crate are [`MIN_VERSION`] to [`MAX_VERSION`].
//!
//! ```
//! use godfs_proto::v1;
//!
//! let hello = v1::Hello { min_version: godfs_proto::MIN_VERSION, max_version: godfs_proto::MAX_VERSION, ..Default::default() };
//! assert!(hello.cluster_id.is_empty(), "a client that knows no cluster yet");
//! ```

/// Version 1 of the protocol.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; documented in the .proto files"
)]
pub mod v1 {
    include!("gen/godfs.v1.rs");
}

/// The lowest version of the protocol that this crate speaks.
pub const MIN_VERSION: u32 = 1;

/// The highest version of the protocol that this crate speaks.
pub const MAX_VERSION: u32 = 1;

/// The compiled `.proto` files (a `FileDescriptorSet`), for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptor.bin");
