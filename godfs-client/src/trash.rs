//! Deleting by way of the trash, and coming back from it.

use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use godfs_core::{DfsPath, Error, IntoPath, Result};
use godfs_proto::v1;

use crate::client::Client;
use crate::metadata::TrashItem;
use crate::options::{RemoveOptions, RestoreOptions};

impl Client {
    /// Moves a file or directory to the trash, in one step whatever its size. It goes for good when its time there is over. Gives back where it is: nothing
    /// when it went for good at once, as things in the trash do, and all things where the trash is turned off.
    ///
    /// # Errors
    /// As for [`remove`](Self::remove).
    pub async fn trash(&self, path: impl IntoPath, options: RemoveOptions) -> Result<Option<DfsPath>> {
        let recursive = options.recursive;
        let answer = self
            .namenode()
            .mutate_at([path.into_path()?], |mut stub, call, [path]| async move {
                stub.delete(v1::DeleteRequest { call: Some(call), path, recursive, trash: true, root: String::new() })
                    .await
            })
            .await?;
        if answer.trashed.is_empty() { Ok(None) } else { DfsPath::parse(&answer.trashed).map(Some) }
    }

    /// What a user has in the trash, in the order of deletion; without one, the user of this client. The namenode is asked for a page at a time.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) for the trash of another, unless this client may do everything.
    pub fn trash_items(&self, user: Option<&str>) -> BoxStream<'static, Result<TrashItem>> {
        let namenode = self.namenode().clone();
        let user = user.unwrap_or_default().to_owned();
        let pages = futures::stream::try_unfold(Some(String::new()), move |after| {
            let (namenode, user) = (namenode.clone(), user.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let request = v1::ListTrashRequest { user, after, limit: 0 };
                let answer = namenode
                    .call(|mut stub| {
                        let request = request.clone();
                        async move { stub.list_trash(request).await }
                    })
                    .await?;
                let items = answer.items.into_iter().map(TrashItem::from_wire).collect::<Result<Vec<_>>>()?;
                let last = items.last().and_then(|last| last.path.name()).map(ToOwned::to_owned);
                let next = last.filter(|_| answer.more);
                Ok::<_, Error>(Some((futures::stream::iter(items.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    /// Takes an item out of the trash, with the owner, mode and attributes that it had. Gives back where it is.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) when something stands there; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when the item is gone, or the
    /// directory that it was in, unless [`parents`](RestoreOptions::parents) are made; [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for what is no item of the trash.
    pub async fn restore(&self, item: impl IntoPath, options: RestoreOptions) -> Result<DfsPath> {
        let RestoreOptions { to, parents } = options;
        let item = item.into_path()?;
        let answer = match to {
            None => {
                self.namenode()
                    .mutate_at([item], |mut stub, call, [item]| async move {
                        let request = v1::RestoreTrashRequest { call: Some(call), item, to: String::new(), parents };
                        stub.restore_trash(request).await
                    })
                    .await?
            }
            Some(to) => {
                self.namenode()
                    .mutate_at([item, to], |mut stub, call, [item, to]| async move {
                        stub.restore_trash(v1::RestoreTrashRequest { call: Some(call), item, to, parents }).await
                    })
                    .await?
            }
        };
        DfsPath::parse(&answer.path)
    }
}
