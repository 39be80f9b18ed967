//! What always holds between the rows, each a function of its own. For tests, simulations and the offline check.
//!
//! Every function reads its table from one end to the other in pages and looks up what it names, so that what they keep in memory is small
//! against the store, except for counts by chunk and by (node, range).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use bytes::Bytes;

use super::acl::AclRow;
use super::rows::keys::{self, KeyReader, Table};
use super::rows::small::{decode_garbage, decode_number};
use super::rows::{
    self, ChunkRow, EntryRow, ExtentRow, InodeKind, InodeRow, LeaseRow, NO_LEASE, NodeRow, QuotaRow, RECOVERY, Series,
    SessionRow, SlotRow, StoreRow,
};
use super::{paths, quotas, reach, sums, trash, usage};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, InodeId, LeaseId, NodeId, NodeUuid, SessionId, Version};
use crate::metadata::{Abort, Counters, Range, Snapshot, Space, Step};

/// Rows a scan.
const PAGE: usize = 1_000;
/// More findings of one function are counted by nobody: the store is broken.
const MAX_FINDINGS: usize = 100;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The function that found it.
    pub invariant: &'static str,
    /// What it found.
    pub finding: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.finding)
    }
}

type Check = fn(&mut dyn Snapshot, &mut Findings) -> Step<()>;

/// Every invariant with its name.
const ALL: [(&str, Check); 24] = [
    ("the_store_is_initialised", the_store_is_initialised),
    ("entries_lead_to_inodes_that_point_back", entries_lead_to_inodes_that_point_back),
    ("every_inode_is_reached", every_inode_is_reached),
    ("orphans_are_detached", orphans_are_detached),
    ("no_directory_is_its_own_ancestor", no_directory_is_its_own_ancestor),
    ("directories_reach_as_far_as_those_below", directories_reach_as_far_as_those_below),
    ("usage_is_the_sum", usage_is_the_sum),
    ("entries_are_counted", entries_are_counted),
    ("quotas_belong_to_directories", quotas_belong_to_directories),
    ("trash_rows_belong_to_items", trash_rows_belong_to_items),
    ("extents_cover_their_file", extents_cover_their_file),
    ("small_files_have_their_bytes", small_files_have_their_bytes),
    ("attributes_are_where_inodes_say", attributes_are_where_inodes_say),
    ("no_chunk_is_leaked", no_chunk_is_leaked),
    ("generations_are_in_order", generations_are_in_order),
    ("locations_agree_with_the_reverse_index", locations_agree_with_the_reverse_index),
    ("sums_are_exact", sums_are_exact),
    ("owed_rows_are_where_due", owed_rows_are_where_due),
    ("garbage_is_not_counted_on", garbage_is_not_counted_on),
    ("left_out_is_kept_while_needed", left_out_is_kept_while_needed),
    ("leases_belong_to_open_files", leases_belong_to_open_files),
    ("slots_belong_to_sessions", slots_belong_to_sessions),
    ("ids_are_below_the_next", ids_are_below_the_next),
    ("totals_are_exact", totals_are_exact),
];

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Runs every function.
pub(super) fn check_all(snapshot: &mut dyn Snapshot) -> Step<Vec<Violation>> {
    let mut violations = Vec::new();
    for name in names() {
        violations.append(&mut check_one(snapshot, name)?);
    }
    Ok(violations)
}

/// Runs one function. A row that cannot be read is a finding too.
pub(super) fn check_one(snapshot: &mut dyn Snapshot, name: &str) -> Step<Vec<Violation>> {
    let Some((invariant, check)) = ALL.into_iter().find(|(known, _)| *known == name) else {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{name:?} is no invariant")).into());
    };
    let mut findings = Findings(Vec::new());
    match check(snapshot, &mut findings) {
        Ok(()) => {}
        Err(Abort::Failed(error)) => findings.add(|| error.to_string()),
        Err(Abort::Missing) => return Err(Abort::Missing),
    }
    Ok(findings.0.into_iter().map(|finding| Violation { invariant, finding }).collect())
}

struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, what: impl FnOnce() -> String) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(what());
        }
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.add(what);
        }
    }
}

fn the_store_is_initialised(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    match snapshot.get(Space::Rows, &keys::store())? {
        Some(row) => {
            let row = StoreRow::decode(&row)?;
            findings.check(row.format == rows::FORMAT_VERSION, || format!("the format is {}", row.format));
        }
        None => findings.add(|| "there is no format".into()),
    }
    match rows::find_inode(snapshot, InodeId::ROOT)? {
        Some(root) => findings.check(matches!(root.kind, InodeKind::Directory { .. }) && root.parent.0 == 0, || {
            "the root is no directory, or has a parent".into()
        }),
        None => findings.add(|| "there is no root".into()),
    }
    Ok(())
}

fn entries_lead_to_inodes_that_point_back(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each(snapshot, Space::Rows, Table::Entries, &mut |snapshot, key, value| {
        let (parent, name) = entry_key(key)?;
        let entry = EntryRow::decode(value)?;
        let Some(row) = rows::find_inode(snapshot, entry.inode)? else {
            findings.add(|| format!("entry {parent}/{name:?} leads to inode {}, which has no row", entry.inode));
            return Ok(());
        };
        findings.check((row.parent, row.name.as_str()) == (parent, name), || {
            format!("entry {parent}/{name:?} leads to inode {}, which is {}/{:?}", entry.inode, row.parent, row.name)
        });
        findings.check(entry.kind == row.entry_kind() && !row.is_hidden(), || {
            format!("entry {parent}/{name:?} and inode {} are of different kinds", entry.inode)
        });
        if !matches!(rows::find_inode(snapshot, parent)?, Some(InodeRow { kind: InodeKind::Directory { .. }, .. })) {
            findings.add(|| format!("entry {parent}/{name:?} stands in no directory"));
        }
        Ok(())
    })
}

fn every_inode_is_reached(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    let orphans: BTreeSet<InodeId> = orphans(snapshot)?.into_iter().map(|(_, inode)| inode).collect();
    each_inode(snapshot, &mut |snapshot, inode, row| {
        let reached = if inode == InodeId::ROOT {
            true
        } else if row.parent.0 == 0 {
            orphans.contains(&inode)
        } else if row.is_hidden() {
            row.file().and_then(|file| file.open.as_ref()).is_some_and(|open| open.lease != NO_LEASE)
        } else {
            rows::entry(snapshot, row.parent, &row.name)?.is_some_and(|entry| entry.inode == inode)
        };
        findings.check(reached, || format!("nothing leads to inode {inode}"));
        Ok(())
    })
}

fn orphans_are_detached(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    for (_, inode) in orphans(snapshot)? {
        match rows::find_inode(snapshot, inode)? {
            Some(row) => findings.check(row.parent.0 == 0 && inode != InodeId::ROOT, || {
                format!("orphan {inode} has the parent {}", row.parent)
            }),
            None => findings.add(|| format!("orphan {inode} has no row")),
        }
    }
    Ok(())
}

/// Directories are looked at in the order of their numbers, so one with a lower number was looked at before: the way up ends there.
fn no_directory_is_its_own_ancestor(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each_inode(snapshot, &mut |snapshot, inode, row| {
        let mut seen = BTreeSet::from([inode]);
        let mut at = row.parent;
        // Hidden files may outlive the directory that they were to appear in.
        let mut below = !row.is_hidden();
        while at.0 != 0 && below {
            if !seen.insert(at) {
                findings.add(|| format!("inode {inode} hangs on the cycle at {at}"));
                break;
            }
            let Some(above) = rows::find_inode(snapshot, at)? else {
                findings.add(|| format!("inode {inode} hangs on {at}, which has no row"));
                break;
            };
            below = at >= inode;
            at = above.parent;
        }
        Ok(())
    })
}

/// A directory goes at least one name further than each in it. Also in trees that were cut off, but for where the collector takes them apart.
fn directories_reach_as_far_as_those_below(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each_inode(snapshot, &mut |snapshot, inode, row| {
        if let Some(reach) = reach::of(row).filter(|_| row.parent.0 != 0)
            && let Some(above) = rows::find_inode(snapshot, row.parent)?
            && let Some(further) = reach::of(&above)
        {
            let needed = reach.with(&row.name);
            findings.check(further.covers(needed), || {
                format!(
                    "directory {} goes as far as {further:?}, directory {inode} in it as far as {needed:?}",
                    row.parent
                )
            });
        }
        Ok(())
    })
}

/// A directory's usage is that of its entries: their weight, and the usage of those that are directories.
fn usage_is_the_sum(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    let mut sums: BTreeMap<InodeId, Counters> = BTreeMap::new();
    each(snapshot, Space::Rows, Table::Entries, &mut |snapshot, key, value| {
        let (parent, _) = entry_key(key)?;
        let inode = EntryRow::decode(value)?.inode;
        if let Some(row) = rows::find_inode(snapshot, inode)? {
            let sum = sums.entry(parent).or_default();
            *sum = sum.plus(usage::tree(snapshot, inode, &row)?);
        }
        Ok(())
    })?;
    each_inode(snapshot, &mut |snapshot, inode, row| {
        // Trees that were cut off are walked by the collector and counted by nobody.
        if matches!(row.kind, InodeKind::Directory { .. }) && paths::chain(snapshot, inode)?.is_some() {
            let (sum, stored) = (sums.get(&inode).copied().unwrap_or_default(), usage::of_directory(snapshot, inode)?);
            findings
                .check(sum == stored, || format!("directory {inode} has the usage {stored:?}, its entries {sum:?}"));
        }
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::Usage, &mut |snapshot, key, value| {
        let inode = InodeId(KeyReader::new(key)?.u64()?);
        let used = !Counters::decode(value)?.is_zero();
        if used && rows::find_inode(snapshot, inode)?.is_none() {
            findings.add(|| format!("usage of directory {inode}, which has no row"));
        }
        Ok(())
    })
}

/// A directory says how many entries it has. Trees that were cut off are the collector's.
fn entries_are_counted(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    let mut counts: BTreeMap<InodeId, u64> = BTreeMap::new();
    each(snapshot, Space::Rows, Table::Entries, &mut |_, key, _| {
        *counts.entry(entry_key(key)?.0).or_default() += 1;
        Ok(())
    })?;
    each_inode(snapshot, &mut |snapshot, inode, row| {
        let InodeKind::Directory { entries, .. } = row.kind else { return Ok(()) };
        let counted = counts.get(&inode).copied().unwrap_or(0);
        if counted != entries && paths::chain(snapshot, inode)?.is_some() {
            findings.add(|| format!("directory {inode} has {counted} entries, and says {entries}"));
        }
        Ok(())
    })
}

fn quotas_belong_to_directories(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    let mut found = 0;
    each(snapshot, Space::Rows, Table::Quotas, &mut |snapshot, key, value| {
        let inode = InodeId(KeyReader::new(key)?.u64()?);
        if inode.0 == 0 {
            return Ok(());
        }
        QuotaRow::decode(value)?;
        found += 1;
        let directory =
            matches!(rows::find_inode(snapshot, inode)?, Some(InodeRow { kind: InodeKind::Directory { .. }, .. }));
        findings.check(directory, || format!("a quota of inode {inode}, which is no directory"));
        Ok(())
    })?;
    let counted = quotas::count(snapshot)?;
    findings.check(counted == found, || format!("there are {found} quotas, counted {counted}"));
    Ok(())
}

/// Each name two below the trash is an item with its rows, and nothing else has such rows; but for what a deleted directory of the trash holds, which the
/// collector will take.
fn trash_rows_belong_to_items(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    let top = rows::entry(snapshot, InodeId::ROOT, trash::TRASH)?.map(|entry| entry.inode);
    each_inode(snapshot, &mut |snapshot, inode, row| {
        let item = match rows::find_inode(snapshot, row.parent)? {
            Some(above) if row.parent.0 != 0 => top.is_some_and(|top| above.parent == top),
            _ => false,
        };
        let detached = row.parent.0 == 0 || paths::chain(snapshot, row.parent)?.is_none();
        findings.check(item == row.marks.trashed || detached, || {
            format!("inode {inode} lies in the trash: {item}, and says {}", row.marks.trashed)
        });
        let Some(trash) = rows::find_trash(snapshot, inode)? else {
            findings.check(!row.marks.trashed, || {
                format!("inode {inode} says that it is in the trash, which has no row of it")
            });
            return Ok(());
        };
        findings.check(row.marks.trashed, || format!("inode {inode} does not say that the trash has a row of it"));
        let listed = snapshot.get(Space::Rows, &keys::trash_expiry(trash.expires_ms, inode))?.is_some();
        findings.check(listed, || format!("inode {inode} in the trash would never expire"));
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::Trash, &mut |snapshot, key, _| {
        let inode = InodeId(KeyReader::new(key)?.u64()?);
        let known = rows::find_inode(snapshot, inode)?.is_some();
        findings.check(known, || format!("the trash has a row of inode {inode}, which has none itself"));
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::TrashExpiry, &mut |snapshot, key, _| {
        let mut key = KeyReader::new(key)?;
        let (expires_ms, inode) = (key.u64()?, InodeId(key.u64()?));
        let known = rows::find_trash(snapshot, inode)?.is_some_and(|row| row.expires_ms == expires_ms);
        findings.check(known, || format!("inode {inode} is to expire at {expires_ms}, which the trash does not know"));
        Ok(())
    })
}

fn extents_cover_their_file(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each(snapshot, Space::Rows, Table::Extents, &mut |snapshot, key, _| {
        let inode = InodeId(KeyReader::new(key)?.u64()?);
        let fine = matches!(
            rows::find_inode(snapshot, inode)?,
            Some(InodeRow { kind: InodeKind::File(ref file), .. }) if file.has_chunks()
        );
        findings.check(fine, || format!("extents of inode {inode}, which has no chunks"));
        Ok(())
    })?;
    each_inode(snapshot, &mut |snapshot, inode, row| {
        let Some(file) = row.file().filter(|_| row.parent.0 != 0) else {
            return Ok(());
        };
        if paths::chain(snapshot, row.parent)?.is_none() {
            return Ok(());
        }
        let open = file.open.as_ref().map(|open| open.chunks.clone()).unwrap_or_default();
        let mut found_open = Vec::new();
        let mut end = 0;
        let mut committed_end = None;
        let mut found = 0;
        each_key(snapshot, Space::Rows, &keys::extents(inode), &mut |snapshot, key, value| {
            let mut key = KeyReader::new(key)?;
            let (_, start) = (key.u64()?, key.u64()?);
            let extent = ExtentRow::decode(value)?;
            found += 1;
            findings.check(start == end, || format!("inode {inode}: an extent begins at {start}, not at {end}"));
            let chunk = rows::chunk(snapshot, extent.chunk)?;
            findings.check((chunk.inode, chunk.length) == (inode, extent.length), || {
                format!("inode {inode} at {start}: extent and chunk {} disagree", extent.chunk)
            });
            findings.check(chunk.length <= file.chunk_size, || format!("chunk {} is too long", extent.chunk));
            if chunk.is_open() {
                found_open.push((start, extent.chunk));
                committed_end = committed_end.or(Some(start + extent.length));
                end = start + file.chunk_size;
            } else {
                end = start + extent.length;
            }
            Ok(())
        })?;
        findings.check(found_open == open, || format!("inode {inode}: open are {found_open:?}, it says {open:?}"));
        findings.check(found == file.chunks, || format!("inode {inode} has {found} extents, and says {}", file.chunks));
        let length = committed_end.unwrap_or(end);
        findings.check(file.small || file.length == length, || {
            format!("inode {inode} has {} bytes, its extents {length}", file.length)
        });
        Ok(())
    })
}

fn small_files_have_their_bytes(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each_key(snapshot, Space::Data, &[], &mut |snapshot, key, value| {
        let inode = InodeId(key.try_into().map_or(0, u64::from_be_bytes));
        let row = rows::find_inode(snapshot, inode)?;
        let length = row.as_ref().and_then(InodeRow::file).filter(|file| file.small).map(|file| file.length);
        findings.check(length == Some(value.len() as u64), || {
            format!("{} bytes for inode {inode}, which has {length:?}", value.len())
        });
        Ok(())
    })?;
    each_inode(snapshot, &mut |snapshot, inode, row| {
        if row.file().is_some_and(|file| file.small) {
            let data = snapshot.get(Space::Data, &keys::data(inode))?;
            findings.check(data.is_some(), || format!("the bytes of inode {inode} are missing"));
        }
        Ok(())
    })
}

/// An inode's marks tell whether it has rows of attributes, and these belong to inodes that say so.
fn attributes_are_where_inodes_say(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each(snapshot, Space::Rows, Table::Xattrs, &mut |snapshot, key, value| {
        let (inode, name) = entry_key(key)?;
        rows::attributes::decode_xattr(value)?;
        let marked = rows::find_inode(snapshot, inode)?.is_some_and(|row| row.marks.xattrs);
        findings.check(marked, || format!("attribute {name:?} of inode {inode}, which has none"));
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::Acls, &mut |snapshot, key, value| {
        let inode = InodeId(KeyReader::new(key)?.u64()?);
        let lists = AclRow::decode(value)?;
        let row = rows::find_inode(snapshot, inode)?;
        findings.check(row.as_ref().is_some_and(|row| row.marks.acl), || {
            format!("an access control list of inode {inode}, which has none")
        });
        let may = lists.default.is_none() || row.is_some_and(|row| matches!(row.kind, InodeKind::Directory { .. }));
        findings.check(may, || format!("inode {inode} is no directory and has a default list"));
        Ok(())
    })?;
    each_inode(snapshot, &mut |snapshot, inode, row| {
        let acl = row.marks.acl && rows::find_acl(snapshot, inode)?.is_none();
        findings.check(!acl, || format!("inode {inode} has no access control list and says it has"));
        let xattrs = row.marks.xattrs && rows::xattrs(snapshot, inode)?.is_empty();
        findings.check(!xattrs, || format!("inode {inode} has no extended attribute and says it has"));
        Ok(())
    })
}

fn no_chunk_is_leaked(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    let mut references: BTreeMap<ChunkId, u32> = BTreeMap::new();
    each(snapshot, Space::Rows, Table::Extents, &mut |_, _, value| {
        *references.entry(ExtentRow::decode(value)?.chunk).or_default() += 1;
        Ok(())
    })?;
    each_chunk(snapshot, &mut |_, chunk, row| {
        let found = references.remove(&chunk).unwrap_or(0);
        findings.check(found > 0 && found == row.references, || {
            format!("chunk {chunk} is named by {found} extents, it says {}", row.references)
        });
        Ok(())
    })?;
    for chunk in references.keys() {
        findings.add(|| format!("an extent names chunk {chunk}, which has no row"));
    }
    Ok(())
}

fn generations_are_in_order(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each_chunk(snapshot, &mut |_, chunk, row| {
        findings.check(row.generation <= row.issued, || format!("chunk {chunk}: generation above the issued one"));
        for replica in row.replicas() {
            let agrees = (replica.generation, replica.length) == (row.generation, row.length);
            findings.check(agrees || replica.corrupt, || {
                format!("chunk {chunk}: the replica on node {} is another one", replica.node)
            });
        }
        Ok(())
    })
}

fn locations_agree_with_the_reverse_index(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each_chunk(snapshot, &mut |snapshot, chunk, row| {
        findings.check(row.replicas().is_sorted_by(|a, b| a.node < b.node), || {
            format!("chunk {chunk} has replicas out of order")
        });
        for replica in row.replicas() {
            let indexed = snapshot.get(Space::Rows, &keys::replica(replica.node, chunk))?.is_some();
            findings.check(indexed, || format!("chunk {chunk} on node {} is not in the index", replica.node));
        }
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::Replicas, &mut |snapshot, key, _| {
        let (node, chunk) = node_key(key)?;
        let named = rows::find_chunk(snapshot, ChunkId(chunk))?.is_some_and(|row| row.replica(node).is_some());
        findings.check(named, || format!("the index names chunk {chunk} on node {node}, the chunk does not"));
        Ok(())
    })
}

fn sums_are_exact(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    let mut expected: BTreeMap<(NodeId, u64), Counters> = BTreeMap::new();
    each_chunk(snapshot, &mut |_, chunk, row| {
        for replica in row.replicas() {
            let sum = expected.entry((replica.node, sums::range_of(chunk))).or_default();
            *sum = sum.plus(sums::of_replica(chunk, replica.generation, replica.length));
        }
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::Sums, &mut |_, key, value| {
        let place = node_key(key)?;
        let (stored, expected) = (Counters::decode(value)?, expected.remove(&place).unwrap_or_default());
        findings.check(stored == expected, || {
            format!("node {} range {}: the sum is {stored:?}, not {expected:?}", place.0, place.1)
        });
        Ok(())
    })?;
    for (node, range) in expected.keys() {
        findings.add(|| format!("node {node} range {range} has no sum"));
    }
    Ok(())
}

fn owed_rows_are_where_due(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each_chunk(snapshot, &mut |snapshot, chunk, row| {
        let owed = snapshot.get(Space::Rows, &keys::owed(chunk))?.is_some();
        findings.check(owed == row.is_owed(), || {
            format!("chunk {chunk} has {} of {} replicas, its owed row: {owed}", row.good(), row.target)
        });
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::Owed, &mut |snapshot, key, _| {
        let chunk = ChunkId(KeyReader::new(key)?.u64()?);
        let exists = rows::find_chunk(snapshot, chunk)?.is_some();
        findings.check(exists, || format!("chunk {chunk} is owed and has no row"));
        Ok(())
    })
}

fn garbage_is_not_counted_on(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each(snapshot, Space::Rows, Table::Garbage, &mut |snapshot, key, value| {
        let (node, chunk) = node_key(key)?;
        let generation = decode_garbage(value)?;
        if let Some(row) = rows::find_chunk(snapshot, ChunkId(chunk))? {
            let counted = row.replica(node).is_some_and(|held| held.generation <= generation);
            findings.check(!counted, || format!("chunk {chunk} counts on node {node}, which shall delete it"));
            let writing = row.pipeline().contains(&node) && generation >= row.generation;
            findings.check(!writing, || format!("chunk {chunk} is written on node {node}, which shall delete it"));
            findings
                .check(row.leaving.contains(&node), || format!("chunk {chunk} does not say that {node} deletes it"));
        }
        Ok(())
    })?;
    each_chunk(snapshot, &mut |snapshot, chunk, row| {
        for &node in &row.leaving {
            let garbage = rows::garbage(snapshot, node, chunk)?.is_some();
            findings
                .check(garbage, || format!("chunk {chunk} says that node {node} deletes it, which nothing tells to"));
        }
        Ok(())
    })
}

/// What pipelines left out is remembered for as long as it may be needed, and not longer; nobody counts on it.
fn left_out_is_kept_while_needed(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each_chunk(snapshot, &mut |_, chunk, row| {
        findings.check(row.left_out.is_sorted_by(|a, b| a < b), || format!("chunk {chunk}: left out, out of order"));
        for &node in &row.left_out {
            let counted = row.pipeline().contains(&node) || row.replica(node).is_some();
            findings.check(!counted, || format!("chunk {chunk} counts on node {node}, which was left out of it"));
        }
        findings.check(row.left_out.is_empty() || !row.outgrew_left_out(), || {
            format!("chunk {chunk} has {} good replicas, and nodes keep older ones", row.good())
        });
        Ok(())
    })
}

fn leases_belong_to_open_files(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each(snapshot, Space::Rows, Table::Leases, &mut |snapshot, key, value| {
        let lease = LeaseId(KeyReader::new(key)?.u64()?);
        let LeaseRow { session, inode } = LeaseRow::decode(value)?;
        let row = rows::find_inode(snapshot, inode)?;
        let open = row.as_ref().and_then(InodeRow::file).and_then(|file| file.open.as_ref());
        findings.check(open.is_some_and(|open| open.lease == lease), || {
            format!("lease {lease} is on inode {inode}, which is not open under it")
        });
        let indexed = snapshot.get(Space::Rows, &keys::session_lease(session, lease))?;
        let indexed = indexed.map(|row| rows::session::decode_leased(&row)).transpose()?;
        findings.check(indexed == Some(inode), || format!("lease {lease} is not among those of session {session}"));
        let known = session == RECOVERY || rows::find_session(snapshot, session)?.is_some();
        findings.check(known, || format!("lease {lease} is held by session {session}, which does not exist"));
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::SessionLeases, &mut |snapshot, key, _| {
        let mut key = KeyReader::new(key)?;
        let (session, lease) = (SessionId(key.u64()?), LeaseId(key.u64()?));
        let held = rows::find_lease(snapshot, lease)?.is_some_and(|row| row.session == session);
        findings.check(held, || format!("session {session} does not hold lease {lease}"));
        Ok(())
    })?;
    each_inode(snapshot, &mut |snapshot, inode, row| {
        if let Some(open) = row.file().and_then(|file| file.open.as_ref()) {
            let held = rows::find_lease(snapshot, open.lease)?.is_some_and(|lease| lease.inode == inode);
            let revoked = open.lease == NO_LEASE && paths::chain(snapshot, inode)?.is_none();
            findings.check(held || revoked, || format!("inode {inode} is open and nobody has its lease"));
            let alone = rows::find_lease(snapshot, open.lease)?.is_none_or(|lease| lease.session == RECOVERY);
            findings.check(!open.cut || (alone && open.chunks.len() == 1), || {
                format!("inode {inode} is being cut, and has a writer or not just one open chunk")
            });
        }
        Ok(())
    })
}

fn slots_belong_to_sessions(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    each(snapshot, Space::Rows, Table::Sessions, &mut |_, _, value| {
        SessionRow::decode(value)?;
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::Slots, &mut |snapshot, key, value| {
        let session = SessionId(KeyReader::new(key)?.u64()?);
        SlotRow::decode(value)?;
        let live = rows::find_session(snapshot, session)?.is_some_and(|row| !row.ended);
        findings.check(live, || format!("a slot of session {session}, which has ended"));
        Ok(())
    })
}

fn ids_are_below_the_next(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    for (series, tables) in [(Series::Names, &[Table::Inodes, Table::Leases][..]), (Series::Chunks, &[Table::Chunks])] {
        let next = rows::next_id(snapshot, series)?;
        for &table in tables {
            let last = snapshot.scan(Space::Rows, &Range::prefix(&keys::table(table), 1).reversed())?;
            for (key, _) in last {
                let id = KeyReader::new(&key)?.u64()?;
                findings.check(id < next, || format!("{table:?} has the id {id}, the next one is {next}"));
            }
        }
    }
    let next = rows::next_id(snapshot, Series::Names)?;
    each(snapshot, Space::Rows, Table::Sessions, &mut |_, _, value| {
        let number = SessionRow::decode(value)?.number;
        findings.check(number.0 < next, || format!("session {number}, the next one is {next}"));
        Ok(())
    })?;
    let next = rows::next_id(snapshot, Series::Nodes)?;
    each(snapshot, Space::Rows, Table::Nodes, &mut |snapshot, key, value| {
        let node = KeyReader::new(key)?.u32()?;
        findings.check(u64::from(node) < next, || format!("node {node}, the next one is {next}"));
        let uuid = NodeRow::decode(value)?.uuid;
        let known = snapshot.get(Space::Rows, &keys::node_uuid(uuid))?.map(|row| decode_number(&row)).transpose()?;
        findings
            .check(known == Some(u64::from(node)), || format!("the folder {uuid} of node {node} leads to {known:?}"));
        Ok(())
    })?;
    each(snapshot, Space::Rows, Table::NodeUuids, &mut |snapshot, key, value| {
        let uuid = NodeUuid::from_bytes(key.get(1..).unwrap_or_default());
        let node = NodeId(u32::try_from(decode_number(value)?).unwrap_or(0));
        let known = rows::find_node(snapshot, node)?.map(|row| row.uuid);
        findings.check(known.is_some() && known == uuid, || format!("a folder leads to node {node}, which is another"));
        Ok(())
    })
}

fn totals_are_exact(snapshot: &mut dyn Snapshot, findings: &mut Findings) -> Step<()> {
    let mut count = |table| -> Step<i64> {
        let mut rows = 0;
        each(snapshot, Space::Rows, table, &mut |_, _, _| {
            rows += 1;
            Ok(())
        })?;
        Ok(rows)
    };
    let counted = rows::Totals {
        chunks: count(Table::Chunks)?,
        owed: count(Table::Owed)?,
        garbage: count(Table::Garbage)?,
        leases: count(Table::Leases)?,
    };
    let stored = rows::totals::read(snapshot)?;
    findings.check(counted == stored, || format!("the totals are {stored:?}, counted {counted:?}"));
    Ok(())
}

type Visit<'v> = &'v mut dyn FnMut(&mut dyn Snapshot, &[u8], &Bytes) -> Step<()>;

fn each(snapshot: &mut dyn Snapshot, space: Space, table: Table, visit: Visit<'_>) -> Step<()> {
    each_key(snapshot, space, &keys::table(table), visit)
}

/// Every row whose key begins with `prefix`.
fn each_key(snapshot: &mut dyn Snapshot, space: Space, prefix: &[u8], visit: Visit<'_>) -> Step<()> {
    let mut range = Range::prefix(prefix, PAGE);
    loop {
        let rows = snapshot.scan(space, &range)?;
        for (key, value) in &rows {
            visit(snapshot, key, value)?;
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PAGE => range.start = Bound::Excluded(last.clone()),
            _ => return Ok(()),
        }
    }
}

fn each_inode(
    snapshot: &mut dyn Snapshot,
    visit: &mut dyn FnMut(&mut dyn Snapshot, InodeId, &InodeRow) -> Step<()>,
) -> Step<()> {
    each(snapshot, Space::Rows, Table::Inodes, &mut |snapshot, key, value| {
        let inode = InodeId(KeyReader::new(key)?.u64()?);
        visit(snapshot, inode, &InodeRow::decode(value)?)
    })
}

fn each_chunk(
    snapshot: &mut dyn Snapshot,
    visit: &mut dyn FnMut(&mut dyn Snapshot, ChunkId, &ChunkRow) -> Step<()>,
) -> Step<()> {
    each(snapshot, Space::Rows, Table::Chunks, &mut |snapshot, key, value| {
        let chunk = ChunkId(KeyReader::new(key)?.u64()?);
        visit(snapshot, chunk, &ChunkRow::decode(value)?)
    })
}

fn orphans(snapshot: &mut dyn Snapshot) -> Step<Vec<(Version, InodeId)>> {
    let mut orphans = Vec::new();
    each(snapshot, Space::Rows, Table::Orphans, &mut |_, key, _| {
        let mut key = KeyReader::new(key)?;
        orphans.push((Version(key.u64()?), InodeId(key.u64()?)));
        Ok(())
    })?;
    Ok(orphans)
}

fn entry_key(key: &[u8]) -> Result<(InodeId, &str)> {
    let mut key = KeyReader::new(key)?;
    Ok((InodeId(key.u64()?), key.text()?))
}

/// A node, and a chunk or range.
fn node_key(key: &[u8]) -> Result<(NodeId, u64)> {
    let mut key = KeyReader::new(key)?;
    Ok((NodeId(key.u32()?), key.u64()?))
}
