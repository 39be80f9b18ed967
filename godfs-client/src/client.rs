//! The client.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use godfs_core::{DfsPath, Error, ErrorKind, InodeId, IntoPath, Result};
use godfs_proto::v1;
use godfs_proto::v1::admin_service_client::AdminServiceClient;
use tokio::time::Instant;

use crate::builder::ClientBuilder;
use crate::file::{self, DfsFile, FileChecksum, OpenFile, Reader, Writer};
use crate::links;
use crate::listing::Listing;
use crate::locate;
use crate::metadata::{DirEntry, ETag, FileLocations, FileStatus, OpenFileStatus};
use crate::namenode::{Backoff, Greeting, Namenode};
use crate::options::{CreateOptions, ListOptions, MkdirOptions, RemoveOptions, RenameOptions};
use crate::transport::convert;

/// A client of one cluster. Cheap to clone; clones share connections and the session.
///
/// Calls that change something are safe to repeat, and are repeated while the namenode can't be reached, up to
/// [`call_timeout`](crate::ClientSettings::call_timeout). Dropping the future of a call is always safe; a change that was under way may still
/// take effect.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) namenode: Namenode,
}

impl Client {
    /// A client of the cluster at `godfs://HOST:PORT[,HOST:PORT]`, once one of these namenodes has answered.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a malformed URL; [`ErrorKind::Unavailable`] within five seconds when nobody answers, naming an address;
    /// [`ErrorKind::Incompatible`] when versions do not meet.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder().namenodes(url).connect().await
    }

    /// Builds a client with settings and components of one's own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new(namenode: Namenode) -> Self {
        Self { namenode }
    }

    pub(crate) fn namenode(&self) -> &Namenode {
        &self.namenode
    }

    /// Bytes of chunks that this client, and its clones, have read from the files of datanodes on this machine so far, and not through the network.
    #[must_use]
    pub fn local_bytes_read(&self) -> u64 {
        self.namenode.local().bytes()
    }

    /// What the cluster said of itself.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect), at the first contact.
    pub async fn greeting(&self) -> Result<Greeting> {
        self.namenode.greeting().await
    }

    /// Creates a file and opens it for writing.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] unless [`overwrite`](CreateOptions::overwrite) was asked for; [`ErrorKind::NotFound`] without a parent.
    pub async fn create(&self, path: impl IntoPath, options: CreateOptions) -> Result<DfsFile> {
        Ok(DfsFile::writing(self.writer(path, options).await?))
    }

    /// Opens a file that is closed for writing at its end. What is there stays as it is, also for its readers, until more is flushed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::IsADirectory`]; [`ErrorKind::BeingWritten`] while it has a writer. A writer that has
    /// been silent beyond the namenode's soft limit loses the file, which is recovered and opened, within
    /// [`close_timeout`](crate::ClientSettings::close_timeout).
    pub async fn append(&self, path: impl IntoPath) -> Result<DfsFile> {
        Ok(DfsFile::writing(self.appender(path).await?))
    }

    /// As [`append`](Self::append), without the traits of tokio around it.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub async fn appender(&self, path: impl IntoPath) -> Result<Writer> {
        Ok(Writer::new(OpenFile::append(&self.namenode, path.into_path()?, CreateOptions::default()).await?))
    }

    /// Moves the chunks of `sources`, in their order, to the end of `target`, in one step and without copying a byte; the sources go. All must be closed
    /// and have the same chunk size. Small files, whose bytes lie with the namenode, get a chunk first, for which the caller must be able to read and write
    /// them; what they hold stays the same, also if that is as far as it comes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a file that is named twice, or other chunk sizes;
    /// [`ErrorKind::BeingWritten`] for one that has a writer, as for [`append`](Self::append); [`ErrorKind::LimitExceeded`] beyond 4,000 chunks.
    pub async fn concat<P: IntoPath>(&self, target: impl IntoPath, sources: impl IntoIterator<Item = P>) -> Result<()> {
        let mut paths = vec![target.into_path()?];
        for source in sources {
            paths.push(source.into_path()?);
        }
        let concat = || {
            links::follow(paths.clone(), |paths| {
                self.namenode.mutate(move |mut stub, call| {
                    let mut paths = paths.iter().map(|path| path.as_str().to_owned());
                    let target = paths.next().unwrap_or_default();
                    let request = v1::ConcatRequest { call: Some(call), target, sources: paths.collect() };
                    async move { stub.concat(request).await }
                })
            })
        };
        let refused = match self.namenode.until_closed(concat).await {
            Err(error) if error.kind() == ErrorKind::FailedPrecondition => error,
            done => return done.map(drop),
        };
        let (mut small, mut chunk_size) = (Vec::new(), None);
        for path in &paths {
            let status = self.stat(path).await?;
            if *chunk_size.get_or_insert(status.chunk_size) != status.chunk_size {
                return Err(refused);
            }
            small.extend(status.small.then(|| path.clone()));
        }
        if small.is_empty() {
            return Err(refused);
        }
        for path in small {
            Writer::new(OpenFile::outgrowing(&self.namenode, path).await?).close().await?;
        }
        self.namenode.until_closed(concat).await.map(drop)
    }

    /// Makes a file shorter. Where the new end lies within a chunk, waits until the chunk is cut on its datanodes, up to
    /// [`close_timeout`](crate::ClientSettings::close_timeout); readers see no more than the new length at once.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a length beyond the file's; [`ErrorKind::BeingWritten`] while it has a writer, as for [`append`](Self::append);
    /// [`ErrorKind::DeadlineExceeded`] when the datanodes take too long: the file has the new length, and can be written once they are done.
    pub async fn truncate(&self, path: impl IntoPath, length: u64) -> Result<()> {
        let path = path.into_path()?;
        let truncate = || {
            self.namenode.mutate_at([path.clone()], |mut stub, call, [path]| async move {
                stub.truncate(v1::TruncateRequest { call: Some(call), path, length }).await
            })
        };
        let answer = self.namenode.until_closed(truncate).await?;
        if answer.generation == 0 {
            return Ok(());
        }
        file::until_cut(&self.namenode, &path, &answer, length).await
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::IsADirectory`].
    pub async fn open(&self, path: impl IntoPath) -> Result<DfsFile> {
        Ok(DfsFile::reading(self.reader(path).await?))
    }

    /// As [`create`](Self::create), without the traits of tokio around it.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub async fn writer(&self, path: impl IntoPath, options: CreateOptions) -> Result<Writer> {
        Ok(Writer::new(OpenFile::create(&self.namenode, path.into_path()?, options).await?))
    }

    /// As [`open`](Self::open), without the traits of tokio around it.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn reader(&self, path: impl IntoPath) -> Result<Reader> {
        Reader::open(&self.namenode, path.into_path()?).await
    }

    /// Writes a whole file: it appears when all of it is there, or not at all. A small one takes one round trip.
    ///
    /// # Errors
    /// As for [`create`](Self::create) and [`Writer::close`].
    pub async fn put(&self, path: impl IntoPath, data: impl Into<Bytes>, options: CreateOptions) -> Result<()> {
        self.put_tagged(path, data, options).await.map(drop)
    }

    /// As [`put`](Self::put), and gives back the state that the file is in then.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn put_tagged(
        &self,
        path: impl IntoPath,
        data: impl Into<Bytes>,
        options: CreateOptions,
    ) -> Result<ETag> {
        let (path, data) = (path.into_path()?, data.into());
        if let Some(why) = options.invalid {
            return Err(Error::new(ErrorKind::InvalidArgument, why));
        }
        let small = options.small_limit(self.namenode.small_file_limit().await?);
        if small == 0 || data.len() as u64 > small {
            let options = options.publish_on_close(true).expected_size(data.len() as u64);
            let mut writer = self.writer(path, options).await?;
            writer.finish(data).await?;
            return writer.etag().ok_or_else(|| Error::new(ErrorKind::Internal, "a file is closed in no state"));
        }
        let answer = self
            .namenode
            .mutate_at([path], |mut stub, call, [path]| {
                let request =
                    v1::PutRequest { call: Some(call), path, options: Some(options.to_wire()), data: data.clone() };
                async move { stub.put(request).await }
            })
            .await?;
        ETag::from_wire(answer.inode, answer.version)
    }

    /// Reads a whole file. A small one takes one round trip.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`Reader::read_at`].
    pub async fn get(&self, path: impl IntoPath) -> Result<Bytes> {
        let reader = self.reader(path).await?;
        let length = usize::try_from(reader.len())
            .map_err(|_| Error::new(ErrorKind::LimitExceeded, format!("{} does not fit into memory", reader.path())))?;
        reader.read_at(0, length).await
    }

    /// The status of a file or directory.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn stat(&self, path: impl IntoPath) -> Result<FileStatus> {
        self.status(path.into_path()?, false).await
    }

    /// The same of a symbolic link itself, not of what it leads to.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn lstat(&self, path: impl IntoPath) -> Result<FileStatus> {
        self.status(path.into_path()?, true).await
    }

    async fn status(&self, path: DfsPath, no_follow: bool) -> Result<FileStatus> {
        let answer = self
            .namenode
            .call_at(path, |mut stub, path| async move { stub.stat(v1::StatRequest { path, no_follow }).await })
            .await?;
        FileStatus::from_wire(answer.status.as_ref())
    }

    /// Where a symbolic link leads, as it was given.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidArgument`] when there is something else.
    pub async fn read_link(&self, path: impl IntoPath) -> Result<String> {
        let path = path.into_path()?;
        let status = self.lstat(&path).await?;
        status.target.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("{path} is no symbolic link")))
    }

    /// Makes a symbolic link at `link` that leads to `target`: an absolute path, or one from the directory that holds the link. Nothing need be
    /// there. Calls follow it, up to 40 links in a path; [`rename`](Self::rename), [`remove`](Self::remove) and
    /// [`exchange`](Self::exchange) act on the link itself.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`]; [`ErrorKind::InvalidArgument`] for a target that is empty or longer than 4,096 bytes.
    pub async fn symlink(&self, target: impl Into<String>, link: impl IntoPath) -> Result<()> {
        let target = target.into();
        self.namenode
            .mutate_at([link.into_path()?], |mut stub, call, [path]| {
                let request = v1::SymlinkRequest { call: Some(call), path, target: target.clone() };
                async move { stub.symlink(request).await }
            })
            .await
            .map(drop)
    }

    /// Whether a path names something.
    ///
    /// # Errors
    /// Whatever kept it from being found out.
    pub async fn exists(&self, path: impl IntoPath) -> Result<bool> {
        match self.stat(path).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The entries of a directory, in the order of their names' bytes. Entries that are there throughout come exactly once.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a malformed path; all else comes through the stream, which then ends.
    pub fn list(&self, path: impl IntoPath) -> Result<BoxStream<'static, Result<DirEntry>>> {
        self.list_with(path, ListOptions::new())
    }

    /// The same from a name on, or with where the chunks of files are.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn list_with(&self, path: impl IntoPath, options: ListOptions) -> Result<BoxStream<'static, Result<DirEntry>>> {
        let listing = Listing::new(&self.namenode, path.into_path()?, options);
        Ok(futures::stream::try_unfold(listing, |mut listing| async move {
            Ok(listing.next().await?.map(|entry| (entry, listing)))
        })
        .boxed())
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], or [`ErrorKind::NotFound`] without a parent, unless
    /// [`parents`](MkdirOptions::parents) was asked for.
    pub async fn mkdir(&self, path: impl IntoPath, options: MkdirOptions) -> Result<()> {
        let (parents, mode) = (options.parents, Some(options.mode.to_wire()));
        self.namenode
            .mutate_at([path.into_path()?], |mut stub, call, [path]| async move {
                stub.mkdir(v1::MkdirRequest { call: Some(call), path, parents, mode }).await
            })
            .await
            .map(drop)
    }

    /// Renames a file or directory to the path `to` itself, in one step.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] unless [`replace`](RenameOptions::replace) was asked for; [`ErrorKind::NotFound`];
    /// [`ErrorKind::InvalidArgument`] for a directory into itself.
    pub async fn rename(&self, from: impl IntoPath, to: impl IntoPath, options: RenameOptions) -> Result<()> {
        let RenameOptions { replace, parents, prune } = options;
        let root = prune.map_or_else(String::new, |root| root.as_str().to_owned());
        self.namenode
            .mutate_at([from.into_path()?, to.into_path()?], |mut stub, call, [from, to]| {
                let root = root.clone();
                let request = v1::RenameRequest { call: Some(call), from, to, replace, parents, root };
                async move { stub.rename(request).await }
            })
            .await
            .map(drop)
    }

    /// Has two files or directories change places in one step.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidArgument`] when one lies in the other.
    pub async fn exchange(&self, first: impl IntoPath, second: impl IntoPath) -> Result<()> {
        self.namenode
            .mutate_at([first.into_path()?, second.into_path()?], |mut stub, call, [first, second]| async move {
                stub.exchange(v1::ExchangeRequest { call: Some(call), first, second }).await
            })
            .await
            .map(drop)
    }

    /// Removes a file or directory, for good; [`trash`](Self::trash) keeps it for a while.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::DirectoryNotEmpty`] unless [`recursive`](RemoveOptions::recursive) was asked for.
    pub async fn remove(&self, path: impl IntoPath, options: RemoveOptions) -> Result<()> {
        let RemoveOptions { recursive, prune } = options;
        let path = path.into_path()?;
        let root = prune.map_or_else(String::new, |root| root.as_str().to_owned());
        self.namenode
            .mutate_at([path], |mut stub, call, [path]| {
                let request = v1::DeleteRequest { call: Some(call), path, recursive, trash: false, root: root.clone() };
                async move { stub.delete(request).await }
            })
            .await
            .map(drop)
    }

    /// Copies a file; its bytes pass through here. The copy appears when all of it is there, or not at all. Returns its length in bytes.
    ///
    /// # Errors
    /// As for [`open`](Self::open), [`create`](Self::create), and reading and writing.
    pub async fn copy(&self, from: impl IntoPath, to: impl IntoPath, options: CreateOptions) -> Result<u64> {
        let reader = self.reader(from).await?;
        let options = options.publish_on_close(true).expected_size(reader.len());
        let mut writer = self.writer(to, options).await?;
        let mut bytes = reader.stream(..);
        while let Some(bytes) = bytes.try_next().await? {
            writer.write_bytes(bytes).await?;
        }
        writer.close().await?;
        Ok(writer.position())
    }

    /// Sets how many replicas each chunk of a file should have, 1 to 512. They are made, or go, in the background.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a number out of range; [`ErrorKind::NotFound`]; [`ErrorKind::IsADirectory`].
    pub async fn set_replication(&self, path: impl IntoPath, replication: u32) -> Result<()> {
        let path = path.into_path()?;
        if convert::replication(replication)?.is_none() {
            let message = "replication is 0: a file has at least one replica";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.namenode
            .mutate_at([path], |mut stub, call, [path]| async move {
                stub.set_replication(v1::SetReplicationRequest { call: Some(call), path, replication }).await
            })
            .await
            .map(drop)
    }

    /// Sets when a file or directory was changed and read last, in milliseconds since 1970; `None` leaves it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn set_times(
        &self,
        path: impl IntoPath,
        modified_ms: Option<u64>,
        accessed_ms: Option<u64>,
    ) -> Result<()> {
        self.namenode
            .mutate_at([path.into_path()?], |mut stub, call, [path]| async move {
                stub.set_times(v1::SetTimesRequest { call: Some(call), path, modified_ms, accessed_ms }).await
            })
            .await
            .map(drop)
    }

    /// Where the chunks of a file are, also of one that is being written.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::IsADirectory`].
    pub async fn locate(&self, path: impl IntoPath) -> Result<FileLocations> {
        locate::locate(&self.namenode, path.into_path()?).await
    }

    /// The checksum of a file's bytes, composed by the datanodes; independent of how they are cut into chunks.
    ///
    /// # Errors
    /// As for [`open`](Self::open) and [`Reader::read_at`].
    pub async fn checksum(&self, path: impl IntoPath) -> Result<FileChecksum> {
        file::checksum(&self.reader(path).await?).await
    }

    /// What has the number `inode`: its status, and its path if it has one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn stat_id(&self, inode: InodeId) -> Result<(FileStatus, Option<DfsPath>)> {
        let answer = self
            .namenode
            .call(|mut stub| async move { stub.stat_id(v1::StatIdRequest { inode: inode.get() }).await })
            .await?;
        let path = if answer.path.is_empty() { None } else { Some(DfsPath::parse(&answer.path)?) };
        Ok((FileStatus::from_wire(answer.status.as_ref())?, path))
    }

    /// The files that are being written, in the order in which they were opened. For superusers.
    pub fn open_files(&self) -> BoxStream<'static, Result<OpenFileStatus>> {
        let namenode = self.namenode.clone();
        let pages = futures::stream::try_unfold(Some(0), move |after| {
            let namenode = namenode.clone();
            async move {
                let Some(after) = after else { return Ok(None) };
                let answer = namenode
                    .call(|mut stub| async move { stub.open_files(v1::OpenFilesRequest { after, limit: 0 }).await })
                    .await?;
                let next = answer.files.last().map(|last| last.lease).filter(|_| answer.more);
                let files = answer.files.into_iter().map(OpenFileStatus::from_wire);
                Ok::<_, Error>(Some((futures::stream::iter(files), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    /// Has a file whose writer is gone, or has to go, recovered and closed; waits for it up to `patience`. What the writer flushed is kept; if it still
    /// lives, it finds that its lease is lost.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::IsADirectory`]; [`ErrorKind::DeadlineExceeded`] when the datanodes that are needed don't come back.
    pub async fn recover(&self, path: impl IntoPath, patience: Duration) -> Result<()> {
        let path = path.into_path()?;
        let deadline = Instant::now() + patience;
        let mut backoff = Backoff::new(self.namenode.env());
        while !self.recover_lease(&path).await? {
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                let message = format!("{path} is not recovered after {patience:?}; the namenode goes on");
                return Err(Error::new(ErrorKind::DeadlineExceeded, message));
            }
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Asks for the recovery of a file whose writer is gone. Says whether it is closed now; ask again until it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::IsADirectory`].
    pub async fn recover_lease(&self, path: impl IntoPath) -> Result<bool> {
        let answer = self
            .namenode
            .mutate_at([path.into_path()?], |mut stub, call, [path]| async move {
                stub.recover_lease(v1::RecoverLeaseRequest { call: Some(call), path }).await
            })
            .await?;
        Ok(answer.closed)
    }

    /// The state of the cluster, as it travels.
    ///
    /// # Errors
    /// Whatever kept the namenode from answering.
    pub async fn report(&self) -> Result<v1::ReportResponse> {
        self.namenode
            .retry(&mut false, |connection| async move {
                let mut admin =
                    AdminServiceClient::with_origin(self.namenode.claimed(&connection), connection.origin())
                        .max_decoding_message_size(MAX_REPORT_BYTES);
                let answer = admin.report(v1::ReportRequest {}).await.map_err(|status| connection.error(&status))?;
                Ok(answer.into_inner())
            })
            .await
    }

    /// Has the replicas of a file, or of all files below a directory, read and checked now; of everything for `None`. The
    /// stream tells of the progress and ends when all are checked.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] for anybody but the superuser; whatever kept the namenode from beginning.
    pub async fn scrub(&self, path: Option<DfsPath>) -> Result<BoxStream<'static, Result<v1::ScrubProgress>>> {
        self.namenode
            .retry(&mut false, |connection| {
                let path = path.as_ref().map_or_else(String::new, |path| path.as_str().to_owned());
                async move {
                    let mut admin =
                        AdminServiceClient::with_origin(self.namenode.claimed(&connection), connection.origin());
                    let answer =
                        admin.scrub(v1::ScrubRequest { path }).await.map_err(|status| connection.error(&status))?;
                    Ok(answer.into_inner().map_err(move |status| connection.error(&status)).boxed())
                }
            })
            .await
    }

    /// Ends the session: files of this client that are still open are recovered at once, instead of when it expires. Clones
    /// can go on, under a new session.
    ///
    /// # Errors
    /// Whatever kept the namenode from being told; the session then expires by itself.
    pub async fn end_session(&self) -> Result<()> {
        self.namenode.end_session().await
    }
}

/// The largest report that is taken, bytes: some ten thousand datanodes.
const MAX_REPORT_BYTES: usize = 16 << 20;
