//! Stores that are slow or fail, and files that nobody can recover.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use godfs_core::metadata::{Announcements, MemoryStore, MetadataStore, Place, ReadBox, TransactionBox};
use godfs_core::{Incarnation, Result, Version};
use godfs_proto::v1;
use godfs_server::namenode::MetadataSource;
use tokio::sync::watch;
use tonic_health::pb::health_check_response::ServingStatus;
use v1::command::Order;
use v1::datanode_message::Message as Up;
use v1::replica_event::Kind;

use super::fake::{FakeClient, PATIENCE, channel, event, finalized, until};
use super::{in_memory, memory, node, report, reported, settings, start_with};

/// A store that commits only while its gate is open.
#[derive(Debug)]
struct Gated {
    store: MemoryStore,
    open: watch::Sender<bool>,
}

#[async_trait]
impl MetadataStore for Gated {
    async fn transact(&self, body: TransactionBox) -> Result<(TransactionBox, Version)> {
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
        self.store.transact(body).await
    }

    async fn read(&self, body: ReadBox) -> Result<ReadBox> {
        self.store.read(body).await
    }

    async fn version(&self) -> Result<Version> {
        self.store.version().await
    }

    async fn changes(&self, from: Place, limit: usize) -> Result<Announcements> {
        self.store.changes(from, limit).await
    }

    async fn oldest_change(&self) -> Result<Place> {
        self.store.oldest_change().await
    }

    async fn newer_than(&self, since: Version) -> Result<Version> {
        self.store.newer_than(since).await
    }

    fn incarnation(&self) -> Incarnation {
        self.store.incarnation()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

/// Longer than a silence that is a death.
fn longer_than_death() -> u64 {
    u64::try_from((settings().liveness.dead_after * 3 / 2).as_millis()).expect("small")
}

/// Many nodes registered at once and their reports waited for one disk: the heartbeats behind them were not read, the nodes were taken for dead, and began anew
/// with their reports.
#[tokio::test]
async fn a_node_whose_reports_wait_for_the_disk_is_not_dead() {
    let store =
        Arc::new(Gated { store: MemoryStore::new(Incarnation::from_random(7)), open: watch::Sender::new(true) });
    let namenode = start_with(MetadataSource::Store(store.clone()), settings()).await;
    let only = node(&namenode, 1).await;
    let began = reported(&namenode, "it is certain", |report| report.complete).await.uptime_ms;
    store.open.send_replace(false);
    let replica = event(Kind::Finalized, finalized(7, 1, 10));
    for sequence in 1..200 {
        only.send(Up::Events(v1::ReplicaEvents { sequence, events: vec![replica.clone()] })).await;
    }
    reported(&namenode, "it was behind for long", |report| {
        assert_eq!(report.live_datanodes, 1, "{report:?}");
        report.uptime_ms > began + longer_than_death()
    })
    .await;
    store.open.send_replace(true);
    namenode.stop().await.expect("stop");
}

#[tokio::test]
async fn whatever_a_node_says_is_a_sign_of_life() {
    let namenode = in_memory().await;
    let mut only = node(&namenode, 1).await;
    let began = reported(&namenode, "it is certain", |report| report.complete).await.uptime_ms;
    only.fall_silent();
    for sequence in 1.. {
        only.events(sequence, vec![event(Kind::Finalized, finalized(7, 1, 10))]).await;
        let report = report(&namenode).await;
        assert_eq!(report.live_datanodes, 1, "{report:?}");
        if report.uptime_ms > began + longer_than_death() {
            break;
        }
    }
    namenode.stop().await.expect("stop");
}

/// As many files as are recovered at once lay on a node that had died, and no other file of the cluster was ever closed again.
#[tokio::test]
async fn files_that_nobody_can_recover_do_not_keep_others_from_it() {
    let mut settings = settings();
    settings.namespace.session_timeout = Duration::from_secs(1);
    settings.namespace.lease_soft_limit = Duration::from_millis(300);
    settings.recovery.backoff_first = Duration::from_secs(3_600);
    settings.recovery.backoff_most = Duration::from_secs(3_600);
    let namenode = start_with(MetadataSource::Store(memory()), settings).await;
    let dying = node(&namenode, 1).await;
    reported(&namenode, "it is certain", |report| report.complete).await;
    let client = FakeClient::connect(namenode.address()).await;
    for n in 0..64 {
        let file = client.create(&format!("/lost{n}"), 1).await;
        client.add_chunk(&file).await.expect("chunk");
    }
    drop(dying);
    let dead = |report: &v1::ReportResponse| report.nodes.iter().any(|node| node.state() == v1::NodeState::Dead);
    reported(&namenode, "it is dead", dead).await;
    let mut living = node(&namenode, 2).await;
    let client = FakeClient::connect(namenode.address()).await;
    let file = client.create("/f", 1).await;
    let chunk = client.add_chunk(&file).await.expect("chunk");
    let (_, order) = living.command().await;
    assert!(matches!(order, Order::Recover(recover) if recover.chunk == chunk.chunk), "{order:?}");
    namenode.stop().await.expect("stop");
}

/// The disk of the metadata had one bad moment; the process went on, looked healthy and answered nothing.
#[tokio::test]
async fn a_namenode_whose_store_has_failed_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let metadata = folder.path().join("metadata");
    let mut settings = settings();
    settings.store.segment_bytes = 64 << 10;
    let namenode = start_with(MetadataSource::Folder(metadata.clone()), settings).await;
    let client = FakeClient::connect(namenode.address()).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel(namenode.address()).await);
    let whole = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let healthy = health.check(whole.clone()).await.expect("answer").into_inner();
    assert_eq!(healthy.status(), ServingStatus::Serving);

    // The next segment of its log can't be made.
    std::fs::remove_dir_all(&metadata).expect("remove");
    let writing = async {
        for n in 0.. {
            if client.mkdir(&format!("/{n}")).await.is_err() {
                break;
            }
        }
        namenode.failed().await
    };
    let cause = tokio::time::timeout(PATIENCE, writing).await.expect("it fails");
    assert!(cause.message().contains("opened anew"), "{cause}");
    until("its health says so", || {
        let (mut health, whole) = (health.clone(), whole.clone());
        async move {
            let answer = health.check(whole).await.expect("answer").into_inner();
            (answer.status() == ServingStatus::NotServing).then_some(())
        }
    })
    .await;
    namenode.kill().await;
}

/// Nothing was changed in between: an order of the first life must be older all the same.
#[tokio::test]
async fn every_life_has_an_epoch_of_its_own() {
    let store = memory();
    let mut epochs = Vec::new();
    for life in 0..3 {
        let source = MetadataSource::Store(Arc::clone(&store) as Arc<dyn MetadataStore>);
        let namenode = start_with(source, settings()).await;
        let node = until("the old stream is gone", || async {
            let mut who = super::Introduction::new(1);
            who.id = u32::from(life > 0);
            super::FakeNode::connect(namenode.address(), &who).await.ok()
        })
        .await;
        epochs.push(node.registered.epoch);
        namenode.kill().await;
    }
    assert!(epochs.is_sorted_by(|before, after| before < after), "{epochs:?}");
}
