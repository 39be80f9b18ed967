//! Where a peer is reached.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use godfs_core::{Error, ErrorKind, Result};
use http::Uri;

/// The longest address, in bytes: a DNS name has at most 253, a port 5.
const MAX_ADDRESS_BYTES: usize = 300;

/// `HOST:PORT`, where HOST is a name, an IPv4 address or an IPv6 address in brackets. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

impl Address {
    /// Parses `HOST:PORT`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`], saying what is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            let shown: String = text.chars().take(MAX_ADDRESS_BYTES).collect();
            Err(Error::new(ErrorKind::InvalidArgument, format!("address {shown:?} {why}; it must be HOST:PORT")))
        };
        if text.len() > MAX_ADDRESS_BYTES {
            return refuse("is too long");
        }
        let Some((host, port)) = text.rsplit_once(':') else { return refuse("has no port") };
        if host.is_empty() {
            return refuse("has no host");
        }
        if port.parse::<u16>().is_err() {
            return refuse("has no valid port");
        }
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return refuse("has an IPv6 address without brackets");
        }
        match text.parse::<http::uri::Authority>() {
            Ok(authority) if !text.contains('@') && !authority.host().is_empty() => Ok(Self(Arc::from(text))),
            _ => refuse("has no valid host"),
        }
    }

    /// As text, `HOST:PORT`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The origin of requests to it.
    #[must_use]
    pub fn origin(&self) -> Uri {
        Uri::builder()
            .scheme("http")
            .authority(&*self.0)
            .path_and_query("/")
            .build()
            .expect("the authority was checked when the address was parsed")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_and_both_families() {
        for (text, host) in [("node-1.dc_2:80", "node-1.dc_2"), ("127.0.0.1:0", "127.0.0.1"), ("[::1]:9000", "::1")] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.host(), host);
            assert_eq!(address.as_str(), text);
            assert_eq!(address.origin().authority().expect("has one").as_str(), text);
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        for (text, why) in [
            ("host", "no port"),
            (":80", "no host"),
            ("host:99999", "valid port"),
            ("::1:80", "brackets"),
            ("a b:80", "valid host"),
            ("user@host:80", "valid host"),
            (&format!("{}:80", "x".repeat(400)), "too long"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(why), "{error}");
        }
    }
}
