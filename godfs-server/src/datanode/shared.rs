//! What the parts of one datanode share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use godfs_client::pipeline::WholeWrites;
use godfs_client::transport::hello::Identity as Speaker;
use godfs_client::transport::{Address, Channels};
use godfs_core::chunk::{ChunkStore, Replica};
use godfs_core::env::Env;
use godfs_core::io::Io;
use godfs_core::placement::Domain;
use godfs_core::{ChunkId, Error, ErrorKind, Incarnation, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::{Budget, Share};
use super::commands::Busy;
use super::events::{Outbox, ReplicaEvent};
use super::identity::IdentityFile;
use super::local::Grants;
use super::pace::Pace;
use super::peers::Peers;
use super::read_many::OpenReplicas;
use super::scrub::ScrubState;
use super::settings::DatanodeSettings;
use super::upkeep::Vitals;

/// Verdicts that are kept for namenodes that connect later. A disk with more is beyond single verdicts.
const MAX_VERDICTS: usize = 4_096;

/// Replicas whose time of writing is remembered, for the scrubber.
const MAX_RECENT: usize = 64 << 10;

/// How a node stands with its namenodes.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// How many it is registered with.
    pub(crate) registered: usize,
    /// Why one of them refused it, unless it may change its mind.
    pub(crate) refusal: Option<Error>,
}

/// One datanode.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: DatanodeSettings,
    pub(crate) env: Env,
    pub(crate) io: Arc<dyn Io>,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) store: Arc<dyn ChunkStore>,
    pub(crate) identity: IdentityFile,
    pub(crate) vitals: Mutex<Vitals>,
    pub(crate) channels: Channels,
    /// Where others reach this node.
    pub(crate) address: Address,
    pub(crate) domain: Domain,
    /// Random, new for each start.
    pub(crate) instance: u64,
    pub(crate) accept: Option<Incarnation>,
    pub(crate) budget: Budget,
    pub(crate) outboxes: Vec<Arc<Outbox>>,
    pub(crate) verdicts: Mutex<BTreeMap<ChunkId, (Replica, String)>>,
    /// Corrupt replicas found since the start.
    pub(crate) corrupt_found: AtomicU64,
    /// When replicas were written, by this node's clock.
    pub(crate) recent: Mutex<BTreeMap<ChunkId, Duration>>,
    pub(crate) scrub: ScrubState,
    pub(crate) peers: Peers,
    /// What grants are checked with.
    pub(crate) grants: Grants,
    /// Where callers on this machine get the files of replicas; empty where they don't.
    pub(crate) socket: String,
    pub(crate) open_replicas: OpenReplicas,
    /// The streams of whole small replicas to other nodes.
    pub(crate) whole_writes: WholeWrites,
    pub(crate) commands: Semaphore,
    pub(crate) copies: Semaphore,
    /// Places for copies to nodes that are to join a pipeline.
    pub(crate) transfers: Semaphore,
    /// Chunks that a command is working on.
    pub(crate) busy: Mutex<HashMap<ChunkId, Busy>>,
    /// Chunks that are being copied to this node.
    pub(crate) incoming_copies: Mutex<BTreeSet<ChunkId>>,
    pub(crate) copy_pace: Pace,
    /// Namenodes with which this node is registered.
    pub(crate) registered: watch::Sender<Standing>,
    pub(crate) draining: AtomicBool,
    /// Asks every link for a heartbeat now.
    pub(crate) beat: Notify,
    /// The links say goodbye and end.
    pub(crate) leave: CancellationToken,
    /// Everything ends at once.
    pub(crate) kill: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    /// What a call for one replica comes to. While a disk is out of use nobody can say that a replica is not here: it may lie there and come back, and
    /// who took it for absent would count nothing for what was acknowledged.
    pub(crate) async fn certain<T>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if error.kind() == ErrorKind::NotFound => match self.store.volumes().await {
                Ok(volumes) if volumes.iter().all(|volume| volume.failure.is_none()) => Err(error),
                _ => {
                    let message = "it may lie on a disk of this datanode that is out of use";
                    Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
                }
            },
            outcome => outcome,
        }
    }

    /// Starts a task that ends with the node.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            // What is killed loses only what a killed process would.
            kill.run_until_cancelled(task).await;
        });
    }

    /// This side's greeting.
    pub(crate) fn hello(&self) -> v1::Hello {
        self.speaker().hello()
    }

    /// This side of a conversation.
    pub(crate) fn speaker(&self) -> Speaker {
        Speaker::datanode(self.address.as_str(), self.identity.cluster())
    }

    /// Checks who calls and whom they mean, before anything else of a call is used.
    pub(crate) fn check_caller(&self, hello: Option<&v1::Hello>, node: u32) -> Result<()> {
        let caller = self.speaker().check(hello)?;
        let Some(own) = self.identity.node() else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the datanode at {} is not registered yet", self.address),
            ));
        };
        if node != own.get() {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!("{} is node {own}, {:?} means node {node}", self.address, caller.name),
            ));
        }
        Ok(())
    }

    /// Takes a place for one more stream.
    pub(crate) fn open_stream(&self) -> Result<Share> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, format!("the datanode at {} is stopping", self.address)));
        }
        self.budget.open()
    }

    /// Notes a replica that was finalized here.
    pub(crate) fn finalized(&self, replica: Replica) {
        self.note_written(replica.chunk);
        self.open_replicas.forget(replica.chunk);
        // A new generation is a new replica: an old verdict says nothing about it.
        self.verdicts.lock().remove(&replica.chunk);
        self.tell(&ReplicaEvent::Finalized(replica));
    }

    /// Notes a replica that was deleted here.
    pub(crate) fn deleted(&self, replica: Replica) {
        self.recent.lock().remove(&replica.chunk);
        self.open_replicas.forget(replica.chunk);
        self.verdicts.lock().remove(&replica.chunk);
        self.tell(&ReplicaEvent::Deleted(replica));
    }

    /// Many replicas are gone at once, with their disk: every namenode hears at once of the room that is left, and in a full report of what is there.
    pub(crate) fn lost_replicas(&self) {
        self.open_replicas.forget_all();
        self.beat.notify_waiters();
        for outbox in &self.outboxes {
            outbox.report();
        }
    }

    /// Notes this node's own verdict on a replica.
    pub(crate) fn condemned(&self, replica: Replica, evidence: String) {
        let mut verdicts = self.verdicts.lock();
        let known = verdicts.get(&replica.chunk).is_some_and(|(known, _)| known.generation == replica.generation);
        if !known {
            self.corrupt_found.fetch_add(1, Ordering::Relaxed);
        }
        if verdicts.len() < MAX_VERDICTS || known {
            verdicts.insert(replica.chunk, (replica, evidence.clone()));
        }
        drop(verdicts);
        if known {
            return;
        }
        tracing::error!(chunk = %replica.chunk, generation = %replica.generation, evidence, "a replica is corrupt");
        self.tell(&ReplicaEvent::Corrupt(replica, evidence));
    }

    /// All verdicts, for a namenode that has just been met.
    pub(crate) fn verdicts(&self) -> Vec<ReplicaEvent> {
        let verdicts = self.verdicts.lock();
        verdicts.values().map(|(replica, evidence)| ReplicaEvent::Corrupt(*replica, evidence.clone())).collect()
    }

    /// Has a replica read again, because somebody found it corrupt: only this node's own verdict counts.
    pub(crate) fn suspect(&self, chunk: ChunkId) {
        if !self.verdicts.lock().contains_key(&chunk) {
            self.scrub.suspect(chunk);
        }
    }

    /// Whether a replica was written too short a time ago to be scrubbed.
    pub(crate) fn is_recent(&self, chunk: ChunkId) -> bool {
        let limit = Duration::from_millis(self.settings.scrub_skip_recent_ms);
        let now = self.env.clock.monotonic();
        self.recent.lock().get(&chunk).is_some_and(|at| now.saturating_sub(*at) < limit)
    }

    fn note_written(&self, chunk: ChunkId) {
        let now = self.env.clock.monotonic();
        let limit = Duration::from_millis(self.settings.scrub_skip_recent_ms);
        let mut recent = self.recent.lock();
        if recent.len() >= MAX_RECENT {
            recent.retain(|_, at| now.saturating_sub(*at) < limit);
        }
        // Past the bound a replica is scrubbed sooner than it need be.
        if recent.len() < MAX_RECENT {
            recent.insert(chunk, now);
        }
    }

    fn tell(&self, event: &ReplicaEvent) {
        for outbox in &self.outboxes {
            outbox.push(event.clone());
        }
    }
}
