//! Counters over everything, changed by `add`.

use super::keys;
use crate::metadata::{Counters, Snapshot, Space, Step, Transaction};

/// What is counted besides the usage of the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::namespace) struct Totals {
    /// Chunk rows.
    pub(in crate::namespace) chunks: i64,
    /// Owed rows.
    pub(in crate::namespace) owed: i64,
    /// Garbage rows.
    pub(in crate::namespace) garbage: i64,
    /// Leases.
    pub(in crate::namespace) leases: i64,
}

pub(in crate::namespace) fn add(txn: &mut dyn Transaction, change: Totals) {
    let delta = Counters([change.chunks, change.owed, change.garbage, change.leases]);
    if !delta.is_zero() {
        txn.add(Space::Rows, &keys::totals(), delta);
    }
}

pub(in crate::namespace) fn read(snapshot: &mut dyn Snapshot) -> Step<Totals> {
    let Counters([chunks, owed, garbage, leases]) = snapshot.counters(Space::Rows, &keys::totals())?;
    Ok(Totals { chunks, owed, garbage, leases })
}
