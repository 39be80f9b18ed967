//! Whose disk this is: the mark of a volume, and the roster of the volumes that a node knows.
//!
//! A volume is a folder with a file `volume` and, below `chunks`, its replicas. A folder without the mark is never taken for one that had it: where
//! a disk is not mounted there is an empty folder, which looks just as a new disk does, and only the roster tells them apart.
//!
//! ```text
//! VOLUME/volume       "GODFSVO1" | format 4 | CRC32C of what follows 4 | node uuid 16 | volume id 16
//! NODE/volumes        "GODFSVL1" | format 4 | CRC32C of what follows 4 | count 4, for each: volume id 16, length 2, path
//! ```
//! Numbers are big endian; both files are published whole.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};

use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NodeUuid, VolumeId};
use crate::io::{Io, create_dir_all_synced, publish};

const MARK: &str = "volume";
const MARK_MAGIC: &[u8; 8] = b"GODFSVO1";
const MARK_BYTES: usize = 48;
const ROSTER: &str = "volumes";
const ROSTER_MAGIC: &[u8; 8] = b"GODFSVL1";
const FORMAT: u32 = 1;
const HEADER: usize = 16;

/// The longest path of a volume, bytes.
const MAX_PATH: usize = 4_096;
/// Volumes that a roster remembers, those that are not used any more among them.
const MAX_KNOWN: usize = 4 * super::MAX_VOLUMES;
/// More than any roster has.
const MAX_ROSTER: u64 = (HEADER + 4 + MAX_KNOWN * (18 + MAX_PATH)) as u64;

/// Whose volume a folder is, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) node: NodeUuid,
    pub(super) volume: VolumeId,
}

impl Mark {
    /// Reads the mark of a folder; `None` where it has none.
    pub(super) fn read(io: &dyn Io, folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MARK);
        match io.read(&path, MARK_BYTES as u64) {
            Ok(content) => Self::decode(&content).map(Some).map_err(|error| error.context(path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Error::new(ErrorKind::Corrupt, error.to_string()))
            }
            Err(error) => Err(Error::io(path.display(), error)),
        }
    }

    fn write(self, io: &dyn Io, folder: &Path) -> Result<()> {
        let failed = |error| Error::io(format!("make a volume of {}", folder.display()), error);
        create_dir_all_synced(io, folder).map_err(failed)?;
        publish(io, &folder.join(MARK), &self.encode()).map_err(failed)
    }

    fn encode(self) -> Vec<u8> {
        let body = [*self.node.as_bytes(), *self.volume.as_bytes()].concat();
        framed(MARK_MAGIC, &body)
    }

    fn decode(file: &[u8]) -> Result<Self> {
        let body = unframed(MARK_MAGIC, file)?;
        let uuids = body.split_at_checked(16);
        let mark = uuids.and_then(|(node, volume)| {
            Some(Self { node: NodeUuid::from_bytes(node)?, volume: VolumeId::from_bytes(volume)? })
        });
        mark.ok_or_else(|| corrupt("its body is malformed"))
    }
}

/// A folder that is to be a volume of a node.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) folder: &'a Path,
    /// The node's own folder: its identity tells that it is there.
    pub(super) own: bool,
    /// The volume that was there.
    pub(super) known: Option<VolumeId>,
    /// The operator says that the one which was there is gone for good.
    pub(super) replaced: bool,
    /// Who it becomes if it is new.
    pub(super) fresh: VolumeId,
}

/// Tells which volume of `node` a folder is; makes one of an empty folder, unless there was one.
///
/// # Errors
/// [`ErrorKind::FailedPrecondition`] when it is another node's, lacks the mark that it had, or holds something else; [`ErrorKind::Corrupt`] when
/// its mark can't be read; what the disk says.
pub(super) fn admit(io: &dyn Io, node: NodeUuid, candidate: &Candidate<'_>) -> Result<VolumeId> {
    let Candidate { folder, own, known, replaced, fresh } = *candidate;
    let refuse = |why: String| Err(Error::new(ErrorKind::FailedPrecondition, format!("{} {why}", folder.display())));
    if let Some(mark) = Mark::read(io, folder)? {
        if mark.node != node {
            return refuse(format!("is volume {} of the datanode {}, not of this one", mark.volume, mark.node));
        }
        return Ok(mark.volume);
    }
    if let Some(known) = known
        && !replaced
    {
        return refuse(format!(
            "was volume {known} and has no mark now: is its disk mounted? If it is gone for good, say so with --replace-volume"
        ));
    }
    // A node's own folder from before there were marks has one by its identity.
    if !own && let Some(found) = stranger(io, folder)? {
        return refuse(format!("is not empty and no volume: it holds {found:?}"));
    }
    let mark = Mark { node, volume: fresh };
    mark.write(io, folder)?;
    Ok(fresh)
}

/// Something in a folder that is to become a volume; `None` when it is empty or not there.
fn stranger(io: &dyn Io, folder: &Path) -> Result<Option<String>> {
    let failed = |error| Error::io(folder.display(), error);
    if !io.exists(folder).map_err(failed)? {
        return Ok(None);
    }
    let staged = format!("{MARK}.tmp");
    let entries = io.read_dir(folder).map_err(failed)?;
    Ok(entries.into_iter().map(|entry| entry.name).find(|name| *name != "lost+found" && *name != staged))
}

/// The volumes that a node knows, by where they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster(pub(super) BTreeMap<PathBuf, VolumeId>);

impl Roster {
    /// Reads the roster of a node's folder; an empty one where there is none.
    pub(super) fn read(io: &dyn Io, folder: &Path) -> Result<Self> {
        let path = folder.join(ROSTER);
        match io.read(&path, MAX_ROSTER) {
            Ok(content) => Self::decode(&content).map_err(|error| error.context(path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io(path.display(), error)),
        }
    }

    /// Writes it, with no more than fits; those at `used` are kept before others.
    pub(super) fn write(&mut self, io: &dyn Io, folder: &Path, used: &[PathBuf]) -> Result<()> {
        while self.0.len() > MAX_KNOWN {
            let Some(unused) = self.0.keys().find(|path| !used.contains(path)).cloned() else { break };
            self.0.remove(&unused);
        }
        let path = folder.join(ROSTER);
        publish(io, &path, &self.encode()).map_err(|error| Error::io(path.display(), error))
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u32(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        for (path, volume) in &self.0 {
            let path = path.as_os_str().as_encoded_bytes();
            body.put_slice(volume.as_bytes());
            body.put_u16(u16::try_from(path.len()).unwrap_or(u16::MAX));
            body.put_slice(path);
        }
        framed(ROSTER_MAGIC, &body)
    }

    fn decode(file: &[u8]) -> Result<Self> {
        let body = unframed(ROSTER_MAGIC, file)?;
        Self::decode_body(body).ok_or_else(|| corrupt("its body is malformed"))
    }

    fn decode_body(mut body: &[u8]) -> Option<Self> {
        let count = body.try_get_u32().ok()?;
        let mut known = BTreeMap::new();
        for _ in 0..count {
            let volume = VolumeId::from_bytes(body.get(..16)?)?;
            body.advance(16);
            let length = usize::from(body.try_get_u16().ok()?);
            let path = std::str::from_utf8(body.get(..length)?).ok()?;
            body.advance(length);
            known.insert(PathBuf::from(path), volume);
        }
        body.is_empty().then_some(Self(known))
    }
}

/// Refuses paths that the roster can't hold.
pub(super) fn check_path(path: &Path) -> Result<()> {
    let fits = path.to_str().is_some_and(|text| !text.is_empty() && text.len() <= MAX_PATH);
    if fits {
        return Ok(());
    }
    let message = format!("volume {}: a path has 1 to {MAX_PATH} bytes of UTF-8", path.display());
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

fn framed(magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEADER + body.len());
    file.put_slice(magic);
    file.put_u32(FORMAT);
    file.put_u32(crc32c(body));
    file.put_slice(body);
    file
}

fn unframed<'a>(magic: &[u8; 8], file: &'a [u8]) -> Result<&'a [u8]> {
    let mut rest = file.strip_prefix(magic).ok_or_else(|| corrupt("another magic number"))?;
    let format = rest.try_get_u32().map_err(|_| corrupt("too short"))?;
    if format != FORMAT {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!("it has format {format}, this version of GoDFS knows {FORMAT}"),
        ));
    }
    let sum = rest.try_get_u32().map_err(|_| corrupt("too short"))?;
    if crc32c(rest) == sum { Ok(rest) } else { Err(corrupt("its checksum does not hold")) }
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("not what it should be: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimIo;

    const NODE: u128 = 7;

    fn candidate(folder: &str) -> Candidate<'_> {
        let folder = Path::new(folder);
        Candidate { folder, own: false, known: None, replaced: false, fresh: VolumeId::from_random(1) }
    }

    fn node() -> NodeUuid {
        NodeUuid::from_random(NODE)
    }

    #[test]
    fn an_unmounted_disk_is_no_new_volume_unless_it_is_said_so() {
        let io = SimIo::new(1);
        let volume = admit(&io, node(), &candidate("/disk1")).expect("a new one");
        assert_eq!(admit(&io, node(), &candidate("/disk1")).expect("known again"), volume);
        let known = Some(volume);
        let gone = Candidate { known, ..candidate("/elsewhere") };
        let error = admit(&io, node(), &gone).expect_err("unmounted");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.message().contains("mounted"), "{error}");
        assert!(!io.exists(Path::new("/elsewhere")).expect("look"), "nothing was made");
        let fresh = VolumeId::from_random(2);
        let new = admit(&io, node(), &Candidate { replaced: true, fresh, ..gone }).expect("replaced");
        assert_eq!(new, fresh);
        // One that was moved is what its mark says.
        let moved = Candidate { known: Some(fresh), ..candidate("/disk1") };
        assert_eq!(admit(&io, node(), &moved).expect("another of this node"), volume);
    }

    #[test]
    fn another_nodes_disk_and_one_with_files_are_left_alone() {
        let io = SimIo::new(1);
        admit(&io, NodeUuid::from_random(8), &candidate("/disk1")).expect("the other's");
        let error = admit(&io, node(), &candidate("/disk1")).expect_err("not ours");
        assert!(error.message().contains(&NodeUuid::from_random(8).to_string()), "{error}");
        io.create_dir_all(Path::new("/home/user")).expect("make");
        let error = admit(&io, node(), &candidate("/home")).expect_err("full of other things");
        assert!(error.message().contains("user"), "{error}");
        admit(&io, node(), &Candidate { own: true, ..candidate("/home") }).expect("the node's own folder");
    }

    #[test]
    fn damaged_marks_and_rosters_are_refused() {
        let mark = Mark { node: node(), volume: VolumeId::from_random(3) };
        let known = [("/a", 1_u128), ("/b/c", 2)].map(|(path, id)| (path.into(), VolumeId::from_random(id)));
        let roster = Roster(known.into());
        let (mark_file, roster_file) = (mark.encode(), roster.encode());
        assert_eq!(mark_file.len(), MARK_BYTES);
        assert_eq!(Mark::decode(&mark_file).expect("a mark"), mark);
        assert_eq!(Roster::decode(&roster_file).expect("a roster"), roster);
        for at in 0..mark_file.len() {
            let mut bad = mark_file.clone();
            bad[at] ^= 1;
            assert!(Mark::decode(&bad).is_err(), "byte {at}");
            assert!(Mark::decode(&mark_file[..at]).is_err());
        }
        for at in 0..roster_file.len() {
            let mut bad = roster_file.clone();
            bad[at] ^= 1;
            assert!(Roster::decode(&bad).is_err(), "byte {at}");
            assert!(Roster::decode(&roster_file[..at]).is_err());
        }
        let io = SimIo::new(1);
        let folder = Path::new("/node");
        create_dir_all_synced(&io, folder).expect("make");
        assert_eq!(Roster::read(&io, folder).expect("none"), Roster::default());
        let mut written = roster.clone();
        written.write(&io, folder, &[]).expect("write");
        assert_eq!(Roster::read(&io, folder).expect("read"), roster);
    }
}
