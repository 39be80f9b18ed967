//! Files that are taken from writers of whom nothing is heard.

use super::*;

fn held<T: std::fmt::Debug>(result: Result<T>) -> Held {
    let error = result.expect_err("it has a writer");
    assert!(!error.is_retryable(), "{error}");
    Held::of(&error).expect("the writer").clone()
}

#[tokio::test]
async fn only_the_file_is_taken_and_the_session_goes_on() {
    let fixture = Fixture::new(1).await;
    let namespace = &fixture.namespace;
    let writer = fixture.other().await;
    let (amid, empty, other) =
        (writer.create("/amid").await, writer.create("/empty").await, writer.create("/other").await);
    let chunk = writer.add_chunk(&amid, 0, vec![], &[1]).await.unwrap();
    let append = |path| namespace.append(fixture.call(), at(path));
    refused(append("/amid").await, ErrorKind::BeingWritten, "/amid is being written by session");
    let (amid_held, empty_held) = (held(append("/amid").await), held(append("/empty").await));
    assert_eq!((amid_held.inode, amid_held.session, &*amid_held.client), (amid.inode, writer.session, "other"));

    assert!(namespace.take_from_silent(empty_held.clone()).await.unwrap());
    let appended = append("/empty").await.unwrap();
    assert!(!namespace.take_from_silent(empty_held).await.unwrap(), "it is another's now");
    refused(writer.complete(&empty, 0, vec![]).await, ErrorKind::LeaseLost, "was recovered by another");
    let created = Created { inode: appended.inode, lease: appended.lease, ..empty };
    assert_eq!(fixture.complete(&created, 0, vec![]).await.unwrap(), Completion::Closed);

    // With an open chunk it is closed first.
    assert!(namespace.take_from_silent(amid_held.clone()).await.unwrap());
    fixture.check().await;
    let error = append("/amid").await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable(), Held::of(&error)), (ErrorKind::BeingWritten, true, None));
    assert!(!namespace.take_from_silent(amid_held).await.unwrap(), "it is taken");
    refused(writer.complete(&amid, 9, vec![commit(&chunk, 9)]).await, ErrorKind::LeaseLost, "was recovered by another");
    let generation = namespace.begin_recovery(chunk.chunk).await.unwrap();
    assert!(namespace.commit_recovery(chunk.chunk, generation, 9, ids(&[1])).await.unwrap());
    assert_eq!(append("/amid").await.unwrap().length, 9);

    assert_eq!(writer.complete(&other, 0, vec![]).await.unwrap(), Completion::Closed);
    fixture.check().await;
}

/// A renewal that arrives between the asking and the taking saves the file.
#[tokio::test]
async fn who_was_heard_of_keeps_the_file() {
    let fixture = Fixture::new(1).await;
    let namespace = &fixture.namespace;
    let writer = fixture.other().await;
    let file = writer.create("/f").await;
    let found = held(namespace.truncate(fixture.call(), at("/f"), 0).await);
    namespace.renew_session(writer.session).await.unwrap();
    assert!(!namespace.take_from_silent(found.clone()).await.unwrap());
    let again = held(namespace.append(fixture.call(), at("/f")).await);
    assert_eq!(Held { renewal: found.renewal, ..again.clone() }, found);
    assert!(again.renewal > found.renewal);
    assert_eq!(writer.complete(&file, 0, vec![]).await.unwrap(), Completion::Closed);
    assert!(!namespace.take_from_silent(again).await.unwrap(), "it is closed");
    fixture.check().await;
}
