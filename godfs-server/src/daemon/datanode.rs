//! `godfs-datanode`: its options, and how they become a running datanode.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use godfs_client::cli::size::ByteSize;
use godfs_client::transport::Address;
use godfs_core::placement::Domain;
use godfs_core::{Error, Incarnation, NodeId, Result};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::config::{Span, layers, required};
use super::descriptors;
use super::lanes::Lanes;
use super::print_config::{Asked, read};
use super::run::{LogOptions, Running, fail, run};
use crate::datanode::{Datanode, DatanodeOptions};
use crate::net::Listener;

/// Left free on a disk unless told otherwise: the system and its logs need room, and ext4 slows down when it is full.
const RESERVE: u64 = 1 << 30;

const EXAMPLES: &str = "\
Examples:
  Store chunks in /srv/godfs/disk1 for the namenode at nn:4700:
    godfs-datanode --dir /srv/godfs/disk1 --namenode nn:4700 --listen 0.0.0.0:4701 --advertise $(hostname):4701
  In a rack, with at most 2 TiB of replicas and 10 GiB of the disk left to others:
    godfs-datanode --dir /srv/d1 --namenode nn:4700 --domain /dc1/rack7 --capacity 2TiB --reserve 10GiB
  On a disk that may be unmounted: refuse to start as anything but node 3:
    godfs-datanode --dir /mnt/disk3 --namenode nn:4700 --expect-node 3
  On two disks, the node's own folder on neither; one that fails is left out, and the other goes on:
    godfs-datanode --dir /var/lib/godfs --volume /mnt/disk1 --volume /mnt/disk2 --namenode nn:4700
  After disk2 died and an empty one was mounted in its place:
    godfs-datanode --dir /var/lib/godfs --volume /mnt/disk1 --volume /mnt/disk2 --replace-volume /mnt/disk2 --namenode nn:4700";

/// A datanode of a GoDFS cluster: stores the chunks, and forwards them to other datanodes.
#[derive(Parser, Debug, Default, Deserialize)]
#[command(name = "godfs-datanode", version, after_help = EXAMPLES)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct DatanodeArgs {
    /// A TOML file with any of these settings, named as the flags are
    #[arg(long, env = "GODFS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder of the node, and of its chunks where there is no --volume; an empty one becomes a new node
    #[arg(long, env = "GODFS_DIR", value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// A folder of the chunks, one on each disk; repeat it for more [default: the folder of --dir alone]
    #[arg(long, env = "GODFS_VOLUME", value_name = "FOLDER", value_delimiter = ',')]
    pub volume: Option<Vec<PathBuf>>,
    /// A volume whose disk is gone for good: an empty folder there becomes a new one; leave it out afterwards
    #[arg(long, env = "GODFS_REPLACE_VOLUME", value_name = "FOLDER", value_delimiter = ',')]
    pub replace_volume: Option<Vec<PathBuf>>,
    /// The namenode, or several with commas between them
    #[arg(long, env = "GODFS_NAMENODE", value_name = "HOST:PORT")]
    pub namenode: Option<String>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:0]
    #[arg(long, env = "GODFS_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where clients and other datanodes reach this one, if not where it listens
    #[arg(long, env = "GODFS_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The failure domain: nodes of one domain tend to fail together [default: /default]
    #[arg(long, env = "GODFS_DOMAIN", value_name = "PATH")]
    pub domain: Option<String>,
    /// The most that replicas may take on each volume [default: what the disk has]
    #[arg(long, env = "GODFS_CAPACITY", value_name = "SIZE")]
    pub capacity: Option<ByteSize>,
    /// What to leave free on each disk [default: 1GiB]
    #[arg(long, env = "GODFS_RESERVE", value_name = "SIZE")]
    pub reserve: Option<ByteSize>,
    /// Replicas that are expected to be no larger than this share files; 0: each has its own [default: 1MiB, which is the most]
    #[arg(long, env = "GODFS_SMALL_REPLICAS", value_name = "SIZE")]
    pub small_replicas: Option<ByteSize>,
    /// Whether clients on this machine may have the files of replicas, to read them by themselves [default: true]
    #[arg(long, env = "GODFS_LOCAL_READS", value_name = "BOOL")]
    pub local_reads: Option<bool>,
    /// Refuse to start unless the folder is this node's
    #[arg(long, env = "GODFS_EXPECT_NODE", value_name = "ID")]
    pub expect_node: Option<u32>,
    /// Accept that the cluster's metadata is this life of it, after it was restored from a backup; leave it out once the
    /// node has registered
    #[arg(long, env = "GODFS_ACCEPT_INCARNATION", value_name = "UUID")]
    pub accept_incarnation: Option<Incarnation>,
    /// Every replica is read and checked once in this time [default: 3weeks]
    #[arg(long, env = "GODFS_SCRUB_PERIOD", value_name = "TIME")]
    pub scrub_period: Option<Span>,
    /// The most that checking may read in a second [default: 32MiB]
    #[arg(long, env = "GODFS_SCRUB_RATE", value_name = "SIZE")]
    pub scrub_rate: Option<ByteSize>,
    #[command(flatten)]
    #[serde(default)]
    /// Logs.
    pub logs: LogOptions,
}

layers!(DatanodeArgs {
    dir, volume, replace_volume, namenode, listen, advertise, domain, capacity, reserve, expect_node, accept_incarnation, scrub_period, scrub_rate,
    small_replicas, local_reads
} nested { logs });

/// The `main` of `godfs-datanode`.
#[must_use]
pub fn main() -> ExitCode {
    const NAME: &str = "godfs-datanode";
    let started = read::<DatanodeArgs>().and_then(|asked| Ok((asked, Lanes::start()?)));
    match started {
        Ok((Asked::Run(args), lanes)) => run(NAME, &args.logs.clone(), start(args, lanes.handles())),
        Ok((Asked::Printed(code), _)) => code,
        Err(error) => fail(NAME, &error),
    }
}

async fn start(args: DatanodeArgs, lanes: Vec<Handle>) -> Result<Box<dyn Running>> {
    let dir = required(args.dir, "--dir FOLDER", "where the chunks are kept")?;
    let namenodes = required(args.namenode, "--namenode HOST:PORT", "the namenode of the cluster")?;
    let namenodes = namenodes.split(',').map(|address| Address::parse(address.trim())).collect::<Result<_>>()?;
    let advertise = args.advertise.as_deref().map(Address::parse).transpose()?;
    let domain = args.domain.as_deref().map(Domain::parse).transpose()?;
    let listener = Listener::tcp_spread(args.listen.as_deref().unwrap_or("127.0.0.1:0"), lanes).await?;
    let mut options = DatanodeOptions::new(dir, listener, namenodes);
    options.volumes = args.volume.unwrap_or_default();
    options.replaced_volumes = args.replace_volume.unwrap_or_default();
    options.advertise = advertise;
    options.domain = domain.unwrap_or_default();
    options.capacity = args.capacity.map(|ByteSize(bytes)| bytes);
    options.reserve = args.reserve.map_or(RESERVE, |ByteSize(bytes)| bytes);
    options.expect_node = args.expect_node.map(NodeId);
    options.accept_incarnation = args.accept_incarnation;
    if let Some(ByteSize(bytes)) = args.small_replicas {
        options.settings.small_replica_bytes = bytes;
    }
    if let Some(local_reads) = args.local_reads {
        options.settings.local_reads = local_reads;
    }
    if let Some(Span(period)) = args.scrub_period {
        options.settings.scrub_period_ms = millis(period);
    }
    if let Some(ByteSize(rate)) = args.scrub_rate {
        options.settings.scrub_bytes_per_second = rate;
    }
    descriptors::fit(&mut options.settings.serve, 1);
    Ok(Box::new(Datanode::start(options).await?))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Running for Datanode {
    async fn ready(&mut self) -> Result<()> {
        Datanode::ready(self).await
    }

    fn address(&self) -> String {
        Datanode::address(self).to_string()
    }

    async fn failed(&mut self) -> Error {
        // A bad disk fails its replicas and is told to the namenode; the process goes on.
        std::future::pending().await
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        Datanode::stop(*self).await;
        Ok(())
    }
}
