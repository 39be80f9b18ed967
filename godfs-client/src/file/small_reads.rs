//! Many small reads from a datanode on one stream.
//!
//! A stream of its own costs a small read several times what its bytes do. Here each datanode that small reads go to has one stream, those that are asked for
//! while others are on their way travel together, and their answers as well.

use std::collections::HashMap;

use futures::StreamExt;
use godfs_core::chunk::Packet;
use godfs_core::{Error, ErrorKind, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::transport::convert::{self, Node};
use crate::transport::messages::MessageStream;
use crate::transport::status::from_detail;
use crate::transport::{Address, Channels, body};

/// The most bytes of a read that goes this way.
pub(super) const SMALL_READ_BYTES: usize = 64 << 10;
/// Reads of one stream that are asked for and not answered; the others wait.
const IN_FLIGHT: usize = 256;
/// Reads of one message, and their bytes: what a datanode takes is more.
const TOGETHER: usize = 64;
const TOGETHER_BYTES: u64 = 512 << 10;
/// A stream on which nothing was asked for so long ends.
const IDLE: Duration = Duration::from_secs(5);
/// A node whose stream broke is not tried again for so long: the ordinary reads find out what it is about.
const PAUSE: Duration = Duration::from_secs(1);
/// Nodes whose streams are remembered.
const NODES: usize = 1_024;

/// The streams of one client.
#[derive(Debug, Default)]
pub(crate) struct SmallReads {
    streams: Mutex<HashMap<NodeId, Stream>>,
}

#[derive(Debug)]
struct Stream {
    address: Address,
    begun: Instant,
    queue: mpsc::Sender<Asked>,
    task: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One read that somebody waits for.
#[derive(Debug)]
struct Asked {
    read: v1::SmallRead,
    answer: oneshot::Sender<Result<Packet>>,
}

impl SmallReads {
    /// Asks `node` for bytes; the packet holds whole pieces around them, not verified. `None` when they are to be asked for otherwise. Cancel-safe.
    pub(super) async fn read(
        &self,
        channels: &Channels,
        hello: impl FnOnce() -> v1::Hello,
        node: &Node,
        read: v1::SmallRead,
    ) -> Option<Result<Packet>> {
        let queue = self.queue(channels, hello, node)?;
        let (answer, answered) = oneshot::channel();
        queue.try_send(Asked { read, answer }).ok()?;
        answered.await.ok()
    }

    fn queue(
        &self,
        channels: &Channels,
        hello: impl FnOnce() -> v1::Hello,
        node: &Node,
    ) -> Option<mpsc::Sender<Asked>> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.get(&node.id)
            && stream.address == node.address
        {
            if !stream.queue.is_closed() {
                return Some(stream.queue.clone());
            }
            if stream.begun.elapsed() < PAUSE {
                return None;
            }
        }
        if streams.len() >= NODES {
            streams.retain(|_, stream| !stream.queue.is_closed());
        }
        let (queue, asked) = mpsc::channel(2 * IN_FLIGHT);
        let (channels, address) = (channels.clone(), node.address.clone());
        let first = v1::ReadManyRequest { hello: Some(hello()), node: node.id.get(), reads: Vec::new() };
        let task = tokio::spawn(async move {
            if let Err(error) = run(&channels, &address, first, asked).await {
                tracing::debug!(%address, %error, "small reads take the long way");
            }
        });
        let stream = Stream {
            address: node.address.clone(),
            begun: Instant::now(),
            queue: queue.clone(),
            task: task.abort_handle(),
        };
        streams.insert(node.id, stream);
        Some(queue)
    }
}

/// One stream to its end. Whoever waits for an answer then gets none.
async fn run(
    channels: &Channels,
    address: &Address,
    first: v1::ReadManyRequest,
    mut asked: mpsc::Receiver<Asked>,
) -> Result<()> {
    let connection = channels.bulk(address).await?;
    // One message for each read in flight at most, so it is never full.
    let (requests, sent) = mpsc::channel(IN_FLIGHT + 1);
    let full = |_| Error::new(ErrorKind::Internal, "more messages than reads");
    requests.try_send(first).map_err(full)?;
    let call = body::request_body(ReceiverStream::new(sent).map(Ok));
    let call = connection.bulk_call::<v1::ReadManyResponse>("/godfs.v1.ChunkService/ReadMany", call);
    let patience = channels.settings().stall_timeout;
    let mut answers: MessageStream<_, _> = timeout(patience, call)
        .await
        .map_err(|_| Error::new(ErrorKind::Unavailable, format!("no answer within {patience:?}")))??;
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Packet>>> = HashMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            // Each arm keeps what it has not given.
            biased;
            answer = answers.message() => {
                let Some(answer) = answer? else { break };
                for answer in answer.answers {
                    // Somebody may have lost patience.
                    if let Some(waiter) = waiting.remove(&answer.number) {
                        let _ = waiter.send(packet(answer));
                    }
                }
            }
            next = asked.recv(), if waiting.len() < IN_FLIGHT => {
                let Some(mut next) = next else { break };
                let (mut reads, mut bytes) = (Vec::new(), 0);
                loop {
                    number += 1;
                    next.read.number = number;
                    bytes += u64::from(next.read.length);
                    reads.push(next.read);
                    waiting.insert(number, next.answer);
                    let more = waiting.len() < IN_FLIGHT && reads.len() < TOGETHER;
                    match if more && bytes + SMALL_READ_BYTES as u64 <= TOGETHER_BYTES { asked.try_recv().ok() } else { None } {
                        Some(another) => next = another,
                        None => break,
                    }
                }
                requests.try_send(v1::ReadManyRequest { reads, ..Default::default() })
                    .map_err(|_| Error::new(ErrorKind::Internal, "more messages than reads"))?;
            }
            () = tokio::time::sleep(IDLE), if waiting.is_empty() => break,
        }
    }
    // It ends in good order, or the connection is closed with it.
    drop(requests);
    if waiting.is_empty()
        && let Ok(Ok(None)) = timeout(PAUSE, answers.message()).await
    {
        connection.done();
    }
    Ok(())
}

fn packet(answer: v1::SmallReadAnswer) -> Result<Packet> {
    if let Some(error) = &answer.error {
        return Err(from_detail(error));
    }
    let packet = answer.packet.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "an answer without a packet"))?;
    convert::read_packet(packet)
}
