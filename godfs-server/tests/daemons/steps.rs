//! SIGKILL and SIGSTOP at every step of a write, on one node of its pipeline or a node that is to join it.
//!
//! `GODFS_ROUNDS` rounds (default 6), from `GODFS_SEED` on. Every acknowledged byte is compared, and no call of a writer may take long.

use std::time::Duration;

use godfs_client::{Client, ClientSettings, CreateOptions, ReplaceNodes, Writer};

use crate::harness::{Daemons, Flags, noise, now, number};
use crate::joining::{LOG_TRANSFERS, transfers};

const KIB: usize = 1 << 10;
const DATANODES: usize = 5;
/// How long a call of a writer may take when a node is frozen, with much for a machine that is busy with other things.
const LONGEST: Duration = Duration::from_secs(6 + 6);

/// Where a writer stands as a node is struck.
#[derive(Clone, Copy, Debug)]
enum Step {
    SetUp,
    MidPacket,
    LastAck,
    Close,
    BetweenChunks,
    Joining,
}

const STEPS: [Step; 6] = [Step::SetUp, Step::MidPacket, Step::LastAck, Step::Close, Step::BetweenChunks, Step::Joining];

/// Sends a signal to a datanode after a moment, from another thread: the writer is in the middle of something.
struct Striker {
    pid: u32,
    signal: &'static str,
}

impl Striker {
    fn new(cluster: &Daemons, index: usize, signal: &'static str) -> Self {
        Self { pid: cluster.datanodes[index].as_ref().expect("running").pid(), signal }
    }

    fn strike(&self, after: Duration) -> std::thread::JoinHandle<()> {
        let (pid, signal) = (self.pid.to_string(), format!("-{}", self.signal));
        std::thread::spawn(move || {
            std::thread::sleep(after);
            let sent = std::process::Command::new("kill").args([signal, pid]).status();
            assert!(sent.expect("kill runs").success());
        })
    }
}

/// A file that is written, and how long that took at most.
struct Stream<'a> {
    writer: Writer,
    data: &'a [u8],
    written: usize,
    longest: Duration,
}

impl Stream<'_> {
    /// Writes up to byte `to` in pieces, and has it acknowledged.
    async fn write(&mut self, to: usize) {
        while self.written < to {
            let part = &self.data[self.written..to.min(self.written + 50_000)];
            let begun = now();
            self.writer.write(part).await.expect("the write goes on");
            self.longest = self.longest.max(begun.elapsed());
            self.written += part.len();
        }
    }

    async fn flush(&mut self) {
        let begun = now();
        self.writer.hflush().await.expect("acknowledged");
        self.longest = self.longest.max(begun.elapsed());
    }

    async fn close(&mut self) {
        let begun = now();
        self.writer.close().await.expect("closed");
        self.longest = self.longest.max(begun.elapsed());
    }
}

/// The indexes of the datanodes that rows name for the last chunk of a file.
fn pipeline(cluster: &Daemons, path: &str) -> Vec<usize> {
    let located = cluster.locate(path);
    let chunks = located["chunks"].as_array().expect("chunks");
    let replicas = chunks.last().map_or(&[][..], |chunk| chunk["replicas"].as_array().expect("replicas"));
    let index = |replica: &serde_json::Value| {
        let address = replica["address"].as_str()?;
        cluster.datanodes.iter().position(|node| node.as_ref().is_some_and(|node| node.address == address))
    };
    replicas.iter().filter_map(index).collect()
}

/// What came of a round.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// The longest that a call of the writer took.
    longest: Duration,
    signal: &'static str,
    /// Whether a node has joined the last chunk that was not in its pipeline at first.
    joined: bool,
}

/// One file, in the middle of which a node is struck.
async fn round(cluster: &mut Daemons, client: &Client, path: &str, step: Step, random: &mut fastrand::Rng) -> Round {
    let chunk = if matches!(step, Step::Joining) { 8 << 20 } else { 512 * KIB };
    let data = noise(chunk * 2 + random.usize(0..chunk), random.u64(..));
    let options = CreateOptions::new().chunk_size(chunk as u64);
    let writer = client.writer(path, options).await.expect("create");
    let mut stream = Stream { writer, data: &data, written: 0, longest: Duration::ZERO };
    let signal = if random.bool() { "KILL" } else { "STOP" };
    let moment = Duration::from_micros(random.u64(0..12_000));
    let half = chunk / 2 + random.usize(0..chunk / 4);
    let mut struck = Vec::new();
    if !matches!(step, Step::SetUp) {
        stream.write(if matches!(step, Step::BetweenChunks) { chunk } else { half }).await;
        stream.flush().await;
    }
    let nodes = pipeline(cluster, path);
    let any = random.usize(0..DATANODES);
    let mut victim = *nodes.get(random.usize(0..3)).unwrap_or(&any);
    if matches!(step, Step::Joining) {
        cluster.kill_datanode(victim);
        struck.push(victim);
        stream.write(half + random.usize(0..chunk / 8)).await;
        stream.flush().await;
        let others: Vec<usize> = (0..DATANODES).filter(|index| *index != victim).collect();
        victim = others[random.usize(0..others.len())];
    }
    let striker = Striker::new(cluster, victim, signal);
    struck.push(victim);
    let sent = match step {
        Step::SetUp | Step::MidPacket | Step::BetweenChunks => {
            let sent = striker.strike(moment);
            stream.write(data.len() - 100).await;
            sent
        }
        Step::Joining => {
            let sent = striker.strike(moment * 8);
            // Slowly, so that all of it happens before the chunk is full.
            for _ in 0..20 {
                stream.write(stream.written + 20_000).await;
                stream.flush().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stream.write(data.len() - 100).await;
            sent
        }
        Step::LastAck => {
            stream.write(data.len()).await;
            let sent = striker.strike(moment / 4);
            stream.flush().await;
            sent
        }
        Step::Close => {
            stream.write(data.len()).await;
            let sent = striker.strike(moment);
            stream.close().await;
            sent
        }
    };
    if !matches!(step, Step::Close) {
        stream.write(data.len()).await;
        stream.flush().await;
        stream.close().await;
    }
    sent.join().expect("struck");
    let joined = matches!(step, Step::Joining) && pipeline(cluster, path).iter().any(|index| !nodes.contains(index));
    assert!(client.get(path).await.expect("get") == data, "{path} has other bytes");
    for index in struck {
        // A process that is frozen ends by SIGKILL as well.
        if cluster.datanodes[index].is_some() {
            cluster.kill_datanode(index);
        }
        cluster.start_datanode(index);
    }
    cluster.wait_live(DATANODES as u64);
    assert!(client.get(path).await.expect("get") == data, "{path} has other bytes");
    Round { longest: stream.longest, signal, joined }
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_signals_at_every_step_of_a_write() {
    let rounds = number("GODFS_ROUNDS", STEPS.len() as u64);
    let seed = number("GODFS_SEED", fastrand::u64(..));
    println!("GODFS_SEED={seed} replays this");
    let mut random = fastrand::Rng::with_seed(seed);
    let flags = Flags { datanode: LOG_TRANSFERS.to_vec(), ..Flags::default() };
    let mut cluster = Daemons::with(DATANODES, &flags);
    let mut settings = ClientSettings::default();
    settings.replace_nodes = ReplaceNodes::Always;
    // Nodes that were struck serve again, and are struck again.
    settings.avoid_node = Duration::from_secs(1);
    for number in 0..rounds {
        let builder = Client::builder().namenodes(&cluster.url()).settings(settings.clone());
        let client = builder.connect().await.expect("connect");
        let step = STEPS[usize::try_from(number).expect("small") % STEPS.len()];
        let path = format!("/{number}");
        let round = round(&mut cluster, &client, &path, step, &mut random).await;
        let Round { longest, signal, joined } = round;
        println!(
            "round {number}, {step:?}, SIG{signal}: no call took longer than {longest:?}, a node has joined: {joined}"
        );
        assert!(longest < LONGEST, "round {number}, {step:?}, SIG{signal}: a call took {longest:?}");
        if number % 20 == 19 {
            cluster.wait_until_whole();
            // So that a long soak does not fill the disk.
            for number in number - 19..=number {
                client.remove(format!("/{number}"), godfs_client::RemoveOptions::default()).await.expect("remove");
            }
        }
    }
    cluster.wait_until_whole();
    let (begun, done) = transfers(&cluster);
    println!("{begun} copies to nodes that were to join were begun, {done} of them done");
    // Else the moments are the wrong ones.
    assert!(rounds < 100 || begun > done, "no copy was hit");
    cluster.kill_namenode();
    cluster.check_namenode();
}
