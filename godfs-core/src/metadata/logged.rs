//! Rows in memory over the commit log on a disk, for simulations that take the power away.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::changes::{Announced, RecentChanges};
use super::layer::{Layer, Writes};
use super::log::{self, Batch, LogWriter, OpenLog, Point, RecordNumber};
use super::{Announcements, MetadataStore, Place, ReadBox, Space, TransactionBox, overlay};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};
use crate::io::{Io, create_dir_all_synced};

/// How much memory changes take, in bytes.
const CHANGE_BYTES: usize = 4 << 20;
/// How long a segment of the log is, in bytes: short, so that a simulation passes from one to the next.
const SEGMENT_BYTES: u64 = 256 << 10;

/// A metadata store whose rows are in memory and whose commit log is that of [`FjallStore`](super::FjallStore), for simulations.
///
/// Everything happens inline, one transaction and one record after another, so that equal calls in equal order give equal stores. Nothing is
/// trimmed: opening it brings back every row from the log. As with the durable store, a failed write or sync of the log poisons it until it is opened
/// again.
#[derive(Debug)]
pub struct LoggedStore {
    incarnation: Incarnation,
    rows: RwLock<Rows>,
    last: watch::Sender<Version>,
}

#[derive(Debug)]
struct Rows {
    version: Version,
    writes: Writes,
    changes: RecentChanges,
    /// `None` once it has failed, or the store is closed.
    log: Option<LogWriter>,
}

impl LoggedStore {
    /// Opens the store in `folder`, and creates it where there is none. `incarnation` is that of a new one.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the log is damaged, and what the disk says.
    pub fn open(folder: &Path, io: &Arc<dyn Io>, env: &Env, incarnation: Incarnation) -> Result<Self> {
        let failed = |error| Error::io(format_args!("open a metadata store in {}", folder.display()), error);
        let version = Version::default();
        let changes = RecentChanges::new(version.next(), CHANGE_BYTES);
        let mut rows = Rows { version, writes: Writes::default(), changes, log: None };
        let log = OpenLog {
            io: Arc::clone(io),
            folder: folder.to_owned(),
            segment_bytes: SEGMENT_BYTES,
            retain_bytes: u64::MAX,
            incarnation,
            random: Arc::clone(&env.random),
        };
        create_dir_all_synced(&**io, folder).map_err(failed)?;
        // The name of the first segment is durable before anything is answered, so without one nothing ever was.
        let begun = io.read_dir(folder).map_err(failed)?.iter().any(|entry| entry.name.ends_with(".seg"));
        rows.log = Some(match begun {
            false => log.create()?,
            true => log::open(log, Point::default(), RecordNumber::default(), &mut |_, batch| {
                rows.apply(&batch);
                Ok(())
            })?,
        });
        let last = watch::Sender::new(rows.version);
        Ok(Self { incarnation, rows: RwLock::new(rows), last })
    }
}

impl Rows {
    fn apply(&mut self, batch: &Batch) {
        for space in Space::ALL {
            for (key, value) in batch.writes.of(space) {
                match value {
                    Some(_) => self.writes.of_mut(space).insert(key.clone(), value.clone()),
                    None => self.writes.of_mut(space).remove(key),
                };
            }
        }
        batch.changes.iter().for_each(|change| self.changes.push(change.clone()));
        self.version = batch.last();
    }

    fn check(&self) -> Result<()> {
        match self.log {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Unavailable, "the metadata store is closed, or its log has failed")),
        }
    }
}

#[async_trait]
impl MetadataStore for LoggedStore {
    async fn transact(&self, mut body: TransactionBox) -> Result<(TransactionBox, Version)> {
        let mut rows = self.rows.write();
        rows.check()?;
        let version = rows.version.next();
        let executed = overlay::execute(&rows.writes, &mut *body, version)?;
        if executed.is_empty() {
            return Ok((body, rows.version));
        }
        let mut writes = Writes::default();
        for write in executed.writes {
            writes.of_mut(write.space).insert(write.key, write.value);
        }
        let changes = Announced::number(version, executed.changes).collect();
        let batch = Batch { first: version, count: 1, writes: Arc::new(writes), changes };
        let mut log = rows.log.take().ok_or_else(|| Error::new(ErrorKind::Internal, "checked above"))?;
        log.append(&batch)?;
        rows.log = Some(log);
        rows.apply(&batch);
        self.last.send_replace(version);
        Ok((body, version))
    }

    async fn read(&self, mut body: ReadBox) -> Result<ReadBox> {
        let rows = self.rows.read();
        rows.check()?;
        let layer: &dyn Layer = &rows.writes;
        overlay::read(layer, &mut *body)?;
        Ok(body)
    }

    async fn version(&self) -> Result<Version> {
        let rows = self.rows.read();
        rows.check().map(|()| rows.version)
    }

    async fn changes(&self, from: Place, limit: usize) -> Result<Announcements> {
        let rows = self.rows.read();
        rows.check()?;
        from.check(self.incarnation, rows.version)?;
        rows.changes.read(from, rows.version, limit).ok_or_else(|| from.trimmed(rows.changes.oldest()))
    }

    async fn oldest_change(&self) -> Result<Place> {
        let rows = self.rows.read();
        rows.check().map(|()| Place::before(self.incarnation, rows.changes.oldest()))
    }

    async fn newer_than(&self, since: Version) -> Result<Version> {
        let mut last = self.last.subscribe();
        loop {
            let version = *last.borrow_and_update();
            self.rows.read().check()?;
            if version > since {
                return Ok(version);
            }
            last.changed().await.map_err(|_| Error::new(ErrorKind::Unavailable, "the metadata store is gone"))?;
        }
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn close(&self) -> Result<()> {
        self.rows.write().log = None;
        self.last.send_modify(|_| ());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimIo;
    use crate::metadata::conformance::{self, StoreFactory};
    use crate::metadata::{MetadataStoreExt, Transaction};

    #[derive(Debug)]
    struct Logged;

    fn open(io: &SimIo) -> LoggedStore {
        let (io, incarnation): (Arc<dyn Io>, _) = (Arc::new(io.clone()), Incarnation::from_random(1));
        LoggedStore::open(Path::new("/log"), &io, &Env::simulated(1), incarnation).expect("open")
    }

    #[async_trait]
    impl StoreFactory for Logged {
        async fn create(&self) -> Arc<dyn MetadataStore> {
            Arc::new(open(&SimIo::new(1)))
        }
    }

    #[tokio::test]
    async fn logged_conforms() {
        conformance::all(&Logged).await;
    }

    #[tokio::test]
    async fn what_was_answered_outlives_power() {
        for seed in 0..20 {
            let disk = SimIo::new(seed);
            let store = open(&disk);
            let mut answered = 0_u64;
            disk.cut_power_at(20 + seed);
            for n in 0..100_u64 {
                let put = move |txn: &mut dyn Transaction| {
                    txn.put(Space::Rows, n.to_be_bytes()[..].into(), vec![7; 3_000].into());
                    Ok(())
                };
                match store.commit(put).await {
                    Ok(_) => answered = n + 1,
                    Err(error) => assert_ne!(error.kind(), ErrorKind::Corrupt, "{error}"),
                }
            }
            assert!((1..100).contains(&answered));
            let found = open(&disk.crash(seed)).version().await.expect("version").0;
            assert!((answered..=answered + 1).contains(&found), "{answered} answered, {found} found");
        }
    }
}
