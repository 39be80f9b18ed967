//! What must hold of a cluster whatever befalls it, each as a function that panics where it does not.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::FutureExt;
use godfs_client::ReportResponse;
use godfs_core::namespace::{ChunkInfo, Namespace};
use godfs_core::{ChunkId, Generation, NodeId};

/// Nothing in a simulation of memory and simulated disks waits for anything.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("stores in memory answer at once")
}

/// The rows agree with one another.
pub(crate) fn rows_hold(namespace: &Namespace) {
    if at_once(namespace.cluster()).is_err() {
        return;
    }
    let violations = at_once(namespace.check()).expect("readable");
    let shown: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(shown.is_empty(), "the rows break what always holds:\n{}", shown.join("\n"));
}

/// Generations of a chunk only grow, and none is in use before it was issued.
pub(crate) fn generations_only_grow(before: Option<&ChunkInfo>, now: &ChunkInfo) {
    assert!(now.generation <= now.issued, "a generation that was never issued: {now:?}");
    if let Some(before) = before {
        assert!(before.generation <= now.generation, "the generation went back: {before:?}, {now:?}");
        assert!(before.issued <= now.issued, "an issued generation went back: {before:?}, {now:?}");
    }
}

/// A chunk that is closed gets no longer under its generation; shorter only by a truncation, which moves it on to the next.
pub(crate) fn closed_chunks_do_not_grow(before: Option<&ChunkInfo>, now: &ChunkInfo) {
    let Some(before) = before.filter(|before| !before.open && !now.open && before.generation == now.generation) else {
        return;
    };
    assert!(now.length <= before.length, "a closed chunk has grown: {before:?}, {now:?}");
}

/// All finished replicas of a chunk that have one generation hold the same bytes.
pub(crate) fn replicas_of_a_generation_are_equal(chunk: ChunkId, replicas: &[(NodeId, Generation, Vec<u8>)]) {
    let mut seen: BTreeMap<Generation, (NodeId, &[u8])> = BTreeMap::new();
    for (node, generation, bytes) in replicas {
        let (first, same) = seen.entry(*generation).or_insert((*node, bytes));
        let agree = *same == bytes.as_slice();
        assert!(
            agree,
            "chunk {chunk} at generation {generation}: {} bytes on node {first}, and on node {node} {} others",
            same.len(),
            bytes.len()
        );
    }
}

/// Whoever opens a file finds what was acknowledged before.
pub(crate) fn acknowledged_bytes_are_there(what: impl Debug, acknowledged: u64, found: u64) {
    assert!(found >= acknowledged, "{what:?}: {acknowledged} bytes were acknowledged or seen, {found} are there");
}

/// A file has no byte that nobody wrote.
pub(crate) fn nothing_is_there_that_was_never_sent(what: impl Debug, sent: u64, found: u64) {
    assert!(found <= sent, "{what:?}: {sent} bytes were sent, {found} are there");
}

/// Bytes that are read are those that were written, there and at no other place.
pub(crate) fn bytes_are_those_that_were_written(what: impl Debug, from: u64, written: &[u8], read: &[u8]) {
    if let Some(at) = written.iter().zip(read).position(|(written, read)| written != read) {
        panic!("{what:?}: other bytes from {} on", from + at as u64);
    }
    assert_eq!(written.len(), read.len(), "{what:?}: read from {from} on");
}

/// All is repaired: each datanode is there, each chunk has all its replicas and no more, no file is open, nothing is under way.
pub(crate) fn is_whole(report: &ReportResponse, datanodes: usize) -> bool {
    report.complete
        && report.live_datanodes as usize == datanodes
        && [report.under_replicated, report.missing, report.corrupt, report.over_replicated] == [0; 4]
        && [report.repairing, report.pending_deletes, report.open_files] == [0; 3]
}

/// A process keeps to a bound, however many simulations it has run: what one of them uses is given back.
pub(crate) fn memory_is_bounded(bytes: u64) {
    /// Far above what a simulation takes, far below what a queue without a bound comes to.
    const MOST: u64 = 1 << 30;
    assert!(bytes <= MOST, "the process had {bytes} bytes in memory at its peak");
}
