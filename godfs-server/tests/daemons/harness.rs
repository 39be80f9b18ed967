//! Real daemons as processes, on free loopback ports, in a temporary folder. Each is ended by the id it was started with.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use godfs_client::Client;
use tempfile::TempDir;

/// Where a namenode listens that is started again at its address. Connections that go out take free ports of 127.0.0.1, and would
/// now and then take that one meanwhile; of another address of the loopback interface, which only Linux has ready, none.
const OWN_ADDRESS: &str = if cfg!(target_os = "linux") { "127.0.1.1:0" } else { "127.0.0.1:0" };

/// How long anything may take before a test gives up: far above what it takes, so that a slow machine fails nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Now, for deadlines of tests.
#[allow(clippy::disallowed_methods, reason = "tests of real processes run in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// One running daemon.
pub(crate) struct Daemon {
    child: Child,
    name: &'static str,
    /// `HOST:PORT` from its `ready` line.
    pub(crate) address: String,
}

impl Daemon {
    /// Starts a binary and waits for its `ready` line; the error is what it said before it ended.
    pub(crate) fn start<S: AsRef<OsStr>>(name: &'static str, log: &Path, args: &[S]) -> Result<Self, String> {
        Self::limited(name, log, args, None)
    }

    /// The same with no more than so many descriptors.
    fn limited<S: AsRef<OsStr>>(
        name: &'static str,
        log: &Path,
        args: &[S],
        descriptors: Option<u32>,
    ) -> Result<Self, String> {
        let binary = match name {
            "godfs-namenode" => env!("CARGO_BIN_EXE_godfs-namenode"),
            "godfs-datanode" => env!("CARGO_BIN_EXE_godfs-datanode"),
            "godfs-dev" => env!("CARGO_BIN_EXE_godfs-dev"),
            _ => panic!("no daemon {name}"),
        };
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("log file");
        let mut command = match descriptors {
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh", binary]);
                shell
            }
            None => Command::new(binary),
        };
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let (line, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut first = String::new();
            let _ = reader.read_line(&mut first);
            let _ = line.send(first);
            // Whatever else it prints must not block it.
            let _ = reader.read_to_end(&mut Vec::new());
        });
        let first = lines.recv_timeout(PATIENCE).unwrap_or_default();
        match first.trim().strip_prefix(&format!("ready {name} ")) {
            Some(address) => Ok(Self { address: address.to_owned(), child, name }),
            None => {
                let _ = child.kill();
                let status = child.wait();
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(12).collect();
                Err(format!("{name} said {first:?} and ended with {status:?}; its log, last line first: {tail:#?}"))
            }
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory that it has in use.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it ever had.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by number.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill runs").success(), "{} has gone away", self.name);
    }

    /// SIGTERM; the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        let deadline = now() + PATIENCE;
        while now() < deadline {
            if let Some(status) = self.child.try_wait().expect("own child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{} did not end after SIGTERM", self.name);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster of processes.
pub(crate) struct Daemons {
    folder: TempDir,
    /// The namenode; `None` while it is down.
    pub(crate) namenode: Option<Daemon>,
    /// Each datanode; `None` while it is down.
    pub(crate) datanodes: Vec<Option<Daemon>>,
    address: String,
    /// Where the metadata is.
    metadata: PathBuf,
    namenode_flags: Vec<String>,
    datanode_flags: Vec<String>,
    /// Of single datanodes, by their index.
    own_flags: BTreeMap<usize, Vec<String>>,
    descriptors: Option<u32>,
}

/// How a test's cluster differs from the default one.
#[derive(Default)]
pub(crate) struct Flags {
    pub(crate) namenode: Vec<&'static str>,
    pub(crate) datanode: Vec<&'static str>,
    /// The most descriptors of each daemon.
    pub(crate) descriptors: Option<u32>,
}

impl Daemons {
    /// A namenode that notices deaths fast, and `datanodes` datanodes.
    pub(crate) fn start(datanodes: usize) -> Self {
        Self::with(datanodes, &Flags::default())
    }

    /// The same with more flags.
    pub(crate) fn with(datanodes: usize, flags: &Flags) -> Self {
        let fast = [
            ["--heartbeat", "200ms"],
            ["--dead-after", "1500ms"],
            ["--repair-grace", "500ms"],
            ["--session-timeout", "4s"],
        ];
        let fast = fast.iter().filter(|[flag, _]| !flags.namenode.contains(flag)).flatten();
        let folder = tempfile::Builder::new().prefix("godfs-test-").tempdir().expect("temporary folder");
        let mut cluster = Self {
            metadata: folder.path().join("namenode"),
            folder,
            namenode: None,
            datanodes: Vec::new(),
            address: OWN_ADDRESS.into(),
            namenode_flags: fast.chain(&flags.namenode).map(ToString::to_string).collect(),
            datanode_flags: flags.datanode.iter().map(ToString::to_string).collect(),
            own_flags: BTreeMap::new(),
            descriptors: flags.descriptors,
        };
        cluster.start_namenode();
        for index in 0..datanodes {
            cluster.datanodes.push(None);
            cluster.start_datanode(index);
        }
        cluster
    }

    /// The folder of everything.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of one datanode.
    pub(crate) fn datanode_folder(&self, index: usize) -> PathBuf {
        self.folder().join(format!("datanode-{index}"))
    }

    /// Starts the namenode, or starts it again, at the address it had.
    pub(crate) fn start_namenode(&mut self) {
        let mut args =
            vec!["--init".to_owned(), "--dir".into(), path(&self.metadata), "--listen".into(), self.address.clone()];
        args.extend(self.namenode_flags.iter().cloned());
        let deadline = now() + PATIENCE;
        let daemon = loop {
            match Daemon::limited("godfs-namenode", &self.folder().join("namenode.log"), &args, self.descriptors) {
                Ok(daemon) => break daemon,
                // The port may be held for a moment by connections of the process before.
                Err(error) if now() > deadline => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        self.address.clone_from(&daemon.address);
        self.namenode = Some(daemon);
    }

    /// Starts a datanode on its folder, on any free port.
    pub(crate) fn start_datanode(&mut self, index: usize) {
        self.datanodes[index] = Some(self.try_datanode(index).expect("datanode starts"));
    }

    /// Adds one datanode more; its index.
    pub(crate) fn add_datanode(&mut self) -> usize {
        self.datanodes.push(None);
        let index = self.datanodes.len() - 1;
        self.start_datanode(index);
        index
    }

    /// Adds one with flags of its own, besides those of all; its index.
    pub(crate) fn add_datanode_with(&mut self, flags: &[&str]) -> usize {
        self.own_flags.insert(self.datanodes.len(), flags.iter().map(ToString::to_string).collect());
        self.add_datanode()
    }

    /// Adds a datanode with room for 64 MiB, whatever the others have.
    pub(crate) fn start_large_datanode(&mut self) {
        let flags = std::mem::replace(&mut self.datanode_flags, vec!["--capacity".into(), "64MiB".into()]);
        self.add_datanode();
        self.datanode_flags = flags;
    }

    fn try_datanode(&self, index: usize) -> Result<Daemon, String> {
        let mut args = vec![
            "--dir".to_owned(),
            path(&self.datanode_folder(index)),
            "--namenode".into(),
            self.address.clone(),
            "--listen".into(),
            "127.0.0.1:0".into(),
            "--reserve".into(),
            "0".into(),
        ];
        args.extend(self.datanode_flags.iter().chain(self.own_flags.get(&index).into_iter().flatten()).cloned());
        let log = self.folder().join(format!("datanode-{index}.log"));
        Daemon::limited("godfs-datanode", &log, &args, self.descriptors)
    }

    /// SIGKILL of one datanode.
    pub(crate) fn kill_datanode(&mut self, index: usize) {
        self.datanodes[index].take().expect("running").kill();
    }

    /// SIGKILL of the namenode.
    pub(crate) fn kill_namenode(&mut self) {
        self.namenode.take().expect("running").kill();
    }

    /// Has every invariant of the namenode's rows checked, while it is down.
    pub(crate) fn check_namenode(&self) {
        self.metadata_tool(&["check"]);
    }

    /// Takes what the metadata holds, while the namenode is down, into a folder that it runs on from then on.
    pub(crate) fn move_metadata(&mut self) {
        let export = path(&self.folder().join("export"));
        self.metadata_tool(&["export", &export]);
        self.metadata = self.folder().join("imported");
        self.metadata_tool(&["import", &export]);
    }

    /// Works on the metadata while the namenode is down.
    fn metadata_tool(&self, words: &[&str]) {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_godfs-namenode"));
        tool.args(words).arg("--dir").arg(&self.metadata).stdin(Stdio::null());
        let done = tool.output().expect("the binary starts");
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said));
    }

    /// Starts all datanodes again, with one flag more.
    pub(crate) fn restart_datanodes_with(&mut self, flag: &[&str]) {
        self.datanode_flags.extend(flag.iter().map(ToString::to_string));
        for index in 0..self.datanodes.len() {
            self.datanodes[index] = None;
            self.start_datanode(index);
        }
    }

    /// SIGKILL of everything.
    pub(crate) fn kill_all(&mut self) {
        self.namenode = None;
        self.datanodes.iter_mut().for_each(|datanode| *datanode = None);
    }

    /// Starts everything again from disk.
    pub(crate) fn restart_all(&mut self) {
        self.start_namenode();
        for index in 0..self.datanodes.len() {
            self.start_datanode(index);
        }
    }

    /// `godfs://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("godfs://{}", self.address)
    }

    /// `HOST:PORT` of the namenode.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A client of its own.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.url()).await.expect("client connects")
    }

    /// Runs the command line against the cluster.
    pub(crate) fn godfs<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_godfs"))
            .env("GODFS_FS", self.url())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("godfs runs")
    }

    /// Runs the command line, which must succeed; its stdout.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let output = self.godfs(args);
        let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        assert!(output.status.success(), "godfs {shown:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// `godfs report --json`.
    pub(crate) fn report(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["report", "--json"])).expect("JSON")
    }

    /// Waits until the report shows every chunk with all its replicas, and nothing still to be counted.
    pub(crate) fn wait_until_whole(&self) {
        wait_for("every chunk has its replicas", || {
            let report = self.report();
            let done = report["complete"] == true && report["under_replicated"] == 0 && report["missing"] == 0;
            if done { Ok(()) } else { Err(report.to_string()) }
        });
    }

    /// Everything that the daemons have logged.
    pub(crate) fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.folder()).expect("list").map(|entry| entry.expect("entry").path());
        let logs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| std::fs::read_to_string(path).expect("a log")).collect()
    }

    /// What each datanode has logged.
    pub(crate) fn datanode_logs(&self) -> Vec<String> {
        let log = |index| self.folder().join(format!("datanode-{index}.log"));
        (0..self.datanodes.len()).map(|index| std::fs::read_to_string(log(index)).expect("a log")).collect()
    }

    /// Waits until this many datanodes are live.
    pub(crate) fn wait_live(&self, datanodes: u64) {
        wait_for("datanodes are live", || {
            let report = self.report();
            if report["live_datanodes"] == datanodes { Ok(()) } else { Err(report.to_string()) }
        });
    }

    /// `godfs locate --json`.
    pub(crate) fn locate(&self, file: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["locate", "--json", file])).expect("JSON")
    }
}

/// Waits until `check` is `Ok`; the panic shows what it last said.
pub(crate) fn wait_for(what: &str, mut check: impl FnMut() -> Result<(), String>) {
    let deadline = now() + PATIENCE;
    loop {
        match check() {
            Ok(()) => return,
            Err(last) if now() > deadline => panic!("waited in vain until {what}: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A number from the environment.
pub(crate) fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A path as an argument.
pub(crate) fn path(path: &Path) -> String {
    path.to_str().expect("temporary folders are UTF-8").to_owned()
}

/// Bytes that don't compress and are the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes
}
