//! Whole small replicas, many on one stream: no pipeline has to stand for them, those that come together are flushed together, and a node stores one while
//! the next node does.
//!
//! A replica is acknowledged when it is stored here, durably if that was asked for, and acknowledged by the next node; only then is it finalized, and shown to
//! readers. Whatever goes wrong, it stays as it is, being written, and its writer has the chunk taken back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{BoxFuture, Shared as SharedFuture};
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt, Stream, StreamExt};
use godfs_client::transport::convert::{self, WholeReplica};
use godfs_client::transport::messages::MessageStream;
use godfs_core::chunk::{self, CreateReplica, MAX_PACKET_BYTES, ReplicaState, ReplicaWriter};
use godfs_core::{Error, ErrorKind, NodeId, Result};
use godfs_proto::v1;
use tokio::sync::oneshot;
use tonic::body::Body;

use super::budget::{Credit, Share};
use super::receive::relay;
use super::shared::Shared;

/// Replicas of one message.
const MAX_REPLICAS: usize = 256;
/// Replicas of one stream that are being written; what comes beyond waits on the connection.
const MAX_RUNNING: usize = 512;
/// Answers of one message.
const MAX_ANSWERS: usize = 64;

/// What the caller sends.
pub(crate) type Requests = MessageStream<v1::WriteManyRequest, Body>;

/// Room for the bytes of a message, which all its replicas share.
type Room = SharedFuture<BoxFuture<'static, Arc<Credit>>>;

/// A replica that is stored here.
type Stored = Result<Box<dyn ReplicaWriter>>;

/// The answers on one stream.
pub(crate) fn answers(
    shared: Arc<Shared>,
    requests: Requests,
) -> impl Stream<Item = Result<v1::WriteManyResponse>> + Send + 'static {
    let stream = Receiving {
        shared,
        requests,
        caller: None,
        storing: FuturesUnordered::new(),
        running: FuturesUnordered::new(),
        more: true,
    };
    stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match stream.next().await {
            Ok(Some(message)) => Some((Ok(message), Some(stream))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// Who sends.
#[derive(Clone)]
struct Caller {
    share: Arc<Share>,
    /// The node that this is.
    node: NodeId,
    /// Another datanode sends: its replica is the one that readers ask first.
    forwards: bool,
}

/// A stream of whole replicas.
struct Receiving {
    shared: Arc<Shared>,
    requests: Requests,
    /// Known once the first message has come.
    caller: Option<Caller>,
    /// The replicas of each message on their way to the disk.
    storing: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Each replica until it can be answered.
    running: FuturesUnordered<BoxFuture<'static, v1::WholeReplicaAnswer>>,
    /// Whether more may come.
    more: bool,
}

impl Receiving {
    async fn next(&mut self) -> Result<Option<v1::WriteManyResponse>> {
        let caller = match &self.caller {
            Some(caller) => caller.clone(),
            None => self.begin().await?,
        };
        while self.more || !self.running.is_empty() {
            tokio::select! {
                // Every arm keeps its place: what is not taken now is taken later.
                biased;
                () = caller.share.lost() => return Err(Share::lost_error()),
                Some(()) = self.storing.next(), if !self.storing.is_empty() => {}
                Some(answer) = self.running.next(), if !self.running.is_empty() => {
                    let mut answers = vec![answer];
                    while answers.len() < MAX_ANSWERS
                        && let Some(Some(another)) = self.running.next().now_or_never()
                    {
                        answers.push(another);
                    }
                    return Ok(Some(v1::WriteManyResponse { answers }));
                }
                request = self.requests.message(), if self.more && self.running.len() < MAX_RUNNING => {
                    match request? {
                        Some(request) => self.take(&caller, request.replicas)?,
                        None => self.more = false,
                    }
                }
            }
        }
        Ok(None)
    }

    /// Waits for who calls, and takes a place.
    async fn begin(&mut self) -> Result<Caller> {
        let patience = Duration::from_millis(self.shared.settings.first_message_ms);
        let first = tokio::time::timeout(patience, self.requests.message())
            .await
            .map_err(|_| Error::new(ErrorKind::DeadlineExceeded, format!("no first message within {patience:?}")))??
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "an empty request"))?;
        self.shared.check_caller(first.hello.as_ref(), first.node)?;
        let forwards = first.hello.is_some_and(|hello| hello.speaker() == v1::Speaker::Datanode);
        let share = Arc::new(self.shared.open_stream()?);
        let caller = Caller { share, node: NodeId(first.node), forwards };
        self.caller = Some(caller.clone());
        self.take(&caller, first.replicas)?;
        Ok(caller)
    }

    /// Takes the replicas of one message in, each of which fails by itself.
    fn take(&mut self, caller: &Caller, replicas: Vec<v1::WholeReplica>) -> Result<()> {
        let bytes: usize = replicas.iter().map(|replica| replica.data.len()).sum();
        if replicas.len() > MAX_REPLICAS || bytes > MAX_PACKET_BYTES {
            let message = format!(
                "{} replicas of {bytes} bytes at once; the limit is {MAX_REPLICAS}, of {MAX_PACKET_BYTES} bytes",
                replicas.len()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let share = Arc::clone(&caller.share);
        let room: Room = async move { Arc::new(share.take(bytes).await) }.boxed().shared();
        let (mut wholes, mut stored) = (Vec::new(), Vec::new());
        for wire in replicas {
            let parsed = self.accepting().and_then(|()| convert::whole_replica(&wire, caller.node));
            let one = One { shared: Arc::clone(&self.shared), node: caller.node, room: room.clone() };
            match parsed {
                Ok(replica) => {
                    let (tell, told) = oneshot::channel();
                    wholes.push(whole(&replica, caller.forwards));
                    stored.push(tell);
                    self.running.push(one.answer(wire, replica, told).boxed());
                }
                Err(error) => {
                    let results = vec![convert::node_result_to_wire(caller.node, &Err(error))];
                    let answer = v1::WholeReplicaAnswer { number: wire.number, results };
                    self.running.push(std::future::ready(answer).boxed());
                }
            }
        }
        if !wholes.is_empty() {
            self.storing.push(store(Arc::clone(&self.shared), room, wholes, stored).boxed());
        }
        Ok(())
    }

    fn accepting(&self) -> Result<()> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the datanode at {} is stopping", self.shared.address),
            ));
        }
        Ok(())
    }
}

/// Stores the replicas of a message together.
async fn store(
    shared: Arc<Shared>,
    room: Room,
    wholes: Vec<chunk::WholeReplica>,
    stored: Vec<oneshot::Sender<Stored>>,
) {
    let _credit = room.await;
    let outcomes = shared.store.write_whole(wholes).await;
    for (tell, outcome) in stored.into_iter().zip(outcomes) {
        // Nobody waits for one whose stream has ended: it stays as it is.
        let _ = tell.send(outcome);
    }
}

fn whole(replica: &WholeReplica, forwards: bool) -> chunk::WholeReplica {
    let &WholeReplica { chunk, generation, capacity, sync, .. } = replica;
    let options = CreateReplica { chunk, generation, capacity, state: ReplicaState::Rbw };
    chunk::WholeReplica { options, packet: replica.packet.clone(), sync, drop_behind: forwards }
}

/// One replica on its way.
struct One {
    shared: Arc<Shared>,
    node: NodeId,
    room: Room,
}

impl One {
    async fn answer(
        self,
        wire: v1::WholeReplica,
        replica: WholeReplica,
        stored: oneshot::Receiver<Stored>,
    ) -> v1::WholeReplicaAnswer {
        // Held until it is answered.
        let _credit = self.room.clone().await;
        let (number, sync) = (wire.number, replica.sync);
        let (own, (below, well)) = tokio::join!(stored, self.forward(wire, &replica));
        let own = own.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the stream has ended")));
        let own = match own {
            Ok(writer) if well => writer.finalize(sync).await.map(|replica| self.shared.finalized(replica)),
            own => own.map(drop),
        };
        if let Err(error) = &own {
            tracing::debug!(chunk = %replica.chunk, %error, "a whole replica was not stored");
        }
        let results = std::iter::once(convert::node_result_to_wire(self.node, &own)).chain(below).collect();
        v1::WholeReplicaAnswer { number, results }
    }

    /// Has the rest of the pipeline store it; what those nodes say, and whether all is well.
    async fn forward(&self, wire: v1::WholeReplica, replica: &WholeReplica) -> (Vec<v1::NodeResult>, bool) {
        let Some((next, rest)) = replica.downstream.split_first() else { return (Vec::new(), true) };
        let (shared, nodes) = (&self.shared, replica.downstream.iter().map(|node| node.id).collect::<Vec<_>>());
        let message = v1::WholeReplica { downstream: rest.iter().map(convert::node_to_wire).collect(), ..wire };
        let answer = shared.whole_writes.forward(&shared.channels, || shared.hello(), next, message).await;
        let error = match answer {
            Ok(Some(results)) => return relay(&nodes, results),
            // Perhaps an older one, which is no reason to leave it out.
            Ok(None) => Error::new(ErrorKind::Unsupported, format!("node {} takes no whole replicas now", next.id)),
            Err(error) => error,
        };
        (vec![convert::node_result_to_wire(next.id, &Err(error))], false)
    }
}
