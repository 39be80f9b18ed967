//! Random transactions against a sorted map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::ranges::select;
use super::{StoreFactory, plain};
use crate::error::{Error, ErrorKind};
use crate::metadata::{Counters, MetadataStore, MetadataStoreExt, Range, Row, Space, Step, Transaction};

/// Few keys, so that transactions meet.
const KEYS: u8 = 24;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The rows of each space.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model([Rows; Space::ALL.len()]);

/// What a transaction does, one after another.
#[derive(Clone, Debug)]
enum Action {
    Put(Space, Vec<u8>, Vec<u8>),
    Delete(Space, Vec<u8>),
    Add(Vec<u8>, Counters),
    Get(Space, Vec<u8>),
    Scan(Space, Range),
    Fail,
}

/// What a transaction read.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Value(Option<Bytes>),
    Rows(Vec<Row>),
}

/// Runs `transactions` random transactions, some of them together, some of which fail, with a restart now and then, and
/// compares all that they read, and all that is there in between, with a map. Equal seeds do the same.
///
/// # Panics
/// When the store breaks its contract.
pub async fn random_transactions_agree_with_a_map(factory: &dyn StoreFactory, seed: u64, transactions: usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut store = factory.create().await;
    let mut model = Model::default();
    let mut done = 0;
    while done < transactions {
        let together = rng.usize(1..=8);
        done += together;
        let plans: Vec<Vec<Action>> = (0..together).map(|_| plan(&mut rng)).collect();
        let calls = plans.iter().map(|plan| {
            let plan = plan.clone();
            store.commit(move |txn| run(txn, &plan))
        });
        let mut outcomes: Vec<_> = futures::future::join_all(calls).await.into_iter().zip(plans).collect();
        // The order of the versions is the order of the world; who wrote nothing read at a version, and who failed
        // at one that is not known.
        outcomes.sort_by_key(|(outcome, plan)| {
            outcome.as_ref().map_or((u64::MAX, true), |(_, version)| (version.0, !writes(plan)))
        });
        for (outcome, plan) in outcomes {
            match outcome {
                Ok((reads, version)) => {
                    let mut after = model.clone();
                    let expected = after.run(&plan).unwrap_or_else(|| panic!("seed {seed}: {plan:?} must fail"));
                    assert_eq!(reads, expected, "seed {seed}, version {version}: {plan:?}");
                    model = after;
                }
                Err(error) => {
                    let planned = plan.iter().any(|action| matches!(action, Action::Fail));
                    assert_eq!((error.kind(), planned), (ErrorKind::FailedPrecondition, true), "seed {seed}: {plan:?}");
                }
            }
        }
        compare(&store, &model, seed).await;
        if rng.u8(0..6) == 0 {
            match factory.reopen(store).await {
                Some(reopened) => store = reopened,
                None => return,
            }
            compare(&store, &model, seed).await;
        }
    }
}

async fn compare(store: &Arc<dyn MetadataStore>, model: &Model, seed: u64) {
    let all = Range::prefix(b"", 10_000);
    let whole = all.clone();
    let read = store.view(move |snapshot| {
        Space::ALL.iter().map(|space| snapshot.scan(*space, &whole)).collect::<Result<Vec<_>, _>>()
    });
    for (found, expected) in read.await.expect("read").into_iter().zip(&model.0) {
        assert_eq!(found, select(expected, &all), "seed {seed}");
    }
}

fn plan(rng: &mut fastrand::Rng) -> Vec<Action> {
    (0..rng.usize(1..=8)).map(|_| action(rng)).collect()
}

fn action(rng: &mut fastrand::Rng) -> Action {
    let space = Space::ALL[rng.usize(0..Space::ALL.len())];
    let key = vec![b'k', rng.u8(0..KEYS)];
    match rng.u8(0..20) {
        0..=5 => {
            let length = if rng.u8(0..10) == 0 { rng.usize(0..20_000) } else { rng.usize(0..40) };
            Action::Put(space, key, std::iter::repeat_with(|| rng.u8(..)).take(length).collect())
        }
        6..=8 => Action::Delete(space, key),
        // Keys of their own: adding to anything but counters is refused.
        9..=11 => Action::Add(vec![b's', rng.u8(0..3)], Counters([rng.i64(..), 1, -1, 0])),
        12..=15 => Action::Get(space, key),
        16..=18 => Action::Scan(space, range(rng)),
        _ => Action::Fail,
    }
}

fn range(rng: &mut fastrand::Rng) -> Range {
    let mut bound = || {
        let key = Bytes::from(vec![b'k', rng.u8(0..KEYS)]);
        match rng.u8(0..3) {
            0 => Bound::Included(key),
            1 => Bound::Excluded(key),
            _ => Bound::Unbounded,
        }
    };
    let (start, end) = (bound(), bound());
    Range { start, end, reverse: rng.bool(), limit: rng.usize(1..=30) }
}

fn writes(plan: &[Action]) -> bool {
    plan.iter().any(|action| matches!(action, Action::Put(..) | Action::Delete(..) | Action::Add(..)))
}

fn run(txn: &mut dyn Transaction, plan: &[Action]) -> Step<Vec<Read>> {
    let mut reads = Vec::new();
    for action in plan {
        match action {
            Action::Put(space, key, value) => txn.put(*space, plain(key), plain(value)),
            Action::Delete(space, key) => txn.delete(*space, key),
            Action::Add(key, delta) => txn.add(Space::Rows, key, *delta),
            Action::Get(space, key) => reads.push(Read::Value(txn.get(*space, key)?)),
            Action::Scan(space, range) => reads.push(Read::Rows(txn.scan(*space, range)?)),
            Action::Fail => return Err(Error::new(ErrorKind::FailedPrecondition, "as planned").into()),
        }
    }
    Ok(reads)
}

impl Model {
    /// What the plan reads; `None` when it fails.
    fn run(&mut self, plan: &[Action]) -> Option<Vec<Read>> {
        let mut reads = Vec::new();
        for action in plan {
            match action {
                Action::Put(space, key, value) => {
                    self.0[*space as usize].insert(key.clone(), value.clone());
                }
                Action::Delete(space, key) => {
                    self.0[*space as usize].remove(key);
                }
                Action::Add(key, delta) => {
                    let row =
                        self.0[Space::Rows as usize].entry(key.clone()).or_insert_with(|| vec![0; Counters::BYTES]);
                    *row = Counters::decode(row).expect("only counters have such keys").plus(*delta).encode().to_vec();
                }
                Action::Get(space, key) => {
                    let value = self.0[*space as usize].get(key);
                    reads.push(Read::Value(value.map(|value| Bytes::copy_from_slice(value))));
                }
                Action::Scan(space, range) => reads.push(Read::Rows(select(&self.0[*space as usize], range))),
                Action::Fail => return None,
            }
        }
        Some(reads)
    }
}
