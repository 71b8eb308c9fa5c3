//! How long a request's message may take to come. A caller that sends a byte now
//! and then would hold its permit for ever.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Status, body::Body};

use crate::errors::ServeError;

/// The body, with an error in place of what has not come `limit` after `arrived`.
pub(crate) fn with_timeout(body: Body, arrived: Instant, limit: Duration) -> Body {
    Body::new(BodyTimeout { body, limit, timer: Box::pin(sleep_until(arrived + limit)) })
}

struct BodyTimeout {
    body: Body,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl HttpBody for BodyTimeout {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // What is there is taken first: a late look is not the caller's fault.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let limit = self.limit;
        self.timer.as_mut().poll(cx).map(|()| Some(Err(ServeError::TooSlow { limit }.into())))
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
    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;

    use super::*;

    fn body(parts: Vec<&'static [u8]>, ends: bool) -> Body {
        let parts = stream::iter(parts.into_iter().map(|p| Ok::<_, Status>(Frame::data(Bytes::from_static(p)))));
        if ends {
            Body::new(StreamBody::new(parts))
        } else {
            Body::new(StreamBody::new(stream::StreamExt::chain(parts, stream::pending())))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_an_error_after_the_limit() {
        let begun = Instant::now();
        let mut slow = with_timeout(body(vec![b"first"], false), begun, Duration::from_secs(30));
        assert_eq!(slow.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        let error = slow.frame().await.unwrap().unwrap_err();
        assert_eq!((error.code(), begun.elapsed().as_secs()), (Code::DeadlineExceeded, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_there_is_read_whole_however_late() {
        let begun = Instant::now();
        tokio::time::advance(Duration::from_secs(60)).await;
        let whole = with_timeout(body(vec![b"a", b"b"], true), begun, Duration::from_secs(30));
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "ab");
    }
}
