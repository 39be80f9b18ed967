//! `cp`: files of the cluster to other places of it.

use futures::stream::LocalBoxStream;
use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::args::{CpArgs, LayoutArgs};
use super::context::{Context, found};
use super::failure::Outcome;
use super::target::Found;
use super::transfer::{Child, CopyOptions, Way, copy_all};
use crate::{CreateOptions, MkdirOptions, RenameOptions};

/// Runs `cp`.
pub(super) async fn cp(context: &Context, args: &CpArgs) -> Outcome {
    let Some((target, sources)) = args.paths.split_last() else { return Ok(()) };
    let sources = sources.iter().map(|source| DfsPath::parse(source)).collect::<Result<Vec<DfsPath>>>()?;
    let to = DfsPath::parse(target)?;
    let way = Cp { context, layout: &args.layout, force: args.force };
    let options = CopyOptions { recursive: args.recursive, force: args.force };
    Ok(copy_all(&way, &sources, &to, target, options, |error| context.say(&error.into())).await?)
}

struct Cp<'a> {
    context: &'a Context,
    layout: &'a LayoutArgs,
    force: bool,
}

impl Way for Cp<'_> {
    type From = DfsPath;
    type To = DfsPath;
    type Staged = DfsPath;

    fn show(&self, from: &DfsPath) -> String {
        from.to_string()
    }

    fn show_target(&self, to: &DfsPath) -> String {
        to.to_string()
    }

    fn name(&self, from: &DfsPath) -> Result<String> {
        from.name().map(str::to_owned).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "/ has no name"))
    }

    fn join(&self, to: &DfsPath, name: &str) -> Result<DfsPath> {
        to.join(name)
    }

    async fn look(&self, from: &DfsPath) -> Result<Found> {
        Ok(found(&self.context.client.stat(from).await?))
    }

    async fn look_target(&self, to: &DfsPath) -> Result<Found> {
        self.context.look(to).await
    }

    fn check_apart(&self, from: &DfsPath, to: &DfsPath) -> Result<()> {
        apart(from, to)
    }

    fn children<'a>(&'a self, from: &'a DfsPath) -> LocalBoxStream<'a, Result<Child<DfsPath>>> {
        super::ls::children(&self.context.client, from)
    }

    async fn make_directory(&self, to: &DfsPath) -> Result<()> {
        self.context.client.mkdir(to, MkdirOptions::new().parents(true)).await
    }

    async fn file(&self, from: &DfsPath, to: &DfsPath) -> Result<()> {
        // As the source's, unless asked otherwise.
        let status = self.context.client.stat(from).await?;
        let create = self.layout.apply(
            CreateOptions::new()
                .replication(status.replication)
                .chunk_size(status.chunk_size)
                .overwrite(self.force)
                .publish_on_close(true),
        );
        self.context.client.copy(from, to, create).await.map(drop)
    }

    async fn stage(&self, to: &DfsPath) -> Result<DfsPath> {
        self.context.stage(to)
    }

    fn staged(&self, staged: &DfsPath) -> DfsPath {
        staged.clone()
    }

    async fn publish(&self, staged: DfsPath, to: &DfsPath) -> Result<()> {
        self.context.client.rename(&staged, to, RenameOptions::new()).await?;
        self.context.published(&staged);
        Ok(())
    }
}

/// Refuses to copy a file onto itself and a directory into itself.
fn apart(from: &DfsPath, to: &DfsPath) -> Result<()> {
    if from == to {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{from} and {to} are the same")));
    }
    if to.starts_with(from) {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{to} lies below {from}, which can't hold itself")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_into_itself() {
        let path = |text| DfsPath::parse(text).expect(text);
        for (from, to, fine) in [("/a", "/a", false), ("/a", "/a/b", false), ("/a", "/ab", true), ("/a/b", "/a", true)]
        {
            assert_eq!(apart(&path(from), &path(to)).is_ok(), fine, "{from} {to}");
        }
    }
}
