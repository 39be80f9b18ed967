//! Which parts of the reverse index are still to be read.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ChunkHealth, RepairSettings};
use crate::id::{ChunkId, NodeId};

/// A run over rows, read in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scan {
    /// The owed rows: chunks that committed with fewer replicas than their target.
    Owed,
    /// The reverse index of one node: every chunk of which a row says that the node holds a replica.
    Node(NodeId),
}

/// What a page of a scan held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// The scan, as the effect named it.
    pub scan: Scan,
    /// Where the page began, as the effect named it.
    pub from: ChunkId,
    /// The committed chunks found, in order of their ids; those that are being written may be left out.
    pub chunks: Vec<ChunkHealth>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<ChunkId>,
}

/// The scans to do, one page at a time: first the owed rows and the nodes whose loss must be counted, then, at leisure, the nodes that
/// came back or were never looked at, for what they hold too much.
#[derive(Debug)]
pub(super) struct Scans {
    urgent: VecDeque<(Scan, ChunkId)>,
    leisure: VecDeque<(Scan, ChunkId)>,
    /// The page that was asked for.
    asked: Option<(Scan, ChunkId)>,
    urgent_at: Duration,
    leisure_at: Duration,
}

impl Scans {
    /// Begins with the owed rows.
    pub(super) fn new() -> Self {
        Self {
            urgent: VecDeque::from([(Scan::Owed, ChunkId(0))]),
            leisure: VecDeque::new(),
            asked: None,
            urgent_at: Duration::ZERO,
            leisure_at: Duration::ZERO,
        }
    }

    /// A node's chunks must be counted; from the start, even if a scan of it is under way. Tells whether that was one at leisure.
    pub(super) fn urgent(&mut self, node: NodeId) -> bool {
        let leisure = self.leisure.iter().any(|&(scan, _)| scan == Scan::Node(node));
        self.forget(node);
        self.urgent.push_back((Scan::Node(node), ChunkId(0)));
        leisure
    }

    /// A node's chunks should be looked at.
    pub(super) fn at_leisure(&mut self, node: NodeId) {
        self.forget(node);
        self.leisure.push_back((Scan::Node(node), ChunkId(0)));
    }

    /// A node's chunks need not be looked at any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.urgent.retain(|&(scan, _)| scan != Scan::Node(node));
        self.leisure.retain(|&(scan, _)| scan != Scan::Node(node));
    }

    /// Whether all that the counts need has been read.
    pub(super) fn counted(&self) -> bool {
        self.urgent.is_empty()
    }

    /// The page to read now, if any.
    pub(super) fn next(&mut self, now: Duration, settings: &RepairSettings) -> Option<(Scan, ChunkId)> {
        if self.asked.is_some() {
            return None;
        }
        let next = if let Some(&first) = self.urgent.front() {
            (now >= self.urgent_at).then_some(first)?
        } else {
            let first = *self.leisure.front().filter(|_| now >= self.leisure_at)?;
            self.leisure_at = now.saturating_add(settings.leisure_interval);
            first
        };
        self.asked = Some(next);
        Some(next)
    }

    /// A page has been read: moves its scan on, unless that was given up or begun anew meanwhile.
    pub(super) fn read(&mut self, scan: Scan, from: ChunkId, next: Option<ChunkId>) {
        if self.asked == Some((scan, from)) {
            self.asked = None;
        }
        for queue in [&mut self.urgent, &mut self.leisure] {
            let Some(at) = queue.iter().position(|&entry| entry == (scan, from)) else { continue };
            match next.filter(|&next| next > from) {
                // To the back of its queue, so that several nodes are counted side by side.
                Some(next) => {
                    queue.remove(at);
                    queue.push_back((scan, next));
                }
                None => {
                    queue.remove(at);
                }
            }
        }
    }

    /// A page could not be read: it is asked for again in a moment.
    pub(super) fn failed(&mut self, now: Duration, scan: Scan, from: ChunkId, settings: &RepairSettings) {
        if self.asked == Some((scan, from)) {
            self.asked = None;
        }
        self.urgent_at = now.saturating_add(settings.backoff_first);
        self.leisure_at = self.leisure_at.max(self.urgent_at);
    }
}
