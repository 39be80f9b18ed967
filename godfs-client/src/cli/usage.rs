//! `df` and `du`: room, and what takes it.

use futures::stream::TryStreamExt;
use godfs_core::{DfsPath, ErrorKind};

use super::args::{DfArgs, DuArgs};
use super::context::Context;
use super::failure::Outcome;
use super::format::{percent, size};
use super::output::Output;
use super::view::{Room, Usage};
use crate::FileKind;

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
    let client = &context.client;
    context
        .each(&args.paths, async |path| {
            let path = DfsPath::parse(path)?;
            let all = client.usage(&path).await?;
            if all.kind == FileKind::Directory && !args.summarize {
                let mut entries = client.list(&path)?;
                while let Some(entry) = entries.try_next().await? {
                    let path = path.join(&entry.name)?;
                    match client.usage(&path).await {
                        Ok(usage) => print(output, args, &path, usage)?,
                        // It went between the listing and the look.
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            print(output, args, &path, all)
        })
        .await
}

/// A line of `du`: a directory counts itself.
fn print(output: &mut Output, args: &DuArgs, path: &DfsPath, usage: crate::Usage) -> Outcome {
    let usage = Usage {
        path: path.to_string(),
        bytes: usage.bytes,
        replicated_bytes: usage.space,
        files: usage.files,
        directories: usage.directories + u64::from(usage.kind == FileKind::Directory),
    };
    if output.json() {
        return output.object(&usage);
    }
    let (bytes, replicated) = (size(usage.bytes, args.human), size(usage.replicated_bytes, args.human));
    let Usage { files, directories, path, .. } = &usage;
    output.line(&format!("{bytes:>15} {replicated:>15} {files:>10} {directories:>10} {path}"))
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
