//! What may be done with a replica, decided from what is known of it, without I/O. Every store asks here, so that all
//! refuse alike.

use bytes::Bytes;

use super::{CreateReplica, MAX_CHUNK_BYTES, MAX_PACKET_BYTES, Packet, ReopenReplica, Replica, ReplicaState};
use crate::checksum::{self, CHECKSUM_BYTES, PIECE};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation};

/// What a store knows of a replica when it decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) replica: Replica,
    /// The highest generation under which a recovery has begun; 0 when there was none.
    pub(super) recovered: Generation,
}

/// What is left to do for `settle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settle {
    /// It was done before.
    Done,
    /// All of it.
    Needed,
}

pub(super) fn not_found(chunk: ChunkId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no replica of chunk {chunk} here"))
}

pub(super) fn fenced(chunk: ChunkId, generation: Generation, newer: Generation) -> Error {
    Error::new(ErrorKind::Fenced, format!("generation {generation} of chunk {chunk} is behind generation {newer}"))
}

/// The error of a writer that was stopped by a later call.
pub(super) fn stopped(chunk: ChunkId, generation: Generation) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("this writer of chunk {chunk} at generation {generation} was stopped by a later one, or a recovery"),
    )
}

/// Whether a replica may be created, replacing the one known.
pub(super) fn create(options: CreateReplica, known: Option<Known>) -> Result<()> {
    let CreateReplica { chunk, generation, capacity, state } = options;
    if !matches!(state, ReplicaState::Rbw | ReplicaState::Temporary) {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("a replica can't be created as {state:?}")));
    }
    if capacity > MAX_CHUNK_BYTES {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("chunk {chunk} of {capacity} bytes is above the limit of {MAX_CHUNK_BYTES}"),
        ));
    }
    let Some(Known { replica, recovered }) = known else { return Ok(()) };
    not_behind(generation, replica, recovered)?;
    match (replica.state, state) {
        // What a crash left half-written is no obstacle to a whole copy, which is only ordered of a committed chunk.
        (ReplicaState::Temporary, _) | (ReplicaState::Rwr, ReplicaState::Temporary) => Ok(()),
        (ReplicaState::Rbw, _) if replica.generation < generation => Ok(()),
        // Finished by a pipeline that went on without it: the chunk has moved on to another generation.
        (ReplicaState::Finalized, ReplicaState::Temporary) if replica.generation < generation => Ok(()),
        _ => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("chunk {chunk} has a replica here, {:?} at generation {}", replica.state, replica.generation),
        )),
    }
}

/// Whether a replica may be taken up again.
pub(super) fn reopen(options: ReopenReplica, known: Option<Known>) -> Result<()> {
    let ReopenReplica { chunk, generation, length } = options;
    let Known { replica, recovered } = present(chunk, known)?;
    not_behind(generation, replica, recovered)?;
    if replica.generation == generation {
        return Err(fenced(chunk, generation, replica.generation));
    }
    long_enough(replica, length)
}

/// Whether a recovery may begin.
pub(super) fn recover(chunk: ChunkId, generation: Generation, known: Option<Known>) -> Result<()> {
    let Known { replica, recovered } = present(chunk, known)?;
    not_behind(generation, replica, recovered)?;
    if replica.generation == generation {
        return Err(fenced(chunk, generation, replica.generation));
    }
    Ok(())
}

/// Whether a replica may be settled, or was.
pub(super) fn settle(chunk: ChunkId, generation: Generation, length: u64, known: Option<Known>) -> Result<Settle> {
    let Known { replica, recovered } = present(chunk, known)?;
    not_behind(generation, replica, recovered)?;
    if replica.state == ReplicaState::Finalized && replica.generation == generation {
        return if replica.length == length {
            Ok(Settle::Done)
        } else {
            Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!(
                    "chunk {chunk} is finalized with {} bytes at generation {generation}, not with {length}",
                    replica.length
                ),
            ))
        };
    }
    long_enough(replica, length)?;
    Ok(Settle::Needed)
}

/// Whether a replica is there to be deleted.
pub(super) fn delete(chunk: ChunkId, generation: Generation, known: Option<Known>) -> Result<bool> {
    match known {
        None => Ok(false),
        Some(Known { replica, .. }) if replica.generation > generation => {
            Err(fenced(chunk, generation, replica.generation))
        }
        Some(_) => Ok(true),
    }
}

/// Whether a replica may be opened for reading.
pub(super) fn open(chunk: ChunkId, min_generation: Generation, known: Option<Known>) -> Result<Replica> {
    let Known { replica, .. } = present(chunk, known)?;
    if replica.generation < min_generation {
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            format!("chunk {chunk} is at generation {} here, {min_generation} is wanted", replica.generation),
        ));
    }
    Ok(replica)
}

/// Whether a replica is one that `verify` can judge.
pub(super) fn verify(chunk: ChunkId, known: Option<Known>) -> Result<Replica> {
    let Known { replica, .. } = known.ok_or_else(|| not_found(chunk))?;
    if replica.state == ReplicaState::Finalized {
        return Ok(replica);
    }
    Err(Error::new(
        ErrorKind::FailedPrecondition,
        format!("chunk {chunk} is {:?}; only a finalized replica can be verified", replica.state),
    ))
}

/// Checks a packet for a replica that holds `length` bytes of at most `capacity`, its checksums last. Tells how many
/// of its first bytes the replica has already; those must be compared.
pub(super) fn admit(packet: &Packet, length: u64, capacity: u64) -> Result<usize> {
    let Packet { offset, data, checksums } = packet;
    let refuse = |why: String| Err(Error::new(ErrorKind::InvalidArgument, why));
    if data.len() > MAX_PACKET_BYTES {
        return refuse(format!("a packet of {} bytes is above the limit of {MAX_PACKET_BYTES}", data.len()));
    }
    if *offset > length {
        return refuse(format!("a packet at {offset} leaves a gap after {length}"));
    }
    if *offset < piece_start(length) {
        return refuse(format!("a packet at {offset} begins before the last piece of the {length} bytes written"));
    }
    let end = offset.saturating_add(data.len() as u64);
    if end > capacity {
        return refuse(format!("a packet that ends at {end} exceeds the {capacity} bytes the replica was created for"));
    }
    checksum::verify(*offset, data, checksums)?;
    let overlap = usize::try_from(length - offset).unwrap_or(usize::MAX);
    Ok(overlap.min(data.len()))
}

/// The error of a packet whose overlap differs from what the replica holds.
pub(super) fn disagrees(packet: &Packet) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("the packet at {} differs from what was written there", packet.offset),
    )
}

/// The checksums of a replica after fresh bytes were put at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    /// The length with the fresh bytes.
    pub(super) length: u64,
    /// The number of the first piece that the fresh bytes complete.
    pub(super) first_piece: u64,
    /// One checksum for each piece that they complete.
    pub(super) checksums: Bytes,
    /// The checksum of the last, unfinished piece; 0 when the length is a multiple of the piece.
    pub(super) tail: u32,
}

/// Extends `length` bytes, whose last unfinished piece has checksum `tail`, by an admitted packet. Its own checksums
/// are used; only the piece that was begun before is computed anew.
pub(super) fn extend(length: u64, tail: u32, packet: &Packet, overlap: usize) -> Extension {
    let fresh = &packet.data[overlap..];
    let total = length + fresh.len() as u64;
    let whole = usize::try_from(total / PIECE as u64 - length / PIECE as u64).expect("a packet is small");
    let unfinished = !total.is_multiple_of(PIECE as u64);
    let sums = if length.is_multiple_of(PIECE as u64) {
        packet.checksums.clone()
    } else {
        let rest = PIECE - usize::try_from(length % PIECE as u64).expect("below the piece");
        let first = checksum::crc32c_append(tail, &fresh[..rest.min(fresh.len())]);
        let mut sums = Vec::with_capacity(packet.checksums.len());
        sums.extend_from_slice(&first.to_be_bytes());
        sums.extend_from_slice(packet.checksums.get(CHECKSUM_BYTES..).unwrap_or_default());
        Bytes::from(sums)
    };
    let tail = if unfinished { checksum_at(&sums, whole) } else { 0 };
    Extension {
        length: total,
        first_piece: length / PIECE as u64,
        checksums: sums.slice(..whole * CHECKSUM_BYTES),
        tail,
    }
}

/// The checksum with this number; 0 when there is none.
pub(super) fn checksum_at(checksums: &[u8], number: usize) -> u32 {
    let at = number * CHECKSUM_BYTES;
    match checksums.get(at..at + CHECKSUM_BYTES) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// Where the piece that holds `offset` begins.
pub(super) const fn piece_start(offset: u64) -> u64 {
    offset - offset % PIECE as u64
}

/// The range that a read of `length` bytes at `offset` gives back, where reading ends at `visible`: whole pieces, at most
/// a packet. Empty at the end.
pub(super) fn read_range(offset: u64, length: usize, visible: u64) -> std::ops::Range<u64> {
    if offset >= visible || length == 0 {
        return offset..offset;
    }
    let start = piece_start(offset);
    let wanted = offset.saturating_add(length as u64).checked_next_multiple_of(PIECE as u64).unwrap_or(u64::MAX);
    start..wanted.min(start.saturating_add(MAX_PACKET_BYTES as u64)).min(visible)
}

/// The replica, unless it is missing or temporary: no one but its writer may know of a temporary one.
fn present(chunk: ChunkId, known: Option<Known>) -> Result<Known> {
    known.filter(|known| known.replica.state != ReplicaState::Temporary).ok_or_else(|| not_found(chunk))
}

fn not_behind(generation: Generation, replica: Replica, recovered: Generation) -> Result<()> {
    let newest = replica.generation.max(recovered);
    if newest > generation { Err(fenced(replica.chunk, generation, newest)) } else { Ok(()) }
}

fn long_enough(replica: Replica, length: u64) -> Result<()> {
    if length <= replica.length {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::FailedPrecondition,
        format!("the replica of chunk {} holds {} bytes, {length} are wanted", replica.chunk, replica.length),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(offset: u64, data: &[u8]) -> Packet {
        Packet { offset, data: Bytes::copy_from_slice(data), checksums: checksum::checksums(offset, data) }
    }

    #[test]
    fn extension_agrees_with_checksums_of_the_whole() {
        let data: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
        let cases =
            [(0, 0, 10), (0, 0, 4_096), (10, 10, 5_000), (5_000, 4_096, 5_000), (5_000, 4_500, 20_000), (0, 0, 0)];
        for (length, offset, end) in cases {
            let before = checksum::checksums(0, &data[..length]);
            let tail = if length % PIECE == 0 { 0 } else { checksum_at(&before, length / PIECE) };
            let packet = packet(offset as u64, &data[offset..end]);
            let overlap = admit(&packet, length as u64, 20_000).expect("admitted");
            assert_eq!(overlap, length - offset);
            let extension = extend(length as u64, tail, &packet, overlap);
            let mut sums = before[..length / PIECE * CHECKSUM_BYTES].to_vec();
            sums.extend_from_slice(&extension.checksums);
            if end % PIECE != 0 {
                sums.extend_from_slice(&extension.tail.to_be_bytes());
            }
            assert_eq!(extension.length, end as u64);
            assert_eq!(sums, checksum::checksums(0, &data[..end]), "{length} bytes, then {offset}..{end}");
        }
    }

    #[test]
    fn reads_are_whole_pieces_up_to_what_is_visible() {
        assert_eq!(read_range(0, 1, 10_000), 0..4_096);
        assert_eq!(read_range(5_000, 1, 10_000), 4_096..8_192);
        assert_eq!(read_range(9_000, 4_000, 10_000), 8_192..10_000);
        assert_eq!(read_range(10_000, 1, 10_000), 10_000..10_000);
        assert_eq!(read_range(0, usize::MAX, u64::MAX), 0..MAX_PACKET_BYTES as u64);
        assert_eq!(read_range(u64::MAX, usize::MAX, 5), u64::MAX..u64::MAX);
    }
}
