//! The other processes of a row: this program again, with a part to play.
//!
//! A part says on stdout where it listens, plays its part for the one connection that comes, and says what it cost. It ends when its
//! stdin does, so that none outlives whoever started it.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};
use godfs_core::{Error, ErrorKind, Result};

use super::super::super::platform::{cpu_time, rss_max};
use super::packets::{Packets, Source, lengths};

#[derive(Args, Debug)]
pub(in crate::cli) struct RawPartArgs {
    #[arg(value_enum)]
    part: Part,
    #[arg(long)]
    size: u64,
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[arg(long)]
    next: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Sends to whoever connects.
    Sender,
    /// Hands on what it gets, checks it, writes it to a file, and then says that all behind it are done too.
    Relay,
}

/// What is sent up once a relay and all behind it have written everything.
pub(super) const DONE: u8 = 1;

/// Plays a part.
pub(super) fn run(args: &RawPartArgs) -> Result<()> {
    let failed = |error| Error::io("listen on loopback", error);
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    // Made before anybody waits.
    let source = (args.part == Part::Sender).then(|| Source::new(true));
    say(listener.local_addr().map_err(failed)?)?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read(&mut [0]);
        std::process::exit(1);
    });
    let (mut stream, _) = listener.accept().map_err(failed)?;
    no_delay(&stream)?;
    let start = cpu_time();
    match &source {
        Some(source) => source.send(args.size, &mut stream)?,
        None => relay(stream, args)?,
    }
    say(format_args!("{} {}", cpu_time().saturating_sub(start).as_micros(), rss_max()))
}

fn relay(mut from: TcpStream, args: &RawPartArgs) -> Result<()> {
    let mut next = args.next.as_deref().map(connect).transpose()?;
    let mut file = super::file_in(&args.dir)?;
    let mut packets = Packets::new();
    for length in lengths(args.size) {
        packets.take(length, &mut from)?;
        if let Some(next) = &mut next {
            packets.forward(next)?;
        }
        packets.verify()?;
        file.write_all(packets.data()).map_err(|error| Error::io("write", error))?;
    }
    if let Some(next) = &mut next {
        wait_for_done(next)?;
    }
    from.write_all(&[DONE]).map_err(|error| Error::io("send", error))
}

/// Waits until a relay says that it and all behind it are done.
pub(super) fn wait_for_done(relay: &mut TcpStream) -> Result<()> {
    let mut done = [0];
    relay.read_exact(&mut done).map_err(|error| Error::io("wait for the relay", error))?;
    match done == [DONE] {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Internal, "the relay says what none says")),
    }
}

pub(super) fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).map_err(|error| Error::io(format_args!("connect to {address}"), error))?;
    no_delay(&stream)?;
    Ok(stream)
}

fn no_delay(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true).map_err(|error| Error::io("set up a connection", error))
}

fn say(line: impl fmt::Display) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(|error| Error::io("say where it stands", error))
}

/// A process that plays a part. Ended when it is dropped.
pub(super) struct Player {
    child: Child,
    said: BufReader<ChildStdout>,
    pub(super) address: String,
}

impl Player {
    /// Starts one, and waits until it listens.
    pub(super) fn start(part: Part, size: u64, dir: Option<&Path>, next: Option<&str>) -> Result<Self> {
        let failed = |error| Error::io("start another process of this program", error);
        let part = part.to_possible_value().map_or_else(String::new, |part| part.get_name().to_owned());
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["bench", "raw-part", &part, "--size", &size.to_string()]);
        if let Some(dir) = dir {
            command.arg("--dir").arg(dir);
        }
        if let Some(next) = next {
            command.args(["--next", next]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let said = child.stdout.take().expect("piped");
        let mut player = Self { child, said: BufReader::new(said), address: String::new() };
        player.address = player.line()?;
        Ok(player)
    }

    /// Waits for its end; gives the CPU time of its part, and the most memory that it had resident.
    pub(super) fn end(mut self) -> Result<(Duration, u64)> {
        let line = self.line()?;
        let costs = line.split_once(' ').and_then(|(cpu, rss)| Some((cpu.parse().ok()?, rss.parse().ok()?)));
        let (cpu, rss) =
            costs.ok_or_else(|| Error::new(ErrorKind::Internal, format!("a part says {line:?} of what it cost")))?;
        Ok((Duration::from_micros(cpu), rss))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.said.read_line(&mut line).map_err(|error| Error::io("hear from a part", error))?;
        match read {
            0 => Err(Error::new(ErrorKind::Internal, "another process of this program ended early")),
            _ => Ok(line.trim().to_owned()),
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // One that has ended is only waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
