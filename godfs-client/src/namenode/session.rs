//! A session: the client's registration, with slots that make its calls safe to repeat.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use godfs_core::{Error, ErrorKind, Result, SessionId};
use godfs_proto::v1;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::{Inner, Namenode};

/// The most slots that are used, however many the namenode offers: calls in flight of one client.
const MAX_SLOTS: u32 = 1_024;
/// How often a session is renewed within the soft limit, so that two renewals may fail before another client can have its files.
const RENEWALS: u32 = 3;

/// One session. Ends, by no longer being renewed, with its last holder.
pub(crate) struct Session {
    id: SessionId,
    lost: AtomicBool,
    free: Mutex<Vec<Slot>>,
    permits: Arc<Semaphore>,
    renewal: Mutex<Option<AbortHandle>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    number: u32,
    /// The sequence of the next call.
    sequence: u64,
}

impl Session {
    /// Takes up a session that was opened, and keeps it alive.
    pub(super) fn start(namenode: &Namenode, answer: &v1::OpenSessionResponse) -> Result<Arc<Self>> {
        if answer.session == 0 || answer.slots == 0 || answer.timeout_ms == 0 || answer.soft_limit_ms == 0 {
            return Err(Error::new(
                ErrorKind::Internal,
                "the namenode opened a session without an id, slots, a timeout or a soft limit",
            ));
        }
        let slots = answer.slots.min(MAX_SLOTS);
        let session = Arc::new(Self {
            id: SessionId(answer.session),
            lost: AtomicBool::new(false),
            free: Mutex::new((0..slots).rev().map(|number| Slot { number, sequence: 1 }).collect()),
            permits: Arc::new(Semaphore::new(slots as usize)),
            renewal: Mutex::new(None),
        });
        let every = Duration::from_millis(answer.soft_limit_ms.min(answer.timeout_ms)) / RENEWALS;
        let task = tokio::spawn(renew(namenode.downgrade(), Arc::downgrade(&session), session.id, every));
        *session.renewal.lock() = Some(task.abort_handle());
        Ok(session)
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Whether the namenode no longer knows it: nothing more can be done under it.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(super) fn set_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Takes a slot for one call; waits while all are in use.
    pub(super) async fn slot(self: &Arc<Self>) -> SlotGuard {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        // The one used last: the namenode then keeps as few slot rows as there are calls at once.
        let slot = self.free.lock().pop().expect("there are as many permits as slots");
        SlotGuard { session: Arc::clone(self), slot, _permit: permit }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.lock().take() {
            renewal.abort();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("lost", &self.is_lost()).finish_non_exhaustive()
    }
}

/// A slot in use. Given back with the next sequence, also when its call was dropped halfway: a namenode takes any higher
/// sequence, and refuses a call that arrives after a later one.
pub(super) struct SlotGuard {
    session: Arc<Session>,
    slot: Slot,
    _permit: OwnedSemaphorePermit,
}

impl SlotGuard {
    pub(super) fn call(&self) -> v1::Call {
        v1::Call { session: self.session.id.get(), slot: self.slot.number, sequence: self.slot.sequence }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let next = Slot { sequence: self.slot.sequence + 1, ..self.slot };
        self.session.free.lock().push(next);
    }
}

/// Renews a session until nobody holds it. A namenode that can't be reached is asked again next time: whether the session
/// survived is for it to say.
async fn renew(namenode: Weak<Inner>, session: Weak<Session>, id: SessionId, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(namenode) = namenode.upgrade().map(Namenode) else { return };
        if session.strong_count() == 0 {
            return;
        }
        let request = v1::RenewSessionRequest { session: id.get() };
        if let Err(error) = namenode.call(|mut stub| async move { stub.renew_session(request).await }).await {
            tracing::warn!(session = %id, %error, "session not renewed");
            if error.kind() == ErrorKind::SessionLost {
                if let Some(session) = session.upgrade() {
                    session.set_lost();
                }
                return;
            }
        }
    }
}
