//! Which datanodes are much slower than their peers.
//!
//! Every datanode tells how long the nodes behind it in its pipelines take. What is said of a node by several of its peers, round after round, is
//! compared with what is said of the others; the word of one alone condemns nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// The most peers that one datanode tells of.
pub const MAX_PEERS: usize = 256;

/// How many nodes must tell of one, and of how many others there must be word, for it to be compared.
const WITNESSES: usize = 2;

/// When a datanode is called slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlowSettings {
    /// How often nodes are compared. Default 10 s.
    pub round: Duration,
    /// How many times as long as its peers' median a slow node takes. Default 4.
    pub ratio: u32,
    /// No node is slow that takes less than this for a packet: among fast nodes ratios say little. Default 20 ms.
    pub floor: Duration,
    /// The same for packets that wait for a disk. Default 200 ms.
    pub durable_floor: Duration,
    /// Packets that a node must have sent to another for its word to count. Default 16.
    pub min_packets: u64,
    /// In how many rounds in a row a node must be too slow before it is called so. Default 3.
    pub condemn_after: u32,
    /// In how many rounds in a row it must not be, or not be heard of, before it is called so no more. Default 6.
    pub forgive_after: u32,
}

impl Default for SlowSettings {
    fn default() -> Self {
        Self {
            round: Duration::from_secs(10),
            ratio: 4,
            floor: Duration::from_millis(20),
            durable_floor: Duration::from_millis(200),
            min_packets: 16,
            condemn_after: 3,
            forgive_after: 6,
        }
    }
}

/// Packets, and how long they took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// How many.
    pub packets: u64,
    /// Microseconds of all.
    pub micros: u64,
}

impl Pace {
    /// Takes in one more.
    pub fn add(&mut self, micros: u64) {
        self.packets = self.packets.saturating_add(1);
        self.micros = self.micros.saturating_add(micros);
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { packets: self.packets.saturating_add(other.packets), micros: self.micros.saturating_add(other.micros) }
    }
}

/// What a datanode tells of one behind it: over about the last minute, the time that packets took on their way there and there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPace {
    /// The node that it tells of.
    pub node: NodeId,
    /// Packets that were to be written.
    pub plain: Pace,
    /// Packets that were to be on the disk.
    pub durable: Pace,
}

/// Why a node is called slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowness {
    /// Microseconds that a packet takes it: the median of what its peers tell.
    pub micros: u64,
    /// The median of the others.
    pub peers_micros: u64,
    /// How many told of it.
    pub witnesses: u32,
}

/// Judges speed: reports and time in, verdicts out.
#[derive(Debug)]
pub struct SlowNodes {
    settings: SlowSettings,
    /// What each node told last, and when.
    reports: BTreeMap<NodeId, (Duration, Vec<PeerPace>)>,
    judged: BTreeMap<NodeId, Judged>,
    last_round: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Judged {
    slow: Option<Slowness>,
    /// Rounds in a row that spoke against what it is called.
    against: u32,
}

impl SlowNodes {
    /// Nobody is slow yet.
    #[must_use]
    pub fn new(settings: SlowSettings, now: Duration) -> Self {
        Self { settings, reports: BTreeMap::new(), judged: BTreeMap::new(), last_round: now }
    }

    /// A datanode tells of its peers; at most [`MAX_PEERS`] are taken in, and what it says of itself is not.
    pub fn reported(&mut self, now: Duration, reporter: NodeId, mut peers: Vec<PeerPace>) {
        peers.retain(|peer| peer.node != reporter);
        peers.truncate(MAX_PEERS);
        if peers.is_empty() {
            self.reports.remove(&reporter);
        } else {
            self.reports.insert(reporter, (now, peers));
        }
    }

    /// Time passes: the nodes that are called slow from now on, or no more.
    pub fn tick(&mut self, now: Duration) -> Vec<NodeId> {
        if now.saturating_sub(self.last_round) < self.settings.round {
            return Vec::new();
        }
        self.last_round = now;
        // A node that says nothing any more says nothing of others either.
        let stale = self.settings.round.saturating_mul(2);
        self.reports.retain(|_, (at, _)| now.saturating_sub(*at) < stale);
        let found = self.compare();
        let mut changed = Vec::new();
        let known: BTreeSet<NodeId> = self.judged.keys().chain(found.keys()).copied().collect();
        for node in known {
            let SlowSettings { condemn_after, forgive_after, .. } = self.settings;
            let slowness = found.get(&node).copied();
            let judged = self.judged.entry(node).or_default();
            let was = judged.slow.is_some();
            if was == slowness.is_some() {
                judged.against = 0;
                // The figures of now.
                judged.slow = slowness;
            } else {
                judged.against += 1;
                if judged.against >= if was { forgive_after } else { condemn_after } {
                    *judged = Judged { slow: slowness, against: 0 };
                    changed.push(node);
                }
            }
            if judged.slow.is_none() && judged.against == 0 {
                self.judged.remove(&node);
            }
        }
        changed
    }

    /// Whether a node is called slow, and why.
    #[must_use]
    pub fn slowness(&self, node: NodeId) -> Option<Slowness> {
        self.judged.get(&node)?.slow
    }

    /// The nodes that are too slow by what is told at the moment.
    fn compare(&self) -> BTreeMap<NodeId, Slowness> {
        let SlowSettings { floor, durable_floor, .. } = self.settings;
        let mut slow = self.compare_by(durable_floor, |peer| peer.durable);
        slow.extend(self.compare_by(floor, |peer| peer.plain));
        slow
    }

    fn compare_by(&self, floor: Duration, pace: impl Fn(&PeerPace) -> Pace) -> BTreeMap<NodeId, Slowness> {
        let mut told: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for peer in self.reports.values().flat_map(|(_, peers)| peers) {
            let Pace { packets, micros } = pace(peer);
            if packets >= self.settings.min_packets.max(1) {
                told.entry(peer.node).or_default().push(micros / packets);
            }
        }
        let figures: BTreeMap<NodeId, (u64, usize)> = told
            .into_iter()
            .filter_map(|(node, mut told)| {
                // One that all others are slow for is slow itself: each node needs the word of several.
                let witnesses = told.len();
                (witnesses >= WITNESSES).then(|| (node, (lower_median(&mut told), witnesses)))
            })
            .collect();
        let floor = u64::try_from(floor.as_micros()).unwrap_or(u64::MAX);
        let slow = figures.iter().filter_map(|(&node, &(micros, witnesses))| {
            let others = figures.iter().filter(|(other, _)| **other != node);
            let mut others: Vec<u64> = others.map(|(_, (micros, _))| *micros).collect();
            if others.len() < WITNESSES {
                return None;
            }
            let peers_micros = upper_median(&mut others);
            let limit = peers_micros.saturating_mul(u64::from(self.settings.ratio.max(1))).max(floor);
            let witnesses = u32::try_from(witnesses).unwrap_or(u32::MAX);
            (micros >= limit).then_some((node, Slowness { micros, peers_micros, witnesses }))
        });
        slow.collect()
    }
}

/// The median; of an even number the lower of the two in the middle, so that of two that tell both must.
fn lower_median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

/// The same with the higher one.
fn upper_median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What a node tells: of each of `peers` so many microseconds a packet.
    fn told(peers: &[(u32, u64)]) -> Vec<PeerPace> {
        let pace = |micros| Pace { packets: 100, micros: micros * 100 };
        let peer = |&(node, micros)| PeerPace { node: NodeId(node), plain: pace(micros), durable: Pace::default() };
        peers.iter().map(peer).collect()
    }

    /// Four nodes, each of which tells of the others; `micros` says what `from` tells of `to`.
    fn round(nodes: &mut SlowNodes, second: u64, micros: impl Fn(u32, u32) -> u64) -> Vec<u32> {
        for from in 1..=4 {
            let peers: Vec<_> = (1..=4).filter(|to| *to != from).map(|to| (to, micros(from, to))).collect();
            nodes.reported(at(second), NodeId(from), told(&peers));
        }
        nodes.tick(at(second)).into_iter().map(NodeId::get).collect()
    }

    fn nodes() -> SlowNodes {
        SlowNodes::new(SlowSettings::default(), at(0))
    }

    #[test]
    fn a_slow_node_is_called_so_after_several_rounds_and_forgiven_after_more() {
        let mut nodes = nodes();
        let slow = |_, to| if to == 3 { 100 * MS } else { 2 * MS };
        let fine = |_, _| 2 * MS;
        assert_eq!(round(&mut nodes, 10, slow), []);
        assert_eq!(round(&mut nodes, 20, slow), []);
        assert_eq!(round(&mut nodes, 25, slow), [], "no round");
        assert_eq!(round(&mut nodes, 30, slow), [3]);
        let slowness = Slowness { micros: 100 * MS, peers_micros: 2 * MS, witnesses: 3 };
        assert_eq!(nodes.slowness(NodeId(3)), Some(slowness));
        for number in 0..5 {
            assert_eq!(round(&mut nodes, 40 + number * 10, fine), []);
            assert!(nodes.slowness(NodeId(3)).is_some());
        }
        assert_eq!(round(&mut nodes, 90, slow), [], "and back to the beginning");
        for number in 0..5 {
            assert_eq!(round(&mut nodes, 100 + number * 10, fine), []);
        }
        assert_eq!(round(&mut nodes, 150, fine), [3]);
        assert_eq!(nodes.slowness(NodeId(3)), None);
        assert!(nodes.judged.is_empty());
    }

    #[test]
    fn one_that_goes_up_and_down_is_not_called_slow() {
        let mut nodes = nodes();
        for number in 1..40 {
            let slow = number % 3 != 0;
            let changed = round(&mut nodes, number * 10, |_, to| if slow && to == 3 { 100 * MS } else { 2 * MS });
            assert_eq!(changed, [], "round {number}");
        }
    }

    #[test]
    fn the_word_of_one_condemns_nobody() {
        let mut nodes = nodes();
        for number in 1..20 {
            // It says so of one, or of all: it is its own network that is slow, or it lies.
            assert_eq!(
                round(&mut nodes, number * 10, |from, to| if (from, to) == (1, 3) { 900 * MS } else { 2 * MS }),
                []
            );
        }
        for number in 20..40 {
            assert_eq!(round(&mut nodes, number * 10, |from, _| if from == 1 { 900 * MS } else { 2 * MS }), []);
        }
        // Nor is anybody slow of whom only one can tell.
        let mut nodes = SlowNodes::new(SlowSettings::default(), at(0));
        for number in 1..20 {
            nodes.reported(at(number * 10), NodeId(1), told(&[(2, 2 * MS), (3, 900 * MS), (4, 2 * MS)]));
            assert_eq!(nodes.tick(at(number * 10)), []);
        }
    }

    #[test]
    fn neither_small_figures_nor_few_packets_nor_a_cluster_that_is_slow_together_count() {
        let mut nodes = nodes();
        for number in 1..10 {
            assert_eq!(round(&mut nodes, number * 10, |_, to| if to == 3 { 19 * MS } else { 100 }), [], "all are fast");
        }
        for number in 10..20 {
            assert_eq!(round(&mut nodes, number * 10, |_, to| 200 * MS + u64::from(to)), [], "all are slow");
        }
        for number in 20..30 {
            for from in [1, 2, 4] {
                let mut peers = told(&[(1, 2 * MS), (2, 2 * MS), (3, 500 * MS), (4, 2 * MS)]);
                peers.iter_mut().for_each(|peer| peer.plain = Pace { packets: 15, micros: peer.plain.micros });
                nodes.reported(at(number * 10), NodeId(from), peers);
            }
            assert_eq!(nodes.tick(at(number * 10)), [], "too few to tell");
        }
    }

    #[test]
    fn a_disk_that_is_slow_is_seen_by_what_waits_for_it() {
        let mut nodes = nodes();
        let mut changed = Vec::new();
        for number in 1..4 {
            for from in 1..=3 {
                let mut peers = told(&[(1, MS), (2, MS), (3, MS)]);
                for peer in &mut peers {
                    let micros = if peer.node == NodeId(2) { 900 * MS } else { 20 * MS };
                    peer.durable = Pace { packets: 20, micros: micros * 20 };
                }
                nodes.reported(at(number * 10), NodeId(from), peers);
            }
            changed = nodes.tick(at(number * 10));
        }
        assert_eq!(changed, [NodeId(2)]);
        assert_eq!(nodes.slowness(NodeId(2)).expect("slow").peers_micros, 20 * MS);
    }

    #[test]
    fn whoever_says_nothing_any_more_is_forgotten() {
        let mut nodes = nodes();
        for number in 1..4 {
            round(&mut nodes, number * 10, |_, to| if to == 3 { 100 * MS } else { 2 * MS });
        }
        assert!(nodes.slowness(NodeId(3)).is_some());
        for number in 4..12 {
            nodes.tick(at(number * 10));
        }
        assert_eq!(nodes.slowness(NodeId(3)), None);
        assert!(nodes.reports.is_empty());
        nodes.reported(at(0), NodeId(1), (0..1_000).map(|node| told(&[(node, 1)])[0]).collect());
        assert_eq!(nodes.reports[&NodeId(1)].1.len(), MAX_PEERS);
    }
}
