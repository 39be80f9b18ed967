//! A way to the namenode on which answers get lost: what was asked for has been done, and who asked sees a broken connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Bytes that go through at once.
const BUFFER: usize = 16 << 10;

/// Listens in front of a namenode until it is dropped.
pub(crate) struct Dropping {
    address: String,
    dropped: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Dropping {
    /// Of `every` things that the namenode sends one is dropped, and the connection with it.
    pub(crate) async fn before(namenode: &str, every: u32, mut rng: fastrand::Rng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address").to_string();
        let (dropped, namenode) = (Arc::new(AtomicU64::new(0)), namenode.to_owned());
        let mut serving = JoinSet::new();
        let count = Arc::clone(&dropped);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&namenode).await else { continue };
                connections.spawn(pass(client, server, every, rng.fork(), Arc::clone(&count)));
            }
        });
        Self { address, dropped, _serving: serving }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How often something was lost.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn pass(client: TcpStream, server: TcpStream, every: u32, mut rng: fastrand::Rng, dropped: Arc<AtomicU64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { drop(tokio::io::copy(&mut from_client, &mut to_server).await) };
    let down = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if rng.u32(..every) == 0 {
                dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        // Both sides end when one does: what is under way is lost, which is what this is for.
        () = down => {}
        () = up => {}
    }
}
