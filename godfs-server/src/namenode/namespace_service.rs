//! The service to clients: what comes in is checked and handed to the namespace, what it answers goes out.

use std::sync::Arc;

use godfs_client::transport::hello::software;
use godfs_client::transport::{caller, convert, status};
use godfs_core::namespace::{
    AddedChunk, Call, ChunkCommit, Complete, Completion, CreateOptions, ETag, FileRef, LocateRange, Located,
    MAX_CONCAT_FILES, MAX_PAGE, MkdirOptions, Namespace, Quota, QuotaChange, Rename, Symlink, Times, Unlink, Writing,
    Xattr,
};
use godfs_core::{DfsPath, Error, ErrorKind, LeaseId, Result, SessionId};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use v1::namespace_service_server::NamespaceService;

use super::convert::{millis, node, status as status_to_wire};
use super::state::State;
use super::{allocate, attributes, held, list, objects, trash, verify, walk, watch};

/// Pages that are read before the caller has taken them: the next one is ready, and a caller that stops reading pins no more.
const READ_AHEAD: usize = 1;
/// Chunks in one answer to `Open` and `Locate`, whatever the caller asks for: some 100 bytes each and replica.
const MAX_LOCATED: usize = 1_000;
/// Open files in one answer, and the most bytes of their paths.
const OPEN_FILES: usize = 1_000;
const OPEN_FILES_BYTES: usize = 1 << 20;
/// The longest evidence of a corrupt replica that is looked at, bytes.
const MAX_EVIDENCE: usize = 1 << 10;
/// The longest host name that a caller may give, bytes.
const MAX_HOST: usize = 255;

/// The service to clients.
#[derive(Debug)]
pub(super) struct Names(pub(super) Arc<State>);

fn answer<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| {
        if error.kind() == ErrorKind::Internal || error.kind() == ErrorKind::Corrupt {
            tracing::error!(error = error.report(), "a call failed");
        }
        status::to_status(&error)
    })
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}

pub(super) fn call(wire: Option<&v1::Call>) -> Result<Call> {
    let call = convert::call(wire)?;
    Ok(Call { session: call.session, slot: call.slot, sequence: call.sequence })
}

fn writing(wire: Option<&v1::Call>, inode: u64, lease: u64) -> Result<Writing> {
    Ok(Writing { call: call(wire)?, inode: convert::inode(inode)?, lease: convert::lease(lease)? })
}

pub(super) fn options(wire: Option<v1::CreateOptions>) -> Result<CreateOptions> {
    let wire = wire.unwrap_or_default();
    let replication = convert::replication(wire.replication)?;
    Ok(CreateOptions {
        overwrite: wire.overwrite,
        if_match: wire
            .if_match
            .map(|etag| convert::etag(&etag))
            .transpose()?
            .map(|(inode, version)| ETag { inode, version }),
        parents: wire.parents,
        replication: replication.map(replication_number).transpose()?,
        chunk_size: convert::chunk_size(wire.chunk_size)?,
        publish_on_close: wire.publish_on_close,
        mode: convert::new_mode(wire.mode.as_ref())?,
        xattrs: wire.xattrs.into_iter().map(|v1::Xattr { name, value }| Xattr { name, value }).collect(),
    })
}

fn replication_number(count: u32) -> Result<u16> {
    u16::try_from(count).map_err(|_| invalid(format!("replication: {count} is too many")))
}

/// The chunks that a writer has finished, each no more than once.
pub(super) fn commits(wire: &[v1::ChunkCommit]) -> Result<Vec<ChunkCommit>> {
    if wire.len() > MAX_PAGE {
        return Err(invalid(format!("{} commits in one call, the limit is {MAX_PAGE}", wire.len())));
    }
    let commit = |commit: convert::ChunkCommit| ChunkCommit {
        chunk: commit.chunk,
        generation: commit.generation,
        length: commit.length,
        nodes: commit.nodes,
    };
    wire.iter().map(|wire| convert::commit(wire).map(commit)).collect()
}

pub(super) fn host(text: &str) -> Result<&str> {
    if text.len() > MAX_HOST { Err(invalid("host: is longer than 255 bytes")) } else { Ok(text) }
}

/// Shows the repair queue the chunks of a file whose replication has changed.
pub(super) async fn retarget(state: Arc<State>, path: DfsPath) {
    let mut range = LocateRange { offset: 0, length: u64::MAX, chunks: MAX_LOCATED };
    // What can't be read now is found by the next scan of the nodes that hold it.
    while let Ok(located) = state.namespace.locate(FileRef::Path(path.clone()), range).await {
        state.repair.touched(located.chunks.iter().map(|chunk| chunk.info.chunk));
        match located.chunks.last() {
            Some(last) if located.more && last.info.length > 0 => range.offset = last.offset + last.info.length,
            _ => break,
        }
    }
}

impl Names {
    /// The namespace as the caller of `request` finds it.
    fn by<T>(&self, request: &Request<T>) -> Result<Namespace, Status> {
        let caller = caller::claimed(request.metadata()).map_err(|error| status::to_status(&error))?;
        Ok(self.0.namespace.by(caller))
    }

    fn added(&self, added: &AddedChunk) -> v1::AddChunkResponse {
        let nodes = self.0.nodes.lock();
        v1::AddChunkResponse {
            chunk: added.chunk.get(),
            generation: added.generation.get(),
            nodes: added.nodes.iter().map(|&id| node(&nodes, id)).collect(),
        }
    }

    fn open_answer(
        &self,
        located: Located,
        host: &str,
    ) -> (v1::FileStatus, bytes::Bytes, Vec<v1::ChunkLocation>, bool) {
        let chunks = self.0.locations(&located.chunks, host);
        (status_to_wire(located.status), located.data, chunks, located.more)
    }

    async fn open_session(&self, request: v1::OpenSessionRequest) -> Result<v1::OpenSessionResponse> {
        let state = &self.0;
        let peer =
            state.identity.check_speaker(request.hello.as_ref(), &[v1::Speaker::Client, v1::Speaker::Datanode])?;
        state.leases.admit(state.settings.namespace.max_sessions)?;
        let session = state.namespace.open_session(peer.name).await?;
        Ok(v1::OpenSessionResponse {
            session: session.get(),
            slots: state.settings.namespace.slots,
            timeout_ms: millis(state.settings.namespace.session_timeout),
            soft_limit_ms: millis(state.settings.namespace.lease_soft_limit),
        })
    }

    /// Publishing a file asks what its writer may do.
    async fn complete(&self, namespace: &Namespace, request: v1::CompleteRequest) -> Result<v1::CompleteResponse> {
        let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
        let commits = commits(&request.commits)?;
        let chunks: Vec<_> = commits.iter().map(|commit| commit.chunk).collect();
        let complete = Complete { length: request.length, commits, data: request.data, relaxed: request.relaxed };
        let done = namespace.complete(writing, complete).await?;
        self.0.repair.touched(chunks);
        let (complete, missing) = match done.value {
            Completion::Closed => (true, String::new()),
            Completion::Waiting(missing) => (false, missing),
        };
        Ok(v1::CompleteResponse { complete, version: done.version.get(), missing })
    }

    async fn open(&self, namespace: &Namespace, request: v1::OpenRequest) -> Result<v1::OpenResponse> {
        let host = host(&request.host)?;
        let chunks = usize::try_from(request.chunks).unwrap_or(usize::MAX).min(MAX_LOCATED);
        let range = LocateRange { offset: 0, length: u64::MAX, chunks };
        let file = FileRef::Path(DfsPath::parse(&request.path)?);
        let (located, xattrs) = match request.xattrs {
            true => namespace.locate_with_xattrs(file, range).await?,
            false => (namespace.locate(file, range).await?, Vec::new()),
        };
        let (status, data, chunks, _) = self.open_answer(located, host);
        let xattrs = xattrs.into_iter().map(|Xattr { name, value }| v1::Xattr { name, value }).collect();
        Ok(v1::OpenResponse { status: Some(status), data, chunks, xattrs })
    }

    async fn locate(&self, namespace: &Namespace, request: v1::LocateRequest) -> Result<v1::LocateResponse> {
        let host = host(&request.host)?;
        let file = match (request.path.as_str(), request.inode) {
            ("", inode) => FileRef::Inode(convert::inode(inode)?),
            (path, 0) => FileRef::Path(DfsPath::parse(path)?),
            _ => return Err(invalid("locate: takes a path or an inode, not both")),
        };
        let chunks = match usize::try_from(request.chunks).unwrap_or(usize::MAX) {
            0 => MAX_LOCATED,
            chunks => chunks.min(MAX_LOCATED),
        };
        let length = if request.length == 0 { u64::MAX } else { request.length };
        let located = namespace.locate(file, LocateRange { offset: request.offset, length, chunks }).await?;
        let (status, _, chunks, more) = self.open_answer(located, host);
        Ok(v1::LocateResponse { status: Some(status), chunks, more })
    }
}

#[tonic::async_trait]
impl NamespaceService for Names {
    async fn hello(&self, request: Request<v1::HelloRequest>) -> Result<Response<v1::HelloResponse>, Status> {
        let state = &self.0;
        let settings = &state.settings.namespace;
        answer(state.identity.check(request.into_inner().hello.as_ref()).map(|peer| v1::HelloResponse {
            version: peer.version,
            cluster_id: state.cluster_id.as_bytes().to_vec().into(),
            incarnation: state.incarnation.as_bytes().to_vec().into(),
            chunk_size: settings.chunk_size,
            replication: settings.replication.into(),
            small_file_limit: settings.small_file_limit as u64,
            software: software(),
        }))
    }

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        answer(Names::open_session(self, request.into_inner()).await)
    }

    async fn renew_session(
        &self,
        request: Request<v1::RenewSessionRequest>,
    ) -> Result<Response<v1::RenewSessionResponse>, Status> {
        let session = SessionId(request.into_inner().session);
        let renew = async {
            self.0.namespace.renew_session(session).await?;
            Ok(v1::RenewSessionResponse {})
        };
        answer(renew.await)
    }

    async fn close_session(
        &self,
        request: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionResponse>, Status> {
        let session = SessionId(request.into_inner().session);
        let close = async {
            self.0.namespace.end_session(session).await?;
            self.0.leases.closed(session);
            Ok(v1::CloseSessionResponse {})
        };
        answer(close.await)
    }

    async fn mkdir(&self, request: Request<v1::MkdirRequest>) -> Result<Response<v1::MkdirResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let mkdir = async {
            let mode = convert::new_mode(request.mode.as_ref())?;
            let options = MkdirOptions { parents: request.parents, mode };
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let made = namespace.mkdir(call, path, options).await?;
            Ok(v1::MkdirResponse { inode: made.get() })
        };
        answer(mkdir.await)
    }

    async fn create(&self, request: Request<v1::CreateRequest>) -> Result<Response<v1::CreateResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let create = async {
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let options = options(request.options)?;
            let (created, chunk) = match request.first {
                None => (namespace.create(call, path, options).await?, None),
                Some(first) => {
                    let first = allocate::First { host: host(&first.host)?.to_owned(), expected: first.expected };
                    let created = allocate::create(&self.0, &namespace, (call, path), options, first).await?;
                    (created.file, created.chunk)
                }
            };
            Ok(v1::CreateResponse {
                inode: created.inode.get(),
                lease: created.lease.get(),
                replication: created.replication.into(),
                chunk_size: created.chunk_size,
                first: chunk.map(|chunk| self.added(&chunk)),
            })
        };
        answer(create.await)
    }

    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let append = async {
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let append = || namespace.append(call, path.clone());
            let file = held::until_heard(&self.0, call.session, append).await?;
            // The caller has the lease: nobody else changes them.
            let range = LocateRange { offset: 0, length: 0, chunks: 0 };
            let located = self.0.namespace.locate(FileRef::Inode(file.inode), range).await?;
            Ok(v1::AppendResponse {
                inode: file.inode.get(),
                lease: file.lease.get(),
                replication: file.replication.into(),
                chunk_size: file.chunk_size,
                length: file.length,
                base: file.base,
                data: located.data,
            })
        };
        answer(append.await)
    }

    async fn truncate(&self, request: Request<v1::TruncateRequest>) -> Result<Response<v1::TruncateResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let truncate = async {
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let truncate = || namespace.truncate(call, path.clone(), request.length);
            let truncated = held::until_heard(&self.0, call.session, truncate).await?;
            if truncated.generation.get() > 0 {
                self.0.leases.look();
            }
            Ok(v1::TruncateResponse { inode: truncated.inode.get(), generation: truncated.generation.get() })
        };
        answer(truncate.await)
    }

    async fn concat(&self, request: Request<v1::ConcatRequest>) -> Result<Response<v1::ConcatResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let concat = async {
            let (call, target) = (call(request.call.as_ref())?, DfsPath::parse(&request.target)?);
            if request.sources.len() > MAX_CONCAT_FILES {
                return Err(invalid(format!("sources: more than {MAX_CONCAT_FILES}")));
            }
            let sources = request.sources.iter().map(|path| DfsPath::parse(path)).collect::<Result<Vec<_>>>()?;
            let concat = || namespace.concat(call, target.clone(), sources.clone());
            held::until_heard(&self.0, call.session, concat).await?;
            // Their number of replicas is now the target's.
            self.0.tasks.spawn(retarget(Arc::clone(&self.0), target));
            Ok(v1::ConcatResponse {})
        };
        answer(concat.await)
    }

    async fn compose(&self, request: Request<v1::ComposeRequest>) -> Result<Response<v1::ComposeResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(objects::compose(&self.0, &namespace, request.into_inner()).await)
    }

    async fn reopen_chunk(
        &self,
        request: Request<v1::ReopenChunkRequest>,
    ) -> Result<Response<v1::ReopenChunkResponse>, Status> {
        let request = request.into_inner();
        let reopen = async {
            let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
            let reopened = allocate::reopen_chunk(&self.0, writing).await?;
            let nodes = self.0.nodes.lock();
            Ok(v1::ReopenChunkResponse {
                chunk: reopened.chunk.get(),
                generation: reopened.generation.get(),
                nodes: reopened.nodes.iter().map(|&id| node(&nodes, id)).collect(),
            })
        };
        answer(reopen.await)
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let put = async {
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let put = namespace.put(call, path, options(request.options)?, request.data).await?;
            Ok(v1::PutResponse { inode: put.value.get(), version: put.version.get() })
        };
        answer(put.await)
    }

    async fn add_chunk(&self, request: Request<v1::AddChunkRequest>) -> Result<Response<v1::AddChunkResponse>, Status> {
        let request = request.into_inner();
        let add = async {
            let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
            let wanted = allocate::Wanted {
                start: request.start,
                commits: commits(&request.commits)?,
                excluded: convert::node_ids(&request.excluded)?,
                host: host(&request.host)?.to_owned(),
                expected: request.expected,
            };
            let added = allocate::add_chunk(&self.0, writing, wanted).await?;
            Ok(self.added(&added))
        };
        answer(add.await)
    }

    async fn abandon_chunk(
        &self,
        request: Request<v1::AbandonChunkRequest>,
    ) -> Result<Response<v1::AbandonChunkResponse>, Status> {
        let request = request.into_inner();
        let abandon = async {
            let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
            self.0.namespace.abandon_chunk(writing, convert::chunk(request.chunk)?).await?;
            self.0.links.look_for_garbage();
            Ok(v1::AbandonChunkResponse {})
        };
        answer(abandon.await)
    }

    async fn issue_generation(
        &self,
        request: Request<v1::IssueGenerationRequest>,
    ) -> Result<Response<v1::IssueGenerationResponse>, Status> {
        let request = request.into_inner();
        let issue = async {
            let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
            let issued = self.0.namespace.issue_generation(writing, convert::chunk(request.chunk)?).await?;
            Ok(v1::IssueGenerationResponse { generation: issued.get() })
        };
        answer(issue.await)
    }

    async fn update_pipeline(
        &self,
        request: Request<v1::UpdatePipelineRequest>,
    ) -> Result<Response<v1::UpdatePipelineResponse>, Status> {
        let request = request.into_inner();
        let update = async {
            let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
            let (chunk, generation) = (convert::chunk(request.chunk)?, convert::generation(request.generation)?);
            let nodes = convert::node_ids(&request.nodes)?;
            self.0.namespace.update_pipeline(writing, chunk, generation, nodes).await?;
            Ok(v1::UpdatePipelineResponse {})
        };
        answer(update.await)
    }

    async fn add_node(&self, request: Request<v1::AddNodeRequest>) -> Result<Response<v1::AddNodeResponse>, Status> {
        let request = request.into_inner();
        let add = async {
            let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
            let joining = allocate::Joining {
                chunk: convert::chunk(request.chunk)?,
                generation: convert::generation(request.generation)?,
                length: request.length,
                excluded: convert::node_ids(&request.excluded)?,
                host: host(&request.host)?.to_owned(),
            };
            let added = allocate::add_node(&self.0, writing, joining).await?;
            let nodes = self.0.nodes.lock();
            Ok(v1::AddNodeResponse { node: added.map(|id| node(&nodes, id)) })
        };
        answer(add.await)
    }

    async fn store_small(
        &self,
        request: Request<v1::StoreSmallRequest>,
    ) -> Result<Response<v1::StoreSmallResponse>, Status> {
        let request = request.into_inner();
        let store = async {
            let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
            self.0.namespace.store_small(writing, request.data).await?;
            Ok(v1::StoreSmallResponse {})
        };
        answer(store.await)
    }

    async fn complete(&self, request: Request<v1::CompleteRequest>) -> Result<Response<v1::CompleteResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(Names::complete(self, &namespace, request.into_inner()).await)
    }

    async fn abandon(&self, request: Request<v1::AbandonRequest>) -> Result<Response<v1::AbandonResponse>, Status> {
        let request = request.into_inner();
        let abandon = async {
            let writing = writing(request.call.as_ref(), request.inode, request.lease)?;
            self.0.namespace.abandon(writing).await?;
            self.0.leases.look();
            Ok(v1::AbandonResponse {})
        };
        answer(abandon.await)
    }

    async fn recover_lease(
        &self,
        request: Request<v1::RecoverLeaseRequest>,
    ) -> Result<Response<v1::RecoverLeaseResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let recover = async {
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let closed = namespace.recover_lease(call, path).await?;
            if !closed {
                self.0.leases.look();
            }
            Ok(v1::RecoverLeaseResponse { closed })
        };
        answer(recover.await)
    }

    async fn open(&self, request: Request<v1::OpenRequest>) -> Result<Response<v1::OpenResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(Names::open(self, &namespace, request.into_inner()).await)
    }

    async fn locate(&self, request: Request<v1::LocateRequest>) -> Result<Response<v1::LocateResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(Names::locate(self, &namespace, request.into_inner()).await)
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let namespace = self.by(&request)?;
        let stat = async {
            let request = request.into_inner();
            let path = DfsPath::parse(&request.path)?;
            let status = match request.no_follow {
                true => namespace.lstat(path).await?,
                false => namespace.stat(FileRef::Path(path)).await?,
            };
            Ok(v1::StatResponse { status: Some(status_to_wire(status)) })
        };
        answer(stat.await)
    }

    async fn stat_id(&self, request: Request<v1::StatIdRequest>) -> Result<Response<v1::StatIdResponse>, Status> {
        let namespace = self.by(&request)?;
        let stat = async {
            let inode = convert::inode(request.into_inner().inode)?;
            let status = namespace.stat(FileRef::Inode(inode)).await?;
            let path = namespace.path_of(inode).await?.map_or_else(String::new, |path| path.to_string());
            Ok(v1::StatIdResponse { status: Some(status_to_wire(status)), path })
        };
        answer(stat.await)
    }

    async fn open_files(
        &self,
        request: Request<v1::OpenFilesRequest>,
    ) -> Result<Response<v1::OpenFilesResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let open = async {
            let limit = match usize::try_from(request.limit).unwrap_or(usize::MAX) {
                0 => OPEN_FILES,
                limit => limit.min(OPEN_FILES),
            };
            let files = namespace.open_files(LeaseId(request.after), limit).await?;
            let more = files.len() == limit;
            // Paths may be long: what does not fit into one answer is for the next.
            let mut room = OPEN_FILES_BYTES;
            let mut answer = v1::OpenFilesResponse { files: Vec::new(), more };
            for file in files {
                let path = file.path.map_or_else(String::new, |path| path.to_string());
                if path.len() > room {
                    answer.more = true;
                    break;
                }
                room -= path.len();
                let silence = file.renewal.map(|renewal| self.0.leases.silence(self.0.now(), file.session, renewal));
                answer.files.push(v1::OpenFile {
                    lease: file.lease.get(),
                    session: file.number.get(),
                    client: file.client,
                    inode: file.inode.get(),
                    path,
                    length: file.length,
                    silent_ms: silence.map(|silence| millis(silence.lasted)),
                });
            }
            Ok(answer)
        };
        answer(open.await)
    }

    type ListStream = list::Pages;

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let list = list::List::parse(request).map_err(|error| status::to_status(&error))?;
        let (pages, receive) = mpsc::channel(READ_AHEAD);
        self.0.tasks.spawn(list.send(Arc::clone(&self.0), namespace, pages));
        Ok(Response::new(list::given(receive)))
    }

    type WalkStream = ReceiverStream<Result<v1::WalkPage, Status>>;

    async fn walk(&self, request: Request<v1::WalkRequest>) -> Result<Response<Self::WalkStream>, Status> {
        let namespace = self.by(&request)?;
        let walk = walk::Walk::parse(request.get_ref()).map_err(|error| status::to_status(&error))?;
        let (pages, receive) = mpsc::channel(READ_AHEAD);
        self.0.tasks.spawn(walk.send(Arc::clone(&self.0), namespace, pages));
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    type ListKeysStream = ReceiverStream<Result<v1::KeyPage, Status>>;

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Result<Response<Self::ListKeysStream>, Status> {
        let namespace = self.by(&request)?;
        let keys = objects::Keys::parse(request.into_inner()).map_err(|error| status::to_status(&error))?;
        let (pages, receive) = mpsc::channel(READ_AHEAD);
        self.0.tasks.spawn(keys.send(Arc::clone(&self.0), namespace, pages));
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchPage, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let namespace = self.by(&request)?;
        let watch = watch::Watch::parse(request.get_ref()).map_err(|error| status::to_status(&error))?;
        let user = caller::claimed(request.metadata()).map_err(|error| status::to_status(&error))?;
        let taken = self.0.watches.take(user.user()).map_err(|error| status::to_status(&error))?;
        let (pages, receive) = mpsc::channel(READ_AHEAD);
        self.0.tasks.spawn(watch.send(Arc::clone(&self.0), namespace, taken, pages));
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    async fn usage(&self, request: Request<v1::UsageRequest>) -> Result<Response<v1::UsageResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(walk::usage(&namespace, request.get_ref()).await)
    }

    async fn set_quota(&self, request: Request<v1::SetQuotaRequest>) -> Result<Response<v1::SetQuotaResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let set = async {
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let quota = Quota { names: request.names, space: request.space };
            let change = if request.others_stay { QuotaChange::Given(quota) } else { QuotaChange::To(quota) };
            namespace.set_quota(call, path, change).await?;
            Ok(v1::SetQuotaResponse {})
        };
        answer(set.await)
    }

    async fn rename(&self, request: Request<v1::RenameRequest>) -> Result<Response<v1::RenameResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let rename = async {
            let rename = Rename {
                from: DfsPath::parse(&request.from)?,
                to: DfsPath::parse(&request.to)?,
                replace: request.replace,
                parents: request.parents,
                root: objects::root(&request.root)?,
            };
            namespace.rename(call(request.call.as_ref())?, rename).await?;
            Ok(v1::RenameResponse {})
        };
        answer(rename.await)
    }

    async fn exchange(&self, request: Request<v1::ExchangeRequest>) -> Result<Response<v1::ExchangeResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let exchange = async {
            let (first, second) = (DfsPath::parse(&request.first)?, DfsPath::parse(&request.second)?);
            namespace.exchange(call(request.call.as_ref())?, first, second).await?;
            Ok(v1::ExchangeResponse {})
        };
        answer(exchange.await)
    }

    async fn symlink(&self, request: Request<v1::SymlinkRequest>) -> Result<Response<v1::SymlinkResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let symlink = async {
            let link = Symlink { path: DfsPath::parse(&request.path)?, target: request.target };
            let made = namespace.symlink(call(request.call.as_ref())?, link).await?;
            Ok(v1::SymlinkResponse { inode: made.get() })
        };
        answer(symlink.await)
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let delete = async {
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let trashed = if let Some(root) = objects::root(&request.root)? {
                namespace.unlink(call, Unlink { path, root }).await?;
                None
            } else if request.trash {
                namespace.trash(call, path, request.recursive).await?
            } else {
                namespace.delete(call, path, request.recursive).await?;
                None
            };
            Ok(v1::DeleteResponse { trashed: trashed.map_or_else(String::new, |path| path.to_string()) })
        };
        answer(delete.await)
    }

    async fn list_trash(
        &self,
        request: Request<v1::ListTrashRequest>,
    ) -> Result<Response<v1::ListTrashResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(trash::list(&namespace, request.into_inner()).await)
    }

    async fn restore_trash(
        &self,
        request: Request<v1::RestoreTrashRequest>,
    ) -> Result<Response<v1::RestoreTrashResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(trash::restore(&namespace, &request.into_inner()).await)
    }

    async fn set_replication(
        &self,
        request: Request<v1::SetReplicationRequest>,
    ) -> Result<Response<v1::SetReplicationResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let set = async {
            let replication = convert::replication(request.replication)?;
            let replication = replication.ok_or_else(|| invalid("replication: 0 replicas hold no file"))?;
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            let replication = replication_number(replication)?;
            namespace.set_replication(call, path.clone(), replication).await?;
            self.0.tasks.spawn(retarget(Arc::clone(&self.0), path));
            Ok(v1::SetReplicationResponse {})
        };
        answer(set.await)
    }

    async fn set_times(&self, request: Request<v1::SetTimesRequest>) -> Result<Response<v1::SetTimesResponse>, Status> {
        let namespace = self.by(&request)?;
        let request = request.into_inner();
        let set = async {
            let times = Times { modified_ms: request.modified_ms, accessed_ms: request.accessed_ms };
            let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
            namespace.set_times(call, path, times).await?;
            Ok(v1::SetTimesResponse {})
        };
        answer(set.await)
    }

    async fn set_owner(&self, request: Request<v1::SetOwnerRequest>) -> Result<Response<v1::SetOwnerResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(attributes::set_owner(&namespace, request.into_inner()).await)
    }

    async fn set_mode(&self, request: Request<v1::SetModeRequest>) -> Result<Response<v1::SetModeResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(attributes::set_mode(&namespace, request.into_inner()).await)
    }

    async fn set_acl(&self, request: Request<v1::SetAclRequest>) -> Result<Response<v1::SetAclResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(attributes::set_acl(&namespace, request.into_inner()).await)
    }

    async fn get_acl(&self, request: Request<v1::GetAclRequest>) -> Result<Response<v1::GetAclResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(attributes::get_acl(&namespace, request.into_inner()).await)
    }

    async fn set_xattr(&self, request: Request<v1::SetXattrRequest>) -> Result<Response<v1::SetXattrResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(attributes::set_xattr(&namespace, request.into_inner()).await)
    }

    async fn remove_xattr(
        &self,
        request: Request<v1::RemoveXattrRequest>,
    ) -> Result<Response<v1::RemoveXattrResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(attributes::remove_xattr(&namespace, request.into_inner()).await)
    }

    async fn get_xattrs(
        &self,
        request: Request<v1::GetXattrsRequest>,
    ) -> Result<Response<v1::GetXattrsResponse>, Status> {
        let namespace = self.by(&request)?;
        answer(attributes::get_xattrs(&namespace, request.into_inner()).await)
    }

    async fn report_corrupt(
        &self,
        request: Request<v1::ReportCorruptRequest>,
    ) -> Result<Response<v1::ReportCorruptResponse>, Status> {
        let request = request.into_inner();
        let report = async {
            if request.evidence.len() > MAX_EVIDENCE {
                return Err(invalid(format!("evidence: is longer than {MAX_EVIDENCE} bytes")));
            }
            let hint = verify::Hint {
                chunk: convert::chunk(request.chunk)?,
                generation: convert::generation(request.generation)?,
                node: convert::node_id(request.node)?,
            };
            tracing::warn!(?hint, request.evidence, "a client found a replica corrupt");
            verify::look_again(&self.0, hint);
            Ok(v1::ReportCorruptResponse {})
        };
        answer(report.await)
    }
}
