//! Bytes on the wire that no program of ours would send.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::future::join_all;
use godfs_client::transport::Address;
use godfs_core::ErrorKind;
use godfs_proto::v1;
use godfs_server::Cluster;
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use crate::harness::{CHUNK, Caller, PATIENCE, cluster, noise, nothing_panicked, quick, small_chunks, still_serves};

/// A request as its frames; with `open` it never ends.
struct Given {
    frames: VecDeque<Frame<Bytes>>,
    open: bool,
}

impl http_body::Body for Given {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// One call of given frames; the status that it ends with.
async fn raw_call(caller: &Caller, to: &Address, path: &str, frames: Vec<Frame<Bytes>>, open: bool) -> Status {
    let mut connection = caller.channels.control(to).await.expect("connect");
    let request = http::Request::post(format!("http://{to}{path}"))
        .version(http::Version::HTTP_2)
        .header(http::header::TE, "trailers")
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .body(Body::new(Given { frames: frames.into(), open }))
        .expect("a request");
    let answer = connection.ready().await.expect("connected").call(request).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(status) => return status,
    };
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return status;
    }
    let mut body = Box::pin(answer.into_body());
    loop {
        match std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await {
            Some(Ok(frame)) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    return status;
                }
            }
            Some(Err(status)) => return status,
            None => return Status::unknown("ended without a status"),
        }
    }
}

/// One message behind a prefix that says `length`.
fn framed(length: u32, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(length);
    bytes.put_slice(message);
    bytes.freeze()
}

/// A unary call of the namenode whose message is these bytes.
pub(crate) async fn raw_unary(caller: &Caller, path: &str, message: &[u8]) -> Status {
    let frame = Frame::data(framed(u32::try_from(message.len()).expect("short"), message));
    raw_call(caller, &caller.address, path, vec![frame], false).await
}

/// Every call of a service that the committed descriptors know.
fn methods(service: &str) -> Vec<String> {
    use prost::Message;
    let all = prost_types::FileDescriptorSet::decode(godfs_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let service = all.file.iter().flat_map(|file| &file.service).find(|found| found.name() == service);
    let methods = &service.expect("the service").method;
    methods.iter().map(|method| method.name().to_owned()).collect()
}

/// Messages that are none, or say too much.
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let mut nested = Vec::new();
    for _ in 0..200 {
        nested = [vec![0x0a, u8::try_from(nested.len().min(127)).expect("small")], nested].concat();
    }
    vec![
        ("a cut tag", vec![0xff]),
        ("a field that ends early", vec![0x0a, 100, 1, 2, 3]),
        ("a length beyond all memory", [&[0x0a][..], &[0xff; 9], &[0x7f]].concat()),
        ("an endless number", vec![0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("an unknown wire type", vec![0x0f, 0, 0]),
        ("field number 0", vec![0x02, 1, 1]),
        ("a group without an end", vec![0x0b, 0x0b, 0x0b]),
        ("deep nesting", nested),
        ("noise", noise(3_000, 5)),
    ]
}

#[tokio::test]
async fn messages_that_are_none_are_refused_by_every_call() {
    let cluster = cluster(1).await;
    let caller = Caller::of(&cluster).await;
    let datanode = Address::parse(&cluster.datanode_address(0).expect("running")).expect("address");
    let services = [
        ("NamespaceService", &caller.address),
        ("AdminService", &caller.address),
        ("DatanodeService", &caller.address),
    ];
    for (service, to) in services.into_iter().chain([("ChunkService", &datanode)]) {
        for method in methods(service) {
            let path = format!("/godfs.v1.{service}/{method}");
            for (what, message) in garbage() {
                let frame = Frame::data(framed(u32::try_from(message.len()).expect("short"), &message));
                let call = raw_call(&caller, to, &path, vec![frame], false);
                let status = tokio::time::timeout(PATIENCE, call).await.expect("an answer");
                // What happens to be a valid message with fields that nobody knows may be answered.
                let harmless = path.ends_with("/Report") || path.ends_with("/Scrub");
                assert!(status.code() != Code::Ok || harmless, "{path}: {what}: {status}");
            }
            // Cut in the middle of prefix and message.
            for cut in [framed(9, b"1234"), Bytes::from_static(&[0, 0]), Bytes::from_static(&[1, 0, 0, 0, 1, 0])] {
                let call = raw_call(&caller, to, &path, vec![Frame::data(cut)], false);
                let status = tokio::time::timeout(PATIENCE, call).await.expect("an answer");
                assert_ne!(status.code(), Code::Ok, "{path}: {status}");
            }
        }
    }
    still_serves(&cluster, "after-garbage").await;
}

#[tokio::test]
async fn lengths_beyond_the_bound_are_refused_at_once() {
    let cluster = cluster(1).await;
    let caller = Caller::of(&cluster).await;
    let datanode = Address::parse(&cluster.datanode_address(0).expect("running")).expect("address");
    for (to, path) in [
        (&caller.address, "/godfs.v1.NamespaceService/Put"),
        (&caller.address, "/godfs.v1.DatanodeService/Connect"),
        (&caller.address, "/godfs.v1.AdminService/Report"),
        (&datanode, "/godfs.v1.ChunkService/Write"),
        (&datanode, "/godfs.v1.ChunkService/Read"),
        (&datanode, "/godfs.v1.ChunkService/Inspect"),
    ] {
        for length in [u32::MAX, 1 << 31, 64 << 20, 5 << 20] {
            // The body stays open: nobody may wait for the rest of it.
            let call = raw_call(&caller, to, path, vec![Frame::data(framed(length, b"x"))], true);
            let status = tokio::time::timeout(Duration::from_secs(5), call).await;
            let status = status.unwrap_or_else(|_| panic!("{path} waits for a message of {length} bytes"));
            assert_ne!(status.code(), Code::Ok, "{path}: {length}");
        }
    }
    still_serves(&cluster, "after-lengths").await;
}

#[tokio::test]
async fn trailers_of_a_request_mean_nothing() {
    let cluster = cluster(1).await;
    let caller = Caller::of(&cluster).await;
    let datanode = Address::parse(&cluster.datanode_address(0).expect("running")).expect("address");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("13"));
    trailers.insert("grpc-status-details-bin", http::HeaderValue::from_static("!!! not base64 !!!"));
    for (to, path) in [
        (&datanode, "/godfs.v1.ChunkService/Write"),
        (&datanode, "/godfs.v1.ChunkService/Read"),
        (&datanode, "/godfs.v1.ChunkService/Inspect"),
        (&caller.address, "/godfs.v1.DatanodeService/Connect"),
        (&caller.address, "/godfs.v1.NamespaceService/Stat"),
    ] {
        for first in [None, Some(framed(0, b""))] {
            let frames = first.into_iter().map(Frame::data).chain([Frame::trailers(trailers.clone())]).collect();
            let call = raw_call(&caller, to, path, frames, false);
            let status = tokio::time::timeout(PATIENCE, call).await.expect("an answer");
            assert_ne!(status.code(), Code::Ok, "{path}: {status}");
        }
    }
    still_serves(&cluster, "after-trailers").await;
}

/// Opens a connection that says `first` and then nothing.
async fn dumb(address: &str, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    // Whoever has been thrown out already is.
    let _ = stream.write_all(first).await;
    stream
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn what_is_no_http_2_is_dropped() {
    let cluster = cluster(1).await;
    let bad_frame = [PREFACE, &[0xff, 0xff, 0xff, 0x99, 0xff, 0xff, 0xff, 0xff, 0xff], &[0; 64]].concat();
    let bad_settings = [PREFACE, &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]].concat();
    let bad_headers = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[0, 0, 4, 1, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]];
    let noise = noise(100_000, 11);
    for address in [cluster.namenode_address().to_owned(), cluster.datanode_address(0).expect("running")] {
        for first in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
            &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
            &noise,
            &bad_frame,
            &bad_settings,
            &bad_headers.concat(),
        ] {
            let mut stream = dumb(&address, first).await;
            let end = async {
                let mut rest = [0; 4_096];
                while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
            };
            let end = tokio::time::timeout(PATIENCE, end).await;
            assert!(end.is_ok(), "{address} listens on to {:?}", &first[..first.len().min(30)]);
        }
    }
    still_serves(&cluster, "after-noise").await;
}

/// A cluster whose servers take few connections and streams, and have little patience.
async fn narrow(connections: usize) -> Cluster {
    let mut namenode = quick();
    namenode.serve.max_connections = connections;
    namenode.serve.handshake_ms = 200;
    namenode.serve.request_ms = 300;
    let datanode = godfs_server::datanode::DatanodeSettings {
        serve: namenode.serve.clone(),
        first_message_ms: 300,
        max_streams: 4,
        idle_stream_ms: 200,
        ..Default::default()
    };
    let cluster = Cluster::builder().datanodes(1).namenode_settings(namenode).datanode_settings(datanode).start();
    cluster.await.expect("cluster")
}

#[tokio::test]
async fn half_open_connections_lock_nobody_out() {
    let cluster = narrow(8).await;
    let datanode = cluster.datanode_address(0).expect("running");
    let mut held = Vec::new();
    for address in [cluster.namenode_address(), &datanode] {
        let parts: [&[u8]; 3] = [b"", b"PRI * HT", &PREFACE[..23]];
        held.extend(join_all((0..40).map(|at| dumb(address, parts[at % 3]))).await);
    }
    still_serves(&cluster, "beside-half-open").await;
    drop(held);
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up() {
    let cluster = narrow(64).await;
    let caller = Caller::of(&cluster).await;
    let datanode = Address::parse(&cluster.datanode_address(0).expect("running")).expect("address");
    let part = framed(1 << 20, &[7; 100_000]);
    let paths = [
        (&caller.address, "/godfs.v1.NamespaceService/Put"),
        (&caller.address, "/godfs.v1.NamespaceService/List"),
        (&caller.address, "/godfs.v1.AdminService/Report"),
        (&datanode, "/godfs.v1.ChunkService/Write"),
        (&datanode, "/godfs.v1.ChunkService/Read"),
    ];
    let parts = [Bytes::new(), part.slice(..3), part];
    let calls = paths.into_iter().flat_map(|(to, path)| parts.clone().map(|part| (to, path, part)));
    let (caller, calls) = (&caller, calls.collect::<Vec<_>>());
    join_all(calls.into_iter().map(|(to, path, part)| async move {
        let call = raw_call(caller, to, path, vec![Frame::data(part.clone())], true);
        let status = tokio::time::timeout(Duration::from_secs(20), call).await;
        let status = status.unwrap_or_else(|_| panic!("{path} waits for ever after {} bytes", part.len()));
        assert_ne!(status.code(), Code::Ok, "{path}: {status}");
    }))
    .await;
    still_serves(&cluster, "after-endless").await;
}

#[tokio::test]
async fn readers_that_stop_reading_lock_nobody_out() {
    let cluster = narrow(64).await;
    let client = cluster.client();
    let data = noise(12 << 20, 3);
    client.put("/large", data.clone(), small_chunks(1).chunk_size(16 << 20)).await.expect("put");
    let chunk = client.locate("/large").await.expect("locate").chunks[0].clone();
    let caller = Caller::of(&cluster).await;
    let address = cluster.datanode_address(0).expect("running");
    let mut stalled = Vec::new();
    for _ in 0..12 {
        let request = v1::ReadRequest {
            hello: Some(caller.identity.hello()),
            chunk: chunk.chunk.get(),
            node: cluster.datanode(0).and_then(godfs_server::datanode::Datanode::node_id).expect("registered").get(),
            ..Default::default()
        };
        // More than there are places: whoever has stalled gives up its own.
        let opened = crate::harness::eventually("a place for a reader", || async {
            // A connection of its own, whose window nobody else opens.
            let caller = Caller::of(&cluster).await;
            let mut service = caller.chunks(&address).await;
            let answer = caller.told(service.read(request.clone()).await);
            answer.map(|stream| (caller, stream)).map_err(|error| error.to_string())
        });
        let (caller, mut stream) = opened.await;
        stream.message().await.expect("a header");
        stalled.push((caller, stream));
    }
    let back = crate::harness::eventually("a place for one who reads", || async {
        client.get("/large").await.map_err(|error| error.to_string())
    });
    assert!(back.await == data, "other bytes");
    still_serves(&cluster, "beside-stalled-readers").await;
    // One that wakes up is told that its place is gone, if it is not served to the end.
    for (_, mut stream) in stalled {
        while let Some(message) = stream.next().await {
            if let Err(status) = message {
                assert_ne!(status.code(), Code::Internal, "{status}");
                break;
            }
        }
    }
    nothing_panicked();
}

#[tokio::test]
async fn writers_that_stop_in_mid_chunk_lock_nobody_out() {
    let cluster = narrow(64).await;
    let mut caller = Caller::of(&cluster).await;
    let address = cluster.datanode_address(0).expect("running");
    let mut stalled = Vec::new();
    for number in 0..8 {
        let file = caller.create(&format!("/stalled-{number}"), 1).await;
        let chunk = caller.add_chunk(&file).await;
        let open = v1::WriteOpen {
            hello: Some(caller.identity.hello()),
            chunk: chunk.chunk,
            generation: chunk.generation,
            mode: v1::WriteMode::Create.into(),
            capacity: CHUNK,
            node: chunk.nodes[0].id,
            ..Default::default()
        };
        let opened = crate::harness::eventually("a place for a writer", || async {
            let data = Bytes::from_static(b"begun");
            let checksums = godfs_core::checksum::checksums(0, &data);
            let first = v1::WriteRequest { open: Some(open.clone()), ..Default::default() };
            let packet = v1::WriteRequest { sequence: 1, data, checksums, ..Default::default() };
            let requests = futures::stream::iter([first, packet]).chain(futures::stream::pending());
            let mut service = caller.chunks(&address).await;
            let mut answers = caller.told(service.write(requests).await).map_err(|error| error.to_string())?;
            match answers.message().await {
                Ok(Some(setup)) if setup.results.iter().all(|result| result.error.is_none()) => Ok(answers),
                other => Err(format!("{other:?}")),
            }
        });
        stalled.push(opened.await);
    }
    still_serves(&cluster, "beside-stalled-writers").await;
    drop(stalled);
}

#[tokio::test]
async fn another_version_of_the_protocol_is_refused_naming_both() {
    let cluster = cluster(1).await;
    let mut caller = Caller::of(&cluster).await;
    let hello = v1::Hello { min_version: 99, max_version: 99, ..caller.identity.hello() };
    let node = cluster.datanode(0).and_then(godfs_server::datanode::Datanode::node_id).expect("registered").get();
    let mut chunks = caller.chunks(&cluster.datanode_address(0).expect("running")).await;
    let mut names = caller.names.clone();
    let register = v1::Register { hello: Some(hello.clone()), node_uuid: vec![1; 16].into(), ..Default::default() };
    let register = v1::DatanodeMessage { message: Some(v1::datanode_message::Message::Register(register)) };
    let (hello, asked) = (Some(hello), futures::stream::iter([register]));
    for (what, status) in [
        ("hello", names.hello(v1::HelloRequest { hello: hello.clone() }).await.err()),
        ("session", names.open_session(v1::OpenSessionRequest { hello: hello.clone() }).await.err()),
        ("datanode", caller.datanodes.connect(asked).await.err()),
        ("chunk", chunks.inspect(v1::InspectRequest { hello, chunk: 1, node }).await.err()),
    ] {
        let error = caller.refused::<()>(what, Err(status.expect("refused")));
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{what}: {error}");
        let message = error.message();
        assert!(message.contains("99 to 99") && message.contains("1 to 1"), "{what}: {error}");
        assert!(message.contains("attacker"), "{what}: {error}");
    }
    nothing_panicked();
}
