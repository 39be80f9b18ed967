//! Quotas: what fits, what does not, and what goes with a directory.

use super::*;

impl Fixture {
    async fn quota(&self, path: &str, names: Option<u64>, space: Option<u64>) {
        self.namespace.set_quota(self.call(), at(path), Quota { names, space }).await.unwrap();
    }

    async fn store(&self, path: &str, data: &'static [u8], overwrite: bool) -> Result<()> {
        let options = CreateOptions { overwrite, ..Default::default() };
        self.namespace.put(self.call(), at(path), options, Bytes::from_static(data)).await.map(drop)
    }
}

#[tokio::test]
async fn names_fit_or_do_not() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/q/sub").await;
    fixture.quota("/q", Some(3), None).await;
    fixture.put("/q/sub/a", b"1").await;
    fixture.put("/q/b", b"1").await;
    let refusal = "/q may hold 3 names and has 3 of them: 1 more do not fit";
    refused(fixture.store("/q/sub/c", b"1", false).await, ErrorKind::QuotaExceeded, refusal);
    let options = MkdirOptions { parents: true, ..Default::default() };
    let made = fixture.namespace.mkdir(fixture.call(), at("/q/x/y"), options).await;
    refused(made, ErrorKind::QuotaExceeded, refusal);
    assert!(fixture.stat("/q/x").await.is_err(), "nothing is left of what was refused");
    let created = fixture.namespace.create(fixture.call(), at("/q/c"), CreateOptions::default()).await;
    refused(created, ErrorKind::QuotaExceeded, refusal);
    // What replaces, and what moves within, adds nothing.
    fixture.store("/q/b", b"22", true).await.unwrap();
    fixture.rename("/q/b", "/q/sub/b", false).await.unwrap();
    // What comes from outside does, with all that lies below it.
    fixture.mkdir("/out/in").await;
    refused(fixture.rename("/out", "/q/out", false).await, ErrorKind::QuotaExceeded, "2 more do not fit");
    fixture.delete("/q/sub/a", false).await.unwrap();
    refused(fixture.rename("/out", "/q/out", false).await, ErrorKind::QuotaExceeded, "2 more do not fit");
    fixture.rename("/out/in", "/q/in", false).await.unwrap();
    fixture.check().await;
    // Below what is in use a limit keeps a directory from growing, and from nothing else.
    fixture.quota("/q", Some(1), None).await;
    fixture.rename("/q/in", "/q/sub/in", false).await.unwrap();
    fixture.delete("/q/sub/in", false).await.unwrap();
    fixture.quota("/q", None, None).await;
    fixture.put("/q/sub/c", b"1").await;
    fixture.check().await;
}

#[tokio::test]
async fn bytes_count_with_their_replicas_and_open_chunks_whole() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/q").await;
    fixture.quota("/q", None, Some(32)).await;
    fixture.put("/q/small", b"0123456789").await;
    refused(fixture.store("/q/more", b"1", false).await, ErrorKind::QuotaExceeded, "bytes");
    fixture.delete("/q/small", false).await.unwrap();

    fixture.quota("/q", None, Some(3 * CHUNK + 20)).await;
    // The first writer's chunk is reserved whole; the second one gets none until it is known how much of it was needed.
    let first = fixture.create("/q/first").await;
    let second = fixture.create("/q/second").await;
    let chunk = fixture.add_chunk(&first, 0, vec![], &[1, 2, 3]).await.unwrap();
    assert_eq!(fixture.usage("/q").await, Usage { bytes: 0, files: 2, directories: 0, space: 3 * CHUNK });
    refused(fixture.add_chunk(&second, 0, vec![], &[1, 2, 3]).await, ErrorKind::QuotaExceeded, "/q may hold");
    fixture.check().await;
    assert_eq!(fixture.complete(&first, 8, vec![commit(&chunk, 8)]).await.unwrap(), Completion::Closed);
    assert_eq!(fixture.usage("/q").await.space, 24);
    refused(fixture.add_chunk(&second, 0, vec![], &[1, 2, 3]).await, ErrorKind::QuotaExceeded, "/q may hold");
    let path = at("/q/second");
    fixture.namespace.set_replication(fixture.call(), path.clone(), 1).await.unwrap();
    let chunk = fixture.add_chunk(&second, 0, vec![], &[1]).await.unwrap();
    fixture.check().await;
    // More replicas are more bytes; a refusal leaves the chunks as they were.
    let more = fixture.namespace.set_replication(fixture.call(), path, 4).await;
    refused(more, ErrorKind::QuotaExceeded, "/q may hold");
    assert_eq!(fixture.namespace.chunk(chunk.chunk).await.unwrap().unwrap().target, 1);
    let with_chunk = |publish_on_close| {
        let options = CreateOptions { publish_on_close, ..Default::default() };
        fixture.namespace.create_with_chunk(fixture.call(), at("/q/third"), options, ids(&[1, 2, 3]))
    };
    refused(with_chunk(false).await, ErrorKind::QuotaExceeded, "/q may hold");
    refused(with_chunk(true).await, ErrorKind::QuotaExceeded, "/q may hold");
    fixture.check().await;
    // A chunk that is taken back gives its room back.
    fixture.namespace.abandon_chunk(fixture.writing(&second), chunk.chunk).await.unwrap();
    assert_eq!(fixture.usage("/q").await.space, 24);
    fixture.check().await;
}

#[tokio::test]
async fn a_quota_goes_with_its_directory() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/a/b").await;
    fixture.quota("/a", Some(5), Some(7)).await;
    fixture.quota("/a/b", Some(0), None).await;
    refused(fixture.store("/a/b/x", b"", false).await, ErrorKind::QuotaExceeded, "/a/b may hold 0 names and has 0");
    fixture.rename("/a", "/z", false).await.unwrap();
    refused(fixture.store("/z/b/x", b"", false).await, ErrorKind::QuotaExceeded, "/z/b may hold 0 names");
    assert_eq!(fixture.namespace.quota(at("/z")).await.unwrap(), Quota { names: Some(5), space: Some(7) });
    fixture.delete("/z", true).await.unwrap();
    fixture.check().await;
    fixture.collect().await;
    fixture.check().await;
    fixture.mkdir("/z/b").await;
    fixture.put("/z/b/x", b"").await;
    assert_eq!(fixture.namespace.quota(at("/z")).await.unwrap(), Quota::default());
}

#[tokio::test]
async fn only_the_superuser_sets_quotas_and_only_on_directories() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/d").await;
    fixture.put("/f", b"").await;
    let quota = Quota { names: Some(1), space: None };
    let eve = fixture.namespace.by(Caller::new("eve", ["users"]).unwrap());
    let set = eve.set_quota(fixture.call(), at("/d"), quota).await;
    refused(set, ErrorKind::PermissionDenied, "user eve lacks superuser for setting a quota");
    refused(fixture.namespace.set_quota(fixture.call(), at("/f"), quota).await, ErrorKind::NotADirectory, "/f");
    refused(fixture.namespace.set_quota(fixture.call(), at("/x"), quota).await, ErrorKind::NotFound, "/x");
    // Repeated, it does not act again.
    let call = fixture.call();
    fixture.namespace.set_quota(call, at("/d"), quota).await.unwrap();
    fixture.quota("/d", None, Some(9)).await;
    let other = Call { slot: 1, ..call };
    fixture.namespace.set_quota(other, at("/d"), quota).await.unwrap();
    fixture.quota("/d", None, Some(9)).await;
    fixture.namespace.set_quota(other, at("/d"), quota).await.unwrap();
    assert_eq!(fixture.namespace.quota(at("/d")).await.unwrap(), Quota { names: None, space: Some(9) });
}

/// Two who set one limit each at the same time both get what they asked for.
#[tokio::test]
async fn a_limit_that_is_not_given_stays() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/d").await;
    let give = async |names, space| {
        let change = QuotaChange::Given(Quota { names, space });
        fixture.namespace.set_quota(fixture.call(), at("/d"), change).await.unwrap();
        fixture.namespace.quota(at("/d")).await.unwrap()
    };
    assert_eq!(give(Some(5), None).await, Quota { names: Some(5), space: None });
    assert_eq!(give(None, Some(7)).await, Quota { names: Some(5), space: Some(7) });
    assert_eq!(give(None, None).await, Quota { names: Some(5), space: Some(7) });
    fixture.quota("/d", None, Some(7)).await;
    assert_eq!(fixture.namespace.quota(at("/d")).await.unwrap(), Quota { names: None, space: Some(7) });
    fixture.check().await;
}

#[tokio::test]
async fn what_replaces_weighs_the_difference() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/q/a").await;
    fixture.mkdir("/q/b").await;
    fixture.put("/q/a/f", b"12345").await;
    fixture.put("/q/b/g", b"123").await;
    fixture.quota("/q", Some(2), Some(10)).await;
    fixture.quota("/q/b", Some(0), Some(5)).await;
    // All of it is over the limits already, and stays as large as it is, or becomes smaller.
    fixture.store("/q/b/g", b"abc", true).await.unwrap();
    fixture.store("/q/b/g", b"ab", true).await.unwrap();
    refused(fixture.store("/q/b/g", b"abc", true).await, ErrorKind::QuotaExceeded, "3 more do not fit");
    fixture.quota("/q/b", Some(0), Some(100)).await;
    fixture.rename("/q/a/f", "/q/b/g", true).await.unwrap();
    fixture.check().await;
    // Joined files are one name less.
    fixture.file("/x", 2 * CHUNK, &[1, 2, 3]).await;
    fixture.file("/y", CHUNK, &[1, 2, 3]).await;
    fixture.mkdir("/c").await;
    fixture.rename("/x", "/c/x", false).await.unwrap();
    fixture.rename("/y", "/c/y", false).await.unwrap();
    fixture.quota("/c", Some(1), Some(1)).await;
    fixture.namespace.concat(fixture.call(), at("/c/x"), vec![at("/c/y")]).await.unwrap();
    // From elsewhere they are more bytes.
    fixture.file("/y", CHUNK, &[1, 2, 3]).await;
    let joined = fixture.namespace.concat(fixture.call(), at("/c/x"), vec![at("/y")]).await;
    refused(joined, ErrorKind::QuotaExceeded, "/c may hold 1 bytes of replicas");
    assert_eq!(fixture.stat("/y").await.unwrap().length, CHUNK);
    fixture.namespace.truncate(fixture.call(), at("/c/x"), 2 * CHUNK).await.unwrap();
    assert_eq!(fixture.usage("/c").await.space, 6 * CHUNK);
    fixture.check().await;
}

#[tokio::test]
async fn exchanges_and_links_are_charged() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/q/small").await;
    fixture.mkdir("/large/1/2").await;
    fixture.quota("/q", Some(2), None).await;
    let exchanged = fixture.namespace.exchange(fixture.call(), at("/large"), at("/q/small")).await;
    refused(exchanged, ErrorKind::QuotaExceeded, "/q may hold 2 names and has 1 of them: 2 more do not fit");
    let link = |path: &str| Symlink { path: at(path), target: "x".into() };
    fixture.namespace.symlink(fixture.call(), link("/q/l")).await.unwrap();
    let more = fixture.namespace.symlink(fixture.call(), link("/q/m")).await;
    refused(more, ErrorKind::QuotaExceeded, "1 more do not fit");
    fixture.check().await;
}

#[tokio::test]
async fn a_file_that_is_published_later_is_charged_then() {
    let fixture = Fixture::new(1).await;
    fixture.mkdir("/q").await;
    fixture.quota("/q", Some(1), Some(4 * CHUNK)).await;
    let options = CreateOptions { publish_on_close: true, ..Default::default() };
    let hidden = async |path: &str| fixture.namespace.create(fixture.call(), at(path), options.clone()).await;
    let (first, second) = (hidden("/q/a").await.unwrap(), hidden("/q/b").await.unwrap());
    let chunk = fixture.add_chunk(&first, 0, vec![], &[1]).await.unwrap();
    // Two chunks do not fit, whoever else comes: its writer hears at once.
    let more = fixture.add_chunk(&first, CHUNK, vec![commit(&chunk, CHUNK)], &[1]).await;
    refused(more, ErrorKind::QuotaExceeded, "/q may hold 262144 bytes of replicas and has 0 of them");
    assert_eq!(fixture.complete(&first, 7, vec![commit(&chunk, 7)]).await.unwrap(), Completion::Closed);
    let late = fixture.complete(&second, 0, vec![]).await;
    refused(late, ErrorKind::QuotaExceeded, "/q may hold 1 names and has 1 of them");
    refused(hidden("/q/c").await, ErrorKind::QuotaExceeded, "1 more do not fit");
    fixture.namespace.abandon(fixture.writing(&second)).await.unwrap();
    assert_eq!(fixture.names("/q").await, ["a"]);
    fixture.check().await;
}

#[tokio::test]
async fn appends_and_flushes_are_charged() {
    let fixture = Fixture::new(3).await;
    fixture.mkdir("/q").await;
    fixture.file("/q/f", CHUNK + 10, &[1, 2, 3]).await;
    fixture.put("/q/s", b"12").await;
    let used = fixture.usage("/q").await.space;
    fixture.quota("/q", None, Some(used + 5)).await;
    // The rest of the last chunk does not fit.
    let appended = fixture.namespace.append(fixture.call(), at("/q/f")).await.unwrap();
    let writing = Writing { call: fixture.call(), inode: appended.inode, lease: appended.lease };
    let reopened = fixture.namespace.reopen_chunk(writing, ids(&[1, 2, 3])).await;
    refused(reopened, ErrorKind::QuotaExceeded, "/q may hold");
    let small = fixture.namespace.append(fixture.call(), at("/q/s")).await.unwrap();
    let writing = || Writing { call: fixture.call(), inode: small.inode, lease: small.lease };
    fixture.namespace.store_small(writing(), Bytes::from_static(b"123")).await.unwrap();
    let flushed = fixture.namespace.store_small(writing(), Bytes::from_static(b"1234")).await;
    refused(flushed, ErrorKind::QuotaExceeded, "/q may hold");
    assert_eq!(fixture.usage("/q").await.space, used + 3);
    // A writer that is gone keeps no more than it has.
    fixture.quota("/q", None, Some(used + 3 * CHUNK)).await;
    let writing = Writing { call: fixture.call(), inode: appended.inode, lease: appended.lease };
    fixture.namespace.reopen_chunk(writing, ids(&[1, 2, 3])).await.unwrap();
    assert_eq!(fixture.usage("/q").await.space, used + 3 + 3 * (CHUNK - 10));
    fixture.namespace.end_session(fixture.session).await.unwrap();
    fixture.check().await;
    let lease = fixture.namespace.leases(RECOVERY_SESSION, LeaseId(0), 10).await.unwrap();
    let plan = fixture.namespace.recovery_plan(lease[0].inode).await.unwrap().unwrap();
    let chunk = plan.chunks[0].chunk;
    let generation = fixture.namespace.begin_recovery(chunk).await.unwrap();
    assert!(fixture.namespace.commit_recovery(chunk, generation, 12, ids(&[1, 2, 3])).await.unwrap());
    assert_eq!(fixture.usage("/q").await.space, used + 3 + 3 * 2);
    fixture.check().await;
}
