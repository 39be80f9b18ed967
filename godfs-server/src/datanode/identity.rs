//! Who a datanode is: the identity file of its folder.
//!
//! ```text
//! 0   8  magic "GODFSDN1"
//! 8   4  format version, 1
//! 12  4  length of the body, bytes
//! 16  4  CRC32C of the body
//! 20     body: node uuid 16, cluster id 16 (zeros: none), node id 4 (0: none), incarnation 16 (zeros: none), version 8,
//!        number of scopes 4, for each: length 2, name, epoch 8
//! ```
//! Numbers are big endian. The file is published whole (staged, synced, renamed); an unreadable one is refused, never
//! replaced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};
use godfs_core::checksum::crc32c;
use godfs_core::env::{Env, Random};
use godfs_core::io::{Io, LockGuard, create_dir_all_synced, publish};
use godfs_core::{ClusterId, Epoch, Error, ErrorKind, Incarnation, NodeId, NodeUuid, Result, Version};
use parking_lot::Mutex;

const FILE: &str = "identity";
const MAGIC: &[u8; 8] = b"GODFSDN1";
const FORMAT: u32 = 1;
const HEADER: usize = 20;
/// The most scopes that a node remembers: one a namenode group or repair lease of its cluster; a namenode that names
/// more is refused.
const MAX_SCOPES: usize = 1_024;
/// The longest name of a scope, in bytes.
pub(crate) const MAX_SCOPE_BYTES: usize = 255;
/// The largest identity file: all scopes with the longest names.
const MAX_FILE: u64 = 512 << 10;

/// What the identity file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Made with the folder.
    pub(crate) uuid: NodeUuid,
    /// The cluster that the folder belongs to, once it was registered.
    pub(crate) cluster: Option<ClusterId>,
    /// The node's number in it.
    pub(crate) node: Option<NodeId>,
    /// The life of the metadata store that it knows, and the highest version it has seen of it.
    pub(crate) seen: Option<(Incarnation, Version)>,
    /// The highest epoch of each scope.
    pub(crate) epochs: BTreeMap<String, Epoch>,
}

/// The identity of a locked folder. Every change is on the disk before the call returns.
#[derive(Debug)]
pub(crate) struct IdentityFile {
    folder: PathBuf,
    io: Arc<dyn Io>,
    env: Env,
    /// Held for a moment only: every call that comes in asks who this node is.
    state: Arc<Mutex<State>>,
    /// Held by whoever writes the file, for as long as the disk takes.
    writing: Arc<Mutex<()>>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

#[derive(Debug)]
struct State {
    identity: Identity,
    /// Highest version seen, which is written with the next change, or now and then.
    version: Version,
}

impl IdentityFile {
    /// Locks a folder and reads its identity; makes one when the folder has none, unless `expect` says that it must.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`] when the folder is not that of `expect`, [`ErrorKind::Unavailable`] when another
    /// process holds it, [`ErrorKind::Corrupt`] when its identity can't be read, [`ErrorKind::Io`].
    pub(crate) async fn open(io: Arc<dyn Io>, env: Env, folder: PathBuf, expect: Option<NodeId>) -> Result<Self> {
        let random = Arc::clone(&env.random);
        let opening = Arc::clone(&io);
        let at = folder.clone();
        let (lock, identity) = env.blocking(move || open(&*opening, &*random, &at, expect)).await?;
        let version = identity.seen.map_or(Version(0), |(_, version)| version);
        let state = Arc::new(Mutex::new(State { identity, version }));
        Ok(Self { folder, io, env, state, writing: Arc::default(), lock: Mutex::new(Some(lock)) })
    }

    /// The identity as it is on the disk, with the highest version seen.
    pub(crate) fn get(&self) -> Identity {
        let state = self.state.lock();
        let mut identity = state.identity.clone();
        if let Some((_, version)) = &mut identity.seen {
            *version = state.version;
        }
        identity
    }

    /// The node's number, once it is registered.
    pub(crate) fn node(&self) -> Option<NodeId> {
        self.state.lock().identity.node
    }

    /// The folder's cluster, once it is registered.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.state.lock().identity.cluster
    }

    /// The highest epoch seen in a scope.
    pub(crate) fn epoch(&self, scope: &str) -> Epoch {
        self.state.lock().identity.epochs.get(scope).copied().unwrap_or_default()
    }

    /// Notes a registration. `accept` is a life of the metadata store that the operator has accepted although it is not the one known.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] when cluster or node are not those of the folder, [`ErrorKind::Fenced`] when the
    /// namenode went back in time or its epoch is old; nothing is changed then.
    pub(crate) async fn registered(&self, with: Registration, accept: Option<Incarnation>) -> Result<()> {
        {
            let mut state = self.state.lock();
            check_registration(&state.identity, state.version, &with, accept)?;
            if state.identity.knows(&with) {
                // Only the version may be new: a node that comes back need not wait for its disk.
                state.version = state.version.max(with.version);
                return Ok(());
            }
        }
        self.change(move |identity, known| {
            check_registration(identity, known, &with, accept)?;
            let same = identity.seen.is_some_and(|(incarnation, _)| incarnation == with.incarnation);
            let version = if same { known.max(with.version) } else { with.version };
            identity.cluster = Some(with.cluster);
            identity.node = Some(with.node);
            identity.seen = Some((with.incarnation, version));
            raise(identity, &with.scope, with.epoch)?;
            Ok(version)
        })
        .await
    }

    /// Notes the epoch of a command, on the disk before this returns when it is new.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when a higher one was seen.
    pub(crate) async fn obey(&self, scope: &str, epoch: Epoch) -> Result<()> {
        if !scope.is_empty() && self.epoch(scope) == epoch {
            return Ok(());
        }
        let scope = scope.to_owned();
        self.change(move |identity, version| {
            raise(identity, &scope, epoch)?;
            Ok(version)
        })
        .await
    }

    /// Notes a version of the metadata store. It reaches the disk with the next change, or by [`IdentityFile::save`].
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when the store went back.
    pub(crate) fn see(&self, version: Version) -> Result<()> {
        let mut state = self.state.lock();
        if version < state.version {
            return Err(went_back(state.version, version));
        }
        state.version = version;
        Ok(())
    }

    /// Writes the highest version seen, if it is not on the disk yet.
    pub(crate) async fn save(&self) -> Result<()> {
        self.change(|_, version| Ok(version)).await
    }

    /// Lets the folder go, so that another may open it.
    pub(crate) fn release(&self) {
        self.lock.lock().take();
    }

    async fn change<F>(&self, change: F) -> Result<()>
    where
        F: FnOnce(&mut Identity, Version) -> Result<Version> + Send + 'static,
    {
        let (state, writing) = (Arc::clone(&self.state), Arc::clone(&self.writing));
        let (io, path) = (Arc::clone(&self.io), self.folder.join(FILE));
        let work = move || {
            // Only changes wait for one another; what the memory says is behind the file, never ahead of it.
            let _turn = writing.lock();
            let (before, known) = {
                let state = state.lock();
                (state.identity.clone(), state.version)
            };
            let mut identity = before.clone();
            let version = change(&mut identity, known)?;
            if let Some((_, seen)) = &mut identity.seen {
                *seen = version;
            }
            if identity != before {
                publish(&*io, &path, &encode(&identity)).map_err(|error| Error::io(path.display(), error))?;
            }
            let life = |identity: &Identity| identity.seen.map(|(incarnation, _)| incarnation);
            let same = life(&identity) == life(&before);
            let mut state = state.lock();
            // Later ones of the same life may have been seen meanwhile.
            state.version = if same { state.version.max(version) } else { version };
            state.identity = identity;
            Ok(())
        };
        self.env.blocking(work).await
    }
}

impl Identity {
    /// Whether a registration says nothing that would have to be written down at once.
    fn knows(&self, with: &Registration) -> bool {
        self.cluster == Some(with.cluster)
            && self.node == Some(with.node)
            && self.seen.is_some_and(|(incarnation, _)| incarnation == with.incarnation)
            && self.epochs.get(&with.scope) == Some(&with.epoch)
    }
}

/// What a namenode answers to a registration.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) version: Version,
    pub(crate) scope: String,
    pub(crate) epoch: Epoch,
}

fn check_registration(
    identity: &Identity,
    known: Version,
    with: &Registration,
    accept: Option<Incarnation>,
) -> Result<()> {
    if let Some(cluster) = identity.cluster.filter(|cluster| *cluster != with.cluster) {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!("this folder belongs to cluster {cluster}, the namenode to cluster {}", with.cluster),
        ));
    }
    if let Some(node) = identity.node.filter(|node| *node != with.node) {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!("this folder is node {node}, the namenode calls it node {}", with.node),
        ));
    }
    match identity.seen {
        Some((incarnation, _)) if incarnation == with.incarnation => {
            if with.version < known {
                return Err(went_back(known, with.version));
            }
        }
        Some((incarnation, _)) if accept != Some(with.incarnation) => {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "the namenode's metadata is {}, this node knows {incarnation}: it was restored or replaced; an \
                     operator has to accept it",
                    with.incarnation
                ),
            ));
        }
        Some(_) | None => {}
    }
    Ok(())
}

fn went_back(known: Version, found: Version) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("the namenode is at version {found}, this node has seen {known}: it went back in time"),
    )
}

fn raise(identity: &mut Identity, scope: &str, epoch: Epoch) -> Result<()> {
    if scope.is_empty() || scope.len() > MAX_SCOPE_BYTES {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("a scope has 1 to {MAX_SCOPE_BYTES} bytes")));
    }
    match identity.epochs.get(scope) {
        Some(seen) if *seen > epoch => {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!("epoch {epoch} of scope {scope:?} is over, this node has seen {seen}"),
            ));
        }
        None if identity.epochs.len() >= MAX_SCOPES => {
            return Err(Error::new(ErrorKind::LimitExceeded, format!("more than {MAX_SCOPES} scopes")));
        }
        Some(_) | None => {}
    }
    identity.epochs.insert(scope.to_owned(), epoch);
    Ok(())
}

fn open(
    io: &dyn Io,
    random: &dyn Random,
    folder: &Path,
    expect: Option<NodeId>,
) -> Result<(Box<dyn LockGuard>, Identity)> {
    let path = folder.join(FILE);
    let failed = |error| Error::io(folder.display(), error);
    if let Some(expected) = expect
        && !io.exists(&path).map_err(failed)?
    {
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!(
                "{} is not the folder of node {expected}: it has no identity; is its disk mounted?",
                folder.display()
            ),
        ));
    }
    create_dir_all_synced(io, folder).map_err(failed)?;
    let lock = io.lock(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            Error::new(ErrorKind::Unavailable, format!("{} is in use by another process", folder.display()))
        }
        _ => Error::io(format_args!("lock {}", folder.display()), error),
    })?;
    let identity = if io.exists(&path).map_err(failed)? {
        let content = io.read(&path, MAX_FILE).map_err(|error| Error::io(path.display(), error))?;
        decode(&content).map_err(|error| error.context(path.display()))?
    } else {
        refuse_orphans(io, folder)?;
        let identity = Identity {
            uuid: NodeUuid::from_random(random.next_u128()),
            cluster: None,
            node: None,
            seen: None,
            epochs: BTreeMap::new(),
        };
        publish(io, &path, &encode(&identity)).map_err(failed)?;
        tracing::warn!(folder = %folder.display(), uuid = %identity.uuid, "empty folder: joining as a new node");
        identity
    };
    if let Some(expected) = expect
        && identity.node != Some(expected)
    {
        let found =
            identity.node.map_or_else(|| "a node that was never registered".into(), |node| format!("node {node}"));
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("{} belongs to {found}, not to node {expected}", folder.display()),
        ));
    }
    Ok((lock, identity))
}

/// A folder with chunks but without an identity has lost it; making a new one would turn its replicas into strangers.
fn refuse_orphans(io: &dyn Io, folder: &Path) -> Result<()> {
    let entries = io.read_dir(folder).map_err(|error| Error::io(folder.display(), error))?;
    let staged = format!("{FILE}.tmp");
    match entries.iter().find(|entry| entry.name != "LOCK" && entry.name != "lost+found" && entry.name != staged) {
        None => Ok(()),
        Some(entry) => Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("{} has no identity but is not empty: it holds {:?}", folder.display(), entry.name),
        )),
    }
}

fn encode(identity: &Identity) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    body.put_slice(identity.uuid.as_bytes());
    body.put_slice(identity.cluster.as_ref().map_or(&[0; 16], |cluster| cluster.as_bytes()));
    body.put_u32(identity.node.unwrap_or_default().get());
    body.put_slice(identity.seen.as_ref().map_or(&[0; 16], |(incarnation, _)| incarnation.as_bytes()));
    body.put_u64(identity.seen.map_or(0, |(_, version)| version.get()));
    // Both are bounded where they are taken in: MAX_SCOPES and MAX_SCOPE_BYTES.
    body.put_u32(u32::try_from(identity.epochs.len()).unwrap_or(u32::MAX));
    for (scope, epoch) in &identity.epochs {
        body.put_u16(u16::try_from(scope.len()).unwrap_or(u16::MAX));
        body.put_slice(scope.as_bytes());
        body.put_u64(epoch.get());
    }
    let mut file = Vec::with_capacity(HEADER + body.len());
    file.put_slice(MAGIC);
    file.put_u32(FORMAT);
    file.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    file.put_u32(crc32c(&body));
    file.put_slice(&body);
    file
}

fn decode(file: &[u8]) -> Result<Identity> {
    let corrupt = |what: &str| Error::new(ErrorKind::Corrupt, format!("not an identity of a datanode: {what}"));
    let mut header = file;
    let magic = header.get(..8).ok_or_else(|| corrupt("too short"))?;
    if magic != MAGIC {
        return Err(corrupt("another magic number"));
    }
    header.advance(8);
    let format = header.try_get_u32().map_err(|_| corrupt("too short"))?;
    if format != FORMAT {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!("the identity has format {format}, this version of GoDFS knows {FORMAT}"),
        ));
    }
    let length = header.try_get_u32().map_err(|_| corrupt("too short"))?;
    let sum = header.try_get_u32().map_err(|_| corrupt("too short"))?;
    if usize::try_from(length) != Ok(header.len()) || crc32c(header) != sum {
        return Err(corrupt("its checksum does not hold"));
    }
    decode_body(header).ok_or_else(|| corrupt("its body is malformed"))
}

fn decode_body(mut body: &[u8]) -> Option<Identity> {
    let uuid = NodeUuid::from_bytes(&take::<16>(&mut body)?)?;
    let cluster = ClusterId::from_bytes(&take::<16>(&mut body)?).filter(|id| *id.as_bytes() != [0; 16]);
    let node = Some(NodeId(body.try_get_u32().ok()?)).filter(|node| node.get() != 0);
    let incarnation = Incarnation::from_bytes(&take::<16>(&mut body)?).filter(|id| *id.as_bytes() != [0; 16]);
    let version = Version(body.try_get_u64().ok()?);
    let mut epochs = BTreeMap::new();
    for _ in 0..body.try_get_u32().ok()? {
        let length = usize::from(body.try_get_u16().ok()?);
        let scope = std::str::from_utf8(body.get(..length)?).ok()?.to_owned();
        body.advance(length);
        epochs.insert(scope, Epoch(body.try_get_u64().ok()?));
    }
    let seen = incarnation.map(|incarnation| (incarnation, version));
    body.is_empty().then_some(Identity { uuid, cluster, node, seen, epochs })
}

fn take<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    let taken = body.get(..N)?.try_into().ok();
    body.advance(N);
    taken
}

#[cfg(test)]
mod tests {
    use godfs_core::io::{DiskSpace, Entry, IoFile, OpenMode, SimIo};

    use super::*;

    fn registration(version: u64, epoch: u64) -> Registration {
        Registration {
            cluster: ClusterId::from_random(1),
            node: NodeId(7),
            incarnation: Incarnation::from_random(2),
            version: Version(version),
            scope: "namenode".into(),
            epoch: Epoch(epoch),
        }
    }

    async fn opened(io: &SimIo, expect: Option<NodeId>) -> Result<IdentityFile> {
        IdentityFile::open(Arc::new(io.clone()), Env::simulated(1), "/dn".into(), expect).await
    }

    #[tokio::test]
    async fn what_was_noted_is_there_after_a_loss_of_power() {
        let io = SimIo::new(1);
        let file = opened(&io, None).await.expect("new");
        let uuid = file.get().uuid;
        file.registered(registration(10, 3), None).await.expect("first registration");
        file.obey("repair", Epoch(5)).await.expect("new epoch");
        for seed in 0..20 {
            let found = opened(&io.crash(seed), Some(NodeId(7))).await.expect("again").get();
            assert_eq!((found.uuid, found.node), (uuid, Some(NodeId(7))));
            assert_eq!(found.seen, Some((Incarnation::from_random(2), Version(10))));
            assert_eq!(found.epochs.get("repair"), Some(&Epoch(5)));
        }
    }

    #[tokio::test]
    async fn an_old_epoch_is_refused_also_after_a_restart() {
        let io = SimIo::new(1);
        let file = opened(&io, None).await.expect("new");
        file.registered(registration(10, 3), None).await.expect("registration");
        file.obey("namenode", Epoch(4)).await.expect("higher");
        assert_eq!(file.obey("namenode", Epoch(3)).await.expect_err("lower").kind(), ErrorKind::Fenced);
        file.obey("namenode", Epoch(4)).await.expect("the same again");
        let again = opened(&io.crash_losing_all(), None).await.expect("again");
        assert_eq!(again.obey("namenode", Epoch(3)).await.expect_err("lower").kind(), ErrorKind::Fenced);
        let error = again.registered(registration(11, 3), None).await.expect_err("a deposed namenode");
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }

    #[tokio::test]
    async fn a_namenode_that_went_back_is_refused_until_accepted() {
        let io = SimIo::new(1);
        let file = opened(&io, None).await.expect("new");
        file.registered(registration(10, 3), None).await.expect("registration");
        file.see(Version(20)).expect("forward");
        let error = file.registered(registration(19, 3), None).await.expect_err("backward");
        assert_eq!(error.kind(), ErrorKind::Fenced);
        let restored = Registration { incarnation: Incarnation::from_random(9), ..registration(5, 3) };
        assert_eq!(file.registered(restored.clone(), None).await.expect_err("another life").kind(), ErrorKind::Fenced);
        file.registered(restored, Some(Incarnation::from_random(9))).await.expect("accepted");
        assert_eq!(file.get().seen, Some((Incarnation::from_random(9), Version(5))));
    }

    /// A disk whose renames wait until they are let go.
    #[derive(Debug)]
    struct SlowIo {
        disk: SimIo,
        slow: std::sync::atomic::AtomicBool,
        arrived: std::sync::Barrier,
        go: std::sync::Barrier,
    }

    impl Io for SlowIo {
        fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn IoFile>> {
            self.disk.open(path, mode)
        }

        fn create_dir_all(&self, path: &Path) -> std::io::Result<()> {
            self.disk.create_dir_all(path)
        }

        fn read_dir(&self, path: &Path) -> std::io::Result<Vec<Entry>> {
            self.disk.read_dir(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
            if self.slow.load(std::sync::atomic::Ordering::SeqCst) {
                self.arrived.wait();
                self.go.wait();
            }
            self.disk.rename(from, to)
        }

        fn remove_file(&self, path: &Path) -> std::io::Result<()> {
            self.disk.remove_file(path)
        }

        fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
            self.disk.sync_dir(path)
        }

        fn exists(&self, path: &Path) -> std::io::Result<bool> {
            self.disk.exists(path)
        }

        fn space(&self, path: &Path) -> std::io::Result<DiskSpace> {
            self.disk.space(path)
        }

        fn lock(&self, folder: &Path) -> std::io::Result<Box<dyn LockGuard>> {
            self.disk.lock(folder)
        }
    }

    /// Every stream that comes in asks who the node is, on a thread that serves the network: with the lock held through
    /// the write, a busy disk stopped everything.
    #[tokio::test]
    async fn nobody_waits_for_the_disk_to_learn_who_the_node_is() {
        let io = Arc::new(SlowIo {
            disk: SimIo::new(1),
            slow: false.into(),
            arrived: std::sync::Barrier::new(2),
            go: std::sync::Barrier::new(2),
        });
        let file = IdentityFile::open(Arc::clone(&io) as _, Env::system(), "/dn".into(), None).await.expect("new");
        file.registered(registration(10, 3), None).await.expect("registration");
        io.slow.store(true, std::sync::atomic::Ordering::SeqCst);
        let file = Arc::new(file);
        let writing = tokio::spawn({
            let file = Arc::clone(&file);
            async move { file.obey("repair", Epoch(5)).await }
        });
        let slow = Arc::clone(&io);
        tokio::task::spawn_blocking(move || slow.arrived.wait()).await.expect("the write is under way");
        let free = file.state.try_lock().is_some();
        if free {
            assert_eq!(file.node(), Some(NodeId(7)));
            file.see(Version(20)).expect("forward");
            file.registered(registration(21, 3), None).await.expect("nothing new but the version");
            assert_eq!(file.epoch("repair"), Epoch(0), "not before it is on the disk");
        }
        let slow = Arc::clone(&io);
        tokio::task::spawn_blocking(move || slow.go.wait()).await.expect("go on");
        writing.await.expect("task").expect("written");
        assert!(free, "who the node is must be known at once");
        let identity = file.get();
        assert_eq!(identity.epochs.get("repair"), Some(&Epoch(5)));
        assert_eq!(identity.seen, Some((Incarnation::from_random(2), Version(21))), "seen meanwhile, not forgotten");
    }

    #[tokio::test]
    async fn another_cluster_or_node_is_refused_by_name() {
        let io = SimIo::new(1);
        let file = opened(&io, None).await.expect("new");
        file.registered(registration(1, 1), None).await.expect("registration");
        let other = Registration { cluster: ClusterId::from_random(8), ..registration(1, 1) };
        let error = file.registered(other, None).await.expect_err("another cluster");
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        for id in [ClusterId::from_random(1), ClusterId::from_random(8)] {
            assert!(error.message().contains(&id.to_string()), "{error}");
        }
        let other = Registration { node: NodeId(8), ..registration(1, 1) };
        assert_eq!(file.registered(other, None).await.expect_err("another node").kind(), ErrorKind::Incompatible);
    }

    #[tokio::test]
    async fn an_expected_node_is_never_made_anew() {
        let io = SimIo::new(1);
        let error = opened(&io, Some(NodeId(7))).await.expect_err("an unmounted disk");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(!io.exists(Path::new("/dn")).expect("look"), "nothing was made");
        let file = opened(&io, None).await.expect("new");
        assert_eq!(opened(&io, None).await.expect_err("locked").kind(), ErrorKind::Unavailable);
        file.registered(registration(1, 1), None).await.expect("registration");
        file.release();
        let error = opened(&io, Some(NodeId(8))).await.expect_err("another node's disk");
        assert!(error.message().contains("node 7") && error.message().contains("node 8"), "{error}");
        opened(&io, Some(NodeId(7))).await.expect("its own");
    }

    #[tokio::test]
    async fn a_damaged_identity_is_refused_not_replaced() {
        let io = SimIo::new(1);
        let file = opened(&io, None).await.expect("new");
        file.registered(registration(1, 1), None).await.expect("registration");
        file.release();
        let path = Path::new("/dn").join(FILE);
        let good = io.read(&path, MAX_FILE).expect("read");
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            publish(&io, &path, &bad).expect("publish");
            assert!(opened(&io, None).await.is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "cut at {length}");
        }
        io.remove_file(&path).expect("remove");
        io.create_dir_all(Path::new("/dn/chunks")).expect("chunks");
        assert_eq!(opened(&io, None).await.expect_err("chunks without").kind(), ErrorKind::FailedPrecondition);
    }
}
