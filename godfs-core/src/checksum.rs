//! CRC32C over pieces of 4 KiB, and how checksums of neighbouring bytes are joined.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, ErrorKind, Result};

/// The bytes that one checksum covers; the last piece of a chunk may be shorter.
pub const PIECE: usize = 4_096;

/// The bytes of one stored or sent checksum: a CRC32C (Castagnoli), big endian.
pub const CHECKSUM_BYTES: usize = 4;

/// How many pieces `length` bytes make.
#[must_use]
pub const fn pieces(length: u64) -> u64 {
    length.div_ceil(PIECE as u64)
}

/// CRC32C of `data`.
#[must_use]
pub fn crc32c(data: &[u8]) -> u32 {
    ::crc32c::crc32c(data)
}

/// CRC32C of bytes whose CRC32C is `crc` followed by `data`.
#[must_use]
pub fn crc32c_append(crc: u32, data: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, data)
}

/// CRC32C of two neighbouring byte strings from the CRC32C of each and the length of the second.
#[must_use]
pub fn crc32c_combine(first: u32, second: u32, second_length: usize) -> u32 {
    ::crc32c::crc32c_combine(first, second, second_length)
}

/// The checksums of `data`, one big-endian CRC32C per piece, where `data` begins at byte `offset` of its chunk.
///
/// The first piece ends at the next multiple of [`PIECE`], so that data which does not begin on a boundary still has
/// checksums that line up with the chunk's own pieces.
#[must_use]
pub fn checksums(offset: u64, data: &[u8]) -> Bytes {
    let mut sums = BytesMut::with_capacity((data.len() / PIECE + 2) * CHECKSUM_BYTES);
    for piece in split(offset, data) {
        sums.put_u32(crc32c(piece));
    }
    sums.freeze()
}

/// Checks `data`, which begins at byte `offset` of its chunk, against `sums` as made by [`checksums`].
///
/// # Errors
/// [`ErrorKind::Corrupt`], naming the first piece that differs, and [`ErrorKind::InvalidArgument`] when there are not
/// as many checksums as pieces.
pub fn verify(offset: u64, data: &[u8], sums: &[u8]) -> Result<()> {
    let (_, outcome) = verified(offset, data, sums);
    outcome
}

/// The same, with how many bytes before the first piece that differs are good.
pub fn verified(offset: u64, data: &[u8], sums: &[u8]) -> (usize, Result<()>) {
    let expected = split(offset, data).count() * CHECKSUM_BYTES;
    if sums.len() != expected {
        let message =
            format!("{} bytes of checksums where {} bytes of data at {offset} need {expected}", sums.len(), data.len());
        return (0, Err(Error::new(ErrorKind::InvalidArgument, message)));
    }
    let mut good = 0;
    for (piece, sum) in split(offset, data).zip(sums.chunks_exact(CHECKSUM_BYTES)) {
        let found = crc32c(piece);
        let wanted = u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]]);
        if found != wanted {
            let at = offset + good as u64;
            let message =
                format!("bytes {at}..{} have checksum {found:08x}, expected {wanted:08x}", at + piece.len() as u64);
            return (good, Err(Error::new(ErrorKind::Corrupt, message)));
        }
        good += piece.len();
    }
    (good, Ok(()))
}

/// Cuts `data`, which begins at byte `offset` of its chunk, at the chunk's piece boundaries.
pub fn split(offset: u64, data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let into = usize::try_from(offset % PIECE as u64).unwrap_or(0);
    let head = if into == 0 { 0 } else { (PIECE - into).min(data.len()) };
    let (first, rest) = data.split_at(head);
    (!first.is_empty()).then_some(first).into_iter().chain(rest.chunks(PIECE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        let data: Vec<u8> = (0..=255).collect();
        let (a, b) = data.split_at(100);
        assert_eq!(crc32c_combine(crc32c(a), crc32c(b), b.len()), crc32c(&data));
        assert_eq!(crc32c_append(crc32c(a), b), crc32c(&data));
    }

    #[test]
    fn pieces_line_up_with_the_chunk() {
        let data = vec![7; 10_000];
        assert_eq!(split(0, &data).map(<[u8]>::len).collect::<Vec<_>>(), [4096, 4096, 1808]);
        assert_eq!(split(4000, &data).map(<[u8]>::len).collect::<Vec<_>>(), [96, 4096, 4096, 1712]);
        assert_eq!(split(4000, &data[..50]).map(<[u8]>::len).collect::<Vec<_>>(), [50]);
        assert_eq!(split(0, &[]).count(), 0);
        assert_eq!(pieces(0), 0);
        assert_eq!(pieces(4097), 2);
    }

    #[test]
    fn a_flipped_bit_is_found_and_named() {
        let mut data = vec![1; 9_000];
        let sums = checksums(4_000, &data);
        verify(4_000, &data, &sums).expect("unchanged");
        data[5_000] ^= 1;
        let error = verify(4_000, &data, &sums).expect_err("changed");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("8192..12288"), "{error}");
        let error = verify(4_000, &data, &sums[4..]).expect_err("a checksum short");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
