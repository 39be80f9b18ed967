//! Backups of the metadata.

use futures::stream::{BoxStream, StreamExt};
use godfs_core::Result;
use godfs_proto::v1;
use godfs_proto::v1::admin_service_client::AdminServiceClient;

use crate::client::Client;

impl Client {
    /// All metadata of the cluster at one moment, as `godfs-namenode import` reads it: first pieces that only count rows, then the data. For
    /// the superuser. Whether all of it arrived, [`verify_export`](godfs_core::namespace::verify_export) tells.
    ///
    /// # Errors
    /// Whatever kept the namenode from beginning; all else comes through the stream.
    pub async fn backup(&self) -> Result<BoxStream<'static, Result<v1::BackupPiece>>> {
        let namenode = self.namenode();
        namenode
            .retry(&mut false, |connection| {
                let claimed = namenode.claimed(&connection);
                async move {
                    let mut admin = AdminServiceClient::with_origin(claimed, connection.address().origin());
                    let answer =
                        admin.backup(v1::BackupRequest {}).await.map_err(|status| connection.error(&status))?;
                    Ok(answer.into_inner().map(move |piece| piece.map_err(|status| connection.error(&status))).boxed())
                }
            })
            .await
    }
}
