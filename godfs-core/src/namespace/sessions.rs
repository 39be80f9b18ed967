//! Sessions, and the slots that make mutating calls safe to repeat.

use super::answers::SessionInfo;
use super::leases;
use super::options::{Call, MAX_SESSION_NAME_BYTES};
use super::outcome::{Operation, Outcome};
use super::rows::{self, RECOVERY, Series, SessionRow, SlotRow, keys};
use super::{Context, MAX_PAGE};
use crate::error::{Error, ErrorKind};
use crate::id::{SessionId, SessionNumber, Version};
use crate::metadata::{Range, Snapshot, Space, Step, Transaction};

/// How many leases of a session are handed over in one transaction.
const LEASES_A_STEP: usize = 128;

/// Runs a mutating call once: a repeated sequence gets the first answer without running `body`. Gives back the answer, and of a
/// repeated call the version that the first committed as. A body that fails, and one that says `None` for having changed
/// nothing to `T`, is not recorded.
pub(super) fn once<T: Outcome>(
    txn: &mut dyn Transaction,
    context: &Context,
    call: Call,
    operation: Operation,
    body: impl FnOnce(&mut dyn Transaction) -> Step<Recorded<T>>,
) -> Step<(T, Option<Version>)> {
    live(txn, call.session)?;
    if call.slot >= context.settings.slots {
        let message =
            format!("slot {} of session {}: there are {} slots", call.slot, call.session, context.settings.slots);
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    let key = keys::slot(call.session, call.slot);
    let last = txn.get(Space::Rows, &key)?.map(|row| SlotRow::decode(&row)).transpose()?;
    let last_sequence = last.as_ref().map_or(0, |last| last.sequence);
    if call.sequence <= last_sequence {
        return match last {
            Some(last) if last.sequence == call.sequence && last.operation == operation as u8 => {
                Ok((T::decode(&last.outcome)?, Some(last.version)))
            }
            _ => Err(repeated_wrongly(call, last_sequence).into()),
        };
    }
    match body(txn)? {
        Recorded::Yes(value) => {
            let row = SlotRow {
                version: Version::PENDING,
                sequence: call.sequence,
                operation: operation as u8,
                outcome: value.encode(),
            };
            txn.put(Space::Rows, key.into(), row.encode());
            Ok((value, None))
        }
        Recorded::No(value) => Ok((value, None)),
    }
}

/// Whether a call changed anything: one that did not gives the same answer when it runs again, and costs no row.
pub(super) enum Recorded<T> {
    Yes(T),
    No(T),
}

/// Opens `session`, which was drawn at random: only whoever opened it can name it.
pub(super) fn open(txn: &mut dyn Transaction, context: &Context, session: SessionId, name: &str) -> Step<SessionId> {
    if name.len() > MAX_SESSION_NAME_BYTES {
        let message = format!("the name of a session has {} bytes, the limit is {MAX_SESSION_NAME_BYTES}", name.len());
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    if session == RECOVERY || rows::find_session(txn, session)?.is_some() {
        let message = "the id that was drawn for the session is taken: draw another";
        return Err(Error::new(ErrorKind::Unavailable, message).into());
    }
    let row = SessionRow {
        version: Version::PENDING,
        number: SessionNumber(rows::draw_ids(txn, Series::Names, 1)?),
        name: name.to_owned(),
        opened_ms: context.now_ms,
        renewed_ms: context.now_ms,
        ended: false,
    };
    put(txn, session, &row);
    Ok(session)
}

/// Writes the row anew, which gives it a new version.
pub(super) fn renew(txn: &mut dyn Transaction, context: &Context, session: SessionId) -> Step<()> {
    let row = live(txn, session)?;
    put(txn, session, &SessionRow { renewed_ms: context.now_ms, ..row });
    Ok(())
}

/// Ends a session, if it has not been renewed since `unchanged`. Its calls are refused from here on.
pub(super) fn end(txn: &mut dyn Transaction, session: SessionId, unchanged: Option<Version>) -> Step<bool> {
    let Some(row) = rows::find_session(txn, session)? else {
        return Ok(true);
    };
    if row.ended {
        return Ok(true);
    }
    if unchanged.is_some_and(|version| version != row.version) {
        return Ok(false);
    }
    put(txn, session, &SessionRow { ended: true, ..row });
    let slots = txn.scan(Space::Rows, &Range::prefix(&keys::slots(session), super::settings::MAX_SLOTS as usize))?;
    for (key, _) in slots {
        txn.delete(Space::Rows, &key);
    }
    Ok(true)
}

/// Takes some of the leases of an ended session; true when none is left and the session is gone.
pub(super) fn hand_over(txn: &mut dyn Transaction, context: &Context, session: SessionId) -> Step<bool> {
    let Some(row) = rows::find_session(txn, session)? else {
        return Ok(true);
    };
    if !row.ended {
        return Err(Error::new(ErrorKind::FailedPrecondition, format!("session {session} has not ended")).into());
    }
    let held = leases::of_session(txn, session, Default::default(), LEASES_A_STEP)?;
    for lease in &held {
        leases::take_over(txn, context, lease.inode)?;
    }
    let done = held.len() < LEASES_A_STEP;
    if done {
        txn.delete(Space::Rows, &keys::session(session));
    }
    Ok(done)
}

pub(super) fn page(snapshot: &mut dyn Snapshot, after: SessionId, limit: usize) -> Step<Vec<SessionInfo>> {
    let prefix = keys::table(keys::Table::Sessions);
    let range = Range::prefix_after(&prefix, &keys::session(after), limit.clamp(1, MAX_PAGE));
    let mut sessions = Vec::new();
    for (key, value) in snapshot.scan(Space::Rows, &range)? {
        let session = SessionId(keys::KeyReader::new(&key)?.u64()?);
        let SessionRow { version, number: _, name, opened_ms, renewed_ms, ended } = SessionRow::decode(&value)?;
        sessions.push(SessionInfo { session, version, name, opened_ms, renewed_ms, ended });
    }
    Ok(sessions)
}

/// The row of a session that may still call.
fn live(snapshot: &mut dyn Snapshot, session: SessionId) -> Step<SessionRow> {
    match rows::find_session(snapshot, session)? {
        Some(row) if !row.ended && session != RECOVERY => Ok(row),
        _ => {
            let message = format!("session {session} is unknown or has ended: open a new one");
            Err(Error::new(ErrorKind::SessionLost, message).into())
        }
    }
}

fn put(txn: &mut dyn Transaction, session: SessionId, row: &SessionRow) {
    txn.put(Space::Rows, keys::session(session).into(), row.encode());
}

fn repeated_wrongly(call: Call, last: u64) -> Error {
    let Call { session, slot, sequence } = call;
    Error::new(
        ErrorKind::FailedPrecondition,
        format!("slot {slot} of session {session}: sequence {sequence} was used for another call, the last is {last}"),
    )
}
