//! What GoDFS does as a store of objects beyond what every store does: conditions, conflicts of keys with the tree, uploads, and what is left behind.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use godfs_client::{CreateOptions, MkdirOptions, WalkOptions};
use godfs_object_store::{GodfsStore, StoreOptions, UPLOADS};
use godfs_server::Cluster;
use object_store_014::list::{PaginatedListOptions, PaginatedListStore};
use object_store_014::multipart::MultipartStore;
use object_store_014::path::Path;
use object_store_014::{
    Attribute, Attributes, Error, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, TagSet, UpdateVersion,
};
use tokio::time::Instant;

const MIB: usize = 1 << 20;

async fn start() -> (Cluster, GodfsStore) {
    let cluster = Cluster::builder().datanodes(3).start().await.expect("done");
    let store = GodfsStore::new(cluster.client(), "/lake").expect("done").with_options(options());
    (cluster, store)
}

/// Those of a store that looks for no abandoned upload while a test looks for what there is.
fn options() -> StoreOptions {
    StoreOptions::new().abandoned_after(Duration::ZERO)
}

fn key(text: &str) -> Path {
    Path::parse(text).expect("done")
}

/// Every path below the root, directories included.
async fn tree(store: &GodfsStore) -> Vec<String> {
    let found = store.client().walk("/", WalkOptions::new()).expect("done");
    found.map_ok(|(path, _)| path.to_string()).try_collect().await.expect("done")
}

async fn keys(store: &GodfsStore, prefix: Option<&str>) -> Vec<String> {
    let prefix = prefix.map(key);
    let found = ObjectStore::list(store, prefix.as_ref());
    found.map_ok(|meta| meta.location.to_string()).try_collect().await.expect("done")
}

#[tokio::test]
async fn objects_are_files() {
    let (_cluster, store) = start().await;
    store.put(&key("a/b/c"), "object".into()).await.unwrap();
    assert_eq!(store.client().get("/lake/a/b/c").await.unwrap(), "object");
    store.client().put("/lake/a/other", "file", CreateOptions::new()).await.unwrap();
    assert_eq!(store.get(&key("a/other")).await.unwrap().bytes().await.unwrap(), "file");
    assert_eq!(keys(&store, None).await, ["a/b/c", "a/other"]);
    // What is larger than fits into a namenode, in one piece and in several.
    let large: Vec<Bytes> = (0..5).map(|piece| Bytes::from(vec![piece; MIB])).collect();
    store.put(&key("large"), large.concat().into()).await.unwrap();
    store.put(&key("pieces"), large.iter().cloned().collect::<PutPayload>()).await.unwrap();
    for name in ["large", "pieces"] {
        let found = store.get(&key(name)).await.unwrap();
        assert_eq!((found.meta.size, found.range.clone()), (5 * MIB as u64, 0..5 * MIB as u64));
        assert!(found.bytes().await.unwrap() == large.concat(), "{name}");
        let ranges = [
            0..10,
            4 * MIB as u64..4 * MIB as u64 + 1,
            MIB as u64 - 1..MIB as u64 + 1,
            5 * MIB as u64 - 1..6 * MIB as u64,
        ];
        let found = store.get_ranges(&key(name), &ranges).await.unwrap();
        assert_eq!(found, [vec![0; 10], vec![4], vec![0, 1], vec![4]]);
    }
}

#[tokio::test]
async fn keys_without_a_path_are_refused() {
    let (_cluster, store) = start().await;
    store.put(&key("a/b"), "x".into()).await.unwrap();
    let upload = format!("{UPLOADS}/x");
    for name in ["a", "a/b/c", upload.as_str(), &"x".repeat(256)] {
        for mode in [PutMode::Overwrite, PutMode::Create] {
            let error = store.put_opts(&key(name), "y".into(), mode.into()).await.unwrap_err();
            assert!(matches!(error, Error::NotSupported { .. }), "{name}: {error}");
        }
        let error = store.copy(&key("a/b"), &key(name)).await.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{name}: {error}");
        let error = store.rename(&key("a/b"), &key(name)).await.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. } | Error::Generic { .. }), "{name}: {error}");
    }
    for name in ["a", "a/b/c", "no"] {
        for error in [store.get(&key(name)).await.unwrap_err(), store.delete(&key(name)).await.unwrap_err()] {
            assert!(matches!(error, Error::NotFound { .. }), "{name}: {error}");
        }
    }
    assert_eq!(keys(&store, None).await, ["a/b"]);
    assert_eq!(tree(&store).await, ["/lake", "/lake/a", "/lake/a/b"]);
}

#[tokio::test]
async fn directories_come_and_go_with_objects() {
    let (_cluster, store) = start().await;
    for name in ["a/b/c", "a/d"] {
        store.put(&key(name), "x".into()).await.unwrap();
    }
    store.client().mkdir("/lake/empty/below", MkdirOptions::new().parents(true)).await.unwrap();
    let listed = store.list_with_delimiter(None).await.unwrap();
    assert_eq!((listed.common_prefixes, listed.objects), (vec![key("a")], vec![]));
    store.delete(&key("a/b/c")).await.unwrap();
    assert_eq!(tree(&store).await, ["/lake", "/lake/a", "/lake/a/d", "/lake/empty", "/lake/empty/below"]);
    store.rename(&key("a/d"), &key("x/y/z")).await.unwrap();
    assert!(!tree(&store).await.contains(&"/lake/a".to_owned()));
    let gone = store.rename_if_not_exists(&key("x/y/z"), &key("x/y/z")).await.unwrap_err();
    assert!(matches!(gone, Error::AlreadyExists { .. }), "{gone}");
    store.delete(&key("x/y/z")).await.unwrap();
    assert_eq!(tree(&store).await, ["/lake", "/lake/empty", "/lake/empty/below"]);
}

/// A large object takes a while, in which others may delete the last object beside it.
#[tokio::test]
async fn an_object_appears_though_its_directory_went() {
    let (_cluster, store) = start().await;
    store.put(&key("d/last"), "x".into()).await.unwrap();
    let mut writer = store
        .client()
        .writer("/lake/d/large", CreateOptions::new().parents(true).publish_on_close(true).small_file_limit(0))
        .await
        .unwrap();
    writer.write(&vec![1; MIB]).await.unwrap();
    store.delete(&key("d/last")).await.unwrap();
    assert_eq!(tree(&store).await, ["/lake"]);
    writer.close().await.unwrap();
    assert_eq!(keys(&store, None).await, ["d/large"]);
}

#[tokio::test]
async fn conditions_are_about_the_state_that_was_seen() {
    let (_cluster, store) = start().await;
    let first = store.put(&key("k"), "1".into()).await.unwrap();
    let seen = store.head(&key("k")).await.unwrap();
    assert_eq!((first.e_tag.clone(), None), (seen.e_tag.clone(), seen.version.clone()));
    // Large objects as small ones.
    for data in [Bytes::from("2"), Bytes::from(vec![2; MIB])] {
        let wrong = UpdateVersion { e_tag: Some("no tag".into()), version: None };
        let error = store.put_opts(&key("k"), data.clone().into(), PutMode::Update(wrong).into()).await.unwrap_err();
        assert!(matches!(error, Error::Precondition { .. }), "{error}");
        let version = UpdateVersion { e_tag: store.head(&key("k")).await.unwrap().e_tag, version: None };
        let update = PutMode::Update(version);
        let second = store.put_opts(&key("k"), data.clone().into(), update.clone().into()).await.unwrap();
        assert_eq!(store.head(&key("k")).await.unwrap().e_tag, second.e_tag);
        let error = store.put_opts(&key("k"), data.into(), update.into()).await.unwrap_err();
        assert!(matches!(error, Error::Precondition { .. }), "{error}");
    }
    let old = GetOptions::new().with_version(Some("1"));
    assert!(matches!(store.get_opts(&key("k"), old).await, Err(Error::NotSupported { .. })));
    let none = PutMode::Update(UpdateVersion { e_tag: None, version: None });
    assert!(matches!(store.put_opts(&key("k"), "x".into(), none.into()).await, Err(Error::Generic { .. })));
}

#[tokio::test]
async fn attributes_and_tags_stay_with_the_object() {
    let (_cluster, store) = start().await;
    let attributes =
        Attributes::from_iter([(Attribute::ContentType, "text/plain"), (Attribute::Metadata("k".into()), "v")]);
    let mut tags = TagSet::default();
    tags.push("team", "blue");
    let options = PutOptions { attributes: attributes.clone(), tags: tags.clone(), ..Default::default() };
    store.put_opts(&key("a"), "x".into(), options).await.unwrap();
    store.copy(&key("a"), &key("b")).await.unwrap();
    store.rename(&key("b"), &key("c")).await.unwrap();
    let multipart = PutMultipartOptions { attributes: attributes.clone(), tags, ..Default::default() };
    let mut upload = store.put_multipart_opts(&key("d"), multipart.clone()).await.unwrap();
    upload.put_part(vec![1; 100].into()).await.unwrap();
    upload.complete().await.unwrap();
    let id = store.create_multipart_opts(&key("e"), multipart).await.unwrap();
    store.complete_multipart(&key("e"), &id, vec![]).await.unwrap();
    for name in ["a", "c", "d", "e"] {
        assert_eq!(store.get(&key(name)).await.unwrap().attributes, attributes, "{name}");
        let path = format!("/lake/{name}");
        assert_eq!(store.client().xattr(&path, "user.object.tags").await.unwrap(), "team=blue", "{name}");
    }
    // What replaces an object has its own.
    store.put(&key("a"), "y".into()).await.unwrap();
    assert_eq!(store.get(&key("a")).await.unwrap().attributes, Attributes::new());
}

#[tokio::test]
async fn uploads_that_do_not_complete_leave_nothing() {
    let (_cluster, store) = start().await;
    let mut aborted = store.put_multipart(&key("k")).await.unwrap();
    aborted.put_part(vec![1; MIB].into()).await.unwrap();
    aborted.abort().await.unwrap();
    aborted.abort().await.unwrap();
    // One that is under way is not in the way of anything, and does not show.
    let mut forgotten = store.put_multipart(&key("k")).await.unwrap();
    forgotten.put_part(vec![2; MIB].into()).await.unwrap();
    assert_eq!(keys(&store, None).await, Vec::<String>::new());
    let listed = store.list_with_delimiter(None).await.unwrap();
    assert_eq!((listed.common_prefixes, listed.objects), (vec![], vec![]));
    assert_eq!(store.collect_abandoned(Duration::from_secs(3_600)).await.unwrap(), 0);
    assert_eq!(store.collect_abandoned(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(tree(&store).await, ["/lake"]);
    let error = forgotten.complete().await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = store.put_part(&key("k"), &"0".repeat(32), 0, "x".into()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = store.abort_multipart(&key("k"), &"../../lake".to_owned()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let mut early = store.put_multipart(&key("k")).await.unwrap();
    drop(early.put_part("x".into()));
    assert!(matches!(early.complete().await, Err(Error::Generic { .. })), "a part was never written");
    assert_eq!(keys(&store, None).await, Vec::<String>::new());
}

/// Nobody has to call the collector: a store that begins an upload does, for those to which nothing was added for as long as its options say.
#[tokio::test]
async fn what_was_abandoned_goes_when_the_next_upload_begins() {
    let (_cluster, store) = start().await;
    let mut forgotten = store.put_multipart(&key("k")).await.unwrap();
    forgotten.put_part(vec![2; MIB].into()).await.unwrap();
    let left = async || {
        let found = tree(&store).await;
        found.iter().filter(|path| path.ends_with("/00000")).count()
    };
    let begin = async |unchanged: Duration| {
        let other = store.client().clone();
        let options = StoreOptions::new().abandoned_after(unchanged);
        let other = GodfsStore::new(other, "/lake").unwrap().with_options(options);
        other.put_multipart(&key("other")).await.unwrap()
    };
    // Nothing is that old, and one looks for nothing.
    for unchanged in [Duration::from_secs(3_600), Duration::ZERO] {
        begin(unchanged).await.abort().await.unwrap();
    }
    assert_eq!(left().await, 1);
    let deadline = Instant::now() + Duration::from_secs(60);
    while left().await > 0 {
        assert!(Instant::now() < deadline, "the upload of long ago is still there");
        // Its own upload may go with it, if the namenode's clock moves on meanwhile.
        drop(begin(Duration::from_millis(1)).await);
    }
    let options = [("abandoned_after", "never")];
    let error = GodfsStore::from_url_with("godfs://127.0.0.1:1/lake", options).unwrap_err();
    assert!(error.to_string().contains("abandoned_after"), "{error}");
}

#[tokio::test]
async fn parts_are_joined_in_their_order_and_replace_what_was_there() {
    let (cluster, store) = start().await;
    let store = store.with_options(options().replication(2).chunk_size(256 << 10));
    store.put(&key("k"), "old".into()).await.unwrap();
    let id = store.create_multipart(&key("k")).await.unwrap();
    let mut parts = Vec::new();
    for (number, byte) in [(2, 9), (0, 1), (1, 2), (2, 3)] {
        parts.push((number, store.put_part(&key("k"), &id, number, vec![byte; 300 << 10].into()).await.unwrap()));
    }
    let parts = [1, 2, 3].map(|at: usize| parts[at].1.clone()).to_vec();
    let done = store.complete_multipart(&key("k"), &id, parts).await.unwrap();
    let found = store.get(&key("k")).await.unwrap();
    assert_eq!(found.meta.e_tag, done.e_tag);
    let expected = [vec![1; 300 << 10], vec![2; 300 << 10], vec![3; 300 << 10]].concat();
    assert!(found.bytes().await.unwrap() == expected);
    let status = cluster.client().stat("/lake/k").await.unwrap();
    assert_eq!((status.replication, status.chunk_size), (2, 256 << 10));
    assert_eq!(tree(&store).await, ["/lake", "/lake/.godfs-uploads", "/lake/k"]);
}

#[tokio::test]
async fn listings_are_those_of_flat_keys() {
    let (_cluster, store) = start().await;
    let names = ["a b/x", "a!.y", "a-/-", "a.b", "a/b", "a/c/d", "a0", "b"];
    for name in names {
        store.put(&key(name), "x".into()).await.unwrap();
    }
    assert_eq!(keys(&store, None).await, names);
    assert_eq!(keys(&store, Some("a")).await, ["a/b", "a/c/d"]);
    let behind: Vec<_> =
        store.list_with_offset(None, &key("a.b")).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    assert_eq!(behind, ["a/b", "a/c/d", "a0", "b"]);
    let (mut pages, mut token) = (Vec::new(), None);
    loop {
        let options = PaginatedListOptions {
            max_keys: Some(2),
            delimiter: Some("/".into()),
            page_token: token,
            ..Default::default()
        };
        let page = store.list_paginated(Some("a"), options).await.unwrap();
        let objects = page.result.objects.iter().map(|meta| meta.location.to_string());
        pages.push((objects.collect::<Vec<_>>(), page.result.common_prefixes));
        token = page.page_token;
        if token.is_none() {
            break;
        }
    }
    let objects: Vec<_> = pages.iter().flat_map(|(objects, _)| objects.clone()).collect();
    let prefixes: Vec<_> = pages.iter().flat_map(|(_, prefixes)| prefixes.clone()).collect();
    assert_eq!((pages.len(), objects), (3, vec!["a!.y".to_owned(), "a.b".into(), "a0".into()]));
    assert_eq!(prefixes, ["a b", "a-", "a"].map(key));
    let odd = PaginatedListOptions { delimiter: Some("-".into()), ..Default::default() };
    assert!(matches!(store.list_paginated(None, odd).await, Err(Error::NotSupported { .. })));
}

#[tokio::test]
async fn many_keys_are_deleted_as_they_come() {
    let (_cluster, store) = start().await;
    let puts = (0..300).map(|number| {
        let store = store.clone();
        async move { store.put(&key(&format!("d/{}/{number}", number % 7)), "x".into()).await }
    });
    futures::stream::iter(puts).buffer_unordered(32).try_collect::<Vec<_>>().await.unwrap();
    let all = ObjectStore::list(&store, None).map_ok(|meta| meta.location);
    let with_one_missing = futures::stream::once(async { Ok(key("no")) }).chain(all);
    let deleted: Vec<_> = ObjectStore::delete_stream(&store, with_one_missing.boxed()).collect().await;
    assert!(matches!(deleted[0], Err(Error::NotFound { .. })));
    assert_eq!(deleted.iter().filter(|outcome| outcome.is_ok()).count(), 300);
    assert_eq!(tree(&store).await, ["/lake"]);
}

#[tokio::test]
async fn stores_are_made_of_urls() {
    let store =
        GodfsStore::from_url_with("godfs://127.0.0.1:1/lake", [("user", "alice"), ("replication", "2")]).unwrap();
    assert_eq!((store.root().as_str(), store.to_string()), ("/lake", "GodfsStore(/lake)".to_owned()));
    for (url, options) in [
        ("s3://bucket", vec![]),
        ("godfs://127.0.0.1/lake", vec![]),
        ("godfs://127.0.0.1:1/lake", vec![("color", "red")]),
        ("godfs://127.0.0.1:1/lake", vec![("replication", "two")]),
    ] {
        GodfsStore::from_url_with(url, options).unwrap_err();
    }
}
