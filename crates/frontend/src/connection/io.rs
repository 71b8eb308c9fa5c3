//! Counts the bytes that a socket has written and the bytes of answers that are still unsent. The two together tell
//! a peer that has stopped reading from a peer that has nothing to read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::body::Body;

/// Bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct ByteCounters {
    read: AtomicU64,
    written: AtomicU64,
    pending: AtomicU64,
}

impl ByteCounters {
    /// Bytes that came.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes that went.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes of answers that wait for the peer to take them.
    pub(super) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }
}

/// A socket whose bytes are counted.
#[derive(Debug)]
pub(super) struct CountedIo<T> {
    inner: T,
    counters: Arc<ByteCounters>,
}

impl<T> CountedIo<T> {
    pub(super) fn new(inner: T, counters: Arc<ByteCounters>) -> Self {
        Self { inner, counters }
    }

    fn wrote(&self, outcome: io::Result<usize>) -> io::Result<usize> {
        if let Ok(n) = outcome {
            self.counters.written.fetch_add(n as u64, Ordering::Relaxed);
        }
        outcome
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for CountedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        let came = buffer.filled().len().saturating_sub(before);
        self.counters.read.fetch_add(came as u64, Ordering::Relaxed);
        Poll::Ready(outcome)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for CountedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        Poll::Ready(self.wrote(outcome))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bytes));
        Poll::Ready(self.wrote(outcome))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Bytes of an answer, unsent until dropped.
struct PendingBytes {
    bytes: Bytes,
    counters: Arc<ByteCounters>,
}

impl AsRef<[u8]> for PendingBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PendingBytes {
    fn drop(&mut self) {
        self.counters.pending.fetch_sub(self.bytes.remaining() as u64, Ordering::Relaxed);
    }
}

/// The body, with its bytes counted as unsent until the transport lets go of them.
pub(super) fn counted(body: Body, counters: Arc<ByteCounters>) -> Body {
    Body::new(body.map_frame(move |frame| match frame.into_data() {
        Ok(bytes) => {
            counters.pending.fetch_add(bytes.remaining() as u64, Ordering::Relaxed);
            Frame::data(Bytes::from_owner(PendingBytes { bytes, counters: Arc::clone(&counters) }))
        }
        Err(frame) => frame,
    }))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_both_ways() {
        let counters = Arc::new(ByteCounters::default());
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = CountedIo::new(near, Arc::clone(&counters));
        near.write_all(b"12345").await.unwrap();
        far.write_all(b"123").await.unwrap();
        let mut three = [0; 3];
        near.read_exact(&mut three).await.unwrap();
        assert_eq!((counters.read(), counters.written()), (3, 5));
    }

    #[tokio::test]
    async fn an_answer_is_unsent_until_the_transport_drops_it() {
        let counters = Arc::new(ByteCounters::default());
        let body = Body::new(http_body_util::Full::new(Bytes::from_static(b"answer")));
        let mut body = counted(body, Arc::clone(&counters));
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(counters.pending(), 6);
        let held = frame.into_data().unwrap();
        let half = held.slice(3..);
        drop(held);
        assert_eq!((counters.pending(), &half[..]), (6, &b"wer"[..]));
        drop(half);
        assert_eq!(counters.pending(), 0);
    }
}
