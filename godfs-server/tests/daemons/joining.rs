//! Datanodes that take the place of others in the middle of a chunk.

use godfs_client::{Client, ClientSettings, CreateOptions, ReplaceNodes, Writer};

use crate::harness::{Daemons, Flags, noise, number, wait_for};

const MIB: usize = 1 << 20;

/// Large enough that everything happens in one chunk.
fn one_chunk() -> CreateOptions {
    CreateOptions::default().chunk_size(64 * MIB as u64)
}

async fn client(cluster: &Daemons, replace_nodes: ReplaceNodes) -> Client {
    let mut settings = ClientSettings::default();
    settings.replace_nodes = replace_nodes;
    Client::builder().namenodes(&cluster.url()).settings(settings).connect().await.expect("client connects")
}

/// The indexes of the datanodes in the pipeline of the one chunk of `path`, in its order.
fn pipeline(cluster: &Daemons, path: &str) -> Vec<usize> {
    let located = cluster.locate(path);
    let replicas = located["chunks"][0]["replicas"].as_array().expect("replicas").clone();
    let index = |replica: &serde_json::Value| {
        let address = replica["address"].as_str().expect("address");
        let found = cluster.datanodes.iter().position(|node| node.as_ref().is_some_and(|node| node.address == address));
        found.expect("it runs")
    };
    let in_pipeline = |replica: &&serde_json::Value| replica["live"] == true;
    replicas.iter().filter(in_pipeline).map(index).collect()
}

/// Writes and has acknowledged what follows of `data`, a packet or so at a time.
struct Stream<'a> {
    writer: Writer,
    data: &'a [u8],
    written: usize,
}

impl<'a> Stream<'a> {
    async fn open(client: &Client, path: &str, data: &'a [u8]) -> Self {
        let writer = client.writer(path, one_chunk()).await.expect("create");
        Self { writer, data, written: 0 }
    }

    async fn write(&mut self, bytes: usize) {
        let end = (self.written + bytes).min(self.data.len());
        while self.written < end {
            let part = &self.data[self.written..end.min(self.written + 100_000)];
            self.writer.write(part).await.expect("the write goes on");
            self.written += part.len();
        }
        self.writer.hflush().await.expect("acknowledged");
    }

    /// Goes on until the nodes of the pipeline are as `right` says.
    async fn write_until(&mut self, cluster: &Daemons, path: &str, what: &str, right: impl Fn(&[usize]) -> bool) {
        for _ in 0..400 {
            if right(&pipeline(cluster, path)) {
                return;
            }
            self.write(20_000).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("waited in vain until {what}: {}\n{}", cluster.locate(path), cluster.datanode_logs().join("\n\n"));
    }
}

/// Only the node that joined is left: it has all that was ever acknowledged.
async fn alone(cluster: &mut Daemons, client: &Client, path: &str, keep: usize, expected: &[u8]) {
    let others: Vec<usize> =
        (0..cluster.datanodes.len()).filter(|&index| index != keep && cluster.datanodes[index].is_some()).collect();
    for index in others {
        cluster.kill_datanode(index);
    }
    let found = client.get(path).await.expect("the node that joined has it");
    assert!(found == expected, "other bytes: {} of {}", found.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_in_the_middle_of_a_chunk() {
    for freeze in [false, true] {
        let mut cluster = Daemons::start(4);
        let client = client(&cluster, ReplaceNodes::Always).await;
        let data = noise(24 * MIB, 1);
        let mut stream = Stream::open(&client, "/f", &data).await;
        stream.write(6 * MIB + 12_345).await;
        let before = pipeline(&cluster, "/f");
        let newcomer = (0..4).find(|index| !before.contains(index)).expect("four nodes, three of them in it");
        let victim = before[1];
        if freeze {
            cluster.datanodes[victim].as_ref().expect("running").signal("STOP");
        } else {
            cluster.kill_datanode(victim);
        }
        stream.write(MIB).await;
        stream
            .write_until(&cluster, "/f", "a node has joined", |now| {
                now.len() == 3 && now.contains(&newcomer) && !now.contains(&victim)
            })
            .await;
        stream.write(MIB).await;
        stream.writer.close().await.expect("close");
        let written = stream.written;
        if freeze {
            cluster.datanodes[victim].as_ref().expect("running").signal("CONT");
        }
        alone(&mut cluster, &client, "/f", newcomer, &data[..written]).await;
    }
}

/// What was flushed before all of the first pipeline died is with those who joined it since.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_outlives_all_that_began_it() {
    let mut cluster = Daemons::start(6);
    let client = client(&cluster, ReplaceNodes::Always).await;
    let data = noise(24 * MIB, 2);
    let mut stream = Stream::open(&client, "/f", &data).await;
    stream.write(3 * MIB).await;
    let first = pipeline(&cluster, "/f");
    for &victim in &first {
        cluster.kill_datanode(victim);
        stream.write(100_000).await;
        stream.write_until(&cluster, "/f", "the pipeline has three nodes again", |now| now.len() == 3).await;
    }
    assert!(pipeline(&cluster, "/f").iter().all(|index| !first.contains(index)));
    stream.writer.close().await.expect("close");
    let written = stream.written;
    assert!(client.get("/f").await.expect("get") == data[..written], "other bytes");
}

/// A writer that paused did not notice that its nodes died, until none of those was left that had what it had flushed. And no more than three nodes ever joined
/// a chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_pauses_keeps_its_copies() {
    let mut cluster = Daemons::start(8);
    let client = client(&cluster, ReplaceNodes::Always).await;
    let data = noise(3 * MIB, 4);
    let mut stream = Stream::open(&client, "/f", &data).await;
    stream.write(2 * MIB).await;
    for _ in 0..5 {
        let nodes = pipeline(&cluster, "/f");
        let victim = nodes[0];
        cluster.kill_datanode(victim);
        wait_for("another node has joined", || {
            let now = pipeline(&cluster, "/f");
            let joined = now.len() == 3 && now.iter().any(|index| !nodes.contains(index));
            if joined { Ok(()) } else { Err(format!("{nodes:?} before, {now:?} now")) }
        });
    }
    stream.write(MIB).await;
    stream.writer.close().await.expect("close");
    assert!(client.get("/f").await.expect("get") == data, "other bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_says_when() {
    let mut cluster = Daemons::start(5);
    for (policy, path, after_one, after_two) in [
        (ReplaceNodes::Never, "/never", 2, 1),
        (ReplaceNodes::WhenSmall, "/when-small", 2, 2),
        (ReplaceNodes::Always, "/always", 3, 3),
    ] {
        let client = client(&cluster, policy).await;
        let data = noise(24 * MIB, 3);
        let mut stream = Stream::open(&client, path, &data).await;
        stream.write(MIB).await;
        let first = pipeline(&cluster, path);
        for (&victim, expected) in first.iter().zip([after_one, after_two]) {
            cluster.kill_datanode(victim);
            stream.write(100_000).await;
            let what = "there are as many nodes as the policy says";
            stream.write_until(&cluster, path, what, |now| now.len() == expected).await;
            cluster.start_datanode(victim);
            cluster.wait_live(5);
        }
        // Nothing more is under way.
        stream.write(5 * MIB).await;
        assert_eq!(pipeline(&cluster, path).len(), after_two, "{policy:?}");
        stream.writer.close().await.expect("close");
        let written = stream.written;
        assert!(client.get(path).await.expect("get") == data[..written], "other bytes");
    }
    cluster.wait_until_whole();
}

/// Has datanodes log which copies they begin to nodes that are to join, and which they end.
pub(crate) const LOG_TRANSFERS: [&str; 2] = ["--log", "info,godfs_server::datanode::transfer=debug"];

/// How many such copies were begun, and how many done.
pub(crate) fn transfers(cluster: &Daemons) -> (usize, usize) {
    let logs = cluster.datanode_logs();
    let count = |words: &str| logs.iter().map(|log| log.matches(words).count()).sum();
    (count("transfer begins"), count("transfer is done"))
}

/// The node that copies, and the node that is to join, die in the middle of it, at many moments.
#[tokio::test(flavor = "multi_thread")]
async fn joining_may_fail_at_any_moment() {
    let flags = Flags { datanode: LOG_TRANSFERS.to_vec(), ..Flags::default() };
    let mut cluster = Daemons::with(5, &flags);
    let client = client(&cluster, ReplaceNodes::Always).await;
    let seed = number("GODFS_SEED", fastrand::u64(..));
    println!("GODFS_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..4 {
        let path = format!("/f{round}");
        let data = noise(24 * MIB, round);
        let mut stream = Stream::open(&client, &path, &data).await;
        stream.write(8 * MIB).await;
        let first = pipeline(&cluster, &path);
        cluster.kill_datanode(first[0]);
        stream.write(random.usize(1..2 * MIB)).await;
        tokio::time::sleep(std::time::Duration::from_millis(random.u64(0..80))).await;
        // The last one copies; where it goes is one of the two others.
        let second = if random.bool() { first[2] } else { (0..5).find(|index| !first.contains(index)).expect("one") };
        cluster.kill_datanode(second);
        stream.write(4 * MIB).await;
        stream.writer.close().await.expect("close");
        let written = stream.written;
        assert!(client.get(path.as_str()).await.expect("get") == data[..written], "other bytes in round {round}");
        for victim in [first[0], second] {
            cluster.start_datanode(victim);
        }
        cluster.wait_live(5);
        cluster.wait_until_whole();
    }
    let (begun, done) = transfers(&cluster);
    println!("{begun} copies were begun, {done} of them done");
    assert!(begun >= 4, "nobody was to join in {} of 4 rounds", 4 - begun);
    cluster.kill_namenode();
    cluster.check_namenode();
}
