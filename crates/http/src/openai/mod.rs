//! OpenAI's routes.

mod embeddings;

pub(crate) use embeddings::embeddings;
