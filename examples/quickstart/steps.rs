//! The steps of the quickstart, one function each.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use godfs_client::{Client, CreateOptions};
use godfs_server::Cluster;
use godfs_server::namenode::NamenodeSettings;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::table::Table;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Small, so that there is something to see.
const CHUNK: u64 = 4 << 20;
const DATANODES: usize = 4;
const FILE: &str = "/quickstart/file";
/// No step takes longer than this unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of it.
pub(crate) struct Quickstart {
    pub(crate) sha256: String,
    pub(crate) chunks: usize,
    pub(crate) repaired_in: Duration,
    pub(crate) corrupt_found: u64,
    table: Table,
}

impl Quickstart {
    pub(crate) fn table(&self) -> String {
        self.table.text()
    }

    /// All steps, one after another.
    pub(crate) async fn run(file: &Path) -> Outcome<Self> {
        let mut table = Table::default();
        let folder = tempfile::tempdir()?;

        let start = Instant::now();
        let mut cluster = start_cluster(folder.path()).await?;
        let client = cluster.client();
        table.add("start", start.elapsed(), format!("a namenode and {DATANODES} datanodes"));

        let start = Instant::now();
        let (length, sha256) = write(&client, file).await?;
        table.add("write", start.elapsed(), format!("{} of {}, three replicas", bytes(length), file.display()));

        let chunks = show_chunks(&client).await?;

        let start = Instant::now();
        let killed = read_while_killing(&mut cluster, &client, &sha256).await?;
        table.add("read", start.elapsed(), format!("equal, though datanode {killed} was killed on the way"));

        let repaired_in = wait_until_whole(&client, chunks).await?;
        table.add("repair", repaired_in, format!("all {chunks} chunks have three live replicas again"));

        let start = Instant::now();
        let corrupt_found = flip_and_find(&cluster, &client, killed).await?;
        wait_until_whole(&client, chunks).await?;
        table.add("scrub", start.elapsed(), format!("{corrupt_found} flipped bit found, its replica replaced"));

        let start = Instant::now();
        let client = restart(&mut cluster).await?;
        let again = read(&client).await?;
        if again != sha256 {
            return Err(format!("after the restart the file has SHA-256 {again}, not {sha256}").into());
        }
        table.add("restart", start.elapsed(), "all from disk, and the file is equal".into());

        cluster.stop().await?;
        Ok(Self { sha256, chunks, repaired_in, corrupt_found, table })
    }
}

async fn start_cluster(folder: &Path) -> Outcome<Cluster> {
    let mut settings = NamenodeSettings::default();
    // Small files live in the namenode; this one is to be seen on datanodes, however small.
    settings.namespace.small_file_limit = 0;
    Ok(Cluster::builder().datanodes(DATANODES).folder(folder).namenode_settings(settings).start().await?)
}

/// Copies `file` into the cluster under a progress bar; its length and SHA-256.
async fn write(client: &Client, file: &Path) -> Outcome<(u64, String)> {
    let mut source = tokio::fs::File::open(file).await.map_err(|error| format!("{}: {error}", file.display()))?;
    let length = source.metadata().await?.len();
    if length == 0 {
        return Err(format!("{} is empty: there would be nothing to see", file.display()).into());
    }
    let bar = progress(length, "writing");
    let mut target = client.create(FILE, CreateOptions::default().parents(true).chunk_size(CHUNK)).await?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut written = 0;
    loop {
        let read = source.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        target.write_all(&buffer[..read]).await?;
        written += read as u64;
        bar.set_position(written);
    }
    target.close().await?;
    bar.finish_and_clear();
    Ok((written, hex(&hash.finalize())))
}

/// Prints where the chunks lie; how many there are.
async fn show_chunks(client: &Client) -> Outcome<usize> {
    /// More lines than this tell nothing new.
    const SHOWN: usize = 8;
    let located = client.locate(FILE).await?;
    for chunk in located.chunks.iter().take(SHOWN) {
        let nodes: Vec<_> = chunk.replicas.iter().map(|replica| replica.node.id.to_string()).collect();
        println!("    chunk {:>4} at {:>10}: datanodes {}", chunk.chunk, chunk.offset, nodes.join(" "));
    }
    if located.chunks.len() > SHOWN {
        println!("    and {} chunks more", located.chunks.len() - SHOWN);
    }
    Ok(located.chunks.len())
}

/// Reads the file back, killing a datanode that holds its last chunk half-way; the index of that datanode.
async fn read_while_killing(cluster: &mut Cluster, client: &Client, expected: &str) -> Outcome<usize> {
    let located = client.locate(FILE).await?;
    let address = located
        .chunks
        .last()
        .and_then(|chunk| chunk.replicas.first())
        .map(|replica| replica.node.address.to_string())
        .ok_or("the file has no chunk")?;
    let victim = (0..cluster.datanodes())
        .find(|&index| cluster.datanode_address(index).is_some_and(|at| at == address))
        .ok_or("no datanode has the address of the last chunk")?;
    let mut file = client.open(FILE).await?;
    let length = file.len();
    let bar = progress(length, "reading");
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let (mut done, mut killed) = (0, false);
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        done += read as u64;
        bar.set_position(done);
        if !killed && done >= length / 2 {
            cluster.kill_datanode(victim).await;
            killed = true;
        }
    }
    bar.finish_and_clear();
    let found = hex(&hash.finalize());
    if found != expected {
        return Err(format!("the file read back has SHA-256 {found}, not {expected}").into());
    }
    Ok(victim)
}

/// Waits until every chunk has three live replicas; how long that took.
async fn wait_until_whole(client: &Client, chunks: usize) -> Outcome<Duration> {
    let start = Instant::now();
    let bar = progress(chunks as u64, "repairing");
    loop {
        let located = client.locate(FILE).await?;
        let whole = located
            .chunks
            .iter()
            .filter(|chunk| {
                chunk.replicas.iter().filter(|replica| replica.live && replica.state.is_some()).count() >= 3
            })
            .count();
        bar.set_position(whole as u64);
        if whole == chunks {
            bar.finish_and_clear();
            return Ok(start.elapsed());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("only {whole} of {chunks} chunks have three live replicas after {PATIENCE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Flips one bit of one replica on disk and has the cluster look for it; how many were found.
async fn flip_and_find(cluster: &Cluster, client: &Client, dead: usize) -> Outcome<u64> {
    let holder = (0..cluster.datanodes()).find(|&index| index != dead).ok_or("no live datanode")?;
    let replica = largest_replica(&cluster.datanode_folder(holder)).ok_or("the datanode holds no replica")?;
    let mut content = std::fs::read(&replica)?;
    let at = content.len() - 1;
    content[at] ^= 1;
    std::fs::write(&replica, content)?;
    println!("    flipped a bit in {}", replica.file_name().unwrap_or_default().to_string_lossy());

    let mut scrub = client.scrub(None).await?;
    let bar = progress(0, "scrubbing");
    let mut corrupt = 0;
    while let Some(progress) = scrub.next().await {
        let progress = progress?;
        bar.set_length(progress.total);
        bar.set_position(progress.checked);
        corrupt = progress.corrupt;
    }
    bar.finish_and_clear();
    if corrupt == 0 { Err("the scrub found nothing".into()) } else { Ok(corrupt) }
}

/// The largest file in the folder of finalized replicas.
fn largest_replica(folder: &Path) -> Option<PathBuf> {
    let mut largest = None;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.iter().any(|part| part == "finalized") {
                largest = largest.max(Some((entry.metadata().ok()?.len(), path)));
            }
        }
    }
    largest.map(|(_, path)| path)
}

/// Kills everything and starts it again from disk.
async fn restart(cluster: &mut Cluster) -> Outcome<Client> {
    for index in 0..cluster.datanodes() {
        cluster.kill_datanode(index).await;
    }
    cluster.kill_namenode().await;
    cluster.restart_namenode().await?;
    for index in 0..cluster.datanodes() {
        cluster.restart_datanode(index).await?;
    }
    Ok(cluster.client())
}

async fn read(client: &Client) -> Outcome<String> {
    let mut file = client.open(FILE).await?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

fn progress(length: u64, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("  {msg} [{bar:40}] {percent}%").unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(doing)
}

fn bytes(length: u64) -> String {
    format!("{:.1} MiB", length as f64 / f64::from(1 << 20))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
