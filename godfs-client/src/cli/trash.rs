//! `trash`: what was deleted and is still there.

use clap::{Args, Subcommand};
use futures::stream::TryStreamExt;
use godfs_core::env::{Clock, SystemClock};
use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::context::Context;
use super::failure::Outcome;
use super::format::{size, time};
use super::output::Output;
use super::size::Span;
use super::view::{Restored, TrashItem};
use crate::{FileKind, RemoveOptions, RestoreOptions};

#[derive(Debug, Subcommand)]
pub(super) enum TrashVerb {
    /// List what is in the trash
    List(ListArgs),
    /// Take items out of the trash
    Restore(RestoreArgs),
    /// Remove what is in the trash for good
    Empty(EmptyArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Shows when each item was deleted, its bytes, its id and where it was. An item lies at /.trash/USER/ID, where it can be looked at as anywhere. With --json,
prints an object an item, each on a line.

Examples:
  godfs trash list
  godfs trash list --json --of alice")]
pub(super) struct ListArgs {
    /// Whose trash; for superusers
    #[arg(long, value_name = "USER")]
    of: Option<String>,
    /// Show sizes as 4.7K, 12M, 3.1G
    #[arg(short = 'H', long)]
    human: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Puts items back where they were, with the owner, mode and attributes that they had, and prints where. What was made there meanwhile stays: say another path
then.

Examples:
  godfs trash restore 20261124T014500-4711
  godfs trash restore --to /data/old 20261124T014500-4711
  godfs trash restore --parents /.trash/alice/20261124T014500-4711")]
pub(super) struct RestoreArgs {
    /// Where to; nothing may stand there
    #[arg(long, value_name = "PATH")]
    to: Option<String>,
    /// Make the directories above that are missing
    #[arg(short, long)]
    parents: bool,
    /// Ids that `trash list` shows, or paths of items
    #[arg(required = true, value_name = "ITEM")]
    items: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  godfs trash empty
  godfs trash empty --older-than 1h")]
pub(super) struct EmptyArgs {
    /// Only what was deleted this long ago
    #[arg(long, value_name = "TIME")]
    older_than: Option<Span>,
    /// Whose trash; for superusers
    #[arg(long, value_name = "USER")]
    of: Option<String>,
}

/// Runs `trash`.
pub(super) async fn trash(context: &Context, verb: &TrashVerb, output: &mut Output) -> Outcome {
    match verb {
        TrashVerb::List(args) => list(context, args, output).await,
        TrashVerb::Restore(args) => restore(context, args, output).await,
        TrashVerb::Empty(args) => empty(context, args).await,
    }
}

async fn list(context: &Context, args: &ListArgs, output: &mut Output) -> Outcome {
    let mut items = context.client.trash_items(args.of.as_deref());
    while let Some(item) = items.try_next().await? {
        let shown = TrashItem::new(&item);
        if output.json() {
            output.object(&shown)?;
            continue;
        }
        let slash = if item.kind == FileKind::Directory { "/" } else { "" };
        let bytes = size(shown.bytes, args.human);
        output.line(&format!("{} {bytes:>12} {} {}{slash}", time(shown.deleted_ms), shown.id, shown.original))?;
    }
    Ok(())
}

async fn restore(context: &Context, args: &RestoreArgs, output: &mut Output) -> Outcome {
    let mut options = RestoreOptions::new().parents(args.parents);
    if let Some(to) = &args.to {
        if args.items.len() > 1 {
            let message = "--to takes one item: what would the others be called?";
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
        options = options.to(DfsPath::parse(to)?);
    }
    context
        .each(&args.items, async |item| {
            let path = context.client.restore(&path_of(context, item).await?, options.clone()).await?;
            if output.json() {
                return output.object(&Restored { item: item.clone(), path: path.to_string() });
            }
            output.line(path.as_str())
        })
        .await
}

/// The path of an item that is given by its id, or by its path.
async fn path_of(context: &Context, item: &str) -> Result<DfsPath> {
    if item.starts_with('/') {
        return DfsPath::parse(item);
    }
    let mut items = context.client.trash_items(None);
    while let Some(found) = items.try_next().await? {
        if found.path.name() == Some(item) {
            return Ok(found.path);
        }
    }
    Err(Error::new(ErrorKind::NotFound, format!("{item} is not in the trash: godfs trash list shows what is")))
}

async fn empty(context: &Context, args: &EmptyArgs) -> Outcome {
    let age = args.older_than.map_or(0, |Span(age)| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let upto = if age == 0 { u64::MAX } else { SystemClock.wall_ms().saturating_sub(age) };
    let mut items = context.client.trash_items(args.of.as_deref());
    while let Some(item) = items.try_next().await? {
        if item.deleted_ms > upto {
            continue;
        }
        match context.client.remove(&item.path, RemoveOptions::new().recursive(true)).await {
            // It expired, or was restored, since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => context.say(&error.into()),
            Ok(()) => {}
        }
    }
    Ok(())
}
