//! DataFusion, Delta and Parquet on GoDFS, and the same programs on a local folder: the answers must be equal, and how fast they came is printed.

mod columns;
mod delta;
mod query;
mod scan;

use std::error::Error;
use std::process::Stdio;
use std::sync::Arc;

use godfs_object_store::GodfsStore;
use godfs_server::Cluster;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use tokio::process::Command;

/// Commits of each of the Delta table's writers.
const COMMITS: i64 = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [url, first, last] = &arguments[..] {
        // One of the writers that are started below.
        return delta::append(Arc::new(GodfsStore::from_url(url)?), first.parse()?..last.parse()?).await;
    }
    // Of 64 MiB; sixteen are a gigabyte.
    let batches = arguments.first().map_or(Ok(16), |batches| batches.parse())?;

    let cluster = Cluster::builder().datanodes(3).start().await?;
    let folder = tempfile::tempdir()?;
    let local: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
    let lake: Arc<dyn ObjectStore> = Arc::new(GodfsStore::new(cluster.client(), "/lake")?);
    let (on_local, on_lake) = (query::context(Arc::clone(&local))?, query::context(Arc::clone(&lake))?);

    let (here, there) = (query::run(&on_local).await?, query::run(&on_lake).await?);
    assert_eq!(here, there, "the answers");
    println!("DataFusion: the same from GoDFS as from a local folder\n{there}");

    commits(&cluster).await?;

    let (here, there) = (scan::run(local, &on_local, batches).await?, scan::run(lake, &on_lake, batches).await?);
    println!("Parquet, {} MiB      GoDFS   a local folder   ratio", 64 * batches);
    for (what, here, there) in [
        ("written", here.written, there.written),
        ("read by columns", here.read, there.read),
        ("DataFusion's scan", here.scanned, there.scanned),
    ] {
        println!("{what:<18} {there:>7.0} MB/s {here:>9.0} MB/s {:>7.2}", there / here);
    }
    Ok(())
}

/// A Delta table with two writers that go on to their end, and one that is killed in the middle.
async fn commits(cluster: &Cluster) -> Result<(), Box<dyn Error>> {
    let store: Arc<dyn ObjectStore> = Arc::new(GodfsStore::new(cluster.client(), "/table")?);
    delta::append(Arc::clone(&store), 0..1).await?;
    let url = format!("{}/table", cluster.url());
    let writer = |first: i64, last: i64| {
        let mut writer = Command::new(std::env::current_exe()?);
        writer
            .args([url.as_str(), &first.to_string(), &last.to_string()])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
    };
    let (mut one, mut two) = (writer(1, COMMITS + 1)?, writer(COMMITS + 1, 2 * COMMITS + 1)?);
    let mut killed = writer(1_000, 2_000)?;
    while delta::numbers(Arc::clone(&store)).await?.iter().all(|number| *number < 1_000) {
        assert!(killed.try_wait()?.is_none(), "the third writer ended");
    }
    killed.kill().await?;
    assert!(one.wait().await?.success() && two.wait().await?.success(), "both writers commit");
    delta::append(Arc::clone(&store), 3_000..3_001).await?;

    let mut numbers = delta::numbers(store).await?;
    numbers.sort_unstable();
    let all = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), all, "no number twice");
    let whole = (0..=2 * COMMITS).chain([3_000]);
    assert!(whole.clone().all(|number| numbers.binary_search(&number).is_ok()), "every commit is there: {numbers:?}");
    let of_killed = all - whole.count();
    // What the killed one committed is a beginning of what it was to write.
    let wanted = (1_000..2_000).take(of_killed);
    assert!(wanted.clone().all(|number| numbers.binary_search(&number).is_ok()), "{numbers:?}");
    println!("Delta: {COMMITS} commits of each of two writers at once, and {of_killed} of one that was killed");
    Ok(())
}
