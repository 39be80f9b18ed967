//! Where replicas lie in the folder of a store.
//!
//! ```text
//! ROOT/LOCK                        held by the store that has the folder open
//! ROOT/FORMAT                      one line: what this is, its format, a checksum
//! ROOT/v1/rbw/ID.chunk             being written, or left half-written by a stop
//! ROOT/v1/tmp/ID.chunk             copies in flight; removed at a start
//! ROOT/v1/finalized/XX/ID.chunk    whole
//! ROOT/v1/segments/ID.segment      many small ones each, in any state
//! ```
//!
//! `ID` is the chunk in 16 hexadecimal digits, `XX` its second lowest byte: neighbours share a directory, so that one sync serves several,
//! and 65,536 chunks in a row are spread evenly. Such a directory is made when the first replica goes there.

use std::path::{Path, PathBuf};

use crate::chunk::ReplicaState;
use crate::id::ChunkId;

/// How many directories finalized replicas are spread over.
const FAN_OUT: u64 = 256;

const SUFFIX: &str = ".chunk";
const SEGMENT_SUFFIX: &str = ".segment";

#[derive(Clone, Debug)]
pub(super) struct Paths {
    root: PathBuf,
}

impl Paths {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    pub(super) fn version(&self) -> PathBuf {
        self.root.join("v1")
    }

    pub(super) fn rbw(&self) -> PathBuf {
        self.version().join("rbw")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.version().join("tmp")
    }

    pub(super) fn finalized(&self) -> PathBuf {
        self.version().join("finalized")
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.version().join("segments")
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.segments().join(format!("{number:016x}{SEGMENT_SUFFIX}"))
    }

    /// The directory of finalized replicas with this number, below [`FAN_OUT`].
    pub(super) fn fan(&self, number: u64) -> PathBuf {
        self.finalized().join(format!("{number:02x}"))
    }

    /// The directory of a replica of this chunk in this state.
    pub(super) fn directory(&self, chunk: ChunkId, state: ReplicaState) -> PathBuf {
        match state {
            ReplicaState::Rbw | ReplicaState::Rwr => self.rbw(),
            ReplicaState::Temporary => self.tmp(),
            ReplicaState::Finalized => self.fan(fan_of(chunk)),
        }
    }

    /// The file of a replica of this chunk in this state.
    pub(super) fn file(&self, chunk: ChunkId, state: ReplicaState) -> PathBuf {
        self.directory(chunk, state).join(name_of(chunk))
    }
}

pub(super) fn fan_of(chunk: ChunkId) -> u64 {
    (chunk.get() >> 8) % FAN_OUT
}

/// The number of the directory of finalized replicas with this name; `None` for any other name.
pub(super) fn fan_named(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name, 16).ok()?;
    (number < FAN_OUT && format!("{number:02x}") == name).then_some(number)
}

pub(super) fn name_of(chunk: ChunkId) -> String {
    format!("{:016x}{SUFFIX}", chunk.get())
}

/// The number of the segment with this name; `None` for any other name.
pub(super) fn segment_named(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(SEGMENT_SUFFIX)?, 16).ok()?;
    (format!("{number:016x}{SEGMENT_SUFFIX}") == name).then_some(number)
}

/// The chunk whose replica has this name; `None` for any other name.
pub(super) fn chunk_of(name: &str) -> Option<ChunkId> {
    let digits = name.strip_suffix(SUFFIX)?;
    let chunk = ChunkId(u64::from_str_radix(digits, 16).ok()?);
    (name_of(chunk) == name).then_some(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        let chunk = ChunkId(0x1234_5678);
        assert_eq!(chunk_of(&name_of(chunk)), Some(chunk));
        let path = Paths::new("/d".into()).file(chunk, ReplicaState::Finalized);
        assert_eq!(path, Path::new("/d/v1/finalized/56/0000000012345678.chunk"));
        for other in ["", ".chunk", "12345678.chunk", "000000001234567A.chunk", "+00000001234567.chunk", "LOCK"] {
            assert_eq!(chunk_of(other), None, "{other}");
        }
        assert_eq!((fan_named("00"), fan_named("56"), fan_named("ff")), (Some(0), Some(0x56), Some(0xff)));
        for other in ["", "0", "000", "100", "FF", "+1", "rbw"] {
            assert_eq!(fan_named(other), None, "{other}");
        }
    }
}
