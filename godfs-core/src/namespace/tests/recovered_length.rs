//! What length survivors agree on.

use super::*;

fn replica(node: u32, state: ReplicaState, generation: u64, length: u64) -> (NodeId, Replica) {
    let (chunk, generation) = (ChunkId(1), Generation(generation));
    (NodeId(node), Replica { chunk, generation, length, visible: 0, state })
}

fn decide(replicas: &[(NodeId, Replica)]) -> (u64, Vec<u32>) {
    let RecoveredLength { length, nodes } = recovered_length(Generation(2), replicas).unwrap();
    (length, nodes.into_iter().map(|node| node.0).collect())
}

use ReplicaState::{Finalized, Rbw, Rwr, Temporary};

#[test]
fn unfinished_replicas_settle_at_the_shortest() {
    assert_eq!(decide(&[replica(1, Rbw, 2, 30), replica(2, Rbw, 2, 10), replica(3, Rbw, 3, 20)]), (10, vec![1, 2, 3]));
    assert_eq!(decide(&[replica(1, Rbw, 2, 0), replica(2, Rbw, 2, 10)]).0, 0);
}

#[test]
fn restarted_replicas_count_only_when_no_other_is_left() {
    assert_eq!(decide(&[replica(1, Rwr, 2, 5), replica(2, Rbw, 2, 10)]), (10, vec![2]));
    assert_eq!(decide(&[replica(1, Rwr, 2, 5), replica(2, Rwr, 2, 10)]), (5, vec![1, 2]));
}

#[test]
fn finalized_replicas_rule_and_unfinished_ones_of_their_length_join() {
    let all = [replica(1, Finalized, 2, 10), replica(2, Rbw, 2, 10), replica(3, Rbw, 2, 9), replica(4, Rwr, 2, 10)];
    assert_eq!(decide(&all), (10, vec![1, 2]));
    assert_eq!(decide(&[replica(1, Rbw, 2, 30), replica(2, Finalized, 2, 10)]), (10, vec![2]));
}

#[test]
fn finalized_replicas_of_one_generation_must_agree() {
    let error = recovered_length(Generation(2), &[replica(1, Finalized, 2, 10), replica(2, Finalized, 2, 11)]);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
    // Of two recoveries that were cut off, the later one came further.
    assert_eq!(decide(&[replica(1, Finalized, 3, 10), replica(2, Finalized, 4, 11)]), (11, vec![2]));
}

#[test]
fn what_was_left_out_or_is_in_flight_proves_nothing() {
    assert_eq!(decide(&[replica(1, Rbw, 1, 5), replica(2, Rbw, 2, 10), replica(3, Temporary, 2, 3)]), (10, vec![2]));
    let error = recovered_length(Generation(2), &[replica(1, Finalized, 1, 5), replica(2, Temporary, 2, 3)]);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}
