//! `ln` and `readlink`: symbolic links.

use godfs_core::{DfsPath, Error, ErrorKind};

use super::args::{LnArgs, ReadlinkArgs};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::output::Output;
use super::target::Found;
use super::view::Link;

/// Runs `ln`.
pub(super) async fn ln(context: &Context, args: &LnArgs) -> Outcome {
    if !args.symbolic {
        let message = "there are no hard links: a file has one name. Use ln -s for a symbolic link, or cp for a copy";
        return Err(Failure::Usage(message.to_owned()));
    }
    let mut link = DfsPath::parse(&args.link)?;
    if context.look(&link).await? == Found::Directory {
        let name = args.target.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        link = link.join(name)?;
    }
    Ok(context.client.symlink(&args.target, &link).await?)
}

/// Runs `readlink`.
pub(super) async fn readlink(context: &Context, args: &ReadlinkArgs, output: &mut Output) -> Outcome {
    context
        .each(&args.paths, async |path| {
            let path = DfsPath::parse(path)?;
            let status = context.client.lstat(&path).await?;
            let Some(target) = status.target else {
                return Err(Error::new(ErrorKind::InvalidArgument, format!("{path} is no symbolic link")).into());
            };
            if output.json() { output.object(&Link { path: path.to_string(), target }) } else { output.line(&target) }
        })
        .await
}
