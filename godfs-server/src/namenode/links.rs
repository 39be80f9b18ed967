//! The streams to the datanodes: commands go down them, results come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use godfs_core::cluster::StreamId;
use godfs_core::{Epoch, Error, ErrorKind, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Messages that wait for a datanode to take them: enough to fill the pipe, few enough that a datanode that does not read costs
/// nothing. A full queue makes those who command it wait.
const QUEUED_MESSAGES: usize = 64;

/// Commands that one datanode has and has not answered. More wait at their sources: rows for deletions, the repair queue for copies.
const PENDING_COMMANDS: usize = 1_024;

/// What flows down a datanode's stream.
pub(super) type Down = std::result::Result<v1::NamenodeMessage, Status>;

/// Under which authority a namenode commands.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    /// The scope: the life of the metadata store.
    pub(super) scope: String,
    /// Grows with every start of a namenode over the store.
    pub(super) epoch: Epoch,
}

/// The streams to all datanodes that are connected.
#[derive(Debug)]
pub(super) struct Links {
    authority: Authority,
    next_command: AtomicU64,
    by_node: Mutex<BTreeMap<NodeId, Arc<Link>>>,
}

/// The stream to one datanode.
#[derive(Debug)]
pub(super) struct Link {
    /// The node at its end.
    pub(super) node: NodeId,
    /// Tells it from earlier ones of the same node.
    pub(super) stream: StreamId,
    /// Where others reach it.
    pub(super) address: String,
    /// Garbage rows may name the node: somebody should look.
    pub(super) garbage: Notify,
    /// Cancelled when the stream has ended or is to end.
    pub(super) closed: CancellationToken,
    down: mpsc::Sender<Down>,
    pending: Mutex<BTreeMap<u64, oneshot::Sender<Result<Option<v1::Replica>>>>>,
}

impl Links {
    /// No streams yet.
    pub(super) fn new(authority: Authority) -> Self {
        Self { authority, next_command: AtomicU64::new(1), by_node: Mutex::default() }
    }

    /// Under which authority commands go out.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The stream to a datanode, if it is connected.
    pub(super) fn get(&self, node: NodeId) -> Option<Arc<Link>> {
        self.by_node.lock().get(&node).cloned()
    }

    /// Rows of garbage may have been written for any node.
    pub(super) fn look_for_garbage(&self) {
        for link in self.by_node.lock().values() {
            link.garbage.notify_one();
        }
    }

    /// Ends all streams.
    pub(super) fn close_all(&self) {
        let links: Vec<_> = self.by_node.lock().values().cloned().collect();
        links.iter().for_each(|link| link.close());
    }

    /// Makes `link` the stream to its node; one that was there before ends.
    pub(super) fn insert(&self, link: &Arc<Link>) {
        let before = self.by_node.lock().insert(link.node, Arc::clone(link));
        if let Some(before) = before {
            before.close();
        }
    }

    /// Forgets a stream that has ended. Says whether it was still the node's own.
    pub(super) fn remove(&self, link: &Arc<Link>) -> bool {
        link.close();
        let mut links = self.by_node.lock();
        let own = links.get(&link.node).is_some_and(|other| Arc::ptr_eq(other, link));
        if own {
            links.remove(&link.node);
        }
        own
    }

    /// Gives a command and waits for its result: the replica after it, where there is one.
    ///
    /// # Errors
    /// Those of the datanode; [`ErrorKind::Unavailable`] when it is not connected or its stream ends first;
    /// [`ErrorKind::DeadlineExceeded`] when it does not answer in `limit`. In the last two cases it may have been carried out.
    pub(super) async fn command(
        &self,
        node: NodeId,
        order: v1::command::Order,
        limit: Duration,
    ) -> Result<Option<v1::Replica>> {
        let link = self.get(node).ok_or_else(|| not_connected(node))?;
        let id = self.next_command.fetch_add(1, Ordering::Relaxed);
        let command = v1::Command {
            scope: self.authority.scope.clone(),
            epoch: self.authority.epoch.get(),
            id,
            order: Some(order),
        };
        let answer = link.expect_result(id)?;
        let _forget = Forget { link: &link, id };
        let message = v1::NamenodeMessage { message: Some(v1::namenode_message::Message::Command(command)) };
        let exchange = async {
            link.send(message).await?;
            answer.await.map_err(|_| not_connected(node))?
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!("datanode {node} at {} did not carry out a command within {limit:?}", link.address),
            ))
        })
    }
}

impl Link {
    /// A new stream, and what its node is to receive.
    pub(super) fn new(node: NodeId, stream: StreamId, address: String) -> (Arc<Self>, mpsc::Receiver<Down>) {
        let (down, receive) = mpsc::channel(QUEUED_MESSAGES);
        let link = Self {
            node,
            stream,
            address,
            garbage: Notify::new(),
            closed: CancellationToken::new(),
            down,
            pending: Mutex::default(),
        };
        (Arc::new(link), receive)
    }

    /// Sends a message down; waits while the datanode is behind.
    pub(super) async fn send(&self, message: v1::NamenodeMessage) -> Result<()> {
        // Both are cancel-safe: a message is either queued or not.
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(not_connected(self.node)),
            sent = self.down.send(Ok(message)) => sent.map_err(|_| not_connected(self.node)),
        }
    }

    /// Sends a message down if there is room for it.
    pub(super) fn try_send(&self, message: v1::NamenodeMessage) {
        let _ = self.down.try_send(Ok(message));
    }

    /// Takes the result of a command. One that nobody waits for any more is dropped: rows say what is owed.
    pub(super) fn resolve(&self, id: u64, result: Result<Option<v1::Replica>>) {
        if let Some(waiting) = self.pending.lock().remove(&id) {
            let _ = waiting.send(result);
        }
    }

    /// Ends the stream: whoever waits for a result is told so.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.pending.lock().clear();
    }

    fn expect_result(&self, id: u64) -> Result<oneshot::Receiver<Result<Option<v1::Replica>>>> {
        let mut pending = self.pending.lock();
        // Under the lock that `close` takes after it has cancelled: an entry is either cleared or never made.
        if self.closed.is_cancelled() {
            return Err(not_connected(self.node));
        }
        if pending.len() >= PENDING_COMMANDS {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("datanode {} has {PENDING_COMMANDS} commands to carry out already", self.node),
            ));
        }
        let (result, wait) = oneshot::channel();
        pending.insert(id, result);
        Ok(wait)
    }
}

/// Takes a command that is no longer waited for out of the pending ones.
struct Forget<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.link.pending.lock().remove(&self.id);
    }
}

fn not_connected(node: NodeId) -> Error {
    Error::new(ErrorKind::Unavailable, format!("datanode {node} is not connected"))
}
