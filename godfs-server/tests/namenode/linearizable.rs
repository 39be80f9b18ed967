//! Small histories of concurrent clients, each checked for an order that explains it. `GODFS_ROUNDS` histories (default 150) from
//! `GODFS_SEED` on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use godfs_client::{Client, CreateOptions, ETag, FileKind, MkdirOptions, RemoveOptions, RenameOptions};
use godfs_core::ErrorKind;

use super::dropping::Dropping;
use super::history::{Event, Spec, linearize};
use super::{MetadataSource, settings, start_with};

const CLIENTS: usize = 4;
const CALLS: usize = 6;
/// Few, so that clients meet. All but the top may be a file or a directory.
const PATHS: [&str; 5] = ["/a", "/b", "/a/x", "/a/y", "/b/x"];

#[derive(Clone, Debug)]
enum Call {
    /// A file with that number in it, where nothing is.
    Put(&'static str, u64),
    /// The same in the place of what was seen.
    PutIfMatch(&'static str, ETag, u64),
    Mkdir(&'static str),
    Rename(&'static str, &'static str),
    Exchange(&'static str, &'static str),
    Delete(&'static str),
    Stat(&'static str),
    Get(&'static str),
    /// Of `""`, the top.
    List(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused,
    /// Nothing for a directory.
    Status(Option<ETag>),
    Content(u64),
    Names(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Node {
    Directory,
    File {
        content: u64,
        inode: Option<u64>,
        /// Of its row, once somebody has seen it.
        version: Option<u64>,
    },
}

/// All names, and the states of files that were seen: none comes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Names {
    nodes: BTreeMap<String, Node>,
    seen: BTreeSet<(u64, u64)>,
}

impl Names {
    /// What every history begins with.
    fn first() -> Self {
        let file = Node::File { content: 0, inode: None, version: None };
        let nodes = [("/a", Node::Directory), ("/b", Node::Directory), ("/a/x", file)];
        Self { nodes: nodes.map(|(path, node)| (path.to_owned(), node)).into(), seen: BTreeSet::new() }
    }

    /// Makes it so.
    async fn begin(&self, client: &Client, top: &str) -> godfs_client::Result<()> {
        client.mkdir(top, MkdirOptions::new()).await?;
        for (path, node) in &self.nodes {
            let path = format!("{top}{path}");
            match node {
                Node::Directory => client.mkdir(path, MkdirOptions::new()).await?,
                Node::File { content, .. } => client.put(path, content.to_string(), CreateOptions::new()).await?,
            }
        }
        Ok(())
    }

    fn has_parent(&self, path: &str) -> bool {
        let (above, _) = path.rsplit_once('/').expect("paths begin with a slash");
        above.is_empty() || self.nodes.get(above) == Some(&Node::Directory)
    }

    /// Whether there is something, and the way to it.
    fn is_there(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    fn is_free(&self, path: &str) -> bool {
        self.has_parent(path) && !self.is_there(path)
    }

    /// Takes out what is at a path and below it, each with the rest of its path.
    fn take(&mut self, path: &str) -> Vec<(String, Node)> {
        let all = std::mem::take(&mut self.nodes);
        let (taken, kept): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(other, _)| other == path || is_below(other, path));
        self.nodes = kept.into_iter().collect();
        taken.into_iter().map(|(other, node)| (other[path.len()..].to_owned(), node)).collect()
    }

    /// What moves gets a new row, and with it a new version; what lies below it does not.
    fn plant(&mut self, path: &str, taken: Vec<(String, Node)>) {
        for (rest, mut node) in taken {
            if let (true, Node::File { version, .. }) = (rest.is_empty(), &mut node) {
                *version = None;
            }
            self.nodes.insert(format!("{path}{rest}"), node);
        }
    }

    /// Makes a change, if it can be made.
    fn change(&mut self, call: &Call) -> bool {
        let file = |content: &u64| Node::File { content: *content, inode: None, version: None };
        match call {
            Call::Put(path, content) if self.is_free(path) => {
                self.nodes.insert((*path).into(), file(content));
            }
            Call::PutIfMatch(path, etag, content) => match self.nodes.get(*path) {
                Some(Node::File { inode, version, .. })
                    if (*inode, *version) == (Some(etag.inode.get()), Some(etag.version.get())) =>
                {
                    self.nodes.insert((*path).into(), file(content));
                }
                _ => return false,
            },
            Call::Mkdir(path) if self.is_free(path) => {
                self.nodes.insert((*path).into(), Node::Directory);
            }
            Call::Rename(from, to) if self.is_there(from) && self.is_free(to) && !is_below(to, from) => {
                let taken = self.take(from);
                self.plant(to, taken);
            }
            Call::Exchange(first, second)
                if self.is_there(first)
                    && self.is_there(second)
                    && !is_below(first, second)
                    && !is_below(second, first) =>
            {
                let (left, right) = (self.take(first), self.take(second));
                self.plant(second, left);
                self.plant(first, right);
            }
            Call::Delete(path) if self.is_there(path) => drop(self.take(path)),
            _ => return false,
        }
        true
    }

    /// Looks, if that is what is to be seen.
    fn look(&mut self, call: &Call, answer: &Answer) -> bool {
        match (call, answer) {
            (Call::Stat(path), Answer::Status(None)) => self.nodes.get(*path) == Some(&Node::Directory),
            (Call::Stat(path), Answer::Status(Some(etag))) => {
                let found = (etag.inode.get(), etag.version.get());
                match self.nodes.get_mut(*path) {
                    Some(Node::File { inode: Some(inode), version: Some(version), .. }) => found == (*inode, *version),
                    Some(Node::File { inode, version, .. }) => {
                        let new = inode.is_none_or(|inode| inode == found.0) && self.seen.insert(found);
                        (*inode, *version) = (Some(found.0), Some(found.1));
                        new
                    }
                    _ => false,
                }
            }
            (Call::Get(path), Answer::Content(found)) => {
                matches!(self.nodes.get(*path), Some(Node::File { content, .. }) if content == found)
            }
            (Call::List(path), Answer::Names(found)) => {
                let there = path.is_empty() || self.nodes.get(*path) == Some(&Node::Directory);
                let below = self.nodes.keys().filter_map(|other| other.strip_prefix(path)?.strip_prefix('/'));
                there && below.filter(|name| !name.contains('/')).eq(found)
            }
            (Call::Stat(path), Answer::Refused) => !self.is_there(path),
            (Call::Get(path), Answer::Refused) => !matches!(self.nodes.get(*path), Some(Node::File { .. })),
            (Call::List(path), Answer::Refused) => !path.is_empty() && self.nodes.get(*path) != Some(&Node::Directory),
            _ => false,
        }
    }
}

impl Spec for Names {
    type Call = Call;
    type Answer = Answer;

    fn step(&self, call: &Call, answer: Option<&Answer>) -> Option<Self> {
        let mut next = self.clone();
        let right = match (call, answer) {
            (Call::Stat(_) | Call::Get(_) | Call::List(_), None) => false,
            (Call::Stat(_) | Call::Get(_) | Call::List(_), Some(answer)) => next.look(call, answer),
            (_, None | Some(Answer::Done)) => next.change(call),
            (_, Some(Answer::Refused)) => !self.clone().change(call),
            (_, Some(_)) => false,
        };
        right.then_some(next)
    }
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// One client of a history.
struct Caller {
    client: Client,
    rng: fastrand::Rng,
    top: String,
    /// What it has seen last.
    etag: Option<(&'static str, ETag)>,
}

impl Caller {
    fn choose(&mut self) -> Call {
        let path = PATHS[self.rng.usize(0..PATHS.len())];
        let other = PATHS[self.rng.usize(0..PATHS.len())];
        let content = self.rng.u64(..);
        match (self.rng.u8(0..20), self.etag) {
            (0..4, _) => Call::Put(path, content),
            (4..7, Some((path, etag))) => Call::PutIfMatch(path, etag, content),
            (4..9, _) => Call::Mkdir(path),
            (9..11, _) if path != other => Call::Rename(path, other),
            (11, _) if path != other => Call::Exchange(path, other),
            (12..14, _) => Call::Delete(path),
            (14, _) => Call::Get(path),
            (15, _) => Call::List(["", "/a", "/b"][self.rng.usize(0..3)]),
            _ => Call::Stat(path),
        }
    }

    async fn make(&mut self, call: &Call) -> Answer {
        let at = |path: &str| format!("{}{path}", self.top);
        let client = &self.client;
        let done = match call {
            Call::Put(path, content) => client.put(at(path), content.to_string(), CreateOptions::new()).await,
            Call::PutIfMatch(path, etag, content) => {
                client.put(at(path), content.to_string(), CreateOptions::new().if_match(*etag)).await
            }
            Call::Mkdir(path) => client.mkdir(at(path), MkdirOptions::new()).await,
            Call::Rename(from, to) => client.rename(at(from), at(to), RenameOptions::new()).await,
            Call::Exchange(first, second) => client.exchange(at(first), at(second)).await,
            Call::Delete(path) => client.remove(at(path), RemoveOptions::new().recursive(true)).await,
            Call::Stat(path) => match client.stat(at(path)).await {
                Ok(status) => {
                    let etag = (status.kind == FileKind::File).then(|| status.etag());
                    self.etag = etag.map(|etag| (*path, etag)).or(self.etag);
                    return Answer::Status(etag);
                }
                Err(error) => Err(error),
            },
            Call::Get(path) => match client.get(at(path)).await {
                Ok(data) => {
                    return Answer::Content(String::from_utf8_lossy(&data).parse().expect("a number"));
                }
                Err(error) => Err(error),
            },
            Call::List(path) => match client.list(at(path)).expect("a path").try_collect::<Vec<_>>().await {
                Ok(entries) => return Answer::Names(entries.into_iter().map(|entry| entry.name).collect()),
                Err(error) => Err(error),
            },
        };
        match done {
            Ok(()) => Answer::Done,
            Err(error) => {
                assert!(!error.is_retryable() && error.kind() != ErrorKind::Internal, "{call:?}: {}", error.report());
                Answer::Refused
            }
        }
    }

    /// Makes calls, of which one in twelve is cut off.
    async fn run(mut self, moment: Arc<AtomicU64>) -> Vec<Event<Call, Answer>> {
        let mut events = Vec::new();
        for _ in 0..CALLS {
            let call = self.choose();
            let cut = (self.rng.u8(0..12) == 0).then(|| Duration::from_micros(self.rng.u64(0..3_000)));
            let begun = moment.fetch_add(1, Ordering::SeqCst);
            let answer = match cut {
                Some(after) => tokio::time::timeout(after, self.make(&call)).await.ok(),
                None => Some(self.make(&call).await),
            };
            let ended = answer.map(|answer| (moment.fetch_add(1, Ordering::SeqCst), answer));
            events.push(Event { call, begun, ended });
        }
        events
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_small_histories_have_an_order() {
    histories(None).await;
}

/// Every client repeats calls that were made and whose answers it never saw. A namenode that forgets what it answered acts twice, or refuses what it did.
#[tokio::test(flavor = "multi_thread")]
async fn soak_small_histories_have_an_order_where_answers_get_lost() {
    histories(Some(12)).await;
}

/// Makes them and looks for an order of each. With `lossy`, one of so many things that the namenode sends is lost, with its connection.
async fn histories(lossy: Option<u32>) {
    let histories = number("GODFS_ROUNDS", 150);
    let seed = number("GODFS_SEED", fastrand::u64(..));
    println!("GODFS_SEED={seed} makes the same calls");
    let folder = tempfile::tempdir().expect("folder");
    let namenode = start_with(MetadataSource::Folder(folder.path().join("meta")), settings()).await;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut ways = Vec::new();
    for _ in 0..CLIENTS {
        ways.extend(match lossy {
            Some(every) => Some(Dropping::before(namenode.address(), every, rng.fork()).await),
            None => None,
        });
    }
    let address = |at: usize| ways.get(at).map_or(namenode.address(), Dropping::address);
    let clients: Vec<_> =
        (0..CLIENTS).map(|at| Client::builder().namenodes(address(at)).build().expect("a client")).collect();
    // What a history begins with is no part of it.
    let beginner = Client::builder().namenodes(namenode.address()).build().expect("a client");
    let (mut cut, mut refused) = (0, 0);
    for history in 0..histories {
        let top = format!("/{history}");
        Names::first().begin(&beginner, &top).await.expect("a beginning");
        let moment = Arc::new(AtomicU64::new(0));
        let callers = clients.iter().map(|client| {
            let caller = Caller { client: client.clone(), rng: rng.fork(), top: top.clone(), etag: None };
            tokio::spawn(caller.run(Arc::clone(&moment)))
        });
        let mut events: Vec<_> =
            join_all(callers).await.into_iter().flat_map(|events| events.expect("a caller")).collect();
        events.sort_by_key(|event| event.begun);
        let order = linearize(&Names::first(), &events);
        assert!(order.is_some(), "GODFS_SEED={seed}, history {history} has no order: {events:#?}");
        cut += events.iter().filter(|event| event.ended.is_none()).count();
        refused += events.iter().filter(|event| matches!(event.ended, Some((_, Answer::Refused)))).count();
    }
    let calls = histories as usize * CLIENTS * CALLS;
    let dropped: u64 = ways.iter().map(Dropping::dropped).sum();
    println!("{histories} histories of {calls} calls, {refused} refused, {cut} cut off, {dropped} answers lost");
    assert_eq!(dropped > 0, lossy.is_some());
    namenode.stop().await.expect("stop");
}
