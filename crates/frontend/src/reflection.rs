//! gRPC reflection, v1 and v1alpha: both, since installed grpcurls are of either
//! age. google.rpc's descriptors are registered too, so that tools print error
//! details instead of base64.

use tonic_reflection::server::{Builder, Error, v1, v1alpha};

/// Every descriptor that is served, those of the program's `more` services with them.
fn builder(more: &[&'static [u8]]) -> Builder<'static> {
    let ours = Builder::configure()
        .register_encoded_file_descriptor_set(sortie_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    more.iter().fold(ours, |builder, set| builder.register_encoded_file_descriptor_set(set))
}

/// The current protocol.
pub(crate) fn current(more: &[&'static [u8]]) -> Result<v1::ServerReflectionServer<impl v1::ServerReflection>, Error> {
    builder(more).build_v1()
}

/// The one that old tools speak.
pub(crate) fn alpha(
    more: &[&'static [u8]],
) -> Result<v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>, Error> {
    builder(more).build_v1alpha()
}
