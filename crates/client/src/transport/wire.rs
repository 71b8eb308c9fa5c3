//! One HTTP/2 connection as tonic's generated client sees it, and how many more
//! streams it takes.
//!
//! The most streams at once is the peer's `SETTINGS_MAX_CONCURRENT_STREAMS`, and no
//! more than our own limit. h2 would keep calls above it waiting inside, unseen
//! (gRFC A105); here they are counted, so that such a call goes to another
//! connection or another server, or is refused with a reason.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header::USER_AGENT};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use sortie_proto::v1::encoder_service_client::EncoderServiceClient;
use tonic::{body::Body, codegen::Service};

/// Generated client of one connection.
pub(crate) type Stub = EncoderServiceClient<Wire>;

/// Streams of a connection: open ones, and how many there may be.
#[derive(Debug)]
pub(crate) struct StreamLimit {
    open: AtomicUsize,
    peer: AtomicUsize,
    own: usize,
}

impl StreamLimit {
    /// The peer allows so many.
    pub(super) fn allow(&self, streams: usize) {
        self.peer.store(streams, Ordering::Relaxed);
    }

    /// Open streams, if there may be one more.
    pub(super) fn room(&self) -> Option<usize> {
        let open = self.open.load(Ordering::Relaxed);
        (open < self.peer.load(Ordering::Relaxed).min(self.own)).then_some(open)
    }

    /// Takes a stream.
    pub(super) fn take(self: &Arc<Self>) -> Option<StreamPermit> {
        let most = self.peer.load(Ordering::Relaxed).min(self.own);
        let one_more = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(StreamPermit(Arc::clone(self)))
    }
}

/// A stream, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamPermit(Arc<StreamLimit>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        // Gives back what `take` took, once.
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection.
#[derive(Clone)]
pub struct Wire {
    send: SendRequest<Body>,
    user_agent: HeaderValue,
    limit: Arc<StreamLimit>,
}

impl Wire {
    pub(super) fn new(send: SendRequest<Body>, user_agent: HeaderValue, max_streams: usize) -> Self {
        let limit = StreamLimit { open: AtomicUsize::new(0), peer: AtomicUsize::new(usize::MAX), own: max_streams };
        Self { send, user_agent, limit: Arc::new(limit) }
    }

    pub(super) fn limit(&self) -> Arc<StreamLimit> {
        Arc::clone(&self.limit)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.send.is_closed()
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Always ready: a closed connection surfaces as the error of the call, which keeps the cause, and not as a bare
    /// "service was not ready".
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        Box::pin(self.send.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_streams_than_both_sides_allow() {
        let limit = |own| Arc::new(StreamLimit { open: AtomicUsize::new(0), peer: AtomicUsize::new(usize::MAX), own });
        let ours = limit(2);
        let (first, second) = (ours.take().unwrap(), ours.take().unwrap());
        assert!(ours.take().is_none() && ours.room().is_none());
        drop(first);
        assert_eq!(ours.room(), Some(1));
        ours.allow(1);
        assert!(ours.take().is_none());
        drop(second);
        assert!(ours.take().is_some());
    }
}
