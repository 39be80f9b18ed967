//! The trash over the wire: in by a delete, out by a restore, and away by the collector.

use std::time::Duration;

use godfs_core::ErrorKind;
use godfs_proto::v1;

use super::fake::{FakeClient, refused, until};
use super::{MetadataSource, in_memory, memory, settings, start_with};

impl FakeClient {
    async fn trash(&self, path: &str) -> Result<String, tonic::Status> {
        let request = v1::DeleteRequest {
            call: self.call(),
            path: path.into(),
            recursive: true,
            trash: true,
            ..Default::default()
        };
        self.stub.clone().delete(request).await.map(|answer| answer.into_inner().trashed)
    }

    async fn trash_items(&self, after: &str, limit: u32) -> v1::ListTrashResponse {
        let request = v1::ListTrashRequest { user: String::new(), after: after.into(), limit };
        self.stub.clone().list_trash(request).await.expect("list").into_inner()
    }

    async fn restore(&self, item: &str, to: &str) -> Result<String, tonic::Status> {
        let call = self.call();
        let request = v1::RestoreTrashRequest { call, item: item.into(), to: to.into(), parents: false };
        self.stub.clone().restore_trash(request).await.map(|answer| answer.into_inner().path)
    }
}

#[tokio::test]
async fn what_is_deleted_is_listed_in_pages_and_restored() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    for n in 0..5 {
        client.mkdir(&format!("/d{n}")).await.expect("mkdir");
        let item = client.trash(&format!("/d{n}")).await.expect("deleted");
        assert!(item.starts_with("/.trash/"), "{item}");
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.trash_items(&after, 2).await;
        after =
            page.items.last().map(|item| item.path.rsplit('/').next().unwrap_or_default().to_owned()).expect("some");
        let more = page.more;
        found.extend(page.items);
        if !more {
            break;
        }
    }
    let originals: Vec<_> = found.iter().map(|item| item.original.as_str()).collect();
    assert_eq!(originals, ["/d0", "/d1", "/d2", "/d3", "/d4"]);
    let item = &found[3];
    assert_eq!((item.kind(), item.files, item.directories), (v1::FileKind::Directory, 0, 1));
    assert_eq!(item.expires_ms - item.deleted_ms, 86_400_000);
    client.mkdir("/d3").await.expect("mkdir");
    let error = refused(client.restore(&item.path, "").await);
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.message().contains(&item.path) && error.message().contains("/d3 exists already"), "{error}");
    assert_eq!(client.restore(&item.path, "/d3/old").await.expect("restored"), "/d3/old");
    assert_eq!(refused(client.restore(&item.path, "/d3/old").await).kind(), ErrorKind::NotFound);
    assert_eq!(
        client.trash("/.trash").await.map_err(|status| refused::<()>(Err(status)).kind()),
        Err(ErrorKind::InvalidArgument)
    );
    assert_eq!(client.trash(&found[0].path).await.expect("deleted"), "", "out of the trash for good");
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn items_expire_whoever_is_the_namenode_then() {
    let store = memory();
    let mut settings = settings();
    settings.namespace.trash_expiry = Duration::from_millis(100);
    let namenode = start_with(MetadataSource::Store(store.clone()), settings.clone()).await;
    let client = FakeClient::connect(namenode.address()).await;
    client.mkdir("/d").await.expect("mkdir");
    let item = client.trash("/d").await.expect("deleted");
    namenode.stop().await.expect("stop");

    let namenode = start_with(MetadataSource::Store(store), settings).await;
    let client = FakeClient::connect(namenode.address()).await;
    until("the item to expire", || async { client.trash_items("", 0).await.items.is_empty().then_some(()) }).await;
    assert_eq!(refused(client.restore(&item, "").await).kind(), ErrorKind::NotFound);
    namenode.stop().await.expect("stop");
}
