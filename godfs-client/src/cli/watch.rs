//! `watch`: changes as they happen.

use clap::Args;
use futures::future::FutureExt;
use futures::stream::TryStreamExt;
use godfs_core::DfsPath;

use super::context::Context;
use super::failure::Outcome;
use super::format;
use super::output::Output;
use super::stat::kind_name;
use super::view;
use crate::{Change, ChangeKind, WatchFrom};

#[derive(Args, Debug)]
#[command(after_help = "\
Shows what happens at and below PATH, in its order, until it is interrupted. With --json, an object a change, each on a line;
its `place` is what --from takes to go on behind it, also after a restart of the cluster. The namenode keeps changes for a
while, bounded by bytes; a place that is not kept any more is refused, and so is a reader that falls that far behind.

Examples:
  godfs watch /incoming
  godfs watch /incoming --from oldest --json
  godfs watch / --from now --count 1")]
pub(super) struct WatchArgs {
    /// Directory or file to watch
    #[arg(value_name = "PATH")]
    path: String,
    /// Where to begin: now, with the oldest change that is kept, or behind a place
    #[arg(long, value_name = "now|oldest|PLACE", default_value = "now")]
    from: From,
    /// End after so many changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct From(WatchFrom);

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "now" => WatchFrom::Now,
            "oldest" => WatchFrom::Oldest,
            place => WatchFrom::Place(place.parse().map_err(|error: crate::Error| error.message().to_owned())?),
        }))
    }
}

/// Runs `watch`.
pub(super) async fn watch(context: &Context, args: &WatchArgs, output: &mut Output) -> Outcome {
    let mut changes = context.client.watch(&DfsPath::parse(&args.path)?, args.from.0.clone()).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        // What is there goes out together, and nothing waits for what may come much later.
        let next = match changes.try_next().now_or_never() {
            Some(next) => next,
            None => {
                output.flush()?;
                changes.try_next().await
            }
        };
        let Some(change) = next? else { break };
        let shown = shown(&change);
        if output.json() {
            output.object(&shown)?;
        } else {
            output.line(&line(&shown))?;
        }
        left -= 1;
    }
    Ok(())
}

fn shown(change: &Change) -> view::Change {
    let (mut length, mut to, mut target, mut attribute) = (None, None, None, None);
    match &change.kind {
        ChangeKind::Created(bytes) => length = *bytes,
        ChangeKind::Opened(bytes)
        | ChangeKind::Closed(bytes)
        | ChangeKind::Truncated(bytes)
        | ChangeKind::Concatenated(bytes) => length = Some(*bytes),
        ChangeKind::Renamed(path) | ChangeKind::Exchanged(path) => to = Some(path.to_string()),
        ChangeKind::Linked(path) => target = Some(path.clone()),
        ChangeKind::Attributes(which) => attribute = Some(which.name()),
        ChangeKind::MadeDirectory | ChangeKind::Removed => {}
    }
    view::Change {
        change: change.kind.name(),
        path: change.path.to_string(),
        kind: kind_name(change.node),
        inode: change.inode.get(),
        time_ms: change.time_ms,
        place: change.place.to_string(),
        length,
        to,
        target,
        attribute,
    }
}

fn line(change: &view::Change) -> String {
    let mut line = format!("{} {} {}", format::time(change.time_ms), change.change, change.path);
    if let Some(other) = change.to.as_ref().or(change.target.as_ref()) {
        line = format!("{line} -> {other}");
    }
    let length = change.length.map(|length| length.to_string());
    for word in length.as_deref().into_iter().chain(change.attribute) {
        line = format!("{line} {word}");
    }
    line
}
