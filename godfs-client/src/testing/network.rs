//! A network of pipes.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::transport::connector::Duplex;
use crate::transport::{Address, Connector};

/// Bytes that a pipe holds.
const PIPE_BYTES: usize = 256 << 10;

/// Who listens where. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    peers: HashMap<Address, Peer>,
    /// Connections made so far, by address.
    connections: HashMap<Address, usize>,
}

#[derive(Debug)]
struct Peer {
    incoming: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    cut: CancellationToken,
}

impl Network {
    /// The connections that come in at `address`.
    pub(crate) fn listen(&self, address: &str) -> UnboundedReceiverStream<io::Result<DuplexStream>> {
        let (incoming, receiver) = mpsc::unbounded_channel();
        let peer = Peer { incoming, cut: CancellationToken::new() };
        self.0.lock().peers.insert(Address::parse(address).expect("valid"), peer);
        UnboundedReceiverStream::new(receiver)
    }

    /// Takes a peer away with all its connections, as SIGKILL does.
    pub(crate) fn kill(&self, address: &Address) {
        if let Some(peer) = self.0.lock().peers.remove(address) {
            peer.cut.cancel();
        }
    }

    /// Breaks the connections of a peer; new ones can be made.
    pub(crate) fn disconnect(&self, address: &Address) {
        if let Some(peer) = self.0.lock().peers.get_mut(address) {
            std::mem::take(&mut peer.cut).cancel();
        }
    }

    /// How many connections were ever made to a peer.
    pub(crate) fn connections(&self, address: &Address) -> usize {
        self.0.lock().connections.get(address).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Connector for Network {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Duplex>> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let mut state = self.0.lock();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let peer = state.peers.get(address).ok_or_else(refused)?;
        peer.incoming.send(Ok(theirs)).map_err(|_| refused())?;
        let cut = peer.cut.clone().cancelled_owned().boxed();
        *state.connections.entry(address.clone()).or_default() += 1;
        Ok(Box::new(Pipe { stream: ours, cut: Some(cut) }))
    }
}

/// One end of a pipe that can be cut.
struct Pipe {
    stream: DuplexStream,
    cut: Option<BoxFuture<'static, ()>>,
}

impl Pipe {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().is_some_and(|cut| cut.poll_unpin(cx).is_ready()) {
            self.cut = None;
        }
        if self.cut.is_none() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
