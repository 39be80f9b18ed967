//! Reading a replica: a header, then packets, two read ahead of the one being sent.

use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use godfs_client::transport::convert;
use godfs_core::checksum::{CHECKSUM_BYTES, PIECE, crc32c, crc32c_combine};
use godfs_core::chunk::{MAX_CHUNK_BYTES, MAX_PACKET_BYTES, ReplicaReader};
use godfs_core::{ChunkId, Error, ErrorKind, Generation, Result};
use godfs_proto::v1;

use super::budget::{Credit, Share};
use super::shared::Shared;

/// Packets that are read before the one in front of them was taken.
const READ_AHEAD: usize = 2;

/// The answer to a read: nothing is read before it is polled, and no more than is taken.
pub(crate) async fn read(
    shared: Arc<Shared>,
    request: v1::ReadRequest,
) -> Result<impl Stream<Item = Result<v1::ReadResponse>> + Send + 'static> {
    shared.check_caller(request.hello.as_ref(), request.node)?;
    let chunk = convert::chunk(request.chunk)?;
    if request.offset > MAX_CHUNK_BYTES {
        let message = format!("offset: {} lies beyond the largest chunk", request.offset);
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let share = shared.open_stream()?;
    let reader = shared.certain(shared.store.open(chunk, Generation(request.generation)).await).await?;
    let replica = reader.replica();
    let length = if request.length == 0 { u64::MAX } else { request.length };
    let end = request.offset.saturating_add(length).min(replica.visible);
    let begin = if request.offset < end { request.offset / PIECE as u64 * PIECE as u64 } else { end };
    let verify = request.verify || shared.settings.verify_reads;
    let serving = Arc::new(Serving { shared, chunk, reader, share, verify });
    let header = v1::ReadResponse { replica: Some(convert::replica_to_wire(&replica)), ..Default::default() };
    let mut next = begin;
    let sizer = Arc::clone(&serving);
    let parts = std::iter::from_fn(move || {
        let offset = next;
        next = next.saturating_add(sizer.share.packet_bytes(READ_AHEAD + 1) as u64).min(end);
        (offset < end).then_some((offset, next))
    });
    let packets = stream::iter(parts)
        .map(move |(offset, end)| {
            let serving = Arc::clone(&serving);
            async move { serving.packet(offset, end).await }
        })
        .buffered(READ_AHEAD);
    Ok(stream::once(std::future::ready(Ok(header))).chain(ends_with_error(in_hand(packets))))
}

/// Gives back the room of a packet when the next one is asked for: until then the connection has it in hand.
fn in_hand(
    packets: impl Stream<Item = Result<(v1::ReadResponse, Credit)>> + Send,
) -> impl Stream<Item = Result<v1::ReadResponse>> + Send {
    stream::unfold((Box::pin(packets), None), |(mut packets, held)| async move {
        drop(held);
        match packets.next().await? {
            Ok((message, credit)) => Some((Ok(message), (packets, Some(credit)))),
            Err(error) => Some((Err(error), (packets, None))),
        }
    })
}

/// CRC32C of the first `length` bytes of a replica, from the checksums of its pieces.
pub(crate) async fn checksum(shared: Arc<Shared>, chunk: ChunkId, generation: Generation, length: u64) -> Result<u32> {
    let share = shared.open_stream()?;
    let reader = shared.certain(shared.store.open(chunk, generation).await).await?;
    let visible = reader.replica().visible;
    if length > visible {
        let message = format!("{length} bytes of chunk {chunk}, of which {visible} are here");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    // Stored checksums are only worth what the bytes are that they belong to.
    let serving = Arc::new(Serving { shared, chunk, reader, share, verify: true });
    let packets = stream::iter((0..length).step_by(MAX_PACKET_BYTES))
        .map(|offset| {
            let serving = Arc::clone(&serving);
            async move { serving.packet(offset, length).await }
        })
        .buffered(READ_AHEAD);
    let mut packets = pin!(packets);
    let mut sum = 0;
    while let Some(packet) = packets.next().await {
        let (packet, _credit) = packet?;
        let left = usize::try_from(length - packet.offset).unwrap_or(usize::MAX);
        let pieces = packet.data.chunks(PIECE).zip(packet.checksums.chunks_exact(CHECKSUM_BYTES));
        for (number, (piece, stored)) in pieces.enumerate() {
            let used = piece.len().min(left.saturating_sub(number * PIECE));
            let own = match used == piece.len() {
                true => u32::from_be_bytes([stored[0], stored[1], stored[2], stored[3]]),
                false => crc32c(&piece[..used]),
            };
            sum = crc32c_combine(sum, own, used);
        }
    }
    Ok(sum)
}

/// A replica that is being read.
struct Serving {
    shared: Arc<Shared>,
    chunk: ChunkId,
    reader: Box<dyn ReplicaReader>,
    share: Share,
    verify: bool,
}

impl Serving {
    /// The packet at `offset`, the start of a piece: whole pieces, up to the one that holds the byte before `end`.
    async fn packet(&self, offset: u64, end: u64) -> Result<(v1::ReadResponse, Credit)> {
        let rounded = end.next_multiple_of(PIECE as u64) - offset;
        let length = usize::try_from(rounded).unwrap_or(MAX_PACKET_BYTES).min(MAX_PACKET_BYTES);
        if self.share.is_lost() {
            return Err(Share::lost_error());
        }
        let credit = self.share.take(length).await;
        match self.reader.read(offset, length, self.verify).await {
            Ok(packet) if (packet.data.len() as u64) < (end - offset).min(length as u64) => {
                let message =
                    format!("{} bytes at {offset} of chunk {}, expected {length}", packet.data.len(), self.chunk);
                Err(Error::new(ErrorKind::Internal, message))
            }
            Ok(packet) => Ok((convert::read_packet_to_wire(packet), credit)),
            Err(error) => {
                if error.kind() == ErrorKind::Corrupt {
                    self.shared.suspect(self.chunk);
                }
                Err(error)
            }
        }
    }
}

/// Ends a stream after its first error, so that nothing is read behind it.
fn ends_with_error<T>(packets: impl Stream<Item = Result<T>>) -> impl Stream<Item = Result<T>> {
    packets.scan(false, |failed, packet| {
        let ended = *failed;
        *failed = packet.is_err();
        std::future::ready((!ended).then_some(packet))
    })
}
