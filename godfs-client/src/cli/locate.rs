//! `locate`: where the chunks of files lie.

use godfs_core::DfsPath;
use godfs_core::chunk::ReplicaState;

use super::args::LocateArgs;
use super::context::Context;
use super::failure::Outcome;
use super::output::Output;
use super::view::{Chunk, Located, Replica};
use crate::{ChunkLocation, FileLocations, ReplicaLocation, UnregisteredReplica};

/// Runs `locate`.
pub(super) async fn locate(context: &Context, args: &LocateArgs, output: &mut Output) -> Outcome {
    context
        .each(&args.paths, async |path| {
            let path = DfsPath::parse(path)?;
            let located = located(&path, &context.client.locate(&path).await?);
            if output.json() {
                return output.object(&located);
            }
            lines(&located).into_iter().try_for_each(|line| output.line(&line))
        })
        .await
}

fn located(path: &DfsPath, locations: &FileLocations) -> Located {
    Located {
        path: path.to_string(),
        length: locations.status.length,
        replication: locations.status.replication,
        chunks: chunks(&locations.chunks),
    }
}

/// Chunks as they are shown.
pub(super) fn chunks(chunks: &[ChunkLocation]) -> Vec<Chunk> {
    let shown = |chunk: &ChunkLocation| Chunk {
        id: chunk.chunk.get(),
        offset: chunk.offset,
        generation: chunk.generation.get(),
        length: chunk.length,
        replicas: chunk.replicas.iter().map(replica).chain(chunk.unregistered.iter().map(unregistered)).collect(),
    };
    chunks.iter().map(shown).collect()
}

fn replica(location: &ReplicaLocation) -> Replica {
    Replica {
        node: location.node.id.get(),
        address: Some(location.node.address.as_str().to_owned()),
        state: state(location.state),
        live: location.live,
    }
}

fn unregistered(replica: &UnregisteredReplica) -> Replica {
    Replica { node: replica.node.get(), address: None, state: state(replica.state), live: false }
}

fn state(state: Option<ReplicaState>) -> &'static str {
    match state {
        Some(ReplicaState::Rbw) => "rbw",
        Some(ReplicaState::Rwr) => "rwr",
        Some(ReplicaState::Finalized) => "finalized",
        Some(ReplicaState::Temporary) => "temporary",
        None => "corrupt",
    }
}

fn lines(located: &Located) -> Vec<String> {
    let Located { path, length, replication, chunks } = located;
    let mut lines = vec![format!("{path}: {length} bytes, {} chunks, replication {replication}", chunks.len())];
    lines.append(&mut chunk_lines(chunks));
    lines
}

/// Where each chunk is.
pub(super) fn chunk_lines(chunks: &[Chunk]) -> Vec<String> {
    let mut lines = Vec::new();
    for Chunk { id, offset, generation, length, replicas } in chunks {
        lines.push(format!("  chunk {id} generation {generation}: bytes {offset}..{}", offset.saturating_add(*length)));
        for Replica { node, address, state, live } in replicas {
            lines.push(match address {
                None => format!("    node {node}: {state}, never registered"),
                Some(address) if *live => format!("    node {node} at {address}: {state}"),
                Some(address) => format!("    node {node} at {address}: {state}, not live"),
            });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_each_replica_is() {
        let replica = |live| Replica { node: 2, address: Some("[::1]:4801".into()), state: "corrupt", live };
        let unheard = Replica { node: 3, address: None, state: "finalized", live: false };
        let chunk = Chunk {
            id: 5,
            offset: 10,
            generation: 4,
            length: 3,
            replicas: vec![replica(true), replica(false), unheard],
        };
        let located = Located { path: "/a".into(), length: 13, replication: 2, chunks: vec![chunk] };
        assert_eq!(
            lines(&located),
            [
                "/a: 13 bytes, 1 chunks, replication 2",
                "  chunk 5 generation 4: bytes 10..13",
                "    node 2 at [::1]:4801: corrupt",
                "    node 2 at [::1]:4801: corrupt, not live",
                "    node 3: finalized, never registered"
            ]
        );
    }
}
