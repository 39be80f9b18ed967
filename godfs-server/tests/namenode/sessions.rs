//! A session is its client's alone.

use godfs_core::ErrorKind;
use godfs_proto::v1;

use super::fake::{FakeClient, refused};
use super::in_memory;

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
