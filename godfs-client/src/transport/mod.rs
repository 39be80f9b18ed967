//! How bytes travel between clients, namenodes and datanodes: connections, messages, errors and greetings.
//!
//! Both sides use it: a client to call, a datanode to forward and to copy, servers for [`convert`], [`status`],
//! [`hello`] and the zero-copy bodies. It knows nothing of files, sessions or pipelines.
//!
//! | module | what |
//! |---|---|
//! | [`connector`] | the seam where connections come from: TCP, or a simulated network |
//! | [`connection`] | one HTTP/2 connection, as a service for the generated stubs |
//! | [`channels`] | which connections there are: one per peer for small calls, others for bulk streams |
//! | [`body`] | messages out, their payload not copied |
//! | [`messages`] | messages in, their payload not copied where the frames allow it |
//! | [`together`] | many small calls to a peer on one stream |
//! | [`caller`] | for whom a call is made |
//! | [`status`] | [`Error`](godfs_core::Error) ⇄ [`tonic::Status`] |
//! | [`hello`] | who speaks, which versions, which cluster |
//! | [`convert`] | wire ⇄ domain, checked on the way in |

pub mod address;
pub mod body;
pub mod caller;
pub mod channels;
pub mod connection;
pub mod connector;
pub mod convert;
pub mod hello;
pub mod messages;
pub mod settings;
pub mod status;
pub mod together;

pub use address::Address;
pub use channels::{BulkConnection, Channels};
pub use connection::Connection;
pub use connector::{Connector, Duplex, TcpConnector};
pub use settings::TransportSettings;
