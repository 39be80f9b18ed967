//! Who a call is made for, as it travels: metadata of every call to the namespace and to operators.
//!
//! `godfs-user` is a name, `godfs-groups` names with commas in between, the first of them the group of new files. It is a claim of the client's and proved by
//! nothing: whoever can reach a namenode can be anybody there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use godfs_core::namespace::{Caller, MAX_GROUPS};
use godfs_core::{Error, ErrorKind, Result};
use http::HeaderValue;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tower::Service;

use super::connection::{Connection, ReceiveBody};

/// The user.
pub const USER: &str = "godfs-user";
/// The groups.
pub const GROUPS: &str = "godfs-groups";
/// The most bytes of all groups together: a request's metadata has a bound of its own, some 16 KiB.
pub const MAX_GROUPS_BYTES: usize = 8 << 10;

/// What a client says of itself, ready to be sent.
#[derive(Clone)]
pub struct Claim {
    user: HeaderValue,
    groups: Option<HeaderValue>,
}

impl Claim {
    /// The claim of `caller`.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] when the names of the groups have more than [`MAX_GROUPS_BYTES`].
    pub fn of(caller: &Caller) -> Result<Self> {
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| invalid(format!("{text:?} can't be sent as the name of a caller")))
        };
        let groups = caller.groups().join(",");
        if groups.len() > MAX_GROUPS_BYTES {
            let message =
                format!("the groups of {} have {} bytes, the limit is {MAX_GROUPS_BYTES}", caller.user(), groups.len());
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let groups = if groups.is_empty() { None } else { Some(header(&groups)?) };
        Ok(Self { user: header(caller.user())?, groups })
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.user).finish()
    }
}

/// Whose call it is, by its metadata; [`Caller::anonymous`] where that says nothing.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for names that can't be, and for more than one user or list of groups; [`ErrorKind::LimitExceeded`] for too many groups.
pub fn claimed(metadata: &MetadataMap) -> Result<Caller> {
    let Some(user) = single(metadata, USER)? else {
        return match single(metadata, GROUPS)? {
            None => Ok(Caller::anonymous()),
            Some(_) => Err(invalid(format!("{GROUPS}: without {USER}"))),
        };
    };
    let groups = single(metadata, GROUPS)?.unwrap_or_default();
    if groups.len() > MAX_GROUPS_BYTES {
        let message = format!("{GROUPS}: has {} bytes, the limit is {MAX_GROUPS_BYTES}", groups.len());
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    let groups = groups.split(',').filter(|_| !groups.is_empty()).take(MAX_GROUPS + 1);
    Caller::new(user, groups)
}

/// The value of a header that comes at most once.
fn single<'m>(metadata: &'m MetadataMap, name: &'static str) -> Result<Option<&'m str>> {
    let mut values = metadata.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        // Proxies do not agree on which of them counts.
        return Err(invalid(format!("{name}: is given more than once")));
    }
    first.map(|value| value.to_str().map_err(|_| invalid(format!("{name}: is not printable ASCII")))).transpose()
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}

/// A connection whose calls all carry one claim: the only place where it is put in.
#[derive(Clone, Debug)]
pub struct ClaimedConnection {
    connection: Connection,
    claim: Claim,
}

impl ClaimedConnection {
    /// `connection`, for calls of this caller.
    #[must_use]
    pub fn new(connection: Connection, claim: Claim) -> Self {
        Self { connection, claim }
    }
}

impl Service<http::Request<Body>> for ClaimedConnection {
    type Response = http::Response<ReceiveBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.connection.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let headers = request.headers_mut();
        headers.insert(USER, self.claim.user.clone());
        if let Some(groups) = &self.claim.groups {
            headers.insert(GROUPS, groups.clone());
        }
        self.connection.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: &[(&'static str, &[u8])]) -> MetadataMap {
        let mut headers = http::HeaderMap::new();
        for (name, value) in entries {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a header"));
        }
        MetadataMap::from_headers(headers)
    }

    #[test]
    fn a_caller_crosses_whole() {
        for groups in [&[][..], &["staff"], &["staff", "domain users", "1000"]] {
            let caller = Caller::new("svc$", groups.iter().copied()).expect("valid");
            let claim = Claim::of(&caller).expect("valid");
            let mut headers = http::HeaderMap::new();
            headers.insert(USER, claim.user);
            claim.groups.map(|groups| headers.insert(GROUPS, groups));
            assert_eq!(claimed(&MetadataMap::from_headers(headers)).expect("valid"), caller);
        }
        assert_eq!(claimed(&MetadataMap::new()).expect("valid"), Caller::anonymous());
    }

    #[test]
    fn claims_that_can_not_be_are_refused() {
        let many =
            vec!["g"; MAX_GROUPS + 1].iter().enumerate().map(|(n, g)| format!("{g}{n}")).collect::<Vec<_>>().join(",");
        let long = vec!["x".repeat(255); 40].join(",");
        for (entries, kind, why) in [
            (&[(USER, &b"a:b"[..])][..], ErrorKind::InvalidArgument, "a:b"),
            (&[(USER, b"")], ErrorKind::InvalidArgument, "\"\""),
            (&[(USER, b"\xff")], ErrorKind::InvalidArgument, "not printable"),
            (&[(USER, b"a\tb")], ErrorKind::InvalidArgument, "a\\tb"),
            (&[(USER, b"a"), (USER, b"root")], ErrorKind::InvalidArgument, "more than once"),
            (&[(USER, b"a"), (GROUPS, b"x"), (GROUPS, b"y")], ErrorKind::InvalidArgument, "more than once"),
            (&[(GROUPS, b"x")], ErrorKind::InvalidArgument, "without godfs-user"),
            (&[(USER, b"a"), (GROUPS, b"x,,y")], ErrorKind::InvalidArgument, "name of a group"),
            (&[(USER, b"a"), (GROUPS, many.as_bytes())], ErrorKind::LimitExceeded, "more than 256 groups"),
            (&[(USER, b"a"), (GROUPS, long.as_bytes())], ErrorKind::LimitExceeded, "8192"),
        ] {
            let error = claimed(&metadata(entries)).expect_err(why);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(why), "{error}");
        }
        let wide = Caller::new("a", (0..200).map(|n| format!("{n:0>100}"))).expect("valid");
        assert_eq!(Claim::of(&wide).expect_err("too long").kind(), ErrorKind::LimitExceeded);
    }
}
