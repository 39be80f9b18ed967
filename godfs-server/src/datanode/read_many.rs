//! Many small reads on one stream: they cost a stream, its headers and its trailers no more than once, those that wait together travel together, and
//! replicas that are read again and again stay open.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt, Stream, StreamExt};
use godfs_client::transport::messages::MessageStream;
use godfs_client::transport::{convert, status};
use godfs_core::checksum::PIECE;
use godfs_core::chunk::{ChunkStore, MAX_CHUNK_BYTES, MAX_PACKET_BYTES, ReplicaReader};
use godfs_core::{ChunkId, Error, ErrorKind, Generation, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::body::Body;

use super::budget::{Credit, Share};
use super::shared::Shared;

/// Reads of one message.
const MAX_READS: usize = 256;
/// Messages of one stream that are answered at once: those that wait for a disk do not hold up the others.
const MESSAGES_AT_ONCE: usize = 4;

/// Replicas that are kept open for small reads, each a descriptor or a share of one.
const KEPT_OPEN: usize = 256;
/// For how long: so long what was deleted may take its room on the disk still.
const KEPT_FOR: Duration = Duration::from_secs(2);

/// What the caller asks for.
pub(crate) type Requests = MessageStream<v1::ReadManyRequest, Body>;

/// The answers on one stream: nothing is read before they are polled, and a few messages ahead.
pub(crate) fn answers(
    shared: Arc<Shared>,
    requests: Requests,
) -> impl Stream<Item = Result<v1::ReadManyResponse>> + Send + 'static {
    let stream = Answering { shared, requests, share: None, running: FuturesUnordered::new(), asking: true };
    stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match stream.next().await {
            Ok(Some(message)) => Some((Ok(message), Some(stream))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// A stream of small reads.
struct Answering {
    shared: Arc<Shared>,
    requests: Requests,
    /// Its place, once the caller has said who it is.
    share: Option<Arc<Share>>,
    running: FuturesUnordered<BoxFuture<'static, Result<(v1::ReadManyResponse, Credit)>>>,
    /// Whether more may be asked for.
    asking: bool,
}

impl Answering {
    async fn next(&mut self) -> Result<Option<v1::ReadManyResponse>> {
        let share = match &self.share {
            Some(share) => Arc::clone(share),
            None => self.begin().await?,
        };
        while self.asking || !self.running.is_empty() {
            tokio::select! {
                // Every arm keeps its place: what is not taken now is taken later.
                biased;
                () = share.lost() => return Err(Share::lost_error()),
                answered = self.running.next(), if !self.running.is_empty() => {
                    // The room is given back as the message is handed to the connection, whose own buffer is bounded.
                    if let Some(answered) = answered {
                        return answered.map(|(message, _credit)| Some(message));
                    }
                }
                request = self.requests.message(), if self.asking && self.running.len() < MESSAGES_AT_ONCE => {
                    match request? {
                        Some(request) => self.running.push(answer(&self.shared, &share, request.reads)),
                        None => self.asking = false,
                    }
                }
            }
        }
        Ok(None)
    }

    /// Waits for who calls, and takes a place.
    async fn begin(&mut self) -> Result<Arc<Share>> {
        let patience = Duration::from_millis(self.shared.settings.first_message_ms);
        let first = tokio::time::timeout(patience, self.requests.message())
            .await
            .map_err(|_| Error::new(ErrorKind::DeadlineExceeded, format!("nothing was asked for {patience:?}")))??
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "an empty request"))?;
        self.shared.check_caller(first.hello.as_ref(), first.node)?;
        let share = Arc::new(self.shared.open_stream()?);
        self.running.push(answer(&self.shared, &share, first.reads));
        self.share = Some(Arc::clone(&share));
        Ok(share)
    }
}

/// Answers one message, whose reads fail each by itself.
fn answer(
    shared: &Arc<Shared>,
    share: &Arc<Share>,
    reads: Vec<v1::SmallRead>,
) -> BoxFuture<'static, Result<(v1::ReadManyResponse, Credit)>> {
    let (shared, share) = (Arc::clone(shared), Arc::clone(share));
    async move {
        let asked: u64 = reads.iter().map(|read| u64::from(read.length)).sum();
        if reads.len() > MAX_READS || asked > MAX_PACKET_BYTES as u64 {
            let message =
                format!("{} reads at once; the limit is {MAX_READS}, of {MAX_PACKET_BYTES} bytes", reads.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        // Each takes the pieces around it.
        let bytes = usize::try_from(asked).unwrap_or(MAX_PACKET_BYTES) + reads.len() * 2 * PIECE;
        let credit = share.take(bytes).await;
        let shared = &*shared;
        let answers = join_all(reads.into_iter().map(|read| async move {
            let number = read.number;
            match one(shared, read).await {
                Ok(packet) => v1::SmallReadAnswer { number, error: None, packet: Some(packet) },
                Err(error) => v1::SmallReadAnswer { number, error: Some(status::to_detail(&error)), packet: None },
            }
        }));
        Ok((v1::ReadManyResponse { answers: answers.await }, credit))
    }
    .boxed()
}

async fn one(shared: &Shared, read: v1::SmallRead) -> Result<v1::ReadResponse> {
    let chunk = convert::chunk(read.chunk)?;
    let end = read.offset.saturating_add(u64::from(read.length));
    if read.length == 0 || end > MAX_CHUNK_BYTES {
        let message = format!("{} bytes at {} of chunk {chunk}", read.length, read.offset);
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let reader = shared.open_replicas.reader(&*shared.store, chunk, Generation(read.generation), end).await?;
    let begin = read.offset / PIECE as u64 * PIECE as u64;
    let length = usize::try_from(end.next_multiple_of(PIECE as u64) - begin).unwrap_or(MAX_PACKET_BYTES);
    let verify = shared.settings.verify_reads;
    // What is in memory takes less than it takes to have it read elsewhere.
    let packet = match reader.read_cached(begin, length, verify) {
        Some(packet) => packet,
        None => reader.read(begin, length, verify).await,
    };
    match packet {
        Ok(packet) if begin + (packet.data.len() as u64) < end => {
            let message = format!("{} bytes of chunk {chunk} at {begin}, up to {end} are asked for", packet.data.len());
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
        Ok(packet) => Ok(convert::read_packet_to_wire(packet)),
        Err(error) => {
            shared.open_replicas.forget(chunk);
            if error.kind() == ErrorKind::Corrupt {
                shared.suspect(chunk);
            }
            Err(error)
        }
    }
}

/// Replicas that were opened for small reads lately.
#[derive(Debug, Default)]
pub(crate) struct OpenReplicas {
    open: Mutex<HashMap<ChunkId, Opened>>,
}

#[derive(Debug)]
struct Opened {
    reader: Arc<dyn ReplicaReader>,
    since: Instant,
}

impl OpenReplicas {
    /// A reader of a replica of at least this generation that shows at least this much, if the replica does.
    async fn reader(
        &self,
        store: &dyn ChunkStore,
        chunk: ChunkId,
        generation: Generation,
        end: u64,
    ) -> Result<Arc<dyn ReplicaReader>> {
        let known = self.open.lock().get(&chunk).map(|opened| (Arc::clone(&opened.reader), opened.since));
        if let Some((reader, since)) = known {
            let replica = reader.replica();
            if since.elapsed() < KEPT_FOR && replica.generation >= generation && replica.visible >= end {
                return Ok(reader);
            }
        }
        let reader: Arc<dyn ReplicaReader> = store.open(chunk, generation).await?.into();
        let mut open = self.open.lock();
        if open.len() >= KEPT_OPEN && !open.contains_key(&chunk) {
            open.clear();
        }
        open.insert(chunk, Opened { reader: Arc::clone(&reader), since: Instant::now() });
        Ok(reader)
    }

    /// Lets a replica go: it was deleted, or is another now.
    pub(crate) fn forget(&self, chunk: ChunkId) {
        self.open.lock().remove(&chunk);
    }

    /// Lets all of them go.
    pub(crate) fn forget_all(&self) {
        self.open.lock().clear();
    }

    /// Lets those go that were opened too long ago.
    pub(crate) fn expire(&self) {
        self.open.lock().retain(|_, opened| opened.since.elapsed() < KEPT_FOR);
    }
}
