//! The service to operators.

use std::pin::Pin;
use std::sync::Arc;

use godfs_client::transport::hello::software;
use godfs_client::transport::{caller, status};
use godfs_core::{DfsPath, Error, Result};
use godfs_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use v1::admin_service_server::AdminService;

use super::convert::{millis, node_report};
use super::state::State;
use super::{backup, scrub};

/// The service to operators.
#[derive(Debug)]
pub(super) struct Admin(pub(super) Arc<State>);

#[tonic::async_trait]
impl AdminService for Admin {
    async fn report(&self, _: Request<v1::ReportRequest>) -> Result<Response<v1::ReportResponse>, Status> {
        report(&self.0).await.map(Response::new).map_err(|error| status::to_status(&error))
    }

    type ScrubStream = Pin<Box<dyn futures::Stream<Item = Result<v1::ScrubProgress, Status>> + Send>>;

    async fn scrub(&self, request: Request<v1::ScrubRequest>) -> Result<Response<Self::ScrubStream>, Status> {
        let denied = |error: Error| status::to_status(&error);
        let caller = caller::claimed(request.metadata()).map_err(denied)?;
        self.0.namespace.by(caller).require_superuser("scrub").await.map_err(denied)?;
        let path = request.into_inner().path;
        let path = if path.is_empty() { Ok(None) } else { DfsPath::parse(&path).map(Some) };
        let path = path.map_err(|error| status::to_status(&error))?;
        Ok(Response::new(Box::pin(scrub::start(&self.0, path))))
    }

    type BackupStream = ReceiverStream<Result<v1::BackupPiece, Status>>;

    async fn backup(&self, request: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let caller = caller::claimed(request.metadata()).map_err(|error| status::to_status(&error))?;
        let (pieces, receive) = mpsc::channel(backup::READ_AHEAD);
        self.0.tasks.spawn(backup::send(Arc::clone(&self.0), self.0.namespace.by(caller), pieces));
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

async fn report(state: &State) -> Result<v1::ReportResponse> {
    let totals = state.namespace.totals().await?;
    let version = state.namespace.store().version().await?;
    let (counts, statuses) = {
        let nodes = state.nodes.lock();
        (nodes.counts(), nodes.statuses().collect::<Vec<_>>())
    };
    let mut reports = Vec::with_capacity(statuses.len());
    for status in &statuses {
        let held = state.namespace.holdings(status.id).await?;
        reports.push(node_report(status, held.replicas, state.quarantine.count(status.id)));
    }
    let repair = state.repair.counts();
    Ok(v1::ReportResponse {
        live_datanodes: counts.live,
        dead_datanodes: counts.not_live,
        files: totals.usage.files,
        directories: totals.usage.directories,
        chunks: totals.chunks,
        bytes: totals.usage.bytes,
        replicated_bytes: totals.usage.space,
        under_replicated: repair.under_replicated,
        missing: repair.missing,
        corrupt: repair.corrupt,
        over_replicated: repair.over_replicated,
        repairing: repair.repairing,
        pending_deletes: totals.garbage,
        open_files: totals.leases,
        capacity_bytes: counts.space.capacity,
        used_bytes: counts.space.used,
        available_bytes: counts.space.available,
        complete: repair.complete,
        cluster_id: state.cluster_id.as_bytes().to_vec().into(),
        incarnation: state.incarnation.as_bytes().to_vec().into(),
        version: version.get(),
        software: software(),
        uptime_ms: millis(state.now().saturating_sub(state.started)),
        nodes: reports,
    })
}
