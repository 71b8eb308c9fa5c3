//! vLLM's `/score` and `/classify`. Its rerank is with that of the others.

pub(crate) mod classify;
pub(crate) mod score;
mod unix;

pub(crate) use classify::classify;
pub(crate) use score::score;
