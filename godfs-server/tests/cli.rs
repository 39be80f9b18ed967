//! The command line against a running cluster, as its users and their scripts see it.
#![cfg(feature = "daemons")]

#[path = "cli/access.rs"]
mod access;
#[path = "cli/backup.rs"]
mod backup;
#[path = "cli/making.rs"]
mod making;
#[path = "cli/tails.rs"]
mod tails;
#[path = "cli/trees.rs"]
mod trees;
#[path = "cli/watching.rs"]
mod watching;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use godfs_server::Cluster;
use serde_json::Value;
use tempfile::TempDir;

/// A cluster and a local folder.
struct World {
    cluster: Cluster,
    local: TempDir,
}

/// What a run of `godfs` came to.
struct Ran {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::builder().datanodes(3).start().await.expect("a cluster");
        Self { cluster, local: tempfile::tempdir().expect("a folder") }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_godfs"));
        command.args(words).env("GODFS_FS", self.cluster.url()).current_dir(self.local.path()).stdin(Stdio::null());
        command
    }

    /// Runs `godfs` with the words of `line`.
    async fn run(&self, line: &str) -> Ran {
        self.run_with(line, b"").await
    }

    /// The same with something on stdin.
    async fn run_with(&self, line: &str, stdin: &[u8]) -> Ran {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = self.command(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let stdin = stdin.to_vec();
        // The cluster lives in this process: its runtime must not be blocked.
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("started");
            let mut pipe = child.stdin.take().expect("piped");
            // It need not read it all.
            let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
            let output = child.wait_with_output().expect("ended");
            writer.join().expect("written");
            Ran::from(output)
        })
        .await
        .expect("joined")
    }

    /// Runs what must succeed, and gives what it printed.
    async fn ok(&self, line: &str) -> String {
        let ran = self.run(line).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{line}");
        String::from_utf8(ran.stdout).expect("text")
    }

    async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(line).await).expect(line)
    }

    /// Runs what must fail.
    async fn fails(&self, line: &str, code: i32) -> String {
        let ran = self.run(line).await;
        assert_eq!(ran.code, code, "{line}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("godfs: "), "{line}: {}", ran.stderr);
        ran.stderr
    }

    fn write(&self, name: &str, data: impl AsRef<[u8]>) {
        fs::write(self.local.path().join(name), data).expect(name);
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.local.path().join(name)).expect(name)
    }

    fn names(&self, below: &str) -> Vec<String> {
        names(&self.local.path().join(below))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            // A signal has no code.
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("listed")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_and_out_unchanged() {
    let world = World::new().await;
    for (name, length) in [("empty", 0), ("small", 1_000), ("large", (3 << 20) + 17)] {
        let data = noise(length);
        world.write(name, &data);
        world.ok(&format!("put --chunk-size 1M {name} /{name}")).await;
        world.ok(&format!("get /{name} back-{name}")).await;
        assert!(world.read(&format!("back-{name}")) == data, "{name} came back changed");
        for line in [format!("cat /{name}"), format!("get /{name} -")] {
            assert!(world.run(&line).await.stdout == data, "{line}");
        }
        let stat = world.json(&format!("stat --json /{name}")).await;
        assert_eq!(stat["length"], length);
    }
    let piped = world.run_with("put - /piped", &noise(200_000)).await;
    assert_eq!((piped.code, piped.stderr.as_str()), (0, ""));
    assert!(world.run("cat /piped").await.stdout == noise(200_000));
    // Nothing but what was asked for.
    assert_eq!(world.ok("ls /").await, "empty\nlarge\npiped\nsmall\n");
    assert_eq!(world.names("."), ["back-empty", "back-large", "back-small", "empty", "large", "small"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_cp() {
    let world = World::new().await;
    world.write("a", "1");
    world.write("b", "2");
    world.ok("mkdir -p /d/e").await;
    world.ok("put a b /d").await;
    assert_eq!(world.ok("ls /d").await, "a\nb\ne\n");
    assert!(world.fails("put b /d/a", 4).await.contains("-f"));
    assert_eq!(world.ok("cat /d/a").await, "1");
    world.ok("put -f b /d/a").await;
    assert_eq!(world.ok("cat /d/a").await, "2");
    world.fails("put a b /none", 3).await;
    world.fails("put gone /x", 3).await;
    world.fails("get /d .", 5).await;
    world.fails("cp /d/a /d/b", 4).await;
    world.ok("cp /d/a /copy").await;
    assert_eq!(world.ok("cat /copy").await, "2");
    world.ok("cp -r /d /d2").await;
    world.fails("cp -r /d /d/e", 2).await;
    world.ok("get -r /d2 tree").await;
    assert_eq!(world.names("tree"), ["a", "b", "e"]);
    world.ok("put -r tree /d/e").await;
    assert_eq!(world.ok("ls -R /d/e").await, "/d/e/tree\n/d/e/tree/a\n/d/e/tree/b\n/d/e/tree/e\n");
    world.fails("mv /d/a /copy", 4).await;
    world.ok("mv -f /d/a /copy").await;
    world.ok("mv /copy /d/b /d/e").await;
    assert_eq!(world.ok("ls /d/e").await, "b\ncopy\ntree\n");
    world.fails("get /d/e/b a", 4).await;
    assert_eq!(world.read("a"), b"1");
    world.ok("get -f /d/e/b a").await;
    assert_eq!(world.read("a"), b"2");
    assert_eq!(world.names("."), ["a", "b", "tree"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_exit_codes() {
    let world = World::new().await;
    world.fails("cat /gone", 3).await;
    world.fails("mkdir /a/b", 3).await;
    world.ok("mkdir /a").await;
    world.fails("mkdir /a", 4).await;
    world.ok("mkdir -p /a").await;
    world.ok("touch /a/f").await;
    world.fails("rm /a", 5).await;
    world.fails("cat /a", 5).await;
    world.fails("ls /a/f/g", 5).await;
    world.fails("stat /a/../b", 2).await;
    world.ok("rm -f /gone").await;
    world.fails("rm /gone", 3).await;
    world.ok("setrep 2 /a/f").await;
    assert_eq!(world.json("--json stat /a/f").await["replication"], 2);
    // One that fails does not stop the others.
    let ran = world.run("stat /gone /a --json").await;
    assert_eq!(ran.code, 3);
    let error: Value = serde_json::from_str(&ran.stderr).expect("an error as JSON");
    assert_eq!(error["error"]["kind"], "not_found");
    let stat: Value = serde_json::from_slice(&ran.stdout).expect("a status as JSON");
    assert_eq!(stat["kind"], "directory");
    world.ok("rm -r --skip-trash /a").await;
    assert_eq!(world.ok("ls").await, "");
    assert_eq!(world.run("ls --fly").await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_scripts_rely_on() {
    let world = World::new().await;
    let data = noise(300_000);
    world.write("f", &data);
    world.ok("put --chunk-size 128K f /f").await;
    let located = world.json("locate --json /f").await;
    assert_eq!(located["length"], 300_000);
    let chunks = located["chunks"].as_array().expect("chunks");
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[2]["offset"], 262_144);
    for chunk in chunks {
        let replicas = chunk["replicas"].as_array().expect("replicas");
        assert!(replicas.len() >= 2, "{chunk}");
        assert!(replicas.iter().all(|replica| replica["live"] == true && replica["node"].is_u64()), "{chunk}");
    }
    let report = world.json("report --json").await;
    assert_eq!((&report["live_datanodes"], &report["dead_datanodes"]), (&3.into(), &0.into()));
    assert_eq!((&report["files"], &report["chunks"]), (&1.into(), &3.into()));
    assert_eq!(report["nodes"].as_array().expect("nodes").len(), 3);

    // Independent of the layout.
    world.ok("put --chunk-size 64K f /g").await;
    let sums = world.ok("checksum /f /g").await;
    let sum = format!("{:08x}", godfs_core::checksum::crc32c(&data));
    assert_eq!(sums, format!("{sum}  /f\n{sum}  /g\n"));

    let list = world.json("ls -R / --json").await;
    assert_eq!(list.as_array().expect("a list").len(), 2);
    assert_eq!(world.json("du -s --json /").await["bytes"], 600_000);
    assert!(world.json("df --json").await["capacity_bytes"].as_u64().expect("a number") > 0);
    for line in ["report -h", "locate /f", "df -h", "du -h /", "ls -lh", "stat /f"] {
        assert!(!world.ok(line).await.is_empty(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_leave_nothing_behind() {
    let world = World::new().await;
    let written = world.json("bench write --size 100K --count 5 --concurrency 2 --json").await;
    assert_eq!(
        (&written[0]["ops"], &written[0]["errors"], &written[0]["bytes"]),
        (&5.into(), &0.into(), &512_000.into())
    );
    assert_eq!(world.ok("ls /").await, "");
    let kept = world.json("bench write --size 100K --count 3 --keep --no-sync --json").await;
    let folder = kept[0]["path"].as_str().expect("a path");
    let read = world.json(&format!("bench read --path {folder} --count 7 --json")).await;
    assert_eq!((&read[0]["name"], &read[0]["ops"], &read[0]["bytes"]), (&"read".into(), &7.into(), &716_800.into()));
    assert!(world.ok(&format!("bench read --path {folder}/file-000000")).await.contains("read"));
    let read = world.json(&format!("bench read --path {folder} --api asyncread --size 50000 --json")).await;
    assert_eq!((&read[0]["name"], &read[0]["bytes"]), (&"read-asyncread".into(), &150_000.into()));
    for in_flight in [1, 40] {
        let line = format!("bench random --path {folder} --size 4096 --count 500 --in-flight {in_flight} --json");
        let random = world.json(&line).await;
        let row = &random[0];
        assert_eq!((&row["name"], &row["ops"], &row["errors"]), (&"random".into(), &500.into(), &0.into()), "{row}");
        assert_eq!(row["bytes"], 500 * 4_096);
    }
    world.fails(&format!("bench random --path {folder} --size 1M"), 3).await;
    assert_eq!(world.json(&format!("ls {folder} --json")).await.as_array().expect("a list").len(), 3);
    assert!(world.json("admin scrub --now --json /").await["corrupt"] == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_at_once_and_small_writes_are_measured() {
    let world = World::new().await;
    let rows = |figures: serde_json::Value| {
        let rows = figures.as_array().expect("rows").clone();
        assert!(rows.iter().all(|row| row["errors"] == 0 && row["bytes"].as_u64() > Some(0)), "{rows:?}");
        rows
    };
    for (line, name, synced) in [("--count 50", "hflush", false), ("--count 20 --size 70000 --sync", "hsync", true)] {
        let row = &rows(world.json(&format!("bench hflush {line} --json")).await)[0];
        assert_eq!((&row["name"], &row["synced"]), (&name.into(), &synced.into()), "{row}");
    }
    let line = "bench mixed --writers 3 --readers 4 --files 2 --size 2M --for 300ms --rounds 2 --local never --json";
    let mixed = rows(world.json(line).await);
    let names: Vec<_> = mixed.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["one-write", "one-read", "one", "mixed-write", "mixed-read", "mixed"]);
    for row in &mixed {
        let (least, most) = (row["least_bytes"].as_u64(), row["most_bytes"].as_u64());
        assert!(least.is_some() && least <= most && most <= row["bytes"].as_u64(), "{row}");
    }
    // Files that are written count whole; both kinds of streams count together.
    assert_eq!(mixed[3]["bytes"].as_u64().map(|bytes| bytes % (2 << 20)), Some(0));
    let sum = |from: usize| mixed[from]["bytes"].as_u64().zip(mixed[from + 1]["bytes"].as_u64());
    assert_eq!(sum(3).map(|(written, read)| written + read), mixed[5]["bytes"].as_u64());
    assert_eq!(world.ok("ls /").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_daemons_cost_is_counted_where_they_run_here() {
    let world = World::new().await;
    let row = world.json("bench write --size 4M --count 2 --keep --json").await[0].clone();
    let figure = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} in {row}"));
    // The daemons are this process, which is not the one that measures.
    assert!(figure("cpu_all_seconds") > figure("cpu_seconds"), "{row}");
    let gib = 8.0 / 1024.0;
    assert!((figure("cpu_all_per_gib") - figure("cpu_all_seconds") / gib).abs() < 1e-6, "{row}");
    assert!(figure("daemon_rss_max_bytes") > 1e6, "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_is_measured_without_a_cluster() {
    let world = World::new().await;
    let rows = world.json("--fs nowhere:1 bench raw --dir . --size 3000000 --json").await;
    let rows = rows.as_array().expect("rows");
    let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["tcp_crc", "relay3", "write3", "write3_sync", "log_append"]);
    let synced: Vec<_> = rows.iter().map(|row| row["synced"].as_bool()).collect();
    assert_eq!(synced, [None, Some(false), Some(false), Some(true), Some(true)]);
    for row in rows {
        assert_eq!((&row["bytes"], &row["errors"]), (&3_000_000.into(), &0.into()), "{row}");
        assert!(row["cpu_all_seconds"].as_f64() >= row["cpu_seconds"].as_f64(), "{row}");
        assert!(row["cpu_all_seconds"].as_f64() > Some(0.0) && row["p50_us"].as_u64() > Some(0), "{row}");
    }
    let some = world.ok("bench raw --dir . --size 1M --rows relay3").await;
    assert!(some.contains("relay3") && !some.contains("write3"), "{some}");
    assert_eq!(std::fs::read_dir(world.local.path()).expect("listed").count(), 0);
    world.fails("bench raw --dir missing --size 1M --rows write3", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_of_names_measure_each_phase() {
    let world = World::new().await;
    let phases = |figures: serde_json::Value| {
        let phases = figures.as_array().expect("phases").clone();
        assert!(phases.iter().all(|phase| phase["errors"] == 0 && phase["synced"] == true), "{phases:?}");
        phases.iter().map(|phase| format!("{} {}", phase["name"], phase["ops"])).collect::<Vec<_>>().join(", ")
    };
    let meta = world.json("bench meta --count 30 --per-dir 8 --concurrency 5 --json").await;
    assert_eq!(phases(meta), r#""create" 30, "stat" 30, "list" 30, "rename" 30, "delete" 30"#);
    let small = world.json("bench small --count 20 --size 5000 --json").await;
    assert_eq!(small[1]["bytes"], 100_000);
    assert_eq!(phases(small), r#""put" 20, "get" 20"#);
    assert_eq!(world.ok("ls /").await, "");
    let some = world.json("bench meta --count 3 --phases delete,stat --json").await;
    assert_eq!(phases(some), r#""create" 3, "stat" 3, "delete" 3"#);
    let kept = world.json("bench meta --count 3 --keep --json").await;
    assert_eq!(phases(kept.clone()), r#""create" 3, "stat" 3, "list" 3, "rename" 3, "rename-back" 3"#);
    let files = format!("ls {}/a/b/c/d00000 --json", kept[0]["path"].as_str().expect("a path"));
    assert_eq!(world.json(&files).await[2]["name"], "f00000002");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_reading_ends_it_quietly() {
    let world = World::new().await;
    world.write("f", noise(4 << 20));
    world.ok("put f /f").await;
    let mut child =
        world.command(&["cat", "/f"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("joined").expect("ended");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_put_leaves_nothing() {
    let world = World::new().await;
    let mut child = world
        .command(&["put", "-", "/half"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let writing = tokio::task::spawn_blocking(move || {
        // As soon as the pipe has taken all this, the put is in the midst of it.
        stdin.write_all(&noise(8 << 20)).expect("taken");
        stdin
    });
    let stdin = writing.await.expect("written");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    let output = tokio::time::timeout(
        Duration::from_secs(30),
        tokio::task::spawn_blocking(move || child.wait_with_output().expect("ended")),
    )
    .await
    .expect("it ends while stdin is open")
    .expect("joined");
    drop(stdin);
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(world.ok("ls /").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_named() {
    let world = World::new().await;
    // Nobody listens on port 1.
    let output = world.command(&["--fs", "godfs://127.0.0.1:1", "ls", "/"]).output().expect("ended");
    let ran = Ran::from(output);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("127.0.0.1:1"), "{}", ran.stderr);
    let output = world.command(&["ls", "/"]).env_remove("GODFS_FS").output().expect("ended");
    let ran = Ran::from(output);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("GODFS_FS"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_on_and_names_change_places() {
    let world = World::new().await;
    let data = noise(100_000);
    world.write("data", &data);
    world.ok("mkdir -p /models/v7").await;
    world.ok("put data /models/v7/big").await;
    world.ok("ln -s v7 /models/live").await;
    world.ok("ln -s ../../models/live/big /models/v7/same").await;
    assert!(world.run("cat /models/live/same").await.stdout == data, "through two links");
    assert_eq!(world.ok("readlink /models/live").await, "v7\n");
    assert_eq!(world.json("readlink --json /models/live").await["target"], "v7");
    assert!(world.ok("ls -l /models").await.contains(" live -> v7\n"));
    assert_eq!(world.ok("ls /models/live").await, "big\nsame\n");
    assert_eq!(world.ok("ls -R /models/live").await, "/models/live/big\n/models/live/same\n");
    assert_eq!(world.json("stat --json /models/live").await["kind"], "symlink");
    assert_eq!(world.json("stat -L --json /models/live").await["kind"], "directory");
    world.ok("get -r /models/v7 copy").await;
    assert!(world.read("copy/same") == data, "a link to a file is its bytes");
    world.ok("touch /models/live/new").await;
    world.ok("mv /models/live/new /models/v7/old").await;
    world.ok("setrep 2 /models/v7/same").await;
    assert_eq!(world.json("stat --json /models/v7/big").await["replication"], 2);

    // Links into a directory, links that end nowhere, loops, and links that are no symbolic ones.
    world.ok("mkdir /links").await;
    world.ok("ln -s /links/b /links/a").await;
    world.ok("ln -s a /links/b").await;
    let error = world.fails("cat /links/a", 5).await;
    assert!(error.contains("/links/") && error.contains("loop"), "{error}");
    world.ok("ln -s /nowhere /links").await;
    let error = world.fails("cat /links/nowhere", 3).await;
    assert!(error.contains("/nowhere does not exist"), "{error}");
    assert_eq!(world.ok("ls /links/nowhere").await, "/links/nowhere\n");
    let error = world.fails("ln /models/v7/big /hard", 2).await;
    assert!(error.contains("no hard links"), "{error}");
    world.fails("get -r /models models", 5).await;

    // Links are removed and renamed, not what they lead to.
    world.ok("rm /models/live").await;
    world.ok("rm /links/a").await;
    assert_eq!(world.ok("ls /models").await, "v7\n");

    world.ok("mkdir /models/v8").await;
    world.ok("exchange /models/v7 /models/v8").await;
    assert_eq!(world.ok("ls /models/v8").await, "big\nold\nsame\n");
    let error = world.fails("exchange /models /models/v8", 2).await;
    assert!(error.contains("lies in"), "{error}");

    let etag = world.json("stat --json /models/v8/big").await["etag"].as_str().expect("text").to_owned();
    world.write("other", "other");
    world.ok(&format!("put --if-match {etag} other /models/v8/big")).await;
    let error = world.fails(&format!("put --if-match {etag} data /models/v8/big"), 5).await;
    assert!(error.contains("/models/v8/big is not"), "{error}");
    assert_eq!(world.ok("cat /models/v8/big").await, "other");
    let ran = world.run("put --if-match 17 other /models/v8/big").await;
    assert!(ran.code == 2 && ran.stderr.contains("is no ETag"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_on() {
    let world = World::new().await;
    let data = noise(300_000);
    world.write("first", &data[..100_000]);
    world.write("second", &data[100_000..200_000]);
    world.ok("put --chunk-size 64K first /f").await;
    world.ok("append second /f").await;
    let piped = world.run_with("append - /f", &data[200_000..]).await;
    assert_eq!((piped.code, piped.stderr.as_str()), (0, ""));
    assert!(world.run("cat /f").await.stdout == data);
    world.ok("ln -s f /l").await;
    assert_eq!(world.run_with("append - /l", b"!").await.code, 0);
    assert_eq!(world.json("stat --json /f").await["length"], 300_001);
    world.ok("truncate -s 70K /l").await;
    assert!(world.run("cat /f").await.stdout == data[..70 << 10]);
    world.ok("truncate -s 0 /f").await;
    assert_eq!(world.ok("cat /f").await, "");
    world.fails("truncate -s 1 /f", 2).await;
    world.fails("append second /no", 3).await;
    world.fails("append second /", 5).await;
    world.fails("append none /f", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_joined_without_copying() {
    let world = World::new().await;
    let data = noise(400_000);
    let mut begin = 0;
    for (name, length) in [("a", 100_000), ("b", 65_536), ("c", 30_001), ("d", 150_000)] {
        world.write(name, &data[begin..begin + length]);
        world.ok(&format!("put --chunk-size 64K {name} /{name}")).await;
        begin += length;
    }
    let parts = world.json("locate --json /c").await;
    world.ok("concat /a /b /c /d").await;
    assert_eq!(world.ok("ls /").await, "a\n");
    assert!(world.run("cat /a").await.stdout == data[..begin], "chunks in the middle are short");
    let chunks = world.json("locate --json /a").await["chunks"].clone();
    assert!(chunks.as_array().expect("chunks").iter().any(|chunk| chunk["id"] == parts["chunks"][0]["id"]), "moved");
    world.write("whole", &data[..begin]);
    world.ok("put whole /whole").await;
    let sums = world.ok("checksum /a /whole").await;
    let sums: Vec<&str> = sums.lines().map(|line| &line[..8]).collect();
    assert_eq!(sums[0], sums[1]);

    // Written on and cut behind short chunks; read from the middle.
    assert_eq!(world.run_with("append - /a", &data[begin..]).await.code, 0);
    assert!(world.run("cat /a").await.stdout == data);
    world.ok("get /a back").await;
    assert!(world.read("back") == data);
    world.ok("truncate -s 170000 /a").await;
    assert!(world.run("cat /a").await.stdout == data[..170_000]);
    let error = world.fails("concat /a /a", 2).await;
    assert!(error.contains("itself"), "{error}");
    world.write("tiny", "1");
    world.ok("put tiny /tiny").await;
    let error = world.fails("concat /a /tiny", 5).await;
    assert!(error.contains("append its bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_are_listed_and_their_files_recovered() {
    let world = World::new().await;
    assert_eq!(world.ok("open-files").await, "");
    let client = world.cluster.client();
    let options = godfs_client::CreateOptions::default().chunk_size(64 << 10);
    let mut file = client.create("/w", options).await.expect("create");
    tokio::io::AsyncWriteExt::write_all(&mut file, &noise(100_000)).await.expect("write");
    file.hflush().await.expect("hflush");
    let listed = world.json("open-files --json").await;
    assert_eq!((&listed[0]["path"], listed.as_array().expect("a list").len()), (&Value::from("/w"), 1));
    assert!(listed[0]["session"].is_u64() && listed[0]["silent_ms"].is_u64());
    assert!(world.ok("open-files -h").await.ends_with(" /w\n"));
    let inode = &listed[0]["inode"];
    assert_eq!(world.json(&format!("stat --json --id {inode}")).await["path"], "/w");
    world.fails("stat --id 999999", 3).await;

    world.ok("recover /w").await;
    assert_eq!(world.json("stat --json /w").await["open"], false);
    assert!(world.run("cat /w").await.stdout == noise(100_000), "what was flushed is kept");
    assert_eq!(file.close().await.expect_err("taken").kind(), godfs_core::ErrorKind::LeaseLost);
    assert_eq!(world.ok("open-files").await, "");
    world.ok("recover /w").await;
    world.fails("recover /no", 3).await;
}
