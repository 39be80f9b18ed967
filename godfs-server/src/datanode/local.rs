//! The files of replicas for readers on the same machine.
//!
//! A reader that has the namenode's grant for a chunk gets the descriptor of its finished replica over a Unix socket, and from then on reads data
//! and checksums by itself. The descriptor can only be read. It gives nobody more than the grant does: a segment, which holds other replicas too, is never given.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use godfs_client::transport::{Address, convert, status};
use godfs_core::chunk::{LocalFile, Replica};
use godfs_core::{Error, ErrorKind, Generation, Result};
use godfs_proto::v1;
use parking_lot::Mutex;
use prost::Message;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::shared::Shared;
use crate::grant::GrantKey;

/// Requests that are answered at once; the others wait in the socket's queue.
const AT_ONCE: usize = 64;
/// The largest request, bytes.
const MAX_REQUEST: usize = 4 << 10;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after the socket failed, as for want of descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// The keys of the namenodes, as they told them.
#[derive(Debug, Default)]
pub(crate) struct Grants(Mutex<HashMap<Address, GrantKey>>);

impl Grants {
    /// Takes the key of a namenode; one that it had before counts no more.
    pub(crate) fn learn(&self, namenode: &Address, key: &[u8]) {
        let mut keys = self.0.lock();
        match GrantKey::from_wire(key) {
            Some(key) => drop(keys.insert(namenode.clone(), key)),
            None => drop(keys.remove(namenode)),
        }
    }

    fn allow(&self, shared: &Shared, open: &v1::LocalOpen) -> bool {
        let Some(cluster) = shared.identity.cluster() else { return false };
        let keys = self.0.lock();
        convert::chunk(open.chunk).is_ok_and(|chunk| keys.values().any(|key| key.allows(cluster, chunk, &open.grant)))
    }
}

/// The socket of the process `instance`, and its name: an abstract one, which leaves nothing on a disk and goes with the process. Whoever has a grant may ask,
/// whatever user the process is of. `None` where there can be none.
#[cfg(target_os = "linux")]
pub(crate) fn listen(instance: u64) -> Option<(UnixListener, String)> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener as Listener};
    let name = format!("godfs-datanode-{instance:016x}");
    let bind = || {
        let listener = Listener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    };
    match bind() {
        Ok(listener) => Some((listener, name)),
        Err(error) => {
            tracing::warn!(%error, "no local reads: the socket can't be made");
            None
        }
    }
}

/// The system has no such sockets.
#[cfg(not(target_os = "linux"))]
pub(crate) fn listen(_: u64) -> Option<(UnixListener, String)> {
    None
}

/// Answers until the node ends.
pub(crate) async fn run(shared: Arc<Shared>, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answering = Arc::clone(&shared);
                shared.spawn(async move {
                    let _place = place;
                    match tokio::time::timeout(PATIENCE, answer(&answering, stream)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "a local request ended early"),
                        Err(_) => tracing::debug!("a local request took too long"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept local requests");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn answer(shared: &Shared, mut stream: UnixStream) -> io::Result<()> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_REQUEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a request of {length} bytes")));
    }
    let mut request = vec![0; length];
    stream.read_exact(&mut request).await?;
    let opened = match v1::LocalOpen::decode(&*request) {
        Ok(open) => file(shared, &open).await,
        Err(error) => Err(Error::new(ErrorKind::InvalidArgument, error.to_string())),
    };
    let mut opened = opened;
    let message = match &mut opened {
        Ok((replica, local)) => v1::LocalOpened {
            error: None,
            instance: shared.instance,
            replica: Some(convert::replica_to_wire(replica)),
            data_at: local.data_at,
            checksums_at: local.checksums_at,
            tail: local.tail,
            guard_bytes: local.guard_bytes,
            guard: local.guard,
        },
        Err(error) => v1::LocalOpened { error: Some(status::to_detail(error)), ..Default::default() },
    };
    let length = u32::try_from(message.encoded_len()).map_err(io::Error::other)?;
    let bytes = [&length.to_be_bytes()[..], &message.encode_to_vec()].concat();
    let sent = match &opened {
        Ok((_, local)) => stream.async_io(Interest::WRITABLE, || send(&stream, &bytes, local)).await?,
        Err(_) => 0,
    };
    stream.write_all(&bytes[sent..]).await
}

/// Sends bytes, as many as go at once, with the descriptor.
fn send(stream: &UnixStream, bytes: &[u8], local: &LocalFile) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [local.file.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

async fn file(shared: &Shared, open: &v1::LocalOpen) -> Result<(Replica, LocalFile)> {
    shared.check_caller(open.hello.as_ref(), open.node)?;
    if !shared.grants.allow(shared, open) {
        let message = format!("the grant for chunk {} is not one of a namenode that this node knows", open.chunk);
        return Err(Error::new(ErrorKind::PermissionDenied, message));
    }
    let reader = shared.store.open(convert::chunk(open.chunk)?, Generation(open.generation)).await?;
    let unsupported = || Error::new(ErrorKind::Unsupported, "this replica has no file of its own that is finished");
    let local = reader.local().await?.ok_or_else(unsupported)?;
    Ok((reader.replica(), local))
}
