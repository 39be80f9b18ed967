//! Has replicas read and checked now: all of them, or those of a path.
//!
//! A walk over the rows names replicas, their datanodes check them, a bounded number at once on each, and what comes of it is told as progress. A
//! reader of the progress that is slow gets fewer, fuller messages; one that goes away ends the scrub.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use godfs_client::transport::status;
use godfs_core::namespace::{ChunkInfo, ChunkLocation, FileKind, FileRef, LocateRange};
use godfs_core::{ChunkId, DfsPath, Error, ErrorKind, Generation, NodeId, Result};
use godfs_proto::v1;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::state::State;
use super::verify::{Finding, check};

/// Replicas that were named and wait for their datanode: enough to keep several busy.
const NAMED: usize = 256;
/// Checks under way at once, over all datanodes.
const CHECKS: usize = 256;
/// Rows of one page of a walk.
const PAGE: usize = 256;
/// Findings that wait for the reader; more are only counted.
const FINDINGS: usize = 1_000;
/// How often a check is tried that another command for the same chunk, or a stream that is being made anew, stands in the way of.
const TRIES: usize = 8;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Begins to check the replicas below `path`, or all.
pub(super) fn start(state: &Arc<State>, path: Option<DfsPath>) -> ReceiverStream<Result<v1::ScrubProgress, Status>> {
    // One message ahead: what happens while it waits is told in the next.
    let (tell, progress) = mpsc::channel(1);
    state.tasks.spawn(run(Arc::clone(state), path, tell));
    ReceiverStream::new(progress)
}

/// A replica to check.
#[derive(Clone, Copy, Debug)]
struct Target {
    chunk: ChunkId,
    generation: Generation,
    node: NodeId,
    known_corrupt: bool,
}

async fn run(state: Arc<State>, path: Option<DfsPath>, tell: mpsc::Sender<Result<v1::ScrubProgress, Status>>) {
    let (named, targets) = mpsc::channel(NAMED);
    let naming = async {
        let named = named;
        match &path {
            Some(path) => name_below(&state, path, &named).await,
            None => name_all(&state, &named).await,
        }
    };
    let checking = check_all(&state, path.as_ref(), targets, &tell);
    let work = async {
        let (named, checked) = tokio::join!(Box::pin(naming), Box::pin(checking));
        named?;
        checked
    };
    // Either end may be given up anywhere: nothing but the answer hangs on it.
    let done = tokio::select! {
        biased;
        () = tell.closed() => return,
        () = state.tasks.ending().cancelled() => Err(Error::new(ErrorKind::Unavailable, "the namenode is stopping")),
        done = work => done,
    };
    let last = match done {
        Ok(mut tally) => Ok(tally.tell(true)),
        Err(error) => Err(status::to_status(&error)),
    };
    let _ = tell.send(last).await;
}

/// How far a scrub is.
#[derive(Debug, Default)]
struct Tally {
    progress: v1::ScrubProgress,
    dropped_findings: u64,
}

impl Tally {
    fn find(&mut self, what: String) {
        if self.progress.findings.len() < FINDINGS {
            self.progress.findings.push(what);
        } else {
            self.dropped_findings += 1;
        }
    }

    fn count(&mut self, target: Target, outcome: Result<Finding>) {
        let Target { chunk, node, .. } = target;
        match outcome {
            Ok(Finding::Sound(bytes)) => {
                self.progress.checked += 1;
                self.progress.bytes += bytes;
            }
            Ok(Finding::Corrupt(what)) => {
                self.progress.checked += 1;
                self.progress.corrupt += 1;
                self.find(format!("chunk {chunk} on datanode {node}: {what}"));
            }
            // Deleted or replaced since it was named: there is nothing to check any more.
            Err(error)
                if !error.is_retryable()
                    && matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::Fenced | ErrorKind::FailedPrecondition
                    ) =>
            {
                self.progress.checked += 1;
            }
            Err(error) => {
                self.progress.failed += 1;
                self.find(format!("chunk {chunk} on datanode {node}: not checked: {}", error.report()));
            }
        }
        self.progress.total = self.progress.total.max(self.progress.checked + self.progress.failed);
    }

    /// What to tell now; findings are told once.
    fn tell(&mut self, done: bool) -> v1::ScrubProgress {
        if self.dropped_findings > 0 && self.progress.findings.len() <= FINDINGS {
            self.progress.findings.push(format!("and {} more", self.dropped_findings));
            self.dropped_findings = 0;
        }
        if done {
            // All that is there was named; the rest of what was counted at first was deleted meanwhile.
            self.progress.total = self.progress.checked + self.progress.failed;
        }
        let findings = std::mem::take(&mut self.progress.findings);
        v1::ScrubProgress { findings, done, ..self.progress.clone() }
    }
}

async fn check_all(
    state: &Arc<State>,
    path: Option<&DfsPath>,
    targets: mpsc::Receiver<Target>,
    tell: &mpsc::Sender<Result<v1::ScrubProgress, Status>>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    tally.progress.total = match path {
        Some(path) => count_below(state, path).await?,
        None => count_everything(state).await?,
    };
    let mut turns: HashMap<NodeId, Arc<Semaphore>> = HashMap::new();
    let checks = ReceiverStream::new(targets)
        .map(|target| {
            let turn =
                turns.entry(target.node).or_insert_with(|| Arc::new(Semaphore::new(state.settings.checks_per_node)));
            check_one(Arc::clone(state), target, Arc::clone(turn))
        })
        .buffer_unordered(CHECKS);
    let mut checks = std::pin::pin!(checks);
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Both arms are cancel-safe: the stream keeps its checks.
        tokio::select! {
            biased;
            _ = tick.tick() => {
                // A reader that has not taken the last message gets more with the next.
                if let Ok(room) = tell.try_reserve() {
                    room.send(Ok(tally.tell(false)));
                }
            }
            checked = checks.next() => match checked {
                Some((target, outcome)) => tally.count(target, outcome),
                None => break,
            },
        }
    }
    Ok(tally)
}

async fn check_one(state: Arc<State>, target: Target, turn: Arc<Semaphore>) -> (Target, Result<Finding>) {
    if target.known_corrupt {
        return (target, Ok(Finding::Corrupt("known to be corrupt".to_owned())));
    }
    // The semaphore is never closed.
    let _turn = turn.acquire().await;
    for _ in 1..TRIES {
        match check(&state, target.node, target.chunk, target.generation).await {
            Err(error) if error.is_retryable() => tokio::time::sleep(PAUSE).await,
            outcome => return (target, outcome),
        }
    }
    let outcome = check(&state, target.node, target.chunk, target.generation).await;
    (target, outcome)
}

async fn count_everything(state: &State) -> Result<u64> {
    let nodes: Vec<NodeId> = state.view().nodes.iter().map(|node| node.id).collect();
    let mut total = 0;
    for node in nodes {
        total += state.namespace.holdings(node).await?.replicas;
    }
    Ok(total)
}

/// Names every replica, a page of each node in turn, so that all are busy.
async fn name_all(state: &State, named: &mpsc::Sender<Target>) -> Result<()> {
    let mut places: BTreeMap<NodeId, ChunkId> = state.view().nodes.iter().map(|node| (node.id, ChunkId(0))).collect();
    while !places.is_empty() {
        for (node, after) in places.clone() {
            let page = state.namespace.chunks_of(node, after, PAGE).await?;
            match page.last() {
                Some(last) if page.len() == PAGE => places.insert(node, last.chunk),
                _ => places.remove(&node),
            };
            for target in page.iter().flat_map(targets_of).filter(|target| target.node == node) {
                if named.send(target).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What a walk is for.
#[derive(Debug)]
enum Visitor<'a> {
    /// Name the replicas.
    Name(&'a mpsc::Sender<Target>),
    /// Count them.
    Count(u64),
}

impl Visitor<'_> {
    /// Takes in the chunks of a file. False when nobody wants more.
    async fn visit(&mut self, chunks: &[ChunkLocation]) -> bool {
        for target in chunks.iter().flat_map(|chunk| targets_of(&chunk.info)) {
            match self {
                Self::Count(count) => *count += 1,
                Self::Name(named) => {
                    if named.send(target).await.is_err() {
                        return false;
                    }
                }
            }
        }
        true
    }
}

async fn name_below(state: &State, path: &DfsPath, named: &mpsc::Sender<Target>) -> Result<()> {
    walk(state, path, &mut Visitor::Name(named)).await
}

async fn count_below(state: &State, path: &DfsPath) -> Result<u64> {
    let mut visitor = Visitor::Count(0);
    walk(state, path, &mut visitor).await?;
    Ok(if let Visitor::Count(count) = visitor { count } else { 0 })
}

/// The finalized replicas of a chunk.
fn targets_of(info: &ChunkInfo) -> impl Iterator<Item = Target> + '_ {
    let (chunk, generation) = (info.chunk, info.generation);
    let places = info.replicas.iter().filter(|_| !info.open);
    places.map(move |place| Target { chunk, generation, node: place.node, known_corrupt: place.corrupt })
}

/// Shows every chunk below a path to `visitor`, until that wants no more. Directories are gone through one level at a time, with one page of each in memory.
async fn walk(state: &State, path: &DfsPath, visitor: &mut Visitor<'_>) -> Result<()> {
    if state.namespace.stat(FileRef::Path(path.clone())).await?.kind == FileKind::File {
        walk_file(state, path.clone(), visitor).await?;
        return Ok(());
    }
    // Directories that are open, each with the name it has come to: as many as the path is deep.
    let mut open: Vec<(DfsPath, String)> = vec![(path.clone(), String::new())];
    while let Some((directory, after)) = open.pop() {
        let page = match state.namespace.list(directory.clone(), after, PAGE).await {
            Ok(page) => page,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let full = page.len() == PAGE;
        let mut entries = page.into_iter();
        while let Some(entry) = entries.next() {
            let child = directory.join(&entry.name)?;
            if entry.status.kind == FileKind::Directory {
                // This one first, then what follows it here.
                if full || entries.len() > 0 {
                    open.push((directory.clone(), entry.name));
                }
                open.push((child, String::new()));
                break;
            }
            let file = entry.status.kind == FileKind::File;
            if file && !walk_file(state, child, visitor).await? {
                return Ok(());
            }
            if full && entries.len() == 0 {
                open.push((directory.clone(), entry.name));
            }
        }
    }
    Ok(())
}

async fn walk_file(state: &State, path: DfsPath, visitor: &mut Visitor<'_>) -> Result<bool> {
    let mut range = LocateRange { offset: 0, length: u64::MAX, chunks: PAGE };
    loop {
        let located = match state.namespace.locate(FileRef::Path(path.clone()), range).await {
            Ok(located) => located,
            // Deleted, or replaced by a directory, since it was listed.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => return Ok(true),
            Err(error) => return Err(error),
        };
        if !visitor.visit(&located.chunks).await {
            return Ok(false);
        }
        match located.chunks.last() {
            Some(last) if located.more && last.info.length > 0 => range.offset = last.offset + last.info.length,
            _ => return Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten replicas were counted, and four of them deleted before it was their turn: a scrub that found nothing wrong must not look unfinished.
    #[test]
    fn what_is_deleted_on_the_way_is_not_missed_at_the_end() {
        let mut tally = Tally { progress: v1::ScrubProgress { total: 10, ..Default::default() }, ..Tally::default() };
        let target = Target { chunk: ChunkId(1), generation: Generation(1), node: NodeId(1), known_corrupt: false };
        for _ in 0..5 {
            tally.count(target, Ok(Finding::Sound(100)));
        }
        tally.count(target, Err(Error::new(ErrorKind::DeadlineExceeded, "no answer")));
        assert_eq!(tally.tell(false).total, 10);
        let last = tally.tell(true);
        assert_eq!((last.checked, last.failed, last.total), (5, 1, 6));
    }
}
