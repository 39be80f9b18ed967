//! The namespace: names, files, chunks and where they are, as synchronous decisions over a transaction.
//!
//! [`Namespace`] is a façade: each of its methods runs one function of a file of this folder through the store. Those
//! functions read and write rows (`rows/`), do no I/O of their own and keep nothing between calls, so any number
//! of namenodes can serve over one store. What needs the cluster at one moment (which nodes are live, where new
//! replicas go, when a session has expired) is decided outside and passed in.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::chunk::Replica;
use crate::env::Env;
use crate::error::{Error, Result};
#[cfg(any(test, feature = "testing"))]
use crate::id::NodeUuid;
use crate::id::{ChunkId, ClusterId, Generation, InodeId, LeaseId, NodeId, SessionId, Version};
use crate::metadata::{MetadataStore, MetadataStoreExt, Place, Snapshot, Step, Transaction};
use crate::path::DfsPath;

#[macro_use]
mod numbered;

mod access;
mod acl;
mod acls;
mod answers;
mod append;
mod caller;
mod changes;
mod collector;
mod compose;
mod concat;
mod deletes;
mod directories;
mod export;
mod files;
#[cfg(any(test, feature = "testing"))]
mod fill;
mod flat;
mod generations;
mod held;
mod import;
mod invariants;
mod leases;
mod limits;
mod links;
mod locations;
mod names;
mod nodes;
mod options;
mod outcome;
mod owners;
mod paths;
mod prune;
mod quotas;
mod reach;
mod reads;
mod recovery;
mod replication;
mod reports;
mod rows;
mod sessions;
mod settings;
mod sight;
mod store;
pub mod sums;
mod times;
mod trash;
mod truncate;
mod usage;
mod walk;
mod xattrs;

pub use acl::{Acl, AclChange, AclEntry, AclPlace, AclSubject, MAX_ACL_ENTRIES, parse_acl, parse_acl_subjects};
pub use answers::{
    AddedChunk, Appended, ChunkInfo, ChunkLocation, Collected, CollectorPlace, Committed, Completion, Created,
    CreatedWithChunk, FileKind, FileStatus, FlatEntry, FlatPage, LeaseInfo, ListEntry, Located, NodeHoldings, NodeInfo,
    OpenFileInfo, Quota, QuotaChange, RecoveryPlan, ReplicaPlace, SessionInfo, TotalCounts, TrashItem, Truncated,
    Usage, Verdict, WalkEntry, WalkPage,
};
pub use caller::{ANONYMOUS, Caller, MAX_GROUPS, MAX_PRINCIPAL_BYTES, SUPERGROUP, check_principal};
pub use changes::{Attribute, Change, ChangeKind, ChangePage, WatchFrom};
pub use compose::{MAX_PART_CHUNKS, MAX_PARTS};
pub use concat::{MAX_CONCAT_CHUNKS, MAX_CONCAT_FILES};
pub use export::{Manifest, Spool, verify as verify_export};
pub use files::MAX_FILE_BYTES;
#[cfg(any(test, feature = "testing"))]
pub use fill::Fill;
pub use held::Held;
pub use import::import;
pub use invariants::Violation;
pub use links::MAX_TARGET_BYTES;
pub use options::{
    AddChunk, Call, ChunkCommit, Complete, Compose, CreateOptions, DEFAULT_UMASK, ETag, FileRef, FlatOptions,
    LocateRange, MAX_SESSION_NAME_BYTES, MODE_BITS, MkdirOptions, NewMode, NewOwner, Owner, Registration, Rename,
    SetXattr, Symlink, Times, Unlink, WalkOptions, Writing, XattrMode,
};
pub use reports::{RangeSum, ReplicaEvent};
pub use rows::FORMAT_VERSION;
pub use settings::{
    MAX_DIRECTORY_ENTRIES, MAX_FILE_CHUNKS, MAX_OPEN_CHUNKS, MAX_REPLICATION, MAX_SLOTS, MAX_SMALL_FILE_BYTES,
    MAX_XATTR_BYTES, MAX_XATTRS, NamespaceSettings,
};
pub use sight::WatchPlace;
pub use trash::TRASH;
pub use xattrs::{MAX_XATTR_NAME_BYTES, Xattr};

/// The most rows that one page of any listing has; larger wishes are cut to it.
pub const MAX_PAGE: usize = 10_000;
/// Holds the leases of files whose writer is gone until they are recovered: the namenode's own session.
pub const RECOVERY_SESSION: SessionId = rows::RECOVERY;

/// What an operation knows besides its arguments.
#[derive(Clone, Debug)]
struct Context {
    settings: Arc<NamespaceSettings>,
    /// Wall clock, milliseconds since 1970, taken once for all runs of a body.
    now_ms: u64,
    /// Who makes the call.
    caller: Arc<Caller>,
    /// The caller may do everything, or nobody asks.
    may_all: bool,
}

/// The namespace over a metadata store. Cheap to clone.
///
/// Mutating methods are durable when they return. Those that take a [`Call`] are safe to repeat: the same (session, slot,
/// sequence) gets the first answer, also after a restart. A call that is refused changes nothing and is not recorded.
///
/// It acts for the namenode itself, which may do everything; [`by`](Namespace::by) gives the same namespace as another caller finds it.
#[derive(Clone, Debug)]
pub struct Namespace {
    store: Arc<dyn MetadataStore>,
    settings: Arc<NamespaceSettings>,
    env: Env,
    caller: Arc<Caller>,
    /// Who made the cluster, once it was asked for. It never changes, so any number of namenodes may remember it.
    superuser: Arc<OnceLock<String>>,
}

impl Namespace {
    /// Over `store`, which must be [initialised](Namespace::initialize), now or earlier.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for settings out of bounds.
    pub fn new(store: Arc<dyn MetadataStore>, settings: NamespaceSettings, env: Env) -> Result<Self> {
        settings.check()?;
        let caller = Arc::new(Caller::system());
        Ok(Self { store, settings: Arc::new(settings), env, caller, superuser: Arc::default() })
    }

    /// The same namespace, with what `caller` may do there. Methods that take a [`DfsPath`] or a [`FileRef`] fail with
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) for the rest, naming the path, the user and the right that is missing; calls under a lease need no
    /// further right; all else is the namenode's own business and is not asked about.
    #[must_use]
    pub fn by(&self, caller: Caller) -> Self {
        Self { caller: Arc::new(caller), ..self.clone() }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &NamespaceSettings {
        &self.settings
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn MetadataStore> {
        &self.store
    }

    /// The caller may do everything: for what operators do, `what` for example `scrub`.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied).
    pub async fn require_superuser(&self, what: &str) -> Result<()> {
        access::operator(&self.context().await?, what)
    }

    // The store as a whole.

    /// Makes a new cluster in an empty store, with a root that belongs to `owner`, whose user is the superuser from then on; in any other does
    /// nothing. Gives back the cluster's id.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible) when the rows are of another format.
    pub async fn initialize(&self, owner: Owner) -> Result<ClusterId> {
        let cluster = ClusterId::from_random(self.env.random.next_u128());
        self.commit(move |txn, context| store::initialize(txn, context, cluster, &owner)).await
    }

    /// The id of the cluster.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the store is empty, [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible) when its rows are of another
    /// format.
    pub async fn cluster(&self) -> Result<ClusterId> {
        self.view(store::cluster).await
    }

    /// A namenode begins to work on this store: a transaction that changes nothing but the version, which is the namenode's alone.
    ///
    /// # Errors
    /// As for [`Namespace::cluster`].
    pub async fn begin_life(&self) -> Result<Version> {
        let ((), version) = self.store.commit(|txn| store::touch(txn)).await?;
        Ok(version)
    }

    /// Counts over everything, in O(1).
    pub async fn totals(&self) -> Result<TotalCounts> {
        self.view(store::totals).await
    }

    /// Checks every invariant over all rows at one moment. Reads everything: for tests and for stores that nobody waits
    /// for.
    pub async fn check(&self) -> Result<Vec<Violation>> {
        self.store.view_long(invariants::check_all).await
    }

    /// The names of all invariants, in the order in which [`check`](Self::check) looks at them.
    pub fn invariants() -> impl Iterator<Item = &'static str> {
        invariants::names()
    }

    /// Checks one invariant over all rows at one moment.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a name that is none.
    pub async fn check_invariant(&self, name: &str) -> Result<Vec<Violation>> {
        let name = name.to_owned();
        self.store.view_long(move |snapshot| invariants::check_one(snapshot, &name)).await
    }

    /// Writes all rows of one moment to `spool`, in a [portable stream](verify_export) that [`import`] reads into any empty store. Holds a snapshot of the
    /// store for as long as that takes, and no more of it in memory than a block. `counted` follows the rows that are written.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) unless the caller may do everything; what the spool says.
    pub async fn export<S: Spool + 'static>(&self, spool: S, counted: Arc<AtomicU64>) -> Result<(S, Manifest)> {
        let origin = (self.store.incarnation(), self.store.version().await?);
        let mut spool = Some(spool);
        let context = self.context().await?;
        let write = move |snapshot: &mut dyn Snapshot| {
            let mut taken =
                spool.take().ok_or_else(|| Error::new(crate::ErrorKind::Internal, "the spool was given away"))?;
            match export::write(snapshot, &context, origin, &mut taken, &counted) {
                Ok(manifest) => Ok((taken, manifest)),
                // It may have to begin anew.
                Err(abort) => {
                    spool = Some(taken);
                    Err(abort)
                }
            }
        };
        self.store.view_long(write).await
    }

    /// Writes the rows of many files at once, for measuring.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) when one is there, and as for [`mkdir`](Self::mkdir).
    #[cfg(any(test, feature = "testing"))]
    pub async fn fill(&self, request: Fill) -> Result<()> {
        self.commit(move |txn, context| fill::fill(txn, context, &request)).await
    }

    /// Registers a node that nobody has heard from and that is never given up, to hold the replicas of such files.
    #[cfg(any(test, feature = "testing"))]
    pub async fn expect_node(&self, uuid: NodeUuid) -> Result<NodeId> {
        self.commit(move |txn, _| fill::expect_node(txn, uuid)).await
    }

    // Sessions and leases.

    /// Registers a client. `name` is for reports.
    pub async fn open_session(&self, name: String) -> Result<SessionId> {
        let session = SessionId(self.env.random.next_u64());
        self.commit(move |txn, context| sessions::open(txn, context, session, &name)).await
    }

    /// Keeps a session alive: its row gets a new version.
    ///
    /// # Errors
    /// [`ErrorKind::SessionLost`](crate::ErrorKind::SessionLost) when it has ended.
    pub async fn renew_session(&self, session: SessionId) -> Result<()> {
        self.commit(move |txn, context| sessions::renew(txn, context, session)).await
    }

    /// Ends a session; one that is unknown has ended. Files that it has open are closed, or await recovery under
    /// [`RECOVERY_SESSION`]. Also goes on with the end of a session that was cut off.
    pub async fn end_session(&self, session: SessionId) -> Result<()> {
        self.commit(move |txn, _| sessions::end(txn, session, None)).await?;
        self.hand_over(session).await
    }

    /// Ends a session that still has the version at which it was seen a timeout ago. False when it was renewed.
    pub async fn expire_session(&self, session: SessionId, unchanged: Version) -> Result<bool> {
        let ended = self.commit(move |txn, _| sessions::end(txn, session, Some(unchanged))).await?;
        if ended {
            self.hand_over(session).await?;
        }
        Ok(ended)
    }

    /// Takes a file from a writer that has been silent for too long and has not renewed its session since: it is closed, or awaits recovery under
    /// [`RECOVERY_SESSION`]. False when the writer was heard of, or has the lease no more; nothing is done then.
    pub async fn take_from_silent(&self, held: Held) -> Result<bool> {
        self.commit(move |txn, context| held::take(txn, context, &held)).await
    }

    /// Sessions with ids above `after`, in order; fewer than `limit` only at the end.
    pub async fn sessions(&self, after: SessionId, limit: usize) -> Result<Vec<SessionInfo>> {
        self.view(move |snapshot| sessions::page(snapshot, after, limit)).await
    }

    /// The leases of a session with ids above `after`, in order; fewer than `limit` only at the end. Those of
    /// [`RECOVERY_SESSION`] are the files that await recovery.
    pub async fn leases(&self, session: SessionId, after: LeaseId, limit: usize) -> Result<Vec<LeaseInfo>> {
        self.view(move |snapshot| leases::of_session(snapshot, session, after, limit)).await
    }

    /// Open files with leases above `after`, in order; fewer than `limit` only at the end. For superusers.
    pub async fn open_files(&self, after: LeaseId, limit: usize) -> Result<Vec<OpenFileInfo>> {
        self.read(move |snapshot, context| leases::open_files(snapshot, context, after, limit)).await
    }

    // Directories, names, deletes.

    /// Makes a directory.
    pub async fn mkdir(&self, call: Call, path: DfsPath, options: MkdirOptions) -> Result<InodeId> {
        self.call(move |txn, context| directories::mkdir(txn, context, call, &path, &options)).await
    }

    /// Renames a file or directory, with all below it, in one step.
    pub async fn rename(&self, call: Call, request: Rename) -> Result<()> {
        self.call(move |txn, context| names::rename(txn, context, call, &request)).await
    }

    /// Has two files or directories change places in one step.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when one lies in the other.
    pub async fn exchange(&self, call: Call, first: DfsPath, second: DfsPath) -> Result<()> {
        self.call(move |txn, context| names::exchange(txn, context, call, &first, &second)).await
    }

    /// Makes a symbolic link. No operation follows one: where a path leads through a link, or ends in one and the operation wants what it leads to,
    /// the error is of [`ErrorKind::Symlink`](crate::ErrorKind::Symlink) and carries what it takes to go on.
    pub async fn symlink(&self, call: Call, request: Symlink) -> Result<InodeId> {
        self.call(move |txn, context| links::make(txn, context, call, &request)).await
    }

    /// Deletes a file or directory. Readers of a file keep what they have opened until the collector comes by; a writer
    /// loses its lease.
    pub async fn delete(&self, call: Call, path: DfsPath, recursive: bool) -> Result<()> {
        self.call(move |txn, context| deletes::delete(txn, context, call, &path, recursive)).await
    }

    /// Deletes a file, and the directories above it that it leaves empty.
    ///
    /// # Errors
    /// [`ErrorKind::IsADirectory`](crate::ErrorKind::IsADirectory) when there is no file.
    pub async fn unlink(&self, call: Call, request: Unlink) -> Result<()> {
        self.call(move |txn, context| prune::unlink(txn, context, call, &request)).await
    }

    /// Moves a file or directory to the trash; gives back where it is there. In the trash itself, or when [`trash_expiry`](NamespaceSettings::trash_expiry)
    /// is 0, it goes for good. Readers and a writer of a file go on.
    pub async fn trash(&self, call: Call, path: DfsPath, recursive: bool) -> Result<Option<DfsPath>> {
        self.call(move |txn, context| trash::delete(txn, context, call, &path, recursive)).await
    }

    /// Takes an item out of the trash: to `to`, or where it was. `parents` makes the directories above that are missing. Gives back where it is.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) when something stands there; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when the item is gone, or a directory above that
    /// place; [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for what is no item.
    pub async fn restore(&self, call: Call, item: DfsPath, to: Option<DfsPath>, parents: bool) -> Result<DfsPath> {
        let restored =
            self.call(move |txn, context| trash::restore(txn, context, call, &item, to.as_ref(), parents)).await?;
        restored.ok_or_else(|| Error::new(crate::ErrorKind::Internal, "restored to nowhere"))
    }

    /// What a user (without one, the caller) has in the trash, with names above `after`, in order; fewer than `limit` only at the end.
    pub async fn trash_items(&self, user: Option<String>, after: String, limit: usize) -> Result<Vec<TrashItem>> {
        self.read(move |snapshot, context| trash::list(snapshot, context, user.as_deref(), &after, limit)).await
    }

    /// Removes items of the trash whose time has come, some of them where there are many. Gives back how many: with 0 no more is due.
    pub async fn expire_trash(&self) -> Result<usize> {
        if !self.read(trash::is_due).await? {
            return Ok(0);
        }
        self.commit(trash::expire).await
    }

    // Files.

    /// Creates a file and gives the caller its lease.
    pub async fn create(&self, call: Call, path: DfsPath, options: CreateOptions) -> Result<Created> {
        self.call(move |txn, context| files::create(txn, context, call, &path, &options)).await
    }

    /// The same with the first chunk of the file, which goes to `nodes`, as many as the file wants: where there is none, without it.
    pub async fn create_with_chunk(
        &self,
        call: Call,
        path: DfsPath,
        options: CreateOptions,
        nodes: Vec<NodeId>,
    ) -> Result<CreatedWithChunk> {
        self.call(move |txn, context| files::create_with_chunk(txn, context, call, &path, &options, &nodes)).await
    }

    /// Creates a whole small file. `publish_on_close` means nothing here.
    pub async fn put(
        &self,
        call: Call,
        path: DfsPath,
        options: CreateOptions,
        data: Bytes,
    ) -> Result<Committed<InodeId>> {
        self.change(move |txn, context| files::put(txn, context, call, &path, &options, &data)).await
    }

    /// Gives the caller the lease of a closed file, to write on at its end.
    ///
    /// # Errors
    /// [`ErrorKind::BeingWritten`](crate::ErrorKind::BeingWritten), with [`Held`] as its source while it has a writer.
    pub async fn append(&self, call: Call, path: DfsPath) -> Result<Appended> {
        self.call(move |txn, context| append::append(txn, context, call, &path)).await
    }

    /// Opens the last chunk of an open file again, which is finished and not full, under a generation that is issued for it, on those of the nodes in
    /// `live` that hold it. The pipeline is made known by [`update_pipeline`](Self::update_pipeline) once it stands; until then readers go by the
    /// old generation.
    pub async fn reopen_chunk(&self, writing: Writing, live: Vec<NodeId>) -> Result<AddedChunk> {
        self.call(move |txn, context| append::reopen_chunk(txn, context, &writing, &live)).await
    }

    /// Makes a closed file shorter. Where the new end lies within a chunk, the file awaits recovery afterwards, until the chunk is cut on its nodes;
    /// readers see no more than the new length from the first moment on. Very many chunks go in several transactions, from the end: a call that is cut
    /// off in the middle, or whose file changes its name meanwhile, leaves a file that is shorter than it was and longer than asked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a length beyond the file's;
    /// [`ErrorKind::BeingWritten`](crate::ErrorKind::BeingWritten), with [`Held`] as its source while it has a writer.
    pub async fn truncate(&self, call: Call, path: DfsPath, length: u64) -> Result<Truncated> {
        let mut begun = None;
        loop {
            let path = path.clone();
            let step = move |txn: &mut dyn Transaction, context: &Context| {
                truncate::truncate(txn, context, call, &path, length, begun)
            };
            match self.commit(step).await? {
                truncate::Outcome::More(inode) => begun = Some(inode),
                truncate::Outcome::Done(truncated) => return Ok(truncated),
            }
        }
    }

    /// Moves the chunks of `sources`, in their order, to the end of `target`, in one step and without copying a byte; the sources go. All of them are
    /// closed, of one chunk size, and no small files.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a file that is named twice, or other chunk sizes;
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) for one that is small;
    /// [`ErrorKind::BeingWritten`](crate::ErrorKind::BeingWritten), with [`Held`] as its source while it has a writer.
    pub async fn concat(&self, call: Call, target: DfsPath, sources: Vec<DfsPath>) -> Result<()> {
        self.call(move |txn, context| concat::concat(txn, context, call, &target, &sources)).await
    }

    /// Makes a file of the chunks of others, the parts, in their order: it appears whole, and the directory of the parts goes, in one step.
    ///
    /// # Errors
    /// As for [`put`](Self::put); [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) without a part; [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition)
    /// for one that is a small file; [`ErrorKind::BeingWritten`](crate::ErrorKind::BeingWritten); [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for another chunk size than the
    /// file is to have, and parts that are named twice; [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) beyond [`MAX_PART_CHUNKS`].
    pub async fn compose(&self, call: Call, request: Compose) -> Result<Committed<InodeId>> {
        self.change(move |txn, context| compose::compose(txn, context, call, &request)).await
    }

    /// The nodes with a good, finalized replica of the last chunk of a file.
    pub async fn last_holders(&self, inode: InodeId) -> Result<Vec<NodeId>> {
        self.view(move |snapshot| append::last_holders(snapshot, inode)).await
    }

    /// Gives an open file its next chunk, and records chunks that are finished. Where its replicas go is the caller's to
    /// choose; [`stat`](Namespace::stat) of the inode says how many.
    pub async fn add_chunk(&self, writing: Writing, request: AddChunk) -> Result<AddedChunk> {
        self.call(move |txn, context| files::add_chunk(txn, context, &writing, &request)).await
    }

    /// Takes back the last chunk, which never took a byte that was acknowledged.
    pub async fn abandon_chunk(&self, writing: Writing, chunk: ChunkId) -> Result<()> {
        self.call(move |txn, context| files::abandon_chunk(txn, context, &writing, chunk)).await
    }

    /// Issues a new generation for an open chunk. Nobody may use the number before this returns.
    pub async fn issue_generation(&self, writing: Writing, chunk: ChunkId) -> Result<Generation> {
        self.call(move |txn, context| generations::issue(txn, context, &writing, chunk)).await
    }

    /// Says that a pipeline stands again, under the issued generation, on `nodes`.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`](crate::ErrorKind::Fenced) when another generation was issued since.
    pub async fn update_pipeline(
        &self,
        writing: Writing,
        chunk: ChunkId,
        generation: Generation,
        nodes: Vec<NodeId>,
    ) -> Result<()> {
        self.call(move |txn, context| generations::update_pipeline(txn, context, &writing, chunk, generation, &nodes))
            .await
    }

    /// Notes that `node` gets a copy of an open chunk, to join the pipeline that stands under `generation`, and gives it back; nothing for a
    /// node that has to do with the chunk already. It may be in the pipeline from then on, and is once
    /// [`update_pipeline`](Self::update_pipeline) says so.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`](crate::ErrorKind::Fenced) when another generation was issued since.
    pub async fn add_node(
        &self,
        writing: Writing,
        chunk: ChunkId,
        generation: Generation,
        node: Option<NodeId>,
    ) -> Result<Option<NodeId>> {
        self.call(move |txn, context| generations::add_node(txn, context, &writing, chunk, generation, node)).await
    }

    /// Stores the bytes of an open small file; all of them, each time.
    pub async fn store_small(&self, writing: Writing, data: Bytes) -> Result<()> {
        self.call(move |txn, context| files::store_small(txn, context, &writing, &data)).await
    }

    /// Records the last chunks of a file and closes it, unless a chunk has too few replicas yet. The version is the
    /// closed file's.
    pub async fn complete(&self, writing: Writing, request: Complete) -> Result<Committed<Completion>> {
        self.change(move |txn, context| files::complete(txn, context, &writing, &request)).await
    }

    /// Gives up an open file: one that was never published vanishes, another is closed with what was flushed, after a
    /// recovery where chunks are open.
    pub async fn abandon(&self, writing: Writing) -> Result<()> {
        self.call(move |txn, context| leases::abandon(txn, context, &writing)).await
    }

    /// Takes the lease of an open file from its writer. True when the file is closed now; else it awaits recovery.
    pub async fn recover_lease(&self, call: Call, path: DfsPath) -> Result<bool> {
        self.call(move |txn, context| leases::recover(txn, context, call, &path)).await
    }

    /// Sets how many replicas a file has. Chunks follow in several transactions where there are very many.
    pub async fn set_replication(&self, call: Call, path: DfsPath, replication: u16) -> Result<()> {
        let mut progress = None;
        loop {
            let path = path.clone();
            let step = move |txn: &mut dyn Transaction, context: &Context| {
                replication::set(txn, context, call, &path, replication, progress)
            };
            match self.commit(step).await? {
                replication::Outcome::More(next) => progress = Some(next),
                replication::Outcome::Done(_) => return Ok(()),
            }
        }
    }

    /// Sets times.
    pub async fn set_times(&self, call: Call, path: DfsPath, times: Times) -> Result<()> {
        self.call(move |txn, context| times::set(txn, context, call, &path, times)).await
    }

    // Attributes.

    /// Gives a file or directory to another user (which only the superuser may) or group (which the owner may, if it is one of the
    /// caller's).
    pub async fn set_owner(&self, call: Call, path: DfsPath, new: NewOwner) -> Result<()> {
        self.call(move |txn, context| owners::set_owner(txn, context, call, &path, &new)).await
    }

    /// Sets permission bits, at most [`MODE_BITS`]. Set-group-id is left out for an owner who is no member of the group.
    pub async fn set_mode(&self, call: Call, path: DfsPath, mode: u16) -> Result<()> {
        self.call(move |txn, context| owners::set_mode(txn, context, call, &path, mode)).await
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) and [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) where that is not as asked for;
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) beyond the bounds in the settings; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for another namespace than
    /// `user.` and `trusted.`.
    pub async fn set_xattr(&self, call: Call, path: DfsPath, request: SetXattr) -> Result<()> {
        self.call(move |txn, context| xattrs::set(txn, context, call, &path, &request)).await
    }

    /// Removes an extended attribute.
    pub async fn remove_xattr(&self, call: Call, path: DfsPath, name: String) -> Result<()> {
        self.call(move |txn, context| xattrs::remove(txn, context, call, &path, &name)).await
    }

    /// The extended attributes of these names, all of which must be there; for none, all that the caller may see.
    pub async fn xattrs(&self, path: DfsPath, names: Vec<String>) -> Result<Vec<Xattr>> {
        self.read(move |snapshot, context| xattrs::get(snapshot, context, &path, &names)).await
    }

    /// Changes access control lists.
    pub async fn set_acl(&self, call: Call, path: DfsPath, change: AclChange) -> Result<()> {
        self.call(move |txn, context| acls::set(txn, context, call, &path, &change)).await
    }

    /// The access control lists, base entries included.
    pub async fn acl(&self, path: DfsPath) -> Result<Acl> {
        self.read(move |snapshot, context| acls::get(snapshot, context, &path)).await
    }

    // Reading.

    /// The status of a file or directory.
    pub async fn stat(&self, file: FileRef) -> Result<FileStatus> {
        self.read(move |snapshot, context| reads::stat(snapshot, context, &file)).await
    }

    /// The status of what stands at a path, also of a symbolic link itself.
    pub async fn lstat(&self, path: DfsPath) -> Result<FileStatus> {
        self.read(move |snapshot, context| reads::lstat(snapshot, context, &path)).await
    }

    /// The entries of a directory with names above `after`, in the order of their bytes; fewer than `limit` only at the
    /// end.
    pub async fn list(&self, path: DfsPath, after: String, limit: usize) -> Result<Vec<ListEntry>> {
        self.read(move |snapshot, context| reads::list(snapshot, context, &path, &after, limit)).await
    }

    /// A file's status, its bytes if it is small, and its chunks in a range.
    pub async fn locate(&self, file: FileRef, range: LocateRange) -> Result<Located> {
        self.read(move |snapshot, context| reads::locate(snapshot, context, &file, &range)).await
    }

    /// As [`locate`](Self::locate), with the extended attributes of the same moment that the caller may see.
    pub async fn locate_with_xattrs(&self, file: FileRef, range: LocateRange) -> Result<(Located, Vec<Xattr>)> {
        let read = move |snapshot: &mut dyn Snapshot, context: &Context| {
            let located = reads::locate(snapshot, context, &file, &range)?;
            let xattrs = xattrs::of(snapshot, context, located.status.inode)?;
            Ok((located, xattrs))
        };
        self.read(read).await
    }

    /// The files below a directory under flat keys, which are their paths from it, a page of at most `limit` in the order of the bytes of the keys: those
    /// that are there throughout come exactly once. Directories without files do not show, nor do symbolic links.
    ///
    /// # Errors
    /// [`ErrorKind::NotADirectory`](crate::ErrorKind::NotADirectory); [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) where one of the directories may not be listed.
    pub async fn keys(&self, root: DfsPath, options: FlatOptions, limit: usize) -> Result<FlatPage> {
        self.read(move |snapshot, context| flat::page(snapshot, context, &root, &options, limit)).await
    }

    /// All below a path, in O(1).
    pub async fn usage(&self, path: DfsPath) -> Result<Usage> {
        self.read(move |snapshot, context| reads::usage(snapshot, context, &path)).await
    }

    /// Sets the limits of a directory with all that lies below it, or those that are given; none at all takes them away. What is in use already stays.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) unless the caller may do everything; [`ErrorKind::NotADirectory`](crate::ErrorKind::NotADirectory).
    pub async fn set_quota(&self, call: Call, path: DfsPath, change: impl Into<QuotaChange>) -> Result<()> {
        let change = change.into();
        self.call(move |txn, context| quotas::set(txn, context, call, &path, change)).await
    }

    /// The limits of a directory.
    pub async fn quota(&self, path: DfsPath) -> Result<Quota> {
        self.read(move |snapshot, context| quotas::of(snapshot, context, &path)).await
    }

    /// What lies below `root` and comes after `after` in the order of a walk: each directory before what it holds, names in the order of
    /// their bytes. `after` is a path that an earlier page gave, whether or not it is there still, or `root` itself for the beginning.
    /// Looks at a bounded number of entries: a page may be empty and not the last.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when `root` is gone; [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when `after` is not below it, or an entry lies
    /// too deep to have a path.
    pub async fn walk(&self, root: DfsPath, after: DfsPath, options: WalkOptions, limit: usize) -> Result<WalkPage> {
        self.read(move |snapshot, context| walk::page(snapshot, context, &root, &after, &options, limit)).await
    }

    /// The path of an inode; `None` when it has none (any more, or yet).
    pub async fn path_of(&self, inode: InodeId) -> Result<Option<DfsPath>> {
        self.view(move |snapshot| paths::path_of(snapshot, inode)).await
    }

    // Changes.

    /// Where a watch of `path` begins: the place to ask for [`changes`](Self::changes) from.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`](crate::ErrorKind::Gone) for a place that is not kept any more, or of another store. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when nothing stands at the
    /// path; a caller that may do everything, or gives a place that it got while something did, goes on behind it all the same.
    pub async fn watch(&self, path: DfsPath, from: WatchFrom) -> Result<WatchPlace> {
        let may_all = self.context().await?.may_all;
        // Before it is looked what stands there: what goes after that is in the stream.
        let version = self.store.version().await?;
        let (watched, at) = (path.clone(), path.clone());
        let seen = match from {
            WatchFrom::Place(place) => place.seen(&watched),
            WatchFrom::Now | WatchFrom::Oldest => None,
        };
        let found = match self.read(move |snapshot, context| changes::check(snapshot, context, &at)).await {
            Ok(inode) => Some(inode),
            Err(error)
                if changes::is_elsewhere(&error)
                    && (seen.is_some() || may_all && matches!(from, WatchFrom::Place(_))) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        let (place, seen) = match from {
            WatchFrom::Now => (Place::before(self.store.incarnation(), version.next()), found),
            WatchFrom::Oldest => (self.store.oldest_change().await?, None),
            WatchFrom::Place(WatchPlace { place, .. }) => {
                self.store.changes(place, 1).await?;
                (place, seen)
            }
        };
        Ok(if may_all { WatchPlace::all(place) } else { WatchPlace::of(place, &watched, seen) })
    }

    /// The changes at and below `path` that follow a place, by the paths at their time, and those that moved or removed a directory above it: those
    /// among at most `limit` changes that were looked at. Looks again whether the caller may list the path, while something stands there; not whether it
    /// may list the directories below it, or could have at the time. A caller that may not do everything is told only of what happened in what it saw
    /// there when it got the place, while that stood there, and in what stands there now, since it came.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`](crate::ErrorKind::Gone) when what follows the place is not kept any more.
    pub async fn changes(&self, path: &DfsPath, from: WatchPlace, limit: usize) -> Result<ChangePage> {
        let may_all = self.context().await?.may_all;
        let (at, version) = (path.clone(), self.store.version().await?);
        let now = match self.read(move |snapshot, context| changes::check(snapshot, context, &at)).await {
            Err(error) if changes::is_elsewhere(&error) => None,
            checked => Some(checked?),
        };
        let step = self.store.changes(from.place, limit.clamp(1, MAX_PAGE)).await?;
        let found = changes::concerning(path, step.found)?;
        if may_all {
            let all = |(place, change)| (WatchPlace::all(place), change);
            return Ok(ChangePage { changes: found.into_iter().map(all).collect(), next: WatchPlace::all(step.next) });
        }
        let mut window = sight::Window::new(path, from.seen(path), now);
        let mut settled = true;
        let mut shown = Vec::new();
        for (place, change) in found {
            settled &= place.version <= version || !window.takes_away(&change);
            if window.shows(&change) {
                shown.push((WatchPlace::of(place, path, window.seen()), change));
            }
        }
        if settled && step.next.version > version {
            window.caught_up();
        }
        Ok(ChangePage { changes: shown, next: WatchPlace::of(step.next, path, window.seen()) })
    }

    /// Waits until there may be changes behind a place, which [`changes`](Self::changes) gave. May be dropped at any time.
    pub async fn wait_behind(&self, place: WatchPlace) -> Result<()> {
        self.store.newer_than(Version(place.place.version.0.saturating_sub(1))).await.map(drop)
    }

    // Recovery of files whose writer is gone.

    /// What is to settle in a file that awaits recovery; `None` when it was closed or deleted.
    pub async fn recovery_plan(&self, inode: InodeId) -> Result<Option<RecoveryPlan>> {
        self.view(move |snapshot| recovery::plan(snapshot, inode)).await
    }

    /// Issues the generation under which an open chunk is recovered. It fences the writer and every earlier recovery.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the chunk is not open, or its writer has the lease.
    pub async fn begin_recovery(&self, chunk: ChunkId) -> Result<Generation> {
        self.commit(move |txn, _| recovery::begin(txn, chunk)).await
    }

    /// Records that `nodes` hold the chunk, finalized under `generation` with `length` bytes. A chunk of no byte is
    /// dropped; a short one ends its file, and what followed is dropped. True when the file is closed now.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`](crate::ErrorKind::Fenced) when another recovery began since.
    pub async fn commit_recovery(
        &self,
        chunk: ChunkId,
        generation: Generation,
        length: u64,
        nodes: Vec<NodeId>,
    ) -> Result<bool> {
        self.commit(move |txn, context| recovery::commit(txn, context, chunk, generation, length, &nodes)).await
    }

    // Datanodes and replicas.

    /// Registers a datanode, by the uuid of its folder: a folder that was never seen gets a new number.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`](crate::ErrorKind::Incompatible) when the folder claims a number that it was not given here.
    pub async fn register_node(&self, request: Registration) -> Result<NodeId> {
        self.commit(move |txn, _| nodes::register(txn, &request)).await
    }

    /// Registered nodes with numbers above `after`, in order; fewer than `limit` only at the end.
    pub async fn nodes(&self, after: NodeId, limit: usize) -> Result<Vec<NodeInfo>> {
        self.view(move |snapshot| nodes::page(snapshot, after, limit)).await
    }

    /// How much rows say a node holds: a sum over its ranges.
    pub async fn holdings(&self, node: NodeId) -> Result<NodeHoldings> {
        self.view(move |snapshot| reports::holdings(snapshot, node)).await
    }

    /// Takes in events of a node, in their order. Gives back what each came to. Events may be repeated; where there are
    /// very many they are taken in in several transactions.
    pub async fn replica_events(&self, node: NodeId, events: Vec<ReplicaEvent>) -> Result<Vec<Verdict>> {
        let mut verdicts = Vec::with_capacity(events.len());
        for events in events.chunks(reports::EVENTS_A_STEP).map(<[_]>::to_vec) {
            let step = move |txn: &mut dyn Transaction, _: &Context| {
                events.iter().map(|event| reports::event(txn, node, event)).collect::<Step<Vec<_>>>()
            };
            verdicts.extend(self.commit(step).await?);
        }
        Ok(verdicts)
    }

    /// Compares a stretch of a node's full report with the rows: the ranges above `after`, up to the last in `sums` or,
    /// if `last`, to the end. Gives back those that differ, whose replicas the node shall list.
    pub async fn differing_ranges(
        &self,
        node: NodeId,
        after: Option<u64>,
        sums: Vec<RangeSum>,
        last: bool,
    ) -> Result<Vec<u64>> {
        self.view(move |snapshot| reports::differing(snapshot, node, after, &sums, last)).await
    }

    /// Takes in all finalized replicas that a node holds in one range, in order of their chunks. Gives back what each
    /// came to, and the chunks whose replica the node turns out not to have.
    pub async fn range_listing(
        &self,
        node: NodeId,
        range: u64,
        replicas: Vec<Replica>,
    ) -> Result<(Vec<Verdict>, Vec<ChunkId>)> {
        reports::check_listing(range, &replicas)?;
        let (mut verdicts, mut gone) = (Vec::new(), Vec::new());
        let (first, end) = (range * sums::RANGE_CHUNKS, (range + 1) * sums::RANGE_CHUNKS);
        let mut rest = &replicas[..];
        for start in (first..end).step_by(reports::EVENTS_A_STEP) {
            let chunks = start..start + reports::EVENTS_A_STEP as u64;
            let (part, later) = rest.split_at(rest.partition_point(|replica| replica.chunk.0 < chunks.end));
            rest = later;
            let part = part.to_vec();
            let step = move |txn: &mut dyn Transaction, _: &Context| reports::listed(txn, node, chunks.clone(), &part);
            let (more_verdicts, more_gone) = self.commit(step).await?;
            verdicts.extend(more_verdicts);
            gone.extend(more_gone);
        }
        Ok((verdicts, gone))
    }

    /// One chunk, by the rows.
    pub async fn chunk(&self, chunk: ChunkId) -> Result<Option<ChunkInfo>> {
        self.view(move |snapshot| locations::info(snapshot, chunk)).await
    }

    /// Chunks with ids above `after` that were committed with fewer good replicas than their target, in order; fewer
    /// than `limit` only at the end.
    pub async fn owed(&self, after: ChunkId, limit: usize) -> Result<Vec<ChunkInfo>> {
        self.view(move |snapshot| locations::owed(snapshot, after, limit)).await
    }

    /// Chunks with ids above `after` of which `node` holds a replica, in order; fewer than `limit` only at the end.
    pub async fn chunks_of(&self, node: NodeId, after: ChunkId, limit: usize) -> Result<Vec<ChunkInfo>> {
        self.view(move |snapshot| locations::held(snapshot, node, after, limit)).await
    }

    /// Deletions that `node` owes, of chunks with ids above `after`, in order, each with the generation up to which;
    /// fewer than `limit` only at the end.
    pub async fn garbage(&self, node: NodeId, after: ChunkId, limit: usize) -> Result<Vec<(ChunkId, Generation)>> {
        self.view(move |snapshot| locations::garbage(snapshot, node, after, limit)).await
    }

    /// Takes in that `node` has no replica of `chunk` up to `generation` any more.
    pub async fn confirm_deleted(&self, node: NodeId, chunk: ChunkId, generation: Generation) -> Result<Verdict> {
        self.commit(move |txn, _| locations::deleted(txn, node, chunk, generation)).await
    }

    /// Takes in the verdict of `node` on its own replica. It is marked and not deleted: that takes a [`drop_replica`](Self::drop_replica).
    pub async fn mark_corrupt(&self, node: NodeId, chunk: ChunkId, generation: Generation) -> Result<Verdict> {
        self.commit(move |txn, _| locations::mark_corrupt(txn, node, chunk, generation)).await
    }

    /// Looks after a copy to `node` that was ordered and has ended, well or not. If the chunk is gone, the node is told to delete what it may
    /// have, and true is given back: whoever deleted the chunk did not know of it.
    pub async fn end_copy(&self, node: NodeId, chunk: ChunkId, generation: Generation) -> Result<bool> {
        self.commit(move |txn, _| locations::end_copy(txn, node, chunk, generation)).await
    }

    /// Orders the deletion of the replica of `chunk` on `node`, if the nodes in `keep`, of which the caller is certain, justify it:
    /// they hold as many good ones as the target, or one where the replica is corrupt. False when they do not, and nothing
    /// is done.
    pub async fn drop_replica(&self, chunk: ChunkId, node: NodeId, keep: Vec<NodeId>) -> Result<bool> {
        self.commit(move |txn, _| locations::drop_replica(txn, chunk, node, &keep)).await
    }

    // The collector.

    /// Removes a bounded part of what was deleted at version `upto` or before. Call again with the place that it gives
    /// back, or later with none. What was deleted after `upto` keeps its chunks: readers may be at them.
    pub async fn collect(&self, upto: Version, place: Option<CollectorPlace>) -> Result<Collected> {
        self.commit(move |txn, _| collector::step(txn, upto, place.as_ref())).await
    }

    async fn hand_over(&self, session: SessionId) -> Result<()> {
        while !self.commit(move |txn, context| sessions::hand_over(txn, context, session)).await? {}
        Ok(())
    }

    /// Runs a mutating call that may be a repeated one.
    async fn change<T, F>(&self, work: F) -> Result<Committed<T>>
    where
        F: FnMut(&mut dyn Transaction, &Context) -> Step<(T, Option<Version>)> + Send + 'static,
        T: Send + 'static,
    {
        let ((value, first), version) = self.commit_at(work).await?;
        Ok(Committed { value, version: first.unwrap_or(version) })
    }

    /// The same where the version does not matter.
    async fn call<T, F>(&self, work: F) -> Result<T>
    where
        F: FnMut(&mut dyn Transaction, &Context) -> Step<(T, Option<Version>)> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.commit(work).await?.0)
    }

    async fn commit<T, F>(&self, work: F) -> Result<T>
    where
        F: FnMut(&mut dyn Transaction, &Context) -> Step<T> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.commit_at(work).await?.0)
    }

    async fn commit_at<T, F>(&self, mut work: F) -> Result<(T, Version)>
    where
        F: FnMut(&mut dyn Transaction, &Context) -> Step<T> + Send + 'static,
        T: Send + 'static,
    {
        let context = self.context().await?;
        self.store.commit(move |txn| work(txn, &context)).await
    }

    /// Runs a reading call of the caller.
    async fn read<T, F>(&self, mut work: F) -> Result<T>
    where
        F: FnMut(&mut dyn Snapshot, &Context) -> Step<T> + Send + 'static,
        T: Send + 'static,
    {
        let context = self.context().await?;
        self.store.view(move |snapshot| work(snapshot, &context)).await
    }

    async fn context(&self) -> Result<Context> {
        Ok(Context {
            settings: Arc::clone(&self.settings),
            now_ms: self.env.clock.wall_ms(),
            caller: Arc::clone(&self.caller),
            may_all: !self.settings.permissions
                || self.caller.is_system()
                || access::may_all(&self.caller, self.superuser().await?),
        })
    }

    /// The user who made the cluster.
    async fn superuser(&self) -> Result<&str> {
        if let Some(known) = self.superuser.get() {
            return Ok(known);
        }
        let superuser = self.view(store::superuser).await?;
        Ok(self.superuser.get_or_init(|| superuser))
    }

    async fn view<T, F>(&self, work: F) -> Result<T>
    where
        F: FnMut(&mut dyn Snapshot) -> Step<T> + Send + 'static,
        T: Send + 'static,
    {
        self.store.view(work).await
    }
}

#[cfg(test)]
mod tests;
