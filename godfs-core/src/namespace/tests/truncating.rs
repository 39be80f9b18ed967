//! Making files shorter.

use super::*;

impl Fixture {
    async fn truncate(&self, path: &str, length: u64) -> Result<Truncated> {
        self.namespace.truncate(self.call(), at(path), length).await
    }
}

#[tokio::test]
async fn small_files_and_whole_chunks_go_at_once() {
    let fixture = Fixture::new(2).await;
    fixture.put("/small", b"12345").await;
    refused(fixture.truncate("/small", 6).await, ErrorKind::InvalidArgument, "/small has 5 bytes");
    for (length, left) in [(5, "12345"), (2, "12"), (0, "")] {
        assert_eq!(fixture.truncate("/small", length).await.unwrap().generation, Generation(0));
        assert_eq!(fixture.locate("/small").await.data, left);
        fixture.check().await;
    }
    fixture.mkdir("/d").await;
    refused(fixture.truncate("/d", 0).await, ErrorKind::IsADirectory, "/d");
    refused(fixture.truncate("/no", 0).await, ErrorKind::NotFound, "/no");
    fixture.create("/open").await;
    refused(fixture.truncate("/open", 0).await, ErrorKind::BeingWritten, "is being written");

    let chunks = fixture.file("/f", 3 * CHUNK + 1, &[1, 2]).await;
    let opened = fixture.locate("/f").await.status.inode;
    fixture.truncate("/f", 2 * CHUNK).await.unwrap();
    fixture.check().await;
    let status = fixture.stat("/f").await.unwrap();
    assert_eq!((status.inode, status.length, status.open), (opened, 2 * CHUNK, false));
    assert_eq!(fixture.usage("/").await.bytes, 2 * CHUNK);
    assert!(fixture.namespace.chunk(chunks[3].chunk).await.unwrap().is_some(), "readers may be at it");
    fixture.truncate("/f", 0).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.collect().await, (2, 4));
    assert_eq!(fixture.namespace.totals().await.unwrap().chunks, 0);
    // It is a file as any other.
    let file = fixture.namespace.append(fixture.call(), at("/f")).await.unwrap();
    assert_eq!((file.length, file.base), (0, 0));
}

#[tokio::test]
async fn a_chunk_is_cut_under_a_new_generation() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    let chunk = fixture.file("/f", 2 * CHUNK + 500, &[1, 2, 3]).await[1].chunk;
    let call = fixture.call();
    let truncated = namespace.truncate(call, at("/f"), CHUNK + 100).await.unwrap();
    assert_eq!(namespace.truncate(call, at("/f"), CHUNK + 100).await.unwrap(), truncated, "the first answer");
    assert_eq!(truncated.generation, Generation(1));
    fixture.check().await;

    // From now on nobody is told of more, and nobody writes.
    let located = fixture.locate("/f").await;
    assert_eq!((located.status.length, located.status.open), (CHUNK + 100, true));
    let info = &located.chunks[1].info;
    assert_eq!((info.open, info.length, info.generation), (false, 100, Generation(1)));
    assert_eq!(located.chunks.len(), 2);
    let range = LocateRange { offset: CHUNK + 100, length: 1, chunks: 1 };
    assert_eq!(namespace.locate(FileRef::Path(at("/f")), range).await.unwrap().chunks, []);
    refused(fixture.truncate("/f", 0).await, ErrorKind::BeingWritten, "being recovered");
    assert!(!namespace.recover_lease(fixture.call(), at("/f")).await.unwrap());

    let plan = namespace.recovery_plan(truncated.inode).await.unwrap().unwrap();
    assert!(plan.cut && plan.chunks[0].length == 100);
    let generation = namespace.begin_recovery(chunk).await.unwrap();
    for (length, nodes) in [(0, vec![]), (99, ids(&[1])), (101, ids(&[1]))] {
        let other = namespace.commit_recovery(chunk, generation, length, nodes).await;
        refused(other, ErrorKind::InvalidArgument, "100 are committed");
    }
    assert!(namespace.commit_recovery(chunk, generation, 100, ids(&[1, 2])).await.unwrap());
    fixture.check().await;
    let status = fixture.stat("/f").await.unwrap();
    assert_eq!((status.length, status.open), (CHUNK + 100, false));
    let garbage = namespace.garbage(NodeId(3), ChunkId(0), 10).await.unwrap();
    assert_eq!(garbage, [(chunk, Generation(1))], "what has the bytes still is stale");
    fixture.collect().await;
    fixture.check().await;
}

#[tokio::test]
async fn a_file_may_go_while_it_is_cut_and_is_not_cut_without_a_replica() {
    let fixture = Fixture::new(1).await;
    let namespace = &fixture.namespace;
    let chunk = fixture.file("/f", 500, &[1]).await[0].chunk;
    namespace.mark_corrupt(NodeId(1), chunk, Generation(1)).await.unwrap();
    refused(fixture.truncate("/f", 100).await, ErrorKind::Unavailable, "in which the new end lies");
    fixture.truncate("/f", 0).await.unwrap();
    fixture.file("/g", 500, &[1]).await;
    fixture.truncate("/g", 100).await.unwrap();
    fixture.delete("/g", false).await.unwrap();
    fixture.check().await;
    fixture.collect().await;
    fixture.check().await;
    assert_eq!(
        namespace.totals().await.unwrap(),
        TotalCounts { usage: Usage { files: 1, ..Default::default() }, garbage: 2, ..Default::default() }
    );
}

/// A truncation of very many chunks takes several transactions. What another call gives the name in between is not cut.
#[tokio::test]
async fn a_long_truncation_stays_with_its_file() {
    let fixture = Fixture::new(1).await;
    fixture.file("/f", 4_100 * CHUNK, &[1]).await;
    fixture.file("/other", 3 * CHUNK, &[1]).await;
    let (call, length) = (fixture.call(), CHUNK);
    let step = async |begun| {
        let step = move |txn: &mut dyn Transaction, context: &Context| {
            truncate::truncate(txn, context, call, &at("/f"), length, begun)
        };
        fixture.namespace.commit(step).await
    };
    let inode = fixture.stat("/f").await.unwrap().inode;
    assert_eq!(step(None).await.unwrap(), truncate::Outcome::More(inode));
    assert_eq!(fixture.stat("/f").await.unwrap().length, 4 * CHUNK);
    fixture.check().await;
    let other = fixture.other().await;
    other.rename("/f", "/g", false).await.unwrap();
    other.rename("/other", "/f", false).await.unwrap();
    refused(step(Some(inode)).await, ErrorKind::FailedPrecondition, "/f is another file now");
    assert_eq!(fixture.stat("/f").await.unwrap().length, 3 * CHUNK);
    // The whole of it, in one call.
    fixture.truncate("/g", CHUNK).await.unwrap();
    assert_eq!(fixture.stat("/g").await.unwrap().length, CHUNK);
    fixture.check().await;
}
