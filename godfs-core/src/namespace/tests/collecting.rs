//! The collector.

use super::*;

#[tokio::test]
async fn chunks_stay_until_they_are_collected_and_become_garbage() {
    let fixture = Fixture::new(2).await;
    let chunks = fixture.file("/f", 2 * CHUNK, &[1, 2]).await;
    let inode = fixture.stat("/f").await.unwrap().inode;
    let before = fixture.namespace.store().version().await.unwrap();
    fixture.delete("/f", false).await.unwrap();
    assert_eq!(fixture.usage("/").await, Usage::default());
    // A reader that knows the inode still finds the chunks.
    let range = LocateRange { offset: 0, length: u64::MAX, chunks: 10 };
    let located = fixture.namespace.locate(FileRef::Inode(inode), range).await.unwrap();
    assert_eq!(located.chunks.len(), 2);
    assert_eq!(fixture.namespace.path_of(inode).await.unwrap(), None);
    fixture.check().await;
    let early = fixture.namespace.collect(before, None).await.unwrap();
    assert_eq!(early, Collected::default(), "it was deleted after that");

    assert_eq!(fixture.collect().await, (1, 2));
    refused(fixture.namespace.stat(FileRef::Inode(inode)).await, ErrorKind::NotFound, "inode");
    for node in [1, 2] {
        let garbage = fixture.namespace.garbage(NodeId(node), ChunkId(0), 10).await.unwrap();
        assert_eq!(garbage.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>(), [chunks[0].chunk, chunks[1].chunk]);
        for (chunk, generation) in garbage {
            fixture.namespace.confirm_deleted(NodeId(node), chunk, generation).await.unwrap();
        }
    }
    let totals = fixture.namespace.totals().await.unwrap();
    assert_eq!((totals.chunks, totals.garbage, totals.owed), (0, 0, 0));
    fixture.check().await;
}

#[tokio::test]
async fn a_large_tree_goes_in_bounded_steps() {
    let fixture = Fixture::new(1).await;
    let mut files = 0;
    for directory in ["/t", "/t/a", "/t/a/b", "/t/a/b/c", "/t/z"] {
        fixture.mkdir(directory).await;
        for file in 0..300 {
            fixture.put(&format!("{directory}/f{file}"), b"x").await;
            files += 1;
        }
    }
    // A directory that is older than the one above it lies in front of it among the orphans.
    fixture.mkdir("/old/inner").await;
    fixture.put("/old/inner/f", b"x").await;
    fixture.mkdir("/young").await;
    fixture.rename("/old", "/young/old", false).await.unwrap();
    fixture.rename("/young", "/t/young", false).await.unwrap();
    fixture.file("/t/a/b/big", 1_500 * CHUNK, &[1]).await;
    fixture.delete("/t", true).await.unwrap();
    fixture.put("/kept", b"x").await;
    assert_eq!(fixture.usage("/").await.files, 1);
    fixture.check().await;
    let upto = fixture.namespace.store().version().await.unwrap();
    let step = fixture.namespace.collect(upto, None).await.unwrap();
    assert!(step.next.is_some() && step.inodes < 1_000, "{step:?}");
    assert_eq!(step.gone.len() as u64, step.chunks);
    // The place that it gave back is lost.
    let (inodes, chunks) = fixture.collect().await;
    assert_eq!((inodes + step.inodes, chunks + step.chunks), (files + 1 + 1 + 5 + 3, 1_500));
    fixture.check().await;
    assert_eq!(fixture.names("/").await, ["kept"]);
}
