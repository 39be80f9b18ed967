//! One HTTP/2 connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::ready;
use godfs_core::{Error, ErrorKind, Result};
use http::HeaderValue;
use http::uri::PathAndQuery;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::address::Address;
use super::connector::Connector;
use super::messages::MessageStream;
use super::settings::{CONTROL_WINDOW_BYTES, FRAME_BYTES, STREAM_WINDOW_BYTES, TransportSettings};
use super::status;

/// What a connection is for; decides its flow-control window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Many small calls.
    Control,
    /// One bulk stream at a time.
    Bulk,
}

/// One HTTP/2 connection, as the service that the generated stubs call. Clones share it; it closes with the last clone
/// and the last answer that is still being read.
///
/// Whatever goes wrong with it reads as [`ErrorKind::Unavailable`] and names the address.
#[derive(Clone)]
pub struct Connection {
    sender: http2::SendRequest<Body>,
    shared: Arc<Shared>,
}

/// The answer to a bulk call: its messages, once the other side has begun to answer.
pub(crate) type BulkAnswer<M> = Pin<Box<dyn Future<Output = Result<MessageStream<M, ReceiveBody>>> + Send>>;

struct Shared {
    address: Address,
    /// Of the requests to it; made once, since making one takes as long as a small call's encoding.
    origin: http::Uri,
    /// The task that drives the connection ends with it.
    driver: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to `address`, within the connect timeout of `settings`.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], naming the address.
    pub async fn open(
        connector: &dyn Connector,
        address: &Address,
        purpose: Purpose,
        settings: &TransportSettings,
    ) -> Result<Self> {
        let unavailable =
            |why: &dyn fmt::Display| Error::new(ErrorKind::Unavailable, format!("cannot connect to {address}: {why}"));
        let connect = async {
            let stream = connector.connect(address).await.map_err(|error| unavailable(&error).with_source(error))?;
            let window = match purpose {
                Purpose::Control => CONTROL_WINDOW_BYTES,
                Purpose::Bulk => STREAM_WINDOW_BYTES,
            };
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .adaptive_window(false)
                .max_frame_size(FRAME_BYTES)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(window)
                .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
                .keep_alive_interval(settings.keep_alive)
                .keep_alive_timeout(settings.keep_alive_timeout)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|error| unavailable(&error).with_source(error))
        };
        let (sender, driver) = tokio::time::timeout(settings.connect_timeout, connect)
            .await
            .map_err(|_| unavailable(&format_args!("no answer within {:?}", settings.connect_timeout)))??;
        let peer = address.clone();
        let driver = tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
        let shared = Shared { address: address.clone(), origin: address.origin(), driver: driver.abort_handle() };
        Ok(Self { sender, shared: Arc::new(shared) })
    }

    /// The peer.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// The origin of requests to it.
    pub(crate) fn origin(&self) -> http::Uri {
        self.shared.origin.clone()
    }

    /// Whether it is known to be of no more use.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether both are the same connection.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Starts a call whose messages are decoded without copies. The call begins when the answer is first polled.
    ///
    /// Dropping the answer ends the call.
    pub(crate) fn bulk_call<M: Message + Default>(&self, path: &'static str, body: Body) -> BulkAnswer<M> {
        let mut connection = self.clone();
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        let mut uri = self.origin().into_parts();
        uri.path_and_query = Some(PathAndQuery::from_static(path));
        *request.uri_mut() = http::Uri::from_parts(uri).expect("an origin and a path make a URI");
        let headers = request.headers_mut();
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Box::pin(async move {
            std::future::poll_fn(|cx| connection.poll_ready(cx)).await.map_err(|status| connection.error(&status))?;
            let response = connection.call(request).await.map_err(|status| connection.error(&status))?;
            let peer = connection.shared.address.clone();
            if let Some(status) = Status::from_header_map(response.headers())
                && status.code() != tonic::Code::Ok
            {
                return Err(connection.error(&status));
            }
            if response.status() != http::StatusCode::OK {
                let message = format!("{peer} answered HTTP status {}; it is no GoDFS server", response.status());
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            Ok(MessageStream::answer(response.into_body(), peer))
        })
    }

    /// An error out of the end of a call on this connection.
    #[must_use]
    pub fn error(&self, status: &Status) -> Error {
        status::from_status(status, &self.shared.address)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.shared.address).field("closed", &self.is_closed()).finish()
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<ReceiveBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let ready = ready!(self.sender.poll_ready(cx));
        Poll::Ready(ready.map_err(|error| status::to_status(&status::broken(&self.shared.address, error))))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.sender.send_request(request);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match answer.await {
                Ok(mut response) => {
                    status::sanitize(response.headers_mut());
                    Ok(response.map(|inner| ReceiveBody { inner, shared }))
                }
                Err(error) => Err(status::to_status(&status::broken(&shared.address, error))),
            }
        })
    }
}

/// The body of an answer. Keeps its connection open while it is read; errors name the address.
pub struct ReceiveBody {
    inner: Incoming,
    shared: Arc<Shared>,
}

impl http_body::Body for ReceiveBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    status::sanitize(trailers);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(status::to_status(&status::broken(&self.shared.address, error)))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl fmt::Debug for ReceiveBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBody").field("address", &self.shared.address).finish_non_exhaustive()
    }
}
