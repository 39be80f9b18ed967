//! Several writers of one name, writers whose right was taken, and packets that are not what they say.

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, stream};
use godfs_client::transport::status;
use godfs_core::checksum::checksums;
use godfs_core::chunk::MAX_PACKET_BYTES;
use godfs_core::{Error, ErrorKind};
use godfs_proto::v1;

use crate::harness::{CHUNK, Caller, cluster, eventually, fails, noise, nothing_panicked, small_chunks, still_serves};

#[tokio::test]
async fn of_several_creators_of_one_path_one_wins() {
    let cluster = cluster(1).await;
    for round in 0..5 {
        let path = format!("/contested-{round}");
        let clients: Vec<_> = (0..4).map(|_| cluster.client()).collect();
        let created = join_all(clients.iter().map(|client| client.create(path.as_str(), small_chunks(1)))).await;
        let (mut won, lost): (Vec<_>, Vec<_>) = created.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "one wins");
        for lost in lost {
            fails("a second creator", ErrorKind::AlreadyExists, lost);
        }
        let mut file = won.remove(0).expect("created");
        file.writer().expect("a writer").write(path.as_bytes()).await.expect("write");
        file.close().await.expect("close");
        assert_eq!(&clients[0].get(path.as_str()).await.expect("get")[..], path.as_bytes(), "the winner's bytes");
        fails("too late", ErrorKind::AlreadyExists, clients[1].put(path.as_str(), "other", small_chunks(1)).await);
    }
    // Published only when closed, both go on until the first is done.
    let options = || small_chunks(1).publish_on_close(true);
    let (one, other) = (cluster.client(), cluster.client());
    let mut first = one.create("/late", options()).await.expect("hidden");
    let mut second = other.create("/late", options()).await.expect("hidden as well");
    first.writer().expect("a writer").write(b"first").await.expect("write");
    second.writer().expect("a writer").write(b"second").await.expect("write");
    first.close().await.expect("close");
    fails("the second", ErrorKind::AlreadyExists, second.close().await);
    assert_eq!(&one.get("/late").await.expect("get")[..], b"first");
    nothing_panicked();
}

#[tokio::test]
async fn a_writer_whose_lease_was_taken_adds_nothing_more() {
    let cluster = cluster(3).await;
    let (slow, other) = (cluster.client(), cluster.client());
    let before = noise(CHUNK as usize * 3 / 2, 1);
    let mut file = slow.create("/f", small_chunks(2)).await.expect("create");
    file.writer().expect("a writer").write(&before).await.expect("write");
    file.hflush().await.expect("flush");
    eventually("the file is recovered", || async {
        match other.recover_lease("/f").await {
            Ok(true) => Ok(()),
            not_yet => Err(format!("{not_yet:?}")),
        }
    })
    .await;
    // Whatever comes first learns of it, and everything after that; no later byte appears.
    let later = noise(CHUNK as usize * 2, 2);
    let written = async {
        file.writer()?.write(&later).await?;
        file.hflush().await
    };
    let error = fails("a write without a lease", ErrorKind::LeaseLost, written.await);
    assert!(!error.is_retryable() && error.message().contains("/f"), "{error}");
    fails("close", ErrorKind::LeaseLost, file.close().await);
    assert!(other.get("/f").await.expect("get") == before, "what was flushed, and nothing else");
    assert_eq!(other.stat("/f").await.expect("stat").length, before.len() as u64);
    // The same with one that was deleted, and with one that was replaced.
    for (path, replaced) in [("/deleted", false), ("/replaced", true)] {
        let mut file = slow.create(path, small_chunks(2)).await.expect("create");
        file.writer().expect("a writer").write(&before).await.expect("write");
        file.hflush().await.expect("flush");
        if replaced {
            other.put(path, "new", small_chunks(1).overwrite(true)).await.expect("replace");
        } else {
            other.remove(path, godfs_client::RemoveOptions::new()).await.expect("remove");
        }
        let written = async {
            file.writer()?.write(&later).await?;
            file.close().await
        };
        let error: Error = written.await.expect_err("nothing to write to");
        assert!(matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::NotFound), "{path}: {error}");
        match replaced {
            true => assert_eq!(&other.get(path).await.expect("get")[..], b"new"),
            false => assert!(!other.exists(path).await.expect("stat")),
        }
    }
    nothing_panicked();
}

/// The pipeline of one new chunk.
async fn opening(caller: &mut Caller, path: &str) -> (v1::CreateResponse, v1::AddChunkResponse, v1::WriteOpen) {
    let file = caller.create(path, 2).await;
    let chunk = caller.add_chunk(&file).await;
    let open = v1::WriteOpen {
        hello: Some(caller.identity.hello()),
        chunk: chunk.chunk,
        generation: chunk.generation,
        mode: v1::WriteMode::Create.into(),
        capacity: CHUNK,
        node: chunk.nodes[0].id,
        downstream: chunk.nodes[1..].to_vec(),
        ..Default::default()
    };
    (file, chunk, open)
}

fn packet(sequence: u64, offset: u64, data: &[u8]) -> v1::WriteRequest {
    let checksums = checksums(offset, data);
    v1::WriteRequest { sequence, offset, checksums, data: Bytes::copy_from_slice(data), ..Default::default() }
}

/// Sends messages down a pipeline, and gives the error with which it ends, and how many packets were acknowledged.
async fn sent(
    caller: &Caller,
    first: v1::WriteOpen,
    packets: Vec<v1::WriteRequest>,
    address: &str,
) -> (usize, Option<Error>) {
    let first = v1::WriteRequest { open: Some(first), ..Default::default() };
    let mut service = caller.chunks(address).await;
    let requests = stream::iter([first].into_iter().chain(packets)).chain(stream::pending());
    let mut answers = match caller.told(service.write(requests).await) {
        Ok(answers) => answers,
        Err(error) => return (0, Some(error)),
    };
    let mut acknowledged = 0;
    while let Some(answer) = answers.next().await {
        let answer = match answer {
            Ok(answer) => answer,
            Err(end) => return (acknowledged, Some(status::from_status(&end, &caller.address))),
        };
        if let Some(error) = answer.results.iter().find_map(|result| result.error.as_ref()) {
            return (acknowledged, Some(status::from_detail(error)));
        }
        acknowledged += usize::from(answer.sequence > 0);
    }
    (acknowledged, None)
}

#[tokio::test]
async fn packets_that_lie_break_the_pipeline_and_never_the_chunk() {
    let cluster = cluster(2).await;
    let mut caller = Caller::of(&cluster).await;
    let flipped = v1::WriteRequest { data: Bytes::from_static(b"flipPed"), ..packet(2, 5, b"flipped") };
    let many: Vec<_> = (0..200).map(|at| packet(2 + at, 5 + at, b"x")).collect();
    for (number, (what, bad)) in [
        ("a bad checksum", vec![flipped]),
        ("a checksum too many", vec![v1::WriteRequest { checksums: vec![0; 8].into(), ..packet(2, 5, b"x") }]),
        ("out of order", vec![packet(3, 5, b"x")]),
        ("twice the same", vec![packet(1, 0, b"good!")]),
        ("a gap", vec![packet(2, 4_096, b"x")]),
        ("a step back", vec![packet(2, 0, b"other")]),
        ("too large", vec![packet(2, 5, &vec![0; MAX_PACKET_BYTES + 1])]),
        ("beyond its capacity", vec![packet(2, 5, &vec![0; CHUNK as usize])]),
        ("the largest number as offset", vec![packet(2, u64::MAX - 4, b"x")]),
        ("sequence without end", vec![packet(u64::MAX, 5, b"x")]),
        ("more after the last", vec![v1::WriteRequest { last: true, ..packet(2, 5, b"x") }, packet(3, 6, b"y")]),
        ("thousands at once", many),
    ]
    .into_iter()
    .enumerate()
    {
        let (file, chunk, open) = opening(&mut caller, &format!("/lies-{number}")).await;
        let packets = [packet(1, 0, b"good!")].into_iter().chain(bad).collect();
        let talk = sent(&caller, open, packets, &chunk.nodes[0].address);
        let (acknowledged, error) =
            tokio::time::timeout(crate::harness::PATIENCE, talk).await.unwrap_or_else(|_| panic!("{what}: no end"));
        if let Some(error) = &error {
            let told =
                [ErrorKind::InvalidArgument, ErrorKind::Corrupt, ErrorKind::LimitExceeded, ErrorKind::Unavailable];
            assert!(told.contains(&error.kind()), "{what}: {error}");
        }
        // All that may follow is recovery, which finds what was acknowledged, and no byte of a lie.
        let commit = v1::ChunkCommit {
            chunk: chunk.chunk,
            generation: chunk.generation,
            length: 5,
            nodes: chunk.nodes.iter().map(|node| node.id).collect(),
        };
        drop((file, commit));
        let client = cluster.client();
        let path = format!("/lies-{number}");
        eventually("the file is recovered", || async {
            match client.recover_lease(path.as_str()).await {
                Ok(true) => Ok(()),
                not_yet => Err(format!("{not_yet:?}")),
            }
        })
        .await;
        let left = client.get(path.as_str()).await.expect("get");
        let truth = [b"good!".as_slice(), &[b'x'; 200]].concat();
        assert!(truth.starts_with(&left) || what.starts_with("beyond"), "{what}: {left:?}");
        assert!(left.len() >= if acknowledged > 0 { 5 } else { 0 }, "{what}: an acknowledged byte is gone");
        if what != "thousands at once" && what != "more after the last" {
            assert!(error.is_some(), "{what} must be refused");
        }
    }
    still_serves(&cluster, "after-packets").await;
}
