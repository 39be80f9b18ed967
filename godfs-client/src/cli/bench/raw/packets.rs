//! What the rows send: packets of 1 MiB behind the checksums of their pieces, as a pipeline of GoDFS sends them.

use std::io::{Read, Write};

use godfs_core::checksum::{self, CHECKSUM_BYTES, PIECE};
use godfs_core::{Error, Result};

/// Bytes of a packet, but for the last.
pub(super) const PACKET: usize = 1 << 20;
/// Bytes of the memory that is sent from: more than a processor's caches hold, as what a server sends is.
const SOURCE: usize = 64 << 20;
/// The alignment of buffers: copies between places that differ by a few bytes modulo this run at a fraction of the speed.
const ALIGNED: usize = 4 << 10;

/// Bytes at a multiple of a page.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    from: usize,
    length: usize,
}

impl Buffer {
    pub(super) fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNED];
        let from = bytes.as_ptr().align_offset(ALIGNED).min(ALIGNED);
        Self { bytes, from, length }
    }

    pub(super) fn all(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.length]
    }

    pub(super) fn all_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + self.length]
    }
}

/// Bytes to send, and their checksums if they are known beforehand.
pub(super) struct Source {
    data: Buffer,
    sums: Vec<bytes::Bytes>,
}

impl Source {
    /// Pseudo-random bytes. With `stored`, their checksums are made now, as those of a stored replica are; else as they are sent.
    pub(super) fn new(stored: bool) -> Self {
        let mut data = Buffer::new(SOURCE);
        fastrand::Rng::with_seed(0x60df5).fill(data.all_mut());
        let sums = match stored {
            true => data.all().chunks(PACKET).map(|packet| checksum::checksums(0, packet)).collect(),
            false => Vec::new(),
        };
        Self { data, sums }
    }

    /// Sends `size` bytes.
    pub(super) fn send(&self, size: u64, to: &mut impl Write) -> Result<()> {
        for (number, length) in lengths(size).enumerate() {
            let at = number % (SOURCE / PACKET);
            let packet = &self.data.all()[at * PACKET..][..length];
            let stored = self.sums.get(at).filter(|_| length == PACKET);
            let sums = stored.cloned().unwrap_or_else(|| checksum::checksums(0, packet));
            write(to, &sums, packet)?;
        }
        Ok(())
    }
}

/// Takes packets off a stream.
pub(super) struct Packets {
    data: Buffer,
    sums: Vec<u8>,
    length: usize,
}

impl Packets {
    pub(super) fn new() -> Self {
        Self { data: Buffer::new(PACKET), sums: vec![0; PACKET / PIECE * CHECKSUM_BYTES], length: 0 }
    }

    /// Waits for the next packet, of `length` bytes.
    pub(super) fn take(&mut self, length: usize, from: &mut impl Read) -> Result<()> {
        self.length = length;
        let sums = self.sums_length();
        let failed = |error| Error::io("receive", error);
        from.read_exact(&mut self.sums[..sums]).map_err(failed)?;
        from.read_exact(&mut self.data.all_mut()[..length]).map_err(failed)
    }

    pub(super) fn forward(&self, to: &mut impl Write) -> Result<()> {
        write(to, &self.sums[..self.sums_length()], self.data())
    }

    pub(super) fn verify(&self) -> Result<()> {
        checksum::verify(0, self.data(), &self.sums[..self.sums_length()])
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data.all()[..self.length]
    }

    fn sums_length(&self) -> usize {
        self.length.div_ceil(PIECE) * CHECKSUM_BYTES
    }
}

/// The lengths of the packets of `size` bytes.
pub(super) fn lengths(size: u64) -> impl Iterator<Item = usize> {
    (0..size).step_by(PACKET).map(move |at| usize::try_from(size - at).unwrap_or(PACKET).min(PACKET))
}

fn write(to: &mut impl Write, sums: &[u8], data: &[u8]) -> Result<()> {
    to.write_all(sums).and_then(|()| to.write_all(data)).map_err(|error| Error::io("send", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_taken_and_a_flipped_bit_is_found() {
        for stored in [false, true] {
            let size = PACKET as u64 + 5_000;
            let mut sent = Vec::new();
            Source::new(stored).send(size, &mut sent).expect("sent");
            assert_eq!(sent.len(), (size + (PACKET / PIECE + 2) as u64 * 4) as usize);
            let last = sent.len() - 1;
            for damage in [0, 1] {
                sent[last] ^= damage;
                let (mut packets, mut from, mut forwarded) = (Packets::new(), sent.as_slice(), Vec::new());
                let mut verified = Vec::new();
                for length in lengths(size) {
                    packets.take(length, &mut from).expect("taken");
                    packets.forward(&mut forwarded).expect("sent on");
                    verified.push(packets.verify().is_ok());
                }
                assert_eq!((forwarded == sent, verified), (true, vec![true, damage == 0]));
            }
        }
    }
}
