//! Many small questions to a datanode on one stream.
//!
//! A stream of its own costs a small call several times what its bytes do. Here each datanode that is asked has one stream for a kind of question, those that
//! are asked while others are on their way travel together, and their answers as well.

use std::collections::BTreeMap;
use std::fmt;

use futures::StreamExt;
use godfs_core::{Error, ErrorKind, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::body::{self, BulkMessage};
use super::convert::Node;
use super::messages::MessageStream;
use super::{Address, Channels};

/// A stream on which nothing was asked for so long ends.
const IDLE: Duration = Duration::from_secs(5);
/// A node whose stream broke is not tried again for so long: the ordinary calls find out what it is about.
const PAUSE: Duration = Duration::from_secs(1);
/// Streams that are remembered.
const STREAMS: usize = 1_024;

/// A kind of question.
pub trait Kind: 'static {
    /// What tells streams to one node apart, besides the node.
    type Key: Copy + Ord + Send + fmt::Debug;
    /// A message of questions.
    type Request: BulkMessage + Send + 'static;
    /// A message of answers.
    type Response: BulkMessage + Send + 'static;
    /// One question.
    type Asked: Send + 'static;
    /// The answer to it.
    type Answer: Send + 'static;

    /// The call.
    const PATH: &'static str;
    /// Questions of one stream that are not answered; the others wait, as many again.
    const IN_FLIGHT: usize;
    /// Questions of one message.
    const TOGETHER: usize;
    /// Their bytes: what a datanode takes is more.
    const TOGETHER_BYTES: usize;
    /// The bytes of the largest question.
    const LARGEST: usize;

    /// The first message.
    fn first(hello: v1::Hello, node: u32) -> Self::Request;
    /// Gives a question the number by which its answer is known.
    fn number(asked: &mut Self::Asked, number: u64);
    /// The bytes of a question, or of its answer.
    fn bytes(asked: &Self::Asked) -> usize;
    /// A message of questions.
    fn request(asked: Vec<Self::Asked>) -> Self::Request;
    /// The answers of a message, each with the number of its question.
    fn answers(response: Self::Response) -> Vec<(u64, Self::Answer)>;
}

/// What became of a question.
#[derive(Debug)]
pub enum Outcome<A> {
    /// It was answered.
    Answered(A),
    /// The stream broke after it may have been asked.
    Lost,
    /// It was not asked, and is to be asked in another way.
    NotAsked,
}

/// The streams for one kind of question.
pub struct Together<K: Kind> {
    streams: Mutex<Streams<K>>,
}

type Streams<K> = BTreeMap<(NodeId, <K as Kind>::Key), Stream<K>>;

struct Stream<K: Kind> {
    address: Address,
    begun: Instant,
    queue: mpsc::Sender<Question<K>>,
    task: AbortHandle,
}

impl<K: Kind> Drop for Stream<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One question whose answer somebody waits for.
struct Question<K: Kind> {
    asked: K::Asked,
    answer: oneshot::Sender<Outcome<K::Answer>>,
}

impl<K: Kind> Together<K> {
    /// Asks `node`, as `hello` says who asks. Cancel-safe: the question may have been asked.
    pub async fn ask(
        &self,
        channels: &Channels,
        hello: impl FnOnce() -> v1::Hello,
        (node, key): (&Node, K::Key),
        asked: K::Asked,
    ) -> Outcome<K::Answer> {
        let Some(queue) = self.queue(channels, hello, node, key) else { return Outcome::NotAsked };
        let (answer, answered) = oneshot::channel();
        if queue.try_send(Question { asked, answer }).is_err() {
            return Outcome::NotAsked;
        }
        answered.await.unwrap_or(Outcome::Lost)
    }

    /// Ends the stream to a node that does not answer; whoever waits for answers on it gets none.
    pub fn give_up(&self, node: NodeId, key: K::Key) {
        if let Some(stream) = self.streams.lock().get(&(node, key)) {
            stream.task.abort();
        }
    }

    fn queue(
        &self,
        channels: &Channels,
        hello: impl FnOnce() -> v1::Hello,
        node: &Node,
        key: K::Key,
    ) -> Option<mpsc::Sender<Question<K>>> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.get(&(node.id, key))
            && stream.address == node.address
        {
            if !stream.queue.is_closed() {
                return Some(stream.queue.clone());
            }
            if stream.begun.elapsed() < PAUSE {
                return None;
            }
        }
        if streams.len() >= STREAMS {
            streams.retain(|_, stream| !stream.queue.is_closed());
        }
        let (queue, asked) = mpsc::channel(2 * K::IN_FLIGHT);
        let (channels, address) = (channels.clone(), node.address.clone());
        let first = K::first(hello(), node.id.get());
        let task = tokio::spawn(async move {
            if let Err(error) = run::<K>(&channels, &address, first, asked).await {
                tracing::debug!(%address, %error, "small calls take the long way");
            }
        });
        let stream = Stream {
            address: node.address.clone(),
            begun: Instant::now(),
            queue: queue.clone(),
            task: task.abort_handle(),
        };
        streams.insert((node.id, key), stream);
        Some(queue)
    }
}

impl<K: Kind> Default for Together<K> {
    fn default() -> Self {
        Self { streams: Mutex::default() }
    }
}

impl<K: Kind> fmt::Debug for Together<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").field("path", &K::PATH).finish_non_exhaustive()
    }
}

/// One stream to its end. Whoever waits for an answer then gets none.
async fn run<K: Kind>(
    channels: &Channels,
    address: &Address,
    first: K::Request,
    mut asked: mpsc::Receiver<Question<K>>,
) -> Result<()> {
    let connection = channels.bulk(address).await?;
    // One message for each question in flight at most, so it is never full.
    let (requests, sent) = mpsc::channel(K::IN_FLIGHT + 1);
    requests.try_send(first).map_err(|_| full())?;
    let call = body::request_body(ReceiverStream::new(sent).map(Ok));
    let call = connection.bulk_call::<K::Response>(K::PATH, call);
    let patience = channels.settings().stall_timeout;
    let mut answers: MessageStream<_, _> = timeout(patience, call)
        .await
        .map_err(|_| Error::new(ErrorKind::Unavailable, format!("no answer within {patience:?}")))??;
    let mut waiting: BTreeMap<u64, oneshot::Sender<Outcome<K::Answer>>> = BTreeMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            // Each arm keeps what it has not given.
            biased;
            answer = answers.message() => {
                let Some(answer) = answer? else { break };
                for (number, answer) in K::answers(answer) {
                    // Somebody may have lost patience.
                    if let Some(waiter) = waiting.remove(&number) {
                        let _ = waiter.send(Outcome::Answered(answer));
                    }
                }
            }
            next = asked.recv(), if waiting.len() < K::IN_FLIGHT => {
                let Some(mut next) = next else { break };
                let (mut questions, mut bytes) = (Vec::new(), 0);
                loop {
                    number += 1;
                    K::number(&mut next.asked, number);
                    bytes += K::bytes(&next.asked);
                    questions.push(next.asked);
                    waiting.insert(number, next.answer);
                    let more = waiting.len() < K::IN_FLIGHT && questions.len() < K::TOGETHER;
                    match if more && bytes + K::LARGEST <= K::TOGETHER_BYTES { asked.try_recv().ok() } else { None } {
                        Some(another) => next = another,
                        None => break,
                    }
                }
                requests.try_send(K::request(questions)).map_err(|_| full())?;
            }
            () = tokio::time::sleep(IDLE), if waiting.is_empty() => break,
        }
    }
    // What comes now begins another stream, and so does what has come meanwhile.
    asked.close();
    while let Ok(question) = asked.try_recv() {
        let _ = question.answer.send(Outcome::NotAsked);
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

fn full() -> Error {
    Error::new(ErrorKind::Internal, "more messages than questions")
}
