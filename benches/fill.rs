//! Writes the metadata of many files into a folder, offline, for namenodes to be measured on.
//!
//! ```sh
//! cargo run --profile dist -p godfs-benches --bin fill -- --dir D --path /m --files 1000000 --chunks 1 --replicas 3 --per-dir 1000
//! godfs-namenode --dir D
//! ```
//! There is nothing behind the chunks: their datanodes are known to the rows as such that nobody has heard from yet, so a
//! namenode expects them and repairs nothing.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use futures::stream::{self, StreamExt, TryStreamExt};
use godfs_client::process_caller;
use godfs_core::env::Env;
use godfs_core::io::DiskIo;
use godfs_core::metadata::{FjallOptions, FjallStore, MetadataStore};
use godfs_core::namespace::{Fill, Namespace, NamespaceSettings, Owner, SUPERGROUP};
use godfs_core::{DfsPath, Error, ErrorKind, NodeUuid, Result};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Transactions in flight.
const AT_ONCE: usize = 4;
/// Chunks, or files without any, in one transaction.
const A_TRANSACTION: u64 = 2_000;

/// Writes the metadata of many files, offline.
#[derive(Parser, Debug)]
struct Args {
    /// The folder of the metadata; made if it is missing or empty
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// The directory to put them in
    #[arg(long, value_name = "PATH", default_value = "/m")]
    path: String,
    /// Files
    #[arg(long, value_name = "N")]
    files: u64,
    /// Chunks of each file
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    chunks: u64,
    /// Replicas of each chunk, each on a node of its own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=512))]
    replicas: u32,
    /// Files in one directory
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    per_dir: u64,
}

fn main() -> std::process::ExitCode {
    godfs_benches::lanes::run("fill", fill(&Args::parse()))
}

async fn fill(args: &Args) -> Result<()> {
    let (env, io, options) = (Env::system(), Arc::new(DiskIo), FjallOptions::default());
    let store = match FjallStore::exists(&args.dir, io.clone(), &env).await? {
        true => FjallStore::open(&args.dir, options, io, &env).await?,
        false => FjallStore::create(&args.dir, options, io, &env).await?,
    };
    let store = Arc::new(store);
    let namespace =
        Namespace::new(Arc::clone(&store) as Arc<dyn MetadataStore>, NamespaceSettings::default(), env.clone())?;
    let superuser = process_caller()?.user().to_owned();
    namespace.initialize(Owner { user: superuser, group: SUPERGROUP.to_owned(), mode: 0o755 }).await?;
    let mut nodes = Vec::new();
    for _ in 0..args.replicas {
        nodes.push(namespace.expect_node(NodeUuid::from_random(env.random.next_u128())).await?);
    }
    let root = DfsPath::parse(&args.path)?;
    let fills = steps(args).map(|(directory, files)| {
        let (namespace, nodes, root) = (namespace.clone(), nodes.clone(), root.clone());
        async move {
            let directory = root.join(&format!("d{directory:06}"))?;
            namespace.fill(Fill { directory, files, chunks: args.chunks, nodes }).await
        }
    });
    stream::iter(fills).buffered(AT_ONCE).try_collect::<()>().await?;
    let violations = if args.files <= 10_000 { namespace.check().await? } else { Vec::new() };
    store.close().await?;
    match violations.first() {
        Some(violation) => Err(Error::new(ErrorKind::Internal, format!("the rows do not agree: {violation:?}"))),
        None => Ok(()),
    }
}

/// What each transaction writes: the number of the directory, and those of the files.
fn steps(args: &Args) -> impl Iterator<Item = (u64, std::ops::Range<u64>)> + use<> {
    let (files, per_dir) = (args.files, args.per_dir);
    let a_step = (A_TRANSACTION / args.chunks.max(1)).clamp(1, per_dir);
    (0..files.div_ceil(per_dir)).flat_map(move |directory| {
        let (first, end) = (directory * per_dir, ((directory + 1) * per_dir).min(files));
        let starts = (first..end).step_by(usize::try_from(a_step).unwrap_or(usize::MAX));
        starts.map(move |start| (directory, start..(start + a_step).min(end)))
    })
}
