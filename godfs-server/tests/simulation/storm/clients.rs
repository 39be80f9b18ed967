//! What clients do, and what they may expect.

use std::sync::Arc;
use std::time::Duration;

use godfs_client::{Client, ClientSettings, CreateOptions, Reader, Writer};
use godfs_core::env::Env;
use godfs_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::model::Files;
use super::plan::{FILES, Op, Plan};
use super::powers::Powers;
use crate::invariants;
use crate::network::{Outgoing, address};
use crate::trace::Trace;

/// How often clients ask again for what they wait for.
const POLL: Duration = Duration::from_millis(100);
/// How long a writer may stand still while one node after another fails.
const LONGEST_STALL: Duration = Duration::from_secs(12);
/// Until then all must be well again; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(150);

/// What clients and the one who breaks things tell one another.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The cluster stands: writers begin.
    pub(super) begun: bool,
    /// How many operations each writer has begun with.
    pub(super) ops: Vec<usize>,
    /// The longest that an operation of a writer took.
    pub(super) longest: Duration,
    /// Nothing befalls anybody any more, and writers are gone.
    pub(super) mended: bool,
    /// All is as it should be: take all power.
    pub(super) take_power: bool,
    /// All have lost power and are started again.
    pub(super) power_is_back: bool,
    /// All was looked at.
    pub(super) done: bool,
}

/// What all machines of a simulation share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) plan: Arc<Plan>,
    pub(super) files: Files,
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) powers: Arc<Powers>,
    pub(super) trace: Trace,
}

/// The path of a file by its number.
pub(super) fn path(file: usize) -> String {
    format!("/file-{file}")
}

impl Common {
    fn client(&self, name: &str, life: u64) -> Client {
        let mut settings = ClientSettings::default();
        settings.transport.keep_alive = Duration::from_secs(1);
        settings.transport.keep_alive_timeout = Duration::from_secs(1);
        settings.replace_nodes = self.plan.policy;
        settings.recovery_timeout = Duration::from_secs(30);
        settings.close_timeout = Duration::from_secs(40);
        settings.call_timeout = Duration::from_secs(20);
        settings.avoid_node = Duration::from_secs(5);
        let purpose = name.bytes().fold(life, |sum, byte| sum.wrapping_mul(256) + u64::from(byte));
        Client::builder()
            .namenodes(address("namenode").as_str())
            .settings(settings)
            .env(Env::simulated(self.plan.random(purpose)))
            .connector(Outgoing::of(name, &self.trace))
            .name(name)
            .build()
            .expect("the address is valid")
    }
}

/// A writer's process.
struct Hand {
    common: Common,
    name: String,
    client: Client,
    writer: usize,
    /// The file that it writes, by its number.
    open: Option<(usize, Writer)>,
}

/// Writes as planned, from the operation on that the process before did not begin with, and then stays as it is.
pub(super) async fn write(common: Common, writer: usize, name: String, life: u64) {
    while !common.progress.lock().begun {
        sleep(POLL).await;
    }
    let client = common.client(&name, life);
    let mut hand = Hand { common, name, client, writer, open: None };
    loop {
        let next = {
            let mut progress = hand.common.progress.lock();
            progress.ops[writer] += 1;
            progress.ops[writer] - 1
        };
        let Some(&op) = hand.common.plan.scripts[writer].get(next) else { break };
        if op != Op::Pause(0) {
            hand.note(format_args!("{next} {op:?}"));
            hand.carry_out(op).await;
        }
    }
    // What is open stays open, and its session is renewed.
    std::future::pending::<()>().await;
}

impl Hand {
    fn note(&self, what: impl std::fmt::Display) {
        self.common.trace.note(&self.name, what);
    }

    async fn carry_out(&mut self, op: Op) {
        match op {
            Op::Pause(millis) => sleep(Duration::from_millis(millis)).await,
            Op::Open { file, replicas } => {
                let file = self.writer * FILES + file;
                self.let_go().await;
                if let Err(error) = self.begin(file, replicas).await {
                    self.failed(file, "open", &error);
                }
            }
            Op::Truncate { file, keep } => {
                let file = self.writer * FILES + file;
                self.let_go().await;
                if let Err(error) = self.truncate(file, keep).await {
                    self.failed(file, "truncate", &error);
                }
            }
            Op::Write(_) | Op::Flush | Op::Sync | Op::Close => {
                let Some((file, mut writer)) = self.open.take() else { return };
                let begun = Instant::now();
                let outcome = self.proceed(file, &mut writer, op).await;
                let took = begun.elapsed();
                let longest = self.common.progress.lock().longest.max(took);
                self.common.progress.lock().longest = longest;
                let bounded = !self.common.plan.rush || took <= LONGEST_STALL;
                assert!(bounded, "{op:?} of {} took {took:?}", path(file));
                match outcome {
                    Ok(()) if op == Op::Close => {}
                    Ok(()) => self.open = Some((file, writer)),
                    Err(error) => self.failed(file, &format!("{op:?}"), &error),
                }
            }
        }
    }

    /// Gives up the file that is open, if any: it keeps what was flushed.
    async fn let_go(&mut self) {
        if let Some((file, writer)) = self.open.take()
            && let Err(error) = writer.abandon().await
        {
            self.failed(file, "abandon", &error);
        }
    }

    async fn begin(&mut self, file: usize, replicas: u32) -> Result<()> {
        let writer = match self.client.appender(path(file)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                assert!(!self.common.files.lock()[file].exists, "{} has gone", path(file));
                let options = CreateOptions::new().replication(replicas).chunk_size(self.common.plan.chunk);
                self.client.writer(path(file), options).await?
            }
            writer => writer?,
        };
        let position = writer.position();
        self.note(format_args!("goes on at {position}"));
        let mut files = self.common.files.lock();
        let known = &mut files[file];
        invariants::acknowledged_bytes_are_there(path(file), known.flushed, position);
        invariants::nothing_is_there_that_was_never_sent(path(file), known.sent, position);
        known.begin(position);
        self.open = Some((file, writer));
        Ok(())
    }

    async fn truncate(&self, file: usize, keep: u64) -> Result<()> {
        let status = match self.client.stat(path(file)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            status => status?,
        };
        let length = status.length * keep / 1_000;
        self.common.powers.forget(file);
        self.common.files.lock()[file].begin_cut(length);
        self.client.truncate(path(file), length).await?;
        self.note(format_args!("cut to {length}"));
        self.common.files.lock()[file].cut(length);
        Ok(())
    }

    async fn proceed(&self, file: usize, writer: &mut Writer, op: Op) -> Result<()> {
        let position = writer.position();
        match op {
            Op::Write(bytes) => {
                let data = {
                    let mut files = self.common.files.lock();
                    files[file].sent = position + bytes as u64;
                    files[file].bytes(position, bytes)
                };
                return writer.write(&data).await;
            }
            Op::Flush => writer.hflush().await?,
            Op::Sync => writer.hsync().await?,
            _ => writer.close().await?,
        }
        self.note(format_args!("{op:?} acknowledged {position}"));
        let mut files = self.common.files.lock();
        let known = &mut files[file];
        known.flushed = known.flushed.max(position);
        if op != Op::Flush {
            known.synced = known.synced.max(position);
        }
        known.closed = op == Op::Close;
        drop(files);
        self.common.powers.acknowledged(file, position, op != Op::Flush);
        Ok(())
    }

    fn failed(&self, file: usize, what: &str, error: &Error) {
        self.note(format_args!("{what}: {}", error.report()));
        let excused = !self.common.plan.gentle || self.common.files.lock()[file].lost_memory;
        assert!(excused, "{what} of {} failed: {}", path(file), error.report());
    }
}

/// Reads what is there, all the time.
pub(super) async fn read(common: Common) {
    let client = common.client("reader", 0);
    let count = common.files.lock().len();
    let mut random = fastrand::Rng::with_seed(common.plan.random(7));
    let mut readers: Vec<Option<(u64, Reader)>> = (0..count).map(|_| None).collect();
    while !common.progress.lock().done {
        let file = random.usize(0..count);
        match look(&common, &client, file, &mut readers[file], &mut random).await {
            Ok(()) => {}
            Err(error) => common.trace.note("reader", format_args!("{}: {}", path(file), error.report())),
        }
        sleep(Duration::from_millis(random.u64(1..150))).await;
    }
}

/// Reads from anywhere to the end that is seen now, with the reader of last time or a new one.
async fn look(
    common: &Common,
    client: &Client,
    file: usize,
    kept: &mut Option<(u64, Reader)>,
    random: &mut fastrand::Rng,
) -> Result<()> {
    let known = || common.files.lock()[file].clone();
    let before = known();
    let again = kept.take().filter(|(changes, _)| *changes == before.changes && random.bool());
    let reader = match again {
        Some((_, reader)) => {
            reader.refresh().await?;
            reader
        }
        None => match client.reader(path(file)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                assert!(!before.exists, "{} has gone", path(file));
                return Ok(());
            }
            reader => reader?,
        },
    };
    let length = reader.len();
    let now = known();
    if now.changes == before.changes {
        invariants::acknowledged_bytes_are_there(path(file), before.flushed, length);
        invariants::nothing_is_there_that_was_never_sent(path(file), now.sent, length);
    }
    let from = if length == 0 { 0 } else { random.u64(0..length) };
    let wanted = usize::try_from(length - from).expect("small");
    let bytes = reader.read_at(from, wanted).await?;
    let mut files = common.files.lock();
    let now = &mut files[file];
    // Bytes that may have gone meanwhile are nobody's promise.
    if now.changes == before.changes {
        invariants::bytes_are_those_that_were_written(path(file), from, &now.bytes(from, wanted), &bytes);
        now.seen(length);
        *kept = Some((before.changes, reader));
    }
    drop(files);
    common.trace.note("reader", format_args!("{}: {} at {from}", path(file), bytes.len()));
    Ok(())
}

/// Waits for the cluster, lets the others begin, and when all is mended looks at what there is.
pub(super) async fn judge(common: Common) {
    let client = common.client("judge", 0);
    wait_until_whole(&common, &client).await;
    common.progress.lock().begun = true;
    while !common.progress.lock().mended {
        sleep(POLL).await;
    }
    wait_until_whole(&common, &client).await;
    read_all(&common, &client).await;
    if common.plan.dark_at_end {
        common.progress.lock().take_power = true;
        while !common.progress.lock().power_is_back {
            sleep(POLL).await;
        }
        wait_until_whole(&common, &client).await;
        read_all(&common, &client).await;
    }
    client.end_session().await.expect("end the session");
    common.progress.lock().done = true;
}

async fn wait_until_whole(common: &Common, client: &Client) {
    common.trace.note("judge", "waits until all is whole");
    let limit = Instant::now() + PATIENCE;
    let mut last = None;
    while Instant::now() < limit {
        match client.report().await {
            Ok(report) if invariants::is_whole(&report, common.plan.datanodes) => return,
            Ok(report) => last = Some(report),
            Err(_) => {}
        }
        sleep(POLL).await;
    }
    panic!("not whole within {PATIENCE:?}: {last:?}");
}

/// Every file holds what it must, and from then on just that.
async fn read_all(common: &Common, client: &Client) {
    let count = common.files.lock().len();
    for file in 0..count {
        let bytes = match client.get(path(file)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                assert!(!common.files.lock()[file].exists, "{} has gone", path(file));
                continue;
            }
            Err(error) => panic!("{} can't be read: {}", path(file), error.report()),
            Ok(bytes) => bytes,
        };
        let mut files = common.files.lock();
        let (known, length) = (&mut files[file], bytes.len() as u64);
        invariants::acknowledged_bytes_are_there(path(file), known.flushed, length);
        invariants::nothing_is_there_that_was_never_sent(path(file), known.sent, length);
        invariants::bytes_are_those_that_were_written(path(file), 0, &known.bytes(0, bytes.len()), &bytes);
        known.cut(length);
        drop(files);
        common.trace.note("judge", format_args!("{} has {length} bytes", path(file)));
    }
}
