//! A job's answers as they come, chunk by chunk, in the order the chunks finish.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;
use parking_lot::Mutex;

use crate::{call::CallFuture, error::Error, report::Report};

/// The answer to some of a job's items.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Piece<T> {
    /// Places of its items in the request, from 0; the answer's own lists are in this order.
    pub places: Vec<usize>,
    /// The answer to them. Its report is of this piece alone, with its items counted from 0.
    pub answer: T,
}

/// Pieces on their way from the job to who reads them.
pub(crate) type Outbox<T> = Arc<Mutex<VecDeque<Piece<T>>>>;

/// A job's answers as they come; from [`crate::Call::stream`].
///
/// An error, if one comes, comes last: what was answered before it is good. Dropping the stream
/// cancels what is not answered yet.
#[must_use = "a stream does nothing until it is polled"]
pub struct Pieces<T> {
    job: Option<CallFuture<Report>>,
    outbox: Outbox<T>,
    report: Option<Report>,
}

impl<T> Pieces<T> {
    pub(crate) fn new(job: CallFuture<Report>, outbox: Outbox<T>) -> Self {
        Self { job: Some(job), outbox, report: None }
    }

    /// What happened to the whole job, with items counted as in the request; once the stream has
    /// ended without an error.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }
}

impl<T> fmt::Debug for Pieces<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("running", &self.job.is_some()).field("report", &self.report).finish()
    }
}

impl<T> Stream for Pieces<T> {
    type Item = Result<Piece<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let ended = match &mut self.job {
            None => None,
            Some(job) => match job.as_mut().poll(cx) {
                Poll::Pending => None,
                Poll::Ready(ended) => Some(ended),
            },
        };
        let failure = match ended {
            None => None,
            Some(ended) => {
                self.job = None;
                match ended {
                    Ok(report) => {
                        self.report = Some(report);
                        None
                    }
                    Err(error) => Some(error),
                }
            }
        };
        let piece = self.outbox.lock().pop_front();
        match (piece, failure) {
            (Some(piece), None) => Poll::Ready(Some(Ok(piece))),
            // What was answered comes first; the error waits.
            (Some(piece), Some(error)) => {
                self.job = Some(Box::pin(std::future::ready(Err(error))));
                Poll::Ready(Some(Ok(piece)))
            }
            (None, Some(error)) => Poll::Ready(Some(Err(error))),
            (None, None) if self.job.is_some() => Poll::Pending,
            (None, None) => Poll::Ready(None),
        }
    }
}
