//! Errors across the wire: whole, but for the source, which is folded into the message.
//!
//! An [`Error`] travels as an `ErrorDetail`, the one detail of a `google.rpc.Status` in the trailer
//! `grpc-status-details-bin`; beside it stand the nearest gRPC code and a shortened message, for tools that know no more.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use godfs_core::namespace::MAX_TARGET_BYTES;
use godfs_core::{DfsPath, Error, ErrorKind};
use godfs_proto::v1;
use http::HeaderMap;
use prost::Message;
use tonic::{Code, Status};

use super::address::Address;

/// The most bytes of a message inside the detail.
pub const MAX_DETAIL_BYTES: usize = 4 << 10;
/// The most bytes of the plain gRPC message. It is percent-encoded, and all headers together must stay below 16 KiB.
const MAX_PLAIN_BYTES: usize = 512;
const DETAIL_TYPE: &str = "type.googleapis.com/godfs.v1.ErrorDetail";
const DETAILS_HEADER: &str = "grpc-status-details-bin";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// An error as it stands in messages.
#[must_use]
pub fn to_detail(error: &Error) -> v1::ErrorDetail {
    v1::ErrorDetail {
        kind: kind_to_wire(error.kind()).into(),
        // The link says it all, and together they would not fit the headers.
        message: if error.link().is_some() { String::new() } else { folded(error) },
        retryable: error.is_retryable(),
        redirect: error.redirect().unwrap_or_default().to_owned(),
        link: error.link().map(|(path, target)| v1::SymbolicLink { path: path.to_string(), target: target.to_owned() }),
    }
}

/// An error out of a message. A kind that this version does not know reads as [`ErrorKind::Internal`].
#[must_use]
pub fn from_detail(detail: &v1::ErrorDetail) -> Error {
    let kind = kind_from_wire(detail.kind);
    if let Some(link) = detail.link.as_ref().filter(|_| kind == ErrorKind::Symlink)
        && let Ok(path) = DfsPath::parse(&link.path)
    {
        return Error::symlink(path, cut(&link.target, MAX_TARGET_BYTES));
    }
    let error = Error::new(kind, cut(&detail.message, MAX_DETAIL_BYTES)).with_retryable(detail.retryable);
    // A redirect that is no address could not be followed; the error itself still stands.
    if Address::parse(&detail.redirect).is_ok() { error.with_redirect(&detail.redirect) } else { error }
}

/// An error as the end of a call.
#[must_use]
pub fn to_status(error: &Error) -> Status {
    let code = code_of(error.kind());
    let detail = to_detail(error);
    let plain = cut(&folded(error), MAX_PLAIN_BYTES).to_owned();
    let details = RpcStatus {
        code: code.into(),
        message: plain.clone(),
        details: vec![RpcAny { type_url: DETAIL_TYPE.into(), value: detail.encode_to_vec().into() }],
    };
    Status::with_details(code, plain, details.encode_to_vec().into())
}

/// An error out of the end of a call to `peer`. What our servers did not say themselves (a broken connection, a proxy,
/// another service) is told apart by its gRPC code and names the peer.
#[must_use]
pub fn from_status(status: &Status, peer: &Address) -> Error {
    if let Ok(rpc) = RpcStatus::decode(status.details())
        && let Some(any) = rpc.details.iter().find(|any| any.type_url == DETAIL_TYPE)
        && let Ok(detail) = v1::ErrorDetail::decode(&*any.value)
    {
        return from_detail(&detail);
    }
    let kind = kind_of(status.code());
    let message = cut(status.message(), MAX_DETAIL_BYTES);
    let message = match (status.code(), message) {
        (Code::Unimplemented, _) => format!("{peer} does not offer this call; it may be another kind of server"),
        (code, "") => format!("{peer} answered {code}"),
        (_, message) => format!("{peer}: {message}"),
    };
    Error::new(kind, message)
}

/// A broken connection to `peer`.
#[must_use]
pub fn broken(peer: &Address, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, format!("connection to {peer} broke")).with_source(source)
}

/// Removes status details that are not valid base64: decoding them later would panic in tonic.
pub(crate) fn sanitize(headers: &mut HeaderMap) {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if headers.get(DETAILS_HEADER).is_some_and(|value| LENIENT.decode(value.as_bytes()).is_err()) {
        headers.remove(DETAILS_HEADER);
    }
}

/// The message with the chain of sources, cut to what the wire carries.
fn folded(error: &Error) -> String {
    let report = error.report();
    // The kind travels on its own.
    let message = report.strip_prefix(error.kind().as_str()).and_then(|rest| rest.strip_prefix(": "));
    cut(message.unwrap_or(&report), MAX_DETAIL_BYTES).to_owned()
}

/// At most `limit` bytes of `text`, cut between characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn kind_to_wire(kind: ErrorKind) -> v1::ErrorKind {
    match kind {
        ErrorKind::InvalidArgument => v1::ErrorKind::InvalidArgument,
        ErrorKind::NotFound => v1::ErrorKind::NotFound,
        ErrorKind::AlreadyExists => v1::ErrorKind::AlreadyExists,
        ErrorKind::NotADirectory => v1::ErrorKind::NotADirectory,
        ErrorKind::IsADirectory => v1::ErrorKind::IsADirectory,
        ErrorKind::DirectoryNotEmpty => v1::ErrorKind::DirectoryNotEmpty,
        ErrorKind::PermissionDenied => v1::ErrorKind::PermissionDenied,
        ErrorKind::FailedPrecondition => v1::ErrorKind::FailedPrecondition,
        ErrorKind::BeingWritten => v1::ErrorKind::BeingWritten,
        ErrorKind::LeaseLost => v1::ErrorKind::LeaseLost,
        ErrorKind::Fenced => v1::ErrorKind::Fenced,
        ErrorKind::SessionLost => v1::ErrorKind::SessionLost,
        ErrorKind::Corrupt => v1::ErrorKind::Corrupt,
        ErrorKind::StorageFull => v1::ErrorKind::StorageFull,
        ErrorKind::Symlink => v1::ErrorKind::Symlink,
        ErrorKind::Gone => v1::ErrorKind::Gone,
        ErrorKind::LimitExceeded => v1::ErrorKind::LimitExceeded,
        ErrorKind::QuotaExceeded => v1::ErrorKind::QuotaExceeded,
        ErrorKind::Unavailable => v1::ErrorKind::Unavailable,
        ErrorKind::DeadlineExceeded => v1::ErrorKind::DeadlineExceeded,
        ErrorKind::Unsupported => v1::ErrorKind::Unsupported,
        ErrorKind::Incompatible => v1::ErrorKind::Incompatible,
        ErrorKind::Io => v1::ErrorKind::Io,
        // Internal, and whatever a later core adds before the wire knows it.
        _ => v1::ErrorKind::Internal,
    }
}

fn kind_from_wire(kind: i32) -> ErrorKind {
    ErrorKind::ALL.into_iter().find(|&known| kind_to_wire(known) as i32 == kind).unwrap_or(ErrorKind::Internal)
}

fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::DirectoryNotEmpty
        | ErrorKind::FailedPrecondition
        | ErrorKind::BeingWritten
        | ErrorKind::Symlink
        | ErrorKind::Gone
        | ErrorKind::Incompatible => Code::FailedPrecondition,
        ErrorKind::LeaseLost | ErrorKind::Fenced | ErrorKind::SessionLost => Code::Aborted,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::LimitExceeded => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Unsupported => Code::Unimplemented,
        _ => Code::Internal,
    }
}

/// For statuses that no GoDFS server made.
fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::PermissionDenied,
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        // Out of range is a message that is longer than either side takes.
        Code::ResourceExhausted | Code::OutOfRange => ErrorKind::LimitExceeded,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::Internal => ErrorKind::Internal,
        // A stream that ended without a status (Unknown) or was reset (Cancelled): the server went away.
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Aborted | Code::Unavailable => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Address {
        Address::parse("node:1").expect("valid")
    }

    #[test]
    fn every_kind_crosses_whole() {
        for kind in ErrorKind::ALL {
            for retryable in [false, true] {
                let error = Error::new(kind, "ü what").with_retryable(retryable).with_redirect("other:2");
                let mut headers = HeaderMap::new();
                to_status(&error).add_header(&mut headers).expect("valid headers");
                let back = from_status(&Status::from_header_map(&headers).expect("has a status"), &peer());
                assert_eq!((back.kind(), back.message()), (kind, "ü what"));
                assert_eq!((back.is_retryable(), back.redirect()), (retryable, Some("other:2")));
            }
        }
    }

    #[test]
    fn symbolic_links_cross_and_fit_the_headers() {
        let path = DfsPath::parse(&format!("/{}", vec!["x".repeat(254); 16].join("/"))).expect("valid");
        let target = "../".repeat(1_365);
        let error = Error::symlink(path.clone(), &target);
        let mut headers = HeaderMap::new();
        to_status(&error).add_header(&mut headers).expect("valid headers");
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(bytes < 15_000, "{bytes} bytes of headers");
        let back = from_status(&Status::from_header_map(&headers).expect("has a status"), &peer());
        assert_eq!(back.link(), Some((&path, target.as_str())));
    }

    #[test]
    fn long_messages_fit_the_headers_and_sources_are_folded_in() {
        let error = Error::io("x".repeat(10_000), std::io::Error::other("why"));
        let mut headers = HeaderMap::new();
        to_status(&error).add_header(&mut headers).expect("valid headers");
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(bytes < 10_000, "{bytes} bytes of headers");
        let error = Error::new(ErrorKind::Io, "outer").with_source(std::io::Error::other("inner"));
        assert_eq!(to_detail(&error).message, "outer: inner");
    }

    #[test]
    fn foreign_statuses_name_the_peer() {
        let error = from_status(&Status::unknown(""), &peer());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_retryable() && error.message().contains("node:1"), "{error}");
        let error = from_status(&Status::unimplemented(""), &peer());
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("node:1"), "{error}");
    }

    /// tonic decodes the header with `expect`: a peer that sends garbage would panic its client.
    #[test]
    fn garbage_in_the_details_is_dropped() {
        for (value, kept) in [("%%%", false), ("A", false), ("AAAA", true), ("AAA=", true), ("AAA", true)] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", "3".parse().expect("valid"));
            headers.insert(DETAILS_HEADER, value.parse().expect("valid"));
            sanitize(&mut headers);
            assert_eq!(headers.contains_key(DETAILS_HEADER), kept, "{value}");
            let status = Status::from_header_map(&headers).expect("has a status");
            assert_eq!(from_status(&status, &peer()).kind(), ErrorKind::InvalidArgument);
        }
    }
}
