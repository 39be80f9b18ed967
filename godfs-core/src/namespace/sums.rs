//! Order-independent sums over replicas, by which namenode and datanode compare what they know without listing it.

use crate::id::{ChunkId, Generation};
use crate::metadata::Counters;

/// How many chunk ids one sum covers.
pub const RANGE_CHUNKS: u64 = 4_096;

/// The range that a chunk belongs to.
#[must_use]
pub const fn range_of(chunk: ChunkId) -> u64 {
    chunk.0 / RANGE_CHUNKS
}

/// What one finalized replica adds to the sum of its range: 1, its bytes, and the two halves of a 128-bit hash of
/// (chunk, generation, length). Sums are compared, never inverted; the hash needs to scatter, not to withstand an
/// adversary, who could as well send the namenode's own sums back.
#[must_use]
pub fn of_replica(chunk: ChunkId, generation: Generation, length: u64) -> Counters {
    let low = hash(0x9e37_79b9_7f4a_7c15, chunk, generation, length);
    let high = hash(0xd1b5_4a32_d192_ed03, chunk, generation, length);
    Counters([1, length.cast_signed(), low.cast_signed(), high.cast_signed()])
}

/// Lane by lane, wrapping.
#[must_use]
pub fn minus(from: Counters, less: Counters) -> Counters {
    let mut difference = from;
    for (lane, less) in difference.0.iter_mut().zip(less.0) {
        *lane = lane.wrapping_sub(less);
    }
    difference
}

fn hash(seed: u64, chunk: ChunkId, generation: Generation, length: u64) -> u64 {
    [chunk.0, generation.0, length].into_iter().fold(seed, |state, word| mix(state.wrapping_add(mix(word ^ seed))))
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014, with Stafford's thirteenth constants).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter_and_each_field_does() {
        let (a, b) = (of_replica(ChunkId(1), Generation(1), 10), of_replica(ChunkId(2), Generation(1), 10));
        assert_eq!(a.plus(b), b.plus(a));
        assert_eq!(minus(a.plus(b), b), a);
        for other in [
            of_replica(ChunkId(2), Generation(1), 10),
            of_replica(ChunkId(1), Generation(2), 10),
            of_replica(ChunkId(1), Generation(1), 11),
            // The fields are not interchangeable.
            of_replica(ChunkId(10), Generation(1), 1),
        ] {
            assert!(other.0[2] != a.0[2] && other.0[3] != a.0[3]);
        }
    }

    /// Both sides of the wire compute it: a change of the function is a change of the protocol.
    #[test]
    fn the_hash_is_fixed() {
        let sum = of_replica(ChunkId(7), Generation(3), 4_096);
        assert_eq!(sum, Counters([1, 4_096, -193_557_745_935_419_775, -1_214_433_845_178_624_883]));
    }
}
