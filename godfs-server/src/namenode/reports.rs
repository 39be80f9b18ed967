//! What a datanode says of its replicas, recorded in the order in which it was said.
//!
//! Events are acknowledged once they are committed. A full report comes as sums over ranges of chunk ids; the ranges that differ from the rows are
//! asked for, a few at a time, and a range that was listed is taken in whole: missing rows are added, rows without a replica go, stale
//! replicas become garbage, and those that no row names are counted and left alone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use godfs_client::transport::{convert, status};
use godfs_core::chunk::Replica;
use godfs_core::metadata::Counters;
use godfs_core::namespace::sums::range_of;
use godfs_core::namespace::{RangeSum, ReplicaEvent, Verdict};
use godfs_core::{ChunkId, Error, ErrorKind, NodeId, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use v1::datanode_message::Message as Up;
use v1::namenode_message::Message as DownMessage;

use super::datanodes::down_message;
use super::links::Link;
use super::state::State;

/// Ranges that a datanode is asked to list at once: each is up to 4,096 replicas, some 100 KiB of message.
const RANGES_AT_ONCE: usize = 8;

/// How often one range is asked for again because something happened in it meanwhile, in one report. Then it is left to the next one.
const ASKS: u32 = 16;

/// The most entries of one message: what fits into a message of the size that is accepted, and bounds what checking it takes.
const MAX_ENTRIES: usize = 100_000;

/// Replicas that nodes hold and no row names, by their last reports. They are never deleted for that.
#[derive(Debug, Default)]
pub(super) struct Quarantine(Mutex<HashMap<NodeId, BTreeMap<u64, u64>>>);

impl Quarantine {
    /// How many a node has.
    pub(super) fn count(&self, node: NodeId) -> u64 {
        self.0.lock().get(&node).map_or(0, |ranges| ranges.values().sum())
    }

    /// A new report of a node begins.
    fn forget(&self, node: NodeId) {
        self.0.lock().remove(&node);
    }

    fn set(&self, node: NodeId, range: u64, count: u64) {
        if count > 0 {
            self.0.lock().entry(node).or_default().insert(range, count);
        }
    }
}

/// Records all that comes in over a link, until the link ends and what had come in is done.
pub(super) async fn record_all(state: &Arc<State>, link: &Arc<Link>, mut waiting: mpsc::Receiver<Up>) {
    let mut recorder = Recorder { state, link, report: Report::default() };
    while let Some(message) = waiting.recv().await {
        if let Err(error) = recorder.record(message).await {
            tracing::warn!(node = %link.node, error = error.report(), "report of a datanode not recorded");
            // It connects anew, sends again what was not acknowledged, and reports from the start.
            link.close();
            return;
        }
    }
}

/// A full report under way.
#[derive(Debug, Default)]
struct Report {
    /// It has begun.
    begun: bool,
    /// The last range whose sum was compared.
    after: Option<u64>,
    /// All sums have come.
    all_compared: bool,
    /// Differing ranges that were not asked for yet, and how often they were.
    to_ask: VecDeque<(u64, u32)>,
    /// Ranges that were asked for.
    asked: HashMap<u64, Asked>,
}

/// A range that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    times: u32,
    /// Something was reported in it since: the listing may be older than that, and is not to be taken in.
    stirred: bool,
}

struct Recorder<'a> {
    state: &'a Arc<State>,
    link: &'a Arc<Link>,
    report: Report,
}

impl Recorder<'_> {
    async fn record(&mut self, message: Up) -> Result<()> {
        match message {
            Up::Events(events) => self.events(events).await,
            Up::Sums(sums) => self.sums(sums).await,
            Up::Range(range) => self.range(range).await,
            Up::Result(result) => {
                let outcome = match result.error {
                    Some(error) => Err(status::from_detail(&error)),
                    None => Ok(result.replica),
                };
                self.link.resolve(result.id, outcome);
                Ok(())
            }
            Up::Register(_) | Up::Heartbeat(_) => Ok(()),
        }
    }

    async fn events(&mut self, message: v1::ReplicaEvents) -> Result<()> {
        check_length(message.events.len())?;
        let events = message.events.iter().map(event).collect::<Result<Vec<_>>>()?;
        let chunks: Vec<ChunkId> = events.iter().map(chunk_of).collect();
        for &chunk in &chunks {
            self.stir(range_of(chunk));
        }
        let verdicts = self.state.namespace.replica_events(self.link.node, events).await?;
        self.pass_on(&chunks, &verdicts);
        let ack = v1::EventsAck { sequence: message.sequence };
        self.link.send(down_message(DownMessage::Events(ack))).await
    }

    async fn sums(&mut self, message: v1::ReportSums) -> Result<()> {
        check_length(message.sums.len())?;
        if !self.report.begun || self.report.all_compared {
            self.report = Report { begun: true, ..Report::default() };
            self.state.quarantine.forget(self.link.node);
            let (node, stream) = (self.link.node, self.link.stream);
            self.state.change_nodes(|nodes, now| nodes.report_begun(now, node, stream))?;
        }
        let sums = message.sums.iter().map(range_sum).collect::<Result<Vec<_>>>()?;
        let last = sums.last().map(|sum| sum.range);
        let node = self.link.node;
        if last.is_some() || !message.more {
            let after = self.report.after;
            let differing = self.state.namespace.differing_ranges(node, after, sums, !message.more).await?;
            self.report.to_ask.extend(differing.into_iter().map(|range| (range, 0)));
        }
        self.report.after = last.or(self.report.after);
        self.report.all_compared = !message.more;
        self.go_on().await
    }

    async fn range(&mut self, message: v1::ReportRange) -> Result<()> {
        let Some(asked) = self.report.asked.remove(&message.range) else {
            // A listing that nobody asked for has no known place among the events.
            return Ok(());
        };
        check_length(message.replicas.len())?;
        if asked.stirred {
            if asked.times < ASKS {
                self.report.to_ask.push_back((message.range, asked.times));
            }
            return self.go_on().await;
        }
        let mut replicas = message.replicas.iter().map(convert::replica).collect::<Result<Vec<Replica>>>()?;
        replicas.sort_unstable_by_key(|replica| replica.chunk);
        let mut chunks: Vec<ChunkId> = replicas.iter().map(|replica| replica.chunk).collect();
        let node = self.link.node;
        let (mut verdicts, gone) = self.state.namespace.range_listing(node, message.range, replicas).await?;
        let unknown = verdicts.iter().filter(|&&verdict| verdict == Verdict::Unknown).count();
        self.state.quarantine.set(node, message.range, unknown as u64);
        if !gone.is_empty() {
            tracing::warn!(%node, replicas = gone.len(), "a datanode does not hold what rows say it does");
        }
        verdicts.extend(gone.iter().map(|_| Verdict::Removed));
        chunks.extend(gone);
        self.pass_on(&chunks, &verdicts);
        self.go_on().await
    }

    /// Asks for the next ranges that differ; at the end the report is complete.
    async fn go_on(&mut self) -> Result<()> {
        let mut ranges = Vec::new();
        while self.report.asked.len() < RANGES_AT_ONCE {
            let Some((range, times)) = self.report.to_ask.pop_front() else { break };
            self.report.asked.insert(range, Asked { times: times + 1, stirred: false });
            ranges.push(range);
        }
        if !ranges.is_empty() {
            return self.link.send(down_message(DownMessage::Wanted(v1::ReportWanted { ranges }))).await;
        }
        if self.report.all_compared && self.report.asked.is_empty() {
            let (node, stream) = (self.link.node, self.link.stream);
            self.state.change_nodes(|nodes, now| nodes.report_complete(now, node, stream))?;
        }
        Ok(())
    }

    /// Notes that something happened in a range.
    fn stir(&mut self, range: u64) {
        if let Some(asked) = self.report.asked.get_mut(&range) {
            asked.stirred = true;
        }
    }

    /// Shows the repair queue what changed, and has new garbage deleted.
    fn pass_on(&self, chunks: &[ChunkId], verdicts: &[Verdict]) {
        let changed = |verdict: &Verdict| {
            matches!(verdict, Verdict::Added | Verdict::Removed | Verdict::Corrupt | Verdict::Stale)
        };
        let all = chunks.iter().zip(verdicts);
        self.state.repair.touched(all.filter(|(_, verdict)| changed(verdict)).map(|(chunk, _)| *chunk));
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Added | Verdict::Stale | Verdict::Garbage)) {
            // An addition may have made corrupt replicas elsewhere superfluous.
            self.state.links.look_for_garbage();
        }
    }
}

fn event(wire: &v1::ReplicaEvent) -> Result<ReplicaEvent> {
    let replica = convert::required_replica(wire.replica.as_ref())?;
    let (chunk, generation) = (replica.chunk, replica.generation);
    match v1::replica_event::Kind::try_from(wire.kind) {
        Ok(v1::replica_event::Kind::Finalized) => Ok(ReplicaEvent::Finalized(replica)),
        Ok(v1::replica_event::Kind::Deleted) => Ok(ReplicaEvent::Deleted { chunk, generation }),
        Ok(v1::replica_event::Kind::Corrupt) => {
            tracing::warn!(%chunk, %generation, evidence = wire.evidence, "a datanode found its replica corrupt");
            Ok(ReplicaEvent::Corrupt { chunk, generation })
        }
        Ok(v1::replica_event::Kind::Unspecified) | Err(_) => Err(invalid(format!("event: kind {} is none", wire.kind))),
    }
}

fn chunk_of(event: &ReplicaEvent) -> ChunkId {
    match event {
        ReplicaEvent::Deleted { chunk, .. } | ReplicaEvent::Corrupt { chunk, .. } => *chunk,
        ReplicaEvent::Finalized(replica) => replica.chunk,
        // No other is made here.
        _ => ChunkId(0),
    }
}

fn range_sum(wire: &v1::RangeSum) -> Result<RangeSum> {
    let lanes = <[i64; 4]>::try_from(wire.lanes.as_slice())
        .map_err(|_| invalid(format!("the sum of range {} has {} lanes, not 4", wire.range, wire.lanes.len())))?;
    Ok(RangeSum { range: wire.range, sum: Counters(lanes) })
}

fn check_length(entries: usize) -> Result<()> {
    if entries > MAX_ENTRIES {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("a message with {entries} entries, the limit is {MAX_ENTRIES}"),
        ));
    }
    Ok(())
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}
