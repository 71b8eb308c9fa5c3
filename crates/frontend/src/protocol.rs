//! What connections speak.

/// What connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// gRPC: HTTP/2 alone.
    Grpc,
    /// HTTP/1.1 or HTTP/2, as the caller begins.
    Http,
}
