//! A whole cluster in this process, on free loopback ports.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join, try_join_all};
use godfs_client::transport::Address;
use godfs_client::{Client, ClientSettings};
use godfs_core::chunk::ChunkStore;
use godfs_core::env::Env;
use godfs_core::metadata::MetadataStore;
use godfs_core::placement::{Domain, ReplicationPolicy};
use godfs_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

use crate::datanode::{Datanode, DatanodeOptions, DatanodeSettings};
use crate::namenode::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
use crate::net::Listener;

/// How long a start waits for the datanodes to register: far above what it takes.
const READY: Duration = Duration::from_secs(30);
/// How long a restarted namenode tries to get its port back; the system may hold it for a moment.
const REBIND: Duration = Duration::from_secs(5);
/// How often it tries.
const REBIND_POLL: Duration = Duration::from_millis(10);

/// Makes the chunk store of one datanode, by its index.
pub type ChunkStoreFactory = dyn Fn(usize) -> Arc<dyn ChunkStore> + Send + Sync;

/// How a [`Cluster`] is made.
#[must_use]
pub struct ClusterBuilder {
    datanodes: usize,
    folder: Option<PathBuf>,
    listen: String,
    domains: Vec<Domain>,
    namenode: NamenodeSettings,
    datanode: DatanodeSettings,
    client: ClientSettings,
    capacity: Option<u64>,
    policy: Option<Arc<dyn ReplicationPolicy>>,
    metadata: Option<Arc<dyn MetadataStore>>,
    chunks: Option<Arc<ChunkStoreFactory>>,
    env: Env,
}

impl ClusterBuilder {
    /// How many datanodes; 3 unless said otherwise.
    pub fn datanodes(mut self, count: usize) -> Self {
        self.datanodes = count;
        self
    }

    /// Keeps everything in this folder, and starts from what is there. Otherwise a temporary folder is used and removed.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Where the namenode listens; a free loopback port unless said otherwise.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// The failure domains of the datanodes, dealt out in turn.
    pub fn domains(mut self, domains: Vec<Domain>) -> Self {
        self.domains = domains;
        self
    }

    /// How the namenode behaves.
    pub fn namenode_settings(mut self, settings: NamenodeSettings) -> Self {
        self.namenode = settings;
        self
    }

    /// How the datanodes behave.
    pub fn datanode_settings(mut self, settings: DatanodeSettings) -> Self {
        self.datanode = settings;
        self
    }

    /// How the clients behave that [`Cluster::client`] makes.
    pub fn client_settings(mut self, settings: ClientSettings) -> Self {
        self.client = settings;
        self
    }

    /// The most bytes that replicas may take on each datanode; what the disk has unless said otherwise.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// Where replicas go, instead of [`SpreadPolicy`](godfs_core::placement::SpreadPolicy).
    pub fn policy(mut self, policy: Arc<dyn ReplicationPolicy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Where metadata lives, instead of the durable default in the folder.
    pub fn metadata_store(mut self, store: Arc<dyn MetadataStore>) -> Self {
        self.metadata = Some(store);
        self
    }

    /// Where each datanode keeps its chunks, instead of its folder. Called with the datanode's index at each start of it.
    pub fn chunk_stores<F>(mut self, make: F) -> Self
    where
        F: Fn(usize) -> Arc<dyn ChunkStore> + Send + Sync + 'static,
    {
        self.chunks = Some(Arc::new(make));
        self
    }

    /// Starts everything; when this returns, files can be written. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What namenode or datanodes say, and [`ErrorKind::DeadlineExceeded`] when they do not find one another.
    pub async fn start(self) -> Result<Cluster> {
        let (folder, temporary) = match &self.folder {
            Some(folder) => (folder.clone(), None),
            None => {
                let made = tempfile::Builder::new().prefix("godfs-").tempdir();
                let made = made.map_err(|error| Error::io("make a temporary folder", error))?;
                (made.path().to_owned(), Some(made))
            }
        };
        let mut cluster = Cluster {
            namenode: None,
            datanodes: Vec::new(),
            namenode_address: String::new(),
            folder,
            how: self,
            temporary,
        };
        // All at once: the address is known before anyone answers there, and each spends its start waiting for the disk.
        let listener = cluster.listen().await?;
        listener.address().clone_into(&mut cluster.namenode_address);
        let starts = (0..cluster.how.datanodes).map(|index| cluster.start_datanode(index));
        let (namenode, datanodes) = try_join(cluster.start_namenode(listener), try_join_all(starts)).await?;
        cluster.namenode = Some(namenode);
        cluster.datanodes = datanodes.into_iter().map(Some).collect();
        Ok(cluster)
    }
}

/// A namenode and datanodes in this process, each of which can be stopped, killed and started again.
///
/// The same libraries as in the daemons, over gRPC on loopback. Dropping it ends everything at once; no task, port or temporary folder
/// remains.
///
/// ```
/// # async fn example() -> godfs_core::Result<()> {
/// use godfs_client::CreateOptions;
/// let mut cluster = godfs_server::Cluster::builder().datanodes(3).start().await?;
/// let client = cluster.client();
/// client.put("/greeting", "hello".as_bytes().to_vec(), CreateOptions::default()).await?;
/// cluster.kill_datanode(0).await;
/// assert_eq!(&client.get("/greeting").await?[..], b"hello");
/// cluster.restart_datanode(0).await?;
/// cluster.stop().await
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
pub struct Cluster {
    namenode: Option<Namenode>,
    datanodes: Vec<Option<Datanode>>,
    namenode_address: String,
    folder: PathBuf,
    how: ClusterBuilder,
    temporary: Option<TempDir>,
}

impl Cluster {
    /// Three datanodes, a temporary folder, default settings.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            datanodes: 3,
            folder: None,
            listen: "127.0.0.1:0".into(),
            domains: Vec::new(),
            namenode: NamenodeSettings::default(),
            datanode: DatanodeSettings::default(),
            client: ClientSettings::default(),
            capacity: None,
            policy: None,
            metadata: None,
            chunks: None,
            env: Env::system(),
        }
    }

    /// A client of its own session.
    #[must_use]
    pub fn client(&self) -> Client {
        let builder = Client::builder().namenodes(&self.namenode_address).settings(self.how.client.clone());
        builder.build().expect("the address of a running namenode is valid")
    }

    /// `godfs://HOST:PORT` of the namenode.
    #[must_use]
    pub fn url(&self) -> String {
        format!("godfs://{}", self.namenode_address)
    }

    /// `HOST:PORT` of the namenode, also while it is down.
    #[must_use]
    pub fn namenode_address(&self) -> &str {
        &self.namenode_address
    }

    /// How many datanodes there are, running or not.
    #[must_use]
    pub fn datanodes(&self) -> usize {
        self.datanodes.len()
    }

    /// A datanode that runs, by its index.
    #[must_use]
    pub fn datanode(&self, index: usize) -> Option<&Datanode> {
        self.datanodes.get(index).and_then(Option::as_ref)
    }

    /// `HOST:PORT` of a datanode that runs.
    #[must_use]
    pub fn datanode_address(&self, index: usize) -> Option<String> {
        self.datanode(index).map(|datanode| datanode.address().to_string())
    }

    /// The folder of a datanode.
    #[must_use]
    pub fn datanode_folder(&self, index: usize) -> PathBuf {
        self.folder.join(format!("datanode-{index}"))
    }

    /// The folder of the cluster.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The namenode; `None` while it is down.
    #[must_use]
    pub fn namenode(&self) -> Option<&Namenode> {
        self.namenode.as_ref()
    }

    /// Ends the namenode at once, as SIGKILL would.
    pub async fn kill_namenode(&mut self) {
        if let Some(namenode) = self.namenode.take() {
            namenode.kill().await;
        }
    }

    /// Stops the namenode in good order.
    ///
    /// # Errors
    /// What closing its store says.
    pub async fn stop_namenode(&mut self) -> Result<()> {
        match self.namenode.take() {
            Some(namenode) => namenode.stop().await,
            None => Ok(()),
        }
    }

    /// Starts the namenode, at the address it had; one that runs is killed first.
    ///
    /// # Errors
    /// What the namenode says.
    pub async fn restart_namenode(&mut self) -> Result<()> {
        self.kill_namenode().await;
        let listener = self.listen().await?;
        self.namenode = Some(self.start_namenode(listener).await?);
        Ok(())
    }

    /// Listens where the namenode does.
    async fn listen(&self) -> Result<Listener> {
        let address = if self.namenode_address.is_empty() { &self.how.listen } else { &self.namenode_address };
        rebind(address, &self.how.env).await
    }

    async fn start_namenode(&self, listener: Listener) -> Result<Namenode> {
        let source = match &self.how.metadata {
            Some(store) => MetadataSource::Store(Arc::clone(store)),
            None => MetadataSource::Folder(self.folder.join("namenode")),
        };
        let mut options = NamenodeOptions::new(source, listener);
        options.init = true;
        options.env = self.how.env.clone();
        options.settings = self.how.namenode.clone();
        if let Some(policy) = &self.how.policy {
            options.policy = Arc::clone(policy);
        }
        Namenode::start(options).await
    }

    /// Ends a datanode at once, as SIGKILL would. One that is down stays so.
    pub async fn kill_datanode(&mut self, index: usize) {
        if let Some(datanode) = self.datanodes.get_mut(index).and_then(Option::take) {
            datanode.kill();
            datanode.join().await;
        }
    }

    /// Stops a datanode in good order.
    pub async fn stop_datanode(&mut self, index: usize) {
        if let Some(datanode) = self.datanodes.get_mut(index).and_then(Option::take) {
            datanode.stop().await;
        }
    }

    /// Starts a datanode on its folder, at another port, and waits until it is registered; one that runs is killed first.
    ///
    /// # Errors
    /// What the datanode says; [`ErrorKind::DeadlineExceeded`] when it does not find the namenode.
    pub async fn restart_datanode(&mut self, index: usize) -> Result<()> {
        if index >= self.datanodes.len() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("there is no datanode {index}, there are {}", self.datanodes.len()),
            ));
        }
        self.kill_datanode(index).await;
        self.datanodes[index] = Some(self.start_datanode(index).await?);
        Ok(())
    }

    /// Adds a datanode; its index.
    ///
    /// # Errors
    /// As for [`Cluster::restart_datanode`].
    pub async fn add_datanode(&mut self) -> Result<usize> {
        let index = self.datanodes.len();
        let datanode = self.start_datanode(index).await?;
        self.datanodes.push(Some(datanode));
        Ok(index)
    }

    /// Stops everything in good order.
    ///
    /// # Errors
    /// What closing the namenode's store says.
    pub async fn stop(mut self) -> Result<()> {
        join_all(self.datanodes.iter_mut().filter_map(Option::take).map(Datanode::stop)).await;
        self.stop_namenode().await
    }

    async fn start_datanode(&self, index: usize) -> Result<Datanode> {
        let listener = Listener::tcp("127.0.0.1:0").await?;
        let namenode = Address::parse(&self.namenode_address)?;
        let mut options = DatanodeOptions::new(self.datanode_folder(index), listener, vec![namenode]);
        options.store = self.how.chunks.as_ref().map(|make| make(index));
        options.capacity = self.how.capacity;
        options.env = self.how.env.clone();
        options.settings = self.how.datanode.clone();
        if !self.how.domains.is_empty() {
            options.domain = self.how.domains[index % self.how.domains.len()].clone();
        }
        let datanode = Datanode::start(options).await?;
        match tokio::time::timeout(READY, datanode.ready()).await {
            Ok(ready) => ready.map(|()| datanode),
            Err(_) => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!("datanode {index} did not register with {} within {READY:?}", self.namenode_address),
            )),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.namenode = None;
        self.datanodes.clear();
        if let Some(folder) = self.temporary.take() {
            sweep(folder.keep());
        }
    }
}

/// Removes a temporary folder whose users have been told to end. A write that was under way may put a file back: then it is
/// removed again, by a thread of its own, since nobody who drops a cluster should have to wait.
fn sweep(folder: PathBuf) {
    /// A write takes milliseconds; a disk that hangs for longer than all of these keeps its files.
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(50);
    let remove = |folder: &Path| std::fs::remove_dir_all(folder).is_ok() || !folder.exists();
    if remove(&folder) {
        return;
    }
    std::thread::spawn(move || {
        for _ in 0..TRIES {
            std::thread::sleep(PAUSE);
            if remove(&folder) {
                return;
            }
        }
        tracing::warn!(folder = %folder.display(), "a temporary folder could not be removed");
    });
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("namenode", &self.namenode_address)
            .field("datanodes", &self.datanodes.len())
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

async fn rebind(address: &str, env: &Env) -> Result<Listener> {
    let deadline = env.clock.monotonic() + REBIND;
    loop {
        match Listener::tcp(address).await {
            Err(_) if env.clock.monotonic() < deadline => tokio::time::sleep(REBIND_POLL).await,
            done => return done,
        }
    }
}
