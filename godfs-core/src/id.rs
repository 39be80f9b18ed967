//! Identifiers and counters, each a type of its own so that no two can be confused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number itself.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The number after this one; saturates at the largest.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.parse().map(Self).map_err(|_| {
                    Error::new(
                        ErrorKind::InvalidArgument,
                        format!(concat!("{:?} is not a ", stringify!($name)), text),
                    )
                })
            }
        }
    };
}

number! {
    /// One file or directory; stable over renames, never used again.
    InodeId(u64)
}
number! {
    /// One chunk; never used again.
    ChunkId(u64)
}
number! {
    /// One datanode, given by the namenode at its first registration. Rows hold this number, never an address.
    NodeId(u32)
}
number! {
    /// The fencing number of a chunk: grows at every pipeline recovery, append and truncate.
    Generation(u64)
}
number! {
    /// The fencing number of one authority scope.
    Epoch(u64)
}
number! {
    /// One client's registration at the namenode: drawn at random, and known to that client alone, since whoever names it may call, renew and end it.
    SessionId(u64)
}
number! {
    /// What others are told of a session: counted on, and good for nothing but telling sessions apart.
    SessionNumber(u64)
}
number! {
    /// The right of one session to write one file.
    LeaseId(u64)
}
number! {
    /// The commit number of a metadata transaction; grows by one for each.
    Version(u64)
}

impl InodeId {
    /// The root directory.
    pub const ROOT: Self = Self(1);
}

impl Version {
    /// What a row reads as its own version inside the transaction that writes it.
    pub const PENDING: Self = Self(u64::MAX);
}

macro_rules! random {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes one from 128 random bits.
            #[must_use]
            pub fn from_random(bits: u128) -> Self {
                Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
            }

            /// Reads one from its 16 bytes; `None` when there are not exactly 16.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }

            /// Its 16 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    Error::new(
                        ErrorKind::InvalidArgument,
                        format!(concat!("{:?} is not a UUID, as ", stringify!($name), " is one"), text),
                    )
                })
            }
        }
    };
}

random! {
    /// One cluster, made at `--init`.
    ClusterId
}
random! {
    /// One life of a metadata store; new when the store is restored or reset.
    Incarnation
}
random! {
    /// One datanode folder, made when the folder is first used; the namenode maps it to a [`NodeId`].
    NodeUuid
}
random! {
    /// One volume of a datanode, made when its folder is first used.
    VolumeId
}
