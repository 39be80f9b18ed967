//! Daemons under attack: connections that say nothing, streams that go nowhere, more bytes than anyone asked for. Others are served,
//! memory is bounded, nothing panics.

use std::time::Duration;

use godfs_client::transport::{Address, Channels, Connection};
use godfs_client::{Client, CreateOptions};
use godfs_proto::v1;
use godfs_proto::v1::namespace_service_client::NamespaceServiceClient;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Daemon, Daemons, Flags, noise, path};

pub(crate) const MIB: u64 = 1 << 20;

/// A file goes in and comes out again.
pub(crate) async fn still_serves(client: &Client, name: &str) {
    let data = noise(3 << 20, name.len() as u64);
    let path = format!("/{name}");
    let trip = async {
        client.put(path.as_str(), data.clone(), CreateOptions::default().chunk_size(1 << 20)).await?;
        client.get(path.as_str()).await
    };
    let back = tokio::time::timeout(Duration::from_secs(60), trip).await.expect("in time").expect("in and out");
    assert!(back == data, "other bytes");
}

pub(crate) fn daemons(cluster: &Daemons) -> Vec<&Daemon> {
    cluster.namenode.iter().chain(cluster.datanodes.iter().flatten()).collect()
}

/// That nobody has panicked, and how much the largest of them has in memory.
pub(crate) fn sound(cluster: &Daemons) -> u64 {
    let logs = cluster.logs();
    assert!(!logs.contains("panicked"), "{logs}");
    daemons(cluster).iter().map(|daemon| daemon.memory()).max().expect("some run")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_take_no_descriptors_from_files() {
    let cluster = Daemons::with(3, &Flags { descriptors: Some(256), ..Flags::default() });
    let client = cluster.client().await;
    still_serves(&client, "before").await;
    let mut held = Vec::new();
    for daemon in daemons(&cluster) {
        for number in 0..500 {
            let Ok(mut stream) = TcpStream::connect(&daemon.address).await else { continue };
            if number % 2 == 0 {
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n").await;
            }
            held.push(stream);
        }
    }
    still_serves(&client, "beside").await;
    still_serves(&cluster.client().await, "newcomer").await;
    assert!(!cluster.logs().contains("Too many open files"), "{}", cluster.logs());
    assert!(sound(&cluster) < 200 * MIB);
    drop(held);
}

/// A client by hand, on a connection of its own.
async fn names(address: &str) -> NamespaceServiceClient<Connection> {
    let address = Address::parse(address).expect("address");
    let connection = Channels::tcp().control(&address).await.expect("connect");
    NamespaceServiceClient::with_origin(connection, format!("http://{address}").parse().expect("origin"))
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_large_requests_and_idle_streams_are_bounded_in_memory() {
    // Time enough for renewals to come through beside the attack on a busy machine.
    let cluster = Daemons::with(3, &Flags { namenode: vec!["--session-timeout", "1m"], ..Flags::default() });
    let client = cluster.client().await;
    let namenode = cluster.address().to_owned();
    let before = sound(&cluster);
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut names = names(&namenode).await;
        attackers.spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..120 {
                let mut names = names.clone();
                calls.spawn(async move {
                    // Just below what is accepted, and refused only after it has come in.
                    let data = vec![7; 2_000_000];
                    let _ =
                        names.put(v1::PutRequest { data: data.into(), path: "/x".into(), ..Default::default() }).await;
                });
            }
            calls.join_all().await;
            // Streams of listings that nobody reads.
            let mut listings = Vec::new();
            for _ in 0..500 {
                let request = v1::ListRequest { path: "/".into(), ..Default::default() };
                if let Ok(pages) = names.list(request).await {
                    listings.push(pages);
                }
            }
            listings.len()
        });
    }
    still_serves(&client, "beside").await;
    while let Some(listings) = attackers.join_next().await {
        listings.expect("an attacker");
    }
    // What 16 connections may have under way, what requests that are coming in may hold, and half as much again for the allocator.
    let most = daemons(&cluster).iter().map(|daemon| daemon.peak()).max().expect("some run");
    assert!(most < before + (512 + 256) * MIB, "{most} bytes after {before}");
    still_serves(&client, "after").await;
    sound(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_do_not_read_cost_a_datanode_little() {
    let cluster = Daemons::start(1);
    let client = cluster.client().await;
    let options = CreateOptions::default().replication(1).chunk_size(64 << 20);
    client.put("/large", noise(48 << 20, 2), options).await.expect("put");
    let chunk = client.locate("/large").await.expect("locate").chunks.remove(0);
    let node = &chunk.replicas[0].node;
    let before = sound(&cluster);
    let mut held = Vec::new();
    for _ in 0..100 {
        let channels = Channels::tcp();
        let mut service = channels.chunk_service(&node.address).await.expect("connect");
        for _ in 0..3 {
            let request = v1::ReadRequest {
                hello: Some(godfs_client::transport::hello::Identity::client("idle").hello()),
                chunk: chunk.chunk.get(),
                node: node.id.get(),
                ..Default::default()
            };
            held.push((channels.clone(), service.read(request).await.expect("read").into_inner()));
        }
    }
    for (_, stream) in &mut held {
        stream.message().await.expect("a header");
    }
    still_serves(&client, "beside").await;
    let after = sound(&cluster);
    println!("{} MiB for 300 readers", (after - before) / MIB);
    // What HTTP/2 keeps to send for three streams of each connection, the packets of all readers, and a third as much again for the allocator: however
    // large the file.
    assert!(after < before + (3 * 64 + 128) * MIB / 3 * 4, "{after} bytes after {before}");
    drop(held);
}

#[test]
fn a_copy_of_a_live_nodes_folder_ends_by_itself_with_a_clear_word() {
    let cluster = Daemons::start(1);
    let (own, copy) = (cluster.datanode_folder(0), cluster.folder().join("copy"));
    std::fs::create_dir_all(&copy).expect("folder");
    std::fs::copy(own.join("identity"), copy.join("identity")).expect("copy");
    let log = cluster.folder().join("copy.log");
    let args = ["--dir", &path(&copy), "--namenode", cluster.address(), "--listen", "127.0.0.1:0"];
    let started = crate::harness::now();
    let Err(error) = Daemon::start("godfs-datanode", &log, &args) else { panic!("two of one node") };
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert!(error.contains("copy of its folder"), "{error}");
    // Exit code 1, as wait(2) has it: it was not killed for want of patience.
    assert!(error.contains("unix_wait_status(256)"), "{error}");
    let there = &cluster.datanodes[0].as_ref().expect("running").address;
    assert!(error.contains(there.as_str()), "{error}");
    assert!(!cluster.logs().contains("panicked"));
}
