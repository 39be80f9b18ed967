//! How long the nodes behind this one in its pipelines take: what the namenode compares to find slow ones.

use std::collections::HashMap;
use std::time::Duration;

use godfs_core::NodeId;
use godfs_core::cluster::{MAX_PEERS, Pace, PeerPace};
use godfs_proto::v1;
use parking_lot::Mutex;

/// What was found of each node behind this one.
#[derive(Debug)]
pub(crate) struct Peers {
    /// What is told goes back so far at least, and not twice as far.
    span: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Duration,
    now: HashMap<NodeId, Paces>,
    before: HashMap<NodeId, Paces>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Paces {
    plain: Pace,
    durable: Pace,
}

impl Peers {
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, state: Mutex::default() }
    }

    /// A packet took a node, and its way there, so many microseconds.
    pub(crate) fn took(&self, now: Duration, node: NodeId, micros: u64, durable: bool) {
        let mut state = self.state.lock();
        state.turn(now, self.span);
        // Beyond the bound there are so many that nobody is missed.
        if state.now.len() < MAX_PEERS || state.now.contains_key(&node) {
            let paces = state.now.entry(node).or_default();
            if durable { paces.durable.add(micros) } else { paces.plain.add(micros) }
        }
    }

    /// For heartbeats.
    pub(crate) fn to_wire(&self, now: Duration) -> Vec<v1::PeerPace> {
        let mut state = self.state.lock();
        state.turn(now, self.span);
        let mut all = state.now.clone();
        for (node, before) in &state.before {
            let paces = all.entry(*node).or_default();
            *paces = Paces { plain: paces.plain.plus(before.plain), durable: paces.durable.plus(before.durable) };
        }
        let told = all.into_iter().take(MAX_PEERS);
        let told = told.map(|(node, Paces { plain, durable })| to_wire(&PeerPace { node, plain, durable }));
        told.collect()
    }
}

impl State {
    fn turn(&mut self, now: Duration, span: Duration) {
        let passed = now.saturating_sub(self.began);
        if passed >= span {
            self.before = std::mem::take(&mut self.now);
            if passed >= 2 * span {
                self.before.clear();
            }
            self.began = now;
        }
    }
}

fn to_wire(pace: &PeerPace) -> v1::PeerPace {
    v1::PeerPace {
        node: pace.node.get(),
        packets: pace.plain.packets,
        micros: pace.plain.micros,
        durable_packets: pace.durable.packets,
        durable_micros: pace.durable.micros,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_forgotten_and_nodes_are_bounded() {
        let peers = Peers::new(Duration::from_secs(30));
        let at = Duration::from_secs;
        peers.took(at(1), NodeId(7), 100, false);
        peers.took(at(2), NodeId(7), 300, true);
        let told = |seconds| {
            peers.to_wire(at(seconds)).into_iter().map(|pace| (pace.packets, pace.durable_micros)).collect::<Vec<_>>()
        };
        assert_eq!(told(3), [(1, 300)]);
        peers.took(at(31), NodeId(7), 50, false);
        assert_eq!(told(32), [(2, 300)], "the last half minute and the one before");
        assert_eq!(told(62), [(1, 0)]);
        assert_eq!(told(200), []);
        for node in 0..1_000 {
            peers.took(at(201), NodeId(node), 1, false);
        }
        assert_eq!(told(202).len(), MAX_PEERS);
    }
}
