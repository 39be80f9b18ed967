//! What every [`ChunkStore`] must do: run [`all`] over a [`Factory`] of your store in a test.
//!
//! Each check opens a new store and panics, saying what was expected, when the store does otherwise.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    ChunkStore, CreateReplica, MAX_CHUNK_BYTES, MAX_PACKET_BYTES, Packet, ReopenReplica, Replica, ReplicaReader,
    ReplicaState, ReplicaWriter, WholeReplica,
};
use crate::checksum::{self, PIECE};
use crate::error::{ErrorKind, Result};
use crate::id::{ChunkId, Generation};

/// Makes stores to be checked.
#[async_trait]
pub trait Factory: Send + Sync + fmt::Debug {
    /// A new, empty store that may hold about `capacity` bytes; without a limit when `None`.
    async fn create(&self, capacity: Option<u64>) -> Arc<dyn ChunkStore>;

    /// The store that was made last, after its process was killed and started again. All handles on it were dropped.
    async fn restart(&self) -> Arc<dyn ChunkStore>;

    /// Damages what is stored of a finalized replica while no one has it open; `false` when this kind of store has no
    /// such part.
    async fn damage(&self, chunk: ChunkId, part: Part) -> bool;
}

/// A part of a stored replica that may be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What tells the replica's identity and length.
    Header,
    /// A checksum of a piece in the middle.
    Checksum,
    /// A byte of the data.
    Data,
    /// All of it is gone.
    Everything,
}

/// Runs every check.
pub async fn all(factory: &dyn Factory) {
    write_and_read_back(factory).await;
    packets_must_follow_and_hold(factory).await;
    overlaps_of_the_last_piece(factory).await;
    whole_replicas(factory).await;
    limits(factory).await;
    readers_see_what_is_published(factory).await;
    readers_outlive_changes(factory).await;
    what_is_in_memory(factory).await;
    #[cfg(unix)]
    local_files(factory).await;
    creation_and_replacement(factory).await;
    copies_replace_leftovers(factory).await;
    one_writer(factory).await;
    reopening(factory).await;
    appending_to_a_partial_piece(factory).await;
    cutting_in_mid_piece(factory).await;
    recovery(factory).await;
    recovery_of_a_finalized_replica(factory).await;
    settling(factory).await;
    deletion(factory).await;
    listing(factory).await;
    restarts(factory).await;
    restart_in_recovery(factory).await;
    full(factory).await;
    damage(factory).await;
    cancellation(factory).await;
}

const CHUNK: ChunkId = ChunkId(0x0102);
const CAPACITY: u64 = 4 << 20;

/// Bytes that differ from place to place and from seed to seed.
#[must_use]
pub fn pattern(seed: u64, length: usize) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut data = vec![0; length];
    rng.fill(&mut data);
    Bytes::from(data)
}

/// A packet of `data` at `offset` with its checksums.
#[must_use]
pub fn packet(offset: u64, data: &Bytes) -> Packet {
    Packet { offset, data: data.clone(), checksums: checksum::checksums(offset, data) }
}

/// Options of a new replica of `chunk`, being written at `generation`.
#[must_use]
pub fn rbw(chunk: ChunkId, generation: u64) -> CreateReplica {
    CreateReplica { chunk, generation: Generation(generation), capacity: CAPACITY, state: ReplicaState::Rbw }
}

/// Appends all of `data` behind what the writer has, in packets of at most `step` bytes.
///
/// # Errors
/// Those of `append`.
pub async fn append(writer: &mut dyn ReplicaWriter, data: &[u8], step: usize) -> Result<()> {
    for part in data.chunks(step.max(1)) {
        let offset = writer.replica().length;
        writer.append(packet(offset, &Bytes::copy_from_slice(part))).await?;
    }
    Ok(())
}

/// Reads all that a reader sees, by packets of `step` bytes, each checked.
///
/// # Errors
/// Those of `read`.
pub async fn read_all(reader: &dyn ReplicaReader, step: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let read = reader.read(all.len() as u64, step, true).await?;
        if read.data.is_empty() {
            return Ok(all);
        }
        assert!(read.data.len() <= MAX_PACKET_BYTES);
        checksum::verify(read.offset, &read.data, &read.checksums).expect("a packet carries its checksums");
        let again = all.len() - usize::try_from(read.offset).expect("small");
        assert!(again < PIECE && read.data.len() > again, "a read begins with its piece and goes on");
        assert_eq!(all[all.len() - again..], read.data[..again]);
        all.extend_from_slice(&read.data[again..]);
    }
}

async fn write(store: &dyn ChunkStore, chunk: ChunkId, generation: u64, data: &[u8]) -> Box<dyn ReplicaWriter> {
    let mut writer = store.create(rbw(chunk, generation)).await.expect("create");
    append(writer.as_mut(), data, MAX_PACKET_BYTES).await.expect("append");
    writer
}

async fn write_finalized(store: &dyn ChunkStore, chunk: ChunkId, generation: u64, data: &[u8]) -> Replica {
    write(store, chunk, generation, data).await.finalize(true).await.expect("finalize")
}

async fn contents(store: &dyn ChunkStore, chunk: ChunkId) -> Vec<u8> {
    let reader = store.open(chunk, Generation(0)).await.expect("open");
    read_all(reader.as_ref(), 300_000).await.expect("read")
}

fn finalized(chunk: ChunkId, generation: u64, length: u64) -> Replica {
    Replica { chunk, generation: Generation(generation), length, visible: length, state: ReplicaState::Finalized }
}

fn reopen(generation: u64, length: u64) -> ReopenReplica {
    ReopenReplica { chunk: CHUNK, generation: Generation(generation), length }
}

#[track_caller]
fn refused<T>(kind: ErrorKind, outcome: Result<T>) {
    match outcome {
        Ok(_) => panic!("expected {kind:?}, but it was done"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

/// Replicas that are written whole, several at once, are as if each had been written by itself; one that is refused keeps none of the others back.
pub async fn whole_replicas(factory: &dyn Factory) {
    let store = factory.create(None).await;
    write_finalized(store.as_ref(), ChunkId(3), 1, b"there before").await;
    let bytes = |number: u64| pattern(number, 1_000 * usize::try_from(number * number).expect("small"));
    let mut replicas: Vec<_> = (1..=6)
        .map(|number| WholeReplica {
            options: rbw(ChunkId(number), 1),
            packet: packet(0, &bytes(number)),
            sync: number != 5,
            drop_behind: number == 6,
        })
        .collect();
    // Its checksums do not hold.
    replicas[3].packet.checksums = packet(0, &pattern(99, 16_000)).checksums;
    for (number, outcome) in (1..).zip(store.write_whole(replicas).await) {
        let chunk = ChunkId(number);
        match number {
            3 => refused(ErrorKind::AlreadyExists, outcome),
            4 => refused(ErrorKind::Corrupt, outcome),
            _ => {
                let writer = outcome.expect("written");
                let length = bytes(number).len() as u64;
                assert_eq!((writer.replica().length, writer.replica().visible), (length, 0));
                assert_eq!(writer.finalize(number != 5).await.expect("finalize"), finalized(chunk, 1, length));
                assert_eq!(store.verify(chunk).await.expect("verify").length, length);
                assert_eq!(contents(store.as_ref(), chunk).await, bytes(number));
            }
        }
    }
    assert_eq!(contents(store.as_ref(), ChunkId(3)).await, b"there before");
    drop(store);
    let store = factory.restart().await;
    for number in [1, 2, 5, 6] {
        assert_eq!(contents(store.as_ref(), ChunkId(number)).await, bytes(number), "after a restart");
        store.delete(ChunkId(number), Generation(1)).await.expect("delete");
    }
}

/// What was written is read back, from any place, whatever the sizes of packets and reads.
pub async fn write_and_read_back(factory: &dyn Factory) {
    let lengths = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1_000_000, MAX_PACKET_BYTES, MAX_PACKET_BYTES + 5];
    for sync in [true, false] {
        let store = factory.create(None).await;
        for (number, length) in (1..).zip(lengths) {
            let chunk = ChunkId(number);
            let data = pattern(number, length);
            let mut writer = store.create(rbw(chunk, 1)).await.expect("create");
            append(writer.as_mut(), &data, 100_000 * number as usize + 7).await.expect("append");
            assert_eq!(writer.replica().length, length as u64);
            writer.sync().await.expect("sync");
            let replica = writer.finalize(sync).await.expect("finalize");
            assert_eq!(replica, finalized(chunk, 1, length as u64));
            assert_eq!(store.stat(chunk).await.expect("stat"), replica);
            assert_eq!(store.verify(chunk).await.expect("verify"), replica);
            assert_eq!(contents(store.as_ref(), chunk).await, data);
            let reader = store.open(chunk, Generation(1)).await.expect("open");
            assert_eq!(reader.replica(), replica);
            for offset in [0, 1, PIECE, length / 2, length.saturating_sub(1)] {
                let read = reader.read(offset as u64, 10, number % 2 == 0).await.expect("read");
                let begin = (offset - offset % PIECE).min(length);
                if offset < length {
                    assert_eq!(read.offset, begin as u64);
                    assert_eq!(read.data, data[begin..length.min((offset + 10).next_multiple_of(PIECE))]);
                } else {
                    assert!(read.data.is_empty());
                }
                assert_eq!(read.checksums, checksum::checksums(read.offset, &read.data));
            }
            for beyond in [length as u64, u64::MAX] {
                assert!(reader.read(beyond, usize::MAX, true).await.expect("at the end").data.is_empty());
            }
        }
    }
}

/// Packets must follow without a gap and agree with their checksums; a bad one changes nothing.
pub async fn packets_must_follow_and_hold(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(1, 10_000);
    let mut writer = write(store.as_ref(), CHUNK, 1, &data[..5_000]).await;
    let next = packet(5_000, &data.slice(5_000..));
    let mut flipped = next.data.to_vec();
    flipped[4_999] ^= 4;
    refused(ErrorKind::Corrupt, writer.append(Packet { data: flipped.into(), ..next.clone() }).await);
    let mut sums = next.checksums.to_vec();
    sums[0] ^= 1;
    refused(ErrorKind::Corrupt, writer.append(Packet { checksums: sums.into(), ..next.clone() }).await);
    let missing = Packet { checksums: next.checksums.slice(4..), ..next.clone() };
    refused(ErrorKind::InvalidArgument, writer.append(missing).await);
    refused(ErrorKind::InvalidArgument, writer.append(packet(5_001, &data.slice(5_001..))).await);
    refused(ErrorKind::InvalidArgument, writer.append(packet(u64::MAX, &data.slice(..10))).await);
    refused(ErrorKind::InvalidArgument, writer.append(packet(0, &data.slice(..6_000))).await);
    assert_eq!(writer.replica().length, 5_000);
    writer.append(next).await.expect("the good one");
    writer.finalize(true).await.expect("finalize");
    assert_eq!(contents(store.as_ref(), CHUNK).await, data);
}

/// A packet may begin earlier within the last unfinished piece if it agrees with what is there.
pub async fn overlaps_of_the_last_piece(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(2, 20_000);
    let mut writer = write(store.as_ref(), CHUNK, 1, &data[..5_000]).await;
    for (begin, end) in [(4_096, 5_000), (4_500, 4_900), (4_096, 6_000), (5_500, 9_000), (8_192, 20_000)] {
        writer.append(packet(begin as u64, &data.slice(begin..end))).await.expect("agrees");
    }
    assert_eq!(writer.replica().length, 20_000);
    let mut other = data.slice(16_384..).to_vec();
    other[10] ^= 1;
    other.extend_from_slice(b"more");
    refused(ErrorKind::InvalidArgument, writer.append(packet(16_384, &other.into())).await);
    writer.finalize(false).await.expect("finalize");
    assert_eq!(contents(store.as_ref(), CHUNK).await, data);
}

/// Sizes that lie are refused.
pub async fn limits(factory: &dyn Factory) {
    let store = factory.create(None).await;
    refused(
        ErrorKind::InvalidArgument,
        store.create(CreateReplica { capacity: MAX_CHUNK_BYTES + 1, ..rbw(CHUNK, 1) }).await,
    );
    for state in [ReplicaState::Finalized, ReplicaState::Rwr] {
        refused(ErrorKind::InvalidArgument, store.create(CreateReplica { state, ..rbw(CHUNK, 1) }).await);
    }
    refused(ErrorKind::NotFound, store.stat(CHUNK).await);
    let mut writer = store.create(CreateReplica { capacity: 5_000, ..rbw(CHUNK, 1) }).await.expect("create");
    refused(ErrorKind::InvalidArgument, writer.append(packet(0, &pattern(1, 5_001))).await);
    refused(ErrorKind::InvalidArgument, writer.append(packet(0, &pattern(1, MAX_PACKET_BYTES + 1))).await);
    writer.append(packet(0, &pattern(1, 5_000))).await.expect("to the last byte");
    refused(ErrorKind::InvalidArgument, writer.append(packet(5_000, &pattern(1, 1))).await);
}

/// Readers of a replica being written see what is published, as it grows, never more.
pub async fn readers_see_what_is_published(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(3, 30_000);
    let mut writer = write(store.as_ref(), CHUNK, 1, &data[..10_000]).await;
    let reader = store.open(CHUNK, Generation(1)).await.expect("open");
    assert!(reader.read(0, 100, true).await.expect("nothing yet").data.is_empty());
    for (appended, visible) in [(10_000, 100), (10_000, 4_096), (10_000, 9_000), (12_000, 9_500), (30_000, 11_000)] {
        let more = data.slice(usize::try_from(writer.replica().length).expect("small")..appended);
        append(writer.as_mut(), &more, 700).await.expect("append");
        writer.publish(visible as u64);
        for verify in [true, false] {
            let last = reader.read(visible as u64 - 1, 1, verify).await.expect("the last byte");
            assert_eq!(last.offset + last.data.len() as u64, visible as u64);
            checksum::verify(last.offset, &last.data, &last.checksums).expect("as computed over what is visible");
        }
        assert_eq!(read_all(reader.as_ref(), 5_000).await.expect("read"), data[..visible]);
        assert_eq!((reader.replica().visible, reader.replica().length), (visible as u64, appended as u64));
    }
    writer.publish(50);
    assert_eq!(store.stat(CHUNK).await.expect("stat").visible, 11_000, "what was seen is not unseen");
    writer.publish(u64::MAX);
    assert_eq!(writer.replica().visible, 30_000, "no more than there is");
    writer.finalize(true).await.expect("finalize");
    assert_eq!(read_all(reader.as_ref(), 5_000).await.expect("the same reader"), data);
}

/// What is read on the spot is what is read otherwise.
pub async fn what_is_in_memory(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(14, 50_000);
    write_finalized(store.as_ref(), CHUNK, 1, &data).await;
    let reader = store.open(CHUNK, Generation(1)).await.expect("open");
    for (offset, length) in [(0, 1), (4_096, 4_096), (10_000, 9_000), (45_056, 8_192), (49_999, 1), (50_000, 10)] {
        let otherwise = reader.read(offset, length, true).await.expect("read");
        if let Some(packet) = reader.read_cached(offset, length, true) {
            assert_eq!(packet.expect("read"), otherwise, "{length} bytes at {offset}");
        }
    }
}

/// Files that are handed to other processes can only be read, hold what was told of them, and say by their guard when that changes.
#[cfg(unix)]
pub async fn local_files(factory: &dyn Factory) {
    use std::os::unix::fs::FileExt;
    let store = factory.create(None).await;
    let data = pattern(15, 10_000);
    let mut writer = store.create(rbw(CHUNK, 1)).await.expect("create");
    append(writer.as_mut(), &data, 5_000).await.expect("append");
    writer.publish(10_000);
    let unfinished = store.open(CHUNK, Generation(1)).await.expect("open");
    assert!(unfinished.local().await.expect("asked").is_none(), "what is being written is not shared");
    writer.finalize(true).await.expect("finalize");
    let reader = store.open(CHUNK, Generation(1)).await.expect("open");
    let Some(local) = reader.local().await.expect("asked") else { return };
    let read = |at: u64, length: usize| {
        let mut bytes = vec![0; length];
        local.file.read_exact_at(&mut bytes, at).expect("read");
        bytes
    };
    let guard = || checksum::crc32c(&read(0, local.guard_bytes as usize));
    let sums = checksum::checksums(0, &data);
    assert_eq!(read(local.data_at, 10_000), data);
    assert_eq!(read(local.checksums_at, 8), sums[..8]);
    assert_eq!(local.tail.to_be_bytes(), sums[8..]);
    assert_eq!(guard(), local.guard);
    assert!(local.file.write_all_at(b"x", local.data_at).is_err(), "it can be written to");
    let writer = store.reopen(reopen(2, 10_000)).await.expect("reopen");
    assert_eq!(read(local.data_at, 10_000), data, "what an append leaves alone");
    writer.finalize(true).await.expect("finalize");
    let reader = store.open(CHUNK, Generation(2)).await.expect("open");
    let again = reader.local().await.expect("asked").expect("as before");
    store.settle(CHUNK, Generation(3), 6_000).await.expect("cut");
    assert_ne!(guard(), local.guard, "a cut shows");
    assert_ne!(guard(), again.guard, "a cut shows");
    assert!(reader.local().await.is_err(), "what was cut is not shared any more");
}

/// A reader survives deletion, replacement and append; after a cut it sees what it saw, or is told to open again.
pub async fn readers_outlive_changes(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(4, 10_000);
    write_finalized(store.as_ref(), CHUNK, 1, &data).await;
    let first = store.open(CHUNK, Generation(1)).await.expect("open");
    let mut writer = store.reopen(reopen(2, 10_000)).await.expect("reopen");
    append(writer.as_mut(), &pattern(5, 10_000), 3_000).await.expect("append");
    assert_eq!(read_all(first.as_ref(), 4_096).await.expect("during an append"), data);
    let replica = writer.finalize(true).await.expect("finalize");
    assert_eq!(replica, finalized(CHUNK, 2, 20_000));
    assert_eq!(read_all(first.as_ref(), 4_096).await.expect("after an append"), data);
    let second = store.open(CHUNK, Generation(2)).await.expect("open");
    let longer = contents(store.as_ref(), CHUNK).await;
    assert_eq!(longer[..10_000], data);

    store.settle(CHUNK, Generation(3), 6_000).await.expect("cut");
    let mut writer = store.reopen(reopen(4, 6_000)).await.expect("reopen");
    append(writer.as_mut(), &pattern(6, 20_000), 20_000).await.expect("append");
    for (reader, seen) in [(&first, &data[..]), (&second, &longer[..])] {
        for offset in (0..seen.len()).step_by(PIECE) {
            match reader.read(offset as u64, 1, true).await {
                Ok(read) => assert_eq!(read.data, seen[offset..seen.len().min(offset + PIECE)]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Fenced);
                    assert!(offset + PIECE > 6_000, "what was not cut is still there: {error}");
                }
            }
        }
    }
    writer.finalize(true).await.expect("finalize");
    let third = store.open(CHUNK, Generation(4)).await.expect("open");
    let now = contents(store.as_ref(), CHUNK).await;
    store.delete(CHUNK, Generation(4)).await.expect("delete");
    write_finalized(store.as_ref(), CHUNK, 5, b"something else").await;
    assert_eq!(read_all(third.as_ref(), 9_000).await.expect("after the deletion"), now);
    assert_eq!(contents(store.as_ref(), CHUNK).await, b"something else");
}

/// A copy may be made where a crash left a replica half-written: it stands beside it, and replaces it once it is whole. Were it
/// refused, the node could never get the replica again.
pub async fn copies_replace_leftovers(factory: &dyn Factory) {
    let data = pattern(21, 50_000);
    for generation in [1, 3] {
        let store = factory.create(None).await;
        drop(write(store.as_ref(), CHUNK, 1, &data[..20_000]).await);
        drop(store);
        let store = factory.restart().await;
        let leftover = store.stat(CHUNK).await.expect("kept");
        assert_eq!((leftover.state, leftover.length), (ReplicaState::Rwr, 20_000));
        let before = store.space().await.expect("space").used;
        refused(ErrorKind::AlreadyExists, store.create(rbw(CHUNK, generation)).await);

        let copy = CreateReplica { state: ReplicaState::Temporary, ..rbw(CHUNK, generation) };
        let mut first = store.create(copy).await.expect("beside the leftover");
        append(first.as_mut(), &data[..30_000], 8_000).await.expect("append");
        refused(ErrorKind::NotFound, store.open(CHUNK, Generation(0)).await);
        refused(ErrorKind::AlreadyExists, store.create(rbw(CHUNK, generation)).await);
        append(first.as_mut(), &data[30_000..31_000], 8_000).await.expect("a refused call stops no writer");
        let mut second = store.create(copy).await.expect("in place of the first copy");
        refused(ErrorKind::Fenced, first.append(packet(31_000, &pattern(1, 1))).await);
        append(second.as_mut(), &data[..100], 100).await.expect("append");
        store.delete(CHUNK, Generation(generation)).await.expect("the copy is given up");
        assert_eq!(store.stat(CHUNK).await.expect("back"), leftover);
        assert_eq!(store.space().await.expect("space").used, before);

        let mut third = store.create(copy).await.expect("again");
        append(third.as_mut(), &data[..100], 100).await.expect("append");
        drop((first, second, third, store));
        let store = factory.restart().await;
        assert_eq!(store.stat(CHUNK).await.expect("back after a restart"), leftover);
        let mut copier = store.create(copy).await.expect("again");
        append(copier.as_mut(), &data, 8_000).await.expect("append");
        let whole = copier.finalize(true).await.expect("whole");
        assert_eq!(whole, finalized(CHUNK, generation, 50_000));
        assert_eq!(contents(store.as_ref(), CHUNK).await, data);
        drop(store);
        let store = factory.restart().await;
        assert_eq!(store.stat(CHUNK).await.expect("stat"), whole);
        assert_eq!(store.unknown().await.expect("unknown"), [""; 0]);
        store.delete(CHUNK, Generation(generation)).await.expect("delete");
        refused(ErrorKind::NotFound, store.stat(CHUNK).await);
        assert_eq!(store.space().await.expect("space").used, 0, "nothing of the leftover remains");
    }

    let store = factory.create(None).await;
    let mut old = write(store.as_ref(), CHUNK, 1, &data[..100]).await;
    let copy = |generation| CreateReplica { state: ReplicaState::Temporary, ..rbw(CHUNK, generation) };
    refused(ErrorKind::AlreadyExists, store.create(copy(1)).await);
    old.sync().await.expect("goes on");
    drop(store.create(copy(2)).await.expect("beside one of an older generation"));
    refused(ErrorKind::Fenced, old.append(packet(100, &pattern(1, 1))).await);
    store.delete(CHUNK, Generation(2)).await.expect("given up");
    let back = store.stat(CHUNK).await.expect("back");
    assert_eq!((back.state, back.generation, back.length), (ReplicaState::Rbw, Generation(1), 100));

    // One that was finalized under an older generation goes with the copy's last step, and no earlier.
    for sync in [true, false] {
        let store = factory.create(None).await;
        write_finalized(store.as_ref(), CHUNK, 1, &data[..40_000]).await;
        let old = store.stat(CHUNK).await.expect("there");
        let used = store.space().await.expect("space").used;
        refused(ErrorKind::AlreadyExists, store.create(copy(1)).await);
        let mut given_up = store.create(copy(2)).await.expect("beside the old one");
        append(given_up.as_mut(), &data[..100], 100).await.expect("append");
        refused(ErrorKind::NotFound, store.open(CHUNK, Generation(0)).await);
        store.delete(CHUNK, Generation(2)).await.expect("given up");
        assert_eq!(store.stat(CHUNK).await.expect("back"), old);
        assert_eq!(contents(store.as_ref(), CHUNK).await, &data[..40_000]);
        assert_eq!(store.space().await.expect("space").used, used);

        let mut cut_short = store.create(copy(2)).await.expect("again");
        append(cut_short.as_mut(), &data[..100], 100).await.expect("append");
        drop((given_up, cut_short, store));
        let store = factory.restart().await;
        assert_eq!(store.stat(CHUNK).await.expect("back after a restart"), old);
        assert_eq!(contents(store.as_ref(), CHUNK).await, &data[..40_000]);

        let mut copier = store.create(copy(2)).await.expect("again");
        append(copier.as_mut(), &data[1_000..45_000], 8_000).await.expect("append");
        let whole = copier.finalize(sync).await.expect("whole");
        assert_eq!(whole, finalized(CHUNK, 2, 44_000));
        assert_eq!(contents(store.as_ref(), CHUNK).await, &data[1_000..45_000]);
        drop(store);
        let store = factory.restart().await;
        assert_eq!(store.stat(CHUNK).await.expect("stat"), whole);
        assert_eq!(contents(store.as_ref(), CHUNK).await, &data[1_000..45_000]);
        assert_eq!(store.unknown().await.expect("unknown"), [""; 0]);
        store.delete(CHUNK, Generation(2)).await.expect("delete");
        assert_eq!(store.space().await.expect("space").used, 0, "nothing of the old one remains");
    }
}

/// At most one replica of a chunk; which may be replaced.
pub async fn creation_and_replacement(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let temporary = CreateReplica { state: ReplicaState::Temporary, ..rbw(CHUNK, 3) };
    let mut first = store.create(temporary).await.expect("create");
    append(first.as_mut(), b"first", 5).await.expect("append");
    refused(ErrorKind::NotFound, store.open(CHUNK, Generation(0)).await);
    refused(ErrorKind::NotFound, store.recover(CHUNK, Generation(9)).await);
    refused(ErrorKind::NotFound, store.settle(CHUNK, Generation(9), 0).await);
    refused(ErrorKind::NotFound, store.reopen(reopen(9, 0)).await);
    assert_eq!(store.stat(CHUNK).await.expect("stat").state, ReplicaState::Temporary);
    refused(ErrorKind::Fenced, store.create(rbw(CHUNK, 2)).await);

    let mut second = store.create(rbw(CHUNK, 3)).await.expect("replaces a temporary one");
    refused(ErrorKind::Fenced, first.append(packet(5, &pattern(1, 1))).await);
    refused(ErrorKind::AlreadyExists, store.create(rbw(CHUNK, 3)).await);
    let mut third = store.create(rbw(CHUNK, 4)).await.expect("replaces one of an older generation");
    refused(ErrorKind::Fenced, second.append(packet(0, &pattern(1, 1))).await);
    append(third.as_mut(), b"third", 5).await.expect("append");
    third.finalize(true).await.expect("finalize");
    refused(ErrorKind::Fenced, second.finalize(true).await);
    refused(ErrorKind::AlreadyExists, store.create(rbw(CHUNK, 9)).await);
    refused(ErrorKind::AlreadyExists, store.create(CreateReplica { generation: Generation(4), ..temporary }).await);
    assert_eq!(contents(store.as_ref(), CHUNK).await, b"third");

    let other = ChunkId(9);
    let mut copy = store.create(CreateReplica { chunk: other, ..temporary }).await.expect("create");
    append(copy.as_mut(), b"copy", 5).await.expect("append");
    assert_eq!(copy.finalize(true).await.expect("finalize"), finalized(other, 3, 4));
    assert_eq!(contents(store.as_ref(), other).await, b"copy");
    refused(ErrorKind::FailedPrecondition, store.open(other, Generation(4)).await);
}

/// Whatever takes a replica away from its writer stops the writer for good.
pub async fn one_writer(factory: &dyn Factory) {
    for (number, takeover) in [(1, "reopen"), (2, "recover"), (3, "settle"), (4, "delete"), (5, "create")] {
        let store = factory.create(None).await;
        let mut old = write(store.as_ref(), CHUNK, 1, b"0123456789").await;
        let mut new = None;
        match takeover {
            "reopen" => new = Some(store.reopen(reopen(2, 10)).await.expect("reopen")),
            "recover" => drop(store.recover(CHUNK, Generation(2)).await.expect("recover")),
            "settle" => drop(store.settle(CHUNK, Generation(2), 10).await.expect("settle")),
            "delete" => store.delete(CHUNK, Generation(1)).await.expect("delete"),
            _ => new = Some(store.create(rbw(CHUNK, 2)).await.expect("create")),
        }
        let before = store.stat(CHUNK).await.ok();
        refused(ErrorKind::Fenced, old.append(packet(10, &pattern(number, 5))).await);
        refused(ErrorKind::Fenced, old.sync().await);
        old.publish(10);
        refused(ErrorKind::Fenced, old.finalize(true).await);
        assert_eq!(store.stat(CHUNK).await.ok(), before, "a stopped writer changes nothing ({takeover})");
        if let Some(mut new) = new {
            append(new.as_mut(), b"new", 3).await.expect("the new writer goes on");
            new.finalize(true).await.expect("finalize");
        }
    }
}

/// Taking up a replica again moves its generation, and cuts it.
pub async fn reopening(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(7, 50_000);
    let mut writer = write(store.as_ref(), CHUNK, 5, &data).await;
    writer.publish(20_000);
    refused(ErrorKind::Fenced, store.reopen(reopen(5, 50_000)).await);
    refused(ErrorKind::Fenced, store.reopen(reopen(4, 50_000)).await);
    refused(ErrorKind::FailedPrecondition, store.reopen(reopen(6, 50_001)).await);
    writer.sync().await.expect("a refused call stops no writer");
    let reader = store.open(CHUNK, Generation(1)).await.expect("open");
    assert_eq!(reader.capacity(), CAPACITY, "what a copy of it is created with");
    let mut writer = store.reopen(reopen(6, 30_000)).await.expect("reopen");
    let expected =
        Replica { chunk: CHUNK, generation: Generation(6), length: 30_000, visible: 20_000, state: ReplicaState::Rbw };
    assert_eq!(writer.replica(), expected);
    assert_eq!(store.stat(CHUNK).await.expect("stat"), expected);
    append(writer.as_mut(), &data[30_000..], 4_000).await.expect("append");
    let replica = writer.finalize(true).await.expect("finalize");
    assert_eq!(replica, finalized(CHUNK, 6, 50_000));
    assert_eq!(contents(store.as_ref(), CHUNK).await, data);
    let writer = store.reopen(reopen(8, 0)).await.expect("cut to nothing");
    assert_eq!((writer.replica().length, writer.replica().visible), (0, 0));
    assert_eq!(writer.finalize(true).await.expect("finalize"), finalized(CHUNK, 8, 0));
    assert!(contents(store.as_ref(), CHUNK).await.is_empty());
    refused(ErrorKind::NotFound, store.reopen(ReopenReplica { chunk: ChunkId(77), ..reopen(9, 0) }).await);
}

/// An append to a replica that ends inside a piece keeps that piece's checksum right.
pub async fn appending_to_a_partial_piece(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(8, 40_000);
    let mut length = 1_000;
    write_finalized(store.as_ref(), CHUNK, 1, &data[..length]).await;
    for (generation, more) in (2..).zip([1, 100, 2_995, 5_000, 4_096, 3_288, 1]) {
        let mut writer = store.reopen(reopen(generation, length as u64)).await.expect("reopen");
        append(writer.as_mut(), &data[length..length + more], 900).await.expect("append");
        length += more;
        writer.finalize(true).await.expect("finalize");
        store.verify(CHUNK).await.expect("verify");
        assert_eq!(contents(store.as_ref(), CHUNK).await, data[..length]);
    }
}

/// The checksum of a piece that is cut is made anew.
pub async fn cutting_in_mid_piece(factory: &dyn Factory) {
    let data = pattern(9, 20_000);
    for length in [1, 4_095, 4_096, 4_097, 10_000, 16_385, 19_999] {
        for settle in [true, false] {
            let store = factory.create(None).await;
            write_finalized(store.as_ref(), CHUNK, 1, &data).await;
            if settle {
                store.settle(CHUNK, Generation(2), length as u64).await.expect("settle");
            } else {
                let writer = store.reopen(reopen(2, length as u64)).await.expect("reopen");
                writer.finalize(false).await.expect("finalize");
            }
            assert_eq!(store.verify(CHUNK).await.expect("verify"), finalized(CHUNK, 2, length as u64));
            assert_eq!(contents(store.as_ref(), CHUNK).await, data[..length]);
            let mut writer = store.reopen(reopen(3, length as u64)).await.expect("reopen");
            append(writer.as_mut(), &data[..8_000], 8_000).await.expect("append");
            writer.finalize(true).await.expect("finalize");
            store.verify(CHUNK).await.expect("verify");
            assert_eq!(contents(store.as_ref(), CHUNK).await, [&data[..length], &data[..8_000]].concat());
        }
    }
}

/// A recovery stops writers, remembers its number, and can be repeated; numbers only grow.
pub async fn recovery(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(10, 9_000);
    drop(write(store.as_ref(), CHUNK, 3, &data).await);
    refused(ErrorKind::Fenced, store.recover(CHUNK, Generation(3)).await);
    refused(ErrorKind::NotFound, store.recover(ChunkId(77), Generation(3)).await);
    let found = store.recover(CHUNK, Generation(5)).await.expect("recover");
    assert_eq!((found.generation, found.length, found.state), (Generation(3), 9_000, ReplicaState::Rbw));
    assert_eq!(store.recover(CHUNK, Generation(5)).await.expect("again"), found);
    refused(ErrorKind::Fenced, store.recover(CHUNK, Generation(4)).await);
    refused(ErrorKind::Fenced, store.reopen(reopen(4, 9_000)).await);
    refused(ErrorKind::Fenced, store.settle(CHUNK, Generation(4), 9_000).await);
    refused(ErrorKind::Fenced, store.create(rbw(CHUNK, 4)).await);
    assert_eq!(store.recover(CHUNK, Generation(7)).await.expect("a later one"), found);
    refused(ErrorKind::Fenced, store.settle(CHUNK, Generation(5), 9_000).await);
    let mut writer = store.reopen(reopen(7, 8_000)).await.expect("the pipeline goes on under the recovery's number");
    append(writer.as_mut(), b"more", 4).await.expect("append");
    let replica = writer.finalize(true).await.expect("finalize");
    assert_eq!(replica, finalized(CHUNK, 7, 8_004));
    refused(ErrorKind::Fenced, store.recover(CHUNK, Generation(7)).await);
}

/// A finalized replica is found as it is; its recovery's number counts all the same.
pub async fn recovery_of_a_finalized_replica(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let replica = write_finalized(store.as_ref(), CHUNK, 3, &pattern(11, 9_000)).await;
    assert_eq!(store.recover(CHUNK, Generation(6)).await.expect("recover"), replica);
    assert_eq!(store.stat(CHUNK).await.expect("stat"), replica);
    assert_eq!(store.verify(CHUNK).await.expect("verify"), replica);
    refused(ErrorKind::Fenced, store.recover(CHUNK, Generation(5)).await);
    refused(ErrorKind::Fenced, store.reopen(reopen(5, 9_000)).await);
    let settled = store.settle(CHUNK, Generation(6), 9_000).await.expect("settle");
    assert_eq!(settled, finalized(CHUNK, 6, 9_000));
    assert_eq!(store.verify(CHUNK).await.expect("verify"), settled);
    assert_eq!(contents(store.as_ref(), CHUNK).await, pattern(11, 9_000));
}

/// Settling cuts and finalizes, once or more often.
pub async fn settling(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(12, 9_000);
    let writer = write(store.as_ref(), CHUNK, 3, &data).await;
    store.recover(CHUNK, Generation(4)).await.expect("recover");
    refused(ErrorKind::FailedPrecondition, store.settle(CHUNK, Generation(4), 9_001).await);
    refused(ErrorKind::Fenced, store.settle(CHUNK, Generation(2), 5).await);
    for _ in 0..3 {
        let settled = store.settle(CHUNK, Generation(4), 5_000).await.expect("settle");
        assert_eq!(settled, finalized(CHUNK, 4, 5_000));
        assert_eq!(contents(store.as_ref(), CHUNK).await, data[..5_000]);
    }
    drop(writer);
    for length in [4_999, 5_001] {
        refused(ErrorKind::FailedPrecondition, store.settle(CHUNK, Generation(4), length).await);
    }
    refused(ErrorKind::Fenced, store.settle(CHUNK, Generation(3), 5_000).await);
    let cut = store.settle(CHUNK, Generation(9), 0).await.expect("truncate");
    assert_eq!(cut, finalized(CHUNK, 9, 0));
    refused(ErrorKind::NotFound, store.settle(ChunkId(77), Generation(1), 0).await);
}

/// Deletion gives room back, keeps newer replicas, and may be repeated.
pub async fn deletion(factory: &dyn Factory) {
    let store = factory.create(Some(8 << 20)).await;
    let empty = store.space().await.expect("space");
    assert_eq!((empty.used, empty.capacity), (0, 8 << 20));
    write_finalized(store.as_ref(), CHUNK, 4, &pattern(1, 1 << 20)).await;
    let space = store.space().await.expect("space");
    assert!(space.used >= 1 << 20 && space.available <= (8 << 20) - space.used, "{space:?}");
    refused(ErrorKind::Fenced, store.delete(CHUNK, Generation(3)).await);
    store.delete(CHUNK, Generation(4)).await.expect("delete");
    refused(ErrorKind::NotFound, store.stat(CHUNK).await);
    refused(ErrorKind::NotFound, store.open(CHUNK, Generation(0)).await);
    refused(ErrorKind::NotFound, store.verify(CHUNK).await);
    store.delete(CHUNK, Generation(4)).await.expect("again");
    assert_eq!(store.space().await.expect("space"), empty);
    for state in [ReplicaState::Rbw, ReplicaState::Temporary] {
        let writer = store.create(CreateReplica { state, ..rbw(CHUNK, 5) }).await.expect("create");
        refused(ErrorKind::FailedPrecondition, store.verify(CHUNK).await);
        store.delete(CHUNK, Generation(6)).await.expect("delete");
        drop(writer);
    }
    assert_eq!(store.space().await.expect("space"), empty);
}

/// Lists are in order, within their range and limit.
pub async fn listing(factory: &dyn Factory) {
    let store = factory.create(None).await;
    for id in [900, 3, 70_000, 1, 256] {
        write_finalized(store.as_ref(), ChunkId(id), 1, b"x").await;
    }
    let copy = CreateReplica { state: ReplicaState::Temporary, ..rbw(ChunkId(4), 1) };
    let _copy = store.create(copy).await.expect("create");
    let list = async |range, limit| {
        let replicas = store.list(range, limit).await.expect("list");
        replicas.into_iter().map(|replica| replica.chunk.get()).collect::<Vec<_>>()
    };
    assert_eq!(list(0..u64::MAX, 100).await, [1, 3, 4, 256, 900, 70_000]);
    assert_eq!(list(3..900, 100).await, [3, 4, 256]);
    assert_eq!(list(2..u64::MAX, 2).await, [3, 4]);
    assert_eq!(list(5..5, 100).await, []);
    #[allow(clippy::reversed_empty_ranges, reason = "a range from the network may lie")]
    let reversed = list(9..5, 100).await;
    assert_eq!(reversed, []);
    assert!(store.unknown().await.expect("unknown").is_empty());
}

/// A restart keeps every appended byte, makes what was being written `Rwr`, and forgets what was temporary.
pub async fn restarts(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(13, 2_000_000);
    write_finalized(store.as_ref(), ChunkId(1), 1, &data).await;
    write(store.as_ref(), ChunkId(2), 2, &data).await.finalize(false).await.expect("finalize");
    let mut writer = write(store.as_ref(), ChunkId(3), 3, &data[..1_000_000]).await;
    append(writer.as_mut(), &data[1_000_000..1_000_100], 7).await.expect("append");
    writer.publish(500_000);
    drop(writer);
    let copy = CreateReplica { state: ReplicaState::Temporary, ..rbw(ChunkId(4), 1) };
    let mut writer = store.create(copy).await.expect("create");
    append(writer.as_mut(), &data, 1 << 20).await.expect("append");
    drop(writer);
    drop(write(store.as_ref(), ChunkId(5), 1, b"").await);
    let used = store.space().await.expect("space").used;
    drop(store);

    let store = factory.restart().await;
    let rwr = |chunk, generation, length| Replica {
        chunk: ChunkId(chunk),
        generation: Generation(generation),
        length,
        visible: 0,
        state: ReplicaState::Rwr,
    };
    let expected =
        [finalized(ChunkId(1), 1, 2_000_000), finalized(ChunkId(2), 2, 2_000_000), rwr(3, 3, 1_000_100), rwr(5, 1, 0)];
    assert_eq!(store.list(0..100, 100).await.expect("list"), expected);
    assert!(store.space().await.expect("space").used < used, "the temporary one is gone");
    for chunk in [1, 2] {
        store.verify(ChunkId(chunk)).await.expect("verify");
        assert_eq!(contents(store.as_ref(), ChunkId(chunk)).await, data);
    }
    assert!(contents(store.as_ref(), ChunkId(3)).await.is_empty(), "nothing of it is known to be seen");
    refused(ErrorKind::AlreadyExists, store.create(rbw(ChunkId(3), 9)).await);
    let found = store.recover(ChunkId(3), Generation(4)).await.expect("recover");
    assert_eq!(found, rwr(3, 3, 1_000_100));
    store.settle(ChunkId(3), Generation(4), 1_000_050).await.expect("settle");
    assert_eq!(contents(store.as_ref(), ChunkId(3)).await, data[..1_000_050]);
    let options = ReopenReplica { chunk: ChunkId(5), generation: Generation(2), length: 0 };
    let mut writer = store.reopen(options).await.expect("reopen");
    append(writer.as_mut(), &data[..10_000], 3_000).await.expect("append");
    writer.finalize(true).await.expect("finalize");
    drop(store);

    let store = factory.restart().await;
    let expected = [
        finalized(ChunkId(1), 1, 2_000_000),
        finalized(ChunkId(2), 2, 2_000_000),
        finalized(ChunkId(3), 4, 1_000_050),
        finalized(ChunkId(5), 2, 10_000),
    ];
    assert_eq!(store.list(0..100, 100).await.expect("list"), expected);
    for replica in expected {
        store.verify(replica.chunk).await.expect("verify");
    }
    assert!(store.unknown().await.expect("unknown").is_empty());
}

/// A recovery's number survives a restart, and both its steps may be repeated after one.
pub async fn restart_in_recovery(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(14, 9_000);
    for chunk in [1, 2] {
        let writer = write(store.as_ref(), ChunkId(chunk), 3, &data).await;
        if chunk == 1 {
            writer.finalize(true).await.expect("finalize");
        }
        store.recover(ChunkId(chunk), Generation(7)).await.expect("recover");
    }
    drop(store);
    let store = factory.restart().await;
    for chunk in [1, 2] {
        let chunk = ChunkId(chunk);
        refused(ErrorKind::Fenced, store.recover(chunk, Generation(6)).await);
        refused(ErrorKind::Fenced, store.reopen(ReopenReplica { chunk, ..reopen(6, 9_000) }).await);
        refused(ErrorKind::Fenced, store.settle(chunk, Generation(6), 9_000).await);
        assert_eq!(store.recover(chunk, Generation(7)).await.expect("again").length, 9_000);
        store.settle(chunk, Generation(7), 8_999).await.expect("settle");
    }
    drop(store);
    let store = factory.restart().await;
    for chunk in [1, 2] {
        let chunk = ChunkId(chunk);
        assert_eq!(store.settle(chunk, Generation(7), 8_999).await.expect("again"), finalized(chunk, 7, 8_999));
        assert_eq!(store.verify(chunk).await.expect("verify").length, 8_999);
        assert_eq!(contents(store.as_ref(), chunk).await, data[..8_999]);
    }
}

/// A full store refuses bytes, keeps what it has, and goes on when there is room again.
pub async fn full(factory: &dyn Factory) {
    let store = factory.create(Some(3 << 20)).await;
    let data = pattern(15, 1 << 20);
    write_finalized(store.as_ref(), ChunkId(1), 1, &data).await;
    let mut writer = write(store.as_ref(), CHUNK, 1, &data[..900_000]).await;
    let mut length = 900_000;
    let error = loop {
        match append(writer.as_mut(), &data, 1 << 20).await {
            Ok(()) => length += data.len(),
            Err(error) => break error,
        }
        assert!(length < 4 << 20, "a store of 3 MiB takes no more");
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert_eq!(writer.replica().length, length as u64, "a refused packet counts nothing");
    let space = store.space().await.expect("space");
    assert!(space.used <= space.capacity, "{space:?}");
    writer.publish(length as u64);
    let mut expected = [&data[..900_000], &data[..]].concat();
    expected.truncate(length);
    assert_eq!(contents(store.as_ref(), CHUNK).await, expected);
    store.delete(ChunkId(1), Generation(1)).await.expect("deleting still works");
    append(writer.as_mut(), &data[..1_000_000], 1 << 20).await.expect("there is room again");
    writer.finalize(true).await.expect("finalize");
    store.verify(CHUNK).await.expect("verify");
    expected.extend_from_slice(&data[..1_000_000]);
    assert_eq!(contents(store.as_ref(), CHUNK).await, expected);
}

/// Whatever part is damaged, `verify` finds it, and no read gives other bytes.
pub async fn damage(factory: &dyn Factory) {
    let data = pattern(16, 100_000);
    for part in [Part::Header, Part::Checksum, Part::Data, Part::Everything] {
        for restart in [false, true] {
            let mut store = factory.create(None).await;
            write_finalized(store.as_ref(), CHUNK, 2, &data).await;
            if !factory.damage(CHUNK, part).await {
                continue;
            }
            if restart {
                drop(store);
                store = factory.restart().await;
            }
            match store.stat(CHUNK).await {
                // An older header may be left that proves all of it.
                Ok(replica)
                    if restart
                        && part == Part::Header
                        && store.verify(CHUNK).await.is_ok_and(|whole| whole == replica) => {}
                Ok(replica) if replica.state == ReplicaState::Finalized => {
                    refused(ErrorKind::Corrupt, store.verify(CHUNK).await);
                    refused(ErrorKind::Corrupt, store.recover(CHUNK, Generation(3)).await);
                }
                // A start that finds the damage does not offer the replica as whole.
                _ => assert!(restart, "{part:?}"),
            }
            if let Ok(reader) = store.open(CHUNK, Generation(0)).await {
                for offset in (0..data.len()).step_by(PIECE) {
                    match reader.read(offset as u64, 1, true).await {
                        Ok(read) if read.data.is_empty() => assert!(restart, "{part:?} at {offset}"),
                        Ok(read) => assert_eq!(read.data, data[offset..data.len().min(offset + PIECE)]),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                    }
                }
            }
            store.delete(CHUNK, Generation(2)).await.expect("a damaged replica can be deleted");
            write_finalized(store.as_ref(), CHUNK, 3, &data).await;
            assert_eq!(store.verify(CHUNK).await.expect("verify"), finalized(CHUNK, 3, 100_000));
        }
    }
}

/// A call whose future is dropped happened or did not; nothing is left in between.
pub async fn cancellation(factory: &dyn Factory) {
    let store = factory.create(None).await;
    let data = pattern(17, 300_000);
    let mut writer = store.create(rbw(CHUNK, 1)).await.expect("create");
    let mut rng = fastrand::Rng::with_seed(17);
    while writer.replica().length < data.len() as u64 {
        let offset = usize::try_from(writer.replica().length).expect("small");
        let end = data.len().min(offset + rng.usize(1..20_000));
        {
            let mut call = writer.append(packet(offset as u64, &data.slice(offset..end)));
            for _ in 0..rng.usize(0..3) {
                if futures::poll!(&mut call).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // The next call waits for what the dropped one had under way, so that its end is known.
        writer.sync().await.expect("sync");
        let length = writer.replica().length;
        assert!(length == offset as u64 || length == end as u64, "{length} after {offset}..{end}");
    }
    let call = writer.finalize(true);
    {
        let mut call = call;
        let _ = futures::poll!(&mut call);
    }
    let found = store.recover(CHUNK, Generation(2)).await.expect("recover");
    assert_eq!(found.length, data.len() as u64);
    store.settle(CHUNK, Generation(2), found.length).await.expect("settle");
    store.verify(CHUNK).await.expect("verify");
    assert_eq!(contents(store.as_ref(), CHUNK).await, data);
}
