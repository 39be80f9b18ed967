//! A namenode and three datanodes as processes on loopback, and the command line to drive them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use godfs_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

use crate::rows::Row;

/// Datanodes: the replicas of a file.
const DATANODES: usize = 3;

/// A running cluster. Its processes end, by their ids, and its folder goes, when it is dropped.
#[derive(Debug)]
pub struct Daemons {
    binaries: PathBuf,
    children: Vec<Child>,
    url: String,
    folder: TempDir,
}

impl Daemons {
    /// Starts the `godfs-namenode` and `godfs-datanode` of the folder `binaries`, with all they keep in a folder of its own under `dir`.
    ///
    /// # Errors
    /// When one does not start; its last words are in the error.
    pub fn start(binaries: &Path, dir: &Path) -> Result<Self> {
        let failed = |error| Error::io(format_args!("make a folder in {}", dir.display()), error);
        std::fs::create_dir_all(dir).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("godfs-").tempdir_in(dir).map_err(failed)?;
        let mut daemons = Self { binaries: binaries.to_owned(), children: Vec::new(), url: String::new(), folder };
        let namenode = daemons.spawn("godfs-namenode", "namenode", &["--init"])?;
        daemons.url = format!("godfs://{namenode}");
        for number in 1..=DATANODES {
            daemons.spawn("godfs-datanode", &format!("datanode-{number}"), &["--namenode", &namenode])?;
        }
        Ok(daemons)
    }

    /// Starts one and waits until it says where it serves.
    fn spawn(&mut self, binary: &str, name: &str, words: &[&str]) -> Result<String> {
        let failed = |error| Error::io(format_args!("start {binary}"), error);
        let log = self.folder.path().join(format!("{name}.log"));
        let mut child = Command::new(self.binaries.join(binary))
            .arg("--dir")
            .arg(self.folder.path().join(name))
            .args(["--listen", "127.0.0.1:0"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().expect("piped");
        self.children.push(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        let mut said = line.split_ascii_whitespace();
        match (said.next(), said.nth(1)) {
            (Some("ready"), Some(address)) => Ok(address.to_owned()),
            _ => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                Err(Error::new(ErrorKind::Internal, format!("{binary} did not start: {}", said.trim())))
            }
        }
    }

    /// The folder of the disk that all of it is on.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `godfs` with the words of `line`, and gives what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn godfs(&self, line: &str) -> Result<String> {
        run(Command::new(self.binaries.join("godfs")).args(line.split_ascii_whitespace()).env("GODFS_FS", &self.url))
    }

    /// Runs `godfs bench` with the words of `line`, and gives its rows.
    ///
    /// # Errors
    /// When it fails, or an operation of it did.
    pub fn bench(&self, line: &str) -> Result<Vec<Row>> {
        let text = self.godfs(&format!("bench {line} --json"))?;
        let failed = |what: String| Error::new(ErrorKind::Internal, format!("godfs bench {line}: {what}"));
        let rows: Vec<Row> = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        match rows.iter().map(|row| row.errors).sum::<u64>() {
            0 => Ok(rows),
            errors => Err(failed(format!("{errors} operations failed"))),
        }
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended is only waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a command to its end, and gives what it printed on stdout.
///
/// # Errors
/// When it can't be started or fails; what it printed on stderr is in the error.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| Error::io(format_args!("run {name}"), error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(ErrorKind::Internal, format!("{name}: {}: {}", output.status, said.trim())));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Error::new(ErrorKind::Internal, format!("{name} printed what is no text")))
}
