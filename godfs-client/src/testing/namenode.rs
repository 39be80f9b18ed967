//! A namenode that keeps its files in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use godfs_core::chunk::ReplicaState;
use godfs_core::{ClusterId, Error, ErrorKind};
use godfs_proto::v1;
use godfs_proto::v1::namespace_service_server::{NamespaceService, NamespaceServiceServer};
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use super::{CHUNK, Network};
use crate::transport::Address;
use crate::transport::convert::{self, Node};
use crate::transport::status::to_status;

type Answer<T> = Result<Response<T>, Status>;

/// The most bytes of a small file here.
pub(crate) const SMALL: u64 = 1_000;

/// A chunk of a fake file.
#[derive(Clone, Debug)]
pub(crate) struct FakeChunk {
    pub(crate) id: u64,
    pub(crate) generation: u64,
    pub(crate) start: u64,
    pub(crate) length: Option<u64>,
    pub(crate) nodes: Vec<u32>,
}

/// A fake file.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeFile {
    pub(crate) inode: u64,
    pub(crate) directory: bool,
    pub(crate) open: bool,
    pub(crate) abandoned: bool,
    pub(crate) small: Option<Bytes>,
    pub(crate) length: u64,
    pub(crate) chunks: Vec<FakeChunk>,
    chunk_size: u64,
    replication: u32,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<String, FakeFile>,
    /// Sessions, each with what its slots answered last.
    sessions: HashMap<u64, HashMap<u32, (u64, String)>>,
    next: u64,
    /// Names of calls, in order.
    pub(crate) calls: Vec<&'static str>,
    /// Nodes excluded by the last AddChunk.
    pub(crate) excluded: Vec<u32>,
    /// Nodes that rows put first.
    pub(crate) order: Vec<u32>,
    /// Calls of this name lose their answer with the connection, so many times.
    pub(crate) lose_answers: Option<(&'static str, usize)>,
    /// The next calls are answered as unavailable.
    pub(crate) unavailable: usize,
    /// Every call is answered with this.
    pub(crate) elsewhere: Option<String>,
    /// How often Complete says that replicas are missing.
    pub(crate) incomplete: usize,
    /// Never answers again.
    pub(crate) mute: bool,
    pub(crate) corrupt: Vec<(u64, u32)>,
}

/// A namenode.
pub(crate) struct FakeNamenode {
    network: Network,
    address: Address,
    nodes: Mutex<Vec<Node>>,
    pub(crate) state: Mutex<State>,
}

impl FakeNamenode {
    pub(crate) fn start(network: &Network, address: &str, nodes: Vec<Node>) -> Arc<Self> {
        let namenode = Arc::new(Self {
            network: network.clone(),
            address: Address::parse(address).expect("valid"),
            nodes: Mutex::new(nodes),
            state: Mutex::new(State { next: 100, ..State::default() }),
        });
        let service = NamespaceServiceServer::new(Service(Arc::clone(&namenode)));
        let incoming = network.listen(address);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        namenode
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn file(&self, path: &str) -> FakeFile {
        self.state.lock().files.get(path).cloned().unwrap_or_else(|| panic!("no file {path}"))
    }

    pub(crate) fn calls(&self, name: &str) -> usize {
        self.state.lock().calls.iter().filter(|call| **call == name).count()
    }

    /// Learns where a node is now.
    pub(crate) fn register(&self, node: Node) {
        let mut nodes = self.nodes.lock();
        nodes.retain(|known| known.id != node.id);
        nodes.push(node);
    }

    /// Forgets all sessions, as when they have expired.
    pub(crate) fn expire_sessions(&self) {
        self.state.lock().sessions.clear();
    }

    /// Counts a call and lets what was ordered go wrong.
    async fn enter(&self, name: &'static str) -> Result<(), Status> {
        let mute = {
            let mut state = self.state.lock();
            state.calls.push(name);
            if let Some(other) = &state.elsewhere {
                return Err(to_status(&Error::new(ErrorKind::Unavailable, "not the leader").with_redirect(other)));
            }
            if state.unavailable > 0 {
                state.unavailable -= 1;
                return Err(to_status(&Error::new(ErrorKind::Unavailable, "starting")));
            }
            state.mute
        };
        if mute {
            return std::future::pending().await;
        }
        Ok(())
    }

    /// Breaks the connections: what was answered is not seen.
    async fn lose<T>(&self) -> T {
        self.network.disconnect(&self.address);
        std::future::pending().await
    }

    /// Runs a mutating call once for each sequence of its slot.
    async fn once<T: prost::Message + Default>(
        &self,
        name: &'static str,
        call: Option<v1::Call>,
        body: impl FnOnce(&mut State, &[Node]) -> Result<T, Error>,
    ) -> Answer<T> {
        self.enter(name).await?;
        let call = convert::call(call.as_ref()).map_err(|error| to_status(&error))?;
        let (answer, lost) = {
            let mut state = self.state.lock();
            let Some(slots) = state.sessions.get(&call.session.get()) else {
                return Err(to_status(&Error::new(ErrorKind::SessionLost, "unknown session")));
            };
            let answer = match slots.get(&call.slot) {
                Some((sequence, kept)) if *sequence == call.sequence => {
                    let bytes: Vec<u8> = kept.bytes().collect::<Vec<_>>().chunks(2).map(unhex).collect();
                    T::decode(&*bytes).expect("as it was kept")
                }
                Some((sequence, _)) if *sequence > call.sequence => {
                    return Err(to_status(&Error::new(ErrorKind::FailedPrecondition, "an old sequence")));
                }
                _ => {
                    let answer = body(&mut state, &self.nodes.lock()).map_err(|error| to_status(&error))?;
                    let kept: String = answer.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
                    if let Some(slots) = state.sessions.get_mut(&call.session.get()) {
                        slots.insert(call.slot, (call.sequence, kept));
                    }
                    answer
                }
            };
            (answer, state.loses(name))
        };
        if lost {
            return self.lose().await;
        }
        Ok(Response::new(answer))
    }
}

fn unhex(pair: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex")
}

impl State {
    /// Whether the answer to this call is one of those to be lost.
    fn loses(&mut self, call: &str) -> bool {
        match &mut self.lose_answers {
            Some((which, times)) if *which == call && *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn by_inode(&mut self, inode: u64, lease: u64) -> Result<&mut FakeFile, Error> {
        assert_eq!(inode + 1_000, lease, "the lease that was given");
        let file = self.files.values_mut().find(|file| file.inode == inode);
        file.filter(|file| file.open).ok_or_else(|| Error::new(ErrorKind::LeaseLost, "no such lease"))
    }

    fn create(&mut self, path: &str, options: &v1::CreateOptions) -> Result<FakeFile, Error> {
        if self.files.contains_key(path) && !options.overwrite {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("{path} exists")));
        }
        let file = FakeFile {
            inode: self.id(),
            open: true,
            chunk_size: if options.chunk_size == 0 { CHUNK } else { options.chunk_size },
            replication: if options.replication == 0 { 3 } else { options.replication },
            ..FakeFile::default()
        };
        self.files.insert(path.to_owned(), file.clone());
        Ok(file)
    }
}

fn commit(file: &mut FakeFile, commits: &[v1::ChunkCommit]) {
    for wire in commits {
        let commit = convert::commit(wire).expect("our client sends what is valid");
        let chunk = file.chunks.iter_mut().find(|chunk| chunk.id == commit.chunk.get()).expect("a known chunk");
        assert_eq!(chunk.generation, commit.generation.get(), "the generation of the pipeline that finished it");
        chunk.length = Some(commit.length);
        chunk.nodes = commit.nodes.iter().map(|node| node.get()).collect();
        if chunk.start == 0 {
            file.small = None;
        }
    }
}

/// What no test of the client asks of it.
fn not_offered(what: &str) -> Status {
    to_status(&Error::new(ErrorKind::Unsupported, format!("the namenode of the tests knows no {what}")))
}

fn status(file: &FakeFile) -> v1::FileStatus {
    let committed = file.chunks.iter().filter_map(|chunk| chunk.length).sum::<u64>();
    v1::FileStatus {
        inode: file.inode,
        kind: if file.directory { v1::FileKind::Directory } else { v1::FileKind::File }.into(),
        length: file.small.as_ref().map_or(if file.open { committed } else { file.length }, |small| small.len() as u64),
        replication: file.replication,
        chunk_size: file.chunk_size,
        version: 1,
        open: file.open,
        small: file.small.is_some(),
        ..Default::default()
    }
}

fn locations(file: &FakeFile, from: u64, nodes: &[Node], order: &[u32]) -> Vec<v1::ChunkLocation> {
    let place = |id: u32| order.iter().position(|first| *first == id).unwrap_or(usize::MAX);
    let reaches = |chunk: &&FakeChunk| chunk.start + chunk.length.unwrap_or(file.chunk_size) > from;
    file.chunks
        .iter()
        .filter(reaches)
        .map(|chunk| {
            let mut ids = chunk.nodes.clone();
            ids.sort_by_key(|id| (place(*id), *id));
            v1::ChunkLocation {
                chunk: chunk.id,
                offset: chunk.start,
                length: chunk.length.unwrap_or(0),
                generation: chunk.generation,
                open: chunk.length.is_none(),
                grant: Bytes::new(),
                replicas: ids
                    .iter()
                    .map(|id| v1::ReplicaLocation {
                        node: nodes.iter().find(|node| node.id.get() == *id).map(convert::node_to_wire),
                        state: convert::replica_state_to_wire(if chunk.length.is_some() {
                            ReplicaState::Finalized
                        } else {
                            ReplicaState::Rbw
                        })
                        .into(),
                        live: true,
                    })
                    .collect(),
            }
        })
        .collect()
}

struct Service(Arc<FakeNamenode>);

impl Service {
    fn find(&self, path: &str, inode: u64) -> Result<FakeFile, Status> {
        let state = self.0.state.lock();
        let found =
            if inode == 0 { state.files.get(path) } else { state.files.values().find(|file| file.inode == inode) };
        found.cloned().ok_or_else(|| to_status(&Error::new(ErrorKind::NotFound, format!("{path} does not exist"))))
    }
}

#[async_trait::async_trait]
impl NamespaceService for Service {
    type ListStream = BoxStream<'static, Result<v1::ListPage, Status>>;

    async fn hello(&self, _: Request<v1::HelloRequest>) -> Answer<v1::HelloResponse> {
        self.0.enter("hello").await?;
        let lost = self.0.state.lock().loses("hello");
        if lost {
            return self.0.lose().await;
        }
        Ok(Response::new(v1::HelloResponse {
            version: 1,
            cluster_id: ClusterId::from_random(1).as_bytes().to_vec().into(),
            chunk_size: CHUNK,
            replication: 3,
            small_file_limit: SMALL,
            ..Default::default()
        }))
    }

    async fn open_session(&self, _: Request<v1::OpenSessionRequest>) -> Answer<v1::OpenSessionResponse> {
        self.0.enter("open_session").await?;
        let mut state = self.0.state.lock();
        let session = state.id();
        state.sessions.insert(session, HashMap::new());
        Ok(Response::new(v1::OpenSessionResponse { session, slots: 4, timeout_ms: 30_000, soft_limit_ms: 10_000 }))
    }

    async fn renew_session(&self, request: Request<v1::RenewSessionRequest>) -> Answer<v1::RenewSessionResponse> {
        self.0.enter("renew_session").await?;
        match self.0.state.lock().sessions.contains_key(&request.get_ref().session) {
            true => Ok(Response::new(v1::RenewSessionResponse {})),
            false => Err(to_status(&Error::new(ErrorKind::SessionLost, "unknown session"))),
        }
    }

    async fn close_session(&self, request: Request<v1::CloseSessionRequest>) -> Answer<v1::CloseSessionResponse> {
        self.0.enter("close_session").await?;
        self.0.state.lock().sessions.remove(&request.get_ref().session);
        Ok(Response::new(v1::CloseSessionResponse {}))
    }

    async fn mkdir(&self, request: Request<v1::MkdirRequest>) -> Answer<v1::MkdirResponse> {
        let request = request.into_inner();
        self.0
            .once("mkdir", request.call, |state, _| {
                if state.files.contains_key(&request.path) {
                    return Err(Error::new(ErrorKind::AlreadyExists, format!("{} exists", request.path)));
                }
                let inode = state.id();
                let directory = FakeFile { inode, directory: true, ..FakeFile::default() };
                state.files.insert(request.path, directory);
                Ok(v1::MkdirResponse { inode })
            })
            .await
    }

    async fn create(&self, request: Request<v1::CreateRequest>) -> Answer<v1::CreateResponse> {
        let request = request.into_inner();
        self.0
            .once("create", request.call, |state, nodes| {
                let id = state.id();
                let order = state.order.clone();
                let file = state.create(&request.path, &request.options.unwrap_or_default())?;
                let first = match &request.first {
                    Some(_) => {
                        let made = state.by_inode(file.inode, file.inode + 1_000)?;
                        add_chunk(made, id, 0, &order, nodes.iter().collect())
                    }
                    None => None,
                };
                Ok(v1::CreateResponse {
                    inode: file.inode,
                    lease: file.inode + 1_000,
                    replication: file.replication,
                    chunk_size: file.chunk_size,
                    first,
                })
            })
            .await
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answer<v1::PutResponse> {
        let request = request.into_inner();
        self.0
            .once("put", request.call, |state, _| {
                let inode = state.create(&request.path, &request.options.unwrap_or_default())?.inode;
                let file = state.by_inode(inode, inode + 1_000)?;
                (file.open, file.length, file.small) = (false, request.data.len() as u64, Some(request.data));
                Ok(v1::PutResponse { inode, version: 1 })
            })
            .await
    }

    async fn add_chunk(&self, request: Request<v1::AddChunkRequest>) -> Answer<v1::AddChunkResponse> {
        let request = request.into_inner();
        self.0
            .once("add_chunk", request.call, |state, nodes| {
                let id = state.id();
                state.excluded.clone_from(&request.excluded);
                let order = state.order.clone();
                let file = state.by_inode(request.inode, request.lease)?;
                commit(file, &request.commits);
                let ends = file.chunks.last().map_or(0, |last| last.start + file.chunk_size);
                assert_eq!(request.start, ends, "a chunk begins where the one before it ends");
                let free = nodes.iter().filter(|node| !request.excluded.contains(&node.id.get())).collect();
                add_chunk(file, id, request.start, &order, free)
                    .ok_or_else(|| Error::new(ErrorKind::Unavailable, "no datanode is left"))
            })
            .await
    }

    async fn abandon_chunk(&self, request: Request<v1::AbandonChunkRequest>) -> Answer<v1::AbandonChunkResponse> {
        let request = request.into_inner();
        self.0
            .once("abandon_chunk", request.call, |state, _| {
                let file = state.by_inode(request.inode, request.lease)?;
                let last = file.chunks.pop().expect("a chunk");
                assert_eq!(last.id, request.chunk, "only the last chunk is taken back");
                Ok(v1::AbandonChunkResponse {})
            })
            .await
    }

    async fn issue_generation(
        &self,
        request: Request<v1::IssueGenerationRequest>,
    ) -> Answer<v1::IssueGenerationResponse> {
        let request = request.into_inner();
        self.0
            .once("issue_generation", request.call, |state, _| {
                let file = state.by_inode(request.inode, request.lease)?;
                let chunk = file.chunks.iter_mut().find(|chunk| chunk.id == request.chunk).expect("a known chunk");
                chunk.generation += 1;
                Ok(v1::IssueGenerationResponse { generation: chunk.generation })
            })
            .await
    }

    async fn update_pipeline(&self, request: Request<v1::UpdatePipelineRequest>) -> Answer<v1::UpdatePipelineResponse> {
        let request = request.into_inner();
        self.0
            .once("update_pipeline", request.call, |state, _| {
                let file = state.by_inode(request.inode, request.lease)?;
                let chunk = file.chunks.iter_mut().find(|chunk| chunk.id == request.chunk).expect("a known chunk");
                assert_eq!(chunk.generation, request.generation);
                chunk.nodes = request.nodes;
                Ok(v1::UpdatePipelineResponse {})
            })
            .await
    }

    async fn add_node(&self, request: Request<v1::AddNodeRequest>) -> Answer<v1::AddNodeResponse> {
        let request = request.into_inner();
        self.0
            .once("add_node", request.call, |state, nodes| {
                let file = state.by_inode(request.inode, request.lease)?;
                let chunk = file.chunks.iter_mut().find(|chunk| chunk.id == request.chunk).expect("a known chunk");
                assert_eq!(chunk.generation, request.generation);
                let free = nodes.iter().find(|node| {
                    let id = node.id.get();
                    !chunk.nodes.contains(&id) && !request.excluded.contains(&id)
                });
                Ok(v1::AddNodeResponse { node: free.map(convert::node_to_wire) })
            })
            .await
    }

    async fn store_small(&self, request: Request<v1::StoreSmallRequest>) -> Answer<v1::StoreSmallResponse> {
        let request = request.into_inner();
        self.0
            .once("store_small", request.call, |state, _| {
                state.by_inode(request.inode, request.lease)?.small = Some(request.data);
                Ok(v1::StoreSmallResponse {})
            })
            .await
    }

    async fn complete(&self, request: Request<v1::CompleteRequest>) -> Answer<v1::CompleteResponse> {
        let request = request.into_inner();
        self.0
            .once("complete", request.call, |state, _| {
                let waits = state.incomplete > 0;
                state.incomplete = state.incomplete.saturating_sub(1);
                let file = state.by_inode(request.inode, request.lease)?;
                commit(file, &request.commits);
                if waits {
                    return Ok(v1::CompleteResponse { missing: "a second replica".into(), ..Default::default() });
                }
                let bytes: u64 = file.chunks.iter().map(|chunk| chunk.length.expect("every chunk is reported")).sum();
                // Without bytes in the call, those stored before are the file.
                let kept = file.small.take().filter(|_| request.data.is_empty());
                file.small = file.chunks.is_empty().then(|| kept.unwrap_or(request.data));
                let all = file.small.as_ref().map_or(bytes, |small| small.len() as u64);
                assert_eq!(request.length, all, "the length of all chunks");
                (file.open, file.length) = (false, request.length);
                Ok(v1::CompleteResponse { complete: true, version: 1, missing: String::new() })
            })
            .await
    }

    async fn abandon(&self, request: Request<v1::AbandonRequest>) -> Answer<v1::AbandonResponse> {
        let request = request.into_inner();
        self.0
            .once("abandon", request.call, |state, _| {
                let file = state.by_inode(request.inode, request.lease)?;
                (file.open, file.abandoned) = (false, true);
                Ok(v1::AbandonResponse {})
            })
            .await
    }

    async fn recover_lease(&self, request: Request<v1::RecoverLeaseRequest>) -> Answer<v1::RecoverLeaseResponse> {
        let request = request.into_inner();
        self.0.once("recover_lease", request.call, |_, _| Ok(v1::RecoverLeaseResponse { closed: true })).await
    }

    async fn open(&self, request: Request<v1::OpenRequest>) -> Answer<v1::OpenResponse> {
        self.0.enter("open").await?;
        let file = self.find(&request.get_ref().path, 0)?;
        let order = self.0.state.lock().order.clone();
        Ok(Response::new(v1::OpenResponse {
            xattrs: Vec::new(),
            status: Some(status(&file)),
            data: file.small.clone().unwrap_or_default(),
            chunks: locations(&file, 0, &self.0.nodes.lock(), &order),
        }))
    }

    async fn locate(&self, request: Request<v1::LocateRequest>) -> Answer<v1::LocateResponse> {
        self.0.enter("locate").await?;
        let request = request.into_inner();
        let file = self.find(&request.path, request.inode)?;
        let order = self.0.state.lock().order.clone();
        // Few at a time, so that callers have to ask again.
        let mut chunks = locations(&file, request.offset, &self.0.nodes.lock(), &order);
        let more = chunks.len() > 2;
        chunks.truncate(2);
        Ok(Response::new(v1::LocateResponse { status: Some(status(&file)), chunks, more }))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Answer<v1::StatResponse> {
        self.0.enter("stat").await?;
        let file = self.find(&request.get_ref().path, 0)?;
        Ok(Response::new(v1::StatResponse { status: Some(status(&file)) }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<Self::ListStream> {
        self.0.enter("list").await?;
        let request = request.into_inner();
        let prefix = format!("{}/", request.path.trim_end_matches('/'));
        let state = self.0.state.lock();
        let entries = state.files.iter().filter_map(|(path, file)| {
            let name = path.strip_prefix(&prefix)?;
            let here = !name.contains('/') && name > request.start_after.as_str();
            here.then(|| v1::ListEntry { name: name.to_owned(), status: Some(status(file)), located: None })
        });
        let entries: Vec<_> = entries.collect();
        let pages: Vec<_> = entries.chunks(300).map(|page| Ok(v1::ListPage { entries: page.to_vec() })).collect();
        Ok(Response::new(futures::stream::iter(pages).boxed()))
    }

    type WalkStream = BoxStream<'static, Result<v1::WalkPage, Status>>;

    /// Pages of 300; the stream breaks behind the first one of each.
    async fn walk(&self, request: Request<v1::WalkRequest>) -> Answer<Self::WalkStream> {
        self.0.enter("walk").await?;
        let request = request.into_inner();
        let prefix = format!("{}/", request.path.trim_end_matches('/'));
        let state = self.0.state.lock();
        let below = state.files.iter().filter(|(path, _)| path.starts_with(&prefix) && **path > request.after);
        let all: Vec<_> =
            below.map(|(path, file)| v1::WalkEntry { path: path.clone(), status: Some(status(file)) }).collect();
        let entries: Vec<_> = all.iter().take(300).cloned().collect();
        let next = if all.len() > 300 { entries[299].path.clone() } else { String::new() };
        let pages = [Ok(v1::WalkPage { entries, next, denied: Vec::new() }), Err(Status::unavailable("broken"))];
        Ok(Response::new(futures::stream::iter(pages).boxed()))
    }

    async fn set_quota(&self, request: Request<v1::SetQuotaRequest>) -> Answer<v1::SetQuotaResponse> {
        let request = request.into_inner();
        self.0.once("set_quota", request.call, |_, _| Ok(v1::SetQuotaResponse {})).await
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchPage, Status>>;

    /// Two changes a stream, which then breaks: `/1` and `/2`, then `/3` and `/4`, and so on. Places are the numbers.
    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        self.0.enter("watch").await?;
        let seen: u64 = request.into_inner().place.parse().unwrap_or(0);
        let change = |number: u64| v1::Change {
            place: number.to_string(),
            kind: v1::ChangeKind::MadeDirectory.into(),
            path: format!("/{number}"),
            inode: number,
            node: v1::FileKind::Directory.into(),
            ..Default::default()
        };
        let page = |changes: Vec<v1::Change>, place: u64| Ok(v1::WatchPage { changes, place: place.to_string() });
        let pages = [
            page(vec![], seen),
            page(vec![change(seen + 1), change(seen + 2)], seen + 2),
            Err(Status::unavailable("broken")),
        ];
        Ok(Response::new(futures::stream::iter(pages).boxed()))
    }

    async fn usage(&self, _: Request<v1::UsageRequest>) -> Answer<v1::UsageResponse> {
        self.0.enter("usage").await?;
        let files = self.0.state.lock().files.len() as u64;
        let kind = v1::FileKind::Directory.into();
        Ok(Response::new(v1::UsageResponse { kind, files, ..Default::default() }))
    }

    async fn rename(&self, request: Request<v1::RenameRequest>) -> Answer<v1::RenameResponse> {
        let request = request.into_inner();
        self.0
            .once("rename", request.call, |state, _| {
                let gone = || Error::new(ErrorKind::NotFound, format!("{} does not exist", request.from));
                let file = state.files.remove(&request.from).ok_or_else(gone)?;
                state.files.insert(request.to, file);
                Ok(v1::RenameResponse {})
            })
            .await
    }

    async fn append(&self, _: Request<v1::AppendRequest>) -> Answer<v1::AppendResponse> {
        Err(not_offered("append"))
    }

    async fn truncate(&self, _: Request<v1::TruncateRequest>) -> Answer<v1::TruncateResponse> {
        Err(not_offered("truncate"))
    }

    async fn compose(&self, _: Request<v1::ComposeRequest>) -> Answer<v1::ComposeResponse> {
        Err(not_offered("parts"))
    }

    type ListKeysStream = BoxStream<'static, Result<v1::KeyPage, Status>>;

    async fn list_keys(&self, _: Request<v1::ListKeysRequest>) -> Answer<Self::ListKeysStream> {
        Err(not_offered("keys"))
    }

    async fn concat(&self, _: Request<v1::ConcatRequest>) -> Answer<v1::ConcatResponse> {
        Err(not_offered("concat"))
    }

    async fn stat_id(&self, request: Request<v1::StatIdRequest>) -> Answer<v1::StatIdResponse> {
        let state = self.0.state.lock();
        let found = state.files.iter().find(|(_, file)| file.inode == request.get_ref().inode);
        let gone = || to_status(&Error::new(ErrorKind::NotFound, "no such inode"));
        let (path, file) = found.ok_or_else(gone)?;
        Ok(Response::new(v1::StatIdResponse { status: Some(status(file)), path: path.clone() }))
    }

    async fn open_files(&self, _: Request<v1::OpenFilesRequest>) -> Answer<v1::OpenFilesResponse> {
        Err(not_offered("open_files"))
    }

    async fn reopen_chunk(&self, _: Request<v1::ReopenChunkRequest>) -> Answer<v1::ReopenChunkResponse> {
        Err(not_offered("reopen_chunk"))
    }

    async fn exchange(&self, _: Request<v1::ExchangeRequest>) -> Answer<v1::ExchangeResponse> {
        Err(not_offered("exchange"))
    }

    async fn symlink(&self, _: Request<v1::SymlinkRequest>) -> Answer<v1::SymlinkResponse> {
        Err(not_offered("symlink"))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        let request = request.into_inner();
        self.0
            .once("delete", request.call, |state, _| {
                let gone = || Error::new(ErrorKind::NotFound, format!("{} does not exist", request.path));
                state.files.remove(&request.path).ok_or_else(gone)?;
                Ok(v1::DeleteResponse::default())
            })
            .await
    }

    async fn list_trash(&self, _: Request<v1::ListTrashRequest>) -> Answer<v1::ListTrashResponse> {
        Ok(Response::new(v1::ListTrashResponse::default()))
    }

    async fn restore_trash(&self, _: Request<v1::RestoreTrashRequest>) -> Answer<v1::RestoreTrashResponse> {
        Err(not_offered("restore_trash"))
    }

    async fn set_replication(&self, request: Request<v1::SetReplicationRequest>) -> Answer<v1::SetReplicationResponse> {
        let request = request.into_inner();
        self.0.once("set_replication", request.call, |_, _| Ok(v1::SetReplicationResponse {})).await
    }

    async fn set_times(&self, request: Request<v1::SetTimesRequest>) -> Answer<v1::SetTimesResponse> {
        let request = request.into_inner();
        self.0.once("set_times", request.call, |_, _| Ok(v1::SetTimesResponse {})).await
    }

    async fn set_owner(&self, request: Request<v1::SetOwnerRequest>) -> Answer<v1::SetOwnerResponse> {
        let request = request.into_inner();
        self.0.once("set_owner", request.call, |_, _| Ok(v1::SetOwnerResponse {})).await
    }

    async fn set_mode(&self, request: Request<v1::SetModeRequest>) -> Answer<v1::SetModeResponse> {
        let request = request.into_inner();
        self.0.once("set_mode", request.call, |_, _| Ok(v1::SetModeResponse {})).await
    }

    async fn set_acl(&self, request: Request<v1::SetAclRequest>) -> Answer<v1::SetAclResponse> {
        let request = request.into_inner();
        self.0.once("set_acl", request.call, |_, _| Ok(v1::SetAclResponse {})).await
    }

    async fn set_xattr(&self, request: Request<v1::SetXattrRequest>) -> Answer<v1::SetXattrResponse> {
        let request = request.into_inner();
        self.0.once("set_xattr", request.call, |_, _| Ok(v1::SetXattrResponse {})).await
    }

    async fn remove_xattr(&self, request: Request<v1::RemoveXattrRequest>) -> Answer<v1::RemoveXattrResponse> {
        let request = request.into_inner();
        self.0.once("remove_xattr", request.call, |_, _| Ok(v1::RemoveXattrResponse {})).await
    }

    async fn get_acl(&self, _: Request<v1::GetAclRequest>) -> Answer<v1::GetAclResponse> {
        self.0.enter("get_acl").await?;
        Ok(Response::new(v1::GetAclResponse::default()))
    }

    async fn get_xattrs(&self, _: Request<v1::GetXattrsRequest>) -> Answer<v1::GetXattrsResponse> {
        self.0.enter("get_xattrs").await?;
        Ok(Response::new(v1::GetXattrsResponse::default()))
    }

    async fn report_corrupt(&self, request: Request<v1::ReportCorruptRequest>) -> Answer<v1::ReportCorruptResponse> {
        self.0.enter("report_corrupt").await?;
        self.0.state.lock().corrupt.push((request.get_ref().chunk, request.get_ref().node));
        Ok(Response::new(v1::ReportCorruptResponse {}))
    }
}

/// Gives a file a chunk on those nodes that come first; `None` when there is none.
fn add_chunk(
    file: &mut FakeFile,
    id: u64,
    start: u64,
    order: &[u32],
    mut free: Vec<&Node>,
) -> Option<v1::AddChunkResponse> {
    free.sort_by_key(|node| order.iter().position(|first| *first == node.id.get()).unwrap_or(usize::MAX));
    free.truncate(file.replication as usize);
    if free.is_empty() {
        return None;
    }
    let ids = free.iter().map(|node| node.id.get()).collect();
    file.chunks.push(FakeChunk { id, generation: 1, start, length: None, nodes: ids });
    let nodes = free.into_iter().map(convert::node_to_wire).collect();
    Some(v1::AddChunkResponse { chunk: id, generation: 1, nodes })
}
