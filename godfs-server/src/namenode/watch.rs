//! Streams of changes for clients.

use std::sync::Arc;
use std::time::Duration;

use godfs_client::transport::status;
use godfs_core::namespace::{Attribute, Change, ChangeKind, ChangePage, FileKind, Namespace, WatchFrom, WatchPlace};
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::state::State;
use super::watches::Place;

/// Changes that are looked at for one page.
const PAGE: usize = 1_000;
/// How often a page comes when the caller does not say, and how often it may wish for one.
const HEARTBEAT: Duration = Duration::from_secs(3);
const HEARTBEATS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// A watch that a caller asks for, checked.
#[derive(Debug)]
pub(super) struct Watch {
    path: DfsPath,
    from: WatchFrom,
    heartbeat: Duration,
}

impl Watch {
    pub(super) fn parse(wire: &v1::WatchRequest) -> Result<Self> {
        let from = match (wire.place.as_str(), wire.oldest) {
            ("", false) => WatchFrom::Now,
            ("", true) => WatchFrom::Oldest,
            (place, false) => WatchFrom::Place(place.parse()?),
            _ => return Err(Error::new(ErrorKind::InvalidArgument, "watch: takes a place or the oldest, not both")),
        };
        let heartbeat = match wire.heartbeat_ms {
            0 => HEARTBEAT,
            wish => Duration::from_millis(wish.into()).clamp(*HEARTBEATS.start(), *HEARTBEATS.end()),
        };
        Ok(Self { path: DfsPath::parse(&wire.path)?, from, heartbeat })
    }

    /// Sends pages until the caller goes away, or falls behind what is kept.
    pub(super) async fn send(
        self,
        state: Arc<State>,
        namespace: Namespace,
        taken: Place,
        pages: mpsc::Sender<Result<v1::WatchPage, Status>>,
    ) {
        let ended = tokio::select! {
            biased;
            // The caller has gone, or the namenode ends: a read may be given up anywhere.
            () = pages.closed() => return,
            () = state.tasks.ending().cancelled() => Error::new(ErrorKind::Unavailable, "the namenode is stopping"),
            error = self.run(&namespace, &pages) => error,
        };
        drop(taken);
        // Who does not take it while the namenode ends sees the stream end, and goes on elsewhere all the same.
        tokio::select! {
            biased;
            _ = pages.send(Err(status::to_status(&ended))) => {}
            () = state.tasks.ending().cancelled() => {}
        }
    }

    /// Until something fails.
    async fn run(&self, namespace: &Namespace, pages: &mpsc::Sender<Result<v1::WatchPage, Status>>) -> Error {
        match self.follow(namespace, pages).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn follow(
        &self,
        namespace: &Namespace,
        pages: &mpsc::Sender<Result<v1::WatchPage, Status>>,
    ) -> Result<std::convert::Infallible> {
        let gone = |_| Error::new(ErrorKind::Unavailable, "the caller has gone");
        let mut place = namespace.watch(self.path.clone(), self.from).await?;
        // At once, so that the caller knows where it began.
        pages.send(Ok(page(&ChangePage { changes: Vec::new(), next: place }))).await.map_err(gone)?;
        let mut said = Instant::now();
        loop {
            // May be dropped at any time: the place moves on only behind what was sent.
            match tokio::time::timeout_at(said + self.heartbeat, namespace.wait_behind(place)).await {
                Ok(waited) => {
                    waited?;
                    let found = namespace.changes(&self.path, place, PAGE).await?;
                    place = found.next;
                    if found.changes.is_empty() && said.elapsed() < self.heartbeat {
                        continue;
                    }
                    pages.send(Ok(page(&found))).await.map_err(gone)?;
                }
                Err(_) => {
                    let nothing = ChangePage { changes: Vec::new(), next: place };
                    pages.send(Ok(page(&nothing))).await.map_err(gone)?;
                }
            }
            said = Instant::now();
        }
    }
}

fn page(found: &ChangePage) -> v1::WatchPage {
    let changes = found.changes.iter().map(|(place, change)| change_to_wire(*place, change));
    v1::WatchPage { changes: changes.collect(), place: found.next.to_string() }
}

fn change_to_wire(place: WatchPlace, change: &Change) -> v1::Change {
    let mut wire = v1::Change {
        place: place.to_string(),
        kind: kind_to_wire(&change.kind).into(),
        path: change.path.as_str().to_owned(),
        inode: change.inode.get(),
        node: match change.node {
            FileKind::Directory => v1::FileKind::Directory,
            FileKind::Symlink => v1::FileKind::Symlink,
            _ => v1::FileKind::File,
        }
        .into(),
        time_ms: change.time_ms,
        ..Default::default()
    };
    match &change.kind {
        ChangeKind::Created { length } => wire.length = *length,
        ChangeKind::Opened { length }
        | ChangeKind::Closed { length }
        | ChangeKind::Truncated { length }
        | ChangeKind::Concatenated { length } => wire.length = Some(*length),
        ChangeKind::Linked { target } => wire.other.clone_from(target),
        ChangeKind::Renamed { to: other } | ChangeKind::Exchanged { with: other } => {
            other.as_str().clone_into(&mut wire.other);
        }
        ChangeKind::Attributes(attribute) => wire.attribute = attribute_to_wire(*attribute).into(),
        _ => {}
    }
    wire
}

fn kind_to_wire(kind: &ChangeKind) -> v1::ChangeKind {
    match kind {
        ChangeKind::Created { .. } => v1::ChangeKind::Created,
        ChangeKind::MadeDirectory => v1::ChangeKind::MadeDirectory,
        ChangeKind::Linked { .. } => v1::ChangeKind::Linked,
        ChangeKind::Opened { .. } => v1::ChangeKind::Opened,
        ChangeKind::Closed { .. } => v1::ChangeKind::Closed,
        ChangeKind::Renamed { .. } => v1::ChangeKind::Renamed,
        ChangeKind::Exchanged { .. } => v1::ChangeKind::Exchanged,
        ChangeKind::Removed => v1::ChangeKind::Removed,
        ChangeKind::Attributes(_) => v1::ChangeKind::Attributes,
        ChangeKind::Truncated { .. } => v1::ChangeKind::Truncated,
        ChangeKind::Concatenated { .. } => v1::ChangeKind::Concatenated,
        // A kind that the wire does not know yet; who reads it says so.
        _ => v1::ChangeKind::Unspecified,
    }
}

fn attribute_to_wire(attribute: Attribute) -> v1::Attribute {
    match attribute {
        Attribute::Owner => v1::Attribute::Owner,
        Attribute::Mode => v1::Attribute::Mode,
        Attribute::Times => v1::Attribute::Times,
        Attribute::Replication => v1::Attribute::Replication,
        Attribute::Xattr => v1::Attribute::Xattr,
        Attribute::Acl => v1::Attribute::Acl,
        Attribute::Quota => v1::Attribute::Quota,
        _ => v1::Attribute::Unspecified,
    }
}
