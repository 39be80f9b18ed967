//! Pipelines in all weathers: random writers, and random faults of machines, networks and disks, both from one seed.
//!
//! Each seed makes a [`Plan`]: up to six datanodes, what one or two writers do to their files, and what befalls whom. Meanwhile a reader reads. When all
//! is mended, every file must be closed, repaired, and hold what was acknowledged; `invariants` has what is looked at, and [`model`] what a file must
//! hold.
//!
//! Seeds run in processes of their own, several at a time: what makes a run replay to the last event is counted for a whole process. A seed that fails
//! is run again with less and less of its plan, until nothing more can be left out, and what is left is printed with the words that replay it.
//!
//! `GODFS_SEED` is the first seed, `GODFS_ROUNDS` how many, and `GODFS_DROP` the steps to leave out.

mod clients;
mod model;
mod plan;
mod powers;
mod world;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use plan::Plan;

use crate::invariants;
use crate::number;
use crate::trace::Trace;
use world::Outcome;

/// Seeds of an ordinary run.
const ROUNDS: u64 = 200;
/// How many of them run twice, to see that they replay: one in so many.
const TWICE: u64 = 25;
/// Seeds that one process runs.
const SHARD: u64 = 25;
/// Processes at a time at most; each is busy all the time.
const PROCESSES: usize = 8;
/// Runs that making a plan smaller may take.
const SHRINKS: usize = 120;

/// What a share says before how many copies were begun to nodes that were to join pipelines, and how many have joined.
const JOINS: &str = "copies begun and nodes joined:";

fn dropped() -> BTreeSet<usize> {
    let text = std::env::var("GODFS_DROP").unwrap_or_default();
    text.split(',').filter_map(|word| word.parse().ok()).collect()
}

/// Runs seeds in this process; called by the test below, with `GODFS_SEED` and `GODFS_ROUNDS`.
#[test]
#[ignore = "one share of the test below, which starts it"]
fn share_of_storms() {
    let first = number("GODFS_SEED", 1);
    let (mut copies, mut joined) = (0, 0);
    for seed in first..first + number("GODFS_ROUNDS", 1) {
        let plan = Plan::new(seed).without(&dropped());
        println!("seed {seed}: {plan}");
        let one = world::run(&plan);
        if seed.is_multiple_of(TWICE) {
            let other = world::run(&plan);
            Trace::assert_equal(&one.events, &other.events);
        }
        let Outcome { events, longest, .. } = &one;
        println!("  {} events, longest operation {longest:?}, the last: {:?}", events.len(), events.last());
        (copies, joined) = (copies + one.copies, joined + one.joined);
    }
    println!("{JOINS} {copies} {joined}");
    if let Some(peak) = peak_memory() {
        println!("{peak} bytes in memory at the peak");
        invariants::memory_is_bounded(peak);
    }
}

/// The most memory that this process ever had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

#[test]
fn storms_lose_nothing_and_replay() {
    let first = number("GODFS_SEED", 1);
    let rounds = number("GODFS_ROUNDS", ROUNDS);
    let shares: Vec<(u64, u64)> =
        (0..rounds).step_by(SHARD as usize).map(|at| (first + at, SHARD.min(rounds - at))).collect();
    let next = AtomicUsize::new(0);
    let processes = std::thread::available_parallelism().map_or(2, usize::from).min(PROCESSES);
    let said: Vec<(u64, Result<String, String>)> = std::thread::scope(|scope| {
        let work = || {
            let mut said = Vec::new();
            while let Some(&(seed, count)) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
                said.push((seed, share(seed, count, &dropped())));
            }
            said
        };
        let workers: Vec<_> = (0..processes).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("joined")).collect()
    });
    let failed: Vec<_> = said
        .iter()
        .filter_map(|(seed, said)| said.as_ref().err().map(|said| (last_seed(said).unwrap_or(*seed), said.clone())))
        .collect();
    let Some((seed, said)) = failed.first() else {
        let (copies, joined) = said.iter().filter_map(|(_, said)| joins(said.as_ref().ok()?)).fold((0, 0), add);
        println!("{rounds} storms, {JOINS} {copies} {joined}");
        // Else they would not test what they are for.
        let hit = copies > joined && joined * 20 > rounds;
        assert!(rounds < ROUNDS || hit, "of {copies} copies to nodes that were to join {joined} have joined");
        return;
    };
    println!("{said}");
    println!("{} of {} shares failed", failed.len(), shares.len());
    let (drop, said) = shrink(*seed, said.clone());
    let drop: Vec<String> = drop.iter().map(ToString::to_string).collect();
    panic!("{said}\nGODFS_SEED={seed} GODFS_ROUNDS=1 GODFS_DROP={} replays this", drop.join(","));
}

fn add(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0 + other.0, one.1 + other.1)
}

/// How many copies a share has begun, and how many nodes have joined.
fn joins(said: &str) -> Option<(u64, u64)> {
    let line = said.lines().rev().find_map(|line| line.strip_prefix(JOINS))?;
    let (copies, joined) = line.trim().split_once(' ')?;
    Some((copies.parse().ok()?, joined.parse().ok()?))
}

/// Runs some seeds in a process of their own, and gives what it said; also as an error.
fn share(seed: u64, count: u64, dropped: &BTreeSet<usize>) -> Result<String, String> {
    let dropped: Vec<String> = dropped.iter().map(ToString::to_string).collect();
    let done = Command::new(std::env::current_exe().expect("the test itself"))
        .args(["storm::share_of_storms", "--exact", "--ignored", "--nocapture"])
        .env("GODFS_SEED", seed.to_string())
        .env("GODFS_ROUNDS", count.to_string())
        .env("GODFS_DROP", dropped.join(","))
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .expect("the test starts");
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    if done.status.success() { Ok(said) } else { Err(said) }
}

/// Which seed was at work last.
fn last_seed(said: &str) -> Option<u64> {
    let line = said.lines().rev().find_map(|line| line.strip_prefix("seed "))?;
    line.split(':').next()?.parse().ok()
}

/// Leaves out of a plan that fails whatever is not needed for that. What is left out, and how the rest fails.
fn shrink(seed: u64, mut said: String) -> (BTreeSet<usize>, String) {
    let steps = Plan::new(seed).steps();
    let mut dropped = dropped();
    let mut tries = 0;
    // In halves, quarters, and so on, and at last one by one.
    let mut size = steps.div_ceil(2);
    while size > 0 {
        for begin in (0..steps).step_by(size).rev() {
            let more: BTreeSet<usize> = (begin..(begin + size).min(steps)).chain(dropped.iter().copied()).collect();
            if more.len() == dropped.len() || tries == SHRINKS {
                continue;
            }
            tries += 1;
            if let Err(how) = share(seed, 1, &more) {
                (dropped, said) = (more, how);
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    (dropped, said)
}
