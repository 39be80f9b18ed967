//! What a burst of reports does to others: how long a `stat` takes while datanodes report a change of every replica they have, and how
//! long without, by turns in one run. Every change is written.
//!
//! ```sh
//! cargo run --profile dist -p godfs-benches --bin burst -- --dir D --chunks 200000
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use futures::future::try_join_all;
use godfs_benches::lanes::Lanes;
use godfs_client::transport::hello::Identity;
use godfs_client::transport::{Address, Channels};
use godfs_client::{Client, process_caller};
use godfs_core::env::Env;
use godfs_core::io::DiskIo;
use godfs_core::metadata::{FjallOptions, FjallStore, MetadataStore};
use godfs_core::namespace::{Fill, Namespace, NamespaceSettings, Owner, SUPERGROUP};
use godfs_core::{DfsPath, Error, ErrorKind, NodeUuid, Result};
use godfs_proto::v1;
use godfs_server::net::Listener;
use godfs_server::{MetadataSource, Namenode, NamenodeOptions};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use v1::datanode_message::Message as Up;
use v1::datanode_service_client::DatanodeServiceClient;
use v1::namenode_message::Message as Down;
use v1::replica_event::Kind;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Files in one directory, and in one transaction that fills the store.
const PER_DIRECTORY: u64 = 1_000;
/// Events in one message, as datanodes send them.
const A_MESSAGE: u64 = 1_024;

/// Asks for files while datanodes report.
#[derive(Parser, Debug)]
struct Args {
    /// A folder for the metadata, which is removed at the end
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// Files of one chunk
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    chunks: u64,
    /// Datanodes, each with a replica of each chunk, that report at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    nodes: u32,
    /// Callers of `stat`, each with one at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_024))]
    callers: u64,
    /// Turns with and without reports
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

fn main() -> std::process::ExitCode {
    godfs_benches::lanes::run("burst", measure(&Args::parse()))
}

async fn measure(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir_in(&args.dir).map_err(|error| Error::io(args.dir.display(), error))?;
    let env = Env::system();
    let store = FjallStore::create(&folder.path().join("nn"), FjallOptions::default(), Arc::new(DiskIo), &env).await?;
    let store = Arc::new(store);
    let uuids = fill(args, Arc::clone(&store) as _, &env).await?;

    let (serving, calling) = (Lanes::start()?, Lanes::start()?);
    let listener = Listener::tcp_spread("127.0.0.1:0", serving.handles.clone()).await?;
    let options = NamenodeOptions::new(MetadataSource::Store(Arc::clone(&store) as _), listener);
    let namenode = Namenode::start(options).await?;
    let address = namenode.address().to_string();
    let mut nodes = Vec::new();
    for (number, uuid) in (1..).zip(&uuids) {
        nodes.push(Node::register(&address, number, *uuid).await?);
    }
    let client = Client::connect(&format!("godfs://{address}")).await?;
    let runtime = &calling.handles[0];

    println!("{:<10} {:>10} {:>8} {:>8} {:>8} {:>12}", "reports", "stat/s", "p50 us", "p99 us", "max us", "events/s");
    for round in 0..args.rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let quiet = runtime.spawn(stats(client.clone(), args.callers, args.chunks, Arc::clone(&stop)));
        tokio::time::sleep(Duration::from_secs(2)).await;
        stop.store(true, Ordering::Relaxed);
        quiet.await.map_err(|error| stopped(&error))??.print("none", None);

        let (kind, word) = if round % 2 == 0 { (Kind::Deleted, "deleted") } else { (Kind::Finalized, "finalized") };
        let stop = Arc::new(AtomicBool::new(false));
        let busy = runtime.spawn(stats(client.clone(), args.callers, args.chunks, Arc::clone(&stop)));
        let begun = Instant::now();
        try_join_all(nodes.iter_mut().map(|node| node.report(kind, args.chunks))).await?;
        let rate = (args.chunks * u64::from(args.nodes)) as f64 / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        busy.await.map_err(|error| stopped(&error))??.print(word, Some(rate));
    }
    drop((client, nodes));
    namenode.stop().await?;
    store.close().await
}

/// Writes the files; the datanodes that are to hold their replicas.
async fn fill(args: &Args, store: Arc<dyn MetadataStore>, env: &Env) -> Result<Vec<NodeUuid>> {
    let namespace = Namespace::new(store, NamespaceSettings::default(), env.clone())?;
    let user = process_caller()?.user().to_owned();
    namespace.initialize(Owner { user, group: SUPERGROUP.to_owned(), mode: 0o755 }).await?;
    let uuids: Vec<_> = (0..args.nodes).map(|_| NodeUuid::from_random(env.random.next_u128())).collect();
    let mut nodes = Vec::new();
    for uuid in &uuids {
        nodes.push(namespace.expect_node(*uuid).await?);
    }
    for start in (0..args.chunks).step_by(usize::try_from(PER_DIRECTORY).expect("small")) {
        let files = start..(start + PER_DIRECTORY).min(args.chunks);
        let directory = DfsPath::parse(&directory(start))?;
        namespace.fill(Fill { directory, files, chunks: 1, nodes: nodes.clone() }).await?;
    }
    Ok(uuids)
}

fn directory(file: u64) -> String {
    format!("/m/d{:06}", file / PER_DIRECTORY)
}

/// Asks for files at random until it is told to stop.
async fn stats(client: Client, callers: u64, files: u64, stop: Arc<AtomicBool>) -> Result<Latencies> {
    let callers = (0..callers).map(|caller| {
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut took = Vec::new();
            let mut number = caller;
            while !stop.load(Ordering::Relaxed) {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let file = (number >> 16) % files;
                let begun = Instant::now();
                client.stat(format!("{}/f{file:08}", directory(file))).await?;
                took.push(begun.elapsed());
            }
            Ok::<_, Error>(took)
        })
    });
    let begun = Instant::now();
    let mut all = Vec::new();
    for took in try_join_all(callers).await.map_err(|error| stopped(&error))? {
        all.extend(took?);
    }
    all.sort_unstable();
    Ok(Latencies { rate: all.len() as f64 / begun.elapsed().as_secs_f64(), sorted: all })
}

/// How long calls took.
struct Latencies {
    rate: f64,
    sorted: Vec<Duration>,
}

impl Latencies {
    fn print(&self, reports: &str, events: Option<f64>) {
        let at = |part: f64| self.sorted[((self.sorted.len() - 1) as f64 * part) as usize].as_micros();
        let events = events.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
        println!("{reports:<10} {:>10.0} {:>8} {:>8} {:>8} {events:>12}", self.rate, at(0.5), at(0.99), at(1.0));
    }
}

/// A datanode that only reports.
struct Node {
    up: mpsc::Sender<v1::DatanodeMessage>,
    down: Streaming<v1::NamenodeMessage>,
    sequence: u64,
    every: Duration,
}

const SPACE: v1::Space = v1::Space { capacity: 1 << 41, used: 0, available: 1 << 40 };

impl Node {
    async fn register(namenode: &str, number: u16, uuid: NodeUuid) -> Result<Self> {
        let lost = |what: &dyn std::fmt::Display| Error::new(ErrorKind::Unavailable, format!("namenode: {what}"));
        let namenode = Address::parse(namenode)?;
        let connection = Channels::tcp().control(&namenode).await?;
        let (up, messages) = mpsc::channel(4);
        let address = format!("127.0.0.1:{number}");
        let register = v1::Register {
            hello: Some(Identity::datanode(address.clone(), None).hello()),
            node_uuid: Bytes::copy_from_slice(uuid.as_bytes()),
            instance: u64::from(number),
            address,
            domain: "/default".into(),
            space: Some(SPACE),
            ..Default::default()
        };
        up.send(v1::DatanodeMessage { message: Some(Up::Register(register)) }).await.map_err(|error| lost(&error))?;
        let mut stub = DatanodeServiceClient::with_origin(connection, namenode.origin());
        let answer = stub.connect(ReceiverStream::new(messages)).await;
        let mut down = answer.map_err(|status| lost(&status))?.into_inner();
        let first = down.message().await.map_err(|status| lost(&status))?.and_then(|message| message.message);
        let Some(Down::Registered(registered)) = first else { return Err(lost(&"it did not register the node")) };
        Ok(Self { up, down, sequence: 0, every: Duration::from_millis(registered.heartbeat_ms) })
    }

    /// Reports a change of each chunk, one message after another.
    async fn report(&mut self, kind: Kind, chunks: u64) -> Result<()> {
        let lost = |what: &dyn std::fmt::Display| Error::new(ErrorKind::Unavailable, format!("namenode: {what}"));
        let mut beat = Instant::now();
        for first in (1..=chunks).step_by(usize::try_from(A_MESSAGE).expect("small")) {
            if Instant::now() >= beat {
                let heartbeat = Up::Heartbeat(v1::Heartbeat { space: Some(SPACE), ..Default::default() });
                let sent = self.up.send(v1::DatanodeMessage { message: Some(heartbeat) }).await;
                sent.map_err(|error| lost(&error))?;
                beat = Instant::now() + self.every;
            }
            let events = (first..=chunks).take(usize::try_from(A_MESSAGE).expect("small"));
            let events = events.map(|chunk| v1::ReplicaEvent {
                kind: kind.into(),
                replica: Some(replica(chunk)),
                evidence: String::new(),
            });
            self.sequence += 1;
            let events = Up::Events(v1::ReplicaEvents { sequence: self.sequence, events: events.collect() });
            self.up.send(v1::DatanodeMessage { message: Some(events) }).await.map_err(|error| lost(&error))?;
            loop {
                let message = self.down.message().await.map_err(|status| lost(&status))?;
                match message.and_then(|message| message.message) {
                    Some(Down::Events(ack)) if ack.sequence == self.sequence => break,
                    Some(_) => {}
                    None => return Err(lost(&"it ended the stream")),
                }
            }
        }
        Ok(())
    }
}

/// As the store was filled.
fn replica(chunk: u64) -> v1::Replica {
    let length = 1 << 20;
    v1::Replica { chunk, generation: 1, length, visible: length, state: v1::ReplicaState::Finalized.into() }
}

fn stopped(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("a task stopped: {error}"))
}
