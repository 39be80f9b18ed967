//! Whole small replicas through a pipeline, many on one stream.
//!
//! A chunk that begins and ends with one packet needs no pipeline that stands: its replica goes from node to node in one message, with all that a node has
//! to know, each node stores it while the next one does, and one answer comes back. There is nothing to recover: a chunk of which no
//! byte was acknowledged is taken back and placed anew.

use godfs_core::{Error, ErrorKind, NodeId};
use godfs_proto::v1;
use tokio::time::timeout;

use super::PipelineFailure;
use super::chunk_sender::judge;
use crate::transport::Channels;
use crate::transport::convert::{self, Node, WholeReplica};
use crate::transport::hello::Identity;
use crate::transport::together::{Kind, Outcome, Together};

/// The largest replica that goes this way, bytes: a larger one would keep others on its stream waiting.
pub const WHOLE_BYTES: usize = 256 << 10;

/// The streams of one client or datanode: to each node one for each number of nodes behind it, so that no two wait for one another.
pub type WholeWrites = Together<Whole>;

/// A replica that begins and ends with one packet.
#[derive(Debug)]
pub struct Whole;

impl Kind for Whole {
    type Key = usize;
    type Request = v1::WriteManyRequest;
    type Response = v1::WriteManyResponse;
    type Asked = v1::WholeReplica;
    type Answer = Vec<v1::NodeResult>;

    const PATH: &'static str = "/godfs.v1.ChunkService/WriteMany";
    const IN_FLIGHT: usize = 256;
    const TOGETHER: usize = 64;
    const TOGETHER_BYTES: usize = 1 << 20;
    const LARGEST: usize = WHOLE_BYTES;

    fn first(hello: v1::Hello, node: u32) -> v1::WriteManyRequest {
        v1::WriteManyRequest { hello: Some(hello), node, replicas: Vec::new() }
    }

    fn number(asked: &mut v1::WholeReplica, number: u64) {
        asked.number = number;
    }

    fn bytes(asked: &v1::WholeReplica) -> usize {
        asked.data.len()
    }

    fn request(replicas: Vec<v1::WholeReplica>) -> v1::WriteManyRequest {
        v1::WriteManyRequest { replicas, ..Default::default() }
    }

    fn answers(response: v1::WriteManyResponse) -> Vec<(u64, Vec<v1::NodeResult>)> {
        response.answers.into_iter().map(|answer| (answer.number, answer.results)).collect()
    }
}

impl Together<Whole> {
    /// Has every node of a pipeline store a replica, and finalize it. False when nothing was sent: it is to be written in the ordinary way.
    ///
    /// # Errors
    /// The node that failed, and why. What was stored is to be taken back.
    ///
    /// # Panics
    /// When `nodes` is empty.
    pub async fn write(
        &self,
        channels: &Channels,
        identity: &Identity,
        nodes: &[Node],
        replica: WholeReplica,
    ) -> Result<bool, PipelineFailure> {
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
        let (first, rest) = nodes.split_first().expect("a pipeline has at least one node");
        let replica = convert::whole_replica_to_wire(WholeReplica { downstream: rest.to_vec(), ..replica });
        match self.forward(channels, || identity.hello(), first, replica).await {
            Ok(Some(results)) => {
                judge(&ids, &v1::WriteResponse { sequence: 0, results }, 0)?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(PipelineFailure { nodes: vec![first.id], error }),
        }
    }

    /// Sends a replica to `next` and those behind it, which the message names, and waits for what they say. `None` when nothing was sent.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when `next` does not answer.
    pub async fn forward(
        &self,
        channels: &Channels,
        hello: impl Fn() -> v1::Hello,
        next: &Node,
        replica: v1::WholeReplica,
    ) -> Result<Option<Vec<v1::NodeResult>>, Error> {
        let behind = replica.downstream.len();
        let patience = channels.settings().pipeline_sync(behind);
        let unavailable = |what: String| Error::new(ErrorKind::Unavailable, what);
        let ask = async {
            match self.ask(channels, &hello, (next, behind), replica.clone()).await {
                // The stream was about to end for want of questions: another one begins.
                Outcome::NotAsked => self.ask(channels, &hello, (next, behind), replica).await,
                outcome => outcome,
            }
        };
        match timeout(patience, ask).await {
            Ok(Outcome::Answered(results)) => Ok(Some(results)),
            Ok(Outcome::NotAsked) => Ok(None),
            Ok(Outcome::Lost) => Err(unavailable(format!("node {} at {} ended the stream", next.id, next.address))),
            Err(_) => {
                self.give_up(next.id, behind);
                Err(unavailable(format!("node {} at {} answered nothing for {patience:?}", next.id, next.address)))
            }
        }
    }
}
