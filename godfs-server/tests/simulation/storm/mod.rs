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

pub(crate) use plan::Plan;

use crate::invariants;
use crate::number;
use crate::trace::Trace;

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

fn dropped() -> BTreeSet<usize> {
    let text = std::env::var("GODFS_DROP").unwrap_or_default();
    text.split(',').filter_map(|word| word.parse().ok()).collect()
}

/// Runs seeds in this process; called by the test below, with `GODFS_SEED` and `GODFS_ROUNDS`.
#[test]
#[ignore = "one share of the test below, which starts it"]
fn share_of_storms() {
    let first = number("GODFS_SEED", 1);
    for seed in first..first + number("GODFS_ROUNDS", 1) {
        let plan = Plan::new(seed).without(&dropped());
        println!("seed {seed}: {plan}");
        let one = world::run(&plan);
        if seed.is_multiple_of(TWICE) {
            let other = world::run(&plan);
            Trace::assert_equal(&one, &other);
        }
        println!("  {} events, the last: {}", one.len(), one.last().map_or("", String::as_str));
    }
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
    let next = std::sync::atomic::AtomicUsize::new(0);
    let processes = std::thread::available_parallelism().map_or(2, usize::from).min(PROCESSES);
    let failed: Vec<(u64, String)> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            while let Some(&(seed, count)) = shares.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                if let Err(said) = share(seed, count, &dropped()) {
                    failed.push((last_seed(&said).unwrap_or(seed), said));
                }
            }
            failed
        };
        let workers: Vec<_> = (0..processes).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("joined")).collect()
    });
    let Some((seed, said)) = failed.first() else { return };
    println!("{said}");
    println!("{} of {} shares failed", failed.len(), shares.len());
    let (drop, said) = shrink(*seed, said.clone());
    let drop: Vec<String> = drop.iter().map(ToString::to_string).collect();
    panic!("{said}\nGODFS_SEED={seed} GODFS_ROUNDS=1 GODFS_DROP={} replays this", drop.join(","));
}

/// Runs some seeds in a process of their own; the error is what it said.
fn share(seed: u64, count: u64, dropped: &BTreeSet<usize>) -> Result<(), String> {
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
    if done.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
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
