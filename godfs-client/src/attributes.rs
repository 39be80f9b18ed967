//! Owners, modes, access control lists and extended attributes.

use bytes::Bytes;
use godfs_core::namespace::{Acl, AclChange, XattrMode};
use godfs_core::{IntoPath, Result};
use godfs_proto::v1;

use crate::client::Client;
use crate::transport::convert;

impl Client {
    /// Gives a file or directory to another user or group; `None` leaves it. Another user takes the superuser, another group the owner, who must be
    /// a member of it.
    ///
    /// # Errors
    /// [`NotFound`](godfs_core::ErrorKind::NotFound); [`PermissionDenied`](godfs_core::ErrorKind::PermissionDenied);
    /// [`InvalidArgument`](godfs_core::ErrorKind::InvalidArgument) for a name that can't be.
    pub async fn set_owner(&self, path: impl IntoPath, user: Option<&str>, group: Option<&str>) -> Result<()> {
        self.namenode
            .mutate_at([path.into_path()?], |mut stub, call, [path]| {
                let request = v1::SetOwnerRequest {
                    call: Some(call),
                    path,
                    user: user.map(str::to_owned),
                    group: group.map(str::to_owned),
                };
                async move { stub.set_owner(request).await }
            })
            .await
            .map(drop)
    }

    /// Sets permission bits, at most `0o7777`. It takes the owner. Where there is an access control list, the group's bits are its mask.
    ///
    /// # Errors
    /// [`NotFound`](godfs_core::ErrorKind::NotFound); [`PermissionDenied`](godfs_core::ErrorKind::PermissionDenied);
    /// [`InvalidArgument`](godfs_core::ErrorKind::InvalidArgument) for bits that do not exist.
    pub async fn set_mode(&self, path: impl IntoPath, mode: u16) -> Result<()> {
        self.namenode
            .mutate_at([path.into_path()?], |mut stub, call, [path]| {
                let request = v1::SetModeRequest { call: Some(call), path, mode: mode.into() };
                async move { stub.set_mode(request).await }
            })
            .await
            .map(drop)
    }

    /// The access control lists of a file or directory, base entries included.
    ///
    /// # Errors
    /// [`NotFound`](godfs_core::ErrorKind::NotFound); [`PermissionDenied`](godfs_core::ErrorKind::PermissionDenied).
    pub async fn acl(&self, path: impl IntoPath) -> Result<Acl> {
        let answer = self
            .namenode
            .call_at(path.into_path()?, |mut stub, path| {
                let request = v1::GetAclRequest { path };
                async move { stub.get_acl(request).await }
            })
            .await?;
        convert::acl(answer)
    }

    /// Changes the access control lists of a file or directory. It takes the owner.
    ///
    /// # Errors
    /// [`NotFound`](godfs_core::ErrorKind::NotFound); [`PermissionDenied`](godfs_core::ErrorKind::PermissionDenied);
    /// [`InvalidArgument`](godfs_core::ErrorKind::InvalidArgument) for lists that can't be, such as a default list of a file;
    /// [`LimitExceeded`](godfs_core::ErrorKind::LimitExceeded) for more than [`MAX_ACL_ENTRIES`](godfs_core::namespace::MAX_ACL_ENTRIES) in one list.
    pub async fn set_acl(&self, path: impl IntoPath, change: &AclChange) -> Result<()> {
        let (operation, entries) = convert::acl_change_to_wire(change);
        self.namenode
            .mutate_at([path.into_path()?], |mut stub, call, [path]| {
                let request =
                    v1::SetAclRequest { call: Some(call), path, operation: operation.into(), entries: entries.clone() };
                async move { stub.set_acl(request).await }
            })
            .await
            .map(drop)
    }

    /// The extended attributes that the caller may see, in the order of their names. It takes the right to read.
    ///
    /// # Errors
    /// [`NotFound`](godfs_core::ErrorKind::NotFound); [`PermissionDenied`](godfs_core::ErrorKind::PermissionDenied).
    pub async fn xattrs(&self, path: impl IntoPath) -> Result<Vec<(String, Bytes)>> {
        let answer = self.get_xattrs(path, &[]).await?;
        Ok(answer.xattrs.into_iter().map(|xattr| (xattr.name, xattr.value)).collect())
    }

    /// The value of one extended attribute.
    ///
    /// # Errors
    /// [`NotFound`](godfs_core::ErrorKind::NotFound), also without such an attribute; [`PermissionDenied`](godfs_core::ErrorKind::PermissionDenied);
    /// [`Unsupported`](godfs_core::ErrorKind::Unsupported) for another namespace than `user.` and `trusted.`.
    pub async fn xattr(&self, path: impl IntoPath, name: &str) -> Result<Bytes> {
        let answer = self.get_xattrs(path, &[name]).await?;
        let found = answer.xattrs.into_iter().find(|xattr| xattr.name == name);
        found.map(|xattr| xattr.value).ok_or_else(|| crate::metadata::malformed("an answer without the attribute"))
    }

    /// Sets an extended attribute, whose name begins with `user.` or, for the superuser, `trusted.`. It takes the owner.
    ///
    /// # Errors
    /// [`AlreadyExists`](godfs_core::ErrorKind::AlreadyExists) or [`NotFound`](godfs_core::ErrorKind::NotFound) where it is or is not there and `mode` wants it so;
    /// [`LimitExceeded`](godfs_core::ErrorKind::LimitExceeded) beyond the namenode's bounds (a value of 16 KiB, 32 attributes, 64 KiB in all);
    /// [`PermissionDenied`](godfs_core::ErrorKind::PermissionDenied); [`Unsupported`](godfs_core::ErrorKind::Unsupported) for another namespace.
    pub async fn set_xattr(
        &self,
        path: impl IntoPath,
        name: &str,
        value: impl Into<Bytes>,
        mode: XattrMode,
    ) -> Result<()> {
        let value = value.into();
        self.namenode
            .mutate_at([path.into_path()?], |mut stub, call, [path]| {
                let request = v1::SetXattrRequest {
                    call: Some(call),
                    path,
                    name: name.to_owned(),
                    value: value.clone(),
                    mode: convert::xattr_mode_to_wire(mode).into(),
                };
                async move { stub.set_xattr(request).await }
            })
            .await
            .map(drop)
    }

    /// Removes an extended attribute. It takes the owner.
    ///
    /// # Errors
    /// As for [`xattr`](Self::xattr).
    pub async fn remove_xattr(&self, path: impl IntoPath, name: &str) -> Result<()> {
        self.namenode
            .mutate_at([path.into_path()?], |mut stub, call, [path]| {
                let request = v1::RemoveXattrRequest { call: Some(call), path, name: name.to_owned() };
                async move { stub.remove_xattr(request).await }
            })
            .await
            .map(drop)
    }

    async fn get_xattrs(&self, path: impl IntoPath, names: &[&str]) -> Result<v1::GetXattrsResponse> {
        self.namenode
            .call_at(path.into_path()?, |mut stub, path| {
                let request =
                    v1::GetXattrsRequest { path, names: names.iter().map(|name| (*name).to_owned()).collect() };
                async move { stub.get_xattrs(request).await }
            })
            .await
    }
}
