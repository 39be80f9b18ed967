//! What is written: bytes that no one can compress, made once.

use bytes::Bytes;

/// Bytes of the pattern that files are cut from. More would only cost time at the start.
const PATTERN_BYTES: usize = 16 << 20;
/// Bytes handed over at once: what one packet holds.
const BLOCK_BYTES: usize = 1 << 20;
/// Where the pattern of the next file begins, after that of one: odd, and a multiple of nothing on a disk, so that no
/// two files of a run have a page in common for long.
const STRIDE: usize = 1_048_573;

/// Pseudo-random bytes, the same for the same seed. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Data(Bytes);

impl Data {
    /// Makes the pattern, for files of at most `size` bytes.
    pub(super) fn new(seed: u64, size: u64) -> Self {
        let length = usize::try_from(size).unwrap_or(usize::MAX).clamp(1, PATTERN_BYTES);
        let mut pattern = vec![0; length];
        fastrand::Rng::with_seed(seed).fill(&mut pattern);
        Self(pattern.into())
    }

    /// The `size` bytes of file `index`, in blocks that share the memory of the pattern.
    pub(super) fn file(&self, index: u64, size: u64) -> impl Iterator<Item = Bytes> + use<> {
        let pattern = self.0.clone();
        let length = pattern.len();
        let start = usize::try_from(index % length as u64).unwrap_or(0);
        let mut at = (start as u128 * STRIDE as u128 % length as u128) as usize;
        let mut left = size;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let block = (length - at).min(BLOCK_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
            let bytes = pattern.slice(at..at + block);
            at = (at + block) % length;
            left -= block as u64;
            Some(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_size_and_differ() {
        for size in [0, 1, 4_096, (PATTERN_BYTES as u64) + 5] {
            let data = Data::new(1, size);
            for index in [0, 1, u64::MAX] {
                let blocks: Vec<Bytes> = data.file(index, size).collect();
                assert_eq!(blocks.iter().map(|block| block.len() as u64).sum::<u64>(), size);
                assert!(blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK_BYTES));
            }
        }
        let all = |index| Data::new(1, 100).file(index, 100).flatten().collect::<Vec<u8>>();
        assert!(all(0) != all(1) && all(1) == all(1));
    }
}
