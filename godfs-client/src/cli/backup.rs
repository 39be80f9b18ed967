//! `admin backup`: all metadata in one local file.

use std::fs::File;
use std::io::{BufReader, Seek, Write};
use std::path::Path;

use futures::stream::TryStreamExt;
use godfs_core::namespace::{Manifest, verify_export};
use godfs_core::{Error, ErrorKind};

use super::args::BackupArgs;
use super::context::Context;
use super::failure::Outcome;
use super::output::Output;
use super::progress::Progress;
use super::view::Backup;

/// Runs `admin backup`.
pub(super) async fn backup(context: &Context, args: &BackupArgs, output: &mut Output) -> Outcome {
    let shown = args.file.display();
    let failed = |error| Error::io(format_args!("write {shown}"), error);
    if !args.force && args.file.exists() {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("{shown}; -f replaces it")).into());
    }
    let folder = match args.file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Under its name only when it is whole, checked and on disk; removed when the verb is interrupted.
    let mut staged = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut pieces = context.client.backup().await?;
    let progress = Progress::bytes(None, context.quiet());
    let mut written = 0;
    while let Some(piece) = pieces.try_next().await? {
        if piece.data.is_empty() {
            progress.say(&format!("{} rows", piece.rows));
            continue;
        }
        staged.write_all(&piece.data).map_err(failed)?;
        written += piece.data.len() as u64;
        progress.set(written, piece.total);
    }
    progress.clear();
    staged.as_file().sync_all().and_then(|()| staged.as_file_mut().rewind()).map_err(failed)?;
    let manifest = verify_export(BufReader::new(staged.as_file()))?;
    if args.force {
        staged.persist(&args.file).map_err(|error| failed(error.error))?;
    } else {
        staged.persist_noclobber(&args.file).map_err(|error| failed(error.error))?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    let Manifest { cluster, version, rows, files, directories, chunks, .. } = manifest;
    if output.json() {
        let (cluster_id, version) = (cluster.to_string(), version.get());
        return output.object(&Backup { cluster_id, version, rows, bytes: written, files, directories, chunks });
    }
    output.line(&format!("{files} files, {directories} directories, {chunks} chunks in {rows} rows: {written} bytes"))
}
