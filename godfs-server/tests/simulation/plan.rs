//! What a seed decides.

use std::time::Duration;

/// The most bytes between two positions of the writer.
const LARGEST_WRITE: u64 = 40_000;
/// The smallest chunks there are, so that a file of moderate length has several.
pub(crate) const CHUNK: u64 = 64 << 10;
/// How many datanodes there are.
pub(crate) const DATANODES: usize = 3;

/// Where the writer stands when the node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The file is created, and has no byte.
    BeforeWriting,
    /// In a chunk, with bytes under way.
    InMidChunk,
    /// Between the last byte of one chunk and the first of the next.
    AtChunkEnd,
    /// Close was called.
    AtClose,
}

/// How the node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its process is killed: connections break at once, and the disk keeps what was written.
    Killed,
    /// Its power goes: silence, and the disk loses what was not synced.
    PowerCut,
    /// Nobody reaches it, and it reaches nobody. What is on its way is lost.
    CutOff,
    /// As before, but only between it and the namenode.
    CutOffFromNamenode,
    /// As before, but only between it and the next datanode.
    CutOffFromNeighbour,
    /// The network to it stalls, and in the end delivers everything.
    Stalled,
}

/// One simulation.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Decides everything, also what is below.
    pub(crate) seed: u64,
    /// Which datanode is lost.
    pub(crate) victim: usize,
    /// When it is lost.
    pub(crate) moment: Moment,
    /// How long after the moment.
    pub(crate) delay: Duration,
    /// How.
    pub(crate) loss: Loss,
    /// For how long.
    pub(crate) away: Duration,
    /// Whether the namenode's process is killed too, how long after the loss, and for how long.
    pub(crate) namenode_killed: Option<(Duration, Duration)>,
    /// The longest that a message is on its way; most arrive far sooner.
    pub(crate) latency: Duration,
    /// Writes, each followed by what else is done there.
    pub(crate) writes: Vec<(usize, Then)>,
}

/// What follows a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next one, at once.
    Nothing,
    /// A pause, in milliseconds.
    Pause(u64),
    /// `hflush`.
    Flush,
    /// `hsync`.
    Sync,
}

impl Plan {
    /// Equal seeds give equal plans.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let millis = |random: &mut fastrand::Rng, from: u64, to: u64| Duration::from_millis(random.u64(from..=to));
        let moments = [Moment::BeforeWriting, Moment::InMidChunk, Moment::AtChunkEnd, Moment::AtClose];
        let losses = [
            Loss::Killed,
            Loss::PowerCut,
            Loss::CutOff,
            Loss::CutOffFromNamenode,
            Loss::CutOffFromNeighbour,
            Loss::Stalled,
        ];
        let length = random.u64(3 * CHUNK..6 * CHUNK);
        let mut writes = Vec::new();
        let mut position = 0;
        while position < length {
            // Often exactly to the end of the chunk.
            let to_end = CHUNK - position % CHUNK;
            let write = if random.u8(0..4) == 0 { to_end } else { random.u64(1..=LARGEST_WRITE) };
            let write = write.min(length - position);
            position += write;
            let then = match random.u8(0..8) {
                0 | 1 => Then::Flush,
                2 => Then::Sync,
                3 => Then::Pause(random.u64(1..200)),
                _ => Then::Nothing,
            };
            writes.push((usize::try_from(write).expect("small"), then));
        }
        Self {
            seed,
            victim: random.usize(0..DATANODES),
            moment: moments[random.usize(0..moments.len())],
            delay: millis(&mut random, 0, 40),
            loss: losses[random.usize(0..losses.len())],
            // Shorter than it takes to be missed, or longer than it takes to be given up.
            away: if random.bool() { millis(&mut random, 20, 600) } else { millis(&mut random, 2_500, 6_000) },
            namenode_killed: (random.u8(0..4) == 0)
                .then(|| (millis(&mut random, 0, 1_000), millis(&mut random, 10, 1_500))),
            latency: millis(&mut random, 2, 30),
            writes,
        }
    }

    /// A generator for one purpose.
    pub(crate) fn random(&self, purpose: u64) -> u64 {
        fastrand::Rng::with_seed(self.seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..)
    }

    /// Bytes in all.
    pub(crate) fn length(&self) -> usize {
        self.writes.iter().map(|(bytes, _)| bytes).sum()
    }

    /// The bytes of the file.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut content = vec![0; self.length()];
        random.fill(&mut content);
        content
    }

    /// Before which write the moment is; none when it is the close.
    pub(crate) fn strikes_before(&self) -> Option<usize> {
        let mut position = 0;
        let mut positions = Vec::new();
        for (bytes, _) in &self.writes {
            positions.push(position);
            position += *bytes as u64;
        }
        match self.moment {
            Moment::BeforeWriting => Some(0),
            Moment::InMidChunk => positions.iter().position(|at| *at > CHUNK / 2 && at % CHUNK != 0),
            Moment::AtChunkEnd => positions.iter().position(|at| *at > 0 && at % CHUNK == 0),
            Moment::AtClose => None,
        }
    }
}
