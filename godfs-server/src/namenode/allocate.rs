//! Chooses where a new chunk goes.

use godfs_core::cluster::NodeState;
use godfs_core::namespace::{
    AddChunk, AddedChunk, Call, ChunkCommit, CreateOptions, CreatedWithChunk, FileRef, Namespace, Writing,
};
use godfs_core::placement::{ClusterView, PlaceRequest, Reader, SizedChunk, put_reader_first};
use godfs_core::{ChunkId, DfsPath, Error, ErrorKind, Generation, NodeId, Result};

use super::state::State;

/// What a node must have room for to be given a new chunk when none has room for a whole one: a chunk may end up far smaller than it may grow, and a
/// pipeline goes on without a node that fills up.
const LEAST_ROOM: u64 = 4 << 20;

/// One chunk to come is counted as no more than this share of the room that is left, until the next heartbeat tells.
const RESERVED_SHARE: u64 = 16;

/// What a writer asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Where the chunk begins in the file.
    pub(super) start: u64,
    /// Chunks that are finished and were not reported yet.
    pub(super) commits: Vec<ChunkCommit>,
    /// Nodes that failed the writer lately.
    pub(super) excluded: Vec<NodeId>,
    /// Where the writer runs; empty when unknown.
    pub(super) host: String,
    /// Bytes that the chunk is known to end with; 0 when unknown.
    pub(super) expected: u64,
}

/// The first chunk of a file that is to be created.
#[derive(Debug)]
pub(super) struct First {
    /// Where the writer runs; empty when unknown.
    pub(super) host: String,
    /// Bytes that the chunk is expected to end with; 0 when unknown.
    pub(super) expected: u64,
}

/// Creates a file together with its first chunk. Where no node can take that, the file is created without: its writer asks again, and hears why.
///
/// # Errors
/// Those of the namespace.
pub(super) async fn create(
    state: &State,
    namespace: &Namespace,
    (call, path): (Call, DfsPath),
    options: CreateOptions,
    First { host, expected }: First,
) -> Result<CreatedWithChunk> {
    let settings = &state.settings.namespace;
    let count = options.replication.unwrap_or(settings.replication).into();
    let bytes = room(expected, options.chunk_size.unwrap_or(settings.chunk_size));
    let view = state.view();
    let wanted = Wanted { start: 0, commits: Vec::new(), excluded: Vec::new(), host, expected };
    let nodes = place(state, &view, &wanted, count, bytes);
    let mut created = namespace.create_with_chunk(call, path, options, nodes).await?;
    if let Some(added) = &mut created.chunk {
        promised(state, &view, wanted.host, (added, wanted.expected), bytes);
    }
    Ok(created)
}

/// The room that a chunk is given.
fn room(expected: u64, chunk_size: u64) -> u64 {
    if expected == 0 { chunk_size } else { expected.min(chunk_size) }
}

/// Puts the nodes of a new chunk into the order of its pipeline, and counts it as what is to come to them.
fn promised(state: &State, view: &ClusterView, host: String, (added, expected): (&mut AddedChunk, u64), bytes: u64) {
    let writer = Reader { host, domain: None };
    put_reader_first(view, &writer, SizedChunk { chunk: added.chunk, bytes: expected }, &mut added.nodes);
    let room = added.nodes.iter().filter_map(|&id| view.node(id)).map(|node| node.largest).min().unwrap_or(0);
    state.nodes.lock().reserve(&added.nodes, bytes.min(room / RESERVED_SHARE));
}

/// Opens the last chunk of a file again, on those of its nodes that are live.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when none of them is; those of the namespace.
pub(super) async fn reopen_chunk(state: &State, writing: Writing) -> Result<AddedChunk> {
    // What changes until the transaction, that sees for itself.
    let holders = state.namespace.last_holders(writing.inode).await?;
    let live = {
        let nodes = state.nodes.lock();
        let live = |node: &NodeId| nodes.state(*node) == Some(NodeState::Live);
        holders.into_iter().filter(live).collect()
    };
    let reopened = state.namespace.reopen_chunk(writing, live).await?;
    state.repair.touched([reopened.chunk]);
    Ok(reopened)
}

/// Gives an open file its next chunk.
///
/// # Errors
/// [`ErrorKind::StorageFull`] when no node has room, [`ErrorKind::Unavailable`] when none is live; those of the namespace.
pub(super) async fn add_chunk(state: &State, writing: Writing, wanted: Wanted) -> Result<AddedChunk> {
    let status = state.namespace.stat(FileRef::Inode(writing.inode)).await;
    // A file that is gone, and a lease with it, is for the transaction to tell.
    let (count, bytes) = status.map_or((1, LEAST_ROOM), |status| (status.replication.max(1).into(), status.chunk_size));
    let bytes = room(wanted.expected, bytes);
    let view = state.view();
    let nodes = place(state, &view, &wanted, count, bytes);
    let chunks: Vec<_> = wanted.commits.iter().map(|commit| commit.chunk).collect();
    let request = AddChunk { start: wanted.start, commits: wanted.commits, nodes: nodes.clone() };
    // Also without a node: a repeated call gets its first answer.
    let mut added = state.namespace.add_chunk(writing, request).await.map_err(|error| {
        if nodes.is_empty() && error.kind() == ErrorKind::Unavailable {
            nobody(&view, &wanted.excluded, bytes)
        } else {
            error
        }
    })?;
    promised(state, &view, wanted.host, (&mut added, wanted.expected), bytes);
    state.repair.touched(chunks);
    Ok(added)
}

/// What a writer asks for whose pipeline has lost a node.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) chunk: ChunkId,
    /// Of the pipeline that stands.
    pub(super) generation: Generation,
    /// Bytes that the chunk has by now.
    pub(super) length: u64,
    /// Nodes that failed the writer lately.
    pub(super) excluded: Vec<NodeId>,
    /// Where the writer runs; empty when unknown.
    pub(super) host: String,
}

/// Chooses a node that is to join the pipeline of an open chunk; `None` when there is none that could.
///
/// # Errors
/// Those of the namespace.
pub(super) async fn add_node(state: &State, writing: Writing, joining: Joining) -> Result<Option<NodeId>> {
    let Joining { chunk, generation, length, excluded, host } = joining;
    let status = state.namespace.stat(FileRef::Inode(writing.inode)).await;
    let bytes = status.map_or(length, |status| status.chunk_size.max(length));
    let mut chosen = None;
    if let Some(info) = state.namespace.chunk(chunk).await? {
        let view = state.view();
        let mut request = PlaceRequest {
            writer: state.node_on(&host),
            existing: info.replicas.iter().map(|replica| replica.node).collect(),
            excluded: [excluded, info.left_out, info.leaving].concat(),
            count: 1,
            bytes,
        };
        chosen = state.policy.place(&view, &request, &*state.env.random).first().copied();
        if chosen.is_none() {
            request.bytes = length.saturating_add(LEAST_ROOM).min(bytes);
            chosen = state.policy.place(&view, &request, &*state.env.random).first().copied();
        }
    }
    // Also without a node: a repeated call gets its first answer.
    let added = state.namespace.add_node(writing, chunk, generation, chosen).await?;
    if let Some(node) = added {
        state.nodes.lock().reserve(&[node], length);
    }
    Ok(added)
}

fn place(state: &State, view: &ClusterView, wanted: &Wanted, count: usize, bytes: u64) -> Vec<NodeId> {
    let mut request = PlaceRequest {
        writer: state.node_on(&wanted.host),
        existing: Vec::new(),
        excluded: wanted.excluded.clone(),
        count,
        bytes,
    };
    let mut nodes = state.policy.place(view, &request, &*state.env.random);
    if nodes.len() < count && bytes > LEAST_ROOM {
        request.existing.clone_from(&nodes);
        request.count = count - nodes.len();
        request.bytes = LEAST_ROOM;
        nodes.extend(state.policy.place(view, &request, &*state.env.random));
    }
    nodes
}

/// Why no node can take a chunk, for a person.
fn nobody(view: &ClusterView, excluded: &[NodeId], bytes: u64) -> Error {
    let live: Vec<_> = view.nodes.iter().filter(|node| node.live && node.eligible).collect();
    let roomy = live.iter().filter(|node| node.largest >= LEAST_ROOM.min(bytes)).count();
    let seen = format!(
        "of {} registered datanodes {} are live and take new chunks, {roomy} of those have room, {} are excluded because they failed this writer",
        view.nodes.len(),
        live.len(),
        excluded.len()
    );
    if live.is_empty() || roomy > 0 {
        Error::new(ErrorKind::Unavailable, format!("no datanode can take a chunk now: {seen}"))
    } else {
        Error::new(ErrorKind::StorageFull, format!("no datanode has room for a chunk: {seen}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godfs_core::placement::{Domain, NodeView};

    fn node(id: u32, available: u64, live: bool) -> NodeView {
        NodeView {
            id: NodeId(id),
            domain: Domain::default(),
            host: "h".into(),
            available,
            largest: available,
            capacity: 1 << 40,
            load: 0,
            live,
            eligible: true,
            slow: false,
        }
    }

    #[test]
    fn says_whether_the_disks_are_full_or_nobody_is_there() {
        let kind = |nodes: Vec<NodeView>, excluded: &[NodeId]| nobody(&ClusterView { nodes }, excluded, 1 << 27).kind();
        assert_eq!(kind(vec![], &[]), ErrorKind::Unavailable);
        assert_eq!(kind(vec![node(1, 1 << 40, false)], &[]), ErrorKind::Unavailable);
        assert_eq!(kind(vec![node(1, 100, true), node(2, 1 << 40, false)], &[]), ErrorKind::StorageFull);
        // The only one with room has failed the writer: it may be back in a moment.
        assert_eq!(kind(vec![node(1, 1 << 40, true)], &[NodeId(1)]), ErrorKind::Unavailable);
    }
}
