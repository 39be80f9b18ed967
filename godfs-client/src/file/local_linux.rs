//! What the system does for local reads: a socket that hands over files, and reads at a place.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use bytes::Bytes;
use godfs_core::{Error, ErrorKind, Result};
use godfs_proto::v1;
use prost::Message;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::time::Duration;

use super::local::LocalReplica;
use crate::transport::convert;
use crate::transport::status::from_detail;

/// Whether files can be handed over here.
pub(super) const POSSIBLE: bool = true;

/// The largest answer, and the largest guard.
const MAX_BYTES: usize = 64 << 10;
/// Buffers begin on a page, as those of the datanode: copies are several times slower where source and destination lie badly to one another.
const PAGE: usize = 4_096;

/// Asks for the file of a replica at the socket of that abstract name, where process `instance` must answer. Blocks, for `patience` at each step at most.
pub(super) fn open(socket: &str, instance: u64, open: &v1::LocalOpen, patience: Duration) -> Result<LocalReplica> {
    let unavailable = |error: io::Error| Error::new(ErrorKind::Unavailable, format!("{socket}: {error}"));
    let (answer, file) = ask(socket, open, patience).map_err(unavailable)?;
    if let Some(error) = &answer.error {
        return Err(from_detail(error));
    }
    let file = file.ok_or_else(|| Error::new(ErrorKind::Unavailable, format!("{socket}: no file came")))?;
    if answer.instance != instance {
        return Err(Error::new(ErrorKind::Unavailable, format!("{socket}: another process answers")));
    }
    let replica = convert::required_replica(answer.replica.as_ref())?;
    let guard_bytes = answer.guard_bytes as usize;
    let fits = replica.chunk.get() == open.chunk && replica.generation.get() >= open.generation;
    let far = answer.data_at.checked_add(replica.length).is_none_or(|end| end > i64::MAX as u64);
    if !fits || far || answer.checksums_at > answer.data_at || guard_bytes == 0 || guard_bytes > MAX_BYTES {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{socket}: an answer that can't be")));
    }
    Ok(LocalReplica {
        file,
        generation: replica.generation.get(),
        length: replica.length,
        data_at: answer.data_at,
        checksums_at: answer.checksums_at,
        tail: answer.tail,
        guard_bytes,
        guard: answer.guard,
    })
}

fn ask(socket: &str, open: &v1::LocalOpen, patience: Duration) -> io::Result<(v1::LocalOpened, Option<File>)> {
    let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(socket)?)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let length = u32::try_from(open.encoded_len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &open.encode_to_vec()].concat())?;
    let mut answer = vec![0; MAX_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut answer)], &mut control, flags)?;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let file = files.flatten().next().map(File::from);
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut filled = received.bytes;
    loop {
        if let Some((length, rest)) = answer[..filled].split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX_BYTES - 4 {
                return Err(invalid());
            }
            if let Some(message) = rest.get(..length) {
                return Ok((v1::LocalOpened::decode(message).map_err(|_| invalid())?, file));
            }
        }
        match stream.read(&mut answer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
}

/// Reads `length` bytes at `offset`, fewer only at the end of the file. `None` when that would wait for the disk, and `wait` is not set.
pub(super) fn read(file: &File, offset: u64, length: usize, wait: bool) -> Result<Option<Bytes>> {
    let failed = |error: Errno| Error::io("read the file of a replica", error.into());
    if !wait {
        let mut buffer = vec![0; length];
        return match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut buffer)], offset, ReadWriteFlags::NOWAIT) {
            // All of it, or what takes longer to get.
            Ok(read) if read == length => Ok(Some(buffer.into())),
            Ok(_) => Ok(None),
            // It is not in memory, or the file system can't say.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::INTR) => Ok(None),
            Err(error) => Err(failed(error)),
        };
    }
    let mut buffer: Vec<u8> = Vec::with_capacity(length + PAGE);
    let pad = buffer.as_ptr().align_offset(PAGE).min(PAGE);
    buffer.resize(pad, 0);
    let (end, mut at) = (pad + length, offset);
    while buffer.len() < end {
        match rustix::io::pread(file, spare_capacity(&mut buffer), at) {
            Ok(0) => break,
            Ok(read) => at += read as u64,
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    buffer.truncate(end);
    Ok(Some(Bytes::from(buffer).slice(pad..)))
}
