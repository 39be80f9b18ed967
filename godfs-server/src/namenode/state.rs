//! What the services and tasks of one namenode share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use godfs_client::transport::hello::Identity;
use godfs_core::cluster::{NodeChange, NodeState, Nodes, StreamId};
use godfs_core::env::Env;
use godfs_core::namespace::{ChunkLocation, Namespace};
use godfs_core::placement::{ClusterView, Reader, ReplicationPolicy};
use godfs_core::{ClusterId, Incarnation, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;

use super::convert::location;
use super::leases::Leases;
use super::links::Links;
use super::list::ListMemory;
use super::repair::Repair;
use super::reports::Quarantine;
use super::settings::NamenodeSettings;
use super::tasks::Tasks;
use super::verify::Hints;
use super::watches::Watches;
use crate::grant::GrantKey;

/// One namenode. What it knows beside the namespace is a cache: rows say what is so.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: NamenodeSettings,
    pub(super) env: Env,
    pub(super) policy: Arc<dyn ReplicationPolicy>,
    pub(super) cluster_id: ClusterId,
    pub(super) incarnation: Incarnation,
    /// What lets readers have the files of replicas on their own machine.
    pub(super) grant_key: GrantKey,
    /// How it introduces itself.
    pub(super) identity: Identity,
    pub(super) namespace: Namespace,
    /// To be changed by [`State::change_nodes`] only, so that nobody misses a change or hears of it late. No other lock is held when it is taken.
    pub(super) nodes: Mutex<Nodes>,
    pub(super) links: Links,
    pub(super) repair: Repair,
    pub(super) leases: Leases,
    pub(super) quarantine: Quarantine,
    pub(super) hints: Hints,
    pub(super) tasks: Tasks,
    /// The memory of listings.
    pub(super) lists: ListMemory,
    /// The streams of changes.
    pub(super) watches: Arc<Watches>,
    /// Held by the backup that is under way.
    pub(super) backups: tokio::sync::Mutex<()>,
    /// Where backups are written down: on the disk of the metadata. `None` for the system's place for what is temporary.
    pub(super) spool_folder: Option<PathBuf>,
    /// On the environment's monotonic clock.
    pub(super) started: Duration,
}

impl State {
    /// Now, on the monotonic clock.
    pub(super) fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    /// The datanodes as policies see them.
    pub(super) fn view(&self) -> Arc<ClusterView> {
        self.nodes.lock().view()
    }

    /// Chunks as a client on `host` gets them: where they are, nearest first, and what proves that it may read them.
    pub(super) fn locations(&self, chunks: &[ChunkLocation], host: &str) -> Vec<v1::ChunkLocation> {
        let reader = Reader { host: host.to_owned(), domain: None };
        let grant = |chunk| Bytes::copy_from_slice(&self.grant_key.grant(self.cluster_id, chunk));
        let nodes = self.nodes.lock();
        chunks.iter().map(|chunk| location(&nodes, &reader, chunk, grant)).collect()
    }

    /// A live node whose streams end at `host`: the writer's own. Where several share a host, any of them.
    pub(super) fn node_on(&self, host: &str) -> Option<NodeId> {
        if host.is_empty() {
            return None;
        }
        let view = self.view();
        let here: Vec<NodeId> = view
            .nodes
            .iter()
            .filter(|node| node.live && node.eligible && node.host == host)
            .map(|node| node.id)
            .collect();
        let pick = usize::try_from(self.env.random.below(here.len() as u64)).unwrap_or(0);
        here.get(pick).copied()
    }

    /// Changes what is thought of nodes, and passes on what is new of it. Under the lock: a change is told once, so those who are told of two
    /// in the wrong order would believe the older one for good.
    pub(super) fn change_nodes<T: Changes>(&self, change: impl FnOnce(&mut Nodes, Duration) -> T) -> T {
        let mut nodes = self.nodes.lock();
        let now = self.now();
        let changed = change(&mut nodes, now);
        self.pass_on(now, changed.changes());
        changed
    }

    fn pass_on(&self, now: Duration, changes: &[NodeChange]) {
        for &change in changes {
            tracing::info!(node = %change.node, state = ?change.state, standing = ?change.standing, "datanode");
            if change.state == NodeState::Dead
                && let Some(link) = self.links.get(change.node)
            {
                // It has a stream and says nothing: a new stream is its way back.
                link.close();
            }
            self.repair.node_changed(now, change);
        }
    }
}

/// What a change of [`Nodes`] gives, and in it what is to be passed on.
pub(super) trait Changes {
    /// What is to be passed on, in its order.
    fn changes(&self) -> &[NodeChange];
}

impl Changes for Vec<NodeChange> {
    fn changes(&self) -> &[NodeChange] {
        self
    }
}

impl Changes for Option<NodeChange> {
    fn changes(&self) -> &[NodeChange] {
        self.as_slice()
    }
}

impl Changes for (StreamId, NodeChange) {
    fn changes(&self) -> &[NodeChange] {
        std::slice::from_ref(&self.1)
    }
}

impl<T: Changes> Changes for Result<T> {
    fn changes(&self) -> &[NodeChange] {
        self.as_ref().map_or(&[], Changes::changes)
    }
}
