//! Backups over the wire: all rows of one moment are written to an unnamed file first, so that a slow caller holds a file and not a moment
//! of the store, and are sent from there.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use godfs_client::transport::status;
use godfs_core::namespace::{Namespace, Spool};
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tonic::Status;

use super::state::State;

/// Bytes of a piece.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that are read before the caller has taken them.
pub(super) const READ_AHEAD: usize = 2;
/// How often a caller hears how many rows are written down.
const TELL_EVERY: Duration = Duration::from_millis(200);

type Pieces = mpsc::Sender<Result<v1::BackupPiece, Status>>;

/// Sends a backup until it is whole or the caller goes away. One at a time: each takes as much room as the metadata.
pub(super) async fn send(state: Arc<State>, namespace: Namespace, pieces: Pieces) {
    let Ok(_turn) = state.backups.try_lock() else {
        let busy = Error::new(ErrorKind::LimitExceeded, "another backup is under way: wait for its end");
        let _ = pieces.send(Err(status::to_status(&busy))).await;
        return;
    };
    let done = tokio::select! {
        biased;
        // The caller has gone, or the namenode ends: reading may be given up anywhere, and the file has no name.
        () = pieces.closed() => return,
        () = state.tasks.ending().cancelled() => Err(Error::new(ErrorKind::Unavailable, "the namenode is stopping")),
        done = run(&state, &namespace, &pieces) => done,
    };
    if let Err(error) = done {
        // Whoever went away does not want to hear of it.
        let _ = pieces.send(Err(status::to_status(&error))).await;
    }
}

async fn run(state: &State, namespace: &Namespace, pieces: &Pieces) -> Result<()> {
    let failed = |error| Error::io("write a backup down", error);
    let folder = state.spool_folder.clone();
    let file = state
        .env
        .blocking(move || folder.map_or_else(tempfile::tempfile, tempfile::tempfile_in))
        .await
        .map_err(failed)?;
    let counted = Arc::new(AtomicU64::new(0));
    let mut export = std::pin::pin!(namespace.export(Buffered(BufWriter::new(file)), Arc::clone(&counted)));
    let mut tell = tokio::time::interval(TELL_EVERY);
    let (spool, manifest) = loop {
        // Both arms are cancel-safe: the export is pinned and goes on.
        tokio::select! {
            done = &mut export => break done?,
            _ = tell.tick() => {
                let rows = counted.load(Ordering::Relaxed);
                if pieces.send(Ok(v1::BackupPiece { rows, ..Default::default() })).await.is_err() {
                    return Ok(());
                }
            }
        }
    };
    let mut file = spool.0.into_inner().map_err(|error| failed(error.into_error()))?;
    let total = file.seek(SeekFrom::End(0)).and_then(|total| file.rewind().map(|()| total)).map_err(failed)?;
    loop {
        let read = move || {
            let mut data = Vec::with_capacity(PIECE_BYTES);
            let read = (&file).take(PIECE_BYTES as u64).read_to_end(&mut data);
            read.map(|_| (file, data))
        };
        let data;
        (file, data) = state.env.blocking(read).await.map_err(|error| Error::io("read a backup", error))?;
        if data.is_empty() {
            return Ok(());
        }
        let piece = v1::BackupPiece { data: data.into(), rows: manifest.rows, total };
        if pieces.send(Ok(piece)).await.is_err() {
            return Ok(());
        }
    }
}

/// A file behind a buffer.
struct Buffered(BufWriter<File>);

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Spool for Buffered {
    fn restart(&mut self) -> std::io::Result<()> {
        self.0.flush()?;
        self.0.get_mut().restart()
    }
}
