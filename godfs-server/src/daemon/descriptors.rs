//! Descriptors of the process: as many as the system gives, and enough of them kept back for files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::net::ServeSettings;

/// Connections that a server takes in any case.
const LEAST: usize = 16;

/// Raises the limit of descriptors to what the system allows, and lets connections have half of them, over all `servers` of the process:
/// who opens connections must not keep a daemon from opening its own files.
pub(super) fn fit(serve: &mut ServeSettings, servers: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Where it can't be raised, what there is has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let Some(now) = getrlimit(Resource::Nofile).current else { return };
    let share = usize::try_from(now / 2).unwrap_or(usize::MAX) / servers.max(1);
    if share < serve.max_connections {
        tracing::warn!(
            descriptors = now,
            connections = share.max(LEAST),
            "few descriptors: fewer connections are taken"
        );
        serve.max_connections = share.max(LEAST);
    }
}
