//! Random operations, each made once or twice, on the namespace and on a model of it.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::model::{File, Model};
use super::*;
use crate::metadata::MissingStore;

pub(super) const NODES: u32 = 4;
/// Where the trash of these callers is.
const HOME: &str = "/.trash/user";

#[derive(Clone, Debug)]
pub(super) enum Op {
    Mkdir {
        path: DfsPath,
        parents: bool,
    },
    Put {
        path: DfsPath,
        overwrite: bool,
        parents: bool,
        bytes: usize,
    },
    Create {
        path: DfsPath,
        overwrite: bool,
        parents: bool,
    },
    /// On one of the files that were created: its writer may long have lost it.
    AddChunk {
        file: usize,
        nodes: Vec<u32>,
    },
    NewPipeline {
        file: usize,
        nodes: Vec<u32>,
    },
    Complete {
        file: usize,
        bytes: u64,
    },
    Append {
        path: DfsPath,
    },
    Truncate {
        path: DfsPath,
        length: u64,
    },
    Concat {
        target: DfsPath,
        sources: Vec<DfsPath>,
    },
    Abandon {
        file: usize,
    },
    Recover {
        length: u64,
        survivors: usize,
    },
    Delete {
        path: DfsPath,
        recursive: bool,
    },
    Unlink {
        path: DfsPath,
        root: DfsPath,
    },
    Trash {
        path: DfsPath,
        recursive: bool,
    },
    /// One of those that are in the trash, or were.
    Restore {
        item: usize,
        parents: bool,
    },
    /// For good, out of the trash.
    DeleteItem {
        item: usize,
    },
    /// A day goes by.
    Expire,
    Rename {
        from: DfsPath,
        to: DfsPath,
        replace: bool,
    },
    Exchange {
        first: DfsPath,
        second: DfsPath,
    },
    Symlink {
        path: DfsPath,
        target: &'static str,
    },
    SetReplication {
        path: DfsPath,
        replication: u16,
    },
    /// None at all takes them away.
    SetQuota {
        path: DfsPath,
        names: Option<u64>,
        chunks: Option<u64>,
    },
    SetMode {
        path: DfsPath,
        mode: u16,
    },
    /// Removes it where there is no value.
    SetXattr {
        path: DfsPath,
        name: u8,
        value: Option<u8>,
    },
    SetAcl {
        path: DfsPath,
        change: AclChange,
    },
    Report {
        node: u32,
        chunk: u64,
        generation: u64,
        kind: u8,
    },
    Drop {
        node: u32,
        chunk: u64,
    },
    ConfirmAll {
        node: u32,
    },
    Collect,
    NewSession,
}

fn paths() -> impl Strategy<Value = DfsPath> {
    proptest::collection::vec(prop_oneof!["a", "b", "c"], 0..4)
        .prop_map(|names| DfsPath::parse(&format!("/{}", names.join("/"))).unwrap())
}

fn nodes() -> impl Strategy<Value = Vec<u32>> {
    (Just((1..=NODES).collect::<Vec<_>>()).prop_shuffle(), 1..=3_usize).prop_map(|(all, count)| all[..count].to_vec())
}

fn changes() -> impl Strategy<Value = AclChange> {
    let modify = |text: &str| AclChange::Modify(parse_acl(text).unwrap());
    let remove = |text: &str| AclChange::Remove(parse_acl_subjects(text).unwrap());
    prop_oneof![
        Just(modify("user:bob:rwx")),
        Just(modify("group:dev:r-x,mask::r--")),
        Just(modify("default:user:bob:rw-")),
        Just(modify("default:group::r-x,other::---")),
        Just(remove("user:bob")),
        Just(remove("default:user:bob")),
        Just(AclChange::RemoveDefault),
        Just(AclChange::RemoveAll),
    ]
}

pub(super) fn ops() -> impl Strategy<Value = Op> {
    let file = 0..4_usize;
    prop_oneof![
        3 => (paths(), any::<bool>()).prop_map(|(path, parents)| Op::Mkdir { path, parents }),
        2 => (paths(), any::<bool>(), any::<bool>(), 0..40_usize)
            .prop_map(|(path, overwrite, parents, bytes)| Op::Put { path, overwrite, parents, bytes }),
        4 => (paths(), any::<bool>(), any::<bool>())
            .prop_map(|(path, overwrite, parents)| Op::Create { path, overwrite, parents }),
        6 => (file.clone(), nodes()).prop_map(|(file, nodes)| Op::AddChunk { file, nodes }),
        2 => (file.clone(), nodes()).prop_map(|(file, nodes)| Op::NewPipeline { file, nodes }),
        3 => (file.clone(), 1..CHUNK).prop_map(|(file, bytes)| Op::Complete { file, bytes }),
        4 => paths().prop_map(|path| Op::Append { path }),
        3 => (paths(), proptest::collection::vec(paths(), 0..3))
            .prop_map(|(target, sources)| Op::Concat { target, sources }),
        3 => (paths(), prop_oneof![Just(0), 0..40_u64, Just(CHUNK), 0..3 * CHUNK])
            .prop_map(|(path, length)| Op::Truncate { path, length }),
        1 => file.prop_map(|file| Op::Abandon { file }),
        2 => (0..CHUNK, 0..3_usize).prop_map(|(length, survivors)| Op::Recover { length, survivors }),
        2 => (paths(), any::<bool>()).prop_map(|(path, recursive)| Op::Delete { path, recursive }),
        3 => (paths(), paths()).prop_map(|(path, root)| Op::Unlink { path, root }),
        3 => (paths(), any::<bool>()).prop_map(|(path, recursive)| Op::Trash { path, recursive }),
        2 => (0..3_usize, any::<bool>()).prop_map(|(item, parents)| Op::Restore { item, parents }),
        1 => (0..3_usize).prop_map(|item| Op::DeleteItem { item }),
        1 => Just(Op::Expire),
        4 => (paths(), paths(), any::<bool>()).prop_map(|(from, to, replace)| Op::Rename { from, to, replace }),
        2 => (paths(), paths()).prop_map(|(first, second)| Op::Exchange { first, second }),
        1 => (paths(), prop_oneof![Just("a"), Just("../b"), Just("/c")])
            .prop_map(|(path, target)| Op::Symlink { path, target }),
        1 => (paths(), 1..5_u16).prop_map(|(path, replication)| Op::SetReplication { path, replication }),
        2 => (paths(), proptest::option::of(0..6_u64), proptest::option::of(0..8_u64))
            .prop_map(|(path, names, chunks)| Op::SetQuota { path, names, chunks }),
        2 => (paths(), 0..=MODE_BITS).prop_map(|(path, mode)| Op::SetMode { path, mode }),
        3 => (paths(), 0..3_u8, any::<Option<u8>>()).prop_map(|(path, name, value)| Op::SetXattr { path, name, value }),
        3 => (paths(), changes()).prop_map(|(path, change)| Op::SetAcl { path, change }),
        6 => (1..=NODES, 1..8_u64, 1..4_u64, 0..4_u8)
            .prop_map(|(node, chunk, generation, kind)| Op::Report { node, chunk, generation, kind }),
        2 => (1..=NODES, 1..8_u64).prop_map(|(node, chunk)| Op::Drop { node, chunk }),
        1 => (1..=NODES).prop_map(|node| Op::ConfirmAll { node }),
        1 => Just(Op::Collect),
        1 => Just(Op::NewSession),
    ]
}

/// A file that is being written, or was.
struct Pen {
    created: Created,
    /// In the model.
    id: u64,
    session: SessionId,
    /// The chunk that is open.
    chunk: Option<AddedChunk>,
    /// The first pipeline of that chunk.
    placed: Vec<NodeId>,
    end: u64,
    /// Bytes behind `end` that were there before.
    kept: u64,
    /// They lie in a chunk.
    reopens: bool,
}

pub(super) struct Machine {
    pub(super) fixture: Fixture,
    model: Model,
    pens: Vec<Pen>,
    /// Items of the trash and where they were, those that came last in front.
    items: Vec<(DfsPath, DfsPath)>,
    /// Of each inode that ever got one.
    attributes: BTreeMap<InodeId, Attributes>,
}

/// What an inode should have.
#[derive(Default)]
struct Attributes {
    xattrs: BTreeMap<String, Vec<u8>>,
    /// Mode and lists, as they were given last.
    acl: Option<Acl>,
}

/// Makes a call twice and expects the same answer.
macro_rules! twice {
    ($call:expr) => {{
        let first = $call.await.map_err(|error| error.kind());
        let second = $call.await.map_err(|error| error.kind());
        assert_eq!(first, second, "the repeated call");
        first
    }};
}

impl Machine {
    async fn new(missing: bool) -> Self {
        let mut fixture = Fixture::new(NODES).await;
        if missing {
            let store = Arc::new(MissingStore::new(Arc::clone(fixture.namespace.store())));
            fixture.namespace = Namespace::new(store, fixture.namespace.settings().clone(), Env::simulated(1)).unwrap();
        }
        Self::with(fixture)
    }

    /// On an empty namespace with [`NODES`] nodes.
    pub(super) fn with(fixture: Fixture) -> Self {
        Self { fixture, model: Model::new(), pens: Vec::new(), items: Vec::new(), attributes: BTreeMap::new() }
    }

    pub(super) async fn run(&mut self, op: Op) {
        let namespace = self.fixture.namespace.clone();
        let call = self.fixture.call();
        match op {
            Op::Mkdir { path, parents } => {
                let options = MkdirOptions { parents, ..Default::default() };
                let made = twice!(namespace.mkdir(call, path.clone(), options.clone()));
                assert_eq!(
                    made.map(drop),
                    self.model.within_quotas(|model| model.mkdir(&path, parents)),
                    "mkdir {path}"
                );
            }
            Op::Put { path, overwrite, parents, bytes } => {
                let options = CreateOptions { overwrite, parents, ..Default::default() };
                let data = Bytes::from(vec![7; bytes]);
                let put = twice!(namespace.put(call, path.clone(), options.clone(), data.clone()));
                let file = File { id: 0, length: bytes as u64, replication: 3, open: false, reserved: 0 };
                let create = |model: &mut Model| model.create(&path, overwrite, parents, file);
                let expected = self.model.within_quotas(create).map(drop);
                assert_eq!(put.map(drop), expected, "put {path}");
            }
            Op::Create { path, overwrite, parents } => {
                let options = CreateOptions { overwrite, parents, ..Default::default() };
                let created = twice!(namespace.create(call, path.clone(), options.clone()));
                let file = File { id: 0, length: 0, replication: 3, open: true, reserved: 0 };
                let create = |model: &mut Model| model.create(&path, overwrite, parents, file);
                let expected = self.model.within_quotas(create);
                assert_eq!(created.map(drop), expected.map(drop), "create {path}");
                if let (Ok(created), Ok(id)) = (created, expected) {
                    let pen = Pen {
                        created,
                        id,
                        session: call.session,
                        chunk: None,
                        placed: vec![],
                        end: 0,
                        kept: 0,
                        reopens: false,
                    };
                    self.pens.insert(0, pen);
                    self.pens.truncate(4);
                }
            }
            Op::AddChunk { file, nodes } => self.add_chunk(call, file, nodes).await,
            Op::NewPipeline { file, nodes } => self.new_pipeline(call, file, nodes).await,
            Op::Complete { file, bytes } => self.complete(call, file, bytes).await,
            Op::Truncate { path, length } => {
                let truncated = twice!(namespace.truncate(call, path.clone(), length));
                let before = self.model.clone();
                let expected = self.model.truncate(&path, length);
                if truncated == Err(ErrorKind::Unavailable) {
                    // Nobody has the chunk that the new end lies in.
                    self.model = before;
                    return;
                }
                assert_eq!(truncated.map(drop), expected.map(drop), "truncate {path} to {length}");
                if let (Ok(truncated), Ok(id)) = (truncated, expected) {
                    self.model.file(id).expect("just truncated").open = truncated.generation > Generation(0);
                }
            }
            Op::Concat { target, sources } => {
                let mut small = Vec::new();
                for path in sources.iter().chain([&target]) {
                    if namespace.stat(FileRef::Path(path.clone())).await.is_ok_and(|status| status.small) {
                        small.push(path.clone());
                    }
                }
                let joined = twice!(namespace.concat(call, target.clone(), sources.clone()));
                let expected = self.model.within_quotas(|model| model.concat(&target, &sources, &small));
                assert_eq!(joined, expected, "concat {target} {sources:?}");
            }
            Op::Append { path } => {
                let appended = twice!(namespace.append(call, path.clone()));
                let expected = self.model.append(&path);
                assert_eq!(appended.map(drop), expected.map(drop), "append {path}");
                if let (Ok(file), Ok(id)) = (appended, expected) {
                    let Appended { inode, lease, replication, chunk_size, length, base } = file;
                    let small = namespace.stat(FileRef::Inode(inode)).await.unwrap().small;
                    let kept = length - base;
                    let created = Created { inode, lease, replication, chunk_size };
                    let reopens = !small && kept > 0;
                    let session = call.session;
                    let pen = Pen { created, id, session, chunk: None, placed: vec![], end: base, kept, reopens };
                    self.pens.insert(0, pen);
                    self.pens.truncate(4);
                }
            }
            Op::Abandon { file } => {
                let Some(pen) = self.pens.get(file) else { return };
                let writing = Writing { call, inode: pen.created.inode, lease: pen.created.lease };
                let abandoned = twice!(namespace.abandon(writing));
                assert_eq!(abandoned.is_ok(), self.writes(file), "abandon");
                let pen = self.pens.remove(file);
                if pen.chunk.is_none()
                    && abandoned.is_ok()
                    && let Some(file) = self.model.file(pen.id)
                {
                    file.open = false;
                }
            }
            Op::Recover { length, survivors } => self.recover(length, survivors).await,
            Op::Delete { path, recursive } => {
                let deleted = twice!(namespace.delete(call, path.clone(), recursive));
                assert_eq!(deleted, self.model.delete(&path, recursive), "delete {path}");
            }
            Op::Unlink { path, root } => {
                // The model knows no attributes.
                let mut kept = Vec::new();
                let mut above = path.parent();
                while let Some(directory) = above {
                    if namespace.xattrs(directory.clone(), vec![]).await.is_ok_and(|found| !found.is_empty()) {
                        kept.push(directory.clone());
                    }
                    above = directory.parent();
                }
                let request = Unlink { path: path.clone(), root: root.clone() };
                let unlinked = twice!(namespace.unlink(call, request.clone()));
                assert_eq!(unlinked, self.model.unlink(&path, &root, &kept), "unlink {path} below {root}");
            }
            Op::Trash { path, recursive } => {
                let trashed = twice!(namespace.trash(call, path.clone(), recursive));
                // How it is called there is not for the model to say.
                let item = trashed.clone().ok().flatten().unwrap_or_else(|| at("/.trash/user/new"));
                let expected = self.model.within_quotas(|model| model.trash(&path, recursive, &item));
                assert_eq!(trashed.map(drop), expected, "trash {path}");
                if expected.is_ok() {
                    assert!(item.starts_with(&at(HOME)) && item.name() != Some("new"), "{item}");
                    self.items.insert(0, (item, path));
                }
            }
            Op::Restore { item, parents } => {
                let Some((item, to)) = self.items.get(item).cloned() else { return };
                let restored = twice!(namespace.restore(call, item.clone(), None, parents));
                let expected = self.model.within_quotas(|model| model.restore(&item, &to, parents));
                assert_eq!(restored, expected.map(|()| to), "restore {item}");
            }
            Op::DeleteItem { item } => {
                let Some((item, _)) = self.items.get(item).cloned() else { return };
                let deleted = twice!(namespace.trash(call, item.clone(), true));
                assert_eq!(deleted, self.model.delete(&item, true).map(|()| None), "delete {item}");
            }
            Op::Expire => {
                tokio::time::advance(Duration::from_secs(24 * 60 * 60)).await;
                while namespace.expire_trash().await.unwrap() > 0 {}
                self.model.expire(&at(HOME));
            }
            Op::Rename { from, to, replace } => {
                let request = Rename::new(from.clone(), to.clone(), replace);
                let renamed = twice!(namespace.rename(call, request.clone()));
                let expected = self.model.within_quotas(|model| model.rename(&from, &to, replace));
                assert_eq!(renamed, expected, "rename {from} {to}");
            }
            Op::Exchange { first, second } => {
                let exchanged = twice!(namespace.exchange(call, first.clone(), second.clone()));
                let expected = self.model.within_quotas(|model| model.exchange(&first, &second));
                assert_eq!(exchanged, expected, "exchange {first} {second}");
            }
            Op::Symlink { path, target } => {
                let request = Symlink { path: path.clone(), target: target.into() };
                let made = twice!(namespace.symlink(call, request.clone()));
                let expected = self.model.within_quotas(|model| model.symlink(&path, target));
                assert_eq!(made.map(drop), expected, "ln -s {target} {path}");
            }
            Op::SetReplication { path, replication } => {
                let set = twice!(namespace.set_replication(call, path.clone(), replication));
                let expected = self.model.within_quotas(|model| model.set_replication(&path, replication));
                assert_eq!(set, expected, "setrep {path}");
            }
            Op::SetQuota { path, names, chunks } => {
                let quota = Quota { names, space: chunks.map(|chunks| chunks * CHUNK) };
                let set = twice!(namespace.set_quota(call, path.clone(), quota));
                assert_eq!(set, self.model.set_quota(&path, quota), "quota of {path}");
            }
            Op::SetMode { path, mode } => {
                let set = twice!(namespace.set_mode(call, path.clone(), mode));
                let Some(inode) = self.set_at(&path, set).await else { return };
                let acl = namespace.acl(path).await.unwrap();
                assert_eq!(acl.owner.mode, mode);
                self.attributes.entry(inode).or_default().acl = Some(acl);
            }
            Op::SetXattr { path, name, value } => {
                let name = format!("user.{name}");
                let set = match value {
                    Some(value) => {
                        let value = Bytes::from(vec![value]);
                        let request = SetXattr { name: name.clone(), value, mode: XattrMode::Any };
                        twice!(namespace.set_xattr(call, path.clone(), request.clone()))
                    }
                    None => {
                        let removed = twice!(namespace.remove_xattr(call, path.clone(), name.clone()));
                        if let Ok(status) = namespace.stat(FileRef::Path(path.clone())).await {
                            let known =
                                self.attributes.get(&status.inode).map(|known| known.xattrs.contains_key(&name));
                            assert_eq!(removed.is_ok(), known == Some(true), "remove {name} of {path}");
                            if removed.is_err() {
                                return;
                            }
                        }
                        removed
                    }
                };
                let Some(inode) = self.set_at(&path, set).await else { return };
                let xattrs = &mut self.attributes.entry(inode).or_default().xattrs;
                match value {
                    Some(value) => xattrs.insert(name, vec![value]),
                    None => xattrs.remove(&name),
                };
            }
            Op::SetAcl { path, change } => {
                let set = twice!(namespace.set_acl(call, path.clone(), change.clone()));
                let status = namespace.stat(FileRef::Path(path.clone())).await;
                if set == Err(ErrorKind::InvalidArgument) {
                    assert_eq!(status.unwrap().kind, FileKind::File, "{change:?}");
                    return;
                }
                let Some(inode) = self.set_at(&path, set).await else { return };
                let acl = namespace.acl(path).await.unwrap();
                assert_eq!(acl.owner.mode, status.unwrap().owner.mode);
                self.attributes.entry(inode).or_default().acl = Some(acl);
            }
            Op::Report { node, chunk, generation, kind } => {
                let (chunk, generation) = (ChunkId(chunk), Generation(generation));
                let length = namespace.chunk(chunk).await.unwrap().map_or(1, |info| info.length);
                let garbage = namespace.totals().await.unwrap().garbage;
                let event = match kind {
                    0 | 1 => ReplicaEvent::Finalized(finalized(chunk, generation.0, length + u64::from(kind))),
                    2 => ReplicaEvent::Deleted { chunk, generation },
                    _ => ReplicaEvent::Corrupt { chunk, generation },
                };
                namespace.replica_events(NodeId(node), vec![event, event]).await.unwrap();
                let more = namespace.totals().await.unwrap().garbage > garbage;
                assert!(!more || kind == 0, "a report makes nothing superfluous but by a good replica");
            }
            Op::Drop { node, chunk } => {
                let good = |info: Option<ChunkInfo>| info.map_or(0, |info| info.good().count());
                let before = namespace.chunk(ChunkId(chunk)).await.unwrap();
                let target = before.as_ref().map_or(0, |info| usize::from(info.target));
                let before = good(before);
                let keep = (1..=NODES).filter(|other| *other != node).map(NodeId).collect();
                namespace.drop_replica(ChunkId(chunk), NodeId(node), keep).await.unwrap();
                let after = good(namespace.chunk(ChunkId(chunk)).await.unwrap());
                assert!(after == before || after >= target, "a good replica went that was needed");
            }
            Op::ConfirmAll { node } => {
                for (chunk, generation) in namespace.garbage(NodeId(node), ChunkId(0), 1_000).await.unwrap() {
                    namespace.confirm_deleted(NodeId(node), chunk, generation).await.unwrap();
                }
            }
            Op::Collect => drop(self.fixture.collect().await),
            Op::NewSession => self.new_session().await,
        }
    }

    /// The inode at a path whose attributes were set; `None` where nothing is.
    async fn set_at(&self, path: &DfsPath, set: std::result::Result<(), ErrorKind>) -> Option<InodeId> {
        let found = self.fixture.namespace.stat(FileRef::Path(path.clone())).await;
        assert_eq!(set.err(), found.as_ref().err().map(crate::Error::kind), "attributes of {path}");
        Some(found.ok()?.inode)
    }

    /// Each inode that still has a name has what it was given, wherever that name is now.
    async fn compare_attributes(&self) {
        let namespace = &self.fixture.namespace;
        for (inode, expected) in &self.attributes {
            let Some(path) = namespace.path_of(*inode).await.unwrap() else { continue };
            let found = namespace.xattrs(path.clone(), Vec::new()).await.unwrap();
            let found: BTreeMap<_, _> = found.into_iter().map(|found| (found.name, found.value.to_vec())).collect();
            assert_eq!(found, expected.xattrs, "{path}");
            if let Some(acl) = &expected.acl {
                assert_eq!(namespace.acl(path.clone()).await.unwrap(), *acl, "{path}");
            }
        }
    }

    /// Whether the writer still has its file.
    fn writes(&mut self, pen: usize) -> bool {
        let Pen { id, session, .. } = self.pens[pen];
        session == self.fixture.session && self.model.file(id).is_some_and(|file| file.open)
    }

    async fn add_chunk(&mut self, call: Call, file: usize, nodes: Vec<u32>) {
        let Some(pen) = self.pens.get(file) else { return };
        let (inode, lease) = (pen.created.inode, pen.created.lease);
        if pen.reopens && pen.chunk.is_none() {
            return self.reopen_chunk(call, file, nodes).await;
        }
        let end = pen.end + if pen.chunk.is_some() { CHUNK } else { 0 };
        let commits = pen.chunk.iter().map(|chunk| commit(chunk, CHUNK)).collect();
        let request = AddChunk { start: end, commits, nodes: ids(&nodes) };
        let writing = Writing { call, inode, lease };
        let added = twice!(self.fixture.namespace.add_chunk(writing, request.clone()));
        let expected = if self.writes(file) {
            let Pen { id, kept, chunk, .. } = &self.pens[file];
            let (id, length) = (*id, end + if chunk.is_some() { 0 } else { *kept });
            self.model.within_quotas(|model| {
                let file = model.file(id).expect("it has a writer");
                (file.length, file.reserved) = (length, end + CHUNK);
                Ok(())
            })
        } else {
            Err(ErrorKind::LeaseLost)
        };
        assert_eq!(added.as_ref().err(), expected.err().as_ref(), "add chunk");
        if let Ok(added) = added {
            let pen = &mut self.pens[file];
            pen.placed.clone_from(&added.nodes);
            if pen.chunk.is_some() {
                pen.kept = 0;
            }
            (pen.chunk, pen.end) = (Some(added), end);
        }
    }

    async fn reopen_chunk(&mut self, call: Call, file: usize, nodes: Vec<u32>) {
        let pen = &self.pens[file];
        let writing = Writing { call, inode: pen.created.inode, lease: pen.created.lease };
        let namespace = self.fixture.namespace.clone();
        let holders = namespace.last_holders(writing.inode).await.unwrap();
        let live = ids(&nodes);
        let some = live.iter().any(|node| holders.contains(node));
        let reopened = twice!(namespace.reopen_chunk(writing, live.clone()));
        let expected = match (self.writes(file), some) {
            (false, _) => Err(ErrorKind::LeaseLost),
            (true, false) => Err(ErrorKind::Unavailable),
            (true, true) => {
                let Pen { id, end, .. } = self.pens[file];
                self.model.within_quotas(|model| {
                    model.file(id).expect("it has a writer").reserved = end + CHUNK;
                    Ok(())
                })
            }
        };
        assert_eq!(reopened.as_ref().err(), expected.err().as_ref(), "reopen");
        if let Ok(reopened) = reopened {
            let pen = &mut self.pens[file];
            pen.placed.clone_from(&reopened.nodes);
            pen.chunk = Some(reopened);
        }
    }

    async fn new_pipeline(&mut self, call: Call, file: usize, nodes: Vec<u32>) {
        let Some(Pen { created, chunk: Some(added), .. }) = self.pens.get(file) else { return };
        let (writing, chunk) = (Writing { call, inode: created.inode, lease: created.lease }, added.chunk);
        let namespace = self.fixture.namespace.clone();
        let issued = twice!(namespace.issue_generation(writing, chunk));
        assert_eq!(issued.is_ok(), self.writes(file), "issue");
        if let Ok(generation) = issued {
            let writing = Writing { call: self.fixture.call(), ..writing };
            let pen = &mut self.pens[file];
            let nodes: Vec<_> = ids(&nodes).into_iter().filter(|node| pen.placed.contains(node)).collect();
            let updated = twice!(namespace.update_pipeline(writing, chunk, generation, nodes.clone()));
            assert_eq!(updated.err(), nodes.is_empty().then_some(ErrorKind::InvalidArgument), "update pipeline");
            // After a refusal too the chunk can be finished only under the number that was issued.
            let nodes = if nodes.is_empty() { pipeline(&namespace, chunk).await } else { nodes };
            pen.chunk = Some(AddedChunk { chunk, generation, nodes });
        }
    }

    async fn complete(&mut self, call: Call, file: usize, bytes: u64) {
        let Some(pen) = self.pens.get(file) else { return };
        let writing = Writing { call, inode: pen.created.inode, lease: pen.created.lease };
        let bytes = if pen.chunk.is_some() { bytes.max(pen.kept) } else { pen.kept };
        let commits: Vec<_> = pen.chunk.iter().map(|chunk| commit(chunk, bytes)).collect();
        let length = pen.end + bytes;
        let request = Complete { length, commits, relaxed: true, ..Default::default() };
        let completed = twice!(self.fixture.namespace.complete(writing, request.clone()));
        assert_eq!(completed.is_ok(), self.writes(file), "complete");
        let pen = self.pens.remove(file);
        if completed.is_ok() {
            let file = self.model.file(pen.id).expect("it has a writer");
            (file.length, file.open, file.reserved) = (length, false, 0);
        }
    }

    /// Recovers all files whose writer is gone, at any length that their nodes may have.
    async fn recover(&mut self, length: u64, survivors: usize) {
        let namespace = self.fixture.namespace.clone();
        for lease in namespace.leases(RECOVERY_SESSION, LeaseId(0), 100).await.unwrap() {
            let Some(plan) = namespace.recovery_plan(lease.inode).await.unwrap() else { continue };
            for chunk in plan.chunks {
                let generation = namespace.begin_recovery(chunk.chunk).await.unwrap();
                let nodes: Vec<_> = chunk.good().take(survivors).collect();
                let length = if plan.cut { chunk.length } else { length.max(chunk.length) };
                let length = if nodes.is_empty() { 0 } else { length };
                if length < chunk.length {
                    // Nothing that was committed is given up.
                    let lost = namespace.commit_recovery(chunk.chunk, generation, length, nodes).await;
                    assert_eq!(lost.map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument));
                    continue;
                }
                let closed = namespace.commit_recovery(chunk.chunk, generation, length, nodes).await.unwrap();
                assert!(closed, "writers here have one open chunk at a time");
            }
            let status = namespace.stat(FileRef::Inode(lease.inode)).await.unwrap();
            if status.open {
                continue;
            }
            self.settle(&status, plan.path);
        }
    }

    /// The model takes over how a file came out of its recovery.
    fn settle(&mut self, status: &FileStatus, path: Option<DfsPath>) {
        let Some(path) = path else { return };
        let found = self.pens.iter().position(|pen| pen.created.inode == status.inode);
        let id = match found {
            Some(at) => self.pens.remove(at).id,
            None => self.model.id_at(&path).expect("the path leads to it"),
        };
        let file = self.model.file(id).expect("it has a path");
        assert!(status.length >= file.length, "recovery dropped what was committed");
        (file.length, file.open, file.reserved) = (status.length, false, 0);
    }

    async fn new_session(&mut self) {
        let next = self.fixture.other().await;
        self.fixture.namespace.end_session(self.fixture.session).await.unwrap();
        for pen in &self.pens {
            if pen.session == self.fixture.session
                && pen.chunk.is_none()
                && let Some(file) = self.model.file(pen.id)
            {
                file.open = false;
            }
        }
        // Files that left the list of pens without being closed.
        for id in self.model.open_files() {
            if !self.pens.iter().any(|pen| pen.id == id) {
                let path = self.model.path_of(id);
                let open = self.fixture.namespace.stat(FileRef::Path(path)).await.unwrap().open;
                self.model.file(id).expect("listed").open = open;
            }
        }
        self.fixture = next;
    }
}

async fn pipeline(namespace: &Namespace, chunk: ChunkId) -> Vec<NodeId> {
    namespace.chunk(chunk).await.unwrap().unwrap().good().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_namespace_is_its_model(ops in proptest::collection::vec(ops(), 1..80), missing in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut machine = Machine::new(missing).await;
            for (at, op) in ops.into_iter().enumerate() {
                machine.run(op).await;
                if at % 4 == 0 {
                    machine.fixture.check().await;
                }
            }
            machine.fixture.check().await;
            machine.model.compare(&machine.fixture).await;
            machine.compare_attributes().await;
            changing::assert_announced(&machine.fixture.namespace).await;
            machine.fixture.delete("/a", true).await.ok();
            machine.fixture.collect().await;
            machine.fixture.check().await;
        });
    }
}
