//! Cohere's `/v1/embed` and `/v2/embed`. Its rerank is with that of the others.

mod bits;
pub(crate) mod embed;

pub(crate) use embed::{CohereEmbedBody, Version, embed_texts, embed_v2};
