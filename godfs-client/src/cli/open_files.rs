//! `open-files` and `recover`: who writes what, and files whose writer is gone.

use futures::stream::TryStreamExt;
use godfs_core::{DfsPath, SessionNumber};

use super::args::{OpenFilesArgs, RecoverArgs};
use super::context::Context;
use super::failure::Outcome;
use super::format;
use super::output::{JsonList, Output};
use super::view::OpenFile;

/// Runs `open-files`.
pub(super) async fn open_files(context: &Context, args: &OpenFilesArgs, output: &mut Output) -> Outcome {
    let mut list = output.json().then(JsonList::default);
    let mut files = context.client.open_files();
    while let Some(file) = files.try_next().await? {
        let (session, client) = file.writer.unzip();
        let file = OpenFile {
            inode: file.inode.get(),
            path: file.path.map(|path| path.to_string()),
            length: file.length,
            session: session.map(SessionNumber::get),
            client,
            silent_ms: file.silent.map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
        };
        match &mut list {
            Some(list) => list.push(output, &file)?,
            None => output.line(&line(&file, args.human))?,
        }
    }
    match list {
        Some(list) => list.end(output),
        None => Ok(()),
    }
}

fn line(file: &OpenFile, human: bool) -> String {
    let size = format::size(file.length, human);
    let width = if human { 6 } else { 15 };
    let path = file.path.clone().unwrap_or_else(|| format!("inode {}", file.inode));
    let writer = match (file.session, &file.client) {
        (Some(session), Some(client)) => format!("{session} {client}"),
        _ => "- recovery".to_owned(),
    };
    let silent = file.silent_ms.map_or_else(|| "-".to_owned(), |ms| format!("{}s", ms / 1_000));
    format!("{size:>width$} {silent:>4} {writer} {path}")
}

/// Runs `recover`.
pub(super) async fn recover(context: &Context, args: &RecoverArgs) -> Outcome {
    context
        .each(&args.paths, async |path| Ok(context.client.recover(&DfsPath::parse(path)?, args.timeout.0).await?))
        .await
}
