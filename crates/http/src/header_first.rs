//! A gRPC message in process, its five bytes of header in a frame of their own.
//!
//! Whoever decodes it takes memory for as many bytes as the header tells, beside what has come already. Where all has come
//! at once, that is twice as much, and the message is copied into it once more.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};

/// Bytes before a message: whether it is compressed, and its length.
const HEADER: usize = 5;

/// A request's body, whose first frame is cut after the header.
#[derive(Debug)]
pub(crate) struct HeaderFirst {
    body: Body,
    begun: bool,
    rest: Option<Bytes>,
}

impl HeaderFirst {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, begun: false, rest: None }
    }
}

impl HttpBody for HeaderFirst {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let first = !std::mem::replace(&mut self.begun, true);
        Poll::Ready(match frame {
            Some(Ok(frame)) if first && frame.data_ref().is_some_and(|data| data.len() > HEADER) => Some(Ok(frame
                .map_data(|mut data| {
                    let header = data.split_to(HEADER);
                    self.rest = Some(data);
                    header
                }))),
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            None => self.body.size_hint(),
            // What has not been handed on belongs to it.
            Some(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    async fn frames(bytes: &'static [u8]) -> Vec<Bytes> {
        let mut body = HeaderFirst::new(Body::new(Full::new(Bytes::from_static(bytes))));
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(frame.unwrap().into_data().unwrap());
            assert_eq!(body.is_end_stream(), frames.concat().len() == bytes.len());
        }
        frames
    }

    #[tokio::test]
    async fn the_first_frame_is_cut_and_nothing_is_lost() {
        assert_eq!(frames(b"\0\0\0\0\x03abc").await, ["\0\0\0\0\x03", "abc"]);
        assert_eq!(frames(b"\0\0\0\0\0").await, ["\0\0\0\0\0"]);
        assert_eq!(frames(b"").await.concat(), b"");
    }
}
