//! Ids, offsets, lengths and counts that lie.

use futures::{StreamExt, stream};
use godfs_core::ErrorKind;
use godfs_proto::v1;
use v1::datanode_message::Message as Up;

use crate::harness::{CHUNK, Caller, cluster, fails, nothing_panicked, small_chunks, still_serves};

/// Numbers that are wrong nearly everywhere.
const HUGE: [u64; 5] = [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 1 << 62];

#[tokio::test]
async fn counts_and_sizes_out_of_bounds_are_refused() {
    let cluster = cluster(1).await;
    let mut caller = Caller::of(&cluster).await;
    let good = v1::CreateOptions { replication: 1, chunk_size: CHUNK, ..Default::default() };
    for (what, options) in [
        ("513 replicas", v1::CreateOptions { replication: 513, ..good.clone() }),
        ("all the replicas there are", v1::CreateOptions { replication: u32::MAX, ..good.clone() }),
        ("an odd chunk size", v1::CreateOptions { chunk_size: CHUNK + 1, ..good.clone() }),
        ("tiny chunks", v1::CreateOptions { chunk_size: 4_096, ..good.clone() }),
        ("endless chunks", v1::CreateOptions { chunk_size: 1 << 63, ..good.clone() }),
        ("the largest number as chunk size", v1::CreateOptions { chunk_size: u64::MAX, ..good.clone() }),
    ] {
        let (call, path, options) = (caller.call(), "/f".to_owned(), Some(options));
        let request = v1::CreateRequest { call, path: path.clone(), options: options.clone(), first: None };
        let created = caller.names.create(request).await;
        assert_eq!(caller.refused(what, created).kind(), ErrorKind::InvalidArgument, "{what}");
        let put = caller.names.put(v1::PutRequest { call, path, options, data: "x".into() }).await;
        assert_eq!(caller.refused(what, put).kind(), ErrorKind::InvalidArgument, "{what}");
    }
    let client = cluster.client();
    fails("no replica", ErrorKind::InvalidArgument, client.put("/f", "x", small_chunks(0)).await);
    fails("no replica", ErrorKind::InvalidArgument, client.create("/f", small_chunks(0)).await);
    client.put("/f", "x", small_chunks(1)).await.expect("put");
    for count in [0, 513, u32::MAX] {
        fails("setrep", ErrorKind::InvalidArgument, client.set_replication("/f", count).await);
    }
    let (call, path) = (caller.call(), "/f".to_owned());
    let none = caller.names.set_replication(v1::SetReplicationRequest { call, path, replication: 0 }).await;
    assert_eq!(caller.refused("no replica", none).kind(), ErrorKind::InvalidArgument);
    assert_eq!(client.stat("/f").await.expect("as it was").replication, 1);
    nothing_panicked();
}

#[tokio::test]
async fn calls_that_name_nothing_that_exists_are_refused() {
    let cluster = cluster(1).await;
    let mut caller = Caller::of(&cluster).await;
    let file = caller.create("/f", 1).await;
    let chunk = caller.add_chunk(&file).await;
    let (inode, lease) = (file.inode, file.lease);
    let mut names = caller.names.clone();
    for lie in [0].into_iter().chain(HUGE) {
        let call = caller.call();
        let commit =
            |chunk, generation, length, node| vec![v1::ChunkCommit { chunk, generation, length, nodes: vec![node] }];
        let node = chunk.nodes[0].id;
        let huge_node = u32::try_from(lie).unwrap_or(u32::MAX);
        let mut refusals = vec![
            (
                "add: inode",
                names.add_chunk(v1::AddChunkRequest { call, inode: lie, lease, ..Default::default() }).await.err(),
            ),
            (
                "add: lease",
                names.add_chunk(v1::AddChunkRequest { call, inode, lease: lie, ..Default::default() }).await.err(),
            ),
            (
                "abandon: chunk",
                names.abandon_chunk(v1::AbandonChunkRequest { call, inode, lease, chunk: lie }).await.err(),
            ),
            (
                "issue: chunk",
                names.issue_generation(v1::IssueGenerationRequest { call, inode, lease, chunk: lie }).await.err(),
            ),
            ("update: generation", {
                let request = v1::UpdatePipelineRequest {
                    call,
                    inode,
                    lease,
                    chunk: chunk.chunk,
                    generation: lie,
                    nodes: vec![node],
                };
                names.update_pipeline(request).await.err()
            }),
            ("update: node", {
                let nodes = vec![huge_node];
                let request =
                    v1::UpdatePipelineRequest { call, inode, lease, chunk: chunk.chunk, generation: 1, nodes };
                names.update_pipeline(request).await.err()
            }),
            ("locate: inode", names.locate(v1::LocateRequest { inode: lie, ..Default::default() }).await.err()),
            ("renew", names.renew_session(v1::RenewSessionRequest { session: lie }).await.err()),
        ];
        for (what, commits) in [
            ("commit: chunk", commit(lie, 1, 5, node)),
            ("commit: generation", commit(chunk.chunk, lie, 5, node)),
            ("commit: length", commit(chunk.chunk, 1, lie, node)),
            ("commit: node", commit(chunk.chunk, 1, 5, huge_node)),
            ("commit: more than a chunk", commit(chunk.chunk, 1, CHUNK + 1, node)),
            ("commit: no node", vec![v1::ChunkCommit { chunk: chunk.chunk, generation: 1, length: 5, nodes: vec![] }]),
            ("commit: thousands of nodes", {
                vec![v1::ChunkCommit { chunk: chunk.chunk, generation: 1, length: 5, nodes: (1..5_000).collect() }]
            }),
        ] {
            let request =
                v1::CompleteRequest { call, inode, lease, length: 5, commits: commits.clone(), ..Default::default() };
            refusals.push((what, names.complete(request).await.err()));
            let request = v1::AddChunkRequest { call, inode, lease, start: CHUNK, commits, ..Default::default() };
            refusals.push((what, names.add_chunk(request).await.err()));
        }
        if lie != 0 {
            let request = v1::AddChunkRequest { call, inode, lease, start: lie, ..Default::default() };
            refusals.push(("add: start", names.add_chunk(request).await.err()));
            let request = v1::CompleteRequest { call, inode, lease, length: lie, ..Default::default() };
            refusals.push(("complete: length", names.complete(request).await.err()));
        }
        for (what, status) in refusals {
            let Some(status) = status else { panic!("{what}: {lie} must be refused") };
            let error = caller.refused::<()>(what, Err(status));
            assert!(!matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt), "{what}: {lie}: {error}");
        }
    }
    // Slots and sequences of others, of nobody, and without end.
    for (what, call) in [
        ("no call", None),
        ("session 0", Some(v1::Call { session: 0, slot: 0, sequence: 1 })),
        ("nobody's session", Some(v1::Call { session: u64::MAX, slot: 0, sequence: 1 })),
        ("slot without end", Some(v1::Call { slot: u32::MAX, ..caller.call().expect("a call") })),
        ("sequence 0", Some(v1::Call { sequence: 0, ..caller.call().expect("a call") })),
    ] {
        let made = names.mkdir(v1::MkdirRequest { call, path: "/d".into(), ..Default::default() }).await;
        let error = caller.refused(what, made);
        assert!(!matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt), "{what}: {error}");
    }
    // Places where nothing is are no error, and cost nothing.
    for offset in HUGE {
        for length in HUGE {
            let request =
                v1::LocateRequest { path: "/f".into(), offset, length, chunks: u32::MAX, ..Default::default() };
            assert!(names.locate(request).await.expect("no chunk there").into_inner().chunks.len() <= 1);
        }
    }
    let long = v1::OpenRequest { path: "/f".into(), host: "h".repeat(100_000), chunks: 1, ..Default::default() };
    assert_eq!(caller.refused("a long host", names.open(long).await).kind(), ErrorKind::InvalidArgument);
    // What is untouched goes on.
    assert_eq!(
        caller.add_chunk_at(&file, 0).await.expect_err("the first one is there").kind(),
        ErrorKind::InvalidArgument
    );
    still_serves(&cluster, "after-lies").await;
}

#[tokio::test]
async fn a_listing_begins_wherever_it_is_told() {
    let cluster = cluster(0).await;
    let caller = Caller::of(&cluster).await;
    cluster.client().put("/f", "x", small_chunks(1)).await.expect("put");
    let mut names = caller.names.clone();
    for after in ["\0", "/", "..", &"~".repeat(300), &"~".repeat(1_500), &"~".repeat(1_000_000), "\u{10ffff}"] {
        let request =
            v1::ListRequest { path: "/".into(), start_after: after.into(), page_size: u32::MAX, ..Default::default() };
        let mut entries = 0;
        match names.list(request).await {
            Ok(pages) => {
                let mut pages = pages.into_inner();
                while let Some(page) = pages.next().await {
                    match page {
                        Ok(page) => entries += page.entries.len(),
                        Err(status) => {
                            let error = caller.refused::<()>("list", Err(status));
                            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
                        }
                    }
                }
            }
            Err(status) => {
                let error = caller.refused::<()>("list", Err(status));
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            }
        }
        assert_eq!(entries, usize::from(after.as_bytes()[0] < b'f'), "after {:?}", &after[..after.len().min(20)]);
    }
    still_serves_names(&cluster).await;
}

async fn still_serves_names(cluster: &godfs_server::Cluster) {
    let client = cluster.client();
    client.put("/after", "x", small_chunks(1)).await.expect("put");
    assert_eq!(&client.get("/after").await.expect("get")[..], b"x");
    nothing_panicked();
}

#[tokio::test]
async fn reads_of_what_is_not_there_are_refused() {
    let cluster = cluster(1).await;
    let client = cluster.client();
    client.put("/f", vec![7; 100_000], small_chunks(1).chunk_size(1 << 20)).await.expect("put");
    let chunk = client.locate("/f").await.expect("locate").chunks[0].clone();
    let caller = Caller::of(&cluster).await;
    let mut service = caller.chunks(&cluster.datanode_address(0).expect("running")).await;
    let node = cluster.datanode(0).and_then(godfs_server::datanode::Datanode::node_id).expect("registered").get();
    let hello = Some(caller.identity.hello());
    let good = v1::ReadRequest { hello: hello.clone(), chunk: chunk.chunk.get(), node, ..Default::default() };
    for (what, request, kind) in [
        ("chunk 0", v1::ReadRequest { chunk: 0, ..good.clone() }, ErrorKind::InvalidArgument),
        ("no such chunk", v1::ReadRequest { chunk: u64::MAX, ..good.clone() }, ErrorKind::NotFound),
        ("a later generation", v1::ReadRequest { generation: u64::MAX, ..good.clone() }, ErrorKind::FailedPrecondition),
        ("beyond all chunks", v1::ReadRequest { offset: u64::MAX, ..good.clone() }, ErrorKind::InvalidArgument),
        ("node 0", v1::ReadRequest { node: 0, ..good.clone() }, ErrorKind::FailedPrecondition),
        ("another node", v1::ReadRequest { node: u32::MAX, ..good.clone() }, ErrorKind::FailedPrecondition),
        ("nobody", v1::ReadRequest { hello: None, ..good.clone() }, ErrorKind::InvalidArgument),
    ] {
        let error = caller.refused(what, service.read(request).await);
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
    // Beyond the end there is nothing; up to it, all.
    for (offset, length, expected) in
        [(4 << 30, u64::MAX, 0), (0, u64::MAX, 100_000), (99_999, 1 << 63, 100_000 - 98_304)]
    {
        let request = v1::ReadRequest { offset, length, ..good.clone() };
        let mut packets = service.read(request).await.expect("read").into_inner();
        let mut bytes = 0;
        while let Some(packet) = packets.message().await.expect("packet") {
            bytes += packet.data.len();
        }
        assert_eq!(bytes, expected, "{length} bytes at {offset}");
    }
    for (what, length, kind) in [
        ("more than a chunk", u64::MAX, ErrorKind::InvalidArgument),
        ("more than there is", 100_001, ErrorKind::InvalidArgument),
    ] {
        let request =
            v1::ChecksumRequest { hello: hello.clone(), chunk: chunk.chunk.get(), generation: 1, length, node };
        let error = caller.refused(what, service.checksum(request).await);
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
    nothing_panicked();
}

fn up(message: Up) -> v1::DatanodeMessage {
    v1::DatanodeMessage { message: Some(message) }
}

fn register(caller: &Caller, uuid: u8, node: u32) -> v1::Register {
    v1::Register {
        hello: Some(v1::Hello { speaker: v1::Speaker::Datanode.into(), ..caller.identity.hello() }),
        node_uuid: vec![uuid; 16].into(),
        node,
        instance: 1,
        address: "127.0.0.1:1".into(),
        domain: "/default".into(),
        space: Some(v1::Space { capacity: 1 << 63, used: u64::MAX, available: 1 << 63 }),
        ..Default::default()
    }
}

#[tokio::test]
async fn datanodes_that_lie_are_shown_out_or_cost_nothing() {
    let cluster = cluster(1).await;
    let caller = Caller::of(&cluster).await;
    let good = register(&caller, 7, 0);
    for (what, wrong) in [
        ("no hello", v1::Register { hello: None, ..good.clone() }),
        ("a client", v1::Register { hello: Some(caller.identity.hello()), ..good.clone() }),
        ("a short folder id", v1::Register { node_uuid: vec![1; 15].into(), ..good.clone() }),
        ("no address", v1::Register { address: String::new(), ..good.clone() }),
        ("an address that is none", v1::Register { address: "nowhere".into(), ..good.clone() }),
        ("a long address", v1::Register { address: format!("{}:1", "h".repeat(10_000)), ..good.clone() }),
        ("a domain that is none", v1::Register { domain: "rack".into(), ..good.clone() }),
        ("a domain without end", v1::Register { domain: "/r".repeat(100_000), ..good.clone() }),
        ("a number that nobody gave", v1::Register { node: 77, ..good.clone() }),
        ("another's number", v1::Register { node: 1, ..good.clone() }),
        ("the largest number", v1::Register { node: u32::MAX, ..good.clone() }),
        (
            "a version that was never",
            v1::Register { version: u64::MAX, incarnation: incarnation(&caller).await, ..good.clone() },
        ),
    ] {
        let talk = stream::iter([up(Up::Register(wrong))]).chain(stream::pending());
        let error = caller.refused(what, caller.datanodes.clone().connect(talk).await);
        assert!(!matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt), "{what}: {error}");
    }
    // Registered, with all the room in the world, at an address where nobody is; then it says what can't be.
    let replica = |chunk, generation, length| v1::Replica {
        chunk,
        generation,
        length,
        visible: length,
        state: v1::ReplicaState::Finalized.into(),
    };
    let finalized = |replica| v1::ReplicaEvent {
        kind: v1::replica_event::Kind::Finalized.into(),
        replica: Some(replica),
        ..Default::default()
    };
    let events = |events| Up::Events(v1::ReplicaEvents { sequence: 1, events });
    let sums = |ranges: &[u64], lanes: Vec<i64>| {
        let sums = ranges.iter().map(|&range| v1::RangeSum { range, lanes: lanes.clone() }).collect();
        Up::Sums(v1::ReportSums { sums, more: false })
    };
    let lies: Vec<(&str, Up, bool)> = vec![
        ("chunk 0", events(vec![finalized(replica(0, 1, 1))]), true),
        ("generation 0", events(vec![finalized(replica(1, 0, 1))]), true),
        ("a chunk without end", events(vec![finalized(replica(1, 1, u64::MAX))]), true),
        ("no replica", events(vec![v1::ReplicaEvent { kind: 1, ..Default::default() }]), true),
        ("no kind", events(vec![v1::ReplicaEvent { kind: 99, ..finalized(replica(1, 1, 1)) }]), true),
        ("a chunk that nobody made", events(vec![finalized(replica(u64::MAX, u64::MAX, 1 << 32))]), false),
        ("too few lanes", sums(&[1], vec![1]), true),
        ("too many lanes", sums(&[1], vec![1; 1_000]), true),
        ("sums out of order", sums(&[2, 1], vec![1; 4]), true),
        ("sums that overflow", sums(&[1, 2, 3], vec![i64::MAX, i64::MIN, -1, i64::MAX]), false),
        ("the last range of all", sums(&[u64::MAX], vec![1; 4]), false),
        (
            "a list that nobody wants",
            Up::Range(v1::ReportRange { range: u64::MAX, replicas: vec![replica(1, 1, 1)] }),
            false,
        ),
        ("a result that nobody waits for", Up::Result(v1::CommandResult { id: u64::MAX, ..Default::default() }), false),
        ("a second registration", Up::Register(good.clone()), true),
        ("nothing", Up::Heartbeat(v1::Heartbeat::default()), false),
        ("all room", Up::Heartbeat(v1::Heartbeat { space: good.space, load: u32::MAX, ..Default::default() }), false),
    ];
    for (at, (what, lie, ends)) in lies.into_iter().enumerate() {
        // Each as a node of its own: whoever was shown out is live for a while.
        let hello = register(&caller, 100 + u8::try_from(at).expect("few"), 0);
        let heartbeat = Up::Heartbeat(v1::Heartbeat { space: hello.space, ..Default::default() });
        let talk = stream::iter([up(Up::Register(hello)), up(lie), up(heartbeat)]).chain(stream::pending());
        let mut down = caller.told(caller.datanodes.clone().connect(talk).await).expect("registered");
        let talk = async {
            let mut heartbeats = 0;
            while let Some(Ok(message)) = down.next().await {
                heartbeats += i32::from(matches!(message.message, Some(v1::namenode_message::Message::Heartbeat(_))));
                if heartbeats > 0 && !ends {
                    return;
                }
            }
            assert!(ends, "{what} ended the stream");
        };
        let told = tokio::time::timeout(std::time::Duration::from_secs(20), talk).await;
        assert!(told.is_ok(), "{what} goes on for ever");
    }
    let report = cluster.client().report().await.expect("report");
    assert!(report.capacity_bytes >= 1 << 63, "sums are held at the largest number");
    // Files find the one that exists, though all the others claim more room.
    still_serves(&cluster, "beside-liars").await;
}

async fn incarnation(caller: &Caller) -> bytes::Bytes {
    let hello = v1::HelloRequest { hello: Some(caller.identity.hello()) };
    caller.names.clone().hello(hello).await.expect("hello").into_inner().incarnation
}

#[tokio::test]
async fn corrupt_reports_against_good_replicas_change_nothing() {
    let cluster = cluster(2).await;
    let client = cluster.client();
    client.put("/f", vec![3; 100_000], small_chunks(2).chunk_size(1 << 20)).await.expect("put");
    let chunk = client.locate("/f").await.expect("locate").chunks[0].clone();
    let caller = Caller::of(&cluster).await;
    let mut names = caller.names.clone();
    let good = v1::ReportCorruptRequest { chunk: chunk.chunk.get(), generation: 1, node: 1, evidence: String::new() };
    for (what, wrong) in [
        ("no chunk", v1::ReportCorruptRequest { chunk: 0, ..good.clone() }),
        ("no generation", v1::ReportCorruptRequest { generation: 0, ..good.clone() }),
        ("no node", v1::ReportCorruptRequest { node: 0, ..good.clone() }),
        ("a novel", v1::ReportCorruptRequest { evidence: "e".repeat(2_000), ..good.clone() }),
    ] {
        assert_eq!(
            caller.refused(what, names.report_corrupt(wrong).await).kind(),
            ErrorKind::InvalidArgument,
            "{what}"
        );
    }
    for node in [1, 2, 3, u32::MAX] {
        for generation in [1, 2, u64::MAX] {
            for chunk in [chunk.chunk.get(), u64::MAX] {
                let evidence = "\u{1b}[2Jall is lost\n".to_owned();
                names
                    .report_corrupt(v1::ReportCorruptRequest { chunk, generation, node, evidence })
                    .await
                    .expect("a hint is taken");
            }
        }
    }
    // The nodes look for themselves. What they say comes down the same streams as what a scrub has them say.
    let mut scrub = client.scrub(None).await.expect("scrub");
    while let Some(progress) = scrub.next().await {
        assert_eq!(progress.expect("progress").corrupt, 0);
    }
    let report = client.report().await.expect("report");
    assert_eq!((report.corrupt, report.missing, report.under_replicated), (0, 0, 0), "{report:?}");
    nothing_panicked();
}
