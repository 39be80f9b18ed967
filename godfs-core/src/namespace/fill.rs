//! Many files at once, for measuring how a store of some size behaves: the rows of what a busy cluster would have written, without the
//! cluster.

use super::options::Owner;
use super::rows::{
    self, ChunkRow, ChunkState, EntryKind, EntryRow, ExtentRow, FileRow, InodeKind, InodeRow, Marks, NodeRow,
    ReplicaRow, Series, keys, small,
};
use super::{Context, directories, paths, usage};
use crate::error::{Error, ErrorKind};
use crate::id::{ChunkId, Generation, InodeId, NodeId, NodeUuid, Version};
use crate::metadata::{Counters, Space, Step, Transaction};
use crate::path::DfsPath;

/// Files of equal shape in one directory, which is made where it is missing.
#[derive(Clone, Debug)]
pub struct Fill {
    /// The directory.
    pub directory: DfsPath,
    /// The numbers of the files, which name them. No such file may exist. At most some thousand chunks in all, since they are one
    /// transaction.
    pub files: std::ops::Range<u64>,
    /// Chunks of each; all but the last are full, that one has a MiB.
    pub chunks: u64,
    /// The nodes that hold a replica of each chunk.
    pub nodes: Vec<NodeId>,
}

const LAST_CHUNK_BYTES: u64 = 1 << 20;
const GENERATION: Generation = Generation(1);

/// Registers a node that was never heard from: its row says no address, so it is expected for ever and never given up.
pub(super) fn expect_node(txn: &mut dyn Transaction, uuid: NodeUuid) -> Step<NodeId> {
    let drawn = rows::draw_ids(txn, Series::Nodes, 1)?;
    let node = NodeId(u32::try_from(drawn).expect("draw_ids keeps node numbers within 32 bits"));
    let row = NodeRow { uuid, address: String::new(), domain: String::new() };
    txn.put(Space::Rows, keys::node_uuid(uuid).into(), small::encode_number(drawn));
    txn.put(Space::Rows, keys::node(node).into(), row.encode());
    Ok(node)
}

pub(super) fn fill(txn: &mut dyn Transaction, context: &Context, request: &Fill) -> Step<()> {
    let Fill { directory, files, chunks, nodes } = request;
    let path = |number: u64| directory.join(&format!("f{number:08}"));
    directories::make_parents(txn, context, &path(files.start)?)?;
    let count = files.end.saturating_sub(files.start);
    let first_inode = rows::draw_ids(txn, Series::Names, count)?;
    let first_chunk = rows::draw_ids(txn, Series::Chunks, count * chunks)?;
    let mut weight = Counters::default();
    let mut ancestors = Vec::new();
    for (at, number) in files.clone().enumerate() {
        let at = at as u64;
        let path = path(number)?;
        let place = paths::place(txn, context, &path)?;
        directories::check_free(&place, &path)?;
        let inode = InodeId(first_inode + at);
        let row = file(context, place.parent(), place.name, *chunks, nodes)?;
        rows::put_entry(txn, place.parent(), place.name, EntryRow { inode, kind: EntryKind::File });
        rows::put_inode(txn, inode, &row);
        for index in 0..*chunks {
            let last = index + 1 == *chunks;
            let full = context.settings.chunk_size;
            let length = if last { LAST_CHUNK_BYTES.min(full) } else { full };
            let chunk = ChunkId(first_chunk + at * chunks + index);
            rows::chunk::write(txn, chunk, None, Some(&committed(inode, length, nodes)));
            rows::put_extent(txn, inode, index * context.settings.chunk_size, ExtentRow { chunk, length });
        }
        weight = weight.plus(usage::weight(&row));
        ancestors = place.ancestors;
    }
    if let Some(&parent) = ancestors.last() {
        usage::add(txn, &ancestors, weight)?;
        directories::touch(txn, context, parent, count.cast_signed())?;
    }
    Ok(())
}

fn file(context: &Context, parent: InodeId, name: &str, chunks: u64, nodes: &[NodeId]) -> Step<InodeRow> {
    let replication = u16::try_from(nodes.len().max(1))
        .map_err(|_| Error::new(ErrorKind::InvalidArgument, "more nodes than a chunk has replicas"))?;
    let chunk_size = context.settings.chunk_size;
    let length = chunks.checked_sub(1).map_or(0, |full| full * chunk_size + LAST_CHUNK_BYTES.min(chunk_size));
    Ok(InodeRow {
        version: Version::PENDING,
        parent,
        name: name.to_owned(),
        modified_ms: context.now_ms,
        accessed_ms: context.now_ms,
        owner: Owner { mode: 0o644, ..Owner::default() },
        marks: Marks::default(),
        kind: InodeKind::File(FileRow { replication, chunk_size, length, chunks, small: false, open: None }),
    })
}

fn committed(inode: InodeId, length: u64, nodes: &[NodeId]) -> ChunkRow {
    let mut row = ChunkRow {
        version: Version::PENDING,
        inode,
        references: 1,
        generation: GENERATION,
        issued: GENERATION,
        length,
        target: nodes.len() as u16,
        state: ChunkState::Committed(Vec::new()),
        leaving: Vec::new(),
        left_out: Vec::new(),
    };
    for &node in nodes {
        row.set_replica(ReplicaRow { node, generation: GENERATION, length, corrupt: false });
    }
    row
}
