//! The door: takes connections, up to the cap, and hands each to a task of its own.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http::{Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::Service;

use super::{ConnectionLimits, Peer, serve::serve};
use crate::{metrics::WireMetrics, protocol::Protocol, tls::ServerTls};

/// When the system has no file or memory left for a connection, asking at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections from `listener` until `drain` is cancelled, then lets go of the port, sends
/// GOAWAY on every connection and returns when the last has finished its requests.
///
/// Dropping the future cuts every connection.
pub(crate) async fn accept<S>(
    listener: TcpListener,
    service: S,
    protocol: Protocol,
    tls: Option<Arc<ServerTls>>,
    limits: ConnectionLimits,
    metrics: WireMetrics,
    drain: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let most = usize::try_from(limits.max_connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(most));
    let tasks = TaskTracker::new();
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    loop {
        let (socket, address) = tokio::select! {
            biased;
            () = drain.cancelled() => break,
            taken = listener.accept() => match taken {
                Ok(taken) => taken,
                Err(error) => {
                    refused_by_system(&error).await;
                    continue;
                }
            },
        };
        // Closed at once rather than left waiting: the caller goes to another server.
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            metrics.opened("over_limit");
            continue;
        };
        // Small answers leave at once; an error means that the peer is gone, which reading will tell.
        drop(socket.set_nodelay(true));
        let connection =
            Connection { service: service.clone(), protocol, limits, metrics: metrics.clone(), drain: drain.clone() };
        let (tls, cut) = (tls.clone(), cut.clone());
        tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = cut.cancelled() => {}
                () = connection.run(socket, Peer(address), tls) => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn refused_by_system(error: &io::Error) {
    use io::ErrorKind as K;
    // The peer went away between its handshake and our taking it: nothing to wait for.
    if matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::Interrupted) {
        return;
    }
    tracing::warn!(%error, "cannot take connections");
    tokio::time::sleep(PAUSE).await;
}

/// What one connection is served with.
struct Connection<S> {
    service: S,
    protocol: Protocol,
    limits: ConnectionLimits,
    metrics: WireMetrics,
    drain: CancellationToken,
}

impl<S> Connection<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    async fn run(self, socket: TcpStream, peer: Peer, tls: Option<Arc<ServerTls>>) {
        let Some(tls) = tls else {
            return self.serve(socket, peer).await;
        };
        match timeout(self.limits.handshake_timeout, tls.acceptor().accept(socket)).await {
            Ok(Ok(socket)) => self.serve(socket, peer).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, peer = %peer.0, "TLS handshake failed");
                self.metrics.opened("handshake_failed");
            }
            Err(_) => self.metrics.opened("handshake_timeout"),
        }
    }

    async fn serve<T>(self, io: T, peer: Peer)
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        self.metrics.opened("accepted");
        let open = self.metrics.open();
        let reason = serve(io, peer, self.service, self.protocol, &self.limits, &self.drain).await;
        drop(open);
        self.metrics.closed(reason);
    }
}
