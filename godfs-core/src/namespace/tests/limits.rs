//! Limits by settings: of what is new, with what is there left alone.

use super::*;
use crate::path::{MAX_DEPTH, MAX_NAME_BYTES};

impl Fixture {
    /// The same store under other settings.
    fn limited(self, change: impl FnOnce(&mut NamespaceSettings)) -> Self {
        let mut settings = self.namespace.settings().clone();
        change(&mut settings);
        let namespace =
            Namespace::new(Arc::clone(self.namespace.store()), settings, self.namespace.env.clone()).unwrap();
        Self { namespace, ..self }
    }

    async fn make(&self, path: &str) -> Result<InodeId> {
        let options = MkdirOptions { parents: true, ..Default::default() };
        self.namespace.mkdir(self.call(), at(path), options).await
    }
}

const LIMIT: ErrorKind = ErrorKind::LimitExceeded;

/// A path that is allowed can have so much above it that is missing that one transaction does not hold it.
#[tokio::test]
async fn too_many_missing_directories_are_named_as_such() {
    let fixture = Fixture::new(0).await;
    let name = format!("/{}", "n".repeat(63));
    let refusal = fixture.make(&name.repeat(990)).await;
    refused(refusal, LIMIT, "989 directories are missing");
    assert_eq!(fixture.usage("/").await.directories, 0);
    for depth in [200, 300, 390] {
        fixture.make(&name.repeat(depth)).await.unwrap();
    }
    fixture.make(&"/s".repeat(990)).await.unwrap();
    fixture.check().await;
}

#[tokio::test]
async fn names_and_paths_are_as_long_as_settings_let_them() {
    let fixture = Fixture::new(0).await;
    fixture.mkdir("/a-long-name/1/2/3").await;
    fixture.put("/a-long-name/f", b"1").await;
    let fixture = fixture.limited(|settings| (settings.max_name_bytes, settings.max_depth) = (4, 3));
    refused(fixture.make("/12345/x").await, LIMIT, "/12345/x: a name of 5 bytes, the limit is 4 (max-name-bytes)");
    refused(fixture.make("/1/2/3/4").await, LIMIT, "/1/2/3/4: a path of 4 names, the limit is 3 (max-depth)");
    assert!(fixture.stat("/1").await.is_err(), "nothing is left of what was refused");
    fixture.mkdir("/1234/2/3").await;
    // What is there is used as before.
    fixture.mkdir("/a-long-name/1/2/3").await;
    fixture.put("/a-long-name/g", b"1").await;
    let options = CreateOptions { overwrite: true, ..Default::default() };
    let data = Bytes::from_static(b"22");
    fixture.namespace.put(fixture.call(), at("/a-long-name/f"), options, data).await.unwrap();
    // Other ways to a new name.
    refused(fixture.rename("/1234", "/12345", false).await, LIMIT, "/12345");
    let link = Symlink { path: at("/12345"), target: "/".into() };
    refused(fixture.namespace.symlink(fixture.call(), link).await, LIMIT, "max-name-bytes");
    let created = fixture.namespace.create(fixture.call(), at("/1234/12345"), CreateOptions::default()).await;
    refused(created, LIMIT, "max-name-bytes");
    // Names in the trash are the namenode's own.
    let item = fixture.namespace.trash(fixture.call(), at("/1234"), true).await.unwrap().unwrap();
    let restored = fixture.namespace.restore(fixture.call(), item, Some(at("/12345")), false).await;
    refused(restored, LIMIT, "max-name-bytes");

    let fixture = fixture.limited(|settings| settings.max_path_bytes = 6);
    fixture.mkdir("/12/45").await;
    refused(fixture.make("/12/4567").await, LIMIT, "/12/4567: a path of 8 bytes, the limit is 6 (max-path-bytes)");
    fixture.check().await;
}

#[tokio::test]
async fn a_directory_has_as_many_entries_as_settings_let_it() {
    let fixture = Fixture::new(0).await.limited(|settings| settings.max_directory_entries = 3);
    for path in ["/d/1/below/and/below", "/d/2", "/d/3", "/e"] {
        fixture.mkdir(path).await;
    }
    let full = "/d would have 4 entries, the limit is 3 (max-directory-entries)";
    refused(fixture.make("/d/4").await, LIMIT, full);
    refused(fixture.rename("/e", "/d/4", false).await, LIMIT, full);
    let link = Symlink { path: at("/d/4"), target: "/".into() };
    refused(fixture.namespace.symlink(fixture.call(), link).await, LIMIT, full);
    let put = |path: &str, overwrite| {
        let options = CreateOptions { overwrite, ..Default::default() };
        fixture.namespace.put(fixture.call(), at(path), options, Bytes::from_static(b"1"))
    };
    refused(put("/d/4", false).await, LIMIT, full);
    // What takes the place of another, or moves within, adds none.
    fixture.rename("/d/2", "/d/4", false).await.unwrap();
    fixture.rename("/e", "/d/4", true).await.unwrap();
    fixture.delete("/d/3", false).await.unwrap();
    put("/d/3", false).await.unwrap();
    put("/d/3", true).await.unwrap();
    fixture.put("/f", b"2").await;
    fixture.rename("/f", "/d/3", true).await.unwrap();
    // A file that is published later comes when there is room.
    let options = CreateOptions { publish_on_close: true, ..Default::default() };
    let hidden = fixture.namespace.create(fixture.call(), at("/d/5"), options).await.unwrap();
    refused(fixture.complete(&hidden, 0, vec![]).await, LIMIT, full);
    fixture.delete("/d/4", false).await.unwrap();
    fixture.complete(&hidden, 0, vec![]).await.unwrap();
    fixture.check().await;
    assert_eq!(fixture.names("/d").await, ["1", "3", "5"]);
}

#[tokio::test]
async fn a_file_has_as_many_chunks_as_settings_let_it() {
    let fixture = Fixture::new(3).await.limited(|settings| settings.max_file_chunks = 3);
    let nodes = [1, 2, 3];
    // Short ones in the middle count like others.
    fixture.file("/a", CHUNK + 1, &nodes).await;
    fixture.file("/b", 1, &nodes).await;
    fixture.file("/c", 1, &nodes).await;
    fixture.namespace.concat(fixture.call(), at("/a"), vec![at("/b")]).await.unwrap();
    let joined = fixture.namespace.concat(fixture.call(), at("/a"), vec![at("/c")]).await;
    refused(joined, LIMIT, "would have 4 chunks, the limit is 3 (max-file-chunks)");
    let created = fixture.create("/d").await;
    let mut commits = Vec::new();
    for start in 0..3 {
        let chunk = fixture.add_chunk(&created, start * CHUNK, std::mem::take(&mut commits), &nodes).await.unwrap();
        commits.push(commit(&chunk, CHUNK));
    }
    let more = fixture.add_chunk(&created, 3 * CHUNK, commits.clone(), &nodes).await;
    refused(more, LIMIT, "/d would have 4 chunks, the limit is 3 (max-file-chunks)");
    assert_eq!(fixture.complete(&created, 3 * CHUNK, commits).await.unwrap(), Completion::Closed);
    fixture.namespace.truncate(fixture.call(), at("/d"), CHUNK).await.unwrap();
    fixture.namespace.concat(fixture.call(), at("/d"), vec![at("/c")]).await.unwrap();
    fixture.check().await;
}

#[test]
fn settings_have_bounds() {
    let refuse = |change: fn(&mut NamespaceSettings), what: &str| {
        let mut settings = NamespaceSettings::default();
        change(&mut settings);
        refused(settings.check(), ErrorKind::InvalidArgument, what);
    };
    refuse(|settings| settings.max_name_bytes = 0, "max_name_bytes is 0, it must be 1 to 255");
    refuse(|settings| settings.max_name_bytes = MAX_NAME_BYTES + 1, "max_name_bytes is 256");
    refuse(|settings| settings.max_path_bytes = 1 << 20, "max_path_bytes is 1048576, it must be 1 to 65536");
    refuse(|settings| settings.max_depth = MAX_DEPTH + 1, "max_depth is 1001, it must be 1 to 1000");
    refuse(|settings| settings.max_directory_entries = u64::MAX, "max_directory_entries is");
    refuse(|settings| settings.max_file_chunks = MAX_FILE_CHUNKS + 1, "max_file_chunks is");
}

/// Moving a tree makes its paths longer without anything below it being looked at.
#[tokio::test]
async fn trees_grow_no_deeper_by_being_moved() {
    let fixture = Fixture::new(0).await.limited(|settings| settings.max_depth = 10);
    let rename = async |from: &str, to: &str| fixture.rename(from, to, false).await;
    fixture.mkdir("/a/2/3/4/5/6").await;
    fixture.mkdir("/b/2/3/4").await;
    refused(rename("/a", "/b/2/3/4/a").await, LIMIT, "paths of 11 names are beyond the limit of 10 (max-depth)");
    rename("/a", "/b/2/3/a").await.unwrap();
    refused(fixture.namespace.exchange(fixture.call(), at("/b/2"), at("/b/2x")).await, ErrorKind::NotFound, "/b/2x");
    fixture.mkdir("/c/2/3/4").await;
    refused(
        fixture.namespace.exchange(fixture.call(), at("/c/2/3/4"), at("/b")).await,
        LIMIT,
        "when /b becomes /c/2/3/4",
    );
    // Where nothing becomes deeper, all goes on.
    rename("/b", "/d").await.unwrap();
    rename("/d/2/3/a", "/d/2/a").await.unwrap();
    // What is gone is not held against the rest.
    fixture.delete("/d/2/a/2/3/4", true).await.unwrap();
    rename("/d/2/a", "/c/2/3/4/a").await.unwrap();
    fixture.check().await;
    // The trash is two names deeper, and takes all that does not pass what any path can have.
    fixture.mkdir("/e/2/3/4/5/6/7/8/9").await;
    fixture.namespace.trash(fixture.call(), at("/e"), true).await.unwrap();
    let fixture = fixture.limited(|settings| settings.max_depth = MAX_DEPTH);
    fixture.mkdir(&"/d".repeat(MAX_DEPTH - 1)).await;
    refused(fixture.namespace.trash(fixture.call(), at("/d"), true).await, LIMIT, "delete it for good");
    fixture.delete("/d", true).await.unwrap();
    fixture.check().await;
}

#[tokio::test]
async fn paths_grow_no_longer_by_being_moved() {
    let fixture = Fixture::new(0).await.limited(|settings| settings.max_path_bytes = 1_000);
    let long = |first: &str| format!("/{first}{}", format!("/{}", "n".repeat(49)).repeat(6));
    for top in ["a", "b"] {
        fixture.make(&long(top)).await.unwrap();
    }
    let (inner, third) = (format!("{}/a", long("b")), format!("{}/b", long("c")));
    fixture.rename("/a", &inner, false).await.unwrap();
    fixture.make(&long("c")).await.unwrap();
    refused(fixture.rename("/b", &third, false).await, LIMIT, "bytes are beyond the limit of 1000 (max-path-bytes)");
    // A name counts where it becomes longer, too.
    let longer = format!("/{}", "l".repeat(255));
    refused(fixture.rename("/b", &longer, false).await, LIMIT, "max-path-bytes");
    fixture.rename(&inner, "/a", false).await.unwrap();
    fixture.rename("/b", &longer, false).await.unwrap();
    fixture.check().await;
}
