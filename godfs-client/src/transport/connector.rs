//! Where connections come from: the seam for a simulated network.

use std::fmt;
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::address::Address;

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens byte streams to peers.
///
/// **Contract.** An error says why and need not name the address: the caller adds it. The caller bounds the time; a dropped future
/// leaves nothing behind.
#[async_trait]
pub trait Connector: Send + Sync + fmt::Debug + 'static {
    /// Opens a byte stream to `address`.
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Duplex>>;
}

/// TCP, without Nagle's delay. Names are resolved by the system; every address of a name is tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Duplex>> {
        let stream = TcpStream::connect(address.as_str()).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
