//! Streams of changes over the wire.

use std::sync::Arc;
use std::time::Duration;

use godfs_core::metadata::MemoryStore;
use godfs_core::{ErrorKind, Incarnation};
use godfs_proto::v1;
use godfs_server::namenode::MetadataSource;
use tonic::Streaming;

use super::fake::{FakeClient, PATIENCE, refused, until};
use super::{in_memory, settings, start_with};

fn request(path: &str) -> v1::WatchRequest {
    v1::WatchRequest { path: path.into(), ..Default::default() }
}

async fn watch(client: &FakeClient, request: v1::WatchRequest) -> Result<Streaming<v1::WatchPage>, tonic::Status> {
    Ok(client.stub.clone().watch(request).await?.into_inner())
}

async fn page(pages: &mut Streaming<v1::WatchPage>) -> Result<v1::WatchPage, tonic::Status> {
    let page = tokio::time::timeout(PATIENCE, pages.message()).await.expect("in time");
    page.map(|page| page.expect("no end"))
}

/// The paths of the next `count` changes, and the place behind each.
async fn next(pages: &mut Streaming<v1::WatchPage>, count: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(page(pages).await.expect("page").changes.into_iter().map(|change| (change.path, change.place)));
    }
    found
}

async fn first_error(client: &FakeClient, request: v1::WatchRequest) -> tonic::Status {
    match watch(client, request).await {
        Err(status) => status,
        Ok(mut pages) => loop {
            if let Err(status) = page(&mut pages).await {
                break status;
            }
        },
    }
}

#[tokio::test]
async fn a_watch_shows_what_happens_below_and_goes_on_anywhere() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    client.mkdir("/d").await.expect("mkdir");
    let mut pages = watch(&client, request("/d")).await.expect("watch");
    assert!(page(&mut pages).await.expect("it begins").changes.is_empty());
    for path in ["/d/a", "/elsewhere", "/d/b", "/dd", "/d/a/c"] {
        client.mkdir(path).await.expect("mkdir");
    }
    let found = next(&mut pages, 3).await;
    let paths = |found: &[(String, String)]| found.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&found), ["/d/a", "/d/b", "/d/a/c"]);
    let behind = v1::WatchRequest { place: found[0].1.clone(), ..request("/") };
    let mut again = watch(&client, behind).await.expect("watch");
    assert_eq!(paths(&next(&mut again, 4).await), ["/elsewhere", "/d/b", "/dd", "/d/a/c"]);
    let mut all = watch(&client, v1::WatchRequest { oldest: true, ..request("/") }).await.expect("watch");
    assert_eq!(paths(&next(&mut all, 6).await)[0], "/d");

    // What is passed over moves the place on, which is said now and then.
    let quick = v1::WatchRequest { heartbeat_ms: 1, ..request("/d") };
    let mut pages = watch(&client, quick).await.expect("watch");
    let begin = page(&mut pages).await.expect("it begins").place;
    client.mkdir("/elsewhere/too").await.expect("mkdir");
    let mut later = page(&mut pages).await.expect("a sign of life");
    while later.place == begin {
        later = page(&mut pages).await.expect("a sign of life");
    }
    assert!(later.changes.is_empty());
    let mut pages = watch(&client, v1::WatchRequest { place: later.place, ..request("/") }).await.expect("watch");
    client.mkdir("/last").await.expect("mkdir");
    assert_eq!(paths(&next(&mut pages, 1).await), ["/last"]);

    let foreign = "000102030405060708090a0b0c0d0e0f-1-0";
    for (bad, kind) in [
        (request("x"), ErrorKind::InvalidArgument),
        (request("/none"), ErrorKind::NotFound),
        (v1::WatchRequest { place: "yesterday".into(), ..request("/") }, ErrorKind::InvalidArgument),
        (v1::WatchRequest { place: "x".repeat(100_000), ..request("/") }, ErrorKind::InvalidArgument),
        (v1::WatchRequest { place: foreign.into(), ..request("/") }, ErrorKind::Gone),
        (v1::WatchRequest { place: begin, oldest: true, ..request("/") }, ErrorKind::InvalidArgument),
    ] {
        assert_eq!(refused::<()>(Err(first_error(&client, bad.clone()).await)).kind(), kind, "{bad:?}");
    }
    // Watches hold up no end.
    namenode.stop().await.expect("stop");
}

/// Who reads slowly delays nobody, costs a bounded amount of memory, and is told when it has fallen too far behind.
#[tokio::test]
async fn a_slow_reader_is_told_that_it_is_too_late() {
    let store = Arc::new(MemoryStore::keeping(Incarnation::from_random(7), 50 << 10));
    let namenode = start_with(MetadataSource::Store(store), settings()).await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut slow = watch(&client, request("/")).await.expect("watch");
    page(&mut slow).await.expect("it begins");
    // Far more than the store keeps, and than fits between the namenode and a reader that does not read.
    let name = "n".repeat(250);
    let deep = format!("/{}", [name.as_str(); 20].join("/"));
    let options = v1::MkdirRequest { parents: true, path: deep.clone(), call: client.call(), ..Default::default() };
    client.stub.clone().mkdir(options).await.expect("mkdir");
    for number in 0..1_500 {
        client.mkdir(&format!("{deep}/{number}")).await.expect("nobody waits for the slow one");
    }
    let error = loop {
        if let Err(status) = page(&mut slow).await {
            break refused::<()>(Err(status));
        }
    };
    assert_eq!(error.kind(), ErrorKind::Gone);
    assert!(error.message().contains("the oldest that is kept is"), "{error}");
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn watches_are_bounded_and_given_back() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut watches = Vec::new();
    let of = |user: &str| {
        let mut request = tonic::Request::new(request("/"));
        request.metadata_mut().insert("godfs-user", user.parse().expect("a name"));
        let mut stub = client.stub.clone();
        async move { Ok::<_, tonic::Status>(stub.watch(request).await?.into_inner()) }
    };
    for number in 0..256 {
        let user = format!("user{}", number / 64);
        let mut pages = of(&user).await.expect("watch");
        if number % 64 == 63 && number < 255 {
            // No place for more of this user, and some for others.
            let error = refused(of(&user).await.map(drop));
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            assert!(error.message().contains(&format!("user {user} has 64 watches")), "{error}");
        }
        page(&mut pages).await.expect("it begins");
        watches.push(pages);
    }
    assert_eq!(refused(watch(&client, request("/")).await.map(drop)).kind(), ErrorKind::LimitExceeded);
    client.mkdir("/seen-by-all").await.expect("mkdir");
    for pages in &mut watches {
        assert_eq!(next(pages, 1).await[0].0, "/seen-by-all");
    }
    watches.pop();
    until("the place is free again", || async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        watch(&client, request("/")).await.ok()
    })
    .await;
    namenode.stop().await.expect("stop");
}
