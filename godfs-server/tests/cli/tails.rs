//! The end of files, and what is written at it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::World;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `godfs` that runs.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: mpsc::Receiver<String>,
}

fn lines(source: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

impl Running {
    fn start(world: &World, line: &str) -> (Self, ChildStdin) {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = world.command(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let stdin = child.stdin.take().expect("piped");
        let said = lines(child.stderr.take().expect("piped"));
        let lines = lines(child.stdout.take().expect("piped"));
        (Self { child, lines, said }, stdin)
    }

    /// The next line that it prints. The cluster goes on meanwhile, on its own threads.
    fn line(&self) -> String {
        tokio::task::block_in_place(|| self.lines.recv_timeout(PATIENCE)).expect("a line in time")
    }

    /// The next line that it says on stderr.
    fn said(&self) -> String {
        tokio::task::block_in_place(|| self.said.recv_timeout(PATIENCE)).expect("a word in time")
    }

    /// Its exit code and what else it said.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        tokio::task::block_in_place(|| {
            let status = self.child.wait().expect("ended");
            (status.code(), self.said.iter().collect())
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_files() {
    let world = World::new().await;
    let lines: Vec<String> = (1..=30).map(|number| format!("line {number}\n")).collect();
    world.write("lines", lines.concat());
    world.write("rest", "a\nb");
    // Longer than the blocks in which ends of lines are looked for.
    let long = format!("{}\n{}\nlast\n", "x".repeat(300_000), "y".repeat(600_000));
    world.write("long", &long);
    world.ok("put lines rest long /").await;
    for (line, expected) in [
        ("tail /lines", lines[20..].concat()),
        ("tail -n 3 /lines", lines[27..].concat()),
        ("tail -n 0 /lines", String::new()),
        ("tail -n 99 /lines", lines.concat()),
        ("tail -n +29 /lines", lines[28..].concat()),
        ("tail -n +99 /lines", String::new()),
        ("tail -n 1 /rest", "b".to_owned()),
        ("tail -n 2 /rest", "a\nb".to_owned()),
        ("tail -c 2 /rest", "\nb".to_owned()),
        ("tail -c +3 /rest", "b".to_owned()),
        ("tail -n 2 /long", long[300_001..].to_owned()),
        ("tail -n +2 /long", long[300_001..].to_owned()),
        ("tail -n 1 /rest /lines", format!("==> /rest <==\nb\n==> /lines <==\n{}", lines[29])),
    ] {
        assert!(world.ok(line).await == expected, "{line}");
    }
    world.fails("tail /none", 3).await;
}

/// What `append` takes from a pipe is shown by `tail -f` while the pipe is open, also beyond the end of one writer, and after a rename; the
/// end is said when the file goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_followed() {
    let world = World::new().await;
    world.write("f", "old\n");
    world.ok("put f /f").await;
    let (tail, _stdin) = Running::start(&world, "tail -n 1 -f /f");
    assert_eq!(tail.line(), "old");
    for round in ["first", "second"] {
        let (append, mut pipe) = Running::start(&world, "append - /f");
        for number in 0..3 {
            let line = format!("{round} {number}");
            pipe.write_all(format!("{line}\n").as_bytes()).expect("taken");
            assert_eq!(tail.line(), line);
        }
        // Beyond what lies with the namenode.
        let long = "z".repeat(20_000);
        pipe.write_all(format!("{long}\n").as_bytes()).expect("taken");
        assert!(tail.line() == long);
        drop(pipe);
        assert_eq!(append.end(), (Some(0), Vec::new()));
    }
    world.ok("mv /f /g").await;
    world.write("more", "more\n");
    world.ok("append more /g").await;
    assert_eq!(tail.line(), "more");
    world.ok("rm /g").await;
    let (code, said) = tail.end();
    assert_eq!(
        (code, said.join("; ").as_str()),
        (Some(3), "godfs: tail: /f: moved to /g; godfs: tail: not found: /g was removed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_or_cut() {
    let world = World::new().await;
    world.write("f", "1\n2\n3\n");
    world.write("g", "new\n");
    world.ok("put f /f").await;
    let (by_name, _first) = Running::start(&world, "tail -n 1 -F /f");
    let (steady, _second) = Running::start(&world, "tail -n 1 -f /f");
    assert_eq!((by_name.line(), steady.line()), ("3".into(), "3".into()));
    world.ok("truncate -s 2 /f").await;
    for tail in [&by_name, &steady] {
        assert_eq!(tail.said(), "godfs: tail: /f: truncated to 2 bytes");
    }
    world.write("again", "two\n");
    world.ok("append again /f").await;
    assert_eq!((by_name.line(), steady.line()), ("two".into(), "two".into()));
    world.ok("put -f g /f").await;
    let (code, said) = steady.end();
    assert_eq!((code, said), (Some(3), vec!["godfs: tail: not found: /f was replaced by another file".to_owned()]));
    assert_eq!(by_name.line(), "new");
    world.ok("rm /f").await;
    world.ok("put f /f").await;
    assert_eq!((by_name.line(), by_name.line()), ("1".into(), "2".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_the_writer_where_asked() {
    let world = World::new().await;
    world.ok("touch /f").await;
    let (append, mut pipe) = Running::start(&world, "append - /f");
    pipe.write_all(b"one\n").expect("taken");
    // Closed files end it too: it has to begin while the file is open.
    while !world.ok("open-files --json").await.contains("/f") {}
    let (tail, _stdin) = Running::start(&world, "tail -c +1 -f --until-closed /f");
    assert_eq!(tail.line(), "one");
    pipe.write_all(b"two\n").expect("taken");
    assert_eq!(tail.line(), "two");
    drop(pipe);
    append.end();
    assert_eq!(tail.end(), (Some(0), Vec::new()));
}
