//! The chunk service on the wire.
//!
//! `Write` and `Read` are answered without tonic's codec, whose one buffer would copy every payload; on the wire they are what
//! any gRPC peer expects. The small calls go through the codec.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use godfs_client::transport::body;
use godfs_client::transport::messages::MessageStream;
use godfs_client::transport::{convert, status};
use godfs_core::chunk::MAX_CHUNK_BYTES;
use godfs_core::{Error, ErrorKind, Generation, Result};
use godfs_proto::v1;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, EncodeBody, SingleMessageCompressionOverride};
use tonic::server::NamedService;
use tonic_prost::ProstCodec;
use tower::Service;

use super::shared::Shared;
use super::{read_many, receive, serve, transfer, write_many};

/// The largest message of a small call, in bytes.
const MAX_SMALL_BYTES: usize = 16 << 10;

/// Serves `godfs.v1.ChunkService`.
#[derive(Clone, Debug)]
pub(crate) struct ChunkService {
    shared: Arc<Shared>,
}

impl ChunkService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl NamedService for ChunkService {
    const NAME: &'static str = "godfs.v1.ChunkService";
}

impl Service<http::Request<Body>> for ChunkService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        match request.uri().path() {
            "/godfs.v1.ChunkService/Write" => std::future::ready(Ok(write(&shared, request))).boxed(),
            "/godfs.v1.ChunkService/Transfer" => std::future::ready(Ok(transfer(&shared, request))).boxed(),
            "/godfs.v1.ChunkService/ReadMany" => std::future::ready(Ok(read_many(&shared, request))).boxed(),
            "/godfs.v1.ChunkService/WriteMany" => std::future::ready(Ok(write_many(&shared, request))).boxed(),
            "/godfs.v1.ChunkService/Read" => read(shared, request).map(Ok).boxed(),
            "/godfs.v1.ChunkService/Inspect" => small(request, |asked| inspect(shared, asked)),
            "/godfs.v1.ChunkService/Recover" => small(request, |asked| recover(shared, asked)),
            "/godfs.v1.ChunkService/LocalSocket" => {
                small(request, move |asked| std::future::ready(local_socket(&shared, &asked)))
            }
            "/godfs.v1.ChunkService/Checksum" => small(request, |asked| checksum(shared, asked)),
            _ => std::future::ready(Ok(Status::unimplemented("").into_http())).boxed(),
        }
    }
}

fn write(shared: &Arc<Shared>, request: http::Request<Body>) -> http::Response<Body> {
    let packets = MessageStream::request(request.into_body(), receive::caller());
    let (replies, answers) = receive::replies();
    shared.spawn(receive::receive(Arc::clone(shared), packets, replies));
    answering(answers)
}

fn transfer(shared: &Arc<Shared>, request: http::Request<Body>) -> http::Response<Body> {
    let requests = MessageStream::request(request.into_body(), receive::caller());
    let (sender, answers) = transfer::answers();
    shared.spawn(transfer::transfer(Arc::clone(shared), requests, sender));
    answering(answers)
}

fn read_many(shared: &Arc<Shared>, request: http::Request<Body>) -> http::Response<Body> {
    let requests = MessageStream::request(request.into_body(), receive::caller());
    body::response(read_many::answers(Arc::clone(shared), requests).boxed())
}

fn write_many(shared: &Arc<Shared>, request: http::Request<Body>) -> http::Response<Body> {
    let requests = MessageStream::request(request.into_body(), receive::caller());
    body::response(write_many::answers(Arc::clone(shared), requests).boxed())
}

/// The answers of a stream, as they come.
fn answering<A: Message + Default + 'static>(answers: mpsc::Receiver<Result<A, Status>>) -> http::Response<Body> {
    let encoder = ProstCodec::<A, A>::default().encoder();
    let compression = SingleMessageCompressionOverride::default();
    let answers = EncodeBody::new_server(encoder, ReceiverStream::new(answers), None, compression, None);
    let mut response = http::Response::new(Body::new(answers));
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    response
}

async fn read(shared: Arc<Shared>, request: http::Request<Body>) -> http::Response<Body> {
    let mut asked = MessageStream::<v1::ReadRequest, _>::request(request.into_body(), receive::caller());
    let outcome = async {
        let asked = asked.message().await?.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "an empty request"))?;
        serve::read(shared, asked).await
    };
    match outcome.await {
        Ok(packets) => body::response(packets.boxed()),
        Err(error) => status::to_status(&error).into_http(),
    }
}

async fn inspect(shared: Arc<Shared>, asked: v1::InspectRequest) -> Result<v1::InspectResponse> {
    shared.check_caller(asked.hello.as_ref(), asked.node)?;
    let replica = shared.certain(shared.store.stat(convert::chunk(asked.chunk)?).await).await?;
    Ok(v1::InspectResponse { replica: Some(convert::replica_to_wire(&replica)) })
}

async fn recover(shared: Arc<Shared>, asked: v1::RecoverRequest) -> Result<v1::RecoverResponse> {
    shared.check_caller(asked.hello.as_ref(), asked.node)?;
    let (chunk, generation) = (convert::chunk(asked.chunk)?, convert::generation(asked.generation)?);
    let replica = shared.certain(shared.store.recover(chunk, generation).await).await?;
    Ok(v1::RecoverResponse { replica: Some(convert::replica_to_wire(&replica)) })
}

fn local_socket(shared: &Shared, asked: &v1::LocalSocketRequest) -> Result<v1::LocalSocketResponse> {
    shared.check_caller(asked.hello.as_ref(), asked.node)?;
    Ok(v1::LocalSocketResponse { name: shared.socket.clone(), instance: shared.instance })
}

async fn checksum(shared: Arc<Shared>, asked: v1::ChecksumRequest) -> Result<v1::ChecksumResponse> {
    shared.check_caller(asked.hello.as_ref(), asked.node)?;
    let chunk = convert::chunk(asked.chunk)?;
    if asked.length > MAX_CHUNK_BYTES {
        let message = format!("length: {} is beyond the largest chunk", asked.length);
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let crc32c = serve::checksum(shared, chunk, Generation(asked.generation), asked.length).await?;
    Ok(v1::ChecksumResponse { crc32c })
}

/// Answers a small call by `answer`.
fn small<Q, A, F, R>(
    request: http::Request<Body>,
    answer: F,
) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: FnOnce(Q) -> R + Send + 'static,
    R: Future<Output = Result<A>> + Send + 'static,
{
    let mut answer = Some(answer);
    let method = tower::service_fn(move |request: tonic::Request<Q>| {
        let answer = answer.take();
        async move {
            let Some(answer) = answer else { return Err(Status::internal("a call is answered once")) };
            answer(request.into_inner()).await.map(tonic::Response::new).map_err(|error| status::to_status(&error))
        }
    });
    async move {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<A, Q>::default())
            .apply_max_message_size_config(Some(MAX_SMALL_BYTES), None);
        Ok(grpc.unary(method, request).await)
    }
    .boxed()
}
