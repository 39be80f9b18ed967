//! `tail`: the end of files, and what is written at it.

use std::io::Write;
use std::str::FromStr;

use clap::Args;
use futures::stream::{BoxStream, SelectAll, StreamExt, TryStreamExt};
use godfs_core::{DfsPath, ErrorKind};
use tokio::time::{Duration, sleep};

use super::context::Context;
use super::failure::{Failure, Outcome, say_line};
use super::output::Output;
use super::size::ByteSize;
use crate::{Client, Follow, Followed, Reader, Result};

/// Bytes that are looked at at once for ends of lines.
const BLOCK_BYTES: u64 = 256 << 10;

/// The pause after which -F looks again whether a path names a file.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
#[command(after_help = "\
Of a file that is being written, shows what its writer has flushed. With -f goes on with what is written from then on, also when the file is
closed and appended to later, until it is interrupted; it follows a file that is renamed, and ends with exit code 3, saying why, when the file
is removed or replaced. With -F it then waits for the file that comes to stand at the path, and shows that one from its first byte.

Examples:
  godfs tail /logs/today
  godfs tail -n 100 -f /logs/today
  godfs tail -c +1 -f --until-closed /logs/job-17
  godfs tail -n 0 -F /logs/current | grep error")]
pub(super) struct TailArgs {
    /// The last so many lines, or with a + all from that line on [default: 10]
    #[arg(short = 'n', long, value_name = "[+]N", conflicts_with = "bytes")]
    lines: Option<Count>,
    /// The last so many bytes, or with a + all from that byte on, counted from 1
    #[arg(short = 'c', long, value_name = "[+]SIZE")]
    bytes: Option<Count>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// As -f, but whatever file stands at the path, now or later
    #[arg(short = 'F', long)]
    by_name: bool,
    /// End with -f or -F when the file is closed
    #[arg(long)]
    until_closed: bool,
    /// Files
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
}

/// How much: the last of it, or all but the first of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Last(u64),
    From(u64),
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix('+') {
            Some(from) => from.parse::<ByteSize>().map(|count| Self::From(count.0)),
            None => text.parse::<ByteSize>().map(|count| Self::Last(count.0)),
        }
    }
}

/// Runs `tail`.
pub(super) async fn tail(context: &Context, args: &TailArgs, output: &mut Output) -> Outcome {
    let following = args.follow || args.by_name;
    let mut titles = Titles { wanted: args.paths.len() > 1, last: None };
    let mut sources = SelectAll::new();
    for (number, path) in args.paths.iter().enumerate() {
        let path = DfsPath::parse(path)?;
        let state = match one(context, args, &path, number, &mut titles, output).await {
            Ok(follow) => follow.map_or(State::Ended, |follow| State::Following(Box::new(follow))),
            Err(Failure::Error(error)) if args.by_name && error.kind() == ErrorKind::NotFound => {
                say_line(&format!("godfs: tail: {}, waiting for it", error.message()));
                State::Waiting
            }
            Err(Failure::Error(error)) => {
                context.say(&error.into());
                State::Ended
            }
            Err(other) => return Err(other),
        };
        sources.push(Source { client: context.client.clone(), number, path, state, args }.into_stream());
    }
    if !following {
        return Ok(());
    }
    output.flush()?;
    while let Some((number, path, followed)) = sources.next().await {
        match followed {
            Ok(Followed::Bytes(bytes)) => {
                titles.before(number, path.as_str(), output)?;
                output.bytes(&bytes)?;
                output.flush()?;
            }
            Ok(Followed::Truncated(length)) => say_line(&format!("godfs: tail: {path}: truncated to {length} bytes")),
            Ok(Followed::Moved(to)) => say_line(&format!("godfs: tail: {path}: moved to {to}")),
            Ok(end) => {
                if let Some(error) = end.as_end(&path) {
                    if args.by_name {
                        say_line(&format!("godfs: tail: {}", error.message()));
                    } else {
                        context.say(&error.into());
                    }
                }
            }
            Err(error) => context.say(&error.into()),
        }
    }
    Ok(())
}

/// Prints the end of a file; gives what follows, where that is wanted.
async fn one(
    context: &Context,
    args: &TailArgs,
    path: &DfsPath,
    number: usize,
    titles: &mut Titles,
    output: &mut Output,
) -> Outcome<Option<Follow>> {
    let reader = context.client.reader(path).await?;
    let end = reader.len();
    let start = match (args.bytes, args.lines.unwrap_or(Count::Last(10))) {
        (Some(Count::Last(bytes)), _) => end.saturating_sub(bytes),
        (Some(Count::From(byte)), _) => byte.saturating_sub(1).min(end),
        (None, Count::Last(lines)) => last_lines(&reader, end, lines).await?,
        (None, Count::From(line)) => from_line(&reader, end, line).await?,
    };
    titles.before(number, path.as_str(), output)?;
    let mut blocks = reader.stream(start..end);
    while let Some(block) = blocks.try_next().await? {
        output.bytes(&block)?;
    }
    Ok((args.follow || args.by_name).then(|| reader.follow(end)))
}

/// Where the last so many lines begin. What follows the last end of a line is a line.
async fn last_lines(reader: &Reader, end: u64, lines: u64) -> Result<u64> {
    if lines == 0 {
        return Ok(end);
    }
    let (mut before, mut left) = (end, lines);
    while before > 0 {
        let from = before.saturating_sub(BLOCK_BYTES);
        let block = reader.read_at(from, usize::try_from(before - from).unwrap_or(usize::MAX)).await?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let next = from + at as u64 + 1;
            // The end of the last line of the file begins none.
            if next == end {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(next);
            }
        }
        before = from;
    }
    Ok(0)
}

/// Where the line of that number begins, counted from 1.
async fn from_line(reader: &Reader, end: u64, line: u64) -> Result<u64> {
    let mut left = line.saturating_sub(1);
    let mut position = 0;
    let mut blocks = reader.stream(..end);
    while left > 0 {
        let Some(block) = blocks.try_next().await? else { return Ok(end) };
        for (at, _) in block.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            left -= 1;
            if left == 0 {
                return Ok(position + at as u64 + 1);
            }
        }
        position += block.len() as u64;
    }
    Ok(0)
}

/// What says which file the next bytes are of, where there are several.
struct Titles {
    wanted: bool,
    last: Option<usize>,
}

impl Titles {
    fn before<W: Write>(&mut self, number: usize, path: &str, output: &mut Output<W>) -> Outcome {
        if self.wanted && self.last != Some(number) {
            if self.last.is_some() {
                output.bytes(b"\n")?;
            }
            output.line(&format!("==> {path} <=="))?;
        }
        self.last = Some(number);
        Ok(())
    }
}

/// What comes of one of the files.
type Sourced = (usize, DfsPath, Result<Followed>);

/// One of the files that are followed.
struct Source<'a> {
    client: Client,
    number: usize,
    path: DfsPath,
    state: State,
    args: &'a TailArgs,
}

enum State {
    /// Until a file stands at the path.
    Waiting,
    Following(Box<Follow>),
    Ended,
}

impl<'a> Source<'a> {
    fn into_stream(self) -> BoxStream<'a, Sourced> {
        futures::stream::unfold(self, |mut source| async move {
            let (path, next) = source.next().await?;
            Some(((source.number, path, next), source))
        })
        .boxed()
    }

    /// What comes next; `None` after the end.
    async fn next(&mut self) -> Option<(DfsPath, Result<Followed>)> {
        loop {
            match &mut self.state {
                State::Ended => return None,
                State::Waiting => {
                    sleep(LOOK_AGAIN).await;
                    match self.client.reader(&self.path).await {
                        Ok(reader) => self.state = State::Following(Box::new(reader.follow(0))),
                        Err(error) if error.kind() == ErrorKind::NotFound || error.is_retryable() => {}
                        Err(error) => {
                            self.state = State::Ended;
                            return Some((self.path.clone(), Err(error)));
                        }
                    }
                }
                State::Following(follow) => {
                    let followed = follow.next().await.transpose()?;
                    match &followed {
                        Ok(Followed::Closed(_)) if self.args.until_closed => self.state = State::Ended,
                        Ok(Followed::Closed(_)) => continue,
                        Ok(Followed::Moved(_) | Followed::Removed | Followed::Replaced) if self.args.by_name => {
                            self.state = State::Waiting;
                        }
                        Ok(Followed::Moved(to)) => {
                            let from = std::mem::replace(&mut self.path, to.clone());
                            return Some((from, followed));
                        }
                        _ => {}
                    }
                    return Some((self.path.clone(), followed));
                }
            }
        }
    }
}
