//! Stores of objects over daemons: what the authors of `object_store` expect, also while datanodes die; races of many processes; writers that are killed in the
//! middle of an upload. Other processes are this test binary again, in a role.

#[macro_use]
#[path = "../../../integrations/object_store/tests/upstream/suite.rs"]
mod suite;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use godfs_client::{FileKind, WalkOptions};
use godfs_object_store::GodfsStore;
use object_store_014::path::Path;
use object_store_014::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, UpdateVersion};

use crate::harness::{Daemons, noise, now, number, wait_for};

/// What another process of this binary is to do: set for those alone.
const ROLE: &str = "GODFS_OBJECTS_ROLE";
/// The cluster that it does it in.
const URL: &str = "GODFS_OBJECTS_URL";
const RACERS: usize = 16;

macro_rules! all_of {
    ($version:ident: $($name:ident),* $(,)?) => {
        /// Each function in a folder of its own, all of them at once.
        async fn $version(url: &str, folder: &str) {
            let mut functions = tokio::task::JoinSet::new();
            $(
                let store = GodfsStore::from_url(&format!("{url}/{folder}/{}/{}", stringify!($version), stringify!($name))).expect("done");
                functions.spawn(async move {
                    suite::$version::$name(&store).await;
                    suite::nothing_is_left_below(&store).await;
                });
            )*
            functions.join_all().await;
        }
    };
}

every_function!(all_of);

#[tokio::test(flavor = "multi_thread")]
async fn stores_do_what_is_expected_of_them() {
    let cluster = Daemons::start(3);
    let url = cluster.url();
    tokio::join!(v0_13(&url, "a"), v0_14(&url, "a"));
}

/// Datanodes are killed and started again, one after another, until every function has passed so often.
#[tokio::test(flavor = "multi_thread")]
async fn soak_stores_do_so_while_datanodes_die() {
    let rounds = number("GODFS_ROUNDS", 1).min(20);
    let mut cluster = Daemons::start(4);
    let url = cluster.url();
    let done = Arc::new(AtomicBool::new(false));
    let killer = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut kills = 0;
            while !done.load(Ordering::Acquire) {
                let victim = kills % 4;
                cluster.kill_datanode(victim);
                std::thread::sleep(Duration::from_millis(700));
                cluster.start_datanode(victim);
                cluster.wait_live(4);
                kills += 1;
            }
            (cluster, kills)
        }
    });
    for round in 0..rounds {
        let folder = format!("round-{round}");
        tokio::join!(v0_13(&url, &folder), v0_14(&url, &folder));
    }
    done.store(true, Ordering::Release);
    let (cluster, kills) = killer.join().expect("done");
    assert!(kills > 0, "nobody died");
    cluster.wait_until_whole();
}

/// Another process, which is told what to do line by line and answers so.
struct Other {
    child: Child,
    tell: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Other {
    fn start(role: &str, url: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("done"));
        command.args(["objects::another_process", "--exact", "--nocapture", "--test-threads", "1"]);
        command.env(ROLE, role).env(URL, url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("done");
        let (tell, said) = (child.stdin.take().expect("done"), BufReader::new(child.stdout.take().expect("done")));
        Self { child, tell, said }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.tell, "{line}").expect("done");
    }

    /// What it says next; the harness of its test says other things.
    fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).expect("done") > 0, "the other process has ended");
            // The harness begins a line that ours then ends.
            if let Some((_, said)) = line.trim_end().split_once("> ") {
                return said.to_owned();
            }
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: &str) {
    println!("> {line}");
    std::io::stdout().flush().expect("done");
}

/// Does nothing unless it is the test binary in a role.
#[tokio::test]
async fn another_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let store = GodfsStore::from_url(&std::env::var(URL).expect("done")).expect("done");
    match role.as_str() {
        "racer" => race(&store).await,
        "uploader" => upload(&store).await,
        _ => panic!("no role {role}"),
    }
}

/// For each line `KEY ETAG`: makes the object `KEY`, and puts itself in the place of that state of `cell`.
async fn race(store: &GodfsStore) {
    let me = std::process::id().to_string();
    say("ready");
    for line in std::io::stdin().lines() {
        let line = line.expect("done");
        let (key, etag) = line.split_once(' ').expect("done");
        let created = store.put_opts(&Path::from(key), me.clone().into(), PutMode::Create.into()).await;
        let created = match created {
            Ok(_) => "won",
            Err(Error::AlreadyExists { .. }) => "lost",
            Err(error) => panic!("{key}: {error}"),
        };
        let version = UpdateVersion { e_tag: Some(etag.to_owned()), version: None };
        let updated = store.put_opts(&Path::from("cell"), me.clone().into(), PutMode::Update(version).into()).await;
        let updated = match updated {
            Ok(result) => result.e_tag.expect("done"),
            Err(Error::Precondition { .. }) => "lost".to_owned(),
            Err(error) => panic!("cell: {error}"),
        };
        say(&format!("{created} {updated}"));
    }
}

/// `GODFS_ROUNDS` times fifty rounds, or 200.
#[tokio::test(flavor = "multi_thread")]
async fn soak_one_of_sixteen_processes_wins() {
    let rounds = std::env::var("GODFS_ROUNDS").map_or(200, |rounds| 50 * rounds.parse::<usize>().expect("done"));
    let cluster = Daemons::start(3);
    let url = format!("{}/race", cluster.url());
    let store = GodfsStore::from_url(&url).expect("done");
    let mut etag = store.put(&Path::from("cell"), "nobody".into()).await.expect("done").e_tag.expect("done");
    let mut racers: Vec<Other> = (0..RACERS).map(|_| Other::start("racer", &url)).collect();
    racers.iter_mut().for_each(|racer| assert_eq!(racer.hear(), "ready"));
    for round in 0..rounds {
        let key = format!("round/{round}");
        racers.iter_mut().for_each(|racer| racer.tell(&format!("{key} {etag}")));
        let answers: Vec<String> = racers.iter_mut().map(Other::hear).collect();
        let said: Vec<(&str, &str)> = answers.iter().map(|answer| answer.split_once(' ').expect("done")).collect();
        let pid = |at: usize| racers[at].child.id().to_string();
        let makers: Vec<_> = (0..RACERS).filter(|at| said[*at].0 == "won").map(pid).collect();
        let updaters: Vec<_> = (0..RACERS).filter(|at| said[*at].1 != "lost").collect();
        assert_eq!((makers.len(), updaters.len()), (1, 1), "round {round}: {answers:?}");
        let made = store.get(&Path::from(key.as_str())).await.expect("done").bytes().await.expect("done");
        assert_eq!(made, makers[0].as_bytes(), "round {round}: the winner's bytes");
        let cell = store.get(&Path::from("cell")).await.expect("done");
        etag = said[updaters[0]].1.to_owned();
        assert_eq!(cell.meta.e_tag.as_deref(), Some(etag.as_str()), "round {round}");
        assert_eq!(cell.bytes().await.expect("done"), pid(updaters[0]).as_bytes(), "round {round}: the winner's bytes");
    }
}

/// Parts of an upload, bytes each.
const PARTS: usize = 3;
const PART_BYTES: usize = 300 << 10;

/// Uploads the object that it is told of, and says before each step that it is about to take it.
async fn upload(store: &GodfsStore) {
    say("ready");
    let mut key = String::new();
    std::io::stdin().read_line(&mut key).expect("done");
    let key = Path::from(key.trim());
    say("begin");
    let mut upload = store.put_multipart(&key).await.expect("done");
    for part in 0..PARTS {
        say("part");
        upload.put_part(noise(PART_BYTES, part as u64).into()).await.expect("done");
    }
    say("complete");
    upload.complete().await.expect("done");
    say("done");
}

/// At each step, at once and a little later: what is there is nothing, or the whole object.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_upload_leaves_nothing() {
    let cluster = Daemons::start(3);
    let url = format!("{}/uploads", cluster.url());
    let store = GodfsStore::from_url(&url).expect("done");
    let whole: Vec<u8> = (0..PARTS).flat_map(|part| noise(PART_BYTES, part as u64)).collect();
    let mut killed = BTreeMap::new();
    for steps in 1..=PARTS + 3 {
        for wait in [0, 5, 20] {
            let mut uploader = Other::start("uploader", &url);
            assert_eq!(uploader.hear(), "ready");
            let key = format!("{steps}/{wait}");
            uploader.tell(&key);
            let mut last = String::new();
            for _ in 0..steps {
                last = uploader.hear();
            }
            std::thread::sleep(Duration::from_millis(wait));
            drop(uploader);
            killed.insert(Path::from(key.as_str()), last);
        }
    }
    let mut there = 0;
    for (key, last) in &killed {
        match store.get(key).await {
            Ok(found) => {
                assert!(found.bytes().await.expect("done") == whole, "{key}, killed at {last}");
                there += 1;
            }
            Err(Error::NotFound { .. }) => assert_ne!(last, "done", "{key}"),
            Err(error) => panic!("{key}: {error}"),
        }
    }
    // How far one got before it died is chance; that some ended and some did not is not.
    assert!((3..killed.len()).contains(&there), "{there} of {killed:?} are there");
    // Files that were being written vanish with their writers' sessions.
    let client = store.client();
    let deadline = now() + crate::harness::PATIENCE;
    while !client.open_files().try_collect::<Vec<_>>().await.expect("done").is_empty() {
        assert!(now() < deadline, "files stay open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.collect_abandoned(Duration::ZERO).await.expect("done");
    let found: Vec<_> = client.walk("/", WalkOptions::new()).expect("done").try_collect().await.expect("done");
    let files = found.iter().filter(|(_, status)| status.kind == FileKind::File).count();
    assert_eq!(files, there, "{found:?}");
    assert!(!found.iter().any(|(path, _)| path.as_str().contains(godfs_object_store::UPLOADS)), "{found:?}");
    ObjectStore::delete_stream(&store, Box::pin(ObjectStore::list(&store, None).map_ok(|meta| meta.location)))
        .try_collect::<Vec<_>>()
        .await
        .expect("done");
    assert_eq!(
        client.walk("/uploads", WalkOptions::new()).expect("done").try_collect::<Vec<_>>().await.expect("done"),
        []
    );
    wait_for("no chunk is left", || {
        let report = cluster.report();
        if report["chunks"] == 0 { Ok(()) } else { Err(report.to_string()) }
    });
}
