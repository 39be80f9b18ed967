//! A cluster of fakes in the process: a network of pipes that can be cut, datanodes and a namenode that keep everything
//! in memory and fail on command.

mod datanode;
mod namenode;
mod network;

use std::sync::Arc;
use std::time::Duration;

use godfs_core::env::Env;

pub(crate) use datanode::{FakeDatanode, Fault};
pub(crate) use namenode::FakeNamenode;
pub(crate) use network::Network;

use crate::settings::ClientSettings;
use crate::{Client, CreateOptions};

/// The chunk size of test files, the smallest there is.
pub(crate) const CHUNK: u64 = 64 << 10;

/// One namenode, some datanodes, one client.
pub(crate) struct FakeCluster {
    pub(crate) network: Network,
    pub(crate) namenode: Arc<FakeNamenode>,
    pub(crate) datanodes: Vec<Arc<FakeDatanode>>,
    pub(crate) client: Client,
}

impl FakeCluster {
    pub(crate) fn start(datanodes: u32) -> Self {
        Self::with_settings(datanodes, ClientSettings::default())
    }

    pub(crate) fn with_settings(datanodes: u32, settings: ClientSettings) -> Self {
        let network = Network::default();
        let datanodes: Vec<_> = (1..=datanodes).map(|id| FakeDatanode::start(&network, id)).collect();
        let namenode = FakeNamenode::start(&network, "nn:1", datanodes.iter().map(|node| node.node()).collect());
        let client = Client::builder()
            .namenodes("godfs://nn:1")
            .connector(Arc::new(network.clone()))
            .settings(settings)
            .env(Env::simulated(7))
            .name("test")
            .build()
            .expect("valid");
        Self { network, namenode, datanodes, client }
    }

    /// Restarts a datanode, which comes back under another address.
    pub(crate) fn restart(&mut self, id: u32) {
        let node = &mut self.datanodes[id as usize - 1];
        *node = node.restarted();
        self.namenode.register(node.node());
    }

    /// A datanode by its id.
    pub(crate) fn datanode(&self, id: u32) -> &FakeDatanode {
        &self.datanodes[id as usize - 1]
    }
}

/// Small chunks, three replicas.
pub(crate) fn options() -> CreateOptions {
    CreateOptions::new().chunk_size(CHUNK).replication(3)
}

/// Bytes in which every part is different.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Waits for a condition that other tasks bring about.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "in vain: {what}");
}
