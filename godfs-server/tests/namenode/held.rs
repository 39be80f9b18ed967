//! Files of clients of whom nothing is heard, asked for by others.

use std::sync::Arc;
use std::time::Duration;

use godfs_core::metadata::MetadataStore;
use godfs_core::{Error, ErrorKind};
use godfs_proto::v1;
use godfs_server::namenode::{MetadataSource, NamenodeSettings};
use v1::command::Order;

use super::fake::{FakeClient, finalized, refused, until};
use super::{in_memory, memory, node, settings, start_with};

/// A second is a long time for a test to be starved within one loop, and no time for a session to be over.
fn soft() -> NamenodeSettings {
    let mut settings = settings();
    settings.namespace.session_timeout = Duration::from_secs(3_600);
    settings.namespace.lease_soft_limit = Duration::from_secs(1);
    settings
}

async fn append(client: &FakeClient, path: &str) -> Result<v1::AppendResponse, tonic::Status> {
    let request = v1::AppendRequest { call: client.call(), path: path.into() };
    Ok(client.stub.clone().append(request).await?.into_inner())
}

async fn truncate(client: &FakeClient, path: &str) -> Result<v1::TruncateResponse, tonic::Status> {
    let request = v1::TruncateRequest { call: client.call(), path: path.into(), length: 0 };
    Ok(client.stub.clone().truncate(request).await?.into_inner())
}

/// For how long the writer of the only open file was silent.
async fn silent(client: &FakeClient) -> Duration {
    let open = client.stub.clone().open_files(v1::OpenFilesRequest::default()).await.expect("list").into_inner();
    Duration::from_millis(open.files[0].silent_ms.expect("a writer"))
}

fn is_held(error: &Error) {
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::BeingWritten, false), "{error}");
    assert!(error.message().contains("/f is being written by session"), "{error}");
    assert!(error.message().contains("silent for") && error.message().ends_with("beyond 1s it can be had"), "{error}");
}

#[tokio::test]
async fn a_silent_writer_loses_what_another_asks_for() {
    let namenode = start_with(MetadataSource::Store(memory()), soft()).await;
    let (writer, other) =
        (FakeClient::connect(namenode.address()).await, FakeClient::connect(namenode.address()).await);
    let mut only = node(&namenode, 1).await;
    let file = writer.create("/f", 1).await;
    let chunk = writer.add_chunk(&file).await.expect("chunk");

    // Heard of again and again, it keeps the file for longer than the limit.
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        writer.stub.clone().renew_session(v1::RenewSessionRequest { session: writer.session }).await.expect("renewed");
        is_held(&refused(append(&other, "/f").await));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let own = refused(append(&writer, "/f").await);
    assert!(own.kind() == ErrorKind::BeingWritten && own.message().ends_with("the caller's own"), "{own}");

    // Then no more: whoever asks beyond the limit begins the recovery, and is told to come again.
    let coming = until("the limit is over", || async {
        let error = refused(append(&other, "/f").await);
        if !error.is_retryable() {
            is_held(&error);
            return None;
        }
        Some(error)
    });
    let coming = coming.await;
    assert_eq!((coming.kind(), coming.message()), (ErrorKind::BeingWritten, "/f is being recovered"));
    let (id, order) = only.command().await;
    let Order::Recover(recover) = order else { panic!("expected a recovery, got {order:?}") };
    assert!(recover.chunk == chunk.chunk && recover.generation > chunk.generation);
    let state = v1::ReplicaState::Rbw.into();
    let held = v1::Replica { chunk: chunk.chunk, generation: chunk.generation, length: 700, visible: 500, state };
    only.done(id, Some(held)).await;
    let (id, order) = only.command().await;
    let Order::Settle(settle) = order else { panic!("expected to settle, got {order:?}") };
    only.done(id, Some(finalized(chunk.chunk, settle.generation, 700))).await;
    let appended = until("the file is closed", || async { append(&other, "/f").await.ok() }).await;
    assert_eq!((appended.inode, appended.length), (file.inode, 700));

    // The first one has lost this file, and nothing else.
    assert_eq!(refused(writer.add_chunk(&file).await).kind(), ErrorKind::LeaseLost);
    writer.mkdir("/d").await.expect("its session goes on");
    namenode.stop().await.expect("stop");
}

/// Without an open chunk there is nothing to wait for: the call that asks is the one that gets it.
#[tokio::test]
async fn a_file_without_chunks_is_had_at_once() {
    let namenode = start_with(MetadataSource::Store(memory()), soft()).await;
    let (writer, other) =
        (FakeClient::connect(namenode.address()).await, FakeClient::connect(namenode.address()).await);
    let file = writer.create("/f", 1).await;
    let data = bytes::Bytes::from_static(b"flushed");
    let store = v1::StoreSmallRequest { call: writer.call(), inode: file.inode, lease: file.lease, data: data.clone() };
    writer.stub.clone().store_small(store).await.expect("stored");
    is_held(&refused(truncate(&other, "/f").await));
    let appended = until("the limit is over", || async { append(&other, "/f").await.ok() }).await;
    assert_eq!((appended.inode, appended.data), (file.inode, data));
    namenode.stop().await.expect("stop");
}

/// What was silence for one namenode is none for the next.
#[tokio::test]
async fn a_namenode_that_starts_takes_no_file_away() {
    let store = memory();
    let source = || MetadataSource::Store(Arc::clone(&store) as Arc<dyn MetadataStore>);
    let namenode = start_with(source(), soft()).await;
    let writer = FakeClient::connect(namenode.address()).await;
    let file = writer.create("/f", 1).await;
    until("it is silent for long", || async { (silent(&writer).await > Duration::from_millis(1_200)).then_some(()) })
        .await;
    namenode.kill().await;

    let namenode = start_with(source(), soft()).await;
    let other = FakeClient::connect(namenode.address()).await;
    is_held(&refused(append(&other, "/f").await));
    assert!(silent(&other).await < Duration::from_secs(1));
    let request =
        v1::CompleteRequest { call: writer.call(), inode: file.inode, lease: file.lease, ..Default::default() };
    let writer = writer.again(namenode.address()).await;
    assert!(writer.stub.clone().complete(request).await.expect("its own").into_inner().complete);
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn the_limits_are_checked_and_told() {
    let namenode = in_memory().await;
    let client = FakeClient::connect(namenode.address()).await;
    let hello = Some(godfs_client::transport::hello::Identity::client("test").hello());
    let opened = client.stub.clone().open_session(v1::OpenSessionRequest { hello }).await.expect("session");
    let opened = opened.into_inner();
    assert_eq!((opened.timeout_ms, opened.soft_limit_ms), (30_000, 10_000));
    namenode.stop().await.expect("stop");
    for limit in [Duration::ZERO, Duration::from_secs(30)] {
        let mut settings = NamenodeSettings::default();
        settings.namespace.lease_soft_limit = limit;
        let error = settings.check().expect_err("out of bounds");
        assert!(error.message().starts_with("lease_soft_limit is"), "{error}");
    }
}
