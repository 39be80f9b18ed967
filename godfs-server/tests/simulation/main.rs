//! Whole clusters on simulated machines: network, disks, clocks and randomness all follow one seed.
//!
//! A namenode, three datanodes, a writer and a reader, the product's own libraries all of them, run over turmoil's network and over disks that lose
//! what was not synced. In the middle of a write one datanode is lost in one of several ways and comes back later. Every
//! seed runs twice, and the two traces must be equal to the last event.
//!
//! `GODFS_SEED` is the first seed, 1 unless said otherwise, and `GODFS_ROUNDS` how many are run from it on. `make soak` runs many, from
//! another one each time.

mod cluster;
mod invariants;
mod network;
mod plan;
mod probe;
mod storm;
mod trace;
mod workload;

use plan::Plan;
use trace::Trace;

/// Enough for every moment and every way to lose a node to come up.
const ROUNDS: u64 = 12;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_write_outlives_a_datanode_and_replays() {
    let first = number("GODFS_SEED", 1);
    for seed in first..first + number("GODFS_ROUNDS", ROUNDS) {
        let plan = Plan::new(seed);
        println!("GODFS_SEED={seed} GODFS_ROUNDS=1 replays: {plan:?}");
        let one = cluster::run(&plan);
        let other = cluster::run(&plan);
        Trace::assert_equal(&one, &other);
        println!("  {} events, the last: {}", one.len(), one.last().map_or("", String::as_str));
    }
}
