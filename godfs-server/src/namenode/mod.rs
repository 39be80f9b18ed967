//! The namenode: names, and where every chunk is.
//!
//! [`Namenode::start`] opens the metadata store, begins a new cluster where told to, and serves at once: locations are durable rows, so nothing has
//! to be heard first. The services are thin over [`godfs_core::namespace`]; what is thought of datanodes, what is repaired and
//! whose session is over is decided in [`godfs_core::cluster`] and carried out here. What is in memory is a cache: ended at any point, a namenode
//! comes back from its rows.
//!
//! | module | subject |
//! |---|---|
//! | `namespace_service`, `attributes`, `allocate`, `list`, `walk`, `watch`, `watches` | clients: names, files, owners and lists, where new chunks go; whole trees; changes |
//! | `datanodes`, `reports`, `links` | datanodes: registration, what they report, commands to them |
//! | `repair`, `garbage`, `verify` | copies and drops; deletions; replicas read again |
//! | `leases`, `held`, `collector` | sessions, recovery of open files; files that others write; what was deleted |
//! | `admin`, `scrub`, `backup` | operators |

mod admin;
mod allocate;
mod attributes;
mod backup;
mod collector;
mod convert;
mod datanodes;
mod garbage;
mod held;
mod leases;
mod links;
mod list;
mod namespace_service;
mod objects;
mod repair;
mod reports;
mod scrub;
mod settings;
mod state;
mod tasks;
mod trash;
mod verify;
mod walk;
mod watch;
mod watches;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use godfs_client::process_caller;
use godfs_client::transport::hello::Identity;
use godfs_core::cluster::{KnownNode, Nodes, RepairQueue};
use godfs_core::env::Env;
use godfs_core::io::DiskIo;
use godfs_core::metadata::{FjallStore, MetadataStore};
use godfs_core::namespace::{Caller, MAX_PAGE, Namespace, Owner, SUPERGROUP};
use godfs_core::placement::{Domain, ReplicationPolicy, SpreadPolicy};
use godfs_core::{ClusterId, Epoch, Error, ErrorKind, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::net::{self, Listener, Serving};
use links::{Authority, Links};
pub use settings::NamenodeSettings;
use state::State;
use tasks::Tasks;

/// The largest message of a datanode, bytes: the listing of a range of 4,096 replicas, or the sums of a long report.
const MAX_DATANODE_MESSAGE: usize = 4 << 20;
/// The largest message of a client, bytes: a small file, or the commits of a long one.
const MAX_CLIENT_MESSAGE: usize = 2 << 20;

/// How often the store is looked at for a failure: every call has failed since, so a second is soon enough to be restarted.
const LOOK_FOR_FAILURE: Duration = Duration::from_secs(1);

/// Permission bits of the root of a new cluster.
const ROOT_MODE: u16 = 0o755;

/// Where a namenode keeps its metadata.
#[derive(Clone, Debug)]
pub enum MetadataSource {
    /// The default store in this folder. The store locks it.
    Folder(PathBuf),
    /// A store that is open; whoever opened it closes it.
    Store(Arc<dyn MetadataStore>),
}

/// How a namenode is started.
#[derive(Debug)]
pub struct NamenodeOptions {
    /// Where its metadata is.
    pub metadata: MetadataSource,
    /// Let an empty folder or store become a new cluster. One that holds a cluster is just opened.
    pub init: bool,
    /// Who becomes the superuser of a new cluster; the user of this process ([`process_caller`]) unless set.
    pub superuser: Option<Caller>,
    /// Where clients and datanodes come in.
    pub listener: Listener,
    /// Where replicas go.
    pub policy: Arc<dyn ReplicationPolicy>,
    /// Clock, randomness, executor of blocking work.
    pub env: Env,
    /// All else.
    pub settings: NamenodeSettings,
}

impl NamenodeOptions {
    /// With the default policy, the machine's environment and default settings, and not to begin a new cluster.
    #[must_use]
    pub fn new(metadata: MetadataSource, listener: Listener) -> Self {
        Self {
            metadata,
            init: false,
            superuser: None,
            listener,
            policy: Arc::new(SpreadPolicy),
            env: Env::system(),
            settings: NamenodeSettings::default(),
        }
    }
}

/// A namenode that runs. Dropping it ends it abruptly, as [`Namenode::kill`] does, without waiting.
#[derive(Debug)]
pub struct Namenode {
    state: Arc<State>,
    serving: Serving,
    /// A store of its own, to be closed with it.
    own_store: Option<Arc<FjallStore>>,
}

impl Namenode {
    /// Opens the metadata and serves: when this returns, calls are answered. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no cluster and `init` was not given; [`ErrorKind::Unavailable`] when another process has
    /// the folder; [`ErrorKind::InvalidArgument`] for settings out of bounds; those of the store.
    pub async fn start(options: NamenodeOptions) -> Result<Self> {
        let NamenodeOptions { metadata, init, superuser, listener, policy, env, settings } = options;
        settings.check()?;
        let spool_folder = match &metadata {
            MetadataSource::Folder(folder) => Some(folder.clone()),
            MetadataSource::Store(_) => None,
        };
        let (store, own_store) = open_store(metadata, init, &settings, &env).await?;
        let namespace = Namespace::new(store, settings.namespace.clone(), env.clone())?;
        let cluster_id = if init {
            let superuser = superuser.map_or_else(process_caller, Ok)?;
            let owner = Owner { user: superuser.user().to_owned(), group: SUPERGROUP.to_owned(), mode: ROOT_MODE };
            namespace.initialize(owner).await?
        } else {
            namespace.cluster().await.map_err(|error| error.context("no cluster here (--init makes one)"))?
        };
        let state = assemble(namespace, cluster_id, policy, env, settings, spool_folder).await?;
        tracing::info!(cluster = %cluster_id, address = listener.address(), "namenode serves");
        let routes = routes(&state);
        let (routes, health) = net::with_health_and_reflection(routes)?;
        let serving = net::serve(listener, routes, &state.settings.serve);
        if let Some(store) = &own_store {
            state.tasks.spawn(tell_of_failure(Arc::clone(&state), Arc::clone(store), health));
        }
        for driver in [Driver::Repair, Driver::Leases, Driver::Collector] {
            state.tasks.spawn(driver.run(Arc::clone(&state)));
        }
        Ok(Self { state, serving, own_store })
    }

    /// The `HOST:PORT` it listens on.
    #[must_use]
    pub fn address(&self) -> &str {
        self.serving.address()
    }

    /// The cluster it serves.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.state.cluster_id
    }

    /// Waits until it has failed, and says why: its metadata store wants to be opened anew, until then every call fails. Pends for ever while
    /// all is well, and where the store is another's, who knows of it. Cancel-safe.
    pub async fn failed(&self) -> Error {
        match &self.own_store {
            Some(store) => failure_of(store).await,
            None => std::future::pending().await,
        }
    }

    /// Stops in good order: takes no new call, lets those under way end, ends its tasks, and closes a store that it opened itself.
    ///
    /// # Errors
    /// What closing the store says; all that was answered is durable all the same.
    pub async fn stop(self) -> Result<()> {
        // These streams have no end of their own. Tasks go on: calls under way may need them.
        self.state.links.close_all();
        self.serving.stop(self.state.settings.drain).await;
        self.state.tasks.join().await;
        match &self.own_store {
            Some(store) => store.close().await,
            None => Ok(()),
        }
    }

    /// Ends it as the end of its process would: connections break, tasks stop where they stand, nothing is finished. Returns when all that it held is let go
    /// of, so that another can be started in the same folder.
    pub async fn kill(self) {
        self.serving.kill();
        self.state.tasks.abort().await;
        self.serving.closed().await;
        if let Some(store) = &self.own_store {
            // Durable is what was answered; closing adds nothing but waiting for the files to be let go of.
            let _ = store.close().await;
        }
    }
}

impl Drop for Namenode {
    fn drop(&mut self) {
        self.serving.kill();
        self.state.tasks.abort_now();
    }
}

/// The tasks that run as long as the namenode does.
#[derive(Clone, Copy, Debug)]
enum Driver {
    Repair,
    Leases,
    Collector,
}

impl Driver {
    async fn run(self, state: Arc<State>) {
        match self {
            Self::Repair => repair::drive(state).await,
            Self::Leases => leases::drive(state).await,
            Self::Collector => collector::drive(state).await,
        }
    }
}

async fn open_store(
    metadata: MetadataSource,
    init: bool,
    settings: &NamenodeSettings,
    env: &Env,
) -> Result<(Arc<dyn MetadataStore>, Option<Arc<FjallStore>>)> {
    let folder = match metadata {
        MetadataSource::Store(store) => return Ok((store, None)),
        MetadataSource::Folder(folder) => folder,
    };
    let io = Arc::new(DiskIo);
    let options = settings.store.clone();
    let exists = FjallStore::exists(&folder, io.clone(), env).await?;
    if !exists && !init {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "{} holds no cluster; is it mounted? --init makes a new cluster in an empty folder",
                folder.display()
            ),
        ));
    }
    let store = if exists {
        FjallStore::open(&folder, options, io, env).await?
    } else {
        FjallStore::create(&folder, options, io, env).await?
    };
    let store = Arc::new(store);
    Ok((Arc::clone(&store) as Arc<dyn MetadataStore>, Some(store)))
}

/// Waits until a store has failed.
async fn failure_of(store: &FjallStore) -> Error {
    let mut look = tokio::time::interval(LOOK_FOR_FAILURE);
    loop {
        look.tick().await;
        if let Some(failure) = store.failure() {
            return failure;
        }
    }
}

/// Shows those who ask for its health that a namenode has failed.
async fn tell_of_failure(state: Arc<State>, store: Arc<FjallStore>, health: HealthReporter) {
    // Both arms are cancel-safe.
    tokio::select! {
        biased;
        () = state.tasks.ending().cancelled() => {}
        failure = failure_of(&store) => {
            tracing::error!(error = failure.report(), "the metadata store has failed; nothing works until it is opened anew");
            health.set_service_status("", ServingStatus::NotServing).await;
        }
    }
}

/// Puts the parts together and lets them know the nodes that the rows name.
async fn assemble(
    namespace: Namespace,
    cluster_id: ClusterId,
    policy: Arc<dyn ReplicationPolicy>,
    env: Env,
    settings: NamenodeSettings,
    spool_folder: Option<PathBuf>,
) -> Result<Arc<State>> {
    let incarnation = namespace.store().incarnation();
    // Commands of this life are told from those of earlier ones by a number that grows with each, also where nothing else has changed between them.
    let epoch = Epoch(namespace.begin_life().await?.get());
    let started = env.clock.monotonic();
    let queue = RepairQueue::new(settings.repair, Arc::clone(&policy), Arc::clone(&env.random));
    let state = Arc::new(State {
        identity: Identity::namenode("namenode", cluster_id),
        grant_key: crate::grant::GrantKey::new(&env),
        nodes: Mutex::new(Nodes::new(settings.liveness, started).judging(settings.slow)),
        links: Links::new(Authority { scope: incarnation.to_string(), epoch }),
        repair: repair::Repair::new(queue),
        leases: leases::Leases::new(&settings.namespace, started),
        quarantine: reports::Quarantine::default(),
        hints: verify::Hints::default(),
        tasks: Tasks::new(CancellationToken::new()),
        backups: tokio::sync::Mutex::default(),
        lists: list::ListMemory::default(),
        watches: Arc::default(),
        spool_folder,
        settings,
        env,
        policy,
        cluster_id,
        incarnation,
        namespace,
        started,
    });
    let mut after = NodeId(0);
    loop {
        let page = state.namespace.nodes(after, MAX_PAGE).await?;
        state.change_nodes(|nodes, _| {
            let known = page.iter().map(|info| KnownNode {
                id: info.node,
                uuid: info.uuid,
                address: info.address.clone(),
                domain: Domain::parse(&info.domain).unwrap_or_default(),
            });
            known.filter_map(|known| nodes.expect(known)).collect::<Vec<_>>()
        });
        match page.last() {
            Some(last) if page.len() == MAX_PAGE => after = last.node,
            _ => return Ok(state),
        }
    }
}

fn routes(state: &Arc<State>) -> Routes {
    let names = v1::namespace_service_server::NamespaceServiceServer::new(namespace_service::Names(Arc::clone(state)))
        .max_decoding_message_size(MAX_CLIENT_MESSAGE)
        .max_encoding_message_size(usize::MAX);
    let datanodes = v1::datanode_service_server::DatanodeServiceServer::new(datanodes::Datanodes(Arc::clone(state)))
        .max_decoding_message_size(MAX_DATANODE_MESSAGE);
    let admin = v1::admin_service_server::AdminServiceServer::new(admin::Admin(Arc::clone(state)));
    Routes::new(names).add_service(datanodes).add_service(admin)
}
