//! What an operation costs in rows: the shape that its speed depends on.

use super::*;
use crate::metadata::{Counters, Range, Row, Space, Stamped};

/// Counts what a body asks of its transaction.
struct Counting<'t> {
    inner: &'t mut dyn Transaction,
    reads: usize,
    scans: usize,
    writes: usize,
    adds: usize,
}

impl Snapshot for Counting<'_> {
    fn get(&mut self, space: Space, key: &[u8]) -> Step<Option<Bytes>> {
        self.reads += 1;
        self.inner.get(space, key)
    }

    fn scan(&mut self, space: Space, range: &Range) -> Step<Vec<Row>> {
        self.scans += 1;
        self.inner.scan(space, range)
    }
}

impl Transaction for Counting<'_> {
    fn put(&mut self, space: Space, key: Stamped, value: Stamped) {
        self.writes += 1;
        self.inner.put(space, key, value);
    }

    fn delete(&mut self, space: Space, key: &[u8]) {
        self.writes += 1;
        self.inner.delete(space, key);
    }

    fn add(&mut self, space: Space, key: &[u8], delta: Counters) {
        self.adds += 1;
        self.inner.add(space, key, delta);
    }

    fn announce(&mut self, change: Bytes) {
        self.inner.announce(change);
    }
}

/// (reads, scans, writes, adds) of one body.
async fn cost<T: Send + 'static>(
    fixture: &Fixture,
    mut body: impl FnMut(&mut dyn Transaction, &Context) -> Step<T> + Send + 'static,
) -> (usize, usize, usize, usize) {
    let counted = fixture.namespace.commit(move |txn, context| {
        let mut counting = Counting { inner: txn, reads: 0, scans: 0, writes: 0, adds: 0 };
        body(&mut counting, context)?;
        Ok((counting.reads, counting.scans, counting.writes, counting.adds))
    });
    counted.await.unwrap()
}

/// Directories below directories are taken one after another without looking for the next: each look passes all that was deleted of late.
#[tokio::test]
async fn a_deep_tree_is_collected_without_a_search() {
    let fixture = Fixture::new(0).await;
    const DEPTH: usize = 60;
    fixture.mkdir(&"/d".repeat(DEPTH)).await;
    fixture.delete("/d", true).await.unwrap();
    let upto = fixture.namespace.store().version().await.unwrap();
    let (_, scans, ..) = cost(&fixture, move |txn, _| {
        let step = collector::step(txn, upto, None)?;
        assert_eq!((step.inodes, step.next), (DEPTH as u64, None));
        Ok(())
    })
    .await;
    // Of each its entries, and whether it is empty; and the first and the last search.
    assert_eq!(scans, 2 * DEPTH + 2);
    fixture.check().await;
}

/// Each directory on the way counts what lies below it: the sums are made first, so that the cost does not grow with the square of the names.
#[tokio::test]
async fn a_deep_path_is_made_with_one_sum_for_each_directory() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/a/b").await;
    let cost = async |path: String| {
        let (call, options) = (fixture.call(), MkdirOptions { parents: true, ..Default::default() });
        cost(&fixture, move |txn, context| directories::mkdir(txn, context, call, &at(&path), &options)).await
    };
    let (_, scans, writes, adds) = cost(format!("/a/b{}", "/c".repeat(20))).await;
    let (_, more_scans, more_writes, more_adds) = cost(format!("/a/b{}", "/d".repeat(40))).await;
    assert_eq!((scans, more_scans), (0, 0));
    // Of each directory its entry, its row (as new, as not empty, as reaching to the last), the next number, and the sum of what is below it, to
    // which the last one adds.
    assert_eq!((more_writes - writes, more_adds - adds), (20 * 5, 20 * 2));
    let usage = fixture.usage("/a").await;
    assert_eq!((usage.directories, usage.files), (61, 0));
    assert_eq!(fixture.usage(&format!("/a/b{}", "/d".repeat(30))).await.directories, 10);
    fixture.check().await;
}

#[tokio::test]
async fn frequent_operations_touch_few_rows() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/a/b").await;
    let call = fixture.call();
    // Session, slot, next id, three names, the directory twice, whether there are quotas; and the same again written, less the session, with inode and lease.
    let create =
        cost(&fixture, move |txn, context| files::create(txn, context, call, &at("/a/b/f"), &CreateOptions::default()));
    assert_eq!(create.await, (9, 0, 7, 4));
    let call = fixture.call();
    let put = cost(&fixture, move |txn, context| {
        files::put(txn, context, call, &at("/a/b/g"), &CreateOptions::default(), &Bytes::from_static(b"x"))
    });
    assert_eq!(put.await, (9, 0, 6, 3));
    let stat = cost(&fixture, |txn, context| reads::stat(txn, context, &FileRef::Path(at("/a/b/f"))));
    assert_eq!(stat.await, (4, 0, 0, 0));
    // Of others also each directory above, and the list of one that has one.
    let mut other = fixture.other().await;
    other.namespace = fixture.namespace.by(Caller::new("other", ["others"]).unwrap());
    fixture.mkdir("/1/2/3/4/5").await;
    fixture.put("/1/2/3/4/5/6", b"x").await;
    let deep = || {
        move |txn: &mut dyn Transaction, context: &Context| {
            reads::stat(txn, context, &FileRef::Path(at("/1/2/3/4/5/6")))
        }
    };
    assert_eq!(cost(&fixture, deep()).await, (7, 0, 0, 0));
    assert_eq!(cost(&other, deep()).await, (13, 0, 0, 0));
    let change = AclChange::Modify(parse_acl("user:other:--x").unwrap());
    fixture.namespace.set_acl(fixture.call(), at("/1/2/3"), change).await.unwrap();
    assert_eq!(cost(&other, deep()).await, (14, 0, 0, 0));
    let call = fixture.call();
    let rename = cost(&fixture, move |txn, context| {
        names::rename(txn, context, call, &Rename::new(at("/a/b/f"), at("/a/b/h"), false))
    });
    assert_eq!(rename.await, (10, 0, 5, 0));
    let call = fixture.call();
    let delete = cost(&fixture, move |txn, context| deletes::delete(txn, context, call, &at("/a/b/g"), false));
    assert_eq!(delete.await, (7, 0, 5, 3));
    // With a quota somewhere, also each directory's limits, and what those that have some use.
    fixture.namespace.set_quota(fixture.call(), at("/a"), Quota { names: Some(100), space: None }).await.unwrap();
    let call = fixture.call();
    let create =
        cost(&fixture, move |txn, context| files::create(txn, context, call, &at("/a/b/f"), &CreateOptions::default()));
    assert_eq!(create.await, (13, 0, 7, 4));
}
