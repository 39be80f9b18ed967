//! Replicas on this machine, read from their files.
//!
//! A datanode hands the file of a finished replica to a reader that has the namenode's grant (`local_linux`). Data and checksums are read from it here, verified,
//! and count only if the guard, the head of the file, is the same afterwards: the datanode writes it anew before it changes anything below the length that was told. A
//! file is given up with its guard, and after [`KEPT_FOR`] in any case, since the replica may have been deleted. Whatever goes wrong, the network is next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use godfs_core::checksum::{self, PIECE};
use godfs_core::chunk::MAX_PACKET_BYTES;
use godfs_core::env::Env;
use godfs_core::{ChunkId, Error, ErrorKind, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, timeout};

#[cfg(target_os = "linux")]
use super::local_linux as system;
#[cfg(not(target_os = "linux"))]
use super::local_other as system;
use super::replica_stream::ReplicaStream;
use crate::metadata::ChunkLocation;
use crate::namenode::Namenode;
use crate::settings::LocalReads;
use crate::transport::Address;
use crate::transport::convert::Node;
use crate::transport::status::from_status;

/// For how long a file is read before it is asked for anew. So long a deleted replica may take its room on the disk still.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// For how long one that was refused, or given up, is not asked for: what is being written now may soon be finished.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// Smaller ones are read through the network: to ask for a file costs more than such a read, and most of them have no file of their own.
const SMALL_BYTES: u64 = MAX_PACKET_BYTES as u64;
/// Files that are kept, and refusals that are remembered.
const KEPT: usize = 256;
/// A node that gives no files is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long a node on this machine may take to give one: the network takes no longer.
const PATIENCE: Duration = Duration::from_millis(300);
/// Bytes that are read at once: few enough for what the processor has near itself when they are verified.
const BLOCK_BYTES: u64 = 512 << 10;
/// Blocks of a stream that are read at once.
const BLOCKS_AHEAD: usize = 3;

/// The files of replicas that a client has.
#[derive(Debug)]
pub(crate) struct LocalReplicas {
    enabled: bool,
    nodes: Mutex<HashMap<NodeId, Standing>>,
    files: Mutex<HashMap<(NodeId, ChunkId), Kept>>,
    /// One is asked for at a time, so that those who want the same one ask once.
    asking: tokio::sync::Mutex<()>,
    /// Bytes that were read here.
    bytes: AtomicU64,
    sweeper: Mutex<Option<AbortHandle>>,
}

/// Whether a node gives files.
#[derive(Clone, Debug)]
struct Standing {
    address: Address,
    /// The socket, and who must answer there.
    socket: Option<(Arc<str>, u64)>,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Kept {
    /// `None`: it was refused.
    replica: Option<Arc<LocalReplica>>,
    since: Instant,
}

/// Bytes that are good, and what is wrong behind them.
type Block = (Bytes, Result<()>);

/// The file of a finished replica.
#[derive(Debug)]
pub(super) struct LocalReplica {
    pub(super) file: std::fs::File,
    pub(super) generation: u64,
    pub(super) length: u64,
    pub(super) data_at: u64,
    pub(super) checksums_at: u64,
    pub(super) tail: u32,
    pub(super) guard_bytes: usize,
    pub(super) guard: u32,
}

impl LocalReplicas {
    pub(crate) fn new(setting: LocalReads) -> Self {
        Self {
            enabled: setting == LocalReads::Auto && system::POSSIBLE,
            nodes: Mutex::default(),
            files: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            bytes: AtomicU64::new(0),
            sweeper: Mutex::default(),
        }
    }

    /// Bytes that were read from files so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn kept(&self, key: (NodeId, ChunkId)) -> Option<Kept> {
        let files = self.files.lock();
        files.get(&key).filter(|kept| kept.counts()).cloned()
    }

    fn keep(&self, key: (NodeId, ChunkId), replica: Option<Arc<LocalReplica>>) {
        let mut files = self.files.lock();
        if files.len() >= KEPT && !files.contains_key(&key) {
            files.retain(|_, kept| kept.since.elapsed() < KEPT_FOR / 2);
            if files.len() >= KEPT {
                files.clear();
            }
        }
        files.insert(key, Kept { replica, since: Instant::now() });
    }

    /// Leaves the file of a replica alone for a while.
    fn give_up(&self, key: (NodeId, ChunkId)) {
        self.keep(key, None);
    }

    /// Lets files go that were kept for too long; whether any is left.
    fn sweep(&self) -> bool {
        let mut files = self.files.lock();
        files.retain(|_, kept| kept.counts());
        !files.is_empty()
    }
}

impl Drop for LocalReplicas {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.lock().take() {
            sweeper.abort();
        }
    }
}

impl Kept {
    fn counts(&self) -> bool {
        self.since.elapsed() < if self.replica.is_some() { KEPT_FOR } else { REFUSED_FOR }
    }
}

/// The file of a replica on this machine, if its datanode gives it.
pub(super) async fn find(namenode: &Namenode, chunk: &ChunkLocation, node: &Node) -> Option<Arc<LocalReplica>> {
    let local = namenode.local();
    if !local.enabled || chunk.open || chunk.grant.is_empty() || chunk.length <= SMALL_BYTES {
        return None;
    }
    let key = (node.id, chunk.chunk);
    let fits =
        |replica: &Arc<LocalReplica>| replica.generation >= chunk.generation.get() && replica.length >= chunk.length;
    if let Some(kept) = local.kept(key) {
        return kept.replica.filter(fits);
    }
    if local.nodes.lock().get(&node.id).is_some_and(|known| known.refuses(node)) {
        return None;
    }
    let _turn = local.asking.lock().await;
    if let Some(kept) = local.kept(key) {
        return kept.replica.filter(fits);
    }
    let (socket, instance) = standing(namenode, node).await?;
    let open = v1::LocalOpen {
        hello: Some(namenode.identity().hello()),
        node: node.id.get(),
        chunk: chunk.chunk.get(),
        generation: chunk.generation.get(),
        grant: chunk.grant.clone(),
    };
    let asked = namenode.env().blocking(move || system::open(&socket, instance, &open, PATIENCE)).await;
    let replica = match asked {
        Ok(replica) => Some(Arc::new(replica)),
        Err(error) => {
            tracing::debug!(chunk = %chunk.chunk, node = %node.id, %error, "not read from its file");
            // Another process may have come in its place.
            if error.kind() == ErrorKind::Unavailable {
                local.nodes.lock().remove(&node.id);
            }
            None
        }
    };
    local.keep(key, replica.clone());
    start_sweeper(namenode);
    replica.filter(fits)
}

impl Standing {
    fn refuses(&self, node: &Node) -> bool {
        self.socket.is_none() && self.is_of(node)
    }

    fn is_of(&self, node: &Node) -> bool {
        self.address == node.address && self.since.elapsed() < ASK_AGAIN
    }
}

/// The socket of a node on this machine.
async fn standing(namenode: &Namenode, node: &Node) -> Option<(Arc<str>, u64)> {
    let known = namenode.local().nodes.lock().get(&node.id).cloned();
    if let Some(known) = known.filter(|known| known.is_of(node)) {
        return known.socket;
    }
    let near = is_here(node.address.host(), &namenode.settings().host);
    let ask = async {
        let mut service = namenode.channels().chunk_service(&node.address).await?;
        let request = v1::LocalSocketRequest { hello: Some(namenode.identity().hello()), node: node.id.get() };
        service.local_socket(request).await.map_err(|status| from_status(&status, &node.address))
    };
    let answer = if near { timeout(PATIENCE, ask).await.ok().and_then(Result::ok) } else { None };
    let socket = answer.map(tonic::Response::into_inner).filter(|answer| !answer.name.is_empty());
    let socket = socket.map(|answer| (answer.name.into(), answer.instance));
    let standing = Standing { address: node.address.clone(), socket: socket.clone(), since: Instant::now() };
    let mut nodes = namenode.local().nodes.lock();
    if nodes.len() >= KEPT {
        nodes.clear();
    }
    nodes.insert(node.id, standing);
    socket
}

/// Whether a host may be this machine. Which process answers on the socket proves it.
fn is_here(host: &str, own: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<std::net::IpAddr>() {
        // Only the machine's own addresses can be bound.
        Ok(address) => address.is_loopback() || std::net::UdpSocket::bind((address, 0)).is_ok(),
        Err(_) => host == "localhost" || (!own.is_empty() && host == own),
    }
}

/// Has files let go when their time is over, also when nobody reads any more.
fn start_sweeper(namenode: &Namenode) {
    let mut sweeper = namenode.local().sweeper.lock();
    if sweeper.as_ref().is_some_and(|sweeper| !sweeper.is_finished()) {
        return;
    }
    let local = Arc::downgrade(namenode.local());
    let sweep = async move {
        loop {
            tokio::time::sleep(KEPT_FOR / 2).await;
            if !local.upgrade().is_some_and(|local| local.sweep()) {
                return;
            }
        }
    };
    *sweeper = Some(tokio::spawn(sweep).abort_handle());
}

impl LocalReplica {
    /// Reads from the piece that holds `from` up to `to`, which lies in the replica. `None` when that would wait for the disk, and `wait` is not set.
    fn read(&self, from: u64, to: u64, verify: bool, wait: bool) -> Result<Option<Block>> {
        let piece = PIECE as u64;
        let begin = from / piece * piece;
        let end = to.next_multiple_of(piece).min(self.length);
        let size = |bytes: u64| usize::try_from(bytes).expect("a block is small");
        let Some(data) = system::read(&self.file, self.data_at + begin, size(end - begin), wait)? else {
            return Ok(None);
        };
        let whole = size(end / piece - begin / piece);
        let mut sums = Vec::new();
        if verify {
            let at = self.checksums_at + begin / piece * checksum::CHECKSUM_BYTES as u64;
            let Some(read) = system::read(&self.file, at, whole * checksum::CHECKSUM_BYTES, wait)? else {
                return Ok(None);
            };
            sums.extend_from_slice(&read);
            if !end.is_multiple_of(piece) {
                sums.extend_from_slice(&self.tail.to_be_bytes());
            }
        }
        let Some(guard) = system::read(&self.file, 0, self.guard_bytes, wait)? else { return Ok(None) };
        if checksum::crc32c(&guard) != self.guard || data.len() < size(end - begin) {
            return Err(Error::new(ErrorKind::Fenced, "the replica has changed since its file was given"));
        }
        let (good, outcome) = if verify { checksum::verified(begin, &data, &sums) } else { (data.len(), Ok(())) };
        let (first, last) = (size(from - begin), size(to - begin).min(good));
        Ok(Some((data.slice(first.min(last)..last), outcome)))
    }
}

/// A small range of a replica, all of it and good; `None` for the network.
pub(super) async fn read_small(
    namenode: &Namenode,
    chunk: &ChunkLocation,
    node: &Node,
    (from, to): (u64, u64),
    verify: bool,
) -> Option<Bytes> {
    let replica = find(namenode, chunk, node).await?;
    if to > replica.length {
        return None;
    }
    // A task that reads on and on lets the others have their turn.
    tokio::task::consume_budget().await;
    // What is in memory takes a moment; what is not waits elsewhere.
    let read = match replica.read(from, to, verify, false) {
        Ok(None) => namenode.env().blocking(move || replica.read(from, to, verify, true)).await,
        read => read,
    };
    match read {
        Ok(Some((bytes, Ok(())))) if bytes.len() as u64 == to - from => {
            namenode.local().bytes.fetch_add(to - from, Ordering::Relaxed);
            Some(bytes)
        }
        _ => {
            namenode.local().give_up((node.id, chunk.chunk));
            None
        }
    }
}

/// The bytes of a range of one replica, from its file or through the network, in order and each piece verified, unless told otherwise.
pub(super) struct Source {
    namenode: Namenode,
    chunk: ChunkLocation,
    node: Node,
    /// The next byte of the chunk to give.
    position: u64,
    end: u64,
    verify: bool,
    way: Way,
}

enum Way {
    File(Blocks),
    Network(Box<ReplicaStream>),
}

/// Blocks of a file, read ahead.
struct Blocks {
    env: Env,
    replica: Arc<LocalReplica>,
    /// What is to be read next.
    next: u64,
    reading: FuturesOrdered<BoxFuture<'static, Result<Option<Block>>>>,
}

impl Source {
    /// Asks for bytes `position..end` of a chunk.
    pub(super) async fn open(
        namenode: &Namenode,
        chunk: &ChunkLocation,
        node: &Node,
        (position, end): (u64, u64),
        verify: bool,
    ) -> Result<Self> {
        let file = find(namenode, chunk, node).await.filter(|replica| end <= replica.length);
        let way = match file {
            Some(replica) => {
                let env = namenode.env().clone();
                Way::File(Blocks { env, replica, next: position, reading: FuturesOrdered::new() })
            }
            None => Way::Network(Box::new(ReplicaStream::open(namenode, chunk, node, (position, end), verify).await?)),
        };
        let (namenode, chunk, node) = (namenode.clone(), chunk.clone(), node.clone());
        Ok(Self { namenode, chunk, node, position, end, verify, way })
    }

    /// The next bytes; never empty. `None` when the replica has no more, at the end of the range or before it.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.position >= self.end {
            return Ok(None);
        }
        if let Way::File(blocks) = &mut self.way {
            match blocks.next(self.end, self.verify).await {
                Ok(Some((bytes, outcome))) if !bytes.is_empty() => {
                    self.position += bytes.len() as u64;
                    self.namenode.local().bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    if outcome.is_err() {
                        self.leave_file().await?;
                    }
                    return Ok(Some(bytes));
                }
                _ => self.leave_file().await?,
            }
        }
        let Way::Network(stream) = &mut self.way else { return Ok(None) };
        let bytes = stream.next().await?;
        self.position += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(bytes)
    }

    /// Goes on through the network, which has the datanode's own word for what is wrong.
    async fn leave_file(&mut self) -> Result<()> {
        tracing::debug!(chunk = %self.chunk.chunk, node = %self.node.id, "its file is given up");
        self.namenode.local().give_up((self.node.id, self.chunk.chunk));
        let range = (self.position, self.end);
        let stream = ReplicaStream::open(&self.namenode, &self.chunk, &self.node, range, self.verify).await?;
        self.way = Way::Network(Box::new(stream));
        Ok(())
    }

    /// Whether the whole range was given.
    pub(super) fn is_done(&self) -> bool {
        self.position >= self.end
    }

    /// Ends a stream whose range was given, so that its connection can be used again. Best effort.
    pub(super) async fn finish(self) {
        if let Way::Network(stream) = self.way {
            stream.finish().await;
        }
    }
}

impl Blocks {
    async fn next(&mut self, end: u64, verify: bool) -> Result<Option<Block>> {
        while self.reading.len() < BLOCKS_AHEAD && self.next < end {
            let from = self.next;
            // Blocks end where pieces do.
            let to = (from / BLOCK_BYTES * BLOCK_BYTES + BLOCK_BYTES).min(end);
            let (env, replica) = (self.env.clone(), Arc::clone(&self.replica));
            let read = async move { env.blocking(move || replica.read(from, to, verify, true)).await };
            self.reading.push_back(read.boxed());
            self.next = to;
        }
        self.reading.next().await.unwrap_or(Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine() {
        for host in ["127.0.0.1", "[::1]", "127.0.1.1", "localhost"] {
            assert!(is_here(host, ""), "{host}");
        }
        assert!(is_here("here.example", "here.example"));
        for host in ["192.0.2.1", "there.example", "dn1", ""] {
            assert!(!is_here(host, ""), "{host}");
        }
    }

    /// What is read counts only while the guard is what it was; what is rotten is left out with all behind it.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_guard_and_the_checksums_are_looked_at() {
        use std::os::unix::fs::FileExt;
        let data: Vec<u8> = (0..10_000_u32).map(|at| (at / 7) as u8).collect();
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(b"the guard", 0).expect("written");
        let sums = checksum::checksums(0, &data);
        file.write_all_at(&sums[..8], 100).expect("written");
        file.write_all_at(&data, 4_096).expect("written");
        let tail = u32::from_be_bytes(sums[8..].try_into().expect("one more"));
        let replica = LocalReplica {
            file,
            generation: 1,
            length: 10_000,
            data_at: 4_096,
            checksums_at: 100,
            tail,
            guard_bytes: 9,
            guard: checksum::crc32c(b"the guard"),
        };
        for wait in [true, false] {
            for (from, to) in [(0, 10_000), (5_000, 5_001), (4_096, 8_192), (9_999, 10_000)] {
                // Only what is in memory is read without waiting: all of it, just written, on most file systems.
                if let Some((bytes, outcome)) = replica.read(from, to, true, wait).expect("read") {
                    assert!(bytes == data[from as usize..to as usize] && outcome.is_ok(), "{from}..{to}");
                }
            }
        }
        replica.file.write_all_at(&[!data[5_000]], 4_096 + 5_000).expect("written");
        let (bytes, outcome) = replica.read(100, 10_000, true, true).expect("read").expect("waited for");
        assert!(bytes == data[100..4_096] && outcome.is_err_and(|error| error.kind() == ErrorKind::Corrupt));
        let (bytes, outcome) = replica.read(8_200, 10_000, true, true).expect("read").expect("waited for");
        assert!(bytes == data[8_200..] && outcome.is_ok(), "a piece that is good by itself");
        let (bytes, _) = replica.read(5_000, 5_001, false, true).expect("read").expect("waited for");
        assert_eq!(bytes[0], !data[5_000], "nobody asked for verification");
        replica.file.write_all_at(b"T", 0).expect("written");
        assert_eq!(replica.read(0, 10, true, true).expect_err("changed").kind(), ErrorKind::Fenced);
    }
}
