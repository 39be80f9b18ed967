//! Every mutating call, made again after the namenode has started again.

use std::fmt::Debug;

use super::*;
use crate::io::DiskIo;
use crate::metadata::{FjallOptions, FjallStore, Range, Row, Space};
use crate::namespace::outcome::Operation;

/// What one operation finds: a directory of its own, with a bit of everything.
struct Place {
    folder: DfsPath,
    /// Open, without a chunk.
    pen: Created,
    /// Open, with a chunk, for which a generation was issued.
    chunked: Created,
    chunk: AddedChunk,
    issued: Generation,
    /// Open, with a chunk whose pipeline stands.
    pipelined: Created,
    joined: ChunkId,
    /// Opened again, whose last chunk is not full.
    appended: Appended,
    /// In the trash.
    item: DfsPath,
}

impl Place {
    async fn new(fixture: &Fixture, operation: Operation) -> Self {
        let folder = format!("/{operation:?}");
        let path = |name: &str| format!("{folder}/{name}");
        fixture.mkdir(&path("directory")).await;
        fixture.put(&path("file"), b"some bytes").await;
        let xattr = SetXattr { name: "user.old".into(), value: Bytes::from_static(b"x"), mode: XattrMode::Create };
        fixture.namespace.set_xattr(fixture.call(), at(&path("file")), xattr).await.unwrap();
        for name in ["large", "more", "again"] {
            fixture.file(&path(name), CHUNK + 10, &[1, 2, 3]).await;
        }
        fixture.mkdir(&path("parts")).await;
        for name in ["parts/one", "parts/two"] {
            fixture.file(&path(name), CHUNK + 10, &[1, 2, 3]).await;
        }
        let appended = fixture.namespace.append(fixture.call(), at(&path("again"))).await.unwrap();
        let (pen, chunked) = (fixture.create(&path("pen")).await, fixture.create(&path("chunked")).await);
        let chunk = fixture.add_chunk(&chunked, 0, vec![], &[1, 2, 3]).await.unwrap();
        let issued = fixture.namespace.issue_generation(fixture.writing(&chunked), chunk.chunk).await.unwrap();
        let pipelined = fixture.create(&path("pipelined")).await;
        let joined = fixture.add_chunk(&pipelined, 0, vec![], &[1, 2, 3]).await.unwrap().chunk;
        fixture.put(&path("trashed"), b"").await;
        let item = fixture.namespace.trash(fixture.call(), at(&path("trashed")), false).await.unwrap().unwrap();
        Self { folder: at(&folder), pen, chunked, chunk, issued, pipelined, joined, appended, item }
    }

    /// Makes the call. No `_` here: an operation without its own line is one that nobody has tried to repeat.
    async fn make(&self, namespace: &Namespace, operation: Operation, call: Call) -> Result<String> {
        let path = |name: &str| at(&format!("{}/{name}", self.folder));
        let on = |file: &Created| Writing { call, inode: file.inode, lease: file.lease };
        let (file, chunk) = (path("file"), self.chunk.chunk);
        let data = Bytes::from_static(b"other");
        match operation {
            Operation::Mkdir => shown(namespace.mkdir(call, path("made"), MkdirOptions::default()).await),
            Operation::Create => shown(namespace.create(call, path("made"), CreateOptions::default()).await),
            Operation::Put => shown(namespace.put(call, path("made"), CreateOptions::default(), data).await),
            Operation::AddChunk => {
                let request = AddChunk { nodes: ids(&[1, 2, 3]), ..Default::default() };
                shown(namespace.add_chunk(on(&self.pen), request).await)
            }
            Operation::AbandonChunk => shown(namespace.abandon_chunk(on(&self.chunked), chunk).await),
            Operation::IssueGeneration => shown(namespace.issue_generation(on(&self.chunked), chunk).await),
            Operation::UpdatePipeline => {
                let (writing, nodes) = (on(&self.chunked), ids(&[1, 2]));
                shown(namespace.update_pipeline(writing, chunk, self.issued, nodes).await)
            }
            Operation::AddNode => {
                let (writing, generation) = (on(&self.pipelined), Generation(1));
                shown(namespace.add_node(writing, self.joined, generation, Some(NodeId(4))).await)
            }
            Operation::StoreSmall => shown(namespace.store_small(on(&self.pen), data).await),
            Operation::Complete => {
                let commit = ChunkCommit { chunk, generation: self.issued, length: 7, nodes: ids(&[1, 2, 3]) };
                let request = Complete { length: 7, commits: vec![commit], ..Default::default() };
                shown(namespace.complete(on(&self.chunked), request).await)
            }
            Operation::Abandon => shown(namespace.abandon(on(&self.chunked)).await),
            Operation::RecoverLease => shown(namespace.recover_lease(call, path("chunked")).await),
            Operation::Rename => {
                let request = Rename::new(file, path("made"), false);
                shown(namespace.rename(call, request).await)
            }
            Operation::Compose => {
                let (directory, parts) = (path("parts"), vec!["one".to_owned(), "two".to_owned()]);
                let options = CreateOptions { overwrite: true, ..Default::default() };
                shown(namespace.compose(call, Compose { directory, parts, target: file, options }).await)
            }
            Operation::Unlink => {
                shown(namespace.unlink(call, Unlink { path: path("parts/one"), root: self.folder.clone() }).await)
            }
            Operation::Delete => shown(namespace.delete(call, path("directory"), false).await),
            Operation::SetReplication => shown(namespace.set_replication(call, path("large"), 2).await),
            Operation::SetTimes => {
                let times = Times { modified_ms: Some(7), ..Default::default() };
                shown(namespace.set_times(call, file, times).await)
            }
            Operation::Exchange => shown(namespace.exchange(call, file, path("directory")).await),
            Operation::Symlink => {
                shown(namespace.symlink(call, Symlink { path: path("made"), target: "file".into() }).await)
            }
            Operation::Append => shown(namespace.append(call, path("large")).await),
            Operation::ReopenChunk => {
                let writing = Writing { call, inode: self.appended.inode, lease: self.appended.lease };
                shown(namespace.reopen_chunk(writing, ids(&[1, 2, 3])).await)
            }
            Operation::Truncate => shown(namespace.truncate(call, path("large"), 5).await),
            Operation::Concat => shown(namespace.concat(call, path("large"), vec![path("more")]).await),
            Operation::SetOwner => {
                let new = NewOwner { user: Some("alice".into()), group: None };
                shown(namespace.set_owner(call, file, new).await)
            }
            Operation::SetMode => shown(namespace.set_mode(call, file, 0o600).await),
            Operation::SetXattr => {
                let request = SetXattr { name: "user.new".into(), value: data, mode: XattrMode::Create };
                shown(namespace.set_xattr(call, file, request).await)
            }
            Operation::RemoveXattr => shown(namespace.remove_xattr(call, file, "user.old".into()).await),
            Operation::SetAcl => {
                let change = AclChange::Modify(parse_acl("user:bob:rwx").unwrap());
                shown(namespace.set_acl(call, file, change).await)
            }
            Operation::Trash => shown(namespace.trash(call, file, false).await),
            Operation::RestoreTrash => shown(namespace.restore(call, self.item.clone(), None, false).await),
            Operation::SetQuota => {
                let quota = Quota { names: Some(100), space: None };
                shown(namespace.set_quota(call, path("directory"), quota).await)
            }
        }
    }
}

fn shown<T: Debug>(answer: Result<T>) -> Result<String> {
    Ok(format!("{:?}", answer?))
}

/// All rows, as they are.
pub(super) async fn rows(store: &Arc<dyn MetadataStore>) -> Vec<Row> {
    let all =
        Range { start: std::ops::Bound::Unbounded, end: std::ops::Bound::Unbounded, reverse: false, limit: 1 << 20 };
    let read = store.view(move |snapshot| {
        let mut rows = Vec::new();
        for space in Space::ALL {
            rows.append(&mut snapshot.scan(space, &all)?);
        }
        Ok(rows)
    });
    read.await.unwrap()
}

#[tokio::test]
async fn every_call_may_be_made_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (path, io, env) = (folder.path().join("s"), Arc::new(DiskIo), Env::system());
    let store = FjallStore::create(&path, FjallOptions::default(), io.clone(), &env).await.unwrap();
    let fixture = Fixture::over(Arc::new(store), 4).await;
    let mut calls = Vec::new();
    for (slot, &operation) in (1..).zip(Operation::ALL) {
        let place = Place::new(&fixture, operation).await;
        let call = Call { session: fixture.session, slot, sequence: 7 };
        let first = place.make(&fixture.namespace, operation, call).await.unwrap();
        calls.push((operation, place, call, first));
    }
    fixture.check().await;
    fixture.namespace.store().close().await.unwrap();

    let store: Arc<dyn MetadataStore> =
        Arc::new(FjallStore::open(&path, FjallOptions::default(), io, &env).await.unwrap());
    let namespace = Namespace::new(Arc::clone(&store), fixture.namespace.settings().clone(), env).unwrap();
    let (before, version) = (rows(&store).await, store.version().await.unwrap());
    let others = Operation::ALL.iter().cycle().skip(1);
    for ((operation, place, call, first), &other) in calls.iter().zip(others) {
        let again = place.make(&namespace, *operation, *call).await.unwrap();
        assert_eq!(again, *first, "{operation:?} made again");
        let older = Call { sequence: call.sequence - 1, ..*call };
        refused(place.make(&namespace, *operation, older).await, ErrorKind::FailedPrecondition, "sequence 6 was used");
        refused(place.make(&namespace, other, *call).await, ErrorKind::FailedPrecondition, "sequence 7 was used");
    }
    assert_eq!(store.version().await.unwrap(), version);
    assert!(rows(&store).await == before, "a call that was made again changed something");
    store.close().await.unwrap();
}
