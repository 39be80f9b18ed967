//! Every key and value of the namespace.
//!
//! A key is a table's leading byte and then its parts, big endian; a value begins with a byte that tells its format.
//! `*` is the version of the commit that wrote the row, eight bytes; other numbers of values are variable-length.
//!
//! ```text
//! store    01                    format version, cluster id, superuser
//! ids      02 series             the next number: inodes, sessions and leases; chunks; nodes
//! totals   03                    counters: chunks, owed, garbage, leases
//!
//! entries  10 parent name        inode, kind: file, directory or symbolic link
//! inodes   11 inode              * kind, parent, name, times, owner, group, mode, marks of 18, 19 and 1b,
//!                                directory: how many entries, how far those below it go; file: replication, chunk size, length, how many extents, small;
//!                                open file: lease, hidden and where it is to appear, open chunks and where the last one ends;
//!                                symbolic link: target
//! usage    12 directory          counters of all below: bytes, files, directories, bytes × replication
//! extents  13 inode start        chunk, length
//! quotas   1a directory          what it may hold: names, bytes × replication
//!          1a 0                  counter: how many have one
//! trash    1b inode              when it was deleted, when it goes for good, by whom it was deleted, where it was
//!          1c expiry inode       nothing: the same in the order of their ends
//! orphans  14 * inode            nothing: detached at that version, waits for the collector
//! xattrs   18 inode name         value
//! acls     19 inode              what the mode can't say: the group class of the access list; the default list
//!
//! chunks   20 chunk              * state, inode, references, generation, issued, length, target,
//!                                open: pipeline; committed: replicas (node, generation, length, corrupt);
//!                                leaving: nodes with garbage of it; left out: nodes that keep an older replica for now
//! replicas 21 node chunk         nothing: the reverse index
//! sums     22 node chunk/4096    counters of the node's replicas: number, bytes, 128 bits of hash
//! owed     23 chunk              nothing: committed with fewer good replicas than its target
//! garbage  24 node chunk         generation: the node shall delete its replica up to it
//!
//! sessions 30 session            * name, times, ended
//! slots    31 session slot       * sequence, operation, outcome
//! leases   32 lease              session, inode
//!          33 session lease      inode
//!
//! nodes    40 node               uuid, address, domain
//!          41 uuid               node
//!
//! Data space: inode              the bytes of a small file
//! ```
//!
//! A file that is published only when it is closed has an inode row with parent and name, but no entry until then.

pub(super) mod attributes;
pub(super) mod chunk;
pub(super) mod codec;
pub(super) mod inode;
pub(super) mod keys;
pub(super) mod session;
pub(super) mod small;
pub(super) mod totals;

pub(super) use attributes::{Marks, acl_of, find_acl, put_acl, put_xattr, remove_attributes, remove_xattr, xattrs};
pub(super) use chunk::{ChunkRow, ChunkState, ReplicaRow};
pub(super) use inode::{FileRow, Hidden, InodeKind, InodeRow, OpenState, Reach};
pub(super) use session::{LeaseRow, NO_LEASE, RECOVERY, SessionRow, SlotRow};
pub(super) use small::{EntryKind, EntryRow, ExtentRow, NodeRow, QuotaRow, StoreRow, TrashRow};
pub(super) use totals::Totals;

use crate::error::{Error, ErrorKind};
use crate::id::{ChunkId, Generation, InodeId, LeaseId, NodeId, SessionId};
use crate::metadata::{Range, Snapshot, Space, Stamped, Step, Transaction};

/// The format of all rows together. A store with another one is refused.
pub const FORMAT_VERSION: u64 = 3;

/// A series of numbers that are given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    /// Inodes, sessions and leases share one, so that a creation draws from one row.
    Names = 1,
    Chunks = 2,
    Nodes = 3,
}

impl Series {
    const fn first(self) -> u64 {
        match self {
            // 1 is the root.
            Self::Names => 2,
            Self::Chunks | Self::Nodes => 1,
        }
    }
}

/// The number that the series gives next.
pub(super) fn next_id(snapshot: &mut dyn Snapshot, series: Series) -> Step<u64> {
    let row = snapshot.get(Space::Rows, &keys::ids(series as u8))?;
    Ok(row.map_or(Ok(series.first()), |row| small::decode_number(&row))?)
}

/// Takes `count` numbers; gives back the first.
pub(super) fn draw_ids(txn: &mut dyn Transaction, series: Series, count: u64) -> Step<u64> {
    let first = next_id(txn, series)?;
    let next = first
        .checked_add(count)
        .filter(|&next| series != Series::Nodes || u32::try_from(next).is_ok())
        .ok_or_else(|| Error::new(ErrorKind::LimitExceeded, format!("no more numbers for {series:?}")))?;
    txn.put(Space::Rows, keys::ids(series as u8).into(), small::encode_number(next));
    Ok(first)
}

/// How many datanodes were ever registered.
pub(super) fn registered_nodes(snapshot: &mut dyn Snapshot) -> Step<u64> {
    Ok(next_id(snapshot, Series::Nodes)? - Series::Nodes.first())
}

pub(super) fn find_inode(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Option<InodeRow>> {
    let row = snapshot.get(Space::Rows, &keys::inode(inode))?;
    Ok(row.map(|row| InodeRow::decode(&row)).transpose()?)
}

/// The row of an inode that another row names.
pub(super) fn inode(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<InodeRow> {
    Ok(find_inode(snapshot, inode)?.ok_or_else(|| dangling(&format!("inode {inode}")))?)
}

pub(super) fn put_inode(txn: &mut dyn Transaction, inode: InodeId, row: &InodeRow) {
    txn.put(Space::Rows, keys::inode(inode).into(), row.encode());
}

pub(super) fn entry(snapshot: &mut dyn Snapshot, parent: InodeId, name: &str) -> Step<Option<EntryRow>> {
    let row = snapshot.get(Space::Rows, &keys::entry(parent, name))?;
    Ok(row.map(|row| EntryRow::decode(&row)).transpose()?)
}

pub(super) fn put_entry(txn: &mut dyn Transaction, parent: InodeId, name: &str, row: EntryRow) {
    txn.put(Space::Rows, keys::entry(parent, name).into(), row.encode());
}

/// Whether a directory has no entry.
pub(super) fn is_empty(snapshot: &mut dyn Snapshot, directory: InodeId) -> Step<bool> {
    Ok(snapshot.scan(Space::Rows, &Range::prefix(&keys::entries(directory), 1))?.is_empty())
}

pub(super) fn find_chunk(snapshot: &mut dyn Snapshot, chunk: ChunkId) -> Step<Option<ChunkRow>> {
    let row = snapshot.get(Space::Rows, &keys::chunk(chunk))?;
    Ok(row.map(|row| ChunkRow::decode(&row)).transpose()?)
}

/// The row of a chunk that another row names.
pub(super) fn chunk(snapshot: &mut dyn Snapshot, chunk: ChunkId) -> Step<ChunkRow> {
    Ok(find_chunk(snapshot, chunk)?.ok_or_else(|| dangling(&format!("chunk {chunk}")))?)
}

pub(super) fn put_extent(txn: &mut dyn Transaction, inode: InodeId, start: u64, row: ExtentRow) {
    txn.put(Space::Rows, keys::extent(inode, start).into(), row.encode());
}

/// The extents that a range of rows brings, with where they begin.
pub(super) fn extents(snapshot: &mut dyn Snapshot, range: &Range) -> Step<Vec<(u64, ExtentRow)>> {
    let mut extents = Vec::new();
    for (key, value) in snapshot.scan(Space::Rows, range)? {
        let mut key = keys::KeyReader::new(&key)?;
        let (_, start) = (key.u64()?, key.u64()?);
        extents.push((start, ExtentRow::decode(&value)?));
    }
    Ok(extents)
}

/// The last extent of a file.
pub(super) fn last_extent(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Option<(u64, ExtentRow)>> {
    Ok(extents(snapshot, &Range::prefix(&keys::extents(inode), 1).reversed())?.pop())
}

pub(super) fn garbage(snapshot: &mut dyn Snapshot, node: NodeId, chunk: ChunkId) -> Step<Option<Generation>> {
    let row = snapshot.get(Space::Rows, &keys::garbage(node, chunk))?;
    Ok(row.map(|row| small::decode_garbage(&row)).transpose()?)
}

/// Has `node` delete its replica of `chunk` up to `generation`.
pub(super) fn put_garbage(txn: &mut dyn Transaction, node: NodeId, chunk: ChunkId, generation: Generation) -> Step<()> {
    let known = garbage(txn, node, chunk)?;
    if known.is_none() {
        totals::add(txn, Totals { garbage: 1, ..Totals::default() });
    }
    let generation = known.map_or(generation, |known| known.max(generation));
    txn.put(Space::Rows, keys::garbage(node, chunk).into(), small::encode_garbage(generation));
    Ok(())
}

pub(super) fn remove_garbage(txn: &mut dyn Transaction, node: NodeId, chunk: ChunkId) -> Step<()> {
    if garbage(txn, node, chunk)?.is_some() {
        totals::add(txn, Totals { garbage: -1, ..Totals::default() });
        txn.delete(Space::Rows, &keys::garbage(node, chunk));
    }
    Ok(())
}

pub(super) fn find_session(snapshot: &mut dyn Snapshot, session: SessionId) -> Step<Option<SessionRow>> {
    let row = snapshot.get(Space::Rows, &keys::session(session))?;
    Ok(row.map(|row| SessionRow::decode(&row)).transpose()?)
}

pub(super) fn find_lease(snapshot: &mut dyn Snapshot, lease: LeaseId) -> Step<Option<LeaseRow>> {
    let row = snapshot.get(Space::Rows, &keys::lease(lease))?;
    Ok(row.map(|row| LeaseRow::decode(&row)).transpose()?)
}

/// Gives `session` the right to write `inode`.
pub(super) fn put_lease(txn: &mut dyn Transaction, lease: LeaseId, row: LeaseRow) {
    txn.put(Space::Rows, keys::lease(lease).into(), row.encode());
    txn.put(Space::Rows, keys::session_lease(row.session, lease).into(), session::encode_leased(row.inode));
    totals::add(txn, Totals { leases: 1, ..Totals::default() });
}

/// Takes that right away.
pub(super) fn remove_lease(txn: &mut dyn Transaction, lease: LeaseId) -> Step<()> {
    if let Some(row) = find_lease(txn, lease)? {
        txn.delete(Space::Rows, &keys::lease(lease));
        txn.delete(Space::Rows, &keys::session_lease(row.session, lease));
        totals::add(txn, Totals { leases: -1, ..Totals::default() });
    }
    Ok(())
}

pub(super) fn find_trash(snapshot: &mut dyn Snapshot, inode: InodeId) -> Step<Option<TrashRow>> {
    let row = snapshot.get(Space::Rows, &keys::trash(inode))?;
    Ok(row.map(|row| TrashRow::decode(&row)).transpose()?)
}

pub(super) fn find_node(snapshot: &mut dyn Snapshot, node: NodeId) -> Step<Option<NodeRow>> {
    let row = snapshot.get(Space::Rows, &keys::node(node))?;
    Ok(row.map(|row| NodeRow::decode(&row)).transpose()?)
}

pub(super) fn put_data(txn: &mut dyn Transaction, inode: InodeId, data: &[u8]) {
    txn.put(Space::Data, keys::data(inode).into(), Stamped::plain(data));
}

fn dangling(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("metadata: a row names {what}, which has no row"))
}

#[cfg(test)]
mod tests;
