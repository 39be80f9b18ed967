//! Calls to namenodes that fail, move and forget.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, TryStreamExt};
use godfs_core::{ClusterId, ErrorKind};
use tokio::time::Instant;

use crate::testing::{FakeCluster, FakeNamenode, Network};
use crate::{Client, CreateOptions, MkdirOptions, RemoveOptions, RenameOptions, WalkOptions};

fn client(network: &Network, url: &str) -> Client {
    Client::builder().namenodes(url).connector(Arc::new(network.clone())).build().expect("valid")
}

/// The answer is lost with the connection, twice: the call is repeated under its sequence and gets the first answer.
#[tokio::test]
async fn a_repeated_call_acts_once() {
    let cluster = FakeCluster::start(0);
    cluster.namenode.state.lock().lose_answers = Some(("mkdir", 2));
    cluster.client.mkdir("/d", MkdirOptions::new()).await.expect("made, not 'already exists'");
    assert_eq!(cluster.namenode.calls("mkdir"), 3);
    let error = cluster.client.mkdir("/d", MkdirOptions::new()).await.expect_err("a new call");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

/// A caller that goes away leaves its slot usable, whether or not the namenode saw the call.
#[tokio::test]
async fn dropped_calls_leave_their_slots_usable() {
    let cluster = FakeCluster::start(0);
    cluster.client.mkdir("/first", MkdirOptions::new()).await.expect("made");
    for number in 0..40 {
        let path = format!("/dropped{number}");
        let mut call = Box::pin(cluster.client.mkdir(path, MkdirOptions::new()));
        for _ in 0..number {
            if call.as_mut().now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        cluster.client.mkdir(format!("/d{number}"), MkdirOptions::new()).await.expect("made");
    }
}

#[tokio::test]
async fn a_lost_session_is_replaced_unseen() {
    let cluster = FakeCluster::start(0);
    cluster.client.mkdir("/a", MkdirOptions::new()).await.expect("made");
    cluster.namenode.expire_sessions();
    cluster.client.mkdir("/b", MkdirOptions::new()).await.expect("made");
    assert_eq!(cluster.namenode.calls("open_session"), 2);
    cluster.client.end_session().await.expect("ended");
    cluster.client.mkdir("/c", MkdirOptions::new()).await.expect("made");
    assert_eq!(cluster.namenode.calls("open_session"), 3);
}

/// Renewed while the client lives, whatever it does; not any longer.
#[tokio::test(start_paused = true)]
async fn sessions_are_renewed_until_the_client_is_gone() {
    let FakeCluster { client, namenode, network, .. } = FakeCluster::start(0);
    client.mkdir("/a", MkdirOptions::new()).await.expect("made");
    tokio::time::sleep(Duration::from_secs(95)).await;
    let renewed = namenode.calls("renew_session");
    assert!((27..=29).contains(&renewed), "{renewed} renewals in 95 s with a soft limit of 10 s");
    drop(client);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(namenode.calls("renew_session"), renewed);
    drop(network);
}

#[tokio::test]
async fn the_next_namenode_is_asked_when_one_is_gone_or_points_elsewhere() {
    let network = Network::default();
    let second = FakeNamenode::start(&network, "nn:2", Vec::new());
    let third = FakeNamenode::start(&network, "nn:3", Vec::new());
    second.state.lock().elsewhere = Some("nn:3".to_owned());
    let client = client(&network, "nn:1,nn:2");
    client.mkdir("/d", MkdirOptions::new()).await.expect("made by the third");
    assert_eq!((second.calls("mkdir"), third.calls("mkdir")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_namenode_that_starts_is_waited_for() {
    let cluster = FakeCluster::start(0);
    cluster.client.stat("/").await.expect_err("no such file, but contact");
    cluster.namenode.state.lock().unavailable = 6;
    cluster.client.mkdir("/d", MkdirOptions::new()).await.expect("made");
    cluster.namenode.state.lock().unavailable = usize::MAX;
    let begun = Instant::now();
    let error = cluster.client.stat("/d").await.expect_err("it never gets ready");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!((29..=30).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

/// Both a port where nobody listens and one that says nothing are named within five seconds.
#[tokio::test(start_paused = true)]
async fn a_wrong_address_is_named_soon() {
    let network = Network::default();
    let silent = network.listen("silent:1");
    for url in ["nobody:1", "silent:1"] {
        let begun = Instant::now();
        let error = client(&network, url).stat("/").await.expect_err("nobody there");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains(url), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    drop(silent);
}

/// Also the first call of a client survives connections that break.
#[tokio::test(start_paused = true)]
async fn a_first_contact_that_breaks_is_made_again() {
    let network = Network::default();
    let namenode = FakeNamenode::start(&network, "nn:1", Vec::new());
    namenode.state.lock().lose_answers = Some(("hello", 3));
    client(&network, "nn:1").mkdir("/d", MkdirOptions::new()).await.expect("made at the fourth greeting");
    assert_eq!(namenode.calls("hello"), 4);
    namenode.state.lock().lose_answers = Some(("hello", usize::MAX));
    let begun = Instant::now();
    let error = client(&network, "nn:1").stat("/d").await.expect_err("never greeted");
    assert!(error.message().contains("no namenode can be reached"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let network = Network::default();
    let _namenode = FakeNamenode::start(&network, "nn:1", Vec::new());
    let builder = || Client::builder().namenodes("nn:1").connector(Arc::new(network.clone()));
    assert!(builder().cluster(ClusterId::from_random(1)).connect().await.is_ok());
    let error = builder().cluster(ClusterId::from_random(2)).connect().await.expect_err("another cluster");
    assert_eq!(error.kind(), ErrorKind::Incompatible);
}

#[tokio::test]
async fn directories_are_listed_in_pages() {
    let cluster = FakeCluster::start(0);
    let client = &cluster.client;
    client.mkdir("/d", MkdirOptions::new()).await.expect("made");
    client.mkdir("/d/sub", MkdirOptions::new()).await.expect("made");
    for number in 0..2_500 {
        client.put(format!("/d/{number:04}"), "x", CreateOptions::new()).await.expect("put");
    }
    client.put("/d/sub/leaf", "x", CreateOptions::new()).await.expect("put");
    cluster.namenode.state.lock().unavailable = 1;
    let names: Vec<_> =
        client.list("/d").expect("valid").map_ok(|entry| entry.name).try_collect().await.expect("listed");
    let mut wanted: Vec<_> = (0..2_500).map(|number| format!("{number:04}")).collect();
    wanted.push("sub".to_owned());
    assert_eq!(names, wanted);
    let found: Vec<_> = client.walk("/d", WalkOptions::new()).expect("valid").try_collect().await.expect("walked");
    assert_eq!(found.len(), 2_502);
    assert_eq!(found[2_501].0.as_str(), "/d/sub/leaf");
}

#[tokio::test]
async fn a_watch_goes_on_where_it_broke() {
    let cluster = FakeCluster::start(0);
    let client = &cluster.client;
    let mut watch = client.watch("/", crate::WatchFrom::Now).await.expect("begins");
    for number in 1..=7 {
        let change = watch.try_next().await.expect("goes on").expect("does not end");
        assert_eq!((change.path.as_str(), change.place.as_str()), (&*format!("/{number}"), &*number.to_string()));
    }
    assert_eq!(watch.place().as_str(), "7");
}

#[tokio::test]
async fn names_change_and_go() {
    let cluster = FakeCluster::start(0);
    let client = &cluster.client;
    client.put("/a", "x", CreateOptions::new()).await.expect("put");
    client.rename("/a", "/b", RenameOptions::new()).await.expect("renamed");
    assert!(client.exists("/b").await.expect("known") && !client.exists("/a").await.expect("known"));
    let status = client.stat("/b").await.expect("there");
    assert!(status.is_file() && status.small && status.length == 1);
    client.set_replication("/b", 2).await.expect("set");
    assert_eq!(client.set_replication("/b", 0).await.expect_err("refused").kind(), ErrorKind::InvalidArgument);
    client.set_times("/b", Some(1), None).await.expect("set");
    assert!(client.recover_lease("/b").await.expect("asked"));
    client.remove("/b", RemoveOptions::new()).await.expect("removed");
    assert_eq!(client.open("/b").await.expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(client.stat("no slash").await.expect_err("malformed").kind(), ErrorKind::InvalidArgument);
}
