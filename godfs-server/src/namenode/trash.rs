//! The trash for clients.

use godfs_core::namespace::{FileKind, Namespace};
use godfs_core::{DfsPath, Result};
use godfs_proto::v1;

use super::namespace_service::call;

/// Items of a page: some hundred bytes each, or, with the longest paths that there are, a message that still fits.
const PAGE: usize = 500;
/// Bytes of paths after which a page ends.
const BYTES_A_PAGE: usize = 512 << 10;

/// A page of what a user has in the trash.
pub(super) async fn list(namespace: &Namespace, request: v1::ListTrashRequest) -> Result<v1::ListTrashResponse> {
    let v1::ListTrashRequest { user, after, limit } = request;
    let limit = match usize::try_from(limit).unwrap_or(usize::MAX) {
        0 => PAGE,
        limit => limit.min(PAGE),
    };
    let user = if user.is_empty() { None } else { Some(user) };
    let found = namespace.trash_items(user, after, limit).await?;
    let (mut items, mut bytes, full) = (Vec::new(), 0, found.len() == limit);
    let all = found.len();
    for item in found {
        let usage = item.usage;
        bytes += item.path.as_str().len() + item.original.as_str().len();
        items.push(v1::TrashItem {
            path: item.path.to_string(),
            original: item.original.to_string(),
            kind: match item.kind {
                FileKind::Directory => v1::FileKind::Directory,
                FileKind::Symlink => v1::FileKind::Symlink,
                _ => v1::FileKind::File,
            }
            .into(),
            user: item.user,
            deleted_ms: item.deleted_ms,
            expires_ms: item.expires_ms,
            bytes: usage.bytes,
            files: usage.files,
            directories: usage.directories,
        });
        if bytes >= BYTES_A_PAGE {
            break;
        }
    }
    Ok(v1::ListTrashResponse { more: full || items.len() < all, items })
}

/// Takes an item out.
pub(super) async fn restore(
    namespace: &Namespace,
    request: &v1::RestoreTrashRequest,
) -> Result<v1::RestoreTrashResponse> {
    let (call, item) = (call(request.call.as_ref())?, DfsPath::parse(&request.item)?);
    let to = if request.to.is_empty() { None } else { Some(DfsPath::parse(&request.to)?) };
    let path = namespace.restore(call, item, to, request.parents).await?;
    Ok(v1::RestoreTrashResponse { path: path.to_string() })
}
