//! Bytes of request messages that one connection's requests hold, from the first byte read to the request's end.
//!
//! Counted are bytes as they come over the wire: a compressed message is larger once it is read, each up to
//! `max_message_bytes`.
//!
//! Flow control bounds what the transport buffers unread. A message is read as it comes and held until its request is
//! answered, so a connection with as many streams as it may have, each with the largest message, would hold gigabytes.
//!
//! Invariant: a connection's count is the sum over its requests that are under way; nothing is counted twice or left
//! behind, however a request ends.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};

use crate::errors::ServeError;

/// What the requests of one connection hold; in the extensions of each.
#[derive(Debug)]
pub(crate) struct ConnectionMemory {
    held: AtomicU64,
    limit: u64,
}

impl ConnectionMemory {
    /// A connection that holds nothing and may hold `limit` bytes.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { held: AtomicU64::new(0), limit })
    }
}

/// What one request holds; given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct MemoryPermit(Arc<Share>);

#[derive(Debug)]
struct Share {
    connection: Arc<ConnectionMemory>,
    bytes: AtomicU64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.connection.held.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl MemoryPermit {
    /// A request of `connection`.
    pub(crate) fn new(connection: &Arc<ConnectionMemory>) -> Self {
        Self(Arc::new(Share { connection: Arc::clone(connection), bytes: AtomicU64::new(0) }))
    }

    /// The body, whose bytes count as they come, with an error in place of what is too much.
    pub(crate) fn count(&self, body: Body) -> Body {
        Body::new(CountedBody { body, held: self.clone() })
    }

    /// Counts `more` bytes, or says that they are too many.
    fn add(&self, more: u64) -> Result<(), ServeError> {
        let Share { connection, bytes } = &*self.0;
        bytes.fetch_add(more, Ordering::Relaxed);
        let held = connection.held.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        if held > connection.limit { Err(ServeError::ConnectionFull { limit: connection.limit }) } else { Ok(()) }
    }
}

struct CountedBody {
    body: Body,
    held: MemoryPermit,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(full) = self.held.add(data.len() as u64)
        {
            return Poll::Ready(Some(Err(full.into())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};
    use tonic::Code;

    use super::*;

    async fn read(held: &MemoryPermit, bytes: usize) -> Result<(), Code> {
        let body = held.count(Body::new(Full::new(Bytes::from(vec![0; bytes])).map_err(|never| match never {})));
        body.collect().await.map(drop).map_err(|status| status.code())
    }

    #[tokio::test]
    async fn a_connection_holds_what_its_requests_hold_and_no_more() {
        let connection = ConnectionMemory::new(100);
        let (one, two) = (MemoryPermit::new(&connection), MemoryPermit::new(&connection));
        assert_eq!(read(&one, 60).await, Ok(()));
        assert_eq!(read(&two, 50).await, Err(Code::ResourceExhausted));
        drop(two);
        let three = MemoryPermit::new(&connection);
        assert_eq!(read(&three, 40).await, Ok(()));
        drop((one, three));
        assert_eq!(connection.held.load(Ordering::Relaxed), 0);
    }
}
