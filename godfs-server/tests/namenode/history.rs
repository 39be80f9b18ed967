//! Whether a history of concurrent calls could have happened one call after another: the search of Wing and Gong ("Testing and
//! Verifying Concurrent Objects", 1993), which remembers the states that it has been in, as Lowe's does (2017).

use std::collections::HashSet;
use std::hash::Hash;

/// What one call after another comes to.
pub(crate) trait Spec: Clone + Eq + Hash {
    type Call;
    type Answer;

    /// The state after `call`, if it may be answered so. Nobody has heard the answer of a call that was cut off: then the state if
    /// it was made, or nothing where that changes nothing.
    fn step(&self, call: &Self::Call, answer: Option<&Self::Answer>) -> Option<Self>;
}

/// One call, with moments that are numbered across all clients.
#[derive(Clone, Debug)]
pub(crate) struct Event<C, A> {
    pub(crate) call: C,
    pub(crate) begun: u64,
    /// `None` for one that was cut off: it takes effect at any time after it began, or never.
    pub(crate) ended: Option<(u64, A)>,
}

/// An order of the calls in which each has its answer, and none comes before one that had ended when it began.
pub(crate) fn linearize<S: Spec>(initial: &S, history: &[Event<S::Call, S::Answer>]) -> Option<Vec<usize>> {
    assert!(history.len() <= 64, "the calls that were made are bits of one number");
    let mut search = Search { history, been: HashSet::new(), order: Vec::new() };
    search.go_on(initial, 0).then_some(search.order)
}

struct Search<'h, S: Spec> {
    history: &'h [Event<S::Call, S::Answer>],
    /// Which calls were made, and what came of them: from there it did not go on.
    been: HashSet<(u64, S)>,
    order: Vec<usize>,
}

impl<S: Spec> Search<'_, S> {
    fn go_on(&mut self, state: &S, made: u64) -> bool {
        let open = |at: &usize| made & (1 << at) == 0;
        let ends = (0..self.history.len()).filter(open).filter_map(|at| Some(self.history[at].ended.as_ref()?.0));
        let Some(first_end) = ends.min() else { return true };
        if !self.been.insert((made, state.clone())) {
            return false;
        }
        for at in (0..self.history.len()).filter(open) {
            let event = &self.history[at];
            if event.begun > first_end {
                continue;
            }
            let answer = event.ended.as_ref().map(|(_, answer)| answer);
            if let Some(next) = state.step(&event.call, answer) {
                self.order.push(at);
                if self.go_on(&next, made | 1 << at) {
                    return true;
                }
                self.order.pop();
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One number.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Register(u8);

    enum Call {
        Write(u8),
        Read,
    }

    impl Spec for Register {
        type Call = Call;
        type Answer = u8;

        fn step(&self, call: &Call, answer: Option<&u8>) -> Option<Self> {
            match (call, answer) {
                (Call::Write(value), _) => Some(Self(*value)),
                (Call::Read, Some(found)) => (*found == self.0).then(|| self.clone()),
                (Call::Read, None) => None,
            }
        }
    }

    fn write(value: u8, begun: u64, ended: u64) -> Event<Call, u8> {
        Event { call: Call::Write(value), begun, ended: Some((ended, 0)) }
    }

    fn read(value: u8, begun: u64, ended: u64) -> Event<Call, u8> {
        Event { call: Call::Read, begun, ended: Some((ended, value)) }
    }

    fn order(history: &[Event<Call, u8>]) -> Option<Vec<usize>> {
        linearize(&Register(0), history)
    }

    #[test]
    fn calls_at_one_time_come_in_any_order() {
        assert_eq!(order(&[write(1, 0, 10), read(0, 1, 2), read(1, 3, 4)]), Some(vec![1, 0, 2]));
        assert_eq!(order(&[write(1, 0, 10), write(2, 1, 9), read(2, 11, 12)]), Some(vec![0, 1, 2]));
        assert_eq!(order(&[write(1, 0, 10), write(2, 1, 9), read(1, 11, 12)]), Some(vec![1, 0, 2]));
    }

    #[test]
    fn what_ended_is_seen_by_what_begins() {
        assert_eq!(order(&[write(1, 0, 1), read(0, 2, 3)]), None, "a stale read");
        assert_eq!(order(&[write(1, 0, 10), read(1, 1, 2), read(0, 3, 4)]), None, "seen, and then not");
        let two = [write(1, 0, 1), write(2, 0, 1), read(1, 2, 5), read(2, 3, 4)];
        assert_eq!(order(&two), None, "two readers of two orders");
        assert_eq!(order(&[write(1, 0, 1), read(2, 2, 3)]), None, "what nobody wrote");
    }

    #[test]
    fn what_was_cut_off_is_made_at_any_time_or_never() {
        let cut = |begun| Event { call: Call::Write(7), begun, ended: None };
        assert!(order(&[cut(0), read(0, 1, 2)]).is_some(), "never");
        assert!(order(&[cut(0), read(7, 1, 2)]).is_some(), "at once");
        assert!(order(&[cut(0), read(0, 1, 2), write(1, 3, 4), read(7, 5, 6)]).is_some(), "late");
        assert_eq!(order(&[cut(3), read(7, 1, 2)]), None, "before it began");
        assert_eq!(order(&[cut(0), read(7, 1, 2), read(0, 3, 4)]), None, "undone");
        assert_eq!(order(&[cut(0), read(7, 1, 2), write(1, 3, 4), read(7, 5, 6)]), None, "twice");
    }
}
