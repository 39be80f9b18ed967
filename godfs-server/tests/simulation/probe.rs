//! Looks at rows and disks from outside, as nobody in the cluster can.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use godfs_core::chunk::{ChunkStore, DirectoryOptions, DirectoryStore, ReplicaState};
use godfs_core::env::Env;
use godfs_core::io::SimIo;
use godfs_core::metadata::MemoryStore;
use godfs_core::namespace::{ChunkInfo, FileRef, LocateRange, Located, Namespace, NamespaceSettings};
use godfs_core::{ChunkId, ErrorKind, Generation, IntoPath, NodeId};

use crate::invariants::{self, at_once as now};
use crate::trace::Trace;
use crate::workload::PATH;

/// What is seen of the rows, and what was seen before.
pub(crate) struct Probe {
    namespace: Namespace,
    trace: Trace,
    seen: BTreeMap<ChunkId, ChunkInfo>,
}

impl Probe {
    /// Over the store that the namenode uses.
    pub(crate) fn new(store: &MemoryStore, trace: &Trace) -> Self {
        let namespace = Namespace::new(Arc::new(store.reopen()), NamespaceSettings::default(), Env::simulated(0));
        Self { namespace: namespace.expect("settings"), trace: trace.clone(), seen: BTreeMap::new() }
    }

    fn located(&self) -> Option<Located> {
        let file = FileRef::Path(PATH.into_path().expect("path"));
        match now(self.namespace.locate(file, LocateRange { offset: 0, length: u64::MAX, chunks: 1_000 })) {
            Ok(located) => Some(located),
            // Not created yet, or no cluster yet.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("locate: {}", error.report()),
        }
    }

    /// Notes what has changed; generations, committed ends and acknowledged bytes must not go back.
    pub(crate) fn look(&mut self, at: Duration) {
        let chunks = self.located().map(|located| located.chunks).unwrap_or_default();
        for location in chunks {
            let info = location.info;
            let before = self.seen.get(&info.chunk);
            if before == Some(&info) {
                continue;
            }
            invariants::generations_only_grow(before, &info);
            if let Some(before) = before {
                assert!(before.open || !info.open, "a closed chunk was opened: {before:?}, {info:?}");
                let fixed = before.open || before.length == info.length;
                assert!(fixed, "a closed chunk has another length: {before:?}, {info:?}");
            }
            let nodes: Vec<_> = info.replicas.iter().map(|place| place.node.to_string()).collect();
            self.trace.at(
                at,
                "rows",
                format_args!(
                    "chunk {} at {}: generation {} of {}, {} bytes, {}, on {}",
                    info.chunk,
                    location.offset,
                    info.generation,
                    info.issued,
                    info.length,
                    if info.open { "open" } else { "closed" },
                    nodes.join(" ")
                ),
            );
            self.seen.insert(info.chunk, info);
        }
    }

    /// Holds the rows against every invariant of the namespace.
    pub(crate) fn check(&self) {
        invariants::rows_hold(&self.namespace);
    }

    /// Every replica that the rows name is on its disk, finalized, with the right bytes.
    pub(crate) fn check_disks(&self, disks: &[(NodeId, SimIo)], content: &[u8]) {
        let located = self.located().expect("the file");
        let mut covered = 0;
        for location in &located.chunks {
            let from = usize::try_from(location.offset).expect("small");
            let expected = &content[from..from + usize::try_from(location.info.length).expect("small")];
            covered += expected.len();
            for (node, disk) in disks {
                let named = location.info.replicas.iter().any(|place| place.node == *node);
                if named {
                    let bytes = stored(disk, location.info.chunk, location.info.generation);
                    assert!(bytes == expected, "chunk {} on node {node} has other bytes", location.info.chunk);
                }
            }
        }
        assert_eq!(covered, content.len(), "the chunks cover the file");
    }

    /// The version of the store.
    pub(crate) fn version(&self) -> u64 {
        now(self.namespace.store().version()).expect("open").get()
    }
}

/// The bytes of a finalized replica, as the disk would be found now without its process.
fn stored(disk: &SimIo, chunk: ChunkId, generation: Generation) -> Vec<u8> {
    let root = PathBuf::from(crate::cluster::FOLDER).join("chunks");
    let options = DirectoryOptions { root, capacity: None, reserve: 0, small: 0, on_the_spot: true };
    let store = now(DirectoryStore::open(options, Arc::new(disk.crash_keeping_all()), Env::simulated(0)));
    let store = store.expect("a store");
    let replica = now(store.verify(chunk)).expect("the replica that the rows name");
    assert_eq!(replica.state, ReplicaState::Finalized, "chunk {chunk}");
    let reader = now(store.open(chunk, generation)).expect("no older than the rows say");
    let mut bytes = Vec::new();
    loop {
        let packet = now(reader.read(bytes.len() as u64, 1 << 20, true)).expect("readable");
        let skip = bytes.len() - usize::try_from(packet.offset).expect("small");
        if packet.data.len() <= skip {
            return bytes;
        }
        bytes.extend_from_slice(&packet.data[skip..]);
    }
}
