//! The request that is offered, encoded once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use prost::Message as _;
use sortie_proto::v1::{Input, RerankRequest, input::Kind};

/// Method that it is for.
pub(super) const METHOD: &str = "/sortie.v1.EncoderService/Rerank";

/// Tokens of the query.
const QUERY_TOKENS: u64 = 8;

/// Writes a request of about so many tokens into `scratch`.
pub(super) fn write(tokens: u64, scratch: &Path) -> anyhow::Result<PathBuf> {
    // Four bytes are a token of a timed model.
    let text = |tokens: u64| Input { kind: Some(Kind::Text("sea ".repeat(tokens as usize))) };
    let request = RerankRequest {
        query: Some(text(QUERY_TOKENS)),
        documents: vec![text(tokens.saturating_sub(QUERY_TOKENS))],
        ..RerankRequest::default()
    };
    let path = scratch.join("request");
    fs::write(&path, request.encode_to_vec()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
