//! Creating a store, opening one, and bringing its rows up to the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::apply::Applier;
use super::cache::RowCache;
use super::commit::Committer;
use super::pipeline::Pipeline;
use super::reserve::Reserve;
use super::rows::RowStore;
use super::state::State;
use super::sync::Syncer;
use super::view::View;
use super::{FjallOptions, FjallStore, Running};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Incarnation, Version};
use crate::io::{Io, LockGuard, create_dir_all_synced, publish};
use crate::metadata::layer::Writes;
use crate::metadata::log::{self, LogWriter, OpenLog, Point};

/// How many may read changes from the log at once, each with a record in memory.
const LOG_READERS: usize = 2;

/// Everything that the threads of a store need.
pub(super) struct Parts {
    pub(super) lock: Box<dyn LockGuard>,
    pub(super) log: LogWriter,
    pub(super) rows: RowStore,
    /// Where log and rows are.
    pub(super) state: State,
    /// How much the rows hold that is not persisted, in bytes.
    pub(super) unpersisted: usize,
    /// See [`Applier`].
    #[cfg(test)]
    pub(super) persisted: Option<Box<dyn FnMut() + Send>>,
}

impl Parts {
    fn new(lock: Box<dyn LockGuard>, log: LogWriter, rows: RowStore, state: State, unpersisted: usize) -> Self {
        Self {
            lock,
            log,
            rows,
            state,
            unpersisted,
            #[cfg(test)]
            persisted: None,
        }
    }
}

pub(super) fn create(folder: &Path, options: &FjallOptions, io: Arc<dyn Io>, env: Env) -> Result<FjallStore> {
    let failed = |error| Error::io(format_args!("create a metadata store in {}", folder.display()), error);
    create_dir_all_synced(&*io, folder).map_err(failed)?;
    let lock = lock(folder, &*io)?;
    let marker = folder.join("store.new");
    claim(folder, &marker, &*io)?;
    publish(&*io, &marker, b"a store is being created here\n").map_err(failed)?;
    clear(folder, &*io).map_err(failed)?;

    let incarnation = Incarnation::from_random(env.random.next_u128());
    let state = State { incarnation, point: Point::default(), version: Version(0) };
    let how = open_log(folder, options, &io, &env, incarnation);
    // Log and rows wait for the disk more often than anything else does, so they do it side by side.
    let (log, rows) = std::thread::scope(|scope| {
        let log = scope.spawn(|| {
            create_dir_all_synced(&*io, &how.folder).map_err(failed)?;
            how.create()
        });
        let rows = RowStore::create(&rows_folder(folder), options).and_then(|rows| {
            rows.apply(&Writes::default(), &state)?;
            rows.persist()?;
            Ok(rows)
        });
        (log.join(), rows)
    });
    let log = log.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let rows = rows?;
    // The name of fjall's folder is made durable by this, too.
    state.save(&*io, folder)?;
    io.remove_file(&marker).map_err(failed)?;
    Ok(start(Parts::new(lock, log, rows, state, 0), folder, options, io, env))
}

pub(super) fn open(folder: &Path, options: &FjallOptions, io: Arc<dyn Io>, env: Env) -> Result<FjallStore> {
    let parts = recover(folder, options, &io, &env)?;
    Ok(start(parts, folder, options, io, env))
}

/// Opens log and rows, and brings the rows to where the log is.
pub(super) fn recover(folder: &Path, options: &FjallOptions, io: &Arc<dyn Io>, env: &Env) -> Result<Parts> {
    // Before the lock, which leaves a file in whatever folder it is given; and again under it.
    State::load(&**io, folder)?;
    let lock = lock(folder, &**io)?;
    let persisted = State::load(&**io, folder)?;
    let rows = open_rows(folder, options)?;
    let mut state = rows.applied()?.ok_or_else(|| disagree(folder, "the rows are empty"))?;
    if state.incarnation != persisted.incarnation {
        return Err(disagree(folder, "the rows are those of another store"));
    }
    if state.point.number < persisted.point.number {
        return Err(disagree(
            folder,
            &format!(
                "the rows are at record {}, older than record {} up to which they were persisted",
                state.point.number, persisted.point.number
            ),
        ));
    }
    let mut unpersisted = 0;
    let how = open_log(folder, options, io, env, persisted.incarnation);
    let least = state.point.number;
    let log = log::open(how, persisted.point, least, &mut |point, batch| {
        unpersisted += batch.writes.bytes();
        if point.number == state.point.number && point.seal != state.point.seal {
            return Err(disagree(folder, &format!("the rows hold another record {} than the log", point.number)));
        }
        if point.number > state.point.number {
            if batch.first != state.version.next() {
                return Err(disagree(folder, &format!("record {} does not go on at {}", point.number, state.version)));
            }
            state = State { point, version: batch.last(), ..state };
            rows.apply(&batch.writes, &state)?;
        }
        Ok(())
    })?;
    debug_assert_eq!(log.end(), state.point, "every record is applied");
    Ok(Parts::new(lock, log, rows, state, unpersisted))
}

pub(super) fn start(parts: Parts, folder: &Path, options: &FjallOptions, io: Arc<dyn Io>, env: Env) -> FjallStore {
    let Parts { lock, log, rows, state, unpersisted, .. } = parts;
    let cache = Arc::new(RowCache::new(options.row_cache_bytes));
    let view = View::new(state.version, state.point.number, rows.snapshot(), Arc::clone(&cache));
    let pipeline = Arc::new(Pipeline::new(view, options.recent_change_bytes));
    let segments = Arc::clone(log.segments());
    let log_segments = Arc::clone(&segments);
    let reserve = Reserve::new(Arc::clone(&io), folder.to_owned(), options.reserve_bytes);
    let committer =
        Committer::new(Arc::clone(&pipeline), options.batch_bytes, reserve, state.version, state.point.number);
    let syncer = Syncer { pipeline: Arc::clone(&pipeline), log, unapplied_bytes: options.unapplied_bytes };
    let applier = Applier {
        pipeline: Arc::clone(&pipeline),
        rows,
        cache,
        segments,
        io,
        folder: folder.to_owned(),
        state,
        unpersisted,
        persist_bytes: options.persist_bytes,
        #[cfg(test)]
        persisted: parts.persisted,
    };
    let threads = vec![
        spawn("godfs-commit", &pipeline, move || committer.run()),
        spawn("godfs-sync", &pipeline, move || syncer.run()),
        spawn("godfs-apply", &pipeline, move || applier.run()),
    ];
    FjallStore {
        pipeline,
        incarnation: state.incarnation,
        env,
        // One at least, or nobody would ever come through.
        in_flight: Arc::new(Semaphore::new(options.transactions_in_flight.clamp(1, Semaphore::MAX_PERMITS))),
        readers: Arc::default(),
        segments: log_segments,
        log_readers: Arc::new(Semaphore::new(LOG_READERS)),
        running: Arc::new(Mutex::new(Some(Running { threads: threads.into_iter().flatten().collect(), lock }))),
    }
}

/// Starts a thread whose end by panic, or whose absence, poisons the store: nobody is left waiting for it.
fn spawn(name: &str, pipeline: &Arc<Pipeline>, run: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    let guarded = Arc::clone(pipeline);
    let work = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            guarded.fail(&Error::new(ErrorKind::Internal, "a thread of the metadata store panicked"));
        }
    };
    match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(thread) => Some(thread),
        Err(error) => {
            pipeline.fail(&Error::io(format_args!("start the thread {name}"), error));
            None
        }
    }
}

fn lock(folder: &Path, io: &dyn Io) -> Result<Box<dyn LockGuard>> {
    io.lock(folder).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::new(
            ErrorKind::Unavailable,
            format!("the metadata store in {} is open in another process", folder.display()),
        ),
        _ => Error::io(format_args!("lock {}", folder.display()), error),
    })
}

/// Refuses a folder that holds a store or anything that is not ours.
fn claim(folder: &Path, marker: &Path, io: &dyn Io) -> Result<()> {
    let failed = |error| Error::io(format_args!("look into {}", folder.display()), error);
    let store = State::path(folder);
    let entries = io.read_dir(folder).map_err(failed)?;
    if io.exists(&store).map_err(failed)? {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("there is a metadata store in {}", folder.display())));
    }
    let marker = marker.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let interrupted = entries.iter().any(|entry| entry.name == marker);
    let foreign = entries.iter().find(|entry| entry.name != "LOCK" && entry.name != format!("{marker}.tmp"));
    match foreign {
        Some(entry) if !interrupted => Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("{} holds {:?}, which is no metadata store: give an empty folder", folder.display(), entry.name),
        )),
        _ => Ok(()),
    }
}

/// Removes what an interrupted creation left.
fn clear(folder: &Path, io: &dyn Io) -> io::Result<()> {
    let log = log_folder(folder);
    if io.exists(&log)? {
        for entry in io.read_dir(&log)? {
            io.remove_file(&log.join(entry.name))?;
        }
        io.sync_dir(&log)?;
    }
    match std::fs::remove_dir_all(rows_folder(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_rows(folder: &Path, options: &FjallOptions) -> Result<RowStore> {
    let rows = rows_folder(folder);
    match rows.try_exists() {
        Ok(true) => RowStore::open(&rows, options),
        Ok(false) => Err(disagree(folder, "the rows are gone")),
        Err(error) => Err(Error::io(rows.display(), error)),
    }
}

fn open_log(folder: &Path, options: &FjallOptions, io: &Arc<dyn Io>, env: &Env, incarnation: Incarnation) -> OpenLog {
    OpenLog {
        io: Arc::clone(io),
        folder: log_folder(folder),
        segment_bytes: options.segment_bytes,
        retain_bytes: options.retained_log_bytes,
        incarnation,
        random: Arc::clone(&env.random),
    }
}

fn log_folder(folder: &Path) -> PathBuf {
    folder.join("log")
}

fn rows_folder(folder: &Path) -> PathBuf {
    folder.join("rows")
}

fn disagree(folder: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "{what} (in {}): a part of the store was damaged, lost or brought back from an older copy; restore the whole \
             folder from one backup",
            folder.display()
        ),
    )
}
