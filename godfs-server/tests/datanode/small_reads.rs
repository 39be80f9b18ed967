//! Many small reads on one stream.

use bytes::Bytes;
use futures::{StreamExt, stream};
use godfs_client::transport::{convert, status};
use godfs_core::{ErrorKind, checksum};
use godfs_proto::v1;
use godfs_server::datanode::Datanode;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{Client, cluster, pattern};

fn first(client: &Client, node: &Datanode, reads: Vec<v1::SmallRead>) -> v1::ReadManyRequest {
    let node = node.node_id().expect("registered").get();
    v1::ReadManyRequest { hello: Some(client.identity.hello()), node, reads }
}

fn read(number: u64, chunk: u64, offset: u64, length: u32) -> v1::SmallRead {
    v1::SmallRead { number, chunk, generation: 1, offset, length }
}

#[tokio::test]
async fn each_is_answered_by_its_number() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let (node, client) = (&nodes[0], Client::new(namenode.cluster()));
    let data: Vec<Bytes> = (1..=3).map(|chunk| pattern(300_000 + 7 * chunk).slice(7 * chunk..)).collect();
    for (chunk, data) in (1..).zip(&data) {
        client.write(&[node], chunk, data).await.expect("written");
    }
    let mut service = client.service(node.address()).await;
    let (sender, requests) = mpsc::channel(100);
    sender.send(first(&client, node, Vec::new())).await.expect("open");
    let mut answers = service.read_many(ReceiverStream::new(requests)).await.expect("answered").into_inner();
    let mut random = fastrand::Rng::with_seed(5);
    let mut asked = Vec::new();
    for message in 0..40_u64 {
        let reads: Vec<_> = (0..20)
            .map(|at| {
                let length = random.u32(1..20_000);
                read(message * 20 + at, random.u64(1..=3), random.u64(0..300_000 - u64::from(length)), length)
            })
            .collect();
        asked.extend(reads.clone());
        sender.send(v1::ReadManyRequest { reads, ..Default::default() }).await.expect("open");
    }
    // What is wrong with one is its own matter.
    let wrong = [read(9_001, 1, 300_000, 2), read(9_002, 77, 0, 1), read(9_003, 1, 0, 0), read(9_004, 1, u64::MAX, 9)];
    let newer = v1::SmallRead { generation: 2, ..read(9_005, 1, 0, 1) };
    let reads = wrong.into_iter().chain([newer, read(9_006, 1, 0, 1)]).collect();
    sender.send(v1::ReadManyRequest { reads, ..Default::default() }).await.expect("open");
    drop(sender);
    let mut errors = Vec::new();
    while let Some(answer) = answers.next().await {
        for answer in answer.expect("goes on").answers {
            if let Some(error) = &answer.error {
                errors.push((answer.number, status::from_detail(error).kind()));
                continue;
            }
            let packet = convert::read_packet(answer.packet.expect("a packet")).expect("valid");
            checksum::verify(packet.offset, &packet.data, &packet.checksums).expect("good");
            let Some(at) = asked.iter().position(|read| read.number == answer.number) else {
                assert_eq!(answer.number, 9_006);
                continue;
            };
            let read = asked.swap_remove(at);
            let (from, data) = (read.offset as usize, &data[read.chunk as usize - 1]);
            let into = from - packet.offset as usize;
            assert!(packet.data[into..into + read.length as usize] == data[from..from + read.length as usize]);
        }
    }
    assert!(asked.is_empty(), "{} without an answer", asked.len());
    errors.sort_by_key(|(number, _)| *number);
    let kinds =
        [ErrorKind::InvalidArgument, ErrorKind::NotFound, ErrorKind::InvalidArgument, ErrorKind::InvalidArgument];
    assert_eq!(errors[..4], [(9_001, kinds[0]), (9_002, kinds[1]), (9_003, kinds[2]), (9_004, kinds[3])]);
    assert_eq!(errors[4].0, 9_005);
}

#[tokio::test]
async fn a_stream_that_asks_for_too_much_ends() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let (node, client) = (&nodes[0], Client::new(namenode.cluster()));
    client.write(&[node], 1, &pattern(10_000)).await.expect("written");
    let mut service = client.service(node.address()).await;
    let many = (0..257).map(|number| read(number, 1, 0, 1)).collect();
    let large = (0..2).map(|number| read(number, 1, 0, 600_000)).collect();
    let stranger = v1::ReadManyRequest { node: 99, ..first(&client, node, Vec::new()) };
    for request in [first(&client, node, many), first(&client, node, large), stranger, v1::ReadManyRequest::default()] {
        let requests = stream::iter([request]).chain(stream::pending());
        let mut answers = service.read_many(requests).await.expect("answered").into_inner();
        let end = answers.next().await.expect("an end").expect_err("refused");
        let error = status::from_status(&end, node.address());
        assert!(!error.is_retryable(), "{error}");
    }
}

/// Replicas are kept open for the sake of reads that follow: one that is deleted is not read any more.
#[tokio::test]
async fn a_deleted_replica_is_let_go() {
    let (namenode, nodes, _folders) = cluster(1).await;
    let (node, client) = (&nodes[0], Client::new(namenode.cluster()));
    // Beyond what lies in segments.
    client.write(&[node], 1, &pattern(2 << 20)).await.expect("written");
    let mut service = client.service(node.address()).await;
    let mut ask = async |number| {
        let request = first(&client, node, vec![read(number, 1, 5_000, 10)]);
        let mut answers = service.read_many(stream::iter([request])).await.expect("answered").into_inner();
        answers.next().await.expect("an answer").expect("goes on").answers.remove(0)
    };
    for number in 0..3 {
        assert!(ask(number).await.error.is_none());
    }
    node.store().delete(godfs_core::ChunkId(1), godfs_core::Generation(1)).await.expect("deleted");
    loop {
        let answer = ask(9).await;
        if let Some(error) = answer.error {
            assert_eq!(status::from_detail(&error).kind(), ErrorKind::NotFound);
            break;
        }
        // Nobody told the node: until what is open has grown old.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
