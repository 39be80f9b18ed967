//! The conversation with one namenode: registration, heartbeats, events and reports up, commands down.
//!
//! A link tries its namenode for ever, with growing pauses. Everything it sends about replicas goes through one loop in the
//! order in which it was true: events that happen while a listing is made are sent after it, so that a listing never
//! takes back what an event has said.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, OptionFuture};
use godfs_client::transport::{Address, convert, status};
use godfs_core::chunk::ReplicaState;
use godfs_core::metadata::Counters;
use godfs_core::namespace::sums::{self, RANGE_CHUNKS};
use godfs_core::{Epoch, Error, ErrorKind, NodeId, Result, Version};
use godfs_proto::v1;
use godfs_proto::v1::datanode_message::Message as Up;
use godfs_proto::v1::datanode_service_client::DatanodeServiceClient;
use godfs_proto::v1::namenode_message::Message as Down;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::commands;
use super::events::Outbox;
use super::identity::Registration;
use super::shared::Shared;
use super::upkeep::Vitals;

/// Messages that wait to be sent: each is small, but for listings of at most 4,096 replicas.
const OUTBOUND: usize = 32;

/// Results of commands that wait to be sent. A worker that has to wait holds its place.
const RESULTS: usize = 256;

/// Sums in one message: some 50 KiB.
const SUMS: usize = 1_024;

/// Replicas that are listed at once for the sums.
const PAGE: usize = 4_096;

/// Ranges that a namenode may want listed at a time.
const MAX_WANTED: usize = 64 << 10;

/// The bounds of what a namenode may ask for as the interval of heartbeats.
const HEARTBEATS: std::ops::RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(60);

/// A namenode that has been silent for so many heartbeats, and for so long, is taken to be gone.
const SILENT_BEATS: u32 = 5;
const SILENT_AT_LEAST: Duration = Duration::from_secs(5);

/// How long a namenode may take to close the stream of a node that leaves.
const GOODBYE: Duration = Duration::from_secs(1);

/// How often an unchanged failure to connect is logged again.
const REMIND: Duration = Duration::from_secs(30);

/// Keeps the link with one namenode until the node leaves.
pub(crate) async fn link(shared: Arc<Shared>, namenode: Address, outbox: Arc<Outbox>) {
    let shortest = Duration::from_millis(shared.settings.reconnect_min_ms.max(1));
    let longest = Duration::from_millis(shared.settings.reconnect_max_ms).max(shortest);
    let patience = Duration::from_millis(shared.settings.refused_ms);
    let mut pause = shortest;
    let mut logged: Option<(Instant, String)> = None;
    let mut refused: Option<Instant> = None;
    while !shared.leave.is_cancelled() {
        let (registered, outcome) = match Link::register(&shared, &namenode, &outbox).await {
            Ok(link) => {
                (logged, refused) = (None, None);
                shared.registered.send_modify(|standing| {
                    standing.registered += 1;
                    standing.refusal = None;
                });
                let outcome = link.keep().await;
                shared.registered.send_modify(|standing| standing.registered -= 1);
                (true, outcome)
            }
            Err(error) => {
                // A namenode that is there and says no, unlike one that is not there.
                refused = match error.kind() {
                    ErrorKind::FailedPrecondition => refused.or_else(|| Some(Instant::now())),
                    _ => None,
                };
                let lasts = refused.is_some_and(|since| since.elapsed() >= patience);
                if !error.is_retryable() || lasts {
                    shared.registered.send_modify(|standing| standing.refusal = Some(error.duplicate()));
                }
                (false, Err(error))
            }
        };
        outbox.disconnect();
        let Err(error) = outcome else { return };
        let report = error.report();
        let again = logged.as_ref().is_none_or(|(at, last)| *last != report || at.elapsed() >= REMIND);
        if again {
            tracing::warn!(%namenode, error = report, "no namenode here; trying on");
            logged = Some((Instant::now(), report));
        }
        pause = if registered { shortest } else { (pause * 2).min(longest) };
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        // Half of it is chance, so that nodes which lost a namenode together do not return together.
        let pause = Duration::from_millis(millis / 2 + shared.env.random.below(millis / 2 + 1));
        shared.leave.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// A registration that stands.
struct Link<'a> {
    shared: &'a Arc<Shared>,
    outbox: &'a Outbox,
    up: mpsc::Sender<v1::DatanodeMessage>,
    down: Streaming<v1::NamenodeMessage>,
    namenode: &'a Address,
    heartbeat: Duration,
    /// What is still to be listed.
    wanted: VecDeque<Listing>,
    results: mpsc::Sender<v1::CommandResult>,
    finished: mpsc::Receiver<v1::CommandResult>,
}

/// Something to be listed.
enum Listing {
    /// The sums of all ranges.
    Sums,
    /// One range.
    Range(u64),
}

impl<'a> Link<'a> {
    async fn register(shared: &'a Arc<Shared>, namenode: &'a Address, outbox: &'a Outbox) -> Result<Self> {
        let patience = shared.settings.transport.call_timeout;
        let (up, requests) = mpsc::channel(OUTBOUND);
        let register = register_message(shared);
        // A new channel has room.
        let _ = up.try_send(register);
        let greet = async {
            let connection = shared.channels.control(namenode).await?;
            let mut client = DatanodeServiceClient::with_origin(connection, namenode.origin());
            let answer = client.connect(ReceiverStream::new(requests)).await;
            let mut down = answer.map_err(|end| status::from_status(&end, namenode))?.into_inner();
            match down.message().await.map_err(|end| status::from_status(&end, namenode))? {
                Some(v1::NamenodeMessage { message: Some(Down::Registered(registered)) }) => Ok((down, registered)),
                Some(_) => Err(garbled(namenode, "did not answer the registration first")),
                None => Err(garbled(namenode, "ended the stream before it answered the registration")),
            }
        };
        let (down, registered) = tokio::time::timeout(patience, greet).await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, format!("the namenode at {namenode} did not answer within {patience:?}"))
        })??;
        let registration = registration(&registered).map_err(|error| error.context(namenode))?;
        let node = registration.node;
        shared.identity.registered(registration, shared.accept).await.map_err(|error| error.context(namenode))?;
        shared.grants.learn(namenode, &registered.grant_key);
        tracing::info!(%namenode, %node, "registered");
        // Before the listing, so that whatever happens after it is told.
        outbox.connect(shared.verdicts());
        let heartbeat = Duration::from_millis(registered.heartbeat_ms).clamp(*HEARTBEATS.start(), *HEARTBEATS.end());
        let (results, finished) = mpsc::channel(RESULTS);
        let wanted = VecDeque::from([Listing::Sums]);
        Ok(Self { shared, outbox, up, down, namenode, heartbeat, wanted, results, finished })
    }

    /// Until the node leaves; an error when the namenode is gone.
    async fn keep(mut self) -> Result<()> {
        let shared = Arc::clone(self.shared);
        let outbox = self.outbox;
        let mut beats = tokio::time::interval(self.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let silence = (self.heartbeat * SILENT_BEATS).max(SILENT_AT_LEAST);
        let mut heard = Instant::now();
        let mut held = VecDeque::new();
        let mut listing: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>> = None;
        loop {
            if listing.is_none() {
                listing = self.wanted.pop_front().map(|next| self.list(next));
            }
            if listing.is_none()
                && let Some(events) = outbox.next(Instant::now())
            {
                self.send(Up::Events(events)).await?;
            }
            // Not ahead of what happened before, unless that waits for a listing.
            while let Some((_, result)) = held.pop_front_if(|(events, _)| listing.is_some() || outbox.has_told(*events))
            {
                self.send(Up::Result(result)).await?;
            }
            // A listing holds up the events, which would make it older than they are.
            let due = outbox.due().filter(|_| listing.is_none());
            tokio::select! {
                // All arms are cancel-safe: a stream's next, a channel, timers, notifications; the listing is polled by
                // reference and goes on.
                biased;
                () = shared.leave.cancelled() => return self.say_goodbye().await,
                message = self.down.message() => {
                    let message = message.map_err(|end| status::from_status(&end, self.namenode))?;
                    let message = message.ok_or_else(|| garbled(self.namenode, "ended the stream"))?;
                    heard = Instant::now();
                    self.take(message).await?;
                }
                Some(result) = self.finished.recv() => held.push_back((outbox.hasten(Instant::now()), result)),
                Some(done) = OptionFuture::from(listing.as_mut()) => {
                    done?;
                    listing = None;
                    if outbox.overflowed() {
                        self.wanted.push_back(Listing::Sums);
                    }
                }
                _ = beats.tick() => self.beat().await?,
                () = shared.beat.notified() => self.beat().await?,
                Some(()) = OptionFuture::from(due.map(tokio::time::sleep_until)) => {}
                () = outbox.changed() => {
                    if outbox.overflowed() {
                        self.wanted.push_back(Listing::Sums);
                    }
                }
                () = tokio::time::sleep_until(heard + silence) => {
                    return Err(garbled(self.namenode, &format!("was silent for {silence:?}")));
                }
            }
        }
    }

    async fn take(&mut self, message: v1::NamenodeMessage) -> Result<()> {
        match message.message {
            Some(Down::Heartbeat(reply)) => self.shared.identity.see(Version(reply.version)),
            Some(Down::Events(ack)) => {
                self.outbox.acknowledged(ack.sequence);
                Ok(())
            }
            Some(Down::Wanted(wanted)) => {
                if wanted.ranges.len() > MAX_WANTED.saturating_sub(self.wanted.len()) {
                    return Err(garbled(self.namenode, &format!("wants more than {MAX_WANTED} listings at a time")));
                }
                self.wanted.extend(wanted.ranges.into_iter().map(Listing::Range));
                Ok(())
            }
            Some(Down::Command(command)) => self.obey(command).await,
            Some(Down::Registered(_)) => Err(garbled(self.namenode, "answered the registration twice")),
            // From a newer version: what this one does not know it need not do.
            None => Ok(()),
        }
    }

    async fn obey(&mut self, command: v1::Command) -> Result<()> {
        let id = command.id;
        let obeyed = self.shared.identity.obey(&command.scope, Epoch(command.epoch)).await;
        let started = obeyed.and_then(|()| commands::start(self.shared, command, self.results.clone()));
        if let Err(error) = started {
            tracing::warn!(namenode = %self.namenode, id, error = error.report(), "command refused");
            self.send(Up::Result(commands::failed(id, &error))).await?;
        }
        Ok(())
    }

    async fn beat(&mut self) -> Result<()> {
        let shared = self.shared;
        let Vitals { space, unknown_files, volumes } = shared.vitals.lock().clone();
        let heartbeat = v1::Heartbeat {
            space: Some(convert::space_to_wire(&space)),
            load: shared.budget.streams(),
            scrub: Some(shared.scrub.status(shared.corrupt_found.load(Ordering::Relaxed))),
            unknown_files,
            draining: shared.draining.load(Ordering::Relaxed),
            volumes: convert::volumes_to_wire(&volumes),
            peers: shared.peers.to_wire(shared.env.clock.monotonic()),
        };
        self.send(Up::Heartbeat(heartbeat)).await
    }

    async fn say_goodbye(mut self) -> Result<()> {
        self.beat().await?;
        let Self { up, mut down, .. } = self;
        drop(up);
        let end = async { while let Ok(Some(_)) = down.message().await {} };
        // Whether it closes in time makes no difference to a node that leaves.
        let _ = tokio::time::timeout(GOODBYE, end).await;
        Ok(())
    }

    async fn send(&self, message: Up) -> Result<()> {
        send(&self.up, message, self.namenode).await
    }

    fn list(&self, what: Listing) -> BoxFuture<'static, Result<()>> {
        let (shared, up, namenode) = (Arc::clone(self.shared), self.up.clone(), self.namenode.clone());
        async move {
            match what {
                Listing::Sums => send_sums(&shared, &up, &namenode).await,
                Listing::Range(range) => send_range(&shared, &up, &namenode, range).await,
            }
        }
        .boxed()
    }
}

fn register_message(shared: &Shared) -> v1::DatanodeMessage {
    let identity = shared.identity.get();
    let (incarnation, version) = identity
        .seen
        .map_or((Vec::new(), 0), |(incarnation, version)| (incarnation.as_bytes().to_vec(), version.get()));
    let register = v1::Register {
        hello: Some(shared.hello()),
        node_uuid: identity.uuid.as_bytes().to_vec().into(),
        node: identity.node.map_or(0, NodeId::get),
        instance: shared.instance,
        address: shared.address.to_string(),
        domain: shared.domain.as_str().to_owned(),
        space: Some(convert::space_to_wire(&shared.vitals.lock().space)),
        incarnation: incarnation.into(),
        version,
    };
    v1::DatanodeMessage { message: Some(Up::Register(register)) }
}

fn registration(registered: &v1::Registered) -> Result<Registration> {
    Ok(Registration {
        cluster: convert::cluster_id(&registered.cluster_id)?,
        node: convert::node_id(registered.node)?,
        incarnation: convert::incarnation(&registered.incarnation)?,
        version: Version(registered.version),
        scope: registered.scope.clone(),
        epoch: Epoch(registered.epoch),
    })
}

/// The sums of all ranges that hold a finalized replica.
async fn send_sums(shared: &Shared, up: &mpsc::Sender<v1::DatanodeMessage>, namenode: &Address) -> Result<()> {
    let mut ended: Vec<v1::RangeSum> = Vec::new();
    let mut open: Option<(u64, Counters)> = None;
    let mut from = 0;
    loop {
        let page = shared.store.list(from..u64::MAX, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.chunk.get().saturating_add(1);
        for replica in page.iter().filter(|replica| replica.state == ReplicaState::Finalized) {
            let range = sums::range_of(replica.chunk);
            let (_, sum) = match &mut open {
                Some(open) if open.0 == range => open,
                _ => {
                    ended.extend(open.take().map(range_sum));
                    open.insert((range, Counters::default()))
                }
            };
            *sum = sum.plus(sums::of_replica(replica.chunk, replica.generation, replica.length));
        }
        while ended.len() > SUMS {
            let part = ended.drain(..SUMS).collect();
            send(up, Up::Sums(v1::ReportSums { sums: part, more: true }), namenode).await?;
        }
    }
    ended.extend(open.map(range_sum));
    send(up, Up::Sums(v1::ReportSums { sums: ended, more: false }), namenode).await
}

fn range_sum((range, sum): (u64, Counters)) -> v1::RangeSum {
    v1::RangeSum { range, lanes: sum.0.to_vec() }
}

/// All finalized replicas of one range.
async fn send_range(
    shared: &Shared,
    up: &mpsc::Sender<v1::DatanodeMessage>,
    namenode: &Address,
    range: u64,
) -> Result<()> {
    // Beyond the last chunk id there is an empty range.
    let first = range.saturating_mul(RANGE_CHUNKS);
    let replicas = shared.store.list(first..first.saturating_add(RANGE_CHUNKS), PAGE).await?;
    let finalized = replicas.iter().filter(|replica| replica.state == ReplicaState::Finalized);
    let replicas = finalized.map(convert::replica_to_wire).collect();
    send(up, Up::Range(v1::ReportRange { range, replicas }), namenode).await
}

/// Sends a message, within a bound: a namenode that reads nothing must not hold the link for ever.
async fn send(up: &mpsc::Sender<v1::DatanodeMessage>, message: Up, namenode: &Address) -> Result<()> {
    let message = v1::DatanodeMessage { message: Some(message) };
    match tokio::time::timeout(SILENT_AT_LEAST, up.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(garbled(namenode, "closed the stream")),
        Err(_) => Err(garbled(namenode, &format!("took nothing for {SILENT_AT_LEAST:?}"))),
    }
}

fn garbled(namenode: &Address, what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the namenode at {namenode} {what}"))
}
