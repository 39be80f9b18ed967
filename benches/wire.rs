//! What the wire costs: empty files created straight in a namespace, and over gRPC on loopback in the same store, by turns
//! in one run. Every create is on the disk before it is answered.
//!
//! ```sh
//! cargo run --profile dist -p godfs-benches --bin wire -- --dir D --count 50000
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use futures::future::try_join_all;
use godfs_benches::lanes::Lanes;
use godfs_client::{Client, MkdirOptions, process_caller};
use godfs_core::env::Env;
use godfs_core::io::DiskIo;
use godfs_core::metadata::{FjallOptions, FjallStore, MetadataStore, Written};
use godfs_core::namespace::{Call, CreateOptions, Namespace};
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use godfs_server::net::Listener;
use godfs_server::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
use tokio::runtime::Handle;
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Operations in flight of one session.
const A_SESSION: u64 = 64;
/// Files in one directory.
const PER_DIRECTORY: u64 = 1_000;

/// Creates empty files with and without gRPC.
#[derive(Parser, Debug)]
struct Args {
    /// A folder for the metadata, which is removed at the end
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// Files of one turn
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    count: u64,
    /// Creates at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    concurrency: u64,
    /// Turns of each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> std::process::ExitCode {
    godfs_benches::lanes::run("wire", measure(&Args::parse()))
}

async fn measure(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir_in(&args.dir).map_err(|error| Error::io(args.dir.display(), error))?;
    let (env, io) = (Env::system(), Arc::new(DiskIo));
    let store = Arc::new(FjallStore::create(&folder.path().join("nn"), FjallOptions::default(), io, &env).await?);
    let shared: Arc<dyn MetadataStore> = Arc::clone(&store) as _;
    let (serving, calling) = (Lanes::start()?, Lanes::start()?);
    let listener = Listener::tcp_spread("127.0.0.1:0", serving.handles.clone()).await?;
    let mut options = NamenodeOptions::new(MetadataSource::Store(Arc::clone(&shared)), listener);
    options.init = true;
    let namenode = Namenode::start(options).await?;
    let settings = NamenodeSettings::default().namespace;
    let namespace = Namespace::new(shared, settings, env)?.by(process_caller()?);

    let sessions = args.concurrency.div_ceil(A_SESSION);
    let mut clients = Vec::new();
    for runtime in calling.handles.iter().cycle().take(usize::try_from(sessions).unwrap_or(usize::MAX)) {
        let url = format!("godfs://{}", namenode.address());
        let client =
            runtime.spawn(async move { Client::connect(&url).await }).await.map_err(|error| stopped(&error))??;
        clients.push((client, runtime.clone()));
    }
    let mut found = Found::default();
    for round in 0..args.rounds {
        let turn = Turn { args, clients: &clients, folder: format!("/direct-{round}/a/b/c") };
        let before = store.written();
        found.direct.push(turn.direct(&namespace, &calling.handles).await?);
        found.written.push(since(before, store.written()));
        let turn = Turn { folder: format!("/grpc-{round}/a/b/c"), ..turn };
        found.grpc.push(turn.grpc().await?);
    }
    found.print(args);
    drop(clients);
    namenode.stop().await?;
    store.close().await
}

/// Creates of one kind.
struct Turn<'a> {
    args: &'a Args,
    clients: &'a [(Client, Handle)],
    folder: String,
}

impl Turn<'_> {
    /// Creates a second, straight in the namespace.
    async fn direct(&self, namespace: &Namespace, runtimes: &[Handle]) -> Result<f64> {
        self.directories().await?;
        let mut sessions = Vec::new();
        for _ in self.clients {
            sessions.push(namespace.open_session("wire".into()).await?);
        }
        let started = Instant::now();
        let tasks = (0..self.args.concurrency).map(|at| {
            let session = sessions[usize::try_from(at / A_SESSION).expect("small")];
            let slot = u32::try_from(at % A_SESSION).expect("small");
            let (namespace, numbers, folder) = (namespace.clone(), self.numbers(at), self.folder.clone());
            runtimes[usize::try_from(at).expect("small") % runtimes.len()].spawn(async move {
                for (sequence, number) in (1..).zip(numbers) {
                    let call = Call { session, slot, sequence };
                    namespace.put(call, file(&folder, number)?, CreateOptions::default(), Bytes::new()).await?;
                }
                Ok::<(), Error>(())
            })
        });
        self.rate(started, try_join_all(tasks).await.map_err(|error| stopped(&error))?)
    }

    /// Creates a second, over gRPC.
    async fn grpc(&self) -> Result<f64> {
        self.directories().await?;
        let started = Instant::now();
        let tasks = (0..self.args.concurrency).map(|at| {
            let (client, runtime) = &self.clients[usize::try_from(at / A_SESSION).expect("small")];
            let (client, numbers, folder) = (client.clone(), self.numbers(at), self.folder.clone());
            runtime.spawn(async move {
                for number in numbers {
                    let options = godfs_client::CreateOptions::new();
                    client.put(&file(&folder, number)?, Bytes::new(), options).await?;
                }
                Ok(())
            })
        });
        self.rate(started, try_join_all(tasks).await.map_err(|error| stopped(&error))?)
    }

    async fn directories(&self) -> Result<()> {
        let (client, _) = &self.clients[0];
        for at in 0..self.args.count.div_ceil(PER_DIRECTORY) {
            let directory = DfsPath::parse(&format!("{}/d{at:05}", self.folder))?;
            client.mkdir(&directory, MkdirOptions::new().parents(true)).await?;
        }
        Ok(())
    }

    /// The files that one of the callers makes.
    fn numbers(&self, at: u64) -> impl Iterator<Item = u64> + Send + use<> {
        (at..self.args.count).step_by(usize::try_from(self.args.concurrency).expect("bounded above"))
    }

    fn rate(&self, started: Instant, done: Vec<Result<()>>) -> Result<f64> {
        let seconds = started.elapsed().as_secs_f64();
        done.into_iter().collect::<Result<()>>()?;
        Ok(self.args.count as f64 / seconds)
    }
}

fn file(folder: &str, number: u64) -> Result<DfsPath> {
    DfsPath::parse(&format!("{folder}/d{:05}/f{number:08}", number / PER_DIRECTORY))
}

fn since(before: Written, after: Written) -> Written {
    Written {
        transactions: after.transactions - before.transactions,
        rows: after.rows - before.rows,
        bytes: after.bytes - before.bytes,
    }
}

/// What was measured, turn by turn.
#[derive(Default)]
struct Found {
    direct: Vec<f64>,
    grpc: Vec<f64>,
    written: Vec<Written>,
}

impl Found {
    fn print(&self, args: &Args) {
        let (direct, grpc) = (median(&self.direct), median(&self.grpc));
        let each = |of: fn(&Written) -> u64| {
            let all: u64 = self.written.iter().map(of).sum();
            let transactions: u64 = self.written.iter().map(|written| written.transactions).sum();
            all as f64 / transactions as f64
        };
        let (rows, bytes) = (each(|written| written.rows), each(|written| written.bytes));
        let ratio = grpc / direct;
        if args.json {
            println!(
                "{{\"direct_per_second\":{direct:.0},\"grpc_per_second\":{grpc:.0},\"ratio\":{ratio:.3},\
                 \"rows_per_create\":{rows:.2},\"log_bytes_per_create\":{bytes:.0},\"synced\":true}}"
            );
            return;
        }
        let list = |rates: &[f64]| rates.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(", ");
        println!("straight into the namespace   {direct:>8.0}/s   ({})", list(&self.direct));
        println!("over gRPC                     {grpc:>8.0}/s   ({})", list(&self.grpc));
        println!("ratio                         {ratio:>8.2}");
        println!("rows of a create              {rows:>8.2}   in the log, of {bytes:.0} bytes");
    }
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn stopped(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("a task stopped: {error}"))
}
