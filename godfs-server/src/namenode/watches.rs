//! How many watches there may be, and how many of them one user may have.

use std::collections::HashMap;
use std::sync::Arc;

use godfs_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

/// Streams at once, over all clients: each looks at every change, wherever it happens.
const MAX_WATCHES: usize = 256;
/// Streams of one user, so that those of one leave places for others.
const MAX_WATCHES_OF_A_USER: usize = 64;

/// The places for watches.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Of each user who has some.
    of_user: HashMap<String, usize>,
}

impl Watches {
    /// A place for a watch of `user`, until it is dropped.
    pub(super) fn take(self: &Arc<Self>, user: &str) -> Result<Place> {
        let refuse = |message| Err(Error::new(ErrorKind::LimitExceeded, message));
        let mut taken = self.0.lock();
        if taken.of_user.get(user).is_some_and(|&count| count >= MAX_WATCHES_OF_A_USER) {
            return refuse(format!("user {user} has {MAX_WATCHES_OF_A_USER} watches under way, and may have no more"));
        }
        if taken.all >= MAX_WATCHES {
            return refuse(format!("{MAX_WATCHES} watches are under way, there may be no more"));
        }
        taken.all += 1;
        *taken.of_user.entry(user.to_owned()).or_default() += 1;
        Ok(Place { watches: Arc::clone(self), user: user.to_owned() })
    }
}

/// The right to one watch.
#[derive(Debug)]
pub(super) struct Place {
    watches: Arc<Watches>,
    user: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.watches.0.lock();
        taken.all -= 1;
        if let Some(count) = taken.of_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.of_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_places_for_others() {
        let watches = Arc::new(Watches::default());
        let take = |user: &str| watches.take(user);
        let mut held: Vec<_> = (0..MAX_WATCHES_OF_A_USER).map(|_| take("eve").expect("a place")).collect();
        let error = take("eve").expect_err("too many");
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::LimitExceeded, "user eve has 64 watches under way, and may have no more")
        );
        held.extend((MAX_WATCHES_OF_A_USER..MAX_WATCHES).map(|n| take(&format!("user{}", n % 8)).expect("a place")));
        assert_eq!(take("bob").expect_err("too many").message(), "256 watches are under way, there may be no more");
        drop(held.remove(0));
        drop(take("eve").expect("her place again"));
        take("bob").expect("a place");
        held.clear();
        assert!(watches.0.lock().of_user.is_empty(), "nothing is remembered of who has none");
    }
}
