//! Reading objects.

use std::ops::Range;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use godfs_client::{Error, ErrorKind, Reader, Result};

use crate::attributes::Described;
use crate::store::{GodfsStore, as_objects};

/// Ranges up to this length are read at once: they come over a stream that many reads share, or from what is known already.
const AT_ONCE_BYTES: u64 = 256 << 10;

impl GodfsStore {
    /// An object as it is at this moment.
    pub(crate) async fn open(&self, key: &str) -> Result<(Reader, Described)> {
        let (reader, xattrs) = as_objects(self.client().reader_with_xattrs(self.path(key)?).await)?;
        Ok((reader, Described::of(xattrs)))
    }

    /// The bytes of all ranges, each of which must begin in the object, in their order.
    pub(crate) async fn read_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let reader = as_objects(self.client().reader(self.path(key)?).await)?;
        for Range { start, end } in ranges {
            if start > end || *start >= reader.len().max(1) {
                let message = format!("bytes {start}..{end} of an object that has {}", reader.len());
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        }
        reader.read_ranges(ranges).await.into_iter().collect()
    }
}

/// The bytes of a range, which lies in the object, as they come.
pub(crate) fn stream(reader: Reader, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    let length = range.end - range.start;
    if length == 0 {
        return futures::stream::empty().boxed();
    }
    if length > AT_ONCE_BYTES {
        return reader.stream(range);
    }
    let read = async move {
        let bytes = reader.read_at(range.start, usize::try_from(length).unwrap_or(usize::MAX)).await?;
        match bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err(Error::new(ErrorKind::Internal, format!("{} of {length} bytes were there", bytes.len()))),
        }
    };
    futures::stream::once(read).boxed()
}
