//! What a namenode orders: each command is carried out by one of a bounded number of workers, and answered.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use godfs_client::transport::{convert, status};
use godfs_core::chunk::Replica;
use godfs_core::{ChunkId, Error, ErrorKind, Result};
use godfs_proto::v1;
use godfs_proto::v1::command::Order;
use tokio::sync::mpsc;

use super::copy;
use super::shared::Shared;

/// Starts a command whose epoch was found valid. Its result goes to `results`.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] and [`ErrorKind::Unsupported`] for what is no command, [`ErrorKind::FailedPrecondition`] and
/// [`ErrorKind::LimitExceeded`], both retryable, while the chunk or the node is busy; nothing is started then.
pub(crate) fn start(
    shared: &Arc<Shared>,
    command: v1::Command,
    results: mpsc::Sender<v1::CommandResult>,
) -> Result<()> {
    let id = command.id;
    let claim = Claim::take(shared, &command)?;
    let node = Arc::clone(shared);
    shared.spawn(async move {
        let result = carry_out(&node, command).await;
        drop(claim);
        let message = match result {
            Ok(replica) => {
                v1::CommandResult { id, error: None, replica: replica.as_ref().map(convert::replica_to_wire) }
            }
            Err(error) => {
                tracing::debug!(id, error = error.report(), "command failed");
                failed(id, &error)
            }
        };
        // A namenode that is gone asks again when it is back.
        let _ = results.send(message).await;
    });
    Ok(())
}

/// The result of a command that was not carried out.
pub(crate) fn failed(id: u64, error: &Error) -> v1::CommandResult {
    v1::CommandResult { id, error: Some(status::to_detail(error)), replica: None }
}

/// Commands that may wait for a worker; the namenode keeps its own queue.
const MAX_CLAIMS: usize = 4_096;

/// What works on a chunk.
#[derive(Debug)]
pub(crate) enum Busy {
    /// A command that changes or judges the replica.
    Alone,
    /// So many copies to other nodes, which only read it.
    Copies(usize),
}

/// The right to work on a chunk: one command at a time, or any copies.
struct Claim {
    shared: Arc<Shared>,
    chunk: ChunkId,
}

impl Claim {
    fn take(shared: &Arc<Shared>, command: &v1::Command) -> Result<Self> {
        let chunk = convert::chunk(match &command.order {
            Some(Order::Copy(order)) => order.chunk,
            Some(Order::Delete(order)) => order.chunk,
            Some(Order::Recover(order)) => order.chunk,
            Some(Order::Settle(order)) => order.chunk,
            Some(Order::Verify(order)) => order.chunk,
            None => return Err(Error::new(ErrorKind::Unsupported, "an order that this datanode does not know")),
        })?;
        let copies = matches!(command.order, Some(Order::Copy(_)));
        let mut busy = shared.busy.lock();
        let claims: usize = busy.values().map(|busy| if let Busy::Copies(count) = busy { *count } else { 1 }).sum();
        if claims >= MAX_CLAIMS {
            let message = format!("{MAX_CLAIMS} commands wait");
            return Err(Error::new(ErrorKind::LimitExceeded, message).with_retryable(true));
        }
        match busy.entry(chunk) {
            Entry::Vacant(free) => {
                free.insert(if copies { Busy::Copies(1) } else { Busy::Alone });
            }
            Entry::Occupied(mut taken) => match taken.get_mut() {
                Busy::Copies(count) if copies => *count += 1,
                _ => {
                    let message = format!("another command is working on chunk {chunk}");
                    return Err(Error::new(ErrorKind::FailedPrecondition, message).with_retryable(true));
                }
            },
        }
        Ok(Self { shared: Arc::clone(shared), chunk })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut busy = self.shared.busy.lock();
        match busy.get_mut(&self.chunk) {
            Some(Busy::Copies(count)) if *count > 1 => *count -= 1,
            _ => {
                busy.remove(&self.chunk);
            }
        }
    }
}

async fn carry_out(shared: &Arc<Shared>, command: v1::Command) -> Result<Option<Replica>> {
    let store = &shared.store;
    let workers = match command.order {
        Some(Order::Copy(_)) => &shared.copies,
        _ => &shared.commands,
    };
    let _worker =
        workers.acquire().await.map_err(|_| Error::new(ErrorKind::Unavailable, "the datanode is stopping"))?;
    match command.order {
        Some(Order::Copy(order)) => copy::copy(shared, &order).await.map(Some),
        Some(Order::Delete(order)) => {
            let (chunk, generation) = (convert::chunk(order.chunk)?, convert::generation(order.generation)?);
            let found = match store.stat(chunk).await {
                Ok(replica) => Some(replica),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            store.delete(chunk, generation).await?;
            if let Some(replica) = found {
                shared.deleted(replica);
            }
            Ok(None)
        }
        Some(Order::Recover(order)) => {
            let (chunk, generation) = (convert::chunk(order.chunk)?, convert::generation(order.generation)?);
            shared.certain(store.recover(chunk, generation).await).await.map(Some)
        }
        Some(Order::Settle(order)) => {
            let (chunk, generation) = (convert::chunk(order.chunk)?, convert::generation(order.generation)?);
            let replica = shared.certain(store.settle(chunk, generation, order.length).await).await?;
            shared.finalized(replica);
            Ok(Some(replica))
        }
        Some(Order::Verify(order)) => {
            let (chunk, generation) = (convert::chunk(order.chunk)?, convert::generation(order.generation)?);
            let replica = store.stat(chunk).await?;
            if replica.generation != generation {
                let message = format!("chunk {chunk} has generation {} here, not {generation}", replica.generation);
                return Err(Error::new(ErrorKind::FailedPrecondition, message));
            }
            shared.scrub.verify(shared, chunk).await.map(Some)
        }
        None => Ok(None),
    }
}
