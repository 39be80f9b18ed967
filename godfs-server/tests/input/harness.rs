//! A cluster in this process, and callers of its services who need not keep to any rule.

use std::future::Future;
use std::sync::{Mutex, Once};
use std::time::Duration;

use godfs_client::transport::hello::Identity;
use godfs_client::transport::{Address, Channels, Connection, status};
use godfs_client::{Client, CreateOptions};
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;
use godfs_proto::v1::admin_service_client::AdminServiceClient;
use godfs_proto::v1::chunk_service_client::ChunkServiceClient;
use godfs_proto::v1::datanode_service_client::DatanodeServiceClient;
use godfs_proto::v1::namespace_service_client::NamespaceServiceClient;
use godfs_server::Cluster;
use godfs_server::namenode::NamenodeSettings;

/// How long anything may take before a test gives up: far above what it takes, so that a slow machine fails nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The chunks of files here.
pub(crate) const CHUNK: u64 = 64 << 10;

/// A namenode that notices deaths and lost writers fast.
pub(crate) fn quick() -> NamenodeSettings {
    let mut settings = NamenodeSettings::default();
    settings.liveness.heartbeat = Duration::from_millis(50);
    settings.liveness.suspect_after = Duration::from_millis(500);
    settings.liveness.dead_after = Duration::from_millis(1_000);
    settings.liveness.repair_grace = Duration::from_millis(100);
    settings.reader_grace = Duration::from_millis(50);
    // Callers by hand do not say who they are.
    settings.namespace.permissions = false;
    settings
}

/// A cluster with settings for tests.
pub(crate) async fn cluster(datanodes: usize) -> Cluster {
    watch_for_panics();
    Cluster::builder().datanodes(datanodes).namenode_settings(quick()).start().await.expect("cluster")
}

/// Files of small chunks, each on `replicas` nodes.
pub(crate) fn small_chunks(replicas: u32) -> CreateOptions {
    CreateOptions::default().replication(replicas).chunk_size(CHUNK)
}

/// A caller by hand: the generated stubs, and no client in between.
pub(crate) struct Caller {
    pub(crate) names: NamespaceServiceClient<Connection>,
    pub(crate) datanodes: DatanodeServiceClient<Connection>,
    pub(crate) admin: AdminServiceClient<Connection>,
    pub(crate) channels: Channels,
    pub(crate) identity: Identity,
    pub(crate) address: Address,
    session: u64,
    sequence: u64,
}

impl Caller {
    /// With a session, on a connection of its own.
    pub(crate) async fn of(cluster: &Cluster) -> Self {
        let address = Address::parse(cluster.namenode_address()).expect("address");
        let channels = Channels::tcp();
        let connection = channels.control(&address).await.expect("connect");
        let origin: http::Uri = format!("http://{address}").parse().expect("origin");
        let mut names = NamespaceServiceClient::with_origin(connection.clone(), origin.clone());
        let identity = Identity::client("attacker");
        let opened = names.open_session(v1::OpenSessionRequest { hello: Some(identity.hello()) }).await;
        let session = opened.expect("session").into_inner().session;
        Self {
            names,
            datanodes: DatanodeServiceClient::with_origin(connection.clone(), origin.clone()),
            admin: AdminServiceClient::with_origin(connection, origin),
            channels,
            identity,
            address,
            session,
            sequence: 0,
        }
    }

    /// What the next call carries.
    pub(crate) fn call(&mut self) -> Option<v1::Call> {
        self.sequence += 1;
        Some(v1::Call { session: self.session, slot: 0, sequence: self.sequence })
    }

    /// A new file with its lease.
    pub(crate) async fn create(&mut self, path: &str, replication: u32) -> v1::CreateResponse {
        let options = v1::CreateOptions { replication, chunk_size: CHUNK, ..Default::default() };
        let request = v1::CreateRequest { call: self.call(), path: path.into(), options: Some(options), first: None };
        self.names.create(request).await.expect("create").into_inner()
    }

    /// The first chunk of a file.
    pub(crate) async fn add_chunk(&mut self, file: &v1::CreateResponse) -> v1::AddChunkResponse {
        let request =
            v1::AddChunkRequest { call: self.call(), inode: file.inode, lease: file.lease, ..Default::default() };
        self.names.add_chunk(request).await.expect("a chunk").into_inner()
    }

    /// A chunk that begins somewhere.
    pub(crate) async fn add_chunk_at(&mut self, file: &v1::CreateResponse, start: u64) -> Result<v1::AddChunkResponse> {
        let (call, inode, lease) = (self.call(), file.inode, file.lease);
        let added = self.names.add_chunk(v1::AddChunkRequest { call, inode, lease, start, ..Default::default() }).await;
        self.told(added)
    }

    /// The chunk service at an address.
    pub(crate) async fn chunks(&self, address: &str) -> ChunkServiceClient<Connection> {
        let address = Address::parse(address).expect("address");
        self.channels.chunk_service(&address).await.expect("connect")
    }

    /// An answer, as our own client understands it.
    pub(crate) fn told<T>(&self, answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T> {
        answer.map(tonic::Response::into_inner).map_err(|end| status::from_status(&end, &self.address))
    }

    /// The error of a call that must be refused.
    pub(crate) fn refused<T>(&self, what: &str, answer: Result<tonic::Response<T>, tonic::Status>) -> Error {
        match self.told(answer) {
            Ok(_) => panic!("{what} must be refused"),
            Err(error) => error,
        }
    }
}

/// Waits until `check` is `Ok`; the panic shows what it last said.
pub(crate) async fn eventually<F, T>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let limit = tokio::time::Instant::now() + PATIENCE;
    loop {
        match check().await {
            Ok(done) => return done,
            Err(last) if tokio::time::Instant::now() > limit => panic!("waited in vain until {what}: {last}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Waits until the report is as `good` wants it.
pub(crate) async fn reported(client: &Client, what: &str, good: impl Fn(&v1::ReportResponse) -> bool) {
    eventually(what, || async {
        match client.report().await {
            Ok(report) if good(&report) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// The error of an outcome that must be one, of this kind.
pub(crate) fn fails<T>(what: &str, kind: ErrorKind, outcome: Result<T>) -> Error {
    match outcome {
        Ok(_) => panic!("{what} must be refused"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{what}: {error}");
            error
        }
    }
}

/// Bytes that tell places apart, and are the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Panics, and the threads they were in.
static PANICS: Mutex<Vec<(Option<String>, String)>> = Mutex::new(Vec::new());

/// Remembers every panic that is not a test's own: the runtime swallows those of tasks.
pub(crate) fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.location().is_none_or(|at| !at.file().contains("tests/")) {
                let thread = std::thread::current().name().map(ToOwned::to_owned);
                PANICS.lock().expect("never poisoned").push((thread, panic.to_string()));
            }
            before(panic);
        }));
    });
}

/// That nothing has panicked so far, in the tasks of this test or in any thread that tests share.
pub(crate) fn nothing_panicked() {
    let mut panics = PANICS.lock().expect("never poisoned").clone();
    let own = std::thread::current().name().map(ToOwned::to_owned);
    // Other tests are named after their functions, modules in front.
    panics.retain(|(thread, _)| *thread == own || !thread.as_deref().is_some_and(|name| name.contains("::")));
    assert!(panics.is_empty(), "{panics:#?}");
}

/// That the cluster still takes a file and gives it back.
pub(crate) async fn still_serves(cluster: &Cluster, name: &str) {
    let client = cluster.client();
    let data = noise(3 * CHUNK as usize / 2, name.len() as u64);
    let path = format!("/{name}");
    let trip = async {
        client.put(path.as_str(), data.clone(), small_chunks(1)).await?;
        client.get(path.as_str()).await
    };
    let back = tokio::time::timeout(PATIENCE, trip).await.expect("in time").expect("a file goes in and out");
    assert!(back == data, "other bytes");
    nothing_panicked();
}
