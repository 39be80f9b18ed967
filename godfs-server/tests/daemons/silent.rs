//! A writer that is stopped in the middle of a file, which another client asks for.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use godfs_client::{Client, CreateOptions};
use godfs_core::ErrorKind;
use tokio::io::AsyncWriteExt;

use crate::harness::{Daemons, Flags, PATIENCE, noise, now};

const MIB: usize = 1 << 20;
const FILE: &str = "/written";
const SEED: u64 = 3;
const STEP: usize = 64 << 10;
/// More than it comes to write.
const MOST: usize = 256 * MIB;
/// Tells this test program that it is to be the writer, and of which cluster.
const WRITER_OF: &str = "GODFS_TEST_WRITER_OF";

/// The writer, as a process of its own: says after each flush how many bytes are flushed, and in the end why it can't go on.
#[tokio::test]
async fn the_writer() {
    let Ok(url) = std::env::var(WRITER_OF) else { return };
    let client = Client::builder().namenodes(&url).name("the writer").connect().await.expect("connect");
    let mut file = client.create(FILE, CreateOptions::new().chunk_size(MIB as u64)).await.expect("create");
    let data = noise(MOST, SEED);
    for (step, piece) in data.chunks(STEP).enumerate() {
        let written = async {
            file.write_all(piece).await?;
            Ok::<_, std::io::Error>(file.hflush().await?)
        };
        if let Err(error) = written.await {
            println!("\nfailed {error}");
            let error = file.close().await.expect_err("a file that was lost");
            println!("\nclosing {:?}", error.kind());
            return;
        }
        println!("\nflushed {}", (step + 1) * STEP);
    }
}

/// A child that is ended with the test.
struct Writer(Child);

impl Writer {
    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([format!("-{signal}"), self.0.id().to_string()]).status();
        assert!(status.expect("kill runs").success(), "the writer is gone");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_gets_the_file_and_the_writer_is_fenced() {
    // The session would last for the whole test.
    let flags = Flags { namenode: vec!["--session-timeout", "10m", "--lease-soft-limit", "2s"], ..Flags::default() };
    let mut cluster = Daemons::with(3, &flags);
    let client = cluster.client().await;
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["silent::the_writer", "--exact", "--nocapture"])
        .env(WRITER_OF, cluster.url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let said = BufReader::new(child.stdout.take().expect("piped")).lines();
    let writer = Writer(child);
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || said.map_while(Result::ok).try_for_each(|said| line.send(said)));
    let next = |what: &str| loop {
        let line = lines.recv_timeout(PATIENCE).expect("the writer says something");
        if let Some(rest) = line.strip_prefix(what) {
            return rest.trim().to_owned();
        }
    };
    // In its second chunk.
    while next("flushed").parse::<usize>().expect("a number") < MIB + 3 * STEP {}
    writer.signal("STOP");

    let error = client.append(FILE).await.expect_err("it was heard of just now");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::BeingWritten, false), "{error}");
    assert!(error.message().contains("(\"the writer\"), silent for "), "{error}");
    let deadline = now() + PATIENCE;
    let mut file = loop {
        match client.append(FILE).await {
            Ok(file) => break file,
            Err(error) => assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::BeingWritten, false), "{error}"),
        }
        assert!(now() < deadline, "the file is not to be had");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    file.write_all(b"by another").await.expect("write");

    // It wakes while the other writes.
    writer.signal("CONT");
    let (mut flushed, mut why) = (0, None);
    let closing = loop {
        let line = lines.recv_timeout(PATIENCE).expect("the writer says something");
        match line.split_once(' ') {
            Some(("flushed", bytes)) => flushed = bytes.parse().expect("a number"),
            Some(("failed", error)) => why = Some(error.to_owned()),
            Some(("closing", kind)) => break kind.to_owned(),
            _ => {}
        }
    };
    let why = why.expect("said first");
    assert!(why.contains("it has expired, was recovered by another"), "{why}");
    assert_eq!(closing, "LeaseLost");
    file.close().await.expect("close");

    let found = client.get(FILE).await.expect("read");
    let kept = found.strip_suffix(b"by another").expect("the second writer's bytes end the file");
    assert!(kept.len() >= flushed, "{} bytes of {flushed} that were flushed", kept.len());
    assert!(kept == &noise(MOST, SEED)[..kept.len()], "other bytes than were written");
    cluster.kill_namenode();
    cluster.check_namenode();
}
