//! Calls that need a file closed which another client writes.

use std::time::Duration;

use godfs_core::namespace::Held;
use godfs_core::{Error, ErrorKind, Result, SessionId};

use super::state::State;

/// Files that one call takes from silent clients; a longer one is made again by its caller.
const TAKEN_A_CALL: usize = 16;

/// Makes a call of `session`. A file that it is refused because of a writer who has been silent beyond the soft limit is taken from that one; then the
/// call is made again, and succeeds or is told to wait for the recovery. With a writer who is not, the error says for how long it has been.
pub(super) async fn until_heard<T, F, Fut>(state: &State, session: SessionId, call: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    for _ in 0..TAKEN_A_CALL {
        let error = match call().await {
            Err(error) if error.kind() == ErrorKind::BeingWritten => error,
            outcome => return outcome,
        };
        let Some(held) = Held::of(&error) else { return Err(error) };
        // Who calls is not silent.
        if held.session == session {
            return Err(Error::new(ErrorKind::BeingWritten, format!("{}, which is the caller's own", error.message())));
        }
        let silence = state.leases.silence(state.now(), held.session, held.renewal);
        if !silence.beyond_limit {
            return Err(patience(&error, silence.lasted, state.settings.namespace.lease_soft_limit));
        }
        if state.namespace.take_from_silent(held.clone()).await? {
            tracing::info!(inode = %held.inode, session = %held.number, client = held.client, silent = ?silence.lasted, "file taken from its writer");
            state.leases.look();
        }
    }
    call().await
}

fn patience(error: &Error, silent: Duration, limit: Duration) -> Error {
    let message = format!("{}, silent for {silent:.1?}; beyond {limit:?} it can be had", error.message());
    Error::new(ErrorKind::BeingWritten, message)
}
