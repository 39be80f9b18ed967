//! Joining files without copying.

use super::*;

impl Fixture {
    async fn concat(&self, target: &str, sources: &[&str]) -> Result<()> {
        let sources = sources.iter().map(|path| at(path)).collect();
        self.namespace.concat(self.call(), at(target), sources).await
    }
}

#[tokio::test]
async fn chunks_change_their_file_and_the_sources_go() {
    let fixture = Fixture::new(3).await;
    let namespace = &fixture.namespace;
    fixture.mkdir("/d").await;
    let first = fixture.file("/f", CHUNK + 100, &[1, 2, 3]).await;
    let second = fixture.file("/d/g", 2 * CHUNK, &[1, 2, 3]).await;
    let third = fixture.file("/d/h", 50, &[1, 2, 3]).await;
    fixture.file("/d/empty", 0, &[]).await;
    namespace.set_replication(fixture.call(), at("/f"), 2).await.unwrap();
    let call = fixture.call();
    for _ in 0..2 {
        let sources = ["/d/g", "/d/empty", "/d/h"].map(at).to_vec();
        namespace.concat(call, at("/f"), sources).await.unwrap();
    }
    fixture.check().await;
    assert_eq!((fixture.names("/").await, fixture.names("/d").await), (vec!["d".into(), "f".into()], vec![]));
    let length = 3 * CHUNK + 150;
    assert_eq!(fixture.usage("/").await, Usage { bytes: length, files: 1, directories: 1, space: 2 * length });
    let located = fixture.locate("/f").await;
    let offsets: Vec<_> = located.chunks.iter().map(|chunk| (chunk.offset, chunk.info.chunk)).collect();
    assert_eq!(
        offsets,
        [
            (0, first[0].chunk),
            (CHUNK, first[1].chunk),
            (CHUNK + 100, second[0].chunk),
            (2 * CHUNK + 100, second[1].chunk),
            (3 * CHUNK + 100, third[0].chunk),
        ]
    );
    assert!(located.chunks.iter().all(|chunk| chunk.info.target == 2), "as many replicas as the target wants");
    let range = LocateRange { offset: CHUNK + 99, length: 2, chunks: 10 };
    let across = namespace.locate(FileRef::Path(at("/f")), range).await.unwrap();
    assert_eq!(across.chunks.iter().map(|chunk| chunk.offset).collect::<Vec<_>>(), [CHUNK, CHUNK + 100]);

    // It is written on from where its last chunk ends, and cut within a short one.
    let file = namespace.append(fixture.call(), at("/f")).await.unwrap();
    assert_eq!((file.length, file.base), (length, 3 * CHUNK + 100));
    let Appended { inode, lease, replication, chunk_size, .. } = file;
    let created = Created { inode, lease, replication, chunk_size };
    let last = namespace.reopen_chunk(fixture.writing(&created), ids(&[1, 2, 3])).await.unwrap();
    let next = fixture.add_chunk(&created, 4 * CHUNK + 100, vec![commit(&last, CHUNK)], &[1, 2]).await.unwrap();
    fixture.check().await;
    fixture.complete(&created, 4 * CHUNK + 101, vec![commit(&next, 1)]).await.unwrap();
    namespace.truncate(fixture.call(), at("/f"), CHUNK + 40).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.stat("/f").await.unwrap().length, CHUNK + 40);
    fixture.delete("/f", false).await.unwrap();
    fixture.collect().await;
    assert_eq!(namespace.totals().await.unwrap().chunks, 0);
    fixture.check().await;
}

#[tokio::test]
async fn what_cannot_be_joined_stays() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/d").await;
    for path in ["/f", "/g", "/h"] {
        fixture.file(path, 100, &[1]).await;
    }
    fixture.put("/small", b"1").await;
    fixture.create("/open").await;
    let options = CreateOptions { chunk_size: Some(2 * CHUNK), ..Default::default() };
    let other = fixture.namespace.create(fixture.call(), at("/other"), options).await.unwrap();
    fixture.complete(&other, 0, vec![]).await.unwrap();
    let before = fixture.namespace.totals().await.unwrap();
    for (target, sources, kind, why) in [
        ("/f", vec![], ErrorKind::InvalidArgument, "0 files"),
        ("/f", vec!["/g", "/f"], ErrorKind::InvalidArgument, "/f can't be joined to itself"),
        ("/f", vec!["/g", "/h", "/g"], ErrorKind::InvalidArgument, "/g is named twice"),
        ("/f", vec!["/g", "/no"], ErrorKind::NotFound, "/no"),
        ("/f", vec!["/g", "/d"], ErrorKind::IsADirectory, "/d"),
        ("/d", vec!["/g"], ErrorKind::IsADirectory, "/d"),
        ("/f", vec!["/g", "/small"], ErrorKind::FailedPrecondition, "/small is a small file"),
        ("/small", vec!["/g"], ErrorKind::FailedPrecondition, "/small is a small file"),
        ("/f", vec!["/open"], ErrorKind::BeingWritten, "/open is being written"),
        ("/open", vec!["/g"], ErrorKind::BeingWritten, "/open is being written"),
        ("/f", vec!["/g", "/other"], ErrorKind::InvalidArgument, "chunks of 131072 bytes"),
        ("/f", vec!["/g"; MAX_CONCAT_FILES + 1], ErrorKind::InvalidArgument, "1001 files"),
    ] {
        refused(fixture.concat(target, &sources).await, kind, why);
    }
    assert_eq!(fixture.namespace.totals().await.unwrap(), before);
    fixture.check().await;
    // An empty file may be the target.
    fixture.file("/empty", 0, &[]).await;
    fixture.concat("/empty", &["/g"]).await.unwrap();
    assert_eq!(fixture.stat("/empty").await.unwrap().length, 100);
    fixture.check().await;
}
