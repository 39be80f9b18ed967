//! `get`: files of the cluster into the local system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures::stream::LocalBoxStream;
use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::args::GetArgs;
use super::content::pour;
use super::context::{Context, found};
use super::failure::{Failure, Outcome};
use super::local::{self, BlockWriter, Staged, StagedTree, failed, sync_directory};
use super::progress::Progress;
use super::target::Found;
use super::transfer::{Child, CopyOptions, Way, copy_all};

/// Runs `get`.
pub(super) async fn get(context: &Context, args: &GetArgs) -> Outcome {
    let Some((target, sources)) = args.paths.split_last() else { return Ok(()) };
    let sources = sources
        .iter()
        .map(|source| DfsPath::parse_bytes(source.as_encoded_bytes()))
        .collect::<Result<Vec<DfsPath>>>()?;
    let way = Get { context, force: args.force, progress: Progress::bytes(Some(0), context.quiet()) };
    if target == "-" {
        let [source] = sources.as_slice() else {
            return Err(Failure::Usage("one file at a time goes to stdout; see `godfs cat`".to_owned()));
        };
        let done = way.copy_to(source, io::stdout(), |mut stdout| stdout.flush(), Path::new("stdout")).await;
        way.progress.clear();
        return done;
    }
    let to = PathBuf::from(target);
    let text = to.to_string_lossy().into_owned();
    let options = CopyOptions { recursive: args.recursive, force: args.force };
    let done = copy_all(&way, &sources, &to, &text, options, |error| {
        way.progress.suspended(|| context.say(&error.into()));
    })
    .await;
    way.progress.clear();
    Ok(done?)
}

struct Get<'a> {
    context: &'a Context,
    force: bool,
    progress: Progress,
}

impl Get<'_> {
    /// Copies the bytes of a file to `target`, shown as `shown`, and then calls `finish` on it.
    async fn copy_to<W>(
        &self,
        from: &DfsPath,
        target: W,
        finish: impl FnOnce(W) -> io::Result<()> + Send + 'static,
        shown: &Path,
    ) -> Outcome
    where
        W: Write + Send + 'static,
    {
        let writer = BlockWriter::start(target, finish);
        pour(&self.context.client, from, &writer, &self.progress).await?;
        writer.finish().await.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => failed("write", shown, error).into(),
        })
    }
}

impl Way for Get<'_> {
    type From = DfsPath;
    type To = PathBuf;
    type Staged = StagedTree;

    fn show(&self, from: &DfsPath) -> String {
        from.to_string()
    }

    fn show_target(&self, to: &PathBuf) -> String {
        to.display().to_string()
    }

    fn name(&self, from: &DfsPath) -> Result<String> {
        from.name().map(str::to_owned).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "/ has no name; name a directory that does not exist as the target")
        })
    }

    fn join(&self, to: &PathBuf, name: &str) -> Result<PathBuf> {
        Ok(to.join(name))
    }

    async fn look(&self, from: &DfsPath) -> Result<Found> {
        Ok(found(&self.context.client.stat(from).await?))
    }

    async fn look_target(&self, to: &PathBuf) -> Result<Found> {
        local::look(to)
    }

    fn check_apart(&self, _: &DfsPath, _: &PathBuf) -> Result<()> {
        Ok(())
    }

    fn children<'a>(&'a self, from: &'a DfsPath) -> LocalBoxStream<'a, Result<Child<DfsPath>>> {
        super::ls::children(&self.context.client, from)
    }

    async fn make_directory(&self, to: &PathBuf) -> Result<()> {
        match fs::create_dir(to) {
            Ok(()) => sync_directory(local::parent(to)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && to.is_dir() => Ok(()),
            Err(error) => Err(failed("make directory", to, error)),
        }
    }

    async fn file(&self, from: &DfsPath, to: &PathBuf) -> Result<()> {
        let done = if local::look(to)? == Found::Special {
            // A device or a pipe takes the bytes as they come; replacing it would be no use to anyone.
            let target = File::options().write(true).open(to).map_err(|error| failed("open", to, error))?;
            self.copy_to(from, target, |mut target| target.flush(), to).await
        } else {
            let staged = Staged::create(to, self.force)?;
            let handle = staged.handle()?;
            match self.copy_to(from, handle, |file| file.sync_all(), to).await {
                Ok(()) => return staged.publish(),
                other => other,
            }
        };
        match done {
            Err(Failure::Error(error)) => Err(error),
            // Only a pipe that is the target can break.
            Err(_) => Err(Error::new(ErrorKind::Io, format!("{}: nobody reads it any more", to.display()))),
            Ok(()) => Ok(()),
        }
    }

    async fn stage(&self, to: &PathBuf) -> Result<StagedTree> {
        StagedTree::create(to)
    }

    fn staged(&self, staged: &StagedTree) -> PathBuf {
        staged.path().to_path_buf()
    }

    async fn publish(&self, staged: StagedTree, _: &PathBuf) -> Result<()> {
        staged.publish()
    }
}
