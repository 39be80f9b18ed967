//! What happened, in order, with the virtual time.

use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// Events that are shown before a difference or a failure.
const SHOWN: usize = 40;

/// A list of events that all machines of one simulation add to, each with the number of reads and writes of sockets before it
/// and a sum over them, so that two runs that differ in a byte of one differ in the next event. Clones are handles on the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<Mutex<Events>>);

#[derive(Debug, Default)]
struct Events {
    events: Vec<String>,
    exchanges: u64,
    sum: u64,
}

impl Trace {
    /// Adds an event of a simulated machine, at its time.
    pub(crate) fn note(&self, who: &str, what: impl Display) {
        self.at(turmoil::sim_elapsed().unwrap_or_default(), who, what);
    }

    /// Adds an event of none.
    pub(crate) fn at(&self, now: Duration, who: &str, what: impl Display) {
        let mut all = self.0.lock();
        let event = format!("{:>9.3} {:>6} {:04x} {who}: {what}", now.as_secs_f64(), all.exchanges, all.sum & 0xffff);
        all.events.push(event);
    }

    /// Counts a read or write of a socket. With `GODFS_TRACE=wire` each is an event of its own.
    pub(crate) fn wire(&self, from: SocketAddr, to: SocketAddr, what: &str, bytes: usize) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        let mut all = self.0.lock();
        (all.sum, now, from, to, what, bytes).hash(&mut hasher);
        all.sum = hasher.finish();
        all.exchanges += 1;
        drop(all);
        if std::env::var_os("GODFS_TRACE").is_some_and(|value| value == "wire") {
            self.at(now, &from.to_string(), format_args!("{what} {bytes} bytes, peer {to}"));
        }
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<String> {
        self.0.lock().events.clone()
    }

    /// Fails with the first difference.
    pub(crate) fn assert_equal(one: &[String], other: &[String]) {
        let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        if same == one.len() && same == other.len() {
            return;
        }
        let before = one[same.saturating_sub(SHOWN)..same].join("\n");
        panic!(
            "one seed gave two runs, which part after {same} events:\n{before}\n once: {:?}\nagain: {:?}",
            one.get(same),
            other.get(same)
        );
    }
}

/// Shows the end of the trace when a simulation fails.
#[derive(Debug)]
pub(crate) struct ShowOnFailure(pub(crate) Trace);

impl Drop for ShowOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let events = self.0.events();
            let shown = if std::env::var_os("GODFS_TRACE").is_some() { events.len() } else { SHOWN };
            eprintln!(
                "the last of {} events (all with GODFS_TRACE=1, every read and write with GODFS_TRACE=wire):",
                events.len()
            );
            for event in &events[events.len().saturating_sub(shown)..] {
                eprintln!("{event}");
            }
        }
    }
}
