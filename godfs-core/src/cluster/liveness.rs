//! Which datanodes live.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::awake::AwakeTime;
use super::slow::{PeerPace, SlowNodes, SlowSettings, Slowness};
use crate::chunk::{Space, VolumeStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NodeId, NodeUuid};
use crate::placement::{ClusterView, Domain, NodeView};

/// How fast a lost datanode is noticed, and when its chunks are copied.
///
/// Shorter times restore the replicas sooner; longer ones spare the copies that a restart, a busy disk or a lost switch would
/// cost. A node that is declared dead wrongly does no harm but those copies: when it returns, the surplus goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LivenessSettings {
    /// How often a datanode speaks.
    pub heartbeat: Duration,
    /// Silence after which a node gets nothing new, readers try it last, and its chunks count as under-replicated: one missed
    /// heartbeat and as long again for a busy machine. The end of its stream has the same effect at once.
    pub suspect_after: Duration,
    /// Silence after which a node counts as dead. Below three heartbeats a loaded machine would be buried alive.
    pub dead_after: Duration,
    /// How long after death its chunks are copied elsewhere: long enough for a process to be restarted, short against the time in
    /// which a second disk fails.
    pub repair_grace: Duration,
}

impl Default for LivenessSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            suspect_after: Duration::from_secs(2),
            dead_after: Duration::from_secs(5),
            repair_grace: Duration::from_secs(5),
        }
    }
}

impl LivenessSettings {
    /// Whether the times make sense together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] unless 0 < `heartbeat` < `suspect_after` <= `dead_after`.
    pub fn validate(&self) -> Result<()> {
        if !self.heartbeat.is_zero() && self.heartbeat < self.suspect_after && self.suspect_after <= self.dead_after {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("liveness: needs 0 < heartbeat < suspect_after <= dead_after, got {self:?}"),
        ))
    }
}

/// What is thought of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NodeState {
    /// Known from an earlier life of this namenode and not heard from yet.
    Expected,
    /// Heard from, its stream is open.
    Live,
    /// Its stream ended, or it missed a heartbeat.
    Suspected,
    /// Silent for [`LivenessSettings::dead_after`].
    Dead,
}

/// What a node's replicas count for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// Live, and its report agrees with the rows: what the rows name there is there.
    Certain,
    /// Expected, suspected, dead for less than the grace, or live and still reporting: its replicas don't count, but no copy
    /// is made for them yet.
    Away,
    /// Dead for longer than the grace: its replicas are to be made again elsewhere.
    Lost,
}

/// A node whose state or standing changed, or that registered anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeChange {
    /// The node.
    pub node: NodeId,
    /// Its state now.
    pub state: NodeState,
    /// Its standing now.
    pub standing: Standing,
}

/// One connection of a datanode; what comes over an earlier one of the same node is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

/// A node as the rows know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNode {
    /// The node.
    pub id: NodeId,
    /// Its folder.
    pub uuid: NodeUuid,
    /// Where it was last reached, `HOST:PORT`; empty when the rows don't say.
    pub address: String,
    /// Its failure domain at that time.
    pub domain: Domain,
}

/// What a datanode says of itself when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The number that the rows give to its folder.
    pub id: NodeId,
    /// Its folder.
    pub uuid: NodeUuid,
    /// Random, new for each start of the process.
    pub instance: u64,
    /// `HOST:PORT` where clients and other datanodes reach it.
    pub address: String,
    /// Its failure domain.
    pub domain: Domain,
    /// Its room.
    pub space: Space,
}

/// What a datanode says regularly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its room.
    pub space: Space,
    /// Streams it is serving.
    pub load: u32,
    /// How far its scrubber is.
    pub scrub: ScrubStatus,
    /// Files in its folder that could not be classified.
    pub unknown_files: u64,
    /// It is leaving in good order: it gets nothing new.
    pub draining: bool,
    /// The disks that it keeps replicas on, where it tells.
    pub volumes: Vec<VolumeStatus>,
    /// How long those behind it in its pipelines take.
    pub peers: Vec<PeerPace>,
}

impl Heartbeat {
    /// Bytes that one new replica may take: it lies on one disk.
    #[must_use]
    pub fn largest(&self) -> u64 {
        let largest = self.volumes.iter().map(|volume| volume.space.available).max();
        largest.map_or(self.space.available, |largest| largest.min(self.space.available))
    }
}

/// How far a scrubber is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Rounds finished since the folder was made.
    pub rounds: u64,
    /// Chunks read in this round.
    pub checked: u64,
    /// Chunks in the folder.
    pub total: u64,
    /// Corrupt replicas found since the process started.
    pub corrupt: u64,
}

/// One node, for reports and for answers that name addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node.
    pub id: NodeId,
    /// Its state.
    pub state: NodeState,
    /// Its standing.
    pub standing: Standing,
    /// `HOST:PORT`; empty when it was never heard from and the rows don't say.
    pub address: String,
    /// Its failure domain.
    pub domain: Domain,
    /// How long it has been silent; since this namenode's start when it was never heard from.
    pub silent: Duration,
    /// What it said last.
    pub heartbeat: Heartbeat,
    /// Why it is called slow, if it is.
    pub slowness: Option<Slowness>,
}

/// How many nodes there are, and what they hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Live nodes.
    pub live: u32,
    /// Registered nodes that are not live, whatever else they are.
    pub not_live: u32,
    /// The room of the live nodes together.
    pub space: Space,
}

/// Every registered datanode and its state.
///
/// Silence is measured in time during which this namenode was itself awake: a gap of more than
/// [`LivenessSettings::suspect_after`] between two inputs counts as no more than that. The namenode must therefore call
/// [`Nodes::tick`] several times within each heartbeat.
#[derive(Debug)]
pub struct Nodes {
    settings: LivenessSettings,
    awake: AwakeTime,
    nodes: BTreeMap<NodeId, Node>,
    by_uuid: HashMap<NodeUuid, NodeId>,
    streams: u64,
    slow: SlowNodes,
    view: Arc<ClusterView>,
}

#[derive(Debug)]
struct Node {
    uuid: NodeUuid,
    instance: u64,
    address: String,
    domain: Domain,
    /// The open stream.
    stream: Option<StreamId>,
    /// In awake time; `None` when it was never heard from in this life of the namenode.
    heard: Option<Duration>,
    /// The full report of the present stream agrees with the rows.
    reported: bool,
    heartbeat: Heartbeat,
    state: NodeState,
    standing: Standing,
}

impl Nodes {
    /// No nodes yet.
    #[must_use]
    pub fn new(settings: LivenessSettings, now: Duration) -> Self {
        Self {
            settings,
            awake: AwakeTime::new(now, settings.suspect_after),
            nodes: BTreeMap::new(),
            by_uuid: HashMap::new(),
            streams: 0,
            slow: SlowNodes::new(SlowSettings::default(), Duration::ZERO),
            view: Arc::default(),
        }
    }

    /// With other settings of when a node is called slow; before the first datanode is let in.
    #[must_use]
    pub fn judging(mut self, settings: SlowSettings) -> Self {
        self.slow = SlowNodes::new(settings, self.awake.get());
        self
    }

    /// Adds a node that the rows know, before the first datanode is let in. It has [`LivenessSettings::dead_after`] and
    /// [`LivenessSettings::repair_grace`] from this namenode's start to make itself heard, and all the time there is when the rows don't say
    /// where it was reached. Known nodes are left as they are.
    pub fn expect(&mut self, known: KnownNode) -> Option<NodeChange> {
        if self.nodes.contains_key(&known.id) {
            return None;
        }
        self.by_uuid.insert(known.uuid, known.id);
        self.nodes.insert(
            known.id,
            Node {
                uuid: known.uuid,
                instance: 0,
                address: known.address,
                domain: known.domain,
                stream: None,
                heard: None,
                reported: false,
                heartbeat: Heartbeat::default(),
                state: NodeState::Expected,
                standing: Standing::Away,
            },
        );
        self.show(known.id);
        Some(NodeChange { node: known.id, state: NodeState::Expected, standing: Standing::Away })
    }

    /// A datanode connects. The answer names its stream, which replaces an earlier one.
    ///
    /// # Errors
    /// [`ErrorKind::FailedPrecondition`] when another process with the same folder is live and connected: the folder, or the machine, was
    /// copied. It is marked as retryable, since a process that was killed and restarted meets the same answer until the end of
    /// its old stream is noticed, within [`LivenessSettings::suspect_after`]; whoever is refused for longer is a copy.
    /// The same kind, not retryable, when the number and the folder don't belong together.
    pub fn register(&mut self, now: Duration, registration: Registration) -> Result<(StreamId, NodeChange)> {
        self.awake.advance(now);
        let id = registration.id;
        self.refuse_strangers(&registration)?;
        self.refuse_copies(&registration)?;
        self.streams += 1;
        let stream = StreamId(self.streams);
        let heartbeat = Heartbeat { space: registration.space, ..Heartbeat::default() };
        self.by_uuid.insert(registration.uuid, id);
        self.nodes.insert(
            id,
            Node {
                uuid: registration.uuid,
                instance: registration.instance,
                address: registration.address,
                domain: registration.domain,
                stream: Some(stream),
                heard: Some(self.awake.get()),
                reported: false,
                heartbeat,
                state: NodeState::Live,
                standing: Standing::Away,
            },
        );
        self.show(id);
        Ok((stream, NodeChange { node: id, state: NodeState::Live, standing: Standing::Away }))
    }

    fn refuse_strangers(&self, new: &Registration) -> Result<()> {
        let folder_of = self.nodes.get(&new.id).map(|node| node.uuid);
        let number_of = self.by_uuid.get(&new.uuid).copied();
        if folder_of.is_none_or(|uuid| uuid == new.uuid) && number_of.is_none_or(|id| id == new.id) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!(
                "datanode {} with folder {} at {}: the namenode knows node {} by folder {} and the folder as node {}",
                new.id,
                new.uuid,
                new.address,
                new.id,
                folder_of.map_or_else(|| "none".to_owned(), |uuid| uuid.to_string()),
                number_of.map_or_else(|| "none".to_owned(), |id| id.to_string()),
            ),
        ))
    }

    fn refuse_copies(&self, new: &Registration) -> Result<()> {
        let Some(old) = self.nodes.get(&new.id) else { return Ok(()) };
        let live = old.stream.is_some() && self.judge(old).0 == NodeState::Live;
        if !live || old.instance == new.instance {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!(
                "datanode {} (folder {}) is live at {} as instance {:016x}; instance {:016x} at {} has a copy of its folder, or was \
                 restarted before the end of the old one was noticed",
                new.id, new.uuid, old.address, old.instance, new.instance, new.address
            ),
        )
        .with_retryable(true))
    }

    /// A datanode speaks. A stream that was replaced is told apart and refused.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when this is not the node's present stream: it is to be closed.
    pub fn heartbeat(
        &mut self,
        now: Duration,
        id: NodeId,
        stream: StreamId,
        heartbeat: Heartbeat,
    ) -> Result<Option<NodeChange>> {
        let node = self.speaker(now, id, stream)?;
        node.heartbeat = heartbeat;
        let peers = std::mem::take(&mut node.heartbeat.peers);
        self.slow.reported(self.awake.get(), id, peers);
        let change = self.refresh(id);
        self.show(id);
        Ok(change)
    }

    /// A datanode has said something else than a heartbeat: it is there.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when this is not the node's present stream: it is to be closed.
    pub fn heard(&mut self, now: Duration, id: NodeId, stream: StreamId) -> Result<Option<NodeChange>> {
        self.speaker(now, id, stream)?;
        Ok(self.refresh(id))
    }

    /// The full report that the datanode gave over this stream agrees with the rows, or the rows have been made to agree.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when this is not the node's present stream.
    pub fn report_complete(&mut self, now: Duration, id: NodeId, stream: StreamId) -> Result<Option<NodeChange>> {
        let node = self.speaker(now, id, stream)?;
        node.reported = true;
        Ok(self.refresh(id))
    }

    /// A datanode begins a full report over this stream once more, since it has lost replicas, or word of them: until that is complete, what the
    /// rows name there need not be there.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] when this is not the node's present stream.
    pub fn report_begun(&mut self, now: Duration, id: NodeId, stream: StreamId) -> Result<Option<NodeChange>> {
        let node = self.speaker(now, id, stream)?;
        node.reported = false;
        Ok(self.refresh(id))
    }

    /// A datanode's stream ended. Nothing happens when it was replaced before.
    pub fn stream_lost(&mut self, now: Duration, id: NodeId, stream: StreamId) -> Option<NodeChange> {
        self.awake.advance(now);
        let node = self.nodes.get_mut(&id).filter(|node| node.stream == Some(stream))?;
        node.stream = None;
        // What it says next comes over a new stream, and with a new report.
        node.reported = false;
        self.refresh(id)
    }

    /// Time passes. Call it several times within each heartbeat.
    pub fn tick(&mut self, now: Duration) -> Vec<NodeChange> {
        self.awake.advance(now);
        for id in self.slow.tick(self.awake.get()) {
            match self.slow.slowness(id) {
                Some(slowness) => tracing::warn!(node = %id, ?slowness, "a datanode is much slower than its peers"),
                None => tracing::info!(node = %id, "a datanode is not called slow any more"),
            }
            self.show(id);
        }
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.refresh(id)).collect()
    }

    /// `bytes` are about to be written to each of `nodes`: until its next heartbeat a node counts as that much fuller and busier, so
    /// that a burst of new chunks does not meet on one.
    pub fn reserve(&mut self, nodes: &[NodeId], bytes: u64) {
        let view = Arc::make_mut(&mut self.view);
        for id in nodes {
            if let Ok(at) = view.nodes.binary_search_by_key(id, |node| node.id) {
                let node = &mut view.nodes[at];
                node.available = node.available.saturating_sub(bytes);
                node.largest = node.largest.min(node.available);
                node.load = node.load.saturating_add(1);
            }
        }
    }

    /// The cluster as policies see it. Cheap.
    #[must_use]
    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view)
    }

    /// The number of a folder.
    #[must_use]
    pub fn by_uuid(&self, uuid: NodeUuid) -> Option<NodeId> {
        self.by_uuid.get(&uuid).copied()
    }

    /// The state of one node.
    #[must_use]
    pub fn state(&self, id: NodeId) -> Option<NodeState> {
        self.nodes.get(&id).map(|node| node.state)
    }

    /// Where a node is reached, `HOST:PORT`; `None` when it is unknown or was never heard from.
    #[must_use]
    pub fn address(&self, id: NodeId) -> Option<&str> {
        self.nodes.get(&id).map(|node| node.address.as_str()).filter(|address| !address.is_empty())
    }

    /// Where a node's commands go; `None` when it is not connected.
    #[must_use]
    pub fn stream(&self, id: NodeId) -> Option<StreamId> {
        self.nodes.get(&id)?.stream
    }

    /// One node in full.
    #[must_use]
    pub fn status(&self, id: NodeId) -> Option<NodeStatus> {
        self.nodes.get(&id).map(|node| self.describe(id, node))
    }

    /// Every node in full, in order of the ids.
    pub fn statuses(&self) -> impl Iterator<Item = NodeStatus> + '_ {
        self.nodes.iter().map(|(&id, node)| self.describe(id, node))
    }

    /// The sums for the report.
    #[must_use]
    pub fn counts(&self) -> NodeCounts {
        let mut counts = NodeCounts::default();
        for node in self.nodes.values() {
            if node.state != NodeState::Live {
                counts.not_live += 1;
                continue;
            }
            counts.live += 1;
            let (sum, space) = (&mut counts.space, node.heartbeat.space);
            sum.capacity = sum.capacity.saturating_add(space.capacity);
            sum.used = sum.used.saturating_add(space.used);
            sum.available = sum.available.saturating_add(space.available);
        }
        counts
    }

    fn describe(&self, id: NodeId, node: &Node) -> NodeStatus {
        NodeStatus {
            id,
            state: node.state,
            standing: node.standing,
            address: node.address.clone(),
            domain: node.domain.clone(),
            silent: self.silence(node),
            heartbeat: node.heartbeat.clone(),
            slowness: self.slow.slowness(id),
        }
    }

    /// The node that speaks over its present stream; it has been heard now.
    fn speaker(&mut self, now: Duration, id: NodeId, stream: StreamId) -> Result<&mut Node> {
        let heard = self.awake.advance(now);
        match self.nodes.get_mut(&id).filter(|node| node.stream == Some(stream)) {
            Some(node) => {
                node.heard = Some(heard);
                Ok(node)
            }
            None => Err(Error::new(
                ErrorKind::Fenced,
                format!("datanode {id} has connected anew since; this stream is over"),
            )),
        }
    }

    fn silence(&self, node: &Node) -> Duration {
        self.awake.get().saturating_sub(node.heard.unwrap_or_default())
    }

    /// What is to be thought of a node by what was heard of it.
    fn judge(&self, node: &Node) -> (NodeState, Standing) {
        let LivenessSettings { suspect_after, dead_after, repair_grace, .. } = self.settings;
        if node.heard.is_none() && node.address.is_empty() {
            // The rows never had an address of it: no namenode has heard from it yet, so it is awaited and not missed.
            return (NodeState::Expected, Standing::Away);
        }
        let silence = self.silence(node);
        let lost = silence >= dead_after.saturating_add(repair_grace);
        if node.heard.is_none() {
            // A namenode that has just started has heard nobody: it grants all the time there is before it calls anyone dead.
            return if lost { (NodeState::Dead, Standing::Lost) } else { (NodeState::Expected, Standing::Away) };
        }
        if lost {
            (NodeState::Dead, Standing::Lost)
        } else if silence >= dead_after {
            (NodeState::Dead, Standing::Away)
        } else if node.stream.is_none() || silence >= suspect_after {
            (NodeState::Suspected, Standing::Away)
        } else if node.reported {
            (NodeState::Live, Standing::Certain)
        } else {
            (NodeState::Live, Standing::Away)
        }
    }

    /// Judges a node anew, and tells when that changed anything.
    fn refresh(&mut self, id: NodeId) -> Option<NodeChange> {
        let (state, standing) = self.judge(self.nodes.get(&id)?);
        let node = self.nodes.get_mut(&id)?;
        let changed = (node.state, node.standing) != (state, standing);
        (node.state, node.standing) = (state, standing);
        if state == NodeState::Dead {
            // Should it wake up after all, it connects anew and reports what it holds, rather than go on as if nothing had been.
            (node.stream, node.reported) = (None, false);
        }
        if changed {
            self.show(id);
        }
        changed.then_some(NodeChange { node: id, state, standing })
    }

    /// Brings the view of one node up to date.
    fn show(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        let space = node.heartbeat.space;
        let shown = NodeView {
            id,
            domain: node.domain.clone(),
            host: host_of(&node.address).to_owned(),
            available: space.available,
            largest: node.heartbeat.largest(),
            capacity: space.capacity,
            load: node.heartbeat.load,
            live: node.state == NodeState::Live,
            eligible: !node.heartbeat.draining,
            slow: self.slow.slowness(id).is_some(),
        };
        match self.view.nodes.binary_search_by_key(&id, |node| node.id) {
            // Copying the view because somebody holds the old one is only worth it when something is new.
            Ok(at) if self.view.nodes[at] == shown => {}
            Ok(at) => Arc::make_mut(&mut self.view).nodes[at] = shown,
            Err(at) => Arc::make_mut(&mut self.view).nodes.insert(at, shown),
        }
    }
}

/// The host of `HOST:PORT`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
