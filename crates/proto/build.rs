//! Compiles `proto/` with protox, so that no protoc needs to be installed.

use std::path::PathBuf;

/// What generated clients and servers encode by.
const CODEC: &str = "crate::codec::MessageCodec";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A link to the contract at the root of the checkout; a published package holds the files themselves.
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let files = ["sortie/v1/encoder_service.proto", "xds/service/orca/v3/orca.proto"];
    println!("cargo::rerun-if-changed={}", root.display());
    let descriptors = protox::compile(files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    if std::env::var_os("CARGO_FEATURE_TEI").is_some() {
        let tei = protox::compile(["tei/v1/tei.proto"], [&root])?;
        std::fs::write(out.join("tei_descriptors.bin"), prost::Message::encode_to_vec(&tei))?;
        tonic_prost_build::configure().codec_path(CODEC).compile_fds(tei)?;
    }
    tonic_prost_build::configure()
        .codec_path(CODEC)
        .bytes(".sortie.v1.EmbedResponse.vectors")
        .bytes(".sortie.v1.TokenMatrix.vectors")
        .compile_fds(descriptors)?;
    Ok(())
}
