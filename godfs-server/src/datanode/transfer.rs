//! Copies a replica that is being written to a node that is to join its pipeline.
//!
//! The writer goes on meanwhile. The copy follows what readers may see until little is missing, and says so; then the writer
//! stops for as long as the rest takes. What is copied is what every node of the pipeline has acknowledged: recovery never drops it.

use std::sync::Arc;
use std::time::Duration;

use godfs_client::pipeline::PacketKind;
use godfs_client::transport::messages::MessageStream;
use godfs_client::transport::{convert, status};
use godfs_core::chunk::{Replica, ReplicaState};
use godfs_core::{ChunkId, Error, ErrorKind, Generation, Result};
use godfs_proto::v1;
use godfs_proto::v1::transfer_request::Message as Asked;
use godfs_proto::v1::transfer_response::Message as Answer;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;

use super::copy::{Copy, Haste};
use super::shared::Shared;

/// Transfers from this node at once; the others wait. Each holds a pipeline's packets in memory.
pub(crate) const TRANSFERS: usize = 4;

/// What may be missing when the writer is asked to stop, bytes: it takes some ten milliseconds then.
const NEAR_BYTES: u64 = 4 << 20;

/// How often a copy tries to come near to a writer that is as fast as itself, before the writer has to wait for more.
const ROUNDS: usize = 8;

/// How long the writer may take to stop: longer than it waits for the acknowledgements of its own pipeline.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Answers to the writer.
pub(crate) type Answers = mpsc::Sender<Result<v1::TransferResponse, Status>>;

/// What the writer says.
pub(crate) type Requests = MessageStream<v1::TransferRequest, Body>;

/// A channel for the answers of one transfer: how far it is, and how it ended.
pub(crate) fn answers() -> (Answers, mpsc::Receiver<Result<v1::TransferResponse, Status>>) {
    mpsc::channel(2)
}

/// Serves one transfer to its end.
pub(crate) async fn transfer(shared: Arc<Shared>, mut requests: Requests, answers: Answers) {
    let outcome = tokio::select! {
        // Stopping anywhere is safe: a copy that is dropped leaves nothing.
        biased;
        () = answers.closed() => return,
        outcome = carry_out(&shared, &mut requests, &answers) => outcome,
    };
    let last = match outcome {
        Ok(replica) => Ok(answer(Answer::Copy(convert::replica_to_wire(&replica)))),
        Err(error) => {
            tracing::debug!(%error, "transfer failed");
            Err(status::to_status(&error))
        }
    };
    // A writer that is gone needs no answer.
    let _ = answers.send(last).await;
}

async fn carry_out(shared: &Shared, requests: &mut Requests, answers: &Answers) -> Result<Replica> {
    let patience = Duration::from_millis(shared.settings.first_message_ms);
    let Asked::Open(open) = next(requests, patience).await? else {
        return Err(Error::new(ErrorKind::InvalidArgument, "a transfer that begins with its end"));
    };
    shared.check_caller(open.hello.as_ref(), open.node)?;
    let (chunk, generation) = (convert::chunk(open.chunk)?, convert::generation(open.generation)?);
    let target = open.target.as_ref().ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "target: missing"))?;
    let target = convert::node(target)?;
    // What joins comes after a failure, and that has raised it.
    let below = Generation(generation.get() - 1);
    if below.get() == 0 {
        return Err(Error::new(ErrorKind::InvalidArgument, "generation: the first has none below it"));
    }
    let _place =
        shared.transfers.acquire().await.map_err(|_| Error::new(ErrorKind::Unavailable, "the datanode is stopping"))?;
    let reader = shared.store.open(chunk, generation).await?;
    let replica = reader.replica();
    if replica.state != ReplicaState::Rbw || replica.generation != generation {
        let message = format!(
            "chunk {chunk} is {:?} at generation {} here, not being written at generation {generation}",
            replica.state, replica.generation
        );
        return Err(Error::new(ErrorKind::FailedPrecondition, message));
    }
    tracing::debug!(%chunk, target = %target.id, "transfer begins");
    let mut copy = Copy::open(shared, reader, below, target, Haste::Full).await?;
    for _ in 0..ROUNDS {
        let there = look(shared, &mut copy, chunk, generation).await?;
        copy.send(there, None).await?;
        if look(shared, &mut copy, chunk, generation).await?.saturating_sub(copy.sent()) <= NEAR_BYTES {
            break;
        }
    }
    copy.settle().await?;
    // A writer that is gone is noticed by the answers being closed.
    let _ = answers.send(Ok(answer(Answer::Near(copy.sent())))).await;
    let Asked::End(end) = next(requests, STOP_PATIENCE).await? else {
        return Err(Error::new(ErrorKind::InvalidArgument, "a transfer that begins twice"));
    };
    let there = look(shared, &mut copy, chunk, generation).await?;
    if there != end.length {
        let message = format!("chunk {chunk} has {there} bytes here, its writer says {}", end.length);
        return Err(Error::new(ErrorKind::FailedPrecondition, message));
    }
    copy.send(end.length, Some(PacketKind::Last { sync: open.sync })).await?;
    if copy.sent() != end.length {
        let message = format!("chunk {chunk} has {} bytes here, its writer says {}", copy.sent(), end.length);
        return Err(Error::new(ErrorKind::FailedPrecondition, message));
    }
    copy.finish().await?;
    tracing::debug!(%chunk, bytes = end.length, "transfer is done");
    let (length, state) = (end.length, ReplicaState::Finalized);
    Ok(Replica { chunk, generation: below, length, visible: length, state })
}

/// Has the copy read what there is by now, and says how many bytes readers may see. A reader that was opened before the pipeline had written a byte
/// sees no more than there was then.
async fn look(shared: &Shared, copy: &mut Copy<'_>, chunk: ChunkId, generation: Generation) -> Result<u64> {
    let reader = shared.store.open(chunk, generation).await?;
    let visible = reader.replica().visible;
    copy.follow(reader);
    Ok(visible)
}

async fn next(requests: &mut Requests, patience: Duration) -> Result<Asked> {
    let message = tokio::time::timeout(patience, requests.message())
        .await
        .map_err(|_| Error::new(ErrorKind::DeadlineExceeded, format!("the writer said nothing for {patience:?}")))??;
    message
        .and_then(|message| message.message)
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the writer has nothing to say"))
}

fn answer(message: Answer) -> v1::TransferResponse {
    v1::TransferResponse { message: Some(message) }
}
