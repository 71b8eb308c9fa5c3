//! OpenAI's routes.

pub(crate) mod embeddings;
pub(crate) mod models;

pub(crate) use embeddings::embeddings;
pub(crate) use models::{model, models};
