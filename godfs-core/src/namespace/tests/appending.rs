//! Writing on at the end of closed files.

use super::*;

impl Fixture {
    async fn append(&self, path: &str) -> Result<Appended> {
        self.namespace.append(self.call(), at(path)).await
    }

    async fn reopen(&self, file: &Appended, live: &[u32]) -> Result<AddedChunk> {
        self.namespace.reopen_chunk(self.writing(&created(file)), ids(live)).await
    }
}

/// The file as [`Fixture`] takes it.
fn created(file: &Appended) -> Created {
    let Appended { inode, lease, replication, chunk_size, .. } = *file;
    Created { inode, lease, replication, chunk_size }
}

#[tokio::test]
async fn the_last_chunk_is_opened_again_under_a_new_generation() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    let chunks = fixture.file("/f", CHUNK + 100, &[1, 2, 3]).await;
    let call = fixture.call();
    let file = namespace.append(call, at("/f")).await.unwrap();
    assert_eq!(namespace.append(call, at("/f")).await.unwrap(), file, "the first answer");
    assert_eq!((file.length, file.base), (CHUNK + 100, CHUNK));
    refused(fixture.append("/f").await, ErrorKind::BeingWritten, "is being written by session");
    let next = fixture.add_chunk(&created(&file), CHUNK + 100, vec![], &[1]).await;
    refused(next, ErrorKind::InvalidArgument, "once the one before it is full");

    // Node 3 is not live.
    refused(fixture.reopen(&file, &[]).await, ErrorKind::Unavailable, "no datanode");
    let writing = fixture.writing(&created(&file));
    let reopened = namespace.reopen_chunk(writing, ids(&[1, 2])).await.unwrap();
    assert_eq!(namespace.reopen_chunk(writing, ids(&[1, 2])).await.unwrap(), reopened, "the first answer");
    assert_eq!((reopened.chunk, reopened.generation), (chunks[1].chunk, Generation(2)));
    fixture.check().await;

    // Readers find what was there, under the old generation until the pipeline stands.
    let status = fixture.stat("/f").await.unwrap();
    assert_eq!((status.length, status.open), (CHUNK + 100, true));
    assert_eq!(fixture.usage("/").await.bytes, CHUNK + 100);
    let range = LocateRange { offset: CHUNK + 100, length: u64::MAX, chunks: 10 };
    let located = namespace.locate(FileRef::Path(at("/f")), range).await.unwrap();
    let info = &located.chunks[0].info;
    assert_eq!((info.open, info.length, info.generation), (true, 100, Generation(1)), "where more will come");
    namespace
        .update_pipeline(fixture.writing(&created(&file)), reopened.chunk, Generation(2), ids(&[1, 2]))
        .await
        .unwrap();
    fixture.check().await;

    // What was there can be neither taken back nor made shorter.
    let back = namespace.abandon_chunk(fixture.writing(&created(&file)), reopened.chunk).await;
    refused(back, ErrorKind::FailedPrecondition, "can't be taken back");
    let short = fixture.complete(&created(&file), CHUNK + 99, vec![commit(&reopened, 99)]).await;
    refused(short, ErrorKind::InvalidArgument, "100 were there before");
    fixture.complete(&created(&file), CHUNK + 150, vec![commit(&reopened, 150)]).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.usage("/").await.bytes, CHUNK + 150);
    let garbage = namespace.garbage(NodeId(3), ChunkId(0), 10).await.unwrap();
    assert_eq!(garbage, [(reopened.chunk, Generation(1))], "what lacks the new generation is never merged");
    let stale = ReplicaEvent::Finalized(finalized(reopened.chunk, 1, 100));
    assert_eq!(namespace.replica_events(NodeId(3), vec![stale]).await.unwrap(), [Verdict::Garbage]);
}

#[tokio::test]
async fn a_full_chunk_stays_and_a_new_one_begins() {
    let fixture = Fixture::new(1).await;
    fixture.file("/f", 2 * CHUNK, &[1]).await;
    let file = fixture.append("/f").await.unwrap();
    assert_eq!((file.length, file.base), (2 * CHUNK, 2 * CHUNK));
    refused(fixture.reopen(&file, &[1]).await, ErrorKind::FailedPrecondition, "takes no more bytes");
    let chunk = fixture.add_chunk(&created(&file), 2 * CHUNK, vec![], &[1]).await.unwrap();
    fixture.check().await;
    fixture.complete(&created(&file), 2 * CHUNK + 1, vec![commit(&chunk, 1)]).await.unwrap();

    // Nothing is written: nothing changes.
    let file = fixture.append("/f").await.unwrap();
    fixture.complete(&created(&file), 2 * CHUNK + 1, vec![]).await.unwrap();
    assert_eq!(fixture.locate("/f").await.chunks[2].info.issued, Generation(1));
    fixture.check().await;
}

#[tokio::test]
async fn a_small_file_stays_small_or_outgrows() {
    let fixture = Fixture::new(1).await;
    fixture.put("/f", b"12345").await;
    let file = fixture.append("/f").await.unwrap();
    assert_eq!((file.length, file.base), (5, 0));
    refused(fixture.reopen(&file, &[1]).await, ErrorKind::FailedPrecondition, "takes no more bytes");
    let data = Bytes::from_static(b"1234567");
    let request = Complete { length: 7, data, ..Default::default() };
    fixture.namespace.complete(fixture.writing(&created(&file)), request).await.unwrap();
    assert_eq!(fixture.locate("/f").await.data, "1234567");
    fixture.check().await;

    let file = fixture.append("/f").await.unwrap();
    let chunk = fixture.add_chunk(&created(&file), 0, vec![], &[1]).await.unwrap();
    assert_eq!(fixture.locate("/f").await.data, "1234567", "until the chunk has them");
    let short = fixture.complete(&created(&file), 6, vec![commit(&chunk, 6)]).await;
    refused(short, ErrorKind::InvalidArgument, "7 were there before");
    fixture.complete(&created(&file), 5_000, vec![commit(&chunk, 5_000)]).await.unwrap();
    let located = fixture.locate("/f").await;
    assert_eq!((located.status.small, located.status.length), (false, 5_000));
    fixture.check().await;
}

#[tokio::test]
async fn a_dead_writer_leaves_at_least_what_was_there() {
    let fixture = Fixture::new(2).await;
    let namespace = &fixture.namespace;
    fixture.put("/small", b"12").await;
    fixture.file("/before", 100, &[1, 2]).await;
    fixture.file("/amid", 100, &[1, 2]).await;
    let dying = fixture.other().await;
    dying.append("/small").await.unwrap();
    dying.append("/before").await.unwrap();
    let file = dying.append("/amid").await.unwrap();
    let reopened = dying.reopen(&file, &[1, 2]).await.unwrap();
    namespace.end_session(dying.session).await.unwrap();
    fixture.check().await;
    for path in ["/small", "/before"] {
        assert!(!fixture.stat(path).await.unwrap().open, "{path}: no chunk was touched");
    }
    refused(fixture.append("/amid").await, ErrorKind::BeingWritten, "is being recovered");

    let plan = namespace.recovery_plan(file.inode).await.unwrap().unwrap();
    assert_eq!((plan.chunks[0].length, plan.chunks[0].generation), (100, Generation(1)));
    let generation = namespace.begin_recovery(reopened.chunk).await.unwrap();
    for (length, nodes) in [(0, vec![]), (99, ids(&[1]))] {
        let lost = namespace.commit_recovery(reopened.chunk, generation, length, nodes).await;
        refused(lost, ErrorKind::InvalidArgument, "100 are committed");
    }
    assert!(namespace.commit_recovery(reopened.chunk, generation, 100, ids(&[1])).await.unwrap());
    fixture.check().await;
    let status = fixture.stat("/amid").await.unwrap();
    assert_eq!((status.open, status.length), (false, 100));
    let good = fixture.locate("/amid").await.chunks[0].info.good().collect::<Vec<_>>();
    assert_eq!(good, ids(&[1]), "the other one has the old generation");
}

/// A copy for repair that was under way when the chunk was opened again ends as one more older replica.
#[tokio::test]
async fn a_copy_that_comes_late_is_left_out() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    fixture.file("/f", 100, &[1, 2]).await;
    let file = fixture.append("/f").await.unwrap();
    let reopened = fixture.reopen(&file, &[1, 2]).await.unwrap();
    let late = ReplicaEvent::Finalized(finalized(reopened.chunk, 1, 100));
    assert_eq!(namespace.replica_events(NodeId(3), vec![late]).await.unwrap(), [Verdict::Pending]);
    fixture.check().await;
    fixture.complete(&created(&file), 200, vec![commit(&reopened, 200)]).await.unwrap();
    assert_eq!(namespace.garbage(NodeId(3), ChunkId(0), 10).await.unwrap(), [(reopened.chunk, Generation(1))]);
    fixture.check().await;
}

#[tokio::test]
async fn a_file_is_deleted_under_its_appender() {
    let fixture = Fixture::new(1).await;
    fixture.file("/f", 100, &[1]).await;
    let file = fixture.append("/f").await.unwrap();
    let reopened = fixture.reopen(&file, &[1]).await.unwrap();
    fixture.delete("/f", false).await.unwrap();
    let late = fixture.complete(&created(&file), 200, vec![commit(&reopened, 200)]).await;
    refused(late, ErrorKind::LeaseLost, "deleted");
    assert_eq!(fixture.collect().await, (1, 1));
    fixture.check().await;
    let garbage = fixture.namespace.garbage(NodeId(1), ChunkId(0), 10).await.unwrap();
    assert_eq!(garbage, [(reopened.chunk, Generation(2))], "also what was reopened");
}

#[tokio::test]
async fn open_files_are_listed_to_superusers() {
    let fixture = Fixture::new(1).await;
    let namespace = &fixture.namespace;
    fixture.file("/f", 100, &[1]).await;
    fixture.file("/g", 100, &[1]).await;
    let first = fixture.create("/a").await;
    let hidden = CreateOptions { publish_on_close: true, ..Default::default() };
    let second = namespace.create(fixture.call(), at("/b"), hidden).await.unwrap();
    let third = fixture.append("/f").await.unwrap();
    let cut = namespace.truncate(fixture.call(), at("/g"), 50).await.unwrap();
    let all = namespace.open_files(LeaseId(0), 10).await.unwrap();
    let seen: Vec<_> = all.iter().map(|file| (file.inode, file.path.clone(), file.length, &*file.client)).collect();
    assert_eq!(
        seen,
        [
            (first.inode, Some(at("/a")), 0, "test"),
            (second.inode, None, 0, "test"),
            (third.inode, Some(at("/f")), 100, "test"),
            (cut.inode, Some(at("/g")), 50, ""),
        ]
    );
    assert_eq!(all[3].session, RECOVERY_SESSION);
    let page = namespace.open_files(all[0].lease, 2).await.unwrap();
    assert_eq!(page, all[1..3]);
    let stranger = namespace.by(Caller::new("stranger", [] as [String; 0]).unwrap());
    refused(stranger.open_files(LeaseId(0), 10).await, ErrorKind::PermissionDenied, "superuser");
}
