//! `godfs-namenode`: its options, and how they become a running namenode.

use std::path::PathBuf;
use std::process::ExitCode;

use async_trait::async_trait;
use clap::{Args, Parser};
use godfs_client::cli::size::ByteSize;
use godfs_core::{Error, Result};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::config::{Span, layers, required};
use super::descriptors;
use super::lanes::Lanes;
use super::print_config::{Asked, read};
use super::run::{LogOptions, Running, fail, run};
use crate::namenode::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
use crate::net::Listener;

/// Where a namenode listens unless told otherwise.
pub(super) const LISTEN: &str = "127.0.0.1:4700";

const EXAMPLES: &str = "\
Examples:
  Make a new cluster in /srv/godfs/namenode, or start the one that is there:
    godfs-namenode --init --dir /srv/godfs/namenode --listen 0.0.0.0:4700
  Start an existing one, and refuse an empty folder (a disk that is not mounted):
    godfs-namenode --dir /srv/godfs/namenode --listen 0.0.0.0:4700
  Check, save and restore the metadata of one that does not run (each has --help):
    godfs-namenode check --dir /srv/godfs/namenode
    godfs-namenode export --dir /srv/godfs/namenode metadata.godfs
    godfs-namenode import --dir /srv/godfs/restored metadata.godfs
  On any free port of this machine; the line `ready godfs-namenode HOST:PORT` says which:
    godfs-namenode --init --dir ./nn --listen 127.0.0.1:0";

/// The namenode of a GoDFS cluster: keeps all names, and knows where every chunk is.
#[derive(Parser, Debug, Default, Deserialize)]
#[command(name = "godfs-namenode", version, after_help = EXAMPLES)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct NamenodeArgs {
    /// A TOML file with any of these settings, named as the flags are
    #[arg(long, env = "GODFS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder of the metadata
    #[arg(long, env = "GODFS_DIR", value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:4700]
    #[arg(long, env = "GODFS_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Let an empty folder become a new cluster
    #[arg(long)]
    pub init: bool,
    #[command(flatten)]
    #[serde(default)]
    /// How the cluster behaves.
    pub cluster: ClusterArgs,
    #[command(flatten)]
    #[serde(default)]
    /// Logs.
    pub logs: LogOptions,
}

layers!(NamenodeArgs { dir, listen } flags { init } nested { cluster, logs });

/// How a cluster behaves, for the namenode and for `godfs-dev`.
#[derive(Args, Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ClusterArgs {
    /// Replicas of a file that asks for none [default: 3]
    #[arg(long, env = "GODFS_REPLICATION", value_name = "N")]
    pub replication: Option<u16>,
    /// Bytes a chunk of a file that asks for none [default: 128MiB]
    #[arg(long, env = "GODFS_CHUNK_SIZE", value_name = "SIZE")]
    pub chunk_size: Option<ByteSize>,
    /// Files up to this size live in the namenode; 0 for none [default: 16KiB]
    #[arg(long, env = "GODFS_SMALL_FILE_LIMIT", value_name = "SIZE")]
    pub small_file_limit: Option<ByteSize>,
    /// A client silent for this long loses its leases; its open files are recovered [default: 30s]
    #[arg(long, env = "GODFS_SESSION_TIMEOUT", value_name = "TIME")]
    pub session_timeout: Option<Span>,
    /// A client silent for this long loses a file that another asks for; below the session timeout. Clients speak up three times within
    /// [default: 10s, at most a third of the session timeout]
    #[arg(long, env = "GODFS_LEASE_SOFT_LIMIT", value_name = "TIME")]
    pub lease_soft_limit: Option<Span>,
    /// The longest name of a new file or directory, bytes [default: 255, which is the most]
    #[arg(long, env = "GODFS_MAX_NAME_BYTES", value_name = "N")]
    pub max_name_bytes: Option<usize>,
    /// The longest path of a new file or directory, bytes [default: 65536, which is the most]
    #[arg(long, env = "GODFS_MAX_PATH_BYTES", value_name = "N")]
    pub max_path_bytes: Option<usize>,
    /// The deepest path of a new file or directory, names [default: 1000, which is the most]
    #[arg(long, env = "GODFS_MAX_DEPTH", value_name = "N")]
    pub max_depth: Option<usize>,
    /// The most entries of one directory [default: 10000000]
    #[arg(long, env = "GODFS_MAX_DIRECTORY_ENTRIES", value_name = "N")]
    pub max_directory_entries: Option<u64>,
    /// The most chunks of one file [default: 1000000]
    #[arg(long, env = "GODFS_MAX_FILE_CHUNKS", value_name = "N")]
    pub max_file_chunks: Option<u64>,
    /// How long what `godfs rm` deletes stays in the trash; 0s for no trash [default: 24h]
    #[arg(long, env = "GODFS_TRASH_EXPIRY", value_name = "TIME")]
    pub trash_expiry: Option<Span>,
    /// The most names that each user may have in the trash; without, as many as fit. Set when a user deletes something first; `godfs quota set /.trash/USER` changes it
    #[arg(long, env = "GODFS_TRASH_NAMES", value_name = "N")]
    pub trash_names: Option<u64>,
    /// The most bytes, times replicas, that each user may have in the trash, likewise
    #[arg(long, env = "GODFS_TRASH_BYTES", value_name = "SIZE")]
    pub trash_bytes: Option<ByteSize>,
    /// Bytes of the metadata log that are kept for `godfs watch`, so that it can go on where it stood [default: 256MiB]
    #[arg(long, env = "GODFS_RETAINED_LOG", value_name = "SIZE")]
    pub retained_log: Option<ByteSize>,
    /// Memory for rows of the metadata that were read or written lately: what is there is read without looking further; 0 for none [default: 64MiB]
    #[arg(long, env = "GODFS_ROW_CACHE", value_name = "SIZE")]
    pub row_cache: Option<ByteSize>,
    /// Memory for blocks of the metadata's tables, and for bytes of small files [default: 64MiB]
    #[arg(long, env = "GODFS_BLOCK_CACHE", value_name = "SIZE")]
    pub block_cache: Option<ByteSize>,
    /// Bytes of the disk that are kept free: where it has less, all can be read and nothing changed [default: 256MiB]
    #[arg(long, env = "GODFS_RESERVE", value_name = "SIZE")]
    pub reserve: Option<ByteSize>,
    /// Sessions of clients at once [default: 65536]
    #[arg(long, env = "GODFS_MAX_SESSIONS", value_name = "N")]
    pub max_sessions: Option<usize>,
    /// Whether callers are asked what they may do [default: true]
    #[arg(long, env = "GODFS_PERMISSIONS", value_name = "BOOL")]
    pub permissions: Option<bool>,
    /// How often datanodes speak [default: 1s]
    #[arg(long, env = "GODFS_HEARTBEAT", value_name = "TIME")]
    pub heartbeat: Option<Span>,
    /// A datanode silent for this long is dead. Lower notices sooner, and takes a pause for a death more often [default: 5s]
    #[arg(long, env = "GODFS_DEAD_AFTER", value_name = "TIME")]
    pub dead_after: Option<Span>,
    /// Repair of a dead datanode's chunks waits this long for it to come back. Lower restores replicas sooner, and copies
    /// more for nothing when nodes restart [default: 5s]
    #[arg(long, env = "GODFS_REPAIR_GRACE", value_name = "TIME")]
    pub repair_grace: Option<Span>,
}

impl ClusterArgs {
    /// Takes from `file` what is not set here.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        Self {
            replication: self.replication.or(file.replication),
            chunk_size: self.chunk_size.or(file.chunk_size),
            small_file_limit: self.small_file_limit.or(file.small_file_limit),
            session_timeout: self.session_timeout.or(file.session_timeout),
            lease_soft_limit: self.lease_soft_limit.or(file.lease_soft_limit),
            max_name_bytes: self.max_name_bytes.or(file.max_name_bytes),
            max_path_bytes: self.max_path_bytes.or(file.max_path_bytes),
            max_depth: self.max_depth.or(file.max_depth),
            max_directory_entries: self.max_directory_entries.or(file.max_directory_entries),
            max_file_chunks: self.max_file_chunks.or(file.max_file_chunks),
            trash_expiry: self.trash_expiry.or(file.trash_expiry),
            trash_names: self.trash_names.or(file.trash_names),
            trash_bytes: self.trash_bytes.or(file.trash_bytes),
            retained_log: self.retained_log.or(file.retained_log),
            row_cache: self.row_cache.or(file.row_cache),
            block_cache: self.block_cache.or(file.block_cache),
            reserve: self.reserve.or(file.reserve),
            max_sessions: self.max_sessions.or(file.max_sessions),
            permissions: self.permissions.or(file.permissions),
            heartbeat: self.heartbeat.or(file.heartbeat),
            dead_after: self.dead_after.or(file.dead_after),
            repair_grace: self.repair_grace.or(file.repair_grace),
        }
    }

    /// The settings of a namenode: what is set here, defaults for the rest.
    #[must_use]
    pub fn settings(&self) -> NamenodeSettings {
        let mut settings = NamenodeSettings::default();
        let set = |target: &mut std::time::Duration, given: Option<Span>| {
            if let Some(Span(given)) = given {
                *target = given;
            }
        };
        set(&mut settings.namespace.session_timeout, self.session_timeout);
        settings.namespace.lease_soft_limit =
            settings.namespace.lease_soft_limit.min(settings.namespace.session_timeout / 3);
        set(&mut settings.namespace.lease_soft_limit, self.lease_soft_limit);
        set(&mut settings.namespace.trash_expiry, self.trash_expiry);
        set(&mut settings.liveness.heartbeat, self.heartbeat);
        set(&mut settings.liveness.dead_after, self.dead_after);
        set(&mut settings.liveness.repair_grace, self.repair_grace);
        // Suspicion lies between one missed heartbeat and death, whatever these are.
        settings.liveness.suspect_after = (settings.liveness.heartbeat * 2).min(settings.liveness.dead_after);
        if let Some(ByteSize(bytes)) = self.retained_log {
            settings.store.retained_log_bytes = bytes;
        }
        if let Some(ByteSize(bytes)) = self.row_cache {
            settings.store.row_cache_bytes = bytes;
        }
        if let Some(ByteSize(bytes)) = self.block_cache {
            settings.store.cache_bytes = bytes;
        }
        if let Some(ByteSize(bytes)) = self.reserve {
            settings.store.reserve_bytes = bytes;
        }
        if let Some(permissions) = self.permissions {
            settings.namespace.permissions = permissions;
        }
        let namespace = &mut settings.namespace;
        namespace.max_sessions = self.max_sessions.unwrap_or(namespace.max_sessions);
        namespace.max_name_bytes = self.max_name_bytes.unwrap_or(namespace.max_name_bytes);
        namespace.max_path_bytes = self.max_path_bytes.unwrap_or(namespace.max_path_bytes);
        namespace.max_depth = self.max_depth.unwrap_or(namespace.max_depth);
        namespace.max_directory_entries = self.max_directory_entries.unwrap_or(namespace.max_directory_entries);
        namespace.max_file_chunks = self.max_file_chunks.unwrap_or(namespace.max_file_chunks);
        namespace.trash_names = self.trash_names;
        namespace.trash_bytes = self.trash_bytes.map(|ByteSize(bytes)| bytes);
        if let Some(replication) = self.replication {
            settings.namespace.replication = replication;
        }
        if let Some(ByteSize(bytes)) = self.chunk_size {
            settings.namespace.chunk_size = bytes;
        }
        if let Some(ByteSize(bytes)) = self.small_file_limit {
            settings.namespace.small_file_limit = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        settings
    }
}

/// The `main` of `godfs-namenode`.
#[must_use]
pub fn main() -> ExitCode {
    const NAME: &str = "godfs-namenode";
    if let Some(done) = super::offline::run() {
        return done;
    }
    let started = read::<NamenodeArgs>().and_then(|asked| Ok((asked, Lanes::start()?)));
    match started {
        Ok((Asked::Run(args), lanes)) => run(NAME, &args.logs.clone(), start(args, lanes.handles())),
        Ok((Asked::Printed(code), _)) => code,
        Err(error) => fail(NAME, &error),
    }
}

async fn start(args: NamenodeArgs, lanes: Vec<Handle>) -> Result<Box<dyn Running>> {
    let dir = required(args.dir, "--dir FOLDER", "where the metadata is kept")?;
    let listener = Listener::tcp_spread(args.listen.as_deref().unwrap_or(LISTEN), lanes).await?;
    let mut options = NamenodeOptions::new(MetadataSource::Folder(dir), listener);
    options.init = args.init;
    options.settings = args.cluster.settings();
    descriptors::fit(&mut options.settings.serve, 1);
    Ok(Box::new(Namenode::start(options).await?))
}

#[async_trait]
impl Running for Namenode {
    async fn ready(&mut self) -> Result<()> {
        // It serves from its first moment: what it knows are rows.
        Ok(())
    }

    fn address(&self) -> String {
        Namenode::address(self).to_owned()
    }

    async fn failed(&mut self) -> Error {
        Namenode::failed(self).await
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        Namenode::stop(*self).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn limits_come_from_flags_and_from_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("godfs.toml");
        let text = "[cluster]\nmax-name-bytes = 9\nmax-directory-entries = 100\ntrash-expiry = \"1h\"\ntrash-bytes = \"1GiB\"\n";
        std::fs::write(&path, text).expect("write");
        let path = path.to_str().expect("text");
        let flags = ["godfs-namenode", "--config", path, "--max-directory-entries", "7", "--max-depth", "0"];
        let args = super::super::config::layered(NamenodeArgs::try_parse_from(flags).expect("flags")).expect("a file");
        let settings = args.cluster.settings().namespace;
        assert_eq!((settings.max_name_bytes, settings.max_directory_entries), (9, 7));
        assert_eq!(settings.trash_expiry, Duration::from_secs(3_600));
        assert_eq!((settings.trash_bytes, settings.trash_names), (Some(1 << 30), None));
        // What is out of bounds is refused before anything is served.
        let error = settings.check().expect_err("out of bounds");
        assert_eq!(error.message(), "max_depth is 0, it must be 1 to 1000");
    }
}
