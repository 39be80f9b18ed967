//! HDFS: a NameNode, three DataNodes and a client, each a JVM, on loopback.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use godfs_benches::daemons::run;
use godfs_benches::rows::Row;
use godfs_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use tempfile::TempDir;

/// The release that is compared with.
pub(crate) const VERSION: &str = "3.4.2";
const DATANODES: usize = 3;
/// The client; compiled where the jars are.
const LOAD: &str = include_str!("HdfsLoad.java");
/// What Hadoop opens of the JVM's own packages.
const OPENED: &[&str] = &["lang", "io", "net", "nio", "util", "util.concurrent"];
/// How often, and how long between, a NameNode is asked whether it serves: four minutes in all.
const ASKED: usize = 2_400;
const BETWEEN: Duration = Duration::from_millis(100);

/// A running HDFS. Its processes end, by their ids, and its folder goes, when it is dropped.
pub(crate) struct Hdfs {
    cache: PathBuf,
    folder: TempDir,
    ports: Ports,
    children: Vec<Child>,
    client: Option<Client>,
}

struct Client {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Free ports: the NameNode's two, and three for each DataNode.
struct Ports(Vec<u16>);

impl Ports {
    fn free() -> Result<Self> {
        let failed = |error| Error::io("look for free ports", error);
        let mut listeners = Vec::new();
        for _ in 0..2 + 3 * DATANODES {
            listeners.push(TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?);
        }
        let ports = listeners.iter().map(|listener| Ok(listener.local_addr().map_err(failed)?.port()));
        ports.collect::<Result<Vec<_>>>().map(Self)
    }

    fn namenode(&self) -> u16 {
        self.0[0]
    }

    fn web(&self) -> u16 {
        self.0[1]
    }

    fn datanode(&self, number: usize) -> &[u16] {
        &self.0[2 + 3 * number..][..3]
    }
}

impl Hdfs {
    /// Gets what is missing into `cache` (75 MB from Maven Central, the first time) and starts all of it, with its data in a folder of its own under `dir`.
    pub(crate) fn start(cache: &Path, dir: &Path) -> Result<Self> {
        install(cache)?;
        let failed = |error| Error::io(format_args!("make a folder in {}", dir.display()), error);
        fs::create_dir_all(dir).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("hdfs-").tempdir_in(dir).map_err(failed)?;
        let mut hdfs =
            Self { cache: cache.to_owned(), folder, ports: Ports::free()?, children: Vec::new(), client: None };
        hdfs.configure("client", None)?;
        hdfs.configure("namenode", None)?;
        let namenode = "org.apache.hadoop.hdfs.server.namenode.NameNode";
        run(hdfs.java("namenode").args([namenode, "-format", "-nonInteractive"]))?;
        hdfs.daemon("namenode", namenode)?;
        for number in 0..DATANODES {
            let name = format!("datanode-{number}");
            hdfs.configure(&name, Some(number))?;
            hdfs.daemon(&name, "org.apache.hadoop.hdfs.server.datanode.DataNode")?;
        }
        hdfs.until_it_serves()?;
        hdfs.client = Some(hdfs.client()?);
        Ok(hdfs)
    }

    /// A configuration folder for one process.
    fn configure(&self, name: &str, datanode: Option<usize>) -> Result<()> {
        let folder = self.folder.path();
        let data = |name: &str| format!("file://{}", folder.join("data").join(name).display());
        let loopback = |port: u16| format!("127.0.0.1:{port}");
        let core = [
            ("fs.defaultFS", format!("hdfs://{}", loopback(self.ports.namenode()))),
            ("hadoop.tmp.dir", folder.join("tmp").display().to_string()),
        ];
        let mut hdfs = vec![
            ("dfs.replication", DATANODES.to_string()),
            ("dfs.namenode.rpc-address", loopback(self.ports.namenode())),
            ("dfs.namenode.http-address", loopback(self.ports.web())),
            ("dfs.namenode.name.dir", data("namenode")),
        ];
        if let Some(number) = datanode {
            let ports = self.ports.datanode(number);
            hdfs.extend([
                ("dfs.datanode.data.dir", data(name)),
                ("dfs.datanode.address", loopback(ports[0])),
                ("dfs.datanode.http.address", loopback(ports[1])),
                ("dfs.datanode.ipc.address", loopback(ports[2])),
            ]);
        }
        let to = folder.join("conf").join(name);
        let written = fs::create_dir_all(&to)
            .and_then(|()| fs::write(to.join("core-site.xml"), properties(&core)))
            .and_then(|()| fs::write(to.join("hdfs-site.xml"), properties(&hdfs)))
            .and_then(|()| fs::write(to.join("log4j.properties"), LOGGING));
        written.map_err(|error| Error::io(format_args!("configure {name}"), error))
    }

    /// A JVM with the configuration of `name`.
    fn java(&self, name: &str) -> Command {
        let mut java = Command::new("java");
        java.args(OPENED.iter().map(|package| format!("--add-opens=java.base/java.{package}=ALL-UNNAMED")));
        java.arg("--add-opens=java.base/sun.nio.ch=ALL-UNNAMED").arg("-cp").arg(format!(
            "{}:{}:{}/*",
            self.folder.path().join("conf").join(name).display(),
            self.cache.join("classes").display(),
            self.cache.join("lib").display()
        ));
        java
    }

    fn daemon(&mut self, name: &str, class: &str) -> Result<()> {
        let failed = |error| Error::io(format_args!("start {name} of HDFS"), error);
        let log = fs::File::create(self.folder.path().join(format!("{name}.log"))).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let child = self.java(name).arg(class).stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.children.push(child.map_err(failed)?);
        Ok(())
    }

    fn client(&self) -> Result<Client> {
        let failed = |error| Error::io("start the client of HDFS", error);
        let log = fs::File::create(self.folder.path().join("client.log")).map_err(failed)?;
        let mut java = self.java("client");
        java.arg("HdfsLoad").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = java.spawn().map_err(failed)?;
        let commands = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut client = Client { child, commands, answers };
        match client.line()?.as_str() {
            "ready" => Ok(client),
            other => Err(Error::new(ErrorKind::Internal, format!("the client of HDFS says {other:?}"))),
        }
    }

    /// Waits until all datanodes are registered and the NameNode has left safe mode.
    fn until_it_serves(&mut self) -> Result<()> {
        for _ in 0..ASKED {
            if self.children.iter_mut().any(|child| !matches!(child.try_wait(), Ok(None))) {
                break;
            }
            let live = format!("\"NumLiveDataNodes\" : {DATANODES}");
            let asked = |bean| self.bean(bean).unwrap_or_default();
            if asked("FSNamesystemState").contains(&live) && asked("NameNodeInfo").contains("\"Safemode\" : \"\"") {
                return Ok(());
            }
            sleep(BETWEEN);
        }
        let log = fs::read_to_string(self.folder.path().join("namenode.log")).unwrap_or_default();
        let why: Vec<&str> = log.lines().filter(|line| !line.starts_with("\tat ")).take(5).collect();
        Err(Error::new(ErrorKind::Unavailable, format!("HDFS does not serve: {}", why.join("; "))))
    }

    fn bean(&self, name: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.web()))?;
        write!(stream, "GET /jmx?qry=Hadoop:service=NameNode,name={name} HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Has the client do something; the row has the CPU time of all processes.
    pub(crate) fn load(&mut self, command: &str) -> Result<Row> {
        let before = self.cpu_seconds()?;
        let client = self.client.as_mut().expect("it was started");
        let told = writeln!(client.commands, "{command}").and_then(|()| client.commands.flush());
        told.map_err(|error| Error::io("tell the client of HDFS what to do", error))?;
        let answer = client.line()?;
        let cpu = self.cpu_seconds()? - before;
        let failed = |what: &str| Error::new(ErrorKind::Internal, format!("HDFS, {command}: {what}"));
        match serde_json::from_str(&answer).map_err(|error| failed(&error.to_string()))? {
            Answer::Failed { failed: why } => Err(failed(&why)),
            Answer::Row(row) => {
                let gib = row.bytes as f64 / f64::from(1 << 30);
                let per_gib = (row.bytes > 0).then_some(cpu / gib);
                Ok(Row { cpu_all_seconds: Some(cpu), cpu_all_per_gib: per_gib, ..row })
            }
        }
    }

    /// User and system time of all processes.
    fn cpu_seconds(&self) -> Result<f64> {
        let client = self.client.iter().map(|client| client.child.id());
        self.children.iter().map(Child::id).chain(client).map(cpu_seconds).sum()
    }

    /// The most memory that a daemon had resident, bytes.
    pub(crate) fn rss_max(&self) -> u64 {
        let peak = |child: &Child| {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
            let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            kib.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
        };
        self.children.iter().filter_map(peak).max().unwrap_or(0)
    }
}

impl Client {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        match read.map_err(|error| Error::io("hear from the client of HDFS", error))? {
            0 => Err(Error::new(ErrorKind::Internal, "the client of HDFS ended early")),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

impl Drop for Hdfs {
    fn drop(&mut self) {
        for child in self.client.iter_mut().map(|client| &mut client.child).chain(&mut self.children) {
            // One that has ended is only waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Failed { failed: String },
    Row(Row),
}

/// User and system time of a process; of one that has ended, an error.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let unknown = || Error::new(ErrorKind::Internal, format!("process {pid} of HDFS is gone"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| unknown())?;
    let words = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    // In hundredths of a second; user and system time are the twelfth and thirteenth behind the name.
    let ticks: Vec<f64> = words.skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
    if ticks.len() == 2 { Ok(ticks.iter().sum::<f64>() / 100.0) } else { Err(unknown()) }
}

/// Gets the jars by Maven, and compiles the client.
fn install(cache: &Path) -> Result<()> {
    let failed = |error| Error::io(format_args!("prepare {}", cache.display()), error);
    // The daemons want folders for their web pages, which only a release has, and are content with empty ones.
    for pages in ["hdfs", "datanode", "static"] {
        fs::create_dir_all(cache.join("classes/webapps").join(pages)).map_err(failed)?;
    }
    if !cache.join("lib").join(format!("hadoop-hdfs-{VERSION}.jar")).exists() {
        eprintln!("getting HDFS {VERSION} from Maven Central into {}", cache.display());
        fs::write(cache.join("pom.xml"), pom()).map_err(failed)?;
        let goal = ["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib", "-DincludeScope=runtime"];
        run(Command::new("mvn").args(goal).current_dir(cache))?;
    }
    let source = cache.join("HdfsLoad.java");
    if fs::read_to_string(&source).ok().as_deref() != Some(LOAD) || !cache.join("classes/HdfsLoad.class").exists() {
        fs::write(&source, LOAD).map_err(failed)?;
        let compile = ["-nowarn", "-cp", "lib/*", "-d", "classes", "HdfsLoad.java"];
        run(Command::new("javac").args(compile).current_dir(cache))?;
    }
    Ok(())
}

fn pom() -> String {
    let mut dependencies = String::new();
    for artifact in ["hadoop-common", "hadoop-hdfs", "hadoop-hdfs-client"] {
        dependencies += &format!(
            "<dependency><groupId>org.apache.hadoop</groupId><artifactId>{artifact}</artifactId><version>{VERSION}</version></dependency>\n"
        );
    }
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>godfs.benches</groupId><artifactId>hdfs</artifactId>\
         <version>1</version><packaging>pom</packaging><dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

fn properties(properties: &[(&str, String)]) -> String {
    let property =
        |(name, value): &(&str, String)| format!("<property><name>{name}</name><value>{value}</value></property>\n");
    format!("<configuration>\n{}</configuration>\n", properties.iter().map(property).collect::<String>())
}

/// Warnings only, to stderr.
const LOGGING: &str = "\
log4j.rootLogger=WARN,CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.target=System.err
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
";
