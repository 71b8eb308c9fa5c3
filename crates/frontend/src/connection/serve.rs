//! One connection's life after its handshake.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use super::{
    ConnectionLimits, Peer,
    header_limit::HeaderLimit,
    io::{ByteCounters, CountedIo, counted},
};
use crate::{memory::ConnectionMemory, protocol::Protocol};

/// Bytes that open every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE_BYTES: u64 = 24;

/// A peer that takes fewer bytes than this in the time for writing takes none: pings alone are
/// fewer, any window update lets more through.
const LEAST_TAKEN_BYTES: u64 = 1 << 10;

/// Largest frame that callers may send: a chunk of 200 passages is then four frames instead of fifteen, each of which
/// is read and handed on by itself. No more: whoever may connect can make a connection hold some seven of them,
/// unfinished headers among them.
const MAX_FRAME_BYTES: u32 = 64 << 10;

/// Flow-control window of one request: bytes that may come before the server has read any. A chunk of 200 passages is
/// 130 to 200 kB, so that one comes without a pause. HTTP/2's own 64 KiB would cost three round trips.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Flow-control window of all requests of a connection: what the transport holds unread at most. The price of more is
/// memory that any peer may take, times [`max_connections`](crate::config::defaults::MAX_CONNECTIONS).
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Most that is read of an HTTP/1 connection at once. A body of 400 kB then comes in six pieces, each twice as large as the
/// one before, and not in as many as it has times 16 kB. A connection whose pieces are small goes back to small ones.
const HTTP1_BUFFER_BYTES: usize = 256 << 10;

/// Serves one connection until it ends, and says why it did: one of
/// [`ENDINGS`](crate::metrics::ENDINGS).
pub(super) async fn serve<T, S>(
    io: T,
    peer: Peer,
    service: S,
    protocol: Protocol,
    limits: &ConnectionLimits,
    drain: &CancellationToken,
) -> &'static str
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let counters = Arc::new(ByteCounters::default());
    let of_answers = Arc::clone(&counters);
    let bytes = ConnectionMemory::new(limits.max_bytes);
    let service = service
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(Arc::clone(&bytes));
            request.map(Body::new)
        })
        .map_response(move |response: Response<Body>| response.map(|body| counted(body, Arc::clone(&of_answers))));
    let header_bytes = usize::try_from(limits.max_header_bytes).unwrap_or(usize::MAX);
    let service = HeaderLimit::new(service, header_bytes);
    let io = TokioIo::new(CountedIo::new(io, Arc::clone(&counters)));
    let builder = builder(protocol, limits);
    let mut connection = pin!(builder.serve_connection(io, TowerToHyperService::new(service)));

    let begun = Instant::now();
    let far = begun + FAR;
    let mut preface = pin!(sleep_until(begun + limits.handshake_timeout));
    let mut old = pin!(sleep_until(limits.jittered_age(rand::random()).map_or(far, |age| begun + age)));
    let mut too_old = pin!(sleep_until(far));
    let mut stall_check = pin!(sleep_until(limits.stall_timeout.map_or(far, |time| begun + time)));
    let (mut opened, mut aged, mut draining) = (false, false, false);
    let mut progress = WriteProgress::default();
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                return match ended {
                    Ok(()) if draining => "drain",
                    Ok(()) if aged => "age",
                    Ok(()) => "peer",
                    Err(error) => {
                        tracing::debug!(%error, peer = %peer.0, "connection failed");
                        "error"
                    }
                };
            }
            () = preface.as_mut(), if !opened => {
                opened = true;
                if counters.read() < PREFACE_BYTES {
                    return "stalled";
                }
            }
            () = old.as_mut(), if !aged => {
                aged = true;
                too_old.as_mut().reset(Instant::now() + limits.age_grace);
                connection.as_mut().graceful_shutdown();
            }
            () = too_old.as_mut(), if aged => return "age",
            () = drain.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = stall_check.as_mut() => {
                let Some(time) = limits.stall_timeout else { continue };
                if progress.stalled(&counters) {
                    return "stalled";
                }
                stall_check.as_mut().reset(Instant::now() + time);
            }
        }
    }
}

/// As good as never, and within what a timer takes.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A connection at the last look.
#[derive(Debug, Default)]
struct WriteProgress {
    written: u64,
    waiting: bool,
}

impl WriteProgress {
    /// Whether an answer waited at both looks and hardly a byte went between them.
    fn stalled(&mut self, counters: &ByteCounters) -> bool {
        let now = WriteProgress { written: counters.written(), waiting: counters.pending() > 0 };
        let stalled = self.waiting && now.waiting && now.written - self.written < LEAST_TAKEN_BYTES;
        *self = now;
        stalled
    }
}

fn builder(protocol: Protocol, limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_frame_size(MAX_FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_bytes)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        // Losers of hedges are reset in bursts; more of them than there can be streams is an attack.
        .max_pending_accept_reset_streams(usize::try_from(limits.max_streams).ok());
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(limits.handshake_timeout).max_buf_size(HTTP1_BUFFER_BYTES);
    match protocol {
        Protocol::Grpc => builder.http2_only(),
        Protocol::Http => builder,
    }
}
