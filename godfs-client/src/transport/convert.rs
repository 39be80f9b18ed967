//! Wire ⇄ domain: each thing is checked here, once, on the way in.
//!
//! Every function that takes a wire message refuses what lies with [`ErrorKind::InvalidArgument`] and names the field.

mod attributes;

use bytes::Bytes;
use godfs_core::checksum::{CHECKSUM_BYTES, PIECE};
use godfs_core::chunk::{
    MAX_CHUNK_BYTES, MAX_PACKET_BYTES, MAX_VOLUMES, MIN_CHUNK_BYTES, Packet, Replica, ReplicaState, Space, VolumeStatus,
};
use godfs_core::namespace::{MODE_BITS, NewMode};
use godfs_core::placement::Domain;
use godfs_core::{
    ChunkId, ClusterId, Error, ErrorKind, Generation, Incarnation, InodeId, LeaseId, NodeId, NodeUuid, Result,
    SessionId, Version,
};
use godfs_proto::v1;

use super::address::Address;
use super::status::{from_detail, to_detail};

pub use attributes::{
    acl, acl_change, acl_change_to_wire, acl_entry, acl_entry_to_wire, acl_to_wire, xattr_mode, xattr_mode_to_wire,
    xattr_to_wire,
};

/// The most nodes of a pipeline, and so the most replicas of a file.
pub const MAX_REPLICATION: u32 = 512;

/// A datanode and where it is reached at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which one.
    pub id: NodeId,
    /// Where.
    pub address: Address,
    /// Its failure domain.
    pub domain: Domain,
}

/// Which write a pipeline is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// A new replica.
    Create,
    /// An existing replica, cut to `length`, goes on under a new generation.
    Resume,
    /// A copy by another datanode.
    Copy,
}

/// The first message of a write: what is to be written, and by whom after this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOpen {
    /// The chunk.
    pub chunk: ChunkId,
    /// The generation it is written under.
    pub generation: Generation,
    /// How it is opened.
    pub mode: WriteMode,
    /// The most bytes it will hold.
    pub capacity: u64,
    /// Where to go on, for [`WriteMode::Resume`]; else 0.
    pub length: u64,
    /// Bytes it is expected to end with, 0 when that is not known. A hint.
    pub expected: u64,
    /// The node this is meant for.
    pub node: NodeId,
    /// The rest of the pipeline, next node first.
    pub downstream: Vec<Node>,
}

/// One packet of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritePacket {
    /// Counts packets of the stream from 1.
    pub sequence: u64,
    /// The bytes; empty only when `last`, or to ask for a sync.
    pub packet: Packet,
    /// Acknowledge only when every byte so far is on the disk.
    pub sync: bool,
    /// The last packet: finalize.
    pub last: bool,
}

/// A replica that begins and ends with one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeReplica {
    /// The chunk.
    pub chunk: ChunkId,
    /// The generation it is written under.
    pub generation: Generation,
    /// The most bytes that the chunk may hold.
    pub capacity: u64,
    /// Finalize it durably.
    pub sync: bool,
    /// The rest of the pipeline, next node first.
    pub downstream: Vec<Node>,
    /// All its bytes.
    pub packet: Packet,
}

/// What a call that changes something carries, so that it is safe to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// The session.
    pub session: SessionId,
    /// The slot of the session.
    pub slot: u32,
    /// The number of the call on its slot, from 1.
    pub sequence: u64,
}

/// A chunk that its writer has finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkCommit {
    /// Which.
    pub chunk: ChunkId,
    /// The generation it was finished under.
    pub generation: Generation,
    /// Its bytes.
    pub length: u64,
    /// The nodes that acknowledged the last packet.
    pub nodes: Vec<NodeId>,
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}

/// A chunk id, which is never 0.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn chunk(id: u64) -> Result<ChunkId> {
    if id == 0 { Err(invalid("chunk: 0 is no chunk")) } else { Ok(ChunkId(id)) }
}

/// A generation, which is never 0.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn generation(number: u64) -> Result<Generation> {
    if number == 0 { Err(invalid("generation: 0 is none")) } else { Ok(Generation(number)) }
}

/// A node id, which is never 0.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn node_id(id: u32) -> Result<NodeId> {
    if id == 0 { Err(invalid("node: 0 is no node")) } else { Ok(NodeId(id)) }
}

/// An inode id, which is never 0.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn inode(id: u64) -> Result<InodeId> {
    if id == 0 { Err(invalid("inode: 0 is no file")) } else { Ok(InodeId(id)) }
}

/// A state of a file.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn etag(wire: &v1::ETag) -> Result<(InodeId, Version)> {
    Ok((inode(wire.inode)?, Version(wire.version)))
}

/// A lease id, which is never 0.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn lease(id: u64) -> Result<LeaseId> {
    if id == 0 { Err(invalid("lease: 0 is none")) } else { Ok(LeaseId(id)) }
}

/// A cluster id of 16 bytes.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn cluster_id(bytes: &[u8]) -> Result<ClusterId> {
    ClusterId::from_bytes(bytes).ok_or_else(|| invalid("cluster_id: must have 16 bytes"))
}

/// An incarnation of 16 bytes.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn incarnation(bytes: &[u8]) -> Result<Incarnation> {
    Incarnation::from_bytes(bytes).ok_or_else(|| invalid("incarnation: must have 16 bytes"))
}

/// A datanode folder's id of 16 bytes.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn node_uuid(bytes: &[u8]) -> Result<NodeUuid> {
    NodeUuid::from_bytes(bytes).ok_or_else(|| invalid("node_uuid: must have 16 bytes"))
}

/// A datanode.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn node(node: &v1::Node) -> Result<Node> {
    Ok(Node {
        id: node_id(node.id)?,
        address: Address::parse(&node.address).map_err(|error| error.context("node"))?,
        domain: domain(&node.domain)?,
    })
}

/// A failure domain; empty stands for the default.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn domain(text: &str) -> Result<Domain> {
    if text.is_empty() { Ok(Domain::default()) } else { Domain::parse(text) }
}

/// Datanodes of a pipeline: at most [`MAX_REPLICATION`], none twice.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn nodes(list: &[v1::Node]) -> Result<Vec<Node>> {
    if list.len() > MAX_REPLICATION as usize {
        return Err(invalid(format!("{} nodes in a pipeline, the limit is {MAX_REPLICATION}", list.len())));
    }
    let nodes: Vec<Node> = list.iter().map(node).collect::<Result<_>>()?;
    distinct(nodes.iter().map(|node| node.id))?;
    Ok(nodes)
}

/// Node ids: at most [`MAX_REPLICATION`], none twice.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn node_ids(list: &[u32]) -> Result<Vec<NodeId>> {
    if list.len() > MAX_REPLICATION as usize {
        return Err(invalid(format!("{} nodes, the limit is {MAX_REPLICATION}", list.len())));
    }
    let ids: Vec<NodeId> = list.iter().map(|&id| node_id(id)).collect::<Result<_>>()?;
    distinct(ids.iter().copied())?;
    Ok(ids)
}

fn distinct(ids: impl Iterator<Item = NodeId>) -> Result<()> {
    let mut ids: Vec<NodeId> = ids.collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(invalid(format!("node {} is named twice", pair[0]))),
        None => Ok(()),
    }
}

/// A datanode, to the wire.
#[must_use]
pub fn node_to_wire(node: &Node) -> v1::Node {
    v1::Node { id: node.id.get(), address: node.address.as_str().to_owned(), domain: node.domain.as_str().to_owned() }
}

/// The state of a replica on its datanode; `Corrupt` is no such state (see [`is_corrupt`]).
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn replica_state(state: i32) -> Result<ReplicaState> {
    match v1::ReplicaState::try_from(state) {
        Ok(v1::ReplicaState::Rbw) => Ok(ReplicaState::Rbw),
        Ok(v1::ReplicaState::Rwr) => Ok(ReplicaState::Rwr),
        Ok(v1::ReplicaState::Finalized) => Ok(ReplicaState::Finalized),
        Ok(v1::ReplicaState::Temporary) => Ok(ReplicaState::Temporary),
        Ok(v1::ReplicaState::Corrupt | v1::ReplicaState::Unspecified) | Err(_) => {
            Err(invalid(format!("state: {state} is no state of a replica")))
        }
    }
}

/// Whether a namenode says that a replica is corrupt.
#[must_use]
pub fn is_corrupt(state: i32) -> bool {
    state == v1::ReplicaState::Corrupt as i32
}

/// The state of a replica, to the wire.
#[must_use]
pub fn replica_state_to_wire(state: ReplicaState) -> v1::ReplicaState {
    match state {
        ReplicaState::Rbw => v1::ReplicaState::Rbw,
        ReplicaState::Rwr => v1::ReplicaState::Rwr,
        ReplicaState::Finalized => v1::ReplicaState::Finalized,
        ReplicaState::Temporary => v1::ReplicaState::Temporary,
    }
}

/// A replica.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn replica(wire: &v1::Replica) -> Result<Replica> {
    if wire.length > MAX_CHUNK_BYTES || wire.visible > wire.length {
        return Err(invalid(format!("replica: length {} and visible length {} can't be", wire.length, wire.visible)));
    }
    Ok(Replica {
        chunk: chunk(wire.chunk)?,
        generation: generation(wire.generation)?,
        length: wire.length,
        visible: wire.visible,
        state: replica_state(wire.state)?,
    })
}

/// A replica that must be there.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn required_replica(wire: Option<&v1::Replica>) -> Result<Replica> {
    replica(wire.ok_or_else(|| invalid("replica: missing"))?)
}

/// A replica, to the wire.
#[must_use]
pub fn replica_to_wire(replica: &Replica) -> v1::Replica {
    v1::Replica {
        chunk: replica.chunk.get(),
        generation: replica.generation.get(),
        length: replica.length,
        visible: replica.visible,
        state: replica_state_to_wire(replica.state).into(),
    }
}

/// Room.
#[must_use]
pub fn space(wire: Option<&v1::Space>) -> Space {
    wire.map_or_else(Space::default, |space| Space {
        capacity: space.capacity,
        used: space.used,
        available: space.available,
    })
}

/// Room, to the wire.
#[must_use]
pub fn space_to_wire(space: &Space) -> v1::Space {
    v1::Space { capacity: space.capacity, used: space.used, available: space.available }
}

/// The longest text about a volume that travels, bytes: more tells nobody more.
const MAX_VOLUME_TEXT: usize = 512;

/// The disks of a datanode.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for more of them, or longer texts, than there can be.
pub fn volumes(wire: &[v1::Volume]) -> Result<Vec<VolumeStatus>> {
    if wire.len() > MAX_VOLUMES {
        return Err(invalid(format!("volumes: {} are more than {MAX_VOLUMES}", wire.len())));
    }
    let volume = |wire: &v1::Volume| {
        if wire.path.len() > MAX_VOLUME_TEXT || wire.failure.len() > MAX_VOLUME_TEXT {
            return Err(invalid(format!("volumes: a text has more than {MAX_VOLUME_TEXT} bytes")));
        }
        let failure = Some(wire.failure.clone()).filter(|failure| !failure.is_empty());
        Ok(VolumeStatus { path: wire.path.clone(), space: space(wire.space.as_ref()), failure })
    };
    wire.iter().map(volume).collect()
}

/// The disks of a datanode, to the wire; texts are cut.
#[must_use]
pub fn volumes_to_wire(volumes: &[VolumeStatus]) -> Vec<v1::Volume> {
    let cut = |text: &str| text[..text.floor_char_boundary(MAX_VOLUME_TEXT)].to_owned();
    let volume = |volume: &VolumeStatus| v1::Volume {
        path: cut(&volume.path),
        space: Some(space_to_wire(&volume.space)),
        failure: volume.failure.as_deref().map(cut).unwrap_or_default(),
    };
    volumes.iter().map(volume).collect()
}

/// What a call carries; it must be there.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn call(wire: Option<&v1::Call>) -> Result<Call> {
    let wire = wire.ok_or_else(|| invalid("call: missing"))?;
    if wire.session == 0 || wire.sequence == 0 {
        return Err(invalid("call: session and sequence begin at 1"));
    }
    Ok(Call { session: SessionId(wire.session), slot: wire.slot, sequence: wire.sequence })
}

/// What a call carries, to the wire.
#[must_use]
pub fn call_to_wire(call: Call) -> v1::Call {
    v1::Call { session: call.session.get(), slot: call.slot, sequence: call.sequence }
}

/// A finished chunk.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn commit(wire: &v1::ChunkCommit) -> Result<ChunkCommit> {
    if wire.length == 0 || wire.length > MAX_CHUNK_BYTES {
        return Err(invalid(format!("commit: a chunk of {} bytes can't be", wire.length)));
    }
    let nodes = node_ids(&wire.nodes)?;
    if nodes.is_empty() {
        return Err(invalid("commit: names no node"));
    }
    Ok(ChunkCommit { chunk: chunk(wire.chunk)?, generation: generation(wire.generation)?, length: wire.length, nodes })
}

/// A finished chunk, to the wire.
#[must_use]
pub fn commit_to_wire(commit: &ChunkCommit) -> v1::ChunkCommit {
    v1::ChunkCommit {
        chunk: commit.chunk.get(),
        generation: commit.generation.get(),
        length: commit.length,
        nodes: commit.nodes.iter().map(|node| node.get()).collect(),
    }
}

/// The bytes a chunk may hold that a file asks for: 0 for the default, else whole pieces within bounds.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn chunk_size(bytes: u64) -> Result<Option<u64>> {
    if bytes == 0 {
        return Ok(None);
    }
    if (MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&bytes) && bytes.is_multiple_of(PIECE as u64) {
        return Ok(Some(bytes));
    }
    Err(invalid(format!(
        "chunk_size: {bytes} is not a multiple of {PIECE} from {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES}"
    )))
}

/// How many replicas a file asks for: 0 for the default.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn replication(count: u32) -> Result<Option<u32>> {
    match count {
        0 => Ok(None),
        1..=MAX_REPLICATION => Ok(Some(count)),
        _ => Err(invalid(format!("replication: {count} is not from 1 to {MAX_REPLICATION}"))),
    }
}

/// Permission bits.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn mode(bits: u32) -> Result<u16> {
    u16::try_from(bits)
        .ok()
        .filter(|&bits| bits <= MODE_BITS)
        .ok_or_else(|| invalid(format!("mode: {bits:o} has bits beyond {MODE_BITS:o}")))
}

/// The permission bits that something new is to have.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn new_mode(wire: Option<&v1::NewMode>) -> Result<NewMode> {
    let Some(wire) = wire else { return Ok(NewMode::default()) };
    Ok(NewMode { mode: wire.mode.map(mode).transpose()?, umask: mode(wire.umask)? })
}

/// The first message of a write, which must carry `open` and nothing else.
///
/// The greeting in it is not looked at here.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn write_open(request: &v1::WriteRequest) -> Result<WriteOpen> {
    let open = request.open.as_ref().ok_or_else(|| invalid("open: missing from the first message"))?;
    if !request.data.is_empty() || request.sequence != 0 || request.last {
        return Err(invalid("open: the first message carries nothing else"));
    }
    let mode = match v1::WriteMode::try_from(open.mode) {
        Ok(v1::WriteMode::Create) => WriteMode::Create,
        Ok(v1::WriteMode::Resume) => WriteMode::Resume,
        Ok(v1::WriteMode::Copy) => WriteMode::Copy,
        Ok(v1::WriteMode::Unspecified) | Err(_) => return Err(invalid(format!("mode: {} is none", open.mode))),
    };
    if open.capacity == 0 || open.capacity > MAX_CHUNK_BYTES {
        return Err(invalid(format!("capacity: {} is not from 1 to {MAX_CHUNK_BYTES}", open.capacity)));
    }
    if open.length > open.capacity || (mode != WriteMode::Resume && open.length != 0) {
        return Err(invalid(format!("length: {} can't be", open.length)));
    }
    let (node, downstream) = (node_id(open.node)?, nodes(&open.downstream)?);
    if downstream.iter().any(|next| next.id == node) {
        return Err(invalid(format!("downstream: node {node} is named twice")));
    }
    Ok(WriteOpen {
        chunk: chunk(open.chunk)?,
        generation: generation(open.generation)?,
        mode,
        capacity: open.capacity,
        length: open.length,
        expected: open.expected,
        node,
        downstream,
    })
}

/// The first message of a write, to the wire.
#[must_use]
pub fn write_open_to_wire(open: &WriteOpen, hello: v1::Hello) -> v1::WriteRequest {
    let mode = match open.mode {
        WriteMode::Create => v1::WriteMode::Create,
        WriteMode::Resume => v1::WriteMode::Resume,
        WriteMode::Copy => v1::WriteMode::Copy,
    };
    let open = v1::WriteOpen {
        hello: Some(hello),
        chunk: open.chunk.get(),
        generation: open.generation.get(),
        mode: mode.into(),
        capacity: open.capacity,
        length: open.length,
        expected: open.expected,
        downstream: open.downstream.iter().map(node_to_wire).collect(),
        node: open.node.get(),
    };
    v1::WriteRequest { open: Some(open), ..Default::default() }
}

/// One packet of a write. Sizes and places are checked; the checksums themselves are for whoever stores or uses the bytes.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn write_packet(request: v1::WriteRequest) -> Result<WritePacket> {
    if request.open.is_some() {
        return Err(invalid("open: only the first message carries it"));
    }
    if request.sequence == 0 {
        return Err(invalid("sequence: counts from 1"));
    }
    if request.data.is_empty() && !request.last && !request.sync {
        return Err(invalid("data: a packet without bytes must be the last, or ask for a sync"));
    }
    let packet = packet(request.offset, request.data, request.checksums)?;
    Ok(WritePacket { sequence: request.sequence, packet, sync: request.sync, last: request.last })
}

/// One packet of a write, to the wire.
#[must_use]
pub fn write_packet_to_wire(packet: WritePacket) -> v1::WriteRequest {
    v1::WriteRequest {
        open: None,
        sequence: packet.sequence,
        offset: packet.packet.offset,
        sync: packet.sync,
        last: packet.last,
        checksums: packet.packet.checksums,
        data: packet.packet.data,
    }
}

/// A replica that is whole in one packet, for `node`. Sizes and places are checked; the checksums are for whoever stores the bytes.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn whole_replica(wire: &v1::WholeReplica, node: NodeId) -> Result<WholeReplica> {
    if wire.capacity == 0 || wire.capacity > MAX_CHUNK_BYTES {
        return Err(invalid(format!("capacity: {} is not from 1 to {MAX_CHUNK_BYTES}", wire.capacity)));
    }
    if wire.data.is_empty() || wire.data.len() as u64 > wire.capacity {
        return Err(invalid(format!("data: {} bytes of a chunk of at most {}", wire.data.len(), wire.capacity)));
    }
    let downstream = nodes(&wire.downstream)?;
    if downstream.iter().any(|next| next.id == node) {
        return Err(invalid(format!("downstream: node {node} is named twice")));
    }
    Ok(WholeReplica {
        chunk: chunk(wire.chunk)?,
        generation: generation(wire.generation)?,
        capacity: wire.capacity,
        sync: wire.sync,
        downstream,
        packet: packet(0, wire.data.clone(), wire.checksums.clone())?,
    })
}

/// The same, to the wire; its sender numbers it.
#[must_use]
pub fn whole_replica_to_wire(replica: WholeReplica) -> v1::WholeReplica {
    v1::WholeReplica {
        number: 0,
        chunk: replica.chunk.get(),
        generation: replica.generation.get(),
        capacity: replica.capacity,
        downstream: replica.downstream.iter().map(node_to_wire).collect(),
        sync: replica.sync,
        checksums: replica.packet.checksums,
        data: replica.packet.data,
    }
}

/// One packet of a read; it begins on a piece.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn read_packet(response: v1::ReadResponse) -> Result<Packet> {
    if !response.offset.is_multiple_of(PIECE as u64) {
        return Err(invalid(format!("offset: {} is not the start of a piece", response.offset)));
    }
    packet(response.offset, response.data, response.checksums)
}

/// One packet of a read, to the wire.
#[must_use]
pub fn read_packet_to_wire(packet: Packet) -> v1::ReadResponse {
    v1::ReadResponse { replica: None, offset: packet.offset, checksums: packet.checksums, data: packet.data }
}

fn packet(offset: u64, data: Bytes, checksums: Bytes) -> Result<Packet> {
    if data.len() > MAX_PACKET_BYTES {
        return Err(invalid(format!("data: {} bytes in a packet, the limit is {MAX_PACKET_BYTES}", data.len())));
    }
    let length = data.len() as u64;
    if offset > MAX_CHUNK_BYTES || offset + length > MAX_CHUNK_BYTES {
        return Err(invalid(format!("offset: {length} bytes at {offset} lie beyond the largest chunk")));
    }
    let piece = PIECE as u64;
    let pieces = if length == 0 { 0 } else { (offset + length).div_ceil(piece) - offset / piece };
    if checksums.len() as u64 != pieces * CHECKSUM_BYTES as u64 {
        return Err(invalid(format!("checksums: {} bytes for {pieces} pieces", checksums.len())));
    }
    Ok(Packet { offset, data, checksums })
}

/// One node's part of an answer, to the wire.
#[must_use]
pub fn node_result_to_wire(node: NodeId, result: &Result<()>) -> v1::NodeResult {
    v1::NodeResult { node: node.get(), error: result.as_ref().err().map(to_detail), ..Default::default() }
}

/// Microseconds for the wire; beyond an hour all are alike.
#[must_use]
pub fn micros_to_wire(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// One node's part of an answer.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
pub fn node_result(wire: &v1::NodeResult) -> Result<(NodeId, Result<()>)> {
    Ok((node_id(wire.node)?, wire.error.as_ref().map_or(Ok(()), |detail| Err(from_detail(detail)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dn(id: u32) -> Node {
        Node {
            id: NodeId(id),
            address: Address::parse(&format!("dn{id}:1")).expect("valid"),
            domain: Domain::parse("/a/b").expect("valid"),
        }
    }

    fn open() -> WriteOpen {
        WriteOpen {
            chunk: ChunkId(7),
            generation: Generation(3),
            mode: WriteMode::Resume,
            capacity: 1 << 20,
            length: 5,
            expected: 9,
            node: NodeId(1),
            downstream: vec![dn(2), dn(3)],
        }
    }

    #[test]
    fn a_write_goes_there_and_back() {
        let wire = write_open_to_wire(&open(), v1::Hello::default());
        assert_eq!(write_open(&wire).expect("valid"), open());
        let data = Bytes::from(vec![3; 9_000]);
        let checksums = godfs_core::checksum::checksums(100, &data);
        let packet =
            WritePacket { sequence: 1, packet: Packet { offset: 100, data, checksums }, sync: true, last: false };
        assert_eq!(write_packet(write_packet_to_wire(packet.clone())).expect("valid"), packet);
    }

    #[test]
    fn opens_that_lie_are_refused() {
        for (mend, why) in [
            ((|open| open.chunk = 0) as fn(&mut v1::WriteOpen), "chunk"),
            (|open| open.generation = 0, "generation"),
            (|open| open.mode = 9, "mode"),
            (|open| open.capacity = MAX_CHUNK_BYTES + 1, "capacity"),
            (|open| open.length = u64::MAX, "length"),
            (|open| open.mode = v1::WriteMode::Create.into(), "length"),
            (|open| open.node = 0, "node"),
            (|open| open.node = 2, "twice"),
            (|open| open.downstream[1].id = 2, "twice"),
            (|open| open.downstream[0].address = "nowhere".into(), "address"),
            (|open| open.downstream = vec![v1::Node::default(); 513], "513"),
        ] {
            let mut wire = write_open_to_wire(&open(), v1::Hello::default());
            mend(wire.open.as_mut().expect("set"));
            let error = write_open(&wire).expect_err(why);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(why), "{error}");
        }
    }

    #[test]
    fn packets_that_lie_are_refused() {
        let fine = || v1::WriteRequest {
            sequence: 1,
            offset: 4_095,
            data: vec![0; 2].into(),
            checksums: vec![0; 8].into(),
            ..Default::default()
        };
        assert!(write_packet(fine()).is_ok());
        for (mend, why) in [
            ((|packet| packet.sequence = 0) as fn(&mut v1::WriteRequest), "sequence"),
            (|packet| packet.checksums = Bytes::from_static(&[0; 4]), "checksums"),
            (|packet| packet.data = vec![0; MAX_PACKET_BYTES + 1].into(), "data"),
            (|packet| packet.data = Bytes::new(), "without bytes"),
            (|packet| packet.offset = u64::MAX, "offset"),
            (|packet| packet.offset = MAX_CHUNK_BYTES - 1, "offset"),
            (|packet| packet.open = Some(v1::WriteOpen::default()), "open"),
        ] {
            let mut wire = fine();
            mend(&mut wire);
            let error = write_packet(wire).expect_err(why);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(why), "{error}");
        }
        let unaligned = v1::ReadResponse { offset: 1, ..Default::default() };
        assert!(read_packet(unaligned).is_err());
    }

    #[test]
    fn replicas_and_their_states() {
        for state in [ReplicaState::Rbw, ReplicaState::Rwr, ReplicaState::Finalized, ReplicaState::Temporary] {
            let one = Replica { chunk: ChunkId(1), generation: Generation(2), length: 3, visible: 2, state };
            assert_eq!(replica(&replica_to_wire(&one)).expect("valid"), one);
        }
        let lie = v1::Replica { chunk: 1, generation: 1, length: 1, visible: 2, state: 1 };
        assert!(replica(&lie).is_err());
        assert!(replica_state(0).is_err() && replica_state(v1::ReplicaState::Corrupt.into()).is_err());
        assert!(chunk_size(100).is_err() && chunk_size(65_536).expect("valid") == Some(65_536));
        assert!(replication(513).is_err() && replication(0).expect("default").is_none());
    }
}
