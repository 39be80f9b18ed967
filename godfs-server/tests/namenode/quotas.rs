//! Quotas over the wire, with many at the limit at once.

use godfs_core::ErrorKind;
use godfs_proto::v1;

use super::fake::{FakeClient, refused};
use super::in_memory;

/// Names, and whole chunks, for exactly seven of 32 clients that all ask at once.
#[tokio::test]
async fn exactly_as_many_succeed_as_fit() {
    const FIT: usize = 7;
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    client.mkdir("/q").await.expect("mkdir");
    let quota =
        |names, space| v1::SetQuotaRequest { call: client.call(), path: "/q".into(), names, space, others_stay: false };
    client.stub.clone().set_quota(quota(Some(FIT as u64), Some(10 * FIT as u64 + 9))).await.expect("set");
    let usage = || async {
        client.stub.clone().usage(v1::UsageRequest { path: "/q".into() }).await.expect("usage").into_inner()
    };
    for round in 0..4 {
        let mut racing = tokio::task::JoinSet::new();
        for n in 0..32 {
            let other = FakeClient::connect(namenode.address()).await;
            racing.spawn(async move {
                let options = Some(v1::CreateOptions { replication: 1, ..Default::default() });
                let (call, path) = (other.call(), format!("/q/{round}-{n}"));
                let data = vec![7; 10].into();
                let put = other.stub.clone().put(v1::PutRequest { call, path: path.clone(), options, data }).await;
                put.map(|_| path)
            });
        }
        let mut there = Vec::new();
        while let Some(put) = racing.join_next().await {
            match put.expect("joined") {
                Ok(path) => there.push(path),
                Err(status) => {
                    let error = refused::<()>(Err(status));
                    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
                    assert!(error.message().starts_with("/q may hold "), "{error}");
                }
            }
        }
        assert_eq!(there.len(), FIT, "round {round}");
        let used = usage().await;
        assert_eq!((used.files, used.space, used.names_quota), (FIT as u64, 10 * FIT as u64, Some(FIT as u64)));
        for path in there {
            let delete =
                v1::DeleteRequest { call: client.call(), path, recursive: false, trash: false, ..Default::default() };
            client.stub.clone().delete(delete).await.expect("deleted");
        }
    }
    // The bytes alone bound it too.
    client.stub.clone().set_quota(quota(None, Some(5))).await.expect("set");
    let options = Some(v1::CreateOptions { replication: 2, ..Default::default() });
    let request = v1::PutRequest { call: client.call(), path: "/q/x".into(), options, data: vec![7; 3].into() };
    let error = refused(client.stub.clone().put(request).await);
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::QuotaExceeded, "/q may hold 5 bytes of replicas and has 0 of them: 6 more do not fit")
    );
    namenode.stop().await.expect("stop");
}
