//! `stat`: what is known of a file or directory.

use godfs_core::{DfsPath, InodeId};

use super::args::StatArgs;
use super::context::Context;
use super::failure::Outcome;
use super::format;
use super::mode;
use super::output::Output;
use super::view::Entry;
use crate::{FileKind, FileStatus};

/// Runs `stat`.
pub(super) async fn stat(context: &Context, args: &StatArgs, output: &mut Output) -> Outcome {
    if let Some(inode) = args.id {
        let (status, path) = context.client.stat_id(InodeId(inode)).await?;
        // What has no path is shown as what it is reached by.
        let mut entry = entry(path.as_ref().unwrap_or(&DfsPath::root()), &status);
        if path.is_none() {
            (entry.path, entry.name) = (format!("inode {inode}"), String::new());
        }
        return if output.json() { output.object(&entry) } else { output.line(&text(&entry)) };
    }
    context
        .each(&args.paths, async |path| {
            let path = DfsPath::parse(path)?;
            let client = &context.client;
            let status = if args.dereference { client.stat(&path).await? } else { client.lstat(&path).await? };
            let entry = entry(&path, &status);
            if output.json() { output.object(&entry) } else { output.line(&text(&entry)) }
        })
        .await
}

/// What JSON calls it.
pub(super) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
    }
}

/// What is shown of a path.
pub(super) fn entry(path: &DfsPath, status: &FileStatus) -> Entry {
    Entry {
        path: path.to_string(),
        name: path.name().unwrap_or("/").to_owned(),
        kind: kind_name(status.kind),
        length: status.length,
        replication: status.replication,
        chunk_size: status.chunk_size,
        modified_ms: status.modified_ms,
        accessed_ms: status.accessed_ms,
        inode: status.inode.get(),
        version: status.version.get(),
        etag: status.etag().to_string(),
        open: status.open,
        user: status.user.clone(),
        group: status.group.clone(),
        mode: mode::octal(status.mode),
        target: status.target.clone(),
        acl: status.acl,
        chunks: None,
    }
}

fn text(entry: &Entry) -> String {
    let Entry { path, kind, length, replication, chunk_size, inode, version, user, group, mode, .. } = entry;
    let (modified, accessed) = (format::time(entry.modified_ms), format::time(entry.accessed_ms));
    let open = if entry.open { ", being written" } else { "" };
    let mut text = format!("path         {path}\nkind         {kind}{open}\n");
    if *kind == "file" {
        let short = format::short_size(*length);
        text += &format!("length       {length} ({short})\nreplication  {replication}\nchunk size   {chunk_size}\n");
    }
    if let Some(target) = &entry.target {
        text += &format!("target       {target}\n");
    }
    let letters = mode::of_entry(entry);
    text += &format!("owner        {user}\ngroup        {group}\nmode         {mode} ({letters})\n");
    text + &format!("modified     {modified}\naccessed     {accessed}\ninode        {inode}\nversion      {version}")
}

#[cfg(test)]
mod tests {
    use super::super::view::sample;
    use super::*;

    #[test]
    fn shows_what_the_kind_has() {
        let file = text(&Entry { open: true, ..sample() });
        assert!(file.contains("kind         file, being written\nlength       5 (5)\nreplication  3\n"), "{file}");
        assert!(file.contains("owner        alice\ngroup        staff\nmode         0644 (-rw-r--r--)\n"), "{file}");
        let directory = text(&Entry { kind: "directory", ..sample() });
        assert!(!directory.contains("replication") && directory.contains("2026-01-01T00:00:00Z"), "{directory}");
    }
}
