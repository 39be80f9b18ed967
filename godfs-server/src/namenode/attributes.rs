//! Owners, modes, access control lists and extended attributes, for clients.

use godfs_client::transport::convert;
use godfs_core::namespace::{Namespace, NewOwner, SetXattr};
use godfs_core::{DfsPath, Result};
use godfs_proto::v1;

use super::namespace_service::call;

pub(super) async fn set_owner(namespace: &Namespace, request: v1::SetOwnerRequest) -> Result<v1::SetOwnerResponse> {
    let new = NewOwner { user: request.user, group: request.group };
    namespace.set_owner(call(request.call.as_ref())?, DfsPath::parse(&request.path)?, new).await?;
    Ok(v1::SetOwnerResponse {})
}

pub(super) async fn set_mode(namespace: &Namespace, request: v1::SetModeRequest) -> Result<v1::SetModeResponse> {
    let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
    namespace.set_mode(call, path, convert::mode(request.mode)?).await?;
    Ok(v1::SetModeResponse {})
}

pub(super) async fn set_acl(namespace: &Namespace, request: v1::SetAclRequest) -> Result<v1::SetAclResponse> {
    let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
    namespace.set_acl(call, path, convert::acl_change(&request)?).await?;
    Ok(v1::SetAclResponse {})
}

pub(super) async fn get_acl(namespace: &Namespace, request: v1::GetAclRequest) -> Result<v1::GetAclResponse> {
    Ok(convert::acl_to_wire(namespace.acl(DfsPath::parse(&request.path)?).await?))
}

pub(super) async fn set_xattr(namespace: &Namespace, request: v1::SetXattrRequest) -> Result<v1::SetXattrResponse> {
    let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
    let mode = convert::xattr_mode(request.mode)?;
    namespace.set_xattr(call, path, SetXattr { name: request.name, value: request.value, mode }).await?;
    Ok(v1::SetXattrResponse {})
}

pub(super) async fn remove_xattr(
    namespace: &Namespace,
    request: v1::RemoveXattrRequest,
) -> Result<v1::RemoveXattrResponse> {
    let (call, path) = (call(request.call.as_ref())?, DfsPath::parse(&request.path)?);
    namespace.remove_xattr(call, path, request.name).await?;
    Ok(v1::RemoveXattrResponse {})
}

pub(super) async fn get_xattrs(namespace: &Namespace, request: v1::GetXattrsRequest) -> Result<v1::GetXattrsResponse> {
    let found = namespace.xattrs(DfsPath::parse(&request.path)?, request.names).await?;
    Ok(v1::GetXattrsResponse { xattrs: found.into_iter().map(convert::xattr_to_wire).collect() })
}
