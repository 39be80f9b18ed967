//! The next node of a pipeline is played by the test: one that does not do its part.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use godfs_client::pipeline::PacketKind;
use godfs_client::transport::convert::WriteMode;
use godfs_client::transport::status;
use godfs_core::{ChunkId, ErrorKind, NodeId};
use godfs_proto::v1;
use godfs_proto::v1::chunk_service_server::{ChunkService, ChunkServiceServer};
use godfs_server::datanode::Datanode;
use godfs_server::net::{Listener, ServeSettings, Serving, serve};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::fake_namenode::FakeNamenode;
use crate::harness::{Client, cluster, named, options, packet, pattern};

/// Stands, and then answers as given.
#[derive(Clone, Debug)]
struct NextNode {
    answers: Vec<v1::WriteResponse>,
    /// Whether it ends the stream then, in good order.
    ends: bool,
}

impl NextNode {
    /// Node 9, and the server that must be kept.
    async fn start(answers: Vec<v1::WriteResponse>) -> (godfs_client::transport::convert::Node, Serving) {
        Self { answers, ends: false }.serve().await
    }

    async fn serve(self) -> (godfs_client::transport::convert::Node, Serving) {
        let listener = Listener::tcp("127.0.0.1:0").await.expect("listen");
        let routes = Routes::new(ChunkServiceServer::new(self));
        let serving = serve(listener, routes, &ServeSettings::default());
        let wire = v1::Node { id: 9, address: serving.address().to_owned(), domain: String::new() };
        (godfs_client::transport::convert::node(&wire).expect("valid"), serving)
    }
}

fn answer(sequence: u64, results: &[u32]) -> v1::WriteResponse {
    let results = results.iter().map(|&node| v1::NodeResult { node, ..Default::default() }).collect();
    v1::WriteResponse { sequence, results }
}

#[tonic::async_trait]
impl ChunkService for NextNode {
    type WriteStream = BoxStream<'static, Result<v1::WriteResponse, Status>>;
    type ReadStream = BoxStream<'static, Result<v1::ReadResponse, Status>>;
    type ReadManyStream = BoxStream<'static, Result<v1::ReadManyResponse, Status>>;
    type WriteManyStream = BoxStream<'static, Result<v1::WriteManyResponse, Status>>;
    type TransferStream = BoxStream<'static, Result<v1::TransferResponse, Status>>;

    async fn transfer(
        &self,
        _: Request<Streaming<v1::TransferRequest>>,
    ) -> Result<Response<Self::TransferStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn write(
        &self,
        request: Request<Streaming<v1::WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let answers = stream::iter(self.answers.clone().into_iter().map(Ok));
        if self.ends {
            return Ok(Response::new(answers.boxed()));
        }
        // What comes is taken, and nothing more is said.
        let silence = request.into_inner().filter_map(|_| std::future::ready(None)).chain(stream::pending());
        Ok(Response::new(answers.chain(silence).boxed()))
    }

    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented(""))
    }

    /// Small reads go to real datanodes alone: a reader takes the long way.
    async fn write_many(
        &self,
        _: Request<Streaming<v1::WriteManyRequest>>,
    ) -> Result<Response<Self::WriteManyStream>, Status> {
        Err(Status::unimplemented("one chunk at a time"))
    }

    async fn read_many(
        &self,
        _: Request<Streaming<v1::ReadManyRequest>>,
    ) -> Result<Response<Self::ReadManyStream>, Status> {
        Err(Status::unimplemented("this node answers one read at a time"))
    }

    async fn inspect(&self, _: Request<v1::InspectRequest>) -> Result<Response<v1::InspectResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn recover(&self, _: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn local_socket(
        &self,
        _: Request<v1::LocalSocketRequest>,
    ) -> Result<Response<v1::LocalSocketResponse>, Status> {
        Ok(Response::new(v1::LocalSocketResponse::default()))
    }

    async fn checksum(&self, _: Request<v1::ChecksumRequest>) -> Result<Response<v1::ChecksumResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tokio::test]
async fn what_the_next_node_has_not_acknowledged_is_not_shown() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    let (next, _serving) = NextNode::start(vec![answer(0, &[9]), answer(1, &[9])]).await;
    let pipeline = vec![named(&nodes[0]), next];
    let mut sender = client.open_as(pipeline, 1, 1, WriteMode::Create, 0).await.expect("it stands");
    let data = pattern(3_000);
    sender.send(packet(0, data.slice(..1_000)), PacketKind::Data).expect("credit");
    sender.ack().await.expect("both");
    sender.send(packet(1_000, data.slice(1_000..2_000)), PacketKind::Data).expect("credit");
    sender.send(packet(2_000, data.slice(2_000..)), PacketKind::Last { sync: false }).expect("credit");
    // Until it is written here.
    while nodes[0].store().stat(ChunkId(1)).await.expect("there").length < 3_000 {
        tokio::task::yield_now().await;
    }
    let (replica, _, found) = client.read(&nodes[0], client.read_request(&nodes[0], 1)).await.expect("read");
    assert_eq!((replica.state(), replica.visible), (v1::ReplicaState::Rbw, 1_000));
    assert!(found == data[..1_000]);
}

#[tokio::test]
async fn a_next_node_may_be_done_before_the_one_in_front_of_it() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    for (chunk, acknowledged) in [(1, true), (2, false)] {
        let answers = if acknowledged { vec![answer(0, &[9]), answer(1, &[9])] } else { vec![answer(0, &[9])] };
        let (next, _serving) = NextNode { answers, ends: true }.serve().await;
        let pipeline = vec![named(&nodes[0]), next];
        let mut sender = client.open_as(pipeline, chunk, 1, WriteMode::Create, 0).await.expect("it stands");
        sender.send(packet(0, pattern(10)), PacketKind::Last { sync: false }).expect("credit");
        match (sender.ack().await, acknowledged) {
            (Ok(1), true) => {}
            (Err(failure), false) => assert_eq!(failure.nodes, [NodeId(9)], "{}", failure.error),
            (outcome, _) => panic!("{acknowledged}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_next_node_that_falls_silent_is_named_in_time() {
    let namenode = FakeNamenode::start().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut impatient = options(folder.path(), &namenode.address()).await;
    impatient.settings.transport.stall_timeout = Duration::from_millis(100);
    let node = Datanode::start(impatient).await.expect("start");
    node.ready().await.expect("registered");
    let client = Client::new(namenode.cluster());
    let (next, _serving) = NextNode::start(vec![answer(0, &[9])]).await;
    let mut sender = client.open_as(vec![named(&node), next], 1, 1, WriteMode::Create, 0).await.expect("it stands");
    sender.send(packet(0, pattern(10)), PacketKind::Data).expect("credit");
    let failure = sender.ack().await.expect_err("silence");
    assert_eq!(failure.nodes, [NodeId(9)], "{}", failure.error);
    assert_eq!(failure.error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn answers_that_make_no_sense_are_the_next_nodes_fault() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    for (chunk, answers) in [
        vec![answer(5, &[9])],
        vec![answer(0, &[8])],
        vec![answer(0, &[])],
        vec![answer(0, &[9]), answer(7, &[9])],
        vec![answer(0, &[9]), answer(1, &[1])],
        vec![answer(0, &[9]), answer(1, &[])],
    ]
    .into_iter()
    .enumerate()
    {
        let (next, _serving) = NextNode::start(answers).await;
        let pipeline = vec![named(&nodes[0]), next];
        let opened = client.open_as(pipeline, chunk as u64 + 1, 1, WriteMode::Create, 0).await;
        let failure = match opened {
            Err(failure) => failure,
            Ok(mut sender) => {
                sender.send(packet(0, pattern(10)), PacketKind::Data).expect("credit");
                sender.ack().await.expect_err("senseless")
            }
        };
        assert_eq!(failure.nodes, [NodeId(9)], "{chunk}: {}", failure.error);
    }
}

#[tokio::test]
async fn too_many_packets_without_an_acknowledgement_are_refused() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    let (next, _serving) = NextNode::start(vec![answer(0, &[9])]).await;
    let open = v1::WriteOpen {
        hello: Some(client.identity.hello()),
        chunk: 1,
        generation: 1,
        mode: v1::WriteMode::Create.into(),
        capacity: 1 << 20,
        length: 0,
        downstream: vec![godfs_client::transport::convert::node_to_wire(&next)],
        node: 1,
        expected: 0,
    };
    let first = v1::WriteRequest { open: Some(open), ..Default::default() };
    let packets = (0..17).map(|at| {
        let packet = packet(at, Bytes::from_static(b"x"));
        v1::WriteRequest {
            sequence: at + 1,
            offset: at,
            checksums: packet.checksums,
            data: packet.data,
            ..Default::default()
        }
    });
    let messages: Vec<_> = std::iter::once(first).chain(packets).collect();
    let requests = stream::iter(messages).chain(stream::pending());
    let mut answers = client.service(nodes[0].address()).await.write(requests).await.expect("call").into_inner();
    let setup = answers.message().await.expect("setup").expect("setup");
    assert!(setup.results.iter().all(|result| result.error.is_none()));
    let refusal = answers.message().await.expect("refusal").expect("refusal");
    assert_eq!(refusal.sequence, 17);
    let error = status::from_detail(refusal.results[0].error.as_ref().expect("an error"));
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert!(answers.message().await.expect("a good end").is_none());
}

#[tokio::test]
async fn a_copy_that_breaks_off_leaves_nothing_and_can_be_done_again() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let client = Client::new(namenode.cluster());
    let copy = async || client.open_as(vec![named(&nodes[0])], 1, 1, WriteMode::Copy, 0).await;
    let mut sender = copy().await.expect("open");
    sender.send(packet(0, pattern(1_000)), PacketKind::Data).expect("credit");
    sender.ack().await.expect("written");
    let failure = copy().await.expect_err("one at a time");
    assert!(failure.error.is_retryable(), "{}", failure.error);
    drop(sender);
    while nodes[0].store().stat(ChunkId(1)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let mut sender = loop {
        // The last step of the one before may still be under way.
        if let Ok(sender) = copy().await {
            break sender;
        }
    };
    crate::harness::send(&mut sender, 0, &pattern(1_000), true).await.expect("whole");
    assert_eq!(client.inspect(&nodes[0], 1).await.expect("there").state(), v1::ReplicaState::Finalized);
}
