//! `quota`: what directories may hold.

use clap::{Args, Subcommand};
use godfs_core::DfsPath;

use super::context::Context;
use super::failure::{Failure, Outcome};
use super::format::size;
use super::output::Output;
use super::size::ByteSize;
use super::view::QuotaUse;
use crate::Quota;

#[derive(Debug, Subcommand)]
pub(super) enum QuotaVerb {
    /// Set what directories may hold
    Set(SetArgs),
    /// Let directories hold as much as there is room for
    Clear(ClearArgs),
    /// Show what directories may hold, and do
    Show(ShowArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Counts all that lies below a directory: names of files and directories, and the bytes of files times their replicas. A chunk that is being
written counts whole until it is known how much of it was needed. For the superuser.

Examples:
  godfs quota set --names 100000 /home/alice
  godfs quota set --bytes 3T /home/alice /home/bob")]
pub(super) struct SetArgs {
    /// Files and directories
    #[arg(long, value_name = "N")]
    names: Option<u64>,
    /// Bytes times replicas
    #[arg(long, value_name = "SIZE")]
    bytes: Option<ByteSize>,
    /// Directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs quota clear /home/alice")]
pub(super) struct ClearArgs {
    /// Directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
With --json, prints an object a path, each on a line; a limit that there is not is null.

Examples:
  godfs quota show /home/alice
  godfs quota show --json '/home/*'")]
pub(super) struct ShowArgs {
    /// Directories
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// Runs `quota`.
pub(super) async fn quota(context: &Context, verb: &QuotaVerb, output: &mut Output) -> Outcome {
    let client = &context.client;
    match verb {
        QuotaVerb::Set(SetArgs { names: None, bytes: None, .. }) => {
            Err(Failure::Usage("give --names, --bytes or both; quota clear takes limits away".to_owned()))
        }
        QuotaVerb::Set(args) => {
            context
                .each(&args.paths, async |path| {
                    let path = DfsPath::parse(path)?;
                    let given = Quota { names: args.names, space: args.bytes.map(|bytes| bytes.0) };
                    Ok(client.change_quota(&path, given).await?)
                })
                .await
        }
        QuotaVerb::Clear(args) => {
            let clear = async |path: &String| Ok(client.set_quota(&DfsPath::parse(path)?, Quota::default()).await?);
            context.each(&args.paths, clear).await
        }
        QuotaVerb::Show(args) => {
            context
                .each(&args.paths, async |path| {
                    let usage = client.usage(&DfsPath::parse(path)?).await?;
                    let shown = QuotaUse {
                        path: path.clone(),
                        names: usage.files + usage.directories,
                        names_quota: usage.quota.names,
                        bytes: usage.space,
                        bytes_quota: usage.quota.space,
                    };
                    if output.json() { output.object(&shown) } else { output.line(&line(&shown)) }
                })
                .await
        }
    }
}

fn line(shown: &QuotaUse) -> String {
    let limit = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| size(limit, false));
    let QuotaUse { path, names, bytes, .. } = shown;
    let (names_quota, bytes_quota) = (limit(shown.names_quota), limit(shown.bytes_quota));
    format!("{names:>12} of {names_quota:>12} names {bytes:>18} of {bytes_quota:>18} bytes {path}")
}
