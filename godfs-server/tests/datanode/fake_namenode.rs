//! A namenode that registers everyone, remembers what it is told, and orders what a test asks for.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use godfs_client::transport::{Address, status};
use godfs_core::{ClusterId, Error, Incarnation};
use godfs_proto::v1;
use godfs_proto::v1::command::Order;
use godfs_proto::v1::datanode_message::Message as Up;
use godfs_proto::v1::datanode_service_server::{DatanodeService, DatanodeServiceServer};
use godfs_proto::v1::namenode_message::Message as Down;
use godfs_server::net::{Listener, ServeSettings, Serving, serve};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// Where a namenode listens that is started again at its address. Connections that go out take free ports of 127.0.0.1, and would
/// now and then take that one meanwhile; of another address of the loopback interface, which only Linux has ready, none.
const OWN_ADDRESS: &str = if cfg!(target_os = "linux") { "127.0.1.1:0" } else { "127.0.0.1:0" };

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the fake knows, and what it answers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) cluster: ClusterId,
    pub(crate) incarnation: Incarnation,
    pub(crate) version: u64,
    pub(crate) epoch: u64,
    /// Registrations are refused with this.
    pub(crate) refuse: Option<Error>,
    pub(crate) nodes: BTreeMap<u32, Node>,
    pub(crate) results: BTreeMap<u64, v1::CommandResult>,
    commands: u64,
}

/// One datanode as the fake has seen it.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) uuid: Vec<u8>,
    pub(crate) registers: Vec<v1::Register>,
    pub(crate) heartbeats: Vec<v1::Heartbeat>,
    pub(crate) events: Vec<v1::ReplicaEvent>,
    pub(crate) sums: Vec<v1::RangeSum>,
    /// Full reports that have ended.
    pub(crate) reports: u64,
    pub(crate) ranges: Vec<v1::ReportRange>,
    /// Events are taken in and not acknowledged.
    pub(crate) silent: bool,
    /// The last message of those.
    pub(crate) unacknowledged: Option<u64>,
    pub(crate) connected: bool,
    down: Option<mpsc::UnboundedSender<Result<v1::NamenodeMessage, Status>>>,
}

#[derive(Clone, Debug)]
struct Service {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug)]
pub(crate) struct FakeNamenode {
    service: Service,
    serving: Serving,
}

impl FakeNamenode {
    pub(crate) async fn start() -> Self {
        Self::start_at(OWN_ADDRESS, 1).await
    }

    pub(crate) async fn start_at(address: &str, cluster: u128) -> Self {
        let state = State {
            cluster: ClusterId::from_random(cluster),
            incarnation: Incarnation::from_random(2),
            version: 10,
            epoch: 1,
            refuse: None,
            nodes: BTreeMap::new(),
            results: BTreeMap::new(),
            commands: 0,
        };
        let service = Service { state: Arc::new(watch::Sender::new(state)) };
        let listener = Listener::tcp(address).await.expect("listen");
        let routes = Routes::new(DatanodeServiceServer::new(service.clone()));
        let serving = serve(listener, routes, &ServeSettings::default());
        Self { service, serving }
    }

    pub(crate) fn address(&self) -> Address {
        Address::parse(self.serving.address()).expect("valid")
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        self.service.state.borrow().cluster
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.service.state.send_modify(change);
    }

    /// Waits until `find` finds something.
    pub(crate) async fn wait<T>(&self, what: &str, mut find: impl FnMut(&State) -> Option<T>) -> T {
        let mut changes = self.service.state.subscribe();
        let wait = async {
            loop {
                if let Some(found) = find(&changes.borrow_and_update()) {
                    return found;
                }
                changes.changed().await.expect("the fake lives");
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    /// Waits for an event of a node about a chunk.
    pub(crate) async fn event(&self, node: u32, chunk: u64, kind: v1::replica_event::Kind) -> v1::ReplicaEvent {
        self.wait(&format!("{kind:?} of chunk {chunk} at node {node}"), |state| {
            let events = &state.nodes.get(&node)?.events;
            let is_it = |event: &&v1::ReplicaEvent| {
                event.kind() == kind && event.replica.as_ref().is_some_and(|replica| replica.chunk == chunk)
            };
            events.iter().find(is_it).cloned()
        })
        .await
    }

    /// Orders something of a node and waits for its result.
    pub(crate) async fn order(&self, node: u32, epoch: u64, order: Order) -> v1::CommandResult {
        let mut id = 0;
        self.change(|state| {
            state.commands += 1;
            id = state.commands;
            let command = v1::Command { scope: "namenode".into(), epoch, id, order: Some(order) };
            state.nodes[&node].tell(Down::Command(command));
        });
        self.wait("the result of a command", |state| state.results.get(&id).cloned()).await
    }

    /// Waits until a node works with this namenode from now on.
    pub(crate) async fn at_work(&self, node: u32) {
        let before = self.service.state.borrow().nodes[&node].heartbeats.len();
        self.wait("a heartbeat", |state| (state.nodes[&node].heartbeats.len() > before).then_some(())).await;
    }

    /// Sends any message to a node.
    pub(crate) fn tell(&self, node: u32, message: Down) {
        self.change(|state| state.nodes[&node].tell(message));
    }

    /// Drops every connection and the port.
    pub(crate) async fn kill(self) {
        self.serving.kill();
        self.serving.closed().await;
    }
}

impl Node {
    fn tell(&self, message: Down) {
        let message = v1::NamenodeMessage { message: Some(message) };
        self.down.as_ref().expect("connected").send(Ok(message)).expect("connected");
    }
}

impl Service {
    fn register(
        &self,
        register: v1::Register,
        down: mpsc::UnboundedSender<Result<v1::NamenodeMessage, Status>>,
    ) -> Result<(u32, usize), Error> {
        let mut outcome = Ok((0, 0));
        self.state.send_modify(|state| {
            if let Some(error) = &state.refuse {
                outcome = Err(error.duplicate());
                return;
            }
            let known = state.nodes.iter().find(|(_, node)| node.uuid == register.node_uuid).map(|(id, _)| *id);
            let id = known.unwrap_or(state.nodes.len() as u32 + 1);
            let registered = v1::Registered {
                node: id,
                cluster_id: state.cluster.as_bytes().to_vec().into(),
                incarnation: state.incarnation.as_bytes().to_vec().into(),
                version: state.version,
                heartbeat_ms: 50,
                scope: "namenode".into(),
                epoch: state.epoch,
                grant_key: Default::default(),
            };
            let node = state.nodes.entry(id).or_default();
            node.uuid = register.node_uuid.to_vec();
            node.registers.push(register);
            node.connected = true;
            node.sums.clear();
            node.down = Some(down);
            node.tell(Down::Registered(registered));
            outcome = Ok((id, node.registers.len()));
        });
        outcome
    }

    fn take(&self, id: u32, message: Up) {
        self.state.send_modify(|state| {
            let version = state.version;
            let node = state.nodes.get_mut(&id).expect("registered");
            match message {
                Up::Register(_) => panic!("registered twice"),
                Up::Heartbeat(heartbeat) => {
                    node.heartbeats.push(heartbeat);
                    node.tell(Down::Heartbeat(v1::HeartbeatReply { version }));
                }
                Up::Events(events) => {
                    node.events.extend(events.events);
                    if node.silent {
                        node.unacknowledged = Some(events.sequence);
                    } else {
                        node.tell(Down::Events(v1::EventsAck { sequence: events.sequence }));
                    }
                }
                Up::Sums(sums) => {
                    node.sums.extend(sums.sums);
                    node.reports += u64::from(!sums.more);
                }
                Up::Range(range) => node.ranges.push(range),
                Up::Result(result) => {
                    state.results.insert(result.id, result);
                }
            }
        });
    }
}

#[tonic::async_trait]
impl DatanodeService for Service {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<v1::NamenodeMessage, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::DatanodeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut messages = request.into_inner();
        let Some(v1::DatanodeMessage { message: Some(Up::Register(register)) }) = messages.message().await? else {
            return Err(Status::invalid_argument("no registration"));
        };
        let (down, answers) = mpsc::unbounded_channel();
        let (id, connection) = self.register(register, down).map_err(|error| status::to_status(&error))?;
        let service = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                service.take(id, message.message.expect("a message"));
            }
            service.state.send_modify(|state| {
                let node = state.nodes.get_mut(&id).expect("registered");
                // A node that came back has another stream by now.
                if node.registers.len() == connection {
                    node.connected = false;
                    node.down = None;
                }
            });
        });
        Ok(Response::new(UnboundedReceiverStream::new(answers).boxed()))
    }
}
