//! One attempt of a chunk: a call to one server, from taking a connection to its end.

use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture, abortable};
use sortie_dispatch::{Amount, AttemptId, AttemptKind};
use tokio::time::{Instant, timeout_at};
use tonic::{Response, Status};
use tracing::{Instrument as _, Span};

use super::chunked::ChunkedRpc;
use crate::{
    error::Error,
    metadata::{self, JobMetadata},
    transport::Server,
};

/// An attempt as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct AttemptRecord {
    pub(crate) chunk: usize,
    pub(crate) number: u32,
    pub(crate) kind: AttemptKind,
    pub(crate) address: String,
    /// From the call to its start.
    pub(crate) began: Duration,
}

/// How an attempt ended.
pub(crate) enum AttemptOutcome<T> {
    /// With a response.
    Response(Response<T>),
    /// With a refusal, or a connection that broke.
    Status(Status),
    /// Before it was sent.
    Unsent(Error),
    /// It was still under way at its deadline.
    TimedOut,
}

/// An attempt that ended.
pub(crate) struct EndedAttempt<T> {
    pub(crate) attempt: AttemptId,
    pub(crate) sent: AttemptRecord,
    pub(crate) outcome: AttemptOutcome<T>,
    /// From its start, before it has a connection, to its end.
    pub(crate) elapsed: Duration,
    pub(crate) span: Span,
}

/// An attempt under way. When it is aborted it is dropped, which resets its HTTP/2 stream.
pub(crate) type RunningAttempt<T> = Abortable<BoxFuture<'static, EndedAttempt<T>>>;

/// An attempt that has not started yet.
pub(crate) struct Attempt<R: ChunkedRpc> {
    pub(crate) id: AttemptId,
    pub(crate) sent: AttemptRecord,
    pub(crate) server: Result<std::sync::Arc<Server>, Error>,
    pub(crate) message: R::Request,
    pub(crate) model: String,
    /// Estimated tokens of its chunk, and their work.
    pub(crate) amount: Amount,
    /// Whether nobody else works on the chunk.
    pub(crate) rescue: bool,
    pub(crate) metadata: JobMetadata,
    pub(crate) deadline: Instant,
    pub(crate) span: Span,
}

impl<R: ChunkedRpc> Attempt<R> {
    /// Makes the future that runs it, and the handle that aborts it. It runs where it is polled.
    pub(crate) fn start(self) -> (RunningAttempt<R::Response>, AbortHandle) {
        let span = self.span.clone();
        let call: BoxFuture<'static, _> = Box::pin(self.run().instrument(span));
        abortable(call)
    }

    async fn run(self) -> EndedAttempt<R::Response> {
        let Self { id, sent, server, message, model, amount, rescue, metadata, deadline, span } = self;
        let started = Instant::now();
        let number = sent.number;
        let call = async {
            let server = match server {
                Ok(server) => server,
                Err(error) => return AttemptOutcome::Unsent(error),
            };
            // The lease lives as long as the call.
            let lease = match server.lease().await {
                Ok(lease) => lease,
                Err(error) => return AttemptOutcome::Unsent(error),
            };
            // What is left after the wait for a connection; each attempt has less than the one before.
            let remaining = deadline.saturating_duration_since(Instant::now());
            let mut request = metadata.request(message, number, remaining);
            metadata::announce(request.metadata_mut(), &model, amount);
            if rescue {
                metadata::mark_rescue(request.metadata_mut());
            }
            match R::send(lease.stub(), request).await {
                Ok(response) => AttemptOutcome::Response(response),
                Err(status) => AttemptOutcome::Status(status),
            }
        };
        // Our own timer: the server's and the transport's may come late or not at all.
        let outcome = timeout_at(deadline, call).await.unwrap_or(AttemptOutcome::TimedOut);
        EndedAttempt { attempt: id, sent, outcome, elapsed: started.elapsed(), span }
    }
}
