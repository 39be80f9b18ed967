//! Walks and counts over the wire.

use futures::{StreamExt, TryStreamExt, stream};
use godfs_client::{Client, MkdirOptions, WalkOptions};
use godfs_core::ErrorKind;
use godfs_proto::v1;

use super::fake::{FakeClient, refused};
use super::in_memory;

async fn pages(client: &FakeClient, request: v1::WalkRequest) -> Result<Vec<v1::WalkPage>, tonic::Status> {
    let mut pages = client.stub.clone().walk(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(page) = pages.message().await? {
        all.push(page);
    }
    Ok(all)
}

#[tokio::test]
async fn a_walk_comes_in_pages_and_goes_on_anywhere() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    for path in ["/a", "/a/b", "/a/b/c", "/a-b", "/z"] {
        client.mkdir(path).await.expect("mkdir");
    }
    let request = |path: &str| v1::WalkRequest { path: path.into(), page_size: 2, ..Default::default() };
    let all = pages(&client, request("/")).await.expect("walk");
    let paths = |pages: &[v1::WalkPage]| {
        pages.iter().flat_map(|page| &page.entries).map(|entry| entry.path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(paths(&all), ["/a", "/a/b", "/a/b/c", "/a-b", "/z"]);
    assert!(all.len() >= 3 && all.last().is_some_and(|page| page.next.is_empty()));
    // From the place of the first page on, though it is gone.
    let delete = v1::DeleteRequest {
        call: client.call(),
        path: "/a/b".into(),
        recursive: true,
        trash: false,
        ..Default::default()
    };
    client.stub.clone().delete(delete).await.expect("deleted");
    let rest = pages(&client, v1::WalkRequest { after: all[0].next.clone(), ..request("/") }).await.expect("walk");
    assert_eq!(paths(&rest), ["/a-b", "/z"]);

    let usage = v1::UsageRequest { path: "/".into() };
    let usage = client.stub.clone().usage(usage).await.expect("usage").into_inner();
    assert_eq!((usage.kind(), usage.files, usage.directories), (v1::FileKind::Directory, 0, 3));

    for (bad, kind) in [
        (request("x"), ErrorKind::InvalidArgument),
        (request("/none"), ErrorKind::NotFound),
        (v1::WalkRequest { after: "/a".into(), ..request("/z") }, ErrorKind::InvalidArgument),
        (v1::WalkRequest { name: "[".into(), ..request("/") }, ErrorKind::InvalidArgument),
        (v1::WalkRequest { name: "a".repeat(5_000), ..request("/") }, ErrorKind::InvalidArgument),
        (v1::WalkRequest { kind: 77, ..request("/") }, ErrorKind::InvalidArgument),
    ] {
        assert_eq!(refused(pages(&client, bad.clone()).await).kind(), kind, "{bad:?}");
    }
    // A reader that goes away in the middle leaves nothing behind: the namenode stops at once.
    let mut walk = client.stub.clone().walk(request("/")).await.expect("walk").into_inner();
    walk.message().await.expect("page");
    drop(walk);
    namenode.stop().await.expect("stop");
}

/// A message has a bound, and what links say counts too.
#[tokio::test]
async fn a_directory_of_very_long_links_is_listed_and_walked() {
    const LINKS: usize = 1_200;
    let namenode = in_memory().await;
    let client = Client::builder().namenodes(namenode.address()).build().expect("a client");
    client.mkdir("/d", MkdirOptions::new()).await.expect("mkdir");
    let target = "x/".repeat(2_000);
    let links: Vec<String> = (0..LINKS).map(|number| format!("/d/{number:04}")).collect();
    stream::iter(&links)
        .for_each_concurrent(64, async |link| client.symlink(&target, link.as_str()).await.expect("a link"))
        .await;
    let mut listed = client.list("/d").expect("a listing");
    for link in &links {
        let entry = listed.try_next().await.expect("listed").expect("one more");
        assert_eq!((&entry.name, entry.status.target.as_deref()), (&link[3..].to_owned(), Some(&*target)));
    }
    assert!(listed.try_next().await.expect("the end").is_none());
    let walked: Vec<_> = client.walk("/d", WalkOptions::new()).expect("a walk").try_collect().await.expect("walked");
    assert_eq!(walked.len(), LINKS);
}
