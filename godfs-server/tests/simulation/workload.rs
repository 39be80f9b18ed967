//! What clients do, and what they may expect.

use std::sync::Arc;
use std::time::Duration;

use godfs_client::{Client, ClientSettings, CreateOptions, NodeState, ReportResponse};
use godfs_core::env::Env;
use godfs_core::{ErrorKind, Result};
use parking_lot::Mutex;

use crate::invariants;
use crate::network::{Outgoing, address};
use crate::plan::{CHUNK, DATANODES, Plan, Then};
use crate::trace::Trace;

/// The one file.
pub(crate) const PATH: &str = "/file";
/// How often clients ask again for what they wait for.
const POLL: Duration = Duration::from_millis(100);
/// How long a read may take while one datanode is lost, killed or silent.
const LONGEST_STALL: Duration = Duration::from_secs(2);
/// Until then all must be well again; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What clients and the one who breaks things tell one another.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes acknowledged by `hflush`, `hsync` or `close`.
    pub(crate) acknowledged: u64,
    /// The moment of the plan has come.
    pub(crate) moment: bool,
    /// The file is closed and as it should be: take all power.
    pub(crate) take_power: bool,
    /// All datanodes have lost power and are started again.
    pub(crate) power_is_back: bool,
    /// The writer has seen all it wanted to see.
    pub(crate) done: bool,
}

/// A client's machine.
#[derive(Clone)]
pub(crate) struct Machine {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is decided.
    pub(crate) plan: Arc<Plan>,
    /// What all know.
    pub(crate) progress: Arc<Mutex<Progress>>,
    /// What happens.
    pub(crate) trace: Trace,
}

impl Machine {
    fn client(&self) -> Client {
        let mut settings = ClientSettings::default();
        settings.transport.keep_alive = Duration::from_secs(1);
        settings.transport.keep_alive_timeout = Duration::from_secs(1);
        let purpose = self.name.bytes().fold(0, |sum, byte| sum * 256 + u64::from(byte));
        Client::builder()
            .namenodes(address("namenode").as_str())
            .settings(settings)
            .env(Env::simulated(self.plan.random(purpose)))
            .connector(Outgoing::of(self.name, &self.trace))
            .name(self.name)
            .build()
            .expect("the address is valid")
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.trace.note(self.name, what);
    }

    fn acknowledge(&self, bytes: u64) {
        let mut progress = self.progress.lock();
        progress.acknowledged = progress.acknowledged.max(bytes);
    }

    /// Writes the file as planned, reads it back, waits until all is repaired, and reads it once more after a loss of all power.
    pub(crate) async fn write(self) {
        let content = self.plan.content();
        let client = self.client();
        self.wait_until_whole(&client).await;
        self.note("create");
        let options = CreateOptions::new().replication(u32::try_from(DATANODES).expect("few")).chunk_size(CHUNK);
        let mut file = client.writer(PATH, options).await.expect("create");
        let mut position = 0;
        let strike = self.plan.strikes_before();
        for (index, (bytes, then)) in self.plan.writes.iter().enumerate() {
            if strike == Some(index) {
                self.progress.lock().moment = true;
            }
            self.note(format_args!("write {bytes} at {position}"));
            file.write(&content[position..position + bytes]).await.expect("write");
            position += bytes;
            match then {
                Then::Nothing => continue,
                Then::Pause(millis) => {
                    tokio::time::sleep(Duration::from_millis(*millis)).await;
                    continue;
                }
                Then::Flush => file.hflush().await.expect("hflush"),
                Then::Sync => file.hsync().await.expect("hsync"),
            }
            self.acknowledge(position as u64);
            self.note(format_args!("{then:?} acknowledged {position}"));
        }
        self.progress.lock().moment = true;
        self.note("close");
        file.close().await.expect("close");
        self.acknowledge(position as u64);
        self.note(format_args!("close acknowledged {position}"));
        self.read_all(&client, &content).await;
        self.wait_until_whole(&client).await;
        self.read_all(&client, &content).await;

        self.progress.lock().take_power = true;
        while !self.progress.lock().power_is_back {
            tokio::time::sleep(POLL).await;
        }
        self.wait_until_whole(&client).await;
        self.read_all(&client, &content).await;
        let report = client.report().await.expect("report");
        self.note(format_args!("the last report: {report:?}"));
        client.end_session().await.expect("end the session");
        self.progress.lock().done = true;
    }

    async fn read_all(&self, client: &Client, content: &[u8]) {
        self.note("read all");
        let bytes = client.get(PATH).await.expect("every acknowledged byte can be read");
        assert!(bytes == content, "other bytes than were acknowledged");
        self.note(format_args!("has read {}", bytes.len()));
    }

    async fn wait_until_whole(&self, client: &Client) {
        self.note("wait until all is whole");
        let limit = tokio::time::Instant::now() + PATIENCE;
        let mut last = None;
        while tokio::time::Instant::now() < limit {
            if let Ok(report) = client.report().await {
                if invariants::is_whole(&report, DATANODES) {
                    self.note("all is whole");
                    return;
                }
                last = Some(report);
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("not whole within {PATIENCE:?}: {last:?}");
    }

    /// Reads what is there while it is being written, and notes what is said of the nodes.
    pub(crate) async fn read(self) {
        let content = self.plan.content();
        let client = self.client();
        let mut said = String::new();
        let mut random = fastrand::Rng::with_seed(self.plan.random(7));
        while !self.progress.lock().done {
            if let Ok(report) = client.report().await {
                let says = summary(&report);
                if says != said {
                    self.note(&says);
                    said = says;
                }
            }
            match self.look(&client, &content, &mut random).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // Nothing can be read while there is no power anywhere.
                Err(error) if error.is_retryable() && self.progress.lock().take_power => {}
                Err(error) => panic!("what is acknowledged can't be read: {}", error.report()),
            }
            tokio::time::sleep(POLL * 2).await;
        }
    }

    /// Reads from anywhere to the end that is seen now.
    async fn look(&self, client: &Client, content: &[u8], random: &mut fastrand::Rng) -> Result<()> {
        let acknowledged = self.progress.lock().acknowledged;
        let reader = client.reader(PATH).await?;
        let length = reader.len();
        assert!(length >= acknowledged, "a reader sees {length} bytes of {acknowledged} acknowledged");
        let from = if length == 0 { 0 } else { random.u64(0..length) };
        let began = tokio::time::Instant::now();
        let bytes = reader.read_at(from, content.len()).await?;
        // Whatever happens to one node, the others give what it does not; but where those chunks are the namenode may have to say.
        let took = began.elapsed();
        let one_lost = self.plan.namenode_killed.is_none() && !self.progress.lock().take_power;
        assert!(!one_lost || took <= LONGEST_STALL, "a reader stood still for {took:?}");
        let at = usize::try_from(from).expect("small");
        assert!(bytes == content[at..at + bytes.len()], "a reader sees other bytes at {from}");
        assert_eq!(from + bytes.len() as u64, length, "bytes that were seen have gone");
        self.note(format_args!("read {} at {from}", bytes.len()));
        Ok(())
    }
}

fn summary(report: &ReportResponse) -> String {
    let nodes: Vec<_> = report
        .nodes
        .iter()
        .map(|node| {
            let id = node.node.as_ref().map_or(0, |node| node.id);
            let state = NodeState::try_from(node.state).map_or("?", |state| state.as_str_name());
            format!("{id} {state} {} replicas", node.replicas)
        })
        .collect();
    format!(
        "{}, complete {}, under-replicated {}, missing {}, over-replicated {}, repairing {}, to delete {}",
        nodes.join(", "),
        report.complete,
        report.under_replicated,
        report.missing,
        report.over_replicated,
        report.repairing,
        report.pending_deletes
    )
}
