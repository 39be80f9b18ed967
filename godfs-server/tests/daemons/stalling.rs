//! How long a reader stands still when a datanode under it is killed or frozen.

use std::time::Duration;

use godfs_client::{Client, ClientSettings, CreateOptions, Hedging, LocalReads};
use tokio::io::AsyncReadExt;

use crate::harness::{Daemons, noise, now};

const MIB: usize = 1 << 20;

async fn client(cluster: &Daemons, hedging: Hedging) -> Client {
    let mut settings = ClientSettings::default();
    settings.hedging = hedging;
    // Whoever reads the files of a frozen process does not notice at all.
    settings.local_reads = LocalReads::Never;
    Client::builder().namenodes(&cluster.url()).settings(settings).connect().await.expect("connect")
}

/// Reads the file while its first chunks' nodes are struck, one after the other; the longest that a read of 64 KiB took.
async fn longest_stall(cluster: &Daemons, client: &Client, data: &[u8], strike: impl FnOnce()) -> Duration {
    let mut file = client.open("/f").await.expect("open");
    let (mut found, mut block, mut longest) = (Vec::new(), vec![0; 64 << 10], Duration::ZERO);
    let mut strike = Some(strike);
    while found.len() < data.len() {
        let began = now();
        let read = file.read(&mut block).await.expect("read");
        longest = longest.max(began.elapsed());
        assert!(read > 0, "{} bytes of {}", found.len(), data.len());
        found.extend_from_slice(&block[..read]);
        if found.len() > 2 * MIB
            && let Some(strike) = strike.take()
        {
            strike();
        }
    }
    assert!(found == data, "other bytes");
    drop(cluster.logs());
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_hardly_notices() {
    // Which node is frozen, the namenode must not notice before the readers do.
    let mut cluster =
        Daemons::with(3, &crate::harness::Flags { namenode: vec!["--dead-after", "60s"], ..Default::default() });
    let data = noise(24 * MIB, 9);
    let steady = client(&cluster, Hedging::Off).await;
    steady.put("/f", data.clone(), CreateOptions::new().chunk_size(MIB as u64)).await.expect("put");
    let pid = cluster.datanodes[1].as_ref().expect("running").pid().to_string();
    let signal = |signal: &str| {
        let sent = std::process::Command::new("kill").args([format!("-{signal}"), pid.clone()]).status();
        assert!(sent.expect("kill runs").success());
    };
    for (hedging, most) in [
        (Hedging::Off, Duration::from_millis(2_500)),
        (Hedging::After(Duration::from_millis(50)), Duration::from_secs(1)),
    ] {
        // One that has learned nothing yet.
        let reader = client(&cluster, hedging).await;
        let stall = longest_stall(&cluster, &reader, &data, || signal("STOP")).await;
        assert!(stall < most, "{hedging:?}: stood still for {stall:?}");
        if hedging == Hedging::Off {
            assert!(stall > Duration::from_secs(1), "the frozen node was not even asked: {stall:?}");
        }
        signal("CONT");
    }
    let reader = client(&cluster, Hedging::Off).await;
    let stall = longest_stall(&cluster, &reader, &data, || signal("KILL")).await;
    assert!(stall < Duration::from_secs(1), "killed: stood still for {stall:?}");
    cluster.datanodes[1] = None;
}

/// The command line measures the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_bench_measures_a_readers_stall() {
    let cluster = Daemons::start(3);
    let pid = cluster.datanodes[0].as_ref().expect("running").pid().to_string();
    let words = [
        "bench", "stall", "--freeze", &pid, "--role", "reader", "--for", "4s", "--hedge", "50ms", "--local", "never",
        "--json",
    ];
    let figures: serde_json::Value = serde_json::from_str(&cluster.ok(&words)).expect("JSON");
    let row = &figures[0];
    assert_eq!((&row["name"], &row["errors"]), (&"stall-freeze".into(), &0.into()), "{row}");
    assert!(row["max_us"].as_u64().is_some_and(|max| max < 1_400_000) && row.get("synced").is_none(), "{row}");
}
