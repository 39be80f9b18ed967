//! `ls`: directories, entry by entry, never whole in memory.

use std::io::Write;

use futures::stream::{self, LocalBoxStream, StreamExt, TryStreamExt};
use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::args::LsArgs;
use super::context::{Context, found};
use super::failure::Outcome;
use super::format;
use super::locate::{chunk_lines, chunks};
use super::mode;
use super::output::{JsonList, Output};
use super::stat::entry;
use super::transfer::Child;
use super::view::Entry;
use crate::{Client, DirEntry, ListOptions, WalkOptions};

/// Runs `ls`.
pub(super) async fn ls(context: &Context, args: &LsArgs, output: &mut Output) -> Outcome {
    let mut listing =
        Listing { args, json: output.json().then(JsonList::default), titled: args.paths.len() > 1, first: true };
    context.each(&args.paths, async |path| listing.path(context, path, output).await).await?;
    match listing.json {
        Some(list) => list.end(output),
        None => Ok(()),
    }
}

/// The entries of a directory, to be copied. A link to a file counts as the file; links to directories, which may lead in circles, are refused.
pub(super) fn children<'a>(client: &'a Client, path: &'a DfsPath) -> LocalBoxStream<'a, Result<Child<DfsPath>>> {
    let entries = match client.list(path) {
        Ok(entries) => entries,
        Err(error) => return stream::iter([Err(error)]).boxed_local(),
    };
    entries
        .then(move |entry| {
            let client = client.clone();
            async move {
                let DirEntry { name, mut status, .. } = entry?;
                let path = path.join(&name)?;
                if status.is_symlink() {
                    status = client.stat(&path).await?;
                    if status.is_dir() {
                        let message = format!("{path} is a symbolic link to a directory, which is not followed");
                        return Err(Error::new(ErrorKind::Unsupported, message));
                    }
                }
                Ok(Child { name, path, found: found(&status) })
            }
        })
        .boxed_local()
}

struct Listing<'a> {
    args: &'a LsArgs,
    json: Option<JsonList>,
    /// Whether directories are introduced by their paths, as several are.
    titled: bool,
    first: bool,
}

impl Listing<'_> {
    async fn path(&mut self, context: &Context, text: &str, output: &mut Output) -> Outcome {
        let path = DfsPath::parse(text)?;
        let client = &context.client;
        // As with ls(1), -l shows a link itself, and so does a link that leads nowhere.
        let mut status = client.lstat(&path).await?;
        if status.is_symlink() && !self.args.long {
            status = client.stat(&path).await.unwrap_or(status);
        }
        if !status.is_dir() {
            let mut entry = entry(&path, &status);
            if self.args.locations && status.is_file() {
                entry.chunks = Some(chunks(&client.locate(&path).await?.chunks));
            }
            return self.print(output, &entry, true);
        }
        if self.titled && !self.args.recursive && self.json.is_none() {
            output.line(&format!("{}{path}:", if self.first { "" } else { "\n" }))?;
        }
        self.first = false;
        if self.args.recursive {
            let print = async |path, status| self.print(output, &entry(&path, &status), true);
            context.each_below(&path, WalkOptions::new(), print).await?;
        } else {
            let after = self.args.after.as_deref().unwrap_or_default();
            let options = ListOptions::new().start_after(after).locations(self.args.locations);
            let mut entries = client.list_with(&path, options)?;
            while let Some(found) = entries.try_next().await? {
                let mut entry = entry(&path.join(&found.name)?, &found.status);
                entry.chunks = found.chunks.as_deref().map(chunks);
                self.print(output, &entry, false)?;
            }
        }
        Ok(())
    }

    fn print<W: Write>(&mut self, output: &mut Output<W>, entry: &Entry, whole_path: bool) -> Outcome {
        match &mut self.json {
            Some(list) => list.push(output, entry),
            None => {
                output.line(&line(entry, self.args, whole_path))?;
                let chunks = entry.chunks.iter().flat_map(|chunks| chunk_lines(chunks));
                chunks.into_iter().try_for_each(|line| output.line(&line))
            }
        }
    }
}

fn line(entry: &Entry, args: &LsArgs, whole_path: bool) -> String {
    let name = if whole_path { &entry.path } else { &entry.name };
    if !args.long {
        return name.clone();
    }
    let file = entry.kind == "file";
    let (mode, Entry { user, group, .. }) = (mode::of_entry(entry), entry);
    let leads = entry.target.as_ref().map_or_else(String::new, |target| format!(" -> {target}"));
    let replication = if file { entry.replication.to_string() } else { "-".to_owned() };
    let size = if file { format::size(entry.length, args.human) } else { "-".to_owned() };
    let width = if args.human { 6 } else { 15 };
    let time = format::time(entry.modified_ms);
    format!("{mode:<11} {replication:>3} {user:<8} {group:<8} {size:>width$} {time} {name}{leads}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Verb};
    use super::*;

    #[test]
    fn lines_have_columns() {
        let file = Entry { path: "/d/a b".into(), name: "a b".into(), length: 1 << 20, ..super::super::view::sample() };
        let directory = Entry { kind: "directory", ..file.clone() };
        let link = Entry { kind: "symlink", target: Some("../b".into()), ..file.clone() };
        for (words, entry, whole_path, expected) in [
            ("ls", &file, false, "a b"),
            ("ls -R", &file, true, "/d/a b"),
            ("ls -l", &file, false, "-rw-r--r--    3 alice    staff            1048576 2026-01-01T00:00:00Z a b"),
            ("ls -lh", &file, false, "-rw-r--r--    3 alice    staff      1.0M 2026-01-01T00:00:00Z a b"),
            ("ls -lh", &link, false, "lrw-r--r--    - alice    staff         - 2026-01-01T00:00:00Z a b -> ../b"),
            ("ls -lh", &directory, false, "drw-r--r--    - alice    staff         - 2026-01-01T00:00:00Z a b"),
        ] {
            let cli = Cli::try_parse_from(["godfs"].into_iter().chain(words.split(' '))).expect(words);
            let Verb::Ls(args) = cli.verb else { panic!("not ls") };
            assert_eq!(line(entry, &args, whole_path), expected, "{words}");
        }
    }
}
