//! What stores of objects ask for: files made of parts, and trees listed as flat keys.

use std::sync::Arc;

use godfs_client::transport::status;
use godfs_core::namespace::{Compose, FlatEntry, FlatOptions, MAX_PAGE, MAX_PARTS, Namespace};
use godfs_core::{DfsPath, Error, ErrorKind, Result};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tonic::Status;

use super::held;
use super::namespace_service::{call, options, retarget};
use super::state::State;

/// Keys of a page when the caller does not say.
const PAGE: usize = 1_000;

/// The directory that stays when those below it go that are left empty; `None` when all stay.
pub(super) fn root(text: &str) -> Result<Option<DfsPath>> {
    if text.is_empty() { Ok(None) } else { DfsPath::parse(text).map(Some) }
}

/// Makes a file of its parts.
pub(super) async fn compose(
    state: &Arc<State>,
    namespace: &Namespace,
    request: v1::ComposeRequest,
) -> Result<v1::ComposeResponse> {
    if request.parts.len() > MAX_PARTS {
        let message = format!("parts: {} of them, the limit is {MAX_PARTS}", request.parts.len());
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let call = call(request.call.as_ref())?;
    let compose = Compose {
        directory: DfsPath::parse(&request.directory)?,
        parts: request.parts,
        target: DfsPath::parse(&request.target)?,
        options: options(request.options)?,
    };
    let target = compose.target.clone();
    let made = held::until_heard(state, call.session, || namespace.compose(call, compose.clone())).await?;
    // Their number of replicas is now the file's.
    state.tasks.spawn(retarget(Arc::clone(state), target));
    Ok(v1::ComposeResponse { inode: made.value.get(), version: made.version.get() })
}

/// A listing of keys that a caller asks for, checked.
#[derive(Debug)]
pub(super) struct Keys {
    root: DfsPath,
    options: FlatOptions,
    page: usize,
}

impl Keys {
    pub(super) fn parse(wire: v1::ListKeysRequest) -> Result<Self> {
        let page = match usize::try_from(wire.page_size).unwrap_or(usize::MAX) {
            0 => PAGE,
            size => size.min(MAX_PAGE),
        };
        let options = FlatOptions {
            prefix: wire.prefix,
            after: wire.after,
            delimited: wire.delimited,
            hide: (!wire.hide.is_empty()).then_some(wire.hide),
        };
        Ok(Self { root: DfsPath::parse(&wire.root)?, options, page })
    }

    /// Sends pages until the keys end or the caller goes away.
    pub(super) async fn send(
        mut self,
        state: Arc<State>,
        namespace: Namespace,
        pages: mpsc::Sender<Result<v1::KeyPage, Status>>,
    ) {
        loop {
            let read = tokio::select! {
                biased;
                // The caller has gone, or the namenode ends: a read may be given up anywhere.
                () = pages.closed() => return,
                () = state.tasks.ending().cancelled() => Err(Error::new(ErrorKind::Unavailable, "the namenode is stopping")),
                read = namespace.keys(self.root.clone(), self.options.clone(), self.page) => read,
            };
            let (page, next) = match read {
                Ok(page) => {
                    let keys = page.entries.into_iter().map(key_to_wire).collect();
                    (Ok(v1::KeyPage { keys, next: page.next.clone().unwrap_or_default() }), page.next)
                }
                Err(error) => (Err(status::to_status(&error)), None),
            };
            if pages.send(page).await.is_err() {
                return;
            }
            match next {
                Some(next) => self.options.after = next,
                None => return,
            }
        }
    }
}

fn key_to_wire(FlatEntry { key, status }: FlatEntry) -> v1::Key {
    match status {
        Some(status) => v1::Key {
            key,
            inode: status.inode.get(),
            length: status.length,
            modified_ms: status.modified_ms,
            version: status.version.get(),
        },
        None => v1::Key { key, ..v1::Key::default() },
    }
}
