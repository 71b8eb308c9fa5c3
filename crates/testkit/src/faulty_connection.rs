//! Connections that a test can cut: both ends then see a reset, at once. Or freeze:
//! nothing is read or written until they thaw, as of a process that is stopped.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Cuts connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultSwitch {
    current: Arc<Mutex<CancellationToken>>,
    freeze_state: Arc<Mutex<FreezeState>>,
}

/// Whether connections are frozen, and who waits for the thaw.
#[derive(Debug, Default)]
struct FreezeState {
    frozen: bool,
    waiting: Vec<Waker>,
}

impl FaultSwitch {
    /// Cuts every open connection; later ones are whole.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.current.lock()).cancel();
    }

    /// Freezes every connection, later ones too; or thaws them.
    pub(crate) fn freeze(&self, frozen: bool) {
        let mut freeze_state = self.freeze_state.lock();
        freeze_state.frozen = frozen;
        for waker in freeze_state.waiting.drain(..) {
            waker.wake();
        }
    }

    /// Puts a new connection within reach.
    pub(crate) fn connection(&self, stream: TcpStream) -> FaultyConnection {
        FaultyConnection {
            stream,
            cut: Box::pin(self.current.lock().clone().cancelled_owned()),
            freeze_state: Arc::clone(&self.freeze_state),
        }
    }
}

/// A connection that can be cut.
pub(crate) struct FaultyConnection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    freeze_state: Arc<Mutex<FreezeState>>,
}

impl FaultyConnection {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => {
                // Closes with a reset, as a dying process does, and not with a polite end.
                let _ = self.stream.set_zero_linger();
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Poll::Pending => Ok(()),
        }
    }

    fn is_frozen(&self, cx: &Context<'_>) -> bool {
        let mut freeze_state = self.freeze_state.lock();
        if freeze_state.frozen {
            freeze_state.waiting.push(cx.waker().clone());
        }
        freeze_state.frozen
    }
}

impl AsyncRead for FaultyConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        if self.is_frozen(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for FaultyConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        if self.is_frozen(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for FaultyConnection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}
