//! Opening the volumes of a datanode: each is taken in if it is the node's and its store can be opened.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;

use super::mark::{Candidate, Mark, Roster, admit, check_path};
use super::volume::{Place, Volume};
use super::{MAX_VOLUMES, VolumeStore};
use crate::chunk::{DirectoryOptions, DirectoryStore};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NodeUuid, VolumeId};
use crate::io::Io;

/// Which volumes a node has, and how large they may become.
#[derive(Clone, Debug)]
pub struct VolumesOptions {
    /// The node that they belong to.
    pub node: NodeUuid,
    /// The node's own folder, where it is written down which volumes it has.
    pub folder: PathBuf,
    /// Where they are, at most [`MAX_VOLUMES`]; none: the node's own folder is the only one.
    pub volumes: Vec<PathBuf>,
    /// Those of them that are gone for good, and whose place an empty folder may take.
    pub replaced: Vec<PathBuf>,
    /// The most bytes that replicas may take on each of them. `None`: as many as its disk has, less the reserve.
    pub capacity: Option<u64>,
    /// Bytes of each disk that are left free for others.
    pub reserve: u64,
    /// See [`DirectoryOptions::small`].
    pub small: u64,
}

impl VolumeStore {
    /// Opens the volumes of a node. An empty folder becomes a volume if none was there before. One that can't be opened is out of use from the
    /// beginning: it is logged and told by [`ChunkStore::volumes`](crate::ChunkStore::volumes), and the others go on.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for volumes that can't be, and where the node's own folder holds replicas and is not among them; when none can be
    /// opened, why, as [`DirectoryStore::open`] says it: several together are [`ErrorKind::FailedPrecondition`].
    pub async fn open(options: VolumesOptions, io: Arc<dyn Io>, env: Env) -> Result<Self> {
        let admitted = {
            let (io, options, random) = (Arc::clone(&io), options.clone(), Arc::clone(&env.random));
            let work = move || admit_all(&*io, &options, || VolumeId::from_random(random.next_u128()));
            env.blocking(work).await?
        };
        let opened = join_all(admitted.into_iter().map(|(path, admitted)| {
            let (io, env, options) = (Arc::clone(&io), env.clone(), &options);
            async move {
                let name = path.display().to_string();
                match open(admitted, &path, options, io, env.clone()).await {
                    Ok((store, place)) => (Volume::new(name, Arc::new(store), Some(place), env), None),
                    Err(error) => {
                        tracing::error!(volume = name, error = error.report(), "a volume can't be used");
                        (Volume::failed(name, error.report(), env), Some(error))
                    }
                }
            }
        }))
        .await;
        let (volumes, mut failures): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        if failures.iter().all(Option::is_some) {
            let mut failures: Vec<Error> = failures.drain(..).flatten().collect();
            return Err(match failures.len() {
                1 => failures.remove(0),
                _ => {
                    let reasons: Vec<_> = failures.iter().map(Error::report).collect();
                    Error::new(ErrorKind::FailedPrecondition, format!("no volume can be used: {}", reasons.join("; ")))
                }
            });
        }
        Self::of(volumes, env).await
    }
}

async fn open(
    admitted: Result<VolumeId>,
    path: &Path,
    options: &VolumesOptions,
    io: Arc<dyn Io>,
    env: Env,
) -> Result<(DirectoryStore, Place)> {
    let mark = Mark { node: options.node, volume: admitted? };
    let directory = DirectoryOptions {
        root: path.join("chunks"),
        capacity: options.capacity,
        reserve: options.reserve,
        small: options.small,
        on_the_spot: options.volumes.len() < 2,
    };
    let store = DirectoryStore::open(directory, Arc::clone(&io), env).await?;
    Ok((store, Place::new(io, path.to_path_buf(), mark)))
}

/// Tells which volumes the folders are, and writes down which there are now.
fn admit_all(
    io: &dyn Io,
    options: &VolumesOptions,
    fresh: impl Fn() -> VolumeId,
) -> Result<Vec<(PathBuf, Result<VolumeId>)>> {
    let VolumesOptions { node, folder, volumes, replaced, .. } = options;
    let volumes = if volumes.is_empty() { std::slice::from_ref(folder) } else { volumes };
    check(io, options, volumes)?;
    let mut roster = Roster::read(io, folder)?;
    let known = roster.clone();
    let mut seen = BTreeSet::new();
    let mut admitted = Vec::with_capacity(volumes.len());
    for path in volumes {
        let candidate = Candidate {
            folder: path,
            own: path == folder,
            known: known.0.get(path).copied(),
            replaced: replaced.contains(path),
            fresh: fresh(),
        };
        let mut outcome = admit(io, *node, &candidate);
        if let Ok(volume) = outcome
            && !seen.insert(volume)
        {
            let message =
                format!("{} is volume {volume}, and so is another one: a copy, or the same disk", path.display());
            outcome = Err(Error::new(ErrorKind::FailedPrecondition, message));
        }
        if let Ok(volume) = outcome {
            roster.0.insert(path.clone(), volume);
        }
        admitted.push((path.clone(), outcome));
    }
    if roster != known {
        roster.write(io, folder, volumes)?;
    }
    Ok(admitted)
}

fn check(io: &dyn Io, options: &VolumesOptions, volumes: &[PathBuf]) -> Result<()> {
    let VolumesOptions { folder, replaced, .. } = options;
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
    if volumes.len() > MAX_VOLUMES {
        return invalid(format!("{} volumes: a node has at most {MAX_VOLUMES}", volumes.len()));
    }
    volumes.iter().try_for_each(|path| check_path(path))?;
    if volumes.iter().collect::<BTreeSet<_>>().len() < volumes.len() {
        return invalid("a volume is named twice".into());
    }
    if let Some(stray) = replaced.iter().find(|path| !volumes.contains(path)) {
        return invalid(format!("{} is to be replaced and is no volume", stray.display()));
    }
    let chunks = folder.join("chunks");
    let left = !volumes.contains(folder) && io.exists(&chunks).map_err(|error| Error::io(chunks.display(), error))?;
    if left {
        let folder = folder.display();
        return invalid(format!(
            "{folder} holds replicas and is not among the volumes: name it too (--volume {folder})"
        ));
    }
    Ok(())
}
