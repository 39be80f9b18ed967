//! Replicas that are whole in one packet: one write for each, and one flush for all that are written together.

use std::io;
use std::sync::Arc;

use super::Inner;
use super::segment::SlotFile;
use super::writer::DirectoryWriter;
use crate::chunk::rules::{self, Extension};
use crate::chunk::{Packet, WholeReplica};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ChunkId;

/// The bytes that a replica begins and ends with.
pub(super) struct Whole<'a> {
    pub(super) packet: &'a Packet,
    pub(super) extension: Extension,
}

/// One that is written, and where it lies if it has no file of its own.
struct Written {
    writer: DirectoryWriter,
    place: Option<Arc<SlotFile>>,
    sync: bool,
}

impl Inner {
    /// Creates and writes replicas; those that ask for it are durable on return.
    pub(super) fn write_whole(self: &Arc<Self>, replicas: &[WholeReplica]) -> Vec<Result<DirectoryWriter>> {
        let written: Vec<_> = replicas.iter().map(|replica| self.begin_whole(replica)).collect();
        let mut flushed: Vec<(u64, io::Result<()>)> = Vec::new();
        for place in
            written.iter().flatten().filter(|written| written.sync).filter_map(|written| written.place.as_ref())
        {
            let number = place.segment().number;
            if !flushed.iter().any(|(known, _)| *known == number) {
                flushed.push((number, place.segment().sync()));
            }
        }
        let durable = |written: Written| {
            let Written { writer, place, sync } = written;
            let Some(place) = place.filter(|_| sync) else { return Ok(writer) };
            let outcome = flushed.iter().find(|(number, _)| *number == place.segment().number);
            match outcome.map(|(_, outcome)| outcome) {
                Some(Err(error)) => {
                    let error = io::Error::new(error.kind(), error.to_string());
                    self.changing(writer.chunk(), "sync", || Err(error))
                }
                _ => {
                    writer.sealed();
                    Ok(writer)
                }
            }
        };
        written.into_iter().map(|written| written.and_then(durable)).collect()
    }

    fn begin_whole(self: &Arc<Self>, replica: &WholeReplica) -> Result<Written> {
        let WholeReplica { options, packet, sync, drop_behind } = replica;
        let length = packet.data.len() as u64;
        if packet.offset != 0 || length == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a whole replica has bytes, from the first one on"));
        }
        rules::admit(packet, 0, options.capacity)?;
        let whole = Whole { packet, extension: rules::extend(0, 0, packet, 0) };
        let writer = self.create(*options, Some(length), Some(&whole))?;
        if *drop_behind {
            writer.set_drop_behind();
        }
        let place = self.index.lock().get(&options.chunk).and_then(|slot| slot.place.clone());
        if place.is_none() {
            writer.write_now(packet, *sync)?;
        }
        Ok(Written { writer, place, sync: *sync })
    }
}

/// Two replicas of one chunk can't be written together: the turn of the second one would never come.
pub(super) fn twice(chunk: ChunkId) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("chunk {chunk} is named twice"))
}
