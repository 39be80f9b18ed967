//! The service to datanodes: one stream each. Who registers, what it says regularly, and that its stream has ended.
//!
//! What a datanode says of its replicas goes to [`reports`](super::reports), in the order in which it was said and beside the heartbeats. Whatever it
//! says is a sign of life, and so is what waits unread because recording is behind: a slow commit never makes a node look silent.

use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt;
use godfs_client::transport::{Address, convert, status};
use godfs_core::cluster::{Heartbeat, MAX_PEERS, Registration};
use godfs_core::namespace;
use godfs_core::{Error, ErrorKind, Incarnation, NodeId, NodeUuid, Result};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use v1::datanode_message::Message as Up;
use v1::datanode_service_server::DatanodeService;
use v1::namenode_message::Message as DownMessage;

use super::convert::{millis, peer_pace, scrub};
use super::links::{Down, Link};
use super::state::State;
use super::{garbage, reports};

/// Messages about replicas that wait to be recorded, of one datanode: the eight listings that it is asked for at once, its events, of which it sends no more
/// until the last are acknowledged, and results of commands. When they are this many its stream is not read on until some are: the datanode feels it, and
/// nothing piles up here.
const WAITING_REPORTS: usize = 64;

/// How long a stream may take to say who it is.
const REGISTER_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// The service to datanodes.
#[derive(Debug)]
pub(super) struct Datanodes(pub(super) Arc<State>);

#[tonic::async_trait]
impl DatanodeService for Datanodes {
    type ConnectStream = Pin<Box<dyn futures::Stream<Item = Down> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::DatanodeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut up = request.into_inner();
        let first = tokio::time::timeout(REGISTER_WITHIN, up.message())
            .await
            .map_err(|_| status::to_status(&invalid("the datanode did not say who it is")))??;
        let Some(Up::Register(register)) = first.and_then(|message| message.message) else {
            return Err(status::to_status(&invalid("the first message of a datanode must be `register`")));
        };
        let (link, down) = admit(&self.0, &register).await.map_err(|error| {
            tracing::warn!(address = register.address, error = error.report(), "datanode refused");
            status::to_status(&error)
        })?;
        let closed = link.closed.clone().cancelled_owned();
        let talk = Talk { state: Arc::clone(&self.0), link };
        self.0.tasks.spawn(talk.run(up));
        Ok(Response::new(Box::pin(ReceiverStream::new(down).take_until(closed))))
    }
}

/// Checks a registration, gives the node its number, and opens its link, down which the answer goes first.
async fn admit(state: &Arc<State>, register: &v1::Register) -> Result<(Arc<Link>, mpsc::Receiver<Down>)> {
    state.identity.check_speaker(register.hello.as_ref(), &[v1::Speaker::Datanode])?;
    let uuid = convert::node_uuid(&register.node_uuid)?;
    let claimed = if register.node == 0 { None } else { Some(convert::node_id(register.node)?) };
    let address = Address::parse(&register.address)?;
    let domain = convert::domain(&register.domain)?;
    let version = state.namespace.store().version().await?;
    refuse_if_older(state, register, version.get())?;

    let rows = namespace::Registration {
        uuid,
        node: claimed,
        address: address.to_string(),
        domain: domain.as_str().to_owned(),
    };
    let known = state.nodes.lock().by_uuid(uuid);
    let id = match known {
        Some(id) if claimed.is_some_and(|claimed| claimed != id) => return Err(wrong_number(uuid, id, claimed)),
        Some(id) => id,
        None => state.namespace.register_node(rows.clone()).await?,
    };
    let registration = Registration {
        id,
        uuid,
        instance: register.instance,
        address: address.to_string(),
        domain,
        space: convert::space(register.space.as_ref()),
    };
    let (stream, _) = state.change_nodes(|nodes, now| nodes.register(now, registration))?;
    if known.is_some() {
        // Only now: a copy of the folder must not move the node's address.
        if let Err(error) = state.namespace.register_node(rows).await {
            state.change_nodes(|nodes, now| nodes.stream_lost(now, id, stream));
            return Err(error);
        }
    }

    let (link, down) = Link::new(id, stream, address.to_string());
    let authority = state.links.authority();
    let registered = v1::Registered {
        node: id.get(),
        cluster_id: state.cluster_id.as_bytes().to_vec().into(),
        incarnation: state.incarnation.as_bytes().to_vec().into(),
        version: version.get(),
        heartbeat_ms: millis(state.settings.liveness.heartbeat),
        scope: authority.scope.clone(),
        epoch: authority.epoch.get(),
        grant_key: state.grant_key.to_wire(),
    };
    // The queue is new and has room.
    link.send(down_message(DownMessage::Registered(registered))).await?;
    state.links.insert(&link);
    tracing::info!(node = %id, %address, %uuid, new = known.is_none(), "datanode registered");
    state.tasks.spawn(garbage::clear(Arc::clone(state), Arc::clone(&link)));
    Ok((link, down))
}

/// A namenode whose rows are older than what the datanode has seen would take today's chunks for garbage.
fn refuse_if_older(state: &State, register: &v1::Register, version: u64) -> Result<()> {
    let seen = Incarnation::from_bytes(&register.incarnation);
    if seen != Some(state.incarnation) || register.version <= version {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Fenced,
        format!(
            "the datanode at {} has seen version {} of the metadata {}, this namenode is at version {version}: it went back in time",
            register.address, register.version, state.incarnation
        ),
    ))
}

fn wrong_number(uuid: NodeUuid, known: NodeId, claimed: Option<NodeId>) -> Error {
    let claimed = claimed.map_or_else(|| "none".to_owned(), |id| id.to_string());
    Error::new(
        ErrorKind::FailedPrecondition,
        format!("the datanode with folder {uuid} says it is node {claimed}; it is registered as node {known}"),
    )
}

/// One datanode's stream.
struct Talk {
    state: Arc<State>,
    link: Arc<Link>,
}

impl Talk {
    /// Listens until the stream ends, whoever ends it.
    async fn run(self, up: Streaming<v1::DatanodeMessage>) {
        let (reports, waiting) = mpsc::channel(WAITING_REPORTS);
        let (state, link) = (&self.state, &self.link);
        let listening = async {
            if let Err(error) = self.listen(up, reports).await {
                tracing::warn!(node = %link.node, error = error.report(), "stream of a datanode ended");
            }
            state.change_nodes(|nodes, now| nodes.stream_lost(now, link.node, link.stream));
            state.links.remove(link);
        };
        let recording = reports::record_all(state, link, waiting);
        tokio::join!(Box::pin(listening), Box::pin(recording));
    }

    async fn listen(&self, mut up: Streaming<v1::DatanodeMessage>, reports: mpsc::Sender<Up>) -> Result<()> {
        loop {
            // All arms are cancel-safe: a message stays in the stream until it is taken.
            let message = tokio::select! {
                biased;
                () = self.link.closed.cancelled() => return Ok(()),
                () = self.state.tasks.ending().cancelled() => return Ok(()),
                message = up.message() => message,
            };
            let message = match message {
                Ok(Some(message)) => message.message.ok_or_else(|| invalid("an empty message"))?,
                Ok(None) => return Ok(()),
                Err(broken) => return Err(Error::new(ErrorKind::Unavailable, broken.message())),
            };
            match message {
                Up::Heartbeat(heartbeat) => self.heartbeat(&heartbeat).await?,
                Up::Register(_) => return Err(invalid("a datanode registers once a stream")),
                report => match self.place(&reports).await? {
                    Some(place) => place.send(report),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Waits for a place for a report that has come. `None` when the stream is to end.
    async fn place<'a>(&self, reports: &'a mpsc::Sender<Up>) -> Result<Option<mpsc::Permit<'a, Up>>> {
        let (state, link) = (&self.state, &self.link);
        let place = reports.reserve();
        let mut place = std::pin::pin!(place);
        loop {
            state.change_nodes(|nodes, now| nodes.heard(now, link.node, link.stream))?;
            // All arms are cancel-safe: the wait for a place keeps its turn.
            tokio::select! {
                biased;
                () = link.closed.cancelled() => return Ok(None),
                () = state.tasks.ending().cancelled() => return Ok(None),
                place = &mut place => return Ok(place.ok()),
                // Heartbeats may stand behind this report, unread for as long as recording is behind: that is this namenode's silence, not the datanode's.
                () = tokio::time::sleep(state.settings.liveness.heartbeat) => {}
            }
        }
    }

    async fn heartbeat(&self, wire: &v1::Heartbeat) -> Result<()> {
        let heartbeat = Heartbeat {
            space: convert::space(wire.space.as_ref()),
            load: wire.load,
            scrub: scrub(wire.scrub.as_ref()),
            unknown_files: wire.unknown_files,
            draining: wire.draining,
            volumes: convert::volumes(&wire.volumes)?,
            peers: wire.peers.iter().take(MAX_PEERS).map(peer_pace).collect(),
        };
        let (node, stream) = (self.link.node, self.link.stream);
        self.state.change_nodes(|nodes, now| nodes.heartbeat(now, node, stream, heartbeat))?;
        let version = self.state.namespace.store().version().await?.get();
        // Not waited for: a datanode that is behind with reading needs no further reply.
        self.link.try_send(down_message(DownMessage::Heartbeat(v1::HeartbeatReply { version })));
        Ok(())
    }
}

/// A message down.
pub(super) fn down_message(message: DownMessage) -> v1::NamenodeMessage {
    v1::NamenodeMessage { message: Some(message) }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}
