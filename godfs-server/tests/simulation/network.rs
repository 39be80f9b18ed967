//! The seams of the product over the simulated network.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use godfs_client::transport::{Address, Connector, Duplex};
use godfs_server::net::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::trace::Trace;

/// The port of every machine.
const PORT: u16 = 4_700;

/// The address of a machine.
pub(crate) fn address(machine: &str) -> Address {
    Address::parse(&format!("{machine}:{PORT}")).expect("a name and a port")
}

/// Listens on this machine, under the name that others call it by.
pub(crate) async fn listen(machine: &str, trace: &Trace) -> io::Result<Listener> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let trace = trace.clone();
    let incoming = futures::stream::unfold(listener, move |listener| {
        let trace = trace.clone();
        async move {
            let accepted = listener.accept().await.and_then(|(stream, _)| Watched::new(stream, &trace));
            Some((accepted, listener))
        }
    });
    Ok(Listener::from_stream(address(machine).as_str(), incoming))
}

/// Connects from one machine to others, and notes that it did.
#[derive(Debug)]
pub(crate) struct Outgoing {
    from: String,
    trace: Trace,
}

impl Outgoing {
    /// Of this machine.
    pub(crate) fn of(machine: &str, trace: &Trace) -> Arc<Self> {
        Arc::new(Self { from: machine.to_owned(), trace: trace.clone() })
    }
}

#[async_trait]
impl Connector for Outgoing {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Duplex>> {
        let connected = TcpStream::connect(address.as_str()).await;
        let outcome = connected.as_ref().map_or_else(|error| error.kind().to_string(), |_| "connected".to_owned());
        self.trace.note(&self.from, format_args!("to {address}: {outcome}"));
        Ok(Box::new(Watched::new(connected?, &self.trace)?))
    }
}

/// A stream every write and read of which the trace counts.
struct Watched {
    stream: TcpStream,
    from: SocketAddr,
    to: SocketAddr,
    trace: Trace,
}

impl Watched {
    fn new(stream: TcpStream, trace: &Trace) -> io::Result<Self> {
        Ok(Self { from: stream.local_addr()?, to: stream.peer_addr()?, stream, trace: trace.clone() })
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        self.trace.wire(self.from, self.to, "reads", buf.filled().len() - before);
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.stream).poll_write(cx, data));
        self.trace.wire(self.from, self.to, "writes", outcome.as_ref().map_or(0, |written| *written));
        Poll::Ready(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
