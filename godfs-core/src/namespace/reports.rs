//! What datanodes report: events as they happen, and sums by which everything else is compared.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::answers::{NodeHoldings, Verdict};
use super::locations;
use super::rows::{self, keys};
use super::sums::RANGE_CHUNKS;
use crate::chunk::{Replica, ReplicaState};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation, NodeId};
use crate::metadata::{Counters, Range, Snapshot, Space, Step, Transaction};

/// How many events one transaction takes in, and how many chunk ids of a range are compared in one.
pub(super) const EVENTS_A_STEP: usize = 1_024;

/// Something that happened to a replica on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaEvent {
    /// It is whole: by a pipeline, a copy or a recovery.
    Finalized(Replica),
    /// It is gone, with all of its generation and older.
    Deleted {
        /// The chunk.
        chunk: ChunkId,
        /// The generation it had.
        generation: Generation,
    },
    /// The node read it again and found that it does not agree with its checksums.
    Corrupt {
        /// The chunk.
        chunk: ChunkId,
        /// The generation it has.
        generation: Generation,
    },
}

/// The sum of a node's replicas in one range of chunk ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeSum {
    /// The first chunk id, divided by [`RANGE_CHUNKS`].
    pub range: u64,
    /// The sum of [`of_replica`](super::sums::of_replica) over the finalized replicas.
    pub sum: Counters,
}

pub(super) fn event(txn: &mut dyn Transaction, node: NodeId, event: &ReplicaEvent) -> Step<Verdict> {
    match event {
        ReplicaEvent::Finalized(replica) => locations::observe(txn, node, replica),
        ReplicaEvent::Deleted { chunk, generation } => locations::deleted(txn, node, *chunk, *generation),
        ReplicaEvent::Corrupt { chunk, generation } => locations::mark_corrupt(txn, node, *chunk, *generation),
    }
}

/// Compares a stretch of a node's sums with the rows: all ranges above `after` up to the last in `sums`, or to the end if
/// `last`. Gives back those that differ.
pub(super) fn differing(
    snapshot: &mut dyn Snapshot,
    node: NodeId,
    after: Option<u64>,
    sums: &[RangeSum],
    last: bool,
) -> Step<Vec<u64>> {
    check_order(after, sums)?;
    let upto = match sums.last() {
        _ if last => u64::MAX,
        Some(sum) => sum.range,
        None => return Ok(Vec::new()),
    };
    let mut ours = stretch(snapshot, node, after, upto)?.into_iter().peekable();
    let mut differing = Vec::new();
    for theirs in sums {
        while let Some(missing) = ours.next_if(|own| own.range < theirs.range) {
            differing.push(missing.range);
        }
        let own = ours.next_if(|own| own.range == theirs.range).map_or(Counters::default(), |own| own.sum);
        if own != theirs.sum {
            differing.push(theirs.range);
        }
    }
    differing.extend(ours.map(|own| own.range));
    Ok(differing)
}

/// Takes in all finalized replicas of a node with chunk ids in `chunks`: rows that name others there go. Gives back a verdict for each
/// replica, and the chunks whose replica is gone.
pub(super) fn listed(
    txn: &mut dyn Transaction,
    node: NodeId,
    chunks: std::ops::Range<u64>,
    replicas: &[Replica],
) -> Step<(Vec<Verdict>, Vec<ChunkId>)> {
    let reported: BTreeSet<ChunkId> = replicas.iter().map(|replica| replica.chunk).collect();
    let range = Range {
        start: Bound::Included(keys::replica(node, ChunkId(chunks.start)).into()),
        end: Bound::Excluded(keys::replica(node, ChunkId(chunks.end)).into()),
        reverse: false,
        limit: RANGE_CHUNKS as usize,
    };
    let mut gone = Vec::new();
    for chunk in locations::replica_keys(txn, &range)? {
        if !reported.contains(&chunk) {
            let before = rows::chunk(txn, chunk)?;
            locations::lost(txn, node, chunk, &before)?;
            gone.push(chunk);
        }
    }
    let verdicts = replicas.iter().map(|replica| locations::observe(txn, node, replica)).collect::<Step<_>>()?;
    Ok((verdicts, gone))
}

/// A listing as it came from a node.
pub(super) fn check_listing(range: u64, replicas: &[Replica]) -> Result<()> {
    let refuse = |why: String| Err(Error::new(ErrorKind::InvalidArgument, format!("report of range {range}: {why}")));
    if range > u64::MAX / RANGE_CHUNKS - 1 {
        return refuse("there is no such range".into());
    }
    for (at, replica) in replicas.iter().enumerate() {
        let chunk = replica.chunk;
        if super::sums::range_of(chunk) != range {
            return refuse(format!("chunk {chunk} does not belong to it"));
        }
        if replica.state != ReplicaState::Finalized {
            return refuse(format!("the replica of chunk {chunk} is not finalized"));
        }
        if at > 0 && replicas[at - 1].chunk >= chunk {
            return refuse(format!("chunk {chunk} is out of order"));
        }
    }
    Ok(())
}

/// How much rows say a node holds.
pub(super) fn holdings(snapshot: &mut dyn Snapshot, node: NodeId) -> Step<NodeHoldings> {
    let sum =
        stretch(snapshot, node, None, u64::MAX)?.into_iter().fold(Counters::default(), |sum, own| sum.plus(own.sum));
    let lane = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(NodeHoldings { replicas: lane(sum.0[0]), bytes: lane(sum.0[1]) })
}

/// The sums above `after` up to `upto` that are not zero.
fn stretch(snapshot: &mut dyn Snapshot, node: NodeId, after: Option<u64>, upto: u64) -> Step<Vec<RangeSum>> {
    let prefix = keys::sums(node);
    let mut range = Range::prefix(&prefix, super::MAX_PAGE);
    if let Some(after) = after {
        range.start = Bound::Excluded(keys::sum(node, after).into());
    }
    range.end = Bound::Included(keys::sum(node, upto).into());
    let mut sums = Vec::new();
    loop {
        let rows = snapshot.scan(Space::Rows, &range)?;
        for (key, value) in &rows {
            let mut key = keys::KeyReader::new(key)?;
            key.u32()?;
            let sum = Counters::decode(value)?;
            if !sum.is_zero() {
                sums.push(RangeSum { range: key.u64()?, sum });
            }
        }
        match rows.last() {
            Some((key, _)) if rows.len() == range.limit => range.start = Bound::Excluded(key.clone()),
            _ => return Ok(sums),
        }
    }
}

fn check_order(after: Option<u64>, sums: &[RangeSum]) -> Result<()> {
    let mut last = after;
    for sum in sums {
        if last.is_some_and(|last| last >= sum.range) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("report: the sum of range {} is out of order", sum.range),
            ));
        }
        last = Some(sum.range);
    }
    Ok(())
}
