//! Whole replicas, several at once: those that are new go to one volume, so that they share its flush.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;

use super::handles::VolumeWriter;
use super::{Inner, rules};
use crate::chunk::{ReplicaWriter, WholeReplica};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ChunkId;

type Written = Result<Box<dyn ReplicaWriter>>;

impl Inner {
    /// What the volume that was drawn refuses for want of room, or because it fails, is tried on the others.
    pub(super) async fn write_whole(&self, replicas: Vec<WholeReplica>) -> Vec<Written> {
        let chunks: BTreeSet<ChunkId> = replicas.iter().map(|replica| replica.options.chunk).collect();
        if chunks.len() < replicas.len() {
            // The turn of the second one of a chunk would never come.
            let twice = || Error::new(ErrorKind::AlreadyExists, "a chunk is named twice");
            return replicas.iter().map(|_| Err(twice())).collect();
        }
        // In one order for all, so that no two wait for each other's turns.
        let mut turns = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            turns.push(self.turns.take(chunk).await);
        }
        let drawn = self.choices(replicas.iter().map(bytes).sum()).first().copied();
        let mut groups = BTreeMap::<usize, Vec<(usize, bool)>>::new();
        let nowhere = || Err(Error::new(ErrorKind::Io, "no volume of this datanode is in use"));
        let mut outcomes: Vec<Written> = replicas.iter().map(|_| nowhere()).collect();
        for (number, replica) in replicas.iter().enumerate() {
            let known = self.find(replica.options.chunk).await.map(|(at, ..)| at);
            if let Some(at) = known.or(drawn) {
                groups.entry(at).or_default().push((number, known.is_none()));
            }
        }
        let written = join_all(groups.iter().map(|(&at, numbers)| {
            let group = numbers.iter().map(|(number, _)| replicas[*number].clone()).collect();
            self.write_whole_on(at, group)
        }));
        for ((&at, numbers), written) in groups.iter().zip(written.await) {
            for (&(number, new), outcome) in numbers.iter().zip(written) {
                outcomes[number] = match outcome {
                    Err(error) if new && matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Io) => {
                        self.write_elsewhere(at, &replicas[number], error).await
                    }
                    outcome => outcome,
                };
            }
        }
        drop(turns);
        outcomes
    }

    async fn write_elsewhere(&self, failed: usize, replica: &WholeReplica, error: Error) -> Written {
        let mut last = error;
        for at in self.choices(bytes(replica)).into_iter().filter(|at| *at != failed) {
            match self.write_whole_on(at, vec![replica.clone()]).await.pop() {
                Some(Err(error)) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Io) => last = error,
                Some(done) => return done,
                None => {}
            }
        }
        Err(last)
    }

    async fn write_whole_on(&self, at: usize, group: Vec<WholeReplica>) -> Vec<Written> {
        let volume = &self.volumes[at];
        let store = volume.check_in_use().and_then(|()| {
            volume.store().ok_or_else(|| rules::not_found(group.first().map_or(ChunkId(0), |one| one.options.chunk)))
        });
        let store = match store {
            Ok(store) => store,
            Err(error) => return group.iter().map(|_| Err(error.duplicate())).collect(),
        };
        let now = self.env.clock.monotonic();
        // Should this future be dropped, the work on that volume may go on: the next one must not look elsewhere.
        let homes: Vec<_> = group.iter().map(|one| self.homes.begin(one.options.chunk, at, now)).collect();
        let sizes: Vec<u64> = group.iter().map(bytes).collect();
        let written = store.write_whole(group).await;
        for home in homes {
            home.settled();
        }
        let wrapped = written.into_iter().zip(sizes).map(|(outcome, size)| {
            let writer = volume.noted(outcome)?;
            volume.promise(size);
            Ok(Box::new(VolumeWriter::new(Arc::clone(volume), writer)) as Box<dyn ReplicaWriter>)
        });
        wrapped.collect()
    }
}

fn bytes(replica: &WholeReplica) -> u64 {
    replica.packet.data.len() as u64
}
