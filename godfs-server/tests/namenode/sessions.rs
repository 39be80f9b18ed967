//! A session is its client's alone.

use godfs_client::transport::hello::Identity;
use godfs_core::ErrorKind;
use godfs_proto::v1;
use godfs_server::MetadataSource;

use super::fake::{FakeClient, refused};
use super::{in_memory, memory, settings, start_with};

/// Sessions used to be numbered one after another, and the number of each writer was shown to whoever asked for its file: anybody could end it.
#[tokio::test]
async fn what_is_shown_of_a_session_ends_and_renews_and_repeats_nothing() {
    let namenode = in_memory().await;
    let (writer, other) =
        (FakeClient::connect(namenode.address()).await, FakeClient::connect(namenode.address()).await);
    let file = writer.create("/f", 1).await;
    let mut stub = other.stub.clone();
    let open = stub.open_files(v1::OpenFilesRequest::default()).await.expect("list").into_inner();
    let shown = open.files[0].session;
    assert_eq!(open.files[0].inode, file.inode);
    // What others are told in an error is that number too.
    let call = other.call();
    let append = v1::AppendRequest { call, path: "/f".into() };
    let told = refused(stub.append(append).await);
    assert!(told.message().contains(&format!("by session {shown} ")), "{told}");
    assert!(!told.message().contains(&writer.session.to_string()), "{told}");

    let own = other.session;
    for guess in [shown, shown + 1, own - 1, own + 1, 1, u64::MAX] {
        stub.close_session(v1::CloseSessionRequest { session: guess }).await.expect("none there has ended");
        let renewed = stub.renew_session(v1::RenewSessionRequest { session: guess }).await;
        assert_eq!(refused(renewed).kind(), ErrorKind::SessionLost, "{guess}");
        // Neither the answer of the call that made the file, nor a call in its stead.
        for sequence in [1, 2] {
            let call = Some(v1::Call { session: guess, slot: 0, sequence });
            let made = stub.mkdir(v1::MkdirRequest { call, path: "/d".into(), ..Default::default() }).await;
            assert_eq!(refused(made).kind(), ErrorKind::SessionLost, "{guess}");
        }
    }
    writer.stub.clone().renew_session(v1::RenewSessionRequest { session: writer.session }).await.expect("renewed");
    writer.mkdir("/d").await.expect("its session goes on");
    let open = stub.open_files(v1::OpenFilesRequest::default()).await.expect("list").into_inner();
    assert_eq!(open.files[0].session, shown, "the writer has its file");
    writer.stub.clone().close_session(v1::CloseSessionRequest { session: writer.session }).await.expect("closed");
    assert_eq!(refused(writer.mkdir("/e").await).kind(), ErrorKind::SessionLost);
    namenode.stop().await.expect("stop");
}

/// Clients that go away without a word cost a row and a place in memory each until they expire: a namenode took as many as came.
#[tokio::test]
async fn sessions_are_bounded_and_the_end_of_one_makes_room() {
    let mut few = settings();
    few.namespace.max_sessions = 3;
    let namenode = start_with(MetadataSource::Store(memory()), few).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(FakeClient::connect(namenode.address()).await);
    }
    let mut stub = clients[0].stub.clone();
    let hello = || Identity::client("test").hello();
    let refusal = refused(stub.open_session(v1::OpenSessionRequest { hello: Some(hello()) }).await);
    assert_eq!(refusal.kind(), ErrorKind::Unavailable);
    assert!(refusal.message().contains("3 sessions are open") && refusal.is_retryable(), "{refusal}");
    clients[1].mkdir("/d").await.expect("those that are there go on");
    stub.close_session(v1::CloseSessionRequest { session: clients[2].session }).await.expect("closed");
    let opened = async {
        while stub.open_session(v1::OpenSessionRequest { hello: Some(hello()) }).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), opened).await.expect("there is room");
    namenode.stop().await.expect("stop");
}
