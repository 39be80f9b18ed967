//! Who speaks: the greeting that opens every conversation, checked on both sides.

use godfs_core::{ClusterId, Error, ErrorKind, Result};
use godfs_proto::{MAX_VERSION, MIN_VERSION, v1};
use v1::Speaker;

/// The longest name of a speaker, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// This side of a conversation. Cheap enough to clone for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What this side is.
    pub speaker: Speaker,
    /// The cluster it belongs to; `None` when it belongs to none yet.
    pub cluster: Option<ClusterId>,
    /// A name for logs and reports; cut at [`MAX_NAME_BYTES`].
    pub name: String,
}

/// The other side of a conversation, its greeting found compatible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The version that both speak: the highest that both understand.
    pub version: u32,
    /// What it is.
    pub speaker: Speaker,
    /// The cluster it belongs to, if any.
    pub cluster: Option<ClusterId>,
    /// Its name, for logs; proves nothing.
    pub name: String,
    /// Its software, for logs.
    pub software: String,
}

impl Identity {
    /// A client.
    #[must_use]
    pub fn client(name: impl Into<String>) -> Self {
        Self { speaker: Speaker::Client, cluster: None, name: name.into() }
    }

    /// A datanode.
    #[must_use]
    pub fn datanode(name: impl Into<String>, cluster: Option<ClusterId>) -> Self {
        Self { speaker: Speaker::Datanode, cluster, name: name.into() }
    }

    /// A namenode.
    #[must_use]
    pub fn namenode(name: impl Into<String>, cluster: ClusterId) -> Self {
        Self { speaker: Speaker::Namenode, cluster: Some(cluster), name: name.into() }
    }

    /// The greeting to send.
    #[must_use]
    pub fn hello(&self) -> v1::Hello {
        v1::Hello {
            min_version: MIN_VERSION,
            max_version: MAX_VERSION,
            cluster_id: self.cluster.map(|id| id.as_bytes().to_vec().into()).unwrap_or_default(),
            speaker: self.speaker.into(),
            name: self.name[..self.name.floor_char_boundary(MAX_NAME_BYTES)].to_owned(),
            software: software(),
        }
    }

    /// Checks a greeting that came in, which must be there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when it is missing or malformed; [`ErrorKind::Incompatible`], naming both sides, when the
    /// version ranges do not meet or the clusters differ.
    pub fn check(&self, hello: Option<&v1::Hello>) -> Result<Peer> {
        let invalid = |what: &str| Error::new(ErrorKind::InvalidArgument, format!("hello: {what}"));
        let hello = hello.ok_or_else(|| invalid("missing from the first message"))?;
        let speaker = match Speaker::try_from(hello.speaker) {
            Ok(Speaker::Unspecified) | Err(_) => return Err(invalid("does not say who speaks")),
            Ok(speaker) => speaker,
        };
        if hello.name.len() > MAX_NAME_BYTES || hello.software.len() > MAX_NAME_BYTES {
            return Err(invalid("name or software is longer than 255 bytes"));
        }
        if hello.min_version > hello.max_version {
            return Err(invalid("its lowest version is above its highest"));
        }
        let cluster = match &*hello.cluster_id {
            [] => None,
            bytes => Some(ClusterId::from_bytes(bytes).ok_or_else(|| invalid("a cluster id has 16 bytes"))?),
        };
        let version = hello.max_version.min(MAX_VERSION);
        if version < hello.min_version.max(MIN_VERSION) {
            return Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "{} ({}) speaks protocol versions {} to {}, {} ({}) speaks {MIN_VERSION} to {MAX_VERSION}: upgrade the older one",
                    shown(speaker, &hello.name),
                    hello.software,
                    hello.min_version,
                    hello.max_version,
                    shown(self.speaker, &self.name),
                    software(),
                ),
            ));
        }
        if let (Some(ours), Some(theirs)) = (self.cluster, cluster)
            && ours != theirs
        {
            return Err(foreign_cluster(
                (&shown(speaker, &hello.name), theirs),
                (&shown(self.speaker, &self.name), ours),
            ));
        }
        Ok(Peer { version, speaker, cluster, name: hello.name.clone(), software: hello.software.clone() })
    }

    /// As [`check`](Self::check), and the speaker must be one of `allowed`.
    ///
    /// # Errors
    /// As for [`check`](Self::check), and [`ErrorKind::PermissionDenied`] for another speaker.
    pub fn check_speaker(&self, hello: Option<&v1::Hello>, allowed: &[Speaker]) -> Result<Peer> {
        let peer = self.check(hello)?;
        if allowed.contains(&peer.speaker) {
            return Ok(peer);
        }
        Err(Error::new(
            ErrorKind::PermissionDenied,
            format!("{} has no business in this conversation", shown(peer.speaker, &peer.name)),
        ))
    }

    /// Checks the answer of the namenode at `address`: the version chosen and its cluster. The cluster becomes known.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`], naming both sides.
    pub fn check_answer(&self, answer: &v1::HelloResponse, address: &super::Address) -> Result<ClusterId> {
        if !(MIN_VERSION..=MAX_VERSION).contains(&answer.version) {
            return Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "the namenode at {address} ({}) chose protocol version {}, {} ({}) speaks {MIN_VERSION} to {MAX_VERSION}",
                    answer.software,
                    answer.version,
                    shown(self.speaker, &self.name),
                    software(),
                ),
            ));
        }
        let theirs = ClusterId::from_bytes(&answer.cluster_id).ok_or_else(|| {
            Error::new(ErrorKind::Incompatible, format!("the namenode at {address} gave no valid cluster id"))
        })?;
        match self.cluster {
            Some(ours) if ours != theirs => Err(foreign_cluster(
                (&format!("the namenode at {address}"), theirs),
                (&shown(self.speaker, &self.name), ours),
            )),
            _ => Ok(theirs),
        }
    }
}

/// The software and its version, such as `godfs 0.1.0`.
#[must_use]
pub fn software() -> String {
    concat!("godfs ", env!("CARGO_PKG_VERSION")).to_owned()
}

fn foreign_cluster(theirs: (&str, ClusterId), ours: (&str, ClusterId)) -> Error {
    Error::new(
        ErrorKind::Incompatible,
        format!("{} belongs to cluster {}, {} to cluster {}", theirs.0, theirs.1, ours.0, ours.1),
    )
}

fn shown(speaker: Speaker, name: &str) -> String {
    let speaker = match speaker {
        Speaker::Client => "client",
        Speaker::Datanode => "datanode",
        Speaker::Namenode => "namenode",
        Speaker::Unspecified => "speaker",
    };
    if name.is_empty() { format!("a {speaker}") } else { format!("{speaker} {name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> ClusterId {
        ClusterId::from_random(n)
    }

    #[test]
    fn a_greeting_says_who_speaks() {
        let node = Identity::datanode("dn1", Some(id(1)));
        let namenode = Identity::namenode("nn", id(1));
        let peer = namenode.check(Some(&node.hello())).expect("compatible");
        assert_eq!((peer.speaker, peer.cluster, peer.version), (Speaker::Datanode, Some(id(1)), MAX_VERSION));
        assert!(namenode.check(Some(&Identity::client("").hello())).expect("no cluster yet").cluster.is_none());
        assert!(namenode.check_speaker(Some(&node.hello()), &[Speaker::Datanode]).is_ok());
        let error = namenode.check_speaker(Some(&node.hello()), &[Speaker::Client]).expect_err("a datanode");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn another_cluster_is_refused_naming_both() {
        let error = Identity::namenode("nn", id(1))
            .check(Some(&Identity::datanode("dn1", Some(id(2))).hello()))
            .expect_err("another cluster");
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        for part in ["nn", "dn1", &id(1).to_string(), &id(2).to_string()] {
            assert!(error.message().contains(part), "{error}");
        }
        let answer = v1::HelloResponse {
            version: MAX_VERSION,
            cluster_id: id(2).as_bytes().to_vec().into(),
            ..Default::default()
        };
        let address = super::super::Address::parse("nn:1").expect("valid");
        let mut client = Identity::client("c");
        assert_eq!(client.check_answer(&answer, &address).expect("first contact"), id(2));
        client.cluster = Some(id(1));
        let error = client.check_answer(&answer, &address).expect_err("another cluster");
        assert!(error.message().contains("nn:1") && error.message().contains(&id(1).to_string()), "{error}");
    }

    #[test]
    fn versions_that_do_not_meet_are_refused() {
        let us = Identity::client("us");
        let mut hello = Identity::client("them").hello();
        (hello.min_version, hello.max_version) = (MAX_VERSION + 1, MAX_VERSION + 3);
        let error = us.check(Some(&hello)).expect_err("too new");
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(error.message().contains("them") && error.message().contains("us"), "{error}");
        hello.min_version = MIN_VERSION;
        assert_eq!(us.check(Some(&hello)).expect("they meet").version, MAX_VERSION);
    }

    #[test]
    fn malformed_greetings_are_refused() {
        let us = Identity::client("us");
        assert!(us.check(None).is_err());
        for mend in [
            (|hello| hello.speaker = 99) as fn(&mut v1::Hello),
            |hello| hello.speaker = 0,
            |hello| hello.cluster_id = vec![1; 15].into(),
            |hello| hello.name = "x".repeat(256),
            |hello| hello.min_version = 9,
        ] {
            let mut hello = Identity::client("them").hello();
            mend(&mut hello);
            let error = us.check(Some(&hello)).expect_err("malformed");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
    }
}
