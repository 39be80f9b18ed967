//! Sessions, and calls that are made twice.

use super::*;

#[tokio::test]
async fn a_repeated_call_gets_the_first_answer() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    let call = fixture.call();
    let create = || namespace.create(call, at("/f"), CreateOptions::default());
    let created = create().await.unwrap();
    assert_eq!(create().await.unwrap(), created, "not AlreadyExists");

    let writing = fixture.writing(&created);
    let request = AddChunk { nodes: ids(&[1, 2, 3]), ..Default::default() };
    let added = namespace.add_chunk(writing, request.clone()).await.unwrap();
    // Placement may have come to something else meanwhile.
    let request = AddChunk { nodes: ids(&[2, 3, 1]), ..request };
    assert_eq!(namespace.add_chunk(writing, request).await.unwrap(), added);

    let writing = fixture.writing(&created);
    let issued = namespace.issue_generation(writing, added.chunk).await.unwrap();
    assert_eq!(namespace.issue_generation(writing, added.chunk).await.unwrap(), issued);
    namespace.update_pipeline(fixture.writing(&created), added.chunk, issued, ids(&[1, 2])).await.unwrap();

    let writing = fixture.writing(&created);
    let commits = vec![ChunkCommit { chunk: added.chunk, generation: issued, length: 9, nodes: ids(&[1, 2]) }];
    let complete =
        || namespace.complete(writing, Complete { length: 9, commits: commits.clone(), ..Default::default() });
    let first = complete().await.unwrap();
    assert_eq!(complete().await.unwrap(), first, "not LeaseLost, and the version of the first");
    assert_eq!(fixture.stat("/f").await.unwrap().version, first.version);

    let call = fixture.call();
    for _ in 0..2 {
        let request = Rename::new(at("/f"), at("/g"), false);
        namespace.rename(call, request).await.unwrap();
    }
    // What happened in between is not undone.
    let (first, second) = (fixture.call(), Call { slot: 1, ..fixture.call() });
    namespace.set_mode(first, at("/g"), 0o600).await.unwrap();
    namespace.set_mode(second, at("/g"), 0o644).await.unwrap();
    namespace.set_mode(first, at("/g"), 0o600).await.unwrap();
    assert_eq!(fixture.stat("/g").await.unwrap().owner.mode, 0o644);
    let new = |user: &str| NewOwner { user: Some(user.into()), group: None };
    let (first, second) = (fixture.call(), Call { slot: 1, ..fixture.call() });
    namespace.set_owner(first, at("/g"), new("alice")).await.unwrap();
    namespace.set_owner(second, at("/g"), new("bob")).await.unwrap();
    namespace.set_owner(first, at("/g"), new("alice")).await.unwrap();
    assert_eq!(fixture.stat("/g").await.unwrap().owner.user, "bob");
    let call = fixture.call();
    for _ in 0..2 {
        namespace.delete(call, at("/g"), false).await.unwrap();
    }
    fixture.check().await;
}

/// With its first chunk a file is created once, too, whatever placement comes to the second time.
#[tokio::test]
async fn a_file_and_its_first_chunk_are_created_once() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    let call = fixture.call();
    let create =
        |call, path, nodes: &[u32]| namespace.create_with_chunk(call, at(path), CreateOptions::default(), ids(nodes));
    let first = create(call, "/f", &[3, 1, 2]).await.unwrap();
    let chunk = first.chunk.clone().unwrap();
    assert_eq!(chunk.nodes, ids(&[3, 1, 2]));
    assert_eq!(create(call, "/f", &[]).await.unwrap(), first);
    assert_eq!(create(call, "/f", &[1]).await.unwrap(), first);
    fixture.check().await;
    let more = fixture.add_chunk(&first.file, 0, vec![], &[1]).await;
    refused(more, ErrorKind::InvalidArgument, "the next chunk begins at");
    let commit = ChunkCommit { chunk: chunk.chunk, generation: chunk.generation, length: 9, nodes: ids(&[1, 2, 3]) };
    assert_eq!(fixture.complete(&first.file, 9, vec![commit]).await.unwrap(), Completion::Closed);
    fixture.check().await;

    // Without a node there is a file, and no chunk yet.
    let call = fixture.call();
    let bare = create(call, "/g", &[]).await.unwrap();
    assert_eq!(bare.chunk, None);
    assert_eq!(create(call, "/g", &[1, 2, 3]).await.unwrap(), bare);
    fixture.add_chunk(&bare.file, 0, vec![], &[1]).await.unwrap();
    // An abandoned one is collected, and of a refused call nothing remains.
    let left = create(fixture.call(), "/h", &[1, 2]).await.unwrap();
    namespace.abandon(fixture.writing(&left.file)).await.unwrap();
    refused(create(fixture.call(), "/i", &[9]).await, ErrorKind::InvalidArgument, "is not registered");
    assert!(fixture.stat("/i").await.is_err());
    fixture.check().await;
}

#[tokio::test]
async fn the_first_answer_outlives_the_namenode() {
    let fixture = Fixture::new(0).await;
    let call = fixture.call();
    let created = fixture.namespace.create(call, at("/f"), CreateOptions::default()).await.unwrap();
    let store = Arc::clone(fixture.namespace.store());
    let second = Namespace::new(store, fixture.namespace.settings().clone(), Env::system()).unwrap();
    assert_eq!(second.create(call, at("/f"), CreateOptions::default()).await.unwrap(), created);
}

#[tokio::test]
async fn sequences_are_checked() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    let first = fixture.call();
    namespace.delete(first, at("/no"), false).await.unwrap_err();
    // A refusal is not recorded: the sequence may be used again, or passed over.
    namespace.mkdir(first, at("/a"), MkdirOptions::default()).await.unwrap();
    let later = Call { sequence: 5, ..first };
    namespace.mkdir(later, at("/b"), MkdirOptions::default()).await.unwrap();
    let refusal = namespace.mkdir(first, at("/c"), MkdirOptions::default()).await;
    refused(refusal, ErrorKind::FailedPrecondition, "sequence 1 was used");
    refused(namespace.delete(later, at("/b"), false).await, ErrorKind::FailedPrecondition, "sequence 5 was used");
    let other_slot = Call { slot: 1, ..first };
    namespace.mkdir(other_slot, at("/c"), MkdirOptions::default()).await.unwrap();
    let zero = Call { slot: 2, sequence: 0, ..first };
    refused(namespace.delete(zero, at("/b"), false).await, ErrorKind::FailedPrecondition, "sequence 0");
    fixture.check().await;
}

#[tokio::test]
async fn an_ended_session_calls_no_more() {
    let fixture = Fixture::new(1).await;
    let namespace = &fixture.namespace;
    fixture.create("/closed").await;
    let open = fixture.create("/open").await;
    fixture.add_chunk(&open, 0, vec![], &[1]).await.unwrap();
    let options = CreateOptions { publish_on_close: true, ..Default::default() };
    namespace.create(fixture.call(), at("/hidden"), options).await.unwrap();

    namespace.end_session(fixture.session).await.unwrap();
    namespace.end_session(fixture.session).await.unwrap();
    refused(namespace.renew_session(fixture.session).await, ErrorKind::SessionLost, "open a new one");
    refused(fixture.delete("/open", false).await, ErrorKind::SessionLost, "open a new one");
    refused(namespace.renew_session(RECOVERY_SESSION).await, ErrorKind::SessionLost, "session 0");
    assert!(!fixture.stat("/closed").await.unwrap().open);
    assert!(fixture.stat("/open").await.unwrap().open);
    assert_eq!(fixture.names("/").await, ["closed", "open"]);
    let waiting = namespace.leases(RECOVERY_SESSION, LeaseId(0), 10).await.unwrap();
    assert_eq!(waiting.iter().map(|lease| lease.inode).collect::<Vec<_>>(), [open.inode]);
    assert_eq!(namespace.sessions(SessionId(0), 10).await.unwrap(), []);
    fixture.check().await;
}

#[tokio::test]
async fn only_a_session_that_was_not_renewed_expires() {
    let fixture = Fixture::new(0).await;
    let namespace = &fixture.namespace;
    let seen = namespace.sessions(SessionId(0), 10).await.unwrap()[0].version;
    namespace.renew_session(fixture.session).await.unwrap();
    assert!(!namespace.expire_session(fixture.session, seen).await.unwrap());
    let seen = namespace.sessions(SessionId(0), 10).await.unwrap()[0].version;
    // Calls alone do not renew: the session's row does not change.
    fixture.put("/f", b"").await;
    assert!(namespace.expire_session(fixture.session, seen).await.unwrap());
    refused(namespace.renew_session(fixture.session).await, ErrorKind::SessionLost, "unknown or has ended");
    fixture.check().await;
}

#[tokio::test]
async fn of_two_creators_one_wins() {
    let fixture = Fixture::new(0).await;
    let other = fixture.other().await;
    let create = |by: &Fixture| fixture.namespace.create(by.call(), at("/f"), CreateOptions::default());
    let (first, second) = tokio::join!(create(&fixture), create(&other));
    assert!(first.is_ok() != second.is_ok());
    refused(first.and(second), ErrorKind::AlreadyExists, "/f exists already");
}
