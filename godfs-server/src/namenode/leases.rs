//! Sessions that are over, and the files that they leave open.
//!
//! Rows say which sessions there are and which files await recovery, so nothing is lost with this process: a driver reads them again and again,
//! and whoever knows of something new wakes it. Decisions are those of [`LeaseClock`] and [`LeaseRecovery`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use godfs_client::transport::convert;
use godfs_core::chunk::Replica;
use godfs_core::cluster::{Expired, LeaseClock, LeaseRecovery, LeaseSettings, OpenChunk, RecoveryEffect, Silence};
use godfs_core::namespace::{NamespaceSettings, RECOVERY_SESSION};
use godfs_core::{ChunkId, Error, ErrorKind, Generation, InodeId, LeaseId, NodeId, Result, SessionId, Version};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::Notify;
use v1::command::Order;

use super::state::State;

/// Rows read at once.
const PAGE: usize = 1_000;
/// Files that are recovered at once; the others wait their turn in the rows.
const RECOVERIES: usize = 64;
/// Files that are remembered to rest after an attempt that led to nothing, each some hundred bytes. Further ones are tried again as their turn comes.
const RESTING: usize = 65_536;
/// Sessions that are ended at once.
const ENDINGS: usize = 16;
/// How often a recovery looks at what has become of its nodes.
const RECOVERY_TICK: Duration = Duration::from_millis(100);

/// What is known of sessions and recoveries beside the rows.
#[derive(Debug)]
pub(super) struct Leases {
    clock: Mutex<LeaseClock>,
    /// Sessions that were opened here since the rows were read.
    opened: AtomicUsize,
    /// How often sessions are looked after.
    every: Duration,
    /// Files whose recovery is under way here.
    recovering: Mutex<HashSet<InodeId>>,
    /// Recoveries that rest, outside of the places of those under way: files that nobody can recover now don't keep others from it.
    resting: Mutex<HashMap<InodeId, Recovery>>,
    /// The last lease whose turn it was: those behind it are next.
    turn: Mutex<LeaseId>,
    wake: Notify,
}

impl Leases {
    pub(super) fn new(settings: &NamespaceSettings, now: Duration) -> Self {
        let expire_after = settings.session_timeout;
        let every = (expire_after / 16).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let retry_after = every.max(Duration::from_millis(500));
        let settings = LeaseSettings { expire_after, soft_limit: settings.lease_soft_limit, retry_after };
        Self {
            clock: Mutex::new(LeaseClock::new(settings, now)),
            opened: AtomicUsize::new(0),
            every,
            recovering: Mutex::default(),
            resting: Mutex::default(),
            turn: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// For how long a session has been silent, whose row is of version `renewal`.
    pub(super) fn silence(&self, now: Duration, session: SessionId, renewal: Version) -> Silence {
        self.clock.lock().silence(now, session, renewal.get())
    }

    /// Whether another session may be opened, which then counts.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: as soon as others have ended, there is room.
    pub(super) fn admit(&self, most: usize) -> Result<()> {
        let known = self.clock.lock().len();
        if known.saturating_add(self.opened.fetch_add(1, Ordering::Relaxed)) < most {
            return Ok(());
        }
        self.opened.fetch_sub(1, Ordering::Relaxed);
        let message =
            format!("{most} sessions are open, there may be no more until some have ended or expired (max-sessions)");
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// A session was closed by its client, whose files may await recovery.
    pub(super) fn closed(&self, session: SessionId) {
        self.clock.lock().gone(session);
        self.look();
    }

    /// A file may await recovery.
    pub(super) fn look(&self) {
        self.wake.notify_one();
    }
}

/// Ends sessions and recovers files until the namenode ends.
pub(super) async fn drive(state: Arc<State>) {
    loop {
        if let Err(error) = round(&state).await {
            tracing::warn!(error = error.report(), "cannot look after sessions");
        }
        // All arms are cancel-safe.
        tokio::select! {
            biased;
            () = state.tasks.ending().cancelled() => return,
            () = state.leases.wake.notified() => {}
            () = tokio::time::sleep(state.leases.every) => {}
        }
    }
}

async fn round(state: &Arc<State>) -> Result<()> {
    let mut over = Vec::new();
    let mut after = SessionId(0);
    // Those that are opened while the rows are read may count twice until the next round.
    let opened = state.leases.opened.load(Ordering::Relaxed);
    loop {
        let page = state.namespace.sessions(after, PAGE).await?;
        {
            let mut clock = state.leases.clock.lock();
            let now = state.now();
            for info in &page {
                if info.ended {
                    over.push((info.session, None));
                } else {
                    clock.seen(now, info.session, info.version.get());
                }
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = last.session,
            _ => break,
        }
    }
    state.leases.opened.fetch_sub(opened, Ordering::Relaxed);
    let expired = state.leases.clock.lock().tick(state.now());
    over.extend(expired.iter().map(|Expired { session, renewal }| (*session, Some(Version(*renewal)))));
    let endings = over.into_iter().map(|(session, unchanged)| async move {
        let ended = match unchanged {
            Some(unchanged) => state.namespace.expire_session(session, unchanged).await,
            // Cut off while it was being ended: its leases are still to be handed over.
            None => state.namespace.end_session(session).await.map(|()| true),
        };
        (session, ended)
    });
    let ended: Vec<_> = futures::stream::iter(endings).buffer_unordered(ENDINGS).collect().await;
    for (session, ended) in ended {
        match ended {
            Ok(true) => {
                tracing::info!(%session, "session is over");
                state.leases.clock.lock().gone(session);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%session, error = error.report(), "cannot end a session"),
        }
    }
    start_recoveries(state).await
}

/// Starts the recovery of files that await it, as many as may run at once, and each in its turn.
async fn start_recoveries(state: &Arc<State>) -> Result<()> {
    let begin = *state.leases.turn.lock();
    let mut awaiting = HashSet::new();
    // From where the last round came to, to the end, and then from the beginning.
    for (first, last) in [(begin, LeaseId(u64::MAX)), (LeaseId(0), begin)] {
        let mut after = first;
        while after < last {
            let page = state.namespace.leases(RECOVERY_SESSION, after, PAGE).await?;
            for lease in page.iter().filter(|lease| lease.lease <= last) {
                awaiting.insert(lease.inode);
                if !start_recovery(state, lease.inode) {
                    return Ok(());
                }
                *state.leases.turn.lock() = lease.lease;
            }
            after = match page.last() {
                Some(at_end) if page.len() == PAGE => at_end.lease,
                _ => break,
            };
        }
    }
    // All have been seen: the others were deleted.
    state.leases.resting.lock().retain(|inode, _| awaiting.contains(inode));
    Ok(())
}

/// Starts the recovery of one file, unless it is under way or rests. False when it has to wait until another one ends.
fn start_recovery(state: &Arc<State>, inode: InodeId) -> bool {
    let mut recovering = state.leases.recovering.lock();
    if recovering.contains(&inode) {
        return true;
    }
    let mut resting = state.leases.resting.lock();
    let until = resting.get(&inode).and_then(|recovery| recovery.decisions.rests_until());
    if until.is_some_and(|until| state.now() < until) {
        return true;
    }
    if recovering.len() >= RECOVERIES {
        return false;
    }
    recovering.insert(inode);
    let rested = resting.remove(&inode);
    let state = Arc::clone(state);
    state.tasks.clone().spawn(async move {
        match recover(&state, inode, rested).await {
            Ok(Some(recovery)) => {
                let mut resting = state.leases.resting.lock();
                if resting.len() < RESTING {
                    resting.insert(inode, recovery);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%inode, error = error.report(), "recovery of a file failed; it begins anew"),
        }
        state.leases.recovering.lock().remove(&inode);
    });
    true
}

/// The recovery of one file.
#[derive(Debug)]
struct Recovery {
    /// For the log.
    path: String,
    chunks: Vec<ChunkId>,
    decisions: LeaseRecovery,
}

impl Recovery {
    /// As the rows say; `None` when they say that there is nothing to recover.
    async fn begin(state: &State, inode: InodeId) -> Result<Option<Self>> {
        let Some(plan) = state.namespace.recovery_plan(inode).await? else { return Ok(None) };
        let path = plan.path.map_or_else(|| format!("inode {inode}"), |path| path.to_string());
        tracing::info!(path, chunks = plan.chunks.len(), "recover an open file");
        let open = plan.chunks.iter().map(|info| OpenChunk {
            chunk: info.chunk,
            generation: info.generation,
            length: info.length,
            cut: plan.cut,
            nodes: info.replicas.iter().map(|place| place.node).collect(),
        });
        let decisions = LeaseRecovery::new(state.settings.recovery, state.now(), open.collect());
        Ok(Some(Self { path, chunks: plan.chunks.iter().map(|info| info.chunk).collect(), decisions }))
    }
}

/// What comes back to a recovery.
#[derive(Debug)]
enum Input {
    Issued(ChunkId, Result<Generation>),
    Replied { node: NodeId, chunk: ChunkId, generation: Generation, answer: Result<Replica, ErrorKind> },
    Settled { node: NodeId, chunk: ChunkId, generation: Generation, answer: Result<Replica, ErrorKind> },
    Committed(ChunkId, Result<bool>),
}

/// Recovers one file, or goes on with it. Gives back what is to be gone on with after a rest.
async fn recover(state: &Arc<State>, inode: InodeId, rested: Option<Recovery>) -> Result<Option<Recovery>> {
    let mut recovery = match rested {
        Some(recovery) => recovery,
        None => match Recovery::begin(state, inode).await? {
            Some(recovery) => recovery,
            None => return Ok(None),
        },
    };
    let decisions = &mut recovery.decisions;
    let mut work: FuturesUnordered<BoxFuture<'static, Input>> = FuturesUnordered::new();
    loop {
        let now = state.now();
        let effects = {
            let nodes = state.nodes.lock();
            decisions.poll(now, |node| nodes.state(node))
        };
        for effect in effects {
            work.extend(carry_out(state, effect));
        }
        if decisions.is_over() {
            state.repair.touched(recovery.chunks);
            state.links.look_for_garbage();
            return Ok(None);
        }
        if decisions.rests_until().is_some() {
            let status = decisions.status();
            tracing::warn!(
                path = recovery.path,
                reason = status.reason,
                attempts = status.failures,
                "recovery goes on"
            );
            return Ok(Some(recovery));
        }
        // All arms are cancel-safe: work that was not taken stays in the set.
        tokio::select! {
            biased;
            () = state.tasks.ending().cancelled() => return Ok(None),
            Some(input) = work.next() => take_in(decisions, state.now(), input),
            () = tokio::time::sleep(RECOVERY_TICK) => {}
        }
    }
}

fn take_in(recovery: &mut LeaseRecovery, now: Duration, input: Input) {
    match input {
        Input::Issued(chunk, Ok(generation)) => recovery.generation_issued(now, chunk, generation),
        Input::Committed(chunk, Ok(_closed)) => recovery.committed(now, chunk),
        Input::Issued(chunk, Err(error)) | Input::Committed(chunk, Err(error)) => {
            // The rows have nothing to recover there (any more).
            if error.kind() == ErrorKind::FailedPrecondition {
                recovery.gone(now, chunk);
            } else {
                recovery.failed(now, chunk, &error.report());
            }
        }
        Input::Replied { node, chunk, generation, answer } => recovery.replied(node, chunk, generation, answer),
        Input::Settled { node, chunk, generation, answer } => recovery.settled(node, chunk, generation, answer),
    }
}

fn carry_out(state: &Arc<State>, effect: RecoveryEffect) -> Option<BoxFuture<'static, Input>> {
    let state = Arc::clone(state);
    Some(match effect {
        RecoveryEffect::IssueGeneration(chunk) => {
            Box::pin(async move { Input::Issued(chunk, state.namespace.begin_recovery(chunk).await) })
        }
        RecoveryEffect::Recover { node, chunk, generation } => Box::pin(async move {
            let order = v1::RecoverReplica { chunk: chunk.get(), generation: generation.get() };
            let answer = replica_after(&state, node, Order::Recover(order)).await;
            Input::Replied { node, chunk, generation, answer }
        }),
        RecoveryEffect::Settle { node, chunk, generation, length } => Box::pin(async move {
            let order = v1::SettleReplica { chunk: chunk.get(), generation: generation.get(), length };
            let answer = replica_after(&state, node, Order::Settle(order)).await;
            Input::Settled { node, chunk, generation, answer }
        }),
        RecoveryEffect::Commit { chunk, generation, length, nodes } => Box::pin(async move {
            tracing::info!(%chunk, %generation, length, ?nodes, "chunk recovered");
            Input::Committed(chunk, state.namespace.commit_recovery(chunk, generation, length, nodes).await)
        }),
        // The commit of the last chunk has closed the file.
        RecoveryEffect::Close => return None,
        other => {
            tracing::error!(?other, "unknown effect of a recovery");
            return None;
        }
    })
}

/// Gives a command whose answer is the replica after it.
async fn replica_after(state: &State, node: NodeId, order: Order) -> Result<Replica, ErrorKind> {
    let answer = state.links.command(node, order, state.settings.command_timeout).await;
    let replica = answer.and_then(|replica| convert::required_replica(replica.as_ref()));
    replica.map_err(|error| {
        tracing::debug!(%node, error = error.report(), "recovery command");
        error.kind()
    })
}
