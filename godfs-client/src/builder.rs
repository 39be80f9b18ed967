//! Builds a client.

use std::sync::Arc;

use godfs_core::env::Env;
use godfs_core::namespace::Caller;
use godfs_core::{ClusterId, Error, ErrorKind, Result};

use crate::caller::{parse_caller, process_caller};
use crate::client::Client;
use crate::namenode::Namenode;
use crate::settings::ClientSettings;
use crate::transport::caller::Claim;
use crate::transport::hello::Identity;
use crate::transport::{Address, Channels, Connector, TcpConnector};

/// The scheme of cluster URLs.
const SCHEME: &str = "godfs://";

/// Builds a [`Client`]: settings are data, the rest are components.
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    namenodes: Result<Vec<Address>>,
    settings: ClientSettings,
    env: Env,
    connector: Arc<dyn Connector>,
    name: String,
    cluster: Option<ClusterId>,
    /// The process's own, unless one is named.
    caller: Option<Result<Caller>>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            namenodes: Ok(Vec::new()),
            settings: ClientSettings::default(),
            env: Env::system(),
            connector: Arc::new(TcpConnector),
            name: format!("client-{}", std::process::id()),
            cluster: None,
            caller: None,
        }
    }
}

impl ClientBuilder {
    /// The namenodes of one cluster, `godfs://HOST:PORT[,HOST:PORT]` with or without the scheme. A fault in it shows when the client is built.
    pub fn namenodes(mut self, url: &str) -> Self {
        self.namenodes = parse_namenodes(url);
        self
    }

    /// What it is tuned to.
    pub fn settings(mut self, settings: ClientSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Time and randomness; the system's by default.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Where connections come from; TCP by default.
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = connector;
        self
    }

    /// A name for logs and reports of the servers.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The only cluster it will speak to; by default, the one that answers first.
    pub fn cluster(mut self, cluster: ClusterId) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// For whom its calls are made: `USER` or `USER:GROUP,GROUP`, the first group being that of new files. By default `GODFS_USER`, else the user
    /// and groups that this process runs as ([`process_caller`]). A fault in it shows when the client is built.
    ///
    /// It is claimed and not proved: the namenode takes every client's word. Permissions keep people from mistakes, not those out who mean harm.
    pub fn user(mut self, user: &str) -> Self {
        self.caller = Some(parse_caller(user));
        self
    }

    /// For whom its calls are made, as [`user`](Self::user).
    pub fn caller(mut self, caller: Caller) -> Self {
        self.caller = Some(Ok(caller));
        self
    }

    /// The client, without contacting anyone: the first call does.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when no namenode is given, or an address or the user is malformed.
    pub fn build(self) -> Result<Client> {
        let channels = Channels::new(self.settings.transport.clone(), self.connector);
        let identity = Identity { cluster: self.cluster, ..Identity::client(self.name) };
        let claim = Claim::of(&self.caller.unwrap_or_else(process_caller)?)?;
        Ok(Client::new(Namenode::new(self.namenodes?, identity, claim, channels, self.env, self.settings)?))
    }

    /// The client, once a namenode has answered.
    ///
    /// # Errors
    /// As for [`build`](Self::build); [`ErrorKind::Unavailable`] when none answers, naming one;
    /// [`ErrorKind::Incompatible`] when it speaks another version, or belongs to another cluster than was asked for.
    pub async fn connect(self) -> Result<Client> {
        let client = self.build()?;
        client.greeting().await?;
        Ok(client)
    }
}

fn parse_namenodes(url: &str) -> Result<Vec<Address>> {
    let rest = url.strip_prefix(SCHEME).unwrap_or(url);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains("://") || rest.contains('/') {
        let message = format!("{url:?} is no cluster: it must be {SCHEME}HOST:PORT[,HOST:PORT]");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    rest.split(',').map(|address| Address::parse(address.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_namenodes() {
        let two = parse_namenodes("godfs://a:1,[::1]:2").expect("valid");
        assert_eq!(two.iter().map(Address::as_str).collect::<Vec<_>>(), ["a:1", "[::1]:2"]);
        assert_eq!(parse_namenodes("a:1/").expect("valid").len(), 1);
        for url in ["", "http://a:1", "godfs://a:1/path", "godfs://a", "a:1,,b:2"] {
            assert_eq!(parse_namenodes(url).expect_err(url).kind(), ErrorKind::InvalidArgument);
        }
    }
}
