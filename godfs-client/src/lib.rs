//! Client library of GoDFS.

pub mod pipeline;
pub mod transport;
