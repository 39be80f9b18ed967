//! Serving gRPC over any listener: the socket and HTTP/2 settings that were measured to matter, a graceful end and an
//! abrupt one.
//!
//! A [`Listener`] is where connections come from: TCP, or any stream of them in a simulation. [`serve`] answers them and
//! owns every task it starts; [`Serving::stop`] lets calls end, [`Serving::kill`] drops all connections at once, as the
//! end of a process would.

mod windows;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use godfs_core::{Error, ErrorKind, Result};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::patience::{Begun, Prompt};
use windows::Windows;

/// One connection, of whatever kind.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection for T {}

/// Where connections come from.
pub struct Listener {
    address: String,
    incoming: BoxStream<'static, io::Result<Accepted>>,
}

/// A connection that came in.
struct Accepted {
    connection: Box<dyn Connection>,
    /// Where it is served; the runtime that serves the listener, if none is named.
    runtime: Option<Handle>,
}

impl Listener {
    /// Listens on a TCP address, `HOST:PORT`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], naming the address.
    pub async fn tcp(address: &str) -> Result<Self> {
        Self::tcp_spread(address, Vec::new()).await
    }

    /// As [`Listener::tcp`], for [`Listener::from_tcp_spread`].
    ///
    /// # Errors
    /// [`ErrorKind::Io`], naming the address.
    pub async fn tcp_spread(address: &str, runtimes: Vec<Handle>) -> Result<Self> {
        let listener =
            TcpListener::bind(address).await.map_err(|error| Error::io(format_args!("listen on {address}"), error))?;
        Self::from_tcp_spread(listener, runtimes)
    }

    /// Takes over a TCP listener.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the system can't tell its address.
    pub fn from_tcp(listener: TcpListener) -> Result<Self> {
        Self::from_tcp_spread(listener, Vec::new())
    }

    /// Takes over a TCP listener, and has its connections served by `runtimes` in turn: many small calls cost less on one
    /// single-threaded runtime for each core than on one over all of them. The runtimes must outlive the server; where there are
    /// none, the one that serves the listener serves its connections too.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the system can't tell its address.
    pub fn from_tcp_spread(listener: TcpListener, runtimes: Vec<Handle>) -> Result<Self> {
        let address = listener.local_addr().map_err(|error| Error::io("address of the listener", error))?.to_string();
        let turn = runtimes.into_iter().cycle();
        let incoming = futures::stream::unfold((listener, turn), |(listener, mut turn)| async move {
            let accepted = listener.accept().await;
            let accepted = accepted.and_then(|(stream, _)| Accepted::tcp(stream, turn.next()));
            Some((accepted, (listener, turn)))
        });
        Ok(Self { address, incoming: incoming.boxed() })
    }

    /// Any stream of connections. `address` is what others reach it by.
    pub fn from_stream<S, C>(address: impl Into<String>, incoming: S) -> Self
    where
        S: futures::Stream<Item = io::Result<C>> + Send + 'static,
        C: Connection,
    {
        let incoming =
            incoming.map(|accepted| accepted.map(|stream| Accepted { connection: Box::new(stream), runtime: None }));
        Self { address: address.into(), incoming: incoming.boxed() }
    }

    /// Its `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Accepted {
    fn tcp(stream: TcpStream, runtime: Option<Handle>) -> io::Result<Self> {
        // Without it small messages wait for acknowledgements; where it can't be set they only are slower.
        let _ = stream.set_nodelay(true);
        let Some(runtime) = runtime else { return Ok(Self { connection: Box::new(stream), runtime }) };
        let stream = stream.into_std()?;
        // A stream belongs to the runtime that is entered when it is made.
        let entered = runtime.enter();
        let connection = Box::new(TcpStream::from_std(stream)?);
        drop(entered);
        Ok(Self { connection, runtime: Some(runtime) })
    }
}

/// The settings of a server's connections. The defaults are for bulk data: with frames of 16 KiB, HTTP/2's own default, a
/// stream carries less than half as much as with frames of a whole packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeSettings {
    /// The largest HTTP/2 frame that is accepted, in bytes. Default 1 MiB + 4 KiB: a packet and its header.
    pub max_frame_bytes: u32,
    /// Bytes that one stream may have under way to this server, and an answer be ahead of its reader, where there are few connections.
    /// Default 2 MiB; 8 MiB is 1 % faster and costs four times the memory.
    pub stream_window_bytes: u32,
    /// Bytes that streams may have under way in all, counted as one for each connection: where connections grow many, each gets less than
    /// `stream_window_bytes`, down to 128 KiB. Default 64 MiB.
    pub window_memory_bytes: u64,
    /// Stream windows that one connection may have under way: how many bulk streams can share it before one that is stalled holds up the
    /// others. Default 8.
    pub windows_per_connection: u32,
    /// Streams of one connection at a time. Default 1,024.
    pub max_streams: u32,
    /// Connections at a time; further ones wait to be accepted. Default 4,096.
    pub max_connections: usize,
    /// After this many milliseconds of silence the other side is asked whether it is there. Default 10,000.
    pub keepalive_ms: u64,
    /// Milliseconds to wait for its answer before the connection is dropped. Default 10,000.
    pub keepalive_timeout_ms: u64,
    /// Milliseconds that a new connection may take to say that it speaks HTTP/2. Default 5,000.
    pub handshake_ms: u64,
    /// Milliseconds that the request of a call may take to come in whole, but for calls whose requests are streams. Default 30,000.
    pub request_ms: u64,
    /// Bytes that requests which are coming in may hold together, besides 16 KiB for each. Default 256 MiB.
    pub request_memory_bytes: usize,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            max_frame_bytes: (1 << 20) + 4_096,
            stream_window_bytes: 2 << 20,
            window_memory_bytes: 64 << 20,
            windows_per_connection: 8,
            max_streams: 1_024,
            max_connections: 4_096,
            keepalive_ms: 10_000,
            keepalive_timeout_ms: 10_000,
            handshake_ms: 5_000,
            request_ms: 30_000,
            request_memory_bytes: 256 << 20,
        }
    }
}

/// Headers of our calls take some hundred bytes.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// How long to wait after a failure to accept, which mostly means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` on `listener` until told to end. Must be called inside a tokio runtime.
#[must_use = "dropping it ends the server"]
pub fn serve(listener: Listener, routes: Routes, settings: &ServeSettings) -> Serving {
    let serving = Serving {
        address: listener.address.clone(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        kill: CancellationToken::new(),
    };
    let mut builder = http2::Builder::new(Tracked(serving.tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .adaptive_window(false)
        // gRPC has no use for it, and it is the one thing in an answer that the machine's clock decides.
        .auto_date_header(false)
        .max_frame_size(settings.max_frame_bytes)
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(Duration::from_millis(settings.keepalive_ms.max(1)))
        .keep_alive_timeout(Duration::from_millis(settings.keepalive_timeout_ms.max(1)));
    let acceptor = Acceptor {
        service: Prompt::new(routes, Duration::from_millis(settings.request_ms.max(1)), settings.request_memory_bytes),
        builder,
        windows: Windows::new(settings.window_memory_bytes, settings.stream_window_bytes),
        windows_per_connection: settings.windows_per_connection.max(1),
        handshake: Duration::from_millis(settings.handshake_ms.max(1)),
        connections: Arc::new(Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS))),
        tasks: serving.tasks.clone(),
        stop: serving.stop.clone(),
        kill: serving.kill.clone(),
    };
    serving.tasks.spawn(acceptor.run(listener));
    serving
}

/// A server that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Serving {
    address: String,
    tasks: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Serving {
    /// The `HOST:PORT` it listens on.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops listening, tells the other sides that no new call is taken, lets calls under way end for `grace`, and then
    /// drops what is left. Returns when every task has ended.
    pub async fn stop(&self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.kill();
        }
        self.tasks.wait().await;
    }

    /// Drops the listener and all connections at once.
    pub fn kill(&self) {
        self.kill.cancel();
        self.tasks.close();
    }

    /// Waits until every task has ended, after [`Serving::kill`].
    pub async fn closed(&self) {
        self.tasks.wait().await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Acceptor {
    service: Prompt,
    builder: http2::Builder<Tracked>,
    windows: Windows,
    windows_per_connection: u32,
    handshake: Duration,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Acceptor {
    async fn run(self, mut listener: Listener) {
        loop {
            let permit = tokio::select! {
                // All arms are cancel-safe: a token, a semaphore's queue, a stream's next.
                biased;
                () = self.kill.cancelled() => return,
                () = self.stop.cancelled() => return,
                permit = Arc::clone(&self.connections).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                biased;
                () = self.kill.cancelled() => return,
                () = self.stop.cancelled() => return,
                accepted = listener.incoming.next() => accepted,
            };
            match accepted {
                Some(Ok(Accepted { connection, runtime })) => {
                    let answer = self.answer(connection);
                    let answer = async move {
                        answer.await;
                        drop(permit);
                    };
                    match runtime {
                        Some(runtime) => self.tasks.spawn_on(answer, &runtime),
                        None => self.tasks.spawn(answer),
                    };
                }
                Some(Err(error)) => {
                    tracing::warn!(address = listener.address, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                None => return,
            }
        }
    }

    fn answer(&self, connection: Box<dyn Connection>) -> impl Future<Output = ()> + Send + 'static {
        let service = TowerToHyperService::new(self.service.clone());
        let (mut builder, handshake) = (self.builder.clone(), self.handshake);
        let window = self.windows.grant();
        builder
            .initial_stream_window_size(window.bytes())
            .initial_connection_window_size(window.bytes().saturating_mul(self.windows_per_connection))
            .max_send_buf_size(window.bytes() as usize);
        let (stop, kill) = (self.stop.clone(), self.kill.clone());
        async move {
            let _window = window;
            let begun = tokio::select! {
                biased;
                () = kill.cancelled() => return,
                () = stop.cancelled() => return,
                // Given up, it takes the connection with it.
                begun = tokio::time::timeout(handshake, Begun::read(connection)) => begun,
            };
            let connection = match begun {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return tracing::debug!(%error, "a connection that does not speak HTTP/2"),
                Err(_) => return tracing::debug!("a connection said nothing within {handshake:?}"),
            };
            let mut serving = pin!(builder.serve_connection(TokioIo::new(connection), service));
            let ended = tokio::select! {
                biased;
                () = kill.cancelled() => return,
                // The connection is polled by reference and goes on below.
                () = stop.cancelled() => None,
                ended = serving.as_mut() => Some(ended),
            };
            let ended = if let Some(ended) = ended {
                ended
            } else {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    () = kill.cancelled() => return,
                    ended = serving => ended,
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        }
    }
}

/// Runs hyper's tasks, one a stream, under the server's tracker. They end with their connection.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Adds the standard gRPC health and reflection services. The reporter says what is healthy; everything begins as serving.
///
/// # Errors
/// [`ErrorKind::Internal`] when the committed descriptors can't be read.
pub fn with_health_and_reflection(routes: Routes) -> Result<(Routes, tonic_health::server::HealthReporter)> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(godfs_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| Error::new(ErrorKind::Internal, "descriptors of the protocol").with_source(error))?;
    Ok((routes.add_service(health).add_service(reflection), reporter))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn started() -> (Serving, tonic_health::pb::health_client::HealthClient<tonic::transport::Channel>) {
        let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
        let (routes, _reporter) = with_health_and_reflection(Routes::default()).expect("descriptors");
        let serving = serve(listener, routes, &ServeSettings::default());
        let endpoint = tonic::transport::Endpoint::new(format!("http://{}", serving.address())).expect("address");
        let channel = endpoint.connect().await.expect("connect");
        (serving, tonic_health::pb::health_client::HealthClient::new(channel))
    }

    fn whole_server() -> tonic_health::pb::HealthCheckRequest {
        tonic_health::pb::HealthCheckRequest { service: String::new() }
    }

    #[tokio::test]
    async fn a_stopped_server_lets_calls_end_within_the_grace() {
        let (serving, mut client) = started().await;
        client.check(whole_server()).await.expect("healthy");
        // This stream never ends by itself: the grace has to pass.
        let mut watch = client.watch(whole_server()).await.expect("watch").into_inner();
        watch.message().await.expect("first state");
        serving.stop(Duration::from_millis(20)).await;
        assert!(watch.message().await.is_err(), "the stream was dropped after the grace");
        assert!(client.check(whole_server()).await.is_err());
    }

    #[tokio::test]
    async fn a_killed_server_drops_everything_at_once() {
        let (serving, mut client) = started().await;
        let mut watch = client.watch(whole_server()).await.expect("watch").into_inner();
        watch.message().await.expect("first state");
        serving.kill();
        serving.closed().await;
        assert!(watch.message().await.is_err());
        let address = serving.address().to_owned();
        TcpListener::bind(&address).await.expect("the port is free again");
    }
}
