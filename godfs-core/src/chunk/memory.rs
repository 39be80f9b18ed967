//! Replicas in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::rules::{self, Known, Settle};
use super::{
    ChunkStore, CreateReplica, Packet, ReopenReplica, Replica, ReplicaReader, ReplicaState, ReplicaWriter, Space,
};
use crate::checksum;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Generation};

/// Replicas in memory: for tests and for clusters that need not last. Deterministic; the same contract as on a disk,
/// but for what lasts beyond the process.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    capacity: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    replicas: BTreeMap<ChunkId, Entry>,
    /// Bytes of data in all replicas.
    used: u64,
    /// The number of the last writer.
    writers: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    generation: Generation,
    recovered: Generation,
    capacity: u64,
    state: ReplicaState,
    body: Arc<Mutex<Body>>,
    /// The writer that may write; 0 when there is none.
    writer: u64,
    /// What a temporary replica replaces once it is whole.
    leftover: Option<Box<Entry>>,
}

/// The bytes of a replica, shared with its readers. A cut makes a new one, so that they keep what they see.
#[derive(Clone, Debug, Default)]
struct Body {
    data: Vec<u8>,
    visible: u64,
}

impl MemoryStore {
    /// An empty store with room for `capacity` bytes of data; without a limit when `None`.
    #[must_use]
    pub fn new(capacity: Option<u64>) -> Self {
        Self { shared: Arc::new(Shared { capacity: capacity.unwrap_or(u64::MAX), state: Mutex::default() }) }
    }

    /// A store that holds what a restart of the process would find, had this one been on a disk.
    #[must_use]
    pub fn restarted(&self) -> Self {
        let old = self.shared.state.lock();
        let mut state = State::default();
        for (chunk, entry) in &old.replicas {
            let entry = match (entry.state, &entry.leftover) {
                (ReplicaState::Temporary, Some(leftover)) => leftover,
                _ => entry,
            };
            let mut body = entry.body.lock().clone();
            let found = match entry.state {
                ReplicaState::Temporary => continue,
                ReplicaState::Rbw | ReplicaState::Rwr => {
                    body.visible = 0;
                    ReplicaState::Rwr
                }
                ReplicaState::Finalized => ReplicaState::Finalized,
            };
            state.used += body.data.len() as u64;
            let body = Arc::new(Mutex::new(body));
            state.replicas.insert(*chunk, Entry { state: found, body, writer: 0, ..entry.clone() });
        }
        Self { shared: Arc::new(Shared { capacity: self.shared.capacity, state: Mutex::new(state) }) }
    }

    fn writer(&self, chunk: ChunkId, entry: &Entry) -> Box<dyn ReplicaWriter> {
        let last = entry.replica(chunk);
        Box::new(MemoryWriter { shared: Arc::clone(&self.shared), chunk, number: entry.writer, last })
    }
}

#[async_trait]
impl ChunkStore for MemoryStore {
    async fn create(&self, options: CreateReplica) -> Result<Box<dyn ReplicaWriter>> {
        let chunk = options.chunk;
        let mut state = self.shared.state.lock();
        rules::create(options, state.known(chunk))?;
        let entry = state.replicas.get(&chunk);
        if let Some(leftover) = entry.and_then(|entry| entry.leftover.as_deref()) {
            rules::create(options, Some(leftover.known(chunk)))?;
        }
        if entry.is_some_and(|entry| entry.state == ReplicaState::Temporary) {
            state.remove(chunk);
        }
        let leftover = match options.state {
            ReplicaState::Temporary => state.replicas.remove(&chunk),
            _ => None,
        };
        state.remove(chunk);
        let entry = Entry {
            generation: options.generation,
            recovered: Generation(0),
            capacity: options.capacity,
            state: options.state,
            body: Arc::default(),
            writer: state.next_writer(),
            leftover: leftover.map(|leftover| Box::new(Entry { writer: 0, ..leftover })),
        };
        let writer = self.writer(chunk, &entry);
        state.replicas.insert(chunk, entry);
        Ok(writer)
    }

    async fn reopen(&self, options: ReopenReplica) -> Result<Box<dyn ReplicaWriter>> {
        let chunk = options.chunk;
        let mut state = self.shared.state.lock();
        rules::reopen(options, state.known(chunk))?;
        state.cut(chunk, options.length);
        let writer = state.next_writer();
        let entry = state.entry(chunk)?;
        (entry.generation, entry.state, entry.writer) = (options.generation, ReplicaState::Rbw, writer);
        Ok(self.writer(chunk, entry))
    }

    async fn open(&self, chunk: ChunkId, min_generation: Generation) -> Result<Box<dyn ReplicaReader>> {
        let mut state = self.shared.state.lock();
        let replica = rules::open(chunk, min_generation, state.known(chunk))?;
        let entry = state.entry(chunk)?;
        Ok(Box::new(MemoryReader { replica, capacity: entry.capacity, body: Arc::clone(&entry.body) }))
    }

    async fn recover(&self, chunk: ChunkId, generation: Generation) -> Result<Replica> {
        let mut state = self.shared.state.lock();
        rules::recover(chunk, generation, state.known(chunk))?;
        let entry = state.entry(chunk)?;
        (entry.recovered, entry.writer) = (generation, 0);
        Ok(entry.replica(chunk))
    }

    async fn settle(&self, chunk: ChunkId, generation: Generation, length: u64) -> Result<Replica> {
        let mut state = self.shared.state.lock();
        if rules::settle(chunk, generation, length, state.known(chunk))? == Settle::Needed {
            state.cut(chunk, length);
            let entry = state.entry(chunk)?;
            (entry.generation, entry.state, entry.writer) = (generation, ReplicaState::Finalized, 0);
            entry.body.lock().visible = length;
        }
        Ok(state.entry(chunk)?.replica(chunk))
    }

    async fn delete(&self, chunk: ChunkId, generation: Generation) -> Result<()> {
        let mut state = self.shared.state.lock();
        if rules::delete(chunk, generation, state.known(chunk))? {
            state.remove(chunk);
        }
        Ok(())
    }

    async fn stat(&self, chunk: ChunkId) -> Result<Replica> {
        self.shared.state.lock().entry(chunk).map(|entry| entry.replica(chunk))
    }

    async fn list(&self, range: Range<u64>, limit: usize) -> Result<Vec<Replica>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let state = self.shared.state.lock();
        let within = state.replicas.range(ChunkId(range.start)..ChunkId(range.end));
        Ok(within.take(limit).map(|(chunk, entry)| entry.replica(*chunk)).collect())
    }

    async fn verify(&self, chunk: ChunkId) -> Result<Replica> {
        rules::verify(chunk, self.shared.state.lock().known(chunk))
    }

    async fn space(&self) -> Result<Space> {
        let (capacity, used) = (self.shared.capacity, self.shared.state.lock().used);
        Ok(Space { capacity, used, available: capacity.saturating_sub(used) })
    }

    async fn unknown(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

impl State {
    fn known(&self, chunk: ChunkId) -> Option<Known> {
        self.replicas.get(&chunk).map(|entry| entry.known(chunk))
    }

    fn entry(&mut self, chunk: ChunkId) -> Result<&mut Entry> {
        self.replicas.get_mut(&chunk).ok_or_else(|| rules::not_found(chunk))
    }

    /// The replica if `writer` may still write it.
    fn written_by(&mut self, writer: &MemoryWriter) -> Result<&mut Entry> {
        let fenced = || rules::stopped(writer.chunk, writer.last.generation);
        self.replicas.get_mut(&writer.chunk).filter(|entry| entry.writer == writer.number).ok_or_else(fenced)
    }

    fn next_writer(&mut self) -> u64 {
        self.writers += 1;
        self.writers
    }

    fn remove(&mut self, chunk: ChunkId) {
        if let Some(entry) = self.replicas.remove(&chunk) {
            self.used -= entry.body.lock().data.len() as u64;
            if let Some(leftover) = entry.leftover {
                self.replicas.insert(chunk, *leftover);
            }
        }
    }

    fn cut(&mut self, chunk: ChunkId, length: u64) {
        let Some(entry) = self.replicas.get_mut(&chunk) else { return };
        let mut body = entry.body.lock().clone();
        let keep = usize::try_from(length).unwrap_or(usize::MAX);
        let dropped = body.data.len().saturating_sub(keep);
        if dropped > 0 {
            body.data.truncate(keep);
            body.visible = body.visible.min(length);
            entry.body = Arc::new(Mutex::new(body));
            self.used -= dropped as u64;
        }
    }
}

impl Entry {
    fn known(&self, chunk: ChunkId) -> Known {
        Known { replica: self.replica(chunk), recovered: self.recovered }
    }

    fn replica(&self, chunk: ChunkId) -> Replica {
        let body = self.body.lock();
        Replica {
            chunk,
            generation: self.generation,
            length: body.data.len() as u64,
            visible: body.visible,
            state: self.state,
        }
    }
}

#[derive(Debug)]
struct MemoryWriter {
    shared: Arc<Shared>,
    chunk: ChunkId,
    number: u64,
    /// The replica when it was last seen, for after this writer was stopped.
    last: Replica,
}

#[async_trait]
impl ReplicaWriter for MemoryWriter {
    async fn append(&mut self, packet: Packet) -> Result<()> {
        let mut state = self.shared.state.lock();
        let (used, capacity) = (state.used, self.shared.capacity);
        let entry = state.written_by(self)?;
        let mut body = entry.body.lock();
        let length = body.data.len();
        let overlap = rules::admit(&packet, length as u64, entry.capacity)?;
        let (again, fresh) = packet.data.split_at(overlap);
        // Admitted packets begin at or before the end.
        let begin = usize::try_from(packet.offset).unwrap_or(length);
        if body.data[begin..begin + overlap] != *again {
            return Err(rules::disagrees(&packet));
        }
        if used.saturating_add(fresh.len() as u64) > capacity {
            return Err(Error::new(ErrorKind::StorageFull, format!("{used} of {capacity} bytes are in use")));
        }
        body.data.extend_from_slice(fresh);
        drop(body);
        let replica = entry.replica(self.chunk);
        state.used += fresh.len() as u64;
        drop(state);
        self.last = replica;
        Ok(())
    }

    fn publish(&mut self, length: u64) {
        let mut state = self.shared.state.lock();
        let Ok(entry) = state.written_by(self) else { return };
        let mut body = entry.body.lock();
        body.visible = body.visible.max(length.min(body.data.len() as u64));
        self.last.visible = body.visible;
    }

    async fn sync(&mut self) -> Result<()> {
        self.shared.state.lock().written_by(self).map(|_| ())
    }

    async fn finalize(self: Box<Self>, _sync: bool) -> Result<Replica> {
        let mut state = self.shared.state.lock();
        let entry = state.written_by(&self)?;
        (entry.state, entry.writer) = (ReplicaState::Finalized, 0);
        {
            let mut body = entry.body.lock();
            body.visible = body.data.len() as u64;
        }
        let replaced = entry.leftover.take();
        let replica = entry.replica(self.chunk);
        state.used -= replaced.map_or(0, |leftover| leftover.body.lock().data.len() as u64);
        Ok(replica)
    }

    fn replica(&self) -> Replica {
        self.last
    }
}

#[derive(Debug)]
struct MemoryReader {
    replica: Replica,
    capacity: u64,
    body: Arc<Mutex<Body>>,
}

#[async_trait]
impl ReplicaReader for MemoryReader {
    fn replica(&self) -> Replica {
        match self.replica.state {
            ReplicaState::Rbw => {
                let body = self.body.lock();
                Replica { length: body.data.len() as u64, visible: body.visible, ..self.replica }
            }
            _ => self.replica,
        }
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    async fn read(&self, offset: u64, length: usize, _verify: bool) -> Result<Packet> {
        let range = rules::read_range(offset, length, self.replica().visible);
        let body = self.body.lock();
        let bounds = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.data.len());
        let data = Bytes::copy_from_slice(&body.data[bounds(range.start)..bounds(range.end)]);
        Ok(Packet { offset: range.start, checksums: checksum::checksums(range.start, &data), data })
    }
}
