//! `put` and `append`: local files into the cluster.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, LocalBoxStream, StreamExt};
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Duration, timeout};

use super::args::{AppendArgs, PutArgs};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::local::{self, failed, read_blocks};
use super::progress::Progress;
use super::target::Found;
use super::transfer::{Child, CopyOptions, Way, copy_all};
use crate::{CreateOptions, MkdirOptions, RenameOptions};

/// A source from which nothing comes for so long has paused: what came of it is shown to readers.
const STILL: Duration = Duration::from_millis(50);

/// Runs `append`.
pub(super) async fn append(context: &Context, args: &AppendArgs) -> Outcome {
    let (from, to) = (PathBuf::from(&args.local), DfsPath::parse(&args.path)?);
    let progress = Progress::bytes((!is_stdin(&from)).then_some(0), context.quiet());
    let mut blocks = if is_stdin(&from) { local::read_pieces(io::stdin()) } else { blocks_of(&from, &progress)? };
    let mut writer = context.client.appender(&to).await?;
    let mut flushed = true;
    loop {
        // Cancel-safe: a block that comes later is still there.
        let next = match timeout(STILL, blocks.recv()).await {
            Err(_) if !flushed => {
                writer.hflush().await?;
                flushed = true;
                continue;
            }
            Err(_) => continue,
            Ok(next) => next,
        };
        let Some(block) = next else { break };
        flushed = !is_stdin(&from);
        // What was taken so far stays, as with `>>` of a shell.
        let block = match block {
            Ok(block) => block,
            Err(error) => {
                writer.close().await?;
                return Err(failed("read", &from, error).into());
            }
        };
        let length = block.len() as u64;
        writer.write_bytes(block).await?;
        progress.add(length);
    }
    writer.close().await?;
    progress.clear();
    Ok(())
}

/// The permission bits that symbolic ones for a new file begin with.
const NEW_FILE: u16 = 0o644;

/// Runs `put`.
pub(super) async fn put(context: &Context, args: &PutArgs) -> Outcome {
    let Some((target, sources)) = args.paths.split_last() else { return Ok(()) };
    let Some(text) = target.to_str() else {
        return Err(Failure::Usage(format!("the path {} is not UTF-8", target.display())));
    };
    let to = DfsPath::parse(text)?;
    if sources.iter().any(|source| source == "-") && sources.len() > 1 {
        return Err(Failure::Usage("stdin can't be put together with files".to_owned()));
    }
    let sources: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
    // How much stdin has is not known.
    let total = (!sources.iter().any(|source| is_stdin(source))).then_some(0);
    let mut create = CreateOptions::new();
    if let Some(etag) = args.if_match {
        if sources.len() > 1 {
            return Err(Failure::Usage("--if-match is for a single file".to_owned()));
        }
        create = create.if_match(etag);
    }
    if let Some(mode) = &args.mode {
        create = create.mode(mode.apply(NEW_FILE, false)).umask(0);
    }
    if args.parents {
        make_parents(context, &to, text.ends_with('/') || sources.len() > 1).await?;
    }
    let way = Put {
        context,
        create: args.layout.apply(create).overwrite(args.force).publish_on_close(true).sync_on_close(!args.no_sync),
        progress: Progress::bytes(total, context.quiet()),
    };
    let options = CopyOptions { recursive: args.recursive, force: args.force || args.if_match.is_some() };
    let done = copy_all(&way, &sources, &to, text, options, |error| {
        way.progress.suspended(|| context.say(&error.into()));
    })
    .await;
    way.progress.clear();
    Ok(done?)
}

/// Makes what must be a directory for the target to be written.
async fn make_parents(context: &Context, to: &DfsPath, into: bool) -> Result<()> {
    match if into { Some(to.clone()) } else { to.parent() } {
        Some(directory) => context.client.mkdir(&directory, MkdirOptions::new().parents(true)).await,
        None => Ok(()),
    }
}

struct Put<'a> {
    context: &'a Context,
    create: CreateOptions,
    progress: Progress,
}

impl Way for Put<'_> {
    type From = PathBuf;
    type To = DfsPath;
    type Staged = DfsPath;

    fn show(&self, from: &PathBuf) -> String {
        from.display().to_string()
    }

    fn show_target(&self, to: &DfsPath) -> String {
        to.to_string()
    }

    fn name(&self, from: &PathBuf) -> Result<String> {
        if is_stdin(from) {
            return Err(Error::new(ErrorKind::InvalidArgument, "stdin has no name; name a file as the target"));
        }
        let name = match from.file_name() {
            Some(name) => name.to_owned(),
            // `.` and `..` and what ends in them have the name of the directory that they stand for.
            None => fs::canonicalize(from)
                .map_err(|error| failed("look at", from, error))?
                .file_name()
                .map(OsStr::to_owned)
                .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("{} has no name", from.display())))?,
        };
        utf8(&name, from)
    }

    fn join(&self, to: &DfsPath, name: &str) -> Result<DfsPath> {
        to.join(name)
    }

    async fn look(&self, from: &PathBuf) -> Result<Found> {
        if is_stdin(from) {
            return Ok(Found::File);
        }
        match local::look(from)? {
            Found::Nothing => Err(Error::new(ErrorKind::NotFound, format!("there is no local {}", from.display()))),
            found => Ok(found),
        }
    }

    async fn look_target(&self, to: &DfsPath) -> Result<Found> {
        self.context.look(to).await
    }

    fn check_apart(&self, _: &PathBuf, _: &DfsPath) -> Result<()> {
        Ok(())
    }

    fn children<'a>(&'a self, from: &'a PathBuf) -> LocalBoxStream<'a, Result<Child<PathBuf>>> {
        match fs::read_dir(from) {
            Ok(entries) => stream::iter(entries.map(|entry| child(from, entry))).boxed_local(),
            Err(error) => stream::iter([Err(failed("list", from, error))]).boxed_local(),
        }
    }

    async fn make_directory(&self, to: &DfsPath) -> Result<()> {
        self.context.client.mkdir(to, MkdirOptions::new().parents(true)).await
    }

    async fn file(&self, from: &PathBuf, to: &DfsPath) -> Result<()> {
        self.progress.say(&from.display().to_string());
        let mut blocks = blocks_of(from, &self.progress)?;
        // What is no plain file says 0, which is what is not known.
        let expected = if is_stdin(from) { 0 } else { fs::metadata(from).map_or(0, |file| file.len()) };
        let mut writer = self.context.client.writer(to, self.create.clone().expected_size(expected)).await?;
        while let Some(block) = blocks.recv().await {
            let block = match block {
                Ok(block) => block,
                Err(error) => {
                    // If the namenode can't be told now, it hears of it when the session ends.
                    let _ = writer.abandon().await;
                    return Err(failed("read", from, error));
                }
            };
            let length = block.len() as u64;
            writer.write_bytes(block).await?;
            self.progress.add(length);
        }
        writer.close().await
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

/// The bytes of a local file, or of stdin.
fn blocks_of(from: &Path, progress: &Progress) -> Result<Receiver<io::Result<Bytes>>> {
    if is_stdin(from) {
        return Ok(read_blocks(io::stdin()));
    }
    let file = File::open(from).map_err(|error| failed("open", from, error))?;
    let length = file.metadata().map_err(|error| failed("look at", from, error))?.len();
    progress.add_total(length);
    Ok(read_blocks(file))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn utf8(name: &OsStr, path: &Path) -> Result<String> {
    name.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("the name of {} is not UTF-8; rename it first", path.display()))
    })
}

/// An entry of a directory. Links are followed; what would never end, or has no bytes, is refused.
fn child(directory: &Path, entry: io::Result<fs::DirEntry>) -> Result<Child<PathBuf>> {
    let entry = entry.map_err(|error| failed("list", directory, error))?;
    let path = entry.path();
    let name = utf8(&entry.file_name(), &path)?;
    let metadata = fs::metadata(&path).map_err(|error| failed("look at", &path, error))?;
    let found = if metadata.is_dir() {
        Found::Directory
    } else if metadata.is_file() {
        Found::File
    } else {
        let message = format!("{} is neither a file nor a directory; put it by its own name", path.display());
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    Ok(Child { name, path, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_what_they_lead_to() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("file"), "x").expect("written");
        fs::create_dir(folder.path().join("directory")).expect("made");
        let mut found: Vec<(String, Found)> = fs::read_dir(folder.path())
            .expect("listed")
            .map(|entry| child(folder.path(), entry).map(|child| (child.name, child.found)).expect("fine"))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, [("directory".to_owned(), Found::Directory), ("file".to_owned(), Found::File)]);
    }

    #[cfg(unix)]
    #[test]
    fn names_must_be_text() {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"a\xff");
        assert_eq!(utf8(name, Path::new(name)).expect_err("not UTF-8").kind(), ErrorKind::InvalidArgument);
    }
}
