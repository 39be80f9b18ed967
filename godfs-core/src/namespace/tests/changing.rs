//! What operations announce: each once, and so that a copy of the tree can be kept by them alone.

use std::collections::BTreeMap;

use super::*;

/// All changes that concern `path`, from the first on.
pub(super) async fn history(namespace: &Namespace, path: &str) -> Vec<Change> {
    let mut place = namespace.watch(at("/"), WatchFrom::Oldest).await.unwrap();
    let mut found = Vec::new();
    while place.place.version <= namespace.store().version().await.unwrap() {
        let page = namespace.changes(&at(path), place, 7).await.unwrap();
        found.extend(page.changes.into_iter().map(|(_, change)| change));
        place = page.next;
    }
    found
}

/// A copy of the tree that knows nothing but what was announced: what stands at each path, and how long closed files are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mirror(BTreeMap<String, (FileKind, InodeId, Option<u64>)>);

impl Mirror {
    fn apply(&mut self, change: &Change) {
        let path = change.path.as_str();
        let mut appear = |length| {
            let old = self.0.insert(path.to_owned(), (change.node, change.inode, length));
            assert_eq!(old, None, "{change:?} where something stood");
        };
        match &change.kind {
            ChangeKind::Created { length } => appear(*length),
            ChangeKind::MadeDirectory | ChangeKind::Linked { .. } => appear(None),
            ChangeKind::Removed => drop(self.take(change, path)),
            ChangeKind::Renamed { to } => {
                let tree = self.take(change, path);
                self.give(to.as_str(), tree);
            }
            ChangeKind::Exchanged { with } => {
                let one = self.take(change, path);
                let other = self.cut(with.as_str());
                self.give(with.as_str(), one);
                self.give(path, other);
            }
            ChangeKind::Opened { .. } => self.at(change).2 = None,
            ChangeKind::Closed { length } | ChangeKind::Truncated { length } | ChangeKind::Concatenated { length } => {
                self.at(change).2 = Some(*length);
            }
            ChangeKind::Attributes(_) => drop(self.at(change)),
        }
    }

    fn at(&mut self, change: &Change) -> &mut (FileKind, InodeId, Option<u64>) {
        // The root is nowhere made.
        let root = (FileKind::Directory, InodeId::ROOT, None);
        let found = match change.path.is_root() {
            true => self.0.entry("/".to_owned()).or_insert(root),
            false => self.0.get_mut(change.path.as_str()).unwrap_or_else(|| panic!("{change:?} of nothing")),
        };
        assert_eq!((found.0, found.1), (change.node, change.inode), "{change:?}");
        found
    }

    fn take(&mut self, change: &Change, path: &str) -> BTreeMap<String, (FileKind, InodeId, Option<u64>)> {
        self.at(change);
        self.cut(path)
    }

    /// Takes a tree out; its paths are relative then.
    fn cut(&mut self, path: &str) -> BTreeMap<String, (FileKind, InodeId, Option<u64>)> {
        let inside =
            |found: &str| found.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let (tree, rest) = std::mem::take(&mut self.0).into_iter().partition(|(found, _)| inside(found));
        self.0 = rest;
        let tree: BTreeMap<String, _> = tree;
        assert!(!tree.is_empty(), "nothing at {path}");
        tree.into_iter().map(|(found, node)| (found[path.len()..].to_owned(), node)).collect()
    }

    fn give(&mut self, path: &str, tree: BTreeMap<String, (FileKind, InodeId, Option<u64>)>) {
        for (below, node) in tree {
            let old = self.0.insert(format!("{path}{below}"), node);
            assert_eq!(old, None, "{path}{below} stood there");
        }
    }
}

/// That the tree is what was announced.
pub(super) async fn assert_announced(namespace: &Namespace) {
    let namespace = namespace.by(Caller::system());
    let mut mirror = Mirror::default();
    history(&namespace, "/").await.iter().for_each(|change| mirror.apply(change));
    mirror.0.remove("/");
    let (mut found, mut after) = (BTreeMap::new(), at("/"));
    loop {
        let page = namespace.walk(at("/"), after, WalkOptions::default(), 1_000).await.unwrap();
        for entry in page.entries {
            let status = entry.status;
            let closed = status.kind == FileKind::File && !status.open;
            let length = closed.then_some(status.length);
            found.insert(entry.path.as_str().to_owned(), (status.kind, status.inode, length));
        }
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    for (path, (_, _, length)) in &mut mirror.0 {
        // A file that is cut is open until that is done, and has its new length.
        if found.get(path).is_some_and(|found| found.2.is_none()) {
            *length = None;
        }
    }
    assert_eq!(mirror.0, found);
}

fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| format!("{} {:?}", change.path, change.kind);
    changes.iter().map(word).collect()
}

#[tokio::test]
async fn each_operation_announces_itself() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    fixture.mkdir("/a/b").await;
    fixture.put("/a/f", b"abc").await;
    let created = fixture.create("/a/g").await;
    fixture.fill(&created, CHUNK, &[1, 2, 3]).await;
    fixture.file("/a/h", 10, &[1, 2, 3]).await;
    let hidden = CreateOptions { publish_on_close: true, overwrite: true, ..Default::default() };
    let created = namespace.create(fixture.call(), at("/a/f"), hidden).await.unwrap();
    fixture.complete(&created, 0, vec![]).await.unwrap();
    fixture.rename("/a/b", "/b", false).await.unwrap();
    fixture.rename("/a/f", "/b/f", false).await.unwrap();
    namespace.exchange(fixture.call(), at("/a"), at("/b")).await.unwrap();
    namespace.set_mode(fixture.call(), at("/b"), 0o750).await.unwrap();
    namespace.set_mode(fixture.call(), at("/b"), 0o750).await.unwrap();
    namespace.set_replication(fixture.call(), at("/b/g"), 2).await.unwrap();
    namespace.concat(fixture.call(), at("/b/g"), vec![at("/b/h")]).await.unwrap();
    namespace.symlink(fixture.call(), Symlink { path: at("/l"), target: "b".into() }).await.unwrap();
    fixture.put("/x", b"1").await;
    fixture.rename("/x", "/l", true).await.unwrap();
    namespace.truncate(fixture.call(), at("/l"), 0).await.unwrap();
    let appended = namespace.append(fixture.call(), at("/l")).await.unwrap();
    let writing = Writing { call: fixture.call(), inode: appended.inode, lease: appended.lease };
    namespace.abandon(writing).await.unwrap();
    fixture.delete("/b", true).await.unwrap();
    let expected = [
        "/a MadeDirectory".to_owned(),
        "/a/b MadeDirectory".to_owned(),
        "/a/f Created { length: Some(3) }".to_owned(),
        "/a/g Created { length: None }".to_owned(),
        format!("/a/g Closed {{ length: {CHUNK} }}"),
        "/a/h Created { length: None }".to_owned(),
        "/a/h Closed { length: 10 }".to_owned(),
        "/a/f Removed".to_owned(),
        "/a/f Created { length: Some(0) }".to_owned(),
        "/a/b Renamed { to: \"/b\" }".to_owned(),
        "/a/f Renamed { to: \"/b/f\" }".to_owned(),
        "/a Exchanged { with: \"/b\" }".to_owned(),
        "/b Attributes(Mode)".to_owned(),
        "/b/g Attributes(Replication)".to_owned(),
        "/b/h Removed".to_owned(),
        format!("/b/g Concatenated {{ length: {} }}", CHUNK + 10),
        "/l Linked { target: \"b\" }".to_owned(),
        "/x Created { length: Some(1) }".to_owned(),
        "/l Removed".to_owned(),
        "/x Renamed { to: \"/l\" }".to_owned(),
        "/l Truncated { length: 0 }".to_owned(),
        "/l Opened { length: 0 }".to_owned(),
        "/l Closed { length: 0 }".to_owned(),
        "/b Removed".to_owned(),
    ];
    assert_eq!(words(&history(namespace, "/").await), expected);
    assert_announced(namespace).await;
    // Below one directory, what happened there by the names of the time, and what moved it.
    let below = words(&history(namespace, "/a/f").await);
    assert_eq!(below, [&expected[2], &expected[7], &expected[8], &expected[10], &expected[11]].map(Clone::clone));
}

#[tokio::test]
async fn repeated_and_refused_calls_announce_nothing_more() {
    let fixture = Fixture::new(0).await;
    let call = fixture.call();
    for _ in 0..3 {
        fixture.namespace.mkdir(call, at("/d"), MkdirOptions::default()).await.unwrap();
    }
    fixture.namespace.mkdir(fixture.call(), at("/d"), MkdirOptions::default()).await.unwrap_err();
    fixture.rename("/d", "/e/f", false).await.unwrap_err();
    fixture.mkdir("/d").await;
    assert_eq!(words(&history(&fixture.namespace, "/").await), ["/d MadeDirectory"]);
}

#[tokio::test]
async fn who_may_not_list_a_directory_may_not_watch_it() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    fixture.mkdir("/secret/below").await;
    namespace.set_mode(fixture.call(), at("/secret"), 0o711).await.unwrap();
    let other = namespace.by(Caller::new("other", ["others"]).unwrap());
    let from = namespace.watch(at("/"), WatchFrom::Oldest).await.unwrap();
    refused(other.watch(at("/secret"), WatchFrom::Now).await, ErrorKind::PermissionDenied, "lacks r on /secret");
    refused(other.changes(&at("/secret"), from, 10).await, ErrorKind::PermissionDenied, "lacks r on /secret");
    refused(other.watch(at("/gone"), WatchFrom::Place(from)).await, ErrorKind::NotFound, "/gone");
    let from_below = other.watch(at("/secret/below"), WatchFrom::Now).await.unwrap();
    // What stood there once can be watched on by who may do everything, and what a watch stands on may go.
    assert_eq!(namespace.watch(at("/gone"), WatchFrom::Place(from)).await.unwrap(), from);
    refused(namespace.watch(at("/gone"), WatchFrom::Oldest).await, ErrorKind::NotFound, "/gone");
    fixture.delete("/secret", true).await.unwrap();
    let page = other.changes(&at("/secret/below"), from_below, 10).await.unwrap();
    assert_eq!(page.changes.last().unwrap().1.kind, ChangeKind::Removed);
    // Also for who comes back with a place that it got before.
    let again = other.watch(at("/secret/below"), WatchFrom::Place(from_below)).await.unwrap();
    assert_eq!(other.changes(&at("/secret/below"), again, 10).await.unwrap(), page);
    assert!(other.changes(&at("/secret/below"), page.next, 10).await.unwrap().changes.is_empty());
}

/// What stood at a path before is nobody's to hear of who comes later, by whatever place.
#[tokio::test]
async fn the_past_of_a_path_is_not_that_of_what_stands_there_now() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    namespace.set_mode(fixture.call(), at("/"), 0o777).await.unwrap();
    let mut bob = fixture.other().await;
    bob.namespace = namespace.by(Caller::new("bob", ["others"]).unwrap());
    bob.mkdir("/mine").await;
    let elsewhere = bob.namespace.watch(at("/mine"), WatchFrom::Now).await.unwrap();
    fixture.mkdir("/p").await;
    let shared = bob.namespace.watch(at("/p"), WatchFrom::Now).await.unwrap();
    fixture.put("/p/seen", b"").await;
    fixture.delete("/p", true).await.unwrap();
    fixture.mkdir("/p").await;
    namespace.set_mode(fixture.call(), at("/p"), 0o700).await.unwrap();
    fixture.put("/p/merger", b"").await;
    fixture.rename("/p", "/q", false).await.unwrap();
    bob.mkdir("/p").await;
    bob.put("/p/own", b"").await;
    let heard = async |from: WatchFrom| {
        let mut place = bob.namespace.watch(at("/p"), from).await.unwrap();
        let mut heard = Vec::new();
        for _ in 0..40 {
            let page = bob.namespace.changes(&at("/p"), place, 3).await.unwrap();
            place = page.next;
            heard.extend(page.changes.into_iter().map(|(_, change)| change));
        }
        let heard: Vec<_> = heard.iter().map(|change| format!("{} {:?}", change.path, change.kind)).collect();
        (heard, place)
    };
    let own = ["/p MadeDirectory", "/p/own Created { length: Some(0) }"];
    assert_eq!(heard(WatchFrom::Oldest).await.0, own);
    for foreign in [elsewhere, elsewhere.to_string().split('.').next().unwrap().parse().unwrap()] {
        assert_eq!(heard(WatchFrom::Place(foreign)).await.0, own, "a place of another path");
    }
    let (all, place) = heard(WatchFrom::Place(shared)).await;
    assert_eq!(all, ["/p/seen Created { length: Some(0) }", "/p Removed", own[0], own[1]]);
    // What comes then is heard as ever.
    bob.put("/p/more", b"").await;
    assert_eq!(heard(WatchFrom::Place(place)).await.0, ["/p/more Created { length: Some(0) }"]);
    // A directory that was there before the oldest change that is looked at: from the moment on at which the watch has caught up.
    fixture.rename("/p", "/r", false).await.unwrap();
    fixture.rename("/q", "/p", false).await.unwrap();
    namespace.set_mode(fixture.call(), at("/p"), 0o755).await.unwrap();
    fixture.put("/p/public", b"").await;
    let (all, place) = heard(WatchFrom::Place(place)).await;
    assert_eq!(all.first().map(String::as_str), Some("/p/more Created { length: Some(0) }"));
    assert_eq!(
        all[1..],
        [
            "/p Renamed { to: \"/r\" }",
            "/q Renamed { to: \"/p\" }",
            "/p Attributes(Mode)",
            "/p/public Created { length: Some(0) }"
        ]
    );
    assert!(heard(WatchFrom::Place(place)).await.0.is_empty());
    for bad in ["x", "0.1.2", &format!("{}.x.1", elsewhere.place), &format!("{}.1", elsewhere.place)] {
        bad.parse::<WatchPlace>().expect_err(bad);
    }
    fixture.check().await;
}

#[tokio::test]
async fn a_watch_goes_on_where_it_stood() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    let now = namespace.watch(at("/"), WatchFrom::Now).await.unwrap();
    assert!(namespace.changes(&at("/"), now, 10).await.unwrap().changes.is_empty());
    // Three directories in one transaction.
    fixture.mkdir("/a/b/c").await;
    namespace.wait_behind(now).await.unwrap();
    let first = namespace.changes(&at("/"), now, 1).await.unwrap();
    let (place, change) = first.changes.into_iter().next().unwrap();
    assert_eq!((change.path, first.next), (at("/a"), place));
    let place: WatchPlace = place.to_string().parse().unwrap();
    let rest = namespace
        .changes(&at("/"), namespace.watch(at("/"), WatchFrom::Place(place)).await.unwrap(), 10)
        .await
        .unwrap();
    assert_eq!(rest.changes.iter().map(|(_, change)| change.path.as_str()).collect::<Vec<_>>(), ["/a/b", "/a/b/c"]);
    // What is passed over counts as seen.
    let passed = namespace.changes(&at("/elsewhere"), now, 10).await.unwrap();
    assert!(passed.changes.is_empty() && passed.next == rest.next);
}
