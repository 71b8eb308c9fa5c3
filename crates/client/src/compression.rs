//! Compression of messages, both ways.

use tonic::codec::CompressionEncoding;

use crate::transport::Stub;

/// How messages are compressed.
///
/// # Notes
///
/// Off unless asked for: within a data centre the bytes cost less than the time to press them. It
/// pays where servers are far or traffic is paid for. A server that does not know the encoding
/// refuses the call (`UNIMPLEMENTED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// gzip: every gRPC server knows it.
    Gzip,
    /// Zstandard: faster and smaller; needs this crate's feature `zstd`, which compiles C, and a
    /// server that knows it.
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Compression {
    pub(crate) fn apply(self, stub: Stub) -> Stub {
        let encoding = match self {
            Self::Gzip => CompressionEncoding::Gzip,
            #[cfg(feature = "zstd")]
            Self::Zstd => CompressionEncoding::Zstd,
        };
        stub.send_compressed(encoding).accept_compressed(encoding)
    }
}
