//! The row of one chunk, and what is written along with it: the reverse index, the sums, the owed row.

use super::codec::{Decoder, Encoder};
use super::{keys, totals};
use crate::error::Result;
use crate::id::{ChunkId, Generation, InodeId, NodeId, Version};
use crate::metadata::{Counters, Space, Stamped, Transaction};
use crate::namespace::sums;

const FORMAT: u8 = 1;

const OPEN: u8 = 1;
const COMMITTED: u8 = 2;

const CORRUPT: u8 = 1;
/// The generation and length differ from the chunk's and follow.
const DIFFERS: u8 = 2;

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct ChunkRow {
    /// The version that wrote the row.
    pub(in crate::namespace) version: Version,
    /// The file it belongs to.
    pub(in crate::namespace) inode: InodeId,
    /// How many extents name it.
    pub(in crate::namespace) references: u32,
    /// Replicas below it are stale.
    pub(in crate::namespace) generation: Generation,
    /// The highest that anyone may use. Replicas between the two are pending.
    pub(in crate::namespace) issued: Generation,
    /// Committed bytes.
    pub(in crate::namespace) length: u64,
    /// How many replicas it should have.
    pub(in crate::namespace) target: u16,
    pub(in crate::namespace) state: ChunkState,
    /// The nodes that a garbage row tells to delete something of it, in order: no copy may go there before that is done.
    pub(in crate::namespace) leaving: Vec<NodeId>,
    /// Nodes that may hold an older replica, in order, by a pipeline that went on without them, or that they have not joined yet. They keep it
    /// until enough others have the whole chunk.
    pub(in crate::namespace) left_out: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::namespace) enum ChunkState {
    /// Being written or recovered, by these nodes.
    Open(Vec<NodeId>),
    /// Finished; these nodes hold it, finalized, in order of their ids.
    Committed(Vec<ReplicaRow>),
}

/// One finalized replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::namespace) struct ReplicaRow {
    pub(in crate::namespace) node: NodeId,
    pub(in crate::namespace) generation: Generation,
    pub(in crate::namespace) length: u64,
    /// By its own node's verdict.
    pub(in crate::namespace) corrupt: bool,
}

impl ChunkRow {
    /// The replicas of a committed chunk; none of an open one.
    pub(in crate::namespace) fn replicas(&self) -> &[ReplicaRow] {
        match &self.state {
            ChunkState::Open(_) => &[],
            ChunkState::Committed(replicas) => replicas,
        }
    }

    /// The nodes that write an open chunk; none of a committed one.
    pub(in crate::namespace) fn pipeline(&self) -> &[NodeId] {
        match &self.state {
            ChunkState::Open(nodes) => nodes,
            ChunkState::Committed(_) => &[],
        }
    }

    pub(in crate::namespace) fn is_open(&self) -> bool {
        matches!(self.state, ChunkState::Open(_))
    }

    pub(in crate::namespace) fn replica(&self, node: NodeId) -> Option<&ReplicaRow> {
        self.replicas().iter().find(|replica| replica.node == node)
    }

    /// Puts a replica in its place, instead of one that the node had. Nothing in an open chunk.
    pub(in crate::namespace) fn set_replica(&mut self, replica: ReplicaRow) {
        if let ChunkState::Committed(replicas) = &mut self.state {
            match replicas.binary_search_by_key(&replica.node, |held| held.node) {
                Ok(at) => replicas[at] = replica,
                Err(at) => replicas.insert(at, replica),
            }
        }
    }

    pub(in crate::namespace) fn remove_replica(&mut self, node: NodeId) {
        if let ChunkState::Committed(replicas) = &mut self.state {
            replicas.retain(|replica| replica.node != node);
        }
    }

    /// A garbage row tells the node to delete what it has.
    pub(in crate::namespace) fn add_leaving(&mut self, node: NodeId) {
        if let Err(at) = self.leaving.binary_search(&node) {
            self.leaving.insert(at, node);
        }
    }

    /// The chunk goes on, or ends, without this node, which keeps what it has for now.
    pub(in crate::namespace) fn add_left_out(&mut self, node: NodeId) {
        if let Err(at) = self.left_out.binary_search(&node) {
            self.left_out.insert(at, node);
        }
    }

    /// Whether the node has something of the chunk, may have, or is told to delete it.
    pub(in crate::namespace) fn names(&self, node: NodeId) -> bool {
        self.pipeline().contains(&node)
            || self.replica(node).is_some()
            || self.left_out.contains(&node)
            || self.leaving.contains(&node)
    }

    /// Whether what was left out of pipelines is superfluous: the chunk is finished, and no single disk holds the whole of it alone,
    /// unless one is all that the file wants.
    pub(in crate::namespace) fn outgrew_left_out(&self) -> bool {
        !self.is_open() && self.good() >= usize::from(self.target).clamp(1, 2)
    }

    /// Replicas that are not corrupt.
    pub(in crate::namespace) fn good(&self) -> usize {
        self.replicas().iter().filter(|replica| !replica.corrupt).count()
    }

    /// Whether an owed row is due: it is committed with fewer good replicas than its target.
    pub(in crate::namespace) fn is_owed(&self) -> bool {
        !self.is_open() && self.good() < usize::from(self.target)
    }

    pub(super) fn encode(&self) -> Stamped {
        let mut row = Encoder::new();
        row.byte(if self.is_open() { OPEN } else { COMMITTED });
        row.number(self.inode.0).number(self.references).number(self.generation.0).number(self.issued.0);
        row.number(self.length).number(self.target);
        match &self.state {
            ChunkState::Open(nodes) => {
                row.count(nodes.len());
                for node in nodes {
                    row.number(node.0);
                }
            }
            ChunkState::Committed(replicas) => {
                row.count(replicas.len());
                for replica in replicas {
                    let differs = (replica.generation, replica.length) != (self.generation, self.length);
                    row.number(replica.node.0);
                    row.byte(if replica.corrupt { CORRUPT } else { 0 } | if differs { DIFFERS } else { 0 });
                    if differs {
                        row.number(replica.generation.0).number(replica.length);
                    }
                }
            }
        }
        for nodes in [&self.leaving, &self.left_out] {
            row.count(nodes.len());
            for node in nodes {
                row.number(node.0);
            }
        }
        Stamped::versioned(&[FORMAT], row.bytes())
    }

    pub(in crate::namespace) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut row = Decoder::new(bytes, FORMAT, "a chunk")?;
        let version = Version(row.fixed()?);
        let state = row.byte()?;
        let inode = InodeId(row.number()?);
        let references = row.small()?;
        let (generation, issued) = (Generation(row.number()?), Generation(row.number()?));
        let (length, target) = (row.number()?, row.small()?);
        let count = row.count()?;
        let state = match state {
            OPEN => {
                let mut nodes = Vec::with_capacity(count);
                for _ in 0..count {
                    nodes.push(NodeId(row.small()?));
                }
                ChunkState::Open(nodes)
            }
            COMMITTED => {
                let mut replicas = Vec::with_capacity(count);
                for _ in 0..count {
                    let node = NodeId(row.small()?);
                    let flags = row.byte()?;
                    if flags & !(CORRUPT | DIFFERS) != 0 {
                        return Err(row.bad("has flags that this software does not know"));
                    }
                    let (generation, length) = if flags & DIFFERS == 0 {
                        (generation, length)
                    } else {
                        (Generation(row.number()?), row.number()?)
                    };
                    replicas.push(ReplicaRow { node, generation, length, corrupt: flags & CORRUPT != 0 });
                }
                ChunkState::Committed(replicas)
            }
            _ => return Err(row.bad("is neither open nor committed")),
        };
        let (mut leaving, mut left_out) = (Vec::new(), Vec::new());
        for nodes in [&mut leaving, &mut left_out] {
            for _ in 0..row.count()? {
                nodes.push(NodeId(row.small()?));
            }
        }
        row.end()?;
        Ok(Self { version, inode, references, generation, issued, length, target, state, leaving, left_out })
    }
}

/// Turns `before` into `after`: the one place that writes chunk rows, so that reverse index, sums, owed rows and
/// totals cannot disagree with them.
pub(in crate::namespace) fn write(
    txn: &mut dyn Transaction,
    chunk: ChunkId,
    before: Option<&ChunkRow>,
    after: Option<&ChunkRow>,
) {
    let replicas = |row: Option<&ChunkRow>| row.map(|row| row.replicas().to_vec()).unwrap_or_default();
    let (had, has) = (replicas(before), replicas(after));
    let sum = |replica: &ReplicaRow| sums::of_replica(chunk, replica.generation, replica.length);
    let range = sums::range_of(chunk);
    for old in &had {
        match has.iter().find(|new| new.node == old.node) {
            Some(new) if (new.generation, new.length) == (old.generation, old.length) => {}
            Some(new) => {
                txn.add(Space::Rows, &keys::sum(old.node, range), sums::minus(sum(new), sum(old)));
            }
            None => {
                txn.delete(Space::Rows, &keys::replica(old.node, chunk));
                txn.add(Space::Rows, &keys::sum(old.node, range), sums::minus(Counters::default(), sum(old)));
            }
        }
    }
    for new in has.iter().filter(|new| !had.iter().any(|old| old.node == new.node)) {
        txn.put(Space::Rows, keys::replica(new.node, chunk).into(), Stamped::plain([]));
        txn.add(Space::Rows, &keys::sum(new.node, range), sum(new));
    }

    let mut change = totals::Totals::default();
    match (before.is_some_and(ChunkRow::is_owed), after.is_some_and(ChunkRow::is_owed)) {
        (false, true) => {
            txn.put(Space::Rows, keys::owed(chunk).into(), Stamped::plain([]));
            change.owed += 1;
        }
        (true, false) => {
            txn.delete(Space::Rows, &keys::owed(chunk));
            change.owed -= 1;
        }
        _ => {}
    }
    match after {
        Some(row) => txn.put(Space::Rows, keys::chunk(chunk).into(), row.encode()),
        None => txn.delete(Space::Rows, &keys::chunk(chunk)),
    }
    change.chunks = i64::from(after.is_some()) - i64::from(before.is_some());
    totals::add(txn, change);
}
