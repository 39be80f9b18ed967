//! Who has what in memory, on disk, or not any more: what may be expected after power went.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use godfs_core::chunk::{ChunkStore, DirectoryOptions, DirectoryStore, Replica, ReplicaState};
use godfs_core::env::Env;
use godfs_core::io::SimIo;
use godfs_core::metadata::MetadataStore;
use godfs_core::namespace::{ChunkInfo, ChunkLocation, FileRef, LocateRange, Namespace, NamespaceSettings};
use godfs_core::{ChunkId, ErrorKind, Generation, IntoPath, NodeId};
use parking_lot::Mutex;

use super::clients::path;
use super::model::Files;
use crate::invariants::at_once;

/// Looks at the rows from outside, and judges by them what the loss of a machine takes.
pub(super) struct Powers {
    files: Files,
    /// Bytes of a chunk.
    chunk: u64,
    rows: Mutex<Option<Arc<Namespace>>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Nodes of a chunk that have lost what was not synced since the last acknowledgement.
    dry: BTreeMap<ChunkId, BTreeSet<NodeId>>,
    /// Nodes whose syncs have failed: nobody knows what reaches their disks.
    sick: BTreeSet<NodeId>,
    /// Who has said that so many bytes of a chunk are on its disk.
    promises: BTreeMap<(NodeId, ChunkId), (usize, u64)>,
}

impl Powers {
    pub(super) fn new(files: Files, chunk: u64) -> Self {
        Self { files, chunk, rows: Mutex::default(), known: Mutex::default() }
    }

    /// The namenode has opened its store.
    pub(super) fn opened(&self, store: Arc<dyn MetadataStore>) {
        let namespace = Namespace::new(store, NamespaceSettings::default(), Env::simulated(0));
        *self.rows.lock() = Some(Arc::new(namespace.expect("settings")));
    }

    /// The rows, also while their namenode is down.
    pub(super) fn rows(&self) -> Option<Arc<Namespace>> {
        self.rows.lock().clone()
    }

    /// The chunks of a file; none while nobody can tell.
    pub(super) fn chunks(&self, file: usize) -> Vec<ChunkLocation> {
        let Some(rows) = self.rows() else { return Vec::new() };
        let path = FileRef::Path(path(file).into_path().expect("path"));
        at_once(rows.locate(path, LocateRange { offset: 0, length: u64::MAX, chunks: 1_000 }))
            .map_or_else(|_| Vec::new(), |located| located.chunks)
    }

    /// All nodes of the pipeline of a file have its first `length` bytes; with `synced`, on their disks.
    pub(super) fn acknowledged(&self, file: usize, length: u64, synced: bool) {
        let mut known = self.known.lock();
        for location in self.chunks(file) {
            let info = location.info;
            known.dry.remove(&info.chunk);
            let bytes = length.saturating_sub(location.offset).min(self.chunk);
            if !synced || bytes == 0 {
                continue;
            }
            for place in &info.replicas {
                let promise = known.promises.entry((place.node, info.chunk)).or_insert((file, 0));
                promise.1 = promise.1.max(bytes);
            }
        }
    }

    /// The file is to be cut: what was promised of it counts no more.
    pub(super) fn forget(&self, file: usize) {
        self.known.lock().promises.retain(|_, (promised, _)| *promised != file);
    }

    /// A node has lost what its disk had not.
    pub(super) fn lost_power(&self, node: NodeId) {
        self.dry_out(node, false);
    }

    /// What a node syncs may get lost from now on.
    pub(super) fn falls_sick(&self, node: NodeId) {
        self.dry_out(node, true);
    }

    fn dry_out(&self, node: NodeId, sick: bool) {
        let mut known = self.known.lock();
        if sick {
            known.sick.insert(node);
        }
        let count = self.files.lock().len();
        for file in 0..count {
            for location in self.chunks(file).iter().filter(|location| location.info.open) {
                let info = &location.info;
                known.dry.entry(info.chunk).or_default().insert(node);
                let dry = &known.dry[&info.chunk];
                let gone = |node: NodeId| dry.contains(&node) || known.sick.contains(&node);
                if info.replicas.iter().all(|place| gone(place.node)) {
                    self.files.lock()[file].lose_memory();
                }
            }
        }
    }

    /// What a node has said to be on its disk is there after its power went.
    pub(super) fn synced_bytes_outlive_power(&self, node: NodeId, found: &SimIo) {
        let Some(rows) = self.rows() else { return };
        let known = self.known.lock();
        let promises: Vec<_> = known.promises.iter().filter(|((who, _), _)| *who == node).collect();
        if promises.is_empty() || known.sick.contains(&node) {
            return;
        }
        let store = open(found);
        for ((_, chunk), (file, bytes)) in promises {
            let Ok(Some(info)) = at_once(rows.chunk(*chunk)) else { continue };
            // Whoever the rows have told to delete it may have done so.
            if !counts(&info, node) {
                continue;
            }
            let replica = at_once(store.stat(*chunk));
            let length = replica.as_ref().map_or(0, |replica| replica.length);
            assert!(
                length >= *bytes,
                "node {node} had synced {bytes} bytes of chunk {chunk} of {}, and has {replica:?} after its power went",
                path(*file)
            );
        }
    }
}

/// Whether the rows say that a node has something of a chunk which it has not been told to delete.
fn counts(info: &ChunkInfo, node: NodeId) -> bool {
    let named = info.replicas.iter().any(|place| place.node == node) || info.left_out.contains(&node);
    named && !info.leaving.contains(&node)
}

/// The replicas of a disk, as it would be found now without its process.
fn open(disk: &SimIo) -> DirectoryStore {
    let root = PathBuf::from(crate::cluster::FOLDER).join("chunks");
    let options = DirectoryOptions { root, capacity: None, reserve: 0, small: 0, on_the_spot: true };
    at_once(DirectoryStore::open(options, Arc::new(disk.crash_keeping_all()), Env::simulated(0))).expect("a store")
}

/// The generation and bytes of the finished replica of each of `chunks` that a disk has.
pub(super) fn finished(disk: &SimIo, chunks: &[ChunkId]) -> Vec<(ChunkId, Generation, Vec<u8>)> {
    let store = open(disk);
    let mut found = Vec::new();
    for &chunk in chunks {
        let replica = match at_once(store.stat(chunk)) {
            Ok(replica) if replica.state == ReplicaState::Finalized => replica,
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("chunk {chunk}: {}", error.report()),
            _ => continue,
        };
        found.push((chunk, replica.generation, bytes(&store, replica)));
    }
    found
}

fn bytes(store: &DirectoryStore, replica: Replica) -> Vec<u8> {
    at_once(store.verify(replica.chunk)).expect("a finished replica is proved");
    let reader = at_once(store.open(replica.chunk, replica.generation)).expect("no older than it is");
    let mut bytes = Vec::new();
    loop {
        let packet = at_once(reader.read(bytes.len() as u64, 1 << 20, true)).expect("readable");
        let skip = bytes.len() - usize::try_from(packet.offset).expect("small");
        if packet.data.len() <= skip {
            return bytes;
        }
        bytes.extend_from_slice(&packet.data[skip..]);
    }
}
