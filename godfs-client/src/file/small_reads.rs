//! Many small reads from a datanode on one stream.

use godfs_core::chunk::Packet;
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;

use crate::transport::convert;
use crate::transport::status::from_detail;
use crate::transport::together::{Kind, Together};

/// The most bytes of a read that goes this way.
pub(super) const SMALL_READ_BYTES: usize = 64 << 10;

/// The streams of one client. The answers are whole pieces around the bytes, not verified.
pub(crate) type SmallReads = Together<SmallRead>;

/// A read of up to [`SMALL_READ_BYTES`] of one chunk.
pub(crate) struct SmallRead;

impl Kind for SmallRead {
    type Key = ();
    type Request = v1::ReadManyRequest;
    type Response = v1::ReadManyResponse;
    type Asked = v1::SmallRead;
    type Answer = Result<Packet>;

    const PATH: &'static str = "/godfs.v1.ChunkService/ReadMany";
    const IN_FLIGHT: usize = 256;
    const TOGETHER: usize = 64;
    const TOGETHER_BYTES: usize = 512 << 10;
    const LARGEST: usize = SMALL_READ_BYTES;

    fn first(hello: v1::Hello, node: u32) -> v1::ReadManyRequest {
        v1::ReadManyRequest { hello: Some(hello), node, reads: Vec::new() }
    }

    fn number(asked: &mut v1::SmallRead, number: u64) {
        asked.number = number;
    }

    fn bytes(asked: &v1::SmallRead) -> usize {
        asked.length as usize
    }

    fn request(reads: Vec<v1::SmallRead>) -> v1::ReadManyRequest {
        v1::ReadManyRequest { reads, ..Default::default() }
    }

    fn answers(response: v1::ReadManyResponse) -> Vec<(u64, Result<Packet>)> {
        response.answers.into_iter().map(|answer| (answer.number, packet(answer))).collect()
    }
}

fn packet(answer: v1::SmallReadAnswer) -> Result<Packet> {
    if let Some(error) = &answer.error {
        return Err(from_detail(error));
    }
    let packet = answer.packet.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "an answer without a packet"))?;
    convert::read_packet(packet)
}
