//! `godfs-dev`: a whole cluster in one process.

use std::path::PathBuf;
use std::process::ExitCode;

use async_trait::async_trait;
use clap::Parser;
use godfs_core::{Error, Result};
use serde::Deserialize;

use super::config::layers;
use super::descriptors;
use super::namenode::{ClusterArgs, LISTEN};
use super::print_config::{Asked, read};
use super::run::{LogOptions, Running, fail, run};
use crate::cluster::Cluster;
use crate::datanode::DatanodeSettings;

const EXAMPLES: &str = "\
Examples:
  A cluster to try things on, gone when it stops:
    godfs-dev --datanodes 3
  One that stays:
    godfs-dev --datanodes 3 --dir ./cluster --listen 127.0.0.1:4700";

/// A whole GoDFS cluster in one process: a namenode and datanodes, for development and single machines.
#[derive(Parser, Debug, Default, Deserialize)]
#[command(name = "godfs-dev", version, after_help = EXAMPLES)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct DevArgs {
    /// A TOML file with any of these settings, named as the flags are
    #[arg(long, env = "GODFS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How many datanodes [default: 3]
    #[arg(long, env = "GODFS_DATANODES", value_name = "N")]
    pub datanodes: Option<usize>,
    /// The folder of the cluster [default: a temporary one, removed at the end]
    #[arg(long, env = "GODFS_DIR", value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Where the namenode listens [default: 127.0.0.1:4700]
    #[arg(long, env = "GODFS_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    #[command(flatten)]
    #[serde(default)]
    /// How the cluster behaves.
    pub cluster: ClusterArgs,
    #[command(flatten)]
    #[serde(default)]
    /// Logs.
    pub logs: LogOptions,
}

layers!(DevArgs { datanodes, dir, listen } nested { cluster, logs });

/// The `main` of `godfs-dev`.
#[must_use]
pub fn main() -> ExitCode {
    const NAME: &str = "godfs-dev";
    match read::<DevArgs>() {
        Ok(Asked::Run(args)) => run(NAME, &args.logs.clone(), start(args)),
        Ok(Asked::Printed(code)) => code,
        Err(error) => fail(NAME, &error),
    }
}

async fn start(args: DevArgs) -> Result<Box<dyn Running>> {
    let datanodes = args.datanodes.unwrap_or(3);
    let (mut namenode, mut datanode) = (args.cluster.settings(), DatanodeSettings::default());
    for serve in [&mut namenode.serve, &mut datanode.serve] {
        descriptors::fit(serve, datanodes.saturating_add(1));
    }
    let mut builder = Cluster::builder()
        .datanodes(datanodes)
        .listen(args.listen.as_deref().unwrap_or(LISTEN))
        .namenode_settings(namenode)
        .datanode_settings(datanode);
    if let Some(dir) = args.dir {
        builder = builder.folder(dir);
    }
    Ok(Box::new(builder.start().await?))
}

#[async_trait]
impl Running for Cluster {
    async fn ready(&mut self) -> Result<()> {
        // It is started only once every datanode is registered.
        Ok(())
    }

    fn address(&self) -> String {
        self.namenode_address().to_owned()
    }

    async fn failed(&mut self) -> Error {
        match self.namenode() {
            Some(namenode) => namenode.failed().await,
            None => std::future::pending().await,
        }
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        Cluster::stop(*self).await
    }
}
