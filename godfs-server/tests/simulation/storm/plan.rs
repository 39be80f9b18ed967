//! What a seed decides: what writers do, and what befalls whom.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use godfs_client::ReplaceNodes;

/// The smallest chunks there are, so that a file of moderate length has several.
const SMALL_CHUNK: u64 = 64 << 10;
/// Chunks in the middle of which much can happen.
const LARGE_CHUNK: u64 = 512 << 10;
/// The most bytes of one write.
const LARGEST_WRITE: u64 = 40_000;
/// The most datanodes of a plan; two more than a pipeline has, and one for which there is no use.
pub(super) const MOST_DATANODES: usize = 6;
/// Writers of a plan at most.
pub(super) const MOST_WRITERS: usize = 2;
/// Files of each writer.
pub(super) const FILES: usize = 2;
/// The longest that anything lasts before it is mended: less than recovery waits for nodes that hold what others lack.
const LONGEST: u64 = 6_000;

/// One simulation.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Decides everything, also what is below.
    pub(super) seed: u64,
    /// How many datanodes there are.
    pub(super) datanodes: usize,
    /// Which pipelines get another node.
    pub(super) policy: ReplaceNodes,
    /// The longest that a message is on its way; most arrive far sooner, and in another order than they were sent.
    pub(super) latency: Duration,
    /// One thing befalls the cluster at a time, and it recovers in between: then no operation of a client may fail.
    pub(super) gentle: bool,
    /// A node fails, and another soon after, so that copies to nodes that join are hit: no operation of a client may stand still for long.
    pub(super) rush: bool,
    /// Bytes of a chunk.
    pub(super) chunk: u64,
    /// Whether all power goes once more when everything is as it should be.
    pub(super) dark_at_end: bool,
    /// What each writer does, one after another.
    pub(super) scripts: Vec<Vec<Op>>,
    /// What befalls whom.
    pub(super) faults: Vec<Fault>,
}

/// Something that a writer does. Without an open file all but `Open`, `Truncate` and `Pause` is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Creates the file, of so many replicas, or opens it for writing at its end.
    Open { file: usize, replicas: u32 },
    /// Writes so many bytes.
    Write(usize),
    /// `hflush`.
    Flush,
    /// `hsync`.
    Sync,
    /// `close`.
    Close,
    /// Cuts a file that is closed to so many thousandths of its length.
    Truncate { file: usize, keep: u64 },
    /// So many milliseconds.
    Pause(u64),
}

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Namenode,
    Datanode(usize),
    Writer(usize),
    Reader,
}

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// So many milliseconds after the writers began.
    At(u64),
    /// So many milliseconds after a writer began with one of its operations.
    After { writer: usize, op: usize, millis: u64 },
}

/// What befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A process is killed: its connections break, and its disk keeps what was written.
    Killed(Who),
    /// The power of a machine goes: silence, and its disk loses what was not synced.
    PowerCut(Who),
    /// All power goes, of namenode and datanodes.
    Dark,
    /// Nothing passes between two machines, and what is on its way is lost.
    Parted(Who, Who),
    /// The same between one and all others.
    CutOff(Who),
    /// What passes between one machine and all others waits, and arrives in the end.
    Stalled(Who),
    /// Each message between two machines takes so many milliseconds.
    Slow(Who, Who, u64),
    /// The disk of a datanode fails to read.
    Unreadable(usize),
    /// The disk of a datanode fails to write.
    Unwritable(usize),
    /// The disk of a datanode fails to sync.
    Unsyncable(usize),
    /// One sync fails, that many from now.
    OneSyncFails(usize, u64),
    /// The disk of a datanode has so much room left, bytes.
    Full(usize, u64),
}

/// One of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) when: When,
    pub(super) what: What,
    /// How long it lasts.
    pub(super) lasts: Duration,
}

impl Plan {
    /// Equal seeds give equal plans.
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed ^ 0x0057_0711));
        let gentle = dice.one_in(3);
        let rush = !gentle && dice.one_in(3);
        let datanodes = dice.0.usize(if rush { 4 } else { 3 }..=MOST_DATANODES);
        let writers = if rush { 1 } else { dice.0.usize(1..=MOST_WRITERS) };
        let chunk = if rush || dice.one_in(4) { LARGE_CHUNK } else { SMALL_CHUNK };
        let scripts: Vec<Vec<Op>> = (0..writers).map(|_| dice.script(chunk, rush)).collect();
        let count = match (gentle, rush) {
            (true, _) => dice.0.usize(1..=3),
            (_, true) => 0,
            _ => dice.0.usize(1..=7),
        };
        let mut faults = if rush { dice.two(datanodes, &scripts[0]) } else { Vec::new() };
        let mut from = 0;
        for _ in 0..count {
            let mut fault = dice.fault(datanodes, &scripts, gentle);
            if gentle {
                // One after another, with time to recover.
                let at = from + dice.0.u64(0..3_000);
                if from > 0 {
                    fault.when = When::At(at);
                }
                from = at + LONGEST + 8_000;
            }
            faults.push(fault);
        }
        if !rush && !gentle && dice.one_in(3) {
            faults.extend(dice.after_a_sync(datanodes, &scripts));
        }
        let policies = [ReplaceNodes::Never, ReplaceNodes::WhenSmall, ReplaceNodes::Always, ReplaceNodes::Always];
        Self {
            seed,
            datanodes,
            policy: if rush { ReplaceNodes::Always } else { policies[dice.0.usize(0..policies.len())] },
            latency: Duration::from_millis(dice.0.u64(2..=30)),
            gentle,
            rush,
            chunk,
            dark_at_end: dice.one_in(3),
            scripts,
            faults,
        }
    }

    /// A generator for one purpose.
    pub(super) fn random(&self, purpose: u64) -> u64 {
        fastrand::Rng::with_seed(self.seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..)
    }

    /// How many steps there are, faults first.
    pub(super) fn steps(&self) -> usize {
        self.faults.len() + self.scripts.iter().map(Vec::len).sum::<usize>()
    }

    /// The same without some of its steps. Operations become pauses of no length, so that the others keep their numbers.
    pub(super) fn without(&self, dropped: &BTreeSet<usize>) -> Self {
        let mut plan = self.clone();
        let mut number = 0;
        plan.faults.retain(|_| {
            number += 1;
            !dropped.contains(&(number - 1))
        });
        for op in plan.scripts.iter_mut().flatten() {
            if dropped.contains(&number) {
                *op = Op::Pause(0);
            }
            number += 1;
        }
        plan
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { datanodes, policy, latency, gentle, rush, chunk, dark_at_end, .. } = self;
        writeln!(
            f,
            "{datanodes} datanodes, {policy:?}, chunks of {chunk}, {latency:?}, gentle {gentle}, rush {rush}, dark at the end {dark_at_end}"
        )?;
        for fault in &self.faults {
            writeln!(f, "  {:?} {:?} for {:?}", fault.when, fault.what, fault.lasts)?;
        }
        for (writer, script) in self.scripts.iter().enumerate() {
            let ops = script.iter().enumerate().filter(|(_, op)| **op != Op::Pause(0));
            let ops: Vec<String> = ops.map(|(number, op)| format!("{number} {op:?}")).collect();
            writeln!(f, "  writer {writer}: {}", ops.join(", "))?;
        }
        Ok(())
    }
}

struct Dice(fastrand::Rng);

impl Dice {
    fn one_in(&mut self, n: u8) -> bool {
        self.0.u8(0..n) == 0
    }

    fn script(&mut self, chunk: u64, rush: bool) -> Vec<Op> {
        let mut script = Vec::new();
        for _ in 0..if rush { 1 } else { self.0.usize(2..=4) } {
            let file = self.0.usize(0..FILES);
            if self.one_in(6) {
                script.push(Op::Truncate { file, keep: self.0.u64(0..=1_000) });
            }
            let replicas = if rush { 3 } else { [3, 3, 3, 2, 1][self.0.usize(0..5)] };
            script.push(Op::Open { file, replicas });
            let mut position = 0;
            let length = match rush {
                true => self.0.u64(LARGE_CHUNK * 3 / 4..LARGE_CHUNK * 3 / 2),
                false if self.one_in(5) => self.0.u64(0..20_000),
                false => self.0.u64(10_000..3 * SMALL_CHUNK),
            };
            while position < length {
                // Often exactly to the end of the chunk, as far as that is known.
                let to_end = (chunk - position % chunk).min(2 * LARGEST_WRITE);
                let write = if self.one_in(4) { to_end } else { self.0.u64(1..=LARGEST_WRITE) };
                position += write;
                script.push(Op::Write(usize::try_from(write).expect("small")));
                match self.0.u8(0..8) {
                    0..=2 => script.push(Op::Flush),
                    3 => script.push(Op::Sync),
                    4 | 5 => script.push(Op::Pause(self.0.u64(1..1_500))),
                    _ => {}
                }
            }
            if !self.one_in(8) {
                script.push(Op::Close);
            }
        }
        script
    }

    /// What takes a node from a pipeline in the middle of a chunk, and what befalls that one or another while a node joins in its place.
    fn two(&mut self, datanodes: usize, script: &[Op]) -> Vec<Fault> {
        let op = self.0.usize(1..script.len());
        let millis = self.0.u64(0..60);
        let first = self.0.usize(0..datanodes);
        let second = self.0.usize(0..datanodes);
        let later = millis + if self.one_in(3) { self.0.u64(2_000..2_600) } else { self.0.u64(0..500) };
        let taken = match self.0.u8(0..5) {
            0 => What::Stalled(Who::Datanode(first)),
            1 => What::OneSyncFails(first, self.0.u64(1..4)),
            2 => What::Full(first, 0),
            _ => What::Killed(Who::Datanode(first)),
        };
        let hit = match self.0.u8(0..7) {
            0 | 1 => What::Killed(Who::Datanode(second)),
            2 | 3 => What::Stalled(Who::Datanode(second)),
            4 => What::Unwritable(second),
            5 => What::OneSyncFails(second, self.0.u64(1..4)),
            _ => What::Full(second, self.0.u64(0..200_000)),
        };
        let fault = |millis, what| Fault {
            when: When::After { writer: 0, op, millis },
            what,
            lasts: Duration::from_millis(LONGEST),
        };
        vec![fault(millis, taken), fault(later, hit)]
    }

    /// Power that goes soon after an `hsync`, while the chunk is still open.
    fn after_a_sync(&mut self, datanodes: usize, scripts: &[Vec<Op>]) -> Option<Fault> {
        let writer = self.0.usize(0..scripts.len());
        let syncs: Vec<usize> =
            scripts[writer].iter().enumerate().filter(|(_, op)| **op == Op::Sync).map(|(at, _)| at).collect();
        let op = *syncs.get(self.0.usize(0..syncs.len().max(1)))? + 1;
        let what = match self.0.bool() {
            true => What::PowerCut(Who::Datanode(self.0.usize(0..datanodes))),
            false => What::Dark,
        };
        let when = When::After { writer, op, millis: self.0.u64(0..30) };
        Some(Fault { when, what, lasts: Duration::from_millis(self.0.u64(20..LONGEST)) })
    }

    fn fault(&mut self, datanodes: usize, scripts: &[Vec<Op>], gentle: bool) -> Fault {
        let when = if self.one_in(4) {
            When::At(self.0.u64(0..8_000))
        } else {
            let writer = self.0.usize(0..scripts.len());
            let op = self.0.usize(0..scripts[writer].len());
            When::After { writer, op, millis: self.0.u64(0..60) }
        };
        let node = self.0.usize(0..datanodes);
        let what = match self.0.u8(0..if gentle { 12 } else { 19 }) {
            0 | 1 => What::Killed(Who::Datanode(node)),
            2 => What::PowerCut(Who::Datanode(node)),
            3 => What::CutOff(Who::Datanode(node)),
            4 => What::Stalled(Who::Datanode(node)),
            5 => What::Parted(Who::Datanode(node), Who::Namenode),
            6 => What::Parted(Who::Datanode(node), Who::Datanode((node + 1) % datanodes)),
            7 => What::Killed(Who::Namenode),
            8 => What::Unwritable(node),
            9 => What::OneSyncFails(node, self.0.u64(1..12)),
            10 => What::Full(node, self.0.u64(0..64_000)),
            11 => What::Slow(Who::Datanode(node), self.anyone(datanodes, scripts.len(), node), self.0.u64(20..250)),
            12 => What::Unreadable(node),
            13 => What::Unsyncable(node),
            14 => What::PowerCut(Who::Namenode),
            15 => What::Dark,
            16 => What::Killed(Who::Writer(self.0.usize(0..scripts.len()))),
            17 => What::Parted(Who::Writer(self.0.usize(0..scripts.len())), Who::Namenode),
            _ => What::Parted(Who::Datanode(node), self.anyone(datanodes, scripts.len(), node)),
        };
        // Shorter than it takes to be missed, or longer than it takes to be given up.
        let lasts = if self.0.bool() { self.0.u64(20..600) } else { self.0.u64(1_500..LONGEST) };
        Fault { when, what, lasts: Duration::from_millis(lasts) }
    }

    fn anyone(&mut self, datanodes: usize, writers: usize, but: usize) -> Who {
        match self.0.u8(0..4) {
            0 => Who::Reader,
            1 => Who::Writer(self.0.usize(0..writers)),
            _ => Who::Datanode((but + self.0.usize(1..datanodes)) % datanodes),
        }
    }
}
