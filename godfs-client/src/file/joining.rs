//! A datanode that joins the pipeline of a chunk in the place of one that failed.
//!
//! The writer goes on with the nodes that are left while one of them copies what readers may see to the new one. When little is missing the writer
//! stops for as long as the rest takes, and builds its pipeline with the new node at its end. A copy that fails costs the writer nothing: another node
//! is tried, a few times.

use std::sync::Arc;

use godfs_core::{ChunkId, Error, ErrorKind, Generation, NodeId, Result};
use godfs_proto::v1;
use godfs_proto::v1::transfer_request::Message as Ask;
use godfs_proto::v1::transfer_response::Message as Answer;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::open_file::OpenFile;
use crate::settings::ReplaceNodes;
use crate::transport::convert::{self, Node};
use crate::transport::status::from_status;

/// Nodes that are tried in the place of one that failed before a chunk stays with those that it has; the namenode repairs it once it is finished.
pub(super) const ATTEMPTS: u32 = 3;

/// How soon the namenode is asked again for a node that it did not have.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl ReplaceNodes {
    /// Whether a pipeline of `left` nodes, of `wanted` at first, gets another.
    pub(super) fn asks_for_more(self, left: usize, wanted: usize) -> bool {
        match self {
            Self::Never => false,
            Self::WhenSmall => left < wanted && (left < 2 || left <= wanted / 2),
            Self::Always => left < wanted,
        }
    }
}

/// What a copy begins with.
pub(super) struct Begin {
    pub(super) file: Arc<OpenFile>,
    pub(super) chunk: ChunkId,
    /// Of the pipeline that stands.
    pub(super) generation: Generation,
    /// Bytes that the chunk has by now.
    pub(super) length: u64,
    /// The last of the pipeline, which has only one neighbour to serve.
    pub(super) source: Node,
    /// Whether bytes of it are promised to be on disks.
    pub(super) synced: bool,
    /// Nodes that failed this writer lately.
    pub(super) excluded: Vec<NodeId>,
}

/// A copy on its way. Dropping it gives it up, and leaves nothing behind.
#[derive(Debug)]
pub(super) struct Joining(JoinHandle<Result<Near, Failed>>);

/// Why there is no copy.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    pub(super) error: Error,
}

/// Whose fault it is that there is no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No node could take it.
    NoNode,
    /// The node that was to copy failed, or fell silent: the pipeline will tell what is wrong with it.
    Source,
    /// The node that was to join.
    Newcomer(NodeId),
}

impl Failed {
    /// Of what a source answered, and of its silence.
    fn judge(newcomer: NodeId, error: Trouble) -> Self {
        match error {
            Trouble::Broken(error) => Self { fault: Fault::Source, error },
            Trouble::Told(error) => {
                // What a node says of its own replica; all else it has from the other one.
                let own = matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::FailedPrecondition | ErrorKind::NotFound | ErrorKind::Fenced
                );
                Self { fault: if own { Fault::Source } else { Fault::Newcomer(newcomer) }, error }
            }
        }
    }
}

/// What ended a conversation about a copy.
#[derive(Debug)]
enum Trouble {
    /// The source can't be heard.
    Broken(Error),
    /// The source says why.
    Told(Error),
}

impl Joining {
    /// Has a node chosen and the copy begun.
    pub(super) fn begin(begin: Begin) -> Self {
        Self(tokio::spawn(async move {
            let patience = begin.file.namenode.settings().recovery_timeout;
            let late = || Error::new(ErrorKind::DeadlineExceeded, format!("no copy after {patience:?}"));
            let node = match timeout(patience, choose(&begin)).await {
                Ok(Ok(node)) => node,
                Ok(Err(error)) => return Err(Failed { fault: Fault::NoNode, error }),
                Err(_) => {
                    let message = format!("there was no datanode to join the pipeline for {patience:?}");
                    let error = Error::new(ErrorKind::Unavailable, message);
                    return Err(Failed { fault: Fault::NoNode, error });
                }
            };
            let near = timeout(patience, Near::reach(&begin, node.clone())).await;
            near.unwrap_or_else(|_| Err(Trouble::Told(late()))).map_err(|error| Failed::judge(node.id, error))
        }))
    }

    /// Waits until the copy has all but the newest bytes. Cancel-safe.
    pub(super) async fn near(&mut self) -> Result<Near, Failed> {
        (&mut self.0).await.unwrap_or_else(|error| {
            let error = Error::new(ErrorKind::Internal, "the copy ended").with_source(error);
            Err(Failed { fault: Fault::NoNode, error })
        })
    }
}

/// A node that is to join, once there is one: some may come back, or be live again, in the meantime.
async fn choose(begin: &Begin) -> Result<Node> {
    let mut pause = FIRST_PAUSE;
    loop {
        let added = begin.file.add_node(begin.chunk, begin.generation, begin.length, &begin.excluded).await?;
        if let Some(node) = added {
            return Ok(node);
        }
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A copy that has all but the newest bytes.
#[derive(Debug)]
pub(super) struct Near {
    node: Node,
    generation: Generation,
    requests: mpsc::Sender<v1::TransferRequest>,
    answers: Streaming<v1::TransferResponse>,
}

impl Near {
    async fn reach(begin: &Begin, node: Node) -> Result<Self, Trouble> {
        let Begin { file, chunk, generation, source, .. } = begin;
        let namenode = &file.namenode;
        let (requests, stream) = mpsc::channel(2);
        let open = v1::TransferOpen {
            hello: Some(namenode.identity().hello()),
            chunk: chunk.get(),
            generation: generation.get(),
            node: source.id.get(),
            target: Some(convert::node_to_wire(&node)),
            sync: begin.synced,
        };
        // There is room for both requests.
        let _ = requests.try_send(v1::TransferRequest { message: Some(Ask::Open(open)) });
        let mut service = namenode.channels().chunk_service(&source.address).await.map_err(Trouble::Broken)?;
        let answers = service
            .transfer(ReceiverStream::new(stream))
            .await
            .map_err(|status| trouble(&status, source))?
            .into_inner();
        let mut near = Self { node, generation: *generation, requests, answers };
        match near.answer(source).await? {
            Answer::Near(_) => Ok(near),
            Answer::Copy(_) => Err(garbled(format!("node {} ended a copy early", source.id))),
        }
    }

    /// Where the copy is.
    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// The generation of the pipeline that it is to join.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Ends the copy, which is to have `length` bytes: all that every node of the pipeline has acknowledged, while nothing more is under way.
    pub(super) async fn finish(&mut self, length: u64, source: &Node, patience: Duration) -> Result<(), Failed> {
        let end = v1::TransferRequest { message: Some(Ask::End(v1::TransferEnd { length })) };
        // A source that is gone is noticed by its answer.
        let _ = self.requests.try_send(end);
        let answer = timeout(patience, self.answer(source)).await.unwrap_or_else(|_| {
            let message = format!("the rest of the copy took longer than {patience:?}");
            Err(Trouble::Broken(Error::new(ErrorKind::DeadlineExceeded, message)))
        });
        let judged = match answer {
            Ok(Answer::Copy(copy)) if copy.length == length => return Ok(()),
            Ok(_) => garbled(format!("node {} made another copy than asked", source.id)),
            Err(trouble) => trouble,
        };
        Err(Failed::judge(self.node.id, judged))
    }

    async fn answer(&mut self, source: &Node) -> Result<Answer, Trouble> {
        let answer = self.answers.message().await.map_err(|status| trouble(&status, source))?;
        answer.and_then(|answer| answer.message).ok_or_else(|| {
            let message = format!("node {} ended a copy without a word", source.id);
            Trouble::Broken(Error::new(ErrorKind::Unavailable, message))
        })
    }
}

/// A status that the source gave has details; one that its connection made has none.
fn trouble(status: &Status, source: &Node) -> Trouble {
    let error = from_status(status, &source.address);
    if status.details().is_empty() { Trouble::Broken(error) } else { Trouble::Told(error) }
}

fn garbled(message: String) -> Trouble {
    Trouble::Broken(Error::new(ErrorKind::Internal, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pipelines_get_another_node() {
        let asks = |policy: ReplaceNodes| {
            let asks = |(left, wanted)| policy.asks_for_more(left, wanted);
            [(1, 1), (1, 2), (2, 2), (1, 3), (2, 3), (3, 3), (3, 6), (4, 6)].map(asks)
        };
        assert_eq!(asks(ReplaceNodes::Never), [false; 8]);
        assert_eq!(asks(ReplaceNodes::WhenSmall), [false, true, false, true, false, false, true, false]);
        assert_eq!(asks(ReplaceNodes::Always), [false, true, false, true, true, false, true, true]);
    }

    /// Whatever went wrong with a copy was held against the node that it went to, so that a source that froze kept good nodes from being used.
    #[test]
    fn a_newcomer_is_not_blamed_for_its_source() {
        let address = crate::transport::Address::parse("h:1").expect("address");
        let source = Node { id: NodeId(1), address, domain: Default::default() };
        let of = |status: &Status| Failed::judge(NodeId(2), trouble(status, &source)).fault;
        let said = |kind| of(&crate::transport::status::to_status(&Error::new(kind, "why")));
        assert_eq!(of(&Status::unavailable("connection broke")), Fault::Source);
        assert_eq!(said(ErrorKind::Corrupt), Fault::Source);
        assert_eq!(said(ErrorKind::Unavailable), Fault::Newcomer(NodeId(2)));
        assert_eq!(said(ErrorKind::StorageFull), Fault::Newcomer(NodeId(2)));
        assert_eq!(Failed::judge(NodeId(2), garbled("what".into())).fault, Fault::Source);
    }
}
