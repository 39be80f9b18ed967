//! Answers that come in pages.

use futures::stream::{BoxStream, StreamExt};
use godfs_core::{Error, ErrorKind, Result};
use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

use super::{Backoff, Namenode, Stub};
use crate::transport::settings::MESSAGE_BYTES;

/// Streams that break one after another, without a page in between, before whoever reads them gives up. Each attempt to begin one has the
/// patience of a call.
const MAX_BREAKS: u32 = 5;

/// Pages of one answer, over as many streams as it takes. The namenode reads a little ahead and then waits for whoever takes them.
pub(crate) struct Pages<T> {
    namenode: Namenode,
    stream: Option<BoxStream<'static, Result<T>>>,
    breaks: u32,
    backoff: Backoff,
}

impl<T: Send + 'static> Pages<T> {
    pub(crate) fn new(namenode: &Namenode) -> Self {
        Self { namenode: namenode.clone(), stream: None, breaks: 0, backoff: Backoff::new(namenode.env()) }
    }

    /// The next page, or `None` when the namenode ended the stream without an error. `ask` begins one where the last page ended: the first, and another
    /// whenever one breaks.
    pub(crate) async fn next<F, Fut>(&mut self, ask: F) -> Result<Option<T>>
    where
        F: Fn(Stub) -> Fut,
        Fut: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        loop {
            let error = match self.fetch(&ask).await {
                Ok(page) => {
                    self.breaks = 0;
                    return Ok(page);
                }
                Err(error) => error,
            };
            self.stream = None;
            if !error.is_retryable() || self.breaks == MAX_BREAKS {
                return Err(error);
            }
            self.breaks += 1;
            tracing::debug!(%error, "a stream of pages broke, going on where it stood");
            tokio::time::sleep(self.backoff.pause()).await;
        }
    }

    /// The same where an end without an error is none.
    pub(crate) async fn more<F, Fut>(&mut self, ask: F) -> Result<T>
    where
        F: Fn(Stub) -> Fut,
        Fut: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        loop {
            if let Some(page) = self.next(&ask).await? {
                return Ok(page);
            }
            self.stream = None;
            if self.breaks == MAX_BREAKS {
                return Err(Error::new(ErrorKind::Unavailable, "the namenode ended a stream before its last page"));
            }
            self.breaks += 1;
            tokio::time::sleep(self.backoff.pause()).await;
        }
    }

    async fn fetch<F, Fut>(&mut self, ask: &F) -> Result<Option<T>>
    where
        F: Fn(Stub) -> Fut,
        Fut: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(open(&self.namenode, ask).await?),
        };
        match timeout(self.namenode.settings().attempt_timeout, stream.next()).await {
            Ok(page) => page.transpose(),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "the namenode did not go on with its pages in time")),
        }
    }
}

async fn open<T, F, Fut>(namenode: &Namenode, ask: &F) -> Result<BoxStream<'static, Result<T>>>
where
    T: Send + 'static,
    F: Fn(Stub) -> Fut,
    Fut: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    namenode
        .retry(&mut false, |connection| {
            let stub = Stub::with_origin(namenode.claimed(&connection), connection.address().origin());
            let answer = ask(stub.max_decoding_message_size(MESSAGE_BYTES));
            async move {
                let pages = answer.await.map_err(|status| connection.error(&status))?.into_inner();
                Ok(pages.map(move |page| page.map_err(|status| connection.error(&status))).boxed())
            }
        })
        .await
}
