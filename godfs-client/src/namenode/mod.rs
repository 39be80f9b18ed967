//! The conversation with the namenode: which one, greetings, deadlines, retries and sessions.

mod backoff;
mod pages;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use godfs_core::env::Env;
use godfs_core::{ChunkId, ClusterId, Error, ErrorKind, Generation, NodeId, Result};
use godfs_proto::v1;
use godfs_proto::v1::namespace_service_client::NamespaceServiceClient;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout_at};
use tonic::{Response, Status};

pub(crate) use backoff::Backoff;
pub(crate) use pages::Pages;
pub(crate) use session::Session;

use crate::file::{LocalReplicas, Patience, SmallReads};
use crate::pipeline::WholeWrites;
use crate::settings::ClientSettings;
use crate::transport::caller::{Claim, ClaimedConnection};
use crate::transport::hello::Identity;
use crate::transport::settings::MESSAGE_BYTES;
use crate::transport::{Address, Channels, Connection};

/// Namenodes that are remembered: those given and those that others pointed to.
const MAX_NAMENODES: usize = 32;
/// How often all of them are asked at the first contact if connections break: with the pauses between, two seconds.
const FIRST_CONTACT_ROUNDS: usize = 8;

/// Reports of corrupt replicas under way at once, and for how long each is tried: they are hints.
const MAX_REPORTS: usize = 8;
const REPORT_PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of evidence in such a report.
const MAX_EVIDENCE_BYTES: usize = 1_024;

/// The generated client of the namespace service.
pub(crate) type Stub = NamespaceServiceClient<ClaimedConnection>;

/// What the cluster said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The cluster.
    pub cluster: ClusterId,
    /// Bytes a chunk, unless a file asks for another size.
    pub chunk_size: u64,
    /// Replicas, unless a file asks for another number.
    pub replication: u32,
    /// The most bytes of a file kept by the namenode itself; 0 for none.
    pub small_file_limit: u64,
    /// The namenode's software.
    pub software: String,
}

/// The namenodes of one cluster. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Namenode(Arc<Inner>);

struct Inner {
    claim: Claim,
    channels: Channels,
    env: Env,
    settings: ClientSettings,
    patience: Patience,
    small_reads: SmallReads,
    whole_writes: WholeWrites,
    local: Arc<LocalReplicas>,
    state: Mutex<State>,
    /// Held while greeting, so that calls which begin together greet once.
    greeting: tokio::sync::Mutex<()>,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    reports: Mutex<JoinSet<()>>,
}

struct State {
    identity: Identity,
    addresses: Vec<Address>,
    /// Which of them is asked.
    current: usize,
    /// The connection that was greeted last, and the answer.
    greeted: Option<(Connection, Greeting)>,
}

impl Namenode {
    pub(crate) fn new(
        addresses: Vec<Address>,
        identity: Identity,
        claim: Claim,
        channels: Channels,
        env: Env,
        settings: ClientSettings,
    ) -> Result<Self> {
        if addresses.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "no namenode is given"));
        }
        let state = State { identity, addresses, current: 0, greeted: None };
        Ok(Self(Arc::new(Inner {
            claim,
            channels,
            env,
            patience: Patience::new(&settings),
            small_reads: SmallReads::default(),
            whole_writes: WholeWrites::default(),
            local: Arc::new(LocalReplicas::new(settings.local_reads)),
            settings,
            state: Mutex::new(state),
            greeting: tokio::sync::Mutex::default(),
            session: tokio::sync::Mutex::default(),
            reports: Mutex::default(),
        })))
    }

    pub(crate) fn channels(&self) -> &Channels {
        &self.0.channels
    }

    pub(crate) fn env(&self) -> &Env {
        &self.0.env
    }

    pub(crate) fn settings(&self) -> &ClientSettings {
        &self.0.settings
    }

    /// What the client's readers know of how soon datanodes answer.
    pub(crate) fn patience(&self) -> &Patience {
        &self.0.patience
    }

    /// The files of replicas on this machine.
    pub(crate) fn local(&self) -> &Arc<LocalReplicas> {
        &self.0.local
    }

    /// The streams of small reads to datanodes.
    pub(crate) fn small_reads(&self) -> &SmallReads {
        &self.0.small_reads
    }

    /// The streams of whole small replicas to datanodes.
    pub(crate) fn whole_writes(&self) -> &WholeWrites {
        &self.0.whole_writes
    }

    /// Who this client is, with the cluster as soon as it is known.
    pub(crate) fn identity(&self) -> Identity {
        self.0.state.lock().identity.clone()
    }

    /// What the cluster said of itself; asks if it has not yet.
    pub(crate) async fn greeting(&self) -> Result<Greeting> {
        if let Some((_, greeting)) = &self.0.state.lock().greeted {
            return Ok(greeting.clone());
        }
        self.retry(&mut false, |connection| {
            let this = self.clone();
            async move { this.greet(&connection).await }
        })
        .await
    }

    /// The most bytes of a file kept by the namenode itself; asks if it is not known yet.
    pub(crate) async fn small_file_limit(&self) -> Result<u64> {
        if let Some((_, greeting)) = &self.0.state.lock().greeted {
            return Ok(greeting.small_file_limit);
        }
        Ok(self.greeting().await?.small_file_limit)
    }

    /// A call that changes nothing, or that is harmless to repeat.
    pub(crate) async fn call<T, F, Fut>(&self, make: F) -> Result<T>
    where
        F: Fn(Stub) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.attempts(&mut false, make).await
    }

    /// A call that changes something, under the client's session.
    pub(crate) async fn mutate<T, F, Fut>(&self, make: F) -> Result<T>
    where
        F: Fn(Stub, v1::Call) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let session = self.session().await?;
        let mut repeated = false;
        match self.mutate_in(&session, &mut repeated, &make).await {
            // The session was gone before the call was ever made, so nothing was done under it.
            Err(error) if error.kind() == ErrorKind::SessionLost && !repeated => {
                let session = self.session().await?;
                self.mutate_in(&session, &mut repeated, &make).await
            }
            outcome => outcome,
        }
    }

    /// A call that changes something, under `session` and no other.
    pub(crate) async fn mutate_under<T, F, Fut>(&self, session: &Arc<Session>, make: F) -> Result<T>
    where
        F: Fn(Stub, v1::Call) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.mutate_in(session, &mut false, &make).await
    }

    /// A call of a writer, under the session that holds its lease.
    pub(crate) async fn mutate_leased<T, F, Fut>(&self, session: &Arc<Session>, make: F) -> Result<T>
    where
        F: Fn(Stub, v1::Call) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.mutate_in(session, &mut false, &make).await.map_err(|error| match error.kind() {
            ErrorKind::SessionLost => {
                Error::new(ErrorKind::LeaseLost, "the session that held the lease is gone").with_source(error)
            }
            _ => error,
        })
    }

    async fn mutate_in<T, F, Fut>(&self, session: &Arc<Session>, repeated: &mut bool, make: &F) -> Result<T>
    where
        F: Fn(Stub, v1::Call) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let slot = session.slot().await;
        // Every attempt carries the same sequence: whichever arrives first counts, the others get its answer.
        let outcome = self.attempts(repeated, |stub| make(stub, slot.call())).await;
        if let Err(error) = &outcome
            && error.kind() == ErrorKind::SessionLost
        {
            session.set_lost();
        }
        outcome
    }

    /// Makes a call that needs files closed: again, up to `close_timeout`, while one of them is being closed for a writer that is gone.
    pub(crate) async fn until_closed<T, F, Fut>(&self, call: F) -> Result<T>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let patience = self.0.settings.close_timeout;
        let deadline = Instant::now() + patience;
        let mut backoff = None;
        loop {
            let error = match call().await {
                Err(error) if error.kind() == ErrorKind::BeingWritten && error.is_retryable() => error,
                outcome => return outcome,
            };
            let pause = backoff.get_or_insert_with(|| Backoff::new(&self.0.env)).pause();
            if Instant::now() + pause >= deadline {
                return Err(error.context(format_args!("gave up after {patience:?}, the namenode goes on")));
            }
            tracing::debug!(%error, "waiting until the file is closed");
            tokio::time::sleep(pause).await;
        }
    }

    /// Says in the background that a replica gave bytes that do not agree with their checksums. A hint: it may get lost.
    pub(crate) fn report_corrupt(&self, chunk: ChunkId, generation: Generation, node: NodeId, evidence: &str) {
        let request = v1::ReportCorruptRequest {
            chunk: chunk.get(),
            generation: generation.get(),
            node: node.get(),
            evidence: evidence[..evidence.floor_char_boundary(MAX_EVIDENCE_BYTES)].to_owned(),
        };
        let mut reports = self.0.reports.lock();
        while reports.try_join_next().is_some() {}
        if reports.len() >= MAX_REPORTS {
            return;
        }
        let this = self.clone();
        reports.spawn(async move {
            let report = this.call(|mut stub| {
                let request = request.clone();
                async move { stub.report_corrupt(request).await }
            });
            if !matches!(tokio::time::timeout(REPORT_PATIENCE, report).await, Ok(Ok(_))) {
                tracing::debug!("a corrupt replica was not reported");
            }
        });
    }

    /// The session that new work goes under; opened if there is none, or the last one is lost.
    pub(crate) async fn session(&self) -> Result<Arc<Session>> {
        let mut current = self.0.session.lock().await;
        if let Some(session) = current.as_ref().filter(|session| !session.is_lost()) {
            return Ok(Arc::clone(session));
        }
        let answer = self
            .call(|mut stub| {
                let hello = self.identity().hello();
                async move { stub.open_session(v1::OpenSessionRequest { hello: Some(hello) }).await }
            })
            .await?;
        let session = Session::start(self, &answer)?;
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Ends the session, if there is one: its open files are recovered at once.
    pub(crate) async fn end_session(&self) -> Result<()> {
        let Some(session) = self.0.session.lock().await.take() else { return Ok(()) };
        session.set_lost();
        let request = v1::CloseSessionRequest { session: session.id().get() };
        let ended = self.call(|mut stub| async move { stub.close_session(request).await }).await;
        match ended {
            Err(error) if error.kind() != ErrorKind::SessionLost => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes one call until it succeeds, is refused, or its time is up. `repeated` tells whether an attempt may have
    /// reached a namenode before the last one.
    async fn attempts<T, F, Fut>(&self, repeated: &mut bool, make: F) -> Result<T>
    where
        F: Fn(Stub) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.retry(repeated, |connection| {
            let origin = connection.origin();
            let stub = Stub::with_origin(self.claimed(&connection), origin).max_decoding_message_size(MESSAGE_BYTES);
            let answer = make(stub);
            async move { answer.await.map(Response::into_inner).map_err(|status| connection.error(&status)) }
        })
        .await
    }

    /// A connection for calls of this client's user.
    pub(crate) fn claimed(&self, connection: &Connection) -> ClaimedConnection {
        ClaimedConnection::new(connection.clone(), self.0.claim.clone())
    }

    /// Runs one attempt after another, each on a greeted connection.
    pub(crate) async fn retry<T, F, Fut>(&self, repeated: &mut bool, attempt: F) -> Result<T>
    where
        F: Fn(Connection) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let settings = &self.0.settings;
        let (first_contact, known) = {
            let state = self.0.state.lock();
            (state.greeted.is_none(), state.addresses.len())
        };
        let patience = if first_contact { settings.first_contact_timeout } else { settings.call_timeout };
        let deadline = Instant::now() + patience;
        let mut backoff = None;
        let (mut tried, mut taken) = (0, false);
        loop {
            let until = deadline.min(Instant::now() + settings.attempt_timeout);
            let ready = self.ready();
            let address = ready.as_ref().map_or_else(|| self.current(), |connection| connection.address().clone());
            let one = async {
                let connection = match ready {
                    Some(connection) => connection,
                    None => {
                        let connection = self.0.channels.control(&address).await?;
                        taken = true;
                        self.greet(&connection).await?;
                        connection
                    }
                };
                attempt(connection).await
            };
            let error = match timeout_at(until, one).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_) => {
                    Error::new(ErrorKind::Unavailable, format!("the namenode at {address} did not answer in time"))
                }
            };
            // No namenode does better with a file that is not closed: `until_closed` waits for it, and keeps no slot meanwhile.
            let waits = error.kind() == ErrorKind::BeingWritten;
            if waits || (!error.is_retryable() && error.redirect().is_none()) {
                return Err(error);
            }
            tried += 1;
            *repeated = true;
            self.go_on(&address, error.redirect());
            let pause = backoff.get_or_insert_with(|| Backoff::new(&self.0.env)).pause();
            // At the first contact every namenode is asked once, and whoever they point to; more often only if one took
            // the connection and lost it.
            let enough = if taken { known * FIRST_CONTACT_ROUNDS } else { known };
            if first_contact && tried >= enough && error.redirect().is_none() && self.0.state.lock().greeted.is_none() {
                return Err(error.context("no namenode can be reached"));
            }
            if Instant::now() + pause >= deadline {
                return Err(error.context(format_args!("gave up after {patience:?} and {tried} attempts")));
            }
            tracing::debug!(%address, %error, "namenode call failed, trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// The connection to the current namenode, if it was greeted and still stands: what most calls find.
    fn ready(&self) -> Option<Connection> {
        let state = self.0.state.lock();
        let (connection, _) = state.greeted.as_ref()?;
        let current = *connection.address() == state.addresses[state.current];
        (current && !connection.is_closed()).then(|| connection.clone())
    }

    fn current(&self) -> Address {
        let state = self.0.state.lock();
        state.addresses[state.current].clone()
    }

    /// Chooses whom to ask after `failed`: whoever it named, else the next in the list.
    fn go_on(&self, failed: &Address, redirect: Option<&str>) {
        let mut state = self.0.state.lock();
        let named = redirect.and_then(|text| Address::parse(text).ok());
        if let Some(named) = named {
            if let Some(at) = state.addresses.iter().position(|known| *known == named) {
                state.current = at;
                return;
            }
            if state.addresses.len() < MAX_NAMENODES {
                state.addresses.push(named);
                state.current = state.addresses.len() - 1;
                return;
            }
        }
        // Another call may have moved on already.
        if state.addresses[state.current] == *failed {
            state.current = (state.current + 1) % state.addresses.len();
        }
    }

    /// Greets the namenode at the other end, once a connection.
    async fn greet(&self, connection: &Connection) -> Result<Greeting> {
        if let Some(greeting) = self.greeted(connection) {
            return Ok(greeting);
        }
        let _turn = self.0.greeting.lock().await;
        if let Some(greeting) = self.greeted(connection) {
            return Ok(greeting);
        }
        let identity = self.identity();
        let mut stub = Stub::with_origin(self.claimed(connection), connection.origin());
        let answer = stub
            .hello(v1::HelloRequest { hello: Some(identity.hello()) })
            .await
            .map_err(|status| connection.error(&status))?
            .into_inner();
        let cluster = identity.check_answer(&answer, connection.address())?;
        let greeting = Greeting {
            cluster,
            chunk_size: answer.chunk_size,
            replication: answer.replication,
            small_file_limit: answer.small_file_limit,
            software: answer.software,
        };
        let mut state = self.0.state.lock();
        state.identity.cluster = Some(cluster);
        state.greeted = Some((connection.clone(), greeting.clone()));
        Ok(greeting)
    }

    fn greeted(&self, connection: &Connection) -> Option<Greeting> {
        let state = self.0.state.lock();
        let (known, greeting) = state.greeted.as_ref()?;
        known.is_same(connection).then(|| greeting.clone())
    }

    fn downgrade(&self) -> std::sync::Weak<Inner> {
        Arc::downgrade(&self.0)
    }
}

impl fmt::Debug for Namenode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namenode").field(&self.current()).finish()
    }
}
