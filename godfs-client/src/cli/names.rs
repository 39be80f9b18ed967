//! `mkdir`, `rm`, `mv`, `exchange`, `truncate`, `concat`, `setrep`: what changes names and their attributes.

use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::args::{ConcatArgs, ExchangeArgs, MkdirArgs, MvArgs, RmArgs, SetrepArgs, TruncateArgs};
use super::context::{Context, found};
use super::failure::Outcome;
use super::target::{Found, Last, may_replace};
use crate::{FileKind, MkdirOptions, RemoveOptions, RenameOptions, WalkOptions};

/// The permission bits that symbolic ones for a new directory begin with, as with mkdir(1).
const NEW_DIRECTORY: u16 = 0o777;

/// Runs `mkdir`.
pub(super) async fn mkdir(context: &Context, args: &MkdirArgs) -> Outcome {
    let mut options = MkdirOptions::new().parents(args.parents);
    if let Some(mode) = &args.mode {
        options = options.mode(mode.apply(NEW_DIRECTORY, true)).umask(0);
    }
    context
        .each(&args.paths, async |path| Ok(context.client.mkdir(&DfsPath::parse(path)?, options.clone()).await?))
        .await
}

/// Runs `rm`.
pub(super) async fn rm(context: &Context, args: &RmArgs) -> Outcome {
    context
        .each(&args.paths, async |path| match remove(context, args, &DfsPath::parse(path)?).await {
            Err(error) if args.force && error.kind() == ErrorKind::NotFound => Ok(()),
            other => Ok(other?),
        })
        .await
}

async fn remove(context: &Context, args: &RmArgs, path: &DfsPath) -> Result<()> {
    if path.is_root() {
        return Err(Error::new(ErrorKind::InvalidArgument, "/ can not be removed"));
    }
    // The call itself would take an empty directory without being asked for directories.
    if !args.recursive && found(&context.client.lstat(path).await?) == Found::Directory {
        return Err(Error::new(ErrorKind::IsADirectory, format!("{path}; -r removes it with all below it")));
    }
    let options = RemoveOptions::new().recursive(args.recursive);
    if args.skip_trash {
        return context.client.remove(path, options).await;
    }
    context.client.trash(path, options).await.map(drop)
}

/// Runs `mv`.
pub(super) async fn mv(context: &Context, args: &MvArgs) -> Outcome {
    let Some((text, sources)) = args.paths.split_last() else { return Ok(()) };
    let target = DfsPath::parse(text)?;
    let last = Last { text, found: context.look(&target).await?, several: sources.len() > 1 };
    context
        .each(sources, async |from| {
            let from = DfsPath::parse(from)?;
            let source = found(&context.client.lstat(&from).await?);
            let (to, there) = match from.name() {
                Some(name) if last.takes_name(source)? => {
                    let to = target.join(name)?;
                    let there = context.look(&to).await?;
                    (to, there)
                }
                _ => (target.clone(), last.found),
            };
            if from == to {
                return Err(Error::new(ErrorKind::InvalidArgument, format!("{from} and {to} are the same")).into());
            }
            may_replace(source, there, args.force, to.as_str())?;
            // An empty directory gives way to one that takes its place, as with mv(1).
            let replace = args.force || (source, there) == (Found::Directory, Found::Directory);
            Ok(context.client.rename(&from, &to, RenameOptions::new().replace(replace)).await?)
        })
        .await
}

/// Runs `exchange`.
pub(super) async fn exchange(context: &Context, args: &ExchangeArgs) -> Outcome {
    let (first, second) = (DfsPath::parse(&args.first)?, DfsPath::parse(&args.second)?);
    Ok(context.client.exchange(&first, &second).await?)
}

/// Runs `truncate`.
pub(super) async fn truncate(context: &Context, args: &TruncateArgs) -> Outcome {
    context
        .each(&args.paths, async |path| Ok(context.client.truncate(&DfsPath::parse(path)?, args.size.0).await?))
        .await
}

/// Runs `concat`.
pub(super) async fn concat(context: &Context, args: &ConcatArgs) -> Outcome {
    Ok(context.client.concat(&args.target, &args.sources).await?)
}

/// Runs `setrep`.
pub(super) async fn setrep(context: &Context, args: &SetrepArgs) -> Outcome {
    context
        .each(&args.paths, async |path| {
            let path = DfsPath::parse(path)?;
            let client = &context.client;
            if client.stat(&path).await?.is_file() {
                return Ok(client.set_replication(&path, args.replication).await?);
            }
            if !args.recursive {
                let message = format!("{path}; -r sets all files below it");
                return Err(Error::new(ErrorKind::IsADirectory, message).into());
            }
            let files = WalkOptions::new().kind(FileKind::File);
            let set =
                async |path, _| context.pass(client.set_replication(&path, args.replication).await.map_err(Into::into));
            context.each_below(&path, files, set).await
        })
        .await
}
