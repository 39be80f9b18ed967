//! Which connections there are: one to each peer for small calls, and others for bulk streams.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use godfs_core::Result;
use godfs_proto::v1::chunk_service_client::ChunkServiceClient;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::address::Address;
use super::connection::{Connection, Purpose};
use super::connector::{Connector, TcpConnector};
use super::settings::{MESSAGE_BYTES, TransportSettings};

/// Peers whose connection for small calls is remembered; beyond it, those that nobody uses are forgotten.
const PEERS: usize = 1_024;

/// Connections to any number of peers. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Channels(Arc<Inner>);

struct Inner {
    settings: TransportSettings,
    connector: Arc<dyn Connector>,
    control: Mutex<BTreeMap<Address, Arc<Slot>>>,
    /// Idle bulk connections, the longest idle first.
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Default)]
struct Slot {
    current: Mutex<Option<Connection>>,
    /// Held while connecting, so that callers who arrive together share one attempt.
    connecting: tokio::sync::Mutex<()>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Channels {
    /// Connections made by `connector`.
    #[must_use]
    pub fn new(settings: TransportSettings, connector: Arc<dyn Connector>) -> Self {
        Self(Arc::new(Inner { settings, connector, control: Mutex::default(), idle: Mutex::default() }))
    }

    /// Connections over TCP with the default settings.
    #[must_use]
    pub fn tcp() -> Self {
        Self::new(TransportSettings::default(), Arc::new(TcpConnector))
    }

    /// What they are tuned to.
    #[must_use]
    pub fn settings(&self) -> &TransportSettings {
        &self.0.settings
    }

    /// The connection for small calls to `address`, made if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](godfs_core::ErrorKind::Unavailable), naming the address.
    pub async fn control(&self, address: &Address) -> Result<Connection> {
        let slot = self.slot(address);
        if let Some(connection) = slot.usable() {
            return Ok(connection);
        }
        let _turn = slot.connecting.lock().await;
        if let Some(connection) = slot.usable() {
            return Ok(connection);
        }
        let connection = Connection::open(&*self.0.connector, address, Purpose::Control, &self.0.settings).await?;
        *slot.current.lock() = Some(connection.clone());
        Ok(connection)
    }

    /// The chunk service at `address`, for its small calls.
    ///
    /// # Errors
    /// As for [`control`](Self::control).
    pub async fn chunk_service(&self, address: &Address) -> Result<ChunkServiceClient<Connection>> {
        let connection = self.control(address).await?;
        Ok(ChunkServiceClient::with_origin(connection, address.origin()).max_decoding_message_size(MESSAGE_BYTES))
    }

    /// A connection to `address` for one bulk stream: an idle one, or a new one. Give it back with [`BulkConnection::done`].
    ///
    /// # Errors
    /// As for [`control`](Self::control).
    pub async fn bulk(&self, address: &Address) -> Result<BulkConnection> {
        let connection = match self.take_idle(address) {
            Some(connection) => connection,
            None => Connection::open(&*self.0.connector, address, Purpose::Bulk, &self.0.settings).await?,
        };
        Ok(BulkConnection { connection, pool: Arc::downgrade(&self.0) })
    }

    fn slot(&self, address: &Address) -> Arc<Slot> {
        let mut control = self.0.control.lock();
        if control.len() >= PEERS && !control.contains_key(address) {
            // A slot that somebody uses is held outside the map, or its connection is.
            control.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.usable().is_some());
            if control.len() >= PEERS {
                control.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
        }
        Arc::clone(control.entry(address.clone()).or_default())
    }

    fn take_idle(&self, address: &Address) -> Option<Connection> {
        let mut idle = self.0.idle.lock();
        let now = Instant::now();
        let limit = self.0.settings.idle_timeout;
        idle.retain(|one| !one.connection.is_closed() && now.duration_since(one.since) < limit);
        // The one used last: the others may then grow old enough to be closed.
        let at = idle.iter().rposition(|one| one.connection.address() == address)?;
        idle.remove(at).map(|one| one.connection)
    }
}

impl Slot {
    fn usable(&self) -> Option<Connection> {
        self.current.lock().as_ref().filter(|connection| !connection.is_closed()).cloned()
    }
}

impl Inner {
    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        idle.push_back(Idle { connection, since: Instant::now() });
        while idle.len() > self.settings.idle_connections {
            idle.pop_front();
        }
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels")
            .field("connector", &self.0.connector)
            .field("peers", &self.0.control.lock().len())
            .field("idle", &self.0.idle.lock().len())
            .finish()
    }
}

/// A connection that carries one bulk stream at a time, so that a stalled one holds up no other. Closed when dropped,
/// unless given back.
#[derive(Debug)]
pub struct BulkConnection {
    connection: Connection,
    pool: Weak<Inner>,
}

impl BulkConnection {
    /// Gives it back for the next stream. Only for a connection whose stream has ended in good order: what a broken
    /// stream left in its window would slow the next one.
    pub fn done(self) {
        if let (Some(pool), false) = (self.pool.upgrade(), self.connection.is_closed()) {
            pool.give_back(self.connection);
        }
    }
}

impl Deref for BulkConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}
