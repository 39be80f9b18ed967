//! Uploads in parts.
//!
//! Each upload has a directory of its own in [`UPLOADS`], each part is a file there that appears whole. Completing an upload joins the chunks of its parts to
//! the object, publishes that and removes the directory, in one transaction: so there is nothing to be found of a half upload but a directory that nobody
//! lists, which [`GodfsStore::collect_abandoned`] removes when its owner is gone: whoever begins an upload sees to those that others left.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::time::Instant;

use godfs_client::{CreateOptions, DfsPath, ETag, Error, ErrorKind, MkdirOptions, RemoveOptions, Result, XattrMode};

use crate::attributes::Described;
use crate::key::UPLOADS;
use crate::store::{GodfsStore, Mode};

/// How often the directory of an upload is made, before it is given up: where somebody removes the one above all the time.
const ATTEMPTS: usize = 10;

/// How often a store looks for what was abandoned, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// When a store looked last for what was abandoned.
#[derive(Debug, Default)]
pub(crate) struct Sweep(Mutex<Option<Instant>>);

impl Sweep {
    /// Whether it is time to look; then it is not for a while.
    fn is_due(&self) -> bool {
        let (mut last, now) = (self.0.lock(), Instant::now());
        let due = last.is_none_or(|last| now.duration_since(last) >= SWEEP_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Names an upload: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadId(String);

impl UploadId {
    /// # Errors
    /// [`ErrorKind::NotFound`] for what was never given for an id.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let is_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match is_id {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::new(ErrorKind::NotFound, format!("there is no upload {text:?}"))),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl GodfsStore {
    fn uploads(&self) -> Result<DfsPath> {
        self.root().join(UPLOADS)
    }

    fn directory(&self, id: &UploadId) -> Result<DfsPath> {
        self.uploads()?.join(&id.0)
    }

    /// Begins an upload, and sees to those that were abandoned.
    pub(crate) async fn begin_upload(&self) -> Result<UploadId> {
        let unchanged = self.options().abandoned_after;
        if !unchanged.is_zero() && self.sweep.is_due() {
            let store = self.clone();
            // What is in the way now need not be the next time.
            tokio::spawn(async move { store.collect_abandoned(unchanged).await });
        }
        self.make_directory().await
    }

    async fn make_directory(&self) -> Result<UploadId> {
        for _ in 0..ATTEMPTS {
            let id = UploadId(format!("{:032x}", fastrand::u128(..)));
            match self.client().mkdir(self.directory(&id)?, MkdirOptions::new()).await {
                Ok(()) => return Ok(id),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.client().mkdir(self.uploads()?, MkdirOptions::new().parents(true)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, format!("{} is removed all the time", self.uploads()?)))
    }

    /// Begins an upload that anybody may go on with, who knows its id: it remembers its attributes.
    pub(crate) async fn begin_described(&self, described: &Described) -> Result<UploadId> {
        let id = self.begin_upload().await?;
        for (name, value) in described.xattrs() {
            self.client().set_xattr(self.directory(&id)?, name, value.clone(), XattrMode::Any).await?;
        }
        Ok(id)
    }

    /// The attributes that an upload began with.
    pub(crate) async fn described(&self, id: &UploadId) -> Result<Described> {
        Ok(Described::of(self.client().xattrs(self.directory(id)?).await?))
    }

    /// Writes one part; the one that had its number before goes.
    pub(crate) async fn upload_part(&self, id: &UploadId, number: usize, pieces: Vec<Bytes>) -> Result<String> {
        let name = part_name(number);
        // Chunks from the first byte on: bytes that lie with the namenode can't be joined.
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let options: CreateOptions = self.creating().parents(false).overwrite(true).small_file_limit(0);
        let options = options.expected_size(length);
        let path = self.directory(id)?.join(&name)?;
        let mut writer = self.client().writer(path, options.publish_on_close(true)).await?;
        for piece in pieces {
            writer.write_bytes(piece).await?;
        }
        writer.close().await?;
        Ok(name)
    }

    /// Publishes the object.
    pub(crate) async fn complete_upload(
        &self,
        id: &UploadId,
        key: &str,
        parts: Vec<String>,
        described: &Described,
    ) -> Result<ETag> {
        let path = self.path(key)?;
        let options = self.writing(Mode::Overwrite, described);
        match self.client().compose(&path, self.directory(id)?, parts, options).await {
            Err(error) => Err(self.in_the_way(&path, error).await),
            done => done,
        }
    }

    /// Removes an upload with all its parts; one that is gone is removed.
    pub(crate) async fn abort_upload(&self, id: &UploadId) -> Result<()> {
        match self.client().remove(self.directory(id)?, RemoveOptions::new().recursive(true)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Removes the uploads to which no part was added for `unchanged`, as the namenode's clock has it, and that were not completed: those whose writer died, or
    /// that is slower than that. Gives back how many. A part that is being written when its upload goes fails, and so does the upload. Those that the caller may
    /// not remove stay.
    ///
    /// # Errors
    /// Whatever the client says. What was removed stays removed.
    pub async fn collect_abandoned(&self, unchanged: Duration) -> Result<usize> {
        let uploads = self.uploads()?;
        if !self.client().exists(&uploads).await? {
            return Ok(0);
        }
        // The clock that the others' times come from.
        let probe = self.make_directory().await?;
        let now = self.client().stat(self.directory(&probe)?).await?.modified_ms;
        self.abort_upload(&probe).await?;
        let patience = u64::try_from(unchanged.as_millis()).unwrap_or(u64::MAX);
        let mut found = self.client().list(&uploads)?;
        let mut removed = 0;
        while let Some(entry) = found.try_next().await? {
            let old = entry.status.modified_ms.saturating_add(patience) <= now;
            if let (true, Ok(id)) = (old, UploadId::parse(&entry.name)) {
                match self.abort_upload(&id).await {
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => continue,
                    outcome => outcome?,
                }
                removed += 1;
            }
        }
        // Not if there are others, nor if one begins.
        match self.client().remove(&uploads, RemoveOptions::new()).await {
            Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => Err(error),
            _ => Ok(removed),
        }
    }
}

pub(crate) fn part_name(number: usize) -> String {
    format!("{number:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_nowhere_else() {
        assert_eq!(UploadId::parse(&"0f".repeat(16)).unwrap().as_str(), "0f".repeat(16));
        for text in ["", "..", "x", &"0F".repeat(16), &"/".repeat(32), &"0".repeat(33)] {
            assert_eq!(UploadId::parse(text).unwrap_err().kind(), ErrorKind::NotFound);
        }
    }
}
