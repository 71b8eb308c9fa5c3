//! A job's answers as they come, chunk by chunk, in the order the chunks finish.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, future::BoxFuture};
use parking_lot::Mutex;

use crate::{error::Error, report::Report};

/// The answer to some of a job's items.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PartialAnswer<T> {
    /// Places of its items in the request, from 0; the answer's own lists are in this order.
    pub indices: Vec<usize>,
    /// The answer to them. Its report is of this answer alone, with its items counted from 0.
    pub answer: T,
}

/// Answers on their way from the job to who reads them.
pub(super) type AnswerQueue<T> = Arc<Mutex<VecDeque<PartialAnswer<T>>>>;

/// A job's answers as they come; from [`crate::Call::stream`].
///
/// An error, if one comes, comes last: what was answered before it is good. Dropping the stream
/// cancels what is not answered yet.
#[must_use = "a stream does nothing until it is polled"]
pub struct AnswerStream<T> {
    job: Option<BoxFuture<'static, Result<Report, Error>>>,
    answers: AnswerQueue<T>,
    report: Option<Report>,
}

impl<T> AnswerStream<T> {
    pub(super) fn new(job: BoxFuture<'static, Result<Report, Error>>, answers: AnswerQueue<T>) -> Self {
        Self { job: Some(job), answers, report: None }
    }

    /// What happened to the whole job, with items counted as in the request; once the stream has
    /// ended without an error.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }
}

impl<T> fmt::Debug for AnswerStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerStream").field("running", &self.job.is_some()).field("report", &self.report).finish()
    }
}

impl<T> Stream for AnswerStream<T> {
    type Item = Result<PartialAnswer<T>, Error>;

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
        let answer = self.answers.lock().pop_front();
        match (answer, failure) {
            (Some(answer), None) => Poll::Ready(Some(Ok(answer))),
            // What was answered comes first; the error waits.
            (Some(answer), Some(error)) => {
                self.job = Some(Box::pin(std::future::ready(Err(error))));
                Poll::Ready(Some(Ok(answer)))
            }
            (None, Some(error)) => Poll::Ready(Some(Err(error))),
            (None, None) if self.job.is_some() => Poll::Pending,
            (None, None) => Poll::Ready(None),
        }
    }
}
