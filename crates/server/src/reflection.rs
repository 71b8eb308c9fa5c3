//! gRPC reflection, v1 and v1alpha: both, since installed grpcurls are of either
//! age. google.rpc's descriptors are registered too, so that tools print error
//! details instead of base64.

use tonic_reflection::server::{Builder, Error, v1, v1alpha};

/// Every descriptor that is served.
fn builder<'b>() -> Builder<'b> {
    Builder::configure()
        .register_encoded_file_descriptor_set(sortie_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// The current protocol.
pub(crate) fn current() -> Result<v1::ServerReflectionServer<impl v1::ServerReflection>, Error> {
    builder().build_v1()
}

/// The one that old tools speak.
pub(crate) fn alpha() -> Result<v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>, Error> {
    builder().build_v1alpha()
}
