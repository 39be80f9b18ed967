//! Bytes below gRPC against daemons that serve others meanwhile: frames that are cut, say too much, come in the wrong order or without end, and streams that
//! are opened by the thousand and go nowhere. What a daemon has in memory is read from `/proc`.

use std::time::Duration;

use godfs_client::transport::{Address, Channels};
use godfs_proto::v1;
use godfs_proto::v1::datanode_service_client::DatanodeServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::abuse::{MIB, daemons, sound, still_serves};
use crate::harness::Daemons;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// How long an attacker goes on, if it is let.
const ATTACK: Duration = Duration::from_secs(3);
/// Connections of each attack on each daemon.
const ATTACKERS: usize = 4;

/// A frame that says `length`, whatever it has.
fn frame(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("24 bits").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn whole(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(payload.len(), kind, flags, stream, payload)
}

/// The head of a call, HPACK without tables of its own (RFC 7541).
fn head(path: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let own = |name: &str, value: &str| [vec![0], text(name), text(value)].concat();
    let pairs = [own("content-type", "application/grpc"), own("te", "trailers")].concat();
    // POST, http, then the path and the authority by the numbers of their names.
    [vec![0x83, 0x86, 0x04], text(path), vec![0x01], text("godfs"), pairs].concat()
}

/// What comes in a round of an attack; nothing ends it.
type Again = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

/// What is sent once, and what again and again behind it until nobody takes it.
fn attacks(path: &str) -> Vec<(&'static str, Vec<u8>, Again)> {
    let nothing = || Box::new(|_| Vec::new()) as Again;
    let call = |stream| whole(HEADERS, END_HEADERS, stream, &head(path));
    let head = head(path);
    let then = |rest: Vec<u8>| [call(1), rest].concat();
    vec![
        ("a head that is cut", frame(head.len(), HEADERS, END_HEADERS, 1, &head[..head.len() / 2]), nothing()),
        ("data that are cut", then(frame(16_000, DATA, 0, 1, &[0, 0, 0, 1, 0, 7])), nothing()),
        ("a frame of all that three bytes can say", frame((1 << 24) - 1, DATA, 0, 1, &[0; 9]), nothing()),
        ("a message of four GiB", then(whole(DATA, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])), nothing()),
        ("data before any head", whole(DATA, 0, 1, &[0; 100]), nothing()),
        ("the rest of a head before its beginning", whole(CONTINUATION, END_HEADERS, 1, &head), nothing()),
        ("streams that go backwards", [call(9), call(3)].concat(), nothing()),
        (
            "a window beyond all bounds",
            then([0; 9].map(|_| whole(WINDOW, 0, 1, &[0x7f, 0xff, 0xff, 0xff])).concat()),
            nothing(),
        ),
        (
            "a head without end",
            whole(HEADERS, 0, 1, &head),
            Box::new(|_| whole(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y'].repeat(3_000))),
        ),
        ("pings whose answers nobody reads", Vec::new(), Box::new(|_| whole(PING, 0, 0, &[7; 8]).repeat(500))),
        ("settings whose answers nobody reads", Vec::new(), Box::new(|_| whole(SETTINGS, 0, 0, &[]).repeat(500))),
        (
            "calls that are taken back at once",
            Vec::new(),
            Box::new(move |round| {
                let streams = (0..100).map(|at| 1 + 2 * (100 * round + at));
                streams
                    .flat_map(|stream| [call_of(&head, stream), whole(RESET, 0, stream, &[0, 0, 0, 8])].concat())
                    .collect()
            }),
        ),
    ]
}

fn call_of(head: &[u8], stream: u32) -> Vec<u8> {
    whole(HEADERS, END_HEADERS, stream, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_no_client_sends_cost_little_and_keep_nobody_out() {
    let cluster = Daemons::start(1);
    let client = cluster.client().await;
    still_serves(&client, "before").await;
    let before = sound(&cluster);
    let mut attackers = JoinSet::new();
    for (daemon, path) in
        daemons(&cluster).into_iter().zip(["/godfs.v1.NamespaceService/Put", "/godfs.v1.ChunkService/Write"])
    {
        for (what, first, again) in attacks(path) {
            let again = std::sync::Arc::new(again);
            for _ in 0..ATTACKERS {
                let (address, first, again) = (daemon.address.clone(), first.clone(), std::sync::Arc::clone(&again));
                attackers.spawn(async move {
                    let mut stream = TcpStream::connect(&address).await.expect(what);
                    let start = [PREFACE, &whole(SETTINGS, 0, 0, &[]), &first].concat();
                    let attack = async {
                        stream.write_all(&start).await?;
                        for round in 0.. {
                            let more = again(round);
                            if more.is_empty() {
                                break;
                            }
                            stream.write_all(&more).await?;
                        }
                        Ok::<_, std::io::Error>(())
                    };
                    // Thrown out, held up or let be: all are well.
                    let _ = tokio::time::timeout(ATTACK, attack).await;
                    stream
                });
            }
        }
    }
    still_serves(&client, "beside").await;
    let held = attackers.join_all().await;
    still_serves(&client, "after").await;
    let most = daemons(&cluster).iter().map(|daemon| daemon.peak()).max().expect("some run");
    println!("{} connections, {} MiB before, {} MiB at most", held.len(), before / MIB, most / MIB);
    assert!(most < before + 64 * MIB, "{most} bytes after {before}");
    // Who breaks the rules is shown out, and sees it.
    let mut ended = 0;
    for mut stream in held {
        let end = async {
            let mut rest = [0; 4_096];
            while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        };
        ended += usize::from(tokio::time::timeout(Duration::from_millis(100), end).await.is_ok());
    }
    // All but the cut ones, which are waited for as long as any slow client.
    assert!(ended >= 2 * 6 * ATTACKERS, "{ended}");
    sound(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_streams_that_say_nothing_cost_little() {
    let cluster = Daemons::start(1);
    let client = cluster.client().await;
    still_serves(&client, "before").await;
    let before = sound(&cluster);
    let node = cluster.datanodes[0].as_ref().expect("running").address.clone();
    let namenode = cluster.address().to_owned();
    let mut idle = JoinSet::new();
    for _ in 0..8 {
        let channels = Channels::tcp();
        let service = channels.chunk_service(&Address::parse(&node).expect("address")).await.expect("connect");
        let to_namenode = Channels::tcp().control(&Address::parse(&namenode).expect("address")).await.expect("connect");
        let origin = format!("http://{namenode}").parse().expect("origin");
        let datanodes = DatanodeServiceClient::with_origin(to_namenode, origin);
        for _ in 0..500 {
            let (mut service, mut datanodes, channels) = (service.clone(), datanodes.clone(), channels.clone());
            idle.spawn(async move {
                let _ = service.write(futures::stream::pending()).await;
                drop(channels);
            });
            idle.spawn(async move {
                let _ = datanodes.connect(futures::stream::pending::<v1::DatanodeMessage>()).await;
            });
        }
    }
    still_serves(&client, "beside").await;
    still_serves(&cluster.client().await, "newcomer").await;
    let most = daemons(&cluster).iter().map(|daemon| daemon.peak()).max().expect("some run");
    println!("{} MiB before, {} MiB at most", before / MIB, most / MIB);
    // Some 13 KiB each were measured, most of them of HTTP/2.
    assert!(most < before + 192 * MIB, "{most} bytes after {before}");
    idle.shutdown().await;
    still_serves(&client, "after").await;
    sound(&cluster);
}
