//! Bytes of a range of a file, from whichever replicas give them.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use godfs_core::checksum::PIECE;
use godfs_core::chunk::ReplicaState;
use godfs_core::{Error, ErrorKind, NodeId, Result};
use tokio::time::{Duration, Instant, sleep_until};

use super::local::Source;
use super::reader::Shared;
use crate::metadata::ChunkLocation;
use crate::namenode::Backoff;
use crate::transport::convert::Node;

/// The most replicas that are asked for the same bytes at once.
const RUNNERS: usize = 2;

/// Gives the bytes of a range in order. A replica that fails is left for the next one at the byte it failed at; one that is silent is raced by another.
pub(super) struct RangeReader {
    file: Arc<Shared>,
    /// All bytes, when they lie with the namenode.
    small: Option<Bytes>,
    position: u64,
    end: u64,
    source: Option<Current>,
    /// Which nodes failed, and why, since the locations were last asked for.
    failed: Vec<(NodeId, Error)>,
    /// Set while every replica has failed since the last byte that was given.
    waiting: Option<Waiting>,
    verify: bool,
    /// What no replica has, since the last error.
    lost: Option<Range<u64>>,
}

/// Waiting for a replica that can be read.
struct Waiting {
    until: Instant,
    backoff: Backoff,
}

/// A replica that is being read.
struct Current {
    chunk: ChunkLocation,
    node: Node,
    stream: Source,
}

/// The replicas that were asked for the next bytes and have not answered.
struct Race {
    runners: Vec<Runner>,
    /// When the last of them was asked.
    since: Instant,
    /// Whether the budget had nothing for another.
    spent: bool,
}

struct Runner {
    node: Node,
    /// The stream and what it gave; `None` when it ended.
    answer: BoxFuture<'static, Result<(Source, Option<Bytes>)>>,
}

impl RangeReader {
    /// The bytes `position..end`, which must lie in the file.
    pub(super) fn new(file: Arc<Shared>, position: u64, end: u64, verify: bool) -> Self {
        Self {
            small: file.small(),
            file,
            position,
            end,
            source: None,
            failed: Vec::new(),
            waiting: None,
            verify,
            lost: None,
        }
    }

    /// After an error: goes on behind what no replica has, where that is known for certain, and says what it is.
    pub(super) fn skip_lost(&mut self) -> Option<Range<u64>> {
        let lost = self.lost.take()?;
        self.position = lost.end;
        (self.source, self.waiting, self.failed) = (None, None, Vec::new());
        Some(lost)
    }

    /// The next bytes; `None` at the end of the range.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.position >= self.end {
            return Ok(None);
        }
        if let Some(small) = &self.small {
            let (from, to) = (usize::try_from(self.position), usize::try_from(self.end));
            let range = from.unwrap_or(usize::MAX).min(small.len())..to.unwrap_or(usize::MAX).min(small.len());
            self.position = self.end;
            return Ok(Some(small.slice(range)).filter(|bytes| !bytes.is_empty()));
        }
        let begun = Instant::now();
        let mut race = Race { runners: Vec::with_capacity(1), since: begun, spent: false };
        let mut chunk = match self.source.take() {
            Some(source) => race.go_on(source),
            None => self.file.locations.at(self.position).await?,
        };
        let (node, stream, bytes) = loop {
            if race.runners.is_empty() {
                chunk = self.enter_first(&mut race, chunk).await?;
            }
            let rival = self.choose(&chunk, &race.runners);
            let patience_ends = race.since + self.patience_with(&race);
            let answered = tokio::select! {
                biased;
                // Who has not answered goes on where it was.
                answered = race.answered() => answered,
                // It waits for nothing but the time.
                () = sleep_until(patience_ends), if rival.is_some() => {
                    if let Some(rival) = rival {
                        self.enter_rival(&mut race, &chunk, rival);
                    }
                    continue;
                }
            };
            let error = match answered {
                (node, Ok((stream, Some(bytes)))) => break (node, stream, bytes),
                (node, Ok((_, None))) => (node, Error::new(ErrorKind::Unavailable, "ended before the range did")),
                (node, Err(error)) => (node, error),
            };
            self.give_up(&chunk, &error.0, error.1);
        };
        self.leave_losers(&race, begun);
        self.position += bytes.len() as u64;
        (self.waiting, self.failed) = (None, Vec::new());
        match stream.is_done() {
            true => stream.finish().await,
            false => self.source = Some(Current { chunk, node, stream }),
        }
        Ok(Some(bytes))
    }

    /// Asks the best replica that has not failed at this byte yet. While all fail it goes on asking where they are: others may
    /// have been made since, and a node may be back, under another address perhaps.
    async fn enter_first(&mut self, race: &mut Race, mut chunk: ChunkLocation) -> Result<ChunkLocation> {
        loop {
            if let Some(node) = self.choose(&chunk, &[]) {
                self.ask(race, &chunk, node);
                return Ok(chunk);
            }
            self.wait(&chunk).await?;
            chunk = self.file.locations.refresh(self.position).await?;
        }
    }

    /// After how much silence another replica is asked: soon if there is a budget for it, and in any case when it lasts.
    fn patience_with(&self, race: &Race) -> Duration {
        let patience = self.file.namenode.patience();
        if race.spent || race.runners.len() >= RUNNERS { patience.silence() } else { patience.hedge_after() }
    }

    /// Has another replica asked for the bytes that those who were asked are silent about.
    fn enter_rival(&self, race: &mut Race, chunk: &ChunkLocation, rival: Node) {
        let patience = self.file.namenode.patience();
        let silent = race.since.elapsed() >= patience.silence();
        if !silent && !patience.spend() {
            race.spent = true;
            return;
        }
        tracing::debug!(chunk = %chunk.chunk, node = %rival.id, silent, "another replica is asked too");
        if race.runners.len() >= RUNNERS {
            // It was silent for the longest.
            let first = race.runners.remove(0);
            patience.avoid(first.node.id);
        }
        self.ask(race, chunk, rival);
    }

    /// Asks a replica for the bytes from the position on.
    fn ask(&self, race: &mut Race, chunk: &ChunkLocation, node: Node) {
        let (from, to) = self.range_in(chunk);
        let (namenode, chunk, asked) = (self.file.namenode.clone(), chunk.clone(), node.clone());
        let verify = self.verify;
        let answer = async move {
            let mut stream = Source::open(&namenode, &chunk, &asked, (from, to), verify).await?;
            let bytes = stream.next().await?;
            Ok((stream, bytes))
        };
        race.runners.push(Runner { node, answer: answer.boxed() });
        race.since = Instant::now();
    }

    /// Those that were overtaken are asked last for a while.
    fn leave_losers(&self, race: &Race, begun: Instant) {
        let (patience, took) = (self.file.namenode.patience(), begun.elapsed());
        patience.took(took);
        for Runner { node, .. } in &race.runners {
            match took >= patience.silence() {
                true => patience.avoid(node.id),
                false => patience.avoid_briefly(node.id),
            }
        }
    }

    /// Leaves a replica that failed.
    fn give_up(&mut self, chunk: &ChunkLocation, node: &Node, error: Error) {
        if error.kind() == ErrorKind::Corrupt {
            self.file.namenode.report_corrupt(chunk.chunk, chunk.generation, node.id, error.message());
        }
        tracing::debug!(node = %node.id, address = %node.address, %error, "replica not readable");
        self.file.namenode.patience().avoid(node.id);
        self.failed.push((node.id, error.context(format_args!("node {} at {}", node.id, node.address))));
    }

    /// Every replica has failed: pauses before they are tried again, or says that this is in vain.
    async fn wait(&mut self, chunk: &ChunkLocation) -> Result<()> {
        let namenode = self.file.namenode.clone();
        let patience = namenode.settings().call_timeout;
        // Nodes that don't have the bytes won't get them by waiting; but the locations may be old, so they are asked for once.
        let gone = |error: &Error| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound);
        let hopeless = match &self.waiting {
            None => false,
            Some(waiting) => {
                let nothing_to_wait_for =
                    chunk.unregistered.is_empty() && self.failed.iter().all(|(_, error)| gone(error));
                nothing_to_wait_for || Instant::now() >= waiting.until
            }
        };
        if hopeless {
            let all_lie = chunk.unregistered.is_empty()
                && !self.failed.is_empty()
                && self.failed.iter().all(|(_, error)| error.kind() == ErrorKind::Corrupt);
            let error = self.hopeless(chunk, all_lie);
            return Err(error);
        }
        let waiting = self
            .waiting
            .get_or_insert_with(|| Waiting { until: Instant::now() + patience, backoff: Backoff::new(namenode.env()) });
        let pause = waiting.backoff.pause();
        namenode.patience().forgive(chunk.replicas.iter().map(|replica| replica.node.id));
        self.failed.clear();
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The best replica that has neither failed at this byte nor was asked. Nearest first, but those that failed this client lately, or are not heard
    /// from, come last.
    fn choose(&self, chunk: &ChunkLocation, asked: &[Runner]) -> Option<Node> {
        let patience = self.file.namenode.patience();
        chunk
            .replicas
            .iter()
            .filter(|replica| replica.state != Some(ReplicaState::Temporary))
            .filter(|replica| !self.failed.iter().any(|(failed, _)| *failed == replica.node.id))
            .filter(|replica| !asked.iter().any(|runner| runner.node.id == replica.node.id))
            // What is known to be corrupt may have the other pieces.
            .min_by_key(|replica| (replica.state.is_none(), patience.avoids(replica.node.id), !replica.live))
            .map(|replica| replica.node.clone())
    }

    /// What of the range lies in the chunk, as bytes of the chunk.
    fn range_in(&self, chunk: &ChunkLocation) -> (u64, u64) {
        let end = self.end - chunk.offset;
        let end =
            if chunk.open { end.min(self.file.status.chunk_size.max(chunk.length)) } else { end.min(chunk.length) };
        (self.position - chunk.offset, end)
    }

    /// Why the next byte can't be read. Where all replicas were there and lied, the piece that it is in is lost.
    fn hopeless(&mut self, chunk: &ChunkLocation, all_lie: bool) -> Error {
        let mut to = chunk.offset + self.range_in(chunk).1;
        if all_lie {
            let piece = (self.position - chunk.offset) / PIECE as u64 + 1;
            to = to.min(chunk.offset + piece * PIECE as u64);
            self.lost = Some(self.position..to);
        }
        let corrupt = self.failed.iter().any(|(_, error)| error.kind() == ErrorKind::Corrupt)
            || chunk.replicas.iter().any(|replica| replica.state.is_none());
        let kind = if corrupt { ErrorKind::Corrupt } else { ErrorKind::Unavailable };
        let reasons: Vec<String> = self.failed.iter().map(|(_, error)| error.message().to_owned()).collect();
        let reasons = match (reasons.is_empty(), corrupt) {
            (true, false) if chunk.unregistered.is_empty() => "it has no replica".to_owned(),
            (true, true) if chunk.unregistered.is_empty() => "every replica is corrupt".to_owned(),
            _ => reasons.into_iter().chain(chunk.unreachable()).collect::<Vec<_>>().join("; "),
        };
        let message = format!(
            "bytes {}..{to} of {} can't be read: chunk {}: {reasons}",
            self.position, self.file.path, chunk.chunk
        );
        Error::new(kind, message)
    }
}

impl Race {
    /// The replica that is being read is asked for more.
    fn go_on(&mut self, source: Current) -> ChunkLocation {
        let Current { chunk, node, mut stream } = source;
        let answer = async move {
            let bytes = stream.next().await?;
            Ok((stream, bytes))
        };
        self.runners.push(Runner { node, answer: answer.boxed() });
        chunk
    }

    /// Waits for the first answer, and takes the one who gave it out of the race. Cancel-safe.
    async fn answered(&mut self) -> (Node, Result<(Source, Option<Bytes>)>) {
        poll_fn(|cx| {
            for at in 0..self.runners.len() {
                if let Poll::Ready(answer) = self.runners[at].answer.poll_unpin(cx) {
                    return Poll::Ready((self.runners.remove(at).node, answer));
                }
            }
            Poll::Pending
        })
        .await
    }
}
