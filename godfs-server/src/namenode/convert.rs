//! What the namespace answers, to the wire, with the addresses and states of the datanodes as they are at the moment.

use std::time::Duration;

use bytes::Bytes;
use godfs_client::transport::convert::replica_state_to_wire;
use godfs_core::cluster::{NodeState, NodeStatus, Nodes, Pace, PeerPace, ScrubStatus};
use godfs_core::namespace::{ChunkLocation, FileKind, FileStatus, ReplicaPlace};
use godfs_core::placement::{Reader, SizedChunk, sort_by_nearness};
use godfs_core::{ChunkId, NodeId};
use godfs_proto::v1;

/// A duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn status(status: FileStatus) -> v1::FileStatus {
    let kind = match status.kind {
        FileKind::Directory => v1::FileKind::Directory,
        FileKind::Symlink => v1::FileKind::Symlink,
        _ => v1::FileKind::File,
    };
    v1::FileStatus {
        inode: status.inode.get(),
        kind: kind.into(),
        length: status.length,
        replication: status.replication.into(),
        chunk_size: status.chunk_size,
        modified_ms: status.modified_ms,
        accessed_ms: status.accessed_ms,
        version: status.version.get(),
        open: status.open,
        small: status.small,
        user: status.owner.user,
        group: status.owner.group,
        mode: status.owner.mode.into(),
        target: status.target.unwrap_or_default(),
        acl: status.acl,
    }
}

/// The datanode `id` as others reach it. One that was never heard from has an empty address.
pub(super) fn node(nodes: &Nodes, id: NodeId) -> v1::Node {
    let domain = nodes.view().node(id).map(|node| node.domain.as_str().to_owned()).unwrap_or_default();
    v1::Node { id: id.get(), address: nodes.address(id).unwrap_or_default().to_owned(), domain }
}

/// A chunk with its replicas: of an open chunk in the order of the pipeline; else live ones first, good ones first among those, then nearest to
/// the reader first.
pub(super) fn location(
    nodes: &Nodes,
    reader: &Reader,
    location: &ChunkLocation,
    grant: impl FnOnce(ChunkId) -> Bytes,
) -> v1::ChunkLocation {
    let view = nodes.view();
    let live = |id| view.node(id).is_some_and(|node| node.live);
    let mut places = location.info.replicas.clone();
    if !location.info.open {
        let mut order: Vec<NodeId> = places.iter().map(|place| place.node).collect();
        let chunk = SizedChunk { chunk: location.info.chunk, bytes: location.info.length };
        sort_by_nearness(&view, reader, chunk, &mut order);
        let rank = |id: NodeId| order.iter().position(|&other| other == id);
        let slow = |id| view.node(id).is_some_and(|node| node.slow);
        places.sort_by_cached_key(|place| (!live(place.node), place.corrupt, slow(place.node), rank(place.node)));
    }
    let replica = |place: &ReplicaPlace| v1::ReplicaLocation {
        node: Some(node(nodes, place.node)),
        state: if place.corrupt { v1::ReplicaState::Corrupt } else { replica_state_to_wire(place.state) }.into(),
        live: live(place.node),
    };
    v1::ChunkLocation {
        chunk: location.info.chunk.get(),
        offset: location.offset,
        length: location.info.length,
        generation: location.info.generation.get(),
        open: location.info.open,
        replicas: places.iter().map(replica).collect(),
        grant: if location.info.open { Bytes::new() } else { grant(location.info.chunk) },
    }
}

pub(super) fn node_state(state: NodeState) -> v1::NodeState {
    match state {
        NodeState::Live => v1::NodeState::Live,
        NodeState::Suspected => v1::NodeState::Suspected,
        NodeState::Expected => v1::NodeState::Expected,
        // Dead, and whatever a later core adds: not to be relied on.
        _ => v1::NodeState::Dead,
    }
}

pub(super) fn scrub(wire: Option<&v1::ScrubStatus>) -> ScrubStatus {
    wire.map_or_else(ScrubStatus::default, |scrub| ScrubStatus {
        rounds: scrub.rounds,
        checked: scrub.checked,
        total: scrub.total,
        corrupt: scrub.corrupt,
    })
}

/// What a datanode tells of one behind it. What it tells is a hint, whatever it is.
pub(super) fn peer_pace(wire: &v1::PeerPace) -> PeerPace {
    PeerPace {
        node: NodeId(wire.node),
        plain: Pace { packets: wire.packets, micros: wire.micros },
        durable: Pace { packets: wire.durable_packets, micros: wire.durable_micros },
    }
}

/// A node for the report. `replicas` and `quarantined` are what the rows, and what its last report, say.
pub(super) fn node_report(status: &NodeStatus, replicas: u64, quarantined: u64) -> v1::NodeReport {
    let heartbeat = &status.heartbeat;
    v1::NodeReport {
        node: Some(v1::Node {
            id: status.id.get(),
            address: status.address.clone(),
            domain: status.domain.as_str().to_owned(),
        }),
        state: node_state(status.state).into(),
        space: Some(godfs_client::transport::convert::space_to_wire(&heartbeat.space)),
        load: heartbeat.load,
        silent_ms: millis(status.silent),
        scrub: Some(v1::ScrubStatusReport {
            rounds: heartbeat.scrub.rounds,
            checked: heartbeat.scrub.checked,
            total: heartbeat.scrub.total,
            corrupt: heartbeat.scrub.corrupt,
        }),
        replicas,
        quarantined,
        unknown_files: heartbeat.unknown_files,
        draining: heartbeat.draining,
        volumes: godfs_client::transport::convert::volumes_to_wire(&heartbeat.volumes),
        slowness: status.slowness.map(|slowness| v1::Slowness {
            micros: slowness.micros,
            peers_micros: slowness.peers_micros,
            witnesses: slowness.witnesses,
        }),
    }
}
