//! `find` and `tree`: what lies below directories.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use godfs_core::DfsPath;

use super::context::Context;
use super::failure::Outcome;
use super::output::Output;
use super::size::ByteSize;
use super::stat::entry;
use crate::{FileKind, FileStatus, WalkOptions};

#[derive(Args, Debug)]
#[command(after_help = "\
The namenode does the searching; what it passes by costs no bytes on the wire. Directories that you may not list are named on stderr and passed by. Options may have one dash, as in find(1).

Examples:
  godfs find /logs -name '*.gz' -type f
  godfs find / -maxdepth 2 -type d
  godfs find /data -size +1G --json")]
pub(super) struct FindArgs {
    /// Directories to search
    #[arg(value_name = "PATH", default_value = "/")]
    pub(super) paths: Vec<String>,
    /// Only names that match, such as '*.csv'
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// Only files, only directories, or only symbolic links
    #[arg(long = "type", value_name = "f|d|l")]
    kind: Option<Kind>,
    /// At least so many names below PATH; 0 is PATH itself
    #[arg(long, value_name = "N")]
    mindepth: Option<u32>,
    /// At most so many names below PATH
    #[arg(long, value_name = "N")]
    maxdepth: Option<u32>,
    /// Only files of so many bytes: N exactly, +N more, -N less
    #[arg(long, value_name = "[+-]SIZE", allow_hyphen_values = true)]
    size: Option<Sizes>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    F,
    D,
    L,
}

/// The least and the most bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes(u64, u64);

impl std::str::FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let size = |text: &str| text.parse::<ByteSize>().map(|size| size.0);
        if let Some(more) = text.strip_prefix('+') {
            Ok(Self(size(more)?.saturating_add(1), u64::MAX))
        } else if let Some(less) = text.strip_prefix('-') {
            let less = size(less)?;
            less.checked_sub(1).map(|most| Self(0, most)).ok_or_else(|| "nothing is smaller than 0 bytes".to_owned())
        } else {
            size(text).map(|exactly| Self(exactly, exactly))
        }
    }
}

/// Gives the options of `find` their second dash.
pub(super) fn two_dashes(args: &mut [OsString]) {
    let Some(verb) = args.iter().skip(1).position(|arg| arg == "find") else { return };
    for arg in args.iter_mut().skip(verb + 2) {
        if ["-name", "-type", "-mindepth", "-maxdepth", "-size"].iter().any(|option| arg == option) {
            let mut long = OsString::from("-");
            long.push(&*arg);
            *arg = long;
        }
    }
}

/// Runs `find`.
pub(super) async fn find(context: &Context, args: &FindArgs, output: &mut Output) -> Outcome {
    let mut options = WalkOptions::new().min_depth(args.mindepth.unwrap_or(0));
    if let Some(name) = &args.name {
        options = options.name(name);
    }
    if let Some(kind) = args.kind {
        options = options.kind(match kind {
            Kind::F => FileKind::File,
            Kind::D => FileKind::Directory,
            Kind::L => FileKind::Symlink,
        });
    }
    if let Some(depth) = args.maxdepth {
        options = options.max_depth(depth);
    }
    if let Some(Sizes(least, most)) = args.size {
        options = options.bytes(least, most);
    }
    context
        .each(&args.paths, async |path| {
            let print = async |path: DfsPath, status| {
                if output.json() { output.object(&entry(&path, &status)) } else { output.line(path.as_str()) }
            };
            context.each_below(&DfsPath::parse(path)?, options.clone(), print).await
        })
        .await
}

#[derive(Args, Debug)]
#[command(after_help = "\
With --json, prints an object an entry, each on a line.

Examples:
  godfs tree /models
  godfs tree -d -L 2 /")]
pub(super) struct TreeArgs {
    /// Only directories
    #[arg(short, long)]
    directories: bool,
    /// At most so many names deep
    #[arg(short = 'L', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    level: Option<u32>,
    /// Directories
    #[arg(value_name = "PATH", default_value = "/")]
    pub(super) paths: Vec<String>,
}

/// Runs `tree`.
pub(super) async fn tree(context: &Context, args: &TreeArgs, output: &mut Output) -> Outcome {
    let mut options = WalkOptions::new();
    if args.directories {
        options = options.kind(FileKind::Directory);
    }
    if let Some(level) = args.level {
        options = options.max_depth(level);
    }
    context
        .each(&args.paths, async |path| {
            let root = DfsPath::parse(path)?;
            let (mut files, mut directories) = (0_u64, 0_u64);
            if !output.json() {
                output.line(root.as_str())?;
            }
            let print = async |path: DfsPath, status: FileStatus| {
                let (count, slash) = if status.is_dir() { (&mut directories, "/") } else { (&mut files, "") };
                *count += 1;
                if output.json() {
                    return output.object(&entry(&path, &status));
                }
                let depth = path.names().count() - root.names().count();
                let name = path.name().unwrap_or_default();
                output.line(&format!("{:indent$}{name}{slash}", "", indent = 4 * depth))
            };
            context.each_below(&root, options.clone(), print).await?;
            if output.json() { Ok(()) } else { output.line(&format!("{directories} directories, {files} files")) }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_or_bounds() {
        for (text, sizes) in [
            ("5", Some((5, 5))),
            ("+1K", Some((1_025, u64::MAX))),
            ("-1K", Some((0, 1_023))),
            ("-0", None),
            ("x", None),
        ] {
            assert_eq!(text.parse::<Sizes>().ok(), sizes.map(|(least, most)| Sizes(least, most)), "{text}");
        }
    }

    #[test]
    fn one_dash_is_enough_behind_find() {
        let two = |line: &str| {
            let mut args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            two_dashes(&mut args);
            args.join(std::ffi::OsStr::new(" ")).into_string().expect("text")
        };
        assert_eq!(two("godfs --json find / -name x -size -1K"), "godfs --json find / --name x --size -1K");
        assert_eq!(two("godfs rm -name find"), "godfs rm -name find");
    }
}
