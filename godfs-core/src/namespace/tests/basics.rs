//! Directories, files, reads, sessions.

use super::*;

#[tokio::test]
async fn a_file_goes_in_and_is_found() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/a/b").await;
    let created = fixture.create("/a/b/f").await;
    assert_eq!((created.replication, created.chunk_size), (3, CHUNK));

    let first = fixture.add_chunk(&created, 0, vec![], &[1, 2, 3]).await.unwrap();
    assert_eq!((first.generation, &first.nodes), (Generation(1), &ids(&[1, 2, 3])));
    // The next chunk may begin before the one before it is reported.
    let second = fixture.add_chunk(&created, CHUNK, vec![], &[2, 3, 1]).await.unwrap();
    let open = fixture.locate("/a/b/f").await;
    assert_eq!((open.status.length, open.status.open, open.chunks.len()), (0, true, 2));
    assert!(open.chunks.iter().all(|chunk| chunk.info.open && chunk.info.replicas.len() == 3));

    let commits = vec![commit(&first, CHUNK), commit(&second, 100)];
    assert_eq!(fixture.complete(&created, CHUNK + 100, commits).await.unwrap(), Completion::Closed);
    let closed = fixture.locate("/a/b/f").await;
    assert_eq!((closed.status.length, closed.status.open, closed.more), (CHUNK + 100, false, false));
    let lengths: Vec<_> = closed.chunks.iter().map(|chunk| (chunk.offset, chunk.info.length)).collect();
    assert_eq!(lengths, [(0, CHUNK), (CHUNK, 100)]);
    assert_eq!(closed.chunks[1].info.good().collect::<Vec<_>>(), ids(&[1, 2, 3]));

    let range = LocateRange { offset: CHUNK + 10, length: 5, chunks: 1 };
    let part = fixture.namespace.locate(FileRef::Inode(created.inode), range).await.unwrap();
    assert_eq!(part.chunks.iter().map(|chunk| chunk.offset).collect::<Vec<_>>(), [CHUNK]);
    let range = LocateRange { offset: 0, length: u64::MAX, chunks: 1 };
    assert!(fixture.namespace.locate(FileRef::Inode(created.inode), range).await.unwrap().more);

    let usage = Usage { bytes: CHUNK + 100, files: 1, directories: 1, space: 3 * (CHUNK + 100) };
    assert_eq!(fixture.usage("/a").await, usage);
    assert_eq!(fixture.namespace.totals().await.unwrap().chunks, 2);
    assert_eq!(fixture.namespace.path_of(created.inode).await.unwrap(), Some(at("/a/b/f")));
}
