//! The interface of Weaviate's model containers, under a prefix, since `/rerank` and `documents` mean another answer here.
//! Its modules take a base with a path: `…/weaviate`.

pub(crate) mod rerank;
pub(crate) mod status;
pub(crate) mod vectors;

pub(crate) use rerank::rerank;
pub(crate) use status::{live, meta, ready};
pub(crate) use vectors::vectors;
