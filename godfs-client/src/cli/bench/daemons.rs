//! The processes of a cluster's daemons, where they run on this machine: what a load costs, they pay a part of.
//!
//! Found by the sockets they listen on, as Linux shows them in `/proc`; elsewhere none are found, and nothing is said of them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use godfs_proto::v1::NodeState;
use tokio::net::lookup_host;

use super::super::context::Context;

/// Hundredths of a second in a second: the unit of the times in `/proc/PID/stat`, on every architecture.
const TICKS_PER_SECOND: u64 = 100;
/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// The processes of all daemons of a cluster, or none, where some are elsewhere or belong to somebody else.
#[derive(Clone, Debug, Default)]
pub(super) struct Daemons(Option<Arc<[u32]>>);

impl Daemons {
    /// Looks for those of the cluster of `context`.
    pub(super) async fn of(context: &Context) -> Self {
        let Ok(report) = context.client.report().await else { return Self::default() };
        let nodes = report.nodes.iter().filter(|node| node.state() == NodeState::Live);
        let mut addresses: Vec<String> =
            nodes.filter_map(|node| node.node.as_ref().map(|node| node.address.clone())).collect();
        addresses.extend(context.namenodes().map(str::to_owned));
        // Read once: they take milliseconds where there are many connections.
        let tables = tables();
        let mut sockets = BTreeSet::new();
        for address in addresses {
            let Some(listening) = listening_at(&address, &tables).await else { return Self::default() };
            sockets.insert(listening);
        }
        Self(owners(&sockets))
    }

    /// Their user and system time so far; `None` when they are not known, or one is gone.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        self.0.as_ref()?.iter().map(|&pid| cpu_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).sum()
    }

    /// The most memory that any of them ever had resident, bytes.
    pub(super) fn rss_max(&self) -> Option<u64> {
        let peaks = self.0.as_ref()?.iter().map(|&pid| super::super::platform::rss_max_of(&pid.to_string()));
        peaks.max().filter(|&bytes| bytes > 0)
    }
}

/// All sockets of this machine.
fn tables() -> [String; 2] {
    ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default())
}

/// The inode of the socket that listens at `address`, if that is on this machine.
async fn listening_at(address: &str, tables: &[String]) -> Option<u64> {
    let places: Vec<SocketAddr> = lookup_host(address).await.ok()?.collect();
    // Only an address of this machine can be bound.
    let mut here = places.iter().filter(|place| UdpSocket::bind((place.ip(), 0)).is_ok());
    here.find_map(|place| tables.iter().flat_map(|table| table.lines()).find_map(|line| listener(line, *place)))
}

/// The inode in a line of `/proc/net/tcp`, when it is that of a socket which accepts connections to `place`.
fn listener(line: &str, place: SocketAddr) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let (ip, port) = words.nth(1)?.split_once(':')?;
    let (state, inode) = (words.nth(1)?, words.nth(5)?);
    let ip = parse_ip(ip)?;
    let accepts = ip == place.ip() || ip.is_unspecified();
    (state == LISTENS && accepts && u16::from_str_radix(port, 16) == Ok(place.port())).then(|| inode.parse().ok())?
}

/// An address as `/proc/net/tcp` writes it: in words of 32 bits, each in the order of the machine.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for word in text.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|ip| IpAddr::from(ip).to_canonical()),
    }
}

/// The processes, other than this one, that hold `sockets`; `None` when one is held by nobody who can be looked at.
fn owners(sockets: &BTreeSet<u64>) -> Option<Arc<[u32]>> {
    let (mut found, mut pids) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Those of others can't be looked at, and end when they like.
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| sockets.contains(inode)) {
                found.insert(inode);
                pids.insert(pid);
            }
        }
    }
    pids.remove(&std::process::id());
    (found.len() == sockets.len()).then(|| pids.into_iter().collect())
}

/// User and system time in the text of `/proc/PID/stat`.
fn cpu_time(stat: &str) -> Option<Duration> {
    // The name of the program may hold anything; what follows its last parenthesis does not.
    let mut words = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let (user, system): (u64, u64) = (words.nth(11)?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Duration::from_millis(user.checked_add(system)?.saturating_mul(1_000 / TICKS_PER_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_past_any_name() {
        let stat = "7 (a) b) R 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("7 (a"), None);
        assert_eq!(cpu_time("7 (a) R 1"), None);
    }

    #[test]
    fn listeners_are_told_from_the_rest() {
        let line = "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0  0 4711 1 0 100";
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        if cfg!(target_endian = "little") {
            assert_eq!(listener(line, at("127.0.0.1:8080")), Some(4711));
        }
        for other in ["127.0.0.1:8081", "127.0.0.2:8080", "[::1]:8080"] {
            assert_eq!(listener(line, at(other)), None, "{other}");
        }
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), at("127.0.0.1:8080")), None);
        assert_eq!(listener(&line.replace("0100007F", "00000000"), at("127.0.0.2:8080")), Some(4711));
        assert_eq!(listener("  sl  local_address rem_address   st", at("127.0.0.1:8080")), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_own_socket_is_found_and_not_counted() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = socket.local_addr().expect("an address").to_string();
        let inode = listening_at(&address, &tables()).await.expect("found");
        let owners = owners(&BTreeSet::from([inode])).expect("this process");
        assert!(!owners.contains(&std::process::id()));
        drop(socket);
        assert_eq!(listening_at(&address, &tables()).await, None);
    }
}
