//! The datanode: keeps replicas of chunks, serves their bytes, and does what its namenodes order.
//!
//! ```text
//! clients, datanodes ──> service ──> receive ──────────┐
//!                           └──────> serve ────────────┤
//! namenodes <──> namenode ──> commands ──> copy ───────┼──> ChunkStore
//!                    └─ events <── finalized, deleted, │
//!                                  corrupt <── scrub ──┘
//! ```
//!
//! | module | what |
//! |---|---|
//! | `identity` | what a node must not forget: who it is, and whom it no longer obeys |
//! | `service` | the chunk service on the wire |
//! | `receive` | one node's part of a write pipeline |
//! | `serve`, `read_many` | reads, and checksums composed of those that are stored; many small reads on one stream |
//! | `local` | the files of replicas for readers on the same machine |
//! | `namenode` | one link for each namenode: registration, heartbeats, reports up, commands down |
//! | `commands`, `copy` | what is ordered |
//! | `scrub` | reads everything again, in time |
//! | `upkeep` | measures the room and writes down what was seen, so that no link waits for a disk |
//! | `budget`, `pace` | bounds: streams, bytes in memory, bytes a second |
//! | `peers` | how long the nodes behind this one take |
//!
//! It decides nothing about the cluster: which replicas there should be, and which may be deleted, is the namenode's to say.

mod budget;
mod commands;
mod copy;
mod events;
mod executor;
mod identity;
mod local;
mod namenode;
mod pace;
mod peers;
mod read_many;
mod receive;
mod scrub;
mod serve;
mod service;
mod settings;
mod shared;
mod transfer;
mod upkeep;
mod write_many;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use godfs_client::transport::{Address, Channels, Connector, TcpConnector};
use godfs_core::chunk::{ChunkStore, VolumeStore, VolumesOptions};
use godfs_core::env::Env;
use godfs_core::io::{DiskIo, Io};
use godfs_core::placement::Domain;
use godfs_core::{ClusterId, Error, ErrorKind, Incarnation, NodeId, Result};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub use self::settings::DatanodeSettings;

use self::budget::Budget;
use self::events::Outbox;
use self::executor::Counted;
use self::identity::IdentityFile;
use self::pace::Pace;
use self::peers::Peers;
use self::service::ChunkService;
use self::shared::{Shared, Standing};
use self::upkeep::Vitals;
use crate::net::{Listener, Serving, serve, with_health_and_reflection};

/// What a datanode is started with.
#[derive(Debug)]
pub struct DatanodeOptions {
    /// Its folder: identity, the scrubber's place and, unless `store` or `volumes` are given, the replicas.
    pub folder: PathBuf,
    /// Where replicas are kept. `None`: a [`VolumeStore`] over `volumes`.
    pub store: Option<Arc<dyn ChunkStore>>,
    /// The folders, one on each disk, that replicas are spread over; none: the node's folder alone. Not used with a given store.
    pub volumes: Vec<PathBuf>,
    /// Those of the volumes whose disk is gone for good, so that an empty folder there becomes a new one. Not used with a given store.
    pub replaced_volumes: Vec<PathBuf>,
    /// The namenodes of the cluster.
    pub namenodes: Vec<Address>,
    /// Where connections come from.
    pub listener: Listener,
    /// Where others reach it. `None`: where it listens.
    pub advertise: Option<Address>,
    /// Its failure domain.
    pub domain: Domain,
    /// The most bytes that replicas may take on each volume. `None`: as many as its disk has. Not used with a given store.
    pub capacity: Option<u64>,
    /// Bytes of each disk to leave free. Not used with a given store.
    pub reserve: u64,
    /// The node that the folder must belong to: for disks that may be unmounted, so that none becomes an empty node.
    pub expect_node: Option<NodeId>,
    /// A life of the cluster's metadata that the operator accepts although it is not the one this node knows: after the
    /// metadata was restored.
    pub accept_incarnation: Option<Incarnation>,
    /// The disk of the folder.
    pub io: Arc<dyn Io>,
    /// Time, randomness, blocking work.
    pub env: Env,
    /// How others are reached.
    pub connector: Arc<dyn Connector>,
    /// Everything that has a default.
    pub settings: DatanodeSettings,
}

impl DatanodeOptions {
    /// A datanode on the machine's disk and network, with defaults for all else.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, listener: Listener, namenodes: Vec<Address>) -> Self {
        Self {
            folder: folder.into(),
            store: None,
            volumes: Vec::new(),
            replaced_volumes: Vec::new(),
            namenodes,
            listener,
            advertise: None,
            domain: Domain::default(),
            capacity: None,
            reserve: 0,
            expect_node: None,
            accept_incarnation: None,
            io: Arc::new(DiskIo),
            env: Env::system(),
            connector: Arc::new(TcpConnector),
            settings: DatanodeSettings::default(),
        }
    }
}

/// A datanode that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Datanode {
    shared: Arc<Shared>,
    serving: Serving,
    jobs: Counted,
}

impl Datanode {
    /// Starts a datanode: locks its folder, opens its store, listens, and begins to look for its namenodes. Must be called
    /// inside a tokio runtime. It is of use once it is [`ready`](Self::ready).
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when another process holds the folder, [`ErrorKind::FailedPrecondition`] when it is not that of
    /// `expect_node`, [`ErrorKind::InvalidArgument`] without a namenode or an address that others can reach, and what
    /// the store says.
    pub async fn start(options: DatanodeOptions) -> Result<Self> {
        let address = reachable(&options)?;
        if options.namenodes.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a datanode needs the address of a namenode"));
        }
        let jobs = Counted::new(Arc::clone(&options.env.executor));
        let env = Env { executor: Arc::new(jobs.clone()), ..options.env };
        let io = options.io;
        let identity =
            IdentityFile::open(Arc::clone(&io), env.clone(), options.folder.clone(), options.expect_node).await?;
        let (store, twins) = match options.store {
            Some(store) => (store, Vec::new()),
            None => {
                let volumes = VolumesOptions {
                    node: identity.get().uuid,
                    folder: options.folder.clone(),
                    volumes: options.volumes,
                    replaced: options.replaced_volumes,
                    capacity: options.capacity,
                    reserve: options.reserve,
                    small: options.settings.small_replica_bytes,
                };
                let store = VolumeStore::open(volumes, Arc::clone(&io), env.clone()).await?;
                let twins = store.twins();
                (Arc::new(store) as Arc<dyn ChunkStore>, twins)
            }
        };
        for report in store.unknown().await? {
            tracing::warn!(report, "a file that is no replica is left alone");
        }
        let vitals = Mutex::new(Vitals::measure(&*store).await?);
        let settings = options.settings;
        let instance = env.random.next_u64();
        let socket = if settings.local_reads && io.is_system() { local::listen(instance) } else { None };
        let shared = Arc::new(Shared {
            instance,
            channels: Channels::new(settings.transport.clone(), options.connector),
            budget: Budget::new(
                settings.max_streams,
                settings.stream_memory_bytes,
                Duration::from_millis(settings.idle_stream_ms),
            ),
            outboxes: options.namenodes.iter().map(|_| Arc::new(Outbox::default())).collect(),
            verdicts: Default::default(),
            corrupt_found: Default::default(),
            recent: Default::default(),
            peers: Peers::new(Duration::from_millis(settings.peer_span_ms)),
            scrub: Default::default(),
            open_replicas: Default::default(),
            whole_writes: Default::default(),
            grants: Default::default(),
            socket: socket.as_ref().map_or_else(String::new, |(_, name)| name.clone()),
            commands: Semaphore::new(settings.command_workers.clamp(1, Semaphore::MAX_PERMITS)),
            copies: Semaphore::new(settings.copies.clamp(1, Semaphore::MAX_PERMITS)),
            transfers: Semaphore::new(transfer::TRANSFERS),
            busy: Default::default(),
            incoming_copies: Default::default(),
            copy_pace: Pace::new(settings.copy_bytes_per_second),
            registered: watch::Sender::new(Standing::default()),
            draining: Default::default(),
            beat: Notify::new(),
            leave: CancellationToken::new(),
            kill: CancellationToken::new(),
            tasks: TaskTracker::new(),
            domain: options.domain,
            accept: options.accept_incarnation,
            folder: options.folder,
            settings,
            env,
            io,
            store,
            identity,
            vitals,
            address,
        });
        // The one that is offered is read, so that the other can go.
        twins.into_iter().for_each(|chunk| shared.scrub.suspect(chunk));
        let routes = Routes::new(ChunkService::new(Arc::clone(&shared)));
        let (routes, health) = with_health_and_reflection(routes)?;
        let serving = serve(options.listener, routes, &shared.settings.serve);
        if let Some((listener, _)) = socket {
            shared.spawn(local::run(Arc::clone(&shared), listener));
        }
        shared.spawn(report_health(shared.registered.subscribe(), health));
        shared.spawn(scrub::run(Arc::clone(&shared)));
        let kept = Arc::clone(&shared);
        shared.spawn(async move { upkeep::run(&kept).await });
        for (namenode, outbox) in options.namenodes.into_iter().zip(&shared.outboxes) {
            shared.spawn(namenode::link(Arc::clone(&shared), namenode, Arc::clone(outbox)));
        }
        Ok(Self { shared, serving, jobs })
    }

    /// Where others reach it.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Its number in the cluster; `None` before its first registration.
    #[must_use]
    pub fn node_id(&self) -> Option<NodeId> {
        self.shared.identity.node()
    }

    /// Its cluster; `None` before its first registration.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.shared.identity.cluster()
    }

    /// Where it keeps its replicas.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ChunkStore> {
        &self.shared.store
    }

    /// Waits until it is registered with a namenode, and so may be given replicas. Without a namenode in reach that is
    /// for ever.
    ///
    /// # Errors
    /// Why a namenode refused it, when that will not pass by itself: [`ErrorKind::Incompatible`] for another cluster's
    /// folder, [`ErrorKind::Fenced`] for a namenode that went back in time, [`ErrorKind::FailedPrecondition`] for a copy of the
    /// folder of a node that is live and has been for [`DatanodeSettings::refused_ms`]. The node goes on trying.
    pub async fn ready(&self) -> Result<()> {
        let mut standing = self.shared.registered.subscribe();
        let settled = standing.wait_for(|standing| standing.registered > 0 || standing.refusal.is_some()).await;
        match settled {
            Ok(standing) if standing.registered > 0 => Ok(()),
            Ok(standing) => Err(standing.refusal.as_ref().map_or_else(ended, Error::duplicate)),
            Err(_) => Err(ended()),
        }
    }

    /// Stops in good order: tells the namenodes that it is leaving, takes no new streams, lets those under way end for
    /// [`DatanodeSettings::drain_ms`], writes down what it remembers, and ends. Replicas still being written stay so.
    pub async fn stop(self) {
        use std::sync::atomic::Ordering;
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.beat.notify_waiters();
        self.serving.stop(Duration::from_millis(self.shared.settings.drain_ms)).await;
        self.shared.leave.cancel();
        let mut registered = self.shared.registered.subscribe();
        // Every link says goodbye within its own bound.
        let _ = registered.wait_for(|standing| standing.registered == 0).await;
        if let Err(error) = self.shared.identity.save().await {
            tracing::warn!(error = error.report(), "cannot write the identity");
        }
        scrub::save(&self.shared).await;
        self.kill();
        self.join().await;
    }

    /// Ends it at once, as the end of its process would: every connection is dropped, every task aborted, nothing is
    /// flushed. [`Datanode::join`] waits for the rest.
    pub fn kill(&self) {
        self.shared.kill.cancel();
        self.shared.tasks.close();
        self.serving.kill();
    }

    /// Waits until nothing of a killed datanode runs any more, and lets its folder go.
    pub async fn join(self) {
        self.shared.tasks.wait().await;
        self.serving.closed().await;
        self.jobs.finished().await;
        self.shared.identity.release();
    }
}

impl Drop for Datanode {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the datanode has ended")
}

/// The address that others are told.
fn reachable(options: &DatanodeOptions) -> Result<Address> {
    if let Some(advertised) = &options.advertise {
        return Ok(advertised.clone());
    }
    let address = Address::parse(options.listener.address())?;
    let anywhere = address.host().parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    if anywhere {
        let message =
            format!("listening on {address} says not where others reach this node: give the address to advertise");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(address)
}

/// The chunk service is healthy while the node is registered.
async fn report_health(mut registered: watch::Receiver<Standing>, health: HealthReporter) {
    loop {
        let status = match registered.borrow_and_update().registered {
            0 => ServingStatus::NotServing,
            _ => ServingStatus::Serving,
        };
        health.set_service_status(ChunkService::NAME, status).await;
        if registered.changed().await.is_err() {
            return;
        }
    }
}
