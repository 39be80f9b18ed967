//! Random calls, some of them wrong, on all of our stores at once: they answer alike, and agree with a `Vec<u8>`.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::conformance::{packet, pattern, read_all};
use super::{
    ChunkStore, CreateReplica, DirectoryOptions, DirectoryStore, MemoryStore, ReopenReplica, Replica, ReplicaState,
    ReplicaWriter, VolumeStore, VolumesOptions,
};
use crate::env::Env;
use crate::error::{ErrorKind, Result};
use crate::id::{ChunkId, Generation, NodeUuid};
use crate::io::{Io, SimIo};

const CHUNK: ChunkId = ChunkId(5);

#[derive(Clone, Debug)]
enum Call {
    Create {
        generation: u64,
        temporary: bool,
        /// What is said of the length to come.
        expected: Option<u64>,
    },
    /// `back` bytes before the end; `flip` damages the packet.
    Append {
        size: usize,
        back: u64,
        flip: bool,
    },
    Publish {
        back: u64,
    },
    Sync,
    Finalize {
        sync: bool,
    },
    Reopen {
        generation: u64,
        back: u64,
    },
    Recover {
        generation: u64,
    },
    Settle {
        generation: u64,
        back: u64,
    },
    Delete {
        generation: u64,
    },
    Read {
        offset: u64,
        length: usize,
    },
    Restart,
}

fn calls() -> impl Strategy<Value = Call> {
    // Mostly one step ahead, so that calls succeed; else anything near.
    let generation = || prop_oneof![4 => Just(u64::MAX), 1 => 0..12_u64];
    let back = || prop_oneof![3 => Just(0), 1 => 0..9_000_u64];
    prop_oneof![
        2 => (generation(), prop::bool::weighted(0.2), prop::option::of(0..40_000_u64))
            .prop_map(|(generation, temporary, expected)| Call::Create { generation, temporary, expected }),
        8 => (0..9_000_usize, prop_oneof![5 => Just(0), 1 => 0..5_000_u64], prop::bool::weighted(0.05))
            .prop_map(|(size, back, flip)| Call::Append { size, back, flip }),
        2 => back().prop_map(|back| Call::Publish { back }),
        1 => Just(Call::Sync),
        2 => any::<bool>().prop_map(|sync| Call::Finalize { sync }),
        2 => (generation(), back()).prop_map(|(generation, back)| Call::Reopen { generation, back }),
        1 => generation().prop_map(|generation| Call::Recover { generation }),
        1 => (generation(), back()).prop_map(|(generation, back)| Call::Settle { generation, back }),
        1 => generation().prop_map(|generation| Call::Delete { generation }),
        3 => (0..30_000_u64, 0..20_000_usize).prop_map(|(offset, length)| Call::Read { offset, length }),
        2 => Just(Call::Restart),
    ]
}

struct Side {
    store: Arc<dyn ChunkStore>,
    writer: Option<Box<dyn ReplicaWriter>>,
}

/// What a call came to, so that two stores can be compared.
#[derive(Debug, PartialEq)]
enum Outcome {
    Replica(Replica),
    Bytes(u64, Bytes),
    Done,
    Refused(ErrorKind),
    NoWriter,
}

impl Side {
    async fn call(&mut self, call: &Call, model: &Model) -> Outcome {
        self.attempt(call, model).await.unwrap_or_else(|error| Outcome::Refused(error.kind()))
    }

    async fn attempt(&mut self, call: &Call, model: &Model) -> Result<Outcome> {
        let length = model.content.len() as u64;
        let next = |generation: u64| Generation(if generation == u64::MAX { model.generation + 1 } else { generation });
        Ok(match *call {
            Call::Create { generation, temporary, expected } => {
                let state = if temporary { ReplicaState::Temporary } else { ReplicaState::Rbw };
                let options = CreateReplica { chunk: CHUNK, generation: next(generation), capacity: 200_000, state };
                self.writer = Some(match expected {
                    Some(length) => self.store.create_sized(options, length).await?,
                    None => self.store.create(options).await?,
                });
                Outcome::Done
            }
            Call::Reopen { generation, back } => {
                let length = length.saturating_sub(back);
                let options = ReopenReplica { chunk: CHUNK, generation: next(generation), length };
                self.writer = Some(self.store.reopen(options).await?);
                Outcome::Done
            }
            Call::Append { back, flip, .. } => {
                let Some(writer) = &mut self.writer else { return Ok(Outcome::NoWriter) };
                let offset = length.saturating_sub(back);
                let mut packet = packet(offset, &model.next_bytes(call));
                if flip {
                    packet.checksums = packet.checksums.iter().map(|byte| byte ^ 1).collect();
                }
                writer.append(packet).await?;
                Outcome::Replica(writer.replica())
            }
            Call::Publish { back } => {
                let Some(writer) = &mut self.writer else { return Ok(Outcome::NoWriter) };
                writer.publish(length.saturating_sub(back));
                Outcome::Done
            }
            Call::Sync => {
                let Some(writer) = &mut self.writer else { return Ok(Outcome::NoWriter) };
                writer.sync().await?;
                Outcome::Done
            }
            Call::Finalize { sync } => {
                let Some(writer) = self.writer.take() else { return Ok(Outcome::NoWriter) };
                Outcome::Replica(writer.finalize(sync).await?)
            }
            Call::Recover { generation } => Outcome::Replica(self.store.recover(CHUNK, next(generation)).await?),
            Call::Settle { generation, back } => {
                let length = length.saturating_sub(back);
                Outcome::Replica(self.store.settle(CHUNK, next(generation), length).await?)
            }
            Call::Delete { generation } => {
                self.store.delete(CHUNK, next(generation)).await?;
                Outcome::Done
            }
            Call::Read { offset, length } => {
                let read = self.store.open(CHUNK, Generation(0)).await?.read(offset, length, true).await?;
                crate::checksum::verify(read.offset, &read.data, &read.checksums)?;
                Outcome::Bytes(read.offset, read.data)
            }
            Call::Restart => Outcome::Done,
        })
    }
}

#[derive(Debug, Default)]
struct Model {
    content: Vec<u8>,
    /// The highest that was ever used.
    generation: u64,
    appends: u64,
    /// The state of the replica.
    state: Option<ReplicaState>,
    /// What a temporary replica stands beside.
    leftover: Vec<u8>,
}

impl Model {
    /// The bytes of an append: what is there again where it begins before the end, then new ones.
    fn next_bytes(&self, call: &Call) -> Bytes {
        let Call::Append { size, back, .. } = *call else { return Bytes::new() };
        let begin = self.content.len().saturating_sub(usize::try_from(back).expect("small"));
        [&self.content[begin..], &pattern(self.appends, size)].concat().into()
    }

    fn follow(&mut self, call: &Call, outcome: &Outcome) {
        let shorter = |back: u64| self.content.len().saturating_sub(usize::try_from(back).expect("small"));
        if !matches!(outcome, Outcome::Refused(_) | Outcome::NoWriter) {
            match *call {
                Call::Create { temporary, .. } => {
                    match self.state {
                        Some(ReplicaState::Temporary) if temporary => {}
                        _ if temporary => self.leftover = std::mem::take(&mut self.content),
                        _ => self.leftover.clear(),
                    }
                    self.content.clear();
                }
                Call::Finalize { .. } => self.leftover.clear(),
                Call::Delete { .. } => self.content = std::mem::take(&mut self.leftover),
                Call::Append { back, .. } => {
                    let bytes = self.next_bytes(call);
                    self.content.truncate(shorter(back));
                    self.content.extend_from_slice(&bytes);
                }
                Call::Reopen { back, .. } | Call::Settle { back, .. } => self.content.truncate(shorter(back)),
                _ => {}
            }
            if let Call::Create { generation, .. }
            | Call::Reopen { generation, .. }
            | Call::Recover { generation }
            | Call::Settle { generation, .. } = *call
            {
                self.generation =
                    if generation == u64::MAX { self.generation + 1 } else { generation.max(self.generation) };
            }
        }
    }
}

async fn run(calls: Vec<Call>) {
    let disk = Arc::new(SimIo::new(1));
    let open = async || {
        let options =
            DirectoryOptions { root: "/d".into(), capacity: None, reserve: 0, small: 1 << 20, on_the_spot: true };
        DirectoryStore::open(options, Arc::clone(&disk) as _, Env::simulated(1)).await.expect("open")
    };
    let open_volumes = async || {
        let options = VolumesOptions {
            node: NodeUuid::from_random(1),
            folder: "/n".into(),
            volumes: vec!["/n/1".into(), "/n/2".into(), "/n/3".into()],
            replaced: Vec::new(),
            capacity: None,
            reserve: 0,
            small: 1 << 20,
        };
        VolumeStore::open(options, Arc::clone(&disk) as _, Env::simulated(1)).await.expect("open")
    };
    disk.create_dir_all("/n".as_ref()).expect("the node's folder");
    let mut memory = MemoryStore::new(None);
    let side = |store| Side { store, writer: None };
    let mut sides = [
        side(Arc::new(memory.clone()) as Arc<dyn ChunkStore>),
        side(Arc::new(open().await)),
        side(Arc::new(open_volumes().await)),
    ];
    let mut model = Model::default();
    for call in calls {
        if matches!(call, Call::Restart) {
            memory = memory.restarted();
            sides[0] = side(Arc::new(memory.clone()));
            // The old stores hold the folders' locks.
            for other in &mut sides[1..] {
                *other = side(Arc::new(MemoryStore::new(None)));
            }
            sides[1].store = Arc::new(open().await);
            sides[2].store = Arc::new(open_volumes().await);
            if model.state == Some(ReplicaState::Temporary) {
                model.content = std::mem::take(&mut model.leftover);
            }
            if let Err(error) = sides[0].store.stat(CHUNK).await {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                model.content.clear();
            }
        }
        let [first, others @ ..] = &mut sides;
        let outcome = first.call(&call, &model).await;
        for other in others {
            assert_eq!(other.call(&call, &model).await, outcome, "{call:?}");
        }
        model.follow(&call, &outcome);
        let found = sides[0].store.stat(CHUNK).await.ok();
        for other in &sides[1..] {
            assert_eq!(other.store.stat(CHUNK).await.ok(), found, "{call:?}");
        }
        model.state = found.map(|replica| replica.state);
        if let Some(replica) = found {
            assert_eq!(replica.length, model.content.len() as u64, "{call:?}");
            if let Outcome::Bytes(offset, data) = &outcome {
                let offset = usize::try_from(*offset).expect("small");
                assert!(data.is_empty() || model.content[offset..].starts_with(data), "{call:?}");
            }
            if replica.state != ReplicaState::Temporary {
                for side in &sides {
                    let reader = side.store.open(CHUNK, Generation(0)).await.expect("open");
                    let read = read_all(reader.as_ref(), 7_000).await.expect("read");
                    assert_eq!(read, model.content[..usize::try_from(replica.visible).expect("small")], "{call:?}");
                }
            }
            if replica.state == ReplicaState::Finalized {
                for side in &sides[1..] {
                    assert_eq!(side.store.verify(CHUNK).await.expect("verify"), replica);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn stores_agree_with_each_other_and_with_a_vector(calls in prop::collection::vec(calls(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
        runtime.block_on(run(calls));
    }
}
