//! `df` and `du`: room, and what takes it.

use futures::stream::TryStreamExt;
use godfs_core::{DfsPath, Result};

use super::args::{DfArgs, DuArgs};
use super::context::Context;
use super::failure::Outcome;
use super::format::{percent, size};
use super::output::Output;
use super::view::{Room, Usage};
use crate::{Client, FileStatus};

/// Runs `df`.
pub(super) async fn df(context: &Context, args: &DfArgs, output: &mut Output) -> Outcome {
    let report = context.client.report().await?;
    let room = Room {
        capacity_bytes: report.capacity_bytes,
        used_bytes: report.used_bytes,
        available_bytes: report.available_bytes,
    };
    if output.json() {
        return output.object(&room);
    }
    room_lines(&room, args.human).into_iter().try_for_each(|line| output.line(&line))
}

fn room_lines(room: &Room, human: bool) -> [String; 2] {
    let Room { capacity_bytes, used_bytes, available_bytes } = *room;
    let column = |bytes| size(bytes, human);
    [
        format!("{:>20} {:>20} {:>20} {:>5}", "capacity", "used", "available", "use%"),
        format!(
            "{:>20} {:>20} {:>20} {:>5}",
            column(capacity_bytes),
            column(used_bytes),
            column(available_bytes),
            // Of what files could ever take, as df(1) reckons it: others may fill the disks too.
            percent(used_bytes, used_bytes.saturating_add(available_bytes))
        ),
    ]
}

/// Runs `du`.
pub(super) async fn du(context: &Context, args: &DuArgs, output: &mut Output) -> Outcome {
    context
        .each(&args.paths, async |path| {
            let usage = usage(&context.client, DfsPath::parse(path)?).await?;
            if output.json() {
                return output.object(&usage);
            }
            let (bytes, replicated) = (size(usage.bytes, args.human), size(usage.replicated_bytes, args.human));
            let Usage { files, directories, path, .. } = &usage;
            output.line(&format!("{bytes:>15} {replicated:>15} {files:>10} {directories:>10} {path}"))
        })
        .await
}

async fn usage(client: &Client, path: DfsPath) -> Result<Usage> {
    let mut usage = Usage { path: path.to_string(), bytes: 0, replicated_bytes: 0, files: 0, directories: 0 };
    let status = client.lstat(&path).await?;
    count(&mut usage, &status);
    if status.is_dir() {
        let mut below = client.walk(&path)?;
        while let Some((_, status)) = below.try_next().await? {
            count(&mut usage, &status);
        }
    }
    Ok(usage)
}

fn count(usage: &mut Usage, status: &FileStatus) {
    if status.is_dir() {
        usage.directories += 1;
        return;
    }
    usage.files += 1;
    usage.bytes = usage.bytes.saturating_add(status.length);
    let replicated = status.length.saturating_mul(u64::from(status.replication));
    usage.replicated_bytes = usage.replicated_bytes.saturating_add(replicated);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_has_columns() {
        let room = Room { capacity_bytes: 100 << 30, used_bytes: 1 << 30, available_bytes: 79 << 30 };
        let [title, line] = room_lines(&room, true);
        assert_eq!(title.len(), line.len());
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["100G", "1.0G", "79G", "2%"]);
    }
}
