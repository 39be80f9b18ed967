//! Patterns in paths, as a shell would expand them were the files its own.

use std::ffi::OsString;

use futures::stream::TryStreamExt;
use godfs_core::glob::Glob;
use godfs_core::{DfsPath, Error, ErrorKind, Result};

use super::args::Verb;
use super::quota::QuotaVerb;
use crate::{Client, FileKind, WalkOptions};

/// More paths than this are no list to type; `find` gives them one by one.
const MAX_PATHS: usize = 100_000;

/// Expands the patterns among the paths of a verb that must exist.
pub(super) async fn expand(client: &Client, verb: &mut Verb) -> Result<()> {
    match verb {
        Verb::Cat(args) => all(client, &mut args.paths).await,
        Verb::Tail(args) => all(client, &mut args.paths).await,
        Verb::Ls(args) => all(client, &mut args.paths).await,
        Verb::Stat(args) => all(client, &mut args.paths).await,
        Verb::Rm(args) => all(client, &mut args.paths).await,
        Verb::Du(args) => all(client, &mut args.paths).await,
        Verb::Quota(QuotaVerb::Set(args)) => all(client, &mut args.paths).await,
        Verb::Quota(QuotaVerb::Clear(args)) => all(client, &mut args.paths).await,
        Verb::Quota(QuotaVerb::Show(args)) => all(client, &mut args.paths).await,
        Verb::Find(args) => all(client, &mut args.paths).await,
        Verb::Tree(args) => all(client, &mut args.paths).await,
        Verb::Checksum(args) => all(client, &mut args.paths).await,
        Verb::Setrep(args) => all(client, &mut args.paths).await,
        Verb::Locate(args) => all(client, &mut args.paths).await,
        Verb::Truncate(args) => all(client, &mut args.paths).await,
        Verb::Concat(args) => all(client, &mut args.sources).await,
        Verb::Recover(args) => all(client, &mut args.paths).await,
        Verb::Readlink(args) => all(client, &mut args.paths).await,
        Verb::Chmod(args) => all(client, &mut args.paths).await,
        Verb::Chown(args) => all(client, &mut args.paths).await,
        Verb::Chgrp(args) => all(client, &mut args.paths).await,
        Verb::Getfacl(args) => all(client, &mut args.paths).await,
        Verb::Setfacl(args) => all(client, &mut args.paths).await,
        Verb::Getfattr(args) => all(client, &mut args.paths).await,
        Verb::Setfattr(args) => all(client, &mut args.paths).await,
        Verb::Mv(args) => sources(client, &mut args.paths).await,
        Verb::Cp(args) => sources(client, &mut args.paths).await,
        Verb::Get(args) => {
            let Some(local) = args.paths.pop() else { return Ok(()) };
            let mut paths = Vec::new();
            for path in std::mem::take(&mut args.paths) {
                // What is no text is no pattern; the verb itself says what is wrong with it.
                match path.into_string() {
                    Ok(text) => paths.extend(one(client, text).await?.into_iter().map(OsString::from)),
                    Err(path) => paths.push(path),
                }
            }
            paths.push(local);
            args.paths = paths;
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn all(client: &Client, paths: &mut Vec<String>) -> Result<()> {
    let mut expanded = Vec::new();
    for path in std::mem::take(paths) {
        expanded.append(&mut one(client, path).await?);
    }
    *paths = expanded;
    Ok(())
}

/// All but the last, which need not exist.
async fn sources(client: &Client, paths: &mut Vec<String>) -> Result<()> {
    let Some(target) = paths.pop() else { return Ok(()) };
    all(client, paths).await?;
    paths.push(target);
    Ok(())
}

/// The paths that `text` stands for, in the order of their bytes; itself where it is no pattern or matches nothing.
async fn one(client: &Client, text: String) -> Result<Vec<String>> {
    if !text.starts_with('/') || !Glob::is_pattern(&text) {
        // A backslash is one, unless it keeps a character from being a pattern.
        return Ok(vec![if text.contains(['*', '?', '[']) { Glob::unescaped(&text) } else { text }]);
    }
    let mut found = vec![DfsPath::root()];
    let steps: Vec<&str> = text.split('/').filter(|step| !step.is_empty()).collect();
    for (at, step) in steps.iter().enumerate() {
        let last = at + 1 == steps.len();
        let glob = if Glob::is_pattern(step) { Glob::parse(step).ok() } else { None };
        let mut next = Vec::new();
        for directory in &found {
            match &glob {
                None => next.push(directory.join(&Glob::unescaped(step))?),
                Some(_) => entries(client, directory, step, last, &mut next).await?,
            }
        }
        found = next;
    }
    // A name behind the last pattern was only written down so far.
    if steps.last().is_some_and(|step| !Glob::is_pattern(step)) {
        let mut there = Vec::new();
        for path in found {
            if client.exists(&path).await? {
                there.push(path);
            }
        }
        found = there;
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    Ok(if found.is_empty() { vec![text] } else { found })
}

/// The entries of a directory that a pattern covers; only directories where more of the path follows. Names that begin with a dot are left out
/// unless the pattern begins with one.
async fn entries(
    client: &Client,
    directory: &DfsPath,
    pattern: &str,
    last: bool,
    found: &mut Vec<DfsPath>,
) -> Result<()> {
    let mut options = WalkOptions::new().max_depth(1).name(pattern);
    if !last {
        options = options.kind(FileKind::Directory);
    }
    let mut walk = client.walk(directory, options)?;
    loop {
        match walk.try_next().await {
            Ok(Some((path, _))) => {
                if pattern.starts_with('.') || !path.name().is_some_and(|name| name.starts_with('.')) {
                    found.push(path);
                }
                if found.len() > MAX_PATHS {
                    let message = format!("{directory}/{pattern} stands for more than {MAX_PATHS} paths: use find");
                    return Err(Error::new(ErrorKind::LimitExceeded, message));
                }
            }
            Ok(None) => return Ok(()),
            // What is no directory, or none any more, has no entries.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
