//! Which node of a pipeline holds its writer to a speed far below that of the others.

use std::time::Duration;

use tokio::time::Instant;

/// How many times as long as the slowest of the others a node must take. Below, one that is dropped would gain the writer little.
const RATIO: u64 = 4;

/// What a packet must take there at least. Fast nodes differ by more than [`RATIO`] for no reason that matters.
const FLOOR: Duration = Duration::from_millis(10);

/// In how many looks in a row a node must be the one, over the time that a writer bears it: a pause of a disk is not its speed.
const LOOKS: u32 = 4;

/// The nodes that a pipeline must have beside the one that it goes on without: with one replica alone a file can't be closed.
const LEFT: usize = 2;

/// Times of packets in, the node to go on without out.
#[derive(Debug)]
pub(super) struct Laggard {
    /// How long a look takes; zero: nobody is judged.
    look: Duration,
    /// When the present one began.
    began: Option<Instant>,
    /// What each node took in it.
    took: Vec<Duration>,
    packets: u32,
    /// The node that was the one in the last looks, and how many.
    suspect: Option<(usize, u32)>,
}

impl Laggard {
    /// For a pipeline of so many nodes, whose writer bears a slow one for `patience`.
    pub(super) fn new(nodes: usize, patience: Duration) -> Self {
        let look = if nodes > LEFT { patience / LOOKS } else { Duration::ZERO };
        Self { look, began: None, took: vec![Duration::ZERO; nodes], packets: 0, suspect: None }
    }

    /// A packet was acknowledged: what each node took for it, its way there included. The place of the node that is to be left out, and what a packet took
    /// there and at the slowest other one.
    pub(super) fn acked(&mut self, now: Instant, took: &[Duration]) -> Option<(usize, Duration, Duration)> {
        if self.look.is_zero() || took.len() != self.took.len() {
            return None;
        }
        let Some(began) = self.began else {
            // What was under way before says nothing of this look.
            self.began = Some(now);
            return None;
        };
        self.took.iter_mut().zip(took).for_each(|(sum, took)| *sum = sum.saturating_add(*took));
        self.packets += 1;
        let passed = now.duration_since(began);
        if passed < self.look {
            return None;
        }
        let found = self.slowest(passed);
        let fresh = vec![Duration::ZERO; self.took.len()];
        let (took, packets) = (std::mem::replace(&mut self.took, fresh), std::mem::take(&mut self.packets));
        self.began = Some(now);
        let Some(at) = found else {
            self.suspect = None;
            return None;
        };
        let looks = match self.suspect {
            Some((suspect, looks)) if suspect == at => looks + 1,
            _ => 1,
        };
        self.suspect = Some((at, looks));
        let mean = |at: usize| took[at] / packets.max(1);
        let next = (0..took.len()).filter(|other| *other != at).map(mean).max().unwrap_or_default();
        (looks >= LOOKS).then(|| (at, mean(at), next))
    }

    /// The node that has held the writer for at least half of the time, and far longer than any other.
    fn slowest(&self, passed: Duration) -> Option<usize> {
        let (at, longest) = self.took.iter().copied().enumerate().max_by_key(|(_, took)| *took)?;
        let next =
            self.took.iter().copied().enumerate().filter(|(other, _)| *other != at).map(|(_, took)| took).max()?;
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let held = longest.saturating_mul(2) >= passed;
        let far = micros(longest) >= micros(next).saturating_mul(RATIO);
        (held && far && longest / self.packets.max(1) >= FLOOR).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Packets one after another, `gap` apart, for `seconds`: when which node was found.
    fn run(
        laggard: &mut Laggard,
        seconds: u64,
        gap: Duration,
        took: impl Fn(u64) -> Vec<Duration>,
    ) -> Option<(u64, usize)> {
        let begin = Instant::now();
        let mut passed = Duration::ZERO;
        while passed < Duration::from_secs(seconds) {
            passed += gap;
            let second = passed.as_secs();
            if let Some((at, own, others)) = laggard.acked(begin + passed, &took(second)) {
                assert!(own >= others * 4, "{own:?} {others:?}");
                return Some((second, at));
            }
        }
        None
    }

    fn laggard() -> Laggard {
        Laggard::new(3, Duration::from_secs(8))
    }

    #[test]
    fn one_that_holds_the_writer_is_found_within_the_bound() {
        let found = run(&mut laggard(), 60, ms(100), |_| vec![ms(3), ms(4), ms(700)]);
        assert_eq!(found, Some((8, 2)));
        // So slow that a look has one packet or two.
        let (second, at) = run(&mut laggard(), 60, ms(1_700), |_| vec![ms(3), ms(9_000), ms(20)]).expect("found");
        assert!((8..=16).contains(&second) && at == 1, "{second}");
    }

    #[test]
    fn a_pause_and_one_that_holds_nobody_are_borne() {
        let pause = |second| vec![ms(3), if second < 5 { ms(700) } else { ms(5) }, ms(4)];
        assert_eq!(run(&mut laggard(), 60, ms(100), pause), None);
        // The writer sends a packet a second, and the slow node has done it long before the next.
        assert_eq!(run(&mut laggard(), 60, ms(1_000), |_| vec![ms(2), ms(90), ms(3)]), None);
        // Turns: never one for long.
        let turns = |second| if second % 4 < 2 { vec![ms(700), ms(4), ms(3)] } else { vec![ms(3), ms(700), ms(3)] };
        assert_eq!(run(&mut laggard(), 60, ms(100), turns), None);
    }

    #[test]
    fn fast_ones_and_those_that_are_slow_together_are_left_in_peace() {
        assert_eq!(run(&mut laggard(), 60, ms(1), |_| vec![ms(1), ms(1), ms(8)]), None);
        assert_eq!(run(&mut laggard(), 60, ms(100), |_| vec![ms(3), ms(300), ms(700)]), None);
        // With too few nodes, or without a bound, nobody is judged.
        let slow = |_| vec![ms(3), ms(700)];
        assert_eq!(run(&mut Laggard::new(2, Duration::from_secs(8)), 60, ms(100), slow), None);
        let slow = |_| vec![ms(3), ms(700), ms(3)];
        assert_eq!(run(&mut Laggard::new(3, Duration::ZERO), 60, ms(100), slow), None);
    }
}
